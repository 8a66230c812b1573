"""The audit: which samples are copies, of what, and which training points were at risk."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .. import _checks
from ..points import distances
from ..points.shards import Shards
from . import sharded
from .calibration import (
    benjamini_hochberg,
    binomial_interval,
    conformal_p_values,
    difference_interval,
    fewest_discoveries,
)
from .rates import THRESHOLDS, Rates, SparsityBin, checked_distance, checked_thresholds, neighbour_ratio, rates
from .training_set import (
    Labels,
    LabelSurvey,
    Points,
    Progress,
    TrainingSurvey,
    array_of_labels,
    checked,
    first_of_equals,
    groups,
    points,
    repeats,
    surveyed,
    unsurveyed,
)

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["AuditReport", "LabelAudit", "audit"]

#: What is known of held-out points, where there are some.
HELD_OUT = ("fraction", "interval", "in_training", "nearest", "distance")


@dataclass(frozen=True)
class LabelAudit(LabelSurvey):
    """What the audit found for the training points of one label.

    ``fraction`` is ``memorized / assigned``, NaN without assigned samples, and ``point_rate`` the mean of the rate over
    the training points that are the nearest of a sample; ``held_out_fraction`` is the share of the held-out points
    nearest to them that would pass for memorized, NaN without any, None where none were given; ``sparsity`` and
    ``risk`` are means.
    """

    assigned: int
    memorized: int
    fraction: float
    interval: tuple[float, float]
    point_rate: float
    held_out_fraction: float | None


@dataclass(frozen=True)
class AuditReport(TrainingSurvey):
    """What m samples share with n training points.

    All distances are *squared* distances per dimension, D = |x − y|²/d: D1 to the nearest training point, D2 to the
    nearest point that is distinct in value from the first. A sample is memorized if the ratio of the Euclidean ones,
    r1/r2 = √(D1/D2), is less than ``threshold`` (``convention`` "euclidean", as in most papers on diffusion models), or
    if D1/D2 is ("squared", as in LocalMemo). An exact copy is memorized.

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
    assigned, memorized_count : Tensor, (n,)
        How many samples have this training point as their nearest, and how many of those are memorized.
    rate : Tensor, (n,), float64
        ``memorized_count / assigned``; NaN where a point is never the nearest. Points equal in value share all three.
    p_value : Tensor, (m,), float64
        (1 + held-out ratios at most the sample's)/(1 + held-out points), of the sample's own class where classes were
        given; NaN without held-out points. See `conformal_p_values`.
    copied : Tensor, (m,), bool
        Which samples are nearer to a training point than held-out points are, at the false discovery rate ``fdr``
        (Benjamini and Hochberg, on all p-values together); none without held-out points.
    fewest : int or None
        Fewer copies than these cannot be found with so few held-out points; more than m: none can.
    excess : float
        ``fraction`` minus ``held_out_fraction``, with its 95 % ``excess_interval`` (Newcombe's); NaN without held-out
        points.
    sparsity : Tensor, (n,), float64
        Mean D to the ``k`` nearest other training points; duplicates are neighbours at distance zero. NaN without
        survey.
    coverage : CoverageRisk
        The predicted risk of every training point; NaN without survey.
    duplicate_of : Tensor, (n,)
        For each training point the lowest index of a point with the same value; its own where it is the first.
    held_out_fraction : float or None
        The share of held-out points that the same criterion calls memorized, with ``held_out_interval``.
    held_out_nearest, held_out_distance : Tensor or None
        The same of the held-out points as ``nearest`` and ``distance`` of the samples.
    held_out_in_training : int or None
        How many held-out points are equal to a training point.
    classes, unmatched : int
        How many classes of held-out points p-values are within, 0 where no classes were given; and how many samples are
        of a class that has none.
    labels : dict
        By label of the training points, a `LabelAudit`; a sample counts for the label of its nearest training point.
    """

    memorized: Tensor
    fraction: float
    interval: tuple[float, float]
    nearest: Tensor
    distance: Tensor
    assigned: Tensor
    memorized_count: Tensor
    rate: Tensor
    p_value: Tensor
    copied: Tensor
    fewest: int | None
    excess: float
    excess_interval: tuple[float, float]
    held_out_fraction: float | None
    held_out_interval: tuple[float, float] | None
    held_out_in_training: int | None
    held_out_nearest: Tensor | None
    held_out_distance: Tensor | None
    classes: int
    unmatched: int
    labels: Mapping[Hashable, LabelAudit]
    threshold: float
    convention: str
    fdr: float

    @property
    def dominance(self) -> Tensor:
        """log(D2/D1) of each sample, infinite for an exact copy."""
        return self.distance[:, 1].log() - self.distance[:, 0].log()

    @property
    def point_rate(self) -> float:
        """The mean of ``rate`` over the distinct points that are ever nearest; ``fraction`` is the pooled rate."""
        return float(self.rate[~repeats(self.duplicate_of)].nanmean())

    @property
    def label_fractions(self) -> dict[Hashable, float]:
        """The share of memorized samples by label."""
        return {label: part.fraction for label, part in self.labels.items()}

    def counts(self, threshold: float, convention: str = "euclidean") -> tuple[int, int | None]:
        """How many samples, and how many held-out points if there are any, another criterion calls memorized.

        Raises ``ValueError`` if ``threshold`` is not in (0, 1), or ``convention`` neither "euclidean" nor "squared".
        """
        (threshold,) = checked_thresholds([threshold])
        count = int((neighbour_ratio(self.distance, convention) < threshold).sum())
        if self.held_out_distance is None:
            return count, None
        return count, int((neighbour_ratio(self.held_out_distance, convention) < threshold).sum())

    def rates(self, thresholds: Sequence[float] = THRESHOLDS) -> tuple[Rates, Rates | None]:
        """Rates and dominance of all samples, and of all held-out points if there are any, at several thresholds.

        Raises ``ValueError`` if a threshold is not in (0, 1).
        """
        return self._rates(torch.ones_like(self.duplicate_of, dtype=torch.bool), thresholds)

    def _rates(self, inside: Tensor, thresholds: Sequence[float]) -> tuple[Rates, Rates | None]:
        """The same of those whose nearest training point is ``inside``, (n,)."""

        def of(nearest: Tensor, distance: Tensor) -> Rates:
            chosen = inside[nearest[:, 0]]
            return rates(nearest[chosen, 0], distance[chosen], thresholds, self.convention)

        samples = of(self.nearest, self.distance)
        if self.held_out_nearest is None or self.held_out_distance is None:
            return samples, None
        return samples, of(self.held_out_nearest, self.held_out_distance)

    def by_sparsity(self, bins: int = 10, thresholds: Sequence[float] = THRESHOLDS) -> list[SparsityBin]:
        """Rates and dominance in ``bins`` of equally many distinct training points, from the densest to the sparsest.

        A sample or held-out point counts where its nearest training point is. Empty without survey, or if there are
        fewer than two training points a bin.

        Raises ``ValueError`` if ``bins`` is less than 1, or a threshold not in (0, 1).
        """
        bins = _checks.integer(bins, "bins", low=1)
        distinct = (~repeats(self.duplicate_of)).nonzero()[:, 0]
        if len(distinct) < 2 * bins or self.sparsity.isnan().any():
            return []
        result = []
        for members in torch.tensor_split(distinct[self.sparsity[distinct].argsort(stable=True)], bins):
            inside = torch.zeros_like(self.duplicate_of, dtype=torch.bool)
            inside[members] = True
            low, high = self.sparsity[members[[0, -1]]].tolist()
            result.append(SparsityBin(low, high, len(members), *self._rates(inside, thresholds)))
        return result


@torch.no_grad()
def audit(
    samples: Points,
    training: Points,
    held_out: Points | None = None,
    labels: Labels | None = None,
    k: int = 10,
    threshold: float = 1 / 3,
    distance: str = "euclidean",
    fdr: float = 0.05,
    survey: bool = True,
    *,
    sample_labels: Labels | None = None,
    held_out_labels: Labels | None = None,
    keep: Path | None = None,
    client: Client | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AuditReport:
    r"""Find which samples copy training points, and which training points are at risk.

    A sample is memorized if its distance to the nearest training point is less than ``threshold`` times that to the
    nearest other one: a convention, whose false alarms held-out points count. ``copied`` judges each sample against
    the held-out points instead. Distances are those of the arrays as given: between pixels they are not what the eye
    sees, so pass embeddings where you have them. No distance proves privacy.

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
    distance : str
        What the threshold is a ratio of: "euclidean" distances, as in the literature's 1/3, or "squared" ones, as in
        LocalMemo. A Euclidean 1/3 is a squared 1/9.
    fdr : float
        The false discovery rate of ``copied``, in (0, 1).
    survey : bool
        Whether to compute sparsity and predicted risk, for which every training point is compared with all others.
    sample_labels, held_out_labels : sequences of m and h labels, optional
        Both or none: the classes of samples and held-out points, each sample then being compared with the held-out
        points of its own class.
    keep : Path, optional
        A folder; training points must then be `Shards`. The comparison of samples and held-out points with each shard
        is kept there, and a run that was killed goes on from what it finds. (The survey starts again.)
    client : distributed.Client, optional
        Of a cluster whose workers can import ``diffmem_lib`` and see mapped shards under the same paths; training
        points must then be `Shards`. Each is compared with samples and held-out points by a worker, and the numbers are
        those without. (The survey is not spread.)
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
        training points or they are all equal, if labels are not as many as their points, or if there is something to
        ``keep`` or a ``client`` but no shards, or if a worker cannot read a shard or finds other numbers in it.
    ConnectionError
        If the cluster gives no result.
    """
    training, k, labels = checked(training, k, labels, survey=survey)
    (threshold,), convention = checked_thresholds([threshold]), checked_distance(distance)
    fdr = _checks.number(fdr, "fdr", low=0, high=1, low_open=True, high_open=True)
    samples = points(samples, "samples", training)
    held_out = None if held_out is None else points(held_out, "held_out", training)
    classes = _classes(sample_labels, held_out_labels, samples, held_out)
    if keep is not None and not isinstance(training, Shards):
        raise ValueError("keep needs training points in shards")
    if client is not None and not (isinstance(training, Shards) and hasattr(client, "scatter")):
        raise ValueError(f"client must be one of distributed, with training points in shards, got {client!r}")
    n, dim = training.shape
    duplicate_of = first_of_equals(training)
    skip = repeats(duplicate_of)

    compared = n * (len(samples) + (0 if held_out is None else len(held_out)))
    done = Progress(progress, compared + (n * (n + 1) // 2 if survey else 0))
    nearest, near = _two_nearest(samples, training, skip, keep, client, done)
    memorized = neighbour_ratio(near, convention) < threshold
    beside: dict[str, Any] = dict.fromkeys(["fewest", *(f"held_out_{name}" for name in HELD_OUT)])
    beside |= {"p_value": torch.full_like(near[:, 0], torch.nan), "copied": torch.zeros_like(memorized)}
    beside |= {"excess": math.nan, "excess_interval": (math.nan, math.nan), "classes": 0, "unmatched": 0}
    if held_out is not None:
        other = _two_nearest(held_out, training, skip, keep, client, done)
        beside |= _baseline(memorized, *other, threshold, convention)
        ratio, base = (neighbour_ratio(pair, "squared") for pair in (near, other[1]))
        beside["p_value"], largest = _p_values(ratio, base, classes)
        if classes is not None:
            beside["classes"] = len(np.unique(classes[1]))
            beside["unmatched"] = int((~np.isin(*classes)).sum())
        beside["copied"] = benjamini_hochberg(beside["p_value"], fdr)
        beside["fewest"] = fewest_discoveries(len(samples), largest, fdr)
    sparsity, coverage = surveyed(training, k, done) if survey else unsurveyed(training)
    done.finish()

    assigned = torch.bincount(nearest[:, 0], minlength=n)[duplicate_of]
    memorized_count = torch.bincount(nearest[memorized, 0], minlength=n)[duplicate_of]
    report = AuditReport(
        memorized=memorized,
        fraction=int(memorized.sum()) / len(memorized),
        interval=binomial_interval(int(memorized.sum()), len(memorized)),
        nearest=nearest,
        distance=near,
        assigned=assigned,
        memorized_count=memorized_count,
        rate=memorized_count / assigned.to(torch.float64),
        sparsity=sparsity,
        coverage=coverage,
        duplicate_of=duplicate_of,
        labels={},
        dim=dim,
        k=k,
        threshold=threshold,
        convention=convention,
        fdr=fdr,
        **beside,
    )
    return report if labels is None else replace(report, labels=_by_label(labels, report))


def _two_nearest(
    queries: Points, training: Points, skip: Tensor, keep: Path | None, client: Client | None, done: Progress
) -> tuple[Tensor, Tensor]:
    """The nearest training points (m, 2) and their squared distances per dimension (m, 2).

    Where one side has float32 numbers and the other float64 ones, such as pixels divided by 255, a query that rounds to
    the same float32 numbers as its nearest point is equal to it.
    """
    if isinstance(training, Shards):
        nearest, squared = sharded.two_nearest(queries, training, skip, keep, client, done)
    else:
        nearest, squared = distances.nearest(queries, training, 2, skip=skip, progress=done)
    if queries.dtype.itemsize != training.dtype.itemsize:
        for rows in distances.slices(len(nearest), max(1, 2**18 // training.shape[1])):
            ours = distances.take(queries, rows, torch.float32)
            same = (ours == distances.take(training, nearest[rows, 0], torch.float32)).all(1)
            squared[rows, 0] = squared[rows, 0].masked_fill(same, 0.0)
    return nearest, squared / training.shape[1]


def _baseline(
    memorized: Tensor, nearest: Tensor, distance: Tensor, threshold: float, convention: str
) -> dict[str, Any]:
    """What the criterion says of held-out points, and by how much the samples' share exceeds it."""
    count, m = int(memorized.sum()), len(memorized)
    base, total = int((neighbour_ratio(distance, convention) < threshold).sum()), len(distance)
    return {
        "excess": count / m - base / total,
        "excess_interval": difference_interval(count, m, base, total),
        "held_out_fraction": base / total,
        "held_out_interval": binomial_interval(base, total),
        "held_out_in_training": int((distance[:, 0] == 0).sum()),
        "held_out_nearest": nearest,
        "held_out_distance": distance,
    }


def _classes(
    sample_labels: Labels | None, held_out_labels: Labels | None, samples: Points, held_out: Points | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """The classes of samples and held-out points, as numbers; None if there are none."""
    if sample_labels is None and held_out_labels is None:
        return None
    if sample_labels is None or held_out is None or held_out_labels is None:
        given = {"sample_labels": sample_labels, "held_out": held_out, "held_out_labels": held_out_labels}
        missing = next(name for name, value in given.items() if value is None)
        raise ValueError(f"{missing} must be given too: classes of samples are compared with the same ones held out")
    ours = array_of_labels(sample_labels, len(samples), "sample_labels")
    theirs = array_of_labels(held_out_labels, len(held_out), "held_out_labels")
    if (ours.dtype.kind in "USO") != (theirs.dtype.kind in "USO"):
        raise ValueError(
            f"held_out_labels must be of the kind of sample_labels, got {theirs.dtype} beside {ours.dtype}"
        )
    if not np.isin(ours, theirs).any():
        seen = [", ".join(map(repr, np.unique(part)[:3].tolist())) for part in (ours, theirs)]
        raise ValueError(f"held_out_labels must name classes of samples, such as {seen[0]}, got {seen[1]}")
    code = np.unique(np.concatenate([ours, theirs]), return_inverse=True)[1]
    return code[: len(ours)], code[len(ours) :]


def _p_values(ratio: Tensor, held_out: Tensor, classes: tuple[np.ndarray, np.ndarray] | None) -> tuple[Tensor, int]:
    """The p-value of each sample within its class, and how many held-out points the largest class has.

    A sample of a class without held-out points is compared with nothing: its p-value is 1.
    """
    if classes is None:
        return conformal_p_values(ratio, held_out), len(held_out)
    result, largest = torch.ones_like(ratio), 0
    ours, theirs = (torch.from_numpy(code).to(ratio.device) for code in classes)
    for name in ours.unique():
        same = held_out[theirs == name]
        if len(same):
            result[ours == name] = conformal_p_values(ratio[ours == name], same)
            largest = max(largest, len(same))
    return result, largest


def _by_label(labels: np.ndarray, report: AuditReport) -> dict[Hashable, LabelAudit]:
    nearest, distinct = report.nearest[:, 0], ~repeats(report.duplicate_of)
    result = {}
    base = None
    if report.held_out_nearest is not None and report.held_out_distance is not None:
        base = report.held_out_nearest[:, 0], neighbour_ratio(report.held_out_distance, report.convention)
    for name, members in groups(labels, nearest.device).items():
        samples = members[nearest]
        assigned, count = int(samples.sum()), int((samples & report.memorized).sum())
        result[name] = LabelAudit(
            training=int(members.sum()),
            assigned=assigned,
            memorized=count,
            fraction=count / assigned if assigned else float("nan"),
            interval=binomial_interval(count, assigned),
            point_rate=float(report.rate[members & distinct].nanmean()),
            held_out_fraction=None
            if base is None
            else float((base[1][members[base[0]]] < report.threshold).double().mean()),
            sparsity=float(report.sparsity[members].mean()),
            risk=float(report.coverage.risk[members].nanmean()),
        )
    return result
