"""Shard by shard, kept and gone on from: always what one search of all points gives."""

import numpy as np
import pytest
import torch

from diffmem_lib.memorization import audit, kept
from diffmem_lib.points import distances
from diffmem_lib.points.shards import Shards

RNG = np.random.default_rng(0)
SIZES = (60, 1, 90, 3, 80)


def case(dtype=np.float32, offset=0.0):
    """Shards with points that repeat earlier ones, and a last but one of nothing else; samples near several of them."""
    points = (RNG.random((sum(SIZES), 20)) + offset).astype(dtype)
    points[[70, 200]], points[151:154] = points[5], points[[1, 2, 3]]
    skip = torch.zeros(len(points), dtype=torch.bool)
    skip[[70, 200, 151, 152, 153]] = True
    samples = np.concatenate([points[[5, 60, 100, 230]], (points[:20] + points[100:120]) / 2])
    ends = np.cumsum(SIZES)[:-1]
    return samples, Shards(np.split(points, ends), [f"{i}" for i in range(len(SIZES))]), points, skip


@pytest.mark.parametrize(("dtype", "offset"), [(np.float32, 0.0), (np.float32, 1e3), (np.float64, 1e6)])
def test_merged_exactly(tmp_path, dtype, offset):
    """Bit for bit, also where centres differ by shard and products prove nothing."""
    samples, shards, points, skip = case(dtype, offset)
    index, squared = distances.nearest(samples, points, 2, skip=skip)
    for _ in range(2):  # made, then read
        found = kept.two_nearest(samples, shards, skip, tmp_path / "new", None)
        assert torch.equal(found[0], index)
        assert torch.equal(found[1], squared)
    assert len(list((tmp_path / "new").iterdir())) == 4  # nothing is looked for where all repeat earlier ones


def test_ties_go_to_the_first_shard(tmp_path):
    """Two points at one distance on both sides of the sample, in two shards."""
    points = np.array([[0.0, 0], [4, 0], [2, 0], [-2, 0], [0, 2], [9, 9]])
    shards = Shards(np.split(points, [3]), ["a", "b"])
    skip = torch.zeros(6, dtype=torch.bool)
    index, _ = kept.two_nearest(np.zeros((1, 2)), shards, skip, tmp_path)
    assert index.tolist() == [[0, 2]]
    assert torch.equal(index, distances.nearest(np.zeros((1, 2)), points, 2, skip=skip)[0])


def test_a_killed_run_goes_on(tmp_path, monkeypatch):
    """After an interrupt in the third shard only that one and the later ones are searched, and all is as before."""
    samples, shards, points, skip = case()
    real, calls = distances.nearest, []

    def interrupted(*arguments, **options):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*arguments, **options)

    monkeypatch.setattr(distances, "nearest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kept.two_nearest(samples, shards, skip, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    calls.clear()
    pairs = []
    found = kept.two_nearest(samples, shards, skip, tmp_path, pairs.append)
    assert len(calls) == 2
    assert sum(pairs) == len(samples) * (sum(SIZES) - 3)
    assert torch.equal(found[1], real(samples, points, 2, skip=skip)[1])


def test_other_numbers_are_never_taken_for_these(tmp_path):
    samples, shards, _, skip = case()
    kept.two_nearest(samples, shards, skip, tmp_path)
    moved = samples.copy()
    moved[0, 0] += 1
    kept.two_nearest(moved, shards, skip, tmp_path)
    assert len(list(tmp_path.iterdir())) == 8
    changed = [part.copy() for part in shards.parts]
    changed[2][50] += 1
    kept.two_nearest(samples, Shards(changed, list("abcde")), skip, tmp_path)
    assert len(list(tmp_path.iterdir())) == 9


def test_a_damaged_file_is_named(tmp_path):
    samples, shards, _, skip = case()
    kept.two_nearest(samples, shards, skip, tmp_path)
    file = next(tmp_path.iterdir())
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=f"{file.name} is damaged"):
        kept.two_nearest(samples, shards, skip, tmp_path)
    np.savez(file, index=np.zeros((3, 2), int), squared=np.zeros((3, 2)))
    with pytest.raises(ValueError, match=f"{file.name} is no result"):
        kept.two_nearest(samples, shards, skip, tmp_path)


def test_an_audit_that_keeps(tmp_path):
    samples, shards, points, _ = case()
    expected = audit(samples, points, samples[:7] + 0.3, k=3)
    found = audit(samples, shards, samples[:7] + 0.3, k=3, keep=tmp_path)
    for name in ("nearest", "distance", "held_out_distance", "sparsity", "p_value", "duplicate_of"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    with pytest.raises(ValueError, match="keep needs training points in shards"):
        audit(samples, points, keep=tmp_path)
