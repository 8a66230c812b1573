"""simulation.networks: the preconditioning is the paper's, weights are the generator's, ensembles are their members."""

import math

import pytest
import torch

from diffmem_lib.simulation import MLP, Ensemble, UNet, sample

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
KINDS = pytest.mark.parametrize("kind", ["mlp", "unet"])


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def network(kind, seed=0, dtype=torch.float64, sigma_data=0.5):
    if kind == "mlp":
        return MLP(16, 12, 3, sigma_data, gen(seed), dtype)
    return UNet((4, 4), 8, 2, sigma_data, gen(seed), dtype)


def stirred(kind, seed=0, dtype=torch.float64):
    """One whose last layer is not 0, as after training."""
    made = network(kind, seed, dtype)
    with torch.no_grad():
        made.layers.last.weight.normal_(generator=gen(seed + 100))
    return made


def points(*shape, seed=1, dtype=torch.float64):
    return torch.randn(shape, generator=gen(seed), dtype=dtype)


@KINDS
@pytest.mark.parametrize("sigma", [1e-3, 0.5, 2.0, 80.0])
def test_at_first_it_is_the_posterior_mean_of_white_noise(kind, sigma):
    """F = 0 leaves c_skip x, which is right for N(0, σ_d² I)."""
    x = points(5, 16)
    with torch.no_grad():
        assert torch.allclose(network(kind, sigma_data=0.7)(x, sigma), 0.49 / (0.49 + sigma**2) * x, rtol=1e-14)


@KINDS
def test_without_noise_it_gives_back_its_input(kind):
    x = points(5, 16)
    change = (stirred(kind)(x, 1e-9).detach() - x).abs().max()
    assert 0 < float(change) < 1e-7  # of order sigma


@KINDS
@pytest.mark.parametrize("sigma", [0.05, 1.3])
def test_preconditioning_is_the_papers(kind, sigma):
    """Karras et al. 2022, table 1, written out; the layers are called by hand, on sines and cosines of c_noise."""
    made, x = stirred(kind), points(5, 16)
    c_skip, c_noise = 0.25 / (sigma**2 + 0.25), math.log(sigma) / 4
    c_out, c_in = sigma * 0.5 / math.sqrt(0.25 + sigma**2), 1 / math.sqrt(sigma**2 + 0.25)
    phases = [c_noise * 2 ** (k / 2) for k in range(9)]
    features = torch.tensor([[f(p) for f in (math.cos, math.sin) for p in phases]], dtype=torch.float64)
    expected = c_skip * x + c_out * made.layers(c_in * x, features)
    assert torch.allclose(made(x, sigma), expected, rtol=1e-12)


def test_mlp_is_this():
    """Two hidden layers, one by one."""
    made = stirred("mlp")
    layers, features, x = made.layers, points(3, 18), points(3, 16)
    noise, h = layers.noise.weight @ features.T + layers.noise.bias[:, None], x.T
    for k, layer in enumerate(layers.hidden):
        scale, shift = noise[24 * k : 24 * k + 12], noise[24 * k + 12 : 24 * k + 24]
        z = (layer.weight @ h + layer.bias[:, None]) * (1 + scale) + shift
        h = z / (1 + torch.exp(-z))
    assert torch.allclose(layers(x, features), (layers.last.weight @ h + layers.last.bias[:, None]).T)


@KINDS
def test_each_point_has_its_own_noise(kind):
    made, x, sigma = stirred(kind), points(4, 16), torch.tensor([0.1, 0.5, 2.0, 9.0], dtype=torch.float64)
    one_by_one = torch.cat([made(x[i : i + 1], float(sigma[i])) for i in range(4)])
    assert torch.allclose(made(x, sigma), one_by_one, rtol=1e-12)
    assert not torch.allclose(made(x, 0.5), one_by_one, rtol=1e-2)


@KINDS
def test_the_noise_matters_to_the_layers(kind):
    made, x = stirred(kind), points(4, 16)
    added = [made(x * math.sqrt(s**2 + 0.25), s) - 0.25 / math.sqrt(s**2 + 0.25) * x for s in (0.3, 0.6)]
    added = [value / (s * 0.5) * math.sqrt(s**2 + 0.25) for value, s in zip(added, (0.3, 0.6), strict=True)]
    assert (added[0] - added[1]).abs().max() > 1e-2  # F at the same input


@KINDS
def test_weights_come_from_the_generator_alone(kind):
    before = torch.get_rng_state()
    first, again, other = network(kind, 3), network(kind, 3), network(kind, 4)
    assert torch.equal(torch.get_rng_state(), before)
    hidden = [dict(n.named_parameters())["layers.noise.weight"] for n in (first, again, other)]
    assert torch.equal(hidden[0], hidden[1])
    assert not torch.equal(hidden[0], hidden[2])


def test_weights_have_variance_one_over_inputs():
    """Of so many draws the standard error of the variance is 1/√(5/4 · 10⁶) relative; it may be off by five."""
    weight = MLP(2, 1000, 2, generator=gen()).layers.hidden[1].weight.detach()
    assert float((weight**2).mean()) * 1000 == pytest.approx(1, abs=5 / math.sqrt(1.25e6))


@pytest.mark.parametrize(("channels", "shape", "levels"), [(16, (14, 14), 2), (32, (14, 14), 2), (16, (28, 28), 3)])
def test_sizes_of_the_unet(channels, shape, levels):
    made = UNet(shape, channels, levels, generator=gen(), dtype=torch.float32)
    weights = sum(parameter.numel() for parameter in made.parameters())
    if levels == 2:
        assert 220 * channels**2 < weights < 270 * channels**2
    x = points(2, shape[0] * shape[1], dtype=torch.float32)
    assert made(x, 1.0).shape == x.shape


def test_the_unet_sees_pixels_where_they_are():
    """A mirrored image is denoised to the mirrored estimate, once the kernels are mirrored too."""
    made, x = stirred("unet"), points(3, 16)
    there = made(x, 0.5)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim == 4:
                parameter.copy_(parameter.flip(-1))
    mirrored = made(x.unflatten(1, (4, 4)).flip(-1).flatten(1), 0.5)
    assert torch.allclose(mirrored.unflatten(1, (4, 4)).flip(-1).flatten(1), there, rtol=1e-10)


@KINDS
@DTYPES
def test_an_ensemble_is_its_members(kind, dtype):
    members = [stirred(kind, seed, dtype) for seed in range(3)]
    ensemble, x = Ensemble(members), points(3, 5, 16, dtype=dtype)
    sigma = points(3, 5, seed=2, dtype=dtype).exp()
    digits = {torch.float32: 1e-4, torch.float64: 1e-12}[dtype]  # sums in another order
    for level in (0.4, sigma):
        together = ensemble(x, level)
        for r, member in enumerate(members):
            own = level if isinstance(level, float) else level[r]
            assert torch.allclose(together[r], member(x[r], own), rtol=digits, atol=digits)
            assert torch.equal(ensemble[r](x[r], own), member(x[r], own))
    assert len(ensemble) == len(list(ensemble)) == 3


@KINDS
def test_an_ensemble_is_a_copy(kind):
    members = [stirred(kind, seed) for seed in range(2)]
    ensemble, x = Ensemble(members), points(2, 5, 16)
    before = ensemble(x, 1.0)
    with torch.no_grad():
        for member in [*members, ensemble[0]]:
            for parameter in member.parameters():
                parameter.zero_()
    assert torch.equal(ensemble(x, 1.0), before)
    assert not before.requires_grad


def test_an_average_of_weights_is_an_ensemble():
    """The same as two members with averaged weights."""
    first, second = (Ensemble([stirred("mlp", seed), stirred("mlp", seed + 1)]) for seed in (0, 2))
    average = first.with_weights({name: (w + second.weights[name]) / 2 for name, w in first.weights.items()})
    member, other = first[1], second[1]
    with torch.no_grad():
        for own, theirs in zip(member.parameters(), other.parameters(), strict=True):
            own.add_(theirs).div_(2)
    x = points(5, 16)
    assert torch.allclose(average(x.expand(2, 5, 16), 0.3)[1], member(x, 0.3))
    assert torch.equal(average[1](x, 0.3), member(x, 0.3))


@KINDS
def test_samples_like_any_denoiser(kind):
    """Fresh networks are the denoiser of N(0, σ_d² I), whose flow shrinks the start by a known factor."""
    sigmas = torch.logspace(math.log10(6), -2, 20, dtype=torch.float64)
    members = [network(kind, seed) for seed in range(2)]
    alone = sample(members[0], 4, 16, sigmas, generator=gen(5))
    start = 6 * torch.randn(4, 16, generator=gen(5), dtype=torch.float64)
    assert torch.allclose(alone, start * 0.5 / math.sqrt(36.25), rtol=0.02)  # up to its steps
    ensemble = Ensemble(members)
    assert torch.allclose(ensemble.sample(2, sigmas, generator=gen(5)).flatten(0, 1), alone)


@KINDS
@DTYPES
def test_an_ensemble_samples_as_its_members_do(kind, dtype):
    """From a start, each network from its own; the numbers of the points are those of the noise levels."""
    ensemble, start = Ensemble([stirred(kind, seed, dtype) for seed in range(3)]), points(3, 4, 16)
    digits = {torch.float32: 1e-4, torch.float64: 1e-12}[dtype]  # products in another order
    for levels in (torch.float32, torch.float64):
        sigmas = torch.tensor([3.0, 1.0, 0.2], dtype=levels)
        together = ensemble.sample(4, sigmas, start=start)
        assert together.dtype == levels
        for r, member in enumerate(ensemble):
            alone = sample(member, 4, 16, sigmas, start=start[r])
            rough = digits if levels == torch.float64 else 1e-4
            assert torch.allclose(together[r], alone, rtol=rough, atol=rough)


def test_an_ensemble_samples_by_its_method_and_generator():
    """Fresh networks are a known denoiser: the bridge's steps written out on one stream of noise."""
    ensemble, sigmas = Ensemble([network("mlp", seed) for seed in range(2)]), torch.tensor([2.0, 0.5]).double()
    found = ensemble.sample(3, sigmas, method="ancestral", generator=gen(5))
    same = gen(5)
    x = 2 * torch.randn(6, 16, generator=same, dtype=torch.float64)
    denoised = 0.25 / 4.25 * x
    mean = denoised + (0.5 / 2) ** 2 * (x - denoised)
    x = mean + 0.5 / 2 * math.sqrt(2**2 - 0.5**2) * torch.randn(6, 16, generator=same, dtype=torch.float64)
    assert torch.allclose(found, (x * 0.25 / 0.5).unflatten(0, (2, 3)), rtol=1e-12)


def test_points_may_be_finer_than_weights():
    made, x = stirred("mlp", dtype=torch.float32), points(5, 16)
    assert made(x, 1.0).dtype == torch.float64
    assert torch.allclose(made(x, 1.0).float(), made(x.float(), 1.0), rtol=1e-4, atol=1e-5)


@KINDS
def test_its_derivative_by_the_input_is_true(kind):
    made, x = stirred(kind), points(2, 16)
    assert torch.autograd.gradcheck(lambda x: made(x, 0.7), (x.requires_grad_(),))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: UNet((6, 5)), r"shape must be \(height, width\), multiples of 2 = "),
        (lambda: UNet((6, 6), levels=3), "multiples of 4 = "),
        (lambda: UNet((4, 4), 6), "channels must be a multiple of 4, got 6"),
        (lambda: Ensemble([network("mlp"), network("unet")]), "of the same settings"),
        (lambda: Ensemble([network("mlp"), network("mlp", dtype=torch.float32)]), "of the same settings"),
        (lambda: Ensemble([network("mlp"), network("mlp", sigma_data=1.0)]), "of the same settings"),
        (lambda: network("mlp")(points(5, 15), 1.0), r"x must be .* got shape \(5, 15\)"),
        (lambda: network("mlp")(points(5, 16), 0.0), "sigma must be"),
        (lambda: network("mlp")(points(5, 16), torch.ones(4, dtype=torch.float64)), "sigma must be"),
        (lambda: network("mlp")(points(5, 16), torch.zeros(5, dtype=torch.float64)), "sigma must be positive"),
        (lambda: Ensemble([network("mlp")])(points(5, 16), 1.0), "x must be"),
        (lambda: Ensemble([network("mlp")])(points(1, 5, 16), points(5)), "sigma must be"),
        (lambda: Ensemble([network("mlp")]).with_weights({}), "weights must map"),
        (lambda: Ensemble([network("mlp")]).sample(0, torch.ones(1)), "m must be"),
        (lambda: Ensemble([network("mlp")]).sample(5, torch.ones(1), start=points(5, 16)), "start must be"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
