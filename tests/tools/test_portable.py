"""A chapter that says something else on another machine is found, cell by cell."""

import nbformat
import pytest

from tools import portable
from tools.execute import execute

CELLS = {
    "same": "print('always')",
    "number": "import os\nprint('first')\nprint(os.environ.get('TOY_MACHINE', 20.5))",
    "untagged": "print(os.environ.get('TOY_MACHINE'))",
    "error": "assert 'TOY_MACHINE' not in os.environ, 'no such machine'",
}


@pytest.fixture
def chapter(tmp_path):
    tagged = {"tags": ["nbval-check-output"]}
    cells = [
        nbformat.v4.new_code_cell(code, id=name, metadata={} if name == "untagged" else tagged)
        for name, code in CELLS.items()
    ]
    path = tmp_path / "toy.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Toy", id="title"), *cells]), path)
    nbformat.write(execute(path), path)
    return path


def test_the_same_text_is_no_difference(chapter):
    assert portable.differences(chapter, {}) == []


def test_what_differs_is_named_with_both_texts(chapter):
    number, error = portable.differences(chapter, {"TOY_MACHINE": "20.6"})
    assert number == "number: stored '20.5', here '20.6'"
    assert error == "error: AssertionError: no such machine"


def test_the_summary_counts_chapters_and_lists_cells():
    found = {"old": {"a": ["x: stored '1', here '2'"], "b": []}, "new": {"a": [], "b": []}}
    assert portable.summary(found).splitlines() == [
        "old: 1 of 2 chapters say the same",
        "  a, x: stored '1', here '2'",
        "new: 2 of 2 chapters say the same",
    ]


def test_one_machine_can_be_imitated_alone(chapter, monkeypatch, capsys):
    monkeypatch.setitem(portable.MACHINES, "toy", {"OMP_NUM_THREADS": "1", "TOY_MACHINE": "20.6"})
    found = portable.compare([chapter], ["toy"])
    assert list(found) == ["toy"]
    assert len(found["toy"]["toy"]) == 2
    assert capsys.readouterr().out.startswith("[1/1] toy, toy: 2 cells differ")
