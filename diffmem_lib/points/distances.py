"""Blocked distances: the one computation under the empirical denoiser, the neighbour gap and the audit.

A matrix product gives |y − x|² = |y|² + |x|² − 2 y·x at the machine's full speed, and loses what cancels.
So products only *choose* here, with an error bound that holds for every order of summation; what was chosen is computed
again by float64 differences. Points are centred and scaled block by block, and never copied as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import InitVar, dataclass, field

import numpy as np
import torch
from torch import Tensor

from .shards import Shards

__all__ = ["Cloud", "nearest", "pairs", "slices"]

Points = Tensor | np.ndarray | Shards
BATCH_BYTES = 2**22  # of one block; of one batch of differences with its temporaries
GROUP = 32  # points of which only the nearest is compared with a list
SPARE = 6  # places in a short list beyond the k that are asked for


def slices(n: int, size: int, start: int = 0) -> Iterator[slice]:
    """Consecutive slices of at most ``size`` that cover range(start, n)."""
    return (slice(first, min(first + size, n)) for first in range(start, n, size))


def rows_within(n_bytes: int, dim: int, itemsize: int, *, low: int, high: int) -> int:
    """How many rows of ``dim`` numbers fit into ``n_bytes``, at least ``low`` and at most ``high``."""
    return max(low, min(high, n_bytes // (dim * itemsize)))


def take(points: Points, which: slice | Tensor, dtype: torch.dtype | None = torch.float64) -> Tensor:
    """Rows of a tensor or of an array on disk, as a tensor of ``dtype``, or of their own."""
    if isinstance(points, Tensor):
        rows = points[which]
    else:
        rows = torch.from_numpy(np.array(points[which if isinstance(which, slice) else which.numpy()]))
    return rows if dtype is None else rows.to(dtype)


@dataclass
class Cloud:
    """Points (n, d) with a centre c and half squared norms |x − c|²/2 about it, read block by block.

    The points may be a tensor or a NumPy array, on disk if need be. The centre is ``about``, by default zero unless the
    mean is longer than the points are wide: only then does centring spare digits. It is a float32 number in float64, so
    that float32 points are centred with one rounding in either dtype.
    """

    points: Points
    about: InitVar[Tensor | None] = None
    centre: Tensor = field(init=False)
    centred: bool = field(init=False)
    half_norms: Tensor = field(init=False)

    def __post_init__(self, about: Tensor | None) -> None:
        size = rows_within(2**20, self.dim, 8, low=1, high=4096)
        if about is None:
            self.centred = False  # as yet, so that the blocks are the points themselves
            total = torch.zeros(self.dim, dtype=torch.float64, device=self.device)
            squares = torch.zeros((), dtype=torch.float64, device=self.device)
            for _, rows in self.blocks(torch.float64, size):
                total, squares = total + rows.sum(0), squares + torch.linalg.vecdot(rows, rows).sum()
            mean = total / len(self.points)
            length = mean.square().sum()
            needed = length > squares / len(self.points) - length
            self.centre = torch.where(needed, mean.to(torch.float32).to(torch.float64), 0.0)
        else:
            self.centre = about
        self.centred = bool(self.centre.any())
        self.half_norms = self.centre.new_empty(len(self.points))
        for which, rows in self.blocks(torch.float64, size):
            self.half_norms[which] = torch.linalg.vecdot(rows, rows) / 2
        largest = float(self.half_norms.max())
        tiny = about is None and largest < 1e-290
        if not largest < 1e290 or (tiny and any(bool(rows.any()) for _, rows in self.blocks(torch.float64, size))):
            raise ValueError("points must have squares that neither under- nor overflow; another unit would do")

    def __len__(self) -> int:
        return len(self.points)

    @property
    def dim(self) -> int:
        """Numbers a point has."""
        return self.points.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the points are; shards are read on the CPU."""
        return self.points.device if isinstance(self.points, Tensor) else torch.device("cpu")

    def block_rows(self, dtype: torch.dtype, n_bytes: int = BATCH_BYTES) -> int:
        """How many centred rows of ``dtype`` fit into ``n_bytes``."""
        return rows_within(n_bytes, self.dim, dtype.itemsize, low=512, high=4096)

    def block(self, which: slice | Tensor, dtype: torch.dtype, scale: float = 1.0) -> Tensor:
        """The centred rows x − c times ``scale``, in ``dtype``; a view of the points where that changes nothing."""
        if self.centred or scale != 1:  # in float64: what is rounded before the centre is taken off stays lost
            return (take(self.points, which) - self.centre).mul_(scale).to(dtype)
        return take(self.points, which, dtype)

    def blocks(
        self, dtype: torch.dtype, size: int, scale: float = 1.0, start: int = 0
    ) -> Iterator[tuple[slice, Tensor]]:
        """Consecutive slices of at most ``size`` and their `block`, which is good until the next one is asked for.

        Copies share one buffer: blocks that are freed one after another can leave the heap as large as all of them
        together, if the small results of each come to lie between them.
        """
        view = isinstance(self.points, Tensor) and not self.centred and self.points.dtype == dtype
        shape = min(size, len(self)), self.dim
        buffer = None if view or scale != 1 else torch.empty(shape, dtype=dtype, device=self.device)
        for which in slices(len(self), size, start):
            if buffer is None:
                yield which, self.block(which, dtype, scale)
                continue
            rows = buffer[: which.stop - which.start]
            if self.centred and self.points.dtype.itemsize > dtype.itemsize:
                for part in slices(which.stop, 128, which.start):
                    rows[part.start - which.start : part.stop - which.start] = self.block(part, dtype)
                yield which, rows
                continue
            if isinstance(self.points, Tensor):
                rows.copy_(self.points[which])
            else:
                np.copyto(rows.numpy(), self.points[which])
            yield which, rows.sub_(self.centre.to(dtype)) if self.centred else rows


def keeps_float32(device: torch.device) -> bool:
    """Whether float32 products keep the digits of float32 here.

    They do not where `torch.set_float32_matmul_precision` or autocast lets their factors be rounded to eleven bits or
    eight; what chooses by products then has to take float64 ones, which nothing rounds.
    """
    size = 64 if device.type == "cpu" else 512  # a GPU may spare small products the rounding that large ones get
    left = torch.full((size, size), 1 + 2**-16, dtype=torch.float32, device=device)
    right = torch.zeros_like(left)
    right[:64] = 1  # more terms would not add up without rounding
    return float(torch.mm(left, right)[0, 0]) == 64 * (1 + 2**-16)


def half_distance_error(query_norms: Tensor, largest_norm: Tensor | float, dim: int, dtype: torch.dtype) -> Tensor:
    """A bound (m,) on the error of |q|²/2 + |x|²/2 − q·x from a product in ``dtype``, for |x| ≤ ``largest_norm``.

    A product of d terms errs by at most γ_d |q||x| with γ_d = du/(1 − du), in whatever order it is summed; rounding the
    centred coordinates and the three terms adds a few units u of the last place.
    """
    unit = torch.finfo(dtype).eps / 2
    gamma = (dim + 4) * unit / (1 - (dim + 4) * unit)
    underflow = (dim + 4) * torch.finfo(dtype).smallest_normal
    return gamma * query_norms * largest_norm + 4 * unit * (query_norms.square() + largest_norm**2) + underflow


def pairs(queries: Points, points: Points, rows: Tensor, columns: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Points x (p, d) as they are and |x − y|² (p,) by float64 differences, for the given pairs, batch by batch."""
    for batch in slices(len(rows), rows_within(BATCH_BYTES // 8, queries.shape[1], 8, low=64, high=2**16)):
        chosen = take(points, columns[batch], None)
        yield batch, chosen, take(queries, rows[batch]).sub(chosen).square_().sum(1)


def exact_distances(queries: Points, points: Points, rows: Tensor, columns: Tensor) -> Tensor:
    """Squared distances (p,) of the given pairs, by float64 differences."""
    distance = torch.empty(len(rows), dtype=torch.float64, device=rows.device)
    for batch, _, squared in pairs(queries, points, rows, columns):
        distance[batch] = squared
    return distance


def nearest(
    queries: Points,
    points: Points | None = None,
    k: int = 1,
    *,
    skip: Tensor | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Indices (m, k) and squared distances (m, k) of the ``k`` points nearest to each query, ties by index.

    Without ``points``, the ``k`` nearest *others* of each query among the queries, from half of the products. The
    result is that of float64 differences throughout: float32 products (float64 ones where a setting spoils those) make
    a list of k + 6, and a query whose list is not proven complete by the error bound of the products is searched again
    in float64. (Of more than k + 6 points
    equal to the query, any k may be returned.) Points marked in ``skip`` (n,) are passed over. ``progress`` is told the
    number of pairs after each tile: m·n in all, or n(n + 1)/2 and a little more among themselves.
    """
    search = _Search(Cloud(queries if points is None else points), queries, k, itself=points is None, skip=skip)
    search.shortlist(progress)
    return search.exact()


class _Search:
    """The running short lists of one call of `nearest`; half squared distances, in units of a power of two."""

    def __init__(self, cloud: Cloud, queries: Points, k: int, *, itself: bool, skip: Tensor | None = None) -> None:
        self.cloud, self.k, self.itself = cloud, k, itself
        self.queries = cloud if itself else Cloud(queries, cloud.centre)
        self.available = len(cloud) - itself - (0 if skip is None else int(skip.sum()))
        self.size = min(k + SPARE, self.available)
        device = cloud.half_norms.device
        self.dtype = torch.float32 if keeps_float32(device) else torch.float64
        self.value = torch.full((len(queries), self.size), torch.inf, dtype=self.dtype, device=device)
        self.index = torch.full((len(queries), self.size), -1, device=device)
        self.furthest = float(cloud.half_norms.max())
        largest = max(self.furthest, float(self.queries.half_norms.max()))
        if skip is not None:
            cloud.half_norms[skip] = torch.inf
        # Where float32 products could over- or underflow, a power of two brings the points into the unit ball.
        ordinary = 1e-24 < largest < 1e24 or largest == 0
        self.scale = 1.0 if ordinary else 2.0 ** -math.ceil(math.log2(math.sqrt(2 * largest)))

    def tile(self, rows: slice | Tensor, left: Tensor, columns: slice, right: Tensor) -> Tensor:
        """Half squared distances of some queries to consecutive points, whose blocks are ``left`` and ``right``."""
        norms_x = (self.cloud.half_norms[columns] * self.scale**2).to(left.dtype)
        norms_y = (self.queries.half_norms[rows] * self.scale**2).to(left.dtype)
        return torch.addmm(norms_x, left, right.T, alpha=-1).add_(norms_y[:, None])

    def shortlist(self, progress: Callable[[int], None] | None) -> None:
        """Fill the lists from products; among themselves, each tile serves its rows and its columns."""
        wide = rows_within(2**23, self.cloud.dim, 4, low=64, high=1024) // GROUP * GROUP
        for rows, left in self.queries.blocks(self.dtype, 2 * wide, self.scale):
            start = rows.start if self.itself else 0
            for columns, right in self.cloud.blocks(self.dtype, wide, self.scale, start):
                tile = self.tile(rows, left, columns, right)
                if self.itself and columns.start < rows.stop:
                    tile.diagonal(rows.start - columns.start).fill_(torch.inf)
                elif self.itself:
                    self.merge(columns, tile.T, rows.start)
                self.merge(rows, tile, columns.start)
                if progress is not None:
                    progress(tile.numel())

    def merge(self, rows: slice, tile: Tensor, offset: int) -> None:
        """Let the points of a tile, numbered from ``offset``, enter the lists of its queries.

        The least of each group of points tells where one is near enough; only these groups are looked at, soon few.
        """
        value, index = self.value[rows], self.index[rows]
        groups = tile.unflatten(1, (-1, math.gcd(tile.shape[1], GROUP)))
        row, group = (groups.amin(2) < value[:, -1:]).nonzero(as_tuple=True)
        if len(row) > groups[..., 0].numel() // 4:  # as at the beginning, when any point is a candidate
            best, order = torch.cat([value, tile], 1).topk(self.size, largest=False)
            old = order < self.size
            kept = index.gather(1, order.clamp(max=self.size - 1))
            self.value[rows], self.index[rows] = best, torch.where(old, kept, order - self.size + offset)
            return
        if len(row) == 0:
            return
        near = groups[row, group]
        which, place = (near < value[row, -1:]).nonzero(as_tuple=True)
        column = group[which] * groups.shape[2] + place
        entered, row = row[which].unique_consecutive(return_inverse=True)
        count = torch.bincount(row)
        place_in_list = self.size + torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
        width = self.size + int(count.max())
        new_value = tile.new_full((len(entered), width), torch.inf)
        new_index = torch.full_like(new_value, -1, dtype=torch.int64)
        new_value[:, : self.size], new_index[:, : self.size] = value[entered], index[entered]
        new_value[row, place_in_list] = near[which, place]
        new_index[row, place_in_list] = column + offset
        best, order = new_value.topk(self.size, largest=False)
        value[entered], index[entered] = best, new_index.gather(1, order)  # of views

    def exact(self) -> tuple[Tensor, Tensor]:
        """Indices and squared distances of the ``k`` nearest by float64 differences, proven or searched again."""
        distance = torch.empty_like(self.index, dtype=torch.float64)
        for rows in slices(len(self.queries), max(1, rows_within(2**22, self.cloud.dim, 8, low=16, high=2**16) // 16)):
            differences = take(self.cloud.points, self.index[rows].flatten()).unflatten(0, (-1, self.size))
            differences -= take(self.queries.points, rows)[:, None]
            distance[rows] = differences.square_().sum(2)
        by_index = self.index.argsort(1)
        order = by_index.gather(1, distance.gather(1, by_index).argsort(dim=1, stable=True))[:, : self.k]
        index, distance = self.index.gather(1, order), distance.gather(1, order)
        worst = distance[:, -1]
        safe = self.value[:, -1] - self.error(slice(None), self.dtype)
        proven = (worst / 2 * self.scale**2 < safe) | (worst == 0)
        if self.size < self.available:
            unproven = (~proven).nonzero()[:, 0]
            for batch in slices(len(unproven), 256):
                again = unproven[batch]
                index[again], distance[again] = self.search_again(again, worst[again])
        return index, distance

    def error(self, rows: slice | Tensor, dtype: torch.dtype) -> Tensor:
        """The bound on the error of a tile's entries, in its scaled units."""
        norms = (2 * self.queries.half_norms[rows]).sqrt() * self.scale
        return half_distance_error(norms, math.sqrt(2 * self.furthest) * self.scale, self.cloud.dim, dtype)

    def search_again(self, rows: Tensor, worst: Tensor) -> tuple[Tensor, Tensor]:
        """All that could be among the nearest of some queries, whose k-th is at most ``worst`` away, in float64."""
        left = self.queries.block(rows, torch.float64, self.scale)
        limit = worst / 2 * self.scale**2 * (1 + 1e-9) + self.error(rows, torch.float64)
        found = []
        for columns, right in self.cloud.blocks(torch.float64, self.cloud.block_rows(torch.float64), self.scale):
            row, column = (self.tile(rows, left, columns, right) <= limit[:, None]).nonzero(as_tuple=True)
            column += columns.start
            other = rows[row] != column if self.itself else torch.ones_like(row, dtype=torch.bool)
            found.append(torch.stack([row[other], column[other]]))
        return self.first(rows, *torch.cat(found, 1))

    def first(self, rows: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
        """The ``k`` nearest for each of ``rows``, out of pairs of a position in ``rows`` and a point."""
        distance = exact_distances(self.queries.points, self.cloud.points, rows[row], column)
        order = column.argsort(stable=True)
        order = order[distance[order].argsort(stable=True)]
        order = order[row[order].argsort(stable=True)]
        count = torch.bincount(row, minlength=len(rows))
        chosen = order[(count.cumsum(0) - count)[:, None] + torch.arange(self.k, device=row.device)]
        return column[chosen], distance[chosen]
