r"""Judges of measured claims: does a simulation agree, scale or exceed as predicted, and could it have told otherwise?

======================  ====================================================================
:func:`agreement`       a prediction lies within the standard error of replicas
:func:`exponent`        a fitted power contains the predicted one and excludes its neighbours
:func:`exceeds`         the mean of a quantity lies above a threshold
======================  ====================================================================

Each returns a :class:`~diffmem_lib.claims.record.Verdict` and prints nothing. What cannot be read (a wrong shape, NaN,
fewer than eight replicas) is a ``ValueError``; data that can be read but bear no claim (copies, skewed replicas,
errors too large) refuse it with a reason. A true prediction is refused with probability 1e-4 at most, if replicas are
independent and normal; a true exponent with 1 %, since its interval is one at 99 % unless ``level`` says otherwise.
"Resolutions off" are distances from the measured value in units of what is allowed: a variant is refused exactly if it
is more than one resolution off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from diffmem_lib.claims.record import Variant, Verdict

__all__ = ["agreement", "exceeds", "exponent"]

Array = NDArray[np.float64]

_LEVEL = 1e-4
_FEWEST = 8
_COARSEST = 0.05
_SKEWEST = 0.15
_ROUNDING = 1e-9
_DRAWS = 2000


def agreement(
    prediction: Any,
    replicas: Any,
    wrong: Mapping[str, Any],
    sizes: Sequence[float] | None = None,
    rate: float | Sequence[float] | None = None,
    scale: float | None = None,
) -> Verdict:
    r"""Judge whether a simulation agrees with a prediction within its own standard error (Student's t).

    Parameters
    ----------
    prediction
        A number, a curve of k numbers, or a function that gives either when called without arguments.
    replicas
        Independent and nearly normal: (R,) for a number, (R, k) for a curve, R ≥ 8.
        With ``sizes``: one such sequence (R,) for each size.
    wrong
        Name → what must be refused: a number or curve like the prediction, or, where that is a function, a mapping of
        the keywords that the variant overrides.
    sizes, rate
        For a prediction that is reached in a limit: the sizes N and the exponent (or exponents) r of the correction,
        derived beforehand. The means are fitted by :math:`a + \sum_r b_r N^{-r}` and ``a`` is compared. No correction,
        half and twice the leading rate are variants.
    scale
        What errors are relative to where every prediction is zero; refused elsewhere.

    The resolution is that of the worst point and must be 5 % or better. It is relative to the predicted value, or to
    the curve's largest where a value is below a tenth of that.

    Raises
    ------
    ValueError
        If shapes do not match, a number is not finite, or ``scale``, ``sizes`` and ``rate`` do not go together.
    """
    truth, variants = _predictions(prediction, wrong)
    relative_to = _relative_to(truth, scale)
    if (sizes is None) != (rate is None):
        raise ValueError("sizes and rate must be given together")
    if sizes is not None:
        return _limit_agreement(truth, replicas, variants, _array(sizes, "sizes"), _array(rate, "rate"), relative_to)
    samples = _samples(replicas, len(truth))
    points = f"{len(samples)} replicas" + (f" at {len(truth)} points" if len(truth) > 1 else "")
    if small := int(np.sum(np.abs(truth) < relative_to)) if np.any(truth) else 0:
        points += f", {small} of them relative to the largest"
    if fault := _fault(samples):
        return _unfit(fault, _list(truth), variants, points)
    estimate = _mean(samples)
    judged = {name: _variant(estimate.off(values)) for name, values in variants.items()}
    return _agreement_verdict(truth, estimate, relative_to, scale, judged, points)


def exponent(
    sizes: Sequence[float],
    times: Sequence[Any],
    prediction: float,
    wrong: Mapping[str, float] | None = None,
    level: float = 0.99,
    seed: int = 0,
) -> Verdict:
    """Judge the exponent of a power law, fitted to the medians of ``times`` (a row of runs a size) against ``sizes``.

    A censored run enters as infinity: medians do not mind, as long as fewer than half of the runs at a size are.
    The interval is a percentile bootstrap over runs. It must contain the prediction, exclude its neighbours at ±1 and
    every exponent in ``wrong``, and be at most .3 and a quarter of the exponent wide on either side; for a predicted
    0 (a time that does not grow) at most .1, with neighbours at ±½, and the resolution is then absolute.
    """
    if not 0.9 <= level < 1:
        raise ValueError(f"level must be in [.9, 1), got {level}")
    prediction = float(_array(prediction, "prediction")[0])
    _, variants = _predictions(prediction, _with_neighbours(prediction, wrong or {}))
    xs, rows = _runs(sizes, times)
    counts = sorted({len(row) for row in rows})
    points = f"{len(xs)} sizes, {' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} runs each"
    if fault := _fault_of_runs(sizes, rows):
        return _unfit(fault, f"{prediction:g}", variants, points)
    slope = float(_slopes(xs, np.array([[np.median(row)] for row in rows]))[0])
    low, high = _bootstrap_interval(xs, rows, level, np.random.default_rng(seed))
    half_width = max(high - slope, slope - low)

    def off(candidate: float) -> float:
        side = high - slope if candidate > slope else slope - low
        return abs(candidate - slope) / side if side > 0 else math.inf

    places = 2 if half_width >= 0.02 else 4
    measured = _fixed(slope, places)
    interval = f"{100 * level:g} % interval [{_fixed(low, places)}, {_fixed(high, places)}]"
    allowed = min(0.3, abs(prediction) / 4) if prediction else 0.1
    reason = ""
    if half_width == 0:
        reason = "the medians do not vary: record the times more finely"
    elif not low <= prediction <= high:
        reason = f"the {interval} does not contain {prediction:g}"
    elif half_width > allowed:
        reason = f"the {interval} is wider than ±{allowed:.2g}, which an exponent of {prediction:g} needs"
    return Verdict(
        accepted=not reason,
        reason=reason,
        line=f"predicted {prediction:g}, measured {measured}, {interval}",
        prediction=f"{prediction:g}",
        measurement=measured,
        error=interval,
        resolution=half_width / abs(prediction) if prediction else half_width,
        points=points,
        variants={name: _variant(off(float(value[0]))) for name, value in variants.items()},
    )


def exceeds(replicas: Any, threshold: float, wrong: Mapping[str, Any]) -> Verdict:
    """Judge whether the mean of ``replicas`` (R,) exceeds ``threshold``, by Student's one-sided t at 1e-4.

    ``wrong`` maps names to replicas of the same quantity that must not exceed it (order reversed, labels shuffled).
    A variant counts as refused only if it fails the test *and* its mean lies below the bound that the data
    prove: one that fails for want of replicas alone proves nothing. Variants may be constant.
    The resolution is how far that bound lies below the mean, relative to the larger of mean and threshold.
    """
    threshold = float(_array(threshold, "threshold")[0])
    _require_wrong(wrong)
    samples = _samples(replicas, 1)
    others = {name: _samples(variant, 1, f"variant {name!r}") for name, variant in wrong.items()}
    points = f"{len(samples)} replicas"
    if fault := _fault(samples):
        return _unfit(fault, f"> {threshold:g}", others, points)
    mean, error, allowed = _one_sided(samples)
    effect = (mean - threshold) / (error * math.sqrt(len(samples)))

    def judge(sample: Array) -> Variant:
        other, other_error, other_allowed = _one_sided(sample)
        off = (mean - other) / allowed
        accepted = other - other_allowed > threshold or off <= 1
        return Variant(
            accepted, f"{_with_error(other, other_error)}, {_off(abs(off), 'lower' if off > 0 else 'higher')}"
        )

    accepted = mean - allowed > threshold
    measured = _with_error(mean, error)
    return Verdict(
        accepted=accepted,
        reason="" if accepted else f"measured {measured} does not exceed {threshold:g} at the level {_LEVEL:g}",
        line=f"measured {measured} {'>' if mean > threshold else '≤'} {threshold:g}, effect size {effect:.2g}",
        prediction=f"> {threshold:g}",
        measurement=measured,
        error=f"p {'<' if accepted else '>'} {_LEVEL:g}, effect size {effect:.2g}",
        resolution=allowed / size if (size := max(abs(mean), abs(threshold))) else math.inf,
        points=points,
        variants={name: judge(sample) for name, sample in others.items()},
    )


# Agreement with a value, a curve or a limit


@dataclass(frozen=True)
class _Estimate:
    """Measured values (k,), their standard errors, and how far a prediction may be off."""

    values: Array
    errors: Array
    allowed: Array

    def off(self, candidate: Array) -> float:
        """Distance of the point that is worst, in units of what is allowed."""
        return float(np.max(np.abs(self.values - candidate) / self.allowed))


@dataclass(frozen=True)
class _Trend:
    """Means and standard errors at ``sizes``, to be fitted by a limit and powers of the size."""

    sizes: Array
    means: Array
    errors: Array
    dof: int

    def _fit(self, rates: frozenset[float]) -> tuple[float, float, float]:
        """Limit, its standard error and χ² of the weighted fit by 1 and size^-rate for each of ``rates``."""
        powers = [(self.sizes / self.sizes.min()) ** -rate for rate in sorted(rates)]
        design = np.stack([np.ones_like(self.sizes), *powers], axis=1) / self.errors[:, None]
        orthogonal, upper = np.linalg.qr(design)
        target = self.means / self.errors
        inverse = np.linalg.inv(upper)
        coefficients = inverse @ (orthogonal.T @ target)
        residual = target - design @ coefficients
        return float(coefficients[0]), float(np.linalg.norm(inverse[0])), float(residual @ residual)

    def estimate(self, rates: frozenset[float]) -> _Estimate:
        limit, error, _ = self._fit(rates)
        allowed = _student(_LEVEL / 2, self.dof) * error
        return _Estimate(*(np.array([number]) for number in (limit, error, allowed)))

    def lacks(self, rates: frozenset[float], more: frozenset[float] | None = None) -> bool:
        """Whether the fit by ``rates`` misses what one by ``rates`` and ``more`` (or any trend, if None) sees.

        Fisher's test at 1e-4 with the degrees of freedom of the smallest group. This is on the safe side: errors that
        are estimated separately average out better than the common one that Fisher's law assumes (simulated with
        five sizes: 5e-6 with eight replicas at each, 5e-5 with forty; the limit is refused with 1.4e-4 and 3.5e-5).
        """
        _, _, missed = self._fit(rates)
        terms = len(self.sizes) - 1 if more is None else len(rates | more)
        if terms == len(rates):
            return False
        if more is not None:
            missed -= self._fit(rates | more)[2]
        return bool(special.fdtrc(terms - len(rates), self.dof, missed / (terms - len(rates))) < _LEVEL)


def _limit_agreement(
    truth: Array,
    groups: Any,
    variants: Mapping[str, Array],
    sizes: Array,
    rate: Array,
    relative_to: Array,
) -> Verdict:
    """Agreement of the limit of a finite-size trend.

    What is claimed is a pair: a limit and a rate. So every other pair must be refused, the predicted limit with another
    rate as well as a wrong limit with another rate; else whoever assumes the wrong rate finds the wrong limit, and may
    call the true one wrong. A pair is refused by its limit or by its misfit. The latter is not only Fisher's test
    of the residuals, which spreads over all sizes, but also whether the claimed term is still needed beside
    the variant's: for a true variant that happens with probability 1e-4, so it is fair, and sees more.
    The same is asked of the claim, whose trend must not need the variants' terms. Only the leading
    rate is varied: half of (1, 2) would be (½, 1), which contains the truth and could not be refused by any data.
    """
    trend, samples = _trend(groups, sizes, rate)
    rates = frozenset(map(float, rate))
    leading = min(rates)
    others = {
        "no correction": frozenset(),
        "half the rate": rates - {leading} | {leading / 2},
        "twice the rate": rates - {leading} | {2 * leading},
    }
    if taken := others.keys() & variants.keys():
        raise ValueError(f"wrong must not name {', '.join(sorted(taken))}, which is tried anyway")
    counts = dict.fromkeys((min(map(len, samples)), max(map(len, samples))))
    points = f"{' to '.join(map(str, counts))} replicas at each of the sizes {', '.join(f'{n:g}' for n in sizes)}"
    for size, sample in zip(sizes, samples, strict=True):
        if fault := _fault(sample, f" at size {size:g}"):
            return _unfit(fault, _list(truth), variants, points)
    estimate = trend.estimate(rates)
    judged = {name: _variant(estimate.off(values)) for name, values in variants.items()}
    for name, alternative in others.items():
        misfit = trend.lacks(alternative) or trend.lacks(alternative, rates)
        limit = trend.estimate(alternative)
        judged[name] = _variant(limit.off(truth), misfit)
        undetected = {wrong: limit.off(values) for wrong, values in variants.items() if not misfit}
        judged |= {f"{wrong}, {name}": _variant(off) for wrong, off in undetected.items() if off <= 1}
    needed = [name for name, alternative in others.items() if trend.lacks(rates, alternative)]
    lack = ""
    if needed:
        lack = (
            f"the trend {_powers(rates)} does not describe the means: they need a further term ({' or '.join(needed)})"
        )
    elif trend.lacks(rates):
        lack = f"the trend {_powers(rates)} does not describe the means (p < {_LEVEL:g})"
    return _agreement_verdict(truth, estimate, relative_to, None, judged, points, lack)


def _agreement_verdict(
    truth: Array,
    estimate: _Estimate,
    relative_to: Array,
    scale: float | None,
    variants: Mapping[str, Variant],
    points: str,
    lack: str = "",
) -> Verdict:
    # An error of the prediction towards the measured value has to cross both before it is refused.
    resolutions = (estimate.allowed + np.abs(estimate.values - truth)) / relative_to
    resolution, off = float(resolutions.max()), estimate.off(truth)
    predicted, measured = _list(truth, estimate.errors), _list(estimate.values, estimate.errors, with_error=True)
    reasons = [lack] if lack else []
    if off > 1:
        worst = np.argmax(np.abs(estimate.values - truth) / estimate.allowed)
        reasons.append(f"the prediction is {_off(off)}{_at(worst, truth)}")
    elif resolution > _COARSEST:
        reasons.append(
            f"the data{_at(np.argmax(resolutions), truth)} would see only errors above {_percent(resolution)}, "
            f"an agreement must see {_percent(_COARSEST)}: take more replicas, or draw it, do not claim it"
        )
    named = "" if scale is None else f" relative to {scale:.3g}"
    shown = f" ({len(_shown(len(truth)))} of {len(truth)} points)" if len(truth) > 3 else ""
    return Verdict(
        accepted=not reasons,
        reason="; ".join(reasons),
        line=f"predicted {predicted}, measured {measured}{shown}; "
        f"an error of {_percent(resolution)}{named} would be refused",
        prediction=predicted,
        measurement=measured,
        error=_off(off),
        resolution=resolution,
        points=points,
        variants=variants,
    )


def _trend(groups: Any, sizes: Array, rate: Array) -> tuple[_Trend, list[Array]]:
    if np.any(rate <= 0) or len(set(rate)) != len(rate):
        raise ValueError(f"rate must be positive and its values distinct, got {rate.tolist()}")
    samples = [_samples(group, 1) for group in groups]
    if len(samples) != len(sizes) or len(set(sizes)) != len(sizes) or len(sizes) < len(rate) + 2 or np.any(sizes <= 0):
        raise ValueError(
            f"sizes must be positive and distinct, one for each of the {len(samples)} groups of replicas and at least "
            f"{len(rate) + 2}, got {sizes.tolist()}"
        )
    means = np.array([sample.mean() for sample in samples])
    errors = np.array([sample.std(ddof=1) / math.sqrt(len(sample)) for sample in samples])
    return _Trend(sizes, means, errors, min(map(len, samples)) - 1), samples


def _mean(samples: Array) -> _Estimate:
    """Means of (R, k) samples; the probability of a false alarm is shared among the k points."""
    runs, points = samples.shape
    errors = samples.std(axis=0, ddof=1) / math.sqrt(runs)
    return _Estimate(samples.mean(axis=0), errors, _student(_LEVEL / (2 * points), runs - 1) * errors)


def _student(tail: float, dof: int) -> float:
    """The t beyond which Student's law has the probability ``tail``."""
    return -float(special.stdtrit(dof, tail))


def _one_sided(samples: Array) -> tuple[float, float, float]:
    """Mean of (R, 1) samples, its standard error, and how far below it the true mean may lie."""
    error = float(samples.std(ddof=1)) / math.sqrt(len(samples))
    return float(samples.mean()), error, _student(_LEVEL, len(samples) - 1) * error


def _relative_to(truth: Array, scale: float | None) -> Array:
    """What the error of each point is relative to."""
    largest = np.abs(truth).max()
    if largest == 0:
        if scale is None or not 0 < float(scale) < math.inf:
            raise ValueError(f"scale must be given and positive where every prediction is zero, got {scale}")
        return np.full_like(truth, float(scale))
    if scale is not None:
        raise ValueError(f"scale must be given only where every prediction is zero, got {scale}")
    return np.where(np.abs(truth) < largest / 10, largest, np.abs(truth))


# Powers of a size


def _with_neighbours(prediction: float, wrong: Mapping[str, float]) -> dict[str, float]:
    step = 1.0 if prediction else 0.5
    neighbours = {f"exponent {prediction + sign * step:g}": prediction + sign * step for sign in (-1, 1)}
    if taken := neighbours.keys() & wrong.keys():
        raise ValueError(f"wrong must not name {', '.join(sorted(taken))}, which is tried anyway")
    return neighbours | dict(wrong)


def _runs(sizes: Sequence[float], times: Sequence[Any]) -> tuple[Array, list[Array]]:
    """Logarithms of the sizes (s,), and the runs at each of them as a row of positive numbers or infinity."""
    numbers = _array(sizes, "sizes")
    if np.any(numbers <= 0) or len(numbers) != len(times) or len(set(numbers)) < max(3, len(numbers)):
        raise ValueError(f"sizes must be positive, distinct, at least 3 and one for each row of times, got {sizes}")
    rows = [_array(row, "times", finite=False) for row in times]
    for size, row in zip(numbers, rows, strict=True):
        if len(row) < _FEWEST or np.any(np.isnan(row)) or np.any(row <= 0):
            raise ValueError(f"times at size {size:g} must be at least {_FEWEST} positive numbers")
        if 2 * np.isinf(row).sum() >= len(row):
            raise ValueError(f"times at size {size:g}: at least half of the runs are censored, run them longer")
    return np.log(numbers), rows


def _fault_of_runs(sizes: Sequence[float], rows: Sequence[Array]) -> str:
    """Why the runs bear no exponent: copies within a size, or the runs of one size rescaled to another."""
    for size, row in zip(sizes, rows, strict=True):
        if fault := _repeated(row[np.isfinite(row)], len(row)):
            return f"times at size {float(size):g} {fault}"
    for i, first in enumerate(rows):
        for j, second in enumerate(rows[:i]):
            if len(first) == len(second) and np.array_equal(np.isinf(first), np.isinf(second)):
                ratio = first[np.isfinite(first)] / second[np.isfinite(second)]
                if np.ptp(ratio) <= _ROUNDING * ratio.max():
                    return f"times at size {float(sizes[i]):g} are those at size {float(sizes[j]):g}, up to a factor"
    return ""


def _slopes(xs: Array, medians: Array) -> Array:
    """Least-squares slopes of log medians (s, draws); infinite where a median is."""
    centred = xs - xs.mean()
    finite = np.isfinite(medians).all(axis=0)
    logarithms = np.log(np.where(finite, medians, 1.0))
    return np.where(finite, centred @ logarithms / (centred @ centred), np.inf)


def _bootstrap_interval(
    xs: Array, rows: Sequence[Array], level: float, rng: np.random.Generator
) -> tuple[float, float]:
    medians = [np.median(rng.choice(row, (_DRAWS, len(row))), axis=1) for row in rows]
    slopes = np.sort(_slopes(xs, np.stack(medians)))
    cut = round(_DRAWS * (1 - level) / 2)
    return float(slopes[cut]), float(slopes[_DRAWS - 1 - cut])


# What is read, and whether it can bear a claim


def _plain(values: Any) -> Any:
    if hasattr(values, "detach"):
        return values.detach().cpu()
    return [_plain(value) for value in values] if isinstance(values, list | tuple) else values


def _array(values: Any, name: str, finite: bool = True) -> Array:
    """A number or a sequence of numbers (tensors too) as (k,) float64."""
    try:
        array = np.atleast_1d(np.asarray(_plain(values), dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a number or a sequence of numbers: {error}") from error
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{name} must be a number or a sequence of numbers, got shape {array.shape}")
    if finite and not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]}")
    return array


def _predictions(prediction: Any, wrong: Mapping[str, Any]) -> tuple[Array, dict[str, Array]]:
    """The prediction and its wrong variants, as (k,) each."""
    _require_wrong(wrong)
    function: Callable[..., Any] | None = prediction if callable(prediction) else None
    truth = _array(prediction if function is None else function(), "prediction")
    variants = {}
    for name, variant in wrong.items():
        if isinstance(variant, Mapping):
            if function is None:
                raise ValueError(f"variant {name!r} overrides keywords, so prediction must be a function")
            variant = function(**variant)
        variants[name] = _array(variant, f"variant {name!r}")
        if len(variants[name]) != len(truth):
            raise ValueError(f"variant {name!r} must have {len(truth)} value(s), got {len(variants[name])}")
    return truth, variants


def _require_wrong(wrong: Mapping[str, Any]) -> None:
    if not wrong:
        raise ValueError("wrong must hold at least one variant: without one the claim cannot fail")


def _samples(replicas: Any, points: int, name: str = "replicas") -> Array:
    """Replicas (R,) or (R, k) as (R, k)."""
    try:
        samples = np.asarray(_plain(replicas), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers of one shape (R,) or (R, k): {error}") from error
    samples = samples[:, None] if samples.ndim == 1 else samples
    if samples.ndim != 2 or samples.shape[1] != points or len(samples) < _FEWEST:
        raise ValueError(f"{name} must be at least {_FEWEST}, of {points} number(s) each, got shape {samples.shape}")
    if not np.isfinite(samples).all():
        raise ValueError(f"{name} must be finite")
    return samples


def _fault(samples: Array, where: str = "") -> str:
    """Why (R, k) replicas bear no claim: copies at a point, or skewed beyond what Student's t allows."""
    runs, points = samples.shape
    for point, column in enumerate(samples.T):
        place = where + _at(point, samples[0])
        if fault := _repeated(column, runs):
            return f"replicas{place} {fault}"
        centred = column - column.mean()
        skewness = abs(float((centred**3).mean() / (centred**2).mean() ** 1.5)) / math.sqrt(runs)
        if skewness > _skewness_limit(runs, points):
            return (
                f"replicas{place} are skewed, |skewness|/√R = {skewness:.2f} against "
                f"{_skewness_limit(runs, points):.2f}: draw more and group runs"
            )
    return ""


def _skewness_limit(runs: int, points: int) -> float:
    """Largest |skewness|/√R: .15, or what one in a hundred sets of normal replicas exceeds, if that is more.

    Of eight normal replicas half would exceed .15; from forty on .15 is the limit for a number.
    """
    noise = math.sqrt(6 * (runs - 2) / ((runs + 1) * (runs + 3)))
    return max(_SKEWEST, -float(special.ndtri(0.005 / points)) * noise / math.sqrt(runs))


def _repeated(values: Array, runs: int) -> str:
    """Why ``values`` are no independent runs. Fractions and counts repeat honestly, but not all equally often."""
    ranked = np.sort(values)
    steps = np.flatnonzero(np.diff(ranked) > _ROUNDING * np.abs(ranked).max())
    counts = np.diff(np.concatenate([[-1], steps, [len(ranked) - 1]]))
    if len(counts) == 1:
        return "are equal, or differ by rounding only"
    if len(counts) < max(_FEWEST, math.sqrt(runs)):
        return f"take only {len(counts)} distinct values in {runs} runs: group runs"
    if (copies := int(np.gcd.reduce(counts))) > 1:
        return f"repeat every value a multiple of {copies} times: copies are no replicas"
    # A value that is hit at all is hit c times with a probability of at most 1/√(2πc(1 - c/R))/(1 - e^-c), whatever
    # its own: the largest binomial term by Stirling. Counts of several values lean against each other, if at all.
    times, hit = np.unique(counts[counts > 1], return_counts=True)
    shares = np.minimum(1, 1 / np.sqrt(2 * np.pi * times * (1 - times / runs)) / -np.expm1(-times))
    if len(times) and (chances := stats.binom.sf(hit - 1, len(counts), shares)).min() < _LEVEL:
        worst = int(chances.argmin())
        return f"repeat {hit[worst]} of {len(counts)} values {times[worst]} times each: copies are no replicas"
    return ""


def _unfit(reason: str, prediction: str, variants: Mapping[str, Any], points: str) -> Verdict:
    """The verdict on data that cannot bear a claim: nothing was judged."""
    return Verdict(
        accepted=False,
        reason=reason,
        line=f"predicted {prediction}, not judged",
        prediction=prediction,
        measurement="not judged",
        error="not judged",
        resolution=math.inf,
        points=points,
        variants={name: Variant(False, "not judged") for name in variants},
    )


# Figures as text, rounded to their errors


def _variant(off: float, misfit: bool = False) -> Variant:
    text = _off(off) if off > 1 or not misfit else ""
    return Variant(off <= 1 and not misfit, ", ".join(filter(None, [text, "refused by its misfit" if misfit else ""])))


def _off(distance: float, word: str = "off") -> str:
    return f"{distance:.2g} resolutions {word}" if distance < 99 else f"over 99 resolutions {word}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.99 else f"{100 * share:.0f} %"


def _powers(rates: frozenset[float]) -> str:
    return " + ".join(f"size^-{rate:g}" for rate in sorted(rates))


def _at(point: Any, curve: Array) -> str:
    return f" at point {int(point) + 1} of {len(curve)}" if len(curve) > 1 else ""


def _shown(count: int) -> list[int]:
    """Which points of a curve a line shows: all of a few, else first, middle and last."""
    return list(range(count)) if count <= 3 else [0, count // 2, count - 1]


def _list(values: Array, errors: Array | None = None, with_error: bool = False) -> str:
    if errors is None:
        return ", ".join(f"{values[i]:.3g}" for i in _shown(len(values)))
    write = _with_error if with_error else _rounded
    return ", ".join(write(float(values[i]), float(errors[i])) for i in _shown(len(values)))


def _decimals(error: float) -> int:
    """Decimal places at which ``error`` has one digit, two if that digit is 1."""
    power = math.floor(math.log10(error))
    return -power + (1 if error / 10**power < 1.95 else 0)


def _rounded(value: float, error: float) -> str:
    places = _decimals(error)
    if places > 12:
        return f"{value:.3g}"
    return _fixed(value, places)


def _fixed(value: float, places: int) -> str:
    # Adding zero turns a negative zero, which another machine may have, into a positive one.
    return f"{round(value, places) + 0.0:.{max(places, 0)}f}"


def _with_error(value: float, error: float) -> str:
    """The usual notation: 0.0969(4) is 0.0969 with standard error .0004."""
    if error == 0:
        return f"{value:.3g}"
    places = _decimals(error)
    if places > 12:
        return f"{value:.3g}({error:.1g})"
    digits = round(error * 10**places) if places > 0 else round(error, places)
    return f"{_rounded(value, error)}({digits:.0f})"
