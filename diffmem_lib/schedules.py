"""Noise schedules: how fast a variance-preserving diffusion forgets its data."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from . import _checks, _tensors

__all__ = ["NoiseSchedule", "linear_schedule"]


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The noise of a variance-preserving diffusion of T steps, x_t = √ᾱ_t x + √(1−ᾱ_t) ε.

    Parameters
    ----------
    betas : Tensor (T,)
        Variance β_t that step t adds, each in (0, 1); kept as float64.

    Attributes
    ----------
    alphas_bar : Tensor (T,), float64
        ᾱ_t = Π_{s≤t} (1 − β_s), the share of the data's variance that is left.
    sigmas : Tensor (T,), float64
        σ_t = √((1−ᾱ_t)/ᾱ_t), rising: the same noise in variance-exploding coordinates, x_t/√ᾱ_t = x + σ_t ε.

    Raises
    ------
    ValueError
        If a beta is not in (0, 1), or if so much noise is added that σ_t overflows.
    """

    betas: Tensor
    alphas_bar: Tensor = field(init=False)
    sigmas: Tensor = field(init=False)

    def __post_init__(self) -> None:
        betas = _tensors.floating(self.betas, "betas", shape=("T",)).to(torch.float64, copy=True)
        if not ((betas > 0) & (betas < 1)).all():
            raise ValueError(f"betas must lie in (0, 1), got values from {betas.min():g} to {betas.max():g}")
        # Through logarithms, since 1 − ᾱ of the first steps would lose its digits.
        log_alphas_bar = torch.log1p(-betas).cumsum(0)
        sigmas = torch.expm1(-log_alphas_bar).sqrt()
        if not torch.isfinite(sigmas).all():
            raise ValueError("betas must leave 1/alphas_bar finite, got so many large ones that it overflows")
        for name, value in (("betas", betas), ("alphas_bar", log_alphas_bar.exp()), ("sigmas", sigmas)):
            object.__setattr__(self, name, value)


def linear_schedule(steps: int = 1000, beta_min: float = 1e-4, beta_max: float = 2e-2) -> NoiseSchedule:
    """The schedule of Ho, Jain and Abbeel (2020): β rises linearly from ``beta_min`` to ``beta_max``.

    Parameters
    ----------
    steps : int
        Number of steps T, at least 1 (a single step has β = ``beta_min``).
    beta_min, beta_max : float
        First and last β, with 0 < ``beta_min`` ≤ ``beta_max`` < 1.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    steps = _checks.integer(steps, "steps", low=1)
    beta_min = _checks.number(beta_min, "beta_min", low=0, high=1, low_open=True, high_open=True)
    beta_max = _checks.number(beta_max, "beta_max", low=beta_min, high=1, high_open=True)
    return NoiseSchedule(torch.linspace(beta_min, beta_max, steps, dtype=torch.float64))
