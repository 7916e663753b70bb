"""Tables of text: a column of times, and one column a channel."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...files.columns import Column, describe, label
from ...files.csv_tables import look_at, read_pieces
from ...files.plausible import infer_time_unit
from ...files.signals import DISAGREE
from ...files.units import COMMON, unit_factor
from .parts import Block, Choice, check_not_chosen, shortened
from .recording import Recording, described
from .samples import InMemory

GAP = 1.5
"""Of the usual interval between samples: after a longer one a new block begins."""
UNEVEN = 0.5
"""Of the interval: times that are further from an even sampling are refused."""


class _Clock(NamedTuple):
    """Sampling rate (Hz) and stretches without a gap."""

    rate: float
    blocks: tuple[Block, ...]


def read_table(path: Path, choice: Choice) -> Recording:
    """The recording of a table. It is read as a whole: the samples stay in memory, as float32.

    ValueError: no table, no times and no sampling rate, times that go back or are uneven, a potential without a unit.
    """
    check_not_chosen(choice, ("stream", "recording"), "a table of text, which has one recording")
    where = f"path = {path}"
    layout = look_at(path)
    names = layout.names or [""] * layout.width
    units = layout.units or [""] * layout.width
    columns = [describe(n, u or None) for n, u in zip(names, units, strict=True)]
    clocks = [k for k, c in enumerate(columns) if c.kind == "time"]
    if len(clocks) > 1:
        raise ValueError(f"{where}: times in columns {shortened([names[k] for k in clocks])}; allowed: one column")
    if not clocks and choice.sampling_rate is None:
        raise ValueError(
            f"{where}: header {','.join(names)[:60]!r} has no times; allowed: t_ms,47_uV[,...], or sampling_rate, in Hz"
        )
    chosen = _channels(where, columns, choice.unit)
    notes: list[str] = []
    left = [names[k] for k in range(layout.width) if k not in chosen and k not in clocks]
    if left:
        notes.append(f"left out: {shortened(left)} (no potential)")
    times, values = _read(path, layout, clocks, chosen)
    if values.shape[1] < 2:
        raise ValueError(f"{where}: {values.shape[1]} rows; allowed: >= 2")
    if np.isinf(values).any():
        raise ValueError(f"{where}: a potential is infinite; allowed: finite, or empty where a sample is missing")
    factors = np.array([unit_factor(where, names[k] or "V", _unit(columns[k], choice), "potential") for k in chosen])
    clock = _clock(where, times, columns[clocks[0]].unit if clocks else None, choice.sampling_rate, values, notes)
    return described(
        clock.rate,
        _names(names, chosen),
        blocks=clock.blocks,
        notes=tuple(notes),
        samples=InMemory(_scaled(values, factors)),
    )


def _channels(where: str, columns: list[Column], unit: str | None) -> list[int]:
    """Columns that are potentials, by their unit or by the caller's word."""
    named = [k for k, c in enumerate(columns) if c.kind == "potential" or c.strange]
    unknown = [k for k, c in enumerate(columns) if c.kind == "unknown" and not c.strange]
    found = sorted(named + unknown)
    without = [columns[k].name for k in found if columns[k].unit is None]
    if without and unit is None:
        raise ValueError(
            f"{where}: {shortened(without)} without a unit; allowed: a header such as 47_uV, or unit "
            f"({COMMON['potential']})"
        )
    if not found:
        raise ValueError(f"{where}: no column of a potential; allowed: at least one, in {COMMON['potential']}")
    return found


def _unit(column: Column, choice: Choice) -> str:
    return column.unit or choice.unit or ""


def _names(names: list[str], chosen: list[int]) -> list[str]:
    """Names without their units, or the whole headers; a name that stands there already, or none, gets its number."""
    for found in ([label(names[k]) for k in chosen], [names[k] for k in chosen]):
        if all(found) and len(set(found)) == len(found):
            return found
    plain = [label(names[k]) for k in chosen]
    return [
        x if x and plain.count(x) == 1 else f"{x} (column {k + 1})".strip() for x, k in zip(plain, chosen, strict=True)
    ]


def _read(path: Path, layout, clocks: list[int], chosen: list[int]) -> tuple[np.ndarray | None, np.ndarray]:
    """Times as written, and values (channel, sample) as float32."""
    times, values = [], []
    for piece, _ in read_pieces(path, layout):
        if clocks:
            times.append(piece[:, clocks[0]].copy())
        values.append(piece[:, chosen])
    found = np.concatenate(values).T
    return (np.concatenate(times) if clocks else None), found


def _scaled(values: np.ndarray, factors: np.ndarray) -> np.ndarray:
    return (values * factors[:, None]).astype(np.float32)


def _clock(
    where: str, times: np.ndarray | None, unit: str | None, rate: float | None, values: np.ndarray, notes: list[str]
) -> _Clock:
    count = values.shape[1]
    if times is None:
        assert rate is not None
        return _Clock(float(rate), (Block(0, count, 0.0),))
    wrong = np.flatnonzero(~np.isfinite(times))
    if wrong.size:
        raise ValueError(f"{where}: sample {wrong[0]} has no time; allowed: a finite time for every sample")
    back = np.flatnonzero(np.diff(times) <= 0)
    if back.size:
        k = int(back[0]) + 1
        raise ValueError(f"{where}: t = {times[k]:.10g} after {times[k - 1]:.10g}; allowed: strictly ascending times")
    if unit is None:
        unit, said = infer_time_unit(times, values[0])
        if unit is None:
            raise ValueError(f"{where}: times without a unit, {said}; allowed: a header such as t_ms")
        notes.append(f"time is in {unit} (inferred: {said})")
    ts = times * unit_factor(where, "time", unit, "time")
    return _even(where, ts, rate)


def _even(where: str, ts: np.ndarray, rate: float | None) -> _Clock:
    """The even sampling that these times (ms) are of."""
    steps = np.diff(ts)
    usual = float(np.median(steps))
    ends = np.flatnonzero(steps > GAP * usual) + 1
    firsts, lasts = [0, *ends.tolist()], [*ends.tolist(), ts.size]
    inner = sum(b - a - 1 for a, b in zip(firsts, lasts, strict=True))
    span = sum(ts[b - 1] - ts[a] for a, b in zip(firsts, lasts, strict=True))
    interval = float(span / inner) if rate is None else 1000.0 / rate
    if abs(interval / usual - 1) > DISAGREE and rate is not None:
        raise ValueError(
            f"{where}: a sample every {usual:.6g} ms, and sampling_rate = {rate:g} Hz; allowed: times and a rate that "
            "agree, or one of them"
        )
    for a, b in zip(firsts, lasts, strict=True):
        off = np.abs(ts[a:b] - ts[a] - np.arange(b - a) * interval)
        if off.max() > UNEVEN * interval:
            k = a + int(off.argmax())
            raise ValueError(
                f"{where}: sample {k} at {ts[k]:.10g} ms, off by {off.max():.3g} ms; allowed: even sampling, with gaps"
            )
    return _Clock(1000.0 / interval, tuple(Block(a, b, float(ts[a])) for a, b in zip(firsts, lasts, strict=True)))
