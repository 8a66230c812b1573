"""Old anchors lead to where their statements and results stand now."""

import pytest
import yaml
from conftest import ROOT
from moved import MAP, targets
from visiting import Visit

pytestmark = pytest.mark.browser
MOVED = yaml.safe_load(MAP.read_text()) or {}


def test_addresses_are_relative_to_the_page(tmp_path, monkeypatch):
    toy = tmp_path / "moved.yml"
    toy.write_text("chapters/a.html#x: chapters/b.html#y\nbook/results.html#p: book/results.html#q\n")
    monkeypatch.setattr("moved.MAP", toy)
    assert targets("chapters/a") == {"x": "b.html#y"}
    assert targets("book/results") == {"p": "results.html#q"}
    assert targets("chapters/b") == {}


def test_old_anchors_lead_to_the_new_ones(browser, site):
    for old, new in MOVED.items():
        with Visit(browser, f"file://{site / old}") as visit:
            visit.page.wait_for_url(f"file://{site / new}", timeout=10_000)
            anchor = new.partition("#")[2]
            assert visit.page.locator(f"[id='{anchor}']").count() == 1, new


def test_no_address_moved_to_one_that_moved_again():
    assert not set(MOVED.values()) & set(MOVED)
    assert all(
        (ROOT / new.partition("#")[0].replace(".html", ".ipynb")).exists() or "book/" in new for new in MOVED.values()
    )
