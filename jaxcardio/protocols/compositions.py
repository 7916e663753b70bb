"""Protocols made of protocols: one after the other, added, repeated."""

import math

import equinox as eqx
import numpy as np

from ..arguments import is_traced
from ..clock import LATEST, RESOLUTION, check_time, inside, merge
from .base import (
    TIME,
    AbstractProtocol,
    Number,
    at_edges,
    check_count,
    check_number,
    check_part,
    from_zero,
    namespace,
    number,
    spanned,
    starting,
    times_of,
)

# `kind` is abstract, and a property of the concrete protocols: Equinox allows it, pyright does not know.
# pyright: reportIncompatibleMethodOverride=false


class Then(AbstractProtocol):
    """`first` until time `at` (ms), then `second`, whose own time starts there."""

    first: AbstractProtocol
    second: AbstractProtocol
    at: Number = eqx.field(converter=number)

    @property
    def kind(self):
        return self.first.kind

    def __check_init__(self):
        _check_parts(self.first, self.second)
        check_number("at", self.at, "ms", *TIME)

    def value(self, t):
        xp = namespace(self, t)
        t = xp.asarray(t)
        after = np.maximum(t - self.at, 0.0) if xp is np else t - self.at
        return xp.where(at_edges(xp, t) < self.at, self.first.value(t), self.second.value(after))

    @spanned
    def edges(self, t0, t1):
        return inside(np.append(self._of_parts("edges", t0, t1), times_of(self, self.at)[0]), t0, t1)

    @spanned
    def onsets(self, t0, t1):
        return self._of_parts("onsets", t0, t1)

    @spanned
    def corners(self, t0, t1):
        return inside(self._of_parts("corners", t0, t1), t0, t1)

    def shortest(self):
        return min(self.first.shortest(), self.second.shortest())

    def since(self, t0):
        check_time("t0", t0)
        if t0 == 0:
            return self
        if is_traced(self.at) or abs(self.at - t0) > LATEST:
            return super().since(t0)
        at = float(from_zero(float(self.at) - t0))
        return Then(self.first.since(t0), self.second, at) if at > 0 else self.second.since(0.0 - at)

    def _of_parts(self, what, t0, t1):
        at = float(times_of(self, self.at)[0])
        before = getattr(self.first, what)(t0, min(at, t1)) if at > t0 else np.zeros(0)
        after = at + getattr(self.second, what)(max(t0 - at, 0.0), t1 - at) if t1 > at else np.zeros(0)
        return np.concatenate([before, after])


class Plus(AbstractProtocol):
    """The sum of two protocols of one kind, e.g. a stimulus train on a bias current."""

    first: AbstractProtocol
    second: AbstractProtocol

    @property
    def kind(self):
        return self.first.kind

    def __check_init__(self):
        _check_parts(self.first, self.second)

    def value(self, t):
        return self.first.value(t) + self.second.value(t)

    @spanned
    def edges(self, t0, t1):
        return inside(np.concatenate([self.first.edges(t0, t1), self.second.edges(t0, t1)]), t0, t1)

    @spanned
    def onsets(self, t0, t1):
        return merge(np.concatenate([self.first.onsets(t0, t1), self.second.onsets(t0, t1)]))

    @spanned
    def corners(self, t0, t1):
        return inside(np.concatenate([self.first.corners(t0, t1), self.second.corners(t0, t1)]), t0, t1)

    def shortest(self):
        return min(self.first.shortest(), self.second.shortest())

    def since(self, t0):
        check_time("t0", t0)
        return self if t0 == 0 else Plus(self.first.since(t0), self.second.since(t0))


class Repeat(AbstractProtocol):
    """`once` again and again: its first `period` ms, repeated."""

    once: AbstractProtocol
    period: Number = eqx.field(converter=number)

    @property
    def kind(self):
        return self.once.kind

    def __check_init__(self):
        check_part("once", self.once)
        least = 10 * RESOLUTION
        check_number(
            "period",
            self.period,
            "ms",
            f"> 0: {least:g} to {LATEST:.4g}",
            lambda x: ((x >= least) & (x <= LATEST)).all(),
        )

    def value(self, t):
        xp = namespace(self, t)
        t = xp.asarray(t)
        phase = t - xp.floor(at_edges(xp, t) / self.period) * self.period
        return self.once.value(np.maximum(phase, 0.0) if xp is np else phase)

    @spanned
    def edges(self, t0, t1):
        cycles, period = self._cycles(t0, t1)
        return inside(np.append(self._of_cycles("edges", t0, t1), period * cycles), t0, t1)

    @spanned
    def onsets(self, t0, t1):
        return starting(self._of_cycles("onsets", t0, t1), t0, t1)

    @spanned
    def corners(self, t0, t1):
        return inside(self._of_cycles("corners", t0, t1), t0, t1)

    def shortest(self):
        return self.once.shortest()

    def since(self, t0):
        check_time("t0", t0)
        if t0 == 0:
            return self
        if is_traced(self.period):
            return super().since(t0)
        period = float(self.period)
        phase = math.fmod(t0, period)
        phase += period if phase < 0 else 0.0
        if min(phase, period - phase) <= RESOLUTION / 2:
            return self
        return Then(self.once.since(phase), self, period - phase)

    def _cycles(self, t0, t1):
        """Numbers of the cycles that have a part in [t0, t1], and their period."""
        (period,) = times_of(self, self.period)
        first, last = np.floor(t0 / period), np.floor(t1 / period)
        check_count("period", period, last - first, "cycles", t0, t1)
        return np.arange(first, last + 1), period

    def _of_cycles(self, what, t0, t1):
        """What there is of it in each cycle: it is asked once for all whole cycles, and for the parts at the ends."""
        cycles, period = self._cycles(t0, t1)
        find = getattr(self.once, what)
        begin, end = np.maximum(t0 - cycles * period, 0.0), np.minimum(t1 - cycles * period, period)
        whole = (begin == 0) & (end == period)
        every = find(0.0, float(period)) if whole.any() else np.zeros(0)
        check_count("period", period, len(every) * whole.sum(), what, t0, t1)
        found = [(cycles[whole, None] * period + every).ravel()]
        for k in np.flatnonzero(~whole & (begin < end)):
            found.append(cycles[k] * period + find(float(begin[k]), float(end[k])))
        return np.sort(np.concatenate(found))


def _check_parts(first, second):
    check_part("first", first)
    check_part("second", second)
    if first.kind != second.kind:
        raise ValueError(f"kind: cannot combine a {first.kind} protocol with a {second.kind} protocol")
