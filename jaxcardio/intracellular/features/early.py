"""Early afterdepolarisations of intracellular action potentials."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from ...annotations import typed
from ...arguments import check_known
from .apd import measured
from .moving import as_samples, check_rate, moving_average, odd_width, over_traces, samples_of, spread

SMOOTHING = 10.0
"""Width of the moving average, ms."""
NOTCH = 60.0
"""What turns within so long after the peak is a notch and its dome, ms."""
STANDS_OUT = 10.0
"""An afterdepolarisation is that many standard deviations of the smoothed noise high."""
REPOLARISED = 0.1
"""Below this part of the amplitude the action potential is over: what rises then is no early afterdepolarisation."""


@typed
def early_afterdepolarisations(
    iap: Float[ArrayLike, "... sample"], sampling_rate: float, *, prominence: float = 0.05
) -> Bool[Array, "..."]:
    """Whether an action potential has an early afterdepolarisation (EAD).

    The trace is smoothed by a moving average of 10 ms. It has an EAD where, later than 60 ms after the peak and before
    it has come down to 10 % of its amplitude, it falls and then rises again, both by at least `prominence` of the
    amplitude and by at least 10 standard deviations of the smoothed noise (which is estimated from what the smoothing
    takes away). So a notch with its dome, which turns earlier, is none, and neither is a rise from rest. An EAD that
    is so early or so small that the trace does not fall before it is not found.

    Args:
        iap: one action potential each, in any unit, recorded or reconstructed.
        sampling_rate: Hz.
        prominence: part of the amplitude, in (0, 1).

    Returns:
        True where there is one; False also for traces that are flat or not finite.

    Raises:
        ValueError: fewer than 3 samples, a sampling rate or prominence out of range.
    """
    rate = check_rate(sampling_rate)
    check_known("prominence", prominence, "", "0 < prominence < 1", lambda x: (x > 0) & (x < 1))
    return over_traces(_of_one, as_samples("iap", iap, 3), rate=rate, prominence=float(prominence))


def _of_one(trace: Float[Array, " sample"], rate: float, prominence: float) -> Bool[Array, ""]:
    shape = measured(trace, rate)
    amplitude = shape.peak - shape.base
    finite = jnp.where(jnp.isfinite(trace), trace, 0.0)
    width = odd_width(SMOOTHING, rate)
    v = moving_average(finite, width)
    sample = jnp.arange(v.size)
    over = shape.base + REPOLARISED * amplitude
    end = jnp.min(jnp.where((sample > shape.at) & (v <= over), sample, v.size))
    is_used = (sample >= shape.at + samples_of(NOTCH, rate)) & (sample < end)
    # The depth of every sample below the highest ones before and after it.
    high = jnp.where(is_used, v, -jnp.inf)
    sides = jnp.minimum(jax.lax.cummax(high), jax.lax.cummax(high, reverse=True))
    depth = jnp.max(jnp.where(is_used, sides - v, 0.0))
    noise = spread(finite - v, is_used) / max(width - 1, 1) ** 0.5
    least = jnp.maximum(prominence * amplitude, STANDS_OUT * jnp.where(jnp.isfinite(noise), noise, 0.0))
    return (depth >= least) & jnp.isfinite(amplitude)
