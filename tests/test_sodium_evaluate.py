"""The evaluation of a sodium gating: it sees no error where there is none, and the right one where there is."""

import json
from typing import Any

import diffrax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.sodium.evaluation.beats import reference_of
from jaxcardio.sodium.evaluation.clamps import peaks_of_last, steady_states
from jaxcardio.sodium.evaluation.pacing import AMPLITUDE, DURATION, Stepping
from jaxcardio.sodium.evaluation.restitution import curves
from jaxcardio.sodium.evaluation.table import Evaluation, Row

CELL = jc.models.Skibsbye2016()
STEPPING = Stepping(jc.RushLarsenMidpoint(), 0.1)
SHORT = {"beats": 1, "cycle_length": 400.0}
"""One beat, most of it."""


def shifted(by: float) -> jc.models.Skibsbye2016:
    """The cell whose sodium channel gates at potentials higher by so many mV."""
    usual = jc.models.SkibsbyeSodiumGating()
    return CELL.replace(m_V_half=usual.m_V_half - by, h_V_half=usual.h_V_half - by)


@pytest.fixture(scope="module")
def beats():
    return {dt: jc.sodium.evaluate(CELL, dt, experiments=["beats"], **SHORT) for dt in (0.1, 0.05, 0.025, 0.0125)}


@pytest.mark.slow
def test_the_cell_beside_itself_is_within_every_bar_and_the_reference_within_its_own(beats):
    for found in beats.values():
        assert found.met, str(found)
        assert repr(found) == str(found)  # what a notebook shows is the table
    assert beats[0.05].row("RMSE of the reference, steps halved").value < 5e-4


@pytest.mark.slow
def test_the_error_of_the_splitting_step_falls_with_the_square_of_the_step(beats):
    coarse, fine = (beats[dt].row("RMSE of V, repolarisation").value for dt in (0.025, 0.0125))
    assert 1.7 < np.log2(coarse / fine) < 3.0


@pytest.mark.slow
def test_what_the_steps_did_in_the_upstroke_is_told_beside_what_the_equations_would(beats):
    steps, model = (beats[0.1].row(name) for name in ("steepest step", "dV/dt max"))
    assert abs(model.difference) < 0.5  # stepped finely from the state before
    assert abs(steps.difference) > 1.0  # the steps of 0.1 ms themselves


@pytest.mark.slow
def test_the_rmse_is_that_of_an_independent_solver(beats):
    pulse = jc.protocols.PulseTrain(AMPLITUDE, DURATION, 400.0)
    curve = beats[0.1].curves["beats"]
    true = jc.simulate(CELL, pulse, t1=400.0, solver=diffrax.Kvaerno5(), rtol=1e-9, save_at=curve.ts, outputs=["V"])
    assert np.abs(true.V - curve.reference).max() < 5e-3
    rmse = np.sqrt(np.mean((curve.V - true.V) ** 2))
    assert np.isclose(rmse, beats[0.1].row("RMSE of V, whole beat").value, rtol=1e-3)


@pytest.mark.parametrize("by", [-1.0, 2.5])
def test_a_shifted_channel_is_seen_by_every_clamp_and_its_shift_read_off(by):
    found = jc.sodium.evaluate(shifted(by), experiments=["clamps"])
    assert abs(found.row("V of half availability").difference - by) < 0.05  # between points 5 mV apart
    for name in ("peak current", "availability"):
        row = found.row(f"{name}, where most wrong")
        assert row.met is False
    assert not found.met


def test_the_cell_beside_itself_has_the_same_clamps():
    found = jc.sodium.evaluate(CELL, 0.05, experiments=["clamps"])
    assert all(row.difference == 0 for row in found.rows)


def test_gates_settle_at_the_steady_states_of_the_equations():
    V = np.array([-120.0, -70.0, -40.0, 0.0])
    exact = CELL.sodium.relaxations(jnp.asarray(V))
    table = jc.sodium.RateTable(CELL.sodium, (0.1,), kind="cubic")  # flows do not say where they settle
    for gating in (CELL.sodium, table):
        for name, states in steady_states(CELL.replace(sodium=gating), V).items():
            assert np.allclose(states, getattr(exact, name).steady, atol=1e-6), name


def test_the_peak_is_that_of_a_voltage_clamp_of_the_whole_cell():
    V = np.array([-40.0, -20.0, 0.0])
    peaks = peaks_of_last(CELL, [[(level, 5.0)] for level in V], 0.01)
    whole = []
    for level in V:
        clamp = jc.protocols.VoltageSteps([-120.0, level], [100.0, 5.0])
        trace = jc.simulate(CELL, clamp, t1=105.0, save_at=100.0 + 0.01 * np.arange(1, 500), outputs=["I_Na"])
        whole.append(np.abs(trace.ys.I_Na).max())
    assert np.allclose(peaks / peaks.max(), np.array(whole) / max(whole), rtol=0.03)  # there is I_NaL too


def test_float32_is_evaluated_in_float32():
    cell: Any = jc.astype(CELL, jnp.float32)
    found = jc.sodium.evaluate(cell, experiments=["clamps", "ap_clamp"], reference=CELL, **SHORT)
    assert found.precision == "float32"
    assert all(abs(row.difference) < 0.01 for row in found.rows if row.experiment == "clamps")
    assert found.row("RMSE of m").value < 1e-3


def test_the_gating_along_the_reference_follows_its_gates_the_better_the_shorter_the_step():
    errors = {}
    for dt in (0.1, 0.05):
        found = jc.sodium.evaluate(CELL, dt, experiments=["ap_clamp"], **SHORT)
        errors[dt] = np.array([found.row(f"RMSE of {gate}").value for gate in ("m", "h1", "h2")])
        assert (errors[dt] < 1e-3).all()
    assert (errors[0.05] < 0.4 * errors[0.1]).all()


@pytest.mark.slow
def test_restitution_is_that_of_runs_one_by_one():
    intervals = (500.0, 700.0)
    found = curves(CELL, STEPPING, 2, intervals)
    for interval, apd90 in zip(intervals, found.s1_s2, strict=True):
        protocol = jc.protocols.s1_s2(AMPLITUDE, DURATION, 1000.0, 2, interval)
        trace = jc.simulate(CELL, protocol, t1=2500.0, solver=STEPPING.solver, dt=STEPPING.dt, save_every=0.1)
        assert abs(float(jc.biomarkers.action_potentials(trace).apd90[-1]) - apd90) < 0.02
    protocol = jc.protocols.dynamic_restitution(AMPLITUDE, DURATION, [700.0, 500.0], 2)
    trace = jc.simulate(CELL, protocol, t1=2400.0, solver=STEPPING.solver, dt=STEPPING.dt, save_every=0.1)
    one_by_one = np.asarray(jc.biomarkers.action_potentials(trace).apd90).reshape(2, 2)[::-1]
    assert np.allclose(found.dynamic, one_by_one, atol=0.02)


@pytest.mark.slow
def test_restitution_beside_itself_differs_by_the_step_alone():
    found = jc.sodium.evaluate(CELL, 0.02, beats=2, experiments=["restitution"], intervals=[300.0, 400.0, 700.0])
    assert found.met
    for row in found.rows:
        assert abs(row.difference) < 0.1, row


@pytest.mark.slow
def test_velocity_beside_itself_differs_by_the_step_alone_and_less_sodium_slows_it():
    options = {"experiments": ["cable"], "cable_intervals": [350.0]}
    found = jc.sodium.evaluate(CELL, 0.02, **options)
    assert found.met, str(found)
    assert found.row("velocity beside the reference's, same step").difference == 0
    slower = jc.sodium.evaluate(CELL.replace(g_Na=0.8 * CELL.g_Na), 0.02, **options)
    assert slower.row("velocity beside the reference's, converged").value < 95
    assert slower.row("velocity beside the reference's, same step").met is False


def evaluation(*rows: Row) -> Evaluation:
    return Evaluation(rows, {}, CELL, 0.1, "RushLarsenMidpoint", 2, 1000.0, "float64")


def test_what_cannot_be_measured_meets_no_bar(tmp_path):
    good, wrong = Row("a", "good", 1.0, 1.5, "mV", 0.5), Row("a", "gone", float("nan"), 1.0, "mV", 0.5)
    without = Row("b", "no bar", float("nan"), None, "mV")
    assert good.met and wrong.met is False and without.met is None
    assert evaluation(good, without).met and not evaluation(good, wrong).met
    found = evaluation(good, wrong, without)
    found.save(tmp_path / "table.json")
    written = json.loads((tmp_path / "table.json").read_text())
    assert [row["met"] for row in written["rows"]] == [True, False, None]
    assert written["rows"][1]["value"] is None and written["rows"][0]["difference"] == -0.5
    assert [line.split()[1] for line in str(found).splitlines()[2:]] == ["good", "gone", "no"]
    with pytest.raises(ValueError, match="'nothing'; allowed: good, gone, no bar"):
        found.row("nothing")


def test_a_map_without_memory_makes_no_upstroke():
    """The study's own idea with exact steady states: what the table then says."""

    class Instant(jc.models.AbstractSodiumGating):
        def relaxations(self, V):
            exact = CELL.sodium.relaxations(V)
            fast = jnp.full_like(V, 1000.0)
            return type(exact)(*(jc.Relaxation(gate.steady, rate=fast) for gate in exact))

    found = jc.sodium.evaluate(CELL.replace(sodium=Instant()), experiments=["beats", "clamps"], **SHORT)
    assert found.row("RMSE of V, whole beat").value > 5
    assert found.row("steepest step").value < 30  # the stimulus alone
    assert found.row("peak current, where most wrong").value < 1


def test_the_reference_is_computed_once():
    first = reference_of(CELL, 1, 400.0)
    again = reference_of(CELL.replace(g_Na=1.0 * CELL.g_Na), 1, 400.0)
    other = reference_of(CELL.replace(g_Na=0.9 * CELL.g_Na), 1, 400.0)
    assert again is first and other is not first
    assert other.dvdt_max < first.dvdt_max


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rates", "flow_map"])
def test_what_ships_is_within_every_bar_at_steps_of_a_tenth_of_a_millisecond(name):
    found = jc.sodium.evaluate(CELL.replace(sodium=jc.sodium.load(name)), 0.1)
    assert found.met, str(found)
    assert {row.experiment for row in found.rows if row.bar is not None} >= {"beats", "restitution", "clamps", "cable"}
