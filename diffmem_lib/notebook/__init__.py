"""What only chapters use: claims, symbolic steps, numbers in prose, listings, plotting, settings."""

from diffmem_lib.notebook.gluing import glue
from diffmem_lib.notebook.listing import source

__all__ = ["glue", "source"]
