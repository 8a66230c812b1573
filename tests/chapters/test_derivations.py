"""Derivations run where only SymPy is: the cells tagged sympy of a chapter, alone and in their order."""

import pytest

from tools.derivations import cells_of, run_alone
from tools.execute import all_chapters


@pytest.mark.parametrize("path", all_chapters(), ids=lambda p: p.stem)
def test_cells_tagged_sympy_run_alone(path):
    cells = cells_of(path)
    assert cells
    result = run_alone(list(cells.values()))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("module", ["torch", "numpy", "scipy.special", "matplotlib.pyplot"])
def test_what_needs_more_than_sympy_does_not_run(module):
    result = run_alone(["import sympy", f"import {module}"])
    assert result.returncode == 1
    assert f"{module.partition('.')[0]} is blocked" in result.stderr


def test_cells_share_their_names():
    result = run_alone(["import sympy\nx = sympy.Symbol('x')", "print(sympy.diff(x**2, x))"])
    assert (result.returncode, result.stdout) == (0, "2*x\n"), result.stderr
