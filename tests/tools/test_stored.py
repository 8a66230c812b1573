"""Longer runs: a killed one goes on, a row that runs again agrees and one of other code does not, on a toy; and the
data of chapters/stored are those of their code, of which one row, drawn by the commit, is run again."""

import json
import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT, drawn

from diffmem_lib.notebook import long_runs
from tools import stored

TOY = '''"""A toy: what it is.

And more.
"""
import os, pathlib
import torch

GRID = {"replica": [0, 1], "n": [1, 2, 3]}
AT = {"mean": [1, 2, 3], "exact third": [0.5]}
MEAN = 1.0
HERE = pathlib.Path(__file__).parent


def row(n, replica, generator):
    with (HERE / "calls").open("a") as calls:
        calls.write(f"{n} {replica}\\n")
    if (n, replica) == (2, 1) and (HERE / "kill").exists():
        (HERE / "kill").unlink()
        os.kill(os.getpid(), 9)
    x = MEAN * n + torch.randn(3, 400, generator=generator, dtype=torch.float64)
    return {"mean": (x.mean(1).tolist(), (x.std(1) / 20).tolist()), "exact third": ([n / 3], [0.0])}
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The module of an experiment in a folder of its own."""
    stored.load.cache_clear()
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    monkeypatch.setattr(stored, "JOURNALS", tmp_path / "journals")
    path = tmp_path / "toy.py"
    path.write_text(TOY)
    return path


def calls(toy):
    return len((toy.parent / "calls").read_text().splitlines())


def run(*arguments):
    return stored.main(["toy", "--workers", "1", *arguments])


def test_the_file_holds_what_the_rows_return(toy, capsys):
    assert run() == 0
    assert "toy: 6 rows are in toy.json" in capsys.readouterr().out
    kept = long_runs.stored("toy", toy.parent)
    assert kept.about == "A toy: what it is.\n\nAnd more."
    assert kept.command == "python -m tools.stored toy"
    assert (kept.root_seed, kept.scale) == (0, "book")
    assert kept.grid == {"replica": (0, 1), "n": (1, 2, 3)}
    assert {name: places.tolist() for name, places in kept.at.items()} == {"mean": [1, 2, 3], "exact third": [0.5]}
    assert kept.values["mean"].shape == (2, 3, 3)
    assert abs(kept.values["mean"] - [[[1.0], [2.0], [3.0]]]).max() < 0.25
    assert len(set(kept.values["mean"].ravel())) == 18
    assert abs(kept.errors["mean"] - 0.05).max() < 0.01
    assert kept.values["exact third"][1, :, 0].tolist() == [0.333333, 0.666667, 1.0]
    text = (toy.parent / "toy.json").read_text()
    assert len([line for line in text.splitlines() if '"replica": ' in line and '"value"' in line]) == 6
    assert str(toy.parent) not in text


def test_what_is_up_to_date_is_left_alone_and_what_is_not_is_made(toy, capsys):
    run()
    made = (toy.parent / "toy.json").read_bytes()
    assert run() == 0
    assert "is up to date" in capsys.readouterr().out
    assert calls(toy) == 6
    assert run("--again") == 0
    assert (calls(toy), (toy.parent / "toy.json").read_bytes()) == (12, made)
    toy.write_text(TOY.replace('"n": [1, 2, 3]', '"n": [1, 2, 3, 4]'))  # a grid that has grown: the new rows only
    stored.load.cache_clear()
    assert run() == 0
    assert calls(toy) == 14
    assert long_runs.stored("toy", toy.parent).values["mean"].shape == (2, 4, 3)
    toy.write_text(TOY.replace("MEAN = 1.0", "MEAN = 5.0"))
    stored.load.cache_clear()
    assert run() == 0
    assert calls(toy) == 20
    assert abs(long_runs.stored("toy", toy.parent).values["mean"][:, 2] - 15).max() < 0.25


def test_a_run_that_was_killed_goes_on_to_the_same_file(toy):
    run()
    whole = (toy.parent / "toy.json").read_bytes()
    for path in (toy.parent / "toy.json", toy.parent / "calls", *(toy.parent / "journals").iterdir()):
        path.unlink()
    (toy.parent / "kill").touch()
    code = (
        "import pathlib, sys\nfrom tools import stored\n"
        "stored.FOLDER = pathlib.Path(sys.argv[1]); stored.JOURNALS = stored.FOLDER / 'journals'\n"
        "stored.main(['toy', '--workers', '1'])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", code, str(toy.parent)], env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert not (toy.parent / "toy.json").exists()
    assert calls(toy) == 5
    assert run() == 0
    assert (calls(toy), (toy.parent / "toy.json").read_bytes()) == (7, whole)


def test_the_command_runs_rows_in_other_processes():
    """As it is typed: what a module run by -m holds is not found by its name elsewhere."""
    command = [sys.executable, "-m", "tools.stored", "tied_recovery", "--workers", "2"]
    rows = ["--rows", "dim=8", "case=ten rows", "replica=0,1", "--again"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DIFFMEM_SEED": "77", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *rows], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert "2 rows are kept" in done.stdout, done.stderr
    for journal in (ROOT / "_build" / "stored").glob("tied_recovery-77-*"):
        journal.unlink()


def test_rows_can_be_run_before_others(toy, capsys):
    assert run("--rows", "n=3,1", "replica=0") == 0
    assert "2 rows are kept; without --rows the others follow" in capsys.readouterr().out
    assert (calls(toy), (toy.parent / "toy.json").exists()) == (2, False)
    assert run() == 0
    assert calls(toy) == 6


def test_a_row_that_runs_again_agrees(toy, capsys):
    run()
    assert run("--check", "--rows", "n=2") == 0
    assert capsys.readouterr().out.endswith(
        "row replica=0, n=2 differs by 0.00 of what is allowed\nrow replica=1, n=2 differs by 0.00 of what is allowed\n"
    )
    assert run("--check") == 0
    assert calls(toy) == 9


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("* n +", "* n + 0.4 +", r"row replica=1, n=3: mean\[\d\] is 3\.\d+, in the file \d\.\d+, allowed ±0\.\d+"),
        ("[n / 3]", "[n / 2]", r"exact third\[0\] is 1.5, in the file 1, allowed ±0"),
        ("randn(3", "randn(2", "measures other quantities than the file has"),
        ("* n +", "* n + 0.05 +", ""),  # within its errors, as another machine's may be
        ("torch.randn", "0.97 * torch.randn", ""),
    ],
)
def test_a_row_that_differs_by_more_than_its_errors_is_refused(toy, right, wrong, said):
    run()
    assert TOY.count(right) == 1
    toy.write_text(TOY.replace(right, wrong))
    stored.load.cache_clear()
    stamp(toy)
    if said:
        with pytest.raises(stored.Refused, match=said):
            stored.check(toy, {"n": 3, "replica": 1})
    else:
        assert 0 < stored.check(toy, {"n": 3, "replica": 1}) < 1


def stamp(toy):
    """Let a file pass for that of the code as it is."""
    file = toy.with_suffix(".json")
    kept = json.loads(file.read_text()) | {"code": long_runs.code_of(toy)}
    file.write_text(json.dumps(kept | {"digest": long_runs.digest_of(kept)}))


def test_a_stale_file_is_not_compared(toy, capsys):
    run()
    toy.write_text(TOY.replace("MEAN = 1.0", "MEAN = 5.0"))
    assert run("--check") == 1
    assert capsys.readouterr().err.strip().endswith("stored.toy has changed since; make stored makes it again")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "error: no experiment 'nonsense'; there are: toy"),
        (["toy", "--rows", "n=7"], "error: toy has no rows 'n=7'; it has replica=0,1; n=1,2,3"),
        (["toy", "--rows", "m=1"], "error: toy has no rows 'm=1'; it has replica=0,1; n=1,2,3"),
        (["toy", "--rows", "n"], "error: toy has no rows 'n'; it has replica=0,1; n=1,2,3"),
        (["toy", "--workers", "0"], "error: workers must be an integer of at least 1, got 0"),
    ],
)
def test_what_cannot_be_asked_for_is_said_in_a_line(toy, capsys, arguments, said):
    assert stored.main(arguments) == 1
    assert capsys.readouterr().err == said + "\n"


def test_a_row_that_fails_is_named(toy, capsys):
    toy.write_text(TOY.replace("    x =", "    x = 1 / (n - 3) +"))
    assert run() == 1
    assert "{'replica': 0, 'n': 3}: ZeroDivisionError: division by zero" in capsys.readouterr().err
    assert not (toy.parent / "toy.json").exists()


def test_rows_that_are_not_as_announced_are_refused(toy, capsys):
    toy.write_text(TOY.replace('"exact third": [0.5]', '"exact third": [0.5, 1.5]'))
    assert run() == 1
    said = "rows must measure {'mean': 3, 'exact third': 2}, as AT says, and measure {'exact third': 1, 'mean': 3}"
    assert capsys.readouterr().err.endswith(f"error: toy: {said}\n")


def test_help_says_what_there_is(capsys):
    with pytest.raises(SystemExit):
        stored.main(["--help"])
    said = capsys.readouterr().out
    for part in ("memorization_time", "--rows", "--check", "DIFFMEM_SCALE=full"):
        assert part in said


EXPERIMENTS = [stored.FOLDER / f"{name}.py" for name in stored.names()]
ALL = pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)


def test_every_file_is_of_an_experiment():
    assert {path.stem for path in EXPERIMENTS} == {path.stem for path in stored.FOLDER.glob("*.json")}


@ALL
def test_no_file_is_stale_or_lacks_rows(path):
    kept = long_runs.stored(path.stem, path.parent)
    assert stored.up_to_date(path, stored.load(path).GRID), "run make stored"
    assert kept.about == (stored.load(path).__doc__ or "").strip()
    assert kept.root_seed == 0


@ALL
def test_a_row_drawn_by_the_commit_is_measured_again(path):
    """`python -m tools.stored --check --rows …` runs any of them."""
    stored.check(path, drawn(path.stem).choice(stored.points_of(path)))


def test_another_learning_rate_is_refused(monkeypatch):
    path = stored.FOLDER / "memorization_time.py"
    cheapest = {"n": min(stored.load(path).GRID["n"]), "replica": 0}
    monkeypatch.setattr(stored.load(path), "RATE", stored.load(path).RATE / 2)
    with pytest.raises(stored.Refused, match=r"memorization_time, row .*: (memorized|loss)\["):
        stored.check(path, cheapest)
