"""Finding: where each beat's rest, steepest rise, peak and crossings lie among the samples. Integers, no gradient.

For one cell, (T,); written once for NumPy and `jax.numpy`, see `sampling`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from .sampling import REST_SAMPLES, Stimuli, namespace

RE_ARM, FIRE = 0.2, 0.5
"""The two levels of the beat detector, as fractions of the way from the rest to the top of the trace."""

REST_QUANTILE = 0.1
"""The rest of a trace: this quantile of V over time."""

NONE = np.int32(2**30)
"""A position that no trace has, with room to add an offset."""


class Positions(NamedTuple):
    """Where the landmarks of a beat lie among the samples; T where there is none."""

    rest: Int[Array | np.ndarray, "... beats"]
    upstroke: Int[Array | np.ndarray, "... beats"]
    """the steepest rise is from this sample to the next"""
    peak: Int[Array | np.ndarray, "... beats"]
    end: Int[Array | np.ndarray, "... beats"]
    """the next upstroke, where the search for this beat's repolarisation stops"""


class Rises(NamedTuple):
    """Where beats begin, by the detector alone."""

    begun: Any
    """beats begun up to each sample, (T,)"""
    unrested: Any
    """whether the trace begins so late before the first beat that it does not show its rest"""


def find_rises(V, even, threshold, min_amplitude) -> Rises:
    xp = namespace(V)
    low, high = levels_of(V, V[even], min_amplitude) if threshold is None else threshold
    # 2 s + 1 at a sample above, 2 s below, nothing between: the parity of the running maximum says which came last.
    # It starts as -2, low: a trace may begin within a rise.
    mark = 2 * xp.arange(V.shape[0], dtype=np.int32)
    state = running_max(xp.where(high <= V, mark + 1, xp.where(low >= V, mark, -2)))
    begins = (state[1:] % 2 > state[:-1] % 2) & xp.isfinite(V).all()
    begun = xp.cumsum(begins.astype(np.int32), dtype=np.int32)
    return Rises(xp.concatenate([xp.zeros(1, np.int32), begun]), (begins & (state[:-1] < 0)).any())


def levels_of(V, evenly, min_amplitude):
    """The detector's two levels, mV; infinite where nothing rises far enough."""
    xp = namespace(V)
    rest, top = xp.sort(evenly)[round(REST_QUANTILE * REST_SAMPLES)], V.max()
    beats = top - rest >= min_amplitude
    return tuple(xp.where(beats, rest + f * (top - rest), np.inf) for f in (RE_ARM, FIRE))


class Spans(NamedTuple):
    """Sample numbers that frame each beat, (beats,); T where there is none."""

    start: Any
    """spontaneous: the previous beat's rise (0 for the first); paced: the stimulus"""
    rise: Any
    end: Any
    """the next beat's rise"""
    quiet_end: Any
    """the next stimulus: later rises are not EADs"""
    captured: Any
    whole: Any
    """the trace shows its rest"""


def beat_spans(rises: Rises, stimuli: Stimuli | None, rows: int) -> Spans:
    """The spans of `rows` beats: one a stimulus, or the first of the spontaneous ones."""
    xp = namespace(rises.begun)
    T = rises.begun.shape[0]

    def nth_rise(n):  # n = 1, 2, ...; T where there are fewer
        return xp.searchsorted(rises.begun, n).astype(np.int32)

    if stimuli is None:
        rise = nth_rise(xp.arange(1, rows + 2, dtype=np.int32))
        start = xp.concatenate([xp.zeros(1, np.int32), rise[:-2]])
        whole = ~rises.unrested | (xp.arange(rows) > 0)
        return Spans(start, rise[:-1], rise[1:], rise[1:], rise[:-1] < T, whole)
    before = rises.begun[stimuli.sample]
    rise, end = nth_rise(before + 1), nth_rise(before + 2)
    captured = rise < stimuli.cycle_end
    return Spans(stimuli.sample, rise, end, xp.minimum(end, stimuli.next_sample), captured, xp.ones_like(captured))


def find_landmarks(V, slope, equal, late_from, span: Spans, offset, *, levels, paced, ead_rise):
    """Landmarks of one beat among the samples from number `offset` on.

    `equal` gives how much less than a slope, after a sample, may be and still be equal to it.
    `late_from` gives the number of the first sample that is late enough after an upstroke to belong to an EAD.
    Returns positions, the first sample at or below each of `levels` (`NONE` where there is none), and the EAD.
    """
    xp = namespace(V)
    start, rise, end, quiet_end = (x - offset for x in (span.start, span.rise, span.end, span.quiet_end))
    s = xp.arange(V.shape[0], dtype=np.int32)

    rest = xp.clip(start, 0, V.shape[0] - 1) if paced else _argmax(-V, s, start, rise)
    peak = _argmax(V, s, rise, end)
    steepest = _argmax(slope, s, rest, peak)
    top = slope[steepest]
    least = top - equal(steepest + offset, top)
    upstroke = _first_at_least(least, slope, s, rest, steepest)
    falls = first_falls(V, rest, peak, end, levels)

    fall_30, fall_90 = (falls[levels.index(x)] for x in (30.0, 90.0))
    late = (s >= fall_30) & (s >= late_from(upstroke + offset) - offset) & (s < xp.minimum(fall_90, quiet_end))
    lowest = running_min(xp.where(late, V, np.inf))
    ead = (late & (V - lowest >= ead_rise)).any()
    return Positions(rest + offset, upstroke + offset, peak + offset, span.end), falls + offset, ead


def first_falls(V, rest, peak, end, levels):
    """The first sample after the peak and before `end` at or below each level, (levels,); `NONE` if there is none."""
    xp = namespace(V)
    s = xp.arange(V.shape[0], dtype=np.int32)
    potentials = potential_at(xp.asarray(levels, V.dtype), V[rest], V[peak])
    fallen = (V[None] <= potentials[:, None]) & ((s > peak) & (s < end))[None]
    return xp.where(fallen, s[None], NONE).min(axis=1)


def _argmax(x, s, first, end):
    """The first sample s, of those from `first` to before `end`, at which x is largest; 0 without any."""
    if isinstance(x, np.ndarray):
        return first + int(x[first:end].argmax()) if first < end else 0
    x = jnp.where((s >= first) & (s < end), x, -np.inf)
    return jnp.where(x == x.max(), s, NONE).min()  # XLA makes vectors of a minimum of integers, not of argmax


def _first_at_least(least, x, s, first, last):
    """The first sample s, from `first` on, at which x is at least `least`; `last` is one."""
    if isinstance(x, np.ndarray):
        return first + int((x[first : last + 1] >= least).argmax()) if first <= last else last
    return jnp.where((s >= first) & (s <= last) & (x >= least), s, last).min()


def potential_at(level, rest, peak):
    """V at `level` % repolarisation, mV."""
    return peak - level / 100 * (peak - rest)


def running_max(x):
    """Largest of x so far along the last axis."""
    return jax.lax.cummax(x, x.ndim - 1) if isinstance(x, jax.Array) else np.maximum.accumulate(x, axis=-1)


def running_min(x):
    """Smallest of x so far along the last axis."""
    return jax.lax.cummin(x, x.ndim - 1) if isinstance(x, jax.Array) else np.minimum.accumulate(x, axis=-1)
