"""The book's figures: one size, one colour-blind-safe palette, theory as lines, simulation as points with bars."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from diffmem_lib.memorization.rates import THRESHOLDS, Rates, SparsityBin

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

    from diffmem_lib.memorization import AuditReport

__all__ = [
    "COLOURS",
    "dominance_by_sparsity",
    "figure",
    "gallery",
    "mark",
    "points",
    "rates_by_label",
    "rates_by_sparsity",
    "slider",
    "theory",
]

#: Okabe and Ito's palette, told apart by every common colour vision: blue, vermillion, green, purple, sky, orange.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")

_STYLE: dict[RcKeyType, Any] = {
    "axes.prop_cycle": plt.cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.labelsize": 12,
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "font.size": 11,
    "image.cmap": "viridis",
    "legend.frameon": False,
    "lines.linewidth": 2,
    "savefig.facecolor": "white",
    "svg.hashsalt": "diffmem",
}


class BookFigure(Figure):
    """A figure that a notebook shows as a PNG of few colours, at twice the density of its width on the page."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        data, width = _palette_png(self, dpi=self.dpi, bbox_inches="tight")
        return data, {"width": width}


def figure(
    rows: int = 1, columns: int = 1, width: float = 6.4, height: float = 3.9, **options: Any
) -> tuple[Figure, Any]:
    """``plt.subplots`` in the book's style, opaque white so that it can be read on a dark page; sizes in inches."""
    plt.draw_if_interactive()  # loads the backend, whose interactive mode the context would take back on leaving
    _show_in_few_colours()
    with plt.rc_context(_STYLE):
        return plt.subplots(
            rows, columns, figsize=(width, height), layout="constrained", FigureClass=BookFigure, **options
        )


def theory(axes: Axes, x: Any, y: Any, label: str | None = None, colour: str = COLOURS[0], **options: Any) -> None:
    """A prediction: a line."""
    axes.plot(x, y, color=colour, label=label, **options)


def points(
    axes: Axes, x: Any, replicas: Any, label: str | None = None, colour: str = COLOURS[1], **options: Any
) -> None:
    """A simulation: means of ``replicas`` (R, k) over R as points, two standard errors as bars."""
    values = np.asarray(replicas, dtype=float)
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    style: dict[str, Any] = {"fmt": "o", "markersize": 5, "capsize": 2, "linewidth": 1.2} | options
    axes.errorbar(x, values.mean(axis=0), yerr=2 * error, color=colour, label=label, **style)


def mark(axes: Axes, x: float, label: str, **options: Any) -> None:
    """A transition: a dashed vertical line at ``x`` with its name at the top."""
    axes.axvline(x, color="0.35", linestyle="--", linewidth=1.2)
    axes.annotate(label, (x, 1), xycoords=("data", "axes fraction"), xytext=(4, -4), textcoords="offset points",
                  va="top", color="0.25", fontsize=10, **options)  # fmt: skip


def rates_by_sparsity(
    axes: Axes, reports: Sequence[AuditReport], bins: int = 4, thresholds: Sequence[float] = THRESHOLDS
) -> None:
    """Rates of memorization against local sparsity: points at each threshold, held-out points' dashed in its colour.

    ``reports`` are audits of replicas, with a survey; means over them and two standard errors are shown. Of a single
    audit the error is that of its samples.

    Raises
    ------
    ValueError
        If there is no report, one has too few training points for so many bins or no survey, or there are more
        thresholds than colours.
    """
    if len(thresholds) > len(COLOURS):
        raise ValueError(f"thresholds must be at most {len(COLOURS)}, got {len(thresholds)}")
    parts = _in_bins(reports, bins, thresholds)
    for place, (threshold, colour) in enumerate(zip(thresholds, COLOURS, strict=False)):

        def rate(part: Rates, place: int = place) -> tuple[float, float]:
            share = part.pooled[place]
            return share, math.sqrt(share * (1 - share) / part.assigned) if part.assigned else math.nan

        _in_order(axes, parts, "samples", rate, str(Fraction(threshold).limit_denominator(100)), colour)
        _in_order(axes, parts, "held_out", rate, None, colour, dashed=True)
    ratio = "$d_1/d_2$" if reports[0].convention == "squared" else "$r_1/r_2$"
    axes.set(xlabel="local sparsity", ylabel="memorization rate", ylim=(0, None))
    axes.legend(title=f"{ratio} below", fontsize=9, title_fontsize=9, loc="upper left")


def dominance_by_sparsity(axes: Axes, reports: Sequence[AuditReport], bins: int = 4) -> None:
    """Mean dominance, log of the ratio of the two squared distances, of samples and of held-out points.

    Against local sparsity, as :func:`rates_by_sparsity`; exact copies, whose dominance is infinite, are left out. A
    single audit is shown without errors.

    Raises
    ------
    ValueError
        As there.
    """
    parts = _in_bins(reports, bins, THRESHOLDS)
    for which, label, colour in (("samples", "samples", COLOURS[1]), ("held_out", "held-out points", "0.35")):
        _in_order(axes, parts, which, lambda part: (part.dominance, 0.0), label, colour)
    axes.set(xlabel="local sparsity", ylabel="mean dominance", ylim=(0, None))
    axes.legend(fontsize=9)


def rates_by_label(axes: Axes, report: AuditReport) -> None:
    """Share of memorized samples near each label's training points, against their mean sparsity.

    Bars are the 95 % intervals of an audit with labels and a survey; held-out points' shares are crosses.

    Raises
    ------
    ValueError
        If the audit has no labels or no survey.
    """
    parts = {str(label): part for label, part in report.labels.items() if part.assigned}
    if not parts or any(math.isnan(part.sparsity) for part in parts.values()):
        raise ValueError("report must be an audit with labels and a survey")
    sparsity = [part.sparsity for part in parts.values()]
    share = np.array([part.fraction for part in parts.values()])
    ends = np.array([part.interval for part in parts.values()])
    axes.errorbar(
        sparsity, share, abs(ends.T - share), fmt="o", capsize=2, linewidth=1.2, color=COLOURS[1], label="samples"
    )
    for name, x, y in zip(parts, sparsity, share, strict=True):
        axes.annotate(name, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=9)
    base = [part.held_out_fraction for part in parts.values() if part.held_out_fraction is not None]
    if base:
        axes.plot(sparsity, base, "x", color="0.35", label="held-out points")
    axes.set(xlabel="mean local sparsity", ylabel="memorization rate", ylim=(0, None))
    axes.legend(fontsize=9)


def _in_bins(reports: Sequence[AuditReport], bins: int, thresholds: Sequence[float]) -> list[list[SparsityBin]]:
    parts = [report.by_sparsity(bins, thresholds) for report in reports]
    if not parts or not all(parts):
        raise ValueError(f"reports must be audits with a survey and two training points for each of {bins} bins")
    return parts


def _in_order(
    axes: Axes,
    parts: list[list[SparsityBin]],
    which: str,
    of: Callable[[Rates], tuple[float, float]],
    label: str | None,
    colour: str,
    dashed: bool = False,
) -> None:
    """Values of the samples or of the held-out points in each bin, over the middle of its sparsities."""
    if any(getattr(part, which) is None for row in parts for part in row):
        return
    sparsity = np.mean([[(part.low + part.high) / 2 for part in row] for row in parts], 0)
    values, errors = np.array([[of(getattr(part, which)) for part in row] for row in parts]).transpose(2, 0, 1)
    if dashed:
        axes.plot(sparsity, np.nanmean(values, 0), "--", color=colour, linewidth=1.3)
    elif len(values) == 1:
        axes.errorbar(sparsity, values[0], 2 * errors[0], fmt="o", capsize=2, color=colour, label=label)
    else:
        points(axes, sparsity, values, label, colour)


def gallery(images: Any, shape: tuple[int, int], rows: int, labels: list[str] | None = None) -> Figure:
    """Grey images (n, h·w) in [−1, 1] on a grid of ``rows`` rows, filled row by row; ``labels`` name the rows."""
    values = np.asarray(images, dtype=float)
    columns = -(-len(values) // rows)
    fig, grid = figure(rows, columns, width=0.5 * columns + 0.9, height=0.54 * rows, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, image in zip(grid.flat, values, strict=False):
        axes.imshow(image.reshape(shape), cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    for row, label in enumerate(labels or []):
        grid[row, 0].text(-0.15, 0.5, label, transform=grid[row, 0].transAxes, ha="right", va="center", fontsize=9)
    return fig


def slider(name: str, label: str, frames: Sequence[tuple[str, str, Figure]], still: int, caption: str) -> str:
    """Pictures under a slider as one piece of HTML that needs nothing from outside; the figures are closed.

    ``frames`` holds a value for the slider, a text for those who cannot see, and the figure of each position; ``name``
    becomes the element's id. Without scripts the frame ``still`` is shown, and no slider.
    """
    values = [html.escape(value) for value, _, _ in frames]
    pictures = "".join(
        f'<img {_encoded(fig)} alt="{html.escape(text)}" style="max-width: 100%"{" hidden" * (i != still)}>'
        for i, (_, text, fig) in enumerate(frames)
    )
    return (
        f'<figure id="{name}" style="margin: 1em 0">{pictures}<div hidden><label>{html.escape(label)} '
        f'<input type="range" min="0" max="{len(frames) - 1}" value="{still}" style="width: min(20em, 60%)" '
        f'aria-valuetext="{values[still]}"></label> <output>{values[still]}</output></div>'
        f'<figcaption style="color: inherit">{html.escape(caption)}</figcaption></figure>'
        f"<script>(() => {{ const root = document.getElementById({name!r}), values = {values!r};"
        "const input = root.querySelector('input'), pictures = root.querySelectorAll('img');"
        "input.oninput = () => { pictures.forEach((p, i) => { p.hidden = i != input.value; });"
        "root.querySelector('output').textContent = values[input.value];"
        "input.setAttribute('aria-valuetext', values[input.value]); };"
        "root.querySelector('div').hidden = false; })();</script>"
    )


def _encoded(fig: Figure) -> str:
    """A figure as the source and the width of an element of HTML, a small PNG in base64; it is closed."""
    data, width = _palette_png(fig, dpi=75, colours=24)
    plt.close(fig)
    return f'src="data:image/png;base64,{base64.b64encode(data).decode()}" width="{width}"'


def _palette_png(fig: Figure, dpi: float, colours: int = 64, **options: Any) -> tuple[bytes, int]:
    """A figure as a PNG whose pixels are indices into a palette, at twice ``dpi``, and its width at ``dpi``."""
    raw, small = io.BytesIO(), io.BytesIO()
    fig.savefig(raw, dpi=2 * dpi, **options)
    image = Image.open(raw).convert("RGB").quantize(colours)
    image.save(small, format="png", optimize=True)
    return small.getvalue(), image.width // 2


def _show_in_few_colours() -> None:
    """In a notebook, let the book's figures (and no others) be shown by their own method."""
    try:
        from IPython import get_ipython
    except ImportError:
        return
    if get_ipython() is not None:
        get_ipython().display_formatter.formatters["image/png"].for_type(BookFigure, BookFigure._repr_png_)
