"""The ranges of real recordings beside those of synthetic pairs."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..annotations import typed
from ..arguments import refusal
from ..text_tables import text_table
from .features import COLUMNS, as_table, eap_features
from .pairs import LEVELS, Pairs

DELAY = COLUMNS.index("delay_s")
CORRELATED = (50, 60, 70, 80, 90)
"""Levels of the correlation of the delay with the APD, %."""
REAL: Mapping[str, tuple[float, float]] = {
    "spike_width_s": (0.008, 0.020),
    "delay_s": (0.4, 0.9),
    "dV1_over_dV2": (1.0, 5.0),
    "dVd_over_dV1": (0.1, 0.6),
    "signal_to_noise": (20.0, 70.0),
}
"""Between which real recordings lie, of doi 10.1038/s41467-024-55571-6; those of the delay are of its doses."""
REAL_CORRELATION = (0.91, 0.97)
"""Of the delay with APD50 to APD90."""


class Range(NamedTuple):
    """One feature: 5, 50 and 95 % of the pairs lie below; and of recorded beats, where their table was given."""

    name: str
    real: tuple[float, float]
    synthetic: tuple[float, float, float]
    recorded: tuple[float, float, float] | None


class Ranges(NamedTuple):
    features: tuple[Range, ...]
    correlations: tuple[Range, ...]
    """Of the delay with the APD at the levels of `CORRELATED`; three times the same number."""
    with_wave: float
    """Share of the pairs whose repolarisation wave stands out of the noise; the others have no delay."""

    def __str__(self) -> str:
        def three(x) -> str:
            return "" if x is None else (f"{x[0]:.3g}" if x[0] == x[2] else f"{x[0]:.3g} / {x[1]:.3g} / {x[2]:.3g}")

        rows = [
            [r.name, f"{r.real[0]:g} to {r.real[1]:g}", three(r.synthetic), three(r.recorded)]
            for r in (*self.features, *self.correlations)
        ]
        table = text_table(["feature", "real", "pairs (5 / 50 / 95 %)", "recorded (5 / 50 / 95 %)"], rows)
        return f"{table}\nrepolarisation wave found in {100 * self.with_wave:.0f} % of the pairs"


@typed
def ranges(pairs: Pairs, recorded: str | Path | None = None) -> Ranges:
    """Features of pairs beside the published ranges and, where the table is at hand, beside recorded beats.

    Args:
        pairs: synthetic ones.
        recorded: a CSV of one row a beat with the columns of `features.COLUMNS` and APD10 to APD100 (s).

    ValueError: a file that is not there, or lacks a column.
    """
    features = np.asarray(as_table(eap_features(pairs.eap, pairs.sampling_rate)), np.float64)
    mine = _quantiles(features), _correlations(features, pairs.apd)
    table = None if recorded is None else _read(recorded)
    theirs = None if table is None else (_quantiles(table[0]), _correlations(*table))
    found = tuple(
        Range(name, REAL[name], mine[0][k], None if theirs is None else theirs[0][k])
        for k, name in enumerate(COLUMNS)
        if name in REAL
    )
    correlations = tuple(
        Range(f"r(delay, APD{level})", REAL_CORRELATION, (r,) * 3, None if theirs is None else (theirs[1][k],) * 3)
        for k, (level, r) in enumerate(zip(CORRELATED, mine[1], strict=True))
    )
    return Ranges(found, correlations, float(np.isfinite(features[:, DELAY]).mean()))


def _quantiles(features: Float[np.ndarray, "beat feature"]) -> list[tuple[float, float, float]]:
    return [_three(column[np.isfinite(column)]) for column in features.T]


def _three(column: np.ndarray) -> tuple[float, float, float]:
    if not column.size:
        return (np.nan,) * 3
    low, middle, high = np.quantile(column, [0.05, 0.5, 0.95])
    return float(low), float(middle), float(high)


def _correlations(features: Float[np.ndarray, "beat feature"], apd: Float[np.ndarray, "beat level"]) -> list[float]:
    found = []
    for level in CORRELATED:
        both = np.stack([features[:, DELAY], apd[:, LEVELS.index(level)]])
        both = both[:, np.isfinite(both).all(0)]
        found.append(float(np.corrcoef(both)[0, 1]) if both.shape[1] > 2 else np.nan)
    return found


def _read(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Features and APDs (ms) of a table of beats."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        features = np.array([[float(row[name]) for name in COLUMNS] for row in rows])
        apd = np.array([[1000 * float(row[f"APD{level}"]) for level in LEVELS] for row in rows])
    except OSError as error:
        raise refusal("recorded", path, "", f"a file that can be read ({error.strerror})") from None
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"recorded = {path}: no table of beats ({error})") from None
    if not rows:
        raise ValueError(f"recorded = {path}: no rows; allowed: a table of beats")
    return features, apd
