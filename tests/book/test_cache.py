"""A change in the library or in a chapter is never hidden by a cache, and what has not changed is not done twice."""

import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT

pytestmark = pytest.mark.book
CHAPTER = "import diffmem_lib\nprint('the library says', diffmem_lib.__version__)"
TOC = "format: jb-book\nroot: book/intro\nchapters:\n  - file: chapters/toy\n"


@pytest.fixture
def copy(tmp_path):
    """The project with one small chapter."""
    for name in ("_config.yml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "diffmem_lib", tmp_path / "diffmem_lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "book", tmp_path / "book", ignore=shutil.ignore_patterns("__pycache__", "*.md", "api"))
    (tmp_path / "book" / "intro.md").write_text("# Toy\n")
    (tmp_path / "book" / "_toc.yml").write_text(TOC)
    (tmp_path / "book" / "headlines.yml").write_text("[]\n")  # the book's own name claims of its chapters
    (tmp_path / "chapters").mkdir()
    write(tmp_path, CHAPTER)
    return tmp_path


def write(copy, code):
    cells = [nbformat.v4.new_markdown_cell("# Toy", id="title"), nbformat.v4.new_code_cell(code, id="code")]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), copy / "chapters" / "toy.ipynb")


def run(copy):
    """Build the copy with its own library and tools."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, "-m", "tools.build"]
    return subprocess.run(command, cwd=copy, capture_output=True, text=True, env=environment)


def build(copy):
    """Text of the chapter's page, and whether it was executed for it."""
    result = run(copy)
    assert result.returncode == 0, result.stdout + result.stderr
    return (copy / "_build" / "html" / "chapters" / "toy.html").read_text(), "executing" in result.stdout


def test_changes_are_seen_and_nothing_is_done_twice(copy):
    page, executed = build(copy)
    assert executed
    assert "the library says 0" in page

    page, executed = build(copy)
    assert not executed

    init = copy / "diffmem_lib" / "__init__.py"
    init.write_text(re.sub(r'__version__ = ".*"', '__version__ = "9.9.9"', init.read_text()))
    page, executed = build(copy)
    assert executed
    assert "the library says 9.9.9" in page

    write(copy, CHAPTER.replace("says", "whispers"))
    page, executed = build(copy)
    assert executed
    assert "the library whispers 9.9.9" in page


def test_a_refused_claim_stops_the_build_and_says_which(copy):
    write(
        copy,
        "import sympy as sp\nfrom diffmem_lib import claims\nx = sp.Symbol('x')\n"
        "claims.by('nobody').equal('toy-claim', x**2, 2 * x**2, text='a wrong square')",
    )
    result = run(copy)
    assert result.returncode == 1
    assert "claim 'toy-claim' is refused (a wrong square): off by 0.5 relative" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (copy / "_build" / "html").exists()
