"""Scale and seed of a chapter's simulations, read from the environment once; the library never reads them.

``DIFFMEM_SEED`` (default 0) is the only root seed of a chapter, ``DIFFMEM_SCALE`` (``book`` or ``full``) its size.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

__all__ = ["SCALE", "SEED", "generator", "generators", "seed", "sized"]

T = TypeVar("T")


def _root_seed(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise ValueError(f"DIFFMEM_SEED must be a non-negative integer, got {text!r}")
    return value


def _scale(text: str) -> str:
    if text not in ("book", "full"):
        raise ValueError(f"DIFFMEM_SCALE must be 'book' or 'full', got {text!r}")
    return text


SEED = _root_seed(os.environ.get("DIFFMEM_SEED", "0"))
SCALE = _scale(os.environ.get("DIFFMEM_SCALE", "book"))


def sized(book: T, full: T) -> T:
    """``book`` or ``full``, whichever ``DIFFMEM_SCALE`` asks for."""
    return full if SCALE == "full" else book


def seed(name: str, root: int | None = None) -> int:
    """A 63-bit seed that depends on the root seed (default ``SEED``) and on ``name`` only.

    Simulations with different names are independent, and adding one does not change another's random numbers.
    """
    digest = hashlib.sha256(f"{SEED if root is None else root}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(name: str) -> torch.Generator:
    """A torch generator on the CPU, seeded by :func:`seed` of ``name``."""
    import torch

    return torch.Generator("cpu").manual_seed(seed(name))


def generators(name: str, count: int) -> list[torch.Generator]:
    """``count`` independent generators, those of ``name-0``, ``name-1`` and so on: one for each thread."""
    return [generator(f"{name}-{number}") for number in range(count)]
