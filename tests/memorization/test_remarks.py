"""What is said beside the numbers: scales that differ, columns that decide alone, and what no distance proves."""

import dataclasses

import numpy as np
import pytest
from audit_cases import three_copies, with_held_out

from diffmem_lib.memorization import audit, inputs, survey
from diffmem_lib.memorization.remarks import doubts, notes
from diffmem_lib.memorization.report import as_text


@pytest.mark.parametrize("name", ["samples", "held_out"])
def test_other_scales_are_pointed_out(name):
    """Images in [−1, 1] beside images in [0, 1] give numbers that mean nothing."""
    found, sources = three_copies()
    assert doubts(found, sources) == []
    other = inputs.Loaded(2 * sources.samples.points - 1, "other.npy", (4, 4, 1))
    (doubt,) = doubts(found, dataclasses.replace(sources, **{name: other}))
    asked = f"Are {name.replace('held_out', 'held-out points')} and training points scaled alike?"
    assert doubt.startswith(f"{asked} Of the ")
    assert doubts(found, dataclasses.replace(sources, **{name: other}), redact=True) == [asked]


SPARSE = np.where(np.arange(64) % 32 == 5, np.random.default_rng(3).random((300, 64)), 0.0)  # 97 % zeros


def scale_doubts(samples, training):
    sources = inputs.Sources(inputs.Loaded(training, "t", None), inputs.Loaded(samples, "s", None))
    return any("scaled alike?" in doubt for doubt in doubts(audit(samples, training, k=3), sources))


@pytest.mark.parametrize("other", [lambda x: 255 * x, lambda x: 2 * x - 1], ids=["255", "from -1 to 1"])
def test_the_scale_of_images_that_are_nearly_empty(other):
    assert scale_doubts(other(SPARSE[:50]), SPARSE)


def test_samples_of_a_network_on_nearly_empty_images_are_scaled_alike():
    """Its black is not quite black, which is no other scale."""
    assert not scale_doubts(SPARSE[:50] + 0.01 * np.random.default_rng(4).standard_normal((50, 64)), SPARSE)


def test_data_sorted_by_class_are_scaled_alike():
    """The first thousand are all of one class."""
    rng = np.random.default_rng(5)
    training = np.concatenate([rng.random((1500, 4)), 5 + rng.random((1500, 4))])
    assert not scale_doubts(training[rng.permutation(3000)[:400]] + 1e-3, training)
    assert scale_doubts(2 * training, training)


def test_one_column_that_carries_everything():
    rng = np.random.default_rng(6)
    training = rng.standard_normal((80, 3)) * np.array([1.0, 40.0, 1.0])
    sources = inputs.Sources(inputs.Loaded(training, "t", None))
    (doubt,) = doubts(survey(training), sources)
    assert "Column 1 (of 0 to 2) carries over 99 %" in doubt
    assert "--standardize" in doubt
    mended = dataclasses.replace(sources, standardized=True)
    assert doubts(survey(training), mended) == []
    assert any("divided by its standard deviation" in note for note in notes(survey(training), mended))
    alike = inputs.Sources(inputs.Loaded(training / [1, 40, 1], "t", None))
    assert doubts(survey(training), alike) == []


def test_notes_fit_what_is_reported():
    """Nothing on copies without samples, on held-out points without any, or on risk where nobody looked."""
    found, sources = with_held_out()
    said = " ".join(notes(found, sources))
    for words in ("memorized by r1/r2", "Newcombe", "Sparsity is", "Predicted risk is", "can itself leak"):
        assert words in said
    flat = " ".join(notes(found, sources, redact=True))
    assert "memorized by r1/r2" in flat
    assert "This report is redacted" in flat
    for words in ("Sparsity is", "Predicted risk is", "can itself leak"):
        assert words not in flat
    assert "Newcombe" not in " ".join(notes(*three_copies()))
    alone = " ".join(notes(survey(sources.training.points), inputs.Sources(sources.training)))
    assert "Predicted risk is" in alone
    assert "memorized by" not in alone


def test_held_out_points_that_are_training_points_are_doubted():
    found, sources = with_held_out()
    assert not any("equal to training points" in doubt for doubt in doubts(found, sources))
    held_out = np.concatenate([sources.held_out.points, sources.training.points[:3]])
    found = audit(sources.samples.points, sources.training.points, held_out)
    assert doubts(found, sources)[0].startswith("3 held-out points are equal to training points.")
    assert doubts(found, sources, redact=True)[0].startswith("3 held-out points")


def test_classes_without_held_out_points_are_doubted():
    _, sources = with_held_out()
    points = [getattr(sources, name).points for name in ("samples", "training", "held_out")]
    theirs = ["cat", "dog"] * 12 + ["cat"]
    found = audit(*points, sample_labels=["cat"] * 18 + ["Dog"] * 2, held_out_labels=theirs)
    assert (found.classes, found.unmatched) == (2, 2)
    assert doubts(found, sources)[0].startswith("2 samples are of classes of which no point is held out")
    assert "within classes, as p-values are, the held-out sets are too small to find any among 20" in as_text(
        found, sources
    )
    with pytest.raises(ValueError, match="held_out_labels must name classes of samples, such as 'a', got 'cat', 'dog'"):
        audit(*points, sample_labels=["a"] * 20, held_out_labels=theirs)
