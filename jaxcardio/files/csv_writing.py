"""Tables of numbers as text, as `csv_tables` and every other program read them."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .writing import write_lines


class Quantity(NamedTuple):
    """A name, its unit ("1": none), and values (time,), or (n, time) of n cells."""

    name: str
    unit: str
    values: np.ndarray


def write_columns(path: str | Path, quantities: Sequence[Quantity]) -> None:
    """One row a time, one column a quantity, or a quantity and cell: `t_ms,V_mV` or `t_ms,V_mV_0,V_mV_1`.

    Numbers have as many digits as it takes to read the same ones again; the file is written whole or not at all.
    """
    header, columns = [], []
    for name, unit, values in quantities:
        title = name if unit == "1" else f"{name}_{unit.replace('/', '_per_')}"
        rows = np.atleast_2d(np.asarray(values))
        header += [title] if np.ndim(values) < 2 else [f"{title}_{k}" for k in range(len(rows))]
        columns += list(rows)
    table = np.stack(columns, axis=1, dtype=np.float64)

    write_lines(path, chain([",".join(header)], (",".join(map(repr, row.tolist())) for row in table)))
