"""What a training set says before any training: the audit's own numbers, without samples."""

import math

import numpy as np
import pytest
import torch

from diffmem_lib.memorization import audit, coverage_risk, local_sparsity, neighbour_gap, survey


def points(n, dim, seed, dtype=torch.float32):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_points_that_require_gradients():
    """What comes out of a network does; no graph is kept of what is measured on it."""
    training, x = points(40, 3, 0), points(9, 3, 1)
    watched, out = training.clone().requires_grad_(), x.clone().requires_grad_()
    found = (
        *(local_sparsity(watched), coverage_risk(watched, 5).risk, survey(watched, k=5).sparsity),
        *(neighbour_gap(out, watched).distance, audit(out, watched, held_out=out, k=5).distance),
    )
    expected = (
        *(local_sparsity(training), coverage_risk(training, 5).risk, survey(training, k=5).sparsity),
        *(neighbour_gap(x, training).distance, audit(x, training, held_out=x, k=5).distance),
    )
    assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(found, expected, strict=True))


def test_agrees_with_the_audit():
    training = points(90, 5, 0)
    training[70] = training[4]
    training[80] = -training[4]
    training[4, 0] = training[70, 0] = 0.0
    training[70, 0] = -0.0  # equal in value all the same
    names = ["b", "a", "b"] * 30
    alone, audited = survey(training, names, 6), audit(training[:3] + 0.1, training, labels=names, k=6)
    for name in ("sparsity", "duplicate_of"):
        assert torch.equal(getattr(alone, name), getattr(audited, name)), name
    assert torch.equal(alone.coverage.risk, audited.coverage.risk)
    assert (alone.duplicates, alone.dim, alone.k) == (1, 5, 6)
    assert alone.duplicate_of[70] == 4
    for name, part in alone.labels.items():
        whole = audited.labels[name]
        assert (part.training, part.sparsity, part.risk) == (whole.training, whole.sparsity, whole.risk)


def test_definitions():
    training = points(90, 5, 0)
    found = survey(training, torch.arange(90) % 3, 6)
    assert torch.equal(found.sparsity, local_sparsity(training, 6))
    assert torch.equal(found.coverage.risk, coverage_risk(training, 6).risk)
    members = torch.arange(90) % 3 == 1
    assert found.labels[1].training == 30
    assert found.labels[1].sparsity == pytest.approx(found.sparsity[members].mean().item())
    assert found.labels[1].risk == pytest.approx(found.coverage.risk[members].mean().item())


def test_an_array_on_disk_gives_the_same(tmp_path):
    training = points(90, 5, 0)
    np.save(tmp_path / "t.npy", training.numpy())
    mapped = survey(np.load(tmp_path / "t.npy", mmap_mode="r"))
    assert torch.equal(mapped.sparsity, survey(training).sparsity)
    assert mapped.labels == {}


def test_progress_rises_to_the_end():
    seen = []
    survey(points(3000, 3, 1), progress=lambda done, total: seen.append((done, total)))
    done = [pair[0] for pair in seen]
    assert done == sorted(done)
    assert seen[-1] == (3000 * 3001 // 2, 3000 * 3001 // 2)


BAD = [
    torch.zeros(40),
    torch.zeros(0, 3),
    torch.zeros(40, 3, dtype=torch.int64),
    torch.full((40, 3), math.nan),
    [[1.0]],
]


@pytest.mark.parametrize("bad", [*BAD, *(tensor.numpy() for tensor in BAD[:4])])
def test_bad_arrays(bad):
    with pytest.raises(ValueError, match="training"):
        survey(bad)


def test_bad_options():
    training = points(11, 3, 1)
    with pytest.raises(ValueError, match="more than k = 11"):
        survey(training, k=11)
    with pytest.raises(ValueError, match="two distinct points"):
        survey(torch.ones(20, 3))
    for k in (0, 1.5, "ten"):
        with pytest.raises(ValueError, match="k must"):
            survey(training, k=k)
    for labels in ([1] * 10, [[1] * 11], 3, np.full(11, math.nan)):
        with pytest.raises(ValueError, match="labels"):
            survey(training, labels)
