"""Mains hum: a wave of 50 or 60 Hz and its harmonics, of constant size and phase, found and taken out of a recording.

The wave is fitted to short stretches of the trace, all with one phase, beside a cubic for each, which takes the action
potential; stretches where that does not do (upstrokes) are left out. How well it is known is read off fits of waves of
other frequencies: what they find is noise and action potential.
"""

from typing import NamedTuple

import numpy as np

MAINS = (0.05, 0.06)
"""kHz"""
OFF = 0.0005
"""kHz: how far the mains may be off."""
HARMONICS = 6
STRETCH = 60.0
"""ms"""
COARSE = 1.0
"""ms: finer samples are averaged to about this first."""
BESIDE = 0.01
"""kHz: so far on either side other frequencies are looked at: beats too have harmonics, there as at the mains'."""
CERTAIN = 2.0
"""How many times larger than all that other frequencies show the wave must be."""

STEADY = 1e-3
"""Share of the wave that may be left of it: frequency and size are taken to be constant."""


class Hum(NamedTuple):
    """The wave that was found: frequency (kHz; NaN without hum), and of each harmonic the number, the complex amplitude
    (mV) at the first sample and its standard error."""

    frequency: float
    number: np.ndarray
    amplitude: np.ndarray
    error: np.ndarray

    @property
    def rms(self) -> float:
        return float(np.sqrt((np.abs(self.amplitude) ** 2).sum() / 2))

    def wave(self, t: np.ndarray) -> np.ndarray:
        """mV at times t (ms) since the first sample."""
        total = np.zeros(t.shape)
        for k, a in zip(self.number, self.amplitude, strict=True):
            total += (a * np.exp(2j * np.pi * k * self.frequency * t)).real
        return total


NO_HUM = Hum(np.nan, np.zeros(0), np.zeros(0, complex), np.zeros(0))


def find_hum(x: np.ndarray, dt: float) -> Hum:
    """The hum in V (T,), NaN where samples are missing, at intervals of `dt` ms."""
    pooled = max(1, round(COARSE / dt))
    coarse = x[: x.size // pooled * pooled].reshape(-1, pooled).mean(axis=1)
    step = pooled * dt
    n = round(STRETCH / step)
    highest = min(0.4 / step, HARMONICS * MAINS[-1])
    if n < 12 or coarse.size < 8 * n or highest < MAINS[0]:
        return NO_HUM
    y = coarse[: coarse.size // n * n].reshape(-1, n)
    t = ((np.arange(y.size) + 0.5) * step - dt / 2).reshape(y.shape)
    q, _ = np.linalg.qr(np.vander(np.linspace(-1, 1, n), 4))
    whole = np.isfinite(y).all(axis=1)
    y, t = y[whole], t[whole]
    if len(y) < 8:
        return NO_HUM
    y = y - (y @ q) @ q.T
    quiet = _quietest(y)

    def waves(f):
        z = np.exp(2j * np.pi * f * t)
        z = z - (z @ q) @ q.T
        return z.real, -z.imag

    def fit(f):
        """Complex amplitude of the wave of frequency f, by least squares."""
        c, s = (w[quiet].ravel() for w in waves(f))
        seen = y[quiet].ravel()
        (cc, cs, ss), b = (c @ c, c @ s, s @ s), (c @ seen, s @ seen)
        scale = cc * ss - cs**2
        return complex(ss * b[0] - cs * b[1], cc * b[1] - cs * b[0]) / scale / np.sinc(f * step if pooled > 1 else 0.0)

    spacing = max(0.5 / (x.size * dt), OFF / 40)
    near = np.arange(-OFF, OFF + spacing / 2, spacing)
    trials = [(abs(fit(f0 + d)), f0 + d) for f0 in MAINS for d in near]
    f0 = _sharpened(fit, max(trials)[1], spacing)
    # The hum itself hides which stretches are quiet: again, without it.
    c, s = waves(f0)
    a = fit(f0) * np.sinc(f0 * step if pooled > 1 else 0.0)
    quiet = _quietest(y - a.real * c - a.imag * s)
    f0 = _sharpened(fit, f0, spacing)
    place = np.round((t - t.min()) / step).astype(int)
    found = []
    for k in range(1, HARMONICS + 1):
        f = k * f0
        if f > highest:
            break
        a = fit(f)
        c, s = waves(f)
        inner = a * np.sinc(f * step if pooled > 1 else 0.0)
        y = y - inner.real * c - inner.imag * s
        others = _beside(place[quiet], y[quiet], step, f)
        error = np.sqrt(np.mean(others**2))
        if abs(a) > CERTAIN * others.max():
            found.append((k, a, np.hypot(error, STEADY * abs(a))))
    if not found or found[0][0] != 1:
        return NO_HUM
    number, amplitude, error = (np.array(v) for v in zip(*found, strict=True))
    return Hum(f0, number, amplitude, error)


def _beside(place: np.ndarray, y: np.ndarray, step: float, f: float) -> np.ndarray:
    """Amplitudes, mV, of frequencies beside f in what is left of V (stretches, n) at these places of a clock."""
    series = np.zeros(int(place.max()) + 1)
    series[place] = y
    amplitude = 2 * np.abs(np.fft.rfft(series)) / y.size
    apart = np.abs(np.fft.rfftfreq(series.size, step) - f)
    return amplitude[(apart <= BESIDE) & (apart > 1.5 / (series.size * step))]


def _quietest(stretches):
    energy = (stretches**2).sum(axis=1)
    return energy <= 1.5 * np.median(energy)


def _sharpened(fit, f, spacing):
    """The frequency of the largest amplitude near f, by parabolas."""
    for width in (spacing / 2, spacing / 8):
        before, here, after = (abs(fit(f + d)) for d in (-width, 0, width))
        bend = before - 2 * here + after
        if bend < 0:
            f += float(np.clip((before - after) / (2 * bend), -2, 2)) * width
    return f
