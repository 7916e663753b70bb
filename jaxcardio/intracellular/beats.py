"""Reconstructed beats: traces with intervals, durations, and what was left out and why; in memory and in files."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from jaxtyping import Bool, Float, Int

from ..annotations import typed
from ..arguments import refusal
from ..files.hdf5 import read_hdf5
from ..files.reading import FLOATS, TRUTH, WHOLE, Group
from ..files.writing import Where, put, write_hdf5
from ..json_text import parse
from .features import LEVELS
from .reasons import Reason, explain
from .unet import Estimate
from .windows import BEFORE, WINDOW

FORMAT, VERSION = "jaxcardio reconstructed beats", 1
KINDS = ("extracellular", "intracellular")
TRACES = ("iap", "lower", "upper")


class Dropped(NamedTuple):
    """What was left out: one beat, or a whole channel."""

    channel: str
    time: float | None
    """Of the beat's peak, ms; None for the channel as a whole."""
    reason: Reason

    def __str__(self) -> str:
        what = f"channel {self.channel}" if self.time is None else f"channel {self.channel}, {self.time / 1000:.3f} s"
        return f"{what}: {explain(self.reason)}"


@dataclasses.dataclass(frozen=True)
class ReconstructedBeats:
    """Intracellular action potentials reconstructed from an extracellular recording.

    Channels have different numbers of beats: arrays go to the largest, with NaN (or False) behind a channel's last.
    Traces are normalised as in Eq 10: rest is 0.1 and the peak 1.
    """

    channels: tuple[str, ...]
    kinds: tuple[str, ...]
    """Of each channel: "extracellular", reconstructed; or "intracellular", electroporated and given as recorded."""
    times: Float[np.ndarray, "channel beat"]
    """Of the peaks (upstrokes of intracellular channels), ms."""
    iap: Float[np.ndarray, "channel beat sample"]
    """Median, normalised, float32."""
    lower: Float[np.ndarray, "channel beat sample"]
    upper: Float[np.ndarray, "channel beat sample"]
    """Limits of the 90 % interval at each sample."""
    sampling_rate: float
    """Of the traces, Hz. Sample `before` of each is the extracellular peak."""
    durations: Estimate
    """APD10 ... APD100 with intervals, ms, each (channel, beat, level)."""
    signal_to_noise: Float[np.ndarray, "channel beat"]
    unfamiliar: Bool[np.ndarray, "channel beat"]
    """Beats unlike any that the network was trained on: their intervals are not to be trusted."""
    dropped: tuple[Dropped, ...]
    about: str
    """What made them, as JSON."""

    @property
    def counts(self) -> Int[np.ndarray, " channel"]:
        """Beats of each channel."""
        return np.isfinite(self.times).sum(-1)

    @property
    def before(self) -> int:
        """Samples of a trace before the extracellular peak."""
        return round(BEFORE * self.sampling_rate / 1000)

    @typed
    def apd(self, level: int = 90) -> Estimate:
        """Action potential durations at this percentage of repolarisation, with their 90 % intervals, ms.

        NaN where the trace does not come back to the level within its window. ValueError: a level other than 10, 20,
        ... 100.
        """
        if level not in LEVELS:
            raise refusal("level", level, "%", ", ".join(map(str, LEVELS)))
        k = LEVELS.index(level)
        return Estimate(*(x[..., k] for x in self.durations))

    def explained(self) -> str:
        """One line for each reason: how many beats and which channels were left out for it."""
        lines = []
        for reason in sorted({drop.reason for drop in self.dropped}):
            of = [drop for drop in self.dropped if drop.reason == reason]
            beats = sum(drop.time is not None for drop in of)
            whole = [drop.channel for drop in of if drop.time is None]
            what = [f"{beats} beats"] * bool(beats) + [f"channel{'s' * (len(whole) > 1)} {', '.join(whole)}"] * bool(
                whole
            )
            lines.append(f"{' and '.join(what)}: {explain(reason)}")
        return "\n".join(lines)

    @typed
    def save(self, path: Where) -> None:
        """Writes HDF5, whole or not at all.

        Attributes of the file: `format`, `format_version`, `sampling_rate_Hz`, `channels` and `kinds` (JSON lists of
        texts), `about` (JSON: the network and the recording). Datasets, each with its `unit`:

            times             (channel, beat)           ms     extracellular peaks; NaN behind a channel's last beat
            iap, lower, upper (channel, beat, sample)   1      normalised traces and the limits of their intervals
            apd/value, lower, upper (channel, beat, level) ms  levels 10, 20, ... 100 %
            signal_to_noise   (channel, beat)           1
            unfamiliar        (channel, beat)           1      true: outside of what the network was trained on
            dropped/channel, time, reason               1, ms, 1   time NaN for a whole channel; codes of `Reason`

        OSError: a place where nothing can be written.
        """

        def write(file: h5py.File) -> None:
            file.attrs.update(format=FORMAT, format_version=VERSION, sampling_rate_Hz=self.sampling_rate)
            file.attrs.update(channels=json.dumps(self.channels), about=self.about)
            file.attrs["kinds"] = json.dumps(self.kinds)
            put(file, "times", self.times, "ms")
            for name in TRACES:
                put(file, name, getattr(self, name), "1", compression="gzip", compression_opts=1)
            for name, values in self.durations._asdict().items():
                put(file, f"apd/{name}", values, "ms")
            put(file, "signal_to_noise", self.signal_to_noise, "1")
            put(file, "unfamiliar", self.unfamiliar, "1")
            put_dropped(file, self.channels, self.dropped)

        write_hdf5(path, write)

    @staticmethod
    def load(path: str | Path) -> "ReconstructedBeats":
        """Reads what `save` wrote; anything else is a ValueError that names the path."""
        return read_hdf5(path, FORMAT, VERSION, _read)


def put_dropped(file: h5py.File, channels: Sequence[str], dropped: Sequence[Dropped]) -> None:
    """Writes what was left out as three datasets: of which channel, when, and why."""
    place = {name: k for k, name in enumerate(channels)}
    put(file, "dropped/channel", np.array([place[drop.channel] for drop in dropped], np.int64), "1")
    times = [np.nan if drop.time is None else drop.time for drop in dropped]
    put(file, "dropped/time", np.array(times, np.float64), "ms")
    put(file, "dropped/reason", np.array([int(drop.reason) for drop in dropped], np.int64), "1")


def dropped_of(file: Group, channels: Sequence[str]) -> tuple[Dropped, ...]:
    """What `put_dropped` wrote."""
    where = file.numbers("dropped/channel", (None,), WHOLE)
    times = file.numbers("dropped/time", where.shape, FLOATS, "ms")
    codes = file.numbers("dropped/reason", where.shape, WHOLE)
    if where.size and (where.min() < 0 or where.max() >= len(channels)):
        raise ValueError(f"dropped/channel: allowed: 0 to {len(channels) - 1}")
    known = {int(reason) for reason in Reason}
    if strange := [code for code in codes.tolist() if code not in known]:
        raise refusal("dropped/reason", strange[0], "", f"one of {sorted(known)}")
    labels = [str(channels[int(k)]) for k in where]
    rows = zip(labels, times.tolist(), codes.tolist(), strict=True)
    return tuple(Dropped(label, None if np.isnan(t) else t, Reason(code)) for label, t, code in rows)


def texts_of(file: Group, name: str) -> tuple[str, ...]:
    """An attribute that is a JSON list of texts."""
    found: Any = parse(file.text(name), name)
    if not isinstance(found, list) or not all(isinstance(x, str) for x in found):
        raise refusal(f"attribute {name}", found, "", "a JSON list of texts")
    return tuple(found)


def channels_of(file: Group) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Labels and kinds of the channels. ValueError: an unknown kind, or not one for each channel."""
    channels, kinds = texts_of(file, "channels"), texts_of(file, "kinds")
    if len(kinds) != len(channels) or not set(kinds) <= set(KINDS):
        raise refusal("attribute kinds", kinds, "", f"{', '.join(KINDS)}; one for each of {len(channels)} channels")
    return channels, kinds


def _read(file: Group) -> ReconstructedBeats:
    channels, kinds = channels_of(file)
    times = file.numbers("times", (len(channels), None), FLOATS, "ms")
    rate = file.number("sampling_rate_Hz")
    samples = round(WINDOW * rate / 1000)
    shape = (*times.shape, samples)
    return ReconstructedBeats(
        channels=channels,
        kinds=kinds,
        times=times,
        **{name: file.numbers(name, shape, FLOATS, "1") for name in TRACES},
        sampling_rate=rate,
        durations=Estimate(*(file.numbers(f"apd/{n}", (*times.shape, len(LEVELS)), FLOATS) for n in Estimate._fields)),
        signal_to_noise=file.numbers("signal_to_noise", times.shape, FLOATS),
        unfamiliar=file.numbers("unfamiliar", times.shape, TRUTH),
        dropped=dropped_of(file, channels),
        about=file.text("about"),
    )
