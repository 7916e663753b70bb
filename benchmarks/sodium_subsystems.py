"""Where the time of a cell-step goes, and what replaces a part of it at equal accuracy.

    python benchmarks/sodium_subsystems.py                # some twenty minutes on one quiet core
    python benchmarks/sodium_subsystems.py --quick        # one part of one model, a few replacements

prints two tables and writes sodium_subsystems.json. 1,000 cells on one core, steps of 0.1 ms, `RushLarsenMidpoint`
unless a row says otherwise. Times are the process's own seconds, the best of rounds in which all rows take turns.

- `where`: a part is what a step costs less without it. Its states stand still and its currents and fluxes are left out,
  so that the compiler removes what only they need. "Free" gates still take their step, but their rates are a line in
  V: no surrogate of the rates can gain more.
- `replacements`, Skibsbye's cell: time against the exact equations, and errors against steps of 0.005 ms after four
  beats at 1 Hz and ten at 2.5 Hz, over the last beat. What is fitted is fitted at other cycle lengths (600 and 1300
  ms). APD90 is taken from the stimulus to the reference's own level of 90 %.
"""

import argparse
import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from common import RESULTS, machine, table, write_json

import jaxcardio as jc
from jaxcardio.simulation.grid import PACED_STAGES
from jaxcardio.sodium import subsystems

CELLS, DT, MIDPOINT = 1000, 0.1, jc.RushLarsenMidpoint()
CYCLE_LENGTHS, BEATS_MS = (1000.0, 400.0), 4000.0


class Part(NamedTuple):
    """Of a cell: what is left out of it (see `without`)."""

    states: tuple[str, ...] = ()
    currents: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    drifting: tuple[str, ...] = ()


class Model(NamedTuple):
    cell: Any
    varied: str
    amplitude: float
    duration: float
    parts: dict[str, Part]

    def pacing(self, cycle_length: float = 1000.0):
        return jc.protocols.PulseTrain(self.amplitude, self.duration, cycle_length)


def models() -> dict[str, Model]:
    skibsbye, kernik, ten_tusscher = (
        jc.models.Skibsbye2016(),
        jc.models.KernikClancy2019(),
        jc.models.TenTusscher2004(),
    )
    fluxes = tuple(n for n in type(skibsbye.currents(skibsbye.initial_state()))._fields if n.startswith("J_"))
    fluxes = tuple(n for n in fluxes if n != "J_Na")
    inner = tuple(n for n in skibsbye.initial_state()._fields if n.startswith(("RyR", "SERCA", "Ca_i", "Ca_SR")))
    deep = tuple(n for n in inner if n[-1] in "123")
    return {
        "Skibsbye": Model(
            skibsbye, "g_Kr", -11.5, 2.0,
            gates_of(skibsbye, ("m", "h1", "h2")) | {
                "I_Kr with pa": Part(("pa",), ("I_Kr",)),
                "pa, free": Part(free=("pa",)),
                "I_CaL with d, f2, fca": Part(("d", "f2", "fca"), ("I_CaL",)),
                "d and f2, free": Part(free=("d", "f2")),
                "RyR gates": Part(tuple(n for n in inner if n.startswith("RyR"))),
                "SERCA": Part(tuple(n for n in inner if "SERCA" in n), tuple(n for n in fluxes if "SERCA" in n)),
                "shells 1 to 3 with all they hold": Part(deep, tuple(n for n in fluxes if n[-1] in "123")),
                "calcium, all but Ca_ss": Part(inner, fluxes, drifting=("Ca_ss",)),
            },
        ),
        "Kernik-Clancy": Model(
            kernik, "scale_g_Kr", -6.0, 5.0,
            gates_of(kernik, ("m", "h", "j")) | {
                "I_Kr with its gates": Part(("Xr1", "Xr2"), ("I_Kr",)),
                "I_CaL with its gates": Part(("d", "f", "fCa"), ("I_CaL", "I_CaL_Ca", "I_CaL_Na", "I_CaL_K")),
                "calcium, all but Ca_i": Part(
                    ("R", "O", "I", "Ca_SR"), ("I_rel", "I_up", "I_leak"), drifting=("Ca_i",)
                ),
            },
        ),
        "ten Tusscher": Model(
            ten_tusscher, "g_Kr", -52.0, 1.0,
            gates_of(ten_tusscher, ("m", "h", "j")) | {
                "I_Kr with its gates": Part(("Xr1", "Xr2"), ("I_Kr",)),
                "I_CaL with its gates": Part(("d", "f", "fCa"), ("I_CaL",)),
                "calcium, all but Ca_i": Part(("g", "Ca_SR"), ("I_rel", "I_up", "I_leak"), drifting=("Ca_i",)),
            },
        ),
    }  # fmt: skip


def gates_of(cell, sodium: tuple[str, ...]) -> dict[str, Part]:
    others = tuple(name for name in subsystems.voltage_gates(cell) if name not in sodium)
    return {
        "nothing": Part(),
        "Nav1.5 gates": Part(sodium),
        "Nav1.5 gates, free": Part(free=sodium),
        "other gates of V": Part(others),
        "other gates of V, free": Part(free=others),
        "all gates of V, free": Part(free=sodium + others),
    }


def without(cell, part: Part):
    """The cell with `part`'s states still, its currents 0 and in no sum; with free gates, and states that drift with V.

    What drifts keeps the membrane's own work on it, which would be done once if it stood still.
    """
    members = [name for name in cell.conductances if name != "I_NaL" and name not in part.currents]

    class Cut(type(cell)):
        def currents(self, y):
            nothing = jnp.zeros_like(y.V)
            i = super().currents(y)._replace(**dict.fromkeys(part.currents, nothing))
            return i._replace(I_ion_total=sum(getattr(i, name) for name in members))

        def rates(self, t, y, i_stim):
            line = jc.Relaxation(0.5 + 1e-3 * y.V, rate=0.3 + 1e-3 * y.V)
            return (
                super()
                .rates(t, y, i_stim)
                ._replace(
                    **dict.fromkeys(part.states, jnp.zeros_like(y.V)),
                    **dict.fromkeys(part.free, line),
                    **dict.fromkeys(part.drifting, 1e-9 * y.V),
                )
            )

    return Cut(**{f.name: getattr(cell, f.name) for f in dataclasses.fields(cell)})


def population(cell, varied: str):
    value = cell.parameters()[varied].value
    return cell.replace(**{varied: value * jnp.linspace(0.9, 1.1, CELLS, dtype=value.dtype)})


def in_turns(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The process's seconds of each, the best of `rounds`."""
    for run in runs.values():
        jax.block_until_ready(run())
    best = dict.fromkeys(runs, np.inf)
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.process_time()
            jax.block_until_ready(run())
            best[name] = min(best[name], time.process_time() - began)
    return best


def where(model: Model, names: list[str], dtype, rounds: int) -> dict[str, float]:
    """ns a cell-step without each part."""

    def run(part: Part):
        cells = population(jc.astype(without(model.cell, part), dtype), model.varied)
        return lambda: paced(cells, model.pacing(), 50.0, MIDPOINT, dt=DT)

    found = in_turns({name: run(model.parts[name]) for name in names}, rounds)
    return {name: 1e9 * s / CELLS / (50.0 / DT) for name, s in found.items()}


def paced(cell, pacing, t1: float, solver, **steps):
    return jc.simulate(cell, pacing, t1=t1, solver=solver, save_at=[t1], outputs=["V"], **steps)


class Row(NamedTuple):
    """A replacement: a cell, and how it steps."""

    name: str
    cell: Any
    solver: Any = MIDPOINT
    dt: float = DT
    longer: int = 0
    """So many times the steps of `paced_grid`, in place of even ones."""

    def steps(self, pacing, t1: float) -> dict[str, Any]:
        stages = [(until, self.longer * dt) for until, dt in PACED_STAGES]
        return dict(grid=jc.paced_grid(pacing, t1, stages=stages)) if self.longer else dict(dt=self.dt)


def replacements(model: Model, quick: bool) -> Iterator[Row]:
    cell, calcium = model.cell, subsystems.SLOW_CALCIUM
    yield Row("exact", cell)
    yield Row("exact, first order", cell, jc.RushLarsen())
    yield Row("exact, RushLarsen2", cell, jc.RushLarsen2())
    yield Row("exact, steps of 0.2", cell, dt=0.2)
    yield Row("exact, on paced_grid", cell, longer=1)
    for k in (4, 10):
        yield Row(f"calcium every {k}th step", cell, jc.Multirate(calcium, k), k * DT)
    if quick:
        return
    yield Row("calcium every 2nd step of paced_grid", cell, jc.Multirate(calcium, 2), longer=2)
    slow = (*calcium, "hL", "sus_s", "y")
    yield Row("calcium, hL, sus_s, y every 10th", cell, jc.Multirate(slow, 10), 10 * DT)
    slow = (*slow, "s", "n", "pa", "O_KCa")
    for k in (4, 10):
        yield Row(f"and s, n, pa, O_KCa every {k}th", cell, jc.Multirate(slow, k), k * DT)
    yield Row("and f2 every 4th", cell, jc.Multirate((*slow, "f2"), 4), 4 * DT)
    gates = subsystems.voltage_gates(cell)
    states = cell.initial_state()._fields
    yield Row("float32 rates: gates of V", single := subsystems.in_single_precision(cell, gates))
    yield Row("the same, calcium every 10th step", single, jc.Multirate(calcium, 10), 10 * DT)
    yield Row("float32 rates: all but V", subsystems.in_single_precision(cell, [n for n in states if n != "V"]))
    yield Row("float32 altogether", jc.astype(cell, jnp.float32))
    yield Row("gates of V: table", subsystems.with_gates(cell, subsystems.GateTable(cell, gates)))
    for names, width in ((("pa",), 8), (("d", "f2"), 8), (gates, 16), (gates, 24)):
        what = "all gates of V" if names == gates else ", ".join(names)
        network = subsystems.learned_gates(cell, names, widths=(width,))
        yield Row(f"{what}: net of {width}", subsystems.with_gates(cell, network))
        yield Row(f"{what}: net of {width}, float32", subsystems.with_gates(cell, in_float32(network)))
    yield Row("shells 1 to 3 lumped", subsystems.LumpedCalcium(cell))
    yield Row("shells 1 to 3 lumped, fitted", subsystems.fit_lumped(cell))
    learned, _ = subsystems.fit_learned_calcium(cell)
    yield Row("calcium: neural ODE of 4 states", learned)
    parts = lambda c: (c.layers, c.log_rates)  # noqa: E731
    yield Row("the same, net in float32", eqx.tree_at(parts, learned, in_float32(parts(learned))))
    yield Row("all gates of V free: the ceiling", without(cell, model.parts["all gates of V, free"]), dt=DT)
    yield Row("no calcium: the ceiling", without(cell, model.parts["calcium, all but Ca_ss"]), dt=DT)


def in_float32(tree):
    return jax.tree.map(lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x, tree)


def last_beat(row: Row, model: Model, cycle_length: float) -> tuple[np.ndarray, np.ndarray]:
    """V (mV) and Ca_ss (nM) every ms."""
    pacing = model.pacing(cycle_length)
    at = np.arange(BEATS_MS - cycle_length, BEATS_MS + 0.5)
    run = jc.simulate(
        row.cell, pacing, t1=BEATS_MS, solver=row.solver, save_at=at, outputs=["V", "Ca_ss"],
        **row.steps(pacing, BEATS_MS),
    )  # fmt: skip
    return np.asarray(run.V, float), 1e6 * np.asarray(run.ys.Ca_ss, float)


def repolarised(V: np.ndarray, level: float) -> float:
    """ms from the first sample (the stimulus) until V falls through `level` after its peak."""
    peak = int(V.argmax())
    k = peak + int(np.argmax(V[peak:] < level))
    return k - (level - V[k]) / (V[k - 1] - V[k])


def errors(row: Row, model: Model, true: dict[float, tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    found = {}
    for cycle_length, (V_true, Ca_true) in true.items():
        V, Ca = last_beat(row, model, cycle_length)
        level = V_true.max() - 0.9 * (V_true.max() - V_true[0])
        found |= {
            f"V_mV_{cycle_length:g}": float(np.sqrt(np.mean((V - V_true) ** 2))),
            f"Ca_nM_{cycle_length:g}": float(np.sqrt(np.mean((Ca - Ca_true) ** 2))),
            f"apd90_ms_{cycle_length:g}": repolarised(V, level) - repolarised(V_true, level),
        }
    return found


def seconds(rows: list[Row], model: Model, rounds: int) -> dict[str, float]:
    """of a cell's second of 1 Hz, by row."""

    def run(row: Row, t1: float):
        cells, pacing = population(row.cell, model.varied), model.pacing()
        return lambda: paced(cells, pacing, t1, row.solver, **row.steps(pacing, t1))

    found = {}
    for t1, turns, some in (
        (50.0, rounds, [row for row in rows if not row.longer]),
        (1000.0, 3, [row for row in rows if row.longer]),  # steps of all lengths
    ):
        taken = in_turns({row.name: run(row, t1) for row in some}, turns)
        found |= {name: s / CELLS * 1000.0 / t1 for name, s in taken.items()}
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    known, rounds = models(), 2 if given.quick else 8
    shares = []
    for name, model in known.items():
        chosen = ["nothing", "calcium, all but Ca_ss"] if given.quick else list(model.parts)
        if given.quick and name != "Skibsbye":
            continue
        by_dtype = {d: where(model, chosen, jnp.dtype(d), rounds) for d in ("float64", "float32")}
        for part in chosen:
            row: dict[str, Any] = dict(model=name, without=part)
            for dtype, ns in by_dtype.items():
                row |= {f"{dtype}_ns": ns[part], f"{dtype}_percent": 100 * (1 - ns[part] / ns["nothing"])}
            shares.append(row)
    print(table(shares, SHARES), "\n", flush=True)

    model = known["Skibsbye"]
    rows = list(replacements(model, given.quick))
    cost = seconds(rows, model, rounds)
    fine = 0.05 if given.quick else 0.005
    true = {c: last_beat(Row("", model.cell, dt=fine), model, c) for c in CYCLE_LENGTHS}
    found = [
        dict(name=row.name, us_per_second=1e6 * cost[row.name], gain=cost["exact"] / cost[row.name])
        | ({} if "ceiling" in row.name else errors(row, model, true))
        for row in rows
    ]
    print(table(found, FOUND))
    content = dict(machine=machine(), cells=CELLS, dt=DT, where=shares, replacements=found, reference_dt=fine)
    write_json(given.out / f"sodium_subsystems{'_quick' * given.quick}.json", content)


SHARES = {
    "model": ("model", ""),
    "without": ("without", ""),
    "float64_ns": ("float64 ns", ".1f"),
    "float64_percent": ("%", ".0f"),
    "float32_ns": ("float32 ns", ".1f"),
    "float32_percent": ("%", ".0f"),
}
FOUND = {
    "name": ("replacement", ""),
    "us_per_second": ("us a cell-second", ".0f"),
    "gain": ("times faster", ".2f"),
    "V_mV_1000": ("V mV, 1 Hz", ".3f"),
    "Ca_nM_1000": ("Ca nM", ".1f"),
    "apd90_ms_1000": ("APD90 ms", "+.2f"),
    "V_mV_400": ("V mV, 2.5 Hz", ".3f"),
    "Ca_nM_400": ("Ca nM", ".1f"),
    "apd90_ms_400": ("APD90 ms", "+.2f"),
}

if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    main()
