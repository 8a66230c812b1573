"""The participation ratio at large noise, against the exact posterior of small sets in mpmath."""

import math

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffmem_lib.theory import posterior


def exact_mean_inverse(points, sigma):
    """E Σ w² over the noise, for training points on a line, by quadrature in mpmath."""

    def integrand(z, x):
        logs = [-((x + sigma * z - other) ** 2) / (2 * sigma**2) for other in points]
        weights = [mpmath.exp(a - max(logs)) for a in logs]
        return mpmath.npdf(z) * sum(w**2 for w in weights) / sum(weights) ** 2

    return sum(mpmath.quad(lambda z, x=x: integrand(z, x), [-8, 0, 8]) for x in points) / len(points)


@pytest.mark.parametrize("points", [[-1.0, 1.0], [0.0, 1.0, 5.0], [-2.0, 0.3, 0.4, 1.1, 2.0]])
def test_error_falls_as_the_fourth_power(points):
    n = len(points)
    mean = sum(points) / n
    variance = sum((x - mean) ** 2 for x in points) / n
    errors = [
        abs(float(n * exact_mean_inverse(points, sigma)) - n / posterior.participation_ratio(n, variance, sigma))
        for sigma in (20.0, 40.0)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.1)


@given(st.integers(1, 10**6), st.floats(0, 1e6), st.floats(1e-3, 1e6))
def test_between_nothing_and_all(n, variance, sigma):
    assert 0 < posterior.participation_ratio(n, variance, sigma) <= n


def test_identical_points_all_take_part():
    assert posterior.participation_ratio(7, 0.0, 0.1) == 7


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((0, 1.0, 1.0), "n"),
        ((2.0, 1.0, 1.0), "n"),
        ((2, -1.0, 1.0), "total_variance"),
        ((2, math.nan, 1.0), "total_variance"),
        ((2, math.inf, 1.0), "total_variance"),
        ((2, 1.0, 0.0), "sigma"),
        ((2, 1.0, -1.0), "sigma"),
        ((2, 1.0, math.nan), "sigma"),
        ((2, 1.0, math.inf), "sigma"),
    ],
)
def test_bad_input(arguments, name):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        posterior.participation_ratio(*arguments)
