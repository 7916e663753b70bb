"""Time grids: which times a fixed-step run steps to. Edges of the protocol and times to be saved are always on them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..protocols import AbstractProtocol

MERGE = 1e-9
"""Times closer than this (ms, relative beyond 1 ms) are one time: they differ by rounding only."""


class Stage(NamedTuple):
    """From the previous stage until `until` ms after each stimulus onset, step by `dt` ms."""

    until: float
    dt: float


PACED_STAGES = (Stage(2.0, 0.01), Stage(10.0, 0.02), Stage(40.0, 0.1), Stage(600.0, 1 / 3), Stage(np.inf, 1.0))
"""Fine over the upstroke, coarse in diastole: about 3000 steps a second. Tuned for `RushLarsen2` on ten Tusscher 2004
at 1 Hz (0.009 mV, APD90 to 0.024 ms) and Skibsbye 2016; a cell that repolarises later than 600 ms needs a longer
plateau stage."""


def uniform_grid(t0: float, t1: float, dt: float, through: Sequence[np.ndarray] = ()) -> np.ndarray:
    """Times from t0 to t1 (ms, float64) at most `dt` apart that step exactly to every time in `through`."""
    corners = merge(np.concatenate([[t0, t1], *through]))
    counts = np.maximum(1, np.ceil(np.diff(corners) / dt - 1e-6)).astype(int)
    return divided(corners, counts)


def divided(corners: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Ascending times with the interval after the k-th of `corners` divided into counts[k] equal parts."""
    steps = np.diff(corners) / counts
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.append(np.repeat(corners[:-1], counts) + within * np.repeat(steps, counts), corners[-1])


def paced_grid(
    pacing: AbstractProtocol,
    t1: float,
    t0: float = 0.0,
    stages: Sequence[Stage | tuple[float, float]] = PACED_STAGES,
) -> np.ndarray:
    """A grid for a paced run: after each stimulus onset the steps grow stage by stage, until the next onset.

    Args:
        pacing: the stimulus.
        t1, t0: end and start, ms.
        stages: (until, dt) pairs in ms after each onset, `until` ascending and ending in inf.

    Returns:
        Times in ms (float64). Before the first onset the cell is taken to rest: steps of the last stage but one.
    """
    if pacing is None or pacing.kind != "current":
        raise ValueError(
            f"pacing: {type(pacing).__name__} has no stimulus onsets; allowed: a stimulus, e.g. PulseTrain"
        )
    onsets = merge(pacing.onsets(t0, t1)) if len(pacing.onsets(t0, t1)) else np.array([t1])
    waiting = uniform_grid(t0, onsets[0], stages[-2:][0][1]) if onsets[0] > t0 else np.array([t0])
    return np.append(waiting[:-1], staged_grid(onsets, pacing.edges(t0, t1), onsets[0], t1, stages))


def staged_grid(
    starts: np.ndarray, through: np.ndarray, t0: float, t1: float, stages: Sequence[Stage | tuple[float, float]]
) -> np.ndarray:
    """Times from t0 to t1 (ms): the `stages` anew from each of the ascending `starts`, and every time in `through`."""
    untils = np.array([s[0] for s in stages], float)
    steps = np.array([s[1] for s in stages], float)
    if not (np.diff(untils) > 0).all() or not np.isinf(untils[-1]) or not (steps > 0).all():
        raise ValueError(f"stages = {tuple(stages)}; allowed: (until, dt) in ms, until ascending to inf, dt > 0")
    pieces = [np.array([t0])]
    for begin, end in zip(starts, np.append(starts[1:], t1), strict=True):
        bounds = np.minimum(begin + np.append(0.0, untils), end)
        for a, b, dt in zip(bounds[:-1], bounds[1:], steps, strict=True):
            if b > a:
                pieces.append(uniform_grid(a, b, dt, [through[(through > a) & (through < b)]])[1:])
    return np.concatenate(pieces)


def save_times(t0: float, t1: float, every: float) -> np.ndarray:
    """t0, t0 + every, ... up to t1 (ms)."""
    n = int(np.floor((t1 - t0) / every * (1 + 1e-12) + 1e-9))
    return t0 + every * np.arange(n + 1)


def merge(times: np.ndarray) -> np.ndarray:
    """Sorted times without those that differ only by rounding."""
    times = np.unique(np.asarray(times, np.float64))
    apart = np.diff(times) > MERGE * np.maximum(1.0, np.abs(times[1:]))
    return times[np.concatenate([[True], apart])]


def positions(grid: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Index in `grid` of each of `times`, all of which are on it up to rounding."""
    right = np.searchsorted(grid, times).clip(1, len(grid) - 1)
    return np.where(times - grid[right - 1] < grid[right] - times, right - 1, right)
