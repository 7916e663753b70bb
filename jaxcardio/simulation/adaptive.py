"""Adaptive steps, by Diffrax; clipped at the protocol's edges, and stopped wherever it bends."""

from typing import Any, NamedTuple, cast

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from ..arguments import is_traced
from ..cell import driven_rates
from .checked_times import FirstStep, saved_at
from .compiled import BRIEF, WIDE, compiled
from .implicit import with_frozen_newton
from .request import Request
from .stepping import cast as cast_to
from .stepping import is_population, observe, over_cells, pack, term, unpack
from .trace import States, Status

FIRST_STEP = 0.01
"""Length of the first step, ms."""


class _Times(NamedTuple):
    """Of `Request.times`, and the tolerances, in the dtype of the run."""

    t0: Any
    length: Any
    edges: Any
    corners: Any
    save: Any
    rtol: Any
    atol: Any


def run(request: Request) -> States:
    """Runs a request whose steps are the solver's own."""
    at, dtype = request.times, request.dtype
    numbers = (at.t0, at.length, at.edges, at.corners, at.saved, request.rtol, request.atol)
    times = _Times(*(np.asarray(x, dtype) for x in numbers))
    # Numbers of the protocol as arrays, so that other values do not compile anew.
    drive = jax.tree.map(lambda x: cast_to(x, dtype), request.drive)
    adjoint = request.adjoint
    if adjoint is None:
        # A run that nothing differentiates keeps no checkpoints: the same steps, in less to trace and to compile.
        known = not is_traced(jnp.zeros(()), *jax.tree.leaves((request.cell, request.y0, drive)))
        adjoint = diffrax.ForwardMode() if known else diffrax.RecursiveCheckpointAdjoint()
    meter = diffrax.TextProgressMeter() if request.progress is True else diffrax.NoProgressMeter()
    return States(
        *_solve(
            request.cell, request.y0, times, drive, request.solver, request.outputs, request.max_steps, adjoint, meter
        )
    )


def _of_all(cell, y0, times: _Times, drive, solver, names, max_steps, adjoint, meter):
    dtype = times.length.dtype
    solver = with_frozen_newton(solver)

    def solve(cell, y0):
        def rates(t, y, drive):
            if drive is None:
                return cell.rates(times.t0 + t, y, 0.0)
            t = jnp.asarray(t, dtype)
            value, slope = jax.jvp(drive.value, (t,), (jnp.ones_like(t),))
            return driven_rates(cell, times.t0 + t, y, drive.kind, value, slope)

        def observed(t, y, drive):
            command = None if drive is None or drive.kind == "current" else drive.value(t)
            return observe(cell, unpack(solver, y, type(y0)), command, names)

        pid = diffrax.PIDController(times.rtol, times.atol, dtmin=8 * jnp.finfo(dtype).eps * times.length)
        stops = {"step_ts": times.corners, "jump_ts": times.edges}
        clipped = diffrax.ClipStepSizeController(pid, **{k: x for k, x in stops.items() if x.size})
        first = jnp.minimum(FIRST_STEP, times.length).astype(dtype)
        solution = diffrax.diffeqsolve(
            term(solver, rates, type(y0)),
            solver,
            jnp.zeros((), dtype),
            times.length,
            None,
            pack(solver, y0),
            drive,
            saveat=diffrax.SaveAt(subs=[saved_at(times.save, observed), diffrax.SubSaveAt(t1=True)]),
            stepsize_controller=FirstStep(clipped, first),  # pyright: ignore[reportCallIssue]
            adjoint=adjoint,
            max_steps=max_steps,
            throw=False,
            progress_meter=meter,
        )
        saved, final = cast(tuple, solution.ys)
        final = unpack(solver, jax.tree.map(lambda x: x[-1], final), type(y0))
        stopped = jnp.where(
            solution.result == diffrax.RESULTS.max_steps_reached, Status.STEP_LIMIT, Status.SOLVER_FAILED
        )
        finite = jnp.isfinite(sum(jax.tree.leaves(final)))
        ended = jnp.where(finite, Status.OK, Status.NON_FINITE)
        status = jnp.where(solution.result == diffrax.RESULTS.successful, ended, stopped)
        return saved, final, status, solution.stats["num_steps"]

    return over_cells(solve, cell, y0)(cell, y0)


def _options(cell, y0, times, drive, solver, *args):
    """An implicit solver's program is large, and of one cell as fast if compiled briefly; an explicit one's is not."""
    return BRIEF if isinstance(solver, diffrax.AbstractImplicitSolver) and not is_population(cell, y0) else WIDE


_solve = compiled(_of_all, _options)
