"""The record of a claim: what was said, by whom, how it was judged, on what it rests.

A claim prints one line and carries its full record in the metadata of that output (key ``diffmem_claim``), from which
the pages and ``claims.json`` are made. Only SymPy is needed, so that derivations run where nothing else is installed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sympy

__all__ = ["METADATA_KEY", "Claim", "ClaimRefused", "Mutants", "Variant", "Verdict", "note", "register", "typeset"]

METADATA_KEY = "diffmem_claim"

#: Kind of a claim → what the reader sees on its badge.
BADGES = {
    "equal": "algebra",
    "implements": "library",
    "values": "library",
    "agreement": "data",
    "exponent": "data",
    "exceeds": "data",
}

_clock = time.perf_counter()
_claims: dict[str, Claim] = {}
_implemented: dict[str, str] = {}
_uses: set[str] = set()


class ClaimRefused(AssertionError):
    """The prediction was refused by the data, or a wrong variant of it was not."""


@dataclass(frozen=True)
class Variant:
    """A wrong variant held against the data: ``distance`` says in words how far it is off."""

    accepted: bool
    distance: str


@dataclass(frozen=True)
class Mutants:
    """Wrong variants that were made, not written: how many there are, were tried, refused, equal to the truth."""

    made: int
    tried: int
    refused: int
    equal: int
    unevaluated: int


@dataclass(frozen=True)
class Verdict:
    """What a judge found; all figures as text, rounded to what they can bear.

    ``reason`` says why the prediction is refused (empty if it is accepted); ``line`` is the figure part of the printed
    line; ``resolution`` is the relative error that would have been refused; ``points`` says at how many points or on
    how many replicas the claim was judged.
    """

    accepted: bool
    reason: str
    line: str
    prediction: str
    measurement: str
    error: str
    resolution: float
    points: str
    variants: Mapping[str, Variant]
    mutants: Mutants | None = None
    survivors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A claim that holds. ``record`` is what the pages are made from."""

    record: Mapping[str, Any]
    _formula: Any = field(default=None, repr=False)

    @property
    def id(self) -> str:
        """Name of the claim in its chapter."""
        return self.record["id"]

    @property
    def formula(self) -> Any:
        """The checked expression; whoever takes it rests on this claim, which the next claim's record says."""
        if self._formula is None:
            raise ValueError(f"claim {self.id!r} holds no formula")
        note(self.id)
        return self._formula

    def _ipython_display_(self) -> None:
        """Nothing: a claim at the end of a cell has already printed its line."""


def note(name: str) -> None:
    """Something was used: a claim's formula (its id) or a function of the library (``module.name``)."""
    _uses.add(name)


def typeset(text: str) -> str:
    """``[[id]]`` in a sentence is the formula of that claim, made earlier in the same chapter."""

    def formula(match: re.Match[str]) -> str:
        claim = _claims.get(match[1])
        if claim is None or not claim.record["tex"]:
            raise ValueError(f"[[{match[1]}]] names no earlier claim of this chapter that has a formula")
        note(match[1])
        return f"${claim.record['tex']}$"

    return re.sub(r"\[\[([a-z0-9-]+)\]\]", formula, text)


def register(
    *,
    kind: str,
    id: str,
    whose: str,
    verdict: Verdict,
    text: str = "",
    plain: str = "",
    tex: str = "",
    formula: Any = None,
    domain: Mapping[str, str] | None = None,
    function: str = "",
    stored: bool = False,
    quoted: bool = False,
    asymptotic: bool = False,
) -> Claim:
    """Record and print a judged claim; stop the chapter if it does not hold.

    ``text`` is a sentence with its mathematics between dollars, ``plain`` and ``tex`` the formula in one line of text
    and in TeX, ``formula`` the SymPy expression, ``function`` the name of the library's function (``module.name``);
    ``quoted`` says that it was taken from elsewhere without a derivation, ``asymptotic`` that it is reached in a limit.

    Raises
    ------
    ClaimRefused
        If the prediction was refused, or a wrong variant was not.
    ValueError
        If the id is not made of lower-case letters, digits and hyphens, is taken by another statement, or if there is
        neither sentence nor formula, or nobody whose claim it is.
    """
    global _clock
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", id):
        raise ValueError(f"id must be lower-case letters, digits and hyphens, got {id!r}")
    if not (text or tex) or not whose.strip():
        raise ValueError(f"claim {id!r} needs a sentence or a formula, and whose it is")
    if not verdict.variants and verdict.mutants is None:
        raise ValueError(f"claim {id!r} must have at least one wrong variant: without one it cannot fail")
    text = typeset(text)
    undetected = [name for name, variant in verdict.variants.items() if variant.accepted]
    undetected += [f"mutant {mutant}" for mutant in verdict.survivors]
    # Algebra rests on algebra: values of the library called on the way wait for the next measured claim.
    used = {use for use in _uses if "." not in use} if BADGES[kind] != "data" else set(_uses)
    _uses.difference_update({*used, function})
    rests_on = sorted({_implemented.get(use, use) for use in used} - {id, function})
    now = time.perf_counter()
    record = {
        "id": id,
        "kind": kind,
        "badge": "stored" if stored else BADGES[kind],
        "text": text,
        "tex": tex,
        "sympy": "" if formula is None else str(formula),
        "whose": whose,
        "domain": dict(domain or {}),
        "function": function,
        "prediction": verdict.prediction,
        "measurement": verdict.measurement,
        "error": verdict.error,
        "resolution": float(f"{verdict.resolution:.2g}"),
        "points": verdict.points,
        "variants": {name: variant.distance for name, variant in verdict.variants.items()},
        "mutants": None if verdict.mutants is None else vars(verdict.mutants) | {},
        "tier": "stored" if stored else "live",
        "quoted": quoted,
        "asymptotic": asymptotic,
        "rests_on": rests_on,
        "verdict": "holds" if verdict.accepted and not undetected else "refused",
        "seconds": round(now - _clock, 2),
    }
    _clock = now
    claim = Claim(record, formula)
    if function and kind == "implements":
        _implemented[function] = id
    _emit(record, plain, verdict.line)
    what = text or plain or tex
    if not verdict.accepted:
        raise ClaimRefused(f"claim {id!r} is refused ({what}): {verdict.reason}")
    if undetected:
        raise ClaimRefused(f"claim {id!r} cannot tell the prediction from: {'; '.join(undetected)} ({what})")
    _claims[id] = claim
    return claim


def _emit(record: Mapping[str, Any], plain: str, figures: str) -> None:
    """Print the line; inside a notebook as an output whose metadata carries the record."""
    mark = "✓" if record["verdict"] == "holds" else "✗"
    sentence = ": ".join(filter(None, [record["text"], plain])) or record["tex"]
    line = f"{mark} {record['badge']}  {sentence}: {figures}"
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        print(line)
        return
    if get_ipython() is None:
        print(line)
        return
    formula = f"${record['tex']}$" if record["tex"] else ""
    typeset_sentence = ": ".join(filter(None, [record["text"], formula]))
    # The span is where the book's pages hang the whole record; elsewhere it shows nothing.
    place = f'<span class="diffmem-claim" data-claim="{record["id"]}"></span>'
    marked = f"{place}{mark} *{record['badge']}* {typeset_sentence}: {figures}"
    display({"text/plain": line, "text/markdown": marked}, raw=True, metadata={METADATA_KEY: dict(record)})


def name_of(expression: Any, limit: int = 160) -> str:
    """An expression as one short line of text."""
    text = str(sympy.sympify(expression))
    return text if len(text) <= limit else text[: limit - 1] + "…"
