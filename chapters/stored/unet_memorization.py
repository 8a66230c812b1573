"""What U-Nets of two sizes remember of MNIST digits: which, of which class, and when.

A row is one U-Net of two levels on its own n digits, as many of each class, averaged to side × side pixels; a thousand
others are held out. With 16 and 32 channels it has 62 and 243 thousand weights. Adam at a rate of .004, 12 points a step,
1080 steps, float32. Distances are squared ones a pixel. A sample or a held-out digit is a copy if d1/d2 < 1/3 for its two
nearest training digits, except where another threshold is named.
"""

import math

import torch
from diffmem_lib import data, memorization
from diffmem_lib.notebook.long_runs import mean, share
from diffmem_lib.notebook.settings import sized
from diffmem_lib.simulation import EmpiricalDenoiser, Ensemble, UNet, sample_states, train_networks
from scipy import stats

GRID = {"side": sized([14], [14, 28]), "channels": sized([16, 32], [16, 32, 64])}
GRID |= {"n": [10, 20, 30, 120], "replica": range(8)}
STEPS = list(range(90, 1081, 90))
CLASSES, THIRDS, NEIGHBOURS = list(range(10)), [1, 2, 3], 5
THRESHOLDS = [1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3]
AT = {"copies": STEPS, "loss": STEPS, "memorized": THRESHOLDS, "fresh": THRESHOLDS}
AT |= {f"{name} by sparsity": THIRDS for name in ("dominance", "copies", "fresh", "exact")}
AT |= {f"{name} by class": CLASSES for name in ("distance", "copies", "fresh")}
AT |= {f"rank {name}": [NEIGHBOURS] for name in ("excess", "halves", "exact", "exact halves")}
HELD_OUT, ON_THE_WAY, SAMPLES = 1000, 100, 400
LEVELS = torch.logspace(1, -1.5, 10)  # of noise, down which samples go
STOPS = torch.logspace(1.3, -0.6, 48, dtype=torch.float64)  # at which the exact denoiser may stop
LEVEL, THIRD = 0.5, 1 / 3  # σ of the loss; of d1/d2
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def row(side, channels, n, replica, generator):
    """Values and standard errors of what is measured of one network, all but the first two after the last step.

    ``copies``, ``loss``: share of copies among some samples, and squared error a pixel of held-out digits noised at
    LEVEL, on the way; ``memorized``, ``fresh``: share of samples and of held-out digits with d1/d2 below each threshold.
    *By sparsity*, in thirds of the training digits from the densest (mean squared distance to five others), of what is
    nearest to them: median ``dominance`` of samples; share of copies among samples, among held-out digits (``fresh``),
    and among those of the exact denoiser, stopped where its median dominance is nearest to that of the samples. *By
    class*: mean squared ``distance`` between training and held-out digits of it; shares of copies among samples
    nearest to it and among its own held-out digits. *Ranks*: Spearman's correlation over training digits of sparsity
    with ``excess`` (share of copies of samples less that of held-out digits) and ``halves`` (of held-out digits, less
    that of others); of the excess with that of the ``exact`` denoiser, over one half of the held-out digits and over
    the other, and of ``exact halves``, where that half stands in the place of the samples.
    """
    images, labels = digits(side)
    order = torch.randperm(len(images), generator=generator)
    chosen = torch.cat([order[labels[order] == c][: n // 10] for c in CLASSES])
    others = order[~torch.isin(order, chosen)][:HELD_OUT]
    training, held_out = images[chosen], images[others]
    noised = held_out + LEVEL * torch.randn(held_out.shape, generator=generator)
    there = torch.Generator(DEVICE).manual_seed(int(torch.randint(2**62, (), generator=generator)))
    settings = {"sigma_data": float(training.std()), "generator": there, "dtype": torch.float32}
    network = Ensemble([UNet((side, side), channels, 2, **settings)])
    options = {"batch": 12, "rate": 4e-3, "noise": (-0.5, 0.9), "at": STEPS, "generator": there}
    found = {"copies": [], "loss": []}
    for state in train_networks(network, training[None].to(DEVICE), **options):
        answers = state.networks[0](noised.to(DEVICE), LEVEL).cpu()
        found["loss"].append(mean((answers - held_out).square().mean(1)))
        count = SAMPLES if state.step == STEPS[-1] else ON_THE_WAY
        samples = state.networks.sample(count, LEVELS, generator=there)[0].cpu()
        drawn = memorization.neighbour_gap(samples, training)
        found["copies"].append(share(copied(drawn)))

    fresh = memorization.neighbour_gap(held_out, training)
    exact = stopped(training, drawn.dominance.median(), generator)
    sparsity = memorization.local_sparsity(training, NEIGHBOURS)
    third = sparsity.argsort().argsort() * 3 // n
    classes, own = labels[chosen], labels[others]
    for name, gap in {"memorized": drawn, "fresh": fresh}.items():
        found[name] = [share(gap.dominance > -math.log(threshold)) for threshold in THRESHOLDS]
    for name, gap in {"copies": drawn, "fresh": fresh, "exact": exact}.items():
        found[f"{name} by sparsity"] = shares(gap, third, range(3))
    found["dominance by sparsity"] = [
        median(drawn.dominance[third[drawn.index[:, 0]] == k]) for k in range(3)
    ]
    same_class = classes[fresh.index[:, 0]] == own
    found["copies by class"] = shares(drawn, classes, CLASSES)
    found["fresh by class"] = [share(copied(fresh)[same_class & (own == c)]) for c in CLASSES]
    apart = torch.cdist(held_out, training).square() / training.shape[1]
    found["distance by class"] = [mean(apart[own == c][:, classes == c].mean(1)) for c in CLASSES]

    rate, exactly, first, second = (
        rates(gap, n, part) for gap, part in ((drawn, slice(None)), (exact, slice(None)), (fresh, slice(0, 500)), (fresh, slice(500, None)))
    )  # fmt: skip
    found["rank excess"] = rank(sparsity, rate - (first + second) / 2)
    found["rank halves"] = rank(sparsity, first - second)
    found["rank exact"] = rank(rate - first, exactly - second)
    found["rank exact halves"] = rank(
        rates(fresh, n, slice(0, 500, 2)) - rates(fresh, n, slice(1, 500, 2)), exactly - second
    )
    return {name: tuple(zip(*found[name], strict=True)) for name in AT}


def digits(side):
    """MNIST images, averaged to side × side, and their labels."""
    mnist = data.load_mnist()
    images = torch.nn.functional.avg_pool2d(mnist.images.unflatten(1, (1, 28, 28)), 28 // side)
    return images.flatten(1).float(), mnist.labels


def stopped(training, goal, generator):
    """Neighbours of what the exact denoiser gives where their median dominance is nearest to the goal."""
    path = sample_states(
        EmpiricalDenoiser(training.double()), SAMPLES, training.shape[1], STOPS, generator=generator
    )
    gaps = [memorization.neighbour_gap(state.denoised, training.double()) for state in path]
    return min(gaps, key=lambda gap: abs(float(gap.dominance.median() - goal)))


def copied(gap):
    """Which are copies."""
    return gap.dominance > -math.log(THIRD)


def shares(gap, group_of, groups):
    """Share of copies, and its error, among the points whose nearest training digit is of each group."""
    return [share(copied(gap)[group_of[gap.index[:, 0]] == group]) for group in groups]


def rates(gap, n, part):
    """Share of copies among those nearest to each training digit, pulled towards the common share by two points."""
    nearest, copies = gap.index[part, 0], copied(gap)[part].double()
    visits = torch.bincount(nearest, minlength=n)
    return (torch.bincount(nearest, copies, minlength=n) + 2 * copies.mean()) / (visits + 2)


def rank(first, second):
    """Spearman's correlation, and the error that it has where there is none."""
    value = float(stats.spearmanr(first, second)[0]) if len(second.unique()) > 1 else 0.0
    return [(value, 1 / math.sqrt(len(first) - 1))]


def median(values):
    """Their median and its standard error, by that of a normal law; of none, 0 and a large one."""
    if len(values) < 2:
        return 0.0, 10.0
    return float(values.median()), 1.25 * float(values.std()) / math.sqrt(len(values))
