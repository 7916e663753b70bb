"""Noise of a channel: white, pink, mains and slow drift, streamed so that the cuts between pieces leave no trace."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...annotations import typed
from ...arguments import check_known, check_number, check_seed, check_whole, refusal
from .seal import _number

PINK_BAND = 0.5, 2000.0
"""Where the spectrum falls as 1/f, Hz; below it is flat."""
PINK_SECTIONS = 6
"""Pairs of a pole and a zero, spread evenly over the band: within 0.5 dB of 1/f."""
DRIFT = 10_000.0
"""Time constant of the drift, ms: a random walk that is pulled back."""


class Noise(eqx.Module):
    """How much there is of each kind: standard deviations, and the mains' amplitude, mV."""

    white: Float[Array, ""] = eqx.field(converter=_number, default=0.0)
    pink: Float[Array, ""] = eqx.field(converter=_number, default=0.0)
    mains: Float[Array, ""] = eqx.field(converter=_number, default=0.0)
    drift: Float[Array, ""] = eqx.field(converter=_number, default=0.0)

    def __check_init__(self):
        for name in ("white", "pink", "mains", "drift"):
            check_number(name, getattr(self, name), "mV", "finite and >= 0 mV", lambda x: (x >= 0) & np.isfinite(x))

    @typed
    def __call__(self, unit: Float[np.ndarray, "kind sample"]) -> Float[Array, " sample"]:
        """Noise, mV, from that of unit size that `NoiseSource.next` gives."""
        unit = np.asarray(unit)
        if len(unit) != 4:
            raise refusal("unit", unit.shape, "", "white, pink, mains and drift of unit size, of shape (4, sample)")
        sizes = jnp.stack([self.white, self.pink, self.mains, self.drift]).astype(unit.dtype)
        return sizes @ jnp.asarray(unit)

    def fast(self) -> Float[Array, ""]:
        """Standard deviation of all but the drift, mV."""
        return jnp.sqrt(self.white**2 + self.pink**2 + self.mains**2 / 2)


class NoiseSource:
    """White, pink, mains and drift of unit size for one channel: the same samples however they are asked for.

    Args:
        seed: whole numbers that name this channel.
        sampling_rate: Hz.
        mains: frequency, Hz.
    """

    @typed
    def __init__(self, seed: tuple[int, ...], sampling_rate: float, mains: float = 50.0):
        if not seed:
            raise refusal("seed", seed, "", "one whole number at least")
        for one in seed:
            check_seed(one, bits=64)
        check_known("sampling_rate", sampling_rate, "Hz", "finite, above 1 Hz", lambda x: (x > 1) & np.isfinite(x))
        check_known("mains", mains, "Hz", "finite and >= 0 Hz", lambda x: (x >= 0) & np.isfinite(x))
        self._draws = [np.random.default_rng((*seed, kind)) for kind in range(3)]
        self._phase = self._draws[0].uniform(0, 2 * np.pi)
        self._turn = 2 * np.pi * mains / sampling_rate
        self._at = 0
        sections = _pink_sections(sampling_rate)
        decay = np.exp(-1000 / (DRIFT * sampling_rate))
        self._pink = sections, np.zeros((len(sections), 2))
        self._drift = decay, self._draws[2].standard_normal(1)

    def next(self, n: int) -> Float[np.ndarray, "kind sample"]:
        """The next n samples, float32: white, pink, mains, drift."""
        check_whole("n", n, "samples")
        from scipy.signal import lfilter, sosfilt

        white = self._draws[0].standard_normal(n)
        sections, state = self._pink
        pink, state = sosfilt(sections, self._draws[1].standard_normal(n), zi=state)
        self._pink = sections, state
        mains = np.sin(self._phase + self._turn * (self._at + np.arange(n)))
        decay, last = self._drift
        drift, zi = lfilter([np.sqrt(1 - decay**2)], [1.0, -decay], self._draws[2].standard_normal(n), zi=decay * last)
        self._drift = decay, zi / decay
        self._at += n
        return np.stack([white, pink, mains, drift]).astype(np.float32)


def _pink_sections(sampling_rate: float) -> np.ndarray:
    """Second-order sections (with one pole and one zero each) that make unit pink noise of unit white noise."""
    low, high = PINK_BAND[0], min(PINK_BAND[1], sampling_rate / 2)
    ratio = (high / low) ** (1 / PINK_SECTIONS)
    poles = low * ratio ** np.arange(PINK_SECTIONS)
    p, z = (np.exp(-2 * np.pi * f / sampling_rate) for f in (poles, poles * np.sqrt(ratio)))
    sections = np.stack([np.ones_like(p), -z, 0 * p, np.ones_like(p), -p, 0 * p], axis=1)
    f = np.exp(-2j * np.pi * np.geomspace(1e-6, 0.5, 20_001))
    gain = np.prod((1 - z[:, None] * f) / (1 - p[:, None] * f), axis=0)
    power = np.trapezoid(np.abs(gain) ** 2, np.geomspace(1e-6, 0.5, 20_001)) * 2
    sections[0, :3] /= np.sqrt(power)
    return sections
