"""The study's network and its two passes: gates by a gating layer, the other states by an LSTM, on scaled traces.

Iravanian S, "Discovery of the hidden state in ionic models using a domain-specific recurrent neural network": two
dense layers of 30 and a gating layer step the Hodgkin-Huxley gates from V and Ca_i; the gates, V and Ca_i pass two
dense layers of 30, an LSTM and a dense layer to the other states, all a millisecond later and scaled to 0..1. The first
pass fits all states of a model, the second V and Ca_i of a recording, by the gating layer alone.

Kept as a measure: along the recorded potential it learns the gates, but as equations they are rough, and the second
pass cannot tell which current changed (`benchmarks/hidden_state.py`). `first_pass` and `retrain` can.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from ..annotations import typed
from ..arguments import check, check_seed, check_whole
from ..cell import AbstractCell
from ..simulation.closed_form import voltage_gates
from ..training import fit
from ..training.loop import Fit
from .gating import GatingNetwork, follow
from .paced import PacedBeats

STEP = 1.0
"""ms."""
DECAY = 1e-4
"""lambda: the weight of the mean square of each weight array."""
WINDOW = 100
"""Steps of a window."""
OBSERVABLES = ("V", "Ca_i")
TRAINING_SHARE = 76 / 101
"""Of the cycle lengths, to train on; the others choose the best epoch."""


class Remainder(eqx.Module):
    """The second sub-network: gates and observables -> the other states, scaled."""

    dense: eqx.nn.MLP
    lstm: eqx.nn.LSTMCell
    out: eqx.nn.Linear

    def __init__(self, gates: int, others: int, width: int, *, key: Key[Array, ""]):
        a, b, c = jax.random.split(key, 3)
        inputs = gates + len(OBSERVABLES)
        self.dense = eqx.nn.MLP(
            inputs, width, width, 1, activation=jax.nn.relu, final_activation=jax.nn.relu, dtype=jnp.float32, key=a
        )
        self.lstm = eqx.nn.LSTMCell(width, others, dtype=jnp.float32, key=b)
        self.out = eqx.nn.Linear(others, others, dtype=jnp.float32, key=c)

    def __call__(
        self, h: Float[Array, "times gates"], observed: Float[Array, "times 2"]
    ) -> Float[Array, "times others"]:
        """Along a trace, from an LSTM at zero."""
        features = jax.vmap(self.dense)(jnp.concatenate([h, observed], -1))

        def step(carry, x):
            carry = self.lstm(x, carry)
            return carry, jax.nn.sigmoid(self.out(carry[0]))

        zero = jnp.zeros(self.lstm.hidden_size, jnp.float32)
        return jax.lax.scan(step, (zero, zero), features)[1]


class TwoPartNetwork(eqx.Module):
    """Both sub-networks, and what scales the other states to 0..1.

    `gating` sees V and Ca_i in their units; `others` are the states of `remainder`, V and Ca_i among them.
    """

    gating: GatingNetwork
    remainder: Remainder
    low: Float[np.ndarray, " others"]
    high: Float[np.ndarray, " others"]
    others: tuple[str, ...] = eqx.field(static=True)

    def scaled(self, x: Float[Array, "... states"], names: tuple[str, ...]) -> Float[Array, "... states"]:
        """The named states as shares of their range."""
        at, one_each = np.array([self.others.index(name) for name in names]), (1,) * (x.ndim - 1) + (-1,)
        low, high = (end[at].reshape(one_each) for end in (self.low, self.high))
        return (x - low) / (high - low)

    def __call__(
        self, h: Float[Array, " gates"], observed: Float[Array, "times 2"]
    ) -> tuple[Float[Array, "times gates"], Float[Array, "times others"]]:
        """Gates and other states (scaled) a step after each observation, from the gates `h` at the first."""
        r = jax.vmap(self.gating.relaxations)(*observed.T)
        gates = follow(r, h, jnp.full(len(observed), STEP, h.dtype))[1:]
        return gates, self.remainder(gates, self.scaled(observed, OBSERVABLES))


class Traces(NamedTuple):
    """One trace a cycle length, a sample each ms, float32: gates, V and Ca_i (in their units), other states."""

    gates: tuple[Float[np.ndarray, "samples gates"], ...]
    observed: tuple[Float[np.ndarray, "samples 2"], ...]
    others: tuple[Float[np.ndarray, "samples others"], ...]


def traces(cell: AbstractCell, data: PacedBeats) -> tuple[Traces, tuple[str, ...], tuple[str, ...]]:
    """The traces of paced beats, and the names of gates and other states."""
    gates = voltage_gates(cell)
    others = tuple(n for n in data.states[0]._fields if n not in gates)

    def columns(k: int, names: tuple[str, ...]) -> np.ndarray:
        trace = data.every_ms(k)
        return np.stack([np.asarray(getattr(trace, n), np.float32) for n in names], -1)

    each = [tuple(columns(k, names) for k in range(len(data.states))) for names in (gates, OBSERVABLES, others)]
    return Traces(*each), gates, others


@typed
def published_network(cell: AbstractCell, data: PacedBeats, *, width: int = 30, seed: int = 0) -> TwoPartNetwork:
    """The study's network, untrained, scaled to this data."""
    check_whole("width", width, "units")
    check_seed(seed)
    found, gates, others = traces(cell, data)
    every = np.concatenate(found.others)
    low, high = every.min(0), every.max(0)
    one, two = jax.random.split(jax.random.key(seed))
    ranges = {n: (float(low[others.index(n)]), float(high[others.index(n)])) for n in OBSERVABLES}
    gating = GatingNetwork(gates, ranges, step=STEP, width=width, activation="relu", key=one)
    gating = jax.tree.map(lambda x: x.astype(jnp.float32) if eqx.is_array(x) else x, gating)
    remainder = Remainder(len(gates), len(others), width, key=two)
    return TwoPartNetwork(gating, remainder, low, high, others)


def decay(network: Any) -> Float[Array, ""]:
    """Mean square of each weight array, summed."""
    weights = [x for x in jax.tree.leaves(network) if isinstance(x, Array) and jnp.ndim(x) > 1]
    return sum((jnp.mean(x**2) for x in weights), jnp.zeros((), jnp.float32))


@typed
def published_first_pass(
    cell: AbstractCell,
    data: PacedBeats,
    *,
    epochs: int = 20,
    batches: int = 200,
    batch: int = 64,
    rate: float = 3e-3,
    seed: int = 0,
    progress: bool | Callable[[float], None] = False,
) -> Fit:
    """The study's first pass: squared error of all states along windows of the traces, and weight decay.

    The study does not say how its sequences are cut; here windows of `WINDOW` ms are drawn from the training cycle
    lengths, the gates of each starting from the truth. 76 in 101 cycle lengths are trained on, drawn by the seed; the
    others choose the best epoch.

    Args:
        cell: the model.
        data: its paced beats.
        epochs, batches, batch: batches an epoch, windows a batch.
        rate: of Adam, brought down to zero on a cosine.
        seed: of weights, split and windows.
        progress: True for a bar on stderr, or a function of the fraction done.
    """
    _check_training(epochs, batches, batch, rate, seed)
    check_whole("batches", batches, "batches")
    check_whole("batch", batch, "windows")
    found, _, _ = traces(cell, data)
    network = published_network(cell, data, seed=seed)
    order = np.random.default_rng(seed).permutation(len(data.states))
    cut = max(1, round(TRAINING_SHARE * len(order)))
    training, held_out = order[:cut], order[cut:] if cut < len(order) else order

    def errors(network, some):
        gates, observed, others = some
        g, o = jax.vmap(network)(gates[:, 0], observed[:, :-1])
        return jnp.mean((g - gates[:, 1:]) ** 2) + jnp.mean((o - network.scaled(others[:, 1:], network.others)) ** 2)

    def each(epoch: int) -> Iterator[Any]:
        draws = np.random.default_rng((seed, epoch))
        for _ in range(batches):
            yield _windows(found, draws, training, batch)

    judged = _windows(found, np.random.default_rng((seed, 2**32)), held_out, 256)
    judge = eqx.filter_jit(errors)
    schedule = optax.cosine_decay_schedule(rate, epochs * batches)
    weights, fixed = eqx.partition(network, _is_weight)
    done = fit(
        weights,
        lambda w, some: errors(eqx.combine(w, fixed), some) + DECAY * decay(w),
        each,
        lambda w: float(judge(eqx.combine(w, fixed), judged)),
        optimiser=optax.adam(schedule),
        epochs=epochs,
        progress=progress,
    )
    return done._replace(model=eqx.combine(done.model, fixed))


@typed
def published_second_pass(
    network: TwoPartNetwork,
    cell: AbstractCell,
    data: PacedBeats,
    *,
    eta: float = 1e-3,
    epochs: int = 5,
    batches: int = 200,
    batch: int = 64,
    rate: float = 1e-3,
    seed: int = 0,
    progress: bool | Callable[[float], None] = False,
) -> Fit:
    """The study's second pass: the gating layer alone, on V and Ca_i one step ahead through the frozen rest.

    The loss is their squared error (scaled) + eta |gates - those of the first pass| + weight decay. Of `data` only V
    and Ca_i are used; the gates at the first sample of each window are those that the first-pass network has there.

    Args:
        network: of the first pass.
        cell: the model.
        data: paced beats of the observed cell.
        eta: weight of the drift of the gates; the study tries 1e-4 to 2e-3.
        epochs, batches, batch, rate, seed, progress: as for `published_first_pass`.
    """
    _check_training(epochs, batches, batch, rate, seed)
    check("eta", eta, "", ">= 0, finite", lambda x: 0 <= x < np.inf)
    check("eta", eta, "", "0 or more", lambda x: x >= 0)
    found, _, _ = traces(cell, data)
    found = found._replace(gates=tuple(_hidden(network.gating, observed) for observed in found.observed))
    at = np.array([network.others.index(name) for name in OBSERVABLES])
    every = np.arange(len(data.states))

    def outputs(layer, gates, observed):
        whole = eqx.tree_at(lambda n: n.gating.cell, network, layer)
        return jax.vmap(whole)(gates[:, 0], observed[:, :-1])

    def misfit(layer, some):
        gates, observed, _ = some
        g, o = outputs(layer, gates, observed)
        kept, _ = outputs(network.gating.cell, gates, observed)
        ahead = network.scaled(observed[:, 1:], OBSERVABLES)
        return jnp.mean((o[..., at] - ahead) ** 2), eta * jnp.mean(jnp.abs(g - kept))

    def each(epoch: int) -> Iterator[Any]:
        draws = np.random.default_rng((seed, epoch))
        for _ in range(batches):
            yield _windows(found, draws, every, batch)

    judged = _windows(found, np.random.default_rng((seed, 2**32)), every, 256)
    judge = eqx.filter_jit(lambda layer: sum(misfit(layer, judged)))
    done = fit(
        network.gating.cell,
        lambda layer, some: sum(misfit(layer, some)) + DECAY * decay(layer),
        each,
        lambda layer: float(judge(layer)),
        optimiser=optax.adam(rate),
        epochs=epochs,
        progress=progress,
    )
    return done._replace(model=eqx.tree_at(lambda n: n.gating.cell, network, done.model))


@eqx.filter_jit
def _followed(gating: GatingNetwork, observed):
    r = jax.vmap(gating.relaxations)(*observed.T)
    return follow(r, r.steady[0], jnp.full(len(observed), STEP, observed.dtype))[:-1]


def _hidden(gating: GatingNetwork, observed) -> Float[np.ndarray, "samples gates"]:
    """The gates along a whole trace, from their steady state at its first sample."""
    return np.asarray(_followed(gating, jnp.asarray(observed)))


def _is_weight(x: Any) -> bool:
    """Scales and ranges are numpy arrays: they are no weights."""
    return isinstance(x, Array) and eqx.is_inexact_array(x)


def _windows(found: Traces, draws: np.random.Generator, lengths, n: int) -> tuple[Any, Any, Any]:
    """n windows of WINDOW steps from the traces of these cycle lengths."""
    which = draws.choice(lengths, n)
    starts = [draws.integers(0, len(found.observed[k]) - WINDOW) for k in which]
    return tuple(  # pyright: ignore[reportReturnType]
        jnp.asarray(np.stack([of[k][s : s + WINDOW + 1] for k, s in zip(which, starts, strict=True)])) for of in found
    )


def _check_training(epochs, batches, batch, rate, seed) -> None:
    for name, count in (("epochs", epochs), ("batches", batches), ("batch", batch)):
        check_whole(name, count, "")
    check("rate", rate, "", "> 0, finite", lambda x: 0 < x < np.inf)
    check_seed(seed)
