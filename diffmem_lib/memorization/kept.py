"""The two nearest training points, shard by shard, each shard's result kept in a file: a killed run goes on from it."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..points import distances
from ..points.shards import Shards

__all__ = ["two_nearest"]


def two_nearest(
    queries: distances.Points,
    training: Shards,
    skip: Tensor,
    folder: Path,
    progress: Callable[[int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Indices (m, 2) and squared distances (m, 2) of the two training points nearest to each query, ties by index.

    They are those of `distances.nearest` for all shards at once. A file in ``folder`` holds the two of one shard, under
    a name made of the numbers that it follows from, so that no other numbers are ever taken for them.

    Raises ``OSError`` if the folder cannot be written to, ``ValueError`` if a file in it is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = torch.full((len(queries), 0), -1)
    squared = torch.full((len(queries), 0), torch.inf, dtype=torch.float64)
    asked, start = _digest(queries), 0
    for part in training.shards():
        passed = skip[start : start + len(part)]
        if not passed.all():
            file = folder / f"{_digest(part, asked, passed.numpy().tobytes())}.npz"
            if file.exists():
                found = _read(file, len(queries))
                if progress is not None:
                    progress(len(queries) * len(part))
            else:
                found = distances.nearest(queries, part, 2, skip=passed, progress=progress)
                _write(file, *found)
            index = torch.cat([index, found[0] + start], 1)  # later shards have higher indices, so that ties stay put
            squared = torch.cat([squared, found[1]], 1)
            order = squared.argsort(dim=1, stable=True)[:, :2]
            index, squared = index.gather(1, order), squared.gather(1, order)
        start += len(part)
    return index, squared


def _digest(points: distances.Points, *more: bytes | str) -> str:
    """A name for these numbers, and for whatever else is given."""
    digest = hashlib.blake2b(f"{tuple(points.shape)} {points.dtype}".encode(), digest_size=16)
    for rows in distances.slices(len(points), max(1, 2**20 // points.shape[1])):
        digest.update(np.ascontiguousarray(distances.take(points, rows, None).cpu().numpy()).tobytes())
    for text in more:
        digest.update(text.encode() if isinstance(text, str) else text)
    return digest.hexdigest()


def _write(file: Path, index: Tensor, squared: Tensor) -> None:
    """Write a file whole or not at all."""
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".writing-") as hidden:
        np.savez(Path(hidden) / "part.npz", index=index.cpu().numpy(), squared=squared.cpu().numpy())
        os.replace(Path(hidden) / "part.npz", file)


def _read(file: Path, count: int) -> tuple[Tensor, Tensor]:
    try:
        with np.load(file, allow_pickle=False) as kept:
            index, squared = torch.from_numpy(kept["index"]), torch.from_numpy(kept["squared"])
    except Exception as error:  # a damaged archive can raise almost anything
        raise ValueError(f"keep {file} is damaged ({error}): remove it") from None
    if index.shape != squared.shape or len(index) != count or index.dtype != torch.int64:
        raise ValueError(f"keep {file} is no result of this comparison: remove it")
    return index, squared
