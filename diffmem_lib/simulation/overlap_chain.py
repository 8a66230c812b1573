r"""One-pass spherical SGD of a one-neuron denoiser, reduced exactly to its overlaps with the planted directions.

Where the law is an isotropic Gaussian off its planted directions, the overlaps with these are a Markov chain of their
own, at a cost per step that does not depend on d. The process is that of
:mod:`~diffmem_lib.simulation.full_dynamics`, where the step is written out.
Derived in *Linear against cubic* (chapters/linear_cubic.ipynb).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from .. import _checks
from ..data import Gaussian, MixedCumulant
from .activations import Activation
from .sgd_runs import Law, OverlapRuns, Setting, checked_directions, checked_setting, checked_start, generator_device

__all__ = ["parallel_chains", "reduced_chain"]

_MAX_PLANTED = 2
# Samples drawn at once: what a cache holds.
_BLOCK = 16384
# Chains that advance side by side: enough to fill the processor's vector units many times over.
_LANES = 64


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
    setting = checked_setting(alpha_bar, step, steps, replicas, batch, threshold, every)
    directions = checked_directions(_without_bulk(law, spikes), spikes)
    count = len(directions)
    begin = checked_start(start, count, law.dim, threshold)
    draw = _planted_draws(law, directions, generator_device(generator))
    seed = int(torch.randint(2**62, (), generator=generator, device=generator_device(generator)))
    random = np.random.Generator(np.random.SFC64(seed))
    chains = _Chains(_first_overlaps(begin, count, law.dim, replicas, random), setting)
    while (lanes := np.flatnonzero(~chains.done)[: _lanes(setting)]).size:
        chains.advance(lanes, draw, law.dim - count - 1, activation, random, generator)
    return OverlapRuns(setting.samples, chains.records, chains.recovery)


def parallel_chains(
    law: MixedCumulant | Gaussian,
    activation: Activation,
    alpha_bar: float,
    step: float,
    steps: int,
    replicas: int,
    *,
    generators: Sequence[torch.Generator],
    **options: Any,
) -> OverlapRuns:
    """Runs of :func:`reduced_chain` on as many threads as there are ``generators``, in equal shares.

    The compiled steps leave the interpreter to the other threads. Each share is what its generator alone gives, and
    the shares follow each other in the order of the generators: how many cores there are changes nothing.

    Parameters
    ----------
    law, activation, alpha_bar, step, steps, options
        As in :func:`reduced_chain`; the other ``options`` of that too.
    replicas
        Runs in all, a multiple of the number of generators.
    generators
        Different generators, one for each thread.

    Raises
    ------
    ValueError
        As :func:`reduced_chain`, and if ``generators`` are none, repeat, or do not divide ``replicas``.
    """
    replicas = _checks.integer(replicas, "replicas", low=1)
    if not isinstance(generators, list | tuple) or not all(isinstance(g, torch.Generator) for g in generators):
        raise ValueError(f"generators must be a list of torch.Generator, got {_checks.shown(generators)}")
    if not generators or len(set(map(id, generators))) < len(generators):
        raise ValueError(f"generators must be at least one, each of them once, got {_checks.shown(generators)}")
    share, left = divmod(replicas, len(generators))
    if left:
        raise ValueError(f"replicas must be a multiple of the {len(generators)} generators, got {replicas}")

    def part(generator: torch.Generator) -> OverlapRuns:
        return reduced_chain(law, activation, alpha_bar, step, steps, share, generator=generator, **options)

    with ThreadPoolExecutor(len(generators)) as pool:
        parts = list(pool.map(part, generators))
    overlaps, recovery = (np.concatenate([getattr(p, name) for p in parts]) for name in ("overlaps", "recovery"))
    return OverlapRuns(parts[0].samples, overlaps, recovery)


def _lanes(setting: Setting) -> int:
    """How many chains advance side by side: more if they end within a block, fewer if a batch fills it."""
    return max(1, min(_LANES, _BLOCK // setting.batch), _BLOCK // (setting.steps * setting.batch))


def _without_bulk(law: Law, spikes: Sequence[str] | torch.Tensor | None) -> Law:
    """The law in as few dimensions as its spikes need where these go by name, so that nothing of size d is built."""
    if not isinstance(law, MixedCumulant) or isinstance(spikes, torch.Tensor):
        return law
    return _in_three_dimensions(law)


def _in_three_dimensions(law: MixedCumulant) -> MixedCumulant:
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
    small = _in_three_dimensions(law)
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

    def __init__(self, first: NDArray[np.float64], setting: Setting) -> None:
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
    return (
        torch.randn(shape, generator=generator, dtype=torch.float32, device=generator_device(generator)).cpu().numpy()
    )


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
def _proposed_chi_square(
    shift: float, normal: NDArray[np.float32], uniform: NDArray[np.float32]
) -> NDArray[np.float64]:
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
    axes: tuple[int, ...], lanes: NDArray[np.int64],
    overlaps: NDArray[np.float64], taken: NDArray[np.int64], done: NDArray[np.bool_], recovery: NDArray[np.float64],
    records: NDArray[np.float64],
    planted: NDArray[np.float32], noise: NDArray[np.float32], chi_square: NDArray[np.float64],
    root: float, skip: float, step: float, every: int, threshold: float, value: Callable, slope: Callable,
) -> None:  # fmt: skip
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
