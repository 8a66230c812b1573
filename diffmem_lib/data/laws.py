"""Laws that know their own score: a Gaussian, and a mixture of them.

Both are closed under Gaussian noise: if x has the law p, then x + σ z has the law p_σ = p ∗ N(0, σ²I), again such a
mixture with σ²I added to each covariance.
That is all there is to it: density, score and posterior mean of p_σ are sums over components.
Everything is computed in float64 and given back in the dtype and on the device of the caller's points.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .. import _checks, _tensors

__all__ = ["Gaussian", "GaussianMixture"]


class GaussianMixture:
    """The law Σ_k w_k N(μ_k, C_k) in d dimensions, exact at every noise level.

    Parameters
    ----------
    weights : Tensor (k,)
        Probabilities w_k ≥ 0 of the components, of sum 1.
    means : Tensor (k, d)
        Means μ_k.
    covariances : Tensor (k, d, d), or (k,)
        Covariances C_k, symmetric and positive semi-definite; or variances s_k² ≥ 0 of isotropic components s_k² I, for
        which every operation costs O(m k d) and no d × d matrix is built.
        A singular covariance is a law too, it only has no density (and no score) at σ = 0; an eigenvalue below
        2.2e-16 d of the largest (1.2e-7 d in float32) counts as zero.

    Attributes
    ----------
    dim : int
        Dimension d.
    weights, means, covariances : Tensor
        As given.

    Raises
    ------
    ValueError
        If the weights do not sum to 1, a covariance is not symmetric positive semi-definite, shapes do not match, or a
        tensor is empty, not float32 or float64, or not finite.
    """

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        self._set_up(weights, means, covariances, "covariances")

    def _set_up(self, weights: Tensor, means: Tensor, covariances: Tensor, name: str) -> None:
        self.weights = _probabilities(weights).clone()  # copies: a law does not change with its caller's tensors
        self.means = _tensors.floating(means, "means", shape=(len(weights), "d")).clone()
        self.dim = self.means.shape[1]
        isotropic = isinstance(covariances, Tensor) and covariances.ndim == 1
        shape = (len(weights),) if isotropic else (len(weights), self.dim, self.dim)
        self.covariances = _tensors.floating(covariances, name, shape=shape).clone()
        self._eigenvalues, self._eigenvectors = _eigensystem(self.covariances.to(means.device), self.dim, name)
        self._log_weights = self.weights.to(means.device, torch.float64).log().log_softmax(0)
        self._centres = self.means.double()

    @property
    def mean(self) -> Tensor:
        """Mean Σ_k w_k μ_k, Tensor (d,)."""
        return self._log_weights.exp().to(self.means) @ self.means

    @property
    def covariance(self) -> Tensor:
        """Covariance Σ_k w_k [C_k + (μ_k − mean)(μ_k − mean)ᵀ], Tensor (d, d): within and between components.

        Built when it is asked for.
        """
        weights = self._log_weights.exp().to(self.means)
        covariances = self.covariances.to(self.means)
        within = torch.tensordot(weights, covariances, 1)
        if self._eigenvectors is None:
            within = within * torch.eye(self.dim, dtype=within.dtype, device=within.device)
        deviations = self.means - self.mean
        return within + (weights * deviations.T) @ deviations

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` independent points of the law, (n, d), with dtype and device of the means.

        A ``generator`` must live on that device.
        """
        n = _checks.integer(n, "n", low=1)
        generator = _tensors.generator(generator, self.means.device)
        weights = self._log_weights.exp()
        label = torch.multinomial(weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.dim, generator=generator, dtype=self.means.dtype, device=self.means.device)
        deviation = noise * self._eigenvalues.sqrt().to(noise.dtype)[label]
        if self._eigenvectors is not None:
            for k in range(len(weights)):
                deviation[label == k] = deviation[label == k] @ self._eigenvectors[k].T.to(noise.dtype)
        return self.means[label] + deviation

    def log_prob(self, x: Tensor, sigma: float = 0.0) -> Tensor:
        """log p_σ(x) in nats, (m,) for points ``x`` (m, d): the density of the law convolved with N(0, σ²I).

        At σ = 0 the density of the law itself, which a singular covariance does not have (``ValueError``).
        """
        points, sigma = self._arguments(x, sigma)
        return self._joint(points, self._convolved(sigma)).logsumexp(1).to(x)

    def score(self, x: Tensor, sigma: float) -> Tensor:
        """∇ log p_σ(x) = −Σ_k r_k (C_k + σ²I)⁻¹ (x − μ_k), (m, d), with r_k the probability of component k given x.

        At σ = 0 a singular covariance is refused with ``ValueError``.
        """
        points, sigma = self._arguments(x, sigma)
        variances = self._convolved(sigma)
        return self._weighted(points, self._responsibilities(points, variances), -1 / variances).to(x)

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """E[x₀ | x₀ + σ z = x] = Σ_k r_k [μ_k + C_k (C_k + σ²I)⁻¹ (x − μ_k)], (m, d): the posterior mean.

        By Tweedie's formula it is x + σ² ∇ log p_σ(x), which is not used here since it loses its digits at large σ.
        At σ = 0 it is ``x``.
        """
        points, sigma = self._arguments(x, sigma)
        if sigma == 0:
            return x.clone()
        variances = self._convolved(sigma)
        responsibilities = self._responsibilities(points, variances)
        deviation = self._weighted(points, responsibilities, self._eigenvalues / variances)
        return (responsibilities @ self._centres + deviation).to(x)

    def _arguments(self, x: Tensor, sigma: float) -> tuple[Tensor, float]:
        x = _tensors.floating(x, "x", shape=("m", self.dim))
        return x.to(self._centres), _tensors.noise_level(sigma, zero=True)

    def _convolved(self, sigma: float) -> Tensor:
        """Eigenvalues λ + σ² of C_k + σ²I, (k, d)."""
        variances = self._eigenvalues + sigma**2
        if not (variances > 0).all():
            raise ValueError(f"sigma must be positive for a law with a singular covariance, got {sigma:g}")
        return variances

    def _rotated(self, x: Tensor, k: int) -> Tensor:
        """x − μ_k in the eigenbasis of C_k, (m, d)."""
        deviation = x - self._centres[k]
        return deviation if self._eigenvectors is None else deviation @ self._eigenvectors[k]

    def _joint(self, x: Tensor, variances: Tensor) -> Tensor:
        """log [w_k N(x; μ_k, C_k + σ²I)], (m, k); one component at a time, so that memory stays O(m (d + k))."""
        quadratic = [(self._rotated(x, k).square() / variances[k]).sum(1) for k in range(len(variances))]
        log_determinant = (2 * math.pi * variances).log().sum(1)
        return self._log_weights - (torch.stack(quadratic, 1) + log_determinant) / 2

    def _responsibilities(self, x: Tensor, variances: Tensor) -> Tensor:
        """Probability r_k of each component given the noisy point, (m, k)."""
        if len(variances) == 1:  # nothing to decide, and the distances would double the cost of a Gaussian
            return x.new_ones(len(x), 1)
        return self._joint(x, variances).softmax(1)

    def _weighted(self, x: Tensor, responsibilities: Tensor, gain: Tensor) -> Tensor:
        """Σ_k r_k V_k diag(gain_k) V_kᵀ (x − μ_k), (m, d)."""
        total = torch.zeros_like(x)
        for k, gain_k in enumerate(gain):
            term = self._rotated(x, k) * gain_k
            if self._eigenvectors is not None:
                term = term @ self._eigenvectors[k].T
            total = total + responsibilities[:, k, None] * term
        return total


class Gaussian(GaussianMixture):
    """The law N(μ, C): a mixture of one component, see :class:`GaussianMixture` for its methods.

    Parameters
    ----------
    mean : Tensor (d,)
        Mean μ.
    covariance : Tensor (d, d), or () or float
        Covariance C, symmetric and positive semi-definite, singular ones included; or the variance s² of s² I.

    Raises
    ------
    ValueError
        If shapes do not match, the covariance is not symmetric positive semi-definite, or a tensor is empty, not
        float32 or float64, or not finite.
    """

    def __init__(self, mean: Tensor, covariance: Tensor | float) -> None:
        mean = _tensors.floating(mean, "mean", shape=("d",))
        if not isinstance(covariance, Tensor):
            covariance = mean.new_tensor(_checks.number(covariance, "covariance", low=0))
        shape = () if covariance.ndim == 0 else (len(mean), len(mean))
        covariance = _tensors.floating(covariance, "covariance", shape=shape)
        self._set_up(torch.ones_like(mean[:1]), mean[None], covariance[None], "covariance")


def _probabilities(weights: Tensor) -> Tensor:
    weights = _tensors.floating(weights, "weights", shape=("k",))
    if (weights < 0).any() or abs(weights.double().sum().item() - 1) > 1e-6:
        raise ValueError(f"weights must be non-negative and sum to 1, got {weights.tolist()}")
    return weights


def _eigensystem(covariances: Tensor, dim: int, name: str) -> tuple[Tensor, Tensor | None]:
    """Eigenvalues (k, d) ≥ 0 and eigenvectors (k, d, d), or None if isotropic, in float64."""
    exact = covariances.double()
    if covariances.ndim == 1:
        if (exact < 0).any():
            raise ValueError(f"{name} must be non-negative variances, got {exact.min():g} among them")
        return exact[:, None].expand(-1, dim), None
    _tensors.symmetric(covariances, name)
    eigenvalues, eigenvectors = torch.linalg.eigh((exact + exact.mT) / 2)
    size = exact.abs().amax((1, 2))[:, None]
    if (eigenvalues[:, :1] < -_tensors.ROUNDING[covariances.dtype] * dim * size).any():
        raise ValueError(f"{name} must be positive semi-definite, got an eigenvalue of {eigenvalues.min():g}")
    # What rounding leaves of a zero eigenvalue is zero: a singular covariance must be known as one.
    zero = eigenvalues <= dim * torch.finfo(covariances.dtype).eps * eigenvalues[:, -1:]
    return eigenvalues.masked_fill(zero, 0.0), eigenvectors
