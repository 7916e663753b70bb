"""A learned flow map of the Markov sodium channel: exchanges between pairs of states, on the simplex by construction.

One step is a product of 31 exchanges, each between two neighbours of the chain. An exchange alone would be exact with
the share rho = 1 - exp(-(a + b) dt) of what keeps the pair from its equilibrium; a product of them is a splitting, and
its error at steps of 0.1 ms is of order one hundredth. So the shares are learned: which share each of the exchanges has
to take for the product to be exp(Q dt).
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key

from ..annotations import typed
from ..arguments import check_seed, check_whole
from ..cell import Scalar, parameter
from ..models import AbstractSodiumGating
from ..models.markov_sodium import (
    TRANSITIONS,
    ClancyRudySodiumGating,
    Occupancies,
    Transition,
    TransitionRates,
    occupancies,
    slopes,
    transition_rates,
)
from ..models.sodium_gating import activation
from ..progress import progress_bar
from ..relaxation import JointFlow
from .network import VoltageNetwork

LONGEST = 0.2
"""Steps that a map is trained for, ms; the corrections stay those of this one beyond."""
TERMS = 3
"""Powers of dt / LONGEST, from the first: without a step there is nothing to correct."""
WIDTHS = (16,)
TRAINED_V = (-105.0, 55.0)
"""Potentials that a map is trained for, mV; beyond, too, the corrections stay those of the nearest."""

_C3C2, _C2C1, _C1O, _OIF, _IC3IC2, _IC2IF, *_LATERAL, _IFIM1, _IM1IM2 = TRANSITIONS
_FORTH = (_C3C2, _C2C1, _C1O, _OIF, _IC2IF, _IC3IC2)
"""Along the stream of an activating channel."""
EXCHANGES: tuple[Transition, ...] = (
    *_FORTH[::-1], *_LATERAL, *_FORTH, _IFIM1, _IM1IM2, *_FORTH[-2::-1], *_LATERAL, *_FORTH,
)  # fmt: skip
"""In turn: the fast transitions against the stream and along it, twice, with the slow ones between them."""
LEARNED = tuple(k for k, exchange in enumerate(EXCHANGES) if exchange not in (_IFIM1, _IM1IM2))
"""Places of the exchanges whose shares are learned. The two slowest, which come once, need no correction."""
PARTS = tuple(1 / EXCHANGES.count(exchange) for exchange in EXCHANGES)
"""Of the step's length that each exchange stands for."""


def exchange_shares(rates: TransitionRates, corrections: Sequence[Float[Array, "*cells"]], dt) -> list[Any]:
    """For each exchange, per rate, what it moves of the difference of its two fluxes (ms).

    An exchange with rates a and b (per ms) takes the share q (a + b) / (1 + q (a + b)) of the way to its equilibrium,
    where q is its part of dt times 1 + c for a correction c >= 0, and divided by 1 - c for c < 0: a share in (0, 1),
    whatever c is. (One division: it and not the exchange itself is what an exchange costs.)
    """
    learned = dict(zip(LEARNED, corrections, strict=True))
    shares = []
    for place, exchange in enumerate(EXCHANGES):
        part, speed = PARTS[place] * dt, getattr(rates, exchange.forth) + getattr(rates, exchange.back)
        slower: Any = 1.0
        if place in learned:
            part = part * jnp.maximum(1 + learned[place], 1)
            slower = jnp.maximum(1 - learned[place], 1)
        shares.append(part / (slower + part * speed))
    return shares


def exchanged(rates: TransitionRates, shares: list[Any], p: Occupancies) -> Occupancies:
    """The occupancies after one exchange of each pair in turn: positive, and of the same sum.

    Each exchange leaves the channel at rest where it is.
    """
    state = p._asdict()
    for (source, target, forth, back), share in zip(EXCHANGES, shares, strict=True):
        flux = share * (getattr(rates, forth) * state[source] - getattr(rates, back) * state[target])
        state[source] = state[source] - flux
        state[target] = state[target] + flux
    return Occupancies(**state)


class ExchangeFlow(JointFlow):
    """One state of the chain, moved by the learned exchanges; all nine have the same arrays."""

    rates: TransitionRates
    coefficients: tuple[Float[Array, "*cells"], ...]
    """Of each learned exchange in turn, of powers of the step."""
    occupancies: Occupancies
    index: int = eqx.field(static=True)

    def now(self):
        return self.occupancies

    def slopes(self):
        return slopes(self.rates, self.occupancies)

    def after(self, dt, steps):
        shares, course = exchange_shares(self.rates, corrections(self.coefficients, dt), dt), [self.occupancies]
        for _ in range(steps):
            course.append(exchanged(self.rates, shares, course[-1]))
        return course[1:]


def corrections(coefficients, dt) -> list[Any]:
    """The correction of each learned exchange at a step of dt (ms)."""
    x = jnp.minimum(dt / LONGEST, 1.0)
    found = []
    for k in range(0, len(coefficients), TERMS):
        total = coefficients[k + TERMS - 1]
        for c in coefficients[k : k + TERMS - 1][::-1]:
            total = c + x * total
        found.append(x * total)
    return found


class MarkovFlow(AbstractSodiumGating):
    """Learned flow map of `ClancyRudySodiumGating`: (V, nine occupancies, dt) -> nine occupancies, for dt to 0.2 ms.

    The network gives, at each V (mV), how the share of each exchange depends on the step (`exchange_shares`). Whatever
    its weights are, occupancies stay positive, their sum stays 1, and the steady state at a held potential is that of
    the channel; short steps are right without any learning. The rates are the channel's own.
    """

    network: VoltageNetwork
    m_V_half: Scalar = parameter(36.3, "mV", "minus the half-activation potential of I_NaL")
    m_k: Scalar = parameter(7.8, "mV", "slope of the steady activation of I_NaL")

    states: ClassVar[tuple[str, ...]] = ClancyRudySodiumGating.states

    @typed
    def __init__(self, widths: tuple[int, ...] = WIDTHS, *, key: Key[Array, ""] | None = None):
        """Untrained: a splitting without any correction."""
        network = VoltageNetwork(len(LEARNED) * TERMS, widths, key=jax.random.key(0) if key is None else key)
        self.network = eqx.tree_at(lambda n: n.weights[-1], network, replace_fn=jnp.zeros_like)
        exact = ClancyRudySodiumGating()
        self.m_V_half, self.m_k = exact.m_V_half, exact.m_k

    def rates(self, V, y) -> dict[str, Any]:
        rates, coefficients, p = transition_rates(V), tuple(self.network(jnp.clip(V, *TRAINED_V))), occupancies(y)
        chain = {
            n: ExchangeFlow(rates=rates, coefficients=coefficients, occupancies=p, index=i)
            for i, n in enumerate(Occupancies._fields)
        }
        return {"m": activation(V, self.m_V_half, self.m_k), **chain}

    def __call__(self, V, p: Occupancies, dt) -> Occupancies:
        """The occupancies after a step of dt (ms) at V (mV); elementwise in arrays that broadcast."""
        rates = transition_rates(V)
        return exchanged(rates, exchange_shares(rates, corrections(self.network(jnp.clip(V, *TRAINED_V)), dt), dt), p)

    def open_probability(self, y):
        return y.O

    def initial(self, y) -> dict[str, Any]:
        """The channel at rest at the cell's potential."""
        return ClancyRudySodiumGating(self.m_V_half, self.m_k).initial(y)

    def architecture(self) -> dict[str, Any]:
        """What `of_architecture` makes an empty one of the same structure from."""
        return {"widths": list(self.network.widths)}

    @classmethod
    def of_architecture(cls, about: dict[str, Any]) -> "MarkovFlow":
        return cls(tuple(about["widths"]))


# --- training --------------------------------------------------------------------------------------------------------

POTENTIALS = 64
STEPS = (0.002, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2)
OPEN_WEIGHT = 2.0
"""Of errors in O beside those in the other states: it carries the current."""
DAMPING, RIDGE, TRIALS = 1e-2, 1e-9, 10
"""Levenberg-Marquardt: the first damping, what keeps the equations regular, and how often a step is tried again."""


class MarkovTraining(NamedTuple):
    """A trained map, and how it got there."""

    gating: MarkovFlow
    residuals: Float[np.ndarray, " steps"]
    """Root mean square error of the entries of exp(Q dt), after each step of the training."""


def generator(rates: TransitionRates) -> Float[Array, "9 9"]:
    """Q with dp/dt = Q p, of rates that are numbers."""
    unit = jnp.eye(len(Occupancies._fields), dtype=rates.alpha_11.dtype)
    return jnp.stack(slopes(rates, Occupancies(*unit)), axis=0)


@typed
def train_markov_flow(
    *, seed: int = 0, steps: int = 30, widths: tuple[int, ...] = WIDTHS, progress: bool = False
) -> MarkovTraining:
    """Trains the map on exp(Q dt) at 64 potentials from -105 to 55 mV and 8 steps from 2 to 200 us.

    Levenberg-Marquardt in float64, a minute on two cores (80 s on one); the same seed gives the same map,
    as far as `train_rates` says.

    Args:
        seed: of the network's first weights.
        steps: of Levenberg-Marquardt.
        widths: numbers of hidden units, a layer each.
        progress: whether to show a bar.

    ValueError: without float64.
    """
    check_seed(seed)
    check_whole("steps", steps, "steps")
    if not jax.config.read("jax_enable_x64"):
        raise ValueError('training in float32; allowed: float64 (first jax.config.update("jax_enable_x64", True))')
    gating = MarkovFlow(widths, key=jax.random.key(seed))
    begin, restored = ravel_pytree(gating.network)

    def outputs(weights, V):
        return jnp.stack(restored(weights)(V))

    fit = _Fit(outputs, *_exact_flows())
    weights, cost, damping, costs = begin, fit.cost(begin), DAMPING, []
    report = progress_bar("training", steps, "steps") if progress else None
    for step in range(steps):
        curvature, slope = fit.normal(weights)
        for _ in range(TRIALS):
            trial = weights - _damped_solution(curvature, slope, damping)
            found = fit.cost(trial)
            if found < cost:
                weights, cost, damping = trial, found, damping / 4
                break
            damping *= 4
        costs.append(float(cost))
        if report is not None:
            report((step + 1) / steps)
    trained = eqx.tree_at(lambda g: g.network, gating, restored(weights))
    return MarkovTraining(trained, np.sqrt(np.asarray(costs) / (POTENTIALS * len(STEPS) * 81)))


def _exact_flows() -> tuple[Array, Array]:
    """Potentials (n,) and exp(Q dt) at each, (n, steps, 9, 9)."""
    V = jnp.linspace(*TRAINED_V, POTENTIALS)
    Q = jax.vmap(lambda V: generator(transition_rates(V)))(V)
    return V, jax.scipy.linalg.expm(Q[:, None] * jnp.asarray(STEPS)[None, :, None, None])


class _Fit(eqx.Module):
    """Least squares of the map's entries in the network's weights, by way of its outputs at each potential."""

    outputs: Callable[[Array, Array], Array]
    V: Array
    exact: Array

    @eqx.filter_jit
    def cost(self, weights):
        """The sum of squares."""
        steps = jnp.asarray(STEPS)

        def at(V, exact):
            return jax.vmap(_residual, (0, None, 0))(_corrections(self.outputs(weights, V)), V, (steps, exact))

        return jnp.sum(jax.vmap(at)(self.V, self.exact) ** 2)

    @eqx.filter_jit
    def normal(self, weights):
        """J^T J and J^T r, with J in three factors: error by correction by output by weight."""
        steps = jnp.asarray(STEPS)

        def at(V, exact):
            outputs, by_weight = self.outputs(weights, V), jax.jacrev(self.outputs)(weights, V)
            c, by_output = _corrections(outputs), jax.jacfwd(_corrections)(outputs)
            r = jax.vmap(_residual, (0, None, 0))(c, V, (steps, exact))
            by_correction = jax.vmap(jax.jacfwd(_residual), (0, None, 0))(c, V, (steps, exact))
            J = jnp.einsum("srk,sko->sro", by_correction, by_output)
            curvature, slope = jnp.einsum("sro,srp->op", J, J), jnp.einsum("sro,sr->o", J, r)
            return curvature @ by_weight, by_weight, slope @ by_weight

        curved, by_weight, slopes = jax.vmap(at)(self.V, self.exact)
        flat = (-1, by_weight.shape[-1])
        return by_weight.reshape(flat).T @ curved.reshape(flat), slopes.sum(axis=0)


def _corrections(outputs: Float[Array, " outputs"]) -> Float[Array, "steps exchanges"]:
    """At each of `STEPS`."""
    return jnp.stack(corrections(list(outputs), jnp.asarray(STEPS))).T


def _residual(c: Float[Array, " exchanges"], V: Float[Array, ""], step_and_exact) -> Float[Array, " entries"]:
    """Weighted errors of every entry of the map of one step."""
    dt, exact = step_and_exact
    rates, unit = transition_rates(V), jnp.eye(len(Occupancies._fields))
    weight = jnp.ones(len(unit)).at[Occupancies._fields.index("O")].set(OPEN_WEIGHT)
    columns = exchanged(rates, exchange_shares(rates, list(c), dt), Occupancies(*unit))
    return (weight[:, None] * (jnp.stack(columns) - exact)).ravel()


@jax.jit
def _damped_solution(curvature, slope, damping):
    diagonal = jnp.diag(curvature)
    damped = curvature + jnp.diag(damping * diagonal + RIDGE)
    return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(damped), slope)
