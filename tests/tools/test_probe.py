"""What the probe makes wrong, and by how much; that only calls from outside of theory count."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from diffmem_lib.theory import regimes
from diffmem_lib.theory.coverage import InformationDensity
from tools import probe
from tools.hands import public_functions


@pytest.mark.parametrize(
    ("name", "value", "entry", "wrong"),
    [
        ("kde.rate", 2.0, 0, 2.2),
        ("kde.rate", 2.0, 1, 2.0),
        ("coverage.memorized_probability", 0.3, 0, 0.35),
        ("coverage.memorized_probability", 0.97, 0, 0.92),
        ("coverage.memorized_probability", np.array([0.3, 0.97]), 1, [0.3, 0.92]),
        ("sgd_dynamics.mean_recovery_steps", 7, 0, 8),
        ("hermite.information_exponent", 4.0, 0, 5.0),
        ("hermite.hermite_coefficients", np.array([1.0, 2.0, 3.0]), 1, [1.0, 2.2, 3.0]),
        ("random_matrix.expected_losses", (1.0, 2.0), 1, (1.0, 2.2)),
        ("coverage.log_coverage", np.array([1.0, 2.0]), 0, [1.1, 2.2]),
        ("coverage.log_coverage", np.array([1.0, 2.0]), 1, [1.0, 2.0]),
        ("coverage.log_sample_coverage", np.ones(17), 0, 1.1 * np.ones(17)),
        ("coverage.information_density", InformationDensity(1.0, 2.0), 1, InformationDensity(1.0, 2.2)),
    ],
)
def test_one_entry_of_a_value_is_made_wrong(name, value, entry, wrong):
    before = np.array(value, dtype=object).tolist()
    found = probe.perturbed(name, value, entry)
    if isinstance(wrong, InformationDensity):
        assert (found.mean, found.variance) == pytest.approx((wrong.mean, wrong.variance))
    else:
        assert found == pytest.approx(wrong)
    assert np.array(value, dtype=object).tolist() == before, "the value itself must stay"


def test_the_declared_functions_are_those_that_there_are():
    modules = {path.stem for path in (ROOT / "diffmem_lib" / "theory").glob("*.py")}
    declared = probe.PROBABILITIES | probe.INTEGERS | probe.POINTWISE
    assert {name for name in declared if name.partition(".")[0] in modules} <= public_functions()


def kernel(code):
    """What code prints in a process of its own, where the probe may change the library."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_only_what_is_called_from_outside_of_theory_counts():
    """`regimes.collapse_time` calls `collapse_sigma`, whose public name is the wrapped one."""
    code = """
import json
from tools import probe
calls = []
def exchange(name, value):
    calls.append(name)
    return probe.perturbed(name, value) if name == "regimes.collapse_sigma" else value
probe.install(exchange)
from diffmem_lib.theory import regimes
from diffmem_lib.theory.regimes import collapse_sigma
print(regimes.collapse_time(100, 10))
print(collapse_sigma(100, 10))
print(json.dumps(calls))
"""
    time, sigma, calls = kernel(code).splitlines()
    assert float(time) == regimes.collapse_time(100, 10)
    assert float(sigma) == pytest.approx(1.1 * regimes.collapse_sigma(100, 10))
    assert json.loads(calls) == ["regimes.collapse_time", "regimes.collapse_sigma"]


def test_every_public_function_is_watched_and_keeps_its_source():
    code = """
import importlib, inspect
from tools import hands, probe
probe.install()
for name in sorted(hands.public_functions()):
    module, _, function = name.partition(".")
    watched = getattr(importlib.import_module(f"diffmem_lib.theory.{module}"), function)
    assert watched.__wrapped__, name
    assert inspect.getsource(watched).startswith(f"def {function}("), name
"""
    kernel(code)
