"""The lowest energies against real points, against sums and integrals in 25 digits and against exact means."""

import math

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy import stats

from diffmem_lib.simulation import EnergyLevels, energy_levels


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def density(dim, square):
    """The density of the energy, in mpmath's precision."""
    half_dim, half_square = mp.mpf(dim) / 2, mp.mpf(square) / 2
    return lambda e: (
        mp.exp(-e - half_square) * e ** (half_dim - 1) * mp.hyp0f1(half_dim, half_square * e) / mp.gamma(half_dim)
    )


def log_below(dim, square, energy):
    """log P(E ≤ energy): the χ² laws of d + 2j degrees of freedom, mixed by a Poisson law of j."""
    energy, half_square, half_dim = mp.mpf(energy), mp.mpf(square) / 2, mp.mpf(dim) / 2
    last = int(square / 2 + 14 * math.sqrt(square / 2)) + 60
    step = mp.exp((half_dim + last) * mp.log(energy) - energy - mp.loggamma(half_dim + last + 1))
    lower, term, order = step, step, half_dim + last
    while term > lower * mp.mpf(10) ** -mp.mp.dps:  # the series of the incomplete gamma function
        order += 1
        term *= energy / order
        lower += term
    weight = mp.exp(-half_square + last * mp.log(half_square) - mp.loggamma(last + 1)) if square else mp.mpf(0)
    total = weight * lower
    for j in range(last, 0, -1):  # from d + 2j to d + 2(j − 1) degrees of freedom
        step *= (half_dim + j) / energy
        lower += step
        weight = weight * j / half_square if square else mp.mpf(j == 1)
        total += weight * lower
    return mp.log(total)


def test_the_reference_is_scipys_where_that_is_exact():
    for dim, square, energy in ((3, 0.0, 0.2), (24, 24.0, 12.0), (5, 40.0, 9.0)):
        expected = stats.ncx2.cdf(2 * energy, dim, square) if square else stats.chi2.cdf(2 * energy, dim)
        assert float(log_below(dim, square, energy)) == pytest.approx(math.log(expected), rel=1e-9)


@pytest.mark.parametrize(
    ("dim", "log_n", "square"),
    [
        (1, 3, 0), (1, 30, 4), (2, 8, 9), (2, 1, 300), (3, 12, 3), (4, 10, 40), (24, 11, 24), (24, 40, 80),
        (129, 40, 129), (640, 64, 0), (1000, 3, 6000), (4000, 400, 4000), (4000, 1600, 12000), (4, 9, 40_000),
    ],
)  # fmt: skip
def test_each_energy_is_a_quantile_in_forty_digits(dim, log_n, square):
    """The k-th energy solves n P(E ≤ E_k) = Γ_k; the same generator gives the same arrival times Γ."""
    found = energy_levels(dim, log_n, square, 2, seeded(5), levels=9)
    arrivals = torch.empty(2, 9, dtype=torch.float64).exponential_(generator=seeded(5)).cumsum(1)
    with mp.workdps(40):
        for draw, level in ((0, 0), (1, 4), (0, 8)):
            expected = math.log(arrivals[draw, level]) - log_n
            if expected < 0:
                energy = found.energies[draw, level].item()
                assert float(log_below(dim, square, energy)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("dim", "square"), [(1, 1.0), (2, 9.0), (5, 0.0), (8, 16.0), (24, 24.0)])
def test_real_points_have_the_same_lowest_energies(dim, square):
    """Two samples of six hundred training sets of 4000 points; half as many points are told apart."""
    n, draws = 4000, 600
    y = torch.zeros(dim, dtype=torch.float64)
    y[0] = math.sqrt(square)
    generator = seeded(1)
    sets = (torch.randn(n, dim, generator=generator, dtype=torch.float64) for _ in range(draws))
    real = torch.stack([(x - y).square().sum(1).div(2).topk(20, largest=False, sorted=True).values for x in sets])
    drawn = energy_levels(dim, math.log(n), square, draws, seeded(2), levels=20).energies
    fewer = energy_levels(dim, math.log(n / 2), square, draws, seeded(2), levels=20).energies
    for level in (0, 3, 19):
        assert stats.ks_2samp(drawn[:, level], real[:, level]).pvalue > 1e-3
        assert stats.ks_2samp(fewer[:, level], real[:, level]).pvalue < 1e-6
    gaps = [(e[:, 19] - e[:, 0]).numpy() for e in (drawn, real)]
    assert stats.ks_2samp(*gaps).pvalue > 1e-3


@pytest.mark.parametrize("bandwidth", [0.2, 1.0, 30.0])
@pytest.mark.parametrize(("dim", "square"), [(1, 4.0), (2, 0.0), (2, 9.0), (5, 0.0), (24, 60.0), (150, 150.0)])
def test_the_rest_is_an_integral(dim, square, bandwidth):
    """n ∫ e^{−E/h²} dP(E) from the last kept level on, in 25 digits; in and out of the condensed regime."""
    found = energy_levels(dim, 6.0, square, 2, seeded(3), levels=10)
    assert torch.isfinite(found.energies).all()
    f, tilt = density(dim, square), mp.mpf(bandwidth) ** -2
    with mp.workdps(25):
        for last, rest in zip(found.energies[:, -1].tolist(), found.rest(bandwidth).tolist(), strict=True):
            ends = [last + mp.mpf(2) ** k / (1 + tilt) for k in (-3, 0, 2, 4, 6, 8, 11)]
            integral = mp.quad(lambda e, last=last: mp.exp(-tilt * (e - last)) * f(e), [last, *ends])
            assert rest == pytest.approx(float(6 + mp.log(integral) - tilt * last), abs=1e-9)


@pytest.mark.parametrize("levels", [1, 8, 64])
@pytest.mark.parametrize("bandwidth", [1.5, 3.0])
def test_kept_and_left_out_weights_have_the_exact_mean(levels, bandwidth):
    """E Σ e^{−E/h²} = n (1 + h⁻²)^{−d/2} e^{−|y|²/2(1+h²)}, however many levels are kept."""
    dim, log_n, square = 30, 8.0, 30.0
    found = energy_levels(dim, log_n, square, 6000, seeded(4), levels=levels)
    exact = log_n - dim / 2 * math.log1p(bandwidth**-2) - square / 2 / (1 + bandwidth**2)
    weight = ((-found.energies / bandwidth**2).exp().sum(1) + found.rest(bandwidth).exp()) * math.exp(-exact)
    error = weight.std().item() / math.sqrt(6000)
    assert error < 0.05
    assert weight.mean().item() == pytest.approx(1, abs=4 * error)


@pytest.mark.parametrize("bandwidth", [1.5, 2.0, 4.0])
def test_the_kept_weight_less_its_expectation_has_mean_zero(bandwidth):
    """However few are kept, with a last level that is itself random; at wide bandwidths, where means can be seen."""
    found = energy_levels(40, 9.0, 40.0, 6000, seeded(9), levels=12)
    log_unit = found.expected(bandwidth).max()
    kept = (-found.energies / bandwidth**2 - log_unit).exp().sum(1)
    excess = kept - (found.expected(bandwidth) - log_unit).exp()
    error = excess.std().item() / math.sqrt(6000)
    assert error < 0.02 * kept.mean().item()
    assert abs(excess.mean().item()) < 4 * error


@pytest.mark.parametrize("bandwidth", [0.05, 0.4, 1.0, 4.0, 50.0])
@pytest.mark.parametrize("dim", [1, 40, 41])
def test_both_sides_of_the_last_level_add_up_to_all(dim, bandwidth):
    found = energy_levels(dim, 9.0, 40.0, 50, seeded(9), levels=12)
    whole = 9 - dim / 2 * math.log1p(bandwidth**-2) - 20 / (1 + bandwidth**2)
    both = torch.logaddexp(found.expected(bandwidth), found.rest(bandwidth))
    torch.testing.assert_close(both, torch.full_like(both, whole), rtol=0, atol=1e-9)


def test_few_points_are_a_poisson_number_of_them():
    found = energy_levels(3, math.log(5), 2.0, 4000, seeded(6), levels=40)
    counts = torch.isfinite(found.energies).sum(1).to(torch.float64)
    assert counts.mean().item() == pytest.approx(5, abs=4 * math.sqrt(5 / 4000))
    assert counts.var().item() == pytest.approx(5, rel=0.1)
    assert (found.rest(1.0) == -math.inf).all()
    assert found.expected(1.0).tolist() == pytest.approx([math.log(5) - 1.5 * math.log(2) - 0.5] * 4000)
    finite = found.energies[torch.isfinite(found.energies)]
    assert stats.kstest(2 * finite, stats.ncx2(3, 2.0).cdf).pvalue > 1e-3


def test_each_draw_may_see_from_its_own_distance():
    squares = torch.tensor([0.0, 20.0, 500.0], dtype=torch.float64)
    together = energy_levels(20, 9.0, squares, 3, seeded(7), levels=5)
    arrivals = torch.empty(3, 5, dtype=torch.float64).exponential_(generator=seeded(7)).cumsum(1).numpy()
    expected = [stats.ncx2.ppf(arrivals[i] / math.exp(9), 20, squares[i].item()) / 2 for i in (1, 2)]
    np.testing.assert_allclose(together.energies[1:], expected, rtol=1e-6)
    np.testing.assert_allclose(together.energies[0], stats.chi2.ppf(arrivals[0] / math.exp(9), 20) / 2, rtol=1e-9)
    assert torch.equal(together.square, squares)


@pytest.mark.parametrize("dim", [1, 4, 63, 1000, 4000])
@pytest.mark.parametrize("alpha", [1e-3, 0.1, 2.0])
@pytest.mark.parametrize("ratio", [0.0, 1.0, 6.0])
def test_levels_rise_and_all_is_finite_over_the_whole_range(dim, alpha, ratio):
    found = energy_levels(dim, alpha * dim + 2, ratio * dim, 20, seeded(8), levels=6)
    assert isinstance(found, EnergyLevels)
    assert found.energies.dtype == torch.float64
    assert not found.energies.isnan().any()
    finite = torch.isfinite(found.energies)
    assert (found.energies[:, 1:] > found.energies[:, :-1])[finite[:, 1:]].all()
    rest = found.rest(0.8)
    assert torch.equal(torch.isfinite(rest), finite[:, -1])
    whole = found.log_n - dim / 2 * math.log1p(0.8**-2) - found.square / 2 / (1 + 0.8**2)
    assert (rest <= whole + 1e-9).all()


def test_the_generator_decides():
    first, again, other = (energy_levels(50, 20.0, 50.0, 4, seeded(seed)).energies for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.manual_seed(3)
    expected = energy_levels(5, 4.0, 5.0, 2).energies
    torch.manual_seed(3)
    assert torch.equal(energy_levels(5, 4.0, 5.0, 2).energies, expected)


def test_a_distance_elsewhere_is_refused():
    with pytest.raises(ValueError, match="square must be on the device cpu, got one on meta"):
        energy_levels(5, 4.0, torch.ones(2, device="meta"), 2)
