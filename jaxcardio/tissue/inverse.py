"""The conductivity with which a wave runs at a wanted speed."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from ..annotations import typed
from ..arguments import check_concrete, check_known, refusal
from ..cell import AbstractCell, check_cell, dtype_of
from ..protocols import AbstractProtocol, PulseTrain
from ..simulation.compiled import BRIEF, compiled
from ..simulation.request import checked_initial_state
from ..simulation.simulate import simulate as simulate_cell
from ..solvers import RushLarsen2
from .conductivity import C_M, CHI, POSITIVE, conductivity_of
from .grid import Tissue
from .run import STEEPEST
from .simulate import DEFAULT_DT, checked_threshold, simulate
from .splitting import Method, Splitting
from .stimulus import Stimulus

ALONE = 300.0
"""How long a cell is left alone before a wave comes, ms: what its published initial state has not settled by then moves
slowly, and of the cells that beat by themselves those of Kernik and Clancy are in mid-diastole."""
STIMULUS = 2.0
"""Duration of the default stimulus, ms. It brings V from rest past the threshold and as far again."""
FRONTS = 60
"""Length of the cable in units of D / CV, over which V rises by a factor e ahead of the wave. The first sixth is
stimulated, and the speed is that from the half to the last sixth."""
SHORTEST = 60
LONGEST = 4000
"""Fewest and most cells of a cable."""
SCOUT = (4.0, 20.0)
"""D / dx^2 of the first runs, 1/ms: a front is some cells wide. The second where the first gave no wave."""
SCOUT_DT = 0.02
"""Their step, ms."""
TOLERANCE = 1e-3
"""Of the speed, relative."""
MOST_RUNS = 10
DRIFT = 0.02
"""Most that the speed may change along the stretch where it is measured, relative."""


class TunedConductivity(NamedTuple):
    """What `conductivity_for` found.

    Attributes:
        diffusivity: mm^2/ms.
        conductivity: the same, S/m, with the chi and C_m that were given.
        cv: speed of the wave with it, mm/ms = m/s, as run.
        runs: of a cable, all told.
        dx: mm.
        dt: step of these runs, ms.
        exponent: d ln CV / d ln D there: 1/2 on a fine grid, more on a coarse one.
        steepness: CV dx / D: by how much ln V falls from one cell to the next ahead of the wave.
        drift: relative change of the speed from the first to the second half of the stretch where it is measured.
        y0: the state, of one cell, into which the wave ran.
    """

    diffusivity: float
    conductivity: float
    cv: float
    runs: int
    dx: float
    dt: float
    exponent: float
    steepness: float
    drift: float
    y0: Any


@typed
def conductivity_for(
    cell: AbstractCell,
    cv: float = 0.6,
    dx: float = 0.1,
    *,
    y0: Any = None,
    stimulus: AbstractProtocol | None = None,
    threshold: float | None = None,
    length: float | None = None,
    dt: float | None = None,
    solver: diffrax.AbstractSolver | None = None,
    splitting: Splitting = "strang",
    diffusion: Method = "explicit",
    chi: float = CHI,
    C_m: float = C_M,
) -> TunedConductivity:
    """The diffusivity with which a plane wave of this cell runs at `cv` on a grid of this spacing and step.

    A first run of a cable tells how the speed of this cell goes with sqrt(D). Newton's method on log D, with the
    derivative of the speed through the activation times, does the rest.

    Args:
        cell: one cell, not a population.
        cv: wanted conduction velocity, mm/ms = m/s.
        dx: spacing of the grid, mm.
        y0: state of the cells ahead of the wave; default that of the cell after 300 ms alone.
        stimulus: to the first sixth of the cable, from 0 ms on, one pulse; default 2 ms that would bring V past the
            threshold and as far again.
        threshold: V at which a cell counts as activated; default as for `simulate`.
        length: of the cable, mm; default 60 D / CV.
        dt, solver, splitting, diffusion: as for `simulate`. By default dt is 0.02 ms, or with explicit diffusion a
            stable one where that is shorter.
        chi, C_m: membrane area per volume (1/mm) and capacitance (uF/cm^2), for the conductivity.

    Returns:
        A `TunedConductivity`; its `cv` is within 0.1 % of the wanted one.

    Raises:
        ValueError: an argument is out of range; no wave runs; none runs at `cv` on so coarse a grid, or on any cable of
            at most 4000 cells; or its speed changes by more than 2 % along the measured stretch.
    """
    check_cell(cell)
    check_concrete(cell=cell, y0=y0)
    if cell.population_size() is not None:
        raise refusal("cell", f"a population of {cell.population_size()}", "cells", "one cell")
    for name, value, unit in (("cv", cv, "mm/ms"), ("dx", dx, "mm"), ("chi", chi, "1/mm"), ("C_m", C_m, "uF/cm^2")):
        check_known(name, value, unit, *POSITIVE)
    for name, value, unit in (("length", length, "mm"), ("dt", dt, "ms")):
        if value is not None:
            check_known(name, value, unit, *POSITIVE)
    if y0 is None:
        alone = simulate_cell(cell, None, t1=ALONE, dt=0.02, solver=RushLarsen2(), save_every=ALONE)
        y0 = alone.final_state
    else:
        y0 = checked_initial_state(cell, cell.initial_state(), None, y0, dtype_of(cell))
        if any(jnp.ndim(x) for x in y0):
            raise refusal("y0", f"shape {jnp.shape(y0[0])}", "", "the state of one cell")
    level = checked_threshold(threshold, cell)
    if stimulus is None:
        V = float(getattr(y0, cell.potential))
        if level <= V:
            raise refusal("threshold", level, cell.units[cell.potential], f"above the V of y0, {V:.4g}")
        stimulus = PulseTrain(-2 * (level - V) / STIMULUS, STIMULUS, 1e6, 0.0)

    def cable(n: int, t1: float, dt: float, **how) -> Callable:
        return _cable(cell, y0, Stimulus(stimulus, np.s_[: n // 6]), n, dx, t1, dt, level, **how)

    kappa, runs = _scout(cable, dx)
    D = (cv / kappa) ** 2
    coarsest = f"dx up to about {STEEPEST * D / cv:.2g} mm for a wave of {cv:g} mm/ms in this cell"
    n = max(SHORTEST, math.ceil((FRONTS * D / cv if length is None else length) / dx))
    if n > LONGEST:
        raise refusal("cv", cv, "m/s", f"where a cable of 60 D / CV, {n} cells of {dx:g} mm, has at most {LONGEST}")
    how = dict(solver=solver, splitting=splitting, diffusion=diffusion)
    step, speed, drift, exponent = math.inf, math.nan, math.nan, math.nan
    wave: Callable | None = None
    while runs < MOST_RUNS:
        stable = math.inf if diffusion == "implicit" else dx**2 / (2 * D)
        if dt is not None and dt > stable * (1 + 1e-9):
            raise ValueError(
                f"dt = {dt:g} ms; allowed with explicit diffusion of {D:.3g} mm^2/ms: dt <= {stable:.4g} ms; or "
                'diffusion="implicit"'
            )
        if wave is None or step > stable:
            step = dt or min(DEFAULT_DT[diffusion], 0.8 * stable)
            wave = _with_slope(cable(n, 1.4 * n * dx / cv + STIMULUS, step, **how))
        (speed, drift), exponent = wave(math.log(D))
        runs += 1
        if not np.isfinite([speed, exponent]).all() or exponent <= 0:
            raise refusal("dx", dx, "mm", f"{coarsest}: with D = {D:.3g} mm^2/ms none came through")
        if abs(speed / cv - 1) <= TOLERANCE:
            break
        D *= float(np.clip((cv / speed) ** (1 / exponent), 0.5, 2))
    else:
        raise refusal("cv", cv, "mm/ms", f"{coarsest}: after {runs} runs it has {speed:.4g} mm/ms")
    if cv * dx / D > STEEPEST:
        raise refusal(
            "dx", dx, "mm", f"{coarsest}: here it would jump from cell to cell, CV dx / D = {cv * dx / D:.2g}"
        )
    if abs(drift) > DRIFT:
        raise refusal("y0", f"a state in which the speed changes by {100 * drift:.1f} %", "", "one nearer to rest")
    return TunedConductivity(
        diffusivity=D,
        conductivity=float(conductivity_of(D, chi=chi, C_m=C_m)),
        cv=float(speed),
        runs=runs,
        dx=float(dx),
        dt=step,
        exponent=float(exponent),
        steepness=float(speed) * dx / D,
        drift=float(drift),
        y0=y0,
    )


def _cable(cell, y0, stimulus, n: int, dx: float, t1: float, dt: float, threshold: float, **how) -> Callable:
    """log D -> (log speed, (speed, its relative drift)) of a wave along a cable of n cells; NaN if none."""

    def wave(log_D):
        tissue = Tissue(cell, (n,), dx, jnp.exp(log_D))
        run = simulate(tissue, [stimulus], t1=t1, dt=dt, save_every=t1, y0=y0, threshold=threshold, **how)
        T = run.activation_time
        first, middle, last = n // 2, n // 2 + n // 6, n - n // 6 - 1
        speed = (last - first) * dx / (T[last] - T[first])
        early = (middle - first) * dx / (T[middle] - T[first])
        late = (last - middle) * dx / (T[last] - T[middle])
        return jnp.log(speed), (speed, late / early - 1)

    return wave


def _with_slope(wave: Callable) -> Callable:
    """log D -> ((speed, its relative drift), d ln speed / d ln D)."""

    def both(log_D):
        _, slope, found = jax.jvp(wave, (log_D,), (jnp.ones_like(log_D),), has_aux=True)
        return found, slope

    return _briefly(both)


def _briefly(function: Callable) -> Callable:
    """The function of a number, compiled quickly: it runs a few times only."""
    quick = compiled(function, lambda *args: BRIEF)
    return lambda x: quick(jnp.asarray(x, float))


def _scout(cable: Callable, dx: float) -> tuple[float, int]:
    """The speed of a wave over sqrt(D), 1/sqrt(ms), and after how many runs it was known."""
    n, t1 = 180, 250.0
    wave = _briefly(cable(n, t1, SCOUT_DT))
    for runs, couplings in enumerate(SCOUT, 1):
        D = couplings * dx**2
        _, (speed, _) = wave(math.log(D))
        if np.isfinite(speed) and speed > 0:
            return float(speed) / math.sqrt(D), runs
    raise ValueError(
        f"cell: no wave of it ran through {n} cells in {t1:g} ms; allowed: one that the stimulus excites and that "
        "excites its neighbours"
    )
