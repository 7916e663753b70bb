"""Beats as a table: what was measured on the extracellular side, and the durations of the intracellular side."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ...annotations import typed
from ...arguments import refusal
from ...files.reading import check_regular, errors_named
from ..features import LEVELS

FEATURES: tuple[str, ...] = (
    "spike_width", "delay", "dV1", "dV2", "dVd", "dV1_over_dV2", "dVd_over_dV1", "dVd_over_dV2", "increase_rate",
    "decay_rate",
)  # fmt: skip
"""Paper 000, Fig. 2b: T_s and T_d in ms; heights normalised (Eq 11); ratios of heights; slopes in normalised per ms.
The signal-to-noise ratio belongs to the electrode and is not among them."""
LARGEST_FILE = 256 << 20
"""Bytes of a table of beats."""
_IN_SECONDS = ("spike_width", "delay")


class BeatTable(NamedTuple):
    """One row a beat.

    Attributes:
        features: in the order and the units of `FEATURES`; NaN where a landmark was not found.
        durations: APD10 to APD100 (`LEVELS`), ms; NaN where it does not repolarise so far.
        group: what must not be split between training and test: the recording, or the cell.
    """

    features: Float[np.ndarray, "beats features"]
    durations: Float[np.ndarray, "beats levels"]
    group: np.ndarray

    def take(self, rows: Bool[np.ndarray, " beats"] | Int[np.ndarray, " rows"]) -> "BeatTable":
        """Some of the beats, by a mask or by indices."""
        return BeatTable(self.features[rows], self.durations[rows], self.group[rows])

    @typed
    def column(self, name: str) -> Float[np.ndarray, " beats"]:
        """One feature. ValueError: an unknown name."""
        if name not in FEATURES:
            raise refusal("name", name, "", ", ".join(FEATURES))
        return self.features[:, FEATURES.index(name)]

    @property
    def is_usable(self) -> Bool[np.ndarray, " beats"]:
        """Which beats have all the features, and a delay above 0: the others have no prediction."""
        return np.isfinite(self.features).all(axis=1) & (self.column("delay") > 0)

    @property
    def is_trainable(self) -> Bool[np.ndarray, " beats"]:
        """Which beats are usable and have every duration."""
        return self.is_usable & np.isfinite(self.durations).all(axis=1)


@typed
def read_beats(path: str | Path) -> BeatTable:
    """Reads a CSV of beats in the layout of the study's published features; the group is the recording.

    Columns, by name: recording; spike_width_s, delay_s (s); dV1, dV2, dVd (normalised) and their ratios; increase_rate,
    decay_rate; APD10 to APD100 (s). Others are ignored. An empty cell is NaN. The slopes are taken as they are: in the
    published table the decay rate is dVd / (T_d - 20 ms), so per ms; the unit of the increase rate cannot be seen.

    ValueError: no such file, a column that is missing, or a cell that is no number.
    """
    with errors_named(path):
        size = check_regular(path)
        if size > LARGEST_FILE:
            raise ValueError(f"{size:.3g} bytes; allowed: a table of beats of <= {LARGEST_FILE:.3g} bytes")
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file)
            scales = {
                f"{name}_s" if name in _IN_SECONDS else name: 1e3 if name in _IN_SECONDS else 1.0 for name in FEATURES
            }
            scales |= {f"APD{k}": 1e3 for k in LEVELS}
            missing = [name for name in ("recording", *scales) if name not in (lines.fieldnames or ())]
            if missing:
                raise ValueError(f"no column {', '.join(missing)}; allowed: a table of beats, with a header")
            rows = list(lines)
        if not rows:
            raise ValueError("a header and no row; allowed: one row a beat")
        columns = [[scale * _number(row, name, k) for k, row in enumerate(rows, 2)] for name, scale in scales.items()]
    values = np.array(columns).T
    group = np.array([row["recording"] for row in rows])
    return BeatTable(values[:, : len(FEATURES)], values[:, len(FEATURES) :], group)


def _number(row: dict[str, Any], name: str, line: int) -> float:
    cell = row[name]
    try:
        return float(cell) if cell.strip() else np.nan
    except (ValueError, AttributeError):
        raise ValueError(f"row {line}, column {name}: {cell!r}; allowed: a number") from None


def folds_of(group: np.ndarray, most: int | None = None) -> list[Bool[np.ndarray, " beats"]]:
    """Masks of the beats held out in turn: each group alone, or, with more than `most` groups, that many parts of them.

    No group is ever on both sides. Groups are dealt out in sorted order, so nothing here is random.
    """
    names, index = np.unique(group, return_inverse=True)
    parts = len(names) if most is None else min(most, len(names))
    return [index % parts == k for k in range(parts)]


def joined(tables: Sequence[BeatTable]) -> BeatTable:
    """Several tables as one."""
    return BeatTable(*(np.concatenate(part) for part in zip(*tables, strict=True)))
