"""Arguments: made arrays of one type, and refused by name where out of range; under `jit` values are not looked at."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..arguments import check, is_known_real, is_traced, refusal, without_mask


def check_samples(ts, V):
    """ts and V after checking them: ts in float64 on the host unless it is traced, V as floats, where it was."""
    V = without_mask(V)
    if not isinstance(V, np.ndarray | jax.Array):
        V = jnp.asarray(V) if is_traced(*jax.tree.leaves(V)) else np.asarray(V)
    for name, unit, x in (("V", "mV", V), ("ts", "ms", ts)):
        if not is_known_real(x) and not is_traced(*jax.tree.leaves(x)):
            raise refusal(name, x, unit, "real numbers")
    if not jnp.issubdtype(V.dtype, jnp.floating):
        V = V.astype(float)
    shape = np.shape(ts)
    if len(shape) != 1 or V.ndim < 1 or V.shape[-1] != shape[0]:
        raise ValueError(f"ts (ms) and V (mV): expected shapes (T,) and (..., T), got {shape} and {V.shape}")
    if shape[0] < 3:
        raise ValueError(f"ts = {shape[0]} samples; allowed: >= 3")
    if is_traced(*jax.tree.leaves(ts)):
        return jnp.asarray(ts), V
    ts = np.asarray(ts, np.float64)
    check("ts", ts, "ms", "finite", lambda x: np.isfinite(x).all())
    check("ts", ts, "ms", "strictly ascending", lambda x: (np.diff(x) > 0).all())
    return ts, V


def check_level(level):
    check("level", level, "%", "0 < level < 100", lambda x: 0 < x < 100)
    return float(level)


def check_threshold(threshold) -> tuple[Any, Any] | None:
    if threshold is None:
        return None
    if not isinstance(threshold, tuple | list) or len(threshold) != 2:
        raise ValueError(f"threshold = {threshold} mV; allowed: (low, high), or None to take them from the trace")
    if not is_traced(*threshold):
        check("threshold", threshold, "mV", "(low, high) with low < high", lambda x: x[0] < x[1])
    low, high = threshold
    return low, high
