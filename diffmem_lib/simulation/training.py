"""Linear denoisers in training: SGD on noised points, or the exact gradient's flow, many replicas at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import _checks, _tensors
from .linear import _alpha_bar, _like

__all__ = ["TrainingState", "linear_training"]


@dataclass(frozen=True, eq=False)
class TrainingState:
    """Affine predictions W x_t + b of the noise ε, or of the data x, in x_t = √ᾱ x + √(1−ᾱ) ε, while they are trained.

    ``time`` is the step size times the number of steps taken; ``matrix`` (R, d, d) is W, ``offset`` (R, d) is b.
    """

    time: float
    matrix: Tensor
    offset: Tensor
    alpha_bar: float
    target: str

    def loss(self, mean: Tensor, covariance: Tensor) -> Tensor:
        """Squared error per dimension (R,) on data with this mean and covariance, averaged over data and noise exactly.

        Parameters
        ----------
        mean : Tensor (d,) or (R, d)
            Mean of the data, for all replicas or for each.
        covariance : Tensor (d, d) or (R, d, d)
            Covariance of the data, likewise.

        Raises
        ------
        ValueError
            If ``mean`` or ``covariance`` does not fit the denoisers.
        """
        replicas, dim = self.offset.shape
        _like(mean, "mean", self.offset, (dim,) if getattr(mean, "ndim", 1) == 1 else (replicas, dim))
        shape = (dim, dim) if getattr(covariance, "ndim", 2) == 2 else (replicas, dim, dim)
        _tensors.symmetric(_like(covariance, "covariance", self.offset, shape), "covariance")
        signal, noise = math.sqrt(self.alpha_bar) * self.matrix, math.sqrt(1 - self.alpha_bar) * self.matrix
        identity = torch.eye(dim, dtype=signal.dtype, device=signal.device)
        if self.target == "noise":
            noise = noise - identity
        else:
            signal = signal - identity
        bias = (signal @ mean[..., None])[..., 0] + self.offset
        spread = (signal @ covariance * signal).sum((-2, -1))
        return (spread + (noise**2).sum((-2, -1)) + (bias**2).sum(-1)) / dim


def linear_training(
    training: Tensor,
    alpha_bar: float,
    step: float,
    *,
    batch: int | None = None,
    bias: bool = False,
    target: str = "noise",
    generator: torch.Generator | None = None,
) -> Iterator[TrainingState]:
    """States of linear denoisers from W = 0 and b = 0 on, one after each step, without end.

    The loss is the squared error per dimension on the training points, noised. With a ``batch`` this is stochastic
    gradient descent: each step draws so many points, with replacement, and fresh noise. Without one it is the flow of
    the gradient, averaged over all points and all noise, by the classical Runge–Kutta method of order four in the step
    (stable while 2 step/d times the largest second moment of the noised points is below 2.78).

    Parameters
    ----------
    training : Tensor (R, n, d)
        Training points of R replicas, each a run of its own.
    alpha_bar : float
        Signal's share of the variance, in (0, 1).
    step : float
        Step size, in units of time: W moves by step times the gradient.
    batch : int, optional
        Points in a step of SGD.
    bias : bool
        Train b together with W, with the same step; else b stays 0.
    target : {"noise", "data"}
        What is predicted, ε or x.
    generator : torch.Generator, optional
        Source of SGD's randomness, on the device of the points.

    Raises
    ------
    ValueError
        If an argument is not as said above, or the run diverges: the step is too large.
    """
    _tensors.floating(training, "training", shape=("r", "n", "d"))
    alpha_bar, step = _alpha_bar(alpha_bar), _checks.number(step, "step", low=0, low_open=True)
    if target not in ("noise", "data"):
        raise ValueError(f"target must be 'noise' or 'data', got {target!r}")
    generator = _tensors.generator(generator, training.device)
    if batch is None:
        move = _flow(_exact_gradient(training, alpha_bar, bias, target), step)
    else:
        batch = _checks.integer(batch, "batch", low=1)
        gradient = _drawn_gradient(training, alpha_bar, bias, target, batch, generator)
        move = lambda weights: weights - step * gradient(weights)  # noqa: E731
    return _run(move, training, alpha_bar, step, bias, target)


_Weights = Callable[[Tensor], Tensor]


def _run(
    move: _Weights, training: Tensor, alpha_bar: float, step: float, bias: bool, target: str
) -> Iterator[TrainingState]:
    replicas, _, dim = training.shape
    weights = training.new_zeros(replicas, dim, dim + bias)
    for count in itertools.count():
        offset = weights[..., dim] if bias else weights.new_zeros(replicas, dim)
        yield TrainingState(step * count, weights[..., :dim], offset, alpha_bar, target)
        weights = move(weights)
        if not torch.isfinite(weights).all():
            raise ValueError(f"step must be so small that the run does not diverge, got {step:g}")


def _flow(gradient: _Weights, step: float) -> _Weights:
    """A step of the classical Runge–Kutta method along minus the gradient."""

    def move(weights: Tensor) -> Tensor:
        first = gradient(weights)
        second = gradient(weights - step / 2 * first)
        third = gradient(weights - step / 2 * second)
        fourth = gradient(weights - step * third)
        return weights - step / 6 * (first + 2 * second + 2 * third + fourth)

    return move


def _exact_gradient(training: Tensor, alpha_bar: float, bias: bool, target: str) -> _Weights:
    """Gradient of the loss averaged over points and noise, from the second moments of input and target."""
    _, n, dim = training.shape
    points = torch.cat([training, torch.ones_like(training[..., :1])], -1) if bias else training
    scale = points.new_full((dim + bias,), math.sqrt(alpha_bar))
    scale[dim:] = 1  # the bias sees neither signal nor noise
    moments = points.mT @ points / n
    noise = torch.eye(dim, dim + bias, dtype=points.dtype, device=points.device)
    second = scale[:, None] * moments * scale + (1 - alpha_bar) * noise.mT @ noise
    cross = math.sqrt(1 - alpha_bar) * noise if target == "noise" else moments[:, :dim] * scale
    return lambda weights: 2 / dim * (weights @ second - cross)


def _drawn_gradient(
    training: Tensor, alpha_bar: float, bias: bool, target: str, batch: int, generator: torch.Generator | None
) -> _Weights:
    """Gradient of the loss on points drawn with replacement and fresh noise."""
    replicas, n, dim = training.shape
    device = training.device
    rows = torch.arange(replicas, device=device)[:, None]

    def gradient(weights: Tensor) -> Tensor:
        clean = training[rows, torch.randint(n, (replicas, batch), generator=generator, device=device)]
        noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype, device=device)
        seen = math.sqrt(alpha_bar) * clean + math.sqrt(1 - alpha_bar) * noise
        if bias:
            seen = torch.cat([seen, torch.ones_like(seen[..., :1])], -1)
        error = seen @ weights.mT - (noise if target == "noise" else clean)
        return 2 / (dim * batch) * error.mT @ seen

    return gradient
