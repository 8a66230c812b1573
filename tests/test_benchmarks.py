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


def benchmark(name, monkeypatch):
    pytest.importorskip("threadpoolctl")
    monkeypatch.syspath_prepend(str(ROOT))
    spec = importlib.util.find_spec(f"benchmarks.{name}")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def denoiser_benchmark(monkeypatch):
    return benchmark("denoiser", monkeypatch)


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


def test_what_is_planted_across_shards_is_found(monkeypatch):
    """And what was not planted as it is said is reported, so that the benchmark's verdict means something."""
    module = benchmark("audit_shards", monkeypatch)
    for name, size in {"SAMPLES": 60, "ROWS": 500, "COPIES": 20, "REPEATS": 10}.items():
        monkeypatch.setattr(module, name, size)
    monkeypatch.setattr(module.Shard, "shape", (500, module.DIM))
    samples, copied = module.planted(3)
    _, least = module.products(samples, range(3))
    report = module.audit(samples, module.Shards([module.Shard(n) for n in range(3)], list("abc")), survey=False)
    assert module.faults(report, copied, least) == []
    assert module.faults(report, copied.roll(1), least * 1.001) == ["copies' points", "distances"]


def test_results_name_machine_and_date_and_nothing_else():
    names = ("denoiser_float32", "denoiser_float64", "denoiser_error", "products", "audit", "audit_shards")
    for name in names:
        text = (RESULTS / f"{name}.md").read_text(encoding="utf-8")
        assert re.search(r"\*Measured on: .+, one thread; torch [\d.]+; \d{4}-\d\d-\d\d\.\*", text), name
        assert not re.search(r"/(home|tmp|root|work|usr)\b", text), name
    assert (RESULTS / "denoiser.png").stat().st_size > 10_000
