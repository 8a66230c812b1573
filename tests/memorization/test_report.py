"""The report: its numbers are those of the audit, in each of its three forms, and it is written whole or not at all."""

import json

import numpy as np
import pytest
import torch

from diffmem_lib.memorization import audit, inputs, report


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
