"""Printed formulas: what was written is what is typeset, and what is typeset is what was checked."""

import pytest
import sympy as sp

from diffmem_lib.claims import printing

r, x, y, s2 = sp.symbols("r x y s_2", positive=True)
d, n, i = sp.symbols("d n i", integer=True, positive=True)
alpha_bar, h_G = sp.symbols("alpha_bar h_G", positive=True)
NAMES = {"r": r, "x": x, "y": y, "s2": s2, "d": d, "n": n, "i": i, "ab": alpha_bar, "h_G": h_G}


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("(r - 1 - log(r))/2", r"\frac{r - 1 - \log r}{2}"),
        (
            "d*(n+1)/(n-d-2) - d - d*log(n/2)",
            r"\frac{d \left(n + 1\right)}{n - d - 2} - d - d \log\left(\frac{n}{2}\right)",
        ),
        ("-log(1-2*x)/2", r"- \frac{\log\left(1 - 2 x\right)}{2}"),
        ("Sum(digamma((n-i)/2), (i, 1, d))", r"\sum_{i=1}^{d} \psi\left(\frac{n - i}{2}\right)"),
        ("sqrt(1-ab)", r"\sqrt{1 - \bar{\alpha}}"),
        ("1/2*(x - y)", r"\frac{x - y}{2}"),
        ("-(x - y)/3", r"- \frac{x - y}{3}"),
        ("-(x - y)", r"- \left(x - y\right)"),
        ("r - (x - y)", r"r - \left(x - y\right)"),
        ("(1-r)**(-2)", r"\frac{1}{\left(1 - r\right)^{2}}"),
        ("exp(-x**2/(2*s2))", r"e^{- \frac{x^{2}}{2 s_{2}}}"),
        ("-x + y", "- x + y"),
        ("x*(-y)", "- x y"),
        ("x/y*r", r"\frac{x r}{y}"),
        ("log(x)*y", r"\log\left(x\right) y"),
        ("log(x)**2", r"\left(\log x\right)^{2}"),
        ("x**(1/2)*y**(3/2)", r"\sqrt{x} y^{3/2}"),
        ("1*x*1", "x"),
        ("-1*x", "- x"),
        ("2*3*x", r"2 \cdot 3 x"),
        ("Matrix([x - y, -x/2])", r"\left[\begin{matrix}x - y\\- \frac{x}{2}\end{matrix}\right]"),
        ("Eq(x, 1 - y)", "x = 1 - y"),
        ("h_G*x", "h_{G} x"),
    ],
)
def test_tex_as_written(text, tex):
    assert printing.read(text, names=NAMES).tex == tex


@pytest.mark.parametrize("text", ["-(x - y)*r/3", "-2**x + (-x)**2 - -y", "x - (y - (r - 1))/2", "-x**2/-y"])
def test_both_readings_are_equal(text):
    scope = {key: float(k + 2) / 3 for k, key in enumerate(NAMES)}
    formula = printing.read(text, names=NAMES)
    value = formula.expression.subs({NAMES[key]: number for key, number in scope.items()})
    assert float(value) == pytest.approx(eval(text, scope))
    shown, _ = printing._parse(text, NAMES)
    assert sp.simplify(shown.doit() - formula.expression) == 0


def test_an_expression_keeps_sympy_s_order():
    assert printing.tex_of(-(x**2) / 2 + x + 1) == r"- \frac{x^{2}}{2} + x + 1"


def test_one_line_without_dollars():
    tex = printing.read("Matrix([[x, y], [r, 1]])", names=NAMES).tex
    assert "\n" not in tex
    assert "$" not in tex


def test_left_hand_side_and_overrides():
    formula = printing.read("(1 - ab)/2", names=NAMES, name=r"\mathrm{KL}_n(r)", tex={alpha_bar: r"\bar\alpha_t"})
    assert formula.tex == r"\mathrm{KL}_n(r) = \frac{1 - \bar\alpha_t}{2}"
    assert formula.plain == r"$\mathrm{KL}_n(r)$ = (1 - ab)/2"


def test_names_are_looked_up():
    """In ``names`` first, of which only SymPy objects count, then among the symbols of what was derived."""
    assert printing.read("x*2", x + y).expression == 2 * x
    assert printing.read("x*2", x + y, names={"x": y}).expression == 2 * y
    assert printing.read("x*2", x + y, names={"x": 3.0}).expression == 2 * x
    f = sp.Function("f")
    assert printing.read("f(x)", f(x)).expression == f(x)


@pytest.mark.parametrize("text", ["x + unknown", "unknown(x)", "x + s2"])
def test_an_unknown_name_is_an_error(text):
    with pytest.raises(ValueError, match="not known"):
        printing.read(text, x + y)


def test_a_symbol_of_sympy_s_name():
    beta = sp.Symbol("beta", positive=True)
    assert printing.read("beta/2", beta).expression == beta / 2
