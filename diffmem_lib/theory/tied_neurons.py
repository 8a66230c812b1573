r"""The tied two-layer denoiser in training without end of data: its loss, its first steps, and its first cumulant.

The denoiser is :math:`f(x_t) = s\,x_t + \sum_i \varphi(c\,w_i\cdot x_t)\,w_i`, trained to predict the noise of
:math:`x_t = \sqrt{\bar\alpha}\,x + \sigma_t\,\varepsilon`, :math:`\sigma_t = \sqrt{1-\bar\alpha}`, along the gradient
flow of :math:`L = E|\varepsilon - f(x_t)|^2`, summed over dimensions: rows w_i and skip s follow
:math:`\dot w_i = -\partial L/\partial w_i`, :math:`\dot s = -\partial L/\partial s`.

Derived in *Simple statistics first* (chapters/simple_statistics_first.ipynb).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad

from .. import _checks

__all__ = ["early_growth", "escape_time", "neuron_loss", "skip_course"]

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(120)  # numerics
_WEIGHTS /= _WEIGHTS.sum()  # numerics


def skip_course(time: float, dim: int, total: float, alpha_bar: float, skip: float = 1.0) -> float:
    r"""The skip after the time τ, while the rows are small.

    .. math:: s(τ) = s_\infty + (s_0 - s_\infty)e^{-2Mτ}, \qquad s_\infty = σ_t\,d/M.

    Parameters
    ----------
    time
        τ ≥ 0.
    dim
        d.
    total
        M = E|x_t|² > 0: d for data of unit variance in all directions.
    alpha_bar
        Signal level ᾱ, in (0, 1).
    skip
        s₀.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    time, total, alpha_bar = _checked(time, total, alpha_bar)
    last = math.sqrt(1 - alpha_bar) * _checks.integer(dim, "dim", low=1) / total
    return last + (_checks.number(skip, "skip") - last) * math.exp(-2 * total * time)


def early_growth(
    time: float, moment: float, dim: int, total: float, alpha_bar: float, slope: float, gain: float, skip: float = 1.0
) -> float:
    r"""By which factor a row's component in an eigendirection of E x_t x_tᵀ has grown after τ, while rows are small.

    .. math:: \exp\Bigl(4ac\Bigl[σ_tτ - m\int_0^τ s\Bigr]\Bigr), \qquad
              \int_0^τ s = s_\infty τ + (s_0 - s_\infty)\frac{1 - e^{-2Mτ}}{2M}.

    Parameters
    ----------
    time, dim, total, alpha_bar, skip
        As in :func:`skip_course`; the time is finite.
    moment
        m > 0, the eigenvalue: 1 + ᾱ(λ − 1), where x has the second moment λ.
    slope
        a = φ′(0).
    gain
        c > 0.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    last = skip_course(math.inf, dim, total, alpha_bar, skip)
    time = _checks.number(time, "time", low=0)
    _, total, alpha_bar = _checked(time, total, alpha_bar)
    moment = _checks.number(moment, "moment", low=0, low_open=True)
    rate = 4 * _checks.number(slope, "slope") * _checks.number(gain, "gain", low=0, low_open=True)
    course = last * time - (skip - last) * math.expm1(-2 * total * time) / (2 * total)
    return _exp(rate * (math.sqrt(1 - alpha_bar) * time - moment * course))


def neuron_loss(
    activation: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    means: Sequence[float],
    deviation: float,
    norm: float,
    dim: int,
    total: float,
    alpha_bar: float,
    gain: float,
    skip: float,
) -> float:
    r"""Loss of a denoiser with one row, summed over dimensions, for a law that it sees as y = c w·x_t.

    .. math:: L = d - 2σ_t s d + s^2 M + \frac{2s}c E\,yφ - 2σ_t c|w|^2 E\,φ' + |w|^2 E\,φ^2,

    with y an even mixture of Gaussians of one variance, over which :math:`E\,φ' = E\,φ\,(y - \text{mean})` over it.

    Parameters
    ----------
    activation
        φ, on arrays; smooth.
    means, deviation
        Means of the Gaussians, at least one, and their standard deviation, positive.
    norm
        \|w\| ≥ 0.
    dim, total, alpha_bar
        As in :func:`skip_course`.
    gain, skip
        c > 0 and s.

    Raises
    ------
    ValueError
        If an argument is out of its range, or φ not finite.
    """
    _, total, alpha_bar = _checked(0.0, total, alpha_bar)
    centres = _checks.array(means, "means", ndim=1)
    deviation = _checks.number(deviation, "deviation", low=0, low_open=True)
    square = _checks.number(norm, "norm", low=0) ** 2
    dim, skip = _checks.integer(dim, "dim", low=1), _checks.number(skip, "skip")
    gain, sigma = _checks.number(gain, "gain", low=0, low_open=True), math.sqrt(1 - alpha_bar)
    y = centres[:, None] + deviation * _NODES
    value = np.asarray(activation(y), dtype=np.float64)
    if value.shape != y.shape or not np.isfinite(value).all():
        raise ValueError(f"activation must give a finite number for each, got {_checks.shown(value)}")
    along, slope, power = (
        float((part @ _WEIGHTS).mean()) for part in (y * value, value * _NODES / deviation, value**2)
    )
    row = 2 * skip / gain * along - 2 * sigma * gain * square * slope + square * power
    return dim * (1 - 2 * sigma * skip) + skip**2 * total + row


def escape_time(
    first: float, last: float, rest: float, cubic: float, alpha_bar: float, kappa4: float, gain: float, slope: float = 0
) -> float:
    r"""Time in which a small row turns to a whitened direction of fourth cumulant κ₄, with the skip at σ_t.

    For φ = ay + by³, to leading order in the row's size, the ratio ρ of its component along the direction to the rest
    goes from ρ₀ to ρ₁ in

    .. math:: \frac1{2KB_0^2}\int_{1/ρ_1^2}^{1/ρ_0^2} e^{k(1/ρ_0^2 - u)}\,(uρ_0^2)^{-k}\,du, \qquad
              K = -8σ_t b c^3\bar\alpha^2κ_4, \quad k = 4a^2c^2/K,

    infinity where no float holds it.

    Parameters
    ----------
    first, last
        0 < ρ₀ < ρ₁.
    rest
        B₀ > 0, length at first of the row's part off the direction.
    cubic, slope
        b and a.
    alpha_bar, gain
        ᾱ and c.
    kappa4
        κ₄ of the data along the direction.

    Raises
    ------
    ValueError
        If an argument is out of its range, or bκ₄ is not negative: the row is not drawn to the direction then.
    """
    alpha_bar = _checked(0.0, 1.0, alpha_bar)[2]
    first = _checks.number(first, "first", low=0, low_open=True)
    last = _checks.number(last, "last", low=first, low_open=True)
    rest = _checks.number(rest, "rest", low=0, low_open=True)
    cubic, kappa4 = _checks.number(cubic, "cubic"), _checks.number(kappa4, "kappa4")
    gain, slope = _checks.number(gain, "gain", low=0, low_open=True), _checks.number(slope, "slope")
    if cubic * kappa4 >= 0:
        raise ValueError(f"cubic must have the sign opposite to kappa4 = {kappa4:g}, got {cubic:g}")
    pull = -8 * math.sqrt(1 - alpha_bar) * cubic * gain**3 * alpha_bar**2 * kappa4
    shrinking, begin, end = 4 * (slope * gain) ** 2 / pull, first**-2, last**-2

    def spent(u: float) -> float:
        """Logarithm of the integrand; it falls with u."""
        return shrinking * (begin - u - math.log(u / begin))

    # In log u, where what lies near the end is not missed, and in units of the largest value.
    within = quad(lambda v: math.exp(spent(end * math.exp(v)) - spent(end) + v), 0, math.log(begin / end), epsrel=1e-12)
    return _exp(spent(end) + math.log(end * within[0]) - math.log(2 * pull * rest**2))


def _exp(exponent: float) -> float:
    """The exponential, infinity where no float holds it."""
    return math.exp(exponent) if exponent < 709 else math.inf


def _checked(time: float, total: float, alpha_bar: float) -> tuple[float, float, float]:
    if time != math.inf:
        time = _checks.number(time, "time", low=0)
    total = _checks.number(total, "total", low=0, low_open=True)
    return time, total, _checks.number(alpha_bar, "alpha_bar", low=0, high=1, low_open=True, high_open=True)
