"""Activations φ of a one-neuron denoiser, each with its derivative, for NumPy arrays and for numba."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _checks

__all__ = ["Activation", "hermite_activation", "tanh_activation"]


@dataclass(frozen=True)
class Activation:
    """An activation φ and its derivative φ′, both functions of a NumPy array in elementary NumPy operations.

    They are called on arrays by the full dynamics and compiled by numba, for scalars, in the reduced chain.
    """

    value: Callable
    slope: Callable


def tanh_activation(scale: float) -> Activation:
    """φ(y) = scale · tanh(y)."""
    return _tanh_activation(_checks.number(scale, "scale"))


@functools.cache
def _tanh_activation(scale: float) -> Activation:
    return Activation(lambda y: scale * np.tanh(y), lambda y: scale * (1 - np.tanh(y) ** 2))


def hermite_activation(coefficients: Sequence[float]) -> Activation:
    """φ = Σ_k coefficients[k] He_k, from order 0 on, as a polynomial evaluated by Horner's rule."""
    return _hermite_activation(tuple(_checks.array(coefficients, "coefficients", ndim=1).tolist()))


@functools.cache
def _hermite_activation(coefficients: tuple[float, ...]) -> Activation:
    powers = np.polynomial.hermite_e.herme2poly(coefficients)
    slopes = np.polynomial.polynomial.polyder(powers)
    return Activation(_horner(powers), _horner(slopes))


def _horner(powers: NDArray[np.floating]) -> Callable:
    highest, *others = (float(p) for p in powers[::-1])
    falling = tuple(others)
    if not falling:
        return lambda y: highest + 0 * y

    def polynomial(y: Any) -> Any:
        total = highest + 0 * y
        for coefficient in falling:
            total = total * y + coefficient
        return total

    return polynomial
