"""Local coverage: which training points attract, at which noise, and how sharply.

All of it is about the exact empirical score. Derived in *Local coverage* (chapters/local_coverage.ipynb) and
*How sharp is the transition?* (chapters/sharp_transition.ipynb).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, log_expit, log_ndtr, ndtr, softmax

from diffmem_lib import _checks
from diffmem_lib.theory.regimes import collapse_sigma, log_collapse_sigma

__all__ = [
    "InformationDensity",
    "class_critical_sigmas",
    "condensation_strength",
    "critical_sigma",
    "information_density",
    "log_coverage",
    "log_equivalent_weight",
    "log_sample_coverage",
    "memorized_probability",
    "point_critical_sigma",
    "remaining_share",
    "shell_critical_alpha",
    "sparsity_sigma",
    "spectrum_memorized_probability",
]

Values = float | NDArray[np.float64]


@dataclass(frozen=True)
class InformationDensity:
    """Mean (the mutual information) and variance of log[N(y; x, σ²I)/p_σ(y)] for y = x + σz, in nats."""

    mean: float
    variance: float


def log_coverage(log_density: Any, n: float, sigma: Any, dim: int) -> Values:
    r"""Logarithm of the local coverage, :math:`\log[n\,p_σ(y)\,(2πeσ²)^{d/2}]`.

    It is never less than that of the number of training points expected in the noise ball of radius σ√d around y.
    For N(0, I) the two agree to exponential order in d at typical noised training points, and only there.
    Negative: a training point whose noised copy is y attracts it (memorized). Positive: at a typical noised training
    point the others share it; where the density is high but hardly anybody lives, :func:`shell_critical_alpha`.

    Parameters
    ----------
    log_density
        log p_σ(y), total, of the law already convolved with N(0, σ²I); any shape.
    n
        Number of training points, at least 1.
    sigma
        Noise level, positive; a shape that broadcasts with ``log_density``.
    dim
        Dimension d.

    Returns
    -------
    float or ndarray
        Total (not per dimension), of the broadcast shape; its mean over noised training points is zero at the collapse.

    Raises
    ------
    ValueError
        If an argument is out of range, NaN or infinite.

    Notes
    -----
    Derived in *Local coverage* (chapters/local_coverage.ipynb).
    """
    log_density, log_n = _floats(log_density, "log_density"), _log_size(n)
    log_sigma, dim = np.log(_positive(sigma, "sigma")), _checks.integer(dim, "dim", low=1)
    return _plain(log_n + log_density + 0.5 * dim * (math.log(2 * math.pi) + 1 + 2 * log_sigma))


def log_sample_coverage(log_density: Any, noise_square: Any, n: float, sigma: Any, dim: int) -> Values:
    r"""The sharper form for one sample y = x + σz whose noise is known, :math:`\log[n\,p_σ(y)(2πσ²)^{d/2}e^{|z|²/2}]`.

    It is the logarithm of what the *other* points are expected to weigh over the weight of x itself.

    Parameters
    ----------
    log_density, n, sigma, dim
        As in :func:`log_coverage`.
    noise_square
        |z|² = |y − x|²/σ², non-negative; a shape that broadcasts with ``log_density``.

    Raises
    ------
    ValueError
        If an argument is out of range, NaN or infinite.

    Notes
    -----
    Derived in *Local coverage* (chapters/local_coverage.ipynb).
    """
    log_density, log_n = _floats(log_density, "log_density"), _log_size(n)
    noise_square = _floats(noise_square, "noise_square")
    if (noise_square < 0).any():
        raise ValueError(f"noise_square must be non-negative, got {noise_square.min():g} among them")
    log_sigma, dim = np.log(_positive(sigma, "sigma")), _checks.integer(dim, "dim", low=1)
    return _plain(log_n + log_density + 0.5 * (dim * (math.log(2 * math.pi) + 2 * log_sigma) + noise_square))


def information_density(eigenvalues: Any, sigma: float) -> InformationDensity:
    r"""Mean I and variance V of the information density of the Gaussian channel y = x + σz, x ~ N(0, Σ).

    .. math:: I = ½\sum_j \log(1 + λ_j/σ²), \qquad V = \sum_j \frac{λ_j}{λ_j + σ²}.

    Parameters
    ----------
    eigenvalues
        Eigenvalues λ_j of Σ, (d,), non-negative; zeros are allowed.
    sigma
        Noise level, positive.

    Raises
    ------
    ValueError
        If an argument is out of range, NaN or infinite.

    Notes
    -----
    Derived in *How sharp is the transition?* (chapters/sharp_transition.ipynb).
    """
    snr = _log_snr(_checks.eigenvalue_array(eigenvalues), _checks.number(sigma, "sigma", low=0, low_open=True))
    return InformationDensity(float(0.5 * np.logaddexp(0.0, snr).sum()), float(expit(snr).sum()))


def remaining_share(eigenvalues: Any, sigma: float) -> float:
    r"""Share q of the variance V of the information density that is left, in the mean, once y is known.

    .. math:: q = \frac1V \sum_j \frac{λ_j (λ_j + 2σ²)}{2 (λ_j + σ²)²}

    It lies between ½ (little noise) and 1 (much).

    Parameters
    ----------
    eigenvalues
        Eigenvalues λ_j of Σ, (d,), non-negative and not all zero.
    sigma
        Noise level, positive.

    Raises
    ------
    ValueError
        If an argument is out of range, NaN or infinite.

    Notes
    -----
    Derived in *How sharp is the transition?* (chapters/sharp_transition.ipynb).
    """
    snr = _log_snr(_spectrum(eigenvalues), _checks.number(sigma, "sigma", low=0, low_open=True))
    return float(1 - softmax(log_expit(snr)) @ expit(snr) / 2)  # each direction by its part of V


def critical_sigma(eigenvalues: Any, n: float) -> float:
    r"""Noise at which Gaussian data collapse onto its n points, the root of :math:`\log n = ½\sum_j\log(1 + λ_j/σ_c²)`.

    Parameters
    ----------
    eigenvalues
        Eigenvalues λ_j of the covariance, (d,), non-negative and not all zero.
    n
        Number of training points, at least 1; as a float up to 1e300 and beyond. Infinity is returned for n = 1.

    Raises
    ------
    ValueError
        If an argument is out of range, NaN or infinite.

    Notes
    -----
    The root is bracketed: between the collapse of the top direction alone and that of an isotropic law with as many
    directions and the top eigenvalue in each. Derived in *Local coverage* (chapters/local_coverage.ipynb).
    """
    eigenvalues = _spectrum(eigenvalues)
    return _root(np.log(eigenvalues), np.zeros_like(eigenvalues), _log_size(n))


def point_critical_sigma(coordinates: Any, eigenvalues: Any, n: float) -> float:
    r"""Threshold noise of one training point x of Gaussian data: below it, x attracts its own noised copies.

    .. math:: \log n = ½\sum_j \Bigl[\log(1 + λ_j/σ²) + \frac{x_j² − λ_j}{λ_j + σ²}\Bigr],

    where the mean of :func:`log_coverage` over the noise is zero. Averaged over x it is :func:`critical_sigma`'s.

    Parameters
    ----------
    coordinates
        x in the eigenbasis of the covariance, from the mean, (d,).
    eigenvalues
        λ_j, (d,), positive (a point of a flat manifold is given by its coordinates on it).
    n
        Number of training points, at least 1. Infinity is returned for n = 1.

    Raises
    ------
    ValueError
        If an argument is out of range, or the two arrays have different lengths.

    Notes
    -----
    The right side falls from infinity to zero, so the root is unique.
    Derived in *Local coverage* (chapters/local_coverage.ipynb).
    """
    coordinates, eigenvalues = _checks.array(coordinates, "coordinates", ndim=1), _checks.eigenvalue_array(eigenvalues)
    if (eigenvalues == 0).any():
        raise ValueError("eigenvalues must be positive, got 0 among them: leave out the directions without data")
    if coordinates.shape != eigenvalues.shape:
        raise ValueError(f"coordinates must have the shape {eigenvalues.shape} of eigenvalues, got {coordinates.shape}")
    deviations = coordinates / np.sqrt(eigenvalues)
    if np.abs(deviations).max() > 1e100:
        raise ValueError(f"coordinates must be within 1e100 deviations, got {np.abs(deviations).max():g}")
    return _root(np.log(eigenvalues), deviations**2 - 1, _log_size(n))


def sparsity_sigma(sparsity: Any, k: int, dimension: float) -> Values:
    r"""Threshold noise of a training point from its local sparsity, where the density is flat in D dimensions.

    .. math:: σ_c^2 = S\,\frac{Γ(D/2 + 1)^{-2/D}}{2e}\,\Bigl(1 + \frac2D\Bigr)\frac{Γ(k + 1)}{Γ(k + 1 + 2/D)}

    There the local coverage is one. The constant is 1/(2πe) times what turns the mean S of the squared distances to
    the k nearest others into the volume that one point has on average.

    Parameters
    ----------
    sparsity
        S, non-negative, any shape: the mean *squared* distance to the k nearest others, in total, so d times
        :func:`diffmem_lib.memorization.local_sparsity`.
    k
        How many neighbours.
    dimension
        D > 0, in which the data vary locally.

    Returns
    -------
    float or ndarray
        σ_c, of the shape of ``sparsity``.

    Raises
    ------
    ValueError
        If an argument is out of range, NaN or infinite.

    Notes
    -----
    Derived in *Sparse images are memorized first* (chapters/sparse_images.ipynb).
    """
    sparsity = _checks.within(sparsity, "sparsity", low=0, high=math.inf)
    k = _checks.integer(k, "k", low=1)
    dimension = _checks.number(dimension, "dimension", low=0, low_open=True)
    power = 2 / dimension
    log_constant = -1 - math.log(2) - power * math.lgamma(dimension / 2 + 1) + math.log1p(power)
    log_constant += math.lgamma(k + 1) - math.lgamma(k + 1 + power)
    return _plain(np.sqrt(sparsity) * math.exp(log_constant / 2))


def class_critical_sigmas(weights: Any, scales: Any, n: float, dim: int) -> NDArray[np.float64]:
    r"""Threshold noise of each of several separated isotropic classes, :math:`σ_{c,k}² = s_k²/((w_k n)^{2/d} − 1)`.

    Between the smallest and the largest of them memorized and novel samples coexist.

    Parameters
    ----------
    weights
        Shares w_k of the classes, (k,), non-negative, with sum 1.
    scales
        Standard deviations s_k of their coordinates, (k,), positive.
    n
        Number of training points of all classes together, at least 1.
    dim
        Dimension d.

    Returns
    -------
    ndarray
        (k,); infinity where w_k n ≤ 1, for a class of one point has nothing to condense from.

    Raises
    ------
    ValueError
        If an argument is out of range, or the two arrays have different lengths.

    Notes
    -----
    Derived in *Local coverage* (chapters/local_coverage.ipynb).
    """
    weights, scales = _checks.eigenvalue_array(weights, "weights"), _positive(scales, "scales")
    if abs(weights.sum() - 1) > 1e-9:
        raise ValueError(f"weights must sum to 1, got a sum of {weights.sum():g}")
    if scales.shape != weights.shape:
        raise ValueError(f"scales must have the shape {weights.shape} of weights, got {scales.shape}")
    size, dim = _checks.number(n, "n", low=1), _checks.integer(dim, "dim", low=1)
    members = weights * size
    members = np.maximum(members, 1.0)  # numerics
    return np.array([collapse_sigma(m, dim, s) for m, s in zip(members, scales, strict=True)])


def log_equivalent_weight(weight: float, width_ratio: float, n: float, dim: int) -> float:
    r"""Logarithm of the weight at which a class of another width has the same threshold noise.

    .. math:: w' = \frac1n \bigl[1 + b²\bigl((wn)^{2/d} − 1\bigr)\bigr]^{d/2}, \qquad b = s'/s.

    Above zero: no share of the data, however large, makes up for the width.

    Parameters
    ----------
    weight
        Share w of the first class, in (0, 1].
    width_ratio
        Ratio b = s'/s of the other class's standard deviation to the first's, positive.
    n
        Number of training points of all classes together; wn > 1.
    dim
        Dimension d.

    Raises
    ------
    ValueError
        If an argument is out of range, or wn ≤ 1.

    Notes
    -----
    Derived in *Local coverage* (chapters/local_coverage.ipynb).
    """
    weight = _checks.number(weight, "weight", low=0, high=1, low_open=True)
    log_ratio = math.log(_checks.number(width_ratio, "width_ratio", low=0, low_open=True))
    log_n, dim = _log_size(n), _checks.integer(dim, "dim", low=1)
    log_members = math.log(weight) + log_n
    if not log_members > 0:
        raise ValueError(f"weight·n must be above 1, got {math.exp(log_members):g}")
    exponent = 2 * log_members / dim
    growth = 2 * log_ratio + exponent + math.log(-math.expm1(-exponent))
    return 0.5 * dim * float(np.logaddexp(0.0, growth)) - log_n


def memorized_probability(n: float, dim: int, sigma: Any, scale: float = 1.0) -> Values:
    r"""Probability that a noised training point of N(0, s²I) belongs to it, its own weight being above one half.

    .. math:: P ≈ Φ\Bigl(z − \frac{\log Φ(−z)}{\sqrt V}\Bigr), \qquad z = \frac{I − \log n}{\sqrt V},

    with I and V of :func:`information_density`. The first term is the central limit theorem; the second says that
    the others' sum condenses. For a noised point y the sum is Φ(−ζ) times its mean, with a ζ that y decides; putting
    the number z for it is exact, to first order in 1/√V, for n ≪ e^d, and an approximation otherwise.

    Parameters
    ----------
    n
        Number of training points, at least 1; as a float up to 1e300 and beyond.
    dim
        Dimension d.
    sigma
        Noise level, positive; any shape.
    scale
        Standard deviation s of each coordinate.

    Returns
    -------
    float or ndarray
        Of the shape of ``sigma``.

    Raises
    ------
    ValueError
        If an argument is out of range, NaN or infinite.

    Notes
    -----
    An asymptotic law: within .04 of simulation from d = 8 on, for n in the hundreds or more.
    Derived in *How sharp is the transition?* (chapters/sharp_transition.ipynb).
    """
    log_n, dim = _log_size(n), _checks.integer(dim, "dim", low=1)
    scale, sigma = _checks.number(scale, "scale", low=0, low_open=True), _positive(sigma, "sigma")
    snr = _log_snr(np.float64(scale) ** 2, sigma)
    return _plain(_corrected_law(0.5 * dim * np.logaddexp(0.0, snr), dim * expit(snr), log_n))


def spectrum_memorized_probability(eigenvalues: Any, n: float, sigma: float) -> float:
    """:func:`memorized_probability` for N(0, Σ), given the eigenvalues of Σ (non-negative, not all zero).

    Derived in *How sharp is the transition?* (chapters/sharp_transition.ipynb).

    Raises
    ------
    ValueError
        If an argument is out of range, NaN or infinite.
    """
    density = information_density(_spectrum(eigenvalues), sigma)
    return float(_corrected_law(density.mean, density.variance, _log_size(n)))


def condensation_strength(z: float, share: float) -> float:
    r"""How strongly the others' condensation raises the probability of ownership, :math:`E[−\log Φ(−ζ)]`.

    .. math:: P = Φ(z) + \frac{φ(z)}{\sqrt V} E[−\log Φ(−ζ)] + O(1/V), \qquad ζ \sim N(z\sqrt q, 1 − q).

    At q = 1 it is −log Φ(−z), which :func:`memorized_probability` has in its place at every q.

    Parameters
    ----------
    z
        Distance from the collapse in standard deviations of the information density, (I − log n)/√V; within ±30.
    share
        q, the share of V that is left once y is known (:func:`remaining_share`): (s² + 2σ²)/(2s² + 2σ²) for N(0, s²I);
        in (0, 1].

    Raises
    ------
    ValueError
        If an argument is out of range, NaN or infinite.

    Notes
    -----
    Derived in *How sharp is the transition?* (chapters/sharp_transition.ipynb).
    """
    z = _checks.number(z, "z", low=-30, high=30)
    share = _checks.number(share, "share", low=0, high=1, low_open=True)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)  # numerics
    zeta = z * math.sqrt(share) + math.sqrt(1 - share) * nodes
    return float(-(weights * log_ndtr(-zeta)).sum() / weights.sum())


def shell_critical_alpha(radius: float, sigma: float) -> float:
    r"""Threshold of α = (log n)/d at a noised training point y with \|y\| = r√d, for data N(0, I) and large d.

    .. math:: α_c = ½\log(1 + σ^{−2}) + ½\Bigl(\frac{r²}{1 + σ²} − 1\Bigr) \quad\text{for } r² ≥ 1 + σ²,

    which is :func:`log_coverage` = 0. Further inside, where the density is higher but hardly anybody lives, the
    nearest point decides, and the threshold is the large-deviation rate of finding another point within σ√d of y:

    .. math:: α_c = ½\bigl[σ²(1 − 1/u) − \log u + r²(1 − u)\bigr], \qquad u = \min\Bigl(1,
        \frac{2σ²}{1 + \sqrt{1 + 4r²σ²}}\Bigr).

    Parameters
    ----------
    radius
        r = \|y\|/√d, non-negative. A noised training point at radius r₀√d has r² = r₀² + σ².
    sigma
        Noise level, positive.

    Returns
    -------
    float
        Below it, y belongs to its training point; the two branches meet with one value and one slope.

    Raises
    ------
    ValueError
        If an argument is out of range, NaN or infinite.

    Notes
    -----
    Derived in *How sharp is the transition?* (chapters/sharp_transition.ipynb).
    """
    radius = _checks.number(radius, "radius", low=0, high=1e100)
    sigma = _checks.number(sigma, "sigma", low=1e-100, high=1e100)
    square, noise = radius**2, sigma**2
    if square >= 1 + noise:
        return 0.5 * (math.log1p(1 / noise) + square / (1 + noise) - 1)
    u = min(1.0, 2 * noise / (1 + math.sqrt(1 + 4 * square * noise)))
    return 0.5 * (noise * (1 - 1 / u) - math.log(u) + square * (1 - u))


def _corrected_law(mean: Any, variance: Any, log_n: float) -> Any:
    """Φ(z − log Φ(−z)/√V); with a single point there are no others, and it owns everything."""
    if log_n == 0:
        return np.ones_like(mean)
    spread = np.sqrt(np.maximum(variance, 1e-300))  # numerics
    z = (mean - log_n) / spread
    return ndtr(z - log_ndtr(-z) / spread)


def _root(log_eigenvalues: NDArray[np.float64], excess: NDArray[np.float64], log_n: float) -> float:
    """σ where log n = ½ Σ [log(1 + λ/σ²) + excess·λ/(λ + σ²)], excess ≥ −1, by bracketing log σ."""
    if log_n == 0:
        return math.inf

    def gap(log_sigma: float) -> float:
        snr = log_eigenvalues - 2 * log_sigma
        return float(0.5 * (np.logaddexp(0.0, snr) + excess * expit(snr)).sum() - log_n)

    # With p = λ/(λ+σ²) a direction adds between −log(1−p) − p and (1 + excess⁺)(−log(1−p)): hence the two ends.
    top = math.exp(log_eigenvalues.max() / 2)  # numerics
    low = log_collapse_sigma(log_n + 0.5, 1, top) - 1e-6  # numerics
    high = log_collapse_sigma(log_n, float((1 + np.maximum(excess, 0)).sum()), top) + 1e-6  # numerics
    return math.exp(brentq(gap, low, high, xtol=1e-15, rtol=1e-15))  # numerics


def _log_snr(eigenvalues: Any, sigma: Any) -> NDArray[np.float64]:
    """log(λ/σ²), −∞ for a direction without data."""
    with np.errstate(divide="ignore"):
        return np.log(eigenvalues) - 2 * np.log(sigma)


def _spectrum(eigenvalues: Any) -> NDArray[np.float64]:
    """The positive ones among eigenvalues that must not all be zero."""
    values = _checks.eigenvalue_array(eigenvalues)
    if not values.any():
        raise ValueError("eigenvalues must not all be zero: then all training points are one")
    return values[values > 0]


def _log_size(n: float) -> float:
    """log n of a number of points n ≥ 1."""
    return math.log(_checks.number(n, "n", low=1))


def _floats(value: Any, name: str) -> NDArray[np.float64]:
    """Finite numbers of any shape."""
    return _checks.array(value, name, ndim=np.ndim(value))


def _positive(value: Any, name: str) -> NDArray[np.float64]:
    result = _floats(value, name)
    if (result <= 0).any():
        raise ValueError(f"{name} must be positive, got {result.min():g} among them")
    return result


def _plain(values: NDArray[np.float64]) -> Values:
    """A float for a single number."""
    return values if np.ndim(values) else float(values)
