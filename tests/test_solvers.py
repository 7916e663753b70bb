"""Claims about the Rush-Larsen solvers: their order, what they conserve, and that Diffrax can drive them."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, rms, slope

import jaxcardio as jc
from jaxcardio.numerics import one_minus_exp
from jaxcardio.simulation.request import DEFAULT_RTOL

QUICK = ("ten_tusscher", "aliev_panfilov")


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in CASES])
@pytest.mark.parametrize(
    ("solver", "low", "high"),
    [(jc.RushLarsen(), 0.9, 1.15), (jc.RushLarsen2(), 1.8, 2.2), (jc.RushLarsenMidpoint(), 1.8, 2.2)],
    ids=lambda x: type(x).__name__,
)
def test_order_of_convergence(name, solver, low, high):
    """On a stretch of the action potential without jumps of a rate the error falls with the solver's order."""
    cell, pacing, (t0, t1), steps = CASES[name]
    start = jc.simulate(cell, pacing, t1=t0, solver=jc.RushLarsen2(), dt=steps[-1], save_every=t0).final_state
    run: dict[str, Any] = dict(t0=t0, t1=t1, y0=start, save_every=(t1 - t0) / 20)
    exact = jc.simulate(cell, pacing, solver=jc.RushLarsen2(), dt=steps[-1] / 16, **run).V
    errors = [rms(jc.simulate(cell, pacing, solver=solver, dt=dt, **run).V - exact) for dt in steps]
    assert low <= slope(steps, errors) <= high


SECOND_ORDER = pytest.mark.parametrize("solver", [jc.RushLarsen2(), jc.RushLarsenMidpoint()], ids=["2", "midpoint"])


@pytest.mark.slow
@SECOND_ORDER
def test_second_order_holds_over_a_whole_beat_with_edges(solver):
    """A restart after each stimulus edge costs no order."""
    cell, pacing, _, _ = CASES["ten_tusscher"]
    run: dict[str, Any] = dict(t1=400.0, solver=solver, save_every=20.0)
    exact = jc.simulate(cell, pacing, dt=0.000625, **run).V
    steps = (0.02, 0.01, 0.005)
    errors = [rms(jc.simulate(cell, pacing, dt=dt, **run).V - exact) for dt in steps]
    assert 1.8 <= slope(steps, errors) <= 2.3


@pytest.mark.slow
@SECOND_ORDER
def test_second_order_holds_on_a_ragged_grid(solver):
    """Halving every step of a random grid divides the error by four."""
    cell, pacing, (t0, t1), _ = CASES["ten_tusscher"]
    start = jc.simulate(cell, pacing, t1=t0, solver=jc.RushLarsen2(), dt=0.005, save_every=t0).final_state
    rng = np.random.default_rng(0)
    grid = np.concatenate([[t0], np.sort(rng.uniform(t0, t1, 500)), [t1]])
    run: dict[str, Any] = dict(t0=t0, t1=t1, y0=start, solver=solver, save_at=grid[20::20])
    exact = jc.simulate(cell, pacing, dt=0.001, **run).V
    errors = []
    for _ in range(4):
        errors.append(float(jnp.linalg.norm(jc.simulate(cell, pacing, grid=grid, **run).V - exact)))
        grid = np.sort(np.concatenate([grid, (grid[1:] + grid[:-1]) / 2]))
    assert 1.7 <= slope(0.5 ** np.arange(4), errors) <= 2.3


@pytest.mark.parametrize(
    "solver",
    [jc.RushLarsen(), jc.RushLarsen2(), jc.RushLarsenMidpoint(), jc.Multirate(("Ca_i", "Na_i", "K_i"), 2)],
    ids=["1", "2", "midpoint", "multirate"],
)
def test_a_run_that_begins_at_an_edge_is_the_rest_of_one_that_passes_it(solver):
    """What a solver remembers is dropped at an edge, and nothing is remembered at the start of a run."""
    cell, pulses = CASES["ten_tusscher"].cell, jc.protocols.PulseTrain(-52.0, 1.0, 30.0, 0.0)
    times = 30.0 + np.arange(0, 20.01, 0.05)  # also between the steps of 0.1 ms
    how: dict[str, Any] = dict(t1=50.0, dt=0.1, solver=solver)
    middle = jc.simulate(cell, pulses, t1=30.0, dt=0.1, solver=solver, save_at=[30.0]).final_state
    whole, rest = (
        jc.simulate(cell, pulses, **how, save_at=times),
        jc.simulate(cell, pulses, **how, t0=30.0, y0=middle, save_at=times),
    )
    for one, other in zip(whole.ys, rest.ys, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("solver", [jc.RushLarsen(), jc.RushLarsen2(), jc.RushLarsenMidpoint()])
def test_a_held_gate_is_exact_for_any_step(solver):
    """Under a constant clamp the voltage gates follow their closed form whatever dt is."""
    cell = CASES["ten_tusscher"].cell
    clamp = jc.protocols.VoltageSteps([-20.0], [100.0])
    y0 = cell.initial_state()
    coarse = jc.simulate(cell, clamp, t1=100.0, solver=solver, dt=10.0, save_every=10.0)
    rates = cell.rates(0.0, y0._replace(V=jnp.array(-20.0)), 0.0)
    for gate in ("m", "h", "j", "d", "f", "r", "s", "Xs", "Xr1", "Xr2"):
        closed_form = getattr(rates, gate).at(getattr(y0, gate), jnp.asarray(coarse.ts))
        np.testing.assert_allclose(getattr(coarse.ys, gate), closed_form, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("solver", [jc.RushLarsen(), jc.RushLarsen2(), jc.RushLarsenMidpoint()])
def test_diffeqsolve_drives_the_solver_to_the_same_answer(solver):
    """`simulate` is a way of stepping, not another method: diffeqsolve with the same solver and steps agrees."""
    cell, pacing, (t0, _), _ = CASES["ten_tusscher"]
    start = jc.simulate(cell, pacing, t1=t0, dt=0.05, save_every=t0).final_state
    ours = jc.simulate(cell, None, t1=40.0, y0=start, solver=solver, dt=0.05, save_every=1.0)
    theirs = diffrax.diffeqsolve(
        jc.RatesTerm(cell.rates_under),
        solver,
        0.0,
        40.0,
        0.05,
        start,
        None,
        saveat=diffrax.SaveAt(ts=jnp.arange(41.0)),
        max_steps=None,
    )
    assert theirs.ys is not None
    np.testing.assert_allclose(theirs.ys.V, ours.V, atol=1e-9, rtol=0)


def test_any_diffrax_solver_takes_the_bare_vector_field():
    cell, pacing, _, _ = CASES["ten_tusscher"]
    controller = diffrax.ClipStepSizeController(
        diffrax.PIDController(1e-6, 1e-8), jump_ts=jnp.asarray(pacing.edges(0.0, 30.0))
    )
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(cell.vector_field),
        diffrax.Tsit5(),
        0.0,
        30.0,
        1e-3,
        cell.initial_state(),
        pacing,
        saveat=diffrax.SaveAt(t1=True),
        stepsize_controller=controller,
        max_steps=200_000,
    )
    ours = jc.simulate(cell, pacing, t1=30.0, solver=jc.RushLarsen2(), dt=0.002)
    assert solution.ys is not None
    assert solution.ys.V[-1] == pytest.approx(float(ours.V[-1]), abs=0.01)


@SECOND_ORDER
def test_dense_output_is_the_steps_own_formula(solver):
    """Between steps the solution is as accurate as at them, even where a gate is 100 times faster than the step."""
    cell, pacing, (t0, t1), _ = CASES["ten_tusscher"]
    start = jc.simulate(cell, pacing, t1=t0, solver=jc.RushLarsen2(), dt=0.005, save_every=t0).final_state
    times = t0 + 0.1 * np.arange(451)
    solution = diffrax.diffeqsolve(
        jc.RatesTerm(cell.rates_under),
        solver,
        t0,
        t1,
        0.5,
        start,
        None,
        saveat=diffrax.SaveAt(dense=True, ts=jnp.asarray(times)),
        max_steps=200,
    )
    exact = jc.simulate(cell, None, t0=t0, t1=t1, y0=start, solver=jc.RushLarsen2(), dt=0.005, save_at=times)
    at_a_step = np.arange(451) % 5 == 0
    assert solution.ys is not None
    for state in ("V", "m", "f", "Ca_i"):
        error = np.abs(getattr(solution.ys, state) - getattr(exact.ys, state))
        first_order = at_a_step | (np.arange(451) < 5)  # the midpoint rule's first step has but one slope
        assert error[~first_order].max() <= 1.2 * error[at_a_step].max()
    assert float(solution.evaluate(t0 + 0.3).V) == pytest.approx(float(solution.ys.V[3]), abs=1e-9)


@pytest.mark.slow  # compiles an adaptive run for each tolerance
def test_adaptive_error_falls_with_the_tolerance():
    """Kernik, spontaneous, 10 s: monotone over three decades, at most 1 mV (0.03 ms of timing) at the default."""
    cell = CASES["kernik"].cell
    run: dict[str, Any] = dict(t1=10_000.0, outputs=["V"])
    exact = jc.simulate(cell, None, solver=diffrax.Tsit5(), rtol=1e-8, atol=1e-10, **run).V
    errors = []
    for rtol in (1e-3, 1e-4, 1e-5, None):
        trace = jc.simulate(cell, None, solver=jc.RushLarsen2(), rtol=rtol, **run)
        assert trace.status == jc.Status.OK
        errors.append(float(np.abs(trace.V - exact).max()))
    assert DEFAULT_RTOL == 1e-6
    assert all(np.diff(errors) < 0), errors
    assert errors[-1] <= 1.0


def test_the_midpoint_step_makes_long_steps_over_an_upstroke_honest():
    """Skibsbye at 0.1 ms: a tenth of the error of `RushLarsen2`, over the upstroke and the 20 ms after it."""
    cell, pacing = jc.models.Skibsbye2016(), jc.protocols.PulseTrain(-11.5, 2.0, 1000.0, 0.0)
    run: dict[str, Any] = dict(t1=20.0, save_every=0.1, outputs=["V"])
    exact = jc.simulate(cell, pacing, solver=jc.RushLarsenMidpoint(), dt=0.005, **run).V
    errors = {
        type(solver): rms(jc.simulate(cell, pacing, solver=solver, dt=0.1, **run).V - exact)
        for solver in (jc.RushLarsen2(), jc.RushLarsenMidpoint())
    }
    assert errors[jc.RushLarsenMidpoint] < 0.1 * errors[jc.RushLarsen2]
    assert errors[jc.RushLarsenMidpoint] < 0.5


def test_a_paced_grid_waits_for_its_stimulus_in_long_steps():
    pacing = jc.protocols.PulseTrain(-52.0, 1.0, 1000.0, 10.0)
    before, both = jc.paced_grid(pacing, 9.0), jc.paced_grid(pacing, 20.0)
    assert np.allclose(np.diff(before), 1 / 3)
    assert np.isclose(np.diff(both)[:30], 1 / 3).all()
    assert np.isclose(np.diff(both)[30:100], 0.01).all()
    assert before[-1] == 9.0
    assert 10.0 in both


def test_paced_grid_is_accurate_at_few_steps():
    """ten Tusscher, CL 1000: RMSE <= 0.02 mV and APD90 within 0.05 ms of a fine run at <= 4000 steps a second."""
    cell, pacing, _, _ = CASES["ten_tusscher"]
    t1 = 2000.0
    grid = jc.paced_grid(pacing, t1)
    assert len(grid) - 1 <= 4000 * t1 / 1000
    run: dict[str, Any] = dict(t1=t1, solver=jc.RushLarsen2())
    fine = jc.simulate(cell, pacing, dt=0.002, **run)
    coarse = jc.simulate(cell, pacing, grid=grid, **run)
    phase = (fine.ts - 10.0) % 1000.0
    assert rms((coarse.V - fine.V)[phase > 10.0]) <= 0.02
    apd = [_apd90(trace) for trace in (coarse, fine)]
    assert np.abs(apd[0] - apd[1]).max() <= 0.05


def _apd90(trace):
    """Time of the fall through the 90 % level after each stimulus; the upstroke's own error is far below 0.01 ms."""
    falls = []
    for onset in (10.0, 1010.0):
        inside = (trace.ts >= onset) & (trace.ts < onset + 990.0)
        t, V = trace.ts[inside], np.asarray(trace.V)[inside]
        level = V.max() - 0.9 * (V.max() - V[0])
        k = np.flatnonzero((V[:-1] > level) & (V[1:] <= level))[0]
        falls.append(t[k] + (V[k] - level) / (V[k] - V[k + 1]))
    return np.array(falls)


@pytest.mark.slow
def test_float32_keeps_slow_concentrations():
    """20 beats at 1 Hz, default settings: APD90 within 0.1 ms, K_i and Na_i within 1 % of their motion, of float64."""
    cell, pacing, _, _ = CASES["ten_tusscher"]
    run: dict[str, Any] = dict(t1=20_000.0, outputs=["V", "K_i", "Na_i"])
    double = jc.simulate(cell, pacing, **run)
    single = jc.simulate(jc.astype(cell, jnp.float32), pacing, **run)
    assert single.V.dtype == jnp.float32
    assert single.status == jc.Status.OK
    for ion in ("K_i", "Na_i"):
        exact, rough = np.asarray(getattr(double.ys, ion)), np.asarray(getattr(single.ys, ion), float)
        assert np.abs(rough - exact).max() <= 0.01 * np.ptp(exact)
    beats = [jc.biomarkers.action_potentials(trace).apd90 for trace in (single, double)]
    assert np.nanmax(np.abs(np.asarray(beats[0], float) - beats[1])) <= 0.1


@pytest.mark.parametrize(("dtype", "worst"), [(jnp.float32, 4e-7), (jnp.float64, 1e-9)])
def test_the_part_of_the_way_of_a_gate_is_right_for_slow_and_fast_ones(dtype, worst):
    z = np.concatenate([np.logspace(-6, 3, 2001), [0.25]])
    found = np.asarray(one_minus_exp(jnp.asarray(z, dtype)), np.float64)
    exact = -np.expm1(-np.asarray(jnp.asarray(z, dtype), np.float64))
    assert np.abs(found / exact - 1).max() < worst
    slope_at = jax.vmap(jax.grad(one_minus_exp))(jnp.asarray(z, dtype))
    assert np.abs(np.asarray(slope_at, np.float64) - np.exp(-z)).max() < 1e-6
    assert one_minus_exp(jnp.zeros((), dtype)) == 0


@pytest.mark.slow
def test_without_compensation_float32_loses_potassium():
    """The compensation is needed: the same steps summed plainly in float32 are far off."""

    class Plain(jc.RushLarsen):
        def init(self, terms, t0, t1, y0, args):
            return None

    cell, pacing, _, _ = CASES["ten_tusscher"]
    run: dict[str, Any] = dict(t1=2000.0, outputs=["K_i"])
    exact = jc.simulate(cell, pacing, **run).ys.K_i
    single = jc.astype(cell, jnp.float32)
    motion = float(np.ptp(exact))
    compensated, plain = (
        np.abs(np.asarray(jc.simulate(single, pacing, solver=s, **run).ys.K_i, float) - exact).max() / motion
        for s in (jc.RushLarsen(), Plain())
    )
    assert compensated < 0.01
    assert plain > 10 * compensated


def test_backsolve_is_refused():
    with pytest.raises(ValueError, match=r"BacksolveAdjoint.*unstable"):
        jc.simulate(CASES["kernik"].cell, t1=1.0, adjoint=diffrax.BacksolveAdjoint())


@pytest.mark.slow
def test_solvers_work_under_strict_vmap_of_their_own():
    """A population is the loop over its cells."""
    cell, pacing, _, _ = CASES["ten_tusscher"]
    g_Kr = cell.g_Kr * jnp.array([0.5, 1.0, 2.0])
    both = jc.simulate(cell.replace(g_Kr=g_Kr), pacing, t1=30.0, solver=jc.RushLarsen2(), dt=0.05)
    alone = [jc.simulate(cell.replace(g_Kr=g), pacing, t1=30.0, solver=jc.RushLarsen2(), dt=0.05) for g in g_Kr]
    mapped = jax.vmap(lambda g: jc.simulate(cell.replace(g_Kr=g), pacing, t1=30.0, solver=jc.RushLarsen2(), dt=0.05).V)(
        g_Kr
    )
    np.testing.assert_allclose(both.V, jnp.stack([a.V for a in alone]), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(both.V, mapped, rtol=1e-11, atol=1e-11)
