"""theory.learning_times against integrated flows, eigenvalues of the kernel, and quadrature."""

import itertools
import math

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from diffmem_lib.theory import learning_times


@pytest.mark.parametrize("time", [0.0, 0.3, 2.0])
def test_weights_are_those_of_the_integrated_flow(time):
    """The whole matrix W on a mixture of two classes, in rotated directions, from its second moments."""
    shares, scales, sigma = (0.3, 0.7), (1.5, 0.8), 0.6
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    members = np.array([0, 0, 1, 1, 1])
    moments = rotation.T @ np.diag([shares[k] * scales[k] ** 2 for k in members]) @ rotation
    noised = moments + sigma**2 * np.eye(5)

    def gradient(_, flat):
        return (moments - flat.reshape(5, 5) @ noised).ravel()

    found = solve_ivp(gradient, (0, time or 1e-9), np.zeros(25), rtol=1e-10, atol=1e-12).y[:, -1].reshape(5, 5)
    weights = [learning_times.class_weight(shares[k], scales[k], sigma, time) for k in members]
    np.testing.assert_allclose(rotation @ found @ rotation.T, np.diag(weights), atol=1e-7)


def test_at_the_end_the_weight_is_the_posterior_mean_of_a_class_alone():
    assert learning_times.class_weight(1.0, 2.0, 0.5, math.inf) == pytest.approx(4 / 4.25, rel=1e-15)


@pytest.mark.parametrize("time", [1e-6, 0.1, 1.0, math.inf])
def test_balanced_classes_have_one_weight_at_every_time(time):
    share = learning_times.balanced_share(1.5, 0.7)
    first = learning_times.class_weight(share, 1.5, 0.9, time)
    assert first == pytest.approx(learning_times.class_weight(1 - share, 0.7, 0.9, time), rel=1e-14)
    assert learning_times.class_weight(share + 0.01, 1.5, 0.9, time) > first


@pytest.mark.parametrize("n", [2, 5, 12])
def test_times_are_those_of_the_kernel_matrix(n):
    """What is left of a target after a time is the matrix exponential of the kernel over n."""
    within, between = 0.9, 0.25
    kernel = np.full((n, n), between) + (within - between) * np.eye(n)
    own = np.eye(n)[0] - np.eye(n)[1]
    for target, function in ((own, learning_times.alone_time), (np.ones(n), learning_times.common_time)):
        left = expm(-kernel / n * function(0.8, n, within, between)) @ target
        np.testing.assert_allclose(left, 0.2 * target, rtol=1e-12, atol=1e-15)


def test_kernel_of_features_drawn():
    generator = np.random.default_rng(1)
    dim, length, sigma, draws = 3, 1.7, 0.6, 400_000
    apart = np.array([1.1, -0.4, 0.3])
    omega, phase = generator.normal(size=(draws, dim)) / length, 2 * np.pi * generator.random(draws)
    first, second = sigma * generator.normal(size=(2, draws, dim))
    products = 2 * np.cos((omega * first).sum(1) + phase) * np.cos((omega * (apart + second)).sum(1) + phase)
    predicted = learning_times.feature_kernel(float(np.linalg.norm(apart)), sigma, length, dim)
    assert abs(products.mean() - predicted) < 4 * products.std() / draws**0.5 < 0.01


EXTREME = [1e-200, 1e-3, 1.0, 1e3, 1e200]


def exact(number):
    """In so many digits, and with such exponents, that nothing is lost or infinite."""
    return mpmath.mpf(number)


def test_weights_of_any_size():
    """Shares, scales, noise and times whose squares and products are beyond what a float holds."""
    with mpmath.workdps(50):
        for case in itertools.product([1e-200, 0.3, 1.0], EXTREME, EXTREME, [0.0, *EXTREME]):
            share, scale, sigma, time = map(exact, case)
            noised = share * scale**2 + sigma**2
            expected = float(-share * scale**2 / noised * mpmath.expm1(-noised * time))
            found = learning_times.class_weight(*case)
            assert found == pytest.approx(expected, rel=1e-13, abs=1e-307), case  # smaller ones have fewer digits
            at_the_end = learning_times.class_weight(*case[:3], math.inf)
            assert at_the_end == pytest.approx(float(share * scale**2 / noised), rel=1e-13, abs=1e-307), case


def test_balanced_shares_of_any_size():
    with mpmath.workdps(50):
        for case in itertools.product(EXTREME, EXTREME):
            scale, other = map(exact, case)
            expected = float(other**2 / (scale**2 + other**2))
            assert learning_times.balanced_share(*case) == pytest.approx(expected, rel=1e-14, abs=1e-307), case


def test_kernels_of_any_size():
    """An exponent of E has the relative error of E roundings: a few hundred where the kernel is not yet zero."""
    with mpmath.workdps(50):
        for case in itertools.product([0.0, 20.0, *EXTREME], EXTREME, EXTREME, [1, 2, 64]):
            distance, sigma, length = map(exact, case[:3])
            widened = length**2 + 2 * sigma**2
            expected = float(
                (length**2 / widened) ** (mpmath.mpf(case[3]) / 2) * mpmath.exp(-(distance**2) / 2 / widened)
            )
            assert learning_times.feature_kernel(*case) == pytest.approx(expected, rel=1e-12, abs=1e-307), case


def test_kernel_between_is_less_than_within():
    with pytest.raises(ValueError, match="between must be less than within"):
        learning_times.alone_time(0.5, 3, 0.4, 0.4)
