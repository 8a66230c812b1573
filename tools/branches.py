"""Run a chapter once, and from each value of theory that it receives a copy of the run in which that value is wrong.

python -m tools.branches chapter.ipynb        prints a line of JSON for each copy, as it ends

A copy is a fork of the process at the function's first call. It goes on with wrong values, the exact claims skipped, up
to the first refusal by a measured claim: what came before is not simulated again.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from tools import probe

#: A copy that takes longer, in seconds, has stopped: a wrong value may let a loop run for ever.
PATIENCE = 900


class Branches:
    """Makes the copies, and says how they end; in a copy, makes its value wrong."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        self._case: tuple[str, int] | None = None
        self._changed = False
        self._known: set[tuple[str, int]] = set()
        self._running: dict[int, tuple[str, int]] = {}

    def __call__(self, name: str, value: Any) -> Any:
        """The value that the chapter receives from the function ``name``."""
        if self._case is None:
            for case in ((name, entry) for entry in range(probe.entries(name, value))):
                if case not in self._known and self._is_copy(case):
                    break
        if self._case is None or self._case[0] != name:
            return value
        wrong = probe.perturbed(name, value, self._case[1])
        self._changed |= not probe.same(wrong, value)
        return wrong

    def _is_copy(self, case: tuple[str, int]) -> bool:
        self._known.add(case)
        while len(self._running) >= (os.cpu_count() or 1):
            self._wait()
        if child := os.fork():
            self._running[child] = case
            return False
        self._case = case
        signal.alarm(PATIENCE)
        return True

    def _wait(self) -> None:
        child, status = os.wait()
        case = self._running.pop(child)
        if status:  # it could not say how it ended
            self._say(case, "stopped", f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "exit")

    def _say(self, case: tuple[str, int], verdict: str, by: str) -> None:
        print(json.dumps({"function": case[0], "entry": case[1], "verdict": verdict, "by": by}), file=self._out)
        self._out.flush()

    def failed(self, error: BaseException) -> None:
        """End the whole run with the chapter's error, a copy with the claim that refused its value."""
        if self._case is None:
            for child in self._running:
                os.kill(child, signal.SIGKILL)
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=self._out)
            self._out.flush()
            os._exit(1)
        if type(error).__name__ == "ClaimRefused":
            claim = re.search(r"claim '([a-z0-9-]+)'", str(error))
            self._say(self._case, "refused", claim[1] if claim else str(error))
            os._exit(0)

    def ended(self, first: BaseException | None) -> None:
        """After the last cell: wait for the copies, or say that no claim refused this one, and the first error."""
        if self._case is None:
            while self._running:
                self._wait()
        elif first is not None:
            self._say(self._case, "stopped", type(first).__name__)
        else:
            self._say(self._case, "survives" if self._changed else "unchanged", "")
        os._exit(0)


def main() -> None:
    notebook = nbformat.read(Path(sys.argv[1]), as_version=4)
    branches = Branches()
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    probe.install(branches)
    probe.skip_exact_claims()
    # A history is written by a thread, which a fork would not have.
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    first = None
    for cell in notebook.cells:
        if cell.cell_type == "code":
            result = shell.run_cell(cell.source)
            if error := result.error_before_exec or result.error_in_exec:
                branches.failed(error)
                first = first or error
    branches.ended(first)


if __name__ == "__main__":
    main()
