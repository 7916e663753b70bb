"""From the last values of the network to traces, and to the parameters of the Aliev-Panfilov model."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from .layers import Convolution, Dense
from .levels import STRIDE
from .prediction import Physics

Quantiles = Literal["non-crossing", "published", "none"]
TIME_UNIT = 12.9
"""ms in a time unit of the Aliev-Panfilov model, as its authors give for it."""
BOUNDS = {"k": (2.0, 20.0), "a": (0.01, 0.3), "x": (0.95, 0.999)}
"""Of the predicted k (1/t.u.), a and x (1/t.u.). Without a lowest k a flat trace would solve the equation. With these x
the model's action potentials last from some 60 ms to 3 s."""
NARROW = -4.0
"""Where the widths begin: softplus of it is 0.018."""


class TraceHead(eqx.Module):
    """Lower, median and upper trace.

    "non-crossing": the median, and softplus of two more channels below and above it: in order whatever the weights.
    "published": three parallel outputs, whose order is only hoped for. "none": one output, for all three.
    """

    out: Convolution
    quantiles: Quantiles = eqx.field(static=True)

    def __init__(self, channels: int, kernel: int, quantiles: Quantiles, *, key: Key[Array, ""]):
        self.out = Convolution(channels, 1 if quantiles == "none" else 3, kernel, key=key)
        if quantiles == "non-crossing":
            began = jnp.array([NARROW, 0.0, NARROW], jnp.float32)
            self.out = eqx.tree_at(lambda out: out.bias, self.out, began)
        self.quantiles = quantiles

    def __call__(self, y: Float[Array, "batch sample channel"]) -> tuple[Float[Array, "batch sample"], ...]:
        out = self.out(y).astype(jnp.float32)
        if self.quantiles == "none":
            return (out[..., 0],) * 3
        lower, median, upper = (out[..., k] for k in range(3))
        if self.quantiles == "published":
            return lower, median, upper
        return median - jax.nn.softplus(lower), median, median + jax.nn.softplus(upper)


class PhysicsHead(eqx.Module):
    """k, a and x: the last values in one channel, at every fifth sample, through two dense layers, within `BOUNDS`."""

    compress: Convolution
    hidden: Dense
    out: Dense
    quantiles: int = eqx.field(static=True)

    def __init__(self, samples: int, channels: int, kernel: int, width: int, quantiles: int, *, key: Key[Array, ""]):
        a, b, c = jax.random.split(key, 3)
        self.compress = Convolution(channels, 1, kernel, STRIDE, key=a)
        self.hidden = Dense(samples // STRIDE, width, key=b)
        self.out = Dense(width, 3 * quantiles, key=c)
        self.quantiles = quantiles

    def __call__(self, y: Float[Array, "batch sample channel"]) -> Physics:
        h = jax.nn.relu(self.hidden(jax.nn.relu(self.compress(y)[..., 0])))
        shares = jax.nn.sigmoid(self.out(h).astype(jnp.float32))
        shape = (-1,) if self.quantiles == 1 else (-1, self.quantiles)
        ends = BOUNDS.values()
        return Physics(*(lo + (hi - lo) * jnp.reshape(shares[:, k::3], shape) for k, (lo, hi) in enumerate(ends)))
