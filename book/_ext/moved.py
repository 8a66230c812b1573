"""Addresses that moved: a link to an old anchor leads to where its statement or result stands now.

`book/moved.yml` maps ``page.html#anchor`` to ``page.html#anchor``, both from the root of the site. A server never sees
an anchor, so each old page carries its part of the map and a line of script.
"""

from __future__ import annotations

import json
import posixpath
from pathlib import Path
from typing import Any

import yaml
from sphinx.application import Sphinx

MAP = Path(__file__).resolve().parent.parent / "moved.yml"
SCRIPT = """\
const moved = %s;
const follow = () => { const target = moved[location.hash.slice(1)]; if (target) location.replace(target); };
addEventListener("hashchange", follow);
follow();
"""


def targets(page: str) -> dict[str, str]:
    """Anchor → address relative to ``page`` (without .html) of everything that moved away from it."""
    moved = yaml.safe_load(MAP.read_text(encoding="utf-8")) or {}
    folder = posixpath.dirname(page)
    found = {}
    for old, new in moved.items():
        name, _, anchor = old.partition("#")
        if name == f"{page}.html":
            file, _, at = new.partition("#")
            found[anchor] = f"{posixpath.relpath(file, folder or '.')}#{at}"
    return found


def add_script(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if found := targets(page):
        app.add_js_file(None, body=SCRIPT % json.dumps(found))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", add_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
