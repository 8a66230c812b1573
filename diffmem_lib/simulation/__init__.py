"""Experiments in torch: the exact empirical denoiser and the samplers it drives. Nothing here knows the theory."""

from .denoiser import EmpiricalDenoiser, Posterior
from .linear import LinearDenoiser, fit_linear, sample_ddpm
from .samplers import SamplerState, sample, sample_states

__all__ = [
    "EmpiricalDenoiser",
    "LinearDenoiser",
    "Posterior",
    "SamplerState",
    "fit_linear",
    "sample",
    "sample_ddpm",
    "sample_states",
]
