"""The own layout of recordings, written as the samples come."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from jaxtyping import ArrayLike, Float

from ...annotations import typed
from ...arguments import check_known, check_whole, refusal
from ...files.writing import filling_hdf5, put, whole
from .parts import (
    Block,
    Event,
    check_channels,
    check_events,
    check_kinds,
    check_limits,
    check_pairs_of_numbers,
    check_partners,
    joined_blocks,
)
from .samples import Encoding

FORMAT, VERSION = "jaxcardio recording", 1
CHUNK = 16_384
"""Samples of one channel that share a checksum."""
WAITING = 16 << 20
"""Samples of all channels that wait for their chunk to be full, at most."""
HIGHEST = 32_767
"""Largest whole number of 16 bits, and minus the smallest that is used with `limits`."""


class RecordingWriter:
    """Writes a recording in the own layout, as its samples come, whole or not at all.

        with RecordingWriter("recording.h5", 5000.0, ["47", "48"], limits=[[-10, 10], [-10, 10]]) as writer:
            writer.append(values)                         # (channel, sample) in mV, as often as there are samples

    The file is there, complete, when the block ends; if the block raises, what was there before is as it was.

    The layout, an HDF5 file:

    - attributes of the root: `format` = "jaxcardio recording", `format_version` = 1, `sampling_rate_Hz`, `digest`
      (SHA-256 of the others), and `about`, JSON: {"channels": [names], "kinds": ["extracellular" or "intracellular"],
      "partners": [index or -1], "events": [{"time_ms", "kind", "label", "concentration_nM" (or null), "channels"
      (names, or null for all)}], "notes": [texts]};
    - `samples` (channel, sample), either int16, then mV = number x `gain` + `offset` (both (channel,) float64, mV), or
      float32 in mV, NaN where a sample is missing; in chunks of one channel and up to 16384 samples, each with a
      checksum (Fletcher-32);
    - `blocks/first`, `blocks/last` (exclusive; samples) and `blocks/start` (ms), each (block,): stretches without gap;
    - `positions` (channel, 2) in um and `limits` (channel, 2) in mV, where they are known.

    Args:
        path: of the file.
        sampling_rate: Hz.
        channels: names, each once.
        kinds, partners, positions, events, notes: as the attributes of `Recording`; events may also be appended to
            `writer.events` while samples come.
        limits: lowest and highest potential of each channel (channel, 2), mV. With them samples are written as 16 bits
            between the limits, as a converter would: what is beyond becomes the limit.
        start: time of the first sample, ms.
        n_samples: how many there will be; to have fewer or more is then an error. None: as many as come.
        encoding: "int16" (takes `limits`), "float32", or the gain and offset of whole numbers that lose nothing. None:
            int16 with limits, else float32.

    Raises:
        ValueError: an argument that is not as it should be, or a place where nothing can be written.
        OSError: it could not be written, e.g. for a full disk.
    """

    @typed
    def __init__(
        self,
        path: str | Path,
        sampling_rate: float,
        channels: Sequence[str],
        *,
        kinds: Sequence[Any] | None = None,
        partners: Sequence[int] | None = None,
        positions: ArrayLike | None = None,
        limits: ArrayLike | None = None,
        events: Sequence[Event] = (),
        notes: Sequence[Any] = (),
        start: float = 0.0,
        n_samples: int | None = None,
        encoding: Literal["int16", "float32"] | Encoding | None = None,
    ):
        check_known("sampling_rate", sampling_rate, "Hz", "finite, > 0 Hz", lambda x: np.isfinite(x) & (x > 0))
        check_known("start", start, "ms", "a finite number", np.isfinite)
        if n_samples is not None:
            check_whole("n_samples", n_samples, "samples")
        self.path = path
        self.sampling_rate = float(sampling_rate)
        self.channels = check_channels(channels)
        count = len(self.channels)
        self.kinds, self.partners = check_kinds(kinds, count), check_partners(partners, count)
        self.positions = check_pairs_of_numbers("positions", positions, count, "um")
        self.limits = check_limits(limits, count)
        self.events = list(check_events(events, self.channels))
        for note in notes:
            if not isinstance(note, str):
                raise refusal("notes", note, "", "a list of texts")
        self.notes = tuple(notes)
        self._encoding = _encoding(encoding, self.limits)
        self._start, self._promised = float(start), n_samples
        self._blocks: list[Block] = []
        self._chunk = max(1, min(CHUNK, WAITING // count, n_samples or CHUNK))
        self._waiting = np.empty((count, self._chunk), np.float32 if self._encoding is None else np.int16)
        self._written = self._held = 0
        self._open = contextlib.ExitStack()
        self._samples: Any = None
        self._file: Any = None

    def __enter__(self) -> "RecordingWriter":
        with contextlib.ExitStack() as stack:
            part = stack.enter_context(whole(self.path))
            self._file = stack.enter_context(filling_hdf5(part))
            self._samples = self._file.create_dataset(
                "samples", (len(self.channels), self._promised or 0), self._waiting.dtype, chunks=(1, self._chunk),
                maxshape=(None, None) if self._promised is None else None, fletcher32=True,
            )  # fmt: skip
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        try:
            if error[0] is None:
                self._finish()
        except BaseException as found:
            self._samples = None
            self._open.__exit__(type(found), found, found.__traceback__)
            raise
        self._samples = None
        return self._open.__exit__(*error)

    @property
    def n_samples(self) -> int:
        """Samples of each channel so far."""
        return self._written + self._held

    @typed
    def append(self, values: Float[ArrayLike, "channel sample"], start: float | None = None) -> None:
        """More samples, (channel, sample) in mV.

        Args:
            values: finite ones; with float32 also NaN, for those that are missing.
            start: time of the first of them, ms, if it is not one interval after the last sample: after a gap.

        ValueError: another number of channels, more samples than promised, an infinite value, a time that goes back.
        """
        if self._samples is None:
            raise ValueError("append: the file is not open; allowed: within `with RecordingWriter(...)`")
        found = np.asarray(values)
        if found.shape[0] != len(self.channels):
            raise ValueError(
                f"values: expected shape ({len(self.channels)}, samples), got {found.shape}; allowed: all the channels"
            )
        if self._promised is not None and self.n_samples + found.shape[1] > self._promised:
            raise ValueError(
                f"n_samples = {self._promised} samples, and {self.n_samples + found.shape[1]} came; allowed: as many "
                "as were promised"
            )
        codes = self._encoded(found)
        if found.shape[1]:
            self._begin_block(found.shape[1], start)
        place = 0
        while place < codes.shape[1]:
            taken = min(self._chunk - self._held, codes.shape[1] - place)
            self._waiting[:, self._held : self._held + taken] = codes[:, place : place + taken]
            self._held += taken
            place += taken
            if self._held == self._chunk:
                self._flush()

    def _encoded(self, values: np.ndarray) -> np.ndarray:
        if self._encoding is None:
            if np.isinf(values).any():
                raise ValueError("values: infinite; allowed: finite, or NaN where a sample is missing, mV")
            return values.astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError("values: NaN or infinite; allowed with 16 bits: finite, mV (or encoding = 'float32')")
        gain, offset = (x[:, None] for x in self._encoding)
        lowest = -HIGHEST if self.limits is not None else -HIGHEST - 1
        return np.clip(np.rint((values.astype(np.float64) - offset) / gain), lowest, HIGHEST).astype(np.int16)

    def _begin_block(self, count: int, start: float | None) -> None:
        interval, first = 1000.0 / self.sampling_rate, self.n_samples
        if start is None:
            last = self._blocks[-1] if self._blocks else None
            start = self._start if last is None else last.start + (last.last - last.first) * interval
        check_known("start", start, "ms", "a finite number", np.isfinite)
        self._blocks = list(joined_blocks([*self._blocks, Block(first, first + count, float(start))], interval))

    def _flush(self) -> None:
        end = self._written + self._held
        if self._promised is None:
            self._samples.resize(end, axis=1)
        self._samples[:, self._written : end] = self._waiting[:, : self._held]
        self._written, self._held = end, 0

    def _finish(self) -> None:
        if self._held:
            self._flush()
        if self._written == 0 or self._written < (self._promised or 0):
            raise ValueError(
                f"path = {self.path}: {self._written} samples; allowed: {self._promised or 'one or more'} (nothing was "
                "written)"
            )
        events = check_events(self.events, self.channels)
        about = {
            "channels": self.channels, "kinds": self.kinds, "partners": self.partners,
            "events": [_event_to_json(x) for x in events], "notes": self.notes,
        }  # fmt: skip
        self._file.attrs.update(
            format=FORMAT, format_version=VERSION, sampling_rate_Hz=self.sampling_rate, about=json.dumps(about)
        )
        self._samples.attrs["unit"] = "mV" if self._encoding is None else "1"
        _put_all(self._file, self._encoding, self._blocks, positions=self.positions, limits=self.limits)


def _put_all(file: h5py.File, encoding: Encoding | None, blocks: Sequence[Block], **pairs: np.ndarray | None) -> None:
    if encoding is not None:
        put(file, "gain", encoding.gain, "mV")
        put(file, "offset", encoding.offset, "mV")
    put(file, "blocks/first", np.array([x.first for x in blocks], np.int64), "samples")
    put(file, "blocks/last", np.array([x.last for x in blocks], np.int64), "samples")
    put(file, "blocks/start", np.array([x.start for x in blocks], np.float64), "ms")
    for name, unit in (("positions", "um"), ("limits", "mV")):
        values = pairs[name]
        if values is not None:
            put(file, name, values, unit)


def _encoding(asked: str | Encoding | None, limits: np.ndarray | None) -> Encoding | None:
    if isinstance(asked, Encoding):
        return asked
    if asked == "float32" or (asked is None and limits is None):
        return None
    if limits is None:
        raise refusal("encoding", asked, "", "'float32', or limits (channel, 2) in mV")
    middle, half = limits.mean(axis=1), np.diff(limits, axis=1)[:, 0] / 2
    return Encoding(half / HIGHEST, middle)


def _event_to_json(event: Event) -> dict[str, Any]:
    return {
        "time_ms": event.time, "kind": event.kind, "label": event.label, "concentration_nM": event.concentration,
        "channels": event.channels,
    }  # fmt: skip
