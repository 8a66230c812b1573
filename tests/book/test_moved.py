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


def test_every_new_address_exists(site):
    texts = {
        page: (site / page).read_text(encoding="utf-8") for page in {new.partition("#")[0] for new in MOVED.values()}
    }
    missing = [new for new in MOVED.values() if f'id="{new.partition("#")[2]}"' not in texts[new.partition("#")[0]]]
    assert not missing


def test_old_anchors_lead_to_the_new_ones(browser, site):
    """One for each page that something moved away from: the script is the same for all its anchors."""
    first = {old.partition("#")[0]: (old, new) for old, new in reversed(MOVED.items())}
    for old, new in first.values():
        with Visit(browser, f"file://{site / old}") as visit:
            visit.page.wait_for_url(f"file://{site / new}", timeout=20_000)


def test_no_address_moved_to_one_that_moved_again():
    assert not set(MOVED.values()) & set(MOVED)
    assert all(
        (ROOT / new.partition("#")[0].replace(".html", ".ipynb")).exists() or "book/" in new for new in MOVED.values()
    )
