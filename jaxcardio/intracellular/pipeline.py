"""From the beats of a recording to reconstructed traces: one slab of time after another, in bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from .beats import LEVELS
from .library import Network
from .normalisation import normalise_eap
from .peaks import Beats
from .recording import Recording
from .unet import Estimate, Prediction
from .windows import BEFORE, WINDOW, cut_windows

SLAB = 30_000.0
"""Length of recording held at once, ms."""
MARGIN = 500.0
"""Read beyond the windows at both ends, ms: more than resampling looks at."""


class Part(NamedTuple):
    """Beats of one channel within one slab."""

    channel: int
    beats: Int[np.ndarray, " beat"]
    """Which of the chosen beats of the channel."""
    eap: Float[np.ndarray, "beat sample"]
    """Windows as recorded, mV, at the network's sampling rate."""
    prediction: Prediction
    durations: Estimate
    """(beat, level) of `LEVELS`, ms."""
    unfamiliar: Bool[np.ndarray, " beat"]


def kept(beats: Beats, channel: int, begin: float = -np.inf, end: float = np.inf) -> Int[np.ndarray, " beat"]:
    """Which beats of a channel are reconstructed: those without a reason against them, in begin <= time < end."""
    found = beats.channels[channel]
    if found.reason:
        return np.zeros(0, np.int64)
    return np.flatnonzero((found.reasons == 0) & (found.times >= begin) & (found.times < end))


def reconstructed(
    recording: Recording,
    network: Network,
    beats: Beats,
    chosen: Sequence[Int[np.ndarray, " beat"]],
    *,
    chunk: float = SLAB,
    report: Callable[[float], Any] = lambda done: None,
) -> Iterator[Part]:
    """The chosen beats of every channel, reconstructed; the order is that of time, and of channels within a slab.

    What a beat becomes depends on its own window alone: not on the slab, on other beats or on other channels.

    Args:
        chosen: of each channel, indices of the beats that `find_beats` found.
        chunk: length of a slab, ms.
    """
    rate = recording.sampling_rate
    length = max(1, round(chunk * rate / 1000))
    samples = [found.samples[which] for found, which in zip(beats.channels, chosen, strict=True)]
    used = [k for k, of in enumerate(samples) if of.size]
    slabs = range(0, recording.n_samples, length)
    for slab in slabs:
        inside = {k: np.flatnonzero((samples[k] >= slab) & (samples[k] < slab + length)) for k in used}
        inside = {k: which for k, which in inside.items() if which.size}
        if inside:
            held = _hold(recording, slab, slab + length, tuple(inside))
            yield from _slab(held, network, beats, chosen, inside)
        report(min(1.0, (slab + length) / recording.n_samples))


def _slab(held: "_Held", network: Network, beats: Beats, chosen, inside: dict[int, np.ndarray]) -> Iterator[Part]:
    windows, noises, ratios = [], [], []
    for k, which in inside.items():
        found, of = beats.channels[k], chosen[k][which]
        nexts = np.append(found.samples, np.iinfo(np.int64).max)[of + 1]
        cut = cut_windows(held, k, found.samples[of], sampling_rate=network.sampling_rate, next_samples=nexts)
        windows.append(cut.values)
        noises.append(np.full(len(of), found.noise))
        ratios.append(found.signal_to_noise[of])
    eap = np.concatenate(windows)
    inputs = np.asarray(normalise_eap(eap, np.concatenate(noises)), np.float32)
    prediction = network(inputs)
    durations = network.apd(prediction, LEVELS)
    unfamiliar = np.asarray(network.unfamiliar(inputs, np.concatenate(ratios)))
    found = jax.tree.map(np.asarray, (eap, prediction, durations, unfamiliar))
    place = 0
    for k, which in inside.items():
        part = jax.tree.map(lambda x, a=place, n=len(which): x[a : a + n], found)
        yield Part(k, which, *part)
        place += len(which)


class _Held:
    """A slab of a recording in memory, which reads as the recording does."""

    def __init__(self, recording: Recording, first: int, values: np.ndarray, channels: tuple[int, ...]):
        self.recording, self.first, self.values = recording, first, values
        self.row = {k: row for row, k in enumerate(channels)}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.recording, name)

    def read(self, first: int, last: int, channels: Sequence[int] | None = None) -> np.ndarray:
        wanted = range(len(self.recording.channels)) if channels is None else channels
        inside = self.first <= first and last <= self.first + self.values.shape[1]
        if not inside or any(k not in self.row for k in wanted):
            return self.recording.read(first, last, channels)
        return self.values[[self.row[k] for k in wanted], first - self.first : last - self.first]


def _hold(recording: Recording, first: int, last: int, channels: tuple[int, ...]) -> Any:
    per_ms = recording.sampling_rate / 1000
    begin = max(0, first - round((BEFORE + MARGIN) * per_ms))
    end = min(recording.n_samples, last + round((WINDOW - BEFORE + MARGIN) * per_ms))
    return _Held(recording, begin, recording.read(begin, end, channels), channels)
