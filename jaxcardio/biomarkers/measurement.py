"""Measuring: formulas in the few samples that were found, differentiable in V."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp

from .detection import NONE, Positions, find_landmarks, first_falls, potential_at


@eqx.filter_jit
def find_and_measure(ts, dt, V, spans, limits, window, levels, paced):
    """Every field of `ActionPotentials` for all cells (cells, T)."""
    one_cell = partial(_find_and_measure_one, ts, dt, limits=limits, window=window, levels=levels, paced=paced)
    return jax.vmap(one_cell)(V, spans)


def _find_and_measure_one(ts, dt, V, spans, limits, window, levels, paced):
    V = jnp.where(jnp.isfinite(V).all(), V, 0.0)  # a failed cell has no beats; no NaN may reach a gradient either
    still = jax.lax.stop_gradient(V)
    slope = jnp.append(jnp.diff(still) / dt, -jnp.inf)
    ead = {k: limits[k] for k in ("ead_rise", "ead_after")}
    # One beat after the other: memory stays that of one window a cell.
    find = partial(find_landmarks, ts, still, slope, window=window, levels=levels, paced=paced, **ead)
    at, falls, ead = jax.lax.map(find, spans)

    into, dvdt_max = _steepest(dt, V, at.upstroke)
    apds = _durations(ts, dt, V, at, into[:, None], falls, jnp.asarray(levels, V.dtype)[None])
    t_upstroke = ts[at.upstroke] + into
    repolarised = falls[:, levels.index(90.0)] < NONE
    captured = spans.captured & (dvdt_max > limits["min_dvdt"])
    cut_short = ~repolarised & (at.end >= V.shape[0]) & (ts[-1] - t_upstroke < limits["patience"])
    valid = captured & spans.whole & ~cut_short
    numbers = {
        "t_upstroke": t_upstroke,
        "t_peak": ts[at.peak],
        "rmp": V[at.rest],
        "peak": V[at.peak],
        "dvdt_max": dvdt_max,
        "cycle_length": t_upstroke - at_previous(captured, t_upstroke),
    }
    numbers = {k: jnp.where(valid, x, jnp.nan) for k, x in numbers.items()}
    numbers["apds"] = jnp.where(valid[:, None], apds, jnp.nan)
    flags = {"captured": captured, "valid": valid, "repolarised": valid & repolarised, "ead": valid & ead}
    return {**numbers, **flags, "positions": at}


@eqx.filter_jit
def apds_of_cells(ts, dt, V, positions, level):
    """APD at one more level, (cells, beats), from the positions already found."""

    def one_cell(V, at):
        still = jax.lax.stop_gradient(V)
        falls = jax.lax.map(lambda x: first_falls(still, x.rest, x.peak, x.end, level[None]), at)
        into, _ = _steepest(dt, V, at.upstroke)
        return _durations(ts, dt, V, at, into[:, None], falls, level[None, None])[:, 0]

    return jax.vmap(one_cell)(V, positions)


def _steepest(dt, V, j):
    """When in the sampling interval after sample j (ms into it) V rises fastest, and how fast (mV/ms).

    The vertex of the parabola through the slopes of that interval and its two neighbours, kept inside the interval.
    """
    if dt.shape[0] < 3:
        return dt[j] / 2, _slope(dt, V, j)
    inner = jnp.clip(j, 1, dt.shape[0] - 2)
    before, here, after = (_slope(dt, V, inner + k) for k in (-1, 0, 1))
    x_before, x_here, x_after = -dt[inner - 1] / 2, dt[inner] / 2, dt[inner] + dt[inner + 1] / 2
    rise = (here - before) / (x_here - x_before)
    bend = ((after - here) / (x_after - x_here) - rise) / (x_after - x_before)
    peaked = (bend < 0) & (j == inner)
    vertex = (x_before + x_here) / 2 - rise / (2 * jnp.where(peaked, bend, -1.0))
    x = jnp.where(peaked, jnp.clip(vertex, 0.0, dt[inner]), dt[j] / 2)
    refined = before + rise * (x - x_before) + bend * (x - x_before) * (x - x_here)
    return x, jnp.where(peaked, refined, _slope(dt, V, j))


def _slope(dt, V, j):
    return (V[j + 1] - V[j]) / dt[j]


def _durations(ts, dt, V, at: Positions, into, falls, levels):
    """Time from each upstroke to its crossing of each level between samples fall - 1 and fall, (beats, levels), ms."""
    found = falls < NONE
    fall = jnp.where(found, falls, 1)
    above, below = V[fall - 1], V[fall]
    potential = potential_at(levels, V[at.rest][:, None], V[at.peak][:, None])
    fraction = (above - potential) / jnp.where(above > below, above - below, 1.0)
    duration = (ts[fall - 1] - ts[at.upstroke][:, None]) + fraction * dt[fall - 1] - into
    return jnp.where(found, duration, jnp.nan)


def at_previous(marked, x):
    """x of the last marked entry before each entry along the last axis, NaN where there is none."""
    last = marked.ndim - 1
    k = jnp.broadcast_to(jnp.arange(marked.shape[-1], dtype=jnp.int32), marked.shape)
    latest = jax.lax.cummax(jnp.where(marked, k, -1), axis=last)
    before = jnp.concatenate([jnp.full_like(latest[..., :1], -1), latest[..., :-1]], axis=last)
    return jnp.where(before >= 0, jnp.take_along_axis(x, jnp.maximum(before, 0), axis=last), jnp.nan)
