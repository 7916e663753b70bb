"""Zero-phase filters: what passes is not delayed, so peaks stay where they are."""

import functools

import numpy as np
from jaxtyping import ArrayLike, Float

from ..annotations import typed
from ..arguments import check_known, check_whole, refusal

ORDER = 3
"""Of the Butterworth filters, as published; run forwards and backwards each acts twice."""
QUALITY = 30.0
"""Frequency of a notch over its width."""
PADDING = 3.0
"""The signal is continued at both ends for so many periods of the lowest cut-off."""

Values = Float[np.ndarray, "*batch sample"]


@typed
def bandpass(
    values: Values, sampling_rate: ArrayLike, low: ArrayLike, high: ArrayLike, *, order: int = ORDER
) -> Values:
    """Passes `low` to `high` Hz: a Butterworth filter, forwards and backwards, along the last axis.

    The study (doi 10.1038/s41467-024-55571-6, Methods, Bandpass filtering) uses order 3 from 0.1 to 2499 Hz at 5 kHz,
    and takes the noise from 2499 to 4000 Hz. The latter cannot be: nothing above 2500 Hz is left at 5 kHz. Here the
    noise comes from `noise_level`, and such a band is refused.

    The result is float64. At both ends the signal is continued point-symmetrically (`scipy.signal.sosfiltfilt`).
    Rows do not see each other.

    ValueError: cut-offs not in 0 < low < high < sampling_rate / 2, an order below 1, fewer than 2 samples.
    """
    rate = _rate(sampling_rate)
    low, high = _cutoff("low", low, rate), _cutoff("high", high, rate)
    if low >= high:
        raise refusal("low", low, "Hz", f"below high = {high:g}")
    check_whole("order", order, "")
    return filtered(values, _butterworth(order, (low, high), "bandpass", rate), low, rate)


@typed
def highpass(values: Values, sampling_rate: ArrayLike, low: ArrayLike, *, order: int = ORDER) -> Values:
    """Passes what is above `low` Hz; as `bandpass`."""
    rate = _rate(sampling_rate)
    low = _cutoff("low", low, rate)
    check_whole("order", order, "")
    return filtered(values, _butterworth(order, (low,), "highpass", rate), low, rate)


@typed
def lowpass(values: Values, sampling_rate: ArrayLike, high: ArrayLike, *, order: int = ORDER) -> Values:
    """Passes what is below `high` Hz; as `bandpass`."""
    rate = _rate(sampling_rate)
    high = _cutoff("high", high, rate)
    check_whole("order", order, "")
    return filtered(values, _butterworth(order, (high,), "lowpass", rate), high, rate)


@typed
def notch(values: Values, sampling_rate: ArrayLike, mains: ArrayLike, *, harmonics: int = 3) -> Values:
    """Without mains hum: zero-phase notches (quality 30) at `mains` and its harmonics, as far as they exist.

    Args:
        mains: 50 or 60 Hz, or what it really is.
        harmonics: how many frequencies, the first included.

    Otherwise as `bandpass`.
    """
    rate = _rate(sampling_rate)
    mains = _cutoff("mains", mains, rate)
    check_whole("harmonics", harmonics, "")
    return filtered(values, _notches(mains, harmonics, rate), mains / QUALITY, rate)


def filtered(values: np.ndarray, sections: np.ndarray, lowest: float, rate: float) -> np.ndarray:
    """Second-order sections forwards and backwards; `lowest` (Hz) says how far the signal is continued at its ends."""
    from scipy.signal import sosfiltfilt

    values = np.asarray(values, np.float64)
    n = values.shape[-1] if values.ndim else 0
    if n < 2:
        raise ValueError(f"values: {n} samples; allowed: at least 2")
    return sosfiltfilt(sections, values, axis=-1, padlen=min(n - 1, round(PADDING * rate / lowest)))


@functools.lru_cache(64)
def _butterworth(order: int, cutoffs: tuple[float, ...], kind: str, rate: float) -> np.ndarray:
    from scipy.signal import butter

    return np.asarray(butter(order, np.array(cutoffs).squeeze(), kind, fs=rate, output="sos"))


@functools.lru_cache(64)
def _notches(mains: float, harmonics: int, rate: float) -> np.ndarray:
    from scipy.signal import iirnotch, tf2sos

    frequencies = [k * mains for k in range(1, harmonics + 1) if k * mains < 0.49 * rate] or [mains]
    # The same width at every harmonic: mains hum wanders by the same number of periods.
    return np.concatenate([tf2sos(*iirnotch(f, QUALITY * f / mains, fs=rate)) for f in frequencies])


def _rate(sampling_rate: ArrayLike) -> float:
    check_known("sampling_rate", sampling_rate, "Hz", "above 0", lambda x: (x > 0) & np.isfinite(x))
    return float(np.asarray(sampling_rate))


def _cutoff(name: str, value: ArrayLike, rate: float) -> float:
    half = rate / 2
    check_known(name, value, "Hz", f"above 0, below half the sampling rate, {half:g}", lambda x: (x > 0) & (x < half))
    return float(np.asarray(value))
