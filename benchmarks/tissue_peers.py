"""Other programs' tissue: node-steps a second, and how wrong the conduction velocity is at each step.

    python benchmarks/tissue_peers.py                         # makes the environments from PyPI; some half an hour
    python benchmarks/tissue_peers.py --groups cable          # Myokit's cable in C alone; the file keeps the others
    python benchmarks/tissue_peers.py --quick                 # few rows, to see that it works
    python benchmarks/tissue_peers.py --references FILE.json  # the converged velocities that the tests use

Every peer is a process of its own, in an environment of its own (`peer_processes/`), and runs the same wave: 20 mm, ten
Tusscher 2004 or ten Tusscher-Panfilov 2006 (epicardial), 0.154 mm^2/ms, a stimulus of 104 pA/pF for 1 ms over the first
mm. Each is held against its own limit of short steps at the same mesh, so that what it costs can be compared at equal
error. What cannot be installed is a row that says so.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import RESULTS, machine, table, write_json

FOLDER = Path(__file__).resolve().parent
KERNIK = FOLDER.parents[1] / "shared/models/mmt/kernik-2019.mmt"
ENVIRONMENTS = FOLDER.parent / ".venv-tissue-peers"
PACKAGES = {
    "myokit": ("myokit==1.39.2", "setuptools"),
    "opencl": (
        "myokit==1.39.2",
        "setuptools",
        "pigreads==1.0.0",
        "pyopencl==2026.1.4",
        "pocl-binary-distribution==3.0",
    ),
    "finitewave": ("finitewave==0.9.3", "finitewave-model-ten-tusscher-panfilov-2006==0.6.0", "numpy<2"),
}
CABLE = "myokit_cable.py"
THREADS = 2
SHEET = (512, 512)
EQUAL_ERRORS = (2.0, 1.0, 0.5, 0.2)  # percent of CV
NOTES = {
    "speed": "once for each program and model, best of several runs; first calls, which compile, apart",
    "node_steps_per_s": "of the clock, on a machine with other work (load_average)",
    "node_steps_per_cpu_s": "of the processor time of all threads together",
    "seconds_per_simulated_ms": "with the higher of the clock's rate and what the threads would do on cores of their "
    "own (threads x node_steps_per_cpu_s): a busy machine does not count against a program",
    "cv_error_percent": "against the program's own limit of short steps at the same mesh",
    "limits": "second-order polynomial in dt through the three shortest steps; uncertainty: its distance from the line "
    "through the two shortest",
}
COLUMNS = {
    "program": ("program", ""),
    "model": ("model", ""),
    "precision": ("precision", ""),
    "dx": ("dx mm", ".3g"),
    "dt": ("dt ms", ".5g"),
    "threads": ("threads", "d"),
    "node_steps_per_s": ("node-steps/s", ".3g"),
    "node_steps_per_cpu_s": ("/cpu s", ".3g"),
    "seconds_per_simulated_ms": ("s a ms", ".3g"),
    "cv": ("CV m/s", ".5f"),
    "cv_error_percent": ("error %", ".2f"),
    "status": ("status", ""),
}
Row = dict[str, Any]


class Task(NamedTuple):
    """A process: its environment, its script of `peer_processes/` and what that is told; and the program's name."""

    environment: str
    script: str
    program: str
    settings: dict[str, Any]


def tasks(quick: bool) -> dict[str, list[Task]]:
    """By group."""
    coarse, fine = [0.02, 0.01, 0.005, 0.002, 0.001, 0.0005], [0.005, 0.002, 0.001, 0.0005]
    cables = {
        "TT2004 epi": [(0.1, coarse), (0.05, fine)],
        "TP06 epi": [(0.2, coarse), (0.1, coarse), (0.05, fine)],
    }
    meshes, dts, shape = [0.2, 0.25], [0.02, 0.01, 0.005, 0.0025], SHEET
    if quick:
        cables = {"TT2004 epi": [(0.1, [0.01, 0.005, 0.002])]}
        meshes, dts, shape = [0.25], [0.02, 0.01, 0.005], (64, 64)
    sheets = (
        ("finitewave", "finitewave_sheet.py", "finitewave", "float64"),
        ("opencl", "pigreads_sheet.py", "pigreads", "float32"),
        ("opencl", "myokit_sheet.py", "Myokit SimulationOpenCL", "float32"),
    )
    found: dict[str, list[Task]] = {"cable": [], "sheet": []}

    def add(group: str, task: Task, meshes: Sequence[tuple[float, list[float]]], timed: float) -> None:
        """Once for its speed, which depends neither on mesh nor on step, and for its velocities on every mesh.

        A strip is too small for two threads.
        """
        speed = {"dx": meshes[0][0], "dts": [timed], "measure": ["speed"]}
        velocities = [{"dx": dx, "dts": steps, "measure": ["cv"], "threads": 1} for dx, steps in meshes]
        found[group] += [task._replace(settings={**task.settings, **more}) for more in (speed, *velocities)]

    for model, mesh in cables.items():
        add("cable", Task("myokit", CABLE, "Myokit Simulation1d", {"model": model, "shape": (1000,)}), mesh, 0.002)
    common = {"model": "TP06 epi", "threads": THREADS, "shape": shape}
    for environment, script, program, precision in sheets:
        task = Task(environment, script, program, {**common, "precision": precision})
        add("sheet", task, [(dx, dts) for dx in meshes], 0.01)
    return found


def reference_tasks() -> list[Task]:
    """CV alone, at steps shorter than any that is timed. Kernik's cell where its file lies beside the project."""
    wanted: list[tuple[float, dict[str, Any]]] = [
        (dx, {"model": model}) for model in ("TT2004 epi", "TP06 epi") for dx in (0.2, 0.1, 0.05, 0.025)
    ]
    if KERNIK.is_file():  # its stimulus is 3 pA/pF; its wave slow
        kernik = {"model": "Kernik 2019", "file": str(KERNIK), "level": 104 / 3, "duration": 75.0}
        wanted += [(0.1, kernik)]
    dts = [0.001, 0.0005, 0.00025]
    return [
        Task("myokit", CABLE, "Myokit Simulation1d", {**of, "dx": dx, "dts": dts, "measure": ["cv"]})
        for dx, of in wanted
    ]


def environment(name: str, folder: Path) -> Path:
    """The Python of an environment, made where it is not there yet. Raises RuntimeError where it cannot be made."""
    home = folder / name
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    made = home / "packages.json"
    if made.is_file() and json.loads(made.read_text()) == list(PACKAGES[name]):
        return python
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(home)],
        [str(python), "-m", "pip", "install", "--quiet", *PACKAGES[name]],
    ):
        ended = subprocess.run(command, capture_output=True, text=True)
        if ended.returncode != 0:
            raise RuntimeError(f"not installed: pip install {' '.join(PACKAGES[name])} failed")
    made.write_text(json.dumps(PACKAGES[name]))
    return python


def variables(python: Path, threads: int) -> dict[str, str]:
    """Of the processes: threads, and for OpenCL the driver that pip brought, which Myokit would not find by itself."""
    found = {**os.environ, "NUMBA_NUM_THREADS": str(threads), "POCL_MAX_PTHREAD_COUNT": str(threads)}
    for driver in python.parents[1].glob("lib/python*/site-packages/pyopencl/.libs/libpocl*.so"):
        paths = [str(driver.parent), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        found |= {"OCL_ICD_VENDORS": driver.name, "LD_LIBRARY_PATH": os.pathsep.join(paths)}
    return found


def run(task: Task, python: Path, scripts: Path = FOLDER / "peer_processes", timeout: float = 3600.0) -> list[Row]:
    """The rows that a process printed; where it failed also one that says why, in the last line of its complaint."""
    command = [str(python), str(scripts / task.script), json.dumps(task.settings)]
    surroundings = variables(python, task.settings.get("threads", 1))
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=surroundings)
        printed, code, complaint = ended.stdout, ended.returncode, ended.stderr
    except subprocess.TimeoutExpired as stopped:
        printed, code, complaint = _text(stopped.stdout), 1, f"took longer than {timeout:g} s"
    rows = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    if code != 0:
        last = (complaint.strip().splitlines() or ["no message"])[-1]
        rows.append(failed(task, f"failed: {last[:200]}"))
    return rows


def _text(printed: str | bytes | None) -> str:
    return printed.decode() if isinstance(printed, bytes) else printed or ""


def failed(task: Task, why: str) -> Row:
    named = {name: task.settings[name] for name in ("model", "precision", "dx", "threads") if name in task.settings}
    return {"program": task.program, **named, "status": why}


def everything(chosen: Iterable[Task], folder: Path, keep: Callable[[list[Row]], Any] | None = None) -> list[Row]:
    """All rows; `keep` is given those so far after every task."""
    rows: list[Row] = []
    for task in chosen:
        print(f"{task.program}, {task.settings['model']}, dx {task.settings['dx']} mm", file=sys.stderr, flush=True)
        try:
            rows += run(task, environment(task.environment, folder))
        except RuntimeError as why:
            rows.append(failed(task, str(why)))
        if keep is not None:
            keep(rows)
    return rows


def limit(dts: Sequence[float], cvs: Sequence[float]) -> tuple[float, float]:
    """CV at dt = 0, from at least three steps, and its uncertainty (`NOTES`)."""
    shortest = sorted(zip(dts, cvs, strict=True))[:3]
    if len(shortest) < 3:
        raise ValueError(f"dts has {len(dts)} steps; three are needed for a limit")
    x, y = np.array(shortest).T
    parabola = float(np.polynomial.Polynomial.fit(x, y, 2)(0.0))
    line = float(np.polynomial.Polynomial.fit(x[:2], y[:2], 1)(0.0))
    return parabola, abs(parabola - line)


def _series(rows: Iterable[Row]) -> dict[tuple[str, ...], list[Row]]:
    """Rows with a CV, that differ in dt alone."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.get("cv") is not None:
            found.setdefault(tuple(str(row[k]) for k in ("program", "model", "precision", "dx")), []).append(row)
    return found


def limits(rows: Iterable[Row]) -> list[Row]:
    """Of every program, model, precision and mesh; puts `cv_error_percent` into the rows it is made of."""
    found = []
    for series in _series(rows).values():
        if len(series) < 3:
            continue
        cv, uncertainty = limit([row["dt"] for row in series], [row["cv"] for row in series])
        for row in series:
            row["cv_error_percent"] = 100 * (row["cv"] / cv - 1)
        same = {k: series[0][k] for k in ("program", "version", "model", "precision", "dx")}
        found.append({**same, "dts": sorted(row["dt"] for row in series)[:3], "cv": cv, "uncertainty": uncertainty})
    return found


def joined(rows: Iterable[Row]) -> list[Row]:
    """Rows with a CV get the speed of their program, model and precision; those of speed alone are left out.

    Rows that failed stay as they are.
    """
    rows = list(rows)
    who = ("program", "model", "precision")
    timed = {tuple(row.get(k) for k in who): row for row in rows if "node_steps_per_s" in row}
    found = []
    for row in rows:
        if "node_steps_per_s" in row and "cv" not in row:
            continue
        speed = timed.get(tuple(row.get(k) for k in who))
        if speed is not None and "cv" in row:
            row = row | {k: speed[k] for k in ("threads", "speed_shape", "node_steps_per_s", "node_steps_per_cpu_s")}
            row["seconds_per_simulated_ms"] = _seconds_a_step(row) / row["dt"]
        found.append(row)
    return found


def _seconds_a_step(row: Row) -> float:
    """With the higher of two rates: see `NOTES`."""
    return math.prod(row["speed_shape"]) / max(row["node_steps_per_s"], row["threads"] * row["node_steps_per_cpu_s"])


def equal_error(rows: Iterable[Row], percents: Sequence[float] = EQUAL_ERRORS) -> list[Row]:
    """What a simulated ms costs with the longest step whose CV is not further off than so many percent.

    The step is interpolated between those measured, in |error|; never longer than the longest that was stable.
    """
    found = []
    for series in _series(rows).values():
        if any("node_steps_per_s" not in row or "cv_error_percent" not in row for row in series):
            continue
        dts, errors = np.array(sorted((row["dt"], abs(row["cv_error_percent"])) for row in series)).T
        same = {k: series[0][k] for k in ("program", "model", "precision", "dx", "threads", "speed_shape")}
        for percent in percents:
            dt = float(np.interp(percent, [0.0, *errors], [0.0, *dts]))
            found.append(
                {
                    **same,
                    "error_percent": percent,
                    "dt": dt,
                    "seconds_per_simulated_ms": _seconds_a_step(series[0]) / dt,
                }
            )
    return found


def others(path: Path, chosen: Iterable[Task]) -> list[Row]:
    """Rows that a file has of programs that are not run now."""
    programs = {task.program for task in chosen}
    kept = json.loads(path.read_text())["rows"] if path.is_file() else []
    return [row for row in kept if row["program"] not in programs]


def references(rows: Iterable[Row]) -> Row:
    """The table that the tests read."""
    rows = list(rows)
    return {
        "what": "Conduction velocity (m/s) of a cable in the limit of short steps, by Myokit's Simulation1d in C",
        "set_up": "20 mm, no flux at both ends (a cell there has one neighbour), diffusivity 0.154 mm^2/ms, cells at "
        "their published initial state, stimulus of 104 pA/pF for 1 ms from t = 0 over the first mm; time between the "
        "crossings of -30 mV in cells 0.4 n and 0.8 n (8 mm apart), interpolated linearly between samples of 0.01 ms",
        "limit": NOTES["limits"],
        "made_by": "python benchmarks/tissue_peers.py --references tests/cable_velocities.json",
        "velocities": limits(rows),
        "rows": [{k: row.get(k) for k in ("model", "dx", "dt", "cv", "status")} for row in rows],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--groups", nargs="+", choices=("cable", "sheet"), default=["cable", "sheet"])
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS, help="folder of the peers' environments")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--references", type=Path, metavar="FILE", help="only this: the converged velocities")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args(arguments)
    if args.references:
        write_json(args.references, references(everything(reference_tasks(), args.environments)))
        return
    of, where = tasks(args.quick), machine()
    chosen = [task for group in args.groups for task in of[group]]
    path = args.out / f"tissue_peers{'_quick' if args.quick else ''}.json"

    def keep(rows: list[Row]) -> list[Row]:
        rows = joined(rows) + others(path, chosen)
        found = limits(rows)  # before `equal_error`, which reads what it puts into the rows
        content = {"machine": where, "notes": NOTES, "rows": rows, "limits": found, "equal_error": equal_error(rows)}
        write_json(path, content)
        return rows

    rows = keep(everything(chosen, args.environments, keep))
    print(table(rows, COLUMNS))
    for cost in equal_error(rows):
        print("{program}, {model}, dx {dx} mm, {error_percent} %: {seconds_per_simulated_ms:.3g} s a ms".format(**cost))


if __name__ == "__main__":
    main()
