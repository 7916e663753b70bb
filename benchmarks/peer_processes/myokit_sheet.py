"""Myokit's OpenCL sheet, float32 as it comes, explicit, gates by Rush-Larsen: `python myokit_sheet.py TASK`."""

from typing import Any

import measuring
import myokit
import numpy as np
from myokit_model import model, pacing

LOG_INTERVAL = 0.02  # ms


def sheet(task: dict[str, Any], dt: float, shape: tuple[int, int]) -> Any:
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


def velocity(task: dict[str, Any], dt: float, shape: tuple[int, int]) -> float:
    names = ["engine.time", *(f"{i}.{shape[1] // 2}.membrane.V" for i in measuring.ends(task["dx"]))]
    try:
        log = sheet(task, dt, shape).run(task.get("duration", 35.0), log=names, log_interval=LOG_INTERVAL)
    except myokit.SimulationError:  # it looks for NaN itself
        return float("nan")
    ts, first, last = (np.array(log[name]) for name in names)
    return measuring.velocity(ts, first, last, task["dx"])


def measure(task: dict[str, Any], dt: float) -> dict[str, Any]:
    found: dict[str, Any] = {
        "program": "Myokit SimulationOpenCL",
        "version": myokit.__version__,
        "model": task["model"],
        "precision": task["precision"],
        "threads": task["threads"],
    }
    what = measuring.wanted(task)
    if "cv" in what:
        strip = (measuring.cells(task["dx"]), measuring.WIDTH)
        found |= {"cv_shape": list(strip), "cv": velocity(task, dt, strip)}
    if "speed" in what:
        shape = tuple(task["shape"])
        run, nodes = sheet(task, dt, shape), shape[0] * shape[1]
        # Long runs: it copies its state to and from lists of Python at each.
        rate = measuring.node_steps_per_second(
            lambda steps: run.run(steps * dt, log=myokit.LOG_NONE, report_nan=False), nodes, seconds=6.0, repeats=3
        )
        found |= {"speed_shape": list(shape), "nodes": nodes, "node_steps_per_s": rate}
    return found


if __name__ == "__main__":
    measuring.rows(measure)
