"""What a GPU would show, without one: no tensor made on a default device, none mixed, no product rounded."""

from contextlib import contextmanager

import pytest
import torch

from diffmem_lib.memorization import audit, coverage_risk, local_sparsity, neighbour_gap, survey
from diffmem_lib.simulation import EmpiricalDenoiser, attention, sample


def points(n, dim, seed, dtype=torch.float32):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype, device="cpu")


def cases(dtype):
    training, x = points(700, 12, 0, dtype), points(80, 12, 1, dtype)
    training[600:640] = training[0] + 1e-5 * points(40, 12, 2, dtype)  # more than a short list holds
    training[650] = training[1]
    x[:30] = training[:30] + 1e-4
    return training, x


def everything(dtype):
    """The results of all that is promised to run unchanged on any device."""
    training, x = cases(dtype)
    for shift in (0.0, 40.0):
        denoiser = EmpiricalDenoiser(training + shift)
        for sigma in (1e-3, 0.3, 2.0, 1e3):
            yield denoiser.denoise(x + shift, sigma)
            yield denoiser.score(x + shift, sigma)
            yield denoiser.log_density(x + shift, sigma)
            posterior = denoiser.posterior(x + shift, sigma)
            yield from (posterior.index, posterior.weight, posterior.participation_ratio)
    gap = neighbour_gap(x, training)
    yield from (gap.index, gap.distance, local_sparsity(training), coverage_risk(training).risk)
    report = audit(x, training, held_out=x[40:], labels=[0, 1] * 350)
    yield from (report.memorized, report.nearest, report.distance, report.copied, report.rate, report.coverage.risk)
    yield survey(training.numpy(), k=5).sparsity
    generator = torch.Generator().manual_seed(3)
    sigmas = torch.tensor([3.0, 1.0, 0.3], dtype=torch.float64, device="cpu")
    for method in ("ode", "ancestral"):
        yield sample(lambda y, sigma: denoiser.denoise(y.to(dtype), sigma), 5, 12, sigmas, method, generator)


@pytest.mark.parametrize("path", ["fused", "loop"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_is_made_on_the_default_device(dtype, path, monkeypatch):
    """A tensor without a device goes to the default one, beside a GPU's data the CPU; here it goes to "meta"."""
    expected = list(everything(dtype))
    attention.fused_operator.cache_clear()  # so that it is looked for there
    if path == "loop":
        monkeypatch.setattr(attention, "fused_operator", lambda: None)
        expected = list(everything(dtype))
    with torch.device("meta"):
        found = list(everything(dtype))
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(found, expected, strict=True))


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
