"""theory.flow: against a direct integration of the matrix equation, the Marchenko–Pastur density, the trained end, and
draws of training sets."""

import math

import mpmath
import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.linalg import expm
from scipy.optimize import minimize_scalar

from diffmem_lib.theory import flow, linear, random_matrix


def integrated(moment, cross, time, dim):
    """W(τ) from 0 of dW/dτ = −(2/d)(W moment − cross), by an ODE solver."""
    shape = cross.shape
    solution = solve_ivp(
        lambda _, flat: (-2 / dim * (flat.reshape(shape) @ moment - cross)).ravel(),
        (0, time),
        np.zeros(cross.size),
        rtol=1e-11,
        atol=1e-13,
        method="DOP853",
    )
    return solution.y[:, -1].reshape(shape)


@pytest.mark.parametrize(("alpha_bar", "time"), [(0.8, 0.3), (0.8, 4.0), (0.99, 2.0), (0.1, 7.0)])
def test_weight_is_the_solution_of_the_matrix_equation(alpha_bar, time):
    factor = np.array([[1.0, 0.3, 0.0], [0.2, 0.5, 0.0], [0.1, 0.4, 0.0]])
    covariance = factor @ factor.T  # of rank two
    variances, axes = np.linalg.eigh(covariance)
    variances = variances.clip(0)
    moment = alpha_bar * covariance + (1 - alpha_bar) * np.eye(3)
    matrix = integrated(moment, math.sqrt(1 - alpha_bar) * np.eye(3), time, 3)
    found = axes @ np.diag(flow.weight(variances, alpha_bar, time, 3)) @ axes.T
    assert np.allclose(found, matrix, rtol=1e-9, atol=1e-11)
    # the loss of the whole matrix on other data is the mean over its directions
    other = np.diag([3.0, 1.0, 0.2])
    total = np.trace(matrix @ (alpha_bar * other + (1 - alpha_bar) * np.eye(3)) @ matrix.T)
    total = (total - 2 * math.sqrt(1 - alpha_bar) * np.trace(matrix) + 3) / 3
    fresh = np.einsum("ij,ik,kj->j", axes, other, axes)
    assert flow.mode_loss(fresh, variances, alpha_bar, time, 3).mean() == pytest.approx(total, rel=1e-9)


def test_starts_at_nothing_and_ends_at_the_fit():
    variances, fresh = np.array([2.0, 0.3, 0.0]), np.array([1.0, 1.0, 0.7])
    assert (flow.weight(variances, 0.7, 0.0, 3) == 0).all()
    assert (flow.mode_loss(fresh, variances, 0.7, 0.0, 3) == 1).all()
    ended = flow.mode_loss(fresh, variances, 0.7, 1e4, 3).mean()
    assert ended == pytest.approx(linear.test_loss(np.diag(fresh), np.diag(variances), 0.7), rel=1e-12)


@pytest.mark.parametrize("time", [1e-8, 0.5, 20.0])
def test_equivalent_ridge_gives_back_the_weight(time):
    variances = np.array([4.0, 1.0, 0.0])
    ridge = flow.equivalent_ridge(variances, 0.8, time, 5)
    fitted = math.sqrt(0.2) / (0.8 * (variances + ridge) + 0.2)
    assert np.allclose(fitted, flow.weight(variances, 0.8, time, 5), rtol=1e-12)


def test_equivalent_ridge_of_late_times_does_not_overflow():
    assert flow.equivalent_ridge([100.0], 0.9, 1e6, 2)[0] == 0


def by_density(ratio, alpha_bar, clock):
    """Train and test loss of white data by quadrature over the Marchenko–Pastur density."""
    low, high = (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2

    def losses(value):
        noised = alpha_bar * value + 1 - alpha_bar
        part = -math.expm1(-noised * clock) / noised
        return np.array([(1 - alpha_bar) * (part**2 * (alpha_bar * v + 1 - alpha_bar) - 2 * part) for v in (value, 1)])

    def weighed(angle, k):
        value = (low + high) / 2 - (high - low) / 2 * math.cos(angle)
        return losses(value)[k] * ((high - low) / 2 * math.sin(angle)) ** 2 / (2 * math.pi * ratio * value)

    seen = [quad(weighed, 0, math.pi, args=(k,), epsabs=1e-13, epsrel=1e-12, limit=400)[0] for k in (0, 1)]
    return 1 + np.array(seen) + max(1 - 1 / ratio, 0) * losses(0)


@pytest.mark.parametrize("ratio", [0.25, 0.9, 1.6, 8.0])
@pytest.mark.parametrize(("alpha_bar", "clock"), [(0.8, 0.01), (0.8, 1.2), (0.5, 6.0), (0.99, 30.0)])
def test_expected_losses_of_white_data_are_integrals_over_the_density(ratio, alpha_bar, clock):
    found = flow.expected_losses(np.ones(16), 16 / ratio, alpha_bar, 8 * clock)
    assert np.allclose(found, by_density(ratio, alpha_bar, clock), rtol=1e-9)


@pytest.mark.parametrize(("n", "alpha_bar"), [(10, 0.8), (24, 0.5), (100, 0.9), (6.5, 0.97)])
def test_expected_losses_end_at_those_of_the_fit(n, alpha_bar):
    spectrum = 24 / np.arange(1.0, 25.0) ** 1.5
    spectrum[-3:] = 0
    found = flow.expected_losses(spectrum, n, alpha_bar, 12 * 40 / (1 - alpha_bar))
    # e^{−40} is left of the slowest directions; the integral's own error is 1e-11 of the largest value on its path
    assert np.allclose(found, random_matrix.expected_losses(spectrum, n, alpha_bar), rtol=1e-8)


def test_expected_losses_scale_and_start():
    spectrum = np.array([3.0, 1.0, 0.5, 0.0])
    assert np.allclose(flow.expected_losses(spectrum, 3, 0.7, 0.0), 1, atol=1e-12)
    assert flow.expected_losses(np.tile(spectrum, 5), 15, 0.7, 10.0) == pytest.approx(
        flow.expected_losses(spectrum, 3, 0.7, 2.0), rel=1e-10
    )


def test_expected_losses_are_means_over_training_sets():
    generator = np.random.default_rng(3)
    dim, n, alpha_bar, time = 80, 40, 0.8, 100.0
    spectrum = dim / np.arange(1.0, dim + 1) / np.sum(1 / np.arange(1.0, dim + 1))
    found = []
    for _ in range(60):
        points = generator.standard_normal((n, dim)) * np.sqrt(spectrum)
        variances, axes = np.linalg.eigh(points.T @ points / n)
        variances, fresh = variances.clip(0), spectrum @ axes**2
        losses = [flow.mode_loss(v, variances, alpha_bar, time, dim).mean() for v in (variances, fresh)]
        found.append(losses)
    error = np.std(found, 0) / math.sqrt(60)
    expected = flow.expected_losses(spectrum, n, alpha_bar, time)
    # four standard errors, and twice the correction of order 1/d that was seen, .15/d of the loss
    assert (np.abs(np.mean(found, 0) - expected) < 4 * error + 0.3 / dim * np.array(expected)).all()


@pytest.mark.parametrize(("exponent", "n", "alpha_bar"), [(0, 16, 0.8), (0, 200, 0.9), (1, 16, 0.99), (2, 40, 0.8)])
def test_best_stopping_time_is_where_the_loss_is_smallest(exponent, n, alpha_bar):
    spectrum = np.arange(1.0, 33.0) ** -exponent
    spectrum *= 32 / spectrum.sum()
    best = flow.best_stopping_time(spectrum, n, alpha_bar)
    loss = lambda time: flow.expected_losses(spectrum, n, alpha_bar, time)[1]  # noqa: E731
    searched = minimize_scalar(loss, bounds=(best / 3, 3 * best), method="bounded", options={"xatol": 1e-7 * best})
    assert best == pytest.approx(searched.x, rel=1e-4)  # a search by values sees no more than the root of their error


def test_best_stopping_time_with_few_points_is_that_of_an_unseen_direction():
    found = flow.best_stopping_time(2 * np.ones(1000), 1, 0.8)
    assert found == pytest.approx(linear.optimal_stopping_time(2.0, 0.8, 1000), rel=1e-3)


def test_fit_time_is_set_by_the_smallest_eigenvalue():
    generator = np.random.default_rng(0)
    n, dim, alpha_bar = 200, 800, 0.99
    points = math.sqrt(1.5) * generator.standard_normal((n, dim))
    smallest = np.linalg.eigvalsh(points @ points.T / n)[0]
    time = dim / (2 * (alpha_bar * smallest + 1 - alpha_bar))
    # a relative 1.2 n^{−2/3}·… inside the edge, 3 % here, with fluctuations of as much
    assert flow.fit_time(n, dim, alpha_bar, 1.5) == pytest.approx(time, rel=0.08)
    assert flow.fit_time(50, 50, 0.9) == pytest.approx(50 / 0.2)


@pytest.mark.parametrize("mean", [1e-7, 0.01, -0.8, 3.0, 40.0])
@pytest.mark.parametrize("learned", [0.0, 0.5, 1.0, 6.0])
def test_joint_weight_is_the_solution_of_both_equations(mean, learned):
    alpha_bar, time, dim = 0.8, 3.0, 4
    shift = math.sqrt(alpha_bar) * mean
    noised = alpha_bar * learned + 1 - alpha_bar
    moment = np.array([[noised + shift**2, shift], [shift, 1.0]])
    with mpmath.workdps(60):
        exact = mpmath.expm(mpmath.matrix((-2 * time / dim * moment).tolist()))
        gone = mpmath.inverse(mpmath.matrix(moment.tolist())) * (mpmath.eye(2) - exact)
        weight = float(mpmath.sqrt(1 - alpha_bar) * gone[0, 0])
    assert flow.joint_weight(learned, mean, alpha_bar, time, dim) == pytest.approx(weight, rel=1e-10)
    assert np.allclose(expm(-2 * time / dim * moment), np.array(exact.tolist(), dtype=float))


def test_joint_weight_without_a_mean_is_the_weight():
    for learned in (0.2, 3.0):
        alone = flow.weight([learned], 0.8, 2.0, 3)[0]
        assert flow.joint_weight(learned, 0.0, 0.8, 2.0, 3) == pytest.approx(alone, rel=1e-12)
        assert flow.joint_weight(learned, 1e-6, 0.8, 2.0, 3) == pytest.approx(alone, rel=1e-10)


@pytest.mark.parametrize(
    "call",
    [
        lambda: flow.weight([-1.0], 0.5, 1.0, 2),
        lambda: flow.weight([1.0], 1.0, 1.0, 2),
        lambda: flow.weight([1.0], 0.5, -1.0, 2),
        lambda: flow.weight([1.0], 0.5, 1.0, 0),
        lambda: flow.mode_loss([1.0, 2.0], [1.0], 0.5, 1.0, 2),
        lambda: flow.equivalent_ridge([1.0], 0.5, 0.0, 2),
        lambda: flow.expected_losses([0.0, 0.0], 2, 0.5, 1.0),
        lambda: flow.expected_losses([1.0], 0.5, 0.5, 1.0),
        lambda: flow.best_stopping_time([], 2, 0.5),
        lambda: flow.fit_time(2, 4, 0.5, 0.0),
        lambda: flow.joint_weight(-1.0, 1.0, 0.5, 1.0, 2),
        lambda: flow.joint_weight(1.0, math.nan, 0.5, 1.0, 2),
    ],
)
def test_refuses(call):
    with pytest.raises(ValueError, match="must"):
        call()
