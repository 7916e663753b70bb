"""Which beats of a channel are kept, and the reason against each of the others."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from .candidates import CLIPPED, CLIPPED_HIGH, CLIPPED_LOW, CONSTANT, NOT_A_NUMBER, Seen
from .pieces import Piece, Readable, bin_samples
from .reasons import Reason
from .spikes import Bins, Spikes
from .windows import BEFORE, HELD, WINDOW

AMPLITUDE = 0.5
"""Least amplitude of an action potential in an electroporated channel, mV, as published."""
BLANKING = 500.0
"""After an electroporation pulse nothing is looked at for so long, ms."""
AHEAD = 20.0
"""What a filter smears ahead of a pulse, ms."""
FIRST_BEATS = 5
"""The amplitude is judged as the median of so many beats."""
STANDSTILL = 10
"""A signal that does not change for so many bins (500 ms) is dead."""
PULSE = "electroporation"

Reasons = Int[np.ndarray, " beat"]


def damage_of(seen: Sequence[Seen], is_limited: bool) -> Int[np.ndarray, " bin"]:
    """`Reason` against each bin of a channel: NOT_A_NUMBER, CLIPPED, FLAT or 0.

    Args:
        is_limited: the range of the converter is known; else a value is the limit if it stands still somewhere and the
            channel never goes beyond it.
    """
    bits = np.concatenate([one.damage for one in seen])
    counts = [len(one.damage) for one in seen]
    highest = np.repeat([one.highest for one in seen], counts)
    lowest = np.repeat([one.lowest for one in seen], counts)
    is_flat = _lasting((bits & CONSTANT) > 0, STANDSTILL)
    is_clipped = (bits & CLIPPED) > 0
    if not is_limited and not np.isnan(highest).all() and not is_flat.all():
        is_clipped |= ((bits & CLIPPED_HIGH) > 0) & (highest == np.nanmax(highest)) & ~is_flat
        is_clipped |= ((bits & CLIPPED_LOW) > 0) & (lowest == np.nanmin(lowest)) & ~is_flat
    reasons = np.where(is_flat, Reason.FLAT, np.where(is_clipped, Reason.CLIPPED, Reason.KEPT))
    return np.where((bits & NOT_A_NUMBER) > 0, Reason.NOT_A_NUMBER, reasons)


def judge(
    recording: Readable,
    channel: int,
    spikes: Spikes,
    least: float,
    damage: Int[np.ndarray, " bin"],
    pieces: Sequence[Piece],
) -> Reasons:
    """The first reason against each beat, 0 where there is none."""
    is_artefact = in_pulse(recording, spikes.samples)
    begins, ends = _windows(spikes, is_artefact, recording.sampling_rate)
    reasons = np.full(len(spikes.samples), int(Reason.KEPT))

    def against(reason: Reason, which: np.ndarray) -> None:
        reasons[(reasons == Reason.KEPT) & which] = reason

    against(Reason.PULSE, is_artefact | _hold_pulse(recording, spikes, begins, ends))
    against(Reason.TOO_CLOSE, ~spikes.is_far)
    firsts = np.array([block.first for block in recording.blocks])[spikes.blocks]
    lasts = np.array([block.last for block in recording.blocks])[spikes.blocks]
    against(Reason.CUT_BY_BEGINNING, (begins < firsts) & (firsts == recording.blocks[0].first))
    against(Reason.CUT_BY_END, (ends > lasts) & (lasts == recording.blocks[-1].last))
    against(Reason.GAP, (begins < firsts) | (ends > lasts))
    for reason in (Reason.NOT_A_NUMBER, Reason.CLIPPED, Reason.FLAT):
        against(reason, _holds(damage == reason, begins, ends, spikes.blocks, recording, pieces))
    if recording.kinds[channel] == "intracellular":
        times, pulses = times_of(recording, spikes.samples), own_pulses(recording, channel)
        amplitudes = judge_amplitudes(times, spikes.amplitudes, reasons == Reason.KEPT, pulses)
        reasons = np.where(reasons == Reason.KEPT, amplitudes, reasons)
    against(Reason.LOW_SIGNAL_TO_NOISE, spikes.heights < least)
    return reasons


def judge_amplitudes(
    times: Float[np.ndarray, " beat"],
    amplitudes: Float[np.ndarray, " beat"],
    is_good: Bool[np.ndarray, " beat"],
    pulses: Sequence[float],
) -> Reasons:
    """Reasons of an electroporated channel, judged from each of its pulses to the next.

    Before the first pulse it records from outside. If the median amplitude of the first five good beats after a pulse
    is below 0.5 mV, the pulse gave no access. From the first beat on from which no running median of five reaches 0.5
    mV any more, the amplitude is lost. A single small beat is left out by itself.

    Args:
        is_good: nothing else is against the beat.
        pulses: times, ms; empty if it was electroporated before the recording began.
    """
    reasons = np.full(len(times), int(Reason.KEPT))
    starts = sorted(pulses) or [-np.inf]
    reasons[times < starts[0]] = Reason.BEFORE_PULSE
    for start, end in zip(starts, [*starts[1:], np.inf], strict=True):
        which = np.flatnonzero((times >= start) & (times < end))
        good = which[is_good[which]]
        if not good.size:
            continue
        reasons[which] = np.where(amplitudes[which] < AMPLITUDE, Reason.LOW_AMPLITUDE, Reason.KEPT)
        medians = _running_medians(amplitudes[good])
        if medians[0] < AMPLITUDE:
            reasons[which] = Reason.NOT_OPENED
        elif medians[-1] < AMPLITUDE:
            last = np.flatnonzero(medians >= AMPLITUDE)[-1] + 1
            reasons[which[which >= good[last]]] = Reason.AMPLITUDE_LOST
    return reasons


def times_of(recording: Readable, samples: Int[np.ndarray, " beat"]) -> Float[np.ndarray, " beat"]:
    """Times of samples, ms."""
    firsts = np.array([block.first for block in recording.blocks], np.int64)
    starts = np.array([block.start for block in recording.blocks], np.float64)
    block = np.searchsorted(firsts, samples, side="right") - 1
    return starts[block] + (samples - firsts[block]) * (1000 / recording.sampling_rate)


def in_pulse(recording: Readable, samples: Int[np.ndarray, " peak"]) -> Bool[np.ndarray, " peak"]:
    """Whether they are within 500 ms after a pulse; pulses show in all channels, whichever was electroporated."""
    times = times_of(recording, samples)
    found = np.zeros(len(times), bool)
    for time in pulses_of(recording):
        found |= (times >= time - AHEAD) & (times < time + BLANKING)
    return found


def real_ones(recording: Readable, peaks: Bins, least: float) -> Bins:
    """Peaks that are high enough and no artefacts of pulses."""
    which = (peaks.height >= least) & ~in_pulse(recording, peaks.sample)
    return Bins(*(field[which] for field in peaks))


def telling(recording: Readable, channel: int, peaks: Bins, least: float) -> Bins:
    """Those of the real ones that tell which way up a channel is: in an electroporated one, action potentials."""
    peaks = real_ones(recording, peaks, least)
    if recording.kinds[channel] != "intracellular":
        return peaks
    begin = min(own_pulses(recording, channel), default=-np.inf)
    which = (times_of(recording, peaks.sample) >= begin) & (peaks.amplitude >= AMPLITUDE)
    return Bins(*(field[which] for field in peaks))


def stretches_of(recording: Readable, channel: int, peaks: Bins) -> Int[np.ndarray, " peak"]:
    """A number for each peak that changes at gaps, and at the pulses of an electroporated channel."""
    if recording.kinds[channel] != "intracellular":
        return peaks.block
    pulses = np.sort(own_pulses(recording, channel))
    return peaks.block + np.searchsorted(pulses, times_of(recording, peaks.sample), side="right")


def pulses_of(recording: Readable) -> list[float]:
    """Times of all electroporation pulses, ms."""
    return [event.time for event in recording.events if event.kind == PULSE]


def own_pulses(recording: Readable, channel: int) -> list[float]:
    """Times at which this channel was electroporated, ms."""
    name = recording.channels[channel]
    pulses = [event for event in recording.events if event.kind == PULSE]
    return [event.time for event in pulses if event.channels is None or name in event.channels]


def _windows(spikes: Spikes, is_artefact: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """First sample of each window, and where what is used of it ends: `HELD` before the next beat at the latest."""
    per_ms = rate / 1000
    ends = spikes.samples + round((WINDOW - BEFORE) * per_ms)
    beats = np.flatnonzero(~is_artefact)
    same = spikes.blocks[beats[1:]] == spikes.blocks[beats[:-1]]
    nexts = spikes.samples[beats[1:]] - round(HELD * per_ms)
    ends[beats[:-1]] = np.where(same, np.minimum(ends[beats[:-1]], nexts), ends[beats[:-1]])
    return spikes.samples - round(BEFORE * per_ms), ends


def _hold_pulse(recording: Readable, spikes: Spikes, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Whether a pulse is within the window."""
    per_ms = recording.sampling_rate / 1000
    times = times_of(recording, spikes.samples)
    before, after = (spikes.samples - begins) / per_ms, (ends - spikes.samples) / per_ms
    found = np.zeros(len(times), bool)
    for pulse in pulses_of(recording):
        found |= (times + after > pulse) & (times - before <= pulse)
    return found


def _holds(
    is_damaged: np.ndarray,
    begins: np.ndarray,
    ends: np.ndarray,
    blocks: np.ndarray,
    recording: Readable,
    pieces: Sequence[Piece],
) -> np.ndarray:
    """Whether there is a damaged bin between begin and end of each window."""
    length = bin_samples(recording.sampling_rate)
    counts = [-(-(piece.last - piece.first) // length) for piece in pieces]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    first_bins = {piece.block: offset for piece, offset in reversed(list(zip(pieces, offsets[:-1], strict=True)))}
    after = {piece.block: offset for piece, offset in zip(pieces, offsets[1:], strict=True)}
    low = np.array([first_bins[k] for k in blocks], np.int64)
    high = np.array([after[k] for k in blocks], np.int64)
    origin = np.array([recording.blocks[k].first for k in blocks], np.int64)
    total = np.concatenate([[0], np.cumsum(is_damaged)])
    begin = np.clip(low + (begins - origin) // length, low, high)
    end = np.clip(low + (ends - 1 - origin) // length + 1, low, high)
    return total[np.maximum(begin, end)] > total[begin]


def _lasting(is_so: np.ndarray, least: int) -> np.ndarray:
    """Where it is so for at least so many entries in a row."""
    edges = np.flatnonzero(np.diff(is_so.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    found = np.zeros(len(is_so), bool)
    for first, last in edges[np.diff(edges, axis=1)[:, 0] >= least]:
        found[first:last] = True
    return found


def _running_medians(values: np.ndarray) -> np.ndarray:
    """Of each value and the four after it; at the end of as many as there are."""
    return np.array([np.median(values[k : k + FIRST_BEATS]) for k in range(len(values))])
