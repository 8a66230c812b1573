"""The index of results and ``claims.json``, generated from the claims that executed chapters carry in their outputs."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import nbformat

METADATA_KEY = "diffmem_claim"
SCHEMA_VERSION = 1
BADGES = ("algebra", "library", "data", "stored")
#: Badges of claims that no simulation is asked about.
EXACT = BADGES[:2]
HEAD = """\
(results)=
# Results

Every claim of the book, generated from the run that built these pages: nothing here is typed by hand.
A claim holds only if its prediction is accepted and each of its wrong variants is refused by the same data.
Its *badge* says by whom it was held.
*Algebra* compares two expressions, say $a$ and $b$, in fifty digits at random points; *library* a function of the
library with such an expression; *data* a prediction with a simulation at this build; *stored* with a longer run whose
data lie in `chapters/stored`.
Its *resolution* is the smallest relative error of the prediction that would have been refused.
Each entry leads back to its place in the chapter, and has an address of its own that does not change.
The same as a file, for programs: <a href="../_static/claims.json">claims.json</a>.
"""
SIMULATED = """\
Each value that a chapter takes from the library's theory was made wrong by a tenth (a probability by .05, a whole
number by one), with the exact claims left out: these measured claims refused. (`make hands` does it.)
"""
EXEMPT = """\
Formulas that the pages assert, as a theorem that is quoted or a sum over what is checked, and that no claim holds as
they stand, and why.
"""
NOT_SIMULATED = """\
Functions of the library whose value, or one entry of it, may be wrong without any measured claim refusing it, and why.
Their only hand is the algebra.
"""


@dataclass(frozen=True)
class Entry:
    """One claim, whichever form its record has; all figures are text.

    ``line`` is what the chapter prints after the sentence; ``rests_on`` names claims as ``chapter/id`` and functions of
    the library that no claim holds as ``module.name``.
    """

    chapter: str
    id: str
    kind: str
    badge: str
    text: str
    tex: str
    line: str
    whose: str
    verdict: str
    sympy: str = ""
    domain: Mapping[str, str] = field(default_factory=dict)
    function: str = ""
    prediction: str = ""
    measurement: str = ""
    error: str = ""
    resolution: float | None = None
    points: str = ""
    variants: Mapping[str, str] = field(default_factory=dict)
    mutants: Mapping[str, int] | None = None
    tier: str = "live"
    quoted: bool = False
    asymptotic: bool = False
    rests_on: Sequence[str] = ()
    seconds: float | None = None

    @property
    def key(self) -> str:
        """Its name in the whole book."""
        return f"{self.chapter}/{self.id}"

    @property
    def anchor(self) -> str:
        """Where its entry stands on the page of results."""
        return f"result-{self.chapter.replace('_', '-')}-{self.id}"

    @property
    def place(self) -> str:
        """Where its verdict stands on the chapter's page."""
        return f"claim-{self.id}"

    @property
    def statement(self) -> str:
        """The sentence, or without one the formula, as Markdown with TeX between dollars."""
        return ": ".join(filter(None, [self.text, f"${self.tex}$" if self.tex else ""]))


# --------------------------------------------------------------------------------------------------
# From notebooks to entries
# --------------------------------------------------------------------------------------------------


def claims_of(notebook: nbformat.NotebookNode) -> list[dict[str, Any]]:
    """The records in a notebook's outputs, in order."""
    return [output["metadata"][METADATA_KEY] for output in _claim_outputs(notebook)]


def _claim_outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output for output in outputs if METADATA_KEY in output.get("metadata", {})]


def title_of(notebook: nbformat.NotebookNode) -> str:
    """The first heading."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return next(line[2:].strip() for line in text.splitlines() if line.startswith("# "))


def _figures(record: Mapping[str, Any], markdown: str) -> str:
    """What the printed line says after sentence and formula."""
    formula = f"${record['tex']}$" if record["tex"] else ""
    return markdown.partition(": ".join(filter(None, [record["text"], formula])) + ": ")[2]


def entry_of(chapter: str, output: nbformat.NotebookNode) -> Entry:
    """The entry of an output that carries a claim's record; ``rests_on`` as it was recorded, within the chapter."""
    record = output["metadata"][METADATA_KEY]
    known = {name: record[name] for name in Entry.__dataclass_fields__ if name in record and name != "line"}
    # A variant's distance is words; a resolution of nought is that of a claim that is exact.
    known |= {"resolution": record["resolution"] or None}
    return Entry(chapter, line=_figures(record, output["data"]["text/markdown"]), **known)


def entries_of(notebooks: Mapping[str, nbformat.NotebookNode]) -> dict[str, list[Entry]]:
    """Chapter → its entries, in order; what they rest on named in the whole book."""
    found = {name: [entry_of(name, o) for o in _claim_outputs(notebook)] for name, notebook in notebooks.items()}
    # The first claim that a function computes what was derived is the one that its uses rest on.
    holds: dict[str, str] = {}
    for entry in (entry for entries in found.values() for entry in entries):
        if entry.kind == "implements" and entry.function:
            holds.setdefault(entry.function, entry.key)
    for name, entries in found.items():
        ids = {entry.id for entry in entries}
        for place, entry in enumerate(entries):
            uses = [f"{name}/{use}" if use in ids else holds.get(use, use) for use in entry.rests_on]
            entries[place] = _replaced(entry, sorted(set(uses) - {entry.key}))
    return found


def _replaced(entry: Entry, rests_on: Sequence[str]) -> Entry:
    return Entry(**{name: getattr(entry, name) for name in Entry.__dataclass_fields__} | {"rests_on": rests_on})


def origins(entries: Mapping[str, Entry], key: str) -> list[str]:
    """What a claim, or any that it rests on, was taken from that is less than a derivation or a live run: of
    ``stored`` (data of a longer run), ``asymptotic`` (a limit), ``quoted`` (a result not derived here)."""
    reached: set[str] = set()
    waiting = [key]
    while waiting:
        name = waiting.pop()
        if name in entries and name not in reached:
            reached.add(name)
            waiting.extend(entries[name].rests_on)
    found = [entries[name] for name in reached]
    flags = {
        "stored": any(entry.tier == "stored" for entry in found),
        "asymptotic": any(entry.asymptotic for entry in found),
        "quoted": any(entry.quoted for entry in found),
    }
    return [flag for flag, holds in flags.items() if holds]


# --------------------------------------------------------------------------------------------------
# claims.json
# --------------------------------------------------------------------------------------------------


def claims_json(notebooks: Mapping[str, nbformat.NotebookNode]) -> str:
    """All claims as JSON, in the order of the book, without times: the same text on every machine.

    ``notebooks`` maps the name of a chapter to it, executed. The file's fields are those of :class:`Entry`, its formula
    in TeX and as SymPy text together, and ``origins`` (see :func:`origins`).
    """
    entries = [entry for found in entries_of(notebooks).values() for entry in found]
    by_key = {entry.key: entry for entry in entries}
    claims = [_json_entry(entry) | {"origins": origins(by_key, entry.key)} for entry in entries]
    text = json.dumps({"schema_version": SCHEMA_VERSION, "claims": claims}, ensure_ascii=False, indent=1)
    return text + "\n"


def _json_entry(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "chapter": entry.chapter,
        "kind": entry.kind,
        "badge": entry.badge,
        "statement": entry.text,
        "formula": {"tex": entry.tex, "sympy": entry.sympy},
        "whose": entry.whose,
        "domain": dict(entry.domain),
        "function": entry.function,
        "prediction": entry.prediction,
        "measurement": entry.measurement,
        "error": entry.error,
        "resolution": entry.resolution,
        "points": entry.points,
        "variants": dict(entry.variants),
        "mutants": None if entry.mutants is None else dict(entry.mutants),
        "verdict": entry.verdict,
        "tier": entry.tier,
        "rests_on": list(entry.rests_on),
    }


# --------------------------------------------------------------------------------------------------
# What stands in a record, for both pages
# --------------------------------------------------------------------------------------------------


def percent(resolution: float) -> str:
    """A relative error as a percentage of two digits."""
    return f"{100 * resolution:.2g} %"


def mutants_line(mutants: Mapping[str, int]) -> str:
    """How the variants that were made fared: "11 of 11 refused, 1 equal to the truth"."""
    against = mutants["tried"] - mutants["equal"] - mutants["unevaluated"]
    parts = [f"{mutants['refused']} of {against} refused"]
    if mutants["equal"]:
        parts.append(f"{mutants['equal']} equal to the truth")
    if mutants["unevaluated"]:
        parts.append(f"{mutants['unevaluated']} could not be evaluated")
    if mutants["tried"] < mutants["made"]:
        parts.append(f"drawn from {mutants['made']}")
    return ", ".join(parts)


def record_lines(entry: Entry) -> list[tuple[str, str]]:
    """Name and text of each part of a record that says something, but for its variants and what it rests on."""
    domain = ", ".join(f"{name}: {values}" for name, values in entry.domain.items())
    # Both sides of an exact check are the formula itself.
    exact = entry.badge in EXACT
    lines = [
        ("whose", entry.whose + ("; quoted: tested here, not derived" if entry.quoted else "")),
        ("prediction", "" if exact else entry.prediction),
        ("measured", "" if exact else entry.measurement),
        ("error", entry.error),
        ("would be refused", "" if exact or entry.resolution is None else f"an error of {percent(entry.resolution)}"),
        ("judged at", entry.points),
        ("domain", domain),
        ("function", entry.function),
        ("variants made", mutants_line(entry.mutants) if entry.mutants and entry.mutants["made"] else ""),
        ("time", f"{entry.seconds:.1f} s" if (entry.seconds or 0) >= 0.05 else ""),
    ]
    return [(name, text) for name, text in lines if text]


# --------------------------------------------------------------------------------------------------
# The page
# --------------------------------------------------------------------------------------------------


def _escaped(text: str) -> str:
    return "".join("\\" + c if c in "\\`*_{}[]<>$#|~^" else c for c in " ".join(text.split()))


def _link(key: str, entries: Mapping[str, Entry]) -> str:
    """A claim as a link to its entry, a function as its name."""
    return f"[{_escaped(key)}](#{entries[key].anchor})" if key in entries else f"`{key}`"


def _badge(entry: Entry) -> str:
    return f"[{entry.badge}]{{.dm-badge .dm-{entry.badge}}}"


def claim_card(entry: Entry, entries: Mapping[str, Entry]) -> str:
    """One claim as a folded entry with its whole record; the classes are what the filters read."""
    lines = [f"- {name}: {_escaped(text)}" for name, text in record_lines(entry)]
    lines += [f"- variant refused: {_escaped(name)}, {_escaped(distance)}" for name, distance in entry.variants.items()]
    if entry.rests_on:
        lines.append(f"- rests on: {', '.join(_link(key, entries) for key in entry.rests_on)}")
    classes = f"dm-entry dm-chapter-{entry.chapter} dm-kind-{entry.kind} dm-badge-{entry.badge}"
    figures = f"\n{_escaped(entry.line)}\n" if entry.line else ""
    sympy = f"\n```python\n{entry.sympy}\n```\n" if entry.sympy else ""
    back = f'<a class="dm-back" href="../chapters/{entry.chapter}.html#{entry.place}">in the chapter</a>'
    return f"""\
::::{{dropdown}} {_badge(entry)} {entry.statement}
:name: {entry.anchor}
:class-container: {classes.replace("_", "-")}

`{entry.key}`, {entry.kind}, {entry.verdict}: {back}
{figures}{sympy}
{chr(10).join(lines)}
::::
"""


def headlines(chosen: Sequence[Mapping[str, str]], entries: Mapping[str, Entry]) -> str:
    """The results that a reader would cite: each a sentence, its figure, and a link to its entry.

    ``chosen`` holds mappings with ``claim`` (``chapter/id``), ``sentence`` (Markdown) and, if the chapter shows it,
    ``figure`` (the name of a figure). Raises ``ValueError`` for a claim that does not exist.
    """
    lines = []
    for number, headline in enumerate(chosen, 1):
        entry = entries.get(headline["claim"])
        if entry is None:
            raise ValueError(f"headline {number} names no claim of the book: {headline['claim']!r}")
        figure = f" {{numref}}`{headline['figure']}`." if headline.get("figure") else ""
        line = f" *{_escaped(entry.line)}.*" if entry.line and entry.badge in ("data", "stored") else ""
        lines.append(
            f"1. {headline['sentence']}{line}{figure} {_badge(entry)} [{_escaped(entry.key)}](#{entry.anchor})"
        )
    return "\n".join(["## Headlines", "", *lines, ""]) if lines else ""


def arcs(entries: Sequence[Entry], every: Mapping[str, Entry]) -> str:
    """What a chapter's claims rest on, as an SVG: a line for each claim, an arc to each one before that it uses."""
    used = {key for entry in entries for key in entry.rests_on if key in every}
    rows = sorted(used - {entry.key for entry in entries})
    rows += [entry.key for entry in entries if entry.key in used or any(key in every for key in entry.rests_on)]
    if not rows:
        return ""
    height, middle = 22, {key: 22 * number + 14 for number, key in enumerate(rows)}
    left = 12 + 9 * min(len(rows), 14)
    lines = []
    for entry in entries:
        for key in filter(middle.__contains__, entry.rests_on):
            start, end = middle[key], middle[entry.key]
            bend = left - 8 - min(9 * abs(end - start) / height, left - 14)
            lines.append(
                f'<path class="dm-arc" d="M{left},{start} C{bend:.0f},{start} {bend:.0f},{end} {left},{end}"/>'
            )
    for key in rows:
        entry, label = every[key], key if every[key].chapter != entries[0].chapter else every[key].id
        lines.append(f'<circle class="dm-dot dm-{entry.badge}" cx="{left}" cy="{middle[key]}" r="4.5"/>')
        lines.append(
            f'<a href="#{entry.anchor}"><text x="{left + 12}" y="{middle[key] + 4}">{html.escape(label)}</text></a>'
        )
    width = left + 20 + 8 * max(map(len, rows))
    return (
        f'<svg class="dm-graph" role="group" aria-label="What the claims of this chapter rest on" width="{width}" '
        f'height="{height * len(rows) + 8}" viewBox="0 0 {width} {height * len(rows) + 8}">{"".join(lines)}</svg>'
    )


def _summary(
    found: Mapping[str, list[Entry]], seconds: Mapping[str, float], counts: Mapping[str, Mapping[str, int]]
) -> str:
    """The table of claims by badge; if they were counted, also of formulas and of what no simulation sees."""
    names = list(dict.fromkeys(name for count in counts.values() for name in count))
    head = ["chapter", *BADGES, *names, "seconds"]
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for chapter, entries in found.items():
        badges = Counter(entry.badge for entry in entries)
        cells = [badges[badge] for badge in BADGES] + [counts.get(chapter, {}).get(name, "") for name in names]
        rows.append(f"| [](../chapters/{chapter}.ipynb) | {' | '.join(map(str, cells))} | {seconds[chapter]:.0f} |")
    total = Counter(entry.badge for entries in found.values() for entry in entries)
    sums = [total[badge] for badge in BADGES] + [sum(count.get(name, 0) for count in counts.values()) for name in names]
    rows.append(f"| all | {' | '.join(map(str, sums))} | {sum(seconds.values()):.0f} |")
    return "\n".join(rows) + "\n"


def _section(name: str, title: str, entries: Sequence[Entry], every: Mapping[str, Entry]) -> str:
    graph = arcs(entries, every)
    fold = (
        f":::{{dropdown}} What they rest on\n:class-container: dm-rests\n```{{raw}} html\n{graph}\n```\n:::\n"
        if graph
        else ""
    )
    cards = "\n".join(claim_card(entry, every) for entry in entries)
    return f"## {title}\n\n{fold}\n{cards}"


def results_page(
    executed: Mapping[str, tuple[nbformat.NotebookNode, float]],
    *,
    chosen: Iterable[Mapping[str, str]] = (),
    counts: Mapping[str, Mapping[str, int]] | None = None,
    exempt: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    simulated: Mapping[str, Sequence[str]] | None = None,
    not_simulated: Mapping[str, str] | None = None,
) -> str:
    """Markdown of the page from name → (executed notebook, seconds).

    ``chosen`` are the headlines (see :func:`headlines`); ``counts`` maps a chapter to further counts for the table, as
    of formulas that are printed from a claim; ``exempt`` maps a chapter to TeX and reason of its formulas without one;
    ``not_simulated`` maps a function of the library that no simulation sees to the reason.
    """
    found = entries_of({name: notebook for name, (notebook, _) in executed.items()})
    every = {entry.key: entry for entries in found.values() for entry in entries}
    seconds = {name: taken for name, (_, taken) in executed.items()}
    sections = [_section(name, title_of(executed[name][0]), entries, every) for name, entries in found.items()]
    table = _summary(found, seconds, counts or {})
    seen = _hands(simulated or {}, not_simulated or {}, every)
    without = _without_claim(exempt or {})
    return (
        "\n".join([HEAD, headlines(list(chosen), every), "## All claims\n", table, *sections, *without, *seen]) + "\n"
    )


def _without_claim(exempt: Mapping[str, Sequence[tuple[str, str]]]) -> list[str]:
    """The formulas that no claim holds, with the reasons."""
    pairs = [(name, tex, why) for name, found in exempt.items() for tex, why in found]
    lines = [f"- [](../chapters/{name}.ipynb), {why}:\n\n  $$\n  {tex}\n  $$\n" for name, tex, why in pairs]
    return ["## Formulas without a claim\n", EXEMPT, *lines] if lines else []


def _hands(
    simulated: Mapping[str, Sequence[str]], not_simulated: Mapping[str, str], every: Mapping[str, Entry]
) -> list[str]:
    """What the simulations see of the library's theory, and what they do not."""
    lines = []
    if simulated:
        rows = [f"| `{name}` | {', '.join(_link(key, every) for key in keys)} |" for name, keys in simulated.items()]
        title = f":::{{dropdown}} {len(rows)} values of theory, and the claims that refuse them when they are wrong"
        rows = [title, "| value | refused by |", "|---|---|", *rows, ":::\n"]
        lines += ["## What the simulations see\n", SIMULATED, *rows]
    if not_simulated:
        lines += ["## Not simulated\n", NOT_SIMULATED, *(f"- `{name}`: {why}" for name, why in not_simulated.items())]
    return lines
