"""A run of a tissue laid out before it begins: its steps, the stimuli at each, and where its samples are kept."""

from typing import Any, NamedTuple

import numpy as np

from ..arguments import refusal
from ..clock import merge, positions
from ..simulation.fixed import cut_at, in_blocks
from ..simulation.grid import straight_pieces, uniform_grid
from .stimulus import Stimulus


class Step(NamedTuple):
    """What is known of each step; arrays whose leading axes are (blocks, steps a block)."""

    start: Any
    """Absolute, ms: for a cell that depends on time."""
    dt: Any
    """ms"""
    value: Any
    slope: Any
    """Of each stimulus (last axis), pA/pF and per ms."""
    jump: Any
    """Whether a stimulus has an edge at its start."""
    index: Any
    """Its number."""
    slot: Any
    """Where the state after it is kept; None if the end of each block is all that is."""


class Plan(NamedTuple):
    """A run laid out."""

    steps: Step
    start: np.ndarray
    """Of each step, absolute, ms, float64, (steps,)."""
    dt: np.ndarray
    slots: int
    """A block has."""
    kept: np.ndarray
    """Which of all blocks' slots are wanted."""
    save_start: bool
    ts: np.ndarray
    """When samples are taken, absolute, ms."""


def make_plan(stimuli: tuple[Stimulus, ...], t0: float, length: float, dt: float, saved, ts, dtype) -> Plan:
    """Lays out a run of `length` ms from t0: steps of at most `dt` that end on every edge of a stimulus and sample."""
    drives = [s.protocol.since(t0) for s in stimuli]
    edges = merge(np.concatenate([np.zeros(0), *(d.edges(0.0, length) for d in drives)]))
    grid = uniform_grid(0.0, length, dt, [edges, saved])
    start, steps = grid[:-1], np.diff(grid)
    pieces = [straight_pieces(d, start, steps) for d in drives]
    value = np.stack([p[0] for p in pieces], -1) if pieces else np.zeros((len(start), 0))
    slope = np.stack([p[1] for p in pieces], -1) if pieces else value
    for k, (stimulus, given) in enumerate(zip(stimuli, value.T, strict=True)):
        _check_depolarises(k, stimulus, given, steps)
    jump = np.zeros(len(start), bool)
    jump[positions(grid, edges)] = True
    at = positions(grid, saved)
    size, slots, slot, kept = cut_at(len(start), at[at > 0] - 1)
    return Plan(
        steps=Step(
            start=in_blocks(t0 + start, size, dtype),
            dt=in_blocks(steps, size, dtype),
            value=in_blocks(value, size, dtype),
            slope=in_blocks(slope, size, dtype),
            jump=in_blocks(jump, size, bool),
            index=in_blocks(np.arange(len(start), dtype=np.int32), size, np.int32),
            slot=slot,
        ),
        start=t0 + start,
        dt=steps,
        slots=slots,
        kept=kept,
        save_start=bool((at == 0).any()),
        ts=ts,
    )


MOST_CHARGE = 500.0
"""Most that one stimulus may change V in a run of depolarisation without a pause, if nothing flowed away, mV."""


def _check_depolarises(k: int, stimulus: Stimulus, given, steps) -> None:
    """A ValueError where a stimulus only ever hyperpolarises, or gives a charge that no cell survives."""
    what = type(stimulus.protocol).__name__
    if given.max(initial=0.0) > 0 and given.min(initial=0.0) >= 0:
        raise refusal(
            f"stimuli[{k}]", f"a {what} of up to {given.max():g}", "pA/pF", "negative amplitudes: those depolarise"
        )
    ends = np.flatnonzero(np.diff(np.concatenate([[False], given < 0, [False]]).astype(int)))
    charge = np.concatenate([[0.0], np.cumsum(np.minimum(given, 0) * steps)])
    most = np.max(charge[ends[::2]] - charge[ends[1::2]], initial=0.0)
    if most > MOST_CHARGE:
        allowed = f"amplitude times duration up to {MOST_CHARGE:g} mV"
        raise refusal(f"stimuli[{k}]", f"a {what} of {most:g} mV in one pulse", "", allowed)
