"""ten Tusscher & Panfilov 2006: human ventricular myocyte with a subspace, the usual cell of ventricular tissue."""

from math import exp
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import ArrayLike

from ..cell import AbstractCell, Scalar, initialise, parameter
from ..numerics import ghk_current, numbers, of_one_variable
from ..relaxation import Relaxation
from .ten_tusscher_shared import (
    CONDUCTANCES,
    Variant,
    free_share,
    membrane_currents,
    powers,
    rate_d,
    shared_gates,
    sodium_and_potassium,
    steady_f,
    steady_Xs,
)

VARIANTS: dict[str, dict[str, float]] = {
    "epi": {"g_Ks": 0.392, "g_to": 0.294},
    "M": {"g_Ks": 0.098, "g_to": 0.294},
    "endo": {"g_Ks": 0.392, "g_to": 0.073},
}


class TenTusscherPanfilovState(NamedTuple):
    V: Scalar
    Xr1: Scalar
    Xr2: Scalar
    Xs: Scalar
    m: Scalar
    h: Scalar
    j: Scalar
    d: Scalar
    f: Scalar
    f2: Scalar
    fCass: Scalar
    s: Scalar
    r: Scalar
    Ca_i: Scalar
    R_prime: Scalar
    Ca_SR: Scalar
    Ca_ss: Scalar
    Na_i: Scalar
    K_i: Scalar


class TenTusscherPanfilovCurrents(NamedTuple):
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
    I_xfer: Scalar
    I_ion_total: Scalar


INITIAL: dict[str, TenTusscherPanfilovState] = {
    "epi": TenTusscherPanfilovState(
        V=-85.23, Xr1=0.00621, Xr2=0.4712, Xs=0.0095, m=0.00172, h=0.7444, j=0.7045, d=3.373e-5, f=0.7888, f2=0.9755,
        fCass=0.9953, s=0.999998, r=2.42e-8, Ca_i=0.000126, R_prime=0.9073, Ca_SR=3.64, Ca_ss=0.00036, Na_i=8.604,
        K_i=136.89,
    ),
    "M": TenTusscherPanfilovState(
        V=-85.423, Xr1=0.0165, Xr2=0.473, Xs=0.0174, m=0.00165, h=0.749, j=0.6788, d=3.288e-5, f=0.7026, f2=0.9526,
        fCass=0.9942, s=0.999998, r=2.347e-8, Ca_i=0.000153, R_prime=0.8978, Ca_SR=4.272, Ca_ss=0.00042, Na_i=10.132,
        K_i=138.52,
    ),
    "endo": TenTusscherPanfilovState(
        V=-86.709, Xr1=0.00448, Xr2=0.476, Xs=0.0087, m=0.00155, h=0.7573, j=0.7225, d=3.164e-5, f=0.8009, f2=0.9778,
        fCass=0.9953, s=0.3212, r=2.235e-8, Ca_i=0.00013, R_prime=0.9068, Ca_SR=3.715, Ca_ss=0.00036, Na_i=10.355,
        K_i=138.4,
    ),
}  # fmt: skip
"""Diastole of each paced variant, as its public CellML file has it; that of "epi" is the tissue benchmark's too."""


class TenTusscherPanfilov2006(AbstractCell):
    """Human ventricular myocyte with a subspace, 37 C: epicardial (default), M or endocardial. ms, mV, mM, pA/pF.

    Source: ten Tusscher KHWJ & Panfilov AV, Am J Physiol Heart Circ Physiol 2006;291:H1088-H1100,
    doi 10.1152/ajpheart.00109.2006. The time constant of f2 is that of the public CellML files, which the tissue
    benchmark of Niederer et al. 2011 uses; programs that go back to the authors' code have another.

    Args:
        variant: "epi", "M" or "endo"; sets g_Ks, g_to, the form of the s gate and the initial state.
        **parameters: any parameter, by name, in the unit that `parameters()` lists.
    """

    g_Na: Scalar = parameter(14.838, "nS/pF", "fast sodium conductance")
    g_K1: Scalar = parameter(5.405, "nS/pF", "inward rectifier conductance")
    g_Kr: Scalar = parameter(0.153, "nS/pF", "rapid delayed rectifier conductance")
    g_Ks: Scalar = parameter(0.392, "nS/pF", "slow delayed rectifier conductance (epi and endo 0.392, M 0.098)")
    g_to: Scalar = parameter(0.294, "nS/pF", "transient outward conductance (epi and M 0.294, endo 0.073)")
    g_CaL: Scalar = parameter(3.98e-5, "cm^3/(uF s)", "L-type calcium permeability")
    g_b_Na: Scalar = parameter(0.00029, "nS/pF", "background sodium conductance")
    g_b_Ca: Scalar = parameter(0.000592, "nS/pF", "background calcium conductance")
    g_p_Ca: Scalar = parameter(0.1238, "pA/pF", "sarcolemmal calcium pump maximum")
    g_p_K: Scalar = parameter(0.0146, "nS/pF", "plateau potassium conductance")
    P_NaK: Scalar = parameter(2.724, "pA/pF", "sodium-potassium pump maximum")
    K_NaCa: Scalar = parameter(1000.0, "pA/pF", "sodium-calcium exchanger maximum")
    K_o: Scalar = parameter(5.4, "mM", "extracellular potassium")
    Na_o: Scalar = parameter(140.0, "mM", "extracellular sodium")
    Ca_o: Scalar = parameter(2.0, "mM", "extracellular calcium")
    F: Scalar = parameter(96485.3415, "C/mol", "Faraday constant")
    R: Scalar = parameter(8314.472, "mJ/(mol K)", "gas constant")
    T: Scalar = parameter(310.0, "K", "temperature of the reversal potentials")
    P_kna: Scalar = parameter(0.03, "1", "relative sodium permeability of I_Ks")
    K_mk: Scalar = parameter(1.0, "mM", "potassium half-saturation of the pump")
    K_mNa: Scalar = parameter(40.0, "mM", "sodium half-saturation of the pump")
    Km_Ca: Scalar = parameter(1.38, "mM", "calcium half-saturation of the exchanger")
    Km_Nai: Scalar = parameter(87.5, "mM", "sodium half-saturation of the exchanger")
    K_sat: Scalar = parameter(0.1, "1", "saturation of the exchanger")
    alpha_NaCa: Scalar = parameter(2.5, "1", "outward enhancement of the exchanger")
    gamma_NaCa: Scalar = parameter(0.35, "1", "voltage dependence of the exchanger")
    K_pCa: Scalar = parameter(0.0005, "mM", "half-saturation of the calcium pump")
    V_rel: Scalar = parameter(0.102, "1/ms", "maximal release rate, of the SR volume")
    k1_prime: Scalar = parameter(0.15, "1/(mM^2 ms)", "opening rate of the release channel, at full SR")
    k2_prime: Scalar = parameter(0.045, "1/(mM ms)", "inactivation rate of the release channel, at full SR")
    k3: Scalar = parameter(0.06, "1/ms", "closing rate of the release channel")
    k4: Scalar = parameter(0.005, "1/ms", "recovery rate of the release channel")
    EC: Scalar = parameter(1.5, "mM", "SR calcium at half of the regulation of the release channel")
    max_sr: Scalar = parameter(2.5, "1", "regulation of the release channel by an empty SR")
    min_sr: Scalar = parameter(1.0, "1", "regulation of the release channel by a full SR")
    V_xfer: Scalar = parameter(0.0038, "1/ms", "diffusion rate from subspace to cytosol, of the cytosolic volume")
    K_up: Scalar = parameter(0.00025, "mM", "half-saturation of the uptake")
    V_leak: Scalar = parameter(0.00036, "1/ms", "leak rate, of the SR volume")
    Vmax_up: Scalar = parameter(0.006375, "mM/ms", "maximal uptake, of the SR volume")
    Buf_c: Scalar = parameter(0.2, "mM", "cytosolic buffer")
    K_buf_c: Scalar = parameter(0.001, "mM", "half-saturation of the cytosolic buffer")
    Buf_sr: Scalar = parameter(10.0, "mM", "SR buffer")
    K_buf_sr: Scalar = parameter(0.3, "mM", "half-saturation of the SR buffer")
    Buf_ss: Scalar = parameter(0.4, "mM", "subspace buffer")
    K_buf_ss: Scalar = parameter(0.00025, "mM", "half-saturation of the subspace buffer")
    V_c: Scalar = parameter(0.016404, "nL", "cytosolic volume, used as C_m/(V_c F)")
    V_sr: Scalar = parameter(0.001094, "nL", "SR volume, used as V_sr/V_c and V_sr/V_ss")
    V_ss: Scalar = parameter(5.468e-5, "nL", "subspace volume, used as V_c/V_ss and V_sr/V_ss")
    C_m: Scalar = parameter(0.185, "uF/cm^2", "capacitance, used as C_m/(V_c F)")
    variant: Variant = eqx.field(static=True, default="epi")

    units: ClassVar[dict[str, str]] = {
        **dict.fromkeys(TenTusscherPanfilovState._fields, "1"),
        **dict.fromkeys(("Ca_i", "Ca_SR", "Ca_ss", "Na_i", "K_i"), "mM"),
        **dict.fromkeys(TenTusscherPanfilovCurrents._fields, "pA/pF"),
        **dict.fromkeys(("I_rel", "I_up", "I_leak", "I_xfer"), "mM/ms"),
        "V": "mV",
    }
    conductances: ClassVar[dict[str, str]] = CONDUCTANCES
    potential: ClassVar[str] = "V"

    def __init__(self, variant: Variant = "epi", **parameters: ArrayLike):
        if variant not in VARIANTS:
            raise ValueError(f"variant = {variant!r}; allowed: {', '.join(VARIANTS)}")
        initialise(self, {**VARIANTS[variant], **parameters}, variant=variant)

    def initial_state(self) -> TenTusscherPanfilovState:
        return TenTusscherPanfilovState(*numbers(INITIAL[self.variant], self.g_Na.dtype))

    def currents(self, y: TenTusscherPanfilovState) -> TenTusscherPanfilovCurrents:
        RT_F = self.R * self.T / self.F
        full = ghk_current(y.V - 15, self.g_CaL, 2, 0.25 * y.Ca_ss, self.Ca_o, RT_F, self.F)
        membrane = membrane_currents(self, y, y.d * y.f * y.f2 * y.fCass * full, RT_F)
        # O = k1 Ca_ss^2 R' / (k3 + k1 Ca_ss^2) with k1 = k1' / regulation.
        opening = self.k1_prime * y.Ca_ss**2
        open_share = opening * y.R_prime / (self.k3 * self._regulation(y.Ca_SR) + opening)
        return TenTusscherPanfilovCurrents(
            **membrane,
            I_rel=self.V_rel * open_share * (y.Ca_SR - y.Ca_ss),
            I_up=self.Vmax_up * y.Ca_i**2 / (y.Ca_i**2 + self.K_up**2),
            I_leak=self.V_leak * (y.Ca_SR - y.Ca_i),
            I_xfer=self.V_xfer * (y.Ca_ss - y.Ca_i),
            I_ion_total=sum(membrane.values()),
        )

    def rates(self, t, y: TenTusscherPanfilovState, i_stim) -> TenTusscherPanfilovState:
        i = self.currents(y)
        mM_per_ms = self.C_m / (self.V_c * self.F)
        I_Ca = i.I_b_Ca + i.I_p_Ca - 2 * i.I_NaCa
        dCa_i = self.V_sr / self.V_c * (i.I_leak - i.I_up) + i.I_xfer - I_Ca * mM_per_ms / 2
        dCa_ss = self.V_sr / self.V_ss * i.I_rel - self.V_c / self.V_ss * (i.I_xfer + i.I_CaL * mM_per_ms / 2)
        inactivation = self.k2_prime * self._regulation(y.Ca_SR) * y.Ca_ss
        return TenTusscherPanfilovState(
            V=-(i.I_ion_total + i_stim),
            Ca_i=dCa_i * free_share(y.Ca_i, self.Buf_c, self.K_buf_c),
            Ca_SR=(i.I_up - i.I_rel - i.I_leak) * free_share(y.Ca_SR, self.Buf_sr, self.K_buf_sr),
            Ca_ss=dCa_ss * free_share(y.Ca_ss, self.Buf_ss, self.K_buf_ss),
            **sodium_and_potassium(i, i_stim, mM_per_ms),
            R_prime=Relaxation.from_rates(self.k4, inactivation),
            fCass=of_one_variable(_fCass)(y.Ca_ss),
            **of_one_variable(lambda V: _voltage_gates(V, self.variant))(y.V),
        )

    def _regulation(self, Ca_SR):
        """How the SR's load slows opening and hastens inactivation of the release channel: from max_sr to min_sr."""
        square = Ca_SR**2
        return self.max_sr - (self.max_sr - self.min_sr) * square / (square + self.EC**2)


def _fCass(Ca_ss) -> Relaxation:
    """Inactivation of I_CaL by subspace calcium, half at 0.05 mM: steady = 0.4 + 0.6 x and tau = 80 x + 2."""
    half = 0.05**2
    total = half + Ca_ss**2  # x = half / total
    return Relaxation(0.4 + 0.6 * half / total, rate=total / (80 * half + 2 * total))


def _voltage_gates(V, variant: Variant) -> dict[str, Relaxation]:
    e = powers(V)
    down_15 = jnp.exp(-V / 15)
    down_r = jnp.exp(-((V - 20) / 6))  # the compiler finds it in the r gate again
    Xs_a, Xs_b = jnp.sqrt(1 + exp(-2.5) * down_r), 1 + exp(-7 / 3) / down_15
    f_a, f2_a, b = 1 + exp(1.3) * e.down_10, 1 + exp(2.5) * e.down_10, 1 + exp(3) * e.up_10
    f_peak = 1102.5 * jnp.exp(-((V + 27) ** 2) / 225)
    f2_peak = 562 * jnp.exp(-((V + 27) ** 2) / 240)
    return dict(
        **shared_gates(V, e, variant),
        d=Relaxation(1 / (1 + exp(-16 / 15) * down_15**2), rate=rate_d(V, e)),
        # tau_f = peak + 200/a + 180/b + 20
        f=Relaxation(steady_f(e), rate=f_a * b / ((f_peak + 20) * f_a * b + 200 * b + 180 * f_a)),
        # tau_f2 = peak + 31/a + 80/b
        f2=Relaxation(
            0.67 / (1 + exp(5) * e.up_7) + 0.33,
            rate=f2_a * b / (f2_peak * f2_a * b + 31 * b + 80 * f2_a),
        ),
        # tau_Xs = 1400/(a b) + 80
        Xs=Relaxation(steady_Xs(e), rate=Xs_a * Xs_b / (1400 + 80 * Xs_a * Xs_b)),
    )
