"""Figures: opaque, in the palette, error bars of two standard errors, and no global default changed."""

import base64
import html.parser
import io
import os

import matplotlib as mpl
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

mpl.use("agg")
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
