"""Let docstrings write |x|² as a reader of the source would: to reStructuredText a bar opens a substitution."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

IN_BACKTICKS = re.compile(r"(`+[^`]*`+)")


def escape_bars(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    inside_math = False
    for number, line in enumerate(lines):
        if line.lstrip().startswith(".. math::"):
            inside_math = True
        elif line and not line[0].isspace():
            inside_math = False
        if not inside_math:
            parts = IN_BACKTICKS.split(line)
            parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
            lines[number] = "".join(parts)


def setup(app: Sphinx) -> dict[str, bool]:
    # After napoleon, which turns numpydoc sections into reStructuredText.
    app.connect("autodoc-process-docstring", escape_bars, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
