"""The figures of a report: the same at every time, small, without what a page must not load, and with the numbers."""

import base64
import io
import re

import matplotlib as mpl
import numpy as np
import pytest
from audit_cases import with_held_out
from PIL import Image

from diffmem_lib.memorization import figures, findings, inputs


@pytest.fixture(scope="module")
def values():
    return findings.details(*with_held_out())


def drawn(values):
    return figures.curve_figure(values["curve"], 1 / 3), figures.sparsity_figure(values["by_sparsity"], 2)


def test_the_same_whatever_the_settings(values):
    with mpl.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.facecolor": "red", "text.usetex": True}):
        changed = drawn(values)
    assert changed == drawn(values)


def test_fit_for_a_page(values):
    """No address, date or identifier that two figures share, no colour but the page's, and under 30 kB each."""
    curve, sparsity = drawn(values)
    for svg in (curve, sparsity):
        assert len(svg) < 30_000
        assert svg.startswith('<svg role="img" aria-label="')
        assert "://" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", svg)
        assert "<metadata" not in svg
        assert set(re.findall(r"#[0-9a-fA-F]{6}", svg)) == set()
        assert {"currentColor", "var(--accent)"} <= set(re.findall(r"currentColor|var\(--accent\)", svg))
        identifiers = re.findall(r' id="([^"]*)"', svg)
        assert len(set(identifiers)) == len(identifiers)
        assert set(re.findall(r'(?:xlink:href="#|url\(#)([^")]*)', svg)) <= set(identifiers)
    assert not set(re.findall(r' id="([^"]*)"', curve)) & set(re.findall(r' id="([^"]*)"', sparsity))


def test_a_curve_is_where_its_numbers_are(values):
    """The line of the samples goes through as many heights as there are shares, in their ratios."""
    curve = {"euclidean_threshold": [0.2, 0.4, 0.8], "samples": [0.1, 0.3, 1.0], "held_out": None}
    svg = figures.curve_figure(curve, 0.5)
    path = re.search(r'<path d="([^"]*)"[^>]*style="[^"]*stroke: var\(--accent\)', svg)[1]
    x, y = np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", path), dtype=float).T
    assert (x[2] - x[0]) / (x[1] - x[0]) == pytest.approx(3, rel=1e-4)
    assert (y[2] - y[0]) / (y[1] - y[0]) == pytest.approx(4.5, rel=1e-4)
    assert "held" not in svg
    assert "dashed" in figures.curve_figure(values["curve"], 0.5)


def test_bins_without_samples_or_error_are_no_accident():
    visited = {"visited": 1, "per_point": [0.5], "per_point_error": [None]}
    empty = {"visited": 0, "per_point": [None], "per_point_error": [None]}
    svg = figures.sparsity_figure([{"samples": visited}, {"samples": empty}], 0)
    assert "from 0.500 in the densest to 0.500" in svg
    assert "nan" not in svg
    assert figures.sparsity_figure([{"samples": empty}], 0).startswith("<svg")


def test_a_label_is_text():
    assert 'aria-label="a &quot;&lt;b&gt;"' in figures._svg("x", 'a "<b>', lambda figure, axes: None)


@pytest.mark.parametrize(
    ("shape", "size"), [((4, 4, 1), (96, 96)), ((300, 400, 3), (192, 144)), ((40, 30, 3), (60, 80))]
)
def test_pictures_are_images_of_bounded_size(shape, size):
    points = np.random.default_rng(0).random((3, *shape)).astype(np.float32)
    part = inputs.Loaded(points.reshape(3, -1), "x", shape)
    prefix, data = figures.picture(part)(1).split(",")
    assert prefix == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.size == size
    assert image.mode == ("L" if shape[2] == 1 else "RGB")


def test_black_and_white_are_those_of_the_other_set():
    """A sample is shown on the scale of the training images beside it."""
    part = inputs.Loaded(np.full((1, 4), 0.5, np.float32), "x", (2, 2, 1))
    like = inputs.Loaded(np.float32([[0, 1, 0, 2]]), "y", (2, 2, 1))
    image = Image.open(io.BytesIO(base64.b64decode(figures.picture(part, like=like)(0).split(",")[1])))
    assert image.getextrema() == (64, 64)
