"""The exact denoiser of a finite training set: attention over the training points."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import _tensors
from .distances import Cloud, half_distance_error, pair_differences, rows_within, slices

__all__ = ["EmpiricalDenoiser", "Posterior"]

NEGLIGIBLE = 45.0  # nats below the largest term (e⁻⁴⁵ = 3e-20), the number of terms not counted
NATS = 2e-9  # what a logit of a float64 product may err by before differences take over


@dataclass(frozen=True)
class Posterior:
    """The posterior over the training points at each of m queries.

    Attributes
    ----------
    index : Tensor, (m,)
        The heaviest training point, which is the nearest.
    weight : Tensor, (m,), float64
        Its weight; where a point is there twice, that of one of the two.
    participation_ratio : Tensor, (m,), float64
        1/Σ w², between 1 (one training point holds all the weight) and n.
    """

    index: Tensor
    weight: Tensor
    participation_ratio: Tensor


class EmpiricalDenoiser:
    r"""The minimizer of the denoising loss on a finite training set, exactly.

    The empirical law at noise σ is p̂_σ(y) = (1/n) Σ_i N(y; x^i, σ²I), and its posterior mean

    .. math:: \hat x(y) = \sum_i w_i x^i, \qquad w = \operatorname{softmax}\left(-\frac{|y - x^i|^2}{2\sigma^2}\right)

    is attention over the training set. The object is itself a denoiser, a callable of (x, sigma).
    Nothing of size m·n is ever stored; distances too close to call are computed again by float64 differences.
    Derived in *The perfect denoiser memorizes* (chapters/perfect_denoiser.ipynb).

    Parameters
    ----------
    training : Tensor, (n, d)
        The training points, float32 or float64, kept as they are and not copied.

    Raises
    ------
    ValueError
        If ``training`` is not a finite floating-point tensor with two axes; from the methods, if ``x`` is not one of
        width d, or ``sigma`` is not a positive number.
    """

    def __init__(self, training: Tensor) -> None:
        self.training = _tensors.floating(training, "training", shape=("n", "d"))
        self._cloud = Cloud(self.training)

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The posterior mean, as `denoise`."""
        return self.denoise(x, sigma)

    @torch.no_grad()
    def log_density(self, x: Tensor, sigma: float) -> Tensor:
        """log p̂_σ(x) in nats, (m,), float64 and accurate to 1e-8 whatever the dtype of ``x``."""
        x, sigma = self._arguments(x, sigma)
        n, dim = self.training.shape
        log_sum = torch.cat([sums.log_sum for sums in self._passes(x, sigma)])
        return log_sum - math.log(n) - dim / 2 * math.log(2 * math.pi) - dim * math.log(sigma)

    @torch.no_grad()
    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """The posterior mean E[x⁰ | x⁰ + σz = x], (m, d), in the dtype of ``x``."""
        x, sigma = self._arguments(x, sigma)
        return torch.cat([(sums.mean + self._cloud.centre).to(x.dtype) for sums in self._passes(x, sigma, mean=True)])

    @torch.no_grad()
    def score(self, x: Tensor, sigma: float) -> Tensor:
        """∇ log p̂_σ(x) = (E[x⁰ | x] − x)/σ², (m, d), in the dtype of ``x``."""
        x, sigma = self._arguments(x, sigma)
        passes = self._passes(x, sigma, mean=True)
        return torch.cat([((sums.mean - sums.queries) / sigma / sigma).to(x.dtype) for sums in passes])

    @torch.no_grad()
    def posterior(self, x: Tensor, sigma: float) -> Posterior:
        """The heaviest training point at each query, its weight, and the participation ratio."""
        x, sigma = self._arguments(x, sigma)
        parts = list(self._passes(x, sigma))
        total = torch.cat([sums.total for sums in parts])
        return Posterior(
            index=torch.cat([sums.index for sums in parts]),
            weight=1 / total,
            participation_ratio=total.square() / torch.cat([sums.squares for sums in parts]),
        )

    def _arguments(self, x: Tensor, sigma: float) -> tuple[Tensor, float]:
        x = _tensors.floating(x, "x", shape=("m", self.training.shape[1]))
        return x, _tensors.noise_level(sigma)

    def _passes(self, x: Tensor, sigma: float, *, mean: bool = False) -> Iterator[_KernelSums]:
        """One pass over the training points for each block of queries."""
        for block in slices(len(x), rows_within(2**23, x.shape[1], 8, low=64, high=1024)):
            sums = _KernelSums(self._cloud, x[block], sigma, mean=mean)
            for columns in slices(len(self.training), self._cloud.block_rows(torch.float64)):
                sums.add(columns)
            yield sums


class _KernelSums:
    """Running sums over training points for one block of queries y.

    With h_i = |y − x^i|²/2 and h the least of them, kept is Σ exp(−(h_i − h)/σ²), the same of the squares, and the mean
    of x^i − c with these weights, where c is the centre of the training points.
    """

    def __init__(self, cloud: Cloud, x: Tensor, sigma: float, *, mean: bool) -> None:
        self.cloud, self.x, self.sigma = cloud, x, sigma
        self.queries = x.to(torch.float64) - cloud.centre
        self.least = torch.full_like(self.queries[:, 0], torch.inf)
        self.seen = self.least.clone()  # an upper bound of the least so far
        self.index = torch.zeros_like(self.least, dtype=torch.int64)
        self.total, self.squares = torch.zeros_like(self.least), torch.zeros_like(self.least)
        self.moment = torch.zeros_like(self.queries) if mean else None
        norms = self.queries.square().sum(1).sqrt()
        largest = (2 * cloud.half_norms.max()).sqrt()
        self.error = half_distance_error(norms, largest, cloud.dim, torch.float64)
        # The bound grows like d; rounding errors of either sign add up like √d, of which four times are allowed.
        unit = torch.finfo(torch.float64).eps / 2
        typical = 4 * unit * math.sqrt(cloud.dim) * float(largest * (norms.max() + largest))
        self.products_suffice = typical <= NATS * sigma**2

    @property
    def log_sum(self) -> Tensor:
        """log Σ exp(−h_i/σ²)."""
        return self.total.log() - self.least / self.sigma / self.sigma

    @property
    def mean(self) -> Tensor:
        """The weighted mean of x − c."""
        return self.moment / self.total[:, None]

    def add(self, columns: slice) -> None:
        """Take in some consecutive training points."""
        right = self.cloud.block(columns, torch.float64)
        half = torch.addmm(self.cloud.half_norms[columns], self.queries, right.T, alpha=-1)
        half += self.queries.square().sum(1)[:, None] / 2
        if self.products_suffice:
            self._add_all(half, right, columns.start)
        else:
            self._add_nearest(half, columns.start)

    def _rescale(self, least: Tensor) -> None:
        factor = ((least - self.least) / self.sigma / self.sigma).exp()
        self.least = least
        self.total *= factor
        self.squares *= factor.square()
        if self.moment is not None:
            self.moment *= factor[:, None]

    def _add_all(self, half: Tensor, right: Tensor, offset: int) -> None:
        """Every point of a tile, by its product; float64 exponents below −80 add nothing, and are slow."""
        value, column = half.min(1)
        self.index = torch.where(value < self.least, column + offset, self.index)
        self._rescale(torch.minimum(value, self.least))
        weight = half.sub_(self.least[:, None]).mul_(-1 / self.sigma**2).clamp_(min=-80).exp_()
        self.total += weight.sum(1)
        if self.moment is not None:
            self.moment.addmm_(weight, right)
        self.squares += weight.square_().sum(1)

    def _add_nearest(self, half: Tensor, offset: int) -> None:
        """Only those points of a tile that can matter, by float64 differences."""
        self.seen = torch.minimum(self.seen, half.amin(1) + self.error)
        reach = (NEGLIGIBLE + math.log(len(self.cloud))) * self.sigma**2
        row, column = (half <= (self.seen + self.error + reach)[:, None]).nonzero(as_tuple=True)
        for batch, difference, squared in pair_differences(self.x, self.cloud.points, row, column + offset):
            self._add_pairs(row[batch], column[batch] + offset, squared / 2, difference)

    def _add_pairs(self, row: Tensor, column: Tensor, half: Tensor, difference: Tensor) -> None:
        least = self.least.scatter_reduce(0, row, half, "amin")
        nearer = half < self.least[row]
        nearer &= half == least[row]
        # Of equally near points the one with the lowest index; pairs come in rising order of index.
        first = torch.full_like(self.index, len(self.cloud)).scatter_reduce(0, row[nearer], column[nearer], "amin")
        self.index = torch.where(first < len(self.cloud), first, self.index)
        self._rescale(least)
        weight = ((self.least[row] - half) / self.sigma / self.sigma).exp()
        self.total.index_add_(0, row, weight)
        self.squares.index_add_(0, row, weight.square())
        if self.moment is not None:
            self.moment.index_add_(0, row, weight[:, None] * (difference + self.queries[row]))
