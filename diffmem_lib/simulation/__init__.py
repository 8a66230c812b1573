"""Experiments in torch: the exact empirical denoiser, the samplers it drives, SGD. Nothing here knows the theory."""

from .activations import Activation, hermite_activation, tanh_activation
from .denoiser import EmpiricalDenoiser, Posterior
from .full_dynamics import spherical_sgd
from .linear import (
    LinearDenoiser,
    denoising_loss,
    disagreement,
    fit_linear,
    gaussian_divergences,
    sample_ddpm,
    sample_flow,
)
from .network_training import NetworkState, train_networks
from .networks import MLP, Ensemble, UNet
from .neuron import neuron_loss_change
from .overlap_chain import parallel_chains, reduced_chain
from .ownership import crossing_sigma, half_owned_sigma, log_odds, noised_points, owned_fraction
from .random_energies import EnergyLevels, energy_levels
from .samplers import SamplerState, sample, sample_states
from .sgd_runs import OverlapRuns
from .sweep import FailedTask, SweepError, SweepTable, run_sweep
from .tied import TiedState, tied_training
from .training import TrainingState, linear_training

__all__ = [
    "Activation",
    "EmpiricalDenoiser",
    "EnergyLevels",
    "Ensemble",
    "FailedTask",
    "LinearDenoiser",
    "MLP",
    "NetworkState",
    "OverlapRuns",
    "Posterior",
    "SamplerState",
    "SweepError",
    "SweepTable",
    "TiedState",
    "TrainingState",
    "UNet",
    "crossing_sigma",
    "denoising_loss",
    "disagreement",
    "energy_levels",
    "fit_linear",
    "gaussian_divergences",
    "half_owned_sigma",
    "hermite_activation",
    "linear_training",
    "log_odds",
    "neuron_loss_change",
    "noised_points",
    "owned_fraction",
    "parallel_chains",
    "reduced_chain",
    "run_sweep",
    "sample",
    "sample_ddpm",
    "sample_flow",
    "sample_states",
    "spherical_sgd",
    "tanh_activation",
    "tied_training",
    "train_networks",
]
