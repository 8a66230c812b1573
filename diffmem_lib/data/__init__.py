"""Laws and images to learn from."""

from .clones import gaussian_clones, whiten
from .images import ImageSet, load_digits, load_mnist, load_patches
from .laws import Gaussian, GaussianMixture
from .mixed_cumulant import MixedCumulant
from .spectra import power_law_spectrum
from .strings import BlockGrammar, StringSet

__all__ = [
    "BlockGrammar",
    "Gaussian",
    "GaussianMixture",
    "ImageSet",
    "MixedCumulant",
    "StringSet",
    "gaussian_clones",
    "load_digits",
    "load_mnist",
    "load_patches",
    "power_law_spectrum",
    "whiten",
]
