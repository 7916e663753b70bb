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


def frozen_while_rising(gate, steady, tau, V, gap=None) -> Relaxation:
    """Relaxation that stands still while it would rise above -60 mV: such a gate recovers only near rest.

    `gap` is steady - gate where that is known to more digits than their difference has.
    """
    frozen = (steady > gate) & (V > -60)
    return Relaxation(jnp.where(frozen, gate, steady), tau, None if gap is None else jnp.where(frozen, 0, gap))
