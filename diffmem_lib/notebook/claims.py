"""Claims: the record of a meeting between a derivation, a formula and a simulation.

A chapter registers each of its results as a claim of one of five kinds:

========================  ==========================================================================
:func:`identity`          two SymPy expressions are the same
:func:`implementation`    a library function computes a SymPy expression
:func:`agreement`         a prediction lies within the standard error of a simulation
:func:`exponent`          a fitted power contains the predicted one and excludes its neighbours
:func:`order`             a quantity that should be positive is
========================  ==========================================================================

Each takes ``wrong``, a mapping from a name to a wrong variant of the prediction.
The claim holds only if the prediction is accepted *and* every variant is refused on the same data.
Otherwise :class:`ClaimRefused` stops the chapter, and with it build and tests.

A claim prints one line and carries its full record in the metadata of that output (key ``diffmem_claim``),
from which the page of results is generated.
This module needs SymPy and mpmath only, so that derivations run where nothing else is installed.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import mpmath
import sympy
from sympy.core.function import AppliedUndef

__all__ = [
    "METADATA_KEY",
    "OWN",
    "Claim",
    "ClaimRefused",
    "agreement",
    "exponent",
    "identity",
    "implementation",
    "order",
]

METADATA_KEY = "diffmem_claim"
OWN = "own derivation"

_DIGITS = 50
_POINTS = 12
_MIN_REPLICAS = 8
_COARSEST_AGREEMENT = 0.05

_clock = time.perf_counter()


class ClaimRefused(AssertionError):
    """The prediction was refused by the data, or a wrong variant of it was not."""


@dataclass(frozen=True)
class Claim:
    """What a claim said and how it was judged; all figures as text, rounded to what they can bear.

    ``resolution`` is the smallest relative error of the prediction that would have been refused,
    ``variants`` maps the name of each wrong variant to how far it was off, ``seconds`` is the wall time
    since the chapter's previous claim.
    """

    kind: str
    id: str
    statement: str
    whose: str
    prediction: str
    measurement: str
    error: str
    resolution: float
    variants: dict[str, str]
    verdict: str
    tier: str
    seconds: float

    def _ipython_display_(self) -> None:
        """Nothing: a claim at the end of a cell has already printed its line."""


@dataclass(frozen=True)
class _Judgement:
    """One prediction held against the data: ``distance`` says in words how far it is off."""

    accepted: bool
    distance: str


# --------------------------------------------------------------------------------------------------
# The five kinds
# --------------------------------------------------------------------------------------------------


def identity(
    id: str,
    statement: str,
    left: Any,
    right: Any,
    *,
    wrong: Mapping[str, Any],
    domain: Mapping[sympy.Symbol, tuple[float, float]] | None = None,
    simplifier: Callable[[sympy.Expr], sympy.Expr] | None = None,
    whose: str = OWN,
) -> Claim:
    """Claim that two SymPy expressions (or matrices of one shape) are equal.

    Their difference must vanish after simplification and, independently, at random points in 50-digit arithmetic.
    Undefined functions, such as ``Function("p")(x)``, are replaced by random smooth positive ones for the latter.

    Parameters
    ----------
    id, statement
        A stable name, and one plain sentence without its final stop.
    left, right
        What was derived, and what is claimed.
    wrong
        Name → wrong variant of ``right``; each must differ from ``left`` at the random points.
    domain
        Symbol → interval for the random points, where the symbol's assumptions do not say enough
        (default: .2 to 3 if positive, −3 to −.2 if negative, −2 to 2 if real, 2 to 9 if a positive integer).
    simplifier
        Used instead of the built-in sequence of simplifications.
    whose
        Whose result it is: this book's own derivation, a named theorem, or a paper.

    Raises
    ------
    ClaimRefused
        If the difference does not vanish, or a variant cannot be told from the truth.
    """
    left_entries, right_entries = _entries(left), _entries(right)
    points = _random_points(id, [*left_entries, *right_entries, *_all_entries(wrong)], domain)
    concrete = _concrete_functions(id, [*left_entries, *right_entries])
    left_values = [_evaluate(concrete(entry), points) for entry in left_entries]

    def judge(candidate: Any) -> _Judgement:
        entries = [concrete(entry) for entry in _entries(candidate)]
        if len(entries) != len(left_entries):
            return _Judgement(False, f"{len(entries)} entries against {len(left_entries)}")
        gap = max(
            _relative_gap(value, reference)
            for values, entry in zip(left_values, entries, strict=True)
            for value, reference in zip(values, _evaluate(entry, points), strict=True)
        )
        return _Judgement(gap < mpmath.mpf(10) ** (15 - _DIGITS), f"off by {_short(gap)} relative")

    judgement = judge(right)
    if judgement.accepted:
        rest = [_simplified(a - b, simplifier) for a, b in zip(left_entries, right_entries, strict=True)]
        if any(r != 0 for r in rest):
            left_over = next(r for r in rest if r != 0)
            judgement = _Judgement(False, f"equal in numbers, but simplification leaves {left_over}")
    return _register(
        kind="identity",
        id=id,
        statement=statement,
        whose=whose,
        judgement=judgement,
        variants={name: judge(variant) for name, variant in wrong.items()},
        prediction=_compact(right),
        measurement=_compact(left),
        error=f"zero after simplification and at {len(points)} points to {_DIGITS} digits",
        resolution=10.0 ** (15 - _DIGITS),
        line="zero after simplification and at random points",
    )


def implementation(
    id: str,
    statement: str,
    expression: Any,
    function: Callable[..., Any],
    arguments: Sequence[sympy.Symbol],
    *,
    wrong: Mapping[str, Any],
    domain: Mapping[sympy.Symbol, tuple[float, float]] | None = None,
    tolerance: float = 1e-10,
    whose: str = OWN,
) -> Claim:
    """Claim that ``function(*arguments)`` computes ``expression``, to 1e-10 relative at random points.

    ``function`` is called with one float (int for an integer symbol) per symbol in ``arguments`` and returns a
    number; ``wrong`` maps names to wrong expressions, which must be refused. ``tolerance`` can only be tightened.
    """
    if not 0 < tolerance <= 1e-10:
        raise ValueError(f"tolerance must be in (0, 1e-10], got {tolerance}")
    expression = sympy.sympify(expression)
    unknown = expression.free_symbols - set(arguments)
    if unknown:
        raise ValueError(f"arguments must name every symbol of the expression, missing {sorted(map(str, unknown))}")
    points = _random_points(id, [expression, *arguments, *_all_entries(wrong)], domain)
    values = [_finite(function(*(_argument(symbol, point) for symbol in arguments)), "function") for point in points]

    def judge(candidate: Any) -> _Judgement:
        gap = max(_relative_gap(a, b) for a, b in zip(values, _evaluate(candidate, points), strict=True))
        return _Judgement(gap <= tolerance, f"off by {_short(gap)} relative")

    judgement = judge(expression)
    return _register(
        kind="implementation",
        id=id,
        statement=statement,
        whose=whose,
        judgement=judgement,
        variants={name: judge(variant) for name, variant in wrong.items()},
        prediction=_compact(expression),
        measurement=f"the library's function at {len(points)} points",
        error=judgement.distance,
        resolution=tolerance,
        line=f"library and derivation agree to {tolerance:.0e}",
    )


def agreement(
    id: str,
    statement: str,
    prediction: Any,
    replicas: Any,
    *,
    wrong: Mapping[str, Any],
    sizes: Sequence[float] | None = None,
    rate: float | Sequence[float] | None = None,
    alpha: float = 1e-4,
    scale: float | None = None,
    whose: str = OWN,
    stored: bool = False,
) -> Claim:
    r"""Claim that a simulation agrees with a prediction within its own standard error.

    Parameters
    ----------
    prediction
        A number, or a sequence of k numbers (a curve).
    replicas
        Independent replicas, at least 8: shape (R,) for a number, (R, k) for a curve.
        With ``sizes``: one such sequence of numbers for each size.
    wrong
        Name → wrong prediction, of the same shape; each must be refused on the same replicas.
    sizes, rate
        For a prediction that is reached only in a limit: the sizes N simulated and the exponent (or exponents) of the
        finite-size correction, *derived beforehand*. The means are fitted by :math:`a + b\,N^{-\text{rate}}`
        (weighted least squares); ``a`` is compared with the prediction, and the trend itself must describe the means.
    alpha
        Probability of refusing a true prediction, at most 1e-4: Student's t, shared among the points of a curve.
    scale
        What relative errors are relative to; needed only where the prediction is zero.
    stored
        True where the replicas come from a stored run.

    Raises
    ------
    ClaimRefused
        If the prediction is refused, a variant is not, or the resolution is worse than 5 % (then it is an order).
    """
    if not 0 < alpha <= 1e-4:
        raise ValueError(f"alpha must be in (0, 1e-4], got {alpha}")
    if (sizes is None) != (rate is None):
        raise ValueError("sizes and rate must be given together")
    if sizes is None:
        means, errors, dof = _replica_means(replicas)
        lack_of_fit = None
    else:
        means, errors, dof, lack_of_fit = _extrapolate(sizes, replicas, rate, alpha)
    threshold = _student_quantile(alpha / (2 * len(means)), dof)

    def judge(candidate: Any) -> _Judgement:
        values = _numbers(candidate, "a prediction")
        if len(values) != len(means):
            raise ValueError(f"a prediction must have {len(means)} value(s) like the replicas, got {len(values)}")
        worst = max(abs(m - v) / e for m, v, e in zip(means, values, errors, strict=True))
        return _Judgement(worst <= threshold, f"{worst:.1f} standard errors off, {threshold:.1f} allowed")

    judgement = judge(prediction)
    if lack_of_fit is not None and judgement.accepted:
        judgement = _Judgement(False, lack_of_fit)
    values = _numbers(prediction, "prediction")
    resolution = min(
        (threshold * e + abs(m - v)) / _scale(v, scale) for m, v, e in zip(means, values, errors, strict=True)
    )
    if judgement.accepted and resolution > _COARSEST_AGREEMENT:
        judgement = _Judgement(
            False,
            f"the data would see only errors above {resolution:.1%}, an agreement must see {_COARSEST_AGREEMENT:.0%}: "
            "use more replicas, or claim an order",
        )
    shown = _shown(len(values))
    predicted = ", ".join(_rounded(values[i], errors[i]) for i in shown)
    measured = ", ".join(_with_error(means[i], errors[i]) for i in shown)
    return _register(
        kind="agreement",
        id=id,
        statement=statement,
        whose=whose,
        judgement=judgement,
        variants={name: judge(variant) for name, variant in wrong.items()},
        prediction=predicted,
        measurement=measured,
        error=judgement.distance,
        resolution=resolution,
        stored=stored,
        line=f"theory {predicted}  simulation {measured}",
    )


def exponent(
    id: str,
    statement: str,
    sizes: Sequence[float],
    times: Sequence[Sequence[float]],
    prediction: float,
    *,
    wrong: Mapping[str, float],
    level: float = 0.99,
    seed: int = 0,
    whose: str = OWN,
    stored: bool = False,
) -> Claim:
    """Claim the exponent of a power law, fitted to the medians of ``times`` at each of ``sizes``.

    A censored run enters as infinity: medians do not mind, as long as fewer than half of the runs at a size are.
    The interval (default 99 %) is a percentile bootstrap over replicas, seeded with ``seed``. It must contain the
    prediction, exclude its neighbours at ±1 and every exponent in ``wrong``, and be at most .3 wide on either side.
    """
    if not 0.9 <= level < 1:
        raise ValueError(f"level must be in [.9, 1), got {level}")
    xs = [math.log(_finite(size, "sizes")) for size in sizes]
    runs = [[float(t) for t in row] for row in times]
    if len(xs) != len(runs) or len(xs) < 3:
        raise ValueError(f"sizes and times must have the same length of at least 3, got {len(xs)} and {len(runs)}")
    for size, row in zip(sizes, runs, strict=True):
        if len(row) < _MIN_REPLICAS or any(math.isnan(t) or t <= 0 for t in row):
            raise ValueError(f"times at size {size} must be at least {_MIN_REPLICAS} positive numbers")
        if sum(map(math.isinf, row)) * 2 >= len(row):
            raise ValueError(f"times at size {size}: at least half of the runs are censored, run them longer")
    slope = _slope(xs, [math.log(_median(row)) for row in runs])
    low, high = _bootstrap_interval(xs, runs, level, random.Random(seed))
    half_width = max(high - slope, slope - low)

    def judge(candidate: float) -> _Judgement:
        return _Judgement(low <= candidate <= high, f"{candidate:g} against [{low:.2f}, {high:.2f}]")

    judgement = judge(prediction)
    if judgement.accepted and half_width > 0.3:
        judgement = _Judgement(False, f"the interval [{low:.2f}, {high:.2f}] is wider than ±.3")
    neighbours = {f"exponent {prediction + step:g}": judge(prediction + step) for step in (-1, 1)}
    if taken := neighbours.keys() & wrong.keys():
        raise ValueError(f"wrong must not name {', '.join(sorted(taken))}, which is tried anyway")
    return _register(
        kind="exponent",
        id=id,
        statement=statement,
        whose=whose,
        judgement=judgement,
        variants=neighbours | {name: judge(variant) for name, variant in wrong.items()},
        declared=len(wrong),
        prediction=f"{prediction:g}",
        measurement=f"{slope:.2f}",
        error=f"{100 * level:g}% interval [{low:.2f}, {high:.2f}]",
        resolution=half_width / abs(prediction) if prediction else math.inf,
        stored=stored,
        line=f"theory {prediction:g}  simulation {slope:.2f} in [{low:.2f}, {high:.2f}]",
    )


def order(
    id: str,
    statement: str,
    replicas: Sequence[float],
    *,
    wrong: Mapping[str, Sequence[float]],
    alpha: float = 1e-4,
    whose: str = OWN,
    stored: bool = False,
) -> Claim:
    """Claim that a quantity is positive (one class is memorized more, one loss leaves first).

    ``replicas`` are independent measurements of it, at least 8, judged by a one-sided t-test at level ``alpha``.
    ``wrong`` maps names to replicas of the same quantity under a wrong prediction (order reversed, labels shuffled);
    none of them may pass the same test. The record carries p-value and effect size (mean over standard deviation).
    """
    if not 0 < alpha <= 1e-4:
        raise ValueError(f"alpha must be in (0, 1e-4], got {alpha}")

    def statistics(sample: Sequence[float]) -> tuple[float, float, int, float, float]:
        (mean,), (error,), dof = _replica_means(sample, constant=True)
        if error == 0:  # no spread, no t-test: the sign test remains
            return mean, error, dof, (0.5 ** (dof + 1) if mean > 0 else 1.0), math.copysign(math.inf, mean)
        return mean, error, dof, _student_tail(mean / error, dof), mean / (error * math.sqrt(dof + 1))

    def judge(sample: Sequence[float]) -> _Judgement:
        *_, p_value, effect = statistics(sample)
        return _Judgement(p_value <= alpha, f"p = {p_value:.1g}, effect size {effect:.2g}")

    mean, error, dof, p_value, effect = statistics(replicas)
    return _register(
        kind="order",
        id=id,
        statement=statement,
        whose=whose,
        judgement=judge(replicas),
        variants={name: judge(variant) for name, variant in wrong.items()},
        prediction="> 0",
        measurement=_with_error(mean, error),
        error=f"p = {p_value:.1g}, effect size {effect:.2g}",
        resolution=_student_quantile(alpha, dof) * error / abs(mean) if mean else math.inf,
        stored=stored,
        line=f"measured {_with_error(mean, error)} > 0, p {'< 1e-4' if p_value < 1e-4 else f'= {p_value:.1g}'}",
    )


# --------------------------------------------------------------------------------------------------
# Registration
# --------------------------------------------------------------------------------------------------


def _register(
    *,
    kind: str,
    id: str,
    statement: str,
    whose: str,
    judgement: _Judgement,
    variants: dict[str, _Judgement],
    prediction: str,
    measurement: str,
    error: str,
    resolution: float,
    line: str,
    declared: int | None = None,
    stored: bool = False,
) -> Claim:
    """Judge, record, print; stop the chapter if the claim does not hold."""
    global _clock
    if not (len(variants) if declared is None else declared):
        raise ValueError(f"claim {id!r} must name at least one wrong variant: without one it cannot fail")
    if not id or any(not (c.isascii() and (c.isalnum() or c == "-")) for c in id) or id != id.lower():
        raise ValueError(f"id must be lower-case letters, digits and hyphens, got {id!r}")
    if not statement or not whose:
        raise ValueError(f"claim {id!r} needs a statement and whose it is")
    now = time.perf_counter()
    undetected = [name for name, variant in variants.items() if variant.accepted]
    holds = judgement.accepted and not undetected
    claim = Claim(
        kind=kind,
        id=id,
        statement=statement,
        whose=whose,
        prediction=prediction,
        measurement=measurement,
        error=error,
        resolution=float(resolution),
        variants={name: variant.distance for name, variant in variants.items()},
        verdict="holds" if holds else "refused",
        tier="stored" if stored else "live",
        seconds=round(now - _clock, 2),
    )
    _clock = now
    _emit(claim, f"{'PASS' if holds else 'FAIL'}  {statement}: {line}; refuses {', '.join(variants)}")
    if not judgement.accepted:
        raise ClaimRefused(f"claim {id!r} is refused ({statement}): {judgement.distance}")
    if undetected:
        reasons = "; ".join(f"{name} ({variants[name].distance})" for name in undetected)
        raise ClaimRefused(f"claim {id!r} cannot tell the prediction from its wrong variant(s) {reasons}")
    return claim


def _emit(claim: Claim, line: str) -> None:
    """Print the line; inside a notebook as an output whose metadata carries the record."""
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        print(line)
        return
    if get_ipython() is None:
        print(line)
    else:
        display({"text/plain": line}, raw=True, metadata={METADATA_KEY: asdict(claim)})


# --------------------------------------------------------------------------------------------------
# Expressions
# --------------------------------------------------------------------------------------------------


def _entries(expression: Any) -> list[sympy.Expr]:
    if isinstance(expression, sympy.MatrixBase):
        return list(expression)
    return [sympy.sympify(expression)]


def _all_entries(variants: Mapping[str, Any]) -> list[sympy.Expr]:
    return [entry for variant in variants.values() for entry in _entries(variant)]


def _random_points(
    id: str, expressions: Sequence[sympy.Basic], domain: Mapping[sympy.Symbol, tuple[float, float]] | None
) -> list[dict[sympy.Symbol, sympy.Number]]:
    """Points that depend on the claim's id only, so that every run sees the same."""
    rng = random.Random(id)
    symbols = sorted(set().union(*(e.free_symbols for e in expressions)), key=str)
    count = _POINTS if symbols else 1
    return [{s: _random_value(s, (domain or {}).get(s), rng) for s in symbols} for _ in range(count)]


def _random_value(symbol: sympy.Symbol, interval: tuple[float, float] | None, rng: random.Random) -> sympy.Number:
    if interval is None:
        if symbol.is_integer:
            interval = (2, 9)
        elif symbol.is_positive or symbol.is_nonnegative:
            interval = (0.2, 3)
        elif symbol.is_negative:
            interval = (-3, -0.2)
        else:
            interval = (-2, 2)
    low, high = interval
    if symbol.is_integer:
        return sympy.Integer(rng.randint(math.ceil(low), math.floor(high)))
    return sympy.Rational(str(round(rng.uniform(low, high), 6)))


def _concrete_functions(id: str, expressions: Sequence[sympy.Expr]) -> Callable[[sympy.Expr], sympy.Expr]:
    """A substitution that turns each undefined function into a random smooth positive one, and does its derivatives."""
    rng = random.Random(f"{id}/functions")
    applied = set().union(*(e.atoms(AppliedUndef) for e in expressions))
    functions = {}
    for function in sorted({f.func for f in applied}, key=str):
        arity = max(len(f.args) for f in applied if f.func == function)
        variables = sympy.symbols(f"u:{arity}")
        phase = sum(sympy.Rational(rng.randint(30, 170), 100) * u for u in variables)
        functions[function] = sympy.Lambda(variables, 2 + sympy.sin(phase + sympy.Rational(rng.randint(0, 99), 50)))
    if not functions:
        return lambda expression: expression
    return lambda expression: expression.subs(functions).doit(integrals=False)


def _argument(symbol: sympy.Symbol, point: Mapping[sympy.Symbol, sympy.Number]) -> int | float:
    return int(point[symbol]) if symbol.is_integer else float(point[symbol])


def _evaluate(expression: Any, points: Sequence[Mapping[sympy.Symbol, sympy.Number]]) -> list[mpmath.mpc]:
    """The expression in 50-digit arithmetic at each point."""
    expression = sympy.sympify(expression)
    symbols = list(points[0])
    # Compiled arithmetic is fast but does not watch its precision: it gets 100 digits more than are asked for.
    # What mpmath would have to integrate or sum is left to SymPy, which does watch it.
    if expression.has(sympy.Integral, sympy.Sum, sympy.Product, sympy.Derivative, sympy.Limit):
        values = [_by_sympy(expression, point) for point in points]
    else:
        function = sympy.lambdify(symbols, expression, "mpmath")
        values = []
        for point in points:
            with mpmath.workdps(_DIGITS + 100):
                try:
                    values.append(mpmath.mpmathify(function(*(_exact(point[symbol]) for symbol in symbols))))
                except (TypeError, NameError, AttributeError, ZeroDivisionError):  # a function mpmath does not know
                    values.append(_by_sympy(expression, point))
    for value in values:
        if not mpmath.isfinite(value):
            raise ValueError(f"an expression must evaluate to a finite number, got {value} from {_compact(expression)}")
    return values


def _exact(number: sympy.Number) -> mpmath.mpf:
    return mpmath.mpf(number.p) / number.q


def _by_sympy(expression: sympy.Expr, point: Mapping[sympy.Symbol, sympy.Number]) -> mpmath.mpc:
    value = expression.subs(point).evalf(_DIGITS, maxn=1000)
    if not value.is_number or value.has(sympy.nan, sympy.zoo):
        raise ValueError(f"an expression must evaluate to a finite number, got {value} from {_compact(expression)}")
    with mpmath.workdps(_DIGITS):
        return mpmath.mpmathify(value) if value.is_real else mpmath.mpc(*value.as_real_imag())


def _relative_gap(value: Any, reference: Any) -> mpmath.mpf:
    with mpmath.workdps(_DIGITS):
        difference = abs(mpmath.mpmathify(value) - reference)
        size = max(abs(mpmath.mpmathify(value)), abs(reference))
        return difference / size if size > mpmath.mpf(10) ** (10 - _DIGITS) else difference


def _simplified(expression: sympy.Expr, simplifier: Callable[[sympy.Expr], sympy.Expr] | None) -> sympy.Expr:
    if simplifier is not None:
        return sympy.sympify(simplifier(expression))
    steps: tuple[Callable[[sympy.Expr], sympy.Expr], ...] = (
        sympy.expand,
        lambda e: sympy.expand(sympy.numer(sympy.together(e))),
        lambda e: sympy.factor(sympy.together(e)),
        sympy.simplify,
        lambda e: sympy.simplify(sympy.expand_log(sympy.expand(e), force=True)),
        sympy.gammasimp,
    )
    for step in steps:
        if step(expression) == 0:
            return sympy.Integer(0)
    return sympy.simplify(expression)


def _compact(expression: Any, limit: int = 160) -> str:
    text = str(expression)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _short(number: Any) -> str:
    return mpmath.nstr(mpmath.mpf(number), 2)


# --------------------------------------------------------------------------------------------------
# Statistics, in plain Python
# --------------------------------------------------------------------------------------------------


def _finite(value: Any, name: str) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}")
    return number


def _numbers(values: Any, name: str) -> list[float]:
    """A number or any one-dimensional sequence of numbers as a list of finite floats."""
    try:
        sequence = list(values)
    except TypeError:
        sequence = [values]
    return [_finite(value, name) for value in sequence]


def _scale(prediction: float, scale: float | None) -> float:
    size = abs(prediction) if scale is None else scale
    if not size > 0:
        raise ValueError("scale must be given where the prediction is zero, and be positive")
    return size


def _replica_means(replicas: Any, constant: bool = False) -> tuple[list[float], list[float], int]:
    """Means, standard errors and degrees of freedom of replicas (R,) or (R, k); equal ones only if ``constant``."""
    rows = [_numbers(row, "replicas") for row in replicas]
    if len(rows) < _MIN_REPLICAS:
        raise ValueError(f"replicas must be at least {_MIN_REPLICAS}, got {len(rows)}")
    if len({len(row) for row in rows}) != 1:
        raise ValueError("replicas must all have the same number of points")
    columns = list(zip(*rows, strict=True))
    means = [math.fsum(column) / len(column) for column in columns]
    variances = [
        math.fsum((x - mean) ** 2 for x in column) / (len(column) - 1)
        for column, mean in zip(columns, means, strict=True)
    ]
    if not constant and any(variance == 0 for variance in variances):
        raise ValueError("replicas must differ from one another: without spread there is no standard error")
    return means, [math.sqrt(variance / len(rows)) for variance in variances], len(rows) - 1


def _extrapolate(
    sizes: Sequence[float], replicas: Any, rate: float | Sequence[float], alpha: float
) -> tuple[list[float], list[float], int, str | None]:
    """Limit of the means as size → ∞ by weighted least squares on 1 and size^{-rate}, and whether the trend fits."""
    rates = _numbers(rate, "rate")
    if any(r <= 0 for r in rates):
        raise ValueError(f"rate must be positive, got {rates}")
    groups = [_replica_means(group) for group in replicas]
    if len(groups) != len(sizes) or len(sizes) < len(rates) + 2:
        raise ValueError(f"sizes must be one for each group of replicas and at least {len(rates) + 2}")
    if any(len(means) != 1 for means, _, _ in groups):
        raise ValueError("with sizes, replicas must be one number each")
    dof = min(group[2] for group in groups)
    design = mpmath.matrix([[1.0, *(_finite(n, "sizes") ** -r for r in rates)] for n in sizes])
    weights = mpmath.diag([1 / group[1][0] ** 2 for group in groups])
    means = mpmath.matrix([group[0][0] for group in groups])
    covariance = (design.T * weights * design) ** -1
    coefficients = covariance * (design.T * weights * means)
    residual = means - design * coefficients
    freedom = len(sizes) - len(rates) - 1
    misfit = float((residual.T * weights * residual)[0]) / freedom
    probability = _fisher_tail(misfit, freedom, dof)
    lack = None
    if probability < alpha:
        lack = f"the finite-size trend size^-{rate} does not describe the means (p = {probability:.1g})"
    return [float(coefficients[0])], [math.sqrt(float(covariance[0, 0]))], dof, lack


def _student_tail(t: float, dof: int) -> float:
    """P(T > t) for Student's t."""
    square = mpmath.mpf(t) ** 2
    if abs(t) < 1:  # near the centre the tail would be a difference of near-equals
        centre = mpmath.betainc(0.5, dof / 2, 0, square / (dof + square), regularized=True) / 2
        return float(0.5 - centre if t >= 0 else 0.5 + centre)
    tail = mpmath.betainc(dof / 2, 0.5, 0, dof / (dof + square), regularized=True) / 2
    return float(tail if t >= 0 else 1 - tail)


def _student_quantile(tail: float, dof: int) -> float:
    """The t beyond which Student's law has the probability ``tail``, by bisection."""
    low, high = 0.0, 1.0
    while _student_tail(high, dof) > tail:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_tail(middle, dof) > tail else (low, middle)
    return high


def _fisher_tail(f: float, numerator: int, denominator: int) -> float:
    """P(F > f) for Fisher's F: χ² per degree of freedom when the errors themselves are estimated."""
    x = denominator / (denominator + numerator * f)
    return float(mpmath.betainc(denominator / 2, numerator / 2, 0, x, regularized=True))


def _median(values: Sequence[float]) -> float:
    ranked = sorted(values)
    middle = len(ranked) // 2
    return ranked[middle] if len(ranked) % 2 else (ranked[middle - 1] + ranked[middle]) / 2


def _slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    centre = math.fsum(xs) / len(xs)
    return math.fsum((x - centre) * y for x, y in zip(xs, ys, strict=True)) / math.fsum((x - centre) ** 2 for x in xs)


def _bootstrap_interval(
    xs: Sequence[float], runs: Sequence[Sequence[float]], level: float, rng: random.Random, draws: int = 2000
) -> tuple[float, float]:
    """Percentile interval of the slope; a resample whose median is censored counts as an infinite slope."""
    slopes = []
    for _ in range(draws):
        medians = [_median(rng.choices(row, k=len(row))) for row in runs]
        slopes.append(_slope(xs, [math.log(m) for m in medians]) if all(map(math.isfinite, medians)) else math.inf)
    slopes.sort()
    cut = round(draws * (1 - level) / 2)
    return slopes[cut], slopes[draws - 1 - cut]


# --------------------------------------------------------------------------------------------------
# Figures as text
# --------------------------------------------------------------------------------------------------


def _shown(count: int) -> list[int]:
    """Which points of a curve a line shows: all of a few, else first, middle and last."""
    return list(range(count)) if count <= 3 else [0, count // 2, count - 1]


def _decimals(error: float) -> int:
    """Decimal places at which ``error`` has one digit, two if that digit is 1."""
    exponent = math.floor(math.log10(error))
    leading = error / 10**exponent
    return -exponent + (1 if leading < 1.95 else 0)


def _rounded(value: float, error: float) -> str:
    places = _decimals(error)
    return f"{value:.{places}f}" if places > 0 else f"{round(value, places):.0f}"


def _with_error(value: float, error: float) -> str:
    """The usual notation: 0.0969(4) is 0.0969 with standard error .0004."""
    if error == 0:
        return f"{value:.3g}"
    places = _decimals(error)
    if places > 12:
        return f"{value:.3g}({error:.1g})"
    if places <= 0:
        return f"{round(value, places):.0f}({round(error, places):.0f})"
    return f"{value:.{places}f}({round(error * 10**places)})"
