"""Let Sphinx read chapters only after they were executed and their results generated, however the build was started."""

from __future__ import annotations

import os
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.errors import SphinxError

from tools.build import ROOT, ChaptersFailed, run_chapters, site_key

KEY_FILE = "site-key"
# Kernels that MyST-NB starts itself find the library of this checkout, too.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))


def execute_first(app: Sphinx, config: Config) -> None:
    try:
        run_chapters()
    except ChaptersFailed as error:
        raise SphinxError(f"the book does not hold:\n{error}") from None


def outdated(app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]) -> set[str]:
    """After a change in the library or the style every page is made anew, although its own source is the same."""
    key_file, key = Path(app.doctreedir) / KEY_FILE, site_key()
    fresh = not key_file.is_file() or key_file.read_text() != key
    return env.found_docs if fresh else set()


def remember(app: Sphinx, error: Exception | None) -> None:
    if error is None:
        (Path(app.doctreedir) / KEY_FILE).write_text(site_key())


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", execute_first, priority=900)
    app.connect("env-get-outdated", outdated)
    app.connect("build-finished", remember)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
