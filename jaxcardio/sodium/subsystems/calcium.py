"""The calcium of the atrial cell with fewer states: shells 1 to 3 as one, the structure kept."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...annotations import typed
from ...arguments import check, check_whole
from ...cell import AbstractWrappedCell
from ...models.skibsbye import (
    SR_FRACTION,
    V_1,
    V_2,
    V_3,
    V_4,
    Skibsbye2016,
    buffering,
    sr_buffering,
)
from ...protocols import PulseTrain
from ...simulation.simulate import simulate
from ...solvers import RushLarsenMidpoint

SLOW_CALCIUM = (
    *(f"{state}_{k}" for state in ("RyR_o", "RyR_c", "RyR_a", "SERCA_Ca") for k in (1, 2, 3)),
    *(f"{store}{k}" for store in ("Ca_i", "Ca_SR") for k in (1, 2, 3, 4)),
    "RyR_a_ss",
    "Na_i",
    "K_i",
)
"""States of `Skibsbye2016` that a `Multirate` step of 0.5 to 1 ms follows as well as one of 0.1 ms: the calcium of all
shells and stores with the receptors and pumps of shells 1 to 3, and the bulk sodium and potassium."""
DEEP = ("Ca_i", "Ca_SR", "RyR_o_", "RyR_c_", "RyR_a_", "SERCA_Ca_")
GONE = tuple(f"{state}{k}" for state in DEEP for k in (1, 2))
SHARES = np.array([V_1, V_2, V_3]) / (V_1 + V_2 + V_3)
"""Of the three shells in their volume."""


@functools.cache
def state_of(name: str, fields: tuple[str, ...]) -> Any:
    """The type of a state with these fields, always the same one."""
    return NamedTuple(name, [(field, Array) for field in fields])  # pyright: ignore[reportArgumentType]


class LumpedCalcium(AbstractWrappedCell):
    """`Skibsbye2016` with its three inner shells as one: 12 states fewer. V, Ca_ss and shell 4 are as they were.

    In its state, what is named 3 stands for shells 1 to 3.

    `exchange` and `exchange_SR` scale diffusion between the lump and shell 4, to both sides alike (1: that of shells 3
    and 4, though the lump's middle is deeper); release from the lump's store is the cell's own `nu_bulk`.
    """

    cell: Skibsbye2016  # pyright: ignore[reportIncompatibleVariableOverride]
    exchange: Float[Array, ""] = eqx.field(default=1.0, converter=jnp.asarray)
    exchange_SR: Float[Array, ""] = eqx.field(default=1.0, converter=jnp.asarray)

    def initial_state(self):
        y = self.cell.initial_state()._asdict()
        means = {f"{state}3": sum(SHARES[k] * y[f"{state}{k + 1}"] for k in range(3)) for state in DEEP}
        return _lumped(y | means)

    def currents(self, y):
        return self.cell.currents(self._spread(y))

    def rates(self, t, y, i_stim):
        full = self._spread(y)
        r, i = self.cell.rates(t, full, i_stim), self.cell.currents(full)
        # Shell 1 is surrounded by its like, so all that moves it is its own sources; what shell 3 has beyond them is
        # its exchange with shell 4, of which the lump has the share of shell 3's volume.
        from_ss = i.J_j_nj / V_4 / (1 + buffering(y.Ca_i4))
        into_SR4 = (i.J_SERCA_SR_ss - i.J_leak_ss - i.J_rel_ss) / V_4 / SR_FRACTION / (1 + sr_buffering(y.Ca_SR4))
        found = r._asdict() | dict(
            Ca_i3=r.Ca_i1 + self.exchange * SHARES[2] * (r.Ca_i3 - r.Ca_i1),
            Ca_SR3=r.Ca_SR1 + self.exchange_SR * SHARES[2] * (r.Ca_SR3 - r.Ca_SR1),
            Ca_i4=from_ss + self.exchange * (r.Ca_i4 - from_ss),
            Ca_SR4=into_SR4 + self.exchange_SR * (r.Ca_SR4 - into_SR4),
        )
        return _lumped(found)

    def _spread(self, y):
        """The full state, with shells 1 and 2 as the lump."""
        deep = {name: getattr(y, name[:-1] + "3") for name in GONE}
        return type(self.cell.initial_state())(**y._asdict(), **deep)


def _lumped(states: dict[str, Any]):
    """What is left of the full state, or of its rates."""
    left = {name: x for name, x in states.items() if name not in GONE}
    return state_of("LumpedState", tuple(left))(**left)


def check_clamps(cycle_lengths: tuple[float, ...], beats: int, least: int) -> None:
    """A ValueError unless these are paced runs that something can be fitted to."""
    allowed = "one or more of 100 to 10000 ms"
    check("cycle_lengths", list(cycle_lengths), "ms", allowed, lambda x: (x >= 100) & (x <= 1e4) & (x.size > 0))
    check_whole("beats", beats, "beats", least)


@typed
def fit_lumped(cell: Skibsbye2016, cycle_lengths: tuple[float, ...] = (600.0, 1300.0), beats: int = 3) -> LumpedCalcium:
    """`LumpedCalcium` of `cell` with both exchanges and nu_bulk fitted to its V and Ca_ss, through the solver.

    Gauss-Newton on log parameters, by forward derivatives of whole runs; errors of V in mV and of log Ca_ss times 10.
    """
    check_clamps(cycle_lengths, beats, 1)
    runs = [(PulseTrain(-11.5, 2.0, period), beats * period) for period in cycle_lengths]

    def observed(cell):
        found = [
            simulate(cell, pacing, t1=t1, dt=0.1, solver=RushLarsenMidpoint(), save_every=5.0, outputs=["V", "Ca_ss"])
            for pacing, t1 in runs
        ]
        return jnp.concatenate([part for run in found for part in (run.V, 10 * jnp.log(run.ys.Ca_ss))])

    target = observed(cell)

    def lumped(theta):
        inner = cell.replace(nu_bulk=cell.nu_bulk * jnp.exp(theta[0]))
        return LumpedCalcium(inner, jnp.exp(theta[1]), jnp.exp(theta[2]))

    def residual(theta):
        return observed(lumped(theta)) - target

    both = jax.jit(lambda theta: (residual(theta), jax.jacfwd(residual)(theta)))
    theta = jnp.zeros(3, target.dtype)
    for _ in range(5):
        error, slope = both(theta)
        step = jnp.linalg.lstsq(slope, -error)[0]
        theta = theta + jnp.clip(step, -0.5, 0.5)
    return lumped(theta)
