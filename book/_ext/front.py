"""What the first page shows of the chapters: a figure, a measured number, and the map of what needs what.

All three are read from the executed chapters, so that the first page says nothing which the book does not.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

import nbformat
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

from tools.build import all_chapters
from tools.results import title_of

ROW, TEXT_LEFT, LETTER = 30, 132, 9


def needs(notebook: nbformat.NotebookNode) -> list[str]:
    """The chapters that the table *You need* of a chapter leads to, in its order."""
    cells = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    table = next((cell for cell in cells if "| You need |" in cell), "")
    rows = [line for line in table.partition("| You need |")[2].splitlines() if line.startswith("|")]
    return list(dict.fromkeys(re.findall(r"\]\((\w+)\.ipynb", "\n".join(rows))))


def chapter_map(
    titles: Mapping[str, str], parts: Mapping[str, Sequence[str]], edges: Mapping[str, Sequence[str]]
) -> str:
    """The chapters as a list of links, those of a part under its name, an arc to each from each that it needs; as SVG.

    ``titles`` maps a chapter to its title, ``parts`` the name of a part to its chapters, in order, and ``edges`` a
    chapter to those that it needs.
    """
    middle, lines, y = {}, [], 0
    for part, chapters in parts.items():
        lines.append(f'<text class="dm-part" x="{TEXT_LEFT}" y="{y + 24}">{html.escape(part)}</text>')
        y += ROW + 4
        for chapter in chapters:
            middle[chapter], y = y + ROW / 2, y + ROW
    arcs = []
    for chapter, needed in edges.items():
        for source in filter(middle.__contains__, needed):
            start, end, left = middle[source], middle[chapter], TEXT_LEFT - 14
            bend = left - min(26 + abs(end - start) / 3, left - 6)
            arcs.append(
                f'<path class="dm-arc" data-ends="{source} {chapter}" '
                f'd="M{left},{start} C{bend:.0f},{start} {bend:.0f},{end} {left},{end}"/>'
            )
    for number, (chapter, at) in enumerate(middle.items(), 1):
        needed = [titles[name] for name in edges.get(chapter, ()) if name in titles]
        told = f"{titles[chapter]}; needs {', '.join(needed)}" if needed else titles[chapter]
        lines.append(
            f'<a href="../chapters/{chapter}.html" data-chapter="{chapter}" aria-label="{number}. {html.escape(told)}">'
            f'<circle class="dm-dot" cx="{TEXT_LEFT - 14}" cy="{at}" r="5"/>'
            f'<text x="{TEXT_LEFT}" y="{at + 5}">{number}. {html.escape(titles[chapter])}</text></a>'
        )
    width = TEXT_LEFT + LETTER * (max(map(len, titles.values())) + 4)
    return (
        f'<svg class="dm-map" role="group" aria-label="The chapters, and which of them each one needs" '
        f'viewBox="0 0 {width} {y + 8}" width="{width}">{"".join(arcs + lines)}</svg>'
    )


class ChapterMap(SphinxDirective):
    """``{chapter-map}``: the chapters of the table of contents and their tables *You need*."""

    def run(self) -> list[nodes.Node]:
        executed = self.env.app.diffmem_notebooks
        for path in all_chapters():
            self.env.note_dependency(str(path))
        contents = self.env.app.config.external_toc_path
        self.env.note_dependency(str(contents))
        site_map = self.env.external_site_map
        parts = {}
        for tree in site_map.root.subtrees:
            chapters = [str(item).removeprefix("chapters/") for item in tree.items if str(item).startswith("chapters/")]
            if chapters:
                parts[tree.caption or ""] = chapters
        titles = {name: title_of(notebook) for name, notebook in executed.items()}
        edges = {name: needs(notebook) for name, notebook in executed.items()}
        return [nodes.raw("", chapter_map(titles, parts, edges), format="html")]


class ChapterFigure(SphinxDirective):
    """``{chapter-figure} NAME``: the image of a figure of a chapter; the content is its caption."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        for chapter, notebook in self.env.app.diffmem_notebooks.items():
            for cell in notebook.cells:
                shown = cell.metadata.get("mystnb", {})
                if shown.get("figure", {}).get("name") != name:
                    continue
                self.env.note_dependency(str(next(path for path in all_chapters() if path.stem == chapter)))
                images = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
                source = f"data:image/png;base64,{images[0].strip()}"
                told = html.escape(shown["image"]["alt"], quote=True)
                picture = f'<a href="../chapters/{chapter}.html#{name}"><img alt="{told}" src="{source}"/></a>'
                caption = nodes.container(classes=["dm-caption"])
                self.state.nested_parse(self.content, self.content_offset, caption)
                return [nodes.container("", nodes.raw("", picture, format="html"), caption, classes=["dm-front"])]
        raise self.error(f"no chapter has a figure named {name!r}")


class Measured(SphinxRole):
    """``{measured}`chapter/id```: what a claim measured, as a link to its entry among the results."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        entries = [entry for found in self.env.app.diffmem_entries.values() for entry in found]
        entry = next((entry for entry in entries if entry.key == self.text), None)
        if entry is None or not entry.measurement:
            message = self.inliner.reporter.error(f"{self.text!r} is no claim with a measurement", line=self.lineno)
            return [], [message]
        link = nodes.reference("", entry.measurement, refuri=f"results.html#{entry.anchor}", internal=True)
        return [link], []


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("chapter-map", ChapterMap)
    app.add_directive("chapter-figure", ChapterFigure)
    app.add_role("measured", Measured())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
