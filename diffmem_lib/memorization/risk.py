"""Which training points will be memorized first, from the training set alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import _checks, _tensors
from ..points import distances
from ..theory.coverage import log_coverage

__all__ = ["CoverageRisk", "coverage_risk", "risk_from_neighbours"]


@dataclass(frozen=True)
class CoverageRisk:
    """The coverage criterion at every training point, with a local estimate of the density.

    Attributes
    ----------
    risk : Tensor, (n,), float64
        Minus the logarithm of the local coverage at ``reference_sigma``, in nats. Positive: fewer training points than
        one are expected in the noise ball around this point, which then attracts (memorized); NaN where the point has
        fewer than two neighbours distinct from itself.
    critical_sigma : Tensor, (n,), float64
        The noise level below which the coverage of the point is less than one, in units of the data.
    reference_sigma : float
        The median of the critical levels: there half of the training points are beyond the criterion.
    dimension : int
        The dimension of the data as neighbours see it, to which the noise ball is restricted.
    """

    risk: Tensor
    critical_sigma: Tensor
    reference_sigma: float
    dimension: int


@torch.no_grad()
def coverage_risk(training: Tensor, k: int = 10) -> CoverageRisk:
    """Predict from the training set alone which of its points a diffusion model memorizes first.

    Parameters
    ----------
    training : Tensor, (n, d)
        The training points; n > k.
    k : int
        How many neighbours tell the density at a point, at least 2.

    Returns
    -------
    CoverageRisk
        See `risk_from_neighbours` for what is estimated, and what is assumed.

    Raises
    ------
    ValueError
        If ``training`` is not a finite floating-point tensor with two axes, or has not more than ``k`` points.
    """
    training = _tensors.floating(training, "training", shape=("n", "d"))
    k = _checks.neighbours(k, len(training), low=2)
    return risk_from_neighbours(distances.nearest(training, k=k)[1])


@torch.no_grad()
def risk_from_neighbours(squared: Tensor) -> CoverageRisk:
    r"""The coverage criterion from the squared distances (n, k) of each training point to its k nearest others.

    The density is that of the k-th neighbour, p(x) = (k − 1)/((n − 1) V_D r_k^D), in as many dimensions D as the
    data have locally: 1/D is the mean of log(r_k/r_j) over all neighbours j < k of all points (a pooled maximum
    likelihood estimate), rounded. The criterion is n p(x) (2πeσ²)^{D/2} < 1. With one D for all, the order of the
    points is that of r_k (but for duplicates), and what the criterion adds is the level. Assumed is that the
    density varies little within r_k and is not blurred by the noise, and that D is the same everywhere. The
    criterion is about the exact empirical score; a trained network is smoother, so the order of the points means
    more than the sign.

    Raises ``ValueError`` if ``squared`` is not a finite floating-point tensor of two axes and at least two rows, or if
    a distance in it is negative.
    """
    squared = _tensors.floating(squared, "squared", shape=("n", "k")).to(torch.float64)
    if len(squared) < 2 or (squared < 0).any():
        found = f"{len(squared)} rows and {squared.min():g} as the smallest"
        raise ValueError(f"squared must hold distances of at least two points, none negative, got {found}")
    n, positive = len(squared), squared > 0
    count = positive.sum(1)  # a duplicate is the same point, not a neighbour
    largest = squared.amax(1).log() / 2
    gaps = torch.where(positive, largest[:, None] - squared.log() / 2, 0.0)
    terms, known = (count - 1).clamp(min=0).sum(), count >= 2
    total = float(gaps[known].sum())
    dimension = max(1, round(float(terms) / total)) if total > 0 else 1
    ball = dimension / 2 * math.log(math.pi) - math.lgamma(dimension / 2 + 1)
    log_density = (count - 1).double().log() - math.log(n - 1) - ball - dimension * largest
    risk = torch.full_like(largest, torch.nan)
    if not known.any():
        return CoverageRisk(risk, risk.clone(), math.nan, dimension)
    coverage = torch.from_numpy(_coverage(log_density[known].cpu().numpy(), n, 1.0, dimension)).to(risk)
    critical = risk.clone()
    critical[known] = (-coverage / dimension).exp()  # the coverage grows like σ^D
    reference = float(critical[known].median())
    risk[known] = -coverage - dimension * math.log(reference)
    return CoverageRisk(risk, critical, reference, dimension)


def _coverage(log_density: NDArray[np.float64], n: int, sigma: float, dimension: int) -> NDArray[np.float64]:
    return np.asarray(log_coverage(log_density, n, sigma, dimension))
