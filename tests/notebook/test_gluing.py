"""Glued numbers: the same text on every machine, shown without quotes, and nothing outside of a notebook."""

import math
import sys

import nbformat
import pytest
from docutils.core import publish_string
from myst_nb.docutils_ import Parser

from diffmem_lib import notebook
from tools.execute import execute

CHAPTER = """\
from diffmem_lib import notebook
notebook.glue("long", 20.55341421347413, 1)
notebook.glue("whole", 119.99999999999999, 0)
notebook.glue("zero", -1e-17, 2)
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    path = tmp_path_factory.mktemp("chapter") / "toy.ipynb"
    cells = [
        nbformat.v4.new_markdown_cell(
            "# Toy\n\nIt is {glue:text}`long`, {glue:text}`whole`, {glue:text}`zero`.", id="m"
        ),
        nbformat.v4.new_code_cell(CHAPTER, id="c"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return execute(path)


def glued(executed):
    return {o.metadata["scrapbook"]["name"]: o.data for o in executed.cells[1].outputs}


def test_what_is_compared_is_the_rounded_text(executed):
    texts = {name: list(data.values()) for name, data in glued(executed).items()}
    assert texts == {"long": ["'20.6'"], "whole": ["'120'"], "zero": ["'0.00'"]}


def test_a_notebook_shows_nothing_for_it(executed):
    assert all(mime.startswith("application/papermill") for data in glued(executed).values() for mime in data)


def test_the_page_shows_the_number_without_quotes(executed):
    page = publish_string(
        nbformat.writes(executed),
        parser=Parser(),
        writer_name="html",
        settings_overrides={"nb_execution_mode": "off", "output_encoding": "unicode"},
    )
    sentence = next(line for line in page.splitlines() if "It is" in line)
    assert [part.split("</span>")[0] for part in sentence.split('class="pasted-text">')[1:]] == ["20.6", "120", "0.00"]
    assert "'" not in sentence


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match=r"value must be finite, got (nan|inf) for 'x'"):
        notebook.glue("x", value, 2)


def test_a_negative_number_of_decimals_is_refused():
    with pytest.raises(ValueError, match=r"digits must be .*, got -1 for 'x'"):
        notebook.glue("x", 1.0, -1)


def test_nothing_is_shown_outside_of_a_notebook(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    notebook.glue("x", 1.0, 2)
    assert capsys.readouterr() == ("", "")
