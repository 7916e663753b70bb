"""Gates of voltage alone, of any cell, by other means than their equations: one small network for all, and its rivals.

A network of V computes its hidden units once for all gates, which have an exponential or two each. It is the one place
where a network of V could pay; it does not (`benchmarks/sodium_subsystems.py`).
"""

import abc
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float

from ...annotations import typed
from ...arguments import check, check_seed, check_whole
from ...cell import AbstractCell, AbstractWrappedCell, astype, dtype_of, unknown_name
from ...relaxation import Relaxation, is_relaxation
from ...training import fit

RANGE = (-120.0, 60.0)
"""Of V, mV: where gates are learned and tabulated. Beyond it they stand still."""


class AbstractGates(eqx.Module):
    """Relaxations of named gates, of V (mV) alone."""

    names: eqx.AbstractVar[tuple[str, ...]]

    @abc.abstractmethod
    def relaxations(self, V) -> dict[str, Relaxation]:
        """One for each name, in the shape and dtype of V."""


class CellWithGates(AbstractWrappedCell):
    """A cell with some of its gates from elsewhere, all else as it was; made by `with_gates`."""

    cell: AbstractCell
    gates: AbstractGates

    def rates(self, t, y, i_stim):
        V = getattr(y, self.potential)
        return self.cell.rates(t, y, i_stim)._replace(**self.gates.relaxations(V))


@typed
def with_gates(cell: AbstractCell, gates: AbstractGates) -> AbstractCell:
    """`cell` with the named gates moved by `gates`: an ordinary cell, in the dtype of `cell`."""
    _check_states(cell, gates.names)
    return CellWithGates(cell, gates)


@typed
def exact_gates(cell: AbstractCell, names: Sequence[str], V: Float[ArrayLike, " voltages"]) -> dict[str, Relaxation]:
    """What the cell declares for its gates of voltage alone at V (mV)."""
    _check_states(cell, names)
    return _declared(cell, tuple(names), jnp.asarray(V, dtype_of(cell)))


@eqx.filter_jit
def _declared(cell: AbstractCell, names: tuple[str, ...], V: Float[Array, " voltages"]) -> dict[str, Relaxation]:

    def at(V):
        rates = cell.rates(0.0, cell.initial_state()._replace(**{cell.potential: V}), 0.0)
        return {name: getattr(rates, name) for name in names}

    return jax.vmap(at)(V)


@typed
def voltage_gates(cell: AbstractCell) -> tuple[str, ...]:
    """Names of the states that relax by a steady state and a rate of V alone: those that no other state changes.

    A rate that is constant counts. A gate that stands still under some condition on another state is none.
    """
    same = _same_whatever_else(cell)
    return tuple(name for name, both in same.items() if all(both))


@eqx.filter_jit
def _same_whatever_else(cell: AbstractCell) -> dict[str, tuple[Array, Array]]:
    """Of each state that relaxes: whether steady and rate over `RANGE` stay the same with all other states larger."""
    y = cell.initial_state()

    def at(V, larger):
        others = {name: x * larger for name, x in y._asdict().items() if name != cell.potential}
        rates = cell.rates(0.0, y._replace(**{cell.potential: V}, **others), 0.0)
        return {name: (r.steady, r.rate) for name, r in rates._asdict().items() if is_relaxation(r)}

    V = jnp.linspace(*RANGE, 19, dtype=dtype_of(cell))
    usual, changed = (jax.vmap(lambda v, larger=larger: at(v, larger))(V) for larger in (1.0, 1.1))
    return jax.tree.map(lambda a, b: jnp.all(a == b), usual, changed)


class SinglePrecisionRates(AbstractWrappedCell):
    """A cell some of whose rates are worked out in float32; made by `in_single_precision`."""

    cell: AbstractCell
    names: tuple[str, ...] = eqx.field(static=True)

    def rates(self, t, y, i_stim):
        dtype = dtype_of(self.cell)
        single = jax.tree.map(lambda x: jnp.asarray(x).astype(jnp.float32), y)
        rates = astype(self.cell, jnp.float32).rates(t, single, jnp.asarray(i_stim, jnp.float32))
        rounded = {name: jax.tree.map(lambda x: x.astype(dtype), getattr(rates, name)) for name in self.names}
        return self.cell.rates(t, y, i_stim)._replace(**rounded)


@typed
def in_single_precision(cell: AbstractCell, names: Sequence[str]) -> AbstractCell:
    """`cell` with the rates of the named states worked out in float32, and all states in the precision of `cell`.

    A float32 exponential costs half a float64 one. What a cell of float64 loses is 1e-7 of these rates, a thousandth of
    what any surrogate loses. Nothing is gained where the cell is float32 already.
    """
    _check_states(cell, names)
    return SinglePrecisionRates(cell, tuple(names))


class GateTable(AbstractGates):
    """Steady states and rates read off a table of V, linearly between its lines: a gather for each."""

    columns: dict[str, tuple[Float[Array, " lines"], Float[Array, " lines"]]]
    spacing: float = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)

    @typed
    def __init__(self, cell: AbstractCell, names: Sequence[str], *, spacing: float = 0.1):
        """Lines every `spacing` mV over `RANGE`."""
        check("spacing", spacing, "mV", "above 0, at most 10", lambda x: (x > 0) & (x <= 10))
        self.names, self.spacing = _checked(cell, names), spacing
        lines = jnp.arange(RANGE[0], RANGE[1] + 2 * spacing, spacing, dtype=dtype_of(cell))
        self.columns = {name: (r.steady, r.rate) for name, r in exact_gates(cell, self.names, lines).items()}

    def relaxations(self, V):
        place = (jnp.clip(V, *RANGE) - RANGE[0]) / self.spacing
        line = place.astype(jnp.int32)
        share = place - line.astype(V.dtype)

        def read(column):
            column = column.astype(V.dtype)
            below = column[line]
            return below + share * (column[line + 1] - below)

        return {name: Relaxation(read(steady), rate=read(rate)) for name, (steady, rate) in self.columns.items()}


class GateNetwork(AbstractGates):
    """V -> all gates: a hidden layer or more of tanh, shared; steady within the bounds of the data, rate above 0."""

    layers: tuple[eqx.nn.Linear, ...]
    low: Float[Array, " gates"]
    high: Float[Array, " gates"]
    typical: Float[Array, " gates"]
    """Geometric mean of each rate, 1/ms."""
    names: tuple[str, ...] = eqx.field(static=True)

    def __init__(self, names: Sequence[str], truth: Relaxation, widths: Sequence[int], key):
        """Untrained; `truth`: (gates, voltages)."""
        sizes = [1, *widths, 2 * len(names)]
        keys = jax.random.split(key, len(sizes) - 1)
        dtype = truth.steady.dtype
        layers = [eqx.nn.Linear(a, b, key=k, dtype=dtype) for a, b, k in zip(sizes[:-1], sizes[1:], keys, strict=True)]
        # Tanh units as steep as the steepest sigmoid of the data, spread over the range of V.
        spread = jnp.linspace(-1, 1, widths[0], dtype=dtype)
        steep = jnp.full((widths[0], 1), 5.0, dtype)
        layers[0] = eqx.tree_at(lambda x: (x.weight, x.bias), layers[0], (steep, -5.0 * spread))
        self.layers, self.names = tuple(layers), tuple(names)
        self.low, self.high = truth.steady.min(axis=1), truth.steady.max(axis=1)
        self.typical = jnp.exp(jnp.log(truth.rate).mean(axis=1))

    def relaxations(self, V):
        dtype = self.low.dtype
        x = [(V.astype(dtype) - sum(RANGE) / 2) / ((RANGE[1] - RANGE[0]) / 2)]
        for layer in self.layers[:-1]:
            x = [jnp.tanh(unit) for unit in dense(layer, x)]
        out = dense(self.layers[-1], x)
        found = {}
        for k, name in enumerate(self.names):
            low, high, typical = (jax.lax.stop_gradient(x[k]) for x in (self.low, self.high, self.typical))
            steady = low + (high - low) * jax.nn.sigmoid(out[k])
            rate = typical * jnp.exp(out[len(self.names) + k])
            found[name] = Relaxation(steady.astype(V.dtype), rate=rate.astype(V.dtype))
        return found


def dense(layer: eqx.nn.Linear, x: Sequence[Array]) -> list[Array]:
    """The layer's units one by one: within a cell's step XLA fuses sums of products, and calls a library for a matrix.

    For 16 units it takes 25 ns less a cell-step.
    """
    weight, bias = layer.weight, layer.bias
    assert bias is not None
    return [sum((weight[i, j] * x[j] for j in range(len(x))), bias[i]) for i in range(len(bias))]


@typed
def learned_gates(
    cell: AbstractCell,
    gates: Sequence[str],
    *,
    widths: Sequence[int] = (24,),
    epochs: int = 60,
    seed: int = 0,
) -> GateNetwork:
    """A network for the named gates, trained on clamps: `with_gates(cell, learned_gates(cell, ("d", "f2")))`.

    A clamp holds V, and the gate goes from where it was to where it is dt later; V is uniform over `RANGE`, the gate
    within its bounds, and dt log-uniform from a tenth to ten time constants: what is learned is what clamps show. The
    network computes in the dtype of `cell`. The same seed gives the same network.

    Args:
        cell: whose equations are learned.
        gates: names of states that relax by V alone (`voltage_gates`).
        widths: units of each hidden layer.
        epochs: of 50 batches of 1024 clamps.
        seed: of weights and clamps.

    ValueError: a gate that the cell has not or that is none of voltage alone; a width or number below 1.
    """
    names = _checked(cell, gates)
    check_seed(seed)
    check_whole("epochs", epochs, "epochs")
    for width in widths:
        check_whole("widths", width, "units")
    dtype = dtype_of(cell)

    def truth(V) -> Relaxation:
        exact = exact_gates(cell, names, V)
        stacked = [jnp.stack([getattr(exact[name], part) for name in names]) for part in ("steady", "rate")]
        return Relaxation(stacked[0], rate=stacked[1])

    def clamps(key):
        at, start, duration = jax.random.split(key, 3)
        V = jax.random.uniform(at, (1024,), dtype, *RANGE)
        exact = truth(V)
        shape = exact.steady.shape
        gate = network.low[:, None] + (network.high - network.low)[:, None] * jax.random.uniform(start, shape, dtype)
        dt = 10 ** jax.random.uniform(duration, shape, dtype, -1, 1) / exact.rate
        return V, gate, dt, exact.at(gate, dt)

    def loss(network: GateNetwork, clamps):
        V, gate, dt, after = clamps
        found = jax.vmap(network.relaxations)(V)
        found = Relaxation(
            jnp.stack([found[name].steady for name in names]), rate=jnp.stack([found[name].rate for name in names])
        )
        error = (found.at(gate, dt) - after) / (network.high - network.low)[:, None]
        return jnp.mean(error**2)

    voltages = jnp.linspace(*RANGE, 721, dtype=dtype)
    first, later = jax.random.split(jax.random.key(seed))
    network = GateNetwork(names, truth(voltages), tuple(widths), first)
    batch, error = jax.jit(clamps), eqx.filter_jit(loss)
    held_out = batch(jax.random.fold_in(later, 50 * epochs))
    schedule = optax.cosine_decay_schedule(1e-2, 50 * epochs)
    return fit(
        network,
        loss,
        lambda epoch: (batch(jax.random.fold_in(later, 50 * epoch + k)) for k in range(50)),
        lambda network: float(error(network, held_out)),
        optimiser=optax.adam(schedule),
        epochs=epochs,
    ).model


@typed
def gate_errors(cell: AbstractCell, gates: AbstractGates) -> dict[str, tuple[float, float]]:
    """By gate, over `RANGE`: the largest error of steady, and of log rate."""
    V = jnp.linspace(*RANGE, 1801, dtype=dtype_of(cell))
    exact, found = exact_gates(cell, gates.names, V), jax.vmap(gates.relaxations)(V)

    def errors(found: Relaxation, exact: Relaxation):
        return (
            float(np.abs(np.asarray(found.steady - exact.steady)).max()),
            float(np.abs(np.log(np.asarray(found.rate / exact.rate))).max()),
        )

    return {name: errors(found[name], exact[name]) for name in gates.names}


def _checked(cell: AbstractCell, names: Sequence[str]) -> tuple[str, ...]:
    known = voltage_gates(cell)
    for name in names:
        if name not in known:
            raise ValueError(unknown_name("gate of voltage alone", name, known, type(cell).__name__))
    return tuple(names)


def _check_states(cell: AbstractCell, names: Sequence[str]) -> None:
    fields = type(cell.initial_state())._fields
    for name in names:
        if name not in fields:
            raise ValueError(unknown_name("state", name, fields, type(cell).__name__))
