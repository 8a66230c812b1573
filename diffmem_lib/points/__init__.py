"""Exact kernels on sets of points in torch: blocked distances with their nearest, and attention over points.

What simulations and measures of memorization share; neither theory nor a law is known here.
"""

from . import attention, distances

__all__ = ["attention", "distances"]
