"""The gating recurrent cell: Hodgkin-Huxley gates whose steady states and time constants are learned."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ..annotations import typed
from ..arguments import check, check_whole
from ..cell import AbstractCell
from ..relaxation import Relaxation

ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu}


class GatingCell(eqx.Module):
    """Features -> steady states and time constants of gates; each step is the Rush-Larsen one.

    h_inf = sigmoid(W x + b), rho = sigmoid(W' x + b'), h <- rho h + (1 - rho) h_inf, where rho = exp(-step/tau) over a
    step of `step` ms (Iravanian S, "Discovery of the hidden state in ionic models", equations 2.4.1 to 2.4.4). As a
    `Relaxation` the same gates take steps of any length: tau = -step / log rho (2.7.1).
    """

    steady: eqx.nn.Linear
    rho: eqx.nn.Linear
    step: float = eqx.field(static=True)

    @typed
    def __init__(self, features: int, gates: int, step: float, *, key: Key[Array, ""]):
        check("step", step, "ms", "above 0", lambda x: x > 0)
        check_whole("features", features, "")
        check_whole("gates", gates, "")
        one, other = jax.random.split(key)
        self.steady = eqx.nn.Linear(features, gates, key=one)
        self.rho = eqx.nn.Linear(features, gates, key=other)
        self.step = step

    def relaxations(self, x: Float[Array, " features"]) -> Relaxation:
        """All gates at once: steady (gates,), rate (gates,) 1/ms."""
        # -log sigmoid(z) = softplus(-z): no digits are lost where rho is near 0 or 1.
        return Relaxation(jax.nn.sigmoid(self.steady(x)), rate=jax.nn.softplus(-self.rho(x)) / self.step)

    def __call__(self, h: Float[Array, " gates"], x: Float[Array, " features"]) -> Float[Array, " gates"]:
        """The gates one step of `step` ms later."""
        return self.relaxations(x).at(h, self.step)


class GatingNetwork(eqx.Module):
    """Observables -> two dense layers -> `GatingCell`: the study's first sub-network, for the named gates of a cell."""

    dense: tuple[eqx.nn.Linear, eqx.nn.Linear]
    cell: GatingCell
    centre: Float[np.ndarray, " observables"]
    scale: Float[np.ndarray, " observables"]
    gates: tuple[str, ...] = eqx.field(static=True)
    observables: tuple[str, ...] = eqx.field(static=True)
    activation: str = eqx.field(static=True)

    @typed
    def __init__(
        self,
        gates: tuple[str, ...],
        ranges: dict[str, tuple[float, float]],
        *,
        step: float = 0.05,
        width: int = 30,
        activation: str = "tanh",
        key: Key[Array, ""],
    ):
        """An untrained network.

        Args:
            gates: names of the states it steps.
            ranges: observable -> (lowest, highest) value, which the first layer sees as -1 and 1.
            step: ms, of which rho is the retention.
            width: of both dense layers.
            activation: of both; a key of `ACTIVATIONS`.
            key: of the initial weights.
        """
        check_whole("width", width, "units")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation = {activation!r}; allowed: {', '.join(ACTIVATIONS)}")
        for name, ends in ranges.items():
            check(f"ranges[{name!r}]", ends, "", "(lowest, highest)", lambda x: x.shape == (2,) and x[0] < x[1])
        one, two, three = jax.random.split(key, 3)
        low, high = np.array(list(ranges.values()), float).T
        self.dense = eqx.nn.Linear(len(ranges), width, key=one), eqx.nn.Linear(width, width, key=two)
        self.activation = activation
        self.cell = GatingCell(width, len(gates), step, key=three)
        self.centre, self.scale = (low + high) / 2, (high - low) / 2
        self.gates, self.observables = tuple(gates), tuple(ranges)

    def relaxations(self, *observed: Float[Array, ""]) -> Relaxation:
        """All gates at once under the observables, in their order and units: steady (gates,), rate (gates,) 1/ms."""
        x = (jnp.stack(observed) - self.centre.astype(observed[0].dtype)) / self.scale.astype(observed[0].dtype)
        for layer in self.dense:
            x = ACTIVATIONS[self.activation](layer(x))
        return self.cell.relaxations(x)

    def follow(
        self, h: Float[Array, " gates"], observed: Float[Array, "observables times"], dt: Float[Array, " times-1"]
    ) -> Float[Array, "times gates"]:
        """The hidden gates along recorded observables, from `h` on; dt in ms. Each step sees its middle."""
        middle = (observed[:, 1:] + observed[:, :-1]) / 2
        return follow(jax.vmap(self.relaxations)(*middle), h, dt)

    def rest(self, *observed: Float[Array, ""]) -> Float[Array, " gates"]:
        """Steady states under constant observables."""
        return self.relaxations(*observed).steady


def follow(
    relaxations: Relaxation, h: Float[Array, " gates"], dt: Float[Array, " steps"]
) -> Float[Array, "steps+1 gates"]:
    """Gates after each of the steps (ms), whose relaxations are (steps, gates), from `h` on.

    Gates do not act on each other, so all steps are found at once, by an associative scan.
    """
    kept = jnp.exp(-relaxations.rate * dt[:, None])
    gained = ((1 - kept) * relaxations.steady).at[0].add(kept[0] * h)
    _, after = jax.lax.associative_scan(lambda a, b: (a[0] * b[0], b[0] * a[1] + b[1]), (kept, gained))
    return jnp.concatenate([h[None], after])


class GateCurves(NamedTuple):
    """Steady states and time constants against potential, of a network and of the cell it learned.

    V: mV. learned, true: one `Relaxation` a gate, of arrays like V.
    """

    V: Float[np.ndarray, " voltages"]
    learned: dict[str, Relaxation]
    true: dict[str, Relaxation]


def true_relaxations(cell: AbstractCell, gates: tuple[str, ...], V: Float[Array, " voltages"]) -> dict[str, Relaxation]:
    """What the cell itself declares for gates of voltage alone; V in mV."""

    def at(V):
        rates = cell.rates(0.0, cell.initial_state()._replace(**{cell.potential: V}), 0.0)
        return {name: getattr(rates, name) for name in gates}

    return jax.vmap(at)(V)


@typed
def gate_curves(
    network: GatingNetwork, cell: AbstractCell, V: Float[np.ndarray, " voltages"] | None = None
) -> GateCurves:
    """The learned curves beside the true ones at V (mV; default -100 to 60), other observables as at rest."""
    at = jnp.linspace(-100.0, 60.0, 161) if V is None else jnp.asarray(V, float)
    y = cell.initial_state()
    dtype = network.cell.steady.weight.dtype
    others = [jnp.asarray(getattr(y, name), dtype) for name in network.observables[1:]]
    r = jax.vmap(lambda v: network.relaxations(v, *others))(at.astype(dtype))
    r = jax.tree.map(lambda x: x.astype(at.dtype), r)
    learned = {name: Relaxation(r.steady[:, k], rate=r.rate[:, k]) for k, name in enumerate(network.gates)}
    return GateCurves(np.asarray(at), learned, true_relaxations(cell, network.gates, at))
