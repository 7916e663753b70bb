"""What a run is asked to do: the arguments of `simulate`, checked once and made into one request.

A runner takes the request and nothing else. Its times count from t0, in float64 on the host; so does its protocol.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from ..arguments import check_known, check_whole, is_known_real, is_traced, refusal
from ..cell import AbstractCell, check_cell, dtype_of, unknown_name
from ..clock import RESOLUTION, between, check_time, positions, without
from ..protocols import AbstractProtocol
from ..solvers import RushLarsen
from .grid import SHORTEST_STEP, check_span, check_step, clamp_grid, save_times, uniform_grid
from .memory import STEP_BYTES, check_fits

DEFAULT_DT = 0.01
"""Fixed step in ms when neither dt, grid nor a tolerance is given and the solver has no error estimate."""
DEFAULT_RTOL = 1e-6
"""Relative tolerance of an adaptive run when none is given (in float32 its smallest)."""
DEFAULT_SAVE_EVERY = 1.0
"""Interval of the saved samples in ms when none is asked for."""
SMALLEST_RTOL = {"float32": 1e-5, "float64": 1e-13}
"""Smallest relative tolerance that a dtype can meet (84 and 450 units in the last place)."""
SMALLEST_ATOL = {"float32": 1e-9, "float64": 1e-20}
"""Smallest absolute tolerance: below, a state that is 0 asks for steps of no length."""
LEAST_ATOL = 1e-5
"""Smallest absolute tolerance that an implicit float32 run is given by default: where a gate is nearly shut, the root
finder cannot do better, and ends such a run within a few upstrokes."""
LONGEST_FLOAT32 = 8192.0
"""Longest adaptive run in float32, ms: beyond, time since its start is too coarse for steps of 0.01 ms."""
MOST_STEPS = 2**31 - 1
"""Largest `max_steps`: Diffrax counts steps in 32 bits."""
CLOSED_FORM = "closed form, RushLarsen2"
"""How a run under a voltage clamp with no solver named is done (`closed_form.py`)."""


class Times(NamedTuple):
    """When a run steps, sees edges and is looked at."""

    t0: float
    """Its start, ms, absolute. All other times count from it."""
    length: float
    grid: Any
    """Times to step to, (steps + 1,); None where the solver chooses its own. Traced if `grid` was."""
    edges: np.ndarray | None
    """Of the protocol, all of them on the grid; None if the grid is traced."""
    corners: np.ndarray
    """What an adaptive solver must stop at beside the edges."""
    saved: Any
    """Times to save, (samples,)."""
    ts: Any
    """The same, absolute: float64 on the host."""

    @property
    def where(self) -> np.ndarray:
        """Where the saved times lie on the grid."""
        if self.saved is self.grid:
            return np.arange(self.grid.shape[0])
        return positions(self.grid, self.saved)


class Request(NamedTuple):
    """A run."""

    cell: AbstractCell
    y0: Any
    """State in the dtype of the run."""
    protocol: AbstractProtocol | None
    """As given."""
    drive: AbstractProtocol | None
    """The protocol in time since t0: what the run sees."""
    times: Times
    outputs: tuple[str, ...]
    """Names of the states and currents to save."""
    dtype: np.dtype
    solver: diffrax.AbstractSolver
    closed_form: bool
    """Whether gates of voltage alone follow their closed form."""
    rtol: float | None
    atol: float | None
    """Tolerances of an adaptive run; on a fixed grid those of an implicit solver's root finder, where given."""
    max_steps: int
    adjoint: diffrax.AbstractAdjoint | None
    progress: bool | Callable[[float], None]
    how: str
    """Solver and settings, as text."""


def make_request(
    cell,
    protocol,
    *,
    t0,
    t1,
    solver,
    dt,
    grid,
    rtol,
    atol,
    save_every,
    save_at,
    outputs,
    y0,
    max_steps,
    adjoint,
    progress,
) -> Request:
    """The arguments of `simulate`, which says what they mean; a ValueError names the one that is wrong."""
    _check_kinds(cell, protocol, solver, max_steps, adjoint, progress)
    length = check_span(t0, t1)
    dtype = dtype_of(cell)
    published, n = cell.initial_state(), cell.population_size()
    if n == 0:
        raise ValueError("cell: a population of 0 cells; allowed: at least one")
    names = output_names(cell, type(published)._fields, outputs)
    y0 = checked_initial_state(cell, published, n, y0, dtype)
    clamped = solver is None and protocol is not None and protocol.kind == "voltage" and not is_traced(grid)
    solver = RushLarsen() if solver is None else solver
    adaptive = _is_adaptive(solver, dt, grid, rtol, atol)
    closed_form = clamped and not adaptive
    if adaptive:
        rtol, atol = _tolerances(rtol, atol, dtype, solver, t1, length)
    else:
        _check_tolerances(rtol, atol, dtype)
        dt = DEFAULT_DT if dt is None and grid is None and not closed_form else dt
        if dt is not None:
            check_step(dt, protocol)
    drive = None if protocol is None else protocol.since(float(t0))
    times = _times(drive, float(t0), float(t1), dt, grid, save_every, save_at, adaptive, closed_form)
    _check_samples(n or 1, times, names, dtype)
    settings = dict(t0=t0, t1=t1, dt=dt, rtol=rtol, atol=atol, grid=None if grid is None else "given")
    how = describe(CLOSED_FORM if closed_form else solver, **settings)
    return Request(
        cell=cell,
        y0=y0,
        protocol=protocol,
        drive=drive,
        times=times,
        outputs=names,
        dtype=dtype,
        solver=solver,
        closed_form=closed_form,
        rtol=rtol,
        atol=atol,
        max_steps=max_steps,
        adjoint=adjoint,
        progress=progress,
        how=how,
    )


def describe(solver: diffrax.AbstractSolver | str, **settings) -> str:
    """Solver and settings as text for the record."""
    name = solver if isinstance(solver, str) else type(solver).__name__
    return ", ".join([name, *(f"{k}={v}" for k, v in settings.items() if v is not None)])


def _check_kinds(cell, protocol, solver, max_steps, adjoint, progress) -> None:
    check_cell(cell)
    if protocol is not None and not isinstance(protocol, AbstractProtocol):
        raise refusal("protocol", protocol, "", "one of jaxcardio.protocols, or None")
    if solver is not None and not isinstance(solver, diffrax.AbstractSolver):
        allowed = "a Diffrax solver, e.g. jaxcardio.RushLarsen2() or diffrax.Kvaerno5()"
        raise refusal("solver", solver, "", allowed)
    check_whole("max_steps", max_steps, "steps")
    if max_steps > MOST_STEPS:
        raise refusal("max_steps", max_steps, "steps", f"at most {MOST_STEPS}")
    if adjoint is not None and not isinstance(adjoint, diffrax.AbstractAdjoint):
        raise refusal("adjoint", adjoint, "", "one of Diffrax's, e.g. diffrax.ForwardMode()")
    if isinstance(adjoint, diffrax.BacksolveAdjoint):
        raise ValueError(
            "adjoint = BacksolveAdjoint: integrating these stiff cells backwards in time is unstable and its gradients "
            "are wrong; allowed: RecursiveCheckpointAdjoint (reverse), ForwardMode or DirectAdjoint (forward)"
        )
    if not isinstance(progress, bool) and not callable(progress):
        raise refusal("progress", progress, "", "True, False, or a function of the fraction done")


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


def _tolerances(rtol, atol, dtype, solver, t1, length) -> tuple[float, float]:
    """The tolerances of an adaptive run, with defaults."""
    _check_tolerances(rtol, atol, dtype)
    rtol = max(DEFAULT_RTOL, SMALLEST_RTOL[dtype.name]) if rtol is None else rtol
    if atol is None:
        is_coarse = dtype == jnp.float32 and isinstance(solver, diffrax.AbstractImplicitSolver)
        atol = max(1e-2 * rtol, LEAST_ATOL) if is_coarse else 1e-2 * rtol
    if dtype == jnp.float32 and length > LONGEST_FLOAT32:
        raise ValueError(
            f"t1 = {t1} ms; allowed for an adaptive float32 run: within {LONGEST_FLOAT32:g} ms of t0, beyond which "
            "time itself is too coarse. Use float64, or fixed steps (dt= or grid=)"
        )
    return float(rtol), float(atol)


def _check_tolerances(rtol, atol, dtype) -> None:
    """Those that are given: numbers > 0, and within the reach of the dtype."""
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value is not None:
            check_known(name, value, "", "> 0, finite", lambda x: np.isfinite(x) and x > 0)
    if atol is not None and atol < SMALLEST_ATOL[dtype.name]:
        raise ValueError(f"atol = {atol}; allowed in {dtype.name}: >= {SMALLEST_ATOL[dtype.name]}")
    smallest = SMALLEST_RTOL[dtype.name]
    if rtol is not None and rtol < smallest:
        enable = ". Enable float64 with jax.config.update('jax_enable_x64', True) and build the cell anew"
        hint = enable if dtype == jnp.float32 else ""
        raise ValueError(f"rtol = {rtol}; allowed in {dtype.name}: >= {smallest}{hint}")


def _times(drive, t0, t1, dt, grid, save_every, save_at, adaptive, closed_form) -> Times:
    length = t1 - t0
    if is_traced(grid):
        if save_every is not None or save_at not in (None, "steps"):
            raise ValueError("save_at, save_every: a traced grid saves every step; allowed: save_at='steps' or neither")
        since = grid - t0
        return Times(t0, length, since, None, np.zeros(0), since, grid)
    every_step = isinstance(save_at, str) and save_at == "steps"
    if every_step and adaptive:
        raise ValueError("save_at = 'steps'; allowed in an adaptive run: times in ms")
    ts, saved = (np.zeros(0), np.zeros(0)) if every_step else times_to_save(t0, t1, save_every, save_at)
    edges = np.zeros(0) if drive is None else drive.edges(0.0, length)
    if adaptive:
        corners = np.zeros(0) if drive is None else without(drive.corners(0.0, length), edges)
        return Times(t0, length, None, edges, corners, saved, ts)
    if grid is not None:
        through = [_checked_grid(grid, t0, t1), edges, saved]
        steps = between(0.0, length, np.concatenate(through))
    elif closed_form:
        assert drive is not None
        steps = clamp_grid(drive, 0.0, length, dt, saved)
    else:
        steps = uniform_grid(0.0, length, dt, [edges, saved])
    if every_step:
        return Times(t0, length, steps, edges, np.zeros(0), steps, np.append(t0 + steps[:-1], t1))
    return Times(t0, length, steps, edges, np.zeros(0), saved, ts)


def _checked_grid(grid, t0, t1) -> np.ndarray:
    """The times of a given grid since t0."""
    grid = _ascending("grid", grid, "shape (steps + 1,)", least=2)
    if abs(grid[0] - t0) > RESOLUTION or abs(grid[-1] - t1) > RESOLUTION:
        raise ValueError(f"grid: from {grid[0]} to {grid[-1]} ms; allowed: from t0 = {t0} to t1 = {t1} ms")
    check_fits(f"grid of shape {grid.shape}", grid.size, "steps", STEP_BYTES)
    return grid - t0


def times_to_save(t0, t1, every, at) -> tuple[np.ndarray, np.ndarray]:
    """Times to save: absolute, and since t0."""
    length = t1 - t0
    if every is not None and at is not None:
        raise ValueError(f"save_every = {every} ms and save_at: give one of them")
    if at is None:
        every = min(DEFAULT_SAVE_EVERY, length) if every is None else every
        allowed = f"0 < save_every <= t1 - t0 = {length} ms, at least {SHORTEST_STEP:g} ms"
        check_known("save_every", every, "ms", allowed, lambda x: SHORTEST_STEP <= x <= length + RESOLUTION)
        every = min(float(every), length)
        check_fits(f"t1 - t0 = {length:g} ms at save_every = {every:g} ms", length / every, "samples", STEP_BYTES)
        since = save_times(0.0, length, every)
        return t0 + since, since
    if isinstance(at, str):
        raise ValueError(f"save_at = {at!r}; allowed: times in ms, or 'steps' for a fixed-step run")
    at = _ascending("save_at", at, f"within [{t0}, {t1}] ms, shape (n,)", least=1)
    if at[0] < t0 - RESOLUTION or at[-1] > t1 + RESOLUTION:
        raise ValueError(f"save_at: from {at[0]} to {at[-1]} ms; allowed: within [{t0}, {t1}] ms")
    return at, np.clip(at - t0, 0.0, length)


def _ascending(name: str, times: Any, expected: str, least: int) -> np.ndarray:
    """Times as float64, each later than the one before by more than the clock's resolution."""
    if is_traced(times):
        raise ValueError(f"{name} is traced; allowed: concrete times in ms")
    try:
        found = np.asarray(times)
        found = found.astype(np.float64) if found.dtype.kind in "iuf" else None
    except (TypeError, ValueError):  # ragged
        found = None
    if found is None:
        raise refusal(name, times, "", f"times in ms, {expected}")
    good = found.ndim == 1 and found.size >= least and np.isfinite(found).all() and (np.diff(found) > RESOLUTION).all()
    if not good:
        raise ValueError(
            f"{name}: expected strictly ascending finite times in ms, more than {RESOLUTION:g} ms apart, {expected}; "
            f"got shape {found.shape}"
        )
    check_time(name, found)
    return found


def _check_samples(n: int, times: Times, names, dtype) -> None:
    each = n * len(names) * dtype.itemsize
    check_fits(f"{n} cells, {len(names)} outputs", np.shape(times.saved)[0], "samples of them", each)


def output_names(cell, states: tuple[str, ...], outputs) -> tuple[str, ...]:
    if outputs is None:
        return states
    if isinstance(outputs, str) or not isinstance(outputs, list | tuple | set | frozenset) or len(outputs) == 0:
        raise refusal("outputs", outputs, "", "a list of names of states and currents")
    for name in outputs:
        if not isinstance(name, str):
            raise refusal("outputs", name, "", "names of states and currents")
        if name not in cell.units:
            raise ValueError(unknown_name("state or current", name, cell.units, type(cell).__name__))
    if len(set(outputs)) < len(outputs):
        raise refusal("outputs", outputs, "", "each name once")
    return tuple(outputs)


def checked_initial_state(cell, published, n: int | None, y0, dtype):
    """y0 as the state of one cell, or of each of n; `published` where it is None. ValueError: it is no such."""
    if y0 is None:
        return jax.tree.map(lambda x: x if x.dtype == dtype else x.astype(dtype), published)
    fields, given = type(published)._fields, getattr(type(y0), "_fields", None)
    if given != fields:
        raise ValueError(f"y0: expected {type(published).__name__} with fields {fields}, got {type(y0).__name__}")
    for name, value in y0._asdict().items():
        if not is_known_real(value):
            raise refusal(f"y0.{name}", value, cell.units[name], "a number, or one a cell")
        if jnp.shape(value) not in ((), (n,)) and not (n is None and jnp.ndim(value) == 1):
            raise ValueError(
                f"y0.{name}: expected a number{f' or shape ({n},)' if n else ''}, got shape {jnp.shape(value)}"
            )
        if not is_traced(value) and not np.isfinite(value).all():
            raise ValueError(f"y0.{name} = {value} {cell.units[name]}; allowed: finite")
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), y0)
