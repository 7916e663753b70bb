"""One cell whose samples are known, in NumPy: nothing is compiled, and the times are those of the host."""

from functools import partial

import numpy as np

from .detection import NONE, Positions, Spans, beat_spans, find_landmarks, find_rises, first_falls
from .measurement import durations, equal_slopes, measure, steepest_into
from .sampling import Stimuli, even_samples, relative, sample_from


def of_one_cell(ts, V, stimuli: Stimuli | None, threshold, limits, max_beats, window, levels) -> dict:
    """Every field of `ActionPotentials`, (beats,), as `measurement.measure` gives them."""
    if not np.isfinite(V).all():
        V = np.zeros_like(V)  # a failed cell has no beats
    rises = find_rises(V, even_samples(ts), threshold, limits["min_amplitude"])
    rows = max_beats or max(1, int(rises.begun[-1]))
    spans = beat_spans(rises, stimuli, rows if stimuli is None else len(stimuli.sample))
    longest = window or V.size
    times = relative(ts, V.dtype)
    slope = np.append((V[1:] - V[:-1]) / times.dt, -np.inf)
    equal = partial(equal_slopes, times, abs(V).max())
    options = {"levels": levels, "paced": stimuli is not None, "ead_rise": limits["ead_rise"]}

    def late_from(upstroke):
        return sample_from(ts, ts[upstroke] + limits["ead_after"])

    at = np.zeros((len(spans.rise), len(Positions._fields)), np.int32)
    falls = np.full((len(spans.rise), len(levels)), NONE)
    ead = np.zeros(len(spans.rise), bool)
    for k in np.flatnonzero(spans.captured):
        span = Spans(*(x[k].item() for x in spans))
        beat = slice(span.start, min(span.end, span.start + longest))
        at[k], found, ead[k] = find_landmarks(V[beat], slope[beat], equal, late_from, span, span.start, **options)
        falls[k] = np.minimum(found, NONE)
    return measure(times, V, spans, Positions(*at.T), falls, ead, levels, limits)


def apd_of_one_cell(ts, V, positions: Positions, valid, level) -> np.ndarray:
    """APD at one more level, (beats,), from the positions already found."""
    apd = np.full(valid.shape, np.nan, V.dtype)
    beats = np.flatnonzero(valid)
    at = Positions(*(x[beats] for x in positions))
    falls = np.array([_first_fall(V, Positions(*x), level) for x in zip(*at, strict=True)], np.int32).reshape(-1, 1)
    times = relative(ts, V.dtype)
    into = steepest_into(times, V, at.upstroke)
    apd[beats] = durations(times, V, at, into, falls, np.full((1, 1), level, V.dtype))[:, 0]
    return apd


def _first_fall(V, at: Positions, level):
    beat = V[at.rest : at.end]
    return min(first_falls(beat, 0, at.peak - at.rest, at.end - at.rest, (level,))[0] + at.rest, NONE)
