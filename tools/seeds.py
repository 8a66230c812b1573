"""Run chapters at three other seeds and note the verdicts of their claims in book/seeds/NAME.json, one file a chapter.

python -m tools.seeds [--seeds 1 2 3] [chapter ...]

Only measured claims are judged, and of these not the stored ones: an exact claim sees the same points whatever the seed
is, and the data of a longer run are of its own.
The build makes the page of seeds from these files.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat

from tools.execute import PROBE, ROOT, ChapterFailed, all_chapters, chapter_path, execute
from tools.results import claims_of, title_of

FOLDER = ROOT / "book" / "seeds"
EXACT_UNSEEN = PROBE.replace("del probe", "probe.skip_exact_claims()\ndel probe")
#: Kinds of claims that a simulation decides.
MEASURED = {"agreement", "exponent", "exceeds"}
HEAD = """\
# Other seeds

Every chapter derives all its random numbers from one seed, and its pages show the run at seed 0.
A measured claim that holds only there is false.
(Exact ones do not depend on the seed, and stored ones have that of the longer run.)
`make seeds` runs the chapters at other seeds; this table is made from what it noted.

| chapter | measured claims | run on | {columns} |
|---|---|---|{rule}|
"""


def depends_on_seed(claim: Mapping[str, Any]) -> bool:
    """Whether a claim's verdict is that of a simulation at the chapter's seed, which that of a longer run is not."""
    return claim["kind"] in MEASURED and claim["tier"] == "live"


def verdicts(path: Path, seed: int) -> dict[str, str]:
    """The verdict of each measured claim of a chapter at a seed; an error elsewhere counts as a claim."""
    try:
        notebook = execute(
            path,
            before=EXACT_UNSEEN,
            allow_errors=True,
            environment={"DIFFMEM_SEED": str(seed), "OMP_NUM_THREADS": "1"},
        )
    except ChapterFailed as error:
        return {"the whole chapter": str(error)}
    found = {claim["id"]: claim["verdict"] for claim in claims_of(notebook) if depends_on_seed(claim)}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error" and output.ename != "ClaimRefused":
                found[f"cell {cell.id}"] = output.ename
    return found


def noted(path: Path) -> dict[str, Any] | None:
    """What was noted of a chapter: date, ids of its claims, and those that did not hold by seed; None if nothing."""
    file = FOLDER / f"{path.stem}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def note(path: Path, by_seed: dict[int, dict[str, str]]) -> None:
    """Write the file of a chapter."""
    record = {
        "date": datetime.date.today().isoformat(),
        "claims": sorted(set().union(*by_seed.values())),
        "refused": {
            str(seed): {name: verdict for name, verdict in found.items() if verdict != "holds"}
            for seed, found in sorted(by_seed.items())
        },
    }
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{path.stem}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def page(paths: list[Path]) -> str:
    """Markdown of the table, and below it each claim that did not hold."""
    lines, refused, seeds = (
        [],
        [],
        sorted({seed for path in paths for seed in (noted(path) or {"refused": {}})["refused"]}),
    )
    for path in paths:
        title, record = title_of(nbformat.read(path, as_version=4)), noted(path)
        if record is None:
            lines.append(f"| [{title}](../chapters/{path.name}) | | not yet | {' | '.join('' for _ in seeds)} |")
            continue
        total, counts = len(record["claims"]), []
        for seed in seeds:
            failed = record["refused"].get(seed)
            counts.append(
                "" if failed is None else f"**{total - len(failed)} of {total}**" if failed else f"{total} hold"
            )
            refused += [f"- seed {seed}, {title}, `{name}`: {verdict}" for name, verdict in (failed or {}).items()]
        lines.append(f"| [{title}](../chapters/{path.name}) | {total} | {record['date']} | {' | '.join(counts)} |")
    head = HEAD.format(columns=" | ".join(f"seed {seed}" for seed in seeds), rule="|".join("---" for _ in seeds))
    tail = "\n".join(["", *refused]) if refused else "\nEvery claim held at every seed."
    return head + "\n".join(lines) + "\n" + tail + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Run chapters at other seeds and note the verdicts of their claims.")
    parser.add_argument("chapters", nargs="*", help="names (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="S")
    arguments = parser.parse_args()
    paths = [chapter_path(name) for name in arguments.chapters] or all_chapters()
    results: dict[Path, dict[int, dict[str, str]]] = {path: {} for path in paths}
    runs = [(path, seed) for path in paths for seed in arguments.seeds]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for (path, seed), found in zip(runs, pool.map(lambda run: verdicts(*run), runs), strict=True):
            results[path][seed] = found
            failed = {name: verdict for name, verdict in found.items() if verdict != "holds"}
            print(f"{path.stem}, seed {seed}: {failed or 'all claims hold'}", flush=True)
            if len(results[path]) == len(arguments.seeds):
                note(path, results[path])
    all_hold = all(
        verdict == "holds" for by_seed in results.values() for found in by_seed.values() for verdict in found.values()
    )
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main())
