"""Numbers out of expressions: random points that suit the symbols, and 50-digit arithmetic at them.

Points are drawn from a name, so that every run sees the same. SymPy and mpmath only.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import mpmath
import sympy
from sympy.concrete.expr_with_limits import ExprWithLimits
from sympy.core.function import AppliedUndef

__all__ = ["DIGITS", "Domain", "Point", "Unevaluable", "checked_domain", "draw_points", "gap", "is_slow", "values_at"]

DIGITS = 50
# Compiled arithmetic does not watch its precision: it gets 60 digits more than are asked for.
_WORKING = DIGITS + 60
_MOST_TERMS = 2000
_LARGEST_ARGUMENT = 1e10
_NARROWEST = 1e-4

Interval = tuple[float, float]
Domain = Mapping[sympy.Symbol, Interval]
Point = Mapping[sympy.Symbol, sympy.Expr]


class Unevaluable(ValueError):
    """The expression has no finite value at a point, or none that can be computed."""


# --------------------------------------------------------------------------------------------------
# Points
# --------------------------------------------------------------------------------------------------


def checked_domain(domain: Domain) -> Domain:
    """The domain, if each of its intervals holds more than a point and suits the symbol's assumptions.

    Raises
    ------
    ValueError
        For an interval that is empty, infinite or (nearly) one value, or that leaves the symbol's assumptions.
    """
    for symbol, (low, high) in domain.items():
        if not (math.isfinite(low) and math.isfinite(high)) or not (high - low > _NARROWEST * max(abs(low), abs(high))):
            raise ValueError(f"the domain of {symbol} must be an interval of more than one value, got ({low}, {high})")
        if symbol.is_integer and math.floor(high) - math.ceil(low) < 1:
            raise ValueError(f"the domain of {symbol} must hold at least two integers, got ({low}, {high})")
        if (
            (symbol.is_positive and low <= 0)
            or (symbol.is_nonnegative and low < 0)
            or (symbol.is_negative and high > 0)
        ):
            raise ValueError(f"the domain of {symbol} must agree with its assumptions, got ({low}, {high})")
    return domain


def draw_points(seed: str, symbols: Iterable[sympy.Symbol], domain: Domain, count: int) -> list[Point]:
    """``count`` points (one if there are no symbols): from the domain, else from the symbols' assumptions.

    A real symbol takes both signs, a complex one real and imaginary parts up to 5, each at least two values.
    """
    rng = random.Random(seed)
    ordered = sorted(set(symbols), key=lambda symbol: (str(symbol), sympy.srepr(symbol)))
    if not ordered:
        return [{}]
    columns = [_column(symbol, domain.get(symbol), count, rng) for symbol in ordered]
    return [dict(zip(ordered, row, strict=True)) for row in zip(*columns, strict=True)]


def _column(symbol: sympy.Symbol, interval: Interval | None, count: int, rng: random.Random) -> list[sympy.Expr]:
    """The values of one symbol, the two halves of its range visited equally often, in random order."""
    halves = [k % 2 for k in range(count)]
    rng.shuffle(halves)
    return [_value(symbol, interval, half, rng) for half in halves]


def _value(symbol: sympy.Symbol, interval: Interval | None, half: int, rng: random.Random) -> sympy.Expr:
    """A value in the lower (0) or upper (1) half of the interval, or of what the assumptions allow."""
    if interval is None and not symbol.is_real:
        if symbol.is_imaginary:
            return sympy.I * _between((-5, 5), half, rng)
        return _between((-5, 5), half, rng) + sympy.I * _between((-5, 5), rng.randint(0, 1), rng)
    low, high = interval or _assumed(symbol)
    if not symbol.is_integer:
        return _between((low, high), half, rng)
    whole = [k for k in range(math.ceil(low), math.floor(high) + 1) if _suits(symbol, k)] if high - low < 1e4 else []
    if whole:
        middle = len(whole) // 2
        return sympy.Integer(rng.choice(whole[middle:] if half else whole[:middle] or whole))
    middle = (math.ceil(low) + math.floor(high)) // 2
    return sympy.Integer(rng.randint(middle + 1, math.floor(high)) if half else rng.randint(math.ceil(low), middle))


def _suits(symbol: sympy.Symbol, value: int) -> bool:
    return not (
        (symbol.is_even and value % 2)
        or (symbol.is_odd and value % 2 == 0)
        or (symbol.is_nonzero and value == 0)
        or (symbol.is_positive and value <= 0)
    )


def _assumed(symbol: sympy.Symbol) -> Interval:
    """An interval that the symbol's assumptions allow."""
    if symbol.is_integer:
        low, high = (1, 12) if symbol.is_positive else (0, 12) if symbol.is_nonnegative else (-9, 9)
        return (-12, -1) if symbol.is_negative else (low, high)
    if symbol.is_positive or symbol.is_nonnegative:
        return 0.1, 4
    return (-4, -0.1) if symbol.is_negative or symbol.is_nonpositive else (-4, 4)


def _between(interval: Interval, half: int, rng: random.Random) -> sympy.Rational:
    low, high = (sympy.Rational(str(end)) for end in interval)
    return low + (high - low) * sympy.Rational(half * 10**6 + rng.randint(1, 10**6 - 1), 2 * 10**6)


# --------------------------------------------------------------------------------------------------
# Values
# --------------------------------------------------------------------------------------------------


def values_at(point: Point, functions_seed: str, digits: int = DIGITS) -> Callable[[sympy.Expr], mpmath.mpc]:
    """An evaluator at one point, which remembers the parts it has seen: mutants share most of theirs.

    Undefined functions are replaced by random smooth ones that depend on ``functions_seed``: positive, of both signs,
    or complex, as their assumptions say. ``digits``: to how many an integral is done.

    The evaluator raises :class:`Unevaluable` where there is no finite value.
    """
    at = _Evaluator(point, functions_seed, digits)

    def value(expression: sympy.Expr) -> mpmath.mpc:
        with mpmath.workdps(_WORKING):
            try:
                number = at(expression)
            except Unevaluable:
                raise
            except (ArithmeticError, ValueError, TypeError, NotImplementedError, AttributeError) as error:
                raise Unevaluable(str(error)) from error
            if not mpmath.isfinite(number):
                raise Unevaluable(f"got {number}")
            return number

    return value


def gap(value: Any, reference: Any) -> mpmath.mpf:
    """Relative difference of two numbers; absolute where both are zero to 40 digits."""
    with mpmath.workdps(_WORKING):
        difference = abs(mpmath.mpmathify(value) - mpmath.mpmathify(reference))
        size = max(abs(mpmath.mpmathify(value)), abs(mpmath.mpmathify(reference)))
        return difference / size if size > mpmath.mpf(10) ** (10 - DIGITS) else difference


def is_slow(expression: sympy.Basic) -> bool:
    """Whether evaluation needs quadrature, an infinite series or SymPy's own arithmetic."""
    for node in sympy.preorder_traversal(expression):
        if isinstance(node, sympy.Sum | sympy.Product):
            if any(bound.is_infinite for limit in node.limits for bound in limit[1:]):
                return True
        elif isinstance(node, ExprWithLimits | sympy.Derivative | sympy.Limit | sympy.Subs):
            return True
        if isinstance(node, sympy.Function) and not isinstance(node, AppliedUndef) and node.func not in _FUNCTIONS:
            return True
    return False


def _psi(order: Any, x: Any) -> Any:
    return mpmath.psi(int(order), x)


_HARMLESS = {
    sympy.log: mpmath.log,
    sympy.Abs: abs,
    sympy.sign: mpmath.sign,
    sympy.re: mpmath.re,
    sympy.im: mpmath.im,
    sympy.conjugate: mpmath.conj,
    sympy.arg: mpmath.arg,
    sympy.atan: mpmath.atan,
    sympy.floor: mpmath.floor,
    sympy.ceiling: mpmath.ceil,
    sympy.Max: max,
    sympy.Min: min,
}
_FUNCTIONS = _HARMLESS | {
    sympy.exp: mpmath.exp,
    sympy.sin: mpmath.sin,
    sympy.cos: mpmath.cos,
    sympy.tan: mpmath.tan,
    sympy.asin: mpmath.asin,
    sympy.acos: mpmath.acos,
    sympy.sinh: mpmath.sinh,
    sympy.cosh: mpmath.cosh,
    sympy.tanh: mpmath.tanh,
    sympy.coth: mpmath.coth,
    sympy.asinh: mpmath.asinh,
    sympy.acosh: mpmath.acosh,
    sympy.atanh: mpmath.atanh,
    sympy.gamma: mpmath.gamma,
    sympy.loggamma: mpmath.loggamma,
    sympy.polygamma: _psi,
    sympy.erf: mpmath.erf,
    sympy.erfc: mpmath.erfc,
    sympy.factorial: mpmath.factorial,
    sympy.binomial: mpmath.binomial,
}


class _Evaluator:
    """Recursive evaluation at one point, in the precision that mpmath works at."""

    def __init__(self, point: Point, functions_seed: str, digits: int) -> None:
        self._point = {symbol: sympy.sympify(value) for symbol, value in point.items()}
        self._seed = functions_seed
        self._digits = digits
        self._known: dict[sympy.Basic, Any] = {s: self._number(v) for s, v in self._point.items()}

    def __call__(self, node: sympy.Expr) -> Any:
        value = self._known.get(node)
        if value is None:
            value = self._known[node] = self._compute(node)
        return value

    @staticmethod
    def _number(value: sympy.Expr) -> Any:
        with mpmath.workdps(_WORKING):
            if value.is_Rational:
                return mpmath.mpf(value.p) / value.q
            real, imaginary = value.as_real_imag()
            return mpmath.mpc(mpmath.mpf(real.p) / real.q, mpmath.mpf(imaginary.p) / imaginary.q)

    def _compute(self, node: sympy.Expr) -> Any:
        if node.is_Rational:
            return self._number(node)
        if isinstance(node, sympy.Add):
            return mpmath.fsum(self(term) for term in node.args)
        if isinstance(node, sympy.Mul):
            return mpmath.fprod(self(factor) for factor in node.args)
        if isinstance(node, sympy.Pow):
            return self._power(self(node.base), node.exp)
        if node is sympy.I:
            return mpmath.mpc(0, 1)
        if node.func in _FUNCTIONS:
            return self._function(node)
        if isinstance(node, sympy.Sum | sympy.Product):
            return self._series(node)
        if isinstance(node, sympy.Integral) and not node.atoms(AppliedUndef):
            return self._quadrature(node)
        if isinstance(node, AppliedUndef):
            return self(_concrete(node, self._seed))
        return self._by_sympy(node)

    def _power(self, base: Any, exponent: sympy.Expr) -> Any:
        if exponent.is_Integer and abs(exponent) < _MOST_TERMS:
            return base ** int(exponent)
        if exponent == sympy.S.Half:
            return mpmath.sqrt(base)
        value = self(exponent)
        if abs(value) > _LARGEST_ARGUMENT:
            raise Unevaluable("an exponent is out of range")
        return base**value

    def _function(self, node: sympy.Expr) -> Any:
        arguments = [self(argument) for argument in node.args]
        if node.func not in _HARMLESS and any(abs(argument) > _LARGEST_ARGUMENT for argument in arguments):
            raise Unevaluable(f"an argument of {node.func} is out of range")
        return _FUNCTIONS[node.func](*arguments)

    def _series(self, node: sympy.Sum | sympy.Product) -> Any:
        """A sum or product with whole bounds term by term; an empty one counts backwards, as SymPy does (Karr)."""
        (index, *bounds), *others = reversed(node.limits)
        if len(bounds) != 2 or any(bound.is_infinite for bound in bounds):
            return self._by_sympy(node)
        low, high = (self(bound) for bound in bounds)
        if not (mpmath.isint(low) and mpmath.isint(high)) or abs(high - low) > _MOST_TERMS:
            raise Unevaluable("bounds must be whole numbers")
        backwards = high < low - 1
        first, last = (int(high) + 1, int(low) - 1) if backwards else (int(low), int(high))
        body = node.func(node.function, *reversed(others)) if others else node.function
        terms = []
        for k in range(first, last + 1):
            inner = _Evaluator({**self._point, index: sympy.Integer(k)}, self._seed, self._digits)
            terms.append(inner(body))
        if isinstance(node, sympy.Product):
            return mpmath.fprod(terms) ** (-1 if backwards else 1)
        return mpmath.fsum(terms) * (-1 if backwards else 1)

    def _quadrature(self, node: sympy.Integral) -> Any:
        """A definite integral by mpmath, refused unless its own estimate of the error is small."""
        (variable, *bounds), *others = reversed(node.limits)
        if len(bounds) != 2:
            raise Unevaluable("an integral needs bounds")
        body = node.func(node.function, *reversed(others)) if others else node.function
        integrand = sympy.lambdify(variable, body.subs(self._point), "mpmath")
        low, high = (
            self(bound) if bound.is_finite else mpmath.mpf(str(bound).replace("oo", "inf")) for bound in bounds
        )
        middle = [0] if mpmath.isinf(low) and mpmath.isinf(high) else []
        with mpmath.workdps(self._digits + 15):
            value, error = mpmath.quad(integrand, [low, *middle, high], error=True)
        if error > mpmath.mpf(10) ** (12 - self._digits) * abs(value):
            raise Unevaluable(f"an integral is known to {mpmath.nstr(error, 1)} only")
        return value

    def _by_sympy(self, node: sympy.Expr) -> Any:
        """What mpmath would have to integrate or differentiate is left to SymPy, which watches its precision."""
        if node.atoms(AppliedUndef) or isinstance(node, sympy.Derivative | sympy.Subs):
            replaced = _concrete(node, self._seed).doit(integrals=False)
            if replaced != node:
                return self(replaced)
        value = node.subs(self._point).evalf(DIGITS + 10, maxn=1000)
        if not value.is_number or value.has(sympy.nan, sympy.zoo, sympy.oo):
            raise Unevaluable(f"got {value}")
        real, imaginary = value.as_real_imag()
        return mpmath.mpmathify(real) if imaginary == 0 else mpmath.mpc(real, imaginary)


def _concrete(node: sympy.Expr, seed: str) -> sympy.Expr:
    """The expression with each undefined function replaced by a random smooth one."""
    applied: Sequence[AppliedUndef] = sorted(node.atoms(AppliedUndef), key=str)
    return node.subs({f.func: _smooth(f, seed) for f in applied})


def _smooth(applied: AppliedUndef, seed: str) -> sympy.Lambda:
    """2 + sin if positive, 3 sin if real, 3 sin + 4i cos if nothing is known; quick enough to take all signs."""
    rng = random.Random(f"{seed}/{applied.func}/{len(applied.args)}")
    variables = sympy.symbols(f"u:{len(applied.args)}")

    def phase() -> sympy.Expr:
        return sum(sympy.Rational(rng.randint(200, 500), 100) * u for u in variables) + sympy.Rational(
            rng.randint(0, 99), 50
        )

    if applied.is_positive or applied.is_nonnegative:
        return sympy.Lambda(variables, 2 + sympy.sin(phase()))
    if applied.is_real:
        return sympy.Lambda(variables, 3 * sympy.sin(phase()))
    return sympy.Lambda(variables, 3 * sympy.sin(phase()) + 4 * sympy.I * sympy.cos(phase()))
