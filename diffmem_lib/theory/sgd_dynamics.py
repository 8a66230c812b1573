r"""One-pass SGD of a one-neuron denoiser on the sphere: drift, noise, critical step and recovery time of its overlap.

The neuron :math:`f(x_t) = s\,x_t + \varphi(w\cdot x_t)\,w`, |w| = 1, descends |ε − f|² by steps of size η on fresh
samples.
Its overlap m with a planted direction drifts at the rate :math:`c\,m^{k-1}(1-m^2)` per unit of η, where k is the
information exponent, and is shaken by a noise of variance V in each of d − 1 directions.
To first order in the step this is Brownian motion on a sphere, at temperature ηV/2, in the potential
:math:`-c\,m^k/k`; what follows is read off from there.
Derived in *Linear against cubic* (chapters/linear_cubic.ipynb), the last three functions in *Correlated latents*
(chapters/correlated_latents.ipynb).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffmem_lib.theory.hermite import hermite_coefficients, loss_coefficients

from .. import _checks

__all__ = [
    "activation_moments",
    "critical_step",
    "cross_covariance",
    "drift_rate",
    "escape_time",
    "free_energy",
    "gradient_variance",
    "heated_escape_time",
    "mean_recovery_steps",
    "neuron_constants",
    "planted_variance",
    "principal_excesses",
    "principal_slope",
    "settling_overlap",
]


def drift_rate(order: int, coefficient: float, moment: float, alpha_bar: float) -> float:
    r"""Rate c of the overlap's drift :math:`\eta\,c\,m^{k-1}(1-m^2)`, positive where it grows.

    .. math:: c = -\frac{g_k\,h_k\,\bar\alpha^{k/2}}{(k-1)!}

    Derived in *Linear against cubic* (chapters/linear_cubic.ipynb).

    Parameters
    ----------
    order
        k ≥ 1, the power of the loss's leading term.
    coefficient, moment
        g_k of the loss, and h_k = E He_k of the planted coordinate before noising (for k = 2 its excess variance,
        for k = 4 and a whitened symmetric coordinate its fourth cumulant).
    alpha_bar
        ᾱ, in (0, 1).
    """
    order = _checks.integer(order, "order", low=1)
    coefficient = _checks.number(coefficient, "coefficient")
    moment = _checks.number(moment, "moment")
    alpha_bar = _checks.number(alpha_bar, "alpha_bar", low=0, high=1, low_open=True, high_open=True)
    return -coefficient * moment * alpha_bar ** (order / 2) / math.factorial(order - 1)


def gradient_variance(alpha_bar: float, square: float, slope_square: float, product_square: float) -> float:
    r"""Variance V of one sample's gradient in each direction of the bulk, at overlap zero.

    .. math:: V = 4\bigl[\bar\alpha\,(E\varphi^2 + E\varphi'^2) + E(\varphi\varphi')^2\bigr]

    Derived in *Linear against cubic* (chapters/linear_cubic.ipynb).

    Parameters
    ----------
    alpha_bar
        ᾱ, in (0, 1).
    square, slope_square, product_square
        Eφ², Eφ′² and E(φφ′)² under N(0, 1), not negative.
    """
    alpha_bar = _checks.number(alpha_bar, "alpha_bar", low=0, high=1, low_open=True, high_open=True)
    square = _checks.number(square, "square", low=0)
    slope_square = _checks.number(slope_square, "slope_square", low=0)
    product_square = _checks.number(product_square, "product_square", low=0)
    return 4 * (alpha_bar * (square + slope_square) + product_square)


def planted_variance(
    alpha_bar: float, excess: float, square: float, slope_square: float, product_square: float, mixed: float
) -> float:
    r"""Variance V∥ of one sample's gradient along a planted direction of variance 1 + excess, at overlap zero.

    .. math:: V_\parallel = V + 4\bar\alpha\,\kappa_2\,
        \bigl[\bar\alpha\,E\varphi'^2 + E(\varphi\varphi')^2 + 2s\,E\varphi^2\varphi' + s^2\,E\varphi^2\bigr],
        \qquad s = \sqrt{1-\bar\alpha}

    with V of :func:`gradient_variance` and κ₂ the excess: a stretched direction also shakes more.
    Derived in *Linear against cubic* (chapters/linear_cubic.ipynb).

    Parameters
    ----------
    alpha_bar
        ᾱ, in (0, 1).
    excess
        κ₂ ≥ −1: the spike's β for a covariance spike, 0 for a whitened one.
    square, slope_square, product_square, mixed
        Eφ², Eφ′², E(φφ′)², not negative, and Eφ²φ′, under N(0, 1).
    """
    bulk = gradient_variance(alpha_bar, square, slope_square, product_square)
    excess = _checks.number(excess, "excess", low=-1)
    mixed = _checks.number(mixed, "mixed")
    skip = math.sqrt(1 - alpha_bar)
    shaken = alpha_bar * slope_square + product_square + 2 * skip * mixed + skip**2 * square
    return bulk + 4 * alpha_bar * excess * shaken


def activation_moments(value: Callable, slope: Callable) -> NDArray[np.float64]:
    r"""Eφ², Eφ′², E(φφ′)² and Eφ²φ′ under N(0, 1), by quadrature: what a gradient's variance asks of a neuron; (4,).

    In the order in which :func:`planted_variance` takes them, and :func:`gradient_variance` the first three.
    See *Linear against cubic* (chapters/linear_cubic.ipynb).

    Parameters
    ----------
    value, slope
        φ and φ′, elementwise on arrays.
    """
    value, slope = _checks.function(value, "value"), _checks.function(slope, "slope")
    products = (
        lambda y: value(y) ** 2,
        lambda y: slope(y) ** 2,
        lambda y: (value(y) * slope(y)) ** 2,
        lambda y: value(y) ** 2 * slope(y),
    )
    return np.array([hermite_coefficients(product, 0)[0] for product in products])


def neuron_constants(
    value: Callable, slope: Callable, alpha_bar: float, order: int, moment: float
) -> tuple[float, float, float]:
    r"""The constants c, V and V∥ of a neuron on a planted direction: all that its dynamics depends on.

    :func:`drift_rate`, :func:`gradient_variance` and :func:`planted_variance` of its activation.
    Derived in *Linear against cubic* (chapters/linear_cubic.ipynb).

    Parameters
    ----------
    value, slope
        φ and φ′, elementwise on arrays.
    alpha_bar
        ᾱ, in (0, 1).
    order
        k ≥ 1, the power of the loss's leading term.
    moment
        h_k of the planted coordinate, as in :func:`drift_rate`. For k = 2 it is the excess κ₂ ≥ −1 of the variance; a
        coordinate that is felt at another order has none, and V∥ is V.
    """
    order = _checks.integer(order, "order", low=1)
    moment = _checks.number(moment, "moment", low=-1 if order == 2 else -math.inf)
    coefficient = loss_coefficients(value, alpha_bar, order)[order]
    moments = activation_moments(value, slope)
    variance = gradient_variance(alpha_bar, *moments[:3])
    planted = planted_variance(alpha_bar, moment, *moments) if order == 2 else variance
    return drift_rate(order, coefficient, moment, alpha_bar), variance, planted


def critical_step(order: int, rate: float, variance: float, dim: int) -> float:
    r"""Step η_c at which drift and noise balance at the overlap 1/√d where a random start lies.

    .. math:: \eta_c = \frac{2c}{V\,d^{k/2}}

    Derived in *Linear against cubic* (chapters/linear_cubic.ipynb).

    Parameters
    ----------
    order
        k ≥ 1.
    rate, variance
        c of :func:`drift_rate` and V of :func:`gradient_variance`, positive.
    dim
        d ≥ 2.
    """
    order = _checks.integer(order, "order", low=1)
    rate = _checks.number(rate, "rate", low=0, low_open=True)
    variance = _checks.number(variance, "variance", low=0, low_open=True)
    dim = _checks.integer(dim, "dim", low=2)
    return 2 * rate / (variance * dim ** (order / 2))


def escape_time(order: int, start: float, end: float) -> float:
    r"""Time, in units of 1/(ηc) steps, in which the drift alone carries the overlap from ``start`` to ``end``.

    .. math:: \int_{m_0}^{m_1} \frac{dm}{m^{k-1}(1-m^2)}

    From :math:`m_0 = 1/\sqrt d` it is ½ log d to leading order for k = 2, and :math:`d^{(k-2)/2}/(k-2)` for k > 2.
    Derived in *Linear against cubic* (chapters/linear_cubic.ipynb).

    Parameters
    ----------
    order
        k ≥ 1.
    start, end
        Overlaps 0 < start ≤ end < 1.
    """
    order = _checks.integer(order, "order", low=1)
    start = _checks.number(start, "start", low=0, high=1, low_open=True, high_open=True)
    end = _checks.number(end, "end", low=start, high=1, high_open=True)
    even = math.log((1 - start**2) / (1 - end**2)) / 2
    total = math.atanh(end) - math.atanh(start) if order % 2 else even
    for power in range(order - 1, 0, -2):
        total += math.log(end / start) if power == 1 else (start ** (1 - power) - end ** (1 - power)) / (power - 1)
    return total


def settling_overlap(fraction: float, growth: float) -> float:
    r"""Overlap at which the drift for k = 2 and the loss by normalisation balance, at a step of ``fraction`` × η_c.

    .. math:: m_\infty = \sqrt{\frac{1-\delta}{1+\delta\,\gamma}}, \qquad V(m) = V\,(1 + \gamma\,m^2)

    Derived in *Linear against cubic* (chapters/linear_cubic.ipynb).

    Parameters
    ----------
    fraction
        δ = η/η_c in (0, 1): from 1 on nothing balances and the overlap stays at zero.
    growth
        γ ≥ 0, by which the variance of the gradient grows with the overlap: for a small linear activation β/2.
    """
    fraction = _checks.number(fraction, "fraction", low=0, high=1, low_open=True, high_open=True)
    growth = _checks.number(growth, "growth", low=0)
    return math.sqrt((1 - fraction) / (1 + fraction * growth))


def heated_escape_time(fraction: float, start: float, end: float, growth: float) -> float:
    r"""Time, in units of 1/(ηc) steps, of the climb for k = 2 at a step of ``fraction`` × η_c, without fluctuations.

    .. math:: \int_{m_0}^{m_1} \frac{dm}{m(1-m^2) - \delta\,m(1+\gamma m^2)}

    which is the :func:`escape_time` from :math:`m_0/m_\infty` to :math:`m_1/m_\infty` over :math:`1-\delta`, with the
    overlap :math:`m_\infty` of :func:`settling_overlap`.
    Derived in *Linear against cubic* (chapters/linear_cubic.ipynb).

    Parameters
    ----------
    fraction, growth
        δ and γ of :func:`settling_overlap`.
    start, end
        Overlaps 0 < start ≤ end < m∞.
    """
    settling = settling_overlap(fraction, growth)
    start = _checks.number(start, "start", low=0, high=settling, low_open=True, high_open=True)
    end = _checks.number(end, "end", low=start, high=settling, high_open=True)
    return escape_time(2, start / settling, end / settling) / (1 - fraction)


def free_energy(
    order: int,
    rate: float,
    variance: float,
    step: float,
    dim: int,
    overlap: float | NDArray,
    planted: float | None = None,
    further: Mapping[int, float] | None = None,
) -> Any:
    r"""Free energy of an overlap in units of the temperature ηV/2: the drift's potential against the sphere's entropy.

    .. math:: F(m) = -\sum_j \frac{2c_j\,m^j}{j\,\eta V_\parallel}
        - \Bigl(\frac{V}{V_\parallel}\,\frac{d-1}{2} - 1\Bigr)\log(1-m^2)

    The sum has one term, j = k, or also those of ``further`` orders.
    For a whitened direction V∥ = V, and what multiplies the logarithm is the (d − 3)/2 of a sphere's surface.
    Derived in *Linear against cubic* (chapters/linear_cubic.ipynb).

    Parameters
    ----------
    order
        k ≥ 1.
    rate, variance, step
        c (any sign), V > 0 and η > 0.
    dim
        d ≥ 2.
    overlap
        m in (−1, 1), a number or an array.
    planted
        V∥ > 0, default V.
    further
        Order j ≥ 1 → rate c_j of further terms of the loss, default none.

    Returns
    -------
    float or ndarray
        A number for a number, of the shape of ``overlap`` for an array.
    """
    order = _checks.integer(order, "order", low=1)
    rate = _checks.number(rate, "rate")
    variance = _checks.number(variance, "variance", low=0, low_open=True)
    step = _checks.number(step, "step", low=0, low_open=True)
    dim = _checks.integer(dim, "dim", low=2)
    planted = variance if planted is None else _checks.number(planted, "planted", low=0, low_open=True)
    m = np.asarray(overlap, dtype=np.float64)
    if not (np.abs(m) < 1).all():
        raise ValueError(f"overlap must be in (-1, 1), got {overlap!r}")
    entropy = (variance / planted * (dim - 1) / 2 - 1) * np.log1p(-(m**2))
    pull = rate * m**order / order
    for other, other_rate in (further or {}).items():
        pull = pull + _checks.number(other_rate, "further") * m**other / _checks.integer(other, "order", low=1)
    energy = -2 * pull / (step * planted) - entropy
    return energy if energy.ndim else float(energy)


def mean_recovery_steps(
    order: int,
    rate: float,
    variance: float,
    step: float,
    dim: int,
    start: float,
    threshold: float,
    planted: float | None = None,
    further: Mapping[int, float] | None = None,
) -> float:
    r"""Mean number of steps until the size of the overlap first reaches ``threshold``, for even k.

    .. math:: E\,n = \frac{2}{\eta^2 V_\parallel} \int_{m_0}^{\theta} \frac{dy}{1-y^2} \int_0^y e^{F(y)-F(z)}\,dz

    with F of :func:`free_energy`; noise and drift to first order in the step, both at small overlap.
    Derived in *Linear against cubic* (chapters/linear_cubic.ipynb).

    Parameters
    ----------
    order
        k, even: the two signs of the overlap are alike.
    rate, variance, step, dim, planted, further
        As in :func:`free_energy`; further orders are even too.
    start, threshold
        Overlaps 0 < start ≤ threshold < 1.

    Raises
    ------
    ValueError
        If an argument is out of its range, or the mean is too large for a float.
    """
    for even in (order, *(further or {})):
        if _checks.integer(even, "order", low=2) % 2:
            raise ValueError(f"order must be even, got {even}")
    start = _checks.number(start, "start", low=0, high=1, low_open=True, high_open=True)
    threshold = _checks.number(threshold, "threshold", low=start, high=1, high_open=True)
    y, weight = _geometric_rule(start, threshold)
    fraction, part = _two_sided_rule()
    here = free_energy(order, rate, variance, step, dim, y, planted, further)[:, None]
    there = free_energy(order, rate, variance, step, dim, y[:, None] * fraction, planted, further)
    with np.errstate(over="ignore"):
        inner = y * (np.exp(here - there) @ part)
    mean = float(2 / (step**2 * (planted or variance)) * (weight @ (inner / (1 - y**2))))
    return _checks.number(mean, "mean number of steps")


def _geometric_rule(low: float, high: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights of Gauss and Legendre on panels of equal ratio: for what varies on the scale of m itself."""
    panels = 4 + math.ceil(4 * math.log(high / low))  # numerics
    edges = low * (high / low) ** (np.arange(panels + 1) / panels)  # numerics
    return _panel_rule(edges)


def _two_sided_rule() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights on (0, 1), denser and denser towards both ends: for boundary layers of any width."""
    left = np.concatenate([[0.0], 0.5 ** np.arange(40, 0, -1)])  # numerics
    return _panel_rule(np.concatenate([left, 1 - left[-2::-1]]))  # numerics


def _panel_rule(edges: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, weights = np.polynomial.legendre.leggauss(16)  # numerics
    half = np.diff(edges)[:, None] / 2  # numerics
    middle = (edges[1:] + edges[:-1])[:, None] / 2  # numerics
    return (middle + half * nodes).ravel(), (half * weights).ravel()  # numerics


def cross_covariance(covariance_snr: float, cumulant_snr: float, correlation: float) -> float:
    r"""Covariance of the mixed cumulant model's coordinates along u and v when their latents are correlated.

    .. math:: \sqrt{\frac{\beta_u\,\beta_v}{1+\beta_v}}\;E[\lambda\nu]

    Derived in *Correlated latents* (chapters/correlated_latents.ipynb).

    Parameters
    ----------
    covariance_snr, cumulant_snr
        β_u and β_v, not negative.
    correlation
        E[λν], in [−1, 1].
    """
    covariance_snr = _checks.number(covariance_snr, "covariance_snr", low=0)
    cumulant_snr = _checks.number(cumulant_snr, "cumulant_snr", low=0)
    correlation = _checks.number(correlation, "correlation", low=-1, high=1)
    return math.sqrt(covariance_snr * cumulant_snr / (1 + cumulant_snr)) * correlation


def principal_slope(covariance_snr: float, cross: float) -> float:
    r"""Ratio tan θ of the leading eigenvector's components along v and u: what plain PCA gives.

    In the plane of u and v the covariance exceeds the identity by β_u along u and by ``cross`` off the diagonal:

    .. math:: \tan 2\theta = \frac{2\,\text{cross}}{\beta_u}.

    Derived in *Correlated latents* (chapters/correlated_latents.ipynb).

    Parameters
    ----------
    covariance_snr
        β_u > 0.
    cross
        Off-diagonal covariance, any sign, see :func:`cross_covariance`.
    """
    covariance_snr = _checks.number(covariance_snr, "covariance_snr", low=0, low_open=True)
    cross = _checks.number(cross, "cross")
    return math.tan(math.atan(2 * cross / covariance_snr) / 2)


def principal_excesses(covariance_snr: float, cross: float) -> tuple[float, float]:
    r"""Excess variances β₊ ≥ 0 ≥ β₋ along the two eigenvectors in the plane of u and v.

    .. math:: \beta_+ = \frac{\beta_u}{2} + \sqrt{\frac{\beta_u^2}{4} + \text{cross}^2},
        \qquad \beta_- = -\frac{\text{cross}^2}{\beta_+}

    The overlaps of a neuron grow along the first if its g₂ is negative, along the second if it is positive.
    Derived in *Correlated latents* (chapters/correlated_latents.ipynb).

    Parameters
    ----------
    covariance_snr
        β_u ≥ 0.
    cross
        Off-diagonal covariance, any sign, see :func:`cross_covariance`.
    """
    covariance_snr = _checks.number(covariance_snr, "covariance_snr", low=0)
    cross = _checks.number(cross, "cross")
    above = covariance_snr / 2 + math.hypot(covariance_snr / 2, cross)
    return above, -cross * (cross / above) if above else 0.0
