"""Numbers of a run in the sentences of its chapter, as the same text on every machine."""

from __future__ import annotations

import math
import sys
from typing import SupportsFloat

__all__ = ["glue"]

#: What MyST-NB keeps for ``{glue:text}`` and nothing else shows.
_MIME_PREFIX = "application/papermill.record/"


def glue(name: str, value: SupportsFloat, digits: int) -> None:
    """Let the chapter's prose show ``value``, rounded to ``digits`` decimals, as ``{glue:text}`name```.

    What a cell glues is compared with a fresh run: so only as many digits as another processor, another number of
    threads and another build of the libraries leave as they are. It is glued as text, and so needs no format in the
    sentence. Outside of a notebook nothing happens.

    Raises
    ------
    ValueError
        If ``value`` is not finite or ``digits`` is negative.
    """
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"value must be finite, got {number!r} for {name!r}")
    if digits < 0:
        raise ValueError(f"digits must be a number of decimals, 0 or more, got {digits!r} for {name!r}")
    text = f"{round(number, digits) + 0.0:.{digits}f}"  # + 0.0: zero has no sign
    if not _in_notebook():
        return
    from IPython.display import display

    metadata = {"scrapbook": {"name": name, "mime_prefix": _MIME_PREFIX}}
    # MyST-NB reads the text as Python and shows what it means: of '1.50' in quotes all digits, of 1.50 only 1.5.
    display({f"{_MIME_PREFIX}text/plain": repr(text)}, raw=True, metadata=metadata)


def _in_notebook() -> bool:
    """Whether there is anything to display to; a program that has not loaded IPython is no notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None
