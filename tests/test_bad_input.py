"""Every public function refuses bad input with one ValueError that names the argument: a sweep over all of them."""

import importlib
import inspect
import math

import numpy as np
import pytest
import torch
from conftest import ROOT

from diffmem_lib import data, memorization, schedules, simulation
from diffmem_lib.theory import (
    coverage,
    divergences,
    flow,
    hermite,
    kde,
    learning_times,
    linear,
    neighbours,
    nonlinear_gain,
    posterior,
    random_matrix,
    regimes,
    sgd_dynamics,
    tied_neurons,
)

POINTS = torch.tensor([[0.0, 1.0], [1.0, 0.5], [-1.0, 2.0], [3.0, 1.0]], dtype=torch.float64)
QUERIES = POINTS[:2] + 0.1
SIGMAS = torch.tensor([3.0, 1.0, 0.1], dtype=torch.float64)
BETAS = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
SCHEDULE = schedules.NoiseSchedule(BETAS)
NO_SCHEDULE = [None, BETAS, 3, schedules.NoiseSchedule(BETAS * 1e-17)]
EYE = torch.eye(2, dtype=torch.float64)
COVARIANCE = np.array([[2.0, 0.5], [0.5, 1.0]])
LAW = data.Gaussian(torch.zeros(2, dtype=torch.float64), 1.0)
MIXED = data.MixedCumulant(8, cumulant_snr=3.0)
GRAMMAR = data.BlockGrammar(generator=torch.Generator().manual_seed(0))
STRINGS, _ = GRAMMAR.sample(1, 2, torch.Generator().manual_seed(1))
DENOISER = simulation.EmpiricalDenoiser(POINTS)
LEVELS = simulation.energy_levels(8, 5.0, 8.0, 2, levels=3)
TANH = simulation.tanh_activation(1.0)
NETWORKS = [simulation.MLP(2, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
ENSEMBLE = simulation.Ensemble(NETWORKS)


def one_number(generator: torch.Generator, k: int) -> float:
    return float(k)


# Ways to be wrong, by what is asked for.
NUMBER = [math.nan, math.inf, -math.inf, None, "x", np.ones(3), 1j]
POSITIVE = [*NUMBER, 0.0, -1.0]
COUNT = [math.nan, None, "x", 0, -1, 1.5]
LARGE = [math.nan, None, "x", 0.5, -1.0]
OPEN_UNIT = [*POSITIVE, 1.0, 2.0]
WORD = ["nonsense", 3, None]
SPECTRUM = [[], [1.0, math.nan], [1.0, math.inf], [1.0, -1.0], [[1.0, 2.0]], "x", None]
MATRIX = [
    np.ones((2, 3)),
    np.ones(2),
    np.full((2, 2), math.nan),
    np.full((2, 2), math.inf),
    np.empty((0, 0)),
    None,
    "x",
]
VECTOR = [[], [1.0, math.nan], [1.0, math.inf], [[1.0, 2.0]], "x", None]

INDICES = [
    torch.arange(0),
    torch.zeros(2),
    torch.tensor([0, 4]),
    torch.tensor([0, -1]),
    torch.zeros(1, 1).long(),
    [0],
    "x",
]


def _with(tensor: torch.Tensor, value: float) -> torch.Tensor:
    spoiled = tensor.clone()
    spoiled.view(-1)[0] = value
    return spoiled


def tensors(good: torch.Tensor, *, replicas: bool = False) -> list:
    """What a floating-point tensor of this shape must not be; another axis is one, unless it may hold replicas."""
    wrong = [_with(good, math.nan), _with(good, math.inf), good.long(), good[:0], None, "x"]
    return wrong if replicas else [*wrong, good[None], good.flatten()[:1].expand((1,) * (good.ndim + 2))]


TIME = [math.nan, -math.inf, None, "x", -1.0]  # infinity is one
SIGMA = [math.nan, math.inf, 0.0, -1.0, None, "x", torch.ones(3)]
EIGENVALUES = [1.0, 2.0]
CLOUD = torch.randn(9, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
SGD = {"activation": TANH, "alpha_bar": 0.5, "step": 0.1, "steps": 5, "replicas": 2, "batch": 1}
GENERATORS = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
BAD_SGD = {"alpha_bar": OPEN_UNIT, "step": POSITIVE, "steps": COUNT, "replicas": COUNT, "batch": COUNT}

#: Classes of what functions return, which nobody builds by hand.
RESULTS = ["Activation", "AuditReport", "CoverageRisk", "EnergyLevels", "ImageSet", "InformationDensity", "LabelAudit"]
RESULTS += ["LabelSurvey", "NeighbourGap", "NetworkState", "OverlapRuns", "Posterior", "SamplerState", "TrainingState"]
RESULTS += ["TrainingSurvey"]
RESULTS += ["FailedTask", "Rates", "SparsityBin", "StringSet", "SweepError", "SweepTable", "TiedState"]

#: function → a call that works, and for each argument what is refused in its place.
CASES = {
    schedules.NoiseSchedule: ({"betas": BETAS}, {"betas": [*tensors(BETAS), -BETAS, BETAS + 1]}),
    schedules.linear_schedule: (
        {"steps": 10, "beta_min": 1e-4, "beta_max": 0.02},
        {"steps": COUNT, "beta_min": POSITIVE, "beta_max": OPEN_UNIT},
    ),
    data.Gaussian: (
        {"mean": POINTS[0], "covariance": EYE},
        {
            "mean": tensors(POINTS[0]),
            "covariance": [*tensors(EYE), -EYE, math.nan, -1.0],
        },
    ),
    data.GaussianMixture: (
        {
            "weights": torch.tensor([0.5, 0.5], dtype=torch.float64),
            "means": POINTS[:2],
            "covariances": torch.ones(2, dtype=torch.float64),
        },
        {
            "weights": [torch.tensor([-0.5, 1.5], dtype=torch.float64), torch.tensor([math.nan, 1.0]), None, "x"],
            "means": tensors(POINTS[:2]),
            "covariances": [-torch.ones(2, dtype=torch.float64), torch.full((2,), math.nan), None, "x"],
        },
    ),
    data.MixedCumulant: (
        {"dim": 8, "covariance_snr": 1.0, "cumulant_snr": 1.0, "mean_snr": 1.0, "latent": "rademacher"},
        {
            "dim": COUNT,
            "covariance_snr": [*NUMBER, -1.0],
            "cumulant_snr": [*NUMBER, -1.0],
            "mean_snr": [*NUMBER, -1.0],
            "latent": WORD,
        },
    ),
    data.BlockGrammar: (
        {"blocks": 3, "alphabet": 3, "common": 4},
        {"blocks": COUNT, "alphabet": [*COUNT, 1], "common": [*COUNT, 8]},
    ),
    GRAMMAR.sample: ({"families": 2, "size": 3}, {"families": COUNT, "size": [*COUNT, 7]}),
    STRINGS.spelled_by: ({"points": STRINGS.one_hot}, {"points": tensors(STRINGS.one_hot)}),
    data.load_patches: (
        {"size": 4, "n": 3, "photographs": [0, 9]},
        {"size": COUNT, "n": COUNT, "photographs": [[], [0, 0], [10], [-1], [0.5], "x", 3]},
    ),
    data.power_law_spectrum: (
        {"dim": 4, "exponent": 1.0, "trace": 1.0},
        {"dim": COUNT, "exponent": NUMBER, "trace": [math.nan, math.inf, 0.0, -1.0, "x"]},
    ),
    LAW.sample: ({"n": 3}, {"n": COUNT}),
    LAW.log_prob: (
        {"x": QUERIES, "sigma": 0.0},
        {"x": tensors(QUERIES), "sigma": [math.nan, math.inf, -1.0, None, "x"]},
    ),
    LAW.score: ({"x": QUERIES, "sigma": 1.0}, {"x": tensors(QUERIES), "sigma": [math.nan, math.inf, -1.0, None, "x"]}),
    LAW.denoise: (
        {"x": QUERIES, "sigma": 1.0},
        {"x": tensors(QUERIES), "sigma": [math.nan, math.inf, -1.0, None, "x"]},
    ),
    MIXED.sample: ({"n": 3}, {"n": COUNT}),
    MIXED.latents: ({"n": 3}, {"n": COUNT}),
    simulation.EmpiricalDenoiser: ({"training": POINTS}, {"training": tensors(POINTS)}),
    simulation.LinearDenoiser: (
        {"mean": POINTS[0], "covariance": EYE, "ridge": 0.0},
        {
            "mean": tensors(POINTS[0], replicas=True),
            "covariance": [*tensors(EYE), -EYE, EYE.float(), EYE + torch.eye(len(EYE)).roll(1)],
            "ridge": [*NUMBER, -1.0],
        },
    ),
    simulation.fit_linear: (
        {"training": POINTS, "ridge": 0.0},
        {"training": tensors(POINTS, replicas=True), "ridge": [*NUMBER, -1.0]},
    ),
    simulation.LinearDenoiser(POINTS[0], EYE).__call__: (
        {"x": QUERIES, "sigma": 1.0},
        {"x": tensors(QUERIES), "sigma": POSITIVE},
    ),
    simulation.LinearDenoiser(POINTS[0], EYE).noise: (
        {"x": QUERIES, "alpha_bar": 0.5},
        {"x": tensors(QUERIES), "alpha_bar": NUMBER},
    ),
    simulation.energy_levels: (
        {"dim": 8, "log_n": 5.0, "square": 8.0, "draws": 2, "generator": None, "levels": 3},
        {
            "dim": COUNT,
            "log_n": [*NUMBER, -1.0, 801.0],
            "square": [*NUMBER, -1.0, 1e7, *tensors(torch.ones(2, dtype=torch.float64)), -torch.ones(2)],
            "draws": COUNT,
            "generator": [0, "cpu"],
            "levels": COUNT,
        },
    ),
    simulation.noised_points: (
        {"training": POINTS, "sigma": 1.0, "m": 3, "among": torch.arange(2)},
        {"training": tensors(POINTS), "sigma": POSITIVE, "m": COUNT, "among": INDICES},
    ),
    simulation.owned_fraction: (
        {"denoiser": DENOISER, "sigma": 1.0, "m": 3, "among": torch.arange(2)},
        {"sigma": POSITIVE, "m": COUNT, "among": INDICES},
    ),
    simulation.half_owned_sigma: (
        {"denoiser": DENOISER, "sigmas": [0.2, 1.0, 5.0], "m": 400},
        {"sigmas": [*VECTOR, [1.0, 2.0, -1.0]], "m": COUNT},
    ),
    simulation.crossing_sigma: (
        {"sigmas": [1.0, 2.0], "values": [1.0, -1.0], "at": 0.0},
        {"sigmas": [*VECTOR, [2.0, 1.0]], "values": VECTOR, "at": NUMBER},
    ),
    simulation.log_odds: (
        {"denoiser": DENOISER, "index": torch.arange(2), "y": QUERIES, "sigma": 1.0},
        {
            "index": [torch.arange(3), torch.zeros(2), torch.tensor([0, 4]), torch.tensor([0, -1])],
            "y": tensors(QUERIES),
            "sigma": POSITIVE,
        },
    ),
    **{
        method: ({"bandwidth": 1.0}, {"bandwidth": [math.nan, math.inf, 0.0, -1.0, None, "x"]})
        for method in (LEVELS.rest, LEVELS.expected)
    },
    simulation.hermite_activation: ({"coefficients": [0.0, 1.0]}, {"coefficients": VECTOR}),
    simulation.tanh_activation: ({"scale": 1.0}, {"scale": NUMBER}),
    simulation.run_sweep: (
        {"task": one_number, "grid": {"k": [1, 2]}, "backend": "serial"},
        {
            "task": [None, "x", 3, lambda k: 1.0],
            "grid": [None, "x", {}, [1], {"k": []}, {"k": [math.nan]}, {"k": [1, 1]}, {"k": 3}, {1: [1]}],
            "root_seed": [math.nan, None, "x", -1, 1.5],
            "store": [3, b"x", "no/such/folder/store", "."],
            "version": [3, b"x"],
            "backend": WORD,
            "workers": [value for value in COUNT if value is not None],
            "batch": [value for value in COUNT if value is not None],
            "client": ["x", 3],
            "progress": ["x", 3],
            "errors": WORD,
        },
    ),
    simulation.sample: (
        {"denoiser": DENOISER.denoise, "n": 2, "dim": 2, "sigmas": SIGMAS, "method": "ode", "start": QUERIES},
        {
            "n": COUNT,
            "dim": COUNT,
            "sigmas": [*tensors(SIGMAS), -SIGMAS, SIGMAS.flip(0)],
            "method": WORD,
            "start": [v for v in tensors(QUERIES) if v is not None],
        },
    ),
    simulation.sample_ddpm: (
        {"denoiser": simulation.fit_linear(POINTS), "n": 2, "schedule": SCHEDULE, "step_variance": "beta"},
        {"n": COUNT, "schedule": NO_SCHEDULE, "step_variance": WORD},
    ),
    simulation.sample_flow: (
        {"denoiser": simulation.fit_linear(POINTS), "n": 2, "schedule": SCHEDULE},
        {"n": COUNT, "schedule": NO_SCHEDULE},
    ),
    simulation.gaussian_divergences: (
        {"denoiser": simulation.fit_linear(POINTS), "mean": POINTS[0], "covariance": EYE},
        {"mean": tensors(POINTS[0])[:4], "covariance": [*tensors(EYE)[:4], -EYE]},
    ),
    simulation.linear_training: (
        {"training": POINTS[None], "alpha_bar": 0.5, "step": 0.1, "batch": 2, "target": "noise", "generator": None},
        {
            "training": [*tensors(POINTS[None]), POINTS],
            "alpha_bar": OPEN_UNIT,
            "step": POSITIVE,
            "batch": COUNT[:1] + COUNT[2:],
            "target": WORD,
            "generator": [3, "x"],
        },
    ),
    simulation.MLP: (
        {"dim": 3, "width": 4, "depth": 1, "sigma_data": 0.5, "generator": None, "dtype": torch.float32},
        {
            "dim": COUNT,
            "width": COUNT,
            "depth": COUNT,
            "sigma_data": POSITIVE,
            "generator": [3, "x"],
            "dtype": [torch.int64, torch.bfloat16, "float32", None],
        },
    ),
    simulation.UNet: (
        {"shape": (4, 6), "channels": 4, "levels": 2, "sigma_data": 0.5, "generator": None, "dtype": torch.float32},
        {
            "shape": [None, 4, "x", (4,), (4, 5), (0, 4), (4.0, 4), (4, 4, 4)],
            "channels": [*COUNT, 2, 6],
            "levels": [*COUNT, 3],
            "sigma_data": POSITIVE,
            "generator": [3, "x"],
            "dtype": [torch.int64, torch.bfloat16, "float32", None],
        },
    ),
    data.whiten: ({"points": CLOUD}, {"points": [*tensors(CLOUD), torch.ones(9, 2)]}),
    data.gaussian_clones: (
        {"points": CLOUD, "generator": None},
        {"points": [*tensors(CLOUD), torch.ones(2, 2)], "generator": [3, "x"]},
    ),
    simulation.Ensemble: (
        {"networks": NETWORKS},
        {"networks": [[], None, 3, "x", [torch.nn.Linear(2, 2)], [NETWORKS[0], simulation.MLP(2, 5)]]},
    ),
    ENSEMBLE.with_weights: (
        {"weights": ENSEMBLE.weights},
        {
            "weights": [
                None,
                {},
                [1.0],
                *(dict.fromkeys(ENSEMBLE.weights, value) for value in tensors(EYE)),
            ]
        },
    ),
    ENSEMBLE.sample: (
        {"m": 2, "sigmas": SIGMAS, "method": "ode", "generator": None, "start": QUERIES.expand(2, 2, 2)},
        {
            "m": COUNT,
            "sigmas": [*tensors(SIGMAS), -SIGMAS, SIGMAS.flip(0)],
            "method": WORD,
            "generator": [3, "x"],
            "start": [v for v in tensors(QUERIES.expand(2, 2, 2)) if v is not None] + [QUERIES],
        },
    ),
    simulation.train_networks: (
        {
            "ensemble": ENSEMBLE,
            "training": POINTS.expand(2, 4, 2),
            "batch": 2,
            "rate": 0.1,
            "noise": (0.0, 1.0),
            "average": 0.5,
            "held_out": {"same": POINTS},
            "sigmas": [1.0, 2.0],
            "every": 3,
            "at": None,
            "generator": None,
            "resume": None,
        },
        {
            "ensemble": [None, 3, NETWORKS],
            "training": [
                *tensors(POINTS.expand(2, 4, 2)),
                POINTS,
                POINTS[None],
                [POINTS, POINTS.float()],
                [POINTS] * 3,
            ],
            "batch": COUNT,
            "rate": POSITIVE,
            "noise": [None, 1.0, "x", (1.0,), (math.nan, 1.0), (0.0, -1.0), (100.0, 1.0), (0.0, 1.0, 2.0)],
            "average": [*NUMBER, -0.1, 1.0],
            "held_out": [3, "x", POINTS, *({"law": value} for value in tensors(POINTS)), {"law": POINTS.float()}],
            "sigmas": [[], [0.0], [-1.0], [math.nan], [[1.0]], "x", None],
            "every": [value for value in COUNT if value is not None],
            "at": [[], 3, "x", "12", [0, 1.5], [-1, 2], [2, 2], [3, 2], [None], [True, 2], [[1], [2]]],
            "generator": [3, "x"],
            "resume": ["no/such/file", ".", 3],
        },
    ),
    simulation.denoising_loss: (
        {"denoiser": simulation.fit_linear(POINTS), "alpha_bar": 0.5, "mean": POINTS[0], "covariance": EYE},
        {
            "denoiser": [None, 3, "x"],
            "alpha_bar": OPEN_UNIT,
            "mean": tensors(POINTS[0]),
            "covariance": [*tensors(EYE), EYE + torch.eye(len(EYE)).roll(1)],
        },
    ),
    simulation.disagreement: (
        {
            "first": simulation.fit_linear(POINTS),
            "second": simulation.fit_linear(QUERIES),
            "alpha_bar": 0.5,
            "mean": POINTS[0],
            "covariance": EYE,
        },
        {
            "first": [None, 3, "x"],
            "second": [None, 3, "x", simulation.fit_linear(POINTS[None]), simulation.fit_linear(POINTS.float())],
            "alpha_bar": OPEN_UNIT,
            "mean": tensors(POINTS[0]),
            "covariance": [*tensors(EYE), EYE + torch.eye(len(EYE)).roll(1)],
        },
    ),
    simulation.neuron_loss_change: (
        {"activation": torch.tanh, "alpha_bar": 0.5, "overlaps": [0.1], "n": 4, "replicas": 2, "dim": 3},
        {"alpha_bar": OPEN_UNIT, "n": COUNT, "replicas": COUNT, "dim": [*COUNT, 1], "latent": WORD},
    ),
    simulation.spherical_sgd: ({"law": MIXED, **SGD}, BAD_SGD),
    simulation.tied_training: (
        {
            "law": MIXED,
            "activation": torch.tanh,
            "alpha_bar": 0.5,
            "neurons": 2,
            "step": 0.01,
            "replicas": 2,
            "batch": 3,
            "method": "sgd",
            "start": 0.1,
            "gain": 1.0,
            "skip": 1.0,
            "every": 1,
            "generator": None,
        },
        {
            "alpha_bar": OPEN_UNIT,
            "neurons": COUNT,
            "step": POSITIVE,
            "replicas": COUNT,
            "batch": COUNT,
            "method": WORD,
            "start": [*POSITIVE, torch.ones(2, 2, 2)],
            "gain": [value for value in POSITIVE if value is not None],
            "skip": NUMBER,
            "every": COUNT,
            "generator": [3, "x"],
        },
    ),
    simulation.reduced_chain: ({"law": MIXED, **SGD}, BAD_SGD),
    simulation.parallel_chains: (
        {"law": MIXED, **SGD, "generators": GENERATORS},
        BAD_SGD | {"replicas": [*COUNT, 3], "generators": [[], None, 2, GENERATORS[0], GENERATORS[:1] * 2, [None] * 2]},
    ),
    memorization.audit: (
        {
            "samples": QUERIES,
            "training": POINTS,
            "held_out": QUERIES,
            "labels": [0, 0, 1, 1],
            "k": 2,
            "threshold": 0.3,
            "distance": "squared",
            "fdr": 0.1,
            "survey": True,
            "sample_labels": [0, 1],
            "held_out_labels": [0, 1],
        },
        {
            "samples": tensors(QUERIES),
            "training": tensors(POINTS),
            "held_out": [v for v in tensors(QUERIES) if v is not None],
            "labels": [[0], [0, 0, 1, 1, 1]],
            "k": [*COUNT, 4],
            "threshold": OPEN_UNIT,
            "distance": WORD,
            "fdr": OPEN_UNIT,
            "sample_labels": [[0], [0, 1, 1], None, ["0", "1"]],
            "held_out_labels": [[0], [0, 1, 1], None, ["0", "1"]],
        },
    ),
    memorization.conformal_p_values: (
        {"ratio": POINTS[0], "held_out": POINTS[:, 0]},
        {"ratio": tensors(POINTS[0]), "held_out": tensors(POINTS[:, 0])},
    ),
    memorization.benjamini_hochberg: (
        {"p_value": SIGMAS / 3, "fdr": 0.1},
        {"p_value": [*tensors(SIGMAS / 3), SIGMAS, -SIGMAS], "fdr": OPEN_UNIT},
    ),
    memorization.difference_interval: (
        {"count": 1, "total": 3, "base_count": 1, "base_total": 4, "confidence": 0.9},
        {
            "count": [-1, 4, 1.5, None, "x"],
            "total": COUNT,
            "base_count": [-1, 5, 1.5, None, "x"],
            "base_total": COUNT,
            "confidence": OPEN_UNIT,
        },
    ),
    memorization.fewest_discoveries: (
        {"m": 3, "held_out": 4, "fdr": 0.1},
        {"m": COUNT, "held_out": [-1, 1.5, None, "x"], "fdr": OPEN_UNIT},
    ),
    memorization.survey: (
        {"training": POINTS, "labels": [0, 0, 1, 1], "k": 2},
        {"training": tensors(POINTS), "labels": [[0], [0, 0, 1, 1, 1]], "k": [*COUNT, 4]},
    ),
    memorization.binomial_interval: (
        {"count": 1, "total": 3, "confidence": 0.9},
        {"count": [-1, 4, 1.5, None, "x"], "total": [c for c in COUNT if c != 0], "confidence": OPEN_UNIT},
    ),
    memorization.coverage_risk: ({"training": POINTS, "k": 2}, {"training": tensors(POINTS), "k": [*COUNT, 4]}),
    memorization.risk_from_neighbours: (
        {"squared": POINTS.square() + 1},
        {"squared": [*tensors(POINTS.square()), -POINTS.square(), POINTS[:1].square()]},
    ),
    memorization.local_sparsity: ({"training": POINTS, "k": 2}, {"training": tensors(POINTS), "k": [*COUNT, 4]}),
    memorization.neighbour_gap: (
        {"samples": QUERIES, "training": POINTS},
        {"samples": tensors(QUERIES), "training": tensors(POINTS)},
    ),
    coverage.class_critical_sigmas: (
        {"weights": [0.5, 0.5], "scales": [1.0, 2.0], "n": 1e6, "dim": 10},
        {"weights": [*VECTOR, [0.5, -0.5]], "scales": [*VECTOR, [1.0, -1.0]], "n": LARGE, "dim": COUNT},
    ),
    coverage.critical_sigma: ({"eigenvalues": EIGENVALUES, "n": 10.0}, {"eigenvalues": SPECTRUM, "n": LARGE}),
    coverage.information_density: (
        {"eigenvalues": EIGENVALUES, "sigma": 1.0},
        {"eigenvalues": SPECTRUM, "sigma": POSITIVE},
    ),
    coverage.log_coverage: (
        {"log_density": -1.0, "n": 10.0, "sigma": 1.0, "dim": 2},
        {
            "log_density": [math.nan, math.inf, None, "x"],
            "n": LARGE,
            "sigma": [math.nan, math.inf, 0.0, -1.0, None, "x"],
            "dim": COUNT,
        },
    ),
    coverage.log_sample_coverage: (
        {"log_density": -1.0, "noise_square": 2.0, "n": 10.0, "sigma": 1.0, "dim": 2},
        {
            "log_density": [math.nan, math.inf, None, "x"],
            "noise_square": [math.nan, math.inf, -1.0, None, "x"],
            "n": LARGE,
            "sigma": [math.nan, math.inf, 0.0, -1.0, None, "x"],
            "dim": COUNT,
        },
    ),
    coverage.log_equivalent_weight: (
        {"weight": 0.5, "width_ratio": 1.2, "n": 1e6, "dim": 10},
        {"weight": [*POSITIVE, 2.0], "width_ratio": POSITIVE, "n": LARGE, "dim": COUNT},
    ),
    coverage.memorized_probability: (
        {"n": 100.0, "dim": 8, "sigma": 1.0, "scale": 1.0},
        {"n": LARGE, "dim": COUNT, "sigma": [math.nan, math.inf, 0.0, -1.0, None, "x"], "scale": POSITIVE},
    ),
    coverage.point_critical_sigma: (
        {"coordinates": [1.0, 0.5], "eigenvalues": EIGENVALUES, "n": 10.0},
        {"coordinates": VECTOR, "eigenvalues": SPECTRUM, "n": LARGE},
    ),
    coverage.condensation_strength: (
        {"z": 0.5, "share": 0.7},
        {"z": [*NUMBER, -31.0, 31.0], "share": [*POSITIVE, 1.5]},
    ),
    coverage.remaining_share: (
        {"eigenvalues": EIGENVALUES, "sigma": 1.0},
        {"eigenvalues": [*SPECTRUM, [0.0, 0.0]], "sigma": POSITIVE},
    ),
    coverage.shell_critical_alpha: ({"radius": 1.0, "sigma": 1.0}, {"radius": [*NUMBER, -1.0], "sigma": POSITIVE}),
    coverage.sparsity_sigma: (
        {"sparsity": 1.0, "k": 5, "dimension": 3.0},
        {"sparsity": [math.nan, math.inf, -1.0, None, "x"], "k": COUNT, "dimension": POSITIVE},
    ),
    coverage.spectrum_memorized_probability: (
        {"eigenvalues": EIGENVALUES, "n": 10.0, "sigma": 1.0},
        {"eigenvalues": SPECTRUM, "n": LARGE, "sigma": POSITIVE},
    ),
    divergences.expected_kl: (
        {"dim": 2, "n": 10, "direction": "reverse", "mean": "learned"},
        {"dim": COUNT, "n": COUNT, "direction": WORD, "mean": WORD},
    ),
    divergences.gaussian_kl: (
        {"mean_p": [0.0, 0.0], "cov_p": COVARIANCE, "mean_q": [0.0, 1.0], "cov_q": COVARIANCE},
        {"mean_p": VECTOR, "cov_p": MATRIX, "mean_q": VECTOR, "cov_q": MATRIX},
    ),
    divergences.leading_kl: (
        {"fourth_moment": 10.0, "dim": 2, "n": 10, "mean": "learned"},
        {"fourth_moment": NUMBER, "dim": COUNT, "n": COUNT, "mean": WORD},
    ),
    divergences.limit_kl: ({"ratio": 0.5, "direction": "reverse"}, {"ratio": [*NUMBER, -1.0], "direction": WORD}),
    divergences.ridge_limit_kl: (
        {"ratio": 0.5, "ridge": 0.1, "direction": "reverse"},
        {"ratio": POSITIVE, "ridge": POSITIVE, "direction": WORD},
    ),
    hermite.hermite_coefficients: (
        {"function": np.tanh, "order": 4},
        {"function": [None, 3, "x"], "order": [-1, 1.5, None]},
    ),
    hermite.hermite_moments: (
        {"cumulants": {4: -2.0}, "order": 4},
        {"cumulants": [{4: math.nan}, {4: math.inf}, {0: 1.0}, {"x": 1.0}, None, "x"], "order": [-1, 1.5, None]},
    ),
    hermite.information_exponent: (
        {"activation": np.tanh, "alpha_bar": 0.5, "cumulants": {4: -2.0}},
        {"activation": [None, 3], "alpha_bar": OPEN_UNIT, "cumulants": [{4: math.nan}, None, "x"]},
    ),
    hermite.loss_coefficients: (
        {"activation": np.tanh, "alpha_bar": 0.5, "order": 4},
        {"activation": [None, 3], "alpha_bar": OPEN_UNIT, "order": [-1, 1.5, None]},
    ),
    hermite.loss_series: (
        {"activation": np.tanh, "alpha_bar": 0.5, "cumulants": {4: -2.0}, "order": 4},
        {"activation": [None, 3], "alpha_bar": OPEN_UNIT, "cumulants": [{4: math.nan}, None], "order": [-1, 1.5, None]},
    ),
    hermite.mixture_loss: (
        {"activation": np.tanh, "alpha_bar": 0.5, "weights": [1.0], "means": [0.0], "variances": [1.0]},
        {"activation": [None, 3], "alpha_bar": OPEN_UNIT, "weights": [[0.5], [math.nan], None]},
    ),
    hermite.step_latent_loss: (
        {
            "activation": np.tanh,
            "alpha_bar": 0.5,
            "overlaps": [0.6, 0.8],
            "snrs": [4.0, 10.0],
            "values": [-1.0, 1.0],
            "edges": [0.0],
        },
        {
            "activation": [None, 3],
            "alpha_bar": OPEN_UNIT,
            "overlaps": [*VECTOR, [0.1], [0.8, 0.8]],
            "snrs": [*VECTOR, [1.0], [-1.0, 1.0], [1.0, -1.0], [19.0, 1.0]],
            "values": [*VECTOR, [1.0]],
            "edges": [*VECTOR, [0.0, 1.0], [1.0, 0.0]],
        },
    ),
    flow.best_stopping_time: (
        {"eigenvalues": EIGENVALUES, "n": 2.0, "alpha_bar": 0.5},
        {"eigenvalues": [*SPECTRUM, [0.0, 0.0]], "n": LARGE, "alpha_bar": OPEN_UNIT},
    ),
    flow.equivalent_ridge: (
        {"learned": EIGENVALUES, "alpha_bar": 0.5, "time": 1.0, "dim": 2},
        {"learned": SPECTRUM, "alpha_bar": OPEN_UNIT, "time": POSITIVE, "dim": COUNT},
    ),
    flow.expected_losses: (
        {"eigenvalues": EIGENVALUES, "n": 2.0, "alpha_bar": 0.5, "time": 1.0},
        {"eigenvalues": [*SPECTRUM, [0.0, 0.0]], "n": LARGE, "alpha_bar": OPEN_UNIT, "time": [*NUMBER, -1.0]},
    ),
    flow.fit_time: (
        {"n": 2.0, "dim": 3, "alpha_bar": 0.5, "variance": 1.0},
        {"n": LARGE, "dim": COUNT, "alpha_bar": OPEN_UNIT, "variance": POSITIVE},
    ),
    flow.joint_weight: (
        {"learned": 1.0, "mean": 0.5, "alpha_bar": 0.5, "time": 1.0, "dim": 2},
        {
            "learned": [*NUMBER, -1.0],
            "mean": NUMBER,
            "alpha_bar": OPEN_UNIT,
            "time": [*NUMBER, -1.0],
            "dim": COUNT,
        },
    ),
    flow.mode_loss: (
        {"variance": [1.0, 1.0], "learned": EIGENVALUES, "alpha_bar": 0.5, "time": 1.0, "dim": 2},
        {
            "variance": [*SPECTRUM, [1.0]],
            "learned": SPECTRUM,
            "alpha_bar": OPEN_UNIT,
            "time": [*NUMBER, -1.0],
            "dim": COUNT,
        },
    ),
    flow.weight: (
        {"learned": EIGENVALUES, "alpha_bar": 0.5, "time": 1.0, "dim": 2},
        {"learned": SPECTRUM, "alpha_bar": OPEN_UNIT, "time": [*NUMBER, -1.0], "dim": COUNT},
    ),
    kde.clt_bandwidth: ({"alpha": 1.0}, {"alpha": POSITIVE}),
    kde.condensation_bandwidth: ({"alpha": 1.0}, {"alpha": POSITIVE}),
    kde.optimal_bandwidth: ({"alpha": 1.0}, {"alpha": POSITIVE}),
    kde.stable_index: ({"alpha": 1.0, "bandwidth": 1.0}, {"alpha": POSITIVE, "bandwidth": POSITIVE}),
    kde.expected_log_density: ({"alpha": 1.0, "bandwidth": 1.0}, {"alpha": POSITIVE, "bandwidth": POSITIVE}),
    kde.inverse_participation: ({"alpha": 1.0, "bandwidth": 1.0}, {"alpha": POSITIVE, "bandwidth": POSITIVE}),
    kde.entropy: (
        {"alpha": 1.0, "bandwidth": 1.0, "power": 1.0, "radius": 1.0},
        {"alpha": POSITIVE, "bandwidth": POSITIVE, "power": [*NUMBER, -1.0], "radius": [*NUMBER, -1.0]},
    ),
    kde.log_moment: (
        {"power": 1.0, "bandwidth": 1.0, "radius": 1.0},
        {"power": NUMBER, "bandwidth": POSITIVE, "radius": [*NUMBER, -1.0]},
    ),
    kde.rate: ({"tilt": 1.0, "radius": 1.0}, {"tilt": NUMBER, "radius": [*NUMBER, -1.0]}),
    learning_times.class_weight: (
        {"share": 0.5, "scale": 1.0, "sigma": 1.0, "time": 1.0},
        {
            "share": [*POSITIVE, 1.1],
            "scale": POSITIVE,
            "sigma": POSITIVE,
            "time": TIME,
        },
    ),
    learning_times.balanced_share: ({"scale": 1.0, "other": 2.0}, {"scale": POSITIVE, "other": POSITIVE}),
    learning_times.alone_time: (
        {"fraction": 0.5, "n": 10, "within": 1.0, "between": 0.5},
        {"fraction": [*NUMBER, -0.1, 1.0], "n": [*COUNT, 1], "within": POSITIVE, "between": [*NUMBER, -0.1, 1.0]},
    ),
    learning_times.common_time: (
        {"fraction": 0.5, "n": 10, "within": 1.0, "between": 0.5},
        {"fraction": [*NUMBER, -0.1, 1.0], "n": [*COUNT, 1], "within": POSITIVE, "between": [*NUMBER, -0.1, 1.0]},
    ),
    learning_times.feature_kernel: (
        {"distance": 1.0, "sigma": 0.5, "length": 2.0, "dim": 3},
        {"distance": [*NUMBER, -1.0], "sigma": POSITIVE, "length": POSITIVE, "dim": COUNT},
    ),
    linear.continuous_variances: (
        {"eigenvalues": EIGENVALUES, "alpha_bar": 0.5, "method": "ancestral"},
        {"eigenvalues": SPECTRUM, "alpha_bar": [*NUMBER, -1.0, 2.0], "method": WORD},
    ),
    linear.mean_factors: (
        {"eigenvalues": EIGENVALUES, "alpha_bar": 0.5, "method": "ancestral"},
        {"eigenvalues": SPECTRUM, "alpha_bar": [*NUMBER, -1.0, 2.0], "method": WORD},
    ),
    linear.optimal_stopping_time: (
        {"variance": 1.0, "alpha_bar": 0.5, "dim": 2, "learned": 0.1},
        {
            "variance": [*NUMBER, -1.0],
            "alpha_bar": [*NUMBER, -1.0, 2.0],
            "dim": COUNT,
            "learned": [*NUMBER, -1.0],
        },
    ),
    linear.oracle_loss: (
        {"covariance": COVARIANCE, "alpha_bar": 0.5},
        {"covariance": MATRIX, "alpha_bar": [*NUMBER, -1.0, 2.0]},
    ),
    linear.sampled_variances: (
        {"eigenvalues": EIGENVALUES, "betas": [0.1, 0.2], "ridge": 0.0, "step_variance": "beta"},
        {
            "eigenvalues": SPECTRUM,
            "betas": [*VECTOR, [1.5], [-0.5]],
            "ridge": [*NUMBER, -1.0],
            "step_variance": WORD,
        },
    ),
    linear.test_loss: (
        {
            "covariance": COVARIANCE,
            "sample_covariance": COVARIANCE,
            "alpha_bar": 0.5,
            "ridge": 0.0,
            "mean_error": [0.0, 0.1],
        },
        {
            "covariance": MATRIX,
            "sample_covariance": MATRIX,
            "alpha_bar": [*NUMBER, -1.0, 2.0],
            "ridge": [*NUMBER, -1.0],
            "mean_error": [v for v in VECTOR if v is not None],
        },
    ),
    linear.train_loss: (
        {"sample_covariance": COVARIANCE, "alpha_bar": 0.5, "ridge": 0.0},
        {"sample_covariance": MATRIX, "alpha_bar": [*NUMBER, -1.0, 2.0], "ridge": [*NUMBER, -1.0]},
    ),
    posterior.participation_ratio: (
        {"n": 10, "total_variance": 1.0, "sigma": 1.0},
        {"n": COUNT, "total_variance": [*NUMBER, -1.0], "sigma": POSITIVE},
    ),
    random_matrix.effective_noise: (
        {"eigenvalues": EIGENVALUES, "n": 10, "noise": 0.5},
        {"eigenvalues": SPECTRUM, "n": LARGE, "noise": [*NUMBER, -1.0]},
    ),
    random_matrix.expected_disagreement: (
        {"eigenvalues": EIGENVALUES, "n": 10, "alpha_bar": 0.5, "ridge": 0.1},
        {"eigenvalues": SPECTRUM, "n": LARGE, "alpha_bar": OPEN_UNIT, "ridge": [*NUMBER, -1.0]},
    ),
    random_matrix.expected_losses: (
        {"eigenvalues": EIGENVALUES, "n": 10, "alpha_bar": 0.5, "ridge": 0.1, "mean": "learned"},
        {
            "eigenvalues": SPECTRUM,
            "n": [*LARGE, 1],
            "alpha_bar": OPEN_UNIT,
            "ridge": [*NUMBER, -1.0],
            "mean": WORD,
        },
    ),
    random_matrix.finite_size_shift: (
        {"eigenvalues": EIGENVALUES, "n": 10, "noise": 0.5},
        {"eigenvalues": SPECTRUM, "n": LARGE, "noise": POSITIVE},
    ),
    random_matrix.optimal_ridge: (
        {"eigenvalues": EIGENVALUES, "n": 10, "alpha_bar": 0.5},
        {"eigenvalues": [*SPECTRUM, [0.0, 0.0]], "n": LARGE, "alpha_bar": OPEN_UNIT},
    ),
    regimes.cloning_probability: (
        {"time": 1.0, "mean_square": 1.0, "scale": 1.0},
        {"time": [*NUMBER, -1.0], "mean_square": [*NUMBER, -1.0], "scale": [*NUMBER, -1.0]},
    ),
    regimes.cloud_speciation_time: (
        {"mean_square": 10.0, "scale": 1.0},
        {"mean_square": POSITIVE, "scale": [*NUMBER, -1.0]},
    ),
    regimes.collapse_sigma: (
        {"n": 10.0, "dim": 5, "scale": 1.0},
        {"n": LARGE, "dim": COUNT, "scale": POSITIVE},
    ),
    regimes.collapse_time: (
        {"n": 10.0, "dim": 5, "scale": 1.0},
        {"n": LARGE, "dim": COUNT, "scale": POSITIVE},
    ),
    regimes.log_collapse_sigma: (
        {"log_n": 3.0, "dim": 5, "scale": 1.0},
        {"log_n": [*NUMBER, -1.0], "dim": POSITIVE, "scale": POSITIVE},
    ),
    regimes.speciation_time: ({"top_eigenvalue": 10.0}, {"top_eigenvalue": POSITIVE}),
    sgd_dynamics.critical_step: (
        {"order": 4, "rate": 1.0, "variance": 1.0, "dim": 10},
        {"order": COUNT, "rate": POSITIVE, "variance": POSITIVE, "dim": COUNT},
    ),
    neighbours.ratio_cdf: (
        {"ratio": 0.5, "dimension": 3.0},
        {"ratio": [math.nan, math.inf, None, "x", 1j, -0.1, 1.1], "dimension": [*NUMBER[:5], 1j, 0.0, -1.0]},
    ),
    neighbours.critical_ratio: (
        {"level": 0.01, "dimension": 3.0},
        {"level": [math.nan, math.inf, None, "x", 1j, 0.0, 1.1], "dimension": [*NUMBER[:5], 1j, 0.0, -1.0]},
    ),
    neighbours.curved_ratio_cdf: (
        {"ratio": 0.5, "dimension": 3.0, "curvature": 0.1},
        {
            "ratio": [math.nan, math.inf, None, "x", 1j, -0.1, 1.1],
            "dimension": [*NUMBER[:5], 1j, 0.0, -1.0],
            "curvature": [math.nan, math.inf, None, "x", 1j, -16.0, 11.0],
        },
    ),
    neighbours.effective_dimension: (
        {"eigenvalues": EIGENVALUES, "n": 10},
        {"eigenvalues": [*SPECTRUM, [0.0, 0.0]], "n": [*LARGE, 1]},
    ),
    neighbours.corrected_dimension: (
        {"eigenvalues": EIGENVALUES, "n": 10},
        {"eigenvalues": [*SPECTRUM, [0.0, 0.0]], "n": [*LARGE, 1]},
    ),
    neighbours.spectrum_dimension: (
        {"eigenvalues": [1.0, 0.5], "n": 200, "squares": [1.0, 0.0]},
        {
            "eigenvalues": [*SPECTRUM, [0.0, 0.0], [1.0]],
            "n": [*LARGE, 99],
            "squares": [[], [1.0, math.nan], [1.0, -1.0], [1.0], 1.0, "x"],
        },
    ),
    nonlinear_gain.cluster_divergence: (
        {"centre": [1.0, 0.5], "eigenvalues": EIGENVALUES, "sigma": 1.0},
        {"centre": [*VECTOR, [1.0]], "eigenvalues": SPECTRUM, "sigma": POSITIVE},
    ),
    nonlinear_gain.cluster_gain: (
        {"centre": [1.0, 0.5], "eigenvalues": EIGENVALUES, "sigma": 1.0},
        {"centre": [*VECTOR, [1.0]], "eigenvalues": SPECTRUM, "sigma": POSITIVE},
    ),
    nonlinear_gain.doubtful_directions: (
        {"eigenvalues": EIGENVALUES, "sigma": 1.0},
        {"eigenvalues": [*SPECTRUM, [0.0, 0.0]], "sigma": POSITIVE},
    ),
    neighbours.log_ratio_cdf: (
        {"ratio": 0.5, "eigenvalues": EIGENVALUES, "n": 10},
        {
            "ratio": [math.nan, math.inf, None, "x", 1j, 0.0, 1.1],
            "eigenvalues": [*SPECTRUM, [0.0, 0.0]],
            "n": [*LARGE, 1],
        },
    ),
    neighbours.copy_power: (
        {"noise": 0.1, "ratio": 0.5, "eigenvalues": EIGENVALUES, "n": 200},
        {"noise": POSITIVE, "ratio": OPEN_UNIT, "eigenvalues": [*SPECTRUM, [0.0, 0.0]], "n": [*LARGE, 99]},
    ),
    neighbours.exact_dimension: (
        {"n": 10, "dim": 3, "square": 2.0},
        {"n": [*LARGE, 1], "dim": COUNT, "square": [*NUMBER[:3], "x", 1j, -1.0]},
    ),
    sgd_dynamics.cross_covariance: (
        {"covariance_snr": 1.0, "cumulant_snr": 1.0, "correlation": 0.5},
        {"covariance_snr": [*NUMBER, -1.0], "cumulant_snr": [*NUMBER, -1.0], "correlation": [*NUMBER, 2.0, -2.0]},
    ),
    sgd_dynamics.drift_rate: (
        {"order": 4, "coefficient": 1.0, "moment": 1.0, "alpha_bar": 0.5},
        {"order": COUNT, "coefficient": NUMBER, "moment": NUMBER, "alpha_bar": OPEN_UNIT},
    ),
    sgd_dynamics.escape_time: (
        {"order": 4, "start": 0.1, "end": 0.5},
        {"order": COUNT, "start": POSITIVE, "end": POSITIVE},
    ),
    sgd_dynamics.settling_overlap: (
        {"fraction": 0.3, "growth": 2.0},
        {"fraction": OPEN_UNIT, "growth": [*NUMBER, -1.0]},
    ),
    sgd_dynamics.heated_escape_time: (
        {"fraction": 0.3, "start": 0.1, "end": 0.3, "growth": 2.0},
        {"fraction": OPEN_UNIT, "start": POSITIVE, "end": [*NUMBER, 0.05, 1.0], "growth": [*NUMBER, -1.0]},
    ),
    sgd_dynamics.free_energy: (
        {"order": 4, "rate": 1.0, "variance": 1.0, "step": 0.1, "dim": 10, "overlap": 0.5},
        {
            "order": COUNT,
            "rate": NUMBER,
            "variance": POSITIVE,
            "step": POSITIVE,
            "dim": COUNT,
            "overlap": [math.nan, 1.5, None],
        },
    ),
    sgd_dynamics.activation_moments: (
        {"value": np.tanh, "slope": np.cosh},
        {"value": [None, 1.0], "slope": [None, 1.0]},
    ),
    sgd_dynamics.neuron_constants: (
        {"value": np.tanh, "slope": np.cosh, "alpha_bar": 0.5, "order": 2, "moment": 1.0},
        {"slope": [None, 1.0], "alpha_bar": OPEN_UNIT, "order": COUNT, "moment": [*NUMBER, -1.1]},
    ),
    sgd_dynamics.gradient_variance: (
        {"alpha_bar": 0.5, "square": 1.0, "slope_square": 1.0, "product_square": 1.0},
        {
            "alpha_bar": OPEN_UNIT,
            "square": [*NUMBER, -1.0],
            "slope_square": [*NUMBER, -1.0],
            "product_square": [*NUMBER, -1.0],
        },
    ),
    sgd_dynamics.mean_recovery_steps: (
        {"order": 4, "rate": 1.0, "variance": 1.0, "step": 0.1, "dim": 10, "start": 0.1, "threshold": 0.5},
        {
            "order": COUNT,
            "rate": NUMBER,
            "variance": POSITIVE,
            "step": POSITIVE,
            "dim": COUNT,
            "start": [*NUMBER, 2.0],
            "threshold": [*NUMBER, 2.0],
        },
    ),
    sgd_dynamics.planted_variance: (
        {"alpha_bar": 0.5, "excess": 1.0, "square": 1.0, "slope_square": 1.0, "product_square": 1.0, "mixed": 1.0},
        {
            "alpha_bar": OPEN_UNIT,
            "excess": NUMBER,
            "square": [*NUMBER, -1.0],
            "slope_square": [*NUMBER, -1.0],
            "product_square": [*NUMBER, -1.0],
            "mixed": NUMBER,
        },
    ),
    sgd_dynamics.principal_excesses: (
        {"covariance_snr": 1.0, "cross": 0.5},
        {"covariance_snr": [*NUMBER, -1.0], "cross": NUMBER},
    ),
    sgd_dynamics.principal_slope: (
        {"covariance_snr": 1.0, "cross": 0.5},
        {"covariance_snr": [*NUMBER, -1.0], "cross": NUMBER},
    ),
    **{
        method: ({"x": QUERIES, "sigma": 1.0}, {"x": tensors(QUERIES), "sigma": SIGMA})
        for method in (DENOISER.denoise, DENOISER.score, DENOISER.log_density, DENOISER.posterior)
    },
    tied_neurons.skip_course: (
        {"time": 1.0, "dim": 3, "total": 4.0, "alpha_bar": 0.5, "skip": 1.0},
        {"time": TIME, "dim": COUNT, "total": POSITIVE, "alpha_bar": OPEN_UNIT, "skip": NUMBER},
    ),
    tied_neurons.early_growth: (
        {"time": 1.0, "moment": 2.0, "dim": 3, "total": 4.0, "alpha_bar": 0.5, "slope": -1.0, "gain": 1.0, "skip": 1.0},
        {
            "time": [*TIME, math.inf],
            "moment": POSITIVE,
            "dim": COUNT,
            "total": POSITIVE,
            "alpha_bar": OPEN_UNIT,
            "slope": NUMBER,
            "gain": POSITIVE,
            "skip": NUMBER,
        },
    ),
    tied_neurons.neuron_loss: (
        {
            "activation": np.tanh,
            "means": [-1.0, 1.0],
            "deviation": 0.5,
            "norm": 0.3,
            "dim": 3,
            "total": 4.0,
            "alpha_bar": 0.5,
            "gain": 1.0,
            "skip": 0.7,
        },
        {
            "activation": [lambda y: y[0], lambda y: y * math.nan],
            "means": VECTOR,
            "deviation": POSITIVE,
            "norm": [*NUMBER, -1.0],
            "dim": COUNT,
            "total": POSITIVE,
            "alpha_bar": OPEN_UNIT,
            "gain": POSITIVE,
            "skip": NUMBER,
        },
    ),
    tied_neurons.escape_time: (
        {
            "first": 0.5,
            "last": 1.0,
            "rest": 0.1,
            "cubic": 1.0,
            "alpha_bar": 0.5,
            "kappa4": -2.0,
            "gain": 1.0,
            "slope": -0.5,
        },
        {
            "first": [*POSITIVE],
            "last": [*POSITIVE, 0.5],
            "rest": POSITIVE,
            "cubic": [*NUMBER, -1.0, 0.0],
            "alpha_bar": OPEN_UNIT,
            "kappa4": NUMBER,
            "gain": POSITIVE,
            "slope": NUMBER,
        },
    ),
}


def name_of(function) -> str:
    owner = type(function.__self__).__name__ + "." if inspect.ismethod(function) else ""
    return owner + function.__name__


def test_no_public_function_is_left_out():
    """Results that the library hands out take no input of their own; loaders of whole sets take none at all."""
    packages = ["schedules", "data", "simulation", "memorization"]
    theory = [
        f"theory.{path.stem}" for path in (ROOT / "diffmem_lib" / "theory").glob("*.py") if path.stem != "__init__"
    ]
    missing = []
    for module in (importlib.import_module(f"diffmem_lib.{name}") for name in [*packages, *theory]):
        missing += [name for name in module.__all__ if getattr(module, name) not in CASES]
    assert sorted(missing) == sorted([*RESULTS, "load_digits", "load_mnist", "sample_states"])


@pytest.mark.parametrize("function", CASES, ids=name_of)
def test_the_good_call_works(function):
    function(**CASES[function][0])


# Named by place, not by value: two workers must collect the same names, whatever a value prints as.
@pytest.mark.parametrize(
    ("function", "argument", "value"),
    [
        pytest.param(function, argument, value, id=f"{name_of(function)}-{argument}-{type(value).__name__}{place}")
        for function, (_, wrong) in CASES.items()
        for argument, values in wrong.items()
        for place, value in enumerate(values)
    ],
)
def test_bad_input_is_refused_by_name(function, argument, value):
    with pytest.raises(ValueError, match=rf"\b{argument}\b") as caught:
        function(**{**CASES[function][0], argument: value})
    assert "\n" not in str(caught.value)
