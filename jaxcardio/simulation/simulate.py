"""simulate(): one cell or a population, any Diffrax solver, fixed or adaptive steps, no protocol edge stepped over."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..arguments import is_traced
from ..cell import AbstractCell, dtype_of, unknown_name
from ..protocols import AbstractProtocol
from ..solvers import RushLarsen
from .adaptive import AdaptiveTimes, as_arrays, run_adaptive
from .closed_form import clamp_grid, make_clamp_plan, run_clamp
from .fixed import make_plan, run_fixed
from .grid import merge, positions, save_times, uniform_grid
from .stepping import with_root_tolerance
from .trace import Trace, describe, outputs_type, with_command

DEFAULT_DT = 0.01
"""Fixed step in ms when neither dt, grid nor a tolerance is given and the solver has no error estimate."""
DEFAULT_RTOL = 1e-6
"""Relative tolerance of an adaptive run when none is given (in float32 `FLOAT32_RTOL`)."""
DEFAULT_SAVE_EVERY = 1.0
"""Interval of the saved samples in ms when none is asked for."""
CLOSED_FORM = "closed form, RushLarsen2"
"""How a run under a voltage clamp with no solver named is done (`clamp.py`)."""
FLOAT32_RTOL = 1e-5
"""Smallest relative tolerance that float32 can meet (84 units in the last place)."""


def simulate(
    cell: AbstractCell,
    protocol: AbstractProtocol | None = None,
    *,
    t1: float,
    t0: float = 0.0,
    solver: diffrax.AbstractSolver | None = None,
    dt: float | None = None,
    grid: Float[Array, " steps+1"] | np.ndarray | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    save_every: float | None = None,
    save_at: Sequence[float] | np.ndarray | Literal["steps"] | None = None,
    outputs: Sequence[str] | None = None,
    y0: Any = None,
    max_steps: int = 1_000_000,
    adjoint: diffrax.AbstractAdjoint | None = None,
    progress: bool | Callable[[float], None] = False,
) -> Trace:
    """Runs a cell, or a population (a cell whose parameters have a leading axis), from t0 to t1.

    Steps: give `dt` (fixed, ms), or `grid` (times in ms to step to, e.g. `paced_grid`), or `rtol`/`atol` (adaptive).
    With none of them a solver with an error estimate adapts at `DEFAULT_RTOL`; one without takes steps of `DEFAULT_DT`.
    Edges of the protocol and saved times are put on the grid, or adaptive steps are clipped there. A run computes in
    the dtype of the cell.

    Under a voltage clamp with no solver named, gates of voltage alone follow their closed form and all other states
    take second-order steps (`clamp.py`): on a grid that is fine after each edge, or at most `dt` long, or on `grid`.

    Args:
        cell: what to run.
        protocol: a stimulus (pA/pF), a voltage clamp (mV), or None.
        t1, t0: end and start, ms; t1 > t0.
        solver: any Diffrax solver; default `RushLarsen()`, under a clamp the closed form.
        dt: longest step, ms.
        grid: ascending times from t0 to t1, ms. May be traced (to differentiate through times); then every step is
            saved and the edges must be on it.
        rtol, atol: tolerances of an adaptive run; atol defaults to rtol / 100. Values out of float32's reach are
            refused.
        save_every: interval of saved samples, ms (default 1).
        save_at: times to save, ms, or "steps" for every step; instead of `save_every`.
        outputs: names of states and currents to save; default every state.
        y0: initial state; default the cell's published one.
        max_steps: limit for adaptive runs.
        adjoint: how Diffrax differentiates an adaptive run (fixed steps differentiate both ways as they are).
            `BacksolveAdjoint` is refused.
        progress: True for a bar on stderr (adaptive runs: Diffrax's own text meter), or a function of the fraction
            done. Ignored under jit, vmap and grad.

    Returns:
        A `Trace`. A run that fails has a `Status` code, not an exception, and its neighbours are untouched.

    Raises:
        ValueError: for an argument out of range, naming it, its value, its unit and the allowed range.
    """
    _check_times(t0, t1)
    _check_adjoint(adjoint)
    dtype = dtype_of(cell)
    names = _output_names(cell, outputs)
    y0 = _initial_state(cell, y0, dtype)
    closed = solver is None and protocol is not None and protocol.kind == "voltage" and not is_traced(grid)
    solver = RushLarsen() if solver is None else solver
    if closed and not _is_adaptive(solver, dt, grid, rtol, atol):
        plan = _clamp_plan(protocol, t0, t1, dt, grid, save_every, save_at, dtype)
        saved, final, status = run_clamp(cell, y0, plan, names, progress)
        steps, ts = np.full(np.shape(status), plan.n_steps), plan.ts
    elif _is_adaptive(solver, dt, grid, rtol, atol):
        ts = _save_times(t0, t1, save_every, save_at)
        rtol, atol = _tolerances(rtol, atol, dtype, t1)
        edges = np.zeros(0) if protocol is None else protocol.edges(t0, t1)
        times = AdaptiveTimes(*(np.asarray(x, dtype) for x in (t0, t1, edges, ts, rtol, atol)))
        adjoint = diffrax.RecursiveCheckpointAdjoint() if adjoint is None else adjoint
        meter = diffrax.TextProgressMeter() if progress is True else diffrax.NoProgressMeter()
        driven = as_arrays(protocol, dtype)
        saved, final, status, steps = run_adaptive(cell, y0, times, driven, solver, names, max_steps, adjoint, meter)
    else:
        if grid is None:
            dt = DEFAULT_DT if dt is None else dt
            _check_step(dt, protocol)
        solver = with_root_tolerance(solver, rtol, atol)
        plan = make_plan(protocol, *_fixed_times(protocol, t0, t1, dt, grid, save_every, save_at), dtype)
        saved, final, status = run_fixed(cell, y0, plan, solver, names, progress)
        steps = np.full(np.shape(status), plan.n_steps)
        ts = plan.ts
    ys = with_command(cell, outputs_type(names, cell)(**saved), protocol, ts)
    final = with_command(cell, final, protocol, t1)
    how = describe(
        CLOSED_FORM if closed else solver,
        t0=t0,
        t1=t1,
        dt=dt,
        rtol=rtol,
        atol=atol,
        grid=None if grid is None else "given",
    )
    return Trace(ts, ys, status, final, steps, cell, protocol, how)


def _clamp_plan(protocol, t0, t1, dt, grid, save_every, save_at, dtype):
    every_step = isinstance(save_at, str) and save_at == "steps"
    wanted = np.zeros(0) if every_step else _save_times(t0, t1, save_every, save_at)
    edges = protocol.edges(t0, t1)
    if grid is None:
        if dt is not None:
            _check_step(dt, protocol)
        ts = clamp_grid(protocol, t0, t1, dt, wanted)
    else:
        ts = merge(np.concatenate([_checked_grid(grid, t0, t1), edges, wanted]))
    return make_clamp_plan(protocol, ts, ts if every_step else wanted, edges, dtype)


def _fixed_times(protocol, t0, t1, dt, grid, save_every, save_at):
    """Times to step to, which of them to save, and the edges among them."""
    if is_traced(grid):
        if save_every is not None or save_at not in (None, "steps"):
            raise ValueError("save_at, save_every: a traced grid saves every step; allowed: save_at='steps' or neither")
        return grid, np.arange(grid.shape[0]), None
    every_step = isinstance(save_at, str) and save_at == "steps"
    wanted = np.zeros(0) if every_step else _save_times(t0, t1, save_every, save_at)
    edges = np.zeros(0) if protocol is None else protocol.edges(t0, t1)
    if grid is None:
        ts = uniform_grid(t0, t1, dt, [edges, wanted])
    else:
        ts = merge(np.concatenate([_checked_grid(grid, t0, t1), edges, wanted]))
    return ts, np.arange(len(ts)) if every_step else positions(ts, wanted), edges


def _is_adaptive(solver, dt, grid, rtol, atol) -> bool:
    if dt is not None and grid is not None:
        raise ValueError(f"dt = {dt} ms and grid: give one of them")
    can_adapt = isinstance(solver, diffrax.AbstractAdaptiveSolver)
    if dt is not None or grid is not None:
        if (rtol is not None or atol is not None) and not isinstance(solver, diffrax.AbstractImplicitSolver):
            raise ValueError(f"rtol = {rtol}, atol = {atol}: tolerances are for adaptive runs; leave out dt and grid")
        return False
    if (rtol is not None or atol is not None) and not can_adapt:
        raise ValueError(f"rtol = {rtol}, atol = {atol}: {type(solver).__name__} has no error estimate; give dt (ms)")
    return can_adapt


def _check_times(t0, t1):
    for name, value in (("t0", t0), ("t1", t1)):
        if is_traced(value):
            raise ValueError(
                f"{name} is traced; allowed: a concrete number of ms (differentiate through times with grid=)"
            )
        if not np.isfinite(value):
            raise ValueError(f"{name} = {value} ms; allowed: finite")
    if not t1 > t0:
        raise ValueError(f"t1 = {t1} ms; allowed: > t0 = {t0} ms")


def _check_step(dt, protocol):
    if is_traced(dt) or not np.isfinite(dt) or not dt > 0:
        raise ValueError(f"dt = {dt} ms; allowed: a concrete number > 0")
    if protocol is not None and dt > protocol.shortest() * (1 + 1e-9):
        raise ValueError(
            f"dt = {dt} ms; allowed: 0 < dt <= {protocol.shortest()} ms, the protocol's shortest pulse or step"
        )


def _check_adjoint(adjoint):
    if isinstance(adjoint, diffrax.BacksolveAdjoint):
        raise ValueError(
            "adjoint = BacksolveAdjoint: integrating these stiff cells backwards in time is unstable and its gradients "
            "are wrong; allowed: RecursiveCheckpointAdjoint (reverse), ForwardMode or DirectAdjoint (forward)"
        )


def _tolerances(rtol, atol, dtype, t1) -> tuple[float, float]:
    """The tolerances of an adaptive run, with defaults; refuses what the dtype cannot reach."""
    in_float32 = dtype == jnp.float32
    if rtol is None:
        rtol = FLOAT32_RTOL if in_float32 else DEFAULT_RTOL
    atol = 1e-2 * rtol if atol is None else atol
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not np.isfinite(value) or not value > 0:
            raise ValueError(f"{name} = {value}; allowed: > 0")
    if in_float32:
        if rtol < FLOAT32_RTOL:
            raise ValueError(
                f"rtol = {rtol}; allowed in float32: >= {FLOAT32_RTOL}. Enable float64 with "
                "jax.config.update('jax_enable_x64', True) and build the cell anew"
            )
        if np.spacing(np.float32(t1)) > 1e-3:
            raise ValueError(
                f"t1 = {t1} ms; allowed for an adaptive float32 run: <= 8192 ms, beyond which time itself is too "
                "coarse. Use float64, or fixed steps (dt= or grid=)"
            )
    return rtol, atol


def _checked_grid(grid, t0, t1) -> np.ndarray:
    grid = np.asarray(grid, np.float64)
    if grid.ndim != 1 or grid.size < 2 or not np.isfinite(grid).all() or not (np.diff(grid) > 0).all():
        raise ValueError(
            f"grid: expected strictly ascending finite times in ms, shape (steps + 1,); got shape {grid.shape}"
        )
    if not np.allclose(grid[[0, -1]], [t0, t1], rtol=1e-9, atol=1e-9):
        raise ValueError(f"grid: from {grid[0]} to {grid[-1]} ms; allowed: from t0 = {t0} to t1 = {t1} ms")
    return grid


def _save_times(t0, t1, every, at) -> np.ndarray:
    if every is not None and at is not None:
        raise ValueError(f"save_every = {every} ms and save_at: give one of them")
    if at is None:
        every = min(DEFAULT_SAVE_EVERY, t1 - t0) if every is None else every
        if not np.isfinite(every) or not 0 < every <= t1 - t0:
            raise ValueError(f"save_every = {every} ms; allowed: 0 < save_every <= t1 - t0 = {t1 - t0} ms")
        return save_times(t0, t1, every)
    if isinstance(at, str):
        raise ValueError(f"save_at = {at!r}; allowed: times in ms, or 'steps' for a fixed-step run")
    at = np.asarray(at, np.float64)
    if at.ndim != 1 or at.size == 0 or not (np.diff(at) > 0).all() or not (at[0] >= t0 and at[-1] <= t1):
        raise ValueError(
            f"save_at: expected strictly ascending times within [{t0}, {t1}] ms, shape (n,); got shape {at.shape}"
        )
    return at


def _output_names(cell, outputs) -> tuple[str, ...]:
    states = type(cell.initial_state())._fields
    if outputs is None:
        return states
    if isinstance(outputs, str) or len(outputs) == 0:
        raise ValueError(f"outputs = {outputs!r}; allowed: a list of names of states and currents")
    for name in outputs:
        if name not in cell.units:
            raise ValueError(unknown_name("state or current", name, cell.units, type(cell).__name__))
    return tuple(outputs)


def _initial_state(cell, y0, dtype):
    published = cell.initial_state()
    y0 = published if y0 is None else y0
    fields, given = type(published)._fields, getattr(type(y0), "_fields", None)
    if given != fields:
        raise ValueError(f"y0: expected {type(published).__name__} with fields {fields}, got {type(y0).__name__}")
    n = cell.population_size()
    for name, value in y0._asdict().items():
        if jnp.shape(value) not in ((), (n,)) and not (n is None and jnp.ndim(value) == 1):
            raise ValueError(
                f"y0.{name}: expected a number{f' or shape ({n},)' if n else ''}, got shape {jnp.shape(value)}"
            )
        if not is_traced(value) and not np.isfinite(value).all():
            raise ValueError(f"y0.{name} = {value} {cell.units[name]}; allowed: finite")
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), y0)
