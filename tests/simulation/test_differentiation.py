"""Derivatives of the empirical law against autograd through a plain softmax, and refusals by name."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from diffmem_lib.simulation import EmpiricalDenoiser

GENERATOR = torch.Generator().manual_seed(0)
TRAINING = torch.randn(30, 3, generator=GENERATOR, dtype=torch.float64) + 5
X = torch.randn(4, 3, generator=GENERATOR, dtype=torch.float64) + 5
DENOISER = EmpiricalDenoiser(TRAINING)


def log_density(x, sigma):
    return torch.logsumexp(-(x[:, None] - TRAINING).square().sum(2) / (2 * sigma**2), 1)


def denoise(x, sigma):
    return torch.softmax(-(x[:, None] - TRAINING).square().sum(2) / (2 * sigma**2), 1) @ TRAINING


@pytest.fixture(params=[0.1, 0.5, 3.0])
def sigma(request):
    """From where one point weighs everything to where all weigh the same."""
    return request.param


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_gradient_of_the_log_density_is_the_score(sigma):
    expected = grad(lambda x: log_density(x, sigma).sum())(X)
    close(grad(lambda x: DENOISER.log_density(x, sigma).sum())(X), expected)
    x = X.clone().requires_grad_()
    close(torch.autograd.grad(DENOISER.log_density(x, sigma).sum(), x)[0], expected)
    close(jvp(lambda x: DENOISER.log_density(x, sigma), (X,), (X,))[1], (expected * X).sum(1))


@pytest.mark.parametrize("mode", [jacrev, jacfwd])
def test_jacobian_of_the_denoiser_is_the_posterior_covariance(sigma, mode):
    close(mode(lambda x: DENOISER.denoise(x, sigma))(X), jacrev(lambda x: denoise(x, sigma))(X))
    close(mode(lambda x: DENOISER(x, sigma))(X), jacrev(lambda x: denoise(x, sigma))(X))


@pytest.mark.parametrize("mode", [jacrev, jacfwd])
def test_jacobian_of_the_score(sigma, mode):
    close(mode(lambda x: DENOISER.score(x, sigma))(X), jacrev(lambda x: (denoise(x, sigma) - x) / sigma**2)(X))


@pytest.mark.parametrize(
    "mode", [hessian, lambda f: jacrev(jacrev(f)), lambda f: jacfwd(jacfwd(f)), lambda f: jacrev(jacfwd(f))]
)
def test_hessian_of_the_log_density(sigma, mode):
    expected = hessian(lambda x: log_density(x, sigma).sum())(X)
    close(mode(lambda x: DENOISER.log_density(x, sigma).sum())(X), expected)


def test_points_one_by_one_under_vmap(sigma):
    close(vmap(lambda row: DENOISER.denoise(row[None], sigma)[0])(X), DENOISER.denoise(X, sigma))
    each = vmap(jacrev(lambda row: DENOISER.denoise(row[None], sigma)[0]))(X)
    whole = jacrev(lambda x: denoise(x, sigma))(X)
    close(each, torch.stack([whole[i, :, i] for i in range(len(X))]))


def test_many_points_and_few_of_them_near():
    """Both ways in which sums are taken: by products where many points matter, by differences where few do."""
    generator = torch.Generator().manual_seed(1)
    training = torch.randn(3000, 8, generator=generator, dtype=torch.float64) + 100
    x = training[:5] + 0.3 * torch.randn(5, 8, generator=generator, dtype=torch.float64)
    v = torch.randn(5, 8, generator=generator, dtype=torch.float64)
    for sigma in (0.05, 0.5, 2.0, 20.0):

        def plain(y, sigma=sigma):
            return torch.softmax(-(y[:, None] - training).square().sum(2) / (2 * sigma**2), 1) @ (training - 100)

        found = vjp(lambda y, sigma=sigma: EmpiricalDenoiser(training).denoise(y, sigma), x)[1](v)[0]
        torch.testing.assert_close(found, vjp(plain, x)[1](v)[0], rtol=1e-6, atol=1e-7)


def test_dual_numbers():
    with forward_ad.dual_level():
        dual = DENOISER.log_density(forward_ad.make_dual(X, X), 0.5)
        close(forward_ad.unpack_dual(dual).tangent, (DENOISER.score(X, 0.5) * X).sum(1))


def test_float32_keeps_its_dtype():
    law, x = EmpiricalDenoiser(TRAINING.float()), X.float().requires_grad_()
    gradient = torch.autograd.grad(law.log_density(x, 0.5).sum(), x)[0]
    assert gradient.dtype == torch.float32
    torch.testing.assert_close(gradient.double(), DENOISER.score(X, 0.5), rtol=1e-4, atol=1e-4)
    assert jacrev(lambda y: law.denoise(y, 0.5))(X.float()).dtype == torch.float32


def test_no_graph_where_none_is_asked_for():
    for method in (DENOISER.log_density, DENOISER.denoise, DENOISER.score):
        assert not method(X, 0.5).requires_grad
        with torch.no_grad():
            assert not method(X.clone().requires_grad_(), 0.5).requires_grad


@pytest.mark.parametrize(
    ("what", "call"),
    [
        ("derivative by sigma", lambda: grad(lambda s: DENOISER.log_density(X, s).sum())(torch.tensor(0.5))),
        ("derivative by sigma", lambda: jvp(lambda s: DENOISER.score(X, s), (torch.tensor(0.5),), (torch.ones(()),))),
        ("vmap over sigma", lambda: vmap(lambda s: DENOISER.denoise(X, s))(torch.tensor([0.5, 0.6]))),
        ("third derivative", lambda: jacrev(hessian(lambda x: DENOISER.log_density(x, 0.5).sum()))(X)),
        ("third derivative", lambda: jacfwd(jacfwd(lambda x: DENOISER.score(x, 0.5)))(X)),
        ("third derivative", lambda: jacfwd(hessian(lambda x: DENOISER.log_density(x, 0.5).sum()))(X)),
    ],
)
def test_what_there_is_not_is_refused_by_name(what, call):
    with pytest.raises(NotImplementedError, match=f"EmpiricalDenoiser has no {what}"):
        call()
