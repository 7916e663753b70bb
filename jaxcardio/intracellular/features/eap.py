"""Landmarks and features of extracellular action potentials, as the paper's Figure 2b draws them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from ...annotations import typed
from ...arguments import check, check_known
from .moving import as_samples, check_rate, moving_average, odd_width, over_traces, samples_of
from .spike import find_spike
from .wave import find_wave

RISE = 50.0
"""The increase rate is the slope over so long after bp3, ms."""
TAIL = 20.0
"""So much of the delay is left out of the decay rate, ms, as in the published table."""
COLUMNS = (
    "spike_width_s", "delay_s", "dV1", "dV2", "dVd", "dV1_over_dV2", "dVd_over_dV1", "dVd_over_dV2", "increase_rate",
    "decay_rate", "signal_to_noise",
)  # fmt: skip
"""The published table's names of the features, in its order."""


class EapFeatures(NamedTuple):
    """Landmarks (ms from the window's start) and features of eAPs, one a trace.

    NaN where there is no spike; what needs the wave (bp3, delay, dVd, its ratios and the rates) is NaN where
    `has_wave` is False.
    """

    bp1: Float[Array, "..."]
    """Last moment before the spike."""
    v_max: Float[Array, "..."]
    """Highest point of the spike."""
    v_min: Float[Array, "..."]
    """Lowest point after it."""
    bp2: Float[Array, "..."]
    """End of the spike, after the lowest point."""
    bp3: Float[Array, "..."]
    """Begin of the repolarisation wave: where an upward wave starts to rise, the lowest point of a downward one."""
    spike_width: Float[Array, "..."]
    """T_s = bp2 - bp1, ms."""
    delay: Float[Array, "..."]
    """T_d = bp3 - bp2, ms."""
    dV1: Float[Array, "..."]
    """From bp1 up to v_max, in the unit of the trace, as all heights."""
    dV2: Float[Array, "..."]
    """From v_min up to bp2."""
    dVd: Float[Array, "..."]
    """From bp2 down to bp3."""
    dV1_over_dV2: Float[Array, "..."]
    dVd_over_dV1: Float[Array, "..."]
    dVd_over_dV2: Float[Array, "..."]
    increase_rate: Float[Array, "..."]
    """Slope of the line through the 50 ms after bp3, unit of the trace per ms."""
    decay_rate: Float[Array, "..."]
    """dVd / (delay - 20 ms), unit of the trace per ms."""
    signal_to_noise: Float[Array, "..."]
    """Height of v_max above the level before the spike, over the noise."""
    has_wave: Bool[Array, "..."]
    """Whether a repolarisation wave stands out of the noise."""


@typed
def eap_features(
    eap: Float[ArrayLike, "... sample"],
    sampling_rate: float,
    *,
    before: float = 200.0,
    noise: ArrayLike | None = None,
) -> EapFeatures:
    """Landmarks and features of one extracellular action potential a trace.

    The spike. V_max is the highest sample within 30 ms of `before`, V_min the lowest one within 30 ms after it, of the
    trace averaged over 1 ms. bp1 and bp2 are the knees beside them: the samples farthest from the straight line
    between V_max and 30 ms before it, and between V_min and 30 ms after it. So they are where the slope falls below
    that of the line. They do not depend on amplitude, offset or a threshold.

    The wave. The trace after the spike is smoothed by two moving averages of 20 ms. A wave has a height on both of its
    sides. It exists where this is more than 8 standard deviations of the smoothed noise; else `has_wave` is False and
    no number is made up. bp3 of an upward wave is the knee before its peak, that of a downward wave its lowest sample.

    The published table's decay rate is dVd / (T_d - 20 ms) in all of its rows, per ms. In which unit it gives the
    increase rate it does not say and cannot be seen from the table; here both are per ms.

    Args:
        eap: windows of `cut_windows`, raw or normalised. A held last level does no harm.
        sampling_rate: Hz, at least 250.
        before: ms from the window's start to the spike's peak, at least 60.
        noise: standard deviation in the unit of `eap`, one number or one a trace. Default: of each trace before its
            spike, about a straight line.

    Raises:
        ValueError: a sampling rate or `before` out of range, windows that end less than 200 ms after `before`, noise
            that is negative or has other leading axes than `eap`.

    Source: Fig. 2b and "Characterizing the eAP and iAP waveforms" of doi:10.1038/s41467-024-55571-6, which name the
    points; how they are found is said above.
    """
    v, rate, noises = prepared(eap, sampling_rate, before, noise)
    return over_traces(_features, v, noises, rate=rate, before=float(before))


def prepared(eap, sampling_rate, before, noise) -> tuple[Float[Array, "... sample"], float, Float[Array, "..."]]:
    """The arguments of `eap_features` after checking them; NaN for noise that is to be estimated."""
    rate = check_rate(sampling_rate)
    check("sampling_rate", rate, "Hz", ">= 250", lambda x: x >= 250)
    check_known("before", before, "ms", ">= 60", lambda x: x >= 60)
    v = as_samples("eap", eap, samples_of(before + 200.0, rate))
    check("noise", noise, "unit of eap", ">= 0", lambda x: ~(x < 0))
    leading = v.shape[:-1]
    noises = jnp.asarray(np.nan if noise is None else noise).astype(v.dtype)
    if noises.ndim and noises.shape != leading:
        raise ValueError(f"noise: shape {noises.shape}; allowed: one number, or one a trace, {leading}")
    return v, rate, jnp.broadcast_to(noises, leading)


@typed
def as_table(features: EapFeatures) -> Float[Array, "... feature"]:
    """Features in the published table's order (`COLUMNS`) and units: widths and delays in s."""
    seconds = {"spike_width_s": features.spike_width / 1000.0, "delay_s": features.delay / 1000.0}
    return jnp.stack([seconds[name] if name in seconds else getattr(features, name) for name in COLUMNS], axis=-1)


def _features(trace: Float[Array, " sample"], noise: Float[Array, ""], rate: float, before: float) -> EapFeatures:
    spike = find_spike(trace, noise, rate, before)
    wave = find_wave(spike.trace, spike.bp2, spike.noise, spike.amplitude, rate)
    has_wave = spike.exists & wave.exists
    light = spike.light
    s = moving_average(spike.trace, odd_width(TAIL, rate))
    delay = _ms(wave.begin - spike.bp2, light, rate)
    dV1, dV2 = light[spike.v_max] - light[spike.bp1], light[spike.bp2] - light[spike.v_min]
    dVd = light[spike.bp2] - s[wave.begin]

    def of_spike(x):
        return jnp.where(spike.exists, x, jnp.nan)

    def of_wave(x):
        return jnp.where(has_wave, x, jnp.nan)

    return EapFeatures(
        bp1=of_spike(_ms(spike.bp1, light, rate)),
        v_max=of_spike(_ms(spike.v_max, light, rate)),
        v_min=of_spike(_ms(spike.v_min, light, rate)),
        bp2=of_spike(_ms(spike.bp2, light, rate)),
        bp3=of_wave(_ms(wave.begin, light, rate)),
        spike_width=of_spike(_ms(spike.bp2 - spike.bp1, light, rate)),
        delay=of_wave(delay),
        dV1=of_spike(dV1),
        dV2=of_spike(dV2),
        dVd=of_wave(dVd),
        dV1_over_dV2=of_spike(dV1 / dV2),
        dVd_over_dV1=of_wave(dVd / dV1),
        dVd_over_dV2=of_wave(dVd / dV2),
        increase_rate=of_wave(_slope(spike.trace, wave.begin, samples_of(RISE, rate)) * (rate / 1000.0)),
        decay_rate=of_wave(dVd / (delay - TAIL)),
        signal_to_noise=of_spike(spike.height / spike.noise),
        has_wave=has_wave,
    )


def _ms(samples, like: Float[Array, " sample"], rate: float) -> Float[Array, ""]:
    return samples.astype(like.dtype) * (1000.0 / rate)


def _slope(trace: Float[Array, " sample"], first, n: int) -> Float[Array, ""]:
    """Slope per sample of the line through n + 1 samples from `first` on; over the last ones where fewer follow."""
    n = min(max(n, 2), trace.size - 1)
    piece = jax.lax.dynamic_slice(trace, (first,), (n + 1,))
    at = np.arange(n + 1) - n / 2
    return jnp.asarray(at / (at**2).sum(), trace.dtype) @ piece
