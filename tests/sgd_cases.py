"""What the tests of one-pass SGD share: two activations, a small law, and a law of any other kind."""

from __future__ import annotations

import torch

from diffmem_lib.data import MixedCumulant
from diffmem_lib.simulation import hermite_activation, tanh_activation

CUBIC = hermite_activation((0.0, -0.1, 0.0, 0.05))
TANH = tanh_activation(-0.8)
ALPHA_BAR = 0.7
SMALL = MixedCumulant(5, cumulant_snr=10)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Fixed:
    """A law that returns the same points again, without ``spikes``: any object will do for the full dynamics."""

    def __init__(self, points: torch.Tensor) -> None:
        self.points, self.dim = points, points.shape[1]

    def sample(self, n: int, generator: torch.Generator | None = None) -> torch.Tensor:
        assert n == len(self.points)
        return self.points
