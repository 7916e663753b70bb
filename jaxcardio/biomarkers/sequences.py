"""What successive beats say together: alternans, capture, restitution."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Bool, Float

from ..arguments import check_number, refusal
from .action_potentials import ActionPotentials, Numbers
from .measurement import at_previous
from .sampling import namespace


class Alternans(NamedTuple):
    """Beat-to-beat alternation of APD90: its size (ms; NaN where it cannot be told), whether it counts."""

    difference: Float[Numbers, "..."]
    alternates: Bool[Numbers, "..."]


def alternans(beats: ActionPotentials, *, threshold: ArrayLike = 5.0) -> Alternans:
    """Alternation of APD90: by how much the beats of even rows differ from those of odd rows, beside a steady drift.

    The least-squares fit of APD90[n] = a + b n + (-1)^n difference / 2 to the beats that have an APD90: a linear drift
    over any number of beats leaves nothing in it. One odd beat is no alternans. So each beat is left out once, and the
    smallest of these differences is the answer; it is 0 where they do not agree in sign. It alternates when that is at
    least `threshold` (ms, > 0). Let the cell settle first, or give the last ten beats.

    NaN with fewer than two beats of even and two of odd rows, as in 2:1 block (see `capture_ratio`): then one odd beat
    and alternans look alike.
    """
    _check_has(beats, "apd90")
    check_number("threshold", threshold, "ms", "> 0", lambda x: x > 0)
    xp = namespace(beats.apd90)
    apd = xp.asarray(beats.apd90)
    row = np.arange(apd.shape[-1])
    known = xp.isfinite(apd)
    is_known = known.astype(apd.dtype)
    time, sign = (
        xp.broadcast_to(xp.asarray(x, apd.dtype), apd.shape)
        for x in (row / max(1, row.size - 1) - 0.5, 1.0 - 2.0 * (row % 2))
    )
    mean = xp.where(known, apd, 0.0).sum(axis=-1, keepdims=True) / xp.maximum(is_known.sum(axis=-1, keepdims=True), 1.0)
    apd = xp.where(known, apd - mean, 0.0)

    def without_each(x):
        """The sum over all known beats but one, for each of them."""
        x = is_known * x
        return x.sum(axis=-1, keepdims=True) - x

    others = xp.maximum(without_each(xp.ones_like(apd)), 1.0)

    def covariance(x, y):
        return without_each(x * y) - without_each(x) * without_each(y) / others

    slower, faster, mixed = covariance(time, time), covariance(sign, sign), covariance(time, sign)
    spread = slower * faster - mixed**2
    told = ((known & (sign > 0)).sum(axis=-1) >= 2) & ((known & (sign < 0)).sum(axis=-1) >= 2)
    fitted = known & told[..., None]
    difference = covariance(sign, apd) * slower - covariance(time, apd) * mixed
    difference = 2.0 * difference / xp.where(fitted, spread, 1.0)
    least = xp.where(fitted, difference, np.inf).min(axis=-1, initial=np.inf)
    most = xp.where(fitted, difference, -np.inf).max(axis=-1, initial=-np.inf)
    size = xp.where(told, xp.maximum(xp.maximum(least, -most), 0.0), np.nan)
    return Alternans(size, size >= threshold)


def capture_ratio(beats: ActionPotentials) -> Float[Numbers, "..."]:
    """Fraction of stimuli that were captured: 1, or 1/2 for 2:1 block.

    A last stimulus without a response is left out: the trace may have ended too early.
    """
    _check_has(beats, "paced", "captured", "peak")
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
    _check_has(beats, "cycle_length", "captured", "apd90")
    interval = beats.cycle_length - at_previous(beats.captured, beats.apd90)
    return Restitution(interval, beats.apd90, beats.cycle_length)


def restitution_slope(pairs: Restitution, *, resolution: ArrayLike = 1.0) -> tuple[Numbers, Numbers]:
    """Slope dAPD90/dDI between neighbours in diastolic interval, and the interval (ms) midway between them.

    Both are (..., beats - 1), NaN where two intervals lie closer than `resolution` (ms).
    """
    if not isinstance(pairs, Restitution):
        raise refusal("pairs", pairs, "", "what `restitution` gives")
    check_number("resolution", resolution, "ms", "> 0", lambda x: x > 0)
    xp = namespace(pairs.diastolic_interval, pairs.apd90)
    known = xp.isfinite(pairs.diastolic_interval) & xp.isfinite(pairs.apd90)
    order = xp.argsort(xp.where(known, pairs.diastolic_interval, np.inf), axis=-1)
    sort = partial(xp.take_along_axis, indices=order, axis=-1)
    interval, apd = sort(xp.where(known, pairs.diastolic_interval, np.nan)), sort(pairs.apd90)
    run = xp.diff(interval, axis=-1)
    apart = run >= resolution
    slope = xp.where(apart, xp.diff(apd, axis=-1) / xp.where(apart, run, 1.0), np.nan)
    return slope, xp.where(apart, (interval[..., 1:] + interval[..., :-1]) / 2, np.nan)


def _check_has(beats: Any, *names: str) -> None:
    if isinstance(beats, type) or not all(hasattr(beats, name) for name in names):
        raise refusal("beats", beats, "", "the beats that `action_potentials` gives")
