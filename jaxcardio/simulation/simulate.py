"""simulate(): one cell or a population, any Diffrax solver, fixed or adaptive steps, no protocol edge stepped over."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import diffrax
import numpy as np
from jaxtyping import Array, Float

from ..cell import AbstractCell
from ..protocols import AbstractProtocol
from . import adaptive, closed_form, fixed
from .request import make_request
from .trace import Trace, make_trace


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

    Steps: give `dt` (fixed, ms), or `grid` (times in ms to step to, e.g. `paced_grid`), or `rtol`/`atol` (adaptive).
    With none of them a solver with an error estimate adapts at 1e-6; one without takes steps of 0.01 ms.
    Edges of the protocol and saved times are put on the grid, or adaptive steps are clipped there. A run computes in
    the dtype of the cell.

    Under a voltage clamp with no solver named, gates of voltage alone follow their closed form and all other states
    take second-order steps (`closed_form.py`): on a grid that is fine after each edge, at most `dt` long, or on `grid`.

    Args:
        cell: what to run.
        protocol: a stimulus (pA/pF), a voltage clamp (mV), or None.
        t1, t0: end and start, ms; t1 > t0.
        solver: any Diffrax solver; default `RushLarsen()`, under a clamp the closed form.
        dt: longest step, ms.
        grid: ascending times from t0 to t1, ms. May be traced (to differentiate through times); then every step is
            saved and the edges must be on it.
        rtol, atol: tolerances of an adaptive run; atol defaults to rtol / 100, for an implicit solver in float32 to at
            least 1e-5. Values out of a dtype's reach are refused.
        save_every: interval of saved samples, ms (default 1).
        save_at: times to save, ms, or "steps" for every step; instead of `save_every`.
        outputs: names of states and currents to save; default every state.
        y0: initial state, in the units of `cell.units` (mV and mM; V in volts is not noticed, as every V near 0 mV is
            passed in an upstroke); default the cell's published one.
        max_steps: limit for adaptive runs.
        adjoint: how Diffrax differentiates an adaptive run (fixed steps differentiate both ways as they are).
            `BacksolveAdjoint` is refused.
        progress: True for a bar on stderr (adaptive runs: Diffrax's own text meter), or a function of the fraction
            done. Ignored under jit, vmap and grad.

    Returns:
        A `Trace`. A run that fails has a `Status` code, not an exception, and its neighbours are untouched.

    Raises:
        ValueError: for an argument out of range, naming it, its value, its unit and the allowed range.
    """
    request = make_request(
        cell, protocol, t0=t0, t1=t1, solver=solver, dt=dt, grid=grid, rtol=rtol, atol=atol, save_every=save_every,
        save_at=save_at, outputs=outputs, y0=y0, max_steps=max_steps, adjoint=adjoint, progress=progress,
    )  # fmt: skip
    runner = adaptive if request.times.grid is None else closed_form if request.closed_form else fixed
    return make_trace(request, runner.run(request))
