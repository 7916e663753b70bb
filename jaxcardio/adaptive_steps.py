"""Adaptive steps, by Diffrax; clipped at the protocol's edges."""

from typing import Any, NamedTuple, cast

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from .checked_times import FirstStep, saved_at
from .implicit import with_frozen_newton
from .stepping import observe, over_cells, pack, term, unpack
from .trace import Status


class AdaptiveTimes(NamedTuple):
    t0: Any
    t1: Any
    edges: Any
    save: Any
    rtol: Any
    atol: Any


@eqx.filter_jit
def run_adaptive(cell, y0, times: AdaptiveTimes, protocol, solver, names, max_steps, adjoint, meter):
    solver = with_frozen_newton(solver)

    def run(cell, y0):
        def observed(t, y, args):
            command = None if protocol is None or protocol.kind == "current" else protocol.value(t)
            return observe(cell, unpack(solver, y, type(y0)), command, names)

        pid = diffrax.PIDController(times.rtol, times.atol, dtmin=8 * jnp.finfo(times.t1.dtype).eps * times.t1)
        clipped = diffrax.ClipStepSizeController(pid, jump_ts=times.edges if times.edges.size else None)
        first = jnp.minimum(0.01, times.t1 - times.t0)
        solution = diffrax.diffeqsolve(
            term(solver, cell.rates_under, type(y0)),
            solver,
            times.t0,
            times.t1,
            None,
            pack(solver, y0),
            protocol,
            saveat=diffrax.SaveAt(subs=[saved_at(times.save, observed), diffrax.SubSaveAt(t1=True)]),
            stepsize_controller=FirstStep(clipped, first.astype(times.t1.dtype)),  # pyright: ignore[reportCallIssue]
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

    return over_cells(run, cell, y0)(cell, y0)


def as_arrays(protocol, dtype):
    """Protocol numbers as arrays, so that other values do not compile anew."""
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), protocol)
