"""Make a chapter's page one for reading: code in slim labelled folds, claims as verdicts, solutions whole, depths.

MyST-NB renders a notebook cell by cell. Here the finished HTML of a chapter is rearranged: a run of cells without prose
between them becomes its code in one fold, its checks in one line, and its other outputs in sight. Everything is plain
``<details>``, so that a reader without JavaScript can open all of it; ``diffmem.js`` adds the switch of depths.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bs4 import BeautifulSoup, NavigableString, Tag
from sphinx.application import Sphinx

from tools.build import all_chapters, cached, open_cache
from tools.results import EXACT, Entry, claims_json, entries_of, record_lines

#: First words of a label; the rest of it says what the cell does.
KINDS = ("Setup", "Derivation", "Library", "Check", "Simulation", "Figure", "Solution", "Table")
UNLABELLED = "Code"
DEFAULT_PROMPT = "Show code cell source"
LONGEST_LABEL = 110
DEPTHS = {"Read": "prose, formulas, figures", "Follow": "the algebra too", "Run": "everything"}
#: The label of the words on how to read a verdict, in the first chapter.
READING = "reading-verdicts"

# --------------------------------------------------------------------------------------------------
# Verdicts
# --------------------------------------------------------------------------------------------------


def typeset(text: str) -> str:
    """A sentence in Markdown, with its mathematics between dollars, as HTML that MathJax reads."""
    parts = re.split(r"\$([^$]+)\$", text)
    for place, part in enumerate(parts):
        escaped = html.escape(part, quote=False)
        if place % 2:
            parts[place] = f'<span class="math notranslate nohighlight">\\({escaped}\\)</span>'
        else:
            escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
            parts[place] = re.sub(r"(?<![\w*])\*([^*\s][^*]*)\*(?!\w)", r"<em>\1</em>", escaped)
    return "".join(parts)


def _badge(name: str) -> str:
    return f'<span class="dm-badge dm-{name}">{name}</span>'


def _where(key: str, every: Mapping[str, Entry], results: str) -> str:
    """A claim as a link to its entry among the results, a function as its name."""
    name = html.escape(key)
    return f'<a href="{results}#{every[key].anchor}">{name}</a>' if key in every else f"<code>{name}</code>"


def verdict(entry: Entry, every: Mapping[str, Entry], results: str) -> str:
    """A claim as one typeset line that unfolds to its record; ``results`` is the address of the page of results."""
    statement = typeset(entry.statement)
    # Measured figures are what a reader compares; that an exact check was exact is what its badge says.
    measured = entry.line and entry.badge not in EXACT
    figures = f': <span class="dm-figures">{typeset(entry.line)}</span>' if measured else ""
    rows = [(name, html.escape(text)) for name, text in record_lines(entry)]
    if entry.variants:
        variants = "; ".join(f"{typeset(name)} ({typeset(how)})" for name, how in entry.variants.items())
        rows.append(("variants refused", variants))
    if entry.rests_on:
        rows.append(("rests on", ", ".join(_where(key, every, results) for key in entry.rests_on)))
    rows.append(("entry", f'<a href="{results}#{entry.anchor}">{html.escape(entry.key)} among the results</a>'))
    record = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in rows)
    return (
        f'<details class="dm-verdict" id="{entry.place}"><summary>{_badge(entry.badge)} '
        f'<span class="dm-sentence">{statement}{figures}</span></summary><dl class="dm-record">{record}</dl></details>'
    )


def checks(verdicts: Sequence[tuple[str, str]]) -> str:
    """Exact verdicts that follow each other, each with its badge, as one line that unfolds to them."""
    if len(verdicts) == 1:
        return verdicts[0][1]
    badges = " ".join(_badge(name) for name in EXACT if name in {badge for badge, _ in verdicts})
    inside = "".join(text for _, text in verdicts)
    return (
        f'<details class="dm-checks"><summary>{badges} <span class="dm-sentence">{len(verdicts)} checks hold</span>'
        f"</summary>{inside}</details>"
    )


# --------------------------------------------------------------------------------------------------
# Code
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Code:
    """The code of a cell: its label, whether it is SymPy's, its lines, its HTML."""

    label: str
    sympy: bool
    lines: int
    inside: str

    @property
    def kind(self) -> str:
        first = self.label.split(":")[0].split()[0]
        return first.lower() if first in KINDS else "code"

    @property
    def what(self) -> str:
        """The label without its first word."""
        return self.label.partition(":")[2].strip()


def _lines(count: int) -> str:
    return f'<span class="dm-lines">{count} line{"s" * (count != 1)}</span>'


def fold(code: Code, *, opened: bool = False) -> str:
    """A cell's code under one line that says what it does."""
    sympy, shown = " data-sympy" * code.sympy, " open" * opened
    return (
        f'<details class="dm-code" data-kind="{code.kind}"{sympy}{shown}><summary>'
        f"<span>{html.escape(code.label)}</span>{_lines(code.lines)}</summary>{code.inside}</details>"
    )


def joint_label(codes: Sequence[Code]) -> str:
    """What several cells do, in one line: "Derivation: the ratio; its limit · Check"; if too long, how many steps."""
    kinds = [(kind, list(group)) for kind, group in groupby(codes, lambda code: code.label.partition(":")[0])]
    parts = []
    for kind, group in kinds:
        whats = "; ".join(dict.fromkeys(filter(None, (code.what for code in group))))
        parts.append(f"{kind}: {whats}" if whats else kind)
    label = " · ".join(dict.fromkeys(parts))
    if len(label) <= LONGEST_LABEL:
        return label
    return f"{len(codes)} steps: {', '.join(dict.fromkeys(kind for kind, _ in kinds)).lower()}"


def folds(codes: Sequence[Code]) -> str:
    """The code of neighbouring cells under one line; inside it each has its own, opened."""
    if len(codes) == 1:
        return fold(codes[0])
    sympy = " data-sympy" * any(code.sympy for code in codes)
    inside = "".join(fold(code, opened=True) for code in codes)
    return (
        f'<details class="dm-code dm-group"{sympy}><summary><span>{html.escape(joint_label(codes))}</span>'
        f"{_lines(sum(code.lines for code in codes))}</summary>{inside}</details>"
    )


# --------------------------------------------------------------------------------------------------
# Cells
# --------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """Neighbouring cells on their way to the page: what is written, and the code and checks that wait for more."""

    written: list[str] = field(default_factory=list)
    codes: list[Code] = field(default_factory=list)
    exact: list[tuple[str, str]] = field(default_factory=list)

    def show(self, output: str = "") -> None:
        """Write what waits, then an output that must be seen."""
        if self.codes:
            self.written.append(folds(self.codes))
        if self.exact:
            self.written.append(checks(self.exact))
        self.codes, self.exact = [], []
        self.written.append(output)


class Chapter:
    """The HTML of a chapter, rearranged in place.

    ``name`` is the chapter's, ``entries`` are its claims in order, ``every`` those of the book, ``results`` the address
    of the page of results, ``help`` that of the words on how to read a verdict, ``repository`` that of the repository,
    where errors are reported; the last two may be nothing.
    """

    def __init__(
        self,
        name: str,
        body: str,
        entries: Sequence[Entry],
        every: Mapping[str, Entry],
        results: str,
        *,
        help: str = "",
        repository: str = "",
    ) -> None:
        self._name = name
        self._help = help
        self._repository = repository
        self.soup = BeautifulSoup(body, "html.parser")
        self._by_id = {entry.id: entry for entry in entries}
        self._verdict: Callable[[Entry], str] = lambda entry: verdict(entry, every, results)

    def rearrange(self) -> str:
        self._gather_solutions()
        cells = [cell for cell in self.soup.select("div.cell") if not cell.find_parent("div", class_="cell")]
        while cells:
            run = self._run_from(cells[0])
            cells = cells[len(run) :]
            self._replace(run)
        for solution in self.soup.select("div.solution.dropdown"):
            self._fold_solution(solution)
        for statement in self.soup.select("div.proof > section > p:first-child"):
            if statement.get_text().startswith("Whose:"):
                statement["class"] = "dm-whose"
        if self._repository:
            self._add_reports()
        self._add_switch()
        return str(self.soup)

    def _gather_solutions(self) -> None:
        """What follows a solution, up to the next exercise or heading, belongs to it, if it holds code."""
        for solution in self.soup.select("div.solution"):
            following: list[Tag | NavigableString] = []
            for node in solution.next_siblings:
                classes = node.get("class", []) if isinstance(node, Tag) else []
                if node.name in ("section", "script") or "admonition" in classes:
                    break
                following.append(node)
            inside = solution.find("section")
            if any(isinstance(node, Tag) and "cell" in node.get("class", []) for node in following):
                for node in following:
                    inside.append(node.extract())

    @staticmethod
    def _run_from(cell: Tag) -> list[Tag]:
        """A cell and the cells that follow it with nothing between them."""
        run = [cell]
        for node in cell.next_siblings:
            if isinstance(node, Tag):
                if "cell" not in node.get("class", []):
                    break
                run.append(node)
            elif node.strip():
                break
        return run

    def _replace(self, cells: Sequence[Tag]) -> None:
        run = Run()
        for cell in cells:
            self._take(cell, run)
        run.show()
        new = BeautifulSoup(f'<div class="cell dm-run">{"".join(run.written)}</div>', "html.parser")
        cells[0].insert_before(new)
        for cell in cells:
            cell.decompose()

    def _take(self, cell: Tag, run: Run) -> None:
        """Sort a cell's code and outputs into the run."""
        outputs = [output for box in cell.select("div.cell_output") for output in box.find_all(recursive=False)]
        code = self._code(cell)
        listed = code is not None and (code.kind == "library" or "tag_hide-output" in cell.get("class", []))
        inside, shown = [], []
        for output in outputs:
            entry = self._entry(output)
            if entry is None:
                (inside if listed else shown).append(f'<div class="cell_output docutils container">{output}</div>')
            else:
                shown.append(entry)
        if code is not None:
            run.codes.append(Code(code.label, code.sympy, code.lines, code.inside + "".join(inside)))
        for output in shown:
            if isinstance(output, Entry) and output.badge in EXACT:
                run.exact.append((output.badge, self._verdict(output)))
            else:
                run.show(output if isinstance(output, str) else self._verdict(output))

    def _entry(self, output: Tag) -> Entry | None:
        """The claim whose line an output is."""
        mark = output if output.has_attr("data-claim") else output.find("span", attrs={"data-claim": True})
        return None if mark is None else self._by_id[mark["data-claim"]]

    @staticmethod
    def _code(cell: Tag) -> Code | None:
        source = cell.select_one("div.cell_input")
        if source is None:
            return None
        label = cell.select_one("details.above-input > summary > p.collapsed")
        text = label.get_text().strip() if label else UNLABELLED
        lines = sum(bool(line.strip()) for line in source.get_text().splitlines())
        return Code(
            UNLABELLED if text == DEFAULT_PROMPT else text, "tag_sympy" in cell.get("class", []), lines, str(source)
        )

    @staticmethod
    def _fold_solution(solution: Tag) -> None:
        """A solution as a closed ``<details>``: the theme's own fold is open to whoever has no JavaScript."""
        title = solution.select_one("p.admonition-title")
        solution.name = "details"
        solution["class"] = ["solution", "admonition", "dm-solution"]
        title.name = "summary"
        for link in title.find_all("a"):  # a click on the line opens the solution, it does not leave
            link.unwrap()

    def _add_reports(self) -> None:
        """A link under each verdict and statement to the form for errors, filled with its name."""
        for record in self.soup.select("details.dm-verdict > dl.dm-record"):
            link = self._report(record.parent["id"].removeprefix("claim-"))
            record.append(BeautifulSoup(f"<dt>wrong?</dt><dd>{link}</dd>", "html.parser"))
        for statement in self.soup.select("div.proof[id]"):
            link = self._report(statement["id"])
            statement.append(BeautifulSoup(f'<p class="dm-report">{link}</p>', "html.parser"))

    def _report(self, id: str) -> str:
        key = f"{self._name}/{id}"
        address = f"{self._repository}/issues/new?template=error.yml&result={quote(key, safe='')}"
        return f'<a href="{html.escape(address)}" aria-label="Report an error in {key}">Report an error</a>'

    def _add_switch(self) -> None:
        options = "".join(
            f'<label title="{what}"><input type="radio" name="Depth" value="{name.lower()}"/>{name}</label>'
            for name, what in DEPTHS.items()
        )
        # Hidden until the script that it needs shows it.
        start = '<fieldset class="dm-depth" role="radiogroup" aria-label="Depth" hidden><legend>Depth</legend>'
        help = f'<p class="dm-help"><a href="{self._help}">How to read a verdict</a></p>' if self._help else ""
        switch = f'<div class="dm-top">{start}{options}</fieldset>{help}</div>'
        self.soup.h1.insert_after(BeautifulSoup(switch, "html.parser"))


# --------------------------------------------------------------------------------------------------
# Sphinx
# --------------------------------------------------------------------------------------------------


def read_claims(app: Sphinx) -> None:
    """Read all records once a build, from the cache in which the executed chapters are."""
    cache = open_cache()
    notebooks = {path.stem: cached(cache, path)[0] for path in all_chapters()}
    app.diffmem_notebooks = notebooks
    app.diffmem_entries = entries_of(notebooks)
    app.diffmem_json = claims_json(notebooks)


def rearrange_page(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    folder, _, name = page.rpartition("/")
    if folder != "chapters" or "body" not in context:
        return
    every = {entry.key: entry for entries in app.diffmem_entries.values() for entry in entries}
    results = context["pathto"]("book/results")
    context["body"] = Chapter(
        name,
        context["body"],
        app.diffmem_entries[name],
        every,
        results,
        help=_help(app, page),
        repository=app.config.html_theme_options.get("repository_url", ""),
    ).rearrange()


def _help(app: Sphinx, page: str) -> str:
    """The address of the words on how to read a verdict, seen from a page, once a chapter bears their label."""
    where, label, *_ = app.env.get_domain("std").anonlabels.get(READING, ("", ""))
    return f"{app.builder.get_relative_uri(page, where)}#{label}" if where else ""


def write_json(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        (Path(app.outdir) / "_static" / "claims.json").write_text(app.diffmem_json, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", read_claims)
    app.connect("html-page-context", rearrange_page)
    app.connect("build-finished", write_json)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
