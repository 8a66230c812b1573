r"""The derivatives of the empirical law, which torch's autograd and ``torch.func`` are given instead of its operations.

.. math:: \nabla \log\hat p_σ = s, \qquad \nabla\hat x = C/σ^2, \qquad \nabla s = (C/σ^2 - 1)/σ^2

with the score s, the posterior mean x̂ and the posterior covariance C, which is symmetric. They are there forward,
backward and under ``vmap``; third derivatives, and those by sigma, are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

__all__ = ["CovarianceProduct", "LogDensity", "PosteriorMean", "Score"]


class _OfLaw(Function):
    """A function of x (m, d), of a noise level and of an `EmpiricalDenoiser`, computed for each row by itself."""

    pulled: ClassVar[Callable[..., Tensor]]
    pushed: ClassVar[Callable[..., Tensor]]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, ctx.sigma, ctx.law = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @classmethod
    def backward(cls, ctx: Any, cotangent: Tensor) -> tuple[Tensor, None, None]:
        if ctx.needs_input_grad[1]:
            raise _refused("derivative by sigma")
        return cls.pulled(cotangent, ctx.saved_tensors[0], ctx.sigma, ctx.law), None, None

    @classmethod
    def jvp(cls, ctx: Any, tangent: Tensor | None, sigma_tangent: Any = None, _: None = None) -> Tensor:
        if sigma_tangent is not None:
            raise _refused("derivative by sigma")
        with forward_ad._set_fwd_grad_enabled(True):  # torch turns it off in here, and jvp of jvp would be zero
            return cls.pushed(tangent, forward_ad.unpack_dual(ctx.saved_tensors[0]).primal, ctx.sigma, ctx.law)

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple, x: Tensor, sigma: Any, law: Any) -> tuple[Tensor, int]:
        if in_dims[1] is not None:
            raise _refused("vmap over sigma")
        flat = x.movedim(in_dims[0], 0)
        return cls.apply(flat.flatten(0, 1), sigma, law).unflatten(0, flat.shape[:2]), 0


class LogDensity(_OfLaw):
    """log p̂_σ(x), (m,)."""

    @staticmethod
    def forward(x: Tensor, sigma: Any, law: Any) -> Tensor:
        return law._log_density(x, sigma)

    @staticmethod
    def pulled(cotangent: Tensor, x: Tensor, sigma: Any, law: Any) -> Tensor:
        return (cotangent[:, None] * Score.apply(x, sigma, law)).to(x.dtype)

    @staticmethod
    def pushed(tangent: Tensor, x: Tensor, sigma: Any, law: Any) -> Tensor:
        return (tangent * Score.apply(x, sigma, law)).sum(1).to(torch.float64)


class PosteriorMean(_OfLaw):
    """x̂ (m, d)."""

    @staticmethod
    def forward(x: Tensor, sigma: Any, law: Any) -> Tensor:
        return law._denoise(x, sigma)

    @staticmethod
    def pulled(v: Tensor, x: Tensor, sigma: Any, law: Any) -> Tensor:
        return CovarianceProduct.apply(x, v, sigma, law) / sigma**2

    pushed = pulled


class Score(_OfLaw):
    """s (m, d)."""

    @staticmethod
    def forward(x: Tensor, sigma: Any, law: Any) -> Tensor:
        return law._score(x, sigma)

    @staticmethod
    def pulled(v: Tensor, x: Tensor, sigma: Any, law: Any) -> Tensor:
        return (CovarianceProduct.apply(x, v, sigma, law) / sigma**2 - v) / sigma**2

    pushed = pulled


class CovarianceProduct(Function):
    """C v (m, d), the posterior covariance at each row of x times that row of v; it can be differentiated by v."""

    @staticmethod
    def forward(x: Tensor, v: Tensor, sigma: Any, law: Any) -> Tensor:
        return law._covariance_product(x, v, sigma)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, _, ctx.sigma, ctx.law = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[None, Tensor, None, None]:
        if ctx.needs_input_grad[0]:
            raise _refused("third derivative")
        return None, CovarianceProduct.apply(ctx.saved_tensors[0], cotangent, ctx.sigma, ctx.law), None, None

    @staticmethod
    def jvp(ctx: Any, moved: Tensor | None, tangent: Tensor | None, *others: None) -> Tensor:
        if moved is not None:
            raise _refused("third derivative")
        return CovarianceProduct.apply(ctx.saved_tensors[0], tangent, ctx.sigma, ctx.law)

    @staticmethod
    def vmap(info: Any, in_dims: tuple, x: Tensor, v: Tensor, sigma: Any, law: Any) -> tuple[Tensor, int]:
        x, v = (
            part.expand(info.batch_size, *part.shape) if axis is None else part.movedim(axis, 0)
            for part, axis in ((x, in_dims[0]), (v, in_dims[1]))
        )
        return CovarianceProduct.apply(x.flatten(0, 1), v.flatten(0, 1), sigma, law).unflatten(0, x.shape[:2]), 0


def _refused(what: str) -> NotImplementedError:
    return NotImplementedError(f"EmpiricalDenoiser has no {what}, but two derivatives by x")
