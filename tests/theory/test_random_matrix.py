"""theory.random_matrix against 60-digit roots, the Marchenko–Pastur law, exact limits, and its own derivatives."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmem_lib.theory import linear
from diffmem_lib.theory.random_matrix import (
    effective_noise,
    expected_disagreement,
    expected_losses,
    finite_size_shift,
    optimal_ridge,
)

RANDOM = np.random.default_rng(3)
SPECTRA = {
    "white": np.ones(30),
    "power law": 30.0 * np.arange(1, 31) ** -1.5,
    "twelve decades": np.geomspace(1e-6, 1e6, 30),
    "two scales": np.array([1e6] * 10 + [1e-6] * 20),
    "zeros": np.array([3.0, 2.0, 1.0, 0.5, 0.1] + [0.0] * 25),
    "shuffled": RANDOM.permutation(np.geomspace(1e-3, 10, 30)),
}
NOISES = [1e-12, 1e-4, 1.0, 1e8]
COUNTS = [1, 5, 29, 30, 31, 1000, 10**9]


def exact_root(eigenvalues, n, noise):
    """κ by bisection in log κ of D = κ(1 − …) in 80 digits, from its definition; 230/2⁶⁴ is left."""
    with mpmath.workdps(80):
        values, n, noise = [mpmath.mpf(float(v)) for v in eigenvalues], mpmath.mpf(n), mpmath.mpf(noise)

        def gap(log_kappa):
            kappa = mpmath.exp(log_kappa)
            return kappa * (1 - sum(v / (v + kappa) for v in values) / n) - noise

        low, high = mpmath.mpf(-200), mpmath.log(noise + sum(values) / n + 1)
        for _ in range(64):
            middle = (low + high) / 2
            low, high = (middle, high) if gap(middle) < 0 else (low, middle)
        return mpmath.exp((low + high) / 2)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_effective_noise_against_eighty_digits(spectrum, noise):
    for n in COUNTS:
        found = effective_noise(SPECTRA[spectrum], n, noise)
        assert found == pytest.approx(float(exact_root(SPECTRA[spectrum], n, noise)), rel=1e-13)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_without_noise_kappa_is_positive_only_below_the_rank(spectrum):
    values = SPECTRA[spectrum]
    rank = int((values > 0).sum())
    for n in COUNTS:
        found = effective_noise(values, n, 0.0)
        if n >= rank:
            assert found == 0
        else:
            assert np.sum(values / (values + found)) == pytest.approx(n, rel=1e-13)
            assert found == pytest.approx(effective_noise(values, n, 1e-18 * found), rel=1e-12)


def test_no_data_to_speak_of():
    assert effective_noise([0.0, 0.0], 3, 0.7) == pytest.approx(0.7, rel=1e-15)
    assert effective_noise([0.0, 0.0], 3, 0.0) == 0
    assert effective_noise([5.0], 1, 0.0) == 0
    assert effective_noise([2.0, 1.0, 0.5], 10**15, 0.3) == pytest.approx(0.3, rel=1e-14)


@pytest.mark.parametrize("noise", [0.0, 1e-9, 0.3, 50.0])
@pytest.mark.parametrize("ratio", [0.1, 0.999, 1.0, 1.001, 7.0])
def test_white_spectrum_is_a_quadratic_equation(ratio, noise):
    """κ² + (1 − r − D)κ − D = 0 at unit variance; n need not be whole."""
    with mpmath.workdps(40):
        b = 1 - mpmath.mpf(ratio) - mpmath.mpf(noise)
        expected = (-b + mpmath.sqrt(b * b + 4 * mpmath.mpf(noise))) / 2
    found = effective_noise(np.full(1000, 3.0), 1000 / ratio, 3 * noise)
    if noise == 0 and ratio > 1:
        assert found == pytest.approx(3 * (ratio - 1), rel=1e-12)
    else:
        assert found == pytest.approx(3 * float(expected), rel=1e-9 if noise == 0 else 1e-12)


@given(
    st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=30),
    st.floats(1, 100),
    st.floats(1e-9, 1e9),
)
def test_effective_noise_solves_its_equation_grows_and_has_no_units(values, n, noise):
    kappa = effective_noise(values, n, noise)
    assert kappa >= noise * (1 - 1e-14)
    assert kappa <= (noise + sum(values) / n) * (1 + 1e-14)
    ordered = sorted(values, reverse=True)
    with mpmath.workdps(60):  # the equation, with what the double next to κ allows
        sensitive = [
            mpmath.mpf(side) - mpmath.mpf(side) / n * sum(mpmath.mpf(v) / (mpmath.mpf(v) + side) for v in ordered)
            for side in (kappa * (1 - 1e-13), kappa * (1 + 1e-13))
        ]
    assert sensitive[0] <= noise <= sensitive[1]
    assert effective_noise([7 * v for v in values], n, 7 * noise) == pytest.approx(7 * kappa, rel=1e-13)
    more = effective_noise(values, n, 2 * noise)
    assert more - kappa >= noise - 1e-14 * more  # dκ/dσ² is at least 1
    assert effective_noise(values, n + 1, noise) <= kappa * (1 + 1e-14)


# ------------------------------------------------------------------------------- losses


def marchenko_pastur(function, ratio):
    """Mean of a function of the sample covariance's eigenvalues over the limiting law at unit variance, d/n = ratio."""
    with mpmath.workdps(30):
        r = mpmath.mpf(ratio)

        def integrand(theta):
            value = 1 + r + 2 * mpmath.sqrt(r) * mpmath.cos(theta)
            return function(value) * 2 * mpmath.sin(theta) ** 2 / (mpmath.pi * value)

        bulk = mpmath.quad(integrand, mpmath.linspace(0, mpmath.pi, 9))
        return bulk + (max(0, 1 - 1 / r) * function(mpmath.mpf(0)))


def white_losses(ratio, alpha_bar, ridge):
    """Train and test loss for white data, eigenvalue by eigenvalue: fresh data have variance 1 in each direction."""
    a = mpmath.mpf(alpha_bar)
    sigma2, c = (1 - a) / a, mpmath.mpf(ridge)
    train = marchenko_pastur(lambda v: (sigma2 * v + (v + c) ** 2) / (v + sigma2 + c) ** 2, ratio)
    test = marchenko_pastur(lambda v: (sigma2 + (v + c) ** 2) / (v + sigma2 + c) ** 2, ratio)
    return float(train), float(test)


@pytest.mark.parametrize("ridge", [0.0, 0.3, 5.0])
@pytest.mark.parametrize("alpha_bar", [0.1, 0.6, 0.97])
@pytest.mark.parametrize("ratio", [0.2, 0.9, 1.5, 6.0])
def test_losses_of_white_data_are_averages_over_marchenko_and_pastur(ratio, alpha_bar, ridge):
    found = expected_losses(np.ones(10), 10 / ratio, alpha_bar, ridge)
    assert found == pytest.approx(white_losses(ratio, alpha_bar, ridge), rel=1e-10)


def traces(eigenvalues, n, noise):
    """Tr(Σ̂ + D)⁻¹ and Tr Σ(Σ̂ + D)⁻¹ in 60 digits."""
    kappa = mpmath.findroot(
        lambda k: k * (1 - sum(mpmath.mpf(v) / (v + k) for v in map(float, eigenvalues)) / n) - noise,
        mpmath.mpf(effective_noise(eigenvalues, float(n), float(noise))),
    )
    return (
        kappa / noise * sum(1 / (mpmath.mpf(float(v)) + kappa) for v in eigenvalues),
        kappa / noise * sum(float(v) / (mpmath.mpf(float(v)) + kappa) for v in eigenvalues),
    )


@pytest.mark.parametrize("ridge", [0.0, 0.05])
@pytest.mark.parametrize("n", [7, 30, 90])
@pytest.mark.parametrize("spectrum", ["power law", "zeros", "shuffled"])
def test_losses_are_derivatives_of_the_first_order(spectrum, n, ridge):
    """L_test and L_train from the trace formula, second-order traces as derivatives in D of first-order ones."""
    values, alpha_bar, dim = SPECTRA[spectrum], 0.9, 30
    with mpmath.workdps(60):
        a = mpmath.mpf(alpha_bar)
        sigma2 = (1 - a) / a
        noise = sigma2 + mpmath.mpf(ridge)
        first, _ = traces(values, n, noise)
        slopes = [mpmath.diff(lambda x, k=k: traces(values, n, x)[k], noise, h=mpmath.mpf(10) ** -15) for k in (0, 1)]
        test = 1 - 2 * sigma2 / dim * first - sigma2 / dim * (slopes[1] + sigma2 * slopes[0])
        train = 1 - sigma2 / dim * first + ridge * sigma2 / dim * slopes[0]
    assert expected_losses(values, n, alpha_bar, ridge) == pytest.approx((float(train), float(test)), rel=1e-11)


def matrix_means(values, n, replicas, learned, alpha_bar, ridge):
    """Means over training sets, from the exact losses of each, and half of the disagreement by pairs."""
    rng = np.random.default_rng(5)
    covariance, found = np.diag(values), []
    for _ in range(replicas):
        points = rng.normal(size=(n, len(values))) * np.sqrt(values)
        centre = points.mean(0) if learned else np.zeros(len(values))
        sample = (points - centre).T @ (points - centre) / n
        found.append(
            (
                linear.train_loss(sample, alpha_bar, ridge),
                linear.test_loss(covariance, sample, alpha_bar, ridge, -centre),
            )
        )
    found = np.array(found)
    return found.mean(0), found.std(0) / math.sqrt(replicas)


@pytest.mark.parametrize(("mean", "n"), [("known", 60), ("learned", 60), ("learned", 12), ("known", 12)])
def test_losses_against_random_matrices(mean, n):
    """At d = 40 within 2 % (the corrections of order 1/d are .3 % here) plus four standard errors."""
    values = 40 * np.arange(1, 41) ** -1.0 / np.sum(1 / np.arange(1, 41))
    means, errors = matrix_means(values, n, 150, mean == "learned", 0.85, 0.02)
    predicted = np.array(expected_losses(values, n, 0.85, 0.02, mean=mean))
    assert (np.abs(means - predicted) < 0.02 * predicted + 4 * errors).all()
    # one point more or fewer, as a mean that is learned costs, is as large as this allows where n is small
    if n == 12:
        other = "known" if mean == "learned" else "learned"
        assert abs(expected_losses(values, n, 0.85, 0.02, mean=other)[0] / predicted[0] - 1) > 0.03


def test_one_point_with_a_learned_mean_is_refused_and_two_are_not():
    with pytest.raises(ValueError, match="n must"):
        expected_losses([1.0], 1, 0.5, mean="learned")
    assert expected_losses([1.0], 2, 0.5, mean="learned")[1] > 0


@given(
    st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=20),
    st.floats(1, 200),
    st.floats(0.01, 0.999),
    st.floats(0, 10),
)
def test_train_below_oracle_below_test_and_what_two_denoisers_share(values, n, alpha_bar, ridge):
    train, test = expected_losses(values, n, alpha_bar, ridge)
    free, free_test = expected_losses(values, n, alpha_bar)
    oracle = linear.oracle_loss(np.diag(values), alpha_bar)
    half = expected_disagreement(values, n, alpha_bar, ridge) / 2
    assert free <= train * (1 + 1e-12)
    assert free <= oracle * (1 + 1e-12)
    assert min(test, free_test) >= oracle * (1 - 1e-12)
    assert half >= 0
    assert test - half >= oracle * (1 - 1e-9)  # the mean of many denoisers is a linear one, too
    # the train loss is the oracle's at the effective noise
    kappa = effective_noise(values, n, (1 - alpha_bar) / alpha_bar)
    assert free == pytest.approx(linear.oracle_loss(np.diag(values), 1 / (1 + kappa)), rel=1e-9)


def test_many_points_leave_the_oracle():
    values = SPECTRA["power law"]
    oracle = linear.oracle_loss(np.diag(values), 0.9)
    assert expected_losses(values, 1e12, 0.9) == pytest.approx((oracle, oracle), rel=1e-9)
    assert expected_disagreement(values, 1e12, 0.9) < 1e-9


def test_a_large_ridge_answers_zero():
    assert expected_losses([2.0, 1.0], 3, 0.5, 1e9) == pytest.approx((1, 1), rel=1e-6)
    assert expected_disagreement([2.0, 1.0], 3, 0.5, 1e9) < 1e-9


def test_no_variance_is_only_noise():
    assert expected_losses([0.0, 0.0], 3, 0.5) == (0, 0)
    assert expected_disagreement([0.0, 0.0], 3, 0.5) == 0


@pytest.mark.parametrize("values", [np.ones(20), 20.0 * np.arange(1, 21) ** -1.0])
def test_little_noise_and_few_points(values):
    """σ²L_test → nκ₀/d and σ²·disagreement → 2(n/d)κ₀ df₂ as σ → 0 with n < d."""
    n, sigma2 = 8, 1e-9
    kappa = effective_noise(values, n, 0)
    both = np.sum((values / (values + kappa)) ** 2) / n
    alpha_bar = 1 / (1 + sigma2)
    assert sigma2 * expected_losses(values, n, alpha_bar)[1] == pytest.approx(n * kappa / 20, rel=1e-6)
    disagreement = sigma2 * expected_disagreement(values, n, alpha_bar)
    assert disagreement == pytest.approx(2 * n * kappa * both / 20, rel=1e-6)


def test_disagreement_of_the_sheet():
    def power(dim, exponent):
        values = np.arange(1, dim + 1) ** -float(exponent)
        return values * dim / values.sum()

    assert expected_disagreement(power(200, 1), 100, 0.9) == pytest.approx(1.969, abs=5e-4)
    assert expected_disagreement(power(200, 1), 400, 0.5) == pytest.approx(0.0589, abs=5e-5)
    assert expected_disagreement(power(200, 0), 150, 0.95, 0.05) == pytest.approx(1.603, abs=5e-4)


def test_disagreement_of_white_data_by_the_resolvent():
    """2(E Tr QMQ − Tr EQ M EQ)σ²/d with white Σ and M = 1 + σ²: averages over the Marchenko–Pastur law."""
    for ratio, alpha_bar, ridge in ((0.5, 0.5, 0.0), (2.0, 0.9, 0.1)):
        sigma2 = (1 - alpha_bar) / alpha_bar
        one, two = (marchenko_pastur(lambda v, p=p, x=sigma2 + ridge: (v + x) ** -p, ratio) for p in (1, 2))
        expected = 2 * sigma2 * (1 + sigma2) * (two - one**2)
        assert expected_disagreement(np.ones(5), 5 / ratio, alpha_bar, ridge) == pytest.approx(
            float(expected), rel=1e-10
        )


# ------------------------------------------------------------------------------- the best ridge


@pytest.mark.parametrize("alpha_bar", [0.1, 0.9, 0.999])
@pytest.mark.parametrize("n", [3, 30, 300])
@pytest.mark.parametrize("spectrum", ["white", "power law", "shuffled"])
def test_optimal_ridge_is_the_minimum(spectrum, n, alpha_bar):
    values = SPECTRA[spectrum]
    best = optimal_ridge(values, n, alpha_bar)

    def loss(ridge):
        return expected_losses(values, n, alpha_bar, ridge)[1]

    assert loss(best) < min(loss(0.9 * best), loss(1.1 * best))
    assert loss(best) < min(loss(ridge) for ridge in (0, best / 100, 100 * best))
    step = 0.01 * best  # where the slope vanishes, to the third order of the step
    assert abs(loss(best + step) - loss(best - step)) < 0.03 * abs(
        loss(best + step) + loss(best - step) - 2 * loss(best)
    )


@pytest.mark.parametrize(("ratio", "alpha_bar"), [(0.1, 0.5), (1.0, 0.9), (3.0, 0.99)])
def test_optimal_ridge_of_white_data_is_the_root_of_a_quintic(ratio, alpha_bar):
    r, sigma2 = mpmath.mpf(ratio), (1 - mpmath.mpf(alpha_bar)) / mpmath.mpf(alpha_bar)
    ridge = mpmath.mpf(optimal_ridge(np.ones(5), 5 / ratio, alpha_bar))
    noise = sigma2 + ridge
    v = 1 + (r + noise - 1 + mpmath.sqrt((r + noise - 1) ** 2 + 4 * noise)) / 2
    ours, theirs = (v**2 - r) ** 2 * (v - r), (1 + sigma2) * v * (v**3 - r**2)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-9)


@pytest.mark.parametrize("alpha_bar", [0.1, 0.9, 0.999])
def test_optimal_ridge_of_very_many_points_keeps_its_digits(alpha_bar):
    """3ᾱ d/n, and corrections of relative order 4d/n."""
    for n in (1e9, 1e12, 1e15):
        assert optimal_ridge(np.ones(5), n, alpha_bar) == pytest.approx(3 * alpha_bar * 5 / n, rel=5 * 5 / n + 1e-12)


# ------------------------------------------------------------------------------- finite size


@pytest.mark.parametrize("noise", [0.1, 1.0, 7.0])
def test_finite_size_shift_in_one_dimension(noise):
    """The sample variance is χ²_n/n: E v/(v + D) to order 1/n by quadrature."""

    def residual(n):
        with mpmath.workdps(30):
            log_norm = n / 2 * mpmath.log(n / 2) - mpmath.loggamma(n / 2)

            def weighted(v):
                return mpmath.exp(log_norm + (n / 2 - 1) * mpmath.log(v) - n * v / 2) * v / (v + noise)

            width = 12 * mpmath.sqrt(mpmath.mpf(2) / n)
            exact = mpmath.quad(weighted, mpmath.linspace(1 - width, 1 + width, 13))
        kappa = effective_noise([1.0], n, noise)
        return float(exact) - n * (1 - noise / (kappa + finite_size_shift([1.0], n, noise)))

    first, second = (residual(mpmath.mpf(n)) for n in (1000, 4000))
    assert abs(first) < 20 / 1000**2
    assert first / second == pytest.approx(16, rel=0.05)


@pytest.mark.parametrize("n", [10, 20, 40])
def test_finite_size_shift_against_random_matrices(n):
    """Twenty dimensions: the shift within a tenth of itself, plus four standard errors."""
    values, noise, rng = 2.0 * np.arange(1, 21) ** -0.7, 0.15, np.random.default_rng(11)
    points = rng.normal(size=(20_000, n, 20)) * np.sqrt(values)
    learned = np.linalg.eigvalsh(np.swapaxes(points, 1, 2) @ points / n)
    losses = (learned / (learned + noise)).mean(1)
    kappa, shift = effective_noise(values, n, noise), finite_size_shift(values, n, noise)
    expected = n / 20 * (1 - noise / (kappa + shift))
    plain = n / 20 * (1 - noise / kappa)
    assert abs(losses.mean() - expected) < 0.1 * abs(plain - expected) + 4 * losses.std() / math.sqrt(len(losses))
