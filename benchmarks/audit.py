"""The audit beside the products it needs, scikit-learn's nearest neighbours and faiss's flat index.

python -m benchmarks.audit                       a fifth of the sizes below
DIFFMEM_SCALE=full python -m benchmarks.audit    m = 10000 samples, n = 60000 training points, d = 3072
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits
from torch import Tensor

from diffmem_lib.memorization import audit
from diffmem_lib.notebook import settings

from ._record import interleaved, save_table

DIM, K, TILE = 3072, 10, 2000
ROOF, OURS = "torch.mm of m×n and n×n", "memorization.audit"


def data() -> tuple[Tensor, Tensor]:
    """Points near a 64-dimensional plane, and noised copies of some, the first hundred at a distance of 1e-4."""
    m, n = settings.sized(2000, 10000), settings.sized(12000, 60000)
    generator = torch.Generator().manual_seed(0)
    plane = torch.randn(64, DIM, generator=generator) / 8
    training = torch.randn(n, 64, generator=generator) @ plane
    for rows in training.split(TILE):
        rows += 0.1 * torch.randn(rows.shape, generator=generator)
    samples = training[torch.arange(m) * (n // m)] + 0.3 * torch.randn(m, DIM, generator=generator)
    samples[:100] = training[:100] + 1e-4 * torch.randn(100, DIM, generator=generator)
    return samples, training


def products(samples: Tensor, training: Tensor) -> None:
    for queries in (samples, training):
        for rows in queries.split(TILE):
            for columns in training.split(TILE):
                torch.mm(rows, columns.T)


def scikit_learn(samples: Tensor, training: Tensor) -> np.ndarray:
    """Squared distances to the nearest, after both searches that an audit needs."""
    index = NearestNeighbors(algorithm="brute").fit(training.numpy())
    index.kneighbors(None, K)
    return index.kneighbors(samples.numpy(), 2)[0][:, 0] ** 2


def faiss_flat(samples: Tensor, training: Tensor) -> np.ndarray:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatL2(DIM)
    index.add(training.numpy())
    index.search(training.numpy(), K + 1)
    return index.search(samples.numpy(), 2)[0][:, 0]


def main() -> None:
    samples, training = data()
    calls = {
        ROOF: lambda: products(samples, training),
        OURS: lambda: (audit(samples, training, k=K).distance[:, 0] * DIM).numpy(),
        "scikit-learn NearestNeighbors": lambda: scikit_learn(samples, training),
    }
    try:
        import faiss  # noqa: F401

        calls["faiss IndexFlatL2"] = lambda: faiss_flat(samples, training)
    except ImportError:
        print("faiss is not installed and is left out")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    results: dict[str, np.ndarray] = {}

    def keep(name: str) -> None:
        results[name] = calls[name]()

    try:
        with threadpool_limits(1):
            seconds = interleaved({name: lambda name=name: keep(name) for name in calls}, 1, warm=False)
    finally:
        torch.set_num_threads(threads)
    exact = (samples[:100].double() - training[:100].double()).square().sum(1).numpy()
    rows = []
    for name, value in seconds.items():
        found = results[name]
        error = "–" if found is None else f"{np.abs(found[:100] / exact - 1).max():.1e}"
        rows.append([name, f"{value:.1f}", f"{value / seconds[ROOF]:.2f}", error])
    save_table(
        "audit",
        ["both searches", "seconds", "share of the products", "relative error of D1 at copies of 1e-4"],
        rows,
        f"m = {len(samples)}, n = {len(training)}, d = {DIM}, float32: the two nearest training points of every sample,"
        f" and the {K} nearest others of every training point. The products are those of all m×n and n×n pairs;"
        " the audit needs half of the latter.",
    )


if __name__ == "__main__":
    main()
