"""Who owns a noised training point: its weight in the exact denoiser against that of all others together.

Chapters: *Local coverage*, *How sharp is the transition?*, *Speciation and collapse*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from .. import _checks, _tensors
from .denoiser import EmpiricalDenoiser

__all__ = ["crossing_sigma", "half_owned_sigma", "log_odds", "noised_points", "owned_fraction"]


def noised_points(
    training: Tensor, sigma: float, m: int, generator: torch.Generator | None = None, among: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Draw m training points with replacement, and noise them: y = x + σz.

    Parameters
    ----------
    training : Tensor, (n, d)
    sigma : float
        Noise level, positive.
    m : int
        How many.
    generator : torch.Generator, optional
    among : Tensor, (k,), optional
        Indices of the training points to draw from, int64; all without it.

    Returns
    -------
    index : Tensor, (m,)
        Which training points were drawn.
    y : Tensor, (m, d)
        Their noised copies, in the dtype of ``training``.

    Raises
    ------
    ValueError
        If ``training`` is not a finite floating-point tensor with two axes, ``sigma`` not a positive number, m < 1, or
        ``among`` holds no index or one that is none of a training point.
    """
    training = _tensors.floating(training, "training", shape=("n", "d"))
    sigma, m = _tensors.noise_level(sigma), _checks.integer(m, "m", low=1)
    if among is not None:
        _indices(among, "among", len(training))
    drawn_from = len(training) if among is None else len(among)
    index = torch.randint(drawn_from, (m,), generator=generator, device=training.device)
    index = index if among is None else among[index]
    x = training[index]
    return index, x + sigma * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


@torch.no_grad()
def log_odds(denoiser: EmpiricalDenoiser, index: Tensor, y: Tensor, sigma: float) -> Tensor:
    r"""Logarithm of the weight of training point x over that of all others, :math:`\log(w/(1-w))`.

    Positive: x owns y. Up to 15 nats it is accurate to 1e-2, and to 1e-7 around zero; beyond 20 it says no more than
    that the others weigh nothing.

    Parameters
    ----------
    denoiser
        Of n training points, at least 2.
    index : Tensor, (m,)
        The training point of each query.
    y : Tensor, (m, d)
        The queries.
    sigma : float
        Noise level, positive.

    Returns
    -------
    Tensor, (m,), float64

    Raises
    ------
    ValueError
        If ``y`` or ``sigma`` do not suit the denoiser, or ``index`` is not one integer per query.
    """
    n, dim = _tensors.floating(denoiser.training, "training", shape=("n", "d")).shape
    _checks.integer(n, "number of training points", low=2)
    y, sigma = _tensors.floating(y, "y", shape=("m", dim)), _tensors.noise_level(sigma)
    _indices(index, "index", n, len(y))
    total = denoiser.log_density(y, sigma) + math.log(n) + dim / 2 * math.log(2 * math.pi) + dim * math.log(sigma)
    own = -(y - denoiser.training[index]).to(torch.float64).square().sum(1) / (2 * sigma**2)
    return own - total - torch.log(-torch.expm1((own - total).clamp(max=-1e-10)))


def owned_fraction(
    denoiser: EmpiricalDenoiser,
    sigma: float,
    m: int,
    generator: torch.Generator | None = None,
    among: Tensor | None = None,
) -> float:
    r"""Share of m noised training points whose own point outweighs all others together, :math:`w > 1/2`.

    Parameters
    ----------
    denoiser
        Of n training points, at least 2.
    sigma, m, generator, among
        As in :func:`noised_points`.

    Raises
    ------
    ValueError
        As in :func:`noised_points` and :func:`log_odds`.
    """
    index, y = noised_points(denoiser.training, sigma, m, generator, among)
    return float((log_odds(denoiser, index, y, sigma) > 0).double().mean())


def half_owned_sigma(
    denoiser: EmpiricalDenoiser, sigmas: Sequence[float], m: int, generator: torch.Generator | None = None
) -> float:
    r"""Noise level at which half of the noised training points are owned.

    The probits :math:`\Phi^{-1}` of the owned fractions, cut at .01 and .99, are fitted by a parabola in
    :math:`\log\sigma`; it is its root where it falls.

    Parameters
    ----------
    denoiser
        Of n training points, at least 2.
    sigmas
        At least three noise levels about the one that is looked for.
    m : int
        Noised points at each level.
    generator : torch.Generator, optional

    Raises
    ------
    ValueError
        If there are fewer than three levels or one is not positive, m < 1, or the parabola does not fall through one
        half.
    """
    levels = _checks.array(sigmas, "sigmas", ndim=1)
    if len(levels) < 3 or levels.min() <= 0:
        raise ValueError(f"sigmas must be at least three positive noise levels, got {levels}")
    shares = np.array([owned_fraction(denoiser, sigma, m, generator) for sigma in levels])
    probits = torch.special.ndtri(torch.tensor(shares.clip(0.01, 0.99))).numpy()
    logs = np.log(levels)
    c2, c1, c0 = np.polyfit(logs - logs.mean(), probits, 2)
    discriminant = c1**2 - 4 * c0 * c2
    if not (c1 < 0 <= discriminant):
        raise ValueError(f"sigmas must be levels about which the owned fraction falls through 1/2, got {shares}")
    return float(np.exp(logs.mean() + 2 * c0 / (math.sqrt(discriminant) - c1)))


def crossing_sigma(sigmas: Sequence[float], values: Sequence[float], at: float = 0.0) -> float:
    r"""Noise level at which ``values``, falling along rising ``sigmas``, pass ``at``: linear in :math:`\log\sigma`.

    Values of a simulation wiggle. Those that pass ``at`` more than once are replaced by the nearest ones that nowhere
    rise, in least squares (isotonic regression), which pass it once; wiggles elsewhere do not matter. Where they are
    at it on several levels, it is the middle of these.

    Raises
    ------
    ValueError
        If both are not equally many finite numbers, ``sigmas`` are not positive and rising, or ``values`` do not fall
        through ``at`` within them.
    """
    levels, heights = _checks.array(sigmas, "sigmas", ndim=1), _checks.array(values, "values", ndim=1)
    if len(levels) != len(heights):
        raise ValueError(f"values must be {len(levels)} numbers, one for each of sigmas, got {len(heights)}")
    if levels[0] <= 0 or (np.diff(levels) <= 0).any():
        raise ValueError(f"sigmas must be positive and rise, got {levels}")
    at = _checks.number(at, "at")
    if max(np.count_nonzero(np.diff(side)) for side in (heights > at, heights >= at)) > 1:
        heights = isotonic_regression(heights, increasing=False).x
    there, logs = np.flatnonzero(heights == at), np.log(levels)
    at_an_end = len(there) > 1 and (heights[0] == at or heights[-1] == at)
    if not heights[0] >= at >= heights[-1] or at_an_end:
        raise ValueError(f"values must fall through {at} within the noise levels, got {values}")
    if len(there):
        return float(np.exp((logs[there[0]] + logs[there[-1]]) / 2))
    # Above and below are all that tells where the crossing is, so that wiggles elsewhere do not mislead the search.
    k = int(np.argmin(heights > at))
    return float(np.exp(np.interp(-at, -heights[k - 1 : k + 1], logs[k - 1 : k + 1])))


def _indices(value: Tensor, name: str, n: int, length: int | None = None) -> None:
    """Refuse what is not ``length`` (at least one) int64 indices of n training points."""
    wanted = f"{length} integers" if length else "integers"
    sound = isinstance(value, Tensor) and value.ndim == 1 and value.dtype == torch.int64 and len(value) > 0
    if not sound or len(value) != (length or len(value)) or int(value.min()) < 0 or int(value.max()) >= n:
        got = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else _checks.shown(value)
        raise ValueError(f"{name} must be {wanted} from 0 to {n - 1}, got {got}")
