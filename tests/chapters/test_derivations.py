"""Derivations run where only SymPy is: the cells tagged sympy of a chapter, alone and in their order."""

import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT

from tools.execute import all_chapters
from tools.formulas import is_converted

#: Runs the cells on stdin, which a line of its own separates, where nothing but SymPy can be imported.
ALONE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "numpy", "scipy", "matplotlib", "pandas", "numba", "sklearn", "skimage"}:
            raise ModuleNotFoundError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
namespace = {"__name__": "__main__"}
for cell in sys.stdin.read().split("\\n# --- next cell\\n"):
    exec(compile(cell, cell.partition("\\n")[0], "exec"), namespace)
"""


def read(path):
    return nbformat.read(path, as_version=4)


def run_alone(cells):
    """Run sources of cells one after the other in a process without torch, NumPy, SciPy and Matplotlib."""
    command = [sys.executable, "-c", ALONE]
    text = "\n# --- next cell\n".join(cells)
    return subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("path", all_chapters(), ids=lambda p: p.stem)
def test_cells_tagged_sympy_run_alone(path):
    notebook = read(path)
    if not is_converted(notebook):
        return  # chapters in the old form import what their derivations need in other cells
    cells = [cell.source for cell in notebook.cells if "sympy" in cell.metadata.get("tags", [])]
    assert cells
    result = run_alone(cells)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("module", ["torch", "numpy", "scipy.special", "matplotlib.pyplot"])
def test_what_needs_more_than_sympy_does_not_run(module):
    result = run_alone(["import sympy", f"import {module}"])
    assert result.returncode == 1
    assert f"{module.partition('.')[0]} is blocked" in result.stderr


def test_cells_share_their_names():
    result = run_alone(["import sympy\nx = sympy.Symbol('x')", "print(sympy.diff(x**2, x))"])
    assert (result.returncode, result.stdout) == (0, "2*x\n"), result.stderr
