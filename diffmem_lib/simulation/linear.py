"""Linear denoisers: fitted in closed form, sampled with DDPM or along the flow, held against what they should draw."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import _checks, _tensors
from ..schedules import NoiseSchedule

__all__ = [
    "LinearDenoiser",
    "denoising_loss",
    "disagreement",
    "fit_linear",
    "gaussian_divergences",
    "sample_ddpm",
    "sample_flow",
]


@dataclass(frozen=True, eq=False)
class LinearDenoiser:
    """The affine prediction of the noise ε in x_t = √ᾱ x + √(1−ᾱ) ε that has the least squared error on a law.

    The object is itself a denoiser, a callable of (x, sigma), which ``sample`` takes as it is.

    Parameters
    ----------
    mean : Tensor (..., d)
        Mean μ̂ of the law.
    covariance : Tensor (..., d, d)
        Its covariance Σ̂. Leading axes are replicas: so many denoisers at once.
    ridge : float
        c ≥ 0 of the penalty c ᾱ‖W‖² that is added to the squared error, for each component of ε.

    Raises
    ------
    ValueError
        If a field has the wrong shape or dtype, is not finite, the covariance is not symmetric and positive
        semi-definite, or ``ridge`` is negative.
    """

    mean: Tensor
    covariance: Tensor
    ridge: float = 0.0

    def __post_init__(self) -> None:
        *replicas, dim = _batched(self.mean, "mean", axes=1).shape
        _like(self.covariance, "covariance", self.mean, (*replicas, dim, dim))
        _check_positive(_tensors.symmetric(self.covariance, "covariance"))
        object.__setattr__(self, "ridge", _checks.number(self.ridge, "ridge", low=0))

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """x̂ = x − σ² [Σ̂ + c + σ²]⁻¹ (x − μ̂) for x = x⁰ + σz (..., m, d): the affine posterior mean of x⁰."""
        sigma = _tensors.noise_level(sigma)
        return x - sigma**2 * self._whitened(x, 1.0, sigma**2)

    def noise(self, x: Tensor, alpha_bar: float) -> Tensor:
        """ε̂ = √(1−ᾱ) [ᾱ(Σ̂ + c) + 1−ᾱ]⁻¹ (x − √ᾱ μ̂) for x (..., m, d), the normal equations solved as they stand."""
        alpha_bar = _alpha_bar(alpha_bar)
        return math.sqrt(1 - alpha_bar) * self._whitened(x, alpha_bar, 1 - alpha_bar)

    def _whitened(self, x: Tensor, signal: float, noise: float) -> Tensor:
        """[signal (Σ̂ + c) + noise]⁻¹ (x − √signal μ̂), the precision of the noised law times the deviation from it."""
        dim = self.mean.shape[-1]
        _tensors.floating(x, "x", shape=(*self.mean.shape[:-1], "m", dim))
        identity = torch.eye(dim, dtype=x.dtype, device=x.device)
        noised = signal * self.covariance + (signal * self.ridge + noise) * identity
        centred = x - math.sqrt(signal) * self.mean[..., None, :]
        return torch.linalg.solve(noised, centred.mT).mT


def fit_linear(training: Tensor, ridge: float = 0.0, mean: Tensor | None = None) -> LinearDenoiser:
    """The linear denoiser with the least squared error on ``training``, averaged over infinitely many draws of noise.

    Parameters
    ----------
    training : Tensor (..., n, d)
        Training points; leading axes are replicas.
    ridge : float
        c ≥ 0, as in :class:`LinearDenoiser`. Its covariance Σ̂ carries 1/n.
    mean : Tensor (d,), optional
        The mean, where it is known: it is not fitted, and Σ̂ is the second moment about it.

    Raises
    ------
    ValueError
        If ``training`` is not a finite floating tensor of at least two axes, ``ridge`` is negative, or ``mean`` is not
        a vector like the points.
    """
    *replicas, n, dim = _batched(training, "training", axes=2).shape
    if mean is None:
        centre = training.mean(-2)
    else:
        _like(mean, "mean", training, (dim,))
        centre = mean.expand(*replicas, dim)
    centred = training - centre[..., None, :]
    return LinearDenoiser(centre, centred.mT @ centred / n, ridge)


def gaussian_divergences(
    denoiser: LinearDenoiser, mean: Tensor | None = None, covariance: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Both Kullback–Leibler divergences between ρ = N(mean, covariance) and what the denoiser samples, total, in nats.

    The latter is ρ_n = N(μ̂, Σ̂ + cI). In the coordinates in which ρ is N(0, I) it becomes N(δ, W), and

    .. math::
        \mathrm{KL}(\rho_n\|\rho) = \tfrac12\left[\operatorname{Tr}W - d - \log\det W + |\delta|^2\right], \qquad
        \mathrm{KL}(\rho\|\rho_n)
        = \tfrac12\left[\operatorname{Tr}W^{-1} - d + \log\det W + \delta^\top W^{-1}\delta\right].

    Measured in *The d/N law* (chapters/dn_law.ipynb).

    Parameters
    ----------
    denoiser : LinearDenoiser
        One, or a batch of replicas.
    mean : Tensor (d,), optional
        Mean of ρ (default: 0).
    covariance : Tensor (d, d), optional
        Covariance of ρ, positive definite (default: the identity).

    Returns
    -------
    tuple of Tensor (...)
        Reverse KL(ρ_n‖ρ) and forward KL(ρ‖ρ_n), one entry a replica; both infinite where Σ̂ + cI is singular up to
        rounding.

    Raises
    ------
    ValueError
        If ``mean`` or ``covariance`` does not fit the denoiser, or ``covariance`` is not positive definite.
    """
    *_, dim = denoiser.mean.shape
    identity = torch.eye(dim, dtype=denoiser.mean.dtype, device=denoiser.mean.device)
    offset, learned = denoiser.mean, denoiser.covariance + denoiser.ridge * identity
    if mean is not None:
        offset = offset - _like(mean, "mean", offset, (dim,))
    if covariance is not None:
        root = _root(_like(covariance, "covariance", offset, (dim, dim)))
        learned = _unmixed(root, _unmixed(root, learned).mT)
        offset = _unmixed(root, offset[..., None])[..., 0]
    factor, failed = torch.linalg.cholesky_ex(learned)
    scales = factor.diagonal(dim1=-2, dim2=-1)
    rounding = dim * torch.finfo(scales.dtype).eps
    singular = (failed != 0) | ((scales**2).amin(-1) <= rounding * (scales**2).amax(-1))
    factor = torch.where(singular[..., None, None], identity, factor)
    log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    trace, inverse = learned.diagonal(dim1=-2, dim2=-1).sum(-1), _unmixed(factor, identity)
    near, far = (offset**2).sum(-1), ((inverse @ offset[..., None]) ** 2).sum((-2, -1))
    reverse = (trace - dim - log_det + near) / 2
    forward = ((inverse**2).sum((-2, -1)) - dim + log_det + far) / 2
    return reverse.masked_fill(singular, math.inf), forward.masked_fill(singular, math.inf)


def denoising_loss(denoiser: LinearDenoiser, alpha_bar: float, mean: Tensor, covariance: Tensor) -> Tensor:
    r"""Squared error of the predicted noise per dimension, on data with this mean and covariance.

    The mean over data x and noise ε is taken exactly: the prediction is affine, ε̂ = W(√ᾱ x + √(1−ᾱ) ε) + b, so that

    .. math:: \tfrac1d\,\mathbb E|\hat\varepsilon - \varepsilon|^2
              = \tfrac1d\left[\|\sqrt{1-\bar\alpha}\,W - 1\|^2 + \bar\alpha\operatorname{Tr}W\Sigma W^\top
              + |W\sqrt{\bar\alpha}\,\mu + b|^2\right],

    and W and b are read off the denoiser's answers. With ``denoiser.mean`` and ``denoiser.covariance`` it is the loss
    on the training set. Measured in *Fewer samples than dimensions* (chapters/fewer_samples.ipynb).

    Parameters
    ----------
    denoiser : LinearDenoiser
        One, or a batch of replicas (...).
    alpha_bar : float
        Signal's share of the variance, in (0, 1).
    mean : Tensor (d,) or (..., d)
        Mean of the data, for all replicas or for each.
    covariance : Tensor (d, d) or (..., d, d)
        Covariance of the data, likewise.

    Returns
    -------
    Tensor (...)

    Raises
    ------
    ValueError
        If ``mean`` or ``covariance`` does not fit the denoiser, or ``alpha_bar`` is out of its range.
    """
    mean, covariance = _law(mean, covariance, denoiser)
    matrix, offset = _affine(denoiser, alpha_bar)
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    let_through = ((math.sqrt(1 - alpha_bar) * matrix - identity) ** 2).sum((-2, -1))
    return (let_through + _mean_square(matrix, offset, mean, covariance, alpha_bar)) / len(identity)


def disagreement(
    first: LinearDenoiser, second: LinearDenoiser, alpha_bar: float, mean: Tensor, covariance: Tensor
) -> Tensor:
    """Mean squared difference per dimension of the noise that two denoisers predict, on noised data.

    The mean over data, with this mean and covariance, and over noise is taken exactly, as in :func:`denoising_loss`.

    Parameters
    ----------
    first, second : LinearDenoiser
        Two, or two batches of as many replicas (...), which are compared in pairs.
    alpha_bar, mean, covariance
        As in :func:`denoising_loss`.

    Returns
    -------
    Tensor (...)

    Raises
    ------
    ValueError
        If the denoisers do not match, ``mean`` or ``covariance`` does not fit them, or ``alpha_bar`` is out of its
        range.
    """
    mean, covariance = _law(mean, covariance, first, "first")
    if not isinstance(second, LinearDenoiser):
        raise ValueError(f"second must be a LinearDenoiser, got {second!r}")
    _like(second.mean, "mean of second", first.mean, tuple(first.mean.shape))
    (matrix, offset), (other, other_offset) = _affine(first, alpha_bar), _affine(second, alpha_bar)
    apart = matrix - other
    squared = _mean_square(apart, offset - other_offset, mean, covariance, alpha_bar)
    return (squared + (1 - alpha_bar) * (apart**2).sum((-2, -1))) / mean.shape[-1]


@torch.no_grad()
def sample_ddpm(
    denoiser: LinearDenoiser,
    n: int,
    schedule: NoiseSchedule,
    generator: torch.Generator | None = None,
    *,
    eigenbasis: bool = True,
    last_noise: bool = True,
    step_variance: str = "beta",
) -> Tensor:
    """``n`` points (n, d) from the DDPM sampler of Ho et al. (2020), started from N(0, I).

    Every step is x_{t−1} = (x_t − β_t ε̂/√(1−ᾱ_t))/√(1−β_t) + √s_t z with s_t = β_t, or the variance of the posterior of
    x_{t−1} given x_t and the data, β_t(1−ᾱ_{t−1})/(1−ᾱ_t). These are the two that Ho et al. name.

    Parameters
    ----------
    denoiser : LinearDenoiser
        One of them, without replicas.
    n : int
        Number of points.
    schedule : NoiseSchedule
        Its T steps, such as :func:`~diffmem_lib.schedules.linear_schedule` returns.
    generator : torch.Generator, optional
        Source of all randomness, on the denoiser's device.
    eigenbasis : bool
        Run all steps on the coordinates along the eigenvectors of Σ̂, where they do not mix: the same law, without a
        matrix product at each step. Otherwise densely, with :meth:`LinearDenoiser.noise`.
    last_noise : bool
        Whether the last step, from t = 1 to the data, adds its noise too, if it has any. (Ho et al. leave it out.)
    step_variance : {"beta", "posterior"}
        s_t, as above; that of the posterior vanishes in the last step.

    Raises
    ------
    ValueError
        If an argument is not as said above.
    """
    n = _single(denoiser, n, schedule)
    if step_variance not in ("beta", "posterior"):
        raise ValueError(f"step_variance must be 'beta' or 'posterior', got {step_variance!r}")
    generator = _tensors.generator(generator, denoiser.mean.device)
    added = _step_variances(schedule, step_variance, last_noise)
    if not eigenbasis:
        return _run(denoiser.noise, denoiser.mean, n, schedule, generator, added)
    variances, axes = torch.linalg.eigh(denoiser.covariance)
    mean = denoiser.mean @ axes

    def noise(x: Tensor, alpha_bar: float) -> Tensor:
        gain = math.sqrt(1 - alpha_bar) / (alpha_bar * (variances + denoiser.ridge) + 1 - alpha_bar)
        return gain * (x - math.sqrt(alpha_bar) * mean)

    return _run(noise, mean, n, schedule, generator, added) @ axes.T


@torch.no_grad()
def sample_flow(
    denoiser: LinearDenoiser, n: int, schedule: NoiseSchedule, generator: torch.Generator | None = None
) -> Tensor:
    """``n`` points (n, d) from the probability flow of Song et al. (2021), started from N(0, I).

    In the coordinate x_t/√ᾱ_t it is dx/dσ = ε̂; Heun's method (order 2) follows it through the noise levels of the
    schedule, and a last step of order 1 leads from the smallest of them to 0.

    Parameters
    ----------
    denoiser, n, generator
        As in :func:`sample_ddpm`.
    schedule : NoiseSchedule
        Its noise levels; ᾱ_T is where the flow starts.

    Raises
    ------
    ValueError
        If an argument is not as said above.
    """
    n = _single(denoiser, n, schedule)
    mean = denoiser.mean
    generator = _tensors.generator(generator, mean.device)

    def slope(x: Tensor, sigma: float) -> Tensor:
        return denoiser.noise(x / math.sqrt(1 + sigma**2), 1 / (1 + sigma**2))

    levels = schedule.sigmas.flip(0).tolist()
    x = torch.randn((n, len(mean)), generator=generator, dtype=mean.dtype, device=mean.device)
    x = x * math.sqrt(1 + levels[0] ** 2)
    for sigma, lower in itertools.pairwise(levels):
        first = slope(x, sigma)
        x = x + (lower - sigma) / 2 * (first + slope(x + (lower - sigma) * first, lower))
    return x - levels[-1] * slope(x, levels[-1])


def _run(
    noise: Callable[[Tensor, float], Tensor],
    like: Tensor,
    n: int,
    schedule: NoiseSchedule,
    generator: torch.Generator | None,
    added: list[float],
) -> Tensor:
    """All steps of the sampler, with noise of the variances ``added``; dimension, dtype and device are ``like``'s."""

    def draw() -> Tensor:
        return torch.randn((n, len(like)), generator=generator, dtype=like.dtype, device=like.device)

    levels = zip(schedule.betas.tolist(), schedule.alphas_bar.tolist(), strict=True)
    x = draw()
    for step, (beta, alpha_bar) in reversed(list(enumerate(levels))):
        x = (x - beta / math.sqrt(1 - alpha_bar) * noise(x, alpha_bar)) / math.sqrt(1 - beta)
        if added[step] > 0:
            x = x + math.sqrt(added[step]) * draw()
    return x


def _step_variances(schedule: NoiseSchedule, step_variance: str, last_noise: bool) -> list[float]:
    """The variance of the noise that leads to the data, to t = 1, …, to t = T − 1."""
    added = schedule.betas.clone()
    if step_variance == "posterior":
        noises = schedule.alphas_bar * schedule.sigmas**2  # 1 − ᾱ with all its digits
        added[1:] *= noises[:-1] / noises[1:]
    if step_variance == "posterior" or not last_noise:
        added[0] = 0
    return added.tolist()


def _single(denoiser: Any, n: Any, schedule: Any) -> int:
    """Number of points of a sampler, for one denoiser and a schedule that begins with some noise."""
    if not isinstance(denoiser, LinearDenoiser) or denoiser.mean.ndim != 1:
        raise ValueError(f"denoiser must be a single LinearDenoiser without replicas, got {denoiser!r}")
    if not isinstance(schedule, NoiseSchedule):
        raise ValueError(f"schedule must be a NoiseSchedule, got {schedule!r}")
    if schedule.alphas_bar[0] == 1:
        raise ValueError(f"schedule must leave 1 − ᾱ above zero, got a first β of {float(schedule.betas[0]):g}")
    return _checks.integer(n, "n", low=1)


def _affine(denoiser: LinearDenoiser, alpha_bar: float) -> tuple[Tensor, Tensor]:
    """W (..., d, d) and b (..., d) of the denoiser's answer W x_t + b, from its answers at the axes and at 0."""
    *replicas, dim = denoiser.mean.shape
    corners = torch.eye(dim + 1, dim, dtype=denoiser.mean.dtype, device=denoiser.mean.device)
    answers = denoiser.noise(corners.expand(*replicas, dim + 1, dim), alpha_bar)
    offset = answers[..., -1, :]
    return (answers[..., :-1, :] - offset[..., None, :]).mT, offset


def _mean_square(matrix: Tensor, offset: Tensor, mean: Tensor, covariance: Tensor, alpha_bar: float) -> Tensor:
    """Mean of |W√ᾱ x + b|² over data x."""
    centre = math.sqrt(alpha_bar) * (matrix @ mean[..., None])[..., 0] + offset
    return (centre**2).sum(-1) + alpha_bar * (matrix @ covariance * matrix).sum((-2, -1))


def _law(mean: Any, covariance: Any, denoiser: Any, name: str = "denoiser") -> tuple[Tensor, Tensor]:
    """Mean and covariance of data like the denoiser's, for all replicas or for each."""
    if not isinstance(denoiser, LinearDenoiser):
        raise ValueError(f"{name} must be a LinearDenoiser, got {denoiser!r}")
    shape = tuple(denoiser.mean.shape)
    mean = _like(mean, "mean", denoiser.mean, shape if getattr(mean, "ndim", 1) > 1 else shape[-1:])
    wanted = (*shape, shape[-1]) if getattr(covariance, "ndim", 2) > 2 else (shape[-1], shape[-1])
    return mean, _tensors.symmetric(_like(covariance, "covariance", denoiser.mean, wanted), "covariance")


def _unmixed(lower: Tensor, vectors: Tensor) -> Tensor:
    """lower⁻¹ vectors for a lower triangular matrix."""
    return torch.linalg.solve_triangular(lower, vectors, upper=False)


def _root(covariance: Tensor) -> Tensor:
    """The Cholesky factor (d, d) of a covariance that must have one."""
    factor, failed = torch.linalg.cholesky_ex(_tensors.symmetric(covariance, "covariance"))
    if failed:
        raise ValueError("covariance must be positive definite, got one with an eigenvalue that is not positive")
    return factor


def _like(value: Any, name: str, reference: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``value`` as a tensor of this shape with the dtype and device of ``reference``."""
    _tensors.floating(value, name, shape=shape, device=reference.device)
    if value.dtype != reference.dtype:
        raise ValueError(f"{name} must be {reference.dtype} as the points are, got {value.dtype}")
    return value


def _check_positive(covariance: Tensor) -> None:
    """Refuse what is not positive semi-definite up to rounding, by a Cholesky factor: eigenvalues would take longer."""
    dim, dtype = covariance.shape[-1], covariance.dtype
    margin = _tensors.ROUNDING[dtype] * dim * covariance.abs().amax((-2, -1), keepdim=True) + torch.finfo(dtype).tiny
    raised = covariance + margin * torch.eye(dim, dtype=dtype, device=covariance.device)
    if torch.linalg.cholesky_ex(raised).info.any():
        raise ValueError("covariance must be positive semi-definite, got one with a negative eigenvalue")


def _alpha_bar(value: Any) -> float:
    return _checks.number(value, "alpha_bar", low=0, high=1, low_open=True, high_open=True)


def _batched(value: Any, name: str, *, axes: int) -> Tensor:
    """``value`` as a floating tensor of at least so many axes, the leading ones being replicas."""
    replicas = value.ndim - axes if isinstance(value, Tensor) and value.ndim >= axes else 0
    letters = ("r",) * replicas + ("n", "d")[-axes:]
    return _tensors.floating(value, name, shape=letters)
