"""finitewave's ten Tusscher-Panfilov sheet: numba, float64, explicit, gates by Rush-Larsen.

`python finitewave_sheet.py TASK`. The outermost nodes of its mesh are no tissue: a mesh is two nodes wider each way. It
starts here from the state that all sheets start from, not its own. Its I_K1 (a parenthesis) and f2 are not those of the
paper in 0.6.0 of its model, so that its velocity, 0.3 % higher, is compared with its own limit alone.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import measuring
import numpy as np
from finitewave.core.stimulation.stim_sequence import StimSequence
from finitewave.core.tissue.cardiac_tissue import CardiacTissue
from finitewave.core.tracker.tracker import Tracker
from finitewave.core.tracker.tracker_sequence import TrackerSequence
from finitewave.cpuwave.model.ten_tusscher_panfilov_2006 import TenTusscherPanfilov2006
from finitewave.cpuwave.stimulation.stim_current_coord import StimCurrentCoord

NAMES = {"V": "u", "Ca_i": "cai", "Ca_SR": "casr", "Ca_ss": "cass", "Na_i": "nai", "K_i": "ki", "R": "rr"}


class Recorder(Tracker):
    """V of some nodes after every step."""

    def __init__(self, nodes: list[tuple[int, int]]):
        super().__init__()
        self.nodes, self.ts, self.V = nodes, [], []

    def initialize(self, model):
        self.model = model

    def _track(self):
        self.ts.append(self.model.t)
        self.V.append([self.model.u[node] for node in self.nodes])

    def output(self):
        return np.array(self.ts), np.array(self.V).T


def sheet(task: measuring.Task, dt: float, shape: tuple[int, ...], recorder: Recorder | None) -> Any:
    nx, ny = shape
    model = TenTusscherPanfilov2006()
    model.dt, model.dr, model.D_model, model.prog_bar = dt, task["dx"], measuring.DIFFUSIVITY, False
    model.cardiac_tissue = CardiacTissue((nx + 2, ny + 2))
    for name, value in measuring.TP06_STATE.items():
        setattr(model, "init_" + NAMES.get(name, name.lower()), value)
    # It stimulates once more when the duration is over: the pulse is told one step shorter, and half, against rounding.
    duration = measuring.STIMULUS_DURATION - 1.5 * dt
    model.stim_sequence = StimSequence()
    model.stim_sequence.add_stim(
        StimCurrentCoord(0.0, measuring.STIMULUS, duration, 1, 1 + measuring.stimulated(task["dx"]), 1, ny + 1)
    )
    if recorder is not None:
        model.tracker_sequence = TrackerSequence()
        model.tracker_sequence.add_tracker(recorder)
    return model


def velocity(task: measuring.Task, dt: float, shape: tuple[int, ...]) -> float:
    recorder = Recorder([(1 + i, 1 + shape[1] // 2) for i in measuring.ends(task["dx"])])
    model = sheet(task, dt, shape, recorder)
    model.t_max = task.get("duration", 35.0)
    model.run(num_of_threads=task["threads"])
    ts, (first, last) = recorder.output()
    return measuring.velocity(ts, first, last, task["dx"])


def advancing(task: measuring.Task, dt: float, shape: tuple[int, ...]) -> Callable[[int], None]:
    model = sheet(task, dt, shape, None)
    started = False

    def advance(steps: int) -> None:
        nonlocal started
        model.t_max = model.t + (steps - 0.5) * dt  # it rounds up
        model.run(initialize=not started, num_of_threads=task["threads"])
        started = True

    return advance


def identity(task: measuring.Task) -> dict[str, Any]:
    return {
        "program": "finitewave",
        "version": version("finitewave"),
        "model": "TP06 epi",
        "precision": "float64",
        "threads": task["threads"],
    }


if __name__ == "__main__":
    measuring.measure(measuring.Peer(identity, velocity, advancing))
