r"""How near is too near: the law of the ratio of a fresh point's distances to its two nearest training points.

r_1 < r_2 are the two distances. Around a point where the density is flat in D dimensions, −log(r_1/r_2) is exponential
with mean 1/D (the law behind Facco et al. 2017 and Levina & Bickel 2005): chance alone makes any ratio, and how often
is a matter of D. In high dimension, where the density is not flat within r_1, the same law holds to leading order with
an effective dimension in place of D.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import bisect, brentq
from scipy.special import expit, gammaln, roots_legendre
from scipy.stats import chi2, gamma, ncx2

from diffmem_lib import _checks

__all__ = [
    "copy_power",
    "corrected_dimension",
    "critical_ratio",
    "curved_ratio_cdf",
    "effective_dimension",
    "exact_dimension",
    "log_ratio_cdf",
    "ratio_cdf",
    "spectrum_dimension",
]

Values = float | NDArray[np.float64]
Array = NDArray[np.float64]


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
    return _checks.within(ratio, "ratio", low=0, high=1) ** (_dimension(dimension) / 2)


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
    return _checks.within(level, "level", low=0, high=1, low_open=True) ** (2 / _dimension(dimension))


def curved_ratio_cdf(ratio: Any, dimension: Any, curvature: Any) -> Values:
    r"""How often a fresh point's ratio of *squared* distances is smaller where the density curves, to first order.

    .. math:: P(r_1^2/r_2^2 < ρ) = ρ^{D/2}\Bigl[1 - (1 - ρ)\,\frac{K}{2(D + 2)}\Bigr],
        \qquad K = \frac{Δp}{p}\,E\,r_2^2

    In a hole of the density (K > 0) small ratios are rarer than where it is flat, on a summit more frequent; how
    dense it is does not matter, and a gradient counts nothing to this order.

    Parameters
    ----------
    ratio, dimension
        As in :func:`ratio_cdf`; the density is one in D dimensions.
    curvature
        K, the Laplacian of the density over the density, times the mean square of the second neighbour's distance;
        from −D(D + 2) to 2(D + 2), beyond which this is no probability. Good where it is small against these.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Derived in *Sparse images are memorized first* (chapters/sparse_images.ipynb).
    """
    flat, dimension = ratio_cdf(ratio, dimension), _dimension(dimension)
    curvature = _checks.within(curvature, "curvature", low=-math.inf, high=math.inf)
    if (curvature < -dimension * (dimension + 2)).any() or (curvature > 2 * (dimension + 2)).any():
        raise ValueError(f"curvature must lie in [-D(D + 2), 2(D + 2)], got {np.ravel(curvature).tolist()}")
    return flat * (1 - (1 - np.asarray(ratio, dtype=np.float64)) * curvature / (2 * (dimension + 2)))


def effective_dimension(eigenvalues: Any, n: float) -> float:
    r"""Dimension that the neighbour ratio shows at a typical fresh point of N(0, diag λ), to leading order.

    .. math::
        D = \sum_j \Bigl[1 - \frac{1}{(1 + uλ_j)^2}\Bigr], \qquad
        \log n = \frac12\sum_j \Bigl[\log(1 + uλ_j) - \frac{uλ_j}{(1 + uλ_j)^2}\Bigr]

    The half squared distances E to the training points are random energies; u is the rate at which their number grows
    like e^{uE} at the lowest one, so that the gap above it is exponential with rate u, and D = 2uE_1.
    Between 4√(d log n/3) for few points, d equal eigenvalues, and d where log n ≫ d.

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
    Good where both D and log n are large; :func:`spectrum_dimension` gives what is left out.
    """
    values, log_n = _spectrum(eigenvalues), math.log(_checks.number(n, "n", low=2))
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
        if inside in (0, 1):  # numerics
            return 0.0  # numerics
        return math.exp(math.log(n * inside) + (n - 1) * math.log1p(-inside))

    # F falls like r^d at least, and faster than that beyond the mean.
    middle = 0.5 * math.log(dim + square)  # numerics
    width = 350 / dim + 5  # numerics
    low = bisect(lambda x: share(x) - 1e-18 / n, middle - width, middle + 5)  # numerics
    centre = bisect(lambda x: share(x) - 0.7 / n, low, middle + 5, xtol=1e-14)  # numerics
    high = bisect(lambda x: (n - 1) * math.log1p(-min(share(x), 1 - 2e-16)) + 35, low, middle + 5)  # numerics
    ends = ((low, centre), (centre, high))
    parts = [quad(between, *end, epsabs=0, epsrel=1e-12, limit=200)[0] for end in ends]  # numerics
    return 1 / sum(parts)


def corrected_dimension(eigenvalues: Any, n: float) -> float:
    r"""The dimension of :func:`effective_dimension` with its correction for finite size, in closed form but for a root.

    .. math::
        D = 2uE\Bigl[1 + \frac{1}{u^2φ_2}\Bigl(1 + \frac{uφ_3}{2φ_2}\Bigr)\Bigr], \qquad
        \log n = I(u) + \tfrac12\log(2πu^2φ_2) - γ

    with E(u) = ½Σ[λ/(1 + uλ) + λ/(1 + uλ)²], φ_2 = −dE/du, φ_3 = dφ_2/du, I(u) the right-hand side in
    :func:`effective_dimension`, and Euler's γ: the tilt is taken where e^{−γ} points are expected below the energy.

    Parameters and errors are those of :func:`effective_dimension`. What is left is of the relative order
    1/(u²φ_2)², and 1/(log n)² where the points are few; :func:`spectrum_dimension` leaves nothing out.
    """
    values, log_n = _spectrum(eigenvalues), math.log(_checks.number(n, "n", low=2))

    def log_rarity(u: float) -> float:
        rate, _, variance = _law(u, values, values)
        return rate + 0.5 * math.log(2 * math.pi * u**2 * variance)

    u = _root(log_rarity, log_n + np.euler_gamma)
    share = values / (1 + u * values)
    _, energy, variance = _law(u, values, values)
    third = -(share**3 * (1 + 3 / (1 + u * values))).sum()
    return float(2 * u * energy * (1 + (1 + u * third / (2 * variance)) / (u**2 * variance)))


def spectrum_dimension(eigenvalues: Any, n: float, squares: Any = None) -> float:
    r"""D = 1/E[log(r_2/r_1)] for n points of N(0, diag λ) seen from a point y: :func:`exact_dimension` of any spectrum.

    .. math::
        F = \frac{1}{2πi}\int e^{φ(s) + sE}\,\frac{ds}{s}, \qquad
        φ(s) = -\frac12\sum_j\Bigl[\log(1 + sλ_j) + \frac{s y_j^2}{1 + sλ_j}\Bigr]

    is the probability that half the squared distance to a training point is below E, with a contour that crosses the
    axis at the tilt u > 0 where E = −φ'(u); it leaves the axis as a parabola, on which the integrand falls fast.

    Parameters
    ----------
    eigenvalues
        λ_j, (d,), non-negative and not all zero.
    n
        Number of training points, from 100 to 1e50.
    squares
        y_j², (d,), non-negative; without them λ_j, as at a typical fresh point.

    Raises
    ------
    ValueError
        If an argument is out of range, NaN or infinite, or the lengths differ.
    """
    values = _spectrum(eigenvalues)
    n = _checks.number(n, "n", low=100, high=1e50)
    y2 = values if squares is None else _checks.within(squares, "squares", low=0, high=math.inf)
    if y2.shape != values.shape:
        raise ValueError(f"squares must have the {len(values)} entries of eigenvalues, got shape {y2.shape}")
    unit = values.max()
    values, y2 = values / unit, y2 / unit

    low, high = (_expecting(count, values, y2, math.log(n)) for count in (math.log(45), -40.0))  # numerics
    tilts, step = np.linspace(math.log(low), math.log(high), 160, retstep=True)  # numerics
    total = 0.0  # numerics
    for u in np.exp(tilts):
        _, energy, variance = _law(u, values, y2)
        inside = math.exp(_log_share_below(u, values, y2))
        total += n * inside * math.exp((n - 1) * math.log1p(-inside)) * u * variance / (2 * energy)
    return float(1 / (step * total))


def log_ratio_cdf(ratio: Any, eigenvalues: Any, n: float) -> Values:
    r"""log P(r_1²/r_2² < ρ) at a typical fresh point of N(0, diag λ): what :func:`ratio_cdf` becomes far down.

    .. math::
        P = nF(w)\,Γ\bigl(1 + wρ/u\bigr), \qquad E(w) = ρE(u), \qquad nF(u) = 1,

    with F(u) the probability that half the squared distance to a training point is below the energy E(u), see
    :func:`spectrum_dimension`; to leading order −log F = I, so that −log P is I(w) − log n. At ρ = 1 it is 0.

    Parameters
    ----------
    ratio
        ρ, above 0 and at most 1, of *squared* distances; any shape.
    eigenvalues, n
        As in :func:`effective_dimension`.

    Raises
    ------
    ValueError
        If an argument is out of range, NaN or infinite.
    """
    ratios = _checks.within(ratio, "ratio", low=0, high=1, low_open=True)
    values, log_n = _spectrum(eigenvalues), math.log(_checks.number(n, "n", low=2))
    u = _expecting(0.0, values, values, log_n)
    energy = _law(u, values, values)[1]

    def log_probability(rho: float) -> float:
        w = _root(lambda w: math.log(energy * rho) - math.log(_law(w, values, values)[1]))
        return log_n + _log_share_below(w, values, values) + float(gammaln(1 + w * rho / u))

    found = np.array([log_probability(rho) for rho in ratios.flat]).reshape(ratios.shape)
    return found if ratios.ndim else float(found)


def copy_power(noise: float, ratio: float, eigenvalues: Any, n: float) -> float:
    r"""The share of copies x^ν + s z of training points whose r_1²/r_2² is below ``ratio``.

    .. math:: P = \mathbb E\,(1 - F)^n, \qquad 2E = s^2|z|^2/ρ,

    F the share of training points below that energy, see :func:`spectrum_dimension`, seen from a copy of squares y_j²:
    no other point may be nearer than r_1/√ρ. The mean is over |z|², a χ² variable with d degrees of freedom, and over
    the one combination of the y_j² that moves log F, as a gamma variable with its first three moments; for given |z|²,
    with b = s²|z|²/d, y_j² has the mean λ_j + b, the variance 2λ_j² + 4λ_j b and the third cumulant 8λ_j³ + 24λ_j²b,
    and log F the slope −½u/(1 + uλ_j).

    Parameters
    ----------
    noise
        s > 0, a standard deviation per coordinate, in the data's unit.
    ratio
        ρ in (0, 1), of *squared* distances: a convention, or a :func:`critical_ratio`.
    eigenvalues
        λ_j, (d,), non-negative and not all zero. Directions without data count: the noise is in them, too.
    n
        Number of training points, from 100 to 1e50.

    Raises
    ------
    ValueError
        If an argument is out of range, NaN or infinite.
    """
    s = _checks.number(noise, "noise", low=0, low_open=True)
    rho = _checks.number(ratio, "ratio", low=0, high=1, low_open=True, high_open=True)
    values, n = _spectrum(eigenvalues), _checks.number(n, "n", low=100, high=1e50)
    unit = values.max()
    values, s2 = values / unit, s**2 / unit
    slope = 1 / (1 + _expecting(0.0, values, values + s2, math.log(n)) * values)  # numerics
    nodes, weights = roots_legendre(8)  # numerics
    levels, weights = (1 + nodes) / 2, weights / 2  # numerics
    total = 0.0  # numerics
    for square, weight in zip(chi2.ppf(levels, len(values)), weights, strict=True):
        energy = s2 * square / (2 * rho)
        added = s2 * square / len(values)
        variance = 2 * values**2 + 4 * values * added
        spread = math.sqrt((slope**2 * variance).sum())
        # Where the nodes of the mean over the y_j² lie; held by a test against the exact mean for equal eigenvalues.
        third = (slope**3 * (8 * values**3 + 24 * values**2 * added)).sum()  # numerics
        shape = 4 * spread**6 / third**2  # numerics
        steps = (gamma.ppf(levels, shape) - shape) / math.sqrt(shape)  # numerics
        for step, share in zip(steps, weights, strict=True):
            y2 = np.maximum(values + added + step * slope * variance / spread, 0)
            total += weight * share * _none_below(energy, values, y2, n)
    return float(total)


def _none_below(energy: float, values: Array, y2: Array, n: float) -> float:
    """(1 − F)^n at an energy, and 0 where it is not below the mean."""
    if energy >= 0.5 * (values + y2).sum():  # numerics
        return 0.0  # numerics
    u = _root(lambda u: math.log(energy) - math.log(_law(u, values, y2)[1]))
    return math.exp(n * math.log1p(-math.exp(_log_share_below(u, values, y2))))


def _spectrum(eigenvalues: Any) -> Array:
    values = _checks.eigenvalue_array(eigenvalues)
    if not values.any():
        raise ValueError("eigenvalues must not all be zero: then all training points are one")
    return values


def _law(u: float, values: Array, y2: Array) -> tuple[float, float, float]:
    r"""At the tilt u of the half squared distances to y: the rate I = −φ − uE, the energy E = −dφ/du, and φ_2."""
    share = 1 / (1 + u * values)
    rate = 0.5 * (np.log1p(u * values) - u * values * share + u**2 * values * y2 * share**2).sum()
    energy = 0.5 * (values * share + y2 * share**2).sum()
    variance = 0.5 * (values**2 * share**2 + 2 * values * y2 * share**3).sum()
    return float(rate), float(energy), float(variance)


def _expecting(log_count: float, values: Array, y2: Array, log_n: float) -> float:
    """The tilt u at which e^{log_count} of e^{log_n} training points are expected below E(u)."""
    return _root(lambda u: -_log_share_below(u, values, y2), log_n - log_count)


def _root(rising: Callable[[float], float], level: float = 0.0) -> float:
    """Where a rising function of a positive number takes the value ``level``."""
    low = high = 0.0  # numerics
    while rising(math.exp(low)) > level:
        low -= 1  # numerics
    while rising(math.exp(high)) < level:
        high += 1  # numerics
    return math.exp(brentq(lambda x: rising(math.exp(x)) - level, low - 1, high + 1, xtol=1e-14))  # numerics


def _log_share_below(u: float, values: Array, y2: Array) -> float:
    """log F at the energy E(u), by the trapezoid rule on a parabola through u around all s ≤ 0."""
    rate, energy, variance = _law(u, values, y2)
    focus = -0.5 / values.max()  # numerics
    size = u - focus
    width = 1 / (size * math.sqrt(variance))  # numerics
    step = min(0.05, 0.3 * width, 0.2 * (1 - math.sqrt(-focus / size)))  # numerics
    x = np.arange(0, min(8, 40 * width), step)  # numerics
    weights = np.where(x == 0, 0.5, 1.0)  # numerics
    s = focus + size * (1 + 1j * x) ** 2
    at = np.multiply.outer(s, values)
    phi = -0.5 * (np.log1p(at) + np.multiply.outer(s, y2) / (1 + at)).sum(1)
    heights = np.exp(phi + s * energy + rate) * 2 * size * (1 + 1j * x) / s
    return math.log(step / math.pi * (weights * heights.real).sum()) - rate


def _dimension(value: Any) -> Array:
    return _checks.within(value, "dimension", low=0, high=math.inf, low_open=True)
