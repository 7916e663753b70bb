"""What `simulate` costs over a bare `lax.scan` of the same first-order step, in one run: the ratio should be about one.

    python benchmarks/overhead.py [--cells 1024] [--out DIR]

Ten Tusscher 2004, one parameter varied over the population, V saved every ms. The bare loop knows neither protocols,
status, saved times nor solvers; it writes the Rush-Larsen step out by hand.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from common import RESULTS, machine, write_json

import jaxcardio as jc
from jaxcardio.relaxation import is_relaxation

DT, T1 = 0.02, 100.0
PACING = jc.protocols.PulseTrain(-52.0, 1.0, 1000.0, 10.0)


@jax.jit
def bare(cells, y0, stimulus):
    """V (ms, cells): one scan over ms, one over the steps of each."""

    def advance(cell, y, i_stim):
        rates = cell.rates(0.0, y, i_stim)

        def one(r, x):
            return x + (r.steady - x) * (1 - jnp.exp(-DT / r.tau)) if is_relaxation(r) else x + DT * r

        return jax.tree.map(one, rates, y, is_leaf=is_relaxation)

    step = jax.vmap(advance, in_axes=(cells.population_axes(), 0, None))

    def one_ms(y, stimulus):
        y, _ = jax.lax.scan(lambda y, i_stim: (step(cells, y, i_stim), None), y, stimulus)
        return y, y.V

    return jax.lax.scan(one_ms, y0, stimulus)[1]


def measure(n: int) -> dict:
    cell = jc.models.TenTusscher2004()
    cells = cell.replace(g_Kr=cell.g_Kr * jnp.linspace(0.8, 1.2, n))
    y0 = jax.tree.map(lambda x: jnp.broadcast_to(x, (n,)), cell.initial_state())
    middle = DT * (np.arange(round(T1 / DT)) + 0.5)
    stimulus = jnp.asarray(PACING.value(middle).reshape(-1, round(1 / DT)))
    ways = {
        "bare scan": lambda: bare(cells, y0, stimulus),
        "simulate": lambda: jc.simulate(cells, PACING, t1=T1, dt=DT, outputs=["V"]).V[:, 1:].T,
    }
    difference = float(jnp.abs(ways["bare scan"]() - ways["simulate"]()).max())
    seconds = {name: [] for name in ways}
    for _ in range(15):  # taking turns, so that whatever else the machine does hits both alike
        for name, way in ways.items():
            began = time.perf_counter()
            jax.block_until_ready(way())
            seconds[name].append(time.perf_counter() - began)
    best = {name: min(s) for name, s in seconds.items()}
    return {
        "cells": n,
        "steps": len(middle),
        "max_difference_mV": difference,
        "ns_per_cell_step": {name: 1e9 * s / n / len(middle) for name, s in best.items()},
        "ratio": best["simulate"] / best["bare scan"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cells", type=int, default=1024)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    found = measure(given.cells)
    for name, ns in found["ns_per_cell_step"].items():
        print(f"{name:10} {ns:6.1f} ns a cell-step")
    print(f"ratio {found['ratio']:.3f}; largest difference of V {found['max_difference_mV']:.1e} mV")
    write_json(given.out / "overhead.json", {"machine": machine(), **found})


if __name__ == "__main__":
    main()
