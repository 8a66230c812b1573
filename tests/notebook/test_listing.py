"""Listings show what the library holds, functions and methods alike."""

import ast
import inspect

import pytest

from diffmem_lib import data, notebook
from diffmem_lib.theory import kde


def test_a_function_is_listed_as_it_stands_in_the_library():
    listing = notebook.source(kde.condensation_bandwidth)
    assert str(listing) == inspect.getsource(kde.condensation_bandwidth).rstrip()


def test_methods_are_dedented_and_several_follow_each_other():
    listing = notebook.source(data.MixedCumulant.sample, kde.rate)
    assert [node.name for node in ast.parse(str(listing)).body] == ["sample", "rate"]


def test_a_page_shows_a_block_of_python():
    bundle = notebook.source(kde.rate)._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/markdown"] == f"```python\n{bundle['text/plain']}\n```"


def test_no_function_is_refused():
    with pytest.raises(ValueError, match="at least one function"):
        notebook.source()
