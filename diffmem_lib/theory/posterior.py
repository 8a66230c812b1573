"""The posterior over a training set at large noise; derived in *The perfect denoiser memorizes*."""

from __future__ import annotations

from diffmem_lib import _checks

__all__ = ["participation_ratio"]


def participation_ratio(n: int, total_variance: float, sigma: float) -> float:
    r"""Number of training points that share the posterior of a noised training point, at large noise.

    .. math:: \mathrm{PR} \simeq \frac{n}{1 + \operatorname{Tr}\hat\Sigma / \sigma^2},

    the inverse of the mean of :math:`\sum_i w_i^2` over the noise, up to a relative error of order
    :math:`\sigma^{-4}`. Own derivation, in *The perfect denoiser memorizes* (chapters/perfect_denoiser.ipynb).

    Parameters
    ----------
    n
        Number of training points, at least 1.
    total_variance
        Trace of their covariance (with 1/n): their mean squared distance to their mean, non-negative.
    sigma
        Noise level, a standard deviation, positive.

    Raises
    ------
    ValueError
        If an argument is out of its range or not finite.
    """
    n = _checks.integer(n, "n", low=1)
    total_variance = _checks.number(total_variance, "total_variance", low=0)
    sigma = _checks.number(sigma, "sigma", low=0, low_open=True)
    return n / (1 + total_variance / sigma**2)
