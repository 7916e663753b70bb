"""What the peers' processes share: the wave that all run, how its speed is found, how time is taken, what is printed.

Needs NumPy alone. The wave: 20 mm of tissue, 0.154 mm^2/ms, a stimulus of 104 pA/pF for 1 ms over the first mm.
"""

import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

LENGTH = 20.0  # mm
STIMULATED = 1.0  # mm
STIMULUS = 104.0  # pA/pF, which are mV/ms
STIMULUS_DURATION = 1.0  # ms
DIFFUSIVITY = 0.154  # mm^2/ms
THRESHOLD = -30.0  # mV
WIDTH = 8  # nodes of a strip, where a program has no cables
HOW = "-30 mV crossed between the cells 40 and 80 % along 20 mm, crossings interpolated linearly between samples"
# Ten Tusscher and Panfilov 2006, epicardial: the state that Niederer et al. 2011 start from.
TP06_STATE = {
    "V": -85.23, "Xr1": 0.00621, "Xr2": 0.4712, "Xs": 0.0095, "m": 0.00172, "h": 0.7444, "j": 0.7045, "d": 3.373e-5,
    "f": 0.7888, "f2": 0.9755, "fCass": 0.9953, "s": 0.999998, "r": 2.42e-8, "Ca_i": 0.000126, "R": 0.9073,
    "Ca_SR": 3.64, "Ca_ss": 0.00036, "Na_i": 8.604, "K_i": 136.89,
}  # fmt: skip

Task = dict[str, Any]


def cells(dx: float) -> int:
    """Along the wave's 20 mm."""
    return round(LENGTH / dx)


def stimulated(dx: float) -> int:
    """Cells under the stimulus."""
    return round(STIMULATED / dx)


def ends(dx: float) -> tuple[int, int]:
    """The two cells between which the speed is measured: 8 mm apart."""
    return round(0.4 * LENGTH / dx), round(0.8 * LENGTH / dx)


def crossing(ts: np.ndarray, V: np.ndarray) -> float:
    """When V (time,) first rises through the threshold, between samples; NaN where it never does."""
    rises = np.flatnonzero((V[:-1] < THRESHOLD) & (V[1:] >= THRESHOLD))
    if not rises.size:
        return math.nan
    i = rises[0]
    return float(ts[i] + (ts[i + 1] - ts[i]) * (THRESHOLD - V[i]) / (V[i + 1] - V[i]))


def velocity(ts: np.ndarray, first: np.ndarray, last: np.ndarray, dx: float) -> float:
    """m/s, from V (time,) of the cells `ends`; NaN where the wave did not pass, or the run was unstable."""
    if not (np.isfinite(first).all() and np.isfinite(last).all()):
        return math.nan
    start, stop = ends(dx)
    took = crossing(ts, last) - crossing(ts, first)
    return (stop - start) * dx / took if took > 0 else math.nan


def rates(advance: Callable[[int], Any], nodes: int, seconds: float, repeats: int) -> tuple[float, float]:
    """Node-steps a second, and a second of processor time (of all threads together).

    Each the best of `repeats` runs of at least `seconds` of processor time, so that what else the machine does counts
    little. `advance(steps)` goes on from where it was; its first call, which compiles, is not timed.
    """

    def took(steps: int) -> tuple[float, float]:
        begin, begin_cpu = time.perf_counter(), time.process_time()
        advance(steps)
        return time.perf_counter() - begin, time.process_time() - begin_cpu

    advance(2)
    steps = 4
    while took(steps)[1] < seconds:
        steps *= 2
    wall, cpu = zip(*(took(steps) for _ in range(repeats)), strict=True)
    return nodes * steps / min(wall), nodes * steps / min(cpu)


class Peer(NamedTuple):
    """A program, and its own way to run a wave.

    identity: what its rows say of it: program, version, model, precision, threads.
    velocity: (task, dt, shape) -> CV in m/s, NaN where no wave passes.
    advancing: (task, dt, shape) -> a function that goes on by so many steps.
    across: nodes of the strip on which the velocity is measured, beyond the first axis; none for a cable.
    """

    identity: Callable[[Task], dict[str, Any]]
    velocity: Callable[[Task, float, tuple[int, ...]], float]
    advancing: Callable[[Task, float, tuple[int, ...]], Callable[[int], Any]]
    across: tuple[int, ...] = (WIDTH,)
    seconds: float = 0.5
    repeats: int = 8


def measure(peer: Peer) -> None:
    """Runs the task on the command line, JSON, with each of its `dts`, and prints a line of JSON for each.

    The task names `dx` (mm) and `shape` (of the timed tissue), and may name what to `measure`: "cv", "speed" or both.
    """
    task: Task = json.loads(sys.argv[1])
    wanted = task.get("measure", ["cv", "speed"])
    for dt in task["dts"]:
        row = {**peer.identity(task), "dx": task["dx"], "dt": dt, "status": "ok"}
        if "speed" in wanted:
            shape = tuple(task["shape"])
            nodes = math.prod(shape)
            rate, of_cpu = rates(peer.advancing(task, dt, shape), nodes, peer.seconds, peer.repeats)
            row |= {"speed_shape": shape, "node_steps_per_s": rate, "node_steps_per_cpu_s": of_cpu}
        if "cv" in wanted:
            strip = (cells(task["dx"]), *peer.across)
            cv = peer.velocity(task, dt, strip)
            row |= {"cv_shape": strip, "cv": cv if math.isfinite(cv) else None, "cv_how": HOW}
            if not math.isfinite(cv):
                row["status"] = "unstable"
        print(json.dumps(row), flush=True)
