"""Windows around the beats, as recorded, at the sampling rate that a network takes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Int

from ..annotations import typed
from ..arguments import check_known, refusal
from .filtering import notch
from .pieces import Readable
from .resampling import ratio_of, resample

WINDOW, BEFORE = 1600.0, 200.0
"""Length of a window, and how much of it lies before the peak, ms."""
HELD = 100.0
"""From so long before the next beat's peak on the window holds its last level, ms."""
LEVEL = 20.0
"""That level is the mean of so long a time before, ms."""
MARGIN = 50.0
"""Read beyond both ends of a window for the anti-aliasing filter, ms."""
NOTCH_MARGIN = 1000.0
"""The same for a notch at mains."""


class Windows(NamedTuple):
    """Windows of one channel; sample `round(BEFORE sampling_rate / 1000)` of each is its peak."""

    values: Float[np.ndarray, "beat sample"]
    """mV, float32."""
    valid: Int[np.ndarray, " beat"]
    """Samples that were recorded before the next beat; those after them hold one level."""


@typed
def cut_windows(
    recording: Any,
    channel: int,
    samples: Sequence[int] | Int[np.ndarray, " beat"],
    *,
    sampling_rate: ArrayLike = 1000.0,
    next_samples: Sequence[int] | Int[np.ndarray, " beat"] | None = None,
    mains: ArrayLike | None = None,
) -> Windows:
    """Cuts a window of 1600 ms, 200 ms before the peak, for each beat (Methods, Data filtering and segmentation).

    The study's windows are 8000 samples at 5 kHz, 1000 of them before the peak. They hold the signal as recorded: no
    filter but that against aliasing where the sampling rate is lowered. From 100 ms before the next beat's peak on a
    window holds the level that the signal had in the 20 ms before, so that a network sees one beat; it does so too
    where the contiguous samples end. Before they begin it holds the first of them.

    A window depends on its own samples alone. Nothing but one window is read at a time.

    Args:
        recording: or a part of one in memory that reads as it does.
        channel: index.
        samples: peaks, as of `find_beats`.
        sampling_rate: of the windows, Hz.
        next_samples: the beat after each, whether kept or not; a number beyond the window where there is none. Where
            None: the next larger of `samples`.
        mains: with a notch at this frequency and two harmonics, Hz; none where None.

    ValueError: a channel or sample out of range, another number of `next_samples`.
    """
    if isinstance(recording, type) or not isinstance(recording, Readable):
        raise refusal("recording", recording, "", "a recording, e.g. of Recording.load")
    check_known("sampling_rate", sampling_rate, "Hz", "10 to 1000000", lambda x: (x >= 10) & (x <= 1e6))
    target, rate = float(np.asarray(sampling_rate)), recording.sampling_rate
    if not 0 <= channel < len(recording.channels):
        raise refusal("channel", channel, "", f"0 to {len(recording.channels) - 1}")
    peaks = np.asarray(samples, np.int64).reshape(-1)
    nexts = _nexts(peaks) if next_samples is None else np.asarray(next_samples, np.int64).reshape(-1)
    if nexts.shape != peaks.shape:
        raise ValueError(f"next_samples: {len(nexts)} of them for {len(peaks)} beats; allowed: one for each")
    count, before = round(WINDOW * target / 1000), round(BEFORE * target / 1000)
    values, valid = np.zeros((len(peaks), count), np.float32), np.zeros(len(peaks), np.int64)
    ratio = ratio_of(rate, target)
    margin = MARGIN if mains is None else NOTCH_MARGIN
    ahead = _multiple((BEFORE + margin) * rate / 1000, ratio.denominator)
    behind = round((WINDOW - BEFORE + margin) * rate / 1000)
    for k, (peak, following) in enumerate(zip(peaks.tolist(), nexts.tolist(), strict=True)):
        raw, end = _held(recording, channel, peak, following, ahead, behind, mains)
        first = ahead * ratio.numerator // ratio.denominator - before
        window = resample(raw, rate, target)[first : first + count]
        valid[k] = min(count, before + max(1, int((end - peak) * ratio)))
        window[valid[k] :] = _level(window[: valid[k]], target)
        values[k] = window
    return Windows(values, valid)


def _held(
    recording: Readable, channel: int, peak: int, following: int, ahead: int, behind: int, mains: ArrayLike | None
) -> tuple[np.ndarray, int]:
    """Samples from `ahead` before the peak to `behind` after it, float64, held at both ends; and where that begins."""
    block = next((b for b in recording.blocks if b.first <= peak < b.last), None)
    if block is None:
        raise refusal("samples", peak, "", f"0 to {recording.n_samples - 1}")
    low, high = max(block.first, peak - ahead), min(block.last, peak + behind)
    raw = recording.read(low, high, [channel])[0].astype(np.float64)
    if mains is not None:
        raw = notch(raw, recording.sampling_rate, mains)
    end = min(max(following - round(HELD * recording.sampling_rate / 1000), peak + 1), high)
    kept = raw[: end - low]
    last = np.full(peak + behind - end, _level(kept, recording.sampling_rate))
    return np.concatenate([np.full(low - (peak - ahead), kept[0]), kept, last]), end


def _level(values: np.ndarray, rate: float) -> float:
    return float(values[-max(1, round(LEVEL * rate / 1000)) :].mean(dtype=np.float64))


def _nexts(peaks: np.ndarray) -> np.ndarray:
    """The next larger of the peaks, or what is beyond any."""
    ordered = np.append(np.unique(peaks), np.iinfo(np.int64).max)
    return ordered[np.searchsorted(ordered, peaks, side="right")]


def _multiple(value: float, of: int) -> int:
    """The smallest multiple that is not below the value."""
    return -(-int(np.ceil(value)) // of) * of
