"""Listings show what the library holds, functions and methods alike."""

import ast
import inspect

import pytest

from diffmem_lib import data, notebook
from diffmem_lib.theory import kde


def _without_docstrings(code):
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            del node.body[0]
    return ast.dump(tree)


@pytest.mark.parametrize("function", [kde.condensation_bandwidth, data.MixedCumulant], ids=lambda f: f.__name__)
def test_what_is_listed_runs_as_the_library_does(function):
    listing = str(notebook.source(function))
    assert _without_docstrings(listing) == _without_docstrings(inspect.getsource(function))


def test_a_docstring_is_listed_as_its_first_sentence_without_markup():
    def measured(sigma):
        r"""Density :math:`\rho_h` at ``sigma``, see
        :func:`~diffmem_lib.theory.kde.rate`.

        Raises
        ------
        ValueError
            Never.
        """
        return sigma  # the comment stays

    assert str(notebook.source(measured)).splitlines() == [
        "def measured(sigma):",
        r'    r"""Density \rho_h at sigma, see rate."""',
        "    return sigma  # the comment stays",
    ]


def test_methods_are_dedented_and_several_follow_each_other():
    listing = notebook.source(data.MixedCumulant.sample, kde.rate)
    assert [node.name for node in ast.parse(str(listing)).body] == ["sample", "rate"]


def test_a_page_shows_a_block_of_python():
    bundle = notebook.source(kde.rate)._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/markdown"] == f"```python\n{bundle['text/plain']}\n```"


def test_no_function_is_refused():
    with pytest.raises(ValueError, match="at least one function"):
        notebook.source()
