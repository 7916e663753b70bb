"""Myokit's OpenCL sheet, float32 as it comes, explicit, gates by Rush-Larsen: `python myokit_sheet.py TASK`."""

from collections.abc import Callable
from typing import Any

import measuring
import myokit
import numpy as np
from myokit_model import model, pacing

LOG_INTERVAL = 0.02  # ms


def sheet(task: measuring.Task, dt: float, shape: tuple[int, ...]) -> Any:
    found = myokit.SimulationOpenCL(
        model(task["model"]),
        pacing(2.0, measuring.STIMULUS_DURATION),
        ncells=shape,
        precision=myokit.DOUBLE_PRECISION if task["precision"] == "float64" else myokit.SINGLE_PRECISION,
        rl=True,
    )
    found.set_step_size(dt)
    found.set_paced_cells(nx=measuring.stimulated(task["dx"]), ny=shape[1])
    g = measuring.DIFFUSIVITY / task["dx"] ** 2
    found.set_conductance(g, g)
    return found


def velocity(task: measuring.Task, dt: float, shape: tuple[int, ...]) -> float:
    names = ["engine.time", *(f"{i}.{shape[1] // 2}.membrane.V" for i in measuring.ends(task["dx"]))]
    try:
        log = sheet(task, dt, shape).run(task.get("duration", 35.0), log=names, log_interval=LOG_INTERVAL)
    except myokit.SimulationError:  # it looks for NaN itself
        return float("nan")
    ts, first, last = (np.array(log[name]) for name in names)
    return measuring.velocity(ts, first, last, task["dx"])


def advancing(task: measuring.Task, dt: float, shape: tuple[int, ...]) -> Callable[[int], Any]:
    run = sheet(task, dt, shape)
    return lambda steps: run.run(steps * dt, log=myokit.LOG_NONE, report_nan=False)


def identity(task: measuring.Task) -> dict[str, Any]:
    return {
        "program": "Myokit SimulationOpenCL",
        "version": myokit.__version__,
        "model": task["model"],
        "precision": task["precision"],
        "threads": task["threads"],
    }


if __name__ == "__main__":
    # Long runs: it copies its state to and from lists of Python at each.
    measuring.measure(measuring.Peer(identity, velocity, advancing, seconds=5.0, repeats=3))
