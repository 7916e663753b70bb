"""The calcium of the atrial cell as a small neural ODE: four hidden states for 24."""

from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...annotations import typed
from ...arguments import check_seed, check_whole
from ...cell import AbstractWrappedCell, dtype_of
from ...models.skibsbye import V_SS, Skibsbye2016, ss_buffering
from ...protocols import PulseTrain, Sampled
from ...relaxation import Relaxation
from ...simulation.simulate import simulate
from ...solvers import RushLarsen, RushLarsenMidpoint
from .calcium import check_clamps, state_of
from .gates import dense

HIDDEN = ("hidden_1", "hidden_2", "hidden_3", "hidden_4")
GONE = ("RyR_", "SERCA_", "Ca_i", "Ca_SR")
"""How the names of the states begin that it has not."""
TAUS = (4.0, 20.0, 100.0, 800.0)
"""ms, of the hidden states before training."""


class LearnedCalcium(AbstractWrappedCell):
    """`Skibsbye2016` whose shells, stores, receptors and pumps are a network: 24 states in place of 44.

    From V, log Ca_ss and four hidden states, one layer of tanh gives the rate at which the inner cell fills the
    subspace and what each hidden state (-1 to 1) relaxes to. Membrane and buffers are the equations. Fluxes J of
    `currents` mean nothing here: their states are gone.
    """

    cell: Skibsbye2016  # pyright: ignore[reportIncompatibleVariableOverride]
    layers: tuple[eqx.nn.Linear, eqx.nn.Linear]
    log_rates: Float[Array, " hidden"]

    def __init__(self, cell: Skibsbye2016, width: int, key):
        dtype = dtype_of(cell)
        one, two = jax.random.split(key)
        n = len(HIDDEN)
        last = eqx.nn.Linear(width, 1 + n, key=two, dtype=dtype)
        self.layers = eqx.nn.Linear(2 + n, width, key=one, dtype=dtype), last
        self.log_rates = -jnp.log(jnp.asarray(TAUS, dtype))
        self.cell = cell  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def units(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.cell.units | dict.fromkeys(HIDDEN, "1")

    def initial_state(self):
        y = self.cell.initial_state()
        return _reduced(y._asdict() | dict.fromkeys(HIDDEN, jnp.zeros_like(y.V)))

    def currents(self, y):
        return self.cell.currents(self._full(y))

    def rates(self, t, y, i_stim):
        full = self._full(y)
        r = self.cell.rates(t, full, i_stim)._asdict()
        single = self.log_rates.dtype  # the network may have less precision than the cell
        seen = [(y.V + 40) / 40, jnp.log(y.Ca_ss.astype(single) / 4e-4), *(getattr(y, name) for name in HIDDEN)]
        units = [jnp.tanh(unit) for unit in dense(self.layers[0], [x.astype(single) for x in seen])]
        filling, *steady = (x.astype(y.V.dtype) for x in dense(self.layers[1], units))
        influx = self.cell.calcium_influx(self.cell.currents(full)) / V_SS / (1 + ss_buffering(y.Ca_ss))
        r["Ca_ss"] = influx + 0.1 * y.Ca_ss * filling
        rates = jnp.exp(self.log_rates).astype(y.V.dtype)
        for k, name in enumerate(HIDDEN):
            r[name] = Relaxation(jnp.tanh(steady[k]), rate=jnp.broadcast_to(rates[k], jnp.shape(y.V)))
        return _reduced(r)

    def _full(self, y):
        """The full state, what is gone as the cell's initial state has it."""
        full = self.cell.initial_state()
        return full._replace(**{name: x for name, x in y._asdict().items() if name not in HIDDEN})


def _reduced(states: dict[str, Any]):
    """What is left of the full state, or of its rates, with the hidden states."""
    left = {name: x for name, x in states.items() if not name.startswith(GONE)}
    return state_of("LearnedState", tuple(left))(**left)


@typed
def fit_learned_calcium(
    cell: Skibsbye2016,
    cycle_lengths: tuple[float, ...] = (600.0, 1300.0),
    *,
    beats: int = 3,
    width: int = 8,
    steps: int = 60,
    seed: int = 0,
) -> tuple[LearnedCalcium, Float[np.ndarray, " steps"]]:
    """`LearnedCalcium` of `cell`, trained through the solver on action-potential clamps; and its error at each step.

    The cell's own potential at each cycle length is the command. The residual is that of log Ca_ss, of all beats but
    the first (hidden states begin at 0); the error is the root of its mean square. Levenberg-Marquardt with forward
    derivatives of whole runs.
    """
    check_clamps(cycle_lengths, beats, 2)
    check_whole("width", width, "units")
    check_whole("steps", steps, "steps")
    check_seed(seed)
    clamps = []
    for period in cycle_lengths:
        run = simulate(
            cell, PulseTrain(-11.5, 2.0, period), t1=beats * period, dt=0.1, solver=RushLarsenMidpoint(),
            save_every=0.5, outputs=["V", "Ca_ss"],
        )  # fmt: skip
        late = slice(round(period / 5), None)
        clamps.append((Sampled(run.ts, run.V), beats * period, np.asarray(jnp.log(run.ys.Ca_ss))[::10][late], late))
    begin = LearnedCalcium(cell, width, jax.random.key(seed))
    trained = (begin.layers, begin.log_rates)
    theta, restore = jax.flatten_util.ravel_pytree(eqx.filter(trained, eqx.is_inexact_array))
    static = eqx.filter(trained, eqx.is_inexact_array, inverse=True)

    def learned(theta) -> LearnedCalcium:
        layers, log_rates = eqx.combine(restore(theta), static)
        return eqx.tree_at(lambda c: (c.layers, c.log_rates), begin, (layers, log_rates))

    def residual(theta):
        errors = []
        for command, t1, target, late in clamps:
            run = simulate(
                learned(theta), command, t1=t1, dt=0.5, solver=RushLarsen(), save_every=5.0, outputs=["Ca_ss"]
            )
            errors.append(jnp.log(jnp.maximum(run.ys.Ca_ss[late], 1e-6)) - target)
        return jnp.concatenate(errors)

    only, both = jax.jit(residual), jax.jit(lambda theta: (residual(theta), jax.jacfwd(residual)(theta)))
    damping, history = 1.0, []
    error, slope = both(theta)
    for _ in range(steps):
        normal = slope.T @ slope
        step = jnp.linalg.solve(normal + damping * jnp.eye(len(theta), dtype=theta.dtype), -slope.T @ error)
        after = only(theta + step)
        if jnp.sum(after**2) < jnp.sum(error**2):
            theta, damping = theta + step, damping / 3
            error, slope = both(theta)
        else:
            damping = damping * 4
        history.append(float(jnp.sqrt(jnp.mean(error**2))))
    return learned(theta), np.asarray(history)
