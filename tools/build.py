"""Execute the chapters through a cache, generate the page of results from what they claimed, then build the HTML book.

    python -m tools.build

MyST-NB reads the executed notebooks from the same cache, which knows a notebook by its code alone; here it is also
keyed on the library's content, so that a change in ``diffmem_lib`` is never hidden behind an old result.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path

import nbformat
import yaml
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract

from tools import formulas, hands, seeds
from tools.execute import CHAPTERS, PROBE, ROOT, TOC, ChapterFailed, all_chapters, execute
from tools.results import results_page

BUILD = ROOT / "_build"
CACHE = BUILD / ".jupyter_cache"
RESULTS = ROOT / "book" / "results.md"
SEEDS = ROOT / "book" / "seeds.md"
HEADLINES = ROOT / "book" / "headlines.yml"
#: Packages whose installed versions what a chapter prints can depend on.
COMPUTE = ("mpmath", "numpy", "scipy", "sympy", "torch")
JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"


class ChaptersFailed(Exception):
    """At least one chapter does not hold; the message says which, and by how much."""


def _hash(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(filter(Path.is_file, paths)):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def library_key() -> str:
    """What identifies everything but its own code that a chapter's outputs depend on."""
    sources = [*(ROOT / "diffmem_lib").rglob("*.py"), *(CHAPTERS / "stored").glob("*"), ROOT / "constraints.txt"]
    sources.append(ROOT / "tools" / "probe.py")  # from which claims know on what they rest
    versions = {"python": platform.python_version()} | {name: version(name) for name in COMPUTE}
    chosen = {name: os.environ.get(name) for name in ("DIFFMEM_SEED", "DIFFMEM_SCALE")}
    return _hash(sources) + "".join(f" {name}={value}" for name, value in (versions | chosen).items())


def site_key() -> str:
    """What identifies everything but their own sources that the pages depend on: also style, scripts and extensions."""
    makers = [*(ROOT / "book" / "_ext").glob("*.py"), *(ROOT / "tools").glob("*.py")]
    return library_key() + _hash([*(ROOT / "book" / "_static").glob("*"), *makers])


def open_cache(path: Path = CACHE) -> JupyterCacheAbstract:
    """The cache of executed notebooks, emptied if the library has changed since it was filled."""
    key_file, key = path / "library-key", library_key()
    if not key_file.is_file() or key_file.read_text() != key:
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        key_file.write_text(key)
    return get_cache(str(path))


def cached(cache: JupyterCacheAbstract, path: Path) -> tuple[nbformat.NotebookNode, float] | None:
    """A chapter with its cached outputs, and the seconds that they took; None if it is not in the cache."""
    try:
        key, notebook = cache.merge_match_into_notebook(nbformat.read(path, as_version=4))
    except KeyError:
        return None
    return notebook, cache.get_cache_record(key).data["execution_seconds"]


def _timed(path: Path) -> tuple[nbformat.NotebookNode, float]:
    start = time.perf_counter()
    # One thread a kernel: the chapters already fill the cores.
    return execute(path, before=PROBE, environment={"OMP_NUM_THREADS": "1"}), time.perf_counter() - start


def execute_missing(cache: JupyterCacheAbstract, paths: list[Path]) -> None:
    """Execute what the cache lacks, one kernel a core, and say so as each is done; all are tried before any fails."""
    failures = []
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        runs = {pool.submit(_timed, path): path for path in paths}
        for number, run in enumerate(as_completed(runs), 1):
            path = runs[run]
            try:
                notebook, seconds = run.result()
            except ChapterFailed as error:
                failures.append(f"{path.relative_to(ROOT)}: {error}")
                print(f"  [{number}/{len(paths)}] {path.stem}: FAILED", flush=True)
                continue
            bundle = CacheBundleIn(notebook, str(path), data={"execution_seconds": seconds})
            cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
            print(f"  [{number}/{len(paths)}] {path.stem}: {seconds:.0f} s", flush=True)
    if failures:
        raise ChaptersFailed("\n".join(failures))


def check_formulas(chapters: dict[Path, tuple[nbformat.NotebookNode, nbformat.NotebookNode]]) -> None:
    """Refuse formulas of the text that are not what a claim checked: path → (chapter, its executed copy)."""
    lines = []
    for path, (notebook, executed) in chapters.items():
        faults = formulas.differences(notebook, executed) + formulas.unmarked(executed)
        lines += [f"{path.stem}, {fault}" for fault in faults]
    if lines:
        raise ChaptersFailed("\n".join(lines))


def run_chapters() -> None:
    """Bring the cache up to date and write the page of results from it."""
    cache = open_cache()
    chapters = all_chapters()
    missing = [path for path in chapters if cached(cache, path) is None]
    if missing:
        print(f"executing {len(missing)} of {len(chapters)} chapters", flush=True)
        execute_missing(cache, missing)
    executed = {path: cached(cache, path) for path in chapters}
    check_formulas({path: (notebook, notebook) for path, (notebook, _) in executed.items()})
    chosen = yaml.safe_load(HEADLINES.read_text())
    counts = {path.stem: formulas.counts(notebook) for path, (notebook, _) in executed.items()}
    table = hands.read_table()
    page = results_page(
        {path.stem: run for path, run in executed.items()},
        chosen=chosen,
        counts=counts,
        exempt={path.stem: formulas.exempt(notebook) for path, (notebook, _) in executed.items()},
        simulated=hands.seen_by(table),
        not_simulated=hands.not_simulated(table) if table else {},
    )
    for file, text in ((RESULTS, page), (SEEDS, seeds.page(chapters))):
        if not file.is_file() or file.read_text() != text:
            file.write_text(text)


def main() -> int:
    try:
        run_chapters()
    except ChaptersFailed as error:
        print(f"error: the book is not built, since it does not hold:\n{error}", file=sys.stderr)
        return 1
    options = ["build", str(ROOT), "--toc", str(TOC), "-W", "-n", "--keep-going", "-q"]
    command = [sys.executable, "-c", JUPYTER_BOOK, *options]
    status = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if status.returncode:
        print(status.stdout, file=sys.stderr)
        return status.returncode
    print(f"the book is at {BUILD / 'html' / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
