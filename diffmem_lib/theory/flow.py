r"""Linear denoisers while they are trained: gradient flow from W = 0, and when to stop it.

The denoiser predicts the noise ε in x_t = √ᾱ x + √(1−ᾱ) ε as W x_t, on data whose mean is known and subtracted, and W
follows the gradient flow dW/dτ = −∂L/∂W of the loss per dimension, L = (1/d) E|W x_t − ε|², on n training points.
Time τ is the step size times the number of steps. 1 is the loss of the denoiser that always answers 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from diffmem_lib import _checks
from diffmem_lib.theory.random_matrix import effective_noise

__all__ = [
    "best_stopping_time",
    "equivalent_ridge",
    "expected_losses",
    "fit_time",
    "joint_weight",
    "mode_loss",
    "weight",
]

Array = NDArray[np.float64]


def weight(learned: Any, alpha_bar: float, time: float, dim: int) -> Array:
    r"""Weight of each direction after the time τ of gradient flow.

    .. math:: w(\tau) = \frac{\sqrt{1-\bar\alpha}}{\hat m}\left(1 - e^{-2\hat m\tau/d}\right),
              \qquad \hat m = \bar\alpha\hat\lambda + 1 - \bar\alpha.

    Derived in *Early stopping* (chapters/early_stopping.ipynb).

    Parameters
    ----------
    learned
        λ̂, variances of the training set along its principal directions, (k,); 0 where it does not vary.
    alpha_bar
        Signal's share of the variance, in (0, 1).
    time
        τ ≥ 0.
    dim
        Dimension d, at least 1.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or is out of its range.
    """
    noised, alpha_bar = _noised(learned, alpha_bar)
    return _weight(noised, alpha_bar, _clock(time, dim))


def mode_loss(variance: Any, learned: Any, alpha_bar: float, time: float, dim: int) -> Array:
    r"""Loss of each direction after the time τ, on data with the variance v along it.

    .. math:: \ell = \frac{\left[\bar\alpha\hat\lambda + (1-\bar\alpha)e\right]^2
              + \bar\alpha(1-\bar\alpha)\,v\,(1-e)^2}{\hat m^2}, \qquad e = e^{-2\hat m\tau/d}.

    With v = λ̂ it is the loss on the training set, with v the variance of fresh data along a principal direction of the
    training set it is the test loss; the mean over all d directions is the loss per dimension.
    Derived in *Early stopping* (chapters/early_stopping.ipynb).

    Parameters
    ----------
    variance
        v ≥ 0, (k,).
    learned, alpha_bar, time, dim
        As in :func:`weight`.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or is out of its range.
    """
    variance = _checks.eigenvalue_array(variance, "variance")
    noised, alpha_bar = _noised(learned, alpha_bar)
    if variance.shape != noised.shape:
        raise ValueError(f"variance must have the shape {noised.shape} of learned, got {variance.shape}")
    clock = _clock(time, dim)
    gone = -np.expm1(-clock * noised)
    let_through = noised - (1 - alpha_bar) + (1 - alpha_bar) * np.exp(-clock * noised)
    return (let_through**2 + alpha_bar * (1 - alpha_bar) * variance * gone**2) / noised**2


def equivalent_ridge(learned: Any, alpha_bar: float, time: float, dim: int) -> Array:
    r"""The ridge c with which a denoiser trained to the end has the weight that gradient flow has after the time τ.

    .. math:: c = \frac{\hat m/\bar\alpha}{e^{2\hat m\tau/d} - 1}

    for each direction; d/(2ᾱτ) for all of them where 2m̂τ/d is small.
    Derived in *Early stopping* (chapters/early_stopping.ipynb).

    Parameters
    ----------
    learned, alpha_bar, dim
        As in :func:`weight`.
    time
        τ > 0.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or is out of its range.
    """
    noised, alpha_bar = _noised(learned, alpha_bar)
    passed = _clock(_checks.number(time, "time", low=0, low_open=True), dim) * noised
    return noised / alpha_bar * np.exp(-passed) / -np.expm1(-passed)


def expected_losses(eigenvalues: Any, n: float, alpha_bar: float, time: float) -> tuple[float, float]:
    r"""Train and test loss after the time τ, per dimension, averaged over training sets of n Gaussian points.

    With κ(D) the effective noise, :math:`D = \kappa - \frac1n\sum_j\frac{\lambda_j\kappa}{\lambda_j+\kappa}`, and
    :math:`q_0 = \frac1d\sum_j\frac{\kappa}{D(\lambda_j+\kappa)}`, :math:`q_1 = \frac nd\left(\frac\kappa D-1\right)`,
    the equivalents of Tr Q/d and Tr ΣQ/d for the resolvent Q = (Σ̂ + D)⁻¹,

    .. math::
        L_{\rm test} = 1 + \oint\frac{dD}{2\pi i}\left[w^2\left((1-\bar\alpha)q_0 + \bar\alpha q_1\right)
        - 2\sqrt{1-\bar\alpha}\,w\,q_0\right], \qquad
        L_{\rm train} = 1 + \oint\frac{dD}{2\pi i}\left[w^2\hat m - 2\sqrt{1-\bar\alpha}\,w\right]q_0,

    with w the :func:`weight` at λ̂ = −D, once around all −λ̂. The limit of many dimensions at fixed d/n; means over
    training sets of finite dimension differ by a relative order 1/d.
    Derived in *Early stopping* (chapters/early_stopping.ipynb).

    Parameters
    ----------
    eigenvalues
        λ of the data's covariance, (d,), in any order, one of them positive; zeros are allowed.
    n
        Number of points, at least 1; not necessarily whole.
    alpha_bar
        Signal's share of the variance, in (0, 1).
    time
        τ ≥ 0.

    Returns
    -------
    tuple of float
        Train and test loss.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    eigenvalues, n, alpha_bar = _law(eigenvalues, n, alpha_bar)
    clock = _clock(time, len(eigenvalues))

    def losses(path: _Path) -> Array:
        w = _weight(path.noised, alpha_bar, clock)
        cross = 2 * math.sqrt(1 - alpha_bar) * w * path.trace
        train = w**2 * path.noised * path.trace - cross
        test = w**2 * ((1 - alpha_bar) * path.trace + alpha_bar * path.data_trace) - cross
        return 1 + np.array([path.integral(train), path.integral(test)])

    train, test = _converged(losses, eigenvalues, n, alpha_bar, clock)
    return float(train), float(test)


def best_stopping_time(eigenvalues: Any, n: float, alpha_bar: float) -> float:
    r"""The time τ at which the test loss of :func:`expected_losses` is smallest.

    Its slope, with ẇ = 2√(1−ᾱ) e^{−2m̂τ/d}/d, is

    .. math:: 2\oint\frac{dD}{2\pi i}\,\dot w\left[w\left((1-\bar\alpha)q_0 + \bar\alpha q_1\right)
              - \sqrt{1-\bar\alpha}\,q_0\right],

    negative at first; the first zero is returned.
    Derived in *Early stopping* (chapters/early_stopping.ipynb).

    Parameters
    ----------
    eigenvalues, n, alpha_bar
        As in :func:`expected_losses`.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    eigenvalues, n, alpha_bar = _law(eigenvalues, n, alpha_bar)

    def slope(clock: float) -> float:
        def integral(path: _Path) -> Array:
            w = _weight(path.noised, alpha_bar, clock)
            error = w * ((1 - alpha_bar) * path.trace + alpha_bar * path.data_trace)
            error = error - math.sqrt(1 - alpha_bar) * path.trace
            return np.array([path.integral(np.exp(-clock * path.noised) * error)])

        return float(_converged(integral, eigenvalues, n, alpha_bar, clock)[0])

    late = 1 / (alpha_bar * float(eigenvalues.max()) + 1 - alpha_bar)  # numerics
    while slope(late) < 0:
        late = late * 1.25  # numerics
    early = late / 1.25  # numerics
    while slope(early) > 0:
        early = early / 2  # numerics
    found = brentq(slope, early, late, xtol=1e-12 * late, rtol=1e-12)  # numerics
    return len(eigenvalues) * found / 2


def fit_time(n: float, dim: int, alpha_bar: float, variance: float = 1.0) -> float:
    r"""Time after which the slowest direction that n points of white data span is within 1/e of its final weight.

    .. math:: \tau = \frac{d}{2(\bar\alpha\hat\lambda_- + 1-\bar\alpha)}, \qquad
              \hat\lambda_- = \lambda\left(1-\sqrt{d/n}\right)^2,

    with the lower edge of the Marchenko–Pastur law: the limit of many dimensions at fixed d/n.
    Derived in *Early stopping* (chapters/early_stopping.ipynb).

    Parameters
    ----------
    n
        Number of points, at least 1.
    dim
        Dimension d, at least 1.
    alpha_bar
        Signal's share of the variance, in (0, 1).
    variance
        λ > 0, of the data in every direction.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    n, dim = _checks.number(n, "n", low=1), _checks.integer(dim, "dim", low=1)
    alpha_bar = _checks.number(alpha_bar, "alpha_bar", low=0, high=1, low_open=True, high_open=True)
    edge = _checks.number(variance, "variance", low=0, low_open=True) * (1 - math.sqrt(dim / n)) ** 2
    return dim / (2 * (alpha_bar * edge + 1 - alpha_bar))


def joint_weight(learned: float, mean: float, alpha_bar: float, time: float, dim: int) -> float:
    r"""Weight of a direction along which the data have a mean, when a bias is trained together with W, both from 0.

    With :math:`u^2 = \bar\alpha\mu^2` the two rates are the roots of
    :math:`\rho^2 - (\hat m + u^2 + 1)\rho + \hat m = 0`, and

    .. math:: w(\tau) = \frac{\sqrt{1-\bar\alpha}}{\rho_+-\rho_-}\left[
              (\rho_+-1)\frac{1-e^{-2\rho_+\tau/d}}{\rho_+} + (1-\rho_-)\frac{1-e^{-2\rho_-\tau/d}}{\rho_-}\right].

    Derived in *Early stopping* (chapters/early_stopping.ipynb).

    Parameters
    ----------
    learned
        λ̂ ≥ 0, variance of the training set along the direction.
    mean
        μ, mean of the training set along it; its mean in other directions vanishes.
    alpha_bar, time, dim
        As in :func:`weight`.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    (noised,), alpha_bar = _noised([_checks.number(learned, "learned", low=0)], alpha_bar)
    clock, square = _clock(time, dim), alpha_bar * _checks.number(mean, "mean") ** 2
    if square == 0:  # numerics
        return float(weight([learned], alpha_bar, time, dim)[0])
    gap = math.sqrt((noised - 1 + square) ** 2 + 4 * square)
    fast = (noised + square + 1 + gap) / 2
    slow = noised / fast
    # (ρ₊ − 1)(1 − ρ₋) = u², the smaller of the two factors from the larger
    cancels = noised + square < 1  # numerics
    above = 2 * square / (1 - noised - square + gap) if cancels else (noised + square - 1 + gap) / 2
    settled = above * -math.expm1(-clock * fast) / fast + square / above * -math.expm1(-clock * slow) / slow
    return math.sqrt(1 - alpha_bar) * settled / gap


def _weight(noised: NDArray[Any], alpha_bar: float, clock: float) -> NDArray[Any]:
    """w of :func:`weight`, for real m̂ or along a path of complex ones."""
    return -math.sqrt(1 - alpha_bar) * np.expm1(-clock * noised) / noised


class _Path:
    """A circle in the plane of κ whose image D(κ) runs once around all −λ̂, as far right of 0 as e^{−2m̂τ/d} allows.

    On a circle around −max λ, Σ λ²/|λ+κ|² is largest where it meets the real axis on the right; there it is below n, so
    that the circle lies where κ(D) is one to one. A Möbius map brings nodes to where it is near κ(0).
    """

    def __init__(self, eigenvalues: Array, n: float, alpha_bar: float, clock: float, nodes: int) -> None:
        noise, top = (1 - alpha_bar) / alpha_bar, float(eigenvalues.max())
        furthest = noise / 2 + (1 / (alpha_bar * clock) if clock * top > 1 else top / alpha_bar)  # numerics
        right = effective_noise(eigenvalues, n, furthest)
        near = right - effective_noise(eigenvalues, n, 0.0)  # numerics
        closer = math.sqrt(near / (top + right))  # numerics
        angle = np.pi * (np.arange(nodes) + 0.5) / nodes  # numerics
        turned = 2 * np.arctan2(closer * np.sin(angle), np.cos(angle))
        speed = closer / (np.cos(angle) ** 2 + (closer * np.sin(angle)) ** 2)
        radius = (top + right) * np.exp(1j * turned)
        kappa = radius - top
        seen, seen_twice, gain = np.zeros((3, nodes), dtype=complex)
        for value, count in zip(*np.unique(eigenvalues, return_counts=True), strict=True):
            seen += count * value / (value + kappa)
            seen_twice += count * (value / (value + kappa)) ** 2
            gain += count / (value + kappa)
        noise_of = kappa * (1 - seen / n)
        self._steps = radius * speed * (1 - seen_twice / n) / nodes
        self.noised = alpha_bar * (noise - noise_of)
        self.trace = kappa / noise_of * gain / len(eigenvalues)
        self.data_trace = n / len(eigenvalues) * (kappa / noise_of - 1)

    def integral(self, values: NDArray[Any]) -> float:
        """∮ dD/(2πi) of a function that is real on the real axis."""
        return float(np.sum(values * self._steps).real)


def _converged(
    function: Callable[[_Path], Array], eigenvalues: Array, n: float, alpha_bar: float, clock: float
) -> Array:
    """``function`` of a path with so many nodes that more do not change it; the error falls exponentially."""
    nodes, before = 64, None  # numerics
    while True:
        now = function(_Path(eigenvalues, n, alpha_bar, clock, nodes))
        if before is not None and np.max(np.abs(now - before)) <= 1e-11 * max(1.0, np.max(np.abs(now))):  # numerics
            return now
        if nodes > 2**20:  # numerics
            raise ValueError("eigenvalues must not lie so many orders above the noise, the integral does not converge")
        nodes, before = 2 * nodes, now  # numerics


def _law(eigenvalues: Any, n: Any, alpha_bar: Any) -> tuple[Array, float, float]:
    eigenvalues = _checks.eigenvalue_array(eigenvalues)
    if not eigenvalues.max() > 0:
        raise ValueError("eigenvalues must have a positive one among them, got only zeros")
    alpha_bar = _checks.number(alpha_bar, "alpha_bar", low=0, high=1, low_open=True, high_open=True)
    return eigenvalues, _checks.number(n, "n", low=1), alpha_bar


def _noised(learned: Any, alpha_bar: Any) -> tuple[Array, float]:
    """m̂ and ᾱ."""
    alpha_bar = _checks.number(alpha_bar, "alpha_bar", low=0, high=1, low_open=True, high_open=True)
    return alpha_bar * _checks.eigenvalue_array(learned, "learned") + (1 - alpha_bar), alpha_bar


def _clock(time: Any, dim: Any) -> float:
    """2τ/d."""
    return 2 * _checks.number(time, "time", low=0) / _checks.integer(dim, "dim", low=1)
