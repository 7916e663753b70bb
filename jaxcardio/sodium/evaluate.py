"""evaluate(): a cell with some sodium gating, at one step, beside the converged cell with its own."""

from collections.abc import Callable, Sequence

import diffrax
import numpy as np

from ..annotations import typed
from ..arguments import check_concrete, check_known, check_whole, refusal
from ..cell import dtype_of
from ..models import Skibsbye2016
from ..progress import progress_bar
from ..solvers import RushLarsenMidpoint
from .evaluation import action_potential_clamp, cable, clamps, restitution
from .evaluation import beats as last_beats
from .evaluation.pacing import DURATION, Stepping
from .evaluation.table import Evaluation, Experiment

EXPERIMENTS = (last_beats.NAME, restitution.NAME, clamps.NAME, action_potential_clamp.NAME, cable.NAME)
"""Names of all experiments."""
SHARE: dict[str, float] = dict(zip(EXPERIMENTS, (0.4, 0.35, 0.05, 0.05, 0.15), strict=True))
"""Of the time that all take."""
INTERVALS = tuple(range(300, 1001, 50))
"""S1-S2 intervals and cycle lengths of the action potentials' restitution, ms."""
CABLE_INTERVALS = (300, 400, 600)
"""S1-S2 intervals of the velocity's, ms."""
SHORTEST, LONGEST = 0.005, 0.5
"""Steps that can be evaluated, ms."""


@typed
def evaluate(
    hybrid: Skibsbye2016,
    dt: float = 0.1,
    *,
    solver: diffrax.AbstractSolver | None = None,
    reference: Skibsbye2016 | None = None,
    beats: int = 100,
    cycle_length: float = 1000.0,
    experiments: Sequence[str] = EXPERIMENTS,
    intervals: Sequence[float] = INTERVALS,
    cable_intervals: Sequence[float] = CABLE_INTERVALS,
    progress: bool | Callable[[float], None] = False,
) -> Evaluation:
    """The table of the bars: what a sodium gating and a step make of the cell, beside the converged reference.

    - `beats`: the last of many beats: RMSE of V every 0.1 ms (or every step, if longer), APD90, dV/dt max, RMP, APA.
    - `restitution`: APD90 by S1-S2 (at most 10 S1 at 1 Hz) and dynamic (at most 10 beats at each cycle length).
    - `clamps`: peak I_Na against V, availability and recovery, of the gatings alone at the same steps.
    - `ap_clamp`: gates and I_Na along the reference's action potential.
    - `cable`: conduction velocity, and that of S2, in 10 mm at 0.1 mm with D = 0.154 mm^2/ms.

    The reference is stepped by `RushLarsenMidpoint` so finely that its steps do not matter, which rows of the table
    show; it is computed once for a process. All of it at the defaults takes a minute or two, half of that when the
    reference is known.

    Args:
        hybrid: the cell, e.g. `Skibsbye2016().replace(sodium=gating)`; in float32 its runs are in float32.
        dt: of its fixed steps, ms.
        solver: of its steps; default `RushLarsenMidpoint()`.
        reference: the cell beside it, with its own gating; default `Skibsbye2016()`.
        beats: how many stimuli, 2 ms of -11.5 pA/pF. The bars are for the default: with few, `restitution` measures
            beats on their way from one cycle length to the next, where every error is larger.
        cycle_length: of the `beats`, ms.
        experiments: names of those to do.
        intervals: S1-S2 intervals and cycle lengths of `restitution`, ms.
        cable_intervals: S1-S2 intervals of `cable`, ms.
        progress: True for a bar on stderr, or a function of the fraction done.

    Raises:
        ValueError: an argument is out of range.
    """
    check_concrete(hybrid=hybrid, reference=reference)
    for name, cell in (("hybrid", hybrid), ("reference", reference)):
        if cell is not None and cell.population_size() is not None:
            raise refusal(name, f"a population of {cell.population_size()} cells", "", "one cell")
    allowed = f"{SHORTEST:g} to {LONGEST:g} ms"
    check_known("dt", dt, "ms", allowed, lambda x: (x >= SHORTEST) & (x <= LONGEST))
    check_whole("beats", beats, "stimuli")
    allowed = "100 to 10000 ms"
    check_known("cycle_length", cycle_length, "ms", allowed, lambda x: (x >= 100) & (x <= 1e4))
    if not experiments or not set(experiments) <= set(EXPERIMENTS):
        raise refusal("experiments", ", ".join(experiments), "", f"of {', '.join(EXPERIMENTS)}, at least one")
    lists = {"intervals": intervals, "cable_intervals": cable_intervals}
    spans = {name: _checked_intervals(name, given) for name, given in lists.items()}
    reference = Skibsbye2016() if reference is None else reference
    stepping = Stepping(RushLarsenMidpoint() if solver is None else solver, float(dt))
    jobs: dict[str, Callable[[], Experiment]] = {
        last_beats.NAME: lambda: last_beats.last_beat(hybrid, reference, stepping, beats, float(cycle_length)),
        restitution.NAME: lambda: restitution.restitution(hybrid, reference, stepping, beats, spans["intervals"]),
        clamps.NAME: lambda: clamps.clamps(hybrid, reference, float(dt)),
        action_potential_clamp.NAME: lambda: action_potential_clamp.action_potential_clamp(
            hybrid, reference, float(dt), beats, float(cycle_length)
        ),
        cable.NAME: lambda: cable.cable(hybrid, reference, stepping.solver, float(dt), spans["cable_intervals"]),
    }
    report = progress_bar("evaluate") if progress is True else progress or (lambda done: None)
    wanted = [name for name in EXPERIMENTS if name in experiments]
    whole, done, found = sum(SHARE[name] for name in wanted), 0.0, {}
    for name in wanted:
        report(done / whole)
        found[name] = jobs[name]()
        done += SHARE[name]
    report(1.0)
    return Evaluation(
        rows=tuple(row for name in wanted for row in found[name].rows),
        curves={name: found[name].curves for name in wanted},
        cell=hybrid,
        dt=float(dt),
        solver=type(stepping.solver).__name__,
        beats=beats,
        cycle_length=float(cycle_length),
        precision=dtype_of(hybrid).name,
    )


def _checked_intervals(name: str, intervals: Sequence[float]) -> tuple[float, ...]:
    """Ascending, each once."""
    allowed = f"each > {10 * DURATION:g} ms and at most 10000 ms, at least one, ascending"
    given = np.asarray(intervals, float)
    good = given.ndim == 1 and given.size and ((given > 10 * DURATION) & (given <= 1e4)).all()
    if not good or not (np.diff(given) > 0).all():
        raise refusal(name, intervals, "ms", allowed)
    return tuple(map(float, given))
