"""Networks in training, an ensemble at once: Adam on the denoising loss, averages of the weights, losses on other laws.

A run can be saved at any state that it yields and goes on from there as if it had not stopped.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

from .. import _checks, _tensors
from .networks import Ensemble

__all__ = ["NetworkState", "train_networks"]

_Tensors = dict[str, Tensor]

FORMAT = "diffmem-networks-1"
PARTS = ("latest", "average", "first moment", "second moment")
BLOCK = 256  # points of each network at once where losses are measured


@dataclass(frozen=True, eq=False)
class NetworkState:
    """R networks after ``step`` steps of training, with all that was measured at the T states up to this one, the last.

    ``networks`` is the average of the weights over the course of training, ``latest`` the weights as they are.
    ``steps`` (T,) are those of the states. ``training_loss`` (T, R) is the weighted loss of the latest weights, its
    mean over the steps since the state before, or since the start (NaN at step 0). ``losses`` has for each held-out law
    a tensor (T, R, S) at S noise levels: the squared error of ``networks`` per dimension, E|D(x + σz, σ) − x|²/d.
    """

    step: int
    networks: Ensemble
    latest: Ensemble
    steps: Tensor
    training_loss: Tensor
    losses: _Tensors
    _kept: _Tensors = field(repr=False)
    _about: dict[str, Any] = field(repr=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint, whole or not at all, in the safetensors format; :func:`train_networks` resumes from it.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        from safetensors.torch import save_file

        file = Path(path)
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self._kept.items()}
        about = json.dumps(self._about)
        said = {"format": FORMAT, "about": about, "digest": _digest(tensors, about)}
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".writing-") as hidden:
            save_file(tensors, Path(hidden) / "checkpoint", said)
            os.replace(Path(hidden) / "checkpoint", file)


def train_networks(
    ensemble: Ensemble,
    training: Tensor | Sequence[Tensor],
    *,
    batch: int = 128,
    rate: float = 1e-3,
    noise: tuple[float, float] = (-1.2, 1.2),
    average: float = 0.999,
    held_out: Mapping[str, Tensor] | None = None,
    sigmas: Sequence[float] = (),
    every: int | None = None,
    at: Sequence[int] | None = None,
    generator: torch.Generator | None = None,
    resume: str | os.PathLike[str] | None = None,
) -> Iterator[NetworkState]:
    r"""States of an ensemble in training, one after each ``every`` steps without end, or those ``at`` given steps.

    Network r minimizes the denoising loss on its own training points x (Karras et al. 2022, arXiv:2206.00364, §5),

    .. math::
        \mathrm{E}_{\ln\sigma \sim N(\text{noise})}\, \frac{\sigma^2 + \sigma_d^2}{(\sigma\sigma_d)^2}\,
        \frac1d\, \mathrm{E}_{x, z} |D(x + \sigma z, \sigma) - x|^2,

    whose weight makes it about 1 at first at every σ, by Adam (β = .9, .999): each step draws so many points, with
    replacement, and for each a noise level and fresh noise. Nothing is shared between networks. Averages a of the
    weights w follow them, a ← δ a + (1 − δ) w, where δ = ``average``, but (1 + t)/(10 + t) if that is less in step t,
    so that they forget the start.

    Parameters
    ----------
    ensemble : Ensemble
        Networks to begin with; left as they are.
    training : Tensor (R, n, d) or sequence of R tensors (n_r, d)
        Training points of each network, in its dtype and on its device.
    batch : int
        Points in a step, for each network.
    rate : float
        Learning rate of Adam.
    noise : (float, float)
        Mean and standard deviation of ln σ in training.
    average : float
        δ, in [0, 1); at 0 the average is the latest weights.
    held_out : mapping of str to Tensor (m, d) or (R, m, d), optional
        Points of other laws, for all networks or for each. Losses on them are measured at every state, with noise
        drawn once, the same at all levels and on laws of one shape; it takes nothing from the training's randomness.
    sigmas : sequence of float
        Noise levels of these losses; needed with ``held_out``.
    every : int, optional
        Steps between states, the first of which is the start; 100 unless ``at`` is given.
    at : sequence of int, optional
        Steps of the states, rising from 0 or more, in the place of ``every``; the run ends after the last.
    generator : torch.Generator, optional
        Source of all randomness, on the networks' device; without it, one that torch's default generator seeds.
    resume : path, optional
        Checkpoint of a state of this very run (:meth:`NetworkState.save`), which becomes the first state; the next are
        those of the run that was not stopped, to the last bit on the same machine. The generator is set to where it
        was, the weights of ``ensemble`` are not used.

    Raises
    ------
    ValueError
        At the call, if an argument is not as said above, or ``resume`` is damaged or of another run; later, if the loss
        is no longer finite: the rate is too large.
    """
    if not isinstance(ensemble, Ensemble):
        raise ValueError(f"ensemble must be an Ensemble, got {_checks.shown(ensemble)}")
    like = next(iter(ensemble.weights.values()))
    points = _training_points(training, ensemble, like)
    laws, levels = _held_out(held_out, sigmas, ensemble, like)
    generator = _tensors.generator(generator, like.device)
    if generator is None:
        generator = torch.Generator(like.device).manual_seed(int(torch.randint(2**62, (), device="cpu")))
    settings = {
        "networks": len(ensemble),
        **ensemble.network.settings,
        "dtype": str(like.dtype),
        "batch": _checks.integer(batch, "batch", low=1),
        "rate": _checks.number(rate, "rate", low=0, low_open=True),
        "noise": _log_sigma(noise),
        "average": _checks.number(average, "average", low=0, high=1, high_open=True),
        **_stops(every, at),
        "sigmas": levels,
        "training": [len(own) for own in points],
        "training digest": _digest({str(r): own for r, own in enumerate(points)}),
        "held-out laws": {name: [list(law.shape), _digest({"": law})] for name, law in laws.items()},
        "generator": generator.device.type,
    }
    about = {"settings": settings, "seed": 0}
    if resume is None:
        about["seed"] = int(torch.randint(2**62, (), generator=generator, device=like.device))
        run = _Run(ensemble, points, laws, generator, about, _start(ensemble, laws, levels))
        if not settings["at"] or settings["at"][0] == 0:
            run.measure(like.new_full((len(ensemble),), math.nan))
    else:
        kept, about = _load(resume, settings)
        generator.set_state(kept.pop("generator"))
        run = _Run(ensemble, points, laws, generator, about, kept)
    return run.states()


class _Run:
    """Training as it goes: the weights, what Adam and the average remember of them, and all that was measured."""

    def __init__(
        self,
        ensemble: Ensemble,
        points: list[Tensor],
        laws: _Tensors,
        generator: torch.Generator,
        about: dict[str, Any],
        kept: _Tensors,
    ) -> None:
        self.ensemble, self.laws, self.generator, self.about = ensemble, laws, generator, about
        self.settings, device = about["settings"], points[0].device
        self.points = torch.cat(points)
        self.sizes = torch.tensor([[len(own)] for own in points], device=device)
        self.starts = self.sizes.cumsum(0) - self.sizes
        # In the order of the ensemble's names and of the laws; a file has its own.
        names = ["steps", "training_loss", *(f"losses/{name}" for name in laws)]
        self.parts = {
            part: {name: kept[f"{part}/{name}"].to(device, copy=True) for name in ensemble.weights} for part in PARTS
        }
        self.record = {name: kept[name].to(device) for name in names}
        self.step = int(self.record["steps"][-1]) if len(self.record["steps"]) else 0
        for weight in self.parts["latest"].values():
            weight.requires_grad_()

    @torch.no_grad()
    def states(self) -> Iterator[NetworkState]:
        at = self.settings["at"] or itertools.count(0, self.settings["every"])
        for stop in itertools.dropwhile(lambda step: step < self.step, at):
            if stop > self.step:
                loss = torch.stack([self.advance() for _ in range(stop - self.step)]).mean(0)
                if not all(torch.isfinite(tensor).all() for tensor in (loss, *self.parts["latest"].values())):
                    raise ValueError(f"rate must be so small that the loss stays finite, got {self.settings['rate']:g}")
                self.measure(loss)
            yield self.state()

    def advance(self) -> Tensor:
        """One step of all networks; their losses (R,) before it."""
        latest, average = (self.parts[part] for part in ("latest", "average"))
        with torch.enable_grad():
            loss = self.loss()
            gradients = torch.autograd.grad(loss.sum(), list(latest.values()))
        self.step += 1
        adam(  # not fused: that form takes transposed gradients for what lies in memory
            list(latest.values()),
            list(gradients),
            list(self.parts["first moment"].values()),
            list(self.parts["second moment"].values()),
            [],
            [torch.tensor(self.step - 1.0, dtype=torch.float64, device="cpu") for _ in latest],  # which it counts up
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.settings["rate"],
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
        decay = min(self.settings["average"], self.step / (9 + self.step))
        for name, weight in latest.items():
            average[name].lerp_(weight, 1 - decay)
        return loss.detach()

    def loss(self) -> Tensor:
        """Weighted loss (R,) of the latest weights on points, noise levels and noise drawn for each network."""
        like: dict[str, Any] = {"generator": self.generator, "device": self.points.device}
        shape = len(self.ensemble), self.settings["batch"]
        clean = self.points[self.starts + torch.randint(2**62, shape, **like) % self.sizes]
        mean, deviation = self.settings["noise"]
        sigma = (mean + deviation * torch.randn(shape, dtype=clean.dtype, **like)).exp()
        noised = clean + sigma[..., None] * torch.randn(clean.shape, dtype=clean.dtype, **like)
        error = self.ensemble.denoise_with(self.parts["latest"], noised, sigma) - clean
        sigma_data = self.settings["sigma_data"]
        weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
        return (weight * error.square().mean(-1)).mean(-1)

    @torch.no_grad()
    def measure(self, training_loss: Tensor) -> None:
        """Take down how the networks stand at this step."""
        row = {"steps": self.record["steps"].new_full((), self.step), "training_loss": training_loss}
        for name, law in self.laws.items():
            row[f"losses/{name}"] = self.squared_error(law)
        self.record = {name: torch.cat([rows, row[name][None]]) for name, rows in self.record.items()}

    def squared_error(self, law: Tensor) -> Tensor:
        """E|D(x + σz, σ) − x|²/d of the average (R, S) on the points x of a law, with noise that is always the same."""
        own = torch.Generator("cpu").manual_seed(self.about["seed"])
        noise = torch.randn(law.shape, generator=own, dtype=law.dtype, device="cpu").to(law.device)
        clean, noise = (part.expand(len(self.ensemble), -1, -1) for part in (law, noise))
        columns = []
        for sigma in self.settings["sigmas"]:
            level, total = law.new_full((len(self.ensemble), 1), sigma), law.new_zeros(len(self.ensemble))
            for x, z in zip(clean.split(BLOCK, 1), noise.split(BLOCK, 1), strict=True):
                error = self.ensemble.denoise_with(self.parts["average"], x + sigma * z, level) - x
                total += error.square().mean(-1).sum(-1)
            columns.append(total / clean.shape[1])
        return torch.stack(columns, -1)

    def state(self) -> NetworkState:
        """A copy of all that there is, which further steps leave alone."""
        kept = {f"{part}/{n}": w.detach().clone() for part in PARTS for n, w in self.parts[part].items()} | self.record
        return NetworkState(
            step=self.step,
            networks=self.ensemble.with_weights(_under("average", kept)),
            latest=self.ensemble.with_weights(_under("latest", kept)),
            steps=kept["steps"],
            training_loss=kept["training_loss"],
            losses=_under("losses", kept),
            _kept=kept | {"generator": self.generator.get_state()},
            _about=self.about,
        )


def _start(ensemble: Ensemble, laws: _Tensors, sigmas: list[float]) -> _Tensors:
    """What a run begins with: the weights, no moments, and a record without rows."""
    like, networks = next(iter(ensemble.weights.values())), len(ensemble)
    kept = {
        "steps": torch.empty(0, dtype=torch.int64, device=like.device),
        "training_loss": like.new_empty(0, networks),
    }
    kept |= {f"losses/{name}": like.new_empty(0, networks, len(sigmas)) for name in laws}
    for name, weight in ensemble.weights.items():
        kept |= {f"{part}/{name}": torch.zeros_like(weight) if "moment" in part else weight for part in PARTS}
    return kept


def _under(part: str, kept: _Tensors) -> _Tensors:
    return {name.partition("/")[2]: tensor for name, tensor in kept.items() if name.startswith(f"{part}/")}


def _load(path: Any, settings: dict[str, Any]) -> tuple[_Tensors, dict[str, Any]]:
    """The tensors of a checkpoint, and what it says of its run, which must have these settings."""
    from safetensors import safe_open

    if not isinstance(path, str | os.PathLike) or not Path(path).is_file():
        raise ValueError(f"resume must be the path of a checkpoint, got {_checks.shown(path)}, which is no file")
    file = Path(path)
    try:
        with safe_open(file, "pt", device="cpu") as opened:
            said = opened.metadata() or {}
            kept = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        about = json.loads(said["about"]) if said.get("format") == FORMAT else None
        whole = about is not None and said.get("digest") == _digest(kept, said["about"])
    except Exception as error:  # a damaged file can raise almost anything
        raise ValueError(f"resume must be a checkpoint, got {str(file)!r}, which is damaged ({error})") from None
    if about is None:
        raise ValueError(f"resume must be a checkpoint of train_networks, got {str(file)!r}, which is none")
    if not whole:
        raise ValueError(f"resume must be a checkpoint, got {str(file)!r}, which is damaged: its digest differs")
    asked = json.loads(json.dumps(settings))
    other = [name for name in asked if about["settings"].get(name) != asked[name]]
    if other:
        differences = ", ".join(f"{name} {about['settings'].get(name)}, not {asked[name]}" for name in other)
        raise ValueError(f"resume must be a checkpoint of the same run, got one with {differences}")
    return kept, about


def _digest(tensors: _Tensors, text: str = "") -> str:
    """A name for these numbers and this text."""
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _training_points(training: Any, ensemble: Ensemble, like: Tensor) -> list[Tensor]:
    allowed = f"training must be a tensor ({len(ensemble)}, n, d), or a sequence of {len(ensemble)} tensors (n, d)"
    if not isinstance(training, Tensor | list | tuple) or len(training) != len(ensemble):
        raise ValueError(f"{allowed}, got {_checks.shown(training)}")
    return [_like(own, "training", like, ("n", ensemble.network.dim)) for own in training]


def _held_out(held_out: Any, sigmas: Any, ensemble: Ensemble, like: Tensor) -> tuple[_Tensors, list[float]]:
    if not isinstance(held_out, Mapping | None):
        raise ValueError(f"held_out must map names to tensors, got {_checks.shown(held_out)}")
    laws, dim = {}, ensemble.network.dim
    for name, law in (held_out or {}).items():
        shape = ("m", dim) if getattr(law, "ndim", 2) == 2 else (len(ensemble), "m", dim)
        laws[str(name)] = _like(law, f"held_out[{name!r}]", like, shape)
    return laws, [_tensors.noise_level(s, "sigmas") for s in _checks.array(sigmas, "sigmas", ndim=1)] if laws else []


def _stops(every: Any, at: Any) -> dict[str, Any]:
    """At which steps a run shows its state."""
    if at is None:
        return {"every": 100 if every is None else _checks.integer(every, "every", low=1), "at": None}
    allowed = "at must be a sequence of steps that rise, from 0 or more"
    if not isinstance(at, Sequence) or isinstance(at, str) or not at:
        raise ValueError(f"{allowed}, got {_checks.shown(at)}")
    steps = [_checks.integer(step, "at", low=0) for step in at]
    if any(step >= after for step, after in itertools.pairwise(steps)):
        raise ValueError(f"{allowed}, got {_checks.shown(at)}")
    if every is not None:
        raise ValueError(f"every must be left out where at says the steps of the states, got {_checks.shown(every)}")
    return {"every": None, "at": steps}


def _like(value: Any, name: str, like: Tensor, shape: tuple[int | str, ...]) -> Tensor:
    _tensors.floating(value, name, shape=shape, device=like.device)
    if value.dtype != like.dtype:
        raise ValueError(f"{name} must be of the networks' dtype {like.dtype}, got {value.dtype}")
    return value


def _log_sigma(noise: Any) -> list[float]:
    allowed = "noise must be the mean and the standard deviation of ln σ"
    if not isinstance(noise, Sequence) or len(noise) != 2:
        raise ValueError(f"{allowed}, got {_checks.shown(noise)}")
    return [_checks.number(noise[0], "noise", low=-50, high=50), _checks.number(noise[1], "noise", low=0, high=10)]
