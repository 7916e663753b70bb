"""The spikes of one channel: which of its highest points are beats, by the published rule."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from .candidates import Seen
from .pieces import Piece

DISTANCE = 0.6
"""Two beats are no closer than this share of the beating period."""
REFRACTORY = 200.0
"""Peaks closer than this to a higher one are part of the same beat, ms: no cell fires again so soon."""
STRONG = 0.5
"""Peaks of at least this share of the height of those around them tell the period."""
WEAK = 0.5
"""Peaks of this share of the least height are followed, where they are as high as those around them: a beat that is too
low to be kept is still one, and those around it are not irregular."""
AROUND = 21
"""The period, and what is high, are judged among so many neighbouring peaks."""
IRREGULAR = 0.3
"""A beat is irregular if the interval before it differs from the period by more than this share."""
DEEP = 1.5
"""A spike that is so many times as deep as high points down, whatever comes first."""


class Bins(NamedTuple):
    """The bins of one channel over the whole recording, or those of them that are peaks; fields as in `Seen`."""

    height: Float[np.ndarray, " bin"]
    sample: Int[np.ndarray, " bin"]
    amplitude: Float[np.ndarray, " bin"]
    block: Int[np.ndarray, " bin"]


class Spikes(NamedTuple):
    """One entry a beat, kept or not."""

    samples: Int[np.ndarray, " beat"]
    heights: Float[np.ndarray, " beat"]
    amplitudes: Float[np.ndarray, " beat"]
    blocks: Int[np.ndarray, " beat"]
    is_far: Bool[np.ndarray, " beat"]
    """No higher one is closer than 60 % of the period."""
    is_irregular: Bool[np.ndarray, " beat"]


def upright(seen: Sequence[Seen], pieces: Sequence[Piece]) -> Bins:
    """The highest points of all bins."""
    return _bins(seen, pieces, "height", "peak", "amplitude")


def upside_down(seen: Sequence[Seen], pieces: Sequence[Piece]) -> Bins:
    """The lowest points of all bins, as those of the channel times -1."""
    return _bins(seen, pieces, "depth", "trough", "sunk")


def peaks_of(bins: Bins, least: float, per_ms: float) -> Bins:
    """Those that are at least so high, and higher than all within 200 ms."""
    height = bins.height
    is_higher = np.ones(len(height), bool)
    same = bins.block[1:] == bins.block[:-1]
    is_higher[1:] &= ~same | (height[1:] > height[:-1])
    is_higher[:-1] &= ~same | (height[:-1] >= height[1:])
    high = _take(bins, np.flatnonzero(is_higher & (height >= least)))
    return _take(high, np.flatnonzero(spaced(high.sample, high.height, np.full(len(high.sample), REFRACTORY * per_ms))))


def points_down(up: Bins, down: Bins) -> bool:
    """Whether the spikes of a channel point down, from its peaks and from those of the channel upside down.

    An upright spike goes up first, then down, and is mostly higher than deep.
    """
    if not len(down.height):
        return False
    if not len(up.height):
        return True
    ratio = np.median(down.height[_strong(down)]) / np.median(up.height[_strong(up)])
    if ratio > DEEP:
        return True
    nearest = _nearest(up.sample, down.sample)
    return bool(ratio > 1 and np.median(down.sample - nearest) < 0)


def spikes_of(
    peaks: Bins, least: float, is_artefact: Bool[np.ndarray, " peak"], stretch: Int[np.ndarray, " peak"]
) -> Spikes:
    """Beats among the peaks: none is closer to a higher one than 60 % of the period there.

    The period is the median of the intervals between the 21 nearest strong peaks (`STRONG`). Where it is the same
    throughout this is what `scipy.signal.find_peaks` does with that distance.

    Args:
        peaks: of half the least height, or more.
        least: height below which a peak is a beat only where those around it are as low.
        is_artefact: peaks that may come from a pulse, and so take nothing away from the others.
        stretch: peaks of different numbers have nothing to do with each other; ascending.
    """
    ordered = peaks._replace(height=np.where(is_artefact, 0.0, peaks.height))
    listed, far, irregular = [np.zeros(0, np.int64)], [np.zeros(0, bool)], [np.zeros(0, bool)]
    for one in np.unique(stretch):
        which = np.flatnonzero(stretch == one)
        is_listed = (peaks.height[which] >= least) | _strong(_take(ordered, which))
        listed.append(which[is_listed])
        is_far, is_irregular = _rhythm(_take(ordered, listed[-1]))
        far.append(is_far)
        irregular.append(is_irregular)
    beats = _take(peaks, np.concatenate(listed))
    return Spikes(
        beats.sample, beats.height, beats.amplitude, beats.block, np.concatenate(far), np.concatenate(irregular)
    )


def _rhythm(peaks: Bins) -> tuple[np.ndarray, np.ndarray]:
    """Whether each peak of a stretch is far enough from higher ones, and comes at an irregular interval."""
    period = periods_of(peaks)
    is_far = spaced(peaks.sample, peaks.height, np.nan_to_num(DISTANCE * period))
    far = np.flatnonzero(is_far)
    is_irregular = np.zeros(len(is_far), bool)
    with np.errstate(invalid="ignore"):
        is_irregular[far[1:]] = np.abs(np.diff(peaks.sample[far]) / period[far[1:]] - 1) > IRREGULAR
    return is_far, is_irregular


def periods_of(peaks: Bins) -> Float[np.ndarray, " peak"]:
    """The beating period at each peak of a stretch, samples; NaN where it has fewer than three strong peaks."""
    from scipy.ndimage import median_filter

    strong = np.flatnonzero(_strong(peaks))
    if len(strong) < 3:
        return np.full(len(peaks.sample), np.nan)
    intervals = np.diff(peaks.sample[strong])
    middles = peaks.sample[strong[:-1]] + intervals / 2
    smooth = median_filter(intervals.astype(np.float64), size=AROUND, mode="nearest")
    return smooth[_place_of_nearest(middles, peaks.sample)]


def spaced(
    samples: Int[np.ndarray, " peak"], heights: Float[np.ndarray, " peak"], distance: Float[np.ndarray, " peak"]
) -> Bool[np.ndarray, " peak"]:
    """Which peaks stay when each, from the highest on, takes away those that are closer than its distance.

    Of equal heights the later one goes first, as in `scipy.signal.find_peaks`.
    """
    stays = np.ones(len(samples), bool)
    first = np.searchsorted(samples, samples - np.ceil(distance), side="right")
    last = np.searchsorted(samples, samples + np.ceil(distance), side="left")
    for k in np.argsort(heights, kind="stable")[::-1]:
        if stays[k]:
            stays[first[k] : last[k]] = False
            stays[k] = True
    return stays


def _bins(seen: Sequence[Seen], pieces: Sequence[Piece], height: str, sample: str, amplitude: str) -> Bins:
    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(one, name) for one in seen])

    blocks = np.repeat([piece.block for piece in pieces], [len(one.height) for one in seen])
    return Bins(joined(height).astype(np.float64), joined(sample), joined(amplitude).astype(np.float64), blocks)


def _take(bins: Bins, which: np.ndarray) -> Bins:
    return Bins(*(field[which] for field in bins))


def _strong(peaks: Bins) -> np.ndarray:
    """At least half as high as the tenth part of their neighbours that is highest."""
    from scipy.ndimage import percentile_filter

    if not len(peaks.height):
        return np.zeros(0, bool)
    return (peaks.height > 0) & (
        peaks.height >= STRONG * percentile_filter(peaks.height, 90, size=AROUND, mode="nearest")
    )


def _nearest(sorted_values: np.ndarray, at: np.ndarray) -> np.ndarray:
    return sorted_values[_place_of_nearest(sorted_values, at)]


def _place_of_nearest(sorted_values: np.ndarray, at: np.ndarray) -> np.ndarray:
    after = np.clip(np.searchsorted(sorted_values, at), 1, max(len(sorted_values) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(sorted_values) - 1)
    return np.where(at - sorted_values[before] <= sorted_values[after] - at, before, after)
