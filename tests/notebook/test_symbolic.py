"""Gaussian integrals against mpmath."""

import mpmath
import pytest
import sympy as sp

from diffmem_lib.notebook import symbolic

z, a = sp.Symbol("z", real=True), sp.Symbol("a", positive=True)


@pytest.mark.parametrize("expression", [z**4, sp.exp(a * z), z * sp.exp(a * z), sp.cos(a * z)])
@pytest.mark.parametrize(("mean", "variance"), [(0, 1), (sp.Rational(3, 2), 2)])
def test_expectation(expression, mean, variance):
    value = symbolic.gaussian_expectation(expression, z, mean, variance).subs(a, sp.Rational(7, 10))
    density = symbolic.gaussian_density(z, mean, variance)
    integrand = sp.lambdify(z, (expression * density).subs(a, sp.Rational(7, 10)), "mpmath")
    assert float(value) == pytest.approx(float(mpmath.quad(integrand, [-20, 0, 20])), rel=1e-12)


def test_an_integral_that_sympy_cannot_do_is_refused():
    with pytest.raises(ValueError, match="Gaussian integral"):
        symbolic.gaussian_expectation(sp.Function("f")(z), z)


def test_show_keeps_the_equation():
    equation = symbolic.show("f", sp.Integer(1))
    assert isinstance(equation, sp.Eq)
    assert equation.rhs == 1


def test_symbols_of_the_expression_are_not_integrated_over():
    u = sp.Symbol("u", real=True)
    assert symbolic.gaussian_expectation(u * z**2, z) == u


def test_a_sequence_is_printed_with_its_index():
    m, t = symbolic.indexed("m", r"\hat m"), sp.Symbol("t", integer=True)
    assert m(t).is_positive
    assert sp.latex(m(t - 1) ** 2 / m(2)) == r"\frac{\hat m_{t - 1}^{2}}{\hat m_{2}}"


def test_moments_of_a_polynomial_in_two_variables():
    b = sp.Symbol("b", real=True)
    polynomial = (a * z + b) ** 4 * (b + z) ** 2 + sp.log(a)
    both = sp.integrate(sp.expand(polynomial * symbolic.gaussian_density(z)), (z, -sp.oo, sp.oo))
    assert sp.simplify(symbolic.gaussian_moment(polynomial, z) - both) == 0
    twice = sp.integrate(sp.expand(both * symbolic.gaussian_density(b)), (b, -sp.oo, sp.oo))
    assert sp.simplify(symbolic.gaussian_moment(polynomial, z, b) - twice) == 0


def test_what_is_no_polynomial_has_no_moments():
    with pytest.raises(ValueError, match="polynomial must be one in z"):
        symbolic.gaussian_moment(sp.exp(z), z)
