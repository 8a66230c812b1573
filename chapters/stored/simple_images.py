"""The losses of a network in training on its data, on the Gaussian with their mean and covariance, and on one that is
isotropic: for patches of photographs, whitened patches, and MNIST.

A row is one network, an MLP with two hidden layers of width 256 in float32; Adam at a rate of .002, 128 points a step,
ln σ of mean ln .2 and deviation .8; the average forgets over ten steps. Patches have 12 × 12 pixels, 11000 for training
and 1000 held out; MNIST digits are averaged to 14 × 14, 4000 and 1000. The Gaussians are 1000 points that have exactly
the mean, and the covariance or its trace, of the held-out images.
"""

import math

import torch
from diffmem_lib import data
from diffmem_lib.notebook.settings import sized
from diffmem_lib.simulation import MLP, Ensemble, train_networks

GRID = {"replica": range(sized(8, 16)), "images": ["patches", "whitened patches", "MNIST"]}
STEPS = [0, *(round(10 * 2 ** (k / 2)) for k in range(18))]  # to 3620
SIGMAS = (0.1, 0.2, 0.4)
LAWS = ("data", "covariance", "mean")
AT = {f"{law} {sigma:g}": STEPS for law in LAWS for sigma in SIGMAS}
AT |= {name: list(SIGMAS) for name in ("floor", "mean floor", "gap", "gap at once")}
HELD_OUT = 1000


def row(images, replica, generator):
    """Squared errors per pixel, with their errors.

    ``data``, ``covariance``, ``mean``: on the three laws, of the averaged weights; ``floor``, ``mean floor``: the least
    that a linear denoiser can have on the first two, and on the third; ``gap``: loss on the Gaussian with the covariance
    less that on the data, when half of the fall of the latter is done, as a part of that fall; ``gap at once``: the same
    on the straight line from the first to the last network.
    """
    points = drawn(images, generator)
    held_out, training = points[:HELD_OUT], points[HELD_OUT:]
    covariance = torch.cov(held_out.T.double(), correction=0)
    variances = torch.linalg.eigvalsh(covariance).clamp(min=0)
    spread = float(variances.mean().sqrt())
    laws = dict(zip(LAWS, (held_out, *data.gaussian_clones(held_out, generator)), strict=True))
    network = Ensemble([MLP(points.shape[1], 256, 2, spread, generator, torch.float32)])
    states = train_networks(
        network, training[None], rate=2e-3, noise=(math.log(0.2), 0.8), average=0.9, at=STEPS, held_out=laws,
        sigmas=SIGMAS, generator=generator,
    )  # fmt: skip
    first, *_, last = states
    ends, found = (first.networks[0], last.networks[0]), {"gap": ([], []), "gap at once": ([], [])}
    for k, sigma in enumerate(SIGMAS):
        in_training, at_once = [], []
        for law, points in laws.items():
            noise = torch.randn(points.shape, generator=generator)
            start, end = (one(points + sigma * noise, sigma) for one in ends)
            each, losses = (end - points).square().mean(1), last.losses[law][:, 0, k]
            relative = float(each.std() / each.mean()) / math.sqrt(
                len(each)
            )  # of the points, at the end
            found[f"{law} {sigma:g}"] = losses.tolist(), (relative * losses).tolist()
            theta = torch.linspace(0, 1, 400)
            straight = (1 - theta) * (start - points).square().mean() + theta * each.mean()
            at_once.append(straight - theta * (1 - theta) * (end - start).square().mean())
            in_training.append(losses)
        for name, curves in {"gap": in_training, "gap at once": at_once}.items():
            found[name][0].append(gap_halfway(*curves[:2]))
            found[name][1].append(0.02)
    for name, spectrum in {"floor": variances, "mean floor": variances.mean()}.items():
        least = [float((spectrum * s**2 / (spectrum + s**2)).mean()) for s in SIGMAS]
        found[name] = least, [relative * value for value in least]
    return found


def gap_halfway(data_loss, clone_loss):
    """Gap between two courses where the first has half of its fall behind it, over the fall."""
    fall = data_loss[0] - data_loss[-1]
    half = int((data_loss > data_loss[0] - fall / 2).nonzero()[-1])  # the last that is above
    part = (data_loss[half] - data_loss[0] + fall / 2) / (data_loss[half] - data_loss[half + 1])
    gap = clone_loss - data_loss
    return float(torch.lerp(gap[half], gap[half + 1], part) / fall)


def drawn(images, generator):
    """Points, in random order, the first HELD_OUT to be held out."""
    if images == "MNIST":
        digits = data.load_mnist().images.unflatten(1, (1, 28, 28))
        return torch.nn.functional.avg_pool2d(digits, 2).flatten(1)[
            torch.randperm(len(digits), generator=generator)
        ]
    patches = data.load_patches(12, 12000, generator).images
    return 0.46 * data.whiten(patches) if images == "whitened patches" else patches
