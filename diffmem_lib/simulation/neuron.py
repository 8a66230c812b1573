"""The loss of a denoiser that is one neuron beside a skip, on data with one planted coordinate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .. import _checks, _tensors

__all__ = ["neuron_loss_change"]


def neuron_loss_change(
    activation: Callable[[Tensor], Tensor],
    planted: Tensor,
    gaussian: Tensor,
    alpha_bar: float,
    overlaps: Sequence[float],
    dim: int,
    generator: torch.Generator | None = None,
    affine: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    r"""By how much a planted coordinate changes the loss of a neuron, on average over the samples.

    The denoiser is :math:`f(x_t) = \sqrt{1-\bar\alpha}\,x_t + \varphi(w\cdot x_t)\,w` with :math:`|w| = 1`, its loss
    :math:`|\varepsilon - f(x_t)|^2` at :math:`x_t = \sqrt{\bar\alpha}\,x + \sqrt{1-\bar\alpha}\,\varepsilon`, over all
    coordinates. The first coordinate of x is ``planted``, the others are standard Gaussian; what is subtracted is the
    same loss with ``gaussian`` in its place, same noise and same others. Isotropic Gaussian data know no direction, so
    the mean is L(m) − L(0); draws of the two that go together make it precise.

    Parameters
    ----------
    activation
        φ, elementwise on tensors.
    planted, gaussian
        The planted coordinate and a standard Gaussian one, each (n,).
    alpha_bar
        Signal level ᾱ, between 0 and 1, both excluded.
    overlaps
        Components m of w along the planted direction, in [−1, 1].
    dim
        Dimension of the data, at least 2.
    generator
        Draws the other coordinates and the noise.
    affine
        Each loss is taken less that of the neuron :math:`c_0 + c_1 y` on the same data, the pair being given here.
        It feels mean and variance only: where the planted coordinate has mean 0 and variance 1 it takes fluctuations
        away and no mean. Zero leaves the loss less that of the skip alone, whose overlap is none.

    Returns
    -------
    Tensor (overlaps,)
        In float64.
    """
    alpha_bar = _checks.number(alpha_bar, "alpha_bar", low=0, high=1, low_open=True, high_open=True)
    dim = _checks.integer(dim, "dim", low=2)
    overlaps = [_checks.number(m, "an overlap", low=-1, high=1) for m in overlaps]
    generator = _tensors.generator(generator)
    if planted.ndim != 1 or planted.shape != gaussian.shape or not planted.is_floating_point():
        raise ValueError(f"planted and gaussian must be two float tensors (n,), got {planted.shape}, {gaussian.shape}")
    options = {"dtype": planted.dtype, "device": planted.device}
    others, noise = (torch.randn(len(planted), dim, generator=generator, **options) for _ in range(2))
    total = torch.zeros(len(overlaps), dtype=torch.float64, device=planted.device)
    for first, sign in ((planted, 1), (gaussian, -1)):
        x = torch.cat((first[:, None], others[:, 1:]), dim=1)
        noisy = math.sqrt(alpha_bar) * x + math.sqrt(1 - alpha_bar) * noise
        residual = noise - math.sqrt(1 - alpha_bar) * noisy
        for j, m in enumerate(overlaps):
            w = torch.zeros(dim, **options)
            w[0], w[1] = m, math.sqrt(1 - m**2)
            y = (noisy @ w)[:, None]
            loss = (residual - activation(y) * w).square().sum(1)
            compared = (residual - (affine[0] + affine[1] * y) * w).square().sum(1)
            total[j] += sign * (loss - compared).double().mean()
    return total
