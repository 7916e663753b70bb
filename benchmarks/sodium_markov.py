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
from typing import Any, NamedTuple

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
SERIES = (4, 6, 8, 12, 16, 24, 64)
SPACINGS = (1.0, 0.25)
TABLE_FROM, TABLE_TO = -125.0, 85.0
PACING = jc.protocols.PulseTrain(-11.5, 2.0, 1000.0, 0.0)
DVDT_MAX = 217.0
SEEN = 20.0
"""ms along the beat."""
LARGE = 10_000
"""Cells from which on a method of matrices is timed with fewer steps."""


class How(NamedTuple):
    """A step's length (ms), and exp(Q dt) at the potentials of a table."""

    dt: Any
    table: Any = None


Step = Callable[[Any, Occupancies, How], Occupancies]


# --- the methods -----------------------------------------------------------------------------------------------------


def series(terms: int) -> Step:
    return lambda V, p, how: advanced(transition_rates(V), p, how.dt, terms)


def euler(V, p, how):
    return Occupancies(*(x + how.dt * d for x, d in zip(p, slopes(transition_rates(V), p), strict=True)))


def _by_matrix(P, p: Occupancies) -> Occupancies:
    return Occupancies(*jnp.einsum("nij,nj->in", P, jnp.stack(p, axis=-1)))


def dense(V, p, how):
    """Taylor's series of degree 6 of Q dt / 2^6, squared six times: right to 1e-9 for |Q| dt <= 30."""
    A = jax.vmap(generator)(transition_rates(V)) * (how.dt / 64)
    P = unit = jnp.eye(9, dtype=A.dtype)
    for k in range(6, 0, -1):
        P = unit + A @ P / k
    for _ in range(6):
        P = P @ P
    return _by_matrix(P, p)


def scipy_expm(V, p, how):
    return _by_matrix(jax.scipy.linalg.expm(jax.vmap(generator)(transition_rates(V)) * how.dt), p)


def looked_up(V, p, how):
    """Between the two nearest potentials of the table, linearly: stochastic as they are."""
    size = how.table.shape[0]
    x = (V - TABLE_FROM) * ((size - 1) / (TABLE_TO - TABLE_FROM))
    k = jnp.clip(x.astype(jnp.int32), 0, size - 2)
    w = (x - k.astype(x.dtype))[:, None, None]
    return _by_matrix((1 - w) * how.table[k] + w * how.table[k + 1], p)


class Method(NamedTuple):
    """A way to take a step, compiled once for all step lengths."""

    once: Callable[..., Any]
    """(V, p, how) -> p."""
    course: Callable[..., Any]
    """(p, V of each step, spread of V over cells, how) -> p after each step, (steps, 9) of the first cell."""
    last: Callable[..., Any]
    """As `course` -> p after the last step."""
    spacing: float | None = None
    """Of a table, mV."""

    def how(self, dt: float, dtype) -> How:
        if self.spacing is None:
            return How(jnp.asarray(dt, dtype))
        V = jnp.arange(TABLE_FROM, TABLE_TO + self.spacing / 2, self.spacing)
        known = jax.scipy.linalg.expm(jax.vmap(generator)(transition_rates(V)) * dt)
        return How(jnp.asarray(dt, dtype), known.astype(dtype))


def method(step: Step, spacing: float | None = None) -> Method:
    def seen(p, V, spread, how):
        def body(p, V):
            p = step(V + spread, p, how)
            return p, jnp.stack([x[0] for x in p])

        return jax.lax.scan(body, p, V)[1]

    def last(p, V, spread, how):
        return jax.lax.scan(lambda p, V: (step(V + spread, p, how), None), p, V)[0]

    return Method(jax.jit(step), jax.jit(seen), jax.jit(last), spacing)


def methods(flow: MarkovFlow, dtype) -> dict[str, Method]:
    def of(gating: MarkovFlow) -> Step:
        cast = jax.tree.map(lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x, gating)
        return lambda V, p, how: cast(V, p, how.dt)

    return {
        **{f"series of {k}": method(series(k)) for k in SERIES},
        "dense": method(dense),
        "scipy expm": method(scipy_expm),
        **{f"table, {s:g} mV": method(looked_up, s) for s in SPACINGS},
        "Euler": method(euler),
        "splitting": method(of(MarkovFlow(flow.network.widths))),
        "flow map": method(of(flow)),
    }


EXACT = method(series(80))


# --- errors ----------------------------------------------------------------------------------------------------------


def along(of: Method, V: np.ndarray, dt: float, dtype) -> np.ndarray:
    """Occupancies (steps, 9) with V (mV, one a step) held over each step, from rest at the first."""
    p0 = jax.tree.map(lambda x: x.astype(dtype), steady_occupancies(transition_rates(jnp.full(1, V[0]))))
    most = round(SEEN / min(DT))  # one length, one program
    padded = np.pad(V, (0, most - len(V)), mode="edge")
    seen = of.course(p0, jnp.asarray(padded, dtype), jnp.zeros(1, dtype), of.how(dt, dtype))
    return np.asarray(seen, float)[: len(V)]


def errors_along(of: Method, V, E_Na, dt, true, dtype) -> dict[str, float]:
    O = Occupancies._fields.index("O")
    difference = along(of, V, dt, dtype) - true
    current, error = true[:, O] * (V - E_Na), difference[:, O] * (V - E_Na)
    return {
        "p_error": float(np.abs(difference).max()),
        "O_error_percent": 100 * float(np.sqrt(np.mean(difference[:, O] ** 2)) / true[:, O].max()),
        "I_Na_error_percent": 100 * float(np.sqrt(np.mean(error**2)) / np.abs(current).max()),
    }


def error_random(of: Method, dt: float, low: float, high: float, dtype, n: int = 20_000) -> float:
    rng = np.random.default_rng(0)
    V, p = rng.uniform(low, high, n), rng.dirichlet(np.full(9, 0.3), n).T
    true = EXACT.once(jnp.asarray(V), Occupancies(*jnp.asarray(p)), EXACT.how(dt, jnp.float64))
    found = of.once(jnp.asarray(V, dtype), Occupancies(*jnp.asarray(p, dtype)), of.how(dt, dtype))
    return float(np.abs(np.stack(found) - np.stack(true)).max())


# --- times -----------------------------------------------------------------------------------------------------------


def prepared(of: Method, cells: int, dt: float, dtype, steps: int) -> Callable[[], float]:
    """A function that runs and gives the ns of a cell-step; compiled and run once."""
    beat = jnp.asarray(np.interp(np.arange(steps), [0, steps / 3, steps / 3 + 1, steps], [-75, -65, 25, -20]), dtype)
    spread = jnp.asarray(np.linspace(-5, 5, cells), dtype)
    p0 = Occupancies(*(jnp.full(cells, 1 / 9, dtype) for _ in range(9)))
    how = of.how(dt, dtype)
    jax.block_until_ready(of.last(p0, beat, spread, how))

    def timed() -> float:
        begin = time.perf_counter()
        jax.block_until_ready(of.last(p0, beat, spread, how))
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
    cell, low, high, g_Na = jc.models.Skibsbye2016().replace(sodium=gating), 1000.0, 2500.0, 1450.0
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
                short: dict[str, Any] = how | {"t1": end, "save_every": end}
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
        all_methods = methods(flow, dtype)
        for dt in (0.1,) if quick else DT:
            heading = f"{jnp.dtype(dtype).name} {dt:g} ms"
            middle = np.arange(dt / 2, SEEN, dt)
            V, E = (np.interp(middle, np.asarray(beat.ts), x) for x in (np.asarray(beat.V), E_Na))
            true = along(EXACT, V, dt, jnp.float64)
            found = {}
            for name, of in all_methods.items():
                report(f"{heading}: errors of {name}")
                found[name] = {
                    "dtype": jnp.dtype(dtype).name,
                    "dt": dt,
                    "method": name,
                    **errors_along(of, V, E, dt, true, dtype),
                    "random_error": error_random(of, dt, -95.0, 45.0, dtype),
                    "random_error_far": error_random(of, dt, -120.0, 80.0, dtype),
                }
            for n in cells:
                report(f"{heading}: times of {n} cells")
                steps = 4 if n > LARGE else max(20, min(1000, 50_000 // n))
                runs = {
                    name: prepared(of, n, dt, dtype, steps)
                    for name, of in all_methods.items()
                    if not (name == "scipy expm" and n > LARGE)
                }
                for name, ns in in_turns(runs, 3 if n > LARGE else 7).items():
                    found[name][f"ns_{n}"] = ns
                verdicts.append(verdict(found, n))
            rows += found.values()
    steps = (0.1,) if quick else DT[2:]
    gatings = {f"series of {k}": ClancyRudySodiumGating(terms=k) for k in (6, 8, 12, 64)}
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
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
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
