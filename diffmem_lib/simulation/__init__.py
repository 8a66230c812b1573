"""Experiments in torch: the exact empirical denoiser and the samplers it drives. Nothing here knows the theory."""

from .denoiser import EmpiricalDenoiser, Posterior
from .samplers import SamplerState, sample, sample_states

__all__ = ["EmpiricalDenoiser", "Posterior", "SamplerState", "sample", "sample_states"]
