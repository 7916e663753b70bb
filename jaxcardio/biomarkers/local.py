"""Local polynomials: V and its slope about a sample, as weighted sums of samples whose noise is known.

Each number comes at several widths. A wide one has little noise and much of the curve's own bend in it; the widest that
agrees with all narrower ones, within their noise, is taken (`chosen`), and what it still differs from a narrower one
by, beyond noise, is its bias.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from .noise import Spectrum

AGREE = 2.5
"""Estimates agree that differ by at most so many standard errors."""
FINER = 1.35
"""From one width to the next."""
NARROWER = 2
"""So many widths below the widest that agrees."""
MOST_MISSING = 0.3
"""Share of missing samples in a fit."""


class Signal(NamedTuple):
    """Potentials of one sweep (T,), NaN where missing, every `dt` ms, and their noise."""

    x: np.ndarray
    dt: float
    spectrum: Spectrum
    variances: dict[Any, float]
    """of the weights used so far"""


class Weights(NamedTuple):
    """A weighted sum of the samples from number `first` on."""

    first: int
    weights: np.ndarray


class Fit(NamedTuple):
    """V near sample position `centre` (a half where it lies between two samples), at `u` samples from it:
    sum of coefficients[k] u^k; rows of `weights` give the coefficients, as sums of the samples from `first` on."""

    centre: float
    first: int
    coefficients: np.ndarray
    weights: np.ndarray
    half: float

    def at(self, u: float) -> tuple[float, float]:
        """V and its slope per sample."""
        k = np.arange(self.coefficients.size)
        return float(self.coefficients @ u**k), float(self.coefficients[1:] @ (k[1:] * u ** k[:-1]))

    def value_weights(self, u: float) -> Weights:
        return Weights(self.first, (u ** np.arange(self.coefficients.size)) @ self.weights)

    def row(self, k: int) -> Weights:
        return Weights(self.first, self.weights[k])


def local_fit(x: np.ndarray, centre: float, half: int, degree: int, first: int = 0, end: int | None = None):
    """The polynomial of `degree` through the samples within `half` of `centre`, those of `first` to before `end`.

    None where too few are there. For a `centre` between two samples, `half` on either side.
    """
    between = centre % 1 != 0
    low = max(int(np.floor(centre)) - half + (1 if between else 0), first)
    high = min(int(np.floor(centre)) + half + 1, x.size if end is None else end)
    y = x[low:high]
    if y.size <= degree:
        return None
    present = np.isfinite(y)
    if present.all():
        weights = polynomial(low - centre, y.size, degree)
    else:
        if present.mean() < 1 - MOST_MISSING or present.sum() <= degree:
            return None
        u = (np.arange(y.size) + low - centre)[present]
        weights = np.zeros((degree + 1, y.size))
        weights[:, present] = _solved(u, degree)
        y = np.where(present, y, 0.0)
    return Fit(centre, low, weights @ y, weights, float(max(centre - low, high - 1 - centre)))


@functools.lru_cache(maxsize=4096)
def polynomial(start: float, n: int, degree: int) -> np.ndarray:
    return _solved(np.arange(n) + start, degree)


def _solved(u, degree):
    scale = max(abs(u).max(), 1.0)
    return np.linalg.pinv(np.vander(u / scale, degree + 1, increasing=True)) / scale ** np.arange(degree + 1)[:, None]


def variance(signal: Signal, weights: np.ndarray, region: float) -> float:
    """Of a weighted sum of neighbouring samples, by the noise faster than one period in `region` samples."""
    key = (
        weights.size,
        round(float(np.log(region)), 1),
        round(float(weights[0]), 12),
        round(float(weights @ weights), 12),
    )
    if key not in signal.variances:
        n = 1 << int(np.ceil(np.log2(max(4 * weights.size, 2 * region))))
        f = np.fft.rfftfreq(n, signal.dt)
        density = signal.spectrum.density(f)
        density[f < 1 / (region * signal.dt)] = 0.0
        signal.variances[key] = float((np.abs(np.fft.rfft(weights, n)) ** 2 @ density) * f[1])
    return signal.variances[key]


def covariance(signal: Signal, sums: list[Weights], lines: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Of several weighted sums of samples, by all of the noise; `lines`: frequency and amplitude of what a removed hum
    may have left."""
    first = min(s.first for s in sums)
    length = max(s.first + s.weights.size for s in sums) - first
    n = 1 << int(np.ceil(np.log2(max(2 * length, 64))))
    spread = np.zeros((len(sums), length))
    for row, s in zip(spread, sums, strict=True):
        row[s.first - first : s.first - first + s.weights.size] = s.weights
    f = np.fft.rfftfreq(n, signal.dt)
    density = signal.spectrum.density(f) * f[1]
    density[0] = signal.spectrum.slower_than(f[1] / 2)
    transformed = np.fft.rfft(spread, n)
    found = np.real((transformed * density) @ transformed.conj().T)
    for frequency, amplitude in zip(*lines, strict=True):
        wave = spread @ np.exp(2j * np.pi * frequency * signal.dt * np.arange(length))
        found += amplitude**2 / 2 * np.real(np.outer(wave, wave.conj()))
    return found


def widths(least: int, most: float) -> list[int]:
    """Half-widths, samples, from `least` to `most`."""
    count = max(0, int(np.floor(np.log(max(most / least, 1.0)) / np.log(FINER))))
    return sorted({least, *(round(least * FINER**k) for k in range(count + 1))})


def chosen(values: np.ndarray, variances: np.ndarray, grain: float = 0.0) -> tuple[int, float]:
    """Number of the estimate to take of these (narrow to wide), and its bias.

    The widest that agrees with all narrower ones may still be off by as much as its noise. So one about half as wide is
    taken, which has a few times less bias for a little more noise. `grain` is a difference that does not matter.
    """
    last = 0
    for k in range(1, len(values)):
        # What two fits of the same samples differ by has less noise than the narrower of them.
        apart = np.sqrt(np.maximum(variances[:k] - variances[k], variances[:k] / 4))
        if (np.abs(values[k] - values[:k]) > AGREE * apart + grain).any():
            break
        last = k
    taken = max(0, last - NARROWER)
    excess = (values[last] - values[taken]) ** 2 - max(variances[taken] - variances[last], 0.0)
    return taken, float(np.sqrt(max(excess, 0.0))) / 2
