"""With how many patches two networks, and two lines, begin to agree, on patches of two sizes, as they are and whitened.

A row is a pair of MLPs and a pair of linear denoisers for each number of patches, all on patches of their own, less the
mean of their pixels. Networks have two hidden layers of 128; Adam at a rate of .004, 64 points a step, 1000 steps. The
noise is .1 for patches as they are and .5 for whitened ones. A number is given for each number of patches.
"""

import math

import torch
from diffmem_lib.data import load_patches
from diffmem_lib.notebook.settings import sized
from diffmem_lib.simulation import MLP, Ensemble, LinearDenoiser, fit_linear, train_networks

GRID = {"side": (4, 8), "whitened": (0, 1), "replica": range(sized(8, 16))}
SIZES = [2**k for k in range(4, 12)]
AT = {"apart, networks": SIZES, "apart, lines": SIZES, "networks": SIZES, "lines": SIZES}
STEPS, FRESH, POOL = 1000, 4000, 50000
LEVELS = (0.1, 0.5)  # σ, as they are and whitened
TRAINING = ((-1.9, 0.9), (-0.2, 0.9))  # mean and deviation of ln σ in training


def row(side, whitened, replica, generator):
    """Values and standard errors, for each number of patches, all over the loss of the best line.

    ``apart, networks`` and ``apart, lines``: half the mean squared difference of two denoisers at fresh noised patches;
    ``networks`` and ``lines``: mean loss of the two.
    """
    draw = patches(side, generator)
    pool = draw(POOL)
    mean, covariance = pool.mean(0), torch.cov(pool.T)
    variances, axes = torch.linalg.eigh(covariance)
    turn = (
        axes[:, 1:] / variances[1:].sqrt() if whitened else axes[:, 1:]
    )  # but for the mean of the pixels
    coordinates = lambda size: ((draw(size) - mean) @ turn).float()
    sets = [coordinates(size) for size in SIZES for _ in range(2)]
    fresh, sigma, dim = coordinates(FRESH), LEVELS[whitened], side**2 - 1
    noised = fresh + sigma * torch.randn(fresh.shape, generator=generator)
    scale = 1.0 if whitened else math.sqrt(float(variances.sum()) / dim)
    settings = {"sigma_data": scale, "generator": generator, "dtype": torch.float32}
    networks = Ensemble([MLP(dim, 128, 2, **settings) for _ in sets])
    options = {"batch": 64, "rate": 4e-3, "noise": TRAINING[whitened], "generator": generator}
    (state,) = train_networks(networks, sets, at=[STEPS], **options)
    answers = {"networks": state.networks(noised.expand(len(sets), -1, -1), sigma)}
    answers["lines"] = torch.stack(
        [fit_linear(own.double())(noised.double(), sigma) for own in sets]
    )
    law = turn.T @ covariance @ turn
    best = LinearDenoiser(torch.zeros(dim).double(), (law + law.T) / 2)
    square = lambda difference: difference.double().square().sum(-1)
    unit = square(best(noised.double(), sigma) - fresh)  # (m,)
    found = {}
    for name, answer in answers.items():
        loss, apart = square(answer - fresh), square(answer[::2] - answer[1::2]) / 2
        found[name] = ratios(loss.unflatten(0, (-1, 2)).mean(1), unit)
        found[f"apart, {name}"] = ratios(apart, unit)
    return {name: found[name] for name in AT}


def patches(side, generator):
    """How to draw patches (n, side²) without the mean of their pixels."""

    def draw(size):
        images = load_patches(side, size, generator).images.double()
        return images - images.mean(1, keepdim=True)

    return draw


def ratios(values, unit):
    """Means of values (k, m) over the mean of ``unit`` (m,), and their errors, of the points."""
    means = values.mean(1) / unit.mean()
    off = (values - means[:, None] * unit) / unit.mean()
    return means.tolist(), (off.std(1) / math.sqrt(len(unit))).tolist()
