"""What reports are made of: its shares are those of the audit, its lists in their order, and all of it is JSON."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from audit_cases import three_copies, with_held_out

from diffmem_lib.memorization import audit, findings, survey
from diffmem_lib.memorization.rates import DISTANCES, THRESHOLDS


def test_thresholds_and_curve_count_below():
    """Each share is the count of ratios below its threshold, over how many there are."""
    found, sources = with_held_out()
    rows = findings.shares(found, sources)["thresholds"]
    assert [row["threshold"] for row in rows] == ["1/6", "1/4", "1/3", "1/2", "2/3"]
    for row, threshold in zip(rows, THRESHOLDS, strict=True):
        for convention in DISTANCES:
            count, base = found.counts(threshold, convention)
            assert (row[f"{convention}_samples"], row[f"{convention}_held_out"]) == (count / 20, base / 25)
    curve = findings.details(found, sources)["curve"]
    ratio = (found.distance[:, 0] / found.distance[:, 1]).sqrt()
    for at, limit in enumerate(curve["euclidean_threshold"]):
        assert curve["samples"][at] == int((ratio < limit).sum()) / 20
    assert curve["held_out"][-1] == found.counts(0.98)[1] / 25


def test_without_held_out_points_there_is_none():
    found, sources = three_copies()
    values = findings.shares(found, sources) | findings.details(found, sources)
    assert values["points"] == {"training": 40, "samples": 12, "held_out": 0}
    empty = ("held_out_fraction", "held_out_interval_95", "excess", "copied_count", "held_out_equal_to_training")
    assert [values[name] for name in empty] == [None] * 5
    assert values["excess_interval_95"] == [None, None]
    assert values["other_convention"]["held_out_fraction"] is None
    assert {row["squared_held_out"] for row in values["thresholds"]} == {None}
    assert values["curve"]["held_out"] is None


def test_shares_name_no_point():
    """They are equal for reports that differ in everything of single points; details are not."""
    found, sources = with_held_out()
    other = dataclasses.replace(
        found, sparsity=found.sparsity * 2, p_value=found.p_value / 2, assigned=found.assigned.flip(0), labels={}
    )
    assert findings.shares(found, sources, redact=True) == findings.shares(other, sources, redact=True)
    for part in (findings.details, findings.per_point):
        assert part(found, sources) != part(other, sources)


def test_lists_are_in_order_and_name_equal_points_once():
    rng = np.random.default_rng(0)
    training = rng.random((40, 6))
    training[[7, 12]], training[30] = training[3], training[20]
    found = audit(np.concatenate([training[[20, 12, 5, 20, 20, 3]], 3 + rng.random((3, 6))]), training, k=5)
    assert findings.copied_points(found) == [20, 3, 5]
    assert findings.repeated_points(found) == [3, 20]
    order = findings.riskiest_points(found)
    assert sorted(order) == [i for i in range(40) if i not in (7, 12, 30)]
    risk = found.coverage.risk[order]
    assert (risk[:-1] >= risk[1:]).all()
    row = findings.training_row(found, 20)
    assert (row["point"], row["copies"], row["assigned"]) == (20, 3, 3)
    pair = findings.pair_row(found, 1)
    assert (pair["sample"], pair["point"], pair["d1"]) == (1, int(found.nearest[1, 0]), 0.0)
    assert pair["d2"] == float(found.distance[1, 1])
    assert findings.riskiest_points(audit(training[:5], training, survey=False)) == []


def test_a_row_without_samples_has_no_copies():
    assert set(findings.training_row(survey(torch.rand(30, 3)), 2)) == {"point", "sparsity", "risk", "critical_sigma"}


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_finite(value):
    assert findings.finite({"a": (1.5, value), "b": [value], "c": value, "d": 3, "e": "x"}) == {
        "a": [1.5, None],
        "b": [None],
        "c": None,
        "d": 3,
        "e": "x",
    }
    found, sources = three_copies()
    json.dumps(findings.details(found, sources) | findings.per_point(found, sources), allow_nan=False)
