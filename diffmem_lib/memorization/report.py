"""The audit report as text, as JSON and as one self-contained HTML page."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import os
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.stats import spearmanr

from .copies import AuditReport
from .inputs import Loaded

__all__ = ["Sources", "as_html", "as_json", "as_text", "write_reports"]

PAIRS = 48
BINS = 10


@dataclass(frozen=True)
class Sources:
    """What was audited, to name it and to show its images."""

    samples: Loaded
    training: Loaded
    held_out: Loaded | None = None


def as_text(report: AuditReport, sources: Sources) -> str:
    """A page of plain text for the terminal."""
    lines = [
        f"samples   {sources.samples.source}: {len(report.memorized)} points of {report.dim} numbers",
        f"training  {sources.training.source}: {len(report.sparsity)} points, {report.duplicates} of them duplicates",
        f"memorized {_share(report.fraction, report.interval)}",
    ]
    if report.held_out_fraction is not None:
        lines.append(f"held out  {_share(report.held_out_fraction, report.held_out_interval)} (the baseline)")
        if report.held_out_in_training:
            lines.append(f"          {report.held_out_in_training} held-out points are equal to training points")
    copied = torch.argsort(report.copied, descending=True, stable=True)
    top = [int(i) for i in copied[:200] if report.copied[i] and report.duplicate_of[i] == i][:5]
    if top:
        lines += ["", "copied most often   point  copies  of samples nearest to it   predicted risk"]
        lines += [
            f"{'':18}{i:7d} {int(report.copied[i]):7d} {int(report.assigned[i]):27d} {_nats(report.coverage.risk[i])}"
            for i in top
        ]
    if report.labels:
        lines += ["", "label             training  assigned  memorized   share   95 % interval     sparsity"]
        for label, part in report.labels.items():
            low, high = part.interval
            lines.append(
                f"{str(label)[:16]:16} {part.training:9d} {part.assigned:9d} {part.memorized:10d}"
                f" {_percent(part.fraction):>7}   {_percent(low)} to {_percent(high):8} {part.sparsity:12.4g}"
            )
    for note in _notes(report, sources):
        lines += ["", *textwrap.wrap(note, 80)]
    return "\n".join(lines) + "\n"


def as_json(report: AuditReport, sources: Sources) -> str:
    """All numbers, one entry for each sample and each training point; null where there is none."""
    coverage = report.coverage
    document = {
        "format": "diffmem audit 1",
        "distance": "squared Euclidean, divided by the number of dimensions",
        "criterion": f"memorized if D1/D2 < {report.threshold:g} (Euclidean ratio < {math.sqrt(report.threshold):g})",
        "notes": _notes(report, sources),
        "sources": {
            "samples": sources.samples.source,
            "training": sources.training.source,
            "held_out": None if sources.held_out is None else sources.held_out.source,
        },
        "dim": report.dim,
        "k": report.k,
        "threshold": report.threshold,
        "memorized_fraction": report.fraction,
        "memorized_interval_95": report.interval,
        "held_out_fraction": report.held_out_fraction,
        "held_out_interval_95": report.held_out_interval,
        "held_out_equal_to_training": report.held_out_in_training,
        "duplicates_in_training": report.duplicates,
        "coverage": {"local_dimension": coverage.dimension, "reference_sigma": _number(coverage.reference_sigma)},
        "labels": {
            str(label): {
                "training": part.training,
                "assigned": part.assigned,
                "memorized": part.memorized,
                "fraction": _number(part.fraction),
                "interval_95": part.interval,
                "mean_sparsity": _number(part.sparsity),
                "mean_predicted_risk": _number(part.risk),
            }
            for label, part in report.labels.items()
        },
        "samples": {
            "memorized": report.memorized.tolist(),
            "nearest": report.nearest[:, 0].tolist(),
            "second": report.nearest[:, 1].tolist(),
            "d1": report.distance[:, 0].tolist(),
            "d2": report.distance[:, 1].tolist(),
        },
        "files": {
            name: None if part.files is None else list(part.files)
            for name, part in (("samples", sources.samples), ("training", sources.training))
        },
        "training": {
            "sparsity": report.sparsity.tolist(),
            "predicted_risk": [_number(v) for v in coverage.risk.tolist()],
            "critical_sigma": [_number(v) for v in coverage.critical_sigma.tolist()],
            "assigned": report.assigned.tolist(),
            "copies": report.copied.tolist(),
            "rate": [_number(v) for v in report.rate.tolist()],
            "duplicate_of": report.duplicate_of.tolist(),
        },
    }
    return json.dumps(document, allow_nan=False, indent=1) + "\n"


def as_html(report: AuditReport, sources: Sources) -> str:
    """One page without references to anything outside it."""
    body = [
        "<h1>What these samples copied</h1>",
        f'<p class="lead"><strong>{_percent(report.fraction)}</strong> of {len(report.memorized)} samples are memorized'
        f" ({_interval(report.interval)}, 95 % confidence).{_baseline(report)}</p>",
        _facts(report, sources),
        _pairs(report, sources),
        _most_copied(report, sources),
        _rates(report),
        _labels(report),
        _most_at_risk(report, sources),
        "<h2>How to read this</h2>",
        *(f"<p>{html.escape(note)}</p>" for note in _notes(report, sources)),
    ]
    return PAGE.replace("BODY", "\n".join(part for part in body if part))


def write_reports(report: AuditReport, sources: Sources, folder: Path) -> list[Path]:
    """Write ``report.html`` and ``report.json`` into a folder, each complete or not at all."""
    texts = {"report.html": as_html(report, sources), "report.json": as_json(report, sources)}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as hidden:
        for name, text in texts.items():
            (Path(hidden) / name).write_text(text, encoding="utf-8")
        for name in texts:
            os.replace(Path(hidden) / name, folder / name)
    return [folder / name for name in texts]


def _notes(report: AuditReport, sources: Sources) -> list[str]:
    """What the numbers mean and what they do not."""
    coverage = report.coverage
    notes = [
        f"D is the squared Euclidean distance per dimension. A sample is memorized if D1/D2 < {report.threshold:.4g},"
        " D1 to its nearest training point, D2 to the nearest one of another value; as a ratio of Euclidean distances"
        f" the threshold is {math.sqrt(report.threshold):.4g}.",
        f"Sparsity is the mean D of a training point to its {report.k} nearest others.",
        "Distance between pixels is not perception: a copy that is shifted, mirrored or recoloured is far away, and two"
        " blurred images are near. Where it matters, audit embeddings: any array will do.",
    ]
    if not math.isnan(coverage.reference_sigma):
        notes.append(
            "Predicted risk is minus the log of the local coverage n p(x) (2πeσ²)^(D/2), in nats, at the noise level"
            f" σ = {coverage.reference_sigma:.4g} where half of the training points are beyond the criterion. It uses"
            f" the training set alone. The density comes from {report.k} neighbours in the {coverage.dimension}"
            " dimensions that they span (one number for all points) and is taken to be flat among them. The criterion"
            " is that of the exact empirical score; a trained network is smoother. The order of the points means more"
            " than the values."
        )
    if report.duplicates:
        notes.append(
            f"Duplicates in the training set: {report.duplicates}. Equal points share their counts, are neighbours at"
            " distance zero in the sparsity, and are passed over in D2 and in the estimate of the density. What a data"
            " set repeats, models memorize more than this prediction says."
        )
    ranges = [_range(part) for part in (sources.samples, sources.training)]
    if ranges[0][0] >= 0 > ranges[1][0] or ranges[1][0] >= 0 > ranges[0][0] or _spread(ranges[0], ranges[1]) > 4:
        notes.append(
            "Are both scaled alike? The first samples lie between {:.4g} and {:.4g}, the first training points"
            " between {:.4g} and {:.4g}.".format(*ranges[0], *ranges[1])
        )
    return notes


def _range(part: Loaded) -> tuple[float, float]:
    head = part.points[:1000]
    return float(head.min()), float(head.max())


def _spread(one: tuple[float, float], other: tuple[float, float]) -> float:
    a, b = (max(high - low, 1e-300) for low, high in (one, other))
    return max(a / b, b / a)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def _interval(interval: tuple[float, float]) -> str:
    return f"{_percent(interval[0])} to {_percent(interval[1])}"


def _share(share: float, interval: tuple[float, float]) -> str:
    return f"{_percent(share)}, 95 % interval {_interval(interval)}"


def _nats(risk: torch.Tensor) -> str:
    return "     –" if math.isnan(risk) else f"{float(risk):+16.2f} nats"


def _baseline(report: AuditReport) -> str:
    if report.held_out_fraction is None:
        return " No held-out data were given, so there is no baseline to compare with."
    text = (
        f" Of held-out data, which were not trained on, the same criterion says {_percent(report.held_out_fraction)}"
        f" ({_interval(report.held_out_interval)})."
    )
    if report.held_out_in_training:
        text += f" {report.held_out_in_training} held-out points are equal to training points."
    return text


def _facts(report: AuditReport, sources: Sources) -> str:
    rows = [
        ("samples", f"{html.escape(sources.samples.source)}: {len(report.memorized)}"),
        ("training points", f"{html.escape(sources.training.source)}: {len(report.sparsity)}"),
        ("duplicates among them", str(report.duplicates)),
        ("dimensions", str(report.dim)),
        ("criterion", f"D1/D2 &lt; {report.threshold:.4g} (squared distances)"),
        ("exact copies", str(int((report.distance[:, 0] == 0).sum()))),
    ]
    if sources.held_out is not None:
        rows.insert(2, ("held out", html.escape(sources.held_out.source)))
    return "<table class='facts'>" + "".join(f"<tr><th>{a}</th><td>{b}</td></tr>" for a, b in rows) + "</table>"


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
        )
        figures.append(f"<figure>{images}<figcaption>{caption}</figcaption></figure>")
    return "<h2>Copied pairs</h2>" + intro + '<div class="pairs">' + "".join(figures) + "</div>"


def _name(part: Loaded, index: int) -> str:
    """A point's file where it has one, else its number."""
    return str(index) if part.files is None else html.escape(part.files[index])


def _pair_numbers(report: AuditReport, sample: int) -> tuple[int, str, str]:
    first, second = report.distance[sample].tolist()
    return int(report.nearest[sample, 0]), f"{first:.3g}", "∞" if first == 0 else f"{second / first:.3g}"


def _picture(part: Loaded, index: int, low: float, high: float) -> str:
    pixels = np.asarray(part.points[index], dtype=np.float64).reshape(part.image_shape)
    scaled = np.round(255 * np.clip((pixels - low) / max(high - low, 1e-300), 0, 1)).astype(np.uint8)
    image = Image.fromarray(scaled[:, :, 0] if scaled.shape[2] == 1 else scaled)
    factor = max(1, 96 // max(image.size))
    buffer = io.BytesIO()
    image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _most_copied(report: AuditReport, sources: Sources) -> str:
    order = torch.argsort(report.copied, descending=True, stable=True)
    first = [int(i) for i in order if report.copied[i] and report.duplicate_of[i] == i]
    if not first:
        return ""
    rows = [
        (
            _name(sources.training, i),
            int(report.copied[i]),
            int(report.assigned[i]),
            f"{report.sparsity[i]:.4g}",
            _nats(report.coverage.risk[i]),
        )
        for i in first[:20]
    ]
    head = ("training point", "copies", "samples nearest to it", "sparsity", "predicted risk")
    more = f"<p>{len(first)} training points were copied; the {len(rows)} copied most often:</p>"
    return "<h2>What was copied</h2>" + more + _table(head, rows)


def _rates(report: AuditReport) -> str:
    """The rate of memorization by sparsity, in bins of equally many training points that were ever nearest."""
    seen = ~torch.isnan(report.rate)
    rate, sparsity = report.rate[seen].cpu().numpy(), report.sparsity[seen].cpu().numpy()
    if len(rate) < 2 * BINS or np.ptp(sparsity) == 0:
        return ""
    parts = np.array_split(np.argsort(sparsity, kind="stable"), BINS)
    means = [float(rate[part].mean()) for part in parts]
    errors = [float(rate[part].std(ddof=1) / math.sqrt(len(part))) for part in parts]
    edges = [f"{sparsity[part].min():.3g} – {sparsity[part].max():.3g}" for part in parts]
    rows = [
        (j + 1, edge, f"{m:.3f} ± {e:.3f}") for j, (edge, m, e) in enumerate(zip(edges, means, errors, strict=True))
    ]
    text = ""
    if np.ptp(rate) > 0:
        rank = spearmanr(sparsity, rate)
        text = f" Rank correlation (Spearman) of rate and sparsity: {rank.statistic:.2f}, p = {rank.pvalue:.1g}."
    return (
        "<h2>Sparse points are memorized more?</h2>"
        f"<p>Training points that are the nearest of some sample, in {BINS} bins by sparsity: mean rate and its"
        f" standard error.{text}</p>" + _plot(means, errors) + _table(("bin", "sparsity", "rate"), rows)
    )


def _plot(means: list[float], errors: list[float]) -> str:
    top = max(1e-12, *(m + e for m, e in zip(means, errors, strict=True)))
    marks = []
    for j, (mean, error) in enumerate(zip(means, errors, strict=True)):
        x = 60 + 46 * j
        low, middle, high = (160 - 140 * max(0.0, v) / top for v in (mean - error, mean, mean + error))
        marks.append(
            f'<line x1="{x}" x2="{x}" y1="{low:.1f}" y2="{high:.1f}"/><circle cx="{x}" cy="{middle:.1f}" r="4"/>'
            f'<text x="{x}" y="178">{j + 1}</text>'
        )
    label = (
        f"Rate of memorization by sparsity bin, from {means[0]:.3f} in the densest to {means[-1]:.3f} in the sparsest"
    )
    return (
        f'<svg viewBox="0 0 520 200" role="img" aria-label="{label}"><line x1="40" x2="500" y1="160" y2="160"/>'
        f'<line x1="40" x2="40" y1="20" y2="160"/><text x="20" y="24">{top:.2g}</text><text x="26" y="164">0</text>'
        + "".join(marks)
        + '<text x="270" y="196">bin of sparsity, densest to sparsest</text></svg>'
    )


def _labels(report: AuditReport) -> str:
    if not report.labels:
        return ""
    rows = [
        (
            html.escape(str(label)),
            part.training,
            part.assigned,
            part.memorized,
            _percent(part.fraction),
            _interval(part.interval),
            f"{part.sparsity:.4g}",
            _nats(torch.tensor(part.risk)),
        )
        for label, part in report.labels.items()
    ]
    head = (
        "label",
        "training",
        "samples assigned",
        "memorized",
        "share",
        "95 % interval",
        "sparsity",
        "predicted risk",
    )
    return "<h2>By label</h2><p>A sample counts for the label of its nearest training point.</p>" + _table(head, rows)


def _most_at_risk(report: AuditReport, sources: Sources) -> str:
    risk = report.coverage.risk.nan_to_num(nan=-math.inf)
    order = [int(i) for i in torch.argsort(risk, descending=True, stable=True)[:20] if risk[i] > -math.inf]
    if not order:
        return ""
    rows = [
        (
            _name(sources.training, i),
            _nats(risk[i]),
            f"{report.coverage.critical_sigma[i]:.4g}",
            f"{report.sparsity[i]:.4g}",
            int(report.copied[i]),
        )
        for i in order
    ]
    head = ("training point", "predicted risk", "critical σ", "sparsity", "copies")
    return "<h2>Most at risk before any training</h2>" + _table(head, rows)


def _table(head: tuple[str, ...], rows: list[tuple]) -> str:
    top = "".join(f"<th>{name}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Memorization audit</title>
<style>
:root { color-scheme: light dark; background: Canvas; color: CanvasText; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
.lead { font-size: 1.15rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .8rem; border-bottom: 1px solid #8886; white-space: nowrap; }
.facts th, .facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
.pairs { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; } figcaption { font-size: .8rem; }
figure img { width: 6rem; margin-right: .2rem; image-rendering: pixelated; border: 1px solid #8886; }
svg { max-width: 34rem; width: 100%; stroke: currentColor; fill: currentColor; }
svg text { stroke: none; font-size: 12px; text-anchor: middle; }
</style>
</head>
<body>
BODY
</body>
</html>
"""
