r"""What a line cannot know: how far the best linear denoiser is from the best one, and what that sums up to.

If a denoiser is the posterior mean for a law q and the data have the law p, its loss exceeds the best one by
:math:`\mathbb E|D_q - D_p|^2`, and over all noise levels this sums up to their divergence (Verdú 2010): with the laws
as they are after noise s,

.. math:: \mathrm{KL}(p_s\|q_s) = \int_s^\infty \mathbb E|D_q - D_p|^2\,\frac{d\sigma}{\sigma^3}.

For the Gaussian q with the mean and covariance of p, whose denoiser is the best linear one, both sides are known in
closed form where p has two equal Gaussian clusters; and of a line fitted to n points, how many directions it doubts.
Derived in *Linear and nonlinear denoisers* (chapters/linear_and_nonlinear.ipynb).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, roots_legendre

from diffmem_lib import _checks

__all__ = ["cluster_divergence", "cluster_gain", "doubtful_directions"]


def cluster_gain(centre: Any, eigenvalues: Any, sigma: float) -> float:
    r"""Loss of the best linear denoiser less the best loss, in all, for two equal clusters N(±μ, diag λ).

    .. math::
        \sigma^4\sum_j\frac{\mu_j^2}{(\lambda_j+\sigma^2)^2}
        \left[\frac1{1+r} - \mathbb E\frac2{1+e^{2u}}\right],
        \qquad r = \sum_j\frac{\mu_j^2}{\lambda_j+\sigma^2},

    with u ~ N(r, r).

    Parameters
    ----------
    centre
        μ in the eigenbasis of a cluster's covariance, (d,).
    eigenvalues
        λ of a cluster's covariance, (d,), non-negative.
    sigma
        Noise level, a standard deviation, positive.

    Raises
    ------
    ValueError
        If an argument is out of its range, or the lengths differ.
    """
    centre, eigenvalues, sigma = _clusters(centre, eigenvalues, sigma)
    noised = eigenvalues + sigma**2
    snr = float((centre**2 / noised).sum())
    missed = 1 / (1 + snr) - _mean(lambda u: 2 * expit(-2 * u), snr)
    return float(((sigma**2 * centre / noised) ** 2).sum()) * missed


def cluster_divergence(centre: Any, eigenvalues: Any, sigma: float) -> float:
    r"""KL(p_σ‖q_σ) in nats of two equal clusters N(±μ, diag λ) and the Gaussian of their mean and covariance.

    .. math:: \tfrac12\log(1+r) - \log2 + \mathbb E\log(1+e^{-2u}),

    with r and u as in :func:`cluster_gain`. The more noise the less; for clusters far apart ½ log r − log 2.

    Parameters
    ----------
    centre, eigenvalues, sigma
        As in :func:`cluster_gain`.

    Raises
    ------
    ValueError
        If an argument is out of its range, or the lengths differ.
    """
    centre, eigenvalues, sigma = _clusters(centre, eigenvalues, sigma)
    snr = float((centre**2 / (eigenvalues + sigma**2)).sum())
    return math.log1p(snr) / 2 - math.log(2) + _mean(lambda u: np.logaddexp(0, -2 * u), snr)


def doubtful_directions(eigenvalues: Any, sigma: float) -> float:
    r"""In how many directions the best linear denoiser at noise σ neither believes nor disbelieves what it sees.

    .. math::
        \sum_j\phi_j(1-\phi_j) + \frac{\sum_j\phi_j^2(1-\phi_j)}{\sum_j\phi_j},
        \qquad \phi_j = \frac{\lambda_j}{\lambda_j+\sigma^2},

    at most (d + 1)/4. Divided by n it is by how much the loss of a line fitted to n Gaussian points with a known mean
    exceeds the best one, as a share of the latter, to first order in 1/n.

    Parameters
    ----------
    eigenvalues
        λ of the data's covariance, (d,), non-negative and not all zero.
    sigma
        Noise level, a standard deviation, positive.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    eigenvalues = _checks.eigenvalue_array(eigenvalues)
    if not eigenvalues.any():
        raise ValueError("eigenvalues must not all be zero: then there is nothing to doubt")
    believed = eigenvalues / (eigenvalues + _checks.number(sigma, "sigma", low=0, low_open=True) ** 2)
    doubt = believed * (1 - believed)
    return float(doubt.sum() + (believed * doubt).sum() / believed.sum())


def _clusters(centre: Any, eigenvalues: Any, sigma: Any) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    centre, eigenvalues = _checks.array(centre, "centre", ndim=1), _checks.eigenvalue_array(eigenvalues)
    if centre.shape != eigenvalues.shape:
        raise ValueError(f"centre must have the {len(eigenvalues)} entries of eigenvalues, got {len(centre)}")
    return centre, eigenvalues, _checks.number(sigma, "sigma", low=0, low_open=True)


def _mean(function: Callable[[NDArray[np.float64]], NDArray[np.float64]], snr: float) -> float:
    """E f(u) for u ~ N(r, r)."""
    nodes, weights = roots_legendre(400)  # numerics
    z = 12 * nodes  # numerics
    density = weights * np.exp(-(z**2) / 2)  # numerics
    u = snr + math.sqrt(snr) * z  # either sign of z: the nodes are symmetric  # numerics
    return float((density * function(u)).sum() / density.sum())
