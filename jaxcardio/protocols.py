"""Stimuli (pA/pF, depolarising negative) and voltage commands (mV): a value at every time, and where the edges are.

Times are in ms. Every protocol is right-continuous: at an edge it already has its new value. Edges are the times no
solver may step over; `simulate` puts them on its grid. Values may be traced and differentiated; times must be concrete
where `simulate` builds the grid itself (pass `grid=` to differentiate through times).
"""

# `kind` is abstract, and a field or a property of the concrete protocols: Equinox allows it, pyright does not know.
# pyright: reportIncompatibleMethodOverride=false

import abc
import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from .arguments import check, is_traced

Kind = Literal["current", "voltage"]
if TYPE_CHECKING:
    Number = Any
else:
    Number = ArrayLike
    """A number or an array of them: of Python, numpy or jax; traced where it may be."""


def _sequence(x):
    """Lists as float64 numpy; arrays, traced ones too, as they are."""
    return np.asarray(x, float) if isinstance(x, list | tuple) else x


class AbstractProtocol(eqx.Module):
    """Something applied to a cell over time."""

    @property
    @abc.abstractmethod
    def kind(self) -> Kind:
        """ "current": a stimulus in pA/pF. "voltage": an ideal clamp in mV."""

    @abc.abstractmethod
    def value(self, t: ArrayLike) -> Any:
        """The stimulus (pA/pF) or command (mV) at time t (ms), elementwise; in float64 numpy if all is concrete."""

    @abc.abstractmethod
    def edges(self, t0: float, t1: float) -> np.ndarray:
        """Times of every jump or corner in (t0, t1), ascending, ms."""

    @abc.abstractmethod
    def onsets(self, t0: float, t1: float) -> np.ndarray:
        """Times in [t0, t1) at which a stimulus pulse begins, ms; none under a clamp."""

    @abc.abstractmethod
    def shortest(self) -> float:
        """Shortest feature that a time step must resolve, ms."""


class Constant(AbstractProtocol):
    """The same value at all times, e.g. a clamp held at one potential."""

    level: Number
    kind: Kind = eqx.field(static=True, default="voltage")

    def value(self, t):
        return self.level + 0 * t

    def edges(self, t0, t1):
        return np.zeros(0)

    def onsets(self, t0, t1):
        return np.zeros(0)

    def shortest(self):
        return np.inf


class PulseTrain(AbstractProtocol):
    """Rectangular pulses: `amplitude` (pA/pF, depolarising negative) for `duration` ms every `period` ms from `start`.

    `count` limits the number of pulses (default: no limit).
    """

    amplitude: Number
    duration: Number
    period: Number
    start: Number = 0.0
    count: float = np.inf
    kind: Kind = eqx.field(static=True, default="current")

    def __check_init__(self):
        check("amplitude", self.amplitude, "pA/pF", "finite", np.isfinite)
        check("start", self.start, "ms", "finite", np.isfinite)
        check("duration", self.duration, "ms", "> 0", lambda x: x > 0)
        check("count", self.count, "pulses", ">= 1", lambda x: x >= 1)
        if not is_traced(self.duration):
            check("period", self.period, "ms", f"> duration = {self.duration} ms", lambda x: x > self.duration)

    def value(self, t):
        xp = _namespace(self, t)
        since = xp.asarray(t) - self.start
        beat = xp.floor(since / self.period)
        on = (beat >= 0) & (beat < self.count) & (since - beat * self.period < self.duration)
        return xp.where(on, self.amplitude, 0.0 * self.amplitude)

    def edges(self, t0, t1):
        start, period, duration = _times(self, self.start, self.period, self.duration)
        first = max(0, int(np.floor((t0 - start) / period)) - 1)
        last = int(min(self.count, max(0.0, np.ceil((t1 - start) / period) + 1)))
        onsets = start + period * np.arange(first, last)
        return _inside(np.concatenate([onsets, onsets + duration]), t0, t1)

    def onsets(self, t0, t1):
        start, period = _times(self, self.start, self.period)
        beats = np.arange(int(min(self.count, max(0.0, np.ceil((t1 - start) / period)))))
        onsets = start + period * beats
        return onsets[(onsets >= t0) & (onsets < t1)]

    def shortest(self):
        return float(_times(self, self.duration)[0])


class Pulses(AbstractProtocol):
    """Equal rectangular pulses at the given ascending `times` (ms): S1-S2, dynamic pacing, irregular trains."""

    amplitude: Number
    duration: Number
    times: Number = eqx.field(converter=_sequence)
    kind: Kind = eqx.field(static=True, default="current")

    def __check_init__(self):
        check("amplitude", self.amplitude, "pA/pF", "finite", np.isfinite)
        check("duration", self.duration, "ms", "> 0", lambda x: x > 0)
        if not is_traced(self.times, self.duration):
            times = np.atleast_1d(self.times)
            check("times", times, "ms", "at least one", lambda x: x.size > 0)
            allowed = f"finite, ascending and more than duration = {self.duration} ms apart"
            check("times", times, "ms", allowed, lambda x: np.isfinite(x).all() and (np.diff(x) > self.duration).all())

    def value(self, t):
        xp = _namespace(self, t)
        t, times = xp.asarray(t), xp.asarray(self.times)
        k = xp.searchsorted(times, t, side="right") - 1
        on = (k >= 0) & (t - times[xp.maximum(k, 0)] < self.duration)
        return xp.where(on, self.amplitude, 0.0 * self.amplitude)

    def edges(self, t0, t1):
        times, duration = _times(self, self.times, self.duration)
        return _inside(np.concatenate([times, times + duration]), t0, t1)

    def onsets(self, t0, t1):
        (times,) = _times(self, self.times)
        return times[(times >= t0) & (times < t1)]

    def shortest(self):
        return float(_times(self, self.duration)[0])


def s1_s2(
    amplitude: float, duration: float, s1_period: float, s1_count: int, s2_interval: float, start: float = 0.0
) -> Pulses:
    """`s1_count` conditioning pulses `s1_period` ms apart, then one premature pulse `s2_interval` ms after the last."""
    check("s1_period", s1_period, "ms", "> 0", lambda x: x > 0)
    check("s1_count", s1_count, "pulses", ">= 1", lambda x: x >= 1)
    check("s2_interval", s2_interval, "ms", f"> duration = {duration} ms", lambda x: x > duration)
    s1 = start + s1_period * np.arange(s1_count)
    return Pulses(amplitude, duration, np.append(s1, s1[-1] + s2_interval))


def dynamic_restitution(
    amplitude: float, duration: float, periods: Sequence[float], beats: int, start: float = 0.0
) -> Pulses:
    """`beats` pulses at each of `periods` (ms) in turn: the dynamic restitution protocol."""
    check(
        "periods", np.asarray(periods, float), "ms", f"each > duration = {duration} ms", lambda x: (x > duration).all()
    )
    check("beats", beats, "pulses a period", ">= 1", lambda x: x >= 1)
    intervals = np.repeat(np.asarray(periods, float), beats)
    return Pulses(amplitude, duration, start + np.concatenate([[0.0], np.cumsum(intervals)[:-1]]))


class Segments(AbstractProtocol):
    """Consecutive straight pieces: piece k goes from `begin[k]` to `end[k]` in `durations[k]` ms; ends hold outside.

    Steps have `begin == end`; see `VoltageSteps` and `voltage_ramp`.
    """

    begin: Number = eqx.field(converter=_sequence)
    end: Number = eqx.field(converter=_sequence)
    durations: Number = eqx.field(converter=_sequence)
    start: Number = 0.0
    kind: Kind = eqx.field(static=True, default="voltage")

    def __check_init__(self):
        shapes = {np.shape(self.begin), np.shape(self.end), np.shape(self.durations)}
        if len(shapes) > 1 or len(next(iter(shapes))) != 1 or next(iter(shapes)) == (0,):
            raise ValueError(
                "begin, end and durations: expected one-dimensional arrays of one length >= 1, got shapes "
                f"{np.shape(self.begin)}, {np.shape(self.end)}, {np.shape(self.durations)}"
            )
        unit = "mV" if self.kind == "voltage" else "pA/pF"
        check("begin", self.begin, unit, "finite", lambda x: np.isfinite(x).all())
        check("end", self.end, unit, "finite", lambda x: np.isfinite(x).all())
        check("start", self.start, "ms", "finite", np.isfinite)
        check("durations", self.durations, "ms", "each > 0", lambda x: (x > 0).all() and np.isfinite(x).all())

    def value(self, t):
        xp = _namespace(self, t)
        begin, end, durations = xp.asarray(self.begin), xp.asarray(self.end), xp.asarray(self.durations)
        ends = xp.cumsum(durations)
        since = xp.asarray(t) - self.start
        k = xp.minimum(xp.searchsorted(ends, since, side="right"), ends.shape[0] - 1)
        fraction = xp.clip((since - (ends[k] - durations[k])) / durations[k], 0.0, 1.0)
        return begin[k] + (end[k] - begin[k]) * fraction

    def edges(self, t0, t1):
        start, durations = _times(self, self.start, self.durations)
        return _inside(start + np.concatenate([[0.0], np.cumsum(durations)]), t0, t1)

    def onsets(self, t0, t1):
        return np.zeros(0)

    def shortest(self):
        return float(_times(self, self.durations)[0].min())


def VoltageSteps(
    voltages: ArrayLike | Sequence[float], durations: ArrayLike | Sequence[float], start: float = 0.0
) -> Segments:
    """Clamp at each of `voltages` (mV) for the matching `durations` (ms); the last one holds on."""
    levels = voltages if isinstance(voltages, jax.Array) else np.asarray(voltages, float)
    lengths = durations if isinstance(durations, jax.Array) else np.asarray(durations, float)
    if np.ndim(levels) != 1 or np.shape(levels) != np.shape(lengths):
        raise ValueError(
            "voltages (mV) and durations (ms): expected two lists of one length, got shapes "
            f"{np.shape(levels)} and {np.shape(lengths)}"
        )
    return Segments(levels, levels, lengths, start, kind="voltage")


def voltage_ramp(V0: float, V1: float, duration: float, start: float = 0.0) -> Segments:
    """Clamp at `V0` until `start`, then a straight ramp to `V1` (mV) in `duration` ms, which holds on."""
    return Segments(np.array([V0], float), np.array([V1], float), np.array([duration], float), start, kind="voltage")


class Sampled(AbstractProtocol):
    """A recorded command: `samples` at ascending `ts` (ms), straight lines between; the ends hold outside.

    A voltage jump of the recording is a steep line of one sampling interval; give `jumps` (ms) to put times on the
    grid.
    """

    ts: Number = eqx.field(converter=_sequence)
    samples: Number = eqx.field(converter=_sequence)
    kind: Kind = eqx.field(static=True, default="voltage")
    jumps: Number = eqx.field(default=(), converter=_sequence)

    def __check_init__(self):
        shapes = np.shape(self.ts), np.shape(self.samples)
        if len(shapes[0]) != 1 or shapes[0] != shapes[1] or shapes[0][0] < 2:
            raise ValueError(f"ts (ms) and samples: expected two lists of one length >= 2, got shapes {shapes}")
        check("ts", self.ts, "ms", "strictly ascending", lambda x: (np.diff(x) > 0).all())
        unit = "mV" if self.kind == "voltage" else "pA/pF"
        check("samples", self.samples, unit, "finite", lambda x: np.isfinite(x).all())

    def value(self, t):
        xp = _namespace(self, t)
        return xp.interp(xp.asarray(t), xp.asarray(self.ts), xp.asarray(self.samples))

    def edges(self, t0, t1):
        (jumps,) = _times(self, np.asarray(self.jumps, float))
        return _inside(jumps, t0, t1)

    def onsets(self, t0, t1):
        return np.zeros(0)

    def shortest(self):
        return float(np.diff(_times(self, self.ts)[0]).min())


class Then(AbstractProtocol):
    """`first` until time `at` (ms), then `second`, whose own time starts there."""

    first: AbstractProtocol
    second: AbstractProtocol
    at: Number

    @property
    def kind(self):
        return self.first.kind

    def __check_init__(self):
        _same_kind(self.first, self.second)
        check("at", self.at, "ms", "finite", np.isfinite)

    def value(self, t):
        xp = _namespace(self, t)
        return xp.where(xp.asarray(t) < self.at, self.first.value(t), self.second.value(xp.asarray(t) - self.at))

    def edges(self, t0, t1):
        (at,) = _times(self, self.at)
        before = self.first.edges(t0, min(at, t1))
        after = at + self.second.edges(max(t0 - at, 0.0), t1 - at) if t1 > at else np.zeros(0)
        return _inside(np.concatenate([before, [at], after]), t0, t1)

    def onsets(self, t0, t1):
        (at,) = _times(self, self.at)
        before = self.first.onsets(t0, min(at, t1))
        after = self.second.onsets(max(t0 - at, 0.0), t1 - at) if t1 > at else np.zeros(0)
        return np.concatenate([before, at + after])

    def shortest(self):
        return min(self.first.shortest(), self.second.shortest())


class Plus(AbstractProtocol):
    """The sum of two protocols of one kind, e.g. a stimulus train on a bias current."""

    first: AbstractProtocol
    second: AbstractProtocol

    @property
    def kind(self):
        return self.first.kind

    def __check_init__(self):
        _same_kind(self.first, self.second)

    def value(self, t):
        return self.first.value(t) + self.second.value(t)

    def edges(self, t0, t1):
        return _inside(np.concatenate([self.first.edges(t0, t1), self.second.edges(t0, t1)]), t0, t1)

    def onsets(self, t0, t1):
        return np.unique(np.concatenate([self.first.onsets(t0, t1), self.second.onsets(t0, t1)]))

    def shortest(self):
        return min(self.first.shortest(), self.second.shortest())


class Repeat(AbstractProtocol):
    """`once` again and again: its first `period` ms, repeated."""

    once: AbstractProtocol
    period: Number

    @property
    def kind(self):
        return self.once.kind

    def __check_init__(self):
        check("period", self.period, "ms", "> 0", lambda x: x > 0)

    def value(self, t):
        xp = _namespace(self, t)
        return self.once.value(xp.asarray(t) - xp.floor(xp.asarray(t) / self.period) * self.period)

    def edges(self, t0, t1):
        (period,) = _times(self, self.period)
        own = np.concatenate([[0.0], self.once.edges(0.0, period)])
        cycles = np.arange(np.floor(t0 / period), np.ceil(t1 / period) + 1)
        return _inside((cycles[:, None] * period + own).ravel(), t0, t1)

    def onsets(self, t0, t1):
        (period,) = _times(self, self.period)
        cycles = np.arange(np.floor(t0 / period), np.ceil(t1 / period) + 1)
        onsets = (cycles[:, None] * period + self.once.onsets(0.0, period)).ravel()
        return onsets[(onsets >= t0) & (onsets < t1)]

    def shortest(self):
        return self.once.shortest()


KINDS = {c.__name__: c for c in (Constant, PulseTrain, Pulses, Segments, Sampled, Then, Plus, Repeat)}


def to_json(protocol: AbstractProtocol | None) -> str:
    """The protocol as JSON text; `from_json` gives an equal one."""
    return json.dumps(_encode(protocol), sort_keys=True)


def from_json(text: str) -> AbstractProtocol | None:
    """The protocol that `to_json` wrote; a ValueError says what is wrong with the text."""
    try:
        return _decode(json.loads(text))
    except json.JSONDecodeError as error:
        raise ValueError(f"protocol: not JSON ({error})") from None
    except TypeError as error:
        raise ValueError(f"protocol: {error}") from None


def _encode(x):
    if isinstance(x, AbstractProtocol):
        fields = {f.name: _encode(getattr(x, f.name)) for f in dataclasses.fields(x)}  # pyright: ignore[reportArgumentType]
        return {"type": type(x).__name__, **fields}
    if x is None or isinstance(x, str):
        return x
    value = np.asarray(x, float).tolist()
    return "inf" if value == np.inf else value


def _decode(x) -> Any:
    if isinstance(x, dict):
        fields = {k: _decode(v) for k, v in x.items() if k != "type"}
        if x.get("type") not in KINDS:
            raise ValueError(f"protocol: type {x.get('type')!r}; allowed: {', '.join(KINDS)}")
        return KINDS[x["type"]](**fields)
    if isinstance(x, list):
        return np.asarray(x, float)
    return np.inf if x == "inf" else x


def _namespace(protocol, t):
    """numpy (float64, on the host) where every number is a host number, else jax.numpy."""
    leaves = (t, *jax.tree.leaves(protocol))
    return np if all(isinstance(x, (float, int, np.ndarray, np.generic)) for x in leaves) else jnp


def _times(protocol, *values) -> list[Any]:
    if is_traced(*values):
        raise ValueError(
            f"the times of {type(protocol).__name__} are traced, so its edges cannot be put on the time grid; "
            "make the protocol outside jit/grad/vmap, or pass grid= with the edges on it"
        )
    return [np.asarray(v, np.float64) for v in values]


def _inside(times, t0, t1):
    times = np.unique(times)
    return times[(times > t0) & (times < t1)]


def _same_kind(first, second):
    if first.kind != second.kind:
        raise ValueError(f"kind: cannot combine a {first.kind} protocol with a {second.kind} protocol")
