"""The report: its numbers are those of the audit, in each of its three forms, and it is written whole or not at all."""

import dataclasses
import json
import re

import audit_cases
import numpy as np
import pytest
import torch

from diffmem_lib.memorization import audit, inputs, report, survey
from diffmem_lib.memorization.rates import DISTANCES, THRESHOLDS


@pytest.fixture
def audited():
    return audit_cases.three_copies()


@pytest.fixture(name="with_held_out")
def fixture_with_held_out():
    return audit_cases.with_held_out()


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
    training = inputs.Sources(training=sources.training)
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
        assert "is memorized by" not in output
        assert "D2" not in output


def test_both_conventions_stand_side_by_side(with_held_out):
    found, sources = with_held_out
    document = json.loads(report.as_json(found, sources))
    assert document["convention"] == "euclidean"
    assert document["criterion"] == "memorized by r1/r2 < 0.3333 in Euclidean distances"
    assert document["memorized_fraction"] == found.counts(1 / 3)[0] / 20
    assert document["other_convention"]["convention"] == "squared"
    assert document["other_convention"]["memorized_fraction"] == found.counts(1 / 3, "squared")[0] / 20
    assert document["other_convention"]["held_out_fraction"] == found.counts(1 / 3, "squared")[1] / 25
    text, page = report.as_text(found, sources), report.as_html(found, sources)
    for output in (text, page):
        assert "in Euclidean distances" in output
        assert "1/6" in output
    assert "by D1/D2 < 0.3333 in squared distances" in text
    curve = document["curve"]
    assert curve["samples"] == sorted(curve["samples"])
    at = curve["euclidean_threshold"].index(0.5)
    assert curve["squared_threshold"][at] == 0.25
    assert (curve["samples"][at], curve["held_out"][at]) == tuple(
        count / total for count, total in zip(found.counts(0.5), (20, 25), strict=True)
    )


def test_what_held_out_points_say(with_held_out):
    found, sources = with_held_out
    document = json.loads(report.as_json(found, sources))
    assert document["samples"]["p_value"] == found.p_value.tolist()
    assert document["samples"]["copied"] == found.copied.tolist()
    assert (document["excess"], document["excess_interval_95"]) == (found.excess, list(found.excess_interval))
    assert (document["fdr"], document["copied_count"]) == (0.05, int(found.copied.sum()))
    text = report.as_text(found, sources)
    assert f"excess    {100 * found.excess:.1f} %" in text
    assert f"otherwise {100 * found.counts(1 / 3, 'squared')[0] / 20:.1f} %" in text
    assert f"copied    {int(found.copied.sum())} samples, at a false discovery rate of 0.05" in text


@pytest.mark.parametrize(("held_out", "said"), [(9, "too small to find any among 20"), (80, "fewer than 5 among 20")])
def test_a_held_out_set_that_is_too_small_is_said(with_held_out, held_out, said):
    """Without copies: 1/10 is above .05, and 1/81 is at most .05·k/20 from k = 5 on."""
    _, sources = with_held_out
    rng = np.random.default_rng(2)
    samples, others = rng.random((20, 16)), rng.random((held_out, 16))
    found = audit(samples, sources.training.points, others)
    parts = {"samples": inputs.Loaded(samples, "s", None), "held_out": inputs.Loaded(others, "h", None)}
    sources = inputs.Sources(sources.training, **parts)
    for output in (report.as_text(found, sources), report.as_html(found, sources)):
        assert f"too small to find {said.removeprefix('too small to find ')}" in output


def test_one_exact_copy_makes_no_mean_infinite(with_held_out):
    found, sources = with_held_out
    rates = json.loads(report.as_json(found, sources))["rates"]["samples"]
    finite = found.dominance[~found.dominance.isinf()]
    assert (rates["exact"], rates["dominance"]) == (5, pytest.approx(float(finite.mean())))
    assert rates["pooled"][rates["thresholds"].index(1 / 3)] == found.fraction
    assert rates["per_point"][rates["thresholds"].index(1 / 3)] == pytest.approx(found.point_rate)
    text = report.as_text(found, sources)
    assert not re.search(r"\b(inf|nan)\b", text)
    assert f"dominance mean log(D2/D1) {float(finite.mean()):.3g}, 5 exact copies apart" in text
    only = audit(sources.training.points[:5], sources.training.points)
    parts = inputs.Sources(sources.training, inputs.Loaded(sources.training.points[:5], "s", None))
    assert "dominance mean log(D2/D1) –, 5 exact copies apart" in report.as_text(only, parts)


def test_bins_have_both_sides(with_held_out):
    """Sparsity and dominance, with held-out points, at all usual thresholds at once."""
    found, sources = with_held_out
    document = json.loads(report.as_json(found, sources))
    assert len(document["by_sparsity"]) == 10
    assert document["by_sparsity"][0]["samples"]["thresholds"] == [1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3]
    assert sum(part["held_out"]["assigned"] for part in document["by_sparsity"]) == 25
    page = report.as_html(found, sources)
    assert all(f"rate below {name}" in page for name in ("1/6", "1/4", "1/3", "1/2", "2/3"))
    assert "held out per point" in page


FORMS = (report.as_text, report.as_html, report.as_json)


@pytest.mark.parametrize("form", FORMS)
def test_a_redacted_report_depends_on_nothing_of_single_points(with_held_out, form):
    """Other distances, ratios, p-values, pixels and names, with the same shares and counts, give the same words."""
    found, sources = with_held_out
    flat = form(found, sources, redact=True)
    assert flat != form(found, sources)
    for name in (*sources.training.files, *sources.samples.files, "training.npy", "samples.npy", "Ann", "Bob"):
        assert name not in flat
    assert "<img" not in flat
    assert "base64" not in flat
    scale = torch.tensor([1.7, 1.7 * (1 + 1e-9)], dtype=torch.float64)
    changed = dataclasses.replace(
        found,
        distance=found.distance * scale,
        held_out_distance=found.held_out_distance * scale,
        p_value=found.p_value * 0.9,
        sparsity=found.sparsity.flip(0) * 1.7,
        coverage=dataclasses.replace(found.coverage, risk=found.coverage.risk + 1, reference_sigma=7.0, dimension=3),
        nearest=39 - found.nearest,
        assigned=found.assigned.flip(0),
        memorized_count=found.memorized_count.flip(0),
        rate=found.rate.flip(0),
        labels={"Eve": next(iter(found.labels.values()))},
    )
    assert all(changed.counts(limit, way) == found.counts(limit, way) for limit in THRESHOLDS for way in DISTANCES)
    renamed = {
        name: dataclasses.replace(part, points=part.points.copy(), source="x", files=tuple("x" * len(part.points)))
        for name, part in vars(sources).items()
        if isinstance(part, inputs.Loaded)
    }
    for part in renamed.values():
        part.points[:, 3] = part.points[:, 3][::-1]
    assert form(changed, inputs.Sources(**renamed), redact=True) == flat


@pytest.mark.parametrize("form", FORMS)
def test_a_redacted_survey_holds_counts_only(with_held_out, form):
    _, sources = with_held_out
    points = sources.training.points
    alone = inputs.Sources(sources.training)
    flat = form(survey(points, ["Ann", "Bob"] * 20), alone, redact=True)
    assert flat == form(survey(points**2), alone, redact=True)
    assert "40" in flat
    assert "training-0" not in flat


def test_a_report_says_that_it_is_no_proof_of_privacy(with_held_out):
    for form in FORMS:
        words = " ".join(form(*with_held_out).split())
        assert "no guarantee of privacy" in words
        assert "2505.01524, 2312.05114" in words
        assert "can itself leak" in words
        assert "can itself leak" not in " ".join(form(*with_held_out, redact=True).split())


def test_a_report_without_survey(with_held_out):
    _, sources = with_held_out
    training, samples, held_out = (part.points for part in (sources.training, sources.samples, sources.held_out))
    found = audit(samples, training, held_out, labels=["Ann", "Bob"] * 20, survey=False)
    page, text = report.as_html(found, sources), report.as_text(found, sources)
    document = json.loads(report.as_json(found, sources))
    assert document["training"]["sparsity"] == [None] * 40
    assert document["by_sparsity"] == []
    for output in (page, text):
        assert not re.search(r"\bnan\b", output)
        assert "Sparsity is" not in output
    assert "Most at risk" not in page


def test_duplicates_are_named():
    points = np.random.default_rng(0).random((30, 4)).astype(np.float32)
    points[[7, 12]] = points[3]
    page = report.as_html(survey(points), inputs.Sources(training=inputs.Loaded(points, "t.npy", None)))
    assert '<th scope="row">3</th><td>3</td><td>7, 12</td>' in page
    risks = page[page.index("Most at risk") : page.index("Duplicates in the training set</h2>")]
    assert risks.count('<th scope="row">') == 20
    assert not re.search('<th scope="row">(7|12)</th>', risks)


def test_names_are_text(with_held_out):
    """Whatever a file, a label or a folder is called, the page shows it and does not obey it."""
    found, sources = with_held_out
    name = "<img src=x onerror=alert(1)>{{ 7 * 7 }}&"
    parts = {
        kind: dataclasses.replace(part, source=name, unread=name, files=(name,) * len(part.points))
        for kind, part in vars(sources).items()
        if isinstance(part, inputs.Loaded)
    }
    page = report.as_html(dataclasses.replace(found, labels={name: found.labels["Ann"]}), inputs.Sources(**parts))
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;{{ 7 * 7 }}&amp;" in page
    assert name in report.as_text(found, inputs.Sources(**parts))


def test_tables_have_names_and_heads(with_held_out):
    """Every table that can be wider than the page scrolls by keyboard and has a name; every row has a head."""
    page = report.as_html(*with_held_out)
    assert page.count('<div class="wide" role="region" tabindex="0" aria-label=') == page.count("<table>") == 5
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    assert all(row.startswith('<th scope="') for row in rows)


@pytest.mark.parametrize("share", [None, float("nan"), -0.25])
def test_numbers_that_are_none_or_negative(share):
    assert report._percent(share) == ("−25.0 %" if share == -0.25 else "–")


def test_the_page_has_the_other_convention_and_names_in_its_tables(with_held_out):
    _, sources = with_held_out
    parts = {name: inputs.Loaded(getattr(sources, name).points, name, None) for name in ("training", "samples")}
    points = [part.points for part in (parts["samples"], parts["training"], sources.held_out)]
    found = audit(*points, threshold=0.21)
    page = report.as_html(found, inputs.Sources(**parts, held_out=sources.held_out))
    share = found.counts(0.21, "squared")[0] / 20
    assert f"By D1/D2 &lt; 0.21 in squared distances the share would be <span>{100 * share:.1f} %" in page
    pairs = page[page.index("<h2>Memorized pairs") :]
    assert '<th scope="col">p</th>' in pairs[: pairs.index("</thead>")]


def test_columns_of_the_text_are_aligned(with_held_out):
    lines = report.as_text(*with_held_out).splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("label "))
    assert len({len(line) for line in lines[at : at + 3]}) == 1
