"""Skibsbye et al. 2016 (lineage of Koivumäki 2011, 2014): human atrial myocyte with calcium in concentric shells."""

import collections
import functools
import math
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp

from ..cell import AbstractCell, Scalar, parameter
from ..numerics import nernst, numbers, of_one_variable, sigmoid
from ..relaxation import Relaxation
from .sodium_gating import AbstractSodiumGating, SkibsbyeSodiumGating

# Geometry (um, um^2, nL): a cylinder of radius r_j cut into four shells dx thick, 1 at the centre, under a thin
# subspace ss. Shells 1-3 and ss hold ryanodine receptors and SERCA; SR 4 is the partner of ss.
DX = 1.625
LENGTH = 122.051
AREA = math.pi * 6.5 * LENGTH
X_CA, X_NA = 0.01 + DX / 2, 0.01 + 2 * DX
V_SS = 4.99232e-5
V_1, V_2, V_3, V_4 = (math.pi / 2 * LENGTH * DX**2 * (k**2 - (k - 1) ** 2) * 1e-6 for k in (1, 2, 3, 4))
V_I = V_1 + V_2 + V_3 + V_4
V_CYT = V_I + V_SS
SR_FRACTION = 0.0225

# Diffusion, um^2/ms: free calcium, calcium on its buffer, calcium in the SR.
D_CA, D_BUFFER, D_SR = 0.833, 0.0288, 0.0507
BUFFER, K_BUFFER = 0.024, 0.00238

# SERCA binds two calcium ions on each side; rates per ms.
SERCA_TOTAL = 0.03
SERCA_K4 = 0.017
SERCA_K3 = SERCA_K4 / 1.258**2
SERCA_K1 = 1e6 * SERCA_K4
SERCA_K2 = SERCA_K1 * 0.321e-3**2

PER_MS = 1e-3  # the source's rates are per second


class SkibsbyeState(NamedTuple):
    V: Scalar
    m: Scalar
    h1: Scalar
    h2: Scalar
    d: Scalar
    hL: Scalar
    f2: Scalar
    fca: Scalar
    r: Scalar
    s: Scalar
    sus_r: Scalar
    sus_s: Scalar
    n: Scalar
    pa: Scalar
    y: Scalar
    O_KCa: Scalar
    RyR_o_ss: Scalar
    RyR_c_ss: Scalar
    RyR_a_ss: Scalar
    RyR_o_1: Scalar
    RyR_c_1: Scalar
    RyR_a_1: Scalar
    RyR_o_2: Scalar
    RyR_c_2: Scalar
    RyR_a_2: Scalar
    RyR_o_3: Scalar
    RyR_c_3: Scalar
    RyR_a_3: Scalar
    SERCA_Ca_1: Scalar
    SERCA_Ca_2: Scalar
    SERCA_Ca_3: Scalar
    SERCA_Ca_ss: Scalar
    Na_ss: Scalar
    Na_i: Scalar
    K_i: Scalar
    Ca_ss: Scalar
    Ca_i1: Scalar
    Ca_i2: Scalar
    Ca_i3: Scalar
    Ca_i4: Scalar
    Ca_SR1: Scalar
    Ca_SR2: Scalar
    Ca_SR3: Scalar
    Ca_SR4: Scalar


@functools.cache
def _state_type(sodium: tuple[str, ...]) -> Any:
    """`SkibsbyeState`, or one like it for a sodium channel of other states."""
    usual = AbstractSodiumGating.states
    if sodium == usual:
        return SkibsbyeState
    others = [name for name in SkibsbyeState._fields if name not in usual]
    return collections.namedtuple("SkibsbyeState", (others[0], *sodium, *others[1:]))


class SkibsbyeCurrents(NamedTuple):
    """I_NaL is the late part of I_Na and I_f_Na the sodium part of I_f: neither is counted again in I_ion_total."""

    I_Na: Scalar
    I_NaL: Scalar
    I_CaL: Scalar
    I_to: Scalar
    I_sus: Scalar
    I_Kr: Scalar
    I_Ks: Scalar
    I_K1: Scalar
    I_KCa: Scalar
    I_f: Scalar
    I_Nab: Scalar
    I_Cab: Scalar
    I_CaP: Scalar
    I_NaK: Scalar
    I_NaCa: Scalar
    I_f_Na: Scalar
    J_rel_1: Scalar
    J_rel_2: Scalar
    J_rel_3: Scalar
    J_rel_ss: Scalar
    J_SERCA_SR_1: Scalar
    J_SERCA_SR_2: Scalar
    J_SERCA_SR_3: Scalar
    J_SERCA_SR_ss: Scalar
    J_bulk_SERCA_1: Scalar
    J_bulk_SERCA_2: Scalar
    J_bulk_SERCA_3: Scalar
    J_bulk_SERCA_ss: Scalar
    J_leak_1: Scalar
    J_leak_2: Scalar
    J_leak_3: Scalar
    J_leak_ss: Scalar
    J_j_nj: Scalar
    J_Na: Scalar
    I_ion_total: Scalar


UNITS = {
    **dict.fromkeys(SkibsbyeState._fields, "1"),
    **dict.fromkeys((n for n in SkibsbyeState._fields if n.startswith(("SERCA_", "Na_", "K_i", "Ca_"))), "mM"),
    **dict.fromkeys(SkibsbyeCurrents._fields, "pA/pF"),
    **dict.fromkeys((n for n in SkibsbyeCurrents._fields if n.startswith("J_")), "mM nL/ms"),
    "V": "mV",
}


class _Units:
    """Units of the usual cell, and of one with another sodium channel those of its own states."""

    def __get__(self, cell, owner) -> dict[str, str]:
        if cell is None or cell.sodium.states == AbstractSodiumGating.states:
            return UNITS
        others = {name: unit for name, unit in UNITS.items() if name not in AbstractSodiumGating.states}
        return {**others, **dict.fromkeys(cell.sodium.states, "1")}


class Skibsbye2016(AbstractCell):
    """Human atrial myocyte, sinus rhythm, 37 C, no acetylcholine. ms, mV, mM, pA/pF, fluxes J in mM nL/ms.

    Source: Skibsbye L et al., J Mol Cell Cardiol 2016;101:26-34, on Koivumäki JT et al., PLoS Comput Biol
    2014;10:e1003620. The 2016 supplement was not at hand: fast I_Na is its published form, everything else that of the
    lineage's public implementation.

    The source counts in seconds and pA. Parameters keep its units (nS, pA, 1/s); states, currents, rates and the
    stimulus are per ms and, by C_m, per pF. The stimulus is carried by potassium.

    `sodium` is how the fast sodium channel gates, and may be replaced by any `AbstractSodiumGating`.
    """

    g_Na: Scalar = parameter(576.0, "nS", "fast sodium conductance: all of I_Na but I_NaL")
    sodium: AbstractSodiumGating = eqx.field(default_factory=SkibsbyeSodiumGating)
    g_NaL: Scalar = parameter(0.423, "nS", "late sodium conductance, the I_NaL part of I_Na")
    g_CaL: Scalar = parameter(7.0, "nS", "L-type calcium conductance")
    g_to: Scalar = parameter(11.0, "nS", "transient outward conductance")
    g_sus: Scalar = parameter(2.25, "nS", "sustained outward (ultra-rapid, I_Kur) conductance")
    g_Ks: Scalar = parameter(0.175, "nS", "slow delayed rectifier conductance")
    g_Kr: Scalar = parameter(3.4, "nS", "rapid delayed rectifier conductance")
    g_K1: Scalar = parameter(2.9, "nS/mM^0.4457", "inward rectifier conductance, per K_o^0.4457")
    g_KCa: Scalar = parameter(3.7, "nS", "calcium-activated potassium conductance")
    g_Nab: Scalar = parameter(0.060599, "nS", "background sodium conductance")
    g_Cab: Scalar = parameter(0.084, "nS", "background calcium conductance")
    I_NaK_max: Scalar = parameter(113.0, "pA", "sodium-potassium pump maximum")
    I_CaP_max: Scalar = parameter(2.0, "pA", "sarcolemmal calcium pump maximum")
    k_NaCa: Scalar = parameter(0.0088, "pA/mM^4", "sodium-calcium exchanger scale")
    g_f: Scalar = parameter(1.0, "nS", "hyperpolarisation-activated conductance")
    K_o: Scalar = parameter(5.4, "mM", "extracellular potassium")
    Na_o: Scalar = parameter(130.0, "mM", "extracellular sodium")
    Ca_o: Scalar = parameter(1.8, "mM", "extracellular calcium")
    nu_ss: Scalar = parameter(900.0, "1/s", "ryanodine receptor release rate, subspace")
    nu_bulk: Scalar = parameter(1.6, "1/s", "ryanodine receptor release rate, shells 1 to 3")
    F: Scalar = parameter(96487.0, "C/mol", "Faraday constant")
    R: Scalar = parameter(8314.0, "mJ/(mol K)", "gas constant")
    T: Scalar = parameter(310.15, "K", "temperature of the reversal potentials")
    C_m: Scalar = parameter(50.0, "pF", "membrane capacitance: pA per pA/pF")

    units: ClassVar[dict[str, str]] = _Units()  # pyright: ignore[reportAssignmentType]
    conductances: ClassVar[dict[str, str]] = {
        "I_Na": "g_Na",
        "I_NaL": "g_NaL",
        "I_CaL": "g_CaL",
        "I_to": "g_to",
        "I_sus": "g_sus",
        "I_Kr": "g_Kr",
        "I_Ks": "g_Ks",
        "I_K1": "g_K1",
        "I_KCa": "g_KCa",
        "I_f": "g_f",
        "I_Nab": "g_Nab",
        "I_Cab": "g_Cab",
        "I_CaP": "I_CaP_max",
        "I_NaK": "I_NaK_max",
        "I_NaCa": "k_NaCa",
    }
    potential: ClassVar[str] = "V"

    def initial_state(self) -> SkibsbyeState:
        """Diastole at the onset of a stimulus, after 3000 beats at 1 Hz (2 ms of -575 pA) from `resting_state_2014`."""
        state = SkibsbyeState(
            V=-74.0150369963616, m=0.007881967083049717, h1=0.7779216151251767, h2=0.7785272417933532,
            d=8.694471309228458e-05, hL=0.5952648783582026, f2=0.9970584435247175, fca=0.7863899193298908,
            r=0.0010908601406596893, s=0.9486390099819203, sus_r=0.0003669009495845935, sus_s=0.969600832001783,
            n=0.00718832245261346, pa=0.0010122056813212654, y=0.05503328680960466, O_KCa=0.08762575012005201,
            RyR_o_ss=8.7713229014798e-05, RyR_c_ss=0.9996948918804647, RyR_a_ss=0.22285778091035538,
            RyR_o_1=0.00030553435696686123, RyR_c_1=0.9884770510058302, RyR_a_1=0.18853753883088714,
            RyR_o_2=0.0002397374016180253, RyR_c_2=0.9946224646017039, RyR_a_2=0.19475535105119138,
            RyR_o_3=0.00016383597411251584, RyR_c_3=0.9983364820637132, RyR_a_3=0.2047699053103551,
            SERCA_Ca_1=0.005597531872538721, SERCA_Ca_2=0.005514332946366678, SERCA_Ca_3=0.0054038608363933625,
            SERCA_Ca_ss=0.005323036002185574, Na_ss=8.275760934113475, Na_i=8.458237916297405, K_i=135.91341523478465,
            Ca_ss=0.0001629885297072182, Ca_i1=0.00016629798049991093, Ca_i2=0.00016540163572274948,
            Ca_i3=0.00016424143519844448, Ca_i4=0.00016338441133928417, Ca_SR1=0.5955200499920739,
            Ca_SR2=0.5904537041629887, Ca_SR3=0.5838174988948891, Ca_SR4=0.5791748899324594,
        )  # fmt: skip
        return self._state(state)

    def resting_state_2014(self) -> SkibsbyeState:
        """The resting state of the 2014 model to four digits; hL and O_KCa, which it did not have, at steady state."""
        state = SkibsbyeState(
            V=-75.2, m=0.002854, h1=0.9001, h2=0.9003, d=1.104e-05, hL=0.6519112553005418, f2=0.9988, fca=0.9226,
            r=0.0009795, s=0.9535, sus_r=0.0003196, sus_s=0.9726, n=0.004421, pa=4.354e-05, y=0.055,
            O_KCa=0.09835362750087688, RyR_o_ss=5.934e-05, RyR_c_ss=0.9999, RyR_a_ss=0.2453, RyR_o_1=0.0001916,
            RyR_c_1=0.997, RyR_a_1=0.2033, RyR_o_2=0.0001485, RyR_c_2=0.9985, RyR_a_2=0.2106, RyR_o_3=0.000101,
            RyR_c_3=0.9993, RyR_a_3=0.2229, SERCA_Ca_1=0.005351, SERCA_Ca_2=0.005213, SERCA_Ca_3=0.00502,
            SERCA_Ca_ss=0.004891, Na_ss=8.513, Na_i=8.851, K_i=135.2, Ca_ss=0.0001737, Ca_i1=0.0001672,
            Ca_i2=0.000167, Ca_i3=0.000168, Ca_i4=0.0001719, Ca_SR1=0.5755, Ca_SR2=0.5664, Ca_SR3=0.5535,
            Ca_SR4=0.5428,
        )  # fmt: skip
        return self._state(state)

    def _state(self, usual: SkibsbyeState) -> Any:
        """A state with what the sodium channel has in place of m, h1 and h2."""
        usual = SkibsbyeState(*numbers(usual, self.g_Na.dtype))
        others = {name: value for name, value in usual._asdict().items() if name not in AbstractSodiumGating.states}
        return _state_type(self.sodium.states)(**others, **self.sodium.initial(usual))

    def currents(self, y: Any) -> SkibsbyeCurrents:
        V = y.V
        RT_F = self.R * self.T / self.F
        phi = V / RT_F
        e_phi = jnp.exp(phi)
        driving_Na = V - nernst(1, y.Na_ss, self.Na_o, RT_F)
        driving_Ca = V - nernst(2, y.Ca_ss, self.Ca_o, RT_F)
        u = V - nernst(1, y.K_i, self.K_o, RT_F)
        E_CaL = 60 + 29.2 * jnp.log10(self.Ca_o / 1.8)
        Na_ss3, Na_o3 = y.Na_ss**3, self.Na_o**3
        exchange = jnp.exp((0.45 - 1) * phi)
        w = (jnp.exp(self.Na_o / 67.3) - 1) / 7
        pump = (1 + (11 / y.Na_ss) ** 4) * (1 + 0.1245 * jnp.exp(-0.1 * phi) + 0.0365 * w / e_phi)

        g = 1 / self.C_m  # nS to nS/pF, pA to pA/pF
        open_f = g * self.g_f * y.y
        I_f_Na = 0.2677 * open_f * driving_Na
        I_NaL = g * self.g_NaL * y.m**3 * y.hL * driving_Na
        membrane = dict(
            I_Na=g * self.g_Na * self.sodium.open_probability(y) * driving_Na + I_NaL,
            I_CaL=g * self.g_CaL * y.d * y.f2 * y.fca * (V - E_CaL),
            I_to=g * self.g_to * y.r * y.s * u,
            I_sus=g * self.g_sus * y.sus_r * y.sus_s * u,
            I_Kr=g * self.g_Kr * jnp.sqrt(self.K_o / 5.4) * y.pa * sigmoid(-(V + 74) / 24) * u,
            I_Ks=g * self.g_Ks * y.n**2 * u,
            I_K1=g * self.g_K1 * self.K_o**0.4457 * u * sigmoid(-1.5 * (u + 3.6) / RT_F),
            I_KCa=g * self.g_KCa * y.O_KCa * sigmoid(-(u + 120) / 45) * u,
            I_f=I_f_Na + 0.7323 * open_f * u,
            I_Nab=g * self.g_Nab * driving_Na,
            I_Cab=g * self.g_Cab * driving_Ca,
            I_CaP=g * self.I_CaP_max * y.Ca_ss / (y.Ca_ss + 0.0005),
            I_NaK=g * self.I_NaK_max * self.K_o / (self.K_o + 1.5) / pump,
            I_NaCa=g * self.k_NaCa * exchange * (e_phi * Na_ss3 * self.Ca_o - Na_o3 * y.Ca_ss)
            / (1 + 0.0003 * (Na_o3 * y.Ca_ss + Na_ss3 * self.Ca_o)),
        )  # fmt: skip
        nu_ss, nu = self.nu_ss * PER_MS, self.nu_bulk * PER_MS
        SR_1, bulk_1 = _serca(V_1, y.Ca_i1, y.Ca_SR1, y.SERCA_Ca_1)
        SR_2, bulk_2 = _serca(V_2, y.Ca_i2, y.Ca_SR2, y.SERCA_Ca_2)
        SR_3, bulk_3 = _serca(V_3, y.Ca_i3, y.Ca_SR3, y.SERCA_Ca_3)
        SR_ss, bulk_ss = _serca(V_SS, y.Ca_ss, y.Ca_SR4, y.SERCA_Ca_ss)
        return SkibsbyeCurrents(
            **membrane,
            I_NaL=I_NaL,
            I_f_Na=I_f_Na,
            J_rel_1=_release(nu, V_1, y.RyR_o_1, y.RyR_c_1, y.Ca_i1, y.Ca_SR1),
            J_rel_2=_release(nu, V_2, y.RyR_o_2, y.RyR_c_2, y.Ca_i2, y.Ca_SR2),
            J_rel_3=_release(nu, V_3, y.RyR_o_3, y.RyR_c_3, y.Ca_i3, y.Ca_SR3),
            J_rel_ss=_release(nu_ss, V_SS, y.RyR_o_ss, y.RyR_c_ss, y.Ca_ss, y.Ca_SR4),
            J_SERCA_SR_1=SR_1,
            J_SERCA_SR_2=SR_2,
            J_SERCA_SR_3=SR_3,
            J_SERCA_SR_ss=SR_ss,
            J_bulk_SERCA_1=bulk_1,
            J_bulk_SERCA_2=bulk_2,
            J_bulk_SERCA_3=bulk_3,
            J_bulk_SERCA_ss=bulk_ss,
            J_leak_1=6e-6 * V_1 * (y.Ca_SR1 - y.Ca_i1),
            J_leak_2=6e-6 * V_2 * (y.Ca_SR2 - y.Ca_i2),
            J_leak_3=6e-6 * V_3 * (y.Ca_SR3 - y.Ca_i3),
            J_leak_ss=6e-6 * V_SS * (y.Ca_SR4 - y.Ca_ss),
            J_j_nj=0.833 * AREA / X_CA * 1e-6 * (y.Ca_ss - y.Ca_i4),
            J_Na=0.146e-3 * AREA / X_NA * 1e-6 * (y.Na_ss - y.Na_i),
            I_ion_total=sum(membrane.values()),
        )

    def calcium_influx(self, i: SkibsbyeCurrents):
        """Calcium that enters the subspace through the membrane, mM nL/ms."""
        I_Ca = i.I_CaL + i.I_Cab + i.I_CaP - 2 * i.I_NaCa
        return -I_Ca * (self.C_m * PER_MS / self.F) / 2

    def rates(self, t, y: Any, i_stim) -> Any:
        i = self.currents(y)
        charge = self.C_m * PER_MS / self.F  # pA/pF to mM nL/ms of a monovalent ion
        I_Na = i.I_Na + i.I_Nab + 3 * i.I_NaK + 3 * i.I_NaCa + i.I_f_Na
        I_K = i.I_to + i.I_sus + i.I_K1 + i.I_Kr + i.I_Ks - 2 * i.I_NaK + (i.I_f - i.I_f_Na) + i.I_KCa + i_stim
        into_ss = i.J_leak_ss - i.J_bulk_SERCA_ss + i.J_rel_ss - i.J_j_nj + self.calcium_influx(i)
        into_1 = i.J_leak_1 - i.J_bulk_SERCA_1 + i.J_rel_1
        into_2 = i.J_leak_2 - i.J_bulk_SERCA_2 + i.J_rel_2
        into_3 = i.J_leak_3 - i.J_bulk_SERCA_3 + i.J_rel_3
        Na_buffer = 0.49 * 2.31 * 10 / (y.Na_ss + 10) ** 2
        return _state_type(self.sodium.states)(
            V=-(i.I_ion_total + i_stim),
            **self.sodium.rates(y.V, y),
            fca=Relaxation(1 / (1 + y.Ca_ss / 6e-4), jnp.full_like(y.fca, 2.0)),
            O_KCa=Relaxation.from_rates(47e3 * y.Ca_ss**2, 0.013),
            **_ryanodine_receptor("ss", 1000 * y.Ca_ss, y.RyR_a_ss, 4.3, 13.0),
            **_ryanodine_receptor("1", 1000 * y.Ca_i1, y.RyR_a_1, 16.0, 74.0),
            **_ryanodine_receptor("2", 1000 * y.Ca_i2, y.RyR_a_2, 16.0, 74.0),
            **_ryanodine_receptor("3", 1000 * y.Ca_i3, y.RyR_a_3, 16.0, 74.0),
            SERCA_Ca_1=(i.J_bulk_SERCA_1 - i.J_SERCA_SR_1) / (2 * V_1),
            SERCA_Ca_2=(i.J_bulk_SERCA_2 - i.J_SERCA_SR_2) / (2 * V_2),
            SERCA_Ca_3=(i.J_bulk_SERCA_3 - i.J_SERCA_SR_3) / (2 * V_3),
            SERCA_Ca_ss=(i.J_bulk_SERCA_ss - i.J_SERCA_SR_ss) / (2 * V_SS),
            Na_ss=-(i.J_Na + I_Na * charge) / V_SS / (1 + Na_buffer),
            Na_i=i.J_Na / V_I,
            K_i=-I_K * charge / V_CYT,
            Ca_ss=into_ss / V_SS / (1 + ss_buffering(y.Ca_ss)),
            Ca_i1=_shell(1, y.Ca_i1, y.Ca_i1, y.Ca_i2, into_1 / V_1),
            Ca_i2=_shell(2, y.Ca_i1, y.Ca_i2, y.Ca_i3, into_2 / V_2),
            Ca_i3=_shell(3, y.Ca_i2, y.Ca_i3, y.Ca_i4, into_3 / V_3),
            Ca_i4=_shell(4, y.Ca_i3, y.Ca_i4, y.Ca_i4, i.J_j_nj / V_4),
            Ca_SR1=_SR_shell(1, y.Ca_SR1, y.Ca_SR1, y.Ca_SR2, (i.J_SERCA_SR_1 - i.J_leak_1 - i.J_rel_1) / V_1),
            Ca_SR2=_SR_shell(2, y.Ca_SR1, y.Ca_SR2, y.Ca_SR3, (i.J_SERCA_SR_2 - i.J_leak_2 - i.J_rel_2) / V_2),
            Ca_SR3=_SR_shell(3, y.Ca_SR2, y.Ca_SR3, y.Ca_SR4, (i.J_SERCA_SR_3 - i.J_leak_3 - i.J_rel_3) / V_3),
            Ca_SR4=_SR_shell(4, y.Ca_SR3, y.Ca_SR4, y.Ca_SR4, (i.J_SERCA_SR_ss - i.J_leak_ss - i.J_rel_ss) / V_4),
            **_voltage_gates(y.V),
            hL=Relaxation(sigmoid(-(y.V + 72) / 5.1), jnp.full_like(y.V, 200.0)),
        )


@of_one_variable
def _voltage_gates(V) -> dict[str, Relaxation]:
    e_y = jnp.exp(V / 16.54103)
    return dict(
        d=Relaxation(sigmoid((V + 9.5) / 6.9), 0.65 * jnp.exp(-(((V + 35) / 30) ** 2)) + 0.5),
        # Not monotone: the second sigmoid recovers above 60 mV and carries the steady state to 1.04.
        f2=Relaxation(
            0.04 + 0.96 * sigmoid(-(V + 25.5) / 8.4) + sigmoid((V - 60) / 8),
            1340 * jnp.exp(-(((V + 40) / 14.2) ** 2)) + 40,
        ),
        r=Relaxation(sigmoid((V - 1) / 11), 2.4 * jnp.exp(-((V / 30) ** 2)) + 1),
        s=Relaxation(sigmoid(-(V + 40.5) / 11.5), 18 * jnp.exp(-(((V + 52.45) / 15.88) ** 2)) + 9.6),
        sus_r=Relaxation(sigmoid((V + 6) / 8.6), 6.6 * sigmoid(-(V + 5) / 12) + 0.36),
        sus_s=Relaxation(sigmoid(-(V + 7.5) / 10), 430 * sigmoid(-(V + 60) / 10) + 2200),
        n=Relaxation(sigmoid((V + 3.8) / 14.25), rate=(1 + jnp.exp(-(V + 2.436) / 14.12)) / 990.1),
        pa=Relaxation(
            sigmoid((V + 10) / 5),
            550 * sigmoid((V + 22) / 9) * 6 * sigmoid(-(V + 11) / 9) + 230 * sigmoid(-(V + 40) / 20),
        ),
        y=Relaxation(sigmoid(-(V + 97.82874) / 12.48025), rate=(0.00332 / e_y + 23.71839 * e_y) / 1000),
    )


def _ryanodine_receptor(where: str, Ca, a, tau_o: float, tau_c: float) -> dict[str, Relaxation]:
    """Opening o, closing c and adaptation a under `Ca` (uM); o and c follow a."""
    return {
        f"RyR_o_{where}": Relaxation(sigmoid((Ca - (a + 0.22)) / 0.03), jnp.full_like(a, tau_o)),
        f"RyR_c_{where}": Relaxation(sigmoid(-(Ca - (a + 0.02)) / 0.01), jnp.full_like(a, tau_c)),
        f"RyR_a_{where}": Relaxation(0.505 - 0.427 * sigmoid(-(Ca - 0.29) / 0.082), jnp.full_like(a, 850.0)),
    }


def _release(nu, volume: float, o, c, Ca, Ca_SR):
    """Release from the SR (mM nL/ms), which a nearly empty SR shuts."""
    return nu * volume * o * c * sigmoid((Ca_SR - 0.3) / 0.1) * (Ca_SR - Ca)


def _serca(volume: float, Ca, Ca_SR, bound):
    """SERCA to SR, and cytosol to SERCA (mM nL/ms)."""
    free = SERCA_TOTAL - bound
    to_SR = 2 * volume * (SERCA_K4 * bound - SERCA_K3 * Ca_SR**2 * free)
    from_bulk = 2 * volume * (SERCA_K1 * Ca**2 * free - SERCA_K2 * bound)
    return to_SR, from_bulk


def buffering(Ca):
    """d(bound)/d(free) of the mobile cytosolic buffer."""
    return BUFFER * K_BUFFER / (Ca + K_BUFFER) ** 2


def ss_buffering(Ca):
    """d(bound)/d(free) of the buffers of the subspace: those of the membrane and the mobile one."""
    return 165 * 1.1 / (Ca + 1.1) ** 2 + 13 * 0.013 / (Ca + 0.013) ** 2 + buffering(Ca)


def sr_buffering(Ca):
    """d(bound)/d(free) of the buffer of the SR."""
    return 6.7 * 0.8 / (Ca + 0.8) ** 2


def _laplacian(k: int, inner, centre, outer):
    """Radial Laplacian at shell k, per um^2."""
    return (outer - 2 * centre + inner + (outer - inner) / (2 * k)) / DX**2


def _shell(k: int, inner, Ca, outer, source):
    """d(Ca)/dt of cytosolic shell k with a mobile buffer at equilibrium; `source` in mM/ms."""
    gamma = buffering(Ca)
    spread = (D_CA + D_BUFFER * gamma) * _laplacian(k, inner, Ca, outer)
    drift = 2 * gamma * D_BUFFER * ((outer - inner) / (2 * DX)) ** 2 / (K_BUFFER + Ca)
    return (spread - drift + source) / (1 + gamma)


def _SR_shell(k: int, inner, Ca, outer, source):
    """d(Ca)/dt of SR shell k with its buffer at equilibrium; `source` in mM/ms of the cytosolic shell's volume."""
    spread = D_SR * _laplacian(k, inner, Ca, outer)
    return (spread + source / SR_FRACTION) / (1 + sr_buffering(Ca))
