"""Work and precision: every model with every kind of solver, against a converged solution computed here.

    python benchmarks/solvers.py [--models ten_tusscher skibsbye ...] [--quick] [--out DIR]

prints a table and writes solvers.json and solvers.png. Needs nothing but the package (and matplotlib for the figure).

What is measured, and how to read it:

- The reference is Kvaerno5 (implicit, order 5, another code path than Rush-Larsen) at a tolerance of 1e-10; its own
  error is estimated by a second run at 1e-9 and stored. Errors near that estimate are the reference's.
- Saved times lie on a fixed-step run's grid, and `simulate` would refine the grid to meet others. So a run is saved
  only at times it steps to anyhow: whole milliseconds, and every step about the last upstroke. It is compared where
  both have samples. Adaptive runs are saved at 0.01 ms there; what lies between their steps is the solver's dense
  output, whose error counts as the run's, since it is what a user gets.
- APD90 and dV/dt max are those of the last whole beat, by `jaxcardio.biomarkers` on these samples. At long steps their
  errors are as much the sampling's as the solver's: nobody who takes such steps can know them better.
- "Away from upstrokes" leaves out 5 ms to either side of each upstroke of the reference, where a shift in time of a
  microsecond is an error of a millivolt.
- Times are what `simulate` takes for one cell, saving included: the first call less the best of three later ones is
  called compilation (about 0 where an earlier row's program served), the best of three is the run. A run that takes
  long is repeated less, one that fails is not: its time is the first call's (`repeats` says so).
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import diffrax
import jax
import numpy as np
from common import RESULTS, Solution, errors, machine, nothing, solution, table, timed, write_json

import jaxcardio as jc
from jaxcardio.clock import merge
from jaxcardio.simulation.grid import PACED_STAGES, save_times, uniform_grid

REFERENCE_RTOL, QUICK_REFERENCE_RTOL = 1e-10, 1e-8
ADAPTIVE_SPACING = 0.01
"""Spacing of saved samples about the last upstroke in adaptive runs, in the model's unit of time."""
MAX_STEPS = 1_000_000
"""Explicit solvers of a stiff cell reach it; that is a result."""
MAX_IMPLICIT_STEPS = 100_000
"""An implicit step costs ten times as much or more."""


class Case(NamedTuple):
    """A model, how it is driven and how it is looked at; times in the model's own unit."""

    title: str
    make: Callable[[], jc.AbstractCell]
    protocol: jc.protocols.PulseTrain | None
    t1: float
    quick_t1: float
    every: float = 1.0
    """spacing of the samples of the whole run"""
    window: tuple[float, float] = (-10.0, 20.0)
    """about the last upstroke: saved at every step"""
    near: float = 5.0
    """what "away from upstrokes" leaves out to either side"""
    ms: float = 1.0
    """unit of time in ms"""
    mV: float = 1.0
    """unit of potential in mV"""


_TRAIN = jc.protocols.PulseTrain
_dimensionless = partial(Case, every=0.5, window=(-4.0, 35.0), near=1.0, ms=12.9, mV=100.0)
CASES = {
    "ten_tusscher": Case(
        "ten Tusscher 2004, 1 Hz", jc.models.TenTusscher2004, _TRAIN(-52.0, 1.0, 1000.0, 10.0), 2000.0, 500.0
    ),
    "kernik": Case(
        "Kernik-Clancy 2019, spontaneous", jc.models.KernikClancy2019, None, 2500.0, 800.0, window=(-30.0, 60.0)
    ),
    "skibsbye": Case("Skibsbye 2016, 1 Hz", jc.models.Skibsbye2016, _TRAIN(-11.5, 2.0, 1000.0), 2000.0, 500.0),
    "aliev_panfilov": _dimensionless(
        "Aliev-Panfilov 1996", jc.models.AlievPanfilov1996, _TRAIN(-0.5, 1.0, 50.0, 5.0), 100.0, 50.0
    ),
    "aliev_panfilov_modified": _dimensionless(
        "Aliev-Panfilov, modified", jc.models.AlievPanfilovModified, _TRAIN(-0.5, 1.0, 40.0, 5.0), 80.0, 40.0
    ),
}
QUICK_MODELS = ("ten_tusscher",)


class Setting(NamedTuple):
    """One row to be: a solver, and its steps or its tolerance."""

    solver: str
    setting: str
    scheme: diffrax.AbstractSolver
    dt: float | None = None
    stages: tuple[tuple[float, float], ...] | None = None
    rtol: float | None = None


def settings(case: Case, quick: bool) -> Iterator[Setting]:
    """What is run for a model."""
    rl2 = jc.RushLarsen2()
    fixed = [
        ("Euler", diffrax.Euler(), (0.01,) if quick else (0.05, 0.02, 0.01)),
        ("RushLarsen", jc.RushLarsen(), (0.05, 0.01) if quick else (0.1, 0.05, 0.02, 0.01, 0.005)),
        ("RushLarsen2", rl2, (0.1, 0.05, 0.02) if quick else (0.1, 0.05, 0.02, 0.01)),
    ]
    for name, scheme, steps in fixed:
        for dt in steps:
            yield Setting(name, f"dt={dt:g}", scheme, dt=dt)
    if case.protocol is not None and case.ms == 1.0:
        for factor in (1.0,) if quick else (2.0, 1.0, 0.5, 0.25):
            stages = tuple((until, factor * dt) for until, dt in PACED_STAGES)
            yield Setting("RushLarsen2 grid", f"stages x{factor:g}", rl2, stages=stages)
    adaptive = [
        ("RushLarsen2 adaptive", rl2, (1e-4,) if quick else (1e-3, 1e-4, 1e-5, 1e-6)),
        ("Tsit5", diffrax.Tsit5(), () if quick else (1e-5,)),
        ("Kvaerno3", diffrax.Kvaerno3(), () if quick else (1e-4, 1e-6, 1e-8)),
        ("Kvaerno5", diffrax.Kvaerno5(), (1e-6,) if quick else (1e-4, 1e-6, 1e-8)),
    ]
    for name, scheme, tolerances in adaptive:
        for rtol in tolerances:
            yield Setting(name, f"rtol={rtol:g}", scheme, rtol=rtol)


class Task(NamedTuple):
    """A case made ready: the cell, and the times at which a run may be looked at."""

    case: Case
    cell: jc.AbstractCell
    t1: float
    window: tuple[float, float]


def task_of(case: Case, quick: bool) -> Task:
    """Finds the last upstroke with a rough run."""
    cell, t1 = case.make(), case.quick_t1 if quick else case.t1
    rough = jc.simulate(
        cell,
        case.protocol,
        t1=t1,
        dt=0.02,
        solver=jc.RushLarsen2(),
        save_every=min(case.every, 0.1),
        outputs=[cell.potential],
    )
    beats = jc.biomarkers.action_potentials(rough)
    upstroke = np.asarray(beats.t_upstroke)[np.asarray(beats.valid & beats.repolarised)][-1]
    begin, end = (round(upstroke) + np.asarray(case.window)).clip(0.0, t1)
    return Task(case, cell, t1, (begin, end))


def run(task: Task, setting: Setting) -> jc.Trace:
    """One run, saved only where it steps anyhow."""
    case, cell, t1, (begin, end) = task
    whole = save_times(0.0, t1, case.every)
    if setting.rtol is not None:
        implicit = isinstance(setting.scheme, diffrax.AbstractImplicitSolver)
        how: dict[str, Any] = dict(rtol=setting.rtol, max_steps=MAX_IMPLICIT_STEPS if implicit else MAX_STEPS)
        steps = merge(np.concatenate([whole, np.arange(begin, end, ADAPTIVE_SPACING)]))
    elif setting.stages is not None:
        assert case.protocol is not None
        steps = jc.paced_grid(case.protocol, t1, stages=setting.stages)
        how = dict(grid=steps)
    else:
        assert setting.dt is not None
        edges = np.zeros(0) if case.protocol is None else case.protocol.edges(0.0, t1)
        steps = uniform_grid(0.0, t1, setting.dt, [edges])
        how = dict(dt=setting.dt)
    is_whole = np.abs(steps - case.every * np.round(steps / case.every)) < 1e-6
    wanted = steps[is_whole | ((steps >= begin) & (steps <= end))]
    return jc.simulate(
        cell, case.protocol, t1=t1, solver=setting.scheme, save_at=wanted, outputs=[cell.potential], **how
    )


def solution_of(task: Task, trace: jc.Trace) -> Solution:
    """In ms and mV whatever the model's own units."""
    case = task.case
    ts, V = np.asarray(trace.ts), np.asarray(trace.V)
    if not bool(trace.ok) or not np.isfinite(V).all():
        return nothing(ts)
    return solution(ts, V, jc.biomarkers.action_potentials(trace), case.every, case.ms, case.mV)


def measure(task: Task, setting: Setting, true: Solution) -> dict[str, Any]:
    """One row."""
    seconds = task.t1 * task.case.ms / 1000
    row: dict[str, Any] = {"solver": setting.solver, "setting": setting.setting, "dt": setting.dt, "rtol": setting.rtol}
    try:
        trace, timing = timed(lambda: run(task, setting), again=lambda trace: bool(trace.ok))
    except Exception as error:  # one bad combination must not cost the others
        return row | {"status": f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"}
    status = jc.Status(int(trace.status)).name.lower()
    steps = int(trace.steps)
    return row | {
        "status": status,
        "steps": steps,
        "steps_per_s": steps / seconds,
        **timing._asdict(),
        "run_s_per_s": timing.run_s / seconds,
        **errors(solution_of(task, trace), true, task.case.near),
    }


def study(name: str, quick: bool, report: Callable[[str], None]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All rows of a model, and what is known of its reference."""
    case = CASES[name]
    report("finding the last upstroke")
    task = task_of(case, quick)
    rtol = QUICK_REFERENCE_RTOL if quick else REFERENCE_RTOL
    true, looser = (
        solution_of(task, run(task, Setting("Kvaerno5", "", diffrax.Kvaerno5(), rtol=tolerance)))
        for tolerance in _reported((rtol, 10 * rtol), report, lambda x: f"reference: Kvaerno5 rtol={x:g}")
    )
    about = {
        "reference": f"Kvaerno5, rtol {rtol:g}, atol {rtol / 100:g}",
        "self_convergence": errors(looser, true, case.near),
        "apd90_ms": true.apd90,
        "dvdt_max_V_s": true.dvdt_max,
        "t1_ms": task.t1 * case.ms,
        "ms_per_unit_of_time": case.ms,
        "mV_per_unit_of_potential": case.mV,
    }
    wanted = list(settings(case, quick))
    rows = []
    for k, setting in enumerate(wanted, 1):
        report(f"{k}/{len(wanted)} {setting.solver} {setting.setting}")
        rows.append({"model": name} | measure(task, setting, true))
    baseline = next((r.get("run_s") for r in rows if r["solver"] == "RushLarsen" and r["dt"] == 0.01), None)
    for row in rows:
        row["cost"] = row["run_s"] / baseline if baseline and "run_s" in row else None
    return rows, about


def _reported(items, report, text):
    for item in items:
        report(text(item))
        yield item


COLUMNS = {
    "model": ("model", "s"),
    "solver": ("solver", "s"),
    "setting": ("setting", "s"),
    "rmse_mV": ("RMSE mV", ".2e"),
    "rmse_all_mV": ("all mV", ".2e"),
    "max_error_mV": ("max mV", ".2e"),
    "apd90_error_ms": ("dAPD90 ms", "+.4f"),
    "dvdt_max_error_percent": ("d(dV/dt) %", "+.3f"),
    "steps_per_s": ("steps/s", ".0f"),
    "compile_s": ("compile s", ".2f"),
    "run_s_per_s": ("run s/s", ".2e"),
    "cost": ("/RL 0.01", ".3f"),
    "status": ("status", "s"),
}


def benchmark(models: Sequence[str], quick: bool = False, out: Path = RESULTS) -> dict[str, Any]:
    """Runs everything asked for, says on stderr what it is at, and keeps what there is after each model."""
    content: dict[str, Any] = {"benchmark": "solvers", "quick": quick, "machine": machine(), "models": {}, "rows": []}
    for k, name in enumerate(models, 1):
        heading = f"[{k}/{len(models)} {name}]"
        rows, about = study(name, quick, lambda text, h=heading: print(f"{h} {text}", file=sys.stderr, flush=True))
        content["rows"] = sorted(content["rows"] + rows, key=lambda r: (r["model"], r["solver"]))
        content["models"][name] = about
        write_json(out / ("solvers_quick.json" if quick else "solvers.json"), content)
    return content


BOX = dict(facecolor="white", edgecolor="none", alpha=0.8, pad=1.5)


def figure(content: dict[str, Any], path: Path) -> None:
    """Time against error, one panel a model, one marker a solver; what failed is named."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(content["models"])
    solvers = list(dict.fromkeys(row["solver"] for row in content["rows"]))
    style = {s: dict(marker="os^Dv<>P*X"[i % 10], color=f"C{i}") for i, s in enumerate(solvers)}
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    fig, axes = plt.subplots(
        lines, columns, figsize=(5.2 * columns, 4.4 * lines + 0.6), squeeze=False, layout="constrained"
    )
    for ax, name in zip(axes.flat, names, strict=False):
        rows = [r for r in content["rows"] if r["model"] == name]
        for solver in solvers:
            good = [r for r in rows if r["solver"] == solver and r["status"] == "ok" and np.isfinite(r["rmse_mV"])]
            x, y = ([r[field] for r in good] for field in ("rmse_mV", "run_s_per_s"))
            ax.loglog(x, y, **style[solver], ms=5, lw=1, label=solver)
        ax.margins(y=0.12)
        failed = [f"{r['solver']} {r['setting']}: {r['status']}" for r in rows if r["status"] != "ok"]
        if failed:
            ax.text(
                0.02, 0.02, "\n".join(failed), transform=ax.transAxes, fontsize=7, color="0.3", va="bottom", bbox=BOX
            )
        ax.axvline(content["models"][name]["self_convergence"]["rmse_mV"], color="0.6", ls=":", lw=1)
        ax.set(title=CASES[name].title, xlabel="RMSE of V away from upstrokes, mV", ylabel="s per simulated s")
        ax.grid(alpha=0.3)
    for ax in axes.flat[len(names) :]:
        ax.axis("off")
    fig.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    fig.suptitle(f"One cell on {content['machine']['cpu']}; dotted: error of the reference", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=130)
    plt.close(fig)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=CASES, metavar="MODEL", help=f"of {', '.join(CASES)}")
    parser.add_argument("--quick", action="store_true", help="one beat, few rows: to see that it works")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of solvers.json and solvers.png")
    options = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    models = options.models or (QUICK_MODELS if options.quick else tuple(CASES))
    content = benchmark(models, options.quick, options.out)
    print(table(content["rows"], COLUMNS))
    figure(content, options.out / ("solvers_quick.png" if options.quick else "solvers.png"))


if __name__ == "__main__":
    main()
