"""The verb `biomarkers`."""

import argparse
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .. import plot
from ..biomarkers import ActionPotentials, action_potentials
from ..files.writing import put, write_csv, write_hdf5
from ..simulation.recordings import read_recording
from ..simulation.trace import Trace
from ..text_tables import text_table
from .common import checked_figure, checked_output, save_figure
from .uncertain import SHOWN, errors_of, noise_lines, reason_lines

COLUMNS = {
    "t_upstroke": "ms",
    "rmp": "mV",
    "peak": "mV",
    "apa": "mV",
    "dvdt_max": "mV/ms",
    "apd30": "ms",
    "apd50": "ms",
    "apd90": "ms",
    "cycle_length": "ms",
    "repolarised": "1",
    "ead": "1",
    "resolved": "1",
}
"""What files hold. On the screen a `dvdt_max` that is not resolved is marked instead."""
QUANTITIES = {name: unit for name, unit in COLUMNS.items() if unit != "1"}
"""What has a standard error: files hold it under the name and `_se`."""
MOST_ROWS = 30
"""Beats on the screen; the file has all of them."""


def run(given: argparse.Namespace) -> int:
    file = Path(given.file)
    out = checked_output(given.out or f"{file.stem}-beats.csv", (".csv", ".h5", ".hdf5"), inputs=[file])
    checked_figure(given, out, [file])
    said = {k: getattr(given, k) for k in ("channel", "time_unit", "potential_unit", "sampling_rate")}
    trace = read(file, given.group, given.dataset, **said)
    options = {k: getattr(given, k) for k in ("smoothing", "ead_rise", "min_amplitude")}
    beats = action_potentials(trace, **{k: v for k, v in options.items() if v is not None})
    time_unit = "t.u." if trace.cell is not None and trace.cell.units[trace.cell.potential] == "1" else "ms"
    print(beat_table(beats, time_unit))
    write(out, beats)
    print(f"wrote {out}")
    save_figure(given, out, lambda: _figure(trace, beats))
    return 0


def read(file: Path, group: str = "", dataset: str = "V", **options: Any) -> Trace:
    """A saved trace, or a recording in any file that `read_recording` knows; what was inferred is said."""
    try:
        trace = read_recording(file, group=group, dataset=dataset, **options)
    except ValueError as error:
        raise ValueError(_as_typed(str(error))) from None
    for note in trace.notes:
        print(f"{file.name}: {note}")
    return trace


def _as_typed(message: str) -> str:
    """A message of the library with the arguments' names on the command line."""
    options = r"\b(time_unit|potential_unit|sampling_rate)\b|\b(channel|group|dataset)(?= =)|(?<=give )channel"
    return re.sub(options, lambda found: f"--{found[0].replace('_', '-')}", re.sub(r"^path = ", "FILE = ", message))


def _columns(beats: ActionPotentials) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Cell and number of each valid beat, and every quantity of `COLUMNS` for it, (beats,)."""
    valid = np.atleast_2d(np.asarray(beats.valid))
    cell, beat = np.nonzero(valid)
    return cell, beat, {k: np.atleast_2d(np.asarray(getattr(beats, k)))[cell, beat] for k in COLUMNS}


def beat_table(beats: ActionPotentials, time_unit: str = "ms") -> str:
    """The measured beats as text, one a line."""
    cell, beat, columns = _columns(beats)
    remarks = "".join(f"\n{line}" for line in (*noise_lines(beats), *reason_lines(beats)))
    if len(beat) == 0:
        return f"no complete action potential{remarks}"
    as_unit = (
        {"ms": time_unit, "mV": "mV", "mV/ms": "V/s"} if time_unit == "ms" else {"ms": time_unit, "mV/ms": "1/t.u."}
    )
    resolved = columns.pop("resolved")
    errors = errors_of(beats, cell, beat, QUANTITIES)
    rows = [("cell", "beat", *columns), ("", "", *(as_unit.get(COLUMNS[k], "") for k in columns))]
    for k in range(min(len(beat), MOST_ROWS)):
        row = {n: ("yes" if x[k] else "no") if x.dtype == bool else _number(x[k]) for n, x in columns.items()}
        row["dvdt_max"] = row["dvdt_max"] if resolved[k] else f"~{row['dvdt_max']}"
        for name in SHOWN if errors else ():
            error = errors[f"{name}_se"][0][k]
            row[name] += f" +- {error:.2g}" if np.isfinite(error) else ""
        rows.append((str(cell[k]), str(beat[k]), *row.values()))
    more = f"\n... and {len(beat) - MOST_ROWS} more beats" if len(beat) > MOST_ROWS else ""
    shown = (
        "too far apart or too noisy to show dV/dt max to 5 %" if errors else "too far apart to show dV/dt max to 1 %"
    )
    unsure = "" if resolved.all() else f"\n~ the samples of this upstroke are {shown}"
    return text_table(rows, left=0) + more + unsure + remarks


def _number(x: float) -> str:
    return "-" if np.isnan(x) else f"{x:.5g}" if abs(x) < 100 else f"{x:.1f}"


def write(out: Path, beats: ActionPotentials) -> None:
    """Every valid beat as CSV, or as HDF5 with units."""
    cell, beat, columns = _columns(beats)
    errors = errors_of(beats, cell, beat, QUANTITIES)
    columns |= {name: x for name, (x, _) in errors.items()}
    units = COLUMNS | {name: unit for name, (_, unit) in errors.items()}
    if out.suffix == ".csv":
        header = ["cell", "beat", *(k if u == "1" else f"{k}_{u.replace('/', '_per_')}" for k, u in units.items())]
        rows = (
            [cell[k], beat[k], *(int(x[k]) if x.dtype == bool else x[k] for x in columns.values())]
            for k in range(len(beat))
        )
        write_csv(out, [header, *rows])
        return

    def write_tables(f: h5py.File) -> None:
        f.attrs["format"] = "jaxcardio beats"
        put(f, "cell", cell, "index")
        put(f, "beat", beat, "index")
        for name, unit in units.items():
            put(f, name, columns[name], unit)

    write_hdf5(out, write_tables)


def _figure(trace: Trace, beats: ActionPotentials):
    fig, ax = plot.figure(size=(9, 4))
    plot.action_potentials(trace, beats, ax)
    return fig
