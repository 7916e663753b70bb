"""Which layout a file has, and who reads it."""

from pathlib import Path

import numpy as np

from ...arguments import check, refusal
from ...files.reading import Group, check_regular, errors_named, open_hdf5
from ...files.recordings import is_hdf5
from ...files.units import COMMON, find_unit
from .maxwell import is_maxwell, read_maxwell
from .mcs import PROTOCOL, read_mcs
from .own import read_own
from .parts import Choice
from .recording import Recording
from .table import read_table
from .writer import FORMAT

ALLOWED = "a jaxcardio recording, an HDF5 file of Multi Channel Systems or of MaxWell, or a table of text"
OTHERS = {"3BData": "a 3Brain BRW file", "3BRecInfo": "a 3Brain BRW file", "TOC": "a 3Brain BRW file"}
"""What else a file can be by a name in its root."""


def load(path: str | Path, choice: Choice) -> Recording:
    """The recording of a file, read by the reader of its layout; see `Recording.load`."""
    _check_choice(choice)
    with errors_named(path):
        check_regular(path)
    if not is_hdf5(path):
        return read_table(Path(path), choice)
    with open_hdf5(path) as file:
        read = _reader(file)
    with errors_named(path):
        return read(Path(path), choice)


def _reader(file: Group):
    if file.has_attribute("format"):
        found = file.text("format")
        if found == FORMAT:
            return read_own
        raise ValueError(f"an HDF5 file of format {found[:60]!r}; allowed: {ALLOWED}")
    if file.has_attribute(PROTOCOL):
        return read_mcs
    names = file.names()
    if is_maxwell(names):
        return read_maxwell
    other = next((f", {OTHERS[name]}" for name in names if name in OTHERS), "")
    raise ValueError(f"an HDF5 file with {', '.join(names[:8]) or 'nothing in it'}{other}; allowed: {ALLOWED}")


def _check_choice(choice: Choice) -> None:
    for name in ("stream", "recording"):
        value = getattr(choice, name)
        if isinstance(value, bool) or (isinstance(value, int) and value < 0):
            raise refusal(name, value, "", "a name, or a number from 0")
    known = None if choice.unit is None else find_unit(choice.unit)
    if choice.unit is not None and (known is None or known.quantity != "potential"):
        raise refusal("unit", choice.unit, "", COMMON["potential"])
    check("sampling_rate", choice.sampling_rate, "Hz", "finite, > 0 Hz", lambda x: np.isfinite(x) & (x > 0))
