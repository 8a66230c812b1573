"""SymPy steps that several chapters take; needs SymPy only."""

from __future__ import annotations

import sympy
from sympy.printing.latex import LatexPrinter

__all__ = ["gaussian_density", "gaussian_expectation", "gaussian_moment", "indexed", "show"]


def gaussian_density(x: sympy.Expr, mean: sympy.Expr = 0, variance: sympy.Expr = 1) -> sympy.Expr:
    """Density of N(mean, variance) at ``x``, one-dimensional."""
    variance = sympy.sympify(variance)
    return sympy.exp(-((x - mean) ** 2) / (2 * variance)) / sympy.sqrt(2 * sympy.pi * variance)


def gaussian_expectation(
    expression: sympy.Expr, variable: sympy.Symbol, mean: sympy.Expr = 0, variance: sympy.Expr = 1
) -> sympy.Expr:
    """E[expression] with ``variable`` ~ N(mean, variance): the integral done, convergence taken for granted.

    Raises
    ------
    ValueError
        If SymPy cannot do the integral; break the step into ones it can do.
    """
    # In the standardised variable SymPy knows more integrals.
    u = sympy.Dummy("u", real=True)  # not the u that the expression may hold
    standard = sympy.expand(expression.subs(variable, mean + sympy.sqrt(variance) * u), trig=True)
    value = sympy.integrate(standard * gaussian_density(u), (u, -sympy.oo, sympy.oo), conds="none")
    if value.has(sympy.Integral):
        raise ValueError(f"expression must have a Gaussian integral that SymPy can do, got {expression}")
    return sympy.simplify(value)


def gaussian_moment(polynomial: sympy.Expr, *variables: sympy.Symbol) -> sympy.Expr:
    """E[polynomial] with independent standard normal ``variables``: :math:`E z^k = (k - 1)!!` for even k, 0 for odd.

    A hundred times as quick as :func:`gaussian_expectation`, for which other symbols are a burden.

    Raises
    ------
    ValueError
        If it is no polynomial in the variables.
    """
    try:
        terms = sympy.Poly(sympy.expand(polynomial), *variables).terms()
    except sympy.PolynomialError as error:
        raise ValueError(f"polynomial must be one in {', '.join(map(str, variables))}, got {polynomial}") from error
    return sympy.simplify(sum(c * sympy.prod(0 if k % 2 else sympy.factorial2(k - 1) for k in ks) for ks, c in terms))


def show(name: str, expression: sympy.Expr) -> sympy.Eq:
    """The equation ``name`` = expression, unevaluated, for display as the last line of a cell."""
    return sympy.Eq(sympy.Symbol(name), expression, evaluate=False)


def indexed(name: str, tex: str) -> sympy.FunctionClass:
    """An unknown positive sequence: a function of its index, which is printed as a subscript of ``tex``."""

    def printed(term: sympy.Expr, printer: LatexPrinter, exp: str | None = None) -> str:
        index = printer._print(term.args[0])
        return f"{tex}_{{{index}}}" + (f"^{{{exp}}}" if exp else "")

    sequence = sympy.Function(name, positive=True)
    sequence._latex = printed
    return sequence
