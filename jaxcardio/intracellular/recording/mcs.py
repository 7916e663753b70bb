"""The HDF5 files of Multi Channel Systems, protocol RawData.

A recording has analog streams: the raw one of the electrodes, filtered ones, digital and auxiliary ones. Each has a
table `InfoChannel`, one row a channel, and `ChannelData` (row, sample). The row of a channel is its RowIndex, not its
place in the table, and its potential is

    (ChannelData[RowIndex] - ADZero) x ConversionFactor x 10^Exponent    in its Unit,

each of them its own for every channel. `ChannelDataTimeStamps` (block, 3) has the time of the first sample (us), its
column and that of the last sample: where the times of two blocks do not join there is a gap.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...files.reading import WHOLE, Group, open_hdf5
from ...files.units import COMMON, find_unit
from .parts import Block, Choice, Event, check_not_chosen, joined_blocks, shortened
from .recording import Recording, described
from .samples import Encoding, InFile

PROTOCOL = "McsHdf5ProtocolType"
VERSIONS = range(1, 4)
NO_SOURCE = "00000000-0000-0000-0000-000000000000"
"""The source of a stream that comes from the hardware."""
UNITLESS = ("", "NoUnit")
WIDEST = 32
"""Bits of a converter."""
LARGEST_EXPONENT = 30
MOST_EVENTS = 100_000
KINDS = {"porat": "electroporation", "stim": "stimulus", "vehicle": "vehicle", "drug": "drug", "compound": "drug"}
"""Kind of an event by a part of its label."""


class _Stream(NamedTuple):
    """A stream and what its attributes say."""

    group: Group
    name: str
    label: str
    kinds: tuple[str, ...]
    """StreamType and DataSubType."""
    is_raw: bool

    def __str__(self) -> str:
        return f"{self.name} ({self.label!r}, {' '.join(self.kinds)}{', raw' * self.is_raw})"


def read_mcs(path: Path, choice: Choice) -> Recording:
    """The chosen stream of the chosen recording. ValueError: no such one, no potentials, or damaged."""
    check_not_chosen(choice, ("sampling_rate",), "a file of Multi Channel Systems, which says it")
    with open_hdf5(path) as file:
        protocol = file.text(PROTOCOL)
        if protocol != "RawData":
            raise ValueError(f"attribute {PROTOCOL} = {protocol[:60]!r}; allowed: 'RawData'")
        if file.whole("McsHdf5ProtocolVersion") not in VERSIONS:
            raise ValueError(
                f"attribute McsHdf5ProtocolVersion = {file.whole('McsHdf5ProtocolVersion')}; allowed: "
                f"{VERSIONS[0]} to {VERSIONS[-1]}"
            )
        notes: list[str] = []
        data = file.group("Data")
        recording = _chosen_recording(data, choice.recording, notes)
        stream = _chosen_stream(recording, choice.stream, notes)
        return _read_stream(path, recording, stream, choice.unit, _text(data, "MeaName"), notes)


def _numbered(group: Group, prefix: str) -> list[str]:
    """Names of the groups `prefix_0`, `prefix_1`, ... in the order of their numbers."""
    found = [x for x in group.names() if re.fullmatch(rf"{prefix}_\d{{1,9}}", x)]
    return sorted(found, key=lambda x: int(x.rpartition("_")[2]))


def _text(group: Group, name: str) -> str:
    return group.text(name).strip("\0 ") if group.has_attribute(name) else ""


def _chosen_recording(data: Group, asked: str | int | None, notes: list[str]) -> Group:
    names = _numbered(data, "Recording")
    if not names:
        raise ValueError("Data: no group Recording_0; allowed: at least one recording")
    labels = [_text(data.group(x), "Label") for x in names]
    shown = ", ".join(f"{n} ({label!r})" for n, label in zip(names[:8], labels, strict=False))
    if asked is None:
        if len(names) > 1:
            notes.append(f"{names[0]} is taken, the first of {len(names)} recordings: {shown}")
        return data.group(names[0])
    wanted = f"Recording_{asked}" if isinstance(asked, int) else asked
    found = [n for n, label in zip(names, labels, strict=True) if wanted in (label, n)]
    if len(found) != 1:
        raise ValueError(f"recording = {asked!r} ({len(found)} of this name); allowed: {shown}")
    return data.group(found[0])


def _streams(recording: Group) -> list[_Stream]:
    if "AnalogStream" not in recording.names():
        others = [x for x in recording.names() if x.endswith("Stream")]
        raise ValueError(
            f"{recording.name}: no AnalogStream (it has: {', '.join(others) or 'no stream'}); allowed: a recording "
            "with a stream of electrodes"
        )
    place = recording.group("AnalogStream")
    found = []
    for name in _numbered(place, "Stream"):
        group = place.group(name)
        kinds = tuple(x for x in (_text(group, "StreamType"), _text(group, "DataSubType")) if x)
        source = _text(group, "SourceStreamGUID").strip("{}")
        is_filter = any(x.lower() == "filter" for x in kinds)
        found.append(_Stream(group, name, _text(group, "Label"), kinds, source in ("", NO_SOURCE) and not is_filter))
    if not found:
        raise ValueError(f"{place.name}: no group Stream_0; allowed: at least one stream")
    return found


def _chosen_stream(recording: Group, asked: str | int | None, notes: list[str]) -> _Stream:
    streams = _streams(recording)
    shown = ", ".join(map(str, streams[:8]))
    if asked is None:
        found = _default_streams(streams)
        if len(found) == 1 and len(streams) > 1:
            notes.append(f"{found[0]} is taken, of {len(streams)} streams: {shown}")
    else:
        found = _matching(streams, asked)
    if len(found) != 1:
        said = f"{len(found)} streams fit" if found else "no stream fits"
        raise ValueError(f"{recording.name}: stream = {asked!r}, {said}; allowed: one of {shown}")
    return found[0]


def _default_streams(streams: list[_Stream]) -> list[_Stream]:
    """The raw electrode stream; without one, the only electrode stream, or the only one of all."""
    electrode = [x for x in streams if "electrode" in (k.lower() for k in x.kinds)]
    return [x for x in electrode if x.is_raw] or electrode or streams


def _matching(streams: list[_Stream], asked: str | int) -> list[_Stream]:
    """By number, else by label, by the group's name, by StreamType or by DataSubType: the first that any has."""
    if isinstance(asked, int):
        return [x for x in streams if x.name == f"Stream_{asked}"]
    said: list[Callable[[_Stream], Sequence[str]]] = [
        lambda x: (x.label,), lambda x: (x.name,), lambda x: x.kinds[:1], lambda x: x.kinds[1:],
    ]  # fmt: skip
    for names in said:
        found = [x for x in streams if asked.strip().lower() in (n.lower() for n in names(x))]
        if found:
            return [x for x in found if x.is_raw] if len(found) > 1 and any(x.is_raw for x in found) else found
    return []


def _read_stream(
    path: Path, recording: Group, stream: _Stream, unit: str | None, array: str, notes: list[str]
) -> Recording:
    group = stream.group
    where = f"{group.name}/InfoChannel"
    info = _Info(group.table("InfoChannel"), where)
    data = group.dataset("ChannelData")
    if len(data.shape) != 2 or data.dtype.kind not in WHOLE:
        raise ValueError(
            f"{data.name}: {data.dtype} of shape {data.shape}; allowed: whole numbers, (channels, samples)"
        )
    rows = info.whole("RowIndex")
    if len(set(rows)) < len(rows) or not all(0 <= x < data.shape[0] for x in rows):
        raise ValueError(f"{where}: RowIndex = {rows[:8]}; allowed: 0 to {data.shape[0] - 1}, each at most once")
    ticks = set(info.whole("Tick"))
    if len(ticks) > 1 or min(ticks) <= 0:
        raise ValueError(f"{where}: Tick = {sorted(ticks)[:8]} us; allowed: > 0, the same for every channel")
    rate = 1e6 / ticks.pop()
    gain = _gains(info, stream, unit)
    zero = np.array(info.whole("ADZero"), np.float64)
    names = _channel_names(info)
    return described(
        rate, names,
        positions=_positions(array, names, notes),
        limits=_limits(info, zero, gain),
        blocks=_blocks(group, data.shape[1], 1000.0 / rate),
        events=_events(recording, dict(zip(info.whole("ChannelID"), names, strict=True))),
        notes=tuple(notes),
        samples=InFile(path, data, rows, Encoding(gain, -zero * gain)),
    )  # fmt: skip


class _Info:
    """The table of the channels: its columns by name, whatever else it has."""

    def __init__(self, columns: Mapping[str, list[Any]], where: str):
        self._columns, self.where = columns, where
        self.count = len(next(iter(columns.values()), []))
        if not self.count:
            raise ValueError(f"{where}: no channel; allowed: at least one")

    def column(self, name: str) -> list[Any]:
        if name not in self._columns:
            raise ValueError(f"{self.where}: no field {name}; it has: {', '.join(self._columns)}")
        return self._columns[name]

    def whole(self, name: str) -> list[int]:
        found = self.column(name)
        if not all(isinstance(x, int) for x in found):
            raise ValueError(f"{self.where}: {name} = {str(found[:4])[:60]}; allowed: whole numbers")
        return found

    def texts(self, name: str) -> list[str]:
        found = self.column(name)
        if not all(isinstance(x, str) for x in found):
            raise ValueError(f"{self.where}: {name} = {str(found[:4])[:60]}; allowed: texts")
        return found

    def has(self, name: str) -> bool:
        return name in self._columns


def _gains(info: _Info, stream: _Stream, asked: str | None) -> np.ndarray:
    """(channel,) mV a step."""
    factors = []
    for written in info.texts("Unit"):
        unit = find_unit(asked if written in UNITLESS and asked else written)
        if written in UNITLESS and asked is None:
            raise ValueError(
                f"{info.where}: Unit = {written!r} of {stream}; allowed: a potential ({COMMON['potential']}), as "
                "electrodes have; or give unit, if these are potentials"
            )
        if unit is None or unit.quantity != "potential":
            raise ValueError(
                f"{info.where}: Unit = {written[:40]!r} of {stream}; allowed: a potential ({COMMON['potential']})"
            )
        if asked is not None and written not in UNITLESS and find_unit(asked) != unit:
            raise ValueError(f"{info.where}: Unit = {written!r}, and unit = {asked!r}; allowed: the one in the file")
        factors.append(unit.factor)
    steps, exponents = info.whole("ConversionFactor"), info.whole("Exponent")
    if 0 in steps:
        raise ValueError(f"{info.where}: ConversionFactor = 0; allowed: not 0")
    if max(map(abs, exponents)) > LARGEST_EXPONENT:
        raise ValueError(
            f"{info.where}: Exponent = {max(exponents, key=abs)}; allowed: -{LARGEST_EXPONENT} to {LARGEST_EXPONENT}"
        )
    return np.array([float(f"{c}e{e}") for c, e in zip(steps, exponents, strict=True)]) * np.array(factors)


def _channel_names(info: _Info) -> list[str]:
    """The electrodes, "47" of "47" and of "E-00303 47"; the whole labels where these are no names of their own."""
    ids = info.whole("ChannelID")
    labels = info.texts("Label")
    electrodes = [(x.split() or [""])[-1] for x in labels]
    for names in (electrodes, labels, [f"{x} (ID {k})" for x, k in zip(labels, ids, strict=True)]):
        if all(names) and len(set(names)) == len(names):
            return names
    raise ValueError(f"{info.where}: ChannelID = {shortened([str(k) for k in ids])}; allowed: each once")


def _limits(info: _Info, zero: np.ndarray, gain: np.ndarray) -> np.ndarray | None:
    """What converters of ADCBits bits give, from 0 where ADZero is in the middle of that, else with a sign."""
    if not info.has("ADCBits"):
        return None
    bits = np.array(info.whole("ADCBits"))
    if not ((bits > 1) & (bits <= WIDEST)).all():
        return None
    steps = 2.0**bits
    lowest = np.where(zero >= steps / 4, 0.0, -steps / 2)
    ends = np.stack([lowest, lowest + steps - 1], axis=1)
    return np.sort((ends - zero[:, None]) * gain[:, None], axis=1)


def _blocks(group: Group, length: int, interval: float) -> tuple[Block, ...]:
    stamps = group.numbers("ChannelDataTimeStamps", (None, 3), WHOLE)
    where = f"{group.name}/ChannelDataTimeStamps"
    try:
        blocks = joined_blocks([Block(int(a), int(b) + 1, int(t) / 1e3) for t, a, b in stamps], interval)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    end = blocks[-1].last if blocks else 0
    if end != length or not length:
        raise ValueError(f"{where}: {end} samples, and ChannelData has {length}; allowed: as many, and at least one")
    return blocks


def _positions(array: str, names: list[str], notes: list[str]) -> np.ndarray | None:
    """Electrode "47" is in column 4 and row 7 of a grid whose spacing the name of the array gives: 60MEA200/30iR."""
    spacing = re.search(r"MEA(\d{2,4})/\d", array)
    if spacing is None or not all(re.fullmatch(r"[1-9]{2}", x) for x in names):
        return None
    notes.append(f"positions are by the names of the electrodes (column, row) and the spacing in MeaName = {array!r}")
    return np.array([[int(x[0]) - 1, int(x[1]) - 1] for x in names]) * float(spacing[1])


def _events(recording: Group, channels: Mapping[int, str]) -> list[Event]:
    """The times in the event streams."""
    if "EventStream" not in recording.names():
        return []
    place = recording.group("EventStream")
    found: list[Event] = []
    for name in _numbered(place, "Stream"):
        stream = place.group(name)
        info = stream.table("InfoEvent") if "InfoEvent" in stream.names() else {}
        entities = _numbered(stream, "EventEntity")
        for entity in entities:
            found += _entity_events(stream, entity, info, channels)
            if len(found) > MOST_EVENTS:
                raise ValueError(f"{stream.name}: more than {MOST_EVENTS} events; allowed: at most so many")
    return found


def _entity_events(
    stream: Group, entity: str, info: Mapping[str, list[Any]], channels: Mapping[int, str]
) -> list[Event]:
    """Row 0 of its data has times in us. Its row in the table says what it is."""
    data = stream.dataset(entity)
    if len(data.shape) != 2 or (data.shape[0] == 0 and data.size):
        raise ValueError(f"{data.name}: shape {data.shape}; allowed: (times and more, events)")
    number = int(entity.rpartition("_")[2])
    row = next((k for k, x in enumerate(info.get("EventID", [])) if x == number), None)
    label = _text(stream, "Label") if row is None else str(info.get("Label", [""] * (row + 1))[row])
    said = f"{_text(stream, 'Label')} {label}".lower()
    kind = next((kind for part, kind in KINDS.items() if part in said), "event")
    of = _source_channels("" if row is None else str(info.get("SourceChannelIDs", [""] * (row + 1))[row]), channels)
    times = data.numbers(kinds=WHOLE) if data.size else np.empty((1, 0))
    return [Event(int(t) / 1e3, kind, label, None, of) for t in times[0]]


def _source_channels(ids: str, channels: Mapping[int, str]) -> tuple[str, ...] | None:
    found = [x.strip() for x in ids.split(",")]
    if not all(x.isdecimal() and int(x) in channels for x in found):
        return None
    return tuple(dict.fromkeys(channels[int(x)] for x in found))
