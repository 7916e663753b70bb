"""From the signals of a file, each in a unit of its own, to times in ms and potentials in mV."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arguments import check, refusal
from .columns import Column, describe
from .plausible import beyond, infer_potential_unit, infer_time_unit, potential_problem, time_problem
from .units import COMMON, find_unit, unit_factor

DISAGREE = 0.02
"""Of the interval between samples: times and a sampling rate that differ by more are not of one recording."""


class Signal(NamedTuple):
    """One column, channel or dataset: name, unit as written (None: none is), values (time,) or (sweeps, time)."""

    name: str
    unit: str | None
    values: np.ndarray


class Signals(NamedTuple):
    """What a file holds.

    Attributes:
        times: (time,) in `time_unit`, or None where only a sampling rate is known.
        time_unit: as written, None where none is.
        rate: samples a second, None where the file does not say; where it has times too, they must agree.
        signals: all the others.
        place: the k-th sample in words, for messages: "row 5".
        are_sweeps: several potentials are sweeps or cells of one recording; else they are channels, to be chosen from.
        notes: what was found on the way.
    """

    times: np.ndarray | None
    time_unit: str | None
    rate: float | None
    signals: Sequence[Signal]
    place: Callable[[int], str]
    are_sweeps: bool
    notes: tuple[str, ...] = ()


class Samples(NamedTuple):
    """Times (time,) in ms, potentials (time,) or (n, time) in mV, NaN where one is missing, and what is to be said."""

    ts: np.ndarray
    V: np.ndarray
    notes: tuple[str, ...]


class Options(NamedTuple):
    """What the caller said about a file; see `read_recording`."""

    channel: str | int | None = None
    group: str = ""
    dataset: str = "V"
    time_unit: str | None = None
    potential_unit: str | None = None
    sampling_rate: float | None = None


def check_options(options: Options) -> None:
    for name, quantity in (("time_unit", "time"), ("potential_unit", "potential")):
        unit = getattr(options, name)
        known = find_unit(unit) if isinstance(unit, str) else None
        if unit is not None and (known is None or known.quantity != quantity):
            raise refusal(name, unit, "", COMMON[quantity])
    channel = options.channel
    if isinstance(channel, bool) or not isinstance(channel, str | int | np.integer | None):
        raise refusal("channel", channel, "", "a name or a number from 0")
    check("sampling_rate", options.sampling_rate, "Hz", "> 0 Hz", lambda x: (x > 0) & np.isfinite(x))
    if options.sampling_rate is not None and np.shape(options.sampling_rate) != ():
        raise refusal("sampling_rate", options.sampling_rate, "Hz", "one number > 0 Hz")


def to_samples(found: Signals, options: Options, where: str) -> Samples:
    """The recording in ms and mV. ValueError, beginning with `where`: what cannot be one, or could be two things."""
    notes = list(found.notes)
    if found.time_unit is not None and options.time_unit is None:
        unit_factor(where, "time", found.time_unit, "time")
    chosen, how = _choose(found, options, where, notes)
    length = chosen[0].values.shape[-1]
    if length < 3:
        raise ValueError(f"{where}: {length} samples; allowed: >= 3")
    if chosen[0].values.size == 0:
        raise ValueError(
            f"{where}: {chosen[0].name or 'V'} has shape {chosen[0].values.shape}; allowed: one cell or more"
        )
    V = _potentials(chosen, how, options, where, notes)
    _check_values(V, chosen, found, where)
    if problem := potential_problem(V):
        raise ValueError(f"{where}: {problem}")
    ts = _times(found, V, options, where, notes)
    if problem := time_problem(ts, V):
        raise ValueError(f"{where}: {problem}")
    missing = int(np.isnan(V).sum())
    if missing:
        notes.append("1 sample is missing" if missing == 1 else f"{missing} samples are missing")
    return Samples(ts, V, tuple(notes))


def _choose(found: Signals, options: Options, where: str, notes: list[str]) -> tuple[list[Signal], list[Column]]:
    """The signals that are potentials, and how their names describe them."""
    columns = [describe(s.name, s.unit) for s in found.signals]
    if options.channel is not None:
        k = _channel(found.signals, options.channel, where)
        chosen = [k]
        if columns[k].kind in ("current", "time", "another quantity") and options.potential_unit is None:
            raise ValueError(
                f"{where}: channel {found.signals[k].name!r} is a {columns[k].kind} (unit {columns[k].unit}); allowed: "
                f"a potential in {COMMON['potential']}"
            )
    else:
        chosen = [k for k, c in enumerate(columns) if c.kind == "potential"]
        for kind in ("unknown", "command"):
            chosen = chosen or [k for k, c in enumerate(columns) if c.kind == kind]
        taken = set(chosen)
        left = [s for k, s in enumerate(found.signals) if k not in taken]
        if not chosen:
            raise ValueError(
                f"{where}: no potential among {_listed(found.signals)}; allowed: one in {COMMON['potential']}"
            )
        if not found.are_sweeps and len(chosen) > 1:
            names = _listed([found.signals[k] for k in chosen])
            raise ValueError(f"{where}: {len(chosen)} potentials, {names}; allowed: one of them (give channel)")
        if left:
            notes.append(f"left out: {_listed(left)} (no potential)")
    return [found.signals[k] for k in chosen], [columns[k] for k in chosen]


def _channel(signals: Sequence[Signal], channel: str | int, where: str) -> int:
    names = [s.name for s in signals]
    matches = [k for k, n in enumerate(names) if n == channel]
    if isinstance(channel, str) and not matches:
        plain = channel.strip().lower()
        matches = [k for k, n in enumerate(names) if plain in (n.lower(), n.split(" (")[0].strip().lower())]
    if not matches and str(channel).strip().isdigit() and int(channel) < len(signals):
        matches = [int(channel)]
    if len(matches) != 1:
        raise ValueError(
            f"{where}: channel = {channel!r}; allowed: {_listed(signals)}, or a number from 0 to {len(signals) - 1}"
        )
    return matches[0]


def _listed(signals: Sequence[Signal]) -> str:
    shown = [s.name if s.unit is None or describe(s.name).unit else f"{s.name} ({s.unit})" for s in signals[:8]]
    return ", ".join(repr(x[:40]) for x in shown) + (f" and {len(signals) - 8} more" if len(signals) > 8 else "")


def _potentials(chosen: list[Signal], how: list[Column], options: Options, where: str, notes: list[str]) -> np.ndarray:
    """(time,) of one column, else (n, time), in mV."""
    units = [options.potential_unit or c.unit for c in how]
    unknown = [s.values for s, unit in zip(chosen, units, strict=True) if unit is None]
    if unknown:
        unit, said = infer_potential_unit(np.stack(unknown) if len(unknown) > 1 else unknown[0])
        if unit is None:
            raise ValueError(
                f"{where}: V from {said} without a unit; allowed: a header such as V_mV, or potential_unit "
                f"({COMMON['potential']})"
            )
        notes.append(f"V is in {unit} (inferred from values from {said})")
        units = [x or unit for x in units]
    elif options.potential_unit is None and set(units) != {"mV"}:
        notes.append(f"V is in {', '.join(sorted(set(map(str, units))))} (header)")
    rows = []
    for signal, unit in zip(chosen, units, strict=True):
        factor = unit_factor(where, signal.name or "V", str(unit), "potential")
        values = np.asarray(signal.values, np.float64)
        rows.append(values if factor == 1 else values * factor)
    return rows[0] if len(rows) == 1 else np.stack(rows)


def _check_values(V: np.ndarray, chosen: list[Signal], found: Signals, where: str) -> None:
    """That every number is one, and that every column has some."""
    rows = np.atleast_2d(V)

    def name(k):
        return chosen[k].name or f"cell {k}" if len(chosen) == len(rows) else f"{chosen[0].name}, sweep {k}"

    empty = np.flatnonzero(np.isnan(rows).all(axis=1))
    if empty.size:
        raise ValueError(f"{where}: {name(int(empty[0]))} has no numbers; allowed: some that are not missing")
    infinite = np.argwhere(np.isinf(rows))
    if infinite.size:
        k, i = map(int, infinite[0])
        raise ValueError(f"{where}, {found.place(i)}: {name(k)} = {rows[k, i]}; allowed: finite, or missing")
    wrong = beyond(rows) if potential_problem(V) is None else None
    if wrong is not None:
        k, i = divmod(wrong, rows.shape[1])
        raise ValueError(
            f"{where}, {found.place(i)}: {name(k)} = {rows[k, i]:g} mV; allowed: what an amplifier gives (does it "
            "stand for a missing sample? then leave it empty, or nan)"
        )


def _times(found: Signals, V: np.ndarray, options: Options, where: str, notes: list[str]) -> np.ndarray:
    """(time,) in ms."""
    rate = options.sampling_rate or found.rate
    if found.times is None or options.sampling_rate is not None:
        if rate is None or not 0 < rate < np.inf:
            raise ValueError(f"{where}: no times, and sampling_rate = {rate} Hz; allowed: > 0 Hz")
        ts = np.arange(V.shape[-1]) * (1000.0 / float(rate))
        return ts if found.times is None else _by_rate(found.times, ts, float(rate), where, notes)
    times = np.asarray(found.times, np.float64)
    if times.ndim != 1 or V.ndim > 2 or times.shape[0] != V.shape[-1]:
        raise ValueError(f"{where}: expected shapes (time,) and (time,) or (n, time), got {times.shape} and {V.shape}")
    unit = options.time_unit or found.time_unit
    wrong = np.flatnonzero(~np.isfinite(times))
    if wrong.size:
        k = int(wrong[0])
        raise ValueError(f"{where}, {found.place(k)}: no time ({times[k]}); allowed: a finite time for every sample")
    back = np.flatnonzero(times[1:] <= times[:-1])
    if back.size:
        k = int(back[0]) + 1
        rounded = " (are they rounded? then give sampling_rate, in Hz)" if times[k] == times[k - 1] else ""
        raise ValueError(
            f"{where}, {found.place(k)}: t = {times[k]:.10g} {unit or 'ms'} after {times[k - 1]:.10g}; allowed: "
            f"strictly ascending times{rounded}"
        )
    if unit is None:
        unit, said = infer_time_unit(times, V)
        if unit is None:
            raise ValueError(
                f"{where}: times without a unit, {said}; allowed: a header such as t_ms, or time_unit "
                f"({COMMON['time']})"
            )
        notes.append(f"time is in {unit} (inferred: {said})")
    elif options.time_unit is None and unit != "ms":
        notes.append(f"time is in {unit} (header)")
    ts = times * unit_factor(where, "time", unit, "time")
    if found.rate is None or ts.size < 2:
        return ts
    with np.errstate(over="ignore"):
        interval = float(np.median(np.diff(ts)))
    if not abs(interval * found.rate / 1e3 - 1) <= DISAGREE:
        raise ValueError(
            f"{where}: a sample every {interval:.6g} ms, and sampling_rate_Hz = {found.rate:g} Hz; allowed: times "
            "and a rate that agree, or one of them"
        )
    return ts


def _by_rate(times: Any, ts: np.ndarray, rate: float, where: str, notes: list[str]) -> np.ndarray:
    """Times by the sampling rate in place of those in the file, which must be the same but for rounding."""
    notes.append(f"times are by sampling_rate = {rate:g} Hz, not those in the file")
    span = float(np.nanmax(times) - np.nanmin(times))
    ratios = [span * factor / ts[-1] for factor in (1.0, 1e3, 1e-3)]
    if not any(abs(ratio - 1) < 0.02 for ratio in ratios):
        raise ValueError(
            f"{where}: its times span {span:.6g}, and {ts.size} samples at sampling_rate = {rate:g} Hz span "
            f"{ts[-1]:.6g} ms; allowed: the rate of these times, or a file without them"
        )
    return ts
