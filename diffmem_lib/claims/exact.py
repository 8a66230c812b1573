"""Exact claims: two expressions are equal, the library computes one, a function takes given values.

SymPy and mpmath only.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import mpmath
import sympy

from diffmem_lib.claims import mutate
from diffmem_lib.claims.evaluate import DIGITS, Domain, Point, Unevaluable, checked_domain, draw_points, gap, values_at
from diffmem_lib.claims.printing import as_expression
from diffmem_lib.claims.record import Mutants, Variant, Verdict, name_of

__all__ = ["equal", "implements", "library_name", "shown_domain", "values"]

_POINTS = 12
_EXACT = mpmath.mpf(10) ** (15 - DIGITS)
_LIBRARY = 1e-10

Evaluator = Callable[[sympy.Expr], mpmath.mpc]
Case = tuple[Sequence[Any] | Mapping[str, Any], Any]


def equal(
    id: str, derived: Any, formula: Any, wrong: Mapping[str, Any] | None = None, domain: Domain | None = None
) -> Verdict:
    """Two expressions, matrices of one shape, or the two sides of two relations, at random points in 50 digits.

    Raises
    ------
    ValueError
        If the shapes differ, or either side has no finite value at a point.
    """
    left, right = _entries(derived), _entries(formula)
    if _shape(derived) != _shape(formula):
        raise ValueError(f"claim {id!r} compares {_shape(derived)} with {_shape(formula)}")
    written = {name: (_shape(variant), _entries(variant)) for name, variant in (wrong or {}).items()}
    everything = [*left, *right, *(entry for _, entries in written.values() for entry in entries)]
    points = _points(id, set().union(*(entry.free_symbols for entry in everything)), domain)
    evaluators = [values_at(point, f"{id}/functions") for point in points]
    truths = [[_value(at, entry) for at in evaluators] for entry in left]

    def judged(shape: str, entries: Sequence[sympy.Expr]) -> Variant:
        if shape != _shape(derived):
            return Variant(False, f"{shape} against {_shape(derived)}")
        return _judged(entries, evaluators, truths, _EXACT)

    judgement = judged(_shape(formula), right)
    count, survivors = _mutants(id, right, points, truths, _EXACT, domain, judgement.accepted)
    where = f"{_counted(len(points), 'point')} in {DIGITS} digits"
    return Verdict(
        accepted=judgement.accepted,
        reason=judgement.distance,
        line=f"zero at {where}{_inside(domain, everything)}, {_said(count)}",
        prediction=name_of(formula),
        measurement=name_of(derived),
        error=f"zero at {where}",
        resolution=float(_EXACT),
        points=where,
        variants={name: judged(*variant) for name, variant in written.items()},
        mutants=count,
        survivors=survivors,
    )


def implements(
    id: str,
    formula: Any,
    function: Callable[..., Any],
    arguments: Sequence[sympy.Symbol],
    wrong: Mapping[str, Any] | None = None,
    domain: Domain | None = None,
) -> Verdict:
    """A function of the library, called with a float (an int for an integer symbol) for each symbol in ``arguments``.

    It returns a number or, for a matrix, an array of its shape; each entry within 1e-10 relative of the formula.

    Raises
    ------
    ValueError
        If a symbol of the formula is no argument, or function or formula have no finite value at a point.
    """
    entries = _entries(formula)
    written = {name: _entries(variant) for name, variant in (wrong or {}).items()}
    named = set().union(*(entry.free_symbols for entry in [*entries, *(e for v in written.values() for e in v)]))
    if unknown := named - set(arguments):
        raise ValueError(f"arguments must name every symbol of the formula, missing {sorted(map(str, unknown))}")
    points = _points(id, arguments, domain)
    outputs = [_called(function, [_argument(symbol, point) for symbol in arguments]) for point in points]
    if len(outputs[0]) != len(entries):
        raise ValueError(f"the function gives {len(outputs[0])} numbers, the formula has {len(entries)}")
    evaluators = [values_at(point, f"{id}/functions") for point in points]
    truths = list(zip(*outputs, strict=True))
    judgement = _judged(entries, evaluators, truths, _LIBRARY)
    count, survivors = _mutants(id, entries, points, truths, _LIBRARY, domain, judgement.accepted)
    where = _counted(len(points), "random point")
    return Verdict(
        accepted=judgement.accepted,
        reason=judgement.distance,
        line=f"agree to {_LIBRARY:.0e} at {where}{_inside(domain, arguments)}, {_said(count)}",
        prediction=name_of(formula),
        measurement=f"{library_name(function) or 'the function'} at {where}",
        error=f"within {_LIBRARY:.0e} relative",
        resolution=_LIBRARY,
        points=where,
        variants={name: _judged(variant, evaluators, truths, _LIBRARY) for name, variant in written.items()},
        mutants=count,
        survivors=survivors,
    )


def values(function: Callable[..., Any], cases: Sequence[Case]) -> Verdict:
    """Given values of a function, numbers or arrays, within 1e-10 relative; infinity where it says infinity.

    The wrong variants are made: each number 10 % off, doubled, with the other sign, infinite or finite where it is not,
    and exchanged with its neighbours.

    Raises
    ------
    ValueError
        If there is no case, a value is NaN, or the function gives another number of numbers.
    """
    if not cases:
        raise ValueError("values needs at least one case")
    given = [_numbers(value) for _, value in cases]
    got = [_numbers(_call(function, arguments)) for arguments, _ in cases]
    for (arguments, _), expected, found in zip(cases, given, got, strict=True):
        if len(expected) != len(found):
            raise ValueError(f"{_case(arguments)} gives {len(found)} numbers, expected {len(expected)}")
    expected, found = ([number for row in rows for number in row] for rows in (given, got))
    off = next((k for k, pair in enumerate(zip(expected, found, strict=True)) if not _close(*pair)), None)
    tried = [(a, b) for k, b in enumerate(found) for a in _wrong_numbers(expected, k)]
    accepted = [a for a, b in tried if _close(a, b)]
    where = _counted(len(cases), "case")
    count = Mutants(len(tried), len(tried), len(tried) - len(accepted), 0, 0)
    return Verdict(
        accepted=off is None,
        reason="" if off is None else f"expected {expected[off]:.10g}, the function gives {found[off]:.10g}",
        line=f"{where} to {_LIBRARY:.0e}, {_said(count)}",
        prediction="; ".join(f"{number:.6g}" for number in expected[:6]),
        measurement="; ".join(f"{number:.6g}" for number in found[:6]),
        error=f"within {_LIBRARY:.0e} relative",
        resolution=_LIBRARY,
        points=where,
        variants={},
        mutants=count,
        survivors=tuple(f"{a:.6g}" for a in accepted),
    )


# --------------------------------------------------------------------------------------------------
# What is said about a claim
# --------------------------------------------------------------------------------------------------


def library_name(function: Callable[..., Any]) -> str:
    """``module.name`` of a function of the library, also inside a partial or a lambda; else nothing."""
    while isinstance(function, partial) or hasattr(function, "__wrapped__"):
        function = function.func if isinstance(function, partial) else function.__wrapped__
    if _in_library(function):
        return f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
    called = {library_name(value) for value in _named_in(function) if _in_library(value)}
    return called.pop() if len(called) == 1 else ""


def _in_library(value: Any) -> bool:
    module = getattr(value, "__module__", None) or ""
    return callable(value) and hasattr(value, "__name__") and module.startswith("diffmem_lib.")


def _named_in(function: Callable[..., Any]) -> list[Any]:
    """The objects that a Python function names: globals, closures, and attributes of modules among them."""
    code = getattr(function, "__code__", None)
    if code is None:
        return []
    scope = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
    found = [scope[name] for name in (*code.co_names, *code.co_freevars) if name in scope]
    modules: set[str] = set()
    for value in found:
        if inspect.ismodule(value) and value.__name__ not in modules:  # modules name one another in circles
            modules.add(value.__name__)
            found += [vars(value)[name] for name in code.co_names if name in vars(value)]
    return found


def shown_domain(domain: Domain | None, expressions: Iterable[Any]) -> dict[str, str]:
    """The intervals that narrow the claim, as text."""
    symbols = set().union(*(as_expression(e).free_symbols for e in expressions))
    domain = domain or {}
    narrowed = sorted(((str(s), s) for s in domain if s in symbols), key=lambda pair: pair[0])
    return {name: "{:g} to {:g}".format(*domain[symbol]) for name, symbol in narrowed}


def _inside(domain: Domain | None, expressions: Iterable[Any]) -> str:
    shown = shown_domain(domain, expressions)
    return f" ({', '.join(f'{name} {interval}' for name, interval in shown.items())})" if shown else ""


def _said(count: Mutants) -> str:
    """How many wrong variants were refused, of how many."""
    different = count.tried - count.equal - count.unevaluated
    sampled = f"{count.tried} of {count.made} wrong variants tried, " if count.tried < count.made else ""
    noun = "" if sampled else f" of {_counted(different, 'wrong variant')}"
    return f"{sampled}{count.refused}{noun} refused"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# --------------------------------------------------------------------------------------------------
# Judging
# --------------------------------------------------------------------------------------------------


def _entries(formula: Any) -> list[sympy.Expr]:
    """The entries of a matrix, the two sides of a relation, or the expression itself."""
    expression = as_expression(formula)
    if isinstance(expression, sympy.MatrixBase):
        return list(expression)
    if isinstance(expression, sympy.core.relational.Relational):
        return [expression.lhs, expression.rhs]
    if not isinstance(expression, sympy.Expr):
        raise ValueError(f"a formula must be an expression, a matrix or a relation, got {expression}")
    return [expression]


def _shape(formula: Any) -> str:
    expression = as_expression(formula)
    if isinstance(expression, sympy.MatrixBase):
        return "a matrix of {} × {}".format(*expression.shape)
    if isinstance(expression, sympy.core.relational.Relational):
        return f"a relation {expression.rel_op}"
    return "an expression"


def _points(id: str, symbols: Iterable[sympy.Symbol], domain: Domain | None) -> list[Point]:
    return draw_points(id, symbols, checked_domain(domain or {}), _POINTS)


def _value(at: Evaluator, entry: sympy.Expr) -> mpmath.mpc:
    try:
        return at(entry)
    except Unevaluable as error:
        raise ValueError(
            f"an expression must evaluate to a finite number, got {error} from {name_of(entry)}"
        ) from error


def _judged(
    entries: Sequence[sympy.Expr],
    evaluators: Sequence[Evaluator],
    truths: Sequence[Sequence[Any]],
    tolerance: float | mpmath.mpf,
) -> Variant:
    """The largest relative distance of the entries from what was measured at each point."""
    if len(entries) != len(truths):
        return Variant(False, f"{len(entries)} entries against {len(truths)}")
    worst = max(
        gap(_value(at, entry), truth)
        for entry, row in zip(entries, truths, strict=True)
        for at, truth in zip(evaluators, row, strict=True)
    )
    return Variant(worst <= tolerance, f"off by {mpmath.nstr(worst, 2)} relative")


def _mutants(
    id: str,
    entries: Sequence[sympy.Expr],
    points: Sequence[Point],
    truths: Sequence[Sequence[Any]],
    tolerance: float | mpmath.mpf,
    domain: Domain | None,
    accepted: bool,
) -> tuple[Mutants, tuple[str, ...]]:
    """The mutants of a formula that holds; of one that does not, none is tried."""
    if not accepted:
        return Mutants(0, 0, 0, 0, 0), ()
    return mutate.judge(id, entries, points, truths, tolerance, domain or {})


def _argument(symbol: sympy.Symbol, point: Point) -> int | float | complex:
    value = point[symbol]
    return int(value) if symbol.is_integer else float(value) if value.is_real else complex(value)


def _called(function: Callable[..., Any], arguments: Sequence[Any]) -> list[Any]:
    """The function's output as a flat list of finite numbers."""
    output = function(*arguments)
    numbers = [output] if isinstance(output, complex) else _numbers(output)
    if not all(mpmath.isfinite(number) for number in numbers):
        raise ValueError(f"function must be finite, got {output} at {tuple(arguments)}")
    return numbers


def _call(function: Callable[..., Any], arguments: Sequence[Any] | Mapping[str, Any]) -> Any:
    return function(**arguments) if isinstance(arguments, Mapping) else function(*arguments)


def _case(arguments: Sequence[Any] | Mapping[str, Any]) -> str:
    """The arguments of a case as a reader would write them."""
    shown = (f"{k}={v!r}" for k, v in arguments.items()) if isinstance(arguments, Mapping) else map(repr, arguments)
    return f"({', '.join(shown)})"


def described(cases: Sequence[Case], limit: int = 3) -> str:
    """The first cases with their values, in one line."""
    shown = [f"{_case(arguments)} = {', '.join(f'{x:.6g}' for x in _numbers(value))}" for arguments, value in cases]
    return "; ".join(shown[:limit]) + ("; …" if len(shown) > limit else "")


def _numbers(value: Any) -> list[float]:
    """A number, or the entries of an array or a nested list; NaN is refused."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple):
        return [number for entry in value for number in _numbers(entry)]
    number = float(value)
    if math.isnan(number):
        raise ValueError("a value must be a number, got nan")
    return [number]


def _close(a: float, b: float) -> bool:
    return a == b if math.isinf(a) or math.isinf(b) else bool(gap(a, b) <= _LIBRARY)


def _wrong_numbers(numbers: Sequence[float], k: int) -> list[float]:
    """What stands for the k-th number among the wrong variants; never the number itself."""
    number = numbers[k]
    if math.isinf(number):
        made = [-number, 0.0, 1.0, math.copysign(1e12, number)]
    elif number == 0:
        made = [0.1, -0.1, math.inf]
    else:
        made = [1.1 * number, 0.9 * number, 2 * number, -number, math.inf]
    neighbours = [numbers[j] for j in (k - 1, k + 1) if 0 <= j < len(numbers)]
    return made + [other for other in neighbours if not _close(other, number)]
