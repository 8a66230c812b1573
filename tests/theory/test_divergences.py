"""theory.divergences against 50-digit arithmetic, numerical integration, exact cases and draws of Wishart matrices."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmem_lib.theory.divergences import expected_kl, gaussian_kl, leading_kl, limit_kl, ridge_limit_kl

DIRECTIONS = ("reverse", "forward")
MEANS = ("learned", "known")


def reference_kl(dim, n, direction, mean):
    """The sheet's formula, term by term in 50 digits."""
    lost = int(mean == "learned")
    with mpmath.workdps(50):
        terms = (mpmath.log(mpmath.mpf(n) / 2) - mpmath.digamma(mpmath.mpf(n - i - lost) / 2) for i in range(dim))
        reverse = mpmath.fsum(terms) / 2
        if direction == "reverse":
            return reverse
        trace = mpmath.mpf(dim) * (n + lost) / (n - dim - 1 - lost)
        return (trace - dim) / 2 - reverse


# ------------------------------------------------------------------------------------------ gaussian_kl


def random_covariance(rng, dim):
    factor = rng.normal(size=(dim, dim + 3))
    return factor @ factor.T / dim


def test_gaussian_kl_in_one_dimension():
    assert gaussian_kl([1.0], [[2.0]], [0.5], [[3.0]]) == pytest.approx(
        (2 / 3 + 0.25 / 3 - 1 + math.log(1.5)) / 2, rel=1e-14
    )


def test_gaussian_kl_against_fifty_digits(rng):
    for dim in (2, 7):
        p, q = random_covariance(rng, dim), random_covariance(rng, dim)
        a, b = rng.normal(size=dim), rng.normal(size=dim)
        with mpmath.workdps(50):
            P, Q = mpmath.matrix(p.tolist()), mpmath.matrix(q.tolist())
            delta = mpmath.matrix([mpmath.mpf(x) - mpmath.mpf(y) for x, y in zip(a.tolist(), b.tolist(), strict=True)])
            inverse = Q**-1
            trace = sum((inverse * P)[i, i] for i in range(dim))
            quadratic = (delta.T * inverse * delta)[0]
            expected = (trace - dim + quadratic + mpmath.log(mpmath.det(Q) / mpmath.det(P))) / 2
        assert gaussian_kl(a, p, b, q) == pytest.approx(float(expected), rel=1e-11)


def test_gaussian_kl_of_nearly_equal_laws_keeps_its_digits(rng):
    q = np.eye(3)
    for size in (2.0**-10, 2.0**-20, 2.0**-30):
        p = np.diag(1 + size * np.array([1.0, -1.0, 0.5]))
        with mpmath.workdps(60):
            expected = sum(x - mpmath.log1p(x) for x in (mpmath.mpf(size) * k for k in (1, -1, 0.5))) / 2
        assert gaussian_kl(np.zeros(3), p, np.zeros(3), q) == pytest.approx(float(expected), rel=1e-13)


def test_gaussian_kl_does_not_depend_on_units():
    p, q = np.diag([2.0, 3.0]), np.array([[1.0, 0.3], [0.3, 1.0]])
    units = np.diag([1e-9, 1e7])
    a, b = np.array([0.1, -0.2]), np.array([0.0, 0.4])
    scaled = gaussian_kl(units @ a, units @ p @ units, units @ b, units @ q @ units)
    assert scaled == pytest.approx(gaussian_kl(a, p, b, q), rel=1e-12)


def test_gaussian_kl_is_not_symmetric_and_vanishes_only_on_the_diagonal():
    zero, one, two = np.zeros(2), np.eye(2), 2 * np.eye(2)
    assert gaussian_kl(zero, one, zero, one) == 0
    assert gaussian_kl(zero, one, zero, two) == pytest.approx(math.log(2) - 0.5, rel=1e-14)
    assert gaussian_kl(zero, two, zero, one) == pytest.approx(1 - math.log(2), rel=1e-14)


def test_gaussian_kl_of_laws_on_a_subspace():
    zero, plane = np.zeros(3), np.diag([1.0, 2.0, 0.0])
    assert gaussian_kl(zero, plane, zero, plane) == 0
    assert gaussian_kl(zero, np.diag([1.0, 1.0, 0.0]), zero, plane) == pytest.approx((-0.5 + math.log(2)) / 2)
    assert gaussian_kl(zero, np.eye(3), zero, plane) == math.inf  # p leaves the plane
    assert gaussian_kl(zero, plane, zero, np.eye(3)) == math.inf  # p has no density under q's measure
    assert gaussian_kl([0, 0, 1.0], plane, zero, plane) == math.inf  # another plane
    rng = np.random.default_rng(1)
    few = rng.normal(size=(5, 8))
    fitted = np.cov(few.T, bias=True)
    assert gaussian_kl(np.zeros(8), fitted, np.zeros(8), np.eye(8)) == math.inf
    assert gaussian_kl(np.zeros(8), np.eye(8), np.zeros(8), fitted) == math.inf


@pytest.mark.parametrize(
    "change",
    [
        {"mean_p": [0.0]},
        {"mean_p": [math.nan, 0]},
        {"mean_q": [0.0, math.inf]},
        {"mean_q": [0.0, 0.0, 0.0]},
        {"cov_p": [[1.0]]},
        {"cov_p": [[1.0, 0.5], [0.0, 1.0]]},
        {"cov_p": [[1.0, 2.0], [2.0, 1.0]]},
        {"cov_q": [[math.nan, 0.0], [0.0, 1.0]]},
        {"cov_q": np.eye(3)},
        {"cov_q": np.ones(2)},
    ],
)
def test_gaussian_kl_refuses(change):
    arguments = {"mean_p": np.zeros(2), "cov_p": np.eye(2), "mean_q": np.zeros(2), "cov_q": np.eye(2)} | change
    with pytest.raises(ValueError, match="must"):
        gaussian_kl(**arguments)


# ------------------------------------------------------------------------------------------ expected_kl


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize(
    ("dim", "n"),
    [(1, 4), (1, 10**9), (7, 10**6), (20, 60), (50, 400), (1000, 1003), (1000, 2000), (1000, 10**9), (1000, 30000)],
)
def test_expected_kl_against_fifty_digits(dim, n, direction, mean):
    expected = reference_kl(dim, n, direction, mean)
    assert expected_kl(dim, n, direction, mean) == pytest.approx(float(expected), rel=2e-14)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("dim", "n"), [(10**5, 10**5 + 3), (10**5, 2 * 10**5), (10**5, 10**9)])
def test_expected_kl_at_the_largest_sizes(dim, n, direction):
    # Σ_{i=1}^d ψ((n − i)/2) in closed form: even and odd i are two telescoping sums of
    # ψ(z) = F(z + 1) − F(z), F(z) = (z − 1)ψ(z) − z; the difference is taken in 60 digits.
    with mpmath.workdps(60):

        def sum_of_digammas(start, count):
            end = start + count
            return (end - 1) * mpmath.digamma(end) - (start - 1) * mpmath.digamma(start) - count

        half = dim // 2
        total = sum_of_digammas(mpmath.mpf(n - dim) / 2, half) + sum_of_digammas(mpmath.mpf(n - dim + 1) / 2, half)
        expected = (dim * mpmath.log(mpmath.mpf(n) / 2) - total) / 2
        if direction == "forward":
            expected = (mpmath.mpf(dim) * (n + 1) / (n - dim - 2) - dim) / 2 - expected
    assert expected_kl(dim, n, direction) == pytest.approx(float(expected), rel=1e-13)


def test_expected_kl_meets_the_known_values():
    assert round(expected_kl(20, 60), 4) == 2.1987
    assert round(expected_kl(20, 60, "forward"), 4) == 3.8540
    assert round(expected_kl(50, 400), 4) == 1.7323
    assert round(expected_kl(50, 400, "forward"), 4) == 2.0752


@pytest.mark.parametrize("dim", [1, 2, 5, 40])
def test_expected_kl_is_infinite_exactly_where_the_expectation_is(dim):
    first = {("reverse", "learned"): dim + 1, ("reverse", "known"): dim}
    first |= {("forward", "learned"): dim + 3, ("forward", "known"): dim + 2}
    for (direction, mean), n in first.items():
        assert math.isfinite(expected_kl(dim, n, direction, mean))
        assert all(expected_kl(dim, m, direction, mean) == math.inf for m in range(1, n))


@pytest.mark.parametrize("mean", MEANS)
def test_expected_kl_in_draws_of_wishart_matrices(mean, rng):
    dim, n, draws = 4, 12, 20000
    x = rng.normal(size=(draws, n, dim))
    centre = x.mean(axis=1) if mean == "learned" else np.zeros((draws, dim))
    x = x - centre[:, None]
    covariance = np.einsum("rni,rnj->rij", x, x) / n
    log_det, inverse = np.linalg.slogdet(covariance)[1], np.linalg.inv(covariance)
    reverse = (np.einsum("rii->r", covariance) + (centre**2).sum(1) - dim - log_det) / 2
    forward = (np.einsum("rii->r", inverse) + np.einsum("ri,rij,rj->r", centre, inverse, centre) - dim + log_det) / 2
    for direction, sample in zip(DIRECTIONS, (reverse, forward), strict=True):
        error = sample.std() / math.sqrt(draws)
        assert abs(sample.mean() - expected_kl(dim, n, direction, mean)) < 4.5 * error


@given(st.integers(1, 60), st.integers(3, 10**6), st.sampled_from(MEANS))
def test_expected_kl_falls_with_n_grows_with_d_and_forward_exceeds_reverse(dim, extra, mean):
    n = dim + extra
    for direction in DIRECTIONS:
        value = expected_kl(dim, n, direction, mean)
        assert expected_kl(dim, n + 1, direction, mean) < value < expected_kl(dim + 1, n + 1, direction, mean) * 2
        assert expected_kl(dim, n, direction, "known") <= expected_kl(dim, n, direction, "learned")
    assert expected_kl(dim, n, "forward", mean) > expected_kl(dim, n, "reverse", mean) > 0


@pytest.mark.parametrize(
    "bad",
    [
        {"dim": 0},
        {"dim": 2.0},
        {"dim": math.nan},
        {"dim": True},
        {"n": 0},
        {"n": -3},
        {"n": 1e3},
        {"n": math.inf},
        {"direction": "backward"},
        {"direction": None},
        {"mean": "given"},
    ],
)
def test_expected_kl_refuses(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        expected_kl(**({"dim": 3, "n": 10} | bad))


# --------------------------------------------------------------------------------------------- limit_kl


@pytest.mark.parametrize("ratio", [1e-12, 1e-6, 1e-3, 0.1, 0.5, 0.9, 0.99, 1 - 1e-6])
def test_limit_kl_against_fifty_digits(ratio):
    with mpmath.workdps(50):
        r = mpmath.mpf(ratio)
        reverse = (1 + (1 - r) / r * mpmath.log(1 - r)) / 2
        forward = (r / (1 - r) - 1 - (1 - r) / r * mpmath.log(1 - r)) / 2
    assert limit_kl(ratio) == pytest.approx(float(reverse), rel=1e-13)
    assert limit_kl(ratio, "forward") == pytest.approx(float(forward), rel=1e-13)


def test_limit_kl_at_its_ends():
    assert limit_kl(0) == limit_kl(0, "forward") == 0
    assert limit_kl(1) == 0.5
    assert limit_kl(1, "forward") == math.inf
    assert limit_kl(1.01) == limit_kl(1.01, "forward") == math.inf


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_limit_kl_is_reached_at_rate_one_over_d(direction):
    gaps = [expected_kl(d, 4 * d, direction) / d - limit_kl(0.25, direction) for d in (100, 1000, 10000)]
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.05)
    assert gaps[1] / gaps[2] == pytest.approx(10, rel=0.005)


@pytest.mark.parametrize(("n_minus_d", "mean"), [(1, "learned"), (5, "learned"), (0, "known"), (1, "known")])
def test_limit_kl_at_one_is_the_limit_with_a_fixed_surplus_of_points(n_minus_d, mean):
    # The sum of log(n/2) − ψ down to arguments of order one leaves d/2 + O(log d).
    gaps = [expected_kl(d, d + n_minus_d, "reverse", mean) / d - limit_kl(1) for d in (10**3, 10**4, 10**5)]
    assert all(abs(gap) < 3 * math.log(d) / d for gap, d in zip(gaps, (10**3, 10**4, 10**5), strict=True))
    assert expected_kl(10**4, 10**4) == math.inf  # n = d itself, mean learned: in every dimension
    forward = [expected_kl(d, d + 3, "forward") / d for d in (10**3, 10**4, 10**5)]
    assert forward[2] > 9 * forward[1] > 80 * forward[0]


@pytest.mark.parametrize("bad", [{"ratio": -0.1}, {"ratio": math.nan}, {"ratio": math.inf}, {"direction": "r"}])
def test_limit_kl_refuses(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        limit_kl(**({"ratio": 0.5} | bad))


# ------------------------------------------------------------------------------------------- leading_kl


@pytest.mark.parametrize("mean", MEANS)
def test_leading_kl_of_gaussian_data_is_half_the_number_of_parameters(mean):
    for dim in (1, 5, 50):
        parameters = dim * (dim + 1) // 2 + (dim if mean == "learned" else 0)
        assert leading_kl(dim * (dim + 2), dim, 1, mean) == parameters / 2
        for direction in DIRECTIONS:
            exact = expected_kl(dim, 10**9, direction, mean)
            assert exact == pytest.approx(leading_kl(dim * (dim + 2), dim, 10**9, mean), rel=1e-6)


@pytest.mark.parametrize(
    "bad",
    [
        {"fourth_moment": 8.9},
        {"fourth_moment": math.nan},
        {"fourth_moment": math.inf},
        {"dim": 0},
        {"dim": 1.5},
        {"n": 0},
        {"mean": "none"},
    ],
)
def test_leading_kl_refuses(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        leading_kl(**({"fourth_moment": 15.0, "dim": 3, "n": 10} | bad))


# --------------------------------------------------------------------------------------- ridge_limit_kl


def marchenko_pastur(function, ratio):
    """Integral of a function over the law of the eigenvalues, by mpmath on x = middle + half-width·cos θ."""
    middle, half = 1 + ratio, 2 * mpmath.sqrt(ratio)

    def integrand(angle):
        x = middle + half * mpmath.cos(angle)
        return function(x) * (half * mpmath.sin(angle)) ** 2 / (2 * mpmath.pi * ratio * x)

    bulk = mpmath.quad(integrand, [0, mpmath.pi / 2, mpmath.pi])
    return bulk + (1 - 1 / ratio) * function(mpmath.mpf(0)) if ratio > 1 else bulk


@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.9, 2.0, 10.0])
@pytest.mark.parametrize("ridge", [1e-3, 0.1, 1.0, 10.0])
def test_ridge_limit_kl_is_an_integral_over_the_marchenko_pastur_law(ratio, ridge):
    with mpmath.workdps(30):
        r, c = mpmath.mpf(ratio), mpmath.mpf(ridge)
        log_volume = marchenko_pastur(lambda x: mpmath.log(x + c), r)
        inverse = marchenko_pastur(lambda x: 1 / (x + c), r)
        reverse, forward = (c - log_volume) / 2, (inverse - 1 + log_volume) / 2
    assert ridge_limit_kl(ratio, ridge) == pytest.approx(float(reverse), rel=1e-12)
    assert ridge_limit_kl(ratio, ridge, "forward") == pytest.approx(float(forward), rel=1e-12)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("ratio", [1e-6, 0.1, 0.5, 0.9])
def test_ridge_limit_kl_without_a_ridge(ratio, direction):
    assert ridge_limit_kl(ratio, 1e-13, direction) == pytest.approx(limit_kl(ratio, direction), rel=1e-8)


@pytest.mark.parametrize("ratio", [1.5, 4.0, 40.0])
def test_ridge_limit_kl_diverges_as_the_ridge_vanishes_beyond_the_transition(ratio):
    # A fraction 1 − 1/r of the directions is unseen and has the variance c: −½(1 − 1/r) log c and ½(1 − 1/r)/c.
    unseen = 1 - 1 / ratio
    tiny, small = 1e-12, 1e-10
    slope = (ridge_limit_kl(ratio, tiny) - ridge_limit_kl(ratio, small)) / math.log(small / tiny)
    assert slope == pytest.approx(unseen / 2, rel=1e-3)
    assert ridge_limit_kl(ratio, tiny, "forward") * tiny == pytest.approx(unseen / 2, rel=1e-6)


@pytest.mark.parametrize(
    "bad",
    [
        {"ratio": 0.0},
        {"ratio": -1.0},
        {"ratio": math.nan},
        {"ratio": math.inf},
        {"ridge": 0.0},
        {"ridge": -1e-3},
        {"ridge": math.nan},
        {"direction": ""},
    ],
)
def test_ridge_limit_kl_refuses(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        ridge_limit_kl(**({"ratio": 0.5, "ridge": 0.1} | bad))


@pytest.fixture
def rng():
    return np.random.default_rng(20260)
