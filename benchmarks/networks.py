"""What ten networks cost that are trained as one, beside a loop over ten modules and beside one module, on one core.

python -m benchmarks.networks
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import islice

import torch
from torch import Tensor

from diffmem_lib.simulation import MLP, Ensemble, UNet, train_networks

from ._record import interleaved

NETWORKS, POINTS, STEPS = 10, 500, 20
#: At most so much of the loop's time: small networks spend theirs on overhead, large ones on products.
ASKED = {"MLP, d = 16, width 32": 0.3, "MLP, d = 64, width 128": 0.7, "U-Net, 14×14, 8 channels": 0.7}


def one_by_one(networks: list[MLP] | list[UNet], training: Tensor, batch: int, generator: torch.Generator) -> None:
    """What one writes first: for each network a module, torch's optimizer, and a loop."""
    for network, points in zip(networks, training, strict=True):
        sigma_data = network.settings["sigma_data"]
        optimizer = torch.optim.Adam(network.parameters(), 1e-3)
        for _ in range(STEPS):
            clean = points[torch.randint(len(points), (batch,), generator=generator)]
            sigma = (-1.2 + 1.2 * torch.randn(batch, generator=generator)).exp()
            noise = torch.randn(clean.shape, generator=generator)
            error = network(clean + sigma[:, None] * noise, sigma) - clean
            weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
            optimizer.zero_grad()
            (weight * error.square().mean(1)).mean().backward()
            optimizer.step()


def measure(make: Callable[[torch.Generator], MLP | UNet], batch: int, rounds: int = 3) -> dict[str, float]:
    """Processor time of a step in seconds."""
    generator = torch.Generator().manual_seed(0)
    networks = [make(generator) for _ in range(NETWORKS)]
    training = 0.5 * torch.randn(NETWORKS, POINTS, networks[0].dim, generator=generator)
    options = {"batch": batch, "every": STEPS, "generator": generator}
    calls: dict[str, Callable[[], object]] = {
        "one": lambda: one_by_one(networks[:1], training[:1], batch, generator),
        "a loop over ten": lambda: one_by_one(networks, training, batch, generator),
        "train_networks, ten": lambda: list(islice(train_networks(Ensemble(networks), training, **options), 2)),
    }
    return {name: value / STEPS for name, value in interleaved(calls, rounds).items()}


def main() -> int:
    """Print the table; 1 if ten together cost too much."""
    single = {"dtype": torch.float32}
    kinds: dict[str, tuple[Callable[[torch.Generator], MLP | UNet], int]] = {
        "MLP, d = 16, width 32": (lambda generator: MLP(16, 32, generator=generator, **single), 32),
        "MLP, d = 64, width 128": (lambda generator: MLP(64, 128, generator=generator, **single), 64),
        "U-Net, 14×14, 8 channels": (lambda generator: UNet((14, 14), 8, generator=generator, **single), 8),
    }
    threads, met = torch.get_num_threads(), True
    torch.set_num_threads(1)
    try:
        for kind, (make, batch) in kinds.items():
            seconds = measure(make, batch)
            for name, value in seconds.items():
                print(f"{kind:26s} {name:20s} {1e3 * value:8.2f} ms a step   {value / seconds['one']:6.2f} ×")
            met &= seconds["train_networks, ten"] <= ASKED[kind] * seconds["a loop over ten"]
    finally:
        torch.set_num_threads(threads)
    asked = ", ".join(f"{share:g} of the loop ({kind})" for kind, share in ASKED.items())
    print(f"asked: ten together take at most {asked}")
    print("met" if met else "NOT met")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
