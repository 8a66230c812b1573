import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from diffmem_lib.data import Gaussian, GaussianMixture
from diffmem_lib.simulation import SamplerState, sample, sample_states

FALSE_ALARM = 1e-5
MEAN = np.array([1.0, -2.0, 0.5])
COVARIANCE = np.array([[2.0, 0.6, 0.0], [0.6, 0.5, -0.1], [0.0, -0.1, 0.3]])
LEVELS = np.array([8.0, 5.0, 2.5, 1.0, 0.4, 0.1])


def levels(values=LEVELS, dtype=torch.float64):
    return torch.tensor(np.array(values), dtype=dtype)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian():
    return Gaussian(torch.from_numpy(MEAN), torch.from_numpy(COVARIANCE))


def zero(x, sigma):
    return torch.zeros_like(x)


def matrix_function(function):
    """function of the eigenvalues of COVARIANCE, as a matrix."""
    eigenvalues, eigenvectors = np.linalg.eigh(COVARIANCE)
    return eigenvectors @ np.diag(function(eigenvalues)) @ eigenvectors.T


def heun_factor(variance):
    """What Heun's method does to x − mean along a direction of this variance, whose slope is σ/(λ+σ²)."""
    factor = np.ones_like(variance)
    for sigma, lower in pairwise(LEVELS):
        step = lower - sigma
        first = sigma / (variance + sigma**2)
        second = lower / (variance + lower**2) * (1 + step * first)
        factor = factor * (1 + step * (first + second) / 2)
    return factor * variance / (variance + LEVELS[-1] ** 2)


def ancestral_moments(variance):
    """(factor on the start's deviation from the mean, variance added on the way) of the chain of Gaussian bridges."""
    factor, added = np.ones_like(variance), np.zeros_like(variance)
    for sigma, lower in pairwise([*LEVELS, 0.0]):
        shrink = variance / (variance + sigma**2)
        slope = shrink + (lower / sigma) ** 2 * (1 - shrink)
        factor, added = slope * factor, slope**2 * added + lower**2 * (1 - (lower / sigma) ** 2)
    return factor, added


def check_moments(x, mean, covariance):
    """Mean and covariance of Gaussian samples against the exact ones, within their exact standard errors."""
    n, dim = x.shape
    limit = stats.norm.isf(FALSE_ALARM / 2 / (dim + dim * (dim + 1) / 2))
    assert (np.abs(x.mean(0) - mean) <= limit * np.sqrt(np.diag(covariance) / n)).all()
    second = (x - mean).T @ (x - mean) / n
    error = np.sqrt((np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2) / n)
    assert (np.abs(second - covariance) <= limit * error).all()


def test_ode_is_the_discrete_recursion_sample_by_sample():
    x = sample(gaussian().denoise, 50, 3, levels(), "ode", seeded())
    start = LEVELS[0] * torch.randn(50, 3, generator=seeded(), dtype=torch.float64).numpy()
    np.testing.assert_allclose(x.numpy(), MEAN + (start - MEAN) @ matrix_function(heun_factor), rtol=0, atol=1e-12)


def test_law_of_the_ode():
    x = sample(gaussian().denoise, 40_000, 3, levels(), "ode", seeded(1)).numpy()
    factor = matrix_function(heun_factor)
    check_moments(x, MEAN - factor @ MEAN, LEVELS[0] ** 2 * factor @ factor)


def test_law_of_the_ancestral_chain():
    x = sample(gaussian().denoise, 40_000, 3, levels(), "ancestral", seeded(2)).numpy()
    factor = matrix_function(lambda variance: ancestral_moments(variance)[0])
    added = matrix_function(lambda variance: ancestral_moments(variance)[1])
    check_moments(x, MEAN - factor @ MEAN, LEVELS[0] ** 2 * factor @ factor + added)


@pytest.mark.parametrize(("method", "steps"), [("ode", 200), ("ancestral", 2000)])
def test_many_small_steps_give_the_law_itself(method, steps):
    # The bridge from the posterior mean instead of a posterior draw loses variance of first order in the step.
    sigmas = torch.logspace(2, -2, steps, dtype=torch.float64)
    x = sample(gaussian().denoise, 5_000, 3, sigmas, method, seeded(3)).numpy()
    distance = np.einsum("ni,ij,nj->n", x - MEAN, np.linalg.inv(COVARIANCE), x - MEAN)
    assert stats.kstest(distance, stats.chi2(3).cdf).pvalue > FALSE_ALARM


def test_heun_is_of_second_order():
    law = GaussianMixture(
        torch.tensor([0.3, 0.7], dtype=torch.float64),
        torch.tensor([[-1.0], [2.0]], dtype=torch.float64),
        torch.tensor([0.5, 0.2], dtype=torch.float64),
    )
    start, end = 5.0, 0.1

    def slope(sigma, x):
        x = torch.from_numpy(x[:, None])
        return ((x - law.denoise(x, sigma)) / sigma)[:, 0].numpy()

    x = start * torch.randn(20, 1, generator=seeded(), dtype=torch.float64)[:, 0].numpy()
    exact = integrate.solve_ivp(slope, (start, end), x, method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    errors = []
    for steps in (40, 80, 160, 320):
        sigmas = torch.logspace(math.log10(start), math.log10(end), steps + 1, dtype=torch.float64)
        *_, last, _ = sample_states(law.denoise, 20, 1, sigmas, "ode", seeded())
        assert last.sigma == pytest.approx(end)
        errors.append(np.abs(last.x[:, 0].numpy() - exact).mean())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders[-1] == pytest.approx(2, abs=0.1)
    assert (orders > 1.7).all()


def test_bridge_is_bayes_rule():
    # x_σ′ given x_σ and the clean point: prior N(x̂, σ′²) from the clean point, likelihood N(x_σ′, σ² − σ′²) of x_σ
    n, sigma, lower, clean = 40_000, 3.0, 1.2, 0.7
    first, second, _ = sample_states(
        lambda x, _: torch.full_like(x, clean), n, 1, levels([sigma, lower]), "ancestral", seeded(4)
    )
    variance = 1 / (1 / lower**2 + 1 / (sigma**2 - lower**2))
    mean = variance * (clean / lower**2 + first.x / (sigma**2 - lower**2))
    z = ((second.x - mean) / math.sqrt(variance))[:, 0].numpy()
    assert stats.kstest(z, stats.norm.cdf).pvalue > FALSE_ALARM
    assert stats.chi2(n).sf((z**2).sum()) > FALSE_ALARM
    assert stats.chi2(n).cdf((z**2).sum()) > FALSE_ALARM
    # independent of where it starts, 1/√n being the standard error of a correlation
    assert abs(np.corrcoef(z, first.x[:, 0].numpy())[0, 1]) < stats.norm.isf(FALSE_ALARM / 2) / math.sqrt(n)


def test_the_start_is_pure_noise():
    first = next(sample_states(zero, 20_000, 2, levels([7.0, 1.0]), generator=seeded(5)))
    assert stats.kstest(first.x.flatten().numpy() / 7, stats.norm.cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("method", ["ode", "ancestral"])
def test_a_run_goes_on_from_a_given_start(method):
    # Up to the draws of the bridge the second half of a run is a run from its middle.
    states = list(sample_states(gaussian().denoise, 20, 3, levels(), method, seeded(4)))
    rest = list(sample_states(gaussian().denoise, 20, 3, levels()[3:], method, seeded(5), states[3].x))
    assert torch.equal(rest[0].x, states[3].x)
    assert torch.equal(rest[0].denoised, states[3].denoised)
    assert torch.equal(rest[-1].x, states[-1].x) == (method == "ode")
    assert torch.equal(rest[-1].x, sample(gaussian().denoise, 20, 3, levels()[3:], method, seeded(5), states[3].x))


def test_a_start_takes_the_dtype_of_the_levels():
    start = torch.zeros(4, 3, dtype=torch.float64)
    x = sample(zero, 4, 3, levels(dtype=torch.float32), "ode", seeded(), start)
    assert x.dtype == torch.float32


@pytest.mark.parametrize("method", ["ode", "ancestral"])
def test_states(method):
    law = gaussian()
    states = list(sample_states(law.denoise, 4, 3, levels(), method, seeded()))
    assert all(isinstance(state, SamplerState) for state in states)
    assert [state.step for state in states] == list(range(7))
    assert [state.sigma for state in states] == [*LEVELS, 0.0]
    for state in states[:-1]:
        assert torch.equal(state.denoised, law.denoise(state.x, state.sigma))
    # the last step: the denoiser at the last sigma, exactly
    assert torch.equal(states[-1].x, states[-2].denoised)
    assert torch.equal(states[-1].denoised, states[-1].x)
    assert torch.equal(states[-1].x, sample(law.denoise, 4, 3, levels(), method, seeded()))
    with pytest.raises(AttributeError):
        states[0].x = states[1].x


def test_the_denoiser_is_asked_at_the_given_levels():
    asked = []

    def denoiser(x, sigma):
        assert type(sigma) is float
        asked.append(sigma)
        return x / 2

    sample(denoiser, 2, 3, levels([4.0, 2.0, 1.0]), "ancestral")
    assert asked == [4.0, 2.0, 1.0]
    asked.clear()
    sample(denoiser, 2, 3, levels([4.0, 2.0, 1.0]), "ode")
    assert asked == [4.0, 2.0, 2.0, 1.0, 1.0]


@pytest.mark.parametrize("method", ["ode", "ancestral"])
def test_one_level_is_one_shot(method):
    x = sample(lambda x, sigma: x / sigma, 3, 2, levels([5.0]), method, seeded())
    torch.testing.assert_close(x, torch.randn(3, 2, generator=seeded(), dtype=torch.float64))


def test_ode_is_the_default():
    arguments = gaussian().denoise, 4, 3, levels()
    assert torch.equal(sample(*arguments, generator=seeded()), sample(*arguments, "ode", seeded()))


@pytest.mark.parametrize("method", ["ode", "ancestral"])
def test_samples_follow_the_generator(method):
    first, again, other = (sample(gaussian().denoise, 4, 3, levels(), method, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("method", ["ode", "ancestral"])
def test_float32_all_the_way(method):
    def denoiser(x, sigma):
        assert x.dtype == torch.float32
        return gaussian().denoise(x, sigma)

    x = sample(denoiser, 4, 3, levels(dtype=torch.float32), method, seeded())
    assert x.dtype == torch.float32


def test_a_denoiser_may_answer_in_another_precision():
    x = sample(lambda x, sigma: (x / 2).float(), 4, 3, levels(), "ode", seeded())
    assert x.dtype == torch.float64


@pytest.mark.parametrize("method", ["ode", "ancestral"])
def test_no_gradient_is_recorded_and_the_callers_mode_is_kept(method):
    weight = torch.tensor(0.5, requires_grad=True, dtype=torch.float64)
    for state in sample_states(lambda x, sigma: weight * x, 2, 3, levels(), method):
        assert not state.x.requires_grad
        assert not state.denoised.requires_grad
        assert torch.is_grad_enabled()


GOOD = {"denoiser": zero, "n": 2, "dim": 3, "sigmas": torch.tensor([2.0, 1.0])}


@pytest.mark.parametrize("function", [sample, sample_states])
@pytest.mark.parametrize(
    ("name", "value"),
    [("denoiser", value) for value in (None, 1.0, torch.zeros(2, 3))]
    + [(name, value) for name in ("n", "dim") for value in (0, -1, 2.0, math.nan, math.inf, None, True)]
    + [
        ("sigmas", torch.tensor(value))
        for value in (
            [],
            [2, 1],
            2.0,
            [[2.0, 1.0]],
            [1.0, 2.0],
            [2.0, 2.0],
            [2.0, 0.0],
            [2.0, -1.0],
            [-1.0],
            [2.0, math.nan],
            [math.inf, 1.0],
        )
    ]
    + [("sigmas", [2.0, 1.0])]
    + [("method", value) for value in ("heun", None, 1)]
    + [("generator", value) for value in (0, np.random.default_rng(0))],
)
def test_refuses(function, name, value):
    # sample_states too at the call, not at the first state
    with pytest.raises(ValueError, match=rf"^{name} must be "):
        function(**(GOOD | {name: value}))


@pytest.mark.parametrize("method", ["ode", "ancestral"])
@pytest.mark.parametrize(
    "denoiser",
    [
        lambda x, sigma: x[:, :1],
        lambda x, sigma: x.sum(1),
        lambda x, sigma: x.long(),
        lambda x, sigma: x * math.nan,
        lambda x, sigma: x / (0.0 if sigma < 2 else 1.0),
        lambda x, sigma: x.numpy(),
    ],
)
def test_refuses_what_a_denoiser_must_not_return(denoiser, method):
    with pytest.raises(ValueError, match=r"^denoiser\(x, sigma\) must be "):
        sample(denoiser, 2, 3, torch.tensor([2.0, 1.0]), method)
