"""Every model against independent implementations, and what its equations promise.

The comparison itself is `jaxcardio.verification`, which `jaxcardio check` runs too.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcardio import models
from jaxcardio.cell import AbstractCell, astype
from jaxcardio.models import skibsbye
from jaxcardio.relaxation import Relaxation, derivative, is_relaxation
from jaxcardio.simulation.closed_form import voltage_gates
from jaxcardio.verification import CASES, bar, rates_and_currents, rates_errors, reference, states, trace_error

OUR_NAME = {"Cai": "Ca_i", "Nai": "Na_i", "Ki": "K_i"}


IONIC = ("ten_tusscher", "ten_tusscher_panfilov", "kernik", "skibsbye")
every_model = pytest.mark.parametrize("name", CASES)
ionic_model = pytest.mark.parametrize("name", IONIC)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize(("name", "group"), [(n, g) for n, c in CASES.items() for g in c.rhs])
def test_rates_and_currents_agree_with_the_reference(name, group, dtype):
    case = CASES[name]
    dy, currents = rates_and_currents(name, group, dtype)
    assert {x.dtype for x in (*dy, *currents)} == {jnp.dtype(dtype)}
    errors = rates_errors(name, group, dtype)
    assert {k: e for k, e in errors.items() if not e <= bar(name, group, dtype)} == {}
    named = [n for n in reference(case.file).get("meta/current_names", []) if n != "i_stim_internal"]
    assert list(errors) == [*(f"d{n}/dt" for n in dy._fields), *named]


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@every_model
def test_a_short_trace_agrees_with_the_reference(name, dtype):
    assert trace_error(name, dtype) <= CASES[name].trace_bar


@pytest.mark.parametrize(
    ("name", "per_pF", "dV", "others"),
    [
        (
            "kernik", 1, -1.15804725e-4,
            dict(I_K1=0.115532738, I_Kr=0.109980715, I_NaCa=-0.309979332, I_NaK=0.180081611,
                 Ca_i=-1.31165126e-6, Na_i=7.9565655e-5, K_i=2.23169357e-5),
        ),
        (
            "ten_tusscher", 1, 0.176010978,
            dict(I_NaCa=-0.485536753, I_p_Ca=0.235714286, I_NaK=0.125322662, I_K1=0.116640849),
        ),
        (
            "skibsbye", 50, 1.62139291e-3,
            dict(I_K1=21.8783125, I_NaK=12.9652341, I_Cab=-16.6667298, I_Nab=-8.94564432, I_NaCa=-8.39962798),
        ),
    ],
)  # fmt: skip
def test_published_digits_at_the_initial_state(name, per_pF, dV, others):
    cell = CASES[name].make()
    y = cell.initial_state()
    dy, currents = cell.vector_field(0.0, y), cell.currents(y)
    assert float(dy.V) == pytest.approx(dV, rel=1e-8)
    for key, value in others.items():
        found = getattr(currents, key) * per_pF if key.startswith("I_") else getattr(dy, key)
        assert found == pytest.approx(value, rel=5e-9), key


@ionic_model
def test_names_defaults_and_initial_states_are_those_of_the_reference(name):
    cell, ref = CASES[name].make(), reference(CASES[name].file)
    y = cell.initial_state()
    assert [OUR_NAME.get(n, n) for n in ref["meta/state_names"]] == list(y._fields)
    assert np.array_equal(np.stack(y), ref["meta/initial_state"])
    found = cell.parameters()
    assert list(found)[: len(ref["meta/parameter_names"])] == ref["meta/parameter_names"]
    assert [float(found[n].value) for n in ref["meta/parameter_names"]] == list(ref["meta/parameter_defaults"])
    if name == "skibsbye":
        assert np.array_equal(np.stack(cell.resting_state_2014()), ref["meta/initial_state_2014"])
    if name == "kernik":
        assert ref["meta/parameter_names"] == list(cell.INPUTS)
        assert [cell.INPUTS[i] for i in ref["meta/six_current_parameter_indices"]] == list(cell.SIX_CURRENTS)
        assert len(set(cell.SIX_CURRENTS)) == 52


@every_model
def test_everything_has_a_unit(name):
    cell = CASES[name].make()
    y = cell.initial_state()
    assert set(cell.units) == {*y._fields, *cell.currents(y)._fields}
    assert all(p.unit and p.doc and p.value.shape == () for p in cell.parameters().values())
    assert cell.potential in y._fields
    assert set(cell.conductances) <= set(cell.currents(y)._fields)
    assert set(cell.conductances.values()) <= set(cell.parameters())


@ionic_model
def test_a_current_without_its_conductance_is_zero(name):
    cell = CASES[name].make()
    y = states(name, next(iter(CASES[name].rhs)))
    full = cell.currents(y)
    for current, conductance in cell.conductances.items():
        without = cell.replace(**{conductance: 0.0}).currents(y)
        rest = (
            full.I_NaL if (name, current) == ("skibsbye", "I_Na") else 0.0
        )  # the late current has its own conductance
        assert jnp.all(getattr(without, current) == rest), current
        assert jnp.any(getattr(full, current) != 0), current
    total = sum(getattr(full, i) for i in cell.conductances if i != "I_NaL")
    assert np.allclose(total, full.I_ion_total, rtol=1e-12, atol=1e-9)
    assert jnp.array_equal(cell.vector_field(0.0, y).V, -full.I_ion_total)


@pytest.mark.parametrize(
    ("name", "group", "singular"),
    [("ten_tusscher", "rhs", 0.0), ("ten_tusscher_panfilov", "rhs_epi", 15.0), ("kernik", "rhs_V0", 0.0)],
)
def test_constant_field_currents_have_their_limit_where_their_quotient_has_none(name, group, singular):
    cell, y = CASES[name].make(), states(name, group)

    def at(V):
        return cell.currents(y._replace(V=jnp.full_like(y.V, V)))

    for current in [n for n in cell.currents(y)._fields if n.startswith("I_CaL")]:
        mean = (getattr(at(singular + 1e-4), current) + getattr(at(singular - 1e-4), current)) / 2
        assert np.allclose(getattr(at(singular), current), mean, rtol=1e-8, atol=0), current


# Plausible ranges by state; what is not listed is a gate or an occupancy in [0, 1].
SINGULAR = [0.0, -40.0, -60.0, -47.13, -37.78, 10.0, 15.0, 1e-6, -1e-6]
CALCIUM, STORE, SODIUM, POTASSIUM = (2e-5, 1e-2), (0.01, 5.0), (1.0, 30.0), (80.0, 160.0)
RANGES = {
    **dict.fromkeys(("Ca_i", "Ca_ss", "Ca_i1", "Ca_i2", "Ca_i3", "Ca_i4"), CALCIUM),
    **dict.fromkeys(("Ca_SR", "Ca_SR1", "Ca_SR2", "Ca_SR3", "Ca_SR4"), STORE),
    **dict.fromkeys(("SERCA_Ca_1", "SERCA_Ca_2", "SERCA_Ca_3", "SERCA_Ca_ss"), (0.0, 0.03)),
    **dict.fromkeys(("Na_i", "Na_ss"), SODIUM),
    "K_i": POTASSIUM,
}
AP_RANGES = {"u": (-0.25, 1.5), "v": (0.0, 3.0)}  # u + mu2 must stay positive
MODIFIED_RANGES = {"v": (-0.5, 1.5), "w": (-1.0, 8.0)}


def interval(low: float, high: float):
    low, high = float(np.float32(low)), float(np.float32(high))
    return st.one_of(st.sampled_from([low, high]), st.floats(low, high, width=32, allow_subnormal=False))


def state_values(name: str):
    ranges = {"aliev_panfilov": AP_RANGES, "modified": MODIFIED_RANGES}.get(name, RANGES)
    fields = CASES[name].make().initial_state()._fields
    potential = st.one_of(st.sampled_from(SINGULAR), st.floats(-150.0, 100.0, width=32))
    return st.tuples(*(potential if n == "V" else interval(*ranges.get(n, (0.0, 1.0))) for n in fields))


# The two gates whose steady state, as published, is no probability. f2 recovers a second time above 60 mV:
# 0.04 + 0.96 * 0 + 1. fCa at no calcium: (1 + 0.1 sigmoid(5) + 0.2 sigmoid(0.9375) + 0.23) / 1.46.
LARGEST = {"f2": 1.04, "fCa": 1.00894}
OCCUPANCIES = ("R", "O", "I")
"""Of one receptor of the Kernik cell: they relax, but are bounded together (R + O + I <= 1) and not each by itself."""


@functools.cache
def compiled(name: str, dtype):
    """state vector, dt -> are right-hand side, Jacobian and gradient in every parameter finite; gates after a step."""
    cell = astype(CASES[name].make(), dtype)
    State = type(cell.initial_state())

    def field(c: AbstractCell, vector):
        return jnp.stack(c.vector_field(0.0, State(*vector)))

    @jax.jit
    def evaluate(vector, dt):
        y = State(*vector)
        stepped = {
            n: getattr(y, n) + r.increment(getattr(y, n), dt)
            for n, r in zip(State._fields, cell.rates(0.0, y, 0.0), strict=True)
            if is_relaxation(r) and n not in OCCUPANCIES
        }
        jacobian = jax.jacfwd(functools.partial(field, cell))(vector)
        gradient = jax.grad(lambda c: jnp.sum(field(c, vector)))(cell)
        numbers = jnp.concatenate([x.ravel() for x in (field(cell, vector), jacobian, *jax.tree.leaves(gradient))])
        return jnp.isfinite(numbers).all(), stepped

    return evaluate


@pytest.mark.parametrize("dtype", [jnp.float64, pytest.param(jnp.float32, marks=pytest.mark.slow)])
@every_model
def test_finite_with_finite_gradients_and_gates_stay_bounded(name, dtype):
    evaluate = compiled(name, dtype)

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(values=state_values(name), log_dt=st.floats(-3, 1))
    def check(values, log_dt):
        finite, stepped = evaluate(jnp.asarray(values, dtype), jnp.asarray(10.0**log_dt, dtype))
        assert finite
        if name in IONIC:
            for gate, x in stepped.items():
                assert 0 <= x <= LARGEST.get(gate, 1.0) * (1 + 4 * jnp.finfo(dtype).eps), gate

    check()


def total_per_free(total, K, free):
    """Change of free and bound together by change of free, with the buffer at equilibrium."""
    return 1 + total * K / (free + K) ** 2


@pytest.mark.parametrize("i_stim", [0.0, -7.0])
@ionic_model
def test_what_crosses_the_membrane_is_carried_by_ions(name, i_stim):
    """C_m dV/dt = F d(Na + K + 2 Ca)/dt, with the stimulus as potassium (Kernik: as no ion).

    Ten Tusscher and Kernik conserve charge over the cell. Skibsbye does at the membrane; its finite differences between
    the shells do not conserve calcium, so calcium is counted where it enters, in the subspace.
    """
    c, y = CASES[name].make(), states(name, next(iter(CASES[name].rhs)))
    dy = derivative(c.rates(0.0, y, i_stim), y)
    i = c.currents(y)
    if name == "skibsbye":
        to_current = 1e3 * c.F / c.C_m
        bound = 165 * 1.1 / (y.Ca_ss + 1.1) ** 2 + 13 * 0.013 / (y.Ca_ss + 0.013) ** 2
        entered = [skibsbye.V_SS * (total_per_free(0.024, 0.00238, y.Ca_ss) + bound) * dy.Ca_ss]
        entered += [i.J_bulk_SERCA_ss, i.J_j_nj, -i.J_leak_ss, -i.J_rel_ss]
        sodium = skibsbye.V_SS * total_per_free(0.49 * 2.31, 10, y.Na_ss) * dy.Na_ss + skibsbye.V_I * dy.Na_i
        ions = [sodium, skibsbye.V_CYT * dy.K_i, *(2 * j for j in entered)]
    else:
        to_current = c.V_c * c.F / c.C_m
        if name == "kernik":
            buffers, V_sr = ((0.06, 0.0006), (12, 0.3)), c.V_SR
        else:
            buffers, V_sr = ((c.Buf_c, c.K_buf_c), (c.Buf_sr, c.K_buf_sr)), c.V_sr
        cytosol = total_per_free(*buffers[0], y.Ca_i) * dy.Ca_i
        store = V_sr / c.V_c * total_per_free(*buffers[1], y.Ca_SR) * dy.Ca_SR
        ions = [dy.Na_i, dy.K_i, 2 * cytosol, 2 * store]
        if name == "ten_tusscher_panfilov":
            ions.append(2 * c.V_ss / c.V_c * total_per_free(c.Buf_ss, c.K_buf_ss, y.Ca_ss) * dy.Ca_ss)
    carried = [to_current * ion for ion in ions]
    if name == "kernik":
        carried.append(-i_stim)
    scale = abs(dy.V) + sum(abs(x) for x in carried)
    assert jnp.max(abs(dy.V - sum(carried)) / scale) < 1e-12


def test_temperature_slows_the_fourteen_gates_of_kernik_and_nothing_else():
    warm, y = models.KernikClancy2019(), states("kernik", "rhs_default")
    cold = warm.replace(temperature=298.0)
    assert all(jax.tree.leaves(jax.tree.map(jnp.array_equal, warm.currents(y), cold.currents(y))))
    slowed = []
    for n, a, b in zip(y._fields, warm.rates(0.0, y, 0.0), cold.rates(0.0, y, 0.0), strict=True):
        if is_relaxation(a) and n not in OCCUPANCIES:
            assert jnp.array_equal(a.steady, b.steady)
            assert np.allclose(b.tau / a.tau, 3**1.2, rtol=1e-14, atol=0)
            slowed.append(n)
        else:
            assert all(jax.tree.leaves(jax.tree.map(jnp.array_equal, a, b)))
    indices = reference("kernik_clancy_2019")["meta/kinetic_gate_state_indices"]
    assert slowed == [y._fields[i] for i in indices]


@pytest.mark.parametrize(("group", "temperature"), [("voltage_clamp", 310.0), ("voltage_clamp_298K", 298.0)])
def test_gates_of_kernik_under_a_held_potential(group, temperature):
    """Thirteen gates depend on V alone, so 250 ms of a clamp step are one exponential: compared with CVODE's."""
    ref, cell = reference("kernik_clancy_2019"), models.KernikClancy2019().replace(temperature=temperature)
    steps = jnp.asarray(ref[f"{group}/V_step"])
    y = type(cell.initial_state())(*(jnp.full_like(steps, x) for x in ref[f"{group}/state_after_hold"]))
    y = y._replace(V=steps)
    end = dict(zip(y._fields, ref[f"{group}/final_states"].T, strict=True))
    gates = {n: getattr(cell.rates(0.0, y, 0.0), n) for n in voltage_gates(cell)}
    assert len(gates) == 13
    for n, r in gates.items():
        assert np.allclose(r.at(getattr(y, n), 250.0), end[n], rtol=1e-8, atol=1e-10), n
    currents = cell.currents(y)
    if group == "voltage_clamp":
        for k, current in enumerate(ref["voltage_clamp/currents@order"]):
            found = currents.I_ion_total if current == "i_total" else getattr(currents, current.replace("i_", "I_", 1))
            assert np.allclose(found, ref["voltage_clamp/currents"][:, k, 0], rtol=1e-8, atol=1e-10), current
    else:
        assert np.allclose(currents.I_ion_total, ref[f"{group}/i_total"][:, 0], rtol=1e-8, atol=1e-10)


def test_sodium_gating_of_the_atrial_cell():
    ref = {n.split("/")[1]: x for n, x in reference("skibsbye_2016").items() if n.startswith("ina_gating/")}
    gating = models.SkibsbyeSodiumGating().relaxations(jnp.asarray(ref["V"]))
    for gate, steady, tau in zip(gating, ("m_inf", "h_inf", "h_inf"), ("tau_m_s", "tau_h1_s", "tau_h2_s"), strict=True):
        assert np.allclose(gate.steady, ref[steady], rtol=1e-12, atol=1e-300)
        assert np.allclose(gate.tau, 1000 * ref[tau], rtol=1e-12, atol=0)


def test_sodium_gating_can_be_exchanged():
    class Frozen(models.AbstractSodiumGating):
        def relaxations(self, V):
            still = Relaxation(0 * V, 0 * V + 7.0)
            return models.SodiumRelaxations(still, still, still)

    cell = models.Skibsbye2016(sodium=Frozen())
    y = cell.initial_state()
    assert cell.vector_field(0.0, y).m == -y.m / 7
    assert "m_k" not in cell.parameters()
    assert models.Skibsbye2016().replace(m_k=8.0).sodium.m_k == 8.0  # pyright: ignore[reportAttributeAccessIssue]


def test_modified_aliev_panfilov_without_w_is_the_second_order_equation_of_the_physics_informed_study():
    """F = v'^2/v^2 - v''/v - v'[eps/v - k(1 - 2v + a)] - k eps (v^2 - a v + a) = 0, its equation 15."""
    cell, y = models.AlievPanfilovModified().replace(a=0.1, x=0.95), states("modified", "rhs_modified")
    y = y._replace(v=jnp.abs(y.v) + 0.05)
    dy, d2y = jax.jvp(lambda y: cell.vector_field(0.0, y), (y,), (cell.vector_field(0.0, y),))
    v, dv, eps = y.v, dy.v, cell.recovery_rate(y.v)
    terms = [
        dv**2 / v**2,
        -d2y.v / v,
        -dv * (eps / v - cell.k * (1 - 2 * v + cell.a)),
        -cell.k * eps * (v**2 - cell.a * v + cell.a),
    ]
    assert jnp.max(abs(sum(terms)) / sum(abs(x) for x in terms)) < 1e-13
