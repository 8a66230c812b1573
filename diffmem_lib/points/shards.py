"""Arrays on disk, one behind the other, as one array of points that is read and cast block by block."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

__all__ = ["Rows", "Shards"]


class Rows(Protocol):
    """What one shard may be: an array (n, …), or what gives such arrays of its rows, however it comes by them."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, …)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its numbers."""

    def __len__(self) -> int: ...

    def __getitem__(self, which: Any, /) -> Any:
        """The rows of a slice without gaps or of an array of indices."""


class Shards:
    """The rows of several arrays (n_i, …) of one dtype and shape of points, as rows (n, d) of floating-point numbers.

    Only what is asked for is read: rows, by a slice or an array of indices, as a new array or as a view of the file.
    Unsigned pixels of 8 or 16 bits become float32 numbers from 0 to 1, half precision float32; other floating-point
    numbers stay what they are, in this machine's order of bytes. ``names`` are what the arrays are called. Points of
    one axis need no more than `Rows`: arrays of other libraries, or rows that are made when they are asked for.

    Raises ``ValueError``, which names the array, if there is none, or one is empty, of another dtype, or of points of
    another shape than the first.
    """

    ndim = 2

    def __init__(self, arrays: Sequence[Rows], names: Sequence[str]) -> None:
        if not arrays:
            raise ValueError("shards must be at least one array")
        for array, name in zip(arrays, names, strict=True):
            first, called = arrays[0], names[0]
            if len(array.shape) < 2 or math.prod(array.shape) == 0:
                raise ValueError(f"{name}: must hold points along the first of two or more axes, not {array.shape}")
            if array.shape[1:] != first.shape[1:]:
                here, there = ("×".join(map(str, one.shape[1:])) for one in (array, first))
                raise ValueError(f"{name}: points of shape {here}, but {there} in {called}")
            if array.dtype != first.dtype:
                raise ValueError(f"{name}: {array.dtype} numbers, but {first.dtype} in {called}")
        stored = arrays[0].dtype
        pixels = stored.newbyteorder("=") in (np.uint8, np.uint16)
        if not pixels and (stored.kind != "f" or stored.itemsize > 8):
            allowed = "floating-point, or unsigned pixels of 8 or 16 bits"
            raise ValueError(f"{names[0]}: numbers must be {allowed}, not {stored}")
        self.largest = np.iinfo(stored).max if pixels else None
        self.dtype = np.dtype(np.float64 if stored.itemsize == 8 else np.float32)
        self.axes = arrays[0].shape[1:]
        self.arrays = list(arrays)
        self.parts = [array.reshape(len(array), -1) if isinstance(array, np.ndarray) else array for array in arrays]
        self.ends = np.cumsum([len(array) for array in arrays])
        self.shape = (int(self.ends[-1]), self.parts[0].shape[1])
        self.names = Names(names, self.ends)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """Numbers in all: n d."""
        return self.shape[0] * self.shape[1]

    @property
    def counts(self) -> dict[str, int]:
        """How many points each array has, in their order."""
        return {name: len(part) for name, part in zip(self.names.names, self.parts, strict=True)}

    @property
    def sources(self) -> list[str | Rows]:
        """The path of each array that is all of a mapped .npy file, else the array itself."""
        return [_file(array) or array for array in self.arrays]

    def shards(self, least: int = 1) -> Iterator[Shards]:
        """Each array by itself, or as many together as hold at least ``least`` points."""
        first, count = 0, 0
        for last, array in enumerate(self.arrays, start=1):
            count += len(array)
            if count >= least or last == len(self.arrays):
                yield Shards(self.arrays[first:last], self.names.names[first:last])
                first, count = last, 0

    def __getitem__(self, which: int | np.integer | slice | np.ndarray) -> np.ndarray:
        """Rows (p, d) of a slice without gaps or an array of indices, or one row (d,)."""
        if not isinstance(which, slice):
            return self._rows(np.atleast_1d(which)).reshape(*np.shape(which), -1)
        start, stop, step = which.indices(len(self))
        if step != 1 or stop <= start:
            return self._rows(np.arange(start, stop, step))
        pieces = []
        for part, end in zip(self.parts, self.ends.tolist(), strict=True):
            first = end - len(part)
            if first < stop and start < end:
                pieces.append(self._cast(part[max(start - first, 0) : stop - first]))
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _rows(self, index: np.ndarray) -> np.ndarray:
        rows = np.empty((len(index), self.shape[1]), dtype=self.dtype)
        owner = np.searchsorted(self.ends, index, side="right")
        for number in np.unique(owner):
            mine, part = owner == number, self.parts[number]
            rows[mine] = self._cast(part[index[mine] - (self.ends[number] - len(part))])
        return rows

    def _cast(self, rows: np.ndarray) -> np.ndarray:
        cast = np.asarray(rows, dtype=self.dtype)
        if self.largest is not None:
            cast /= self.largest  # of a new array, as integers were cast
        return cast


class Names:
    """What each point of shards is called: the array, and the point's number in it."""

    def __init__(self, names: Sequence[str], ends: np.ndarray) -> None:
        self.names, self.ends = names, ends

    def __getitem__(self, index: int) -> str:
        number = int(np.searchsorted(self.ends, index, side="right"))
        return f"{self.names[number]}:{index - (self.ends[number - 1] if number else 0)}"


def _file(array: Any) -> str | None:
    """The path of the .npy file that an array maps from its first point to its last; None for any other array."""
    base: Any = getattr(array, "base", None)  # of a slice it is an array
    whole = isinstance(array, np.memmap) and isinstance(base, mmap.mmap) and str(array.filename).endswith(".npy")
    return str(array.filename) if whole else None
