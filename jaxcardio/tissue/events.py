"""Activation and repolarisation of every cell, found while the tissue runs, between its steps."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

RECOVERED = 0.9
"""A cell has repolarised once V has come back by this share of its action potential: to the level of APD90."""


class When(NamedTuple):
    """Moments of events, each (events, *grid): the step they are in, and how far into it; -1 where there was none."""

    step: Array
    part: Array


class Events(NamedTuple):
    """What a run knows of each cell's beats so far; arrays of the grid's shape."""

    before: Array
    """V one step earlier."""
    rest: Array
    """The lowest V since the last repolarisation."""
    peak: Array
    """The highest V since the last activation."""
    active: Array
    """Whether the cell is between activation and repolarisation."""
    count: Array
    """Activations so far."""
    activation: When
    repolarisation: When


def no_events(V: Array, threshold, beats: int) -> Events:
    """Before a run that begins with V. A cell that is active then has an unknown rest: it ends at the threshold."""
    active = V >= threshold
    rest = jnp.where(active, V - (V - threshold) / RECOVERED, V)
    none = When(jnp.full((beats, *V.shape), -1, jnp.int32), jnp.zeros((beats, *V.shape), V.dtype))
    return Events(V, rest, V, active, jnp.zeros(V.shape, jnp.int32), none, none)


def seen(events: Events, V0: Array, V1: Array, threshold, step: Array) -> Events:
    """The events after the step that took V0 to V1.

    Activated is a cell whose V rises through the threshold, repolarised one whose V then falls through the level of
    APD90. Both moments are where the parabola through three successive steps has that V.
    """
    starts = ~events.active & (threshold > V0) & (threshold <= V1)
    peak = jnp.where(starts, V1, jnp.maximum(events.peak, V1))
    rest = jnp.where(events.active | starts, events.rest, jnp.minimum(events.rest, V1))
    level = peak - RECOVERED * (peak - rest)
    ends = events.active & (level < V0) & (level >= V1)
    count = events.count + starts.astype(jnp.int32)
    return Events(
        before=V0,
        rest=jnp.where(ends, V1, rest),
        peak=peak,
        active=(events.active | starts) & ~ends,
        count=count,
        activation=_noted(events.activation, starts, count, step, _crossing(starts, events.before, V0, V1, threshold)),
        repolarisation=_noted(events.repolarisation, ends, count, step, _crossing(ends, events.before, V0, V1, level)),
    )


def _crossing(now, before, V0, V1, level):
    """How far into the step V has the level: 0 to 1, along the parabola through `before`, V0 and V1.

    Where it does not have it `now`, V may hardly move (ahead of a wave of Aliev-Panfilov by 1e-200 and less), and a
    quotient would overflow: its derivative, times zero, would be NaN.
    """
    across = jnp.where(now, V1 - V0, 1)
    bend = 0.5 * (V1 - 2 * V0 + before)
    part = (level - V0) / across
    for _ in range(2):  # V0 + across s + bend s (s - 1) = level, from the straight line's s
        slope = across + bend * (2 * part - 1)
        slope = jnp.where(slope * across > 0, slope, across)
        part = jnp.clip(part - (across * part + bend * part * (part - 1) - (level - V0)) / slope, 0, 1)
    return part


def _noted(when: When, now, count, step, part) -> When:
    """With this moment as that of beat `count`, where it happens `now`; beats beyond those kept are only counted."""
    beat = jnp.arange(when.step.shape[0], dtype=count.dtype).reshape(-1, *(1 for _ in count.shape))
    here = now[None] & (count[None] - 1 == beat)
    return When(jnp.where(here, step, when.step), jnp.where(here, part[None], when.part))
