"""Kullback–Leibler divergences between the Gaussian law and the one a linear denoiser learns from n samples of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bernoulli, digamma, hyp2f1

from diffmem_lib import _checks

__all__ = ["expected_kl", "gaussian_kl", "leading_kl", "limit_kl", "ridge_limit_kl"]

_EPSILON = float(np.finfo(float).eps)


def gaussian_kl(mean_p: Any, cov_p: Any, mean_q: Any, cov_q: Any) -> float:
    r"""KL(p‖q) of two Gaussian laws, in nats.

    .. math:: \tfrac12\left[\sum_i (x_i - \log(1 + x_i)) + \delta^\top\Sigma_q^{-1}\delta\right],

    with δ the difference of the means and x the eigenvalues of
    :math:`\Sigma_q^{-1/2}(\Sigma_p-\Sigma_q)\Sigma_q^{-1/2}`:
    the usual formula, written so that two nearly equal laws lose no digits.
    Laws on a subspace count (a covariance of rank below d): the divergence is infinite unless both live on the same.
    Derived in *The d/N law* (chapters/dn_law.ipynb).

    Parameters
    ----------
    mean_p, mean_q
        Means, (d,).
    cov_p, cov_q
        Covariances, (d, d).

    Raises
    ------
    ValueError
        If an argument has the wrong shape, is not finite, or a covariance is not symmetric positive semi-definite.
    """
    mean_p, mean_q = (_checks.array(m, name, ndim=1) for m, name in ((mean_p, "mean_p"), (mean_q, "mean_q")))
    cov_p, cov_q = (_checks.covariance_matrix(c, name) for c, name in ((cov_p, "cov_p"), (cov_q, "cov_q")))
    for value, name in ((mean_q, "mean_q"), (cov_p, "cov_p"), (cov_q, "cov_q")):
        if value.shape != mean_p.shape * value.ndim:
            raise ValueError(f"{name} must fit mean_p of shape {mean_p.shape}, got shape {value.shape}")
    # Neither side depends on units: with unit diagonals small variances are as accurate as large ones.
    scale = np.sqrt(np.where(np.diag(cov_q) > 0, np.diag(cov_q), 1))  # numerics
    gap, offset = (cov_p - cov_q) / np.outer(scale, scale), (mean_p - mean_q) / scale
    variances, axes = np.linalg.eigh(cov_q / np.outer(scale, scale))
    support = variances > len(variances) * _EPSILON * variances.max()  # numerics
    nowhere = axes[:, ~support]
    outside = max(np.abs(nowhere.T @ gap @ nowhere).max(initial=0), np.abs(nowhere.T @ offset).max(initial=0))
    if outside > 1e3 * len(variances) * _EPSILON:  # numerics
        return math.inf
    whitening = axes[:, support] / np.sqrt(variances[support])
    excess = np.linalg.eigvalsh(whitening.T @ gap @ whitening)
    if excess.size and 1 + excess.min() <= len(excess) * _EPSILON * (1 + excess.max()):  # numerics
        return math.inf
    return float((_excess_minus_log(excess).sum() + ((whitening.T @ offset) ** 2).sum()) / 2)


def expected_kl(dim: int, n: int, direction: str = "reverse", mean: str = "learned") -> float:
    r"""Expected KL between ρ = N(μ, Σ) and its maximum-likelihood fit ρ_n = N(μ̂, Σ̂) to n samples, total, in nats.

    Exact at finite n and d, whatever μ and Σ. With :math:`m_i = n - i` where the mean is learned,
    :math:`m_i = n - i + 1` where it is known,

    .. math::
        E\,\mathrm{KL}(\rho_n\|\rho)
        = \tfrac12\sum_{i=1}^{d}\left[\log\tfrac n2 - \psi\!\left(\tfrac{m_i}2\right)\right], \qquad
        E\,\mathrm{KL}(\rho_n\|\rho) + E\,\mathrm{KL}(\rho\|\rho_n) = \frac{d(d+3)}{2(n-d-2)}
        \;\text{ or }\; \frac{d(d+1)}{2(n-d-1)}.

    Relative accuracy about 1e-14 for d up to 1e5 and n up to 1e9.
    Derived in *The d/N law* (chapters/dn_law.ipynb).

    Parameters
    ----------
    dim, n
        Dimension d and number of samples, each at least 1.
    direction
        ``"reverse"``: KL(ρ_n‖ρ), ``"forward"``: KL(ρ‖ρ_n).
    mean
        ``"learned"``: μ̂ is the sample mean, ``"known"``: μ̂ = μ. Σ̂ carries 1/n in both cases.

    Returns
    -------
    float
        ``math.inf`` where the expectation is: reverse unless n ≥ d + 1 (known mean: n ≥ d),
        forward unless n ≥ d + 3 (known mean: n ≥ d + 2).

    Raises
    ------
    ValueError
        If ``dim`` or ``n`` is not a positive integer, or a name is not one of those above.
    """
    dim, n = _checks.integer(dim, "dim", low=1), _checks.integer(n, "n", low=1)
    _one_of(direction, "direction", ("reverse", "forward"))
    _one_of(mean, "mean", ("learned", "known"))
    learned = int(mean == "learned")
    if n < dim + learned:
        return math.inf
    lost = np.arange(dim) + learned
    reverse = float((_log_minus_digamma((n - lost) / 2) - np.log1p(-lost / n)).sum() / 2)
    if direction == "reverse":
        return reverse
    if n < dim + 2 + learned:
        return math.inf
    return dim * (dim + 1 + 2 * learned) / (2 * (n - dim - 1 - learned)) - reverse


def limit_kl(ratio: float, direction: str = "reverse") -> float:
    r"""Limit of ``expected_kl / dim`` as n, d → ∞ with d/n → r < 1, in nats per dimension.

    .. math::
        \mathrm{KL}(\rho_n\|\rho)/d \to \tfrac12\left[1 + \tfrac{1-r}{r}\log(1-r)\right], \qquad
        \mathrm{KL}(\rho\|\rho_n)/d \to \tfrac12\left[\tfrac{r}{1-r} - 1 - \tfrac{1-r}{r}\log(1-r)\right];

    both are r/4 + O(r²). The bracket of the first is evaluated as :math:`\tfrac r2\,{}_2F_1(1, 1; 3; r)`, which
    keeps all digits at small r. At r = 1 the value is the one approached from below. It is also the limit along n =
    d + k with k ≥ 1 fixed; at n = d itself ``expected_kl`` is infinite in every dimension if the mean is learned,
    and tends to the same value if it is known. Derived in *The d/N law* (chapters/dn_law.ipynb).

    Parameters
    ----------
    ratio
        r = d/n ≥ 0.
    direction
        ``"reverse"``: KL(ρ_n‖ρ), ``"forward"``: KL(ρ‖ρ_n).

    Returns
    -------
    float
        ``math.inf`` for r > 1; as r rises to 1 the reverse divergence tends to ½ and the forward one to infinity.

    Raises
    ------
    ValueError
        If ``ratio`` is negative or not finite, or ``direction`` is not one of those above.
    """
    ratio = _checks.number(ratio, "ratio", low=0)
    _one_of(direction, "direction", ("reverse", "forward"))
    if ratio > 1:
        return math.inf
    reverse = float(ratio / 4 * hyp2f1(1, 1, 3, ratio))
    if direction == "reverse":
        return reverse
    return math.inf if ratio == 1 else ratio / (2 * (1 - ratio)) - reverse


def leading_kl(fourth_moment: float, dim: int, n: int, mean: str = "learned") -> float:
    r"""Leading term in 1/n of both expected divergences between N(μ, Σ) and the fit to n samples of any law, in nats.

    .. math:: \frac{E|\tilde x|^4 + d}{4n} \;\text{ (learned mean)}, \qquad \frac{E|\tilde x|^4 - d}{4n}
              \;\text{ (known mean)},

    x̃ = Σ^{-1/2}(x − μ) the whitened data, μ and Σ their mean and covariance; totals, not per dimension, as n → ∞ at
    fixed d. Gaussian data: E|x̃|⁴ = d(d + 2). For laws with a bounded density and eighth moments, up to O(n⁻²); for laws
    on finitely many points, given that the fitted covariance is invertible.
    Derived in *Any data* (chapters/any_data.ipynb).

    Parameters
    ----------
    fourth_moment
        E|x̃|⁴, at least d² (Jensen).
    dim, n
        Dimension d and number of samples, each at least 1.
    mean
        ``"learned"`` or ``"known"``.

    Raises
    ------
    ValueError
        If ``fourth_moment`` is below d² or not finite, ``dim`` or ``n`` not a positive integer, or ``mean`` unknown.
    """
    dim, n = _checks.integer(dim, "dim", low=1), _checks.integer(n, "n", low=1)
    fourth_moment = _checks.number(fourth_moment, "fourth_moment", low=dim**2)
    _one_of(mean, "mean", ("learned", "known"))
    return (fourth_moment + dim if mean == "learned" else fourth_moment - dim) / (4 * n)


def ridge_limit_kl(ratio: float, ridge: float, direction: str = "reverse") -> float:
    r"""Limit of KL/d for N(0, I) learned with a ridge, ρ_n = N(μ̂, Σ̂ + cI), at fixed r = d/n, in nats per dimension.

    With u the positive root of :math:`u^2 + (c + r - 1)u - c = 0` (one data direction counts as u of it),

    .. math::
        \ell = \log(u + c) - \frac{\log u + 1 - u}{r}, \qquad
        \frac{\mathrm{KL}(\rho_n\|\rho)}{d} \to \tfrac12[c - \ell], \qquad
        \frac{\mathrm{KL}(\rho\|\rho_n)}{d} \to \tfrac12\left[\frac{1}{u + c} - 1 + \ell\right];

    ℓ is the mean logarithm of Σ̂ + c over the Marchenko–Pastur law. Finite for every r.
    Derived in *The d/N law* (chapters/dn_law.ipynb).

    Parameters
    ----------
    ratio
        r = d/n > 0.
    ridge
        c > 0, in units of the data's variance.
    direction
        ``"reverse"``: KL(ρ_n‖ρ), ``"forward"``: KL(ρ‖ρ_n).

    Raises
    ------
    ValueError
        If ``ratio`` or ``ridge`` is not positive and finite, or ``direction`` is not one of those above.
    """
    ratio = _checks.number(ratio, "ratio", low=0, low_open=True)
    ridge = _checks.number(ridge, "ridge", low=0, low_open=True)
    _one_of(direction, "direction", ("reverse", "forward"))
    linear = ridge + ratio - 1
    size = (abs(linear) + math.hypot(linear, 2 * math.sqrt(ridge))) / 2
    weight = ridge / size if linear > 0 else size  # the two forms of one root: neither subtracts
    total = weight + ridge
    lost = ratio * weight / total  # 1 − u
    log_total = math.log1p(ridge - lost) if abs(total - 1) < 0.5 else math.log(total)  # numerics
    log_volume = log_total + float(_excess_minus_log(-lost)) / ratio
    if direction == "reverse":
        return (ridge - log_volume) / 2
    return ((lost - ridge) / total + log_volume) / 2


def _one_of(value: Any, name: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def _excess_minus_log(x: Any) -> NDArray[np.float64]:
    """x − log(1 + x) for x > −1, as (x²/2)·₂F₁(1, 2; 3; −x) where the difference would lose digits."""
    x = np.asarray(x, dtype=float)
    small = np.abs(x) < 0.3  # numerics
    inner = np.where(small, x, 0)  # numerics
    return np.where(small, inner**2 / 2 * hyp2f1(1, 2, 3, -inner), x - np.log1p(x))


def _log_minus_digamma(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """log z − ψ(z) > 0 for z > 0, by Stirling's series where the difference would lose digits."""
    series = 1 / (2 * z)
    for order, number in enumerate(bernoulli(16)):  # numerics
        if order and order % 2 == 0:  # numerics
            series = series + number / (order * z**order)
    return np.where(z < 10, np.log(z) - digamma(z), series)  # numerics
