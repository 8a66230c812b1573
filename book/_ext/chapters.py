"""Execute the chapters, generate the page of results from what they claimed, and only then let Sphinx read them.

MyST-NB finds the executed notebooks in its cache. That cache knows a notebook by its code alone; here it is also keyed
on the library's content, so that a change in ``diffmem_lib`` is never hidden behind an old result.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from nbclient.exceptions import CellExecutionError
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from execute import CHAPTERS, ROOT, execute, last_line
from results import results_page

RESULTS = ROOT / "book" / "results.md"


def library_key() -> str:
    """A hash of everything but its own code that a chapter's outputs depend on."""
    digest = hashlib.sha256()
    sources = [*sorted((ROOT / "diffmem_lib").rglob("*.py")), *sorted((CHAPTERS / "stored").glob("*"))]
    for path in [*sources, ROOT / "constraints.txt"]:
        if path.is_file():
            digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    for variable in ("DIFFMEM_SEED", "DIFFMEM_SCALE"):
        digest.update(f"{variable}={os.environ.get(variable)}\0".encode())
    return digest.hexdigest()


def open_cache(path: Path) -> tuple[JupyterCacheAbstract, bool]:
    """The cache of executed notebooks, emptied if the library has changed, and whether it was."""
    key_file = path / "library-key"
    key = library_key()
    fresh = not key_file.is_file() or key_file.read_text() != key
    if fresh and path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
    key_file.write_text(key)
    return get_cache(str(path)), fresh


def cached(cache: JupyterCacheAbstract, path: Path) -> Any:
    """The cached execution of a chapter, or None."""
    try:
        record = cache.match_cache_notebook(nbformat.read(path, as_version=4))
    except KeyError:
        return None
    return cache.get_cache_bundle(record.pk)


def timed_execution(path: Path) -> tuple[nbformat.NotebookNode, float]:
    start = time.perf_counter()
    # One thread a kernel: the chapters already fill the cores.
    return execute(path, environment={"OMP_NUM_THREADS": "1"}), time.perf_counter() - start


def execute_missing(cache: JupyterCacheAbstract, paths: list[Path]) -> Iterator[str]:
    """Execute what the cache lacks, one kernel a core; yields a line as each is done, and raises after the last."""
    failures = []
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        runs = {path: pool.submit(timed_execution, path) for path in paths}
        for number, (path, run) in enumerate(runs.items(), 1):
            try:
                notebook, seconds = run.result()
            except CellExecutionError as error:
                failures.append(f"{path.relative_to(ROOT)}: {last_line(error)}")
                yield f"[{number}/{len(paths)}] {path.stem}: FAILED, {last_line(error)}"
                continue
            bundle = CacheBundleIn(notebook, str(path), data={"execution_seconds": seconds})
            cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
            yield f"[{number}/{len(paths)}] {path.stem}: {seconds:.1f} s"
    if failures:
        raise ExtensionError("chapters do not hold:\n  " + "\n  ".join(failures))


def run_chapters(app: Sphinx, config: Config) -> None:
    cache_path = Path(config.nb_execution_cache_path or ROOT / "_build" / ".jupyter_cache")
    cache, fresh = open_cache(cache_path)
    chapters = sorted(CHAPTERS.glob("*.ipynb"))
    missing = [path for path in chapters if cached(cache, path) is None]
    if missing:
        print(f"executing {len(missing)} of {len(chapters)} chapters", flush=True)
    for line in execute_missing(cache, missing):
        print(line, flush=True)
    bundles = {path.stem: cached(cache, path) for path in chapters}
    page = results_page(
        {name: (bundle.nb, bundle.record["data"]["execution_seconds"]) for name, bundle in bundles.items()}
    )
    if not RESULTS.is_file() or RESULTS.read_text() != page:
        RESULTS.write_text(page)
    app.diffmem_fresh = fresh


def outdated(app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """After a change in the library every chapter is read anew, although its source is the same."""
    return [name for name in env.found_docs if name.startswith("chapters/")] if app.diffmem_fresh else []


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", run_chapters, priority=900)
    app.connect("env-get-outdated", outdated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
