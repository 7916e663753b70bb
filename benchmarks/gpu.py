"""Everything to be known of a GPU, in one command: is it right, how fast, what bounds it, how far from the floor.

    python benchmarks/gpu.py [--budget SECONDS] [--quick] [--out DIR]

writes results/gpu-<device>.json after every row, the most important rows first; rows that the budget (default 480 s,
compilation included) leaves no time for are skipped and say so. A row that fails says why. It runs on a CPU as it is;
`--quick` takes tiny sizes. It needs nothing but the package.

Sections: `device`; `correct` (against the CPU of the same machine); `issue` (1.1 million cells under a 7 s clamp, and
paced for 10 s); `fused` (what a kernel of many steps gains, `fused.py`); `scaling` (cell-steps a second against the
number of cells, with kernels and bytes a step counted in the compiled program); `bounds` (what follows from these).
"""

import argparse
import functools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92")  # read when the first array is made

import jax
import jax.numpy as jnp
import numpy as np
from common import RESULTS, machine, table, timed, write_json
from hlo import step_of

import jaxcardio as jc
from jaxcardio.simulation.grid import uniform_grid

PACING = jc.protocols.PulseTrain(-52.0, 1.0, 1000.0, 10.0)
TEN_TUSSCHER, KERNIK = jc.models.TenTusscher2004, jc.models.KernikClancy2019
FLOOR_PS = 32.0
"""Picoseconds a cell-step in float32 at the best an H200 could do (DESIGN.md, section 2b)."""
BYTES_PER_S, INSTRUCTIONS_PER_S, SPECIAL_PER_S = 4.8e12, 33.5e12, 4.2e12
"""Peaks of an H200: memory; float32 outside tensor cores (67 TFLOP/s, where a multiply-add is two); exponentials and
reciprocals (16 a clock and multiprocessor)."""
CLAMP_STEP = 250.0
SEED = 0


class Sizes(NamedTuple):
    """How much is done."""

    issue_cells: int
    chunks: tuple[int, ...]
    """tried in turn until one fits in memory"""
    clamp_steps: int
    beat: float
    beats: int
    fused_cells: int
    launches: tuple[tuple[int, int, int], ...]
    """cells a block, steps a launch, warps"""
    scaling: tuple[int, ...]
    double: tuple[int, ...]
    dt: float
    t1: float


FULL = Sizes(
    issue_cells=1_100_000,
    chunks=(275_000, 110_000),
    clamp_steps=28,
    beat=1000.0,
    beats=10,
    fused_cells=2**20,
    launches=((128, 100, 4), (64, 100, 2), (256, 100, 4), (128, 500, 4), (32, 100, 1)),
    scaling=(1_000_000, 100, 100_000, 10_000, 1, 1000),
    double=(100_000, 1_000_000),
    dt=0.02,
    t1=20.0,
)
QUICK = Sizes(
    issue_cells=32,
    chunks=(16,),
    clamp_steps=1,
    beat=20.0,
    beats=2,
    fused_cells=64,
    launches=((32, 20, 1),),
    scaling=(32, 1),
    double=(32,),
    dt=0.05,
    t1=2.0,
)


class Task(NamedTuple):
    """One row to be."""

    section: str
    label: str
    run: Callable[[], dict[str, Any]]


def population(model, n: int, dtype, spread: float = 0.2) -> Any:
    """n cells: Kernik with the 52 parameters of its six currents varied, others with all their conductances."""
    cell: Any = jc.astype(model(), dtype)
    names = cell.SIX_CURRENTS if model is KERNIK else list(cell.conductances.values())
    return jc.population.sample(cell, n=n, seed=SEED, spread=spread, parameters=names)


def random_steps(count: int) -> jc.protocols.Segments:
    levels = np.random.default_rng(SEED).uniform(-120.0, 60.0, count)
    return jc.protocols.VoltageSteps(levels, np.full(count, CLAMP_STEP))


def stimulus(model) -> Any:
    """Ten Tusscher cells are paced, Kernik cells beat by themselves."""
    return PACING if model is TEN_TUSSCHER else None


# Section `device`.


def device() -> dict[str, Any]:
    one = jax.devices()[0]
    memory = one.memory_stats() or {}
    return {
        **machine(),
        "devices": len(jax.devices()),
        "memory_GB": memory.get("bytes_limit", 0) / 1e9 or None,
        "compute_capability": str(getattr(one, "compute_capability", "")) or None,
        "nvidia_smi": _nvidia_smi(),
        "assumed": {
            "bytes_per_s": BYTES_PER_S,
            "instructions_per_s": INSTRUCTIONS_PER_S,
            "special_per_s": SPECIAL_PER_S,
            "floor_ps": FLOOR_PS,
        },
    }


def _nvidia_smi() -> str | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    asked = "--query-gpu=name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit"
    found = subprocess.run([program, asked, "--format=csv,noheader"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


# Section `correct`: a few cells on the device, against the same on the CPU beside it.


def correct() -> Iterator[Task]:
    for dtype in (jnp.float64, jnp.float32):
        for label, check in CHECKS.items():
            run = functools.partial(compared, functools.partial(check, dtype))
            yield Task("correct", f"{label}, {jnp.dtype(dtype).name}", run)
    yield Task("correct", "population over all devices, float64", over_devices)


def compared(result: Callable[[], Any]) -> dict[str, Any]:
    """Between the device and the CPU."""
    with jax.default_device(jax.devices("cpu")[0]):
        true = result()
    return {"relative_difference": apart(result(), true)}


def apart(found, true) -> float:
    """Largest difference, relative to the range of what is true."""
    found, true = np.asarray(found, np.float64), np.asarray(true, np.float64)
    return float(np.abs(found - true).max() / max(np.ptp(true), 1e-30))


def _paced(dtype):
    cells = population(TEN_TUSSCHER, 8, dtype)
    return jc.simulate(cells, PACING, t1=30.0, dt=0.02, solver=jc.RushLarsen2(), outputs=["V"]).V


def _spontaneous(dtype):
    cells = population(KERNIK, 8, dtype)
    return jc.simulate(cells, t1=50.0, dt=0.1, solver=jc.RushLarsen2(), outputs=["V"]).V


def _clamped(dtype):
    return jc.simulate(population(KERNIK, 8, dtype), random_steps(1), t1=50.0, outputs=["I_ion_total"]).ys.I_ion_total


def _gradient(dtype):
    cell: Any = jc.astype(TEN_TUSSCHER(), dtype)

    def mean_V(factors):
        some = cell.replace(g_CaL=cell.g_CaL * factors[0], g_Na=cell.g_Na * factors[1])
        return jc.simulate(some, PACING, t1=20.0, dt=0.05, solver=jc.RushLarsen2(), outputs=["V"]).V.mean()

    return jax.jit(jax.grad(mean_V))(jnp.ones(2, dtype))


CHECKS = {"paced": _paced, "spontaneous": _spontaneous, "clamp": _clamped, "gradient": _gradient}


def over_devices() -> dict[str, Any]:
    cells = population(TEN_TUSSCHER, 40, jnp.float64)
    how: dict[str, Any] = dict(t1=30.0, dt=0.02, solver=jc.RushLarsen2(), outputs=["V"])
    choices = None, jax.devices()[:1]
    spread, alone = (jc.population.simulate(cells, PACING, chunk=16, devices=some, **how) for some in choices)
    return {"devices": len(jax.devices()), "relative_difference": apart(spread.V, alone.V)}


# Section `issue`: the two sizes that the papers used.


def issue(sizes: Sizes) -> Iterator[Task]:
    yield Task("issue", "Kernik, clamp, reduced on the device", functools.partial(clamp, sizes, True))
    yield Task("issue", "ten Tusscher, paced, last beat reduced", functools.partial(paced, sizes))
    yield Task("issue", "Kernik, clamp, all samples to the host, one chunk", functools.partial(clamp, sizes, False))


def clamp(sizes: Sizes, reduced: bool) -> dict[str, Any]:
    """I_ion_total every ms: its mean over each step of the command, or all of it for one chunk of cells."""
    return first_that_fits(sizes.chunks, lambda chunk: _clamp(sizes, chunk, reduced))


def _clamp(sizes: Sizes, chunk: int, reduced: bool) -> dict[str, Any]:
    n = sizes.issue_cells if reduced else chunk
    cells, sampling_s = clocked(lambda: population(KERNIK, n, jnp.float32, 0.4))
    command, t1 = random_steps(sizes.clamp_steps), sizes.clamp_steps * CLAMP_STEP

    @jax.jit
    def mean_of_each_step(I):
        return I[:, :-1].reshape(I.shape[0], sizes.clamp_steps, -1).mean(-1)

    def reduce(trace):
        I = trace.ys.I_ion_total
        return mean_of_each_step(I) if reduced else I, trace.status, trace.steps

    def run(some):
        how: dict[str, Any] = dict(t1=t1, save_every=1.0, outputs=["I_ion_total"], chunk=chunk, reduce=reduce)
        return jc.population.simulate(some, command, **how)

    one_chunk = jc.population.member(cells, np.arange(min(chunk, n)))
    _, ready_s = clocked(lambda: run(one_chunk))
    (kept, status, steps), seconds = clocked(lambda: run(cells))
    about = {"sampling_s": sampling_s, "ready_s": ready_s, "chunk": chunk, "kept_GB": kept.nbytes / 1e9}
    return about | speed(n, int(steps[0]), seconds) | {"not_ok": int((status != 0).sum())}


def paced(sizes: Sizes) -> dict[str, Any]:
    """All beats but the last with nothing kept, then the last with V every ms, of which minimum and maximum stay."""
    return first_that_fits((sizes.issue_cells, *sizes.chunks), lambda chunk: _paced_for_long(sizes, chunk))


def _paced_for_long(sizes: Sizes, chunk: int) -> dict[str, Any]:
    cells, sampling_s = clocked(lambda: population(TEN_TUSSCHER, sizes.issue_cells, jnp.float32))
    pacing = jc.protocols.PulseTrain(-52.0, 1.0, sizes.beat, 10.0)
    t2 = sizes.beats * sizes.beat
    t1 = t2 - sizes.beat
    how: dict[str, Any] = dict(solver=jc.RushLarsen2(), chunk=chunk, outputs=["V"])

    def until_last(some, beats):
        end = beats * sizes.beat
        keep = lambda trace: (trace.final_state, trace.steps)  # noqa: E731
        grid = jc.paced_grid(pacing, end)
        return jc.population.simulate(some, pacing, t1=end, grid=grid, save_at=[end], reduce=keep, **how)

    def last(some, y0):
        extremes = jax.jit(lambda V: jnp.stack([V.min(-1), V.max(-1)], -1))
        keep = lambda trace: (extremes(trace.V), trace.status, trace.steps)  # noqa: E731
        grid = jc.paced_grid(pacing, t2, t1)
        run = functools.partial(jc.population.simulate, some, pacing, t0=t1, t1=t2, grid=grid, save_every=1.0)
        return run(y0=y0, reduce=keep, **how)

    def both():
        y, steps = until_last(cells, sizes.beats - 1)
        extremes, status, more = last(cells, y)
        return extremes, status, int(steps[0] + more[0])

    _, first_s = clocked(both)
    (extremes, status, steps), seconds = clocked(both)
    return {
        "sampling_s": sampling_s,
        "first_s": first_s,
        "chunk": chunk,
        "not_ok": int((status != 0).sum()),
        "V_min_mean": float(np.nanmean(extremes[:, 0])),
        "V_max_mean": float(np.nanmean(extremes[:, 1])),
        **speed(sizes.issue_cells, steps, seconds),
    }


def first_that_fits(chunks: Sequence[int], run: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    """The first chunk for which there is memory."""
    too_large: dict[str, str] = {}
    for chunk in chunks:
        try:
            return run(chunk) | ({"did_not_fit": too_large} if too_large else {})
        except Exception as error:  # XLA's own kind, which has no public name
            if "RESOURCE_EXHAUSTED" not in str(error) and "out of memory" not in str(error).lower():
                raise
            too_large[str(chunk)] = str(error).splitlines()[0][:200]
    raise MemoryError(f"no chunk fits: {too_large}")


def clocked(function: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    result = jax.block_until_ready(function())
    return result, time.perf_counter() - began


def speed(n: int, steps: int, seconds: float) -> dict[str, Any]:
    ps = 1e12 * seconds / n / steps
    return {
        "cells": n,
        "steps": steps,
        "run_s": seconds,
        "cell_steps_per_s": n * steps / seconds,
        "us_per_step": 1e6 * seconds / steps,
        "ps_per_cell_step": ps,
        "over_floor": ps / FLOOR_PS,
    }


# Section `scaling`: time, kernels and bytes of a step against the number of cells.


def scaling(sizes: Sizes) -> Iterator[Task]:
    rows = [(model, jnp.float32, n) for n in sizes.scaling for model in (TEN_TUSSCHER, KERNIK)]
    rows += [(model, jnp.float64, n) for n in sizes.double for model in (TEN_TUSSCHER, KERNIK)]
    for model, dtype, n in rows:
        label = f"{model.__name__}, {jnp.dtype(dtype).name}, {n} cells"
        yield Task("scaling", label, functools.partial(scanned, sizes, model, dtype, n))


def scanned(sizes: Sizes, model, dtype, n: int) -> dict[str, Any]:
    cells, protocol = population(model, n, dtype), stimulus(model)
    program, compile_s = clocked(lambda: program_of(cells, protocol, sizes.dt, sizes.t1))
    _, timing = timed(lambda: program(cells), again=lambda _: True)
    steps = round(sizes.t1 / sizes.dt)
    step = step_of(program.as_text(), n)
    return {
        "model": model.__name__,
        "dtype": jnp.dtype(dtype).name,
        "compile_s": compile_s,
        **speed(n, steps, timing.run_s),
        **step._asdict(),
        "us_per_kernel": 1e6 * timing.run_s / steps / max(1, step.kernels),
        "temporary_MB": program.memory_analysis().temp_size_in_bytes / 1e6,
    }


def program_of(cells, protocol, dt: float, t1: float):
    """A compiled run of second-order steps that keeps the last V."""

    def last_V(cells):
        run = jc.simulate(cells, protocol, t1=t1, dt=dt, solver=jc.RushLarsen2(), save_at=[t1], outputs=["V"])
        return run.V

    return jax.jit(last_V).lower(cells).compile()


def operations(model) -> dict[str, float]:
    """Of one step of one cell, as XLA counts them in its program for a CPU, where a loop's body counts once."""
    n = 256
    with jax.default_device(jax.devices("cpu")[0]):
        cost: Any = program_of(population(model, n, jnp.float32), stimulus(model), 0.01, 0.02).cost_analysis()
    return {"flops": cost["flops"] / n, "transcendentals": cost["transcendentals"] / n}


# Section `fused`: what a kernel of many steps gains.


def fused(sizes: Sizes) -> Iterator[Task]:
    combinations = [(m, s, sizes.launches[0]) for m in (TEN_TUSSCHER, KERNIK) for s in (jc.RushLarsen2, jc.RushLarsen)]
    combinations += [(TEN_TUSSCHER, jc.RushLarsen2, launch) for launch in sizes.launches[1:]]
    for model, solver, launch in combinations:
        block, steps, warps = launch
        label = f"{model.__name__}, {solver.__name__}: block {block}, {steps} steps, {warps} warps"
        yield Task("fused", label, functools.partial(fused_against_scan, sizes, model, solver(), launch))


def fused_against_scan(sizes: Sizes, model, solver, launch: tuple[int, int, int]) -> dict[str, Any]:
    from fused import Launch, fused_run  # Pallas' Triton may be gone from some version of JAX: then these rows fail

    block, steps_a_launch, warps = launch
    here = Launch(block, steps_a_launch, None if jax.devices()[0].platform == "cpu" else warps)
    cells, protocol = population(model, sizes.fused_cells, jnp.float32), stimulus(model)
    edges = [] if protocol is None else [protocol.edges(0.0, sizes.t1)]
    grid = uniform_grid(0.0, sizes.t1, sizes.dt, edges)
    (y, _), timing = timed(fused_run(cells, protocol, grid, solver, here), again=lambda _: True)
    few = jc.population.member(cells, np.arange(min(sizes.fused_cells, 1024)))
    true = jc.simulate(few, protocol, t1=sizes.t1, grid=grid, solver=solver, save_at=[sizes.t1]).final_state
    return {
        "model": model.__name__,
        "solver": type(solver).__name__,
        "interpreted": here.warps is None,
        "compile_s": timing.compile_s,
        "relative_difference": max(apart(a[: b.shape[0]], b) for a, b in zip(y, true, strict=True)),
        **speed(sizes.fused_cells, len(grid) - 1, timing.run_s),
    }


# Section `bounds`: what the other rows say together.


def bounds(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each model and size in float32: time by launches, by memory and by arithmetic, beside the time it took."""
    scanned = [r for r in rows if r["section"] == "scaling" and r.get("dtype") == "float32" and "run_s" in r]
    counted = {r["model"]: r for r in rows if r["section"] == "operations" and "flops" in r}
    found = []
    for row in scanned:
        same = [r for r in scanned if r["model"] == row["model"]]
        launch_us = min(r["us_per_kernel"] for r in same)
        count = counted.get(row["model"], {"flops": np.nan, "transcendentals": np.nan})
        ps = {
            "launches": 1e6 * launch_us * row["kernels"] / row["cells"],
            "memory": 1e12 * row["bytes_per_cell"] / BYTES_PER_S,
            "arithmetic": 1e12 * (count["flops"] / INSTRUCTIONS_PER_S + count["transcendentals"] / SPECIAL_PER_S),
        }
        largest = max(ps, key=lambda name: np.nan_to_num(ps[name]))
        gained = [
            row["ps_per_cell_step"] / r["ps_per_cell_step"]
            for r in rows
            if (r["section"], r.get("model"), r.get("solver")) == ("fused", row["model"], "RushLarsen2")
        ]
        found.append(
            {
                "label": row["label"],
                "ps_per_cell_step": row["ps_per_cell_step"],
                "ps_by": ps,
                "bound_by": largest,
                "fused_gain": max(gained, default=None) if row["cells"] >= 100_000 else None,
                "says": f"{row['label']}: {row['ps_per_cell_step']:.0f} ps a cell-step, {row['over_floor']:.1f} times "
                f"the floor; {row['kernels']} kernels and {row['bytes_per_cell']:.0f} bytes a cell a step; launches "
                f"would take {ps['launches']:.0f} ps, memory {ps['memory']:.0f}, arithmetic {ps['arithmetic']:.0f}: "
                f"bound by {largest}",
            }
        )
    return found


# The run.


def tasks(sizes: Sizes) -> Iterator[Task]:
    """Everything, the most important first."""
    first_checks, later_checks = _split(list(correct()), lambda task: "float32" in task.label)
    first_sizes, more_sizes = _split(list(scaling(sizes)), lambda task: "float32" in task.label)
    first_fused, more_fused = _split(list(fused(sizes)), lambda task: "RushLarsen2: block 128" in task.label)
    yield from first_checks
    yield from list(issue(sizes))[:2]
    yield from first_sizes[:4]
    yield from first_fused[:2]
    for model in (TEN_TUSSCHER, KERNIK):
        yield Task("operations", model.__name__, lambda m=model: {"model": m.__name__, **operations(m)})
    yield from later_checks
    yield from first_sizes[4:]
    yield from first_fused[2:]
    yield from more_fused
    yield from list(issue(sizes))[2:]
    yield from more_sizes


def _split(some: list[Task], first: Callable[[Task], bool]) -> tuple[list[Task], list[Task]]:
    return [t for t in some if first(t)], [t for t in some if not first(t)]


def done(task: Task, left: float) -> dict[str, Any]:
    """The row of a task: what it found, or why not."""
    row: dict[str, Any] = {"section": task.section, "label": task.label}
    if left <= 0:
        return row | {"status": "skipped: the budget is spent"}
    began = time.perf_counter()
    try:
        row |= {"status": "ok"} | task.run()
    except Exception as error:  # a row that fails must not take the others with it
        row |= {"status": f"{type(error).__name__}: {str(error).strip()[:500]}"}
    return row | {"wall_s": time.perf_counter() - began}


def benchmark(sizes: Sizes, budget: float, path: Path) -> dict[str, Any]:
    began = time.perf_counter()
    content: dict[str, Any] = {"benchmark": "gpu", "sizes": sizes._asdict(), "budget_s": budget, "device": device()}
    content |= {"rows": [], "bounds": []}
    for task in tasks(sizes):
        row = done(task, budget - (time.perf_counter() - began))
        content["rows"].append(row)
        content["bounds"] = bounds(content["rows"])
        content["wall_s"] = time.perf_counter() - began
        write_json(path, content)
        print(f"{content['wall_s']:6.0f} s  {row['section']}: {row['label']}: {row['status']}", file=sys.stderr)
    return content


COLUMNS = {
    "section": ("section", ""),
    "label": ("row", ""),
    "cells": ("cells", "d"),
    "steps": ("steps", "d"),
    "run_s": ("s", ".3g"),
    "ps_per_cell_step": ("ps/cell-step", ".4g"),
    "over_floor": ("/ floor", ".3g"),
    "kernels": ("kernels/step", "d"),
    "bytes_per_cell": ("bytes", ".0f"),
    "relative_difference": ("difference", ".0e"),
    "compile_s": ("compile s", ".1f"),
    "status": ("status", ".60"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--budget", type=float, default=480.0, help="seconds after which no row is begun")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: to see that it works")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    kind = re.sub(r"[^a-z0-9]+", "-", jax.devices()[0].device_kind.lower()).strip("-")
    path = given.out / f"gpu-{kind}{'_quick' if given.quick else ''}.json"
    content = benchmark(QUICK if given.quick else FULL, given.budget, path)
    print(table(content["rows"], COLUMNS))
    print("\n".join(one["says"] for one in content["bounds"]))


if __name__ == "__main__":
    main()
