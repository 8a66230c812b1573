r"""Hermite series of a denoiser's loss in its overlap with a planted direction, and the exponent that it starts with.

The neuron is :math:`f(x) = \sqrt{1-\bar\alpha}\,x + \varphi(w\cdot x)\,w` with :math:`|w| = 1`, trained to predict
the noise of :math:`x_t = \sqrt{\bar\alpha}\,x + \sqrt{1-\bar\alpha}\,\varepsilon`; m is the overlap of w with the
planted direction.
Derived in *The diffusion information exponent* (chapters/information_exponent.ipynb), the loss of two overlaps in
*Correlated latents* (chapters/correlated_latents.ipynb).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import scipy.special
from numpy.typing import ArrayLike, NDArray

from .. import _checks

__all__ = [
    "hermite_coefficients",
    "hermite_moments",
    "information_exponent",
    "loss_coefficients",
    "loss_series",
    "mixture_loss",
    "step_latent_loss",
]

Function = Callable[[NDArray[np.float64]], ArrayLike]

_HIGHEST_ORDER = 12
_ZERO = 1e-8
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)  # numerics
_REACH = 37.0  # numerics: beyond it the Gaussian weight underflows
_PANELS = 148  # numerics: half a unit wide, with a boundary at 0
_MOST_PANELS = 4_000  # numerics
_MOST_ROUNDS = 200  # numerics


def hermite_coefficients(function: Function, order: int) -> NDArray[np.float64]:
    r"""Coefficients :math:`f_k = E[f(z)\,He_k(z)]`, z ~ N(0, 1), of a piecewise smooth function.

    The unnormalised convention: :math:`f(z) = \sum_k f_k\,He_k(z)/k!`, with He_k the probabilists' polynomials.
    The integral is split where it must be: every panel is halved until a Gauss–Legendre rule on the whole and the same
    rule on the halves agree to rounding, so that kinks and jumps end up between two panels wherever they stand.
    Features narrower than a hundredth may pass unseen between the first nodes.

    Parameters
    ----------
    function
        Takes an array and returns its values, elementwise; needs no derivative and may jump.
        It is evaluated on (−37, 37), where it has to be finite.
    order
        Highest k, at most 150.

    Returns
    -------
    array (order + 1,)
        Exact to 1e-10 up to order 12, beyond that to 1e-13 of :math:`\sqrt{k!\;E f^2}`.

    Raises
    ------
    ValueError
        If ``function`` is not finite or not real, grows faster than the Gaussian falls, or is not piecewise smooth
        in double precision.
    """
    function = _checks.function(function, "function")
    order = _checks.integer(order, "order", low=0, high=150)
    edges = np.linspace(-_REACH, _REACH, _PANELS + 1)  # numerics
    left, right = edges[:-1], edges[1:]
    floor = _integration_floor(function, left, right, order)
    total = np.zeros(order + 1)
    for _ in range(_MOST_ROUNDS):
        middle = (left + right) / 2  # numerics
        lower, upper = (left, middle), (middle, right)
        integrals = _panel_integrals(function, *lower, order)[0] + _panel_integrals(function, *upper, order)[0]
        done = _is_smooth(function, left, right, order, floor) | (middle <= left) | (right <= middle)
        total += integrals[done].sum(axis=0)
        left, right = (np.concatenate((end[~done], other[~done])) for end, other in zip(lower, upper, strict=True))
        if not left.size:
            return total * np.sqrt(scipy.special.factorial(np.arange(order + 1)))
        if left.size > _MOST_PANELS:
            break
    raise ValueError(f"function must be piecewise smooth and integrable, got no convergence near {left[0]:.6g}")


def _is_smooth(function: Function, left: NDArray, right: NDArray, order: int, floor: float) -> NDArray[np.bool_]:
    """Whether the rule on a panel agrees with itself on two parts of it, to rounding.

    The panel is widened, since a kink between its end and its outermost node would be seen by none of its nodes,
    and cut off-centre, since by symmetry halves agree with the whole on a jump in the middle.
    """
    margin = (right - left) / 8  # numerics
    cut = left + 0.382 * (right - left)  # numerics
    whole, _ = _panel_integrals(function, left - margin, right + margin, order)  # numerics
    lower, lower_size = _panel_integrals(function, left - margin, cut, order)  # numerics
    upper, upper_size = _panel_integrals(function, cut, right + margin, order)  # numerics
    allowed = np.maximum(floor, 4e-15 * (lower_size + upper_size))  # numerics
    return (np.abs(whole - lower - upper) <= allowed).all(axis=1)  # numerics


def _integration_floor(function: Function, left: NDArray, right: NDArray, order: int) -> float:
    """What a panel may be off by; refuses a function whose integral does not end within the panels."""
    _, sizes = _panel_integrals(function, left, right, order)
    size = float(sizes.sum(axis=0).max())
    if sizes[[0, -1]].max() > 1e-15 * size:  # numerics
        raise ValueError(f"function must grow more slowly than a Gaussian falls, got values that do not at ±{_REACH:g}")
    return 1e-18 * size  # numerics


def _panel_integrals(function: Function, left: NDArray, right: NDArray, order: int) -> tuple[NDArray, NDArray]:
    """Integrals of f He_k φ/√k! over panels, and of its absolute value, each (panels, order + 1)."""
    half = (right - left)[:, None] / 2  # numerics
    x = (right + left)[:, None] / 2 + half * _NODES  # numerics
    weighted = half * _WEIGHTS * _function_values(function, x)
    products = weighted[:, :, None] * _weighted_polynomials(x, order)
    return products.sum(axis=1), np.abs(products).sum(axis=1)


def _function_values(function: Function, x: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore", under="ignore"):  # a steep sigmoid may overflow on its way to 0
        values = np.asarray(function(x.ravel()))
    if values.ndim and values.shape != (x.size,):
        raise ValueError(f"function must return one value for each of {x.size}, got shape {values.shape}")
    if values.dtype.kind not in "biuf":
        raise ValueError(f"function must return real numbers, got {values.dtype}")
    if not np.isfinite(values).all():
        raise ValueError(f"function must be finite on (−{_REACH:g}, {_REACH:g}), got NaN or infinity")
    return np.broadcast_to(values.astype(np.float64), (x.size,)).reshape(x.shape)


def _weighted_polynomials(x: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """He_k(x) φ(x)/√k! for k = 0..order, (*x.shape, order + 1): bounded where He_k itself overflows."""
    values = np.empty((*x.shape, order + 1))
    values[..., 0] = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    for k in range(order):
        previous = math.sqrt(k) * values[..., k - 1] if k else 0.0
        values[..., k + 1] = (x * values[..., k] - previous) / math.sqrt(k + 1)
    return values


def hermite_moments(cumulants: Mapping[int, float], order: int) -> NDArray[np.float64]:
    r"""Moments :math:`h_k = E[He_k(y)]`, k = 0..order, of a law that is given by its cumulants.

    Since :math:`E\,e^{sy - s^2/2} = \exp\bigl(\sum_j \kappa_j s^j/j!\bigr)`, with κ₂ the excess of the variance over 1,

    .. math:: h_0 = 1, \qquad h_{k+1} = \sum_{i=0}^{k} \binom{k}{i}\,\kappa_{i+1}\,h_{k-i}.

    Products of cumulants count: h₂ = κ₂ + κ₁², and h₆ = κ₆ + 10 κ₃² where κ₁ = κ₂ = 0.

    Parameters
    ----------
    cumulants
        Order j ≥ 1 → cumulant; what is absent is zero. Order 1 is the mean, order 2 the excess variance, at least −1.
    order
        Highest k, at most 150.

    Raises
    ------
    ValueError
        If an order is not a positive integer, a cumulant is not finite, or the variance would be negative.
    """
    order = _checks.integer(order, "order", low=0, high=150)
    kappa = _cumulant_mapping(cumulants)
    moments = [1.0]
    for k in range(order):
        terms = (math.comb(k, i) * kappa.get(i + 1, 0.0) * moment for i, moment in enumerate(reversed(moments)))
        moments.append(sum(terms))
    return _checks.array(moments, "moments of a law with these cumulants", ndim=1)


def _cumulant_mapping(cumulants: Mapping[int, float]) -> dict[int, float]:
    if not isinstance(cumulants, Mapping):
        raise ValueError(f"cumulants must be a mapping from orders to numbers, got {cumulants!r}")
    checked = {
        _checks.integer(j, "an order in cumulants", low=1): _checks.number(value, f"cumulants[{j!r}]")
        for j, value in cumulants.items()
    }
    _checks.number(checked.get(2, 0.0), "cumulants[2], the excess of a variance over 1,", low=-1)
    return checked


def loss_coefficients(activation: Function, alpha_bar: float, order: int) -> NDArray[np.float64]:
    r"""Hermite coefficients :math:`g_k`, k = 0..order, of what the loss averages over y = w·x_t.

    With :math:`s = \sqrt{1-\bar\alpha}` the loss is, up to a constant, :math:`E\,g(y)` with
    :math:`g = \varphi^2 - 2s\,\varphi' + 2s\,y\,\varphi`, and

    .. math:: g_k = (\varphi^2)_k + 2 k s\,\varphi_{k-1},

    which asks for no derivative of φ.

    Parameters
    ----------
    activation
        φ, elementwise on arrays, as in :func:`hermite_coefficients`.
    alpha_bar
        Signal level ᾱ, between 0 and 1, both excluded.
    order
        Highest k, at most 150.
    """
    activation = _checks.function(activation, "activation")
    order = _checks.integer(order, "order", low=0, high=150)
    alpha_bar = _checks.number(alpha_bar, "alpha_bar", low=0, high=1, low_open=True, high_open=True)
    skip = math.sqrt(1 - alpha_bar)
    linear = hermite_coefficients(activation, order)
    square = hermite_coefficients(lambda y: np.square(activation(y)), order)
    # What the roll carries from the end to k = 0 is multiplied by k.
    return square + 2 * np.arange(order + 1) * skip * np.roll(linear, 1)


def loss_series(
    activation: Function, alpha_bar: float, cumulants: Mapping[int, float], order: int = _HIGHEST_ORDER
) -> NDArray[np.float64]:
    r"""Coefficients of :math:`m^k`, k = 0..order, in the loss of a neuron with overlap m.

    .. math:: L(m) - L(0) = \sum_{k \ge 1} \frac{g_k\,h_k\,\bar\alpha^{k/2}}{k!}\,m^k

    with g_k from :func:`loss_coefficients` and h_k from :func:`hermite_moments`; the term k = 0 is E g at m = 0.
    Exact for polynomial activations; otherwise it asks for every moment of the law.

    Parameters
    ----------
    activation, alpha_bar
        As in :func:`loss_coefficients`.
    cumulants
        Those of the whitened planted coordinate before noising, as in :func:`hermite_moments`.
    order
        Highest k, at most 150.
    """
    moments = hermite_moments(cumulants, order)
    coefficients = loss_coefficients(activation, alpha_bar, order)
    k = np.arange(len(moments))
    return coefficients * moments * float(alpha_bar) ** (k / 2) / scipy.special.factorial(k)


def mixture_loss(
    activation: Function, alpha_bar: float, weights: ArrayLike, means: ArrayLike, variances: ArrayLike
) -> float:
    r"""Change of the loss, L − L(0), where the projection y is a mixture of Gaussians: no series, no cumulants.

    For the density p of y, an integration by parts takes the derivative off φ in
    :math:`g = \varphi^2 - 2s\,\varphi' + 2s\,y\,\varphi`, :math:`s = \sqrt{1-\bar\alpha}`:

    .. math:: E\,g(y) = \int \bigl[\varphi^2\,p + 2s\,\varphi\,(p' + y\,p)\bigr]\,dy.

    Parameters
    ----------
    activation, alpha_bar
        As in :func:`loss_coefficients`.
    weights, means, variances
        Of the Gaussians that make up the law of y, each (k,); the weights sum to 1, variances are positive, below 20.
    """
    activation = _checks.function(activation, "activation")
    alpha_bar = _checks.number(alpha_bar, "alpha_bar", low=0, high=1, low_open=True, high_open=True)
    names = {"weights": weights, "means": means, "variances": variances}
    checked = [_checks.array(value, name, ndim=1)[:, None] for name, value in names.items()]
    if len({len(column) for column in checked}) != 1:
        raise ValueError(f"weights, means and variances must have one length, got {[len(c) for c in checked]}")
    weight, mean, variance = checked
    if (variance <= 0).any() or (variance >= 20).any():
        raise ValueError(f"variances must be positive and below 20, got {variance.ravel()}")
    if (weight < 0).any() or abs(weight.sum() - 1) > 1e-9:
        raise ValueError(f"weights must be non-negative and sum to 1, got a sum of {weight.sum():.12g}")

    def over_gaussian(y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        parts = weight * np.exp((y**2 - (y - mean) ** 2 / variance) / 2) / np.sqrt(variance)
        return parts.sum(axis=0), (parts * (mean - y) / variance).sum(axis=0)

    return _loss_of_density(activation, alpha_bar, over_gaussian)


def step_latent_loss(
    activation: Function,
    alpha_bar: float,
    overlaps: ArrayLike,
    snrs: ArrayLike,
    values: ArrayLike,
    edges: ArrayLike = (),
) -> float:
    r"""Change of the loss, L − L(0), at two overlaps, where one latent is a step function of the other.

    In the mixed cumulant model let ν = ν_j for :math:`q_{j-1} < \lambda \le q_j`, with λ ~ N(0, 1).
    Given λ the projection :math:`y = w\cdot x_t` is Gaussian around :math:`a\lambda + b\nu`, of variance
    :math:`1 - b^2`; over one step λ is integrated out in closed form:

    .. math::

        p(y) = \sum_j \frac{e^{-(y-b\nu_j)^2/2R}}{\sqrt{2\pi R}}\,
            \bigl[\Phi(t_j) - \Phi(t_{j-1})\bigr], \qquad
            t_j = \frac{q_j R - a(y - b\nu_j)}{\sqrt{R(1-b^2)}},

    with :math:`a = m_u\sqrt{\bar\alpha\beta_u}`, :math:`b = m_v\sqrt{\bar\alpha\beta_v/(1+\beta_v)}`,
    :math:`R = 1 + a^2 - b^2` and Φ the Gaussian distribution function.
    The average over p is that of :func:`mixture_loss`.
    One value and no edge is a latent that does not move; independent latents are averages of such losses.

    Parameters
    ----------
    activation, alpha_bar
        As in :func:`loss_coefficients`.
    overlaps
        m_u and m_v, of a sum of squares of at most 1.
    snrs
        β_u and β_v, not negative, β_u below 19.
    values
        (k,), what ν is, from left to right.
    edges
        (k − 1,), the q_j where it steps, rising.
    """
    activation = _checks.function(activation, "activation")
    alpha_bar = _checks.number(alpha_bar, "alpha_bar", low=0, high=1, low_open=True, high_open=True)
    m_u, m_v = _pair(overlaps, "overlaps")
    if m_u**2 + m_v**2 > 1 + 1e-12:
        raise ValueError(f"overlaps must have a sum of squares of at most 1, got {m_u**2 + m_v**2:.12g}")
    beta_u, beta_v = _pair(snrs, "snrs")
    if beta_u < 0 or beta_v < 0 or beta_u >= 19:
        raise ValueError(f"snrs must be non-negative, the first below 19, got {beta_u:g} and {beta_v:g}")
    value = _checks.array(values, "values", ndim=1)[:, None]
    edge = _checks.array(edges, "edges", ndim=1) if np.size(edges) else np.empty(0)
    if len(edge) != len(value) - 1 or (np.diff(edge) <= 0).any():
        raise ValueError(f"edges must rise and be one fewer than the {len(value)} values, got {edge}")
    a, b = m_u * math.sqrt(alpha_bar * beta_u), m_v * math.sqrt(alpha_bar * beta_v / (1 + beta_v))
    total, rest = 1 + a**2 - b**2, math.sqrt(1 - b**2)
    left, right = (np.array(ends)[:, None] for ends in ([-math.inf, *edge], [*edge, math.inf]))

    def over_gaussian(y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        away = y - b * value
        low, high = ((q * total - a * away) / (rest * math.sqrt(total)) for q in (left, right))
        swap = low > 0  # differences of the smaller tails: those of the larger would cancel
        share = scipy.special.ndtr(np.where(swap, -low, high)) - scipy.special.ndtr(np.where(swap, -high, low))
        ends = (np.exp(-(high**2) / 2) - np.exp(-(low**2) / 2)) / math.sqrt(2 * math.pi)
        weight = np.exp((y**2 - away**2 / total) / 2) / math.sqrt(total)
        slope = -away / total * share - a / (rest * math.sqrt(total)) * ends
        return (weight * share).sum(axis=0), (weight * slope).sum(axis=0)

    return _loss_of_density(activation, alpha_bar, over_gaussian)


def _pair(value: ArrayLike, name: str) -> tuple[float, float]:
    checked = _checks.array(value, name, ndim=1)
    if len(checked) != 2:
        raise ValueError(f"{name} must be two numbers, got {len(checked)}")
    return float(checked[0]), float(checked[1])


def _loss_of_density(
    activation: Function,
    alpha_bar: float,
    density: Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> float:
    """L − L(0) where y has this density, given with its derivative, both over the standard Gaussian's."""

    def over_gaussian(y: NDArray[np.float64]) -> NDArray[np.float64]:
        value, slope = density(y)
        phi = np.asarray(activation(y), dtype=np.float64)
        return phi**2 * value + 2 * math.sqrt(1 - alpha_bar) * phi * (slope + y * value)

    at_zero = hermite_coefficients(lambda y: np.square(activation(y)), 0)
    return float((hermite_coefficients(over_gaussian, 0) - at_zero)[0])


def information_exponent(activation: Function, alpha_bar: float, cumulants: Mapping[int, float]) -> float:
    r"""Diffusion information exponent k*: the lowest power of the overlap that the loss feels.

    The smallest k ≥ 1 whose coefficient in :func:`loss_series` is at least 1e-8 in size;
    ``math.inf`` if there is none up to 12.
    Products of cumulants count, so that a mean shows at order 2 to an odd activation.

    Parameters
    ----------
    activation
        φ, sign and size included, elementwise on arrays.
    alpha_bar
        Signal level ᾱ, between 0 and 1, both excluded; the skip is √(1−ᾱ).
    cumulants
        Order k ≥ 1 → cumulant of the whitened planted coordinate before noising
        (order 1: its mean, order 2: its excess variance).

    Raises
    ------
    ValueError
        As :func:`hermite_coefficients`, :func:`hermite_moments` and :func:`loss_coefficients`.
    """
    series = loss_series(activation, alpha_bar, cumulants)
    felt = np.flatnonzero(np.abs(series[1:]) >= _ZERO)
    return float(felt[0] + 1) if felt.size else math.inf
