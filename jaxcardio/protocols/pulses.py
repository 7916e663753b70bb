"""Stimuli of rectangular pulses: trains, and pulses at given times."""

import math
from collections.abc import Sequence

import equinox as eqx
import numpy as np

from ..arguments import check, is_traced
from ..clock import LATEST, RESOLUTION, check_time, inside
from .base import (
    FINITE,
    LENGTH,
    MOST,
    TIME,
    AbstractProtocol,
    Kind,
    Number,
    at_edges,
    check_count,
    check_kind,
    check_number,
    check_numbers,
    from_zero,
    like,
    namespace,
    number,
    sequence,
    spanned,
    starting,
    times_of,
    unit_of,
)
from .commands import Constant

# `kind` is abstract, and a field of the concrete protocols: Equinox allows it, pyright does not know.
# pyright: reportIncompatibleMethodOverride=false


class PulseTrain(AbstractProtocol):
    """Rectangular pulses: `amplitude` (pA/pF, depolarising negative) for `duration` ms every `period` ms from `start`.

    `count` limits the number of pulses (default: no limit). With a period of inf there is one.
    """

    amplitude: Number = eqx.field(converter=number)
    duration: Number = eqx.field(converter=number)
    period: Number = eqx.field(converter=number)
    start: Number = eqx.field(default=0.0, converter=number)
    count: float = eqx.field(default=np.inf, converter=number)
    kind: Kind = eqx.field(static=True, default="current")

    def __check_init__(self):
        check_kind(self.kind)
        _check_pulse(self.amplitude, self.duration, self.kind)
        check_number("start", self.start, "ms", *TIME)
        check_number("count", self.count, "pulses", ">= 1, whole or inf", lambda x: (x >= 1) & (x == np.floor(x)))
        least = 0.0 if is_traced(self.duration) else self.duration
        allowed = f"> duration = {self.duration} ms, by more than {RESOLUTION:g} ms; inf for one pulse"
        check_number("period", self.period, "ms", allowed, lambda x: x - least > RESOLUTION)

    def value(self, t):
        xp = namespace(self, t)
        since = at_edges(xp, xp.asarray(t) - self.start)
        beat = xp.floor(since / self.period)
        begun = since - beat * xp.where(xp.isinf(self.period), 0.0, self.period)
        on = (since >= 0) & (beat < self.count) & (begun < self.duration)
        return xp.where(on, self.amplitude, 0.0 * self.amplitude)

    @spanned
    def edges(self, t0, t1):
        (duration,) = times_of(self, self.duration)
        onsets = self._onsets(t0, t1, "pulses")
        return inside(np.concatenate([onsets, onsets + duration]), t0, t1)

    @spanned
    def onsets(self, t0, t1):
        return starting(self._onsets(t0, t1, "onsets"), t0, t1)

    @spanned
    def corners(self, t0, t1):
        return np.zeros(0)

    def shortest(self):
        return float(times_of(self, self.duration)[0])

    def since(self, t0):
        check_time("t0", t0)
        if t0 == 0:
            return self
        if is_traced(self.start, self.period, self.duration, self.count):
            return super().since(t0)
        start, period, duration = (float(x) for x in (self.start, self.period, self.duration))
        count = min(float(self.count), 1.0) if np.isinf(period) else float(self.count)
        start = start - t0
        if start < 0:
            phase = math.fmod(-start, period)  # exact: the last pulse began so long before t0
            passed = round((-start - phase) / period)
            start = -phase
            if phase >= duration - RESOLUTION:
                passed, start = passed + 1, period - phase
            count -= passed
        if count <= 0 or start > 2 * LATEST:
            return Constant(0.0 * self.amplitude, self.kind)
        if start > LATEST:
            return super().since(t0)
        return PulseTrain(self.amplitude, self.duration, self.period, float(from_zero(start)), count, self.kind)

    def _onsets(self, t0, t1, what):
        """The onsets from t0 to t1, at least one before t0 if there is one, and perhaps one or two beyond."""
        start, period, count = times_of(self, self.start, self.period, self.count)
        first = max(0.0, np.floor((t0 - start) / period) - 1)
        last = min(1.0 if np.isinf(period) else count, np.ceil((t1 - start) / period) + 1)
        check_count("period", period, last - first, what, t0, t1)
        beats = np.arange(first, last)
        return start + (0.0 if np.isinf(period) else period) * beats


class Pulses(AbstractProtocol):
    """Equal rectangular pulses at the given ascending `times` (ms): S1-S2, dynamic pacing, irregular trains."""

    amplitude: Number = eqx.field(converter=number)
    duration: Number = eqx.field(converter=number)
    times: Number = eqx.field(converter=sequence)
    kind: Kind = eqx.field(static=True, default="current")

    def __check_init__(self):
        check_kind(self.kind)
        _check_pulse(self.amplitude, self.duration, self.kind)
        check_numbers("times", self.times, "ms", "at least one, in a list", lambda x: x.ndim == 1 and x.size > 0)
        least = RESOLUTION + (0.0 if is_traced(self.duration) else self.duration)
        allowed = f"finite, ascending and more than duration = {self.duration} ms apart, within +-{LATEST:.4g}"
        check("times", self.times, "ms", allowed, lambda x: TIME[1](x) and (np.diff(x) > least).all())

    def value(self, t):
        xp = namespace(self, t)
        t, times = at_edges(xp, xp.asarray(t)), xp.asarray(self.times)
        k = xp.searchsorted(times, t, side="right") - 1
        on = (k >= 0) & (t - times[xp.maximum(k, 0)] < self.duration)
        return xp.where(on, self.amplitude, 0.0 * self.amplitude)

    @spanned
    def edges(self, t0, t1):
        times, duration = times_of(self, self.times, self.duration)
        return inside(np.concatenate([times, times + duration]), t0, t1)

    @spanned
    def onsets(self, t0, t1):
        return starting(times_of(self, self.times)[0], t0, t1)

    @spanned
    def corners(self, t0, t1):
        return np.zeros(0)

    def shortest(self):
        return float(times_of(self, self.duration)[0])

    def since(self, t0):
        check_time("t0", t0)
        if t0 == 0:
            return self
        if is_traced(self.times, self.duration):
            return super().since(t0)
        times, duration = times_of(self, self.times, self.duration)
        left = times[times + duration > t0 + RESOLUTION] - t0
        if left.size == 0:
            return Constant(0.0 * self.amplitude, self.kind)
        if left[-1] > LATEST:
            return super().since(t0)
        return Pulses(self.amplitude, self.duration, like(from_zero(left), self.times), self.kind)


def s1_s2(
    amplitude: float, duration: float, s1_period: float, s1_count: int, s2_interval: float, start: float = 0.0
) -> Pulses:
    """`s1_count` conditioning pulses `s1_period` ms apart, then one premature pulse `s2_interval` ms after the last."""
    check_number("duration", duration, "ms", *LENGTH)
    check_number("start", start, "ms", *TIME)
    _check_repeats("s1_count", s1_count, "pulses")
    for name, interval in (("s1_period", s1_period), ("s2_interval", s2_interval)):
        check_number(name, interval, "ms", f"> duration = {duration} ms", lambda x: duration < x <= LATEST)
    s1 = start + s1_period * np.arange(s1_count)
    return Pulses(amplitude, duration, np.append(s1, s1[-1] + s2_interval))


def dynamic_restitution(
    amplitude: float, duration: float, periods: Sequence[float], beats: int, start: float = 0.0
) -> Pulses:
    """`beats` pulses at each of `periods` (ms) in turn: the dynamic restitution protocol."""
    check_number("duration", duration, "ms", *LENGTH)
    check_number("start", start, "ms", *TIME)
    allowed = f"each > duration = {duration} ms, to {LATEST:.4g}, at least one"
    check_numbers(
        "periods",
        periods,
        "ms",
        allowed,
        lambda x: x.ndim == 1 and x.size > 0 and ((x > duration) & (x <= LATEST)).all(),
    )
    _check_repeats("beats", beats, "pulses a period")
    intervals = np.repeat(np.asarray(periods, float), int(beats))
    return Pulses(amplitude, duration, start + np.concatenate([[0.0], np.cumsum(intervals)[:-1]]))


def _check_pulse(amplitude, duration, kind: Kind):
    check_number("amplitude", amplitude, unit_of(kind), *FINITE)
    check_number("duration", duration, "ms", *LENGTH)


def _check_repeats(name: str, count, unit: str):
    check_number(name, count, unit, f">= 1, whole, to {MOST:.0e}", lambda x: (1 <= x <= MOST) and x == np.floor(x))
