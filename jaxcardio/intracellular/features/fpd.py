"""Field potential duration: from the spike to the end of the repolarisation wave, and why it may not be known."""

import enum
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from ...annotations import typed
from .eap import prepared
from .moving import odd_width, over_traces
from .spike import Spike, find_spike
from .wave import SMOOTHING, Wave, find_wave

RETURN = 0.1
"""By threshold the wave ends where it has come back to this part of its height."""
UNFINISHED = 0.25
"""A wave that comes back to no less than this part of its height above the level before the spike is cut."""


LOWEST = 2.0
"""The lowest of many samples lies that many times the wave's noise (`Wave.noise`) below their level."""


class FieldVerdict(enum.IntEnum):
    """Whether a field potential duration was measured, or why not."""

    MEASURED = 0
    NO_WAVE = 1
    WAVE_CUT = 2
    NO_SPIKE = 3


VERDICTS = {
    FieldVerdict.MEASURED: "measured",
    FieldVerdict.NO_WAVE: "no repolarisation wave stands out of the noise",
    FieldVerdict.WAVE_CUT: "the window ends before the repolarisation wave has come back",
    FieldVerdict.NO_SPIKE: "no spike: the trace is flat, or has samples that are not finite",
}
"""What a verdict says, in words."""


class FieldPotential(NamedTuple):
    """Field potential durations, one a trace."""

    duration: Float[Array, "..."]
    """From the spike's highest sample to the wave's end, ms; NaN unless measured."""
    end: Float[Array, "..."]
    """The wave's end, ms from the window's start; NaN unless measured."""
    peak: Float[Array, "..."]
    """The wave's extreme, ms from the window's start; NaN without a wave."""
    verdict: Int[Array, "..."]
    """A `FieldVerdict` code."""


@typed
def field_potential_duration(
    eap: Float[ArrayLike, "... sample"],
    sampling_rate: float,
    method: Literal["tangent", "threshold"] = "tangent",
    *,
    before: float = 200.0,
    noise: ArrayLike | None = None,
) -> FieldPotential:
    """Field potential durations (ms): from V_max of the spike to the end of the repolarisation wave.

    Spike and wave are those of `eap_features`; the wave may point up or down. Its baseline is the level before the
    spike, or the level that the wave comes back to where that lies closer to its peak. Its end is

    - "tangent": where the line through the steepest return of the wave meets the baseline;
    - "threshold": where the wave has come back to 10 % of its height above the baseline.

    Without a wave that stands out of the noise there is no duration, but a verdict. It is another verdict when the wave
    is still more than a quarter of its height away from the level before the spike when the window ends.

    Args: as of `eap_features`. Amplitude and offset do not matter.

    Raises:
        ValueError: as `eap_features`; an unknown method.
    """
    v, rate, noises = prepared(eap, sampling_rate, before, noise)
    found = over_traces(_of_one, v, noises, rate=rate, before=float(before))
    end = found.by_tangent if method == "tangent" else found.by_threshold
    return FieldPotential(end - found.spike, end, found.peak, found.verdict)


class _Ends(NamedTuple):
    """Times of one trace, ms from the window's start; NaN where they are not known."""

    spike: Float[Array, ""]
    peak: Float[Array, ""]
    by_tangent: Float[Array, ""]
    by_threshold: Float[Array, ""]
    verdict: Int[Array, ""]


def _of_one(trace: Float[Array, " sample"], noise: Float[Array, ""], rate: float, before: float) -> _Ends:
    spike = find_spike(trace, noise, rate, before)
    wave = find_wave(spike.trace, spike.bp2, spike.noise, spike.amplitude, rate)
    has_wave = spike.exists & wave.exists
    baseline, is_cut = _baseline(spike, wave)
    s = wave.sign * wave.smooth
    threshold = baseline + RETURN * (s[wave.peak] - baseline)
    sample = jnp.arange(s.size)
    last = jnp.min(jnp.where((sample > wave.peak) & (s <= threshold), sample, s.size))
    verdict = jnp.where(is_cut | (last == s.size), FieldVerdict.WAVE_CUT, FieldVerdict.MEASURED)
    verdict = jnp.where(has_wave, verdict, jnp.where(spike.exists, FieldVerdict.NO_WAVE, FieldVerdict.NO_SPIKE))

    def ms(samples, is_known):
        return jnp.where(is_known, samples.astype(s.dtype) * (1000.0 / rate), jnp.nan)

    return _Ends(
        spike=ms(spike.v_max, spike.exists),
        peak=ms(wave.peak, has_wave),
        by_tangent=ms(_by_tangent(s, wave.peak, last, baseline, rate), verdict == FieldVerdict.MEASURED),
        by_threshold=ms(_by_threshold(s, last, threshold), verdict == FieldVerdict.MEASURED),
        verdict=verdict,
    )


def _by_tangent(s: Float[Array, " sample"], peak, last, baseline, rate: float) -> Float[Array, ""]:
    """Where the line through the steepest return between two samples meets the baseline."""
    reach = odd_width(SMOOTHING, rate) // 2
    sample = jnp.arange(s.size)
    slope = (jnp.roll(s, -reach) - jnp.roll(s, reach)) / (2 * reach)
    is_return = (sample > peak) & (sample <= last) & (sample + reach < s.size)
    at = jnp.argmin(jnp.where(is_return, slope, jnp.inf))
    return at.astype(s.dtype) + (s[at] - baseline) / _positive(-slope[at])


def _by_threshold(s: Float[Array, " sample"], last, threshold) -> Float[Array, ""]:
    """Where the trace crosses the threshold before its first sample below it."""
    at = jnp.clip(last, 1, s.size - 1)
    return at.astype(s.dtype) - (threshold - s[at]) / _positive(s[at - 1] - s[at])


def _baseline(spike: Spike, wave: Wave):
    """The level that the wave ends at, turned so that the wave points up, and whether the window ends before it.

    The smoothed trace has the level before the spike at 0. Where the trace stays above that after the wave, the
    baseline is the lowest sample there. Where it is below it on both sides of the wave, by more than noise makes of a
    lowest sample, the baseline is down there too.
    """
    s = wave.sign * wave.smooth
    sample = jnp.arange(s.size)
    left = jnp.min(jnp.where((sample >= spike.bp2) & (sample <= wave.peak), s, jnp.inf))
    right = jnp.min(jnp.where(sample >= wave.peak, s, jnp.inf))
    baseline = jnp.clip(jnp.zeros_like(right), right, jnp.maximum(left, right) + LOWEST * wave.noise)
    return baseline, right > UNFINISHED * s[wave.peak]


def _positive(x: Float[Array, ""]) -> Float[Array, ""]:
    return jnp.where(x > 0, x, 1.0)
