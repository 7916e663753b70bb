"""What successive beats say together: alternans, capture, restitution."""

from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ..arguments import check
from .action_potentials import ActionPotentials, Numbers
from .measurement import at_previous
from .sampling import namespace


class Alternans(NamedTuple):
    """Beat-to-beat alternation of APD90: its size (ms; NaN with fewer than two pairs of beats), whether it counts."""

    difference: Float[Numbers, "..."]
    alternates: Bool[Numbers, "..."]


def alternans(beats: ActionPotentials, *, threshold: float = 5.0) -> Alternans:
    """Alternation of APD90 from beat to beat: |mean of (-1)^n (APD90[n+1] - APD90[n])| over adjacent rows.

    Only pairs of which both beats have an APD90 count (in 2:1 block there are none: see `capture_ratio`). A steady
    drift and random variability cancel in it. It alternates when the size is at least `threshold` (ms). Let the cell
    settle first, or give the last ten beats.
    """
    check("threshold", threshold, "ms", "> 0", lambda x: x > 0)
    xp = namespace(beats.apd90)
    change = xp.diff(beats.apd90, axis=-1)
    sign = xp.asarray(1.0 - 2.0 * (np.arange(change.shape[-1]) % 2), change.dtype)
    known = xp.isfinite(change)
    pairs = known.sum(axis=-1)
    total = xp.sum(xp.where(known, change, 0.0) * xp.broadcast_to(sign, change.shape), axis=-1)
    size = xp.abs(total) / xp.maximum(pairs, 1).astype(change.dtype)
    size = xp.where(pairs >= 2, size, np.nan)
    return Alternans(size, size >= threshold)


def capture_ratio(beats: ActionPotentials) -> Float[Numbers, "..."]:
    """Fraction of stimuli that were captured: 1, or 1/2 for 2:1 block.

    A last stimulus without a response is left out: the trace may have ended too early.
    """
    if not beats.paced:
        raise ValueError("beats: spontaneous; capture_ratio needs beats measured with onsets")
    hits = beats.captured.sum(axis=-1).astype(beats.peak.dtype)
    stimuli = beats.captured.shape[-1] - 1 + beats.captured[..., -1].astype(beats.peak.dtype)
    xp = namespace(stimuli)
    return xp.where(stimuli > 0, hits / xp.maximum(stimuli, 1.0), np.nan)


class Restitution(NamedTuple):
    """One entry a beat, NaN where unknown (the first beat; after a beat that did not repolarise), ms."""

    diastolic_interval: Float[Numbers, "... beats"]
    """before the beat: cycle length minus the previous APD90"""
    apd90: Float[Numbers, "... beats"]
    cycle_length: Float[Numbers, "... beats"]


def restitution(beats: ActionPotentials) -> Restitution:
    """APD90 of each beat against the diastolic interval (and cycle length) before it."""
    interval = beats.cycle_length - at_previous(beats.captured, beats.apd90)
    return Restitution(interval, beats.apd90, beats.cycle_length)


def restitution_slope(pairs: Restitution, *, resolution: float = 1.0) -> tuple[Numbers, Numbers]:
    """Slope dAPD90/dDI between neighbours in diastolic interval, and the interval (ms) midway between them.

    Both are (..., beats - 1), NaN where two intervals lie closer than `resolution` (ms).
    """
    xp = namespace(pairs.diastolic_interval, pairs.apd90)
    known = xp.isfinite(pairs.diastolic_interval) & xp.isfinite(pairs.apd90)
    order = xp.argsort(xp.where(known, pairs.diastolic_interval, np.inf), axis=-1)
    sort = partial(xp.take_along_axis, indices=order, axis=-1)
    interval, apd = sort(xp.where(known, pairs.diastolic_interval, np.nan)), sort(pairs.apd90)
    run = xp.diff(interval, axis=-1)
    apart = run >= resolution
    slope = xp.where(apart, xp.diff(apd, axis=-1) / xp.where(apart, run, 1.0), np.nan)
    return slope, xp.where(apart, (interval[..., 1:] + interval[..., :-1]) / 2, np.nan)
