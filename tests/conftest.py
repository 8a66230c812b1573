"""What all tests share: a strict account of skips, and the built book."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright
from visiting import FLAGS

ROOT = Path(__file__).resolve().parent.parent
REQUIRE_BROWSER = os.environ.get("REQUIRE_BROWSER") == "1"

# Hypothesis draws the same examples on every machine, so that a test's verdict depends on the code alone; to look for
# new ones, and many: HYPOTHESIS_PROFILE=search pytest …
settings.register_profile("same", deadline=None, max_examples=50, derandomize=True, database=None)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

#: Reasons for which a test may be skipped although REQUIRE_BROWSER=1 says that everything must run.
ALLOWED_SKIPS = ("needs a CUDA device",)
_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(allowed in reason for allowed in ALLOWED_SKIPS):
            _skipped.append(f"{report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if REQUIRE_BROWSER and _skipped:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if REQUIRE_BROWSER and _skipped:
        terminalreporter.write_line("error: with REQUIRE_BROWSER=1 no test may be skipped for these reasons:", red=True)
        for line in _skipped:
            terminalreporter.write_line(f"  {line}")


def drawn(name: str) -> random.Random:
    """Random choices that change with every commit, and only then; without a history, with the library and chapters."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    if head.returncode == 0:
        return random.Random(f"{name} {head.stdout.strip()}")
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "diffmem_lib").rglob("*.py"), *(ROOT / "chapters").glob("*.ipynb")]):
        digest.update(path.read_bytes())
    return random.Random(f"{name} {digest.hexdigest()}")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all workers of this run of the tests have in common."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def site(shared: Path) -> Path:
    """The folder of the built book, brought up to date; what is up to date is not built again.

    Where several workers run the tests, one of them builds, and the others wait: none reads what another one writes.
    """
    failure = shared / "site-failure"
    with FileLock(shared / "site.lock"):
        if not failure.is_file():
            command = [sys.executable, "-m", "tools.build"]
            built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            failure.write_text(built.stdout + built.stderr if built.returncode else "")
    assert not failure.read_text(), failure.read_text()
    return ROOT / "_build" / "html"


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium; without one the test is skipped, or fails if REQUIRE_BROWSER=1."""
    names = [os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
    found = next((path for path in map(shutil.which, filter(None, names)) if path), None)
    if found is None:
        message = "no Chromium found: install one or name it in CHROMIUM"
        pytest.fail(message) if REQUIRE_BROWSER else pytest.skip(message)
    return found


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """One Chromium for all tests; each visit has a context of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS.split())
        yield browser
        browser.close()
