"""Claims about the learned flow map of the sodium gates: bounds, semigroup, accuracy, short steps, the cell."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sodium_cases import (
    CELL,
    GATES,
    PACING,
    one_beat,
    random_states,
    rms,
    runs_in_float32_and_as_a_population,
    soft_apd90,
    untrained,
)

import jaxcardio as jc

SHIPPED = jc.sodium.load("flow_map")
EXACT = CELL.sodium


@jax.jit
def step(gating, V, gates, dt):
    return jnp.stack(gating(V, *gates, dt))


def test_a_million_states_stay_within_bounds_and_two_steps_are_one():
    V, gates, dt = random_states(10**6)
    once, twice = step(SHIPPED, V, gates, 2 * dt), step(SHIPPED, V, step(SHIPPED, V, gates, dt), dt)
    assert jnp.all((once >= 0) & (once <= 1))
    assert jnp.abs(twice - once).max() < 1e-3
    assert jnp.abs(once - gates).max() > 0.5


def test_bounds_hold_whatever_the_weights():
    V, gates, dt = random_states(10**5)
    after = step(untrained(jc.sodium.FlowMap, 2.0), V, gates, dt)
    assert jnp.all((after >= 0) & (after <= 1))


def test_shipped_map_is_the_channels():
    """What moves in a step of 2 to 200 us: of m to 3e-3, of h1 to 5e-4, of h2 to 1e-4."""
    V, gates, dt = random_states(10**5, seed=1)
    V, dt = jnp.clip(V, -110, 60), 2 * dt
    rates = EXACT.rates(V, None)
    for found, gate, x, apart in zip(step(SHIPPED, V, gates, dt), GATES, gates, (3e-3, 5e-4, 1e-4), strict=True):
        np.testing.assert_allclose(found - x, rates[gate].increment(x, dt), rtol=0, atol=apart)


def test_short_steps_have_a_limit():
    V, gates, _ = random_states(1000)
    for gate, x in zip(GATES, gates, strict=True):
        flow = SHIPPED.rates(V)[gate]
        slope = flow.derivative(x)
        for dt, tolerance in ((1e-5, 1e-2), (1e-6, 1e-3)):
            apart = jnp.abs(flow.increment(x, dt) / dt - slope)
            assert jnp.all(apart <= tolerance * jnp.abs(slope) + 1e-9)


def test_hybrid_beat_is_the_exact_beat():
    assert rms(one_beat("flow_map") - one_beat("exact", 0.01)) < 0.12
    assert rms(one_beat("flow_map") - one_beat("exact")) < 0.012


@pytest.mark.slow
def test_float32_populations_and_any_solver():
    cell = CELL.replace(sodium=SHIPPED)
    double = runs_in_float32_and_as_a_population(cell)
    plain = jc.simulate(cell, PACING, t1=5.0, dt=0.002, save_every=0.1, solver=jc.RushLarsen()).V
    assert rms(plain - double[:51]) < 2.0


@pytest.mark.slow
def test_gradient_of_apd_to_the_weights_is_that_of_differences():
    how: dict[str, Any] = dict(t1=500.0, dt=0.1, save_every=0.5, outputs=["V"], solver=jc.RushLarsenMidpoint())
    keys = iter(jax.random.split(jax.random.key(0), 10))
    direction = jax.tree.map(lambda w: jax.random.normal(next(keys), w.shape), SHIPPED)

    @jax.jit
    def apd(along):
        gating = jax.tree.map(lambda w, d: w + along * d, SHIPPED, direction)
        return soft_apd90(jc.simulate(CELL.replace(sodium=gating), PACING, **how))

    slope, h = float(jax.grad(apd)(jnp.zeros(()))), 2e-5
    ends = [float(apd(jnp.asarray(k * h))) for k in (1, -1, 0.5, -0.5)]
    coarse, fine = (ends[0] - ends[1]) / (2 * h), (ends[2] - ends[3]) / h
    assert abs(slope) > 1e-3
    assert slope == pytest.approx((4 * fine - coarse) / 3, rel=1e-4)
