"""Sparsity and neighbour gap against their definitions, worked cases and bad input."""

import math

import pytest
import torch

from diffmem_lib.memorization import local_sparsity, neighbour_gap


def points(n, dim, seed, dtype=torch.float64):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_sparsity_by_hand():
    """On the line at 0, 1, 3, 7: squared distances to the two nearest others are (1, 9), (1, 4), (4, 9), (16, 36)."""
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert local_sparsity(line, k=2).tolist() == [5.0, 2.5, 6.5, 26.0]
    assert local_sparsity(line.repeat(1, 4), k=2).tolist() == [5.0, 2.5, 6.5, 26.0]  # per dimension


def test_sparsity_of_duplicates_is_zero():
    training = points(30, 3072, 0, torch.float32)
    training[4] = training[9]
    sparsity = local_sparsity(training, k=1)
    assert sparsity[4] == sparsity[9] == 0
    assert (sparsity > 0).sum() == 28


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sparsity_of_many_points(dtype):
    training = points(2300, 6, 0, dtype)
    squared = (training.double()[:, None] - training.double()[None]).square().sum(2).fill_diagonal_(torch.inf)
    expected = squared.topk(10, largest=False).values.mean(1) / 6
    torch.testing.assert_close(local_sparsity(training), expected, rtol=1e-12, atol=0)


def test_gap_by_hand():
    gap = neighbour_gap(torch.tensor([[1.0, 0.0], [5.0, 0.0]]), torch.tensor([[0.0, 0.0], [3.0, 0.0], [9.0, 0.0]]))
    assert gap.index.tolist() == [[0, 1], [1, 2]]
    assert gap.distance.tolist() == [[0.5, 2.0], [2.0, 8.0]]
    torch.testing.assert_close(gap.dominance, torch.full((2,), math.log(4), dtype=torch.float64))


def test_exact_copies():
    """A copy of one point dominates without bound, a copy of a point that is there twice not at all."""
    training = points(40, 3072, 0, torch.float32)
    training[1] = training[0]
    gap = neighbour_gap(training[[0, 5]], training)
    assert gap.index[0].tolist() == [0, 1]
    assert gap.index[1, 0] == 5
    assert gap.distance[:, 0].tolist() == [0, 0]
    assert gap.dominance.tolist() == [0, math.inf]


def test_near_copies_keep_their_digits():
    """At d = 3072 a shift of 1e-4 is lost in a float32 product; the gap has it to 1e-6."""
    training = points(500, 3072, 0, torch.float32)
    samples = training[:20] + 1e-4 * points(20, 3072, 1, torch.float32)
    gap = neighbour_gap(samples, training)
    expected = (samples.double() - training[:20].double()).square().mean(1)
    assert gap.index[:, 0].tolist() == list(range(20))
    torch.testing.assert_close(gap.distance[:, 0], expected, rtol=1e-12, atol=0)


def test_results_are_float64():
    training = points(20, 3, 0, torch.float32)
    assert local_sparsity(training).dtype == neighbour_gap(training[:2], training).distance.dtype == torch.float64


BAD = [
    torch.zeros(4),
    torch.zeros(0, 3),
    torch.zeros(40, 3, dtype=torch.int64),
    torch.full((40, 3), math.nan),
    torch.full((40, 3), math.inf),
    [[1.0, 2.0, 3.0]] * 40,
]


@pytest.mark.parametrize("bad", BAD)
def test_bad_arrays(bad):
    good = points(40, 3, 0)
    with pytest.raises(ValueError, match="training"):
        local_sparsity(bad)
    with pytest.raises(ValueError, match="training"):
        neighbour_gap(good, bad)
    with pytest.raises(ValueError, match="samples"):
        neighbour_gap(bad, good)


def test_bad_sizes():
    training = points(10, 3, 0)
    with pytest.raises(ValueError, match="more than k = 10"):
        local_sparsity(training)
    with pytest.raises(ValueError, match="at least 2"):
        neighbour_gap(training, training[:1])
    with pytest.raises(ValueError, match="samples"):
        neighbour_gap(training[:, :2], training)
    for k in (0, -1, 2.0, True, "few"):
        with pytest.raises(ValueError, match="k must"):
            local_sparsity(training, k=k)
