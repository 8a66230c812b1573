"""DiffMem: when diffusion models memorize, and what they learn first; the library under the book."""

__version__ = "0.2.0"
