"""What the peers' processes share: the wave that all run, how its speed is found, how time is taken, what is printed.

Needs NumPy alone. The wave: 20 mm of tissue, 0.154 mm^2/ms, a stimulus of 104 pA/pF for 1 ms over the first mm.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

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


def node_steps_per_second(advance: Callable[[int], Any], nodes: int, seconds: float = 1.0, repeats: int = 6) -> float:
    """Best of `repeats` runs of about `seconds` each, so that what else the machine does counts little.

    `advance(steps)` goes on from where it was; its first call, which compiles, is not timed.
    """

    def took(steps: int) -> float:
        begin = time.perf_counter()
        advance(steps)
        return time.perf_counter() - begin

    advance(2)
    steps = max(4, math.ceil(4 * seconds / took(4)))
    return nodes * steps / min(took(steps) for _ in range(repeats))


def rows(measure: Callable[[dict[str, Any], float], Mapping[str, Any]]) -> None:
    """Runs `measure(task, dt)` for every step of the task on the command line, and prints a line of JSON for each.

    A measurement gives `nodes` and `node_steps_per_s`, or `cv`, or all three; a CV that is NaN says `unstable`.
    """
    task: dict[str, Any] = json.loads(sys.argv[1])
    for dt in task["dts"]:
        found = dict(measure(task, dt))
        nodes, rate = found.pop("nodes", None), found.get("node_steps_per_s")
        if rate:
            found["seconds_per_simulated_ms"] = nodes / dt / rate
        if "cv" in found:
            found["cv_how"] = HOW
        failed = not math.isfinite(found.get("cv", 0.0))
        found["cv"] = None if failed else found.get("cv")
        print(json.dumps({"dx": task["dx"], "dt": dt, **found, "status": "unstable" if failed else "ok"}), flush=True)


def wanted(task: dict[str, Any], what: Iterable[str] = ("cv", "speed")) -> set[str]:
    """What of `what` the task measures: all, unless it names some."""
    return set(task.get("measure", what))
