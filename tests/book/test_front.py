"""The first page: what it shows comes from the chapters, and a phone or a keyboard is enough for it."""

import re

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import ROOT
from front import chapter_map, needs
from visiting import Visit

PHONE = {"width": 390, "height": 844}
INTRO = "book/intro.html"


def notebook(*texts):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text) for text in texts])


def test_what_a_chapter_needs_stands_in_its_table():
    table = "See [other](other.ipynb).\n\n| You need | how much | where |\n|---|---|---|\n"
    table += "| a | all | [A](one.ipynb), [again](one.ipynb#x) |\n| b | little | [B](two.ipynb) |\n\n"
    table += "Then [C](three.ipynb)."
    assert needs(notebook("# Title", table)) == ["one", "two"]
    assert needs(notebook("# Title", "[A](one.ipynb)")) == []


def test_the_map_has_a_link_for_each_chapter_and_an_arc_for_each_need():
    titles = {"one": "First & foremost", "two": "Second"}
    needed = {"two": ["one", "elsewhere"], "one": []}
    svg = BeautifulSoup(chapter_map(titles, {"Part": ["one", "two"]}, needed), "html.parser")
    assert [link["href"] for link in svg.find_all("a")] == ["../chapters/one.html", "../chapters/two.html"]
    assert svg.find_all("a")[1]["aria-label"] == "2. Second; needs First & foremost"
    assert [arc["data-ends"] for arc in svg.find_all("path")] == ["one two"]


@pytest.mark.browser
def test_a_phone_shows_question_figure_and_number_at_once(browser, site):
    with Visit(browser, f"file://{site / INTRO}", viewport=PHONE) as visit:
        for what in ("article h1", "article p", ".dm-front img", ".dm-front a[href*='results.html#']"):
            box = visit.page.locator(what).first.bounding_box()
            assert 0 <= box["y"] < box["y"] + box["height"] <= PHONE["height"], what
        assert re.match(r"\d\.\d+\(\d+\)", visit.page.locator(".dm-front a[href*='results.html#']").inner_text())


@pytest.mark.browser
def test_the_keyboard_reaches_every_chapter_from_the_map(browser, site):
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    chapters = [entry["file"] for part in toc["parts"] for entry in part["chapters"] if "chapters/" in entry["file"]]
    with Visit(browser, f"file://{site / INTRO}") as visit:
        visit.page.locator(".dm-map a").first.focus()
        for chapter in chapters:
            focused = visit.page.evaluate("document.activeElement.getAttribute('href')")
            assert focused == f"../{chapter}.html"
            visit.page.keyboard.press("Tab")
        visit.page.locator(".dm-map a").first.focus()
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_url(f"**/{chapters[0]}.html")


@pytest.mark.browser
def test_cards_lead_to_chapters(browser, site):
    with Visit(browser, f"file://{site / INTRO}") as visit:
        links = visit.page.locator(".sd-card a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert [link.partition("#")[0] for link in links] == [
        f"../chapters/{name}.html" for name in ("local_coverage", "dn_law", "linear_cubic")
    ]
