"""Strings of a toy grammar in which it is known what is common, and what has near neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import _checks, _tensors

__all__ = ["BlockGrammar", "StringSet"]


@dataclass(frozen=True, eq=False)
class StringSet:
    """Strings of a :class:`BlockGrammar`.

    Attributes
    ----------
    letters : Tensor (n, 2·blocks), int64
        The strings, letter by letter.
    substrings : Tensor (n, blocks), int64
        The two letters of each block as one number, less than alphabet².
    rare, family : Tensor (n,), bool
        Whether a string is made of rare substrings, and whether it is one of a family.
    alphabet : int
        How many letters there are.
    """

    letters: Tensor
    substrings: Tensor
    rare: Tensor
    family: Tensor
    alphabet: int

    @property
    def one_hot(self) -> Tensor:
        """The strings as points (n, 2·blocks·alphabet), float64: each letter one-hot, less 1/alphabet."""
        hot = torch.nn.functional.one_hot(self.letters, self.alphabet).to(torch.float64)
        return (hot - 1 / self.alphabet).flatten(1)

    def spelled_by(self, points: Tensor) -> Tensor:
        """Which of ``points`` (m, 2·blocks·alphabet) spell which string, (m, n) bool: largest in each letter's place.

        Raises ``ValueError`` if ``points`` is no finite floating-point tensor of that shape.
        """
        length = self.letters.shape[1]
        _tensors.floating(points, "points", shape=("m", length * self.alphabet), device=self.letters.device)
        spelled = points.unflatten(1, (length, self.alphabet)).argmax(2)
        return (spelled[:, None] == self.letters).all(2)


class BlockGrammar:
    """Strings of blocks of two letters, each block one of few common substrings or one of the many rare others.

    Which substrings are common at a block is drawn once for the grammar. There are four kinds of strings, equally
    many of each: of common or of rare substrings, and alone or in families. A string alone draws each of its
    substrings independently, evenly among those of its kind. A family has a parent drawn so, and its members differ
    from that in one block, which is drawn anew. So families are dense whether their substrings are common or not.

    Parameters
    ----------
    blocks : int
        Blocks in a string.
    alphabet : int
        Letters; there are alphabet² substrings.
    common : int
        How many substrings are common at a block, less than alphabet² − 1.
    generator : torch.Generator, optional
        Draws which they are.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    def __init__(
        self, blocks: int = 6, alphabet: int = 6, common: int = 4, generator: torch.Generator | None = None
    ) -> None:
        self.blocks = _checks.integer(blocks, "blocks", low=1)
        self.alphabet = _checks.integer(alphabet, "alphabet", low=2)
        self.common = _checks.integer(common, "common", low=1, high=self.alphabet**2 - 2)
        generator = _tensors.generator(generator)
        device = torch.device("cpu") if generator is None else generator.device
        orders = [torch.randperm(self.alphabet**2, generator=generator, device=device) for _ in range(self.blocks)]
        self.order = torch.stack(orders)

    def sample(self, families: int, size: int, generator: torch.Generator | None = None) -> tuple[StringSet, StringSet]:
        """A training set and a held-out one of the same kinds and families, in which no string stands twice.

        Parameters
        ----------
        families, size : int
            How many families of each kind, and how many members each has in either set; as many strings of each kind
            are alone, so that a set has 4·families·size.
        generator : torch.Generator, optional
            Source of the draws, on the device of the grammar.

        Raises
        ------
        ValueError
            If a number is less than 1, or ``size`` so large that a family could run out of strings.
        """
        families, size = _checks.integer(families, "families", low=1), _checks.integer(size, "size", low=1)
        generator = _tensors.generator(generator, self.order.device)
        options = min(self.common, self.alphabet**2 - self.common)
        largest = min(self.blocks * (options - 1) // 3, options**self.blocks // (8 * families))
        if size > largest:
            raise ValueError(f"size must be at most {largest}, or there may not be so many strings, got {size}")
        sets: tuple[list[Tensor], list[Tensor]] = ([], [])
        seen: set[tuple[int, ...]] = set()
        for rare in (False, True):
            for parents in [None] * families + list(self._alone(families, rare, generator)):
                drawn = self._distinct(2 * size, rare, parents, seen, generator)
                for part, own in zip(sets, drawn.split(size), strict=True):
                    part.append(own)
        training, held_out = (self._set(torch.cat(part), families * size) for part in sets)
        return training, held_out

    def _alone(self, n: int, rare: bool, generator: torch.Generator | None) -> Tensor:
        """Places (n, blocks) in each block's order of substrings, of which the first are the common ones."""
        low, high = (self.common, self.alphabet**2) if rare else (0, self.common)
        return torch.randint(low, high, (n, self.blocks), generator=generator, device=self.order.device)

    def _distinct(
        self,
        n: int,
        rare: bool,
        parent: Tensor | None,
        seen: set[tuple[int, ...]],
        generator: torch.Generator | None,
    ) -> Tensor:
        """``n`` strings of a kind, members of a family if it has a ``parent``, none of which was ``seen``."""
        rows: list[Tensor] = []
        while len(rows) < n:
            (row,) = self._alone(1, rare, generator)
            if parent is not None:
                kept = torch.arange(self.blocks, device=row.device) != torch.randint(
                    self.blocks, (), generator=generator, device=row.device
                )
                row = torch.where(kept, parent, row)
            if (key := tuple(row.tolist())) not in seen:
                seen.add(key)
                rows.append(row)
        return torch.stack(rows)

    def _set(self, places: Tensor, per_kind: int) -> StringSet:
        substrings = self.order.gather(1, places.T).T
        letters = torch.stack([substrings // self.alphabet, substrings % self.alphabet], 2).flatten(1)
        kind = torch.arange(4, device=places.device).repeat_interleave(per_kind)
        return StringSet(letters, substrings, kind >= 2, kind % 2 == 1, self.alphabet)
