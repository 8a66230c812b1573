r"""When a denoiser in training knows a class, and when it knows a point: gradient flow in two solvable cases.

*Classes*: a linear denoiser Wy of y = x + σz, on a mixture of classes that vary in directions of their own, from W = 0
along dW/dτ = −½ ∂L/∂W of the loss L = E|Wy − x|². *Points*: a denoiser with frozen features, linear in what it trains,
on n points that are equally far from one another. Its kernel has the mean κ between two noised copies of one point,
*within* a ball, and κ′ *between* two balls; the same flow, of the loss averaged over the points.

Derived in *Classes, mixtures, and time* (chapters/classes_and_time.ipynb).
"""

from __future__ import annotations

import math

from diffmem_lib import _checks

__all__ = ["alone_time", "balanced_share", "class_weight", "common_time", "feature_kernel"]


def class_weight(share: float, scale: float, sigma: float, time: float) -> float:
    r"""Weight of a class's directions after the time τ, the same in all of them.

    .. math:: W(τ) = \frac{w s²}{w s² + σ²}\bigl(1 − e^{−(w s² + σ²)τ}\bigr)

    Parameters
    ----------
    share
        w in (0, 1], the class's share of the data.
    scale
        s > 0, its standard deviation along each of its directions, in which the other classes do not vary.
    sigma
        σ > 0, the noise level.
    time
        τ ≥ 0; ``math.inf`` for the end of training.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    share = _checks.number(share, "share", low=0, low_open=True, high=1)
    scale = _checks.number(scale, "scale", low=0, low_open=True)
    sigma = _checks.number(sigma, "sigma", low=0, low_open=True)
    if not (isinstance(time, float) and time == math.inf):
        time = _checks.number(time, "time", low=0)
    # Products, in this order: a power would raise where they become infinite, and none of them is 0 · ∞.
    against = sigma / scale * (sigma / scale) / share
    clock = share * (scale * (scale * time)) + sigma * (sigma * time)
    return -math.expm1(-clock) / (1 + against)


def balanced_share(scale: float, other: float) -> float:
    r"""Share of one of two classes at which both have the same weight, at every time: :math:`s'^2/(s^2 + s'^2)`.

    Parameters
    ----------
    scale, other
        s > 0 and s′ > 0, standard deviations of the class and of the other one.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    scale = _checks.number(scale, "scale", low=0, low_open=True)
    other = _checks.number(other, "other", low=0, low_open=True)
    ratio = scale / other
    return 1 / (1 + ratio * ratio)  # a power would raise where the product becomes infinite


def alone_time(fraction: float, n: int, within: float, between: float) -> float:
    r"""Time until a fraction f of what is each point's own is learned, :math:`n \log(1/(1 − f))/(κ − κ')`.

    Parameters
    ----------
    fraction
        f in [0, 1).
    n
        How many points, at least 2.
    within, between
        κ and κ′, with 0 ≤ κ′ < κ.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    n = _checks.integer(n, "n", low=2)
    within, between = _kernel(within, between)
    return n * _needed(fraction) / (within - between)


def common_time(fraction: float, n: int, within: float, between: float) -> float:
    r"""Time until a fraction f of what is common to all points is learned, :math:`n \log(1/(1 − f))/(κ + (n − 1)κ')`.

    With many points it tends to :math:`\log(1/(1 − f))/κ'`. Parameters and errors are those of :func:`alone_time`.
    """
    n = _checks.integer(n, "n", low=2)
    within, between = _kernel(within, between)
    return n * _needed(fraction) / (within + (n - 1) * between)


def feature_kernel(distance: float, sigma: float, length: float, dim: int) -> float:
    r"""Mean kernel of random cosine features between noised copies of two points, κ where they are one point.

    .. math:: κ' = (1 + 2σ²/ℓ²)^{−d/2} \exp\Bigl(−\frac{r²}{2(ℓ² + 2σ²)}\Bigr)

    The features are √2 cos(ω·y + b) with ω ~ N(0, I/ℓ²) and b uniform on the circle; the noises of the two are
    independent.

    Parameters
    ----------
    distance
        r ≥ 0, between the points.
    sigma
        σ > 0, the noise level.
    length
        ℓ > 0, on which the kernel falls.
    dim
        Dimension d, at least 1.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    distance = _checks.number(distance, "distance", low=0)
    sigma = _checks.number(sigma, "sigma", low=0, low_open=True)
    length = _checks.number(length, "length", low=0, low_open=True)
    dim = _checks.integer(dim, "dim", low=1)
    reach = math.hypot(length, math.sqrt(2) * sigma)
    apart = distance / reach
    return (length / reach) ** dim * math.exp(-apart * apart / 2)  # a power of what is large would raise


def _needed(fraction: float) -> float:
    """log(1/(1 − f))."""
    return -math.log1p(-_checks.number(fraction, "fraction", low=0, high=1, high_open=True))


def _kernel(within: float, between: float) -> tuple[float, float]:
    """κ and κ′ with 0 ≤ κ′ < κ."""
    within = _checks.number(within, "within", low=0, low_open=True)
    between = _checks.number(between, "between", low=0)
    if between >= within:
        raise ValueError(f"between must be less than within, {within:g}, got {between:g}")
    return within, between
