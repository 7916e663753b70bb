"""The verb `biomarkers`."""

import argparse
import csv
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .. import plot
from ..biomarkers import ActionPotentials, action_potentials
from ..simulation.trace import FORMAT, Trace
from .common import checked_figure, checked_output, save_figure
from .text import text_table
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
MOST_ROWS = 30
"""Beats on the screen; the file has all of them."""


def run(given: argparse.Namespace) -> int:
    file = Path(given.file)
    out = checked_output(given.out or f"{file.stem}-beats.csv", (".csv", ".h5", ".hdf5"), inputs=[file])
    checked_figure(given, out, [file])
    trace = read(file, given.group, given.dataset)
    options = {k: getattr(given, k) for k in ("smoothing", "ead_rise", "min_amplitude")}
    beats = action_potentials(trace, **{k: v for k, v in options.items() if v is not None})
    time_unit = "t.u." if trace.cell is not None and trace.cell.units[trace.cell.potential] == "1" else "ms"
    print(beat_table(beats, time_unit))
    write(out, beats)
    print(f"wrote {out}")
    save_figure(given, out, lambda: _figure(trace, beats))
    return 0


def read(file: Path, group: str = "", dataset: str = "V") -> Trace:
    """A saved trace, or a recording in one of the stated layouts; what it is not is a ValueError."""
    if not file.is_file():
        raise ValueError(f"FILE = {file}: no such file")
    if file.suffix.lower() == ".csv":
        return _read_csv(file)
    try:
        with h5py.File(file, "r") as f:
            if f.attrs.get("format") != FORMAT:
                return _read_recording(f, file, group, dataset)
    except OSError as error:
        raise ValueError(f"FILE = {file}: not a whole HDF5 file ({error}); allowed: HDF5 or CSV (.csv)") from None
    return Trace.load(file)


def _read_csv(file: Path) -> Trace:
    with file.open(newline="") as f:
        header, *rows = [row for row in csv.reader(f) if row] or [[]]
    if len(header) < 2 or header[0].strip() != "t_ms":
        raise ValueError(f"FILE = {file}: header {','.join(header)!r}; allowed: t_ms,V_mV[,...]")
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise ValueError(
                f"FILE = {file}, row {number}: {len(row)} values; allowed: {len(header)}, as in the header"
            )
    try:
        values = np.array(rows, float)
    except ValueError as error:
        raise ValueError(f"FILE = {file}: {error}; allowed: numbers (ms and mV)") from None
    if len(values) < 3:
        raise ValueError(f"FILE = {file}: {len(values)} samples; allowed: >= 3")
    V = values[:, 1:].T
    return _recording(file, values[:, 0], V[0] if len(V) == 1 else V)


def _read_recording(f: h5py.File, file: Path, group: str, dataset: str) -> Trace:
    if group and group not in f:
        raise ValueError(f"--group = {group!r}: not in {file}; it has: {', '.join(f)}")
    place = f[group] if group else f
    found = place.get(dataset) if isinstance(place, h5py.Group) else None
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "fiu":
        raise ValueError(
            f"FILE = {file}: neither a jaxcardio trace nor a recording (no dataset of numbers "
            f"{group + '/' if group else ''}{dataset}; see --help for the layouts)"
        )
    V = np.asarray(found[()]) * _scale(file, dataset, found, {"mV": 1.0, "V": 1000.0})
    clock = place.get("t")  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(clock, h5py.Dataset):
        return _recording(file, np.asarray(clock[()]) * _scale(file, "t", clock, {"ms": 1.0, "s": 1000.0}), V)
    rates: Any = (x.attrs["sampling_rate_Hz"] for x in (found, place, f) if "sampling_rate_Hz" in x.attrs)
    rate = float(next(rates, np.nan))
    if not rate > 0:
        raise ValueError(f"FILE = {file}: no dataset t, and attribute sampling_rate_Hz = {rate} Hz; allowed: > 0")
    return _recording(file, np.arange(V.shape[-1]) * (1000.0 / rate), V)


def _scale(file: Path, name: str, data: h5py.Dataset, known: dict[str, float]) -> float:
    """What turns the dataset into ms or mV; without the attribute it already is."""
    unit = data.attrs.get("unit", next(iter(known)))
    unit = unit.decode() if isinstance(unit, bytes) else str(unit)
    if unit not in known:
        raise ValueError(f"FILE = {file}: {name} has unit = {unit!r}; allowed: {' or '.join(known)}")
    return known[unit]


def _recording(file: Path, ts: np.ndarray, V: np.ndarray) -> Trace:
    try:
        return Trace.from_samples(ts, V)
    except ValueError as error:
        raise ValueError(f"FILE = {file}: {error}") from None


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
    errors = errors_of(beats, cell, beat)
    rows = [("cell", "beat", *columns), ("", "", *(as_unit.get(COLUMNS[k], "") for k in columns))]
    for k in range(min(len(beat), MOST_ROWS)):
        row = {n: ("yes" if x[k] else "no") if x.dtype == bool else _number(x[k]) for n, x in columns.items()}
        row["dvdt_max"] = row["dvdt_max"] if resolved[k] else f"~{row['dvdt_max']}"
        for name in SHOWN if errors else ():
            error = errors[f"{name}_se"][0][k]
            row[name] += f" +- {error:.2g}" if np.isfinite(error) else ""
        rows.append((str(cell[k]), str(beat[k]), *row.values()))
    more = f"\n... and {len(beat) - MOST_ROWS} more beats" if len(beat) > MOST_ROWS else ""
    unsure = "" if resolved.all() else "\n~ the samples of this upstroke are too far apart to show dV/dt max to 1 %"
    return text_table(rows, left=0) + more + unsure + remarks


def _number(x: float) -> str:
    return "-" if np.isnan(x) else f"{x:.5g}" if abs(x) < 100 else f"{x:.1f}"


def write(out: Path, beats: ActionPotentials) -> None:
    """Every valid beat as CSV, or as HDF5 with units."""
    cell, beat, columns = _columns(beats)
    errors = errors_of(beats, cell, beat)
    columns |= {name: x for name, (x, _) in errors.items()}
    units = COLUMNS | {name: unit for name, (_, unit) in errors.items()}
    if out.suffix == ".csv":
        with out.open("w", newline="") as f:
            table = csv.writer(f)
            table.writerow(
                ["cell", "beat", *(k if u == "1" else f"{k}_{u.replace('/', '_per_')}" for k, u in units.items())]
            )
            for k in range(len(beat)):
                table.writerow([cell[k], beat[k], *(int(x[k]) if x.dtype == bool else x[k] for x in columns.values())])
        return
    with h5py.File(out, "w") as f:
        f.attrs["format"] = "jaxcardio beats"
        for name, values, unit in [("cell", cell, "index"), ("beat", beat, "index")] + [
            (k, columns[k], u) for k, u in units.items()
        ]:
            f.create_dataset(name, data=values).attrs["unit"] = unit


def _figure(trace: Trace, beats: ActionPotentials):
    fig, ax = plot.figure(size=(9, 4))
    plot.action_potentials(trace, beats, ax)
    return fig
