"""Unchanged on a GPU: the same results wherever the data live; and without a GPU, what one would show.

A second device of paper stands in for one (tests/second_device.py): what is forgotten on the CPU, or taken from there,
is refused as it would be beside a GPU. Where there is a CUDA device, the same runs there.
"""

import tempfile
from contextlib import contextmanager, nullcontext
from itertools import islice

import numpy as np
import pytest
import second_device
import torch

from diffmem_lib.data import BlockGrammar, Gaussian, GaussianMixture, MixedCumulant, load_patches
from diffmem_lib.memorization import audit, coverage_risk, local_sparsity, neighbour_gap, survey
from diffmem_lib.points import attention
from diffmem_lib.schedules import NoiseSchedule
from diffmem_lib.simulation import (
    MLP,
    EmpiricalDenoiser,
    Ensemble,
    UNet,
    energy_levels,
    fit_linear,
    hermite_activation,
    reduced_chain,
    sample,
    sample_ddpm,
    sample_flow,
    spherical_sgd,
    train_networks,
)

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def points(n, dim, seed, dtype=torch.float32):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype, device="cpu")


def cases(dtype):
    training, x = points(700, 12, 0, dtype), points(80, 12, 1, dtype)
    training[600:640] = training[0] + 1e-5 * points(40, 12, 2, dtype)  # more than a short list holds
    training[650] = training[1]
    x[:30] = training[:30] + 1e-4
    return training, x


def of_data(training, x):
    """The results of all that is promised to run unchanged on any device, and draws nothing."""
    for shift in (0.0, 40.0):
        denoiser = EmpiricalDenoiser(training + shift)
        for sigma in (1e-3, 0.3, 2.0, 1e3):
            yield denoiser.denoise(x + shift, sigma)
            yield denoiser.score(x + shift, sigma) * sigma**2
            yield denoiser.log_density(x + shift, sigma)
            posterior = denoiser.posterior(x + shift, sigma)
            yield from (posterior.index, posterior.weight, posterior.participation_ratio)
    gap = neighbour_gap(x, training)
    yield from (gap.index, gap.distance, local_sparsity(training), coverage_risk(training).risk)
    report = audit(x, training, held_out=x[40:], labels=[0, 1] * 350)
    yield from (report.memorized, report.nearest, report.distance, report.copied, report.rate, report.coverage.risk)
    yield survey(training, k=5).sparsity
    weights = x[:3].square().sum(1) / x[:3].square().sum()
    square = training[:20].T @ training[:20]
    for covariances in (torch.stack([square, 2 * square, square / 2]), x[4:7, 0].square()):
        law = GaussianMixture(weights, x[:3], covariances)
        yield from (law.log_prob(x, 0.5), law.score(x, 0.5), law.denoise(x, 0.5), law.covariance)
    yield fit_linear(training, 0.1).noise(x, 0.3)


def of_chance(training, generator):
    """The same of all that draws, from a ``generator`` on the device of ``training``."""
    sigmas, betas = (torch.tensor(v, dtype=torch.float64, device=generator.device) for v in ([3, 1, 0.3], [0.1, 0.3]))
    denoiser = EmpiricalDenoiser(training)
    for method in ("ode", "ancestral"):
        yield sample(lambda y, s: denoiser.denoise(y.to(training.dtype), s), 5, 12, sigmas, method, generator)
    for eigenbasis in (True, False):
        yield sample_ddpm(fit_linear(training), 5, NoiseSchedule(betas), generator, eigenbasis=eigenbasis)
    yield sample_flow(fit_linear(training), 5, NoiseSchedule(betas), generator)
    yield Gaussian(training[0], training[:20].T @ training[:20]).sample(9, generator)
    for square in (9.0, training[:4].square().sum(1)):
        found = energy_levels(12, 5.0, square, 4, generator, levels=8)
        yield from (found.energies, found.square, found.rest(0.8), found.expected(0.8))
    for strings in BlockGrammar(generator=generator).sample(2, 3, generator):
        yield from (strings.one_hot, strings.spelled_by(strings.one_hot))
    for latent in ("rademacher", "three_point", "student_t", "skewed"):
        law = MixedCumulant(12, covariance_snr=1.0, cumulant_snr=2.0, latent=latent)
        yield from (law.sample(9, generator), law.mean_clone().mean, law.gaussian_clone().covariance)
        settings = {"generator": generator, "every": 2, "batch": 3, "start": [0.1, 0.2], "threshold": 0.9}
        for dynamics in (spherical_sgd, reduced_chain):
            runs = dynamics(law, hermite_activation([0, 0, 0.5, 1]), 0.5, 0.05, 6, 4, **settings)
            yield from map(torch.from_numpy, (runs.overlaps, runs.recovery))
    yield from of_networks(training, generator)


def of_networks(training, generator):
    """Weights, losses and estimates of an MLP and a U-Net that go on from a checkpoint in the middle."""
    for kind, size in ((MLP, 12), (UNet, (2, 6))):
        networks = [kind(size, 8, generator=generator, dtype=training.dtype) for _ in range(2)]
        options = {"batch": 3, "rate": 0.01, "every": 2, "held_out": {"fresh": training[600:605]}, "sigmas": [0.5]}
        run = train_networks(Ensemble(networks), training[:20].unflatten(0, (2, 10)), generator=generator, **options)
        next(run)
        with tempfile.TemporaryDirectory() as folder:
            next(run).save(f"{folder}/run")
            options["resume"] = f"{folder}/run"
            *_, last = islice(
                train_networks(Ensemble(networks), training[:20].unflatten(0, (2, 10)), generator=generator, **options),
                2,
            )
        yield from (last.training_loss.nan_to_num(), last.losses["fresh"], *last.networks.weights.values())
        yield last.networks(training[:10].unflatten(0, (2, 5)), 0.3)
        sigmas = torch.tensor([2.0, 0.3], dtype=training.dtype, device=generator.device)
        yield last.networks.sample(3, sigmas, generator=generator)
        yield last.latest[1](training[:5], training[:5, 0].exp()).detach()


def the_same(found, expected):
    return all(torch.equal(a.cpu().nan_to_num(), b.nan_to_num()) for a, b in zip(found, expected, strict=True))


def force_the_loop(monkeypatch):
    monkeypatch.setattr(attention, "fused_operator", lambda: None)


@DTYPES
def test_on_another_device_all_stays_there_and_is_the_same(dtype, monkeypatch):
    """Equal to the last bit, and from the loop: torch's operator is the CPU's."""
    monkeypatch.setattr(attention, "fused", lambda *args: pytest.fail("the operator for CPUs was chosen"))
    with monkeypatch.context() as patched:
        force_the_loop(patched)
        expected = list(of_data(*cases(dtype)))
        by_chance = list(of_chance(cases(dtype)[0], torch.Generator().manual_seed(3)))
    with second_device.present() as away:
        training, x = (points.to(away) for points in cases(dtype))
        found = list(of_data(training, x))
        assert all(result.device == away for result in found)
        assert the_same(found, expected)
        assert the_same(of_chance(training, second_device.Generator().manual_seed(3)), by_chance)


@NEEDS_CUDA
@DTYPES
def test_on_a_gpu(dtype, monkeypatch):
    """Other kernels round otherwise, and draw other numbers."""
    digits = {torch.float32: 2e-4, torch.float64: 1e-8}[dtype]
    expected = list(of_data(*cases(dtype)))
    training, x = (points.cuda() for points in cases(dtype))
    for result, reference in zip(of_data(training, x), expected, strict=True):
        assert result.is_cuda
        torch.testing.assert_close(result.cpu(), reference, rtol=digits, atol=digits, equal_nan=True)
    for result in of_chance(training, torch.Generator("cuda").manual_seed(3)):
        assert not result.isnan().any()


@contextmanager
def float64_by_default():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("path", ["fused", "loop"])
@DTYPES
def test_nothing_hangs_on_default_device_or_dtype(dtype, path, monkeypatch):
    """A tensor without a device goes to the default one, beside a GPU's data the CPU; here it goes to "meta"."""
    attention.fused_operator.cache_clear()  # so that it is looked for there
    if path == "loop":
        force_the_loop(monkeypatch)
    results = []
    for default in (nullcontext(), torch.device("meta"), float64_by_default()):
        with default:
            training, x = cases(dtype)
            generator = torch.Generator("cpu").manual_seed(3)
            patches = load_patches(8, 5, generator).images
            results.append([*of_data(training, x), *of_chance(training, generator), patches])
    assert all(the_same(result, results[0]) for result in results)


def test_the_second_device_refuses_what_a_gpu_would():
    """Else the test above would show nothing."""
    with second_device.present() as away:
        there, here = torch.ones(4, 3).to(away), torch.ones(4, 3)
        for mixed in (
            lambda: there + here,
            lambda: there.mul_(here),
            lambda: there @ here.T,
            lambda: torch.cat([there, here]),
            lambda: here[there[:, 0] > 0],
        ):
            with pytest.raises(RuntimeError, match="same device"):
                mixed()
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()
        with pytest.raises(RuntimeError, match="numpy"):
            np.asarray(there)
        for kind, device in ((torch.Generator, away), (second_device.Generator, "cpu")):
            with pytest.raises(RuntimeError, match="generator"):
                torch.randn(3, generator=kind(), device=device)
            with pytest.raises(RuntimeError, match="generator"):
                torch.empty(3, device=device).normal_(generator=kind())
        there[1:].zero_()
        here.copy_(there)
        assert here.tolist() == there.cpu().tolist() == [[1.0] * 3] + [[0.0] * 3] * 3
        assert there.new_ones(2).device == torch.zeros_like(there).device == (there * 2).device == away


def test_other_devices_are_refused():
    training = points(20, 3, 0)
    away = torch.empty(4, 3, device="meta")
    with pytest.raises(ValueError, match="x must be on the device cpu, got one on meta"):
        EmpiricalDenoiser(training).denoise(away, 1.0)
    for name in ("samples", "held_out"):
        with pytest.raises(ValueError, match=f"{name} must be on the device cpu, got one on meta"):
            audit(**{"samples": training, "training": training.numpy(), name: away})
    with pytest.raises(ValueError, match="samples must be on the device cpu"):
        neighbour_gap(away, training)


@contextmanager
def rounded(how):
    if how == "autocast":
        with torch.autocast("cpu", dtype=torch.bfloat16):
            yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(how)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("how", ["medium", "high", "autocast"])
def test_rounded_products_do_not_spoil_results(how):
    """Training scripts let products round to bfloat16 or TF32, where short lists and means would be wrong."""
    training, x = points(3000, 300, 0), points(60, 300, 1)
    x[:30] = training[:30] + 0.5 * points(30, 300, 2)
    denoiser, sigma = EmpiricalDenoiser(training), 4.0
    expected, gap = denoiser.denoise(x, sigma), neighbour_gap(x, training)
    with rounded(how):
        torch.testing.assert_close(denoiser.denoise(x, sigma), expected, rtol=1e-4, atol=1e-6)
        again = neighbour_gap(x, training)
        assert torch.equal(again.index, gap.index)
        assert torch.equal(again.distance, gap.distance)
