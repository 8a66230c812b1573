"""simulation.sweep: the same bits on every backend, what a run keeps that is killed or fails, what is refused."""

import hashlib
import io
import json
import math
import os
import re
import runpy
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffmem_lib.notebook.settings import seed
from diffmem_lib.simulation import SweepError, run_sweep, sweep

GRID = {"d": [4, 7], "n": [10, 20, 30], "seed": range(4)}


def eigenvalues(generator, d, n, seed):
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return torch.linalg.eigvalsh(x.T @ x / n)[:3]


def uniform(generator, **coordinates):
    return torch.rand((), generator=generator, dtype=torch.float64)


def travelling(task):
    """The same function as one of a notebook, which a worker cannot import and so is sent."""
    code, names = task.__code__, {"torch": torch}
    return type(task)(code, names, task.__name__)


@pytest.fixture(scope="module")
def cluster():
    """A client of a local Dask cluster of two processes."""
    distributed = pytest.importorskip("distributed")
    with distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address="localhost:0") as client:
        yield client


@pytest.fixture(scope="module")
def serial():
    return run_sweep(eigenvalues, GRID, backend="serial").values


def same(first, second):
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()


# The numbers


def test_the_table_has_the_shape_of_the_grid(serial):
    assert serial.shape == (2, 3, 4, 3)
    assert len(np.unique(serial)) == serial.size


def test_a_seed_is_the_hash_of_root_seed_and_coordinates():
    table = run_sweep(
        uniform, {"n": [10], "d": [3], "x": [0.1], "name": ["é"], "flag": [True]}, root_seed=7, backend="serial"
    )
    key = '{"d":3,"flag":true,"n":10,"name":"\\u00e9","x":0.1}'
    digest = hashlib.sha256(f"7/{key}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    assert table.values.item() == uniform(generator).item()
    assert seed(key, 7) == generator.initial_seed()  # a chapter's seeds are made the same way


@pytest.mark.parametrize("batch", [None, 1, 5, 1000])
def test_processes_give_the_same_bits(serial, batch):
    assert same(run_sweep(travelling(eigenvalues), GRID, workers=2, batch=batch).values, serial)


@pytest.mark.parametrize("batch", [None, 1, 1000])
def test_a_cluster_gives_the_same_bits(serial, cluster, batch):
    assert same(run_sweep(travelling(eigenvalues), GRID, backend="dask", client=cluster, batch=batch).values, serial)


def test_threads_of_this_process_change_nothing_and_are_given_back(serial):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert same(run_sweep(eigenvalues, GRID, backend="serial").values, serial)
        assert torch.get_num_threads() == 2
        assert run_sweep(lambda generator, k: torch.get_num_threads(), {"k": [0]}, backend="serial").values == 1
    finally:
        torch.set_num_threads(before)


@given(st.permutations(list(GRID)), st.lists(st.sampled_from(range(4)), min_size=1, unique=True), st.integers(1, 30))
def test_neither_order_nor_the_rest_of_the_grid_matters(names, seeds, batch):
    grid = {name: seeds if name == "seed" else GRID[name] for name in names}
    whole = run_sweep(uniform, GRID, backend="serial").values
    part = run_sweep(uniform, grid, backend="serial", batch=batch).values
    assert same(part.transpose([names.index(name) for name in GRID]).copy(), whole[:, :, seeds].copy())


def test_another_root_seed_gives_other_numbers(serial):
    assert not np.isin(run_sweep(eigenvalues, GRID, backend="serial", root_seed=1).values, serial).any()


def test_coordinates_of_numpy_and_torch_are_plain_numbers():
    plain = run_sweep(uniform, {"n": [1, 2], "x": [0.5]}, backend="serial").values
    for grid in ({"n": np.array([1, 2]), "x": np.array([0.5])}, {"n": torch.tensor([1, 2]), "x": torch.tensor([0.5])}):
        table = run_sweep(uniform, grid, backend="serial")
        assert same(table.values, plain)
        assert [type(value) for values in table.grid.values() for value in values] == [int, int, float]


@pytest.mark.parametrize(("returned", "expected"), [
    (1.5, np.array([1.5, 1.5])),
    (np.float32(0.1), np.array([np.float32(0.1)] * 2, dtype=np.float64)),
    (True, np.array([1.0, 1.0])),
    (math.inf, np.array([math.inf] * 2)),
    (torch.tensor(2), np.array([2.0, 2.0])),
    ([1, 2], np.array([[1.0, 2.0]] * 2)),
    (torch.ones(1), np.array([[1.0], [1.0]])),
    ({"b": 1, "a": torch.tensor(-0.0)}, {"a": np.array([-0.0, -0.0]), "b": np.array([1.0, 1.0])}),
])  # fmt: skip
def test_what_a_task_may_return(tmp_path, returned, expected):
    for _ in range(2):  # the second time from the store
        options = {"store": tmp_path / "store", "version": "1", "backend": "serial"}
        values = run_sweep(lambda generator, k: returned, {"k": [0, 1]}, **options).values
        if isinstance(expected, dict):
            assert all(same(values[name], expected[name]) for name in expected)
            assert list(values) == list(expected)
        else:
            assert same(values, expected)


# Failures


@pytest.mark.parametrize("returned", [
    math.nan, [1.0, math.nan], {"a": math.nan}, None, "x", 1j, torch.ones(2, 2), [], {}, {"a": [1.0]}, {1: 2.0},
], ids=str)  # fmt: skip
def test_what_is_no_number_is_a_failure(returned):
    with pytest.raises(SweepError, match=r"1 of 1 tasks failed\n\{'k': 3\}: (Type|Value)Error: a task must"):
        run_sweep(lambda generator, k: returned, {"k": [3]}, backend="serial")


def test_failures_name_their_coordinates_and_lose_no_others(cluster):
    def task(generator, a, b):
        if a == 1 and b == "y":
            raise ZeroDivisionError(f"at {a}")
        if a == 2 and b == "x":
            sys.exit(3)
        return float(a)

    task.__globals__["sys"] = sys
    for options in ({"backend": "serial"}, {"workers": 2, "batch": 2}, {"backend": "dask", "client": cluster}):
        with pytest.raises(SweepError, match="2 of 8 tasks failed") as caught:
            run_sweep(task, {"a": range(4), "b": ["x", "y"]}, **options)
        table = caught.value.table
        assert [failure.coordinates for failure in table.failures] == [{"a": 1, "b": "y"}, {"a": 2, "b": "x"}]
        assert [failure.error for failure in table.failures] == ["ZeroDivisionError: at 1", "SystemExit: 3"]
        assert "in task" in table.failures[0].traceback
        assert "{'a': 1, 'b': 'y'}: ZeroDivisionError: at 1" in str(caught.value)
        np.testing.assert_array_equal(table.values, [[0, 0], [1, np.nan], [np.nan, 2], [3, 3]])
        assert run_sweep(task, {"a": range(4), "b": ["x", "y"]}, errors="return", **options).failures[0].coordinates


def test_a_task_that_returns_another_shape_is_the_failure_not_the_others():
    def task(generator, k):
        return {"a": 1.0} if k == 0 else {"a": 2.0, "b": 3.0}

    table = run_sweep(task, {"k": range(3)}, backend="serial", errors="return")
    assert [failure.coordinates for failure in table.failures] == [{"k": 0}]
    np.testing.assert_array_equal(table.values["b"], [np.nan, 3, 3])


def test_a_process_that_dies_takes_no_others_with_it():
    def task(generator, k):
        if k == 7:
            os._exit(1)
        return k

    table = run_sweep(task, {"k": range(60)}, workers=2, batch=3, errors="return")
    assert [failure.coordinates for failure in table.failures] == [{"k": 7}]
    np.testing.assert_array_equal(table.values, [math.nan if k == 7 else k for k in range(60)])
    assert "TerminatedWorkerError" in table.failures[0].error


def test_dask_alone_starts_processes_of_which_one_that_dies_takes_no_others_with_it():
    dask = pytest.importorskip("dask")

    def task(generator, k):
        if k == 5:
            os._exit(1)
        return k

    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):  # four deaths take a while
        table = run_sweep(task, {"k": range(12)}, backend="dask", workers=2, batch=3, errors="return")
    assert [failure.coordinates for failure in table.failures] == [{"k": 5}]
    np.testing.assert_array_equal(table.values, [math.nan if k == 5 else k for k in range(12)])
    assert "KilledWorker" in table.failures[0].error


class Unreadable:
    """What can be sent, and not received."""

    def __reduce__(self):
        return int, ("x",)


def test_a_task_that_cannot_be_received_fails_everywhere(cluster):
    unreadable = Unreadable()

    def task(generator, k):
        return float(unreadable is None)

    for options in ({"workers": 2}, {"backend": "dask", "client": cluster}):
        table = run_sweep(task, {"k": range(6)}, batch=2, errors="return", **options)
        assert [failure.coordinates for failure in table.failures] == [{"k": k} for k in range(6)]
        assert np.isnan(table.values).all()
        assert "serializ" in table.failures[0].error


# The store


def counted(calls, fail=()):
    def task(generator, k):
        calls.append(k)
        if k in fail:
            raise ValueError
        return torch.rand((), generator=generator).item()

    return task


def test_only_what_is_missing_runs(tmp_path):
    calls, store = [], tmp_path / "store"
    run_sweep(counted(calls, fail=[1]), {"k": [0, 1]}, store=store, backend="serial", errors="return")
    table = run_sweep(counted(calls), {"k": [2, 1, 0]}, store=store, backend="serial")
    assert calls == [0, 1, 2, 1]
    assert same(table.values, run_sweep(counted([]), {"k": [2, 1, 0]}, backend="serial").values)
    assert run_sweep(counted(calls), {"k": [0]}, store=store).values.shape == (1,)  # nothing to do, no processes
    assert len(calls) == 4


SCRIPT = """
import signal, sys, time, torch
from diffmem_lib.simulation import run_sweep

signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background is started without it

def task(generator, k):
    if len(sys.argv) > 1:
        time.sleep(0.05)
    return torch.rand(3, generator=generator, dtype=torch.float64)

options = {"workers": 2, "batch": 2} if len(sys.argv) > 1 else {"backend": "serial"}
print(run_sweep(task, {"k": range(400)}, store="store", **options).values.tobytes().hex())
"""


def script(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen([sys.executable, "script.py", *arguments], cwd=folder, env=environment, **options)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_run_that_is_ended_goes_on(tmp_path, number):
    store = tmp_path / "store"
    (tmp_path / "script.py").write_text(SCRIPT)
    run = script(tmp_path, "slow")
    while not (store.exists() and store.read_bytes().count(b"\n") >= 5):
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.02)
    os.killpg(run.pid, number)
    errors = run.communicate(timeout=60)[1]
    assert run.returncode != 0
    if number == signal.SIGINT:
        assert re.search(r"\d+ of 400 tasks are done and kept in store: run again to go on", errors)
    kept = sum(len(json.loads(line[line.index("{") :])["results"]) for line in store.read_text().splitlines()[:-1])
    assert 8 <= kept < 400
    found = script(tmp_path).communicate(timeout=120)[0]

    def task(generator, k):
        return torch.rand(3, generator=generator, dtype=torch.float64)

    assert found.strip() == run_sweep(task, {"k": range(400)}, backend="serial").values.tobytes().hex()
    assert store.read_text().count('"{\\"k\\":0}"') == 1  # not run again


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1), st.booleans())
def test_no_damage_to_the_store_changes_the_table(tmp_path, place, cut):
    store, calls = tmp_path / "store", []
    store.unlink(missing_ok=True)
    expected = run_sweep(counted([]), {"k": range(6)}, store=store, backend="serial", batch=2).values
    content = store.read_bytes()
    at = int(place * (len(content) - 1))
    store.write_bytes(content[:at] if cut else content[:at] + bytes([content[at] ^ 64]) + content[at + 1 :])
    if not cut and at < len(sweep.MARK):
        with pytest.raises(ValueError, match="store must be a file of a sweep"):
            run_sweep(counted(calls), {"k": range(6)}, store=store, backend="serial")
        return
    for _ in range(2):  # what the first run adds, the second finds
        assert same(run_sweep(counted(calls), {"k": range(6)}, store=store, backend="serial").values, expected)
    assert len(calls) == len(set(calls)) <= (6 if cut else 4)


def test_an_interrupt_keeps_what_is_done(tmp_path):
    stops = [5]

    def task(generator, k):
        if k in stops:
            raise KeyboardInterrupt
        return float(k)

    with pytest.raises(KeyboardInterrupt) as caught:
        run_sweep(task, {"k": range(10)}, store=tmp_path / "store", backend="serial")
    assert re.match("5 of 10 tasks are done and kept in .*store: run again", caught.value.__notes__[0])
    stops[0] = 0  # done already
    assert run_sweep(task, {"k": range(10)}, store=tmp_path / "store", backend="serial").values.tolist() == [*range(10)]


def test_a_store_of_something_else_is_refused_and_left_alone(tmp_path):
    store = tmp_path / "store"
    run_sweep(uniform, {"k": [0]}, store=store, backend="serial")
    content = store.read_bytes()

    def other(generator, k):
        return 1.0

    with pytest.raises(ValueError, match=r"store .* has task 'uniform', not '.*other': use another"):
        run_sweep(other, {"k": [0]}, store=store)
    with pytest.raises(ValueError, match=r"store .* has root_seed 0, not 1"):
        run_sweep(uniform, {"k": [0]}, store=store, root_seed=1)
    with pytest.raises(ValueError, match=r"store .* has version '[0-9a-f]{16}', not '2'"):
        run_sweep(uniform, {"k": [0]}, store=store, version="2")
    changed = tmp_path / "notes.txt"
    changed.write_text("something of mine")
    with pytest.raises(ValueError, match="store must be a file of a sweep"):
        run_sweep(uniform, {"k": [0]}, store=changed)
    assert (store.read_bytes(), changed.read_text()) == (content, "something of mine")


def test_changed_source_is_another_version(tmp_path):
    scope, store = {}, tmp_path / "store"
    for number, text in enumerate(("1.0", "2.0")):
        path = tmp_path / f"task{number}.py"
        path.write_text(f"def task(generator, k):\n    return {text}\n")
        exec(compile(path.read_text(), str(path), "exec"), scope)
        if number == 0:
            run_sweep(scope["task"], {"k": [0]}, store=store, backend="serial")
        else:
            with pytest.raises(ValueError, match=r"store .* has version"):
                run_sweep(scope["task"], {"k": [0]}, store=store, backend="serial")


def test_a_task_without_source_needs_a_version(tmp_path):
    scope = {}
    exec("def task(generator, k): return 1.0", scope)
    with pytest.raises(ValueError, match="version must be given"):
        run_sweep(scope["task"], {"k": [0]}, store=tmp_path / "store", backend="serial")
    for _ in range(2):
        run_sweep(scope["task"], {"k": [0]}, store=tmp_path / "store", version="1", backend="serial")


# The page on clusters


def test_the_page_does_what_it_says(tmp_path, monkeypatch, cluster):
    page = (ROOT / "book" / "cluster.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "page.py").write_text("\n".join(blocks), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    cluster.write_scheduler_file("scheduler.json")
    found = runpy.run_path("page.py", run_name="__main__")  # so that workers cannot import it, as with a notebook
    assert len(blocks) == 3
    assert found["table"].values["forward"].shape == (2, 3, 10)
    assert (tmp_path / "divergence.sweep").stat().st_size > 1000


# The terminal, imports, arguments


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("progress", "terminal", "shown"), [
    (None, True, True), (None, False, False), (True, False, True), (False, True, False),
])  # fmt: skip
def test_the_bar_is_on_stderr_where_that_is_a_terminal(monkeypatch, capsys, progress, terminal, shown):
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    run_sweep(uniform, {"k": range(3)}, backend="serial", progress=progress)
    assert ("3/3" in stream.getvalue()) == shown
    assert capsys.readouterr().out == ""


def test_nothing_of_a_backend_is_imported_before_it_is_used():
    later = {"joblib", "dask", "distributed", "cloudpickle", "safetensors"}  # the last for checkpoints of networks
    code = f"import sys, diffmem_lib.simulation; print({later} & {{*sys.modules}})"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "set()\n"


def test_without_distributed_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"diffmem\[cluster\]"):
        run_sweep(uniform, {"k": [0]}, backend="dask", workers=1)


@pytest.mark.parametrize(("change", "named"), [
    ({"task": lambda k: 1.0}, "task must take generator"), ({"task": lambda generator, d: 1.0}, "task must take"),
    ({"grid": {"k": [1, 1.0]}}, "grid must give k .* each once"), ({"grid": {"k": "abc"}}, "grid must give k"),
    ({"grid": {"generator": [1]}}, "grid must name"), ({"grid": {"k": [math.nan]}}, "grid must give k"),
    ({"grid": {"k": [None]}}, "grid must give k"), ({"grid": {"k": 3}}, "grid must give k a sequence"),
    ({"client": object()}, "client"), ({"backend": "dask", "workers": 2, "client": object()}, "client"),
    ({"progress": 1}, "progress"), ({"workers": True}, "workers"),
])  # fmt: skip
def test_bad_input_is_named(change, named):
    good = {"task": uniform, "grid": {"k": [1]}, "backend": "serial"}
    with pytest.raises(ValueError, match=named):
        run_sweep(**(good | change))
