"""Equations that the models of ten Tusscher et al. 2004 and ten Tusscher & Panfilov 2006 have in common.

A model that uses them has the parameters that they read, under the same names. Numbers of equations are the 2004
paper's.
"""

from math import exp
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from ..cell import Scalar
from ..numerics import nernst, of_one_variable, sigmoid
from ..relaxation import Relaxation

Variant = Literal["M", "epi", "endo"]


def membrane_currents(cell: Any, y: Any, I_CaL, RT_F) -> dict[str, Scalar]:
    """Every current through the membrane, pA/pF, given the one that the two models have a different equation for."""
    V = y.V
    E_Na = nernst(1, y.Na_i, cell.Na_o, RT_F)
    E_K = nernst(1, y.K_i, cell.K_o, RT_F)
    E_Ca = nernst(2, y.Ca_i, cell.Ca_o, RT_F)
    E_Ks = nernst(1, y.K_i + cell.P_kna * y.Na_i, cell.K_o + cell.P_kna * cell.Na_o, RT_F)
    u = V - E_K
    phi = V * (1 / RT_F)
    sqrt_K_o = jnp.sqrt(cell.K_o / 5.4)

    forward = jnp.exp(cell.gamma_NaCa * phi)
    down = jnp.exp(-phi)
    reverse = forward * down
    I_NaCa = (
        cell.K_NaCa
        * (forward * y.Na_i**3 * cell.Ca_o - reverse * cell.Na_o**3 * y.Ca_i * cell.alpha_NaCa)
        / ((cell.Km_Nai**3 + cell.Na_o**3) * (cell.Km_Ca + cell.Ca_o) * (1 + cell.K_sat * reverse))
    )
    pump_steps = (cell.K_o + cell.K_mk) * (y.Na_i + cell.K_mNa) * (1 + 0.1245 * jnp.exp(-0.1 * phi) + 0.0353 * down)
    I_NaK = cell.P_NaK * cell.K_o * y.Na_i / pump_steps
    return dict(
        I_Na=cell.g_Na * y.m**3 * y.h * y.j * (V - E_Na),
        I_K1=cell.g_K1 * sqrt_K_o * _inward_rectification(u),
        I_Kr=cell.g_Kr * sqrt_K_o * y.Xr1 * y.Xr2 * u,
        I_Ks=cell.g_Ks * y.Xs**2 * (V - E_Ks),
        I_to=cell.g_to * y.r * y.s * u,
        I_CaL=I_CaL,
        I_b_Na=cell.g_b_Na * (V - E_Na),
        I_b_Ca=cell.g_b_Ca * (V - E_Ca),
        I_NaK=I_NaK,
        I_NaCa=I_NaCa,
        I_p_Ca=cell.g_p_Ca * y.Ca_i / (y.Ca_i + cell.K_pCa),
        I_p_K=cell.g_p_K * u * sigmoid((V - 25) / 5.98),
    )


CONDUCTANCES = {
    "I_Na": "g_Na",
    "I_K1": "g_K1",
    "I_Kr": "g_Kr",
    "I_Ks": "g_Ks",
    "I_to": "g_to",
    "I_CaL": "g_CaL",
    "I_b_Na": "g_b_Na",
    "I_b_Ca": "g_b_Ca",
    "I_NaK": "P_NaK",
    "I_NaCa": "K_NaCa",
    "I_p_Ca": "g_p_Ca",
    "I_p_K": "g_p_K",
}
"""The parameter that scales each of `membrane_currents`."""


@of_one_variable
def _inward_rectification(u):
    """u alpha / (alpha + beta) of I_K1, u = V - E_K: alpha = 0.1 / closed, beta = 0.1 inward / b."""
    up = jnp.exp(0.02 * u)
    b = 0.1 * (1 + jnp.exp(-0.5 * u))
    inward = 3 * jnp.exp(0.0002 * (u + 100)) + exp(-1) * up**5
    closed = 1 + exp(-12) * up**3
    return u * b / (b + inward * closed)


def sodium_and_potassium(i: Any, i_stim, mM_per_ms) -> dict[str, Scalar]:
    """Derivatives of the two concentrations, mM/ms, under the currents `i`; the stimulus is carried by potassium."""
    I_K = i.I_K1 + i.I_to + i.I_Kr + i.I_Ks + i.I_p_K + i_stim - 2 * i.I_NaK
    return dict(Na_i=-(i.I_Na + i.I_b_Na + 3 * i.I_NaK + 3 * i.I_NaCa) * mM_per_ms, K_i=-I_K * mM_per_ms)


def free_share(Ca, buffer, K):
    """Share of a change of total calcium that stays free: 1 / (1 + buffer K / (Ca + K)^2)."""
    square = (Ca + K) ** 2
    return square / (square + buffer * K)


class Powers(NamedTuple):
    """Exponentials of V that occur in many gates: `up_20` is exp(V/20), `down_20` its inverse."""

    up_20: Any
    up_10: Any
    up_5: Any
    down_20: Any
    down_10: Any
    down_5: Any
    up_14: Any
    up_7: Any


def powers(V) -> Powers:
    """exp(V/5), exp(V/10) and exp(V/20) occur in eleven places and come from one exponential, those of 7 and 14 too."""
    up_20 = jnp.exp(V / 20)
    up_10 = up_20**2
    down_20 = 1 / up_20
    down_10 = down_20**2
    up_14 = jnp.exp(V / 14)
    return Powers(
        up_20=up_20,
        up_10=up_10,
        up_5=up_10**2,
        down_20=down_20,
        down_10=down_10,
        down_5=down_10**2,
        up_14=up_14,
        up_7=up_14**2,
    )


def shared_gates(V, e: Powers, variant: Variant) -> dict[str, Relaxation]:
    """The seven gates that depend on V in the same way in both models.

    Time constants are written as rates. One that is a product of 1/(1 + e) terms has a rate without divisions, a sum of
    them one with one: a step would else have sixty divisions and as many exponentials, and they are two thirds of its
    cost.
    """
    h, j = _sodium_inactivation(V)
    m_a, m_b, m_c = 1 + exp(-12) * e.down_5, 1 + exp(7) * e.up_5, 1 + jnp.exp((V - 50) / 200)
    if variant == "endo":
        s = Relaxation(1 / (1 + exp(5.6) * e.up_5), 1000 * jnp.exp(-((V + 67) ** 2) / 1000) + 8)
    else:
        s = Relaxation(
            1 / (1 + exp(4) * e.up_5), rate=one_over(5, 1 + exp(-4) * e.up_5, 85 * jnp.exp(-((V + 45) ** 2) / 320) + 3)
        )
    return dict(
        # tau_m = 1/a (0.1/b + 0.1/c)
        m=Relaxation(sigmoid((V + 56.86) / 9.03) ** 2, rate=10 * m_a * m_b * m_c / (m_b + m_c)),
        h=h,
        j=j,
        r=Relaxation(sigmoid((V - 20) / 6), 9.5 * jnp.exp(-((V + 40) ** 2) / 1800) + 0.8),
        s=s,
        Xr1=Relaxation(
            e.up_7 / (e.up_7 + exp(-26 / 7)), rate=(1 + exp(-4.5) * e.down_10) * (1 + jnp.exp((V + 30) / 11.5)) / 2700
        ),
        Xr2=Relaxation(sigmoid(-(V + 88) / 24), rate=(1 + exp(-3) * e.down_20) * (1 + exp(-3) * e.up_20) / 3.36),
    )


def rate_d(V, e: Powers):
    """1 / tau_d: tau_d = (1.4/a + 0.25) 1.4/b + 1/c."""
    a, b, c = 1 + jnp.exp(-(V + 35) / 13), 1 + exp(1) * e.up_5, 1 + exp(2.5) * e.down_20
    return a * b * c / ((1.96 + 0.35 * a) * c + a * b)


def steady_f(e: Powers):
    """Steady voltage-dependent inactivation of I_CaL, half at -20 mV."""
    return 1 / (1 + exp(20 / 7) * e.up_7)


def steady_Xs(e: Powers):
    """Steady activation of I_Ks, half at -5 mV."""
    return e.up_14 / (e.up_14 + exp(-5 / 14))


def one_over(height, over, floor):
    """1 / (height / over + floor)."""
    return over / (height + floor * over)


def _sodium_inactivation(V) -> tuple[Relaxation, Relaxation]:
    """h and j: one steady state; rates jump at -40 mV.

    Exponentials that have a like on the other side of the jump are taken once, of the exponent of V's own side. Those
    that have none see V from below only, where they do not overflow.
    """
    below = V < -40
    low = jnp.minimum(V, -40.0)
    h_1 = jnp.exp(jnp.where(below, -(V + 80) / 6.8, -(V + 10.66) / 11.1))
    j_1 = jnp.exp(jnp.where(below, 0.2444, 0.057) * V)
    j_2 = 1 + jnp.exp(jnp.where(below, 0.311 * (V + 79.23), -0.1 * (V + 32)))
    j_3 = 1 + jnp.exp(-0.1378 * (low + 40.14))
    # j below: alpha = (...)(V + 37.78) / j_2, beta = 0.02424 exp(-0.01052 V) / j_3.
    numerator = (-2.5428e4 * j_1 - 6.948e-6 * jnp.exp(-0.04391 * low)) * (low + 37.78) * j_3
    numerator = numerator + 0.02424 * jnp.exp(-0.01052 * low) * j_2
    alpha_plus_beta_h = 0.057 * h_1 + 2.7 * jnp.exp(0.079 * low) + 3.1e5 * jnp.exp(0.3485 * low)
    rate_h = jnp.where(below, alpha_plus_beta_h, 0.77 / 0.13 / (1 + h_1))
    rate_j = jnp.where(below, numerator, 0.6 * j_1) / (j_2 * jnp.where(below, j_3, 1))
    steady = sigmoid(-(V + 71.55) / 7.43) ** 2
    return Relaxation(steady, rate=rate_h), Relaxation(steady, rate=rate_j)
