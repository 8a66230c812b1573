"""Hermite series against closed forms, 40-digit integrals and moments computed from densities."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import scipy.integrate
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

from diffmem_lib.theory import hermite
from diffmem_lib.theory.hermite import (
    hermite_coefficients,
    hermite_moments,
    information_exponent,
    loss_coefficients,
    loss_series,
    mixture_loss,
    step_latent_loss,
)

INF = math.inf
NAN = math.nan


def relu(y):
    return np.maximum(y, 0)


def polynomials(x, order):
    """He_0 … He_order at a number, from the recursion, unnormalised."""
    values = [1, x]
    for k in range(1, order):
        values.append(x * values[-1] - k * values[-2])
    return values[: order + 1]


def reference_coefficients(function, order, kinks):
    """40-digit quadrature, cut at the kinks that we know."""
    cuts = sorted({-30, -12, -6, -3, -1, *kinks, 1, 3, 6, 12, 30})
    with mpmath.workdps(40):
        return [
            float(mpmath.quad(lambda x, k=k: function(x) * polynomials(x, k)[k] * mpmath.npdf(x), cuts))
            for k in range(order + 1)
        ]


ACTIVATIONS = {
    "relu": (relu, lambda x: max(x, 0), [0]),
    "abs": (np.abs, abs, [0]),
    "sign": (np.sign, mpmath.sign, [0]),
    "tanh": (np.tanh, mpmath.tanh, []),
    "tanh squared": (lambda x: np.tanh(x) ** 2, lambda x: mpmath.tanh(x) ** 2, []),
    "gelu": (lambda x: x * scipy.special.ndtr(x), lambda x: x * mpmath.ncdf(x), []),
    "leaky relu, kink at .3": (
        lambda x: np.where(x > 0.3, x - 0.3, 0.1 * (x - 0.3)),
        lambda x: (x - mpmath.mpf(0.3)) * (1 if x > 0.3 else mpmath.mpf(0.1)),
        [0.3],
    ),
    "clip": (lambda x: np.clip(x, -0.7, 1.1), lambda x: min(max(x, mpmath.mpf(-0.7)), mpmath.mpf(1.1)), [-0.7, 1.1]),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_coefficients_to_1e_10(name):
    function, exact, kinks = ACTIVATIONS[name]
    measured = hermite_coefficients(function, 12)
    assert measured.shape == (13,)
    np.testing.assert_allclose(measured, reference_coefficients(exact, 12, kinks), rtol=0, atol=1e-11)


@given(st.floats(-6, 6, allow_subnormal=False))
def test_a_jump_and_a_kink_anywhere(where):
    # Closed forms: E[1(z > c) He_k] = He_{k−1}(c) φ(c), E[(z − c)₊ He_k] = He_{k−2}(c) φ(c).
    density, tail = math.exp(-where * where / 2) / math.sqrt(2 * math.pi), scipy.special.ndtr(-where)
    values = np.array(polynomials(where, 12)) * density
    step = [tail, *values[:12]]
    ramp = [density - where * tail, tail, *values[:11]]
    np.testing.assert_allclose(hermite_coefficients(lambda z: z > where, 12), step, rtol=0, atol=5e-11)
    np.testing.assert_allclose(hermite_coefficients(lambda z: np.maximum(z - where, 0), 12), ramp, rtol=0, atol=5e-11)


@pytest.mark.parametrize("where", [0.0, 0.25, 0.5, 1.0, math.sqrt(2) / 3, 0.5 + 1e-12, 0.25 - 1e-9, 1e-300])
def test_a_jump_on_and_beside_the_panels_boundaries(where):
    density = math.exp(-where * where / 2) / math.sqrt(2 * math.pi)
    expected = [scipy.special.ndtr(-where), *(np.array(polynomials(where, 11)) * density)]
    np.testing.assert_allclose(hermite_coefficients(lambda z: z > where, 12), expected, rtol=0, atol=1e-11)


def test_hundreds_of_random_jumps():
    # A jump between a panel's end and its outermost node is the case that halving alone would miss.
    worst = 0.0
    for where in np.random.default_rng(0).uniform(-3, 3, 300):
        density = math.exp(-where * where / 2) / math.sqrt(2 * math.pi)
        expected = np.array([scipy.special.ndtr(-where), *(np.array(polynomials(where, 3)) * density)])
        worst = max(worst, np.abs(hermite_coefficients(lambda z, c=where: z > c, 4) - expected).max())
    assert worst < 1e-13


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=9))
def test_polynomials_are_exact(coefficients):
    # E z^n He_k = n!/(2^j j!) with n − k = 2j, in rational arithmetic.
    def exact(k):
        total = Fraction(0)
        for n, c in enumerate(coefficients):
            if n >= k and (n - k) % 2 == 0:
                j = (n - k) // 2
                total += Fraction(c * math.factorial(n), 2**j * math.factorial(j))
        return float(total)

    measured = hermite_coefficients(np.polynomial.Polynomial(coefficients), 12)
    scale = max(abs(np.array(coefficients)).max(), 1) * math.sqrt(scipy.special.factorial2(15))
    np.testing.assert_allclose(measured, [exact(k) for k in range(13)], rtol=1e-13, atol=1e-13 * scale * 2e4)


def test_high_orders_of_an_exponential():
    # exp(a z − a²/2) has the coefficients a^k.
    measured = hermite_coefficients(lambda z: np.exp(1.5 * z - 1.125), 150)
    k = np.arange(151)
    normalised = np.exp(k * math.log(1.5) - scipy.special.gammaln(k + 1) / 2)
    np.testing.assert_allclose(measured / np.sqrt(scipy.special.factorial(k)), normalised, rtol=0, atol=1e-13)


def test_parseval_of_an_oscillation():
    # cos(20 z): coefficients (−1)^{k/2} 20^k e^{−200} are tiny, so that everything cancels.
    measured = hermite_coefficients(lambda z: np.cos(20 * z), 12)
    assert np.abs(measured).max() < 1e-11


def test_a_singularity_that_can_be_integrated():
    with mpmath.workdps(30):
        expected = float((-mpmath.euler - mpmath.log(2)) / 2)  # E log|z|
    with np.errstate(divide="ignore"):
        assert hermite_coefficients(lambda z: np.log(np.abs(z)), 2)[0] == pytest.approx(expected, abs=1e-11)


def test_constant_functions_may_return_a_scalar():
    np.testing.assert_allclose(hermite_coefficients(lambda z: 3.0, 3), [3, 0, 0, 0], rtol=0, atol=1e-14)


def test_overflowing_sigmoid_warns_of_nothing(recwarn):
    steep = hermite_coefficients(lambda z: 1 / (1 + np.exp(-200 * z)), 1)
    assert steep[0] == pytest.approx(0.5, abs=1e-14)
    assert not recwarn.list


def test_gauss_hermite_across_the_kink_is_what_this_avoids():
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    naive = weights @ (relu(nodes) * nodes) / math.sqrt(2 * math.pi), weights @ relu(nodes) / math.sqrt(2 * math.pi)
    measured = hermite_coefficients(relu, 1)
    assert measured[0] == pytest.approx(1 / math.sqrt(2 * math.pi), abs=1e-14)
    assert abs(naive[1] - measured[0]) > 1e-4


def moments_of(values, probabilities, order):
    tables = [polynomials(value, order) for value in values]
    return [sum(p * table[k] for p, table in zip(probabilities, tables, strict=True)) for k in range(order + 1)]


def cumulants_of(values, probabilities, order):
    """Cumulants of a discrete law from its moments, κ₂ the excess over 1, in rational arithmetic where it is given."""
    raw = [sum(p * v**k for v, p in zip(values, probabilities, strict=True)) for k in range(order + 1)]
    kappa = [0] * (order + 1)
    for k in range(1, order + 1):
        kappa[k] = raw[k] - sum(math.comb(k - 1, j - 1) * kappa[j] * raw[k - j] for j in range(1, k))
    kappa[2] -= 1
    return {k: float(kappa[k]) for k in range(1, order + 1)}


@pytest.mark.parametrize(("values", "probabilities"), [
    ((-1, 1), (Fraction(1, 2), Fraction(1, 2))),
    ((-2, 0, 3), (Fraction(1, 5), Fraction(1, 2), Fraction(3, 10))),
    ((Fraction(1, 3),), (Fraction(1),)),
])  # fmt: skip
def test_moments_are_those_of_the_law(values, probabilities):
    measured = hermite_moments(cumulants_of(values, probabilities, 12), 12)
    expected = [float(m) for m in moments_of(values, probabilities, 12)]
    np.testing.assert_allclose(measured, expected, rtol=1e-11, atol=1e-9)


def test_moments_written_out():
    k1, k2, k3, k4, k6 = 0.3, 0.2, -0.7, 1.1, 2.3
    h = hermite_moments({1: k1, 2: k2, 3: k3, 4: k4}, 4)
    assert h[1] == pytest.approx(k1)
    assert h[2] == pytest.approx(k2 + k1**2)
    assert h[3] == pytest.approx(k3 + 3 * k2 * k1 + k1**3)
    assert h[4] == pytest.approx(k4 + 4 * k3 * k1 + 3 * k2**2 + 6 * k2 * k1**2 + k1**4)
    assert hermite_moments({3: k3, 6: k6}, 6)[6] == pytest.approx(k6 + 10 * k3**2)
    np.testing.assert_array_equal(hermite_moments({}, 3), [1, 0, 0, 0])


def test_loss_coefficients_against_the_definition_with_a_derivative():
    alpha_bar = 0.37
    s = math.sqrt(1 - alpha_bar)

    def g(y):
        t = np.tanh(y)
        return t**2 - 2 * s * (1 - t**2) + 2 * s * y * t

    np.testing.assert_allclose(
        loss_coefficients(np.tanh, alpha_bar, 12), hermite_coefficients(g, 12), rtol=0, atol=2e-11
    )


def test_loss_coefficients_of_relu_end_at_three_among_the_even_ones():
    # The even part of g is ½(1 + 2s)y² − s.
    alpha_bar = 0.6
    s = math.sqrt(1 - alpha_bar)
    g = loss_coefficients(relu, alpha_bar, 12)
    assert g[0] == pytest.approx(0.5 * (1 + 2 * s) - s, abs=1e-14)
    assert g[2] == pytest.approx(1 + 2 * s, abs=1e-14)
    np.testing.assert_allclose(g[4::2], 0, atol=1e-11)
    assert (np.abs(g[1::2]) > 0.1).all()


def test_loss_series_is_the_loss_of_a_mixture():
    # Polynomial activation: the series ends, and the loss of y = √ᾱ (m c ν + rest) is a finite sum of Gaussian moments.
    alpha_bar, beta = 0.5, 3.0
    s = math.sqrt(1 - alpha_bar)
    variance = beta / (1 + beta)
    cumulants = {2 * j: scale * variance**j for j, scale in ((2, -2), (3, 16), (4, -272))}
    series = loss_series(lambda y: 0.3 * (y**3 - 3 * y) - 0.2 * y, alpha_bar, cumulants, 8)
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    for m in (0.0, 0.3, 0.8, 1.0):
        shift = math.sqrt(alpha_bar * variance) * m
        y = np.concatenate((shift, -shift) + math.sqrt(1 - shift**2) * nodes[:, None])
        phi, slope = 0.3 * (y**3 - 3 * y) - 0.2 * y, 0.3 * (3 * y**2 - 3) - 0.2
        g = phi**2 - 2 * s * slope + 2 * s * y * phi
        expected = np.repeat(weights, 2) @ g / (2 * math.sqrt(2 * math.pi))
        assert np.polynomial.polynomial.polyval(m, series) == pytest.approx(expected, rel=1e-12)


def reference_mixture_loss(activation, slope, alpha_bar, parts):
    """30-digit quadrature of g, with its derivative, over the mixture and over N(0, 1)."""
    with mpmath.workdps(30):
        s = mpmath.sqrt(1 - mpmath.mpf(alpha_bar))

        def g(y):
            return activation(y) ** 2 - 2 * s * slope(y) + 2 * s * y * activation(y)

        def average(mean, variance):
            return mpmath.quad(lambda y: g(y) * mpmath.npdf(y, mean, mpmath.sqrt(variance)), [-30, -6, 0, 6, 30])

        return float(sum(w * average(mean, variance) for w, mean, variance in parts) - average(0, 1))


@pytest.mark.parametrize(("alpha_bar", "parts"), [
    (0.7, [(0.5, 0.8, 0.36), (0.5, -0.8, 0.36)]),
    (0.3, [(1.0, 0.0, 3.0)]),
    (0.9, [(0.2, -1.1, 0.5), (0.5, 0.3, 1.4), (0.3, 0.0, 6.0)]),
    (0.5, [(1.0, 0.4, 1.0)]),
])  # fmt: skip
def test_mixture_loss_against_the_definition_with_a_derivative(alpha_bar, parts):
    expected = reference_mixture_loss(mpmath.tanh, lambda y: 1 - mpmath.tanh(y) ** 2, alpha_bar, parts)
    assert mixture_loss(np.tanh, alpha_bar, *zip(*parts, strict=True)) == pytest.approx(expected, rel=1e-11, abs=1e-13)


def test_mixture_loss_of_relu_is_that_of_a_quadratic_on_symmetric_laws():
    # The even part of g is ½(1 + 2s)y² − s: only the second moment counts.
    s, weights, means, variances = math.sqrt(0.4), [0.3, 0.4, 0.3], [-1.2, 0.0, 1.2], [0.5, 2.0, 0.5]
    second = np.dot(weights, np.square(means) + variances)
    expected = (1 + 2 * s) / 2 * (second - 1)
    assert mixture_loss(relu, 0.6, weights, means, variances) == pytest.approx(expected, rel=1e-11)


def test_mixture_loss_of_a_standard_gaussian_is_zero():
    assert abs(mixture_loss(np.tanh, 0.5, [1.0], [0.0], [1.0])) < 1e-14


@pytest.mark.parametrize(("weights", "means", "variances", "named"), [
    ([0.5, 0.4], [0, 0], [1, 1], "weights"), ([1.5, -0.5], [0, 0], [1, 1], "weights"),
    ([1.0], [0.0, 1.0], [1.0], "one length"), ([1.0], [0.0], [0.0], "variances"), ([1.0], [0.0], [25.0], "variances"),
    ([1.0], [NAN], [1.0], "means"), ([], [], [], "weights"), ([1.0], [0.0], [INF], "variances"),
])  # fmt: skip
def test_mixture_loss_refuses(weights, means, variances, named):
    with pytest.raises(ValueError, match=named):
        mixture_loss(np.tanh, 0.5, weights, means, variances)


LATENTS = {  # values of ν and where they step
    "sign": ([-1, 1], [0]),
    "skewed": ([2**0.5, -(0.5**0.5)], [-0.4307]),
    "even": ([1, -1, 1], [-0.6745, 0.6745]),
    "constant": ([-1], []),
}


def reference_step_loss(activation, slope, alpha_bar, overlaps, snrs, values, edges):
    """From the definition: y given λ is Gaussian, and g has its derivative; two nested rules of SciPy and NumPy."""
    s, (m_u, m_v), (beta_u, beta_v) = math.sqrt(1 - alpha_bar), overlaps, snrs
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    per_unit = alpha_bar * (m_u**2 + m_v**2 / (1 + beta_v) + 1 - m_u**2 - m_v**2) + 1 - alpha_bar

    def g(y):
        return activation(y) ** 2 - 2 * s * slope(y) + 2 * s * y * activation(y)

    def at(lam, nu):
        center = math.sqrt(alpha_bar) * (m_u * math.sqrt(beta_u) * lam + m_v * math.sqrt(beta_v / (1 + beta_v)) * nu)
        density = math.exp(-(lam**2) / 2) / math.sqrt(2 * math.pi)
        return density * g(center + math.sqrt(per_unit) * nodes) @ weights / weights.sum()

    cuts = [-12, *edges, 12]
    pieces = zip(cuts[:-1], cuts[1:], values, strict=True)
    total = sum(scipy.integrate.quad(at, a, b, (nu,), epsabs=1e-13, limit=200)[0] for a, b, nu in pieces)
    return total - g(nodes) @ weights / weights.sum()


@pytest.mark.parametrize("latent", LATENTS)
@pytest.mark.parametrize(("overlaps", "snrs", "alpha_bar"), [
    ((0.6, 0.8), (4.0, 10.0), 0.7), ((-0.3, 0.5), (1.0, 100.0), 0.85), ((0.9, 0.0), (0.5, 2.0), 0.3),
    ((0.0, 1.0), (4.0, 10.0), 0.7), ((1.0, 0.0), (8.0, 0.0), 0.9), ((0.0, 0.0), (4.0, 10.0), 0.5),
])  # fmt: skip
def test_step_latent_loss_against_the_definition(latent, overlaps, snrs, alpha_bar):
    value = lambda y: 0.3 * np.tanh(y) - 0.05 * y**3 + 0.1 * y**2  # noqa: E731
    slope = lambda y: 0.3 / np.cosh(y) ** 2 - 0.15 * y**2 + 0.2 * y  # noqa: E731
    arguments = alpha_bar, overlaps, snrs, *LATENTS[latent]
    # The reference's Gauss-Hermite rule has tanh's poles at ±iπ/2 to fear: 120 nodes leave 1e-9.
    expected = reference_step_loss(value, slope, *arguments)
    assert step_latent_loss(value, *arguments) == pytest.approx(expected, rel=1e-8, abs=1e-9)


def test_step_latent_loss_of_a_linear_neuron_is_half_of_g2_times_the_excess():
    alpha_bar, a = 0.7, -0.2
    s, c = math.sqrt(1 - alpha_bar), math.sqrt(4 * 10 / 11) * math.sqrt(2 / math.pi)
    for m_u, m_v in ((0.6, 0.8), (0.5, -0.7), (0.1, 0.2)):
        expected = (a**2 + 2 * s * a) * alpha_bar * (4 * m_u**2 + 2 * c * m_u * m_v)
        found = step_latent_loss(lambda y: a * y, alpha_bar, (m_u, m_v), (4, 10), [-1, 1], [0])
        assert found == pytest.approx(expected, rel=1e-11)


def test_step_latent_loss_of_constant_latents_is_a_mixture():
    b = 0.8 * math.sqrt(0.7 * 10 / 11)
    variance = 1 + 0.7 * 4 * 0.6**2 - b**2
    for nu in (-1, 0, 2):
        expected = mixture_loss(relu, 0.7, [1.0], [b * nu], [variance])
        assert step_latent_loss(relu, 0.7, (0.6, 0.8), (4, 10), [nu]) == pytest.approx(expected, rel=1e-11)


def test_step_latent_loss_of_an_even_latent_and_an_odd_neuron_is_that_of_independent_ones():
    for overlaps in ((0.6, 0.8), (0.9, -0.3)):
        apart = [step_latent_loss(np.tanh, 0.7, overlaps, (4, 10), [nu]) for nu in (-1, 1)]
        even = step_latent_loss(np.tanh, 0.7, overlaps, (4, 10), [1, -1, 1], [-0.67448975, 0.67448975])
        assert even == pytest.approx(sum(apart) / 2, abs=1e-9)


ODD = lambda y: -np.tanh(y)  # noqa: E731


@pytest.mark.parametrize(("activation", "cumulants", "expected"), [
    (ODD, {1: 0.5}, 2),
    (ODD, {2: 9.0}, 2),
    (ODD, {3: 0.4, 4: -0.8}, 4),
    (ODD, {3: 0.4}, 6),
    (ODD, {3: 0.4, 6: -10 * 0.4**2}, 12),  # κ₆ + 10 κ₃² = 0, and 8 and 10 are no sums of 3 and 6
    (ODD, {4: -1.28}, 4),
    (ODD, {5: 1.0}, 10),
    (ODD, {}, INF),
    (ODD, {13: 1.0}, INF),
    (relu, {1: 0.5}, 1),
    (relu, {2: 1.0}, 2),
    (relu, {3: 0.4, 4: -0.8}, 3),
    (relu, {4: -1.28, 6: 8.0, 8: -100.0}, INF),
    (lambda y: np.where(y > 0, y, 0.2 * y), {4: 47.0, 6: 100.0}, INF),
    (np.abs, {4: -1.28}, INF),
    (lambda y: np.maximum(y - 0.5, 0), {4: -1.28}, 4),
    (lambda y: y**2 - 1, {1: 0.5}, 2),
    (lambda y: y**2 - 1, {3: 0.5}, 3),
    (lambda y: y, {4: -1.28}, INF),
    (lambda y: y, {2: 1.0}, 2),
    (np.sign, {4: 1.0}, 4),
    (lambda y: y**3 - 3 * y, {2: 1.0}, 2),
])  # fmt: skip
def test_information_exponent(activation, cumulants, expected):
    measured = information_exponent(activation, 0.5, cumulants)
    assert isinstance(measured, float)
    assert measured == expected


def test_exponent_jumps_where_the_output_weight_cancels_the_coefficient():
    alpha_bar = 0.5
    linear, square = hermite_coefficients(np.tanh, 2), hermite_coefficients(lambda y: np.tanh(y) ** 2, 2)
    critical = 4 * math.sqrt(1 - alpha_bar) * linear[1] / square[2]
    assert critical / math.sqrt(1 - alpha_bar) == pytest.approx(6.66, abs=0.005)
    for factor, expected in ((0.99, 2), (1.0, 4), (1.01, 2)):
        assert information_exponent(lambda y, a=critical * factor: -a * np.tanh(y), alpha_bar, {2: 1.0}) == expected


def test_what_counts_as_zero():
    # φ = a He₃ has g₄ = 48 a s + a² (He₃²)₄; with κ₄ = 1 and a small the coefficient of m⁴ is 2 a s ᾱ².
    alpha_bar = 0.5
    unit = 2 * math.sqrt(1 - alpha_bar) * alpha_bar**2
    for size, expected in ((1.01e-8, 4.0), (0.99e-8, INF)):
        assert information_exponent(lambda y, a=size / unit: a * (y**3 - 3 * y), alpha_bar, {4: 1.0}) == expected


def test_numpy_integers_are_orders_too():
    assert information_exponent(np.tanh, 0.5, {np.int64(4): np.float32(1.0)}) == 4


# ------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize("order", [-1, 151, 2.0, NAN, INF, "3", None, True])
@pytest.mark.parametrize("call", [
    lambda order: hermite_coefficients(np.tanh, order),
    lambda order: hermite_moments({4: 1.0}, order),
    lambda order: loss_coefficients(np.tanh, 0.5, order),
    lambda order: loss_series(np.tanh, 0.5, {4: 1.0}, order),
])  # fmt: skip
def test_bad_order(call, order):
    with pytest.raises(ValueError, match="order must be an integer of at least 0 and at most 150"):
        call(order)


@pytest.mark.parametrize("alpha_bar", [0, 1, -0.1, 1.1, NAN, INF, "half", None, [0.5, 0.5]])
@pytest.mark.parametrize("call", [
    lambda alpha_bar: loss_coefficients(np.tanh, alpha_bar, 3),
    lambda alpha_bar: loss_series(np.tanh, alpha_bar, {4: 1.0}),
    lambda alpha_bar: information_exponent(np.tanh, alpha_bar, {4: 1.0}),
])  # fmt: skip
def test_bad_alpha_bar(call, alpha_bar):
    with pytest.raises(ValueError, match="alpha_bar must be a"):
        call(alpha_bar)


@pytest.mark.parametrize(("cumulants", "message"), [
    ({0: 1.0}, "an order in cumulants must be an integer of at least 1"),
    ({-4: 1.0}, "an order in cumulants must be an integer of at least 1"),
    ({4.0: 1.0}, "an order in cumulants must be an integer of at least 1"),
    ({4: NAN}, r"cumulants\[4\] must be a"),
    ({4: INF}, r"cumulants\[4\] must be a"),
    ({4: "large"}, r"cumulants\[4\] must be a"),
    ({4: [1.0, 2.0]}, r"cumulants\[4\] must be a"),
    ({2: -1.1}, r"cumulants\[2\], the excess of a variance over 1, must be a"),
    ([0.0, 0.0, 1.0], "cumulants must be a mapping"),
    (None, "cumulants must be a mapping"),
    ({4: 1e200, 1: 1e200}, "moments of a law with these cumulants must be finite"),
])  # fmt: skip
@pytest.mark.parametrize("call", [
    lambda cumulants: hermite_moments(cumulants, 12),
    lambda cumulants: loss_series(np.tanh, 0.5, cumulants),
    lambda cumulants: information_exponent(np.tanh, 0.5, cumulants),
])  # fmt: skip
def test_bad_cumulants(call, cumulants, message):
    with pytest.raises(ValueError, match=message):
        call(cumulants)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("function", "message"), [
    (lambda y: np.where(y > 1, NAN, y), "function must be finite"),
    (lambda y: np.full_like(y, INF), "function must be finite"),
    (lambda y: y[:-1], "function must return one value for each"),
    (lambda y: np.stack((y, y)), "function must return one value for each"),
    (lambda y: y + 1j, "function must return real numbers"),
    (lambda y: "three", "function must return real numbers"),
    (lambda y: np.exp(y**2 / 2), "function must grow more slowly than a Gaussian falls"),
    (lambda y: 1 / np.abs(y), "function must be piecewise smooth and integrable"),
    (lambda y: np.float32(np.tanh(np.float32(y))), "function must be piecewise smooth and integrable"),
    (lambda y: np.sin(1e5 * y), "function must be piecewise smooth and integrable"),
])  # fmt: skip
@pytest.mark.parametrize("call", [
    lambda function: hermite_coefficients(function, 4),
    lambda function: loss_coefficients(function, 0.5, 4),
    lambda function: loss_series(function, 0.5, {4: 1.0}),
    lambda function: information_exponent(function, 0.5, {4: 1.0}),
])  # fmt: skip
def test_bad_functions(call, function, message):
    with pytest.raises(ValueError, match=message):
        call(function)


def test_public_names_are_the_fixed_ones():
    assert {"hermite_coefficients", "information_exponent"} <= set(hermite.__all__)
