"""A chapter as its reader sees it: a small one with a claim of each badge, then each of the book."""

import json
import os
import shutil
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT
from page import KINDS
from visiting import Visit

pytestmark = pytest.mark.browser
CHAPTERS = sorted(path.stem for path in (ROOT / "chapters").glob("*.ipynb"))
#: Screens of 1400×900 that a chapter may take.
SCREENS = 20
DESK = {"width": 1400, "height": 900}

TOC = "format: jb-book\nroot: book/intro\nchapters:\n  - file: chapters/toy\n  - file: book/results\n"
JUDGE = """\
from diffmem_lib.claims.record import Mutants, Variant, Verdict, register

def exact(id, tex, kind="equal", function=""):
    verdict = Verdict(True, "", "zero at 24 points", "", "", "", 0.0, "24 points", {}, Mutants(12, 12, 11, 1, 0))
    register(kind=kind, id=id, whose="Stein 1981", verdict=verdict, tex=tex, function=function)

def data(id, text, stored=False):
    wrong = {"no correction": Variant(False, "31 resolutions")}
    line = "0.0969(4), predicted 0.0966; an error of 1.7 % would be refused"
    verdict = Verdict(True, "", line, "0.0966", "0.0969", "0.0004", 0.017, "40 replicas", wrong)
    register(kind="agreement", id=id, whose="own derivation", verdict=verdict, text=text, stored=stored)
"""
STATEMENT = """\
## The statement

```{prf:proposition} The radius of noise
:label: prop-toy
*Whose: own derivation; the theorem is older.*

For $% from rate
I(r) = \\frac{r - 1}{2}$ it holds.
```
"""
EXERCISES = """\
## Exercises

```{exercise} One
:label: ex-one
Do it.
```

```{solution-start} ex-one
:class: dropdown
```
"""
SECOND = """\
```{solution-end}
```

```{exercise} Two
:label: ex-two
Do it.
```

```{solution} ex-two
:class: dropdown
Done.
```
"""


def markdown(id, source):
    return nbformat.v4.new_markdown_cell(source, id=id)


def code(id, label, source, *tags):
    prompts = {"code_prompt_show": label, "code_prompt_hide": label}
    return nbformat.v4.new_code_cell(source, id=id, metadata={"tags": ["hide-input", *tags], "mystnb": prompts})


CELLS = [
    markdown("title", "# The toy\n\nA question."),
    code("setup", "Setup", JUDGE),
    markdown("statement", STATEMENT),
    markdown("derivation", "(reading-verdicts)=\n## Derivation\n\nTwo steps of [a claim](#result-toy-rate)."),
    code(
        "one",
        "Derivation: the ratio",
        "exact('ratio', r'R = " + "+".join(f"a_{k} x^{k}" for k in range(9)) + "')",
        "sympy",
    ),
    code("two", "Derivation: its limit", "exact('rate', r'I(r) = \\frac{r - 1}{2}')", "sympy"),
    code("list", "Library: theory.kde.f", "print('the source of the function')"),
    code("library", "Check", "exact('computed', 'f(r) = I(r)', 'implements', 'kde.f')"),
    markdown("simulation", "## Simulation\n\nDraws."),
    code("draw", "Simulation: draws", "draws = 1"),
    code("data", "Check: the rate", "data('measured', 'the rate $I(r)$ is [[rate]] at $d = 400$')"),
    code("stored", "Table", "print('a table')\ndata('long', 'a long run', stored=True)"),
    markdown("exercises", EXERCISES),
    code("solution", "Solution", "print('the output of a solution')"),
    markdown("second", SECOND),
    code("after", "Solution", "print('the output of another')"),
    markdown("remember", "## To remember\n\nNoise."),
]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The built site of a copy of the project that has one small chapter."""
    copy = tmp_path_factory.mktemp("toy")
    for name in ("_config.yml", "constraints.txt"):
        shutil.copy(ROOT / name, copy)
    for name in ("book", "diffmem_lib", "tools"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.md", "api"))
    (copy / "book" / "intro.md").write_text("# Toy\n")
    (copy / "book" / "_toc.yml").write_text(TOC)
    headline = "- claim: toy/measured\n  sentence: Noise has a radius.\n"
    (copy / "book" / "headlines.yml").write_text(headline)
    (copy / "chapters").mkdir()
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=CELLS, metadata=kernel), copy / "chapters" / "toy.ipynb")
    command = [sys.executable, "-m", "tools.build"]
    environment = os.environ | {"PYTHONPATH": str(copy)}
    built = subprocess.run(command, capture_output=True, text=True, cwd=copy, env=environment)
    assert built.returncode == 0, built.stdout + built.stderr
    return copy / "_build" / "html"


@pytest.fixture
def chapter(browser, toy):
    with Visit(browser, f"file://{toy}/chapters/toy.html", viewport=DESK) as visit:
        yield visit.page
        assert visit.errors == []


def seen(page, selector):
    """Texts of what a reader sees, neither hidden nor in a closed fold."""
    return page.evaluate(
        "what => [...document.querySelectorAll(what)].filter(e => e.checkVisibility()).map(e => e.innerText.trim())",
        selector,
    )


def lines(page):
    """The lines of folds of code that a reader sees, without the number of their lines."""
    return seen(page, ".dm-code > summary > span:first-child")


def depth(page, name):
    return page.get_by_role("radiogroup", name="Depth").get_by_role("radio", name=name, exact=True)


class TestCode:
    def test_is_one_line_for_neighbouring_cells(self, chapter):
        assert lines(chapter) == [
            "Setup",
            "Derivation: the ratio; its limit · Library: theory.kde.f · Check",
            "Simulation: draws · Check: the rate",
            "Table",
        ]
        assert seen(chapter, ".cell_input") == []

    def test_unfolds_to_each_cell(self, chapter):
        chapter.get_by_text("Simulation: draws · Check").click()
        assert "draws = 1" in seen(chapter, ".cell_input")
        assert {"Simulation: draws", "Check: the rate"} <= set(lines(chapter))

    def test_a_listing_is_folded_and_a_table_is_not(self, chapter):
        assert seen(chapter, ".cell_output") == ["a table"]


def test_the_head_leads_to_how_to_read_a_verdict(chapter):
    chapter.get_by_role("link", name="How to read a verdict").click()
    assert chapter.url.endswith("#reading-verdicts")


class TestDepth:
    def test_opens_what_it_says(self, chapter):
        assert depth(chapter, "Read").is_checked()
        depth(chapter, "Follow").check()
        assert [text.split("(")[1].split(",")[0] for text in seen(chapter, ".cell_input")] == ["'ratio'", "'rate'"]
        depth(chapter, "Run").check()
        assert len(seen(chapter, ".cell_input")) == sum(cell.cell_type == "code" for cell in CELLS)
        assert chapter.locator("article details:not([open])").count() == 0
        depth(chapter, "Read").check()
        assert seen(chapter, ".cell_input") == []

    def test_by_keyboard(self, chapter):
        depth(chapter, "Read").focus()
        chapter.keyboard.press("ArrowRight")
        assert depth(chapter, "Follow").is_checked()
        assert len(seen(chapter, ".cell_input")) == 2

    def test_is_remembered_from_disk(self, chapter):
        depth(chapter, "Run").check()
        chapter.reload()
        assert depth(chapter, "Run").is_checked()
        assert len(seen(chapter, ".cell_input")) > 2

    def test_without_javascript_all_can_be_opened(self, browser, toy):
        context = browser.new_context(offline=True, java_script_enabled=False)
        page = context.new_page()
        page.goto(f"file://{toy}/chapters/toy.html")
        assert not page.locator(".dm-depth").is_visible()
        inner = page.get_by_text("Solution to Exercise 1")
        inner.click()
        assert page.get_by_text("the output of a solution", exact=True).is_visible()
        page.get_by_text("3 checks hold").click()
        assert page.locator("#claim-ratio > summary").is_visible()
        context.close()

    def test_prints_folds_as_lines(self, chapter):
        depth(chapter, "Run").check()
        chapter.emulate_media(media="print")
        assert seen(chapter, ".cell_input, .dm-record, .dm-depth") == []
        assert "Setup" in lines(chapter)


class TestVerdict:
    def test_says_what_was_measured_and_what_would_be_refused(self, chapter):
        line = chapter.locator("#claim-measured > summary")
        assert line.locator(".dm-badge").inner_text() == "data"
        assert line.locator("mjx-container").count() == 3
        assert "0.0969(4), predicted 0.0966; an error of 1.7 % would be refused" in line.inner_text()
        assert not chapter.locator("#claim-measured .dm-record").is_visible()
        line.click()
        record = chapter.locator("#claim-measured .dm-record").inner_text()
        for part in ("own derivation", "40 replicas", "no correction (31 resolutions)", "toy/rate"):
            assert part in record

    def test_of_exact_checks_that_follow_each_other_is_one_line(self, chapter):
        assert [" ".join(text.split()) for text in seen(chapter, ".dm-checks > summary")] == [
            "algebra library 3 checks hold"
        ]
        chapter.get_by_text("3 checks hold").click()
        chapter.locator("#claim-rate > summary").click()
        assert "11 of 11 refused, 1 equal to the truth" in chapter.locator("#claim-rate .dm-record").inner_text()

    def test_leads_to_its_entry_and_back(self, chapter):
        chapter.locator("#claim-measured > summary").click()
        chapter.get_by_role("link", name="toy/measured among the results").click()
        entry = chapter.locator("#result-toy-measured[open]")
        entry.wait_for()
        entry.get_by_role("link", name="in the chapter").click()
        chapter.locator("#claim-measured[open] .dm-record").wait_for()
        assert chapter.url.endswith("toy.html#claim-measured")

    def test_within_folds_is_opened_by_its_address(self, browser, toy):
        with Visit(browser, f"file://{toy}/chapters/toy.html#claim-rate", viewport=DESK) as visit:
            assert visit.page.locator("#claim-rate .dm-record").is_visible()

    @pytest.mark.parametrize("mode", ["light", "dark"])
    def test_badges_can_be_read(self, browser, toy, mode):
        with Visit(browser, f"file://{toy}/chapters/toy.html", color_scheme=mode) as visit:
            ratios = visit.page.evaluate(
                """() => [...document.querySelectorAll('.dm-badge')].map(badge => {
                    const level = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(Number).map(u => u / 255)
                        .map(u => u <= .03928 ? u / 12.92 : ((u + .055) / 1.055) ** 2.4);
                        return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
                    const style = getComputedStyle(badge);
                    const [a, b] = [level(style.color), level(style.backgroundColor)];
                    return (Math.max(a, b) + .05) / (Math.min(a, b) + .05); })"""
            )
        assert len(ratios) >= 4
        assert min(ratios) > 4.5


class TestStatement:
    def test_says_whose_it_is_in_a_line_of_its_own(self, chapter):
        assert seen(chapter, ".dm-whose") == ["Whose: own derivation; the theorem is older."]
        assert seen(chapter, "#prop-toy > .admonition-title") == ["Proposition 1 (The radius of noise)"]

    def test_a_mark_of_a_formula_is_not_seen(self, chapter):
        assert "from rate" not in chapter.locator("#prop-toy").inner_text()
        assert chapter.locator("#prop-toy mjx-container").count() == 1


@pytest.mark.parametrize("name", ["chapters/toy", "book/results"])
def test_long_formulas_of_verdicts_fit_a_phone(browser, toy, name):
    with Visit(browser, f"file://{toy}/{name}.html", viewport={"width": 390, "height": 844}) as visit:
        visit.page.evaluate("document.querySelectorAll('article details').forEach(fold => fold.open = true)")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390


class TestSolution:
    def test_holds_its_outputs(self, chapter):
        assert seen(chapter, "#exercises .cell_output") == []
        chapter.get_by_text("Solution to Exercise 1").click()
        assert seen(chapter, "#exercises .cell_output") == ["the output of a solution"]

    def test_holds_cells_that_only_follow_it(self, chapter):
        chapter.get_by_text("Solution to Exercise 2").click()
        assert seen(chapter, "#exercises .cell_output") == ["the output of another"]


class TestResults:
    @pytest.fixture
    def page(self, browser, toy):
        with Visit(browser, f"file://{toy}/book/results.html", viewport=DESK) as visit:
            yield visit.page
            assert visit.errors == []

    def test_filters(self, page):
        assert len(seen(page, ".dm-entry > summary")) == 5
        page.get_by_label("badge").select_option("data")
        assert seen(page, ".dm-entry .dm-badge") == ["data"]
        page.get_by_label("badge").select_option("all")
        page.get_by_label("kind").select_option("equal")
        assert len(seen(page, ".dm-entry > summary")) == 2
        assert seen(page, ".dm-filters output") == ["2 of 5"]

    def test_headlines_come_first(self, page):
        headline = page.locator("#headlines li")
        assert headline.count() == 1
        assert "Noise has a radius. 0.0969(4), predicted 0.0966" in headline.inner_text()
        headline.get_by_role("link", name="toy/measured").click()
        page.locator("#result-toy-measured[open]").wait_for()

    def test_edges_are_drawn(self, page):
        page.get_by_text("What they rest on").click()
        assert page.locator(".dm-graph a").all_text_contents() == ["rate", "measured"]
        assert page.locator(".dm-graph path").count() == 1

    def test_the_file_for_programs(self, toy):
        claims = json.loads((toy / "_static" / "claims.json").read_text())
        assert claims["schema_version"] == 1
        by_id = {claim["id"]: claim for claim in claims["claims"]}
        assert list(by_id) == ["ratio", "rate", "computed", "measured", "long"]
        assert by_id["measured"]["rests_on"] == ["toy/rate"]
        assert not [claim for claim in claims["claims"] if "seconds" in claim]


@pytest.mark.parametrize("name", CHAPTERS)
class TestChapter:
    """What every chapter of the book keeps, as first shown."""

    @pytest.fixture
    def page(self, browser, site, name):
        with Visit(browser, f"file://{site}/chapters/{name}.html", viewport=DESK) as visit:
            yield visit.page

    def test_is_made_for_reading(self, page, name):
        """At most 15 % of its height is code, it takes at most 20 screens, and no output stands among its exercises."""
        height, visible = page.evaluate(
            """() => [document.querySelector("article").offsetHeight,
                [...document.querySelectorAll("article .cell_input, article .dm-code > summary")]
                    .filter(e => e.checkVisibility()).reduce((sum, e) => sum + e.offsetHeight, 0)]"""
        )
        assert visible <= 0.15 * height
        assert height <= SCREENS * DESK["height"]
        assert page.locator("#exercises details.dm-solution").count() > 0
        assert seen(page, "#exercises .cell_output") == []


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_fold_says_what_it_holds(site, name):
    """No fold bears the words of the program that made it; all begin with a known word."""
    from bs4 import BeautifulSoup

    page = BeautifulSoup((site / "chapters" / f"{name}.html").read_text(), "html.parser")
    labels = [label.get_text() for label in page.select(".dm-code:not(.dm-group) > summary > span:first-child")]
    assert labels
    assert "Show code cell" not in page.get_text()
    assert not [label for label in labels if label.split(":")[0] not in KINDS]
    assert not [output for output in page.select(".cell_output") if output.get_text().strip() == "None"]
