"""simulation.network_training: a step is Adam's by hand, a stopped run goes on, learning approaches the law."""

import itertools
import math

import pytest
import torch

from diffmem_lib.simulation import MLP, Ensemble, UNet, train_networks

SETTINGS = {"batch": 4, "rate": 0.01, "every": 2}


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def mlps(count=2, dim=3, seed=0, dtype=torch.float64, **sizes):
    generator = gen(seed)
    return Ensemble([MLP(dim, **{"width": 8, **sizes}, generator=generator, dtype=dtype) for _ in range(count)])


def points(*shape, seed=1, dtype=torch.float64):
    return 0.5 * torch.randn(shape, generator=gen(seed), dtype=dtype)


def states(count, *args, seed=7, **options):
    return list(itertools.islice(train_networks(*args, generator=gen(seed), **{**SETTINGS, **options}), count))


def weights_of(state):
    return [*state.networks.weights.values(), *state.latest.weights.values()]


def the_same(first, second):
    """All that two states show, to the last bit."""
    assert first.step == second.step
    record = [
        [state.steps, state.training_loss.nan_to_num(-1), *state.losses.values(), *weights_of(state)]
        for state in (first, second)
    ]
    return all(torch.equal(a, b) for a, b in zip(*record, strict=True))


def test_steps_are_adams_on_each_network_alone():
    """Loss, gradient, Adam and average written out with autograd on the members, on the same draws."""
    ensemble, sizes, rate = mlps(), (6, 9), 0.01
    training = [points(n, 3, seed=n) for n in sizes]
    state = states(2, ensemble, training, every=3, noise=(-0.7, 0.9), average=0.3)[1]
    same, members, losses = gen(7), list(ensemble), torch.zeros(2, dtype=torch.float64)
    torch.randint(2**62, (), generator=same)  # the seed of the held-out noise
    everything = [[p.requires_grad_() for p in member.layers.parameters()] for member in members]
    averages = [[p.detach().clone() for p in own] for own in everything]
    moments = [[(torch.zeros_like(p), torch.zeros_like(p)) for p in own] for own in everything]
    for step in (1, 2, 3):
        index = torch.randint(2**62, (2, 4), generator=same)
        sigma = torch.exp(-0.7 + 0.9 * torch.randn(2, 4, generator=same, dtype=torch.float64))
        noise = torch.randn(2, 4, 3, generator=same, dtype=torch.float64)
        for r in range(2):
            loss = 0
            for i in range(4):
                x, s = training[r][int(index[r, i]) % sizes[r]], float(sigma[r, i])
                denoised = members[r]((x + s * noise[r, i])[None], s)[0]
                loss = loss + (s**2 + 0.25) / (s * 0.5) ** 2 * ((denoised - x) ** 2).sum() / 3 / 4
            losses[r] += loss.detach() / 3
            gradients = torch.autograd.grad(loss, everything[r])
            decay = min(0.3, step / (9 + step))
            for k, (weight, gradient) in enumerate(zip(everything[r], gradients, strict=True)):
                first, second = moments[r][k]
                first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
                moments[r][k] = first, second
                root = (second / (1 - 0.999**step)).sqrt() + 1e-8
                with torch.no_grad():
                    weight -= rate * first / (1 - 0.9**step) / root
                averages[r][k] = decay * averages[r][k] + (1 - decay) * weight.detach()
    assert state.step == 3
    assert torch.allclose(state.training_loss[-1], losses, rtol=1e-12)
    for r in range(2):
        for found, expected in ((state.latest, everything), (state.networks, averages)):
            for own, weight in zip(found[r].layers.parameters(), expected[r], strict=True):
                assert torch.allclose(own, weight, rtol=1e-9, atol=1e-12)


def test_the_average_takes_up_the_given_decay():
    """Once (1 + t)/(10 + t) is above it: δ = .2 from the second step on."""
    first, second = states(4, mlps(), points(2, 6, 3), every=1, average=0.2)[2:]
    for name, average in second.networks.weights.items():
        expected = 0.2 * first.networks.weights[name] + 0.8 * second.latest.weights[name]
        assert torch.allclose(average, expected, rtol=1e-12)
    last = states(2, mlps(), points(2, 6, 3), average=0)[1]
    assert all(torch.equal(last.networks.weights[n], last.latest.weights[n]) for n in last.latest.weights)


def test_losses_on_other_laws():
    """The squared error of the averaged networks, by their members, on the noise of the first draw's seed."""
    ensemble, training = mlps(), points(2, 6, 3)
    laws = {"shared": points(300, 3, seed=2), "own": points(2, 5, 3, seed=3)}
    found = states(3, ensemble, training, held_out=laws, sigmas=[0.2, 1.5])
    assert found[2].steps.tolist() == [0, 2, 4]
    assert found[2].losses["shared"].shape == (3, 2, 2)
    seed = int(torch.randint(2**62, (), generator=gen(7)))
    for name, law in laws.items():
        noise = torch.randn(law.shape, generator=gen(seed), dtype=torch.float64)
        for t, r, (k, sigma) in itertools.product((0, 2), (0, 1), enumerate((0.2, 1.5))):
            x, z = (part if part.ndim == 2 else part[r] for part in (law, noise))
            error = (found[t].networks[r](x + sigma * z, sigma) - x).square().mean().item()
            assert found[2].losses[name][t, r, k].item() == pytest.approx(error, rel=1e-10)


def test_measuring_changes_nothing():
    laws = {"held_out": points(5, 3, seed=2)}
    training = points(2, 6, 3)
    plain, measured = states(3, mlps(), training), states(3, mlps(), training, held_out=laws, sigmas=[1.0])
    rarely = states(2, mlps(), training, every=4)[1]
    for other in (measured[2], rarely):
        assert all(torch.equal(a, b) for a, b in zip(weights_of(plain[2]), weights_of(other), strict=True))


@pytest.mark.parametrize("at", [(0, 1, 4), [3, 4], range(2, 6, 3)])
def test_stops_at_given_steps(at):
    """What a run shows there is what it would show at every step; the loss is the mean since the state before."""
    options = {"held_out": {"own": points(5, 3, seed=2)}, "sigmas": [1.0]}
    each = states(6, mlps(), points(2, 6, 3), every=1, **options)
    found = states(9, mlps(), points(2, 6, 3), every=None, at=at, **options)
    assert [state.step for state in found] == found[-1].steps.tolist() == list(at)
    before = 0
    for row, step in enumerate(at):
        shown, same = found[row], each[step]
        assert all(torch.equal(a, b) for a, b in zip(weights_of(shown), weights_of(same), strict=True))
        assert torch.equal(shown.losses["own"][row], same.losses["own"][step])
        assert shown.training_loss.shape == (row + 1, 2)
        expected = each[5].training_loss[before + 1 : step + 1].mean(0)
        assert torch.allclose(shown.training_loss[row], expected, rtol=1e-12, equal_nan=True)
        before = step


def test_goes_on_to_the_last_of_given_steps(tmp_path):
    """To the last bit, from any state, the last too, and in no other run."""
    run = {"every": None, "at": (1, 4, 5), "held_out": {"own": points(5, 3, seed=2)}, "sigmas": [1.0]}
    whole = states(9, mlps(), points(2, 6, 3), **run)
    for place, state in enumerate(whole):
        state.save(tmp_path / "run")
        rest = states(9, mlps(), points(2, 6, 3), seed=99, **run, resume=tmp_path / "run")
        assert len(rest) == 3 - place
        assert all(the_same(a, b) for a, b in zip(whole[place:], rest, strict=True))
    for other in ({"at": (1, 4, 6)}, {"at": None}):
        with pytest.raises(ValueError, match=r"at \[1, 4, 5\], not"):
            train_networks(mlps(), points(2, 6, 3), **{**SETTINGS, **run, **other}, resume=tmp_path / "run")


def test_repeats_by_its_generator():
    first, again, other = (states(3, mlps(), points(2, 6, 3), seed=seed)[2] for seed in (7, 7, 8))
    assert the_same(first, again)
    assert not the_same(first, other)


def test_states_are_snapshots_and_the_ensemble_is_left_alone():
    ensemble = mlps()
    before = {name: weight.clone() for name, weight in ensemble.weights.items()}
    run = train_networks(ensemble, points(2, 6, 3), **SETTINGS, generator=gen(7))
    first, second = next(run), next(run)
    kept = [weight.clone() for weight in weights_of(second)]
    next(run)
    assert all(torch.equal(weight, before[name]) for name, weight in ensemble.weights.items())
    assert all(torch.equal(a, b) for a, b in zip(weights_of(second), kept, strict=True))
    assert all(torch.equal(weight, before[name]) for name, weight in first.latest.weights.items())


@pytest.mark.parametrize("kind", ["mlp", "unet"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_goes_on_to_the_last_bit(kind, dtype, tmp_path):
    """Through a file, with another generator that is set back; the seed it was given does not matter."""
    ensemble = mlps(dim=16, dtype=dtype)
    if kind == "unet":
        ensemble = Ensemble([UNet((4, 4), 4, generator=gen(r), dtype=dtype) for r in range(2)])
    training, laws = points(2, 6, 16, dtype=dtype), {"own": points(4, 16, seed=2, dtype=dtype)}
    options = {"held_out": laws, "sigmas": [0.3, 1.0]}
    whole = states(4, ensemble, training, **options)
    whole[1].save(tmp_path / "run.safetensors")  # after the run has gone on
    rest = states(3, ensemble, training, seed=99, **options, resume=tmp_path / "run.safetensors")
    assert all(the_same(a, b) for a, b in zip(whole[1:], rest, strict=True))
    rest[2].save(tmp_path / "run.safetensors")
    assert the_same(states(1, ensemble, training, **options, resume=tmp_path / "run.safetensors")[0], whole[3])
    assert [file.name for file in tmp_path.iterdir()] == ["run.safetensors"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    first, second = states(2, mlps(), points(2, 6, 3))
    first.save(tmp_path / "run")
    before = (tmp_path / "run").read_bytes()
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        second.save(tmp_path / "run")
    assert (tmp_path / "run").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("spoil", ["cut", "bit", "said", "header", "empty", "other file", "missing", "folder"])
def test_damaged_files_are_refused(spoil, tmp_path):
    file = tmp_path / "run"
    states(2, mlps(), points(2, 6, 3))[1].save(file)
    good = bytearray(file.read_bytes())
    bad = {
        "cut": good[:-100],
        "header": good[3:],
        "empty": b"",
        "other file": b"a,b\n1,2\n" * 50,
        "bit": good,
        "said": good.replace(b'seed\\": ', b'seed\\":0'),
    }
    good[-200] ^= 1
    file.unlink()
    if spoil == "folder":
        file.mkdir()
    elif spoil != "missing":
        file.write_bytes(bad[spoil])
    with pytest.raises(ValueError, match=r"resume must be (a|the path of a) checkpoint"):
        states(1, mlps(), points(2, 6, 3), resume=file)


def test_files_of_other_kinds_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"steps": torch.zeros(1)}, tmp_path / "run")
    with pytest.raises(ValueError, match="resume must be a checkpoint of train_networks"):
        states(1, mlps(), points(2, 6, 3), resume=tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch": 5}, "batch 4, not 5"),
        ({"rate": 0.02}, "rate 0.01, not 0.02"),
        ({"noise": (0.0, 1.2)}, "noise"),
        ({"average": 0.5}, "average 0.999, not 0.5"),
        ({"every": 3}, "every 2, not 3"),
        ({"every": None, "at": [2, 4]}, r"every 2, not None, at None, not \[2, 4\]"),
        ({"training": points(2, 7, 3)}, "training"),
        ({"training": points(2, 6, 3, seed=5)}, "training digest"),
        ({"held_out": {"own": points(5, 3)}, "sigmas": [1.0]}, "held-out laws"),
        ({"ensemble": mlps(width=9)}, "width 8, not 9"),
        ({"ensemble": mlps(sigma_data=1.0)}, "sigma_data 0.5, not 1.0"),
    ],
)
def test_other_runs_are_refused(change, named, tmp_path):
    run = {"ensemble": mlps(), "training": points(2, 6, 3), **SETTINGS}
    next(train_networks(**run)).save(tmp_path / "run")
    with pytest.raises(ValueError, match=f"resume must be a checkpoint of the same run, got one with .*{named}"):
        train_networks(**{**run, **change}, resume=tmp_path / "run")


def test_learns_the_posterior_mean_of_a_gaussian():
    """Fresh points of N(0, diag λ): Wiener's filter λ/(λ + σ²) has error λσ²/(λ + σ²), c_skip alone more.

    What training must gain is most of the difference; what it cannot is to beat the filter by more than chance.
    """
    eigenvalues = torch.tensor([1.0, 0.2, 0.01], dtype=torch.float64)
    training, fresh = (
        points(*shape, seed=s) * 2 * eigenvalues.sqrt() for s, shape in ((1, (2, 4000, 3)), (2, (4000, 3)))
    )
    sigmas = torch.tensor([0.2, 0.5], dtype=torch.float64)
    ensemble = mlps(width=32)
    options = {"batch": 64, "rate": 5e-3, "every": 100, "held_out": {"fresh": fresh}, "sigmas": sigmas.tolist()}
    last = states(2, ensemble, training, **options)[1]
    squares = sigmas[:, None] ** 2
    filtered = (eigenvalues * squares / (eigenvalues + squares)).mean(1)
    skip = 0.25 / (0.25 + squares)
    skipped = ((1 - skip) ** 2 * eigenvalues + skip**2 * squares).mean(1)
    assert torch.allclose(last.losses["fresh"][0], skipped.expand(2, 2), rtol=0.1)  # 4000 points: about 2 %
    excess = (last.losses["fresh"][1] - filtered) / (skipped - filtered)
    assert (excess < 0.25).all()
    assert (last.losses["fresh"][1] > 0.9 * filtered).all()
    x = torch.eye(3, dtype=torch.float64) * eigenvalues.sqrt()
    estimate = last.networks[0](x, 0.5)
    assert (estimate - eigenvalues / (eigenvalues + 0.25) * x).norm() < (
        0.5 * x - eigenvalues / (eigenvalues + 0.25) * x
    ).norm() / 2


def test_says_that_a_rate_is_too_large():
    with pytest.raises(ValueError, match=r"rate must be so small .* got 1e\+200"):
        states(9, mlps(), points(2, 6, 3), rate=1e200)


@pytest.mark.parametrize("where", ["around the run", "around each step"])
def test_products_may_be_rounded(where):
    """Under autocast weights, losses and averages stay float32, and products see the weights of their step."""
    ensemble, training = mlps(dtype=torch.float32, width=32), points(2, 50, 3, dtype=torch.float32)
    options = {"held_out": {"own": training}, "sigmas": [0.5], "rate": 0.05, "every": 20}
    exact = states(3, ensemble, training, **options)[2]
    rounded = torch.autocast("cpu", dtype=torch.bfloat16)
    if where == "around the run":
        with rounded:
            found = states(3, ensemble, training, **options)[2]
    else:
        run = train_networks(ensemble, training, **{**SETTINGS, **options}, generator=gen(7))
        for _ in range(3):
            with rounded:
                found = next(run)
    assert all(w.dtype == torch.float32 for w in [*weights_of(found), found.training_loss, found.losses["own"]])
    assert not the_same(found, exact)  # products were rounded
    assert torch.allclose(
        found.training_loss[1:], exact.training_loss[1:], rtol=0.05
    )  # bfloat16 has 8 bits: 0.4 % each
    assert found.losses["own"].isfinite().all()


def test_runs_where_no_gradients_are_recorded():
    with torch.no_grad():
        inside = states(2, mlps(), points(2, 6, 3))[1]
    assert the_same(inside, states(2, mlps(), points(2, 6, 3))[1])


def test_without_a_generator_torchs_default_one_seeds():
    def run():
        torch.manual_seed(3)
        return next(itertools.islice(train_networks(mlps(), points(2, 6, 3), **SETTINGS), 1, None))

    before = torch.get_rng_state()
    try:
        assert the_same(run(), run())
    finally:
        torch.set_rng_state(before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": points(3, 6, 3)}, r"training must be a tensor \(2, n, d\)"),
        ({"training": [points(6, 3), points(6, 4)]}, "training must be .* got shape"),
        ({"training": points(2, 6, 3, dtype=torch.float32)}, "training must be of the networks' dtype"),
        ({"held_out": {"x": points(5, 3)}}, "sigmas must be"),
        ({"held_out": {"x": points(5, 3)}, "sigmas": [1.0, math.nan]}, "sigmas must be"),
        ({"held_out": {"x": points(3, 5, 3)}, "sigmas": [1.0]}, r"held_out\['x'\] must be"),
        ({"held_out": points(5, 3), "sigmas": [1.0]}, "held_out must map"),
        ({"average": 1.0}, "average must be"),
        ({"noise": (0.0,)}, "noise must be"),
        ({"noise": (0.0, -1.0)}, "noise must be"),
        ({"at": (0, 2)}, "every must be left out where at says"),
        ({"every": None, "at": (2, 2)}, r"at must be a sequence of steps that rise.* got \(2, 2\)"),
        ({"every": None, "at": ()}, "at must be a sequence of steps"),
        ({"every": None, "at": (-1, 2)}, "at must be an integer of at least 0, got -1"),
        ({"every": None, "at": torch.arange(3)}, "at must be a sequence of steps"),
    ],
)
def test_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        train_networks(**{"ensemble": mlps(), "training": points(2, 6, 3), **SETTINGS, **change})
