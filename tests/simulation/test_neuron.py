"""simulation.neuron: the change of the loss against Gaussian moments that are exact, and what it must not depend on."""

import math

import pytest
import torch

from diffmem_lib.simulation import neuron_loss_change


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def mean_and_error(replicas):
    return replicas.mean(0), replicas.std(0) / math.sqrt(len(replicas))


def cubic(y):
    return 0.1 * (y**3 - 3 * y)


def test_cubic_neuron_on_two_values_is_a_gaussian_moment():
    # E g with y = ±μ + √(1−μ²) z: −(18 c² + 4 s c) μ⁴ + 16 c² μ⁶ for φ = c He₃.
    alpha_bar, snr, overlaps, c = 0.7, 10.0, (0.6, 1.0), 0.1
    s = math.sqrt(1 - alpha_bar)
    replicas = neuron_loss_change(cubic, alpha_bar, overlaps, 20_000, 30, gen(), cumulant_snr=snr)
    assert replicas.shape == (30, 2)
    assert replicas.dtype == torch.float64
    mean, error = mean_and_error(replicas)
    for m, measured, spread in zip(overlaps, mean.tolist(), error.tolist(), strict=True):
        mu = m * math.sqrt(alpha_bar * snr / (1 + snr))
        exact = -(18 * c**2 + 4 * s * c) * mu**4 + 16 * c**2 * mu**6
        assert abs(measured - exact) < 5 * spread
        assert spread < abs(exact) / 20


def test_linear_neuron_on_a_covariance_spike():
    # φ = c y: L = const + (c² + 2 s c) E y², so that the change is (c² + 2 s c) ᾱ β m².
    alpha_bar, c, m = 0.5, -0.4, 0.8
    replicas = neuron_loss_change(lambda y: c * y, alpha_bar, (m,), 20_000, 30, gen(1), covariance_snr=2.0)
    mean, error = mean_and_error(replicas)
    exact = (c**2 + 2 * math.sqrt(0.5) * c) * alpha_bar * 2.0 * m**2
    assert abs(mean.item() - exact) < 5 * error.item()
    assert error.item() < abs(exact) / 50


@pytest.mark.parametrize("latent", ["rademacher", "three_point", "student_t", "skewed"])
def test_affine_neuron_feels_no_whitened_direction(latent):
    options = {"cumulant_snr": 5.0, "latent": latent, "dim": 3}
    replicas = neuron_loss_change(lambda y: 0.3 - 0.5 * y, 0.6, (0.5, 1.0), 20_000, 30, gen(2), **options)
    mean, error = mean_and_error(replicas)
    assert (mean.abs() < 5 * error).all()
    assert (error < 0.005).all()


def test_the_affine_neuron_takes_no_mean_away():
    options = {"cumulant_snr": 10.0}
    plain = neuron_loss_change(cubic, 0.7, (1.0,), 20_000, 30, gen(3), **options)
    less = neuron_loss_change(cubic, 0.7, (1.0,), 20_000, 30, gen(4), affine=(0.1, -0.3), **options)
    (one, one_error), (other, other_error) = mean_and_error(plain), mean_and_error(less)
    assert abs((one - other).item()) < 5 * math.hypot(one_error.item(), other_error.item())


def test_without_a_planted_direction_nothing_changes():
    assert (neuron_loss_change(torch.tanh, 0.5, (0.0, 0.7), 100, 3, gen()) == 0).all()


def test_generator_alone_decides():
    first, second = (neuron_loss_change(torch.tanh, 0.5, (0.7,), 100, 2, gen(9), cumulant_snr=1.0) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(("change", "named"), [
    ({"alpha_bar": 1.0}, "alpha_bar"), ({"alpha_bar": 0.0}, "alpha_bar"), ({"overlaps": (1.5,)}, "overlap"),
    ({"overlaps": (math.nan,)}, "overlap"), ({"n": 0}, "n"), ({"replicas": 0}, "replicas"), ({"dim": 1}, "dim"),
    ({"cumulant_snr": -1.0}, "cumulant_snr"), ({"covariance_snr": math.inf}, "covariance_snr"),
    ({"latent": "cauchy"}, "latent"), ({"generator": 0}, "generator"),
])  # fmt: skip
def test_bad_input_is_named(change, named):
    good = {"activation": torch.tanh, "alpha_bar": 0.5, "overlaps": (0.5,), "n": 10, "replicas": 2, "generator": None}
    with pytest.raises(ValueError, match=named):
        neuron_loss_change(**(good | change))
