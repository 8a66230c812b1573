"""The exact denoiser of a finite training set: attention over the training points."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import _tensors
from ..points.attention import attend
from ..points.distances import Cloud, half_distance_error, keeps_float32, pairs, rows_within, slices
from .differentiation import LogDensity, PosteriorMean, Score

__all__ = ["EmpiricalDenoiser", "Posterior"]

NEGLIGIBLE = {torch.float32: 25.0, torch.float64: 45.0}  # nats below the largest term, for all others together
NATS = 2e-9  # what a logit of a float64 product may err by before differences take over
# The same where only means are asked for, by the dtype of the products; what is reached is a small part of it.
MEAN_NATS = {torch.float32: 2e-4, torch.float64: 1e-8}
FEW = 3e-3  # the share of points, beyond one a tile, up to which differences cost less than a second float32 product
COLUMNS = 256  # training points in one tile
SAMPLE = 512  # training points that decide whether few matter


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
    ``log_density``, ``denoise`` and ``score`` can be differentiated by x, twice in all (from the log-density on, so
    that its Hessian and the Jacobian of the other two are there), by autograd and ``torch.func`` alike.
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

    def log_density(self, x: Tensor, sigma: float) -> Tensor:
        """log p̂_σ(x) in nats, (m,), float64 and accurate to 1e-8 whatever the dtype of ``x``."""
        return LogDensity.apply(x, sigma, self)

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """The posterior mean E[x⁰ | x⁰ + σz = x], (m, d), in the dtype of ``x``."""
        return PosteriorMean.apply(x, sigma, self)

    def score(self, x: Tensor, sigma: float) -> Tensor:
        """∇ log p̂_σ(x) = (E[x⁰ | x] − x)/σ², (m, d), in the dtype of ``x``."""
        return Score.apply(x, sigma, self)

    def _log_density(self, x: Tensor, sigma: float) -> Tensor:
        x, sigma = self._arguments(x, sigma)
        n, dim = self.training.shape
        log_sum = torch.cat([sums.log_sum for sums in self._passes(x, sigma)])
        return log_sum - math.log(n) - dim / 2 * math.log(2 * math.pi) - dim * math.log(sigma)

    def _denoise(self, x: Tensor, sigma: float) -> Tensor:
        x, sigma = self._arguments(x, sigma)
        result = torch.empty_like(x, memory_format=torch.contiguous_format)
        for rows in slices(len(x), self._rows()):
            mean = self._mean(x[rows], sigma)
            result[rows] = mean + self._cloud.centre.to(mean.dtype) if self._cloud.centred else mean
        return result

    def _score(self, x: Tensor, sigma: float) -> Tensor:
        x, sigma = self._arguments(x, sigma)
        result = torch.empty_like(x, memory_format=torch.contiguous_format)
        for rows in slices(len(x), self._rows()):
            mean = self._mean(x[rows], sigma).to(torch.float64)
            mean += self._cloud.centre
            mean -= x[rows]
            result[rows] = mean.div_(sigma).div_(sigma)
        return result

    def _covariance_product(self, x: Tensor, v: Tensor, sigma: float) -> Tensor:
        """The posterior covariance at each x (m, d) times that row of ``v`` (m, d), in the dtype of ``v``."""
        x, sigma = self._arguments(x, sigma)
        result = torch.empty_like(v, memory_format=torch.contiguous_format)
        for rows in slices(len(x), self._rows()):
            mean = _KernelSums(self._cloud, x[rows], sigma, mean=True).run().mean
            along = (mean, v[rows].to(torch.float64))
            result[rows] = _KernelSums(self._cloud, x[rows], sigma, mean=True, along=along).run().mean.to(v.dtype)
        return result

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
        x = _tensors.floating(x, "x", shape=("m", self.training.shape[1]), device=self.training.device)
        return x, _tensors.noise_level(sigma)

    def _rows(self) -> int:
        return rows_within(2**23, self._cloud.dim, 8, low=64, high=512 * max(1, COLUMNS // len(self._cloud)))

    def _passes(self, x: Tensor, sigma: float) -> Iterator[_KernelSums]:
        """One pass over the training points for each block of queries."""
        for rows in slices(len(x), self._rows()):
            yield _KernelSums(self._cloud, x[rows], sigma, mean=False).run()

    def _mean(self, x: Tensor, sigma: float) -> Tensor:
        """The posterior mean of x⁰ − c for one block of queries.

        Where few points matter, one product in float32 finds them and differences do the rest; where many do, it is
        attention in the dtype of ``x``, or in float64 if float32 cannot tell the points apart at this σ.
        """
        sums = _KernelSums(self._cloud, x, sigma, mean=True)
        if not sums.few:
            for dtype in dict.fromkeys((x.dtype, torch.float64)):
                if sums.means_suffice.get(dtype, False):
                    return self._attend(sums.queries.to(dtype), sigma)
        return sums.run().mean

    def _attend(self, queries: Tensor, sigma: float) -> Tensor:
        """The posterior mean of x⁰ − c by attention; the whole set at once where its blocks need no copy."""
        cloud, dtype = self._cloud, queries.dtype
        plain = not cloud.centred and cloud.points.dtype == dtype
        bias = (cloud.half_norms.mean() - cloud.half_norms).div_(sigma**2).to(dtype)
        blocks = cloud.blocks(dtype, len(cloud) if plain else cloud.block_rows(dtype))
        parts = (attend(queries, points, bias[columns], 1 / sigma**2) for columns, points in blocks)
        mean, log_sum = next(parts)
        for part, part_sum in parts:
            both = torch.logaddexp(log_sum, part_sum)
            mean.mul_((log_sum - both).exp()[:, None]).addcmul_(part, (part_sum - both).exp()[:, None])
            log_sum = both
        return mean


class _KernelSums:
    """Running sums over training points for one block of queries y, in float64.

    With h_i = |y − x^i|²/2 and h the least of them, kept is Σ exp(−(h_i − h)/σ²), the same of the squares, and the mean
    of x^i − c with these weights, where c is the centre of the training points; ``along`` (a, v), both (m, d), the mean
    of (x^i − c − a) (x^i − c − a)·v instead.
    """

    def __init__(
        self, cloud: Cloud, x: Tensor, sigma: float, *, mean: bool, along: tuple[Tensor, Tensor] | None = None
    ) -> None:
        self.cloud, self.x, self.sigma, self.along = cloud, x, sigma, along
        self.queries = x.to(torch.float64) - cloud.centre
        self.rounded = self.queries.to(torch.float32)
        self.half_norms = self.queries.square().sum(1) / 2
        self.least = torch.full_like(self.half_norms, torch.inf)
        self.seen = self.least.clone()  # an upper bound of the least so far
        self.index = torch.zeros_like(self.least, dtype=torch.int64)
        self.total, self.squares = torch.zeros_like(self.least), torch.zeros_like(self.least)
        self.moment = torch.zeros_like(self.queries) if mean else None
        self.negligible = NEGLIGIBLE[x.dtype if mean else torch.float64] + math.log(len(cloud))
        self.largest = (2 * cloud.half_norms.max()).sqrt()
        furthest = float(self.largest + self.half_norms.max().sqrt())
        if not furthest < 1e145:
            raise ValueError("x must be so near the training points that its squared distances are finite")
        within = furthest < 1e15  # squares stay finite in float32
        within = within and keeps_float32(x.device)
        self.products = (torch.float32, torch.float64) if within else (torch.float64,)
        usual = (2 * cloud.half_norms.mean()).sqrt()
        self.means_suffice = {
            dtype: self._typical_error(dtype, usual) <= MEAN_NATS[dtype] * sigma**2 for dtype in self.products
        }
        cheap = mean and x.dtype == torch.float32 and self.means_suffice.get(torch.float32, False)
        self.share = FEW if cheap else 4 * FEW  # products in float64 cost twice as much
        self.few = self._few()

    @property
    def log_sum(self) -> Tensor:
        """log Σ exp(−h_i/σ²)."""
        return self.total.log() - self.least / self.sigma / self.sigma

    @property
    def mean(self) -> Tensor:
        """The weighted mean of x − c."""
        assert self.moment is not None, "asked for where mean=False was said"
        return self.moment / self.total[:, None]

    def run(self) -> _KernelSums:
        """Take in all training points; short lists serve where they are short, and where products lose too much."""
        suffices = math.sqrt(self.cloud.dim) * self._typical_error(torch.float64, self.largest) <= NATS * self.sigma**2
        for columns in slices(len(self.cloud), COLUMNS):
            if not suffices or self.few:
                self._add_nearest(columns, unless_many=suffices)
            else:
                self._add_all(columns)
        return self

    def _typical_error(self, dtype: torch.dtype, norm: Tensor) -> float:
        """What h_i usually errs by if it comes from products in ``dtype``: errors of either sign, so no factor d."""
        unit = torch.finfo(dtype).eps / 2
        return 4 * unit * float(norm * ((2 * self.half_norms.max()).sqrt() + norm))

    def _few(self) -> bool:
        """Whether few of the training points matter, judged by an even sample of them."""
        step = max(1, len(self.cloud) // SAMPLE)
        half = self._half(slice(0, len(self.cloud), step), self.products[0])
        near = half <= (half.amin(1) + self._reach(half.dtype))[:, None]
        return int(near.sum()) <= len(half) + self.share * near.numel()

    def _half(self, columns: slice, dtype: torch.dtype) -> Tensor:
        """h_i for one tile by a product in ``dtype``."""
        right = self.cloud.block(columns, dtype)
        queries = self.rounded if dtype == torch.float32 else self.queries
        tile = torch.addmm(self.cloud.half_norms[columns].to(dtype), queries, right.T, alpha=-1)
        return tile.add_(self.half_norms.to(dtype)[:, None])

    def _error(self, dtype: torch.dtype) -> Tensor:
        return half_distance_error((2 * self.half_norms).sqrt(), self.largest, self.cloud.dim, dtype)

    def _reach(self, dtype: torch.dtype) -> Tensor:
        """How far beyond the least h by products a point can still matter."""
        return 2 * self._error(dtype) + self.negligible * self.sigma**2

    def _rescale(self, least: Tensor) -> None:
        # Before its first point a query has an infinite least, and ∞ − ∞ is no change either.
        factor = torch.where(least == self.least, 1.0, ((least - self.least) / self.sigma / self.sigma).exp())
        self.least = least
        self.total *= factor
        self.squares *= factor.square()
        if self.moment is not None:
            self.moment *= factor[:, None]

    def _add_all(self, columns: slice) -> None:
        """Every point of a tile, by its product; exponents below −80 add nothing, and are slow."""
        half = self._half(columns, torch.float64)
        value, column = half.min(1)
        self.index = torch.where(value < self.least, column + columns.start, self.index)
        self.seen = torch.minimum(self.seen, value + self._error(torch.float64))
        self._rescale(torch.minimum(value, self.least))
        weight = half.sub_(self.least[:, None]).mul_(-1 / self.sigma**2).clamp_(min=-80).exp_()
        self.total += weight.sum(1)
        if self.along is not None and self.moment is not None:
            (mean, v), points = self.along, self.cloud.block(columns, torch.float64)
            weighted = weight * (v @ points.T - (mean * v).sum(1, keepdim=True))
            self.moment.addmm_(weighted, points).sub_(weighted.sum(1, keepdim=True) * mean)
        elif self.moment is not None:
            self.moment.addmm_(weight, self.cloud.block(columns, torch.float64))
        self.squares += weight.square_().sum(1)

    def _add_nearest(self, columns: slice, *, unless_many: bool) -> None:
        """Only those points of a tile that can matter, by differences; all of them if many do and products suffice."""
        for dtype in self.products:
            half = self._half(columns, dtype)
            error = self._error(dtype)
            self.seen = torch.minimum(self.seen, half.amin(1).to(torch.float64) + error)
            limit = self.seen - error + self._reach(dtype)
            near = half <= limit[:, None].to(dtype)
            if int(near.sum()) <= len(half) + self.share * near.numel():
                break
            if unless_many:
                return self._add_all(columns)
        row, column = near.nonzero(as_tuple=True)
        column += columns.start
        for batch, points, squared in pairs(self.x, self.cloud.points, row, column):
            self._add_pairs(row[batch], column[batch], squared / 2, points)
        return None

    def _add_pairs(self, row: Tensor, column: Tensor, half: Tensor, points: Tensor) -> None:
        least = self.least.scatter_reduce(0, row, half, "amin")
        nearer = (half < self.least[row]) & (half == least[row])
        # Of equally near points the one with the lowest index.
        first = torch.full_like(self.index, len(self.cloud)).scatter_reduce(0, row[nearer], column[nearer], "amin")
        self.index = torch.where(first < len(self.cloud), first, self.index)
        self._rescale(least)
        weight = torch.nn.functional.threshold(((self.least[row] - half) / self.sigma / self.sigma).exp(), 1e-30, 0.0)
        self.total.index_add_(0, row, weight)
        self.squares.index_add_(0, row, weight.square())
        if self.moment is not None:
            matters = (weight > 0).nonzero()[:, 0]
            points = points[matters].to(torch.float64)
            points = points - self.cloud.centre if self.cloud.centred else points
            if self.along is not None:
                mean, v = (part[row[matters]] for part in self.along)
                points = points - mean
                points = points * (points * v).sum(1, keepdim=True)
            self.moment.index_add_(0, row[matters], points * weight[matters, None])
