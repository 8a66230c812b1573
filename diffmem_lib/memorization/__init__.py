"""Measures of memorization on samples: sparsity, the gap between neighbours, and the audit."""

from .neighbours import NeighbourGap, local_sparsity, neighbour_gap

__all__ = ["NeighbourGap", "local_sparsity", "neighbour_gap"]
