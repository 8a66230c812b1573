"""Coverage against 40-digit arithmetic, SciPy's densities, direct draws of the random energies, and symmetries."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, ncx2

from diffmem_lib.theory import coverage, regimes


def information(eigenvalues, sigma):
    return sum(mpmath.log1p(mpmath.mpf(v) / mpmath.mpf(sigma) ** 2) for v in eigenvalues) / 2


def law(z, variance):
    """Φ(z − log Φ(−z)/√V) in mpmath."""
    return mpmath.ncdf(z - mpmath.log(mpmath.ncdf(-z)) / mpmath.sqrt(variance))


# --- coverage ---------------------------------------------------------------------------------------


def test_log_coverage_of_a_gaussian_density():
    rng = np.random.default_rng(1)
    covariance, sigma = np.diag([0.5, 2.0, 0.0]), 0.7
    y = rng.normal(size=(5, 3))
    log_density = multivariate_normal(np.zeros(3), covariance + sigma**2 * np.eye(3)).logpdf(y)
    by_hand = np.log(40 * np.exp(log_density) * (2 * np.pi * np.e * sigma**2) ** 1.5)
    np.testing.assert_allclose(coverage.log_coverage(log_density, 40, sigma, 3), by_hand, rtol=1e-13)
    assert isinstance(coverage.log_coverage(float(log_density[0]), 40, sigma, 3), float)


def test_log_coverage_broadcasts_and_survives_extreme_sizes():
    values = coverage.log_coverage(np.zeros((4, 1)), 1e300, np.array([1e-200, 1.0, 1e200]), 10**6)
    assert values.shape == (4, 3)
    assert np.isfinite(values).all()
    assert values[0, 1] == pytest.approx(300 * math.log(10) + 5e5 * math.log(2 * math.pi * math.e), rel=1e-14)


def test_the_sharper_form_replaces_the_typical_radius_of_noise_by_the_actual_one():
    plain = coverage.log_coverage(-3.0, 70, 0.4, 8)
    assert coverage.log_sample_coverage(-3.0, 8.0, 70, 0.4, 8) == pytest.approx(plain, rel=1e-14)
    assert coverage.log_sample_coverage(-3.0, 10.0, 70, 0.4, 8) == pytest.approx(plain + 1, rel=1e-14)


def test_the_sharper_form_is_the_others_expected_weight_over_the_own():
    rng = np.random.default_rng(2)
    dim, n, sigma, sets = 2, 30, 0.6, 40000
    x, z = np.array([0.4, -0.9]), np.array([1.1, 0.2])
    y = x + sigma * z
    others = rng.normal(size=(sets, n, dim))
    mean = np.exp(-((y - others) ** 2).sum(-1) / (2 * sigma**2)).sum(1)
    log_density = multivariate_normal(np.zeros(2), (1 + sigma**2) * np.eye(2)).logpdf(y)
    predicted = np.exp(coverage.log_sample_coverage(log_density, z @ z, n, sigma, dim))
    ratio = mean / np.exp(-z @ z / 2)
    assert ratio.mean() == pytest.approx(predicted, abs=4.5 * ratio.std() / math.sqrt(sets))
    assert ratio.std() / math.sqrt(sets) < 0.005 * predicted


# --- the channel ------------------------------------------------------------------------------------


def test_information_density_is_that_of_drawn_pairs():
    rng = np.random.default_rng(3)
    eigenvalues, sigma, pairs = np.array([4.0, 1.0, 0.2, 0.0]), 0.8, 400000
    z = rng.normal(size=(pairs, 4))
    y = np.sqrt(eigenvalues) * rng.normal(size=(pairs, 4)) + sigma * z
    total = eigenvalues + sigma**2
    density = (0.5 * np.log(total / sigma**2) + y**2 / (2 * total) - z**2 / 2).sum(1)
    moments = coverage.information_density(eigenvalues, sigma)
    assert density.mean() == pytest.approx(moments.mean, abs=4.5 * math.sqrt(moments.variance / pairs))
    assert density.var() == pytest.approx(moments.variance, rel=0.015)


def test_information_density_of_directions_without_data_is_zero():
    assert coverage.information_density([0.0, 0.0], 0.3) == coverage.InformationDensity(0.0, 0.0)


# --- critical noise ---------------------------------------------------------------------------------

SPECTRA = {
    "isotropic": np.ones(16),
    "power law": np.arange(1.0, 201.0) ** -2.0,
    "steep": 10.0 ** -np.arange(0.0, 60.0, 3.0),
    "singular": np.array([3.0, 0.0, 1.0, 0.0, 0.0]),
    "one direction": np.array([0.0, 2.5]),
    "tiny and huge": np.array([1e-250, 1.0, 1e250]),
}


@pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)
@pytest.mark.parametrize("n", [1 + 1e-9, 2, 1000, 1e20, 1e300])
def test_critical_sigma_solves_its_equation(spectrum, n):
    sigma = coverage.critical_sigma(spectrum, n)
    with mpmath.workdps(40):
        assert float(information(spectrum, sigma) / mpmath.log(mpmath.mpf(n))) == pytest.approx(1, rel=3e-12)


@given(st.floats(1.001, 1e300), st.integers(1, 300), st.floats(1e-3, 1e3), st.integers(0, 5))
def test_critical_sigma_of_a_flat_manifold_is_the_collapse_in_its_dimension(n, dim, scale, empty):
    spectrum = np.concatenate([np.zeros(empty), np.full(dim, scale**2)])
    assert coverage.critical_sigma(spectrum, n) == pytest.approx(regimes.collapse_sigma(n, dim, scale), rel=1e-11)


def test_critical_sigma_of_one_point_is_infinite_and_more_points_or_less_spread_lower_it():
    spectrum = SPECTRA["power law"]
    assert coverage.critical_sigma(spectrum, 1) == math.inf
    assert coverage.critical_sigma(spectrum, 200) < coverage.critical_sigma(spectrum, 100)
    assert coverage.critical_sigma(spectrum / 4, 100) == pytest.approx(coverage.critical_sigma(spectrum, 100) / 2)
    assert coverage.critical_sigma(spectrum[::-1], 100) == pytest.approx(coverage.critical_sigma(spectrum, 100))


@pytest.mark.parametrize("n", [1 + 1e-9, 2, 1000, 1e300])
@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 30.0])
def test_point_critical_sigma_makes_the_mean_log_coverage_zero(factor, n):
    eigenvalues = np.array([4.0, 1.0, 0.01])
    x = factor * np.array([2.0, -1.0, 0.15])
    sigma = mpmath.mpf(coverage.point_critical_sigma(x, eigenvalues, n))
    with mpmath.workdps(40):
        # E log N(x + σz; 0, λ + σ²) from its definition, one direction after the other
        log_density = sum(
            -mpmath.log(2 * mpmath.pi * (v + sigma**2)) / 2 - (mpmath.mpf(c) ** 2 + sigma**2) / (2 * (v + sigma**2))
            for v, c in zip(map(mpmath.mpf, eigenvalues), x, strict=True)
        )
        rest = log_density + mpmath.mpf(3) / 2 * mpmath.log(2 * mpmath.pi * mpmath.e * sigma**2)
        assert float(-rest / mpmath.log(mpmath.mpf(n))) == pytest.approx(1, rel=1e-11)


def test_point_critical_sigma_grows_outwards_and_meets_the_average_at_a_typical_point():
    eigenvalues = np.array([4.0, 1.0, 0.25, 1.0])
    typical = np.sqrt(eigenvalues)
    sigmas = [coverage.point_critical_sigma(f * typical, eigenvalues, 50) for f in (0.0, 0.5, 1.0, 2.0)]
    assert sigmas == sorted(sigmas)
    assert sigmas[2] == pytest.approx(coverage.critical_sigma(eigenvalues, 50), rel=1e-12)
    assert coverage.point_critical_sigma(typical, eigenvalues, 1) == math.inf


# --- classes ----------------------------------------------------------------------------------------


def test_class_critical_sigmas_are_the_collapse_of_each_class_alone():
    sigmas = coverage.class_critical_sigmas([0.5, 0.3, 0.2], [1.0, 2.0, 0.1], 8000, 32)
    expected = [regimes.collapse_sigma(m, 32, s) for m, s in ((4000, 1.0), (2400, 2.0), (1600, 0.1))]
    np.testing.assert_allclose(sigmas, expected, rtol=1e-13)


def test_a_class_of_one_expected_point_or_less_is_frozen_at_every_noise():
    sigmas = coverage.class_critical_sigmas([0.1, 0.05, 0.85, 0.0], [1, 1, 1, 1], 10, 8)
    assert list(np.isinf(sigmas)) == [True, True, False, True]


@given(st.floats(0.01, 0.9), st.floats(0.2, 5), st.integers(1, 200), st.floats(200, 1e200))
def test_the_equivalent_weight_gives_the_same_threshold(weight, ratio, dim, n):
    members = math.log(n) + coverage.log_equivalent_weight(weight, ratio, n, dim)
    first = regimes.log_collapse_sigma(math.log(weight * n), dim, 1.0)
    if members > 1e-6:
        assert regimes.log_collapse_sigma(members, dim, ratio) == pytest.approx(first, abs=1e-8)


def test_the_equivalent_weight_by_hand_and_of_equal_widths():
    assert coverage.log_equivalent_weight(0.5, 1.0, 1000, 7) == pytest.approx(math.log(0.5), rel=1e-12)
    assert coverage.log_equivalent_weight(0.1, 2.0, 40, 2) == pytest.approx(math.log((1 + 4 * 3) / 40), rel=1e-14)
    assert coverage.log_equivalent_weight(0.5, 2.0, 1000, 200) > 0


# --- the law at finite dimension --------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 2000, 1e12, 1e300])
@pytest.mark.parametrize("dim", [1, 16, 256])
@pytest.mark.parametrize("ratio", [0.3, 0.8, 1.0, 1.3, 5.0])
def test_memorized_probability_is_the_corrected_law(n, dim, ratio):
    sigma = ratio * regimes.collapse_sigma(n, dim, 1.7)
    with mpmath.workdps(40):
        snr = (mpmath.mpf(1.7) / sigma) ** 2
        variance = dim * snr / (1 + snr)
        z = (dim * mpmath.log1p(snr) / 2 - mpmath.log(mpmath.mpf(n))) / mpmath.sqrt(variance)
        expected = float(law(z, variance))
    assert coverage.memorized_probability(n, dim, sigma, 1.7) == pytest.approx(expected, rel=1e-9, abs=1e-300)
    one_by_one = coverage.spectrum_memorized_probability([1.7**2] * dim, n, sigma)
    assert one_by_one == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_memorized_probability_stands_within_four_hundredths_of_drawn_energies():
    """Each y sees its own n − 1 others, whose squared distances given |y|² are noncentral χ²."""
    rng = np.random.default_rng(4)
    n, dim, samples = 1000, 16, 1500
    for ratio in (0.8, 1.0, 1.25):
        sigma = ratio * regimes.collapse_sigma(n, dim)
        z = rng.normal(size=(samples, dim))
        y = rng.normal(size=(samples, dim)) + sigma * z
        distance = rng.noncentral_chisquare(dim, (y**2).sum(1)[:, None], size=(samples, n - 1))
        others = np.exp(-distance / (2 * sigma**2)).sum(1)
        owned = np.mean(np.exp(-(z**2).sum(1) / 2) > others)
        error = math.sqrt(0.25 / samples)
        assert abs(coverage.memorized_probability(n, dim, sigma) - owned) < 0.04 + 4 * error


def test_the_law_of_a_singular_spectrum_is_that_of_its_directions_with_data():
    full = coverage.spectrum_memorized_probability([2.0, 1.0], 9, 0.5)
    assert coverage.spectrum_memorized_probability([0.0, 2.0, 0.0, 1.0], 9, 0.5) == pytest.approx(full, rel=1e-14)


def test_memorized_probability_at_its_ends():
    sigmas = np.array([1e-300, 1e-5, 1.0, 1e5, 1e300])
    values = coverage.memorized_probability(100, 4, sigmas)
    assert values.shape == (5,)
    assert values[0] == values[1] == 1
    assert values[3] == values[4] == 0
    assert coverage.memorized_probability(1, 4, 3.0) == 1
    assert isinstance(coverage.memorized_probability(100, 4, 1.0), float)


@given(st.floats(2, 1e300), st.integers(1, 10**4))
def test_memorized_probability_falls_with_the_noise_and_lies_above_the_plain_law(n, dim):
    sigmas = regimes.collapse_sigma(n, dim) * np.linspace(0.5, 2.0, 16)
    values = coverage.memorized_probability(n, dim, sigmas)
    assert (np.diff(values) <= 1e-12).all()
    assert values[5] > 0.5


# --- inside and outside the shell -------------------------------------------------------------------


def test_outside_the_shell_it_is_zero_coverage():
    radius, sigma, dim = 1.4, 0.5, 1000
    alpha = coverage.shell_critical_alpha(radius, sigma)
    log_density = -0.5 * dim * (math.log(2 * math.pi * (1 + sigma**2)) + radius**2 / (1 + sigma**2))
    assert coverage.log_coverage(log_density, math.exp(100), sigma, dim) == pytest.approx(100 - alpha * dim, rel=1e-11)


def ball_probability(dim, radius_square, centre_square):
    """P(|y − x|² ≤ radius²) for x ~ N(0, I): noncentral χ² as its Poisson mixture."""
    half = centre_square / 2
    return sum(
        mpmath.exp(-half)
        * half**k
        / mpmath.factorial(k)
        * mpmath.gammainc(mpmath.mpf(dim) / 2 + k, 0, radius_square / 2, regularized=True)
        for k in range(1 if centre_square == 0 else 900)
    )


@pytest.mark.parametrize(("radius", "sigma"), [(0.0, 0.3), (0.3, 0.3), (0.6, 0.6), (1.0, 0.5)])
def test_inside_it_is_the_rate_at_which_a_point_is_found_in_the_ball(radius, sigma):
    """−log P/d approaches the rate from above like (log d)/d; the difference of two sizes removes the prefactor."""
    log_probability = []
    with mpmath.workdps(40):
        for dim in (400, 800):
            probability = ball_probability(dim, dim * mpmath.mpf(sigma) ** 2, dim * mpmath.mpf(radius) ** 2)
            log_probability.append(float(mpmath.log(probability) + mpmath.log(dim) / 2))
    rate = -(log_probability[1] - log_probability[0]) / 400
    assert coverage.shell_critical_alpha(radius, sigma) == pytest.approx(rate, rel=2e-3)


def test_the_rate_in_the_ball_against_scipy():
    dim, radius, sigma = 200, 0.5, 0.7
    log_probability = ncx2.logcdf(dim * sigma**2, dim, dim * radius**2)
    assert -log_probability / dim == pytest.approx(coverage.shell_critical_alpha(radius, sigma), abs=0.03)


def test_both_branches_meet_smoothly_at_the_shell_of_noised_points():
    sigma = 0.6
    edge, step = math.sqrt(1 + sigma**2), 1e-5
    inner, at, outer = (coverage.shell_critical_alpha(edge + k * step, sigma) for k in (-1, 0, 1))
    assert at == pytest.approx(0.5 * math.log1p(sigma**-2), rel=1e-14)
    assert (outer - at) / (at - inner) == pytest.approx(1, abs=1e-3)


def test_a_ball_that_holds_typical_points_memorizes_nothing():
    assert coverage.shell_critical_alpha(0.2, 1.3) == 0


# --- bad input --------------------------------------------------------------------------------------

BAD = [math.nan, math.inf, -math.inf, -1.0, None, "x"]
NOT_ONE = [*BAD, 0.0, [1.0, 2.0]]


@pytest.mark.parametrize("bad", [*NOT_ONE, 0.5])
def test_bad_n_is_refused(bad):
    for call in (
        lambda n: coverage.log_coverage(0.0, n, 1.0, 2),
        lambda n: coverage.log_sample_coverage(0.0, 1.0, n, 1.0, 2),
        lambda n: coverage.critical_sigma([1.0], n),
        lambda n: coverage.point_critical_sigma([1.0], [1.0], n),
        lambda n: coverage.class_critical_sigmas([1.0], [1.0], n, 2),
        lambda n: coverage.log_equivalent_weight(1.0, 1.0, n, 2),
        lambda n: coverage.memorized_probability(n, 2, 1.0),
        lambda n: coverage.spectrum_memorized_probability([1.0], n, 1.0),
    ):
        with pytest.raises(ValueError, match=r"^n must be"):
            call(bad)


@pytest.mark.parametrize("bad", [*NOT_ONE, 2.0, True])
def test_bad_dim_is_refused(bad):
    for call in (
        lambda d: coverage.log_coverage(0.0, 9, 1.0, d),
        lambda d: coverage.log_sample_coverage(0.0, 1.0, 9, 1.0, d),
        lambda d: coverage.class_critical_sigmas([1.0], [1.0], 9, d),
        lambda d: coverage.log_equivalent_weight(1.0, 1.0, 9, d),
        lambda d: coverage.memorized_probability(9, d, 1.0),
    ):
        with pytest.raises(ValueError, match=r"^dim must be"):
            call(bad)


@pytest.mark.parametrize("bad", [*BAD, 0.0, [1.0, 0.0], []])
def test_bad_sigma_is_refused(bad):
    for call in (
        lambda s: coverage.log_coverage(0.0, 9, s, 2),
        lambda s: coverage.log_sample_coverage(0.0, 1.0, 9, s, 2),
        lambda s: coverage.information_density([1.0], s),
        lambda s: coverage.memorized_probability(9, 2, s),
        lambda s: coverage.spectrum_memorized_probability([1.0], 9, s),
        lambda s: coverage.shell_critical_alpha(1.0, s),
    ):
        with pytest.raises(ValueError, match=r"^sigma must be"):
            call(bad)


@pytest.mark.parametrize("bad", [math.nan, math.inf, None, "x", [0.0, math.nan], []])
def test_bad_log_density_is_refused(bad):
    with pytest.raises(ValueError, match=r"^log_density must be"):
        coverage.log_coverage(bad, 9, 1.0, 2)
    with pytest.raises(ValueError, match=r"^log_density must be"):
        coverage.log_sample_coverage(bad, 1.0, 9, 1.0, 2)


@pytest.mark.parametrize("bad", [*BAD, [1.0, -1e-9]])
def test_bad_noise_square_is_refused(bad):
    with pytest.raises(ValueError, match=r"^noise_square must be"):
        coverage.log_sample_coverage(0.0, bad, 9, 1.0, 2)


@pytest.mark.parametrize("bad", [1.0, [], [[1.0]], [1.0, -1.0], [1.0, math.nan], [math.inf], None, [0.0, 0.0]])
def test_bad_eigenvalues_are_refused(bad):
    for call in (
        lambda e: coverage.critical_sigma(e, 9),
        lambda e: coverage.point_critical_sigma([1.0, 1.0], e, 9),
        lambda e: coverage.spectrum_memorized_probability(e, 9, 1.0),
    ):
        with pytest.raises(ValueError, match=r"^eigenvalues must"):
            call(bad)
    if bad != [0.0, 0.0]:
        with pytest.raises(ValueError, match=r"^eigenvalues must"):
            coverage.information_density(bad, 1.0)


@pytest.mark.parametrize("bad", [1.0, [], [1.0], [[1.0, 1.0]], [1.0, math.nan], [1.0, math.inf], [1.0, 1e200], None])
def test_bad_coordinates_are_refused(bad):
    with pytest.raises(ValueError, match=r"^coordinates must"):
        coverage.point_critical_sigma(bad, [1.0, 1.0], 9)
    with pytest.raises(ValueError, match=r"^eigenvalues must be positive"):
        coverage.point_critical_sigma([1.0, 0.0], [1.0, 0.0], 9)


@pytest.mark.parametrize("bad", [[0.5, 0.4], [0.5, 0.6], [1.5, -0.5], [1.0], [], 1.0, [math.nan, 1.0], None])
def test_bad_weights_are_refused(bad):
    with pytest.raises(ValueError, match=r"(weights|scales) must"):
        coverage.class_critical_sigmas(bad, [1.0, 1.0], 9, 2)


@pytest.mark.parametrize("bad", [[1.0, 0.0], [1.0, -1.0], [1.0, math.nan], [1.0, math.inf], [1.0], 1.0, [], None])
def test_bad_scales_are_refused(bad):
    with pytest.raises(ValueError, match=r"^scales must"):
        coverage.class_critical_sigmas([0.5, 0.5], bad, 9, 2)


@pytest.mark.parametrize("bad", [*NOT_ONE, 1.1, 0.1])
def test_bad_weight_is_refused(bad):
    with pytest.raises(ValueError, match=r"^weight"):
        coverage.log_equivalent_weight(bad, 1.0, 9, 2)


@pytest.mark.parametrize("bad", NOT_ONE)
def test_bad_width_ratio_or_scale_is_refused(bad):
    with pytest.raises(ValueError, match=r"^width_ratio must be"):
        coverage.log_equivalent_weight(1.0, bad, 9, 2)
    with pytest.raises(ValueError, match=r"^scale must be"):
        coverage.memorized_probability(9, 2, 1.0, bad)


@pytest.mark.parametrize("bad", [*BAD, [1.0, 2.0]])
def test_bad_radius_is_refused(bad):
    with pytest.raises(ValueError, match=r"^radius must be"):
        coverage.shell_critical_alpha(bad, 1.0)


# --- strength of the condensation -------------------------------------------------------------------


@pytest.mark.parametrize(("z", "share"), [(-6.0, 0.5), (-1.5, 0.75), (0.0, 0.5), (0.75, 0.9), (2.5, 0.6), (8.0, 0.99)])
def test_the_condensation_strength_is_its_integral(z, share):
    with mpmath.workdps(30):
        scale = mpmath.sqrt(1 - mpmath.mpf(share))
        centre = z * mpmath.sqrt(mpmath.mpf(share))
        integrand = lambda g: -mpmath.log(mpmath.ncdf(-(centre + scale * g))) * mpmath.npdf(g)  # noqa: E731
        expected = float(mpmath.quad(integrand, [-12, -4, 0, 4, 12]))
    assert coverage.condensation_strength(z, share) == pytest.approx(expected, rel=1e-9)


def test_the_condensation_strength_of_a_known_distance_is_that_of_the_closed_form():
    for z in (-3.0, 0.0, 2.0):
        assert coverage.condensation_strength(z, 1.0) == pytest.approx(float(-mpmath.log(mpmath.ncdf(-z))), rel=1e-13)


def test_the_condensation_strength_grows_with_the_distance_and_with_what_y_decides():
    values = [coverage.condensation_strength(z, 0.7) for z in np.linspace(-5, 5, 21)]
    assert (np.diff(values) > 0).all()
    at_the_collapse = [coverage.condensation_strength(0.0, share) for share in (0.5, 0.75, 1.0)]
    assert at_the_collapse == sorted(at_the_collapse, reverse=True)
    assert at_the_collapse[-1] == pytest.approx(math.log(2), rel=1e-13)


@pytest.mark.parametrize("sigma", [1e-200, 0.3, 1.0, 1e200])
@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_the_remaining_share_is_its_sum(scale, sigma):
    """Also where squares and variances are beyond what a float holds; a direction without data counts for nothing."""
    spectrum = [2.0 * scale, 1.0 * scale, 0.0, 0.1 * scale]
    with mpmath.workdps(50):
        noise, own = mpmath.mpf(sigma) ** 2, [mpmath.mpf(v) for v in spectrum]
        left = sum(v * (v + 2 * noise) / (2 * (v + noise) ** 2) for v in own)
        expected = float(left / sum(v / (v + noise) for v in own))
    assert coverage.remaining_share(spectrum, sigma) == pytest.approx(expected, rel=1e-12)


def test_the_remaining_share_is_what_samples_leave():
    """Variance of log N(y; x, σ²I)/p_σ(y) over x given y, averaged over y, from the posterior of each direction."""
    spectrum, sigma, draws = np.array([3.0, 0.5]), 0.8, 40_000
    generator = np.random.default_rng(0)
    y = generator.normal(size=(draws, 1, 2)) * np.sqrt(spectrum + sigma**2)
    shrunk = spectrum / (spectrum + sigma**2)
    x = shrunk * y + sigma * np.sqrt(shrunk) * generator.normal(size=(draws, 20, 2))
    likelihood = -((y - x) ** 2).sum(2) / (2 * sigma**2)
    left = likelihood.var(1, ddof=1) / coverage.information_density(spectrum, sigma).variance
    expected = coverage.remaining_share(spectrum, sigma)
    assert abs(left.mean() - expected) < 4 * left.std() / draws**0.5 < 0.02


# --- local sparsity ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "dim"), [(1, 1), (5, 8), (10, 2), (10, 64)])
def test_at_the_sparsity_of_a_flat_density_the_coverage_is_one(k, dim):
    """r_j² = (τ_j/c)^{2/D} with arrival times τ_j and c = n p V_D: their mean over j ≤ k, term by term in mpmath."""
    log_count = 1.7
    with mpmath.workdps(30):
        power = mpmath.mpf(2) / dim
        ball = mpmath.pi ** (mpmath.mpf(dim) / 2) / mpmath.gamma(mpmath.mpf(dim) / 2 + 1)
        mean = sum(mpmath.gamma(j + power) / mpmath.gamma(j) for j in range(1, k + 1)) / k
        sparsity = float(mean * mpmath.exp(-power * log_count))
        log_density = float(log_count - mpmath.log(ball))
    sigma = coverage.sparsity_sigma(sparsity, k, dim)
    assert coverage.log_coverage(log_density, 1, sigma, dim) == pytest.approx(0, abs=1e-11)


def test_sparsity_sigma_is_a_root_and_keeps_shapes():
    assert coverage.sparsity_sigma(0.0, 3, 2.5) == 0
    assert isinstance(coverage.sparsity_sigma(1.0, 3, 2.5), float)
    np.testing.assert_allclose(
        coverage.sparsity_sigma(np.array([[1.0], [4.0]]), 3, 2.5),
        coverage.sparsity_sigma(1.0, 3, 2.5) * np.array([[1], [2]]),
    )
    # many dimensions: the noise ball of radius σ√D reaches the neighbours
    assert coverage.sparsity_sigma(1.0, 5, 1e6) ** 2 * 1e6 == pytest.approx(1, abs=1e-4)
