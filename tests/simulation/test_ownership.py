"""Ownership against weights computed one by one in mpmath, and drawn noise against what it should be."""

import mpmath
import numpy as np
import pytest
import torch
from scipy import optimize, stats

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


def test_only_those_asked_for_are_drawn():
    training = points(6, 3)
    index, _ = simulation.noised_points(training, 0.5, 6000, torch.Generator().manual_seed(6), torch.tensor([5, 1]))
    counts = torch.bincount(index, minlength=6)
    assert set(counts.nonzero().flatten().tolist()) == {1, 5}
    assert abs(int(counts[1]) - 3000) < 200  # five standard errors of 39


def test_drawing_among_all_is_drawing():
    training = points(6, 3)
    some, every = (
        simulation.noised_points(training, 0.5, 40, torch.Generator().manual_seed(7), among)
        for among in (torch.arange(6), None)
    )
    assert torch.equal(some[0], every[0])
    assert torch.equal(some[1], every[1])


@pytest.mark.parametrize(
    "among", [torch.tensor([6]), torch.tensor([-1]), torch.tensor([0.0]), torch.zeros(0, dtype=torch.int64), [0, 1]]
)
def test_indices_of_no_training_point_are_refused(among):
    with pytest.raises(ValueError, match="among must be integers from 0 to 5"):
        simulation.noised_points(points(6, 3), 0.5, 4, among=among)


def pair_of(distance, dtype=torch.float64):
    """Two points at this distance, for which a noised one is owned with probability Φ(distance/2σ)."""
    return simulation.EmpiricalDenoiser(torch.tensor([[0.0, 1.0], [distance, 1.0]], dtype=dtype))


@pytest.mark.parametrize("among", [None, torch.tensor([1])])
def test_of_two_points_the_nearer_one_owns(among):
    for sigma in (0.5, 1.0, 3.0):
        found = simulation.owned_fraction(pair_of(2.0), sigma, 40000, torch.Generator().manual_seed(8), among)
        assert found == pytest.approx(stats.norm.cdf(1 / sigma), abs=0.0125)  # five standard errors


def test_the_fraction_is_that_of_weights_counted_one_by_one():
    training = points(5, 2)
    denoiser = simulation.EmpiricalDenoiser(training)
    index, y = simulation.noised_points(training, 0.8, 30, torch.Generator().manual_seed(9), torch.tensor([0, 2, 3]))
    owned = [exact_log_odds(training, int(k), row, 0.8) > 0 for k, row in zip(index, y.tolist(), strict=True)]
    again = torch.Generator().manual_seed(9)
    assert 0 < sum(owned) < 30
    assert simulation.owned_fraction(denoiser, 0.8, 30, again, torch.tensor([0, 2, 3])) == sum(owned) / 30


def probability_of_three(sigma, gap):
    """Owned fraction of three points in a row, by quadrature over the noise along it."""
    places, z = gap * np.array([-1.0, 0.0, 1.0]), np.linspace(-8, 8, 4001)
    parts = []
    for place in places:
        weights = np.exp(-((place + sigma * z[:, None] - places) ** 2) / (2 * sigma**2))
        mine = np.exp(-(z**2) / 2)
        parts.append(np.sum(stats.norm.pdf(z) * (mine > weights.sum(1) - mine)) * (z[1] - z[0]))
    return np.mean(parts)


def test_half_of_three_points_in_a_row_are_owned_where_quadrature_says():
    row = simulation.EmpiricalDenoiser(torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64))
    half = optimize.brentq(lambda sigma: probability_of_three(sigma, 1.0) - 0.5, 0.3, 3)
    levels = half * np.geomspace(0.85, 1.18, 5)
    # 20000 points at each level leave .003; over this range a parabola is off by .001.
    assert simulation.half_owned_sigma(row, levels, 20000, torch.Generator().manual_seed(1)) == pytest.approx(
        half, rel=0.015
    )


def test_the_noise_of_half_scales_with_the_data():
    training = points(60, 8)
    sigmas = [1.2, 0.7, 0.95, 1.1]
    one, two = (
        simulation.half_owned_sigma(
            simulation.EmpiricalDenoiser(k * training), [k * s for s in sigmas], 400, torch.Generator().manual_seed(2)
        )
        for k in (1, 2)
    )
    assert two == pytest.approx(2 * one, rel=1e-9)


def test_levels_that_do_not_bracket_the_half_are_refused():
    denoiser = pair_of(2.0)  # two points own more than half at any noise
    with pytest.raises(ValueError, match="falls through 1/2"):
        simulation.half_owned_sigma(denoiser, [0.01, 0.02, 0.03], 100)
    for sigmas in ([1.0, 2.0], [1.0, 2.0, 0.0], [1.0, 2.0, float("nan")], None):
        with pytest.raises(ValueError, match="sigmas"):
            simulation.half_owned_sigma(denoiser, sigmas, 100)


def test_a_crossing_is_found_on_the_line_in_the_logarithm():
    sigmas = np.array([0.5, 1.0, 4.0])
    assert simulation.crossing_sigma(sigmas, 1 - np.log2(sigmas)) == pytest.approx(2.0)
    assert simulation.crossing_sigma(sigmas, 1 - np.log2(sigmas), at=1.5) == pytest.approx(2**-0.5)
    assert simulation.crossing_sigma(sigmas, 2 - np.log2(sigmas)) == pytest.approx(4.0)  # at an end
    for wrong in ([1.0, 0.5, 4.0], [-1.0, 1.0, 2.0], [1.0, 2.0], [1.0, 2.0, float("inf")]):
        with pytest.raises(ValueError, match=r"sigmas|values"):
            simulation.crossing_sigma(wrong, [1.0, 0.0, -1.0])


def test_values_that_wiggle_cross_where_the_nearest_falling_ones_do():
    """The pairs that rise become their means, 5, 3, 0.5, 0.5, −0.5, −0.5, −4; a single crossing stays as it is."""
    sigmas = 2.0 ** np.arange(7)
    assert simulation.crossing_sigma(sigmas, [5, 3, -1, 2, -2, 1, -4]) == pytest.approx(2**3.5)
    assert simulation.crossing_sigma(sigmas, [5, 6, 4, 1, -1, -3, -2]) == pytest.approx(2**3.5)  # elsewhere


def test_wiggles_leave_the_crossing_of_a_falling_line_where_it_is():
    """A noisy line: the mean over many draws is off by less than five standard errors, and no draw is refused."""
    generator = torch.Generator().manual_seed(10)
    logs = np.linspace(-1, 1, 21)
    noise = 0.3 * torch.randn(400, 21, generator=generator, dtype=torch.float64).numpy()
    assert (np.diff(noise[0] - 2 * logs) > 0).any()
    found = np.log([simulation.crossing_sigma(np.exp(logs), row - 2 * logs) for row in noise])
    assert abs(found.mean()) < 5 * found.std() / 20
    assert found.std() < 0.15  # one draw of the noise at the crossing would be worth .3/2


def test_the_middle_of_the_levels_that_are_at_it():
    sigmas = 2.0 ** np.arange(6)
    assert simulation.crossing_sigma(sigmas, [2, 1, 0, 0, -1, -2]) == pytest.approx(2**2.5)
    assert simulation.crossing_sigma(sigmas, [2, 0, -1, 1, -1, -2]) == pytest.approx(2**2)  # 2, 0, 0, 0, −1, −2


@pytest.mark.parametrize(
    "values", [[4, 3, 1], [-1, -2, -3], [-1, 0, 1], [-2, 1, -1], [1, -1, 1], [0, 0, 0], [1, 0, 0], [2, -1, 1]]
)
def test_values_that_do_not_fall_through_the_level_are_refused(values):
    """Never reached, rising, no higher at first than later, or at it up to an end."""
    with pytest.raises(ValueError, match=r"values must fall through 0.0"):
        simulation.crossing_sigma([0.5, 1.0, 4.0], values)
