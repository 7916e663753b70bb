"""Gating of the fast sodium current as a part that can be exchanged, in the usual case V -> three relaxations."""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp

from ..cell import Scalar, parameter
from ..numerics import sigmoid
from ..relaxation import Relaxation


class SodiumRelaxations(NamedTuple):
    """Activation m, fast inactivation h1, slow inactivation h2 of I_Na = g_Na m^3 h1 h2 (V - E_Na)."""

    m: Relaxation
    h1: Relaxation
    h2: Relaxation


class AbstractSodiumGating(eqx.Module):
    """How Nav1.5 gates: whatever implements this can be the `sodium` of a cell.

    A gating whose m, h1 and h2 relax with coefficients of V alone implements `relaxations`. Any other implements
    `rates`, and where its states are others, `states`, `open_probability` and `initial`. Everything is elementwise: a
    cell's V is a number or an array of any shape.
    """

    states: ClassVar[tuple[str, ...]] = ("m", "h1", "h2")
    """Names of the states that it moves, which the cell's state then has. One of them is `m`, the activation: the late
    sodium current uses it too."""

    def __check_init__(self):
        ours = AbstractSodiumGating
        if type(self).relaxations is ours.relaxations and type(self).rates is ours.rates:
            raise ValueError(f"{type(self).__name__} does not say how it gates; allowed: with `relaxations` or `rates`")

    def relaxations(self, V) -> SodiumRelaxations:
        """Steady states (0 to 1) and time constants (ms) at V (mV)."""
        raise NotImplementedError(f"{type(self).__name__} has no relaxations of V alone: see its `rates`")

    def rates(self, V, y) -> dict[str, Any]:
        """For each of `states` its `Relaxation`, `Flow` or derivative (per ms) at V (mV) and the cell's state y."""
        return self.relaxations(V)._asdict()

    def open_probability(self, y):
        """What the current's conductance is multiplied by, 0 to 1, in the cell's state y."""
        return y.m**3 * y.h1 * y.h2

    def initial(self, y) -> dict[str, Any]:
        """For each of `states` its initial value, given the usual initial state y of the cell."""
        return {name: getattr(y, name) for name in self.states}


def activation(V, V_half, k) -> Relaxation:
    """Activation m of the human atrial model at V (mV): minus the half-activation potential and its slope, in mV."""
    tau = 0.01 + 0.13 * jnp.exp(-(((V + 48) / 15) ** 2)) + 0.045 * sigmoid((V + 42) / 5)
    return Relaxation(sigmoid((V + V_half) / k), tau)


class SkibsbyeSodiumGating(AbstractSodiumGating):
    """Analytic gating of the human atrial model, 37 C. V in mV, time constants in ms.

    Source: Skibsbye L et al., J Mol Cell Cardiol 2016;101:26-34 (constants as in `Skibsbye2016`).
    """

    m_V_half: Scalar = parameter(36.3, "mV", "minus the half-activation potential of I_Na")
    m_k: Scalar = parameter(7.8, "mV", "slope of the steady activation of I_Na")
    h_V_half: Scalar = parameter(67.0, "mV", "minus the half-inactivation potential of I_Na")
    h_k: Scalar = parameter(5.6, "mV", "slope of the steady inactivation of I_Na")

    def relaxations(self, V) -> SodiumRelaxations:
        h = sigmoid(-(V + self.h_V_half) / self.h_k)
        fast = 1 / (1 + jnp.exp((V + 41) / 5.5) + jnp.exp(-(V + 41) / 14))
        slow = sigmoid((V + 79) / 14)
        return SodiumRelaxations(
            m=activation(V, self.m_V_half, self.m_k),
            h1=Relaxation(h, 0.07 + 34 * fast + 0.2 * slow),
            h2=Relaxation(h, 0.7 + 150 * fast + 2 * slow),
        )
