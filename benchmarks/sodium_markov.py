"""The Markov sodium channel: its matrix exponential taken in every way, and its learned flow map, at equal error.

    python benchmarks/sodium_markov.py [--quick] [--cells 1 1000 100000] [--out DIR]

prints tables and writes sodium_markov.json. What is measured, and how to read it:

- *Along a beat.* The potential of a paced hybrid cell (the Skibsbye cell with this channel; g_Na such that dV/dt max is
  217 V/s) is sampled in the middle of each step and held over it: the exact flow is then a product of exponentials, and
  a method's error is its own, not that of holding V. p: the largest error of any occupancy; O and I_Na: root mean
  square over the first 20 ms, in percent of the peak.
- *Random.* The largest error of any occupancy for random occupancies and V from -95 to 45 mV and from -120 to 80 mV.
- *Time.* One step of many cells with different potentials, ns a cell-step, the least of several, all methods in turns.
- *At equal error.* The fastest of the other methods whose errors along the beat (p and O) are no larger than the flow
  map's, and its time over the flow map's: below 1 the flow map loses.
- *In the cell.* RMSE of V over 400 ms against steps of 2 us, with `RushLarsenMidpoint`, and the time of a cell-step.

Methods: series of K terms (uniformisation, `models.markov_sodium.advanced`), a dense 9 x 9 exponential by scaling and
squaring, `jax.scipy.linalg.expm`, a table of exp(Q dt) at every 1 and 0.25 mV with linear interpolation (it knows one
dt), forward Euler, the exchanges of the flow map without learned corrections, the flow map.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
from common import RESULTS, machine, table, write_json

import jaxcardio as jc
from jaxcardio.models.markov_sodium import (
    ClancyRudySodiumGating,
    Occupancies,
    advanced,
    fastest_exit,
    slopes,
    steady_occupancies,
    transition_rates,
)
from jaxcardio.sodium.markov_flow import MarkovFlow, generator

DT = (0.01, 0.02, 0.05, 0.1, 0.2)
SERIES = (4, 6, 8, 10, 12, 16, 24, 32, 64)
SPACINGS = (1.0, 0.25)
PACING = jc.protocols.PulseTrain(-11.5, 2.0, 1000.0, 0.0)
DVDT_MAX = 217.0
SEEN = 20.0
"""ms along the beat."""
Step = Callable[[Any, Occupancies, Any], Occupancies]


# --- the methods -----------------------------------------------------------------------------------------------------


def series(terms: int) -> Step:
    return lambda V, p, dt: advanced(transition_rates(V), p, dt, terms)


def euler(V, p, dt):
    return Occupancies(*(x + dt * d for x, d in zip(p, slopes(transition_rates(V), p), strict=True)))


def _by_matrix(P, p: Occupancies) -> Occupancies:
    return Occupancies(*jnp.einsum("nij,nj->in", P, jnp.stack(p, axis=-1)))


def dense(V, p, dt):
    """Taylor's series of degree 6 of Q dt / 2^6, squared six times: right to 1e-9 for |Q| dt <= 30."""
    A = jax.vmap(generator)(transition_rates(V)) * (dt / 64)
    P = unit = jnp.eye(9, dtype=A.dtype)
    for k in range(6, 0, -1):
        P = unit + A @ P / k
    for _ in range(6):
        P = P @ P
    return _by_matrix(P, p)


def scipy_expm(V, p, dt):
    return _by_matrix(jax.scipy.linalg.expm(jax.vmap(generator)(transition_rates(V)) * dt), p)


def tabulated(dt: float, spacing: float, dtype) -> Step:
    V0 = -125.0
    V = jnp.arange(V0, 85.0, spacing)
    known = jax.scipy.linalg.expm(jax.vmap(generator)(transition_rates(V)) * dt).astype(dtype)

    def step(V, p, dt):
        x = (V - V0) / spacing
        k = jnp.clip(x.astype(jnp.int32), 0, known.shape[0] - 2)
        w = (x - k.astype(x.dtype))[:, None, None]
        return _by_matrix((1 - w) * known[k] + w * known[k + 1], p)

    return step


def methods(flow: MarkovFlow, dt: float, dtype) -> dict[str, Step]:
    def of(gating: MarkovFlow) -> Step:
        cast = jax.tree.map(lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x, gating)
        return lambda V, p, dt: cast(V, p, dt)

    return {
        **{f"series of {k}": series(k) for k in SERIES},
        "dense": dense,
        "scipy expm": scipy_expm,
        **{f"table, {s:g} mV": tabulated(dt, s, dtype) for s in SPACINGS},
        "Euler": euler,
        "splitting": of(MarkovFlow(flow.network.widths)),
        "flow map": of(flow),
    }


# --- errors ----------------------------------------------------------------------------------------------------------


def along(step: Step, V: np.ndarray, dt: float, dtype=jnp.float64) -> np.ndarray:
    """Occupancies (steps, 9) with V (mV, one a step) held over each step, from rest at the first."""
    p0 = jax.tree.map(lambda x: x.astype(dtype), steady_occupancies(transition_rates(jnp.full(1, V[0]))))

    def body(p, V):
        new = step(V[None], p, jnp.asarray(dt, dtype))
        return new, jnp.stack(new)[:, 0]

    return np.asarray(jax.jit(lambda p, V: jax.lax.scan(body, p, V)[1])(p0, jnp.asarray(V, dtype)))


def errors_along(step: Step, V, E_Na, dt, true, dtype) -> dict[str, float]:
    p = along(step, V, dt, dtype).astype(float)
    O = Occupancies._fields.index("O")
    difference = p - true
    current, error = true[:, O] * (V - E_Na), difference[:, O] * (V - E_Na)
    return {
        "p_error": float(np.abs(difference).max()),
        "O_error_percent": 100 * float(np.sqrt(np.mean(difference[:, O] ** 2)) / true[:, O].max()),
        "I_Na_error_percent": 100 * float(np.sqrt(np.mean(error**2)) / np.abs(current).max()),
    }


def error_random(step: Step, dt: float, low: float, high: float, dtype, n: int = 20_000) -> float:
    rng = np.random.default_rng(0)
    V = jnp.asarray(rng.uniform(low, high, n), dtype)
    p = Occupancies(*jnp.asarray(rng.dirichlet(np.full(9, 0.3), n).T, dtype))
    true = np.stack(jax.jit(series(80))(*jax.tree.map(lambda x: x.astype(jnp.float64), (V, p)), dt))
    return float(np.abs(np.stack(jax.jit(step)(V, p, jnp.asarray(dt, dtype))) - true).max())


# --- times -----------------------------------------------------------------------------------------------------------


def prepared(step: Step, cells: int, dt: float, dtype, steps: int) -> Callable[[], float]:
    """A function that runs and gives the ns of a cell-step; compiled and run once."""
    beat = jnp.asarray(np.interp(np.arange(steps), [0, steps / 3, steps / 3 + 1, steps], [-75, -65, 25, -20]), dtype)
    spread = jnp.asarray(np.linspace(-5, 5, cells), dtype)
    p0 = Occupancies(*(jnp.full(cells, 1 / 9, dtype) for _ in range(9)))
    one = jnp.asarray(dt, dtype)

    @jax.jit
    def run(p, beat, dt):
        return jax.lax.scan(lambda p, V: (step(V + spread, p, dt), None), p, beat)[0]

    jax.block_until_ready(run(p0, beat, one))

    def timed() -> float:
        begin = time.perf_counter()
        jax.block_until_ready(run(p0, beat, one))
        return (time.perf_counter() - begin) / steps / cells * 1e9

    return timed


def in_turns(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The least of each, measured in turns."""
    found = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            found[name].append(run())
    return {name: min(times) for name, times in found.items()}


# --- the hybrid cell -------------------------------------------------------------------------------------------------


def hybrid(gating) -> jc.models.Skibsbye2016:
    """The Skibsbye cell with this channel and g_Na by bisection: dV/dt max of the first beat is 217 V/s."""
    cell, low, high = jc.models.Skibsbye2016().replace(sodium=gating), 1000.0, 2500.0
    for _ in range(12):
        g_Na = (low + high) / 2
        run = jc.simulate(
            cell.replace(g_Na=g_Na), PACING, t1=60.0, dt=0.01, save_every=0.01, solver=jc.RushLarsenMidpoint()
        )
        fastest = float(np.max(np.diff(np.asarray(run.V)))) / 0.01
        low, high = (g_Na, high) if fastest < DVDT_MAX else (low, g_Na)
    return cell.replace(g_Na=g_Na)


def in_the_cell(cell, gatings: dict[str, Any], steps: Sequence[float], t1: float, report) -> list[dict[str, Any]]:
    how: dict[str, Any] = dict(t1=t1, save_every=1.0, solver=jc.RushLarsenMidpoint(), outputs=["V"])
    report("the cell: reference")
    true = np.asarray(jc.simulate(cell, PACING, dt=0.002, **how).V)
    rows = []
    for dt in steps:
        for name, gating in gatings.items():
            report(f"the cell: {dt:g} ms, {name}")
            one = cell.replace(sodium=gating)
            many = one.replace(g_Na=np.asarray(one.g_Na) * np.linspace(0.95, 1.05, 1000))
            V = np.asarray(jc.simulate(one, PACING, dt=dt, **how).V)
            row = {"dt": dt, "gating": name, "rmse_mV": float(np.sqrt(np.mean((V - true) ** 2)))}
            for cells, of, end in ((1, one, 100.0), (1000, many, 20.0)):
                short = how | {"t1": end, "save_every": end}
                times = []
                for _ in range(4):
                    begin = time.perf_counter()
                    jax.block_until_ready(jc.simulate(of, PACING, dt=dt, **short).V)
                    times.append(time.perf_counter() - begin)
                row[f"ns_{cells}"] = min(times[1:]) / cells / (end / dt) * 1e9
            rows.append(row)
    return rows


# --- all of it -------------------------------------------------------------------------------------------------------


def study(flow: MarkovFlow, cells: Sequence[int], quick: bool, report) -> dict[str, Any]:
    report("the hybrid cell")
    cell = hybrid(ClancyRudySodiumGating(terms=32))
    beat = jc.simulate(cell, PACING, t1=SEEN, dt=0.005, save_every=0.005, solver=jc.RushLarsenMidpoint())
    E_Na = 8314.0 * 310.15 / 96487.0 * np.log(130.0 / np.asarray(beat.ys.Na_ss))
    rows, verdicts = [], []
    for dtype in (jnp.float64,) if quick else (jnp.float64, jnp.float32):
        for dt in (0.1,) if quick else DT:
            middle = np.arange(dt / 2, SEEN, dt)
            V, E = (np.interp(middle, np.asarray(beat.ts), x) for x in (np.asarray(beat.V), E_Na))
            true = along(series(80), V, dt)
            found = {}
            for name, step in methods(flow, dt, dtype).items():
                report(f"{jnp.dtype(dtype).name} {dt:g} ms: errors of {name}")
                found[name] = {
                    "dtype": jnp.dtype(dtype).name,
                    "dt": dt,
                    "method": name,
                    **errors_along(step, V, E, dt, true, dtype),
                    "random_error": error_random(step, dt, -95.0, 45.0, dtype),
                    "random_error_far": error_random(step, dt, -120.0, 80.0, dtype),
                }
            for n in cells:
                steps, rounds = max(5, min(2000, 100_000 // n)), 3 if n > 10_000 else 7
                report(f"{jnp.dtype(dtype).name} {dt:g} ms: times of {n} cells")
                runs = {
                    name: prepared(step, n, dt, dtype, steps)
                    for name, step in methods(flow, dt, dtype).items()
                    if not (name == "scipy expm" and n > 1000)
                }
                for name, ns in in_turns(runs, rounds).items():
                    found[name][f"ns_{n}"] = ns
                verdicts.append(verdict(found, n))
            rows += found.values()
    steps = (0.1,) if quick else DT
    gatings = {f"series of {k}": ClancyRudySodiumGating(terms=k) for k in (8, 16, 64)}
    gatings |= {"splitting": MarkovFlow(flow.network.widths), "flow map": flow}
    inside = in_the_cell(cell, gatings, steps, 20.0 if quick else 400.0, report)
    exits = np.asarray(fastest_exit(transition_rates(jnp.asarray([-120.0, -75.0, -40.0, 30.0, 80.0]))))
    about = {
        "g_Na_nS": float(cell.g_Na),
        "fastest_exit_per_ms": dict(zip(("-120", "-75", "-40", "30", "80"), exits.tolist(), strict=True)),
    }
    return {**about, "rows": rows, "equal_error": verdicts, "cell": inside}


def verdict(found: dict[str, dict[str, Any]], cells: int) -> dict[str, Any]:
    """The fastest rival that is no worse than the flow map along the beat, and how the flow map compares."""
    flow, field = found["flow map"], f"ns_{cells}"
    rivals = {
        name: row
        for name, row in found.items()
        if name not in ("flow map", "splitting")
        and field in row
        and row["p_error"] <= flow["p_error"]
        and row["O_error_percent"] <= flow["O_error_percent"]
    }
    exponentials = {name: row for name, row in rivals.items() if not name.startswith("table")}
    best, exponential = (min(x, key=lambda name: x[name][field], default=None) for x in (rivals, exponentials))
    return {
        "dtype": flow["dtype"],
        "dt": flow["dt"],
        "cells": cells,
        "flow_ns": flow[field],
        "exponential": exponential or "none",
        "exponential_over_flow": exponentials[exponential][field] / flow[field] if exponential else None,
        "best": best or "none",
        "best_over_flow": rivals[best][field] / flow[field] if best else None,
        "accurate_over_flow": found["series of 64"][field] / flow[field],
        "dense_over_flow": found["dense"][field] / flow[field],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cells", nargs="+", type=int, default=[1, 1000, 100_000])
    parser.add_argument("--quick", action="store_true", help="one step, float64, 1 and 1000 cells")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of sodium_markov.json")
    options = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    cells = [1, 1000] if options.quick else options.cells
    found = study(
        jc.sodium.load("markov_flow"), cells, options.quick, lambda text: print(text, file=sys.stderr, flush=True)
    )
    content = {"benchmark": "sodium_markov", "quick": options.quick, "machine": machine(), **found}
    write_json(options.out / ("sodium_markov_quick.json" if options.quick else "sodium_markov.json"), content)
    ns = {f"ns_{n}": (f"ns, {n}", ".0f") for n in cells}
    head = {"dtype": ("", "s"), "dt": ("dt", "g")}
    print(f"g_Na = {found['g_Na_nS']:.0f} nS\n")
    print(
        table(
            found["rows"],
            head
            | {
                "method": ("method", "s"),
                "p_error": ("p", ".1e"),
                "O_error_percent": ("O %", ".1e"),
                "I_Na_error_percent": ("I_Na %", ".1e"),
                "random_error": ("random p", ".1e"),
                "random_error_far": ("far p", ".1e"),
            }
            | ns,
        )
    )
    print()
    print(
        table(
            found["equal_error"],
            head
            | {
                "cells": ("cells", "d"),
                "flow_ns": ("flow ns", ".0f"),
                "exponential": ("exponential", "s"),
                "exponential_over_flow": ("over flow", ".2f"),
                "best": ("best rival", "s"),
                "best_over_flow": ("over flow", ".2f"),
                "accurate_over_flow": ("series of 64 / flow", ".2f"),
                "dense_over_flow": ("dense / flow", ".2f"),
            },
        )
    )
    print()
    print(
        table(
            found["cell"],
            {
                "dt": ("dt", "g"),
                "gating": ("gating", "s"),
                "rmse_mV": ("RMSE mV", ".2e"),
                "ns_1": ("ns, 1", ".0f"),
                "ns_1000": ("ns, 1000", ".0f"),
            },
        )
    )


if __name__ == "__main__":
    main()
