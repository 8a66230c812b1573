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
    width = mpmath.sqrt(variance)
    return lambda y: (mpmath.npdf(y, 1, width) + mpmath.npdf(y, -1, width)) / 2, lambda y: mpmath.tanh(y / variance)


@pytest.mark.parametrize("variance", [0.04, 0.5, 3.0, 40.0])
def test_one_direction_is_the_integral_over_the_density(variance):
    density, best = two_peaks(variance)
    edges = [-1 - 12 * math.sqrt(variance), -1, 0, 1, 1 + 12 * math.sqrt(variance)]
    with mpmath.workdps(30):
        missed = mpmath.quad(lambda y: density(y) * (y / (1 + variance) - best(y)) ** 2, edges)
        divergence = mpmath.quad(
            lambda y: density(y) * mpmath.log(density(y) / mpmath.npdf(y, 0, mpmath.sqrt(1 + variance))), edges
        )
    sigma = math.sqrt(variance)
    assert nonlinear_gain.cluster_gain([1.0], [0.0], sigma) == pytest.approx(float(missed), rel=1e-9, abs=1e-14)
    assert nonlinear_gain.cluster_divergence([1.0], [0.0], sigma) == pytest.approx(
        float(divergence), rel=1e-9, abs=1e-14
    )


@pytest.mark.parametrize("sigma", [0.01, 0.7, 2.0])
def test_the_gain_over_all_noises_sums_up_to_the_divergence(sigma):
    """In three directions of different variances, by quadrature in log σ."""

    def gain(log_sigma):
        return nonlinear_gain.cluster_gain(CENTRE, SPECTRUM, math.exp(log_sigma)) * math.exp(-2 * log_sigma)

    summed = quad(gain, math.log(sigma), 12, epsrel=1e-9, limit=200)[0]
    assert nonlinear_gain.cluster_divergence(CENTRE, SPECTRUM, sigma) == pytest.approx(summed, rel=1e-7)


def test_far_clusters_lack_a_bit():
    far = nonlinear_gain.cluster_divergence([1e4], [1.0], 1e-6)
    assert far == pytest.approx(math.log1p(1e8) / 2 - math.log(2), rel=1e-14)
    assert nonlinear_gain.cluster_gain([0.0, 0.0], [1.0, 2.0], 1.0) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_doubtful_directions_are_the_first_order_of_many_points(sigma):
    """From the exact covariance of the entries of a sample covariance, in coordinates in which it is not diagonal."""
    spectrum = np.array([4.0, 1.0, 0.2, 0.01])
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    covariance = axes @ np.diag(spectrum) @ axes.T
    noised = covariance + sigma**2 * np.eye(4)
    inverse = np.linalg.inv(noised)
    wick = np.einsum("ac,bd->abcd", covariance, covariance) + np.einsum("ad,bc->abcd", covariance, covariance)
    # The matrix changes by σ² inverse δΣ inverse, and n E δΣ_ab δΣ_cd is wick.
    excess = sigma**4 * np.einsum("xa,by,yz,xc,dz,abcd->", inverse, inverse, noised, inverse, inverse, wick)
    share = excess / np.trace(covariance - covariance @ inverse @ covariance)
    assert nonlinear_gain.doubtful_directions(spectrum, sigma) == pytest.approx(share, rel=1e-12)


def test_in_many_dimensions_it_is_the_expected_disagreement():
    spectrum, n, sigma = np.linspace(0.01, 4, 5000), 1e9, 1.0
    half = random_matrix.expected_disagreement(spectrum, n, 0.5) / 2
    share = n * half / linear.oracle_loss(np.diag(spectrum), 0.5)
    assert nonlinear_gain.doubtful_directions(spectrum, sigma) == pytest.approx(share, rel=1e-3)


def test_directions_as_strong_as_the_noise_count_a_quarter():
    assert nonlinear_gain.doubtful_directions([0.49] * 7 + [0.0], 0.7) == pytest.approx(2, rel=1e-15)


def test_refuses_lengths_that_differ():
    with pytest.raises(ValueError, match="centre"):
        nonlinear_gain.cluster_gain([1.0], [1.0, 2.0], 1.0)
