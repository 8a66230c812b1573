"""Run every chapter at three other seeds and write the verdicts of its claims to book/seeds.md.

python -m tools.seeds [--seeds 1 2 3] [chapter ...]
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat

from tools.execute import ROOT, ChapterFailed, all_chapters, chapter_path, execute
from tools.results import claims_of, title_of

PAGE = ROOT / "book" / "seeds.md"
HEAD = """\
# Other seeds

Every chapter derives all its random numbers from one seed, and its pages show the run at seed 0.
A claim that holds only there is false.
This table was written on {date} by `make seeds`, which runs all chapters at the seeds {seeds}.

| chapter | claims | {columns} |
|---|---|{rule}|
"""


def verdicts(path: Path, seed: int) -> tuple[str, dict[str, str]]:
    """Title of a chapter and the verdict of each of its claims at a seed; an error elsewhere counts as a claim."""
    try:
        notebook = execute(path, allow_errors=True, environment={"DIFFMEM_SEED": str(seed), "OMP_NUM_THREADS": "1"})
    except ChapterFailed as error:
        return title_of(nbformat.read(path, as_version=4)), {"the whole chapter": str(error)}
    found = {claim["id"]: claim["verdict"] for claim in claims_of(notebook)}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error" and output.ename != "ClaimRefused":
                found[f"cell {cell.id}"] = output.ename
    return title_of(notebook), found


def page(results: dict[Path, dict[int, tuple[str, dict[str, str]]]], seeds: list[int], date: str) -> str:
    """The table, and below it each claim that did not hold."""
    lines, refused = [], []
    for path, by_seed in results.items():
        title = by_seed[seeds[0]][0]
        counts = []
        for seed in seeds:
            found = by_seed[seed][1]
            held = sum(verdict == "holds" for verdict in found.values())
            counts.append(f"{held} hold" if held == len(found) else f"**{held} of {len(found)}**")
            for name, verdict in found.items():
                if verdict != "holds":
                    refused.append(f"- seed {seed}, {title}, `{name}`: {verdict}")
        lines.append(f"| [{title}](../chapters/{path.name}) | {len(by_seed[seeds[0]][1])} | {' | '.join(counts)} |")
    columns, rule = " | ".join(f"seed {seed}" for seed in seeds), "|".join("---" for _ in seeds)
    head = HEAD.format(date=date, seeds=", ".join(map(str, seeds)), columns=columns, rule=rule)
    tail = "\n".join(["", *refused]) if refused else "\nEvery claim held at every seed."
    return head + "\n".join(lines) + "\n" + tail + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.seeds", description="Run chapters at other seeds and write book/seeds.md."
    )
    parser.add_argument("chapters", nargs="*", help="names (default: all; only then is the page written)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="S")
    arguments = parser.parse_args()
    paths = [chapter_path(name) for name in arguments.chapters] or all_chapters()
    results: dict[Path, dict[int, tuple[str, dict[str, str]]]] = {path: {} for path in paths}
    all_hold = True
    runs = [(path, seed) for seed in arguments.seeds for path in paths]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for (path, seed), result in zip(runs, pool.map(lambda run: verdicts(*run), runs), strict=True):
            results[path][seed] = result
            failed = {name: verdict for name, verdict in result[1].items() if verdict != "holds"}
            all_hold &= not failed
            print(f"{path.stem}, seed {seed}: {failed or 'all claims hold'}", flush=True)
    if not arguments.chapters:
        PAGE.write_text(page(results, arguments.seeds, datetime.date.today().isoformat()))
        print(f"written: {PAGE.relative_to(ROOT)}")
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main())
