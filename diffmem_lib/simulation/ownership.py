"""Who owns a noised training point: its weight in the exact denoiser against that of all others together."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .. import _checks, _tensors
from .denoiser import EmpiricalDenoiser

__all__ = ["log_odds", "noised_points"]


def noised_points(
    training: Tensor, sigma: float, m: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Draw m training points with replacement, and noise them: y = x + σz.

    Parameters
    ----------
    training : Tensor, (n, d)
    sigma : float
        Noise level, positive.
    m : int
        How many.
    generator : torch.Generator, optional

    Returns
    -------
    index : Tensor, (m,)
        Which training points were drawn.
    y : Tensor, (m, d)
        Their noised copies, in the dtype of ``training``.

    Raises
    ------
    ValueError
        If ``training`` is not a finite floating-point tensor with two axes, ``sigma`` not a positive number, or m < 1.
    """
    training = _tensors.floating(training, "training", shape=("n", "d"))
    sigma, m = _tensors.noise_level(sigma), _checks.integer(m, "m", low=1)
    index = torch.randint(len(training), (m,), generator=generator, device=training.device)
    x = training[index]
    return index, x + sigma * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


@torch.no_grad()
def log_odds(denoiser: EmpiricalDenoiser, index: Tensor, y: Tensor, sigma: float) -> Tensor:
    r"""Logarithm of the weight of training point x over that of all others, :math:`\log(w/(1-w))`.

    Positive: x owns y. Up to 15 nats it is accurate to 1e-2, and to 1e-7 around zero; beyond 20 it says no more than
    that the others weigh nothing.

    Parameters
    ----------
    denoiser
        Of n training points, at least 2.
    index : Tensor, (m,)
        The training point of each query.
    y : Tensor, (m, d)
        The queries.
    sigma : float
        Noise level, positive.

    Returns
    -------
    Tensor, (m,), float64

    Raises
    ------
    ValueError
        If ``y`` or ``sigma`` do not suit the denoiser, or ``index`` is not one integer per query.
    """
    n, dim = _tensors.floating(denoiser.training, "training", shape=("n", "d")).shape
    _checks.integer(n, "number of training points", low=2)
    y, sigma = _tensors.floating(y, "y", shape=("m", dim)), _tensors.noise_level(sigma)
    if index.shape != y.shape[:1] or index.dtype != torch.int64 or int(index.min()) < 0 or int(index.max()) >= n:
        raise ValueError(f"index must be {len(y)} integers from 0 to {n - 1}, got {index.dtype} {tuple(index.shape)}")
    total = denoiser.log_density(y, sigma) + math.log(n) + dim / 2 * math.log(2 * math.pi) + dim * math.log(sigma)
    own = -(y - denoiser.training[index]).to(torch.float64).square().sum(1) / (2 * sigma**2)
    return own - total - torch.log(-torch.expm1((own - total).clamp(max=-1e-10)))
