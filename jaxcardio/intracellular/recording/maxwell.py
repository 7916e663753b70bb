"""The HDF5 files of MaxWell, both layouts.

20160704: `/sig` (row, sample), in which the row of a channel is its number, `/mapping` (channel, electrode, x, y),
`/settings/lsb` (V a step) or `/settings/gain`, 20 kHz. Later: `/wells/well<NNN>/rec<NNNN>`, or
`/data_store/data<NNNN>`, with `settings/{sampling, lsb, gain, mapping}` and `groups/routed/raw`, in which the row of a
channel is its place in `groups/routed/channels` or, without that, in the mapping.

Where there is a `groups/routed/frame_nos`, the number of the frame of each sample, frames that are left out are gaps.

A number is of an amplifier's converter of 10 bits: with a gain and no lsb, a step is 3.3 V / (1024 gain).
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...files.reading import Group, open_hdf5
from .parts import Block, Choice, check_not_chosen, joined_blocks
from .recording import Recording, described
from .samples import Encoding, InFile

OLD = 20160704
OLD_RATE = 20_000.0
"""Hz: files of the old layout do not say it."""
SUPPLY, STEPS = 3300.0, 1024
"""mV over which the converter has so many steps."""
USUAL_GAIN = 512.0
MOST_BLOCKS = 10_000


class _Place(NamedTuple):
    """A recording of a well."""

    group: Group
    well: str
    recording: str


def is_maxwell(names: Sequence[str]) -> bool:
    """Whether a file whose root has these names is one of MaxWell."""
    return "version" in names and bool({"sig", "wells", "data_store"} & set(names))


def read_maxwell(path: Path, choice: Choice) -> Recording:
    """The chosen recording of the chosen well. ValueError: no such one, damaged, or its compression is not readable."""
    check_not_chosen(choice, ("unit", "sampling_rate"), "a file of MaxWell, which says it")
    with open_hdf5(path) as file:
        version = (file.texts("version") or [""])[0]
        if not version.isdecimal() or int(version) < OLD:
            raise ValueError(f"version = {version[:40]!r}; allowed: {OLD} or later")
        if "sig" in file.names():
            check_not_chosen(choice, ("stream", "recording"), f"a file of MaxWell of {OLD}, which has one recording")
            return _read_old(path, file)
        return _read_new(path, file, choice)


def _read_old(path: Path, file: Group) -> Recording:
    notes: list[str] = []
    mapping = _mapping(file, "mapping")
    settings = file.group("settings") if "settings" in file.names() else None
    return _recording(path, file, "sig", mapping, [x[0] for x in mapping], OLD_RATE, _step(settings, notes), notes)


def _read_new(path: Path, file: Group, choice: Choice) -> Recording:
    notes: list[str] = []
    group = _chosen(file, choice, notes).group
    settings = group.group("settings")
    mapping = _mapping(settings, "mapping")
    routed = group.group("groups/routed")
    if "channels" in routed.names():
        order = [int(x) for x in routed.numbers("channels", (None,), "iu")]
        if len(set(order)) < len(order):
            raise ValueError(f"{routed.name}/channels: one of them twice; allowed: each once")
        mapping = [x for x in mapping if x[0] in set(order)]
        rows = [order.index(x[0]) for x in mapping]
    else:
        rows = list(range(len(mapping)))
    rate = _single(settings, "sampling")
    return _recording(path, routed, "raw", mapping, rows, rate, _step(settings, notes), notes)


def _recording(
    path: Path, group: Group, name: str, mapping: list[tuple[int, int, float, float]], rows: list[int], rate: float,
    step: float, notes: list[str],
) -> Recording:  # fmt: skip
    data = group.dataset(name, plugins=True)
    if len(data.shape) != 2 or data.dtype.kind not in "iu" or not data.size:
        raise ValueError(
            f"{data.name}: {data.dtype} of shape {data.shape}; allowed: whole numbers, (channels, samples)"
        )
    if not mapping:
        raise ValueError(f"{data.name}: no channel of its rows is in the mapping; allowed: at least one")
    if max(rows) >= data.shape[0]:
        raise ValueError(f"{data.name}: {data.shape[0]} rows, and a channel in row {max(rows)}; allowed: as many rows")
    if not 0 < rate < np.inf:
        raise ValueError(f"sampling = {rate} Hz; allowed: finite, > 0 Hz")
    count = len(mapping)
    return described(
        rate, _names(mapping),
        positions=[x[2:] for x in mapping],
        limits=np.tile([0.0, (STEPS - 1) * step], (count, 1)),
        blocks=_blocks(group, data.shape[1], 1000.0 / rate), notes=tuple(notes),
        samples=InFile(path, data, rows, Encoding(np.full(count, step), np.zeros(count))),
    )  # fmt: skip


def _blocks(group: Group, length: int, interval: float) -> tuple[Block, ...]:
    """By the numbers of the frames, where they are: only as many are read as it takes to find the gaps."""
    if "frame_nos" not in group.names():
        return (Block(0, length, 0.0),)
    frames = group.dataset("frame_nos")
    if frames.shape != (length,) or frames.dtype.kind not in "iu":
        raise ValueError(f"{frames.name}: {frames.dtype} of shape {frames.shape}; allowed: whole numbers ({length},)")
    origin = int(frames.rows(0, 1)[0])

    def left_out(k: int) -> int:
        """Frames between the first sample and sample k that have none."""
        return int(frames.rows(k, k + 1)[0]) - origin - k

    blocks: list[Block] = []
    first, total = 0, left_out(length - 1)
    while len(blocks) < MOST_BLOCKS:
        so_far = left_out(first)
        last = length if so_far == total else first + 1
        high = length - 1
        while last < high:
            middle = (last + high) // 2
            last, high = (last, middle) if left_out(middle) > so_far else (middle + 1, high)
        blocks.append(Block(first, last, (so_far + first) * interval))
        if last == length:
            break
        first = last
    if blocks[-1].last != length or total < 0:
        raise ValueError(f"{frames.name}: frames that go back, or more than {MOST_BLOCKS} gaps; allowed: ascending")
    return joined_blocks(blocks, interval)


def _mapping(group: Group, name: str) -> list[tuple[int, int, float, float]]:
    """Channel, electrode, x and y (um) of every connected one."""
    columns = group.table(name)
    where = f"{group.name}/{name}".lstrip("/")
    for field in ("channel", "electrode", "x", "y"):
        if field not in columns:
            raise ValueError(f"{where}: no field {field}; it has: {', '.join(columns)}")
        if not all(isinstance(x, int | float) and np.isfinite(x) for x in columns[field]):
            raise ValueError(f"{where}: {field}; allowed: finite numbers")
    rows = zip(*(columns[x] for x in ("channel", "electrode", "x", "y")), strict=True)
    found = [(int(c), int(e), float(x), float(y)) for c, e, x, y in rows if c >= 0]
    if len({x[0] for x in found}) < len(found):
        raise ValueError(f"{where}: a channel twice; allowed: each once")
    return found


def _names(mapping: list[tuple[int, int, float, float]]) -> list[str]:
    """The numbers of the electrodes, with those of the channels where two have one electrode."""
    electrodes = [x[1] for x in mapping]
    twice = len(set(electrodes)) < len(electrodes)
    return [f"{e} (channel {c})" if twice else str(e) for c, e, *_ in mapping]


def _step(settings: Group | None, notes: list[str]) -> float:
    """mV."""
    names = [] if settings is None else settings.names()
    if settings is not None and "lsb" in names:
        return _positive(settings, "lsb", "V") * 1e3
    if settings is not None and "gain" in names:
        return SUPPLY / (STEPS * _positive(settings, "gain", ""))
    notes.append(f"the file has neither lsb nor gain: a gain of {USUAL_GAIN:g} is taken")
    return SUPPLY / (STEPS * USUAL_GAIN)


def _positive(group: Group, name: str, unit: str) -> float:
    value = _single(group, name)
    if not 0 < value < np.inf:
        raise ValueError(f"{group.name}/{name} = {value} {unit}; allowed: finite, > 0")
    return value


def _single(group: Group, name: str) -> float:
    found: Any = group.numbers(name)
    if found.size < 1:
        raise ValueError(f"{group.name}/{name}: no number; allowed: one")
    return float(found.ravel()[0])


def _chosen(file: Group, choice: Choice, notes: list[str]) -> _Place:
    places = _places(file)
    if not places:
        raise ValueError("wells: no recording in it; allowed: at least one, wells/well<NNN>/rec<NNNN>")
    wells, recordings = ([*dict.fromkeys(x)] for x in zip(*((p.well, p.recording) for p in places), strict=True))
    well = _wanted("stream", choice.stream, wells, "well{:03d}")
    recordings = [p.recording for p in places if p.well == well]
    recording = _wanted("recording", choice.recording, recordings, "rec{:04d}")
    if len(places) > 1 and (choice.stream is None or choice.recording is None):
        shown = ", ".join(f"{p.well}/{p.recording}" for p in places[:8])
        notes.append(f"{well}/{recording} is taken, of {len(places)} recordings: {shown}")
    return next(p for p in places if (p.well, p.recording) == (well, recording))


def _wanted(name: str, asked: str | int | None, names: list[str], pattern: str) -> str:
    wanted = names[0] if asked is None else pattern.format(asked) if isinstance(asked, int) else asked
    if wanted not in names:
        raise ValueError(f"{name} = {asked!r}; allowed: {', '.join(names[:8])}")
    return wanted


def _places(file: Group) -> list[_Place]:
    """Every recording of every well. Where wells are links, they lead to the data store."""
    if "wells" not in file.names():
        return _stored(file)
    found = []
    wells = file.group("wells")
    for well in (x for x in wells.names() if re.fullmatch(r"well\d+", x)):
        place = wells.group(well)
        for name in place.members():
            if re.fullmatch(r"rec\d+", name):
                target = place.soft_target(name)
                found.append(_Place(place.group(name) if target is None else file.group(target), well, name))
    return found


def _stored(file: Group) -> list[_Place]:
    store = file.group("data_store")
    return [
        _Place(store.group(x), "well000", f"rec{int(x[4:]):04d}")
        for x in store.names()
        if re.fullmatch(r"data\d{1,9}", x)
    ]
