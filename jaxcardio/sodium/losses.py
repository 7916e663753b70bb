"""Residuals that a learned sodium gating is trained to make small, and the physics as it should be asked for.

The study's physics loss sets the derivative of a gate with respect to V against one with respect to time. Along a
protocol the two are joined by the chain rule: d gate/dt = (d gate/dV) (dV/dt), and that is (steady - gate) / tau
(`chain_rule_residual`, for a map of V alone). For gates that have a memory the equation holds in time
(`time_domain_residual`).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ..annotations import typed
from ..models import AbstractSodiumGating
from .clamp_data import GATES, ActionPotentials, Clamps, amounts, check_gates, follow, gates_of

FLOOR = 1e-9
"""Of what opens or shuts in the long run: what is less than that needs no relative accuracy."""


def clamp_residual(gating: AbstractSodiumGating, clamps: Clamps) -> Float[Array, "two gates clamps"]:
    """Logarithm of what opens (and shuts) over what opens (and shuts) in the data; 0.001 is one of a thousand."""
    floor = FLOOR * (clamps.opened + clamps.shut)[None]
    found, data = jnp.stack(amounts(gating, clamps.V, clamps.dt)), jnp.stack([clamps.opened, clamps.shut])
    return jnp.log((found + floor) / (data + floor))


@typed
def semigroup_residual(
    gating: AbstractSodiumGating, V: Float[ArrayLike, " cases"], dt: Float[ArrayLike, " cases"]
) -> Float[Array, "two gates cases"]:
    """Two steps of dt/2 less one of dt (ms) at V (mV), from a shut and an open gate, over what moves in both."""
    check_gates(gating)
    V, dt = jnp.asarray(V), jnp.asarray(dt)
    once = jnp.stack(amounts(gating, V, jnp.broadcast_to(dt, (len(GATES), *V.shape))))
    twice = []
    for begin in (jnp.zeros_like(V), jnp.ones_like(V)):
        rates = gates_of(gating, V)
        middle = [begin + rate.increment(begin, dt / 2) for rate in rates]
        after = [x + rate.increment(x, dt / 2) for x, rate in zip(middle, rates, strict=True)]
        twice.append(jnp.stack([jnp.abs(x - begin) for x in after]))
    return (jnp.stack(twice) - once) / once.sum(axis=0, keepdims=True)


@typed
def time_domain_residual(
    gating: AbstractSodiumGating,
    dt: Float[ArrayLike, " steps"],
    V: Float[ArrayLike, " steps"],
    gates: Float[ArrayLike, "steps+1 gates"],
) -> Float[Array, "steps gates"]:
    """Along a trajectory: what each gate did in a step, less what the gating makes of it, over dt (1/ms).

    Args:
        gating: any.
        dt: length of each step, ms.
        V: potential in the middle of each step, mV.
        gates: at the start of each step, and at the end of the last; shape (steps + 1, gates).
    """
    check_gates(gating)
    dt, V, gates = jnp.asarray(dt), jnp.asarray(V), jnp.asarray(gates)
    moved = [rate.increment(gates[:-1, k], dt) for k, rate in enumerate(gates_of(gating, V))]
    return (jnp.stack(moved, axis=-1) - jnp.diff(gates, axis=0)) / dt[:, None]


@typed
def chain_rule_residual(
    gates: Callable[[Array], Float[Array, " gates"]],
    gating: AbstractSodiumGating,
    V: Float[ArrayLike, " samples"],
    slope: float | Float[ArrayLike, " samples"],
) -> Float[Array, "samples gates"]:
    """Of a map from V alone to the gates, along a protocol: (d gate/dV)(dV/dt) - (steady - gate)/tau, 1/ms.

    Args:
        gates: V (mV, a number) -> the gates.
        gating: what gives steady states and time constants.
        V: potentials that the protocol passes, mV.
        slope: dV/dt there, mV/ms; one number for all, or one each.
    """
    check_gates(gating)
    V, slope = jnp.asarray(V, float), jnp.asarray(slope, float)

    def one(V, slope):
        values, along = jax.jvp(gates, (V,), (slope,))
        return along - jnp.stack([rate.derivative(values[k]) for k, rate in enumerate(gates_of(gating, V))])

    return jax.vmap(one)(V, jnp.broadcast_to(slope, V.shape))


def action_potential_residual(gating: AbstractSodiumGating, data: ActionPotentials) -> Float[Array, "..."]:
    """The gates carried along each stair less those of the data."""
    followed = jax.vmap(lambda V, start: follow(gating, data.dt, V, start))(data.V, data.gates[:, 0])
    return followed - data.gates
