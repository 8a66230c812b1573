"""What the audit can read: arrays in .npy and .npz, and folders of PNG or JPEG images. Nothing is ever unpickled."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..points.shards import Shards

__all__ = ["InputError", "Loaded", "Sources", "load", "load_labels", "standardized"]

SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif"}
OTHER_IMAGES = {".avif", ".bmp", ".dng", ".exr", ".gif", ".hdr", ".heic", ".heif", ".ico", ".j2k", ".jp2", ".jxl"}
OTHER_IMAGES |= {
    ".pbm",
    ".pcx",
    ".pgm",
    ".pnm",
    ".ppm",
    ".psd",
    ".qoi",
    ".raw",
    ".svg",
    ".tga",
    ".tif",
    ".tiff",
    ".webp",
}
BLOCK = 2**18


#: How numbers in other files become an array.
WRITTEN_FROM = {
    ".csv": "numpy.loadtxt('points.csv', delimiter=',', skiprows=1)",
    ".tsv": "numpy.loadtxt('points.tsv', skiprows=1)",
    ".txt": "numpy.loadtxt('points.txt')",
    ".json": "json.load(open('points.json'))",
    ".parquet": "pandas.read_parquet('points.parquet').to_numpy()",
    ".pt": "torch.load('points.pt').numpy()",
    ".safetensors": "safetensors.numpy.load_file('points.safetensors')['points']",
}


class InputError(ValueError):
    """A file that cannot be audited; the message says which one and why, in one line."""


@dataclass(frozen=True)
class Loaded:
    """Points as rows, from where they came, and for images their shape (height, width, channels) and files.

    With ``planes`` the numbers of an image are ordered by channel first, as torch has them. ``unread`` says what of a
    folder was passed over, ``axes`` the shape that a point had before it became a row.
    """

    points: np.ndarray | Shards
    source: str
    image_shape: tuple[int, int, int] | None
    files: tuple[str, ...] | None = None
    planes: bool = False
    unread: str = ""
    axes: tuple[int, ...] = ()

    def pixels(self, which: int | slice) -> np.ndarray:
        """One image (height, width, channels), or several."""
        if self.image_shape is None:
            raise ValueError(f"{self.source}: holds no images")
        height, width, channels = self.image_shape
        if not self.planes:
            return self.points[which].reshape(*self.points[which].shape[:-1], height, width, channels)
        planes = self.points[which].reshape(*self.points[which].shape[:-1], channels, height, width)
        return np.moveaxis(planes, -3, -1)

    def interleaved(self) -> Loaded:
        """The same with the channels of a pixel side by side: itself, or a copy."""
        if not self.planes:
            return self
        if isinstance(self.points, Shards):
            raise InputError(
                f"{self.source}: shards with channels first must be compared with images of the same order"
            )
        points = self.pixels(slice(None)).reshape(self.points.shape)
        return replace(self, points=points, planes=False)


@dataclass(frozen=True)
class Sources:
    """What was audited, to name it and to show its images; without samples, a training set alone.

    With ``standardized``, each column was divided by its standard deviation in the training data before the distances.
    """

    training: Loaded
    samples: Loaded | None = None
    held_out: Loaded | None = None
    standardized: bool = False


def load(source: str, *, colour: bool = False) -> Loaded:
    """Read an array (``file.npy``, ``file.npz``, ``file.npz:KEY``) or a folder of images, in the order of their names.

    Floating-point .npy files are mapped, not read. Integer pixels become float32 in [0, 1]: unsigned 8-bit numbers are
    divided by 255, 16-bit ones by 65535. ``colour`` reads grey files as three channels. A pattern (``shards/*.npy``) is
    all arrays whose paths match, one behind the other in the order of their names, numbers in these by value: `Shards`,
    whose integer pixels are mapped too and cast block by block.
    """
    if Path(source).is_dir():
        return _folder(Path(source), source, colour)
    if glob.has_magic(source) and not Path(source).exists():
        return _shards(source)
    array = _array(source)
    if array.dtype.newbyteorder("=") in (np.uint8, np.uint16):
        largest = np.iinfo(array.dtype).max
        array = array.astype(np.float32)
        array /= largest  # in place: a second array of this size may not fit
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise InputError(
            f"{source}: numbers must be floating-point, or unsigned pixels of 8 or 16 bits, not {array.dtype}"
            " (array.astype('float32') makes numbers of any other kind so)"
        )
    if array.dtype not in (np.float32, np.float64):  # half precision, or another byte order
        array = array.astype(np.float32 if array.dtype.itemsize <= 4 else np.float64)
    if array.ndim < 2 or array.size == 0:
        raise InputError(
            f"{source}: must hold points along the first of two or more axes, not an array of {array.shape}"
        )
    points = array.reshape(len(array), -1)
    _check_finite(points, source)
    return _loaded(points, source, array.shape[1:])


def _loaded(points: np.ndarray | Shards, source: str, axes: tuple[int, ...]) -> Loaded:
    """Points that had these ``axes`` before they became rows, with what that says of images."""
    planes = len(axes) == 3 and axes[0] in (1, 3) and axes[2] not in (1, 3)
    image_shape = _image_shape((*axes[1:], axes[0]) if planes else axes)
    planes = planes and axes[0] > 1
    return Loaded(points, _printable(source), image_shape, planes=planes, axes=axes)


def _shards(source: str) -> Loaded:
    """All arrays whose paths match the pattern, one behind the other."""
    files = sorted((file for file in glob.glob(source) if file.endswith(".npy")), key=_with_numbers)
    if not files:
        raise InputError(f"{source}: no .npy file matches this pattern")
    names = [_printable(Path(file).name) for file in files]
    try:
        shards = Shards([_array(file) for file in files], names)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{source}: {error}") from None
    _check_finite(shards, source)
    return _loaded(shards, source, shards.axes)


def standardized(points: np.ndarray, training: np.ndarray) -> np.ndarray:
    """``points`` with each column in units of its standard deviation among ``training``.

    A column that is constant there keeps its unit, so that what differs from it stays seen.
    """
    deviation = training.std(axis=0, dtype=np.float64)
    return (points / np.where(deviation > 0, deviation, 1.0)).astype(points.dtype)


def load_labels(source: str, files: tuple[str, ...] | None = None) -> np.ndarray:
    """Labels from an .npy or .npz array, or from a text file with one a line; of ``files``, also as lines NAME,LABEL.

    Without names, they are those of the files in the order of their names, if that is the same by letter and by number.
    """
    if source.endswith((".npy", ".npz")) or ".npz:" in source:
        array = _array(source)
        if array.ndim != 1:
            raise InputError(f"{source}: labels must have one axis, not the shape {array.shape}")
        return array
    try:
        lines = [line.strip() for line in Path(source).read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source}: cannot be read ({_reason(error)})") from None
    commas = sum("," in line for line in lines)
    if files is None:
        if lines and commas == len(lines):
            raise InputError(f"{source}: points of an array have no names: write a label a line, not NAME,LABEL")
        return np.array(lines)
    if lines and commas == len(lines):
        return _named_labels(source, lines, files)
    if commas:
        other = next(line for line in lines if "," not in line)
        raise InputError(f"{source}: {len(lines) - commas} of {len(lines)} lines are not NAME,LABEL, e.g. {other!r}")
    if lines and re.split(r"[;\t]", lines[0])[0].strip() in files and lines[0] not in files:
        raise InputError(f"{source}: write lines NAME,LABEL with a comma, not {lines[0]!r}")
    by_number = sorted(files, key=_with_numbers)
    if by_number != list(files):
        first = next(pair for pair in zip(files, by_number, strict=True) if pair[0] != pair[1])
        raise InputError(
            f"{source}: write lines NAME,LABEL, since the images have one order by letter and another by number"
            f" ({first[0]} or {first[1]} first)"
        )
    return np.array(lines)


def _named_labels(source: str, lines: list[str], files: tuple[str, ...]) -> np.ndarray:
    """The labels of ``files`` from lines NAME,LABEL; lines of other names, such as a heading, are passed over."""
    pairs = [(name.strip(), label.strip()) for name, _, label in (line.partition(",") for line in lines)]
    named = dict(pairs)
    if again := [name for (name, label) in pairs if named[name] != label]:
        raise InputError(f"{source}: {again[0]} has two labels")
    if missing := [file for file in files if file not in named]:
        unknown = [name for name in named if name not in set(files)]
        there = f", while {len(unknown)} names are unknown, e.g. {unknown[0]}" if unknown else ""
        raise InputError(f"{source}: {len(missing)} of {len(files)} images have no label, e.g. {missing[0]}{there}")
    return np.array([named[file] for file in files])


def _with_numbers(name: str) -> list[str | int]:
    """A file's name as text and numbers in turn, which sorts 2.png before 10.png."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d+)", name))]


def _array(source: str) -> np.ndarray:
    path, separator, key = source.partition(".npz:")
    path = path + ".npz" if separator else source
    if not path.endswith((".npy", ".npz")) and Path(path).exists():
        way = WRITTEN_FROM.get(Path(path).suffix.lower(), "array")
        raise InputError(f"{path}: is no folder, and no .npy or .npz file (numpy.save('points.npy', {way}) writes one)")
    try:
        # A mapped array costs no memory; inside an .npz nothing can be mapped.
        data = np.load(path, mmap_mode="r" if path.endswith(".npy") else None, allow_pickle=False)
        if isinstance(data, np.ndarray):
            return data
        with data:
            key = key or (data.files[0] if len(data.files) == 1 else "")
            if key not in data.files:
                raise InputError(
                    f"{path}: say which array is meant, as {path}:KEY, of {', '.join(data.files) or 'none'}"
                )
            array = data[key]
            if not isinstance(array, np.ndarray):
                raise InputError(f"{path}: {key} is no array")
            return array
    except InputError:
        raise
    except Exception as error:  # a damaged archive can raise almost anything
        if "pickle" in str(error).lower() or "Python objects" in str(error):
            raise InputError(f"{path}: holds pickled objects, or is no array file; such are never read") from None
        raise InputError(f"{path}: cannot be read ({_reason(error)})") from None


def _folder(folder: Path, source: str, colour: bool) -> Loaded:
    there = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    files = [path for path in there if path.suffix.lower() in SUFFIXES and not path.is_dir()]
    folders = sum(path.is_dir() for path in there)
    others = sum(path.suffix.lower() in OTHER_IMAGES for path in there)
    unread = " and ".join(
        f"{count} {name}{'s' * (count > 1)}"
        for count, name in ((folders, "subfolder"), (others, "image of another kind"))
        if count
    )
    if not files:
        passed = f", and {unread} that are not read: convert them to PNG" if others else f", and {unread}"
        arrays = f"; for its .npy files write '{source.rstrip('/')}/*.npy'" if list(folder.glob("*.npy")) else ""
        raise InputError(f"{source}: no .png, .jpg or .jpeg in this folder{passed if unread else ''}{arrays}")
    colour = colour or any(_is_colour(file) for file in files)
    first = _image(files[0], colour)
    points = np.empty((len(files), first.size), dtype=np.float32)
    for row, file in zip(points, files, strict=True):
        image = _image(file, colour)
        if image.shape != first.shape:
            sizes = " but ".join(f"{shape[1]}×{shape[0]}" for shape in (image.shape, first.shape))
            raise InputError(f"{file}: is {sizes} in {files[0].name}; all images must have one size")
        row[:] = image.ravel()
    names = tuple(_printable(file.name) for file in files)
    return Loaded(points, _printable(source), first.shape, names, unread=unread, axes=first.shape)


def _printable(name: str) -> str:
    """A path whose bytes may be no text, as text."""
    return name.encode("utf-8", "replace").decode("utf-8")


def _is_colour(file: Path) -> bool:
    try:
        with Image.open(file) as image:
            return image.mode not in ("1", "L", "LA", "I", "F") and not image.mode.startswith("I;")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{file}: cannot be read as an image ({_reason(error)})") from None


def _image(file: Path, colour: bool) -> np.ndarray:
    """One image (height, width, channels) in [0, 1]; what is transparent in it lies on white."""
    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)  # as a camera held it, and as every viewer shows it
            if image.mode.startswith("I"):  # 16 bits
                grey = np.asarray(image, dtype=np.float32)[:, :, None] / 65535
                return np.repeat(grey, 3, axis=2) if colour else grey
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            pixels = np.asarray(image.convert("RGB" if colour else "L"), dtype=np.float32) / 255
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{file}: cannot be read as an image ({_reason(error)})") from None
    return pixels if colour else pixels[:, :, None]


def _check_finite(points: np.ndarray | Shards, source: str) -> None:
    rows = max(1, BLOCK // points.shape[1])
    for start in range(0, len(points), rows):
        finite = np.isfinite(points[start : start + rows]).all(1)
        if not finite.all():
            place = start + int(finite.argmin())
            name = points.names[place] if isinstance(points, Shards) else place
            raise InputError(f"{source}: NaN or infinity in point {name}")


def _image_shape(axes: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Height, width and channels of points of (h, w) and (h, w, c); None for others."""
    if len(axes) == 2:
        return axes[0], axes[1], 1
    if len(axes) == 3 and axes[2] in (1, 3):
        return axes[0], axes[1], axes[2]
    return None


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
