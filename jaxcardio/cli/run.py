"""The verb `simulate`."""

import argparse

import diffrax
import numpy as np

from .. import pharmacology, plot
from ..arguments import check
from ..biomarkers import action_potentials
from ..cell import dtype_of, unknown_name
from ..progress import progress_bar
from ..simulation.grid import paced_grid
from ..simulation.simulate import simulate
from ..solvers import RushLarsen, RushLarsen2, RushLarsenMidpoint
from .beats import beat_table
from .common import (
    USUAL,
    argument,
    assignments,
    checked_figure,
    checked_output,
    find_model,
    make_cell,
    make_protocol,
    save_figure,
)

SOLVERS = {
    "rush-larsen": RushLarsen,
    "rush-larsen-2": RushLarsen2,
    "rush-larsen-midpoint": RushLarsenMidpoint,
    "kvaerno3": diffrax.Kvaerno3,
    "kvaerno5": diffrax.Kvaerno5,
    "tsit5": diffrax.Tsit5,
    "euler": diffrax.Euler,
}
LEAST = 0.2
"""A potential nearer to 0 than this, mV, was meant in V."""
LONG = 1_000_000
"""A run of no more steps is one program, and shows only its end: it takes a second or two."""
ADAPTIVE = ("kvaerno3", "kvaerno5", "tsit5")
"""Adapt their steps unless told otherwise; the others take fixed ones unless --rtol is given."""


def run(given: argparse.Namespace) -> int:
    model = find_model(given.model)
    usual = USUAL[model.__name__]
    out = checked_output(given.out or f"{model.__name__}.h5", (".h5", ".hdf5", ".csv"), inputs=[given.protocol])
    checked_figure(given, out, [given.protocol])
    cell = make_cell(model, given)
    if (given.drug is None) != (given.dose is None):
        raise ValueError(f"--drug = {given.drug} and --dose = {given.dose} nM: give both or neither")
    if given.drug is not None:
        with argument(f"--drug = {given.drug}, --dose = {given.dose} nM"):
            cell = pharmacology.block(cell, given.drug, given.dose)
    protocol = make_protocol(model, given)
    t1 = usual.t1 if given.t1 is None else given.t1
    save_every = min(usual.save_every, t1 / 2) if given.save_every is None and t1 > 0 else given.save_every
    if save_every is not None and 0 < t1 / 2 < save_every:
        raise ValueError(f"--save-every = {save_every:g} ms: fewer than three samples; allowed: at most {t1 / 2:g} ms")
    steps = _steps(given, protocol, usual, t1)
    report = progress_bar(model.__name__)
    count = _count(steps, t1)
    trace = simulate(
        cell,
        protocol,
        t1=t1,
        solver=SOLVERS[given.solver](),
        save_every=save_every,
        y0=_initial_state(cell, given),
        progress=report if count > LONG else False,
        **steps,
    )
    if 0 < count <= LONG:
        report(1.0)
    trace.save(out)
    dtype = dtype_of(cell)
    print(f"{model.__name__}, {t1:g} {usual.time_unit}, {trace.solver}, {dtype}")
    beats = action_potentials(trace)
    print(beat_table(beats, usual.time_unit))
    print(f"wrote {out}")
    save_figure(given, out, lambda: _figure(trace, beats))
    for message in trace.problems().values():
        print(f"jaxcardio: the run did not end well: {message}")
    return 1 if trace.problems() else 0


def _steps(given, protocol, usual, t1) -> dict:
    """How to step: one of dt, grid, rtol."""
    if given.paced_grid:
        if given.dt is not None or given.rtol is not None:
            raise ValueError("--paced-grid, --dt and --rtol: give one of them")
        with argument("--paced-grid"):
            return {"grid": paced_grid(protocol, t1)}  # pyright: ignore[reportArgumentType]
    if given.rtol is not None:
        return {"rtol": given.rtol} | ({} if given.dt is None else {"dt": given.dt})
    if given.dt is None and given.solver in ADAPTIVE:
        return {}
    return {"dt": usual.dt if given.dt is None else given.dt}


def _count(steps, t1) -> float:
    """How many steps a run takes; 0 where the solver chooses them: how far such a run is, nobody knows."""
    if "grid" in steps:
        return len(steps["grid"])
    return t1 / steps["dt"] if steps.get("dt") else 0


def _initial_state(cell, given):
    y = cell.initial_state()
    for name, value in assignments("--init", given.init).items():
        if name not in y._fields:
            raise ValueError(f"--init: {unknown_name('state', name, y._fields, type(cell).__name__)}")
        unit = cell.units[name]
        check(f"--init: y0.{name}", value, unit, "finite", np.isfinite)
        if name == cell.potential and unit == "mV":
            allowed = f"mV: 0, or beyond +-{LEAST} mV (is it in V?)"
            check(f"--init: y0.{name}", value, unit, allowed, lambda x: (x == 0) | (np.abs(x) >= LEAST))
        y = y._replace(**{name: value})
    return y if given.init else None


def _figure(trace, beats):
    fig, (top, bottom) = plot.figure(2, 1, size=(8, 6), sharex=True)
    plot.action_potentials(trace, beats, top)
    top.set_xlabel("")
    plot.currents(trace, ax=bottom)
    return fig
