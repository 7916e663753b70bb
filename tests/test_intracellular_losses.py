"""The losses: what they are lowest at, and that the model's own traces fulfil its equation."""

import functools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.intracellular.losses import (
    FLOOR,
    aliev_panfilov_residual,
    derivatives,
    mean_absolute_error,
    physics_loss,
    pinball,
    potential,
    recovery_rate,
    simulated,
    solver_loss,
    total_loss,
)
from jaxcardio.intracellular.unet import BOUNDS, TIME_UNIT, Physics, Prediction
from jaxcardio.models.aliev_panfilov import AlievPanfilovModifiedState

TRUE = (12.0, 0.12, 0.99)
"""k, a, x of a trace that lasts some 400 ms."""


def physics(k=TRUE[0], a=TRUE[1], x=TRUE[2]) -> Physics:
    return Physics(*(jnp.array([p], jnp.float32) for p in (k, a, x)))


@functools.cache
def trace_of(rate: float, n: float = 1000.0, duration: float = 700.0) -> np.ndarray:
    """An action potential of the model by an adaptive solver with tight tolerances, (1, sample)."""
    cell = jc.models.AlievPanfilovModified().replace(k=TRUE[0], a=TRUE[1], x=TRUE[2], n=n)
    times = np.arange(round(duration * rate / 1000)) * 1000 / rate / TIME_UNIT
    start = AlievPanfilovModifiedState(v=jnp.asarray(0.5), w=jnp.asarray(0.0))
    run = jc.simulate(
        cell, t1=float(times[-1]), save_at=times, y0=start, solver=diffrax.Tsit5(), rtol=1e-10, atol=1e-12
    )
    return np.asarray(run.ys.v)[None]


@pytest.mark.parametrize("q", [0.05, 0.5, 0.95])
def test_the_pinball_loss_is_lowest_at_the_quantile_and_the_printed_sign_at_the_opposite_one(q):
    values = np.random.default_rng(0).exponential(size=(1, 4000))
    levels = jnp.linspace(0, 5, 501)
    actual = jnp.asarray(values)
    best = levels[jnp.argmin(jax.vmap(lambda level: pinball(actual, jnp.full_like(actual, level), q))(levels))]
    np.testing.assert_allclose(best, np.quantile(values, q), atol=0.02)
    printed = levels[jnp.argmin(jax.vmap(lambda level: pinball(jnp.full_like(actual, level), actual, q))(levels))]
    np.testing.assert_allclose(printed, np.quantile(values, 1 - q), atol=0.02)


def test_a_quantile_that_is_none_is_refused():
    ones = jnp.ones((1, 3))
    with pytest.raises(ValueError, match=r"q = 1\.0; allowed: above 0 and below 1"):
        pinball(ones, ones, 1.0)


@pytest.mark.parametrize("rate", [1000.0, 5000.0])
@pytest.mark.slow
def test_derivatives_are_those_of_a_sine_in_time_units(rate):
    period = 400.0  # ms
    t = np.arange(round(rate)) * 1000 / rate
    omega = 2 * np.pi / period * TIME_UNIT
    v = np.sin(2 * np.pi * t / period)[None]
    here, first, second = derivatives(jnp.asarray(v), rate)
    edge = (v.shape[1] - here.shape[1]) // 2
    inner = slice(edge, -edge)
    np.testing.assert_allclose(here, v[:, inner], atol=2e-3)
    np.testing.assert_allclose(first[0], omega * np.cos(2 * np.pi * t / period)[inner], atol=2e-3 * omega)
    np.testing.assert_allclose(second[0], -(omega**2) * v[0, inner], atol=2e-3 * omega**2)


@pytest.mark.slow
def test_without_smoothing_the_second_derivative_is_noise():
    rate, noise = 5000.0, 1e-3
    v = trace_of(rate) + noise * np.random.default_rng(0).normal(size=(1, 3500))
    step = 1000 / rate / TIME_UNIT
    naive = (v[:, 2:] + v[:, :-2] - 2 * v[:, 1:-1]) / step**2
    _, _, second = derivatives(jnp.asarray(v), rate)
    _, _, clean = derivatives(jnp.asarray(trace_of(rate)), rate)
    assert np.median(np.abs(naive)) > 50 * np.median(np.abs(np.asarray(clean)))
    assert np.abs(np.asarray(second - clean)).mean() < 0.1 * np.abs(naive).mean()


@pytest.mark.parametrize("rate", [1000.0, 5000.0])
@pytest.mark.slow
def test_the_residual_of_the_models_own_trace_is_small_and_lowest_at_its_parameters(rate):
    v = jnp.asarray(trace_of(rate), jnp.float32)[:, round(30 * rate / 1000) :]  # after the upstroke

    def size(**changed):
        return float(jnp.mean(jnp.abs(aliev_panfilov_residual(v, physics(**changed), rate))))

    true = size()
    assert true < 2e-3
    for name, at in zip("kax", TRUE, strict=True):
        for factor in (0.7, 1.3) if name != "x" else (0.98, 1.007):
            assert size(**{name: at * factor}) > 1.5 * true, (name, factor)


def test_the_residual_is_eq_15_times_v_written_out_naively():
    rng = np.random.default_rng(1)
    v = 0.3 + 0.2 * np.sin(np.arange(400) / 40)[None] + 0.01 * rng.normal(size=(1, 400)).cumsum()[None] / 20
    k, a, x = TRUE
    here, first, second = (np.asarray(z) for z in derivatives(jnp.asarray(v), 1000.0))
    above = 1 / (1 + np.exp(-1000 * (here - a)))
    eps = x * (1 - above) + (1 - x) * above
    f = (first / here) ** 2 - second / here - first * (eps / here - k * (1 - 2 * here + a))
    f -= k * eps * (here**2 - a * here + a)
    found = aliev_panfilov_residual(jnp.asarray(v), Physics(*(jnp.array([p]) for p in TRUE)), 1000.0)
    np.testing.assert_allclose(found, here * f, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_the_recovery_rate_is_a_sharp_step_with_a_gradient_that_reaches_further():
    v = jnp.linspace(0, 1, 1001)[None]
    a, x = jnp.array([0.2]), jnp.array([0.99])
    rate = recovery_rate(v, a, x)[0]
    far = np.abs(np.asarray(v[0]) - 0.2) > 0.01
    np.testing.assert_allclose(rate[far], np.where(v[0] < 0.2, 0.99, 0.01)[far], atol=1e-4)
    slope = jax.grad(lambda a: recovery_rate(jnp.array([[0.22]]), a, x)[0, 0])(a)
    soft = jax.nn.sigmoid(50 * 0.02)
    np.testing.assert_allclose(slope[0], -(1 - 2 * 0.99) * 50 * soft * (1 - soft), rtol=1e-6)


@pytest.mark.slow
def test_the_simulated_trace_is_that_of_an_adaptive_solver():
    exact = trace_of(1000.0, n=50.0)
    found = simulated(physics(), jnp.array([0.5], jnp.float32), exact.shape[1], 1000.0)
    np.testing.assert_allclose(found, exact, atol=3e-3)


def window(v: np.ndarray) -> jnp.ndarray:
    """A normalised window: 200 ms of rest, then this trace."""
    rest = np.full((1, 200), 0.1)
    return jnp.asarray(np.concatenate([rest, 0.1 + 0.9 * v], 1), jnp.float32)


@pytest.mark.slow
def test_the_loss_through_the_solver_is_lowest_at_the_true_parameters_and_descends_to_them():
    iap = window(trace_of(1000.0, n=50.0))
    at = {x: float(solver_loss(iap, physics(x=x), 1000.0)) for x in (0.98, 0.985, 0.99, 0.993, 0.995)}
    assert min(at, key=lambda x: at[x]) == 0.99
    assert at[0.99] < 0.02 < 0.1 < at[0.98]
    slope = jax.grad(lambda x: solver_loss(iap, Physics(*physics()[:2], x), 1000.0))
    assert slope(jnp.array([0.985], jnp.float32))[0] < 0 < slope(jnp.array([0.994], jnp.float32))[0]


@pytest.mark.slow
def test_the_gradient_through_the_solver_is_that_of_finite_differences():
    iap = window(trace_of(1000.0, n=50.0)).astype(jnp.float64)
    at = Physics(*(jnp.array([p]) for p in (11.0, 0.11, 0.987)))

    def loss(k, a, x):
        return solver_loss(iap, Physics(k, a, x), 1000.0)

    found = jax.grad(loss, (0, 1, 2))(*at)
    for place in range(3):
        h = 1e-6 * at[place]
        up, down = ([p + sign * h * float(n == place) for n, p in enumerate(at)] for sign in (1, -1))
        np.testing.assert_allclose(found[place], (loss(*up) - loss(*down)) / (2 * h), rtol=1e-3)


def prediction(iap: jnp.ndarray, sets: int) -> Prediction:
    p = physics() if sets == 1 else Physics(*(jnp.tile(q[:, None], (1, sets)) for q in physics()))
    return Prediction(iap - 0.02 * (sets > 1), iap, iap + 0.02 * (sets > 1), p)


@pytest.mark.slow
def test_the_totals_are_equations_20_and_23():
    iap = window(trace_of(1000.0))
    actual = iap + 0.01
    single, three = prediction(iap, 1), prediction(iap, 3)
    residual = [physics_loss(trace, physics(), 1000.0) for trace in three[:3]]
    np.testing.assert_allclose(
        total_loss(actual, single, 1000.0),
        10 * mean_absolute_error(actual, iap) + 0.01 * jnp.log(residual[1] + FLOOR),
        rtol=1e-6,
    )
    data = sum(pinball(actual, trace, q) for trace, q in zip(three[:3], (0.05, 0.5, 0.95), strict=True))
    np.testing.assert_allclose(
        total_loss(actual, three, 1000.0), 10 * data + 0.01 * jnp.log(sum(residual) + FLOOR), rtol=1e-6
    )
    np.testing.assert_allclose(total_loss(actual, three, 1000.0, beta=0.0), 10 * data, rtol=1e-6)
    np.testing.assert_allclose(
        total_loss(actual, single, 1000.0, alpha=0.0, beta=0.0, solver_weight=2.0),
        2 * solver_loss(iap, physics(), 1000.0),
        rtol=1e-6,
    )


@pytest.mark.slow
def test_a_flat_trace_has_a_floor_under_its_logarithm():
    flat = jnp.full((1, 1600), 0.1, jnp.float32)
    assert np.isfinite(total_loss(flat, prediction(flat, 1), 1000.0))
    gradient = jax.grad(lambda iap: total_loss(flat, prediction(iap, 1), 1000.0, alpha=0.0))(flat)
    assert np.isfinite(gradient).all()


@pytest.mark.slow
def test_the_loss_through_the_solver_is_finite_for_traces_that_are_no_action_potentials():
    noise = jnp.asarray(20 * np.random.default_rng(0).normal(size=(4, 400)), jnp.float32)
    at = Physics(*(jnp.array([low, low, high, high], jnp.float32) for low, high in BOUNDS.values()))
    value, slope = jax.value_and_grad(lambda iap, p: solver_loss(iap, p, 1000.0), (0, 1))(noise, at)
    assert np.isfinite(value) and all(np.isfinite(x).all() for x in jax.tree.leaves(slope))


def test_the_potential_of_the_model_rests_at_zero():
    np.testing.assert_allclose(potential(jnp.array([[0.1, 1.0]])), [[0, 1]], atol=1e-15)
