"""Claims about dV/dt max: a simulated trace's is its model's, whatever its steps, samples and precision."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcardio as jc

TT = jc.models.TenTusscher2004()
PACING = jc.protocols.PulseTrain(-52.0, 1.0, 1000.0, 10.0)
AP, KICKS = jc.models.AlievPanfilov1996(), jc.protocols.PulseTrain(-0.5, 1.0, 50.0, 5.0)


def slope_of(cell, pacing, begin, end, spacing, solver):
    """The largest dV/dt of the equations between two times, from samples close together of an independent solver."""
    ts = np.arange(begin, end, spacing)
    run = jc.simulate(cell, pacing, t1=end, solver=solver, rtol=1e-9, save_at=ts)
    rates = jax.vmap(lambda y, i: getattr(cell.rates(0.0, y, i), cell.potential))
    return float(jax.jit(rates)(run.ys, jnp.asarray(pacing.value(ts))).max())


@pytest.fixture(scope="module")
def true():
    return slope_of(TT, PACING, 10.0, 13.0, 0.002, diffrax.Kvaerno5())


@pytest.mark.parametrize(
    ("steps", "every"), [({"dt": 0.02}, 0.1), ({"dt": 0.1}, 1.0), ({"dt": 0.05}, 5.0)], ids=["0.1", "1", "5"]
)
def test_samples_and_steps_do_not_matter(true, steps, every):
    trace = jc.simulate(TT, PACING, t1=420.0, solver=jc.RushLarsen2(), save_every=every, **steps)
    beats = jc.biomarkers.action_potentials(trace)
    assert beats.resolved.tolist() == [True] and beats.dvdt_max[0] == pytest.approx(true, rel=4e-3)
    assert not beats.sampled_resolved[0] and beats.sampled_dvdt_max[0] < 0.95 * true


@pytest.mark.slow
def test_every_beat_of_every_cell_has_its_own_in_either_precision():
    k = np.array([7.0, 9.0])
    alone = [
        jc.biomarkers.action_potentials(jc.simulate(AP.replace(k=x), KICKS, t1=110.0, dt=0.05)).dvdt_max for x in k
    ]
    assert np.ptp([x[0] for x in alone]) > 0.1
    for dtype, bar in ((jnp.float64, 1e-9), (jnp.float32, 1e-3)):
        cells = jc.astype(AP.replace(k=k), dtype)
        together = jc.biomarkers.action_potentials(jc.simulate(cells, KICKS, t1=110.0, dt=0.05)).dvdt_max
        assert together.shape == (2, 3)
        np.testing.assert_allclose(together[:, :2], np.stack(alone)[:, :2], rtol=bar)
    assert alone[0][0] == pytest.approx(slope_of(AP.replace(k=7.0), KICKS, 5.0, 7.0, 0.002, diffrax.Tsit5()), rel=1e-4)


def test_late_in_a_run_it_is_the_same():
    def slope(t0):
        kicks = jc.protocols.PulseTrain(-0.5, 1.0, 50.0, t0 + 5.0)
        trace = jc.simulate(jc.astype(AP, jnp.float32), kicks, t0=t0, t1=t0 + 40.0, dt=0.05)
        return jc.biomarkers.action_potentials(trace).dvdt_max

    np.testing.assert_allclose(slope(1e9), slope(0.0), rtol=1e-5)


def test_what_has_no_model_or_not_every_state_says_what_its_samples_show():
    trace = jc.simulate(AP, KICKS, t1=60.0, dt=0.01, save_every=0.5)
    ts, u = np.asarray(trace.ts), np.asarray(trace.V)
    options = {"onsets": [5.0], "min_amplitude": 0.2}
    recorded = jc.biomarkers.action_potentials(jc.Trace.from_samples(ts, u), **options)
    assert recorded.dvdt_max[0] == recorded.sampled_dvdt_max[0] and not recorded.resolved[0]
    some = jc.simulate(AP, KICKS, t1=60.0, dt=0.01, save_every=0.5, outputs=["u"])
    assert jc.biomarkers.action_potentials(some).dvdt_max[0] == recorded.dvdt_max[0]
    under_jit = jax.jit(lambda u: jc.biomarkers.action_potentials_from(ts, u, **options).dvdt_max)(u)
    np.testing.assert_allclose(under_jit, recorded.dvdt_max, rtol=1e-12)
    clamped = jc.simulate(TT, jc.protocols.VoltageSteps([-80.0, 20.0, -80.0], [20.0] * 3), t1=60.0)
    assert not clamped.knows_upstrokes()


def test_a_trace_from_a_file_knows_its_upstrokes(tmp_path):
    trace = jc.simulate(AP, KICKS, t1=60.0, dt=0.05)
    trace.save(tmp_path / "run.h5")
    back = jc.biomarkers.action_potentials(jc.Trace.load(tmp_path / "run.h5"))
    np.testing.assert_array_equal(back.dvdt_max, jc.biomarkers.action_potentials(trace).dvdt_max)
