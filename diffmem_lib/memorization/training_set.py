"""What can be said of a training set before any training: sparsity, predicted risk, duplicates."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import _checks, _tensors
from ..points import distances
from ..points.shards import Shards
from .risk import CoverageRisk, risk_from_neighbours

__all__ = ["LabelSurvey", "TrainingSurvey", "survey"]

Points = Tensor | np.ndarray | Shards
Labels = Sequence[Hashable] | Tensor | np.ndarray


@dataclass(frozen=True)
class LabelSurvey:
    """The training points of one label: how many, and the means of their sparsity and predicted risk."""

    training: int
    sparsity: float
    risk: float


@dataclass(frozen=True)
class TrainingSurvey:
    """What n training points say before any training.

    Attributes
    ----------
    sparsity : Tensor, (n,), float64
        Mean squared distance per dimension to the ``k`` nearest other points; duplicates are neighbours at distance
        zero.
    coverage : CoverageRisk
        The predicted risk of every training point.
    duplicate_of : Tensor, (n,)
        For each training point the lowest index of a point with the same value; its own where it is the first.
    labels : dict
        By label, a `LabelSurvey`.
    """

    sparsity: Tensor
    coverage: CoverageRisk
    duplicate_of: Tensor
    labels: Mapping[Hashable, LabelSurvey]
    dim: int
    k: int

    @property
    def duplicates(self) -> int:
        """How many training points repeat an earlier one."""
        return int(repeats(self.duplicate_of).sum())


@torch.no_grad()
def survey(
    training: Points,
    labels: Labels | None = None,
    k: int = 10,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingSurvey:
    """Find which training points are at risk, from the training set alone: the part of `audit` that needs no samples.

    Parameters
    ----------
    training : Tensor or ndarray, (n, d)
        The training points, or embeddings of them; n > k, at least two distinct points.
    labels : sequence of n labels, optional
    k : int
        Neighbours in the sparsity and in the estimate of the density.
    progress : callable, optional
        Told the pairs of points done and the pairs in all.

    Returns
    -------
    TrainingSurvey
        Exact to rounding in float64, whatever the dtype.

    Raises
    ------
    ValueError
        As `audit`.
    """
    training, k, labels = checked(training, k, labels)
    n, dim = training.shape
    duplicate_of = first_of_equals(training)
    done = Progress(progress, n * (n + 1) // 2)
    sparsity, coverage = surveyed(training, k, done)
    done.finish()
    by_label = {}
    for name, members in ({} if labels is None else groups(labels, sparsity.device)).items():
        by_label[name] = LabelSurvey(
            training=int(members.sum()),
            sparsity=float(sparsity[members].mean()),
            risk=float(coverage.risk[members].nanmean()),
        )
    return TrainingSurvey(sparsity, coverage, duplicate_of, by_label, dim, k)


def surveyed(training: Points, k: int, progress: Progress) -> tuple[Tensor, CoverageRisk]:
    """Sparsity and predicted risk of every training point."""
    _, squared = distances.nearest(training, k=k, progress=progress)
    return squared.mean(1) / training.shape[1], risk_from_neighbours(squared)


def unsurveyed(training: Points) -> tuple[Tensor, CoverageRisk]:
    """The same where nobody looked: NaN, and no dimension."""
    unknown = torch.full((len(training),), torch.nan, dtype=torch.float64, device=device_of(training))
    return unknown, CoverageRisk(unknown, unknown, math.nan, 0)


class Progress:
    """Sums the pairs of several searches for one callback."""

    def __init__(self, callback: Callable[[int, int], None] | None, total: int) -> None:
        self.callback, self.total, self.done = callback, total, 0

    def __call__(self, pairs: int) -> None:
        self.done = min(self.done + pairs, self.total)
        if self.callback is not None:
            self.callback(self.done, self.total)

    def finish(self) -> None:
        self(self.total - self.done)


def checked(training: Any, k: Any, labels: Any, *, survey: bool = True) -> tuple[Points, int, np.ndarray | None]:
    """The arguments that concern the training set, as `audit` and `survey` take them."""
    training = points(training, "training")
    k = _checks.neighbours(k, len(training)) if survey else _checks.integer(k, "k", low=1)
    return training, k, None if labels is None else array_of_labels(labels, len(training))


def points(value: Any, name: str, beside: Points | None = None) -> Points:
    """``value`` itself, a tensor, NumPy array (on disk if need be) or shards of finite float32 or float64 numbers.

    ``beside`` are the points that it is compared with, of the same width and on the same device. Another byte order is
    turned into this machine's.
    """
    dim = None if beside is None else beside.shape[1]
    device = None if beside is None else device_of(beside)
    shape = (name[0], "d" if dim is None else dim)
    if hasattr(value, "iloc"):  # a DataFrame or Series, without importing pandas
        raise ValueError(f"{name} must be a tensor or an array, got {_checks.shown(value)}: give its .to_numpy()")
    if not isinstance(value, np.ndarray | Shards):
        return _tensors.floating(value, name, shape=shape, device=device)
    if device is not None and device.type != "cpu":
        raise ValueError(f"{name} must be on the device {device}, got an array")
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            raise ValueError(f"{name} must hold no masked numbers, got {np.ma.count_masked(value)} of them")
        value = value.data
    if isinstance(value, np.ndarray) and not value.dtype.isnative:
        value = value.astype(value.dtype.newbyteorder("="))
    if value.dtype.kind != "f" or value.dtype.itemsize not in (4, 8):
        raise ValueError(f"{name} must be a float32 or float64 array, got dtype {value.dtype}")
    if value.ndim != 2 or value.size == 0 or (dim is not None and value.shape[1] != dim):
        raise ValueError(f"{name} must be a non-empty array of shape ({shape[0]}, {shape[1]}), got {value.shape}")
    for rows in distances.slices(len(value), max(1, 2**18 // value.shape[1])):
        finite = np.isfinite(value[rows]).all(1)
        if not finite.all():
            raise ValueError(f"{name} must be finite, got NaN or infinity in row {rows.start + int(finite.argmin())}")
    return value


def device_of(value: Points) -> torch.device:
    """The device of a tensor; NumPy's arrays are the CPU's."""
    return value.device if isinstance(value, Tensor) else torch.device("cpu")


def array_of_labels(labels: Any, n: int, name: str = "labels") -> np.ndarray:
    """``labels`` as an array, one for each of n points, all of one kind."""
    if isinstance(labels, Tensor):
        array = np.asarray(labels.tolist())  # NumPy knows no bfloat16
    else:
        array = np.asarray(labels)
        if array.dtype.kind in "US" and not isinstance(labels, np.ndarray):  # [1, "1"] would become two equal texts
            array = np.asarray(labels, dtype=object)
    if array.shape != (n,):
        raise ValueError(f"{name} must be one for each of {n} points, got shape {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity among them")
    if array.dtype.kind == "O":
        kinds = {"NaN" if _is_missing(label) else type(label).__name__ for label in array}
        if len(kinds) > 1 or kinds & {"NoneType", "NaN"}:
            raise ValueError(f"{name} must be of one kind and none missing, got {', '.join(sorted(kinds))}")
    return array


def _is_missing(label: Any) -> bool:
    """Whether a label is NaN, NaT or pandas's NA, whose comparison has no truth."""
    try:
        return bool(label != label)
    except TypeError:
        return True


def groups(labels: np.ndarray, device: torch.device) -> dict[Hashable, Tensor]:
    """For each label which points have it, (n,), bool, on ``device``."""
    names, code = np.unique(labels, return_inverse=True)
    group = torch.from_numpy(code).to(device)
    return {name: group == number for number, name in enumerate(names.tolist())}


def first_of_equals(training: Points) -> Tensor:
    """For each point the lowest index of one that is equal in value; at least two must differ."""
    digests = np.empty((len(training), 2), dtype=np.uint64)
    for rows in distances.slices(len(training), max(1, 2**18 // training.shape[1])):
        block = training[rows].cpu().numpy() if isinstance(training, Tensor) else training[rows]
        block = np.ascontiguousarray(block + 0.0)  # −0 equals 0
        together = b"".join(hashlib.blake2b(row, digest_size=16).digest() for row in block)
        digests[rows] = np.frombuffer(together, dtype=np.uint64).reshape(-1, 2)
    order = np.lexsort(digests.T)  # stable, so that of equal points the first comes first
    digests = digests[order]
    new = np.append(True, (digests[1:] != digests[:-1]).any(1))
    if not new[1:].any():
        raise ValueError(f"training must have two distinct points, got {len(training)} equal ones")
    first = np.empty(len(training), dtype=np.int64)
    first[order] = order[new][new.cumsum() - 1]
    return torch.from_numpy(first).to(device_of(training))


def repeats(duplicate_of: Tensor) -> Tensor:
    """Which points repeat an earlier one."""
    return duplicate_of != torch.arange(len(duplicate_of), device=duplicate_of.device)
