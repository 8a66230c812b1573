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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.stats import spearmanr

from .copies import AuditReport
from .inputs import Loaded
from .training_set import TrainingSurvey, repeats

__all__ = ["Sources", "as_html", "as_json", "as_text", "write_reports"]

PAIRS = 48
LISTED = 20
THUMBNAIL = 192  # pixels a side: shown are half as many, on dense screens all
BINS = 10


@dataclass(frozen=True)
class Sources:
    """What was audited, to name it and to show its images; without samples, a training set alone."""

    training: Loaded
    samples: Loaded | None = None
    held_out: Loaded | None = None


def as_text(report: TrainingSurvey, sources: Sources) -> str:
    """A page of plain text for the terminal."""
    files = sources.training.files
    name = str if files is None else files.__getitem__
    training = f"{sources.training.source}: {len(report.sparsity)} points"
    if isinstance(report, AuditReport):
        lines = [
            f"samples   {sources.samples.source}: {len(report.memorized)} points of {report.dim} numbers",
            f"training  {training}, {report.duplicates} of them duplicates",
            *_shares_as_text(report),
        ]
        rest = _copies_as_text(report, name)
    else:
        low, middle, high = report.sparsity.quantile(report.sparsity.new_tensor([0.1, 0.5, 0.9])).tolist()
        lines = [
            f"training  {training} of {report.dim} numbers, {report.duplicates} of them duplicates",
            f"sparsity  median {middle:.4g}, from {low:.4g} to {high:.4g} for the middle 80 % of the points",
        ]
        rest = _risk_as_text(report, name)
    for doubt in doubts(report, sources):
        lines += textwrap.wrap(doubt, 80, initial_indent="doubt     ", subsequent_indent=" " * 10)
    lines += rest
    for note in _notes(report, sources):
        lines += ["", *textwrap.wrap(note, 80)]
    return "\n".join(lines) + "\n"


def doubts(report: TrainingSurvey, sources: Sources) -> list[str]:
    """What may make the numbers mean something else than they seem to: to be read first."""
    found = []
    parts = {"training points": sources.training, "samples": sources.samples, "held-out points": sources.held_out}
    given = {name: part for name, part in parts.items() if part is not None}
    for name, part in given.items():
        if part.unread:
            found.append(f"Not read in {part.source}: {part.unread}.")
        if part is not sources.training and _differ(part, sources.training):
            found.append(
                f"Are {name} and training points scaled alike? Of the first {name} nine tenths lie between"
                " {:.4g} and {:.4g}, of the first training points between {:.4g} and {:.4g}.".format(
                    *_middle(part), *_middle(sources.training)
                )
            )
    if len({part.image_shape for part in given.values()}) > 1 and sources.training.points.shape[1] > 1:
        found.append(
            "Some points are images and some are rows of numbers; they are compared number by number, in the order in"
            " which both are given."
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


def _shares_as_text(report: AuditReport) -> list[str]:
    lines = [f"memorized {_share(report.fraction, report.interval)}"]
    if report.held_out_fraction is None:
        lines.append("held out  none given, so there is no baseline to compare with")
    else:
        lines.append(f"held out  {_share(report.held_out_fraction, report.held_out_interval)} (the baseline)")
        if report.held_out_in_training:
            lines.append(f"          {report.held_out_in_training} held-out points are equal to training points")
    return lines


def _copies_as_text(report: AuditReport, name: Callable[[int], str]) -> list[str]:
    lines = []
    copied = torch.argsort(report.copied, descending=True, stable=True)
    top = [int(i) for i in copied[:200] if report.copied[i] and report.duplicate_of[i] == i][:5]
    if top:
        lines += ["", "copied most often   copies  of samples nearest to it   predicted risk   training point"]
        lines += [
            f"{int(report.copied[i]):26d} {int(report.assigned[i]):25d} {_nats(report.coverage.risk[i])}   {name(i)}"
            for i in top
        ]
    if report.labels:
        lines += ["", "label             training  assigned  memorized   share   95 % interval     sparsity"]
        for label, part in report.labels.items():
            low, high = part.interval
            lines.append(
                f"{str(label)[:16]:16} {part.training:9d} {part.assigned:9d} {part.memorized:10d}"
                f" {_percent(part.fraction):>7}   {_percent(low)} to {_percent(high):8} {part.sparsity:#12.4g}"
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


def _by_risk(report: TrainingSurvey) -> list[int]:
    """The training points with the largest predicted risk, equal ones once."""
    risk = report.coverage.risk.masked_fill(repeats(report.duplicate_of), torch.nan).nan_to_num(nan=-math.inf)
    order = torch.argsort(risk, descending=True, stable=True)[:LISTED]
    return [int(i) for i in order if risk[i] > -math.inf]


def as_json(report: TrainingSurvey, sources: Sources) -> str:
    """All numbers, one entry for each sample and each training point; null where there is none."""
    coverage = report.coverage
    audited = isinstance(report, AuditReport)
    parts = {"samples": sources.samples, "training": sources.training, "held_out": sources.held_out}
    document = {
        "format": "diffmem audit 1",
        "distance": "squared Euclidean, divided by the number of dimensions",
        "doubts": doubts(report, sources),
        "notes": _notes(report, sources),
        "sources": {name: None if part is None else part.source for name, part in parts.items()},
        "files": {
            name: None if part is None or part.files is None else list(part.files) for name, part in parts.items()
        },
        "dim": report.dim,
        "k": report.k,
        "duplicates_in_training": report.duplicates,
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
            "sparsity": report.sparsity.tolist(),
            "predicted_risk": [_number(v) for v in coverage.risk.tolist()],
            "critical_sigma": [_number(v) for v in coverage.critical_sigma.tolist()],
            "duplicate_of": report.duplicate_of.tolist(),
        },
    }
    if audited:
        _add_copies(document, report)
    return json.dumps(document, allow_nan=False, indent=1) + "\n"


def _add_copies(document: dict, report: AuditReport) -> None:
    """What an audit knows beyond a survey of the training set."""
    document |= {
        "criterion": f"memorized if D1/D2 < {report.threshold:g} (Euclidean ratio < {math.sqrt(report.threshold):g})",
        "threshold": report.threshold,
        "memorized_fraction": report.fraction,
        "memorized_interval_95": report.interval,
        "held_out_fraction": report.held_out_fraction,
        "held_out_interval_95": report.held_out_interval,
        "held_out_equal_to_training": report.held_out_in_training,
        "samples": {
            "memorized": report.memorized.tolist(),
            "nearest": report.nearest[:, 0].tolist(),
            "second": report.nearest[:, 1].tolist(),
            "d1": report.distance[:, 0].tolist(),
            "d2": report.distance[:, 1].tolist(),
        },
    }
    document["training"] |= {
        "assigned": report.assigned.tolist(),
        "copies": report.copied.tolist(),
        "rate": [_number(v) for v in report.rate.tolist()],
    }
    for label, part in report.labels.items():
        document["labels"][str(label)] |= {
            "assigned": part.assigned,
            "memorized": part.memorized,
            "fraction": _number(part.fraction),
            "interval_95": part.interval,
        }


def as_html(report: TrainingSurvey, sources: Sources) -> str:
    """One page without references to anything outside it."""
    if isinstance(report, AuditReport):
        title = "What these samples copied"
        body = [
            f'<p class="lead"><strong>{_percent(report.fraction)}</strong> of {len(report.memorized)} samples are'
            f" memorized ({_interval(report.interval)}, 95 % confidence).{_baseline(report)}</p>",
            _facts(report, sources),
            _pairs(report, sources),
            _most_copied(report, sources),
            _rates(report),
        ]
    else:
        title = "What is at risk of being memorized"
        body = [
            f'<p class="lead">{len(report.sparsity)} training points, {report.duplicates} of which repeat an earlier'
            " one, and what can be said of them before any training. No samples were given, so nothing here says what"
            " a model copied.</p>",
            _facts(report, sources),
        ]
    body.insert(1, "".join(f'<p class="doubt">{html.escape(doubt)}</p>' for doubt in doubts(report, sources)))
    body += [
        _labels(report),
        _most_at_risk(report, sources),
        _duplicates(report, sources),
        "<h2>How to read this</h2>",
        *(f"<p>{html.escape(note)}</p>" for note in _notes(report, sources)),
    ]
    page = PAGE.replace("TITLE", title)
    return page.replace("BODY", "\n".join(part for part in (f"<h1>{title}</h1>", *body) if part))


def write_reports(report: TrainingSurvey, sources: Sources, folder: Path) -> list[Path]:
    """Write ``report.html`` and ``report.json`` into a folder, each complete or not at all."""
    texts = {"report.html": as_html(report, sources), "report.json": as_json(report, sources)}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as hidden:
        for name, text in texts.items():
            (Path(hidden) / name).write_text(text, encoding="utf-8")
        for name in texts:
            os.replace(Path(hidden) / name, folder / name)
    return [folder / name for name in texts]


def _notes(report: TrainingSurvey, sources: Sources) -> list[str]:
    """What the numbers mean and what they do not."""
    coverage = report.coverage
    notes = []
    if isinstance(report, AuditReport):
        notes += [
            "D is the squared Euclidean distance per dimension. A sample is memorized if D1/D2 <"
            f" {report.threshold:.4g}, D1 to its nearest training point, D2 to the nearest one of another value; as a"
            f" ratio of Euclidean distances the threshold is {math.sqrt(report.threshold):.4g}.",
            f"Sparsity is the mean D of a training point to its {report.k} nearest others.",
        ]
    else:
        notes.append(
            f"Sparsity is the mean squared Euclidean distance per dimension of a training point to its {report.k}"
            " nearest others."
        )
    notes.append(
        "Distance between pixels is not perception: a copy that is shifted, mirrored or recoloured is far away, and two"
        " blurred images are near. Where it matters, audit embeddings: any array will do."
    )
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


def _middle(part: Loaded) -> tuple[float, float]:
    """Where nine tenths of the numbers of the first points lie."""
    low, high = np.quantile(part.points[:1000], [0.05, 0.95])
    return float(low), float(high)


def _differ(one: Loaded, other: Loaded) -> bool:
    """Whether the middle of one is half as wide again as that of the other, or shifted by a quarter of the width."""
    (low, high), (other_low, other_high) = _middle(one), _middle(other)
    width, other_width = max(high - low, 1e-300), max(other_high - other_low, 1e-300)
    shift = abs(high + low - other_high - other_low) / 2
    return max(width / other_width, other_width / width) > 1.5 or shift > 0.25 * max(width, other_width)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


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
        f" ({_interval(report.held_out_interval)})."
    )
    if report.held_out_in_training:
        text += f" {report.held_out_in_training} held-out points are equal to training points."
    return text


def _facts(report: TrainingSurvey, sources: Sources) -> str:
    rows = [
        ("training points", f"{html.escape(sources.training.source)}: {len(report.sparsity)}"),
        ("duplicates among them", str(report.duplicates)),
        ("dimensions", str(report.dim)),
    ]
    if isinstance(report, AuditReport):
        rows.insert(0, ("samples", f"{html.escape(sources.samples.source)}: {len(report.memorized)}"))
        if sources.held_out is not None:
            held_out = f"{html.escape(sources.held_out.source)}: {len(sources.held_out.points)}"
            rows.insert(1, ("held out", held_out))
        rows += [
            (
                "criterion",
                f"D1/D2 &lt; {report.threshold:.4g} in squared distances,"
                f" {math.sqrt(report.threshold):.4g} in Euclidean ones",
            ),
            ("exact copies", str(int((report.distance[:, 0] == 0).sum()))),
        ]
    else:
        low, middle, high = report.sparsity.quantile(report.sparsity.new_tensor([0.1, 0.5, 0.9])).tolist()
        rows.append(("sparsity", f"median {middle:.4g}, {low:.4g} to {high:.4g} for the middle 80 %"))
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
    order = torch.argsort(report.copied, descending=True, stable=True)
    first = [int(i) for i in order if report.copied[i] and report.duplicate_of[i] == i]
    if not first:
        return ""
    pictures = _pictures(sources.training)
    rows = [
        (
            pictures(i) + _name(sources.training, i),
            int(report.copied[i]),
            int(report.assigned[i]),
            f"{report.sparsity[i]:#.4g}",
            _nats(report.coverage.risk[i]),
        )
        for i in first[:LISTED]
    ]
    head = ("training point", "copies", "samples nearest to it", "sparsity", "predicted risk")
    more = f"<p>{len(first)} training points were copied"
    more += f"; the {len(rows)} copied most often (all are in report.json):</p>" if len(first) > len(rows) else ":</p>"
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
    edges = [f"{sparsity[part].min():#.3g} – {sparsity[part].max():#.3g}" for part in parts]
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


def _labels(report: TrainingSurvey) -> str:
    if not report.labels:
        return ""
    audited = isinstance(report, AuditReport)
    rows = []
    for label, part in report.labels.items():
        copies = (part.assigned, part.memorized, _percent(part.fraction), _interval(part.interval)) if audited else ()
        risk = _nats(part.risk)
        rows.append((html.escape(str(label)), part.training, *copies, f"{part.sparsity:#.4g}", risk))
    copies = ("samples assigned", "memorized", "share", "95 % interval") if audited else ()
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
            *((int(report.copied[i]),) if audited else ()),
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
