"""The report of an audit, or of a training set alone, as text, as JSON and as one self-contained HTML page."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import os
import tempfile
import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.stats import spearmanr

from .calibration import binomial_interval
from .copies import AuditReport
from .inputs import Loaded
from .rates import DISTANCES, THRESHOLDS, Rates
from .training_set import TrainingSurvey, repeats

__all__ = ["Sources", "as_html", "as_json", "as_text", "write_reports"]

PAIRS = 48
LISTED = 20
THUMBNAIL = 192  # pixels a side: shown are half as many, on dense screens all
BINS = 10
SEEN = 1000  # points at most that decide whether two sets are scaled alike
CURVE = tuple(round(0.02 * j, 2) for j in range(1, 50))  # thresholds of the Euclidean ratio


@dataclass(frozen=True)
class Sources:
    """What was audited, to name it and to show its images; without samples, a training set alone.

    With ``standardized``, each column was divided by its standard deviation in the training data before the distances.
    """

    training: Loaded
    samples: Loaded | None = None
    held_out: Loaded | None = None
    standardized: bool = False


def as_text(report: TrainingSurvey, sources: Sources, *, redact: bool = False) -> str:
    """A page of plain text for the terminal; with ``redact``, only shares and counts."""
    files = sources.training.files
    name = str if files is None else files.__getitem__
    of = "" if redact else "{}: "
    training = of.format(sources.training.source) + f"{len(report.duplicate_of)} points"
    if isinstance(report, AuditReport):
        samples = of.format(sources.samples.source) + f"{len(report.memorized)} points of {report.dim} numbers"
        lines = [
            f"samples   {samples}",
            f"training  {training}, {report.duplicates} of them duplicates",
            *_shares_as_text(report, redact=redact),
        ]
        rest = [*_thresholds_as_text(report), *([] if redact else _copies_as_text(report, name))]
    else:
        lines = [f"training  {training} of {report.dim} numbers, {report.duplicates} of them duplicates"]
        if not redact:
            low, middle, high = report.sparsity.quantile(report.sparsity.new_tensor([0.1, 0.5, 0.9])).tolist()
            spread = f"from {low:.4g} to {high:.4g} for the middle 80 % of the points"
            lines.append(f"sparsity  median {middle:.4g}, {spread}")
        rest = [] if redact else _risk_as_text(report, name)
    for doubt in doubts(report, sources, redact=redact):
        lines += textwrap.wrap(doubt, 80, initial_indent="doubt     ", subsequent_indent=" " * 10)
    lines += rest
    for note in _notes(report, sources, redact=redact):
        lines += ["", *textwrap.wrap(note, 80)]
    return "\n".join(lines) + "\n"


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


def _shares_as_text(report: AuditReport, *, redact: bool) -> list[str]:
    m, other = len(report.memorized), next(name for name in DISTANCES if name != report.convention)
    count, base = report.counts(report.threshold, other)
    lines = [
        f"memorized {_share(report.fraction, report.interval)}, by {_criterion(report.convention, report.threshold)}",
        f"otherwise {_share(count / m, binomial_interval(count, m))}, by {_criterion(other, report.threshold)}",
    ]
    if report.held_out_fraction is None:
        lines.append("held out  none given, so there is no baseline to compare with")
    else:
        total = len(report.held_out_distance)
        others = _share(base / total, binomial_interval(base, total))
        lines += [
            f"held out  {_share(report.held_out_fraction, report.held_out_interval)} (the baseline)",
            f"otherwise {others}, by {_criterion(other, report.threshold)}",
            f"excess    {_share(report.excess, report.excess_interval)}, of memorized samples over held-out points",
            f"copied    {_found(report)}",
        ]
    if report.held_out_in_training:
        lines.append(f"          {report.held_out_in_training} held-out points are equal to training points")
    return lines if redact else [*lines, *_rates_as_text(report)]


def _rates_as_text(report: AuditReport) -> list[str]:
    ours, theirs = report.rates([report.threshold])
    beside = "" if theirs is None else f"; of held-out points {_three(theirs.dominance)}"
    return [
        f"rate      {_percent(ours.pooled[0])} of the samples, {_percent(ours.per_point[0])} as the mean over the"
        f" {ours.visited} training points nearest to one",
        f"dominance mean log(D2/D1) {_three(ours.dominance)}, {ours.exact} exact copies apart{beside}",
    ]


def _criterion(convention: str, threshold: float) -> str:
    """The criterion in symbols and words."""
    if convention == "euclidean":
        return f"r1/r2 < {threshold:.4g} in Euclidean distances"
    return f"D1/D2 < {threshold:.4g} in squared distances"


def _found(report: AuditReport) -> str:
    """How many copies were found at the false discovery rate, or why none can be."""
    m = len(report.memorized)
    text = f"{int(report.copied.sum())} samples, at a false discovery rate of {report.fdr:.4g}"
    if report.fewest > m:
        return f"{text}: the held-out set is too small to find any among {m} samples"
    if report.fewest > 1 and not report.copied.any():
        return f"{text}: the held-out set is too small to find fewer than {report.fewest} among {m}"
    return text


def _thresholds_as_text(report: AuditReport) -> list[str]:
    """The share at the usual thresholds, in both conventions."""
    lines = ["", "threshold    r1/r2 below it: samples   held out     D1/D2 below it: samples   held out"]
    for threshold, *shares in _shares_at_thresholds(report):
        cells = [_percent(share) for share in shares]
        lines.append(f"{threshold:9} {cells[0]:>26} {cells[1]:>10} {cells[2]:>27} {cells[3]:>10}")
    return lines


def _shares_at_thresholds(report: AuditReport) -> list[tuple[str, float, float, float, float]]:
    """Each threshold, with the shares of samples and held-out points by Euclidean and by squared distances."""
    rows = []
    for threshold in THRESHOLDS:
        shares = []
        for convention in DISTANCES:
            count, base = report.counts(threshold, convention)
            shares.append(count / len(report.memorized))
            shares.append(math.nan if base is None else base / len(report.held_out_distance))
        rows.append((str(Fraction(threshold).limit_denominator(10)), *shares))
    return rows


def _curve(report: AuditReport) -> dict[str, list[float] | None]:
    """The share of memorized samples and held-out points over thresholds of the Euclidean ratio."""
    counts = [report.counts(threshold) for threshold in CURVE]
    held_out = report.held_out_distance
    return {
        "euclidean_threshold": list(CURVE),
        "squared_threshold": [threshold**2 for threshold in CURVE],
        "samples": [count / len(report.memorized) for count, _ in counts],
        "held_out": None if held_out is None else [base / len(held_out) for _, base in counts],
    }


def _copies_as_text(report: AuditReport, name: Callable[[int], str]) -> list[str]:
    lines = []
    top = _by_count(report)[:5]
    if top:
        lines += ["", "copied most often   copies  of samples nearest to it   predicted risk   training point"]
        lines += [
            f"{int(report.memorized_count[i]):26d} {int(report.assigned[i]):25d}"
            f" {_nats(report.coverage.risk[i])}   {name(i)}"
            for i in top
        ]
    if report.labels:
        lines += ["", "label             training  assigned  memorized   share   95 % interval   per point   sparsity"]
        for label, part in report.labels.items():
            low, high = part.interval
            lines.append(
                f"{str(label)[:16]:16} {part.training:9d} {part.assigned:9d} {part.memorized:10d}"
                f" {_percent(part.fraction):>7}   {_percent(low)} to {_percent(high):8}"
                f" {_percent(part.point_rate):>8} {_four(part.sparsity):>10}"
            )
    return lines


def _risk_as_text(report: TrainingSurvey, name: Callable[[int], str]) -> list[str]:
    lines = []
    if top := _by_risk(report)[:5]:
        lines += ["", "most at risk before any training    sparsity  critical σ   predicted risk   training point"]
        lines += [
            f"{report.sparsity[i]:#44.4g} {report.coverage.critical_sigma[i]:#11.4g}"
            f" {_nats(report.coverage.risk[i])}   {name(i)}"
            for i in top
        ]
    if report.labels:
        lines += ["", "label             training     sparsity   predicted risk"]
        lines += [
            f"{str(label)[:16]:16} {part.training:9d} {part.sparsity:#12.4g} {_nats(part.risk)}"
            for label, part in report.labels.items()
        ]
    return lines


def _by_count(report: AuditReport) -> list[int]:
    """The training points that samples are memorized from, the most frequent first, equal ones once."""
    count = report.memorized_count.masked_fill(repeats(report.duplicate_of), 0)
    order = torch.argsort(count, descending=True, stable=True)
    return order[: int((count > 0).sum())].tolist()


def _by_risk(report: TrainingSurvey) -> list[int]:
    """The training points with the largest predicted risk, equal ones once."""
    risk = report.coverage.risk.masked_fill(repeats(report.duplicate_of), torch.nan).nan_to_num(nan=-math.inf)
    order = torch.argsort(risk, descending=True, stable=True)[:LISTED]
    return [int(i) for i in order if risk[i] > -math.inf]


def as_json(report: TrainingSurvey, sources: Sources, *, redact: bool = False) -> str:
    """All numbers, one entry for each sample and each training point; null where there is none.

    With ``redact``, only shares and counts: no names, and nothing that belongs to one point.
    """
    document = {
        "format": "diffmem audit 2",
        "redacted": redact,
        "distance": "squared Euclidean, divided by the number of dimensions",
        "doubts": doubts(report, sources, redact=redact),
        "notes": _notes(report, sources, redact=redact),
        "standardized": sources.standardized,
        "dim": report.dim,
        "points": {"training": len(report.duplicate_of)},
        "duplicates_in_training": report.duplicates,
    }
    if isinstance(report, AuditReport):
        document |= _shares_as_json(report)
    if not redact:
        _add_points(document, report, sources)
    return json.dumps(document, allow_nan=False, indent=1) + "\n"


def _shares_as_json(report: AuditReport) -> dict:
    """What an audit finds of all samples together."""
    m, total = len(report.memorized), 0 if report.held_out_distance is None else len(report.held_out_distance)
    names = ("euclidean_samples", "euclidean_held_out", "squared_samples", "squared_held_out")
    table = [dict(zip(("threshold", *names), row, strict=True)) for row in _shares_at_thresholds(report)]
    other = next(name for name in DISTANCES if name != report.convention)
    count, base = report.counts(report.threshold, other)
    return {
        "points": {"training": len(report.duplicate_of), "samples": m, "held_out": total},
        "convention": report.convention,
        "criterion": f"memorized by {_criterion(report.convention, report.threshold)}",
        "threshold": report.threshold,
        "memorized_fraction": report.fraction,
        "memorized_interval_95": report.interval,
        "held_out_fraction": report.held_out_fraction,
        "held_out_interval_95": report.held_out_interval,
        "other_convention": {
            "convention": other,
            "threshold": report.threshold,
            "memorized_fraction": count / m,
            "memorized_interval_95": binomial_interval(count, m),
            "held_out_fraction": base / total if total else None,
            "held_out_interval_95": binomial_interval(base, total) if total else None,
        },
        "thresholds": _finite(table),
        "excess": _number(report.excess),
        "excess_interval_95": _finite(report.excess_interval),
        "fdr": report.fdr,
        "copied_count": int(report.copied.sum()) if total else None,
        "fewest_copies_that_can_be_found": report.fewest,
        "exact_copies": int((report.distance[:, 0] == 0).sum()),
        "held_out_equal_to_training": report.held_out_in_training,
    }


def _add_points(document: dict, report: TrainingSurvey, sources: Sources) -> None:
    """What belongs to single points, or to few of them."""
    coverage = report.coverage
    parts = {"samples": sources.samples, "training": sources.training, "held_out": sources.held_out}
    document |= {
        "sources": {name: None if part is None else part.source for name, part in parts.items()},
        "files": {
            name: None if part is None or part.files is None else list(part.files) for name, part in parts.items()
        },
        "k": report.k,
        "coverage": {"local_dimension": coverage.dimension, "reference_sigma": _number(coverage.reference_sigma)},
        "labels": {
            str(label): {
                "training": part.training,
                "mean_sparsity": _number(part.sparsity),
                "mean_predicted_risk": _number(part.risk),
            }
            for label, part in report.labels.items()
        },
        "training": {
            "sparsity": _finite(report.sparsity.tolist()),
            "predicted_risk": _finite(coverage.risk.tolist()),
            "critical_sigma": _finite(coverage.critical_sigma.tolist()),
            "duplicate_of": report.duplicate_of.tolist(),
        },
    }
    if not isinstance(report, AuditReport):
        return
    ours, theirs = report.rates(_bin_thresholds(report))
    document |= {
        "curve": _curve(report),
        "rates": {"samples": _finite(asdict(ours)), "held_out": None if theirs is None else _finite(asdict(theirs))},
        "by_sparsity": [_finite(asdict(part)) for part in report.by_sparsity(BINS, _bin_thresholds(report))],
        "samples": {
            "memorized": report.memorized.tolist(),
            "copied": report.copied.tolist(),
            "p_value": _finite(report.p_value.tolist()),
            "nearest": report.nearest[:, 0].tolist(),
            "second": report.nearest[:, 1].tolist(),
            "d1": report.distance[:, 0].tolist(),
            "d2": report.distance[:, 1].tolist(),
        },
    }
    document["training"] |= {
        "assigned": report.assigned.tolist(),
        "copies": report.memorized_count.tolist(),
        "rate": _finite(report.rate.tolist()),
    }
    for label, part in report.labels.items():
        document["labels"][str(label)] |= {
            "assigned": part.assigned,
            "memorized": part.memorized,
            "fraction": _number(part.fraction),
            "interval_95": part.interval,
            "fraction_per_point": _number(part.point_rate),
        }


def _bin_thresholds(report: AuditReport) -> tuple[float, ...]:
    """The usual thresholds, and the audit's own."""
    return tuple(sorted({*THRESHOLDS, report.threshold}))


def as_html(report: TrainingSurvey, sources: Sources, *, redact: bool = False) -> str:
    """One page without references to anything outside it; with ``redact``, only shares and counts."""
    if isinstance(report, AuditReport):
        title = "What these samples copied"
        body = [
            f'<p class="lead"><strong>{_percent(report.fraction)}</strong> of {len(report.memorized)} samples are'
            f" memorized ({_interval(report.interval)}, 95 % confidence).{_baseline(report)}</p>",
            _facts(report, sources, redact=redact),
            _near(report, redact=redact),
            *([] if redact else [_pairs(report, sources), _most_copied(report, sources), _by_sparsity(report)]),
        ]
    else:
        title = "What is at risk of being memorized"
        body = [
            f'<p class="lead">{len(report.duplicate_of)} training points, {report.duplicates} of which repeat an'
            " earlier one, and what can be said of them before any training. No samples were given, so nothing here"
            " says what a model copied.</p>",
            _facts(report, sources, redact=redact),
        ]
    found = doubts(report, sources, redact=redact)
    body.insert(1, "".join(f'<p class="doubt">{html.escape(doubt)}</p>' for doubt in found))
    body += [
        *([] if redact else [_labels(report), _most_at_risk(report, sources), _duplicates(report, sources)]),
        "<h2>How to read this</h2>",
        *(f"<p>{html.escape(note)}</p>" for note in _notes(report, sources, redact=redact)),
    ]
    page = PAGE.replace("TITLE", title)
    return page.replace("BODY", "\n".join(part for part in (f"<h1>{title}</h1>", *body) if part))


def write_reports(report: TrainingSurvey, sources: Sources, folder: Path, *, redact: bool = False) -> list[Path]:
    """Write ``report.html`` and ``report.json`` into a folder, each complete or not at all."""
    texts = {
        "report.html": as_html(report, sources, redact=redact),
        "report.json": as_json(report, sources, redact=redact),
    }
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as hidden:
        for name, text in texts.items():
            (Path(hidden) / name).write_text(text, encoding="utf-8")
        for name in texts:
            os.replace(Path(hidden) / name, folder / name)
    return [folder / name for name in texts]


def _notes(report: TrainingSurvey, sources: Sources, *, redact: bool = False) -> list[str]:
    """What the numbers mean and what they do not."""
    coverage = report.coverage
    notes = []
    if isinstance(report, AuditReport):
        notes.append(
            "D is the squared Euclidean distance per dimension, r the Euclidean distance; D1 and r1 to the nearest"
            " training point, D2 and r2 to the nearest one of another value. A sample is memorized by"
            f" {_criterion(report.convention, report.threshold)}. Most papers on diffusion models mean Euclidean"
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


def _range(part: Loaded) -> tuple[float, float]:
    head = part.points[:1000]
    return float(head.min()), float(head.max())


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


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _finite(value: Any) -> Any:
    """``value``, a number or nested lists and dictionaries of such, with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return _number(value) if isinstance(value, float) else value


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f} %".replace("-", "−")


def _three(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"


def _four(value: torch.Tensor | float) -> str:
    return "–" if math.isnan(value) else f"{float(value):#.4g}"


def _interval(interval: tuple[float, float]) -> str:
    return f"{_percent(interval[0])} to {_percent(interval[1])}"


def _share(share: float, interval: tuple[float, float]) -> str:
    return f"{_percent(share)}, 95 % interval {_interval(interval)}"


def _nats(risk: torch.Tensor | float) -> str:
    return f"{'–':>16}     " if math.isnan(risk) else f"{float(risk):+16.2f} nats".replace("-", "−")


def _baseline(report: AuditReport) -> str:
    if report.held_out_fraction is None:
        return " No held-out data were given, so there is no baseline to compare with."
    text = (
        f" Of held-out data, which were not trained on, the same criterion says {_percent(report.held_out_fraction)}"
        f" ({_interval(report.held_out_interval)}); the excess is {_percent(report.excess)}"
        f" ({_interval(report.excess_interval)}). Copied: {_found(report)}."
    )
    if report.held_out_in_training:
        text += f" {report.held_out_in_training} held-out points are equal to training points."
    return text


def _facts(report: TrainingSurvey, sources: Sources, *, redact: bool) -> str:
    def named(part: Loaded, count: int) -> str:
        return str(count) if redact else f"{html.escape(part.source)}: {count}"

    rows = [
        ("training points", named(sources.training, len(report.duplicate_of))),
        ("duplicates among them", str(report.duplicates)),
        ("dimensions", str(report.dim)),
    ]
    if isinstance(report, AuditReport):
        rows.insert(0, ("samples", named(sources.samples, len(report.memorized))))
        if sources.held_out is not None:
            rows.insert(1, ("held out", named(sources.held_out, len(sources.held_out.points))))
        rows += [
            ("criterion", html.escape(_criterion(report.convention, report.threshold))),
            ("exact copies", str(int((report.distance[:, 0] == 0).sum()))),
        ]
    elif not redact:
        low, middle, high = report.sparsity.quantile(report.sparsity.new_tensor([0.1, 0.5, 0.9])).tolist()
        rows.append(("sparsity", f"median {middle:.4g}, {low:.4g} to {high:.4g} for the middle 80 %"))
    return "<table class='facts'>" + "".join(f"<tr><th>{a}</th><td>{b}</td></tr>" for a, b in rows) + "</table>"


def _near(report: AuditReport, *, redact: bool) -> str:
    """The share over thresholds, in both conventions."""
    rows = [(threshold, *map(_percent, shares)) for threshold, *shares in _shares_at_thresholds(report)]
    head = ("threshold", "samples, r1/r2", "held out, r1/r2", "samples, D1/D2", "held out, D1/D2")
    text = (
        "<p>The share called memorized depends on the threshold, and on whether it is one of Euclidean distances (r) or"
        " of squared ones (D).</p>"
    )
    return "<h2>How near is too near?</h2>" + text + ("" if redact else _plot_curve(report)) + _table(head, rows)


def _plot_curve(report: AuditReport) -> str:
    curve = _curve(report)
    lines = []
    for shares, style in ((curve["samples"], ""), (curve["held_out"], ' stroke-dasharray="5 4"')):
        if shares is not None:
            points = zip(curve["euclidean_threshold"], shares, strict=True)
            path = " ".join(f"{40 + 460 * x:.1f},{160 - 140 * y:.1f}" for x, y in points)
            lines.append(f'<path d="M{path}"{style}></path>')
    marks = "".join(
        f'<text x="{40 + 460 * x:.0f}" y="178">{name}</text>'
        for x, name in ((0, "0"), (1 / 3, "1/3"), (1 / 2, "1/2"), (1, "1"))
    )
    at = 40 + 460 * (report.threshold if report.convention == "euclidean" else math.sqrt(report.threshold))
    label = "Share of memorized samples (line) and held-out points (dashed) over the threshold of r1/r2"
    return (
        f'<svg viewBox="0 0 520 200" role="img" aria-label="{label}"><line x1="40" x2="500" y1="160" y2="160"/>'
        '<line x1="40" x2="40" y1="20" y2="160"/><text x="20" y="24">100 %</text><text x="26" y="164">0</text>'
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="20" y2="160" stroke-dasharray="1 4"/>'
        + "".join(lines)
        + marks
        + '<text x="270" y="196">threshold of r1/r2 (squared: of D1/D2); held out dashed, the audit\'s dotted</text>'
        "</svg>"
    )


def _pairs(report: AuditReport, sources: Sources) -> str:
    """The most dominant copies, beside their originals where the points are images."""
    order = torch.argsort(report.dominance, descending=True, stable=True)
    chosen = [int(i) for i in order if report.memorized[i]][:PAIRS]
    if not chosen:
        return "<h2>Copied pairs</h2><p>No sample is memorized by this criterion.</p>"
    total = int(report.memorized.sum())
    intro = f"<p>Sample left, training point right; the {len(chosen)} clearest of {total}, by D2/D1.</p>"
    if sources.samples.image_shape is None or sources.samples.image_shape != sources.training.image_shape:
        rows = [(i, *_pair_numbers(report, i)) for i in chosen]
        return "<h2>Copied pairs</h2>" + intro + _table(("sample", "training point", "D1", "D2/D1"), rows)
    low, high = _range(sources.training)
    figures = []
    for i in chosen:
        original, nearest, dominance = _pair_numbers(report, i)
        images = "".join(
            f'<img src="{_picture(part, index, low, high)}" alt="{name} {index}">'
            for part, index, name in ((sources.samples, i, "sample"), (sources.training, original, "training point"))
        )
        caption = (
            f"{_name(sources.samples, i)} → {_name(sources.training, original)}<br>D1 {nearest}, D2/D1 {dominance}"
            + ("" if report.held_out_fraction is None else f", p {report.p_value[i]:.2g}")
        )
        figures.append(f"<figure>{images}<figcaption>{caption}</figcaption></figure>")
    return "<h2>Copied pairs</h2>" + intro + '<div class="pairs">' + "".join(figures) + "</div>"


def _name(part: Loaded, index: int) -> str:
    """A point's file where it has one, else its number."""
    return str(index) if part.files is None else html.escape(part.files[index])


def _pair_numbers(report: AuditReport, sample: int) -> tuple[int, str, str]:
    first, second = report.distance[sample].tolist()
    return int(report.nearest[sample, 0]), f"{first:.3g}", "∞" if first == 0 else f"{second / first:.3g}"


def _pictures(part: Loaded) -> Callable[[int], str]:
    """A small image of a point before its name, where the points are images."""
    if part.image_shape is None:
        return lambda index: ""
    low, high = _range(part)
    return lambda index: f'<img src="{_picture(part, index, low, high)}" alt="">'


def _picture(part: Loaded, index: int, low: float, high: float) -> str:
    pixels = part.pixels(index).astype(np.float64)
    scaled = np.round(255 * np.clip((pixels - low) / max(high - low, 1e-300), 0, 1)).astype(np.uint8)
    image = Image.fromarray(scaled[:, :, 0] if scaled.shape[2] == 1 else scaled)
    factor = max(1, 96 // max(image.size))
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    image.thumbnail((THUMBNAIL, THUMBNAIL))  # only ever makes it smaller
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _most_copied(report: AuditReport, sources: Sources) -> str:
    first = _by_count(report)
    if not first:
        return ""
    pictures = _pictures(sources.training)
    rows = [
        (
            pictures(i) + _name(sources.training, i),
            int(report.memorized_count[i]),
            int(report.assigned[i]),
            _four(report.sparsity[i]),
            _nats(report.coverage.risk[i]),
        )
        for i in first[:LISTED]
    ]
    head = ("training point", "copies", "samples nearest to it", "sparsity", "predicted risk")
    more = f"<p>{len(first)} training points were copied"
    more += f"; the {len(rows)} copied most often (all are in report.json):</p>" if len(first) > len(rows) else ":</p>"
    return "<h2>What was copied</h2>" + more + _table(head, rows)


def _by_sparsity(report: AuditReport) -> str:
    """Rates and dominance by sparsity, with held-out points beside them."""
    bins = report.by_sparsity(BINS, _bin_thresholds(report))
    if not bins:
        return ""
    at = _bin_thresholds(report).index(report.threshold)
    head = ["bin", "sparsity", "samples", "exact", "mean dominance"]
    head += [f"rate below {Fraction(t).limit_denominator(100)}" for t in _bin_thresholds(report)]
    rows = []
    for number, part in enumerate(bins, start=1):
        pooled = zip(part.samples.pooled, part.held_out.pooled if part.held_out else part.samples.pooled, strict=True)
        beside = part.held_out is not None
        cells = [
            _pair(part.samples.dominance, part.held_out.dominance if beside else None, "{:.2f}"),
            *(_pair(ours, theirs if beside else None, "{:.3f}") for ours, theirs in pooled),
            _per_point(part.samples, at),
            *([_per_point(part.held_out, at)] if beside else []),
        ]
        rows.append((number, f"{part.low:#.3g} – {part.high:#.3g}", part.samples.assigned, part.samples.exact, *cells))
    head += ["rate per point", *(["held out per point"] if report.held_out_fraction is not None else [])]
    text = ""
    seen = ~torch.isnan(report.rate)
    rate, sparsity = report.rate[seen].cpu().numpy(), report.sparsity[seen].cpu().numpy()
    if len(rate) > 2 and np.ptp(rate) > 0 and np.ptp(sparsity) > 0:
        rank = spearmanr(sparsity, rate)
        text = f" Rank correlation (Spearman) of rate and sparsity: {rank.statistic:.2f}, p = {rank.pvalue:.1g}."
    distances = "Euclidean" if report.convention == "euclidean" else "squared"
    return (
        "<h2>Sparse points are memorized more?</h2>"
        f"<p>Training points in {BINS} bins by sparsity, and the samples nearest to them: the share below each"
        f" threshold of the ratio of {distances} distances, held-out points after the stroke. The rate per point,"
        f" drawn, is that at {report.threshold:.4g} as the mean over training points that are nearest to a sample, with"
        f" its standard error; the mean dominance log(D2/D1) leaves exact copies out.{text}</p>"
        + _plot([part.samples for part in bins], at)
        + _table(tuple(head), rows)
    )


def _pair(ours: float, theirs: float | None, form: str) -> str:
    """A number of samples, and after a stroke that of held-out points."""
    values = ["–" if math.isnan(value) else form.format(value) for value in (ours, theirs) if value is not None]
    return " | ".join(values)


def _per_point(part: Rates, at: int) -> str:
    mean, error = part.per_point[at], part.per_point_error[at]
    return "–" if math.isnan(mean) else f"{mean:.3f}" + ("" if math.isnan(error) else f" ± {error:.3f}")


def _plot(parts: list[Rates], at: int) -> str:
    drawn = [(j, part.per_point[at], part.per_point_error[at]) for j, part in enumerate(parts) if part.visited]
    drawn = [(j, mean, 0.0 if math.isnan(error) else error) for j, mean, error in drawn]
    if not drawn:
        return ""
    top = max(1e-12, *(mean + error for _, mean, error in drawn))
    marks = []
    for j, mean, error in drawn:
        x = 60 + 46 * j
        low, middle, high = (160 - 140 * max(0.0, v) / top for v in (mean - error, mean, mean + error))
        marks.append(
            f'<line x1="{x}" x2="{x}" y1="{low:.1f}" y2="{high:.1f}"/><circle cx="{x}" cy="{middle:.1f}" r="4"/>'
            f'<text x="{x}" y="178">{j + 1}</text>'
        )
    label = (
        f"Rate of memorization by sparsity bin, from {drawn[0][1]:.3f} in the densest to {drawn[-1][1]:.3f} in the"
        " sparsest"
    )
    return (
        f'<svg viewBox="0 0 520 200" role="img" aria-label="{label}"><line x1="40" x2="500" y1="160" y2="160"/>'
        f'<line x1="40" x2="40" y1="20" y2="160"/><text x="20" y="24">{top:.2g}</text><text x="26" y="164">0</text>'
        + "".join(marks)
        + '<text x="270" y="196">bin of sparsity, densest to sparsest</text></svg>'
    )


def _labels(report: TrainingSurvey) -> str:
    if not report.labels:
        return ""
    audited = isinstance(report, AuditReport)
    rows = []
    for label, part in report.labels.items():
        copies = ()
        if audited:
            shares = _percent(part.fraction), _interval(part.interval), _percent(part.point_rate)
            copies = part.assigned, part.memorized, *shares
        rows.append((html.escape(str(label)), part.training, *copies, _four(part.sparsity), _nats(part.risk)))
    copies = ("samples assigned", "memorized", "share", "95 % interval", "share per point") if audited else ()
    head = ("label", "training", *copies, "sparsity", "predicted risk")
    text = "<p>A sample counts for the label of its nearest training point.</p>" if audited else ""
    return "<h2>By label</h2>" + text + _table(head, rows)


def _most_at_risk(report: TrainingSurvey, sources: Sources) -> str:
    """The points of the largest predicted risk, with their images where there are some."""
    order = _by_risk(report)
    if not order:
        return ""
    audited, pictures = isinstance(report, AuditReport), _pictures(sources.training)
    rows = [
        (
            pictures(i) + _name(sources.training, i),
            _nats(report.coverage.risk[i]),
            f"{report.coverage.critical_sigma[i]:#.4g}",
            f"{report.sparsity[i]:#.4g}",
            *((int(report.memorized_count[i]),) if audited else ()),
        )
        for i in order
    ]
    head = ("training point", "predicted risk", "critical σ", "sparsity", *(("copies",) if audited else ()))
    text = f"<p>The {len(order)} training points with the largest predicted risk, from the training set alone.</p>"
    return "<h2>Most at risk before any training</h2>" + text + _table(head, rows)


def _duplicates(report: TrainingSurvey, sources: Sources) -> str:
    """Which training points are there more than once."""
    if not report.duplicates:
        return ""
    count = torch.bincount(report.duplicate_of, minlength=len(report.duplicate_of))
    order = [int(i) for i in torch.argsort(count, descending=True, stable=True)[:LISTED] if count[i] > 1]
    rows = []
    for i in order:
        others = [j for j in (report.duplicate_of == i).nonzero()[:, 0].tolist() if j != i]
        names = ", ".join(_name(sources.training, j) for j in others[:5])
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        rows.append((_name(sources.training, i), int(count[i]), names + more))
    groups = int((count > 1).sum())
    text = f"<p>{groups} training points are there more than once"
    text += f"; the {len(rows)} most frequent:</p>" if groups > len(rows) else ":</p>"
    return "<h2>Duplicates in the training set</h2>" + text + _table(("training point", "times", "again as"), rows)


def _table(head: tuple[str, ...], rows: list[tuple]) -> str:
    top = "".join(f"<th>{name}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>TITLE</title>
<style>
:root { color-scheme: light dark; background: Canvas; color: CanvasText; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
.lead { font-size: 1.15rem; }
.doubt { border-left: .25rem solid #c60; padding-left: .8rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .8rem; border-bottom: 1px solid #8886; white-space: nowrap; }
.facts th, .facts td { text-align: left; white-space: normal; }
.facts td { overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
.pairs { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; max-width: 100%; } figcaption { font-size: .8rem; max-width: 13rem; overflow-wrap: anywhere; }
td:has(img) { text-align: left; }
img { image-rendering: pixelated; border: 1px solid #8886; }
td img { width: 2.5rem; margin-right: .5rem; vertical-align: middle; }
figure img { width: 6rem; margin-right: .2rem; }
svg { max-width: 34rem; width: 100%; stroke: currentColor; fill: currentColor; }
svg path { fill: none; stroke-width: 2; }
svg text { stroke: none; font-size: 12px; text-anchor: middle; }
@media (max-width: 30rem) {
  th, td { padding: .25rem .4rem; } th { white-space: normal; }
  figure img { width: 4.9rem; }
}
</style>
</head>
<body>
BODY
</body>
</html>
"""
