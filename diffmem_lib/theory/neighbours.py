r"""How near is too near: the law of the ratio of a fresh point's distances to its two nearest training points.

r_1 < r_2 are the two distances. Around a point where the density is flat in D dimensions, −log(r_1/r_2) is exponential
with mean 1/D (the law behind Facco et al. 2017 and Levina & Bickel 2005): chance alone makes any ratio, and how often
is a matter of D. In high dimension, where the density is not flat within r_1, the same law holds to leading order with
an effective dimension in place of D.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import bisect, brentq
from scipy.special import expit
from scipy.stats import ncx2

from diffmem_lib import _checks

__all__ = ["critical_ratio", "effective_dimension", "exact_dimension", "ratio_cdf"]

Values = float | NDArray[np.float64]


def ratio_cdf(ratio: Any, dimension: Any) -> Values:
    r"""How often a fresh point's ratio of *squared* distances is smaller, :math:`P(r_1^2/r_2^2 < ρ) = ρ^{D/2}`.

    For Euclidean distances, P(r_1/r_2 < t) is its value at ρ = t²: at t = 1/3 one in three at D = 1, in 81 at D = 4.

    Parameters
    ----------
    ratio
        ρ, between 0 and 1; any shape.
    dimension
        D > 0, of a shape that broadcasts with ``ratio``: that of a flat density, or an effective one. With the latter
        the law holds for log(1/ρ) of order 1/D; far below, chance is rarer than this in high dimension.

    Returns
    -------
    float or ndarray
        A probability, of the broadcast shape.

    Raises
    ------
    ValueError
        If ``ratio`` is not between 0 and 1, or ``dimension`` not positive and finite.
    """
    return _within(ratio, "ratio", 0, 1) ** (_dimension(dimension) / 2)


def critical_ratio(level: Any, dimension: Any) -> Values:
    r"""The ratio of *squared* distances below which a fresh point falls with probability ``level``, :math:`p^{2/D}`.

    The inverse of :func:`ratio_cdf`; its root p^{1/D} is the ratio of Euclidean distances.

    Parameters
    ----------
    level
        p, above 0 and at most 1; any shape.
    dimension
        As in :func:`ratio_cdf`.

    Raises
    ------
    ValueError
        If ``level`` is not in (0, 1], or ``dimension`` not positive and finite.
    """
    return _within(level, "level", 0, 1, low_open=True) ** (2 / _dimension(dimension))


def effective_dimension(eigenvalues: Any, n: float) -> float:
    r"""Dimension that the neighbour ratio shows at a typical fresh point of N(0, diag λ), to leading order.

    .. math::
        D = \sum_j \Bigl[1 - \frac{1}{(1 + uλ_j)^2}\Bigr], \qquad
        \log n = \frac12\sum_j \Bigl[\log(1 + uλ_j) - \frac{uλ_j}{(1 + uλ_j)^2}\Bigr]

    The half squared distances E to the training points are random energies; u is the rate at which their number grows
    like e^{uE} at the lowest one, so that the gap above it is exponential with rate u, and D = 2uE_1.
    Between 4√(d log n/3) for few points, d equal eigenvalues, and d for n ≫ e^d.

    Parameters
    ----------
    eigenvalues
        λ_j, (d,), non-negative and not all zero. Directions without data count nothing, and their unit is free.
    n
        Number of training points, at least 2; as a float up to 1e300 and beyond.

    Raises
    ------
    ValueError
        If an argument is out of range, NaN or infinite.

    Notes
    -----
    Good where D is large; for equal eigenvalues :func:`exact_dimension` gives what is left out.
    """
    values = _checks.eigenvalue_array(eigenvalues)
    if not values.any():
        raise ValueError("eigenvalues must not all be zero: then all training points are one")
    log_n = math.log(_checks.number(n, "n", low=2))
    logs = np.log(values[values > 0])
    logs -= logs.max()

    def gap(log_tilt: float) -> float:
        log_u = logs + log_tilt
        return float(0.5 * (np.logaddexp(0, log_u) - expit(log_u) * expit(-log_u)).sum()) - log_n

    # A direction adds at most ¾(uλ)², and the first at least ½ log uλ − ⅛.
    low = 0.5 * math.log(4 * log_n / 3) - 0.5 * math.log(np.exp(2 * logs).sum()) - 1e-6  # numerics
    share = expit(logs + brentq(gap, low, 2 * log_n + 0.26, xtol=1e-15, rtol=1e-15))  # numerics
    return float((share * (2 - share)).sum())


def exact_dimension(n: float, dim: int, square: float | None = None) -> float:
    r"""D = 1/E[log(r_2/r_1)] for n points of N(0, I) seen from a point y, at any size.

    .. math:: \frac1D = \int n F(1 - F)^{n-1}\, d\log r,

    F the noncentral χ² law of r² = |y − x|², with d degrees of freedom and noncentrality |y|²; the integrand is the
    probability that r lies between the two nearest.

    Parameters
    ----------
    n
        Number of training points, from 2 to 1e50.
    dim
        Dimension d.
    square
        |y|² ≥ 0; without it d, as at a typical fresh point.

    Raises
    ------
    ValueError
        If an argument is out of range, NaN or infinite.
    """
    n = _checks.number(n, "n", low=2, high=1e50)
    dim = _checks.integer(dim, "dim", low=1)
    square = float(dim) if square is None else _checks.number(square, "square", low=0)

    def share(log_r: float) -> float:
        return float(ncx2.cdf(math.exp(2 * log_r), dim, square))

    def between(log_r: float) -> float:
        inside = share(log_r)
        return 0.0 if inside in (0, 1) else math.exp(math.log(n * inside) + (n - 1) * math.log1p(-inside))

    middle = 0.5 * math.log(dim + square)
    width = 350 / dim + 5  # numerics: F falls like r^d at least, and faster than that beyond the mean
    low = bisect(lambda x: share(x) - 1e-18 / n, middle - width, middle + 5)  # numerics
    centre = bisect(lambda x: share(x) - 0.7 / n, low, middle + 5, xtol=1e-14)  # numerics
    high = bisect(lambda x: (n - 1) * math.log1p(-min(share(x), 1 - 2e-16)) + 35, low, middle + 5)  # numerics
    parts = [quad(between, *ends, epsabs=0, epsrel=1e-12, limit=200)[0] for ends in ((low, centre), (centre, high))]
    return 1 / sum(parts)


def _within(value: Any, name: str, low: float, high: float, *, low_open: bool = False) -> NDArray[np.float64]:
    """Numbers of any shape between ``low`` and ``high``."""
    result = _checks.array(value, name, ndim=np.ndim(value))
    outside = (result > high) | (result <= low if low_open else result < low)
    if outside.any():
        interval = f"{'(' if low_open else '['}{low:g}, {high:g}{')' if math.isinf(high) else ']'}"
        raise ValueError(f"{name} must lie in {interval}, got {result[outside].flat[0]:g}")
    return result


def _dimension(value: Any) -> NDArray[np.float64]:
    return _within(value, "dimension", 0, math.inf, low_open=True)
