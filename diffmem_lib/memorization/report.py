"""The report of an audit, or of a training set alone, as text, as JSON and as one self-contained HTML page."""

from __future__ import annotations

import json
import math
import os
import tempfile
import textwrap
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch
from scipy.stats import spearmanr

from ..points.shards import Names, Shards
from .copies import AuditReport
from .findings import (
    copied_points,
    details,
    pair_row,
    per_point,
    repeated_points,
    riskiest_points,
    shares,
    training_row,
)
from .inputs import Loaded, Sources
from .rates import criterion
from .training_set import TrainingSurvey

__all__ = ["as_html", "as_json", "as_text", "write_reports"]

PAIRS = 48
LISTED = 20


def as_text(report: TrainingSurvey, sources: Sources, *, redact: bool = False) -> str:
    """A page of plain text for the terminal; with ``redact``, only shares and counts."""
    return _render("report.txt", _values(report, sources, redact))


def as_html(report: TrainingSurvey, sources: Sources, *, redact: bool = False) -> str:
    """One page without references to anything outside it; with ``redact``, only shares and counts."""
    values = _values(report, sources, redact)
    return _render("report.html", values if redact else values | _shown(values, report, sources))


def as_json(report: TrainingSurvey, sources: Sources, *, redact: bool = False) -> str:
    """All numbers, one entry for each sample and each training point; null where there is none.

    With ``redact``, only shares and counts: no names, and nothing that belongs to one point.
    """
    document = shares(report, sources, redact=redact)
    if not redact:
        document |= details(report, sources) | per_point(report, sources)
    return json.dumps(document, allow_nan=False, indent=1) + "\n"


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


def _values(report: TrainingSurvey, sources: Sources, redact: bool) -> dict[str, Any]:
    """What both templates are filled with; with ``redact`` nothing but shares and counts."""
    values = shares(report, sources, redact=redact) | {"audited": isinstance(report, AuditReport)}
    if isinstance(report, AuditReport):
        values["discoveries"] = _discoveries(report)
    if redact:
        return values
    values |= details(report, sources) | {
        "name": {"training": _names(sources.training)},
        "riskiest": [training_row(report, i) for i in riskiest_points(report)[:LISTED]],
        "spread": np.quantile(report.sparsity.cpu().numpy(), [0.1, 0.5, 0.9]).tolist(),
    }
    if isinstance(report, AuditReport):
        copied = copied_points(report)
        values |= {
            "at": values["rates"]["samples"]["thresholds"].index(report.threshold),
            "copied": [training_row(report, i) for i in copied[:LISTED]],
            "copied_points": len(copied),
        }
    return values


def _names(part: Loaded) -> Sequence[Any] | Names:
    """What each point of a set is called: its file where it has one, else its number, in a shard where it is in one."""
    if isinstance(part.points, Shards):
        return part.points.names
    return range(len(part.points)) if part.files is None else part.files


def _discoveries(report: AuditReport) -> str:
    """How many copies were found at the false discovery rate, or why none can be."""
    m = len(report.memorized)
    text = f"{int(report.copied.sum())} samples, at a false discovery rate of {report.fdr:.4g}"
    fewest, too_small = report.fewest or 0, "the held-out set is too small"
    if report.classes > 1:
        too_small = "within classes, as p-values are, the held-out sets are too small"
    if fewest > m:
        return f"{text}: {too_small} to find any among {m} samples"
    if fewest > 1 and not report.copied.any():
        return f"{text}: {too_small} to find fewer than {fewest} among {m}"
    return text


def _shown(values: dict[str, Any], report: TrainingSurvey, sources: Sources) -> dict[str, Any]:
    """What only the page has: images, figures, copied pairs, and what the training set repeats."""
    from .figures import curve_figure, picture, sparsity_figure  # here, as matplotlib takes a while to load

    training, samples = sources.training, sources.samples
    repeated = repeated_points(report)
    shown: dict[str, Any] = {
        "repeated": [(i, _equals(report, i)) for i in repeated[:LISTED]],
        "repeated_points": len(repeated),
        "training_image": None if training.image_shape is None else picture(training),
    }
    if samples is None or not isinstance(report, AuditReport):
        return shown
    order = torch.argsort(report.dominance, descending=True, stable=True)
    order = order[report.memorized[order]]
    comparable = samples.image_shape is not None and samples.image_shape == training.image_shape
    euclidean = report.threshold if report.convention == "euclidean" else report.threshold**0.5
    bins = values["by_sparsity"]
    return shown | {
        "name": {"training": _names(training), "samples": _names(samples)},
        "memorized_samples": len(order),
        "pairs": [pair_row(report, i) for i in order[:PAIRS].tolist()],
        "sample_image": picture(samples, like=training) if comparable else None,
        "curve_figure": curve_figure(values["curve"], euclidean),
        "sparsity_figure": sparsity_figure(bins, values["at"]) if bins else None,
        "rank": _rank(report),
    }


def _equals(report: TrainingSurvey, point: int) -> list[int]:
    """The other training points that are equal to this one."""
    return [i for i in (report.duplicate_of == point).nonzero()[:, 0].tolist() if i != point]


def _rank(report: AuditReport) -> tuple[float, float] | None:
    """Spearman's rank correlation of rate and sparsity, with its p-value, where both vary."""
    seen = ~torch.isnan(report.rate)
    rate, sparsity = report.rate[seen].cpu().numpy(), report.sparsity[seen].cpu().numpy()
    if len(rate) <= 2 or np.ptp(rate) == 0 or not np.ptp(sparsity) > 0:
        return None
    rank = spearmanr(sparsity, rate)
    return float(rank.statistic), float(rank.pvalue)


def _render(template: str, values: dict[str, Any]) -> str:
    """A template of this package, filled in; what is put into HTML is escaped, and what is missing is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("diffmem_lib.memorization", "templates"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "fraction": lambda value, most: str(Fraction(value).limit_denominator(most)),
        "nats": lambda value: _number(value, "+.2f", " nats"),
        "number": _number,
        "percent": _percent,
        "wrapped": lambda text, first="", rest="": textwrap.fill(
            text, 80, initial_indent=first, subsequent_indent=rest
        ),
    }
    environment.globals |= {"criterion_of": criterion, "interval": _interval}
    return environment.get_template(template).render(values)


def _number(value: float | None, form: str, unit: str = "") -> str:
    """A number in a format, or a dash where there is none; with a minus sign, not a hyphen."""
    if value is None or math.isnan(value):
        return "–"
    text = f"{value:{form}}{unit}"
    return f"−{text[1:]}" if text.startswith("-") else text


def _percent(share: float | None) -> str:
    return _number(None if share is None else 100 * share, ".1f", " %")


def _interval(ends: tuple[float | None, float | None]) -> str:
    return f"{_percent(ends[0])} to {_percent(ends[1])}"
