import math

import numpy as np
import pytest
import torch

from diffmem_lib import _checks


def test_number_accepts_what_float_accepts():
    for value in (1, 1.0, np.float32(1), np.array(1.0), torch.tensor(1.0)):
        result = _checks.number(value, "a")
        assert type(result) is float
        assert result == 1.0


def test_number_bounds():
    assert _checks.number(0, "a", low=0, high=1) == 0
    assert _checks.number(1, "a", low=0, high=1) == 1
    for value, options in [
        (0, {"low": 0, "low_open": True}),
        (1, {"high": 1, "high_open": True}),
        (-0.1, {"low": 0}),
        (1.1, {"high": 1}),
        (math.inf, {}),
        (-math.inf, {}),
        (math.nan, {}),
        (math.nan, {"low": 0, "high": 1}),
    ]:
        with pytest.raises(ValueError, match=r"^alpha must be a finite number in [\[(].*[\])], got "):
            _checks.number(value, "alpha", **options)


@pytest.mark.parametrize(
    "value",
    [
        *(None, "1", b"1", True, np.True_, [1.0], np.ones(1), np.ones(2), torch.ones(1), torch.ones(2), 10**400),
        *(1j, np.complex128(1 + 2j)),
    ],
)
def test_number_refuses_what_is_none(value):
    with pytest.raises(ValueError, match=r"^alpha must be a number in \("):
        _checks.number(value, "alpha")


def test_number_says_the_interval():
    with pytest.raises(ValueError, match=r"in \(0, 1\], got 2"):
        _checks.number(2, "alpha", low=0, high=1, low_open=True)


def test_integer():
    for value in (3, np.int32(3), torch.tensor(3)):
        result = _checks.integer(value, "n", low=1)
        assert type(result) is int
        assert result == 3
    assert _checks.integer(3, "n", low=3, high=3) == 3


@pytest.mark.parametrize("value", [0, 6, 3.0, np.float64(3), "3", None, True, math.nan, torch.tensor(3.0), [3]])
def test_integer_refuses(value):
    with pytest.raises(ValueError, match=r"^n must be an integer of at least 1 and at most 5, got "):
        _checks.integer(value, "n", low=1, high=5)


def test_array():
    result = _checks.array([1, 2], "x", ndim=1)
    assert result.dtype == np.float64
    assert result.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "value",
    [
        *(1.0, [], [[1.0]], [math.nan], [math.inf], ["a"], [[1], [1, 2]], None),
        *(["1", "2"], [True, False], [1j], torch.ones(2, requires_grad=True)),
    ],
)
def test_array_refuses(value):
    with pytest.raises(ValueError, match=r"^x must be "):
        _checks.array(value, "x", ndim=1)


def test_eigenvalue_array():
    assert _checks.eigenvalue_array([0.0, 2.0]).tolist() == [0.0, 2.0]
    with pytest.raises(ValueError, match=r"^eigenvalues must be non-negative, got -1 among them"):
        _checks.eigenvalue_array([1.0, -1.0])


def test_covariance_matrix_accepts_singular_ones():
    direction = np.array([1.0, 2.0, -1.0])
    for matrix in (np.zeros((2, 2)), np.outer(direction, direction), 1e-200 * np.eye(2), 1e200 * np.eye(2)):
        assert np.array_equal(_checks.covariance_matrix(matrix), matrix)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones((2, 3)), "square"),
        (np.ones(3), "axes"),
        ([[1.0, 0.1], [0.0, 1.0]], "symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], "positive semi-definite"),
        ([[-1.0]], "positive semi-definite"),
        ([[math.nan]], "finite"),
    ],
)
def test_covariance_matrix_refuses(value, message):
    with pytest.raises(ValueError, match=rf"^covariance must be .*{message}"):
        _checks.covariance_matrix(value)


def test_within():
    np.testing.assert_array_equal(_checks.within([[0, 1]], "ratio", low=0, high=1), [[0.0, 1.0]])
    for value, options, interval in ((1.5, {}, r"\[0, 1\], got 1.5"), (0, {"low_open": True}, r"\(0, 1\], got 0")):
        with pytest.raises(ValueError, match=f"ratio must lie in {interval}"):
            _checks.within(value, "ratio", low=0, high=1, **options)
    with pytest.raises(ValueError, match=r"in \(0, inf\), got -1"):
        _checks.within([2.0, -1.0], "dimension", low=0, high=math.inf, low_open=True)


def test_neighbours():
    assert _checks.neighbours(3, 4) == 3
    with pytest.raises(ValueError, match="training must have more than k = 4 points, got 4"):
        _checks.neighbours(4, 4)
    with pytest.raises(ValueError, match="k must be an integer of at least 2, got 1"):
        _checks.neighbours(1, 4, low=2)


def test_what_is_long_is_shown_by_its_type():
    assert _checks.shown([1, "x"]) == "[1, 'x']"
    assert _checks.shown(np.ones((3, 3))) == "a numpy.ndarray"
    assert _checks.shown("x" * 100) == "a builtins.str"
