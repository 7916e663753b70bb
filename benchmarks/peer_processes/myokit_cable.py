"""Myokit's cable in C, float64, explicit, gates by Rush-Larsen: `python myokit_cable.py TASK`.

Cells at the ends have one neighbour, which is the no flux of cell-centred finite volumes.
"""

import os
from typing import Any

import measuring
import myokit
import numpy as np
from myokit_model import model, pacing

SPEED_CELLS = 1000
LOG_INTERVAL = 0.01  # ms


def simulation(task: dict[str, Any], dt: float, cells: int) -> Any:
    found = myokit.Simulation1d(
        model(task["model"], task.get("file")),
        pacing(task.get("level", 2.0), measuring.STIMULUS_DURATION),
        ncells=cells,
        rl=True,
    )
    found.set_step_size(dt)
    found.set_paced_cells(measuring.stimulated(task["dx"]))
    found.set_conductance(measuring.DIFFUSIVITY / task["dx"] ** 2)
    return found


def velocity(task: dict[str, Any], dt: float) -> float:
    dx = task["dx"]
    run = simulation(task, dt, measuring.cells(dx))
    V = run._model.label("membrane_potential").qname()
    time = run._model.time().qname()
    first, last = (f"{i}.{V}" for i in measuring.ends(dx))
    log = run.run(task.get("duration", 35.0), log=[time, first, last], log_interval=LOG_INTERVAL)
    ts, at_first, at_last = (np.array(log[name]) for name in (time, first, last))
    return measuring.velocity(ts, at_first, at_last, dx)


def speed(task: dict[str, Any], dt: float) -> dict[str, Any]:
    run = simulation(task, dt, SPEED_CELLS)
    rate = measuring.node_steps_per_second(lambda steps: run.run(steps * dt, log=myokit.LOG_NONE), SPEED_CELLS)
    return {"speed_shape": [SPEED_CELLS], "nodes": SPEED_CELLS, "node_steps_per_s": rate}


def measure(task: dict[str, Any], dt: float) -> dict[str, Any]:
    found: dict[str, Any] = {
        "program": "Myokit Simulation1d",
        "version": myokit.__version__,
        "model": task["model"],
        "precision": "float64",
        "threads": 1,
    }
    what = measuring.wanted(task)
    if "cv" in what:
        found |= {"cv_shape": [measuring.cells(task["dx"])], "cv": velocity(task, dt)}
    if "speed" in what:
        found |= speed(task, dt)
    return found


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):  # one core, where the system can be told
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    measuring.rows(measure)
