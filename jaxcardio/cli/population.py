"""The verb `population`."""

import argparse
import json
from pathlib import Path
from typing import Any

import h5py
import jax.numpy as jnp
import numpy as np

from .. import plot
from ..arguments import check, check_whole
from ..cell import AbstractCell, astype
from ..files.hdf5 import read_hdf5
from ..files.reading import NUMBERS, TRUTH, WHOLE, Group, open_hdf5
from ..files.records import cell_to_json
from ..files.writing import put, write_csv, write_figure, write_hdf5
from ..population import Dataset, Rules, Screening, distribution_to_json, sample, screen, simulate, usual_steps
from ..population.viability import BIOMARKERS, DISCARD, UNITS, Reason
from ..simulation.trace import FORMAT as TRACE
from ..simulation.trace import Trace
from .common import (
    USUAL,
    check_longest_step,
    checked_output,
    find_model,
    length_of,
    make_protocol,
    output_names,
)
from .sampled import make_population, make_rules

FORMAT = "jaxcardio screening"
FORMAT_VERSION = 1


# --- simulate --------------------------------------------------------------------------------------------------------


def _simulate(given: argparse.Namespace) -> int:
    out = checked_output(given.out, (".h5", ".hdf5"), "OUT.h5", [given.protocol])
    model = find_model(given.model)
    usual = USUAL[model.__name__]
    described = _described(model, given)
    cells = _sampled(described, given)
    protocol = make_protocol(model, given)
    t1 = length_of(model, protocol, given.t1)
    every, dt = (1.0, None) if usual.time_unit == "ms" else (usual.save_every, usual.dt)
    every = every if given.save_every is None else given.save_every
    check_longest_step(given, every)
    trace = simulate(
        cells,
        protocol,
        t1=t1,
        save_every=every,
        outputs=output_names(given.outputs, cells) if given.outputs else [cells.potential],
        chunk=given.chunk,
        progress=True,
        **usual_steps(protocol, t1, dt if given.dt is None else given.dt),
    )
    trace.save(out)
    problems = trace.problems()
    names = ", ".join(trace.ys._fields)
    print(f"{model.__name__}: {given.cells} cells, {t1:g} {usual.time_unit}, {names}, {trace.solver}")
    for reason in sorted(set(problems.values())):
        print(f"  {list(problems.values()).count(reason)} cells: {reason}")
    print(f"wrote {out}")
    return 1 if len(problems) == given.cells else 0


def _described(model: type[AbstractCell], given: argparse.Namespace) -> dict[str, Any]:
    """The population as `sample` takes it, after a look at how it is to be run."""
    if given.chunk is not None:
        check_whole("--chunk", given.chunk, "cells")
    check("--dt", given.dt, "ms", "> 0", lambda x: np.isfinite(x) and x > 0)
    return make_population(model, given)


def _sampled(described: dict[str, Any], given: argparse.Namespace) -> AbstractCell:
    options = {k: x for k, x in described.items() if k != "cell"}
    return sample(astype(described["cell"], jnp.dtype(given.dtype)), **options)


# --- screen ----------------------------------------------------------------------------------------------------------


def _screen(given: argparse.Namespace) -> int:
    out = None if given.out is None else checked_output(given.out, (".csv", ".h5", ".hdf5"), inputs=[given.protocol])
    model = find_model(given.model)
    if USUAL[model.__name__].time_unit != "ms":
        raise ValueError(f"--model = {model.__name__}: is dimensionless, the rules are in mV and ms")
    described = _described(model, given)
    check_longest_step(given, 1.0 if given.save_every is None else given.save_every)
    found = screen(
        _sampled(described, given),
        make_rules(given),
        make_protocol(model, given),
        t1=given.t1,
        discard=min(DISCARD, given.t1 / 2) if given.discard is None else given.discard,
        save_every=1.0 if given.save_every is None else given.save_every,
        chunk=given.chunk,
        progress=True,
        **({} if given.dt is None else {"dt": given.dt}),
    )
    print(found.table())
    if out is not None:
        if out.suffix == ".csv":
            _write_csv(out, found)
        else:
            _write_hdf5(out, found, described)
        print(f"wrote {out}")
    return 0


def _write_csv(out: Path, found: Screening) -> None:
    units = (f"_{u.replace('/', '_per_')}" if name in BIOMARKERS else "" for name, u in UNITS.items())
    rows: list[list[Any]] = [
        ["cell", "viable", "reasons", *(name + unit for name, unit in zip(UNITS, units, strict=True))]
    ]
    for i, viable in enumerate(found.viable):
        values = (found.biomarkers[name][i] for name in UNITS)
        row = (int(x) if np.issubdtype(np.asarray(x).dtype, np.bool) else x for x in values)
        rows.append([i, int(viable), "; ".join(found.why(i)), *row])
    write_csv(out, rows)


def _write_hdf5(out: Path, found: Screening, described: dict[str, Any]) -> None:
    plain = {"cell": cell_to_json, "distribution": distribution_to_json}
    population = {k: plain[k](x) if k in plain else x for k, x in described.items()}

    def write(f: h5py.File) -> None:
        f.attrs.update(format=FORMAT, format_version=FORMAT_VERSION, model=found.model)
        f.attrs.update(rules=json.dumps(found.rules.to_json()), population=json.dumps(population))
        columns = {"reasons": (found.reasons, "; ".join(f"{r.value} {r.name}" for r in Reason))}
        columns |= {f"biomarkers/{name}": (found.biomarkers[name], unit) for name, unit in UNITS.items()}
        for name, (values, unit) in columns.items():
            put(f, name, values, unit)

    write_hdf5(out, write)


def _read_hdf5(f: Group) -> Screening:
    reasons = f.numbers("reasons", (None,), WHOLE)
    kinds = NUMBERS + TRUTH
    measured = {name: f.numbers(f"biomarkers/{name}", reasons.shape, kinds, unit) for name, unit in UNITS.items()}
    return Screening(reasons, measured, Rules.from_json(f.json("rules")), f.text("model"))


# --- plot ------------------------------------------------------------------------------------------------------------


def _plot(given: argparse.Namespace) -> int:
    source = Path(given.source)
    out = checked_output(given.out or f"{source.resolve().stem}.png", (".png", ".pdf", ".svg"), inputs=[source])
    check_whole("--cells", given.cells, "cells")
    try:
        figure = _figure(source, given)
    except ImportError as error:
        raise ValueError(str(error)) from None
    write_figure(out, figure)
    print(f"wrote {out}")
    return 0


def _figure(source: Path, given: argparse.Namespace) -> Any:
    if source.is_dir():
        return _dataset_figure(Dataset(source), given)
    if not source.is_file():
        raise ValueError(f"FILE = {source}: no such file or folder")
    if _format_of(source) == FORMAT:
        return plot.screening(read_hdf5(source, FORMAT, FORMAT_VERSION, _read_hdf5))
    fig, ax = plot.figure(size=(8, 4))
    trace = Trace.load(source)
    try:
        plot.population(trace, ax, output=given.output)
    except ValueError as error:
        raise ValueError(f"FILE = {source}: {error}") from None
    return fig


def _format_of(file: Path) -> str:
    with open_hdf5(file) as f:
        found = f.text("format") if f.has_attribute("format") else "file without a format"
    if found not in (FORMAT, TRACE):
        raise ValueError(f"FILE = {file}: neither a {TRACE} nor a {FORMAT}")
    return found


def _dataset_figure(data: Dataset, given: argparse.Namespace) -> Any:
    """Command, outputs, and what the screening of its cells measured."""
    recipe = data.recipe
    kept = data.kept[: given.cells]
    if len(kept) == 0:
        raise ValueError(f"FOLDER = {data.folder}: no cell to draw is kept in it yet")
    names = [given.output] if given.output else list(recipe.outputs)
    heights = [1.8, *[2.4] * len(names)]
    if recipe.rules is None:
        fig = above = plot.empty_figure((9, sum(heights)))
    else:
        fig = plot.empty_figure((9, sum(heights) + 6.0))
        above, below = fig.subfigures(2, 1, height_ratios=[sum(heights), 6.0])
        measured = {name: data.table(name) for name in UNITS}
        plot.screening(Screening(data.table("reasons"), measured, recipe.rules, type(recipe.cell).__name__), below)
    with plot.house_style():
        axes = above.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    if recipe.protocol is not None:
        plot.protocol(recipe.protocol, recipe.t1, axes[0])
    some = data.read(kept)
    for name, ax in zip(names, axes[1:], strict=True):
        plot.batch(some, recipe, ax, output=name)
    for ax in axes[:-1]:
        ax.set_xlabel("")
    return fig


_JOBS = {"simulate": _simulate, "screen": _screen, "plot": _plot}


def run(given: argparse.Namespace) -> int:
    return _JOBS[given.job](given)
