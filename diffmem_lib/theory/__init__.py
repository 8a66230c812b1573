"""Closed forms: predictions of the book, as NumPy and SciPy functions of floats and arrays; no torch."""
