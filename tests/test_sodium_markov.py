"""The Markov sodium channel: its equations against a public file, its exact step, and the cell that has it."""

import functools
from typing import Any

import cellml
import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from jax.test_util import check_grads

import jaxcardio as jc
from jaxcardio.models.markov_sodium import (
    TRANSITIONS,
    Occupancies,
    advanced,
    fastest_exit,
    slopes,
    steady_occupancies,
    transition_rates,
)
from jaxcardio.sodium import MarkovFlow

NAMES = Occupancies._fields
PACING = jc.protocols.PulseTrain(-11.5, 2.0, 1000.0, 0.0)
V = np.linspace(-120.0, 80.0, 41)


def random_occupancies(n: int, seed: int = 0) -> Occupancies:
    return Occupancies(*jnp.asarray(np.random.default_rng(seed).dirichlet(np.full(9, 0.3), n).T))


def generators(V) -> np.ndarray:
    """Q (n, 9, 9) with dp/dt = Q p, column by column from the slopes."""
    rates = transition_rates(jnp.asarray(V))
    unit = [Occupancies(*(jnp.full(len(V), float(i == j)) for i in range(9))) for j in range(9)]
    return np.stack([np.stack(slopes(rates, p), axis=-1) for p in unit], axis=-1)


def exact(V, p: Occupancies, dt: float) -> np.ndarray:
    return np.stack([scipy.linalg.expm(q * dt) @ x for q, x in zip(generators(V), np.stack(p, axis=1), strict=True)])


# --- the equations ---------------------------------------------------------------------------------------------------


def test_slopes_and_current_are_those_of_the_public_file(cellml_files):
    """Its states are called P_..., it counts in seconds, and g_Na = 23.5 mS/uF."""
    model = cellml.Model(cellml_files / "clancy_rudy_2002.cellml", ("Na_channel_states", "fast_sodium_current"))
    p = random_occupancies(len(V))
    given = dict(V=V, R=8314.0, T=310.0, F=96485.0, Nao=132.0, Nai=9.0)
    theirs = {n: "P_O_Na" if n == "O" else f"P_{n}" for n in NAMES}
    found = model.compiled(np, tuple(given))(**given, **{theirs[n]: np.asarray(x) for n, x in p._asdict().items()})
    rates = transition_rates(jnp.asarray(V))
    for name, rate in rates._asdict().items():
        np.testing.assert_allclose(rate, found[name] / 1000, rtol=1e-12, err_msg=name)
    for name, slope in slopes(rates, p)._asdict().items():
        np.testing.assert_allclose(slope, found[f"d_{theirs[name]}"] / 1000, rtol=1e-9, atol=1e-12, err_msg=name)
    conductance = found["i_Na"] / (V - found["E_Na"])
    np.testing.assert_allclose(jc.models.ClancyRudySodiumGating().open_probability(p), conductance / 23.5, rtol=1e-12)


def test_channels_are_neither_made_nor_lost():
    rates = transition_rates(jnp.asarray(V))
    assert np.abs(sum(slopes(rates, random_occupancies(len(V))))).max() < 1e-12


def test_every_transition_balances_at_rest():
    """Detailed balance, that of beta_2 too; so the rest is where the slopes vanish."""
    rates = transition_rates(jnp.asarray(V))
    rest = steady_occupancies(rates)
    np.testing.assert_allclose(sum(rest), 1.0, rtol=1e-14)
    for source, target, forth, back in TRANSITIONS:
        np.testing.assert_allclose(
            getattr(rates, forth) * getattr(rest, source), getattr(rates, back) * getattr(rest, target), rtol=1e-12
        )
    assert all(bool((x > 0).all()) for x in rest)
    null = np.stack([scipy.linalg.null_space(q, rcond=1e-13)[:, 0] for q in generators(V[8:25])])  # -80 to 0 mV
    np.testing.assert_allclose(np.stack(rest, axis=1)[8:25], null / null.sum(1, keepdims=True), rtol=1e-6, atol=1e-12)


def test_rates_in_float32_and_their_slopes_are_finite_far_out():
    far = jnp.linspace(-150.0, 100.0, 101, dtype=jnp.float32)
    rates, tangents = jax.jvp(transition_rates, (far,), (jnp.ones_like(far),))
    for tree in (rates, tangents, steady_occupancies(rates)):
        assert all(x.dtype == jnp.float32 and bool(jnp.isfinite(x).all()) for x in tree)


# --- the exact step --------------------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnums=3)
def step(V, p, dt, terms):
    return advanced(transition_rates(V), p, dt, terms)


@pytest.mark.parametrize("dt", [0.001, 0.05, 0.2])
def test_a_step_is_that_of_the_dense_matrix_exponential(dt):
    p = random_occupancies(len(V))
    new = np.stack(step(jnp.asarray(V), p, dt, 64), axis=1)
    np.testing.assert_allclose(new, exact(V, p, dt), rtol=0, atol=1e-8)


@pytest.mark.parametrize("dt", [0.05, 0.2])
def test_the_error_of_a_series_cut_off_is_the_poisson_weight_beyond(dt):
    p = random_occupancies(len(V))
    true = exact(V, p, dt)
    mean = np.asarray(fastest_exit(transition_rates(jnp.asarray(V)))) * dt
    for terms in (8, 16, 32):
        error = np.abs(np.stack(step(jnp.asarray(V), p, dt, terms), axis=1) - true).sum(axis=1)
        k = np.arange(terms + 1)
        kept = np.exp(-mean[:, None] + k * np.log(mean[:, None]) - np.cumsum(np.log(np.maximum(k, 1)))).sum(axis=1)
        assert (error <= 2 * (1 - kept) + 1e-13).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_random_states_stay_on_the_simplex_whatever_the_step(dtype):
    rng = np.random.default_rng(1)
    n = 100_000
    p = jax.tree.map(lambda x: x.astype(dtype), random_occupancies(n))
    at, dt = (jnp.asarray(x, dtype) for x in (rng.uniform(-130, 90, n), 10 ** rng.uniform(-4, 0.5, n)))
    new = step(at, p, dt, 24)
    assert min(float(x.min()) for x in new) >= 0
    assert np.abs(sum(new) - 1).max() < 20 * np.finfo(dtype).eps


def test_two_steps_are_one_of_their_sum():
    rng = np.random.default_rng(2)
    n = 10_000
    at, dt = jnp.asarray(rng.uniform(-120, 80, n)), jnp.asarray(rng.uniform(0.001, 0.1, n))
    p = random_occupancies(n)
    for twice, once in zip(step(at, step(at, p, dt, 64), dt, 64), step(at, p, 2 * dt, 64), strict=True):
        np.testing.assert_allclose(twice, once, rtol=0, atol=1e-8)


@pytest.mark.slow
def test_derivatives_of_a_step_are_those_of_differences():
    p = random_occupancies(1, seed=3)
    p = Occupancies(*(x[0] for x in p))

    def opened(V, dt):
        return advanced(transition_rates(V), p, dt, 32).O

    check_grads(opened, (jnp.asarray(-40.0), jnp.asarray(0.05)), order=1, rtol=1e-6)


# --- the cell that has it --------------------------------------------------------------------------------------------

CELL: Any = jc.models.Skibsbye2016().replace(sodium=jc.models.ClancyRudySodiumGating(terms=32), g_Na=1450.0)


def upstroke(cell=CELL, t1=5.0, **how) -> jc.Trace:
    return jc.simulate(cell, PACING, t1=t1, save_every=0.5, **how)


@functools.cache
def converged() -> jc.Trace:
    return upstroke(solver=diffrax.Kvaerno5(), rtol=1e-9, atol=1e-11)


def test_it_is_an_ordinary_cell():
    assert type(CELL.initial_state())._fields[:2] == ("V", "m") and set(NAMES) <= set(type(CELL).units | CELL.units)
    assert CELL.units["O"] == "1" and "h1" not in CELL.units
    y = CELL.initial_state()
    assert sum(getattr(y, n) for n in NAMES) == pytest.approx(1.0, abs=1e-14)
    dy = CELL.vector_field(0.0, y)
    assert max(abs(float(getattr(dy, n))) for n in NAMES) < 1e-12  # at rest at the cell's potential
    with pytest.raises(ValueError, match=r"terms = 0; allowed: a whole number >= 1"):
        jc.models.ClancyRudySodiumGating(terms=0)


@pytest.mark.slow
def test_solvers_agree_in_the_limit_and_the_midpoint_is_of_second_order():
    true = converged()
    assert true.ok and np.ptp(true.V) > 80
    first, second = (
        [np.abs(upstroke(solver=solver, dt=dt).V - true.V).max() for dt in (0.02, 0.01)]
        for solver in (jc.RushLarsen(), jc.RushLarsenMidpoint())
    )
    assert second[1] < 0.1
    assert 0.85 < np.log2(first[0] / first[1]) < 1.15
    assert 1.8 < np.log2(second[0] / second[1]) < 2.2


def test_the_channel_stays_on_the_simplex_along_a_beat():
    trace = jc.simulate(CELL, PACING, t1=60.0, solver=jc.RushLarsenMidpoint(), dt=0.1, save_every=1.0)
    p = np.stack([getattr(trace.ys, n) for n in NAMES])
    assert p.min() >= 0 and np.abs(p.sum(axis=0) - 1).max() < 1e-12
    assert 0.05 < p[NAMES.index("O")].max() < 0.5


@pytest.mark.slow
def test_currents_files_populations_drugs_and_the_clamp(tmp_path):
    how: dict[str, Any] = dict(solver=jc.RushLarsenMidpoint(), dt=0.05)
    alone = upstroke(**how)
    y, i = alone.ys, alone.currents()
    E_Na = 8314.0 * 310.15 / 96487.0 * np.log(130.0 / np.asarray(y.Na_ss))
    np.testing.assert_allclose(i.I_Na - i.I_NaL, 1450.0 / 50 * y.O * (y.V - E_Na), rtol=1e-9)

    alone.save(tmp_path / "run.h5")
    loaded = jc.Trace.load(tmp_path / "run.h5", cell=CELL)
    np.testing.assert_array_equal(loaded.ys.O, y.O)
    np.testing.assert_array_equal(loaded.currents().I_Na, i.I_Na)

    many = upstroke(CELL.replace(g_Na=1450.0 * np.array([1.0, 0.5, 0.8])), **how)
    np.testing.assert_allclose(many.V[0], alone.V, rtol=0, atol=1e-9)
    blocked = upstroke(jc.pharmacology.block(CELL, {"I_Na": 0.5}), **how)
    np.testing.assert_allclose(blocked.V, many.V[1], rtol=0, atol=1e-9)

    clamp = jc.protocols.VoltageSteps([-110.0, -20.0], [5.0, 5.0])
    held = jc.simulate(CELL, clamp, t1=10.0, dt=0.05, save_every=1.0)
    p0 = np.stack([getattr(CELL.initial_state(), n) for n in NAMES])
    before, after = (scipy.linalg.expm(5 * q) for q in generators([-110.0, -20.0]))
    np.testing.assert_allclose([getattr(held.ys, n)[-1] for n in NAMES], after @ before @ p0, rtol=0, atol=1e-7)


@pytest.mark.slow
def test_a_wave_runs_down_a_cable():
    tissue = jc.tissue.Tissue(CELL, shape=(20,), spacing=0.1, diffusivity=0.154)
    stimulus = jc.tissue.Stimulus(jc.protocols.PulseTrain(-60.0, 1.0, 1000.0, 0.0), region=np.s_[:4])
    run = jc.tissue.simulate(tissue, [stimulus], t1=8.0, dt=0.025, save_every=1.0, solver=jc.RushLarsenMidpoint())
    times = np.asarray(run.activation_time)
    assert np.isfinite(times).all() and np.all(np.diff(times[4:]) > 0)


@pytest.mark.slow
def test_gradients_through_the_solver_are_those_of_differences():
    def late(g):
        return upstroke(CELL.replace(g_Na=g), t1=3.0, solver=jc.RushLarsenMidpoint(), dt=0.05).V[-1]

    g = jnp.asarray(1450.0)
    difference = float((late(g + 1e-2) - late(g - 1e-2)) / 2e-2)
    assert float(jax.grad(late)(g)) == pytest.approx(difference, rel=1e-5)


# --- its learned flow map --------------------------------------------------------------------------------------------

MAP: Any = jc.sodium.load("markov_flow")
UNTRAINED = MarkovFlow()


def random_map(scale: float) -> MarkovFlow:
    """Weights of any size: nothing of what the map keeps by construction depends on them."""
    keys = iter(jax.random.split(jax.random.key(5), 20))
    return jax.tree.map(lambda x: scale * jax.random.normal(next(keys), x.shape) if jnp.ndim(x) else x, UNTRAINED)


@pytest.mark.parametrize("gating", [MAP, random_map(10.0)], ids=["trained", "random"])
def test_the_map_keeps_the_simplex_and_the_rest_whatever_its_weights(gating):
    """For a million states at potentials and steps of any size; rest is kept where it is."""
    rng = np.random.default_rng(4)
    n = 1_000_000
    at, dt = jnp.asarray(rng.uniform(-130, 90, n)), jnp.asarray(10 ** rng.uniform(-3, 0.5, n))
    new = eqx.filter_jit(gating)(at, random_occupancies(n), dt)
    assert min(float(x.min()) for x in new) >= 0 and max(float(x.max()) for x in new) <= 1
    assert np.abs(sum(new) - 1).max() < 1e-12
    rest = steady_occupancies(transition_rates(at[:1000]))
    for after, before in zip(eqx.filter_jit(gating)(at[:1000], rest, dt[:1000]), rest, strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("gating", [MAP, random_map(1.0)], ids=["trained", "random"])
def test_a_short_step_of_the_map_is_the_slope_whatever_its_weights(gating):
    at, p, dt = jnp.asarray(V), random_occupancies(len(V)), 1e-7
    new = gating(at, p, jnp.asarray(dt))
    for after, before, slope in zip(new, p, slopes(transition_rates(at), p), strict=True):
        np.testing.assert_allclose((after - before) / dt, slope, rtol=1e-3, atol=1e-3)


def test_the_map_is_the_exact_flow_to_a_thousandth_and_two_steps_are_one():
    """From -95 to 45 mV, 1 to 200 us. Without training the same exchanges are wrong by 0.06."""
    rng = np.random.default_rng(6)
    n = 20_000
    at, dt, p = jnp.asarray(rng.uniform(-95, 45, n)), jnp.asarray(10 ** rng.uniform(-3, -1, n)), random_occupancies(n)
    moved = eqx.filter_jit(MAP)
    true = np.stack(step(at, p, 2 * dt, 64))
    found = np.stack(moved(at, p, 2 * dt))
    plain = np.stack(eqx.filter_jit(UNTRAINED)(at, p, 2 * dt))
    twice = np.stack(moved(at, moved(at, p, dt), dt))
    assert np.sqrt(np.mean((found - true) ** 2)) < 2e-4 < 2e-3 < np.sqrt(np.mean((plain - true) ** 2))
    assert np.abs(found - true).max() < 4e-3
    assert np.sqrt(np.mean((twice - found) ** 2)) < 2e-4
    assert np.quantile(np.abs(twice - found).max(axis=0), 0.99) < 1e-3


@pytest.mark.slow
def test_the_map_in_the_cell_is_the_channel():
    how: dict[str, Any] = dict(t1=20.0, solver=jc.RushLarsenMidpoint(), dt=0.1)
    exact, learned, plain = (upstroke(CELL.replace(sodium=s), **how) for s in (CELL.sodium, MAP, UNTRAINED))
    assert np.ptp(exact.V) > 80
    rmse = [float(np.sqrt(np.mean((run.V - exact.V) ** 2))) for run in (learned, plain)]
    assert rmse[0] < 0.05 and rmse[0] < rmse[1] / 3


@pytest.mark.slow
def test_training_is_repeatable_and_fits(tmp_path):
    """Two steps of it: the error falls at once; the same seed gives the same map."""
    runs = [jc.sodium.train_markov_flow(seed=seed, steps=2, widths=(4,)) for seed in (0, 0, 1)]
    weights = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(run.gating.network)]) for run in runs]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert np.abs(weights[0] - weights[2]).max() > 0.1
    assert runs[0].residuals[1] < runs[0].residuals[0] < 0.02
    jc.sodium.save(tmp_path / "map.h5", runs[0].gating)
    loaded = jc.sodium.load(tmp_path / "map.h5")
    np.testing.assert_array_equal(np.ravel(loaded.network.line), np.ravel(runs[0].gating.network.line))
    with pytest.raises(ValueError, match=r"steps = 0 steps; allowed: a whole number >= 1"):
        jc.sodium.train_markov_flow(steps=0)
