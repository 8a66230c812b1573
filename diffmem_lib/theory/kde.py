r"""Kernel density estimation in high dimension: bandwidths at which an estimate changes its nature.

The setting: n training points from N(0, I) in d dimensions with α = (log n)/d held fixed as d grows, a Gaussian kernel
of bandwidth h, and a typical fresh point y. All functions speak of this limit and take α, not n.
Derived in *Kernel density estimation in high dimension* (chapters/kernel_density.ipynb).
"""

from __future__ import annotations

import math

from scipy.optimize import brentq

from diffmem_lib import _checks

__all__ = [
    "clt_bandwidth",
    "condensation_bandwidth",
    "entropy",
    "expected_log_density",
    "inverse_participation",
    "log_moment",
    "optimal_bandwidth",
    "rate",
    "stable_index",
]


def log_moment(power: float, bandwidth: float, radius: float = 1.0) -> float:
    r"""Generating function of the energies: :math:`g(λ) = \frac1d \log E_x\, e^{-λ|y-x|^2/2h^2}`, x ~ N(0, I).

    .. math:: g(λ) = -\tfrac12 \log(1 + λ/h^2) - \tfrac{ρ}{2}\,\frac{λ}{h^2 + λ}

    Parameters
    ----------
    power
        λ ≥ 0: 1 for the mean of the kernel, 2 for its second moment.
    bandwidth
        h > 0, a standard deviation.
    radius
        ρ = ‖y‖²/d ≥ 0: 1 at a typical fresh point, 1 + h² at a training point with noise of scale h.

    Raises
    ------
    ValueError
        If an argument is not a finite number in its range.
    """
    power = _checks.number(power, "power", low=0)
    bandwidth = _checks.number(bandwidth, "bandwidth", low=0, low_open=True)
    radius = _checks.number(radius, "radius", low=0)
    return -0.5 * math.log1p(power / bandwidth**2) - 0.5 * radius * power / (bandwidth**2 + power)


def rate(tilt: float, radius: float = 1.0) -> float:
    r"""How rare, e^{−d·rate}, is the energy that is typical under the tilt e^{−u·energy}; energies are ‖y−x‖²/2.

    .. math:: I(u) = \tfrac12 \log(1 + u) - \frac{u}{2(1+u)} + \frac{ρ u^2}{2(1+u)^2}

    At ρ = 1 this is ½ log(1+u) − ½ u/(1+u)². The energy itself is d·[1/(1+u) + ρ/(1+u)²]/2.
    ``tilt`` is u ≥ 0 (1/h² for a kernel of bandwidth h), ``radius`` is ρ = ‖y‖²/d ≥ 0; else ``ValueError``.
    """
    tilt = _checks.number(tilt, "tilt", low=0)
    radius = _checks.number(radius, "radius", low=0)
    share = tilt / (1 + tilt)
    return 0.5 * (math.log1p(tilt) - share + radius * share**2)


def entropy(alpha: float, bandwidth: float, power: float = 1.0, radius: float = 1.0) -> float:
    r"""Entropy per dimension, :math:`S(λ) = α + g(λ) - λ g'(λ) = α - I(λ/h^2)`, at the Gibbs point of power λ.

    The training points that carry the mean (λ = 1) or the second moment (λ = 2) of the kernel number e^{dS}.
    Negative: there are none in a typical training set, which is then condensed at that power.
    Arguments as in :func:`log_moment` and :func:`condensation_bandwidth`, with the same ``ValueError``.
    """
    alpha = _alpha(alpha)
    power = _checks.number(power, "power", low=0)
    bandwidth = _checks.number(bandwidth, "bandwidth", low=0, low_open=True)
    return alpha - rate(power / bandwidth**2, radius)


def condensation_bandwidth(alpha: float) -> float:
    r"""h_G, below which few training points dominate the estimate at a typical fresh point.

    The root of :math:`α = \tfrac12 \log(1 + h^{-2}) - \frac{h^2}{2(1 + h^2)^2}`, where the entropy vanishes.

    Parameters
    ----------
    alpha
        (log n)/d between 1e-4 and 10.

    Raises
    ------
    ValueError
        If ``alpha`` is not a number in that range.
    """
    return 1 / math.sqrt(_critical_tilt(_alpha(alpha)))


def clt_bandwidth(alpha: float) -> float:
    r"""h_CLT = √2 h_G, above which the estimate fluctuates like a Gaussian: its second moment is not condensed.

    The root of :math:`α = \tfrac12 \log(1 + 2h^{-2}) - \frac{h^2}{(h^2 + 2)^2}`.
    ``alpha`` and ``ValueError`` as in :func:`condensation_bandwidth`.
    """
    return math.sqrt(2) * condensation_bandwidth(alpha)


def optimal_bandwidth(alpha: float) -> float:
    r"""h*, the bandwidth of smallest Kullback–Leibler divergence KL(p‖p̂_h); it lies below h_G.

    :math:`h_*^2 = r^2/d = \frac{h_G^2 (1 + 2h_G^2)}{(1 + h_G^2)^2}` with r the distance to the nearest training point.
    ``alpha`` and ``ValueError`` as in :func:`condensation_bandwidth`.
    """
    share = 1 / (1 + _critical_tilt(_alpha(alpha)))
    return math.sqrt(share * (1 + share))


def stable_index(alpha: float, bandwidth: float) -> float:
    r"""Index of the stable law of the estimate's fluctuations: :math:`\min\{(h/h_G)^2, 2\}`.

    At 2 (h ≥ h_CLT) the law is Gaussian; between 1 and 2 it has a mean, but no variance; below 1 (h < h_G) it is the
    index of the sum of the few terms that dominate.
    ``alpha`` as in :func:`condensation_bandwidth`, ``bandwidth`` h > 0; else ``ValueError``.
    """
    bandwidth = _checks.number(bandwidth, "bandwidth", low=0, low_open=True)
    return min((bandwidth / condensation_bandwidth(alpha)) ** 2, 2.0)


def inverse_participation(alpha: float, bandwidth: float) -> float:
    r"""Limit of E Σᵢ wᵢ², w the weights of the training points in the estimate: :math:`\max\{0, 1 - (h/h_G)^2\}`.

    Its inverse is the number of training points that matter.
    ``alpha`` as in :func:`condensation_bandwidth`, ``bandwidth`` h > 0; else ``ValueError``.
    """
    bandwidth = _checks.number(bandwidth, "bandwidth", low=0, low_open=True)
    return max(0.0, 1 - (bandwidth / condensation_bandwidth(alpha)) ** 2)


def expected_log_density(alpha: float, bandwidth: float) -> float:
    r"""Limit of E log p̂_h(y) per dimension, at fresh y ~ N(0, I): annealed above h_G, frozen below.

    .. math::
        -\tfrac12 \log 2π(1 + h^2) - \frac{1}{2(1 + h^2)} \quad (h ≥ h_G), \qquad
        -\tfrac12 \log 2πh^2 - α - \frac{h_*^2}{2h^2} \quad (h < h_G)

    ``alpha`` as in :func:`condensation_bandwidth`, ``bandwidth`` h > 0; else ``ValueError``.
    """
    bandwidth = _checks.number(bandwidth, "bandwidth", low=0, low_open=True)
    if bandwidth >= condensation_bandwidth(alpha):
        variance = 1 + bandwidth**2
        return -0.5 * math.log(2 * math.pi * variance) - 0.5 / variance
    nearest = (optimal_bandwidth(alpha) / bandwidth) ** 2
    return -0.5 * math.log(2 * math.pi * bandwidth**2) - alpha - 0.5 * nearest


def _alpha(alpha: float) -> float:
    return _checks.number(alpha, "alpha", low=1e-4, high=10)


def _critical_tilt(alpha: float) -> float:
    """The tilt whose rate is ``alpha``: one root, as the rate rises with the tilt.

    As 0 < u/(1+u)² ≤ ¼, it lies where ½ log(1+u) is between α and α + ⅛; the bracket is a little wider, and SciPy
    raises if there is no change of sign in it or no convergence.
    """
    low, high = math.expm1(2 * alpha), math.expm1(2 * alpha + 0.26)  # numerics
    return brentq(lambda tilt: rate(tilt) - alpha, low, high, xtol=1e-300, rtol=1e-15)  # numerics
