"""simulation.linear: the fit minimises what it says, both samplers draw what the recursion of one mode says, and the
divergences are those of 40-digit arithmetic and of draws."""

import math

import mpmath
import pytest
import torch

from diffmem_lib.data import Gaussian
from diffmem_lib.schedules import NoiseSchedule, linear_schedule
from diffmem_lib.simulation import (
    LinearDenoiser,
    denoising_loss,
    disagreement,
    fit_linear,
    gaussian_divergences,
    sample,
    sample_ddpm,
    sample_flow,
)


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def training():
    mixing = torch.tensor([[1.0, 0.0, 0.0], [0.5, 2.0, 0.0], [0.0, -0.3, 0.2]], dtype=torch.float64)
    return torch.randn(40, 3, generator=gen(), dtype=torch.float64) @ mixing.T + 1.5


def loss(denoiser, points, alpha_bar):
    """Squared error on the points averaged over the noise exactly: 2d + 1 evaluations pin down an affine map."""
    dim = points.shape[1]
    zero = denoiser.noise(torch.zeros(1, dim, dtype=points.dtype), alpha_bar)
    matrix = (denoiser.noise(torch.eye(dim, dtype=points.dtype), alpha_bar) - zero).T
    signal = math.sqrt(alpha_bar) * points @ matrix.T + zero
    return (signal**2).sum(1).mean() + ((math.sqrt(1 - alpha_bar) * matrix - torch.eye(dim)) ** 2).sum()


def test_fit_is_mean_and_covariance_with_one_over_n(training):
    denoiser = fit_linear(training, 0.3)
    assert torch.allclose(denoiser.mean, training.mean(0))
    assert torch.allclose(denoiser.covariance, torch.cov(training.T, correction=0))
    assert denoiser.ridge == 0.3


@pytest.mark.parametrize("alpha_bar", [0.02, 0.5, 0.99])
def test_no_other_affine_map_has_a_smaller_penalised_loss(training, alpha_bar):
    ridge = 0.2

    def penalised(mean, covariance):
        denoiser = LinearDenoiser(mean, covariance, 0.0)
        zero = denoiser.noise(torch.zeros(1, 3, dtype=torch.float64), alpha_bar)
        matrix = denoiser.noise(torch.eye(3, dtype=torch.float64), alpha_bar) - zero
        return loss(denoiser, training, alpha_bar) + ridge * alpha_bar * (matrix**2).sum()

    fitted = fit_linear(training, ridge)
    shifted = fitted.covariance + ridge * torch.eye(3)
    best = penalised(fitted.mean, shifted)
    for seed in range(20):
        push = torch.randn(3, 3, generator=gen(seed), dtype=torch.float64) * 1e-3
        assert penalised(fitted.mean, shifted + push + push.T) > best
        assert penalised(fitted.mean + push[0], shifted) > best


def test_replicas_are_independent_fits(training):
    batch = torch.stack([training, 2 * training + 1])
    fitted = fit_linear(batch, 0.1)
    x = torch.randn(2, 5, 3, generator=gen(1), dtype=torch.float64)
    for index in range(2):
        single = fit_linear(batch[index], 0.1)
        assert torch.allclose(fitted.covariance[index], single.covariance)
        assert torch.allclose(fitted.noise(x, 0.7)[index], single.noise(x[index], 0.7))


def test_replicas_of_many_dimensions_are_denoised_by_several_threads():
    """Where torch's own batched solve fails or is wrong: with two threads and 151 dimensions it always did."""
    generator = torch.Generator().manual_seed(8)
    points = torch.randn(40, 151, 300, generator=generator, dtype=torch.float64).mT
    x = torch.randn(40, 2, 151, generator=generator, dtype=torch.float64)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        many = fit_linear(points)(x, 0.3)
    finally:
        torch.set_num_threads(threads)
    for k in range(40):
        torch.testing.assert_close(many[k], fit_linear(points[k])(x[k], 0.3), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sigma", [0.05, 1.0, 20.0])
def test_it_is_the_posterior_mean_of_the_gaussian_law(training, sigma):
    fitted = fit_linear(training, 0.3)
    law = Gaussian(fitted.mean, fitted.covariance + 0.3 * torch.eye(3, dtype=torch.float64))
    y = 2 * torch.randn(7, 3, generator=gen(3), dtype=torch.float64)
    assert torch.allclose(fitted(y, sigma), law.denoise(y, sigma), rtol=1e-10, atol=1e-10)
    alpha_bar = 1 / (1 + sigma**2)  # the same point in coordinates that keep the variance
    x = math.sqrt(alpha_bar) * y
    clean = (x - math.sqrt(1 - alpha_bar) * fitted.noise(x, alpha_bar)) / math.sqrt(alpha_bar)
    assert torch.allclose(fitted(y, sigma), clean, rtol=1e-10, atol=1e-10)


def test_the_sampler_takes_it_as_it_is_and_draws_its_law(training):
    fitted = fit_linear(training, 0.3)
    sigmas = torch.logspace(2, -3, 400, dtype=torch.float64)
    start = torch.cat([torch.zeros(1, 3), torch.eye(3)]).double()  # the flow of an affine denoiser is an affine map
    mean, *rest = sample(fitted, 4, 3, sigmas, start=start)
    matrix = 100 * torch.stack([row - mean for row in rest])
    drawn = matrix.T @ matrix  # Heun's error, and that of the finite start, (Σ + c)/100²
    assert torch.allclose(drawn, fitted.covariance + 0.3 * torch.eye(3), rtol=1e-3, atol=1e-3)
    assert torch.allclose(mean, fitted.mean, atol=1e-1)  # N(0, 100²) at the start instead of N(μ, Σ + 100²)


def test_a_single_point_is_a_law_without_spread():
    denoiser = fit_linear(torch.tensor([[1.0, -2.0]]))
    assert torch.equal(denoiser.covariance, torch.zeros(2, 2))
    exact = (torch.tensor([[0.3, 0.4]]) - math.sqrt(0.8) * denoiser.mean) / math.sqrt(0.2)
    assert torch.allclose(denoiser.noise(torch.tensor([[0.3, 0.4]]), 0.8), exact)


def test_both_bases_make_the_same_steps():
    variances = torch.tensor([0.01, 0.5, 4.0], dtype=torch.float64)
    denoiser = LinearDenoiser(torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64), torch.diag(variances), 0.05)
    schedule = linear_schedule(50)
    dense, modes = (sample_ddpm(denoiser, 100, schedule, gen(), eigenbasis=basis) for basis in (False, True))
    assert torch.equal(torch.linalg.eigh(denoiser.covariance)[1], torch.eye(3, dtype=torch.float64))
    assert torch.allclose(dense, modes, atol=1e-12)


@pytest.mark.parametrize("eigenbasis", [True, False])
@pytest.mark.parametrize("last_noise", [True, False])
def test_samples_have_the_mean_and_covariance_of_the_recursion(training, eigenbasis, last_noise):
    denoiser = fit_linear(training, 0.1)
    betas = linear_schedule(40, 1e-3, 0.3).betas
    variances, axes = torch.linalg.eigh(denoiser.covariance)
    mean, spread = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    alphas_bar = torch.cumprod(1 - betas, 0)
    for step in range(len(betas) - 1, -1, -1):
        beta, alpha_bar = betas[step], alphas_bar[step]
        rate = beta / (alpha_bar * (variances + 0.1) + 1 - alpha_bar)
        mean = (mean - rate * (mean - alpha_bar.sqrt() * denoiser.mean @ axes)) / (1 - beta).sqrt()
        spread = (1 - rate) ** 2 * spread / (1 - beta) + (beta if step or last_noise else 0)
    n = 40000
    drawn = sample_ddpm(denoiser, n, NoiseSchedule(betas), gen(3), eigenbasis=eigenbasis, last_noise=last_noise) @ axes
    assert ((drawn.mean(0) - mean).abs() < 4.5 * (spread / n).sqrt()).all()
    covariance = torch.cov(drawn.T)
    error = (spread[:, None] * spread / n * (1 + torch.eye(3))).sqrt()
    assert ((covariance - torch.diag(spread)).abs() < 4.5 * error).all()


def test_the_posterior_noise_is_that_of_a_denoiser_that_knows_the_data():
    """Data at a single point: step by step the samples keep the law of x_t, √ᾱ_t x + √(1−ᾱ_t) ε, down to the point."""
    point = torch.tensor([2.0, -1.0], dtype=torch.float64)
    denoiser = LinearDenoiser(point, torch.zeros(2, 2, dtype=torch.float64))
    betas = torch.tensor([0.1, 0.3, 0.97], dtype=torch.float64)
    drawn = sample_ddpm(denoiser, 10, NoiseSchedule(betas), gen(), step_variance="posterior")
    assert torch.allclose(drawn, point.expand(10, 2), atol=1e-12)


def test_the_posterior_noise_draws_what_its_recursion_says():
    betas = torch.tensor([0.1, 0.3, 0.97], dtype=torch.float64)
    broad = LinearDenoiser(torch.zeros(1, dtype=torch.float64), torch.full((1, 1), 2.0, dtype=torch.float64))
    n = 40000
    found = sample_ddpm(broad, n, NoiseSchedule(betas), gen(5), step_variance="posterior").var()
    spread, alphas_bar = torch.ones((), dtype=torch.float64), torch.cumprod(1 - betas, 0)
    for step in (2, 1, 0):
        rate = betas[step] / (alphas_bar[step] * 2 + 1 - alphas_bar[step])
        left = 1 - alphas_bar[step - 1] if step else 0
        spread = (1 - rate) ** 2 * spread / (1 - betas[step]) + betas[step] * left / (1 - alphas_bar[step])
    assert abs(found / spread - 1) < 4.5 * math.sqrt(2 / n)


@pytest.mark.parametrize("top", [0.02, 0.005])
def test_the_flow_is_one_affine_map(training, top):
    """Between two noise levels a mode is multiplied by √((λ + σ′²)/(λ + σ²)): the flow solved at sight."""
    denoiser = fit_linear(training, 0.1)
    variances, axes = torch.linalg.eigh(denoiser.covariance)
    betas = linear_schedule(1000, 1e-5, top).betas
    noise = torch.randn(5, 3, generator=gen(2), dtype=torch.float64)
    drawn = sample_flow(denoiser, 5, NoiseSchedule(betas), gen(2))
    alpha_bar = torch.prod(1 - betas)
    end = alpha_bar * (variances + 0.1) + 1 - alpha_bar
    mean = denoiser.mean @ axes
    exact = mean + (noise @ axes - alpha_bar.sqrt() * mean) * ((variances + 0.1) / end).sqrt()
    assert torch.allclose(drawn @ axes, exact, atol=2e-4)


def test_the_last_step_can_be_silent():
    denoiser = LinearDenoiser(torch.zeros(2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64))
    silent = sample_ddpm(denoiser, 10, linear_schedule(30), gen(), last_noise=False)
    loud = sample_ddpm(denoiser, 10, linear_schedule(30), gen(), last_noise=True)
    assert silent.abs().max() < 1e-12  # a law without spread is reached exactly
    assert 0 < loud.abs().max() < 0.1


def test_a_known_mean_is_kept_and_the_spread_counted_about_it(training):
    mean = torch.tensor([1.0, 1.5, 2.0], dtype=torch.float64)
    denoiser = fit_linear(torch.stack([training, training + 1]), 0.1, mean)
    assert torch.equal(denoiser.mean, mean.expand(2, 3))
    fitted = fit_linear(training)
    offset = fitted.mean - mean
    assert torch.allclose(denoiser.covariance[0], fitted.covariance + torch.outer(offset, offset))


def exact_divergence(mean_p, cov_p, mean_q, cov_q):
    """KL(p‖q) in 40 digits, by the textbook's formula with a matrix inverse and two determinants."""
    with mpmath.workdps(40):
        p, q = mpmath.matrix(cov_p.tolist()), mpmath.matrix(cov_q.tolist())
        delta = mpmath.matrix((mean_p - mean_q).tolist())
        product = q**-1 * p
        trace = mpmath.fsum(product[i, i] for i in range(len(mean_p)))
        quadratic = (delta.T * q**-1 * delta)[0]
        return float((trace - len(mean_p) + quadratic - mpmath.log(mpmath.det(p) / mpmath.det(q))) / 2)


def test_divergences_are_those_of_forty_digits(training):
    batch = torch.stack([training, 0.7 * training.flip(1)])
    mean = torch.tensor([1.0, 1.2, 2.0], dtype=torch.float64)
    covariance = torch.tensor([[1.0, 0.4, 0.0], [0.4, 3.0, -0.2], [0.0, -0.2, 0.1]], dtype=torch.float64)
    denoiser = fit_linear(batch, 0.05)
    reverse, forward = gaussian_divergences(denoiser, mean, covariance)
    for index in range(2):
        learned = denoiser.mean[index], denoiser.covariance[index] + 0.05 * torch.eye(3).double()
        assert reverse[index].item() == pytest.approx(exact_divergence(*learned, mean, covariance), rel=1e-11)
        assert forward[index].item() == pytest.approx(exact_divergence(mean, covariance, *learned), rel=1e-11)


def test_divergences_are_mean_log_ratios_of_draws(training):
    denoiser = fit_linear(training)
    learned = torch.distributions.MultivariateNormal(denoiser.mean, denoiser.covariance)
    truth = torch.distributions.MultivariateNormal(torch.ones(3, dtype=torch.float64), 3 * torch.eye(3).double())
    both = gaussian_divergences(denoiser, truth.mean, truth.covariance_matrix)
    for exact, p, q in ((both[0], learned, truth), (both[1], truth, learned)):
        noise = torch.randn(200_000, 3, generator=gen(5), dtype=torch.float64)
        points = p.mean + noise @ p.scale_tril.T
        ratios = p.log_prob(points) - q.log_prob(points)
        assert abs(ratios.mean() - exact) < 4.5 * ratios.std() / math.sqrt(len(ratios))


def test_divergences_from_white_noise_need_no_law(training):
    denoiser = fit_linear(training)
    zero, identity = torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    for short, full in zip(gaussian_divergences(denoiser), gaussian_divergences(denoiser, zero, identity), strict=True):
        assert short.item() == pytest.approx(full.item(), rel=1e-12)
    exact = LinearDenoiser(zero, identity)
    assert [value.item() for value in gaussian_divergences(exact)] == [0, 0]


@pytest.mark.parametrize("mixing", [torch.eye(4), torch.randn(4, 4, generator=gen(2))], ids=["axes", "mixed"])
def test_divergences_are_infinite_where_a_direction_is_lost(mixing):
    points = torch.randn(2, 9, 4, generator=gen(1), dtype=torch.float64)
    points[0, :, 3] = points[0, :, :3].sum(-1)  # the first replica lives in three dimensions
    fitted = fit_linear(points @ mixing.double().T)
    for value in gaussian_divergences(fitted):
        assert value[0] == math.inf
        assert math.isfinite(value[1])
    for value in gaussian_divergences(fit_linear(points @ mixing.double().T, 0.1)):
        assert value.isfinite().all()


def test_same_seed_same_samples_and_dtype(training):
    denoiser = fit_linear(training.float())
    schedule = linear_schedule(10)
    first, second = (sample_ddpm(denoiser, 4, schedule, gen(7)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.dtype == torch.float32
    assert first.shape == (4, 3)
    assert not torch.equal(first, sample_ddpm(denoiser, 4, schedule, gen(8)))


@pytest.mark.parametrize(
    "call",
    [
        lambda: fit_linear(torch.ones(3)),
        lambda: fit_linear(torch.ones(3, 2, dtype=torch.int64)),
        lambda: fit_linear(torch.full((3, 2), math.nan)),
        lambda: fit_linear(torch.full((3, 2), math.inf)),
        lambda: fit_linear(torch.ones(0, 2)),
        lambda: fit_linear([[1.0, 2.0]]),
        lambda: fit_linear(torch.ones(3, 2), -0.1),
        lambda: fit_linear(torch.ones(3, 2), math.nan),
        lambda: fit_linear(torch.ones(3, 2), 0.0, torch.ones(3)),
        lambda: fit_linear(torch.ones(3, 2), 0.0, torch.ones(2, dtype=torch.float64)),
        lambda: fit_linear(torch.ones(3, 2), 0.0, torch.full((2,), math.nan)),
        lambda: gaussian_divergences(fit_linear(torch.ones(3, 2)), torch.ones(3)),
        lambda: gaussian_divergences(fit_linear(torch.ones(3, 2)), None, torch.eye(3)),
        lambda: gaussian_divergences(fit_linear(torch.ones(3, 2)), None, torch.ones(2, 2)),
        lambda: gaussian_divergences(fit_linear(torch.ones(3, 2)), None, torch.eye(2).double()),
        lambda: gaussian_divergences(fit_linear(torch.ones(3, 2)), None, torch.tensor([[1.0, 0.5], [0.0, 1.0]])),
        lambda: LinearDenoiser(torch.ones(2), torch.eye(3)),
        lambda: LinearDenoiser(torch.ones(2), torch.full((2, 2), math.nan)),
        lambda: LinearDenoiser(torch.ones(2), torch.eye(2)).noise(torch.ones(4, 3), 0.5),
        lambda: LinearDenoiser(torch.ones(2), torch.eye(2)).noise(torch.ones(2), 0.5),
        lambda: LinearDenoiser(torch.ones(2), torch.eye(2)).noise(torch.full((4, 2), math.nan), 0.5),
        lambda: LinearDenoiser(torch.ones(2), torch.eye(2)).noise(torch.ones(4, 2), 1.0),
        lambda: LinearDenoiser(torch.ones(2), torch.eye(2)).noise(torch.ones(4, 2), 0.0),
        lambda: LinearDenoiser(torch.ones(2), torch.eye(2)).noise(torch.ones(4, 2), math.nan),
        lambda: sample_ddpm(fit_linear(torch.ones(3, 2)), 0, linear_schedule(1)),
        lambda: sample_ddpm(fit_linear(torch.ones(3, 2)), 2.0, linear_schedule(1)),
        lambda: sample_ddpm(fit_linear(torch.ones(5, 3, 2)), 2, linear_schedule(1)),
        lambda: sample_ddpm(None, 2, linear_schedule(1)),
        lambda: sample_ddpm(fit_linear(torch.ones(3, 2)), 2, linear_schedule(1), 3),
        lambda: sample_ddpm(fit_linear(torch.ones(3, 2)), 2, linear_schedule(1), step_variance="ddim"),
        lambda: sample_ddpm(fit_linear(torch.ones(3, 2)), 2, torch.tensor([0.1])),
        lambda: sample_ddpm(fit_linear(torch.ones(3, 2)), 2, NoiseSchedule(torch.tensor([1e-20]).double())),
        lambda: sample_flow(fit_linear(torch.ones(5, 3, 2)), 2, linear_schedule(1)),
        lambda: sample_flow(fit_linear(torch.ones(3, 2)), 0, linear_schedule(1)),
        lambda: sample_flow(fit_linear(torch.ones(3, 2)), 2, torch.tensor([0.1])),
    ],
)
def test_refuses(call):
    with pytest.raises(ValueError, match="must"):
        call()


# --------------------------------------------------------------------------------------------- losses


@pytest.mark.parametrize("alpha_bar", [0.05, 0.6, 0.98])
def test_denoising_loss_on_the_training_set_is_the_loss_of_its_points(training, alpha_bar):
    fitted = fit_linear(training, 0.2)
    expected = float(loss(fitted, training, alpha_bar)) / 3
    found = denoising_loss(fitted, alpha_bar, fitted.mean, fitted.covariance)
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("ridge", [0.0, 0.4])
def test_loss_and_disagreement_against_draws(training, ridge):
    """Within five standard errors of 400000 fresh noised points, for means and covariances that all differ."""
    alpha_bar, mean = 0.8, torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    factor = torch.tensor([[1.0, 0.0, 0.0], [0.7, 0.5, 0.0], [-0.2, 0.1, 0.9]], dtype=torch.float64)
    first, second = fit_linear(training[:20], ridge), fit_linear(training[20:] * 1.3, 2 * ridge)
    clean = mean + torch.randn(400_000, 3, generator=gen(3), dtype=torch.float64) @ factor.T
    noise = torch.randn(clean.shape, generator=gen(4), dtype=torch.float64)
    x_t = math.sqrt(alpha_bar) * clean + math.sqrt(1 - alpha_bar) * noise
    errors = ((first.noise(x_t, alpha_bar) - noise) ** 2).mean(1)
    apart = ((first.noise(x_t, alpha_bar) - second.noise(x_t, alpha_bar)) ** 2).mean(1)
    law = mean, factor @ factor.T
    for drawn, exact in (
        (errors, denoising_loss(first, alpha_bar, *law)),
        (apart, disagreement(first, second, alpha_bar, *law)),
    ):
        assert abs(drawn.mean() - exact) < 5 * drawn.std() / math.sqrt(len(drawn))


def test_losses_of_replicas_are_those_of_each(training):
    batch = torch.stack([training, 2 * training + 1])
    fitted, other = fit_linear(batch, 0.1), fit_linear(batch.flip(0)[:, :30], 0.1)
    law = torch.ones(3, dtype=torch.float64), torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    own = denoising_loss(fitted, 0.7, fitted.mean, fitted.covariance)
    fresh, apart = denoising_loss(fitted, 0.7, *law), disagreement(fitted, other, 0.7, *law)
    assert own.shape == fresh.shape == apart.shape == (2,)
    for index in range(2):
        single, another = (LinearDenoiser(d.mean[index], d.covariance[index], 0.1) for d in (fitted, other))
        alone = float(denoising_loss(single, 0.7, single.mean, single.covariance))
        assert own[index] == pytest.approx(alone, rel=1e-12)
        assert fresh[index] == pytest.approx(float(denoising_loss(single, 0.7, *law)), rel=1e-12)
        assert apart[index] == pytest.approx(float(disagreement(single, another, 0.7, *law)), rel=1e-12)


def test_a_denoiser_agrees_with_itself_and_one_that_knows_the_law_is_best(training):
    fitted = fit_linear(training)
    law = fitted.mean, fitted.covariance
    assert disagreement(fitted, fitted, 0.5, *law) == 0
    best = denoising_loss(fitted, 0.5, *law)
    eigenvalues = torch.linalg.eigvalsh(fitted.covariance)
    assert best == pytest.approx(float((eigenvalues / (eigenvalues + 1)).mean()), rel=1e-12)  # σ² = 1
    for ridge in (0.1, 1.0):
        assert denoising_loss(fit_linear(training, ridge), 0.5, *law) > best


def test_losses_refuse_a_law_that_does_not_fit(training):
    fitted, eye = fit_linear(training), torch.eye(3, dtype=torch.float64)
    for mean, covariance in (
        (torch.zeros(2, dtype=torch.float64), eye),
        (torch.zeros(3), eye),
        (torch.zeros(1, 3, dtype=torch.float64), eye),
        (fitted.mean, eye[None]),
        (fitted.mean, eye + torch.triu(torch.ones_like(eye))),
    ):
        with pytest.raises(ValueError, match=r"mean|covariance"):
            denoising_loss(fitted, 0.5, mean, covariance)
    with pytest.raises(ValueError, match="second"):
        disagreement(fitted, fit_linear(training[:, :2]), 0.5, fitted.mean, eye)
