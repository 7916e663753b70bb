"""Compiling the outermost functions of a run, for the widest vectors of a processor or quickly; and their slopes."""

import contextlib
import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from ..arguments import is_traced

WIDE = {"xla_cpu_prefer_vector_width": 512}
"""XLA prefers 256 bits even where AVX-512 is there; populations are 1.5 times faster with 512, to the same bits
(`benchmarks/populations.py`). Processors with shorter vectors use those that they have."""

# XLA 0.10 has a second way of writing its loops, the better one for vectors, at twice the compile time.
_OF_NUMBERS = {"xla_cpu_use_fusion_emitters": False} if jax.__version_info__ < (0, 11) else {}
BRIEF: Mapping[str, Any] = MappingProxyType({"xla_backend_optimization_level": 1, **_OF_NUMBERS})
"""For one cell, whose loops are over numbers: half the compile time, and runs as fast."""
ONCE: Mapping[str, Any] = MappingProxyType({"xla_backend_optimization_level": 0, **_OF_NUMBERS})
"""For what takes no time beside its compilation: a third of that."""


def compiled(function: Callable, options: Callable[..., Mapping[str, Any]] = lambda *args: WIDE) -> Callable:
    """`eqx.filter_jit`, with compiler options on a CPU where nothing around it is compiled or transformed.

    JAX takes compiler options at the outermost level only. Under a user's own jit, vmap or grad that level is theirs:
    `jax.jit(f, compiler_options=jaxcardio.WIDE)` has the same effect there.

    Args:
        function: to compile.
        options: from the same arguments, one of `WIDE`, `BRIEF` and `ONCE`.
    """
    plain = eqx.filter_jit(function)
    with_options = functools.cache(
        lambda options: eqx.filter_jit(function, compiler_options=dict(options))  # pyright: ignore[reportCallIssue]
    )

    @functools.wraps(function)
    def call(*args):
        # Under jit even a new constant is a tracer.
        within = is_traced(jnp.zeros(()), *jax.tree.leaves(args))
        if within or jax.default_backend() != "cpu":
            return plain(*args)
        return with_options(tuple(options(*args).items()))(*args)

    call.options = options  # pyright: ignore[reportAttributeAccessIssue]
    return call


def of_one_number(function: Callable, args: tuple):
    """function(*args) of a `compiled` function; differentiated forwards where one number is all that is traced.

    What comes out has then one slope, and it comes out beside the values, for all tangents. Reverse mode only
    multiplies by it: it would otherwise compile three programs for one, and take each step twice more.
    """
    leaves, structure = jax.tree.flatten(args)
    traced = [i for i, x in enumerate(leaves) if is_traced(x)]
    if len(traced) != 1 or jnp.ndim(leaves[traced[0]]) or not jnp.issubdtype(leaves[traced[0]].dtype, jnp.floating):
        return function(*args)
    (at,) = traced

    def with_number(x) -> tuple:
        return structure.unflatten([*leaves[:at], x, *leaves[at + 1 :]])

    once = jax.custom_jvp(lambda x: function(*with_number(x)))

    @once.defjvp
    def _jvp(primals, tangents):
        (x,), (dx,) = primals, tangents
        # Nothing here depends on a tangent, and nothing need be traced where `x` is known: it runs as it is.
        known = not is_traced(x, jnp.zeros(()))
        with jax.core.eval_context() if known else contextlib.nullcontext():
            y, slopes = _value_and_slope(function, at, with_number(x))
        return y, _times(slopes, dx, y)

    return once(leaves[at])


def _value_and_slope_plainly(function: Callable, at: int, args: tuple):
    """function(*args), and its derivative with respect to leaf `at`; None for what has none, whole numbers."""
    leaves, structure = jax.tree.flatten(args)

    def of_x(x):
        return function(*structure.unflatten([*leaves[:at], x, *leaves[at + 1 :]]))

    y, slopes = jax.jvp(of_x, (leaves[at],), (jnp.ones_like(leaves[at]),))
    return y, jax.tree.map(lambda y, slope: slope if jnp.issubdtype(y.dtype, jnp.floating) else None, y, slopes)


_value_and_slope = compiled(_value_and_slope_plainly, lambda function, at, args: function.options(*args))


def _times(slopes, dx, y):
    """The tangents of `y`: `dx` times the slopes, and JAX's own zeros where there is none."""
    return jax.tree.map(
        lambda x, slope: np.zeros(x.shape, jax.dtypes.float0) if slope is None else slope * dx, y, slopes
    )
