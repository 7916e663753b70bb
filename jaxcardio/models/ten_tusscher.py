"""ten Tusscher, Noble, Noble & Panfilov 2004: human ventricular myocyte."""

from math import exp
from typing import ClassVar, Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import ArrayLike

from ..cell import AbstractCell, Scalar, initialise, parameter
from ..numerics import ghk_current, nernst, numbers, of_one_variable, sigmoid
from ..relaxation import Relaxation
from .calcium_gates import fCa_steady, frozen_while_rising

Variant = Literal["M", "epi", "endo"]
VARIANTS: dict[str, dict[str, float]] = {
    "M": {"g_Ks": 0.062, "g_to": 0.294},
    "epi": {"g_Ks": 0.245, "g_to": 0.294},
    "endo": {"g_Ks": 0.245, "g_to": 0.073},
}


class TenTusscherState(NamedTuple):
    V: Scalar
    m: Scalar
    h: Scalar
    j: Scalar
    d: Scalar
    f: Scalar
    fCa: Scalar
    r: Scalar
    s: Scalar
    Xs: Scalar
    Xr1: Scalar
    Xr2: Scalar
    g: Scalar
    Ca_i: Scalar
    Ca_SR: Scalar
    Na_i: Scalar
    K_i: Scalar


class TenTusscherCurrents(NamedTuple):
    I_Na: Scalar
    I_K1: Scalar
    I_Kr: Scalar
    I_Ks: Scalar
    I_to: Scalar
    I_CaL: Scalar
    I_b_Na: Scalar
    I_b_Ca: Scalar
    I_NaK: Scalar
    I_NaCa: Scalar
    I_p_Ca: Scalar
    I_p_K: Scalar
    I_rel: Scalar
    I_up: Scalar
    I_leak: Scalar
    I_ion_total: Scalar


class TenTusscher2004(AbstractCell):
    """Human ventricular myocyte, 37 C: M cell (default), epicardial or endocardial. ms, mV, mM, pA/pF.

    Source: ten Tusscher KHWJ et al., Am J Physiol Heart Circ Physiol 2004;286:H1573-H1589,
    doi 10.1152/ajpheart.00794.2003. Equation and table numbers below are that paper's.

    Args:
        variant: "M", "epi" or "endo"; sets g_Ks, g_to and the form of the s gate.
        **parameters: any parameter, by name, in the unit that `parameters()` lists.
    """

    g_Na: Scalar = parameter(14.838, "nS/pF", "fast sodium conductance, Table 2")
    g_K1: Scalar = parameter(5.405, "nS/pF", "inward rectifier conductance, Table 2")
    g_Kr: Scalar = parameter(0.096, "nS/pF", "rapid delayed rectifier conductance, Table 2")
    g_Ks: Scalar = parameter(
        0.062, "nS/pF", "slow delayed rectifier conductance (M 0.062, epi and endo 0.245), Table 2"
    )
    g_to: Scalar = parameter(0.294, "nS/pF", "transient outward conductance (epi and M 0.294, endo 0.073), Table 2")
    g_CaL: Scalar = parameter(1.75e-4, "cm^3/(uF s)", "L-type calcium permeability, Table 2")
    g_b_Na: Scalar = parameter(0.00029, "nS/pF", "background sodium conductance, Table 2")
    g_b_Ca: Scalar = parameter(0.000592, "nS/pF", "background calcium conductance, Table 2")
    g_p_Ca: Scalar = parameter(0.825, "pA/pF", "sarcolemmal calcium pump maximum, Table 2")
    g_p_K: Scalar = parameter(0.0146, "nS/pF", "plateau potassium conductance, Table 2")
    P_NaK: Scalar = parameter(1.362, "pA/pF", "sodium-potassium pump maximum, Table 2")
    K_NaCa: Scalar = parameter(1000.0, "pA/pF", "sodium-calcium exchanger maximum, Table 2")
    K_o: Scalar = parameter(5.4, "mM", "extracellular potassium")
    Na_o: Scalar = parameter(140.0, "mM", "extracellular sodium")
    Ca_o: Scalar = parameter(2.0, "mM", "extracellular calcium")
    F: Scalar = parameter(96485.3415, "C/mol", "Faraday constant")
    R: Scalar = parameter(8314.472, "mJ/(mol K)", "gas constant")
    T: Scalar = parameter(310.0, "K", "temperature of the reversal potentials")
    P_kna: Scalar = parameter(0.03, "1", "relative sodium permeability of I_Ks, Table 2")
    K_mk: Scalar = parameter(1.0, "mM", "potassium half-saturation of the pump, Table 2")
    K_mNa: Scalar = parameter(40.0, "mM", "sodium half-saturation of the pump, Table 2")
    Km_Ca: Scalar = parameter(1.38, "mM", "calcium half-saturation of the exchanger, Table 2")
    Km_Nai: Scalar = parameter(87.5, "mM", "sodium half-saturation of the exchanger, Table 2")
    K_sat: Scalar = parameter(0.1, "1", "saturation of the exchanger, Table 2")
    alpha_NaCa: Scalar = parameter(2.5, "1", "outward enhancement of the exchanger, Table 2")
    gamma_NaCa: Scalar = parameter(0.35, "1", "voltage dependence of the exchanger, Table 2")
    K_pCa: Scalar = parameter(0.0005, "mM", "half-saturation of the calcium pump, Table 2")
    a_rel: Scalar = parameter(0.016464, "mM/ms", "maximal calcium-dependent release, Table 2")
    b_rel: Scalar = parameter(0.25, "mM", "half-saturation of the release, Table 2")
    c_rel: Scalar = parameter(0.008232, "mM/ms", "calcium-independent release, Table 2")
    K_up: Scalar = parameter(0.00025, "mM", "half-saturation of the uptake, Table 2")
    V_leak: Scalar = parameter(8e-5, "1/ms", "leak rate, Table 2")
    Vmax_up: Scalar = parameter(0.000425, "mM/ms", "maximal uptake, Table 2")
    Buf_c: Scalar = parameter(0.15, "mM", "cytosolic buffer, Table 2")
    K_buf_c: Scalar = parameter(0.001, "mM", "half-saturation of the cytosolic buffer, Table 2")
    Buf_sr: Scalar = parameter(10.0, "mM", "SR buffer, Table 2")
    K_buf_sr: Scalar = parameter(0.3, "mM", "half-saturation of the SR buffer, Table 2")
    V_c: Scalar = parameter(0.016404, "nL", "cytosolic volume, used as C_m/(V_c F)")
    V_sr: Scalar = parameter(0.001094, "nL", "SR volume, used as V_c/V_sr")
    C_m: Scalar = parameter(0.185, "uF/cm^2", "capacitance, used as C_m/(V_c F)")
    tau_fCa: Scalar = parameter(2.0, "ms", "time constant of fCa")
    tau_g: Scalar = parameter(2.0, "ms", "time constant of the release gate g")
    variant: Variant = eqx.field(static=True, default="M")

    units: ClassVar[dict[str, str]] = {
        **dict.fromkeys(TenTusscherState._fields, "1"),
        **dict.fromkeys(("Ca_i", "Ca_SR", "Na_i", "K_i"), "mM"),
        **dict.fromkeys(TenTusscherCurrents._fields, "pA/pF"),
        **dict.fromkeys(("I_rel", "I_up", "I_leak"), "mM/ms"),
        "V": "mV",
    }
    conductances: ClassVar[dict[str, str]] = {
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
    potential: ClassVar[str] = "V"

    def __init__(self, variant: Variant = "M", **parameters: ArrayLike):
        if variant not in VARIANTS:
            raise ValueError(f"variant = {variant!r}; allowed: {', '.join(VARIANTS)}")
        initialise(self, {**VARIANTS[variant], **parameters}, variant=variant)

    def initial_state(self) -> TenTusscherState:
        state = TenTusscherState(
            V=-86.2, m=0.0, h=0.75, j=0.75, d=0.0, f=1.0, fCa=1.0, r=0.0, s=1.0, Xs=0.0, Xr1=0.0, Xr2=1.0, g=1.0,
            Ca_i=2e-4, Ca_SR=0.2, Na_i=11.6, K_i=138.3,
        )  # fmt: skip
        return TenTusscherState(*numbers(state, self.g_Na.dtype))

    def currents(self, y: TenTusscherState) -> TenTusscherCurrents:
        V = y.V
        RT_F = self.R * self.T / self.F
        E_Na = nernst(1, y.Na_i, self.Na_o, RT_F)
        E_K = nernst(1, y.K_i, self.K_o, RT_F)
        E_Ca = nernst(2, y.Ca_i, self.Ca_o, RT_F)
        E_Ks = nernst(1, y.K_i + self.P_kna * y.Na_i, self.K_o + self.P_kna * self.Na_o, RT_F)
        u = V - E_K
        phi = V * (1 / RT_F)
        sqrt_K_o = jnp.sqrt(self.K_o / 5.4)

        forward = jnp.exp(self.gamma_NaCa * phi)
        down = jnp.exp(-phi)
        reverse = forward * down
        I_NaCa = (
            self.K_NaCa
            * (forward * y.Na_i**3 * self.Ca_o - reverse * self.Na_o**3 * y.Ca_i * self.alpha_NaCa)
            / ((self.Km_Nai**3 + self.Na_o**3) * (self.Km_Ca + self.Ca_o) * (1 + self.K_sat * reverse))
        )
        pump_steps = (self.K_o + self.K_mk) * (y.Na_i + self.K_mNa) * (1 + 0.1245 * jnp.exp(-0.1 * phi) + 0.0353 * down)
        I_NaK = self.P_NaK * self.K_o * y.Na_i / pump_steps
        Ca_SR2 = y.Ca_SR**2
        membrane = dict(
            I_Na=self.g_Na * y.m**3 * y.h * y.j * (V - E_Na),
            I_K1=self.g_K1 * sqrt_K_o * _inward_rectification(u),
            I_Kr=self.g_Kr * sqrt_K_o * y.Xr1 * y.Xr2 * u,
            I_Ks=self.g_Ks * y.Xs**2 * (V - E_Ks),
            I_to=self.g_to * y.r * y.s * u,
            I_CaL=y.d * y.f * y.fCa * ghk_current(V, self.g_CaL, 2, y.Ca_i, 0.341 * self.Ca_o, RT_F, self.F),
            I_b_Na=self.g_b_Na * (V - E_Na),
            I_b_Ca=self.g_b_Ca * (V - E_Ca),
            I_NaK=I_NaK,
            I_NaCa=I_NaCa,
            I_p_Ca=self.g_p_Ca * y.Ca_i / (y.Ca_i + self.K_pCa),
            I_p_K=self.g_p_K * u * sigmoid((V - 25) / 5.98),
        )
        return TenTusscherCurrents(
            **membrane,
            I_rel=(self.a_rel * Ca_SR2 / (self.b_rel**2 + Ca_SR2) + self.c_rel) * y.d * y.g,
            I_up=self.Vmax_up * y.Ca_i**2 / (y.Ca_i**2 + self.K_up**2),
            I_leak=self.V_leak * (y.Ca_SR - y.Ca_i),
            I_ion_total=sum(membrane.values()),
        )

    def rates(self, t, y: TenTusscherState, i_stim) -> TenTusscherState:
        i = self.currents(y)
        mM_per_ms = self.C_m / (self.V_c * self.F)
        I_Ca = i.I_CaL + i.I_b_Ca + i.I_p_Ca - 2 * i.I_NaCa
        dCa_i = i.I_leak - i.I_up + i.I_rel - I_Ca * mM_per_ms / 2
        dCa_SR = self.V_c / self.V_sr * (i.I_up - i.I_rel - i.I_leak)
        I_K = i.I_K1 + i.I_to + i.I_Kr + i.I_Ks + i.I_p_K + i_stim - 2 * i.I_NaK
        return TenTusscherState(
            V=-(i.I_ion_total + i_stim),
            Ca_i=dCa_i * _free(y.Ca_i, self.Buf_c, self.K_buf_c),
            Ca_SR=dCa_SR * _free(y.Ca_SR, self.Buf_sr, self.K_buf_sr),
            Na_i=-(i.I_Na + i.I_b_Na + 3 * i.I_NaK + 3 * i.I_NaCa) * mM_per_ms,
            K_i=-I_K * mM_per_ms,
            fCa=frozen_while_rising(y.fCa, fCa_steady(y.Ca_i), self.tau_fCa, y.V),
            g=_release_gate(y.g, y.Ca_i, self.tau_g, y.V),
            **of_one_variable(lambda V: _voltage_gates(V, self.variant))(y.V),
        )


@of_one_variable
def _inward_rectification(u):
    """u alpha / (alpha + beta) of I_K1, u = V - E_K: alpha = 0.1 / closed, beta = 0.1 inward / b."""
    up = jnp.exp(0.02 * u)
    b = 0.1 * (1 + jnp.exp(-0.5 * u))
    inward = 3 * jnp.exp(0.0002 * (u + 100)) + exp(-1) * up**5
    closed = 1 + exp(-12) * up**3
    return u * b / (b + inward * closed)


def _free(Ca, buffer, K):
    """Share of a change of total calcium that stays free: 1 / (1 + buffer K / (Ca + K)^2)."""
    square = (Ca + K) ** 2
    return square / (square + buffer * K)


def _voltage_gates(V, variant: Variant) -> dict[str, Relaxation]:
    """The paper's steady states and time constants, the latter written as rates.

    exp(V/5), exp(V/10) and exp(V/20) occur in eleven places and come from one exponential here, exp(V/7) and exp(V/14)
    from another. A time constant that is a product of 1/(1 + e) terms has a rate without divisions, a sum of them one
    with one: a step would else have sixty divisions and as many exponentials, and they are two thirds of its cost.
    """
    h, j = _sodium_inactivation(V)
    up_20 = jnp.exp(V / 20)
    up_10 = up_20**2
    up_5 = up_10**2
    down_20 = 1 / up_20
    down_10 = down_20**2
    down_5 = down_10**2
    up_14 = jnp.exp(V / 14)
    up_7 = up_14**2

    m_a, m_b, m_c = 1 + exp(-12) * down_5, 1 + exp(7) * up_5, 1 + jnp.exp((V - 50) / 200)
    d_a, d_b, d_c = 1 + jnp.exp(-(V + 35) / 13), 1 + exp(1) * up_5, 1 + exp(2.5) * down_20
    if variant == "endo":
        s = Relaxation(1 / (1 + exp(5.6) * up_5), 1000 * jnp.exp(-((V + 67) ** 2) / 1000) + 8)
    else:
        s = Relaxation(
            1 / (1 + exp(4) * up_5), rate=_one_over(5, 1 + exp(-4) * up_5, 85 * jnp.exp(-((V + 45) ** 2) / 320) + 3)
        )
    return dict(
        # tau_m = 1/a (0.1/b + 0.1/c)
        m=Relaxation(sigmoid((V + 56.86) / 9.03) ** 2, rate=10 * m_a * m_b * m_c / (m_b + m_c)),
        h=h,
        j=j,
        # tau_d = (1.4/a + 0.25) 1.4/b + 1/c
        d=Relaxation(sigmoid((V + 5) / 7.5), rate=d_a * d_b * d_c / ((1.96 + 0.35 * d_a) * d_c + d_a * d_b)),
        f=Relaxation(
            1 / (1 + exp(20 / 7) * up_7),
            rate=_one_over(165, 1 + exp(2.5) * down_10, 1125 * jnp.exp(-((V + 27) ** 2) / 240) + 80),
        ),
        r=Relaxation(sigmoid((V - 20) / 6), 9.5 * jnp.exp(-((V + 40) ** 2) / 1800) + 0.8),
        s=s,
        Xs=Relaxation(
            up_14 / (up_14 + exp(-5 / 14)), rate=jnp.sqrt(1 + jnp.exp(-(V + 10) / 6)) * (1 + exp(-3) * up_20) / 1100
        ),
        Xr1=Relaxation(
            up_7 / (up_7 + exp(-26 / 7)), rate=(1 + exp(-4.5) * down_10) * (1 + jnp.exp((V + 30) / 11.5)) / 2700
        ),
        Xr2=Relaxation(sigmoid(-(V + 88) / 24), rate=(1 + exp(-3) * down_20) * (1 + exp(-3) * up_20) / 3.36),
    )


def _one_over(height, over, floor):
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


def _release_gate(g, Ca_i, tau, V) -> Relaxation:
    """g: its steady state 1/(1 + x^n), x = Ca_i / 0.35 uM, changes exponent at x = 1, where both give one half.

    Each branch sees only its own side. At rest g is 7e-6 from 1, so there the gap is written with 1 - steady; where
    steady is near 0, that would round to a gap below -g, and g to below 0.
    """
    x = Ca_i / 0.00035
    power = jnp.where(x < 1, jnp.minimum(x, 1.0) ** 6, jnp.maximum(x, 1.0) ** 16)
    steady = 1 / (1 + power)
    gap = jnp.where(x < 1, (1 - g) - power * steady, steady - g)
    return frozen_while_rising(g, steady, tau, V, gap=gap)
