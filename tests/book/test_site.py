"""The built book, read as files: links, anchors, buttons, results."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, unquote, urldefrag, urlsplit

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import ROOT

from tools.results import claims_of

pytestmark = pytest.mark.book
ADDRESS = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]


class Page(HTMLParser):
    """Links, anchors, images and requests of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.resources: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag == "img":
            self.images.append(found)
        if tag in ("script", "img", "iframe", "source") and found.get("src"):
            self.resources.append(found["src"])
        if tag == "link" and found.get("href") and found.get("rel") in ("stylesheet", "preload", "icon"):
            self.resources.append(found["href"])


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}


def outside(link):
    return re.match(r"[a-z]+:", link) is not None


def test_every_internal_link_and_anchor_resolves(pages):
    broken = []
    for path, page in pages.items():
        for link in filter(lambda link: not outside(link), page.links):
            target, anchor = urldefrag(link)
            file = (path.parent / unquote(target)).resolve() if target else path
            file = file / "index.html" if file.is_dir() else file
            if not file.exists() or (anchor and file in pages and unquote(anchor) not in pages[file].ids | {"", "#"}):
                broken.append(f"{path.name}: {link}")
    assert not broken


def test_nothing_is_loaded_from_elsewhere(pages):
    assert not [(path.name, r) for path, page in pages.items() for r in page.resources if re.match(r"(https?:)?//", r)]


def test_every_image_has_alt_text(pages):
    assert not [(path.name, image) for path, page in pages.items() for image in page.images if not image.get("alt")]


def test_links_into_the_repository_use_its_address(pages):
    links = {link for page in pages.values() for link in page.links if "github.com" in link}
    assert links
    assert not [link for link in links if not link.startswith(ADDRESS)]


@pytest.mark.parametrize("chapter", sorted((ROOT / "chapters").glob("*.ipynb")), ids=lambda p: p.stem)
class TestChapter:
    def links(self, site, chapter):
        return Page(site / "chapters" / f"{chapter.stem}.html").links

    def test_buttons(self, site, chapter):
        links, text = self.links(site, chapter), (site / "chapters" / f"{chapter.stem}.html").read_text()
        owner = ADDRESS.removeprefix("https://github.com/")
        assert f"https://mybinder.org/v2/gh/{owner}/main?urlpath=lab/tree/chapters/{chapter.name}" in links
        assert f"https://colab.research.google.com/github/{owner}/blob/main/chapters/{chapter.name}" in links
        assert ADDRESS in links
        assert any(link.startswith(f"{ADDRESS}/issues/new") for link in links)
        assert f"../_sources/chapters/{chapter.name}" in links
        assert "btn-fullscreen-button" in text

    def test_shows_the_verdicts_of_its_claims(self, pages, site, chapter):
        page = pages[site / "chapters" / f"{chapter.stem}.html"]
        assert {f"claim-{claim['id']}" for claim in claims_of(nbformat.read(chapter, as_version=4))} <= page.ids

    def test_its_claims_are_on_the_page_of_results(self, site, chapter):
        text = (site / "book" / "results.html").read_text()
        for claim in claims_of(nbformat.read(chapter, as_version=4)):
            assert f"{chapter.stem}/{claim['id']}<" in text


def test_every_public_name_has_an_entry(site):
    """What a package of the library exports is on an API page."""
    import importlib

    shown = set().union(*(Page(path).ids for path in (site / "book" / "api").glob("*.html")))
    for package in ("schedules", "data", "simulation", "memorization"):
        module = importlib.import_module(f"diffmem_lib.{package}")
        for name in module.__all__:
            assert f"diffmem_lib.{package}.{name}" in shown
    for path in (ROOT / "diffmem_lib" / "theory").glob("*.py"):
        if path.stem != "__init__":
            for name in importlib.import_module(f"diffmem_lib.theory.{path.stem}").__all__:
                assert f"diffmem_lib.theory.{path.stem}.{name}" in shown


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "chapters").glob("*.ipynb")))
def test_an_error_can_be_reported_at_each_verdict_and_statement(site, name):
    soup = BeautifulSoup((site / "chapters" / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
    places = [fold["id"].removeprefix("claim-") for fold in soup.select("details.dm-verdict")]
    places += [statement["id"] for statement in soup.select("div.proof[id]")]
    links = [urlsplit(link["href"]) for link in soup.select("article a[href*='/issues/new']")]
    asked = [parse_qs(link.query) for link in links]
    assert sorted(query["result"][0] for query in asked) == sorted(f"{name}/{place}" for place in places)
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "error.yml").read_text())
    fields = {field["id"] for field in form["body"]}
    assert all(query.keys() - {"template"} <= fields and query["template"] == ["error.yml"] for query in asked)
    assert all(link.geturl().startswith(f"{ADDRESS}/issues/new?") for link in links)


def _defined(site):
    """Term → anchor on the page of the glossary."""
    page = BeautifulSoup((site / "book" / "glossary.html").read_text(encoding="utf-8"), "html.parser")
    return {term.get_text().strip().rstrip("#"): term["id"] for term in page.select("dl.glossary dt")}


#: Elements and classes whose text is no prose of a chapter.
NO_PROSE = {"h1", "h2", "h3", "h4", "h5", "code", "pre", "figcaption", "summary", "math"} | {
    "cell_output",
    "dm-verdict",
    "dm-checks",
    "admonition-title",
}


def _uses(article, term):
    """For each use of a term in the prose of a page: the anchors of the glossary that it links to, if any."""
    word = re.compile(rf"(?<![\w-]){re.escape(term)}s?(?![\w-])", re.IGNORECASE)
    for text in article.find_all(string=word):
        if not text.find_parent(lambda tag: tag.name in NO_PROSE or NO_PROSE & {*tag.get("class", ())}):
            link = text.find_parent("a")
            yield link.get("href", "") if link else ""


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "chapters").glob("*.ipynb")))
def test_each_term_of_the_glossary_is_linked_at_its_first_use(site, name):
    page = BeautifulSoup((site / "chapters" / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
    article = page.select_one("article")
    linked = 0
    for term, anchor in _defined(site).items():
        by_hand = article.select(f'a[href$="glossary.html#{anchor}"]:not(.dm-term)')
        first = next((link for link in _uses(article, term) if "glossary" in link or not link), None)
        if first is not None and not by_hand:
            assert first.startswith("../book/glossary.html#"), term
        linked += first is not None or bool(by_hand)
    assert linked > 3


def _letters(formulas):
    """Letters and commands of formulas in TeX, words and bars left out."""
    bare = re.sub(r"\\(?:mathrm|text)\{[^}]*\}|\\[lr]vert", "", " ".join(formulas))
    return set(re.findall(r"\\[A-Za-z]+|[A-Za-z]", bare))


def _letters_in_chapter(path):
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return _letters(re.findall(r"\$\$.*?\$\$|\$[^$]+\$|\{math\}.*?```", text, flags=re.DOTALL))


def test_each_symbol_says_where_it_is_introduced():
    """And each letter of it stands there in a formula, if a chapter introduces it."""
    rows = [line for line in (ROOT / "book" / "notation.md").read_text().splitlines() if line.startswith("| $")]
    assert len(rows) > 60
    for row in rows:
        symbol, *_, where = re.split(r"(?<!\\)\|", row.strip("|"))
        addresses = [ROOT / "book" / address for address in re.findall(r"\]\(([^)]+)\)", where)]
        assert addresses, row
        chapters = [address.resolve() for address in addresses if address.suffix == ".ipynb"]
        there = set().union(*map(_letters_in_chapter, chapters))
        assert not chapters or _letters(re.findall(r"\$([^$]+)\$", symbol)) <= there, row


def test_a_letter_of_two_meanings_stands_in_its_chapter():
    table = (ROOT / "book" / "notation.md").read_text().partition("(second-meanings)=")[2]
    rows = [line for line in table.splitlines() if line.startswith("| [")]
    assert rows
    for row in rows:
        chapter, letters = re.match(r"\| \[[^]]+\]\(([^)]+)\) \| \$([^$]+)\$ \|", row).groups()
        assert _letters([letters]) <= _letters_in_chapter((ROOT / "book" / chapter).resolve()), row
