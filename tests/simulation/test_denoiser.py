"""The empirical denoiser against 50-digit sums, SciPy's kernel density and exact cases."""

import math

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde

from diffmem_lib.simulation import EmpiricalDenoiser

DTYPES = [torch.float32, torch.float64]


def points(n, dim, seed, dtype=torch.float64):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def reference(training, y, sigma):
    """Log-density, weights and mean at one query, from the definition in 50 digits; the mean of 3 coordinates only."""
    with mp.workdps(50):
        sigma = mp.mpf(sigma)
        rows = [[mp.mpf(value) for value in row] for row in training.double().tolist()]
        query = [mp.mpf(value) for value in y.double().tolist()]
        logits = [-mp.fsum((a - b) ** 2 for a, b in zip(row, query, strict=True)) / (2 * sigma**2) for row in rows]
        largest = max(logits)
        terms = [mp.exp(logit - largest) for logit in logits]
        total = mp.fsum(terms)
        weights = [term / total for term in terms]
        log_density = largest + mp.log(total / len(rows)) - len(query) * mp.log(2 * mp.pi * sigma**2) / 2
        mean = [mp.fsum(w * row[j] for w, row in zip(weights, rows, strict=True)) for j in range(min(3, len(query)))]
        score = [(m - q) / sigma**2 for m, q in zip(mean, query, strict=False)]
        return log_density, weights, [float(m) for m in mean], [float(s) for s in score]


def compare(training, y, sigma, *, nats):
    denoiser = EmpiricalDenoiser(training)
    log_density, posterior = denoiser.log_density(y, sigma), denoiser.posterior(y, sigma)
    mean, score = denoiser.denoise(y, sigma), denoiser.score(y, sigma)
    digits = 1e-6 if training.dtype == torch.float32 else 1e-12
    for i, query in enumerate(y):
        expected, weights, expected_mean, expected_score = reference(training, query, sigma)
        assert abs(float(mp.mpf(log_density[i].item()) - expected)) <= nats + 4e-16 * abs(float(expected))
        assert posterior.index[i] == max(range(len(weights)), key=weights.__getitem__)
        assert posterior.weight[i].item() == pytest.approx(float(max(weights)), rel=1e-8)
        ratio = 1 / mp.fsum(w**2 for w in weights)
        assert posterior.participation_ratio[i].item() == pytest.approx(float(ratio), rel=1e-8)
        size = training.abs().max().item()
        assert mean[i, :3].tolist() == pytest.approx(expected_mean, rel=digits, abs=digits * size)
        largest = max(max(map(abs, expected_score)), 1e-3 / sigma)
        assert score[i, :3].tolist() == pytest.approx(expected_score, abs=1e3 * digits * largest)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sigma", [1e-6, 1e-3, 0.3, 1.0, 20.0, 1e6])
def test_fifty_digits_in_few_dimensions(sigma, dtype):
    training = points(40, 3, 0, dtype)
    y = training[:4] + sigma * points(4, 3, 1, dtype)
    compare(training, y, sigma, nats=1e-10 if sigma >= 0.3 else 1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sigma", "offset"), [(0.05, 0.0), (0.05, 30.0), (2.0, 0.0), (40.0, 30.0)])
def test_fifty_digits_at_3072_dimensions(sigma, offset, dtype):
    """The log-density to 1e-8 nats, near training points and at fresh ones, also where the data have a large mean."""
    training = points(12, 3072, 2, dtype) + offset
    training[1] = training[0] + 2e-3 * points(1, 3072, 3, dtype)[0]
    y = torch.cat([training[:2] + sigma * points(2, 3072, 4, dtype), points(1, 3072, 5, dtype) + offset])
    compare(training, y, sigma, nats=1e-8)


@pytest.mark.parametrize(("offset", "dim"), [(1e3, 1), (1e4, 2), (1e6, 2)])
def test_fifty_digits_far_from_the_origin(offset, dim):
    """Neighbours that float32 can only tell apart once the mean is taken off; 3000 points, the nearest 60 summed."""
    training = points(3000, dim, 6) + offset
    y = training[:5] + 1e-3 * points(5, dim, 7)
    denoiser = EmpiricalDenoiser(training)
    log_density, mean = denoiser.log_density(y, 1e-3), denoiser.denoise(y, 1e-3)
    for i, query in enumerate(y):
        near = training[(training - query).square().sum(1).argsort()[:60]]
        expected, _, expected_mean, _ = reference(near, query, 1e-3)
        assert log_density[i].item() + math.log(3000 / 60) == pytest.approx(float(expected), abs=1e-8)
        assert mean[i].tolist() == pytest.approx(expected_mean[:dim], rel=1e-14, abs=0)


LAYOUTS = {
    "columns first": lambda x: x.T.contiguous().T,
    "every other column": lambda x: torch.stack([x, x + 1], -1).flatten(1)[:, ::2],
    "every other row": lambda x: torch.stack([x, x + 1], 1).flatten(0, 1)[::2],
    "Fortran order": lambda x: torch.from_numpy(np.asfortranarray(x.numpy())),
}


@pytest.mark.parametrize("sigma", [0.05, 2.0])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layout_in_memory_does_not_matter(layout, dtype, sigma):
    training, y = points(600, 8, 0, dtype), points(50, 8, 1, dtype)
    expected = EmpiricalDenoiser(training)
    digits = 1e-5 if dtype == torch.float32 else 1e-12
    for other, query in ((layout(training), y), (training, layout(y)), (layout(training), layout(y))):
        assert torch.equal(other, training)
        assert torch.equal(query, y)
        denoiser = EmpiricalDenoiser(other)
        for name in ("denoise", "score", "log_density"):
            torch.testing.assert_close(
                getattr(denoiser, name)(query, sigma), getattr(expected, name)(y, sigma), rtol=digits, atol=digits
            )


def test_scipy_where_it_applies():
    """SciPy scales its kernel by the sample covariance, so the points are whitened first."""
    raw = np.random.default_rng(0).standard_normal((200, 3))
    white = (raw - raw.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    y = np.random.default_rng(1).standard_normal((50, 3))
    ours = EmpiricalDenoiser(torch.from_numpy(white)).log_density(torch.from_numpy(y), 0.4)
    np.testing.assert_allclose(ours, gaussian_kde(white.T, bw_method=0.4).logpdf(y.T), rtol=1e-12)


def test_one_training_point_is_a_gaussian():
    centre, y, sigma = points(1, 5, 0), points(7, 5, 1), 0.7
    denoiser = EmpiricalDenoiser(centre)
    normal = torch.distributions.Normal(centre[0], sigma)
    torch.testing.assert_close(denoiser.log_density(y, sigma), normal.log_prob(y).sum(1), rtol=1e-13, atol=0)
    torch.testing.assert_close(denoiser.score(y, sigma), (centre - y) / sigma**2, rtol=1e-12, atol=1e-12)
    assert (denoiser.posterior(y, sigma).participation_ratio == 1).all()


def test_blocks_do_not_show():
    """More points and queries than one block holds, against the whole matrix at once."""
    training, y = points(3000, 40, 0), points(1500, 40, 1)
    for sigma in (0.02, 0.6, 3.0):
        logits = -torch.cdist(y, training, compute_mode="donot_use_mm_for_euclid_dist").square() / 2 / sigma**2
        weights = logits.softmax(1)
        denoiser = EmpiricalDenoiser(training)
        constant = math.log(3000) + 20 * math.log(2 * math.pi * sigma**2)
        torch.testing.assert_close(
            denoiser.log_density(y, sigma), logits.logsumexp(1) - constant, rtol=1e-11, atol=1e-9
        )
        torch.testing.assert_close(denoiser.denoise(y, sigma), weights @ training, rtol=1e-7, atol=1e-9)
        posterior = denoiser.posterior(y, sigma)
        assert (posterior.index == logits.argmax(1)).all()
        torch.testing.assert_close(posterior.participation_ratio, 1 / weights.square().sum(1), rtol=1e-7, atol=0)


def test_score_is_the_gradient_of_the_log_density():
    training, y, sigma, step = points(30, 4, 0), points(5, 4, 1), 0.8, 1e-5
    denoiser = EmpiricalDenoiser(training)
    shift = step * torch.eye(4, dtype=torch.float64)
    up, down = (torch.stack([denoiser.log_density(y + s * e, sigma) for e in shift], 1) for s in (1, -1))
    torch.testing.assert_close(denoiser.score(y, sigma), (up - down) / (2 * step), rtol=1e-7, atol=1e-8)


def test_ten_thousand_dimensions_stay_finite():
    training = points(50, 10000, 0, torch.float32)
    denoiser = EmpiricalDenoiser(training)
    for sigma in (1e-6, 0.01, 1.0, 1e6):
        y = torch.cat([training[:3], sigma * points(3, 10000, 1, torch.float32)])
        for values in (denoiser.log_density(y, sigma), denoiser.denoise(y, sigma), denoiser.score(y, sigma)):
            assert torch.isfinite(values).all()


@pytest.mark.parametrize("sigma", [1e-6, 0.05, 5.0])
def test_duplicates_share_their_weight(sigma):
    training = points(20, 8, 0)
    training[7] = training[3]
    posterior = EmpiricalDenoiser(training).posterior(training[[3, 7, 5]], sigma)
    assert posterior.index[:2].tolist() == [3, 3]
    if sigma < 1:
        torch.testing.assert_close(posterior.weight, torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64))
        torch.testing.assert_close(posterior.participation_ratio, torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64))


def test_dtypes_of_results():
    """Means come in the caller's dtype, logarithms and weights always in float64."""
    denoiser = EmpiricalDenoiser(points(20, 3, 0, torch.float32))
    y = points(5, 3, 1, torch.float32)
    assert denoiser(y, 1.0).dtype == denoiser.denoise(y, 1.0).dtype == denoiser.score(y, 1.0).dtype == torch.float32
    posterior = denoiser.posterior(y, 1.0)
    assert denoiser.log_density(y, 1.0).dtype == posterior.weight.dtype == torch.float64
    assert posterior.participation_ratio.dtype == torch.float64
    assert torch.equal(denoiser(y, 1.0), denoiser.denoise(y, 1.0))


@pytest.mark.parametrize(
    "training",
    [
        torch.zeros(3),
        torch.zeros(0, 3),
        torch.zeros(3, 0),
        torch.zeros(3, 2, dtype=torch.int64),
        torch.full((3, 2), math.nan),
        torch.full((3, 2), math.inf),
        np.zeros((3, 2)),
        torch.zeros(3, 2, dtype=torch.float16),
    ],
)
def test_bad_training(training):
    with pytest.raises(ValueError, match="training"):
        EmpiricalDenoiser(training)


@pytest.mark.parametrize("method", ["log_density", "denoise", "score", "posterior", "__call__"])
def test_bad_queries(method):
    call = getattr(EmpiricalDenoiser(points(4, 3, 0)), method)
    for x in (
        torch.zeros(2, 4),
        torch.zeros(3),
        torch.full((2, 3), math.nan),
        torch.zeros(2, 3, dtype=torch.int32),
        1.0,
    ):
        with pytest.raises(ValueError, match="x must"):
            call(x, 1.0)
    for sigma in (0.0, -1.0, math.nan, math.inf, "wide"):
        with pytest.raises(ValueError, match="sigma"):
            call(torch.zeros(2, 3), sigma)


def test_many_queries_at_3072_dimensions():
    """More chosen pairs than one batch of differences holds; float32 queries against float64 sums."""
    training = points(1500, 3072, 0, torch.float32)
    denoiser, reference_denoiser = EmpiricalDenoiser(training), EmpiricalDenoiser(training.double())
    noise = points(300, 3072, 1, torch.float32)
    for y, sigma in ((training[:300] + 0.05 * noise, 0.05), (noise, 1.0), (noise, 2.0), (20 * noise, 20.0)):
        logits = -(y.double().square().sum(1)[:, None] + training.double().square().sum(1)) / 2
        weights = ((logits + y.double() @ training.double().T) / sigma**2).softmax(1)
        torch.testing.assert_close(
            reference_denoiser(y.double(), sigma), weights @ training.double(), rtol=0, atol=1e-7
        )
        torch.testing.assert_close(denoiser(y, sigma).double(), weights @ training.double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
def test_units_do_not_matter(scale):
    """Distances that float32 squares could not hold."""
    training, y = points(700, 9, 0), points(40, 9, 1)
    plain, scaled = EmpiricalDenoiser(training), EmpiricalDenoiser(training * scale)
    for sigma in (0.05, 0.7):
        torch.testing.assert_close(scaled(y * scale, sigma * scale) / scale, plain(y, sigma), rtol=1e-9, atol=1e-9)
        difference = scaled.log_density(y * scale, sigma * scale) - plain.log_density(y, sigma)
        torch.testing.assert_close(difference, torch.full_like(difference, -9 * math.log(scale)), rtol=0, atol=1e-7)
