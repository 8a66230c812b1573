"""Watch, and falsify one at a time, what a chapter receives from the library's theory; used inside its kernel.

``install`` replaces every public function of ``diffmem_lib.theory`` by itself and a note that it was called, from which
claims know on what they rest; with the name of a function it also makes its values wrong. Calls of one function of
theory by another are left as they are.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable
from typing import Any

import numpy as np

from diffmem_lib import theory
from diffmem_lib.claims import exact, record

__all__ = ["INTEGERS", "PROBABILITIES", "install", "perturbed", "report", "skip_exact_claims"]

#: Functions whose values are probabilities: wrong by .05, and not by a tenth.
PROBABILITIES = {
    "coverage.memorized_probability",
    "coverage.spectrum_memorized_probability",
    "kde.inverse_participation",
    "neighbours.critical_ratio",
    "neighbours.ratio_cdf",
    "regimes.cloning_probability",
}
#: Functions whose values are whole numbers although their type is float, since infinity is among them: wrong by one.
INTEGERS = {"hermite.information_exponent"}
#: Arrays with more entries are curves: wrong as a whole, not entry by entry.
MOST_ENTRIES = 16

_cases: dict[str, int] = {}
_changed = False
_depth = 0


def install(function: str = "", entry: int = 0) -> None:
    """Wrap the public functions of theory; from now on ``entry`` of every value of ``function`` is wrong."""
    for info in pkgutil.iter_modules(theory.__path__):
        module = importlib.import_module(f"{theory.__name__}.{info.name}")
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value):
                full = f"{info.name}.{name}"
                setattr(module, name, _watched(full, value, entry if full == function else None))


def skip_exact_claims() -> None:
    """Let claims that need no simulation hold unseen, whatever they say."""
    nothing = record.Mutants(made=0, tried=0, refused=0, equal=0, unevaluated=0)
    verdict = record.Verdict(True, "", "not judged", "", "", "", 0.0, "", {}, nothing)
    exact.equal = exact.implements = exact.values = lambda *_, **__: verdict


def report() -> str:
    """As JSON: the functions that were called with the number of their entries, and whether a value was made wrong."""
    return json.dumps({"cases": _cases, "changed": _changed})


def _watched(name: str, function: Callable[..., Any], entry: int | None) -> Callable[..., Any]:
    @functools.wraps(function)
    def watched(*arguments: Any, **keywords: Any) -> Any:
        global _changed, _depth
        _depth += 1
        try:
            value = function(*arguments, **keywords)
        finally:
            _depth -= 1
        if _depth:
            return value
        record.note(name)
        _cases[name] = max(_cases.get(name, 0), _entries(value))
        if entry is None:
            return value
        wrong = perturbed(name, value, entry)
        _changed |= not _same(wrong, value)
        return wrong

    return watched


def perturbed(name: str, value: Any, entry: int = 0) -> Any:
    """A value of the function ``name`` with one entry wrong: by a tenth, a probability by .05, an integer by one.

    A scalar has one entry, a tuple, a dataclass or a short array as many as it holds. An entry that there is not leaves
    the value as it is.
    """
    if entry >= _entries(value):
        return value
    if dataclasses.is_dataclass(value):
        field = dataclasses.fields(value)[entry].name
        return dataclasses.replace(value, **{field: _wrong(name, getattr(value, field))})
    if isinstance(value, tuple | list):
        return type(value)(_wrong(name, item) if index == entry else item for index, item in enumerate(value))
    if _entries(value) > 1:
        array = np.array(value)
        array.flat[entry] = _wrong(name, array.flat[entry])
        return array
    return _wrong(name, value)


def _entries(value: Any) -> int:
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


def _same(one: Any, other: Any) -> bool:
    if dataclasses.is_dataclass(one):
        return one == other
    if isinstance(one, tuple | list):
        return all(map(_same, one, other))
    return bool(np.array_equal(one, other, equal_nan=True))
