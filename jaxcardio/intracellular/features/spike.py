"""The spike of an extracellular action potential: its extremes, and where it begins and ends."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .moving import moving_average, odd_width, samples_of
from .wave import knee

REACH = 30.0
"""The extremes lie within so many ms, and the spike begins and ends so close to them."""
SMOOTHING = 1.0
"""Width of the moving average in which they are sought, ms."""
SETTLED = 8.0
"""Width of the moving average that gives the level beside the spike, ms."""


class Spike(NamedTuple):
    """The spike of one trace. Positions are samples, heights in the unit of the trace."""

    trace: Float[Array, " sample"]
    light: Float[Array, " sample"]
    exists: Bool[Array, ""]
    bp1: Int[Array, ""]
    v_max: Int[Array, ""]
    v_min: Int[Array, ""]
    bp2: Int[Array, ""]
    rest: Float[Array, ""]
    height: Float[Array, ""]
    amplitude: Float[Array, ""]
    noise: Float[Array, ""]


def find_spike(trace: Float[Array, " sample"], noise: Float[Array, ""], rate: float, before: float) -> Spike:
    """The spike about `before` ms; where `noise` is NaN, it is estimated from what comes before the spike.

    `trace` of the result is without the level before the spike, `rest`; `height` is that of V_max above it. A trace
    that is not finite or has no height has no spike.
    """
    is_finite = jnp.isfinite(trace).all()
    quiet = samples_of(before - REACH, rate)
    finite = jnp.where(is_finite, trace, 0.0)
    rest = finite[:quiet].mean()
    v = finite - rest
    light = moving_average(v, odd_width(SMOOTHING, rate))
    settled = moving_average(v, odd_width(SETTLED, rate))
    at, reach = samples_of(before, rate), samples_of(REACH, rate)
    sample = jnp.arange(v.size)
    v_max = jnp.argmax(jnp.where(jnp.abs(sample - at) <= reach, light, -jnp.inf))
    v_min = jnp.argmin(jnp.where((sample >= v_max) & (sample <= v_max + reach), light, jnp.inf))
    start, end = jnp.maximum(v_max - reach, 0), jnp.minimum(v_min + reach, v.size - 1)
    bp1 = knee(-light.at[start].set(settled[start]), start, v_max)
    bp2 = knee(light.at[end].set(settled[end]), v_min, end)
    amplitude = light[v_max] - light[v_min]
    exists = is_finite & (amplitude > 0) & (light[v_max] > light[bp1])
    found = jnp.where(jnp.isnan(noise), _about_a_line(v[:quiet]), noise)
    return Spike(v, light, exists, bp1, v_max, v_min, bp2, rest, light[v_max], amplitude, found)


def _about_a_line(v: Float[Array, " sample"]) -> Float[Array, ""]:
    """Standard deviation about the straight line through the samples."""
    at = np.arange(v.size) - (v.size - 1) / 2
    slope = jnp.asarray(at / (at**2).sum(), v.dtype) @ v
    rest = v - v.mean() - slope * jnp.asarray(at, v.dtype)
    return jnp.sqrt((rest**2).sum() / (v.size - 2))
