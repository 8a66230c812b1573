"""The mixed cumulant model against its definition, SciPy's laws and 30-digit integrals."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffmem_lib.data import Gaussian, MixedCumulant

LATENTS = ("rademacher", "three_point", "student_t", "skewed")
#: Values and probabilities of the discrete latents, written down anew from their definition.
DISCRETE = {
    "rademacher": {-1.0: 0.5, 1.0: 0.5},
    "three_point": {-math.sqrt(50): 0.01, 0.0: 0.98, math.sqrt(50): 0.01},
    "skewed": {-1 / math.sqrt(2): 2 / 3, math.sqrt(2): 1 / 3},
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def standard_errors_off(values, expected):
    return abs(values.mean() - expected) / (values.std() / math.sqrt(len(values)))


def test_spikes_are_the_first_three_axes_in_order():
    spikes = MixedCumulant(7).spikes
    assert list(spikes) == ["cumulant", "covariance", "mean"]
    for axis, vector in enumerate(spikes.values()):
        assert vector.dtype == torch.float64
        assert torch.equal(vector, torch.eye(7, dtype=torch.float64)[axis])


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("latent", DISCRETE)
def test_discrete_latents_have_their_values_and_frequencies(latent, correlated):
    n = 200_000
    nu, _ = MixedCumulant(3, latent=latent, correlated=correlated).latents(n, generator())
    values, counts = np.unique(nu.numpy(), return_counts=True)
    expected = DISCRETE[latent]
    np.testing.assert_allclose(values, sorted(expected), rtol=1e-15, atol=0)
    for count, value in zip(counts, sorted(expected), strict=True):
        p = expected[value]
        assert abs(count - n * p) < 5 * math.sqrt(n * p * (1 - p))


@pytest.mark.parametrize("latent", DISCRETE)
def test_discrete_latents_are_standardized(latent):
    law = DISCRETE[latent]
    assert sum(p * v for v, p in law.items()) == pytest.approx(0, abs=1e-15)
    assert sum(p * v * v for v, p in law.items()) == pytest.approx(1, rel=1e-15)


@pytest.mark.parametrize("correlated", [False, True])
def test_student_latent_is_scipys_t_with_unit_variance(correlated):
    nu, _ = MixedCumulant(3, latent="student_t", correlated=correlated).latents(100_000, generator(1))
    assert scipy.stats.kstest(nu.numpy(), scipy.stats.t(5, scale=math.sqrt(3 / 5)).cdf).pvalue > 1e-4
    assert scipy.stats.kstest(nu.numpy(), scipy.stats.t(5).cdf).pvalue < 1e-10  # the scale is seen
    assert scipy.stats.kstest(nu.numpy(), scipy.stats.t(6, scale=math.sqrt(4 / 6)).cdf).pvalue < 1e-2  # and the degrees


def test_student_transform_to_fifty_digits_far_in_the_tails():
    # The distribution function of t(5) in closed form; SciPy's inverse must land on Φ(λ).
    nu, lam = MixedCumulant(3, latent="student_t", correlated=True).latents(400, generator(2))
    for value, gaussian in zip(nu.tolist(), lam.tolist(), strict=True):
        with mpmath.workdps(50):
            angle = mpmath.atan(mpmath.mpf(value) * mpmath.sqrt(mpmath.mpf(5) / 3) / mpmath.sqrt(5))
            sine, cosine = mpmath.sin(angle), mpmath.cos(angle)
            tail = mpmath.mpf(1) / 2 - (abs(angle) + abs(sine) * cosine * (1 + 2 * cosine**2 / 3)) / mpmath.pi
            assert abs(tail / mpmath.ncdf(-abs(gaussian)) - 1) < 1e-11
            assert value * gaussian > 0


@pytest.mark.parametrize("latent", LATENTS)
def test_correlated_latent_is_monotone_in_lambda(latent):
    nu, lam = MixedCumulant(3, latent=latent, correlated=True).latents(5000, generator())
    steps = nu[lam.argsort()].diff()
    falling = latent == "skewed"
    assert ((steps <= 0) if falling else (steps >= 0)).all()
    assert (steps != 0).any()


def test_steps_of_the_correlated_latents_stand_at_the_quantiles():
    nu, lam = MixedCumulant(3, latent="skewed", correlated=True).latents(20_000, generator())
    assert torch.equal(nu > 0, lam < scipy.stats.norm.ppf(1 / 3))
    nu, lam = MixedCumulant(3, latent="three_point", correlated=True).latents(20_000, generator())
    assert torch.equal(nu != 0, lam.abs() > scipy.stats.norm.isf(0.01))
    nu, lam = MixedCumulant(3, latent="rademacher", correlated=True).latents(20_000, generator())
    assert torch.equal(nu, lam.sign())


@pytest.mark.parametrize("latent", LATENTS)
def test_independent_latents_are_uncorrelated_also_in_squares(latent):
    nu, lam = MixedCumulant(3, latent=latent).latents(100_000, generator(3))
    assert standard_errors_off(nu * lam, 0) < 5
    assert standard_errors_off(nu.sign() * (lam**2 - 1), 0) < 5
    assert scipy.stats.kstest(lam.numpy(), "norm").pvalue > 1e-4


def exact_correlation(latent):
    """E[λν] = ± ∫ φ(Φ⁻¹(F(t))) dt with F the law of ν, by 30-digit quadrature: not the route that the library takes."""
    with mpmath.workdps(30):

        def quantile_density(probability):
            quantile = mpmath.sqrt(2) * mpmath.erfinv(2 * probability - 1)
            return mpmath.npdf(quantile)

        if latent != "student_t":
            points, probability, total = sorted(DISCRETE[latent].items()), mpmath.mpf(0), mpmath.mpf(0)
            for (value, p), (following, _) in itertools.pairwise(points):
                probability += mpmath.mpf(1) * p
                total += (following - value) * quantile_density(probability)
            return float(-total if latent == "skewed" else total)

        def density_at(t):  # by symmetry from the lower tail, whose digits are all there
            angle = mpmath.atan(t / mpmath.sqrt(3))
            sine, cosine = mpmath.sin(angle), mpmath.cos(angle)
            tail = mpmath.mpf(1) / 2 - (angle + sine * cosine * (1 + 2 * cosine**2 / 3)) / mpmath.pi
            return quantile_density(tail)

        return float(2 * mpmath.quad(density_at, [0, 1, 2, 4, 8, 16, 64, 256, 2000]))


@pytest.mark.parametrize("latent", LATENTS)
def test_clone_has_the_exact_cross_term(latent):
    beta_u, beta_v = 3.0, 4.0
    law = MixedCumulant(5, covariance_snr=beta_u, cumulant_snr=beta_v, latent=latent, correlated=True)
    cross = law.gaussian_clone().covariance[0, 1].item()
    accuracy = 1e-8 if latent == "student_t" else 1e-12  # the reference cuts the tail of t(5) at 2000
    assert cross == pytest.approx(math.sqrt(beta_u * beta_v / (1 + beta_v)) * exact_correlation(latent), rel=accuracy)


def test_cross_terms_quoted_in_the_book():
    def correlation(latent):
        law = MixedCumulant(3, covariance_snr=1, cumulant_snr=1, latent=latent, correlated=True)
        return law.gaussian_clone().covariance[0, 1].item() * math.sqrt(2)

    assert correlation("rademacher") == pytest.approx(math.sqrt(2 / math.pi), rel=1e-14)
    assert correlation("skewed") == pytest.approx(-0.771, abs=5e-4)


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("latent", LATENTS)
def test_clone_has_the_mean_and_covariance_of_the_samples(latent, correlated):
    law = MixedCumulant(4, 2.0, 3.0, 0.5, latent, correlated)
    clone = law.gaussian_clone()
    assert isinstance(clone, Gaussian)
    x = law.sample(200_000, generator(4))
    centred = x - clone.mean
    for i in range(4):
        assert standard_errors_off(centred[:, i], 0) < 5
        for j in range(i + 1):
            assert standard_errors_off(centred[:, i] * centred[:, j], clone.covariance[i, j].item()) < 5


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("latent", LATENTS)
def test_mean_clone_has_the_mean_of_the_samples_and_the_covariance_of_the_bulk(latent, correlated):
    law = MixedCumulant(5, 2.0, 3.0, 0.5, latent, correlated)
    clone = law.mean_clone()
    assert isinstance(clone, Gaussian)
    assert torch.equal(clone.covariance, torch.eye(5, dtype=torch.float64))
    np.testing.assert_allclose(clone.mean.numpy(), math.sqrt(0.5) * law.spikes["mean"].numpy(), rtol=1e-15)
    centred = law.sample(200_000, generator(10)) - clone.mean
    for coordinate in centred.T:
        assert standard_errors_off(coordinate, 0) < 5
    assert standard_errors_off(centred[:, 1] ** 2, 1.0) > 5  # the covariance spike is not in it
    drawn = clone.sample(200_000, generator(11))
    assert standard_errors_off(drawn[:, 1] ** 2, 1.0) < 5
    assert standard_errors_off(drawn[:, 2], math.sqrt(0.5)) < 5


@given(
    st.floats(0, 100), st.floats(0, 100), st.floats(0, 100), st.sampled_from(LATENTS), st.booleans(), st.integers(3, 9)
)
def test_clone_is_the_definition_written_with_matrices(beta_u, beta_v, beta_m, latent, correlated, dim):
    law = MixedCumulant(dim, beta_u, beta_v, beta_m, latent, correlated)
    v, u, m = (vector.numpy() for vector in law.spikes.values())
    whitening = np.eye(dim) - (1 - 1 / math.sqrt(1 + beta_v)) * np.outer(v, v)
    signal = whitening @ v * math.sqrt(beta_v)
    other = u * math.sqrt(beta_u)
    # Covariance of the vector signal·ν + other·λ, and of the whitened bulk.
    expected = whitening @ whitening.T + np.outer(signal, signal) + np.outer(other, other)
    if correlated:
        expected += exact_or_cached(latent) * (np.outer(signal, other) + np.outer(other, signal))
    np.testing.assert_allclose(law.gaussian_clone().covariance.numpy(), expected, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(law.gaussian_clone().mean.numpy(), math.sqrt(beta_m) * m, rtol=1e-15)
    np.testing.assert_allclose(law.mean_clone().mean.numpy(), math.sqrt(beta_m) * m, rtol=1e-15)
    assert torch.equal(law.mean_clone().covariance, torch.eye(dim, dtype=torch.float64))


_cache = {}


def exact_or_cached(latent):
    if latent not in _cache:
        _cache[latent] = exact_correlation(latent)
    return _cache[latent]


@pytest.mark.parametrize(("latent", "third", "fourth"), [
    ("rademacher", 0.0, -2.0),
    ("three_point", 0.0, 47.0),
    ("skewed", math.sqrt(0.5), -1.5),
])  # fmt: skip
def test_cumulants_of_the_whitened_coordinate(latent, third, fourth):
    beta = 3.0
    x = MixedCumulant(3, cumulant_snr=beta, latent=latent).sample(400_000, generator(5))[:, 0]
    ratio = beta / (1 + beta)
    # Third moment and He₄ have the cumulants as their means: the coordinate has mean 0 and variance 1.
    assert standard_errors_off(x**3, third * ratio**1.5) < 5
    assert standard_errors_off(x**4 - 6 * x**2 + 3, fourth * ratio**2) < 5
    assert standard_errors_off(x**4 - 6 * x**2 + 3, fourth) > 5  # κ₄ of ν itself is another number


def test_without_signal_the_law_is_the_standard_normal():
    law = MixedCumulant(6)
    clone = law.gaussian_clone()
    assert torch.equal(clone.mean, torch.zeros(6, dtype=torch.float64))
    assert torch.equal(clone.covariance, torch.eye(6, dtype=torch.float64))
    assert torch.equal(law.mean_clone().mean, clone.mean)
    assert torch.equal(law.mean_clone().covariance, clone.covariance)
    for coordinate in law.sample(50_000, generator(6)).T.numpy():
        assert scipy.stats.kstest(coordinate, "norm").pvalue > 1e-4


def test_sampling_depends_on_the_generator_only():
    law = MixedCumulant(5, 1.0, 2.0, 3.0, "student_t", True)
    state = torch.get_rng_state()
    first, second = law.sample(10, generator(7)), law.sample(10, generator(7))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, law.sample(10, generator(8)))
    assert first.shape == (10, 5)
    assert first.dtype == torch.float64
    assert law.sample(2).shape == (2, 5)


def test_single_precision_is_the_same_law():
    law = MixedCumulant(3, 1.0, 2.0, 3.0, "three_point")
    x = law.sample(200_000, generator(9), dtype=torch.float32)
    assert x.dtype == torch.float32
    clone = law.gaussian_clone()
    x = x.double() - clone.mean
    for i in range(3):
        assert standard_errors_off(x[:, i] ** 2, clone.covariance[i, i].item()) < 5


@pytest.mark.parametrize("dim", [2, 0, -1, 3.0, math.nan, math.inf, "3", None, True])
def test_bad_dimension(dim):
    with pytest.raises(ValueError, match="dim must be an integer of at least 3"):
        MixedCumulant(dim)


@pytest.mark.parametrize("name", ["covariance_snr", "cumulant_snr", "mean_snr"])
@pytest.mark.parametrize("value", [-1e-9, math.nan, math.inf, -math.inf, "much", None, [1.0, 2.0]])
def test_bad_signal_to_noise_ratio(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a"):
        MixedCumulant(4, **{name: value})


@pytest.mark.parametrize("latent", ["gauss", "", "Rademacher", None, 3, ["rademacher"]])
def test_bad_latent(latent):
    with pytest.raises(ValueError, match="latent must be one of rademacher, three_point, student_t, skewed"):
        MixedCumulant(4, latent=latent)


@pytest.mark.parametrize("correlated", [1, "yes", None, math.nan])
def test_bad_correlated(correlated):
    with pytest.raises(ValueError, match="correlated must be True or False"):
        MixedCumulant(4, correlated=correlated)


@pytest.mark.parametrize("n", [0, -1, 2.0, math.nan, math.inf, "5", None])
def test_bad_number_of_samples(n):
    with pytest.raises(ValueError, match="n must be an integer of at least 1"):
        MixedCumulant(4).sample(n)
    with pytest.raises(ValueError, match="n must be an integer of at least 1"):
        MixedCumulant(4).latents(n)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float16, float, None])
def test_bad_dtype(dtype):
    with pytest.raises(ValueError, match="dtype must be"):
        MixedCumulant(4).sample(3, dtype=dtype)


@pytest.mark.parametrize("value", [0, "seed", np.random.default_rng(0)])
def test_bad_generator(value):
    with pytest.raises(ValueError, match=r"generator must be a torch\.Generator or None"):
        MixedCumulant(4).sample(3, generator=value)
