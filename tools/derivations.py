"""Run the derivations of a chapter, its cells tagged sympy, alone: where nothing but SymPy can be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import nbformat

from tools.execute import ROOT

_ALONE = """
import json, os, signal, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "numpy", "scipy", "matplotlib", "numba", "sklearn", "skimage"}:
            raise ModuleNotFoundError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
namespace = {"__name__": "__main__"}
asked = json.load(sys.stdin)

def run(cell):
    exec(compile(cell, cell.partition("\\n")[0], "exec"), namespace)

def ends(sources):
    "Run sources to their end in a process of their own; its id."
    child = os.fork()
    if child:
        return child
    signal.alarm(asked["patience"])
    try:
        for source in sources:
            run(source)
    except BaseException:
        os._exit(1)
    os._exit(0)

answers = os.fdopen(os.dup(1), "w")
if asked["variants"]:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
running = {}

def wait():
    child, status = os.wait()
    print(running.pop(child), int(status == 0), file=answers, flush=True)

for number, cell in enumerate(asked["cells"]):
    for variant, source in asked["variants"].get(str(number), []):
        if len(running) == os.cpu_count():
            wait()
        running[ends([source, *asked["cells"][number + 1:]])] = variant
    run(cell)
while running:
    wait()
"""


def cells_of(path: Path) -> dict[str, str]:
    """Id → source of the cells of a chapter that are tagged sympy."""
    cells = nbformat.read(path, as_version=4).cells
    return {cell.id: cell.source for cell in cells if "sympy" in cell.metadata.get("tags", [])}


def run_alone(cells: Sequence[str], timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run sources of cells one after the other in one process without torch, NumPy, SciPy and Matplotlib."""
    command = [sys.executable, "-c", _ALONE]
    asked = json.dumps({"cells": list(cells), "variants": {}, "patience": 0})
    return subprocess.run(command, cwd=ROOT, input=asked, capture_output=True, text=True, timeout=timeout)


def variants_that_end(
    cells: Sequence[str], variants: Mapping[int, Sequence[str]], patience: int
) -> Iterator[tuple[int, int, bool]]:
    """Exchange one cell at a time for each of its variants, and run it and the later ones alone.

    Parameters
    ----------
    variants
        Number of a cell → sources to stand in its place.
    patience
        Seconds after which a run is ended, as one that does not come to its end.

    Yields
    ------
    The number of the cell, that of the variant, and whether all came to their end; in the order in which they do. The
    cells before the exchanged one are run once for all: each variant starts as a copy of the process there.
    """
    numbered = {k: [(f"{k} {j}", source) for j, source in enumerate(sources)] for k, sources in variants.items()}
    asked = json.dumps({"cells": list(cells), "variants": numbered, "patience": patience})
    with subprocess.Popen(
        [sys.executable, "-c", _ALONE], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdin.write(asked)
        process.stdin.close()
        for line in process.stdout:
            cell, variant, ended = map(int, line.split())
            yield cell, variant, bool(ended)
    if process.returncode:
        raise RuntimeError("the derivations do not run alone as they are")
