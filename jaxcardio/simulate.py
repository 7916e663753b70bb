"""simulate(): one cell or a population, any Diffrax solver, fixed or adaptive steps, protocol edges never stepped over."""

import functools
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .cell import AbstractCell, driven_rates, dtype_of, unknown_name
from .grid import is_traced, merge, positions, save_times, uniform_grid
from .protocols import AbstractProtocol
from .relaxation import derivative
from .solvers import AbstractRushLarsen, RatesTerm, RushLarsen
from .trace import Status, Trace, describe, outputs_type, with_command

DEFAULT_DT = 0.01
"""Fixed step in ms when neither dt, grid nor a tolerance is given and the solver has no error estimate."""
DEFAULT_RTOL = 1e-6
"""Relative tolerance of an adaptive run when none is given (in float32 `FLOAT32_RTOL`)."""
DEFAULT_SAVE_EVERY = 1.0
"""Interval of the saved samples in ms when none is asked for."""
FLOAT32_RTOL = 1e-5
"""Smallest relative tolerance that float32 can meet (84 units in the last place)."""
BLOCK = 128
"""Steps between checkpoints where the saved times do not set the pace."""


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

    Steps: give `dt` (fixed, ms), or `grid` (times in ms to step to, e.g. `paced_grid`), or `rtol`/`atol` (adaptive). With none
    of them a solver with an error estimate adapts at `DEFAULT_RTOL`; one without takes steps of `DEFAULT_DT`. Edges of the
    protocol and saved times are put on the grid, or adaptive steps are clipped there. A run computes in the dtype of the cell.

    Args:
        cell: what to run.
        protocol: a stimulus (pA/pF), a voltage clamp (mV), or None.
        t1, t0: end and start, ms; t1 > t0.
        solver: any Diffrax solver; default `RushLarsen()`.
        dt: longest step, ms.
        grid: ascending times from t0 to t1, ms. May be traced (to differentiate through times); then every step is saved and
            the edges must be on it.
        rtol, atol: tolerances of an adaptive run; atol defaults to rtol / 100. Values out of float32's reach are refused.
        save_every: interval of saved samples, ms (default 1).
        save_at: times to save, ms, or "steps" for every step; instead of `save_every`.
        outputs: names of states and currents to save; default every state.
        y0: initial state; default the cell's published one.
        max_steps: limit for adaptive runs.
        adjoint: how Diffrax differentiates an adaptive run (fixed steps differentiate both ways as they are).
            `BacksolveAdjoint` is refused.
        progress: True for a bar on stderr, or a function of the fraction done. Ignored under jit, vmap and grad.

    Returns:
        A `Trace`. A run that fails has a `Status` code, not an exception, and its neighbours are untouched.

    Raises:
        ValueError: for an argument out of range, naming it, its value, its unit and the allowed range.
    """
    solver = RushLarsen() if solver is None else solver
    _check_times(t0, t1)
    _check_adjoint(adjoint)
    dtype = dtype_of(cell)
    names = _output_names(cell, outputs)
    y0 = _initial_state(cell, y0, dtype)
    if _is_adaptive(solver, dt, grid, rtol, atol):
        rtol = max(DEFAULT_RTOL, FLOAT32_RTOL if dtype == jnp.float32 else 0.0) if rtol is None else rtol
        atol = 1e-2 * rtol if atol is None else atol
        _check_tolerances(rtol, atol, dtype, t1)
        ts = _save_times(t0, t1, save_every, save_at)
        edges = np.zeros(0) if protocol is None else protocol.edges(t0, t1)
        adjoint = diffrax.RecursiveCheckpointAdjoint() if adjoint is None else adjoint
        meter = diffrax.TextProgressMeter() if progress is True else diffrax.NoProgressMeter()
        times = _AdaptiveTimes(*(np.asarray(x, dtype) for x in (t0, t1, edges, ts, rtol, atol)))
        driven = _as_arrays(protocol, dtype)
        saved, final, status, steps = _run_adaptive(cell, y0, times, driven, solver, names, max_steps, adjoint, meter)
        settings = dict(rtol=rtol, atol=atol)
    else:
        if grid is None:
            dt = DEFAULT_DT if dt is None else dt
            _check_step(dt, protocol)
        plan = _plan(protocol, t0, t1, dt, grid, save_every, save_at, dtype)
        ts = plan.ts
        solver = _with_root_tolerance(solver, rtol, atol)
        saved, final, status = _run_fixed(cell, y0, plan, solver, names, progress)
        steps = np.full(np.shape(status), plan.n_steps)
        settings = dict(dt=dt, grid=None if grid is None else f"{plan.n_steps} steps", rtol=rtol, atol=atol)
    ys = with_command(cell, outputs_type(names, cell)(**saved), protocol, ts)
    final = with_command(cell, final, protocol, t1)
    return Trace(ts, ys, status, final, steps, cell, protocol, describe(solver, t0=t0, t1=t1, **settings))


# --- fixed steps -----------------------------------------------------------------------------------------------------


class _Steps(NamedTuple):
    """What each step needs, known before the run: shape (blocks, steps a block)."""

    start: Any
    dt: Any
    value: Any
    slope: Any
    jump: Any


class _Blocks(NamedTuple):
    """The run cut into blocks of equal length; padding steps at the end have dt = 0 and change nothing."""

    steps: _Steps
    slot: Any
    """Where each step's state is kept until the next step with the same slot replaces it, (blocks, steps a block); the last
    slot is waste. None if the end of each block is all that is saved."""
    command: Any
    """Clamp potential at each slot's time, (blocks, slots); None without a clamp."""


class _Plan(NamedTuple):
    ts: Any
    """Saved times."""
    blocks: _Blocks
    kept: np.ndarray
    """Which of the blocks' saves are wanted."""
    save_start: bool
    n_steps: int
    kind: str | None


class _Carry(NamedTuple):
    y: Any
    solver_state: Any
    status: Any


def _plan(protocol, t0, t1, dt, grid, save_every, save_at, dtype) -> _Plan:
    if is_traced(grid):
        if save_every is not None or save_at not in (None, "steps"):
            raise ValueError("save_at, save_every: a traced grid saves every step; allowed: save_at='steps' or neither")
        ts, saved, edges = grid, np.arange(grid.shape[0]), None
    else:
        every_step = isinstance(save_at, str) and save_at == "steps"
        wanted = np.zeros(0) if every_step else _save_times(t0, t1, save_every, save_at)
        edges = np.zeros(0) if protocol is None else protocol.edges(t0, t1)
        if grid is None:
            ts = uniform_grid(t0, t1, dt, [edges, wanted])
        else:
            ts = merge(np.concatenate([_checked_grid(grid, t0, t1), edges, wanted]))
        saved = np.arange(len(ts)) if every_step else positions(ts, wanted)
    n = ts.shape[0] - 1
    start, length = ts[:-1], ts[1:] - ts[:-1]
    value = slope = None
    jump = np.zeros(n, bool)
    if protocol is not None:
        early, late = protocol.value(start + 0.25 * length), protocol.value(start + 0.75 * length)
        slope = (late - early) / (0.5 * length)
        value = early - 0.25 * length * slope
        if edges is None:
            before = jnp.roll(value + slope * length, 1)
            jump = jnp.abs(value - before) > 1e-6 * (jnp.abs(value) + jnp.abs(before))
        else:
            jump[positions(ts, edges)] = True
    size, slots, slot, kept = _cut_at(n, saved[saved > 0] - 1)
    columns = (_in_blocks(x, size, dtype) for x in (start, length, value, slope))
    command = None
    if protocol is not None and protocol.kind == "voltage":
        at_slots = np.zeros(kept.size, int)
        at_slots[kept] = saved[saved > 0]
        command = _cast(protocol.value(ts[at_slots]), dtype).reshape(-1, slots)
    blocks = _Blocks(_Steps(*columns, _in_blocks(jump, size, bool)), slot, command)
    return _Plan(ts[saved], blocks, kept, bool((saved == 0).any()), n, None if protocol is None else protocol.kind)


def _cut_at(n: int, saved: np.ndarray) -> tuple[int, int, np.ndarray | None, np.ndarray]:
    """Cuts n steps into blocks, given the steps whose end is saved.

    Returns the steps and the slots of a block, the slot of each step (see `_Blocks`), and which of all slots are wanted. Where
    saves come at one stride, blocks end on them and have one slot; else blocks have `BLOCK` steps.
    """
    strides = np.unique(np.diff(saved, prepend=-1))
    if len(strides) == 1 and strides[0] > 1:
        stride = int(strides[0])
        divisors = (d for d in range(min(stride, 4 * BLOCK), 15, -1) if stride % d == 0)
        size = next(divisors, stride if stride < 16 else 0)
        if size:
            kept = np.zeros(-(-n // size), bool)
            kept[(saved + 1) // size - 1] = True
            return size, 1, None, kept
    size = min(BLOCK, n)
    blocks = -(-n // size)
    saves_before = np.searchsorted(saved, np.arange(blocks * size))
    first = saves_before[::size]
    count = np.diff(first, append=len(saved))
    slots = int(count.max(initial=0)) + 1
    slot = saves_before.reshape(blocks, size) - first[:, None]
    slot = np.where(slot < count[:, None], slot, slots - 1).astype(np.int32)
    kept = np.arange(slots) < count[:, None]
    return size, slots, slot, kept.ravel()


def _in_blocks(x, size: int, dtype):
    """(steps,) -> (blocks, size), padded with zeros at the end."""
    if x is None:
        return None
    x = _cast(x, dtype)
    xp = np if isinstance(x, np.ndarray) else jnp
    return xp.pad(x, (0, -x.shape[0] % size)).reshape(-1, size)


def _cast(x, dtype):
    return np.asarray(x, dtype) if isinstance(x, np.ndarray | np.generic | float) else jnp.asarray(x, dtype)


def _run_fixed(cell, y0, plan: _Plan, solver, names, progress):
    carry = _begin(cell, y0, jax.tree.map(lambda x: x[0, 0], plan.blocks.steps), solver, plan.kind)
    first = _observe(cell, y0, None if plan.blocks.command is None else plan.ts[0], names) if plan.save_start else None
    pieces = []
    population = _is_population(cell, y0)
    n_slots = len(plan.kept) // plan.blocks.steps.dt.shape[0]
    report = _reporter(progress, cell, y0, plan)
    n_blocks = plan.blocks.steps.dt.shape[0]
    for blocks, done in _chunks(plan.blocks, n_blocks, 1 if report is None else 40):
        carry, saved = _run_blocks(cell, carry, blocks, n_slots, solver, plan.kind, names, population)
        pieces.append(saved)
        if report is not None:
            jax.block_until_ready(carry)
            report(done)
    return _collect(first, pieces, np.flatnonzero(plan.kept)), _final_state(carry.y, solver, type(y0)), carry.status


@jax.jit
def _collect(first, pieces, wanted):
    """The wanted slots of all pieces, after the initial state if that is saved; time becomes the last axis."""

    def collect(first, *pieces):
        saved = jnp.concatenate(pieces)[wanted]
        if first is not None:
            saved = jnp.concatenate([jnp.broadcast_to(first, saved.shape[1:])[None], saved])
        return jnp.moveaxis(saved, 0, -1)

    if first is None:
        return jax.tree.map(lambda *x: collect(None, *x), *pieces)
    return jax.tree.map(collect, first, *pieces)


def _final_state(y, solver, state_type):
    """The carried state of the whole population as the cell's own."""
    return _unpack(solver, jnp.moveaxis(y, -1, 0), state_type) if _is_packed(solver) else y


def _chunks(blocks: _Blocks, n_blocks: int, most: int):
    """The blocks in at most `most` chunks of one size (so that one compiled program serves all), and the fraction done."""
    size = -(-n_blocks // most)
    for begin in range(0, n_blocks, size):
        piece = jax.tree.map(lambda x: x[begin : begin + size], blocks)
        short = size - min(size, n_blocks - begin)
        if short:
            piece = jax.tree.map(lambda x: np.concatenate([x, np.zeros((short, *x.shape[1:]), x.dtype)]), piece)
        yield piece, min(1.0, (begin + size) / n_blocks)


def _is_population(cell, y0) -> bool:
    return cell.population_size() is not None or any(jnp.ndim(x) for x in jax.tree.leaves(y0))


def _over_cells(function, cell, y0):
    """function(cell, y0) over the population, if it is one; what has no leading axis is shared."""
    if not _is_population(cell, y0):
        return function
    return jax.vmap(function, in_axes=(cell.population_axes(), jax.tree.map(lambda x: 0 if jnp.ndim(x) else None, y0)))


@eqx.filter_jit
def _begin(cell, y0, first: _Steps, solver, kind) -> _Carry:
    def begin(cell, y):
        terms = _step_term(cell, first, solver, kind, type(y))
        y = _pack(solver, y)
        state = solver.init(terms, jnp.zeros_like(first.dt), first.dt, y, None)
        return _Carry(y, state, jnp.zeros((), jnp.int32))

    return _over_cells(begin, cell, y0)(cell, y0)


@eqx.filter_jit
def _run_blocks(cell, carry: _Carry, blocks: _Blocks, n_slots: int, solver, kind, names, population: bool):
    state_type = type(cell.initial_state())
    from_states = set(names) <= set(state_type._fields)

    over_cells = functools.partial(jax.vmap, in_axes=(cell.population_axes(), 0)) if population else lambda f: f

    def kept(carry):
        y = _unpack(solver, jnp.moveaxis(carry.y, -1, 0), state_type) if _is_packed(solver) else carry.y
        return {n: getattr(y, n) for n in names} if from_states else y

    def advance(cell, carry, step):
        terms = _step_term(cell, step, solver, kind, state_type)
        now = jnp.zeros_like(step.dt)
        y, _, _, state, result = solver.step(terms, now, step.dt, carry.y, None, carry.solver_state, step.jump)
        failed = (result != diffrax.RESULTS.successful) & (carry.status == Status.OK)
        return _Carry(y, state, jnp.where(failed, Status.SOLVER_FAILED, carry.status))

    def check(cell, carry):
        finite = jnp.isfinite(sum(jnp.sum(x) for x in jax.tree.leaves(carry.y)))
        return carry._replace(status=jnp.where((carry.status == Status.OK) & ~finite, Status.NON_FINITE, carry.status))

    def step(loop, step_and_slot):
        carry, slots = loop
        step, slot = step_and_slot
        carry = over_cells(lambda cell, carry: advance(cell, carry, step))(cell, carry)
        if slot is not None:
            slots = jax.tree.map(lambda s, x: jax.lax.dynamic_update_index_in_dim(s, x, slot, 0), slots, kept(carry))
        return (carry, slots), None

    def block(carry, block):
        slots = None
        if block.slot is not None:
            slots = jax.tree.map(lambda x: jnp.zeros((n_slots, *x.shape), x.dtype), kept(carry))
        (carry, slots), _ = jax.lax.scan(step, (carry, slots), (block.steps, block.slot))
        slots = jax.tree.map(lambda x: x[None], kept(carry)) if slots is None else slots
        if not from_states:
            observe = lambda y, command: over_cells(lambda cell, y: _observe(cell, y, command, names))(cell, y)
            slots = jax.vmap(observe)(slots, block.command)
        return over_cells(check)(cell, carry), slots

    carry, saved = jax.lax.scan(jax.checkpoint(block, prevent_cse=False), carry, blocks)
    return carry, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), saved)


def _step_term(cell, step: _Steps, solver, kind, state_type):
    """The term of one step. Solvers see time from the step's start, so that dt keeps its digits in float32."""

    def rates(t, y, args):
        if kind is None:
            return cell.rates(step.start + t, y, 0.0)
        return driven_rates(cell, step.start + t, y, kind, step.value + step.slope * t, step.slope)

    return _term(solver, rates, state_type)


def _term(solver, rates, state_type) -> diffrax.AbstractTerm:
    """What the solver integrates: the rates tree itself, or its plain derivative."""
    if isinstance(solver, AbstractRushLarsen):
        return RatesTerm(rates)

    def field(t, y, args):
        y = _unpack(solver, y, state_type)
        return _pack(solver, derivative(rates(t, y, args), y))

    return diffrax.ODETerm(field)


def _is_packed(solver) -> bool:
    """Implicit solvers solve dense systems, three times faster on one flat state vector."""
    return isinstance(solver, diffrax.AbstractImplicitSolver)


def _pack(solver, y):
    return jnp.stack(y) if _is_packed(solver) else y


def _unpack(solver, y, state_type):
    return state_type(*y) if _is_packed(solver) else y


def _observe(cell, y, command, names) -> dict[str, Array]:
    """The named states and currents; under a clamp with the potential at `command`."""
    if command is not None:
        y = y._replace(**{cell.potential: jnp.broadcast_to(command, jnp.shape(getattr(y, cell.potential)))})
    found = y._asdict()
    if not set(names) <= set(found):
        found |= cell.currents(y)._asdict()
    return {n: found[n] for n in names}


# --- adaptive steps --------------------------------------------------------------------------------------------------


class _AdaptiveTimes(NamedTuple):
    t0: Any
    t1: Any
    edges: Any
    save: Any
    rtol: Any
    atol: Any


@eqx.filter_jit
def _run_adaptive(cell, y0, times: _AdaptiveTimes, protocol, solver, names, max_steps, adjoint, meter):
    def run(cell, y0):
        def observed(t, y, args):
            clamped = protocol is not None and protocol.kind == "voltage"
            return _observe(cell, _unpack(solver, y, type(y0)), protocol.value(t) if clamped else None, names)

        pid = diffrax.PIDController(times.rtol, times.atol, dtmin=8 * jnp.finfo(times.t1.dtype).eps * times.t1)
        solution = diffrax.diffeqsolve(
            _term(solver, cell.rates_under, type(y0)),
            solver,
            times.t0,
            times.t1,
            jnp.minimum(0.01, times.t1 - times.t0).astype(times.t1.dtype),
            _pack(solver, y0),
            protocol,
            saveat=diffrax.SaveAt(
                subs=[diffrax.SubSaveAt(ts=times.save, fn=observed), diffrax.SubSaveAt(t1=True)]
            ),
            stepsize_controller=diffrax.ClipStepSizeController(pid, jump_ts=times.edges if times.edges.size else None),
            adjoint=adjoint,
            max_steps=max_steps,
            throw=False,
            progress_meter=meter,
        )
        saved, final = solution.ys
        final = _unpack(solver, jax.tree.map(lambda x: x[-1], final), type(y0))
        stopped = jnp.where(solution.result == diffrax.RESULTS.max_steps_reached, Status.STEP_LIMIT, Status.SOLVER_FAILED)
        finite = jnp.isfinite(sum(jax.tree.leaves(final)))
        ended = jnp.where(finite, Status.OK, Status.NON_FINITE)
        status = jnp.where(solution.result == diffrax.RESULTS.successful, ended, stopped)
        return saved, final, status, solution.stats["num_steps"]

    return _over_cells(run, cell, y0)(cell, y0)


def _as_arrays(protocol, dtype):
    """Protocol numbers as arrays, so that other values do not compile anew."""
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), protocol)


# --- arguments -------------------------------------------------------------------------------------------------------


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
            raise ValueError(f"{name} is traced; allowed: a concrete number of ms (differentiate through times with grid=)")
        if not np.isfinite(value):
            raise ValueError(f"{name} = {value} ms; allowed: finite")
    if not t1 > t0:
        raise ValueError(f"t1 = {t1} ms; allowed: > t0 = {t0} ms")


def _check_step(dt, protocol):
    if is_traced(dt) or not np.isfinite(dt) or not dt > 0:
        raise ValueError(f"dt = {dt} ms; allowed: a concrete number > 0")
    if protocol is not None and dt > protocol.shortest():
        raise ValueError(f"dt = {dt} ms; allowed: 0 < dt <= {protocol.shortest()} ms, the protocol's shortest pulse or step")


def _check_adjoint(adjoint):
    if isinstance(adjoint, diffrax.BacksolveAdjoint):
        raise ValueError(
            "adjoint = BacksolveAdjoint: integrating these stiff cells backwards in time is unstable and its gradients are "
            "wrong; allowed: RecursiveCheckpointAdjoint (reverse), ForwardMode or DirectAdjoint (forward)"
        )


def _check_tolerances(rtol, atol, dtype, t1):
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not np.isfinite(value) or not value > 0:
            raise ValueError(f"{name} = {value}; allowed: > 0")
    if dtype == jnp.float32:
        if rtol < FLOAT32_RTOL:
            raise ValueError(
                f"rtol = {rtol}; allowed in float32: >= {FLOAT32_RTOL}. Enable float64 with "
                "jax.config.update('jax_enable_x64', True) and build the cell anew"
            )
        if np.spacing(np.float32(t1)) > 1e-3:
            raise ValueError(
                f"t1 = {t1} ms; allowed for an adaptive float32 run: <= 8192 ms, beyond which time itself is too coarse. "
                "Use float64, or fixed steps (dt= or grid=)"
            )


def _checked_grid(grid, t0, t1) -> np.ndarray:
    grid = np.asarray(grid, np.float64)
    if grid.ndim != 1 or grid.size < 2 or not np.isfinite(grid).all() or not (np.diff(grid) > 0).all():
        raise ValueError(f"grid: expected strictly ascending finite times in ms, shape (steps + 1,); got shape {grid.shape}")
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
        raise ValueError(f"save_at: expected strictly ascending times within [{t0}, {t1}] ms, shape (n,); got shape {at.shape}")
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
            raise ValueError(f"y0.{name}: expected a number{f' or shape ({n},)' if n else ''}, got shape {jnp.shape(value)}")
        if not is_traced(value) and not np.isfinite(value).all():
            raise ValueError(f"y0.{name} = {value} {cell.units[name]}; allowed: finite")
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), y0)


def _with_root_tolerance(solver, rtol, atol):
    """An implicit solver on a fixed grid takes the tolerances of its Newton iteration from rtol and atol."""
    if not isinstance(solver, diffrax.AbstractImplicitSolver):
        return solver
    rtol = 1e-8 if rtol is None else rtol
    root_finder = diffrax.VeryChord(rtol=rtol, atol=1e-2 * rtol if atol is None else atol)
    return eqx.tree_at(lambda s: (s.root_finder, s.root_find_max_steps), solver, (root_finder, 50))


# --- progress --------------------------------------------------------------------------------------------------------


def _reporter(progress, cell, y0, plan) -> Callable[[float], None] | None:
    leaves = jax.tree.leaves((cell, y0, plan.blocks))
    if progress is False or any(is_traced(x) for x in leaves):
        return None
    return progress_bar(f"{type(cell).__name__} {plan.n_steps} steps") if progress is True else progress


def progress_bar(title: str) -> Callable[[float], None]:
    """A one-line bar on stderr: call it with the fraction done."""
    began = time.perf_counter()

    def report(done: float) -> None:
        spent = time.perf_counter() - began
        left = spent * (1 / done - 1) if done > 0 else float("nan")
        bar = "#" * round(30 * done)
        end = "\n" if done >= 1 else ""
        sys.stderr.write(f"\r{title} [{bar:<30}] {100 * done:3.0f} %  {spent:.0f} s, {left:.0f} s left {end}")
        sys.stderr.flush()

    return report
