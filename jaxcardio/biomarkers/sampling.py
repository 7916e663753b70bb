"""When the samples lie. Absolute times are float64 on the host; what is compiled sees differences and sample numbers.

Each function is written once for NumPy and for `jax.numpy`: NumPy where what it is given is known and on the host, so
that nothing is compiled; `jax.numpy` within what is compiled.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..arguments import check, is_traced
from ..clock import RESOLUTION

REST_SAMPLES = 512
"""The rest of a trace is read at this many equally spaced times."""


def namespace(*xs) -> Any:
    """NumPy where none of these is a JAX array, else `jax.numpy`."""
    for x in xs:
        if isinstance(x, jax.Array):
            return jnp
    return np


class Times(NamedTuple):
    """Differences of sample times, in the precision of V: the time of sample k since the first is coarse + fine.

    A difference of two times is exact to the rounding of that difference, as both parts are subtracted by themselves.
    """

    coarse: Any
    fine: Any
    dt: Any
    """from each sample to the next, (T - 1,)"""
    grain: Any
    """the spacing of numbers where the times lie: what a difference of two of them may be wrong by"""

    def between(self, i, j):
        """Time from sample i to sample j, ms."""
        return (self.coarse[j] - self.coarse[i]) + (self.fine[j] - self.fine[i])


def relative(ts, dtype) -> Times:
    """The differences of `ts`, taken in its own precision before they are rounded to `dtype`."""
    since = ts - ts[0]
    coarse = since.astype(dtype, copy=False)
    fine = (since - coarse.astype(since.dtype, copy=False)).astype(dtype, copy=False)
    xp = namespace(ts)
    grain = xp.spacing(xp.maximum(xp.abs(ts[0]), xp.abs(ts[-1]))).astype(dtype)
    return Times(coarse, fine, (ts[1:] - ts[:-1]).astype(dtype, copy=False), grain)


def sample_at(ts, t):
    """Number of the last sample at or before each of the times t; 0 where t is before all."""
    xp = namespace(ts, t)
    return xp.maximum(xp.searchsorted(ts, t + _same(ts, t), side="right").astype(np.int32) - 1, 0)


def sample_from(ts, t):
    """Number of the first sample at or after each of the times t; T where t is after all."""
    return namespace(ts, t).searchsorted(ts, t - _same(ts, t)).astype(np.int32)


def _same(ts, t):
    """How far two times may lie apart and still be one. Under `jit` their own type may be coarser than the clock."""
    if not isinstance(ts, jax.Array):
        return RESOLUTION
    return jnp.maximum(RESOLUTION, 2 * jnp.finfo(ts.dtype).eps * jnp.abs(t))


def even_samples(ts):
    """Numbers of the samples at `REST_SAMPLES` equally spaced times."""
    return sample_at(ts, namespace(ts).linspace(ts[0], ts[-1], REST_SAMPLES, dtype=ts.dtype))


class Stimuli(NamedTuple):
    """Sample numbers of each stimulus, (n,)."""

    sample: Array | np.ndarray
    """the last one at or before the onset: there V still rests, even when the onset lies between samples"""
    next_sample: Array | np.ndarray
    """that of the next stimulus, T for the last"""
    cycle_end: Array | np.ndarray
    """the same, but the last cycle is taken to be as long as the one before"""


def locate_stimuli(ts, onsets) -> Stimuli:
    if np.ndim(onsets) != 1:
        raise ValueError(f"onsets (ms): expected shape (n,), got {np.shape(onsets)}")
    check("onsets", onsets, "ms", "finite, ascending", lambda x: np.isfinite(x).all() and (np.diff(x) > 0).all())
    if is_traced(ts, *jax.tree.leaves(onsets)):
        ts = jnp.asarray(ts)
        onsets = jnp.asarray(onsets, ts.dtype)
    else:
        onsets = np.asarray(onsets, np.float64)
        first, last = float(ts[0]), float(ts[-1])
        within = (onsets >= first - RESOLUTION) & (onsets <= last + RESOLUTION)
        check("onsets", onsets, "ms", f"within ts, {first} to {last} ms", lambda x: within)
    xp = namespace(ts)
    T = xp.full(1, ts.shape[0], np.int32)
    sample, end = sample_at(ts, onsets), T
    if onsets.shape[0] > 1:
        after_last = 2 * onsets[-1:] - onsets[-2:-1]
        end = xp.where(after_last > ts[-1] + RESOLUTION, T, sample_at(ts, after_last))
    return Stimuli(sample, xp.concatenate([sample[1:], T]), xp.concatenate([sample[1:], end]))
