"""The report: its numbers are those of the audit, in each of its three forms, and it is written whole or not at all."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from diffmem_lib.memorization import audit, inputs, report, survey


@pytest.fixture
def audited():
    rng = np.random.default_rng(0)
    training = rng.random((40, 16)).astype(np.float32)
    samples = np.concatenate([training[:3], rng.random((9, 16)).astype(np.float32)])
    sources = report.Sources(
        samples=inputs.Loaded(samples, "samples.npy", (4, 4, 1)),
        training=inputs.Loaded(training, "training.npy", (4, 4, 1)),
    )
    return audit(torch.from_numpy(samples), torch.from_numpy(training)), sources


def test_three_forms_agree(audited):
    found, sources = audited
    assert found.fraction == 3 / 12
    assert "25.0 %" in report.as_text(found, sources)
    assert "25.0 %" in report.as_html(found, sources)
    assert "0.25" in report.as_json(found, sources)
    json.loads(report.as_json(found, sources), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_the_page_needs_nothing_from_outside(audited):
    page = report.as_html(*audited)
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert 'src="data:image/png;base64,' in page


def test_written_whole(audited, tmp_path):
    files = report.write_reports(*audited, tmp_path / "out")
    assert sorted(file.name for file in files) == ["report.html", "report.json"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["report.html", "report.json"]


def test_a_training_set_alone(audited):
    """What is said without samples is what the audit says of the training set, and nothing of copies."""
    found, sources = audited
    alone = survey(sources.training.points, labels=["odd", "even"] * 20)
    training = report.Sources(training=sources.training)
    document = json.loads(report.as_json(alone, training))
    whole = json.loads(report.as_json(found, sources))
    for name, values in document["training"].items():
        assert values == whole["training"][name], name
    assert document["coverage"] == whole["coverage"]
    assert document["sources"] == {"training": "training.npy", "samples": None, "held_out": None}
    assert set(document["labels"]["odd"]) == {"training", "mean_sparsity", "mean_predicted_risk"}
    assert not {"samples", "memorized_fraction", "threshold", "criterion"} & set(document)
    text, page = report.as_text(alone, training), report.as_html(alone, training)
    riskiest = int(alone.coverage.risk.argmax())
    first = text[text.index("most at risk") :].splitlines()[1].split()
    assert int(first[-1]) == riskiest
    assert float(first[2]) == pytest.approx(float(alone.coverage.risk[riskiest]), abs=5e-3)
    assert page.count("<img") == 20  # as many as are listed, and no pairs
    assert page.count("<h1>") == report.as_html(found, sources).count("<h1>") == 1
    for output in (text, page):
        assert "memorized if" not in output
        assert "D2" not in output


def test_duplicates_are_named():
    points = np.random.default_rng(0).random((30, 4)).astype(np.float32)
    points[[7, 12]] = points[3]
    page = report.as_html(survey(points), report.Sources(training=inputs.Loaded(points, "t.npy", None)))
    assert "<td>3</td><td>3</td><td>7, 12</td>" in page
    risks = page[page.index("Most at risk") : page.index("Duplicates in the training set</h2>")]
    assert "<td>7</td>" not in risks


@pytest.mark.parametrize("name", ["samples", "held_out"])
def test_other_scales_are_pointed_out(audited, name):
    """Images in [−1, 1] beside images in [0, 1] give numbers that mean nothing."""
    found, sources = audited
    assert "scaled alike" not in report.as_text(found, sources)
    other = inputs.Loaded(2 * sources.samples.points - 1, "other.npy", (4, 4, 1))
    text = report.as_text(found, dataclasses.replace(sources, **{name: other}))
    assert f"Are {name.replace('held_out', 'held-out points')} and training points scaled alike?" in " ".join(
        text.split()
    )
