"""What a sweep costs beside a plain loop, and whether it keeps all cores busy, beside plain joblib.

python -m benchmarks.sweep
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable

import joblib
import torch

from diffmem_lib.simulation import run_sweep

from ._record import interleaved

TASKS, OVERHEAD = 20_000, 10e-6  # seconds a task
DECOMPOSITIONS, DIM, BUSY = 500, 256, 0.9
GRID = {"d": [64, 256], "n": [100, 1000], "seed": range(TASKS // 4)}


def nothing(generator: torch.Generator, d: int, n: int, seed: int) -> float:
    return 1.0


def plain_loop() -> list[float]:
    """What one writes first: loops over the coordinates, and a generator with the next seed."""
    points = itertools.product(*GRID.values())
    return [nothing(torch.Generator().manual_seed(place), *point) for place, point in enumerate(points)]


def overhead(rounds: int = 5) -> dict[str, float]:
    """Processor time of a task that does nothing, in seconds, in one process."""
    calls: dict[str, Callable[[], object]] = {
        "plain loop": plain_loop,
        "run_sweep, batched": lambda: run_sweep(nothing, GRID, backend="serial", batch=500),
        "run_sweep, one by one": lambda: run_sweep(nothing, GRID, backend="serial"),
    }
    return {name: value / TASKS for name, value in interleaved(calls, rounds).items()}


def decomposition(generator: torch.Generator, seed: int) -> float:
    """Seconds that one eigendecomposition takes."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    x = torch.randn(DIM, DIM, generator=generator, dtype=torch.float64)
    torch.linalg.eigh(x @ x.T)
    return time.perf_counter() - start


def plain_joblib() -> list[float]:
    calls = (joblib.delayed(decomposition)(torch.Generator().manual_seed(seed), seed) for seed in range(DECOMPOSITIONS))
    return joblib.Parallel(-1)(calls)


def busy(rounds: int = 3) -> dict[str, float]:
    """The share of its time that a process of each core spends within tasks, the best of some rounds, once warm."""
    calls: dict[str, Callable[[], float]] = {
        "plain joblib": lambda: sum(plain_joblib()),
        "run_sweep": lambda: float(run_sweep(decomposition, {"seed": range(DECOMPOSITIONS)}).values.sum()),
    }
    shares = dict.fromkeys(calls, 0.0)
    for number in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            inside = call()
            if number:
                share = inside / (time.perf_counter() - start) / joblib.cpu_count()
                shares[name] = max(shares[name], share)
    return shares


def main() -> int:
    """Print both; 1 if one falls short."""
    seconds, shares = overhead(), busy()
    for name, value in seconds.items():
        print(f"{name:24s} {1e6 * value:8.1f} µs a task   {value / seconds['plain loop']:6.2f} ×")
    for name, value in shares.items():
        print(f"{name:24s} {100 * value:8.0f} % of the time {joblib.cpu_count()} cores are busy")
    print(f"asked: batched ≤ {1e6 * OVERHEAD:.0f} µs a task more than the plain loop, cores busy ≥ {100 * BUSY:.0f} %")
    met = seconds["run_sweep, batched"] - seconds["plain loop"] <= OVERHEAD and shares["run_sweep"] >= BUSY
    print("met" if met else "NOT met")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
