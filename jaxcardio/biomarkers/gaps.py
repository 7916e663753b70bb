"""What a recording does not show: missing samples, missing times, and potentials beyond what the amplifier can say."""

from typing import NamedTuple

import numpy as np

UNIFORM = 0.05
"""Times lie on a clock when each is within this share of an interval of one of its ticks."""
MOST_TICKS = 20
"""A recording whose times lie on no clock is laid on one with at most so many ticks a sample."""
FLAT = 3
"""So many equal samples in a row, at the highest or lowest value of the trace, may be a limit of the amplifier."""
CORNER = 4.0
"""Without noise, V that stays at its highest value was cut off where it came with so many steps of V a sample."""


class Clock(NamedTuple):
    """Even times, `size` of them every `dt` ms from `start` on, and where the samples lie among them."""

    start: float
    dt: float
    size: int
    tick: np.ndarray
    """number of the tick of each sample, or of the last tick before it"""
    even: bool
    """whether the samples lie on ticks"""

    def sample(self, tick: np.ndarray) -> np.ndarray:
        """The last sample at or before each tick."""
        return np.clip(np.searchsorted(self.tick, tick, side="right") - 1, 0, self.tick.size - 1)


def clock_of(ts: np.ndarray) -> Clock:
    """The clock on which the times ts (T,) lie, with ticks for missing ones."""
    steps = np.diff(ts)
    dt, span = float(np.median(steps)), float(ts[-1] - ts[0])
    ticks = np.round(span / dt)
    if ticks <= MOST_TICKS * ts.size:
        # A rounded interval would drift: the clock's own is taken over the whole.
        for size in (ticks, np.round(steps / dt).sum()):
            dt = span / size
            place = (ts - ts[0]) / dt
            tick = np.round(place).astype(int)
            if abs(place - tick).max() <= UNIFORM and (np.diff(tick) > 0).all():
                return Clock(float(ts[0]), dt, int(size) + 1, tick, True)
    dt = max(float(np.median(steps)), span / (MOST_TICKS * ts.size))
    place = ((ts - ts[0]) / dt).astype(int)
    return Clock(float(ts[0]), dt, int(span / dt) + 1, place, False)


def on_clock(clock: Clock, ts: np.ndarray, V: np.ndarray) -> np.ndarray:
    """V (T,) at every tick, NaN where there is no sample."""
    if clock.even:
        x = np.full(clock.size, np.nan)
        x[clock.tick] = V
        return x
    ticks = clock.start + clock.dt * np.arange(clock.size)
    good = np.isfinite(V)
    if not good.any():
        return np.full(clock.size, np.nan)
    x = np.interp(ticks, ts[good], V[good])
    near = np.clip(np.searchsorted(ts, ticks), 1, ts.size - 1)
    return np.where(good[near] & good[near - 1], x, np.nan)


def filled(x: np.ndarray) -> np.ndarray:
    """Straight lines across the gaps of x (T,)."""
    good = np.isfinite(x)
    if good.all() or not good.any():
        return np.where(good, x, 0.0)
    k = np.arange(x.size)
    return np.interp(k, k[good], x[good])


def runs_of(mask: np.ndarray) -> np.ndarray:
    """Begin and end of each run of True in mask (T,): (runs, 2)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return edges.reshape(-1, 2)


def flat_runs(x: np.ndarray, extreme: float) -> np.ndarray:
    """Runs of at least `FLAT` samples that are `extreme`, (runs, 2)."""
    runs = runs_of(x == extreme)
    return runs[runs[:, 1] - runs[:, 0] >= FLAT]


class Clipped(NamedTuple):
    """Runs of samples at the highest and at the lowest potential that could be recorded, each (runs, 2)."""

    high: np.ndarray
    low: np.ndarray


def clipped(x: np.ndarray, high: np.ndarray, low: np.ndarray, jitter: float) -> Clipped:
    """Which of the flat runs are limits of the amplifier.

    Noise of rms `jitter` (mV, from sample to sample) above the steps of V does not stand still by itself. Without it a
    rest may; but a peak that V reaches by steps is no peak.
    """
    steps = abs(np.diff(x))
    step = float(np.min(steps, where=steps > 0, initial=np.inf))
    if step < jitter:
        return Clipped(high, low)
    return Clipped(np.array([r for r in high if _cornered(x, r, step)]).reshape(-1, 2), low[:0])


def _cornered(x, run, step):
    first, end = run
    before = x[first] - x[first - 1] if first > 0 else 0.0
    after = x[end - 1] - x[end] if end < x.size else 0.0
    return max(before, after) > CORNER * step and np.isfinite(max(before, after))
