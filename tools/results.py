"""The page of results, generated from the claims that executed chapters carry in their outputs."""

from __future__ import annotations

from typing import Any

import nbformat

METADATA_KEY = "diffmem_claim"
BADGES = {"live": "{bdg-success}`live`", "stored": "{bdg-info}`stored`"}
HEAD = """\
(results)=
# Results

Every claim of the book, generated from the run that built these pages: nothing here is typed by hand.
A claim holds only if its prediction is accepted and each of its wrong variants is refused by the same data.
*Resolution* is the smallest relative error of the prediction that would have been refused.
*Live* claims are simulated at every build, *stored* ones come from longer runs whose data lie in `chapters/stored`.
"""


def claims_of(notebook: nbformat.NotebookNode) -> list[dict[str, Any]]:
    """The records in a notebook's outputs, in order."""
    return [
        output["metadata"][METADATA_KEY]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if METADATA_KEY in output.get("metadata", {})
    ]


def title_of(notebook: nbformat.NotebookNode) -> str:
    """The first heading."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return next(line[2:].strip() for line in text.splitlines() if line.startswith("# "))


def _verbatim(text: str) -> str:
    """Text as Markdown that shows it unchanged, in one line."""
    flat = " ".join(str(text).split()).replace("`", "'")
    return f"`{flat}`" if flat else "none"


def _escaped(text: str) -> str:
    return "".join("\\" + c if c in "\\`*_{}[]<>$#|~^" else c for c in " ".join(text.split()))


def claim_card(name: str, claim: dict[str, Any]) -> str:
    """One claim as a folded card with its whole record."""
    variants = "\n".join(f"    - {_escaped(k)}: {_escaped(v)}" for k, v in claim["variants"].items())
    seconds = f"{claim['seconds']:.1f} s" if "seconds" in claim else "not timed"
    label = f"result-{name.replace('_', '-')}-{claim['id']}"
    return f"""\
({label})=
::::{{dropdown}} {_escaped(claim["statement"])}
{BADGES[claim["tier"]]} {{bdg-secondary}}`{claim["kind"]}` {{bdg-primary}}`{claim["verdict"]}`

- id: `{name}/{claim["id"]}`
- whose: {_escaped(claim["whose"])}
- prediction: {_verbatim(claim["prediction"])}
- measurement: {_verbatim(claim["measurement"])}
- error: {_escaped(claim["error"])}
- resolution: {claim["resolution"]:.2g} relative
- refused variants:
{variants}
- time: {seconds}
::::
"""


def results_page(executed: dict[str, tuple[nbformat.NotebookNode, float]]) -> str:
    """Markdown of the page from name → (executed notebook, seconds)."""
    summary = ["| chapter | claims | stored | seconds |", "|---|---|---|---|"]
    sections = []
    for name, (notebook, seconds) in executed.items():
        claims = claims_of(notebook)
        stored = sum(claim["tier"] == "stored" for claim in claims)
        link = f"[](../chapters/{name}.ipynb)"
        summary.append(f"| {link} | {len(claims)} | {stored} | {seconds:.0f} |")
        cards = "\n".join(claim_card(name, claim) for claim in claims)
        sections.append(f"## {title_of(notebook)}\n\n{cards}")
    return "\n".join([HEAD, *summary, "", *sections])
