"""What a learned sodium gating is trained on: answers of a channel to voltage clamps, and of its cell to stimuli.

Of the channel nothing is known but how its gates move: never its steady states or time constants.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..annotations import typed
from ..arguments import check, check_seed, check_whole, refusal
from ..models import AbstractSodiumGating, Skibsbye2016
from ..protocols import Pulses
from ..simulation.simulate import simulate
from ..solvers import RushLarsenMidpoint
from .network import MIDDLE, REACH

GATES = ("m", "h1", "h2")
INTERVALS = (825.0, 625.0, 425.0)
"""Before each of the action potentials for training, ms; an evaluation paces at others."""
AMPLITUDE, DURATION = -13.0, 2.0
"""The stimulus for training, pA/pF and ms; an evaluation has another amplitude."""
FINE, COARSE, UPSTROKE, WHOLE = 0.02, 1.0, 5.0, 300.0
"""Steps of the stair of an action-potential clamp, ms: FINE up to UPSTROKE, COARSE up to WHOLE after the stimulus."""


class Clamps(NamedTuple):
    """Voltage clamps of a channel whose gate is fully shut, or fully open, and what then opens or shuts."""

    V: Float[Array, " clamps"]
    """Command, mV."""
    dt: Float[Array, "gates clamps"]
    """How long it is held, ms."""
    opened: Float[Array, "gates clamps"]
    """What opens of a shut gate, 0 to 1."""
    shut: Float[Array, "gates clamps"]
    """What shuts of an open gate, 0 to 1."""


class ActionPotentials(NamedTuple):
    """Action-potential clamps: stairs of potential along beats of a cell, and the gates of its channel on them."""

    dt: Float[Array, " steps"]
    """Length of each step of a stair, ms."""
    V: Float[Array, "beats steps"]
    """Potential of each step, mV: that of its middle in the beat."""
    gates: Float[Array, "beats steps+1 gates"]
    """m, h1 and h2 at the start of each step, and at the end of the last."""
    onset: Any
    """States of the cell at the onset of the stimulus, a leading axis of beats on each."""


@typed
def voltage_clamps(
    gating: AbstractSodiumGating, *, n: int = 300, shortest: float = 1e-3, longest: float = 30.0, seed: int = 0
) -> Clamps:
    """Clamps at n potentials spread evenly over -140 to 100 mV, one in each of n equal parts, each gate held for a time
    of its own, log-uniform from `shortest` to `longest` (ms)."""
    check_gates(gating)
    check_whole("n", n, "clamps")
    check_seed(seed)
    check("shortest", shortest, "ms", "> 0 and less than longest", lambda x: (x > 0) & (x < longest))
    rng = np.random.default_rng(seed)
    V = jnp.asarray(MIDDLE + REACH * (2 * (np.arange(n) + rng.random(n)) / n - 1))
    dt = jnp.asarray(np.exp(rng.uniform(np.log(shortest), np.log(longest), (len(GATES), n))))
    opened, shut = amounts(gating, V, dt)
    return Clamps(V, dt, opened, shut)


def amounts(gating: AbstractSodiumGating, V, dt) -> tuple[Array, Array]:
    """What opens of each gate when shut, and shuts when open, within `dt` (ms, shape (gates, clamps)) at V."""
    rates = gates_of(gating, V)
    zero, one = jnp.zeros_like(V), jnp.ones_like(V)
    opened = jnp.stack([rate.increment(zero, elapsed) for rate, elapsed in zip(rates, dt, strict=True)])
    shut = jnp.stack([-rate.increment(one, elapsed) for rate, elapsed in zip(rates, dt, strict=True)])
    return opened, shut


def gates_of(gating: AbstractSodiumGating, V) -> list[Any]:
    """How m, h1 and h2 move at V: a `Relaxation` or a `Flow` each."""
    rates = gating.rates(V, None)
    return [rates[gate] for gate in GATES]


@typed
def action_potentials(cell: Skibsbye2016) -> ActionPotentials:
    """The beats of the cell after `INTERVALS`, as clamps of its own sodium channel."""
    check_gates(cell.sodium)
    dt = np.r_[np.full(round(UPSTROKE / FINE), FINE), np.full(round((WHOLE - UPSTROKE) / COARSE), COARSE)]
    onsets = np.cumsum(INTERVALS)
    middles = np.cumsum(dt) - dt / 2
    times = np.concatenate([onset + np.r_[0.0, middles] for onset in onsets])
    pacing = Pulses(AMPLITUDE, DURATION, np.r_[0.0, onsets])
    saved = simulate(cell, pacing, t1=onsets[-1] + WHOLE, save_at=times, solver=RushLarsenMidpoint(), dt=0.05).ys
    saved = jax.tree.map(lambda x: jnp.reshape(x, (len(onsets), -1)), saved)
    onset, V, dt = jax.tree.map(lambda x: x[:, 0], saved), saved.V[:, 1:], jnp.asarray(dt, saved.V.dtype)
    start = jnp.stack([getattr(onset, gate) for gate in GATES], axis=-1)
    return ActionPotentials(dt, V, _follow_all(cell.sodium, dt, V, start), onset)


def follow(gating: AbstractSodiumGating, dt, V, gates) -> Float[Array, "steps+1 gates"]:
    """The gates along a stair of potential, from their values at its start."""
    rates = gates_of(gating, V)

    def step(gates, at):
        rates, dt = at
        gates = [x + rate.increment(x, dt) for rate, x in zip(rates, gates, strict=True)]
        return gates, jnp.stack(gates)

    _, after = jax.lax.scan(step, list(gates), (rates, dt))
    return jnp.concatenate([jnp.stack(list(gates))[None], after])


@eqx.filter_jit
def _follow_all(gating: AbstractSodiumGating, dt, V, start):
    return jax.vmap(lambda V, start: follow(gating, dt, V, start))(V, start)


def check_gates(gating: Any) -> None:
    """A ValueError unless the gating is one of m, h1 and h2, each a state of first order in V alone."""
    if not isinstance(gating, AbstractSodiumGating) or gating.states != GATES:
        raise refusal("gating", gating, "", "a sodium gating whose states are m, h1 and h2")
