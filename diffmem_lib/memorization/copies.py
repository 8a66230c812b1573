"""The audit: which samples are copies, of what, and which training points were at risk."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import beta
from torch import Tensor

from .. import _checks
from ..simulation import distances
from .risk import risk_from_neighbours
from .training_set import (
    Labels,
    LabelSurvey,
    Points,
    Progress,
    TrainingSurvey,
    checked,
    first_of_equals,
    groups,
    points,
    repeats,
)

__all__ = ["AuditReport", "LabelAudit", "audit", "binomial_interval"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class LabelAudit(LabelSurvey):
    """What the audit found for the training points of one label.

    ``fraction`` is ``memorized / assigned``, NaN without assigned samples; ``sparsity`` and ``risk`` are means.
    """

    assigned: int
    memorized: int
    fraction: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class AuditReport(TrainingSurvey):
    """What m samples share with n training points.

    All distances are *squared* distances per dimension, D = |x − y|²/d. A sample is memorized if D1/D2 < ``threshold``,
    with D1 the distance to its nearest training point and D2 that to the nearest point that is distinct in value from
    the first. In Euclidean distances the same threshold is its square root.

    Attributes
    ----------
    memorized : Tensor, (m,), bool
    fraction : float
        The share of memorized samples, with its 95 % ``interval`` (Clopper and Pearson; the samples are taken to be
        independent).
    nearest : Tensor, (m, 2)
        The nearest training point (of equal ones the lowest index) and the nearest of another value.
    distance : Tensor, (m, 2), float64
        D1 and D2.
    assigned, copied : Tensor, (n,)
        How many samples have this training point as their nearest, and how many of those are memorized.
    rate : Tensor, (n,), float64
        ``copied / assigned``; NaN where a point is never the nearest. Points equal in value share all three.
    sparsity : Tensor, (n,), float64
        Mean D to the ``k`` nearest other training points; duplicates are neighbours at distance zero.
    coverage : CoverageRisk
        The predicted risk of every training point.
    duplicate_of : Tensor, (n,)
        For each training point the lowest index of a point with the same value; its own where it is the first.
    held_out_fraction : float or None
        The share of held-out points that the same criterion calls memorized, with ``held_out_interval``.
    held_out_in_training : int or None
        How many held-out points are equal to a training point.
    labels : dict
        By label of the training points, a `LabelAudit`; a sample counts for the label of its nearest training point.
    """

    memorized: Tensor
    fraction: float
    interval: tuple[float, float]
    nearest: Tensor
    distance: Tensor
    assigned: Tensor
    copied: Tensor
    rate: Tensor
    held_out_fraction: float | None
    held_out_interval: tuple[float, float] | None
    held_out_in_training: int | None
    labels: dict[Hashable, LabelAudit]
    threshold: float

    @property
    def dominance(self) -> Tensor:
        """log(D2/D1) of each sample, infinite for an exact copy."""
        return self.distance[:, 1].log() - self.distance[:, 0].log()

    @property
    def label_fractions(self) -> dict[Hashable, float]:
        """The share of memorized samples by label."""
        return {label: part.fraction for label, part in self.labels.items()}


@torch.no_grad()
def audit(
    samples: Points,
    training: Points,
    held_out: Points | None = None,
    labels: Labels | None = None,
    k: int = 10,
    threshold: float = 1 / 3,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> AuditReport:
    r"""Find which samples copy training points, and which training points are at risk.

    A sample is memorized if its squared distance to the nearest training point is less than ``threshold`` times that to
    the nearest other one. The threshold 1/3 is one of squared distances; a Euclidean 1/3 is 1/9 here. Distances are
    those of the arrays as given: between pixels they are not what the eye sees, so pass embeddings where you have them.

    Parameters
    ----------
    samples : Tensor or ndarray, (m, d)
        What the model generated. Arrays on disk (``numpy.load(..., mmap_mode="r")``) are read block by block.
    training : Tensor or ndarray, (n, d)
        What it was trained on; n > k, at least two distinct points.
    held_out : Tensor or ndarray, (h, d), optional
        Points of the same law that were not trained on. What the criterion says of them is the baseline.
    labels : sequence of n labels, optional
        Of the *training* points.
    k : int
        Neighbours in the sparsity and in the estimate of the density.
    threshold : float
        In (0, 1).
    progress : callable, optional
        Told the pairs of points done and the pairs in all.

    Returns
    -------
    AuditReport
        Exact to rounding in float64, whatever the dtypes.

    Raises
    ------
    ValueError
        If an array is not finite, floating-point and of the same width as the others, if there are not more than ``k``
        training points or they are all equal, or if ``labels`` are not n.
    """
    training, k, labels = checked(training, k, labels)
    threshold = _checks.number(threshold, "threshold", low=0, high=1, low_open=True, high_open=True)
    n, dim = training.shape
    samples = points(samples, "samples", training)
    held_out = None if held_out is None else points(held_out, "held_out", training)
    duplicate_of = first_of_equals(training)
    skip = repeats(duplicate_of)

    done = Progress(progress, n * (len(samples) + (0 if held_out is None else len(held_out))) + n * (n + 1) // 2)
    nearest, distance = distances.nearest(samples, training, 2, skip=skip, progress=done)
    distance = distance / dim
    memorized = distance[:, 0] / distance[:, 1] < threshold
    held_out_fraction = held_out_interval = held_out_in_training = None
    if held_out is not None:
        _, other = distances.nearest(held_out, training, 2, skip=skip, progress=done)
        count = int((other[:, 0] / other[:, 1] < threshold).sum())
        held_out_fraction, held_out_interval = count / len(held_out), binomial_interval(count, len(held_out))
        held_out_in_training = int((other[:, 0] == 0).sum())
    _, squared = distances.nearest(training, k=k, progress=done)
    done.finish()

    assigned = torch.bincount(nearest[:, 0], minlength=n)[duplicate_of]
    copied = torch.bincount(nearest[memorized, 0], minlength=n)[duplicate_of]
    sparsity, coverage = squared.mean(1) / dim, risk_from_neighbours(squared)
    return AuditReport(
        memorized=memorized,
        fraction=int(memorized.sum()) / len(memorized),
        interval=binomial_interval(int(memorized.sum()), len(memorized)),
        nearest=nearest,
        distance=distance,
        assigned=assigned,
        copied=copied,
        rate=copied / assigned.to(torch.float64),
        sparsity=sparsity,
        coverage=coverage,
        duplicate_of=duplicate_of,
        held_out_fraction=held_out_fraction,
        held_out_interval=held_out_interval,
        held_out_in_training=held_out_in_training,
        labels={} if labels is None else _by_label(labels, nearest[:, 0], memorized, sparsity, coverage.risk),
        dim=dim,
        k=k,
        threshold=threshold,
    )


def binomial_interval(count: int, total: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval of Clopper and Pearson for a share of ``count`` in ``total``; (0, 1) of nothing.

    Raises ``ValueError`` if ``total`` is negative, ``count`` not one of 0 … ``total``, or ``confidence`` not in (0, 1).
    """
    total = _checks.integer(total, "total", low=0)
    count = _checks.integer(count, "count", low=0, high=total)
    confidence = _checks.number(confidence, "confidence", low=0, high=1, low_open=True, high_open=True)
    if total == 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else float(beta.ppf(tail, count, total - count + 1))
    high = 1.0 if count == total else float(beta.ppf(1 - tail, count + 1, total - count))
    return low, high


def _by_label(
    labels: np.ndarray, nearest: Tensor, memorized: Tensor, sparsity: Tensor, risk: Tensor
) -> dict[Hashable, LabelAudit]:
    result = {}
    for name, members in groups(labels, nearest.device).items():
        samples = members[nearest]
        assigned, count = int(samples.sum()), int((samples & memorized).sum())
        result[name] = LabelAudit(
            training=int(members.sum()),
            assigned=assigned,
            memorized=count,
            fraction=count / assigned if assigned else float("nan"),
            interval=binomial_interval(count, assigned),
            sparsity=float(sparsity[members].mean()),
            risk=float(risk[members].nanmean()),
        )
    return result
