"""Writers of the layouts in which other programs keep recordings of electrode arrays: small files for the tests.

Multi Channel Systems' HDF5 (protocol RawData) and MaxWell's, as their readers describe them; nothing of them is copied.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

NO_SOURCE = "00000000-0000-0000-0000-000000000000"
TEXTS = {
    "bytes": "S64",
    "ascii": h5py.string_dtype("ascii"),
    "utf-8": h5py.string_dtype("utf-8"),
}
"""Ways in which HDF5 keeps texts."""


@dataclass
class Stream:
    """An analog stream: rows (channel, sample) in the order of its table, each then put into the row `order` says."""

    data: np.ndarray
    label: str = "Electrode Raw Data"
    stream_type: str = "Electrode"
    subtype: str = "Electrode"
    source: str = NO_SOURCE
    labels: Sequence[str] | None = None
    order: Sequence[int] | None = None
    unit: str = "V"
    conversion: Sequence[int] | int = 59605
    exponent: Sequence[int] | int = -12
    zero: Sequence[int] | int = 0
    tick: int = 200
    bits: int = 24
    stamps: Sequence[Sequence[int]] | None = None
    extra: dict[str, Sequence[Any]] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Events:
    """An event stream with one entity: times in us."""

    times: Sequence[int]
    label: str = "Digital Events"
    entity: str = "Electroporation"
    sources: str = ""


@dataclass
class Part:
    """A recording."""

    streams: Sequence[Stream]
    label: str = ""
    events: Sequence[Events] = ()
    stamp: int = 0


def write_mcs(path: Path, *parts: Part, texts: str = "bytes", mea: str = "60MEA200/30iR", numbers: bool = True) -> Path:
    """A file of Multi Channel Systems; `texts` says how it keeps them."""
    as_text = TEXTS[texts]
    with h5py.File(path, "w") as file:
        _attributes(
            file, as_text, McsHdf5ProtocolType="RawData", McsHdf5ProtocolVersion=3,
            GeneratingApplicationName="Multi Channel DataManager", McsDataToolsVersion="1.0",
        )  # fmt: skip
        data = file.create_group("Data")
        _attributes(
            data, as_text, ProgramName="Multi Channel Experimenter", ProgramVersion="2.20", MeaName=mea, MeaLayout="",
            MeaSN="", Date="Saturday", DateInTicks=638_000_000_000_000_000, FileGUID=NO_SOURCE, Comment="",
        )  # fmt: skip
        for k, part in enumerate(parts):
            recording = data.create_group(f"Recording_{k}")
            _attributes(
                recording, as_text, RecordingID=k, RecordingType="", TimeStamp=part.stamp, Duration=1, Label=part.label,
                Comment="",
            )  # fmt: skip
            for j, stream in enumerate(part.streams):
                _write_stream(recording.create_group(f"AnalogStream/Stream_{j}"), stream, as_text, j)
            for j, events in enumerate(part.events):
                _write_events(recording.create_group(f"EventStream/Stream_{j}"), events, as_text)
    return path


def _attributes(where: Any, as_text: Any, **values: Any) -> None:
    for name, value in values.items():
        if isinstance(value, str):
            fixed = as_text == "S64"
            kept = np.bytes_(value or " ") if fixed else value
            where.attrs.create(name, kept, dtype=f"S{max(1, len(value))}" if fixed else as_text)
        else:
            where.attrs.create(name, np.int64(value))


def _write_stream(group: h5py.Group, stream: Stream, as_text: Any, number: int) -> None:
    count, length = stream.data.shape
    _attributes(
        group, as_text, StreamInfoVersion=1, Label=stream.label, SourceStreamGUID=stream.source,
        StreamGUID=f"{number + 1:08d}-0000-0000-0000-000000000000", StreamType=stream.stream_type,
        DataSubType=stream.subtype,
    )  # fmt: skip
    order = list(range(count)) if stream.order is None else list(stream.order)
    labels = [f"{k // 8 + 1}{k % 8 + 1}" for k in range(count)] if stream.labels is None else stream.labels
    columns: dict[str, tuple[Any, Any]] = {
        "ChannelID": ("i4", range(count)), "RowIndex": ("i4", order), "GroupID": ("i4", [0] * count),
        "Label": (as_text, labels), "RawDataType": (as_text, ["Int"] * count), "Unit": (as_text, [stream.unit] * count),
        "Exponent": ("i4", stream.exponent), "ADZero": ("i4", stream.zero), "Tick": ("i8", stream.tick),
        "ConversionFactor": ("i8", stream.conversion), "ADCBits": ("i4", stream.bits),
        "HighPassFilterType": (as_text, [""] * count), "HighPassFilterCutOffFrequency": (as_text, ["-1"] * count),
        "HighPassFilterOrder": ("i4", -1), "LowPassFilterType": (as_text, [""] * count),
        "LowPassFilterCutOffFrequency": (as_text, ["-1"] * count), "LowPassFilterOrder": ("i4", -1),
        **{name: (np.asarray(values).dtype, values) for name, values in stream.extra.items()},
    }  # fmt: skip
    info = _table(group, "InfoChannel", count, columns)
    info.attrs["InfoVersion"] = np.int32(1)
    rows = np.empty_like(stream.data)
    rows[order] = stream.data
    group.create_dataset("ChannelData", data=rows, **stream.options)
    stamps = [[0, 0, length - 1]] if stream.stamps is None else stream.stamps
    group.create_dataset("ChannelDataTimeStamps", data=np.array(stamps, np.int64))


def _write_events(group: h5py.Group, events: Events, as_text: Any) -> None:
    _attributes(
        group, as_text, StreamInfoVersion=1, Label=events.label, SourceStreamGUID=NO_SOURCE, StreamGUID=NO_SOURCE,
        StreamType="Event", DataSubType="UserData",
    )  # fmt: skip
    columns = {
        "EventID": ("i4", [0]), "GroupID": ("i4", [0]), "Label": (as_text, [events.entity]),
        "RawDataBytes": ("i4", [4]), "SourceChannelIDs": (as_text, [events.sources]),
        "SourceChannelLabels": (as_text, [""]),
    }  # fmt: skip
    _table(group, "InfoEvent", 1, columns).attrs["InfoVersion"] = np.int32(1)
    times = np.array(events.times, np.int64)
    group.create_dataset("EventEntity_0", data=np.stack([times, np.full_like(times, 200)]))


def _table(group: h5py.Group, name: str, count: int, columns: dict[str, tuple[Any, Any]]) -> h5py.Dataset:
    table = np.empty(count, [(field, kind) for field, (kind, _) in columns.items()])
    for field_name, (kind, values) in columns.items():
        values = [x.encode() for x in values] if kind == "S64" else values
        table[field_name] = list(values) if isinstance(values, range) else values
    return group.create_dataset(name, data=table)


MAPPING = np.dtype([("channel", "i4"), ("electrode", "i4"), ("x", "f8"), ("y", "f8")])


def mapping(*rows: tuple[int, int, float, float]) -> np.ndarray:
    """Channel, electrode, x and y in um."""
    return np.array(list(rows), MAPPING)


def write_maxwell_2016(path: Path, raw: np.ndarray, channels: np.ndarray, **settings: float) -> Path:
    """MaxWell's layout 20160704; `settings`: lsb (V) or gain."""
    with h5py.File(path, "w") as file:
        file["version"] = np.array([b"20160704"])
        file["sig"] = raw.astype(np.uint16)
        file["mapping"] = channels
        for name, value in settings.items():
            file[f"settings/{name}"] = np.array([value])
        file.require_group("settings")
    return path


def write_maxwell_2019(
    path: Path, recordings: dict[str, np.ndarray], channels: np.ndarray, *, routed: Sequence[int] | None = None,
    linked: str | None = None, sampling: float = 20_000.0, **settings: float,
) -> Path:  # fmt: skip
    """MaxWell's later layout: `recordings` by "well000/rec0000"; "soft" or "hard" links to a data store, or none."""
    with h5py.File(path, "w") as file:
        file["version"] = np.array([b"20190530"])
        for k, (name, raw) in enumerate(recordings.items()):
            place = f"data_store/data{k:04d}" if linked else f"wells/{name}"
            file[f"{place}/groups/routed/raw"] = raw.astype(np.uint16)
            if routed is not None:
                file[f"{place}/groups/routed/channels"] = np.array(routed, np.uint16)
            file[f"{place}/settings/mapping"] = channels
            file[f"{place}/settings/sampling"] = np.array([sampling])
            for setting, value in settings.items():
                file[f"{place}/settings/{setting}"] = np.array([value])
            if linked:
                above = file.require_group(f"wells/{name.partition('/')[0]}")
                above[name.partition("/")[2]] = h5py.SoftLink(f"/{place}") if linked == "soft" else file[place]
    return path


def write_with_missing_filter(path: Path) -> Path:
    """MaxWell's later layout, compressed by a filter that is nowhere."""
    write_maxwell_2019(
        path, {"well000/rec0000": np.zeros((2, 100))}, mapping((0, 5, 0.0, 0.0), (1, 6, 17.5, 0.0)), lsb=6e-6
    )
    with h5py.File(path, "r+") as file:
        routed: Any = file["wells/well000/rec0000/groups/routed"]
        del routed["raw"]
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_chunk((2, 100))
        how.set_filter(32_099, h5py.h5z.FLAG_OPTIONAL, (1,))
        space = h5py.h5s.create_simple((2, 100))
        made = h5py.h5d.create(routed.id, b"raw", h5py.h5t.NATIVE_UINT16, space, how)
        made.write_direct_chunk((0, 0), b"packed by a maker", 0)
    return path
