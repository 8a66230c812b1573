"""Sets of points in torch and on disk, and exact kernels on them: blocked distances with their nearest, attention.

What simulations and measures of memorization share; neither theory nor a law is known here.
"""

from . import attention, distances, shards

__all__ = ["attention", "distances", "shards"]
