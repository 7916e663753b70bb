"""How does the speed of a wave along a cable converge with the spacing and with the step?

    python benchmarks/tissue_convergence.py [--quick] [--models kernik ...] [--out DIR]

A cable of 20 mm, D = 0.154 mm^2/ms, float64. Its first 2 mm are stimulated; the speed is that between 8 and 16 mm, from
the activation times (-30 mV) there. All cells begin in the state that one cell alone has 300 ms after its published
initial state, without a stimulus: ten Tusscher's and Skibsbye's are then at rest, and Kernik's, which beats by itself
every 0.95 s, is in mid-diastole (-73.7 mV, its next upstroke 200 ms away). The wave of Kernik's cells still gets faster
by some 0.07 % a ms as they recover; all its runs are measured over the same stretch at nearly the same time.

Spacing: 0.2 to 0.025 mm at 0.0025 ms, implicit diffusion. Step: 0.08 to 0.0025 ms at 0.1 mm, each way of splitting and
diffusing, where stable. The limit is Richardson's, of the two finest and the order that the scheme has by design.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from common import RESULTS, machine, table, write_json

import jaxcardio as jc
from jaxcardio.tissue.simulate import DEFAULT_DT

CELLS = {
    "ten_tusscher": jc.models.TenTusscher2004,
    "kernik": jc.models.KernikClancy2019,
    "skibsbye": jc.models.Skibsbye2016,
}
D = 0.154
LENGTH, STIMULATED, FIRST, LAST = 20.0, 2.0, 8.0, 16.0
END = 60.0
ALONE = 300.0
PULSE = jc.protocols.PulseTrain(-55.0, 2.0, 1000.0, 0.0)
ORDERS = {"strang": 2, "godunov": 1}
WAYS = (("strang", "explicit"), ("strang", "implicit"), ("godunov", "explicit"), ("godunov", "implicit"))


class Plan(NamedTuple):
    """Spacings (mm), coarse to fine, at the finest of the steps (ms); and the steps, at the second of the spacings."""

    spacings: tuple[float, ...] = (0.2, 0.1, 0.05, 0.025)
    steps: tuple[float, ...] = (0.08, 0.04, 0.02, 0.01, 0.005, 0.0025)


QUICK = Plan((0.4, 0.2, 0.1), (0.04, 0.02, 0.01))


def speed(cell, y0, dx: float, dt: float, splitting="strang", diffusion="implicit") -> float:
    """CV, mm/ms."""
    cable = jc.tissue.Tissue(cell, (round(LENGTH / dx),), dx, D)
    stimulus = jc.tissue.Stimulus(PULSE, np.s_[: round(STIMULATED / dx)])
    run = jc.tissue.simulate(
        cable, [stimulus], t1=END, dt=dt, save_every=END, y0=y0, splitting=splitting, diffusion=diffusion
    )
    if not np.isfinite(run.activation_time).all():
        return float("nan")
    early, late = np.interp([FIRST, LAST], cable.centres()[0], run.activation_time)
    return (LAST - FIRST) / float(late - early)


def richardson(values: Sequence[float], order: float) -> float:
    """The limit of values at h, h/2, ... from the last two."""
    return values[-1] + (values[-1] - values[-2]) / (2**order - 1)


def orders(values: Sequence[float]) -> list[float]:
    """The order that each three successive ones show."""
    change = np.abs(np.diff(values))
    return [float(x) for x in np.log2(change[:-1] / change[1:])]


def convergence(sizes: Sequence[float], values: Sequence[float], order: float) -> dict[str, Any]:
    limit = richardson(values, order)
    return {
        "size": list(sizes),
        "cv": list(values),
        "limit": limit,
        "error_percent": [100 * (v / limit - 1) for v in values],
        "order_by_design": order,
        "orders_observed": orders(values),
    }


def of_cell(name: str, plan: Plan) -> dict[str, Any]:
    cell = CELLS[name]()
    begin = time.perf_counter()
    alone = jc.simulate(cell, None, t1=ALONE, dt=0.02, solver=jc.RushLarsen2(), save_every=ALONE)
    y0 = alone.final_state
    finest = plan.steps[-1]
    space = convergence(plan.spacings, [speed(cell, y0, dx, finest) for dx in plan.spacings], 2)
    dx = 0.1
    stable = dx**2 / (2 * D)
    ways = []
    for splitting, diffusion in WAYS:
        steps = [dt for dt in plan.steps if diffusion == "implicit" or dt <= stable]
        values = [speed(cell, y0, dx, dt, splitting, diffusion) for dt in steps]
        ways.append({"splitting": splitting, "diffusion": diffusion} | convergence(steps, values, ORDERS[splitting]))
    # One limit for all: that of the default way.
    limit = ways[0]["limit"]
    for way in ways:
        way["error_percent"] = [100 * (v / limit - 1) for v in way["cv"]]
    default = DEFAULT_DT["explicit"]
    return {
        "model": name,
        "V0_mV": float(getattr(y0, cell.potential)),
        "spacing": space,
        "steps": ways,
        "at_0.1_mm_percent": space["error_percent"][plan.spacings.index(dx)],
        "default_step_ms": default,
        "at_default_step_percent": 100 * (speed(cell, y0, dx, default, "strang", "explicit") / limit - 1),
        "s": time.perf_counter() - begin,
    }


def benchmark(models: Sequence[str], plan: Plan, file: Path) -> dict[str, Any]:
    content: dict[str, Any] = {"benchmark": "tissue_convergence", "machine": machine(), "cells": []}
    content |= {"diffusivity_mm2_per_ms": D, "length_mm": LENGTH, "measured_mm": [FIRST, LAST], "alone_ms": ALONE}
    for name in models:
        content["cells"].append(of_cell(name, plan))
        write_json(file, content)
        print(report(content["cells"][-1]), flush=True)
    return content


def report(found: dict[str, Any]) -> str:
    rows = []
    for kind, what in (
        ("dx mm", found["spacing"]),
        *((f"dt ms, {w['splitting']}, {w['diffusion']}", w) for w in found["steps"]),
    ):
        observed = [float("nan"), float("nan"), *what["orders_observed"]]
        for size, cv, error, order in zip(what["size"], what["cv"], what["error_percent"], observed, strict=True):
            rows.append({"kind": kind, "size": size, "cv": cv, "error": error, "order": order})
    columns = {
        "kind": ("of", "s"), "size": ("size", "g"), "cv": ("CV m/s", ".6f"), "error": ("error %", ".4f"),
        "order": ("order", ".2f"),
    }  # fmt: skip
    return (
        f"\n{found['model']}: limit in dx {found['spacing']['limit']:.5f} m/s; error at 0.1 mm "
        f"{found['at_0.1_mm_percent']:.2f} %; at the default step of {found['default_step_ms']:g} ms "
        f"{found['at_default_step_percent']:.3f} %\n" + table(rows, columns)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--models", nargs="+", choices=CELLS, default=list(CELLS), metavar="MODEL", help=", ".join(CELLS)
    )
    parser.add_argument("--quick", action="store_true", help="coarse spacings and steps: about two minutes")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of tissue_convergence.json")
    given = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    file = given.out / ("tissue_convergence_quick.json" if given.quick else "tissue_convergence.json")
    benchmark(given.models, QUICK if given.quick else Plan(), file)


if __name__ == "__main__":
    main()
