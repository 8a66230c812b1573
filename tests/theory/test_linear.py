"""theory.linear against 50-digit arithmetic, the recursion as it stands, quadrature, and limits."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from diffmem_lib.theory import linear  # the module: pytest would collect a function called test_loss

ALPHAS_BAR = (1e-9, 0.3, 0.9, 1 - 1e-9)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def random_covariance(rng, dim, rank=None):
    factor = rng.normal(size=(dim, rank or dim + 2))
    return factor @ factor.T / dim


def reference_loss(covariance, sample, alpha_bar, ridge, delta):
    """The sheet's trace formula in 60 digits."""
    with mpmath.workdps(60):
        dim, a = len(sample), mpmath.mpf(alpha_bar)
        eye = mpmath.eye(dim)
        learned = a * (mpmath.matrix(sample.tolist()) + mpmath.mpf(ridge) * eye) + (1 - a) * eye
        error = mpmath.matrix(list(map(float, delta)))
        true = a * mpmath.matrix(covariance.tolist()) + (1 - a) * eye + a * error * error.T
        inverse = learned**-1
        trace = sum(inverse[i, i] for i in range(dim))
        both = inverse * true * inverse
        return 1 - 2 * (1 - a) / dim * trace + (1 - a) / dim * sum(both[i, i] for i in range(dim))


@pytest.mark.parametrize("alpha_bar", ALPHAS_BAR)
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_losses_against_fifty_digits(alpha_bar, ridge, rng):
    covariance, sample, delta = random_covariance(rng, 4), random_covariance(rng, 4), rng.normal(size=4)
    expected = reference_loss(covariance, sample, alpha_bar, ridge, delta)
    assert linear.test_loss(covariance, sample, alpha_bar, ridge, delta) == pytest.approx(float(expected), rel=1e-12)
    expected = reference_loss(sample, sample, alpha_bar, ridge, np.zeros(4))
    assert linear.train_loss(sample, alpha_bar, ridge) == pytest.approx(float(expected), rel=1e-12)
    expected = reference_loss(covariance, covariance, alpha_bar, 0, np.zeros(4))
    assert linear.oracle_loss(covariance, alpha_bar) == pytest.approx(float(expected), rel=1e-12)


def test_losses_of_one_dimension():
    assert linear.oracle_loss([[3.0]], 0.25) == pytest.approx(0.75 / 1.5, rel=1e-15)
    assert linear.train_loss([[0.0]], 0.25) == 0
    # nothing learned: the denoiser sees the data as noise, 1/(1 − ᾱ) times too often
    assert linear.test_loss([[3.0]], [[0.0]], 0.25) == pytest.approx(0.25 * 3 / 0.75, rel=1e-15)


@given(st.integers(0, 10**6), st.floats(0.01, 0.99), st.floats(0, 3))
def test_train_is_below_oracle_is_below_test(seed, alpha_bar, ridge):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(6, 4)) * np.array([2.0, 1.0, 0.5, 0.1])
    sample, truth = np.cov(points.T, bias=True), np.diag([4.0, 1.0, 0.25, 0.01])
    oracle = linear.oracle_loss(truth, alpha_bar)
    assert linear.test_loss(truth, sample, alpha_bar, ridge, points.mean(0)) >= oracle
    assert linear.train_loss(sample, alpha_bar) <= linear.train_loss(sample, alpha_bar, ridge) + 1e-15
    assert linear.test_loss(sample, sample, alpha_bar, ridge) == pytest.approx(
        linear.train_loss(sample, alpha_bar, ridge), rel=1e-12
    )
    assert linear.test_loss(truth, truth, alpha_bar) == pytest.approx(oracle, rel=1e-12)


def test_ridge_is_a_shift_of_the_sample_covariance(rng):
    covariance, sample = random_covariance(rng, 5), random_covariance(rng, 5, 2)
    shifted = sample + 0.4 * np.eye(5)
    assert linear.test_loss(covariance, sample, 0.7, 0.4) == pytest.approx(
        linear.test_loss(covariance, shifted, 0.7), rel=1e-12
    )
    betas = np.linspace(1e-3, 0.2, 30)
    assert linear.sampled_variances([0.3, 2.0], betas, 0.4) == pytest.approx(
        linear.sampled_variances([0.7, 2.4], betas), rel=1e-13
    )


# --------------------------------------------------------------------------------------------- the sampler


def recursion(variance, betas, last_noise=True, posterior=False):
    with mpmath.workdps(50):
        betas = [mpmath.mpf(float(b)) for b in betas]
        alphas_bar = [mpmath.mpf(1)]
        for beta in betas:
            alphas_bar.append(alphas_bar[-1] * (1 - beta))
        value = mpmath.mpf(1)
        for step in range(len(betas), 0, -1):
            beta, alpha_bar = betas[step - 1], alphas_bar[step]
            gain = 1 - beta / (alpha_bar * mpmath.mpf(variance) + 1 - alpha_bar)
            added = beta * (1 - alphas_bar[step - 1]) / (1 - alpha_bar) if posterior else beta
            value = gain**2 * value / (1 - beta) + (added if step > 1 or last_noise else 0)
        return float(value)


@pytest.mark.parametrize("last_noise", [True, False])
@pytest.mark.parametrize("betas", [np.linspace(1e-4, 2e-2, 1000), np.linspace(0.01, 0.6, 12), np.array([0.3])])
def test_sampled_variances_solve_the_recursion(betas, last_noise):
    variances = [1e-12, 0.01, 0.1, 1.0, 10.0, 100.0, 1e8]
    expected = [recursion(v, betas, last_noise) for v in variances]
    assert linear.sampled_variances(variances, betas, last_noise=last_noise) == pytest.approx(expected, rel=1e-12)
    expected = [recursion(v, betas, last_noise, posterior=True) for v in variances]
    found = linear.sampled_variances(variances, betas, last_noise=last_noise, step_variance="posterior")
    assert found == pytest.approx(expected, rel=1e-11)  # 1 − ᾱ_1 is a difference of floats in the recursion's betas


def test_sampled_variances_of_the_usual_schedule():
    betas = np.linspace(1e-4, 2e-2, 1000)
    found = linear.sampled_variances([0.01, 0.1, 1, 10, 100], betas)
    assert [round(found[0], 5), round(found[1], 4), round(found[2], 3)] == [0.01025, 0.1007, 1.0]
    assert [round(found[3], 3), round(found[4], 1)] == [9.965, 99.4]
    assert round(linear.sampled_variances([0.01], betas, last_noise=False)[0], 5) == 0.01015
    assert round(linear.sampled_variances([100], np.linspace(1e-4, 1e-2, 1000))[0]) == 85


def test_a_mode_without_variance_keeps_the_last_noise_only():
    betas = np.array([0.02, 0.3])
    assert linear.sampled_variances([0.0], betas)[0] == 0.02
    assert linear.sampled_variances([0.0], betas, last_noise=False)[0] == 0


def test_sampled_variances_of_many_modes():
    found = linear.sampled_variances(np.ones(10**5), np.linspace(1e-4, 2e-2, 200))
    assert found == pytest.approx(np.ones(10**5), rel=1e-13)


@pytest.mark.parametrize("variance", [0.05, 1.0, 7.0])
def test_sampled_variances_tend_to_the_continuous_ones(variance):
    limit = linear.continuous_variances([variance], 0.2)[0]
    gaps = []
    for steps in (1000, 2000):
        betas = np.full(steps, -math.expm1(math.log(0.2) / steps))
        gaps.append(linear.sampled_variances([variance], betas)[0] - limit)
    if variance == 1:
        assert abs(gaps[1]) < 1e-13
    else:
        assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("alpha_bar", [0.01, 0.3, 0.9])
@pytest.mark.parametrize("variance", [0.04, 1.0, 9.0])
def test_continuous_laws_solve_their_differential_equations(variance, alpha_bar):
    # In time s = −log ᾱ, running down: the drift of a mode with mean 1 and the variance of its law.
    def slopes(s, state, noisy):
        mean, spread = state
        a = math.exp(-s)
        m = a * variance + 1 - a
        weight = 1 if noisy else 0.5
        rate = weight / m - 0.5  # x' = −rate x + (weight √a/m) along falling s
        return [rate * mean - weight * math.sqrt(a) / m, 2 * rate * spread - (1 if noisy else 0)]

    for method, noisy in (("ancestral", True), ("ode", False)):
        start = -math.log(alpha_bar)
        solved = solve_ivp(slopes, (start, 0), [0.0, 1.0], args=(noisy,), rtol=1e-11, atol=1e-13).y[:, -1]
        assert linear.mean_factors([variance], alpha_bar, method)[0] == pytest.approx(solved[0], rel=1e-8)
        assert linear.continuous_variances([variance], alpha_bar, method)[0] == pytest.approx(solved[1], rel=1e-8)


def test_continuous_laws_once_the_schedule_has_mixed():
    variances = np.array([0.0, 1e-3, 1.0, 1e3])
    for method in ("ancestral", "ode"):
        assert linear.continuous_variances(variances, 1e-12, method) == pytest.approx(variances, rel=1e-8)
        assert linear.mean_factors(variances, 1e-30, method) == pytest.approx(np.ones(4), rel=1e-12)


def test_mean_factors_near_one_keep_their_digits():
    with mpmath.workdps(50):
        a, v = mpmath.mpf(1 - 1e-9), mpmath.mpf(2.5)
        m = a * v + 1 - a
        expected = (1 - a) / m, 1 - mpmath.sqrt(a * v / m)
    for method, value in zip(("ancestral", "ode"), expected, strict=True):
        assert linear.mean_factors([2.5], 1 - 1e-9, method)[0] == pytest.approx(float(value), rel=1e-12)


# --------------------------------------------------------------------------------------------- early stopping


@pytest.mark.parametrize(("variance", "alpha_bar", "dim"), [(0.5, 0.9, 1), (3.0, 0.2, 10), (1e-6, 0.99, 3)])
def test_optimal_stopping_time_is_the_minimum_of_the_loss(variance, alpha_bar, dim):
    noise = 1 - alpha_bar

    def loss(time):
        weight = (1 - mpmath.exp(-2 * noise * time / dim)) / mpmath.sqrt(noise)
        return (alpha_bar * variance + noise) * weight**2 - 2 * mpmath.sqrt(noise) * weight

    best = linear.optimal_stopping_time(variance, alpha_bar, dim)
    with mpmath.workdps(40):
        assert loss(best) < min(loss(best * 0.999), loss(best * 1.001))
        slope = mpmath.diff(loss, best) / mpmath.diff(loss, best, 2)
        assert abs(slope) < 1e-12 * best


def test_optimal_stopping_time_without_variance():
    assert linear.optimal_stopping_time(0.0, 0.5, 3) == math.inf


# --------------------------------------------------------------------------------------------- bad input

EYE = np.eye(2)


@pytest.mark.parametrize(
    "call",
    [
        lambda: linear.test_loss(EYE, np.eye(3), 0.5),
        lambda: linear.test_loss(EYE, np.ones(2), 0.5),
        lambda: linear.test_loss([[1.0, 2.0], [0.0, 1.0]], EYE, 0.5),
        lambda: linear.test_loss(-EYE, EYE, 0.5),
        lambda: linear.test_loss(EYE, math.nan * EYE, 0.5),
        lambda: linear.test_loss(EYE, EYE, 1.0),
        lambda: linear.test_loss(EYE, EYE, 0.5, -0.1),
        lambda: linear.test_loss(EYE, EYE, 0.5, math.inf),
        lambda: linear.test_loss(EYE, EYE, 0.5, 0, [1.0]),
        lambda: linear.test_loss(EYE, EYE, 0.5, 0, [1.0, math.nan]),
        lambda: linear.train_loss(np.ones((2, 3)), 0.5),
        lambda: linear.train_loss(EYE, 0.0),
        lambda: linear.train_loss(EYE, math.nan),
        lambda: linear.train_loss(EYE, 0.5, -1),
        lambda: linear.oracle_loss(np.full((2, 2), math.inf), 0.5),
        lambda: linear.oracle_loss(EYE, 1.5),
        lambda: linear.oracle_loss(np.zeros((0, 0)), 0.5),
        lambda: linear.sampled_variances([-1.0], [0.1]),
        lambda: linear.sampled_variances([math.nan], [0.1]),
        lambda: linear.sampled_variances([1.0], [0.0]),
        lambda: linear.sampled_variances([1.0], [1.0]),
        lambda: linear.sampled_variances([1.0], [math.nan]),
        lambda: linear.sampled_variances([1.0], [[0.1]]),
        lambda: linear.sampled_variances([1.0], []),
        lambda: linear.sampled_variances(1.0, [0.1]),
        lambda: linear.sampled_variances([1.0], [0.1], -1),
        lambda: linear.continuous_variances([-1.0], 0.5),
        lambda: linear.continuous_variances([1.0], 0),
        lambda: linear.continuous_variances([1.0], 0.5, "euler"),
        lambda: linear.mean_factors([math.inf], 0.5),
        lambda: linear.mean_factors([1.0], 1),
        lambda: linear.mean_factors([1.0], 0.5, None),
        lambda: linear.optimal_stopping_time(-1, 0.5, 3),
        lambda: linear.optimal_stopping_time(math.nan, 0.5, 3),
        lambda: linear.optimal_stopping_time(math.inf, 0.5, 3),
        lambda: linear.optimal_stopping_time(1, 0, 3),
        lambda: linear.optimal_stopping_time(1, 0.5, 0),
        lambda: linear.optimal_stopping_time(1, 0.5, 3.0),
    ],
)
def test_refuses(call):
    with pytest.raises(ValueError, match="must"):
        call()
