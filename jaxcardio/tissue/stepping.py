"""One step of a tissue: diffusion, cells, diffusion. Arrays have one axis of cells: XLA writes better loops over it."""

import functools
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..cell import AbstractCell
from ..relaxation import derivative
from ..simulation.stepping import observe
from ..simulation.trace import Status
from ..solvers import AbstractRushLarsen, RatesTerm, RushLarsen2
from .diffusion import Diffusion
from .events import Events, no_events, seen
from .plan import Step
from .splitting import Method, Splitting, parts


class Carry(NamedTuple):
    """What goes from step to step."""

    y: Any
    solver_state: Any
    events: Events
    status: Array


class Stepper(eqx.Module):
    """What stays the same from step to step, and the step."""

    cell: AbstractCell
    """A population: parameters are numbers or (n,)."""
    diffusion: Diffusion
    regions: Array
    """Where each stimulus acts: 1 or 0, (stimuli, n)."""
    mask: Array | None
    threshold: Array
    solver: diffrax.AbstractSolver
    shape: tuple[int, ...] = eqx.field(static=True)
    """Of the grid, or of its rows on this device."""
    splitting: Splitting = eqx.field(static=True)
    method: Method = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    """Of the outputs."""
    slots: int = eqx.field(static=True)
    """Samples kept a block."""

    def start(self, y, first: Step, beats: int) -> Carry:
        """Before the first step."""
        V = getattr(y, self.cell.potential)
        state = self.solver.init(self.term(first), jnp.zeros_like(first.dt), first.dt, y, None)
        return Carry(y, state, no_events(V, self.threshold, beats), jnp.zeros(V.shape, jnp.int32))

    def block(self, carry: Carry, steps: Step) -> tuple[Carry, dict[str, Array]]:
        """Advances over a block of steps; what its slots hold is (slots, n)."""
        slots = None
        if steps.slot is not None:
            shapes = jax.eval_shape(self.samples, carry.y)
            slots = jax.tree.map(lambda x: jnp.zeros((self.slots, *x.shape), x.dtype), shapes)

        def step(loop, step: Step):
            carry, slots = loop
            carry = self.step(carry, step)
            if slots is not None:
                keep = functools.partial(jax.lax.dynamic_update_index_in_dim, index=step.slot, axis=0)
                slots = jax.tree.map(keep, slots, self.samples(carry.y))
            return (carry, slots), None

        (carry, slots), _ = jax.lax.scan(step, (carry, slots), steps)
        if slots is None:
            slots = jax.tree.map(lambda x: x[None], self.samples(carry.y))
        finite = jnp.isfinite(sum(jax.tree.leaves(carry.y)))
        status = jnp.where(~finite & (carry.status == Status.OK), Status.NON_FINITE, carry.status)
        return carry._replace(status=status), slots

    def step(self, carry: Carry, step: Step) -> Carry:
        """One step.

        A solver that knows its last step steps from the state before any diffusion: what it carries on to the middle
        of the step is then the rates of the whole tissue there, to second order.
        """
        name = self.cell.potential
        first, last = parts(self.diffusion, self.splitting, self.method)
        V0 = getattr(carry.y, name)
        half = self.on_grid(first, V0, step.dt)
        y0 = carry.y if isinstance(self.solver, RushLarsen2) else carry.y._replace(**{name: half})
        # Of Diffrax's solvers those that keep the last slope of a step must not: V is another one by now.
        jump = step.jump if isinstance(self.solver, AbstractRushLarsen) else jnp.ones((), bool)
        y1, _, _, state, _ = self.solver.step(
            self.term(step), jnp.zeros_like(step.dt), step.dt, y0, None, carry.solver_state, jump
        )
        V1 = self.on_grid(last, half + (getattr(y1, name) - getattr(y0, name)), step.dt)
        y1 = y1._replace(**{name: V1})
        mask = self.mask
        if mask is not None:
            y1 = jax.tree.map(lambda new, old: jnp.where(mask, new, old), y1, carry.y)
        events = seen(carry.events, V0, getattr(y1, name), self.threshold, step.index)
        return Carry(y1, state, events, carry.status)

    def on_grid(self, function, V, dt):
        """function(V, dt) of V on the grid; a step of no length, which only fills up a block, is left out.

        Being a branch it is also kept apart: XLA 0.10 would else work out the currents of all cells, and differences
        between neighbours, anew wherever they are used, at three times the cost of a step.
        """

        def on_grid(V):
            return function(V.reshape(self.shape), dt).reshape(-1)

        return jax.lax.cond(dt > 0, on_grid, lambda V: V, V)

    def term(self, step: Step) -> diffrax.AbstractTerm:
        """What the solver of the cells integrates; its time counts from the step's start."""

        def rates(t, y, args):
            now = step.value + step.slope * t
            i_stim = sum((now[k] * region for k, region in enumerate(self.regions)), start=jnp.zeros_like(t))
            axes = (self.cell.population_axes(), 0, 0 if jnp.ndim(i_stim) else None)
            return jax.vmap(lambda cell, y, i: cell.rates(step.start + t, y, i), axes)(self.cell, y, i_stim)

        if isinstance(self.solver, AbstractRushLarsen):
            return RatesTerm(rates)
        return diffrax.ODETerm(lambda t, y, args: derivative(rates(t, y, args), y))

    def samples(self, y) -> dict[str, Array]:
        """The named states and currents."""
        if set(self.names) <= set(y._fields):
            return {name: getattr(y, name) for name in self.names}
        each = jax.vmap(lambda cell, y: observe(cell, y, None, self.names), (self.cell.population_axes(), 0))
        return each(self.cell, y)
