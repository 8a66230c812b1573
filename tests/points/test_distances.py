"""Nearest points against all differences at once, where products alone would be wrong."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from diffmem_lib.points import distances


def points(n, dim, seed, dtype=torch.float32):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def brute_force(queries, training, k, *, itself=False):
    squared = torch.stack([(training.double() - query.double()).square().sum(1) for query in queries])
    if itself:
        squared.fill_diagonal_(torch.inf)
    value, index = squared.sort(dim=1, stable=True)
    return index[:, :k], value[:, :k]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.0, 300.0])
@pytest.mark.parametrize(("n", "m", "dim"), [(40, 9, 1), (2500, 300, 3), (1400, 200, 700), (300, 40, 3072), (3, 5, 2)])
def test_nearest_is_that_of_differences(n, m, dim, offset, dtype):
    training, queries = points(n, dim, 0, dtype) + offset, points(m, dim, 1, dtype) + offset
    queries[0] = training[0]
    queries[1] = training[1] + 1e-4 * points(1, dim, 2, dtype)[0]
    k = min(4, n)
    index, squared = distances.nearest(queries, training, k)
    expected_index, expected = brute_force(queries, training, k)
    assert torch.equal(index, expected_index)
    torch.testing.assert_close(squared, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dim", [1, 2, 40])
@pytest.mark.parametrize("offset", [1e4, 1e7])
def test_far_from_the_origin(dim, offset):
    """Points of float64 that float32 can only tell apart once their mean is taken off."""
    training, queries = (points(n, dim, n, torch.float64) + offset for n in (3000, 400))
    for other in (training, training.numpy()):
        index, squared = distances.nearest(queries, other, 3)
        expected_index, expected = brute_force(queries, training, 3)
        assert torch.equal(index, expected_index)
        torch.testing.assert_close(squared, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("n", "dim", "k"), [(2600, 5, 7), (600, 3072, 3), (8, 2, 7), (2, 4, 1)])
def test_nearest_others(n, dim, k):
    training = points(n, dim, 0)
    index, squared = distances.nearest(training, k=k)
    expected_index, expected = brute_force(training, training, k, itself=True)
    assert torch.equal(index, expected_index)
    torch.testing.assert_close(squared, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dim", [2, 3072])
def test_crowds_of_near_copies(dim):
    """Sixty points within 1e-4 of each other, which a float32 product cannot tell apart, and twenty equal ones."""
    training = points(300, dim, 0)
    training[100:160] = training[100] + 1e-4 * points(60, dim, 1)
    training[200:220] = training[200]
    for queries, other in ((training, None), (training[90:230].clone(), training)):
        index, squared = distances.nearest(queries, other, k=3)
        expected_index, expected = brute_force(queries, training, 3, itself=other is None)
        torch.testing.assert_close(squared, expected, rtol=1e-12, atol=0)
        clear = expected[:, -1] > 0
        assert torch.equal(index[clear], expected_index[clear])


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e15, 1e30])
def test_scale_does_not_matter(scale):
    training, queries = points(200, 20, 0, torch.float64), points(30, 20, 1, torch.float64)
    index, squared = distances.nearest(queries * scale, training * scale, k=2)
    expected_index, expected = brute_force(queries, training, 2)
    assert torch.equal(index, expected_index)
    torch.testing.assert_close(squared / scale**2, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("scale", [1e-170, 1e160, 1e300])
def test_squares_out_of_range_are_refused(scale):
    training = points(20, 3, 0, torch.float64)
    for queries, other in ((training, training * scale), (training * scale, training), (training * scale, None)):
        if scale < 1 and other is training:
            continue  # as good as the origin
        with pytest.raises(ValueError, match=r"^points must have squares"):
            distances.nearest(queries, other, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bound_holds_and_is_not_idle(dtype):
    """The error of products stays within its bound, which is not more than ten thousand times too wide."""
    training, queries = points(500, 3072, 0), points(60, 3072, 1)
    cloud = distances.Cloud(training)
    y = (queries.double() - cloud.centre).to(dtype)
    x = cloud.block(slice(0, 500), dtype)
    half = (y.double().square().sum(1)[:, None] / 2).to(dtype) + cloud.half_norms.to(dtype) - y @ x.T
    expected = torch.stack([(training.double() - q.double()).square().sum(1) / 2 for q in queries])
    bound = distances.half_distance_error(
        y.double().square().sum(1).sqrt(), (2 * cloud.half_norms.max()).sqrt(), 3072, dtype
    )
    share = ((half.double() - expected).abs() / bound[:, None]).max().item()
    assert 1e-4 < share < 1


class LargeBlocks(TorchDispatchMode):
    """Counts the bytes of all new tensors of 2 MB and more, however soon they are freed."""

    total = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        known, new = (
            {memory.data_ptr(): memory.nbytes() for memory in storages(part)} for part in ((arguments, options), result)
        )
        self.total += sum(size for key, size in new.items() if key not in known and size >= 2**21)
        return result


def storages(tree):
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_a_block_is_not_allocated_again_and_again(shift):
    """Blocks freed in turn can stay in the heap: one audit of 60000 images kept 1.4 GB, the set in float64.

    These queries lie in a cluster too tight for float32 and are searched again in float64, with every point converted.
    """
    n, dim = 6000, 1024
    training = points(n, dim, 0)
    training[:30] = training[0] + 1e-4 * points(30, dim, 1)
    training += shift
    with LargeBlocks() as allocated:
        index, _ = distances.nearest(training[:3], training, k=2)
    assert index[:, 0].tolist() == [0, 1, 2]
    assert allocated.total < 2**24
