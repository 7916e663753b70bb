"""Claims about the learned rates of the sodium gates, and tables: bounds, accuracy, dtype, gradients, the cell."""

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

SHIPPED = jc.sodium.load("rates")
EXACT = CELL.sodium


def stepped(gating, V, gates, dt):
    rates = gating.rates(V, None)
    return jnp.stack([x + rates[gate].increment(x, dt) for gate, x in zip(GATES, gates, strict=True)])


def test_whatever_the_weights_a_million_states_stay_within_bounds():
    V, gates, dt = random_states(10**6)
    for gating in (SHIPPED, untrained(jc.sodium.RateSurrogate, 3.0)):
        after = jax.jit(stepped)(gating, V, gates, dt)
        assert jnp.all((after >= 0) & (after <= 1))
        for relaxation in gating.relaxations(V):
            assert jnp.all((relaxation.steady >= 0) & (relaxation.steady <= 1) & (relaxation.rate > 0))


def test_shipped_rates_are_the_channels():
    """Wherever a cell goes: steady states to 1e-4, tau of m to 1.5 % and of h to 0.3 %; h in its tail to 0.2 %."""
    V = jnp.linspace(-100.0, 50.0, 601)
    found, exact = SHIPPED.relaxations(V), EXACT.relaxations(V)
    for one, other, share in zip(found, exact, (1.5e-2, 3e-3, 3e-3), strict=True):
        np.testing.assert_allclose(one.steady, other.steady, rtol=0, atol=1e-4)
        np.testing.assert_allclose(one.tau, other.tau, rtol=share)
    assert exact.h1.steady[-1] < 1e-8
    np.testing.assert_allclose(found.h1.steady, exact.h1.steady, rtol=2e-3)


def test_hybrid_beat_is_the_exact_beat():
    """The bar of the whole, 0.12 mV against the converged cell; against the same steps of the exact cell a tenth."""
    assert rms(one_beat("rates") - one_beat("exact", 0.01)) < 0.12
    assert rms(one_beat("rates") - one_beat("exact")) < 0.012


@pytest.mark.slow
def test_float32_and_populations():
    runs_in_float32_and_as_a_population(CELL.replace(sodium=SHIPPED))
    again: Any = jc.astype(CELL, jnp.float32).replace(sodium=SHIPPED)
    assert {x.dtype for x in jax.tree.leaves(again.sodium)} == {jnp.dtype("float32")}


@pytest.mark.slow
def test_gradients_of_apd_are_those_of_differences():
    """To g_Na and to the network's weights, through the solver."""
    how: dict[str, Any] = dict(t1=500.0, dt=0.1, save_every=0.5, outputs=["V"], solver=jc.RushLarsenMidpoint())

    def apd(g_Na, along):
        gating = jax.tree.map(lambda w, d: w + along * d, SHIPPED, direction)
        cell = CELL.replace(g_Na=g_Na, sodium=gating)
        return soft_apd90(jc.simulate(cell, PACING, **how))

    keys = iter(jax.random.split(jax.random.key(0), 10))
    direction = jax.tree.map(lambda w: jax.random.normal(next(keys), w.shape), SHIPPED)
    at, zero = CELL.g_Na, jnp.zeros(())
    found = jax.jit(jax.grad(apd, argnums=(0, 1)))(at, zero)
    compiled = jax.jit(apd)
    for k, (step, slope) in enumerate(zip((0.05, 2e-5), found, strict=True)):
        move = (step, 0.0) if k == 0 else (0.0, step)
        ends = [compiled(at + sign * move[0], zero + sign * move[1]) for sign in (1, -1, 0.5, -0.5)]
        coarse, fine = (ends[0] - ends[1]) / (2 * step), (ends[2] - ends[3]) / step
        assert abs(float(slope)) > 1e-3
        assert float(slope) == pytest.approx(float((4 * fine - coarse) / 3), rel=1e-4)


@pytest.mark.parametrize(("kind", "order"), [("linear", 2), ("cubic", 4)])
def test_tables_converge_with_the_order_of_their_interpolation(kind, order):
    V, gates, _ = random_states(20_000)
    errors = []
    for spacing in (4.0, 2.0, 1.0):
        table = jc.sodium.RateTable(EXACT, (0.05, 0.1), kind=kind, spacing=spacing)
        inside = jnp.clip(V, -140, 90)
        errors.append(rms(stepped(table, inside, gates, 0.1) - stepped(EXACT, inside, gates, 0.1)))
    found = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    np.testing.assert_allclose(found, order, atol=0.5)


def test_a_table_takes_steps_that_are_not_its_own_and_knows_its_rates():
    V, gates, _ = random_states(1000)
    V = jnp.clip(V, -140, 90)
    table = jc.sodium.RateTable(EXACT, (0.05, 0.1), kind="cubic")
    for dt in (0.03, 0.05, 0.1, 0.7):
        np.testing.assert_allclose(stepped(table, V, gates, dt), stepped(EXACT, V, gates, dt), rtol=0, atol=1e-6)
    found, exact = table.rates(V), EXACT.rates(V, None)
    for gate, x in zip(GATES, gates, strict=True):
        scale = jnp.abs(exact[gate].rate)
        np.testing.assert_allclose(found[gate].derivative(x) / scale, exact[gate].derivative(x) / scale, atol=1e-5)


def test_a_cell_runs_on_a_table():
    cell = CELL.replace(sodium=jc.sodium.RateTable(EXACT, (0.05, 0.1), kind="cubic", spacing=0.5))
    run = jc.simulate(cell, PACING, t1=600.0, dt=0.1, save_every=0.1, outputs=["V"], solver=jc.RushLarsenMidpoint())
    assert rms(run.V - one_beat("exact")) < 1e-3


def test_outside_a_table_is_refused_where_known_and_clamped_in_a_run():
    table = jc.sodium.RateTable(EXACT, (0.1,), lowest=-100.0, highest=50.0)
    with pytest.raises(ValueError, match=r"V = 60.0 mV; allowed: -100 to 50 mV"):
        table.rates(jnp.asarray(60.0))
    ends = jax.jit(lambda V: table.rates(V)["m"].steady)(jnp.array([-500.0, -100.0, 50.0, 500.0]))
    assert ends[0] == ends[1]
    assert ends[2] == ends[3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(dts=(0.1, -0.1)), "dts"),
        (dict(dts=()), "dts"),
        (dict(kind="quintic"), "kind"),
        (dict(spacing=0.0), "spacing = 0.0 mV"),
        (dict(highest=-200.0), "highest = -200.0 mV"),
    ],
)
def test_tables_refuse(options, message):
    with pytest.raises(ValueError, match=message):
        jc.sodium.RateTable(EXACT, **options)


@pytest.mark.parametrize("widths", [(), [12], (12.0,), (0,)])
def test_networks_refuse(widths):
    with pytest.raises(ValueError, match="widths"):
        jc.sodium.RateSurrogate(widths)
