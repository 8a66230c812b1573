"""Losses of networks and of lines on their training points and on others, against the number of points.

A row is one MLP and one linear denoiser (without a ridge, its mean known) for each number of points: patches of 8 × 8
pixels, less the mean of their pixels, from ten photographs, or digits of 8 × 8. Networks have two hidden layers of 128;
Adam at a rate of .004, 64 points a step, 1000 steps, float32. Losses are squared errors at one noise level, .1 for
patches and .4 for digits, over that of the best line, which has seen 50000 patches, or all 1797 digits.
"""

import torch
from diffmem_lib import data
from diffmem_lib.notebook import long_runs
from diffmem_lib.notebook.settings import sized
from diffmem_lib.simulation import MLP, Ensemble, LinearDenoiser, train_networks

GRID = {"images": ["patches", "digits"], "replica": range(sized(8, 24))}
SIZES = [16, 32, 64, 128, 256, 512, 1024]
AT = {f"{of}, {which}": SIZES for of in ("networks", "lines") for which in ("training", "test")}
LEVELS = {"patches": 0.1, "digits": 0.4}  # σ
TRAINING = {"patches": (-1.9, 0.9), "digits": (-0.7, 0.9)}  # mean and deviation of ln σ
TEST = {"patches": 5000, "digits": 700}
POOL, STEPS = 50000, 1000


def row(images, replica, generator):
    """Mean losses and their errors, of the points, for each number of training points."""
    pool = points_of(images, generator)
    mean, covariance = pool.mean(0), torch.cov(pool.T, correction=0)
    variances, sigma = torch.linalg.eigvalsh(covariance).clamp(min=0), LEVELS[images]
    unit = float((variances * sigma**2 / (variances + sigma**2)).sum())
    orders = [torch.randperm(len(pool), generator=generator) for _ in SIZES]
    sets = [pool[order[:size]] for order, size in zip(orders, SIZES, strict=True)]
    scale = float(variances.mean().sqrt())
    networks = Ensemble([MLP(pool.shape[1], 128, 2, scale, generator, torch.float32) for _ in sets])
    options = {"batch": 64, "rate": 4e-3, "noise": TRAINING[images], "generator": generator}
    centred = [(own - mean).float() for own in sets]
    (state,) = train_networks(networks, centred, at=[STEPS], **options)
    found = {name: [] for name in AT}
    for r, (own, order) in enumerate(zip(sets, orders, strict=True)):
        line = LinearDenoiser(mean, (own - mean).T @ (own - mean) / len(own))
        for which, points in {"training": own, "test": pool[order[-TEST[images] :]]}.items():
            shape, dtype = points.shape, points.dtype
            noised = points + sigma * torch.randn(shape, generator=generator, dtype=dtype)
            answers = {
                "networks": mean + state.networks[r]((noised - mean).float(), sigma),
                "lines": line(noised, sigma),
            }
            for of, answer in answers.items():
                each = (answer - points).square().sum(1) / unit
                found[f"{of}, {which}"].append(long_runs.mean(each))
    return {name: tuple(zip(*pairs, strict=True)) for name, pairs in found.items()}


def points_of(images, generator):
    """All the points there are."""
    if images == "digits":
        return data.load_digits().images.double()
    patches = data.load_patches(8, POOL, generator).images.double()
    return patches - patches.mean(1, keepdim=True)
