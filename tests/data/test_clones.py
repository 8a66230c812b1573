"""data.clones against moments computed in NumPy, and the losses of linear denoisers on them."""

import numpy as np
import pytest
import torch

from diffmem_lib.data import gaussian_clones, load_digits, whiten


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def skewed(m=300, d=5):
    mixing = torch.randn(d, d, generator=seeded(1), dtype=torch.float64)
    return (torch.randn(m, d, generator=seeded(2), dtype=torch.float64) ** 2) @ mixing + 3


def test_whitened_points_have_mean_zero_and_covariance_one():
    white = whiten(skewed()).numpy()
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(5), atol=1e-10)


def test_whitening_turns_nothing():
    """The root is the symmetric one: white points are those of the same rank order nearest to the given ones."""
    points = skewed()
    centred = (points - points.mean(0)).numpy()
    cross = whiten(points).numpy().T @ centred / len(points)
    np.testing.assert_allclose(cross, cross.T, atol=1e-10)
    assert np.linalg.eigvalsh(cross).min() > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_clones_have_the_moments_of_the_points(dtype):
    points = skewed().to(dtype)
    both = gaussian_clones(points, seeded(3))
    rounding = 1e-10 if dtype == torch.float64 else 1e-4
    expected = np.cov(points.double().numpy().T, bias=True)
    for clone, covariance in zip(both, (expected, np.eye(5) * np.trace(expected) / 5), strict=True):
        assert clone.dtype == dtype
        np.testing.assert_allclose(clone.double().mean(0), points.double().mean(0), atol=10 * rounding)
        np.testing.assert_allclose(np.cov(clone.double().numpy().T, bias=True), covariance, rtol=0, atol=100 * rounding)


def test_clones_are_gaussian_and_the_points_are_not():
    points = skewed(4000)

    def kurtosis(x):
        return float(((whiten(x) ** 4).mean(0) - 3).abs().max())

    assert kurtosis(points) > 2
    assert all(kurtosis(clone) < 0.6 for clone in gaussian_clones(points, seeded(4)))


def test_a_line_has_the_same_loss_on_points_and_covariance_clone():
    """And one with a single factor on all three; averaged over the noise in closed form."""
    points, sigma = skewed(), 0.7
    clones = gaussian_clones(points, seeded(5))
    matrix = torch.randn(5, 5, generator=seeded(6), dtype=torch.float64)
    shift = torch.randn(5, generator=seeded(7), dtype=torch.float64)

    def loss(x, matrix):
        return float((x @ matrix + shift - x).square().sum(1).mean() + sigma**2 * matrix.square().sum())

    assert loss(clones[0], matrix) == pytest.approx(loss(points, matrix), rel=1e-10)
    assert loss(clones[1], matrix) != pytest.approx(loss(points, matrix), rel=1e-2)
    one_factor = 0.6 * torch.eye(5, dtype=torch.float64)
    assert loss(clones[1], one_factor) == pytest.approx(loss(points, one_factor), rel=1e-10)


def test_images_with_pixels_that_never_change_have_clones_but_are_not_whitened():
    digits = load_digits().images
    clone, _ = gaussian_clones(digits, seeded(8))
    constant = digits.std(0) == 0
    assert constant.any()
    torch.testing.assert_close(clone[:, constant], digits[:, constant], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="points must vary in all 64 directions"):
        whiten(digits)


def test_too_few_points():
    with pytest.raises(ValueError, match=r"points must be more than d \+ 1 = 6, got 6"):
        gaussian_clones(skewed(6), seeded())
    with pytest.raises(ValueError, match="points must vary in all 5 directions"):
        whiten(skewed(5))
