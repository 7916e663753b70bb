"""A population on one core: ours against Myokit's CVODE, naive Diffrax and gotranx, with the error beside each time.

    python benchmarks/populations.py [--groups beat step ...] [--quick] [--out DIR]

prints tables and writes populations.json. Ten Tusscher 2004 at 1 Hz, one beat of 1000 ms from the published initial
state, V saved every ms; cells differ by +-20 % in all twelve conductances, and cell i is the same cell for everyone.
Peers that are not installed (`pip install ".[benchmark]"`; CVODE also needs a C compiler and SUNDIALS) are rows that
say so.

How it is measured:

- `--groups` measures these anew and keeps the others of a file made on the same machine with the same versions; every
  row has its own date.
- Every row is a process of its own, held to one core unless the row is about cores. It gets ready (compiles, runs once)
  and then waits; the rows of a group run in turns, so that whatever else the machine does hits all alike. The time is
  the best of the turns. Ratios are between rows of one run of this script.
- The error is that of the worst of the first `CHECKED` cells, against Kvaerno5 at a tolerance of 1e-10: RMSE of V over
  whole ms, 5 ms about the upstroke left out, and APD90. For APD90 a run is repeated with V saved finely about the
  upstroke too: the same steps, better looked at.
- "tuned": fewer steps (`TUNED_STAGES`) and all cells in one chunk; other rows use `paced_grid` and the default chunk.
- "user's jit": `simulate` within a jit of one's own, where XLA keeps to vectors of 256 bits (all our other rows: 512).
- `ms/cell-s`: ms of one core (or of the cores of the row) to simulate one second of one cell.
- Peak memory is the process's own, Python, JAX and the compiler included: compare with the row of one cell.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from common import RESULTS, Solution, errors, machine, solution, table, write_json
from peers import Contestant, cvode, gotranx_rush_larsen, naive_diffrax, versions

import jaxcardio as jc
from jaxcardio.clock import merge
from jaxcardio.simulation.grid import PACED_STAGES, save_times

CELL = jc.models.TenTusscher2004
PACING = jc.protocols.PulseTrain(-52.0, 1.0, 1000.0, 10.0)
SPREAD, SEED = 0.2, 0
BEAT = 1000.0
CHECKED = 8
NEAR = 5.0
WINDOW = 8.0 + 0.01 * np.arange(1001)
"""Where the upstroke is looked at finely, ms: as many times as there are whole ms in a beat."""
TUNED_STAGES = ((2.0, 0.01), (6.0, 0.025), (20.0, 0.1), (150.0, 0.5), (450.0, 1 / 3), (float("inf"), 1.0))
"""Fewer steps than `PACED_STAGES`, still within 0.02 mV and 0.05 ms: coarser in the plateau than while repolarising."""
TOLERANCE = 1e-6
ROUNDS, BUDGET = 7, 15.0
"""Turns of a row, and the seconds after which it takes no more."""
VECTOR_FLAG = "--xla_cpu_prefer_vector_width=512"
BARS = {"rmse_mV": 0.02, "apd90_error_ms": 0.05}


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table: who simulates what, on how much of the machine."""

    key: str
    label: str
    way: str = "ours"
    cells: int = 1024
    t1: float = BEAT
    vary: str = "conductances"
    dtype: str = "float64"
    order: int = 2
    dt: float | None = None
    grid: str = "paced"
    chunk: int | None = None
    solver: str = "Kvaerno5"
    stimulus: str = "jump_ts"
    scheme: str = "generalized_rush_larsen"
    layout: str = "arrays"
    cores: int = 1
    devices: int = 1
    wide: bool = False
    rounds: int = ROUNDS
    check: bool = True
    keep: bool = False
    """whether V of the timed run is compared too"""


def rows(quick: bool) -> dict[str, list[Row]]:
    """Every group of rows that take turns."""
    n = 16 if quick else 1024
    few = (1, 4) if quick else (16, 64)
    beat = [
        Row("f64", "ours, float64", cells=n),
        Row("f32", "ours, float32", cells=n, dtype="float32"),
        Row("f64 tuned", "ours, float64, tuned", cells=n, chunk=n, grid="tuned"),
        Row("f32 tuned", "ours, float32, tuned", cells=n, chunk=n, grid="tuned", dtype="float32"),
        Row("one cell", "ours, float64, one cell", way="single", cells=1),
        Row("cvode", "Myokit CVODE 1e-6", way="cvode", cells=few[1]),
    ]
    naive = [
        Row(f"Kvaerno5 {few[0]}", "naive Kvaerno5, jump_ts", way="naive", cells=few[0]),
        Row("f64 beside naive", "ours, float64", cells=n),
        Row("f64 tuned beside naive", "ours, float64, tuned", cells=n, chunk=n, grid="tuned"),
    ]
    step: dict[str, Any] = dict(t1=20.0 if quick else 100.0, dt=0.02, cells=n, chunk=n)
    equal = [
        Row("ours step", "ours, RushLarsen", order=1, **step),
        Row("gotranx", "gotranx GRL, arrays", way="gotranx", **step),
    ]
    if quick:
        return {"beat": beat, "step": equal, "naive": [dataclasses.replace(r, t1=100.0, check=False) for r in naive]}
    beat[4:4] = [
        dataclasses.replace(r, key=f"{r.key} jit", label=f"{r.label}, user's jit", way="jitted") for r in beat[:2]
    ]
    beat += [
        Row("first order", "ours, RushLarsen 0.01 ms, float64", order=1, dt=0.01, rounds=2),
        Row("one cell first order", "the same, one cell", way="single", cells=1, order=1, dt=0.01),
    ]
    naive += [
        Row("Kvaerno5 64", "naive Kvaerno5, jump_ts", way="naive", cells=64),
        Row("Kvaerno5 1024", "naive Kvaerno5, jump_ts", way="naive", cells=1024, rounds=1, check=False),
        Row("Kvaerno5 dtmax", "naive Kvaerno5, dtmax", way="naive", cells=64, stimulus="dtmax"),
        Row("Kvaerno5 ignored", "naive Kvaerno5, pulse ignored", way="naive", cells=16, stimulus="ignored"),
        Row("Kvaerno3 16", "naive Kvaerno3, jump_ts", way="naive", cells=16, solver="Kvaerno3"),
        Row("Kvaerno3 64", "naive Kvaerno3, jump_ts", way="naive", cells=64, solver="Kvaerno3"),
    ]
    for scheme, short in (("generalized_rush_larsen", "GRL"), ("hybrid_rush_larsen", "RL of gates")):
        for layout in ("arrays", "vmap", "loop"):
            key = f"gotranx {short} {layout}"
            equal.append(Row(key, f"gotranx {short}, {layout}", way="gotranx", scheme=scheme, layout=layout, **step))
    del equal[1]
    equal.append(Row("ours step jit", "ours, RushLarsen, user's jit", way="jitted", order=1, **step))
    equal.append(Row("wide gotranx", "gotranx GRL, arrays, 512-bit", way="gotranx", wide=True, **step))
    only: dict[str, Any] = dict(check=False)
    sizes = [
        Row(f"N {dtype} {k}", f"ours, {dtype}", cells=k, dtype=dtype, **only)
        for dtype in ("float64", "float32")
        for k in (1, 8, 64, 512, 4096, 10_000, 100_000)
    ]
    varied = [Row(f"varied {v}", f"{v} varied", vary=v, **only) for v in ("one", "conductances", "all")]
    chunks = [
        Row(f"chunk {dtype} {k}", f"{dtype}, chunks of {k}", dtype=dtype, chunk=k, **only)
        for dtype in ("float64", "float32")
        for k in (32, 64, 128, 256, 512, 1024)
    ]
    large: dict[str, Any] = dict(cells=4096, check=False)
    cores = [
        Row("one core", "one core", **large),
        Row("two cores", "two cores, one device", cores=2, **large),
        Row("two devices", "two cores, two devices", cores=2, devices=2, **large),
    ]
    soak = [
        Row(f"soak {dtype} {way}", f"20 beats, {dtype}, {says}", way=way, cells=256, t1=20 * BEAT,
            dtype=dtype, rounds=1, keep=True, check=False)
        for dtype in ("float64", "float32") for way, says in (("ours", "512-bit"), ("jitted", "256-bit"))
    ]  # fmt: skip
    return {
        "beat": beat, "naive": naive, "step": equal, "sizes": sizes, "parameters": varied, "chunks": chunks,
        "soak": soak, "cores": cores,
    }  # fmt: skip


def population(row: Row) -> jc.AbstractCell:
    """The row's cells: cell i of any row that varies the same parameters is the same cell."""
    cell = CELL()
    names = {"one": ["g_Kr"], "conductances": list(cell.conductances.values()), "all": list(cell.parameters())}
    # F, R, T and the volumes are among all parameters: these rows are about time, and stay near the model.
    spread = 0.01 if row.vary == "all" else SPREAD
    cells = jc.population.sample(cell, n=row.cells, seed=SEED, spread=spread, parameters=names[row.vary])
    return jc.astype(cells, jnp.dtype(row.dtype))


def grid_of(row: Row) -> np.ndarray:
    return jc.paced_grid(PACING, row.t1, stages=PACED_STAGES if row.grid == "paced" else TUNED_STAGES)


def ours(row: Row) -> Contestant:
    """Through the public face: a single cell by `simulate`, a population by `population.simulate`, or by `simulate`
    under a jit of one's own, where XLA keeps to 256 bits."""
    cells = population(row)
    steps = {"dt": row.dt} if row.dt else {"grid": grid_of(row)}
    solver = jc.RushLarsen2() if row.order == 2 else jc.RushLarsen()
    how: dict[str, Any] = dict(t1=row.t1, solver=solver, outputs=["V"], **steps)
    if row.way == "single":
        cell = jc.population.member(cells, 0)
        return Contestant(lambda ts: jc.simulate(cell, PACING, save_at=ts, **how).V[None], steps=_steps(cell, how))
    if row.way == "jitted":
        ts = save_times(0.0, row.t1, 1.0)
        run = jax.jit(lambda cells: jc.simulate(cells, PACING, save_at=ts, **how).V)
        return Contestant(lambda ts: run(cells), steps=_steps(jc.population.member(cells, 0), how))
    chunk = {"chunk": row.chunk} if row.chunk else {}
    steps = _steps(jc.population.member(cells, 0), how)
    return Contestant(lambda ts: jc.population.simulate(cells, PACING, save_at=ts, **chunk, **how).V, steps)


def _steps(cell, how) -> int:
    return int(jc.simulate(cell, PACING, save_every=1.0, **how).steps)


def contestant(row: Row) -> Contestant:
    if row.way in ("ours", "single", "jitted"):
        return ours(row)
    cells = population(row)
    if row.way == "cvode":
        return cvode(cells, PACING, row.t1, TOLERANCE)
    if row.way == "naive":
        return naive_diffrax(cells, PACING, row.t1, getattr(diffrax, row.solver)(), TOLERANCE, row.stimulus)
    assert row.dt is not None
    return gotranx_rush_larsen(cells, PACING, row.t1, row.dt, row.scheme, row.layout)


def times_to_look_at(row: Row) -> list[np.ndarray]:
    """Times at which V of the checked cells is compared, ms; more than one array: one run for each.

    Our fixed steps are looked at where they step anyhow, since a time between would be a step more.
    """
    whole = save_times(0.0, row.t1, 1.0)
    if row.way in ("gotranx", "jitted") or row.t1 < BEAT:
        return [whole]
    if row.way not in ("ours", "single"):
        return [whole, WINDOW]
    if row.dt is not None:
        return [merge(np.concatenate([whole, WINDOW]))]
    grid = grid_of(row)
    return [merge(np.concatenate([whole, grid[(grid >= WINDOW[0]) & (grid <= WINDOW[-1])]]))]


# --- a row's own process ---------------------------------------------------------------------------------------------


def serve(row: Row, kept: Path) -> None:
    """Gets ready, then obeys "run" and "finish", one a line; answers in JSON lines on what was standard output."""
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a peer prints is not an answer

    def answer(**content):
        channel.write(json.dumps(content) + "\n")

    jax.config.update("jax_enable_x64", True)
    if row.devices > 1:
        jax.config.update("jax_num_cpu_devices", row.devices)
    whole = save_times(0.0, row.t1, 1.0)
    try:
        began = time.perf_counter()
        made = contestant(row)
        V = np.asarray(made.run(whole))
        answer(ready_s=time.perf_counter() - began, steps=made.steps, rhs_difference=rhs_difference(made))
    except ModuleNotFoundError as error:
        return answer(status=f"not installed: {error.name}")
    except Exception as error:  # a peer's own trouble (no compiler, no library) is a row, not a crash
        return answer(status=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:90]}")
    for command in sys.stdin:
        if command.strip() == "finish":
            break
        began = time.perf_counter()
        V = np.asarray(made.run(whole))
        answer(seconds=time.perf_counter() - began)
    memory = peak_memory()
    if row.keep:
        np.savez(kept, V=V)
    elif row.check:
        ts, V = look(row, made)
        np.savez(kept, ts=ts, V=V)
    answer(peak_memory_MB=memory)


def look(row: Row, made: Contestant) -> tuple[np.ndarray, np.ndarray]:
    """ts (time,) and V (cells, time) of the checked cells."""
    n = min(CHECKED, row.cells)
    if row.way == "ours":
        made = contestant(dataclasses.replace(row, cells=n, chunk=None))
    looks = times_to_look_at(row)
    V = np.concatenate([np.asarray(made.run(ts), np.float64)[:n] for ts in looks], axis=1)
    ts, first = np.unique(np.concatenate(looks), return_index=True)
    return ts, V[:, first]


def rhs_difference(made: Contestant) -> float | None:
    """Largest difference of a peer's right-hand side from ours along a beat, relative to the state's usual rate."""
    if made.derivatives is None:
        return None
    cell = CELL()
    trace = jc.simulate(cell, PACING, t1=500.0, dt=0.05, save_every=12.5)
    states = np.stack([np.asarray(x) for x in trace.ys], axis=1)
    rates = jax.vmap(lambda y: cell.vector_field(0.0, y, None))(trace.ys)
    expected = np.stack([np.asarray(x) for x in rates], axis=1)
    found = np.stack([made.derivatives(y) for y in states])
    floor = 1e-3 * np.abs(expected).mean(axis=0)  # the median of a gate that stands still most of the time is 0
    return float((np.abs(found - expected) / np.maximum(np.abs(expected), floor)).max())


def peak_memory() -> float | None:
    """Largest resident size of this process so far, MB (Linux)."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), None)


# --- the process that asks -------------------------------------------------------------------------------------------


class Asked:
    """A row's process, what it has answered, and where it keeps what is compared."""

    def __init__(self, row: Row, folder: Path):
        self.row, self.kept, self.seconds = row, folder / f"{row.key.replace(' ', '_')}.npz", []
        environment = dict(os.environ)
        if row.wide:
            environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {VECTOR_FLAG}".strip()
        command = [sys.executable, __file__, "--row", json.dumps(dataclasses.asdict(row)), "--keep", str(self.kept)]
        with held_to(row.cores):
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                env=environment,
            )  # fmt: skip
        self.about: dict[str, Any] = self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"status": f"died (exit code {self.process.wait()})"}

    def wants_more(self) -> bool:
        return "status" not in self.about and len(self.seconds) < self.row.rounds and sum(self.seconds) < BUDGET

    def ask(self, command: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        if "seconds" in answer:
            self.seconds.append(answer["seconds"])
        else:
            self.about |= answer
        return answer

    def result(self) -> dict[str, Any]:
        """One row of the table, without its errors."""
        row = self.row
        found: dict[str, Any] = {"key": row.key, "row": row.label, **dataclasses.asdict(row)}
        if "status" not in self.about:
            self.ask("finish")
        found |= {"status": "ok", "rhs_difference": None, **self.about}
        if not self.seconds:
            return found
        best, steps = min(self.seconds), self.about.get("steps")
        return found | {
            "run_s": best,
            "turns": len(self.seconds),
            "compile_s": max(0.0, self.about["ready_s"] - best),
            "cells_per_s": row.cells / best * row.t1 / BEAT,
            "ms_per_cell_s": 1e3 * best / row.cells / row.t1 * 1e3,
            "ns_per_cell_step": 1e9 * best / row.cells / steps if steps else None,
        }


@contextmanager
def held_to(cores: int) -> Iterator[None]:
    """What is started here may use only so many cores (where the system can say so)."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[-cores:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run_group(wanted: Sequence[Row], report) -> Iterator[tuple[dict[str, Any], Path | None]]:
    """Every row's result, and the file with what it kept for comparison."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        asked = []
        for k, row in enumerate(wanted, 1):
            report(f"{k}/{len(wanted)} getting ready: {row.label}, {row.cells} cells")
            asked.append(Asked(row, Path(folder)))
            stack.enter_context(asked[-1].process)
        for turn in range(max(row.rounds for row in wanted)):
            report(f"turn {turn + 1}")
            for one in asked:
                if one.wants_more():
                    one.ask("run")
        report("comparing")
        for one in asked:
            result = one.result()
            yield result, one.kept if one.kept.is_file() else None


class Reference:
    """The checked cells by Kvaerno5 at a tight tolerance, and how much ten times that tolerance changes."""

    def __init__(self, quick: bool):
        self.rtol = 1e-8 if quick else 1e-10
        cells = population(Row("", "", cells=2 if quick else CHECKED))
        self.true, looser = (self._solve(cells, rtol) for rtol in (self.rtol, 10 * self.rtol))
        self.self_convergence = self._worst([errors(a, b, NEAR) for a, b in zip(looser, self.true, strict=True)])

    def _solve(self, cells, rtol: float) -> list[Solution]:
        ts = merge(np.concatenate([save_times(0.0, BEAT, 1.0), WINDOW]))
        how: dict[str, Any] = dict(t1=BEAT, solver=diffrax.Kvaerno5(), rtol=rtol, save_at=ts, outputs=["V"])
        n = cells.population_size()
        V = [np.asarray(jc.simulate(jc.population.member(cells, i), PACING, **how).V) for i in range(n)]
        return solutions(ts, np.stack(V))

    def errors_of(self, kept: Path) -> dict[str, float]:
        """Of the worst cell."""
        with np.load(kept) as file:
            found = solutions(file["ts"], file["V"])
        return self._worst([errors(a, b, NEAR) for a, b in zip(found, self.true, strict=False)])

    @staticmethod
    def _worst(each: list[dict[str, float]]) -> dict[str, float]:
        return {name: max((one[name] for one in each), key=abs) for name in each[0]}


def solutions(ts: np.ndarray, V: np.ndarray) -> list[Solution]:
    beats = jc.biomarkers.action_potentials_from(ts, V, onsets=PACING.onsets(ts[0], ts[-1]))
    return [solution(ts, V[i], jax.tree.map(lambda x, i=i: x[i], beats), 1.0) for i in range(len(V))]


def soak_difference(first: Path, second: Path) -> dict[str, float]:
    """Largest differences over all cells and beats: V anywhere, and APD90 on samples of 1 ms."""
    V = [np.load(path)["V"].astype(np.float64) for path in (first, second)]
    ts = np.arange(V[0].shape[1], dtype=float)
    apd = [np.asarray(jc.biomarkers.action_potentials_from(ts, x, onsets=PACING.onsets(0.0, ts[-1])).apd90) for x in V]
    return {"max_V_mV": float(np.abs(V[1] - V[0]).max()), "max_apd90_ms": float(np.nanmax(np.abs(apd[1] - apd[0])))}


def ratios(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What the issue asks for, from the rows that are there: how many times less time one takes than the other."""

    def ratio(
        what: str, slow: str, fast: str, bar: float | None = None, of_accuracy: bool = True
    ) -> dict[str, Any] | None:
        a, b = (found.get(key, {}).get("ms_per_cell_s") for key in (slow, fast))
        if a is None or b is None:
            return None
        measured = {k: found[fast][k] for k in BARS if found[fast].get(k) is not None}
        accurate = not of_accuracy or all(abs(value) <= BARS[k] for k, value in measured.items())
        met = None if bar is None else bool(a / b >= bar and accurate)
        return {"what": what, "ratio": a / b, "bar": bar, "met": None if met is None else "yes" if met else "no"}

    def best(keys: Sequence[str]) -> str:
        there = [key for key in keys if found.get(key, {}).get("ms_per_cell_s") is not None]
        return min(there, key=lambda key: found[key]["ms_per_cell_s"], default="")

    gotranx = best([key for key in found if key.startswith("gotranx")])
    generalised = best([key for key in found if key.startswith("gotranx GRL")])
    naive = best([key for key in found if key.startswith("Kvaerno5") and key != "Kvaerno5 ignored"])
    wanted = [
        ratio("float64 against CVODE", "cvode", "f64", 10),
        ratio("float64, tuned, against CVODE", "cvode", "f64 tuned", 10),
        ratio("float32 against CVODE", "cvode", "f32", 25),
        ratio("float32, tuned, against CVODE", "cvode", "f32 tuned", 25),
        ratio("one cell against CVODE (below 1: CVODE is faster)", "cvode", "one cell"),
        ratio("algorithm: order 2 on a grid against order 1 at 0.01 ms, same N", "first order", "f64"),
        ratio("vectors: float64 population against one cell", "one cell", "f64"),
        ratio("precision: float32 against float64", "f64", "f32"),
        ratio("512-bit vectors, float64", "f64 jit", "f64"),
        ratio("512-bit vectors, float32", "f32 jit", "f32"),
        ratio(f"float64 against the best naive Kvaerno5 ({naive})", naive, "f64 beside naive", 100),
        ratio(f"float64, tuned, against the best naive Kvaerno5 ({naive})", naive, "f64 tuned beside naive", 100),
        ratio("float64 against naive Kvaerno3, 64 cells", "Kvaerno3 64", "f64 beside naive"),
        ratio("equal step, against gotranx as documented", "gotranx GRL loop", "ours step", 2.3, False),
        ratio(f"equal step, against the best gotranx GRL ({generalised})", generalised, "ours step"),
        ratio("equal step, 512-bit both, against gotranx GRL, arrays", "wide gotranx", "ours step"),
        ratio("equal step, 256-bit both, against gotranx GRL, arrays", "gotranx GRL arrays", "ours step jit"),
        ratio(f"equal step, 256-bit both, against the best gotranx of all ({gotranx})", gotranx, "ours step jit"),
        ratio("two cores against one, threads", "one core", "two cores", 1.6),
        ratio("two cores against one, two devices", "one core", "two devices", 1.6),
    ]
    return [one for one in wanted if one is not None]


COLUMNS = {
    "row": ("row", "s"),
    "cells": ("cells", "d"),
    "cells_per_s": ("cells/s", ".1f"),
    "ms_per_cell_s": ("ms/cell-s", ".4f"),
    "ns_per_cell_step": ("ns/cell-step", ".1f"),
    "steps": ("steps", "d"),
    "rmse_mV": ("RMSE mV", ".1e"),
    "apd90_error_ms": ("dAPD90 ms", "+.4f"),
    "peak_memory_MB": ("memory MB", ".0f"),
    "compile_s": ("ready s", ".1f"),
    "turns": ("turns", "d"),
    "status": ("status", "s"),
}
RATIO_COLUMNS = {
    "what": ("how many times faster", "s"),
    "ratio": ("x", ".2f"),
    "bar": ("bar", "g"),
    "met": ("met", "s"),
}


def benchmark(groups: Sequence[str], quick: bool, out: Path) -> dict[str, Any]:
    """Runs the groups asked for, and writes what there is after each, beside earlier groups of this machine."""
    about = machine()
    about["versions"] |= versions()
    reference = Reference(quick)
    path = out / ("populations_quick.json" if quick else "populations.json")
    content: dict[str, Any] = {
        "benchmark": "populations",
        "quick": quick,
        "machine": about,
        "reference": {"rtol": reference.rtol, "self_convergence": reference.self_convergence},
        "rows": [row for row in earlier_rows(path, about) if row["group"] not in groups],
    }
    for name in groups:
        kept: dict[str, Path] = {}

        def report(text, name=name):
            print(f"[{name}] {text}", file=sys.stderr, flush=True)

        for result, kept_at in run_group(rows(quick)[name], report):
            if kept_at is not None and result["check"]:
                result |= reference.errors_of(kept_at)
            if kept_at is not None and result["keep"]:
                kept[result["key"]] = kept_at
                wide = kept.get(result["key"].replace("jitted", "ours"))
                if result["way"] == "jitted" and wide is not None:
                    result |= {"against_512_bit": soak_difference(wide, kept_at)}
            content["rows"].append({"group": name, "measured": machine()["date"]} | result)
        content["ratios"] = ratios({row["key"]: row for row in content["rows"]})
        write_json(path, content)
    return content


def earlier_rows(path: Path, about: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of an earlier run, if it was on the same processor with the same versions (a ratio is of one group)."""
    earlier = json.loads(path.read_text()) if path.is_file() else {"rows": [], "machine": about}
    same = all(earlier["machine"][name] == about[name] for name in ("cpu", "cores", "versions"))
    return earlier["rows"] if same else []


def print_tables(content: dict[str, Any]) -> None:
    for name in dict.fromkeys(row["group"] for row in content["rows"]):
        print(f"\n{name}")
        print(table([row for row in content["rows"] if row["group"] == name], COLUMNS))
    for row in content["rows"]:
        if "against_512_bit" in row:
            print(f"{row['row']}, largest difference from 512-bit: {row['against_512_bit']}")
    if content["ratios"]:
        print("\n" + table(content["ratios"], RATIO_COLUMNS))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--groups", nargs="+", metavar="GROUP", help=f"of {', '.join(rows(quick=False))}; default all")
    parser.add_argument("--quick", action="store_true", help="few cells, few rows: to see that it works")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of populations.json")
    parser.add_argument("--row", help=argparse.SUPPRESS)  # a row's own process
    parser.add_argument("--keep", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.row is not None:
        return serve(Row(**json.loads(given.row)), given.keep)
    jax.config.update("jax_enable_x64", True)
    known = rows(given.quick)
    unknown = [name for name in given.groups or [] if name not in known]
    if unknown:
        parser.error(f"--groups {' '.join(unknown)}; allowed: {', '.join(known)}")
    print_tables(benchmark(given.groups or list(known), given.quick, given.out))


if __name__ == "__main__":
    main()
