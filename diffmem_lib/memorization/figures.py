"""The pictures of a report, as text that stands in its page: figures drawn by matplotlib as SVG, images as PNG."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image

from .inputs import Loaded

__all__ = ["curve_figure", "picture", "sparsity_figure"]

THUMBNAIL = 192  # pixels a side: shown are half as many, on dense screens all
# Two colours that nobody draws in, for which the page's own are put in: so a figure follows a dark page.
INK, ACCENT = "#010203", "#040506"
STYLE: dict[str, Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def curve_figure(curve: dict[str, Any], threshold: float) -> str:
    """The share of samples and of held-out points below each threshold, and the audit's own, a Euclidean ratio."""

    def draw(figure: Figure, axes: Axes) -> None:
        axes.plot(curve["euclidean_threshold"], curve["samples"], color=ACCENT, linewidth=2, label="samples")
        if curve["held_out"] is not None:
            axes.plot(curve["euclidean_threshold"], curve["held_out"], color=INK, linestyle="--", label="held out")
        axes.axvline(threshold, color=INK, linestyle=":", linewidth=1.2, label="the threshold here")
        axes.set_xticks([0, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 1], ["0", "1/4", "1/3", "1/2", "2/3", "1"])
        axes.set(
            xlabel="threshold of r1/r2 (its square: of D1/D2)", ylabel="share below it", xlim=(0, 1), ylim=(0, 1.02)
        )
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        figure.legend(loc="outside upper left", ncols=3, fontsize=9, handlelength=1.5, columnspacing=1.2)

    held_out = "" if curve["held_out"] is None else " (line) and held-out points (dashed)"
    return _svg("curve", f"Share of samples{held_out} whose neighbour ratio r1/r2 is below a threshold", draw)


def sparsity_figure(bins: Sequence[dict[str, Any]], at: int) -> str:
    """The rate per point of each bin of sparsity, at the threshold number ``at``, with its standard error."""
    rates = [(number, part["samples"]) for number, part in enumerate(bins, start=1) if part["samples"]["visited"]]
    number = [number for number, _ in rates]
    mean = [part["per_point"][at] for _, part in rates]
    error = [part["per_point_error"][at] or 0.0 for _, part in rates]

    top = max((value + bar for value, bar in zip(mean, error, strict=True)), default=0.0) or 1.0

    def draw(_: Figure, axes: Axes) -> None:
        axes.errorbar(number, mean, yerr=error, fmt="o", color=ACCENT, ecolor=INK, capsize=2, linewidth=1.2)
        axes.set(xlabel="bin of sparsity, densest to sparsest", ylabel="rate per point", xlim=(0.5, len(bins) + 0.5))
        axes.set_xticks(range(1, len(bins) + 1))
        axes.set_ylim(0, 1.05 * top)

    seen = f", from {mean[0]:.3f} in the densest to {mean[-1]:.3f} in the sparsest" if rates else ""
    return _svg("sparsity", f"Rate of memorization by bin of sparsity{seen}", draw)


def _svg(name: str, title: str, draw: Callable[[Figure, Axes], None]) -> str:
    """An SVG of one pair of axes for a page; the same at every time and, with ``name``, unlike others in its ids."""
    with style.context(["default", STYLE | {"svg.hashsalt": name}]):
        figure = Figure(figsize=(4.4, 2.7), layout="constrained")
        draw(figure, figure.subplots())
        file = io.StringIO()
        nothing = dict.fromkeys(["Creator", "Date", "Format", "Type"])
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    drawn = file.getvalue()
    drawn = drawn[drawn.index("<svg") :].replace(INK, "currentColor").replace(ACCENT, "var(--accent)")
    drawn = re.sub(r' id="[\w.]+_\d+"', "", drawn)  # nothing refers to these, and each figure has the same
    return f'<svg role="img" aria-label="{html.escape(title)}"' + drawn.removeprefix("<svg")


def picture(part: Loaded, like: Loaded | None = None) -> Callable[[int], str]:
    """The address for ``img`` of any one image: a PNG of at most `THUMBNAIL` pixels a side, itself in the address.

    Black and white are the ends of the first images (of those of ``like``); small images are enlarged, without blur.
    """
    head = (like or part).points[:1000]
    low, high = float(head.min()), float(head.max())

    def address(index: int) -> str:
        pixels = part.pixels(index).astype(np.float64)
        scaled = np.round(255 * np.clip((pixels - low) / max(high - low, 1e-300), 0, 1)).astype(np.uint8)
        image = Image.fromarray(scaled[:, :, 0] if scaled.shape[2] == 1 else scaled)
        factor = max(1, 96 // max(image.size))
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
        image.thumbnail((THUMBNAIL, THUMBNAIL))  # only ever makes it smaller
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

    return address
