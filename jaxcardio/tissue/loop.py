"""The loop over the steps of a run, on one device or with the rows of the grid shared by several."""

import functools
import math
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from ..cell import AbstractCell
from ..simulation.compiled import compiled
from .conductivity import Couplings
from .diffusion import Diffusion, Shared
from .grid import flat_cell
from .plan import Step
from .splitting import Method, Splitting, parts
from .stepping import Carry, Stepper

MOST_BLOCKS = 128
"""Most states of the tissue that reverse mode keeps of a run, beyond which it keeps some twice the root of their number
and takes every step once more."""


class Loop(eqx.Module):
    """What stays the same through a run. Arrays have the grid's shape; where devices share it, that of their rows."""

    cell: AbstractCell
    couplings: Couplings
    neighbours: Any
    regions: Any
    """Where each stimulus acts, (stimuli, *grid)."""
    mask: Any
    threshold: Any
    solver: diffrax.AbstractSolver
    splitting: Splitting = eqx.field(static=True)
    method: Method = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    beats: int = eqx.field(static=True)
    slots: int = eqx.field(static=True)
    mesh: Mesh | None = eqx.field(static=True)

    def begin(self, y0, first: Step) -> Carry:
        return self.unflat(self.stepper().start(self.flat(y0), first, self.beats))

    def blocks(self, carry: Carry, steps: Step):
        """Advances over the blocks; returns what their slots hold, (blocks * slots, *grid)."""
        stepper = self.stepper()
        block = jax.checkpoint(lambda carry, steps: stepper.block(carry, steps), prevent_cse=False)
        count, group, carry = len(steps.dt), _group(len(steps.dt)), self.flat(carry)
        if group == 1:
            carry, saved = jax.lax.scan(block, carry, steps)
        else:  # Blocks of blocks: reverse mode keeps the states at their ends, and anew those within one of them.
            groups = jax.tree.map(lambda x: _grouped(x, group), steps)
            blocks = jax.checkpoint(lambda carry, steps: jax.lax.scan(block, carry, steps), prevent_cse=False)
            carry, saved = jax.lax.scan(blocks, carry, groups)
        saved = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1])[: count * self.slots], saved)
        return self.unflat((carry, saved))

    def diffuse(self, V, dt):
        """V after steps of diffusion alone, as many as `dt` (ms) has: what `cost` times."""
        first, last = parts(Diffusion(self.couplings, self.neighbours), self.splitting, self.method)
        return jax.lax.scan(lambda V, dt: (last(first(V, dt), dt), None), V, dt)[0]

    def first(self, y0) -> dict[str, Any]:
        """The sample before the first step."""
        return self.unflat(self.stepper().samples(self.flat(y0)))

    def stepper(self) -> Stepper:
        return Stepper(
            cell=flat_cell(self.cell, self.shape),
            diffusion=Diffusion(self.couplings, self.neighbours),
            regions=self.flat(self.regions),
            mask=self.flat(self.mask),
            threshold=self.threshold,
            solver=self.solver,
            shape=self.shape,
            splitting=self.splitting,
            method=self.method,
            names=self.names,
            slots=self.slots,
        )

    @property
    def shape(self) -> tuple[int, ...]:
        return self.regions.shape[1:]

    def flat(self, tree):
        """With one axis of cells in place of the grid's."""
        return _reshaped(tree, self.shape, (math.prod(self.shape),))

    def unflat(self, tree):
        return _reshaped(tree, (math.prod(self.shape),), self.shape)


def _reshaped(tree, old: tuple[int, ...], new: tuple[int, ...]):
    """A tree whose leaves that end in the shape `old` end in `new`."""

    def reshape(x):
        lead = x.ndim - len(old)
        return x.reshape(*x.shape[:lead], *new) if lead >= 0 and x.shape[lead:] == old else x

    return jax.tree.map(reshape, tree)


def _group(blocks: int) -> int:
    """How many blocks make a block of blocks: about the root of their number; 1 where they are few.

    Of the numbers near the root, that which needs the fewest blocks without steps at the end.
    """
    if blocks <= MOST_BLOCKS:
        return 1
    root = math.isqrt(blocks)
    return min(range(root, root + root // 2 + 1), key=lambda group: (-blocks % group, group))


def _grouped(x, group: int):
    """Blocks of blocks, (groups, group, ...): at the end as many blocks more as that needs, of steps of 0 ms."""
    more = jnp.zeros((-len(x) % group, *x.shape[1:]), x.dtype)
    whole = jnp.concatenate([x, more]) if len(more) else x
    return whole.reshape(len(whole) // group, group, *x.shape[1:])  # a -1 would fail where there is no stimulus


def _on_devices(method: Callable) -> Callable:
    """method(loop, *arrays), on each device its rows of the grid where there are several."""

    def call(loop: Loop, *arrays):
        if loop.mesh is None:
            return method(loop, *arrays)
        local, static = eqx.partition(loop, eqx.is_array)
        neighbours = Shared("rows", loop.mesh.size)

        def on_device(local, *arrays):
            here = eqx.combine(local, static)
            return method(eqx.tree_at(lambda x: x.neighbours, here, neighbours), *arrays)

        shape = loop.regions.shape[1:]
        specs = [_specs(x, shape) for x in (local, *arrays)]
        results = jax.eval_shape(functools.partial(method, loop), *arrays)
        return jax.shard_map(
            on_device, mesh=loop.mesh, in_specs=tuple(specs), out_specs=_specs(results, shape), check_vma=False
        )(local, *arrays)

    return compiled(call)


def _specs(tree, shape) -> Any:
    """How a tree is divided: what has the grid's shape, or a leading axis before that, by rows; the rest is on each.

    Steps, and of a cell all but its parameters (a network's weights, say), are on each whatever their shape.
    """

    def spec(x):
        if isinstance(x, Step):
            return PartitionSpec()
        if isinstance(x, AbstractCell):
            names = [name for name, p in x.parameters().items() if jnp.shape(p.value) == shape]
            everywhere = jax.tree.map(lambda _: PartitionSpec(), x)
            rows = [PartitionSpec("rows") for _ in names]
            return eqx.tree_at(lambda cell: [cell.parameters()[n].value for n in names], everywhere, rows)
        if x.shape == shape:
            return PartitionSpec("rows")
        return PartitionSpec(None, "rows") if x.shape[1:] == shape else PartitionSpec()

    return jax.tree.map(spec, tree, is_leaf=lambda x: isinstance(x, Step | AbstractCell))


begin = _on_devices(Loop.begin)
first_sample = _on_devices(Loop.first)
blocks = _on_devices(Loop.blocks)
diffuse = _on_devices(Loop.diffuse)
