"""Small numerical pieces that every model shares, each safe to evaluate and to differentiate everywhere."""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree


def of_one_variable(function: Callable[[Array], PyTree]) -> Callable[[Array], PyTree]:
    """`function`, elementwise in its one array and in nothing else, to be differentiated once for all tangents.

    Its slope is one number an element, and each tangent is multiplied by that. Without this, forward mode carries every
    tangent through every operation of the function, and reverse mode keeps a number of each.

    Every array that comes out must depend on the one that goes in: `vmap` takes a constant for the same in all cells,
    its derivative not, and `jvp` of what `jit` made of both fails.
    """
    of_x = jax.custom_jvp(function)

    @of_x.defjvp
    def _jvp(primals, tangents):
        (x,), (dx,) = primals, tangents
        y, slopes = jax.jvp(function, (x,), (jnp.ones_like(x),))
        return y, jax.tree.map(lambda slope: slope * dx, slopes)

    return of_x


def x_over_expm1(x: ArrayLike) -> Float[Array, "..."]:
    """x / (exp(x) - 1), with value 1 and slope -1/2 at x = 0.

    Below |x| = 0.3 the Bernoulli series replaces the quotient, whose gradient cancels there; both
    branches are guarded, so no NaN reaches a gradient. Above it exp(x) - 1 loses two bits, and costs half of expm1.
    """
    return _x_over_expm1(jnp.asarray(x, float) if not hasattr(x, "dtype") else jnp.asarray(x))


@of_one_variable
def _x_over_expm1(x):
    small = jnp.abs(x) < 0.3
    x2 = jnp.where(small, x, 0.0) ** 2
    series = 1 - x / 2 + x2 * (1 / 12 - x2 * (1 / 720 - x2 * (1 / 30240 - x2 * (1 / 1209600 - x2 / 47900160))))
    # exp of minus |x| never overflows, and so no slope becomes infinity times zero.
    size = jnp.where(small, 1.0, jnp.abs(x))
    falling = jnp.exp(-size)
    return jnp.where(small, series, size * jnp.where(x > 0, falling, 1.0) / (1 - falling))


def ghk_current(V, permeability, valence, inside, outside, RT_F, F):
    """Goldman-Hodgkin-Katz current P z^2 V F^2/(RT) (c_i e^u - c_o)/(e^u - 1), u = z V F/(RT); finite at V = 0.

    Args:
        V: membrane potential, mV.
        permeability: P, in the model's permeability unit.
        valence: z.
        inside, outside: (activity-weighted) concentrations, mM.
        RT_F: R T / F, mV.
        F: Faraday's constant, C/mmol or C/mol as the permeability requires.
    """
    u = valence * V / RT_F
    influx = x_over_expm1(u)
    efflux = influx + u  # = u e^u / (e^u - 1)
    return permeability * valence * F * (inside * efflux - outside * influx)


def nernst(valence, inside, outside, RT_F):
    """Reversal potential (mV) of an ion: RT/(zF) log(outside/inside)."""
    return RT_F * (1 / valence) * (log(outside) - log(inside))


def log(x):
    """Natural logarithm of positive x; in float64 of x between 1e-37 and 1e38, to 4e-16 of max(1, |log x|).

    On a CPU XLA calls the scalar function of the C library for each float64 logarithm. The vectorised float32 one and a
    step of Halley's iteration, which triples its digits, take half the time.
    """
    is_array = hasattr(x, "dtype") and x.dtype == jnp.float64
    return _float64_log(x) if is_array else jnp.log(x)  # a Python number takes the dtype of what it meets


@jax.custom_jvp
def _float64_log(x):
    guess = jnp.log(x.astype(jnp.float32)).astype(x.dtype)
    there = jnp.exp(guess)
    return guess + 2 * (x - there) / (x + there)


@_float64_log.defjvp
def _log_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    return _float64_log(x), dx / x


def numbers(values: Iterable[float], dtype) -> list[Array]:
    """Each of some plain numbers as an array; by way of numpy, which takes JAX half the time."""
    return [jnp.asarray(np.asarray(x, dtype)) for x in values]


def sigmoid(x):
    """1 / (1 + exp(-x)), without overflow in value or gradient."""
    return jax.nn.sigmoid(x)


def q10_factor(q10, temperature, reference):
    """How much faster a rate runs at `temperature` than at `reference` (K)."""
    return q10 ** ((temperature - reference) / 10)


def one_minus_exp(z):
    """1 - exp(-z) for z >= 0: plainly in float64, by its series below 1/4 in float32.

    At z = dt/tau = 1e-5 the plain difference is 0.3 % wrong in float32 and 1e-11 in float64. In float32 this is right
    to 2e-7, as expm1 would be at the cost of two exps.
    """
    if jnp.result_type(z) != jnp.float32:
        return 1 - jnp.exp(-z)
    small = jnp.minimum(z, 0.25)
    bracket = jnp.ones_like(z)
    for k in (6, 5, 4, 3, 2):
        bracket = 1 - small * (1 / k) * bracket
    return jnp.where(z < 0.25, small * bracket, 1 - jnp.exp(-z))
