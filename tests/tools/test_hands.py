"""What the simulation sees: a toy chapter, with functions that its claims see and functions that they do not."""

import shutil

import nbformat
import pytest

from diffmem_lib.notebook import long_runs
from diffmem_lib.theory.regimes import collapse_sigma
from tools import hands
from tools.execute import PROBE, ChapterFailed, all_chapters, execute
from tools.results import claims_of

CELLS = {
    "set-up": """\
import sympy as sp
import torch
from diffmem_lib import claims
from diffmem_lib.theory import kde, posterior, regimes
own = claims.by(claims.OWN)
replicas = 50 * (1 + 0.02 * torch.randn(64, generator=torch.Generator().manual_seed(1)).double().numpy())""",
    "exact": """\
ratio = own.values("edge", posterior.participation_ratio, [((100, 1.0, 1.0), 50.0)])""",
    "drawn-only": "curve = kde.rate(2.0)",
    "zero": "nothing = kde.log_moment(0.0, 1.0)",
    "needed": f"assert abs(regimes.collapse_sigma(100, 10) - {collapse_sigma(100, 10)!r}) < 1e-9",
    "measured": """\
own.agreement("participation", "the toy", posterior.participation_ratio(100, 1.0, 1.0), replicas, wrong={"all": 100.0})
""",
    "later": "raise RuntimeError('not reached')",
}


def write(path, *left_out):
    cells = [nbformat.v4.new_code_cell(code, id=name) for name, code in CELLS.items() if name not in left_out]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = write(tmp_path_factory.mktemp("chapters") / "toy.ipynb", "later")
    return {row["function"]: (row["verdict"], row["by"]) for row in hands.rows_of(path)}


def test_each_function_that_the_chapter_calls_is_made_wrong(rows):
    assert rows == {
        "kde.log_moment": ("unchanged", ""),
        "kde.rate": ("survives", ""),
        "posterior.participation_ratio": ("refused", "participation"),
        "regimes.collapse_sigma": ("stopped", "AssertionError"),
    }


def test_a_chapter_that_does_not_hold_as_it_is_is_refused(tmp_path):
    with pytest.raises(ChapterFailed, match="toy does not hold as it is: RuntimeError"):
        list(hands.rows_of(write(tmp_path / "toy.ipynb")))


def test_claims_know_the_functions_on_which_they_rest(tmp_path):
    executed = execute(write(tmp_path / "toy.ipynb", "needed", "later"), before=PROBE)
    rests_on = {claim["id"]: claim["rests_on"] for claim in claims_of(executed)}
    assert {"kde.rate", "posterior.participation_ratio"} <= set(rests_on["participation"])
    assert executed.cells[0].execution_count == 1


def test_what_no_claim_sees_is_listed():
    rows = [
        {"function": "kde.rate", "entry": 0, "verdict": "refused", "by": "a"},
        {"function": "hermite.loss_series", "entry": 0, "verdict": "refused", "by": "b"},
        {"function": "hermite.loss_series", "entry": 1, "verdict": "survives", "by": ""},
        {"function": "kde.entropy", "entry": 0, "verdict": "survives", "by": ""},
    ]
    second = [{"function": "kde.entropy", "entry": 0, "verdict": "refused", "by": "c"}]
    table = {"one": {"key": "", "rows": rows}, "two": {"key": "", "rows": second}}
    seen = {"hermite.loss_series[0]": ["one/b"], "kde.entropy": ["two/c"], "kde.rate": ["one/a"]}
    assert hands.seen_by(table) == seen
    missed = hands.not_simulated(table)
    assert "hermite.loss_series" in missed
    assert "kde.clt_bandwidth" in missed, "called by no chapter"
    assert not {"kde.rate", "kde.entropy"} & set(missed)


ROWS = [{"function": "coverage.critical_sigma", "entry": 0, "verdict": "refused", "by": "a"}]


def test_the_key_changes_with_code_and_not_with_prose(tmp_path):
    path = write(tmp_path / "toy.ipynb")
    before = hands.key_of(path, ROWS)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_markdown_cell("prose", id="prose"))
    nbformat.write(notebook, path)
    assert hands.key_of(path, ROWS) == before
    notebook.cells[0].source += "\n"
    nbformat.write(notebook, path)
    assert hands.key_of(path, ROWS) != before


@pytest.mark.parametrize(
    ("module", "line", "same"),
    [
        ("coverage", "def critical_sigma(eigenvalues, n):\n    return 1.0", False),
        ("coverage", "def _root(log_eigenvalues, excess, log_n):\n    return 1.0", False),  # which it uses
        ("regimes", "log_collapse_sigma = None", False),  # which it imports
        ("coverage", "def another(n):\n    return n", True),
        ("kde", "def rate(tilt):\n    return tilt", True),
        ("coverage", "  # a comment", True),
        ("coverage", '"""A text that stands alone."""', True),
    ],
)
def test_the_key_changes_with_the_theory_that_the_chapter_uses(tmp_path, monkeypatch, module, line, same):
    path = write(tmp_path / "toy.ipynb")
    before = hands.key_of(path, ROWS)
    monkeypatch.setattr(long_runs, "LIBRARY", shutil.copytree(long_runs.LIBRARY, tmp_path / "diffmem_lib"))
    monkeypatch.setattr(hands, "THEORY", tmp_path / "diffmem_lib" / "theory")
    source = hands.THEORY / f"{module}.py"
    source.write_text(source.read_text().rstrip("\n") + ("" if line.startswith(" ") else "\n") + line + "\n")
    assert (hands.key_of(path, ROWS) == before) is same


def test_the_stored_table_is_that_of_the_chapters_and_the_theory_as_they_are():
    table = hands.read_table()
    assert set(table) == {path.stem for path in all_chapters()}
    stale = [
        path.stem for path in all_chapters() if hands.key_of(path, table[path.stem]["rows"]) != table[path.stem]["key"]
    ]
    assert not stale, "run python -m tools.hands " + " ".join(stale)


def test_what_no_simulation_sees_has_a_reason_and_nothing_else_has():
    missed = hands.not_simulated(hands.read_table())
    assert set(missed) == set(hands.REASONS)
    assert all(missed.values())
