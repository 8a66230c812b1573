"""Intervals by their definitions and coverage, p-values and discoveries by hand and over many audits."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.stats import binom

from diffmem_lib.memorization import (
    benjamini_hochberg,
    binomial_interval,
    conformal_p_values,
    difference_interval,
    fewest_discoveries,
)


@pytest.mark.parametrize(("count", "total"), [(0, 10), (3, 10), (10, 10), (7, 500)])
def test_interval_by_its_definition(count, total):
    """At either end the count seen is as rare as 2.5 %."""
    low, high = binomial_interval(count, total)
    assert low == 0 if count == 0 else binom.sf(count - 1, total, low) == pytest.approx(0.025)
    assert high == 1 if count == total else binom.cdf(count, total, high) == pytest.approx(0.025)


def test_difference_as_newcombe_printed_it():
    """The worked cases of his paper (1998, table II, method 10), to its four digits."""
    for counts, printed in {
        (56, 70, 48, 80): (0.0524, 0.3339),
        (9, 10, 3, 10): (0.1705, 0.8090),
        (10, 10, 0, 20): (0.6791, 1.0000),
        (10, 10, 0, 10): (0.6075, 1.0000),
    }.items():
        assert difference_interval(*counts) == pytest.approx(printed, abs=6e-5)


def test_difference_mirrors():
    low, high = difference_interval(7, 60, 2, 90)
    assert difference_interval(2, 90, 7, 60) == pytest.approx((-high, -low))
    assert difference_interval(53, 60, 88, 90) == pytest.approx((-high, -low))


@pytest.mark.parametrize(("share", "base"), [(0.01, 0.01), (0.15, 0.007), (0.5, 0.4), (0.9, 0.02)])
def test_difference_covers(share, base):
    """Exactly, by summing over all counts; Newcombe's own mean over many shares is .952, single ones may lie lower."""
    m, h = 60, 40
    weight = np.outer(binom.pmf(np.arange(m + 1), m, share), binom.pmf(np.arange(h + 1), h, base))
    ends = np.array([[difference_interval(i, m, j, h) for j in range(h + 1)] for i in range(m + 1)])
    covers = (ends[..., 0] <= share - base) & (share - base <= ends[..., 1])
    assert (weight * covers).sum() > 0.93


def test_p_values_by_hand():
    held_out = torch.tensor([0.5, 0.9, 0.5])
    ratio = torch.tensor([0.0, 0.5, 0.6, 1.0])
    assert conformal_p_values(ratio, held_out).tolist() == [0.25, 0.75, 0.75, 1.0]  # a tie counts


@pytest.mark.parametrize("ties", [False, True])
def test_p_values_of_fresh_samples_are_valid(ties):
    """One p-value an audit, as within one they share the held-out set: uniform on multiples of 1/20."""
    generator, audits = torch.Generator().manual_seed(0), 20000
    values = torch.rand(audits, 20, generator=generator, dtype=torch.float64)
    values = (4 * values).floor() if ties else values
    p = torch.stack([conformal_p_values(row[:1], row[1:])[0] for row in values])
    for level in (0.05, 0.25, 0.7):
        spread = math.sqrt(level * (1 - level) / audits)
        found = float((p <= level).double().mean())
        assert found <= level + 4.5 * spread
        assert ties or found >= level - 4.5 * spread


def test_discoveries_by_their_definition():
    """In fractions, which round nothing: p-values are multiples of 1/400, so that ties with the line happen."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(200):
        multiples = torch.randint(1, 401, (40,), generator=generator) // (1 + 7 * torch.arange(40)).clamp(max=40) + 1
        exact = sorted(Fraction(int(k), 401) for k in multiples)
        passed = [k for k, p in enumerate(exact, 1) if p <= Fraction(1, 10) * k / 40]
        limit = exact[passed[-1] - 1] if passed else 0
        expected = [Fraction(int(k), 401) <= limit for k in multiples]
        assert benjamini_hochberg(multiples.double() / 401, 0.1).tolist() == expected


def test_the_smaller_ones_are_rejected_with_the_largest_that_passes():
    p = torch.tensor([0.04, 0.03, 0.02, 0.9], dtype=torch.float64)  # alone, only the third smallest is below its line
    assert benjamini_hochberg(p, 0.06).tolist() == [True, True, True, False]
    assert not benjamini_hochberg(torch.tensor([0.5, 1.0]), 0.05).any()


def test_rounding_decides_no_tie():
    """19 held-out points, one sample: 1/20 is not above .05."""
    p = conformal_p_values(torch.tensor([0.0]), torch.ones(19))
    assert benjamini_hochberg(p, 0.05).all()
    assert benjamini_hochberg(torch.tensor([0.04], dtype=torch.float64), 0.04).all()
    p = torch.tensor([1 / 400] * 104 + [14 / 400] + [1.0] * 195, dtype=torch.float64)  # the 105th: .1 × 105/300
    assert int(benjamini_hochberg(p, 0.1).sum()) == 105
    assert fewest_discoveries(1, 19, 0.05) == 1
    assert fewest_discoveries(1, 18, 0.05) == 2


@pytest.mark.parametrize(("m", "held_out", "fdr"), [(303, 399, 0.05), (100, 99, 0.1), (10, 3, 0.2), (50, 1000, 0.05)])
def test_fewest_is_where_discoveries_begin(m, held_out, fdr):
    """Copies nearer than everything held out, among samples that are further than everything."""
    fewest = fewest_discoveries(m, held_out, fdr)
    for copies in {max(1, fewest - 1), min(m, fewest)}:
        ratio = torch.tensor([0.0] * copies + [2.0] * (m - copies))
        found = benjamini_hochberg(conformal_p_values(ratio, torch.ones(held_out)), fdr)
        assert int(found.sum()) == (copies if copies >= fewest else 0)


def test_false_discoveries_two_sided():
    """π₀·fdr exactly where fdr(H + 1)/m is an integer and nothing is tied, with power in the same cell."""
    generator, audits, m, copies, held_out, fdr = torch.Generator().manual_seed(2), 4000, 50, 10, 199, 0.25
    shares, found = [], []
    for _ in range(audits):
        values = torch.rand(m + held_out, generator=generator, dtype=torch.float64)
        values[:copies] *= 0.02
        rejected = benjamini_hochberg(conformal_p_values(values[:m], values[m:]), fdr)
        shares.append(float(rejected[copies:].sum()) / max(1, int(rejected.sum())))
        found.append(float(rejected[:copies].sum()) / copies)
    shares = np.array(shares)
    assert shares.mean() == pytest.approx(0.8 * fdr, abs=4.5 * shares.std() / math.sqrt(audits))
    assert np.mean(found) > 0.9


def test_bad_input():
    good = torch.tensor([0.5, 0.7])
    for call, name in (
        (lambda: difference_interval(3, 2, 0, 1), "count"),
        (lambda: difference_interval(0, 0, 0, 1), "total"),
        (lambda: difference_interval(0, 1, 2, 1), "base_count"),
        (lambda: difference_interval(0, 1, 0, 0), "base_total"),
        (lambda: difference_interval(0, 1, 0, 1, 1.0), "confidence"),
        (lambda: conformal_p_values(good, good[:0]), "held_out"),
        (lambda: conformal_p_values(good * math.nan, good), "ratio"),
        (lambda: benjamini_hochberg(good + 1, 0.1), "p_value"),
        (lambda: benjamini_hochberg(good, 1.0), "fdr"),
        (lambda: fewest_discoveries(0, 3, 0.1), "m must"),
        (lambda: fewest_discoveries(3, -1, 0.1), "held_out"),
    ):
        with pytest.raises(ValueError, match=name):
            call()
