"""What pip installs: the archive of sources, the wheel built from it, and what that can do with nothing around."""

import os
import shutil
import subprocess
import sys
import tarfile

import pytest
from conftest import ROOT
from test_project import tracked

import diffmem_lib

VERSION = diffmem_lib.__version__
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def run(*command, cwd, **variables):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    result = subprocess.run(map(str, command), cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder in which the wheel is installed that was built from the archive that was built from what is tracked."""
    folder = tmp_path_factory.mktemp("packaging")
    for path in tracked():
        copy = folder / "checkout" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    run(sys.executable, "-c", BUILD, "build_sdist", folder, cwd=folder / "checkout")
    with tarfile.open(folder / f"diffmem-{VERSION}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    run(sys.executable, "-c", BUILD, "build_wheel", folder, cwd=folder / f"diffmem-{VERSION}")
    wheel = folder / f"diffmem-{VERSION}-py3-none-any.whl"
    site = folder / "site"
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", site, wheel, cwd=folder)
    return site


def test_the_wheel_holds_the_library_and_nothing_else(installed):
    found = {
        path.relative_to(installed).as_posix() for path in (installed / "diffmem_lib").rglob("*") if path.is_file()
    }
    here = {path.relative_to(ROOT).as_posix() for path in tracked() if path.is_relative_to(ROOT / "diffmem_lib")}
    assert {name for name in found if "__pycache__" not in name} == here
    folders = {path.name for path in installed.iterdir()}
    assert folders == {"bin", "diffmem_lib", f"diffmem-{VERSION}.dist-info"}
    assert {path.name for path in installed.glob("*.dist-info/licenses/*")} == {"LICENSE", "LICENSE-TEXT"}


def test_the_wheel_works_alone(installed, tmp_path):
    code = """
import json, pathlib
import diffmem_lib
from diffmem_lib import claims, data, memorization, simulation, theory
import diffmem_lib.memorization.report
folder = pathlib.Path(diffmem_lib.__file__).parent
assert json.loads((folder / "claims" / "claims.json").read_text())["claims"]
images = data.load_digits().images
report = memorization.audit(images[:20], images)
assert report.fraction == 1
images = memorization.inputs.Loaded(images.numpy(), "digits", (8, 8, 1))
page = memorization.report.as_html(memorization.survey(images.points[:30]), memorization.inputs.Sources(images))
assert page.startswith("<!doctype html>")
print(folder, diffmem_lib.__version__)
"""
    said = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed))
    assert said.split() == [str(installed / "diffmem_lib"), VERSION]


def test_its_command_works_alone(installed, tmp_path):
    said = run(installed / "bin" / "diffmem", "--version", cwd=tmp_path, PYTHONPATH=str(installed))
    assert VERSION in said
