"""The noise of a recording, estimated from its own samples: how large, of which colour, and how much mains hum.

Short stretches of the trace are freed of a cubic, which takes the action potential with it, and what is left of most
of them is noise. The few stretches with an upstroke are outvoted: of each frequency the `QUANTILE` over all stretches
counts. Below the lowest frequency of a stretch, where the action potential itself lives, the spectrum is carried on by
its own law, a constant plus a power of 1/f.
"""

from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Float

from .hum import Hum

STRETCHES = (12.5, 25.0, 50.0)
"""ms; at least `FEWEST` samples."""
LOWEST, LOUDER = 4, 2.5
"""Stretches are too long, and an upstroke is in too many of them, where at their `LOWEST` frequencies they show so much
more than the law that shorter ones obey."""
FEWEST, ENOUGH = 32, 8
"""Samples of a stretch, and stretches; with less, the noise is taken to be white and read off third differences."""
QUANTILE = 0.4
SKIPPED = 3
"""The cubic takes the lowest frequencies of a stretch with it: so many are not looked at."""
BESIDE_HUM = 2.5
"""Frequencies of a stretch left out on either side of hum."""
FITTED = 1.0
"""kHz: the law is fitted up to here; amplifiers have filters above."""
POWERS = (0.5, 1.0, 1.5, 2.0)
"""Of 1/f, tried beside a constant."""
SLOWEST = 0.001
"""kHz: laws steeper than 1/f are not carried on below. What is slower is a drift, the same for all of a beat."""
GAIN = 4.0
"""A power of 1/f counts where it makes the spectrum more likely by this much, in units of log likelihood."""
NEGLIGIBLE = 1e-4
"""Noise below this share of the range of V is rounding, and what an interpolation between samples would make."""


class Noise(eqx.Module):
    """The noise of a recording, one for each sweep.

    `rms` (mV) is what remains beside the mains hum, over all frequencies from one period a recording to half the
    sampling rate. `density` (mV^2/Hz, one-sided) is given at `frequencies` (Hz). `hum_frequency` (Hz) is that of the
    mains, NaN without hum, `hum_rms` (mV) that of all its harmonics; hum is a known wave and is taken out of V before
    anything is measured.
    """

    rms: Float[np.ndarray, "..."]
    frequencies: Float[np.ndarray, " frequencies"]
    density: Float[np.ndarray, "... frequencies"]
    hum_frequency: Float[np.ndarray, "..."]
    hum_rms: Float[np.ndarray, "..."]
    low_frequency_share: Float[np.ndarray, "..."]
    """of the power (rms squared), what rises towards low frequencies, as 1/f noise does; 0 for white noise"""


class Spectrum(NamedTuple):
    """One sweep's noise. Frequencies in kHz (1/ms), densities in mV^2/kHz, one-sided."""

    white: float
    rising: float
    """density of the part that rises towards low frequencies, at 1 kHz"""
    power: float
    seen_at: np.ndarray
    seen: np.ndarray
    """what was seen, averaged over neighbouring frequencies"""
    dt: float
    duration: float
    rms: float

    def density(self, f: np.ndarray) -> np.ndarray:
        """At frequencies f; below one period a recording there is nothing."""
        f = np.maximum(f, max(1 / self.duration, SLOWEST if self.power > 1 else 0.0))
        law = _density((self.white, self.rising, self.power), f)
        if self.seen_at.size == 0:
            return law
        return np.where(f < self.seen_at[0], law, np.interp(f, self.seen_at, self.seen))

    def slower_than(self, f: float) -> float:
        """Power of what is slower than frequency f, mV^2."""
        if f <= 1 / self.duration:
            return 0.0
        slow = np.geomspace(1 / self.duration, f, 50)
        return float(np.trapezoid(self.density(slow), slow))


def estimate(x: np.ndarray, dt: float, hum: Hum) -> Spectrum:
    """The noise of V (T,), `hum` taken out, NaN where samples are missing, at intervals of `dt` ms."""
    duration = x.size * dt
    looks = [_look(x, dt, n, hum) for n in sorted({max(FEWEST, round(length / dt)) for length in STRETCHES})]
    looks = [look for look in looks if look is not None]
    if not looks:
        white = 2 * dt * _white_variance(x)
        empty = np.zeros(0)
        return Spectrum(white, 0.0, 1.0, empty, empty, dt, duration, float(np.sqrt(white / 2 / dt)))
    look, *longer = looks
    law = _law(look)
    for next_look in longer:
        if next_look.seen[:LOWEST].sum() > LOUDER * _density(law, next_look.f[:LOWEST]).sum():
            break
        look, law = next_look, _law(next_look)
    f, seen = _averaged(look.f, look.seen)
    found = Spectrum(*law, f, seen, dt, duration, 0.0)
    return found._replace(rms=_total(found))


def describe(found: list[Spectrum], hum: list[Hum], shape: tuple[int, ...]) -> Noise:
    """The public record of every sweep's noise."""
    one = found[0]
    f = np.geomspace(1 / one.duration, 0.5 / one.dt, 200)
    rising = [_total(s._replace(white=0.0, seen=np.minimum(s.seen, s.rising * s.seen_at**-s.power))) for s in found]
    share = [min(1.0, (r / s.rms) ** 2) if s.rms > 0 else 0.0 for r, s in zip(rising, found, strict=True)]

    def shaped(values):
        return np.asarray(values, float).reshape((*shape, *np.shape(values)[1:]))

    return Noise(
        rms=shaped([s.rms for s in found]),
        frequencies=1000 * f,
        density=shaped([s.density(f) / 1000 for s in found]),
        hum_frequency=shaped([1000 * h.frequency for h in hum]),
        hum_rms=shaped([h.rms for h in hum]),
        low_frequency_share=shaped(share),
    )


class _Look(NamedTuple):
    """What stretches of one length show: frequencies, density there, and how many stretches there were."""

    f: np.ndarray
    seen: np.ndarray
    stretches: int


def _look(x, dt, n, hum: Hum) -> _Look | None:
    stretches = _stretches(x, n)
    if len(stretches) < ENOUGH:
        return None
    window = np.hanning(n + 2)[1:-1]
    power = np.abs(np.fft.rfft((stretches - _cubic(stretches)) * window)) ** 2 * (2 * dt / (window**2).sum())
    seen = np.quantile(power, QUANTILE, axis=0) / -np.log(1 - QUANTILE)
    f = np.fft.rfftfreq(n, dt)
    kept = np.arange(f.size) >= SKIPPED
    kept[-1] = False
    for line in hum.number * hum.frequency:  # what a fit of the hum leaves of it is no noise of other frequencies
        kept &= abs(f - line) > BESIDE_HUM / (n * dt)
    if kept.sum() < LOWEST:
        return None
    return _Look(f[kept], seen[kept], len(stretches))


def _stretches(x, n):
    """Half-overlapping stretches of n samples without a gap."""
    if x.size < n:
        return np.zeros((0, n))
    every = np.lib.stride_tricks.sliding_window_view(x, n)[:: n // 2]
    return every[np.isfinite(every).all(axis=1)]


def _cubic(stretches):
    u = np.linspace(-1, 1, stretches.shape[1])
    q, _ = np.linalg.qr(np.vander(u, 4))
    return (stretches @ q) @ q.T


def _white_variance(x):
    """From the third differences, which a smooth potential hardly has."""
    d = np.diff(x[np.isfinite(x)], 3)
    return float(np.median(np.abs(d)) / 0.6745) ** 2 / 20 if d.size else 0.0


def _density(law: tuple[float, float, float], f: np.ndarray) -> np.ndarray:
    white, rising, power = law
    return white + rising * f**-power


def _law(look: _Look) -> tuple[float, float, float]:
    """White and rising density, and the power of the rising part, most likely for what was seen."""
    f, seen, looks = look.f, look.seen, 0.4 * look.stretches
    low = f <= max(FITTED, 2 * f[0])
    f, seen = f[low], seen[low]
    share = np.concatenate([[0.0], np.geomspace(1e-3, 0.999, 60), [1.0]])[:, None]
    best = None
    for power in POWERS:
        shape = (1 - share) + share * (f[0] / f) ** power
        scale = (seen / shape).mean(axis=1, keepdims=True)
        cost = looks * (np.log(scale * shape) + seen / (scale * shape)).sum(axis=1)
        k = int(cost.argmin())
        if best is None:
            best = (cost[0], float(scale[0, 0]), 0.0, 1.0)
        if cost[k] < best[0] - (GAIN if best[2] == 0.0 else 0.0):
            at_first = float(scale[k, 0] * share[k, 0])
            best = (cost[k], float(scale[k, 0]) - at_first, at_first * f[0] ** power, power)
    assert best is not None
    return best[1:]


def _averaged(f, seen):
    """Averages over about a sixth of an octave."""
    ends = np.unique(
        np.searchsorted(f, np.append(np.geomspace(f[0], f[-1], 2 + int(6 * np.log2(f[-1] / f[0]))), np.inf))
    )
    starts = ends[:-1]
    if starts.size == 0:
        return f, seen
    count = np.diff(np.append(starts, f.size))
    return np.add.reduceat(f, starts) / count, np.add.reduceat(seen, starts) / count


def _total(spectrum: Spectrum) -> float:
    """rms, mV."""
    f = np.geomspace(1 / spectrum.duration, 0.5 / spectrum.dt, 2000)
    return float(np.sqrt(np.trapezoid(spectrum.density(f), f)))
