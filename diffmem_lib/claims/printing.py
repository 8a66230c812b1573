"""Formulas as a reader writes them: text read twice, once as it stands for the page, once evaluated for the check.

An evaluated expression has lost the order of its terms: ½(r − 1 − log r) would print as r/2 − ½ log r − ½. SymPy only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sympy
from sympy.core.function import AppliedUndef, FunctionClass
from sympy.parsing.sympy_parser import evaluateFalse, standard_transformations, stringify_expr
from sympy.printing.latex import LatexPrinter

from diffmem_lib.claims.record import name_of

__all__ = ["Formula", "read", "tex_of"]

_MODIFIERS = ("bar", "hat", "tilde", "dot", "vec")


@dataclass(frozen=True)
class Formula:
    """What the page shows (``tex``), what a line of text shows (``plain``) and what is checked (``expression``)."""

    expression: Any
    tex: str
    plain: str

    def shown(self, beside: str, named: str) -> dict[str, str]:
        """What is printed: nothing where a sentence says it all, or it would be a page of algebra."""
        return {} if beside and not named else {"plain": self.plain, "tex": self.tex}


def read(
    formula: Any,
    derived: Any = None,
    *,
    name: str = "",
    names: Mapping[str, Any] | None = None,
    tex: Mapping[sympy.Symbol, str] | None = None,
) -> Formula:
    """A formula, given as text in SymPy's syntax or as an expression, ready for the page and for the check.

    Parameters
    ----------
    formula
        Text, an expression, a matrix, a relation, or a list of expressions (a column).
    derived
        What it will be compared with: its symbols and functions are known by their names.
    name
        The left-hand side, in TeX.
    names
        Where the names in the text are looked up first; only SymPy objects in it count.
    tex
        Symbol → how it is printed.

    Raises
    ------
    ValueError
        If the text names something that is neither in ``names`` nor in ``derived`` nor one of SymPy's functions.
    """
    if isinstance(formula, str):
        shown, expression = _parse(formula, _known(derived, names))
        plain = " ".join(formula.split())
    else:
        shown = expression = as_expression(formula)
        plain = name_of(expression)
    body = tex_of(shown, tex, as_written=isinstance(formula, str))
    if not name:
        return Formula(expression, body, plain)
    shown_name = f"${name}$" if "\\" in name else name
    return Formula(expression, f"{name} = {body}", f"{shown_name} = {plain}")


def as_expression(formula: Any) -> Any:
    """A SymPy expression, matrix or relation; a list of expressions is a column."""
    if isinstance(formula, list | tuple):
        return sympy.Matrix(list(formula))
    return sympy.sympify(formula)


def tex_of(expression: Any, tex: Mapping[sympy.Symbol, str] | None = None, as_written: bool = False) -> str:
    """TeX on one line; ``as_written``: terms and factors in the order in which they stand in the expression."""
    order = "none" if as_written else None
    printer = _Printer({"symbol_names": dict(tex or {}), "order": order, "fold_frac_powers": True})
    return " ".join(printer.doprint(expression).split())


# --------------------------------------------------------------------------------------------------
# Reading
# --------------------------------------------------------------------------------------------------


def _known(derived: Any, names: Mapping[str, Any] | None) -> dict[str, Any]:
    """The SymPy objects that the text may name: those of ``derived``, and those of ``names``, which win."""
    known: dict[str, Any] = {}
    if derived is not None:
        expression = as_expression(derived)
        known |= {symbol.name: symbol for symbol in expression.free_symbols}
        known |= {applied.func.__name__: applied.func for applied in expression.atoms(AppliedUndef)}
    kinds = (sympy.Basic, sympy.MatrixBase, FunctionClass)
    return known | {key: value for key, value in dict(names or {}).items() if isinstance(value, kinds)}


def _parse(text: str, known: Mapping[str, Any]) -> tuple[Any, Any]:
    """The text as it stands, and evaluated."""
    scope = {name: getattr(sympy, name) for name in sympy.__all__}
    code = stringify_expr(" ".join(text.split()), dict(known), scope, standard_transformations)
    tree = ast.fix_missing_locations(_Negations().visit(ast.parse(code, mode="eval")))
    shown = eval(compile(evaluateFalse(ast.unparse(tree)), text, "eval"), scope, dict(known))
    expression = as_expression(eval(compile(code, text, "eval"), scope, dict(known)))
    _refuse_unknown(text, expression, known.values())
    return (sympy.Matrix(shown) if isinstance(shown, list | tuple) else shown), expression


def _refuse_unknown(text: str, expression: Any, known: Iterable[Any]) -> None:
    """SymPy makes a new symbol of every name that it does not know; here that is a mistake in the text."""
    expressions = [value for value in known if isinstance(value, sympy.Basic | sympy.MatrixBase)]
    symbols = set().union(*(value.free_symbols for value in expressions))
    functions = {value for value in known if isinstance(value, FunctionClass)}
    functions |= {applied.func for value in expressions for applied in value.atoms(AppliedUndef)}
    unknown = expression.free_symbols - symbols
    unknown |= {applied.func for applied in expression.atoms(AppliedUndef)} - functions
    if unknown:
        raise ValueError(f"the formula {text!r} names what is not known: {', '.join(sorted(map(str, unknown)))}")


class _Negations(ast.NodeTransformer):
    """A sign in front becomes a factor −1, or part of the number: SymPy would multiply a bracket out."""

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        operand = self.visit(node.operand)
        if not isinstance(node.op, ast.USub):
            return operand
        if isinstance(operand, ast.Call) and getattr(operand.func, "id", "") in ("Integer", "Float"):
            operand.args[0] = ast.Constant(f"-{ast.literal_eval(operand.args[0])}")
            return operand
        minus = ast.Call(func=ast.Name("Integer", ast.Load()), args=[ast.Constant(-1)], keywords=[])
        return ast.BinOp(left=minus, op=ast.Mult(), right=operand)


# --------------------------------------------------------------------------------------------------
# Printing
# --------------------------------------------------------------------------------------------------


class _Printer(LatexPrinter):
    """SymPy's TeX with signs in front, one fraction a product, ψ for the digamma, and ``log r`` without brackets."""

    def _print_Symbol(self, expr: sympy.Symbol, style: str = "plain") -> str:
        base, _, modifier = expr.name.rpartition("_")
        if expr in self._settings["symbol_names"] or modifier not in _MODIFIERS or not base:
            return super()._print_Symbol(expr, style)
        return rf"\{modifier}{{{super()._print_Symbol(sympy.Symbol(base), style)}}}"

    def _print_Add(self, expr: sympy.Add, order: str | None = None) -> str:
        as_written = self._settings["order"] == "none"
        terms = _flattened(expr, sympy.Add) if as_written else self._as_ordered_terms(expr, order=order)
        printed = [self._print(term) for term in terms]
        text = printed[0]
        for term in printed[1:]:
            text += f" - {term[1:].strip()}" if term.startswith("-") else f" + {term}"
        return text

    def _print_Mul(self, expr: sympy.Mul) -> str:
        above, below, negative = [], [], False
        as_written = self._settings["order"] == "none"
        for factor in _flattened(expr, sympy.Mul) if as_written else expr.as_ordered_factors():
            top, bottom = _as_fraction(factor)
            if top.is_Number and top.is_negative:
                top, negative = -top, not negative
            above += [] if top is sympy.S.One else [top]
            below += [] if bottom is sympy.S.One else [bottom]
        if below:
            text = rf"\frac{{{self._product(above)}}}{{{self._product(below)}}}"
        elif negative and len(above) == 1:
            text = self._factor(above[0], last=True)  # a sum keeps its brackets behind a sign
        else:
            text = self._product(above)
        return f"- {text}" if negative else text

    def _product(self, factors: list[sympy.Expr]) -> str:
        if not factors:
            return "1"
        if len(factors) == 1:
            return self._print(factors[0])
        text = ""
        for k, factor in enumerate(factors):
            printed = self._factor(factor, last=k == len(factors) - 1)
            text += (r" \cdot " if text and printed[0].isdigit() else " ") + printed
        return text.strip()

    def _factor(self, factor: sympy.Expr, last: bool) -> str:
        """One of several factors: sums in brackets, and ``log r`` too if something follows it."""
        if isinstance(factor, sympy.log) and not last:
            return rf"\log\left({self._print(factor.args[0])}\right)"
        printed = self._print(factor)
        bracketed = factor.is_Add or factor.is_Mul or isinstance(factor, sympy.Integral | sympy.Derivative)
        bracketed |= isinstance(factor, sympy.Sum | sympy.Product) and not last
        return rf"\left({printed}\right)" if bracketed or printed.startswith("-") else printed

    def _print_Pow(self, expr: sympy.Pow) -> str:
        base, exponent = expr.base, expr.exp
        if exponent.is_number and not isinstance(exponent, sympy.Number) and exponent.doit().is_Rational:
            exponent = exponent.doit()  # 1/2 read as it stands is a product
        _, bottom = _as_fraction(sympy.Pow(base, exponent, evaluate=False))
        if bottom is not sympy.S.One:
            return rf"\frac{{1}}{{{self._print(bottom)}}}"
        if isinstance(base, sympy.log) and exponent.is_Integer:
            return rf"\left({self._print(base)}\right)^{{{self._print(exponent)}}}"
        return super()._print_Pow(sympy.Pow(base, exponent, evaluate=False))

    def _print_log(self, expr: sympy.log, exp: str | None = None) -> str:
        argument = expr.args[0]
        printed = self._print(argument)
        atom = (argument.is_Symbol or argument.is_Number) and not printed.startswith(("-", r"\frac"))
        text = rf"\log {printed}" if atom else rf"\log\left({printed}\right)"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"

    def _print_polygamma(self, expr: sympy.polygamma, exp: str | None = None) -> str:
        order, argument = expr.args
        symbol = r"\psi" if order == 0 else rf"\psi^{{({self._print(order)})}}"
        text = rf"{symbol}\left({self._print(argument)}\right)"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"

    def _print_digamma(self, expr: sympy.digamma, exp: str | None = None) -> str:
        return self._print_polygamma(sympy.polygamma(0, expr.args[0], evaluate=False), exp)


def _flattened(expr: sympy.Expr, kind: type) -> list[sympy.Expr]:
    parts: list[sympy.Expr] = []
    for part in expr.args:
        parts += _flattened(part, kind) if isinstance(part, kind) else [part]
    return parts


def _as_fraction(factor: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    """Numerator and denominator of one factor; a product below the line stays one."""
    if factor.is_Rational:
        return sympy.Integer(factor.p), sympy.Integer(factor.q)
    if isinstance(factor, sympy.Pow) and factor.exp.is_number and not isinstance(factor.base, sympy.exp):
        exponent = factor.exp.doit()
        if exponent.is_Rational and exponent.is_negative:
            return sympy.S.One, factor.base if exponent == -1 else sympy.Pow(factor.base, -exponent, evaluate=False)
    return factor, sympy.S.One
