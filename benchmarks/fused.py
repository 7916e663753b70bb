"""A prototype: many steps of the library's own solver in one kernel (Pallas, lowered to Triton on a GPU).

A scan over steps reads and writes every state, and launches kernels anew, each step. Here a kernel reads the states and
parameters of a block of cells once, takes many steps with them in registers, and writes the states back: the step is
that of `jaxcardio.simulation.fixed`, so model and solver are the same code and give the same numbers.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest.mock import patch

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

import jaxcardio as jc
from jaxcardio.cell import dtype_of
from jaxcardio.simulation.fixed import _Run, make_plan
from jaxcardio.simulation.request import Times


class Launch(NamedTuple):
    """How the kernel is laid out: cells a block, steps a launch, warps of 32 threads a block; None: as on a CPU."""

    block: int = 128
    steps: int = 100
    warps: int | None = 4


def fused_run(
    cells: jc.AbstractCell,
    protocol: jc.protocols.AbstractProtocol | None,
    grid: np.ndarray,
    solver: Any,
    launch: Launch = Launch(),
) -> functools.partial:
    """A function of no arguments that runs all cells of a population over `grid` (ms), which has all edges on it.

    It returns the final states, (n,) each, and V after every launch, (launches, n). The number of cells must be a
    multiple of `launch.block`. With `launch.warps` None the kernel is interpreted, on any device.
    """
    n, names = cells.population_size(), (cells.potential,)
    if n is None or n % launch.block:
        raise ValueError(f"cells: {n}; allowed: a multiple of block = {launch.block}")
    since = grid - grid[0]
    drive = None if protocol is None else protocol.since(grid[0])
    edges = np.zeros(0) if drive is None else drive.edges(0.0, since[-1])
    times = Times(grid[0], since[-1], since, edges, np.zeros(0), since[-1:], grid[-1:])
    plan = make_plan(drive, times, dtype_of(cells))
    steps = jax.tree.map(lambda x: _cut(x, launch.steps), plan.blocks.steps)
    y0 = jax.tree.map(lambda x: jnp.broadcast_to(x, (n,)), cells.initial_state())
    first = jax.tree.map(lambda x: x[0, 0], steps)

    def on(cells) -> _Run:
        return _Run(cells, solver, plan.kind, names, True, 0)

    @jax.jit
    def go(cells, y0, steps):
        carry = on(cells).begin(y0, first)
        kernel = _kernel(cells, carry, jax.tree.map(lambda x: x[0], steps), on, launch)

        def some(carry, steps):
            carry = kernel(carry, steps)
            return carry, getattr(carry.y, cells.potential)

        carry, V = jax.lax.scan(some, carry, steps)
        return carry.y, V

    return functools.partial(go, cells, y0, steps)


def _cut(x: np.ndarray, size: int):
    """(blocks, steps a block) -> (launches, size), padded with steps of no length, which change nothing."""
    flat = np.ravel(x)
    flat = np.pad(flat, (0, -len(flat) % size)).reshape(-1, size)
    return flat.astype(np.int32) if flat.dtype == bool else flat


def advance(run: _Run, cell, carry, now):
    """One cell, one step. (`_Run.advance` also looks at the solver's result, a constant that no kernel may have.)"""
    zero, jump = jnp.zeros_like(now.dt), now.jump != 0
    y, _, _, state, _ = run.solver.step(run.term(cell, now), zero, now.dt, carry.y, None, carry.solver_state, jump)
    return carry._replace(y=y, solver_state=state)


def _kernel(cells, carry, steps, on: Callable[[Any], _Run], launch: Launch):
    """(carry, steps (size,)) -> carry: one launch."""
    varied, shared = eqx.partition(cells, jax.tree.map(lambda x: jnp.ndim(x) == 1, cells))
    inputs, input_structure = jax.tree.flatten((carry, varied))
    outputs, output_structure = jax.tree.flatten(carry)
    step_leaves, step_structure = jax.tree.flatten(steps)
    scalars, shared_structure = jax.tree.flatten(shared)
    n = carry.status.shape[0]

    def body(*refs):
        cell_refs, refs = refs[: len(inputs)], refs[len(inputs) :]
        scalar_refs, refs = refs[: len(scalars)], refs[len(scalars) :]
        step_refs, out = refs[: len(step_leaves)], refs[len(step_leaves) :]
        carry, varied = jax.tree.unflatten(input_structure, [ref[...] for ref in cell_refs])
        shared = jax.tree.unflatten(shared_structure, [ref[0] for ref in scalar_refs])
        run = on(eqx.combine(varied, shared))

        def step(k, carry):
            now = jax.tree.unflatten(step_structure, [ref[k] for ref in step_refs])
            return run.per_cell(lambda cell, carry: advance(run, cell, carry, now), carry)

        # A barrier says nothing within one kernel, and Triton's lowering does not know it.
        with patch.object(jax.lax, "optimization_barrier", lambda x: x):
            carry = jax.lax.fori_loop(np.int32(0), np.int32(launch.steps), step, carry)
        for ref, x in zip(out, jax.tree.leaves(carry), strict=True):
            ref[...] = x

    one = pl.BlockSpec((launch.block,), lambda i: (i,))
    whole = pl.BlockSpec(memory_space=pl.ANY)
    call = pl.pallas_call(
        body,
        grid=(n // launch.block,),
        in_specs=[one] * len(inputs) + [whole] * (len(scalars) + len(step_leaves)),
        out_specs=[one] * len(outputs),
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in outputs],
        input_output_aliases={k: k for k in range(len(outputs))},
        interpret=launch.warps is None,
        compiler_params=None if launch.warps is None else triton.CompilerParams(num_warps=launch.warps, num_stages=1),
    )

    def launched(carry, steps):
        new = call(*jax.tree.leaves((carry, varied)), *(x[None] for x in scalars), *jax.tree.leaves(steps))
        return jax.tree.unflatten(output_structure, new)

    return launched
