"""The neighbour ratio against mpmath's integrals, closed forms, the bandwidths of `kde`, limits and direct draws."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, ncx2

from diffmem_lib.theory import kde, neighbours

# --- flat density -----------------------------------------------------------------------------------


def test_the_literatures_third_by_hand():
    """Of Euclidean distances, so a ninth of squared ones: one fresh point in three at D = 1, in 81 at D = 4."""
    np.testing.assert_allclose(neighbours.ratio_cdf(1 / 9, [1, 4]), [1 / 3, 1 / 81], rtol=1e-14)
    assert math.sqrt(neighbours.critical_ratio(0.01, 9)) == pytest.approx(0.60, abs=5e-3)
    assert math.sqrt(neighbours.critical_ratio(0.01, 42)) == pytest.approx(0.90, abs=5e-3)


def test_edges_and_shapes():
    assert neighbours.ratio_cdf(0, 3) == 0
    assert neighbours.ratio_cdf(1, 3) == neighbours.critical_ratio(1, 3) == 1
    assert isinstance(neighbours.ratio_cdf(0.5, 3), float)
    assert neighbours.ratio_cdf(np.ones((4, 1)), np.ones(3)).shape == (4, 3)


@given(st.floats(1e-6, 1), st.floats(0.5, 500))
def test_each_is_the_inverse_of_the_other(level, dimension):
    ratio = neighbours.critical_ratio(level, dimension)
    assert neighbours.ratio_cdf(ratio, dimension) == pytest.approx(level, rel=1e-12)


def test_law_on_a_flat_density():
    """Uniform on the unit square seen from its middle; the edge is beyond the second neighbour but for e^{−150}."""
    rng, sets = np.random.default_rng(0), 20000
    squared = np.sort(((rng.random((sets, 200, 2)) - 0.5) ** 2).sum(2), axis=1)
    ratio = squared[:, 0] / squared[:, 1]
    for level in (0.05, 0.5):
        share = (ratio < neighbours.critical_ratio(level, 2)).mean()
        assert share == pytest.approx(level, abs=4.5 * math.sqrt(level * (1 - level) / sets))


# --- curved density ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("square", "n"), [(0.0, 1e4), (4.0, 1e5)])
def test_curvature_in_the_plane_against_the_integral(square, n):
    """Very many points of N(0, I) in the plane seen from |y|² = square: E Λ(ρr_2²)/Λ(r_2²), Λ = nF."""
    rho = 0.4
    density = ncx2(2, square) if square else chi2(2)
    nodes, weights = np.polynomial.laguerre.laggauss(60)  # n F(r_2²) has the law of a second arrival, density t e^{−t}
    second = density.ppf(nodes / n)
    found = float(weights @ (n * density.cdf(rho * second)))
    curvature = (square - 2) * float(weights @ (nodes * second))
    predicted = neighbours.curved_ratio_cdf(rho, 2, curvature)
    assert predicted - rho == pytest.approx(found - rho, rel=2 * abs(curvature) + 1e-3)
    assert abs(predicted - rho) > 1e-5


def test_no_curvature_is_flat_and_edges():
    np.testing.assert_allclose(
        neighbours.curved_ratio_cdf([0.1, 0.5], 3, 0), neighbours.ratio_cdf([0.1, 0.5], 3), rtol=1e-15
    )
    assert neighbours.curved_ratio_cdf(1, 3, 0.5) == 1
    assert neighbours.curved_ratio_cdf(0, 3, 10) == 0
    assert (
        neighbours.curved_ratio_cdf(0.5, 3, 1) < neighbours.ratio_cdf(0.5, 3) < neighbours.curved_ratio_cdf(0.5, 3, -1)
    )


# --- effective dimension ----------------------------------------------------------------------------


@pytest.mark.parametrize(("dim", "n"), [(64, 1000), (64, 20000), (16, 5000), (256, 3)])
def test_equal_eigenvalues_are_in_the_bandwidths(dim, n):
    """u = 1/h_G², and E_1 = d h*²/2."""
    alpha = math.log(n) / dim
    narrow, best = kde.condensation_bandwidth(alpha), kde.optimal_bandwidth(alpha)
    found = neighbours.effective_dimension(np.full(dim, 0.3), n)
    assert found == pytest.approx(dim * (best / narrow) ** 2, rel=1e-12)
    assert found == pytest.approx(dim * (1 - (narrow**2 / (1 + narrow**2)) ** 2), rel=1e-12)


def test_spectra_in_thirty_digits():
    with mpmath.workdps(30):
        for eigenvalues, n in ((np.arange(1, 41) ** -1.5, 500), ([3.0, 0.0, 1e-4], 1e6)):
            values = [mpmath.mpf(v) for v in eigenvalues]

            def rate(u, values=values):
                return sum(mpmath.log1p(u * v) - u * v / (1 + u * v) ** 2 for v in values) / 2

            u = mpmath.findroot(lambda u: rate(u) - mpmath.log(n), (1e-2, 1e8), solver="anderson")  # noqa: B023
            exact = sum(1 - 1 / (1 + u * v) ** 2 for v in values)
            assert neighbours.effective_dimension(eigenvalues, n) == pytest.approx(float(exact), rel=1e-12)


def test_limits_of_many_and_few_points():
    assert neighbours.effective_dimension(np.ones(5), 1e300) == pytest.approx(5, rel=1e-12)
    dim = 10**6  # the next term is of relative order u = √(4 log n/3d), 1e-3
    assert neighbours.effective_dimension(np.ones(dim), 3) == pytest.approx(
        4 * math.sqrt(dim * math.log(3) / 3), rel=2e-3
    )


def test_units_and_directions_without_data_do_not_count():
    plain = neighbours.effective_dimension([1.0, 0.5, 0.1], 100)
    assert neighbours.effective_dimension([0.0, 1e300, 5e299, 1e299], 100) == pytest.approx(plain, rel=1e-12)
    assert neighbours.effective_dimension([1e-300, 5e-301, 1e-301], 100) == pytest.approx(plain, rel=1e-12)
    assert neighbours.effective_dimension([1.0, 1e-320], 1e308) > 1 - 1e-12


# --- exact dimension --------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 1000, 10**9])
def test_two_dimensions_from_the_middle_in_closed_form(n):
    """r²/2 is exponential, and ∫ (1 − e^{−s}) e^{−(n−1)s} ds/s = log(n/(n−1)) (Frullani)."""
    assert neighbours.exact_dimension(n, 2, 0) == pytest.approx(-2 / (n * math.log1p(-1 / n)), rel=1e-11)


@pytest.mark.parametrize(("n", "dim"), [(2, 1), (20, 1), (1000, 3)])
def test_against_the_integral_in_mpmath(n, dim):
    """In one dimension from a typical point, F = Φ(r − 1) − Φ(−r − 1); in three from the middle, the χ² law."""

    def share(r):
        if dim == 1:
            return mpmath.ncdf(r - 1) - mpmath.ncdf(-r - 1)
        return mpmath.gammainc(mpmath.mpf(3) / 2, 0, r**2 / 2, regularized=True)

    with mpmath.workdps(20):
        inverse = mpmath.quad(lambda r: n * share(r) * (1 - share(r)) ** (n - 1) / r, [0, 0.01, 0.1, 1, 3, 6, 15])
    square = None if dim == 1 else 0
    assert neighbours.exact_dimension(n, dim, square) == pytest.approx(float(1 / inverse), rel=1e-10)


@pytest.mark.parametrize(
    ("n", "dim", "exact", "leading"),
    [
        (1000, 64, 36.49, 37.8),
        (20000, 64, 41.84, 42.9),
        (5000, 16, 14.62, 14.7),
        (20000, 32, 25.93, 26.3),
        (20000, 128, 64.57, 66.7),
        (20000, 256, 96.83, 100.5),
    ],
)
def test_what_simulations_confirmed(n, dim, exact, leading):
    assert neighbours.exact_dimension(n, dim) == pytest.approx(exact, abs=6e-3)
    assert neighbours.effective_dimension(np.ones(dim), n) == pytest.approx(leading, abs=0.06)


def test_the_leading_order_is_approached():
    """At fixed α the relative difference falls like (log d)/d."""
    misses = []
    for dim in (32, 128, 512):
        n = math.exp(dim / 8)
        misses.append(1 - neighbours.exact_dimension(n, dim) / neighbours.effective_dimension(np.ones(dim), n))
    assert misses[0] > 2 * misses[1] > 4 * misses[2] > 0


def test_many_points_see_the_dimension():
    assert neighbours.exact_dimension(1e50, 3) == pytest.approx(3, rel=1e-12)


def test_direct_draws():
    """50 points of N(0, I) in eight dimensions, seen from |y|² = 4."""
    rng, sets = np.random.default_rng(1), 20000
    points = rng.standard_normal((sets, 50, 8))
    points[:, :, 0] -= 2
    squared = np.partition((points**2).sum(2), 1, axis=1)[:, :2]
    logs = 0.5 * np.log(squared[:, 1] / squared[:, 0])
    expected = 1 / neighbours.exact_dimension(50, 8, 4.0)
    assert logs.mean() == pytest.approx(expected, abs=4.5 * logs.std() / math.sqrt(sets))


# --- any spectrum ------------------------------------------------------------------------------------

HARMONIC = 1 / np.arange(1, 65)


@pytest.mark.parametrize(("n", "dim", "square"), [(100, 4, 4), (1000, 16, 8), (10**6, 2, 0), (1e40, 100, 130)])
def test_equal_eigenvalues_have_the_integral_over_the_noncentral_law(n, dim, square):
    """To the eleven digits that 160 nodes and SciPy's law have there; the unit is free."""
    found = neighbours.spectrum_dimension(np.full(dim, 0.3), n, np.full(dim, 0.3 * square / dim))
    assert found == pytest.approx(neighbours.exact_dimension(n, dim, square), rel=1e-10)


def test_share_below_an_energy_in_closed_form():
    """2E is the sum of exponentials of means 2 and 1 in pairs of directions, seen from the middle."""
    values, y2, u = np.array([1.0, 1.0, 0.5, 0.5]), np.zeros(4), 3.0
    energy = neighbours._law(u, values, y2)[1]
    exact = 1 - 2 * math.exp(-energy) + math.exp(-2 * energy)
    assert neighbours._log_share_below(u, values, y2) == pytest.approx(math.log(exact), rel=1e-12)


def test_correction_against_the_integral():
    """At fixed α its relative error falls like 1/d² and the leading order's like (log d)/d."""
    misses = []
    for dim in (32, 96, 288):
        n, ones = math.exp(dim / 4), np.ones(dim)
        exact = neighbours.exact_dimension(n, dim)
        both = neighbours.corrected_dimension(ones, n), neighbours.effective_dimension(ones, n)
        misses.append([value / exact - 1 for value in both])
    corrected, leading = np.array(misses).T
    assert corrected[0] > 8 * corrected[1] > 64 * corrected[2] > 0
    assert leading[2] > leading[0] / 9 > 0
    exact = neighbours.spectrum_dimension(HARMONIC, 5000)
    assert neighbours.corrected_dimension(HARMONIC, 5000) == pytest.approx(exact, rel=0.02)


def test_log_ratio_cdf_at_its_ends():
    """0 at ρ = 1, where its slope is half a dimension; exact integral at 1/3 in d = 64: 6e-28 (theory.md)."""
    ones = np.ones(64)
    assert neighbours.log_ratio_cdf(1, ones, 20000) == pytest.approx(0, abs=1e-12)
    slope = -neighbours.log_ratio_cdf(math.exp(-1e-4), ones, 20000) / 1e-4
    assert 2 * slope == pytest.approx(neighbours.exact_dimension(20000, 64), rel=0.04)
    assert neighbours.log_ratio_cdf(1 / 9, ones, 20000) == pytest.approx(math.log(6e-28), abs=0.1)
    few = neighbours.log_ratio_cdf([0.5, 0.25], [1.0, 1.0], 1e9)  # a flat density, far below
    np.testing.assert_allclose(few, np.log([0.5, 0.25]), rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "noises", "found"),
    [
        (np.ones(64), (1.193, 1.403, 1.613), (0.799, 0.462, 0.204)),
        (np.ones(16), (0.471, 0.554, 0.638), (0.707, 0.476, 0.295)),
        (HARMONIC, (0.2547, 0.2996, 0.3445), (0.800, 0.468, 0.202)),
    ],
)
def test_copy_power_as_measured(values, noises, found):
    """At p = .01 among 5000 points: shares of 40 × 256 copies, drawn in torch, whose standard errors are .005."""
    ratio = neighbours.critical_ratio(0.01, neighbours.spectrum_dimension(values, 5000))
    power = [neighbours.copy_power(s, ratio, values, 5000) for s in noises]
    np.testing.assert_allclose(power, found, atol=0.02)
    assert neighbours.copy_power(2 * noises[1], ratio, 4 * values, 5000) == pytest.approx(power[1], rel=1e-9)


@pytest.mark.parametrize(("dim", "noise"), [(16, 0.45), (16, 0.52), (64, 1.3)])
def test_copy_power_against_the_exact_mean_for_equal_eigenvalues(dim, noise):
    """Over |z|² ~ χ² and |y|² ~ noncentral χ² for given z; eight nodes each leave .0005, normal ones .01."""
    n, ratio = 5000, neighbours.critical_ratio(0.01, neighbours.exact_dimension(5000, dim))
    levels, exact = (np.arange(40) + 0.5) / 40, 0.0
    for square in chi2.ppf(levels, dim) * noise**2:
        share = ncx2.cdf(square / ratio, dim, ncx2.ppf(levels, dim, square))
        exact += ((1 - share) ** n).mean() / 40
    found = neighbours.copy_power(noise, ratio, np.ones(dim), n)
    assert found == pytest.approx(exact, abs=0.002)


def test_copies_without_noise_are_found_and_far_ones_are_not():
    assert neighbours.copy_power(1e-6, 0.5, HARMONIC, 1000) == pytest.approx(1, abs=1e-12)
    assert neighbours.copy_power(10, 0.5, HARMONIC, 1000) < 1e-12


def test_direct_draws_of_a_spectrum():
    rng, sets = np.random.default_rng(2), 4000
    values = np.array([2.0, 1.0, 0.5, 0.1, 0.1])
    points = rng.standard_normal((sets, 120, 5)) * np.sqrt(values) - np.sqrt(values)
    squared = np.partition((points**2).sum(2), 1, axis=1)[:, :2]
    logs = 0.5 * np.log(squared[:, 1] / squared[:, 0])
    expected = 1 / neighbours.spectrum_dimension(values, 120)
    assert logs.mean() == pytest.approx(expected, abs=4.5 * logs.std() / math.sqrt(sets))


def test_bad_input():
    for call, argument in (
        (lambda: neighbours.ratio_cdf(1.1, 2), "ratio"),
        (lambda: neighbours.ratio_cdf([0.2, -0.1], 2), "ratio"),
        (lambda: neighbours.ratio_cdf(math.nan, 2), "ratio"),
        (lambda: neighbours.critical_ratio(0.0, 2), "level"),
        (lambda: neighbours.critical_ratio(0.5, 0), "dimension"),
        (lambda: neighbours.critical_ratio(0.5, math.inf), "dimension"),
        (lambda: neighbours.effective_dimension([0.0, 0.0], 10), "eigenvalues"),
        (lambda: neighbours.effective_dimension([1.0], 1), "n must"),
        (lambda: neighbours.exact_dimension(1.5, 3), "n must"),
        (lambda: neighbours.exact_dimension(10, 3.0), "dim"),
        (lambda: neighbours.exact_dimension(10, 3, -1.0), "square"),
    ):
        with pytest.raises(ValueError, match=argument):
            call()
