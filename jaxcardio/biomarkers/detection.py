"""Finding: where each beat's rest, steepest rise, peak and crossings lie among the samples. Integers, no gradient."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from ..arguments import check, is_traced

RE_ARM, FIRE = 0.2, 0.5
"""The two levels of the beat detector, as fractions of the way from the rest to the top of the trace."""

REST_QUANTILE, REST_SAMPLES = 0.1, 512
"""The rest of a trace: the 10 % quantile of V over time, read at this many equally spaced times."""

NONE = np.int32(2**30)
"""A position that no trace has, with room to add an offset."""


class Positions(NamedTuple):
    """Where the landmarks of a beat lie among the samples; T where there is none."""

    rest: Int[Array, "... beats"]
    upstroke: Int[Array, "... beats"]
    """the steepest rise is from this sample to the next"""
    peak: Int[Array, "... beats"]
    end: Int[Array, "... beats"]
    """the next upstroke, where the search for this beat's repolarisation stops"""


class _Rises(NamedTuple):
    """Where beats begin, by the detector alone."""

    begun: Array
    """beats begun up to each sample, (cells, T)"""
    unrested: Array
    """whether the trace begins so late before the first beat that it does not show its rest, (cells,)"""
    most: Array
    """beats of the cell that has most"""


@eqx.filter_jit
def find_rises(ts, V, threshold, min_amplitude) -> _Rises:
    even = jnp.linspace(ts[0], ts[-1], REST_SAMPLES, dtype=ts.dtype)
    latest = jnp.searchsorted(ts, even, side="right") - 1

    def one_cell(V):
        low, high = _levels(V, V[latest], min_amplitude) if threshold is None else threshold
        # 2 s + 1 at a sample above, 2 s below, nothing between: the parity of the running maximum says which came last.
        # It starts as -2, low: a trace may begin within a rise.
        mark = 2 * jnp.arange(V.shape[0], dtype=jnp.int32)
        state = jax.lax.cummax(jnp.where(high <= V, mark + 1, jnp.where(low >= V, mark, -2)))
        begins = (state[1:] % 2 > state[:-1] % 2) & jnp.isfinite(V).all()
        begun = jnp.cumsum(begins.astype(jnp.int32), dtype=jnp.int32)
        return jnp.concatenate([jnp.zeros(1, jnp.int32), begun]), (begins & (state[:-1] < 0)).any()

    begun, unrested = jax.vmap(one_cell)(V)
    return _Rises(begun, unrested, begun[:, -1].max(initial=0))


def _levels(V, evenly, min_amplitude):
    """The detector's two levels for one cell, mV; infinite where nothing rises far enough."""
    rest, top = jnp.sort(evenly)[round(REST_QUANTILE * REST_SAMPLES)], V.max()
    beats = top - rest >= min_amplitude
    return tuple(jnp.where(beats, rest + f * (top - rest), jnp.inf) for f in (RE_ARM, FIRE))


def row_count(rises, stimuli, max_beats):
    """Rows of the result, as a plain integer."""
    if stimuli is not None:
        return stimuli.sample.shape[0]
    if max_beats is not None:
        return int(max_beats)
    if is_traced(rises.most):
        raise ValueError("max_beats = None beats; allowed under jit, vmap or grad: an integer >= 1")
    return max(1, int(rises.most))


class _Stimuli(NamedTuple):
    """Sample numbers of each stimulus, (n,)."""

    sample: Array
    """the last one at or before the onset: there V still rests, even when the onset lies between samples"""
    next_sample: Array
    """that of the next stimulus, T for the last"""
    cycle_end: Array
    """the same, but the last cycle is taken to be as long as the one before"""


def locate_stimuli(ts, onsets) -> _Stimuli:
    if np.ndim(onsets) != 1:
        raise ValueError(f"onsets (ms): expected shape (n,), got {np.shape(onsets)}")
    check("onsets", onsets, "ms", "finite, ascending", lambda x: np.isfinite(x).all() and (np.diff(x) > 0).all())
    onsets = jnp.asarray(onsets, ts.dtype)
    if not is_traced(ts):
        first, last = float(ts[0]), float(ts[-1])
        check("onsets", onsets, "ms", f"within ts, {first} to {last} ms", lambda x: ((x >= first) & (x <= last)).all())

    def sample_at(t):
        rounding = 4 * jnp.finfo(ts.dtype).eps * jnp.abs(t)
        return jnp.maximum(jnp.searchsorted(ts, t + rounding, side="right").astype(jnp.int32) - 1, 0)

    T = jnp.full(1, ts.shape[0], jnp.int32)
    sample, end = sample_at(onsets), T
    if onsets.shape[0] > 1:
        after_last = 2 * onsets[-1:] - onsets[-2:-1]
        end = jnp.where(after_last > ts[-1:], T, sample_at(after_last))
    return _Stimuli(sample, jnp.concatenate([sample[1:], T]), jnp.concatenate([sample[1:], end]))


class _Spans(NamedTuple):
    """Sample numbers that frame each beat, (cells, beats); T where there is none."""

    start: Array
    """spontaneous: the previous beat's rise (0 for the first); paced: the stimulus"""
    rise: Array
    end: Array
    """the next beat's rise"""
    quiet_end: Array
    """the next stimulus: later rises are not EADs"""
    captured: Array
    whole: Array
    """the trace shows its rest"""


@eqx.filter_jit
def beat_spans(rises: _Rises, stimuli, rows) -> tuple[_Spans, Array]:
    """The spans of `rows` beats a cell, and how many samples the longest one has."""
    T = rises.begun.shape[-1]

    def nth_rise(begun, n):  # n = 1, 2, ...; T where there are fewer
        return jnp.searchsorted(begun, n).astype(jnp.int32)

    def spontaneous(begun, unrested):
        rise = nth_rise(begun, jnp.arange(1, rows + 2, dtype=jnp.int32))
        start = jnp.concatenate([jnp.zeros(1, jnp.int32), rise[:-2]])
        whole = ~unrested | (jnp.arange(rows) > 0)
        return _Spans(start, rise[:-1], rise[1:], rise[1:], rise[:-1] < T, whole)

    def paced(begun, _):
        before = begun[stimuli.sample]
        rise, end = nth_rise(begun, before + 1), nth_rise(begun, before + 2)
        captured = rise < stimuli.cycle_end
        quiet_end = jnp.minimum(end, stimuli.next_sample)
        return _Spans(stimuli.sample, rise, end, quiet_end, captured, jnp.ones_like(captured))

    spans = jax.vmap(spontaneous if stimuli is None else paced)(rises.begun, rises.unrested)
    return spans, jnp.where(spans.captured, spans.end - spans.start, 0).max(initial=0)


def window_size(longest, T):
    """Samples to look at for one beat: T, T/2, T/4 ..., enough for the longest; T where that is unknown."""
    window = T
    while not is_traced(longest) and window // 2 >= max(3, int(longest)):
        window //= 2
    return window


def find_landmarks(ts, V, slope, span: _Spans, *, window, levels, paced, ead_rise, ead_after):
    """Landmarks of one beat of one cell: positions, the first sample at or below each of `levels`, and the EAD."""
    T = V.shape[0]
    offset = jnp.clip(span.start, 0, T - window)
    ts, V, slope = (jax.lax.dynamic_slice(x, (offset,), (window,)) for x in (ts, V, slope))
    start, rise, end, quiet_end = (x - offset for x in (span.start, span.rise, span.end, span.quiet_end))
    s = jnp.arange(window, dtype=jnp.int32)

    rest = jnp.clip(start, 0, window - 1) if paced else _argmax(-V, (s >= start) & (s < rise))
    peak = _argmax(V, (s >= rise) & (s < end))
    upstroke = _argmax(slope, (s >= rest) & (s < peak))
    falls = first_falls(V, rest, peak, end, levels)

    fall_30, fall_90 = (falls[levels.index(x)] for x in (30.0, 90.0))
    late = (s >= fall_30) & (ts - ts[upstroke] >= ead_after) & (s < jnp.minimum(fall_90, quiet_end))
    lowest = jax.lax.cummin(jnp.where(late, V, jnp.inf))
    ead = (late & (V - lowest >= ead_rise)).any()
    return Positions(rest + offset, upstroke + offset, peak + offset, span.end), falls + offset, ead


def first_falls(V, rest, peak, end, levels):
    """The first sample after the peak and before `end` at or below each level, (levels,); `NONE` if there is none."""
    s = jnp.arange(V.shape[0], dtype=jnp.int32)
    potentials = potential_at(jnp.asarray(levels, V.dtype), V[rest], V[peak])
    fallen = (V[None] <= potentials[:, None]) & ((s > peak) & (s < end))[None]
    return jnp.where(fallen, s[None], NONE).min(axis=1)


def _argmax(x, where):
    """The first marked sample at which x is largest; 0 without any. A minimum of integers is vectorised, argmax not."""
    x = jnp.where(where, x, -jnp.inf)
    return jnp.where(x == x.max(), jnp.arange(x.shape[0], dtype=jnp.int32), NONE).min()


def potential_at(level, rest, peak):
    """V at `level` % repolarisation, mV."""
    return peak - level / 100 * (peak - rest)
