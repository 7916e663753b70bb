"""Figures: every axis is labelled with its unit, and what is drawn is the data."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcardio import plot, simulate
from jaxcardio.biomarkers import Restitution, action_potentials
from jaxcardio.models import AlievPanfilov1996, KernikClancy2019
from jaxcardio.population import DoseResponse
from jaxcardio.population.viability import UNITS
from jaxcardio.trace import Trace


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


def test_without_matplotlib_the_extra_is_named(trace, monkeypatch):
    plot._matplotlib.cache_clear()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install jaxcardio\[plot\]"):
        plot.potential(trace)
    plot._matplotlib.cache_clear()
