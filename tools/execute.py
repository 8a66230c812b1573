"""Execute chapters and write them back, as they are committed: outputs stored, ids and metadata stable, no timings.

python -m tools.execute [chapter ...]        default: every chapter of the book
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from tools import formulas
from tools.results import claims_json, claims_of

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = ROOT / "chapters"
TOC = ROOT / "book" / "_toc.yml"
CLAIMS = ROOT / "diffmem_lib" / "claims" / "claims.json"
#: Every id that was ever published: addresses of claims are permanent.
IDS = ROOT / "book" / "claim_ids.txt"
#: Run ahead of a chapter, lets its claims know which functions of theory they rest on.
PROBE = "from tools import probe\nprobe.install()\ndel probe"


class ChapterFailed(Exception):
    """A chapter did not run to its end; the message says why in one line."""


def strip_volatile(notebook: nbformat.NotebookNode) -> None:
    """Remove what changes from run to run without meaning anything: timings, versions of the interpreter."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("metadata", {}).get("diffmem_claim", {}).pop("seconds", None)


def execute(
    path: Path,
    *,
    timeout: int = 600,
    environment: dict[str, str] | None = None,
    before: str = "",
    after: str = "",
    **options: Any,
) -> nbformat.NotebookNode:
    """Run a notebook from its own folder with a fresh kernel; raises ``ChapterFailed`` if it does not come to its end.

    ``environment`` is added to the kernel's environment variables, ``options`` are the client's. The code ``before`` is
    run ahead of the first cell and leaves no trace, the code ``after`` is a cell more at the end.
    """
    notebook = nbformat.read(path, as_version=4)
    if after:
        notebook.cells.append(nbformat.v4.new_code_cell(after, id="after"))
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        on_notebook_start=lambda **_: _run_silently(client, before),
        record_timing=False,
        coalesce_streams=True,  # where a stream is cut is a matter of time
        resources={"metadata": {"path": str(path.parent)}},
        # Kernels log to the terminal; their warnings (that local connections are not encrypted) help no reader.
        extra_arguments=["--log-level=ERROR"],
        **options,
    )
    variables = os.environ | (environment or {})
    # The library of this checkout, installed or not, unless the caller puts another one before it.
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [variables.get("PYTHONPATH"), str(ROOT)]))
    try:
        client.execute(env=variables)
    except CellExecutionError as error:
        raise ChapterFailed(f"{error.ename}: {error.evalue}") from None
    except CellTimeoutError:
        raise ChapterFailed(f"a cell took longer than {timeout} s") from None
    except DeadKernelError:
        raise ChapterFailed("the kernel died") from None
    return notebook


async def _run_silently(client: NotebookClient, code: str) -> None:
    """Run code in the kernel without output or a number of its own."""
    if code:
        reply = await client.kc.execute_interactive(code, silent=True, store_history=False, output_hook=lambda _: None)
        if reply["content"]["status"] != "ok":
            raise ChapterFailed(f"{reply['content']['ename']}: {reply['content']['evalue']}")


def all_chapters() -> list[Path]:
    """The files of the chapters in the order of the book."""
    return [CHAPTERS / f"{name}.ipynb" for name in re.findall(r"file: chapters/(\w+)", TOC.read_text())]


def chapter_path(name: str) -> Path:
    """The file of a chapter given by its name or by its path."""
    path = CHAPTERS / f"{Path(name).stem}.ipynb"
    if not path.is_file():
        known = ", ".join(p.stem for p in all_chapters())
        raise SystemExit(f"error: no chapter {name!r}; there are: {known}")
    return path


def publish(notebooks: dict[str, nbformat.NotebookNode]) -> None:
    """Write all claims to the library's claims.json, and add new ones to the list of ids that may be cited."""
    CLAIMS.write_text(claims_json(notebooks), encoding="utf-8")
    known = IDS.read_text(encoding="utf-8").split() if IDS.is_file() else []
    found = [f"{name}/{claim['id']}" for name, notebook in notebooks.items() for claim in claims_of(notebook)]
    IDS.write_text("\n".join(sorted({*known, *found})) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.execute", description="Execute chapters in place, as they are committed."
    )
    parser.add_argument("chapters", nargs="*", help="names, such as perfect_denoiser (default: all)")
    names = parser.parse_args().chapters
    paths = [chapter_path(name) for name in names] or all_chapters()
    for number, path in enumerate(paths, 1):
        print(f"[{number}/{len(paths)}] {path.stem} ", end="", flush=True)
        start = time.perf_counter()
        try:
            notebook = execute(path, before=PROBE)
        except ChapterFailed as error:
            print(f"failed\n  {error}")
            return 1
        strip_volatile(notebook)
        formulas.write(notebook)
        nbformat.write(notebook, path)
        print(f"{time.perf_counter() - start:.1f} s")
    publish({path.stem: nbformat.read(path, as_version=4) for path in all_chapters()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
