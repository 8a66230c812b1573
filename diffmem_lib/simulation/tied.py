r"""The two-layer denoiser with tied weights and a trained skip, in one-pass training.

The denoiser :math:`f(x_t) = s\,x_t + \sum_i \varphi(c\,w_i\cdot x_t)\,w_i` predicts the noise ε of
:math:`x_t = \sqrt{\bar\alpha}\,x + \sqrt{1-\bar\alpha}\,\varepsilon`. It is that of the published code of Bardone,
Merger and Goldt (arXiv:2603.12901): its rows w_i have no fixed length, and its skip s is trained with them. With one
row of fixed length, c = 1 and a fixed skip it is the neuron of :mod:`~diffmem_lib.simulation.full_dynamics`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .. import _checks, _tensors
from .sgd_runs import Law, float32_samples, generator_device

__all__ = ["TiedState", "tied_training"]

METHODS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


@dataclass(frozen=True, eq=False)
class TiedState:
    """R denoisers of p rows after ``step`` steps, for which each has seen ``samples`` fresh points.

    ``weights`` (R, p, d) are their rows w_i, ``skip`` (R,) their s.
    """

    step: int
    samples: int
    weights: Tensor
    skip: Tensor
    alpha_bar: float
    gain: float
    activation: Callable[[Tensor], Tensor]

    def predict(self, noised: Tensor) -> Tensor:
        """Predicted noise (R, m, d) of points (R, m, d), or (m, d) for all, at the noise level of training.

        Raises
        ------
        ValueError
            If ``noised`` is of another shape, not finite, or on another device.
        """
        return self._predicted(self._like(noised, "noised"))

    def loss(self, points: Tensor, noise: Tensor) -> Tensor:
        """Squared error |ε − f(x_t)|², summed over dimensions, (R,): its mean over points and noise as in `predict`.

        Raises
        ------
        ValueError
            As for :meth:`predict`.
        """
        return self._errors(self._like(points, "points"), self._like(noise, "noise")).mean(1)

    def _like(self, value: Tensor, name: str) -> Tensor:
        replicas, _, dim = self.weights.shape
        shape = ("m", dim) if getattr(value, "ndim", 2) == 2 else (replicas, "m", dim)
        return _tensors.floating(value, name, shape=shape, device=self.weights.device).to(self.weights.dtype)

    def _predicted(self, noised: Tensor) -> Tensor:
        seen = self.activation(self.gain * (noised @ self.weights.mT))
        return self.skip[:, None, None] * noised + seen @ self.weights

    def _errors(self, points: Tensor, noise: Tensor) -> Tensor:
        noised = math.sqrt(self.alpha_bar) * points + math.sqrt(1 - self.alpha_bar) * noise
        return (self._predicted(noised) - noise).square().sum(2)


def tied_training(
    law: Law,
    activation: Callable[[Tensor], Tensor],
    alpha_bar: float,
    neurons: int,
    step: float,
    replicas: int,
    *,
    batch: int = 100,
    method: str = "sgd",
    start: float | Tensor = 0.1,
    gain: float | None = None,
    skip: float = 1.0,
    train_skip: bool = True,
    unit_norm: bool = False,
    every: int = 100,
    generator: torch.Generator | None = None,
) -> Iterator[TiedState]:
    r"""States of R denoisers in training on fresh points only, one after each ``every`` steps, without end.

    A step goes down the gradient of :math:`|\varepsilon - f(x_t)|^2`, summed over dimensions and averaged over a batch,
    with respect to rows and skip. (The mean over dimensions of the published code is d times less: so is its step.)
    Arithmetic is float32, on the generator's device.

    Parameters
    ----------
    law
        Anything with ``dim`` and ``sample(n, generator)``.
    activation
        φ, elementwise on tensors.
    alpha_bar
        Signal level ᾱ, in (0, 1).
    neurons, replicas
        Rows p of each denoiser, and number R of independent ones.
    step
        Step size η > 0, of SGD or of Adam (β = .9, .999).
    batch
        Fresh points a step, for each denoiser.
    method
        ``sgd`` or ``adam``.
    start
        The first rows (R, p, d), or the standard deviation of their entries times √d. Default: that of the published
        code.
    gain
        c; by default √(ᾱ/(1−ᾱ)), as published.
    skip, train_skip
        s at first, and whether it is trained.
    unit_norm
        Whether rows have length 1: each step then leaves out the gradient's part along its row, and normalizes.
    every
        Steps between states.
    generator
        Source of all randomness.

    Raises
    ------
    ValueError
        At the call, if an argument is not as said above; later, if the weights are no longer finite.
    """
    alpha_bar = _checks.number(alpha_bar, "alpha_bar", low=0, high=1, low_open=True, high_open=True)
    rate = _checks.number(step, "step", low=0, low_open=True)
    every, batch = _checks.integer(every, "every", low=1), _checks.integer(batch, "batch", low=1)
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {_checks.shown(method)}")
    gain = (
        math.sqrt(alpha_bar / (1 - alpha_bar)) if gain is None else _checks.number(gain, "gain", low=0, low_open=True)
    )
    shape = _checks.integer(replicas, "replicas", low=1), _checks.integer(neurons, "neurons", low=1), law.dim
    rows = _first_rows(start, shape, unit_norm, generator)
    state = TiedState(0, 0, rows, rows.new_full(shape[:1], _checks.number(skip, "skip")), alpha_bar, gain, activation)
    trained = [state.weights, state.skip] if train_skip else [state.weights]
    optimizer = METHODS[method](trained, lr=rate)
    return _states(state, optimizer, law, batch, every, unit_norm, generator)


def _states(
    state: TiedState,
    optimizer: torch.optim.Optimizer,
    law: Law,
    batch: int,
    every: int,
    unit_norm: bool,
    generator: torch.Generator | None,
) -> Iterator[TiedState]:
    """Copies of the state that the optimizer changes in place."""
    weights = state.weights
    for step in itertools.count():
        if step % every == 0:
            if not (weights.isfinite().all() and state.skip.isfinite().all()):
                raise ValueError(
                    f"step must be so small that the weights stay finite, got {optimizer.defaults['lr']:g}"
                )
            yield replace(state, step=step, samples=step * batch, weights=weights.clone(), skip=state.skip.clone())
        points = float32_samples(law, len(weights) * batch, generator).unflatten(0, (len(weights), batch))
        noise = torch.empty_like(points).normal_(generator=generator)
        _descend(state, optimizer, points, noise, unit_norm)


def _descend(
    state: TiedState, optimizer: torch.optim.Optimizer, points: Tensor, noise: Tensor, unit_norm: bool
) -> None:
    """One step of all denoisers, each on its own points (R, batch, d)."""
    trained, weights = optimizer.param_groups[0]["params"], state.weights
    with torch.enable_grad():
        for part in trained:
            part.requires_grad_()
        loss = state._errors(points, noise).mean(1).sum()
        gradients = torch.autograd.grad(loss, trained)
    for part, gradient in zip(trained, gradients, strict=True):
        along = (gradient * weights).sum(2, keepdim=True) * weights if unit_norm and part is weights else 0
        part.requires_grad_(False).grad = gradient - along
    optimizer.step()
    if unit_norm:
        weights /= weights.norm(dim=2, keepdim=True)


def _first_rows(
    start: float | Tensor, shape: tuple[int, int, int], unit_norm: bool, generator: torch.Generator | None
) -> Tensor:
    """The first rows (R, p, d), float32, a copy."""
    device = generator_device(generator)
    if isinstance(start, Tensor):
        rows = _tensors.floating(start, "start", shape=shape, device=device).to(torch.float32, copy=True)
    else:
        scale = _checks.number(start, "start", low=0, low_open=True) / math.sqrt(shape[2])
        rows = scale * torch.randn(shape, generator=generator, dtype=torch.float32, device=device)
    return rows / rows.norm(dim=2, keepdim=True) if unit_norm else rows
