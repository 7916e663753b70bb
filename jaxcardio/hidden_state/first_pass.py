"""The first pass: a gating network learns the gates of a model."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from ..annotations import typed
from ..arguments import check, check_seed, check_whole
from ..cell import AbstractCell, dtype_of
from ..progress import progress_bar
from ..simulation.closed_form import voltage_gates
from .gating import GatingNetwork, true_relaxations

RANGE = (-110.0, 70.0)
"""mV between which the curves are learned."""
FASTEST = 0.005
"""ms; tau is learned as sqrt(tau^2 + FASTEST^2): a gate that is faster than that is as good as steady."""
LOGIT = 9.0
"""Steady states are learned to this logit: 1.2e-4 from 0 and 1."""
CHUNKS = 25
"""Reports of progress."""


class FirstPass(NamedTuple):
    """A trained network, and the loss after each of `CHUNKS` parts of its training."""

    network: GatingNetwork
    losses: Float[np.ndarray, " chunks"]


@typed
def first_pass(
    cell: AbstractCell,
    *,
    steps: int = 12_000,
    rate: float = 7e-3,
    width: int = 48,
    seed: int = 0,
    progress: bool | Callable[[float], None] = False,
) -> FirstPass:
    """Learns the steady states and time constants that a model declares for its gates of voltage alone.

    The first pass has the whole model at hand, so it asks the model at potentials of all of `RANGE`, also with gates
    in states that no action potential visits. (A network that learns from action potentials alone follows the gates
    along them to 1e-3, and is free everywhere else: where an upstroke rushes through, steady states are wrong by 0.3
    and time constants by a factor of ten, which is where an intervention is misread.)

    The loss is squared: of h_inf (x 100), of its logit up to `LOGIT` (x 0.03), of log tau.

    Args:
        cell: the model; its gates are `voltage_gates(cell)`.
        steps: of Adam, its rate warmed up to `rate` and brought down to zero on a cosine.
        width: of the two dense layers.
        seed: of the initial weights; the same seed gives the same network.
        progress: True for a bar on stderr, or a function of the fraction done.

    ValueError: an argument out of its range; a cell without such gates.
    """
    check_whole("steps", steps, "steps", CHUNKS)
    check("rate", rate, "", "above 0", lambda x: 0 < x < np.inf)
    check_whole("width", width, "units")
    check_seed(seed)
    gates = voltage_gates(cell)
    if not gates:
        raise ValueError(f"cell: {type(cell).__name__} has no gates of voltage alone for a network to learn")
    V = jnp.linspace(*RANGE, 1801, dtype=dtype_of(cell))
    true = true_relaxations(cell, gates, V)
    steady = jnp.stack([true[g].steady for g in gates], -1)
    logit = jnp.clip(jnp.log(steady / (1 - steady)), -LOGIT, LOGIT)
    log_tau = jnp.log(jnp.hypot(jnp.stack([true[g].tau for g in gates], -1), FASTEST))
    V, steady, logit, log_tau = (x.astype(jnp.float32) for x in (V, steady, logit, log_tau))

    def loss(network):
        r = jax.vmap(network.relaxations)(V)
        found = jnp.clip(jnp.log(r.steady) - jnp.log1p(-r.steady), -LOGIT, LOGIT)
        return (
            100 * jnp.mean((r.steady - steady) ** 2)
            + 0.03 * jnp.mean((found - logit) ** 2)
            + jnp.mean((jnp.log(r.rate) + log_tau) ** 2)
        )

    network = GatingNetwork(gates, {cell.potential: RANGE}, width=width, key=jax.random.key(seed))
    network = jax.tree.map(lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x, network)
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, min(200, steps // 10), steps)
    return _descend(network, loss, optax.adam(schedule), steps, progress)


def _descend(network, loss, optimiser, steps: int, progress) -> FirstPass:
    """`steps` steps of the optimiser on the whole loss, in `CHUNKS` compiled loops."""
    report = progress_bar("learning", steps, "steps") if progress is True else progress or (lambda done: None)
    # centre and scale are no weights.
    weights, fixed = eqx.partition(network, lambda x: isinstance(x, Array) and eqx.is_inexact_array(x))

    @eqx.filter_jit
    def run(weights, state, count: int):
        def step(carry, _):
            weights, state = carry
            value, gradient = jax.value_and_grad(lambda w: loss(eqx.combine(w, fixed)))(weights)
            with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
                updates, state = optimiser.update(gradient, state, weights)
                weights = optax.apply_updates(weights, updates)
            return (weights, state), value

        return jax.lax.scan(step, (weights, state), None, count)

    state, losses, done = optimiser.init(weights), [], 0
    each = -(-steps // CHUNKS)
    while done < steps:
        count = min(each, steps - done)
        (weights, state), values = run(weights, state, count)
        done += count
        losses.append(float(values[-1]))
        report(done / steps)
    return FirstPass(eqx.combine(weights, fixed), np.array(losses))
