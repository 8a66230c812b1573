r"""The lowest random energies of more training points than any computer holds, one by one.

Seen from a point y, a training point x ~ N(0, I_d) has the energy E = |y − x|²/2. Only |y|² matters: 2E is noncentral
χ² with d degrees of freedom and noncentrality |y|². With a = d/2, μ = |y|²/2 and f_b the density of E in 2b dimensions,

.. math:: f_b(E) = e^{-E-μ} E^{b-1} \sum_j \frac{(μE)^j}{j!\,Γ(b+j)}, \qquad
          P(E \le e) = \sum_{k \ge 1} f_{a+k}(e), \qquad P(E > e) = \sum_{k \ge 0} f_{a-k}(e),

as P(E ≤ e) falls by f_{b+1}(e) from 2b dimensions to 2b + 2. The ratios of neighbouring terms are those of Bessel
functions and obey f_{b+1}/f_b = E/(b + μ f_{b+2}/f_{b+1}), stable downwards in b, so both tails keep their digits
however deep they are. One density is needed in absolute terms; it comes from Debye's expansion of I_ν (DLMF 10.41.3).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .. import _checks, _tensors
from ..points.distances import slices

__all__ = ["EnergyLevels", "energy_levels"]

NATS = 40.0  # by which the first term left out of a series is below its largest
BLOCK = 2**15  # energies solved for at a time, which stay in a CPU's cache
DEBYE = 64  # order of the Bessel function from which on four terms of Debye's expansion err by less than 1e-10


@dataclass(frozen=True, eq=False)
class EnergyLevels:
    """The lowest energies |y − x|²/2 of e^{log_n} points of N(0, I_dim), in each of several draws.

    Attributes
    ----------
    energies : Tensor, (draws, levels), float64
        Rising along the levels; infinity where there is no such point.
    dim : int
    log_n : float
    square : Tensor, (draws,), float64
        |y|² of the point from which each draw is seen.
    """

    energies: Tensor
    dim: int
    log_n: float
    square: Tensor
    _splits: dict[float, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False)

    def rest(self, bandwidth: float) -> Tensor:
        r"""log of the expected weight :math:`\sum e^{-E/h^2}` of all levels above the last kept one, (draws,).

        The points there are a Poisson process too, whatever the kept levels are. Tilted by the weight,
        with t = 1 + h⁻², the law of the energies is again one of theirs:

        .. math:: n \int_E^\infty e^{-e/h^2} f_{a,μ}(e)\, de = n\, t^{-a} e^{-μ(1 - 1/t)}\, P_{a,μ/t}(E' > tE).

        At h/√2 it is the expected sum of the squared weights, which is also the variance of their sum.
        Where the last level is infinite there is no rest, −∞.

        Raises
        ------
        ValueError
            If ``bandwidth`` h is not a positive number.
        """
        return self._split(bandwidth)[1]

    def expected(self, bandwidth: float) -> Tensor:
        r"""log of the expected weight :math:`n \int_0^E e^{-e/h^2} dP(e)` of energies up to the last kept E, (draws,).

        The weight of the kept levels less this has mean zero: it is the fluctuation that the largest terms bring into
        the sum. Where nothing is left out (the last level is infinite), it is the mean of the whole sum.
        ``bandwidth`` and ``ValueError`` as in :meth:`rest`.
        """
        return self._split(bandwidth)[0]

    def _split(self, bandwidth: float) -> tuple[Tensor, Tensor]:
        """log of the expected weight up to the last kept level and beyond it, computed once for each bandwidth."""
        bandwidth = _tensors.noise_level(bandwidth, "bandwidth")
        if bandwidth not in self._splits:
            stretch, last, none = 1 + bandwidth**-2, self.energies[:, -1:], self.energies[:, -1].isinf()
            log_mean = self.log_n - 0.5 * self.dim * math.log1p(bandwidth**-2) - 0.5 * self.square / (1 + bandwidth**2)
            tilted = 0.5 * self.square[:, None] / stretch
            below, above = _log_sides(torch.where(last.isinf(), 1.0, stretch * last), 0.5 * self.dim, tilted)
            self._splits[bandwidth] = (
                torch.where(none, log_mean, log_mean + below[:, 0]),
                torch.where(none, -torch.inf, log_mean + above[:, 0]),
            )
        return self._splits[bandwidth]


def energy_levels(
    dim: int,
    log_n: float,
    square: float | Tensor,
    draws: int,
    generator: torch.Generator | None = None,
    levels: int = 64,
) -> EnergyLevels:
    r"""The ``levels`` lowest energies |y − x|²/2 of n = e^{log_n} points x ~ N(0, I_dim), seen from |y|² = ``square``.

    The energies of many independent points, near their lower edge, are a Poisson process with n P(E ≤ e) points below e
    on average; drawn in one piece, so exact if the number of points is itself Poisson with mean n, and up to a relative
    levels/n for n of them. Its k-th point solves n P(E ≤ E_k) = Γ_k with Γ_1 < Γ_2 < … the arrival times of a Poisson
    process of unit rate; where Γ_k > n there is none. The cost does not depend on n, and depends on dim like √dim.
    Used in *Kernel density estimation in high dimension* (chapters/kernel_density.ipynb).

    Parameters
    ----------
    dim : int
        Dimension d ≥ 1.
    log_n : float
        Logarithm of the number of points, in [0, 100 dim]; n itself may be beyond all floats.
    square : float or Tensor, (draws,)
        |y|² in [0, 10⁶]: for all draws, or for each its own, on the generator's device.
    draws, levels : int
        How many independent training sets, and how many energies of each; at least 1.
    generator : torch.Generator, optional
        Its device is that of the result; by default torch's generator on the CPU.

    Raises
    ------
    ValueError
        If an argument is not in its range or lives on another device than the generator.
    """
    dim, draws = _checks.integer(dim, "dim", low=1), _checks.integer(draws, "draws", low=1)
    levels = _checks.integer(levels, "levels", low=1)
    log_n = _checks.number(log_n, "log_n", low=0, high=100 * dim)
    generator = _tensors.generator(generator)
    device = torch.device("cpu") if generator is None else generator.device
    square = _squares(square, draws, device)
    gaps = torch.empty(draws, levels, dtype=torch.float64, device=device).exponential_(generator=generator)
    log_chance = gaps.cumsum(1).log_() - log_n
    present = log_chance < 0
    blocks = slices(draws, max(1, (BLOCK if device.type == "cpu" else 64 * BLOCK) // levels))
    asked = torch.where(present, log_chance, -1.0)
    solved = [_quantile(asked[rows], dim / 2, square[rows, None] / 2) for rows in blocks]
    return EnergyLevels(torch.where(present, torch.cat(solved), torch.inf), dim, log_n, square)


def _squares(square: Any, draws: int, device: torch.device) -> Tensor:
    """``square`` as (draws,) float64 on the device."""
    if not isinstance(square, Tensor) or square.ndim == 0:
        value = _checks.number(square, "square", low=0, high=1e6)
        return torch.full((draws,), value, dtype=torch.float64, device=device)
    square = _tensors.floating(square, "square", shape=(draws,), device=device).to(torch.float64)
    if square.min() < 0 or square.max() > 1e6:
        raise ValueError(f"square must be in [0, 1e+06], got {square.min():g} to {square.max():g}")
    return square


def _quantile(log_chance: Tensor, half_dim: float, half_square: Tensor) -> Tensor:
    """The energies e with log P(E ≤ e) = ``log_chance`` < 0, (draws, levels).

    Newton's method in the radius √(2e), from the left. The law of x is log-concave, and so is then the probability of a
    ball of growing radius (Prékopa): no step passes the root, and no safeguard is needed.
    """
    energy = _chernoff(log_chance, half_dim, half_square)
    for _ in range(100):
        log_density, ratio = _log_density(energy, half_dim, half_square)
        # d log P/d√e = 2√e/ratio, so this is the relative step of √e.
        step = (log_chance - log_density - ratio.log()) * ratio / (2 * energy)
        energy = energy * (1 + step).square()
        if float(step.abs().max()) < 1e-9:  # the next one would be its square
            return energy
    raise RuntimeError(f"no energy with log P(E <= e) = {log_chance} found in 100 steps")


def _chernoff(log_chance: Tensor, half_dim: float, half_square: Tensor) -> Tensor:
    """Energies at which Chernoff's upper bound of P(E ≤ e) is at most what is asked for: not above the quantile.

    Under the tilt e^{−ue} with s = 1/(1 + u) the mean energy is as + μs², and the bound there is e^{−I} with
    I = −a log s − a(1 − s) + μ(1 − s)²; halving an interval of log s is enough for a start.
    """
    low, high = log_chance / half_dim - 1, torch.zeros_like(log_chance)
    for _ in range(20):
        middle = (low + high) / 2
        left = -torch.expm1(middle)
        passed = half_dim * (middle + left) - half_square * left.square() > log_chance
        low, high = torch.where(passed, low, middle), torch.where(passed, middle, high)
    share = low.exp()
    return share * (half_dim + half_square * share)


def _log_density(energy: Tensor, half_dim: float, half_square: Tensor) -> tuple[Tensor, Tensor]:
    """log of the density at ``energy``, and P(E ≤ energy) over the density."""
    shift = max(0, DEBYE - math.floor(half_dim))
    steps = max(_terms(energy, half_dim, half_square), shift + _settling(energy * half_square, half_dim + shift))
    series, product = torch.zeros_like(energy), torch.ones_like(energy)
    for k, denominator in _denominators(energy, half_dim, half_square, steps):
        series = energy / denominator * (1 + series)
        if k < shift:
            product *= denominator / DEBYE  # at most 64 factors between 1/128 and 10⁴: no overflow
    log_density = _log_bessel(energy * half_square, half_dim + shift - 1) + product.log() + shift * math.log(DEBYE)
    log_density += (half_dim - 1) * energy.log() - energy - half_square
    return log_density, series


def _log_sides(energy: Tensor, half_dim: float, half_square: Tensor) -> tuple[Tensor, Tensor]:
    """log P(E ≤ energy) and log P(E > energy): the smaller one by its own series, the other as its complement."""
    mean = half_dim + half_square
    low, high = torch.minimum(energy, mean), torch.maximum(energy, mean)
    log_density, ratio = _log_density(low, half_dim, half_square)
    below = log_density + ratio.log()
    above = _log_density(high, half_dim, half_square)[0] + _upper_series(high, half_dim, half_square).log()
    left = energy < mean
    return torch.where(left, below, torch.log1p(-above.exp())), torch.where(left, torch.log1p(-below.exp()), above)


def _upper_series(energy: Tensor, half_dim: float, half_square: Tensor) -> Tensor:
    """P(E > energy) over the density there, for an energy at or above the mean.

    The terms f_{b−1}/f_b are followed down to one dimension, where the rest is an error function, or to two, where it
    is the lower series with energy and μ exchanged, as I_{−k} = I_k.
    """
    for _, denominator in _denominators(energy, half_dim, half_square, _settling(energy * half_square, half_dim)):
        ratio = energy / denominator
    series, product = torch.ones_like(energy), torch.ones_like(energy)
    lowest = 1.0 if half_dim.is_integer() else 0.5
    for k in range(1, round(half_dim - lowest) + 1):
        denominator = half_dim - k + half_square * ratio
        product = product * denominator / energy
        series = series + product
        ratio = energy / denominator
        if k % 64 == 0 and float(product.div(series).max()) < math.exp(-NATS):
            return series
    if lowest == 1.0:
        return series + product * _log_density(half_square, 1.0, energy)[1]
    return series + product * (_upper_line(energy, half_square) - 1)


def _upper_line(energy: Tensor, half_square: Tensor) -> Tensor:
    """P(E > energy) over the density there in one dimension, where x itself is beyond y ± √(2 energy)."""
    root, shift = (2 * energy).sqrt(), (2 * half_square).sqrt()
    log_tail = torch.logaddexp(torch.special.log_ndtr(shift - root), torch.special.log_ndtr(-shift - root))
    log_density = torch.logaddexp(-0.5 * (root - shift).square(), -0.5 * (root + shift).square())
    return (log_tail - log_density).exp() * 2 * (math.pi * energy).sqrt()


def _denominators(energy: Tensor, half_dim: float, half_square: Tensor, steps: int) -> Iterator[tuple[int, Tensor]]:
    """E f_b/f_{b+1} = b + μ f_{b+2}/f_{b+1} for b = half_dim + k, with k from steps − 1 down to 0.

    The recurrence forgets its start, which is Amos's upper bound (1974) for the ratio of Bessel functions.
    """
    order = half_dim + steps
    ratio = 2 * energy / (order - 0.5 + ((order + 0.5) ** 2 + 4 * energy * half_square).sqrt())
    for k in range(steps - 1, -1, -1):
        denominator = half_dim + k + half_square * ratio
        ratio = energy / denominator
        yield k, denominator


def _settling(product: Tensor, order: float) -> int:
    """Steps of the recurrence above ``order`` that its start takes to be forgotten.

    A step there multiplies the relative error by (w − b)/(w + b) < e^{−2b/w}, w² = b² + 4y, y = ``product``; the steps
    b = order, order + 1, … together by e^{−NATS} and less.
    """
    width = math.sqrt(order**2 + 4 * float(product.max()))
    return math.ceil(math.sqrt(order**2 + NATS * width) - order) + 1


def _terms(energy: Tensor, half_dim: float, half_square: Tensor) -> int:
    """How many terms of the lower series matter anywhere; their ratio is about 2E/(b + √(b² + 4μE)) at b = a + k."""
    energy, half_square = energy.amax(-1).clamp(min=1e-300), half_square.amax(-1)
    product = 4 * energy * half_square

    def log_term(k: Tensor | int) -> Tensor:
        """The integral of the logarithm of the ratio up to k."""
        first, last = half_dim, half_dim + k
        ends = [b * (b + (b * b + product).sqrt()).log() - (b * b + product).sqrt() for b in (first, last)]
        return k * (2 * energy).log() - ends[1] + ends[0]

    largest = (energy - half_square - half_dim).clamp(min=0)
    terms, top = 16 + math.ceil(float(largest.max())), log_term(largest)
    while bool((top - log_term(terms) < NATS).any()):
        terms += 16 + terms // 8
    return terms


def _log_bessel(product: Tensor, order: float) -> Tensor:
    """log of Σ_j y^j/(j! Γ(ν + 1 + j)) = I_ν(2√y) y^{−ν/2} for y = ``product`` and a large order ν, DLMF 10.41.3."""
    width = (order**2 + 4 * product).sqrt()
    p2 = (order / width).square()
    corrections = (
        (3 - 5 * p2) / 24,
        (81 - p2 * (462 - 385 * p2)) / 1152,
        (30375 - p2 * (369603 - p2 * (765765 - 425425 * p2))) / 414720,
        (4465125 - p2 * (94121676 - p2 * (349922430 - p2 * (446185740 - 185910725 * p2)))) / 39813120,
    )
    series = sum((u / width ** (k + 1) for k, u in enumerate(corrections)), start=torch.zeros_like(width))
    return width + order * torch.log(2 / (order + width)) - 0.5 * torch.log(2 * math.pi * width) + torch.log1p(series)
