"""How the cells are paced and stepped: at the step that is evaluated, or so finely that the step no longer matters."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import diffrax
import equinox as eqx
import jax
import numpy as np

from ...cell import AbstractCell
from ...protocols import AbstractProtocol, PulseTrain
from ...simulation.grid import Stage, paced_grid
from ...simulation.simulate import simulate
from ...simulation.trace import Trace
from ...solvers import RushLarsenMidpoint

AMPLITUDE, DURATION = -11.5, 2.0
"""Stimulus of the model's lineage: -575 pA of a cell of 50 pF, pA/pF; and how long it lasts, ms."""
SAMPLED = 0.1
"""Samples of V are this far apart, ms, or a step where that is longer."""
FINE = (Stage(15.0, 0.005), Stage(60.0, 0.02), Stage(np.inf, 0.05))
"""Steps of a converged run after each stimulus, ms. At 1 Hz halving them moves V by 2e-4 mV (RMSE over a beat)."""
REMEMBERED = 16
"""Results of the reference that a process keeps, each."""

Result = TypeVar("Result")


class Stepping(NamedTuple):
    """How a cell is stepped: by `dt` (ms), or finely, each fine step divided in so many."""

    solver: diffrax.AbstractSolver
    dt: float | None = None
    divided: int = 1

    def run(self, cell: AbstractCell, protocol: AbstractProtocol, t1: float, t0: float = 0.0, **options: Any) -> Trace:
        """`simulate` with these steps."""
        if self.dt is not None:
            return simulate(cell, protocol, t1=t1, t0=t0, solver=self.solver, dt=self.dt, **options)
        stages = [Stage(until, dt / self.divided) for until, dt in FINE]
        grid = paced_grid(protocol, t1, t0, stages)
        return simulate(cell, protocol, t1=t1, t0=t0, solver=self.solver, grid=grid, **options)

    @property
    def samples(self) -> float:
        """Interval of samples that steps need not be shortened for, ms."""
        return SAMPLED if self.dt is None else self.dt * max(1, round(SAMPLED / self.dt))


def converged(divided: int = 2) -> Stepping:
    """Steps so short that they do not matter."""
    return Stepping(RushLarsenMidpoint(), None, divided)


def pulses(cycle_length: float) -> PulseTrain:
    """The stimulus, every so many ms."""
    return PulseTrain(AMPLITUDE, DURATION, cycle_length)


def remembered(function: Callable[..., Result]) -> Callable[..., Result]:
    """Keeps the last results of function(cell, ...), by the numbers in the cell and the other arguments."""
    kept: dict[Any, Any] = {}

    @functools.wraps(function)
    def call(cell: AbstractCell, *args: Any) -> Any:
        key = (_numbers_of(cell), *args)
        if key not in kept:
            kept[key] = function(cell, *args)
            if len(kept) > REMEMBERED:
                del kept[next(iter(kept))]
        return kept[key]

    return call


def _numbers_of(cell: AbstractCell) -> Any:
    """What tells one cell from another, for a dictionary."""
    leaves, structure = jax.tree.flatten(cell)
    arrays = ((np.asarray(x) if eqx.is_array(x) else x) for x in leaves)
    return structure, tuple((x.dtype.str, x.shape, x.tobytes()) if isinstance(x, np.ndarray) else x for x in arrays)
