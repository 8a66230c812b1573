"""Collapse and speciation against 40-digit arithmetic, limits and each other."""

import math

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmem_lib.theory import regimes


@pytest.fixture(autouse=True)
def digits():
    with mpmath.workdps(40):
        yield


@pytest.mark.parametrize("n", [1 + 1e-9, 2, 17.5, 2000, 1e12, 1e300])
@pytest.mark.parametrize("dim", [1, 2, 3, 16, 1000, 10**6])
@pytest.mark.parametrize("scale", [1e-100, 0.3, 1.0, 4e50])
def test_collapse_is_the_closed_form_to_rounding(n, dim, scale):
    square = mpmath.mpf(scale) ** 2 / mpmath.expm1(2 * mpmath.log(mpmath.mpf(n)) / dim)
    assert regimes.collapse_sigma(n, dim, scale) == pytest.approx(float(mpmath.sqrt(square)), rel=3e-13)
    assert regimes.collapse_time(n, dim, scale) == pytest.approx(float(mpmath.log1p(square) / 2), rel=3e-12)


def test_hand_values():
    assert regimes.collapse_sigma(4, 2) == pytest.approx(1 / math.sqrt(3), rel=1e-15)
    assert regimes.collapse_time(4, 2) == pytest.approx(0.5 * math.log(4 / 3), rel=1e-14)
    assert regimes.speciation_time(math.e**2) == pytest.approx(1, rel=1e-15)
    assert regimes.cloud_speciation_time(10, 1) == pytest.approx(0.5 * math.log(10), rel=1e-15)


def test_a_single_point_is_never_left():
    assert regimes.collapse_sigma(1, 5) == math.inf
    assert regimes.collapse_time(1, 5) == math.inf


def test_an_integer_beyond_floats_is_refused_and_one_below_is_not():
    assert regimes.collapse_sigma(10**300, 100) == pytest.approx(regimes.collapse_sigma(1e300, 100), rel=1e-14)
    with pytest.raises(ValueError, match="n must be"):
        regimes.collapse_sigma(10**400, 100)


@given(st.floats(1.001, 1e300), st.integers(1, 10**4), st.floats(1e-3, 1e3))
def test_collapse_falls_with_n_scales_with_s_and_the_time_is_its_logarithm(n, dim, scale):
    sigma = regimes.collapse_sigma(n, dim, scale)
    assert regimes.collapse_sigma(n * 1.5, dim, scale) < sigma
    assert sigma == pytest.approx(scale * regimes.collapse_sigma(n, dim), rel=1e-12)
    assert math.expm1(2 * regimes.collapse_time(n, dim, scale)) == pytest.approx(sigma**2, rel=1e-11)


def tanh_form(kappa):
    """½(1 + E tanh(κ + √κ z)), the other form of what the library sums, by mpmath's quadrature."""
    kappa = mpmath.mpf(kappa)
    integrand = lambda z: mpmath.npdf(z) * mpmath.tanh(kappa + mpmath.sqrt(kappa) * z)  # noqa: E731
    return (1 + mpmath.quad(integrand, list(range(-14, 15)))) / 2


@pytest.mark.parametrize("kappa", [1e-6, 0.01, 0.5, 1.0, 3.0, 20.0, 90.0])
def test_cloning_probability_against_the_tanh_form(kappa):
    time = 0.7
    mean_square = kappa * (0.25 + math.expm1(2 * time))
    assert regimes.cloning_probability(time, mean_square, 0.5) == pytest.approx(float(tanh_form(kappa)), abs=2e-14)


def test_cloning_probability_at_speciation_and_at_the_ends():
    time = regimes.cloud_speciation_time(40, 1.5)
    assert regimes.cloning_probability(time, 40, 1.5) == pytest.approx(0.7752, abs=5e-5)
    assert regimes.cloning_probability(1e-9, 40, 0.1) == 1
    assert regimes.cloning_probability(400.0, 40) == pytest.approx(0.5, abs=1e-15)
    assert regimes.cloning_probability(1.0, 1e300, 1e-3) == 1


@given(st.floats(0.01, 5), st.floats(0.01, 1e3), st.floats(0.1, 3))
def test_cloning_probability_falls_with_time(time, mean_square, scale):
    early = regimes.cloning_probability(time, mean_square, scale)
    late = regimes.cloning_probability(1.2 * time, mean_square, scale)
    assert 0.5 - 1e-14 <= late <= early <= 1


def test_both_speciation_times_agree_when_the_clouds_are_far_apart():
    for mean_square in (1e3, 1e6):
        exact, leading = regimes.cloud_speciation_time(mean_square, 1.0), regimes.speciation_time(mean_square + 1)
        assert leading - exact == pytest.approx(0.5 / mean_square, rel=2 / mean_square)


BAD = [math.nan, math.inf, -math.inf, -1.0, 0.0, None, "x", [1.0, 2.0]]


@pytest.mark.parametrize("bad", [*BAD, 0.999])
def test_bad_n_is_refused(bad):
    for function in (regimes.collapse_sigma, regimes.collapse_time):
        with pytest.raises(ValueError, match=r"^n must be"):
            function(bad, 3)


@pytest.mark.parametrize("bad", [*BAD, 2.0, True])
def test_bad_dim_is_refused(bad):
    for function in (regimes.collapse_sigma, regimes.collapse_time):
        with pytest.raises(ValueError, match=r"^dim must be"):
            function(100, bad)


@pytest.mark.parametrize("bad", BAD)
def test_bad_scale_is_refused(bad):
    for call in (
        lambda s: regimes.collapse_sigma(100, 3, s),
        lambda s: regimes.collapse_time(100, 3, s),
        lambda s: regimes.cloud_speciation_time(9.0, s),
        lambda s: regimes.cloning_probability(1.0, 9.0, s),
    ):
        with pytest.raises(ValueError, match=r"^scale must be"):
            call(bad)


@pytest.mark.parametrize("bad", [*BAD, 1.0, 0.5])
def test_a_top_eigenvalue_without_a_positive_time_is_refused(bad):
    with pytest.raises(ValueError, match=r"^top_eigenvalue must be"):
        regimes.speciation_time(bad)


@pytest.mark.parametrize("bad", [*BAD, 0.25, 0.2])
def test_clouds_that_are_one_hump_are_refused(bad):
    with pytest.raises(ValueError, match=r"^mean_square must be"):
        regimes.cloud_speciation_time(bad, 0.5)


@pytest.mark.parametrize("bad", BAD)
def test_bad_time_or_mean_square_of_a_cloning_is_refused(bad):
    with pytest.raises(ValueError, match=r"^time must be"):
        regimes.cloning_probability(bad, 4.0)
    with pytest.raises(ValueError, match=r"^mean_square must be"):
        regimes.cloning_probability(1.0, bad)
