"""What the simulation sees: make each function of theory wrong, one at a time, and see a measured claim refuse.

    python -m tools.hands [chapter ...]

A chapter is run once, and from the first call of each function of theory on in a copy for each of its values, in which
that is wrong, up to the first refusal by a measured claim (``tools.branches``). The table is stored in book/hands.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

from diffmem_lib.notebook.long_runs import definitions_used
from tools.execute import ROOT, ChapterFailed, all_chapters, chapter_path

TABLE = ROOT / "book" / "hands.json"
THEORY = ROOT / "diffmem_lib" / "theory"
#: Functions with a value that no simulation sees: ``module.name`` → why.
REASONS = {
    "hermite.hermite_coefficients": "orders 1 and 3 are seen; the others are the same integral, and of too small a "
    "share in the losses that are drawn",
    "hermite.hermite_moments": "orders 3 to 6 are seen; 0 to 2 are those of white data, and higher ones take more "
    "samples than a chapter can draw",
    "hermite.loss_coefficients": "orders 4 and 6 are seen, and 2 in what a neuron's drift is made of; the others meet "
    "moments that vanish, or add less than the samples' error",
    "hermite.loss_series": "orders 3 and 4 are seen; what higher ones add is below the error of the samples",
}


def key_of(path: Path, rows: list[dict[str, Any]]) -> str:
    """What identifies the code of a chapter and of the theory that its rows tell of; what is only said is no code."""
    digest = hashlib.sha256()
    functions = {tuple(row["function"].split(".")) for row in rows}
    used = definitions_used((THEORY / f"{module}.py", name) for module, name in functions)
    for file in sorted(used):
        if file.parent == THEORY:  # what checks arguments makes no value
            digest.update(f"{file.stem}\0{sorted(used[file].items())}".encode())
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            digest.update(f"\0{cell.source}".encode())
    return digest.hexdigest()


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Each value of theory that a chapter receives, made wrong: function, entry, verdict and by what, as they end.

    The verdict is ``refused`` with the claim, ``stopped`` with the error if no claim refused but a cell did not run,
    ``survives``, or ``unchanged`` where the value is zero or infinite whenever it is asked for.
    """
    variables = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), variables.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "tools.branches", str(path.resolve())]
    with subprocess.Popen(command, cwd=path.parent, env=variables, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            row = json.loads(line)
            if "error" in row:
                raise ChapterFailed(f"{path.stem} does not hold as it is: {row['error']}")
            print(f"  {row['function']}, entry {row['entry']}: {row['verdict']} {row['by']}", flush=True)
            yield row
    if process.returncode:
        raise ChapterFailed(f"{path.stem} ended with exit status {process.returncode}")


def read_table() -> dict[str, Any]:
    """The stored table: chapter → its key and rows; empty if there is none."""
    return json.loads(TABLE.read_text()) if TABLE.is_file() else {}


def seen_by(table: dict[str, Any]) -> dict[str, list[str]]:
    """Each value of theory that a measured claim refuses when it is wrong, and these claims as ``chapter/id``."""
    entries: dict[str, int] = {}
    for chapter in table.values():
        for row in chapter["rows"]:
            entries[row["function"]] = max(entries.get(row["function"], 1), row["entry"] + 1)
    found: dict[str, list[str]] = {}
    for name, chapter in table.items():
        for row in chapter["rows"]:
            if row["verdict"] == "refused":
                value = row["function"] if entries[row["function"]] == 1 else f"{row['function']}[{row['entry']}]"
                found.setdefault(value, []).append(f"{name}/{row['by']}")
    return dict(sorted(found.items()))


def not_simulated(table: dict[str, Any]) -> dict[str, str]:
    """The public functions of theory with a value that no measured claim of any chapter sees, and why."""
    seen: dict[tuple[str, int], bool] = {}
    for chapter in table.values():
        for row in chapter["rows"]:
            case = row["function"], row["entry"]
            seen[case] = seen.get(case, False) or row["verdict"] == "refused"
    called = {function for function, _ in seen}
    missed = {function for (function, _), refused in seen.items() if not refused} | (public_functions() - called)
    return {function: REASONS.get(function, "") for function in sorted(missed)}


def public_functions() -> set[str]:
    """``module.name`` of every public function of theory."""
    found = set()
    for path in THEORY.glob("*.py"):
        source = path.read_text()
        listed = re.search(r"^__all__ = \[(.*?)\]", source, flags=re.DOTALL | re.MULTILINE)
        names = set(re.findall(r'"(\w+)"', listed[1])) if listed else set()
        found |= {f"{path.stem}.{name}" for name in names & set(re.findall(r"^def (\w+)", source, flags=re.MULTILINE))}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.hands", description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="names, such as perfect_denoiser (default: all)")
    names = parser.parse_args().chapters
    paths = [chapter_path(name) for name in names] or all_chapters()
    table = read_table()
    for path in paths:
        print(path.stem, flush=True)
        try:
            rows = sorted(rows_of(path), key=lambda row: (row["function"], row["entry"]))
        except ChapterFailed as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        table[path.stem] = {"key": key_of(path, rows), "rows": rows}
        TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
    for function, reason in not_simulated(table).items():
        print(f"not simulated: {function}: {reason or 'no reason is given'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
