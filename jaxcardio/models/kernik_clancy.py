"""Kernik et al. 2019: human induced pluripotent stem-cell-derived cardiomyocyte (Kernik-Clancy model, baseline)."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from ..cell import AbstractCell, Scalar, parameter
from ..numerics import nernst, numbers, q10_factor, x_over_expm1
from ..relaxation import Relaxation
from .calcium_gates import fCa_steady, frozen_while_rising


class KernikState(NamedTuple):
    V: Scalar
    Ca_SR: Scalar
    Ca_i: Scalar
    Na_i: Scalar
    K_i: Scalar
    Ca_ligand: Scalar
    d: Scalar
    f: Scalar
    fCa: Scalar
    Xr1: Scalar
    Xr2: Scalar
    Xs: Scalar
    h: Scalar
    j: Scalar
    m: Scalar
    Xf: Scalar
    s: Scalar
    r: Scalar
    dCaT: Scalar
    fCaT: Scalar
    R: Scalar
    O: Scalar
    I: Scalar


class KernikCurrents(NamedTuple):
    I_K1: Scalar
    I_to: Scalar
    I_Kr: Scalar
    I_Ks: Scalar
    I_CaL: Scalar
    I_CaT: Scalar
    I_NaK: Scalar
    I_Na: Scalar
    I_NaCa: Scalar
    I_PCa: Scalar
    I_f: Scalar
    I_b_Na: Scalar
    I_b_Ca: Scalar
    I_CaL_Ca: Scalar
    I_CaL_Na: Scalar
    I_CaL_K: Scalar
    I_f_Na: Scalar
    I_f_K: Scalar
    I_rel: Scalar
    I_up: Scalar
    I_leak: Scalar
    I_ion_total: Scalar


class KernikClancy2019(AbstractCell):
    """Human iPSC-derived cardiomyocyte, beating spontaneously, 37 C. ms, mV, mM, pA/pF.

    Source: Kernik DC et al., J Physiol 2019;597:4533-4564, doi 10.1113/JP277724 (baseline parameters and initial
    state as published, 8 digits).

    A gate x with parameters x_1, x_2, x_5, x_6 opens at alpha = x_1 exp(V/x_2) and closes at alpha x_5 exp(V/x_6);
    tau_x_const is added to its time constant. Gate j shares h_5 and h_6.

    Temperature. `temperature` and `Q10` scale the kinetics of the 14 gates (d, f, fCa, Xr1, Xr2, Xs, h, j, m, Xf, s,
    r, dCaT, fCaT), which run Q10^((temperature - 310)/10) times as fast, additive constants included. Nothing else
    follows it: reversal potentials and Goldman-Hodgkin-Katz terms use `T`, and the ryanodine receptor, pumps,
    exchanger and conductances are those of 310 K.

    The stimulus is carried by no ion. Ca_ligand is inert.
    """

    scale_g_K1: Scalar = parameter(1.0, "1", "multiplier of I_K1")
    scale_g_Kr: Scalar = parameter(1.0, "1", "multiplier of I_Kr")
    scale_g_Ks: Scalar = parameter(1.0, "1", "multiplier of I_Ks")
    scale_g_to: Scalar = parameter(1.0, "1", "multiplier of I_to")
    scale_p_CaL: Scalar = parameter(1.0, "1", "multiplier of I_CaL")
    scale_g_CaT: Scalar = parameter(1.0, "1", "multiplier of I_CaT")
    scale_g_Na: Scalar = parameter(1.0, "1", "multiplier of I_Na")
    scale_g_f: Scalar = parameter(1.0, "1", "multiplier of I_f")
    scale_k_NaCa: Scalar = parameter(1.0, "1", "multiplier of I_NaCa")
    scale_Vmax_up: Scalar = parameter(1.0, "1", "multiplier of I_up")
    scale_k_rel: Scalar = parameter(1.0, "1", "multiplier of I_rel")
    scale_V_leak: Scalar = parameter(1.0, "1", "multiplier of I_leak")
    scale_P_NaK: Scalar = parameter(1.0, "1", "multiplier of I_NaK")
    scale_g_b_Na: Scalar = parameter(1.0, "1", "multiplier of I_b_Na")
    scale_g_b_Ca: Scalar = parameter(1.0, "1", "multiplier of I_b_Ca")
    scale_g_PCa: Scalar = parameter(1.0, "1", "multiplier of I_PCa")
    K1_g: Scalar = parameter(0.13378578, "nS/pF", "conductance of I_K1")
    K1_1: Scalar = parameter(0.47799497, "1", "I_K1, rectification: factor of a")
    K1_2: Scalar = parameter(27.242756, "mV", "I_K1, rectification: slope of a")
    K1_3: Scalar = parameter(4.9250233, "mV", "I_K1, rectification: offset of a")
    K1_4: Scalar = parameter(8.7222376, "mV", "I_K1, rectification: slope of b")
    K1_5: Scalar = parameter(56.636197, "mV", "I_K1, rectification: offset of b")
    Kr_g: Scalar = parameter(0.218025, "nS/pF", "conductance of I_Kr")
    Xr1_1: Scalar = parameter(0.0057488524, "1/ms", "gate Xr1: opening rate alpha at 0 mV")
    Xr1_2: Scalar = parameter(13.623493, "mV", "gate Xr1: slope of alpha")
    Xr1_5: Scalar = parameter(0.047630571, "1", "gate Xr1: beta/alpha at 0 mV")
    Xr1_6: Scalar = parameter(-7.0680874, "mV", "gate Xr1: slope of beta/alpha")
    Xr2_1: Scalar = parameter(0.012456641, "1/ms", "gate Xr2: opening rate alpha at 0 mV")
    Xr2_2: Scalar = parameter(-25.994458, "mV", "gate Xr2: slope of alpha")
    Xr2_5: Scalar = parameter(37.342633, "1", "gate Xr2: beta/alpha at 0 mV")
    Xr2_6: Scalar = parameter(22.091964, "mV", "gate Xr2: slope of beta/alpha")
    tau_Xr1_const: Scalar = parameter(50.0, "ms", "gate Xr1: additive time constant")
    tau_Xr2_const: Scalar = parameter(0.0, "ms", "gate Xr2: additive time constant")
    Ks_g: Scalar = parameter(0.0077, "nS/pF", "conductance of I_Ks")
    Xs_1: Scalar = parameter(0.0011655845, "1/ms", "gate Xs: opening rate alpha at 0 mV")
    Xs_2: Scalar = parameter(66726.839, "mV", "gate Xs: slope of alpha")
    Xs_5: Scalar = parameter(0.28045891, "1", "gate Xs: beta/alpha at 0 mV")
    Xs_6: Scalar = parameter(-18.866972, "mV", "gate Xs: slope of beta/alpha")
    tau_Xs_const: Scalar = parameter(4.74115e-06, "ms", "gate Xs: additive time constant")
    to_g: Scalar = parameter(0.11783333, "nS/pF", "conductance of I_to")
    r_1: Scalar = parameter(0.055361418, "1/ms", "gate r: opening rate alpha at 0 mV")
    r_2: Scalar = parameter(11.684202, "mV", "gate r: slope of alpha")
    r_5: Scalar = parameter(3.9891811, "1", "gate r: beta/alpha at 0 mV")
    r_6: Scalar = parameter(-11.047139, "mV", "gate r: slope of beta/alpha")
    s_1: Scalar = parameter(0.00034423094, "1/ms", "gate s: opening rate alpha at 0 mV")
    s_2: Scalar = parameter(-17.634472, "mV", "gate s: slope of alpha")
    s_5: Scalar = parameter(186.76054, "1", "gate s: beta/alpha at 0 mV")
    s_6: Scalar = parameter(8.1809339, "mV", "gate s: slope of beta/alpha")
    tau_r_const: Scalar = parameter(0.69675842, "ms", "gate r: additive time constant")
    tau_s_const: Scalar = parameter(11.224458, "ms", "gate s: additive time constant")
    CaL_p: Scalar = parameter(0.30802769, "L/(F s)", "permeability of I_CaL, all three ions together")
    d_1: Scalar = parameter(12.966294, "1/ms", "gate d: opening rate alpha at 0 mV")
    d_2: Scalar = parameter(7.079146, "mV", "gate d: slope of alpha")
    d_5: Scalar = parameter(0.044909416, "1", "gate d: beta/alpha at 0 mV")
    d_6: Scalar = parameter(-6.9098804, "mV", "gate d: slope of beta/alpha")
    f_1: Scalar = parameter(0.00051258983, "1/ms", "gate f: opening rate alpha at 0 mV")
    f_2: Scalar = parameter(-49.505712, "mV", "gate f: slope of alpha")
    f_5: Scalar = parameter(1931.2112, "1", "gate f: beta/alpha at 0 mV")
    f_6: Scalar = parameter(5.7300275, "mV", "gate f: slope of beta/alpha")
    tau_d_const: Scalar = parameter(1.6582469, "ms", "gate d: additive time constant")
    tau_f_const: Scalar = parameter(100.46256, "ms", "gate f: additive time constant")
    CaT_g: Scalar = parameter(0.185, "nS/pF", "conductance of I_CaT")
    Na_g: Scalar = parameter(9.7206134, "nS/pF", "conductance of I_Na")
    m_1: Scalar = parameter(108.04585, "1/ms", "gate m: opening rate alpha at 0 mV")
    m_2: Scalar = parameter(13.107016, "mV", "gate m: slope of alpha")
    m_5: Scalar = parameter(0.0023269144, "1", "gate m: beta/alpha at 0 mV")
    m_6: Scalar = parameter(-7.9177263, "mV", "gate m: slope of beta/alpha")
    h_1: Scalar = parameter(0.0036265989, "1/ms", "gate h: opening rate alpha at 0 mV")
    h_2: Scalar = parameter(-19.839359, "mV", "gate h: slope of alpha")
    h_5: Scalar = parameter(9663.295, "1", "gates h and j: beta/alpha at 0 mV")
    h_6: Scalar = parameter(7.3955036, "mV", "gates h and j: slope of beta/alpha")
    j_1: Scalar = parameter(0.00051225718, "1/ms", "gate j: opening rate alpha at 0 mV")
    j_2: Scalar = parameter(-66.583756, "mV", "gate j: slope of alpha")
    tau_m_const: Scalar = parameter(0.03197758, "ms", "gate m: additive time constant")
    tau_h_const: Scalar = parameter(0.1673315, "ms", "gate h: additive time constant")
    tau_j_const: Scalar = parameter(0.95108872, "ms", "gate j: additive time constant")
    f_g: Scalar = parameter(0.0435, "nS/pF", "conductance of I_f, both ions together")
    Xf_1: Scalar = parameter(5.7897e-07, "1/ms", "gate Xf: opening rate alpha at 0 mV")
    Xf_2: Scalar = parameter(-14.589712, "mV", "gate Xf: slope of alpha")
    Xf_5: Scalar = parameter(20086.65, "1", "gate Xf: beta/alpha at 0 mV")
    Xf_6: Scalar = parameter(10.202353, "mV", "gate Xf: slope of beta/alpha")
    tau_Xf_const: Scalar = parameter(23.945291, "ms", "gate Xf: additive time constant")
    INPUTS: ClassVar[tuple[str, ...]] = tuple(n for n, f in locals().items() if isinstance(f, dataclasses.Field))
    """The 82 inputs of the published model: every parameter above this line, in the published order."""
    SIX_CURRENTS: ClassVar[tuple[str, ...]] = INPUTS[16:31] + INPUTS[33:39] + INPUTS[50:61] + INPUTS[62:]
    """The 52 parameters of I_K1, I_Kr, I_Ks, I_CaL, I_Na and I_f (the additive time constants of I_Kr left out)."""

    K_o: Scalar = parameter(5.4, "mM", "extracellular potassium")
    Ca_o: Scalar = parameter(1.8, "mM", "extracellular calcium")
    Na_o: Scalar = parameter(140.0, "mM", "extracellular sodium")
    T: Scalar = parameter(310.0, "K", "temperature of reversal potentials and GHK terms; does not touch kinetics")
    temperature: Scalar = parameter(310.0, "K", "temperature of the kinetics of the 14 gates; touches nothing else")
    Q10: Scalar = parameter(3.0, "1", "acceleration of the 14 gates by 10 K, relative to 310 K")
    F: Scalar = parameter(96.4853415, "C/mmol", "Faraday constant")
    R: Scalar = parameter(8.314472, "J/(mol K)", "gas constant")
    C_m: Scalar = parameter(60.0, "pF", "membrane capacitance, used as C_m/(V_c F)")
    V_c: Scalar = parameter(3960 * 16404 / 17498, "um^3", "cytosolic volume")
    V_SR: Scalar = parameter(3960 * 1094 / 17498, "um^3", "SR volume")

    units: ClassVar[dict[str, str]] = {
        **dict.fromkeys(KernikState._fields, "1"),
        **dict.fromkeys(("Ca_SR", "Ca_i", "Na_i", "K_i", "Ca_ligand"), "mM"),
        **dict.fromkeys(KernikCurrents._fields, "pA/pF"),
        **dict.fromkeys(("I_rel", "I_up", "I_leak"), "mM/ms"),
        "V": "mV",
    }
    conductances: ClassVar[dict[str, str]] = {
        "I_K1": "scale_g_K1",
        "I_to": "scale_g_to",
        "I_Kr": "scale_g_Kr",
        "I_Ks": "scale_g_Ks",
        "I_CaL": "scale_p_CaL",
        "I_CaT": "scale_g_CaT",
        "I_NaK": "scale_P_NaK",
        "I_Na": "scale_g_Na",
        "I_NaCa": "scale_k_NaCa",
        "I_PCa": "scale_g_PCa",
        "I_f": "scale_g_f",
        "I_b_Na": "scale_g_b_Na",
        "I_b_Ca": "scale_g_b_Ca",
    }
    potential: ClassVar[str] = "V"

    def initial_state(self) -> KernikState:
        state = KernikState(
            V=-75.596602, Ca_SR=0.3350868, Ca_i=2.1919164e-4, Na_i=7.1692809, K_i=104.74882, Ca_ligand=0.0,
            d=3.9492534e-4, f=0.17099011, fCa=0.87779895, Xr1=0.30976749, Xr2=0.45057719, Xs=0.15378828,
            h=0.73954361, j=0.12451598, m=0.029754996, Xf=6.403385e-3, s=0.74680281, r=2.6759783e-4,
            dCaT=2.7019557e-4, fCaT=0.7560329, R=0.011312036, O=1.6504511e-4, I=0.014215362,
        )  # fmt: skip
        return KernikState(*numbers(state, self.K_o.dtype))

    def currents(self, y: KernikState) -> KernikCurrents:
        V = y.V
        RT_F = self.R * self.T / self.F
        E_Na = nernst(1, y.Na_i, self.Na_o, RT_F)
        E_K = nernst(1, y.K_i, self.K_o, RT_F)
        E_Ca = nernst(2, y.Ca_i, self.Ca_o, RT_F)
        phi = V / RT_F
        e_phi = jnp.exp(phi)
        u = V - E_K
        sqrt_K_o = jnp.sqrt(self.K_o / 5.4)

        # u/(e^u - 1) at u = phi and at u = 2 phi; b(-u) = b(u) e^u. One exponential serves the three ions of I_CaL.
        b1 = x_over_expm1(phi)
        b2 = 2 * b1**2 / (2 * b1 + phi)
        open_CaL = self.scale_p_CaL * self.CaL_p * self.F / (5.4e-4 + 1.5e-8 + 2.7e-7) * y.d * y.f * y.fCa
        I_CaL_Ca = 5.4e-4 * 2 * 0.341 * open_CaL * b2 * (y.Ca_i * e_phi**2 - self.Ca_o)
        I_CaL_Na = 1.5e-8 * 0.75 * open_CaL * b1 * (y.Na_i * e_phi - self.Na_o)
        I_CaL_K = 2.7e-7 * 0.75 * open_CaL * b1 * (y.K_i * e_phi - self.K_o)

        open_f = self.scale_g_f * self.f_g * y.Xf / 1.491
        I_f_Na = 0.491 * open_f * (V - E_Na)
        I_f_K = open_f * u

        b_over_a = jnp.exp((V + self.K1_5) / self.K1_4 - (V + self.K1_3) / self.K1_2) / self.K1_1
        exchange = jnp.exp((0.7 - 1) * phi)
        I_NaCa = (
            self.scale_k_NaCa * 1100 * exchange
            * (e_phi * y.Na_i**3 * self.Ca_o - self.Na_o**3 * y.Ca_i * 2.75)
            / ((87.5**3 + self.Na_o**3) * (1.38 + self.Ca_o) * (1 + 0.1 * exchange))
        )  # fmt: skip
        I_NaK = (
            self.scale_P_NaK * (1.362 * 1.818) * self.K_o * y.Na_i
            / ((self.K_o + 1) * (y.Na_i + 40) * (1 + 0.1245 * jnp.exp(-0.1 * phi) + 0.0353 / e_phi))
        )  # fmt: skip
        membrane = dict(
            I_K1=self.scale_g_K1 * self.K1_g * sqrt_K_o * u / (1 + b_over_a),
            I_to=self.scale_g_to * self.to_g * y.s * y.r * u,
            I_Kr=self.scale_g_Kr * self.Kr_g * sqrt_K_o * y.Xr1 * y.Xr2 * u,
            I_Ks=self.scale_g_Ks * self.Ks_g * y.Xs**2 * u,
            I_CaL=I_CaL_Ca + I_CaL_Na + I_CaL_K,
            I_CaT=self.scale_g_CaT * self.CaT_g * y.dCaT * y.fCaT * (V - E_Ca),
            I_NaK=I_NaK,
            I_Na=self.scale_g_Na * self.Na_g * y.m**3 * y.h * y.j * (V - E_Na),
            I_NaCa=I_NaCa,
            I_PCa=self.scale_g_PCa * (0.025 * 10.5) * y.Ca_i / (y.Ca_i + 0.0005),
            I_f=I_f_Na + I_f_K,
            I_b_Na=self.scale_g_b_Na * (0.00029 * 1.5) * (V - E_Na),
            I_b_Ca=self.scale_g_b_Ca * (0.000592 * 0.62) * (V - E_Ca),
        )
        return KernikCurrents(
            **membrane,
            I_CaL_Ca=I_CaL_Ca,
            I_CaL_Na=I_CaL_Na,
            I_CaL_K=I_CaL_K,
            I_f_Na=I_f_Na,
            I_f_K=I_f_K,
            I_rel=self.scale_k_rel * 12.5 * y.O * (y.Ca_SR - y.Ca_i) * self.V_SR / self.V_c,
            I_up=self.scale_Vmax_up * (0.000425 * 0.26) / (1 + (0.00025 * 0.702 / y.Ca_i) ** 2),
            I_leak=self.scale_V_leak * (0.00008 * 0.02) * (y.Ca_SR - y.Ca_i),
            I_ion_total=sum(membrane.values()),
        )

    def rates(self, t, y: KernikState, i_stim) -> KernikState:
        i = self.currents(y)
        mM_per_ms = self.C_m / (self.V_c * self.F)
        I_Ca = i.I_CaL_Ca + i.I_CaT + i.I_b_Ca + i.I_PCa - 2 * i.I_NaCa
        I_Na = i.I_Na + i.I_b_Na + i.I_f_Na + 3 * i.I_NaK + 3 * i.I_NaCa + i.I_CaL_Na
        I_K = i.I_K1 + i.I_to + i.I_Kr + i.I_Ks + i.I_f_K - 2 * i.I_NaK + i.I_CaL_K
        dCa_i = i.I_leak - i.I_up + i.I_rel - I_Ca * mM_per_ms / 2
        dCa_SR = self.V_c / self.V_SR * (i.I_up - i.I_rel - i.I_leak)
        faster = q10_factor(self.Q10, self.temperature, 310.0)
        gates = {n: Relaxation(gate.steady, rate=gate.rate * faster) for n, gate in self._voltage_gates(y.V).items()}
        return KernikState(
            V=-(i.I_ion_total + i_stim),
            Ca_SR=dCa_SR / (1 + 12 * 0.3 / (y.Ca_SR + 0.3) ** 2),
            Ca_i=dCa_i / (1 + 0.06 * 0.0006 / (y.Ca_i + 0.0006) ** 2),
            Na_i=-I_Na * mM_per_ms,
            K_i=-I_K * mM_per_ms,
            Ca_ligand=jnp.zeros_like(y.Ca_ligand),
            fCa=frozen_while_rising(y.fCa, fCa_steady(1.2 * y.Ca_i), 2 / faster, y.V),
            **_ryanodine_receptor(y),
            **gates,
        )

    def _voltage_gates(self, V) -> dict[str, Relaxation]:
        h = _gate(V, self.h_1, self.h_2, self.h_5, self.h_6, self.tau_h_const)
        e_dCaT = jnp.exp((V + 26.3) / 30)
        return dict(
            d=_gate(V, self.d_1, self.d_2, self.d_5, self.d_6, self.tau_d_const),
            f=_gate(V, self.f_1, self.f_2, self.f_5, self.f_6, self.tau_f_const),
            Xr1=_gate(V, self.Xr1_1, self.Xr1_2, self.Xr1_5, self.Xr1_6, self.tau_Xr1_const),
            Xr2=_gate(V, self.Xr2_1, self.Xr2_2, self.Xr2_5, self.Xr2_6, self.tau_Xr2_const),
            Xs=_gate(V, self.Xs_1, self.Xs_2, self.Xs_5, self.Xs_6, self.tau_Xs_const),
            h=h,
            j=Relaxation(h.steady, _tau(V, h.steady, self.j_1, self.j_2, self.tau_j_const)),
            m=_gate(V, self.m_1, self.m_2, self.m_5, self.m_6, self.tau_m_const),
            Xf=_gate(V, self.Xf_1, self.Xf_2, self.Xf_5, self.Xf_6, self.tau_Xf_const),
            s=_gate(V, self.s_1, self.s_2, self.s_5, self.s_6, self.tau_s_const),
            r=_gate(V, self.r_1, self.r_2, self.r_5, self.r_6, self.tau_r_const),
            dCaT=Relaxation(1 / (1 + e_dCaT**-5), rate=1.068 * (e_dCaT + 1 / e_dCaT)),
            fCaT=Relaxation(
                1 / (1 + jnp.exp((V + 61.7) / 5.6)),
                rate=0.0153 * jnp.exp(-(V + 61.7) / 83.3) + 0.015 * jnp.exp((V + 61.7) / 15.38),
            ),
        )


def _gate(V, y_1, y_2, y_5, y_6, tau_const) -> Relaxation:
    """Opening rate alpha = y_1 exp(V/y_2), closing rate alpha y_5 exp(V/y_6): 1/(alpha + beta) is steady/alpha."""
    steady = 1 / (1 + y_5 * jnp.exp(V * (1 / y_6)))
    return Relaxation(steady, _tau(V, steady, y_1, y_2, tau_const))


def _tau(V, steady, y_1, y_2, tau_const):
    """Reciprocals of parameters apart, so that a loop over time can compute them once."""
    return steady * jnp.exp(V * (-1 / y_2)) * (1 / y_1) + tau_const


def _ryanodine_receptor(y: KernikState) -> dict[str, Relaxation]:
    """R, O and I of the four-state receptor; the fourth is RI = 1 - R - O - I. Each relaxes while the others stand."""
    x = 0.45 / y.Ca_SR
    kCaSR = 15 - 14 / (1 + x**2 * jnp.sqrt(x))
    kom, kim = 1.5 * 0.1429, 0.001 * 0.5571
    activation = 56320 * 11.43025 / kCaSR * y.Ca_i**2
    inactivation = 54 * 0.3425 * kCaSR * y.Ca_i
    return dict(
        R=_relaxing(kom * y.O + kim * (1 - y.O - y.I), inactivation + activation + kim),
        O=_relaxing(activation * y.R + kim * y.I, kom + inactivation),
        I=_relaxing(inactivation * y.O + activation * (1 - y.R - y.O), activation + kom + kim),
    )


def _relaxing(inflow, rate) -> Relaxation:
    """x' = inflow - rate x."""
    return Relaxation(inflow / rate, rate=rate)
