"""Experiments in torch that know no theory."""

from .samplers import SamplerState, sample, sample_states

__all__ = ["SamplerState", "sample", "sample_states"]
