"""Checks of torch arguments: one ValueError that names the argument, its value and what is allowed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _checks

__all__ = ["ROUNDING", "floating", "generator", "noise_level", "symmetric"]

#: What rounding may leave of a covariance's asymmetry and of its zero eigenvalues, as a share of its largest entry.
ROUNDING = {torch.float32: 1e-5, torch.float64: 1e-10}


def floating(value: Any, name: str, *, shape: tuple[int | str, ...], device: torch.device | None = None) -> Tensor:
    """``value`` itself, a finite float32 or float64 tensor of this shape; its dtype and device are kept.

    An integer in ``shape`` is the length of that axis, a letter stands for any length from 1 on; ``device`` is where it
    must live, if that is given.
    """
    allowed = f"a float32 or float64 tensor of shape ({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} must be {allowed}, got {_checks.shown(value)}")
    if value.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{name} must be {allowed}, got dtype {value.dtype}")
    fits = value.ndim == len(shape) and all(
        have >= 1 if isinstance(want, str) else have == want for have, want in zip(value.shape, shape, strict=True)
    )
    if not fits:
        empty = ", which is empty" if value.numel() == 0 else ""
        raise ValueError(f"{name} must be {allowed}, got shape {tuple(value.shape)}{empty}")
    if device is not None and value.device != device:
        raise ValueError(f"{name} must be on the device {device}, got one on {value.device}")
    rows = value if value.ndim else value[None]
    block = max(1, 2**18 // rows[0].numel())  # no mask as large as the tensor itself
    # A finite sum has finite terms, at a fifth of the cost of asking each of them.
    if not all(torch.isfinite(part.sum()) or torch.isfinite(part).all() for part in rows.split(block)):
        raise ValueError(f"{name} must be finite, got NaN or infinity in it")
    return value


def symmetric(value: Tensor, name: str) -> Tensor:
    """``value`` itself, floating and symmetric in its last two axes up to rounding."""
    asymmetry = (value - value.mT).abs()
    if (asymmetry > ROUNDING[value.dtype] * value.abs().amax((-2, -1), keepdim=True)).any():
        raise ValueError(f"{name} must be symmetric, got an asymmetry of {asymmetry.max():g}")
    return value


def noise_level(sigma: Any, name: str = "sigma", *, zero: bool = False) -> float:
    """``sigma`` as a float whose square neither under- nor overflows; positive, unless ``zero`` is allowed too."""
    result = _checks.number(sigma, name, low=0.0, low_open=not zero)
    if result > 0:
        _checks.number(result, name, low=1e-150, high=1e150)
    return result


def generator(value: Any, device: torch.device | None = None, name: str = "generator") -> torch.Generator | None:
    """``value`` itself, a torch generator (on ``device``, if that is given) or None (torch's default generator)."""
    if value is None:
        return None
    if not isinstance(value, torch.Generator):
        raise ValueError(f"{name} must be a torch.Generator or None, got {_checks.shown(value)}")
    if device is not None and value.device.type != device.type:
        raise ValueError(f"{name} must live on the device {device}, got one on {value.device}")
    return value
