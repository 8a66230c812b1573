"""Networks that denoise: an MLP, a small U-Net for images, and ensembles of either that run as one."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional

from .. import _checks, _tensors
from .samplers import sample

__all__ = ["MLP", "Ensemble", "UNet"]

#: Angular frequencies in ln(σ)/4 of the sines and cosines that tell a network its noise: from one that tells any two
#: levels in use apart to a period of 1.6 in ln σ.
FREQUENCIES = [2 ** (k / 2) for k in range(9)]
FEATURES = 2 * len(FREQUENCIES)
GROUPS = 4  # of channels that are normalized together


class _Network(nn.Module):
    """A denoiser made of layers F(input, features of the noise), which are preconditioned; see :class:`MLP`."""

    def __init__(self, layers: nn.Module, dim: int, settings: dict[str, Any], generator: torch.Generator | None):
        super().__init__()
        _draw_weights(layers, generator)
        self.layers, self.dim = layers, dim
        self.settings = {"network": type(self).__name__, **settings}

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        _tensors.floating(x, "x", shape=("m", self.dim), device=next(self.parameters()).device)
        return _preconditioned(self.layers, x, _levels(sigma, x), self.settings["sigma_data"], _dtype_of(self))

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.settings.items() if name != "network")


class MLP(_Network):
    r"""A network of fully connected layers for points in any dimension: a denoiser, (x, sigma) → posterior mean.

    Its layers F see input and noise in units that do not change, and add to what is known without them (Karras et al.
    2022, arXiv:2206.00364, table 1): with σ_d = ``sigma_data``,

    .. math::
        D(x, \sigma) = \frac{\sigma_d^2}{\sigma^2 + \sigma_d^2}\, x
        + \frac{\sigma\sigma_d}{\sqrt{\sigma^2 + \sigma_d^2}}\,
        F\!\left(\frac{x}{\sqrt{\sigma^2 + \sigma_d^2}}, \tfrac14\ln\sigma\right).

    F is 0 at first. What enters each hidden layer's SiLU is scaled and shifted by functions of ln σ, linear in its
    sines and cosines. A call takes x (m, dim) and sigma, a number or a tensor (m,), and returns (m, dim) in x's dtype.

    Parameters
    ----------
    dim : int
        Dimension of the points.
    width, depth : int
        Units in a hidden layer, and number of hidden layers.
    sigma_data : float
        σ_d, standard deviation of a coordinate of the data.
    generator : torch.Generator, optional
        Source of the initial weights; the network lives on its device (without it, on the CPU).
    dtype : torch.dtype
        That of the weights, float64 or float32.

    Raises
    ------
    ValueError
        If an argument is not as said above; at a call, if x or sigma is not.
    """

    def __init__(
        self,
        dim: int,
        width: int = 256,
        depth: int = 2,
        sigma_data: float = 0.5,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        settings = {
            "dim": _checks.integer(dim, "dim", low=1),
            "width": _checks.integer(width, "width", low=1),
            "depth": _checks.integer(depth, "depth", low=1),
            "sigma_data": _tensors.noise_level(sigma_data, "sigma_data"),
        }
        super().__init__(_MLPLayers(dim, width, depth, **_place(generator, dtype)), dim, settings, generator)


class UNet(_Network):
    """A small U-Net for images of one channel, flattened: a denoiser, preconditioned and called like an :class:`MLP`.

    At each resolution there is a residual block of two 3×3 convolutions, with group normalization and SiLU, scaled and
    shifted by the noise; the next has half the pixels a side and twice the channels; on the way back each block also
    sees what its resolution gave on the way there (Ronneberger et al. 2015, arXiv:1505.04597). With two levels there
    are about 250 weights for each square of ``channels``.

    Parameters
    ----------
    shape : (int, int)
        Height and width (h, w) of the images, multiples of 2^(levels − 1); points have h·w coordinates.
    channels : int
        Channels at full resolution, a multiple of 4.
    levels : int
        Number of resolutions.
    sigma_data, generator, dtype
        As in :class:`MLP`.

    Raises
    ------
    ValueError
        If an argument is not as said above; at a call, if x or sigma is not.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        channels: int = 16,
        levels: int = 2,
        sigma_data: float = 0.5,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        levels = _checks.integer(levels, "levels", low=1, high=16)
        height, width = _image_shape(shape, 2 ** (levels - 1))
        if _checks.integer(channels, "channels", low=GROUPS) % GROUPS:
            raise ValueError(f"channels must be a multiple of {GROUPS}, got {channels}")
        settings = {
            "shape": [height, width],
            "channels": channels,
            "levels": levels,
            "sigma_data": _tensors.noise_level(sigma_data, "sigma_data"),
        }
        layers = _UNetLayers((height, width), channels, levels, **_place(generator, dtype))
        super().__init__(layers, height * width, settings, generator)


class Ensemble:
    """R networks of one architecture that run as one, each product of a layer one batched product.

    A call takes x (R, m, d) and sigma, a number or a tensor (R, m), and returns (R, m, d): network r sees x[r].
    ``ensemble[r]`` is network r, a copy, and ``len(ensemble)`` is R. :meth:`sample` draws from all of them at once.
    ``weights`` maps the name of each parameter to all networks' (R, ...), in which no gradient is recorded.

    Parameters
    ----------
    networks : sequence of MLP or of UNet
        At least one; their settings, dtype and device are the same. They are copied.

    Raises
    ------
    ValueError
        If ``networks`` is not as said above; at a call, if x or sigma is not.
    """

    def __init__(self, networks: Sequence[MLP] | Sequence[UNet]) -> None:
        allowed = "networks must be a sequence of MLP, or of UNet, of the same settings, dtype and device"
        if not isinstance(networks, Sequence) or not all(isinstance(one, _Network) for one in networks):
            raise ValueError(f"{allowed}, got {_checks.shown(networks)}")
        kinds = {f"{one.settings} {_dtype_of(one)} {next(one.parameters()).device}" for one in networks}
        if len(kinds) != 1:
            raise ValueError(f"{allowed}, got {' and '.join(sorted(kinds)) or 'none'}")
        self.network = copy.deepcopy(networks[0]).requires_grad_(False)
        stacked, _ = stack_module_state([one.layers for one in networks])
        self.weights = {name: weight.detach() for name, weight in stacked.items()}

    def __len__(self) -> int:
        return len(next(iter(self.weights.values())))

    def __getitem__(self, r: int) -> MLP | UNet:
        r = range(len(self))[r]
        network = copy.deepcopy(self.network)
        with torch.no_grad():
            for name, parameter in network.layers.named_parameters():
                parameter.copy_(self.weights[name][r])
        return network

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Posterior means (R, m, d), network by network, of x (R, m, d) at noise sigma, a number or (R, m)."""
        first = next(iter(self.weights.values()))
        _tensors.floating(x, "x", shape=(len(self), "m", self.network.dim), device=first.device)
        return self.denoise_with(self.weights, x, _levels(sigma, x))

    def sample(
        self,
        m: int,
        sigmas: Tensor,
        *,
        method: Literal["ode", "ancestral"] = "ode",
        generator: torch.Generator | None = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """``m`` points (R, m, d) generated with each network, which all go down the noise levels ``sigmas`` together.

        ``start`` (R, m, d) and the rest are those of :func:`diffmem_lib.simulation.sample`.

        Raises
        ------
        ValueError
            If an argument is not as said there.
        """
        rows, dim = (len(self), _checks.integer(m, "m", low=1)), self.network.dim
        if start is not None:
            start = _tensors.floating(start, "start", shape=(*rows, dim)).flatten(0, 1)

        def together(x: Tensor, sigma: float) -> Tensor:
            return self(x.unflatten(0, rows), sigma).flatten(0, 1)

        points = sample(together, math.prod(rows), dim, sigmas, method, generator, start)
        return points.unflatten(0, rows)

    def with_weights(self, weights: Mapping[str, Tensor]) -> Ensemble:
        """The same networks with other ``weights``, such as an average over the course of training; not copied.

        Raises
        ------
        ValueError
            If ``weights`` has not the names, or their tensors not the shapes, of this ensemble's.
        """
        if not isinstance(weights, Mapping) or weights.keys() != self.weights.keys():
            raise ValueError(f"weights must map {list(self.weights)} to tensors, got {_checks.shown(weights)}")
        for name, own in self.weights.items():
            _tensors.floating(weights[name], f"weights[{name!r}]", shape=tuple(own.shape), device=own.device)
        other = copy.copy(self)
        other.weights = dict(weights)
        return other

    def denoise_with(self, weights: Mapping[str, Tensor], x: Tensor, sigma: Tensor) -> Tensor:
        """What a call returns with these ``weights``, unchecked and differentiable in them; ``sigma`` is (R, m)."""
        layers = self.network.layers

        def evaluate(one: dict[str, Tensor], x: Tensor, features: Tensor) -> Tensor:
            return functional_call(layers, one, (x, features))

        together = vmap(evaluate)
        dtype = next(iter(weights.values())).dtype
        sigma_data = self.network.settings["sigma_data"]
        return _preconditioned(lambda *seen: together(dict(weights), *seen), x, sigma, sigma_data, dtype)


def _preconditioned(
    layers: Callable[[Tensor, Tensor], Tensor], x: Tensor, sigma: Tensor, sigma_data: float, dtype: torch.dtype
) -> Tensor:
    """D(x, σ) of :class:`MLP` for x (..., m, d) and sigma (..., m), or (..., 1) if all points have the same."""
    sigma = sigma[..., None]
    variance = sigma**2 + sigma_data**2
    phase = sigma.log() / 4 * torch.tensor(FREQUENCIES, dtype=x.dtype, device=x.device)
    features = torch.cat([phase.cos(), phase.sin()], -1)
    added = layers((x / variance.sqrt()).to(dtype), features.to(dtype))
    return sigma_data**2 / variance * x + sigma_data * sigma / variance.sqrt() * added.to(x.dtype)


def _levels(sigma: float | Tensor, x: Tensor) -> Tensor:
    """``sigma`` for x (..., m, d) as a tensor (..., m), or (..., 1) for a number."""
    if isinstance(sigma, Tensor) and sigma.ndim:
        _tensors.floating(sigma, "sigma", shape=tuple(x.shape[:-1]), device=x.device)
        if (sigma <= 0).any():
            raise ValueError(f"sigma must be positive, got {sigma.min():g} among them")
        return sigma.to(x.dtype)
    return x.new_full((*x.shape[:-2], 1), _tensors.noise_level(sigma))


class _Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Draw nothing: the weights come from the network's generator."""


class _Convolution(nn.Conv2d):
    def reset_parameters(self) -> None:
        """Draw nothing: the weights come from the network's generator."""


class _MLPLayers(nn.Module):
    def __init__(self, dim: int, width: int, depth: int, **place: Any) -> None:
        super().__init__()
        self.noise = _Linear(FEATURES, 2 * width * depth, **place)
        self.hidden = nn.ModuleList(_Linear(width if k else dim, width, **place) for k in range(depth))
        self.last = _Linear(width, dim, **place)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        scales_and_shifts = self.noise(features).chunk(2 * len(self.hidden), -1)
        for layer, scale, shift in zip(self.hidden, scales_and_shifts[::2], scales_and_shifts[1::2], strict=True):
            x = functional.silu(layer(x) * (1 + scale) + shift)
        return self.last(x)


class _Block(nn.Module):
    """Two convolutions beside a direct way, scaled and shifted by the noise in between."""

    def __init__(self, inputs: int, outputs: int, noise: int, **place: Any) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(GROUPS, inputs, **place)
        self.first = _Convolution(inputs, outputs, 3, padding=1, **place)
        self.noise = _Linear(noise, 2 * outputs, **place)
        self.second_norm = nn.GroupNorm(GROUPS, outputs, **place)
        self.second = _Convolution(outputs, outputs, 3, padding=1, **place)
        self.direct = nn.Identity() if inputs == outputs else _Convolution(inputs, outputs, 1, **place)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        scale, shift = self.noise(noise)[..., None, None].chunk(2, -3)
        inside = self.first(functional.silu(self.first_norm(x)))
        inside = self.second_norm(inside) * (1 + scale) + shift
        return self.direct(x) + self.second(functional.silu(inside))


class _UNetLayers(nn.Module):
    def __init__(self, shape: tuple[int, int], channels: int, levels: int, **place: Any) -> None:
        super().__init__()
        widths, noise = [channels * 2**level for level in range(levels)], 4 * channels
        self.shape = shape
        self.noise = _Linear(FEATURES, noise, **place)
        self.enter = _Convolution(1, channels, 3, padding=1, **place)
        self.there = nn.ModuleList(
            _Block(inputs, outputs, noise, **place)
            for inputs, outputs in zip([channels, *widths], widths, strict=False)
        )
        self.middle = _Block(widths[-1], widths[-1], noise, **place)
        self.back = nn.ModuleList(_Block(3 * width, width, noise, **place) for width in widths[-2::-1])
        self.last_norm = nn.GroupNorm(GROUPS, channels, **place)
        self.last = _Convolution(channels, 1, 3, padding=1, **place)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        noise = functional.silu(self.noise(features))
        image = self.enter(x.unflatten(-1, (1, *self.shape)))
        seen: list[Tensor] = []
        for block in self.there:
            image = block(functional.avg_pool2d(image, 2) if seen else image, noise)
            seen.append(image)
        image = self.middle(image, noise)
        for block, earlier in zip(self.back, seen[-2::-1], strict=True):
            larger = functional.interpolate(image, scale_factor=2)
            image = block(torch.cat([larger, earlier], -3), noise)
        return self.last(functional.silu(self.last_norm(image))).flatten(-3)


@torch.no_grad()
def _draw_weights(layers: nn.Module, generator: torch.Generator | None) -> None:
    """Uniform weights of variance 1/(number of inputs), zeros for biases and for the last layer."""
    for name, layer in layers.named_modules():
        if isinstance(layer, _Linear | _Convolution):
            half_width = 0.0 if name == "last" else math.sqrt(3 / layer.weight[0].numel())
            layer.weight.uniform_(-half_width, half_width, generator=generator)
            layer.get_parameter("bias").zero_()


def _place(generator: torch.Generator | None, dtype: torch.dtype) -> dict[str, Any]:
    """Where a network lives, and in which numbers."""
    if dtype not in (torch.float64, torch.float32):
        raise ValueError(f"dtype must be torch.float64 or torch.float32, got {_checks.shown(dtype)}")
    generator = _tensors.generator(generator)
    return {"device": torch.device("cpu") if generator is None else generator.device, "dtype": dtype}


def _dtype_of(network: nn.Module) -> torch.dtype:
    return next(network.parameters()).dtype


def _image_shape(shape: Any, factor: int) -> tuple[int, int]:
    allowed = f"shape must be (height, width), multiples of {factor} = 2^(levels - 1)"
    try:
        height, width = (_checks.integer(side, "shape", low=1) for side in shape)
    except (TypeError, ValueError):
        raise ValueError(f"{allowed}, got {_checks.shown(shape)}") from None
    if height % factor or width % factor:
        raise ValueError(f"{allowed}, got {_checks.shown(shape)}")
    return height, width
