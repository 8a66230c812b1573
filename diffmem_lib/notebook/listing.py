"""The library's own source on a chapter's page, so that there is one copy of every formula."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Listing", "source"]


@dataclass(frozen=True)
class Listing:
    """Source code that a notebook shows as a block of Python."""

    code: str

    def __str__(self) -> str:
        return self.code

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": self.code, "text/markdown": f"```python\n{self.code}\n```"}


def source(*functions: Callable[..., Any]) -> Listing:
    """The source of functions or methods as the library runs it, one below the other, dedented.

    Of each docstring the first sentence stays, without markup: the rest is written for the library's reference.
    """
    if not functions:
        raise ValueError("functions must name at least one function to list")
    return Listing(
        "\n\n\n".join(_brief(textwrap.dedent(inspect.getsource(function)).rstrip()) for function in functions)
    )


def _brief(code: str) -> str:
    lines = code.splitlines()
    documented = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    for node in sorted(documented, key=lambda node: -node.lineno):
        if text := ast.get_docstring(node):
            place = node.body[0]
            summary = _unmarked(text.partition("\n\n")[0])
            prefix = "r" if "\\" in summary else ""
            lines[place.lineno - 1 : place.end_lineno] = [f'{" " * place.col_offset}{prefix}"""{summary}"""']
    return "\n".join(lines)


def _unmarked(text: str) -> str:
    """One line of text without roles and double quotes of reStructuredText."""
    text = re.sub(r":(\w+):`~?([^`]*)`", lambda m: m[2] if m[1] == "math" else m[2].rpartition(".")[2], text)
    return " ".join(text.replace("``", "").split())
