"""How much networks remember of each of the ten classes of digits, once they copy.

A row is four networks, MLPs of width 128, each on four digits of each class of its own, 8 × 8 pixels; a thousand others
are held out. Adam at a rate of .006, 32 points a step, 5000 steps. A sample or a held-out digit is a copy if d1/d2 < 1/3
in squared distances to the two nearest training digits (.58 in Euclidean ones). A number is given for each class.
"""

import math

import torch
from diffmem_lib.data import load_digits
from diffmem_lib.memorization import neighbour_gap
from diffmem_lib.notebook.settings import sized
from diffmem_lib.simulation import MLP, Ensemble, train_networks

GRID = {"replica": range(sized(12, 24))}
CLASSES = list(range(10))
AT = {"sparsity": CLASSES, "copies": CLASSES, "fresh": CLASSES, "log error ratio": CLASSES}
NETWORKS, PER, STEPS, HELD_OUT, SAMPLES = 4, 4, 5000, 1000, 1000
LEVEL = 0.5  # σ of the errors
THRESHOLD = 1 / 3


def row(replica, generator):
    """Values and standard errors for each class, of four networks together.

    ``sparsity``: mean squared distance a pixel between two training digits of the class; ``copies``: share of the
    samples nearest to a training digit of the class that are copies; ``fresh``: the same of held-out digits of the
    class; ``log error ratio``: mean log error on held-out digits of the class, less that on its training digits.
    """
    digits = load_digits()
    images, labels = digits.images, digits.labels
    classes = torch.tensor(CLASSES).repeat_interleave(PER)
    training, held_out, held_labels = [], [], []
    for _ in range(NETWORKS):
        order = torch.randperm(len(images), generator=generator)
        chosen = torch.cat([order[labels[order] == c][:PER] for c in CLASSES])
        others = order[~torch.isin(order, chosen)][:HELD_OUT]
        training.append(images[chosen])
        held_out.append(images[others])
        held_labels.append(labels[others])
    settings = {"width": 128, "generator": generator, "dtype": torch.float32}
    networks = Ensemble(
        [MLP(64, sigma_data=float(torch.cat(training).std()), **settings) for _ in training]
    )
    options = {
        "batch": 32,
        "rate": 6e-3,
        "noise": (-0.5, 0.7),
        "at": (STEPS,),
        "generator": generator,
    }
    (state,) = train_networks(networks, training, **options)
    networks = state.networks
    drawn = networks.sample(SAMPLES, torch.logspace(1, -1.5, 16), generator=generator)
    found = {"copies": [], "fresh": []}
    for points, fresh, group, own in zip(drawn, held_out, held_labels, training, strict=True):
        near, copied = copies(points, own)
        found["copies"].append((classes[near], copied))
        near, copied = copies(fresh, own)
        found["fresh"].append((torch.where(classes[near] == group, group, -1), copied))
    values = {name: [share(parts, c) for c in CLASSES] for name, parts in found.items()}
    values["sparsity"] = [inside([own[classes == c] for own in training]) for c in CLASSES]
    known = log_errors(networks, torch.stack(training), generator)
    unknown = log_errors(networks, torch.stack(held_out), generator)
    both = [(unknown[torch.stack(held_labels) == c], known[:, classes == c]) for c in CLASSES]
    values["log error ratio"] = [difference(*pair) for pair in both]
    return {name: tuple(zip(*values[name], strict=True)) for name in AT}


def copies(points, training):
    """Nearest training point of each point, and whether it is a copy."""
    gap = neighbour_gap(points, training)
    return gap.index[:, 0], gap.dominance > -math.log(THRESHOLD)


def share(parts, c):
    """Share of copies among the points of class ``c``, and its error, of the points and of the networks."""
    of_each = [those[group == c].double() for group, those in parts]
    copied = torch.cat(of_each)
    count = len(copied) + 4  # two more of each kind (Agresti and Coull): a share of 0 has an error
    middle = float(copied.sum() + 2) / count
    between = torch.stack([one.mean() for one in of_each if len(one)]).var() / len(of_each)
    return float(copied.mean()), math.sqrt(middle * (1 - middle) / count + float(between))


def inside(sets):
    """Mean squared distance a pixel between two points of a set, and its error over the sets."""
    means = torch.tensor(
        [float(torch.nn.functional.pdist(one).square().mean()) / one.shape[1] for one in sets]
    )
    return float(means.mean()), float(means.std()) / math.sqrt(len(means))


def log_errors(networks, points, generator):
    """Logarithm of the error (R, m) on noised points, averaged over eight draws of the noise."""
    total = torch.zeros(points.shape[:2])
    for _ in range(8):
        noised = points + LEVEL * torch.randn(points.shape, generator=generator)
        total += (networks(noised, LEVEL) - points).square().mean(2)
    return total.log()


def difference(first, second):
    """Mean of the first less that of the second, and its error."""
    variances = [float(values.var()) / values.numel() for values in (first, second)]
    return float(first.mean() - second.mean()), math.sqrt(sum(variances))
