"""Gaussian clones of a set of points, and whitening, exact for the points themselves and not only for their law."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import _tensors

__all__ = ["gaussian_clones", "whiten"]


def whiten(points: Tensor) -> Tensor:
    r"""The points moved and stretched so that their mean is 0 and their covariance I, up to rounding.

    .. math:: (x - \hat\mu)\,\hat\Sigma^{-1/2}, \qquad \hat\Sigma = \frac1m\sum_i (x_i - \hat\mu)(x_i - \hat\mu)^\top

    Parameters
    ----------
    points : Tensor (m, d)
        More points than dimensions, and not all in one hyperplane.

    Returns
    -------
    Tensor (m, d)
        In the dtype of ``points``; computed in float64.

    Raises
    ------
    ValueError
        If ``points`` is not as said above.
    """
    centred, covariance = _moments(points)[1:]
    variances, axes = torch.linalg.eigh(covariance)
    if variances[0] <= _tensors.ROUNDING[points.dtype] * variances[-1]:
        raise ValueError(
            f"points must vary in all {points.shape[1]} directions, got {len(points)} of which the least variance is "
            f"{variances[0]:.3g} and the largest {variances[-1]:.3g}"
        )
    return (centred @ (axes * variances.rsqrt()) @ axes.T).to(points.dtype)


def gaussian_clones(points: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Gaussian points that have exactly the mean of these and their covariance, or only its trace.

    The loss of any linear denoiser, averaged over the noise, is the same on ``points`` and on the first clone; that of
    one that treats all directions alike is the same on all three. Both clones are made from the same draws.

    Parameters
    ----------
    points : Tensor (m, d)
        More than d + 1 points.
    generator : torch.Generator, optional
        Source of the draws, on the device of ``points``.

    Returns
    -------
    covariance clone, mean clone : Tensor (m, d) each
        In the dtype of ``points``.

    Raises
    ------
    ValueError
        If ``points`` is not as said above.
    """
    mean, _, covariance = _moments(points)
    if len(points) <= points.shape[1] + 1:
        raise ValueError(f"points must be more than d + 1 = {points.shape[1] + 1}, got {len(points)}")
    generator = _tensors.generator(generator, points.device)
    white = whiten(torch.randn(points.shape, generator=generator, dtype=torch.float64, device=points.device))
    variances, axes = torch.linalg.eigh(covariance)
    root = (axes * variances.clamp(min=0).sqrt()) @ axes.T
    spread = covariance.diagonal().mean().sqrt()
    return (white @ root + mean).to(points.dtype), (spread * white + mean).to(points.dtype)


def _moments(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (d,), centred points (m, d) and covariance (d, d), in float64."""
    exact = _tensors.floating(points, "points", shape=("m", "d")).double()
    mean = exact.mean(0)
    centred = exact - mean
    return mean, centred, centred.T @ centred / len(points)
