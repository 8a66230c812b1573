"""Memory beyond inputs and outputs, as the operating system counts it, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys, torch
from diffmem_lib.points import attention
from diffmem_lib.simulation import EmpiricalDenoiser
from diffmem_lib.memorization import audit, neighbour_gap

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024

n, dim, m, sigma, dtype, what = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), *sys.argv[5:7]
if "loop" in sys.argv:
    attention.fused_operator = lambda: None
dtype = getattr(torch, dtype)
torch.set_num_threads(1)

def call(training, queries):
    if what == "gap":
        return neighbour_gap(queries, training)
    if what == "audit":
        return audit(queries, training)
    return getattr(EmpiricalDenoiser(training), what)(queries, sigma)

generator = torch.Generator().manual_seed(0)
training, queries = (torch.randn(k, dim, generator=generator, dtype=dtype) for k in (n, m))
small = call(training[:1000].clone(), queries[:100])  # loads what loading takes
outputs = (torch.ones(m, dim, dtype=dtype), torch.ones(m, 8))
open("/proc/self/clear_refs", "w").write("5")
before = peak()
del outputs
result = call(training, queries)
print(peak() - before)
"""


def extra(*arguments):
    """Peak memory in MB beyond training points, queries and room for a result."""
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        pytest.skip("this system does not say what memory a process used")
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    # The least of two runs, since the count now and then includes what the system did meanwhile.
    return min(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(2))


@pytest.mark.parametrize(
    ("what", "sigma", "dtype", "path"),
    [
        ("denoise", 0.05, "float32", "fused"),
        ("denoise", 2.0, "float32", "fused"),
        ("denoise", 2.0, "float32", "loop"),
        ("denoise", 30.0, "float64", "fused"),
        ("denoise", 2.0, "float64", "loop"),
        ("score", 0.05, "float32", "fused"),
        ("log_density", 2.0, "float32", "fused"),
        ("posterior", 0.05, "float32", "fused"),
        ("gap", 1.0, "float32", "fused"),
    ],
)
def test_a_hundred_thousand_points(what, sigma, dtype, path):
    assert extra(100_000, 256, 1000, sigma, dtype, what, path) < 12


def test_the_audit_of_images():
    """What it needs grows with the short lists only, 250 bytes a point, and not with d."""
    assert extra(3000, 3072, 2000, 1.0, "float32", "audit") < 64


def test_a_million_points():
    assert extra(1_000_000, 64, 200, 1.0, "float32", "denoise") < 64
