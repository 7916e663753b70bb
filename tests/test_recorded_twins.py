"""Twins of recorded cells: the logarithmic unknowns, the amplifier's settings, the discrepancy, a fit that is known."""

import dataclasses
import importlib
import json
from functools import cache
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcardio.models import KernikClancy2019
from jaxcardio.protocols import VoltageSteps
from jaxcardio.twin import Recording, Rig
from jaxcardio.twin import recorded_cells as rc
from jaxcardio.twin.rig import recorded_current

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
CELL = "4_021921_2_control"
SHORT = VoltageSteps([-80.0, -20.0, -80.0, 20.0, -80.0], [50.0, 30.0, 50.0, 30.0, 40.0])
SETTINGS = [(0.0, 0.0), (0.6, 0.7)]


@cache
def experiment() -> rc.RecordedExperiment:
    recording = Recording(SHORT, np.zeros(2000), 0.1)
    return rc.RecordedExperiment.of(recording, 50.0, growth=1.5)


def at(**by: float) -> np.ndarray:
    x = np.zeros(len(rc.NAMES))
    for name, value in by.items():
        x[rc.NAMES.index(name)] = value
    return x


def test_unknowns_of_the_cell_are_logarithms():
    cell = experiment().cells(jnp.asarray(at(scale_g_Na=np.log(3.0), tau_f_const=np.log(0.2))))
    assert isinstance(cell, KernikClancy2019)
    np.testing.assert_allclose(cell.scale_g_Na, 3.0)
    np.testing.assert_allclose(cell.tau_f_const, 0.2 * KernikClancy2019().tau_f_const)
    np.testing.assert_allclose(cell.scale_g_K1, 1.0)


def test_the_hold_and_the_transient_are_left_out():
    windows = experiment().ideal.windows
    assert windows.times.min() > 50.0
    since = np.min(np.abs(windows.times[:, None] - SHORT.edges(0.0, 200.0)), axis=1)
    assert since.min() >= rc.BLANK - 1e-9


@pytest.mark.slow  # compiles for half a minute
@pytest.mark.parametrize("setting", SETTINGS)
def test_an_amplifier_told_the_right_resistance_is_the_rig(setting):
    one, x = experiment(), at(R_s=0.2, C_cell=-0.1, V_offset=-3.0)
    rig = one.rigs(jnp.asarray(x), jnp.asarray(setting))
    times = one.ideal.windows.times
    expected = recorded_current(one.cells(jnp.asarray(x)), rig, SHORT, times, one._grid)
    np.testing.assert_allclose(one.predicted(x, np.array(setting)), expected, rtol=1e-9, atol=1e-9)


def test_a_wrong_resistance_is_that_of_the_equations():
    """The rig's equations with R_set in place of R_s wherever the amplifier uses it, stepped by a plain method for a
    cell without currents: I_p R_s = V_cmd - V + alpha R_set (I_p - I_est) + beta R_set I_est."""
    alpha, beta, k, R, C = 0.3, 0.5, 1.4, 0.025, 50.0
    silent = dict.fromkeys(rc.CONDUCTANCES, -60.0)
    x = at(R_set=np.log(k), g_leak=-60.0, **silent)
    base = experiment()
    cell = base.ideal.cell.replace(scale_g_PCa=0.0)
    one = rc.RecordedExperiment(dataclasses.replace(base.ideal, cell=cell), base.capacitance)
    found = np.asarray(one.predicted(x, np.array([alpha, beta])))
    dt, tau_filter = 0.0005, float(rc.typical_rig(C).tau_filter)
    ts = dt * np.arange(round(90.0 / dt))
    V, V_est, seen = float(base.ideal.cell.initial_state().V), float(base.ideal.cell.initial_state().V), 0.0
    trace = np.zeros(len(ts))
    for i, command in enumerate(np.where(ts < 50.0, -80.0, np.where(ts < 80.0, -20.0, -80.0))):
        I_est = (command - V_est) / ((1 - beta) * k * R)
        I_p = (command - V - alpha * k * R * I_est + beta * k * R * I_est) / (R - alpha * k * R)
        trace[i] = seen
        seen += dt / tau_filter * ((I_p - I_est) / C - seen)
        V, V_est = V + dt * I_p / C, V_est + dt * I_est / C
    times = one.ideal.windows.times
    early = times < 89.0
    np.testing.assert_allclose(found[early], np.interp(times[early], ts, trace), atol=0.05)
    assert np.abs(found[early]).max() > 2.0, "the residue of the transient, which a right R_set would cancel"


def test_discrepancy_of_known_errors():
    random = np.random.default_rng(0)
    observed = 10 * random.standard_normal(4000)
    noise, segment = np.full(4000, 0.05), np.repeat(np.arange(40), 100)
    wrong = np.sqrt(0.05**2 + 0.3**2 + (0.1 * observed) ** 2) * random.standard_normal(4000)
    found = rc.discrepancy(wrong, noise, observed, segment)
    assert 0.2 < found.absolute < 0.4
    assert 0.07 < found.relative < 0.13
    assert found.dependent < 1.3, "independent errors count one by one"
    slow = np.repeat(random.standard_normal(400), 10)
    assert 5 < rc.discrepancy(slow, noise, np.ones(4000), segment).dependent < 20, "ten alike count as one"
    alike = np.tile(random.standard_normal(100), 40)
    assert rc.discrepancy(alike, noise, np.ones(4000), segment).dependent > 5, "the same error in every step"


def test_the_file_has_the_layout_of_recordings(recordings):
    recording = Recording.load(recordings, f"{CELL}/clamp/rscomp_80", temperature=310.0)
    assert recording.t1 == 5500.0
    assert isinstance(recording.command.value(np.array([0.0])), np.ndarray)
    one = rc.RecordedExperiment.of(recording, 50.0)
    assert one.ideal.cell.parameters()["temperature"].value == 310.0
    assert one.ideal.windows.samples <= len(recording.current)


def test_a_rig_of_a_population_has_one_resistance_a_cell():
    x = np.zeros((3, len(rc.NAMES)))
    x[:, rc.NAMES.index("R_s")] = [0.0, 0.1, 0.2]
    rig = experiment().rigs(jnp.asarray(x), jnp.full((3, 2), 0.5))
    assert isinstance(rig, Rig)
    np.testing.assert_allclose(rig.R_s, 25 * np.exp([0.0, 0.1, 0.2]))
    np.testing.assert_allclose(rig.alpha, 0.5)


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("recorded_twins")


def test_agreement_counts_intervals(benchmark):
    """Ten estimates of every unknown: of the first, two are 3 standard deviations off and of no great weight."""
    n = len(rc.NAMES)
    mean, covariance = np.zeros((10, n)), np.tile(np.diag((0.1 * rc.PRIOR_SD) ** 2), (10, 1, 1))
    mean[:2, 0] = 0.3 * rc.PRIOR_SD[0], -0.3 * rc.PRIOR_SD[0]
    covariance[:, 1, 1] = (0.9 * rc.PRIOR_SD[1]) ** 2
    none = np.zeros((10, 1))
    posterior = rc.RecordedPosterior(mean, covariance, none, none, none, (), none[:, 0], none[:, 0])
    said = benchmark.agreement(posterior)
    assert (said[0].within, said[0].identified) == (8, True)
    assert (said[1].within, said[1].identified) == (10, False)


def test_the_benchmark_says_that_the_recordings_are_absent(benchmark, tmp_path):
    with pytest.raises(SystemExit, match="no such file"):
        benchmark.main(["--data", str(tmp_path / "none.h5")])


@pytest.mark.slow
def test_the_benchmark_runs(benchmark, recordings, tmp_path):
    benchmark.main(["--quick", "--data", str(recordings), "--out", str(tmp_path)])
    found = json.loads((tmp_path / "recorded_twins_quick.json").read_text())
    assert {"machine", "priors", "rig", "cells"} <= set(found)
    cell = found["cells"][0]
    assert [row["setting"] for row in cell["settings"]] == ["rspre_0", "rscomp_80"]
    assert all(row["residual"] > row["noise"] > 0 for row in cell["settings"])
    assert cell["declared_outside"], "two Gauss-Newton steps describe no recording"
    assert cell["action_potential"]["beats"]


@pytest.mark.slow
def test_a_simulated_cell_is_found_within_its_intervals():
    """Two settings of one simulated cell, far from the published one, with noise: the truth lies in the posteriors."""
    one, random = experiment(), np.random.default_rng(0)
    truth = at(scale_p_CaL=-0.5, tau_f_const=-0.8, scale_g_Na=-0.6, R_s=0.3, V_offset=-5.0, g_leak=0.4)
    found = []
    windows = one.ideal.windows
    for setting in SETTINGS:
        current = np.zeros(windows.samples)
        for begin, end, value in zip(
            windows.begin, windows.end, np.asarray(one.predicted(truth, np.array(setting))), strict=True
        ):
            current[begin:end] = value
        found.append(Recording(SHORT, current + 0.05 * random.standard_normal(len(current)), 0.1))
    posterior = rc.fit_recorded(one, found, SETTINGS, together=25, apart=10)
    z = (posterior.mean - truth) / posterior.sd
    assert np.sqrt(np.mean(z**2)) < 1.5
    known = [rc.NAMES.index(name) for name in ("scale_p_CaL", "R_s")]
    assert (posterior.sd[:, known] < 0.5 * rc.PRIOR_SD[known]).all()
    assert (np.abs(z[:, known]) < 3).all()
