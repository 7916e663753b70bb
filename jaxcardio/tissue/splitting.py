"""One step of diffusion in two parts, between which the cells step: V after it is `last(first(V) + dV_cells)`.

Both parts together are exp(dt L) to the order of the splitting.
"""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.fft
import lineax as lx

from .diffusion import Diffusion

Splitting = Literal["strang", "godunov"]
Method = Literal["explicit", "implicit"]


class Parts(NamedTuple):
    """Two functions of (V, dt), each V to V."""

    first: Callable
    last: Callable


def parts(diffusion: Diffusion, splitting: Splitting, method: Method) -> Parts:
    """The two parts of a step.

    Strang's are half steps: forward Euler, and then either its second-order inverse (1 + z + z^2 with z = dt L / 2) or
    backward Euler. Without cells between them they make a third-order polynomial, or Crank-Nicolson.
    """
    half = functools.partial(_euler, diffusion)
    if splitting == "godunov":
        whole = _solver(diffusion) if method == "implicit" else half
        return Parts(lambda V, dt: V, whole)
    solve = _solver(diffusion) if method == "implicit" else functools.partial(_second, diffusion)
    return Parts(lambda V, dt: half(V, 0.5 * dt), lambda V, dt: solve(V, 0.5 * dt))


def _euler(diffusion, V, dt):
    return V + dt * diffusion(V)


def _second(diffusion, V, dt):
    return V + dt * diffusion(jax.lax.optimization_barrier(V + dt * diffusion(V)))


def _solver(diffusion: Diffusion) -> Callable:
    """(V, dt) -> the solution x of x - dt L x = V: directly on a cable, by cosines where the tissue is uniform, by
    conjugate gradients otherwise."""
    along, across = diffusion.couplings
    if len(along) == 1:
        return functools.partial(_tridiagonal, along[0])
    if all(jnp.ndim(k) == 0 for k in along) and not across:
        return functools.partial(_cosines, along)
    return functools.partial(_conjugate_gradients, diffusion)


def _tridiagonal(coupling, V, dt):
    """One solve, forwards and backwards, is O(n): its derivative is another solve of the same matrix."""
    upper = -dt * jnp.broadcast_to(coupling, V.shape).at[-1].set(0)
    lower = jnp.roll(upper, 1)
    diagonal = 1 - upper - lower

    def multiply(x):
        return diagonal * x + upper * jnp.roll(x, -1) + lower * jnp.roll(x, 1)

    def solve(_, b):
        return jax.lax.linalg.tridiagonal_solve(lower, diagonal, upper, b[:, None])[:, 0]

    return jax.lax.custom_linear_solve(multiply, V, solve, symmetric=True)


def _cosines(along, V, dt):
    """Cosines along each axis are the eigenvectors of L."""
    decay = jnp.ones((), V.dtype)
    for axis, (k, n) in enumerate(zip(along, V.shape, strict=True)):
        rate = k * (2 - 2 * jnp.cos(jnp.pi * jnp.arange(n, dtype=V.dtype) / n))
        decay = decay + dt * jnp.expand_dims(rate, [a for a in range(V.ndim) if a != axis])
    transformed = jax.scipy.fft.dctn(V, norm="ortho")
    return jax.scipy.fft.idctn(transformed / decay, norm="ortho")


def _conjugate_gradients(diffusion: Diffusion, V, dt):
    """Preconditioned by the diagonal, from V itself; neither of these has a part in the derivative."""
    eps = jnp.finfo(V.dtype).eps
    diagonal = jax.lax.stop_gradient(1 + dt * jnp.broadcast_to(diffusion.row_sums(), V.shape))
    shape = jax.ShapeDtypeStruct(V.shape, V.dtype)
    operator = lx.FunctionLinearOperator(lambda x: x - dt * diffusion(x), shape, lx.positive_semidefinite_tag)
    preconditioner = lx.FunctionLinearOperator(lambda x: x / diagonal, shape, lx.positive_semidefinite_tag)
    solver = lx.CG(rtol=float(30 * eps), atol=float(30 * eps))
    options = {"y0": jax.lax.stop_gradient(V), "preconditioner": preconditioner}
    return lx.linear_solve(operator, V, solver, options=options, throw=False).value
