"""Make the built site whole: formulas without a network, and pages that open from disk without an error."""

from __future__ import annotations

import re
import shutil
from importlib.resources import files
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

# The full bundle: the smaller tex-svg.js loads further parts on demand, which a browser refuses for a page from disk.
BUNDLE = "tex-svg-full.js"
# The theme preloads fonts with a cross-origin request, which a browser refuses for a page from disk, and it declares
# the constants of a service for live code that this book does not use, on some pages twice, which is an error.
UNWANTED = re.compile(
    r'<link rel="preload" as="font"[^>]*>\s*'
    r"|<script>const THEBE_JS_URL.*?</script>\s*"
    r'|<script[^>]*src="[^"]*sphinx-thebe\.js[^"]*"></script>\s*'
)


def configure(app: Sphinx, config: Config) -> None:
    config.mathjax_path = f"mathjax/{BUNDLE}"
    # Without a mode the theme's script logs an error on every page.
    config.html_context.setdefault("default_mode", "auto")


def copy_mathjax(app: Sphinx) -> None:
    if app.builder.format != "html":
        return
    target = Path(app.outdir) / "_static" / "mathjax"
    target.mkdir(parents=True, exist_ok=True)
    source = files("mathjax") / "static" / "mathjax" / "es5" / BUNDLE
    shutil.copyfile(str(source), target / BUNDLE)


def drop_unwanted(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        if UNWANTED.search(text):
            page.write_text(UNWANTED.sub("", text), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", configure)
    app.connect("builder-inited", copy_mathjax)
    app.connect("build-finished", drop_unwanted)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
