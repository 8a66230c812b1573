"""Seeds: one root, independent streams; bad settings are named."""

import os
import subprocess
import sys

import pytest
import torch

from diffmem_lib.notebook import settings


def imported_with(**environment):
    return subprocess.run(
        [sys.executable, "-c", "from diffmem_lib.notebook import settings; print(settings.SEED, settings.SCALE)"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


def test_streams_are_reproducible_and_different():
    assert settings.seed("a", root=0) == settings.seed("a", root=0)
    assert len({settings.seed(name, root=root) for name in "abc" for root in range(3)}) == 9
    first, again, other = (torch.randn(4, generator=settings.generator(name)) for name in ("a", "a", "b"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_several_generators_are_those_of_numbered_names():
    several = settings.generators("a", 3)
    assert [g.initial_seed() for g in several] == [settings.seed(f"a-{number}") for number in range(3)]
    assert settings.generators("a", 0) == []


def test_environment():
    assert imported_with(DIFFMEM_SEED="7", DIFFMEM_SCALE="full").stdout == "7 full\n"


@pytest.mark.parametrize(
    ("name", "value"), [("DIFFMEM_SEED", "-1"), ("DIFFMEM_SEED", "one"), ("DIFFMEM_SCALE", "huge")]
)
def test_bad_settings(name, value):
    error = imported_with(**{name: value}).stderr.splitlines()[-1]
    assert error.startswith(f"ValueError: {name} must be")
    assert repr(value) in error


def test_sized(monkeypatch):
    monkeypatch.setattr(settings, "SCALE", "book")
    assert settings.sized(1, 2) == 1
    monkeypatch.setattr(settings, "SCALE", "full")
    assert settings.sized(1, 2) == 2
