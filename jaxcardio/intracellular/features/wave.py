"""The repolarisation wave of an extracellular action potential: where it is, or that there is none."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .moving import moving_average, odd_width, samples_of, spread

SMOOTHING = 20.0
"""Width of the moving average that is applied twice, ms."""
AFTER_SPIKE = 80.0
"""So long after the spike (bp2) a wave is looked for, ms."""
CHORD = 250.0
"""The begin of an upward wave is sought so far before its peak, ms."""
STANDS_OUT = 8.0
"""A wave is that many times the noise of the smoothed trace high, on both of its sides. Of 2,000 traces of noise
without a wave none had one where the noise was white, and 4 or 5 where its power fell as 1/f."""
LEAST = 0.002
"""And that part of the spike: without noise, rounding is no wave."""


class Wave(NamedTuple):
    """What stands out most of the smoothed trace after the spike. Positions are samples; sign 1 upward, -1 downward."""

    smooth: Float[Array, " sample"]
    exists: Bool[Array, ""]
    sign: Float[Array, ""]
    begin: Int[Array, ""]
    peak: Int[Array, ""]
    prominence: Float[Array, ""]
    noise: Float[Array, ""]


def find_wave(
    trace: Float[Array, " sample"],
    bp2: Int[Array, ""],
    noise: Float[Array, ""],
    amplitude: Float[Array, ""],
    rate: float,
) -> Wave:
    """The wave of one trace whose spike, `amplitude` high, is over at sample `bp2`.

    A wave has a height on both sides: a trace that only falls, only rises or steps has none. It exists where the lower
    one of the two is more than `STANDS_OUT` times the noise that is left in the smoothed trace. That is the larger one
    of what white noise of size `noise` would leave, and of what is there (`_wandering`).

    An upward wave begins at the knee before its peak (`knee`). A downward one has its begin at its lowest sample.
    """
    width = odd_width(SMOOTHING, rate)
    s = moving_average(moving_average(trace, width), width)
    sample = jnp.arange(s.size)
    is_after = sample >= bp2 + samples_of(AFTER_SPIKE, rate)
    up, up_at = _most_prominent(s, is_after)
    down, down_at = _most_prominent(-s, is_after)
    sign = jnp.where(up >= down, 1.0, -1.0).astype(s.dtype)
    peak = jnp.where(up >= down, up_at, down_at)
    first = jnp.maximum(peak - samples_of(CHORD, rate), bp2)
    begin = jnp.where(sign > 0, knee(-s, first, peak), peak)
    level = jnp.maximum(noise * (2.0 / (3.0 * width)) ** 0.5, _wandering(s, is_after, width))
    prominence = jnp.maximum(up, down)
    exists = prominence > jnp.maximum(STANDS_OUT * level, LEAST * amplitude)
    return Wave(s, exists, sign, begin, peak, prominence, level)


def _wandering(s: Float[Array, " sample"], is_after: Bool[Array, " sample"], width: int) -> Float[Array, ""]:
    """How much a smoothed trace wanders by itself, by medians, so that a wave in it counts little.

    Of two bands: about a mean three times as long, and that one about a mean nine times as long. The second counts
    twice: noise whose power falls with frequency wanders more the slower one looks. A held last level is left out.
    """
    middle = moving_average(s, 3 * width)
    slow = moving_average(middle, 9 * width)
    sample = jnp.arange(s.size)
    last = jnp.max(jnp.where(jnp.diff(s, prepend=s[:1]) != 0, sample, 0))
    few = slice(None, None, max(1, width // 4))  # neighbours are alike, and sorting all of them takes long
    is_used = (is_after & (sample <= last))[few]
    found = jnp.hypot(spread((s - middle)[few], is_used), 2.0 * spread((middle - slow)[few], is_used))
    return jnp.where(jnp.isfinite(found), found, 0.0)


def knee(trace: Float[Array, " sample"], first: Int[Array, ""], last: Int[Array, ""]) -> Int[Array, ""]:
    """Where a trace bends most between two samples: the sample farthest above the straight line between them."""
    sample = jnp.arange(trace.size)
    part = (sample - first) / jnp.maximum(last - first, 1)
    above = trace - (trace[first] + (trace[last] - trace[first]) * part.astype(trace.dtype))
    return jnp.argmax(jnp.where((sample >= first) & (sample <= last), above, -jnp.inf))


def _most_prominent(s: Float[Array, " sample"], is_used: Bool[Array, " sample"]):
    """The largest height of a sample above the lowest ones on both sides, and where; -inf where none is used."""
    lows = jnp.where(is_used, s, jnp.inf)
    base = jnp.maximum(jax.lax.cummin(lows), jax.lax.cummin(lows, reverse=True))
    height = jnp.where(is_used, s - base, -jnp.inf)
    at = jnp.argmax(height)
    return height[at], at
