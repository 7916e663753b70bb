"""pigreads' ten Tusscher-Panfilov sheet: OpenCL, explicit, gates by Rush-Larsen: `python pigreads_sheet.py TASK`.

Its arrays are periodic; a rim of nodes outside the tissue ends them. It keeps no samples: the strip is run in pieces.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import measuring
import numpy as np
import pigreads

SAMPLE = 0.02  # ms


class Sheet:
    """A sheet (nx, ny) with a rim, and its state; starts with the stimulus."""

    def __init__(self, task: measuring.Task, dt: float, shape: tuple[int, ...]):
        nx, ny = shape
        dx = task["dx"]
        self.dt = dt
        self.models = pigreads.Models("tentusscher2006alternans", double_precision=task["precision"] == "float64")
        self.inhom = np.zeros((1, ny + 2, nx + 2), dtype=int)
        self.inhom[0, 1:-1, 1:-1] = 1
        self.weights = self.models.weights(dx, dx, dx, self.inhom, measuring.DIFFUSIVITY)
        variables = self.models.get_definition(0).variables
        self.states = self.models.resting_states(self.inhom)[0]
        for name, value in measuring.TP06_STATE.items():
            self.states[self.inhom > 0, list(variables).index("Rbar" if name == "R" else name)] = value
        self.V = list(variables).index("V")
        self.where = np.zeros(self.inhom.shape)
        self.where[:, 1:-1, 1 : 1 + measuring.stimulated(dx)] = 1
        self.signal = np.zeros((1, len(variables)))
        self.signal[0, self.V] = measuring.STIMULUS
        self.step = 0

    def advance(self, steps: int) -> None:
        """Begins and ends where the stimulus does or before, or after it."""
        on = round(measuring.STIMULUS_DURATION / self.dt) - self.step
        for n, stimulus in ((min(steps, max(on, 0)), True), (max(steps - max(on, 0), 0), False)):
            if n:
                given = {"stim_signal": self.signal, "stim_shape": self.where} if stimulus else {}
                self.states = self.models.run(self.inhom, self.weights, self.states, Nt=n, dt=self.dt, **given)
        self.step += steps


def velocity(task: measuring.Task, dt: float, shape: tuple[int, ...]) -> float:
    sheet = Sheet(task, dt, shape)
    every = max(1, round(SAMPLE / dt))
    samples = round(task.get("duration", 35.0) / (every * dt))
    V = np.empty((2, samples))
    for k in range(samples):
        sheet.advance(every)
        V[:, k] = [sheet.states[0, 1 + shape[1] // 2, 1 + i, sheet.V] for i in measuring.ends(task["dx"])]
    return measuring.velocity(every * dt * np.arange(1, samples + 1), V[0], V[1], task["dx"])


def advancing(task: measuring.Task, dt: float, shape: tuple[int, ...]) -> Callable[[int], None]:
    return Sheet(task, dt, shape).advance


def identity(task: measuring.Task) -> dict[str, Any]:
    return {
        "program": "pigreads",
        "version": version("pigreads"),
        "model": "TP06 epi",
        "precision": task["precision"],
        "threads": task["threads"],
    }


if __name__ == "__main__":
    measuring.measure(measuring.Peer(identity, velocity, advancing))
