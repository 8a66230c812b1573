"""The exact empirical denoiser beside plain products, research code's formulas, SciPy and KeOps.

python -m benchmarks.denoiser
"""

from __future__ import annotations

import math
from collections.abc import Callable
from unittest import mock

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde
from threadpoolctl import threadpool_limits
from torch import Tensor

from diffmem_lib.points import attention
from diffmem_lib.simulation import EmpiricalDenoiser

from ._record import RESULTS, interleaved, save_table

SIZES = {"A": (2000, 20000, 64, 1.0), "B": (1000, 100000, 256, 1.0), "C": (256, 10000, 3072, 0.05)}
ROOF = "two plain torch.mm"
OURS, FALLBACK = "EmpiricalDenoiser", "EmpiricalDenoiser, no private operator"
ROUNDS = 3


def full_softmax(x: Tensor, training: Tensor, sigma: float) -> Tensor:
    """The denoiser as smalldiffusion describes its own: all distances from one product, softmax, one more product."""
    squared = x.square().sum(1)[:, None] + training.square().sum(1) - 2 * x @ training.T
    return (-squared / (2 * sigma**2)).softmax(1) @ training


def broadcast(x: Tensor, training: Tensor, sigma: float) -> Tensor:
    """What one writes first: an array of all differences."""
    squared = (x[:, None] - training).square().sum(2)
    return (-squared / (2 * sigma**2)).softmax(1) @ training


def keops() -> Callable[[Tensor, Tensor, float], Tensor] | None:
    """The same with KeOps, where it is installed and can compile."""
    try:
        from pykeops.torch import LazyTensor

        def denoise(x: Tensor, training: Tensor, sigma: float) -> Tensor:
            queries, points = LazyTensor(x[:, None].contiguous()), LazyTensor(training[None].contiguous())
            logits = -((queries - points) ** 2).sum(2) / (2 * sigma**2)
            return logits.sumsoftmaxweight(points, dim=1)

        denoise(torch.zeros(2, 3), torch.ones(4, 3), 1.0)
    except Exception:  # a missing compiler, a missing package: each shows differently
        return None
    return denoise


def without_operator(denoiser: EmpiricalDenoiser, x: Tensor, sigma: float) -> Tensor:
    with mock.patch.object(attention, "fused_operator", return_value=None):
        return denoiser.denoise(x, sigma)


def measure(size: str, dtype: torch.dtype, rounds: int = ROUNDS) -> dict[str, float]:
    """GFLOP/s at 4·m·n·d, whatever a method really computes; slow ones are given a few of the queries only."""
    m, n, dim, sigma = SIZES[size]
    generator = torch.Generator().manual_seed(0)
    training = torch.randn(n, dim, generator=generator, dtype=dtype)
    x = training[:m] + sigma * torch.randn(m, dim, generator=generator, dtype=dtype)
    weights, denoiser = torch.rand(m, n, generator=generator, dtype=dtype), EmpiricalDenoiser(training)
    calls = {
        ROOF: lambda: (torch.mm(x, training.T), torch.mm(weights, training)),
        OURS: lambda: denoiser.denoise(x, sigma),
        FALLBACK: lambda: without_operator(denoiser, x, sigma),
        "smalldiffusion's formula": lambda: full_softmax(x, training, sigma),
    }
    seconds = {name: value / m for name, value in interleaved(calls, rounds).items()}
    few = max(1, 10**8 // (n * dim))
    slow = {"broadcast": lambda: broadcast(x[:few], training, sigma)}
    if dtype == torch.float64 and dim <= 256:
        kde = gaussian_kde(training.T.numpy(), bw_method=sigma)
        slow["SciPy gaussian_kde (log-density only)"] = lambda: kde.logpdf(x[:few].T.numpy())
    if (lazy := keops()) is not None and dtype == torch.float32:
        slow["KeOps"] = lambda: lazy(x[: 4 * few], training, sigma)
    for name, value in interleaved(slow, 1).items():
        seconds[name] = value / min(m, 4 * few if name == "KeOps" else few)
    return {name: 4e-9 * n * dim / value for name, value in seconds.items()}


def log_density_error(sigma: float) -> dict[str, float]:
    """Largest error in nats of the log-density at d = 3072, float32 data, against float64 differences."""
    generator = torch.Generator().manual_seed(1)
    training = torch.rand(2000, 3072, generator=generator) * 2 - 1
    x = training[:50] + sigma * torch.randn(50, 3072, generator=generator)
    exact = torch.stack([(training.double() - y.double()).square().sum(1) for y in x])
    constant = math.log(len(training)) + 1536 * math.log(2 * math.pi * sigma**2)
    expected = (-exact / (2 * sigma**2)).logsumexp(1) - constant
    squared = x.square().sum(1)[:, None] + training.square().sum(1) - 2 * x @ training.T
    product = (-squared / (2 * sigma**2)).logsumexp(1) - constant
    ours = EmpiricalDenoiser(training).log_density(x, sigma)
    return {
        OURS: float((ours - expected).abs().max()),
        "float32 products": float((product.double() - expected).abs().max()),
    }


def products(rounds: int = ROUNDS) -> dict[str, float]:
    """GFLOP/s of one product at size C: what the machine could do, by whatever library and in whatever precision."""
    m, n, dim, _ = SIZES["C"]
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(m, dim, generator=generator), torch.randn(n, dim, generator=generator)
    short, long = x.bfloat16(), y.bfloat16()
    calls = {
        "torch.mm, float32": lambda: torch.mm(x, y.T),
        "numpy.matmul, float32": lambda: np.matmul(x.numpy(), y.numpy().T),
        "torch.mm, bfloat16": lambda: torch.mm(short, long.T),
    }
    return {name: 2e-9 * m * n * dim / value for name, value in interleaved(calls, rounds).items()}


def draw(results: dict[tuple[str, str], dict[str, float]]) -> None:
    """Bars of speed by method, one panel a size, for float32."""
    figure = Figure(figsize=(9, 3.4))  # without pyplot, and so without a display
    axes = figure.subplots(1, len(SIZES), sharey=True)
    names = list(dict.fromkeys(name for (_, kind), part in results.items() if kind == "float32" for name in part))
    for axis, size in zip(axes, SIZES, strict=True):
        part = results[size, "float32"]
        speeds = [part.get(name, np.nan) for name in names]
        colours = ["0.6" if name == ROOF else "#0072b2" if name in (OURS, FALLBACK) else "#d55e00" for name in names]
        axis.barh(range(len(names)), speeds, color=colours)
        axis.axvline(part[ROOF], color="0.3", linewidth=1, linestyle="--")
        _, n, dim, _ = SIZES[size]
        axis.set(xscale="log", xlabel="GFLOP/s", yticks=range(len(names)), yticklabels=names)
        axis.annotate(f"{size}: n = {n}, d = {dim}", (0.5, 1.02), xycoords="axes fraction", ha="center", fontsize=9)
    axes[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(RESULTS / "denoiser.png", dpi=150, facecolor="white")


def main() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            results = {
                (size, str(dtype)[6:]): measure(size, dtype)
                for size in SIZES
                for dtype in (torch.float32, torch.float64)
            }
            limits = products()
            errors = {sigma: log_density_error(sigma) for sigma in (0.05, 0.02, 0.005)}
    finally:
        torch.set_num_threads(threads)
    sizes = "; ".join(f"{size}: m = {m}, n = {n}, d = {d}, σ = {s:g}" for size, (m, n, d, s) in SIZES.items())
    for kind in ("float32", "float64"):
        parts = {size: results[size, kind] for size in SIZES}
        names = dict.fromkeys(name for part in parts.values() for name in part)
        save_table(
            f"denoiser_{kind}",
            [f"{kind}, GFLOP/s (share)", *parts],
            [[name, *(_cell(part, name) for part in parts.values())] for name in names],
            f"{sizes}. All rates count 4·m·n·d operations, two products, whatever a method computes.",
        )
    save_table(
        "denoiser_error",
        ["largest error of log p̂ in nats", *(f"σ = {sigma:g}" for sigma in errors)],
        [[name, *(f"{part[name]:.1e}" for part in errors.values())] for name in next(iter(errors.values()))],
        "d = 3072, 2000 float32 images of uniform pixels in [−1, 1], 50 noised ones; against float64 differences.",
    )
    save_table(
        "products",
        ["one product at size C", "GFLOP/s"],
        [[name, f"{value:.0f}"] for name, value in limits.items()],
        "bfloat16 keeps eight bits of every number and of every result.",
    )
    draw(results)


def _cell(part: dict[str, float], name: str) -> str:
    if name not in part:
        return "–"
    return f"{part[name]:.3g} ({100 * part[name] / part[ROOF]:.0f}\N{NO-BREAK SPACE}%)"


if __name__ == "__main__":
    main()
