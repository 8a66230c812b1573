"""Shares and rates of memorization: in both conventions, at several thresholds, and by the sparsity of the original."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import _checks

__all__ = ["DISTANCES", "THRESHOLDS", "Rates", "SparsityBin", "criterion", "neighbour_ratio", "rates"]

DISTANCES = ("euclidean", "squared")
THRESHOLDS = (1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3)


@dataclass(frozen=True)
class Rates:
    """How often some samples copy the training points that are nearest to them, at several thresholds.

    Attributes
    ----------
    thresholds : tuple of float
        Of the ratio of distances in the convention that was asked for.
    assigned, visited : int
        How many samples there are, and how many distinct training points are the nearest of one.
    exact : int
        How many samples are equal to a training point.
    dominance : float
        The mean of log(D2/D1) over the samples that are not exact, for those it is infinite; NaN without any.
    pooled : tuple of float
        For each threshold, memorized samples over samples; NaN without samples.
    per_point, per_point_error : tuple of float
        For each threshold, the mean over visited training points of memorized over assigned, however many samples each
        has, and its standard error; NaN where there are none, or one.
    """

    thresholds: tuple[float, ...]
    assigned: int
    visited: int
    exact: int
    dominance: float
    pooled: tuple[float, ...]
    per_point: tuple[float, ...]
    per_point_error: tuple[float, ...]


@dataclass(frozen=True)
class SparsityBin:
    """Training points whose sparsity lies from ``low`` to ``high``, and what samples and held-out points do there."""

    low: float
    high: float
    training: int
    samples: Rates
    held_out: Rates | None


def neighbour_ratio(distance: Tensor, convention: str = "euclidean") -> Tensor:
    """The ratio (m,) of nearest to second distance, from squared ones (m, 2): r1/r2, or D1/D2 if "squared"."""
    first, second = (distance.sqrt() if checked_distance(convention) == "euclidean" else distance).unbind(1)
    return first / second


def criterion(convention: str, threshold: float) -> str:
    """The criterion in symbols and words."""
    if convention == "euclidean":
        return f"r1/r2 < {threshold:.4g} in Euclidean distances"
    return f"D1/D2 < {threshold:.4g} in squared distances"


def checked_distance(value: str) -> str:
    """``value`` itself, one of the two conventions."""
    if value not in DISTANCES:
        raise ValueError(f'distance must be "euclidean" or "squared", got {value!r}')
    return value


def checked_thresholds(values: Sequence[float]) -> tuple[float, ...]:
    """``values`` as floats in (0, 1)."""
    return tuple(_checks.number(v, "threshold", low=0, high=1, low_open=True, high_open=True) for v in values)


def rates(
    nearest: Tensor, distance: Tensor, thresholds: Sequence[float] = THRESHOLDS, convention: str = "euclidean"
) -> Rates:
    """The rates of samples whose ``nearest`` training points (m,) and squared ``distance`` (m, 2) are known.

    Raises ``ValueError`` if a threshold is not in (0, 1), or the convention neither "euclidean" nor "squared".
    """
    ratio, thresholds = neighbour_ratio(distance, convention), checked_thresholds(thresholds)
    _, place = nearest.unique(return_inverse=True)
    assigned = torch.bincount(place)
    visited, exact = len(assigned), ratio == 0
    memorized = [ratio < threshold for threshold in thresholds]
    by_point = [torch.bincount(place[chosen], minlength=visited) / assigned.double() for chosen in memorized]
    dominance = distance[~exact, 1].log() - distance[~exact, 0].log()
    return Rates(
        thresholds=thresholds,
        assigned=len(ratio),
        visited=visited,
        exact=int(exact.sum()),
        dominance=float(dominance.mean()),
        pooled=tuple(float(chosen.double().mean()) for chosen in memorized),
        per_point=tuple(float(values.mean()) for values in by_point),
        per_point_error=tuple(
            float(values.std()) / math.sqrt(visited) if visited > 1 else math.nan for values in by_point
        ),
    )
