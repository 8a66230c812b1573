"""Figures: opaque, in the palette, error bars of two standard errors, and no global default changed."""

import base64
import html.parser
import io
import os

import matplotlib as mpl
import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from PIL import Image
from scipy.stats import sem

mpl.use("agg")
from diffmem_lib.memorization import audit
from diffmem_lib.notebook import plotting


@pytest.fixture
def axes():
    before = dict(mpl.rcParams)
    _, axes = plotting.figure()
    yield axes
    assert dict(mpl.rcParams) == before


def test_figures_are_opaque_white(axes):
    assert axes.figure.get_facecolor() == (1, 1, 1, 1)


def test_points_show_mean_and_two_standard_errors(axes):
    replicas = np.array([[1.0, 10.0], [3.0, 10.5], [5.0, 12.0]])
    plotting.points(axes, [0, 1], replicas)
    line, _, (bars,) = axes.containers[0]
    np.testing.assert_allclose(line.get_ydata(), replicas.mean(0))
    for segment, column in zip(bars.get_segments(), replicas.T, strict=True):
        assert np.ptp(segment[:, 1]) == pytest.approx(4 * column.std(ddof=1) / np.sqrt(3))


def test_theory_and_mark(axes):
    plotting.theory(axes, [0, 1], [2, 3], "line")
    plotting.mark(axes, 0.5, "transition")
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [2, 3])
    assert axes.texts[0].get_text() == "transition"


def test_gallery():
    images = np.linspace(-1, 1, 5 * 6).reshape(5, 6)
    fig = plotting.gallery(images, (2, 3), rows=2, labels=["up", "down"])
    shown = [a.images[0].get_array() for a in fig.axes if a.images]
    assert len(fig.axes) == 6
    np.testing.assert_array_equal(np.stack(shown).reshape(5, 6), images)


def test_every_figure_of_a_notebook_is_shown():
    # The first figure loads the notebook's backend; its interactive mode must outlive the style.
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("from diffmem_lib.notebook import plotting\nplotting.figure()[1].plot([1, 2]);"),
            nbformat.v4.new_code_cell("plotting.figure()[1].plot([2, 1]);"),
        ]
    )
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    NotebookClient(notebook, kernel_name="python3", extra_arguments=["--log-level=ERROR"]).execute(env=environment)
    for cell in notebook.cells:
        assert [set(output.data) for output in cell.outputs] == [{"image/png", "text/plain"}]
        picture = Image.open(io.BytesIO(base64.b64decode(cell.outputs[0].data["image/png"])))
        assert picture.mode == "P"
        assert picture.size[0] > 1200
        assert cell.outputs[0].metadata["image/png"] == {"width": picture.size[0] // 2}


class Elements(html.parser.HTMLParser):
    """Start tags with their attributes, in order."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def test_slider_is_self_contained_and_still_without_scripts():
    figures = [plotting.figure(width=2, height=1)[0] for _ in range(3)]
    frames = [(f"x = {i}", f'picture "{i}" & more', fig) for i, fig in enumerate(figures)]
    text = plotting.slider("a-name", "x", frames, still=1, caption="1 < 2")
    page = Elements(text)
    images = page.all("img")
    assert [i["alt"] for i in images] == ['picture "0" & more', 'picture "1" & more', 'picture "2" & more']
    assert ["hidden" in i for i in images] == [True, False, True]
    assert "hidden" in page.all("div")[0]
    assert page.all("figure")[0]["id"] == "a-name"
    assert page.all("input")[0] | {"style": ""} == {
        "type": "range", "min": "0", "max": "2", "value": "1", "aria-valuetext": "x = 1", "style": ""
    }  # fmt: skip
    assert "1 &lt; 2" in text
    assert "http" not in text
    for image in images:
        kind, data = image["src"].split(",")
        assert kind == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (300, 150)
        assert image["width"] == "150"
    assert not set(mpl.pyplot.get_fignums()) & {fig.number for fig in figures}


@pytest.fixture
def reports():
    """Audits of five replicas: some samples near training points, held-out ones anywhere."""
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(5):
        training = torch.randn(24, 3, generator=generator).double()
        near = training[torch.randint(24, (150,), generator=generator)]
        samples = near + 0.3 * torch.randn(150, 3, generator=generator)
        held_out = torch.randn(300, 3, generator=generator).double()
        found.append(audit(samples, training, held_out, k=4, distance="squared"))
    return found


def test_rates_by_sparsity_are_those_of_the_bins_beside_held_out_ones(axes, reports):
    plotting.rates_by_sparsity(axes, reports, 3, (1 / 3, 1 / 2))
    bins = [report.by_sparsity(3, (1 / 3, 1 / 2)) for report in reports]
    sparsity = np.mean([[(part.low + part.high) / 2 for part in row] for row in bins], 0)
    for place, (container, baseline) in enumerate(zip(axes.containers, axes.lines[3::4], strict=True)):
        line, _, (bars,) = container
        rates = np.array([[part.samples.pooled[place] for part in row] for row in bins])
        held_out = np.array([[part.held_out.pooled[place] for part in row] for row in bins])
        np.testing.assert_allclose(line.get_xydata(), np.transpose([sparsity, rates.mean(0)]))
        np.testing.assert_allclose([np.ptp(bar[:, 1]) for bar in bars.get_segments()], 4 * sem(rates, 0))
        np.testing.assert_allclose(baseline.get_xydata(), np.transpose([sparsity, held_out.mean(0)]))
        assert baseline.get_color() == line.get_color()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["1/3", "1/2"]
    assert axes.get_legend().get_title().get_text() == "$d_1/d_2$ below"


def test_a_single_audit_has_the_errors_of_its_samples_and_needs_no_held_out_points(axes, reports):
    one = reports[0]
    with pytest.raises(ValueError, match="reports must be audits with a survey and two training points"):
        plotting.rates_by_sparsity(axes, [one], 13)
    plotting.rates_by_sparsity(axes, [one], 2, (1 / 2,))
    line, _, (bars,) = axes.containers[0]
    for bar, part, share in zip(bars.get_segments(), one.by_sparsity(2, (1 / 2,)), line.get_ydata(), strict=True):
        assert np.ptp(bar[:, 1]) == pytest.approx(4 * np.sqrt(share * (1 - share) / part.samples.assigned))
    before = len(axes.lines)
    generator = torch.Generator().manual_seed(1)
    plotting.rates_by_sparsity(axes, [audit(*torch.randn(2, 30, 3, generator=generator))], 2, (1 / 2,))
    assert not any(line.get_linestyle() == "--" for line in axes.lines[before:])


def test_dominance_by_sparsity_is_that_of_the_bins(axes, reports):
    plotting.dominance_by_sparsity(axes, reports, 3)
    for which, container in zip(("samples", "held_out"), axes.containers, strict=True):
        rows = [[getattr(part, which).dominance for part in report.by_sparsity(3)] for report in reports]
        np.testing.assert_allclose(container[0].get_ydata(), np.mean(rows, 0))


def test_figures_of_audits_refuse_none_and_too_many_thresholds(axes, reports):
    with pytest.raises(ValueError, match="reports must be audits with a survey"):
        plotting.dominance_by_sparsity(axes, [])
    with pytest.raises(ValueError, match="thresholds must be at most 6, got 7"):
        plotting.rates_by_sparsity(axes, reports, 3, [0.1] * 7)


def test_rates_by_label_show_shares_intervals_and_held_out_points(axes, reports):
    generator = torch.Generator().manual_seed(2)
    training, labels = torch.randn(30, 3, generator=generator), ["a", "b", "b"] * 10
    samples, held_out = training[:12] + 0.05, torch.randn(200, 3, generator=generator)
    report = audit(samples, training, held_out, k=3, labels=labels)
    plotting.rates_by_label(axes, report)
    line, _, (bars,) = axes.containers[0]
    crosses = next(one for one in axes.lines if one.get_marker() == "x")
    for k, part in enumerate(report.labels.values()):
        np.testing.assert_allclose(line.get_xydata()[k], [part.sparsity, part.fraction])
        np.testing.assert_allclose(bars.get_segments()[k][:, 1], part.interval)
        np.testing.assert_allclose(crosses.get_xydata()[k], [part.sparsity, part.held_out_fraction])
    assert [text.get_text() for text in axes.texts] == ["a", "b"]
    for other in (reports[0], audit(samples, training, labels=labels, survey=False)):
        with pytest.raises(ValueError, match="report must be an audit with labels and a survey"):
            plotting.rates_by_label(axes, other)
