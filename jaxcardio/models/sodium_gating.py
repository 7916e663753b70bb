"""Gating of the fast sodium current as a part that can be exchanged: V -> three relaxations."""

import abc
from typing import NamedTuple

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
    """How Nav1.5 gates: whatever implements this can be the `sodium` of a cell."""

    @abc.abstractmethod
    def relaxations(self, V) -> SodiumRelaxations:
        """Steady states (0 to 1) and time constants (ms) at V (mV), elementwise."""


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
        tau_m = 0.01 + 0.13 * jnp.exp(-(((V + 48) / 15) ** 2)) + 0.045 * sigmoid((V + 42) / 5)
        return SodiumRelaxations(
            m=Relaxation(sigmoid((V + self.m_V_half) / self.m_k), tau_m),
            h1=Relaxation(h, 0.07 + 34 * fast + 0.2 * slow),
            h2=Relaxation(h, 0.7 + 150 * fast + 2 * slow),
        )
