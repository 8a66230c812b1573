"""Shard by shard, kept and gone on from, here or on a cluster: always what one search of all points gives."""

import os

import numpy as np
import pytest
import torch

from diffmem_lib.memorization import audit, sharded
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
        found = sharded.two_nearest(samples, shards, skip, tmp_path / "new")
        assert torch.equal(found[0], index)
        assert torch.equal(found[1], squared)
    assert len(list((tmp_path / "new").iterdir())) == 4  # nothing is looked for where all repeat earlier ones


def test_ties_go_to_the_first_shard(tmp_path):
    """Two points at one distance on both sides of the sample, in two shards."""
    points = np.array([[0.0, 0], [4, 0], [2, 0], [-2, 0], [0, 2], [9, 9]])
    shards = Shards(np.split(points, [3]), ["a", "b"])
    skip = torch.zeros(6, dtype=torch.bool)
    index, _ = sharded.two_nearest(np.zeros((1, 2)), shards, skip, tmp_path)
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
        sharded.two_nearest(samples, shards, skip, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    calls.clear()
    pairs = []
    found = sharded.two_nearest(samples, shards, skip, tmp_path, progress=pairs.append)
    assert len(calls) == 2
    assert sum(pairs) == len(samples) * (sum(SIZES) - 3)
    assert torch.equal(found[1], real(samples, points, 2, skip=skip)[1])


def test_other_numbers_are_never_taken_for_these(tmp_path):
    samples, shards, _, skip = case()
    sharded.two_nearest(samples, shards, skip, tmp_path)
    moved = samples.copy()
    moved[0, 0] += 1
    sharded.two_nearest(moved, shards, skip, tmp_path)
    assert len(list(tmp_path.iterdir())) == 8
    changed = [part.copy() for part in shards.parts]
    changed[2][50] += 1
    sharded.two_nearest(samples, Shards(changed, list("abcde")), skip, tmp_path)
    assert len(list(tmp_path.iterdir())) == 9


def test_a_damaged_file_is_named(tmp_path):
    samples, shards, _, skip = case()
    sharded.two_nearest(samples, shards, skip, tmp_path)
    file = next(tmp_path.iterdir())
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=f"{file.name} is damaged"):
        sharded.two_nearest(samples, shards, skip, tmp_path)
    np.savez(file, index=np.zeros((3, 2), int), squared=np.zeros((3, 2)))
    with pytest.raises(ValueError, match=f"{file.name} is no result"):
        sharded.two_nearest(samples, shards, skip, tmp_path)


def test_an_audit_that_keeps(tmp_path):
    samples, shards, points, _ = case()
    expected = audit(samples, points, samples[:7] + 0.3, k=3)
    found = audit(samples, shards, samples[:7] + 0.3, k=3, keep=tmp_path)
    for name in ("nearest", "distance", "held_out_distance", "sparsity", "p_value", "duplicate_of"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    with pytest.raises(ValueError, match="keep needs training points in shards"):
        audit(samples, points, keep=tmp_path)


@pytest.fixture(scope="module")
def cluster():
    """A client of a local cluster of two processes."""
    distributed = pytest.importorskip("distributed")
    with distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address="localhost:0") as client:
        yield client


def written(folder, parts):
    """The same as shards that are mapped from files, but for the third, which stays in memory."""
    for number, part in enumerate(parts):
        np.save(folder / f"{number}.npy", part)
    files = [folder / f"{number}.npy" for number in range(len(parts))]
    arrays = [part if n == 2 else np.load(files[n], mmap_mode="r") for n, part in enumerate(parts)]
    return files, Shards(arrays, [file.name for file in files])


@pytest.mark.parametrize(("dtype", "offset"), [(np.float32, 1e3), (np.float64, 0.0)])
def test_a_cluster_gives_the_same_bits(tmp_path, cluster, dtype, offset):
    samples, shards, points, skip = case(dtype, offset)
    _, mapped = written(tmp_path, shards.parts)
    pairs = []
    found = sharded.two_nearest(samples, mapped, skip, client=cluster, progress=pairs.append)
    for ours, expected in zip(found, distances.nearest(samples, points, 2, skip=skip), strict=True):
        assert torch.equal(ours, expected)
    assert sorted(pairs) == sorted(len(samples) * size for size in SIZES if size != 3)


def test_an_audit_on_a_cluster_is_the_audit_here(tmp_path, cluster):
    samples, shards, points, _ = case()
    _, mapped = written(tmp_path, shards.parts)
    held_out = samples[:7] + 0.3
    expected = audit(samples, points, held_out, k=3)
    found = audit(torch.from_numpy(samples), mapped, held_out, k=3, client=cluster)
    for name in ("nearest", "distance", "held_out_nearest", "held_out_distance", "sparsity", "duplicate_of"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    for client, training in ((cluster, points), (object(), shards)):
        with pytest.raises(ValueError, match="client must be one of distributed, with training points in shards"):
            audit(samples, training, client=client)


def test_a_cluster_and_this_process_go_on_from_each_other(tmp_path, cluster, monkeypatch):
    samples, shards, _, skip = case()
    files, mapped = written(tmp_path, shards.parts)
    os.rename(files[4], tmp_path / "away")
    with pytest.raises(ValueError, match=r"training shard 4.npy cannot be read by the worker on .*No such file"):
        sharded.two_nearest(samples, mapped, skip, tmp_path / "kept", cluster)
    os.rename(tmp_path / "away", files[4])
    first = sharded.two_nearest(samples, mapped, skip, tmp_path / "kept", cluster)
    assert len(list((tmp_path / "kept").iterdir())) == 4
    monkeypatch.setattr(distances, "nearest", None)
    again = sharded.two_nearest(samples, shards, skip, tmp_path / "kept")
    assert torch.equal(first[1], again[1])


def test_other_numbers_where_the_worker_looks_are_refused(tmp_path, cluster):
    samples, shards, _, skip = case()
    files, mapped = written(tmp_path, shards.parts)
    changed = shards.parts[4].copy()
    changed[7, 3] += 1e-3
    os.remove(files[4])  # this process still maps the old one
    np.save(files[4], changed)
    with pytest.raises(ValueError, match=r"training shard 4.npy, as it is read by .*, has other numbers than here"):
        sharded.two_nearest(samples, mapped, skip, client=cluster)


class Unreadable:
    """Rows that can be sent, and not received."""

    shape, dtype = (5, 20), np.dtype(np.float32)

    def __len__(self):
        return 5

    def __getitem__(self, which):
        return np.eye(5, 20, dtype=np.float32)[which]

    def __reduce__(self):
        return int, ("x",)


def test_no_result_is_an_error_in_a_line(cluster):
    skip = torch.zeros(5, dtype=torch.bool)
    with pytest.raises(ConnectionError, match=r"^the cluster gave no result for e: .*serializ.*$") as caught:
        sharded.two_nearest(case()[0], Shards([Unreadable()], ["e"]), skip, client=cluster)
    assert "\n" not in str(caught.value)
