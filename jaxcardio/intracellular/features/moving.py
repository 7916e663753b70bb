"""Samples as arrays, and moving averages along them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...arguments import check_known, is_traced, without_mask


def as_samples(name: str, values, least: int) -> Float[Array, "... sample"]:
    """The samples as an array of floats. ValueError: fewer than `least` along the last axis."""
    values = without_mask(values)
    array = jnp.asarray(values if isinstance(values, jax.Array) or is_traced(values) else np.asarray(values))
    if array.ndim < 1 or array.shape[-1] < least:
        raise ValueError(f"{name}: shape {array.shape}; allowed: (..., sample) with at least {least} samples")
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def check_rate(sampling_rate) -> float:
    """The sampling rate as a number. ValueError: what is not finite or not positive."""
    check_known("sampling_rate", sampling_rate, "Hz", "finite, > 0", lambda x: np.isfinite(x) & (x > 0))
    return float(sampling_rate)


def samples_of(duration: float, sampling_rate: float) -> int:
    """The number of samples that last `duration` ms, at least one."""
    return max(1, round(duration * sampling_rate / 1000.0))


def over_traces(function: Callable[..., Any], *batches: Any) -> Any:
    """`function` of one trace mapped over all leading axes, which are those of the first leaf but its last axis."""
    leading = jax.tree.leaves(batches[0])[0].shape[:-1]
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[len(leading) :]), batches)
    return jax.tree.map(lambda x: x.reshape(*leading, *x.shape[1:]), jax.vmap(function)(*flat))


def moving_average(values: Float[Array, " sample"], width: int) -> Float[Array, " sample"]:
    """Means of `width` neighbouring samples; beyond the ends the trace goes on at its first and last value.

    An even width reaches one sample further back than forward. Sums are built by doubling, so that no long running sum
    loses digits in float32, and the cost is log2(width) additions a sample.
    """
    if width == 1:
        return values
    n, before = values.size, width // 2
    power = jnp.pad(values, (before, width - 1 - before), mode="edge")
    total, offset, size = jnp.zeros_like(values), 0, 1
    while True:
        if width & size:
            total = total + power[offset : offset + n]
            offset += size
        if 2 * size > width:
            return total / width
        power = power[:-size] + power[size:]
        size *= 2
