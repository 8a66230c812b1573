"""Printed formulas: the TeX that stands in a chapter's text is the TeX of a claim that was checked.

In the markdown a comment before a formula says where it comes from:

- ``% from ID``: the next line is written from the claim ``ID``, up to a full stop, comma, semicolon or line break at
  its end, or up to the dollar that ends the formula; ``% from ID aligned`` puts ``&`` before its first relation;
- ``% defines``: it introduces a symbol or the set-up and asserts nothing;
- ``% no claim: reason``: no claim can hold it; at most five a chapter.

``write`` puts the TeX in when a chapter is executed, ``differences`` finds what differs from what was checked, and
``unmarked`` finds the formulas that need a mark and have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nbformat

from tools.results import claims_of

__all__ = ["Printed", "counts", "differences", "expected", "unmarked", "write"]

#: Formulas of a chapter that may stand without a claim, each with its reason.
MOST_WITHOUT_CLAIM = 5

_FROM = re.compile(r"(?:^|\$)\s*% from (?P<claim>[a-z0-9-]+)(?P<aligned> aligned)?\s*$")
_MARK = re.compile(r"%\s*(?:(?P<kind>from|defines)\b|(?P<unclaimed>no claim:)\s*(?P<reason>[^\n]*))")
_COMMENT = re.compile(r"(?<!\\)%[^\n]*")
#: What may follow a formula on its line.
_TAIL = re.compile(r"[.,;]?\s*(?:\\\\(?:\[[^\]]*\])?)?\s*$")
#: A line before which a formula is put in, where any other line is replaced by it.
_NO_FORMULA = re.compile(r"\s*(?:$|\$|%|\\\\|\\end\{|\\begin\{(?:aligned|gathered|split))")
_RELATION = re.compile(
    r"=|<|>|\\(?:leq?|geq?|neq?|ll|gg|approx|sim|simeq|cong|equiv|propto|asymp|lesssim|gtrsim|prec|succ)(?![a-zA-Z])"
)
_DIRECTIVE = re.compile(r"\s*(?P<fence>`{3,}|:{3,}|~{3,})\s*\{(?P<name>[\w:-]+)\}")
_FENCE = re.compile(r"\s*(?P<fence>`{3,}|:{3,}|~{3,})\s*(?P<language>[\w-]*)\s*$")
_MATH = re.compile(
    r"(?<![\\$])\$\$(?P<display>.+?)\$\$"
    r"|(?P<amsmath>\\begin\{(?P<name>equation|align|gather|multline|alignat|flalign)\*?\}.+?\\end\{(?P=name)\*?\})"
    r"|(?<![\\$])\$(?P<inline>(?:\\.|[^$\\\n]|\n(?![ \t]*\n))+?)\$(?!\$)",
    flags=re.DOTALL,
)


@dataclass(frozen=True)
class Printed:
    """A formula of the text that is printed from a claim: what stands there, and what was checked (None: nothing)."""

    cell: str
    claim: str
    stands: str
    checked: str | None


@dataclass(frozen=True)
class _Formula:
    """A formula of the text; ``where`` is one of text, statement and exercise, ``apart`` says if it begins a block."""

    cell: str
    tex: str
    displayed: bool
    where: str
    apart: bool


def expected(notebook: nbformat.NotebookNode, records: Sequence[Mapping[str, Any]]) -> list[Printed]:
    """Every formula with the mark ``% from``, in the order of the text, with what the claims' records say."""
    checked = {record["id"]: record.get("tex", "") for record in records}
    found = []
    for cell in _prose(notebook):
        lines = cell.source.split("\n")
        for number, mark in _marks(lines):
            following = lines[number + 1] if number + 1 < len(lines) else ""
            stands = "" if _NO_FORMULA.match(following) else _split(following)[1]
            found.append(Printed(cell.id, mark["claim"], stands, _wanted(checked.get(mark["claim"]), mark)))
    return found


def write(notebook: nbformat.NotebookNode) -> None:
    """Put the TeX of the executed notebook's claims after each ``% from``, in place; unknown claims are left alone."""
    checked = {record["id"]: record.get("tex", "") for record in claims_of(notebook)}
    for cell in _prose(notebook):
        lines = cell.source.split("\n")
        for number, mark in reversed(list(_marks(lines))):
            tex = _wanted(checked.get(mark["claim"]), mark)
            if tex is None:
                continue
            following = lines[number + 1] if number + 1 < len(lines) else ""
            if not _NO_FORMULA.match(following):
                indent, _, tail = _split(following)
                lines[number + 1] = indent + tex + tail
            elif following.lstrip().startswith("$") and not following.lstrip().startswith("$$"):
                lines[number + 1] = tex + following.lstrip()
            else:
                lines.insert(number + 1, tex)
        cell.source = "\n".join(lines)


def differences(notebook: nbformat.NotebookNode, executed: nbformat.NotebookNode) -> list[str]:
    """A line for each formula of ``notebook`` that is not what the claims of its ``executed`` copy checked."""
    lines = []
    for formula in expected(notebook, claims_of(executed)):
        if formula.checked is None:
            lines.append(f"{formula.cell}: no claim {formula.claim!r} has a formula, {formula.stands!r} stands there")
        elif formula.stands != formula.checked:
            lines.append(
                f"{formula.cell}: {formula.stands!r} stands there, claim {formula.claim!r} checked {formula.checked!r}"
            )
    return lines


def unmarked(notebook: nbformat.NotebookNode) -> list[str]:
    """A line for each formula that needs a mark and has none, and for marks that are wrong.

    In a numbered statement every displayed formula and every inline one with a relation needs a mark; elsewhere, except
    in exercises and solutions, every displayed one.
    """
    formulas = list(_formulas(notebook))
    lines = [f"{f.cell}: {fault}: {_short(f.tex)}" for f in formulas for fault in _faults(f)]
    without = counts(notebook)["exempt"]
    if without > MOST_WITHOUT_CLAIM:
        lines.append(f"{without} formulas stand under 'no claim', {MOST_WITHOUT_CLAIM} may")
    inside = sum(len(re.findall(r"% from ", f.tex)) for f in formulas)
    everywhere = sum(cell.source.count("% from ") for cell in _prose(notebook))
    if inside != everywhere:
        lines.append(f"{everywhere - inside} marks '% from' stand outside of formulas")
    return lines


def counts(notebook: nbformat.NotebookNode) -> dict[str, int]:
    """How many formulas are printed from claims, stand under ``no claim`` (exempt), and only define something."""
    names = {"from": "printed", "defines": "defines", None: "exempt"}
    found = dict.fromkeys(("printed", "exempt", "defines"), 0)
    for formula in _formulas(notebook):
        for mark in _MARK.finditer(formula.tex):
            found[names[mark["kind"]]] += 1
    return found


def exempt(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    """TeX, in a line, and reason of each formula that stands under ``no claim``, in the order of the text."""
    found = []
    for formula in _formulas(notebook):
        reasons = [mark["reason"].strip() for mark in _MARK.finditer(formula.tex) if mark["unclaimed"]]
        found += [(" ".join(_COMMENT.sub("", formula.tex).split()), reason) for reason in reasons]
    return found


def _prose(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


def _marks(lines: list[str]) -> Iterator[tuple[int, re.Match[str]]]:
    for number, line in enumerate(lines):
        mark = _FROM.search(line)
        if mark:
            yield number, mark


def _wanted(tex: str | None, mark: re.Match[str]) -> str | None:
    """The TeX of a claim as its mark asks for it."""
    if not tex or not mark["aligned"]:
        return tex or None
    position = _first_relation(tex)
    return f"&= {tex}" if position is None else f"{tex[:position]}&{tex[position:]}"


def _first_relation(tex: str) -> int | None:
    """Where the first relation outside of all brackets begins."""
    for match in _RELATION.finditer(tex):
        before = re.sub(r"\\[{}]", "", tex[: match.start()])
        if all(before.count(left) == before.count(right) for left, right in ("{}", "()", "[]")):
            return match.start()
    return None


def _split(line: str) -> tuple[str, str, str]:
    """Indentation, formula and tail of the line after a mark."""
    dollar = re.search(r"(?<!\\)\$", line)
    end = dollar.start() if dollar else len(line)
    tail = _TAIL.search(line[:end])
    start = len(line) - len(line.lstrip())
    cut = tail.start() if tail else end
    return line[:start], line[start:cut], line[cut:]


def _formulas(notebook: nbformat.NotebookNode) -> Iterator[_Formula]:
    """All formulas of the text with where they stand; code is left out."""
    gate = ""  # an exercise or a solution may span cells, between its start and its end
    for cell in _prose(notebook):
        kinds, gate = _kinds(cell.source, gate)
        lines = cell.source.split("\n")
        text = "\n".join(
            "" if kind == "code" else re.sub(r"(`+)[^`\n]+\1", "", line)
            for kind, line in zip(kinds, lines, strict=True)
        )
        for match in _MATH.finditer(text):
            inline = match["inline"]
            tex = inline if inline is not None else match["display"] or match["amsmath"]
            line = text.count("\n", 0, match.start())
            apart = not text[: match.start()].rpartition("\n")[2].strip() and _ends_block(text.split("\n")[:line])
            yield _Formula(cell.id, tex, inline is None, kinds[line], apart)


def _ends_block(lines: list[str]) -> bool:
    """Whether a formula below these lines is a block of its own: after an empty line, or the head of a directive."""
    return not lines or not lines[-1].strip() or bool(re.match(r"\s*(`{3,}|:{3,}|:[\w-]+:)", lines[-1]))


def _kinds(source: str, gate: str) -> tuple[list[str], str]:
    """For each line of a cell text, statement, exercise or code; and the gate that is open at its end."""
    kinds: list[str] = []
    open_fences: list[tuple[str, str]] = []
    for line in source.split("\n"):
        directive, fence = _DIRECTIVE.match(line), _FENCE.match(line)
        literal = bool(open_fences) and open_fences[-1][1] == "code"
        if directive and not literal:
            name = directive["name"]
            if name.endswith(("-start", "-end")):
                gate = name.removesuffix("-start") if name.endswith("-start") else ""
            open_fences.append((directive["fence"], name))
        elif fence and open_fences and _closes(fence, open_fences[-1][0]):
            open_fences.pop()
        elif fence and not literal:
            open_fences.append((fence["fence"], "code"))
        kinds.append(_kind([name for _, name in open_fences], gate))
    return kinds, gate


def _closes(fence: re.Match[str], opening: str) -> bool:
    return not fence["language"] and fence["fence"][0] == opening[0] and len(fence["fence"]) >= len(opening)


def _kind(directives: list[str], gate: str) -> str:
    if "code" in directives or "code-cell" in directives:
        return "code"
    if gate in ("exercise", "solution") or {"exercise", "solution"} & set(directives):
        return "exercise"
    if any(name.startswith("prf:") and name != "prf:proof" for name in directives):
        return "statement"
    return "text"


def _faults(formula: _Formula) -> Iterator[str]:
    """What is wrong with the marks of one formula."""
    for comment in _COMMENT.findall(formula.tex):
        mark = _MARK.match(comment)
        if mark is None:
            yield "a comment that is no mark"
        elif mark["unclaimed"] and not mark["reason"].strip():
            yield "'no claim' without a reason"
    if _MARK.search(formula.tex):
        # Elsewhere Markdown reads the mark as a comment of its own, and the formula is torn.
        if formula.displayed and not formula.apart:
            yield "a marked formula needs an empty line before it"
        if not formula.displayed and re.search(r"\n\s*[-+*>#] ", formula.tex):
            yield "a line that would begin a list: give the claim a left-hand side"
    if formula.where == "exercise":
        return
    if formula.displayed:
        if not _MARK.search(formula.tex):
            yield "a displayed formula without a mark"
        elif any(_asserts(line) for line in _uncovered(formula.tex)):
            yield "a line of a displayed formula without a mark"
    elif formula.where == "statement" and _asserts(formula.tex) and not _MARK.search(formula.tex):
        yield "a formula of a statement without a mark"


def _uncovered(tex: str) -> Iterator[str]:
    """Lines of a displayed formula that no mark speaks for: ``from`` speaks for one line, the others for all below."""
    left = 0.0
    for line in tex.split("\n"):
        mark = _MARK.search(line)
        if mark:
            left = 1 if mark["kind"] == "from" else float("inf")
        elif left > 0:
            left -= 1
        else:
            yield line


def _asserts(tex: str) -> bool:
    """Whether there is a relation, other than in a sub- or superscript such as the limits of a sum."""
    bare = _COMMENT.sub("", tex).replace(r"\left<", "").replace(r"\right>", "")
    previous = None
    while bare != previous:
        previous, bare = bare, re.sub(r"[_^]\{[^{}]*\}", "", bare)
    return bool(_RELATION.search(re.sub(r"\\(?:text|mathrm|operatorname)\{[^{}]*\}", "", bare)))


def _short(tex: str, limit: int = 90) -> str:
    flat = " ".join(tex.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
