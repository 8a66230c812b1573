"""A stored result that was tampered with, and a formula with an error in it, are refused."""

import json
import os
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT, drawn

from tools import mutants
from tools.execute import CHAPTERS

FIRST = CHAPTERS / "perfect_denoiser.ipynb"
#: The parts of the book; from each, one mutant is drawn by the commit.
PARTS = {
    "foundations": ["posterior"],
    "memorization": ["kde", "regimes", "coverage", "neighbours", "learning_times"],
    "linear denoisers": ["linear", "divergences", "random_matrix", "flow", "nonlinear_gain"],
    "order of learning": ["hermite", "sgd_dynamics", "tied_neurons"],
}
#: Where the library holds Tweedie's formula, in what it computes directly: file, what stands there, with a wrong sign.
TWEEDIE = {
    "score of a law": ("data/laws.py", "-1 / variances)", "1 / variances)"),
    "posterior mean of a law": ("data/laws.py", "self._eigenvalues / variances)", "-self._eigenvalues / variances)"),
    "score of the empirical law": ("simulation/denoiser.py", "div_(sigma).div_(sigma)", "div_(sigma).div_(-sigma)"),
}


def nbval(path):
    """Run nbval on one notebook as `make test` does."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(path.parent), "--nbval-lax"]
    options = ["--nbval-current-env", "--nbval-cell-timeout=180", str(path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *options], capture_output=True, text=True, cwd=path.parent, env=environment)


@pytest.fixture
def small_chapter(tmp_path):
    """The derivations of the first chapter with their stored outputs, without its simulations."""
    notebook = nbformat.read(FIRST, as_version=4)
    notebook.cells = [c for c in notebook.cells if "sympy" in c.metadata.get("tags", [])]
    path = tmp_path / "chapter.ipynb"
    nbformat.write(notebook, path)
    return path


def test_stored_outputs_are_compared(small_chapter):
    result = nbval(small_chapter)
    assert result.returncode == 0, result.stdout


def test_a_tampered_output_is_refused(small_chapter):
    text = small_chapter.read_text()
    tampered = text.replace("algebra  The Jacobian of the denoiser", "algebra  The Jacobian of the sampler")
    assert tampered != text
    small_chapter.write_text(tampered)
    result = nbval(small_chapter)
    assert result.returncode == 1
    assert "1 failed" in result.stdout


@pytest.mark.parametrize("part", PARTS)
def test_a_mutant_drawn_at_random_is_refused(part):
    """One error a commit in each part of the book; `make mutants` tries them all."""
    found = [m for name in PARTS[part] for m in mutants.mutants_of(mutants.THEORY / f"{name}.py")]
    mutant = drawn(part).choice(found)
    assert mutants.caught(mutant), f"survives: {mutant}"


def test_every_module_of_theory_belongs_to_a_part_and_has_a_chapter():
    modules = {path.stem for path in mutants.THEORY.glob("*.py")} - {"__init__"}
    with_chapter = {name for names in PARTS.values() for name in names}
    assert modules == with_chapter
    assert {name for name in modules if mutants.chapters_of(mutants.THEORY / f"{name}.py")} == with_chapter


@pytest.mark.parametrize("where", TWEEDIE)
def test_a_wrong_sign_in_tweedies_formula_in_the_library_is_refused(where):
    name, right, wrong = TWEEDIE[where]
    path = ROOT / "diffmem_lib" / name
    source = path.read_text()
    assert source.count(right) == 1
    refusal = mutants.refusal(path, source.replace(right, wrong), FIRST)
    assert refusal is not None
    assert "ClaimRefused" in refusal


def test_a_wrong_sign_in_tweedies_formula_in_the_chapter_is_refused(tmp_path):
    source = FIRST.read_text()
    right = json.dumps("tweedie_of = lambda density: y + sigma**2 * sp.diff(sp.log(density), y)")[1:-1]
    assert source.count(right) == 1
    planted = tmp_path / "planted.ipynb"
    planted.write_text(source.replace(right, right.replace("y + sigma", "y - sigma")))
    module = mutants.THEORY / "posterior.py"
    assert "ClaimRefused" in mutants.refusal(module, module.read_text(), planted)


def test_formulas_are_found_and_checks_left_alone(tmp_path):
    module = tmp_path / "toy.py"
    module.write_text(
        "def f(x, n=3):\n"
        "    x = _checks.number(x, 'x', low=0)\n"
        "    if x > 7:\n"
        "        raise ValueError(f'{x + 1}')\n"
        "    start = 10 * x  # numerics\n"
        "    return -x ** 2 + n / 3\n"
    )
    changes = [m.source.splitlines()[-1].strip() for m in mutants.mutants_of(module)]
    assert changes == [
        "return -x ** 2 - n / 3",
        "return x ** 2 + n / 3",
        "return -(x * 2) + n / 3",
        "return -x ** 4 + n / 3",
        "return -x ** 2 + n * 3",
        "return -x ** 2 + n / 6",
    ]


DERIVATION = {
    "checked": (
        "import sympy as sp\nfrom diffmem_lib import claims\n"
        "x = sp.Symbol('x', real=True)\nown = claims.by(claims.OWN, domain={x: (1, 3)})\nslope = sp.diff(x**3, x)"
    ),
    "claim": "own.equal('slope', slope, '3*x**2', name='f')\nunseen = 5 * x",
}


def test_a_line_of_a_derivation_that_no_claim_checks_survives(tmp_path):
    path = tmp_path / "toy.ipynb"
    cells = [
        nbformat.v4.new_code_cell(code, id=name, metadata={"tags": ["sympy"]}) for name, code in DERIVATION.items()
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    refused = {str(mutant): refused for mutant, refused in mutants.refused_alone(path)}
    assert refused == {
        "toy, checked, line 5: x ** 3 → x * 3": True,
        "toy, checked, line 5: 3 → 6": True,
        "toy, claim, line 2: 5 * x → 5 / x": False,
        "toy, claim, line 2: 5 → 10": False,
    }
