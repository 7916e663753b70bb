"""Samples as arrays, and moving averages along them."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

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


SIZES = (4, 32, 256)
"""Traces that are computed at once: few sizes, so that few programs are compiled, whatever the number of beats."""


def over_traces(function: Callable[..., Any], *batches: Any, **options: Any) -> Any:
    """`function` of one trace, compiled and mapped over all leading axes: those of the first leaf but its last axis.

    Traces of zeros fill the batch up to one of `SIZES`; more than the last go in pieces. `options` go to the function
    as they are, and must be hashable.
    """
    leaves = jax.tree.leaves(batches)
    leading = leaves[0].shape[:-1]
    n = math.prod(leading)
    run = _compiled(function, tuple(sorted(options.items())))
    flat = jax.tree.map(lambda x: x.reshape(n, *x.shape[len(leading) :]), batches)
    if is_traced(*leaves):
        pieces = [run(*flat)]
    else:
        size = next((size for size in SIZES if n <= size), SIZES[-1])
        starts = range(0, max(n, 1), size)
        pieces = [run(*jax.tree.map(functools.partial(_piece, first=k, size=size), flat)) for k in starts]
    found = jax.tree.map(lambda *x: jnp.concatenate(x)[:n], *pieces)
    return jax.tree.map(lambda x: x.reshape(*leading, *x.shape[1:]), found)


def _piece(x: Any, first: int, size: int) -> Any:
    piece = x[first : first + size]
    return jnp.pad(piece, [(0, size - len(piece))] + [(0, 0)] * (x.ndim - 1))


@functools.lru_cache(maxsize=64)
def _compiled(function: Callable[..., Any], options: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    return jax.jit(jax.vmap(functools.partial(function, **dict(options))))


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


def odd_width(duration: float, sampling_rate: float) -> int:
    """The odd number of samples closest to `duration` ms, so that a moving average shifts nothing."""
    return 2 * round((duration * sampling_rate / 1000.0 - 1) / 2) + 1 if duration * sampling_rate > 2000.0 else 1


def spread(values: Float[Array, " sample"], is_used: Bool[Array, " sample"]) -> Float[Array, ""]:
    """Standard deviation, by the median absolute value, of the used samples of a trace that lies about 0."""
    return 1.4826 * jnp.nanmedian(jnp.where(is_used, jnp.abs(values), jnp.nan))
