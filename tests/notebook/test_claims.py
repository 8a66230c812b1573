"""Claims judge: each kind accepts a truth, refuses an error, and cannot be registered if it could not fail."""

import math
import random
import re
import subprocess
import sys

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from diffmem_lib.notebook import claims

x, s = sp.symbols("x s", positive=True)
n = sp.Symbol("n", integer=True, positive=True)
OFF = {"off": 2.0}


def normal(mean, spread, count, seed=0):
    rng = random.Random(seed)
    return [rng.gauss(mean, spread) for _ in range(count)]


class TestIdentity:
    def test_holds(self):
        claim = claims.identity("square", "s", (x + s) ** 2, x**2 + 2 * x * s + s**2, wrong={"sign": (x - s) ** 2})
        assert claim.verdict == "holds"
        assert claim.variants.keys() == {"sign"}

    def test_refuses_an_error_and_says_which(self):
        with pytest.raises(claims.ClaimRefused, match="'square' is refused"):
            claims.identity("square", "s", (x + s) ** 2, x**2 + s**2, wrong={"sign": (x - s) ** 2})

    def test_refuses_a_variant_that_is_the_truth(self):
        with pytest.raises(claims.ClaimRefused, match=r"cannot tell the prediction from its wrong variant.*same"):
            claims.identity("square", "s", x**2, x**2, wrong={"same": x * x})

    def test_an_error_of_1e_30_is_seen(self):
        with pytest.raises(claims.ClaimRefused):
            claims.identity("tiny", "s", x, x * (1 + sp.Rational(1, 10**30)), wrong={"sign": -x})

    def test_numbers_alone_do_not_suffice(self):
        with pytest.raises(claims.ClaimRefused, match="simplification leaves"):
            claims.identity("stubborn", "s", x + s, x + s, wrong={"sign": x - s}, simplifier=lambda e: e + 1)

    def test_matrices(self):
        m = sp.Matrix([[x, s], [s, x]])
        claims.identity("matrix", "s", m.inv() * m, sp.eye(2), wrong={"twice": 2 * sp.eye(2), "shape": sp.eye(3)})

    def test_undefined_functions(self):
        f = sp.Function("f")
        right = sp.diff(f(x), x) * x + f(x)
        claims.identity("leibniz", "s", sp.diff(x * f(x), x), right, wrong={"sign": right - 2 * f(x)})
        with pytest.raises(claims.ClaimRefused):
            claims.identity("leibniz", "s", sp.diff(x * f(x), x), right - f(x), wrong={"sign": right - 2 * f(x)})

    def test_integrals_and_sums_are_evaluated(self):
        k = sp.Symbol("k", integer=True)
        total = sp.Sum(k, (k, 1, n))
        claims.identity("sum", "s", total.doit(), n * (n + 1) / 2, wrong={"shift": n * (n - 1) / 2})
        integral = sp.Integral(sp.exp(-(x**2)), (x, 0, sp.oo))
        claims.identity("gauss", "s", integral.doit(), sp.sqrt(sp.pi) / 2, wrong={"two": sp.sqrt(sp.pi)})

    def test_nan_is_an_error(self):
        with pytest.raises(ValueError, match="finite"):
            claims.identity("nan", "s", sp.nan * x, x, wrong={"sign": -x})


class TestImplementation:
    def test_holds_and_refuses(self):
        claims.implementation("log", "s", sp.log(x) / s, lambda a, b: math.log(a) / b, [x, s], wrong={"sign": -x})
        with pytest.raises(claims.ClaimRefused, match="off by"):
            claims.implementation("log", "s", sp.log(x), lambda a: math.log(a) * (1 + 1e-9), [x], wrong={"sign": -x})

    def test_integers_stay_integers(self):
        claims.implementation("factorial", "s", sp.factorial(n), math.factorial, [n], wrong={"shift": sp.gamma(n)})

    def test_unknown_symbols(self):
        with pytest.raises(ValueError, match="arguments must name every symbol"):
            claims.implementation("log", "s", x * s, lambda a: a, [x], wrong={"sign": -x})

    def test_nan_of_the_function(self):
        with pytest.raises(ValueError, match="function must be finite"):
            claims.implementation("nan", "s", x, lambda a: math.nan, [x], wrong={"sign": -x})

    def test_tolerance_cannot_be_widened(self):
        with pytest.raises(ValueError, match="tolerance"):
            claims.implementation("log", "s", x, lambda a: a, [x], wrong={"sign": -x}, tolerance=1e-6)


class TestAgreement:
    def test_holds(self):
        claim = claims.agreement("mean", "s", 1.0, normal(1, 0.01, 40), wrong={"factor 2": 2.0})
        assert claim.verdict == "holds"
        assert claim.resolution < 0.02

    def test_refuses_an_error_above_its_resolution(self):
        sample = normal(1, 0.01, 40)
        resolution = claims.agreement("mean", "s", 1.0, sample, wrong=OFF).resolution
        for factor in (1 + 1.01 * resolution, 1 - 1.01 * resolution):
            with pytest.raises(claims.ClaimRefused, match="standard errors off"):
                claims.agreement("mean", "s", factor, sample, wrong=OFF)

    def test_undetected_variant(self):
        with pytest.raises(claims.ClaimRefused, match="cannot tell"):
            claims.agreement("mean", "s", 1.0, normal(1, 0.01, 40), wrong={"tiny": 1.0001})

    def test_coarse_data_are_no_agreement(self):
        with pytest.raises(claims.ClaimRefused, match="more replicas"):
            claims.agreement("mean", "s", 1.0, normal(1, 0.3, 20), wrong={"far": 9.0})

    def test_curves(self):
        rows = [list(pair) for pair in zip(normal(1, 0.01, 40, 1), normal(3, 0.01, 40, 2), strict=True)]
        claims.agreement("curve", "s", [1.0, 3.0], rows, wrong={"second": [1.0, 3.2]})
        with pytest.raises(claims.ClaimRefused):
            claims.agreement("curve", "s", [1.0, 3.1], rows, wrong={"second": [1.0, 3.2]})
        with pytest.raises(ValueError, match="2 value"):
            claims.agreement("curve", "s", 1.0, rows, wrong={"second": [1.0, 3.2]})

    def test_trend(self):
        sizes = [10, 20, 40, 80]
        groups = [normal(1 + 2 / size, 0.005, 40, size) for size in sizes]
        claims.agreement("trend", "s", 1.0, groups, sizes=sizes, rate=1, wrong={"limit": 1.1})
        with pytest.raises(claims.ClaimRefused):
            claims.agreement("trend", "s", 1.05, groups, sizes=sizes, rate=1, wrong={"limit": 1.1})

    def test_trend_with_a_wrong_rate_is_refused(self):
        sizes = [10, 20, 40, 80]
        groups = [normal(1 + 2 / math.sqrt(size), 0.001, 40, size) for size in sizes]
        with pytest.raises(claims.ClaimRefused, match="trend"):
            claims.agreement("trend", "s", 1.2, groups, sizes=sizes, rate=3, wrong={"limit": 9.0})

    @pytest.mark.parametrize(
        ("replicas", "message"),
        [
            ([1.0] * 7, "at least 8"),
            ([1.0] * 9, "without spread"),
            ([1.0] * 8 + [math.nan], "finite"),
            ([[1.0], [2.0, 3.0]] * 5, "same number of points"),
        ],
    )
    def test_bad_replicas(self, replicas, message):
        with pytest.raises(ValueError, match=message):
            claims.agreement("bad", "s", 1.0, replicas, wrong=OFF)

    def test_zero_needs_a_scale(self):
        sample = normal(0, 0.01, 40)
        with pytest.raises(ValueError, match="scale"):
            claims.agreement("zero", "s", 0.0, sample, wrong=OFF)
        claims.agreement("zero", "s", 0.0, sample, wrong=OFF, scale=1.0)

    @pytest.mark.parametrize("alpha", [0.0, 1e-3, -1.0, math.nan])
    def test_alpha_is_strict(self, alpha):
        with pytest.raises(ValueError, match="alpha"):
            claims.agreement("alpha", "s", 1.0, normal(1, 0.1, 9), wrong=OFF, alpha=alpha)

    def test_false_alarms_are_as_rare_as_promised(self):
        """At the level of 1e-4 the threshold is the one of SciPy's Student t."""
        for dof in (7, 19, 200):
            assert claims._student_quantile(5e-5, dof) == pytest.approx(stats.t.isf(5e-5, dof), rel=1e-9)


class TestExponent:
    sizes = (16, 32, 64, 128)

    def times(self, power, count=200, cut=math.inf):
        rng = random.Random(3)
        rows = [[size**power * (1 + rng.expovariate(3)) for _ in range(count)] for size in self.sizes]
        return [
            [t if t < cut * size**power else math.inf for t in row] for size, row in zip(self.sizes, rows, strict=True)
        ]

    def test_holds_and_refuses(self):
        claim = claims.exponent("cubic", "s", self.sizes, self.times(3), 3, wrong={"5/2": 2.5})
        assert {"exponent 2", "exponent 4", "5/2"} == set(claim.variants)
        with pytest.raises(claims.ClaimRefused):
            claims.exponent("cubic", "s", self.sizes, self.times(3.5), 3, wrong={"2": 2})

    def test_names_its_level(self):
        """99.9 % is not 100 %."""
        for level, shown in ((0.99, "99% interval ["), (0.999, "99.9% interval [")):
            claim = claims.exponent("cubic", "s", self.sizes, self.times(3), 3, wrong={"5/2": 2.5}, level=level)
            assert claim.error.startswith(shown)

    def test_no_growth_at_all(self):
        claim = claims.exponent("flat", "s", self.sizes, self.times(0), 0, wrong={"½": 0.5})
        assert claim.resolution == math.inf

    def test_a_variant_does_not_take_the_place_of_a_neighbour(self):
        with pytest.raises(ValueError, match="wrong must not name exponent 2"):
            claims.exponent("cubic", "s", self.sizes, self.times(3), 3, wrong={"exponent 2": 9})

    def test_censored_runs(self):
        claims.exponent("cubic", "s", self.sizes, self.times(3, cut=1.35), 3, wrong={"5/2": 2.5})
        with pytest.raises(ValueError, match="censored"):
            claims.exponent("cubic", "s", self.sizes, self.times(3, cut=1.1), 3, wrong={"5/2": 2.5})

    def test_wide_interval(self):
        rng = random.Random(0)
        times = [[size * math.exp(rng.gauss(0, 2)) for _ in range(12)] for size in self.sizes]
        with pytest.raises(claims.ClaimRefused, match=r"wider|against"):
            claims.exponent("wide", "s", self.sizes, times, 1, wrong={"3": 3})

    @pytest.mark.parametrize("bad", [math.nan, 0.0, -1.0])
    def test_bad_times(self, bad):
        times = self.times(1)
        times[1][0] = bad
        with pytest.raises(ValueError, match="positive"):
            claims.exponent("bad", "s", self.sizes, times, 1, wrong={"2": 2})


class TestOrder:
    def test_holds_and_refuses(self):
        sample = normal(1, 0.5, 30)
        claims.order("more", "s", sample, wrong={"reversed": [-v for v in sample]})
        with pytest.raises(claims.ClaimRefused):
            claims.order("more", "s", [-v for v in sample], wrong={"none": normal(0, 1, 30)})
        with pytest.raises(claims.ClaimRefused, match="cannot tell"):
            claims.order("more", "s", sample, wrong={"same": sample})

    def test_without_spread_the_signs_decide(self):
        claims.order("more", "s", [0.3] * 20, wrong={"less": [-0.3] * 20, "none": [0.0] * 20})
        with pytest.raises(claims.ClaimRefused, match=r"p = 0\.004"):
            claims.order("more", "s", [0.3] * 8, wrong={"less": [-0.3] * 8})

    def test_p_value_is_students(self):
        sample = normal(0.7, 1, 20)
        claim = claims.order("more", "s", [v + 1 for v in sample], wrong={"reversed": [-v for v in sample]})
        expected = stats.ttest_1samp([v + 1 for v in sample], 0, alternative="greater").pvalue
        assert f"p = {expected:.1g}" in claim.error


class TestRegistration:
    def test_without_a_wrong_variant(self):
        with pytest.raises(ValueError, match="cannot fail"):
            claims.identity("square", "s", x, x, wrong={})

    @pytest.mark.parametrize("id", ["", "Square", "a b", "x_y", "α"])
    def test_ids(self, id):
        with pytest.raises(ValueError, match="id must be"):
            claims.identity(id, "s", x, x, wrong={"sign": -x})

    def test_prints_one_line(self, capsys):
        claims.agreement("mean", "the mean", 1.0, normal(1, 0.01, 40), wrong={"double": 2.0})
        (line,) = capsys.readouterr().out.splitlines()
        assert re.match(r"PASS  the mean: theory 1\.000+  simulation [01]\.\d+\(\d+\); refuses double$", line)

    def test_needs_sympy_only(self):
        """A derivation runs where only SymPy is: no NumPy, SciPy or torch is imported."""
        code = (
            "import sys; from diffmem_lib.notebook import claims, symbolic; "
            "sys.exit(', '.join({'numpy', 'scipy', 'torch', 'matplotlib'} & set(sys.modules)) or 0)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class TestStatistics:
    @settings(max_examples=60, deadline=None)
    @given(st.floats(-30, 30), st.integers(1, 300))
    def test_student(self, t, dof):
        assert claims._student_tail(t, dof) == pytest.approx(stats.t.sf(t, dof), rel=1e-9, abs=1e-300)

    @settings(max_examples=60, deadline=None)
    @given(st.floats(0.01, 50), st.integers(1, 20), st.integers(1, 100))
    def test_fisher(self, f, numerator, denominator):
        expected = stats.f.sf(f, numerator, denominator)
        assert claims._fisher_tail(f, numerator, denominator) == pytest.approx(expected, rel=1e-9, abs=1e-300)

    @settings(max_examples=100, deadline=None)
    @given(st.floats(-1e6, 1e6), st.floats(1e-9, 1e4))
    def test_the_usual_notation_can_be_read_back(self, value, error):
        text = claims._with_error(value, error)
        shown, bracket = text.rstrip(")").split("(")
        digits = len(shown.split(".")[1]) if "." in shown else 0
        assert abs(float(shown) - value) <= error
        assert float(bracket) * 10.0**-digits == pytest.approx(error, rel=0.4)
