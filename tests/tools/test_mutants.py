"""Mutants judged by the exact claims of one run: a toy chapter that sees one function of theory, at two points."""

import nbformat
import pytest

from tools import mutants
from tools.execute import ChapterFailed

CELLS = {
    "set-up": """\
import sympy as sp
from diffmem_lib import claims
from diffmem_lib.theory import kde, posterior
own = claims.by(claims.OWN)
n = sp.Symbol("n", integer=True, positive=True)
v, s = sp.symbols("v s", positive=True)
ratio = n / (1 + v / s**2)""",
    "formula": """own.implements("library", ratio, posterior.participation_ratio, [n, v, s])""",
    "edge": """own.values("edge", kde.rate, [((0.0,), 0.0)])""",
    "again": """own.implements("again", ratio, posterior.participation_ratio, [n, v, s])""",
}


def write(path, **changed):
    cells = [nbformat.v4.new_code_cell(code, id=name) for name, code in (CELLS | changed).items()]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def numbers(module):
    return list(range(len(list(mutants.mutants_of(mutants.THEORY / f"{module}.py")))))


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """What one run refuses; it comes to its end, so that the library is as it was when the last claim meets it."""
    path = write(tmp_path_factory.mktemp("chapters") / "toy.ipynb")
    return mutants.refused_by_exact_claims(path, {name: numbers(name) for name in ("posterior", "kde", "linear")})


def test_a_claim_over_the_whole_formula_refuses_every_mutant(refused):
    assert refused["posterior"] == {str(number): "library" for number in numbers("posterior")}


def test_a_claim_at_an_edge_refuses_only_what_it_sees(refused):
    seen = {int(number) for number in refused["kde"]}
    assert 0 < len(seen) < len(numbers("kde"))
    assert set(refused["kde"].values()) == {"kde.rate"}


def test_what_no_claim_reaches_is_left(refused):
    assert refused["linear"] == {}


def test_a_chapter_that_refuses_the_library_as_it_is_says_so(tmp_path):
    path = write(tmp_path / "toy.ipynb", formula="own.values('edge', posterior.participation_ratio, [((1, 1, 1), 3)])")
    with pytest.raises(ChapterFailed, match="ClaimRefused"):
        mutants.refused_by_exact_claims(path, {"posterior": numbers("posterior")})


@pytest.mark.parametrize("module", sorted({module for module, _, _ in mutants.EQUAL}))
def test_what_is_left_out_as_no_error_would_be_made(module):
    path = mutants.THEORY / f"{module}.py"
    made = len(list(mutants._mutations(path.read_text(), mutants._Formulas)))
    assert made - len(numbers(module)) == sum(module == name for name, _, _ in mutants.EQUAL)
