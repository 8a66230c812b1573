"""One-pass spherical SGD in all dimensions: the step against autograd, and laws of any kind."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sgd_cases import ALPHA_BAR, CUBIC, TANH, Fixed, generator

from diffmem_lib.data import Gaussian
from diffmem_lib.simulation import spherical_sgd


@pytest.mark.parametrize("activation", [TANH, CUBIC])
def test_step_is_the_projected_gradient_of_the_loss(activation):
    dim, batch, step = 6, 4, 0.05
    points = torch.randn(batch, dim, dtype=torch.float64, generator=generator(1))
    start = [0.3, -0.5]
    runs = spherical_sgd(
        Fixed(points), activation, ALPHA_BAR, step, 1, 1,
        spikes=torch.eye(2, dim), start=start, batch=batch, generator=generator(2),
    )  # fmt: skip

    same = generator(2)
    bulk = torch.randn(1, dim, generator=same)[0].double()
    bulk[:2] = 0
    weight = torch.cat([torch.tensor(start).double(), torch.zeros(dim - 2).double()])
    weight = weight + bulk / bulk.norm() * math.sqrt(1 - weight @ weight)
    noise = torch.randn(1, batch, dim, generator=same)[0].double()
    weight.requires_grad_(True)
    skip = math.sqrt(1 - ALPHA_BAR)
    noised = math.sqrt(ALPHA_BAR) * points + skip * noise
    y = noised @ weight
    phi = -0.8 * torch.tanh(y) if activation is TANH else 0.05 * (y**3 - 3 * y) - 0.1 * y
    loss = (noise - skip * noised - phi[:, None] * weight).square().sum(dim=1).mean()
    (gradient,) = torch.autograd.grad(loss, weight)
    with torch.no_grad():
        moved = weight - step * (gradient - (gradient @ weight) * weight)
        moved /= moved.norm()
    np.testing.assert_allclose(runs.overlaps[0, 0], start, atol=1e-6)
    np.testing.assert_allclose(runs.overlaps[0, 1], moved[:2], atol=2e-6)


def test_float64_law_of_any_kind_runs_in_full():
    law = Gaussian(torch.zeros(4, dtype=torch.float64), torch.diag(torch.tensor([1.0, 2, 3, 4], dtype=torch.float64)))
    runs = spherical_sgd(law, TANH, 0.5, 0.05, 30, 40, spikes=torch.eye(4)[3:], generator=generator())
    assert runs.overlaps.shape == (40, 2, 1)
    assert np.isfinite(runs.overlaps).all()
    assert (np.abs(runs.overlaps) <= 1 + 1e-6).all()
