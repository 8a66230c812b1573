"""Drift, noise and recovery time of one-pass SGD, against mpmath, exact cases and limits."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmem_lib.theory import sgd_dynamics
from diffmem_lib.theory.hermite import hermite_coefficients, loss_coefficients

BAD = [math.nan, math.inf, "a", None]


def test_drift_rate_is_minus_the_derivative_of_the_leading_loss_term():
    g, h, alpha_bar, m = 1.3, -0.7, 0.6, mpmath.mpf("0.2")
    for order in (1, 2, 3, 4):
        loss = lambda x, k=order: g * h * alpha_bar ** (k / 2) * x**k / mpmath.factorial(k)  # noqa: E731
        expected = -mpmath.diff(loss, m) / m ** (order - 1)
        assert sgd_dynamics.drift_rate(order, g, h, alpha_bar) == pytest.approx(float(expected), rel=1e-12)


def test_noise_of_linear_neuron_is_exact():
    # φ = a y: at w along an axis of an isotropic law every moment is a Gaussian integral, done by Monte Carlo here.
    a, alpha_bar, excess = 0.6, 0.7, 2.0
    rng = np.random.default_rng(0)
    x, noise = rng.standard_normal((2, 400_000, 3))
    x[:, 2] *= math.sqrt(1 + excess)
    root, skip = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    noised = root * x + skip * noise
    y = noised[:, 0]
    gradient = (
        2 * (a * (a * y - noise[:, 0] + skip * y) + skip * a * y)[:, None] * noised - 2 * (a * y)[:, None] * noise
    )
    measured = (gradient**2).mean(axis=0)
    error = (gradient**2).std(axis=0) / math.sqrt(len(x))
    moments = a**2, a**2, a**4
    assert abs(measured[1] - sgd_dynamics.gradient_variance(alpha_bar, *moments)) < 5 * error[1]
    assert abs(measured[2] - sgd_dynamics.planted_variance(alpha_bar, excess, *moments, a**3)) < 5 * error[2]


def test_planted_variance_without_excess_is_the_bulk():
    moments = [hermite_coefficients(f, 0)[0] for f in (lambda y: np.tanh(y) ** 2, lambda y: np.cosh(y) ** -4.0)]
    assert sgd_dynamics.planted_variance(0.5, 0.0, *moments, 0.1, 0.3) == sgd_dynamics.gradient_variance(
        0.5, *moments, 0.1
    )


def test_activation_moments_are_gaussian_integrals():
    sech_square = lambda y: 1 - np.tanh(y) ** 2  # noqa: E731
    with mpmath.workdps(20):
        average = lambda f: mpmath.quad(lambda y: f(y) * mpmath.npdf(y), [-20, -4, 0, 4, 20])  # noqa: E731
        value, slope = (lambda y: -0.8 * mpmath.tanh(y)), (lambda y: -0.8 * mpmath.sech(y) ** 2)
        expected = [
            average(lambda y: value(y) ** 2),
            average(lambda y: slope(y) ** 2),
            average(lambda y: (value(y) * slope(y)) ** 2),
            average(lambda y: value(y) ** 2 * slope(y)),
        ]
    found = sgd_dynamics.activation_moments(lambda y: -0.8 * np.tanh(y), lambda y: -0.8 * sech_square(y))
    np.testing.assert_allclose(found, np.array(expected, dtype=float), rtol=1e-10)


def test_neuron_constants_of_a_linear_neuron_in_closed_form():
    # φ = a y: g_2 = 2a² + 4sa, and the averages are a², a², a⁴ and a³.
    a, alpha_bar, excess = -0.3, 0.7, 2.5
    second = 2 * a**2 + 4 * math.sqrt(1 - alpha_bar) * a
    expected = (
        sgd_dynamics.drift_rate(2, second, excess, alpha_bar),
        sgd_dynamics.gradient_variance(alpha_bar, a**2, a**2, a**4),
        sgd_dynamics.planted_variance(alpha_bar, excess, a**2, a**2, a**4, a**3),
    )
    found = sgd_dynamics.neuron_constants(lambda y: a * y, lambda y: a + 0 * y, alpha_bar, 2, excess)
    assert found == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("order", [1, 3, 4])
def test_neuron_constants_of_a_white_direction_have_the_noise_of_the_bulk(order):
    alpha_bar, moment = 0.6, -1.7
    slope = lambda y: 2 + 3 * y**2  # noqa: E731
    value = lambda y: 0.5 + 2 * y + y**3  # noqa: E731
    rate, variance, planted = sgd_dynamics.neuron_constants(value, slope, alpha_bar, order, moment)
    assert planted == variance > 0
    coefficient = loss_coefficients(value, alpha_bar, order)[order]
    assert rate == sgd_dynamics.drift_rate(order, coefficient, moment, alpha_bar) != 0


@given(order=st.integers(1, 6), dim=st.integers(2, 10**6))
def test_critical_step_balances_drift_and_noise_at_a_random_start(order, dim):
    rate, variance = 0.8, 1.7
    step = sgd_dynamics.critical_step(order, rate, variance, dim)
    m = dim**-0.5
    assert rate * m ** (order - 1) == pytest.approx(step * variance * dim * m / 2, rel=1e-12)


@pytest.mark.parametrize("order", range(1, 8))
def test_escape_time_is_its_integral(order):
    with mpmath.workdps(30):
        expected = mpmath.quad(lambda m: 1 / (m ** (order - 1) * (1 - m**2)), [0.03, 0.1, 0.3, 0.8])
    assert sgd_dynamics.escape_time(order, 0.03, 0.8) == pytest.approx(float(expected), rel=1e-12)
    assert sgd_dynamics.escape_time(order, 0.3, 0.3) == 0


@pytest.mark.parametrize(("fraction", "growth"), [(0.1, 0.0), (0.3, 1.9), (0.7, 5.0)])
def test_heated_overlap_climbs_to_where_it_settles(fraction, growth):
    def drift(m):
        return m * (1 - m**2) - fraction * m * (1 + growth * m**2)

    settling = mpmath.findroot(lambda m: drift(m) / m, (0.01, 0.999), solver="anderson")
    assert sgd_dynamics.settling_overlap(fraction, growth) == pytest.approx(float(settling), rel=1e-12)
    low, high = 0.2 * settling, 0.95 * settling
    expected = mpmath.quad(lambda m: 1 / drift(m), np.geomspace(float(low), float(high), 5).tolist())
    value = sgd_dynamics.heated_escape_time(fraction, float(low), float(high), growth)
    assert value == pytest.approx(float(expected), rel=1e-9)


def test_without_heat_nothing_settles_below_one():
    assert sgd_dynamics.settling_overlap(1e-9, 3.0) == pytest.approx(1, abs=1e-8)
    cold = sgd_dynamics.heated_escape_time(1e-9, 0.1, 0.5, 3.0)
    assert cold == pytest.approx(sgd_dynamics.escape_time(2, 0.1, 0.5), rel=1e-7)


def test_free_energy_of_a_free_neuron_is_the_sphere():
    m = np.linspace(-0.9, 0.9, 7)
    np.testing.assert_allclose(sgd_dynamics.free_energy(4, 0.0, 1.0, 0.1, 9, m), -3 * np.log(1 - m**2), atol=1e-15)
    assert isinstance(sgd_dynamics.free_energy(4, 0.3, 1.0, 0.1, 9, 0.2), float)
    assert sgd_dynamics.free_energy(2, 0.3, 1.0, 0.1, 9, 0.0) == 0


@pytest.mark.parametrize(
    ("order", "rate", "variance", "step", "dim", "start", "threshold", "planted", "further"),
    [
        (4, 0.7, 0.72, 0.0005, 64, 0.125, 0.5, None, {6: -0.3}),
        (4, 0.7, 0.72, 0.02, 64, 0.125, 0.5, None, None),
        (2, 1.2, 0.28, 0.002, 300, 0.058, 0.5, 0.9, None),
        (2, -0.2, 0.5, 0.1, 12, 0.2, 0.9, 0.3, {4: 0.4, 8: 1.0}),
    ],
)
def test_mean_recovery_steps_against_nested_mpmath_quadrature(
    order, rate, variance, step, dim, start, threshold, planted, further
):
    noise = variance if planted is None else planted

    def energy(m):
        entropy = (variance / noise * (dim - 1) / 2 - 1) * mpmath.log(1 - m**2)
        pull = sum(r * m**j / j for j, r in [(order, rate), *(further or {}).items()])
        return -2 * pull / (step * noise) - entropy

    def inner(y):
        cuts = [y * f for f in (0, 0.1, 0.3, 0.6, 0.8, 0.9, 0.96, 0.99, 1)]
        return mpmath.quad(lambda z: mpmath.exp(energy(y) - energy(z)), cuts) / (1 - y**2)

    expected = 2 / (step**2 * noise) * mpmath.quad(inner, np.geomspace(start, threshold, 5).tolist())
    value = sgd_dynamics.mean_recovery_steps(order, rate, variance, step, dim, start, threshold, planted, further)
    assert value == pytest.approx(float(expected), rel=1e-9)


def test_small_steps_follow_the_drift():
    rate, variance, dim = 0.7, 0.72, 64
    step = 1e-4 * sgd_dynamics.critical_step(4, rate, variance, dim)
    noisy = sgd_dynamics.mean_recovery_steps(4, rate, variance, step, dim, 0.125, 0.5)
    assert noisy * step * rate == pytest.approx(sgd_dynamics.escape_time(4, 0.125, 0.5), rel=2e-3)


def test_cubic_law_at_the_critical_step():
    times = [
        sgd_dynamics.mean_recovery_steps(4, 0.7, 0.7, sgd_dynamics.critical_step(4, 0.7, 0.7, d), d, d**-0.5, 0.5)
        for d in (10**3, 10**4)
    ]
    assert math.log10(times[1] / times[0]) == pytest.approx(3, abs=0.005)


def test_principal_slope_is_that_of_the_leading_eigenvector():
    for cross in (-1.9, -0.3, 0.0, 0.4, 5.0):
        _, vectors = np.linalg.eigh(np.array([[1 + 3.0, cross], [cross, 1.0]]))
        leading = vectors[:, 1]
        assert sgd_dynamics.principal_slope(3.0, cross) == pytest.approx(leading[1] / leading[0], rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("beta", [0.0, 0.3, 4.0, 1e8])
@pytest.mark.parametrize("cross", [-1.9, 0.4, 5.0])
def test_principal_excesses_are_the_eigenvalues(beta, cross):
    with mpmath.workdps(40):
        values = sorted(map(float, mpmath.eigsy(mpmath.matrix([[beta, cross], [cross, 0]]), eigvals_only=True)))
    # To rounding also where the lower one would be a difference of large numbers.
    assert sgd_dynamics.principal_excesses(beta, cross) == pytest.approx((values[1], values[0]), rel=1e-14)


def test_principal_excesses_without_correlation():
    assert sgd_dynamics.principal_excesses(3.0, 0.0) == (3.0, 0.0)
    assert sgd_dynamics.principal_excesses(0.0, 0.0) == (0.0, 0.0)


def test_cross_covariance():
    assert sgd_dynamics.cross_covariance(10, 10, 0.5) == pytest.approx(0.5 * math.sqrt(100 / 11), rel=1e-14)
    assert sgd_dynamics.cross_covariance(0, 10, 0.5) == 0


GOOD = {
    "drift_rate": {"order": 2, "coefficient": 1.0, "moment": 1.0, "alpha_bar": 0.5},
    "gradient_variance": {"alpha_bar": 0.5, "square": 1.0, "slope_square": 1.0, "product_square": 1.0},
    "planted_variance": {
        "alpha_bar": 0.5, "excess": 1.0, "square": 1.0, "slope_square": 1.0, "product_square": 1.0, "mixed": 0.1,
    },
    "critical_step": {"order": 2, "rate": 1.0, "variance": 1.0, "dim": 10},
    "escape_time": {"order": 2, "start": 0.1, "end": 0.5},
    "settling_overlap": {"fraction": 0.3, "growth": 1.0},
    "heated_escape_time": {"fraction": 0.3, "start": 0.1, "end": 0.5, "growth": 1.0},
    "free_energy": {"order": 2, "rate": 1.0, "variance": 1.0, "step": 0.1, "dim": 10, "overlap": 0.1},
    "mean_recovery_steps": {
        "order": 2, "rate": 1.0, "variance": 1.0, "step": 0.1, "dim": 10, "start": 0.3, "threshold": 0.5,
    },
    "cross_covariance": {"covariance_snr": 1.0, "cumulant_snr": 1.0, "correlation": 0.5},
    "principal_excesses": {"covariance_snr": 1.0, "cross": 0.5},
    "principal_slope": {"covariance_snr": 1.0, "cross": 0.5},
}  # fmt: skip
WRONG = {
    "alpha_bar": [0.0, 1.0, -0.1], "order": [0, -1, 2.5, True], "dim": [1, 0, 3.0], "step": [0.0, -1.0],
    "variance": [0.0, -1.0], "square": [-0.1], "slope_square": [-0.1], "product_square": [-0.1], "excess": [-1.1],
    "start": [0.0, 1.0, -0.2], "end": [0.05, 1.0], "threshold": [0.2, 1.0], "overlap": [1.0, -1.5, [0.1, math.nan]],
    "fraction": [0.0, 1.0, -0.1], "growth": [-0.1], "cumulant_snr": [-1.0], "correlation": [1.5, -1.5],
}  # fmt: skip


@pytest.mark.parametrize(
    ("function", "name", "bad"),
    [
        (function, name, bad)
        for function, arguments in GOOD.items()
        for name in arguments
        for bad in [b for b in BAD if not (name == "overlap" and b in ("a", None))] + WRONG.get(name, [])
    ]
    + [("critical_step", "rate", 0.0), ("mean_recovery_steps", "order", 3), ("mean_recovery_steps", "order", 1)]
    + [("free_energy", "further", {4: math.nan}), ("heated_escape_time", "start", 0.9)]
    + [("heated_escape_time", "end", 0.9)]
    + [
        ("mean_recovery_steps", "planted", 0.0),
        ("free_energy", "planted", -1.0),
        ("principal_slope", "covariance_snr", 0.0),
    ]
    + [("cross_covariance", "covariance_snr", -1.0)],
)
def test_bad_arguments_are_named(function, name, bad):
    getattr(sgd_dynamics, function)(**GOOD[function])
    with pytest.raises(ValueError, match=name):
        getattr(sgd_dynamics, function)(**(GOOD[function] | {name: bad}))


def test_further_orders_are_named():
    with pytest.raises(ValueError, match="order must be even, got 5"):
        sgd_dynamics.mean_recovery_steps(4, 1.0, 1.0, 0.1, 10, 0.3, 0.5, further={5: 1.0})
    with pytest.raises(ValueError, match="order"):
        sgd_dynamics.free_energy(4, 1.0, 1.0, 0.1, 10, 0.3, further={0: 1.0})


def test_mean_too_large_for_a_float_is_refused():
    with pytest.raises(ValueError, match="mean number of steps"):
        sgd_dynamics.mean_recovery_steps(4, 0.1, 1.0, 1.0, 10**4, 0.01, 0.99)
