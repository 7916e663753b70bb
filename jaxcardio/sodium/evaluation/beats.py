"""The last of many beats, against the converged solution: V, and its biomarkers."""

from typing import Any, NamedTuple

import numpy as np

from ...biomarkers import ActionPotentials, action_potentials
from ...cell import AbstractCell
from ...simulation.trace import Trace
from .pacing import SAMPLED, Stepping, converged, pulses, remembered
from .table import Experiment, Row, rms

NAME = "beats"
APD90, DVDT, RMP, APA = 2.0, 3.0, 0.1, 0.5
"""Bars: ms, V/s, mV, mV."""
RMSE = ((0.01, 0.02), (np.inf, 0.12))
"""Bars of the RMSE, mV, of steps up to so many ms."""
UPSTROKE = 20.0
"""The reference's numbers come from samples of 0.01 ms so long after its stimulus, ms."""
SELF_CONVERGED = 1e-3
"""Most by which halving the reference's steps may move its V, RMSE in mV."""


class Reference(NamedTuple):
    """The last beat of the reference, converged."""

    cell: AbstractCell
    start: Any
    """Its state at the last stimulus."""
    onset: float
    """Of the last stimulus, ms."""
    cycle_length: float
    dvdt_max: float
    """V/s"""
    apd90: float
    rmp: float
    apa: float
    t_peak: float
    """ms since the last stimulus"""
    moved: float
    """By how much halving the steps moved V, RMSE in mV."""

    def at(self, since: np.ndarray, outputs: Any = None) -> Trace:
        """The last beat at times since its stimulus (ascending, ms)."""
        return converged().run(
            self.cell, pulses(self.cycle_length), self.onset + self.cycle_length, self.onset, y0=self.start,
            save_at=self.onset + since, outputs=outputs,
        )  # fmt: skip


class LastBeat(NamedTuple):
    """V of the last beat at times since its stimulus, ms and mV, each (samples,)."""

    ts: np.ndarray
    V: np.ndarray
    reference: np.ndarray


@remembered
def reference_of(cell: AbstractCell, beats: int, cycle_length: float) -> Reference:
    """The last of so many beats of this cell, by steps that are halved to see that they do not matter."""
    onset = (beats - 1) * cycle_length
    upstroke = np.arange(0.0, UPSTROKE, 0.01)
    ts = np.append(upstroke, np.arange(UPSTROKE, cycle_length, SAMPLED))
    fine, coarse = (
        _last(cell, stepping, onset, cycle_length, onset + ts) for stepping in (converged(), converged(divided=1))
    )
    start, trace = fine
    found, moved = measured(trace), np.asarray(trace.ys.V) - np.asarray(coarse[1].ys.V)
    return Reference(
        cell, start, onset, cycle_length, found.dvdt_max, found.apd90, found.rmp, found.apa, found.t_peak - onset,
        float(np.sqrt(np.trapezoid(moved**2, ts) / cycle_length)),
    )  # fmt: skip


def _last(cell: AbstractCell, stepping: Stepping, onset: float, cycle_length: float, save_at: Any) -> tuple[Any, Trace]:
    """The state at the last stimulus, and the beat that follows."""
    pacing = pulses(cycle_length)
    y = cell.initial_state()
    if onset > 0:
        y = stepping.run(cell, pacing, onset, save_at=[onset], outputs=["V"]).final_state
    return y, stepping.run(cell, pacing, onset + cycle_length, onset, y0=y, save_at=save_at)


class Beat(NamedTuple):
    """Numbers of one beat; NaN where there is none."""

    apd90: float
    dvdt_max: float
    rmp: float
    apa: float
    t_peak: float


def measured(trace: Trace) -> Beat:
    """The first beat of a trace that begins at its stimulus."""
    beats: ActionPotentials = action_potentials(trace)
    if not np.ravel(beats.valid).any():
        return Beat(*[float("nan")] * 5)
    numbers = (beats.apd90, beats.dvdt_max, beats.rmp, beats.apa, beats.t_peak)
    return Beat(*(float(np.ravel(x)[0]) for x in numbers))


def last_beat(
    hybrid: AbstractCell, reference: AbstractCell, stepping: Stepping, beats: int, cycle_length: float
) -> Experiment:
    """RMSE and biomarkers of the last beat.

    dV/dt max is the biomarker of the library: that of the cell's own equations, stepped finely through the upstroke
    from the state that the steps have reached. It says what the gating can do. What the steps themselves did is the
    row "steepest step", beside that of the reference over the same intervals.
    """
    true = reference_of(reference, beats, cycle_length)
    _, trace = _last(hybrid, stepping, true.onset, cycle_length, "steps")
    steps, V = np.asarray(trace.ts), np.asarray(trace.ys.V, float)
    every = max(1, round(0.1 / stepping.dt)) if stepping.dt else 1
    ts = steps[::every] - true.onset
    known = np.asarray(true.at(steps - true.onset, ["V"]).ys.V, float)
    difference = (V - known)[::every]
    falling = (ts > true.t_peak) & (ts < true.t_peak + true.apd90)
    found = measured(trace)
    steepest = [float(np.max(np.diff(x) / np.diff(steps))) for x in (V, known)]
    bar = next(bar for longest, bar in RMSE if (stepping.dt or 0.0) <= longest * (1 + 1e-9))
    rows = (
        Row(NAME, "RMSE of V, whole beat", rms(difference), None, "mV", bar),
        Row(NAME, "RMSE of V, repolarisation", rms(difference[falling]), None, "mV", bar),
        Row(NAME, "APD90", found.apd90, true.apd90, "ms", APD90),
        Row(NAME, "dV/dt max", found.dvdt_max, true.dvdt_max, "V/s", DVDT),
        Row(NAME, "steepest step", steepest[0], steepest[1], "V/s"),
        Row(NAME, "RMP", found.rmp, true.rmp, "mV", RMP),
        Row(NAME, "APA", found.apa, true.apa, "mV", APA),
        Row(NAME, "RMSE of the reference, steps halved", true.moved, None, "mV", SELF_CONVERGED),
    )
    return Experiment(rows, LastBeat(ts, V[::every], known[::every]))
