"""Clamps as a table that an amplifier's operator reads and types in."""

import json

import numpy as np

from ...annotations import typed
from ...arguments import check, check_known
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
    try:
        table = parse_object(text, "table")
        if table.get("format") != TABLE:
            raise ValueError(f"table: allowed: JSON with format {TABLE!r}")
        rows = table["segments"]
        level = np.array([row["level_mV"] for row in rows], float)
        begin = np.array([row.get("ramp_from_mV", row["level_mV"]) for row in rows], float)
        durations = np.array([row["duration_ms"] for row in rows], float)
        starts = np.array([row["start_ms"] for row in rows], float)
        length = float(table["total_length_ms"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"table: not a whole {TABLE} ({error!r})") from None
    protocol = Segments(begin, level, durations, kind="voltage")
    meant = "start_ms and total_length_ms that follow from duration_ms"
    check("table", np.append(starts, length), "ms", meant, lambda x: np.allclose(x, _starts(durations, whole=True)))
    return protocol


def _starts(durations, whole: bool = False):
    """When each segment starts; with the end of the last if `whole`."""
    edges = np.concatenate([[0.0], np.cumsum(durations)])
    return edges if whole else edges[:-1]
