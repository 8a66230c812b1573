"""Checks of arguments: one ValueError that names the argument, its value and what is allowed. No torch in here."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "array",
    "covariance_matrix",
    "eigenvalue_array",
    "function",
    "integer",
    "neighbours",
    "number",
    "shown",
    "within",
]


def shown(value: Any) -> str:
    """``value`` as an error may show it: itself if that is short, else its type."""
    text = repr(value)
    return text if len(text) <= 80 and "\n" not in text else f"a {type(value).__module__}.{type(value).__qualname__}"


def number(
    value: Any,
    name: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    low_open: bool = False,
    high_open: bool = False,
) -> float:
    """``value`` as a float between ``low`` and ``high`` (bounds allowed unless open)."""
    left = "(" if low_open or low == -math.inf else "["
    right = ")" if high_open or high == math.inf else "]"
    interval = f"{left}{low:g}, {high:g}{right}"
    try:
        if isinstance(value, str | bytes | bool | np.bool_ | np.complexfloating) or getattr(value, "ndim", 0) != 0:
            raise TypeError  # float() would take them
        result = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise ValueError(f"{name} must be a number in {interval}, got {shown(value)}") from None
    too_low = result <= low if low_open else result < low
    too_high = result >= high if high_open else result > high
    if math.isnan(result) or too_low or too_high or math.isinf(result):
        raise ValueError(f"{name} must be a finite number in {interval}, got {result:g}")
    return result


def integer(value: Any, name: str, *, low: int, high: int | None = None) -> int:
    """``value`` as an int of at least ``low`` (at most ``high``); floats are refused, even whole ones."""
    allowed = f"an integer of at least {low}" + ("" if high is None else f" and at most {high}")
    try:
        result = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be {allowed}, got {shown(value)}") from None
    if isinstance(value, bool) or result < low or (high is not None and result > high):
        raise ValueError(f"{name} must be {allowed}, got {shown(value)}")
    return result


def neighbours(k: Any, n: int, *, low: int = 1) -> int:
    """``k`` as a number of neighbours, at least ``low``, that every one of ``n`` training points has."""
    k = integer(k, "k", low=low)
    if n <= k:
        raise ValueError(f"training must have more than k = {k} points, got {n}")
    return k


def function(value: Any, name: str) -> Callable:
    """``value`` itself, which can be called."""
    if not callable(value):
        raise ValueError(f"{name} must be a function, got {shown(value)}")
    return value


def array(value: Any, name: str, *, ndim: int) -> NDArray[np.float64]:
    """``value`` as a float64 array with ``ndim`` axes, not empty, finite; of numbers, not of booleans or strings."""
    try:
        result = np.asarray(value)
        if result.dtype.kind not in "iufO":
            raise TypeError  # astype() would take booleans, strings and complex numbers
        result = result.astype(np.float64)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} must be an array of numbers with {ndim} axes, got {shown(value)}") from None
    if result.ndim != ndim or result.size == 0:
        raise ValueError(f"{name} must be a non-empty array with {ndim} axes, got shape {result.shape}")
    if not np.isfinite(result).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity in it")
    return result


def within(value: Any, name: str, *, low: float, high: float, low_open: bool = False) -> NDArray[np.float64]:
    """Numbers of any shape, as float64, between ``low`` and ``high`` (``low`` itself allowed unless open)."""
    result = array(value, name, ndim=np.ndim(value))
    outside = (result > high) | (result <= low if low_open else result < low)
    if outside.any():
        interval = f"{'(' if low_open else '['}{low:g}, {high:g}{')' if math.isinf(high) else ']'}"
        raise ValueError(f"{name} must lie in {interval}, got {result[outside].flat[0]:g}")
    return result


def eigenvalue_array(value: Any, name: str = "eigenvalues") -> NDArray[np.float64]:
    """Eigenvalues of a covariance: a one-dimensional array, finite and non-negative."""
    result = array(value, name, ndim=1)
    if (result < 0).any():
        raise ValueError(f"{name} must be non-negative, got {result.min():g} among them")
    return result


def covariance_matrix(value: Any, name: str = "covariance") -> NDArray[np.float64]:
    """A symmetric positive semi-definite matrix (d, d), up to rounding."""
    result = array(value, name, ndim=2)
    if result.shape[0] != result.shape[1]:
        raise ValueError(f"{name} must be a square matrix, got shape {result.shape}")
    size = max(float(np.abs(result).max()), np.finfo(float).tiny)
    if np.abs(result - result.T).max() > 1e-10 * size:
        raise ValueError(f"{name} must be symmetric, got an asymmetry of {np.abs(result - result.T).max():g}")
    lowest = float(np.linalg.eigvalsh(result)[0])
    if lowest < -1e-10 * size * len(result):
        raise ValueError(f"{name} must be positive semi-definite, got an eigenvalue of {lowest:g}")
    return result
