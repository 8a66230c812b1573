"""Run chapters as another machine would and compare what they say with what is stored.

Every chapter is executed twice more by nbval: with the plainest instruction set that the libraries offer, as on an old
processor, and with two threads.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat

from tools.execute import ROOT, all_chapters, chapter_path

#: Machines to imitate: name → environment variables, and how many chapters run at a time.
MACHINES = {
    "plain instruction set": {
        "OMP_NUM_THREADS": "1",
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "NUMBA_CPU_NAME": "generic",
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX2 FMA3",
    },
    # Threads that wait asleep: spinning ones would stand in each other's way where the machine has other work to do.
    "two threads": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},
}
ANSI = re.compile(r"(?:\x1b|#x1B)\[[\d;]*m")  # as they are, and as they are in a report


def differences(path: Path, environment: dict[str, str]) -> list[str]:
    """What each cell says differently under environment variables, one line a cell; empty if all is the same."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-p", "no:cacheprovider", "--rootdir", str(path.parent), "--nbval-lax", "--nbval-current-env"]
        command = [sys.executable, "-m", "pytest", *options, f"--junitxml={report}", "--nbval-cell-timeout=600"]
        variables = os.environ | {"PYTHONPATH": str(ROOT)} | environment
        run = subprocess.run([*command, str(path)], cwd=path.parent, env=variables, capture_output=True, text=True)
        if not report.is_file():
            return [f"nbval did not run: {(run.stdout + run.stderr).strip().splitlines()[-1]}"]
        cases = list(ET.parse(report).iter("testcase"))
    code = [cell.id for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    if len(cases) != len(code):
        return [f"nbval ran {len(cases)} of {len(code)} cells"]
    found = zip(code, (case.find("failure") for case in cases), strict=True)
    return [f"{cell}: {_reason(failure.text or '')}" for cell, failure in found if failure is not None]


def _reason(failure: str) -> str:
    """The first line in which stored and fresh output differ, or the error that the cell ended with."""
    lines = ANSI.sub("", failure).rstrip().splitlines()
    if not any("Cell outputs differ" in line for line in lines):
        return lines[-1]
    stored = next((line.strip()[2:] for line in lines if line.startswith("  + ")), None)
    fresh = next((line.strip()[2:] for line in lines if line.startswith("  - ")), None)
    return f"stored {stored!r}, here {fresh!r}"


def compare(paths: list[Path], machines: Collection[str] = tuple(MACHINES)) -> dict[str, dict[str, list[str]]]:
    """Differences by machine and by chapter; says so as each is done."""
    found: dict[str, dict[str, list[str]]] = {machine: {} for machine in machines}
    number = itertools.count(1)
    for machine in machines:
        environment = MACHINES[machine]
        kernels = max(1, (os.cpu_count() or 1) // int(environment["OMP_NUM_THREADS"]))

        def timed(path: Path, environment: dict[str, str] = environment) -> tuple[list[str], float]:
            start = time.perf_counter()
            return differences(path, environment), time.perf_counter() - start

        with ThreadPoolExecutor(max_workers=kernels) as pool:
            for path, (lines, seconds) in zip(paths, pool.map(timed, paths), strict=True):
                found[machine][path.stem] = lines
                verdict = f"{len(lines)} cells differ" if lines else "the same text"
                done = f"[{next(number)}/{len(machines) * len(paths)}]"
                print(f"{done} {path.stem}, {machine}: {verdict} ({seconds:.0f} s)", flush=True)
    return found


def summary(found: dict[str, dict[str, list[str]]]) -> str:
    """A line for each machine, and below it each cell that differs."""
    lines = []
    for machine, chapters in found.items():
        same = sum(not differing for differing in chapters.values())
        lines.append(f"{machine}: {same} of {len(chapters)} chapters say the same")
        lines += [f"  {name}, {line}" for name, differing in chapters.items() for line in differing]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.portable", description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="names, such as perfect_denoiser (default: all)")
    parser.add_argument(
        "--machine", choices=MACHINES, action="append", help="imitate this one only (default: all, one after the other)"
    )
    chosen = parser.parse_args()
    paths = [chapter_path(name) for name in chosen.chapters] or all_chapters()
    found = compare(paths, chosen.machine or tuple(MACHINES))
    print(summary(found))
    return int(any(differing for chapters in found.values() for differing in chapters.values()))


if __name__ == "__main__":
    sys.exit(main())
