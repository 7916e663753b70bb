"""Populations, and what jit, vmap or grad will only know later, in three compiled programs: rises, spans, numbers."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..arguments import is_traced
from .detection import Rises, Spans, beat_spans, find_landmarks, find_rises, first_falls
from .measurement import durations, equal_slopes, measure, steepest_into
from .sampling import Stimuli, Times, even_samples, namespace, relative, sample_from


def of_cells(ts, V, stimuli: Stimuli | None, threshold, limits, max_beats, window, levels) -> dict:
    """Every field of `ActionPotentials`, (cells, beats), as `measurement.measure` gives them."""
    late_from = _late_from(ts, limits["ead_after"])
    limits = {k: _like(x, V) for k, x in limits.items()}
    if threshold is not None:
        threshold = tuple(_like(x, V) for x in threshold)
    rises, most = _rises(jax.lax.stop_gradient(V), even_samples(ts), threshold, limits["min_amplitude"])
    rows = _row_count(most, stimuli, max_beats)
    # Sizes that are not given are rounded up, so that similar traces share one compilation.
    given = stimuli is not None or max_beats is not None
    spans, longest = _spans(rises, stimuli, rows if given else 1 << (rows - 1).bit_length())
    window = min(window or _window_size(longest, V.shape[-1]), V.shape[-1])
    times = relative(ts, V.dtype)
    fields = _numbers(times, V, spans, late_from, limits, window, levels, stimuli is not None)
    if not is_traced(*jax.tree.leaves(fields)):
        fields = jax.device_get(fields)
    return jax.tree.map(lambda x: x[:, :rows], fields)


def _late_from(ts, ead_after):
    """Of each sample, the number of the first one that lies `ead_after` later."""
    xp = namespace(ts, ead_after)
    ts = xp.asarray(ts)
    return sample_from(ts, ts + xp.asarray(ead_after, ts.dtype))


def _like(x, V):
    """A limit in V's precision, still on the host where it is known: there it needs no program of its own."""
    return jnp.asarray(x, V.dtype) if is_traced(x) else np.asarray(x, V.dtype)


def _row_count(most, stimuli, max_beats):
    """Rows of the result, as a plain integer."""
    if stimuli is not None:
        return stimuli.sample.shape[0]
    if max_beats is not None:
        return int(max_beats)
    if is_traced(most):
        raise ValueError("max_beats = None beats; allowed under jit, vmap or grad: an integer >= 1")
    return max(1, int(most))


def _window_size(longest, T):
    """Samples to look at for one beat: T, T/2, T/4 ..., enough for the longest; T where that is unknown."""
    window = T
    while not is_traced(longest) and window // 2 >= max(3, int(longest)):
        window //= 2
    return window


@eqx.filter_jit
def _rises(V, even, threshold, min_amplitude):
    """The rises of every cell, and how many beats the cell with most of them has."""
    rises = jax.vmap(lambda V: find_rises(V, even, threshold, min_amplitude))(V)
    return rises, rises.begun[:, -1].max(initial=0)


@eqx.filter_jit
def _spans(rises: Rises, stimuli, rows):
    """The spans of `rows` beats a cell, and how many samples the longest one has."""
    spans = jax.vmap(lambda x: beat_spans(x, stimuli, rows))(rises)
    return spans, jnp.where(spans.captured, spans.end - spans.start, 0).max(initial=0)


@eqx.filter_jit
def _numbers(times: Times, V, spans: Spans, late_from, limits, window, levels, paced):
    def one_cell(V, spans):
        V = jnp.where(jnp.isfinite(V).all(), V, 0.0)  # a failed cell has no beats; no NaN may reach a gradient either
        still = jax.lax.stop_gradient(V)
        slope = jnp.append(jnp.diff(still) / times.dt, -jnp.inf)

        equal = partial(equal_slopes, times, jnp.abs(still).max())

        def find(span):
            offset = jnp.clip(span.start, 0, V.shape[0] - window)
            near, rising = (jax.lax.dynamic_slice(x, (offset,), (window,)) for x in (still, slope))
            how = {"levels": levels, "paced": paced, "ead_rise": limits["ead_rise"]}
            return find_landmarks(near, rising, equal, lambda j: late_from[j], span, offset, **how)

        # One beat after the other: memory stays that of one window a cell.
        at, falls, ead = jax.lax.map(find, spans)
        return measure(times, V, spans, at, falls, ead, levels, limits)

    return jax.vmap(one_cell)(V, spans)


def apd_of_cells(ts, V, positions, valid, level):
    """APD at one more level, (..., beats), from the positions already found."""
    apd = _apd(relative(ts, V.dtype), V, positions, valid, np.asarray(level, V.dtype))
    return apd if is_traced(apd) else np.asarray(apd)


@eqx.filter_jit
def _apd(times: Times, V, positions, valid, level):
    def one_cell(V, at):
        still = jax.lax.stop_gradient(V)
        falls = jax.lax.map(lambda x: first_falls(still, x.rest, x.peak, x.end, level[None]), at)
        into = steepest_into(times, V, at.upstroke)
        return durations(times, V, at, into, falls, level[None, None])[:, 0]

    cells, positions = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), (V, positions))
    return jnp.where(valid, jax.vmap(one_cell)(cells, positions).reshape(valid.shape), jnp.nan)
