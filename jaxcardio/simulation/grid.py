"""Time grids: which times a run of fixed steps steps to. Edges of the protocol and saved times are always on them.

Times are float64 on the host. Inside a run they count from its start (`clock.py`); `paced_grid`, which users call,
takes and gives absolute ones.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..arguments import check_known, is_traced, refusal
from ..clock import RESOLUTION, between, check_time, merge
from ..protocols import AbstractProtocol
from .memory import STEP_BYTES, check_fits

SHORTEST_STEP = 10 * RESOLUTION
"""Shortest step, ms, that can be asked for: anything shorter is close to one and the same time."""


class Stage(NamedTuple):
    """From the previous stage until `until` ms after each stimulus onset, step by `dt` ms."""

    until: float
    dt: float


PACED_STAGES = (Stage(2.0, 0.01), Stage(10.0, 0.02), Stage(40.0, 0.1), Stage(600.0, 1 / 3), Stage(np.inf, 1.0))
"""Fine over the upstroke, coarse in diastole: about 3000 steps a second. Tuned for `RushLarsen2` on ten Tusscher 2004
at 1 Hz (0.009 mV, APD90 to 0.024 ms) and Skibsbye 2016; a cell that repolarises later than 600 ms needs a longer
plateau stage."""
CLAMP_STAGES = (Stage(1.0, 0.02), Stage(5.0, 0.05), Stage(20.0, 0.1), Stage(60.0, 0.25), Stage(np.inf, 1.0))
"""Steps after each edge of a command, for the states that are not gates of voltage alone. On 27 random steps of
250 ms the total current of Kernik, ten Tusscher and Skibsbye cells is within 6e-5 of its range of steps of 0.005 ms."""
CLIMB, SHORTEST = 0.05, 0.005
"""Where the command moves, a step is no longer than this change of it, mV; but need not be shorter than this, ms."""


def uniform_grid(t0: float, t1: float, dt: float, through: Sequence[np.ndarray] = ()) -> np.ndarray:
    """Times from t0 to t1 (ms, float64) at most `dt` apart that step exactly to every time in `through`."""
    steps = (t1 - t0) / dt
    check_fits(f"t1 - t0 = {t1 - t0:g} ms at dt = {dt:g} ms", steps, "steps", STEP_BYTES)
    corners = between(t0, t1, np.concatenate([np.zeros(0), *through]))
    # Two corners, each known to the clock's resolution, take no step more for being that much farther apart.
    counts = np.maximum(1, np.ceil((np.diff(corners) - 2 * RESOLUTION) / dt)).astype(int)
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
    if not isinstance(pacing, AbstractProtocol) or pacing.kind != "current":
        raise ValueError(
            f"pacing: {type(pacing).__name__} has no stimulus onsets; allowed: a stimulus, e.g. PulseTrain"
        )
    length = check_span(t0, t1)
    _, steps = _checked_stages(stages)
    drive = pacing.since(t0)
    onsets = drive.onsets(0.0, length)
    onsets = merge(np.maximum(onsets, 0.0)) if len(onsets) else np.array([length])
    waiting = uniform_grid(0.0, onsets[0], steps[-2:][0]) if onsets[0] > RESOLUTION else np.zeros(1)
    paced = staged_grid(onsets, drive.edges(0.0, length), onsets[0], length, stages)
    since = between(0.0, length, np.append(waiting, paced))
    return np.concatenate([[t0], t0 + since[1:-1], [t1]])


def staged_grid(
    starts: np.ndarray, through: np.ndarray, t0: float, t1: float, stages: Sequence[Stage | tuple[float, float]]
) -> np.ndarray:
    """Times from t0 to t1 (ms): the `stages` anew from each of the ascending `starts`, and every time in `through`."""
    untils, steps = _checked_stages(stages)
    check_fits(f"{len(starts)} pulses", _steps_of(starts, t1, untils, steps), "steps", STEP_BYTES)
    pieces = [np.array([t0])]
    for begin, end in zip(starts, np.append(starts[1:], t1), strict=True):
        bounds = np.minimum(begin + np.append(0.0, untils), end)
        for a, b, dt in zip(bounds[:-1], bounds[1:], steps, strict=True):
            if b > a:
                near = slice(*np.searchsorted(through, [a, b]))
                pieces.append(uniform_grid(a, b, dt, [through[near]])[1:])
    return np.concatenate(pieces)


def _checked_stages(stages) -> tuple[np.ndarray, np.ndarray]:
    """When each stage ends and its step, ms, (stages,) each."""
    try:
        untils, steps = np.array([(until, dt) for until, dt in stages], float).T
    except (TypeError, ValueError):
        untils, steps = np.zeros(1), np.zeros(1)
    if not (np.diff(untils) > 0).all() or not np.isinf(untils[-1]) or not (steps >= SHORTEST_STEP).all():
        raise refusal("stages", stages, "", f"(until, dt) in ms, until ascending to inf, dt >= {SHORTEST_STEP:g}")
    return untils, steps


def _steps_of(starts, t1, untils, steps) -> float:
    """About how many steps the stages take."""
    lengths = np.diff(np.append(starts, t1))
    reached = np.minimum(lengths[:, None], untils)
    return float((np.diff(reached, axis=1, prepend=0.0) / steps).sum())


def clamp_grid(protocol: AbstractProtocol, t0: float, t1: float, dt: float | None, wanted: np.ndarray) -> np.ndarray:
    """Times to step to, ms: at most `dt` apart if given, else `CLAMP_STAGES` after each edge, and `CLIMB`.

    No sample of a command is left out. (The change of a traced command is not known here, and not looked at.)
    """
    edges = protocol.edges(t0, t1)
    longest = protocol.shortest()
    if dt is not None:
        return uniform_grid(t0, t1, min(dt, longest), [edges, wanted])
    stages = [Stage(until, min(step, longest)) for until, step in CLAMP_STAGES]
    grid = between(t0, t1, staged_grid(np.append(t0, edges), merge(wanted), t0, t1, stages))
    length = np.diff(grid)
    _, slope = straight_pieces(protocol, grid[:-1], length)
    if not isinstance(slope, np.ndarray):
        return grid
    longest = np.clip(CLIMB / np.maximum(np.abs(slope), 1e-12), SHORTEST, length)
    return divided(grid, np.ceil(length / longest - 1e-6).astype(int))


def straight_pieces(protocol: AbstractProtocol, start, length):
    """Value at the start of each step and slope over it; `start` and `length` in ms.

    Read inside the step, where rounding cannot put an edge on the wrong side; exact for straight pieces.
    """
    early, late = protocol.value(start + 0.25 * length), protocol.value(start + 0.75 * length)
    slope = (late - early) / (0.5 * length)
    return early - 0.25 * length * slope, slope


def save_times(t0: float, t1: float, every: float) -> np.ndarray:
    """t0, t0 + every, ... up to t1 (ms)."""
    n = int(np.floor((t1 - t0 + RESOLUTION) / every))
    since = every * np.arange(n + 1)
    return t0 + np.minimum(since, t1 - t0)


def check_span(t0, t1) -> float:
    """t1 - t0, ms, of a run: two concrete times, t1 the later by more than `SHORTEST_STEP`."""
    for name, value in (("t0", t0), ("t1", t1)):
        if is_traced(value):
            raise ValueError(
                f"{name} is traced; allowed: a concrete number of ms (differentiate through times with grid=)"
            )
        check_known(name, value, "ms", "finite", np.isfinite)
        check_time(name, value)
    length = float(t1) - float(t0)
    if not length > SHORTEST_STEP:
        raise ValueError(f"t1 = {t1} ms; allowed: > t0 = {t0} ms, by more than {SHORTEST_STEP:g} ms")
    return length


def check_step(dt, protocol: AbstractProtocol | None) -> None:
    """A fixed step, ms: a number that resolves the clock's resolution and the protocol's shortest pulse or step."""
    check_known("dt", dt, "ms", f"> 0, at least {SHORTEST_STEP:g} ms", lambda x: np.isfinite(x) and x >= SHORTEST_STEP)
    if protocol is not None and dt > protocol.shortest() * (1 + 1e-9):
        raise ValueError(
            f"dt = {dt} ms; allowed: 0 < dt <= {protocol.shortest()} ms, the protocol's shortest pulse or step"
        )
