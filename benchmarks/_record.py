"""Timing in one process, and what the book shows of it."""

from __future__ import annotations

import csv
import datetime
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def interleaved(calls: dict[str, Callable[[], object]], rounds: int, *, warm: bool = True) -> dict[str, float]:
    """The median processor time of each call in seconds; every round runs all in turn, after one that warms up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(0 if warm else 1, rounds + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if number:
                times[name].append(time.process_time() - start)
    return {name: statistics.median(measured) for name, measured in times.items()}


def machine() -> str:
    """Processor, torch and date, in one line."""
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [
            line.partition(":")[2].strip() for line in information.read_text().splitlines() if "model name" in line
        ]
        processor = names[0] if names else processor
    flags = torch.backends.cpu.get_cpu_capability()
    return f"{processor} ({flags}), one thread; torch {torch.__version__.partition('+')[0]}; {datetime.date.today()}"


def save_table(name: str, head: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> None:
    """Write a CSV file and the same as a Markdown table with its machine and date."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] + ["---:"] * (len(head) - 1), *rows)]
    text = "\n".join([*lines, "", f"{caption}", "", f"*Measured on: {machine()}.*", ""])
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)
