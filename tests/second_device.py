"""An accelerator of paper: tensors that say they are on another device, computed on the CPU under a GPU's rules.

They are kept apart from the CPU's: no operation mixes the two, none becomes a NumPy array unasked, and a generator
serves its own device only. What they compute is the CPU's, so results must be equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

CPU = torch.device("cpu")
DEVICE = torch.device("meta")  # the one name of another device that torch takes without a driver for it
aten = torch.ops.aten
COPIES = {aten.copy_.default, aten._to_copy.default}
BY_INDEX = {aten.index.Tensor, aten.index_put_.default, aten._index_put_impl_.default}  # a GPU takes a CPU's indices


class Generator(torch.Generator):
    """A generator of that device, with the numbers of the CPU's."""

    device = property(lambda self: DEVICE)


class Away(Tensor):
    """A tensor on that device."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Away:
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
        away = Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, device=DEVICE, **layout)
        away.inner = inner
        return away

    def tolist(self) -> list:
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return _run(operation, args, kwargs or {})


class _Present(TorchDispatchMode):
    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return _run(operation, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What cannot be done below the level of functions: a generator has lost its class there, and data are copied."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        generator, device = kwargs.get("generator"), kwargs.get("device")
        if function in (torch.tensor, torch.as_tensor) and device is not None:
            return function(*args, **{**kwargs, "device": CPU}).to(device)
        if generator is not None:
            target = torch.device(device or (args[0].device if isinstance(args[0], Tensor) else CPU))
            if generator.device.type != target.type:
                raise RuntimeError(f"{function}: expected a generator on {target}, found one on {generator.device}")
        return function(*args, **kwargs)


@contextmanager
def present() -> Iterator[torch.device]:
    """Where that device is present; gives it."""
    with _Present(), _Functions():
        yield DEVICE


def _run(operation, args: tuple, kwargs: dict):
    """One operation where its tensors are, refused where a GPU would refuse it."""
    operands = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    away = any(isinstance(t, Away) for t in operands)
    if away and operation not in COPIES:
        together = args[:1] if operation in BY_INDEX else operands
        if any(not isinstance(t, Away) and t.ndim > 0 for t in together):
            raise RuntimeError(f"{operation}: expected all tensors to be on the same device, found {DEVICE} and {CPU}")
    if operation is aten.copy_.default:
        away = isinstance(args[0], Away)
    target = torch.device(kwargs.get("device") or (DEVICE if away else CPU))
    inner_args, inner_kwargs = tree_map_only(Away, lambda t: t.inner, (args, kwargs))
    if "device" in kwargs:
        inner_kwargs["device"] = CPU
    result = operation(*inner_args, **inner_kwargs)
    if target.type == CPU.type:
        return args[0] if operation is aten.copy_.default else result
    result = tree_map_only(Tensor, Away, result)
    return return_and_correct_aliasing(operation, args, kwargs, result) if away else result
