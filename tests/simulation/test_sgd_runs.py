"""What both dynamics of one-pass SGD promise: starts, records, streams of random numbers, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sgd_cases import ALPHA_BAR, CUBIC, SMALL, TANH, generator

from diffmem_lib.data import MixedCumulant
from diffmem_lib.simulation import reduced_chain, spherical_sgd


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


def test_a_start_lies_below_the_threshold_and_leaves_a_direction_free():
    for law, options, said in [
        (SMALL, {"start": [0.6], "threshold": 0.5}, "below the threshold"),
        (MixedCumulant(3, 1, 1, 1), {"start": [0.1, 0.2, 0.3]}, "direction besides"),
    ]:
        with pytest.raises(ValueError, match=said):
            spherical_sgd(law, CUBIC, 0.5, 0.1, 4, 2, **options)
