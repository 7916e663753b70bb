"""Rhythm: corrections for rate, variability of the beat, and pauses. On the host, in float64."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ...annotations import typed
from ...arguments import check, check_known
from .moving import as_samples

Times = Sequence[float] | Float[Array | np.ndarray, " beat"]
"""Of beats, ms."""


class Variability(NamedTuple):
    """How regularly a culture beats. NaN where there are too few beats."""

    beats: int
    """Number of intervals between beats."""
    mean: float
    """Mean interval, ms."""
    sd: float
    """Standard deviation of the intervals, ms (n - 1)."""
    rmssd: float
    """Root mean square of the differences of successive intervals, ms."""
    cv: float
    """100 sd / mean, %."""


@typed
def rate_corrected(
    duration: ArrayLike,
    cycle_length: ArrayLike,
    formula: Literal["fridericia", "bazett", "framingham", "hodges"] = "fridericia",
) -> Array:
    """Durations (ms) as they would be at one beat a second, by a formula of the electrocardiogram.

    With RR the cycle length in s: Fridericia duration / RR^(1/3); Bazett duration / RR^(1/2); Framingham
    duration + 154 ms (1 - RR); Hodges duration + 1.75 ms (60 / RR - 60). None of them was made for cultures of
    stem-cell-derived cells: show the uncorrected duration beside.

    Args:
        duration: ms, e.g. of `field_potential_duration`; NaN stays NaN.
        cycle_length: ms, of the same shape or one number.

    Raises:
        ValueError: cycle lengths that are not positive, an unknown formula, shapes that do not fit.

    Sources: Fridericia doi:10.1111/j.0954-6820.1920.tb18266.x; Bazett Heart 1920;7:353; Sagie (Framingham)
    doi:10.1016/0002-9149(92)90562-D; Hodges J Am Coll Cardiol 1983;1:694.
    """
    check("cycle_length", cycle_length, "ms", "> 0, or NaN", lambda x: ~(x <= 0))
    shape, allowed = np.shape(cycle_length), np.shape(duration)
    if shape not in ((), allowed):
        raise ValueError(f"cycle_length: shape {shape}; allowed: one number, or that of duration, {allowed}")
    durations = as_samples("duration", jnp.atleast_1d(duration), 0).reshape(np.shape(duration))
    rr = jnp.asarray(cycle_length).astype(durations.dtype) / 1000.0
    if formula == "fridericia":
        return durations / jnp.cbrt(rr)
    if formula == "bazett":
        return durations / jnp.sqrt(rr)
    if formula == "framingham":
        return durations + 154.0 * (1.0 - rr)
    return durations + 1.75 * (60.0 / rr - 60.0)


@typed
def beat_rate_variability(times: Times) -> Variability:
    """Variability of the intervals between beats.

    Args:
        times: of all beats of a channel, ms, ascending. A beat that was dropped leaves an interval twice as long: give
            the times of beats that were found, kept or not.

    Raises:
        ValueError: times that are not finite or not ascending.
    """
    intervals = np.diff(_ascending(times))
    n = intervals.size
    mean = float(intervals.mean()) if n else np.nan
    sd = float(intervals.std(ddof=1)) if n > 1 else np.nan
    rmssd = float(np.sqrt((np.diff(intervals) ** 2).mean())) if n > 1 else np.nan
    return Variability(n, mean, sd, rmssd, 100.0 * sd / mean)


@typed
def quiescences(
    times: Times,
    begin: float,
    end: float,
    factor: float = 3.0,
    *,
    cycle_length: float | None = None,
) -> Float[np.ndarray, "pause 2"]:
    """Pauses: intervals [from, to] (ms) longer than `factor` cycle lengths in which there is no beat.

    The time from `begin` to the first beat and that from the last one to `end` count as well.

    Args:
        times: of the beats, ms, ascending, between `begin` and `end`; there may be none.
        begin, end: of the recording, ms.
        factor: > 1.
        cycle_length: the usual one, ms. Default: the median interval. With fewer than two beats there is none, and all
            of the time is a pause.

    Raises:
        ValueError: times outside of begin and end or not ascending, end not after begin, a factor of 1 or less.
    """
    check_known("begin", begin, "ms", "finite", np.isfinite)
    check_known("end", end, "ms", f"finite, > begin = {begin} ms", lambda x: np.isfinite(x) & (x > begin))
    check_known("factor", factor, "", "finite, > 1", lambda x: np.isfinite(x) & (x > 1))
    check("cycle_length", cycle_length, "ms", "> 0", lambda x: x > 0)
    at = _ascending(times)
    check("times", at, "ms", f"between begin and end, {begin} to {end} ms", lambda x: (x >= begin) & (x <= end))
    edges = np.concatenate([[begin], at, [end]])
    usual = np.median(np.diff(at)) if cycle_length is None and at.size > 1 else (cycle_length or 0.0)
    is_pause = np.diff(edges) > factor * usual
    return np.stack([edges[:-1][is_pause], edges[1:][is_pause]], axis=-1)


def _ascending(times) -> np.ndarray:
    at = np.asarray(times, np.float64)
    check("times", at, "ms", "finite", np.isfinite)
    check("times", at, "ms", "strictly ascending", lambda x: (np.diff(x) > 0).all())
    return at
