"""Voltage clamps on one core, in float64: the closed form against stepping, with the error beside each time.

    python benchmarks/clamp.py [--quick] [--out DIR]

prints tables and writes clamp.json. It starts itself anew, held to one core (where the system can say so).

- `one cell`: the total current every ms of a 7 s clamp of 28 random steps, of a ramp up and down, and of a recorded
  command (the sum of sines of Beattie et al., doi 10.1113/JP275733, sampled every 0.1 ms), in the closed form that
  `simulate` takes when no solver is named, and by fixed steps. Rows of one command run in turns; the best of the turns
  counts, compilation left out.
- Error: the largest difference from second-order steps of 0.002 ms, relative to the range of the current. Samples at
  the edges of the command are left out: which side of the jump they show is a convention.
- Peer: Myokit's CVODE on ten Tusscher 2004, where Myokit, a C compiler and SUNDIALS are installed.
- `population`: 1000 Kernik cells (+-40 % in 52 parameters), the same 7 s, 7001 samples of each, on the host at the end.
  Cells that fail are counted; the worst error of the first cells is against second-order steps of 0.01 ms.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from common import RESULTS, machine, table, write_json
from peers import FOLDER, versions

import jaxcardio as jc

CURRENT = "I_ion_total"
MODELS = {
    "Kernik": jc.models.KernikClancy2019,
    "ten Tusscher": jc.models.TenTusscher2004,
    "Skibsbye": jc.models.Skibsbye2016,
}
STEP = 250.0
MOST_TURNS = 15
FIRST_ORDER = "RushLarsen, 0.01 ms"
"""What `simulate` does with any protocol but a clamp, if neither solver nor step is named."""
SECOND_ORDER = (0.1, 0.05, 0.02, 0.01)
"""Steps of `RushLarsen2` that are compared, ms; they must resolve a sampled command."""
POPULATION_REFERENCE_DT = 0.01
GAIN_BAR, POPULATION_BAR = 12.0, 1.0


class Sizes(NamedTuple):
    """How much is done."""

    models: tuple[str, ...]
    steps: int
    moving_ms: float
    """length of the ramp and of the recorded command"""
    reference_dt: float
    cells: int
    checked: int
    chunks: tuple[int, ...]
    budget: float
    """seconds of turns for the rows of one command"""


FULL = Sizes(tuple(MODELS), 28, 2000.0, 0.002, 1000, 64, (128, 256, 512, 1000), 20.0)
QUICK = Sizes(("Kernik",), 2, 100.0, 0.005, 16, 4, (16,), 0.5)


class Command(NamedTuple):
    protocol: jc.protocols.AbstractProtocol
    t1: float

    def away_from_edges(self) -> np.ndarray:
        """Which of the samples, every ms, count."""
        ts = np.arange(round(self.t1) + 1.0)
        return ~np.isin(ts, self.protocol.edges(0.0, self.t1))


class Way(NamedTuple):
    """A row to be: the current every ms, however it is computed."""

    label: str
    run: Callable[[], Any]


def random_steps(count: int) -> Command:
    levels = np.random.default_rng(0).uniform(-120.0, 60.0, count)
    return Command(jc.protocols.VoltageSteps(levels, np.full(count, STEP)), count * STEP)


def ramps(t1: float) -> Command:
    half = t1 / 2
    return Command(jc.protocols.Segments([-90.0, 40.0], [40.0, -90.0], [half, half]), t1)


def recorded(t1: float) -> Command:
    ts = 0.1 * np.arange(round(10 * t1) + 1)
    V = -30 + 54 * np.sin(0.007 * ts) + 26 * np.sin(0.037 * ts) + 10 * np.sin(0.19 * ts)
    return Command(jc.protocols.Sampled(ts, V), t1)


def stepped(cell: Any, command: Command, **how) -> Callable[[], np.ndarray]:
    def run():
        found = jc.simulate(cell, command.protocol, t1=command.t1, save_every=1.0, outputs=[CURRENT], **how)
        return np.asarray(found.ys.I_ion_total)

    return run


def ways(model: str, name: str, command: Command) -> Iterator[Way]:
    """The closed form first; the steps that are compared with it; a peer."""
    cell = MODELS[model]()
    yield Way("closed form", stepped(cell, command))
    yield Way(FIRST_ORDER, stepped(cell, command, solver=jc.RushLarsen(), dt=0.01))
    for dt in SECOND_ORDER if model == "Kernik" else (0.05, 0.01):
        if dt >= command.protocol.shortest():
            continue
        yield Way(f"RushLarsen2, {dt} ms", stepped(cell, command, solver=jc.RushLarsen2(), dt=dt))
    if model == "ten Tusscher" and name == "steps" and versions().get("sundials") is not None:
        for tolerance in (1e-4, 1e-6):
            yield Way(f"Myokit CVODE, {tolerance:.0e}", cvode(command, tolerance))


def cvode(command: Command, tolerance: float) -> Callable[[], np.ndarray]:
    """Myokit's own C code, its potential driven by the command; the same file as in `populations.py`."""
    myokit: Any = import_module("myokit")
    model = myokit.load_model(str(FOLDER / "ten_tusscher.mmt"))
    model.get("engine.pace").set_binding(None)
    V = model.get("membrane.V")
    V.demote()
    V.set_rhs(0)
    V.set_binding("pace")
    steps: Any = command.protocol
    protocol = myokit.Protocol()
    for level, duration in zip(steps.begin, steps.durations, strict=True):
        protocol.add_step(float(level), float(duration))
    protocol.add_step(float(steps.end[-1]), 10.0)  # it holds on
    simulation = myokit.Simulation(model, protocol)
    simulation.set_tolerance(tolerance, tolerance)
    ts = np.arange(round(command.t1) + 1.0)

    def run():
        simulation.reset()
        log = simulation.run(command.t1 + 1, log=["membrane.I_ion"], log_times=ts)
        return np.asarray(log["membrane.I_ion"])

    return run


def one_cell(sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Every model under every command."""
    commands = {
        "steps": random_steps(sizes.steps),
        "ramp": ramps(sizes.moving_ms),
        "recorded": recorded(sizes.moving_ms),
    }
    for model in sizes.models:
        for name, command in commands.items():
            yield from compared(model, name, command, sizes)


def compared(model: str, name: str, command: Command, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """The rows of one model and command, in turns."""
    cell, counted = MODELS[model](), command.away_from_edges()
    fine = {f: stepped(cell, command, solver=jc.RushLarsen2(), dt=f * sizes.reference_dt)()[counted] for f in (1, 2)}
    some = list(ways(model, name, command))
    found, first = {}, {}
    for way in some:
        first[way.label], found[way.label] = clocked(way.run)
    seconds = {way.label: [] for way in some}
    began = time.perf_counter()
    for turn in range(MOST_TURNS):
        if turn > 1 and time.perf_counter() - began > sizes.budget:
            break
        for way in some:
            seconds[way.label].append(clocked(way.run)[0])
    best = {label: min(s) for label, s in seconds.items()}
    span = np.ptp(fine[1])
    for label, s in best.items():
        yield {
            "group": "one cell",
            "model": model,
            "command": name,
            "t1_ms": command.t1,
            "row": label,
            "run_s": s,
            "turns": len(seconds[label]),
            "ready_s": first[label],
            "error": float(np.abs(found[label][counted] - fine[1]).max() / span),
            "over_closed_form": s / best["closed form"],
            "reference_converged": float(np.abs(fine[2] - fine[1]).max() / span),
            "load_average": machine()["load_average"],
        }


def clocked(run: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = run()
    return time.perf_counter() - began, result


def population(sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Kernik cells under the random steps, through `population.simulate`, by chunk."""
    command = random_steps(sizes.steps)
    true = fine_steps(command, sizes)
    for dtype in (jnp.float64, jnp.float32):
        cell: Any = jc.astype(MODELS["Kernik"](), dtype)
        cells = jc.population.sample(cell, n=sizes.cells, seed=0, spread=0.4, parameters=cell.SIX_CURRENTS)
        for chunk in sizes.chunks:

            def run(cells=cells, chunk=chunk):
                how: dict[str, Any] = dict(t1=command.t1, save_every=1.0, outputs=[CURRENT], chunk=chunk)
                return jc.population.simulate(cells, command.protocol, **how)

            ready_s, trace = clocked(run)
            repeats = [clocked(run)[0] for _ in range(4)]
            yield {
                "group": "population",
                "dtype": jnp.dtype(dtype).name,
                "cells": sizes.cells,
                "samples": len(trace.ts),
                "chunk": chunk,
                "run_s": min(repeats),
                "ready_s": ready_s,
                **worst(np.asarray(trace.ys.I_ion_total), true, command.away_from_edges()),
                "ns_per_sample": 1e9 * min(repeats) / sizes.cells / len(trace.ts),
                "not_ok": int((np.asarray(trace.status) != 0).sum()),
                "load_average": machine()["load_average"],
            }


def fine_steps(command: Command, sizes: Sizes) -> np.ndarray:
    """The current of the first cells of the population by short steps, in float64."""
    cell = jc.models.KernikClancy2019()
    few = jc.population.sample(cell, n=sizes.checked, seed=0, spread=0.4, parameters=cell.SIX_CURRENTS)
    return stepped(few, command, solver=jc.RushLarsen2(), dt=POPULATION_REFERENCE_DT)()


def worst(found: np.ndarray, true: np.ndarray, counted: np.ndarray) -> dict[str, Any]:
    """Largest error of the checked cells that did not fail, relative to the range of each; how many were compared."""
    finite = np.isfinite(true).all(axis=1) & np.isfinite(found[: len(true)]).all(axis=1)
    some, true = found[: len(true)][finite][:, counted], true[finite][:, counted]
    errors = np.abs(some - true).max(axis=1) / np.ptp(true, axis=1)
    return {"compared": int(finite.sum()), "error": float(errors.max(initial=0.0))}


def at_equal_error(rows: Sequence[dict[str, Any]]) -> float | None:
    """Times that second-order steps of the closed form's error would take, between the rows measured (log-log)."""
    (closed,) = (r for r in rows if r["row"] == "closed form")
    steps = sorted((r["error"], r["run_s"]) for r in rows if r["row"].startswith("RushLarsen2,"))
    error, seconds = np.log(np.array(steps)).T
    wanted = np.log(closed["error"])
    if not error[0] <= wanted <= error[-1]:
        return None
    return float(np.exp(np.interp(wanted, error, seconds)) / closed["run_s"])


def ratios(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the bars are about."""
    found = []
    for dtype in ("float64", "float32"):
        best = min(r["run_s"] for r in rows if r.get("dtype") == dtype)
        found.append(against_bar(f"population, {dtype}, best chunk: s", best, best <= POPULATION_BAR, POPULATION_BAR))
    for model in dict.fromkeys(r["model"] for r in rows if "model" in r):
        some = [r for r in rows if r.get("model") == model and r["command"] == "steps"]
        (first,) = (r["over_closed_form"] for r in some if r["row"] == FIRST_ORDER)
        found.append(against_bar(f"{model}: {FIRST_ORDER} / closed form", first, first >= GAIN_BAR, GAIN_BAR))
        found.append({"what": f"{model}: RushLarsen2 of equal error / closed form", "value": at_equal_error(some)})
    return found


def against_bar(what: str, value: float, met: bool, bar: float) -> dict[str, Any]:
    return {"what": what, "value": value, "bar": bar, "met": "yes" if met else "no"}


ONE_CELL = {
    "model": ("model", ""),
    "command": ("command", ""),
    "row": ("row", ""),
    "run_s": ("s", ".4f"),
    "over_closed_form": ("/ closed form", ".1f"),
    "error": ("error / range", ".1e"),
    "reference_converged": ("reference", ".0e"),
    "turns": ("turns", "d"),
}
POPULATION = {
    "dtype": ("dtype", ""),
    "cells": ("cells", "d"),
    "samples": ("samples", "d"),
    "chunk": ("chunk", "d"),
    "run_s": ("s", ".3f"),
    "ns_per_sample": ("ns/sample", ".1f"),
    "ready_s": ("ready s", ".1f"),
    "not_ok": ("not ok", "d"),
    "compared": ("compared", "d"),
    "error": ("error / range", ".1e"),
}
RATIOS = {"what": ("what", ""), "value": ("value", ".2f"), "bar": ("bar", "g"), "met": ("met", "")}


def measure(sizes: Sizes, path: Path) -> None:
    """Everything, in the process that is held to one core."""
    jax.config.update("jax_enable_x64", True)
    one_core = hasattr(os, "sched_setaffinity")
    if one_core:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    about = machine()
    about |= {"held_to_one_core": one_core, "versions": about["versions"] | versions()}
    content: dict[str, Any] = {"benchmark": "clamp", "machine": about, "rows": []}
    for group in (population, one_cell):
        for row in group(sizes):
            content["rows"].append(row)
            print(row["group"], row.get("model", row.get("dtype")), row.get("row", ""), file=sys.stderr, flush=True)
            write_json(path, content)  # what is done is kept
    write_json(path, content | {"ratios": ratios(content["rows"])})
    for name, columns in (("one cell", ONE_CELL), ("population", POPULATION)):
        print(table([row for row in content["rows"] if row["group"] == name], columns), end="\n\n")
    print(table(ratios(content["rows"]), RATIOS))
    print("held to one core" if one_core else "this system cannot hold a process to one core: times are of all cores")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one model, two steps, few cells: to see that it works")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--held", action="store_true", help=argparse.SUPPRESS)  # the process that measures
    given = parser.parse_args(arguments)
    if given.held:
        return measure(QUICK if given.quick else FULL, given.out / f"clamp{'_quick' if given.quick else ''}.json")
    quick = ["--quick"] if given.quick else []
    subprocess.run([sys.executable, __file__, "--held", "--out", str(given.out), *quick], check=True)


if __name__ == "__main__":
    main()
