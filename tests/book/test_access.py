"""No violation that axe finds, on any page, in light and dark; in chapters as first shown and with everything open."""

import shutil
import subprocess

import pytest
from conftest import REQUIRE_BROWSER, ROOT
from visiting import CHAPTERS, PAGES, Visit

pytestmark = pytest.mark.browser
FOLDER = ROOT / "tests" / "axe"
SCRIPT = FOLDER / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="session")
def axe():
    """axe's source, from npm; without Node the tests are skipped, or fail if REQUIRE_BROWSER=1."""
    npm = shutil.which("npm")
    if not SCRIPT.is_file() and npm is None:
        message = "axe is not installed: run `npm ci` in tests/axe, which needs Node"
        pytest.fail(message) if REQUIRE_BROWSER else pytest.skip(message)
    if not SCRIPT.is_file():
        result = subprocess.run([npm, "ci", "--silent"], cwd=FOLDER, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
    return SCRIPT.read_text(encoding="utf-8")


def violations(page):
    """What axe finds, as one line for each element: the rule, the element and why."""
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [f"{rule['id']}: {node['html'][:160]}: {node['failureSummary']}" for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(browser, site, axe, name, mode):
    depths = ["Read", "Run"] if name in {f"chapters/{chapter}.html" for chapter in CHAPTERS} else [None]
    with Visit(browser, f"file://{site / name}", color_scheme=mode) as visit:
        visit.page.evaluate(axe)
        for depth in depths:
            if depth:
                visit.page.get_by_role("radio", name=depth).check()
            assert violations(visit.page) == [], depth
