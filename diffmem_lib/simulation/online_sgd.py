r"""One-pass spherical SGD of a one-neuron denoiser: the full dynamics, and the exact reduction to a few numbers.

The denoiser :math:`f(x_t) = s\,x_t + \varphi(w\cdot x_t)\,w` with :math:`|w| = 1` predicts the noise ε of
:math:`x_t = \sqrt{\bar\alpha}\,x + s\,\varepsilon`, :math:`s = \sqrt{1-\bar\alpha}`. With G the gradient of
:math:`|\varepsilon - f(x_t)|^2` averaged over a batch of fresh samples, and P the projector orthogonal to w, a step is

.. math:: w \leftarrow \frac{w - \eta\,P\,G}{|w - \eta\,P\,G|}.

:func:`spherical_sgd` runs it in all d dimensions for any law.
:func:`reduced_chain` runs the same process where the law is an isotropic Gaussian off its planted directions:
the overlaps with these are then a Markov chain of their own, at a cost per step that does not depend on d.
Derived in *Linear against cubic* (chapters/linear_cubic.ipynb).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from .. import _checks, _tensors
from ..data import Gaussian, MixedCumulant

__all__ = ["Activation", "OverlapRuns", "hermite_activation", "reduced_chain", "spherical_sgd", "tanh_activation"]

_MAX_PLANTED = 2
# What a cache holds: samples drawn at once by the reduced chain, floats held at once by the full dynamics.
_BLOCK = 16384
_CHUNK = 1 << 18
# Chains that advance side by side: enough to fill the processor's vector units many times over.
_LANES = 64


class Law(Protocol):
    """What the full dynamics asks of a law: its dimension, and n independent draws (n, d)."""

    dim: int

    def sample(self, n: int, generator: torch.Generator | None = None) -> torch.Tensor: ...


@dataclass(frozen=True)
class Activation:
    """An activation φ and its derivative φ′, both functions of a NumPy array in elementary NumPy operations.

    They are called on arrays by the full dynamics and compiled by numba, for scalars, in the reduced chain.
    """

    value: Callable
    slope: Callable


@dataclass(frozen=True)
class OverlapRuns:
    """Overlaps of R independent runs with k planted directions.

    ``samples`` (T,) is the number of training samples seen at each record, from 0 on; ``overlaps`` (R, T, k) are the
    w·v there; ``recovery`` (R,) is the number of samples after which the overlap with the first direction had first
    reached the threshold in size, infinite for a run that ended before (censored at the last entry of ``samples``)
    or without a threshold. A run stops at its recovery: later records repeat its last overlaps.
    """

    samples: NDArray[np.int64]
    overlaps: NDArray[np.float64]
    recovery: NDArray[np.float64]


def tanh_activation(scale: float) -> Activation:
    """φ(y) = scale · tanh(y)."""
    return _tanh_activation(_checks.number(scale, "scale"))


@functools.cache
def _tanh_activation(scale: float) -> Activation:
    return Activation(lambda y: scale * np.tanh(y), lambda y: scale * (1 - np.tanh(y) ** 2))


def hermite_activation(coefficients: Sequence[float]) -> Activation:
    """φ = Σ_k coefficients[k] He_k, from order 0 on, as a polynomial evaluated by Horner's rule."""
    return _hermite_activation(tuple(_checks.array(coefficients, "coefficients", ndim=1).tolist()))


@functools.cache
def _hermite_activation(coefficients: tuple[float, ...]) -> Activation:
    powers = np.polynomial.hermite_e.herme2poly(coefficients)
    slopes = np.polynomial.polynomial.polyder(powers)
    return Activation(_horner(powers), _horner(slopes))


def _horner(powers: NDArray[np.float64]) -> Callable:
    highest, *others = (float(p) for p in powers[::-1])
    falling = tuple(others)
    if not falling:
        return lambda y: highest + 0 * y

    def polynomial(y):
        total = highest + 0 * y
        for coefficient in falling:
            total = total * y + coefficient
        return total

    return polynomial


# --------------------------------------------------------------------------------------------------
# Full dynamics
# --------------------------------------------------------------------------------------------------


def spherical_sgd(
    law: Law,
    activation: Activation,
    alpha_bar: float,
    step: float,
    steps: int,
    replicas: int,
    *,
    spikes: Sequence[str] | torch.Tensor | None = None,
    start: Sequence[float] | None = None,
    batch: int = 1,
    threshold: float = math.inf,
    every: int | None = None,
    generator: torch.Generator | None = None,
) -> OverlapRuns:
    r"""One-pass spherical SGD in all d dimensions, replicas batched, float32, on the generator's device.

    Parameters
    ----------
    law
        Anything with ``dim`` and ``sample(n, generator)``.
    activation, alpha_bar
        φ of the denoiser, and ᾱ of the noise, in (0, 1).
    step, steps, replicas
        Step size η > 0 for the squared error |ε − f|² (summed over dimensions, averaged over the batch),
        number of steps, number R of independent runs.
    spikes
        The k ≥ 1 directions that are followed: names of ``law.spikes``, or orthonormal rows (k, d).
        Default: the law's spikes of non-zero strength.
    start
        Overlaps (k,) of the first w with them, the rest of w being uniform; k < d, and the first of them is below
        ``threshold`` in size. Default: w uniform on the sphere.
    batch
        Fresh samples a step.
    threshold
        Stop a run where the overlap with the first direction reaches this size, in (0, 1) or infinite for never.
    every
        Steps between records, a divisor of ``steps``; default: one record, at the end.

    Raises
    ------
    ValueError
        If a number is out of its range, the directions are not orthonormal, or the start is not inside the sphere.
    """
    setting = _setting(alpha_bar, step, steps, replicas, batch, threshold, every)
    directions = _directions(law, spikes)
    begin = _start(start, len(directions), law.dim, threshold)
    directions = directions.to(_device(generator), torch.float32)
    chunk = max(1, _CHUNK // (2 * batch * law.dim))
    runs = [
        _full_runs(law, activation, setting, directions, begin, min(chunk, replicas - first), generator)
        for first in range(0, replicas, chunk)
    ]
    overlaps, recovery = (np.concatenate(parts) for parts in zip(*runs, strict=True))
    return OverlapRuns(setting.samples, overlaps, recovery)


@dataclass(frozen=True)
class _Setting:
    """What both dynamics need to know, checked."""

    root: float
    skip: float
    step: float
    steps: int
    batch: int
    threshold: float
    every: int

    @property
    def lanes(self) -> int:
        """How many chains advance side by side: more if they end within a block, fewer if a batch fills it."""
        return max(1, min(_LANES, _BLOCK // self.batch), _BLOCK // (self.steps * self.batch))

    @property
    def samples(self) -> NDArray[np.int64]:
        return np.arange(0, self.steps + 1, self.every) * self.batch


def _setting(
    alpha_bar: float, step: float, steps: int, replicas: int, batch: int, threshold: float, every: int | None
) -> _Setting:
    alpha_bar = _checks.number(alpha_bar, "alpha_bar", low=0, high=1, low_open=True, high_open=True)
    step = _checks.number(step, "step", low=0, low_open=True)
    steps = _checks.integer(steps, "steps", low=1)
    _checks.integer(replicas, "replicas", low=1)
    batch = _checks.integer(batch, "batch", low=1)
    if threshold != math.inf:
        threshold = _checks.number(threshold, "threshold", low=0, high=1, low_open=True, high_open=True)
    every = steps if every is None else _checks.integer(every, "every", low=1)
    if steps % every:
        raise ValueError(f"every must divide steps = {steps}, got {every}")
    return _Setting(math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar), step, steps, batch, threshold, every)


def _device(generator: torch.Generator | None) -> torch.device:
    return torch.device("cpu") if _tensors.generator(generator) is None else generator.device


def _directions(law: Law, spikes: Sequence[str] | torch.Tensor | None) -> torch.Tensor:
    """The directions to follow as orthonormal rows (k, d), float64."""
    known = getattr(law, "spikes", {})
    if spikes is None:
        spikes = [name for name in known if getattr(law, f"{name}_snr", math.inf) > 0]
    if isinstance(spikes, torch.Tensor):
        rows = spikes
    else:
        unknown = [name for name in spikes if name not in known]
        if unknown or not len(spikes) or isinstance(spikes, str):
            raise ValueError(f"spikes must be names among {list(known)} or orthonormal rows (k, d), got {spikes!r}")
        rows = torch.stack([known[name] for name in spikes])
    if rows.ndim != 2 or rows.shape[1] != law.dim or not rows.is_floating_point():
        raise ValueError(f"spikes must be rows of shape (k, {law.dim}), got {rows.dtype} of shape {tuple(rows.shape)}")
    rows = rows.to("cpu", torch.float64)
    gap = (
        (rows @ rows.T - torch.eye(len(rows), dtype=rows.dtype, device=rows.device)).abs().max().item()
        if len(rows)
        else math.nan
    )
    if not gap <= 1e-6:
        raise ValueError(f"spikes must be orthonormal rows, got a Gram matrix off the identity by {gap:g}")
    return rows


def _start(start: Sequence[float] | None, count: int, dim: int, threshold: float) -> NDArray[np.float64] | None:
    if start is None:
        return None
    if count >= dim:
        raise ValueError(f"start needs a direction besides the {count} that are followed, got {dim} dimensions")
    begin = _checks.array(start, "start", ndim=1)
    if len(begin) != count or (begin**2).sum() >= 1:
        raise ValueError(f"start must be {count} overlap(s) with a sum of squares below 1, got {start!r}")
    if abs(begin[0]) >= threshold:
        raise ValueError(f"start must be below the threshold {threshold:g} along the first direction, got {begin[0]:g}")
    return begin


def _full_runs(
    law: Law,
    activation: Activation,
    setting: _Setting,
    directions: torch.Tensor,
    begin: NDArray[np.float64] | None,
    replicas: int,
    generator: torch.Generator | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Overlaps (R, T, k) and recoveries (R,) of one chunk of replicas."""
    weights = _first_weights(directions, begin, replicas, generator)
    overlaps = [weights @ directions.T]
    recovery = torch.full((replicas,), math.inf, dtype=torch.float64, device=weights.device)
    noise = weights.new_empty(replicas, setting.batch, law.dim)
    running = torch.ones(replicas, dtype=torch.bool, device=weights.device)
    for t in range(1, setting.steps + 1):
        moved = _sgd_step(law, activation, setting, weights, noise.normal_(generator=generator), generator)
        if setting.threshold < math.inf:
            weights = torch.where(running[:, None], moved, weights)
            arrived = running & ((weights @ directions[0]).abs() >= setting.threshold)
            recovery[arrived] = t * setting.batch
            running &= ~arrived
        else:
            weights = moved
        if t % setting.every == 0:
            overlaps.append(weights @ directions.T)
        if not running.any():
            break
    missing = setting.steps // setting.every + 1 - len(overlaps)
    overlaps.extend([weights @ directions.T] * missing)
    return torch.stack(overlaps, dim=1).double().cpu().numpy(), recovery.cpu().numpy()


def _first_weights(
    directions: torch.Tensor, begin: NDArray[np.float64] | None, replicas: int, generator: torch.Generator | None
) -> torch.Tensor:
    """Unit vectors (R, d): uniform, or uniform given their overlaps."""
    dim = directions.shape[1]
    weights = torch.randn(replicas, dim, generator=generator, dtype=directions.dtype, device=directions.device)
    if begin is None:
        return weights / weights.norm(dim=1, keepdim=True)
    overlap = torch.as_tensor(begin, dtype=torch.float32, device=directions.device)
    weights -= weights @ directions.T @ directions
    weights *= (1 - overlap.square().sum()).sqrt() / weights.norm(dim=1, keepdim=True)
    return weights + overlap @ directions


def _sgd_step(
    law: Law,
    activation: Activation,
    setting: _Setting,
    weights: torch.Tensor,
    noise: torch.Tensor,
    generator: torch.Generator | None,
) -> torch.Tensor:
    """One step of every replica (R, d), each on its own fresh batch, with ε = ``noise`` (R, batch, d)."""
    x = _float32_samples(law, len(weights) * setting.batch, generator).view(noise.shape)
    noise_along = torch.bmm(noise, weights[:, :, None])[:, :, 0]
    y = setting.root * torch.bmm(x, weights[:, :, None])[:, :, 0] + setting.skip * noise_along
    value, slope = (_on_tensor(function, y) for function in (activation.value, activation.slope))
    # The gradient of one sample is on_noised · x_t − 2 φ ε, up to its part along w, which P removes.
    on_noised = 2 * (slope * (value - noise_along + setting.skip * y) + setting.skip * value)
    gradient = torch.bmm((setting.root * on_noised)[:, None], x)[:, 0]
    gradient += torch.bmm((setting.skip * on_noised - 2 * value)[:, None], noise)[:, 0]
    gradient /= setting.batch
    gradient -= (gradient * weights).sum(dim=1, keepdim=True) * weights
    moved = weights - setting.step * gradient
    return moved / moved.norm(dim=1, keepdim=True)


def _float32_samples(law: Law, n: int, generator: torch.Generator | None) -> torch.Tensor:
    if isinstance(law, MixedCumulant):
        return law.sample(n, generator, torch.float32)
    return law.sample(n, generator).to(torch.float32)


def _on_tensor(function: Callable, y: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.asarray(function(y.cpu().numpy()), dtype=np.float32)).to(y.device)


# --------------------------------------------------------------------------------------------------
# Reduced chain
# --------------------------------------------------------------------------------------------------


def reduced_chain(
    law: MixedCumulant | Gaussian,
    activation: Activation,
    alpha_bar: float,
    step: float,
    steps: int,
    replicas: int,
    *,
    spikes: Sequence[str] | torch.Tensor | None = None,
    start: Sequence[float] | None = None,
    batch: int = 1,
    threshold: float = math.inf,
    every: int | None = None,
    generator: torch.Generator | None = None,
) -> OverlapRuns:
    r"""The process of :func:`spherical_sgd`, exactly, in the overlaps alone: a step costs O(batch), whatever d is.

    With k directions, w = Σ m_j v_j + √(1 − |m|²) r, r a unit vector. Per sample x and ε are drawn along the v_j and
    along r; the other d − k − 1 coordinates of the step are Gaussian given these, so that their length, which is all
    that the next overlaps depend on, takes one χ² draw a step.
    The law must be an isotropic Gaussian of unit variance off its one or two planted directions, and independent of
    them there: a :class:`~diffmem_lib.data.MixedCumulant` with at most two spikes of non-zero strength, all of them
    followed, or a :class:`~diffmem_lib.data.Gaussian` that differs from N(0, I) in the plane of ``spikes`` only.
    Arithmetic is float64, the planted coordinates are drawn in float32.

    Parameters
    ----------
    law, activation, alpha_bar, step, steps, replicas, spikes, start, batch, threshold, every, generator
        As in :func:`spherical_sgd`; d ≥ k + 2.

    Raises
    ------
    ValueError
        As :func:`spherical_sgd`, and if the law's bulk is not isotropic, or has more than two planted directions.
    """
    setting = _setting(alpha_bar, step, steps, replicas, batch, threshold, every)
    directions = _directions(_without_bulk(law, spikes), spikes)
    count = len(directions)
    begin = _start(start, count, law.dim, threshold)
    draw = _planted_draws(law, directions, _device(generator))
    seed = int(torch.randint(2**62, (), generator=generator, device=_device(generator)))
    random = np.random.Generator(np.random.SFC64(seed))
    chains = _Chains(_first_overlaps(begin, count, law.dim, replicas, random), setting)
    while (lanes := np.flatnonzero(~chains.done)[: setting.lanes]).size:
        chains.advance(lanes, draw, law.dim - count - 1, activation, random, generator)
    return OverlapRuns(setting.samples, chains.records, chains.recovery)


def _without_bulk(law: Law, spikes: Sequence[str] | torch.Tensor | None) -> Law:
    """The law in as few dimensions as its spikes need where these go by name, so that nothing of size d is built."""
    if not isinstance(law, MixedCumulant) or isinstance(spikes, torch.Tensor):
        return law
    ratios = law.covariance_snr, law.cumulant_snr, law.mean_snr
    return MixedCumulant(3, *ratios, latent=law.latent, correlated=law.correlated)


def _planted_draws(
    law: Law, directions: torch.Tensor, device: torch.device
) -> Callable[[int, torch.Generator | None], torch.Tensor]:
    """A function (n, generator) → (k, n) that draws the law's coordinates along ``directions``; refuses other laws."""
    count = len(directions)
    if count > _MAX_PLANTED or law.dim < count + 2:
        raise ValueError(
            f"spikes must be one or two, in at least two dimensions more, got {count} in {law.dim} dimensions"
        )
    if isinstance(law, MixedCumulant):
        return _small_mixed_cumulant(law, directions)
    if isinstance(law, Gaussian):
        return _small_gaussian(law, directions, device)
    raise ValueError(f"law must be a MixedCumulant or a Gaussian with an isotropic bulk, got {law!r}")


def _small_mixed_cumulant(law: MixedCumulant, directions: torch.Tensor) -> Callable:
    small = _without_bulk(law, None)
    active = [axis for axis, name in enumerate(small.spikes) if getattr(law, f"{name}_snr") > 0]
    followed = [int(row.argmax()) for row in directions]
    is_axis = all(row[axis] == 1 and axis < 3 for row, axis in zip(directions, followed, strict=True))
    if not is_axis or not set(active) <= set(followed):
        names = [list(small.spikes)[axis] for axis in active]
        raise ValueError(f"spikes must be spikes of the law and include all of non-zero strength, {names}")

    def draw(n: int, generator: torch.Generator | None) -> torch.Tensor:
        """What ``law.sample`` draws along the followed spikes, and nothing else: half the time of a step goes here."""
        nu, lam = small.latents(n, generator, torch.float32)
        x = torch.randn(len(followed), n, generator=generator, dtype=nu.dtype, device=nu.device)
        for row, axis in zip(x, followed, strict=True):
            if axis == 0:
                row.add_(nu, alpha=math.sqrt(law.cumulant_snr)).div_(math.sqrt(1 + law.cumulant_snr))
            elif axis == 1:
                row.add_(lam, alpha=math.sqrt(law.covariance_snr))
            else:
                row.add_(math.sqrt(law.mean_snr))
        return x

    return draw


def _small_gaussian(law: Gaussian, directions: torch.Tensor, device: torch.device) -> Callable:
    mean, covariance = (torch.as_tensor(t, dtype=torch.float64, device="cpu") for t in (law.mean, law.covariance))
    inside = directions.T @ directions
    planted = covariance - torch.eye(law.dim, dtype=torch.float64, device="cpu")
    gap = max((planted - inside @ planted @ inside).abs().max().item(), (mean - inside @ mean).abs().max().item())
    if gap > 1e-6:
        raise ValueError(f"law must be N(0, I) off its spikes, got a mean or covariance that differs there by {gap:g}")
    small = Gaussian((directions @ mean).to(device), (directions @ covariance @ directions.T).to(device))
    return lambda n, generator: small.sample(n, generator).T.to(torch.float32)


def _first_overlaps(
    begin: NDArray[np.float64] | None, count: int, dim: int, replicas: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Overlaps (R, k) of the first w: given, or those of uniform unit vectors."""
    if begin is not None:
        return np.tile(begin, (replicas, 1))
    planted = random.standard_normal((replicas, count))
    bulk = random.chisquare(dim - count, (replicas, 1))
    return planted / np.sqrt((planted**2).sum(axis=1, keepdims=True) + bulk)


class _Chains:
    """The state of R chains; some of them at a time advance side by side, in lanes, by a block of samples."""

    def __init__(self, first: NDArray[np.float64], setting: _Setting) -> None:
        self.setting = setting
        self.overlaps = first
        self.records = np.empty((len(first), len(setting.samples), first.shape[1]))
        self.records[:, 0] = first
        self.taken = np.zeros(len(first), dtype=np.int64)
        self.done = np.zeros(len(first), dtype=bool)
        self.recovery = np.full(len(first), math.inf)

    def advance(
        self,
        lanes: NDArray[np.int64],
        draw: Callable,
        bulk: int,
        activation: Activation,
        random: np.random.Generator,
        generator: torch.Generator | None,
    ) -> None:
        """A block of steps of the chains ``lanes``: its random numbers, then the compiled loop."""
        setting = self.setting
        left = setting.steps - int(self.taken[lanes].max())
        steps = max(1, min(left, _BLOCK // (len(lanes) * setting.batch)))
        shape = steps, setting.batch, len(lanes)
        count = self.overlaps.shape[1]
        planted = draw(math.prod(shape), generator).contiguous().cpu().numpy().reshape(count, *shape)
        noise = _normal((count + 2, *shape), generator)
        chi_square = _chi_square(bulk, (steps, len(lanes)), random, generator)
        _advance(
            tuple(range(count)), lanes, self.overlaps, self.taken, self.done, self.recovery, self.records,
            planted, noise, chi_square, setting.root, setting.skip, setting.step, setting.every, setting.threshold,
            _compiled(activation.value), _compiled(activation.slope),
        )  # fmt: skip
        self.done[lanes] |= self.taken[lanes] == setting.steps


def _normal(shape: tuple[int, ...], generator: torch.Generator | None) -> NDArray[np.float32]:
    """Standard normal numbers, by torch: NumPy takes longer for them."""
    return torch.randn(shape, generator=generator, dtype=torch.float32, device=_device(generator)).cpu().numpy()


def _chi_square(
    degrees: int, shape: tuple[int, ...], random: np.random.Generator, generator: torch.Generator | None
) -> NDArray[np.float64]:
    """Exact χ² draws by the rejection method of Marsaglia and Tsang, at half the time of NumPy's.

    What is rejected is drawn again by NumPy: in two degrees of freedom one in twenty, in many hardly any. That has a
    stream of its own: a close decision may go the other way where a processor rounds otherwise, and must not move
    every number that ``random`` draws later.
    """
    if degrees < 2:
        return random.chisquare(degrees, shape)
    normal = _normal((math.prod(shape),), generator)
    draws = _proposed_chi_square(degrees / 2 - 1 / 3, normal, random.random(len(normal), dtype=np.float32))
    rejected = np.flatnonzero(np.isnan(draws))
    draws[rejected] = random.spawn(1)[0].chisquare(degrees, len(rejected))
    return draws.reshape(shape)


@numba.njit(nogil=True, error_model="numpy")
def _proposed_chi_square(shift, normal, uniform):
    """Draws from ``normal``, NaN where ``uniform`` rejects them; ``shift`` is half the degrees of freedom less 1/3."""
    draws = np.empty(len(normal))
    slope = 1 / math.sqrt(9 * shift)
    for i in range(len(normal)):
        square, cube = normal[i] * normal[i], (1 + slope * normal[i]) ** 3
        draws[i] = 2 * shift * cube if uniform[i] < 1 - 0.0331 * square * square else math.nan
    for i in range(len(normal)):  # few are left over by the bound above, which spares the others their logarithms
        cube = (1 + slope * normal[i]) ** 3
        if math.isnan(draws[i]) and cube > 0:
            bound = normal[i] ** 2 / 2 + shift * (1 - cube + math.log(cube))
            if math.log(uniform[i]) < bound:
                draws[i] = 2 * shift * cube
    return draws


@functools.lru_cache(maxsize=64)
def _compiled(function: Callable) -> Callable:
    return numba.njit(function)


@numba.njit(nogil=True, error_model="numpy")
def _advance(
    axes, lanes, overlaps, taken, done, recovery, records, planted, noise, chi_square,
    root, skip, step, every, threshold, value, slope,
):  # fmt: skip
    """Steps of the chains ``lanes`` in place, until they reach the threshold or the block ends.

    ``planted`` (k, t, batch, lanes) are the samples along the directions; ``noise`` (k + 2, t, batch, lanes) is ε along
    them and along the rest of w, and at last the sample itself along the rest of w; ``chi_square`` (t, lanes).
    ``axes`` is (0, .., k − 1): the length of a tuple is known to the compiler, which then unrolls the loops over it and
    lets the loops over lanes run in vector units.
    """
    count, width = len(axes), len(lanes)
    block, batch = planted.shape[1:3]
    scale = step / batch
    m, gradient = np.empty((count, width)), np.empty((count, width))
    rest, along, bulk_square = np.empty(width), np.empty(width), np.empty(width)
    running = np.ones(width, dtype=np.bool_)
    to_record = np.empty(width, dtype=np.int64)
    for lane in range(width):
        to_record[lane] = every - taken[lanes[lane]] % every
        for j in range(count):
            m[j, lane] = overlaps[lanes[lane], j]
    for t in range(block):
        for lane in range(width):
            inside = 0.0
            for j in range(count):
                inside += m[j, lane] * m[j, lane]
                gradient[j, lane] = 0.0
            rest[lane] = math.sqrt(max(0.0, 1 - inside))
            along[lane] = 0.0
            bulk_square[lane] = 0.0
        for i in range(batch):
            for lane in range(width):
                noise_rest, x_rest = noise[count, t, i, lane], noise[count + 1, t, i, lane]
                x_along, noise_along = rest[lane] * x_rest, rest[lane] * noise_rest
                for j in range(count):
                    x_along += m[j, lane] * planted[j, t, i, lane]
                    noise_along += m[j, lane] * noise[j, t, i, lane]
                y = root * x_along + skip * noise_along
                phi = value(y)
                on_noised = 2 * (slope(y) * (phi - noise_along + skip * y) + skip * phi)
                on_x, on_noise = root * on_noised, skip * on_noised - 2 * phi
                along[lane] += on_x * x_rest + on_noise * noise_rest
                bulk_square[lane] += on_x * on_x + on_noise * on_noise
                for j in range(count):
                    gradient[j, lane] += on_x * planted[j, t, i, lane] + on_noise * noise[j, t, i, lane]
        for lane in range(width):
            radial = rest[lane] * along[lane]
            for j in range(count):
                radial += m[j, lane] * gradient[j, lane]
            square = (rest[lane] - scale * (along[lane] - radial * rest[lane])) ** 2
            square += scale * scale * bulk_square[lane] * chi_square[t, lane]
            for j in range(count):
                gradient[j, lane] = m[j, lane] - scale * (gradient[j, lane] - radial * m[j, lane])
                square += gradient[j, lane] * gradient[j, lane]
            length = math.sqrt(square)
            for j in range(count):
                if running[lane]:
                    m[j, lane] = gradient[j, lane] / length
        for lane in range(width):
            if not running[lane]:
                continue
            chain = lanes[lane]
            taken[chain] += 1
            to_record[lane] -= 1
            if to_record[lane] == 0:
                to_record[lane] = every
                for j in range(count):
                    records[chain, taken[chain] // every, j] = m[j, lane]
            if abs(m[0, lane]) >= threshold:
                running[lane] = False
                done[chain] = True
                recovery[chain] = taken[chain] * batch
                for later in range(taken[chain] // every + 1, records.shape[1]):
                    for j in range(count):
                        records[chain, later, j] = m[j, lane]
    for lane in range(width):
        for j in range(count):
            overlaps[lanes[lane], j] = m[j, lane]
