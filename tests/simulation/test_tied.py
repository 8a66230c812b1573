"""simulation.tied against the one-neuron dynamics, autograd of the loss written out, and exact cases."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from diffmem_lib import simulation
from diffmem_lib.data import MixedCumulant
from diffmem_lib.simulation import tied_training

LAW = MixedCumulant(6, covariance_snr=3.0, cumulant_snr=20.0, mean_snr=1.0)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def run(steps, *arguments, **options):
    """The state after so many steps, and the one before any."""
    states = tied_training(*arguments, every=steps, **options)
    first = next(states)
    return next(states), first


def test_one_row_of_fixed_length_with_a_fixed_skip_is_the_neuron_in_law():
    """Overlaps with both spikes in 400 runs of each; those of runs a third as long differ."""
    law, alpha_bar, step, steps, replicas = MixedCumulant(8, 3.0, 50.0), 0.7, 0.05, 60, 400

    def neurons(steps, seed):
        activation = simulation.tanh_activation(-0.8)
        runs = simulation.spherical_sgd(law, activation, alpha_bar, step, steps, replicas, generator=seeded(seed))
        return np.abs(runs.overlaps[:, -1])

    options = {"batch": 1, "gain": 1.0, "skip": math.sqrt(1 - alpha_bar), "train_skip": False, "unit_norm": True}
    state, _ = run(
        steps, law, lambda y: -0.8 * torch.tanh(y), alpha_bar, 1, step, replicas, generator=seeded(2), **options
    )
    overlaps = state.weights[:, 0, :2].abs().numpy()
    for found, own in zip(neurons(steps, 1).T, overlaps.T, strict=True):
        assert ks_2samp(found, own).pvalue > 1e-3
    assert ks_2samp(neurons(steps // 3, 3)[:, 1], overlaps[:, 1]).pvalue < 1e-6


@pytest.mark.parametrize("method", ["sgd", "adam"])
@pytest.mark.parametrize("train_skip", [True, False])
def test_a_step_goes_down_the_gradient_of_the_loss_written_out(method, train_skip):
    alpha_bar, step, gain = 0.6, 0.01, 1.3

    class Still:
        """The same points at every call."""

        dim = 5
        points = torch.randn(12, 5, generator=seeded(4))

        def sample(self, n, generator=None):
            return self.points[:n]

    generator = seeded(5)
    states = tied_training(
        Still(), torch.tanh, alpha_bar, 3, step, 2, batch=6, method=method, gain=gain, train_skip=train_skip,
        every=1, generator=generator,
    )  # fmt: skip
    before = next(states)
    noise = torch.randn(2, 6, 5, generator=torch.Generator().set_state(generator.get_state()))
    after = next(states)
    points = Still.points.unflatten(0, (2, 6))
    for r in range(2):
        rows, skip = before.weights[r].clone().requires_grad_(), before.skip[r].clone().requires_grad_()
        noised = math.sqrt(alpha_bar) * points[r] + math.sqrt(1 - alpha_bar) * noise[r]
        total = 0
        for x, e in zip(noised, noise[r], strict=True):
            predicted = skip * x + sum(torch.tanh(gain * (w @ x)) * w for w in rows)
            total = total + (e - predicted).square().sum() / 6
        slopes = torch.autograd.grad(total, [rows, skip])
        moved = [step * (slope.sign() if method == "adam" else slope) for slope in slopes]  # Adam's first step
        torch.testing.assert_close(after.weights[r], (rows - moved[0]).detach(), rtol=1e-4, atol=1e-5)
        expected = (skip - moved[1]).detach() if train_skip else before.skip[r]
        torch.testing.assert_close(after.skip[r], expected, rtol=1e-4, atol=1e-5)
        assert before.loss(points, noise)[r] == pytest.approx(total.item(), rel=1e-4)


def test_states_are_copies_and_count_samples():
    states = tied_training(LAW, torch.tanh, 0.5, 2, 1e-3, 3, batch=7, every=4, generator=seeded())
    first, second = next(states), next(states)
    kept = first.weights.clone()
    next(states)
    assert torch.equal(first.weights, kept)
    assert not torch.equal(first.weights, second.weights)
    assert (second.step, second.samples) == (4, 28)
    assert first.weights.norm(dim=2).mean() == pytest.approx(0.1, rel=0.3)
    assert torch.equal(first.skip, torch.ones(3))


def test_replicas_do_not_see_each_other():
    """With the rows of one of them changed, the other takes the same way."""
    start = torch.randn(2, 3, 6, generator=seeded(7))
    other = start.clone()
    other[1] *= 2
    ends = [run(20, LAW, torch.tanh, 0.5, 3, 1e-3, 2, start=s, generator=seeded(8))[0] for s in (start, other)]
    torch.testing.assert_close(ends[0].weights[0], ends[1].weights[0], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(ends[0].weights[1], ends[1].weights[1])


def test_rows_of_fixed_length_have_it():
    state, first = run(30, LAW, torch.tanh, 0.5, 4, 1e-2, 3, unit_norm=True, generator=seeded(9))
    for each in (state, first):
        torch.testing.assert_close(each.weights.norm(dim=2), torch.ones(3, 4))


def test_a_prediction_is_the_sum_over_rows():
    state, _ = run(3, LAW, torch.tanh, 0.5, 2, 1e-3, 2, generator=seeded(10))
    x = torch.randn(4, 6, generator=seeded(11))
    expected = torch.stack([
        s * x + sum(torch.tanh(state.gain * (x @ w))[:, None] * w for w in rows)
        for rows, s in zip(state.weights, state.skip, strict=True)
    ])  # fmt: skip
    torch.testing.assert_close(state.predict(x), expected)
    torch.testing.assert_close(state.predict(x.expand(2, -1, -1)), expected)


def test_a_step_too_large_is_named():
    states = tied_training(LAW, lambda y: y**3, 0.5, 2, 50.0, 1, every=20, generator=seeded())
    with pytest.raises(ValueError, match="step must be so small that the weights stay finite, got 50"):
        list(itertools.islice(states, 20))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"method": "newton"}, "method must be one of sgd, adam"),
        ({"start": torch.ones(2, 3, 5)}, r"start must be a float32 or float64 tensor of shape \(2, 3, 6\)"),
        ({"start": 0.0}, "start must be"),
        ({"gain": -1.0}, "gain must be"),
        ({"batch": 0}, "batch must be"),
        ({"every": 0}, "every must be"),
        ({"skip": math.nan}, "skip must be"),
    ],
)
def test_bad_options(change, match):
    with pytest.raises(ValueError, match=match):
        tied_training(LAW, torch.tanh, 0.5, 3, 1e-3, 2, **change)


def test_bad_points():
    state, _ = run(1, LAW, torch.tanh, 0.5, 2, 1e-3, 2, generator=seeded())
    with pytest.raises(ValueError, match="noised must be"):
        state.predict(torch.ones(3, 5))
    with pytest.raises(ValueError, match="points must be finite"):
        state.loss(torch.full((3, 6), math.nan), torch.ones(3, 6))
