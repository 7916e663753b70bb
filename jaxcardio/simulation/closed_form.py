"""Runs under a voltage clamp: gates that voltage alone moves in closed form, all other states by second-order steps.

While the command is held, such a gate relaxes exponentially to a fixed value, and one factor serves every step of one
length. Where the command moves, the gates' coefficients are taken in the middle of each step, for all steps of a block
at once, and the affine maps are then applied in turn. Currents are computed on the way, at the samples asked for.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..arguments import is_traced
from ..cell import AbstractCell
from ..clock import positions
from ..numerics import one_minus_exp
from ..protocols import AbstractProtocol
from ..relaxation import is_relaxation
from ..solvers import RatesTerm, RushLarsen2
from .compiled import compiled
from .fixed import BLOCK
from .grid import straight_pieces
from .request import Request
from .stepping import Steps, cast, in_chunks, is_population, observe, over_cells, reporter
from .trace import States, Status

SHORT = 8
"""Fewer steps of one length than this in a row are no stretch of their own."""
BLOCK_COST = 4
"""What a block costs beside its steps, in steps."""


def voltage_gates(cell: AbstractCell) -> tuple[str, ...]:
    """Names of the states that relax with coefficients of voltage alone, as read off the traced equations."""
    one = jax.tree.map(
        lambda axis, x: x if axis is None else x[0], cell.population_axes(), cell, is_leaf=lambda x: x is None
    )
    y = one.initial_state()

    def coefficients(y):
        rates = one.rates(jnp.zeros_like(y[0]), y, 0.0)._asdict()
        return {n: (r.steady, r.rate) for n, r in rates.items() if is_relaxation(r) and r.gap is None}

    traced, shapes = jax.make_jaxpr(coefficients, return_shape=True)(y)
    inputs = dict(zip(traced.jaxpr.invars, y._fields, strict=True))
    sources: dict[Any, set[str]] = {variable: {name} for variable, name in inputs.items()}

    def sources_of(variables) -> set[str]:
        known = (sources.get(v, set()) for v in variables if not hasattr(v, "val"))  # literals have no source
        return set().union(*known)

    for equation in traced.jaxpr.eqns:
        sources |= dict.fromkeys(equation.outvars, sources_of(equation.invars))
    found = jax.tree.unflatten(jax.tree.structure(shapes), traced.jaxpr.outvars)
    return tuple(n for n in y._fields if n in found and sources_of(found[n]) <= {cell.potential})


class _Blocks(NamedTuple):
    steps: Steps
    """(blocks, size). Padding steps have dt = 0 and change nothing."""
    held: Any
    """Whether one potential and one step length serve the whole block, (blocks,)."""
    wanted: Any
    """The steps of the block before which a sample is taken, (blocks, most of them), padded."""


class ClampPlan(NamedTuple):
    """A clamped run laid out."""

    blocks: _Blocks
    kept: np.ndarray
    """Which of the blocks' samples are wanted, (blocks * most,)."""
    n_steps: int


def run(request: Request) -> States:
    """Runs a request under a clamp."""
    at, drive = request.times, request.drive
    assert drive is not None and at.edges is not None
    plan = make_clamp_plan(drive, at.grid, at.where, at.edges, request.dtype, at.t0)
    seen, final, status = run_clamp(request.cell, request.y0, plan, request.outputs, request.progress)
    return States(seen, final, status, np.full(np.shape(status), plan.n_steps))


def make_clamp_plan(
    drive: AbstractProtocol, grid: np.ndarray, saved: np.ndarray, edges: np.ndarray, dtype, t0: float = 0.0
) -> ClampPlan:
    """Lays out a clamped run over `grid` (ms since t0), which has all `edges` on it; `saved` are indices into it."""
    # A last step of no length, so that every sample is taken at the beginning of a step, the final one too.
    length = np.append(np.diff(grid), 0.0)
    value, slope = straight_pieces(drive, grid[:-1], length[:-1])
    last = drive.value(grid[-1:])
    jump = np.zeros(len(grid), bool)
    jump[positions(grid, edges)] = True
    index, alike = _cut(np.append(length[:-1], length[-2]), jump)
    active = index >= 0
    xp = jnp if is_traced(value, last) or isinstance(value, jax.Array) else np
    value, slope = xp.concatenate([value, last]), xp.append(slope, 0.0)
    steps = Steps(
        start=cast(t0 + grid[index], dtype),
        dt=cast(np.where(active, length[index], 0.0), dtype),
        value=cast(xp.where(active, value[index], value[index[:, :1]]), dtype),
        slope=cast(xp.where(active, slope[index], 0.0), dtype),
        jump=np.where(active, jump[index], False),
    )
    held = alike & (steps.slope == 0).all(axis=1) & (steps.value == steps.value[:, :1]).all(axis=1)
    is_wanted = np.zeros(len(grid), bool)
    is_wanted[saved] = True
    is_wanted = is_wanted[index] & active
    most = max(1, int(is_wanted.sum(axis=1).max()))
    first = np.argsort(~is_wanted, axis=1, kind="stable")[:, :most].astype(np.int32)
    kept = np.take_along_axis(is_wanted, first, axis=1).ravel()
    return ClampPlan(_Blocks(steps, held, first), kept, len(grid) - 1)


def _cut(length: np.ndarray, jump: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cuts steps into blocks: indices (blocks, size) padded with -1, and which blocks have steps of one length."""
    changes = jump | (np.abs(np.diff(length, prepend=length[0])) > 1e-9)
    changes[0] = True
    begins = np.flatnonzero(changes)
    runs: list[tuple[int, int, bool]] = []
    for begin, end in zip(begins.tolist(), [*begins[1:].tolist(), len(length)], strict=True):
        alike = end - begin >= SHORT
        if runs and not alike and not runs[-1][2]:
            runs[-1] = (runs[-1][0], end, False)
        else:
            runs.append((begin, end, alike))
    lengths = np.array([end - begin for begin, end, _ in runs])
    size = min(range(SHORT, BLOCK + 1), key=lambda s: (-(-lengths // s)).sum() * (s + BLOCK_COST))
    index, uniform = [], []
    for begin, end, alike in runs:
        blocks = -(-(end - begin) // size)
        steps = begin + np.arange(blocks * size).reshape(blocks, size)
        index.append(np.where(steps < end, steps, -1))
        uniform += [alike] * blocks
    return np.concatenate(index), np.array(uniform)


class _Carry(NamedTuple):
    y: Any
    memory: Any
    status: Any


def run_clamp(cell, y0, plan: ClampPlan, names, progress):
    """Runs a plan: what was asked for by name (..., time), the final state, and the status."""
    run = _Clamped(cell, names, is_population(cell, y0), _kinds(plan.blocks.held))
    report = reporter(progress, cell, y0, plan.blocks)
    carry = run.begin(y0)
    pieces = []
    for blocks, done in in_chunks(plan.blocks, 1 if report is None else 40):
        carry, seen = run.blocks(carry, blocks)
        pieces.append(seen)
        if report is not None:
            jax.block_until_ready(carry)
            report(done)
    return _collect(pieces, np.flatnonzero(plan.kept)), carry.y, carry.status


def _kinds(held) -> frozenset[bool]:
    """Which kinds of block a run has: known beforehand, unless the command is traced."""
    return frozenset(held.tolist()) if isinstance(held, np.ndarray) else frozenset((True, False))


@jax.jit
def _collect(pieces, wanted):
    return jax.tree.map(lambda *x: jnp.moveaxis(jnp.concatenate(x)[wanted], 0, -1), *pieces)


class _Clamped(eqx.Module):
    """What stays the same from block to block, and the block. As in `fixed.py`, a population is mapped within."""

    cell: AbstractCell
    names: tuple[str, ...] = eqx.field(static=True)
    population: bool = eqx.field(static=True)
    kinds: frozenset[bool] = eqx.field(static=True)

    @compiled
    def begin(self, y0) -> _Carry:
        gates = voltage_gates(self.cell)

        def begin(cell, y):
            rest = self.rest(y, gates)
            term = self.term(cell, y, gates, jnp.zeros_like(y[0]))
            zero = jnp.zeros_like(y[0])
            return _Carry(y, RushLarsen2().init(term, zero, zero, rest, None), jnp.zeros((), jnp.int32))

        return over_cells(begin, self.cell, y0)(self.cell, y0)

    @compiled
    def blocks(self, carry: _Carry, blocks: _Blocks):
        """Advances over the blocks; returns the samples they took, (blocks * most, ...)."""
        gates = voltage_gates(self.cell)
        block = jax.checkpoint(lambda carry, block: self.block(carry, block, gates), prevent_cse=False)
        carry, seen = jax.lax.scan(block, carry, blocks)
        return carry, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), seen)

    def block(self, carry: _Carry, block: _Blocks, gates):
        ways = {
            True: lambda carry, steps: self.held(carry, steps, gates),
            False: lambda carry, steps: self.moving(carry, steps, gates),
        }
        if len(self.kinds) == 1:
            (kind,) = self.kinds
            carry, seen = ways[kind](carry, block.steps)
        else:
            carry, seen = jax.lax.cond(block.held, ways[True], ways[False], carry, block.steps)
        return self.checked(carry), {n: x[block.wanted] for n, x in seen.items()}

    def held(self, carry: _Carry, steps: Steps, gates):
        """One potential: every gate's factor once. What depends on nothing else, XLA takes out of the loop."""
        V = steps.value[0]
        maps = self.per_cell(lambda cell, y: self.maps(cell, y, gates, V, steps.dt[0]), carry.y)

        def step(carry, step):
            some = jax.tree.map(lambda x: jnp.where(step.dt > 0, x, 0), {n: part for n, (_, part) in maps.items()})
            now = {n: (steady, some[n]) for n, (steady, _) in maps.items()}
            return self.per_cell(lambda cell, x: self.advance(cell, x[0], x[1], gates, step, V), (carry, now))

        return jax.lax.scan(step, carry, steps)

    def moving(self, carry: _Carry, steps: Steps, gates):
        """Gates' coefficients in the middle of every step, all together; then step by step."""
        middle = steps.value + 0.5 * steps.dt * steps.slope

        def maps(V, dt):
            return self.per_cell(lambda cell, y: self.maps(cell, y, gates, V, dt), carry.y)

        def step(carry, step_and_maps):
            step, now = step_and_maps
            return self.per_cell(lambda cell, x: self.advance(cell, x[0], x[1], gates, step, step.value), (carry, now))

        return jax.lax.scan(step, carry, (steps, jax.vmap(maps)(middle, steps.dt)))

    def maps(self, cell, y, gates, V, dt):
        """Of each gate over one step at V: where it goes, and the part of the way."""
        rates = cell.rates(jnp.zeros_like(dt), y._replace(**{cell.potential: V}), 0.0)
        found = {n: getattr(rates, n) for n in gates}
        return {n: (r.steady, one_minus_exp(dt * r.rate)) for n, r in found.items()}

    def advance(self, cell, carry: _Carry, maps, gates, step: Steps, V):
        """What is seen at the beginning of the step, and the states at its end."""
        y = carry.y._replace(**{cell.potential: V})
        seen = observe(cell, y, None, self.names)
        zero = jnp.zeros_like(step.dt)
        rest, _, _, memory, _ = RushLarsen2().step(
            self.term(cell, y, gates, step.start), zero, step.dt, self.rest(y, gates), None, carry.memory, step.jump
        )
        # A step of no length is no step to look back on.
        memory = jax.tree.map(lambda new, old: jnp.where(step.dt > 0, new, old), memory, carry.memory)
        moved = {n: getattr(y, n) + (steady - getattr(y, n)) * part for n, (steady, part) in maps.items()}
        return _Carry(y._replace(**rest, **moved), memory, carry.status), seen

    def rest(self, y, gates) -> dict[str, Any]:
        """The states that are stepped: neither gates of voltage alone nor the potential."""
        return {n: x for n, x in y._asdict().items() if n not in gates and n != self.cell.potential}

    def term(self, cell, y, gates, start) -> RatesTerm:
        """The rates of the stepped states, the others as they are at the beginning of the step."""

        def rates(t, rest, args):
            return self.rest(cell.rates(start + t, y._replace(**rest), 0.0), gates)

        return RatesTerm(rates)

    def checked(self, carry: _Carry) -> _Carry:
        finite = jax.tree.reduce(jnp.logical_and, jax.tree.map(jnp.isfinite, carry.y))
        failed = ~finite & (carry.status == Status.OK)
        return carry._replace(status=jnp.where(failed, Status.NON_FINITE, carry.status))

    def per_cell(self, function, x):
        if self.population:
            function = jax.vmap(function, in_axes=(self.cell.population_axes(), 0))
        return function(self.cell, x)
