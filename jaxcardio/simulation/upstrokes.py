"""dV/dt max of a simulated beat: from the model, stepped finely through the upstroke, not from saved samples.

An upstroke of 360 V/s lasts a few tenths of a millisecond. Samples of 0.1 ms show its steepest slope to 10 %, and steps
that are long enough for everything else to a few per cent. So the beat's state some milliseconds before its upstroke is
taken up again and stepped as finely as that needs.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ..cell import AbstractCell, driven_rates
from ..clock import RESOLUTION
from ..solvers import RatesTerm, RushLarsen2
from .compiled import BRIEF, WIDE, compiled
from .grid import straight_pieces
from .stepping import Steps

LEAD, AFTER = 5.0, 1.0
"""How long before and after the steepest samples to step, in the model's unit of time."""
FINEST, STEPS, MOST = 0.005, 2000, 32_000
"""Longest step through an upstroke, in the model's unit of time; how many there are (or twice, four times as many ...),
and the most, for samples so far apart that more would serve nothing."""
ROWS, FEW = 256, 16
"""Most upstrokes stepped at once, of `STEPS`; and how many of one cell are stepped in turn, which compiles faster."""


def steepest(cell: AbstractCell, protocol, ts, ys, rows, rest, upstroke) -> np.ndarray:
    """Largest dV/dt (per ms) of upstrokes, the stimulus included, of the model stepped finely.

    Args:
        cell, protocol: what was run; a stimulus or None.
        ts: saved times, ms, (time,).
        ys: the whole state at them, (time,) or (n_cells, time).
        rows: the cell of each upstroke, (rows,).
        rest, upstroke: the samples of each beat's rest and steepest rise, (rows,).
    """
    if len(rows) == 0:
        return np.zeros(0)
    begin, end = _samples_about(np.asarray(ts), rest, upstroke)
    n = STEPS
    while n < MOST and n * FINEST < (ts[end] - ts[begin]).max():
        n *= 2
    most = ROWS * STEPS // n
    axes, population = cell.population_axes(), jnp.ndim(ys[0]) == 2
    found = []
    for first in range(0, len(rows), most):
        chosen = slice(first, first + most)
        # Sizes are rounded up, so that few programs serve all.
        size = min(most, 1 << (len(rows[chosen]) - 1).bit_length())
        c, a, b = (np.pad(x[chosen], (0, size - len(x[chosen])), mode="edge") for x in (rows, begin, end))
        some = jax.tree.map(lambda axis, x, c=c: x if axis is None else x[c], axes, cell, is_leaf=lambda x: x is None)
        y = jax.tree.map(lambda x, c=c, a=a: np.asarray(x)[(c, a) if population else a], ys)
        steps = _laid_out(protocol, ts[a], ts[b], n, y[0].dtype)
        found.append(np.asarray(_steepest(some, y, steps, None if protocol is None else protocol.kind)))
    return np.concatenate(found)[: len(rows)]


def _laid_out(protocol, begins, ends, n: int, dtype) -> Steps:
    """`n` steps for each upstroke, (rows, n), none of them over an edge."""
    rows = []
    for begin, end in zip(begins, ends, strict=True):
        grid = np.linspace(0.0, end - begin, n + 1)
        drive = None if protocol is None else protocol.since(begin)
        edges = np.zeros(0) if drive is None else drive.edges(0.0, end - begin)
        at = np.rint(edges / grid[1]).astype(int).clip(1, n - 1)
        grid[at] = edges
        length = np.diff(grid)
        value, slope = (np.zeros(n), np.zeros(n)) if drive is None else straight_pieces(drive, grid[:-1], length)
        jump = np.isin(np.arange(n), at)
        rows.append(Steps(begin + grid[:-1], length, value, slope, jump))
    numbers = Steps(*map(np.stack, zip(*rows, strict=True)))
    return numbers._replace(**{k: x.astype(dtype) for k, x in numbers._asdict().items() if k != "jump"})


def _of_rows(cell, y, steps: Steps, kind):
    solver = RushLarsen2()

    def one(cell, y, steps):
        def term(step):
            def rates(t, y, args):
                if kind is None:
                    return cell.rates(step.start + t, y, 0.0)
                return driven_rates(cell, step.start + t, y, kind, step.value + step.slope * t, step.slope)

            return RatesTerm(rates)

        def advance(carry, step):
            y, state, most = carry
            now = jnp.zeros_like(step.dt)
            y1, _, _, state, _ = solver.step(term(step), now, step.dt, y, None, state, step.jump)
            slope = (getattr(y1, cell.potential) - getattr(y, cell.potential)) / step.dt
            return (y1, state, jnp.maximum(most, slope)), None

        first = jax.tree.map(lambda x: x[0], steps)
        state = solver.init(term(first), jnp.zeros_like(first.dt), first.dt, y, None)
        (_, _, most), _ = jax.lax.scan(advance, (y, state, jnp.full_like(first.dt, -jnp.inf)), steps)
        return most

    if _are_few(cell, y):
        return jax.lax.map(lambda row: one(cell, *row), (y, steps))
    return jax.vmap(one, in_axes=(cell.population_axes(), 0, 0))(cell, y, steps)


def _are_few(cell, y) -> bool:
    return cell.population_size() is None and len(y[0]) <= FEW


_steepest = compiled(_of_rows, lambda cell, y, *args: BRIEF if _are_few(cell, y) else WIDE)


def _samples_about(ts: np.ndarray, rest: np.ndarray, upstroke: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The samples from and up to which to step, of beats whose rest and steepest rise are at these samples."""
    begin = np.searchsorted(ts, ts[upstroke] - LEAD - RESOLUTION, side="right") - 1
    end = np.searchsorted(ts, ts[np.minimum(upstroke + 1, len(ts) - 1)] + AFTER)
    return np.clip(begin, rest, upstroke), np.minimum(end, len(ts) - 1)
