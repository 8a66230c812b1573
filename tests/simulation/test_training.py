"""simulation.training: SGD's gradient is autograd's, the flow ends at the fit, and losses are means over draws."""

import itertools
import math

import pytest
import torch

from diffmem_lib.simulation import denoising_loss, fit_linear, linear_training


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def points():
    scale = torch.tensor([1.5, 0.7, 0.3], dtype=torch.float64)
    return scale * torch.randn(2, 12, 3, generator=gen(), dtype=torch.float64) + torch.tensor([1.0, 0.0, -0.5])


def state_after(steps, *args, **options):
    return next(itertools.islice(linear_training(*args, **options), steps, None))


def test_starts_at_zero_and_counts_time(points):
    first = state_after(0, points, 0.8, 0.1)
    assert not first.matrix.any()
    assert not first.offset.any()
    assert state_after(3, points, 0.8, 0.1).time == pytest.approx(0.3)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("target", ["noise", "data"])
def test_a_step_of_sgd_is_autograds_on_the_same_draws(points, bias, target):
    level, step, batch = 0.7, 0.2, 5
    states = linear_training(points, level, step, batch=batch, bias=bias, target=target, generator=gen(3))
    before, after = itertools.islice(states, 1, 3)
    same = gen(3)
    for _ in range(2):  # the second step's draws
        index = torch.randint(12, (2, batch), generator=same)
        noise = torch.randn(2, batch, 3, generator=same, dtype=torch.float64)
    matrix, offset = before.matrix.clone().requires_grad_(), before.offset.clone().requires_grad_()
    clean = torch.stack([points[r, index[r]] for r in range(2)])
    seen = math.sqrt(level) * clean + math.sqrt(1 - level) * noise
    answer = torch.einsum("rij,rbj->rbi", matrix, seen) + offset[:, None]
    loss = ((answer - (noise if target == "noise" else clean)) ** 2).mean((1, 2)).sum()
    gradients = torch.autograd.grad(loss, [matrix, offset])
    assert torch.allclose(after.matrix, before.matrix - step * gradients[0])
    expected = before.offset - step * gradients[1] if bias else torch.zeros(2, 3, dtype=torch.float64)
    assert torch.allclose(after.offset, expected)


def test_the_flow_follows_minus_the_gradient_of_its_loss(points):
    """Its loss on the training set, by ``TrainingState.loss``, falls by the squared gradient, from autograd."""
    mean, centred = points.mean(1), points - points.mean(1, keepdim=True)
    covariance = centred.mT @ centred / 12
    states = list(itertools.islice(linear_training(points, 0.7, 1e-3, bias=True), 400, 403))
    losses = torch.stack([state.loss(mean, covariance) for state in states])
    slope = (losses[2] - losses[0]) / 2e-3
    moved = sum(
        ((getattr(states[2], name) - getattr(states[0], name)) / 2e-3).pow(2).flatten(1).sum(1)
        for name in ("matrix", "offset")
    )
    assert torch.allclose(slope, -moved, rtol=1e-5)


def test_the_flow_is_of_order_four_in_the_step(points):
    exact = state_after(1600, points, 0.8, 0.0025).matrix
    errors = [(state_after(round(4 / step), points, 0.8, step).matrix - exact).abs().max() for step in (0.2, 0.1)]
    assert 12 < errors[0] / errors[1] < 20


def test_ends_at_the_fit(points):
    zero = torch.zeros(3, dtype=torch.float64)
    ended = state_after(2000, points, 0.8, 0.2)
    fitted = fit_linear(points, 0.0, zero)
    answer = fitted.noise(torch.eye(3, dtype=torch.float64).expand(2, 3, 3), 0.8).mT
    assert torch.allclose(ended.matrix, answer)
    law = zero, torch.diag(torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64))
    assert torch.allclose(ended.loss(*law), denoising_loss(fitted, 0.8, *law))
    with_bias = state_after(6000, points, 0.8, 0.2, bias=True)
    learned = fit_linear(points)
    assert torch.allclose(with_bias.loss(*law), denoising_loss(learned, 0.8, *law))


def test_both_targets_end_at_the_same_denoiser(points):
    noise, data = (state_after(2000, points, 0.8, 0.2, target=target).matrix for target in ("noise", "data"))
    identity = torch.eye(3, dtype=torch.float64)
    assert torch.allclose(math.sqrt(0.8) * data + math.sqrt(0.2) * noise, identity)


@pytest.mark.parametrize("target", ["noise", "data"])
def test_loss_is_the_mean_over_data_and_noise(points, target):
    state = state_after(7, points, 0.6, 0.3, bias=True, target=target)
    mean, factor = (
        torch.tensor([0.5, -1.0, 0.2]).double(),
        torch.tensor([[1.0, 0, 0], [0.4, 0.5, 0], [0, 0.2, 0.3]]).double(),
    )
    clean = mean + torch.randn(200_000, 3, generator=gen(1), dtype=torch.float64) @ factor.T
    noise = torch.randn(clean.shape, generator=gen(2), dtype=torch.float64)
    seen = math.sqrt(0.6) * clean + math.sqrt(0.4) * noise
    goal = noise if target == "noise" else clean
    for replica in range(2):
        squared = ((seen @ state.matrix[replica].T + state.offset[replica] - goal) ** 2).mean(1)
        error = float(squared.std()) / math.sqrt(len(squared))
        expected = float(state.loss(mean, factor @ factor.T)[replica])
        assert abs(float(squared.mean()) - expected) < 4.5 * error


def test_replicas_do_not_mix(points):
    together = state_after(5, points, 0.8, 0.1)
    alone = state_after(5, points[1:], 0.8, 0.1)
    assert torch.allclose(together.matrix[1:], alone.matrix)


def test_sgd_repeats_by_its_generator(points):
    first, again = (state_after(4, points, 0.8, 0.1, batch=3, generator=gen(5)).matrix for _ in range(2))
    assert torch.equal(first, again)


def test_says_that_a_step_is_too_large(points):
    with pytest.raises(ValueError, match="step must be so small"):
        state_after(5000, points, 0.8, 50.0)
