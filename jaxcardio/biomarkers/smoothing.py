"""A centred moving average over samples that need not be uniform, for recordings."""

import jax
import jax.numpy as jnp


@jax.jit
def moving_average(ts, dt, V, width):
    """Mean of the straight lines between samples over [t - width/2, t + width/2], narrower but centred at the ends."""
    half = jnp.minimum(width / 2, jnp.minimum(ts - ts[0], ts[-1] - ts))
    middle = V.mean(axis=-1, keepdims=True)  # taken out, so that float32 sums stay small
    y = V - middle
    rise = jnp.diff(y, axis=-1) / dt[None]
    areas = jnp.cumsum((y[:, 1:] + y[:, :-1]) / 2 * dt[None], axis=-1)
    areas = jnp.concatenate([jnp.zeros_like(areas[:, :1]), areas], axis=-1)

    def area_to(t):
        j = jnp.clip(jnp.searchsorted(ts, t, side="right") - 1, 0, dt.shape[0] - 1)
        x = (t - ts[j])[None]
        return areas[:, j] + x * (y[:, j] + x * rise[:, j] / 2)

    mean = (area_to(ts + half) - area_to(ts - half)) / jnp.where(half > 0, 2 * half, 1.0)[None]
    return jnp.where((half > 0)[None], mean + middle, V)
