"""Random points suit their symbols, and values are right to 40 digits against mpmath's own functions."""

import mpmath
import pytest
import sympy as sp

from diffmem_lib.claims import evaluate

x = sp.Symbol("x", positive=True)
t = sp.Symbol("t", real=True)
z = sp.Symbol("z")
n, k = sp.symbols("n k", integer=True)


def drawn(symbol, domain=None, count=12):
    return [point[symbol] for point in evaluate.draw_points("seed", [symbol], domain or {}, count)]


def test_points_take_all_signs():
    assert {sp.sign(value) for value in drawn(t)} == {-1, 1}
    assert {sp.sign(value) for value in drawn(n)} >= {-1, 1}
    quadrants = {(sp.sign(sp.re(value)), sp.sign(sp.im(value))) for value in drawn(z, count=40)}
    assert len(quadrants) == 4
    assert max(abs(sp.im(value)) for value in drawn(z, count=40)) > sp.pi
    assert all(value > 0 for value in drawn(x))


def test_two_integers_are_both_taken():
    assert set(drawn(n, {n: (3, 4)})) == {3, 4}
    assert set(drawn(sp.Symbol("e", even=True, positive=True))) <= {2, 4, 6, 8, 10, 12}


def test_points_depend_on_the_seed_only():
    assert drawn(t) == drawn(t)
    other = [point[t] for point in evaluate.draw_points("other", [t], {}, 12)]
    assert drawn(t) != other


@pytest.mark.parametrize(("symbol", "interval"), [(x, (-1, 1)), (sp.Symbol("m", negative=True), (-1, 1))])
def test_a_domain_that_leaves_the_assumptions(symbol, interval):
    with pytest.raises(ValueError, match="assumptions"):
        evaluate.checked_domain({symbol: interval})


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (sp.digamma(x) + sp.gamma(x), lambda v: mpmath.digamma(v) + mpmath.gamma(v)),
        (sp.erf(x) * sp.sqrt(-x), lambda v: mpmath.erf(v) * mpmath.sqrt(-v)),
        (sp.Sum(x**k, (k, 0, 5)), lambda v: (1 - v**6) / (1 - v)),
        (sp.Sum(k, (k, 5, 1)), lambda v: mpmath.mpf(-9)),
        (sp.Product(x, (k, 1, 3)), lambda v: v**3),
        (sp.Integral(sp.exp(-x * t**2), (t, -sp.oo, sp.oo)), lambda v: mpmath.sqrt(mpmath.pi / v)),
        (sp.besselj(0, x), lambda v: mpmath.besselj(0, v)),
        (sp.Piecewise((x, x > 5), (2 * x, True)), lambda v: 2 * v),
    ],
    ids=lambda value: str(value) if isinstance(value, sp.Basic) else "mpmath",
)
def test_values(expression, expected):
    with mpmath.workdps(60):
        value = evaluate.values_at({x: sp.Rational(13, 10)}, "f")(expression)
        assert evaluate.gap(value, expected(mpmath.mpf(13) / 10)) < 1e-37


@pytest.mark.parametrize(
    "expression",
    [
        1 / (t - 1),
        sp.log(t - 1),
        sp.gamma(1 - t),
        sp.Sum(k, (k, 1, t / 2)),
        sp.exp(sp.exp(sp.exp(5 * t))),
        sp.Integral(1 / x, (x, 0, t)),
    ],
    ids=str,
)
def test_what_has_no_value(expression):
    with pytest.raises(evaluate.Unevaluable):
        evaluate.values_at({t: sp.Integer(1)}, "f")(expression)


def test_slow_is_what_needs_quadrature_or_sympy():
    assert evaluate.is_slow(1 + sp.Integral(sp.exp(t), (t, 0, x)))
    assert evaluate.is_slow(sp.Sum(1 / k**2, (k, 1, sp.oo)))
    assert evaluate.is_slow(sp.besselj(0, x))
    assert not evaluate.is_slow(sp.Sum(sp.digamma(k), (k, 1, n)) + sp.log(x))
