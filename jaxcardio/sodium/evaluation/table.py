"""What an evaluation found: rows that read like a table, and the curves behind them."""

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np

from ...annotations import typed
from ...arguments import refusal
from ...files.writing import Where, write_text
from ...models import Skibsbye2016
from ...text_tables import text_table


class Row(NamedTuple):
    """One number of the evaluated cell beside the reference's."""

    experiment: str
    name: str
    value: float
    """NaN where it could not be measured."""
    reference: float | None
    """None where the number is itself a distance from the reference, as an RMSE is."""
    unit: str
    bar: float | None = None
    """Largest difference that is good; None where none is asked."""
    at: str = ""
    """Where the largest difference is, e.g. "-20 mV"."""

    @property
    def difference(self) -> float:
        """value - reference, or the value where that is a distance already."""
        return self.value if self.reference is None else self.value - self.reference

    @property
    def met(self) -> bool | None:
        """Whether the difference is within the bar; what is NaN is not. None without a bar."""
        return None if self.bar is None else bool(abs(self.difference) <= self.bar)


class Experiment(NamedTuple):
    """The rows of one experiment, and its curves for figures."""

    rows: tuple[Row, ...]
    curves: Any


class Evaluation(eqx.Module):
    """A cell with some sodium gating, at one step, beside the reference: `print` it, or take its `rows`.

    `curves` has what each experiment measured, by its name, for `jaxcardio.plot.sodium`.
    """

    rows: tuple[Row, ...]
    curves: dict[str, Any]
    cell: Skibsbye2016
    dt: float
    solver: str
    beats: int
    cycle_length: float
    precision: str

    @property
    def met(self) -> bool:
        """Whether every row that has a bar is within it."""
        return all(row.met is not False for row in self.rows)

    @typed
    def row(self, name: str, experiment: str | None = None) -> Row:
        """The row of this name; of one experiment where several have it. ValueError: there is none."""
        found = [row for row in self.rows if row.name == name and experiment in (None, row.experiment)]
        if not found:
            asked = name if experiment is None else f"{name} of experiment {experiment}"
            known = ", ".join(dict.fromkeys(row.name for row in self.rows))
            raise refusal("name", asked, "", known or "none: there are no rows")
        return found[0]

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"{self._heading()}\n{text_table([HEADINGS, *map(_texts, self.rows)], left=2)}"

    def _heading(self) -> str:
        gating = type(self.cell.sodium).__name__
        pacing = f"{self.beats} beats every {self.cycle_length:g} ms"
        return f"{gating}, {self.solver}, dt = {self.dt:g} ms, {self.precision}, {pacing}"

    def as_json(self) -> dict[str, Any]:
        """The settings and the rows, of plain numbers and texts; what is not finite is None."""
        return {
            "gating": type(self.cell.sodium).__name__,
            "dt_ms": self.dt,
            "solver": self.solver,
            "precision": self.precision,
            "beats": self.beats,
            "cycle_length_ms": self.cycle_length,
            "met": self.met,
            "rows": [
                {k: _plain(x) for k, x in row._asdict().items()}
                | {"difference": _plain(row.difference), "met": row.met}
                for row in self.rows
            ],
        }

    def save(self, path: Where) -> None:
        """Writes `as_json` as a file, whole or not at all."""
        write_text(path, json.dumps(self.as_json(), indent=1) + "\n")


HEADINGS = ("experiment", "what", "value", "reference", "difference", "bar", "met", "unit", "at")


def _texts(row: Row) -> tuple[str, ...]:
    met = {None: "", True: "yes", False: "no"}[row.met]
    numbers = (_text(row.value), _text(row.reference), _text(row.difference), _text(row.bar))
    return (row.experiment, row.name, *numbers, met, row.unit, row.at)


def _text(x: float | None) -> str:
    """Four digits, or three decimals of what is large."""
    if x is None:
        return ""
    if not math.isfinite(x):
        return "-"
    return f"{x:.2f}" if abs(x) >= 10 else f"{x:.4f}" if abs(x) >= 1e-3 or x == 0 else f"{x:.1e}"


def _plain(x: Any) -> Any:
    return None if isinstance(x, float) and not math.isfinite(x) else x


def largest(found: np.ndarray, true: np.ndarray) -> int:
    """Where two arrays differ most, in the flat order; where `true` is largest if they nowhere do.

    What is NaN in either counts for nothing.
    """
    difference = np.nan_to_num(np.abs(np.asarray(found, float) - np.asarray(true, float)).ravel(), nan=-1.0)
    return int(np.argmax(difference if difference.max() > 0 else np.nan_to_num(np.abs(np.ravel(true)))))


def rms(differences: Sequence[float] | np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(np.asarray(differences, float)))))
