"""What a report says, as plain values: the page, the text and the JSON are made of these and hold nothing else."""

from __future__ import annotations

import math
from dataclasses import asdict
from fractions import Fraction
from typing import Any

import torch

from ..points.shards import Shards
from .calibration import binomial_interval
from .copies import AuditReport
from .inputs import Sources
from .rates import DISTANCES, THRESHOLDS, criterion
from .remarks import doubts, notes
from .training_set import TrainingSurvey, repeats

__all__ = [
    "copied_points",
    "details",
    "pair_row",
    "per_point",
    "repeated_points",
    "riskiest_points",
    "shares",
    "training_row",
]

BINS = 10
CURVE = tuple(round(0.02 * j, 2) for j in range(1, 50))  # thresholds of the Euclidean ratio


def shares(report: TrainingSurvey, sources: Sources, *, redact: bool = False) -> dict[str, Any]:
    """Shares and counts: all that is left of a report with ``redact``; None where there is no number."""
    found = {
        "format": "diffmem audit 2",
        "redacted": redact,
        "distance": "squared Euclidean, divided by the number of dimensions",
        "doubts": doubts(report, sources, redact=redact),
        "notes": notes(report, sources, redact=redact),
        "standardized": sources.standardized,
        "dim": report.dim,
        "points": {"training": len(report.duplicate_of)},
        "duplicates_in_training": report.duplicates,
    }
    return found | _shares_of_samples(report) if isinstance(report, AuditReport) else found


def _shares_of_samples(report: AuditReport) -> dict[str, Any]:
    """What an audit finds of all samples together."""
    m, total = len(report.memorized), 0 if report.held_out_distance is None else len(report.held_out_distance)
    other = next(name for name in DISTANCES if name != report.convention)
    count, base = report.counts(report.threshold, other)
    return {
        "points": {"training": len(report.duplicate_of), "samples": m, "held_out": total},
        "convention": report.convention,
        "criterion": f"memorized by {criterion(report.convention, report.threshold)}",
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
            "held_out_fraction": None if base is None else base / total,
            "held_out_interval_95": None if base is None else binomial_interval(base, total),
        },
        "thresholds": _at_thresholds(report),
        "excess": finite(report.excess),
        "excess_interval_95": finite(report.excess_interval),
        "fdr": report.fdr,
        "copied_count": int(report.copied.sum()) if total else None,
        "fewest_copies_that_can_be_found": report.fewest,
        "exact_copies": int((report.distance[:, 0] == 0).sum()),
        "held_out_equal_to_training": report.held_out_in_training,
    }


def _at_thresholds(report: AuditReport) -> list[dict[str, Any]]:
    """At each of the usual thresholds the shares of samples and held-out points, by both distances."""
    rows = []
    for threshold in THRESHOLDS:
        row: dict[str, Any] = {"threshold": str(Fraction(threshold).limit_denominator(10))}
        for convention in DISTANCES:
            row[f"{convention}_samples"], row[f"{convention}_held_out"] = _fractions(report, threshold, convention)
        rows.append(row)
    return rows


def _fractions(report: AuditReport, threshold: float, convention: str) -> tuple[float, float | None]:
    """The share of samples and of held-out points, if there are any, below a threshold."""
    count, base = report.counts(threshold, convention)
    held_out = report.held_out_distance
    return count / len(report.memorized), None if base is None or held_out is None else base / len(held_out)


def details(report: TrainingSurvey, sources: Sources) -> dict[str, Any]:
    """Names, and what few points decide: nothing of this stands in a redacted report."""
    parts = {"samples": sources.samples, "training": sources.training, "held_out": sources.held_out}
    coverage = report.coverage
    found: dict[str, Any] = {
        "sources": {name: None if part is None else part.source for name, part in parts.items()},
        "k": report.k,
        "coverage": {"local_dimension": coverage.dimension, "reference_sigma": finite(coverage.reference_sigma)},
        "labels": _labels(report),
    }
    if shards := {name: part.points for name, part in parts.items() if part and isinstance(part.points, Shards)}:
        found["shards"] = {name: points.counts for name, points in shards.items()}
    if isinstance(report, AuditReport):
        ours, theirs = report.rates(_bin_thresholds(report))
        found |= {
            "curve": _curve(report),
            "rates": {"samples": finite(asdict(ours)), "held_out": None if theirs is None else finite(asdict(theirs))},
            "by_sparsity": [finite(asdict(part)) for part in report.by_sparsity(BINS, _bin_thresholds(report))],
        }
    return found


def _labels(report: TrainingSurvey) -> dict[str, dict[str, Any]]:
    """What is known of each label."""
    found: dict[str, dict[str, Any]] = {
        str(label): {
            "training": part.training,
            "mean_sparsity": finite(part.sparsity),
            "mean_predicted_risk": finite(part.risk),
        }
        for label, part in report.labels.items()
    }
    for label, audited in report.labels.items() if isinstance(report, AuditReport) else ():
        found[str(label)] |= {
            "assigned": audited.assigned,
            "memorized": audited.memorized,
            "fraction": finite(audited.fraction),
            "interval_95": audited.interval,
            "fraction_per_point": finite(audited.point_rate),
            "held_out_fraction": finite(audited.held_out_fraction),
        }
    return found


def _curve(report: AuditReport) -> dict[str, Any]:
    """The share of memorized samples and held-out points over thresholds of the Euclidean ratio."""
    samples, held_out = zip(*(_fractions(report, threshold, "euclidean") for threshold in CURVE), strict=True)
    return {
        "euclidean_threshold": list(CURVE),
        "squared_threshold": [threshold**2 for threshold in CURVE],
        "samples": list(samples),
        "held_out": None if None in held_out else list(held_out),
    }


def _bin_thresholds(report: AuditReport) -> tuple[float, ...]:
    """The usual thresholds, and the audit's own."""
    return tuple(sorted({*THRESHOLDS, report.threshold}))


def per_point(report: TrainingSurvey, sources: Sources) -> dict[str, Any]:
    """One entry for each sample and each training point, and the files they came from."""
    parts = {"samples": sources.samples, "training": sources.training, "held_out": sources.held_out}
    files = {name: None if part is None or part.files is None else list(part.files) for name, part in parts.items()}
    training = {
        "sparsity": finite(report.sparsity.tolist()),
        "predicted_risk": finite(report.coverage.risk.tolist()),
        "critical_sigma": finite(report.coverage.critical_sigma.tolist()),
        "duplicate_of": report.duplicate_of.tolist(),
    }
    if not isinstance(report, AuditReport):
        return {"files": files, "training": training}
    training |= {
        "assigned": report.assigned.tolist(),
        "copies": report.memorized_count.tolist(),
        "rate": finite(report.rate.tolist()),
    }
    samples = {
        "memorized": report.memorized.tolist(),
        "copied": report.copied.tolist(),
        "p_value": finite(report.p_value.tolist()),
        "nearest": report.nearest[:, 0].tolist(),
        "second": report.nearest[:, 1].tolist(),
        "d1": report.distance[:, 0].tolist(),
        "d2": report.distance[:, 1].tolist(),
    }
    return {"files": files, "training": training, "samples": samples}


def copied_points(report: AuditReport) -> list[int]:
    """The training points that samples are memorized from, the most frequent first, equal ones once."""
    count = report.memorized_count.masked_fill(repeats(report.duplicate_of), 0)
    order = torch.argsort(count, descending=True, stable=True)
    return order[: int((count > 0).sum())].tolist()


def riskiest_points(report: TrainingSurvey) -> list[int]:
    """The training points by predicted risk, the largest first, equal ones once."""
    risk = report.coverage.risk.masked_fill(repeats(report.duplicate_of), torch.nan)
    order = torch.argsort(risk.nan_to_num(nan=-math.inf), descending=True, stable=True)
    return order[: int((~risk.isnan()).sum())].tolist()


def repeated_points(report: TrainingSurvey) -> list[int]:
    """The training points that are there more than once, the most frequent first."""
    count = torch.bincount(report.duplicate_of, minlength=len(report.duplicate_of))
    return torch.argsort(count, descending=True, stable=True)[: int((count > 1).sum())].tolist()


def training_row(report: TrainingSurvey, point: int) -> dict[str, Any]:
    """What a table says of one training point."""
    row = {
        "point": point,
        "sparsity": float(report.sparsity[point]),
        "risk": float(report.coverage.risk[point]),
        "critical_sigma": float(report.coverage.critical_sigma[point]),
    }
    if isinstance(report, AuditReport):
        row |= {"copies": int(report.memorized_count[point]), "assigned": int(report.assigned[point])}
    return row


def pair_row(report: AuditReport, sample: int) -> dict[str, Any]:
    """What a table says of one sample and the training point nearest to it."""
    d1, d2 = report.distance[sample].tolist()
    p = float(report.p_value[sample])
    return {"sample": sample, "point": int(report.nearest[sample, 0]), "d1": d1, "d2": d2, "p": p}


def finite(value: Any) -> Any:
    """``value``, a number or nested lists and dictionaries of such, with None for what is not finite."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
