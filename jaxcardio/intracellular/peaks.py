"""The beats of a recording: found and judged, channel by channel, in bounded memory."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Bool, Float, Int

from ..annotations import typed
from ..arguments import check_known, refusal
from ..progress import progress_bar
from .candidates import Seen, look
from .judging import damage_of, in_pulse, judge, real_ones, stretches_of, telling, times_of
from .noise_level import check_rate
from .pieces import Piece, Readable, pieces_of, read_pieces
from .reasons import Reason
from .spikes import WEAK, Bins, Spikes, peaks_of, points_down, spikes_of, upright, upside_down

THRESHOLD = 12.0
"""Least height of a beat in sigma(N), as published."""
VISIBLE = 5.0
"""Peaks of this height, in sigma(N), are something other than noise."""
HUM = 0.5
"""A channel without beats whose mains hum has an amplitude of this share of 12 sigma(N) is one of hum."""
OVER_HUM, ABOVE_HUM = 2.0, 1.5
"""A beat is at least twice as high as the hum; what is not even 1.5 times as high may be hum itself."""


class ChannelBeats(NamedTuple):
    """The beats of one channel, kept or not. A channel with a reason has no beat that is kept."""

    times: Float[np.ndarray, " beat"]
    """Of the peaks, ms; of upstrokes in an electroporated channel."""
    samples: Int[np.ndarray, " beat"]
    """The same as indices of samples of the recording."""
    noise: float
    """sigma(N), mV, see `noise_level`; NaN where nothing could be measured."""
    signal_to_noise: Float[np.ndarray, " beat"]
    """Amplitude over noise, Eq 9."""
    amplitude: Float[np.ndarray, " beat"]
    """Height above the surroundings, mV; in an electroporated channel from foot to top of the action potential."""
    reasons: Int[np.ndarray, " beat"]
    """`Reason` against each beat, 0 where it is kept."""
    reason: Reason
    """Against the channel as a whole, 0 where it is kept."""
    irregular: Bool[np.ndarray, " beat"]
    """The interval before this beat differs from the beating period around it by more than 30 %: kept, but marked."""


@dataclasses.dataclass(frozen=True)
class Beats:
    """The beats of a recording, one entry a channel."""

    channels: tuple[ChannelBeats, ...]


@typed
def find_beats(
    recording: Readable,
    *,
    channels: Sequence[int] | None = None,
    threshold: ArrayLike = THRESHOLD,
    chunk: ArrayLike = 30_000.0,
    progress: bool | Callable[[float], None] = False,
) -> Beats:
    """Finds the beats of every channel, and says why a beat or a channel is left out.

    The published rule (doi 10.1038/s41467-024-55571-6, Methods, Data filtering and segmentation): peaks of at least
    12 sigma(N), no closer than 60 % of the beating period, an intracellular amplitude of at least 0.5 mV; here with the
    period around each beat, so that it may change with a drug. S/N is that of Eq 9. The whole window of a beat, -200 to
    1400 ms or to 100 ms before the next beat, must be recorded, without gaps, clipped samples and what is no number
    (to the nearest 50 ms).

    - A channel that records from outside is filtered from 10 to 450 Hz; a beat is the highest point of its spike. A
      least amplitude in mV is not asked of it, nor was it in the study.
    - An electroporated one is looked at for upstrokes. It is judged from each of its pulses to the next, see
      `judge_amplitudes`.
    - A beat that is too low is listed as such (LOW_SIGNAL_TO_NOISE) where those around it are not twice as high.
    - Beats at an irregular interval are kept and marked; a premature one, closer than 60 % of the period to a higher
      one, is left out, and so is whatever is within 500 ms after a pulse.
    - Spikes that point down are found and timed by their trough, and the channel left out as INVERTED.

    The result is the same, to the last bit, whatever `chunk` is, and a channel's result is the same whatever the others
    hold and whether they are asked for: filters run over fixed pieces of 10 s with 1 s more at both ends.

    Args:
        recording: at 1000 Hz or more.
        channels: indices; all where None. The others get the reason NOT_ASKED.
        threshold: least height in sigma(N). Where mains hum has an amplitude of more than half of that, twice the hum.
        chunk: length read at once, ms; one piece (10 s) at least. Memory: 4 bytes a sample, and some 40 MB for an hour
            of 60 channels.
        progress: True for a bar on stderr, or a function of the fraction done.

    ValueError: an index out of range, a threshold or chunk that is not above 0, a sampling rate below 1000 Hz.
    """
    check_rate(recording.sampling_rate)
    check_known("threshold", threshold, "sigma(N)", "above 0", lambda x: (x > 0) & np.isfinite(x))
    check_known("chunk", chunk, "ms", "above 0", lambda x: (x > 0) & np.isfinite(x))
    wanted = _chosen(recording, channels)
    report = (
        progress_bar("finding beats", recording.n_samples / recording.sampling_rate, "s")
        if progress is True
        else progress
    )
    pieces = pieces_of(recording)
    seen = _look(recording, pieces, wanted, float(np.asarray(chunk)), report or (lambda done: None))
    nothing = _without_beats(Reason.NOT_ASKED, np.nan)
    found = [nothing] * len(recording.channels)
    for channel in wanted:
        found[channel] = beats_of_channel(recording, channel, seen.pop(channel), pieces, float(np.asarray(threshold)))
    return Beats(tuple(found))


def beats_of_channel(
    recording: Readable, channel: int, seen: Sequence[Seen], pieces: Sequence[Piece], threshold: float
) -> ChannelBeats:
    """Beats of a channel from what was seen in its pieces."""
    if not seen:
        return _without_beats(Reason.NO_BEATS, np.nan)
    damage = damage_of(seen, recording.limits is not None)
    noises = np.array([one.noise for one in seen])
    noise = float(np.median(noises[np.isfinite(noises)])) if np.isfinite(noises).any() else np.nan
    if not noise > 0:
        return _without_beats(_most(damage) or Reason.FLAT, np.nan)
    hum = float(np.median([one.hum for one in seen]))
    least = max(threshold * noise, OVER_HUM * hum)
    per_ms = recording.sampling_rate / 1000
    up = upright(seen, pieces)
    lower = max(WEAK * threshold * noise, ABOVE_HUM * hum)
    peaks, troughs = peaks_of(up, lower, per_ms), peaks_of(upside_down(seen, pieces), lower, per_ms)
    if points_down(telling(recording, channel, peaks, least), telling(recording, channel, troughs, least)):
        spikes = _spikes(recording, channel, troughs, least)
        return _as_beats(recording, spikes, noise, np.full(len(spikes.samples), int(Reason.INVERTED)))
    if not len(real_ones(recording, peaks, least).sample):
        return _without_beats(_why_none(up, noise, threshold, hum, damage, per_ms), noise)
    spikes = _spikes(recording, channel, peaks, least)
    return _as_beats(recording, spikes, noise, judge(recording, channel, spikes, least, damage, pieces))


def _look(
    recording: Readable, pieces: Sequence[Piece], channels: Sequence[int], chunk: float, report: Callable[[float], None]
) -> dict[int, list[Seen]]:
    rate, limits = recording.sampling_rate, recording.limits
    seen: dict[int, list[Seen]] = {channel: [] for channel in channels}
    total = len(pieces) * len(channels)
    for done, (piece, channel, values) in enumerate(read_pieces(recording, pieces, channels, chunk), 1):
        is_inside = recording.kinds[channel] == "intracellular"
        seen[channel].append(look(values, piece, rate, is_inside, None if limits is None else limits[channel]))
        if done % len(channels) == 0:
            report(done / total)
    return seen


def _spikes(recording: Readable, channel: int, peaks: Bins, least: float) -> Spikes:
    return spikes_of(peaks, least, in_pulse(recording, peaks.sample), stretches_of(recording, channel, peaks))


def _as_beats(recording: Readable, spikes: Spikes, noise: float, reasons: np.ndarray) -> ChannelBeats:
    is_kept = reasons == Reason.KEPT
    return ChannelBeats(
        times=times_of(recording, spikes.samples),
        samples=spikes.samples,
        noise=noise,
        signal_to_noise=spikes.amplitudes / noise,
        amplitude=spikes.amplitudes,
        reasons=reasons,
        reason=Reason.KEPT if is_kept.any() else _most(reasons),
        irregular=spikes.is_irregular,
    )


def _without_beats(reason: Reason, noise: float) -> ChannelBeats:
    none, whole = np.zeros(0), np.zeros(0, np.int64)
    return ChannelBeats(none, whole, noise, none, none, whole, reason, np.zeros(0, bool))


def _why_none(up: Bins, noise: float, threshold: float, hum: float, damage: np.ndarray, per_ms: float) -> Reason:
    """Why a channel has no peak that is high enough."""
    if (damage != 0).mean() > 0.5:
        return _most(damage)
    if hum > HUM * threshold * noise:
        return Reason.MAINS
    visible = peaks_of(up, min(VISIBLE, threshold) * noise, per_ms)
    if len(visible.sample) < 3:
        return Reason.NO_BEATS
    is_clipped = damage[np.isin(up.sample, visible.sample)] == Reason.CLIPPED
    return Reason.CLIPPED if is_clipped.mean() > 0.5 else Reason.LOW_SIGNAL_TO_NOISE


def _most(reasons: np.ndarray) -> Reason:
    """The most frequent reason; KEPT if there is none."""
    against = reasons[reasons != Reason.KEPT]
    return Reason(int(np.bincount(against).argmax())) if against.size else Reason.KEPT


def _chosen(recording: Readable, channels: Sequence[int] | None) -> list[int]:
    count = len(recording.channels)
    if channels is None:
        return list(range(count))
    for channel in channels:
        if not 0 <= channel < count:
            raise refusal("channels", channel, "", f"0 to {count - 1}")
    return list(dict.fromkeys(int(channel) for channel in channels))
