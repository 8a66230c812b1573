"""Run the derivations of a chapter, its cells tagged sympy, alone: where nothing but SymPy can be imported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat

from tools.execute import ROOT

_SEPARATOR = "\n# --- next cell\n"
_ALONE = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {{"torch", "numpy", "scipy", "matplotlib", "numba", "sklearn", "skimage"}}:
            raise ModuleNotFoundError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocked())
namespace = {{"__name__": "__main__"}}
for cell in sys.stdin.read().split({_SEPARATOR!r}):
    exec(compile(cell, cell.partition("\\n")[0], "exec"), namespace)
"""


def cells_of(path: Path) -> dict[str, str]:
    """Id → source of the cells of a chapter that are tagged sympy."""
    cells = nbformat.read(path, as_version=4).cells
    return {cell.id: cell.source for cell in cells if "sympy" in cell.metadata.get("tags", [])}


def run_alone(cells: Sequence[str], timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run sources of cells one after the other in one process without torch, NumPy, SciPy and Matplotlib."""
    command = [sys.executable, "-c", _ALONE]
    text = _SEPARATOR.join(cells)
    return subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, timeout=timeout)
