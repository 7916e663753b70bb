"""The verb `sodium`."""

import argparse
from typing import Any

import jax.numpy as jnp

from .. import plot, sodium
from ..cell import astype
from ..files.writing import write_figure
from ..models import ClancyRudySodiumGating, Skibsbye2016
from ..solvers import RushLarsen, RushLarsen2, RushLarsenMidpoint
from .arguments.sodium import EXACT
from .common import checked_output

SOLVERS = {"rush-larsen": RushLarsen, "rush-larsen-2": RushLarsen2, "rush-larsen-midpoint": RushLarsenMidpoint}

TRAINERS = {
    "rates": sodium.train_rates,
    "flow_map": sodium.train_flow_map,
    "published": sodium.train_published,
    "markov_flow": sodium.train_markov_flow,
}


def _train(given: argparse.Namespace) -> int:
    out = checked_output(given.out or f"sodium_{given.network}.h5", (".h5", ".hdf5"))
    trained = TRAINERS[given.network](seed=given.seed, progress=True)
    sodium.save(out, trained.gating)
    print(f"wrote {out} ({out.stat().st_size} bytes)")
    return 0


def _evaluate(given: argparse.Namespace) -> int:
    ends = (".json", ".png", ".svg", ".pdf")
    out = None if given.out is None else checked_output(given.out, ends, inputs=[given.gating])
    cell, reference = _cells(given)
    chosen = sodium.EXPERIMENTS if given.experiments is None else tuple(given.experiments.split(","))
    how: dict[str, Any] = {"beats": given.beats, "experiments": chosen, "progress": True}
    found = sodium.evaluate(cell, given.dt, solver=SOLVERS[given.solver](), reference=reference, **how)
    print(found)
    if out is not None:
        if out.suffix == ".json":
            found.save(out)
        else:
            write_figure(out, plot.sodium.evaluation(found))
        print(f"wrote {out}")
    return 0 if found.met else 1


def _cells(given: argparse.Namespace) -> tuple[Any, Any]:
    """The cell with the gating that is named, and with the channel that this one stands for."""
    cell = reference = Skibsbye2016()
    if given.gating != EXACT:
        cell = cell.replace(sodium=sodium.load(given.gating))
    if isinstance(cell.sodium, sodium.MarkovFlow):
        reference = reference.replace(sodium=ClancyRudySodiumGating())
    return astype(cell, jnp.float32) if given.float32 else cell, reference


_JOBS = {"train": _train, "evaluate": _evaluate}


def run(given: argparse.Namespace) -> int:
    return _JOBS[given.job](given)
