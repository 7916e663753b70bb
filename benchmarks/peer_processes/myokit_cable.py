"""Myokit's cable in C, float64, explicit, gates by Rush-Larsen, one thread: `python myokit_cable.py TASK`.

Cells at the ends have one neighbour, which is the no flux of cell-centred finite volumes.
"""

from collections.abc import Callable
from typing import Any

import measuring
import myokit
import numpy as np
from myokit_model import model, pacing

LOG_INTERVAL = 0.01  # ms; it steps to every sample, so never shorter than a step


def cable(task: measuring.Task, dt: float, shape: tuple[int, ...]) -> Any:
    found = myokit.Simulation1d(
        model(task["model"], task.get("file")),
        pacing(task.get("level", 2.0), measuring.STIMULUS_DURATION),
        ncells=shape[0],
        rl=True,
    )
    found.set_step_size(dt)
    found.set_paced_cells(measuring.stimulated(task["dx"]))
    found.set_conductance(measuring.DIFFUSIVITY / task["dx"] ** 2)
    return found


def velocity(task: measuring.Task, dt: float, shape: tuple[int, ...]) -> float:
    names = ["engine.time", *(f"{i}.membrane.V" for i in measuring.ends(task["dx"]))]
    run = cable(task, dt, shape)
    log = run.run(task.get("duration", 35.0), log=names, log_interval=max(LOG_INTERVAL, dt))
    ts, first, last = (np.array(log[name]) for name in names)
    return measuring.velocity(ts, first, last, task["dx"])


def advancing(task: measuring.Task, dt: float, shape: tuple[int, ...]) -> Callable[[int], Any]:
    run = cable(task, dt, shape)
    return lambda steps: run.run(steps * dt, log=myokit.LOG_NONE)


def identity(task: measuring.Task) -> dict[str, Any]:
    return {
        "program": "Myokit Simulation1d",
        "version": myokit.__version__,
        "model": task["model"],
        "precision": "float64",
        "threads": 1,
    }


if __name__ == "__main__":
    measuring.measure(measuring.Peer(identity, velocity, advancing, across=()))
