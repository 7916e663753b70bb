"""An action potential duration for losses: smooth in V everywhere."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ..annotations import typed
from ..arguments import check, check_number
from .arguments import check_level, check_samples
from .detection import potential_at


@typed
def soft_apd(
    ts: Float[ArrayLike, " T"],
    V: Float[ArrayLike, "... T"],
    *,
    level: float = 90.0,
    width: ArrayLike = 1.0,
    min_amplitude: ArrayLike = 20.0,
) -> Float[Array, "..."]:
    """APD (ms) of the one beat in the window `ts`, smooth in V everywhere, for losses that must keep their gradient.

    Use it to fit: the strict APD jumps or becomes NaN when a beat appears, fails to repolarise or gains an EAD, and its
    gradient sees only a handful of samples. Use the strict one (`action_potentials`) to report. The window must hold
    one beat, from rest to rest; the time that V is above the level after the upstroke is what is summed, and a
    second excursion adds to it.

    The level lies between a soft maximum and a soft minimum of V; "above" is a sigmoid of V of the given `width` (mV),
    integrated in closed form along the straight lines between samples; the upstroke is a soft argmax of dV/dt. As
    `width` goes to 0 it becomes the strict APD (with rmp the lowest V) to within half of the upstroke's sampling
    interval. Where the amplitude is less than `min_amplitude` (mV) there is no beat and it goes to 0, smoothly.
    """
    ts, V = check_samples(ts, V)
    V = jnp.asarray(V)
    level = check_level(level)
    check("width", width, "mV", "> 0", lambda x: x > 0)
    check_number("min_amplitude", min_amplitude, "mV", "> 0", lambda x: x > 0)
    width = jnp.asarray(width, V.dtype)
    dt, ends = (jnp.asarray(x, V.dtype) for x in (ts[1:] - ts[:-1], ts[1:] - ts[0]))
    one_cell = partial(_soft_apd, ends, dt, level=level, width=width, min_amplitude=jnp.asarray(min_amplitude, V.dtype))
    return jnp.vectorize(one_cell, signature="(t)->()")(V)


def _soft_apd(ends, dt, V, level, width, min_amplitude):
    slope = jnp.diff(V) / dt
    top, bottom = _soft_max(V, V, width), _soft_max(V, -V, width)
    steepest = _soft_max(ends - dt / 2, slope, width)
    above = _mean_sigmoid((V - potential_at(level, bottom, top)) / width)
    later = jnp.clip((ends - steepest) / dt, 0.0, 1.0)
    is_beat = jax.nn.sigmoid((top - bottom - min_amplitude) / width)
    return is_beat * jnp.sum(above * later * dt)


def _soft_max(x, score, width):
    """x where `score` is largest, averaged over scores within about `width` of the largest."""
    return jnp.sum(jax.nn.softmax(score / width) * x)


def _mean_sigmoid(x):
    """Mean of sigmoid along the straight line between each two neighbours of x, exactly."""
    run = jnp.diff(x)
    flat = jnp.abs(run) < 0.1
    middle = jax.nn.sigmoid((x[1:] + x[:-1]) / 2)
    series = middle + middle * (1 - middle) * (1 - 2 * middle) * run**2 / 24
    exact = jnp.diff(jax.nn.softplus(x)) / jnp.where(flat, 1.0, run)
    return jnp.where(flat, series, exact)
