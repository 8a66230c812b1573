"""Hold each exact claim of a chapter, as it is made, against errors planted in the library; used inside its kernel.

Running a chapter once for each mutant of `theory` takes hours. Here it runs once: ``watch`` lets every claim that a
function of the library computes a formula, or takes given values, be judged again with each error in the functions that
it reached, and ``report`` says which of them were refused, and by which claim.
"""

from __future__ import annotations

import importlib
import inspect
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from types import FunctionType, ModuleType
from typing import Any

from diffmem_lib import theory
from diffmem_lib.claims import exact, record
from diffmem_lib.claims.evaluate import gap, values_at
from tools.mutants import THEORY, Mutant, mutants_of

__all__ = ["planted", "report", "watch"]

#: A judgement that takes longer, in seconds, counts as a refusal: an error in a loop's end may let it run for ever.
PATIENCE = 60

#: Judges a claim once more against the library as it is now: whether it holds, place by place.
Again = Callable[[], Iterator[bool]]

_alive: dict[str, list[tuple[int, Mutant]]] = {}
_refused: dict[str, dict[int, str]] = {}


def watch(wanted: dict[str, list[int]]) -> None:
    """Judge the claims to come against the wanted mutants: module → their numbers in its list."""
    for name, numbers in wanted.items():
        made = dict(enumerate(mutants_of(THEORY / f"{name}.py")))
        _alive[name] = [(number, made[number]) for number in numbers]
        _refused[name] = {}
    exact.implements = _watched(exact.implements, _implements)
    exact.values = _watched(exact.values, _values)


def report() -> str:
    """As JSON: module → number of the mutant → the claim that refused it."""
    return json.dumps(_refused)


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """The library with one error in it, for every name under which its functions are known already."""
    module = importlib.import_module(f"{theory.__name__}.{mutant.path.stem}")
    wrong = ModuleType(module.__name__)
    wrong.__dict__.update({"__file__": module.__file__, "__package__": module.__package__})
    exec(compile(mutant.source, module.__file__, "exec"), wrong.__dict__)
    others = _functions(wrong)
    right = {function: _parts(function) for function in _functions(module).values()}
    for function in right:
        _put(function, _parts(others[function.__qualname__]))
    try:
        yield
    finally:
        for function, parts in right.items():
            _put(function, parts)


def _parts(function: FunctionType) -> tuple[Any, ...]:
    return function.__code__, function.__defaults__, function.__kwdefaults__


def _put(function: FunctionType, parts: tuple[Any, ...]) -> None:
    function.__code__, function.__defaults__, function.__kwdefaults__ = parts


def _functions(module: ModuleType) -> dict[str, FunctionType]:
    """The functions of a module and the methods of its classes, by qualified name."""
    classes = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
    found = [f for holder in [module, *classes] for f in vars(holder).values() if inspect.isfunction(f)]
    return {
        f.__qualname__: f for f in found if f.__module__ == module.__name__ and f.__code__.co_filename != "<string>"
    }


def _implements(
    id: str, formula: Any, function: Callable[..., Any], arguments: Sequence[Any], wrong: Any = None, domain: Any = None
) -> Again:
    """Whether the function gives what the formula says, point by point; see `exact.implements`."""
    entries, points = exact._entries(formula), exact._points(id, arguments, domain)
    truths = [[values_at(point, f"{id}/functions")(entry) for entry in entries] for point in points]

    def again() -> Iterator[bool]:
        for point, truth in zip(points, truths, strict=True):
            found = exact._called(function, [exact._argument(symbol, point) for symbol in arguments])
            yield all(gap(*pair) <= exact._LIBRARY for pair in zip(truth, found, strict=True))

    return again


def _values(function: Callable[..., Any], cases: Sequence[exact.Case]) -> Again:
    """Whether the function takes the given values, case by case; see `exact.values`."""

    def again() -> Iterator[bool]:
        for arguments, value in cases:
            found = exact._numbers(exact._call(function, arguments))
            yield all(map(exact._close, exact._numbers(value), found))

    return again


def _watched(judge: Callable[..., record.Verdict], prepare: Callable[..., Again]) -> Callable[..., record.Verdict]:
    def watched(*arguments: Any, **keywords: Any) -> record.Verdict:
        verdict = judge(*arguments, **keywords)
        if not verdict.accepted:  # the chapter ends here
            return verdict
        name = arguments[0] if isinstance(arguments[0], str) else exact.library_name(arguments[0])
        again = prepare(*arguments, **keywords)
        with _reached() as lines:
            if not all(again()):
                raise RuntimeError(f"what holds is refused when it is judged again: {name}")
        for module, mutants in _alive.items():
            path = str(THEORY / f"{module}.py")
            concerned = [m for m in mutants if any(f == path and a <= m[1].line <= b for f, a, b in lines)]
            _refused[module] |= {number: name for number, mutant in concerned if _refuses(again, mutant)}
            _alive[module] = [m for m in mutants if m[0] not in _refused[module]]
        return verdict

    return watched


@contextmanager
def _reached() -> Iterator[set[tuple[str, int, int]]]:
    """The functions that are called meanwhile: file, first and last line."""
    codes: set[Any] = set()
    sys.setprofile(lambda frame, event, _: codes.add(frame.f_code) if event == "call" else None)
    found: set[tuple[str, int, int]] = set()
    try:
        yield found
    finally:
        sys.setprofile(None)
        for code in codes:
            if code.co_filename.startswith(str(THEORY)):
                lines = [line for _, _, line in code.co_lines() if line]
                found.add((code.co_filename, code.co_firstlineno, max(lines)))


def _refuses(again: Again, mutant: Mutant) -> bool:
    """Whether a claim does not hold of the library with an error in it."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"no answer within {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    try:
        with planted(mutant), redirect_stdout(StringIO()):
            return not all(again())
    except Exception:  # whatever an error in the library leads to, the chapter does not pass
        return True
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
