"""ten Tusscher & Panfilov 2006 against an independent evaluation of its public CellML files, and its physiology."""

import functools
from typing import Any

import cellml
import jax
import jax.numpy as jnp
import make_ten_tusscher_panfilov as files
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.models.ten_tusscher_shared import Variant
from jaxcardio.relaxation import is_relaxation
from jaxcardio.verification import floored_error

Cell: Any = jc.models.TenTusscherPanfilov2006
PACING = jc.protocols.PulseTrain(*cellml.Pulses())
every_variant = pytest.mark.parametrize("variant", files.VARIANTS)


def first_beat(cell, t1: float = 600.0) -> jc.Trace:
    return jc.simulate(cell, PACING, t1=t1, solver=jc.RushLarsen2(), dt=0.02, save_every=0.1)


@functools.cache
def control(variant: Variant = "epi") -> jc.Trace:
    return first_beat(Cell(variant))


def apd90(trace: jc.Trace) -> float:
    return float(jc.biomarkers.action_potentials(trace).apd90[0])


# --- against the files -----------------------------------------------------------------------------------------------


@every_variant
def test_every_derivative_and_current_is_that_of_the_file(cellml_files, variant):
    far = files.far(200, np.random.default_rng(1))
    slopes, currents = files.right_hand_sides(files.model(cellml_files, variant), far)
    cell = Cell(variant)
    y = type(cell.initial_state())(**{name: jnp.asarray(x) for name, x in far.items()})
    dy, found = jax.jit(lambda y: (cell.vector_field(0.0, y), cell.currents(y)))(y)
    errors = {f"d{n}/dt": floored_error(x, e) for n, x, e in zip(dy._fields, dy, slopes.T, strict=True)}
    errors |= {n: floored_error(x, e) for n, x, e in zip(found._fields, found, currents.T, strict=True)}
    assert len(errors) == 19 + 17
    assert {name: error for name, error in errors.items() if not error <= 1e-9} == {}


@every_variant
def test_parameters_and_initial_state_are_those_of_the_file(cellml_files, variant):
    file, cell = files.model(cellml_files, variant), Cell(variant)
    assert {n: float(x) for n, x in cell.initial_state()._asdict().items()} == file.initial
    for name, parameter in cell.parameters().items():
        theirs = str(files.THEIR_NAME.get(name, name))
        assert float(parameter.value) == file.constants[theirs], name


@pytest.mark.slow
@every_variant
def test_beats_at_1_Hz_are_those_of_an_independent_integration(cellml_files, variant):
    """Three beats by LSODA at 1e-10; V is compared away from the upstrokes."""
    file = files.model(cellml_files, variant)
    ts, ys = cellml.paced(file, cellml.Pulses(), 3000.0, every=0.1)
    V = ys[:, list(file.initial).index("V")]
    trace = jc.simulate(Cell(variant), PACING, t1=3000.0, solver=jc.RushLarsen2(), dt=0.01, save_every=0.1)
    onsets = np.arange(10.0, 3000.0, 1000.0)
    beats, true = (jc.biomarkers.action_potentials(x, onsets=onsets) for x in (trace, jc.Trace.from_samples(ts, V)))
    assert len(true.apd90) == 3
    for name in ("apd90", "apd50", "rmp"):
        np.testing.assert_allclose(getattr(beats, name), getattr(true, name), rtol=0, atol=0.05, err_msg=name)
    calm = (ts - 10.0) % 1000.0 > 5.0
    assert np.abs(np.asarray(trace.V) - V)[calm].max() < 0.05


# --- what the paper says ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_epicardial_action_potential_at_1_Hz_has_the_published_length():
    """306 ms. It falls on slowly with the ions, 5 ms in 300 beats; the paper does not say after how many: 2 %."""
    trace = jc.simulate(Cell(), PACING, t1=20_000.0, solver=jc.RushLarsen2(), dt=0.05, save_every=0.5, outputs=["V"])
    assert jc.biomarkers.action_potentials(trace).apd90[-1] == pytest.approx(306.0, rel=0.02)


@pytest.mark.slow
def test_layers_of_the_wall_differ_as_in_the_paper():
    """M cells have the longest action potential; I_to notches the epicardial one and not the endocardial one."""
    long = {variant: apd90(control(variant)) for variant in files.VARIANTS}
    assert long["M"] > 1.2 * max(long["epi"], long["endo"])

    def notch(variant):
        """How far V rises from the valley after the upstroke to the dome, mV."""
        V, ts = np.asarray(control(variant).V), np.asarray(control(variant).ts)
        valley = V[(ts > 12) & (ts < 60)].argmin() + np.flatnonzero(ts > 12)[0]
        return V[valley:].max() - V[valley]

    assert notch("epi") > 5.0
    assert notch("endo") < 1.0


def test_release_fills_the_subspace_first():
    """Subspace calcium peaks before cytosolic calcium, and far above it; the store loses what they gain."""
    beat = control().ys
    assert beat.Ca_ss.max() > 10 * beat.Ca_i.max()
    assert beat.Ca_ss.argmax() < beat.Ca_i.argmax()
    assert beat.Ca_SR.min() < 0.9 * beat.Ca_SR[0]


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "dtype"),
    [
        ("endo", jnp.float32),
        *(pytest.param(v, t, marks=pytest.mark.slow) for v in ("epi", "M") for t in (jnp.float32, jnp.float64)),
    ],
)
def test_rates_and_their_slopes_are_finite_at_every_potential(variant, dtype):
    """-150 to 100 mV, the steps of I_Na's rates and the removable singularity of I_CaL included."""
    cell = jc.astype(Cell(variant), dtype)
    V = jnp.asarray(np.concatenate([np.linspace(-150, 100, 2001), [15.0, 15 - 1e-6, 15 + 1e-6, -40.0]]), dtype)
    y = cell.initial_state()

    def rates(V):
        return cell.rates(0.0, y._replace(V=V), jnp.zeros((), dtype))

    values, slopes = jax.jit(jax.vmap(lambda V: jax.jvp(rates, (V,), (jnp.ones_like(V),))))(V)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves((values, slopes)))
    assert {x.dtype for x in jax.tree.leaves(values)} == {jnp.dtype(dtype)}
    for relaxation in (x for x in values if is_relaxation(x)):
        assert bool(((relaxation.steady >= 0) & (relaxation.steady <= 1) & (relaxation.rate > 0)).all())


def test_a_beat_in_float32_is_that_in_float64():
    double, single = control(), first_beat(jc.astype(Cell(), jnp.float32))
    assert single.V.dtype == jnp.float32
    assert abs(apd90(double) - apd90(single)) < 0.05
    calm = np.abs(np.asarray(double.ts) - 12.5) > 2.5
    assert np.abs(np.asarray(double.V) - np.asarray(single.V, float))[calm].max() < 0.05


def test_all_stays_bounded_under_fast_pacing():
    """Gates in [0, 1], concentrations positive, at a cycle length that the cell cannot follow, at a coarse step."""
    rapid = jc.protocols.PulseTrain(*cellml.Pulses(period=150.0))
    ys = jc.simulate(Cell(), rapid, t1=3000.0, solver=jc.RushLarsen2(), dt=0.1).ys
    for name, x in ys._asdict().items():
        assert np.isfinite(x).all(), name
        if name != "V":
            assert (np.asarray(x) >= 0).all(), name
        if Cell.units[name] == "1":
            assert (np.asarray(x) <= 1).all(), name


# --- as any other cell -----------------------------------------------------------------------------------------------


def test_block_of_repolarising_current_prolongs_and_of_calcium_current_shortens():
    less_I_Kr, less_I_CaL = (
        apd90(first_beat(jc.pharmacology.block(Cell(), {current: 0.5}))) for current in ("I_Kr", "I_CaL")
    )
    assert less_I_CaL + 10 < apd90(control()) < less_I_Kr - 10


@pytest.mark.slow
def test_a_cell_of_a_population_is_that_cell_alone():
    together = first_beat(Cell(g_Kr=[0.1, 0.153, 0.2]))
    for k, alone in ((0, first_beat(Cell(g_Kr=0.1))), (1, control())):
        np.testing.assert_allclose(together.V[k], alone.V, rtol=0, atol=1e-7)


def test_held_concentrations_stay():
    ys = first_beat(jc.hold(Cell(), "Na_i", "K_i"), t1=50.0).ys
    assert np.ptp(ys.Na_i) == np.ptp(ys.K_i) == 0 < np.ptp(ys.Ca_ss)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="variant = 'apex'; allowed: epi, M, endo"):
        Cell("apex")
