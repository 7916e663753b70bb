"""Compiling the outermost functions of a run for the widest vectors a processor has."""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .arguments import is_traced

WIDE = {"xla_cpu_prefer_vector_width": 512}
"""XLA prefers 256 bits even where AVX-512 is there; populations are 1.5 times faster with 512, to the same bits
(`benchmarks/populations.py`). Processors with shorter vectors use those that they have."""


def compiled(function: Callable) -> Callable:
    """`eqx.filter_jit`, with `WIDE` on a CPU where nothing around it is compiled or transformed.

    JAX takes compiler options at the outermost level only. Under a user's own jit, vmap or grad that level is theirs:
    `jax.jit(f, compiler_options=jaxcardio.WIDE)` has the same effect there.
    """
    plain, wide = eqx.filter_jit(function), eqx.filter_jit(function, compiler_options=WIDE)  # pyright: ignore[reportCallIssue]

    @functools.wraps(function)
    def call(*args, **kwargs):
        # Under jit even a new constant is a tracer.
        within = is_traced(jnp.zeros(()), *jax.tree.leaves((args, kwargs)))
        return (plain if within or jax.default_backend() != "cpu" else wide)(*args, **kwargs)

    return call


def of_one_number(function: Callable, args: tuple):
    """function(*args); where one number among them is all that is traced, differentiated once for all tangents.

    What a run saves has then one slope, which comes out of one pass forwards beside the values. Reverse mode, which
    would compile the run three times and take each step twice more, only multiplies by it.
    """
    leaves, structure = jax.tree.flatten(args)
    traced = [i for i, x in enumerate(leaves) if is_traced(x)]
    if len(traced) != 1 or jnp.ndim(leaves[traced[0]]) or not jnp.issubdtype(leaves[traced[0]].dtype, jnp.floating):
        return function(*args)
    (at,) = traced
    once = jax.custom_jvp(lambda x: function(*structure.unflatten([*leaves[:at], x, *leaves[at + 1 :]])))

    @once.defjvp
    def _jvp(primals, tangents):
        (x,), (dx,) = primals, tangents
        y, slopes = _value_and_slope(function, at, structure.unflatten([*leaves[:at], x, *leaves[at + 1 :]]))
        return y, jax.tree.map(lambda y, slope: _tangent(y, slope, dx), y, slopes)

    return once(leaves[at])


@compiled
def _value_and_slope(function: Callable, at: int, args: tuple):
    """function(*args), and its derivative with respect to leaf `at`; None for what has none, whole numbers."""
    leaves, structure = jax.tree.flatten(args)

    def of_x(x):
        return function(*structure.unflatten([*leaves[:at], x, *leaves[at + 1 :]]))

    y, slopes = jax.jvp(of_x, (leaves[at],), (jnp.ones_like(leaves[at]),))
    return y, jax.tree.map(lambda y, slope: slope if jnp.issubdtype(y.dtype, jnp.floating) else None, y, slopes)


def _tangent(y, slope, dx):
    return np.zeros(y.shape, jax.dtypes.float0) if slope is None else slope * dx
