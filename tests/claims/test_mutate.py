"""Mutants: the small errors are among them, those that are the truth are known, none escapes a narrow domain."""

import os
import subprocess
import sys

import pytest
import sympy as sp

from diffmem_lib import claims
from diffmem_lib.claims import mutate

own = claims.by(claims.OWN)
a, b, c = sp.symbols("a b c", positive=True)
t = sp.Symbol("t", real=True)
n, k = sp.symbols("n k", integer=True, positive=True)


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (a + b, [a - b, -a + b, -a - b, a, b, 2 * a, 2 * b, a + b**2, sp.sqrt(a) + b, 1 + b]),
        (3 * a, [-3 * a, 2 * a, 4 * a, 6 * a, sp.Rational(3, 2) * a, a, sp.Integer(3), 3 * a**2, 3 * sp.sqrt(a)]),
        (a / 2, [a, a / 3, -a / 2, sp.Rational(3, 2) * a, a / 4]),
        (a**3, [a**2, a**4, a**6, a ** sp.Rational(3, 2), a**-3, -(a**3)]),
        (a**b, [b**b, a**a, a**-b, a ** (b**2)]),
        (sp.log(a - 1), [sp.log(a), sp.log(a + 1), sp.log(a - 2), sp.log(1 - a), -sp.log(a - 1), sp.log(a**2 - 1)]),
        (
            sp.Sum(k, (k, 1, n)),
            [sp.Sum(k, (k, 0, n)), sp.Sum(k, (k, 1, n**2)), sp.Sum(n, (k, 1, n)), sp.Sum(k**2, (k, 1, n))],
        ),
    ],
    ids=str,
)
def test_the_small_errors_are_among_them(formula, expected):
    assert set(expected) <= set(mutate.mutants(formula))


def test_they_are_distinct_and_not_the_formula():
    formula = a * sp.log(b / c) - (a - b) ** 2 / (2 * c)
    made = mutate.mutants(formula)
    assert len(made) == len(set(made))
    assert formula not in made


def test_a_mutant_that_is_the_truth_is_counted_apart():
    counts = own.equal("even", (a - t) ** 2, a**2 - 2 * a * t + t**2).record["mutants"]
    assert counts["equal"] == 0
    counts = own.equal("even", a**2 - 2 * a * t + t**2, (a - t) ** 2).record["mutants"]
    assert counts["equal"] == 1  # (t − a)²
    assert counts["refused"] == counts["tried"] - 1


def test_a_mutant_that_hides_in_the_domain_is_no_truth():
    """Where t² > 2 anyway, the first number of max(1, t²) is not tested: the claim must say so and not pass."""
    with pytest.raises(claims.ClaimRefused, match=r"cannot tell the prediction from: .*mutant Max\(2, t"):
        own.equal("hides", sp.Max(1, t**2), sp.Max(1, t**2), domain={t: (2, 3)})


def test_the_same_claim_without_the_domain_holds():
    own.equal("seen", sp.Max(1, t**2), sp.Max(1, t**2))


def test_what_has_no_value_is_counted_apart():
    counts = own.equal("sum", sp.Sum(k, (k, 1, n)), sp.Sum(k, (k, 1, n))).record["mutants"]
    assert counts["unevaluated"] > 0  # no sum to n/2 or √n at the points
    assert counts["made"] == counts["tried"] == counts["refused"] + counts["equal"] + counts["unevaluated"]


def test_slow_formulas_are_sampled_and_the_line_says_so(capsys):
    integral = sp.Integral(a * t**2 * (1 - t) ** 3 + b * t, (t, 0, 1))
    counts = own.equal("integral", a / 60 + b / 2, integral).record["mutants"]
    assert counts["tried"] == 20 < counts["made"]
    assert f"20 of {counts['made']} wrong variants tried" in capsys.readouterr().out


def test_counts_do_not_depend_on_the_hash_seed():
    code = """
import sympy as sp
from diffmem_lib import claims
v, w, m, a = sp.symbols("v w m a", positive=True)
f = (v / w - 1 - sp.log(v / w) + (m - a) ** 2 / w) / 2
print(claims.by(claims.OWN).equal("kl", f, f).record["mutants"])
"""
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1
    assert "'equal': 1" in runs.pop()  # (a − m)² for (m − a)²
