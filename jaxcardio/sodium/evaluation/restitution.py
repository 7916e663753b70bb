"""APD90 restitution, S1-S2 and dynamic, at the step that is evaluated and converged."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...biomarkers import action_potentials, action_potentials_from
from ...cell import dtype_of
from ...models import Skibsbye2016
from ...protocols import PulseTrain, dynamic_restitution
from .pacing import AMPLITUDE, DURATION, Stepping, converged, pulses, remembered
from .table import Experiment, Row, largest

NAME = "restitution"
WITHIN = 3.0
"""Bar, ms."""
S1_BEATS, DYNAMIC_BEATS = 10, 10
"""Most beats before the S2, and at each cycle length."""
S1_PERIOD = 1000.0
SEEN = 2
"""Beats that are measured at each cycle length, the last ones: two show alternans."""


class Curves(NamedTuple):
    """APD90 in ms; NaN where there is no beat that repolarises before the next stimulus."""

    intervals: np.ndarray
    """S1-S2 intervals and cycle lengths, ms, (intervals,)."""
    s1_s2: np.ndarray
    """(intervals,)"""
    dynamic: np.ndarray
    """The last two beats at each cycle length, (intervals, 2)."""


class Restitution(NamedTuple):
    """Both."""

    found: Curves
    reference: Curves


def restitution(
    hybrid: Skibsbye2016, reference: Skibsbye2016, stepping: Stepping, beats: int, intervals: tuple[float, ...]
) -> Experiment:
    """How APD90 follows the interval, beside the reference."""
    true = reference_curves(reference, beats, intervals)
    found = curves(hybrid, stepping, beats, intervals)
    rows = []
    for what, one, other in (("S1-S2", found.s1_s2, true.s1_s2), ("dynamic", found.dynamic, true.dynamic)):
        k = largest(one, other)
        at = intervals[k // (one.size // len(intervals))]
        rows += [
            Row(NAME, f"APD90, {what}, where most wrong", _at(one, k), _at(other, k), "ms", WITHIN, f"{at:g} ms"),
            Row(NAME, f"beats, {what}", _count(one), _count(other), "", None),
            Row(NAME, f"beats of one alone, {what}", float((np.isfinite(one) ^ np.isfinite(other)).sum()), None, "", 0),
        ]
    return Experiment(tuple(rows), Restitution(found, true))


@remembered
def reference_curves(cell: Skibsbye2016, beats: int, intervals: tuple[float, ...]) -> Curves:
    return curves(cell, converged(divided=1), beats, intervals)


def curves(cell: Skibsbye2016, stepping: Stepping, beats: int, intervals: tuple[float, ...]) -> Curves:
    """Both protocols, from the cell's own initial state. The S1 come at 1 Hz."""
    given = np.array(intervals)
    s1_s2 = _s1_s2(cell, stepping, min(beats, S1_BEATS), given)
    return Curves(given, s1_s2, _dynamic(cell, stepping, max(SEEN, min(beats, DYNAMIC_BEATS)), given))


def _s1_s2(cell: Skibsbye2016, stepping: Stepping, beats: int, intervals: np.ndarray) -> np.ndarray:
    """The S2 of all intervals at once: a population of one cell in many states."""
    last = (beats - 1) * S1_PERIOD
    order = np.sort(np.unique(intervals))
    end = last + max(float(order[-1]), S1_PERIOD)
    train = PulseTrain(AMPLITUDE, DURATION, S1_PERIOD, 0.0, beats)
    trace = stepping.run(cell, train, end, save_at=last + order)
    chosen = np.searchsorted(order, intervals)
    y0 = jax.tree.map(lambda x: jnp.asarray(x)[chosen], trace.ys)
    several = cell.replace(g_Na=jnp.full(len(intervals), cell.g_Na, dtype_of(cell)))
    s2 = stepping.run(several, pulses(S1_PERIOD), S1_PERIOD, y0=y0, save_every=stepping.samples, outputs=["V"])
    beats_of = action_potentials(s2)
    return np.asarray(_apd90(beats_of))[:, 0]


def _dynamic(cell: Skibsbye2016, stepping: Stepping, beats: int, periods: np.ndarray) -> np.ndarray:
    """So many beats at each cycle length in turn, longest first; the last two of each."""
    descending = -np.sort(-periods)
    protocol = dynamic_restitution(AMPLITUDE, DURATION, descending.tolist(), beats)
    ends = beats * np.cumsum(descending)
    windows = [np.arange(e - SEEN * p, e - 1e-6, stepping.samples) for e, p in zip(ends, descending, strict=True)]
    trace = stepping.run(cell, protocol, float(ends[-1]), save_at=np.concatenate(windows), outputs=["V"])
    ts, V = np.asarray(trace.ts), np.asarray(trace.ys.V)
    found: dict[float, Any] = {}
    for period, window in zip(descending, windows, strict=True):
        here = slice(*np.searchsorted(ts, [window[0] - 1e-6, window[-1] + 1e-6]))
        onsets = window[0] + period * np.arange(SEEN)
        found[float(period)] = np.asarray(_apd90(action_potentials_from(ts[here], V[here], onsets=onsets)))
    return np.array([found[float(p)] for p in periods])


def _apd90(beats: Any) -> np.ndarray:
    """APD90 of beats that were captured and repolarised, ms; NaN of the others."""
    return np.where(np.asarray(beats.valid & beats.repolarised), np.asarray(beats.apd90), np.nan)


def _at(x: np.ndarray, k: int) -> float:
    return float(x.ravel()[k])


def _count(x: np.ndarray) -> float:
    return float(np.isfinite(x).sum())
