"""Longer runs: what is read is what was written; what is missing, damaged or of other code is refused in a line."""

import json
import math
import shutil

import numpy as np
import pytest
from conftest import ROOT
from scipy import stats

from diffmem_lib import notebook
from diffmem_lib.notebook import long_runs

MODULE = '''"""A toy."""
from diffmem_lib.theory import coverage
from diffmem_lib.theory.kde import entropy

STEPS = 3


def row(n, generator):
    return steps(coverage.critical_sigma([1.0], n))


def steps(x):
    return STEPS * x


def unused(x):
    return entropy(x)
'''


def kept_of(folder):
    rows = [
        {"n": n, "kind": kind, "value": {"t": [n, 2.0 * n], "u": [len(kind)]}, "error": {"t": [0.1, 0.2], "u": [0.0]}}
        for n in (1, 2, 3)
        for kind in ("a", "bb")
    ]
    kept = {
        "format": long_runs.FORMAT,
        "experiment": "toy",
        "about": "A toy.",
        "command": "make it",
        "root_seed": 4,
        "scale": "book",
        "code": long_runs.code_of(folder / "toy.py"),
        "grid": {"n": [1, 2, 3], "kind": ["a", "bb"]},
        "at": {"t": [1, 2.5], "u": [0]},
        "rows": rows,
    }
    return kept | {"digest": long_runs.digest_of(kept)}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "toy.py").write_text(MODULE)
    (tmp_path / "toy.json").write_text(json.dumps(kept_of(tmp_path)))
    return tmp_path


def test_arrays_have_an_axis_for_each_coordinate(folder):
    run = notebook.stored("toy", folder)
    assert (run.about, run.command, run.root_seed, run.scale) == ("A toy.", "make it", 4, "book")
    assert run.grid == {"n": (1, 2, 3), "kind": ("a", "bb")}
    assert {name: places.tolist() for name, places in run.at.items()} == {"t": [1.0, 2.5], "u": [0.0]}
    n = np.array([1.0, 2.0, 3.0])[:, None, None]
    assert np.array_equal(run.values["t"], n * np.ones((1, 2, 1)) * [1.0, 2.0])
    assert np.array_equal(run.values["u"], np.ones((3, 1, 1)) * [[1.0], [2.0]])
    assert run.errors["t"].shape == (3, 2, 2)
    assert set(run.errors) == {"t", "u"}


def test_it_lies_beside_the_chapter(folder, monkeypatch):
    shutil.copytree(folder, folder / "stored")
    monkeypatch.chdir(folder)
    assert notebook.stored("toy").name == "toy"


@pytest.mark.parametrize("missing", ["toy.py", "toy.json"])
def test_what_is_missing_is_named(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(ValueError, match=rf"name must be that of a stored run, got 'toy': no file .*{missing}"):
        notebook.stored("toy", folder)


@pytest.mark.parametrize("name", ["other", "../toy", "", 3, None])
def test_a_wrong_name_is_refused(folder, name):
    with pytest.raises(ValueError, match="name must be that of"):
        notebook.stored(name, folder)


def test_a_wrong_folder_is_refused():
    with pytest.raises(ValueError, match="folder must be a path, got 3"):
        notebook.stored("toy", 3)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("[2, 4.0]", "[2, 5.0]"),  # a number
        ("[0.1, 0.2]", "[0.1, 9.2]"),  # an error
        ('"root_seed": 4', '"root_seed": 5'),
        ('"experiment": "toy"', '"experiment": "boy"'),
        ('"grid"', '"gird"'),
        ('"n": [1, 2, 3]', '"n": [1, 2]'),
        (long_runs.FORMAT, "diffmem-stored-0"),
        ("}", ""),
        (None, ""),
        (None, "[]"),
        (None, "3"),
    ],
)
def test_what_is_damaged_is_refused(folder, right, wrong):
    file = folder / "toy.json"
    text = file.read_text()
    assert right is None or right in text
    file.write_text(wrong if right is None else text.replace(right, wrong, 1))
    with pytest.raises(ValueError, match=r"toy.json is damaged, or not the data of 'toy'.*make stored makes it again"):
        notebook.stored("toy", folder)


@pytest.mark.parametrize(
    ("right", "wrong", "stale"),
    [
        ("STEPS = 3", "STEPS = 4", True),
        ("[1.0], n", "[2.0], n", True),
        ("return STEPS", "return 1 + STEPS", True),
        ("STEPS * x", "STEPS * x  # a comment", False),
        ("steps(x):", "steps(x: float) -> float:\n    '''Says.'''", False),
        ("return entropy(x)", "return entropy(x) + 1", False),
    ],
)
def test_code_that_is_run_makes_it_stale_and_nothing_else_does(folder, right, wrong, stale):
    assert MODULE.count(right) == 1
    (folder / "toy.py").write_text(MODULE.replace(right, wrong))
    if not stale:
        assert notebook.stored("toy", folder).name == "toy"
        return
    with pytest.raises(ValueError, match=r"toy.json is stale: what it uses of stored.toy has changed since; make"):
        notebook.stored("toy", folder)


@pytest.mark.parametrize(
    ("module", "right", "wrong", "changed"),
    [
        ("theory/coverage", "def critical_sigma(", "def critical_sigma(unused=0, *, ", "diffmem_lib.theory.coverage"),
        ("theory/coverage", "def critical_sigma(", "x = 1\n\n\ndef critical_sigma(", ""),
        ("_checks", "def eigenvalue_array(", "def eigenvalue_array(unused=0, *, ", "diffmem_lib._checks"),
        ("_checks", "def function(", "def function(unused=0, *, ", ""),
        ("theory/kde", "def entropy(", "def entropy(unused=0, *, ", ""),
        ("theory/__init__", '"""Closed', 'x = 1\n"""Closed', ""),
    ],
)
def test_the_library_is_seen_as_far_as_it_is_used(folder, monkeypatch, module, right, wrong, changed):
    before = long_runs.code_of(folder / "toy.py")
    assert {"stored.toy", "diffmem_lib.theory.coverage", "diffmem_lib._checks"} <= set(before)
    library = shutil.copytree(long_runs.LIBRARY, folder / "diffmem_lib", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(long_runs, "LIBRARY", library)
    assert long_runs.code_of(folder / "toy.py") == before
    path = library / f"{module}.py"
    text = path.read_text()
    assert right in text
    path.write_text(text.replace(right, wrong, 1))
    after = long_runs.code_of(folder / "toy.py")
    assert ",".join(name for name in before if after[name] != before[name]) == changed


def test_what_packages_hand_on_is_followed_and_chains_too():
    code = long_runs.code_of(ROOT / "chapters" / "stored" / "memorization_time.py")
    needed = {"simulation.networks", "simulation.network_training", "simulation.samplers", "data.images", "_tensors"}
    assert {f"diffmem_lib.{name}" for name in needed} <= set(code)
    assert not {name for name in code if "theory" in name or "sweep" in name or "__init__" in name}


@pytest.mark.parametrize(
    ("statement", "use"),
    [
        ("from diffmem_lib.theory.kde import entropy", "entropy(0.1)"),
        ("from diffmem_lib.theory.kde import entropy as h", "map(h, x)"),
        ("from diffmem_lib.theory import kde", "kde.entropy(0.1)"),
        ("from diffmem_lib import theory", "[theory.kde.entropy]"),
        ("", "sub(0.1)\n\n\ndef sub(x):\n    from diffmem_lib.theory import kde\n    return kde.entropy(x)"),
    ],
)
def test_a_function_is_found_however_it_is_named(tmp_path, statement, use):
    path = tmp_path / "toy.py"
    path.write_text(f"{statement}\n\n\ndef row(generator, x):\n    return {use}\n")
    code = long_runs.code_of(path)
    assert {"stored.toy", "diffmem_lib.theory.kde", "diffmem_lib._checks"} == set(code)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import diffmem_lib.data\n\ndef row(): pass\n", "by 'from'"),
        ("def rows(): pass\n", "must define a function row"),
        ("def row(:\n", "module must be one of Python"),
    ],
)
def test_a_module_that_cannot_be_followed_is_refused(tmp_path, text, said):
    path = tmp_path / "toy.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        long_runs.code_of(path)


def test_a_module_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"module must be one of Python, got .*none.py"):
        long_runs.code_of(tmp_path / "none.py")


def test_a_mean_has_the_standard_error_of_its_values():
    values = np.random.default_rng(0).normal(size=(3, 7))
    assert long_runs.mean(values) == pytest.approx((values.mean(), stats.sem(values, axis=None)))


def test_the_interval_of_a_share_covers_it_also_where_nothing_was_hit():
    """Agresti and Coull: two errors around the moved middle hold the true share about 95 times in a hundred."""
    for true in (0.02, 0.3):
        counts = np.arange(101)
        middles, errors = (counts + 2) / 104, [long_runs.share(np.arange(100) < count)[1] for count in counts]
        held = abs(middles - true) < 1.96 * np.array(errors)
        assert 0.93 < stats.binom.pmf(counts, 100, true)[held].sum() < 0.99
    assert long_runs.share(np.arange(10) < 3)[0] == 0.3
    assert long_runs.share(np.zeros(0, dtype=bool)) == (0, 0.25)


@pytest.mark.parametrize("values", [[1.0], [1.0, math.nan], "text"])
def test_what_has_no_mean_with_an_error_is_refused(values):
    with pytest.raises(ValueError, match="values must"):
        long_runs.mean(values)


@pytest.mark.parametrize("hits", [[0.0, 1.0], True, [[True]], "text"])
def test_a_share_is_of_truth_values(hits):
    with pytest.raises(ValueError, match=r"hits must be truth values \(n,\)"):
        long_runs.share(hits)
