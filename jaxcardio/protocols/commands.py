"""Voltage commands, and stimuli of the same shapes: held, of straight pieces, as recorded."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from ..annotations import typed
from ..arguments import is_traced
from ..clock import LATEST, RESOLUTION, check_time, inside
from .base import (
    FINITE,
    TIME,
    AbstractProtocol,
    Kind,
    Number,
    at_edges,
    check_kind,
    check_number,
    check_numbers,
    from_zero,
    like,
    namespace,
    number,
    sequence,
    spanned,
    times_of,
    unit_of,
)

# `kind` is abstract, and a field of the concrete protocols: Equinox allows it, pyright does not know.
# pyright: reportIncompatibleMethodOverride=false


KEPT = 1000.0
"""Counted from a time inside a piece, no more of the past than this (ms) is kept of it, so that numbers stay small.
Some is, as the rest of the piece would be the shortest feature of all, and ask for steps as short."""


class Constant(AbstractProtocol):
    """The same value at all times, e.g. a clamp held at one potential."""

    level: Number = eqx.field(converter=number)
    kind: Kind = eqx.field(static=True, default="voltage")

    def __check_init__(self):
        check_kind(self.kind)
        check_number("level", self.level, unit_of(self.kind), *FINITE)

    def value(self, t):
        return self.level + 0 * t

    @spanned
    def edges(self, t0, t1):
        return np.zeros(0)

    @spanned
    def onsets(self, t0, t1):
        return np.zeros(0)

    @spanned
    def corners(self, t0, t1):
        return np.zeros(0)

    def shortest(self):
        return np.inf

    def since(self, t0):
        check_time("t0", t0)
        return self


class Segments(AbstractProtocol):
    """Consecutive straight pieces: piece k goes from `begin[k]` to `end[k]` in `durations[k]` ms; ends hold outside.

    Steps have `begin == end`; see `VoltageSteps` and `voltage_ramp`.
    """

    begin: Number = eqx.field(converter=sequence)
    end: Number = eqx.field(converter=sequence)
    durations: Number = eqx.field(converter=sequence)
    start: Number = eqx.field(default=0.0, converter=number)
    kind: Kind = eqx.field(static=True, default="voltage")

    def __check_init__(self):
        check_kind(self.kind)
        check_numbers("begin", self.begin, unit_of(self.kind), *FINITE)
        check_numbers("end", self.end, unit_of(self.kind), *FINITE)
        allowed = f"each > 0, by more than {RESOLUTION:g} ms, and together at most {LATEST:.4g}"
        check_numbers(
            "durations",
            self.durations,
            "ms",
            allowed,
            lambda x: ((x > RESOLUTION) & (x <= LATEST)).all() and x.sum() <= LATEST,
        )
        check_number("start", self.start, "ms", *TIME)
        shapes = {np.shape(self.begin), np.shape(self.end), np.shape(self.durations)}
        if len(shapes) > 1 or len(next(iter(shapes))) != 1 or next(iter(shapes)) == (0,):
            raise ValueError(
                "begin, end and durations: expected one-dimensional arrays of one length >= 1, got shapes "
                f"{np.shape(self.begin)}, {np.shape(self.end)}, {np.shape(self.durations)}"
            )

    def value(self, t):
        xp = namespace(self, t)
        begin, end, durations = xp.asarray(self.begin), xp.asarray(self.end), xp.asarray(self.durations)
        ends = xp.cumsum(durations)
        since = xp.asarray(t) - self.start
        k = xp.minimum(xp.searchsorted(ends, at_edges(xp, since), side="right"), ends.shape[0] - 1)
        fraction = xp.clip((since - (ends[k] - durations[k])) / durations[k], 0.0, 1.0)
        return begin[k] + (end[k] - begin[k]) * fraction

    @spanned
    def edges(self, t0, t1):
        start, durations = times_of(self, self.start, self.durations)
        return inside(start + np.concatenate([[0.0], np.cumsum(durations)]), t0, t1)

    @spanned
    def onsets(self, t0, t1):
        return np.zeros(0)

    @spanned
    def corners(self, t0, t1):
        return np.zeros(0)

    def shortest(self):
        return float(times_of(self, self.durations)[0].min())

    def since(self, t0):
        check_time("t0", t0)
        if t0 == 0:
            return self
        if is_traced(self.start, self.durations):
            return super().since(t0)
        start, durations = times_of(self, self.start, self.durations)
        passed = float(from_zero(t0 - start))
        if passed <= 0:
            if -passed > LATEST:
                return super().since(t0)
            return Segments(self.begin, self.end, self.durations, 0.0 - passed, self.kind)
        ends = np.cumsum(durations)
        k = int(np.searchsorted(ends, passed + RESOLUTION, side="right"))
        if k == len(ends):
            return Constant(self.end[-1], self.kind)
        past = min(passed - float(ends[k] - durations[k]), float(durations.min()), KEPT)
        left = float(ends[k]) - passed + past
        part = max(0.0, 1.0 - left / float(durations[k]))
        begin = _joined(self.begin[k] + (self.end[k] - self.begin[k]) * part, self.begin[k + 1 :])
        remaining = np.append(left, durations[k + 1 :])
        return Segments(begin, self.end[k:], like(remaining, self.durations), -max(past, 0.0), self.kind)


def VoltageSteps(
    voltages: ArrayLike | Sequence[float], durations: ArrayLike | Sequence[float], start: float = 0.0
) -> Segments:
    """Clamp at each of `voltages` (mV) for the matching `durations` (ms); the last one holds on."""
    levels, lengths = sequence(voltages), sequence(durations)
    check_numbers("voltages", levels, "mV", "numbers", lambda x: True)
    check_numbers("durations", lengths, "ms", "numbers", lambda x: True)
    if np.ndim(levels) != 1 or np.shape(levels) != np.shape(lengths):
        raise ValueError(
            "voltages (mV) and durations (ms): expected two lists of one length, got shapes "
            f"{np.shape(levels)} and {np.shape(lengths)}"
        )
    return Segments(levels, levels, lengths, start, kind="voltage")


@typed
def voltage_ramp(V0: float, V1: float, duration: float, start: float = 0.0) -> Segments:
    """Clamp at `V0` until `start`, then a straight ramp to `V1` (mV) in `duration` ms, which holds on."""
    for name, level in (("V0", V0), ("V1", V1)):
        check_number(name, level, "mV", *FINITE)
    return Segments([V0], [V1], [duration], start, kind="voltage")


class Sampled(AbstractProtocol):
    """A recorded command: `samples` at ascending `ts` (ms), straight lines between; the ends hold outside.

    A voltage jump of the recording is a steep line of one sampling interval; give `jumps` (ms) to put times on the
    grid.
    """

    ts: Number = eqx.field(converter=sequence)
    samples: Number = eqx.field(converter=sequence)
    kind: Kind = eqx.field(static=True, default="voltage")
    jumps: Number = eqx.field(default=(), converter=sequence)

    def __check_init__(self):
        check_kind(self.kind)
        allowed = f"strictly ascending, by more than {RESOLUTION:g} ms, finite, within +-{LATEST:.4g}"
        check_numbers("ts", self.ts, "ms", allowed, lambda x: TIME[1](x) and (np.diff(x) > RESOLUTION).all())
        check_numbers("samples", self.samples, unit_of(self.kind), *FINITE)
        check_numbers("jumps", self.jumps, "ms", f"a list, {TIME[0]}", lambda x: x.ndim == 1 and TIME[1](x))
        shapes = np.shape(self.ts), np.shape(self.samples)
        if len(shapes[0]) != 1 or shapes[0] != shapes[1] or shapes[0][0] < 2:
            raise ValueError(f"ts (ms) and samples: expected two lists of one length >= 2, got shapes {shapes}")

    def value(self, t):
        xp = namespace(self, t)
        return xp.interp(xp.asarray(t), xp.asarray(self.ts), xp.asarray(self.samples))

    @spanned
    def edges(self, t0, t1):
        return inside(times_of(self, self.jumps)[0], t0, t1)

    @spanned
    def onsets(self, t0, t1):
        return np.zeros(0)

    @spanned
    def corners(self, t0, t1):
        """The samples at which the slope changes, by more than rounding; every sample if their values are traced."""
        (ts,) = times_of(self, self.ts)
        near = slice(
            max(0, int(np.searchsorted(ts, t0, side="right")) - 1), int(np.searchsorted(ts, t1, side="left")) + 1
        )
        if is_traced(self.samples):
            return inside(ts[near], t0, t1)
        samples = np.asarray(self.samples, np.float64)
        return inside(ts[near][_kinks(ts[near], samples[near])], t0, t1)

    def shortest(self):
        return float(np.diff(times_of(self, self.ts)[0]).min())

    def since(self, t0):
        check_time("t0", t0)
        if t0 == 0:
            return self
        if is_traced(self.ts, self.jumps):
            return super().since(t0)
        ts, jumps = times_of(self, self.ts, self.jumps)
        if np.append(jumps, ts[-1]).max() - t0 > LATEST:
            return super().since(t0)
        first = int(np.searchsorted(ts, t0 + RESOLUTION, side="right")) - 1
        if first == len(ts) - 1:
            return Constant(self.samples[-1], self.kind)
        left = ts[max(first, 0) :] - t0
        jumps = jumps[jumps > t0 + RESOLUTION] - t0
        return Sampled(like(left, self.ts), self.samples[max(first, 0) :], self.kind, like(jumps, self.jumps))


def _joined(first, rest):
    """One number and those after it, in one array."""
    xp = np if isinstance(rest, np.ndarray) and not is_traced(first) else jnp
    return xp.concatenate([xp.reshape(first, (1,)), rest])


def _kinks(ts, samples):
    """Which samples must be kept so that straight lines between them give all the others, up to rounding."""
    if len(ts) == 0:
        return np.zeros(0, bool)
    t = np.concatenate([[ts[0] - 1], ts, [ts[-1] + 1]])
    v = np.concatenate([samples[:1], samples, samples[-1:]])
    slope = np.diff(v) / np.diff(t)
    line = v[:-2] + (v[2:] - v[:-2]) * ((t[1:-1] - t[:-2]) / (t[2:] - t[:-2]))
    steepest = np.maximum(np.abs(slope[1:]), np.abs(slope[:-1]))
    rounding = 16 * np.finfo(float).eps * (np.abs(v).max() + steepest * np.abs(t).max())
    kinks = np.abs(samples - line) > rounding
    # A bend that is below rounding at every sample can still add up: such a stretch keeps all its samples.
    kept = kinks.copy()
    kept[[0, -1]] = True
    bent = np.abs(samples - np.interp(ts, ts[kept], samples[kept])) > rounding
    stretch = np.cumsum(kept)
    return kinks | (np.bincount(stretch, bent) > 0)[stretch]
