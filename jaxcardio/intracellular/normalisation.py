"""Windows in the units that the networks take: Eqs 10 and 11 of doi 10.1038/s41467-024-55571-6."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..annotations import typed
from ..arguments import check, refusal

SCALE = 60.0
"""An extracellular window is divided by so many standard deviations of the noise, Eq 11."""
REST = 20.0 / 1600.0
"""Share of a window, at its beginning, whose mean is the rest of an action potential: 20 ms of 1600."""

Numbers = Array | np.ndarray


@typed
def normalise_eap(values: ArrayLike, noise: ArrayLike) -> Float[Numbers, "*batch sample"]:
    """Extracellular windows in units of 60 sigma(N), beginning at 0: Eq 11, corrected.

    As printed, Eq 11 is (v - mean) / (60 sigma) - v_1, with the raw first sample v_1 in mV taken from a number without
    a unit. Meant is the normalised first sample, as the text beside it says ("starts from 0"). The mean then cancels:
    what is computed is (v - v_1) / (60 sigma).

    Args:
        values: (..., sample), mV.
        noise: sigma(N) of each window (...) or one for all, mV; see `noise_level`.

    JAX arrays give JAX arrays (differentiable), anything else NumPy arrays; in the dtype of `values`.

    ValueError: noise that is not above 0.
    """
    check("noise", noise, "mV", "above 0", lambda x: (x > 0) & np.isfinite(x))
    v = _floats(values)
    scale = SCALE * _like(v, noise)
    return (v - v[..., :1]) / (scale[..., None] if np.ndim(noise) else scale)


@typed
def normalise_iap(values: ArrayLike) -> Float[Numbers, "*batch sample"]:
    """Intracellular windows from 0.1 at rest to 1 at the peak: Eq 10, 0.1 + 0.9 (v - v_1) / (max - v_1).

    As printed, v_1 is the first sample; here it is the mean of the first 20 ms (1/80 of the window), because the noise
    of a single sample would shift and stretch the whole window. Without noise both are the same wherever the first
    20 ms are at rest. A window that never rises above its rest becomes NaN.

    Args:
        values: (..., sample), mV; a window of 1600 ms.

    JAX arrays give JAX arrays (differentiable), anything else NumPy arrays; in the dtype of `values`.
    """
    v = _floats(values)
    xp: Any = jnp if isinstance(v, jax.Array) else np
    rest = v[..., : max(1, round(REST * v.shape[-1]))].mean(-1, keepdims=True)
    height = v.max(-1, keepdims=True) - rest
    rises = height > 0
    return 0.1 + 0.9 * xp.where(rises, (v - rest) / xp.where(rises, height, 1), xp.nan)


def _floats(values: Any) -> Any:
    if not np.ndim(values):
        raise refusal("values", values, "mV", "numbers of shape (..., sample)")
    if isinstance(values, jax.Array):
        return values
    values = np.asarray(values)
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def _like(values: Any, noise: Any) -> Any:
    if isinstance(values, jax.Array) or isinstance(noise, jax.Array):
        return jnp.asarray(noise, values.dtype)
    return np.asarray(noise, values.dtype)
