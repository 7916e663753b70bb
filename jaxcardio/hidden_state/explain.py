"""Which current changed: control and treatment retrained alike, compared, and held against other explanations."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ..annotations import typed
from ..arguments import check, check_whole
from ..cell import AbstractCell
from ..progress import progress_bar
from ..protocols import PulseTrain
from ..simulation.grid import paced_grid
from ..simulation.simulate import simulate
from ..solvers import RushLarsen2
from .observations import Observations
from .retraining import ALONE, PULL, Problem, Retrained, minimise, promising, retrain, retrained

ALTERNATIVES = 3
"""How many other single currents are tried."""


class Alternative(NamedTuple):
    """The treatment explained by one current alone: its ratio to control, and what is left of V (mV) and Ca_i (mM)."""

    name: str
    ratio: float
    cost: float
    rms_V: float
    rms_Ca: float


class Explanation(NamedTuple):
    """What a treatment did to a cell.

    control, treatment: both fits. alternatives: the main change, if any, alone, then the others tried, by their cost.
    """

    control: Retrained
    treatment: Retrained
    alternatives: tuple[Alternative, ...]

    @property
    def log_ratio(self) -> Float[np.ndarray, " gains"]:
        """Log of treatment / control, by `names`."""
        return self.treatment.log_gain - self.control.log_gain

    @property
    def ratio(self) -> dict[str, float]:
        """Treatment / control, by parameter."""
        return dict(zip(self.treatment.names, np.exp(self.log_ratio).tolist(), strict=True))

    @property
    def sd(self) -> dict[str, float]:
        """Standard deviation of each ratio, of both fits together; 0 where neither moved."""
        both = np.exp(self.log_ratio) * np.hypot(self.control.sd, self.treatment.sd)
        return dict(zip(self.treatment.names, both.tolist(), strict=True))

    @property
    def main(self) -> str | None:
        """The parameter that changed most, None if none did."""
        k = int(np.argmax(np.abs(self.log_ratio)))
        return self.treatment.names[k] if self.log_ratio[k] != 0 else None


@typed
def explain(
    cell: AbstractCell,
    control: Observations,
    treatment: Observations,
    *,
    names: Sequence[str] | None = None,
    pull: float = PULL,
    alternatives: int = ALTERNATIVES,
    progress: bool | Callable[[float], None] = False,
    **steps: Any,
) -> Explanation:
    """Retrains the cell on control, then on treatment (pulled towards control), and compares.

    The other explanations are those single currents whose change would, to first order, help most: each is fitted
    alone, and what it cannot explain is the evidence against it.

    Args:
        cell: the model, with learned gates (`as_cell`) or with its own.
        control, treatment: V and Ca_i of the same cell before and after.
        names, pull, steps: as for `retrain`.
        alternatives: how many single currents besides the main one are tried.
        progress: True for a bar on stderr, or a function of the fraction done.
    """
    check("pull", pull, "", ">= 0, finite", lambda x: 0 <= x < np.inf)
    check_whole("alternatives", alternatives, "", least=0)
    report = progress_bar("explaining", 100, "%") if progress is True else progress or (lambda done: None)
    before = retrain(cell, control, names=names, pull=pull, progress=lambda done: report(0.3 * done), **steps)
    problem = Problem(cell, treatment, before.names, **steps)
    after = retrained(problem, reference=before, pull=pull, progress=lambda done: report(0.3 + 0.4 * done))
    log_ratio = after.log_gain - before.log_gain
    tried = [int(np.argmax(np.abs(log_ratio)))] if log_ratio.any() else []
    start = np.concatenate([before.log_gain, np.zeros(problem.unknowns - len(before.names))])
    tried += [k for k in promising(problem, start) if k not in tried][:alternatives]
    found = []
    for i, k in enumerate(tried):
        x, cost, _ = minimise(problem, start, free=[k], iterations=ALONE)
        left = np.concatenate([p - o for p, o in zip(problem.predicted(x), problem.observed, strict=True)])
        rms_V, rms_Ca = np.sqrt(np.mean(left**2, 0)).tolist()
        found.append(Alternative(before.names[k], float(np.exp(x[k] - before.log_gain[k])), cost, rms_V, rms_Ca))
        report(0.7 + 0.3 * (i + 1) / len(tried))
    return Explanation(before, after, tuple(found[:1] + sorted(found[1:], key=lambda a: a.cost)))


@typed
def currents_on_common_waveform(
    explanation: Explanation, cycle_length: float = 800.0
) -> tuple[Float[np.ndarray, " times"], Any, Any, Any]:
    """Currents of control and treatment at the same states, those of a control beat (after 20 s of pacing).

    (Currents along each condition's own action potential differ wherever the potentials do, changed or not.)

    Returns:
        ts (ms), the states, and the currents (pA/pF) of the control cell and of the treated cell, (times,) each.
    """
    check("cycle_length", cycle_length, "ms", "50 to 10000", lambda x: 50 <= x <= 10_000)
    cell = explanation.control.cell
    pulses = PulseTrain(amplitude=-52.0, duration=1.0, period=cycle_length, start=10.0)
    begin = np.floor(20_000.0 / cycle_length - 1) * cycle_length
    t1 = begin + cycle_length
    ts = np.arange(begin, t1)
    run = simulate(cell, pulses, t1=t1, grid=paced_grid(pulses, t1), solver=RushLarsen2(), save_at=ts)
    return ts - begin, run.ys, cell.currents(run.ys), explanation.treatment.cell.currents(run.ys)
