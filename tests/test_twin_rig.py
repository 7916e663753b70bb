"""The voltage-clamp rig: its limits are the ideal clamp and the analytic circuit, and its derivatives are right."""

import dataclasses

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.cell import AbstractCell
from jaxcardio.simulation.grid import divided
from jaxcardio.twin import Experiment, windows_of
from jaxcardio.twin.rig import (
    Rig,
    RigExperiment,
    RiggedCell,
    capacitive_blank,
    measured_noise,
    recorded_current,
    rig_grid,
    with_noise,
)

KERNIK = jc.models.KernikClancy2019()
PASSIVE = KERNIK.replace(**dict.fromkeys(KERNIK.conductances.values(), 0.0))
STEPS = jc.protocols.VoltageSteps([-80.0, -20.0, 20.0, -60.0], [30.0, 30.0, 40.0, 20.0])
WINDOWS = windows_of(STEPS, 120.0)
SINCE = WINDOWS.times - np.array([0.0, 30.0, 60.0, 100.0])[np.searchsorted([30.0, 60.0, 100.0], WINDOWS.times, "right")]
TYPICAL = Rig(R_s=12.0, C_cell=40.0, C_set=44.0, g_leak=1.0, V_offset=1.0, I_offset=0.1, alpha=0.7)
FEW = Experiment(STEPS, WINDOWS, names=("Na_g", "m_6", "CaL_p"))
EXPERIMENT = RigExperiment(FEW, TYPICAL, {"R_s": 0.3, "C_cell": 0.1, "g_leak": 1.0, "V_offset": 2.0, "alpha": 0.2})


def seen(rig: Rig, cell: AbstractCell = KERNIK, grid=None):
    return np.asarray(recorded_current(cell, rig, STEPS, WINDOWS.times, grid))


def ideal():
    run = jc.simulate(KERNIK, STEPS, t1=120.0, save_at=WINDOWS.times, outputs=["I_ion_total"])
    return np.asarray(run.ys.I_ion_total)


def test_without_resistance_leak_and_filter_it_is_the_ideal_clamp():
    rig = Rig(R_s=1e-4, tau_filter=1e-3)
    late = SINCE > 1.0
    assert np.abs(seen(rig) - ideal())[late].max() < 3e-4 * np.ptp(ideal())


def test_full_correction_approaches_the_ideal_clamp():
    late = SINCE > 5.0
    rigs = [Rig(R_s=20.0, alpha=alpha, tau_filter=1e-3) for alpha in (0.0, 0.4, 0.8, 0.95, 0.99, 0.9999)]
    away = [np.abs(seen(rig) - ideal())[late].max() for rig in rigs]
    assert (np.diff(away) < 0).all()
    assert away[-1] < 1e-3 * np.ptp(ideal()[late])


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_a_passive_cell_charges_like_the_circuit(alpha):
    """One step of the command: exponential charging, the steady leak, and the filter of both."""
    R, C, g, tau_f, V0, V1 = 15.0 * (1 - alpha), 50.0, 2.0, 0.05, -75.596602, -80.0
    rig = Rig(R_s=15.0, C_cell=C, C_set=C, g_leak=g, E_leak=10.0, alpha=alpha, tau_filter=tau_f)
    conductance = 1e3 / R
    end = (conductance * V1 + g * 10.0) / (conductance + g)
    tau = C / (conductance + g)
    steady, charging = conductance * (V1 - end) / C, conductance * (end - V0) / C / (1 - tau_f / tau)
    t = WINDOWS.times[WINDOWS.times < 30.0]
    exact = steady + charging * np.exp(-t / tau) - (steady + charging) * np.exp(-t / tau_f)
    found = seen(rig, PASSIVE)[: len(t)]
    assert np.abs(found - exact).max() < 1e-3 * np.abs(exact).max()
    assert np.isclose(found[-1], g * (end - 10.0) / C, rtol=1e-6)


@pytest.mark.parametrize(("alpha", "beta"), [(0.8, 0.0), (0.8, 0.6), (0.3, 0.8)])
def test_a_transient_cancelled_with_the_right_settings_is_not_seen(alpha, beta):
    """And the membrane is charged as fast as is predicted, whatever is corrected."""
    rig = Rig(alpha=alpha, beta=beta, cancelled=1.0)
    uncancelled = dataclasses.replace(rig, cancelled=0.0)
    assert np.abs(seen(rig, PASSIVE)).max() < 1e-3 * np.abs(seen(uncancelled, PASSIVE)).max()
    y0 = RiggedCell(PASSIVE, rig).initial_state()._replace(V=jnp.array(-90.0), V_est=jnp.array(-90.0))
    rate = RiggedCell(PASSIVE, rig).vector_field(0.0, y0, jc.protocols.Constant(10.0, kind="current")).V
    assert np.isclose(rate, 100.0 / (1e-3 * 10.0 * 60.0 * (1 - beta)))


def test_what_is_recorded_scales_with_the_capacitance():
    """A cell of twice the membrane behind half the resistance, beside twice the leak, carries twice the current."""
    large = dataclasses.replace(TYPICAL, R_s=6.0, C_cell=80.0, g_leak=2.0, C_set=88.0)
    same_setting = dataclasses.replace(TYPICAL, R_s=6.0, C_cell=80.0, g_leak=2.0)
    assert np.allclose(seen(large), seen(TYPICAL), rtol=1e-9, atol=1e-9)
    assert np.allclose(seen(same_setting) - 0.1, 2 * (seen(TYPICAL) - 0.1), rtol=1e-9, atol=1e-9)


def test_an_offset_of_the_command_is_another_command():
    shifted = dataclasses.replace(TYPICAL, V_offset=6.0)
    command = jc.protocols.VoltageSteps([-75.0, -15.0, 25.0, -55.0], [30.0, 30.0, 40.0, 20.0])
    other = np.asarray(recorded_current(KERNIK, TYPICAL, command, WINDOWS.times))
    assert np.allclose(seen(shifted), other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "rig",
    [
        TYPICAL,
        dataclasses.replace(TYPICAL, beta=0.7, cancelled=1.0),
        dataclasses.replace(TYPICAL, R_s=25.0, alpha=0.0),
    ],
)
def test_finer_steps_show_the_same(rig):
    usual = rig_grid(STEPS, float(WINDOWS.times[-1]), WINDOWS.times)
    fine = seen(rig, grid=divided(usual, np.full(len(usual) - 1, 4)))
    wrong = np.abs(seen(rig) - fine)
    assert wrong[SINCE > 1.0].max() < 5e-4 * np.ptp(ideal())
    assert wrong[SINCE > 6.0].max() < 5e-5 * np.ptp(ideal())


@pytest.mark.slow  # the implicit solver compiles for twenty seconds
def test_an_implicit_solver_shows_the_same():
    command, times = jc.protocols.Constant(-20.0, kind="current"), np.arange(0.5, 20.5, 0.5)
    tight = {"t1": 20.0, "rtol": 1e-9, "atol": 1e-9, "save_at": times, "outputs": ["I_recorded"]}
    exact = jc.simulate(RiggedCell(KERNIK, TYPICAL), command, solver=diffrax.Kvaerno5(), **tight).ys.I_recorded
    ours = recorded_current(KERNIK, TYPICAL, jc.protocols.Constant(-20.0), times)
    wrong = np.abs(ours - exact) / np.ptp(exact)
    assert wrong[times >= 1.0].max() < 3e-4
    assert wrong.max() < 1e-3  # half a millisecond after the step, while I_Na flows


@pytest.mark.slow  # compiles for twenty seconds
def test_the_jacobian_is_the_slope():
    x = 0.1 * jax.random.normal(jax.random.key(0), (2, len(EXPERIMENT.names)))
    current, jacobian = EXPERIMENT.linearised(x)
    assert current.shape == (2, len(WINDOWS.times)) and jacobian.shape == (*current.shape, len(EXPERIMENT.names))
    h = 1e-5
    for k, name in enumerate(EXPERIMENT.names):
        above, below = (EXPERIMENT.linearised(x.at[:, k].add(change))[0] for change in (h, -h))
        slope = (above - below) / (2 * h)
        assert np.abs(jacobian[..., k] - slope).max() < 1e-5 * np.abs(slope).max(), name


@pytest.mark.slow
def test_each_rigged_cell_is_the_one_alone_and_nothing_moved_is_the_prior():
    x = jnp.stack([jnp.zeros(len(EXPERIMENT.names)), 0.1 * jnp.ones(len(EXPERIMENT.names))])
    both, _ = EXPERIMENT.linearised(x)
    assert np.allclose(both[0], seen(TYPICAL), rtol=1e-9, atol=1e-9)
    alone = seen(EXPERIMENT.rigs(x[1]), FEW.cells(x[1, : len(FEW.names)]))
    assert np.allclose(both[1], alone, rtol=1e-9, atol=1e-9)
    assert EXPERIMENT.prior_mean.shape == EXPERIMENT.prior_sd.shape == (len(EXPERIMENT.names),)


def test_moves_keep_each_parameter_in_its_range():
    far = TYPICAL.moved(R_s=jnp.array(-5.0), alpha=jnp.array(5.0), V_offset=jnp.array(-3.0))
    assert np.isclose(far.R_s, 12 * np.exp(-5)) and 0.99 < far.alpha < 1 and far.V_offset == -2
    there = TYPICAL.moved(g_leak=jnp.array(0.3), alpha=jnp.array(0.3))
    back = there.moved(g_leak=jnp.array(-0.3), alpha=jnp.array(-0.3))
    assert np.isclose(back.g_leak, TYPICAL.g_leak) and np.isclose(back.alpha, TYPICAL.alpha)


def test_noise_is_measured_beneath_a_moving_current_and_spikes():
    ts = 0.1 * np.arange(WINDOWS.samples)
    current = np.interp(ts, WINDOWS.times, ideal()) * np.array([[1.0], [0.3]])
    coarse = windows_of(STEPS, 120.0, growth=1.2)
    raw = with_noise(current, 0.05, seed=3)
    raw[:, 250::400] += 30.0
    assert np.allclose(measured_noise(raw, coarse), 0.05, rtol=0.15)
    assert np.array_equal(with_noise(current, 0.05, seed=3), with_noise(current, 0.05, seed=3))
    with pytest.raises(ValueError, match="windows: at most"):
        measured_noise(raw, windows_of(STEPS, 120.0, growth=1.01))


@pytest.mark.parametrize("rig", [TYPICAL, Rig(R_s=20.0), Rig(R_s=5.0, alpha=0.8, beta=0.5, tau_filter=0.1)])
def test_after_the_blank_the_transient_is_gone_and_not_long_before(rig):
    step = 75.596602 - 80.0
    rig = dataclasses.replace(rig, g_leak=0.0, I_offset=0.0, V_offset=0.0)
    blank = capacitive_blank(rig, step=abs(step), level=0.05)
    left = np.abs(seen(rig, PASSIVE))[WINDOWS.times < 30.0]
    times = WINDOWS.times[: len(left)]
    assert left[times > blank].max() < 0.05 < left[times < 0.4 * blank].max()


def test_what_cannot_be_is_refused_by_name():
    with pytest.raises(ValueError, match=r"R_s = .* MOhm; allowed: > 0"):
        Rig(R_s=0.0)
    with pytest.raises(ValueError, match="alpha = 1"):
        Rig(alpha=1.0)
    with pytest.raises(ValueError, match="did you mean R_s"):
        RigExperiment(FEW, unknown={"Rs": 0.1})
    with pytest.raises(ValueError, match=r"rig.g_leak = 0.0 nS"):
        RigExperiment(FEW, Rig(), {"g_leak": 1.0})
    with pytest.raises(ValueError, match="voltage clamp"):
        recorded_current(KERNIK, TYPICAL, jc.protocols.PulseTrain(-3.0, 5.0, 1000.0), np.array([1.0]))
