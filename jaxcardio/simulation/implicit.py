"""The root finder of implicit steps: Newton's iteration with one factorised Jacobian a step."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar


class _Iteration(eqx.Module):
    """What one iteration knows: the factorised Jacobian, and how far the last two moved (in tolerances)."""

    factors: Float[Array, "n n"]
    pivots: Int[Array, " n"]
    size: Scalar
    size_before: Scalar
    count: Scalar


class FrozenNewton(optimistix.AbstractRootFinder):
    """Newton's iteration with the Jacobian held, as an LU factorisation, from where `init` was called.

    Diffrax calls `init` once a step for solvers with one diagonal coefficient (SDIRK, ESDIRK) and hands the state to
    every stage. It does what `diffrax.VeryChord` does, with the same tests of convergence. That one keeps the
    linearised residual as a program of its own, which is what an implicit run takes longest to trace and compile. Here
    the Jacobian is a matrix, and the state of the iteration a few arrays.

    Args:
        rtol, atol: tolerances of the root, relative and absolute.
        norm: of a move, each entry divided by its tolerance.
        kappa: the estimated distance to the root, in tolerances, at which it is found.
        patience: iterations after which a root not yet found is given up, and the step with it. 2 is what Diffrax does:
            steps stay short and a run more accurate than asked. With 10 a run takes an eighth of the steps, at a
            tenth of the accuracy for the same tolerance.
    """

    rtol: Any
    atol: Any
    norm: Callable[[PyTree], Scalar] = optimistix.max_norm
    kappa: float = 1e-2
    patience: int = 2

    def init(self, fn, y, args, options, f_struct, aux_struct, tags) -> _Iteration:
        if "init_state" in options:
            return options["init_state"]
        flat, unravel = ravel_pytree(y)

        def residual(x):
            return ravel_pytree(fn(unravel(x), args)[0])[0]

        matrix = _unless_explicit(args, lambda: jax.jacfwd(residual)(flat), flat)
        factors, pivots = jax.scipy.linalg.lu_factor(matrix)
        far = jnp.asarray(jnp.inf, flat.dtype)
        return _Iteration(jax.lax.stop_gradient(factors), pivots, far, jnp.ones_like(far), jnp.asarray(0))

    def step(self, fn, y, args, options, state: _Iteration, tags) -> tuple[Any, _Iteration, Any]:
        value, aux = fn(y, args)
        flat, unravel = ravel_pytree(y)
        move = jax.scipy.linalg.lu_solve((state.factors, state.pivots), ravel_pytree(value)[0])
        new = flat - move
        size = self.norm(move / (self.atol + self.rtol * jnp.abs(new)))
        return unravel(new), _Iteration(state.factors, state.pivots, size, state.size, state.count + 1), aux

    def terminate(self, fn, y, args, options, state: _Iteration, tags) -> tuple[Bool[Array, ""], optimistix.RESULTS]:
        rate = state.size / state.size_before
        left = state.size * rate / (1 - rate)
        tiny = state.size < 10.0 ** (2 - jnp.finfo(state.size.dtype).precision)
        diverged = ~jnp.isfinite(rate) | (rate > 2)
        converged = (left > 0) & (left < self.kappa)
        twice = state.count >= 2
        failed = twice & ~tiny & (diverged | ~converged & (state.count >= self.patience))
        result = optimistix.RESULTS.where(
            failed, optimistix.RESULTS.nonlinear_divergence, optimistix.RESULTS.successful
        )
        return twice & (tiny | diverged | converged), result

    def postprocess(self, fn, y, aux, args, options, state, tags, result):
        return y, aux, {}


def _unless_explicit(args, jacobian: Callable[[], Array], flat: Array) -> Array:
    """`jacobian()`; the identity in a stage without a diagonal coefficient, which it is.

    A Runge-Kutta step of Diffrax calls `init` once before its stages, for the shapes alone, with a coefficient of zero.
    XLA sees that, and leaves out this second copy of the Jacobian, half of what there is to compile.
    """
    of_a_stage = isinstance(args, tuple) and len(args) in (7, 8) and callable(args[2])  # (stage, diagonal, field, ...)
    if not of_a_stage:
        return jacobian()
    return jax.lax.cond(args[1] == 0, lambda: jnp.eye(flat.size, dtype=flat.dtype), jacobian)


def with_frozen_newton(solver: diffrax.AbstractSolver) -> diffrax.AbstractSolver:
    """The solver with `FrozenNewton` in place of Diffrax's default root finder; one that the user chose is kept."""
    if not isinstance(solver, diffrax.AbstractImplicitSolver):
        return solver
    default = type(solver).__dataclass_fields__["root_finder"].default
    if eqx.tree_equal(solver.root_finder, default) is not True:
        return solver
    finder = diffrax.with_stepsize_controller_tols(FrozenNewton)()
    return eqx.tree_at(lambda s: s.root_finder, solver, finder)
