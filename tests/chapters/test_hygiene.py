"""Every chapter is committed executed, complete, small and free of traces of the machine that ran it."""

import ast
import contextlib
import importlib.util
import json
import re
import sys
import types

import nbformat
import pytest
import yaml
from conftest import ROOT
from IPython.core.inputtransformer2 import TransformerManager

from tools import formulas, seeds
from tools.execute import all_chapters
from tools.results import METADATA_KEY, claims_of

CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
COLAB = "diffmem[book] @ git+{address}"
KINDS = {"equal", "implements", "values", "agreement", "exponent", "exceeds"}
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(home|root|work|tmp|Users|mnt|opt|usr|var)/|[A-Z]:\\\\")

pytestmark = pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def tags(cell):
    return cell.metadata.get("tags", [])


def test_is_a_valid_notebook_with_stable_ids(path):
    notebook = read(path)
    nbformat.validate(notebook)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert not [i for i in ids if re.fullmatch(r"[0-9a-f]{8}(-.*)?", i)], "an id drawn at random says nothing"


def test_is_executed_from_top_to_bottom(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))


def test_tagged_cells_hold_outputs(path):
    """nbval passes vacuously where nothing is stored."""
    checked = [cell for cell in code_cells(path) if "nbval-check-output" in tags(cell)]
    assert checked
    assert not [cell.id for cell in checked if not cell.outputs]


def test_every_claim_is_compared(path):
    for cell in code_cells(path):
        if any(METADATA_KEY in output.get("metadata", {}) for output in cell.outputs):
            assert "nbval-check-output" in tags(cell), cell.id


def test_claims_have_ids_of_their_own_and_hold(path):
    claims = claims_of(read(path))
    assert claims
    assert len({claim["id"] for claim in claims}) == len(claims)
    assert {claim["verdict"] for claim in claims} == {"holds"}
    assert all(claim["variants"] or claim.get("mutants") for claim in claims)


def test_no_output_is_an_error_or_on_stderr(path):
    for cell in code_cells(path):
        for output in cell.outputs:
            assert output.output_type != "error", cell.id
            assert output.get("name") != "stderr", cell.id


def test_names_no_path_of_a_machine(path):
    for cell in read(path).cells:
        text = cell.source + json.dumps(cell.get("outputs", []))
        assert not MACHINE_PATH.search(re.sub(r'"image/png": "[^"]*"|base64,[\w+/=]*', "", text)), cell.id


def test_every_figure_has_alt_text_and_caption(path):
    for cell in code_cells(path):
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            shown = cell.metadata.get("mystnb", {})
            assert len(shown.get("image", {}).get("alt", "")) > 40, cell.id
            assert len(shown.get("figure", {}).get("caption", "")) > 40, cell.id
            assert re.fullmatch(r"fig-[a-z0-9-]+", shown["figure"]["name"]), cell.id
        for output in cell.outputs:
            for image in re.findall(r"<img[^>]*>", output.get("data", {}).get("text/html", "")):
                assert re.search(r'alt="[^"]{40,}"', image), cell.id


def test_a_cell_that_names_a_figure_draws_one(path):
    for cell in code_cells(path):
        if "figure" in cell.metadata.get("mystnb", {}):
            assert any("image/png" in output.get("data", {}) for output in cell.outputs), cell.id


def significant_digits(text):
    """The most digits, from the first one that is not zero, of the numbers in a text."""
    return max((len(re.sub(r"\D", "", number).lstrip("0")) for number in re.findall(r"\d[\d.]*", text)), default=0)


def test_glued_numbers_are_the_same_on_every_machine(path):
    """Rounded, by the library's own `notebook.glue`; what it glues is compared with a fresh run."""
    for cell in code_cells(path):
        assert "myst_nb" not in cell.source, cell.id
        for output in cell.outputs:
            if "scrapbook" in output.get("metadata", {}):
                for text in output.data.values():
                    assert significant_digits(text) <= 6, (cell.id, text)


def test_printed_formulas_are_those_that_were_checked(path):
    notebook = read(path)
    assert formulas.differences(notebook, notebook) == []
    assert formulas.unmarked(notebook) == []


def test_claims_are_one_to_five_lines(path):
    """The first cell, which installs what is missing, is no Python; the values of a mapping take no arguments."""
    nodes = [(cell.id, node) for cell in code_cells(path)[1:] for node in ast.walk(ast.parse(cell.source))]
    calls = [(id, node) for id, node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    claims = [(id, node) for id, node in calls if node.func.attr in KINDS and node.args]
    assert claims
    assert not [(id, ast.unparse(node.args[0])) for id, node in claims if node.end_lineno - node.lineno >= 5]


def test_outputs_show_no_markup_of_docstrings(path):
    texts = [str(text) for cell in code_cells(path) for o in cell.outputs for text in o.get("data", {}).values()]
    assert not [text[:80] for text in texts if re.search(r":\w+:`|^ *----+$", text, flags=re.MULTILINE)]


def test_is_small(path):
    assert sum(len(cell.source.splitlines()) for cell in code_cells(path)) <= 800
    assert path.stat().st_size < 550_000


def test_all_randomness_is_torchs_and_no_code_is_removed(path):
    code = "\n".join(cell.source for cell in code_cells(path))
    assert not re.search(r"(np|numpy)\.random|default_rng|\.rvs\(", code)
    assert not [cell.id for cell in code_cells(path) if "remove-input" in tags(cell)]


def test_derivations_import_sympy_only(path):
    """Cells tagged sympy run where nothing else is, in their order."""
    allowed = {"sympy", "mpmath", "diffmem_lib.claims", "diffmem_lib.notebook", "diffmem_lib.notebook.symbolic"}
    derivation = "\n".join(cell.source for cell in code_cells(path) if "sympy" in tags(cell))
    derivation = derivation.replace("from diffmem_lib import claims\n", "")
    imported = re.findall(r"^(?:from|import) ([\w.]+)", derivation, flags=re.MULTILINE)
    assert set(imported) <= allowed
    assert "torch" not in derivation
    assert "np." not in derivation


@pytest.mark.parametrize("modules", [{}, {"google.colab": None}], ids=["elsewhere", "colab"])
def test_installs_what_is_missing_on_colab_and_names_it_elsewhere(path, modules, monkeypatch):
    install = COLAB.format(address=yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"])
    shell, ran = types.SimpleNamespace(run_line_magic=lambda *magic: ran.append(magic)), []
    first = compile(TransformerManager().transform_cell(code_cells(path)[0].source), path.stem, "exec")
    exec(first, {"get_ipython": lambda: shell})
    assert not ran, "nothing is installed where nothing is missing"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    with contextlib.nullcontext() if modules else pytest.raises(ModuleNotFoundError, match=re.escape(install)):
        exec(first, {"get_ipython": lambda: shell})
    assert ran == [("pip", f'install -q "{install}"')] * len(modules)


def test_has_the_sections_of_a_chapter(path):
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    assert "| You need |" in text
    assert len(re.findall(r"^[`:]{3,}\{exercise\}", text, flags=re.MULTILINE)) >= 3
    assert re.search(r"[`:]{3,}\{prf:(theorem|proposition)\}", text)
    for heading in ("Where it stops being true", "Exercises", "To remember", "Further reading"):
        assert re.search(rf"^## {heading}", text, flags=re.MULTILINE), heading


def test_is_in_the_table_of_contents(path):
    assert path in all_chapters()


def test_what_rests_on_a_longer_run_says_so(path):
    reads = any("notebook.stored(" in cell.source for cell in code_cells(path))
    assert reads == any(claim["tier"] == "stored" for claim in claims_of(read(path)))


def test_its_claims_are_those_that_were_run_at_other_seeds(path):
    record = seeds.noted(path)
    assert record is not None, f"run python -m tools.seeds {path.stem}"
    measured = sorted(claim["id"] for claim in claims_of(read(path)) if seeds.depends_on_seed(claim))
    assert record["claims"] == measured, f"run python -m tools.seeds {path.stem}"
    assert len(record["refused"]) >= 3
    assert not any(record["refused"].values())
