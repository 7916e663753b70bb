"""What benchmark scripts share: where they ran, how they time, what they call an error, how they print and keep it."""

import datetime
import json
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxcardio as jc
from jaxcardio.clock import positions
from jaxcardio.files.writing import write_text

RESULTS = Path(__file__).parent / "results"
Rows = Sequence[dict[str, Any]]


def machine() -> dict[str, Any]:
    """Device, processor, versions, date, and how busy the machine was: times mean nothing without them."""
    device = jax.devices()[0]
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": f"{device.platform}: {device.device_kind}",
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "x64": bool(jax.config.read("jax_enable_x64")),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("jaxcardio", "jax", "jaxlib", "diffrax", "equinox", "numpy")},
        },
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


class Timing(NamedTuple):
    """Seconds of the first call beyond the best later one (None without one), of the best; how many later ones."""

    compile_s: float | None
    run_s: float
    repeats: int


def timed(
    function: Callable[[], Any], again: Callable[[Any], bool], repeats: int = 3, budget: float = 1.5
) -> tuple[Any, Timing]:
    """Calls `function` once to warm up; if its result is worth it (`again`), `repeats` times more.

    The later calls stop when they have taken `budget` seconds together. Without any, the first call is the time.
    """

    def once():
        begin = time.perf_counter()
        result = jax.block_until_ready(function())
        return result, time.perf_counter() - begin

    result, first = once()
    if not again(result):
        return result, Timing(None, first, 0)
    later: list[float] = []
    while len(later) < repeats and sum(later) < budget:
        later.append(once()[1])
    return result, Timing(max(0.0, first - min(later)), min(later), len(later))


class Solution(NamedTuple):
    """A run as it is compared: samples over the whole run (potential in mV), and the last beat's biomarkers."""

    ts: np.ndarray
    V: np.ndarray
    upstrokes: np.ndarray
    apd90: float
    dvdt_max: float


def nothing(ts: np.ndarray) -> Solution:
    """What a failed run has."""
    return Solution(ts, np.full(ts.shape, np.nan), np.zeros(0), np.nan, np.nan)


def solution(
    ts: np.ndarray, V: np.ndarray, beats: jc.biomarkers.ActionPotentials, every: float, ms: float = 1.0, mV: float = 1.0
) -> Solution:
    """Of V (time,) and its measured `beats`: the samples at multiples of `every`, and the last whole beat.

    `ms` and `mV` are the model's units of time and potential.
    """
    whole = np.abs(ts - every * np.round(ts / every)) < 1e-6
    upstrokes = np.asarray(beats.t_upstroke)
    good = np.flatnonzero(np.asarray(beats.valid & beats.repolarised))
    apd90, dvdt_max = (float(x[good[-1]]) if good.size else np.nan for x in (beats.apd90, beats.dvdt_max))
    return Solution(ts[whole], mV * V[whole], upstrokes[np.isfinite(upstrokes)], ms * apd90, dvdt_max * mV / ms)


def errors(found: Solution, true: Solution, near: float) -> dict[str, float]:
    """mV, ms, V/s; signed where a sign means something. `near` an upstroke of `true` is left out of rmse_mV."""
    difference = found.V - true.V[positions(true.ts, found.ts)]
    away = (np.abs(found.ts[:, None] - true.upstrokes) > near).all(axis=1)
    return {
        "rmse_mV": float(np.sqrt(np.mean(difference[away] ** 2))),
        "rmse_all_mV": float(np.sqrt(np.mean(difference**2))),
        "max_error_mV": float(np.abs(difference).max()),
        "apd90_error_ms": found.apd90 - true.apd90,
        "dvdt_max_error_V_s": found.dvdt_max - true.dvdt_max,
        "dvdt_max_error_percent": 100 * (found.dvdt_max / true.dvdt_max - 1),
    }


def table(rows: Rows, columns: dict[str, tuple[str, str]]) -> str:
    """Aligned text, one line a row. `columns`: field -> (heading, format); what is missing is a dash."""

    def cell(value, form):
        return "-" if value is None or value != value else format(value, form)

    lines = [[heading for heading, _ in columns.values()]]
    lines += [[cell(row.get(name), form) for name, (_, form) in columns.items()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [isinstance(rows[0].get(name), str) if rows else True for name in columns]
    return "\n".join(
        "  ".join(x.ljust(w) if left else x.rjust(w) for x, w, left in zip(line, widths, text, strict=True)).rstrip()
        for line in lines
    )


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Valid JSON: what is not finite becomes null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(_plain(content), indent=1) + "\n")


def _plain(x):
    if isinstance(x, dict):
        return {k: _plain(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(v) for v in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x
