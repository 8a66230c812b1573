"""Both ways of dense attention: against softmax, against each other, and the choice between them."""

from types import SimpleNamespace

import pytest
import torch

from diffmem_lib.points import attention
from diffmem_lib.simulation import EmpiricalDenoiser

WAYS = [attention.blockwise, attention.fused]


def points(n, dim, seed, dtype=torch.float64):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def no_fused_operator(monkeypatch):
    """A torch without the private operator."""
    attention.fused_operator.cache_clear()
    monkeypatch.setattr(torch, "ops", SimpleNamespace(aten=SimpleNamespace()))
    yield
    monkeypatch.undo()
    attention.fused_operator.cache_clear()


@pytest.mark.skipif(attention.fused_operator() is None, reason="this torch has no fused attention for CPUs")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, 3e-6), (torch.float64, 1e-13)])
@pytest.mark.parametrize(("m", "n", "dim"), [(1, 1, 1), (3, 5, 2), (200, 1300, 17), (33, 700, 300)])
def test_against_softmax(way, dtype, digits, m, n, dim):
    queries, keys = points(m, dim, 0), points(n, dim, 1)
    bias, scale = points(1, n, 2)[0] * 3, 0.7 / dim**0.5
    logits = scale * queries @ keys.T + bias
    mean, log_sum = way(queries.to(dtype), keys.to(dtype), bias.to(dtype), scale)
    assert mean.dtype == log_sum.dtype == dtype
    torch.testing.assert_close(mean.double(), logits.softmax(1) @ keys, rtol=digits, atol=digits)
    torch.testing.assert_close(log_sum.double(), logits.logsumexp(1), rtol=digits, atol=3 * digits)


@pytest.mark.parametrize("way", WAYS)
def test_far_exponents_neither_overflow_nor_count(way):
    if way is attention.fused and attention.fused_operator() is None:
        pytest.skip("this torch has no fused attention for CPUs")
    keys = torch.eye(3)
    mean, log_sum = way(torch.zeros(2, 3), keys, torch.tensor([0.0, -1e6, 500.0]), 1.0)
    torch.testing.assert_close(mean, keys[2].expand(2, 3), rtol=0, atol=1e-30)
    assert log_sum.tolist() == [500.0, 500.0]


def test_the_loop_takes_over(no_fused_operator):
    assert attention.fused_operator() is None
    queries, keys, bias = points(4, 3, 0), points(6, 3, 1), torch.zeros(6, dtype=torch.float64)
    expected = attention.blockwise(queries, keys, bias, 1.0)
    for value, other in zip(attention.attend(queries, keys, bias, 1.0), expected, strict=True):
        assert torch.equal(value, other)


@pytest.mark.parametrize(
    "operator",
    [
        lambda *args, **kwargs: (args[2][..., :2, :], torch.zeros(1, 1, 2)),
        lambda query, key, value: None,
    ],
    ids=["other values", "other signature"],
)
def test_an_operator_that_changed_is_not_used(monkeypatch, operator):
    attention.fused_operator.cache_clear()
    aten = SimpleNamespace(_scaled_dot_product_flash_attention_for_cpu=operator)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "ops", SimpleNamespace(aten=aten))
        assert attention.fused_operator() is None
    attention.fused_operator.cache_clear()


@pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, 2e-6), (torch.float64, 1e-13)])
@pytest.mark.parametrize("offset", [0.0, 20.0])
def test_denoiser_is_the_same_both_ways(monkeypatch, dtype, digits, offset):
    """With and without the operator, with points that need centring and points that do not."""
    training, y = points(6000, 64, 0, dtype) + offset, points(700, 64, 1, dtype) * 2 + offset
    main = EmpiricalDenoiser(training).denoise(y, 2.0)
    monkeypatch.setattr(attention, "fused_operator", lambda: None)
    other = EmpiricalDenoiser(training).denoise(y, 2.0)
    torch.testing.assert_close(main, other, rtol=digits, atol=digits)
    logits = -torch.cdist(y.double(), training.double()).square() / 8
    torch.testing.assert_close(main.double(), logits.softmax(1) @ training.double(), rtol=2 * digits, atol=2 * digits)
