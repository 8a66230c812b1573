"""The alternatives compute the same thing, and the committed results say where they were measured."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch

from diffmem_lib.simulation import EmpiricalDenoiser

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture
def denoiser_benchmark(monkeypatch):
    pytest.importorskip("threadpoolctl")
    monkeypatch.syspath_prepend(str(ROOT))
    spec = importlib.util.find_spec("benchmarks.denoiser")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_alternatives_agree(denoiser_benchmark):
    generator = torch.Generator().manual_seed(0)
    training, x = (torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in (40, 7))
    denoiser = EmpiricalDenoiser(training)
    expected = denoiser(x, 0.5)
    for values in (
        denoiser_benchmark.full_softmax(x, training, 0.5),
        denoiser_benchmark.broadcast(x, training, 0.5),
        denoiser_benchmark.without_operator(denoiser, x, 0.5),
    ):
        torch.testing.assert_close(values, expected, rtol=1e-9, atol=1e-9)


def test_results_name_machine_and_date_and_nothing_else():
    names = ("denoiser_float32", "denoiser_float64", "denoiser_error", "products", "audit")
    for name in names:
        text = (RESULTS / f"{name}.md").read_text(encoding="utf-8")
        assert re.search(r"\*Measured on: .+, one thread; torch [\d.]+; \d{4}-\d\d-\d\d\.\*", text), name
        assert not re.search(r"/(home|tmp|root|work|usr)\b", text), name
    assert (RESULTS / "denoiser.png").stat().st_size > 10_000
