"""Linear denoisers: their losses, the law that their sampler draws from, and when to stop training them.

The denoiser predicts the noise ε in x_t = √ᾱ x + √(1−ᾱ) ε as W_t(x_t − √ᾱ b_t), with a penalty c ᾱ‖W_t‖²/d.
Losses are per dimension; 1 is the loss of the denoiser that always answers 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffmem_lib import _checks

__all__ = [
    "continuous_variances",
    "mean_factors",
    "optimal_stopping_time",
    "oracle_loss",
    "sampled_variances",
    "test_loss",
    "train_loss",
]


def test_loss(
    covariance: Any,
    sample_covariance: Any,
    alpha_bar: float,
    ridge: float = 0.0,  # noqa: PT028
    mean_error: Any = None,  # noqa: PT028
) -> float:
    r"""Loss on fresh data of the denoiser fitted to a training set, per dimension, without the penalty.

    .. math::
        1 - \frac{2(1-\bar\alpha)}d\operatorname{Tr}\hat M^{-1}
        + \frac{1-\bar\alpha}d\operatorname{Tr}\hat M^{-1}(M + \bar\alpha\,\delta\delta^\top)\hat M^{-1},
        \qquad \hat M = \bar\alpha(\hat\Sigma + c) + 1 - \bar\alpha, \quad M = \bar\alpha\Sigma + 1 - \bar\alpha,

    evaluated as the sum of what the denoiser takes for noise and is signal, and of the noise that it lets through,

    .. math::
        \frac{\bar\alpha}d\operatorname{Tr}\hat M^{-1}
        \left[(1-\bar\alpha)(\Sigma + \delta\delta^\top) + \bar\alpha(\hat\Sigma + c)^2\right]\hat M^{-1},

    in which nothing is subtracted.
    Derived in *The linear denoiser, solved* (chapters/linear_denoiser.ipynb).

    Parameters
    ----------
    covariance, sample_covariance
        Σ of the data and Σ̂ of the training set (with 1/n), (d, d).
    alpha_bar
        Signal's share of the variance, in (0, 1).
    ridge
        c ≥ 0.
    mean_error
        δ = μ − μ̂, (d,); default: none.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or is out of its range.
    """
    covariance = _checks.covariance_matrix(covariance, "covariance")
    sample_covariance = _checks.covariance_matrix(sample_covariance, "sample_covariance")
    if covariance.shape != sample_covariance.shape:
        raise ValueError(f"sample_covariance must have the shape {covariance.shape}, got {sample_covariance.shape}")
    mean_error = np.zeros(len(covariance)) if mean_error is None else _checks.array(mean_error, "mean_error", ndim=1)
    if mean_error.shape != covariance.shape[:1]:
        raise ValueError(f"mean_error must have the shape {covariance.shape[:1]}, got {mean_error.shape}")
    learned, axes = np.linalg.eigh(sample_covariance)
    true = np.einsum("ij,ik,kj->j", axes, covariance, axes, optimize=True) + (mean_error @ axes) ** 2
    return _loss(true, learned, alpha_bar, ridge)


def train_loss(sample_covariance: Any, alpha_bar: float, ridge: float = 0.0) -> float:
    r"""Loss on its own training set of the denoiser fitted to it, per dimension, without the penalty.

    :func:`test_loss` with Σ = Σ̂ and δ = 0, which is

    .. math:: 1 - \frac{1-\bar\alpha}d\operatorname{Tr}\hat M^{-1}
              - \frac{c\,\bar\alpha(1-\bar\alpha)}d\operatorname{Tr}\hat M^{-2}.

    Derived in *The linear denoiser, solved* (chapters/linear_denoiser.ipynb).

    Parameters
    ----------
    sample_covariance
        Σ̂ of the training set (with 1/n), (d, d).
    alpha_bar
        Signal's share of the variance, in (0, 1).
    ridge
        c ≥ 0.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or is out of its range.
    """
    learned = np.linalg.eigvalsh(_checks.covariance_matrix(sample_covariance, "sample_covariance")).astype(np.float64)
    return _loss(learned, learned, alpha_bar, ridge)


def oracle_loss(covariance: Any, alpha_bar: float) -> float:
    r"""Smallest loss that a linear denoiser can have, per dimension: that of the one which knows μ and Σ.

    .. math:: 1 - \frac{1-\bar\alpha}d\operatorname{Tr}M^{-1}
              = \frac1d\sum_j\frac{\bar\alpha\lambda_j}{\bar\alpha\lambda_j + 1 - \bar\alpha}.

    Derived in *The linear denoiser, solved* (chapters/linear_denoiser.ipynb).

    Parameters
    ----------
    covariance
        Σ, (d, d).
    alpha_bar
        Signal's share of the variance, in (0, 1).

    Raises
    ------
    ValueError
        If an argument has the wrong shape or is out of its range.
    """
    variances = np.linalg.eigvalsh(_checks.covariance_matrix(covariance, "covariance")).astype(np.float64)
    return _loss(variances, variances, alpha_bar, 0.0)


def sampled_variances(
    eigenvalues: Any, betas: Any, ridge: float = 0.0, *, last_noise: bool = True, step_variance: str = "beta"
) -> NDArray[np.float64]:
    r"""Variances of what the DDPM sampler draws from a linear denoiser, mode by mode, exact for the discrete sampler.

    The sampler starts from N(0, I) and adds noise of variance s_t in step t: β_t, or that of the posterior of x_{t−1}
    given x_t and the data, β_t(1−ᾱ_{t−1})/(1−ᾱ_t), which vanishes in the last step.
    With :math:`m_t = \bar\alpha_t(\lambda + c) + 1 - \bar\alpha_t`, its recursion
    :math:`C_{t-1} = (1 - \beta_t/m_t)^2 C_t/(1-\beta_t) + s_t` has the solution

    .. math::
        C_0 = (\lambda + c)^2\left[\frac{\bar\alpha_T}{m_T^2}
        + \sum_{t=2}^{T}\frac{\bar\alpha_{t-1}s_t}{m_{t-1}^2}\right] + s_1 ,

    in which nothing is subtracted. The last term is the noise of the last step.
    Derived in *The linear denoiser, solved* (chapters/linear_denoiser.ipynb).

    Parameters
    ----------
    eigenvalues
        λ of the covariance that was learned, (d,).
    betas
        Schedule β_1 … β_T, each in (0, 1), (T,).
    ridge
        c ≥ 0.
    last_noise
        Whether the step from t = 1 to the data adds its noise too. (Ho et al. 2020 leave it out.)
    step_variance
        ``"beta"`` or ``"posterior"``.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or is out of its range.
    """
    variances = _checks.eigenvalue_array(eigenvalues) + _checks.number(ridge, "ridge", low=0)
    betas = _checks.array(betas, "betas", ndim=1)
    if not ((betas > 0) & (betas < 1)).all():
        raise ValueError(f"betas must lie in (0, 1), got values from {betas.min():g} to {betas.max():g}")
    if step_variance not in ("beta", "posterior"):
        raise ValueError(f"step_variance must be 'beta' or 'posterior', got {step_variance!r}")
    log_alphas_bar = np.cumsum(np.log1p(-betas))
    alphas_bar, noises = np.exp(log_alphas_bar), -np.expm1(log_alphas_bar)
    added = betas[1:] if step_variance == "beta" else betas[1:] * noises[:-1] / noises[1:]
    weights = np.append(alphas_bar[:-1] * added, alphas_bar[-1])
    total = np.zeros_like(variances)
    for weight, alpha_bar, noise in zip(weights, alphas_bar, noises, strict=True):
        total += weight * (variances / (alpha_bar * variances + noise)) ** 2
    return total + betas[0] if last_noise and step_variance == "beta" else total


def continuous_variances(eigenvalues: Any, alpha_bar: float, method: str = "ancestral") -> NDArray[np.float64]:
    r"""Limit of :func:`sampled_variances` for infinitely many steps from ᾱ_T to 1, started from N(0, I).

    With :math:`m_T = \bar\alpha_T\lambda + 1 - \bar\alpha_T`,

    .. math::
        \frac{\lambda}{m_T^2}\left[\bar\alpha_T\lambda + (1-\bar\alpha_T)m_T\right] \;\text{ (ancestral)}, \qquad
        \frac{\lambda}{m_T} \;\text{ (probability-flow ODE)};

    both tend to λ as ᾱ_T → 0. Derived in *The linear denoiser, solved* (chapters/linear_denoiser.ipynb).

    Parameters
    ----------
    eigenvalues
        λ of the covariance that was learned, ridge included, (d,).
    alpha_bar
        ᾱ_T where the sampler starts, in (0, 1).
    method
        ``"ancestral"`` or ``"ode"``.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or is out of its range.
    """
    variances, alpha_bar, noised = _start(eigenvalues, alpha_bar, method)
    if method == "ode":
        return variances / noised
    return variances * (alpha_bar * variances + (1 - alpha_bar) * noised) / noised**2


def mean_factors(eigenvalues: Any, alpha_bar: float, method: str = "ancestral") -> NDArray[np.float64]:
    r"""What the sampler makes of the learned mean, mode by mode: E x_0 is this factor times μ̂.

    .. math:: \frac{1-\bar\alpha_T}{m_T} \;\text{ (ancestral, discrete or continuous)}, \qquad
              1 - \sqrt{\bar\alpha_T\lambda/m_T} \;\text{ (probability-flow ODE, continuous)},

    with :math:`m_T = \bar\alpha_T\lambda + 1 - \bar\alpha_T`; a sampler started from N(0, I) has lost the rest.
    Derived in *The linear denoiser, solved* (chapters/linear_denoiser.ipynb).

    Parameters
    ----------
    eigenvalues
        λ of the covariance that was learned, ridge included, (d,).
    alpha_bar
        ᾱ_T where the sampler starts, in (0, 1).
    method
        ``"ancestral"`` or ``"ode"``.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or is out of its range.
    """
    variances, alpha_bar, noised = _start(eigenvalues, alpha_bar, method)
    if method == "ode":
        # 1 − √(a/b) without its cancellation: (b − a)/(b + √(ab))
        return (1 - alpha_bar) / (noised + np.sqrt(alpha_bar * variances * noised))
    return (1 - alpha_bar) / noised


def optimal_stopping_time(variance: float, alpha_bar: float, dim: int, learned: float = 0.0) -> float:
    r"""Time of gradient flow from W = 0 after which a direction has its smallest test loss.

    .. math:: \tau = \frac{d}{2(1-\bar\alpha)}\log\left(1 + \frac{1-\bar\alpha}{\bar\alpha\lambda}\right)

    where the training data do not vary, for gradient flow on the loss per dimension (hence the d), b fixed at the mean;
    a ridge c = λ has the same effect. Where they vary by λ̂ < λ it is, with :math:`\hat m = \bar\alpha\hat\lambda
    + 1-\bar\alpha`,

    .. math:: \tau = \frac d{2\hat m}\log\left(1 + \frac{\hat m}{\bar\alpha(\lambda-\hat\lambda)}\right).

    Derived in *The linear denoiser, solved* (chapters/linear_denoiser.ipynb) and, where the training data vary, in
    *Early stopping* (chapters/early_stopping.ipynb).

    Parameters
    ----------
    variance
        λ ≥ 0, true variance of the data in that direction; up to λ̂ it is best never to stop.
    alpha_bar
        Signal's share of the variance, in (0, 1).
    dim
        Dimension d, at least 1.
    learned
        λ̂ ≥ 0, variance of the training data in that direction.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    variance = _checks.number(variance, "variance", low=0)
    alpha_bar = _alpha_bar(alpha_bar)
    dim = _checks.integer(dim, "dim", low=1)
    learned = _checks.number(learned, "learned", low=0)
    if variance <= learned:  # numerics
        return math.inf
    noised = alpha_bar * learned + (1 - alpha_bar)
    return dim / (2 * noised) * math.log1p(noised / alpha_bar / (variance - learned))


def _loss(true: NDArray[np.float64], learned: NDArray[np.float64], alpha_bar: float, ridge: float) -> float:
    """Loss per dimension, given the data's variance along each eigenvector of what was learned."""
    alpha_bar = _alpha_bar(alpha_bar)
    kept = learned + _checks.number(ridge, "ridge", low=0)
    noised = alpha_bar * kept + (1 - alpha_bar)
    return float(np.mean(alpha_bar * ((1 - alpha_bar) * true + alpha_bar * kept**2) / noised**2))


def _start(eigenvalues: Any, alpha_bar: float, method: str) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
    variances, alpha_bar = _checks.eigenvalue_array(eigenvalues), _alpha_bar(alpha_bar)
    if method not in ("ancestral", "ode"):
        raise ValueError(f"method must be 'ancestral' or 'ode', got {method!r}")
    return variances, alpha_bar, alpha_bar * variances + (1 - alpha_bar)


def _alpha_bar(value: Any) -> float:
    return _checks.number(value, "alpha_bar", low=0, high=1, low_open=True, high_open=True)
