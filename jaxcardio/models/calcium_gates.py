"""Calcium-dependent gates that more than one model uses (ten Tusscher 2004 and the models built on it)."""

import jax.numpy as jnp

from ..numerics import sigmoid
from ..relaxation import Relaxation


def fCa_steady(Ca):
    """Steady calcium-dependent inactivation of I_CaL (ten Tusscher 2004); `Ca` in mM."""
    return (
        1 / (1 + (Ca / 0.000325) ** 8)
        + 0.1 * sigmoid((0.0005 - Ca) / 0.0001)
        + 0.2 * sigmoid((0.00075 - Ca) / 0.0008)
        + 0.23
    ) / 1.46


def frozen_while_rising(gate, steady, tau, V) -> Relaxation:
    """Relaxation that stands still while it would rise above -60 mV: such a gate recovers only near rest."""
    frozen = (steady > gate) & (V > -60)
    return Relaxation(jnp.where(frozen, gate, steady), tau)
