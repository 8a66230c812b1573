"""The reduced chain of one-pass SGD against the full dynamics, and the laws that it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from sgd_cases import ALPHA_BAR, CUBIC, SMALL, TANH, Fixed, generator

from diffmem_lib.data import Gaussian, MixedCumulant
from diffmem_lib.simulation import overlap_chain, parallel_chains, reduced_chain, spherical_sgd


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
    draws = overlap_chain._chi_square(degrees, (400, 500), random, generator(12))
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
        overlap_chain._chi_square(2, (100, 100), random, generator(seed))
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


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_parallel_chains_are_those_of_each_generator_one_after_the_other(threads):
    options = {"start": [0.4], "threshold": 0.6, "every": 50}
    setting = SMALL, CUBIC, ALPHA_BAR, 0.3, 400
    runs = parallel_chains(*setting, 12, generators=[generator(seed) for seed in range(threads)], **options)
    alone = [reduced_chain(*setting, 12 // threads, generator=generator(seed), **options) for seed in range(threads)]
    assert runs.overlaps.shape == (12, 9, 1)
    np.testing.assert_array_equal(runs.samples, alone[0].samples)
    np.testing.assert_array_equal(runs.overlaps, np.concatenate([part.overlaps for part in alone]))
    np.testing.assert_array_equal(runs.recovery, np.concatenate([part.recovery for part in alone]))


def test_chain_runs_in_a_million_dimensions():
    runs = reduced_chain(MixedCumulant(10**6, cumulant_snr=10), CUBIC, ALPHA_BAR, 1e-9, 1000, 2, generator=generator())
    assert np.abs(runs.overlaps).max() < 0.01


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
    with pytest.raises(ValueError, match="spikes"):
        chain(MixedCumulant(6, 1, 1), spikes=["cumulant"])
    with pytest.raises(ValueError, match="spikes"):
        chain(MixedCumulant(6, 1), spikes=torch.eye(6)[3:4])
    with pytest.raises(ValueError, match="spikes"):
        chain(MixedCumulant(6))
    with pytest.raises(ValueError, match="spikes"):
        chain(MixedCumulant(3, 1, 1))
