"""Predicted risk: a density that is known, a case by hand, sparse points, duplicates, bad input."""

import math

import pytest
import torch

from diffmem_lib.memorization import audit, coverage_risk, risk_from_neighbours


def points(n, dim, seed, dtype=torch.float32):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_risk_knows_the_density_of_a_uniform_law(dim):
    """Uniform on the unit torus p = 1, so that nσ_c^D (2πe)^{D/2} = 1, to within the noise of ten neighbours."""
    n = 4000
    x = torch.rand(n, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    squared = torch.zeros(n, n, dtype=torch.float64)
    for axis in x.T:
        gap = (axis[:, None] - axis).abs()
        squared += torch.minimum(gap, 1 - gap).square()
    squared.fill_diagonal_(torch.inf)
    coverage = risk_from_neighbours(squared.topk(10, largest=False).values)
    expected = n ** (-1 / dim) / math.sqrt(2 * math.pi * math.e)
    assert coverage.dimension == dim
    # (k − 1)/r_k^D is unbiased with a relative spread of 1/√(k − 2) for one point, of which there are n/k independent.
    mean_density = (coverage.critical_sigma ** (-dim)).mean().item()
    assert mean_density == pytest.approx(expected ** (-dim), rel=5 / math.sqrt(8 * n / 10))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_risk_is_minus_the_log_coverage(dtype):
    """By hand on a line: neighbours at 1, 2, 4, so 1/D = 1.5 log 2, rounded D = 1; p = (3 − 1)/((n − 1)·2·4)."""
    squared = torch.tensor([[1.0, 4.0, 16.0]] * 3 + [[4.0, 16.0, 64.0]], dtype=dtype)
    coverage = risk_from_neighbours(squared)
    assert coverage.dimension == 1
    critical = [1 / (4 * 2 / (3 * 2 * r)) / math.sqrt(2 * math.pi * math.e) for r in (4, 4, 4, 8)]
    assert coverage.critical_sigma.tolist() == pytest.approx(critical, rel=1e-14)
    assert coverage.reference_sigma == pytest.approx(critical[0], rel=1e-14)
    assert coverage.risk.tolist() == pytest.approx([0, 0, 0, math.log(2)], abs=1e-14)


def test_risk_of_sparse_points_is_larger_and_of_duplicates_alone_unknown():
    dense, sparse = points(200, 6, 0), 8 * points(50, 6, 1)
    risk = audit(dense[:2], torch.cat([dense, sparse])).coverage.risk
    assert risk[200:].median() > risk[:200].median() + 3
    same = torch.zeros(20, 3)
    same[12:] = points(8, 3, 2)
    risk = audit(same[:1], same, k=5).coverage.risk
    assert torch.isnan(risk[:12]).all()
    assert not torch.isnan(risk[12:]).any()


def test_risk_from_the_training_set_alone():
    training = points(80, 5, 0)
    alone, audited = coverage_risk(training, 6), audit(training[:3], training, k=6).coverage
    assert torch.equal(alone.risk, audited.risk)
    assert (alone.dimension, alone.reference_sigma) == (audited.dimension, audited.reference_sigma)
    for bad in (training.numpy(), training[:6], training[0], torch.full_like(training, math.nan)):
        with pytest.raises(ValueError, match="training"):
            coverage_risk(bad, 6)
    with pytest.raises(ValueError, match="k must"):
        coverage_risk(training, 1)
