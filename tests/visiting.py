"""A page of the built book, open in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

_ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted(path.stem for path in (_ROOT / "chapters").glob("*.ipynb"))
_WRITTEN = {path.relative_to(_ROOT).with_suffix(".html").as_posix() for path in (_ROOT / "book").rglob("*.md")}
PAGES = [
    *(f"chapters/{name}.html" for name in CHAPTERS),
    *sorted(_WRITTEN | {"book/results.html", "book/seeds.html"}),
]
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


class Visit:
    """An open page that remembers what went wrong on it."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.context = browser.new_context(offline=True, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(120_000)  # the page of results takes long on a machine that does other things too
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.open(url)

    def open(self, url: str) -> None:
        self.page.goto(url)
        # MathJax has rendered everything once its promise is kept.
        self.page.evaluate("() => window.MathJax && MathJax.startup ? MathJax.startup.promise.then(() => null) : null")

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def left_the_site(self) -> list[str]:
        return [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]
