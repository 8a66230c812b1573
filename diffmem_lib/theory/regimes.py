"""When a backward diffusion chooses a class, and when it chooses a training point.

Times are those of the Ornstein–Uhlenbeck process: √ᾱ = e^{−t}, so that σ² = e^{2t} − 1.
Derived in *Speciation and collapse* (chapters/speciation_collapse.ipynb).
"""

from __future__ import annotations

import math

import numpy as np

from diffmem_lib import _checks

__all__ = [
    "cloning_probability",
    "cloud_speciation_time",
    "collapse_sigma",
    "collapse_time",
    "log_collapse_sigma",
    "speciation_time",
]


def collapse_sigma(n: float, dim: int, scale: float = 1.0) -> float:
    r"""Noise below which a backward diffusion that starts from n points of N(0, s²I) belongs to one of them.

    .. math:: σ_c² = \frac{s²}{n^{2/d} − 1}, \qquad\text{equivalently}\qquad \log n = \frac d2 \log(1 + s²/σ_c²),

    the noise at which log n equals the mutual information of the Gaussian channel x → x + σz.
    For data on a flat manifold ``dim`` is the manifold's dimension.

    Parameters
    ----------
    n
        Number of training points, at least 1; as a float up to 1e300 and beyond. Infinity is returned for n = 1.
    dim
        Dimension d of the space, or of the flat manifold in it.
    scale
        Standard deviation s of each coordinate.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Derived in *Speciation and collapse* (chapters/speciation_collapse.ipynb); the condition is that of
    Biroli, Bonnaire, de Bortoli and Mézard (2024).
    """
    log_n, dim, scale = _size(n), _checks.integer(dim, "dim", low=1), _scale(scale)
    return math.exp(log_collapse_sigma(log_n, dim, scale))


def collapse_time(n: float, dim: int, scale: float = 1.0) -> float:
    r"""Ornstein–Uhlenbeck time of the collapse, :math:`t_C = ½ \log(1 + s²/(n^{2/d} − 1))`.

    Arguments and errors as in :func:`collapse_sigma`; infinity for n = 1.
    Derived in *Speciation and collapse* (chapters/speciation_collapse.ipynb).
    """
    log_n, dim, scale = _size(n), _checks.integer(dim, "dim", low=1), _scale(scale)
    return 0.5 * float(np.logaddexp(0.0, 2 * log_collapse_sigma(log_n, dim, scale)))


def log_collapse_sigma(log_n: float, dim: float, scale: float) -> float:
    """Logarithm of :func:`collapse_sigma` as a function of log n ≥ 0; neither n nor σ² can overflow.

    Raises ``ValueError`` if log n is negative, the dimension or the scale not positive, or one of them not finite.
    """
    log_n = _checks.number(log_n, "log_n", low=0)
    dim = _checks.number(dim, "dim", low=0, low_open=True)
    scale = _checks.number(scale, "scale", low=0, low_open=True)
    if log_n == 0:
        return math.inf
    alpha = log_n / dim
    return math.log(scale) - alpha - 0.5 * math.log(-math.expm1(-2 * alpha))


def speciation_time(top_eigenvalue: float) -> float:
    r"""Time at which data whose top direction separates two far classes part, to leading order :math:`Λ e^{−2t_S} = 1`.

    Parameters
    ----------
    top_eigenvalue
        Largest eigenvalue Λ of the covariance of the whole data, within and between classes, above 1.
        It does not tell whether its direction separates classes: a single Gaussian may have any Λ and never parts.

    Raises
    ------
    ValueError
        If Λ is not a finite number above 1.

    Notes
    -----
    Leading order for Λ ≫ 1. For Λ ≤ 1 it has no positive time to offer and is refused, although two clouds with
    |m| > s part at any scale: :func:`cloud_speciation_time` is exact for them.
    Derived in *Speciation and collapse* (chapters/speciation_collapse.ipynb).
    """
    return 0.5 * math.log(_checks.number(top_eigenvalue, "top_eigenvalue", low=1, low_open=True))


def cloud_speciation_time(mean_square: float, scale: float = 1.0) -> float:
    r"""Time at which the density of two clouds N(±m, s²I) splits in two, :math:`e^{2t} = 1 + |m|² − s²`.

    There the curvature of the effective potential −log p_t in the direction of m vanishes between the clouds.

    Parameters
    ----------
    mean_square
        |m|², the squared length of half the distance between the clouds; above s², otherwise they are one hump already.
    scale
        Standard deviation s of each cloud.

    Raises
    ------
    ValueError
        If the clouds are not separated, or an argument is not a positive finite number.

    Notes
    -----
    Derived in *Speciation and collapse* (chapters/speciation_collapse.ipynb).
    """
    scale = _scale(scale)
    mean_square = _checks.number(mean_square, "mean_square", low=scale**2, low_open=True)
    return 0.5 * math.log1p(mean_square - scale**2)


def cloning_probability(time: float, mean_square: float, scale: float = 1.0) -> float:
    r"""Probability that two copies of a backward trajectory, parted at ``time``, end in the same of two clouds.

    .. math:: \tfrac12\bigl(1 + E \tanh(κ + \sqrt{κ}\,z)\bigr) = 1 − \tfrac12 e^{−κ/2} E \frac1{\cosh(\sqrt{κ}\,z)},
        \qquad κ = \frac{|m|²}{s² + e^{2t} − 1},

    for clouds N(±m, s²I) of equal weight and z ~ N(0, 1). It falls from about 1 to ½ and is .7752 where κ = 1, at
    :func:`cloud_speciation_time`.

    Parameters
    ----------
    time
        Ornstein–Uhlenbeck time of the parting, positive.
    mean_square, scale
        |m|² and s, positive.

    Raises
    ------
    ValueError
        If an argument is not a positive finite number.

    Notes
    -----
    The second form is the one computed, by the trapezoidal rule, to 1e-14.
    Derived in *Speciation and collapse* (chapters/speciation_collapse.ipynb).
    """
    time = _checks.number(time, "time", low=0, low_open=True)
    mean_square = _checks.number(mean_square, "mean_square", low=0, low_open=True)
    time = min(time, 300.0)  # numerics
    kappa = mean_square / (_scale(scale) ** 2 + math.expm1(2 * time))
    return 1 - 0.5 * math.exp(-kappa / 2) * _mean_sech(math.sqrt(kappa))


def _mean_sech(width: float) -> float:
    """E[1/cosh(width·z)], z ~ N(0, 1): on this grid the trapezoidal rule is exact to rounding up to a width of 10."""
    z = np.linspace(-9.0, 9.0, 721)  # numerics
    gauss = np.exp(-(z**2) / 2)
    exponent = np.minimum(np.abs(width * z), 700.0)  # numerics
    return float(np.sum(gauss / np.cosh(exponent)) / np.sum(gauss))


def _size(n: float) -> float:
    """log n of a number of points n ≥ 1."""
    return math.log(_checks.number(n, "n", low=1))


def _scale(scale: float) -> float:
    return _checks.number(scale, "scale", low=0, low_open=True)
