"""How fast a wave runs: between two cells, and as a map of vectors; how long each cell stays activated."""

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Array, Float

from ...annotations import typed
from ...arguments import refusal
from ...biomarkers.sampling import namespace

if TYPE_CHECKING:
    from ..run import Run

Numbers = Array | np.ndarray


@typed
def conduction_velocity(run: "Run", start: Sequence[int], stop: Sequence[int], beat: int = 0) -> Float[Numbers, ""]:
    """Velocity from one cell to another, mm/ms = m/s: their distance over the difference of their activation times.

    The two times alone count, not those of the cells between. It is negative where the wave runs from `stop` to
    `start`, infinite where both are activated at once, and NaN unless both are activated in this beat. It can be
    differentiated. It is the speed of a plane wave along the line between the cells; see `velocity_map` for others.

    Args:
        run: what `simulate` gave.
        start, stop: indices of the two cells in array order, e.g. (60,) and (160,); negative ones count from the end.
        beat: which activation of each cell, from 0.

    Raises:
        ValueError: an index outside the grid, equal cells, a beat that the run does not keep.
    """
    check_beat(run, beat)
    first, last = two_cells(run.tissue, start, stop)
    times = run.activation_times[beat]
    with np.errstate(divide="ignore"):
        return distance(run.tissue, first, last) / (times[last] - times[first])


@typed
def velocity_map(run: "Run", beat: int = 0) -> Float[Numbers, " axes *grid"]:
    """Velocity vector of the wave at each cell, mm/ms: grad T / |grad T|^2, where T is the activation time.

    The components are in array order: (y, x) on a sheet. Its length is the local speed across the front. Gradients are
    central differences; where one of the two neighbours was never activated, or is no tissue, they are one-sided, of
    first order; where neither was, that axis counts as crossed at once, as no flux would have it. NaN in cells that
    were never activated, and where T has no slope (the site of the stimulus, a collision).

    Args:
        run: what `simulate` gave.
        beat: which activation of each cell, from 0.
    """
    check_beat(run, beat)
    times = run.activation_times[beat]
    xp = namespace(times)
    active = xp.isfinite(times)
    if run.tissue.mask is not None:
        active = active & xp.asarray(run.tissue.mask)
    # Gradients never meet a NaN: what is unknown is replaced before, not after.
    known = xp.where(active, times, 0)
    slopes = [_slope(known, active, axis, dx) for axis, dx in enumerate(run.tissue.spacing)]
    squared = sum(s**2 for s in slopes)
    moves = active & (squared > 0)
    return xp.stack([xp.where(moves, s / xp.where(moves, squared, 1), np.nan) for s in slopes])


@typed
def apd_map(run: "Run", beat: int = 0) -> Float[Numbers, "*grid"]:
    """Time from activation to repolarisation of each cell in one beat, ms; NaN where either is missing.

    Both are as the run found them: V through the threshold, and back to the level of APD90.
    """
    check_beat(run, beat)
    return run.repolarisation_times[beat] - run.activation_times[beat]


def check_beat(run: Any, beat: int) -> None:
    """A ValueError unless the run keeps this beat."""
    beats = run.activation_times.shape[0]
    if not 0 <= beat < beats:
        raise refusal("beat", beat, "", f"0 to {beats - 1}; simulate(..., beats=) says how many are kept")


def two_cells(tissue: Any, start: Sequence[int], stop: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two different cells, their indices counted from the start of each axis."""
    first, last = cell_index("start", start, tissue.shape), cell_index("stop", stop, tissue.shape)
    if first == last:
        raise refusal("stop", tuple(stop), "", f"another cell than start = {tuple(start)}")
    return first, last


def distance(tissue: Any, first: tuple[int, ...], last: tuple[int, ...]) -> float:
    """Between the centres of two cells, mm."""
    return float(np.linalg.norm(np.subtract(last, first) * np.asarray(tissue.spacing, float)))


def cell_index(name: str, index: Sequence[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The index counted from the start of each axis; a ValueError names one that is not of the grid."""
    allowed = f"an index of the grid {shape}, one whole number an axis"
    try:
        numbers = tuple(operator.index(i) for i in index)
    except TypeError:
        raise refusal(name, index, "", allowed) from None
    if len(numbers) != len(shape) or not all(-n <= i < n for i, n in zip(numbers, shape, strict=True)):
        raise refusal(name, tuple(index), "", allowed)
    return tuple(i % n for i, n in zip(numbers, shape, strict=True))


def _slope(times: Numbers, active: Numbers, axis: int, dx: float) -> Numbers:
    """dT/dx along the axis, ms/mm, from the neighbours that are active; 0 where there is none."""
    xp = namespace(times)
    before, after = _neighbour(times, axis, -1), _neighbour(times, axis, 1)
    had, has = _neighbour(active, axis, -1), _neighbour(active, axis, 1)
    rise = xp.where(has, after, times) - xp.where(had, before, times)
    steps = has.astype(times.dtype) + had.astype(times.dtype)
    return rise / (xp.maximum(steps, 1) * dx)


def _neighbour(x: Numbers, axis: int, by: int) -> Numbers:
    """Of each cell, the x of the neighbour one step (+1 or -1) along the axis; zero (False) beyond the ends."""
    xp = namespace(x)
    pads = [(1, 1) if k == axis else (0, 0) for k in range(x.ndim)]
    inside = [slice(1 + by, 1 + by + n) if k == axis else slice(None) for k, n in enumerate(x.shape)]
    return xp.pad(x, pads)[tuple(inside)]
