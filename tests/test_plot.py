"""Figures: every axis is labelled with its unit, and what is drawn is the data."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcardio import plot, simulate
from jaxcardio.biomarkers import Restitution, action_potentials
from jaxcardio.models import AlievPanfilov1996, KernikClancy2019
from jaxcardio.population import Batch, DoseResponse, Recipe, Rules, Screening, Uniform
from jaxcardio.population.viability import BIOMARKERS, UNITS
from jaxcardio.protocols import PulseTrain, VoltageSteps
from jaxcardio.simulation.trace import Trace


@pytest.fixture(scope="module")
def trace():
    return simulate(KernikClancy2019(), t1=600.0, dt=0.05)


@pytest.fixture(scope="module")
def study():
    rng = np.random.default_rng(0)
    fields = {name: rng.random((3, 5)) for name in UNITS}
    flags = {name: rng.random((3, 5)) < 0.5 for name in ("ead", "failed", "oscillating", "quiescent")}
    fields |= flags | {"status": np.zeros((3, 5), int), "apd90": np.full((3, 5), 400.0)}
    fields["apd90"][2] = np.nan  # a dose at which no cell beats
    return DoseResponse(
        doses=np.array([0.0, 10.0, 100.0]),
        cells=np.arange(5),
        reasons=np.zeros(5, int),
        example_cells=np.array([1, 3]),
        example_ts=np.arange(10.0),
        example_V=rng.random((3, 2, 10)),
        drug="E-4031",
        model="KernikClancy2019",
        settings="{}",
        **fields,
    )


def labels(ax):
    return ax.get_xlabel(), ax.get_ylabel()


def test_potential_and_currents(trace):
    ax = plot.potential(trace)
    assert labels(ax) == ("time (ms)", "V (mV)")
    assert np.array_equal(ax.lines[0].get_ydata(), trace.ys.V)
    ax = plot.currents(trace, ["I_Kr", "I_CaL"])
    assert labels(ax) == ("time (ms)", "current (pA/pF)")
    assert np.array_equal(ax.lines[1].get_ydata(), trace.currents().I_CaL)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [r"$I_{\mathrm{Kr}}$", r"$I_{\mathrm{CaL}}$"]
    with pytest.raises(ValueError, match="no current 'I_x'; allowed: I_K1"):
        plot.currents(trace, ["I_x"])
    with pytest.raises(ValueError, match="a recording has no currents"):
        plot.currents(Trace.from_samples(np.arange(5.0), np.zeros(5)))


def test_dimensionless_models_are_labelled_so():
    trace = simulate(AlievPanfilov1996(), t1=10.0, dt=0.1, y0=AlievPanfilov1996().initial_state()._replace(u=0.3))
    assert labels(plot.potential(trace)) == ("time (t.u.)", "u (1)")


def test_populations_and_given_axes(trace):
    two = Trace.from_samples(trace.ts, np.stack([trace.V, trace.V - 1]))
    fig, ax = plot.figure()
    assert plot.potential(two, ax) is ax
    assert len(ax.lines) == 2
    assert fig.axes == [ax]


def test_beats_are_marked():
    ts = np.arange(0.0, 3000.0, 1.0)
    once = np.where((ts % 1000 > 300) & (ts % 1000 < 600), 30.0, -80.0)
    trace = Trace.from_samples(ts, once)
    ax = plot.action_potentials(trace, action_potentials(trace))
    assert labels(ax) == ("time (ms)", "V (mV)")
    (marks,) = [line for line in ax.lines if line.get_label() == "peak"]
    assert len(marks.get_xdata()) == 3
    assert np.allclose(marks.get_ydata(), 30.0)


def test_restitution():
    ax = plot.restitution(Restitution(*(jnp.array([jnp.nan, 300.0, 100.0]) for _ in range(3))), label="S1-S2")
    assert labels(ax) == ("diastolic interval (ms)", "APD90 (ms)")
    assert ax.lines[0].get_xdata().tolist() == [100.0, 300.0]


def test_a_dose_response(study, tmp_path):
    fig = plot.dose_response(study)
    assert len(fig.axes) == 4
    left, right, first, last = fig.axes
    assert labels(left) == ("E-4031 (nM)", "viable cells (%), 95 % interval")
    assert labels(right) == ("E-4031 (nM)", "APD90 (ms)")
    assert first.get_ylabel() == "V (mV)"
    assert labels(last) == ("time (ms)", "V (mV)")
    assert [t.get_text() for t in left.get_xticklabels()] == ["0", "10", "100"]
    ead = left.containers[0].lines[0].get_ydata()
    assert np.allclose(ead, 100 * study.ead.mean(axis=1))
    fig.savefig(tmp_path / "study.png")
    with pytest.raises(ValueError, match="example = 2; allowed: 0 to 1"):
        plot.examples(study, example=2)


def test_a_population_is_drawn_as_cells_median_and_band():
    V = np.arange(101.0)[:, None] + np.zeros(3)
    ax = plot.population(Trace.from_samples(np.arange(3.0), V), cells=2)
    assert labels(ax) == ("time (ms)", "V (mV)")
    first, second, median = (line.get_ydata() for line in ax.lines)
    assert (first[0], second[0], median[0]) == (0.0, 1.0, 50.0)
    band = ax.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (5.0, 95.0)
    with pytest.raises(ValueError, match="output = 'I_Kr'; allowed, as saved: V"):
        plot.population(Trace.from_samples(np.arange(3.0), V), output="I_Kr")
    with pytest.raises(ValueError, match="trace: expected a population"):
        plot.population(Trace.from_samples(np.arange(3.0), V[0]))


def test_a_cell_whose_run_failed_is_not_in_the_band():
    V = np.stack([np.zeros(3), np.full(3, np.nan), np.ones(3)])
    good = Trace.from_samples(np.arange(3.0), V)
    trace = Trace(good.ts, good.ys, np.array([0, 1, 0]), None, good.steps, None, None, "recording")
    ax = plot.population(trace)
    assert np.array_equal([line.get_ydata()[0] for line in ax.lines], [0.0, 1.0, 0.5])
    with pytest.raises(ValueError, match="no cell to draw: none ended well"):
        plot.population(Trace(good.ts, good.ys, np.ones(3, int), None, good.steps, None, None, "recording"))


def test_a_batch_of_a_dataset_and_its_command():
    clamp = VoltageSteps([-80.0, 0.0], [2.0, 3.0])
    recipe = Recipe(KernikClancy2019(), 3, 0, Uniform(0.1), ["Kr_g"], clamp, 5.0, outputs=["I_ion_total", "I_Kr"])
    outputs = {name: np.random.default_rng(0).random((3, 6)) for name in recipe.outputs}
    ax = plot.batch(Batch(np.arange(3), np.zeros((3, 1)), outputs), recipe, output="I_Kr")
    assert labels(ax) == ("time (ms)", r"$I_{\mathrm{Kr}}$ (pA/pF)")
    assert np.array_equal(ax.lines[2].get_ydata(), outputs["I_Kr"][2])
    with pytest.raises(ValueError, match="output = 'V'; allowed, as recorded: I_ion_total, I_Kr"):
        plot.batch(Batch(np.arange(3), np.zeros((3, 1)), outputs), recipe, output="V")
    ax = plot.protocol(clamp, 5.0)
    assert labels(ax) == ("time (ms)", "command (mV)")
    ts, command = ax.lines[0].get_data()
    assert set(command) == {-80.0, 0.0}  # no slope at the edge
    assert np.diff(ts)[np.diff(command) != 0].max() < 1e-9
    assert plot.protocol(PulseTrain(-52.0, 1.0, 5.0), 5.0).get_ylabel() == "stimulus (pA/pF)"


def test_a_screening():
    n = 50
    measured = {name: np.zeros(n) for name in UNITS} | {"status": np.zeros(n, int), "beats": np.ones(n, int)}
    measured["apd90"] = np.linspace(50.0, 540.0, n)
    measured["peak"] = np.full(n, np.nan)  # nothing to draw is no error
    reasons = np.where(measured["apd90"] < 100.0, 8, 0)
    found = Screening(reasons, measured, Rules(ranges={"apd90": (100.0, np.inf)}), "KernikClancy2019")
    ax = plot.biomarker(found, "apd90")
    assert labels(ax) == ("APD90 (ms)", "cells")
    viable, other = ([bar.get_height() for bar in bars] for bars in ax.containers)
    assert sum(viable) == 45
    assert sum(other) == 5
    assert [line.get_xdata()[0] for line in ax.lines] == [100.0]  # an open end is no line
    ax = plot.reasons(found)
    assert [bar.get_width() for bar in ax.patches] == [45, 5]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["viable", "a biomarker out of range"]
    fig = plot.screening(found)
    assert [ax.get_xlabel() for ax in fig.axes[1:]] == [
        "APD90 (ms)", "APD50 (ms)", "cycle length (ms)", "diastolic potential (mV)", "peak (mV)", "dV/dt max (V/s)",
    ]  # fmt: skip
    assert len(fig.axes) == 1 + len(BIOMARKERS)
    with pytest.raises(ValueError, match="name = 'apd9'; allowed: apd90"):
        plot.biomarker(found, "apd9")


def test_without_matplotlib_the_extra_is_named(trace, monkeypatch):
    plot._matplotlib.cache_clear()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install jaxcardio\[plot\]"):
        plot.potential(trace)
    plot._matplotlib.cache_clear()
