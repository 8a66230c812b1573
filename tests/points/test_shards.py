"""Shards read as the one array that they are parts of would be."""

import numpy as np
import pytest

from diffmem_lib.points.shards import Shards

SIZES = (5, 1, 7, 4)


def shards_and_whole(dtype, axes=(2, 3)):
    rng = np.random.default_rng(0)
    numbers = 1000 * rng.random((sum(SIZES), *axes))
    whole = numbers.astype(dtype)
    parts = np.split(whole, np.cumsum(SIZES)[:-1])
    expected = whole.reshape(len(whole), -1)
    if whole.dtype.kind == "u":
        expected = expected.astype(np.float32) / np.float32(np.iinfo(whole.dtype).max)
    return Shards(parts, [f"{i}.npy" for i in range(4)]), expected.astype(np.float64 if dtype == "f8" else np.float32)


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "f2", "u1", "u2"])
def test_every_way_to_read_them(dtype):
    shards, whole = shards_and_whole(dtype)
    assert (shards.shape, shards.dtype, len(shards), shards.size) == (whole.shape, whole.dtype, 17, whole.size)
    index = np.array([16, 0, 5, 6, 5, 12, 13])
    for which in (slice(None), slice(3, 8), slice(6, 9), slice(0, 1), slice(4, 4), slice(1, 17, 3), index, 5, -1 + 17):
        rows = shards[which]
        assert rows.dtype == whole.dtype
        np.testing.assert_array_equal(rows, whole[which])
    assert not shards[:0].size


def test_pixels_in_files_are_left_as_they_are(tmp_path):
    for number in range(2):
        np.save(tmp_path / f"{number}.npy", np.full((4, 3), 255, np.uint8))
    shards = Shards([np.load(tmp_path / f"{n}.npy", mmap_mode="r") for n in range(2)], ["0.npy", "1.npy"])
    assert shards[2:6].tolist() == [[1.0] * 3] * 4
    assert np.load(tmp_path / "0.npy").max() == 255


def test_floating_point_shards_are_not_copied():
    shards, _ = shards_and_whole("f4")
    assert np.shares_memory(shards[6:9], shards.parts[2])


def test_a_point_is_called_by_its_shard():
    shards, _ = shards_and_whole("f4")
    assert [shards.names[i] for i in (0, 4, 5, 6, 12, 16)] == [
        "0.npy:0",
        "0.npy:4",
        "1.npy:0",
        "2.npy:0",
        "2.npy:6",
        "3.npy:3",
    ]
    assert shards.counts == {"0.npy": 5, "1.npy": 1, "2.npy": 7, "3.npy": 4}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (np.zeros((3, 2, 4), np.float32), r"b.npy: points of shape 2×4, but 2×3 in a.npy"),
        (np.zeros((3, 3, 2), np.float32), r"b.npy: points of shape 3×2, but 2×3 in a.npy"),
        (np.zeros((3, 2, 3)), r"b.npy: float64 numbers, but float32 in a.npy"),
        (np.zeros((0, 2, 3), np.float32), r"b.npy: must hold points"),
        (np.zeros(3, np.float32), r"b.npy: must hold points"),
    ],
)
def test_shards_that_do_not_fit(other, message):
    with pytest.raises(ValueError, match=message):
        Shards([np.zeros((5, 2, 3), np.float32), other], ["a.npy", "b.npy"])


def test_what_no_shard_may_be():
    with pytest.raises(ValueError, match="at least one"):
        Shards([], [])
    with pytest.raises(ValueError, match=r"a.npy: numbers must be floating-point, .*, not int64"):
        Shards([np.zeros((5, 2), np.int64)], ["a.npy"])


class Made:
    """Rows that are made when they are asked for."""

    def __init__(self, rows):
        self.rows, self.shape, self.dtype = rows, rows.shape, rows.dtype

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, which):
        return self.rows[which].copy()


def test_rows_need_be_no_array():
    shards, whole = shards_and_whole("u1", (6,))
    made = Shards([Made(part) for part in shards.parts], shards.names.names)
    for which in (slice(3, 8), np.array([16, 0, 5]), 5):
        np.testing.assert_array_equal(made[which], whole[which])
    assert made.shape == whole.shape
    with pytest.raises(ValueError, match=r"b: points of shape 5, but 6 in a"):
        Shards([Made(np.zeros((2, 6))), Made(np.zeros((2, 5)))], ["a", "b"])


@pytest.mark.parametrize(("least", "sizes"), [(1, [5, 1, 7, 4]), (6, [6, 7, 4]), (7, [13, 4]), (99, [17])])
def test_one_by_one_or_several_together(least, sizes):
    shards, whole = shards_and_whole("f4")
    parts = list(shards.shards(least))
    assert [len(part) for part in parts] == sizes
    np.testing.assert_array_equal(np.concatenate([part[:] for part in parts]), whole)
    assert parts[-1].names[len(parts[-1]) - 1] == "3.npy:3"


def test_the_files_that_shards_map(tmp_path):
    """A path stands for all of a file only: not for rows of it, nor for an array without the header of one."""
    path = str(tmp_path / "a.npy")
    np.save(path, np.zeros((4, 2, 3), np.float32))
    np.zeros((4, 2, 3), np.float32).tofile(tmp_path / "a.raw")
    mapped, raw = np.load(path, mmap_mode="r"), np.memmap(tmp_path / "a.raw", np.float32, "r", shape=(4, 2, 3))
    others = [mapped[1:], mapped[:, ::-1], np.array(mapped), raw]
    shards = Shards([mapped, *others], list("abcde"))
    assert shards.sources[0] == path
    assert all(source is other for source, other in zip(shards.sources[1:], others, strict=True))
    assert next(shards.shards()).sources == [path]
