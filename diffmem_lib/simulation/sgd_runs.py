"""What the two dynamics of one-pass spherical SGD share: the law they ask for, their setting, checked, and their runs.

:mod:`~diffmem_lib.simulation.full_dynamics` and :mod:`~diffmem_lib.simulation.overlap_chain` take the same arguments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from .. import _checks, _tensors
from ..data import MixedCumulant

__all__ = [
    "Law",
    "OverlapRuns",
    "Setting",
    "checked_directions",
    "checked_setting",
    "checked_start",
    "float32_samples",
    "generator_device",
]


class Law(Protocol):
    """What the full dynamics asks of a law: its dimension, and n independent draws (n, d)."""

    dim: int

    def sample(self, n: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw n points, (n, d)."""


@dataclass(frozen=True)
class OverlapRuns:
    """Overlaps of R independent runs with k planted directions.

    ``samples`` (T,) is the number of training samples seen at each record, from 0 on; ``overlaps`` (R, T, k) are the
    w·v there; ``recovery`` (R,) is the number of samples after which the overlap with the first direction had first
    reached the threshold in size, infinite for a run that ended before (censored at the last entry of ``samples``)
    or without a threshold. A run stops at its recovery: later records repeat its last overlaps.
    """

    samples: NDArray[np.int64]
    overlaps: NDArray[np.float64]
    recovery: NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """What both dynamics need to know, checked."""

    root: float
    skip: float
    step: float
    steps: int
    batch: int
    threshold: float
    every: int

    @property
    def samples(self) -> NDArray[np.int64]:
        """Samples seen at each record, (T,), from 0 on."""
        return np.arange(0, self.steps + 1, self.every) * self.batch


def checked_setting(
    alpha_bar: float, step: float, steps: int, replicas: int, batch: int, threshold: float, every: int | None
) -> Setting:
    """Refuse what neither dynamics can run with; ``every`` None records the start and the end only."""
    alpha_bar = _checks.number(alpha_bar, "alpha_bar", low=0, high=1, low_open=True, high_open=True)
    step = _checks.number(step, "step", low=0, low_open=True)
    steps = _checks.integer(steps, "steps", low=1)
    _checks.integer(replicas, "replicas", low=1)
    batch = _checks.integer(batch, "batch", low=1)
    if threshold != math.inf:
        threshold = _checks.number(threshold, "threshold", low=0, high=1, low_open=True, high_open=True)
    every = steps if every is None else _checks.integer(every, "every", low=1)
    if steps % every:
        raise ValueError(f"every must divide steps = {steps}, got {every}")
    return Setting(math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar), step, steps, batch, threshold, every)


def generator_device(generator: torch.Generator | None) -> torch.device:
    """Where a generator draws; without one, the CPU."""
    _tensors.generator(generator)
    return torch.device("cpu") if generator is None else generator.device


def checked_directions(law: Law, spikes: Sequence[str] | torch.Tensor | None) -> torch.Tensor:
    """The directions to follow as orthonormal rows (k, d), float64."""
    known = getattr(law, "spikes", {})
    if spikes is None:
        spikes = [name for name in known if getattr(law, f"{name}_snr", math.inf) > 0]
    if isinstance(spikes, torch.Tensor):
        rows = spikes
    else:
        unknown = [name for name in spikes if name not in known]
        if unknown or not len(spikes) or isinstance(spikes, str):
            raise ValueError(f"spikes must be names among {list(known)} or orthonormal rows (k, d), got {spikes!r}")
        rows = torch.stack([known[name] for name in spikes])
    if rows.ndim != 2 or rows.shape[1] != law.dim or not rows.is_floating_point():
        raise ValueError(f"spikes must be rows of shape (k, {law.dim}), got {rows.dtype} of shape {tuple(rows.shape)}")
    rows = rows.to("cpu", torch.float64)
    gap = (
        (rows @ rows.T - torch.eye(len(rows), dtype=rows.dtype, device=rows.device)).abs().max().item()
        if len(rows)
        else math.nan
    )
    if not gap <= 1e-6:
        raise ValueError(f"spikes must be orthonormal rows, got a Gram matrix off the identity by {gap:g}")
    return rows


def checked_start(start: Sequence[float] | None, count: int, dim: int, threshold: float) -> NDArray[np.float64] | None:
    """Overlaps (count,) to start from, below the threshold and with room for the rest of the weight; None stays so."""
    if start is None:
        return None
    if count >= dim:
        raise ValueError(f"start needs a direction besides the {count} that are followed, got {dim} dimensions")
    begin = _checks.array(start, "start", ndim=1)
    if len(begin) != count or (begin**2).sum() >= 1:
        raise ValueError(f"start must be {count} overlap(s) with a sum of squares below 1, got {start!r}")
    if abs(begin[0]) >= threshold:
        raise ValueError(f"start must be below the threshold {threshold:g} along the first direction, got {begin[0]:g}")
    return begin


def float32_samples(law: Law, n: int, generator: torch.Generator | None) -> torch.Tensor:
    """n draws (n, d) of a law in float32, drawn so where the law can."""
    if isinstance(law, MixedCumulant):
        return law.sample(n, generator, torch.float32)
    return law.sample(n, generator).to(torch.float32)
