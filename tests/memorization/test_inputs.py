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


@pytest.mark.parametrize("kind", [">u2", ">u1", ">f4", ">f8", ">f2"])
def test_another_byte_order(tmp_path, kind):
    array = (200 * RNG.random((5, 3))).astype(kind)
    np.save(tmp_path / "big.npy", array)
    np.save(tmp_path / "native.npy", array.astype(array.dtype.newbyteorder("=")))
    big, native = (inputs.load(str(tmp_path / f"{name}.npy")).points for name in ("big", "native"))
    np.testing.assert_array_equal(big, native)
    assert big.dtype.isnative


def test_images_lie_as_a_viewer_shows_them(tmp_path):
    """A camera held upright writes the image on its side, and says so; orientation 6 is a quarter turn to the right."""
    image = RNG.integers(0, 256, (4, 6), dtype=np.uint8)
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(image).save(tmp_path / "a.png", exif=turned)
    loaded = inputs.load(str(tmp_path))
    assert loaded.image_shape == (6, 4, 1)
    np.testing.assert_allclose(loaded.pixels(0)[:, :, 0], np.rot90(image, -1) / 255, rtol=1e-6)


@pytest.mark.parametrize("suffix", ["ppm", "tga", "heic", "tiff", "pgm", "svg"])
def test_images_of_another_kind_are_not_passed_over_without_a_word(tmp_path, suffix):
    (tmp_path / f"a.{suffix}").touch()
    with pytest.raises(inputs.InputError, match="1 image of another kind that are not read: convert them to PNG"):
        inputs.load(str(tmp_path))
    Image.fromarray(np.zeros((4, 5), dtype=np.uint8)).save(tmp_path / "b.png")
    assert inputs.load(str(tmp_path)).unread == "1 image of another kind"


def test_jpeg_by_its_other_names(tmp_path):
    image = Image.fromarray(np.zeros((4, 5), dtype=np.uint8))
    for name in ("a.jfif", "b.jpe"):
        image.save(tmp_path / name, format="JPEG")
    assert inputs.load(str(tmp_path)).files == ("a.jfif", "b.jpe")


FILES = ("a.png", "b.png", "c.png")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            "a.jpg,cat b.jpg,dog c.jpg,cat",
            "3 of 3 images have no label, e.g. a.png, while 3 names are unknown, e.g. a.jpg",
        ),
        ("x/a.png,cat x/b.png,dog x/c.png,cat", "3 of 3 images have no label, e.g. a.png, while 3 names are unknown"),
        ("a.png,cat b.png,dog", "1 of 3 images have no label, e.g. c.png"),
        ("a.png,cat b.png,dog c.png,cat a.png,dog", "a.png has two labels"),
    ],
)
def test_names_that_do_not_match_are_not_taken_for_labels(tmp_path, lines, said):
    (tmp_path / "labels.txt").write_text(lines.replace(" ", "\n"))
    with pytest.raises(inputs.InputError, match=said):
        inputs.load_labels(str(tmp_path / "labels.txt"), FILES)


def test_a_heading_and_further_names_do_no_harm(tmp_path):
    (tmp_path / "labels.txt").write_text("name,label\nc.png,cat\na.png,dog\nd.png,cat\nb.png,dog, small\n")
    assert inputs.load_labels(str(tmp_path / "labels.txt"), FILES).tolist() == ["dog", "dog, small", "cat"]


def test_refusals_say_how_to_convert(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 2), dtype=int))
    with pytest.raises(inputs.InputError, match=r"array\.astype\('float32'\)"):
        inputs.load(str(tmp_path / "x.npy"))
    (tmp_path / "x.csv").write_text("1,2")
    with pytest.raises(inputs.InputError, match=r"numpy\.save\('points\.npy', numpy\.loadtxt\('points\.csv', delim"):
        inputs.load(str(tmp_path / "x.csv"))
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "x.npy", np.zeros((3, 2)))
    with pytest.raises(inputs.InputError, match=r"for its \.npy files write '.*folder/\*\.npy'"):
        inputs.load(str(tmp_path / "folder"))


@pytest.mark.parametrize(("lines", "said"), [
    ("a.png,cat b.png,dog c.png", r"1 of 3 lines are not NAME,LABEL, e\.g\. 'c\.png'"),
    ("a.png;cat b.png;dog c.png;cat", "write lines NAME,LABEL with a comma, not 'a.png;cat'"),
])  # fmt: skip
def test_lines_that_are_nearly_names_with_labels_are_no_labels(tmp_path, lines, said):
    (tmp_path / "labels.txt").write_text(lines.replace(" ", "\n"))
    with pytest.raises(inputs.InputError, match=said):
        inputs.load_labels(str(tmp_path / "labels.txt"), FILES)


def test_points_of_an_array_have_no_names(tmp_path):
    (tmp_path / "labels.txt").write_text("a.png,cat\nb.png,dog\n")
    with pytest.raises(inputs.InputError, match="points of an array have no names: write a label a line"):
        inputs.load_labels(str(tmp_path / "labels.txt"))


def test_standardized():
    training = np.array([[0.0, 5.0, 1.0], [2.0, 5.0, 3.0]], dtype=np.float32)
    found = inputs.standardized(training + np.float32(1), training)
    np.testing.assert_allclose(found, [[1, 6, 2], [3, 6, 4]])
    assert found.dtype == np.float32
    np.testing.assert_allclose(inputs.standardized(10 * training, 10 * training), [[0, 50, 1], [2, 50, 3]])
