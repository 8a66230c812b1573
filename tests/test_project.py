"""The project as a whole: layers, one address, one test module for each module, nothing left behind."""

import json
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from conftest import ROOT

import diffmem_lib

ADDRESS = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
MODULES = sorted(
    path.relative_to(ROOT / "diffmem_lib")
    for path in (ROOT / "diffmem_lib").rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)


def tracked():
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:  # an archive without its history
        made = {".venv", "_build", ".ruff_cache", ".mypy_cache"}
        return [p for p in ROOT.rglob("*") if p.is_file() and not made & set(p.parts)]
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_layers():
    """theory and simulation do not know each other, and the other contracts of pyproject.toml."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    result = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_the_audit_starts_without_compilers_and_algebra():
    code = "import sys, diffmem_lib.memorization, diffmem_lib.cli; print(sorted({'numba', 'sympy'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_has_its_tests(module):
    assert (ROOT / "tests" / module.parent / f"test_{module.name}").is_file()


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_does_not_carry_the_name_of_a_function_of_its_package(module):
    package = "diffmem_lib" if module.parent.name == "" else f"diffmem_lib.{module.parent}".replace("/", ".")
    exported = getattr(__import__(package, fromlist=["_"]), module.stem, None)
    assert exported is None or type(exported).__name__ == "module"


def test_the_address_stands_in_one_place():
    """Everything else agrees with _config.yml."""
    for path in tracked():
        if path.suffix in (".png", ".svg", ".ipynb") or path.name == "_config.yml":
            continue
        for found in re.findall(r"https://github\.com/[\w./-]+", path.read_text(encoding="utf-8")):
            if "diffmem" in found:
                assert found.removesuffix(".git").startswith(ADDRESS), path
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["repository-code"] == ADDRESS


def test_one_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == diffmem_lib.__version__
    assert f"## {diffmem_lib.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_only_what_is_released_has_a_date():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    head = next(line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    assert ("date-released" in cited) == ("unreleased" not in head)
    if "date-released" in cited:
        assert str(cited["date-released"]) in head


def test_every_dependency_is_pinned_and_explained():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    requirements = [requirement for group in groups for requirement in group]
    names = {re.match(r"[\w-]+", r)[0].lower() for r in requirements} - {"diffmem"}
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text().lower(), flags=re.MULTILINE))
    reasons = (ROOT / "CONTRIBUTING.md").read_text().lower()
    assert names <= pinned
    assert {name for name in names if f"`{name}`" not in reasons} == set()


def test_no_trace_of_a_machine_or_of_pickle():
    for path in tracked():
        if path.suffix in (".png", ".ipynb") or path.parts[-2:] == ("chapters", "test_hygiene.py"):
            continue
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.])/(home|root|work|Users)/\w", text), path
        if path.parts[-2:] != ("tests", "test_cli.py"):  # it tests that pickled arrays are refused
            assert not re.search(r"^\s*(import pickle|from pickle)|allow_pickle\s*=\s*True", text, re.MULTILINE), path


def test_no_file_is_large():
    assert not [path for path in tracked() if path.stat().st_size > 1_000_000]


def test_make_alone_lists_the_commands():
    listing = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True).stdout
    checks = ("benchmark", "seeds", "mutants", "portable", "hands", "stored")
    for command in ("book", "test", "lab", "serve", "clean", *checks):
        assert f"make {command} " in listing


def test_the_first_twelve_chapters_are_more_thought_than_code():
    """They were ten, of 10,032 lines of code in all, before formulas were the statements."""
    later = {
        "classes_and_time",
        "early_stopping",
        "fewer_samples",
        "linear_and_nonlinear",
        "near_neighbours",
        "sparse_images",
    }
    notebooks = [json.loads(path.read_text()) for path in (ROOT / "chapters").glob("*.ipynb") if path.stem not in later]
    sources = ["".join(cell["source"]) for book in notebooks for cell in book["cells"] if cell["cell_type"] == "code"]
    assert len(notebooks) == 12
    assert sum(len(source.splitlines()) for source in sources) <= 6500
