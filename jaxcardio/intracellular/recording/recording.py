"""A recording of many channels: what is known of it, and its samples, which stay in the file until they are read."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Float, Float32

from ...annotations import typed
from ...arguments import check_known, check_whole, refusal
from .parts import (
    Block,
    Choice,
    Event,
    check_channels,
    check_events,
    check_kinds,
    check_limits,
    check_pairs_of_numbers,
    check_partners,
    times_of,
)
from .samples import AbstractSamples, InMemory
from .writer import RecordingWriter

SAVED = 4 << 20
"""Samples that `save` copies at a time."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Recording:
    """An extracellular (or paired) recording of many channels. Make one with `load` or `from_samples`.

    Attributes:
        sampling_rate: Hz.
        channels: their names.
        kinds: "extracellular" or "intracellular" (of an electroporated cell), one a channel; extracellular where the
            file does not say.
        partners: index of the intracellular neighbour of each channel, -1 for none.
        positions: of the electrodes (channel, 2), um, or None.
        limits: lowest and highest potential (channel, 2) that the converter can give, mV, or None: samples there are
            clipped.
        blocks: stretches of samples without a gap.
        events: what happened, in the order of time.
        notes: what the reader had to choose or assume.
    """

    sampling_rate: float
    channels: tuple[str, ...]
    kinds: tuple[str, ...]
    partners: tuple[int, ...]
    positions: np.ndarray | None
    limits: np.ndarray | None
    blocks: tuple[Block, ...]
    events: tuple[Event, ...]
    notes: tuple[str, ...]
    samples: AbstractSamples

    def __repr__(self) -> str:
        return (
            f"Recording({len(self.channels)} channels, {self.n_samples} samples at {self.sampling_rate:g} Hz, "
            f"{self.duration / 1e3:.6g} s in {len(self.blocks)} blocks, {len(self.events)} events)"
        )

    @property
    def n_samples(self) -> int:
        """Samples of each channel."""
        return self.blocks[-1].last if self.blocks else 0

    @property
    def duration(self) -> float:
        """From the first sample to one interval after the last, gaps included, ms."""
        if not self.blocks:
            return 0.0
        last = self.blocks[-1]
        return last.start + (last.last - last.first) * self.interval - self.blocks[0].start

    @property
    def interval(self) -> float:
        """Between two samples, ms."""
        return 1000.0 / self.sampling_rate

    @staticmethod
    @typed
    def load(
        path: str | Path,
        *,
        stream: str | int | None = None,
        recording: str | int | None = None,
        unit: str | None = None,
        sampling_rate: float | None = None,
    ) -> "Recording":
        """A recording from a file; what the file is, its content tells, not its name.

        Read are this library's own layout (`RecordingWriter` describes it), the HDF5 files of Multi Channel Systems
        (protocol RawData 1 to 3) and of MaxWell (20160704, and from 20190530 on), and tables of text with a column of
        times and one column a channel. Samples of HDF5 files stay there until `read` asks for them.

        Args:
            path: of the file. It must stay where it is, as it is, while the recording is used.
            stream: of several, which one: its label, its type ("Electrode", "Filter"), its group's name, or its number.
                A file of Multi Channel Systems gives its raw electrode stream by default; of MaxWell, the stream is
                the well.
            recording: of several in one file, which one: its label, its group's name, or its number. The first by
                default, which a note says.
            unit: of the potentials, "mV", "uV" or "V", where the file names none.
            sampling_rate: Hz, of a table of text without times.

        Raises:
            ValueError: no such file; not one of these, or not whole; nothing in it that is a potential; a stream or
                recording that it does not have. The message is one line with the path and the element.
        """
        from .loading import load

        return load(path, Choice(stream, recording, unit, sampling_rate))

    @staticmethod
    @typed
    def from_samples(
        values: Float[ArrayLike, "channel sample"],
        sampling_rate: float,
        *,
        channels: Sequence[str] | None = None,
        kinds: Sequence[Any] | None = None,
        partners: Sequence[int] | None = None,
        positions: ArrayLike | None = None,
        limits: ArrayLike | None = None,
        start: float = 0.0,
        events: Sequence[Event] = (),
    ) -> "Recording":
        """A recording of samples that are there, without a gap.

        Args:
            values: (channel, sample), mV; NaN where a sample is missing. They are copied as float32.
            sampling_rate: Hz.
            channels: names; "0", "1", ... by default.
            kinds, partners, positions, limits, events: as the attributes.
            start: time of the first sample, ms.

        Raises:
            ValueError: no sample or no channel, an infinite value, or another argument that is not as it should be.
        """
        copied = np.array(values, np.float32)
        count, length = copied.shape
        if not copied.size or np.isinf(copied).any():
            raise ValueError(
                f"values of shape {copied.shape}; allowed: at least one channel and sample, none infinite, mV"
            )
        copied.flags.writeable = False
        check_known("start", start, "ms", "a finite number", np.isfinite)
        return described(
            sampling_rate, [str(k) for k in range(count)] if channels is None else channels, kinds=kinds,
            partners=partners, positions=positions, limits=limits, events=events,
            blocks=(Block(0, length, float(start)),), samples=InMemory(copied), count=count,
        )  # fmt: skip

    @typed
    def read(
        self, first: int, last: int, channels: Sequence[int] | None = None
    ) -> Float32[np.ndarray, "channel sample"]:
        """Samples first to last (exclusive) of some channels (default: all), (channel, sample) in mV.

        The file is opened for this call. Memory is that of the result and a few tens of MB. Numbers of a converter
        become mV in float64, and are rounded to float32 once. Gaps between blocks have no samples.

        ValueError: outside of 0 to `n_samples`, an unknown channel, a file that has gone, was changed or is damaged.
        """
        if not 0 <= first <= last <= self.n_samples:
            raise ValueError(f"first, last = {first}, {last} samples; allowed: 0 <= first <= last <= {self.n_samples}")
        chosen = range(len(self.channels)) if channels is None else channels
        for k in chosen:
            check_whole("channels", k, "", least=0)
            if k >= len(self.channels):
                raise refusal("channels", k, "", f"0 to {len(self.channels) - 1}")
        return self.samples.read(int(first), int(last), [int(k) for k in chosen])

    @typed
    def times(self, first: int, last: int) -> Float[np.ndarray, " sample"]:
        """Times of samples first to last (exclusive), float64, ms."""
        if not 0 <= first <= last <= self.n_samples:
            raise ValueError(f"first, last = {first}, {last} samples; allowed: 0 <= first <= last <= {self.n_samples}")
        return times_of(self.blocks, self.interval, np.arange(first, last))

    @typed
    def save(self, path: str | Path) -> None:
        """Writes the recording in this library's own layout, whole or not at all, in bounded memory.

        Samples that a converter of 16 bits gave are written as 16 bits with the same gain, others as float32; none
        loses anything. ValueError: a place where nothing can be written.
        """
        exact = self.samples.exact()
        writer = RecordingWriter(
            path, self.sampling_rate, self.channels, kinds=self.kinds, partners=self.partners,
            positions=self.positions, limits=self.limits, events=self.events, notes=self.notes,
            n_samples=self.n_samples, encoding="float32" if exact is None else exact,
        )  # fmt: skip
        step = max(1, SAVED // len(self.channels))
        with writer:
            for block in self.blocks:
                for begin in range(block.first, block.last, step):
                    end = min(block.last, begin + step)
                    start = block.start if begin == block.first else None
                    writer.append(self.read(begin, end), start=start)


def described(
    sampling_rate: float,
    channels: Sequence[str],
    *,
    kinds: Sequence[str] | None = None,
    partners: Sequence[int] | None = None,
    positions: Any = None,
    limits: Any = None,
    blocks: tuple[Block, ...],
    events: Sequence[Event] = (),
    notes: tuple[str, ...] = (),
    samples: AbstractSamples,
    count: int | None = None,
) -> Recording:
    """A recording, each of its parts checked."""
    check_known("sampling_rate", sampling_rate, "Hz", "finite, > 0 Hz", lambda x: np.isfinite(x) & (x > 0))
    names = check_channels(channels)
    n = len(names)
    if count is not None and n != count:
        raise ValueError(f"channels: {n} names; allowed: {count}, one a channel")
    return Recording(
        sampling_rate=float(sampling_rate),
        channels=names,
        kinds=check_kinds(kinds, n),
        partners=check_partners(partners, n),
        positions=check_pairs_of_numbers("positions", positions, n, "um"),
        limits=check_limits(limits, n),
        blocks=blocks,
        events=check_events(events, names),
        notes=notes,
        samples=samples,
    )
