"""Two small audits whose answer is known, with what they came from: three copies in twelve, and five in twenty."""

import numpy as np
import torch

from diffmem_lib.memorization import audit, inputs


def three_copies():
    """Of twelve images the first three are copies."""
    rng = np.random.default_rng(0)
    training = rng.random((40, 16)).astype(np.float32)
    samples = np.concatenate([training[:3], rng.random((9, 16)).astype(np.float32)])
    sources = inputs.Sources(
        samples=inputs.Loaded(samples, "samples.npy", (4, 4, 1)),
        training=inputs.Loaded(training, "training.npy", (4, 4, 1)),
    )
    return audit(torch.from_numpy(samples), torch.from_numpy(training)), sources


def with_held_out():
    """Forty images of which some samples are copies, with files, labels, and held-out images."""
    rng = np.random.default_rng(1)
    points = {"training": rng.random((40, 16)), "held_out": rng.random((25, 16))}
    points["samples"] = np.concatenate([points["training"][:5], rng.random((15, 16))])
    parts = {
        name: inputs.Loaded(array, f"{name}.npy", (4, 4, 1), tuple(f"{name}-{i}.png" for i in range(len(array))))
        for name, array in points.items()
    }
    return audit(**points, labels=["Ann", "Bob"] * 20), inputs.Sources(**parts)
