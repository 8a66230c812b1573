"""Activations against their formulas, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sgd_cases import CUBIC, TANH

from diffmem_lib.simulation import hermite_activation, tanh_activation


@pytest.mark.parametrize(
    ("activation", "value", "slope"),
    [
        (TANH, lambda y: -0.8 * math.tanh(y), lambda y: -0.8 / math.cosh(y) ** 2),
        (CUBIC, lambda y: 0.05 * (y**3 - 3 * y) - 0.1 * y, lambda y: 0.05 * (3 * y**2 - 3) - 0.1),
        (hermite_activation([2.0]), lambda y: 2.0, lambda y: 0.0),
        (hermite_activation([0.0, 3.0]), lambda y: 3 * y, lambda y: 3.0),
    ],
)
def test_activations(activation, value, slope):
    y = np.linspace(-3, 3, 13)
    np.testing.assert_allclose(activation.value(y), [value(t) for t in y], rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(activation.slope(y), [slope(t) for t in y], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("bad", [math.nan, math.inf, "a"])
def test_activations_refuse_bad_coefficients(bad):
    with pytest.raises(ValueError, match="scale"):
        tanh_activation(bad)
    with pytest.raises(ValueError, match="coefficients"):
        hermite_activation([0.0, bad])
    with pytest.raises(ValueError, match="coefficients"):
        hermite_activation([])
