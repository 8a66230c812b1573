r"""Linear denoisers in many dimensions: the noise that a finite sample pretends to see, and the losses that follow.

For n points with covariance Σ and noise D, the resolvent of the sample covariance has a deterministic equivalent
(Marchenko and Pastur 1967; Silverstein and Bai 1995): (Σ̂ + D)⁻¹ ≍ (κ/D)(Σ + κ)⁻¹, with κ ≥ D the effective noise.
Its derivatives give the losses. Everything is the limit of many dimensions at fixed d/n and noise D; means over
training sets of finite dimension differ from it by a relative order 1/d, and 1/(d√D) near n = d.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from diffmem_lib import _checks

__all__ = ["effective_noise", "expected_disagreement", "expected_losses", "finite_size_shift", "optimal_ridge"]


def effective_noise(eigenvalues: Any, n: float, noise: float) -> float:
    r"""Effective noise κ of n points, a variance.

    It is the non-negative root of

    .. math:: D = \kappa\left(1 - \frac1n\sum_j\frac{\lambda_j}{\lambda_j + \kappa}\right).

    At D = 0 it is 0 if n is at least the number of positive eigenvalues, else the positive root; n κ is then the
    variance, in all, of the directions that n points leave unseen.
    With the eigenvalues in falling order the equation is written as

    .. math:: \sum_{j\le n}\frac{\kappa}{\lambda_j+\kappa} + (n-d)_+
              = \frac{nD}\kappa + \sum_{j>n}\frac{\lambda_j}{\lambda_j+\kappa},

    in which nothing is subtracted. The logarithms of the two sides, as functions of log κ, differ by a function whose
    slope lies between 1 and 2, so that stepping by 2/3 of the difference ends at κ from anywhere, and the root is as
    exact as the sums are.
    Derived in *Fewer samples than dimensions* (chapters/fewer_samples.ipynb).

    Parameters
    ----------
    eigenvalues
        λ of the data's covariance, (d,), in any order; zeros are allowed.
    n
        Number of points, at least 1; not necessarily whole.
    noise
        D ≥ 0, a variance: σ² = (1−ᾱ)/ᾱ of the noise, plus the ridge.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    eigenvalues = _checks.eigenvalue_array(eigenvalues)
    n = _checks.number(n, "n", low=1)
    return _root(eigenvalues, n, _checks.number(noise, "noise", low=0))


def expected_losses(
    eigenvalues: Any, n: float, alpha_bar: float, ridge: float = 0.0, *, mean: str = "known"
) -> tuple[float, float]:
    r"""Train and test loss of a linear denoiser fitted to n points, per dimension and without the penalty.

    With :math:`\sigma^2 = (1-\bar\alpha)/\bar\alpha`, :math:`D = \sigma^2 + c`, κ the :func:`effective_noise` at D,
    :math:`g = \sum_j\lambda_j/(\lambda_j+\kappa)^2` and :math:`s = dD/d\kappa = D/\kappa + \kappa g/n`,

    .. math::
        L_{\rm train} = \frac1d\left[\sum_j\frac{\lambda_j}{\lambda_j+\kappa} + \frac{cg}s
        + \frac{c^2\kappa^2}{D^2}\Big(\sum_j\frac1{(\lambda_j+\kappa)^2} + \frac{g^2}{ns}\Big)\right], \\
        L_{\rm test} = \frac1d\left[\sum_j\Big(\frac{\lambda_j+\kappa c/D}{\lambda_j+\kappa}\Big)^2
        + \frac{\sigma^2\kappa^2g}{D^2s}\Big(1 + \frac{\sigma^2g}n\Big)\right],

    in which nothing is subtracted. Where the mean is learned n becomes n−1, the eigenvalues are those of E Σ̂,
    (1 − 1/n) λ, and the 1 in the last bracket, the part of the data, is (n+1)/(n−1).
    Derived in *Fewer samples than dimensions* (chapters/fewer_samples.ipynb).

    Parameters
    ----------
    eigenvalues
        λ of the data's covariance, (d,), in any order; zeros are allowed.
    n
        Number of points, at least 1 (at least 2 where the mean is learned).
    alpha_bar
        Signal's share of the variance, in (0, 1).
    ridge
        c ≥ 0.
    mean
        ``"known"`` or ``"learned"``.

    Returns
    -------
    tuple of float
        Train and test loss; 1 is the loss of the denoiser that always answers 0.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    eigenvalues = _checks.eigenvalue_array(eigenvalues)
    if mean not in ("known", "learned"):
        raise ValueError(f"mean must be 'known' or 'learned', got {mean!r}")
    n = _checks.number(n, "n", low=1 if mean == "known" else 2)
    excess = 1.0
    if mean == "learned":
        eigenvalues, n, excess = (1 - 1 / n) * eigenvalues, n - 1, (n + 1) / (n - 1)
    ridge = _checks.number(ridge, "ridge", low=0)
    fit = _fit(eigenvalues, n, _sigma_square(alpha_bar), ridge)
    squares = float(np.sum(1 / fit.below**2)) + fit.spread**2 / (n * fit.slope)
    train = float(np.sum(eigenvalues / fit.below)) + ridge * fit.spread / fit.slope + (ridge * fit.gain) ** 2 * squares
    kept = float(np.sum(((eigenvalues + ridge * fit.gain) / fit.below) ** 2))
    data = fit.sigma_square * fit.gain**2 * fit.spread / fit.slope
    test = kept + data * (excess + fit.sigma_square * fit.spread / n)
    return train / len(eigenvalues), test / len(eigenvalues)


def expected_disagreement(eigenvalues: Any, n: float, alpha_bar: float, ridge: float = 0.0) -> float:
    r"""Mean squared difference, per dimension, of the noise predicted by two denoisers trained on independent sets.

    Each has n points and knows the mean; both look at the same fresh noised point. In the notation of
    :func:`expected_losses`,

    .. math:: \frac{2\sigma^2\kappa^2}{dD^2}\cdot\frac gs\cdot\frac1n\sum_j
              \frac{\lambda_j(\lambda_j+\sigma^2)}{(\lambda_j+\kappa)^2}.

    Half of it is what the test loss of one of them exceeds that of their mean, over infinitely many training sets.
    Derived in *Fewer samples than dimensions* (chapters/fewer_samples.ipynb).

    Parameters
    ----------
    eigenvalues
        λ of the data's covariance, (d,), in any order; zeros are allowed.
    n
        Number of points of each training set, at least 1.
    alpha_bar
        Signal's share of the variance, in (0, 1).
    ridge
        c ≥ 0.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    eigenvalues = _checks.eigenvalue_array(eigenvalues)
    n = _checks.number(n, "n", low=1)
    fit = _fit(eigenvalues, n, _sigma_square(alpha_bar), _checks.number(ridge, "ridge", low=0))
    seen = float(np.sum(eigenvalues * (eigenvalues + fit.sigma_square) / fit.below**2))
    return 2 * fit.sigma_square * fit.gain**2 * fit.spread / fit.slope * seen / (n * len(eigenvalues))


def finite_size_shift(eigenvalues: Any, n: float, noise: float) -> float:
    r"""First correction to κ in finite dimension, for Gaussian data with a known mean.

    If κ is read off the mean training loss without a ridge, :math:`L_{\rm train} = (n/d)(1 - D/\kappa)`, it is smaller
    than the :func:`effective_noise`: what is to be added to that is, up to terms of order n⁻²,

    .. math:: -\frac{\kappa^2}{n^2s^2}\sum_j\frac{\lambda_j^2}{(\lambda_j+\kappa)^3}, \qquad s = \frac{dD}{d\kappa}.

    Derived in *Fewer samples than dimensions* (chapters/fewer_samples.ipynb).

    Parameters
    ----------
    eigenvalues, n
        As in :func:`effective_noise`.
    noise
        D > 0, a variance.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    eigenvalues = _checks.eigenvalue_array(eigenvalues)
    n = _checks.number(n, "n", low=1)
    fit = _fit(eigenvalues, n, _checks.number(noise, "noise", low=0, low_open=True), 0.0)
    kappa = fit.gain * fit.sigma_square
    return -((kappa / (n * fit.slope)) ** 2) * float(np.sum(eigenvalues**2 / fit.below**3))


def optimal_ridge(eigenvalues: Any, n: float, alpha_bar: float) -> float:
    r"""The ridge c that makes the test loss of :func:`expected_losses`, with the mean known, smallest.

    The loss is that of the mean denoiser plus half of the :func:`expected_disagreement`; with
    :math:`h = \kappa/D`, :math:`e = \frac1n\sum_j\lambda_j/(\lambda_j+\kappa)` and derivatives by D, its slope is

    .. math:: \frac{2\sigma^2h}d\sum_j\Big(\frac h{\lambda_j+\kappa}\Big)'\,\frac{e\lambda_j - c}{\lambda_j+\kappa}
              + \frac1d\left[\frac{\sigma^2h^2g}s\cdot
              \frac1n\sum_j\frac{\lambda_j(\lambda_j+\sigma^2)}{(\lambda_j+\kappa)^2}\right]',

    and c is where it vanishes.
    Derived in *Fewer samples than dimensions* (chapters/fewer_samples.ipynb).

    Parameters
    ----------
    eigenvalues
        λ of the data's covariance, (d,), in any order; at least one is positive.
    n
        Number of points, at least 1.
    alpha_bar
        Signal's share of the variance, in (0, 1).

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    eigenvalues = _checks.eigenvalue_array(eigenvalues)
    if not eigenvalues.any():
        raise ValueError("eigenvalues must not all be zero: no ridge would be large enough")
    n, sigma_square = _checks.number(n, "n", low=1), _sigma_square(alpha_bar)

    def slope(log_ridge: float) -> float:
        return _ridge_slope(eigenvalues, n, sigma_square, math.exp(log_ridge))

    low = high = math.log(eigenvalues.mean() + sigma_square)  # numerics
    steps = 0  # numerics
    while slope(low) > 0 and steps < 40:  # numerics
        low, steps = low - 2, steps + 1  # numerics
    if slope(low) > 0:  # numerics
        return 0.0  # below e⁻⁸⁰ of what there is  # numerics
    while slope(high) < 0 and steps < 80:  # numerics
        high, steps = high + 2, steps + 1  # numerics
    return math.exp(brentq(slope, low, high, xtol=1e-13))  # numerics


@dataclass(frozen=True)
class _Fit:
    """What the losses are made of: σ², λ + κ (d,), κ/D, g = Σ λ/(λ+κ)² and s = dD/dκ."""

    sigma_square: float
    below: NDArray[np.float64]
    gain: float
    spread: float
    slope: float


def _fit(eigenvalues: NDArray[np.float64], n: float, sigma_square: float, ridge: float) -> _Fit:
    noise = sigma_square + ridge
    kappa = _root(eigenvalues, n, noise)
    below = eigenvalues + kappa
    spread = float(np.sum(eigenvalues / below**2))
    return _Fit(sigma_square, below, kappa / noise, spread, noise / kappa + kappa * spread / n)


def _root(eigenvalues: NDArray[np.float64], n: float, noise: float) -> float:
    """κ for checked arguments."""
    falling = np.sort(eigenvalues)[::-1]
    seen = np.clip(n - np.arange(len(falling)), 0, 1)  # of each direction, what n points can fill
    unseen = (1 - seen) * falling
    if noise == 0 and not unseen.any():
        return 0.0
    kappa = noise + float(unseen.sum()) / n  # numerics
    for _ in range(80):  # numerics
        left = max(n - len(falling), 0) + float(np.sum(seen * kappa / (falling + kappa)))
        right = n * noise / kappa + float(np.sum(unseen / (falling + kappa)))
        kappa *= (right / left) ** (2 / 3)  # numerics
        if abs(right - left) <= 1e-14 * left:  # numerics
            break
    return kappa


def _ridge_slope(eigenvalues: NDArray[np.float64], n: float, sigma_square: float, ridge: float) -> float:
    """d times the slope of the test loss in the ridge: that of the mean denoiser's loss, and of the variance.

    Each is a sum of terms of the order at which they balance, so that many points cost no digits.
    """
    fit = _fit(eigenvalues, n, sigma_square, ridge)
    below, gain, spread, slope = fit.below, fit.gain, fit.spread, fit.slope
    cubes = [float(np.sum(eigenvalues**power / below**3)) for power in (1, 2)]
    gain_rate = -(gain**2) * spread / (n * slope)  # derivatives by D
    spread_rate, shared_rate = -2 * cubes[0] / slope, -2 * cubes[1] / (n * slope)
    weight_rates = gain_rate / below - gain / slope / below**2
    missed = float(np.sum(eigenvalues / below)) / n * eigenvalues - ridge
    mean = 2 * sigma_square * gain * float(np.sum(weight_rates * missed / below))
    shared = float(np.sum(eigenvalues * (eigenvalues + sigma_square) / below**2)) / n
    variance = sigma_square * gain**2 * spread / slope * shared
    relative = 2 * gain_rate / gain + spread_rate / spread + shared_rate / slope
    return mean + variance * (relative + (shared_rate + sigma_square * spread_rate / n) / shared)


def _sigma_square(alpha_bar: Any) -> float:
    alpha_bar = _checks.number(alpha_bar, "alpha_bar", low=0, high=1, low_open=True, high_open=True)
    return (1 - alpha_bar) / alpha_bar
