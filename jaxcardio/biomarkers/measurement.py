"""Measuring one cell: formulas in the few samples that were found, differentiable in V. For NumPy and `jax.numpy`."""

import jax
import numpy as np

from .detection import NONE, Positions, Spans, potential_at, running_max
from .sampling import Times, namespace

EQUAL_SLOPES = 1e-6
"""Two slopes that differ by less than this share of themselves, or by what rounding of V and of the times makes of
them, are equal: of a straight upstroke the first interval counts, in every precision and at every time."""

ROUNDEST = 0.1
"""Of three neighbouring difference quotients about the steepest rise, the most that the outer two may fall below the
inner one together, as a share of it, where the samples are said to resolve the slope; see `_steepest`."""


def measure(times: Times, V, spans: Spans, at: Positions, falls, ead, levels, limits) -> dict:
    """Every field of `ActionPotentials` for one cell, (beats,); in place of absolute times, `into` after a sample."""
    xp = namespace(V)
    T = V.shape[0]
    into, dvdt_max, resolved = _steepest(times, V, at.upstroke)
    apds = durations(times, V, at, into, falls, xp.asarray(levels, V.dtype)[None])
    repolarised = falls[:, levels.index(90.0)] < NONE
    captured = spans.captured & (dvdt_max > limits["min_dvdt"])
    goes_on = times.between(at.upstroke, T - 1) - into >= limits["patience"]
    valid = captured & spans.whole & (repolarised | (at.end < T) | goes_on)

    previous = previous_marked(captured)
    before = xp.maximum(previous, 0)
    cycle = times.between(at.upstroke[before], at.upstroke) + (into - into[before])
    numbers = {
        "into": into,
        "rmp": V[at.rest],
        "peak": V[at.peak],
        "sampled_dvdt_max": dvdt_max,
        "cycle_length": xp.where(previous >= 0, cycle, np.nan),
    }
    numbers = {k: xp.where(valid, x, np.nan) for k, x in numbers.items()}
    numbers["apds"] = xp.where(valid[:, None], apds, np.nan)
    flags = {"captured": captured, "valid": valid, "repolarised": valid & repolarised, "ead": valid & ead}
    positions = Positions(*(xp.where(captured, x, T) for x in at))
    return {**numbers, **flags, "sampled_resolved": valid & resolved, "positions": positions}


def equal_slopes(times: Times, highest, j, slope):
    """By how much two slopes near the one after sample j differ at most that are equal, mV/ms; V is up to `highest`."""
    rounding = np.finfo(times.dt.dtype).eps * highest + times.grain * abs(slope)
    return EQUAL_SLOPES * abs(slope) + 2 * rounding / times.dt[j]


def steepest_into(times: Times, V, upstroke):
    """How long after the sample `upstroke` V rises fastest, ms."""
    return _steepest(times, V, upstroke)[0]


def _steepest(times: Times, V, j):
    """When in the sampling interval after sample j (ms into it) V rises fastest, how fast (mV/ms), and is that known.

    The vertex of the parabola through the slopes of that interval and its two neighbours, kept inside the interval.
    A difference quotient is the mean of dV/dt over its interval, so the parabola is low by a 24th of the second
    difference of the three, to leading order, and where dV/dt jumps it is off by up to an eighth of it. `ROUNDEST`
    makes that 0.4 % and 1.25 %.
    """
    xp, dt = namespace(V), times.dt
    if dt.shape[0] < 3:
        return dt[j] / 2, _slope(dt, V, j), xp.zeros(j.shape, bool)
    inner = xp.clip(j, 1, dt.shape[0] - 2)
    before, here, after = (_slope(dt, V, inner + k) for k in (-1, 0, 1))
    # A straight upstroke: of two equal slopes, rounding does not say which is the larger. The gradient is that of both.
    still = after - here if xp is np else jax.lax.stop_gradient(after - here)
    highest = xp.maximum(abs(V[inner]), abs(V[inner + 1]))
    after = after - xp.where(abs(still) <= equal_slopes(times, highest, inner, here), still, 0.0)
    x_before, x_here, x_after = -dt[inner - 1] / 2, dt[inner] / 2, dt[inner] + dt[inner + 1] / 2
    rise = (here - before) / (x_here - x_before)
    bend = ((after - here) / (x_after - x_here) - rise) / (x_after - x_before)
    peaked = (bend < 0) & (j == inner)
    vertex = (x_before + x_here) / 2 - rise / (2 * xp.where(peaked, bend, -1.0))
    x = xp.where(peaked, xp.clip(vertex, 0.0, dt[inner]), dt[j] / 2)
    refined = before + rise * (x - x_before) + bend * (x - x_before) * (x - x_here)
    # The second difference that a uniform sampling at the longest of the three intervals would show.
    widest = xp.maximum(dt[inner], xp.maximum(dt[inner - 1], dt[inner + 1]))
    resolved = peaked & (-2 * bend * widest**2 <= ROUNDEST * here)
    return x, xp.where(peaked, refined, _slope(dt, V, j)), resolved


def _slope(dt, V, j):
    return (V[j + 1] - V[j]) / dt[j]


def durations(times: Times, V, at: Positions, into, falls, levels):
    """Time from each upstroke to its crossing of each level between samples fall - 1 and fall, (beats, levels), ms."""
    xp = namespace(V)
    found = falls < NONE
    fall = xp.where(found, falls, 1)
    above, below = V[fall - 1], V[fall]
    potential = potential_at(levels, V[at.rest][:, None], V[at.peak][:, None])
    fraction = (above - potential) / xp.where(above > below, above - below, 1.0)
    since = times.between(at.upstroke[:, None], fall - 1)
    return xp.where(found, since + fraction * times.dt[fall - 1] - into[:, None], np.nan)


def previous_marked(marked):
    """Number of the last marked entry before each one along the last axis, -1 where there is none."""
    xp = namespace(marked)
    k = xp.broadcast_to(xp.arange(marked.shape[-1], dtype=np.int32), marked.shape)
    latest = running_max(xp.where(marked, k, -1))
    return xp.concatenate([xp.full_like(latest[..., :1], -1), latest[..., :-1]], axis=-1)


def at_previous(marked, x):
    """x of the last marked entry before each entry along the last axis, NaN where there is none."""
    xp = namespace(marked, x)
    before = previous_marked(marked)
    return xp.where(before >= 0, xp.take_along_axis(x, xp.maximum(before, 0), axis=-1), np.nan)
