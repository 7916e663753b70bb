"""From the beats of a recording to reconstructed traces: one slab of time after another, in bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from .features import LEVELS, action_potential_durations
from .inference import Network
from .normalisation import normalise_eap, normalise_iap
from .peaks import Beats
from .recording import Recording
from .unet import Estimate, Physics, Prediction
from .windows import BEFORE, WINDOW, cut_windows

SLAB = 10_000.0
"""Length of recording held at once, ms."""
MARGIN = 500.0
"""Read beyond the windows at both ends, ms: more than resampling looks at."""


class Part(NamedTuple):
    """Beats of one channel within one slab: reconstructed, or of an electroporated channel as recorded."""

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
    """The chosen beats of every channel, reconstructed, or as recorded where the electrode is inside the cell.

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
    outer = [k for k in inside if held.kinds[k] != "intracellular"]
    windows = {k: _windows(held, network, beats, k, chosen[k][which]) for k, which in inside.items()}
    if outer:
        eap = np.concatenate([windows[k] for k in outer])
        noise = np.concatenate([np.full(len(windows[k]), beats.channels[k].noise) for k in outer])
        ratios = np.concatenate([beats.channels[k].signal_to_noise[chosen[k][inside[k]]] for k in outer])
        inputs = np.asarray(normalise_eap(eap, noise), np.float32)
        prediction = network(inputs)
        found = eap, prediction, network.apd(prediction, LEVELS), network.unfamiliar(inputs, ratios)
        place = 0
        for k in outer:
            last = place + len(windows[k])
            yield Part(k, inside[k], *jax.tree.map(lambda x, a=place, b=last: np.asarray(x)[a:b], found))
            place = last
    for k in inside:
        if held.kinds[k] == "intracellular":
            yield _recorded(k, inside[k], windows[k], network.sampling_rate)


def _windows(held: "_Held", network: Network, beats: Beats, channel: int, of: np.ndarray) -> np.ndarray:
    samples = beats.channels[channel].samples
    nexts = np.append(samples, np.iinfo(np.int64).max)[of + 1]
    return cut_windows(held, channel, samples[of], sampling_rate=network.sampling_rate, next_samples=nexts).values


def _recorded(channel: int, which: np.ndarray, windows: np.ndarray, rate: float) -> Part:
    """What an electroporated channel shows: the action potential itself, with nothing to reconstruct."""
    iap = np.asarray(normalise_iap(windows), np.float32)
    values = np.asarray(action_potential_durations(iap, rate, LEVELS), np.float64)
    none = np.full(len(iap), np.nan, np.float32)
    prediction = Prediction(iap, iap, iap, Physics(none, none, none))
    return Part(channel, which, windows, prediction, Estimate(values, values, values), np.zeros(len(iap), bool))


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
