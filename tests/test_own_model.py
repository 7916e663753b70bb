"""The README's model of one's own does whatever a model of the library does."""

import importlib
import sys
from pathlib import Path
from typing import Any

import diffrax
import jax
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import jaxcardio as jc
from jaxcardio.files.records import cell_from_json

README = Path(__file__).parents[1] / "README.md"
CLAMP = jc.protocols.VoltageSteps([-80.0, -20.0, -60.0], [40.0, 60.0, 50.0])


@pytest.fixture(scope="module")
def noble(tmp_path_factory):
    """The module that the README prints."""
    section = README.read_text().split("## A model of your own")[1]
    code = section.split("```python")[1].split("```")[0]
    folder = tmp_path_factory.mktemp("own")
    (folder / "noble_1962.py").write_text(code)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("noble_1962")
    sys.path.remove(str(folder))
    del sys.modules["noble_1962"]


def textbook(t, y):
    """Noble's equations as he printed them: mV, ms, mS/cm^2, uF/cm^2."""
    V, m, h, n = y
    a_m, b_m = 0.1 * (-V - 48) / (np.exp((-V - 48) / 15) - 1), 0.12 * (V + 8) / (np.exp((V + 8) / 5) - 1)
    a_h, b_h = 0.17 * np.exp((-V - 90) / 20), 1 / (np.exp((-V - 42) / 10) + 1)
    a_n, b_n = 0.0001 * (-V - 50) / (np.exp((-V - 50) / 10) - 1), 0.002 * np.exp((-V - 90) / 80)
    g_K1 = 1.2 * np.exp((-V - 90) / 50) + 0.015 * np.exp((V + 90) / 60)
    I = (400 * m**3 * h + 0.14) * (V - 40) + (g_K1 + 1.2 * n**4) * (V + 100) + 0.075 * (V + 60)
    return [-I / 12, a_m * (1 - m) - b_m * m, a_h * (1 - h) - b_h * h, a_n * (1 - n) - b_n * n]


def test_it_beats_as_an_independent_integration_of_the_printed_equations(noble):
    cell = noble.Noble1962()
    ts = np.arange(0.0, 2001.0)
    start = [float(x) for x in cell.initial_state()]
    V = solve_ivp(textbook, (0, 2000), start, t_eval=ts, method="LSODA", rtol=1e-10, atol=1e-12).y[0]
    trace = jc.simulate(cell, t1=2000.0, solver=diffrax.Tsit5(), rtol=1e-8)
    assert np.sqrt(np.mean((np.asarray(trace.V) - V) ** 2)) < 1e-3
    own = jc.simulate(cell, t1=2000.0, solver=jc.RushLarsen2(), dt=0.02)
    beats, true = (jc.biomarkers.action_potentials(x) for x in (own, jc.Trace.from_samples(ts, V)))
    np.testing.assert_allclose(beats.apd90, true.apd90, atol=0.3)
    np.testing.assert_allclose(beats.cycle_length[1:], true.cycle_length[1:], atol=0.3)
    assert 560 < true.cycle_length[2] < 570


def test_a_cell_of_nothing_but_gates_is_clamped_in_closed_form(noble):
    run: dict[str, Any] = dict(t1=150.0, outputs=["I_ion_total", "n"])
    closed = jc.simulate(noble.Noble1962(), CLAMP, **run)
    stepped = jc.simulate(noble.Noble1962(), CLAMP, solver=jc.RushLarsen(), dt=0.01, **run)  # exact too: V is held
    for found, expected in zip(closed.ys, stepped.ys, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_it_is_blocked_populated_and_differentiated(noble):
    cell = noble.Noble1962()
    slower = jc.simulate(jc.pharmacology.block(cell, {"I_K": 0.1}), t1=400.0, dt=0.05)
    assert slower.V[-1] > jc.simulate(cell, t1=400.0, dt=0.05).V[-1] + 5
    cells = jc.population.sample(cell, n=3, seed=0, spread=0.1, parameters=["g_K", "g_l"])
    together = jc.population.simulate(cells, t1=50.0, dt=0.05)
    alone = jc.simulate(jc.population.member(cells, 1), t1=50.0, dt=0.05)
    np.testing.assert_allclose(together.V[1], alone.V, rtol=1e-9)
    assert jc.population.screen(cells, t1=4000.0, discard=1500.0).viable.any()

    def mean_V(cell):
        return jc.simulate(cell, t1=50.0, dt=0.05, outputs=["V"]).V.mean()

    _, gradient = jc.value_and_gradient(mean_V, cell, ["g_K", "g_l"])
    for name, slope in gradient.items():
        value = cell.parameters()[name].value
        h = 1e-5 * value
        central = (mean_V(cell.replace(**{name: value + h})) - mean_V(cell.replace(**{name: value - h}))) / (2 * h)
        assert slope == pytest.approx(float(central), rel=1e-6)


@pytest.mark.parametrize("value", ["x", [0.1, "y"], np.ones((2, 2, 2, 2))])
def test_a_parameter_that_is_no_number_is_named_with_its_unit(noble, value):
    with pytest.raises(ValueError, match=r"parameter \(leak conductance, mS/cm\^2\).*shape \(n_cells,\)"):
        noble.Noble1962(g_l=value)
    with pytest.raises(ValueError, match=r"parameter \(temperature of the kinetics .*, K\).*shape \(n_cells,\)"):
        jc.models.KernikClancy2019(temperature=value)


def test_it_runs_in_float32(noble):
    cell = jc.astype(noble.Noble1962(), jax.numpy.float32)
    for protocol in (None, CLAMP):
        trace = jc.simulate(cell, protocol, t1=50.0)
        assert trace.V.dtype == np.float32
        assert trace.ok


def test_files_and_datasets_hold_it_for_whoever_has_imported_it(noble, tmp_path, monkeypatch):
    cell = noble.Noble1962().replace(g_K=1.1)
    jc.simulate(cell, t1=2.0).save(tmp_path / "run.h5")
    recipe = jc.population.Recipe(
        cell=cell, n=4, seed=0, distribution=jc.population.Uniform(0.2), parameters=["g_Na", "g_K"], protocol=CLAMP,
        t1=150.0, dtype="float64",
    )  # fmt: skip
    made = jc.population.make_dataset(tmp_path / "data", recipe)
    loaded: Any = jc.Trace.load(tmp_path / "run.h5").cell
    assert float(loaded.g_K) == 1.1
    again = jc.population.Dataset(tmp_path / "data")
    assert type(again.recipe.cell) is noble.Noble1962
    expected = jc.simulate(recipe.cells([2]), CLAMP, t1=150.0, outputs=["I_ion_total"]).ys.I_ion_total[0]
    np.testing.assert_allclose(made.read([2]).outputs["I_ion_total"][0], expected, rtol=1e-9)
    monkeypatch.delitem(sys.modules, "noble_1962")
    for read in (lambda: jc.Trace.load(tmp_path / "run.h5"), lambda: jc.population.Dataset(tmp_path / "data")):
        with pytest.raises(ValueError, match=r"noble_1962\.Noble1962' is not known; import noble_1962"):
            read()


def test_a_class_that_no_module_defines_is_refused_by_files(noble):
    class Local(noble.Noble1962):
        pass

    with pytest.raises(ValueError, match=r"Local cannot be made again .* no module defines its class"):
        jc.population.Recipe(
            cell=Local(), n=4, seed=0, distribution=jc.population.Uniform(0.2), parameters=["g_K"], protocol=CLAMP,
            t1=150.0,
        )  # fmt: skip


@pytest.mark.parametrize("name", ["Kernik", "jaxcardio.cell.hold", "os.path", "no.such.Model", 7])
def test_a_record_of_no_known_model_says_so(name):
    with pytest.raises(ValueError, match=r"is not known; import|has no model named"):
        cell_from_json({"model": name, "static": {"held": []}, "parameters": {}})
