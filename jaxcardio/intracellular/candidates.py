"""What is seen in one piece of one channel: per bin of 50 ms the highest point, the lowest one, and damage."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from .noise_level import fine_grid, noise_of, spike_band
from .pieces import Piece, bin_samples
from .resampling import averaged

NOT_A_NUMBER, CLIPPED, CLIPPED_HIGH, CLIPPED_LOW, CONSTANT = 1, 2, 4, 8, 16
"""Bits of damage. The third and fourth say that the highest (lowest) value of the piece stands still: it is clipped
only if the channel never goes beyond it."""
LARGEST = 1e6
"""A value beyond this, mV, is none that an electrode gives."""
STANDING = 2.0
"""A value that stands still at an extreme for this long, ms (and three samples), may be clipped."""
UPSTROKE = 2.0
"""Standard deviation of the Gaussian over which the rise of an action potential is taken, ms."""
TOP, FOOT, FOOT_WIDTH = 200.0, 15.0, 20.0
"""An action potential's top lies within the 200 ms after its upstroke; its foot is the mean of 20 ms around 15 ms
before it."""
HUMS = (50.0, 60.0)
"""Mains, Hz."""
HUM_LENGTH = 2000.0
"""The amplitude of the hum is measured in stretches of this length, ms."""


class Seen(NamedTuple):
    """One entry a bin; of the whole piece: noise, hum and range."""

    height: Float[np.ndarray, " bin"]
    """Highest point of the signal in which spikes are looked for, mV, float32 as everything here in mV."""
    peak: Int[np.ndarray, " bin"]
    """Its sample in the recording."""
    depth: Float[np.ndarray, " bin"]
    """The lowest point, counted downwards, mV."""
    trough: Int[np.ndarray, " bin"]
    amplitude: Float[np.ndarray, " bin"]
    """Of an action potential whose upstroke is the peak, mV; for a channel that records from outside, the height."""
    sunk: Float[np.ndarray, " bin"]
    """The same for the channel turned upside down."""
    damage: Int[np.ndarray, " bin"]
    noise: float
    hum: float
    lowest: float
    highest: float


def look(
    values: Float[np.ndarray, " sample"],
    piece: Piece,
    rate: float,
    is_inside: bool,
    limits: Float[np.ndarray, " 2"] | None,
) -> Seen:
    """Looks at a piece.

    Spikes of a channel that records from outside are looked for in the band from 10 to 450 Hz, so a height is one above
    the surroundings. For an electroporated channel it is the jump that a step would need to have to rise like this
    (derivative of the signal smoothed with a Gaussian of 2 ms): its highest point is the upstroke.

    Args:
        values: mV, from `piece.low` to `piece.high`.
        is_inside: the channel is electroporated.
        limits: what the converter can give, mV.
    """
    core = slice(piece.first - piece.low, piece.last - piece.low)
    is_number = np.abs(values) < LARGEST  # False of NaN too
    damage, lowest, highest = _damage(values[core], is_number[core], rate, limits)
    factor, fine = fine_grid(rate)
    averages = averaged(_filled(values, is_number), factor)
    band = spike_band(averages, fine)
    inner = slice(core.start // factor, core.stop // factor)
    per_bin = bin_samples(rate) // factor
    is_good = np.repeat(damage == 0, per_bin)[: inner.stop - inner.start]
    signal, amplitudes, sunk = _rises(averages, fine) if is_inside else (band, band, -band)
    peak, trough = _highest(signal, inner, per_bin), _highest(-signal, inner, per_bin)
    return Seen(
        height=signal[peak].astype(np.float32),
        peak=_samples(signal, peak, piece.low, factor),
        depth=-signal[trough].astype(np.float32),
        trough=_samples(-signal, trough, piece.low, factor),
        amplitude=amplitudes[peak].astype(np.float32),
        sunk=sunk[trough].astype(np.float32),
        damage=damage,
        noise=noise_of(band, fine, np.flatnonzero(is_good) + inner.start),
        hum=_hum(band[inner], fine),
        lowest=lowest,
        highest=highest,
    )


def _filled(values: np.ndarray, is_number: np.ndarray) -> np.ndarray:
    """With straight lines where there are no numbers."""
    if is_number.all():
        return values
    good = np.flatnonzero(is_number)
    if not good.size:
        return np.zeros_like(values)
    return np.interp(np.arange(len(values)), good, values[good]).astype(values.dtype)


def _damage(
    values: np.ndarray, is_number: np.ndarray, rate: float, limits: np.ndarray | None
) -> tuple[np.ndarray, float, float]:
    """Bits of damage of each bin; the lowest and the highest number, NaN where there is none."""
    length = bin_samples(rate)
    count = -(-len(values) // length)
    damage = np.zeros(count, np.uint8)
    if not is_number.any():
        damage |= NOT_A_NUMBER
        return damage, np.nan, np.nan
    is_whole = bool(is_number.all())
    if not is_whole:
        damage[np.flatnonzero(~is_number) // length] |= NOT_A_NUMBER
    numbers = values if is_whole else values[is_number]
    lowest, highest = numbers.min(), numbers.max()
    if limits is not None:
        rounding = 1e-6 * np.abs(limits).max()
        if lowest <= limits[0] + rounding or highest >= limits[1] - rounding:
            is_cut = is_number & ((values <= limits[0] + rounding) | (values >= limits[1] - rounding))
            damage[np.flatnonzero(is_cut) // length] |= CLIPPED
    else:
        standing = max(3, round(STANDING * rate / 1000))
        for extreme, bit in ((highest, CLIPPED_HIGH), (lowest, CLIPPED_LOW)):
            damage[_runs(np.flatnonzero(values == extreme), standing) // length] |= bit
    full = values[: len(values) // length * length].reshape(-1, length)
    damage[: len(full)][full.max(1) == full.min(1)] |= CONSTANT
    return damage, float(lowest), float(highest)


def _runs(where: np.ndarray, least: int) -> np.ndarray:
    """Those of the indices that are part of at least so many in a row."""
    if len(where) < least:
        return where[:0]
    starts = np.flatnonzero(np.diff(where, prepend=where[0] - 2) != 1)
    lengths = np.diff(starts, append=len(where))
    return where[np.repeat(lengths >= least, lengths)]


def _rises(averages: np.ndarray, fine: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of an electroporated channel, mV: how it rises, and an action potential's amplitude, upright and upside down."""
    from scipy.ndimage import gaussian_filter1d, maximum_filter1d, minimum_filter1d, uniform_filter1d

    width = UPSTROKE * fine / 1000
    rise = gaussian_filter1d(averages, width, order=1, mode="nearest") * (width * np.sqrt(2 * np.pi))
    level = gaussian_filter1d(averages, width, mode="nearest")
    after, back = round(TOP * fine / 1000), round(FOOT * fine / 1000)
    ahead = {"size": after, "mode": "nearest", "origin": -(after // 2)}  # from the sample itself on
    foot = uniform_filter1d(averages, round(FOOT_WIDTH * fine / 1000), mode="nearest")
    foot = np.concatenate([np.full(back, foot[0]), foot[:-back]])
    return rise, maximum_filter1d(level, **ahead) - foot, foot - minimum_filter1d(level, **ahead)


def _highest(signal: np.ndarray, inner: slice, per_bin: int) -> np.ndarray:
    """Index of the highest sample of each bin."""
    values = signal[inner]
    count = -(-len(values) // per_bin)
    filled = np.full(count * per_bin, -np.inf)
    filled[: len(values)] = values
    return filled.reshape(count, per_bin).argmax(1) + np.arange(count) * per_bin + inner.start


def _samples(signal: np.ndarray, at: np.ndarray, low: int, factor: int) -> np.ndarray:
    """The recording's sample next to the top of the parabola through an average and its two neighbours."""
    middle = np.clip(at, 1, len(signal) - 2)
    before, here, after = signal[middle - 1], signal[middle], signal[middle + 1]
    bend = before - 2 * here + after
    is_top = (bend < 0) & (middle == at)
    shift = np.where(is_top, 0.5 * (before - after) / np.where(is_top, bend, 1), 0)
    place = (at + np.clip(shift, -0.5, 0.5)) * factor + (factor - 1) / 2
    return low + np.floor(place + 0.5).astype(np.int64)


def _hum(band: np.ndarray, fine: float) -> float:
    """Amplitude of mains hum, mV: at 50 or 60 Hz, whichever is stronger; the median over stretches of 2 s."""
    length = min(round(HUM_LENGTH * fine / 1000), len(band))
    rows = band[: len(band) // length * length].reshape(-1, length) if length else band[None, :0]
    window = np.hanning(length)
    turns = 2j * np.pi * np.arange(length) / fine
    amplitudes = []
    for hum in HUMS:
        wave = window * np.exp(-turns * hum)
        found = 2 * np.abs([(row * wave).sum() for row in rows]) / max(window.sum(), 1e-9)
        amplitudes.append(float(np.median(found)) if len(rows) else 0.0)
    return max(amplitudes)
