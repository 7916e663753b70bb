"""A small network of one variable: potential in, a few numbers out."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..arguments import check_whole, refusal

MIDDLE, REACH = -20.0, 120.0
"""The potentials for which a network is trained, mV: MIDDLE - REACH to MIDDLE + REACH."""
SHARPEST, BLUNTEST = 10.0, 2.0
"""Slopes at which hidden units begin: their sigmoids are 12 to 60 mV wide."""


class VoltageNetwork(eqx.Module):
    """V (mV, any shape) -> `outputs` arrays of that shape: layers of tanh, and beside them a straight line.

    Elementwise: no cell sees its neighbours. The line is what remains far outside, where every tanh is saturated: a
    logit or a logarithm that goes on as that of a charge in a field does. Without it steady states of 1e-10 would have
    to be made of tanh alone.
    """

    weights: tuple[Float[Array, "out in"], ...]
    biases: tuple[Float[Array, " out"], ...]
    line: Float[Array, " outputs"]

    def __init__(self, outputs: int, widths: tuple[int, ...], *, key: Key[Array, ""]):
        check_widths(widths)
        sizes = (1, *widths, outputs)
        keys = jax.random.split(key, len(sizes))
        slope = jax.random.uniform(keys[0], (widths[0],), minval=BLUNTEST, maxval=SHARPEST)
        place = jax.random.uniform(keys[1], (widths[0],), minval=-1.0, maxval=1.0)
        inner = [
            jax.random.normal(k, (size, before)) / before**0.5
            for k, before, size in zip(keys[2:], sizes[1:-1], sizes[2:], strict=True)
        ]
        self.weights = (slope[:, None], *inner)
        self.biases = (-slope * place, *(jnp.zeros(size) for size in sizes[2:]))
        self.line = jnp.zeros(outputs)

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(w.shape[0] for w in self.weights[:-1])

    def __call__(self, V: Float[Array, "*cells"]) -> list[Float[Array, "*cells"]]:
        u = ((V - MIDDLE) / REACH)[None]
        *hidden, (weight, bias) = zip(self.weights, self.biases, strict=True)
        x = u
        for w, b in hidden:
            x = jnp.tanh(_product(w, x) + _column(b, x))
        return list(_product(weight, x) + _column(self.line, x) * u + _column(bias, x))


def _product(weight, x):
    """weight @ x over the first axis of x: in full precision, which a GPU does not give float32 unasked."""
    if weight.shape[1] == 1:
        return _column(weight[:, 0], x) * x
    return jnp.tensordot(weight, x, 1, precision=jax.lax.Precision.HIGHEST)


def _column(numbers, x):
    """One number for each of the first axis of an array that has as many axes as x."""
    return numbers.reshape(-1, *[1] * (x.ndim - 1))


def check_widths(widths: Any) -> None:
    """A ValueError unless these are one or more whole numbers of hidden units."""
    if not isinstance(widths, tuple) or not widths:
        raise refusal("widths", widths, "", "a tuple of numbers of hidden units, e.g. (12,)")
    for k, width in enumerate(widths):
        check_whole(f"widths[{k}]", width, "units")
