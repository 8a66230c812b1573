"""What chance does: intervals of shares, p-values from held-out points, and discoveries among many of them."""

from __future__ import annotations

import math

import torch
from scipy.stats import binomtest, false_discovery_control
from torch import Tensor

from .. import _checks, _tensors

__all__ = ["benjamini_hochberg", "binomial_interval", "conformal_p_values", "difference_interval", "fewest_discoveries"]

CONFIDENCE = 0.95


def binomial_interval(count: int, total: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval of Clopper and Pearson for a share of ``count`` in ``total``; (0, 1) of nothing.

    Raises ``ValueError`` if ``total`` is negative, ``count`` not one of 0 … ``total``, or ``confidence`` not in (0, 1).
    """
    total = _checks.integer(total, "total", low=0)
    count = _checks.integer(count, "count", low=0, high=total)
    confidence = _level(confidence, "confidence")
    return (0.0, 1.0) if total == 0 else _of_share(count, total, confidence, "exact")


def difference_interval(
    count: int, total: int, base_count: int, base_total: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    r"""The interval of Newcombe (1998, his method 10) for the difference of two independent shares.

    .. math:: \hat p - \hat q - \sqrt{(\hat p - l_p)^2 + (u_q - \hat q)^2}, \qquad
              \hat p - \hat q + \sqrt{(u_p - \hat p)^2 + (\hat q - l_q)^2}

    with p̂ = ``count / total``, q̂ = ``base_count / base_total``, and l, u the ends of Wilson's interval of each. Unlike
    the textbook's, it keeps its coverage near shares of 0 and 1, and does not shrink to a point there.

    Raises ``ValueError`` if a total is less than 1, a count not one of 0 … total, or ``confidence`` not in (0, 1).
    """
    total, base_total = _checks.integer(total, "total", low=1), _checks.integer(base_total, "base_total", low=1)
    count = _checks.integer(count, "count", low=0, high=total)
    base_count = _checks.integer(base_count, "base_count", low=0, high=base_total)
    confidence = _level(confidence, "confidence")
    share, base = count / total, base_count / base_total
    low, high = _of_share(count, total, confidence, "wilson")
    base_low, base_high = _of_share(base_count, base_total, confidence, "wilson")
    return (
        share - base - math.hypot(share - low, base_high - base),
        share - base + math.hypot(high - share, base - base_low),
    )


def conformal_p_values(ratio: Tensor, held_out: Tensor) -> Tensor:
    r"""How rare is a sample's neighbour ratio among those of held-out points, :math:`p = (1 + \#\{h ≤ ρ\})/(1 + H)`.

    The null hypothesis: given training set and model, the sample's ratio is an independent draw from the law of the
    held-out ratios, and the held-out points are independent of the training. Under it P(p ≤ a) ≤ a on average over
    held-out sets, ties included; within one audit the p-values share the set and are not independent.

    Parameters
    ----------
    ratio : Tensor, (m,)
        Any measure that is smaller for nearer samples.
    held_out : Tensor, (H,)
        The same of the held-out points.

    Returns
    -------
    Tensor, (m,), float64
        Multiples of 1/(1 + H), which no p-value is below.

    Raises
    ------
    ValueError
        If an argument is not a finite floating-point tensor with one axis.
    """
    ratio = _tensors.floating(ratio, "ratio", shape=("m",))
    held_out = _tensors.floating(held_out, "held_out", shape=("H",), device=ratio.device)
    below = torch.searchsorted(held_out.to(torch.float64).sort().values, ratio.to(torch.float64), right=True)
    return (1 + below).to(torch.float64) / (1 + len(held_out))


def benjamini_hochberg(p_value: Tensor, fdr: float) -> Tensor:
    """Which hypotheses are rejected, so that at most a share ``fdr`` of the rejected ones is true on average.

    The k smallest p-values, with k the largest for which the k-th is at most ``fdr``·k/m (Benjamini and Hochberg 1995;
    for `conformal_p_values`, which share their held-out set, Bates et al. 2023).

    Parameters
    ----------
    p_value : Tensor, (m,)
        In [0, 1].
    fdr : float
        In (0, 1).

    Returns
    -------
    Tensor, (m,), bool

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    p_value = _tensors.floating(p_value, "p_value", shape=("m",))
    if (p_value < 0).any() or (p_value > 1).any():
        raise ValueError(f"p_value must be in [0, 1], got values from {p_value.min():g} to {p_value.max():g}")
    fdr = _level(fdr, "fdr")
    adjusted = torch.from_numpy(false_discovery_control(p_value.detach().cpu().double().numpy()))
    return (adjusted <= fdr * (1 + 1e-12)).to(p_value.device)  # rounding decides no tie


def fewest_discoveries(m: int, held_out: int, fdr: float) -> int:
    """How few of m samples can be found at all: with H held-out points no p-value is below 1/(1 + H).

    So k are found only if 1/(1 + H) ≤ ``fdr``·k/m. More than m: nothing can be found, whatever the samples are.
    Raises ``ValueError`` if ``m`` is less than 1, ``held_out`` negative, or ``fdr`` not in (0, 1).
    """
    m, held_out = _checks.integer(m, "m", low=1), _checks.integer(held_out, "held_out", low=0)
    return max(1, math.ceil(m / (_level(fdr, "fdr") * (1 + held_out)) * (1 - 1e-12)))


def _of_share(count: int, total: int, confidence: float, method: str) -> tuple[float, float]:
    interval = binomtest(count, total).proportion_ci(confidence, method)
    return float(interval.low), float(interval.high)


def _level(value: float, name: str) -> float:
    return _checks.number(value, name, low=0, high=1, low_open=True, high_open=True)
