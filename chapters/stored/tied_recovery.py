"""After how many samples a row of the tied denoiser has found a whitened direction, in several dimensions.

A row of the table is 24 runs of one-pass SGD on the mixed cumulant model, whose whitened Rademacher latent of strength
100 is all there is to find. The activation is .07 He₃, rows have length 1 and begin at an overlap of 1/√d with it, ᾱ is
.85, the step the critical one of part IV, .193 (8/d)². The skip is fixed at its best value, or trained with the rows
from 1 on; of ten rows, the first counts that arrives at an overlap of ½. Batches are of d/4 samples, at a step as many
times as large.
"""

import math

import torch
from diffmem_lib.data import MixedCumulant
from diffmem_lib.notebook.settings import sized
from diffmem_lib.simulation import tied_training

GRID = {
    "replica": range(sized(14, 28)),
    "case": ["fixed skip", "trained skip", "ten rows"],
    "dim": [8, 12, 16, 20],
}
#: The mean over the runs, and the trained skip's mean at the end.
AT = {"samples": [0], "skip": [0]}
RUNS, ALPHA_BAR, EVERY = 24, 0.85, 8


def row(dim, case, replica, generator):
    """Mean number of samples over d³ until the overlap is ½, and mean of the last skips, with their errors."""
    rows, batch, best = 10 if case == "ten rows" else 1, dim // 4, math.sqrt(1 - ALPHA_BAR)
    start = torch.randn(RUNS, rows, dim, generator=generator)
    start[..., 0] = 0
    start *= math.sqrt(1 - 1 / dim) / start.norm(dim=2, keepdim=True)
    start[..., 0] = dim**-0.5
    states = tied_training(
        MixedCumulant(dim, cumulant_snr=100.0), lambda y: 0.07 * (y**3 - 3 * y), ALPHA_BAR, rows,
        batch * 0.193 * (8 / dim) ** 2 / 8, RUNS, batch=batch, start=start, gain=1.0,
        skip=best if case == "fixed skip" else 1.0, train_skip=case != "fixed skip", unit_norm=True,
        every=EVERY, generator=generator,
    )  # fmt: skip
    arrived = torch.full((RUNS,), math.inf)
    while arrived.isinf().any():
        state = next(states)
        there = state.weights[..., 0].abs().amax(1) > 0.5
        arrived[there & arrived.isinf()] = state.samples
    return {"samples": mean(arrived / dim**3), "skip": mean(state.skip)}


def mean(values):
    """Their mean and its standard error, at least one of rounding."""
    return [float(values.mean())], [max(float(values.std()) / math.sqrt(len(values)), 1e-3)]
