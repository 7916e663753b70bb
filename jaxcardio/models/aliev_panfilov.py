"""Aliev & Panfilov 1996: two-variable excitable medium, and the single-cell form of a physics-informed study."""

from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from ..cell import AbstractCell, Scalar, parameter
from ..numerics import sigmoid
from ..relaxation import Relaxation


class AlievPanfilovState(NamedTuple):
    u: Scalar
    v: Scalar


class AlievPanfilovModifiedState(NamedTuple):
    v: Scalar
    w: Scalar


class AlievPanfilovCurrents(NamedTuple):
    I_fast: Scalar
    I_slow: Scalar
    I_ion_total: Scalar


class AlievPanfilov1996(AbstractCell):
    """Potential u, recovery v; everything dimensionless: 1 time unit (t.u.) is 12.9 ms and E = 100 u - 80 mV.

    Source: Aliev RR, Panfilov AV, Chaos Solitons Fractals 1996;7:293-301, doi 10.1016/0960-0779(95)00089-5, without
    diffusion. The time `t`, protocols and rates are in t.u. where other cells have ms. u must stay above -mu2. As in
    every cell here a depolarising stimulus is negative: du/dt = -(I_ion_total + i_stim).
    """

    k: Scalar = parameter(8.0, "1/t.u.", "excitation rate")
    a: Scalar = parameter(0.15, "1", "excitation threshold")
    eps0: Scalar = parameter(0.002, "1/t.u.", "recovery rate at v = 0")
    mu1: Scalar = parameter(0.2, "1/t.u.", "increase of the recovery rate with v/(u + mu2)")
    mu2: Scalar = parameter(0.3, "1", "offset of u in the recovery rate")

    units: ClassVar[dict[str, str]] = {"u": "1", "v": "1", **dict.fromkeys(AlievPanfilovCurrents._fields, "1/t.u.")}
    conductances: ClassVar[dict[str, str]] = {}
    potential: ClassVar[str] = "u"

    def initial_state(self) -> AlievPanfilovState:
        """Rest."""
        zero = jnp.zeros((), self.k.dtype)
        return AlievPanfilovState(u=zero, v=zero)

    def currents(self, y: AlievPanfilovState) -> AlievPanfilovCurrents:
        return _currents(y.u, y.v, self.k, self.a)

    def rates(self, t, y: AlievPanfilovState, i_stim) -> AlievPanfilovState:
        u, v = y
        eps = self.eps0 + self.mu1 * v / (u + self.mu2)
        return AlievPanfilovState(
            u=-(self.currents(y).I_ion_total + i_stim),
            v=Relaxation(-self.k * u * (u - self.a - 1), rate=eps),
        )


class AlievPanfilovModified(AbstractCell):
    """Potential v, recovery w, whose rate depends on v alone and falls from x to 1 - x above the threshold a.

    Source: the single-cell form that physics-informed reconstruction of action potentials fits to recordings;
    dimensionless as `AlievPanfilov1996`. With w eliminated it is one equation of second order in v.
    A depolarising stimulus is negative: dv/dt = -(I_ion_total + i_stim).
    """

    k: Scalar = parameter(8.0, "1/t.u.", "excitation rate")
    a: Scalar = parameter(0.15, "1", "excitation threshold")
    x: Scalar = parameter(0.9, "1/t.u.", "recovery rate below the threshold; above it the rate is 1 - x")
    n: Scalar = parameter(1000.0, "1", "steepness of the change of recovery rate at the threshold")

    units: ClassVar[dict[str, str]] = {"v": "1", "w": "1", **dict.fromkeys(AlievPanfilovCurrents._fields, "1/t.u.")}
    conductances: ClassVar[dict[str, str]] = {}
    potential: ClassVar[str] = "v"

    def initial_state(self) -> AlievPanfilovModifiedState:
        """Almost at rest: v = 0 itself is invariant, which leaves the equation in v alone without a meaning."""
        return AlievPanfilovModifiedState(v=jnp.asarray(1e-3, self.k.dtype), w=jnp.zeros((), self.k.dtype))

    def currents(self, y: AlievPanfilovModifiedState) -> AlievPanfilovCurrents:
        return _currents(y.v, y.w, self.k, self.a)

    def recovery_rate(self, v):
        """eps(v) (1/t.u.): x below the threshold, 1 - x above."""
        return self.x + (1 - 2 * self.x) * sigmoid(self.n * (v - self.a))

    def rates(self, t, y: AlievPanfilovModifiedState, i_stim) -> AlievPanfilovModifiedState:
        return AlievPanfilovModifiedState(
            v=-(self.currents(y).I_ion_total + i_stim),
            w=Relaxation(self.k * y.v, rate=self.recovery_rate(y.v)),
        )


def _currents(potential, recovery, k, a) -> AlievPanfilovCurrents:
    I_fast = -k * potential * (1 - potential) * (potential - a)
    I_slow = potential * recovery
    return AlievPanfilovCurrents(I_fast, I_slow, I_fast + I_slow)
