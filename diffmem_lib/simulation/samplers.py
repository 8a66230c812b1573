"""Samplers: from noise to data with any denoiser, in variance-exploding coordinates."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .. import _checks, _tensors

__all__ = ["SamplerState", "sample", "sample_states"]

Denoiser = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True, eq=False)
class SamplerState:
    """Where a sampler stands: ``x`` (n, d) at noise ``sigma`` after ``step`` steps.

    ``denoised`` (n, d) is the denoiser's estimate of the clean points from ``x``; at σ = 0 it is ``x``.
    """

    step: int
    sigma: float
    x: Tensor
    denoised: Tensor


def sample(
    denoiser: Denoiser,
    n: int,
    dim: int,
    sigmas: Tensor,
    method: Literal["ode", "ancestral"] = "ode",
    generator: torch.Generator | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """``n`` points (n, dim) generated with ``denoiser``: the last state of :func:`sample_states`, which see."""
    (last,) = deque(sample_states(denoiser, n, dim, sigmas, method, generator, start), maxlen=1)
    return last.x


def sample_states(
    denoiser: Denoiser,
    n: int,
    dim: int,
    sigmas: Tensor,
    method: Literal["ode", "ancestral"] = "ode",
    generator: torch.Generator | None = None,
    start: Tensor | None = None,
) -> Iterator[SamplerState]:
    """Generate with ``denoiser`` and yield the state at each of ``sigmas``, and at last at σ = 0.

    The start is N(0, σ_max² I), or ``start``. One step leads from σ to σ′ < σ, with x̂ the denoiser's estimate:

    - ``ode``: Heun's method (order 2) on the probability flow dx/dσ = (x − x̂(x, σ))/σ (Karras et al. 2022), two
      evaluations of the denoiser a step.
    - ``ancestral``: a draw from the Gaussian bridge p(x_σ′ | x_σ, x̂), whose mean is x̂ + (σ′²/σ²)(x − x̂) and whose
      variance is σ′²(σ² − σ′²)/σ² (Ho et al. 2020), one evaluation a step. It is exact if the clean point is known;
      with the posterior mean in its place the samples lose variance of first order in the step.

    The last step, from the smallest of ``sigmas`` to 0, is the same for both and lands on the denoiser's estimate.

    Parameters
    ----------
    denoiser : callable
        (x, sigma) → E[x₀ | x₀ + σ z = x], from a tensor (n, dim) and a float to a tensor (n, dim).
        No gradient is recorded through it.
    n, dim : int
        Number of points and their dimension.
    sigmas : Tensor (s,)
        Noise levels (standard deviations), positive and strictly falling.
        Their dtype, float64 or float32, is that of the points.
    method : {"ode", "ancestral"}
        The step, as above.
    generator : torch.Generator, optional
        Source of all randomness; the points live on its device (without it, on that of ``sigmas``).
    start : Tensor (n, dim), optional
        States at the first of ``sigmas`` from which to go on, such as noised data; taken to the dtype and the device
        of the points.

    Yields
    ------
    SamplerState
        s + 1 of them; step 0 is the start.

    Raises
    ------
    ValueError
        At the call, if an argument is not as said above; later, if the denoiser does not return finite floats of shape
        (n, dim).
    """
    if not callable(denoiser):
        raise ValueError(f"denoiser must be a callable of (x, sigma), got {denoiser!r}")
    shape = _checks.integer(n, "n", low=1), _checks.integer(dim, "dim", low=1)
    sigmas = _tensors.floating(sigmas, "sigmas", shape=("s",))
    if (sigmas <= 0).any() or (sigmas.diff() >= 0).any():
        raise ValueError(f"sigmas must be positive and strictly falling, got {sigmas.tolist()}")
    if method not in _STEPS:
        raise ValueError(f"method must be 'ode' or 'ancestral', got {method!r}")
    generator = _tensors.generator(generator)
    device = sigmas.device if generator is None else generator.device
    levels = [_tensors.noise_level(sigma, "sigmas") for sigma in sigmas]
    if start is None:
        x = levels[0] * torch.randn(shape, generator=generator, dtype=sigmas.dtype, device=device)
    else:
        x = _tensors.floating(start, "start", shape=shape).to(device, sigmas.dtype)
    return _states(denoiser, x, levels, _STEPS[method], generator)


@torch.no_grad()
def _states(
    denoiser: Denoiser, x: Tensor, levels: list[float], step: Callable[..., Tensor], generator: torch.Generator | None
) -> Iterator[SamplerState]:
    def evaluate(x: Tensor, sigma: float) -> Tensor:
        return _tensors.floating(denoiser(x, sigma), "denoiser(x, sigma)", shape=tuple(x.shape)).to(x)

    denoised = evaluate(x, levels[0])
    yield SamplerState(0, levels[0], x, denoised)
    for count, (sigma, lower) in enumerate(itertools.pairwise(levels), start=1):
        x = step(evaluate, x, denoised, sigma, lower, generator)
        denoised = evaluate(x, lower)
        yield SamplerState(count, lower, x, denoised)
    yield SamplerState(len(levels), 0.0, denoised, denoised)


def _heun(
    denoiser: Denoiser, x: Tensor, denoised: Tensor, sigma: float, lower: float, generator: torch.Generator | None
) -> Tensor:
    slope = (x - denoised) / sigma
    ahead = x + (lower - sigma) * slope
    slope_ahead = (ahead - denoiser(ahead, lower)) / lower
    return x + (lower - sigma) * (slope + slope_ahead) / 2


def _bridge(
    denoiser: Denoiser, x: Tensor, denoised: Tensor, sigma: float, lower: float, generator: torch.Generator | None
) -> Tensor:
    ratio = lower / sigma
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    return denoised + ratio**2 * (x - denoised) + ratio * math.sqrt((sigma - lower) * (sigma + lower)) * noise


_STEPS = {"ode": _heun, "ancestral": _bridge}
