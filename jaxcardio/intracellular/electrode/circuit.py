"""First-order circuits of an electrode and its amplifier, exact for samples joined by straight lines."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ...annotations import typed
from ...arguments import check_number
from ..features.moving import as_samples


class Recursion(NamedTuple):
    """y_k = decay y_(k-1) + before x_(k-1) + now x_k."""

    decay: ArrayLike
    before: ArrayLike
    now: ArrayLike


@typed
def high_pass(
    x: Float[Array, "*channels sample"], time_constant: ArrayLike, dt: ArrayLike
) -> Float[Array, "*channels sample"]:
    """tau y' = tau x' - y: a coupling capacitor. A step falls to 1/e within the time constant.

    Args:
        x: in any unit; before the first sample it has stood for ever.
        time_constant: ms, > 0; one number. inf passes everything but the first level.
        dt: ms between samples, > 0.
    """
    _check(time_constant, dt)
    x = as_samples("x", x, 1)
    return _filtered(x, high_pass_recursion(_like(x, time_constant), _like(x, dt)), jnp.zeros_like(x[..., 0]))


@typed
def low_pass(
    x: Float[Array, "*channels sample"], time_constant: ArrayLike, dt: ArrayLike
) -> Float[Array, "*channels sample"]:
    """tau y' = x - y: impedance of the electrode and the capacitance behind it, or an amplifier. As `high_pass`."""
    _check(time_constant, dt)
    x = as_samples("x", x, 1)
    return _filtered(x, low_pass_recursion(_like(x, time_constant), _like(x, dt)), x[..., 0])


def high_pass_recursion(time_constant, dt) -> Recursion:
    """Exact for samples joined by straight lines; the numbers may be traced."""
    steps = dt / time_constant
    slope = _share(steps)
    return Recursion(jnp.exp(-steps), -slope, slope)


def low_pass_recursion(time_constant, dt) -> Recursion:
    """Exact for samples joined by straight lines; the numbers may be traced."""
    steps = dt / time_constant
    decay, share = jnp.exp(-steps), _share(steps)
    return Recursion(decay, share - decay, 1 - share)


def streamed(
    x: np.ndarray, recursion: Recursion, state: np.ndarray | None, level: str
) -> tuple[np.ndarray, np.ndarray]:
    """A recursion on the host, piece by piece: what it gives and its state, (channel, 1), for the piece that follows.

    Args:
        x: (channel, sample).
        recursion: of numbers that are known.
        state: of the piece before; None at the beginning, when x has stood for ever at its first value.
        level: what that gives: "zero" (high-pass) or "same" (low-pass).
    """
    from scipy.signal import lfilter

    decay, before, now = (float(np.asarray(c)) for c in recursion)
    if state is None:
        y = x[:, :1] if level == "same" else np.zeros_like(x[:, :1])
        state = y - now * x[:, :1]
    return lfilter([now, before], [1.0, -decay], x, axis=1, zi=state)


def slope(x: Float[Array, "*channels sample"], dt: ArrayLike) -> Float[Array, "*channels sample"]:
    """dx/dt by central differences, one-sided at the ends, per ms."""
    check_interval(dt)
    dt = _like(x, dt)
    inner = (x[..., 2:] - x[..., :-2]) / (2 * dt)
    return jnp.concatenate([(x[..., 1:2] - x[..., :1]) / dt, inner, (x[..., -1:] - x[..., -2:-1]) / dt], axis=-1)


def _share(steps):
    """(1 - exp(-s)) / s, 1 at s = 0."""
    tiny = steps < 1e-4
    safe = jnp.where(tiny, 1.0, steps).astype(jnp.asarray(steps).dtype)
    return jnp.where(tiny, 1 - steps / 2, -jnp.expm1(-safe) / safe)


def _filtered(x, recursion: Recursion, first):
    decay, before, now = recursion

    def step(carry, here):
        y, last = carry
        y = decay * y + before * last + now * here
        return (y, here), y

    along = jnp.moveaxis(x, -1, 0)
    _, rest = jax.lax.scan(step, (first, along[0]), along[1:])
    return jnp.moveaxis(jnp.concatenate([first[None], rest]), 0, -1)


def _like(x, value):
    return jnp.asarray(value).astype(jnp.asarray(x).dtype)


def _check(time_constant, dt) -> None:
    check_number("time_constant", time_constant, "ms", "> 0 ms", lambda t: t > 0)
    check_interval(dt)


def check_interval(dt) -> None:
    """ValueError: what is no time between samples, ms."""
    check_number("dt", dt, "ms", "finite and > 0 ms", lambda t: (t > 0) & (t < np.inf))
