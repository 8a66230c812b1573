"""The audit of many shards beside the products it needs: time, memory, and whether it finds what was planted.

python -m benchmarks.audit_shards                       m = 10000 samples, n = 200000 training points, d = 512
DIFFMEM_SCALE=full python -m benchmarks.audit_shards    n = 10000000, 20 GB in 100 shards

No disk is needed: a shard is made from its seed whenever it is asked for.
"""

from __future__ import annotations

import functools
import resource
import time

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from tqdm import tqdm

from diffmem_lib.memorization import AuditReport, audit
from diffmem_lib.notebook import settings
from diffmem_lib.points.shards import Shards

from ._record import save_table

SAMPLES, ROWS, DIM = 10_000, 100_000, 512
COPIES, REPEATS = 1000, 100  # among the samples; in each shard, of the one before
CHECKED = 8  # fresh samples whose distances are computed in float64, too
BLOCKS = 2048, 1024
making = [0.0]  # processor time that went into shards


@functools.lru_cache(maxsize=1)
def made(number: int) -> np.ndarray:
    """Shard ``number``: even numbers from 0 to 1; its last points repeat the first ones of the shard before."""
    start = time.process_time()
    points = torch.rand(ROWS, DIM, generator=torch.Generator().manual_seed(number))
    if number:
        points[-REPEATS:] = torch.rand(REPEATS, DIM, generator=torch.Generator().manual_seed(number - 1))
    making[0] += time.process_time() - start
    return points.numpy()


class Shard:
    """Rows of a shard that is made when they are asked for."""

    shape, dtype = (ROWS, DIM), np.dtype(np.float32)

    def __init__(self, number: int) -> None:
        self.number = number

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        return made(self.number)[which]


def planted(shards: int) -> tuple[Tensor, Tensor]:
    """Samples, of which the first are copies of points of all shards, every other one with noise; and which points."""
    generator = torch.Generator().manual_seed(-1)
    samples = torch.rand(SAMPLES, DIM, generator=generator)
    numbers = torch.arange(COPIES) % shards
    rows = torch.randint(ROWS - REPEATS, (COPIES,), generator=generator)
    for number in tqdm(range(shards), desc="planting", disable=None):
        mine = numbers == number
        samples[:COPIES][mine] = torch.from_numpy(made(number)[rows[mine].numpy()])
    samples[1:COPIES:2] += 1e-3 * torch.randn(COPIES // 2, DIM, generator=generator)
    return samples, numbers * ROWS + rows


def products(samples: Tensor, shards: range) -> tuple[float, Tensor]:
    """Seconds of all products in one buffer; beside them the two least squared distances of some samples in float64."""
    out, seconds, checked = torch.empty(BLOCKS), 0.0, samples[-CHECKED:].double()
    least = torch.full((CHECKED, 2), torch.inf, dtype=torch.float64)
    for number in tqdm(shards, desc="products", disable=None):
        points = torch.from_numpy(made(number))
        start = time.process_time()
        for rows in samples.split(BLOCKS[0]):
            for columns in points.split(BLOCKS[1]):
                torch.mm(rows, columns.T, out=out[: len(rows), : len(columns)])
        seconds += time.process_time() - start
        own = points[: ROWS - REPEATS if number else ROWS]  # a repeat is no second neighbour
        far = torch.empty(CHECKED, len(own), dtype=torch.float64)
        for columns, part in zip(far.split(BLOCKS[1], 1), own.split(BLOCKS[1]), strict=True):
            for row, sample in zip(columns, checked, strict=True):
                row.copy_((part.double() - sample).square_().sum(1))
        least = torch.cat([least, far], 1).topk(2, largest=False).values
    return seconds, least


def faults(report: AuditReport, copied: Tensor, least: Tensor) -> list[str]:
    """What was not found as it was planted."""
    shards = len(report.duplicate_of) // ROWS
    expected = torch.arange(shards * ROWS)
    for number in range(1, shards):
        expected[(number + 1) * ROWS - REPEATS : (number + 1) * ROWS] = (number - 1) * ROWS + torch.arange(REPEATS)
    memorized = torch.arange(SAMPLES) < COPIES
    found = {
        "repeats": torch.equal(report.duplicate_of, expected),
        "copies' points": torch.equal(report.nearest[:COPIES, 0], copied),
        "copies": torch.equal(report.memorized, memorized),
        "exact copies": torch.equal(report.distance[:, 0] == 0, memorized & (torch.arange(SAMPLES) % 2 == 0)),
        "distances": torch.allclose(report.distance[-CHECKED:] * DIM, least, rtol=1e-12, atol=0),
    }
    return [name for name, right in found.items() if not right]


def main() -> bool:
    shards = settings.sized(2, 100)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1), tqdm(desc="audit", unit="pairs", unit_scale=True, disable=None) as bar:
            samples, copied = planted(shards)
            before, near = products(samples, range(0, shards, 2))
            training = Shards([Shard(number) for number in range(shards)], [str(number) for number in range(shards)])
            making[0], start = 0.0, time.process_time()
            report = audit(samples, training, survey=False, progress=lambda done, _: bar.update(done - bar.n))
            seconds, made_in = time.process_time() - start, making[0]
            after, far = products(samples, range(1, shards, 2))
    finally:
        torch.set_num_threads(threads)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    wrong = faults(report, copied, torch.cat([near, far], 1).topk(2, largest=False).values)
    ratio = (seconds - made_in) / (before + after)
    verdict = f"not found as planted: {', '.join(wrong)}" if wrong else "all found, and nothing else"
    save_table(
        "audit_shards",
        ["m samples, n points in shards", "seconds", "share of the products", "peak memory"],
        [
            ["torch.mm of m×n, one buffer", f"{before + after:.0f}", "1.00", "–"],
            ["memorization.audit", f"{seconds - made_in:.0f}", f"{ratio:.2f}", f"{peak:.2f} GB"],
        ],
        f"m = {SAMPLES}, n = {shards * ROWS} in {shards} shards, d = {DIM}, float32, without a survey. Shards are made"
        f" from seeds, which took {made_in:.0f} s more. {COPIES} copies among the samples, and {REPEATS} points in each"
        f" shard that repeat the one before: {verdict}.",
    )
    return bool(wrong) or ratio > 1.3 or peak > 2


if __name__ == "__main__":
    raise SystemExit(main())
