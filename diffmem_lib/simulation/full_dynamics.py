r"""One-pass spherical SGD of a one-neuron denoiser in all d dimensions, for any law.

The denoiser :math:`f(x_t) = s\,x_t + \varphi(w\cdot x_t)\,w` with :math:`|w| = 1` predicts the noise ε of
:math:`x_t = \sqrt{\bar\alpha}\,x + s\,\varepsilon`, :math:`s = \sqrt{1-\bar\alpha}`. With G the gradient of
:math:`|\varepsilon - f(x_t)|^2` averaged over a batch of fresh samples, and P the projector orthogonal to w, a step is

.. math:: w \leftarrow \frac{w - \eta\,P\,G}{|w - \eta\,P\,G|}.

Derived in *Linear against cubic* (chapters/linear_cubic.ipynb); see :mod:`~diffmem_lib.simulation.overlap_chain` for
the same process at a cost per step that does not depend on d.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from .activations import Activation
from .sgd_runs import (
    Law,
    OverlapRuns,
    Setting,
    checked_directions,
    checked_setting,
    checked_start,
    float32_samples,
    generator_device,
)

__all__ = ["spherical_sgd"]

# Floats held at once: what a cache holds.
_CHUNK = 1 << 18


def spherical_sgd(
    law: Law,
    activation: Activation,
    alpha_bar: float,
    step: float,
    steps: int,
    replicas: int,
    *,
    spikes: Sequence[str] | torch.Tensor | None = None,
    start: Sequence[float] | None = None,
    batch: int = 1,
    threshold: float = math.inf,
    every: int | None = None,
    generator: torch.Generator | None = None,
) -> OverlapRuns:
    r"""One-pass spherical SGD in all d dimensions, replicas batched, float32, on the generator's device.

    Parameters
    ----------
    law
        Anything with ``dim`` and ``sample(n, generator)``.
    activation, alpha_bar
        φ of the denoiser, and ᾱ of the noise, in (0, 1).
    step, steps, replicas
        Step size η > 0 for the squared error |ε − f|² (summed over dimensions, averaged over the batch),
        number of steps, number R of independent runs.
    spikes
        The k ≥ 1 directions that are followed: names of ``law.spikes``, or orthonormal rows (k, d).
        Default: the law's spikes of non-zero strength.
    start
        Overlaps (k,) of the first w with them, the rest of w being uniform; k < d, and the first of them is below
        ``threshold`` in size. Default: w uniform on the sphere.
    batch
        Fresh samples a step.
    threshold
        Stop a run where the overlap with the first direction reaches this size, in (0, 1) or infinite for never.
    every
        Steps between records, a divisor of ``steps``; default: one record, at the end.

    Raises
    ------
    ValueError
        If a number is out of its range, the directions are not orthonormal, or the start is not inside the sphere.
    """
    setting = checked_setting(alpha_bar, step, steps, replicas, batch, threshold, every)
    directions = checked_directions(law, spikes)
    begin = checked_start(start, len(directions), law.dim, threshold)
    directions = directions.to(generator_device(generator), torch.float32)
    chunk = max(1, _CHUNK // (2 * batch * law.dim))
    runs = [
        _full_runs(law, activation, setting, directions, begin, min(chunk, replicas - first), generator)
        for first in range(0, replicas, chunk)
    ]
    overlaps, recovery = (np.concatenate(parts) for parts in zip(*runs, strict=True))
    return OverlapRuns(setting.samples, overlaps, recovery)


def _full_runs(
    law: Law,
    activation: Activation,
    setting: Setting,
    directions: torch.Tensor,
    begin: NDArray[np.float64] | None,
    replicas: int,
    generator: torch.Generator | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Overlaps (R, T, k) and recoveries (R,) of one chunk of replicas."""
    weights = _first_weights(directions, begin, replicas, generator)
    overlaps = [weights @ directions.T]
    recovery = torch.full((replicas,), math.inf, dtype=torch.float64, device=weights.device)
    noise = weights.new_empty(replicas, setting.batch, law.dim)
    running = torch.ones(replicas, dtype=torch.bool, device=weights.device)
    for t in range(1, setting.steps + 1):
        moved = _sgd_step(law, activation, setting, weights, noise.normal_(generator=generator), generator)
        if setting.threshold < math.inf:
            weights = torch.where(running[:, None], moved, weights)
            arrived = running & ((weights @ directions[0]).abs() >= setting.threshold)
            recovery[arrived] = t * setting.batch
            running &= ~arrived
        else:
            weights = moved
        if t % setting.every == 0:
            overlaps.append(weights @ directions.T)
        if not running.any():
            break
    missing = setting.steps // setting.every + 1 - len(overlaps)
    overlaps.extend([weights @ directions.T] * missing)
    return torch.stack(overlaps, dim=1).double().cpu().numpy(), recovery.cpu().numpy()


def _first_weights(
    directions: torch.Tensor, begin: NDArray[np.float64] | None, replicas: int, generator: torch.Generator | None
) -> torch.Tensor:
    """Unit vectors (R, d): uniform, or uniform given their overlaps."""
    dim = directions.shape[1]
    weights = torch.randn(replicas, dim, generator=generator, dtype=directions.dtype, device=directions.device)
    if begin is None:
        return weights / weights.norm(dim=1, keepdim=True)
    overlap = torch.as_tensor(begin, dtype=torch.float32, device=directions.device)
    weights -= weights @ directions.T @ directions
    weights *= (1 - overlap.square().sum()).sqrt() / weights.norm(dim=1, keepdim=True)
    return weights + overlap @ directions


def _sgd_step(
    law: Law,
    activation: Activation,
    setting: Setting,
    weights: torch.Tensor,
    noise: torch.Tensor,
    generator: torch.Generator | None,
) -> torch.Tensor:
    """One step of every replica (R, d), each on its own fresh batch, with ε = ``noise`` (R, batch, d)."""
    x = float32_samples(law, len(weights) * setting.batch, generator).view(noise.shape)
    noise_along = torch.bmm(noise, weights[:, :, None])[:, :, 0]
    y = setting.root * torch.bmm(x, weights[:, :, None])[:, :, 0] + setting.skip * noise_along
    value, slope = (_on_tensor(function, y) for function in (activation.value, activation.slope))
    # The gradient of one sample is on_noised · x_t − 2 φ ε, up to its part along w, which P removes.
    on_noised = 2 * (slope * (value - noise_along + setting.skip * y) + setting.skip * value)
    gradient = torch.bmm((setting.root * on_noised)[:, None], x)[:, 0]
    gradient += torch.bmm((setting.skip * on_noised - 2 * value)[:, None], noise)[:, 0]
    gradient /= setting.batch
    gradient -= (gradient * weights).sum(dim=1, keepdim=True) * weights
    moved = weights - setting.step * gradient
    return moved / moved.norm(dim=1, keepdim=True)


def _on_tensor(function: Callable, y: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.asarray(function(y.cpu().numpy()), dtype=np.float32)).to(y.device)
