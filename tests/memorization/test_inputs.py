"""Reading what is to be audited: shapes, pixels, folders, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from diffmem_lib.memorization import inputs

RNG = np.random.default_rng(0)


def test_floats_are_kept_and_flattened(tmp_path):
    array = RNG.random((5, 4, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", array)
    loaded = inputs.load(str(tmp_path / "x.npy"))
    np.testing.assert_array_equal(loaded.points, array.reshape(5, 12))
    assert loaded.image_shape == (4, 3, 1)


@pytest.mark.parametrize(("dtype", "largest"), [(np.uint8, 255), (np.uint16, 65535)])
def test_pixels_become_fractions(tmp_path, dtype, largest):
    array = np.array([[0, largest], [largest // 5, largest // 3]], dtype=dtype)
    np.save(tmp_path / "x.npy", array)
    np.testing.assert_allclose(inputs.load(str(tmp_path / "x.npy")).points, array / largest, rtol=1e-6)


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    images = RNG.integers(0, 256, (3, 4, 5), dtype=np.uint8)
    for name, image in zip("cab", images, strict=True):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    loaded = inputs.load(str(tmp_path))
    np.testing.assert_allclose(loaded.points.reshape(3, 4, 5), images[[1, 2, 0]] / 255, rtol=1e-6)
    assert [file.rsplit("/", 1)[-1] for file in loaded.files] == ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize(
    "array",
    [np.zeros(3), np.zeros((0, 4)), np.zeros((3, 2), dtype=int), np.full((3, 2), np.nan), np.full((3, 2), np.inf)],
)
def test_bad_arrays(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(inputs.InputError, match=r"x\.npy"):
        inputs.load(str(tmp_path / "x.npy"))


def test_channels_first_stay_on_disk_and_come_out_last(tmp_path):
    """Torch's order of axes needs no copy, unless it meets the other one."""
    images = RNG.random((6, 4, 5, 3)).astype(np.float32)
    np.save(tmp_path / "first.npy", np.moveaxis(images, 3, 1))
    np.save(tmp_path / "last.npy", images)
    np.save(tmp_path / "grey.npy", images[:, None, :, :, 0])
    first, last, grey = (inputs.load(str(tmp_path / f"{name}.npy")) for name in ("first", "last", "grey"))
    assert (first.image_shape, last.image_shape, grey.image_shape) == ((4, 5, 3), (4, 5, 3), (4, 5, 1))
    assert (first.planes, last.planes, grey.planes) == (True, False, False)
    assert isinstance(first.points.base, np.memmap)
    for part in (first, last):
        np.testing.assert_array_equal(part.pixels(2), images[2])
        np.testing.assert_array_equal(part.interleaved().points, last.points)
    np.testing.assert_array_equal(grey.pixels(2), images[2, :, :, :1])


def test_mixed_sizes(tmp_path):
    for name, shape in (("a", (4, 4)), ("b", (4, 5))):
        Image.fromarray(np.zeros(shape, dtype=np.uint8)).save(tmp_path / f"{name}.png")
    with pytest.raises(inputs.InputError, match=r"b\.png"):
        inputs.load(str(tmp_path))
