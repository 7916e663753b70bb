"""Claims about gradients: forward, reverse and central differences agree through whole action potentials."""

import functools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES

import jaxcardio as jc

CELL, PACING, _, _ = CASES["ten_tusscher"]
CONDUCTANCES = tuple(CELL.conductances.values())


def _one_beat(scales, **how):
    """A smooth scalar of one whole beat: the mean potential over 400 ms, a function of twelve conductance factors."""
    values = {n: CELL.parameters()[n].value * s for n, s in zip(CONDUCTANCES, scales, strict=True)}
    trace = jc.simulate(CELL.replace(**values), PACING, t1=400.0, save_every=2.0, outputs=["V"], **how)
    return jnp.mean(trace.V)


def _central(f, x, h):
    """Central difference small enough to stay on one smooth piece: with fixed steps the frozen-gate switches of the
    model fall on one step or the next, so the computed function has small jumps, which are in no derivative of it."""
    return float((f(x + h) - f(x - h)) / (2 * h))


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [dict(dt=0.05), dict(solver=jc.RushLarsen2(), dt=0.05)], ids=["RushLarsen", "RushLarsen2"]
)
def test_jvp_vjp_and_central_differences_agree(how):
    """Twelve conductances of ten Tusscher, one beat with both stimulus edges: 1e-5 relative."""
    assert len(CONDUCTANCES) == 12
    f = jax.jit(lambda s: _one_beat(s, **how))
    x = jnp.ones(12)
    reverse = jax.jit(jax.grad(f))(x)
    forward = jax.jit(jax.jacfwd(f))(x)
    np.testing.assert_allclose(forward, reverse, rtol=1e-8)
    numeric = [_central(lambda s, i=i: f(x.at[i].set(s)), 1.0, 1e-6) for i in range(12)]
    np.testing.assert_allclose(reverse, numeric, rtol=1e-5)


@pytest.mark.parametrize(
    ("solver", "rtol"),
    [(jc.RushLarsen2(), 1e-6), (diffrax.Kvaerno3(), 1e-8)],
    ids=["RushLarsen2", "Kvaerno3"],
)
@pytest.mark.slow
def test_adaptive_runs_differentiate_both_ways(solver, rtol):
    """Through the step-size controller, and to the derivative that a fine fixed-step run has."""

    def mean_V(s, **how):
        run = dict(t1=30.0, save_every=2.0, outputs=["V"])
        return jnp.mean(jc.simulate(CELL.replace(g_to=CELL.g_to * s), PACING, **run, **how).V)

    adaptive = dict(solver=solver, rtol=rtol, max_steps=20_000)
    reverse = jax.jit(jax.grad(lambda s: mean_V(s, **adaptive)))(1.0)
    forward = jax.jit(jax.jacfwd(lambda s: mean_V(s, adjoint=diffrax.ForwardMode(), **adaptive)))(1.0)
    fine = jax.jit(jax.jacfwd(lambda s: mean_V(s, solver=jc.RushLarsen2(), dt=0.005)))(1.0)
    assert forward == pytest.approx(float(reverse), rel=1e-6)
    assert forward == pytest.approx(float(fine), rel=1e-3)


@pytest.mark.slow
def test_gradient_through_a_drug_dose():
    """d(mean V)/d(concentration) by reverse mode equals a central difference."""

    def mean_V(nM):
        cell = jc.pharmacology.block(CELL, "E-4031", nM)
        return jnp.mean(jc.simulate(cell, PACING, t1=400.0, solver=jc.RushLarsen2(), dt=0.1, save_every=2.0).V)

    slope = jax.jit(jax.grad(mean_V))(10.0)
    assert slope == pytest.approx(_central(jax.jit(mean_V), 10.0, 1e-5), rel=1e-5)
    assert slope > 0


@pytest.mark.slow
def test_gradient_through_the_stimulus():
    """Amplitude as it stands; duration through a grid that moves with the edge."""
    scale = 52.0

    def by_amplitude(a):
        pulse = jc.protocols.PulseTrain(-a, 1.0, 1000.0, 5.0)
        return jc.simulate(CELL, pulse, t1=5.9, dt=0.05, save_at=[5.9]).V[-1]

    def by_duration(d):
        pulse = jc.protocols.PulseTrain(-scale, d, 1000.0, 5.0)
        before, on = jnp.linspace(0.0, 5.0, 51), 5.0 + d * jnp.linspace(0.0, 1.0, 41)[1:]
        after = 5.0 + d + (10.0 - 5.0 - d) * jnp.linspace(0.0, 1.0, 201)[1:]
        return jc.simulate(CELL, pulse, t1=10.0, grid=jnp.concatenate([before, on, after]), save_at="steps").V[-1]

    for f, x in ((by_amplitude, 52.0), (by_duration, 1.0)):
        slope = jax.jit(jax.grad(f))(x)
        assert slope == pytest.approx(_central(jax.jit(f), x, 1e-6), rel=1e-5)
        assert jax.jit(jax.jacfwd(f))(x) == pytest.approx(float(slope), rel=1e-9)


@pytest.mark.slow
def test_gradients_of_a_population_are_the_cells_own():
    def loss(factors):
        cells = CELL.replace(g_Kr=CELL.g_Kr * factors)
        return jnp.sum(jc.simulate(cells, PACING, t1=30.0, dt=0.05, save_every=5.0, outputs=["V"]).V)

    factors = jnp.array([0.5, 1.0, 1.5])
    gradient = jax.jit(jax.grad(loss))
    together = gradient(factors)
    alone = [gradient(f[None])[0] for f in factors]
    np.testing.assert_allclose(together, jnp.stack(alone), rtol=1e-9)


@pytest.mark.slow
def test_gradients_are_finite_for_every_parameter_of_every_model():
    for name, (cell, pacing, _, _) in CASES.items():
        gradient = jax.jit(jax.grad(lambda c, pacing=pacing: _mean_potential(c, pacing)))(cell)
        values = np.array([p.value for p in gradient.parameters().values()])
        assert np.isfinite(values).all(), name
        assert (values != 0).mean() > 0.5, name


def _mean_potential(cell, pacing):
    return jnp.mean(jc.simulate(cell, pacing, t1=30.0, dt=0.02, outputs=[cell.potential]).V)


@pytest.mark.slow
def test_a_run_in_one_number_has_the_slope_of_the_same_run_in_two():
    # One traced number is differentiated forwards for all tangents; with a second one JAX's own rules hold.
    def mean(g_Kr, g_CaL):
        changed = CELL.replace(g_Kr=g_Kr, g_CaL=g_CaL)
        return jc.simulate(changed, PACING, t1=20.0, dt=0.02).V.mean()

    of_one = functools.partial(mean, g_CaL=CELL.g_CaL)
    for where in (CELL.g_Kr, 3.0 * CELL.g_Kr):
        wanted, _ = jax.grad(mean, (0, 1))(where, CELL.g_CaL)
        found = [
            jax.grad(of_one)(where),
            jax.jit(jax.grad(of_one))(where),
            jax.jvp(of_one, (where,), (jnp.ones_like(where),))[1],
            jax.jacfwd(of_one)(where),
            jax.vmap(jax.grad(of_one))(where[None])[0],
        ]
        np.testing.assert_allclose(found, wanted, rtol=1e-9)
