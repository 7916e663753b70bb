"""A centred moving average over samples that need not be uniform, for recordings."""

import jax
import numpy as np

from ..arguments import is_traced
from .sampling import namespace, relative


def smoothed(ts, V, width):
    """The moving average of potentials V (..., T)."""
    cells = V.reshape(-1, V.shape[-1])
    width = width if is_traced(width) else float(width)
    return moving_average(ts, relative(ts, V.dtype).dt, cells, width).reshape(V.shape)


def moving_average(ts, dt, V, width):
    """Mean of the straight lines between samples over [t - width/2, t + width/2], narrower but centred at the ends.

    The windows are laid out from the times themselves, on the host where these are known.
    """
    xp = namespace(ts, width)
    half = xp.minimum(width / 2, xp.minimum(ts - ts[0], ts[-1] - ts))
    ends = [_place(ts, ts + side * half) for side in (-1, 1)]
    half, ends = jax.tree.map(lambda x: x if x.dtype == np.int32 else x.astype(V.dtype), (half, ends))
    if isinstance(V, jax.Array):
        return _compiled(dt, V, half, ends)
    with np.errstate(invalid="ignore"):  # of a failed cell
        return _average(dt, V, half, ends)


def _place(ts, t):
    """The sample before each of the times t, and how far after it they lie, ms."""
    xp = namespace(ts, t)
    j = xp.clip(xp.searchsorted(ts, t, side="right") - 1, 0, ts.shape[0] - 2).astype(np.int32)
    return j, t - ts[j]


def _average(dt, V, half, ends):
    xp = namespace(V)
    middle = V.mean(axis=-1, keepdims=True)  # taken out, so that float32 sums stay small
    y = V - middle
    rise = xp.diff(y, axis=-1) / dt[None]
    areas = xp.cumsum((y[:, 1:] + y[:, :-1]) / 2 * dt[None], axis=-1)
    areas = xp.concatenate([xp.zeros_like(areas[:, :1]), areas], axis=-1)

    def area_to(j, x):
        return areas[:, j] + x[None] * (y[:, j] + x[None] * rise[:, j] / 2)

    before, after = ends
    mean = (area_to(*after) - area_to(*before)) / xp.where(half > 0, 2 * half, 1.0)[None]
    return xp.where((half > 0)[None], mean + middle, V)


_compiled = jax.jit(_average)
