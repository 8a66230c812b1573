"""Spectra of covariances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import _checks

__all__ = ["power_law_spectrum"]


def power_law_spectrum(dim: int, exponent: float, trace: float | None = None) -> NDArray[np.float64]:
    """Eigenvalues λ_ν = ν^−exponent, ν = 1..``dim``, falling; rescaled to the sum ``trace``, if one is given.

    Parameters
    ----------
    dim : int
        Number of eigenvalues, at least 1.
    exponent : float
        How steeply they fall, at least 0 (white); natural images are near 1 to 2.
    trace : float, optional
        Positive sum of the eigenvalues; ``dim`` makes the mean variance of a coordinate 1.

    Returns
    -------
    NDArray (dim,)

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    dim = _checks.integer(dim, "dim", low=1)
    exponent = _checks.number(exponent, "exponent", low=0)
    eigenvalues = np.arange(1, dim + 1, dtype=np.float64) ** -exponent
    if trace is None:
        return eigenvalues
    return eigenvalues * (_checks.number(trace, "trace", low=0, low_open=True) / eigenvalues.sum())
