import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

from diffmem_lib.data import Gaussian, GaussianMixture

FALSE_ALARM = 1e-5


def tensor(value):
    return torch.from_numpy(np.array(value, dtype=np.float64))


def covariance(dim, rank, seed):
    factor = np.random.default_rng(seed).normal(size=(dim, rank))
    return factor @ factor.T


def full_mixture(ranks=(3, 3, 3)):
    means = np.random.default_rng(1).normal(size=(3, 3))
    return GaussianMixture(
        tensor([0.2, 0.5, 0.3]), tensor(means), tensor([covariance(3, rank, k) for k, rank in enumerate(ranks)])
    )


def isotropic_mixture(variances=(0.5, 2.0, 1e-4)):
    means = np.random.default_rng(2).normal(size=(3, 3))
    return GaussianMixture(tensor([0.2, 0.5, 0.3]), tensor(means), tensor(variances))


REGULAR = {
    "one dimension": Gaussian(tensor([0.7]), tensor([[2.5]])),
    "one dimension, isotropic": Gaussian(tensor([0.7]), 2.5),
    "Gaussian": Gaussian(tensor([0.7, -1.0, 3.0]), tensor(covariance(3, 3, 5))),
    "isotropic Gaussian": Gaussian(tensor([0.7, -1.0, 3.0]), tensor(0.3)),
    "mixture": full_mixture(),
    "isotropic mixture": isotropic_mixture(),
    "empty component": GaussianMixture(tensor([0.0, 1.0]), tensor([[0.0], [1.0]]), tensor([1.0, 4.0])),
    "one-dimensional mixture": GaussianMixture(tensor([0.4, 0.6]), tensor([[-1.0], [2.0]]), tensor([[[1.0]], [[0.1]]])),
}
SINGULAR = {
    "flat Gaussian": Gaussian(tensor([0.7, -1.0, 3.0]), tensor(covariance(3, 2, 5))),
    "point": Gaussian(tensor([0.7, -1.0, 3.0]), 0.0),
    "point as a matrix": Gaussian(tensor([1.0, 2.0]), torch.zeros(2, 2, dtype=torch.float64)),
    "mixture with flat components": full_mixture(ranks=(3, 1, 0)),
    "mixture with a point": isotropic_mixture(variances=(0.5, 0.0, 0.0)),
}
CASES = [(law, sigma) for law in REGULAR.values() for sigma in (0.0, 0.01, 1.0, 1e6)]
CASES += [(law, sigma) for law in SINGULAR.values() for sigma in (0.01, 1.0, 1e6)]
NAMES = [f"{name}, sigma {sigma:g}" for name in REGULAR for sigma in (0.0, 0.01, 1.0, 1e6)]
NAMES += [f"{name}, sigma {sigma:g}" for name in SINGULAR for sigma in (0.01, 1.0, 1e6)]


def reference(law, x, sigma):
    """log density, score and posterior mean at one point from the definition, in 50 digits."""
    identity = mpmath.eye(law.dim)
    x, total, score, mean = mpmath.matrix(x), mpmath.mpf(0), mpmath.zeros(law.dim, 1), mpmath.zeros(law.dim, 1)
    for weight, centre, clean in zip(law.weights, law.means, law.covariances, strict=True):
        clean = identity * mpmath.mpf(clean.item()) if clean.ndim == 0 else mpmath.matrix(clean.tolist())
        noisy = clean + identity * mpmath.mpf(sigma) ** 2
        inverse, deviation = noisy**-1, x - mpmath.matrix(centre.tolist())
        density = mpmath.exp(-(deviation.T * inverse * deviation)[0] / 2) / mpmath.sqrt(
            (2 * mpmath.pi) ** law.dim * mpmath.det(noisy)
        )
        joint = mpmath.mpf(weight.item()) * density
        total += joint
        score -= joint * (inverse * deviation)
        mean += joint * (mpmath.matrix(centre.tolist()) + clean * inverse * deviation)
    return mpmath.log(total), list(score / total), list(mean / total)


def points(law, sigma):
    """Points of the noisy law, points between, and one where the density is below the smallest float."""
    generator = torch.Generator().manual_seed(0)
    x = law.sample(4, generator)
    near = x + sigma * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return torch.cat([near, x[:1] / 2, x[:1] + 60 * math.sqrt(1 + sigma**2)])


@pytest.mark.parametrize(("law", "sigma"), CASES, ids=NAMES)
def test_density_score_and_posterior_mean_against_mpmath(law, sigma):
    x = points(law, sigma)
    with mpmath.workdps(50):
        rows = [reference(law, row, sigma) for row in x.tolist()]
    log_density, score, mean = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    np.testing.assert_allclose(law.log_prob(x, sigma), log_density, rtol=1e-11, atol=1e-12)
    scale = np.abs(score).max(1, keepdims=True)
    np.testing.assert_allclose(law.score(x, sigma).numpy() / scale, score / scale, rtol=0, atol=1e-10)
    scale = 1 + np.abs(mean).max(1, keepdims=True)
    np.testing.assert_allclose(law.denoise(x, sigma).numpy() / scale, mean / scale, rtol=0, atol=1e-11)
    assert law.log_prob(x, sigma).dtype == law.score(x, sigma).dtype == law.denoise(x, sigma).dtype == torch.float64


def test_density_without_sigma_is_that_of_the_law():
    law = REGULAR["Gaussian"]
    x = law.sample(5, torch.Generator().manual_seed(0))
    oracle = stats.multivariate_normal(law.mean.numpy(), law.covariance.numpy())
    np.testing.assert_allclose(law.log_prob(x), oracle.logpdf(x.numpy()), rtol=1e-12)


@pytest.mark.parametrize(("law", "sigma"), CASES, ids=NAMES)
def test_score_is_the_gradient_of_the_log_density(law, sigma):
    x = points(law, sigma).requires_grad_()
    (gradient,) = torch.autograd.grad(law.log_prob(x, sigma).sum(), x)
    scale = gradient.abs().amax(1, keepdim=True)
    assert ((gradient - law.score(x, sigma)).abs() <= 1e-11 * scale).all()


@pytest.mark.parametrize(("law", "sigma"), CASES, ids=NAMES)
def test_tweedie(law, sigma):
    if sigma > 1:
        sigma = 3.0  # at 1e6 the right side has no digits left
    x = points(law, sigma)
    error = law.denoise(x, sigma) - (x + sigma**2 * law.score(x, sigma))
    assert (error.abs() <= 1e-11 * (1 + x.abs())).all()


@pytest.mark.parametrize("law", [*REGULAR.values(), *SINGULAR.values()], ids=[*REGULAR, *SINGULAR])
def test_without_noise_the_posterior_mean_is_the_point(law):
    x = law.sample(5, torch.Generator().manual_seed(0))
    assert torch.equal(law.denoise(x, 0.0), x)
    np.testing.assert_allclose(law.denoise(x, 1e-7), x, atol=1e-5)


@pytest.mark.parametrize("law", SINGULAR.values(), ids=SINGULAR)
@pytest.mark.parametrize("method", ["log_prob", "score"])
def test_singular_laws_have_no_density(law, method):
    with pytest.raises(ValueError, match=r"^sigma must be positive for a law with a singular covariance, got 0"):
        getattr(law, method)(torch.zeros(1, law.dim), 0.0)


def test_a_flat_law_is_known_as_one_whatever_its_size_and_rounding():
    for dim, scale in [(50, 1e-12), (50, 1e12), (200, 1.0)]:
        law = Gaussian(torch.zeros(dim, dtype=torch.float64), scale * tensor(covariance(dim, dim - 1, 0)))
        with pytest.raises(ValueError, match=r"^sigma must be positive"):
            law.log_prob(torch.zeros(1, dim), 0.0)
    for seed in range(20):
        law = Gaussian(torch.zeros(3), tensor(covariance(3, 2, seed)).float())
        with pytest.raises(ValueError, match=r"^sigma must be positive"):
            law.log_prob(torch.zeros(1, 3), 0.0)
    ill_conditioned = Gaussian(torch.zeros(2, dtype=torch.float64), torch.diag(tensor([1.0, 1e-14])))
    assert ill_conditioned.log_prob(torch.zeros(1, 2)).item() == pytest.approx(
        -math.log(2 * math.pi) + 7 * math.log(10), rel=1e-6
    )


def test_a_law_does_not_change_with_the_tensors_it_was_made_of():
    weights, means, covariances = tensor([0.5, 0.5]), tensor([[0.0, 1.0], [2.0, 3.0]]), tensor([1.0, 2.0])
    law = GaussianMixture(weights, means, covariances)
    x = tensor([[0.3, 0.4]])
    before = law.log_prob(x), law.denoise(x, 0.0), law.mean.clone(), law.covariance
    for changed in (weights, means, covariances):
        changed.mul_(100)
    after = law.log_prob(x), law.denoise(x, 0.0), law.mean, law.covariance
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def fourth_moments(law):
    """Σ_k w_k E[y_i² y_j²] with y ~ N(μ_k − mean, C_k), by Isserlis' theorem."""
    total = 0
    for weight, centre, matrix in zip(law.weights, law.means, law.covariances, strict=True):
        shift = (centre - law.mean).numpy()
        matrix = (matrix * torch.eye(law.dim) if matrix.ndim == 0 else matrix).numpy()
        square = shift**2 + np.diag(matrix)
        total = total + weight.item() * (np.outer(square, square) + 2 * matrix**2 + 4 * np.outer(shift, shift) * matrix)
    return total


@pytest.mark.parametrize("law", [*REGULAR.values(), *SINGULAR.values()], ids=[*REGULAR, *SINGULAR])
def test_samples_have_the_exact_moments(law):
    n = 20_000
    x = law.sample(n, torch.Generator().manual_seed(4)).numpy()
    assert x.shape == (n, law.dim)
    mean, matrix = law.mean.numpy(), law.covariance.numpy()
    limit = stats.norm.isf(FALSE_ALARM / 2 / (law.dim + law.dim**2))
    rounding = 1e-12
    assert (np.abs(x.mean(0) - mean) <= limit * np.sqrt(np.diag(matrix) / n) + rounding).all()
    second = (x - mean).T @ (x - mean) / n
    error = np.sqrt(np.maximum(fourth_moments(law) - matrix**2, 0) / n)
    assert (np.abs(second - matrix) <= limit * error + rounding).all()


@pytest.mark.parametrize("law", REGULAR.values(), ids=REGULAR)
def test_samples_have_the_exact_law_along_a_line(law):
    direction = np.random.default_rng(0).normal(size=law.dim)
    x = law.sample(20_000, torch.Generator().manual_seed(5)).numpy() @ direction

    def cumulative(value):
        parts = zip(law.weights.tolist(), law.means.numpy(), law.covariances, strict=True)
        return sum(
            weight
            * stats.norm.cdf(
                value,
                centre @ direction,
                math.sqrt(
                    matrix.item() * direction @ direction
                    if matrix.ndim == 0
                    else direction @ matrix.numpy() @ direction
                ),
            )
            for weight, centre, matrix in parts
        )

    assert stats.kstest(x, cumulative).pvalue > FALSE_ALARM


def test_moments_of_a_mixture_are_within_plus_between():
    law = full_mixture()
    weights, means, matrices = law.weights.numpy(), law.means.numpy(), law.covariances.numpy()
    mean = sum(w * m for w, m in zip(weights, means, strict=True))
    second = sum(w * (c + np.outer(m, m)) for w, m, c in zip(weights, means, matrices, strict=True))
    np.testing.assert_allclose(law.mean, mean, rtol=1e-14)
    np.testing.assert_allclose(law.covariance, second - np.outer(mean, mean), rtol=1e-13, atol=1e-14)


def test_moments_of_a_gaussian_are_those_given():
    matrix = tensor(covariance(3, 3, 5))
    law = Gaussian(tensor([0.7, -1.0, 3.0]), matrix)
    assert torch.equal(law.mean, tensor([0.7, -1.0, 3.0]))
    assert torch.equal(law.covariance, matrix)
    assert torch.equal(Gaussian(tensor([1.0, 2.0]), 0.25).covariance, 0.25 * torch.eye(2, dtype=torch.float64))


def test_isotropic_variances_are_multiples_of_the_identity():
    short = isotropic_mixture()
    long = GaussianMixture(short.weights, short.means, short.covariances[:, None, None] * torch.eye(3))
    x = points(short, 0.5)
    torch.testing.assert_close(short.log_prob(x, 0.5), long.log_prob(x, 0.5), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(short.score(x, 0.5), long.score(x, 0.5), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(short.denoise(x, 0.5), long.denoise(x, 0.5), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(short.covariance, long.covariance, rtol=1e-14, atol=1e-14)


def test_isotropic_laws_never_build_a_matrix():
    dim = 200_000  # a d × d matrix would take 320 GB
    law = GaussianMixture(tensor([0.5, 0.5]), torch.zeros(2, dim, dtype=torch.float64), tensor([1.0, 4.0]))
    x = law.sample(3, torch.Generator().manual_seed(0))
    expected = torch.logsumexp(
        torch.stack(
            [
                math.log(0.5) - (dim * math.log(2 * math.pi * v) + x.square().sum(1) / v) / 2
                for v in (1.0 + 0.25, 4.0 + 0.25)
            ]
        ),
        0,
    )
    torch.testing.assert_close(law.log_prob(x, 0.5), expected, rtol=1e-13, atol=0)
    assert law.denoise(x, 0.5).shape == law.score(x, 0.5).shape == (3, dim)


def test_points_without_width_are_the_empirical_law():
    training = torch.randn(40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    law = GaussianMixture(torch.full((40,), 1 / 40, dtype=torch.float64), training, torch.zeros(40).double())
    x = training[:7] + 0.3
    attention = torch.softmax(-(x[:, None] - training).square().sum(2) / (2 * 0.4**2), 1)
    torch.testing.assert_close(law.denoise(x, 0.4), attention @ training, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("law", [REGULAR["mixture"], REGULAR["isotropic mixture"]])
def test_float32_callers_get_float32_with_all_its_digits(law):
    x = points(law, 0.1).float()
    for method in (law.log_prob, law.score, law.denoise):
        result = method(x, 0.1)
        assert result.dtype == torch.float32
        assert torch.equal(result, method(x.double(), 0.1).float())


def test_float32_laws():
    factor = torch.randn(50, 400, generator=torch.Generator().manual_seed(0))
    matrix = factor @ factor.T / 400
    matrix[0, 1] += 1e-7  # float32 products are not exactly symmetric
    law = Gaussian(torch.zeros(50), matrix)
    x = law.sample(3, torch.Generator().manual_seed(0))
    assert x.dtype == law.mean.dtype == law.covariance.dtype == torch.float32
    assert law.denoise(x, 0.5).dtype == torch.float32
    exact = Gaussian(torch.zeros(50).double(), (matrix.double() + matrix.double().T) / 2)
    torch.testing.assert_close(law.log_prob(x.double()), exact.log_prob(x.double()), rtol=1e-12, atol=0)


def test_float32_weights_need_not_sum_to_one_exactly():
    weights = torch.full((10,), 0.1)
    law = GaussianMixture(weights, torch.zeros(10, 1, dtype=torch.float64), torch.ones(10, dtype=torch.float64))
    assert law.log_prob(torch.zeros(1, 1, dtype=torch.float64)).item() == pytest.approx(
        -math.log(2 * math.pi) / 2, rel=1e-14
    )


def test_samples_follow_the_generator():
    law = REGULAR["mixture"]
    first, again, other = (law.sample(20, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert law.sample(3).shape == (3, 3)


NOT_POINTS = [
    torch.zeros(4, 2),
    torch.zeros(3),
    torch.zeros(1, 4, 3),
    torch.zeros(0, 3),
    torch.zeros(4, 3, dtype=torch.int64),
    torch.full((4, 3), math.nan),
    torch.full((4, 3), math.inf),
    [[0.0, 0.0, 0.0]],
]


@pytest.mark.parametrize("method", ["log_prob", "score", "denoise"])
@pytest.mark.parametrize("name", ["Gaussian", "isotropic mixture"])
def test_methods_refuse(method, name):
    law = REGULAR[name]
    for x in NOT_POINTS:
        with pytest.raises(ValueError, match=r"^x must be "):
            getattr(law, method)(x, 1.0)
    for sigma in (-1.0, math.nan, math.inf, "1", None, torch.ones(2)):
        with pytest.raises(ValueError, match=r"^sigma must be "):
            getattr(law, method)(torch.zeros(4, 3), sigma)


@pytest.mark.parametrize("law", [REGULAR["Gaussian"], REGULAR["isotropic mixture"]])
def test_sample_refuses(law):
    for n in (0, -1, 2.0, math.nan, None):
        with pytest.raises(ValueError, match=r"^n must be "):
            law.sample(n)
    with pytest.raises(ValueError, match=r"^generator must be "):
        law.sample(2, 0)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("mean", (torch.zeros(2, 2), torch.eye(2))),
        ("mean", (torch.zeros(0), torch.eye(2))),
        ("mean", (torch.zeros(2, dtype=torch.int64), torch.eye(2))),
        ("mean", (torch.tensor([0.0, math.nan]), torch.eye(2))),
        ("mean", (torch.tensor([0.0, math.inf]), torch.eye(2))),
        ("mean", ([0.0, 0.0], torch.eye(2))),
        ("covariance", (torch.zeros(2), torch.eye(3))),
        ("covariance", (torch.zeros(2), torch.ones(2))),
        ("covariance", (torch.zeros(2), torch.ones(1, 2, 2))),
        ("covariance", (torch.zeros(2), torch.eye(2, dtype=torch.int64))),
        ("covariance", (torch.zeros(2), torch.full((2, 2), math.nan))),
        ("covariance", (torch.zeros(2), torch.full((2, 2), math.inf))),
        ("covariance", (torch.zeros(2), torch.tensor([[1.0, 0.5], [0.4, 1.0]]))),
        ("covariance", (torch.zeros(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]]))),
        ("covariance", (torch.zeros(2), -torch.eye(2))),
        ("covariance", (torch.zeros(2), tensor([[1.0, 0.0], [0.0, -1e-8]]))),
        ("covariance", (torch.zeros(2), -1.0)),
        ("covariance", (torch.zeros(2), torch.tensor(-1.0))),
        ("covariance", (torch.zeros(2), torch.tensor(1))),
        ("covariance", (torch.zeros(2), math.nan)),
        ("covariance", (torch.zeros(2), math.inf)),
        ("covariance", (torch.zeros(2), None)),
        ("covariance", (torch.zeros(2), [[1.0, 0.0], [0.0, 1.0]])),
    ],
)
def test_gaussian_refuses(name, arguments):
    with pytest.raises(ValueError, match=rf"^{name} must be "):
        Gaussian(*arguments)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("weights", {"weights": torch.tensor([0.5, 0.6])}),
        ("weights", {"weights": torch.tensor([1.5, -0.5])}),
        ("weights", {"weights": torch.tensor([0.5, math.nan])}),
        ("weights", {"weights": torch.tensor([1, 0])}),
        ("weights", {"weights": torch.tensor([])}),
        ("weights", {"weights": torch.tensor([[0.5, 0.5]])}),
        ("weights", {"weights": [0.5, 0.5]}),
        ("means", {"means": torch.zeros(3, 3)}),
        ("means", {"means": torch.zeros(2)}),
        ("means", {"means": torch.zeros(2, 0)}),
        ("means", {"means": torch.zeros(2, 3, dtype=torch.int32)}),
        ("means", {"means": torch.full((2, 3), math.inf)}),
        ("covariances", {"covariances": torch.ones(3)}),
        ("covariances", {"covariances": torch.eye(3)}),
        ("covariances", {"covariances": torch.ones(3, 3, 3)}),
        ("covariances", {"covariances": torch.tensor([1, 1])}),
        ("covariances", {"covariances": torch.tensor([1.0, -1.0])}),
        ("covariances", {"covariances": torch.tensor([1.0, math.nan])}),
        ("covariances", {"covariances": torch.tensor([1.0, math.inf])}),
        ("covariances", {"covariances": torch.stack([torch.eye(3), -torch.eye(3)])}),
        ("covariances", {"covariances": torch.stack([torch.eye(3), torch.arange(9.0).reshape(3, 3)])}),
        ("covariances", {"covariances": 1.0}),
        ("covariances", {"covariances": None}),
    ],
)
def test_mixture_refuses(name, changed):
    arguments = {"weights": torch.tensor([0.5, 0.5]), "means": torch.zeros(2, 3), "covariances": torch.ones(2)}
    with pytest.raises(ValueError, match=rf"^{name} must be "):
        GaussianMixture(**(arguments | changed))
