"""Claims: the record of a meeting between a derivation, a formula and a simulation.

:func:`by` names whose results the next claims are; its methods register them, each of one of six kinds:

=====================  ==========================================================================
``equal``              a formula is what was derived, at random points in 50 digits
``implements``         a function of the library computes a formula
``values``             a function of the library takes given values at the edges
``agreement``          a prediction lies within the standard error of a simulation
``exponent``           a fitted power contains the predicted one and excludes its neighbours
``exceeds``            a measured quantity lies above a threshold
=====================  ==========================================================================

A claim holds only if it is accepted *and* every wrong variant is refused on the same points or data. Those of the exact
kinds are made by mutation (:mod:`.mutate`), those of measured ones are written.
Otherwise :class:`ClaimRefused` stops the chapter, and with it build and tests.

A claim prints one line and carries its record in the metadata of that output. Exact claims need SymPy only, so that
derivations run where nothing else is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy

from diffmem_lib.claims import exact, printing, record
from diffmem_lib.claims.evaluate import Domain
from diffmem_lib.claims.record import METADATA_KEY, Claim, ClaimRefused

__all__ = ["METADATA_KEY", "OWN", "Author", "Claim", "ClaimRefused", "by"]

OWN = "own derivation"


def by(
    whose: str,
    domain: Domain | None = None,
    names: Mapping[str, Any] | None = None,
    tex: Mapping[sympy.Symbol, str] | None = None,
    quoted: bool = False,
) -> Author:
    """The author of the claims that follow: :data:`OWN`, a named theorem, or a paper.

    Parameters
    ----------
    domain
        Symbol → interval of the random points, where the symbol's assumptions allow too much; recorded and shown.
    names
        Where the text of formulas looks its names up, usually ``globals()``; without it, among the symbols of what was
        derived and SymPy's functions.
    tex
        Symbol → how it is printed.
    quoted
        Whether what is claimed was taken from there and is only tested here, not derived.
    """
    if not whose.strip():
        raise ValueError("whose must say whose result it is: OWN, a theorem or a paper")
    if quoted and whose == OWN:
        raise ValueError("what is quoted must be somebody's: whose is OWN")
    return Author(whose, domain or {}, names, tex or {}, quoted)


@dataclass(frozen=True)
class Author:
    """Registers claims; made by :func:`by`."""

    whose: str
    domain: Domain
    names: Mapping[str, Any] | None
    tex: Mapping[sympy.Symbol, str]
    quoted: bool = False

    def _register(self, **said: Any) -> Claim:
        return record.register(whose=self.whose, quoted=self.quoted, **said)

    def equal(
        self,
        id: str,
        derived: Any,
        formula: Any,
        *,
        name: str = "",
        text: str = "",
        domain: Domain | None = None,
        wrong: Mapping[str, Any] | None = None,
    ) -> Claim:
        """Claim that ``formula`` is what was derived: text in SymPy's syntax, an expression or a matrix.

        Parameters
        ----------
        name
            The left-hand side on the page, in TeX.
        text
            A sentence to go with it, its mathematics between dollars.
        domain
            Added to the author's.
        wrong
            Name → wrong variant that the automatic ones do not make.

        Raises
        ------
        ClaimRefused
            If it is not, or a wrong variant that differs elsewhere cannot be told from it at the claim's points.
        """
        read = printing.read(formula, derived, name=name, names=self.names, tex=self.tex)
        domain = {**self.domain, **(domain or {})}
        return self._register(
            kind="equal",
            id=id,
            verdict=exact.equal(id, derived, read.expression, wrong, domain),
            text=text,
            formula=read.expression,
            domain=exact.shown_domain(domain, [derived, read.expression]),
            **read.shown(beside=text, named=name),
        )

    def implements(
        self,
        id: str,
        formula: Any,
        function: Callable[..., Any],
        arguments: Sequence[sympy.Symbol],
        *,
        name: str = "",
        text: str = "",
        domain: Domain | None = None,
        wrong: Mapping[str, Any] | None = None,
    ) -> Claim:
        """Claim that ``function(*arguments)`` computes ``formula`` to 1e-10 relative at random points.

        The other parameters are those of :meth:`equal`.
        """
        read = printing.read(formula, list(arguments), name=name, names=self.names, tex=self.tex)
        domain = {**self.domain, **(domain or {})}
        function_name = exact.library_name(function)
        return self._register(
            kind="implements",
            id=id,
            verdict=exact.implements(id, read.expression, function, arguments, wrong, domain),
            text=text or (f"`{function_name}`" if function_name else ""),
            formula=read.expression,
            domain=exact.shown_domain(domain, arguments),
            function=function_name,
            **read.shown(beside=text or function_name, named=name),
        )

    def values(self, id: str, function: Callable[..., Any], cases: Sequence[exact.Case], *, text: str = "") -> Claim:
        """Claim the values of a function at its edges: ``[(arguments, value), …]``.

        Arguments are a tuple, or a mapping of keywords; a value is a number, infinity, an array or a list.
        """
        function_name = exact.library_name(function)
        described = f"`{function_name or 'function'}{exact.described(cases)}`"
        return self._register(
            kind="values",
            id=id,
            verdict=exact.values(function, cases),
            text=f"{text}: {described}" if text else described,
            function=function_name,
        )

    def agreement(
        self,
        id: str,
        text: str,
        prediction: Any,
        replicas: Any,
        *,
        wrong: Mapping[str, Any],
        sizes: Sequence[float] | None = None,
        rate: float | Sequence[float] | None = None,
        scale: float | None = None,
        stored: bool = False,
    ) -> Claim:
        """Claim that a simulation agrees with a prediction, see :func:`diffmem_lib.claims.measured.agreement`."""
        from diffmem_lib.claims import measured

        verdict = measured.agreement(prediction, replicas, wrong, sizes=sizes, rate=rate, scale=scale)
        return self._register(
            kind="agreement", id=id, verdict=verdict, text=text, stored=stored, asymptotic=sizes is not None
        )

    def exponent(
        self,
        id: str,
        text: str,
        sizes: Sequence[float],
        times: Sequence[Sequence[float]],
        prediction: float,
        *,
        wrong: Mapping[str, float] | None = None,
        level: float = 0.99,
        stored: bool = False,
    ) -> Claim:
        """Claim the exponent of a power law, see :func:`diffmem_lib.claims.measured.exponent`."""
        from diffmem_lib.claims import measured

        verdict = measured.exponent(sizes, times, prediction, wrong=wrong, level=level)
        return self._register(kind="exponent", id=id, verdict=verdict, text=text, stored=stored, asymptotic=True)

    def exceeds(
        self,
        id: str,
        text: str,
        replicas: Sequence[float],
        threshold: float,
        *,
        wrong: Mapping[str, Sequence[float]],
        stored: bool = False,
    ) -> Claim:
        """Claim that a quantity exceeds a threshold, see :func:`diffmem_lib.claims.measured.exceeds`."""
        from diffmem_lib.claims import measured

        verdict = measured.exceeds(replicas, threshold, wrong)
        return self._register(kind="exceeds", id=id, verdict=verdict, text=text, stored=stored)
