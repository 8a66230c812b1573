"""How far a point is from its neighbours: the sparsity of training data and the gap at a sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import _checks, _tensors
from ..points import distances

__all__ = ["NeighbourGap", "local_sparsity", "neighbour_gap"]


@dataclass(frozen=True)
class NeighbourGap:
    """The two training points nearest to each of m samples.

    Attributes
    ----------
    index : Tensor, (m, 2)
        Which they are, the nearest first; of equally distant ones the lower index (of more than eight
        training points that are equal to the sample, any two).
    distance : Tensor, (m, 2), float64
        Their squared distance per dimension, d1 ≤ d2.
    """

    index: Tensor
    distance: Tensor

    @property
    def dominance(self) -> Tensor:
        """log(d2/d1), Tensor (m,), float64.

        Infinite for an exact copy of one training point, 0 for a copy of a point that is there twice.
        """
        nearest, second = self.distance.unbind(1)
        return torch.where(second == nearest, 0.0, second.log() - nearest.log())


@torch.no_grad()
def local_sparsity(training: Tensor, k: int = 10) -> Tensor:
    r"""Mean squared distance per dimension of each training point to the ``k`` nearest others.

    .. math:: s(x^\mu) = \frac1k \sum_{\nu \in N_k(\mu)} \frac{|x^\mu - x^\nu|^2}{d}

    Parameters
    ----------
    training : Tensor, (n, d)
        The training points; n > k.
    k : int
        How many neighbours; a duplicate counts as a neighbour at distance zero.

    Returns
    -------
    Tensor, (n,), float64
        The sparsity, exact to rounding in float64 whatever the dtype of ``training``.

    Raises
    ------
    ValueError
        If ``training`` is not a finite floating-point tensor with two axes, or has not more than ``k`` points.
    """
    training = _tensors.floating(training, "training", shape=("n", "d"))
    k = _checks.neighbours(k, len(training))
    _, squared = distances.nearest(training, k=k)
    return squared.mean(1) / training.shape[1]


@torch.no_grad()
def neighbour_gap(samples: Tensor, training: Tensor) -> NeighbourGap:
    r"""The two nearest training points of each sample, and how much nearer the first is.

    The dominance log(d2/d1) is in *squared* distances per dimension; the Euclidean one is half of it.

    Parameters
    ----------
    samples : Tensor, (m, d)
    training : Tensor, (n, d)
        At least two training points.

    Returns
    -------
    NeighbourGap
        Indices (m, 2), squared distances per dimension (m, 2) and dominance (m,); exact to rounding in float64.

    Raises
    ------
    ValueError
        If an argument is not a finite floating-point tensor with two axes, if the dimensions differ, or if there are
        fewer than two training points.
    """
    training = _tensors.floating(training, "training", shape=("n", "d"))
    if len(training) < 2:
        raise ValueError(f"training must have at least 2 points, got {len(training)}")
    samples = _tensors.floating(samples, "samples", shape=("m", training.shape[1]), device=training.device)
    index, squared = distances.nearest(samples, training, k=2)
    return NeighbourGap(index, squared / training.shape[1])
