"""Experiments in torch: the exact empirical denoiser, the samplers it drives, SGD. Nothing here knows the theory."""

from .denoiser import EmpiricalDenoiser, Posterior
from .linear import (
    LinearDenoiser,
    denoising_loss,
    disagreement,
    fit_linear,
    gaussian_divergences,
    sample_ddpm,
    sample_flow,
)
from .neuron import neuron_loss_change
from .online_sgd import (
    Activation,
    OverlapRuns,
    hermite_activation,
    reduced_chain,
    spherical_sgd,
    tanh_activation,
)
from .ownership import log_odds, noised_points
from .random_energies import EnergyLevels, energy_levels
from .samplers import SamplerState, sample, sample_states

__all__ = [
    "Activation",
    "EmpiricalDenoiser",
    "EnergyLevels",
    "LinearDenoiser",
    "OverlapRuns",
    "Posterior",
    "SamplerState",
    "denoising_loss",
    "disagreement",
    "energy_levels",
    "fit_linear",
    "gaussian_divergences",
    "hermite_activation",
    "log_odds",
    "noised_points",
    "neuron_loss_change",
    "reduced_chain",
    "sample",
    "sample_ddpm",
    "sample_flow",
    "sample_states",
    "spherical_sgd",
    "tanh_activation",
]
