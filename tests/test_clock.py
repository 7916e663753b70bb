"""Claims about time: one resolution, the same run wherever on the time axis it lies, no edge or sample lost."""

import pickle
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxcardio as jc
from jaxcardio.clock import LATEST, RESOLUTION, between, inside, merge, positions, without
from jaxcardio.simulation.fixed import make_plan
from jaxcardio.simulation.request import make_request

CELL = jc.models.TenTusscher2004()
TRAIN = jc.protocols.PulseTrain
LATE = (0.0, 1e6, 1e8, 1e9)
SOME: dict[str, Any] = dict(seed=0, spread=0.2, parameters=["g_Kr"])
USUAL = dict(
    solver=None, dt=None, grid=None, rtol=None, atol=None, save_every=None, save_at=None, outputs=None, y0=None,
    max_steps=1000, adjoint=None, progress=False,
)  # fmt: skip


def times_and_drive(protocol, t0, t1, **how):
    request = make_request(CELL, protocol, t0=t0, t1=t1, **{**USUAL, **how})
    return request, make_plan(request.drive, request.times, np.float64)


# --- the clock itself ------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(st.lists(st.floats(0, 1e-4) | st.floats(0, 1e9), max_size=60), st.sampled_from(LATE))
def test_merged_times_are_apart_and_none_is_lost(times, late):
    times = late + np.array(times)
    merged = merge(times)
    assert (np.diff(merged) > RESOLUTION).all() and set(merged) <= set(times)
    assert all(np.abs(merged - t).min() <= RESOLUTION for t in times)
    whole = between(late, late + 1e9, times)
    assert (np.diff(whole) > RESOLUTION).all() and whole[0] == late and whole[-1] == late + 1e9
    left = without(whole, merged)
    assert all(np.abs(merged - t).min() > RESOLUTION for t in left) if len(merged) else len(left) == 2
    within = inside(times, late, late + 1e9)
    if len(within):
        assert np.array_equal(whole[positions(whole, within)], within)


# --- laying out a run ------------------------------------------------------------------------------------------------

periods = st.sampled_from([333.3, 1000 / 3, 599.9, 700.0, 0.3, 1000.0]) | st.floats(0.25, 2000.0)
starts = st.sampled_from([0.0, 0.1, 0.3, 1 / 3, 10.0]) | st.floats(0.0, 50.0)


@settings(deadline=None, max_examples=150)
@given(periods, starts, st.sampled_from(LATE), st.integers(1, 29), st.sampled_from([-1.0, 0.0, 0.5, 1.0]), st.data())
def test_every_pulse_is_delivered_whole_wherever_the_run_ends(period, start, t0, n, ends, data):
    """t1 = start + n periods, or a rounding beside it: every edge and sample is on the grid, no charge lost."""
    duration = 0.4 * min(period, 2.0)
    count = data.draw(st.sampled_from([np.inf, 1, n, n + 3]))
    train = TRAIN(-10.0, duration, period, t0 + start, count)
    t1 = t0 + start + n * period + ends * 0.4 * RESOLUTION
    every = max(period / 7, 0.05)
    request, plan = times_and_drive(train, t0, t1, dt=min(duration, 1.0), save_every=min(every, t1 - t0))
    times, steps = request.times, plan.blocks.steps
    assert times.grid[0] == 0 and times.grid[-1] == t1 - t0 and (np.diff(times.grid) > RESOLUTION).all()
    assert np.abs(times.grid[times.where] - times.saved).max() <= RESOLUTION
    assert np.abs(times.ts - (t0 + times.saved)).max() <= 1e-6 and times.ts.dtype == np.float64
    assert times.edges is not None and steps.jump.sum() == len(times.edges)
    assert np.diff(times.grid).max() <= min(duration, 1.0) + 3 * RESOLUTION
    charge = float((steps.value * steps.dt).sum())
    assert charge == pytest.approx(-10.0 * duration * min(n, count), abs=10.0 * 4 * RESOLUTION * n)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(LATE), st.floats(250.0, 1500.0), starts)
def test_a_paced_grid_is_the_same_grid_at_any_time(t0, period, start):
    train, late = TRAIN(-52.0, 1.0, period, start), TRAIN(-52.0, 1.0, period, t0 + start)
    early_grid, late_grid = jc.paced_grid(train, 3000.0), jc.paced_grid(late, t0 + 3000.0, t0)
    assert late_grid.shape == early_grid.shape
    assert np.abs(late_grid - t0 - early_grid).max() <= 1.5 * RESOLUTION
    request, _ = times_and_drive(late, t0, t0 + 3000.0, grid=late_grid, save_every=1000.0)
    assert len(request.times.grid) <= len(early_grid) + 4  # what is saved is on it besides


def test_samples_a_thousandth_apart_stay_apart_late_in_a_run():
    for t0 in LATE:
        train = TRAIN(-52.0, 0.5, 1000.0, t0 + 10.0)
        request, plan = times_and_drive(train, t0, t0 + 20.0, dt=0.01, save_every=0.001)
        assert len(request.times.ts) == 20001 and (np.diff(request.times.ts) > 0).all()
        assert plan.n_steps == 20000


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("period", "start", "bar"), [(200.0, 10.0, 1e-6), (1000 / 3, 10.1, 1e-4)])
@pytest.mark.parametrize("how", ["grid", "dt"])
def test_a_beat_is_the_same_beat_a_billion_milliseconds_later(period, start, bar, how):
    def beats(t0):
        pacing = TRAIN(-52.0, 1.0, period, t0 + start)
        steps: dict[str, Any] = {"grid": jc.paced_grid(pacing, t0 + 250.0, t0)} if how == "grid" else {"dt": 0.02}
        return jc.simulate(CELL, pacing, t0=t0, t1=t0 + 250.0, solver=jc.RushLarsen2(), outputs=["V"], **steps)

    first = beats(0.0)
    assert first.V.max() > 20
    for t0 in LATE[1:]:
        late = beats(t0)
        assert late.steps == first.steps and late.ok
        np.testing.assert_allclose(late.V, first.V, rtol=0, atol=bar)
        assert late.ts.dtype == np.float64 and np.array_equal(late.ts, t0 + first.ts)


def test_a_train_that_began_long_ago_still_beats():
    beats = [
        jc.simulate(CELL, TRAIN(-52.0, 1.0, 250.0, 10.0), t0=t0, t1=t0 + 40.0, solver=jc.RushLarsen2(), dt=0.02).V
        for t0 in (0.0, 1e9)
    ]
    np.testing.assert_allclose(beats[1], beats[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("how", [dict(rtol=1e-7, solver=diffrax.Tsit5()), dict(rtol=1e-6, solver=jc.RushLarsen2())])
def test_adaptive_runs_late(how):
    cell = jc.models.AlievPanfilov1996()
    V = [
        jc.simulate(cell, TRAIN(-0.5, 1.0, 50.0, t0 + 5.0), t0=t0, t1=t0 + 30.0, outputs=["u"], **how).V
        for t0 in (0.0, 1e9)
    ]
    assert V[0].max() > 0.9
    np.testing.assert_allclose(V[1], V[0], rtol=0, atol=1e-9)


def test_float32_runs_and_clamps_are_the_same_late():
    cell = jc.astype(CELL, jnp.float32)

    def runs(t0):
        paced = jc.simulate(cell, TRAIN(-52.0, 1.0, 250.0, t0 + 10.0), t0=t0, t1=t0 + 40.0, dt=0.02)
        clamp = jc.protocols.VoltageSteps([-80.0, -20.0], [5.0, 5.0], start=t0)
        return paced, jc.simulate(cell, clamp, t0=t0, t1=t0 + 10.0, outputs=["I_ion_total"])

    (first, first_clamped), (late, late_clamped) = runs(0.0), runs(1e9)
    assert np.array_equal(late.V, first.V) and late.ts.dtype == np.float64
    assert np.array_equal(late_clamped.ys.I_ion_total, first_clamped.ys.I_ion_total)


def test_times_stay_float64_where_jax_has_no_float64():
    with jax.enable_x64(False):
        cell = jc.models.AlievPanfilov1996()
        trace = jc.simulate(cell, TRAIN(-0.5, 1.0, 50.0, 1e9 + 5.0), t0=1e9, t1=1e9 + 20.0, dt=0.05, save_every=0.1)
    assert trace.V.dtype == np.float32 and trace.V.max() > 0.5
    assert trace.ts.dtype == np.float64 and np.allclose(np.diff(trace.ts), 0.1, atol=1e-6)


def test_numbers_of_any_kind_say_when():
    a = jc.simulate(CELL, t0=np.int8(-100), t1=np.int8(100), dt=0.5, outputs=["V"])  # pyright: ignore[reportArgumentType]
    b = jc.simulate(CELL, t0=-100.0, t1=jnp.asarray(100.0), dt=np.float32(0.5), outputs=["V"])  # pyright: ignore[reportArgumentType]
    assert np.array_equal(a.V, b.V) and len(a.ts) == 201


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (dict(t1=1e18), r"t1 = 1e\+18 ms; allowed: within"),
        (dict(t0=-2 * LATEST), "t0 = .* ms; allowed: within"),
        (dict(t1=1e-7), "t1 = 1e-07 ms; allowed: > t0 = 0.0 ms"),
        (dict(t1="5"), "t1 = '5' ms; allowed"),
        (dict(t1=None), "t1 = None ms; allowed"),
        (dict(t1=[1.0, 2.0]), "t1 = .* ms; allowed"),
        (dict(t1=1 + 2j), "t1 = .* ms; allowed"),
        (dict(dt=1e-13), r"dt = 1e-13 ms; allowed: > 0, at least 1e-05"),
        (dict(dt="x"), "dt = 'x' ms; allowed"),
        (dict(t1=1e9, dt=0.01, save_every=1e6), r"1e\+09 ms at dt = 0.01 ms: 1e\+11 steps need .* GB; allowed on this"),
        (dict(t1=1e9), r"t1 - t0 = 1e\+09 ms at save_every = 1 ms: 1e\+09 samples need .* GB"),
        (dict(t1=1e7, dt=1.0, save_every=1e-3), r"save_every = 0.001 ms: 1e\+10 samples need .* GB"),
        (dict(save_every=1e-9), "save_every = 1e-09 ms; allowed: 0 < save_every"),
        (dict(save_every="x"), "save_every = 'x' ms; allowed"),
        (dict(save_at=["a"]), "save_at = .*; allowed: times in ms"),
        (dict(save_at=[1.0, 1.0 + 1e-8]), "save_at: expected strictly ascending"),
        (dict(grid="grid"), "grid = 'grid'; allowed: times in ms"),
        (dict(grid=[0.0, [1.0, 2.0]]), "grid = .*; allowed: times in ms"),
        (dict(solver=jc.RushLarsen), "solver = .*; allowed: a Diffrax solver"),
        (dict(solver="rk4"), "solver = 'rk4'; allowed: a Diffrax solver"),
        (dict(solver=diffrax.Kvaerno5(), max_steps=0), "max_steps = 0 steps; allowed"),
        (dict(solver=diffrax.Kvaerno5(), rtol=1e-18), "rtol = 1e-18; allowed in float64: >= 1e-13"),
        (dict(solver=diffrax.Kvaerno5(), save_at="steps"), "save_at = 'steps'; allowed in an adaptive run"),
        (dict(solver=diffrax.Kvaerno5(), dt=0.1, rtol=-1), "rtol = -1; allowed: > 0, finite"),
        (dict(solver=diffrax.Kvaerno5(), dt=0.1, rtol="x"), "rtol = 'x'; allowed: > 0, finite"),
        (dict(solver=diffrax.Kvaerno5(), atol=[1e-6, 1]), "atol = .*; allowed: > 0, finite"),
        (dict(solver=diffrax.Kvaerno5(), max_steps=10**30), "max_steps = 1.* steps; allowed: at most"),
        (dict(y0=CELL.initial_state()._replace(V="-80")), "y0.V = '-80' mV; allowed: a number"),
        (dict(y0=CELL.initial_state()._replace(V=None)), "y0.V = None mV; allowed: a number"),
        (dict(outputs=["V", "V"]), "outputs = .*; allowed: each name once"),
        (dict(outputs=[3]), "outputs = 3; allowed: names"),
        (dict(outputs="V"), "outputs = 'V'; allowed: a list"),
        (dict(progress=3), "progress = 3; allowed"),
    ],
)  # fmt: skip
def test_bad_times_and_sizes_are_named(how, message):
    usual: dict[str, Any] = {"t1": 20.0} | how
    with pytest.raises(ValueError, match=message):
        jc.simulate(CELL, TRAIN(-52.0, 1.0, 1000.0), **usual)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jc.simulate(jc.models.TenTusscher2004, t1=5.0), "cell = .*; allowed: a cell"),  # pyright: ignore
        (lambda: jc.simulate(None, t1=5.0), "cell = None; allowed: a cell"),  # pyright: ignore
        (lambda: jc.simulate(CELL, -52.0, t1=5.0), "protocol = -52.0; allowed"),  # pyright: ignore
        (lambda: jc.simulate(CELL.replace(g_Kr=np.zeros(0)), t1=5.0), "population of 0 cells"),
        (lambda: jc.paced_grid(TRAIN(-52.0, 1.0, 1000.0), -5.0), "t1 = -5.0 ms; allowed"),
        (lambda: jc.paced_grid(TRAIN(-52.0, 1.0, 1000.0), np.nan), "t1 = nan ms; allowed"),
        (lambda: jc.paced_grid(TRAIN(-52.0, 1.0, 1000.0), 1e14), r"t1 = 1000.* ms; allowed: within"),
        (lambda: jc.paced_grid(TRAIN(-52.0, 1.0, 1000.0), 4e9), "need .* GB"),
        (lambda: CELL.replace(g_Kr="0.153"), "parameter g_Kr = '0.153'; allowed: a number"),  # pyright: ignore
        (lambda: CELL.replace(g_Kr=True), "parameter g_Kr = True; allowed: a number"),
        (lambda: jc.population.sample(CELL, n=True, **SOME), "n = True cells; allowed"),
        (lambda: jc.population.sample(CELL, n=10**13, **SOME), "n = 1.*0 cells; allowed"),
        (lambda: jc.Trace.from_samples([0.0, 1.0], ["a", "b"]), r"V = \['a', 'b'\] mV; allowed: numbers"),
        (lambda: jc.biomarkers.action_potentials(np.zeros(5)), "trace = ndarray; allowed: anything with ts"),
        (lambda: CELL.replace(g_Kr=10**400), "parameter g_Kr = 1000.*; allowed: a number"),
        (lambda: jc.paced_grid(TRAIN(-52.0, 1.0, 1000.0), 9.0, stages=[]), r"stages = \[\]; allowed: \(until, dt\)"),
        (lambda: jc.paced_grid(TRAIN(-52.0, 1.0, 1000.0), 9.0, stages=5), "stages = 5; allowed"),  # pyright: ignore
        (lambda: jc.hold(None, "V"), "cell = None; allowed: a cell"),  # pyright: ignore
        (lambda: jc.astype(jc.models.TenTusscher2004, jnp.float32), "cell = .*; allowed: a cell"),  # pyright: ignore
        (lambda: jc.astype(CELL, None), "dtype = None; allowed: float32 or float64"),
        (lambda: jc.pharmacology.block(CELL, None, 1.0), "drug = None; allowed: a name"),  # pyright: ignore
        (lambda: jc.population.sample(None, n=1, **SOME), "cell = None; allowed: a cell"),  # pyright: ignore
        (lambda: jc.population.simulate(None, t1=5.0), "cells = None; allowed: a cell"),  # pyright: ignore
        (lambda: jc.value_and_gradient(lambda c: c.g_Kr, CELL, [3]), r"names = \[3\]; allowed"),  # pyright: ignore
        (lambda: jc.astype(CELL, jnp.int32), "dtype = int32; allowed: float32 or float64"),
        (lambda: jc.astype(CELL, complex), "dtype = complex128; allowed: float32 or float64"),
        (lambda: jc.astype(CELL, "text"), "dtype = 'text'; allowed: float32 or float64"),
    ],
)  # fmt: skip
def test_bad_calls_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_trace_of_chosen_outputs_survives_a_pickle():
    trace = jc.simulate(CELL, t1=2.0, dt=0.05, outputs=["I_Kr", "V"])
    back = pickle.loads(pickle.dumps(trace))
    assert back.ys._fields == ("I_Kr", "V") and np.array_equal(back.ys.I_Kr, trace.ys.I_Kr)
