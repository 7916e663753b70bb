"""The one clock. Absolute times are float64 on the host, and two of them are one time within one stated resolution.

Whatever is laid out for a run, or compiled, counts from the start of that run (`AbstractProtocol.since`), of a step or
of a cycle. So a run at t0 = 1e9 ms is as exact as one at 0, in float32 as well.
"""

from typing import Any

import numpy as np

from .arguments import check

RESOLUTION = 1e-6
"""Two times this close, ms, are one time: they differ by rounding, wherever they lie (`LATEST`)."""
LATEST = 2.0**32
"""Times are within +- this, ms (50 days): beyond, float64 itself is coarser than `RESOLUTION`."""


def check_time(name: str, value: Any, unit: str = "ms") -> None:
    """A ValueError, by name, unless every time is a number within +- `LATEST`; None and traced values pass."""
    allowed = f"within +-{LATEST:.4g} {unit}, where times are exact to {RESOLUTION:g} {unit}"
    check(name, value, unit, allowed, lambda t: (np.abs(t) <= LATEST).all())


def merge(times: Any) -> np.ndarray:
    """Sorted times, each more than `RESOLUTION` after the one before; of those that are one time, the first."""
    times = np.unique(np.asarray(times, np.float64))
    near = np.append(False, np.diff(times) <= RESOLUTION)
    if not near.any():
        return times
    kept = ~near
    first = np.maximum.accumulate(np.where(kept, np.arange(times.size), 0))
    # A chain of near times can be longer than one time: there, one after the other.
    for k in np.flatnonzero(times - times[first] > RESOLUTION):
        last = k - 1 - np.argmax(kept[k - 1 :: -1])
        kept[k] = times[k] - times[last] > RESOLUTION
    return times[kept]


def inside(times: Any, t0: float, t1: float) -> np.ndarray:
    """The merged times that are neither before, after, nor at t0 or t1."""
    times = np.asarray(times, np.float64)
    return merge(times[(times > t0 + RESOLUTION) & (times < t1 - RESOLUTION)])


def between(t0: float, t1: float, times: Any) -> np.ndarray:
    """t0, the merged times inside, and t1."""
    return np.concatenate([[t0], inside(times, t0, t1), [t1]])


def without(times: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Those of `times` that are none of the ascending `others`."""
    if len(others) == 0:
        return times
    return times[
        np.searchsorted(others, times - RESOLUTION) == np.searchsorted(others, times + RESOLUTION, side="right")
    ]


def positions(grid: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Index in the ascending `grid` of the time nearest to each of `times`, all of which are on it."""
    right = np.searchsorted(grid, times).clip(1, len(grid) - 1)
    return np.where(times - grid[right - 1] < grid[right] - times, right - 1, right)
