"""Serve MathJax from the book itself, out of the django-static-mathjax wheel, so that formulas need no network."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

# The full bundle: the smaller tex-svg.js loads further parts on demand, which a browser refuses for a page from disk.
BUNDLE = "tex-svg-full.js"


def set_path(app: Sphinx, config: Config) -> None:
    config.mathjax_path = f"mathjax/{BUNDLE}"


def copy_bundle(app: Sphinx) -> None:
    if app.builder.format != "html":
        return
    target = Path(app.outdir) / "_static" / "mathjax"
    target.mkdir(parents=True, exist_ok=True)
    source = files("mathjax") / "static" / "mathjax" / "es5" / BUNDLE
    shutil.copyfile(str(source), target / BUNDLE)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", set_path)
    app.connect("builder-inited", copy_bundle)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
