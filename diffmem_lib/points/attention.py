"""Attention of queries over points with one additive term per point: the dense form of the posterior mean.

torch has a fused kernel for it on CPUs, which is private; where it is missing, on another device, or does not do what
it did, a loop over blocks with a running maximum takes its place. Both return the same.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

__all__ = ["attend", "blockwise", "fused", "fused_operator"]

COLUMNS = 256
WIDEST = 1024  # beyond this many dimensions the loop's larger products are the faster ones
FLOOR = -80.0  # exponents below it add nothing; float32 exponentials down there are an order of magnitude slower


@cache
def fused_operator() -> Any:
    """torch's fused attention for CPUs, or None where it is missing or does not agree with the loop."""
    operator = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
    if operator is None:
        return None
    cpu: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}  # whatever the default device is
    queries, points = torch.eye(2, 3, **cpu), torch.arange(12, **cpu).reshape(4, 3) / 12
    bias = torch.arange(4, **cpu)
    try:
        results = _call(operator, queries, points, bias, 2.0)
    except (RuntimeError, TypeError, ValueError, AttributeError):
        return None
    expected = blockwise(queries, points, bias, 2.0)
    agree = all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(results, expected, strict=True))
    return operator if agree else None


def attend(queries: Tensor, points: Tensor, bias: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Mean (m, d) of the points with weights softmax(scale·q·x + bias), and the log of the sum of exponentials (m,)."""
    # The operator reads rows as if they were contiguous, whatever their strides say.
    plain = queries.device.type == "cpu" and queries.stride(1) == points.stride(1) == 1
    if plain and queries.shape[1] <= WIDEST and fused_operator() is not None:
        return fused(queries, points, bias, scale)
    return blockwise(queries, points, bias, scale)


def fused(queries: Tensor, points: Tensor, bias: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The same by torch's fused kernel."""
    return _call(fused_operator(), queries, points, bias, scale)


def _call(operator: Any, queries: Tensor, points: Tensor, bias: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    mask = bias.expand(1, 1, len(queries), -1)
    mean, log_sum = operator(queries[None, None], points[None, None], points[None, None], attn_mask=mask, scale=scale)
    return mean[0, 0], log_sum[0, 0].to(mean.dtype)


def blockwise(queries: Tensor, points: Tensor, bias: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The same by a loop over blocks of points with a running maximum."""
    largest = torch.full_like(queries[:, 0], -torch.inf)
    total, moment = torch.zeros_like(largest), torch.zeros_like(queries)
    tile = queries.new_empty(len(queries), min(COLUMNS, len(points)))
    for start in range(0, len(points), COLUMNS):
        block = points[start : start + COLUMNS]
        logits = torch.addmm(bias[start : start + COLUMNS], queries, block.T, alpha=scale, out=tile[:, : len(block)])
        larger = torch.maximum(largest, logits.amax(1))
        factor, largest = (largest - larger).exp(), larger
        weight = logits.sub_(larger[:, None]).clamp_(min=FLOOR).exp_()
        total.mul_(factor).add_(weight.sum(1))
        moment.mul_(factor[:, None]).addmm_(weight, block)
    return moment / total[:, None], largest + total.log()
