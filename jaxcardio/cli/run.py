"""Run one cell: HDF5 with every state, a table of its beats, a figure.

Times are in ms (in the model's time unit, t.u., for the Aliev-Panfilov models), potentials in mV, currents in pA/pF,
outward positive, so a depolarising pulse is negative.

Examples:
  jaxcardio simulate TenTusscher2004 --variant epi --t1 10000 --set g_Kr=0.05
  jaxcardio simulate kernik --drug E-4031 --dose 7 --t1 12000 --out blocked.h5
  jaxcardio simulate skibsbye --solver rush-larsen-2 --paced-grid --period 500
"""

import argparse

import diffrax

from .. import pharmacology, plot
from ..biomarkers import action_potentials
from ..cell import dtype_of, unknown_name
from ..progress import progress_bar
from ..simulation.grid import paced_grid
from ..simulation.simulate import simulate
from ..solvers import RushLarsen, RushLarsen2
from .beats import beat_table
from .common import (
    USUAL,
    assignments,
    checked_output,
    find_model,
    make_cell,
    make_protocol,
    model_arguments,
    output_arguments,
    save_figure,
    stimulus_arguments,
)

SOLVERS = {
    "rush-larsen": RushLarsen,
    "rush-larsen-2": RushLarsen2,
    "kvaerno3": diffrax.Kvaerno3,
    "kvaerno5": diffrax.Kvaerno5,
    "tsit5": diffrax.Tsit5,
    "euler": diffrax.Euler,
}
ADAPTIVE = ("kvaerno3", "kvaerno5", "tsit5")
"""Adapt their steps unless told otherwise; the others take fixed ones unless --rtol is given."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="see `jaxcardio models`")
    model_arguments(parser)
    parser.add_argument("--init", action="append", default=[], metavar="STATE=VALUE", help="change the initial state")
    stimulus_arguments(parser)
    block = parser.add_argument_group("drug")
    block.add_argument("--drug", metavar="NAME", help="a drug of jaxcardio.pharmacology.DRUGS")
    block.add_argument("--dose", type=float, metavar="NM", help="its concentration, nM")
    steps = parser.add_argument_group("numerics")
    steps.add_argument("--solver", default="rush-larsen-2", choices=SOLVERS, help="default: rush-larsen-2")
    steps.add_argument("--dt", type=float, metavar="MS", help="fixed step, ms (default 0.02 ms; 0.005 t.u.)")
    steps.add_argument(
        "--rtol", type=float, help="relative tolerance: adaptive steps (kvaerno3, kvaerno5 and tsit5 adapt by default)"
    )
    steps.add_argument("--paced-grid", action="store_true", help="small steps after each pulse, large ones in diastole")
    steps.add_argument(
        "--t1", type=float, metavar="MS", help="length of the run, ms (default 5000 ms; 5 beats in t.u.)"
    )
    steps.add_argument(
        "--save-every", type=float, metavar="MS", help="sampling interval, ms (default 0.1 ms; 0.05 t.u.)"
    )
    output_arguments(parser, "MODEL.h5")


def run(given: argparse.Namespace) -> int:
    model = find_model(given.model)
    usual = USUAL[model.__name__]
    out = checked_output(given.out or f"{model.__name__}.h5", (".h5", ".hdf5"))
    cell = make_cell(model, given)
    if (given.drug is None) != (given.dose is None):
        raise ValueError(f"--drug = {given.drug} and --dose = {given.dose} nM: give both or neither")
    if given.drug is not None:
        cell = pharmacology.block(cell, given.drug, given.dose)
    protocol = make_protocol(model, given)
    t1 = usual.t1 if given.t1 is None else given.t1
    save_every = min(usual.save_every, t1) if given.save_every is None and t1 > 0 else given.save_every
    steps = _steps(given, protocol, usual, t1)
    fixed = {"dt", "grid"} & set(steps)
    trace = simulate(
        cell,
        protocol,
        t1=t1,
        solver=SOLVERS[given.solver](),
        save_every=save_every,
        y0=_initial_state(cell, given),
        progress=progress_bar(model.__name__) if fixed else False,  # how far an adaptive run is, nobody knows
        **steps,
    )
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
        return {"grid": paced_grid(protocol, t1)}  # pyright: ignore[reportArgumentType]
    if given.rtol is not None:
        return {"rtol": given.rtol} | ({} if given.dt is None else {"dt": given.dt})
    if given.dt is None and given.solver in ADAPTIVE:
        return {}
    return {"dt": usual.dt if given.dt is None else given.dt}


def _initial_state(cell, given):
    y = cell.initial_state()
    for name, value in assignments("--init", given.init).items():
        if name not in y._fields:
            raise ValueError(f"--init: {unknown_name('state', name, y._fields, type(cell).__name__)}")
        y = y._replace(**{name: value})
    return y if given.init else None


def _figure(trace, beats):
    fig, (top, bottom) = plot.figure(2, 1, size=(8, 6), sharex=True)
    plot.action_potentials(trace, beats, top)
    top.set_xlabel("")
    plot.currents(trace, ax=bottom)
    return fig
