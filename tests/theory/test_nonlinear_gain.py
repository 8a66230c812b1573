"""theory.nonlinear_gain against quadrature with mpmath, against each other, and against expected disagreement."""

import math

import mpmath
import numpy as np
import pytest
from scipy.integrate import quad

from diffmem_lib.theory import linear, nonlinear_gain, random_matrix

CENTRE, SPECTRUM = [1.2, -0.4, 0.3], [0.5, 0.1, 1.5]


def two_peaks(variance):
    """Density, and denoiser at this noise variance, of ±1 with noise."""
    density = lambda y: (mpmath.npdf(y, 1, mpmath.sqrt(variance)) + mpmath.npdf(y, -1, mpmath.sqrt(variance))) / 2
    return density, lambda y: mpmath.tanh(y / variance)


@pytest.mark.parametrize("variance", [0.04, 0.5, 3.0, 40.0])
def test_one_direction_is_the_integral_over_the_density(variance):
    density, best = two_peaks(variance)
    clone = lambda y: mpmath.npdf(y, 0, mpmath.sqrt(1 + variance))
    edges = [-1 - 12 * math.sqrt(variance), -1, 0, 1, 1 + 12 * math.sqrt(variance)]
    with mpmath.workdps(30):
        missed = mpmath.quad(lambda y: density(y) * (y / (1 + variance) - best(y)) ** 2, edges)
        divergence = mpmath.quad(lambda y: density(y) * mpmath.log(density(y) / clone(y)), edges)
    sigma = math.sqrt(variance)
    assert nonlinear_gain.cluster_gain([1.0], [0.0], sigma) == pytest.approx(float(missed), rel=1e-9, abs=1e-14)
    assert nonlinear_gain.cluster_divergence([1.0], [0.0], sigma) == pytest.approx(
        float(divergence), rel=1e-9, abs=1e-14
    )


@pytest.mark.parametrize("sigma", [0.01, 0.7, 2.0])
def test_the_gain_over_all_noises_sums_up_to_the_divergence(sigma):
    """In three directions of different variances, by quadrature in log σ."""
    gain = lambda log: nonlinear_gain.cluster_gain(CENTRE, SPECTRUM, math.exp(log)) * math.exp(-2 * log)
    summed = quad(gain, math.log(sigma), 12, epsrel=1e-9, limit=200)[0]
    assert nonlinear_gain.cluster_divergence(CENTRE, SPECTRUM, sigma) == pytest.approx(summed, rel=1e-7)


def test_far_clusters_lack_a_bit():
    far = nonlinear_gain.cluster_divergence([1e4], [1.0], 1e-6)
    assert far == pytest.approx(math.log1p(1e8) / 2 - math.log(2), rel=1e-14)
    assert nonlinear_gain.cluster_gain([0.0, 0.0], [1.0, 2.0], 1.0) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_doubtful_directions_are_what_few_of_many_points_cost(sigma):
    """n times half the expected disagreement, over the oracle's loss, for very many points."""
    spectrum, n, alpha_bar = np.array([4.0, 1.0, 0.2, 0.01]), 1e7, 1 / (1 + sigma**2)
    half = random_matrix.expected_disagreement(spectrum, n, alpha_bar) / 2
    share = n * half / linear.oracle_loss(np.diag(spectrum), alpha_bar)
    assert nonlinear_gain.doubtful_directions(spectrum, sigma) == pytest.approx(share, rel=1e-5)


def test_a_direction_as_strong_as_the_noise_is_a_quarter():
    assert nonlinear_gain.doubtful_directions([0.49, 0.0], 0.7) == pytest.approx(0.25, rel=1e-15)


def test_refuses_lengths_that_differ():
    with pytest.raises(ValueError, match="centre"):
        nonlinear_gain.cluster_gain([1.0], [1.0, 2.0], 1.0)
