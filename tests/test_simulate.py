"""Claims about `simulate`: edges, saved times, populations, failures, files, compilation, and what it refuses."""

from typing import Any

import diffrax
import equinox as eqx
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES

import jaxcardio as jc

CELL, PACING, _, _ = CASES["ten_tusscher"]
TenTusscher: Any = jc.models.TenTusscher2004


# --- times ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [10.0, 10.003, 9.0 + 1 / 3])
def test_no_step_crosses_an_edge(start):
    """A pulse between grid points delivers its charge exactly: the cell sees it as if the grid were made for it."""
    pulse = jc.protocols.PulseTrain(-20.0, 0.7, 1000.0, start)
    cell = CELL.replace(**dict.fromkeys(CELL.conductances.values(), 0.0))
    trace = jc.simulate(cell, pulse, t1=20.0, dt=0.25)
    assert trace.V[-1] - trace.V[0] == pytest.approx(20.0 * 0.7, abs=1e-9)


@pytest.mark.parametrize("how", [dict(dt=0.05), dict(rtol=1e-6, solver=jc.RushLarsen2()), dict(solver=diffrax.Tsit5())])
def test_every_way_of_stepping_sees_the_same_pulse(how):
    cell = CELL.replace(**dict.fromkeys(CELL.conductances.values(), 0.0))
    trace = jc.simulate(cell, PACING, t1=20.0, **how)
    assert trace.V[-1] - trace.V[0] == pytest.approx(52.0, rel=1e-6)


def test_saved_times_are_the_ones_asked_for():
    assert np.array_equal(jc.simulate(CELL, t1=5.0, dt=0.3, save_every=1.0).ts, np.arange(6.0))
    odd = np.array([0.1, 0.25, 3.3333])
    assert np.array_equal(jc.simulate(CELL, t1=5.0, dt=0.3, save_at=odd).ts, odd)
    assert jc.simulate(CELL, PACING, t1=12.0, dt=0.5, save_at="steps").ts.shape == (25,)
    assert jc.simulate(CELL, t1=7.3, dt=0.1, save_every=2.0).ts[-1] == 6.0


@pytest.mark.parametrize(
    "save", [dict(save_every=1.0), dict(save_at=np.array([2.0, 2.5, 11.0, 29.9])), dict(save_at="steps")]
)
def test_what_is_saved_does_not_change_the_run(save):
    """Whatever block layout the saved times lead to, the same states come out (times on the grid of dt)."""
    every = jc.simulate(CELL, PACING, t1=30.0, dt=0.1, save_at="steps")
    some = jc.simulate(CELL, PACING, t1=30.0, dt=0.1, **save)
    index = np.searchsorted(every.ts, some.ts - 1e-9)
    for name in every.ys._fields:
        np.testing.assert_allclose(getattr(some.ys, name), getattr(every.ys, name)[index], rtol=1e-12, atol=1e-15)


def test_a_run_continues_from_its_final_state():
    whole = jc.simulate(CELL, PACING, t1=40.0, dt=0.05)
    first = jc.simulate(CELL, PACING, t1=20.0, dt=0.05)
    second = jc.simulate(CELL, PACING, t0=20.0, t1=40.0, dt=0.05, y0=first.final_state)
    np.testing.assert_allclose(second.V, whole.V[20:], rtol=1e-12)


def test_outputs_name_states_and_currents():
    trace = jc.simulate(CELL, PACING, t1=30.0, dt=0.05, outputs=["I_Kr", "V", "I_ion_total"])
    full = jc.simulate(CELL, PACING, t1=30.0, dt=0.05)
    assert trace.ys._fields == ("I_Kr", "V", "I_ion_total")
    np.testing.assert_allclose(trace.ys.I_Kr, full.currents().I_Kr, rtol=1e-12)
    np.testing.assert_allclose(trace.ys.I_ion_total, full.currents().I_ion_total, rtol=1e-10)


def test_a_clamp_holds_the_potential_and_shows_its_new_value_at_an_edge():
    clamp = jc.protocols.VoltageSteps([-80.0, -20.0, -80.0], [5.0, 5.0, 5.0])
    ways: list[dict[str, Any]] = [dict(dt=0.05), dict(solver=diffrax.Tsit5(), rtol=1e-6)]
    for how in ways:
        trace = jc.simulate(CELL, clamp, t1=14.0, **how)
        assert np.array_equal(trace.V, np.repeat([-80.0, -20.0, -80.0], 5))
    current = jc.simulate(CELL, clamp, t1=14.0, dt=0.05, outputs=["I_K1"]).ys.I_K1
    np.testing.assert_allclose(current, jc.simulate(CELL, clamp, t1=14.0, dt=0.05).currents().I_K1, rtol=1e-12)


def test_held_states_stay():
    cell = jc.hold(CELL, "Na_i", "K_i")
    trace = jc.simulate(cell, PACING, t1=30.0, dt=0.05)
    assert np.ptp(trace.ys.K_i) == 0 and np.ptp(trace.ys.Na_i) == 0 and np.ptp(trace.ys.Ca_i) > 0


def test_progress_and_chunks_do_not_change_the_answer():
    seen = []
    loud = jc.simulate(CELL, PACING, t1=50.0, dt=0.01, progress=seen.append)
    quiet = jc.simulate(CELL, PACING, t1=50.0, dt=0.01)
    np.testing.assert_allclose(loud.V, quiet.V, rtol=1e-13)
    assert seen == sorted(seen) and seen[-1] == 1.0 and len(seen) > 5


# --- populations, failures -------------------------------------------------------------------------------------------


def test_one_failing_cell_leaves_its_neighbours_bitwise_alone():
    g = jnp.array([1.0, jnp.nan, 2.0])
    good = jc.simulate(CELL.replace(g_Kr=CELL.g_Kr * jnp.array([1.0, 1.5, 2.0])), PACING, t1=30.0, dt=0.05)
    bad = jc.simulate(CELL.replace(g_Kr=CELL.g_Kr * g), PACING, t1=30.0, dt=0.05)
    assert list(bad.status) == [jc.Status.OK, jc.Status.NON_FINITE, jc.Status.OK]
    assert "infinite or NaN" in bad.problems()[1] and len(bad.problems()) == 1
    assert np.array_equal(bad.V[0], good.V[0]) and np.array_equal(bad.V[2], good.V[2])


def test_an_unstable_step_is_reported_not_hidden():
    trace = jc.simulate(CELL, PACING, t1=50.0, solver=diffrax.Euler(), dt=0.5)
    assert trace.status == jc.Status.NON_FINITE and not trace.ok


def test_the_step_limit_is_a_status():
    trace = jc.simulate(CELL, PACING, t1=50.0, solver=jc.RushLarsen2(), rtol=1e-6, max_steps=50)
    assert trace.status == jc.Status.STEP_LIMIT


@pytest.mark.slow
def test_an_adaptive_run_of_a_broken_cell_ends():
    trace = jc.simulate(CELL.replace(g_Kr=np.nan), PACING, t1=50.0, solver=jc.RushLarsen2(), rtol=1e-5)
    assert trace.status != jc.Status.OK


def test_a_population_may_have_its_own_initial_states():
    y0 = CELL.initial_state()._replace(V=jnp.array([-86.0, -70.0]))
    trace = jc.simulate(CELL, t1=5.0, dt=0.05, y0=y0)
    assert trace.V.shape == (2, 6)
    np.testing.assert_allclose(
        trace.V[1], jc.simulate(CELL, t1=5.0, dt=0.05, y0=y0._replace(V=jnp.array(-70.0))).V, rtol=1e-11
    )


def test_other_values_do_not_compile_anew():
    """Python sees the model only while tracing: a second run with other parameters, stimulus and state does not."""
    count = 0

    class Counting(jc.models.AlievPanfilov1996):
        def rates(self, t, y, i_stim):
            nonlocal count
            count += 1
            return super().rates(t, y, i_stim)

    pulse = jc.protocols.PulseTrain(-0.5, 1.0, 50.0, 5.0)
    other = jc.protocols.PulseTrain(-0.6, 2.0, 40.0, 3.0)
    y1 = Counting().initial_state()._replace(v=jnp.array(0.1))
    ways: list[dict[str, Any]] = [
        dict(dt=0.05),
        dict(solver=jc.RushLarsen2(), rtol=1e-5),
        dict(solver=diffrax.Kvaerno3(), rtol=1e-5),
    ]
    for how in ways:
        jc.simulate(Counting(), pulse, t1=60.0, **how)
        traced = count
        assert traced > 0
        jc.simulate(Counting(k=7.5), other, t1=60.0, y0=y1, **how)
        assert count == traced


# --- files -----------------------------------------------------------------------------------------------------------


def _load(path, **options) -> Any:
    """The trace in a file, with a cell of any model."""
    return jc.Trace.load(path, **options)


@pytest.mark.parametrize("case", CASES)
def test_a_trace_survives_its_file(case, tmp_path):
    cell, pacing, _, _ = CASES[case]
    trace = jc.simulate(cell, pacing, t1=20.0, dt=0.01)
    trace.save(tmp_path / "run.h5")
    back = _load(tmp_path / "run.h5")
    assert type(back.cell) is type(cell) and back.solver == trace.solver
    assert back.ys._fields == trace.ys._fields
    for name in trace.ys._fields:
        assert np.array_equal(getattr(back.ys, name), getattr(trace.ys, name))
        assert np.array_equal(getattr(back.final_state, name), getattr(trace.final_state, name))
    for name, p in cell.parameters().items():
        assert back.cell.parameters()[name].value == p.value
    assert jc.protocols.to_json(back.protocol) == jc.protocols.to_json(pacing)
    again = jc.simulate(back.cell, back.protocol, t1=20.0, dt=0.01)
    assert np.array_equal(again.V, trace.V)


def test_variants_held_states_populations_and_selections_survive(tmp_path):
    cell = jc.hold(TenTusscher("endo", g_Kr=[0.1, 0.2]), "K_i")
    trace = jc.simulate(cell, None, t1=5.0, dt=0.05, outputs=["I_Kr", "V"])
    trace.save(tmp_path / "run.h5")
    back = _load(tmp_path / "run.h5")
    assert back.cell.held == ("K_i",) and back.cell.cell.variant == "endo"
    assert back.V.shape == (2, 6) and set(back.ys._fields) == {"I_Kr", "V"}
    assert np.array_equal(jc.simulate(back.cell, None, t1=5.0, dt=0.05).V, trace.V)


def test_a_recording_survives_its_file(tmp_path):
    ts = np.arange(0.0, 5.0, 0.1)
    trace = jc.Trace.from_samples(ts, np.sin(ts))
    trace.save(tmp_path / "recording.h5")
    back = jc.Trace.load(tmp_path / "recording.h5")
    assert np.array_equal(back.V, trace.V) and back.cell is None


def test_a_cell_that_is_not_in_the_file_is_asked_for(tmp_path):
    """A sub-module exchanged for one of another kind is never silently replaced by the standard one."""

    class Frozen(jc.models.SkibsbyeSodiumGating):
        pass

    cell = eqx.tree_at(lambda c: c.sodium, jc.models.Skibsbye2016(), Frozen())
    trace = jc.simulate(cell, t1=2.0)
    trace.save(tmp_path / "run.h5")
    with pytest.raises(ValueError, match=r"model Skibsbye2016 is changed in more than its parameters, .*; give cell="):
        jc.Trace.load(tmp_path / "run.h5")
    assert isinstance(_load(tmp_path / "run.h5", cell=cell).cell.sodium, Frozen)
    for wrong in (cell.replace(g_Na=100.0), cell.replace(g_Na=np.ones(2)), jc.models.TenTusscher2004()):
        with pytest.raises(ValueError, match=r"cell: its .* is .*, that of the file .*; allowed: the cell that was"):
            jc.Trace.load(tmp_path / "run.h5", cell=wrong)


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "run.h5"
    jc.simulate(CELL, t1=2.0).save(path)
    whole = path.read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.h5.*not a whole HDF5 file of a jaxcardio trace"):
        jc.Trace.load(tmp_path / "cut.h5")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["V"] = [1.0]
    with pytest.raises(ValueError, match=r"foreign\.h5.*not a jaxcardio trace"):
        jc.Trace.load(tmp_path / "foreign.h5")
    with h5py.File(path, "a") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(ValueError, match="format version 99; allowed: 1"):
        jc.Trace.load(path)
    with pytest.raises(ValueError, match="no such file"):
        jc.Trace.load(tmp_path / "none.h5")


# --- what is refused -------------------------------------------------------------------------------------------------

P = jc.protocols


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CELL.replace(g_Kt=1.0), "no parameter named 'g_Kt'; did you mean .*g_Kr"),
        (lambda: CELL.replace(g_Kr="much"), "parameter g_Kr = 'much'; allowed: a number"),
        (lambda: CELL.replace(g_Kr=np.ones((2, 2, 2, 2))), r"parameter g_Kr: expected .* got shape \(2, 2, 2, 2\)"),
        (lambda: jc.simulate(CELL.replace(g_Kr=np.ones((2, 2))), t1=1.0), r"g_Kr: has the shape \(2, 2\).*tissue"),
        (lambda: TenTusscher("atrial"), "variant = 'atrial'; allowed: M, epi, endo"),
        (lambda: jc.models.TenTusscher2004(g_nope=1.0), "no parameter named 'g_nope'"),
        (lambda: jc.hold(CELL, "Ki"), "no state named 'Ki'; did you mean .*K_i"),
        (lambda: jc.simulate(CELL, t1=10.0, dt=-0.1), r"dt = -0.1 ms; allowed: .*> 0"),
        (lambda: jc.simulate(CELL, t1=10.0, dt=np.nan), r"dt = nan ms"),
        (lambda: jc.simulate(CELL, PACING, t1=10.0, dt=2.0), r"dt = 2.0 ms; allowed: 0 < dt <= 1.0 ms"),
        (lambda: jc.simulate(CELL, t1=0.0), r"t1 = 0.0 ms; allowed: > t0 = 0.0 ms"),
        (lambda: jc.simulate(CELL, t1=-5.0), r"t1 = -5.0 ms"),
        (lambda: jc.simulate(CELL, t1=np.inf), r"t1 = inf ms; allowed: finite"),
        (
            lambda: jc.simulate(CELL, t1=5.0, y0=CELL.initial_state()._replace(m=jnp.nan)),
            r"y0.m = nan 1; allowed: finite",
        ),
        (
            lambda: jc.simulate(CELL, t1=5.0, y0=CELL.initial_state()._replace(m=jnp.ones((2, 2)))),
            r"y0.m: .*shape \(2, 2\)",
        ),
        (lambda: jc.simulate(CELL, t1=5.0, y0=jnp.zeros(17)), "y0: expected TenTusscherState"),
        (lambda: jc.simulate(CELL, t1=5.0, dt=0.1, grid=np.arange(6.0)), "dt = 0.1 ms and grid: give one"),
        (lambda: jc.simulate(CELL, t1=5.0, grid=np.array([0.0, 2.0, 1.0, 5.0])), "grid: expected strictly ascending"),
        (lambda: jc.simulate(CELL, t1=5.0, grid=np.arange(4.0)), r"grid: from 0.0 to 3.0 ms; allowed: .* t1 = 5.0"),
        (lambda: jc.simulate(CELL, t1=5.0, rtol=1e-5), "RushLarsen has no error estimate; give dt"),
        (lambda: jc.simulate(CELL, t1=5.0, solver=jc.RushLarsen2(), rtol=-1.0), "rtol = -1.0; allowed: > 0"),
        (lambda: jc.simulate(CELL, t1=5.0, dt=0.1, rtol=1e-5), "tolerances are for adaptive runs"),
        (
            lambda: jc.simulate(CELL, t1=5.0, save_every=9.0),
            r"save_every = 9.0 ms; allowed: 0 < save_every <= .* 5.0 ms",
        ),
        (lambda: jc.simulate(CELL, t1=5.0, save_at=[3.0, 9.0]), r"save_at: .*within \[0.0, 5.0\] ms"),
        (lambda: jc.simulate(CELL, t1=5.0, outputs=["I_Kx"]), "no state or current named 'I_Kx'; did you mean"),
        (
            lambda: jc.simulate(jc.astype(CELL, jnp.float32), t1=5.0, solver=jc.RushLarsen2(), rtol=1e-8),
            "rtol = 1e-08; allowed in float32: >= 1e-05",
        ),
        (
            lambda: jc.simulate(jc.astype(CELL, jnp.float32), t1=5e4, solver=jc.RushLarsen2()),
            "t1 = 50000.0 ms; allowed for an adaptive float32",
        ),
        (lambda: CELL.replace(g_Kr=[1.0, 2.0], g_Na=[1.0, 2.0, 3.0]).population_size(), "different lengths"),
        (lambda: jc.population.simulate(CELL, t1=5.0), "expected a population"),
        (lambda: jc.Trace.from_samples([0.0, 2.0, 1.0], [0.0, 0.0, 0.0]), "strictly ascending"),
        (lambda: jc.Trace.from_samples([0.0, 1.0], [0.0, 0.0, 0.0]), r"got \(2,\) and \(3,\)"),
        (lambda: jc.paced_grid(P.Constant(0.0), 10.0), "no stimulus onsets"),
        (lambda: jc.paced_grid(PACING, 10.0, stages=[(4.0, 0.1)]), "until ascending to inf"),
    ],
)  # fmt: skip
def test_bad_input_is_named_with_its_value_unit_and_range(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_under_jit_times_must_be_concrete():
    with pytest.raises(ValueError, match="t1 is traced"):
        jax.jit(lambda t1: jc.simulate(CELL, t1=t1).V)(5.0)
    with pytest.raises(ValueError, match="times of PulseTrain are traced"):
        jax.jit(lambda p: jc.simulate(CELL, p, t1=5.0).V)(PACING)


def test_wide_vectors_change_no_bit():
    """By itself a population is compiled for the widest vectors, under a jit of one's own for XLA's usual ones."""
    cells = jc.population.sample(CELL, n=40, seed=0, spread=0.2, parameters=list(CELL.conductances.values()))
    how: dict[str, Any] = dict(t1=30.0, dt=0.05, save_every=1.0, solver=jc.RushLarsen2(), outputs=["V"])
    alone = jc.simulate(cells, PACING, **how).V
    assert np.array_equal(alone, jax.jit(lambda c: jc.simulate(c, PACING, **how).V)(cells))
    assert np.array_equal(alone, jax.jit(lambda c: jc.simulate(c, PACING, **how).V, compiler_options=jc.WIDE)(cells))
