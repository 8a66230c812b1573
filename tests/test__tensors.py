import math

import numpy as np
import pytest
import torch

from diffmem_lib import _tensors


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_floating_gives_the_same_tensor_back(dtype):
    x = torch.ones(3, 2, dtype=dtype)
    assert _tensors.floating(x, "x", shape=("m", 2)) is x
    assert _tensors.floating(x, "x", shape=(3, "d")) is x


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[1.0, 2.0]], "got [[1.0, 2.0]]"),
        (np.ones((1, 2)), "got array"),
        (None, "got None"),
        (torch.ones(3, 2, dtype=torch.int64), "got dtype torch.int64"),
        (torch.ones(3, 2, dtype=torch.bool), "got dtype torch.bool"),
        (torch.ones(3, 2, dtype=torch.float16), "got dtype torch.float16"),
        (torch.ones(3, 2, dtype=torch.complex64), "got dtype torch.complex64"),
        (torch.ones(3, 3), "got shape (3, 3)"),
        (torch.ones(2), "got shape (2,)"),
        (torch.ones(1, 3, 2), "got shape (1, 3, 2)"),
        (torch.ones(0, 2), "got shape (0, 2), which is empty"),
        (torch.tensor([[1.0, math.nan]]), "must be finite"),
        (torch.tensor([[1.0, math.inf]]), "must be finite"),
        (torch.tensor([[1.0, -math.inf]]), "must be finite"),
    ],
)
def test_floating_refuses(value, message):
    with pytest.raises(ValueError, match=r"^queries must be ") as error:
        _tensors.floating(value, "queries", shape=("m", 2))
    assert message in str(error.value)
    if "finite" not in message:
        assert "a float32 or float64 tensor of shape (m, 2)" in str(error.value)


@pytest.mark.parametrize("value", [1e-3, 2, np.float32(0.5), torch.tensor(0.5), 1e150, 1e-150])
def test_noise_level_is_a_float(value):
    result = _tensors.noise_level(value)
    assert type(result) is float
    assert result == float(value)
    assert 0 < result**2 < math.inf


def test_noise_level_zero_only_where_allowed():
    assert _tensors.noise_level(0, zero=True) == 0.0
    with pytest.raises(ValueError, match=r"^sigma must be .*got 0$"):
        _tensors.noise_level(0)


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize(
    "value", [-1.0, math.nan, math.inf, -math.inf, 1e-200, 1e200, "1", None, True, torch.ones(2), torch.ones(1), [1.0]]
)
def test_noise_level_refuses(value, zero):
    with pytest.raises(ValueError, match=r"^sigma_end must be "):
        _tensors.noise_level(value, "sigma_end", zero=zero)


def test_generator():
    generator = torch.Generator()
    assert _tensors.generator(generator) is generator
    assert _tensors.generator(generator, torch.device("cpu")) is generator
    assert _tensors.generator(None) is None
    assert _tensors.generator(None, torch.device("meta")) is None
    for value in (0, "cpu", np.random.default_rng(0), torch.Generator):
        with pytest.raises(ValueError, match=r"^generator must be a torch.Generator or None"):
            _tensors.generator(value)
    with pytest.raises(ValueError, match=r"^generator must live on the device meta, got one on cpu"):
        _tensors.generator(generator, torch.device("meta"))
