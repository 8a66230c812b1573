"""One function over a grid of coordinates, on one core, on all, or on a cluster: the same numbers everywhere."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
import itertools
import json
import math
import os
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from .. import _checks

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["FailedTask", "SweepError", "SweepTable", "run_sweep"]

Coordinate = str | bool | int | float
Value = float | list[float] | dict[str, float]
Item = tuple[str, dict[str, Coordinate]]  # a task: its key, which is the JSON of its coordinates, and these

BATCHES = 50  # for each worker: a killed run loses at most one, and the last to end keeps the others waiting for it
MARK = "diffmem-sweep-1"


@dataclass(frozen=True)
class FailedTask:
    """A task that raised, or returned what is no number: its coordinates, the error in a line, the whole traceback."""

    coordinates: dict[str, Coordinate]
    error: str
    traceback: str = field(repr=False)


@dataclass(frozen=True)
class SweepTable:
    """What a sweep found.

    ``grid`` has the values of each coordinate. ``values`` is a float64 array with one axis for each coordinate in the
    order of ``grid``, and a last one if tasks return arrays; for tasks that return mappings a dict of such arrays.
    Where a task failed it holds NaN, and nowhere else; ``failures`` lists those tasks in the order of the grid.
    """

    grid: dict[str, tuple[Coordinate, ...]]
    values: NDArray[np.float64] | dict[str, NDArray[np.float64]]
    failures: tuple[FailedTask, ...]


Outcome = Value | FailedTask
Results = list[tuple[str, Outcome]]


class SweepError(RuntimeError):
    """Some tasks failed; ``table`` has all that did not."""

    def __init__(self, table: SweepTable) -> None:
        super().__init__(table)
        self.table = table

    def __str__(self) -> str:
        failures = self.table.failures
        shown = [f"{one.coordinates}: {one.error}" for one in failures[:5]]
        more = [f"and {len(failures) - 5} more"] if len(failures) > 5 else []
        total = math.prod(map(len, self.table.grid.values()))
        return "\n".join([f"{len(failures)} of {total} tasks failed", *shown, *more, failures[0].traceback])


def run_sweep(
    task: Callable[..., Any],
    grid: Mapping[str, Sequence[Coordinate]],
    *,
    root_seed: int = 0,
    store: str | os.PathLike[str] | None = None,
    version: str | None = None,
    backend: str = "joblib",
    workers: int | None = None,
    client: Client | None = None,
    batch: int | None = None,
    progress: bool | None = None,
    errors: str = "raise",
) -> SweepTable:
    """Call ``task(generator=…, **coordinates)`` once at each point of the grid.

    The generator, on the CPU, is seeded from ``root_seed`` and the task's own coordinates, and torch has one thread, so
    that a value depends neither on the backend nor on workers, batches, order or the rest of the grid. (The generators
    of torch keep 32 bits of a seed: among N tasks some two have the same random numbers with probability N²/2³³.)

    Parameters
    ----------
    task
        Returns a number, a 1-d array or tensor of numbers, or a mapping from names to numbers; NaN is a failure.
        All its randomness comes from the generator, which it does not keep.
    grid
        Values of each coordinate, such as ``{"d": [64, 256], "n": [100, 1000], "seed": range(20)}``: strings, booleans,
        integers and finite floats. 64 and 64.0 are different coordinates.
    root_seed
        Another one gives other random numbers. Sweeps with the same one and the same coordinates share theirs.
    store
        A file to which each batch of results is added. A run that finds them there does not repeat them, so one that
        was killed goes on; failed tasks are tried again. Results of another task, of one whose source has changed, or
        of another root seed are refused. Only the source of ``task`` itself is seen, not that of what it calls.
    version
        Stands for the source of ``task`` in the store: to be changed when results change.
    backend
        ``"joblib"``: processes on this machine. ``"serial"``: this process. ``"dask"``: the cluster of ``client``, or
        without one a local cluster of processes; needs the extra ``cluster``.
    workers
        How many processes; default one for each core. A client has its own. A process that dies is replaced, and
        what it might have died of is run again, one by one: only those tasks fail that let it die by themselves, too.
    client
        A client of ``distributed``, whose workers can import ``diffmem_lib``.
    batch
        How many tasks a worker is given at a time; default a fiftieth of its share, one if serial.
    progress
        Whether there is a bar on stderr; default only where that is a terminal.
    errors
        ``"raise"`` or ``"return"`` a table in which tasks have failed.

    Returns
    -------
    SweepTable

    Raises
    ------
    SweepError
        After all tasks, if some have failed; its ``table`` has the others.
    ValueError
        For a wrong argument, and for a store of something else.
    ImportError
        For ``"dask"`` without the extra.
    KeyboardInterrupt
        With a note of how much is done; what is in the store stays there.
    """
    axes = _axes(grid)
    _check_task(task, axes)
    root_seed = _checks.integer(root_seed, "root_seed", low=0)
    _one_of(backend, "backend", ("joblib", "serial", "dask"))
    _one_of(errors, "errors", ("raise", "return"))
    _one_of(progress, "progress", (None, True, False))
    if client is not None and (backend != "dask" or workers is not None or not hasattr(client, "nthreads")):
        raise ValueError(f"client must be one of distributed, with backend='dask' and without workers, got {client!r}")
    workers = None if workers is None else _checks.integer(workers, "workers", low=1)
    batch = None if batch is None else _checks.integer(batch, "batch", low=1)
    if version is not None and not isinstance(version, str):
        raise ValueError(f"version must be a string, got {version!r}")
    items = list(_items(axes))
    journal = None if store is None else _Store(store, task, version, root_seed)
    outcomes: dict[str, Outcome] = {} if journal is None else dict(journal.results)
    todo = [item for item in items if item[0] not in outcomes]
    done = len(items) - len(todo)
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        disable = None if progress is None else not progress  # None: where stderr is no terminal
        bar = stack.enter_context(tqdm(total=len(items), initial=done, unit="task", disable=disable))
        if journal is not None:
            stack.enter_context(closing(journal))
        call = functools.partial(_run, task, root_seed)
        try:
            for results in stack.enter_context(closing(_results(call, todo, backend, workers, client, batch))):
                outcomes.update(results)
                bar.update(len(results))
                if journal is not None:
                    journal.add(results)
        except KeyboardInterrupt as interrupt:
            kept = "" if journal is None else f" and kept in {journal.path}: run again to go on"
            interrupt.add_note(f"{len(outcomes)} of {len(items)} tasks are done{kept}")
            raise
    table = _table(axes, items, outcomes)
    if table.failures and errors == "raise":
        raise SweepError(table)
    return table


def _one_of(value: Any, name: str, allowed: Sequence[Any]) -> None:
    if not any(value is one or (isinstance(value, str) and value == one) for one in allowed):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def _axes(grid: Any) -> dict[str, tuple[Coordinate, ...]]:
    """The grid with plain Python values, so that a worker far away gets what this process would."""
    if not isinstance(grid, Mapping) or not grid:
        raise ValueError(f"grid must be a mapping from names of coordinates to their values, got {grid!r}")
    axes = {}
    for name, values in grid.items():
        if not isinstance(name, str) or not name.isidentifier() or name == "generator":
            raise ValueError(f"grid must name coordinates as arguments of the task, not 'generator', got {name!r}")
        try:
            if isinstance(values, str | bytes | Mapping | set):
                raise TypeError
            plain = tuple(value.item() if getattr(value, "ndim", None) == 0 else value for value in values)
        except TypeError:
            raise ValueError(f"grid must give {name} a sequence of values, got {values!r}") from None
        for value in plain:
            if type(value) not in (str, bool, int, float) or (isinstance(value, float) and not math.isfinite(value)):
                raise ValueError(f"grid must give {name} strings, booleans, integers or finite floats, got {value!r}")
        if not plain or len(set(plain)) < len(plain):
            raise ValueError(f"grid must give {name} at least one value, and each once, got {values!r}")
        axes[name] = plain
    return axes


def _check_task(task: Any, axes: Mapping[str, Any]) -> None:
    try:
        inspect.signature(_checks.function(task, "task")).bind(generator=None, **axes)
    except TypeError as error:
        raise ValueError(f"task must take generator and {', '.join(axes)} by name, got {task!r}: {error}") from None


def _items(axes: Mapping[str, tuple[Coordinate, ...]]) -> Iterator[Item]:
    """All tasks in the order of the grid; a key has its names sorted, and so does not depend on their order there."""
    texts = [[f"{json.dumps(name)}:{json.dumps(value)}" for value in values] for name, values in axes.items()]
    pairs = [[(name, value) for value in values] for name, values in axes.items()]
    for parts, coordinates in zip(itertools.product(*texts), itertools.product(*pairs), strict=True):
        yield "{" + ",".join(sorted(parts)) + "}", dict(coordinates)


def _run(task: Callable[..., Any], root_seed: int, items: Iterable[Item]) -> Results:
    """What some tasks return, on whatever worker this is."""
    torch.set_num_threads(1)  # the sums of several threads round in another order
    generator = torch.Generator()  # a new one for each task would take as long as all the rest
    results: Results = []
    for key, coordinates in items:
        digest = hashlib.sha256(f"{root_seed}/{key}".encode()).digest()  # as notebook.settings does with a name
        generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        try:
            results.append((key, _plain(task(generator=generator, **coordinates))))
        except (Exception, SystemExit) as error:
            results.append(_failed((key, coordinates), error))
    return results


def _plain(value: Any) -> Value:
    """What a task returned, in floats, which JSON gives back as they are."""
    if isinstance(value, float) and value == value:  # most often; numpy would take as long as the rest of a small task
        return float(value)
    if isinstance(value, Mapping):
        plain = {name: _plain(number) for name, number in value.items()}
        numbers = {k: number for k, number in plain.items() if isinstance(k, str) and isinstance(number, float)}
        if numbers and len(numbers) == len(plain):
            return numbers
        raise TypeError(f"a task must return names with one number each, got {value!r}")
    array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
    if array.dtype.kind not in "biuf" or array.ndim > 1 or array.size == 0:
        raise TypeError(f"a task must return a number, numbers along one axis or a mapping, got {value!r}")
    if np.isnan(array).any():
        raise ValueError(f"a task must not return NaN, got {value!r}")
    return array.astype(np.float64).tolist()


def _results(
    call: Callable[[Sequence[Item]], Results],
    items: Sequence[Item],
    backend: str,
    workers: int | None,
    client: Client | None,
    batch: int | None,
) -> Generator[Results, None, None]:
    """What all tasks return, batch by batch, in any order."""
    if not items:
        return
    if backend == "serial":
        workers, size = 1, batch or 1
    else:
        import joblib

        workers = workers or (joblib.cpu_count() if client is None else max(1, sum(client.nthreads().values())))
        size = batch or math.ceil(len(items) / (BATCHES * workers))
    count = math.ceil(len(items) / size)
    # Each batch takes tasks from all over the grid: so they last about equally long where an axis is a size.
    batches = [items[start::count] for start in range(count)]
    if backend == "serial":
        yield from map(call, batches)
    else:
        yield from _joblib(call, batches, workers) if backend == "joblib" else _dask(call, batches, workers, client)


def _joblib(
    call: Callable[[Sequence[Item]], Results], batches: Sequence[Sequence[Item]], workers: int
) -> Iterator[Results]:
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    waiting = iter(batches)
    running: dict[str, Sequence[Item]] = {}  # by the key of their first task
    suspects: list[Item] = []

    def started() -> Iterator[Any]:
        for items in waiting:
            running[items[0][0]] = items
            yield delayed(call)(items)

    while True:
        try:
            for results in Parallel(workers, backend="loky", return_as="generator_unordered", batch_size=1)(started()):
                del running[results[0][0]]
                yield results
            break
        except TerminatedWorkerError:  # of the process of one task, which breaks all others; the rest gets new ones
            suspects += itertools.chain(*running.values())
            running.clear()
        except Exception as error:  # what cannot be sent will not be sent tomorrow
            yield [_failed(item, error) for item in itertools.chain(*running.values(), *waiting)]
            break
    for item in suspects:  # one by one: so only those fail that die alone, too
        try:
            yield Parallel(workers, backend="loky")([delayed(call)([item])])[0]
        except TerminatedWorkerError as error:
            yield [_failed(item, error)]


def _dask(
    call: Callable[[Sequence[Item]], Results],
    batches: Sequence[Sequence[Item]],
    workers: int,
    client: Client | None,
) -> Iterator[Results]:
    try:
        import dask
        from distributed import Client, KilledWorker, as_completed
    except ImportError:
        raise ImportError("backend='dask' needs an extra: pip install 'diffmem[cluster]'") from None
    with ExitStack() as stack:
        if client is None:
            # A worker that died may take longer to start again than the few seconds after which Dask gives it up.
            stack.enter_context(dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"}))
            local = Client(n_workers=workers, threads_per_worker=1, dashboard_address="localhost:0")
            client = stack.enter_context(local)
        # A batch travels inside a function: among arguments dask would look into every item for a future.
        futures = {client.submit(functools.partial(call, items), pure=False): items for items in batches}
        stack.callback(lambda: client.cancel(list(futures)))
        suspects: list[Item] = []
        for future in as_completed(list(futures)):
            items = futures.pop(future)
            try:
                yield future.result()
            except KilledWorker:  # this batch has killed workers, or only waited on those that another one killed
                suspects += items
            except (Exception, asyncio.CancelledError) as error:  # no worker can read it, or the cluster is gone
                yield [_failed(item, error) for item in items]
        for item in suspects:  # one by one: so only those fail that kill workers alone, too
            try:
                yield client.submit(functools.partial(call, [item]), pure=False).result()
            except KilledWorker as error:
                yield [_failed(item, error)]


def _failed(item: Item, error: BaseException) -> tuple[str, FailedTask]:
    line = "".join(traceback.format_exception_only(error)).strip().partition("\n")[0]
    return item[0], FailedTask(item[1], line, "".join(traceback.format_exception(error)))


class _Store:
    """Lines of a checksum and JSON, which are only ever added, so that a killed run leaves at worst half a line.

    A line whose checksum is not that of its text is not read.
    """

    def __init__(self, path: Any, task: Callable[..., Any], version: str | None, root_seed: int) -> None:
        try:
            self.path = Path(path)
            content = self.path.read_bytes() if self.path.exists() else b""
        except (TypeError, ValueError, OSError) as error:
            raise ValueError(f"store must be the path of a file, got {path!r}: {error}") from None
        if not self.path.parent.is_dir() or not content.startswith(MARK.encode()[: len(content)]):
            raise ValueError(f"store must be a file of a sweep, or a new one in a folder that exists, got {path!r}")
        name = getattr(task, "__qualname__", type(task).__qualname__)
        self.identity = {"task": name, "version": _code(task) if version is None else version, "root_seed": root_seed}
        self.results: dict[str, Value] = {}
        for line in content.split(b"\n"):
            seal, _, text = line.partition(b" {")
            if seal == _seal(b"{" + text):
                record = json.loads(b"{" + text)
                for what, value in self.identity.items():
                    if record[what] != value:
                        raise ValueError(f"store {str(path)!r} has {what} {record[what]!r}, not {value!r}: use another")
                self.results |= record["results"]
        self.file = self.path.open("ab" if len(content) > len(MARK) else "wb")
        if len(content) > len(MARK) and not content.endswith(b"\n"):
            self.file.write(b"\n")  # after half a line that a killed run has left

    def add(self, results: Results) -> None:
        """Hand a line with what has not failed to the system, from where no kill takes it back."""
        kept = {key: value for key, value in results if not isinstance(value, FailedTask)}
        text = json.dumps(self.identity | {"results": kept}).encode()
        self.file.write(_seal(text) + b" " + text + b"\n")
        self.file.flush()

    def close(self) -> None:
        """See the file onto the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()


def _seal(text: bytes) -> bytes:
    return f"{MARK} {hashlib.sha256(text).hexdigest()[:16]}".encode()


def _code(task: Callable[..., Any]) -> str:
    try:
        return hashlib.sha256(inspect.getsource(task).encode()).hexdigest()[:16]
    except (OSError, TypeError):
        raise ValueError(f"version must be given with a store: the source of {task!r} cannot be read") from None


def _table(
    axes: dict[str, tuple[Coordinate, ...]], items: Sequence[Item], outcomes: Mapping[str, Outcome]
) -> SweepTable:
    found = [outcomes[key] for key, _ in items]
    shapes = Counter(_shape(value) for value in found if not isinstance(value, FailedTask))
    usual = max(shapes, key=lambda shape: shapes[shape], default=None)
    for place, value in enumerate(found if len(shapes) > 1 else ()):
        if not isinstance(value, FailedTask) and _shape(value) != usual:
            error = TypeError(f"a task must return as many numbers, or the same names, as the others, got {value!r}")
            found[place] = _failed(items[place], error)[1]

    def array(values: Iterable[Any], missing: Any = math.nan) -> NDArray[np.float64]:
        flat = np.array([missing if isinstance(value, FailedTask) else value for value in values], dtype=np.float64)
        return flat.reshape(*map(len, axes.values()), *flat.shape[1:])

    if isinstance(usual, tuple):
        picked = {name: [one[name] if isinstance(one, dict) else one for one in found] for name in usual}
        filled: Any = {name: array(values) for name, values in picked.items()}
    else:
        filled = array(found, math.nan if usual is None else [math.nan] * usual)
    return SweepTable(axes, filled, tuple(value for value in found if isinstance(value, FailedTask)))


def _shape(value: Value) -> int | tuple[str, ...] | None:
    """The length of a list, the names of a mapping, None for a number."""
    return len(value) if isinstance(value, list) else tuple(sorted(value)) if isinstance(value, dict) else None
