"""How long networks train until they copy their training points, and until they are at their best on others.

A row is one network, an MLP of width 256, on its own n digits of 8 × 8 pixels; 500 others are held out. Adam at a rate
of .001, 128 points a step, float32. A sample is memorized if r1/r2 < 1/3 in Euclidean distances to the two nearest
training points (1/9 in squared ones).
"""

import math

import torch
from diffmem_lib.data import load_digits
from diffmem_lib.memorization import neighbour_gap
from diffmem_lib.notebook.settings import sized
from diffmem_lib.simulation import MLP, Ensemble, sample, train_networks

GRID = {"replica": range(sized(8, 24)), "n": [16, 24, 32, 48, 64, 128]}
RATE = 0.001
#: When each quantity is measured: in steps for each training point, not in training, in steps.
AT = {
    "memorized": list(range(8, 60, 4)),
    "fresh": [0],
    "loss": [16, 32, 64, 96, 128, 192, 256, 384, 512, 768],
}
SAMPLES, HELD_OUT = 500, 500
LEVEL = 0.5  # σ of the loss
THRESHOLD = 1 / 3


def row(n, replica, generator):
    """Values and standard errors of what is measured of one network.

    ``memorized``: share of its samples that are; ``fresh``: that of the held-out digits; ``loss``: squared error per
    dimension on these, noised at LEVEL.
    """
    images = load_digits().images
    order = torch.randperm(len(images), generator=generator)
    held_out, training = images[order[:HELD_OUT]], images[order[HELD_OUT : HELD_OUT + n]]
    noised = held_out + LEVEL * torch.randn(held_out.shape, generator=generator)
    network = Ensemble([MLP(64, width=256, generator=generator, dtype=torch.float32)])
    copied_at, shares, losses = [n * steps for steps in AT["memorized"]], [], []
    at = sorted({*copied_at, *AT["loss"]})
    for state in train_networks(network, training[None], rate=RATE, at=at, generator=generator):
        if state.step in AT["loss"]:
            losses.append(mean((state.networks[0](noised, LEVEL) - held_out).square().mean(1)))
        if state.step in copied_at:
            sigmas = torch.logspace(1, -2, 16)
            samples = sample(state.networks[0], SAMPLES, 64, sigmas, generator=generator)
            shares.append(memorized(samples, training))
    measured = {"memorized": shares, "fresh": [memorized(held_out, training)], "loss": losses}
    return {name: tuple(zip(*pairs, strict=True)) for name, pairs in measured.items()}


def memorized(samples, training):
    """Share of samples of which the nearest training point is nearer than THRESHOLD of the second, and its error."""
    copies = (neighbour_gap(samples, training).dominance > -2 * math.log(THRESHOLD)).double()
    count = len(copies) + 4  # two more of each kind (Agresti and Coull): a share of 0 has an error
    middle = float(copies.sum() + 2) / count
    return float(copies.mean()), math.sqrt(middle * (1 - middle) / count)


def mean(values):
    """Their mean and its standard error."""
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))
