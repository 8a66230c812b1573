"""What only chapters use: claims, symbolic steps, numbers in prose, listings, longer runs, plotting, settings."""

from diffmem_lib.notebook.gluing import glue
from diffmem_lib.notebook.listing import source
from diffmem_lib.notebook.long_runs import stored

__all__ = ["glue", "source", "stored"]
