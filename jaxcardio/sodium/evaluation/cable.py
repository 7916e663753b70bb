"""Conduction velocity in a cable and its restitution, at the step that is evaluated and converged, on one mesh."""

from typing import Any, NamedTuple

import diffrax
import numpy as np

from ...cell import AbstractCell
from ...protocols import PulseTrain
from ...solvers import RushLarsenMidpoint
from ...tissue import Stimulus, Tissue, conduction_velocity, restitution, simulate
from ...tissue.splitting import Method
from .pacing import DURATION, remembered
from .table import Experiment, Row, largest

NAME = "cable"
SPACING, D = 0.1, 0.154
"""mm, mm^2/ms"""
CELLS, STIMULATED = 100, 10
"""10 mm, of which the first is stimulated; the velocity is that between 4 and 8 mm."""
BETWEEN = (40, 80)
AMPLITUDE = -55.0
"""Of the stimulus, pA/pF, 2 ms."""
FOLLOWED = 40.0
"""How long a first wave is followed, ms."""
WITHIN = 0.5
"""Bar, %."""
STEPS = (0.01, 0.005)
"""Of the converged waves, ms, with explicit diffusion: their velocities are Richardson's limit, of order two."""
SELF_CONVERGED = 0.1
"""Most by which the limit may differ from the shorter step's velocity, %."""
S2_FOLLOWED = 40.0
"""How long an S2 is followed, ms."""


class Velocities(NamedTuple):
    """mm/ms = m/s; NaN where the wave does not get through."""

    steady: float
    """Of a first wave from the cell's initial state."""
    intervals: np.ndarray
    """S1-S2, ms, (intervals,)."""
    after: np.ndarray
    """Of each S2, (intervals,)."""


class Cable(NamedTuple):
    """The evaluated cell; the reference at the same step; the reference converged."""

    found: Velocities
    same_step: Velocities
    reference: Velocities
    moved: float
    """By how much the converged velocity differs from that of the shorter step, %."""


def cable(
    hybrid: AbstractCell, reference: AbstractCell, solver: diffrax.AbstractSolver, dt: float, intervals: tuple
) -> Experiment:
    """Velocities on a mesh of 0.1 mm, implicit diffusion, Strang's splitting.

    Beside the converged reference a wave shows the error of the step and of the gating; beside the reference at the
    same step that of the gating alone.
    """
    true, moved = converged_velocities(reference, intervals)
    same = velocities(reference, solver, dt, intervals)
    found = velocities(hybrid, solver, dt, intervals)
    rows = [Row(NAME, "conduction velocity", found.steady, true.steady, "m/s")]
    for beside, other in (("converged", true), ("same step", same)):
        k = largest(_percent(found.after, other.after), np.full(len(intervals), 100.0))
        after, steady = float(_percent(found.after, other.after)[k]), 100 * found.steady / other.steady
        rows += [
            Row(NAME, f"velocity beside the reference's, {beside}", steady, 100.0, "%", WITHIN),
            Row(NAME, f"the same of the S2 most wrong, {beside}", after, 100.0, "%", WITHIN, f"{intervals[k]:g} ms"),
        ]
    alone = (np.isfinite(found.after) ^ np.isfinite(true.after)).sum()
    rows += [
        Row(NAME, "S2 conducted by one alone", float(alone), None, "", 0),
        Row(NAME, "limit of short steps, beside the shortest", moved, None, "%", SELF_CONVERGED),
    ]
    return Experiment(tuple(rows), Cable(found, same, true, moved))


def _percent(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    return 100 * found / true


@remembered
def converged_velocities(cell: AbstractCell, intervals: tuple[float, ...]) -> tuple[Velocities, float]:
    """Of the reference: the limit of short steps, and by how much at most (%) the shorter ones are away from it."""
    coarse, fine = (velocities(cell, RushLarsenMidpoint(), dt, intervals, "explicit") for dt in STEPS)
    all_coarse, all_fine = (np.append(v.after, v.steady) for v in (coarse, fine))
    limit = all_fine + (all_fine - all_coarse) / ((STEPS[0] / STEPS[1]) ** 2 - 1)
    away = np.abs(_percent(all_fine, limit) - 100)
    return Velocities(float(limit[-1]), np.array(intervals), limit[:-1]), float(np.nanmax(away))


def velocities(
    cell: AbstractCell, solver: Any, dt: float, intervals: tuple[float, ...], diffusion: Method = "implicit"
) -> Velocities:
    """Of a wave into the cable in the cell's initial state, and of the S2 after it."""
    tissue = Tissue(cell, (CELLS,), SPACING, D)
    start, stop = BETWEEN
    how: dict[str, Any] = dict(dt=dt, solver=solver, diffusion=diffusion)
    stimulus = Stimulus(PulseTrain(AMPLITUDE, DURATION, np.inf), np.s_[:STIMULATED])
    run = simulate(tissue, [stimulus], t1=FOLLOWED, save_every=FOLLOWED, **how)
    steady = float(conduction_velocity(run, (start,), (stop,)))
    later = restitution(
        tissue, intervals, cycle_length=S2_FOLLOWED, amplitude=AMPLITUDE, duration=DURATION, beats=1,
        region=np.s_[:STIMULATED], start=(start,), stop=(stop,), **how,
    )  # fmt: skip
    return Velocities(steady, np.array(intervals), later.velocity)
