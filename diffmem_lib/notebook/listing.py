"""The library's own source on a chapter's page, so that there is one copy of every formula."""

from __future__ import annotations

import inspect
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
    """The source of functions or methods as it stands in the library, one below the other, dedented."""
    if not functions:
        raise ValueError("functions must name at least one function to list")
    return Listing("\n\n\n".join(textwrap.dedent(inspect.getsource(function)).rstrip() for function in functions))
