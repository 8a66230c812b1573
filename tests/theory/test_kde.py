"""theory.kde against 50-digit roots of the defining integrals, exact limits, and direct numerical integration."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from diffmem_lib.theory import kde

ALPHAS = [1e-4, 1e-3, 0.01, 0.1, (math.log(2) - 0.25) / 2, 0.4, 1.0, 3.0, 10.0]
alphas = st.floats(1e-4, 10)
bandwidths = st.floats(0.05, 20)


def mp_log_moment(power, bandwidth, radius):
    """g(λ) from its definition: two coordinate integrals, one along y and one across, per dimension in the limit.

    With y along all coordinates equally (y_k² = ρ) every coordinate contributes the same integral.
    """
    shift = mpmath.sqrt(radius)
    return mpmath.log(
        mpmath.quad(
            lambda x: mpmath.exp(-power * (shift - x) ** 2 / (2 * bandwidth**2)) * mpmath.npdf(x),
            [-mpmath.inf, -3, 0, shift, 3, mpmath.inf],
        )
    )


def mp_root(alpha, power=1):
    """h at which α = λ g′(λ) − g(λ), by mpmath's own derivative of g."""
    with mpmath.workdps(50):

        def g(lam, h):
            return -mpmath.log(1 + lam / h**2) / 2 - lam / (2 * (h**2 + lam))

        def gap(h):
            return power * mpmath.diff(lambda lam: g(lam, h), power) - g(mpmath.mpf(power), h) - mpmath.mpf(alpha)

        start = math.exp(-alpha) if alpha > 0.3 else (0.75 / alpha) ** 0.25
        return mpmath.findroot(gap, mpmath.mpf(start) * math.sqrt(power))


@pytest.mark.parametrize(
    ("power", "bandwidth", "radius"), [(1, 0.8, 1), (2, 0.8, 1), (0.3, 2.0, 0.4), (1.7, 0.5, 1.25)]
)
def test_log_moment_is_the_gaussian_integral(power, bandwidth, radius):
    with mpmath.workdps(30):
        expected = mp_log_moment(mpmath.mpf(power), mpmath.mpf(bandwidth), mpmath.mpf(radius))
    assert kde.log_moment(power, bandwidth, radius) == pytest.approx(float(expected), rel=1e-13)


@given(st.floats(1e-3, 1e3), st.floats(0, 4))
def test_rate_is_the_legendre_transform(tilt, radius):
    def tilted(u):
        energy = 0.5 / (1 + tilt) + 0.5 * radius / (1 + tilt) ** 2
        return -u * energy - kde.log_moment(u, 1.0, radius)

    best = tilted(tilt)
    assert kde.rate(tilt, radius) == pytest.approx(best, rel=1e-9, abs=1e-12)
    assert best >= max(tilted(0.9 * tilt), tilted(1.1 * tilt)) - 1e-12


def test_rate_counts_noncentral_chi_squares():
    """−(1/d) log P(|y−x|²/2 < d·e) approaches the rate like (log d)/d, from above."""
    tilt, energy = 0.5, 0.5 / 1.5 + 0.5 / 1.5**2
    dims = np.array([100, 200, 400])
    excess = -stats.ncx2.logcdf(2 * dims * energy, dims, dims) / dims - kde.rate(tilt)
    curvature = 0.5 / 1.5**2 + 1 / 1.5**3
    expected = 0.5 * np.log(2 * np.pi * dims * curvature * tilt**2) / dims
    assert np.all(np.abs(excess - expected) < 3 / dims**1.5)


@given(alphas, bandwidths, st.floats(0.1, 3))
def test_entropy_at_a_noised_training_point_is_mutual_information(alpha, bandwidth, power):
    information = 0.5 * math.log1p(1 / bandwidth**2)
    assert kde.entropy(alpha, bandwidth, radius=1 + bandwidth**2) == pytest.approx(alpha - information, abs=1e-12)
    assert kde.entropy(alpha, bandwidth, power) == pytest.approx(alpha - kde.rate(power / bandwidth**2), abs=1e-14)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_bandwidths_against_50_digits(alpha):
    assert kde.condensation_bandwidth(alpha) == pytest.approx(float(mp_root(alpha)), rel=1e-12)
    assert kde.clt_bandwidth(alpha) == pytest.approx(float(mp_root(alpha, power=2)), rel=1e-12)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_optimal_bandwidth_is_the_nearest_distance(alpha):
    """r²/d = 2e with e the least energy that e^{dα} points reach, by mpmath from the Legendre transform."""
    with mpmath.workdps(50):
        tilt = mp_root(alpha) ** -2
        energy = mpmath.diff(lambda u: mpmath.log(1 + u) / 2 + u / (2 * (1 + u)), tilt)
        expected = mpmath.sqrt(2 * energy)
    assert kde.optimal_bandwidth(alpha) == pytest.approx(float(expected), rel=1e-12)


@given(alphas)
def test_entropy_vanishes_at_the_bandwidths_and_they_are_ordered(alpha):
    condensation, clt = kde.condensation_bandwidth(alpha), kde.clt_bandwidth(alpha)
    assert kde.entropy(alpha, condensation) == pytest.approx(0, abs=1e-12 * max(alpha, 1))
    assert kde.entropy(alpha, clt, power=2) == pytest.approx(0, abs=1e-12 * max(alpha, 1))
    assert kde.entropy(alpha, 1.01 * condensation) > 0 > kde.entropy(alpha, 0.99 * condensation)
    assert kde.optimal_bandwidth(alpha) <= condensation * (1 + 1e-15) < clt  # they merge as α grows: to 1e-17 at 10


@given(st.floats(1e-4, 9.9))
def test_bandwidths_fall_with_the_number_of_points(alpha):
    for function in (kde.condensation_bandwidth, kde.clt_bandwidth, kde.optimal_bandwidth):
        assert function(1.01 * alpha) < function(alpha)


def test_limits_of_few_and_of_many_points():
    assert kde.condensation_bandwidth(1e-4) == pytest.approx((3 / 4e-4) ** 0.25, rel=1e-2)
    assert kde.optimal_bandwidth(1e-4) == pytest.approx(math.sqrt(2), rel=1e-2)
    assert kde.condensation_bandwidth(10.0) == pytest.approx(math.exp(-10), rel=1e-8)
    assert kde.optimal_bandwidth(10.0) == pytest.approx(math.exp(-10), rel=1e-8)


def test_ten_to_the_300_points():
    """α is given directly, so n need not be a float: 10^300 points in 100 dimensions, 10^4000 in 1000."""
    for digits, dim in ((300, 100), (4000, 1000)):
        alpha = digits * math.log(10) / dim
        assert kde.condensation_bandwidth(alpha) == pytest.approx(float(mp_root(alpha)), rel=1e-12)


@given(alphas, st.floats(0.05, 3))
def test_index_and_participation(alpha, ratio):
    bandwidth = ratio * kde.condensation_bandwidth(alpha)
    assert kde.stable_index(alpha, bandwidth) == pytest.approx(min(ratio**2, 2), rel=1e-12)
    assert kde.inverse_participation(alpha, bandwidth) == pytest.approx(max(0, 1 - ratio**2), abs=1e-12)


def test_participation_of_poisson_weights():
    """E Σ w² for weights Γ_k^{−1/m} of a Poisson process, simulated; m = (h/h_G)²."""
    rng = np.random.default_rng(1)
    arrivals = np.cumsum(rng.exponential(size=(4000, 2000)), axis=1)
    weights = arrivals ** (-1 / 0.5)
    values = (weights**2).sum(1) / weights.sum(1) ** 2
    error = values.std() / math.sqrt(len(values))
    predicted = kde.inverse_participation(0.3, math.sqrt(0.5) * kde.condensation_bandwidth(0.3))
    assert abs(values.mean() - predicted) < 5 * error < 0.03


@given(alphas)
def test_expected_log_density_is_smooth_and_largest_at_the_optimum(alpha):
    h, best = kde.condensation_bandwidth(alpha), kde.optimal_bandwidth(alpha)
    below, at = kde.expected_log_density(alpha, h * (1 - 1e-9)), kde.expected_log_density(alpha, h)
    assert below == pytest.approx(at, abs=1e-8)
    top = kde.expected_log_density(alpha, best)
    for factor in (0.3, 0.9, 0.99, 1.01, 1.1, 3.0):
        assert kde.expected_log_density(alpha, factor * best) <= top + 1e-12


def test_expected_log_density_of_a_wide_kernel_is_that_of_the_smoothed_law():
    smoothed = integrate.quad(lambda y: stats.norm.pdf(y) * stats.norm.logpdf(y, scale=math.sqrt(1 + 3.0**2)), -20, 20)
    assert kde.expected_log_density(0.1, 3.0) == pytest.approx(smoothed[0], rel=1e-9)


BAD_NUMBERS = [math.nan, math.inf, -math.inf, None, "h", np.ones(3), 1j]


@pytest.mark.parametrize("function", [kde.condensation_bandwidth, kde.clt_bandwidth, kde.optimal_bandwidth])
@pytest.mark.parametrize("bad", [*BAD_NUMBERS, 0.0, -0.1, 9.9e-5, 10.1])
def test_bad_alpha(function, bad):
    with pytest.raises(ValueError, match=r"alpha must be .* got"):
        function(bad)


@pytest.mark.parametrize(
    "function", [kde.stable_index, kde.inverse_participation, kde.expected_log_density, kde.entropy]
)
@pytest.mark.parametrize("bad", [*BAD_NUMBERS, 0.0, -0.1])
def test_bad_alpha_or_bandwidth(function, bad):
    with pytest.raises(ValueError, match=r"alpha must be .* got"):
        function(bad, 1.0)
    with pytest.raises(ValueError, match=r"bandwidth must be .* got"):
        function(0.1, bad)


@pytest.mark.parametrize("bad", [*BAD_NUMBERS, -0.1])
def test_bad_power_tilt_and_radius(bad):
    with pytest.raises(ValueError, match=r"power must be .* got"):
        kde.log_moment(bad, 1.0)
    with pytest.raises(ValueError, match=r"bandwidth must be .* got"):
        kde.log_moment(1.0, bad)
    with pytest.raises(ValueError, match=r"radius must be .* got"):
        kde.log_moment(1.0, 1.0, bad)
    with pytest.raises(ValueError, match=r"tilt must be .* got"):
        kde.rate(bad)
    with pytest.raises(ValueError, match=r"radius must be .* got"):
        kde.rate(1.0, bad)
    with pytest.raises(ValueError, match=r"power must be .* got"):
        kde.entropy(0.1, 1.0, bad)
    with pytest.raises(ValueError, match=r"radius must be .* got"):
        kde.entropy(0.1, 1.0, radius=bad)
