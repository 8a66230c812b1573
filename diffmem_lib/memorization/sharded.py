"""The two nearest training points, shard by shard, here or on the workers of a cluster.

Each shard's result may be kept in a file: a killed run goes on from it.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import socket
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..points import distances
from ..points.shards import Rows, Shards

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["two_nearest"]

Found = tuple[Tensor, Tensor]  # indices (m, 2) and squared distances (m, 2), the nearest first
Progress = Callable[[int], None] | None
TOGETHER = 2**16  # points that are searched at once, where nothing needs one shard by itself


@dataclass(frozen=True)
class _Task:
    """The search of a shard whose points are numbered from ``start``, those in ``skip`` passed over."""

    part: Shards
    start: int
    skip: Tensor
    digest: str  # of the shard's numbers, where they have to be known again
    file: Path | None  # where the result is kept


def two_nearest(
    queries: distances.Points,
    training: Shards,
    skip: Tensor,
    folder: Path | None = None,
    client: Client | None = None,
    progress: Progress = None,
) -> Found:
    """Indices (m, 2) and squared distances (m, 2) of the two training points nearest to each query, ties by index.

    They are those of `distances.nearest` for all shards at once. A file in ``folder`` holds the two of one shard, under
    a name made of the numbers that it follows from, so that no other numbers are ever taken for them. With ``client``
    the workers of its cluster search the shards: a mapped .npy file each worker maps itself, under the same path, and
    makes sure that it finds the same numbers there; other arrays are sent.

    Raises ``OSError`` if the folder cannot be written to, ``ValueError`` if a file in it is damaged or a worker cannot
    read a shard, ``ConnectionError`` if the cluster gives no result.
    """
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    nearest = torch.full((len(queries), 0), -1), torch.full((len(queries), 0), torch.inf, dtype=torch.float64)
    missing = []
    for task in _tasks(queries, training, skip, folder, known=client is not None):
        if task.file is not None and task.file.exists():
            nearest = _merged(nearest, task, _read(task.file, len(queries)))
            if progress is not None:
                progress(len(queries) * len(task.part))
        elif client is None:
            found = distances.nearest(queries, task.part, 2, skip=task.skip, progress=progress)
            nearest = _merged(nearest, task, _kept(task, found))
        else:
            missing.append(task)
    if client is not None:
        for task, found in _on_cluster(client, queries, missing):
            nearest = _merged(nearest, task, _kept(task, found))
            if progress is not None:
                progress(len(queries) * len(task.part))
    return nearest


def _tasks(
    queries: distances.Points, training: Shards, skip: Tensor, folder: Path | None, known: bool
) -> Iterator[_Task]:
    """What is to be searched: each shard, or small ones together; not those of which all points are passed over."""
    together = folder is None and not known
    asked = "" if folder is None else _digest(queries)
    start = 0
    for part in training.shards(TOGETHER if together else 1):
        passed = skip[start : start + len(part)]
        if not passed.all():
            digest = "" if together else _digest(part)
            name = hashlib.blake2b(f"{digest} {asked} ".encode() + passed.numpy().tobytes(), digest_size=16)
            yield _Task(part, start, passed, digest, None if folder is None else folder / f"{name.hexdigest()}.npz")
        start += len(part)


def _merged(nearest: Found, task: _Task, found: Found) -> Found:
    """The two nearest of those so far and those of a task, which come in any order; ties go to the lower index."""
    index, squared = torch.cat([nearest[0], found[0] + task.start], 1), torch.cat([nearest[1], found[1]], 1)
    order = index.argsort(1)
    order = order.gather(1, squared.gather(1, order).argsort(dim=1, stable=True))[:, :2]
    return index.gather(1, order), squared.gather(1, order)


def _on_cluster(client: Client, queries: distances.Points, tasks: Sequence[_Task]) -> Iterator[tuple[_Task, Found]]:
    """The result of each task, as they come."""
    from distributed import as_completed

    sent = client.scatter(distances.take(queries, slice(None), None).numpy(), broadcast=True)
    futures = {}
    try:
        for task in tasks:  # what they are made of travels inside a function: among arguments dask would look into it
            call = functools.partial(_search, task.part.sources[0], task.part.names.names[0], task.skip, task.digest)
            futures[client.submit(call, sent, pure=False)] = task
        for future in as_completed(list(futures), loop=client.loop):
            task = futures.pop(future)
            try:
                index, squared = future.result()
            except ValueError:  # as here, or said by the worker
                raise
            except (Exception, asyncio.CancelledError) as error:  # it died, cannot receive the task, or is gone
                line = "".join(traceback.format_exception_only(error)).strip().partition("\n")[0]
                raise ConnectionError(f"the cluster gave no result for {task.part.names.names[0]}: {line}") from None
            yield task, (torch.tensor(index), torch.tensor(squared))
    finally:
        client.cancel(list(futures))


def _search(
    source: str | Rows, name: str, skip: Tensor, digest: str, queries: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """On a worker: the two points of a shard nearest to each query."""
    torch.set_num_threads(1)  # a worker has as many threads of its own as it was given cores
    where = f"by the worker on {socket.gethostname()}"
    try:
        part = Shards([np.load(source, mmap_mode="r") if isinstance(source, str) else source], [name])
    except Exception as error:  # a damaged file can raise almost anything
        raise ValueError(f"training shard {name} cannot be read {where} ({error})") from None
    if _digest(part) != digest:
        raise ValueError(f"training shard {name}, as it is read {where}, has other numbers than here: {source}")
    index, squared = distances.nearest(queries, part, 2, skip=skip)
    return index.numpy(), squared.numpy()


def _digest(points: distances.Points) -> str:
    """A name for these numbers."""
    digest = hashlib.blake2b(f"{tuple(points.shape)} {points.dtype}".encode(), digest_size=16)
    for rows in distances.slices(len(points), max(1, 2**20 // points.shape[1])):
        digest.update(np.ascontiguousarray(distances.take(points, rows, None).cpu().numpy()).tobytes())
    return digest.hexdigest()


def _kept(task: _Task, found: Found) -> Found:
    """What was found, after it is written whole or not at all, if it is to be kept."""
    if task.file is not None:
        with tempfile.TemporaryDirectory(dir=task.file.parent, prefix=".writing-") as hidden:
            np.savez(Path(hidden) / "part.npz", index=found[0].numpy(), squared=found[1].numpy())
            os.replace(Path(hidden) / "part.npz", task.file)
    return found


def _read(file: Path, count: int) -> Found:
    try:
        with np.load(file, allow_pickle=False) as kept:
            index, squared = torch.from_numpy(kept["index"]), torch.from_numpy(kept["squared"])
    except Exception as error:  # a damaged archive can raise almost anything
        raise ValueError(f"keep {file} is damaged ({error}): remove it") from None
    if index.shape != squared.shape or len(index) != count or index.dtype != torch.int64:
        raise ValueError(f"keep {file} is no result of this comparison: remove it")
    return index, squared
