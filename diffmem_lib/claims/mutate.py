"""Wrong variants that are made, not written: every small error that a formula could have.

Every sign, every number, every exponent (the unwritten 1 of a symbol too), every term and factor left out, every symbol
exchanged for another of the same formula. SymPy and mpmath only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import mpmath
import sympy
from sympy.concrete.expr_with_limits import ExprWithLimits

from diffmem_lib.claims.evaluate import DIGITS, Domain, Point, Unevaluable, draw_points, gap, is_slow, values_at
from diffmem_lib.claims.record import Mutants, name_of

__all__ = ["judge", "mutants"]

_SAMPLE_SLOW = 20
_SAMPLE = 500
_OTHER_POINTS = 12
_EXACT = mpmath.mpf(10) ** (15 - DIGITS)

#: Where evaluation is slow, a mutant's integrals are done to so many digits, and it must be off by more than 1e-8.
_COARSE_DIGITS = 20
_COARSE = 1e-8

#: The value of an expression at a point (raises Unevaluable), and what was measured there.
Measured = tuple[Callable[[sympy.Expr], mpmath.mpc], mpmath.mpc]


def mutants(formula: sympy.Expr) -> list[sympy.Expr | None]:
    """The distinct mutants of a formula, in a fixed order; ``None`` for one that SymPy cannot build."""
    pool = sorted(formula.free_symbols, key=lambda symbol: (str(symbol), sympy.srepr(symbol)))
    distinct = dict.fromkeys(chain(_signs([formula]), _mutations(formula, tuple(pool))))
    distinct.pop(formula, None)
    return list(distinct)


def _mutations(node: sympy.Basic, pool: tuple[sympy.Symbol, ...]) -> Iterator[sympy.Basic | None]:
    """Each single mutation inside a node; ``pool`` holds the symbols that can stand for one another there."""
    if isinstance(node, sympy.Number | sympy.NumberSymbol):
        yield from _numbers(node)
    elif isinstance(node, sympy.Symbol):
        yield from (node**2, sympy.sqrt(node), sympy.Integer(1))
        yield from (other for other in pool if other != node)
    elif isinstance(node, ExprWithLimits):
        yield from _inside_limits(node, pool)
    elif isinstance(node, sympy.Derivative):
        for body in _mutations(node.expr, pool):
            yield _rebuilt(node, 0, body)
    else:
        if isinstance(node, sympy.Add | sympy.Mul):
            yield from (node.func(*node.args[:k], *node.args[k + 1 :]) for k in range(len(node.args)))
        for k, argument in enumerate(node.args):
            # The sign of a factor is the sign of its product.
            signs = () if isinstance(node, sympy.Mul) else _signs([argument])
            for mutation in chain(signs, _mutations(argument, pool)):
                yield _rebuilt(node, k, mutation)


def _signs(expressions: Iterable[sympy.Basic]) -> Iterator[sympy.Expr]:
    return (-expression for expression in expressions if isinstance(expression, sympy.Expr))


def _numbers(number: sympy.Expr) -> Iterator[sympy.Expr]:
    yield from (-number, 2 * number, number / 2)
    if isinstance(number, sympy.NumberSymbol):
        return
    yield from (number + 1, number - 1)
    if number.is_Rational and number.q != 1:
        yield from (sympy.Rational(number.p + step, number.q) for step in (1, -1))
        yield from (sympy.Rational(number.p, number.q + step) for step in (1, -1))


def _inside_limits(node: ExprWithLimits, pool: tuple[sympy.Symbol, ...]) -> Iterator[sympy.Basic | None]:
    """Mutations of an integrand or summand, where the bound variables are symbols too, and of the bounds."""
    for body in chain(_signs([node.function]), _mutations(node.function, (*pool, *node.variables))):
        yield _rebuilt(node, 0, body)
    for k, limit in enumerate(node.limits, 1):
        for j, bound in enumerate(limit.args[1:], 1):
            for mutation in chain(_signs([bound]), _mutations(bound, pool)):
                yield _rebuilt(node, k, _rebuilt(limit, j, mutation))


def _rebuilt(node: sympy.Basic, place: int, argument: sympy.Basic | None) -> sympy.Basic | None:
    if argument is None:
        return None
    try:
        return node.func(*node.args[:place], argument, *node.args[place + 1 :])
    except (TypeError, ValueError, NotImplementedError, RecursionError):
        return None


def judge(
    id: str,
    entries: Sequence[sympy.Expr],
    points: Sequence[Point],
    truths: Sequence[Sequence[mpmath.mpc]],
    tolerance: float | mpmath.mpf,
    domain: Domain,
) -> tuple[Mutants, tuple[str, ...]]:
    """Hold the mutants of each entry against what was measured; also returns the names of those that survive.

    Parameters
    ----------
    entries, points, truths
        The entries of the formula, the claim's points, and for each entry what was measured at these.
    tolerance
        Relative difference up to which a mutant counts as accepted.
    domain
        The claim's domain. A mutant is equal to the truth only if it is so at *other* points, drawn without it.
    """
    made = [(k, mutant) for k, entry in enumerate(entries) for mutant in mutants(entry)]
    slow = any(map(is_slow, entries))
    limit, digits = (_SAMPLE_SLOW, _COARSE_DIGITS) if slow else (_SAMPLE, DIGITS)
    tolerance = max(tolerance, _COARSE) if slow else tolerance
    evaluators = [values_at(point, f"{id}/functions", digits) for point in points]
    tried = made if len(made) <= limit else random.Random(f"{id}/mutants").sample(made, limit)
    references = [_Elsewhere(id, entry, domain, digits) for entry in entries]
    refused = equal = unevaluated = 0
    survivors = []
    for k, mutant in tried:
        seen = None if mutant is None else _is_refused(mutant, zip(evaluators, truths[k], strict=True), tolerance)
        if seen is None:
            unevaluated += 1
        elif seen:
            refused += 1
        elif references[k].holds_for(mutant):
            equal += 1
        else:
            survivors.append(name_of(mutant))
    return Mutants(len(made), len(tried), refused, equal, unevaluated), tuple(survivors)


def _is_refused(mutant: sympy.Expr, measured: Iterable[Measured], tolerance: float | mpmath.mpf) -> bool | None:
    """Whether the mutant differs at one of the claim's points; ``None`` if it has a value at none."""
    evaluated = False
    for value, truth in measured:
        try:
            number = value(mutant)
        except Unevaluable:
            continue
        evaluated = True
        if gap(number, truth) > tolerance:
            return True
    return False if evaluated else None


class _Elsewhere:
    """The formula at points that the symbols' assumptions allow, whatever the claim's own domain is."""

    def __init__(self, id: str, formula: sympy.Expr, domain: Domain, digits: int) -> None:
        self._id, self._formula, self._domain, self._digits = id, formula, domain, digits
        self._tolerance = _EXACT if digits == DIGITS else _COARSE
        self._values: list[Measured] | None = None

    def holds_for(self, mutant: sympy.Expr) -> bool:
        """Whether the mutant equals the formula wherever both have a value, which must be somewhere."""
        if self._values is None:
            self._values = self._evaluate()
        compared = 0
        for value, truth in self._values:
            try:
                number = value(mutant)
            except Unevaluable:
                continue
            if gap(number, truth) > self._tolerance:
                return False
            compared += 1
        return compared >= min(3, len(self._values)) > 0

    def _evaluate(self) -> list[Measured]:
        """Points without the domain; where the formula has too few values there, from wider ones than the claim's.

        Never from the domain itself: there a mutant that the claim cannot refuse would always look equal.
        """
        symbols = self._formula.free_symbols
        wider = {s: _widened(s, interval) for s, interval in self._domain.items() if s in symbols}
        values: list[Measured] = []
        for name, domain in (("elsewhere", {}), ("wider", wider)):
            for point in draw_points(f"{self._id}/{name}", symbols, domain, 4 * _OTHER_POINTS):
                at = values_at(point, f"{self._id}/functions", self._digits)
                try:
                    values.append((at, at(self._formula)))
                except Unevaluable:
                    continue
                if len(values) == _OTHER_POINTS:
                    return values
            if len(values) >= _OTHER_POINTS // 2 or not symbols:
                break
        return values


def _widened(symbol: sympy.Symbol, interval: tuple[float, float]) -> tuple[float, float]:
    """The interval and as much again on either side, as far as the symbol's assumptions allow."""
    low, high = interval
    width = high - low
    wide_low, wide_high = low - width, high + width
    if symbol.is_positive or symbol.is_nonnegative:
        wide_low = max(wide_low, min(low, 1) if symbol.is_integer else low / 4)
    if symbol.is_negative or symbol.is_nonpositive:
        wide_high = min(wide_high, max(high, -1) if symbol.is_integer else high / 4)
    return wide_low, wide_high
