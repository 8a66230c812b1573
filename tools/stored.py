"""Longer runs: make the data files of chapters/stored, or run rows of them again and compare.

    python -m tools.stored [name ...] [--rows n=16,32 …] [--again] [--check] [--workers W]

An experiment is a module chapters/stored/NAME.py: its docstring says what is measured, GRID has the values of the
arguments of row(…, generator), which returns name → (values, standard errors), one for each number in AT[name] (times,
levels); a row takes a minute at most.
Finished rows are kept in _build/stored, so that a run that was killed goes on; a file that is up to date is left alone.
DIFFMEM_SCALE=full makes more rows, DIFFMEM_SEED other ones.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import inspect
import itertools
import json
import math
import os
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from types import ModuleType
from typing import Any

import torch

from diffmem_lib.notebook import long_runs, settings
from diffmem_lib.simulation import SweepError, run_sweep
from tools.execute import CHAPTERS, ROOT

FOLDER = CHAPTERS / "stored"
JOURNALS = ROOT / "_build" / "stored"
#: How improbable a difference is with which a row that runs again is refused, all its numbers together.
LEVEL = 1e-4
DIGITS = 6  # of each number in a file

Row = dict[str, dict[str, list[float]]]


class Refused(Exception):
    """A file cannot be made, or a row that ran again is another; the message says why."""


def names() -> list[str]:
    """The experiments."""
    return sorted(path.stem for path in FOLDER.glob("*.py"))


@functools.cache
def load(path: Path) -> ModuleType:
    """The module of an experiment."""
    spec = importlib.util.spec_from_file_location(f"stored.{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_rows(
    path: Path, grid: Mapping[str, Sequence[Any]], root_seed: int, store: Path | None = None, **options: Any
) -> list[dict[str, Any]]:
    """Rows of an experiment at all points of a grid, as a file has them; ``options`` are those of ``run_sweep``."""
    version = json.dumps(long_runs.code_of(path))
    task = functools.partial(_numbers, path)
    table = run_sweep(task, grid, root_seed=root_seed, store=store, version=version, batch=1, **options)
    points = (dict(zip(table.grid, point, strict=True)) for point in itertools.product(*table.grid.values()))
    columns = {name: array.ravel().tolist() for name, array in table.values.items()}
    return [{**point, **_row({name: column[k] for name, column in columns.items()})} for k, point in enumerate(points)]


def _numbers(path: Path, generator: torch.Generator, **coordinates: Any) -> dict[str, float]:
    """What a row returns as a sweep keeps it: a number for each place, value and error apart."""
    numbers = {}
    for name, (values, errors) in load(path).row(**coordinates, generator=generator).items():
        for place, pair in enumerate(zip(values, errors, strict=True)):
            for part, number in zip(("value", "error"), pair, strict=True):
                numbers[f"{part} {name} {place:03d}"] = float(f"{number:.{DIGITS}g}")
    return numbers


def _row(numbers: Mapping[str, float]) -> Row:
    row: Row = {"value": {}, "error": {}}
    for key in sorted(numbers):
        part, name = key.rsplit(" ", 1)[0].split(" ", 1)  # a name may have several words
        row[part].setdefault(name, []).append(numbers[key])
    return row


def write(path: Path, rows: Sequence[Mapping[str, Any]], grid: Mapping[str, Sequence[Any]]) -> None:
    """Write the data of an experiment beside its module, a line for each row.

    Raises
    ------
    Refused
        If the rows have not one number for each in AT.
    """
    asked = {name: len(places) for name, places in load(path).AT.items()}
    if _lengths(rows[0]) != asked:
        raise Refused(f"{path.stem}: rows must measure {asked}, as AT says, and measure {_lengths(rows[0])}")
    kept = {
        "format": long_runs.FORMAT,
        "experiment": path.stem,
        "about": inspect.cleandoc(load(path).__doc__ or ""),
        "command": _command(path.stem),
        "root_seed": settings.SEED,
        "scale": settings.SCALE,
        "code": long_runs.code_of(path),
        "grid": {name: list(values) for name, values in grid.items()},
        "at": {name: list(places) for name, places in load(path).AT.items()},
        "rows": list(rows),
    }
    kept["digest"] = long_runs.digest_of(kept)
    lines = [f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in kept.items()]
    at = next(k for k, line in enumerate(lines) if line.startswith(' "rows"'))
    lines[at] = ' "rows": [\n' + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n ]"
    file = path.with_suffix(".json")
    half = file.with_suffix(".json.part")
    half.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    os.replace(half, file)


def _lengths(row: Mapping[str, Any]) -> dict[str, int]:
    return {name: len(values) for name, values in row["value"].items()}


def _command(name: str) -> str:
    """What makes the file again, also where the seed and the scale are not given."""
    chosen = {"DIFFMEM_SEED": str(settings.SEED), "DIFFMEM_SCALE": settings.SCALE}
    usual = {"DIFFMEM_SEED": "0", "DIFFMEM_SCALE": "book"}
    given = [f"{key}={value}" for key, value in chosen.items() if value != usual[key]]
    return " ".join([*given, "python -m tools.stored", name])


def make(path: Path, chosen: Mapping[str, Sequence[Any]], again: bool = False, workers: int | None = None) -> str:
    """Run the rows that are not done yet, and write the file if there is none left; what was done, in a line."""
    grid = {name: list(values) for name, values in load(path).GRID.items()}
    part = {name: list(chosen.get(name, values)) for name, values in grid.items()}
    if not again and up_to_date(path, grid):
        return "is up to date (--again makes it again)"
    JOURNALS.mkdir(parents=True, exist_ok=True)
    journal = JOURNALS / f"{path.stem}-{settings.SEED}-{long_runs.digest_of(long_runs.code_of(path))}"
    if again:
        journal.unlink(missing_ok=True)
    options = {"store": journal, "workers": workers, "progress": True}
    rows = run_rows(path, part, settings.SEED, **options)
    if part != grid:
        return f"{len(rows)} rows are kept; without --rows the others follow, and the file is written"
    write(path, rows, grid)
    return f"{len(rows)} rows are in {path.with_suffix('.json').name}"


def up_to_date(path: Path, grid: Mapping[str, Sequence[Any]]) -> bool:
    """Whether there is a file, whole and of the code as it is, with all points of the grid and this seed."""
    try:
        kept = long_runs.stored(path.stem, path.parent)
    except ValueError:
        return False
    whole = all(set(values) <= set(kept.grid.get(name, ())) for name, values in grid.items())
    same = {name: places.tolist() for name, places in kept.at.items()} == load(path).AT
    return whole and same and kept.root_seed == settings.SEED


def points_of(path: Path) -> list[dict[str, Any]]:
    """The coordinates of each row of a file."""
    grid = long_runs.stored(path.stem, path.parent).grid
    return [dict(zip(grid, point, strict=True)) for point in itertools.product(*grid.values())]


def check(path: Path, point: Mapping[str, Any]) -> float:
    """Run one row again and compare it with the file's; the largest difference in units of what is allowed.

    Allowed is what two independent rows of these standard errors differ by in one of 10,000 comparisons of a row, as
    if another processor's rounding had led the run anywhere.

    Raises
    ------
    Refused
        If a number differs by more.
    """
    kept = long_runs.stored(path.stem, path.parent)
    point = {name: point[name] for name in kept.grid}
    place = tuple(values.index(point[name]) for name, values in kept.grid.items())
    grid = {name: [value] for name, value in point.items()}
    (row,) = run_rows(path, grid, kept.root_seed, backend="serial", progress=False)
    if _lengths(row) != {name: len(places) for name, places in kept.at.items()}:
        raise Refused(f"{path.stem}, row {_shown(point)}: measures other quantities than the file has")
    count = sum(map(len, row["value"].values()))
    allowed = NormalDist().inv_cdf(1 - LEVEL / 2 / count)
    worst, said = 0.0, ""
    for name, values in row["value"].items():
        before, error = kept.values[name][place], kept.errors[name][place]
        pairs = zip(values, row["error"][name], before.tolist(), error.tolist(), strict=True)
        for at, (now, now_error, then, then_error) in enumerate(pairs):
            width = allowed * math.hypot(now_error, then_error)
            off = abs(now - then) / width if width else (math.inf if now != then else 0.0)
            if off > worst:
                worst, said = off, f"{name}[{at}] is {now:g}, in the file {then:g}, allowed ±{width:.2g}"
    if worst > 1:
        raise Refused(f"{path.stem}, row {_shown(point)}: {said}")
    return worst


def _shown(point: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in point.items())


def chosen_rows(texts: Sequence[str], experiments: Sequence[Path]) -> dict[str, list[Any]]:
    """What ``--rows`` asks for: coordinate → values, each of which the experiments have."""
    chosen: dict[str, list[Any]] = {}
    for text in texts:
        name, _, listed = text.partition("=")
        for path in experiments:
            grid = load(path).GRID
            known = {str(value): value for value in grid.get(name, ())}
            for value in listed.split(","):
                if value not in known:
                    there = "; ".join(f"{axis}={','.join(map(str, values))}" for axis, values in grid.items())
                    raise Refused(f"{path.stem} has no rows {text!r}; it has {there}")
            chosen[name] = [known[value] for value in listed.split(",")]
    return chosen


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.stored",
        description="Make the data of longer runs in chapters/stored; what is up to date is left alone.",
        epilog="A run that was killed goes on where it was. DIFFMEM_SCALE=full makes more rows.",
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(names())} (default: all)")
    parser.add_argument("--rows", nargs="+", default=[], metavar="C=V,V", help="only these, such as n=16,32 replica=0")
    parser.add_argument("--again", action="store_true", help="make a file that is up to date, too")
    parser.add_argument("--check", action="store_true", help="run rows again (default: one at random) and compare")
    parser.add_argument("--workers", type=int, metavar="W", help="rows at a time (default: one for each core)")
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.names if name not in names()]
    if unknown:
        print(f"error: no experiment {unknown[0]!r}; there are: {', '.join(names())}", file=sys.stderr)
        return 1
    paths = [FOLDER / f"{name}.py" for name in asked.names or names()]
    try:
        chosen = chosen_rows(asked.rows, paths)
        for path in paths:
            print(f"{path.stem}: ", end="", flush=True)
            if not asked.check:
                print(make(path, chosen, asked.again, asked.workers), flush=True)
                continue
            points = [p for p in points_of(path) if all(p[name] in values for name, values in chosen.items())]
            for point in points if chosen else [random.choice(points)]:
                print(f"row {_shown(point)} differs by {check(path, point):.2f} of what is allowed", flush=True)
    except (Refused, SweepError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print("\nstopped:", *getattr(interrupt, "__notes__", []), file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    from tools.stored import main as as_module  # other processes look its functions up by that name

    sys.exit(as_module())
