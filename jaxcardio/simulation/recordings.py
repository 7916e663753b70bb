"""Recordings as traces, whatever file they are in."""

from pathlib import Path

from ..annotations import typed
from ..files.reading import open_hdf5
from ..files.recordings import is_hdf5, read_samples
from ..files.signals import Options
from .trace import FORMAT, Trace


@typed
def read_recording(
    path: str | Path,
    *,
    channel: str | int | None = None,
    group: str = "",
    dataset: str = "V",
    time_unit: str | None = None,
    potential_unit: str | None = None,
    sampling_rate: float | None = None,
) -> Trace:
    """A recording of potentials, from any file that holds one: `ts` (time,) in ms, `V` (time,) or (n, time) in mV.

    Read are tables of text (CSV and its kin: any separator, decimal point or comma, UTF-8, UTF-16 or Latin-1, lines
    before the numbers, ATF), HDF5 (`t` and `V`, or `V` and the attribute sampling_rate_Hz), traces that `save` wrote,
    ABF and WFDB (`pip install 'jaxcardio[recordings]'`). The content tells which, not the name.

    Units are read where they are written (t_s, `Time (s)`, V_mV, a row of units, attributes `unit`), and inferred from
    the values where they are not. What was inferred, converted or left out is in `trace.notes`. Columns and sweeps
    are the n of V; of several channels one must be chosen. A missing sample is NaN.

    Args:
        channel: the column or channel to read, by name, or by number from 0 among those that are not times.
        group, dataset: where the potentials are in an HDF5 file.
        time_unit, potential_unit: of the file ("s", "ms", "us", "min"; "V", "mV", "uV"), in place of what it says.
        sampling_rate: Hz, where there are no times, or in place of times that are rounded.

    ValueError: one line with file, row, column, value and what is allowed, for what is no recording, for units that
    the values contradict, and for missing units that could be either.
    """
    if is_hdf5(path):
        with open_hdf5(path) as file:
            ours = file.has_attribute("format") and file.attribute("format") == FORMAT
        if ours:
            return Trace.load(path)
    options = Options(channel, group, dataset, time_unit, potential_unit, sampling_rate)
    ts, V, notes = read_samples(path, options)
    return Trace.from_samples(ts, V, notes=notes)
