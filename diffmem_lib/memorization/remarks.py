"""What has to be read beside the numbers: what they mean, what they do not, and what is doubtful about these."""

from __future__ import annotations

import math

import numpy as np

from .copies import AuditReport
from .inputs import Loaded, Sources
from .rates import criterion
from .training_set import TrainingSurvey

__all__ = ["doubts", "notes"]

SEEN = 1000  # points at most that decide whether two sets are scaled alike


def doubts(report: TrainingSurvey, sources: Sources, *, redact: bool = False) -> list[str]:
    """What may make the numbers mean something else than they seem to: to be read first."""
    found = []
    parts = {"training points": sources.training, "samples": sources.samples, "held-out points": sources.held_out}
    given = {name: part for name, part in parts.items() if part is not None}
    for name, part in given.items():
        if part.unread:
            found.append(f"Not read in {name if redact else part.source}: {part.unread}.")
        if part is not sources.training and _differ(ours := _some(part), theirs := _some(sources.training)):
            ends = [end for values in (ours, theirs) for end in (*_middle(values), values.min(), values.max())]
            scales = (
                " Of the {} nine tenths lie between {:.4g} and {:.4g}, all between {:.4g} and {:.4g}; of the training"
                " points, between {:.4g} and {:.4g}, all between {:.4g} and {:.4g}.".format(name, *ends)
            )
            found.append(f"Are {name} and training points scaled alike?" + ("" if redact else scales))
    weight = np.var(_some(sources.training), axis=0, dtype=np.float64)
    if len(weight) > 1 and weight.max() > 0.99 * weight.sum() and not sources.standardized:
        found.append(
            f"Column {int(weight.argmax())} (of 0 to {len(weight) - 1}) carries over 99 % of the squared distances, and"
            " the others hardly count. Are the columns in units that compare? --standardize divides each by its"
            " standard deviation in the training data."
        )
    flat = {part.image_shape is None and len(part.axes) < 2 for part in given.values()}
    if len(flat) > 1 and sources.training.points.shape[1] > 1:
        found.append(
            "Some points have several axes, as images have, and some are rows of numbers; they are compared number by"
            " number, in the order in which both are given."
        )
    if isinstance(report, AuditReport):
        if report.held_out_in_training:
            found.append(
                f"{report.held_out_in_training} held-out points are equal to training points. If they were trained on,"
                " they are no baseline, and hide copies: take them out. (Points of few values may be equal by chance.)"
            )
        if report.unmatched:
            found.append(
                f"{report.unmatched} samples are of classes of which no point is held out; they are compared with"
                " nothing, and cannot count as copied. Are the labels of samples and of held-out points the same?"
            )
        share = report.threshold**2  # of the sparsity; without the square, one novel digit in twenty is nearer
        near = report.distance[:, 0] < share * report.sparsity[report.nearest[:, 0]]
        if hidden := int((near & ~report.memorized).sum()):
            found.append(
                f"{hidden} samples that do not count as memorized are nearer to a training point than"
                f" {share:.3g} of its sparsity, but have another training point as near. Copies of"
                " training points that are there twice, with small differences, look like this; so do points where"
                " the training set is crowded."
            )
    return found


def notes(report: TrainingSurvey, sources: Sources, *, redact: bool = False) -> list[str]:
    """What the numbers mean and what they do not."""
    coverage = report.coverage
    notes = []
    if isinstance(report, AuditReport):
        notes.append(
            "D is the squared Euclidean distance per dimension, r the Euclidean distance; D1 and r1 to the nearest"
            " training point, D2 and r2 to the nearest one of another value. A sample is memorized by"
            f" {criterion(report.convention, report.threshold)}. Most papers on diffusion models mean Euclidean"
            " distances by a ratio below 1/3, others (LocalMemo) squared ones, which calls far more memorized: a"
            " squared threshold is the square of a Euclidean one."
        )
        if report.held_out_fraction is not None:
            notes.append(
                "The excess is the memorized share less that of held-out points, with Newcombe's interval. Copied are"
                " the samples that are nearer than held-out points, by p-values (1 + held-out ratios at most the"
                " sample's)/(1 + held-out points) and the procedure of Benjamini and Hochberg. Nearer than a fresh"
                " draw may also mean sharper, or another mix of classes; a blurred or noisy copy may be missed."
            )
    if sources.standardized:
        notes.append("Each column was divided by its standard deviation in the training data before the distances.")
    if not redact and not report.sparsity.isnan().all():
        notes.append(
            "Sparsity is the mean squared Euclidean distance per dimension of a training point to its"
            f" {report.k} nearest others."
        )
    notes.append(
        "Distance between pixels is not perception: a copy that is shifted, mirrored or recoloured is far away, and two"
        " blurred images are near. Where it matters, audit embeddings: any array will do."
    )
    notes.append(
        "Passing a distance test is no guarantee of privacy: membership inference succeeds on data that pass"
        " (arXiv 2505.01524, 2312.05114). "
        + (
            "This report is redacted: it holds shares and counts, no names, images or numbers of single points."
            if redact
            else "And this report can itself leak: it names training points, and shows them where they are images."
            " The option --redact leaves shares and counts only."
        )
    )
    if not redact and not math.isnan(coverage.reference_sigma):
        notes.append(
            "Predicted risk is minus the log of the local coverage n p(x) (2πeσ²)^(D/2), in nats, at the noise level"
            f" σ = {coverage.reference_sigma:.4g} where half of the training points are beyond the criterion. It uses"
            f" the training set alone. The density comes from {report.k} neighbours in the {coverage.dimension}"
            " dimensions that they span (one number for all points) and is taken to be flat among them. The criterion"
            " is that of the exact empirical score; a trained network is smoother. The order of the points means more"
            " than the values."
        )
    if report.duplicates:
        counts, second = ("share their counts, ", "in D2 and ") if isinstance(report, AuditReport) else ("", "")
        notes.append(
            f"Duplicates in the training set: {report.duplicates}. Equal points {counts}are neighbours at distance zero"
            f" in the sparsity, and are passed over {second}in the estimate of the density. What a data set repeats,"
            " models memorize more than this prediction says."
        )
    return notes


def _some(part: Loaded) -> np.ndarray:
    """Points from the first to the last, evenly, as data may be sorted."""
    count = min(len(part.points), SEEN, max(100, 2**22 // part.points.shape[1]))
    return part.points[np.linspace(0, len(part.points) - 1, count).astype(int)]


def _middle(values: np.ndarray) -> tuple[float, float]:
    """Where nine tenths of the numbers lie."""
    low, high = np.quantile(values, [0.05, 0.95])
    return float(low), float(high)


def _spread(values: np.ndarray) -> tuple[float, float]:
    """Two standard deviations about the mean: of numbers that are nearly all the same, no quantile speaks."""
    mean, deviation = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    return mean - deviation, mean + deviation


def _differ(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether the middle of one is half as wide again as that of the other, or shifted by a quarter of the width."""
    silent = any(low == high for low, high in (_middle(one), _middle(other)))
    (low, high), (other_low, other_high) = ((_spread if silent else _middle)(values) for values in (one, other))
    width, other_width = max(high - low, 1e-300), max(other_high - other_low, 1e-300)
    shift = abs(high + low - other_high - other_low) / 2
    return max(width / other_width, other_width / width) > 1.5 or shift > 0.25 * max(width, other_width)
