"""Recordings of potentials in the files that people have: tables of text, HDF5, ABF, ATF, WFDB.

What a file is, its content tells, not its name.
"""

import contextlib
import os
import re
import stat
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .columns import describe
from .csv_tables import Layout, look_at, read_pieces
from .reading import open_hdf5, reason_of
from .signals import Options, Samples, Signal, Signals, check_options, to_samples
from .units import find_unit

HDF5 = b"\x89HDF\r\n\x1a\n"
EXTRA = "pip install 'jaxcardio[recordings]'"
PACKED = 64
"""A WFDB file may ask for so many times the samples that its bytes would hold, for it may be compressed."""
MOST_ENTRIES = 20_000
"""Sweeps, tags and channels of an ABF file, signals of a WFDB record."""
LONGEST_HEADER = 1 << 20
"""Bytes of a WFDB header."""


def read_samples(path: str | Path, options: Options) -> Samples:
    """Times in ms and potentials in mV of any recording; every error is a ValueError of one line with the path."""
    check_options(options)
    try:
        return to_samples(_signals(Path(path), options), options, f"path = {path}")
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"path = {path}: {reason_of(error)}") from None
    except Exception as error:  # of neo, wfdb and numpy, on what is no whole file
        raise ValueError(f"path = {path}: cannot be read as a recording ({reason_of(error)})") from None


def is_hdf5(path: str | Path) -> bool:
    """Whether the file begins as HDF5 does (it may do so at 0, 512, 1024, ... bytes). Opening a pipe would wait."""
    if not os.path.isfile(path):
        return False
    with contextlib.suppress(OSError), open(path, "rb") as file:
        place = 0
        while place < 1 << 16:
            file.seek(place)
            if file.read(len(HDF5)) == HDF5:
                return True
            place = max(512, 2 * place)
    return False


def _signals(path: Path, options: Options) -> Signals:
    record = _wfdb_record(path)
    if record is None and not path.exists():
        raise ValueError(f"path = {path}: no such file")
    if record is None and not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"path = {path}: not a regular file; allowed: a file of a recording")
    if record is None and is_hdf5(path):
        return _read_hdf5(path, options)
    if options.group or options.dataset != "V":
        raise ValueError(
            f"path = {path}: no HDF5 file, and has no group {options.group!r} or dataset {options.dataset!r}"
        )
    if record is not None:
        return _read_wfdb(record)
    with open(path, "rb") as file:
        begins = file.read(4)
    if begins in (b"ABF ", b"ABF2"):
        return _read_abf(path)
    try:
        return _read_table(path, options)
    except ValueError as error:
        if path.suffix.lower() in (".h5", ".hdf5"):
            raise ValueError(
                f"path = {path}: not a whole HDF5 file, and as a table of text: {_without(error, path)}"
            ) from None
        raise


def _without(error: ValueError, path: Path) -> str:
    return str(error).removeprefix(f"path = {path}").lstrip(":, ")


def _read_table(path: Path, options: Options) -> Signals:
    """A table of text: which column is the time, and which are signals."""
    layout, rate = look_at(path), options.sampling_rate
    named, count = layout.names is not None, layout.width
    names = layout.names or [""] * count
    units: list[str | None] = [u or None for u in layout.units] if layout.units else [None] * count
    columns = [describe(n, u) for n, u in zip(names, units, strict=True)]
    for k, column in enumerate(columns):
        said = describe(names[k]).unit
        if None not in (factors := [_factor(said), _factor(column.unit)]) and factors[0] != factors[1]:
            both = f"{names[k]!r}, and {column.unit!r} in the row of units"
            raise ValueError(f"path = {path}, column {k + 1}: {both}; allowed: one unit")
    shown = [n or f"column {k + 1}" for k, n in enumerate(names)]
    clocks = [k for k, c in enumerate(columns) if c.kind == "time"]
    guessed = not clocks and count > 1 and (columns[0].kind == "unknown" or not named)
    if not clocks and not guessed and rate is None:
        raise ValueError(
            f"path = {path}: header {','.join(names)[:60]!r} has no times; allowed: t_ms,V_mV[,...], or sampling_rate, "
            "in Hz"
        )
    clocks = [0] if guessed else clocks
    values, lines = _rows(path, layout, clocks[0] if clocks and rate is None else None)
    notes: tuple[str, ...] = ()
    if guessed and rate is not None and not (np.diff(values[:, 0]) > 0).all():
        clocks = []  # all the columns are sweeps
    elif guessed:
        notes = (f"{shown[0]!r} is taken for the time" if named else "no header: the first column is the time",)
    for k in clocks[1:]:
        if not np.array_equal(values[:, k], values[:, clocks[0]], equal_nan=True):
            raise ValueError(
                f"path = {path}: columns {shown[clocks[0]]!r} and {shown[k]!r} are different times; allowed: one column"
            )
    counters = [k for k, c in enumerate(columns) if c.kind == "counter" and named]
    signals = [
        Signal(shown[k], columns[k].unit, values[:, k]) for k in range(count) if k not in clocks and k not in counters
    ]
    times, unit = (values[:, clocks[0]], columns[clocks[0]].unit) if clocks else (None, None)
    return Signals(times, unit, None, signals, lambda k: f"row {lines(k)}", True, notes)


def _factor(unit: str | None) -> float | None:
    """What turns numbers in it into ours; None where it is none that is known."""
    known = find_unit(unit) if unit else None
    return None if known is None or np.isnan(known.factor) else known.factor


def _rows(path: Path, layout: Layout, clock: int | None) -> tuple[np.ndarray, Callable[[int], int]]:
    """All rows, (rows, columns), and what gives the line of each; no more than it takes to see times that go back."""
    pieces, lines = [], []
    for values, its in read_pieces(path, layout):
        pieces.append(values)
        lines.append(its)
        if clock is not None and not (values[1:, clock] > values[:-1, clock]).all():
            break
    ends = np.cumsum([len(x) for x in pieces])
    table = np.empty((ends[-1], layout.width))
    for end in ends:  # each is let go as it is copied
        piece = pieces.pop(0)
        table[end - len(piece) : end] = piece

    def line(k: int) -> int:
        which = int(np.searchsorted(ends, k, side="right"))
        return int(lines[which][k - (ends[which - 1] if which else 0)])

    return table, line


def _read_hdf5(path: Path, options: Options) -> Signals:
    """Datasets `t` and `V` of the file or of a group, or `V` with the attribute sampling_rate_Hz."""
    with open_hdf5(path) as file:
        if options.group and options.group not in file:
            raise ValueError(f"group = {options.group!r}: not in {path}; it has: {', '.join(file.names())}")
        place = file.group(options.group)
        name = str(options.channel) if isinstance(options.channel, str) else options.dataset
        if name not in place.datasets():
            raise ValueError(
                f"neither a jaxcardio trace nor a recording (no dataset of numbers "
                f"{options.group + '/' if options.group else ''}{name}; it has: {', '.join(place.names())})"
            )
        found = place.dataset(name)
        if len(found.shape) not in (1, 2):
            raise ValueError(f"{name}: shape {found.shape}; allowed: (time,) or (n, time)")
        clock = next((place.dataset(x) for x in ("t", "time", "ts") if x in place and x != name), None)
        rates = (x.number("sampling_rate_Hz") for x in (found, place, file) if x.has_attribute("sampling_rate_Hz"))
        rate = next(rates, None)
        if clock is None and not (rate or 0) > 0 and options.sampling_rate is None:
            said = np.nan if rate is None else rate
            raise ValueError(f"no dataset t, and attribute sampling_rate_Hz = {said} Hz; allowed: > 0")
        if clock is not None and clock.shape != found.shape[-1:]:
            raise ValueError(
                f"t and {name}: expected shapes (time,) and (time,) or (n, time), got {clock.shape} and {found.shape}"
            )
        values = found.numbers()
        signal = Signal(name, _unit(found) or None, values)
        times, unit = (None, None) if clock is None else (clock.numbers(), _unit(clock))
    return Signals(times, unit, rate, [signal], lambda k: f"sample {k}", True)


def _unit(element: Any) -> str | None:
    said = [element.text(name) for name in ("unit", "units") if element.has_attribute(name)]
    if len(set(said)) > 1:
        raise ValueError(f"{element.name}: unit = {said[0]!r}, units = {said[1]!r}; allowed: one unit")
    return said[0] if said else None


def _read_abf(path: Path) -> Signals:
    """Axon binary files, versions 1 and 2, by way of neo."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the packages that neo imports
            from neo.rawio import AxonRawIO
    except ImportError:
        raise ValueError(f"path = {path}: an ABF file, which takes neo to read ({EXTRA})") from None
    _check_abf(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader: Any = AxonRawIO(filename=str(path))
        reader.parse_header()
        channels = reader.header["signal_channels"]
        sweeps = reader.segment_count(0)
        rate = float(reader.get_signal_sampling_rate(0))
        raw = [
            reader.rescale_signal_raw_to_float(reader.get_analogsignal_chunk(0, s, stream_index=0), "float64", 0)
            for s in range(sweeps)
        ]
    length, most = max(len(x) for x in raw), PACKED * (sum(len(x) for x in raw) + 1024)
    if sweeps * length > most:
        raise ValueError(f"path = {path}: {sweeps} sweeps, the longest of {length} samples; allowed: of like lengths")
    values = np.full((len(channels), sweeps, length), np.nan)
    for s, x in enumerate(raw):
        values[:, s, : len(x)] = x.T
    signals = [
        Signal(str(c["name"]), str(c["units"]).strip() or None, v[0] if sweeps == 1 else v)
        for c, v in zip(channels, values, strict=True)
    ]
    return Signals(None, None, rate, signals, lambda k: f"sample {k}", False)


def _check_abf(path: Path) -> None:
    """That the header asks for no more sweeps, tags and channels than a recording has: neo would make room for them."""
    with open(path, "rb") as file:
        header = file.read(512)
    if len(header) < 512:
        raise ValueError(f"path = {path}: an ABF file of {len(header)} bytes; allowed: a whole one")
    if header.startswith(b"ABF2"):
        entries = [
            struct.unpack_from("<q", header, 76 + 16 * k + 8)[0] for k in range(18) if k != 10
        ]  # 10: the samples
    else:
        entries = [*struct.unpack_from("<i", header, 48), *struct.unpack_from("<i", header, 96)]
    if not all(0 <= n <= MOST_ENTRIES for n in entries):
        raise ValueError(
            f"path = {path}: an ABF file whose header lists {max(entries, key=abs)} sweeps, tags or channels; allowed: "
            f"0 to {MOST_ENTRIES}"
        )


def _wfdb_record(path: Path) -> Path | None:
    """The header of the WFDB record that is meant: `x.hea`, its `x.dat`, or its name `x`."""
    if path.suffix not in (".hea", ".dat") and path.exists():
        return None
    header = path.parent / f"{path.stem if path.suffix in ('.hea', '.dat') else path.name}.hea"
    return header if header.is_file() else None


def _check_header(header: Path) -> None:
    """That a WFDB header is of a size, and of a number of signals, that wfdb can be let loose on."""
    if header.stat().st_size > LONGEST_HEADER:
        raise ValueError(f"path = {header}: {header.stat().st_size} bytes; allowed: a header of <= {LONGEST_HEADER}")
    lines = [x.split() for x in header.read_text(errors="replace").splitlines() if x.strip() and x[0] != "#"]
    count = lines[0][1] if lines and len(lines[0]) > 1 else ""
    if not count.isdecimal() or int(count) != len(lines) - 1 or "/" in lines[0][0]:
        begins = " ".join(lines[0])[:60] if lines else ""
        raise ValueError(
            f"path = {header}: {begins!r}, then {max(len(lines) - 1, 0)} lines; allowed: NAME SIGNALS RATE SAMPLES, "
            "then a line for each signal (a record of one segment)"
        )
    rate = lines[0][2] if len(lines[0]) > 2 else "250"  # what the format says of a record without one
    if not re.match(r"0*[1-9.]", rate) or not re.fullmatch(r"[\d.]+(e[+-]?\d+)?(/.*)?", rate):
        raise ValueError(f"path = {header}: sampling rate {rate[:20]!r}; allowed: a number > 0, in Hz")
    for line in lines[1:]:  # wfdb would take another gain for one that is not known
        if len(line) < 3 or re.match(r"0*(\.0*)?([(/]|$)", line[2]):
            raise ValueError(
                f"path = {header}: {' '.join(line)[:60]!r} has no gain; allowed: GAIN/UNIT, of a calibrated signal"
            )


def _read_wfdb(header: Path) -> Signals:
    """A WFDB record whose signals lie beside its header."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import wfdb
    except ImportError:
        raise ValueError(f"path = {header}: a WFDB record, which takes wfdb to read ({EXTRA})") from None
    name = str(header.with_suffix("").resolve())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _check_header(header)
        about: Any = wfdb.rdheader(name)
        files = set(about.file_name or [])
        if not files or any(os.path.basename(x) != x or "://" in x for x in files):
            raise ValueError(f"path = {header}: signals in {sorted(files)}; allowed: files beside the header")
        size = sum(os.path.getsize(header.parent / x) for x in files)
        if about.sig_len is not None and about.sig_len * about.n_sig > PACKED * size + 1024:
            raise ValueError(
                f"path = {header}: {about.sig_len} samples of {about.n_sig} signals in {size} bytes; allowed: as many "
                "as are there"
            )
        record: Any = wfdb.rdrecord(name)
    signals = [
        Signal(str(n), str(u).strip() or None, v)
        for n, u, v in zip(record.sig_name, record.units, record.p_signal.T, strict=True)
    ]
    return Signals(None, None, float(record.fs), signals, lambda k: f"sample {k}", False)
