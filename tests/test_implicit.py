"""The root finder of implicit steps, and adaptive runs that use it."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxcardio as jc
from jaxcardio.simulation.implicit import FrozenNewton, with_frozen_newton

SMALL = jc.models.AlievPanfilov1996()
KICK = jc.protocols.PulseTrain(-0.5, 1.0, 50.0, 5.0)


def _finder(dtype=float):
    rtol = 1e-8 if dtype in (float, np.float64) else 1e-3
    return FrozenNewton(rtol, 1e-2 * rtol, patience=30)


def _implicit_step(step, stiff, seed, dtype):
    """y - step f(y) = y0 with the eigenvalues of f from -1 to -stiff, and its root by scipy."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    matrix = basis @ np.diag(-np.geomspace(1.0, stiff, 5)) @ basis.T
    y0 = rng.normal(size=5)

    def residual(y, args):
        return y - step * (matrix.astype(dtype) @ y + 0.1 * jnp.sin(y)) - y0.astype(dtype)

    def on_host(y):
        return y - step * (matrix @ y + 0.1 * np.sin(y)) - y0

    return residual, y0.astype(dtype), scipy.optimize.root(on_host, y0, tol=1e-13).x


@settings(deadline=None, max_examples=15)
@given(st.floats(1e-3, 1.0), st.floats(1.0, 1e6), st.integers(0, 10**6), st.sampled_from([np.float32, np.float64]))
def test_root_of_a_stiff_implicit_step_is_scipys(step, stiff, seed, dtype):
    stiff = min(stiff, 1e3) if dtype == np.float32 else stiff  # beyond, float32 rounds the residual to more than this
    residual, y0, expected = _implicit_step(step, stiff, seed, dtype)
    found = optimistix.root_find(residual, _finder(dtype), jnp.asarray(y0), max_steps=30, throw=False)
    assert found.value.dtype == dtype
    assert found.result == optimistix.RESULTS.successful
    assert np.allclose(found.value, expected, rtol=0, atol=1e-8 if dtype == np.float64 else 1e-4)


@settings(deadline=None, max_examples=8)
@given(st.floats(0.5, 3.0))
@pytest.mark.slow
def test_root_is_optimistix_chords_and_so_is_its_derivative(a):
    def root(a, finder):
        return optimistix.root_find(lambda y, a: {"x": jnp.tanh(y["x"]) + y["x"] - a}, finder, {"x": a / 2}, a).value[
            "x"
        ]

    other = optimistix.Newton(1e-10, 1e-10)
    assert np.allclose(root(a, _finder()), root(a, other), rtol=1e-8)
    assert np.allclose(jax.grad(root)(a, _finder()), jax.grad(root)(a, other), rtol=1e-7)


def test_what_has_no_root_is_called_diverged():
    found = optimistix.root_find(lambda y, _: y**2 + 1, _finder(), jnp.array([0.1]), max_steps=20, throw=False)
    assert found.result != optimistix.RESULTS.successful


def test_a_root_finder_of_the_users_is_kept():
    own = optimistix.Newton(1e-6, 1e-8)
    kept: Any = with_frozen_newton(diffrax.Kvaerno5(root_finder=own))
    assert kept.root_finder is own
    assert with_frozen_newton(jc.RushLarsen2()) == jc.RushLarsen2()
    exchanged: Any = with_frozen_newton(diffrax.Kvaerno5())
    assert isinstance(exchanged.root_finder, FrozenNewton)


@pytest.mark.parametrize("solver", [diffrax.Kvaerno3(), diffrax.Kvaerno5(), diffrax.ImplicitEuler()])
def test_a_run_is_the_one_with_diffraxs_own_root_finder(solver):
    cell, rtol = SMALL, 1e-3 if isinstance(solver, diffrax.ImplicitEuler) else 1e-6
    finder = diffrax.with_stepsize_controller_tols(diffrax.VeryChord)(kappa=0.0099)  # not the default, so it is kept
    theirs = type(solver)(root_finder=finder)
    ours, shipped = (jc.simulate(cell, KICK, t1=40.0, solver=s, rtol=rtol) for s in (solver, theirs))
    assert ours.ok and shipped.ok
    assert abs(int(ours.steps) - int(shipped.steps)) <= 0.03 * int(shipped.steps)
    assert np.abs(ours.ys.u - shipped.ys.u).max() < 10 * rtol


def _end(k, adjoint):
    cell = SMALL.replace(a=k)
    return jc.simulate(cell, KICK, t1=20.0, solver=diffrax.Kvaerno5(), rtol=1e-8, adjoint=adjoint).final_state.u


@pytest.mark.slow
def test_gradients_both_ways_are_differences():
    """(Kvaerno3 with Diffrax's root finder or ours has no gradient on this model: it rejects steps without end.)"""
    a, h = SMALL.a, 1e-4
    difference = (_end(a + h, None) - _end(a - h, None)) / (2 * h)
    assert np.allclose(jax.grad(_end)(a, None), difference, rtol=1e-5)
    forward = jax.jvp(lambda k: _end(k, diffrax.ForwardMode()), (a,), (jnp.ones_like(a),))[1]
    assert np.allclose(forward, difference, rtol=1e-5)


def test_a_population_runs_as_its_cells_do():
    values = np.array([0.12, 0.15, 0.18])
    together = jc.simulate(SMALL.replace(a=values), KICK, t1=20.0, solver=diffrax.Kvaerno3(), rtol=1e-6)
    alone = [jc.simulate(SMALL.replace(a=v), KICK, t1=20.0, solver=diffrax.Kvaerno3(), rtol=1e-6) for v in values]
    assert np.allclose(together.final_state.u, [t.final_state.u for t in alone], rtol=1e-6)


def test_an_implicit_float32_run_ends_well_as_it_is():
    """At atol = rtol / 100 the root finder of this run failed within the first upstroke."""
    cell, pacing = (
        jc.astype(jc.models.TenTusscher2004(), jnp.float32),
        jc.protocols.PulseTrain(-52.0, 1.0, 1000.0, 10.0),
    )
    run = jc.simulate(cell, pacing, t1=50.0, solver=diffrax.Kvaerno5())
    exact = jc.simulate(jc.astype(cell, jnp.float64), pacing, t1=50.0, solver=jc.RushLarsen2(), dt=0.005)
    assert run.status == jc.Status.OK
    assert np.abs(np.asarray(run.V) - np.asarray(exact.V))[20:].max() < 0.3


def test_tolerances_have_a_floor():
    for dtype, least in ((jnp.float32, 1e-9), (jnp.float64, 1e-20)):
        cell = jc.astype(jc.models.TenTusscher2004(), dtype)
        with pytest.raises(ValueError, match=f"atol = .*; allowed in {jnp.dtype(dtype).name}: >= {least}"):
            jc.simulate(cell, t1=5.0, solver=diffrax.Kvaerno5(), atol=least / 2)
