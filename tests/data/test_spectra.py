import math

import numpy as np
import pytest

from diffmem_lib.data import power_law_spectrum


def test_values():
    assert power_law_spectrum(4, 1).tolist() == [1.0, 1 / 2, 1 / 3, 1 / 4]
    np.testing.assert_allclose(power_law_spectrum(3, 2.5), [1, 2**-2.5, 3**-2.5], rtol=1e-15)
    assert power_law_spectrum(3, 0).tolist() == [1.0, 1.0, 1.0]
    assert power_law_spectrum(1, 7).tolist() == [1.0]


@pytest.mark.parametrize("trace", [1e-3, 1, 64.0])
def test_trace_rescales_and_nothing_else(trace):
    plain, scaled = power_law_spectrum(64, 1.3), power_law_spectrum(64, 1.3, trace)
    assert math.fsum(scaled) == pytest.approx(trace, rel=1e-14)
    np.testing.assert_allclose(scaled / scaled[0], plain, rtol=1e-14)


def test_is_float64_and_falls():
    spectrum = power_law_spectrum(100, 1)
    assert spectrum.dtype == np.float64
    assert spectrum.shape == (100,)
    assert (np.diff(spectrum) < 0).all()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("dim", (dim, 1)) for dim in (0, -1, 3.0, math.nan, None, [3])]
    + [("exponent", (3, exponent)) for exponent in (-1, math.nan, math.inf, "1", [1.0, 2.0])]
    + [("trace", (3, 1, trace)) for trace in (0, -1, math.nan, math.inf, [1.0, 2.0])],
)
def test_refuses(name, arguments):
    with pytest.raises(ValueError, match=rf"^{name} must be "):
        power_law_spectrum(*arguments)
