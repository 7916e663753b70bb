"""What derivatives cost: forward and reverse mode against the run itself, over numbers of cells and of parameters.

    python benchmarks/gradients.py [--quick] [--cells 1 64 1024] [--out DIR]

One second of ten Tusscher 2004, paced, on `paced_grid` (1, 4, 8 and 12 of its conductances), and of Kernik-Clancy 2019,
beating by itself, with steps of 0.1 ms (52 and 82 parameters); second-order Rush-Larsen in float64. The loss is the
mean potential of each cell. The run and its derivatives are compiled alike and timed in turns.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from common import RESULTS, machine, table, write_json

import jaxcardio as jc

T1 = 1000.0
PACING = jc.protocols.PulseTrain(-52.0, 1.0, 1000.0, 10.0)
CONDUCTANCES = tuple(jc.models.TenTusscher2004.conductances.values())
MOST = 1024 * 12
"""Largest number of cells times parameters: forward mode carries that many tangents of every sample."""
COLUMNS = {
    "model": ("model", ""),
    "cells": ("cells", "d"),
    "parameters": ("parameters", "d"),
    "mode": ("mode", ""),
    "run_s": ("ms", ".1f"),
    "ratio": ("/ run", ".2f"),
    "memory_MB": ("MB", ".1f"),
    "compile_s": ("compile s", ".1f"),
    "modes_differ": ("modes differ", ".0e"),
    "from_differences": ("from differences", ".0e"),
}


class Case(NamedTuple):
    """A model, how it is run, and the lists of parameters to differentiate with respect to."""

    cell: Any
    protocol: Any
    t1: float
    how: dict[str, Any]
    names: tuple[tuple[str, ...], ...]

    def mean_potential(self, cells):
        solver = jc.RushLarsen2()
        trace = jc.simulate(cells, self.protocol, t1=self.t1, solver=solver, outputs=["V"], **self.how)
        return jnp.mean(trace.V, axis=-1)

    def population(self, n: int, names: Sequence[str]):
        """n cells with these parameters within 10 % of the published ones; one cell is a single cell."""
        if n == 1:
            return self.cell
        factors = np.random.default_rng(0).uniform(0.9, 1.1, (len(names), n))
        published = self.cell.parameters()
        return self.cell.replace(**{k: published[k].value * f for k, f in zip(names, factors, strict=True)})


def cases(quick: bool) -> dict[str, Case]:
    ten_tusscher, kernik = jc.models.TenTusscher2004(), jc.models.KernikClancy2019()
    if quick:
        how = dict(dt=0.05, save_every=1.0)
        return {"ten_tusscher": Case(ten_tusscher, PACING, 30.0, how, (CONDUCTANCES[5:7],))}
    by_number = tuple(CONDUCTANCES[:k] for k in (1, 4, 8, 12))
    grid = dict(grid=jc.paced_grid(PACING, T1))
    return {
        "ten_tusscher": Case(ten_tusscher, PACING, T1, grid, by_number),
        "kernik": Case(kernik, None, T1, dict(dt=0.1), (kernik.SIX_CURRENTS, kernik.INPUTS)),
    }


def compiled(function, cells) -> tuple[Any, dict[str, float]]:
    """function(cells) as a program, and what it took to make and takes to hold beyond arguments and results."""
    began = time.perf_counter()
    program = jax.jit(function).lower(cells).compile()
    seconds = time.perf_counter() - began
    return program, {"compile_s": seconds, "memory_MB": program.memory_analysis().temp_size_in_bytes / 1e6}


def best_in_turns(programs: dict[str, Any], cells, budget: float) -> dict[str, float]:
    """Best time of each, taking turns (so that whatever else the machine does hits all alike), at least three."""
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    began = time.perf_counter()
    while len(seconds["run"]) < 3 or (len(seconds["run"]) < 15 and time.perf_counter() - began < budget):
        for name, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program(cells))
            seconds[name].append(time.perf_counter() - start)
    return {name: min(s) for name, s in seconds.items()}


def differences(run, cells, names: Sequence[str], h: float = 1e-6) -> dict[str, np.ndarray]:
    """Central differences of the loss of each cell with respect to its own value of each parameter."""

    def along(name):
        x = cells.parameters()[name].value
        return (run(cells.replace(**{name: x * (1 + h)})) - run(cells.replace(**{name: x * (1 - h)}))) / (2 * h * x)

    return {name: along(name) for name in names}


def apart(cells, found, true) -> float:
    """Largest difference of p dL/dp, over the largest p dL/dp of that cell; the median over cells, since the switches
    of these models make jumps that a difference sees and a derivative does not (README, Gradients)."""
    p = {name: cells.parameters()[name].value for name in true}
    found, true = (np.stack([np.atleast_1d(p[k] * slopes[k]) for k in true]) for slopes in (found, true))
    return float(np.median(np.abs(found - true).max(0) / np.abs(true).max(0)))


def measure(name: str, case: Case, n: int, names: tuple[str, ...], budget: float) -> Iterator[dict[str, Any]]:
    cells = case.population(n, names)
    programs, costs = {}, {}
    programs["run"], _ = compiled(case.mean_potential, cells)
    for mode in ("forward", "reverse"):
        programs[mode], costs[mode] = compiled(
            lambda c, mode=mode: jc.value_and_gradient(case.mean_potential, c, names, mode=mode), cells
        )
    seconds = best_in_turns(programs, cells, budget)
    gradients = {mode: programs[mode](cells)[1] for mode in costs}
    numeric = differences(programs["run"], cells, names[:12])
    for mode, gradient in gradients.items():
        yield {
            "model": name,
            "cells": n,
            "parameters": len(names),
            "mode": mode,
            "run_s": seconds[mode],
            "ratio": seconds[mode] / seconds["run"],
            **costs[mode],
            "modes_differ": apart(cells, gradients["forward"], gradients["reverse"]),
            "from_differences": apart(cells, gradient, numeric),
            "load_average": machine()["load_average"],
        }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="30 ms of one model, two parameters")
    parser.add_argument("--cells", type=int, nargs="+", default=None)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    counts = given.cells or ((1, 3) if given.quick else (1, 64, 1024))
    file = "gradients_quick.json" if given.quick else "gradients.json"
    rows = []
    for name, case in cases(given.quick).items():
        for n, names in itertools.product(counts, case.names):
            if n * len(names) <= MOST:
                print(f"{name}: {n} cells, {len(names)} parameters", file=sys.stderr)
                rows += measure(name, case, n, names, 0.5 if given.quick else 10.0)
                write_json(given.out / file, {"machine": machine(), "rows": rows})  # what is done is kept
    print(table([row | {"run_s": 1e3 * row["run_s"]} for row in rows], COLUMNS))


if __name__ == "__main__":
    main()
