"""What fixed and adaptive runs share: the term a solver sees, the state as it holds it, what is observed of it."""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
from jaxtyping import Array

from ..arguments import is_traced
from ..progress import progress_bar
from ..relaxation import derivative
from ..solvers import AbstractRushLarsen, RatesTerm


class Steps(NamedTuple):
    """What is known of each step before a run: arrays of one shape."""

    start: Any
    """Absolute, ms: for a cell that depends on time."""
    dt: Any
    """ms"""
    value: Any
    slope: Any
    """Of the stimulus (pA/pF, and per ms) or the command (mV, mV/ms); None without a protocol."""
    jump: Any
    """Whether the protocol has an edge at its start."""


def term(solver, rates, state_type) -> diffrax.AbstractTerm:
    """What the solver integrates: the rates tree itself, or its plain derivative."""
    if isinstance(solver, AbstractRushLarsen):
        return RatesTerm(rates)

    def field(t, y, args):
        y = unpack(solver, y, state_type)
        return pack(solver, derivative(rates(t, y, args), y))

    return diffrax.ODETerm(jax.jit(field))


def is_packed(solver) -> bool:
    """Implicit solvers solve dense systems, three times faster on one flat state vector."""
    return isinstance(solver, diffrax.AbstractImplicitSolver)


def pack(solver, y):
    return jnp.stack(y) if is_packed(solver) else y


def unpack(solver, y, state_type):
    return state_type(*y) if is_packed(solver) else y


def observe(cell, y, command, names) -> dict[str, Array]:
    """The named states and currents; under a clamp with the potential at `command`."""
    if command is not None:
        y = y._replace(**{cell.potential: jnp.broadcast_to(command, jnp.shape(getattr(y, cell.potential)))})
    found = y._asdict()
    if not set(names) <= set(found):
        found |= cell.currents(y)._asdict()
    return {n: found[n] for n in names}


def is_population(cell, y0) -> bool:
    return cell.population_size() is not None or any(jnp.ndim(x) for x in jax.tree.leaves(y0))


def over_cells(function, cell, y0):
    """function(cell, y0) over the population, if it is one; what has no leading axis is shared."""
    if not is_population(cell, y0):
        return function
    return jax.vmap(function, in_axes=(cell.population_axes(), jax.tree.map(lambda x: 0 if jnp.ndim(x) else None, y0)))


def with_root_tolerance(solver: diffrax.AbstractSolver, rtol, atol) -> diffrax.AbstractSolver:
    """On a fixed grid an implicit solver has no step-size controller to take its root finder's tolerances from.

    Diffrax's default (a Newton iteration with the Jacobian frozen, which relies on rejected steps) is replaced by a
    full Newton iteration; a root finder with tolerances of its own is kept.
    """
    if not isinstance(solver, diffrax.AbstractImplicitSolver) or isinstance(
        getattr(solver.root_finder, "rtol", 0), float
    ):
        return solver
    rtol = 1e-6 if rtol is None else rtol
    return eqx.tree_at(lambda s: s.root_finder, solver, optimistix.Newton(rtol, 1e-2 * rtol if atol is None else atol))


def cast(x, dtype):
    """x in the dtype of the run: on the host what is on the host, so that a plan costs no device memory."""
    return np.asarray(x, dtype) if isinstance(x, np.ndarray | np.generic | float) else jnp.asarray(x, dtype)


def in_chunks(blocks: Any, most: int):
    """The blocks (a tree with one leading axis) in at most `most` chunks of one size, and the fraction done."""
    n = len(jax.tree.leaves(blocks)[0])
    size = -(-n // most)
    padded = jax.tree.map(
        lambda x: x if n % size == 0 else np.pad(x, [(0, -n % size), *[(0, 0)] * (x.ndim - 1)]), blocks
    )
    for begin in range(0, n, size):
        yield jax.tree.map(operator.itemgetter(slice(begin, begin + size)), padded), min(1.0, (begin + size) / n)


def reporter(progress, cell, y0, blocks) -> Callable[[float], None] | None:
    """What to tell the progress of a run to; None under a transformation, and where none is wanted."""
    if progress is False or is_traced(*jax.tree.leaves((cell, y0, blocks))):
        return None
    return progress_bar(type(cell).__name__) if progress is True else progress
