"""Compiling the outermost functions of a run for the widest vectors a processor has."""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from ..arguments import is_traced

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
