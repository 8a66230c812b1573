"""Ownership against weights computed one by one in mpmath, and drawn noise against what it should be."""

import mpmath
import pytest
import torch

from diffmem_lib import simulation


def points(n, dim, seed=0, dtype=torch.float64):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def exact_log_odds(training, k, y, sigma):
    """log(w/(1 − w)) of training point k at y, term by term in 40 digits."""
    with mpmath.workdps(40):
        weights = [
            mpmath.exp(-sum((mpmath.mpf(a) - mpmath.mpf(b)) ** 2 for a, b in zip(x, y, strict=True)) / (2 * sigma**2))
            for x in training.tolist()
        ]
        return float(mpmath.log(weights[k] / (sum(weights) - weights[k])))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_log_odds_are_those_of_the_weights(dtype):
    training = points(7, 3, dtype=dtype)
    denoiser = simulation.EmpiricalDenoiser(training)
    index, y = torch.tensor([0, 3, 3, 6]), training[[0, 3, 1, 2]] + 0.3 * points(4, 3, 1, dtype)
    for sigma in (0.4, 1.0, 5.0):
        expected = [exact_log_odds(training, int(k), row, sigma) for k, row in zip(index, y.tolist(), strict=True)]
        found = simulation.log_odds(denoiser, index, y, sigma)
        assert found.dtype == torch.float64
        # An owner that outweighs the others by e^w leaves their weight with a relative error of e^w times 1e-8.
        tolerance = [1e-6 * (1 + abs(w)) if w < 3 else 1e-2 for w in expected]
        assert all(abs(a - b) < t for a, b, t in zip(found.tolist(), expected, tolerance, strict=True))


def test_odds_are_even_between_two_points_and_their_sum_is_zero():
    pair = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    denoiser = simulation.EmpiricalDenoiser(pair)
    middle = torch.tensor([[0.0, 3.0]], dtype=torch.float64)
    assert simulation.log_odds(denoiser, torch.tensor([0]), middle, 0.7).item() == pytest.approx(0, abs=1e-7)
    aside = torch.tensor([[0.2, 1.0]], dtype=torch.float64)
    both = [simulation.log_odds(denoiser, torch.tensor([k]), aside, 0.7).item() for k in (0, 1)]
    assert both[1] == pytest.approx(2 * 0.2 / 0.7**2, rel=1e-6)  # (|y − x0|² − |y − x1|²)/2σ²
    assert both[0] == pytest.approx(-both[1], rel=1e-6)


def test_positive_odds_are_a_weight_above_one_half():
    training = points(200, 6)
    denoiser = simulation.EmpiricalDenoiser(training)
    index, y = simulation.noised_points(training, 0.9, 500, torch.Generator().manual_seed(2))
    posterior = denoiser.posterior(y, 0.9)
    owned = (posterior.index == index) & (posterior.weight > 0.5)
    assert torch.equal(simulation.log_odds(denoiser, index, y, 0.9) > 0, owned)
    assert 0.05 < owned.double().mean() < 0.95


def test_far_below_the_spacing_the_others_weigh_nothing():
    training = points(5, 4)
    odds = simulation.log_odds(simulation.EmpiricalDenoiser(training), torch.arange(5), training, 1e-3)
    assert (odds > 20).all()
    assert torch.isfinite(odds).all()


def test_a_single_training_point_has_nobody_to_be_weighed_against():
    alone = points(1, 3)
    with pytest.raises(ValueError, match="number of training points"):
        simulation.log_odds(simulation.EmpiricalDenoiser(alone), torch.tensor([0]), alone, 1.0)


def test_noise_has_its_strength_in_every_direction_and_the_drawn_points_are_all_equally_likely():
    training = points(4, 3)
    index, y = simulation.noised_points(training, 0.5, 40000, torch.Generator().manual_seed(3))
    noise = (y - training[index]) / 0.5
    # Standard errors at 40000 draws: .005 of a mean, .007 of a variance, .0022 of a share.
    assert noise.mean(0).abs().max() < 0.025
    assert (noise.T.cov() - torch.eye(3)).abs().max() < 0.035
    assert (torch.bincount(index, minlength=4) / 40000 - 0.25).abs().max() < 0.011


def test_the_generator_decides_and_the_dtype_stays():
    training = points(4, 3, dtype=torch.float32)
    first, second = (simulation.noised_points(training, 0.5, 9, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert first[1].dtype == torch.float32
