"""No violation that axe finds, on any page, in light and dark; in chapters as first shown and with all folds open."""

import shutil
import subprocess

import pytest
from conftest import REQUIRE_BROWSER, ROOT
from filelock import FileLock
from visiting import CHAPTERS, PAGES, Visit

pytestmark = pytest.mark.browser
FOLDER = ROOT / "tests" / "axe"
SCRIPT = FOLDER / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="session")
def axe(shared):
    """axe's source, from npm; without Node the tests are skipped, or fail if REQUIRE_BROWSER=1."""
    npm = shutil.which("npm")
    if not SCRIPT.is_file() and npm is None:
        message = "axe is not installed: run `npm ci` in tests/axe, which needs Node"
        pytest.fail(message) if REQUIRE_BROWSER else pytest.skip(message)
    with FileLock(shared / "axe.lock"):
        if not SCRIPT.is_file():
            result = subprocess.run([npm, "ci", "--silent"], cwd=FOLDER, capture_output=True, text=True)
            assert result.returncode == 0, result.stdout + result.stderr
    return SCRIPT.read_text(encoding="utf-8")


#: axe takes minutes for the thousands of elements inside formulas, which have neither names nor roles: each formula
#: becomes a box of its width, which scrolls as the formula does.
BOXES = """() => document.querySelectorAll("mjx-container").forEach((formula) => {
    const box = document.createElement("span");
    box.textContent = "formula";
    box.style.cssText = `display: inline-block; overflow: hidden; width: ${Math.max(formula.scrollWidth, 8)}px`;
    formula.replaceChildren(box);
})"""


def violations(page, **options):
    """What axe finds, as one line for each element: the rule, the element and why."""
    found = page.evaluate("options => axe.run(document, options)", {"resultTypes": ["violations"], **options})
    rules = found["violations"]
    return [f"{rule['id']}: {node['html'][:160]}: {node['failureSummary']}" for rule in rules for node in rule["nodes"]]


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(browser, site, axe, name):
    """Every rule in light; in the dark, with all folds open, those on contrast, since nothing else differs there."""
    chapter = name in {f"chapters/{chapter}.html" for chapter in CHAPTERS}
    with Visit(browser, f"file://{site / name}", color_scheme="light") as visit:
        visit.page.evaluate(axe)
        visit.page.evaluate(BOXES)
        visit.page.add_style_tag(content="* { transition: none !important; }")  # colours on their way are no colours
        for depth in ("Read", "Run") if chapter else (None,):
            if depth:
                visit.page.get_by_role("radio", name=depth).check()
            assert violations(visit.page) == [], depth
        visit.page.evaluate("document.documentElement.dataset.theme = 'dark'")
        assert violations(visit.page, runOnly=["color-contrast"]) == []
