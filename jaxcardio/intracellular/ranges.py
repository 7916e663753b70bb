"""The ranges of real recordings beside those of synthetic pairs."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..annotations import typed
from ..text_tables import text_table
from .baseline.table import FEATURES, read_beats
from .features import COLUMNS, LEVELS, as_table, eap_features
from .pairs import Pairs

DELAY = COLUMNS.index("delay_s")
NAMES = tuple(name.removesuffix("_s") for name in COLUMNS)
SCALES = np.array([1000.0 if name.endswith("_s") else 1.0 for name in COLUMNS])
"""Columns of `COLUMNS` in the table of recorded beats, and from whose units to theirs."""
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
            return (
                ""
                if x is None or np.isnan(x[0])
                else (f"{x[0]:.3g}" if x[0] == x[2] else f"{x[0]:.3g} / {x[1]:.3g} / {x[2]:.3g}")
            )

        rows = [
            [r.name, f"{r.real[0]:g} to {r.real[1]:g}", three(r.synthetic), three(r.recorded)]
            for r in (*self.features, *self.correlations)
        ]
        table = text_table([["feature", "real", "pairs (5 / 50 / 95 %)", "recorded (5 / 50 / 95 %)"], *rows])
        return f"{table}\nrepolarisation wave found in {100 * self.with_wave:.0f} % of the pairs"


@typed
def ranges(pairs: Pairs, recorded: str | Path | None = None) -> Ranges:
    """Features of pairs beside the published ranges and, where the table is at hand, beside recorded beats.

    Args:
        pairs: synthetic ones.
        recorded: a CSV of one row a beat, see `baseline.table.read_beats`, whose S/N it leaves out.

    ValueError: a file that is not there, or is no such table.
    """
    features = np.asarray(as_table(eap_features(pairs.eap, pairs.sampling_rate)), np.float64)
    features[:, COLUMNS.index("signal_to_noise")] = (
        pairs.signal_to_noise
    )  # at any sampling rate the same, see `noise_level`
    mine = _quantiles(features), _correlations(features[:, DELAY], pairs.apd)
    theirs = None
    if recorded is not None:
        beats = read_beats(recorded)
        columns = [beats.column(name) if name in FEATURES else np.full(len(beats.group), np.nan) for name in NAMES]
        theirs = _quantiles(np.stack(columns, axis=1) / SCALES), _correlations(beats.column("delay"), beats.durations)
    found = tuple(
        Range(name, REAL[name], mine[0][k], None if theirs is None else theirs[0][k])
        for k, name in enumerate(COLUMNS)
        if name in REAL
    )
    correlations = tuple(
        Range(f"r(delay, APD{level})", REAL_CORRELATION, _alike(r), None if theirs is None else _alike(theirs[1][k]))
        for k, (level, r) in enumerate(zip(CORRELATED, mine[1], strict=True))
    )
    return Ranges(found, correlations, float(np.isfinite(features[:, DELAY]).mean()))


def _alike(r: float) -> tuple[float, float, float]:
    return r, r, r


def _quantiles(features: Float[np.ndarray, "beat feature"]) -> list[tuple[float, float, float]]:
    return [_three(column[np.isfinite(column)]) for column in features.T]


def _three(column: np.ndarray) -> tuple[float, float, float]:
    if not column.size:
        return np.nan, np.nan, np.nan
    low, middle, high = np.quantile(column, [0.05, 0.5, 0.95])
    return float(low), float(middle), float(high)


def _correlations(delay: Float[np.ndarray, " beat"], apd: Float[np.ndarray, "beat level"]) -> list[float]:
    found = []
    for level in CORRELATED:
        both = np.stack([delay, apd[:, LEVELS.index(level)]])
        both = both[:, np.isfinite(both).all(0)]
        found.append(float(np.corrcoef(both)[0, 1]) if both.shape[1] > 2 else np.nan)
    return found
