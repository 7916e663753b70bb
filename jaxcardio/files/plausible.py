"""What potentials of heart cells can look like: enough to tell mV from V and ms from s.

A cell's potential lies within 300 mV; it beats no faster than every 10 ms and no slower than once a minute; nobody
samples it faster than every microsecond. What lies outside was meant in another unit.
"""

import numpy as np

LARGEST = 300.0
"""mV. Artefacts in fewer than 1 % of the samples may be larger."""
SMALLEST = 0.3
"""mV: potentials that are all smaller are in V. Those that are all 0 are 0 in any unit."""
CLEARLY = 5.0
"""Without a unit, the largest potential must be at least so many mV to be taken for mV."""
COUNTS = 2**15
"""Without a unit, numbers up to this may be those of a digitiser."""
AMPLIFIER = 1e4
"""mV: no amplifier gives more; a number beyond it stands for a missing sample."""
FASTEST, SLOWEST = 10.0, 60_000.0
"""Cycle lengths, ms."""
SHORTEST, LONGEST = 2e-3, 50.0
"""Sampling intervals (ms) that a missing unit is inferred from."""
LATEST = 1e15
"""ms. The milliseconds since 1970 are a thousandth of it; beyond it two samples cannot be told apart."""
INTERVAL = 1e-3
"""Shortest sampling interval, ms."""
BEAT = 20.0
"""Smallest rise that may be a beat, mV."""
SAMPLES = 50
"""Samples of the shortest cycle that is looked at: noise crosses its own range faster."""
MANY = 1_000_000
"""Samples that are looked at, at most."""


def _bulk(V: np.ndarray) -> tuple[float, float]:
    """Lowest and highest potential without the 0.5 % at either end; (0, 0) of no finite number."""
    flat = np.ravel(V)
    flat = flat[:: max(1, flat.size // MANY)].astype(np.float64)
    flat = flat[np.isfinite(flat)]
    if flat.size == 0:
        return 0.0, 0.0
    low, high = np.quantile(flat, [0.005, 0.995])
    return float(low), float(high)


def potential_problem(V: np.ndarray) -> str | None:
    """Why these cannot be potentials of a cell in mV, or None."""
    low, high = _bulk(V)
    largest = max(abs(low), abs(high))
    if largest > LARGEST:
        return f"V from {low:.4g} to {high:.4g} mV; allowed: -{LARGEST:g} to {LARGEST:g} mV (is it in another unit?)"
    if 0 < largest < SMALLEST:
        return f"V from {low:.4g} to {high:.4g} mV; allowed: more than {SMALLEST:g} mV at its largest (is it in V?)"
    return None


def beyond(V: np.ndarray) -> int | None:
    """Place, in `V.ravel()`, of a finite number that no amplifier gives, or None."""
    with np.errstate(invalid="ignore"):
        if np.fmax.reduce(V, axis=None, initial=0) <= AMPLIFIER and np.fmin.reduce(V, axis=None, initial=0) >= (
            -AMPLIFIER
        ):
            return None
    wrong = np.flatnonzero(np.isfinite(V) & (np.abs(V) > AMPLIFIER))
    return int(wrong[0]) if wrong.size else None


def infer_potential_unit(V: np.ndarray) -> tuple[str | None, str]:
    """The unit that values without one must be in (None: it could be either), and their range as text."""
    low, high = _bulk(V)
    said, largest = f"{low:.4g} to {high:.4g}", max(abs(low), abs(high))
    if largest == 0 or CLEARLY <= largest <= LARGEST:
        return "mV", said
    if CLEARLY / 1e3 <= largest <= LARGEST / 1e3:
        return "V", said
    if COUNTS < largest <= LARGEST * 1e3:
        return "uV", said
    return None, said


def _cycle(ts: np.ndarray, V: np.ndarray) -> tuple[float, float] | None:
    """The shortest and the longest that the usual cycle in V (T,) can be; None where nothing is seen to beat."""
    ts, V = ts[:MANY], V[:MANY].astype(np.float64)
    seen = np.isfinite(V)
    ts, V = ts[seen], V[seen]
    if V.size < SAMPLES:
        return None
    low, high = np.quantile(V, [0.005, 0.995])
    if high - low < BEAT:
        return None
    side = np.where(low + 0.6 * (high - low) < V, 1, np.where(low + 0.3 * (high - low) > V, -1, 0))
    decided = np.flatnonzero(side)
    turns = np.diff(side[decided])
    rises, falls = decided[1:][turns > 0], decided[1:][turns < 0]
    if rises.size > 1:
        cycle = float(np.median(np.diff(ts[rises])))
        return (cycle, cycle) if np.median(np.diff(rises)) >= SAMPLES else None
    falls = falls[falls > rises[0]] if rises.size else falls[:0]
    if falls.size == 0 or V.size < 2 * SAMPLES:
        return None
    return float(ts[falls[0]] - ts[rises[0]]), float(ts[-1] - ts[0])


def _cycles(ts: np.ndarray, V: np.ndarray) -> tuple[float, float] | None:
    """Of the first cell, of a few, that beats."""
    found = (_cycle(ts, row) for row in np.atleast_2d(V)[:3])
    return next((x for x in found if x is not None), None)


def time_problem(ts: np.ndarray, V: np.ndarray) -> str | None:
    """Why these cannot be times in ms of potentials in mV, (T,) or (n, T), or None."""
    if ts.size < 2:
        return None
    if max(-ts[0], ts[-1]) > LATEST:
        return f"ts from {ts[0]:.4g} to {ts[-1]:.4g} ms; allowed: -{LATEST:g} to {LATEST:g} ms (is it in another unit?)"
    interval = float(np.median(np.diff(ts[:MANY])))
    if interval < (1 - 1e-6) * INTERVAL:
        return f"ts = one sample every {interval:.4g} ms; allowed: >= {INTERVAL:g} ms (is the time in s?)"
    cycle = _cycles(ts, V)
    if cycle is not None and cycle[1] < FASTEST:
        return f"ts: a beat every {cycle[1]:.4g} ms; allowed: >= {FASTEST:g} ms (is the time in s?)"
    if cycle is not None and cycle[0] > SLOWEST:
        return f"ts: a beat every {cycle[0]:.4g} ms; allowed: <= {SLOWEST:g} ms (is the time in ms or us?)"
    return None


def infer_time_unit(times: np.ndarray, V: np.ndarray) -> tuple[str | None, str]:
    """The unit, s or ms, that times without one must be in (None: it could be either), and why, as text."""
    interval = float(np.median(np.diff(times[:MANY])))
    cycle = _cycles(times, V)
    said = f"a sample every {interval:.4g}" + (f", a beat every {cycle[0]:.4g}" if cycle else "")

    def possible(factor: float) -> bool:
        beats = cycle is None or (cycle[1] * factor >= FASTEST and cycle[0] * factor <= SLOWEST)
        return beats and SHORTEST <= interval * factor <= LONGEST

    found = [unit for unit, factor in (("ms", 1.0), ("s", 1e3)) if possible(factor)]
    return (found[0] if len(found) == 1 else None), said
