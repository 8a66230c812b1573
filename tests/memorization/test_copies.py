"""The audit against a computation of its own, with planted copies, duplicates and bad input."""

import math

import numpy as np
import pytest
import torch

from diffmem_lib.memorization import audit, binomial_interval, difference_interval, local_sparsity

OBJECTS = np.array([1.0] * 10 + [math.nan], dtype=object)


def points(n, dim, seed, dtype=torch.float32):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def planted():
    """d = 3072: three exact copies, three at 1e-4, one copy of a duplicated point, three fresh samples."""
    training = points(400, 3072, 0)
    training[300] = training[6]
    training[301] = training[6]
    samples = torch.cat([training[:3], training[3:6] + 1e-4 * points(3, 3072, 1), training[6:7], points(3, 3072, 2)])
    return samples, training


def by_differences(samples, training, threshold):
    """Memorized, D1 and D2 from the definition, one pair at a time in float64."""
    rows = []
    x = training.double().numpy()
    for y in samples.double().numpy():
        distance = ((x - y) ** 2).mean(1)
        first = int(distance.argmin())
        other = [i for i in range(len(x)) if not np.array_equal(x[i], x[first])]
        rows.append((first, distance[first], min(distance[i] for i in other)))
    first, d1, d2 = (np.array(column) for column in zip(*rows, strict=True))
    return first, d1, d2, np.sqrt(d1) / np.sqrt(d2) < threshold


def test_planted_copies_at_3072_dimensions():
    samples, training = planted()
    report = audit(samples, training, k=5)
    first, d1, d2, memorized = by_differences(samples, training, 1 / 3)
    assert report.memorized.tolist() == memorized.tolist() == [True] * 7 + [False] * 3
    assert report.nearest[:, 0].tolist() == first.tolist()
    np.testing.assert_allclose(report.distance[:, 0], d1, rtol=1e-6, atol=0)
    np.testing.assert_allclose(report.distance[:, 1], d2, rtol=1e-6, atol=0)
    assert report.dominance[:3].tolist() == [math.inf] * 3
    assert report.dominance[6] == math.inf  # the second nearest is distinct in value
    assert report.fraction == 0.7
    assert report.duplicates == 2
    assert report.duplicate_of[[6, 300, 301]].tolist() == [6, 6, 6]
    torch.testing.assert_close(report.sparsity, local_sparsity(training, 5), rtol=0, atol=0)


def test_rate_counts_each_nearest_point():
    training = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [0.0, 10.0]])
    samples = torch.tensor([[0.1, 0.0], [4.9, 0.0], [4.8, 0.0], [0.0, 9.0]])
    report = audit(samples, training, k=1)
    assert report.assigned.tolist() == [3, 0, 1, 1]
    assert report.memorized_count.tolist() == [1, 0, 1, 1]
    assert report.rate.tolist()[0] == pytest.approx(1 / 3)
    assert math.isnan(report.rate[1])
    assert report.rate[2:].tolist() == [1.0, 1.0]  # equal points share their rate


def test_threshold_is_strict_and_of_euclidean_distances_unless_said_otherwise():
    """At 1 between 0 and 3 the Euclidean ratio is 1/2 exactly, the squared one 1/4."""
    training, sample = torch.tensor([[0.0], [3.0], [50.0]]), torch.tensor([[1.0]])
    for distance, ratio in (("euclidean", 0.5), ("squared", 0.25)):
        assert not audit(sample, training, k=1, threshold=ratio, distance=distance).memorized.any()
        assert audit(sample, training, k=1, threshold=ratio + 1e-7, distance=distance).memorized.all()
        assert audit(sample, training, k=1, threshold=0.3, distance=distance).memorized.all() == (ratio < 0.3)
    report = audit(sample, training, k=1)
    assert (report.threshold, report.convention) == (1 / 3, "euclidean")
    assert report.counts(0.4) == (0, None)
    assert report.counts(0.4, "squared") == (1, None)
    with pytest.raises(ValueError, match="distance"):
        audit(sample, training, k=1, distance="cosine")


def test_a_third_at_its_boundary_in_both_conventions():
    """r1 = 1 and r2 = 3: a third exactly, so not memorized; likewise of squared distances 1 and 3."""
    assert not audit(torch.tensor([[1.0]]), torch.tensor([[0.0], [4.0]]), k=1).memorized.any()
    line = torch.tensor([[0.0, 0.0, 0.0, 0.0], [2.0, 1.0, 1.0, 0.0]])
    assert not audit(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), line, k=1, distance="squared").memorized.any()


def test_p_values_and_discoveries():
    """Ten near copies among fifty samples, and two hundred held-out points."""
    training, held_out = points(300, 8, 0), points(200, 8, 1)
    samples = torch.cat([training[:10] + 1e-3, training[10:11], points(39, 8, 2)])
    report = audit(samples, training, held_out)
    _, d1, d2, _ = by_differences(samples, training, 1 / 3)
    _, h1, h2, _ = by_differences(held_out, training, 1 / 3)
    expected = [(1 + (h1 / h2 <= ratio).sum()) / 201 for ratio in d1 / d2]
    assert report.p_value.tolist() == pytest.approx(expected)
    assert report.copied[:11].all()
    assert report.copied.sum() <= 13
    assert report.dominance[10] == math.inf
    assert report.p_value[10] == 1 / 201
    assert report.fewest == 5
    assert report.excess == report.fraction - report.held_out_fraction
    assert report.excess_interval == difference_interval(int(report.memorized.sum()), 50, 0, 200)
    assert not audit(samples, training, held_out[:10]).copied.any()
    assert audit(samples, training, held_out[:10]).fewest > 50
    assert audit(samples, training, held_out, fdr=0.5).copied.sum() >= report.copied.sum()


def test_without_held_out_points_nothing_is_judged():
    report = audit(points(5, 3, 1), points(30, 3, 0))
    assert torch.isnan(report.p_value).all()
    assert report.copied.tolist() == [False] * 5
    assert all(math.isnan(value) for value in (report.excess, *report.excess_interval))
    assert report.fewest is None


def test_classes_are_judged_by_themselves():
    """Each sample is compared with what is held out of its own class, if anything is."""
    training = torch.cat([points(200, 4, 0), 50 + points(200, 4, 1)])
    held_out, samples = torch.cat([points(60, 4, 2), 50 + points(40, 4, 3)]), torch.cat([points(6, 4, 4), training[:2]])
    names, theirs = ["a"] * 6 + ["b", "c"], ["a"] * 60 + ["b"] * 40
    report = audit(samples, training, held_out, sample_labels=names, held_out_labels=theirs)
    whole = audit(samples, training, held_out[:60])
    assert torch.equal(report.p_value[:6], whole.p_value[:6])
    assert report.p_value[6] == 1 / 41
    assert report.p_value[7] == 1  # nothing of its class is held out
    assert report.fewest == 3  # 60 in the largest class: 8/(.05·61)
    given = {"samples": samples, "training": training, "held_out": held_out}
    with pytest.raises(ValueError, match="held_out_labels must be given too"):
        audit(**given, sample_labels=names)
    with pytest.raises(ValueError, match="sample_labels must be given too"):
        audit(**given, held_out_labels=theirs)
    with pytest.raises(ValueError, match="held_out must be given too"):
        audit(samples, training, sample_labels=names, held_out_labels=theirs)
    with pytest.raises(ValueError, match="sample_labels must be one for each of 8 points"):
        audit(**given, sample_labels=names[1:], held_out_labels=theirs)
    with pytest.raises(ValueError, match="held_out_labels must be of the kind of sample_labels"):
        audit(**given, sample_labels=names, held_out_labels=[1] * 100)


def test_without_survey():
    """Sparsity and risk are NaN, the rest is the same, and training sets of k points will do."""
    samples, training = planted()
    whole, quick = audit(samples, training, k=5), audit(samples, training, labels=["a"] * 400, survey=False)
    for name in ("memorized", "nearest", "distance", "memorized_count", "duplicate_of"):
        assert torch.equal(getattr(whole, name), getattr(quick, name)), name
    assert torch.isnan(quick.sparsity).all()
    assert torch.isnan(quick.coverage.risk).all()
    assert math.isnan(quick.labels["a"].risk)
    seen = []
    audit(samples, training[:10], survey=False, progress=lambda *pair: seen.append(pair))
    assert seen[-1] == (100, 100)


def test_rate_per_point_counts_every_visited_point_once():
    training = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [0.0, 10.0]])
    samples = torch.tensor([[0.1, 0.0], [4.9, 0.0], [4.8, 0.0], [0.0, 9.0]])
    report = audit(samples, training, k=1, labels=["x", "x", "y", "y"])
    assert report.fraction == 0.5
    assert report.point_rate == pytest.approx((1 / 3 + 1) / 2)
    assert report.labels["x"].point_rate == pytest.approx(1 / 3)
    assert report.labels["y"].point_rate == 1  # the repeated point once


def test_held_out_points_of_a_label_are_those_nearest_to_its_training_points():
    training = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [20.0, 20.0]])
    held_out = torch.tensor([[0.1, 0.0], [4.9, 0.0], [4.8, 0.0], [0.0, 9.0]])
    labels = ["x", "x", "y", "z"]
    found = audit(held_out, training, held_out, k=1, labels=labels).labels
    assert {name: part.held_out_fraction for name, part in found.items() if name != "z"} == {"x": 1 / 3, "y": 1}
    assert math.isnan(found["z"].held_out_fraction)
    for part in found.values():
        np.testing.assert_equal(part.held_out_fraction, part.fraction)
    assert audit(held_out, training, k=1, labels=labels).labels["x"].held_out_fraction is None


def test_labels_and_held_out():
    training = points(60, 8, 0)
    labels = ["cat"] * 20 + ["dog"] * 40
    samples = torch.cat([training[:10] + 1e-3, training[30:32] + 1e-3, points(200, 8, 1)])
    held_out = torch.cat([points(50, 8, 2), training[5:6]])
    report = audit(samples, training, held_out, labels)
    first, _, _, memorized = by_differences(samples, training, 1 / 3)
    for name, members in (("cat", range(20)), ("dog", range(20, 60))):
        mine = np.isin(first, list(members))
        part = report.labels[name]
        assert (part.training, part.assigned, part.memorized) == (len(members), mine.sum(), (mine & memorized).sum())
        assert report.label_fractions[name] == (mine & memorized).sum() / mine.sum()
        assert part.sparsity == pytest.approx(report.sparsity[list(members)].mean().item())
        assert part.interval == binomial_interval(part.memorized, part.assigned)
    assert report.held_out_fraction == by_differences(held_out, training, 1 / 3)[3].mean()
    assert report.held_out_in_training == 1
    assert audit(samples, training, labels=np.arange(60) % 2).labels.keys() == {0, 1}
    assert audit(samples, training, labels=torch.arange(60) % 2).labels.keys() == {0, 1}
    assert report.interval == binomial_interval(int(memorized.sum()), 212)


def test_a_label_without_samples():
    training = torch.cat([points(20, 4, 0), points(20, 4, 1) + 1000])
    report = audit(points(5, 4, 2), training, labels=[0] * 20 + [1] * 20)
    assert math.isnan(report.label_fractions[1])
    assert report.labels[1].interval == (0.0, 1.0)


def test_arrays_on_disk_give_the_same(tmp_path):
    samples, training = planted()
    expected = audit(samples, training, held_out=samples, k=5)
    for name, values in (("samples", samples), ("training", training)):
        np.save(tmp_path / f"{name}.npy", values.numpy())
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("samples", "training")]
    report = audit(*mapped, held_out=mapped[0], k=5)
    for name in ("memorized", "nearest", "distance", "assigned", "memorized_count", "sparsity", "duplicate_of"):
        assert torch.equal(getattr(report, name), getattr(expected, name)), name


def test_progress_rises_to_the_end():
    seen = []
    audit(
        points(50, 3, 0), points(3000, 3, 1), points(20, 3, 2), progress=lambda done, total: seen.append((done, total))
    )
    done = [pair[0] for pair in seen]
    assert done == sorted(done)
    assert seen[-1][0] == seen[-1][1] == 3000 * 70 + 3000 * 3001 // 2


# Bad input

NAN_ROW = points(40, 3, 5)
NAN_ROW[7, 1] = math.nan


@pytest.mark.parametrize("kind", [torch.Tensor, np.ndarray])
@pytest.mark.parametrize("which", ["samples", "training", "held_out"])
def test_bad_arrays(which, kind):
    good = {"samples": points(40, 3, 0), "training": points(40, 3, 1), "held_out": points(40, 3, 2)}
    for bad in (torch.zeros(40), torch.zeros(0, 3), torch.zeros(40, 3, dtype=torch.int64), NAN_ROW, NAN_ROW * math.inf):
        value = bad if kind is torch.Tensor else bad.numpy()
        with pytest.raises(ValueError, match=which):
            audit(**{**good, which: value})
    with pytest.raises(ValueError, match="samples"):
        audit(points(4, 2, 0), good["training"])
    with pytest.raises(ValueError, match="held_out"):
        audit(good["samples"], good["training"], points(4, 2, 0))


def test_row_of_the_first_nan_is_named():
    with pytest.raises(ValueError, match="row 7"):
        audit(points(3, 3, 0), NAN_ROW.numpy())


def test_bad_options():
    samples, training = points(4, 3, 0), points(11, 3, 1)
    with pytest.raises(ValueError, match="more than k = 11"):
        audit(samples, training, k=11)
    with pytest.raises(ValueError, match="equal"):
        audit(samples, torch.ones(20, 3))
    for k in (0, 1.5, "ten"):
        with pytest.raises(ValueError, match="k must"):
            audit(samples, training, k=k)
    for threshold in (0, 1, -1, 2, math.nan, "third"):
        with pytest.raises(ValueError, match="threshold"):
            audit(samples, training, threshold=threshold)
    for fdr in (0, 1, math.nan, "few"):
        with pytest.raises(ValueError, match="fdr"):
            audit(samples, training, fdr=fdr)
    for labels in (
        [1] * 10,
        [[1] * 11],
        3,
        np.full(11, math.nan),
        [None] * 5 + ["a"] * 6,
        OBJECTS,
        ["1"] * 10 + [1],
        ["a"] * 10 + [math.nan],
    ):
        with pytest.raises(ValueError, match="labels"):
            audit(samples, training, labels=labels)


def test_pixels_divided_in_two_widths_are_equal():
    """A byte over 255 has other digits in float32 than in float64; a copy is a copy all the same."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 12)).astype(np.uint8)
    wide, narrow = pixels / 255.0, pixels.astype(np.float32) / 255
    for samples, training in ((narrow[:5], wide), (wide[:5], narrow)):
        report = audit(samples, training, held_out=samples[:2], k=3)
        assert (report.distance[:, 0] == 0).all()
        assert report.dominance.tolist() == [math.inf] * 5
        assert report.held_out_in_training == 2
        near = audit(samples + samples.dtype.type(1e-5), training, k=3)
        assert (near.distance[:, 0] > 0).all()


def test_arrays_of_other_kinds():
    good = points(40, 3, 0).numpy()
    masked = np.ma.masked_array(good, mask=np.zeros_like(good, dtype=bool))
    expected = audit(good, good, k=3).distance
    assert torch.equal(audit(masked, masked, k=3).distance, expected)
    assert torch.equal(audit(good.astype(">f4"), good.astype(">f4"), k=3).distance, expected)
    masked[3, 1] = np.ma.masked
    with pytest.raises(ValueError, match="samples must hold no masked numbers, got 1"):
        audit(masked, good)
    with pytest.raises(ValueError, match="samples must be a float32"):
        audit(torch.from_numpy(good).bfloat16(), good)


def test_pandas():
    pandas = pytest.importorskip("pandas")
    good = points(40, 3, 0).numpy()
    with pytest.raises(ValueError, match=r"samples must be .*DataFrame: give its \.to_numpy\(\)"):
        audit(pandas.DataFrame(good), good)
    with pytest.raises(ValueError, match=r"samples must be .*Series"):
        audit(pandas.Series(good[:, 0]), good)
    names = pandas.Series(["a", "b"] * 20)
    assert audit(good, good, labels=names, k=3).labels.keys() == {"a", "b"}
    names[3] = pandas.NA
    with pytest.raises(ValueError, match="none missing"):
        audit(good, good, labels=names, k=3)


def test_labels_that_numpy_does_not_know():
    good = points(40, 3, 0)
    assert audit(good, good, labels=(torch.arange(40) % 2).bfloat16(), k=3).labels.keys() == {0.0, 1.0}
