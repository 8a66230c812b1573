"""What a U-Net remembers of ten MNIST digits and of ten patches of photographs that it was trained on together.

A row is one U-Net of two levels and 16 channels; digits are averaged to 14 × 14 pixels, patches have as many, and their
grey values are multiplied by the contrast; 500 of each kind are held out. Adam at a rate of .004, 12 points a step, 1080
steps, float32. Distances are squared ones a pixel. A sample or a held-out image is a copy if d1/d2 < 1/3 for its two
nearest training images. A number is given for digits and one for patches.
"""

import math

import torch
from diffmem_lib import data, memorization
from diffmem_lib.notebook.long_runs import mean, share
from diffmem_lib.notebook.settings import sized
from diffmem_lib.simulation import Ensemble, UNet, train_networks

GRID = {"contrast": [1, 3], "replica": range(sized(8, 24))}
KINDS = [0, 1]
AT = dict.fromkeys(("log sparsity", "copies", "fresh", "log error ratio"), KINDS)
EACH, HELD_OUT, SAMPLES, STEPS, SIDE = 10, 500, 400, 1080, 14
LEVELS = torch.logspace(1, -1.5, 10)  # of noise, down which samples go
LEVEL, NEIGHBOURS, THIRD = 0.5, 5, 1 / 3  # σ of the errors; of the sparsity; of d1/d2


def row(contrast, replica, generator):
    """Values and standard errors of what is measured of one network after the last step.

    ``log sparsity``: mean logarithm of the mean squared distance to five other training images; ``copies``, ``fresh``:
    share of copies among the samples, and among the held-out images, that are nearest to training images of the kind;
    ``log error ratio``: mean log error on held-out images of the kind, less that on its training images.
    """
    digits = torch.nn.functional.avg_pool2d(
        data.load_mnist().images.unflatten(1, (1, 28, 28)), 28 // SIDE
    ).flatten(1)
    count = EACH + HELD_OUT
    digits = digits[torch.randperm(len(digits), generator=generator)[:count]].float()
    patches = contrast * data.load_patches(SIDE, count, generator).images.float()
    training, held_out = (
        torch.cat([digits[part], patches[part]]) for part in (slice(EACH), slice(EACH, None))
    )
    settings = {"sigma_data": float(training.std()), "generator": generator, "dtype": torch.float32}
    network = Ensemble([UNet((SIDE, SIDE), 16, 2, **settings)])
    options = {
        "batch": 12,
        "rate": 4e-3,
        "noise": (-0.5, 0.9),
        "at": [STEPS],
        "generator": generator,
    }
    (state,) = train_networks(network, training[None], **options)
    samples = state.networks.sample(SAMPLES, LEVELS, generator=generator)[0]
    sparsity = memorization.local_sparsity(training, NEIGHBOURS).log()
    found = {"log sparsity": [mean(part) for part in sparsity.split(EACH)]}
    for name, points in {"copies": samples, "fresh": held_out}.items():
        gap = memorization.neighbour_gap(points, training)
        copied, kind = gap.dominance > -math.log(THIRD), gap.index[:, 0] // EACH
        found[name] = [share(copied[kind == k]) for k in KINDS]
    known, unknown = (
        log_errors(state.networks[0], points, generator) for points in (training, held_out)
    )
    found["log error ratio"] = [
        difference(mean(fresh), mean(seen))
        for fresh, seen in zip(unknown.split(HELD_OUT), known.split(EACH), strict=True)
    ]
    return {name: tuple(zip(*found[name], strict=True)) for name in AT}


def log_errors(network, points, generator):
    """Logarithm of the error (m,) on noised points, averaged over eight draws of the noise."""
    noise = [torch.randn(points.shape, generator=generator) for _ in range(8)]
    return sum((network(points + LEVEL * z, LEVEL) - points).square().mean(1) for z in noise).log()


def difference(first, second):
    """Of two values with their errors."""
    return first[0] - second[0], math.hypot(first[1], second[1])
