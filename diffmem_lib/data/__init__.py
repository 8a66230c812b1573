"""Laws and images to learn from."""

from .laws import Gaussian, GaussianMixture

__all__ = ["Gaussian", "GaussianMixture"]
