"""What does an accuracy cost? The sodium channel learned, tabulated and exact, by every step, in one run on one core.

    python benchmarks/sodium.py [--quick] [--ways NAME ...] [--out DIR]

Skibsbye's atrial cell at 1 Hz. Each way is a gating and a solver; each is run at steps of 10 to 200 us.

- Error: of V over the last of `beats` beats against the converged solution (`jaxcardio.sodium.evaluate`), and of the
  steepest step against that of the converged solution over the same intervals, in % of dV/dt max.
- Time: seconds a beat and cell on one core, of one cell (a whole beat) and of 1,000 cells (300 ms, scaled to a beat:
  all steps cost the same), the best of several turns. Of 100,000 cells: cell-steps a second.
- At equal error: seconds a beat at an RMSE of 0.1 and 0.5 mV and at 1 % of dV/dt max, between the steps measured
  (log-log). `longest`: the longest step is better than that already, and its time is given.
- Headline: plain Rush-Larsen at 10 us against each way at 100 us, 1,000 cells, exact rates with the same solver beside.

It starts itself anew, held to one core (where the system can say so), and keeps what is done in sodium.json.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from common import RESULTS, machine, table, write_json

import jaxcardio as jc
from jaxcardio.models import SkibsbyeSodiumGating
from jaxcardio.one_cell import FLAG
from jaxcardio.sodium.evaluation.pacing import pulses

STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""ms"""
PLAIN, OURS = "exact, RushLarsen", "rates, RushLarsenMidpoint"
CONTROL = "exact, RushLarsenMidpoint"
GAIN_BAR, GAIN_GOAL = 2.5, 10.0
TARGETS = {"rmse_mV": (0.1, 0.5), "dvdt_error_percent": (1.0,)}
CYCLE = 1000.0


class Sizes(NamedTuple):
    """How much is done."""

    steps: tuple[float, ...]
    beats: int
    cells: tuple[int, ...]
    span: float
    """Of a beat that several cells are timed for, ms."""
    many: int
    many_steps: int
    turns: int


FULL = Sizes(STEPS, 100, (1, 1000), 300.0, 100_000, 20, 4)
QUICK = Sizes((0.05, 0.1), 1, (1, 16), 4.0, 256, 4, 1)


class Way(NamedTuple):
    """A gating, and what steps it."""

    name: str
    gating: Callable[[float], Any]
    """Of the step (ms): a table is made for the step that reads it."""
    solver: Any

    def cell(self, dt: float) -> Any:
        return jc.models.Skibsbye2016().replace(sodium=self.gating(dt))


def table_of(kind: Any) -> Callable[[float], Any]:
    """Exact rates as a table for steps of dt, of which the splitting step takes halves too."""
    return lambda dt: jc.sodium.RateTable(SkibsbyeSodiumGating(), (dt / 2, dt), kind=kind)


def shipped(name: str) -> Callable[[float], Any]:
    return lambda dt: jc.sodium.load(name)


GATINGS: dict[str, Callable[[float], Any]] = {
    "linear table": table_of("linear"),
    "cubic table": table_of("cubic"),
    "published": shipped("published"),
    "rates": shipped("rates"),
    "flow_map": shipped("flow_map"),
}
"""The rivals of exact rates."""
EXACT_SOLVERS = {solver.__name__: solver for solver in (jc.RushLarsen, jc.RushLarsen2, jc.RushLarsenMidpoint)}


def ways(names: Sequence[str] | None) -> list[Way]:
    """Exact rates by three solvers; all others by the splitting step. Those of these names, or all."""
    step = jc.RushLarsenMidpoint()
    exact = EXACT_SOLVERS.items() if names is None or "exact" in names else ()
    found = [Way(f"exact, {name}", lambda dt: SkibsbyeSodiumGating(), solver()) for name, solver in exact]
    return found + [
        Way(f"{name}, {type(step).__name__}", make, step)
        for name, make in GATINGS.items() if names is None or name in names
    ]  # fmt: skip


def errors(way: Way, dt: float, beats: int) -> dict[str, float]:
    """Of the last beat, by the library's own evaluation."""
    found = jc.sodium.evaluate(way.cell(dt), dt, solver=way.solver, beats=beats, experiments=["beats"])
    steepest, true = found.row("steepest step"), found.row("dV/dt max")
    return {
        "rmse_mV": found.row("RMSE of V, whole beat").value,
        "rmse_repolarisation_mV": found.row("RMSE of V, repolarisation").value,
        "apd90_error_ms": found.row("APD90").difference,
        "dvdt_error_percent": 100 * abs(steepest.difference) / float(true.reference or np.nan),
        "reference_moved_mV": found.row("RMSE of the reference, steps halved").value,
    }


def job(way: Way, dt: float, cells: int, span: float) -> Callable[[], Any]:
    """Runs so many cells, all a little different, for so long."""
    cell = way.cell(dt)
    if cells > 1:
        cell = cell.replace(g_Kr=cell.g_Kr * jnp.linspace(0.9, 1.1, cells))

    def run():
        found = jc.simulate(cell, pulses(CYCLE), t1=span, dt=dt, solver=way.solver, save_at=[span], outputs=["V"])
        return jax.block_until_ready(found.ys.V)

    return run


def timed_in_turns(jobs: dict[Any, Callable[[], Any]], turns: int) -> dict[Any, float]:
    """Seconds of the best of so many turns of all jobs; the first call of each compiles and does not count."""
    for run in jobs.values():
        run()
    best = dict.fromkeys(jobs, np.inf)
    for _ in range(turns):
        for key, run in jobs.items():
            began = time.perf_counter()
            run()
            best[key] = min(best[key], time.perf_counter() - began)
    return best


def rows_of(chosen: Sequence[Way], sizes: Sizes) -> list[dict[str, Any]]:
    """One row a way, step and number of cells. What is timed at one step and number is timed in turns."""
    found = {}
    for way in chosen:
        for dt in sizes.steps:
            # Without a memory there is no upstroke, and the network costs a hundred times what others do.
            beats = 1 if way.name.startswith("published") else sizes.beats
            found[way.name, dt] = errors(way, dt, beats) | {"beats": beats}
            say(f"{way.name}, {dt} ms: {found[way.name, dt]['rmse_mV']:.4f} mV")
    rows = []
    for cells in sizes.cells:
        for dt in sizes.steps:
            spans = {w.name: span_of(w, cells, sizes) for w in chosen}
            best = timed_in_turns({w.name: job(w, dt, cells, spans[w.name]) for w in chosen}, sizes.turns)
            say(f"{cells} cells, {dt} ms: timed")
            rows += [
                {"way": name, "dt": dt, "cells": cells, "seconds_a_beat": s * CYCLE / spans[name] / cells,
                 "ns_a_cell_step": 1e9 * s / cells / (spans[name] / dt), **found[name, dt]}
                for name, s in best.items()
            ]  # fmt: skip
    return rows


def span_of(way: Way, cells: int, sizes: Sizes) -> float:
    """How much of a beat is timed, ms. The published network takes twenty times as long as the others."""
    if way.name.startswith("published"):
        return min(sizes.span, 10.0)
    return CYCLE if cells == 1 else sizes.span


def many_cells(chosen: Sequence[Way], sizes: Sizes) -> list[dict[str, Any]]:
    """Cell-steps a second of very many cells."""
    dt = 0.1
    best = timed_in_turns(
        {w.name: job(w, dt, sizes.many, sizes.many_steps * dt) for w in chosen}, max(1, sizes.turns - 2)
    )
    return [
        {"way": name, "cells": sizes.many, "cell_steps_a_second": sizes.many * sizes.many_steps / s}
        for name, s in best.items()
    ]


def at_equal_error(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Seconds a beat of each way at each target, and how many times less than plain Rush-Larsen's."""
    found = []
    for cells in dict.fromkeys(row["cells"] for row in rows):
        for error, targets in TARGETS.items():
            for target in targets:
                some = [r for r in rows if r["cells"] == cells]
                at = {way: seconds_at([r for r in some if r["way"] == way], error, target)
                      for way in dict.fromkeys(r["way"] for r in some)}  # fmt: skip
                plain = at.get(PLAIN, (None, ""))[0]
                found += [
                    {"cells": cells, "error": error, "target": target, "way": way, "seconds_a_beat": s, "how": how,
                     "times_less_than_plain": plain / s if plain and s else None}
                    for way, (s, how) in at.items()
                ]  # fmt: skip
    return found


def seconds_at(rows: Sequence[dict[str, Any]], error: str, target: float) -> tuple[float | None, str]:
    """Seconds a beat at that error, between the steps measured; None where no step is so good.

    A step counts as good if all shorter ones are too: a long one may be right by accident.
    """
    by_step = sorted(rows, key=lambda r: -r["dt"])
    sizes, seconds = (np.array([r[name] for r in by_step], float) for name in (error, "seconds_a_beat"))
    good = np.logical_and.accumulate((sizes <= target)[::-1])[::-1]
    if not good.any():
        return None, "never"
    k = int(np.argmax(good))
    if k == 0:
        return float(seconds[0]), "longest"
    share = np.log(target / sizes[k - 1]) / np.log(sizes[k] / sizes[k - 1])
    return float(np.exp(np.log(seconds[k - 1]) + share * np.log(seconds[k] / seconds[k - 1]))), "between"


def headline(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Plain Rush-Larsen at 10 us (or the shortest step measured) against each way at 100 us, the most cells timed."""
    most, shortest = max(r["cells"] for r in rows), min(r["dt"] for r in rows)
    some = {(r["way"], r["dt"]): r for r in rows if r["cells"] == most}
    plain = some.get((PLAIN, shortest))
    if plain is None:
        return []
    found = []
    for (way, dt), row in some.items():
        if dt == 0.1:
            gain = plain["seconds_a_beat"] / row["seconds_a_beat"]
            about = {"way": way, "cells": most, "plain_dt": shortest, "times_faster": gain}
            if way == OURS:
                about |= {"bar": GAIN_BAR, "goal": GAIN_GOAL, "met": "yes" if gain >= GAIN_BAR else "no"}
            found.append(about | {"rmse_mV": row["rmse_mV"], "plain_rmse_mV": plain["rmse_mV"]})
    return found


ROWS = {
    "way": ("way", "s"),
    "cells": ("cells", "d"),
    "dt": ("dt ms", "g"),
    "seconds_a_beat": ("s a beat and cell", ".3g"),
    "ns_a_cell_step": ("ns a cell-step", ".1f"),
    "rmse_mV": ("RMSE mV", ".4f"),
    "rmse_repolarisation_mV": ("repolarisation", ".4f"),
    "apd90_error_ms": ("APD90 ms", ".2f"),
    "dvdt_error_percent": ("steepest %", ".2f"),
}
EQUAL = {
    "error": ("error", "s"),
    "target": ("at", "g"),
    "cells": ("cells", "d"),
    "way": ("way", "s"),
    "seconds_a_beat": ("s a beat and cell", ".3g"),
    "how": ("step", "s"),
    "times_less_than_plain": ("times less than plain", ".1f"),
}
MANY = {"way": ("way", "s"), "cells": ("cells", "d"), "cell_steps_a_second": ("cell-steps/s", ".3g")}
HEADLINE = {
    "way": ("way at 0.1 ms", "s"),
    "cells": ("cells", "d"),
    "plain_dt": ("plain at ms", "g"),
    "times_faster": ("times faster than plain", ".1f"),
    "bar": ("bar", "g"),
    "met": ("met", "s"),
    "rmse_mV": ("its RMSE mV", ".4f"),
    "plain_rmse_mV": ("plain's RMSE mV", ".4f"),
}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(sizes: Sizes, names: Sequence[str] | None, path: Path) -> None:
    """Everything, in the process that is held to one core."""
    jax.config.update("jax_enable_x64", True)
    one_core = hasattr(os, "sched_setaffinity")
    if one_core:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    chosen = ways(names)
    rows = rows_of(chosen, sizes)
    content: dict[str, Any] = {
        "benchmark": "sodium", "machine": machine() | {"held_to_one_core": one_core}, "rows": rows,
        "at_equal_error": at_equal_error(rows), "headline": headline(rows),
    }  # fmt: skip
    write_json(path, content)  # what is done is kept
    content["many_cells"] = many_cells(chosen, sizes)
    write_json(path, content)
    for name, columns in (("rows", ROWS), ("at_equal_error", EQUAL), ("many_cells", MANY), ("headline", HEADLINE)):
        print(table(content[name], columns), end="\n\n")
    print("held to one core" if one_core else "this system cannot hold a process to one core: times are of all cores")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few steps, one beat, few cells: to see that it works")
    parser.add_argument("--ways", nargs="+", metavar="NAME", help="exact, or gatings (default: all)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--held", action="store_true", help=argparse.SUPPRESS)  # the process that measures
    given = parser.parse_args(arguments)
    if given.held:
        path = given.out / f"sodium{'_quick' if given.quick else ''}.json"
        return measure(QUICK if given.quick else FULL, given.ways, path)
    command = [sys.executable, __file__, "--held", "--out", str(given.out)]
    command += ["--quick"] * given.quick + (["--ways", *given.ways] if given.ways else [])
    # One cell alone needs a setting of XLA before JAX starts (`jaxcardio.tune_for_one_cell`).
    flags = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}".strip()
    subprocess.run(command, check=True, env=os.environ | {"XLA_FLAGS": flags})


if __name__ == "__main__":
    main()
