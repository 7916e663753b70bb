"""Clamps as a table that an amplifier's operator reads and types in."""

import json
from typing import Any

import numpy as np

from ...annotations import typed
from ...arguments import check_known
from ...json_text import parse_object
from ...protocols import Segments

TABLE = "jaxcardio clamp table 1"


def to_operator_json(protocol: Segments, dt: float = 0.1) -> str:
    """The clamp as a table that an amplifier's operator can type in, as JSON; `from_operator_json` gives the clamp.

    One entry a segment: when it starts and how long it lasts, ms, and its level, mV; a ramp also has the level it comes
    from. `dt` is the sampling interval, ms. (`jaxcardio.protocols.to_json` writes any protocol, for programs.)

    ValueError: not a voltage clamp of segments from 0 ms, or dt out of its range.
    """
    if not isinstance(protocol, Segments) or protocol.kind != "voltage" or protocol.start != 0:
        raise ValueError(f"protocol: {type(protocol).__name__}; allowed: voltage steps and ramps that start at 0 ms")
    check_known("dt", dt, "ms", "> 0", lambda x: np.isfinite(x) and x > 0)
    begin, end, durations = (np.asarray(x, float) for x in (protocol.begin, protocol.end, protocol.durations))
    starts = _starts(durations)
    segments = [
        {"number": k + 1, "start_ms": float(start), "duration_ms": float(duration), "level_mV": float(level)}
        | ({} if level == origin else {"ramp_from_mV": float(origin)})
        for k, (start, duration, origin, level) in enumerate(zip(starts, durations, begin, end, strict=True))
    ]
    table = {
        "format": TABLE,
        "units": {"time": "ms", "potential": "mV"},
        "number_of_segments": len(segments),
        "total_length_ms": float(durations.sum()),
        "sampling_interval_ms": float(dt),
        "sampling_rate_kHz": float(1 / dt),
        "segments": segments,
    }
    return json.dumps(table, indent=1)


@typed
def from_operator_json(text: str) -> Segments:
    """The clamp that `to_operator_json` wrote; a ValueError says what is wrong with the text, or does not fit in it."""
    table = parse_object(text, "table")
    if table.get("format") != TABLE:
        raise ValueError(f"table: allowed: JSON with format {TABLE!r}")
    rows = table.get("segments")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError("table: segments; allowed: a list of objects, one a segment")
    numbers = {name: [_number(row, name, k) for k, row in enumerate(rows, 1)] for name in ("duration_ms", "level_mV")}
    begin = [_number(row, "ramp_from_mV" if "ramp_from_mV" in row else "level_mV", k) for k, row in enumerate(rows, 1)]
    protocol = Segments(begin, numbers["level_mV"], numbers["duration_ms"], kind="voltage")
    dt = _number(table, "sampling_interval_ms") if "sampling_interval_ms" in table else 0.1
    meant = json.loads(to_operator_json(protocol, dt))
    _check_same({name: value for name, value in table.items() if name in meant}, meant, "table: ")
    return protocol


def _number(written: dict, name: str, segment: int | None = None) -> float:
    """A number of a table, or of one of its segments."""
    value = written.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        where = "" if segment is None else f"segment {segment}: "
        raise ValueError(f"table: {where}{name} = {value!r:.40}; allowed: a number")
    return value


def _check_same(found: Any, meant: Any, where: str) -> None:
    """That a table says nothing but what its levels and durations mean; it may say less."""
    if isinstance(meant, dict) and isinstance(found, dict):
        for name, value in found.items():
            if name not in meant:
                raise ValueError(f"{where}{name[:40]!r} is no field; allowed: {', '.join(meant)}")
            _check_same(value, meant[name], f"{where}{name} ")
    elif isinstance(meant, list) and isinstance(found, list) and len(found) == len(meant):
        for k, (one, other) in enumerate(zip(found, meant, strict=True), 1):
            _check_same(one, other, f"{where}{k}: ")
    else:
        numbers = [x for x in (found, meant) if isinstance(x, int | float) and not isinstance(x, bool)]
        if not (np.isclose(*numbers, rtol=1e-6, atol=1e-6) if len(numbers) == 2 else found == meant):
            raise ValueError(f"{where}= {found!r:.40}; allowed: {meant!r:.40}, as follows from the rest of the table")


def _starts(durations):
    """When each segment starts."""
    return np.concatenate([[0.0], np.cumsum(durations)[:-1]])
