"""ten Tusscher, Noble, Noble & Panfilov 2004: human ventricular myocyte."""

from math import exp
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import ArrayLike

from ..cell import AbstractCell, Scalar, initialise, parameter
from ..numerics import ghk_current, numbers, of_one_variable, sigmoid
from ..relaxation import Relaxation
from .calcium_gates import fCa_steady, frozen_while_rising
from .ten_tusscher_shared import (
    CONDUCTANCES,
    Variant,
    free_share,
    membrane_currents,
    one_over,
    powers,
    rate_d,
    shared_gates,
    sodium_and_potassium,
    steady_f,
    steady_Xs,
)

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
    conductances: ClassVar[dict[str, str]] = CONDUCTANCES
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
        RT_F = self.R * self.T / self.F
        full = ghk_current(y.V, self.g_CaL, 2, y.Ca_i, 0.341 * self.Ca_o, RT_F, self.F)
        membrane = membrane_currents(self, y, y.d * y.f * y.fCa * full, RT_F)
        Ca_SR2 = y.Ca_SR**2
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
        return TenTusscherState(
            V=-(i.I_ion_total + i_stim),
            Ca_i=dCa_i * free_share(y.Ca_i, self.Buf_c, self.K_buf_c),
            Ca_SR=dCa_SR * free_share(y.Ca_SR, self.Buf_sr, self.K_buf_sr),
            **sodium_and_potassium(i, i_stim, mM_per_ms),
            fCa=frozen_while_rising(y.fCa, fCa_steady(y.Ca_i), self.tau_fCa, y.V),
            g=_release_gate(y.g, y.Ca_i, self.tau_g, y.V),
            **of_one_variable(lambda V: _voltage_gates(V, self.variant))(y.V),
        )


def _voltage_gates(V, variant: Variant) -> dict[str, Relaxation]:
    e = powers(V)
    return dict(
        **shared_gates(V, e, variant),
        d=Relaxation(sigmoid((V + 5) / 7.5), rate=rate_d(V, e)),
        f=Relaxation(
            steady_f(e), rate=one_over(165, 1 + exp(2.5) * e.down_10, 1125 * jnp.exp(-((V + 27) ** 2) / 240) + 80)
        ),
        Xs=Relaxation(steady_Xs(e), rate=jnp.sqrt(1 + jnp.exp(-(V + 10) / 6)) * (1 + exp(-3) * e.up_20) / 1100),
    )


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
