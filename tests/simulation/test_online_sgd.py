"""One-pass spherical SGD: the step against autograd, the reduced chain against the full dynamics, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch

from diffmem_lib.data import Gaussian, MixedCumulant
from diffmem_lib.simulation import hermite_activation, online_sgd, reduced_chain, spherical_sgd, tanh_activation

CUBIC = hermite_activation((0.0, -0.1, 0.0, 0.05))
TANH = tanh_activation(-0.8)
ALPHA_BAR = 0.7
SMALL = MixedCumulant(5, cumulant_snr=10)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Fixed:
    """A law that returns the same points again, without ``spikes``: any object will do for the full dynamics."""

    def __init__(self, points: torch.Tensor) -> None:
        self.points, self.dim = points, points.shape[1]

    def sample(self, n: int, generator: torch.Generator | None = None) -> torch.Tensor:
        assert n == len(self.points)
        return self.points


# Activations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "value", "slope"),
    [
        (TANH, lambda y: -0.8 * math.tanh(y), lambda y: -0.8 / math.cosh(y) ** 2),
        (CUBIC, lambda y: 0.05 * (y**3 - 3 * y) - 0.1 * y, lambda y: 0.05 * (3 * y**2 - 3) - 0.1),
        (hermite_activation([2.0]), lambda y: 2.0, lambda y: 0.0),
        (hermite_activation([0.0, 3.0]), lambda y: 3 * y, lambda y: 3.0),
    ],
)
def test_activations(activation, value, slope):
    y = np.linspace(-3, 3, 13)
    np.testing.assert_allclose(activation.value(y), [value(t) for t in y], rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(activation.slope(y), [slope(t) for t in y], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("bad", [math.nan, math.inf, "a"])
def test_activations_refuse_bad_coefficients(bad):
    with pytest.raises(ValueError, match="scale"):
        tanh_activation(bad)
    with pytest.raises(ValueError, match="coefficients"):
        hermite_activation([0.0, bad])
    with pytest.raises(ValueError, match="coefficients"):
        hermite_activation([])


# Full dynamics ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [TANH, CUBIC])
def test_step_is_the_projected_gradient_of_the_loss(activation):
    dim, batch, step = 6, 4, 0.05
    points = torch.randn(batch, dim, dtype=torch.float64, generator=generator(1))
    start = [0.3, -0.5]
    runs = spherical_sgd(
        Fixed(points), activation, ALPHA_BAR, step, 1, 1,
        spikes=torch.eye(2, dim), start=start, batch=batch, generator=generator(2),
    )  # fmt: skip

    same = generator(2)
    bulk = torch.randn(1, dim, generator=same)[0].double()
    bulk[:2] = 0
    weight = torch.cat([torch.tensor(start).double(), torch.zeros(dim - 2).double()])
    weight = weight + bulk / bulk.norm() * math.sqrt(1 - weight @ weight)
    noise = torch.randn(1, batch, dim, generator=same)[0].double()
    weight.requires_grad_(True)
    skip = math.sqrt(1 - ALPHA_BAR)
    noised = math.sqrt(ALPHA_BAR) * points + skip * noise
    y = noised @ weight
    phi = -0.8 * torch.tanh(y) if activation is TANH else 0.05 * (y**3 - 3 * y) - 0.1 * y
    loss = (noise - skip * noised - phi[:, None] * weight).square().sum(dim=1).mean()
    (gradient,) = torch.autograd.grad(loss, weight)
    with torch.no_grad():
        moved = weight - step * (gradient - (gradient @ weight) * weight)
        moved /= moved.norm()
    np.testing.assert_allclose(runs.overlaps[0, 0], start, atol=1e-6)
    np.testing.assert_allclose(runs.overlaps[0, 1], moved[:2], atol=2e-6)


def test_uniform_start_has_mean_square_overlap_one_over_d():
    for dynamics in (spherical_sgd, reduced_chain):
        runs = dynamics(SMALL, CUBIC, ALPHA_BAR, 1e-12, 1, 20000, generator=generator(3))
        square = runs.overlaps[:, 0, 0] ** 2
        assert abs(square.mean() - 1 / 5) < 5 * square.std() / math.sqrt(len(square))


@pytest.mark.parametrize("dynamics", [spherical_sgd, reduced_chain])
def test_records_stop_at_recovery(dynamics):
    law = MixedCumulant(20, covariance_snr=10)
    runs = dynamics(law, TANH, ALPHA_BAR, 0.02, 600, 50, threshold=0.5, every=1, batch=3, generator=generator(4))
    assert runs.samples.tolist() == list(range(0, 1801, 3))
    assert runs.overlaps.shape == (50, 601, 1)
    recovered = np.isfinite(runs.recovery)
    assert 0 < recovered.sum() <= 50
    for path, time in zip(np.abs(runs.overlaps[recovered, :, 0]), runs.recovery[recovered], strict=True):
        first = int(time) // 3
        assert path[first] >= 0.5
        assert (path[1:first] < 0.5).all()
        assert (path[first:] == path[first]).all()
    assert (np.abs(runs.overlaps[~recovered, :, 0]) < 0.5).all()


@pytest.mark.parametrize("dynamics", [spherical_sgd, reduced_chain])
def test_same_seed_same_runs_and_global_generator_untouched(dynamics):
    state = torch.get_rng_state()
    first, second, other = (
        dynamics(SMALL, CUBIC, ALPHA_BAR, 0.1, 20, 4, generator=generator(seed)).overlaps for seed in (5, 5, 6)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert torch.equal(state, torch.get_rng_state())


def test_coarser_records_are_a_part_of_the_finer_ones():
    for dynamics in (spherical_sgd, reduced_chain):
        fine, coarse = (
            dynamics(SMALL, CUBIC, ALPHA_BAR, 0.1, 600, 100, every=every, generator=generator(7)) for every in (1, 5)
        )
        np.testing.assert_array_equal(fine.overlaps[:, ::5], coarse.overlaps)


# Reduced chain ----------------------------------------------------------------------------------------------------


def pair(law, activation, step, *, chain_law=None, steps=12, replicas=6000, **options):
    """Final overlaps of the full dynamics and of the chain, each (R, k)."""
    full = spherical_sgd(law, activation, ALPHA_BAR, step, steps, replicas, generator=generator(8), **options)
    chain = reduced_chain(
        chain_law or law, activation, ALPHA_BAR, step, steps, replicas, generator=generator(9), **options
    )
    return full.overlaps[:, -1], chain.overlaps[:, -1]


def smallest_p(full, chain):
    """Kolmogorov–Smirnov on each overlap, on their product and on their length."""
    features = lambda m: [*m.T, m.prod(axis=1), (m**2).sum(axis=1)]  # noqa: E731
    return min(scipy.stats.ks_2samp(a, b).pvalue for a, b in zip(features(full), features(chain), strict=True))


CASES = {
    "cubic": (SMALL, CUBIC, 0.3, {"start": [0.6]}),
    "batch": (SMALL, CUBIC, 0.6, {"start": [0.6], "batch": 3}),
    "covariance": (MixedCumulant(6, covariance_snr=4), TANH, 0.1, {"start": [0.3]}),
    "mean": (MixedCumulant(6, mean_snr=2), TANH, 0.1, {"start": [0.3]}),
    "correlated": (MixedCumulant(6, 4, 10, correlated=True), TANH, 0.1, {"start": [0.4, 0.3]}),
    "skewed": (MixedCumulant(6, 4, 10, latent="skewed", correlated=True), TANH, 0.1, {"start": [0.4, 0.3]}),
    "student": (MixedCumulant(6, 4, 10, latent="student_t", correlated=True), TANH, 0.1, {"start": [0.4, 0.3]}),
    "uniform": (MixedCumulant(6, 4, 10), TANH, 0.1, {"spikes": ["covariance", "cumulant"]}),
}


@pytest.mark.parametrize("case", CASES)
def test_chain_has_the_law_of_the_full_dynamics(case):
    law, activation, step, options = CASES[case]
    assert smallest_p(*pair(law, activation, step, **options)) > 1e-4


@pytest.mark.parametrize("case", ["cubic", "correlated"])
@pytest.mark.parametrize("shift", [-1, 1])
def test_wrong_number_of_degrees_of_freedom_is_seen(case, shift):
    law, activation, step, options = CASES[case]
    ratios = law.covariance_snr, law.cumulant_snr
    wrong = MixedCumulant(law.dim + shift, *ratios, correlated=law.correlated)
    assert smallest_p(*pair(law, activation, step, chain_law=wrong, **options)) < 1e-6


def test_gaussian_clone_in_its_plane():
    clone = MixedCumulant(6, 4, 10, mean_snr=0.0, correlated=True).gaussian_clone()
    options = {"spikes": torch.eye(2, 6, dtype=torch.float64), "start": [0.4, 0.3]}
    assert smallest_p(*pair(clone, TANH, 0.1, **options)) > 1e-4


def test_gaussian_spike_in_a_general_direction_is_the_axis_one():
    direction = torch.tensor([[0.6, 0.0, 0.8, 0.0, 0.0, 0.0]], dtype=torch.float64)
    law = Gaussian(torch.zeros(6, dtype=torch.float64), torch.eye(6, dtype=torch.float64) + 4 * direction.T @ direction)
    turned = reduced_chain(law, TANH, ALPHA_BAR, 0.1, 12, 6000, spikes=direction, start=[0.3], generator=generator(10))
    straight = reduced_chain(
        MixedCumulant(6, covariance_snr=4), TANH, ALPHA_BAR, 0.1, 12, 6000, start=[0.3], generator=generator(11)
    )
    assert smallest_p(turned.overlaps[:, -1], straight.overlaps[:, -1]) > 1e-4


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 10, 126, 10**6])
def test_bulk_length_is_chi_square(degrees):
    random = np.random.Generator(np.random.SFC64(degrees))
    draws = online_sgd._chi_square(degrees, (400, 500), random, generator(12))
    assert draws.shape == (400, 500)
    law = scipy.stats.chi2(degrees)
    assert scipy.stats.kstest(draws.ravel(), law.cdf).pvalue > 1e-4
    assert abs(draws.mean() - degrees) < 5 * law.std() / math.sqrt(draws.size)
    assert scipy.stats.kstest(draws.ravel(), scipy.stats.chi2(1.01 * degrees + 0.05).cdf).pvalue < 1e-4


def test_what_is_drawn_later_does_not_depend_on_how_many_proposals_were_rejected():
    """Another processor rounds a close decision otherwise: that may change the draw, and not all that follow it."""
    after = []
    for seed in (1, 2):  # other proposals, so others and more or fewer are rejected
        random = np.random.Generator(np.random.SFC64(5))
        online_sgd._chi_square(2, (100, 100), random, generator(seed))
        after.append(random.random(4).tolist())
    assert after[0] == after[1]


def test_recovery_of_more_chains_than_advance_at_once_has_the_law_of_the_full_dynamics():
    options = {"start": [0.4], "threshold": 0.6}
    full, chain = (
        dynamics(SMALL, CUBIC, ALPHA_BAR, 0.3, 1000, 300, generator=generator(13), **options).recovery
        for dynamics in (spherical_sgd, reduced_chain)
    )
    assert len(np.unique(chain)) > 50
    assert scipy.stats.ks_2samp(full, chain).pvalue > 1e-4


def test_chain_runs_in_a_million_dimensions():
    runs = reduced_chain(MixedCumulant(10**6, cumulant_snr=10), CUBIC, ALPHA_BAR, 1e-9, 1000, 2, generator=generator())
    assert np.abs(runs.overlaps).max() < 0.01


# Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dynamics", [spherical_sgd, reduced_chain])
@pytest.mark.parametrize(
    ("name", "bad"),
    [(name, bad) for name in ("alpha_bar", "step") for bad in (0.0, -1.0, math.nan, math.inf, "a")]
    + [("alpha_bar", 1.0)]
    + [(name, bad) for name in ("steps", "replicas", "batch", "every") for bad in (0, -1, 2.0, math.nan)]
    + [("threshold", bad) for bad in (0.0, 1.0, -0.5, math.nan)]
    + [("every", 7)]
    + [("start", bad) for bad in ([], [0.1, 0.2], [1.0], [math.nan], 0.1)]
    + [("spikes", bad) for bad in (["other"], [], "cumulant", torch.ones(1, 5), torch.ones(1, 4), torch.ones(5))]
    + [("generator", 3), ("spikes", torch.eye(2, 5, dtype=torch.int64)), ("spikes", torch.full((1, 5), math.nan))],
)
def test_bad_arguments_are_named(dynamics, name, bad):
    good = {"alpha_bar": 0.5, "step": 0.1, "steps": 10, "replicas": 2}
    with pytest.raises(ValueError, match=name):
        dynamics(SMALL, CUBIC, **(good | {name: bad}))


def chain(law, **options):
    return reduced_chain(law, CUBIC, ALPHA_BAR, 0.1, 5, 2, **options)


def test_chain_refuses_a_bulk_that_is_not_isotropic():
    axis = torch.eye(1, 6, dtype=torch.float64)
    zero = torch.zeros(6, dtype=torch.float64)
    wide = torch.ones(6, dtype=torch.float64)
    wide[4] = 1.1
    with pytest.raises(ValueError, match="law"):
        chain(Gaussian(zero, wide.diag()), spikes=axis)
    with pytest.raises(ValueError, match="law"):
        chain(Gaussian(0.1 * wide, torch.eye(6, dtype=torch.float64)), spikes=axis)
    tilted = torch.eye(6, dtype=torch.float64)
    tilted[0, 5] = tilted[5, 0] = 0.3
    with pytest.raises(ValueError, match="law"):
        chain(Gaussian(zero, tilted), spikes=axis)
    with pytest.raises(ValueError, match="law"):
        chain(Fixed(torch.zeros(10, 6)), spikes=axis)


def test_chain_refuses_more_than_two_spikes_and_spikes_not_followed():
    with pytest.raises(ValueError, match="spikes"):
        chain(MixedCumulant(6, 1, 1, 1))
    for law, options, said in [
        (SMALL, {"start": [0.6], "threshold": 0.5}, "below the threshold"),
        (MixedCumulant(3, 1, 1, 1), {"start": [0.1, 0.2, 0.3]}, "direction besides"),
    ]:
        with pytest.raises(ValueError, match=said):
            spherical_sgd(law, CUBIC, 0.5, 0.1, 4, 2, **options)
    with pytest.raises(ValueError, match="spikes"):
        chain(MixedCumulant(6, 1, 1), spikes=["cumulant"])
    with pytest.raises(ValueError, match="spikes"):
        chain(MixedCumulant(6, 1), spikes=torch.eye(6)[3:4])
    with pytest.raises(ValueError, match="spikes"):
        chain(MixedCumulant(6))
    with pytest.raises(ValueError, match="spikes"):
        chain(MixedCumulant(3, 1, 1))


def test_float64_law_of_any_kind_runs_in_full():
    law = Gaussian(torch.zeros(4, dtype=torch.float64), torch.diag(torch.tensor([1.0, 2, 3, 4], dtype=torch.float64)))
    runs = spherical_sgd(law, TANH, 0.5, 0.05, 30, 40, spikes=torch.eye(4)[3:], generator=generator())
    assert runs.overlaps.shape == (40, 2, 1)
    assert np.isfinite(runs.overlaps).all()
    assert (np.abs(runs.overlaps) <= 1 + 1e-6).all()
