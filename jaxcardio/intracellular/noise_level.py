"""The noise of a channel, sigma(N), and S/N: Eqs 6 to 9 of doi 10.1038/s41467-024-55571-6.

Everything is measured on means over about 1 ms (`fine`): the same bands, and so the same numbers, at any sampling rate.
"""

import functools

import numpy as np
from jaxtyping import ArrayLike, Float

from ..annotations import typed
from ..arguments import check_known, refusal
from .filtering import bandpass, highpass, lowpass
from .resampling import averaged

SLOWEST = 1000.0
"""Sampling rate, Hz, below which nothing is done: the spike's band would not be there."""
SPIKES = (10.0, 450.0)
"""Band of the spikes, Hz: without drift, and nearly without the repolarisation wave."""
QUIET = 100.0
"""The noise is measured from here, Hz, to the end of the spikes' band."""
PUBLISHED_RATE = 5000.0
"""Sampling rate of the study, Hz: sigma(N) is that of white noise sampled so."""
GAUSS = 1.4826
"""Standard deviation of normal numbers over their median absolute deviation."""


@typed
def noise_level(values: Float[np.ndarray, "*batch sample"], sampling_rate: ArrayLike) -> Float[np.ndarray, "*batch"]:
    """sigma(N), the standard deviation of the noise of each row, mV.

    The study says "standard deviation of the signal between 2499 and 4000 Hz", which does not exist at its 5 kHz. Built
    is: the median absolute deviation (times 1.4826) of the signal between 100 and 450 Hz, which spikes of a few
    per cent of the time do not move, stated as the standard deviation that white noise of this density has when
    sampled at 5 kHz. So white noise recorded at 5 kHz gets its own standard deviation; recorded at 10 kHz it gets
    1 / sqrt(2) of it, recorded at 1 kHz sqrt(5) times it. The number does not depend on the sampling rate of one and
    the same electrode, which S/N and Eq 11 need.

    Args:
        values: mV, all finite, at least 200 ms.
        sampling_rate: Hz, at least 1000.

    ValueError: a sampling rate below 1000 Hz, too few samples.
    """
    rate = check_rate(sampling_rate)
    values = np.asarray(values)
    if values.shape[-1] < 0.2 * rate:
        raise refusal("values", values.shape[-1], "samples", "at least 200 ms")
    factor, fine = fine_grid(rate)
    rows = values.reshape(-1, values.shape[-1])
    found = [noise_of(spike_band(averaged(row, factor), fine), fine) for row in rows]
    return np.array(found, np.float64).reshape(values.shape[:-1])


@typed
def signal_to_noise(values: Float[np.ndarray, "*batch sample"], noise: ArrayLike) -> Float[np.ndarray, "*batch"]:
    """S/N of extracellular windows, Eq 9: the largest value above the window's median over sigma(N); a ratio.

    ValueError: noise that is not above 0.
    """
    check_known("noise", np.min(noise), "mV", "above 0", lambda x: x > 0)
    values = np.asarray(values)
    return (values.max(-1) - np.median(values, axis=-1)) / np.asarray(noise)


@typed
def decibels(values: Float[np.ndarray, "*batch sample"], sampling_rate: ArrayLike) -> Float[np.ndarray, "*batch"]:
    """S/N of intracellular windows, dB, Eqs 6 to 8: 20 log10 of the root mean squares of signal and noise.

    The signal is what is below 100 Hz, without its mean; the noise what is above. The study keeps windows above "90
    dB"; its released code computes twice what Eq 8 says, so this is 45 dB of the formula, and of this function.

    Args:
        values: mV, at least 200 ms.
        sampling_rate: Hz, at least 1000.

    ValueError: a sampling rate below 1000 Hz.
    """
    rate = check_rate(sampling_rate)
    signal, noise = lowpass(values, rate, QUIET), highpass(values, rate, QUIET)
    signal = signal - signal.mean(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 20 * np.log10(_root_mean_square(signal) / _root_mean_square(noise))


def check_rate(sampling_rate: ArrayLike) -> float:
    """The sampling rate as a number. ValueError: below 1000 Hz."""
    check_known(
        "sampling_rate", sampling_rate, "Hz", f"at least {SLOWEST:g}", lambda x: (x >= SLOWEST) & np.isfinite(x)
    )
    return float(np.asarray(sampling_rate))


def fine_grid(rate: float) -> tuple[int, float]:
    """How many samples are averaged to about 1 ms, and the rate (1000 to 2000 Hz) of the averages."""
    factor = int(rate / SLOWEST + 1e-6)
    return factor, rate / factor


def spike_band(values: Float[np.ndarray, " mean"], fine: float) -> Float[np.ndarray, " mean"]:
    """Averages between 10 and 450 Hz, zero-phase."""
    return bandpass(values, fine, *SPIKES)


def noise_of(values: Float[np.ndarray, " mean"], fine: float, is_good: np.ndarray | None = None) -> float:
    """sigma(N) of averages in the spikes' band; of those that are good, NaN where none is."""
    noise = highpass(values, fine, QUIET)
    noise = noise if is_good is None else noise[is_good]
    if not noise.size:
        return np.nan
    return float(GAUSS * np.median(np.abs(noise - np.median(noise))) * _gain(fine))


@functools.lru_cache(16)
def _gain(fine: float) -> float:
    """From the standard deviation between 100 and 450 Hz to that of the same white noise sampled at 5 kHz."""
    from scipy.signal import butter, sosfreqz

    passed = 1.0
    for cutoff, kind in ((SPIKES, "bandpass"), (QUIET, "highpass")):
        sections = butter(3, cutoff, kind, fs=fine, output="sos")
        passed = passed * np.abs(sosfreqz(sections, worN=8192)[1]) ** 4  # forwards and backwards, as a power
    return float(np.sqrt(PUBLISHED_RATE / fine / np.mean(passed)))


def _root_mean_square(values: np.ndarray) -> np.ndarray:
    return np.sqrt((values**2).mean(-1))
