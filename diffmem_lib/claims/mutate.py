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
_MOST_BUILT = 2000
_OTHER_POINTS = 12
_EXACT = mpmath.mpf(10) ** (15 - DIGITS)

#: Where evaluation is slow, a mutant's integrals are done to so many digits, and it must be off by more than 1e-8.
_COARSE_DIGITS = 20
_COARSE = 1e-8

#: Where in a formula something is replaced (arguments of arguments), and by what.
Change = tuple[tuple[int, ...], sympy.Basic]

#: The number of an entry, and one of its mutants.
Numbered = tuple[int, sympy.Expr | None]

#: The value of an expression at a point (raises Unevaluable), and what was measured there.
Measured = tuple[Callable[[sympy.Expr], mpmath.mpc], mpmath.mpc]


def mutants(formula: sympy.Expr) -> list[sympy.Expr | None]:
    """The distinct mutants of a formula, in a fixed order; ``None`` for one that SymPy cannot build."""
    return _built((formula, change) for change in _changes_of(formula))


def _built(changes: Iterable[tuple[sympy.Expr, Change]]) -> list[sympy.Expr | None]:
    """What comes of changes to formulas, each once, without those that change nothing."""
    distinct: dict[sympy.Expr | None, None] = {}
    for formula, (path, new) in changes:
        mutant = _replaced(formula, path, new)
        if mutant != formula:
            distinct[mutant] = None
    return list(distinct)


def _changes_of(formula: sympy.Expr) -> Iterator[Change]:
    pool = sorted(formula.free_symbols, key=lambda symbol: (str(symbol), sympy.srepr(symbol)))
    yield from _sign(formula)
    yield from _changes(formula, tuple(pool))


def _changes(node: sympy.Basic, pool: tuple[sympy.Symbol, ...]) -> Iterator[Change]:
    """Each single change inside a node; ``pool`` holds the symbols that can stand for one another there."""
    if isinstance(node, sympy.Number | sympy.NumberSymbol):
        yield from (((), number) for number in _numbers(node))
    elif isinstance(node, sympy.Symbol):
        yield from (((), new) for new in (node**2, sympy.sqrt(node), sympy.Integer(1)))
        yield from (((), other) for other in pool if other != node)
    elif isinstance(node, ExprWithLimits):
        yield from _inside_limits(node, pool)
    elif isinstance(node, sympy.Derivative):
        yield from _below(0, _changes(node.expr, pool))
    else:
        if isinstance(node, sympy.Add | sympy.Mul):
            yield from (((), node.func(*node.args[:k], *node.args[k + 1 :])) for k in range(len(node.args)))
        for k, argument in enumerate(node.args):
            # The sign of a factor is the sign of its product.
            signs = () if isinstance(node, sympy.Mul) else _sign(argument)
            yield from _below(k, chain(signs, _changes(argument, pool)))


def _below(place: int, changes: Iterable[Change]) -> Iterator[Change]:
    return (((place, *path), new) for path, new in changes)


def _sign(expression: sympy.Basic) -> Iterator[Change]:
    if isinstance(expression, sympy.Expr):
        yield (), -expression


def _numbers(number: sympy.Expr) -> Iterator[sympy.Expr]:
    yield from (-number, 2 * number, number / 2)
    if isinstance(number, sympy.NumberSymbol):
        return
    yield from (number + 1, number - 1)
    if number.is_Rational and number.q != 1:
        yield from (sympy.Rational(number.p + step, number.q) for step in (1, -1))
        yield from (sympy.Rational(number.p, number.q + step) for step in (1, -1))


def _inside_limits(node: ExprWithLimits, pool: tuple[sympy.Symbol, ...]) -> Iterator[Change]:
    """Changes of an integrand or summand, where the bound variables are symbols too, and of the bounds."""
    yield from _below(0, chain(_sign(node.function), _changes(node.function, (*pool, *node.variables))))
    for k, limit in enumerate(node.limits, 1):
        for j, bound in enumerate(limit.args[1:], 1):
            yield from _below(k, _below(j, chain(_sign(bound), _changes(bound, pool))))


def _replaced(node: sympy.Basic, path: tuple[int, ...], new: sympy.Basic) -> sympy.Basic | None:
    """The node with what stands at the path replaced; ``None`` if SymPy cannot build it."""
    if not path:
        return new
    place, *rest = path
    argument = _replaced(node.args[place], tuple(rest), new)
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
    slow = any(map(is_slow, entries))
    limit, digits = (_SAMPLE_SLOW, _COARSE_DIGITS) if slow else (_SAMPLE, DIGITS)
    tolerance = max(tolerance, _COARSE) if slow else tolerance
    evaluators = [values_at(point, f"{id}/functions", digits) for point in points]
    count, tried = _drawn(entries, limit, random.Random(f"{id}/mutants"))
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
    return Mutants(count, len(tried), refused, equal, unevaluated), tuple(survivors)


def _drawn(entries: Sequence[sympy.Expr], limit: int, rng: random.Random) -> tuple[int, list[Numbered]]:
    """How many mutants there are, and all of them, or ``limit`` drawn; each with the number of its entry.

    To build a mutant of a large formula takes longer than to refuse it, so that of very many only the drawn ones are.
    """
    changes = [(k, change) for k, entry in enumerate(entries) for change in _changes_of(entry)]
    many = len(changes) > _MOST_BUILT
    chosen = sorted(rng.sample(range(len(changes)), limit)) if many else range(len(changes))
    by_entry = [[changes[i][1] for i in chosen if changes[i][0] == k] for k in range(len(entries))]
    made = [(k, m) for k, entry in enumerate(entries) for m in _built((entry, change) for change in by_entry[k])]
    if many:
        return len(changes), made
    return len(made), made if len(made) <= limit else rng.sample(made, limit)


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
