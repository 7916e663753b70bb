"""Durations of action potentials: widths at levels of repolarisation, as the paper takes them."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from ...annotations import typed
from ...arguments import check, is_traced
from .moving import as_samples, check_rate, moving_average, over_traces, samples_of

LEVELS = (10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
"""Percentages of repolarisation of the paper."""
SMOOTHING = 4.0
"""Width of the moving average before anything is measured, ms: 20 samples at 5 kHz."""
RETURNED = 0.05
"""A trace has repolarised when it comes back to within this part of its amplitude above the rest before it."""


class Shape(NamedTuple):
    """A smoothed trace with what is known of its action potential."""

    values: Float[Array, "... sample"]
    at: Int[Array, "..."]
    peak: Float[Array, "..."]
    base: Float[Array, "..."]


@typed
def action_potential_durations(
    iap: Float[ArrayLike, "... sample"], sampling_rate: float, levels: Sequence[float] = LEVELS
) -> Float[Array, "... level"]:
    """Durations (ms) of one action potential a trace, at percentages of repolarisation.

    The trace is smoothed by a moving average of 4 ms (20 samples at 5 kHz). Its peak is its highest value. APDx is the
    width at x % of the way from the peak down to the base, from the last crossing before the peak to the first one
    after it, both interpolated between samples. The base is the higher one of the lowest values before and after the
    peak, so that numbers are those of `scipy.signal.peak_widths` with `rel_height` x / 100.

    One thing differs. A trace that does not repolarise has no low value after its peak, and the base of SciPy would
    rise with it. Where the lowest value after the peak is more than 5 % of the amplitude above the lowest one before
    it, the base is the latter, and levels that the trace does not come back to are NaN.

    The result is differentiable with respect to the samples. Offset and amplitude do not matter.

    Args:
        iap: one action potential each, in any unit. A held last level behind it (see `cut_windows`) does no harm.
        sampling_rate: Hz.
        levels: percentages, each in (0, 100].

    Returns:
        ms; NaN where the trace does not come back to the level within the window, where the window begins above the
        level, where the trace is flat, and where a sample is not finite.

    Raises:
        ValueError: fewer than 3 samples, a sampling rate that is not positive, levels out of range.

    Source: "Action potential durations (APDs) calculation" in the Methods of doi:10.1038/s41467-024-55571-6.
    """
    shape, rate = _shape("iap", iap, sampling_rate)
    return over_traces(_durations, shape, levels=_checked(levels)) * (1000.0 / rate)


@typed
def repolarisation_heights(
    iap: Float[ArrayLike, "... sample"], sampling_rate: float, levels: Sequence[float] = LEVELS
) -> Float[Array, "... level"]:
    """Heights, in the unit of the trace, at which `action_potential_durations` measures. Arguments as there."""
    shape, _ = _shape("iap", iap, sampling_rate)
    return over_traces(_heights, shape, levels=_checked(levels))


@typed
def durations_at(
    iap: Float[ArrayLike, "... sample"], sampling_rate: float, values: Float[ArrayLike, "... level"]
) -> Float[Array, "... level"]:
    """Widths (ms) of one action potential a trace at given heights, around its peak.

    Smoothed and interpolated as in `action_potential_durations`. So the bounds of an interval of the potential give
    bounds of a duration: measure both at the heights (`repolarisation_heights`) of the median.

    Args:
        iap: in any unit.
        sampling_rate: Hz.
        values: heights in the unit of `iap`; leading axes as those of `iap` or fewer.

    Returns:
        ms; 0 where the trace never rises above the height; NaN where it does not come back to it within the window,
        where the window begins above it, and where a sample is not finite.

    Raises:
        ValueError: fewer than 3 samples, a sampling rate that is not positive, axes that do not fit.
    """
    shape, rate = _shape("iap", iap, sampling_rate)
    heights = as_samples("values", values, 1).astype(shape.values.dtype)
    leading, wanted = shape.peak.shape, heights.shape[:-1]
    if len(wanted) > len(leading) or wanted != leading[len(leading) - len(wanted) :]:
        raise ValueError(f"values: leading axes {wanted}; allowed: those of iap, {leading}, or fewer")
    heights = jnp.broadcast_to(heights, (*leading, heights.shape[-1]))
    is_above = heights >= shape.peak[..., None]
    return jnp.where(is_above, 0.0, over_traces(_widths, shape, heights) * (1000.0 / rate))


def _checked(levels: Sequence[float]) -> tuple[float, ...]:
    if is_traced(*levels):
        raise ValueError("levels is traced; allowed: concrete percentages, 0 < level <= 100")
    check("levels", list(levels), "%", "0 < level <= 100", lambda x: (x > 0) & (x <= 100))
    return tuple(float(x) for x in levels)


def _shape(name: str, iap, sampling_rate) -> tuple[Shape, float]:
    rate = check_rate(sampling_rate)
    return over_traces(measured, as_samples(name, iap, 3), rate=rate), rate


def measured(trace: Float[Array, " sample"], rate: float) -> Shape:
    """One trace, smoothed, with its peak and base; both are NaN where it is flat or not finite."""
    # One sample that is not finite makes all of it NaN, so that no number is made of what is left.
    is_finite = jnp.isfinite(trace).all()
    v = moving_average(jnp.where(is_finite, trace, 0.0), samples_of(SMOOTHING, rate))
    at = jnp.argmax(v)
    sample = jnp.arange(v.size)
    peak = v[at]
    before = jnp.min(jnp.where(sample <= at, v, jnp.inf))
    after = jnp.min(jnp.where(sample >= at, v, jnp.inf))
    is_back = after <= before + RETURNED * (peak - before)
    base = jnp.where(is_back, jnp.maximum(before, after), before)
    is_known = is_finite & (peak > base)
    return Shape(v, at, jnp.where(is_known, peak, jnp.nan), jnp.where(is_known, base, jnp.nan))


def _heights(shape: Shape, levels: tuple[float, ...]) -> Float[Array, " level"]:
    parts = jnp.asarray(np.asarray(levels) / 100.0, shape.values.dtype)
    # At 100 % it is the base itself: rounding must not put the height below the lowest sample.
    return jnp.where(parts == 1.0, shape.base, shape.peak - (shape.peak - shape.base) * parts)


def _widths(shape: Shape, heights: Float[Array, " level"]) -> Float[Array, " level"]:
    """Widths in samples; NaN where there is no crossing on one side."""
    return jax.vmap(lambda height: _width(shape.values, shape.at, height))(heights)


def _durations(shape: Shape, levels: tuple[float, ...]) -> Float[Array, " level"]:
    return _widths(shape, _heights(shape, levels))


def _width(v: Float[Array, " sample"], at: Int[Array, ""], height: Float[Array, ""]) -> Float[Array, ""]:
    n = v.size
    sample = jnp.arange(n)
    is_low = v <= height
    rise = jnp.max(jnp.where(is_low & (sample <= at), sample, -1))
    fall = jnp.min(jnp.where(is_low & (sample >= at), sample, n))
    left, right = jnp.clip(rise, 0, n - 2), jnp.clip(fall, 1, n - 1)
    parts = _part(height, v[left], v[left + 1]) + _part(height, v[right], v[right - 1])
    return jnp.where((rise >= 0) & (fall < n), (right - left).astype(v.dtype) - parts, jnp.nan)


def _part(height, low, high):
    """Which part of a sample the crossing of `height` lies from the low sample towards the high one."""
    is_rise = high > low
    return jnp.where(is_rise, (height - low) / jnp.where(is_rise, high - low, 1.0), 0.0)
