"""Rates by hand: in both conventions, pooled and by point, with exact copies apart."""

import itertools
import math

import pytest
import torch

from diffmem_lib.memorization import audit
from diffmem_lib.memorization.rates import neighbour_ratio, rates

NEAREST = torch.tensor([4, 4, 4, 9])
DISTANCE = torch.tensor([[0.0, 1.0], [1.0, 4.0], [1.0, 25.0], [3.0, 4.0]], dtype=torch.float64)


def test_ratio_of_both_conventions():
    assert neighbour_ratio(DISTANCE).tolist() == pytest.approx([0, 0.5, 0.2, math.sqrt(0.75)])
    assert neighbour_ratio(DISTANCE, "squared").tolist() == [0, 0.25, 0.04, 0.75]


def test_pooled_and_by_point():
    found = rates(NEAREST, DISTANCE, (0.25, 0.5, 0.9))
    assert (found.thresholds, found.assigned, found.visited, found.exact) == ((0.25, 0.5, 0.9), 4, 2, 1)
    assert found.pooled == (0.5, 0.5, 1.0)  # strictly: 0.5 is not below 0.5
    assert found.per_point == pytest.approx((1 / 3, 1 / 3, 1.0))
    assert found.per_point_error == pytest.approx((1 / 3, 1 / 3, 0.0))  # of 2/3 and 0
    assert rates(NEAREST, DISTANCE, (0.25,), "squared").pooled == (0.5,)
    assert rates(NEAREST, DISTANCE, (0.26,), "squared").pooled == (0.75,)


def test_one_exact_copy_leaves_the_mean_dominance_finite():
    found = rates(NEAREST, DISTANCE)
    assert found.dominance == pytest.approx((math.log(4) + math.log(25) + math.log(4 / 3)) / 3)
    alone = rates(NEAREST[:1], DISTANCE[:1])
    assert math.isnan(alone.dominance)
    assert math.isnan(alone.per_point_error[0])


def test_nothing_at_all():
    empty = rates(NEAREST[:0], DISTANCE[:0])
    assert (empty.assigned, empty.visited) == (0, 0)
    assert all(math.isnan(value) for value in (empty.dominance, *empty.pooled, *empty.per_point))


def test_bins_of_sparsity_sum_up_to_the_whole():
    generator = torch.Generator().manual_seed(0)
    training, fresh = (torch.randn(n, 5, generator=generator) for n in (203, 90))
    training[150] = training[20]
    samples = torch.cat([fresh[:60], training[:30] + 1e-3])
    report = audit(samples, training, fresh[60:], k=5)
    bins = report.by_sparsity(10, (0.1, 1 / 3))
    assert sum(part.training for part in bins) == 202  # equal ones once
    assert max(part.training for part in bins) - min(part.training for part in bins) <= 1
    assert sum(part.samples.assigned for part in bins) == 90
    assert sum(part.held_out.assigned for part in bins) == 30
    assert all(one.high <= two.low for one, two in itertools.pairwise(bins))
    pooled = sum(part.samples.pooled[1] * part.samples.assigned for part in bins if part.samples.assigned)
    assert pooled == pytest.approx(report.fraction * 90)
    ours, theirs = report.rates((0.1, 1 / 3))
    assert ours.pooled[1] == pytest.approx(report.fraction)
    assert theirs.pooled[1] == pytest.approx(report.held_out_fraction)
    assert ours.per_point[1] == pytest.approx(report.point_rate)
    for part in bins:
        inside = (report.sparsity >= part.low) & (report.sparsity <= part.high)
        chosen = inside[report.nearest[:, 0]]
        assert part.samples.assigned == int(chosen.sum())
        if part.samples.assigned:
            assert part.samples.dominance == pytest.approx(float(report.dominance[chosen].mean()))
    assert report.by_sparsity(102) == []
    assert audit(samples, training, survey=False).by_sparsity() == []


def test_bad_options():
    for threshold in (0, 1, math.nan):
        with pytest.raises(ValueError, match="threshold"):
            rates(NEAREST, DISTANCE, (threshold,))
    with pytest.raises(ValueError, match="euclidean"):
        neighbour_ratio(DISTANCE, "cosine")
