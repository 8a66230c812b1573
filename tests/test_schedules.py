import math

import mpmath
import pytest
import torch

from diffmem_lib.schedules import NoiseSchedule, linear_schedule


def test_default_is_the_published_schedule():
    schedule = linear_schedule()
    assert schedule.betas.shape == schedule.alphas_bar.shape == schedule.sigmas.shape == (1000,)
    assert schedule.betas.dtype == schedule.alphas_bar.dtype == schedule.sigmas.dtype == torch.float64
    assert schedule.betas[0].item() == pytest.approx(1e-4, rel=1e-15)
    assert schedule.betas[-1].item() == pytest.approx(2e-2, rel=1e-15)
    assert torch.allclose(schedule.betas.diff(), torch.full((999,), (2e-2 - 1e-4) / 999, dtype=torch.float64))


def test_does_not_change_with_the_tensor_it_was_made_of():
    betas = torch.tensor([0.1, 0.2], dtype=torch.float64)
    schedule = NoiseSchedule(betas)
    betas.mul_(2)
    assert schedule.betas.tolist() == [0.1, 0.2]


@pytest.mark.parametrize("arguments", [(1000, 1e-4, 2e-2), (7, 1e-9, 1e-9), (20, 0.3, 0.9), (1, 0.5, 0.6)])
def test_against_mpmath(arguments):
    schedule = linear_schedule(*arguments)
    with mpmath.workdps(40):
        product = mpmath.mpf(1)
        for beta, alpha_bar, sigma in zip(schedule.betas, schedule.alphas_bar, schedule.sigmas, strict=True):
            product *= 1 - mpmath.mpf(beta.item())
            assert alpha_bar.item() == pytest.approx(float(product), rel=1e-13)
            # 1e-9 squared away from 1 would have no digits left if sigma came from 1 − ᾱ in float64
            assert sigma.item() == pytest.approx(float(mpmath.sqrt((1 - product) / product)), rel=1e-13)


def test_one_step_uses_the_smallest_beta():
    assert linear_schedule(1, 0.1, 0.2).betas.tolist() == [0.1]


def test_schedule_of_own_betas():
    schedule = NoiseSchedule(torch.tensor([0.5, 0.75], dtype=torch.float32))
    assert schedule.betas.dtype == torch.float64
    assert schedule.alphas_bar.tolist() == pytest.approx([0.5, 0.125], rel=1e-15)
    assert schedule.sigmas.tolist() == pytest.approx([1.0, math.sqrt(7)], rel=1e-15)


def test_is_frozen():
    with pytest.raises(AttributeError):
        linear_schedule(3).betas = torch.ones(3)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("steps", {"steps": 0}),
        ("steps", {"steps": -3}),
        ("steps", {"steps": 10.0}),
        ("steps", {"steps": True}),
        ("beta_min", {"beta_min": 0.0}),
        ("beta_min", {"beta_min": -1e-4}),
        ("beta_min", {"beta_min": math.nan}),
        ("beta_min", {"beta_min": "1e-4"}),
        ("beta_min", {"beta_min": 1.0}),
        ("beta_max", {"beta_max": 1.0}),
        ("beta_max", {"beta_max": 5e-5}),
        ("beta_max", {"beta_max": math.inf}),
        ("beta_max", {"beta_max": torch.tensor([0.01, 0.02])}),
    ],
)
def test_linear_schedule_refuses(name, arguments):
    with pytest.raises(ValueError, match=rf"^{name} must be "):
        linear_schedule(**arguments)


@pytest.mark.parametrize(
    "betas",
    [
        torch.tensor([0.1, 0.0]),
        torch.tensor([0.1, 1.0]),
        torch.tensor([0.1, -0.1]),
        torch.tensor([0.1, math.nan]),
        torch.tensor([0.1, math.inf]),
        torch.tensor([1, 1]),
        torch.tensor([]),
        torch.tensor([[0.1]]),
        torch.tensor(0.1),
        [0.1, 0.2],
        torch.full((1000,), 0.9),  # 1/ᾱ overflows
    ],
)
def test_schedule_refuses(betas):
    with pytest.raises(ValueError, match=r"^betas must "):
        NoiseSchedule(betas)
