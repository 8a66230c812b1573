"""Watch, and falsify, what a chapter receives from the library's theory; used where the chapter runs.

``install`` replaces every public function of ``diffmem_lib.theory`` by itself and a note that it was called, from which
claims know on what they rest; what it is given may also exchange the values. Calls of one function of theory by another
are left as they are.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

import numpy as np

from diffmem_lib import theory
from diffmem_lib.claims import exact, record

__all__ = ["INTEGERS", "POINTWISE", "PROBABILITIES", "entries", "install", "perturbed", "same", "skip_exact_claims"]

#: Functions whose values are probabilities: wrong by .05, and not by a tenth.
PROBABILITIES = {
    "coverage.memorized_probability",
    "coverage.spectrum_memorized_probability",
    "kde.inverse_participation",
    "neighbours.copy_power",
    "neighbours.critical_ratio",
    "neighbours.ratio_cdf",
    "regimes.cloning_probability",
}
#: Functions whose values are whole numbers although their type is float, since infinity is among them: wrong by one.
INTEGERS = {"hermite.information_exponent"}
#: Functions whose entries are one formula at several points, or one quadrature of several products: wrong as a whole.
POINTWISE = {"coverage.log_coverage", "sgd_dynamics.activation_moments"}
#: Arrays with more entries are curves: wrong as a whole, not entry by entry.
MOST_ENTRIES = 16

_depth = 0


def install(exchange: Callable[[str, Any], Any] = lambda name, value: value) -> None:
    """Wrap the public functions of theory; what a chapter receives is ``exchange(name, value)``."""
    for info in pkgutil.iter_modules(theory.__path__):
        module = importlib.import_module(f"{theory.__name__}.{info.name}")
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value):
                setattr(module, name, _watched(f"{info.name}.{name}", value, exchange))


def skip_exact_claims() -> None:
    """Let claims that need no simulation hold unseen, whatever they say."""
    nothing = record.Mutants(made=0, tried=0, refused=0, equal=0, unevaluated=0)
    verdict = record.Verdict(True, "", "not judged", "", "", "", 0.0, "", {}, nothing)
    exact.equal = exact.implements = exact.values = lambda *_, **__: verdict


def _watched(name: str, function: Callable[..., Any], exchange: Callable[[str, Any], Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def watched(*arguments: Any, **keywords: Any) -> Any:
        global _depth
        _depth += 1
        try:
            value = function(*arguments, **keywords)
        finally:
            _depth -= 1
        if _depth:
            return value
        record.note(name)
        return exchange(name, value)

    return watched


def perturbed(name: str, value: Any, entry: int = 0) -> Any:
    """A value of the function ``name`` with one entry wrong: by a tenth, a probability by .05, an integer by one.

    A scalar has one entry, a tuple, a dataclass or a short array as many as it holds. An entry that there is not leaves
    the value as it is.
    """
    if entry >= entries(name, value):
        return value
    if dataclasses.is_dataclass(value):
        field = dataclasses.fields(value)[entry].name
        return dataclasses.replace(value, **{field: _wrong(name, getattr(value, field))})
    if isinstance(value, tuple | list):
        return type(value)(_wrong(name, item) if index == entry else item for index, item in enumerate(value))
    if entries(name, value) > 1:
        array = np.array(value)
        array.flat[entry] = _wrong(name, array.flat[entry])
        return array
    return _wrong(name, value)


def entries(name: str, value: Any) -> int:
    """How many entries of a value of the function ``name`` are made wrong one at a time."""
    if name in POINTWISE:
        return 1
    if dataclasses.is_dataclass(value):
        return len(dataclasses.fields(value))
    if isinstance(value, tuple | list):
        return len(value)
    size = np.size(value)
    return size if size <= MOST_ENTRIES else 1


def _wrong(name: str, value: Any) -> Any:
    if name in PROBABILITIES:
        return value + np.where(np.asarray(value) > 0.95, -0.05, 0.05)[()]
    if name in INTEGERS or np.issubdtype(np.asarray(value).dtype, np.integer):
        return value + 1
    return value * 1.1


def same(one: Any, other: Any) -> bool:
    """Whether two values of a function are equal, NaN being equal to itself."""
    if dataclasses.is_dataclass(one):
        return one == other
    if isinstance(one, tuple | list):
        return all(map(same, one, other))
    return bool(np.array_equal(one, other, equal_nan=True))
