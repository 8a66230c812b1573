"""The loss of a denoiser that is one neuron beside a skip, on data with one planted coordinate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .. import _checks, _tensors
from ..data import MixedCumulant

__all__ = ["neuron_loss_change"]


def neuron_loss_change(
    activation: Callable[[Tensor], Tensor],
    alpha_bar: float,
    overlaps: Sequence[float],
    n: int,
    replicas: int,
    generator: torch.Generator | None = None,
    *,
    cumulant_snr: float = 0.0,
    latent: str = "rademacher",
    covariance_snr: float = 0.0,
    dim: int = 4,
    affine: Sequence[float] = (0.0, 0.0),
) -> Tensor:
    r"""By how much a planted direction changes the loss of a neuron: replicas of L(m) − L(0).

    The denoiser is :math:`f(x_t) = \sqrt{1-\bar\alpha}\,x_t + \varphi(w\cdot x_t)\,w` with :math:`|w| = 1`, its loss
    :math:`|\varepsilon - f(x_t)|^2` at :math:`x_t = \sqrt{\bar\alpha}\,x + \sqrt{1-\bar\alpha}\,\varepsilon`, over all
    coordinates. One coordinate of x is planted,
    :math:`(z + \sqrt{\beta_v}\,\nu)/\sqrt{1+\beta_v} + \sqrt{\beta_u}\,\lambda` with the laws of
    :class:`~diffmem_lib.data.MixedCumulant`, the others are standard Gaussian. What is subtracted is the same loss with
    the Gaussian of the same quantile in the place of ν, without λ, with the same noise and the same others: isotropic
    Gaussian data know no direction, so that this is L(0), and the two share most of their fluctuations.

    Parameters
    ----------
    activation
        φ, elementwise on tensors.
    alpha_bar
        Signal level ᾱ, between 0 and 1, both excluded.
    overlaps
        Components m of w along the planted direction, in [−1, 1].
    n, replicas
        Samples for each replica (all in memory, float32), and how many replicas.
    generator
        Source of all randomness; the result lives on its device.
    cumulant_snr, latent, covariance_snr
        β_v, the law of ν, and β_u.
    dim
        Dimension of the data, at least 2.
    affine
        Each loss is taken less that of the neuron :math:`c_0 + c_1 y` on the same data, given by its two coefficients.
        On a whitened direction that neuron feels nothing, so it takes fluctuations away and no mean.
        Zero leaves the loss less that of the skip alone.

    Returns
    -------
    Tensor (replicas, overlaps)
        In float64.
    """
    alpha_bar = _checks.number(alpha_bar, "alpha_bar", low=0, high=1, low_open=True, high_open=True)
    overlaps = [_checks.number(m, "an overlap", low=-1, high=1) for m in overlaps]
    n, replicas = (_checks.integer(value, name, low=1) for value, name in ((n, "n"), (replicas, "replicas")))
    dim = _checks.integer(dim, "dim", low=2)
    generator = _tensors.generator(generator)
    law = MixedCumulant(3, covariance_snr, cumulant_snr, latent=latent, correlated=True)
    rows = []
    for _ in range(replicas):
        planted, plain = _coordinates(law, n, generator)
        others, noise = (
            torch.randn(n, dim, dtype=plain.dtype, device=plain.device, generator=generator) for _ in range(2)
        )
        row = torch.zeros(len(overlaps), dtype=torch.float64, device=plain.device)
        for first, sign in ((planted, 1), (plain, -1)):
            x = torch.cat((first[:, None], others[:, 1:]), dim=1)
            row += sign * _mean_losses(activation, x, noise, alpha_bar, overlaps, affine)
        rows.append(row)
    return torch.stack(rows)


def _coordinates(law: MixedCumulant, n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """A planted coordinate, and a standard Gaussian one that goes with it, each (n,)."""
    nu, rank = law.latents(n, generator, torch.float32)
    z, lam = (torch.randn(n, device=nu.device, generator=generator) for _ in range(2))
    if law.latent == "skewed":  # there ν falls with the Gaussian that it is made of
        rank = -rank
    planted, plain = ((z + math.sqrt(law.cumulant_snr) * part) / math.sqrt(1 + law.cumulant_snr) for part in (nu, rank))
    return planted + math.sqrt(law.covariance_snr) * lam, plain


def _mean_losses(
    activation: Callable[[Tensor], Tensor],
    x: Tensor,
    noise: Tensor,
    alpha_bar: float,
    overlaps: Sequence[float],
    affine: Sequence[float],
) -> Tensor:
    """Average loss at each overlap with the first axis, less that of the affine neuron; (overlaps,)."""
    noisy = math.sqrt(alpha_bar) * x + math.sqrt(1 - alpha_bar) * noise
    residual = noise - math.sqrt(1 - alpha_bar) * noisy
    means = []
    for m in overlaps:
        w = torch.zeros_like(x[0])
        w[0], w[1] = m, math.sqrt(1 - m**2)
        y = (noisy @ w)[:, None]
        loss = (residual - activation(y) * w).square().sum(1)
        compared = (residual - (affine[0] + affine[1] * y) * w).square().sum(1)
        means.append((loss - compared).double().mean())
    return torch.stack(means)
