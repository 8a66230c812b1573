"""The mixed cumulant model: one spike each in the mean, the covariance and the fourth (or third) cumulant."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import scipy.integrate
import scipy.special
import torch
from torch import Tensor

from .. import _checks, _tensors
from .laws import Gaussian

__all__ = ["MixedCumulant"]

_THREE_POINT_WEIGHT = 0.01
_STUDENT_DEGREES = 5


class MixedCumulant:
    r"""A Gaussian bulk with three planted directions, of which one is invisible to mean and covariance.

    .. math::

        x = S\,(z + \sqrt{\beta_v}\,\nu\,v) + \sqrt{\beta_u}\,\lambda\,u + \sqrt{\beta_m}\,m,
        \qquad S = I - \Bigl(1 - \frac{1}{\sqrt{1+\beta_v}}\Bigr)\,v v^\top,

    with z and λ standard Gaussian and ν non-Gaussian of mean 0 and variance 1.
    The whitening S leaves v with variance 1, so that only cumulants of order three and higher show it:
    the k-th cumulant of x·v is :math:`\kappa_k(\nu)\,(\beta_v/(1+\beta_v))^{k/2}` for k ≥ 3.
    Derived in *The mixed cumulant model* (chapters/mixed_cumulant.ipynb).

    Parameters
    ----------
    dim : int
        Dimension d, at least 3: v, u and m are the first three coordinate axes, in this order.
    covariance_snr, cumulant_snr, mean_snr : float
        The signal-to-noise ratios β_u, β_v, β_m, non-negative.
    latent : str
        Law of ν: ``rademacher`` (±1), ``three_point`` (±√50 with probability .01 each, else 0), ``student_t``
        (5 degrees of freedom, scaled to variance 1) or ``skewed`` (√2 with probability 1/3, else −1/√2).
    correlated : bool
        Whether ν is a function of λ, the monotone quantile transform: rising for the symmetric laws,
        falling for the skewed one (√2 where λ < −.4307). Otherwise ν and λ are independent.

    Attributes
    ----------
    dim, covariance_snr, cumulant_snr, mean_snr, latent, correlated
        As given.

    Raises
    ------
    ValueError
        If ``dim`` is below 3, a ratio is negative or not finite, or ``latent`` is not one of the four.
    """

    def __init__(
        self,
        dim: int,
        covariance_snr: float = 0.0,
        cumulant_snr: float = 0.0,
        mean_snr: float = 0.0,
        latent: str = "rademacher",
        correlated: bool = False,
    ) -> None:
        self.dim = _checks.integer(dim, "dim", low=3)
        self.covariance_snr = _checks.number(covariance_snr, "covariance_snr", low=0)
        self.cumulant_snr = _checks.number(cumulant_snr, "cumulant_snr", low=0)
        self.mean_snr = _checks.number(mean_snr, "mean_snr", low=0)
        if not isinstance(latent, str) or latent not in _TRANSFORMS:
            raise ValueError(f"latent must be one of {', '.join(_TRANSFORMS)}, got {latent!r}")
        if not isinstance(correlated, bool):
            raise ValueError(f"correlated must be True or False, got {correlated!r}")
        self.latent = latent
        self.correlated = correlated

    def __repr__(self) -> str:
        return (
            f"MixedCumulant(dim={self.dim}, covariance_snr={self.covariance_snr:g}, "
            f"cumulant_snr={self.cumulant_snr:g}, mean_snr={self.mean_snr:g}, "
            f"latent={self.latent!r}, correlated={self.correlated})"
        )

    @property
    def spikes(self) -> dict[str, Tensor]:
        """The planted unit vectors (d,), float64: ``cumulant`` v, ``covariance`` u and ``mean`` m."""
        axes = torch.eye(3, self.dim, dtype=torch.float64, device="cpu")
        return dict(zip(("cumulant", "covariance", "mean"), axes, strict=True))

    def latents(
        self, n: int, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64
    ) -> tuple[Tensor, Tensor]:
        """n draws of the latents (ν, λ), each (n,), on the generator's device; ``dtype`` as in :meth:`sample`."""
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float64 or torch.float32, got {dtype}")
        n = _checks.integer(n, "n", low=1)
        generator = _tensors.generator(generator)
        device = torch.device("cpu") if generator is None else generator.device
        gaussian = torch.randn(n, dtype=dtype, device=device, generator=generator)
        if self.correlated:
            return _TRANSFORMS[self.latent](gaussian), gaussian
        other = torch.randn(n, dtype=dtype, device=device, generator=generator)
        return _TRANSFORMS[self.latent](other), gaussian

    def sample(self, n: int, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64) -> Tensor:
        """n independent draws (n, d) on the generator's device; ``dtype`` float64, or float32 to stream faster."""
        nu, lam = self.latents(n, generator, dtype)
        x = torch.randn(n, self.dim, dtype=dtype, device=nu.device, generator=generator)
        x[:, 0] = (x[:, 0] + math.sqrt(self.cumulant_snr) * nu) / math.sqrt(1 + self.cumulant_snr)
        x[:, 1] += math.sqrt(self.covariance_snr) * lam
        x[:, 2] += math.sqrt(self.mean_snr)
        return x

    def mean_clone(self) -> Gaussian:
        r"""The :class:`Gaussian` with the model's exact mean and the covariance of the bulk: what averages know of it.

        The mean is :math:`\sqrt{\beta_m}\,m`, the covariance I.
        """
        return Gaussian(self._mean(), torch.eye(self.dim, dtype=torch.float64, device="cpu"))

    def gaussian_clone(self) -> Gaussian:
        r"""The :class:`Gaussian` with the model's exact mean and covariance: what pairwise statistics know of it.

        The mean is :math:`\sqrt{\beta_m}\,m`, the covariance :math:`I + \beta_u u u^\top`, and with correlated latents
        also :math:`\sqrt{\beta_u \beta_v/(1+\beta_v)}\;E[\lambda\nu]\,(u v^\top + v u^\top)`.
        """
        covariance = torch.eye(self.dim, dtype=torch.float64, device="cpu")
        covariance[1, 1] += self.covariance_snr
        if self.correlated:
            signal = math.sqrt(self.cumulant_snr / (1 + self.cumulant_snr)) * math.sqrt(self.covariance_snr)
            covariance[0, 1] = covariance[1, 0] = signal * _latent_correlation(self.latent)
        return Gaussian(self._mean(), covariance)

    def _mean(self) -> Tensor:
        mean = torch.zeros(self.dim, dtype=torch.float64, device="cpu")
        mean[2] = math.sqrt(self.mean_snr)
        return mean


def _gaussian_quantile(probability: float) -> float:
    return float(scipy.special.ndtri(probability))


def _rademacher(gaussian: Tensor) -> Tensor:
    return torch.where(gaussian >= 0, torch.ones_like(gaussian), -torch.ones_like(gaussian))


def _three_point(gaussian: Tensor) -> Tensor:
    outer = gaussian.abs() > _gaussian_quantile(1 - _THREE_POINT_WEIGHT)
    return outer * gaussian.sign() / math.sqrt(2 * _THREE_POINT_WEIGHT)


def _student_t(gaussian: Tensor) -> Tensor:
    # From the lower tail on both sides: 1 − Φ(λ) would round to zero where the tail is longest.
    tail = scipy.special.ndtr(-gaussian.abs().cpu().numpy())
    quantile = -scipy.special.stdtrit(_STUDENT_DEGREES, tail) * math.sqrt((_STUDENT_DEGREES - 2) / _STUDENT_DEGREES)
    return gaussian.sign() * torch.from_numpy(np.asarray(quantile)).to(gaussian)


def _skewed(gaussian: Tensor) -> Tensor:
    low, high = gaussian.new_full((), -math.sqrt(0.5)), gaussian.new_full((), math.sqrt(2))
    return torch.where(gaussian < _gaussian_quantile(1 / 3), high, low)


#: From a standard Gaussian to ν. Used with λ itself, or with an independent Gaussian.
_TRANSFORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "rademacher": _rademacher,
    "three_point": _three_point,
    "student_t": _student_t,
    "skewed": _skewed,
}


@functools.cache
def _latent_correlation(latent: str) -> float:
    """E[λν] of the correlated latents: each step of height h at λ = q contributes h φ(q) (Stein)."""
    density = 1 / math.sqrt(2 * math.pi)
    if latent == "rademacher":
        return 2 * density
    if latent == "three_point":
        quantile = _gaussian_quantile(1 - _THREE_POINT_WEIGHT)
        return 2 * density * math.exp(-(quantile**2) / 2) / math.sqrt(2 * _THREE_POINT_WEIGHT)
    if latent == "skewed":
        return -density * math.exp(-(_gaussian_quantile(1 / 3) ** 2) / 2) * (math.sqrt(2) + math.sqrt(0.5))

    def integrand(gaussian: float) -> float:
        nu = float(_student_t(torch.tensor(gaussian, dtype=torch.float64, device="cpu")))
        return 2 * gaussian * nu * density * math.exp(-(gaussian**2) / 2)

    return scipy.integrate.quad(integrand, 0, 12, epsabs=1e-14, epsrel=1e-13)[0]
