"""Fixed steps: the whole run is laid out beforehand, then scanned in blocks that are checkpoints for reverse mode."""

import functools
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..cell import AbstractCell, driven_rates
from ..clock import positions
from .compiled import BRIEF, WIDE, compiled, of_one_number
from .grid import straight_pieces
from .request import Request, Times
from .stepping import (
    Steps,
    cast,
    in_chunks,
    is_packed,
    is_population,
    observe,
    over_cells,
    pack,
    reporter,
    term,
    unpack,
    with_root_tolerance,
)
from .trace import States, Status

BLOCK = 50
"""Most steps in a block. XLA compiles short inner loops into one function: one cell alone runs 1.6 times faster at 50
than at 64; populations do not mind."""


class _Blocks(NamedTuple):
    """The run cut into blocks of equal length; padding steps at the end have dt = 0 and change nothing."""

    steps: Steps
    """(blocks, steps a block)"""
    slot: Any
    """Where each step's state is kept until the next step with the same slot replaces it, (blocks, steps a block); the
    last slot is waste. None if the end of each block is all that is saved."""
    command: Any
    """Clamp potential at each slot's time, (blocks, slots); None without a clamp."""


class Plan(NamedTuple):
    """A run laid out."""

    blocks: _Blocks
    kept: np.ndarray
    """Which of the blocks' saves are wanted."""
    save_start: bool
    command_at_start: Any
    n_steps: int
    kind: str | None


class _Carry(NamedTuple):
    y: Any
    solver_state: Any
    status: Any


def run(request: Request) -> States:
    """Runs a request whose steps are given."""
    solver = with_root_tolerance(request.solver, request.rtol, request.atol)
    plan = make_plan(request.drive, request.times, request.dtype)
    saved, final, status = run_plan(request.cell, request.y0, plan, solver, request.outputs, request.progress)
    return States(saved, final, status, np.full(np.shape(status), plan.n_steps))


def make_plan(drive, times: Times, dtype) -> Plan:
    """Lays out a run under `drive`, a protocol in time since its start, or None.

    Where the grid is traced, jumps of the drive's value are its edges.
    """
    ts, edges, saved = times.grid, times.edges, times.where
    n = ts.shape[0] - 1
    start, length = ts[:-1], ts[1:] - ts[:-1]
    value = slope = None
    jump = np.zeros(n, bool)
    if drive is not None:
        value, slope = straight_pieces(drive, start, length)
        if edges is None:
            before = jnp.roll(value + slope * length, 1)
            jump = jnp.abs(value - before) > 1e-6 * (jnp.abs(value) + jnp.abs(before))
        else:
            jump[positions(ts, edges)] = True
    size, slots, slot, kept = cut_at(n, saved[saved > 0] - 1)
    command = command_at_start = None
    if drive is not None and drive.kind == "voltage":
        command_at_start = cast(drive.value(ts[:1]), dtype)[0]
        at_slots = np.zeros(kept.size, int)
        at_slots[kept] = saved[saved > 0]
        command = cast(drive.value(ts[at_slots]), dtype).reshape(-1, slots)
    steps = Steps(
        start=in_blocks(times.t0 + start, size, dtype),
        dt=in_blocks(length, size, dtype),
        value=in_blocks(value, size, dtype),
        slope=in_blocks(slope, size, dtype),
        jump=in_blocks(jump, size, bool),
    )
    blocks = _Blocks(steps, slot, command)
    return Plan(
        blocks=blocks,
        kept=kept,
        save_start=bool((saved == 0).any()),
        command_at_start=command_at_start,
        n_steps=n,
        kind=None if drive is None else drive.kind,
    )


def cut_at(n: int, saved: np.ndarray) -> tuple[int, int, np.ndarray | None, np.ndarray]:
    """Cuts n steps into blocks, given the steps whose end is saved.

    Returns the steps and the slots of a block, the slot of each step (see `_Blocks`), and which slots are wanted.
    Where saves come at one stride, blocks end on them and have one slot; else blocks have `BLOCK` steps.
    """
    strides = np.unique(np.diff(saved, prepend=-1))
    if len(strides) == 1 and strides[0] > 1:
        stride = int(strides[0])
        size = next((d for d in range(min(stride, BLOCK), 7, -1) if stride % d == 0), stride if stride < 8 else 0)
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


def in_blocks(x, size: int, dtype):
    """(steps, ...) -> (blocks, size, ...), padded with zeros at the end."""
    if x is None:
        return None
    x = cast(x, dtype)
    xp = np if isinstance(x, np.ndarray) else jnp
    padded = xp.pad(x, [(0, -x.shape[0] % size), *[(0, 0)] * (x.ndim - 1)])
    return padded.reshape(padded.shape[0] // size, size, *x.shape[1:])


def run_plan(cell, y0, plan: Plan, solver, names, progress):
    """Runs a plan: what was saved by name (..., time), the final state, and the status."""
    run = _Run(cell, solver, plan.kind, names, is_population(cell, y0), len(plan.kept) // len(plan.blocks.steps.dt))
    wanted = np.flatnonzero(plan.kept)
    command = (plan.command_at_start,) if plan.save_start else None
    report = reporter(progress, cell, y0, plan.blocks)
    if report is None:
        return of_one_number(_Run.whole, (run, y0, plan.blocks, command, wanted))
    first = run.first(y0, command)
    carry = run.begin(y0, jax.tree.map(lambda x: x[0, 0], plan.blocks.steps))
    pieces = []
    for blocks, done in in_chunks(plan.blocks, 40):
        carry, saved = run.blocks(carry, blocks)
        pieces.append(saved)
        jax.block_until_ready(carry)
        report(done)
    return _collect(first, pieces, wanted), run.state(carry), carry.status


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


_compiled = functools.partial(compiled, options=lambda run, *args: WIDE if run.population else BRIEF)


class _Run(eqx.Module):
    """What stays the same from step to step, and the step. A population is mapped within each step, not around the
    scan: so the scan is over one shared plan, and what it saves is contiguous in the cells."""

    cell: AbstractCell
    solver: diffrax.AbstractSolver
    kind: str | None = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    population: bool = eqx.field(static=True)
    n_slots: int = eqx.field(static=True)

    @_compiled
    def whole(self, y0, blocks: _Blocks, command, wanted):
        """The run as one program: what `run_fixed` returns."""
        carry = self.begin(y0, jax.tree.map(lambda x: x[0, 0], blocks.steps))
        carry, saved = self.blocks(carry, blocks)
        return _collect(self.first(y0, command), [saved], wanted), self.state(carry), carry.status

    def first(self, y0, command):
        """What is saved of the initial state, under the clamp's potential; None if `command` is, a tuple of one."""
        return None if command is None else observe(self.cell, y0, command[0], self.names)

    @_compiled
    def begin(self, y0, first: Steps) -> _Carry:
        def begin(cell, y):
            y = pack(self.solver, y)
            state = self.solver.init(self.term(cell, first), jnp.zeros_like(first.dt), first.dt, y, None)
            return _Carry(y, state, jnp.zeros((), jnp.int32))

        return over_cells(begin, self.cell, y0)(self.cell, y0)

    @_compiled
    def blocks(self, carry: _Carry, blocks: _Blocks):
        """Advances over the blocks; returns what their slots hold, (blocks * slots, ...)."""
        block = jax.checkpoint(lambda carry, block: self.block(carry, block), prevent_cse=False)
        carry, saved = jax.lax.scan(block, carry, blocks)
        return carry, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), saved)

    def block(self, carry: _Carry, block: _Blocks):
        slots = None
        if block.slot is not None:
            slots = jax.tree.map(lambda x: jnp.zeros((self.n_slots, *x.shape), x.dtype), self.kept(carry))
        # JAX hashes what it scans, and a method of a module with traced leaves has no hash: hence the lambdas.
        (carry, slots), _ = jax.lax.scan(
            lambda loop, step: self.step(loop, step), (carry, slots), (block.steps, block.slot)
        )
        if slots is None:
            slots = jax.tree.map(lambda x: x[None], self.kept(carry))
        if not self.from_states():
            slots = jax.vmap(lambda y, command: self.observed(y, command))(slots, block.command)
        return self.checked(carry), slots

    def step(self, loop, step_and_slot):
        carry, slots = loop
        step, slot = step_and_slot
        carry = self.per_cell(lambda cell, carry: self.advance(cell, carry, step), carry)
        if slot is not None:
            slots = jax.tree.map(
                lambda s, x: jax.lax.dynamic_update_index_in_dim(s, x, slot, 0), slots, self.kept(carry)
            )
        return (carry, slots), None

    def advance(self, cell, carry: _Carry, step: Steps) -> _Carry:
        now = jnp.zeros_like(step.dt)
        y, _, _, state, result = self.solver.step(
            self.term(cell, step), now, step.dt, carry.y, None, carry.solver_state, step.jump
        )
        failed = (result != diffrax.RESULTS.successful) & (carry.status == Status.OK)
        return _Carry(y, state, jnp.where(failed, Status.SOLVER_FAILED, carry.status))

    def term(self, cell, step: Steps) -> diffrax.AbstractTerm:
        """The term of one step. Solvers see time from the step's start, so that dt keeps its digits in float32."""

        def rates(t, y, args):
            if self.kind is None:
                return cell.rates(step.start + t, y, 0.0)
            return driven_rates(cell, step.start + t, y, self.kind, step.value + step.slope * t, step.slope)

        return term(self.solver, rates, type(cell.initial_state()))

    def checked(self, carry: _Carry) -> _Carry:
        """The carry with the status of cells that are no longer finite; a NaN, once there, stays."""

        def check(cell, carry):
            finite = jnp.isfinite(sum(jnp.sum(x) for x in jax.tree.leaves(carry.y)))
            failed = ~finite & (carry.status == Status.OK)
            return carry._replace(status=jnp.where(failed, Status.NON_FINITE, carry.status))

        return self.per_cell(check, carry)

    def from_states(self) -> bool:
        return set(self.names) <= set(type(self.cell.initial_state())._fields)

    def kept(self, carry: _Carry):
        """What a slot holds: the states asked for, or all of them where currents are."""
        y = self.state(carry)
        return {n: getattr(y, n) for n in self.names} if self.from_states() else y

    def observed(self, y, command):
        return self.per_cell(lambda cell, y: observe(cell, y, command, self.names), y)

    def state(self, carry: _Carry):
        """The carried state (of the whole population) as the cell's own."""
        packed = is_packed(self.solver)
        return unpack(self.solver, jnp.moveaxis(carry.y, -1, 0) if packed else carry.y, type(self.cell.initial_state()))

    def per_cell(self, function, carry):
        """function(cell, carry), mapped over the population if it is one."""
        if self.population:
            function = jax.vmap(function, in_axes=(self.cell.population_axes(), 0))
        return function(self.cell, carry)
