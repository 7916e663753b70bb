"""Runs under a voltage clamp: exact where the equations are, and the same as stepping everywhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, slope

import jaxcardio as jc
from jaxcardio.simulation.closed_form import voltage_gates

KERNIK = jc.models.KernikClancy2019()
STEPS = jc.protocols.VoltageSteps([-80.0, 10.0, -40.0, 40.0, -100.0], [40.0, 60.0, 30.0, 25.0, 45.0])
RAMP = jc.protocols.Then(STEPS, jc.protocols.voltage_ramp(-90.0, 40.0, 80.0, start=10.0), 100.0)
_ts = np.arange(0.0, 200.5, 0.5)
RECORDED = jc.protocols.Sampled(_ts, -40 + 45 * np.sin(_ts / 13) * np.sin(_ts / 41))
COMMANDS = {"steps": STEPS, "steps and a ramp": RAMP, "recorded": RECORDED}
CASES_BY_COMMAND = [
    pytest.param(model, command, marks=[pytest.mark.slow] if model != "kernik" else [])
    for model in ("kernik", "ten_tusscher", "ten_tusscher_panfilov", "skibsbye")
    for command in COMMANDS
]


FINER = {"ten_tusscher_panfilov": (0.01, 0.0025)}
"""Steps (ms) of the run and of its reference, for a model whose subspace fills within 2 ms of a step: the usual ones
are 8e-4 of the range off there."""


def total(cell, command, **options):
    run = jc.simulate(cell, command, t1=200.0, save_every=1.0, outputs=["I_ion_total"], **options)
    return np.asarray(run.ys.I_ion_total)


def test_the_gates_of_voltage_alone_are_read_off_the_equations():
    names = {"m", "h", "j", "d", "f", "Xr1", "Xr2", "Xs", "r", "s"}
    assert set(voltage_gates(jc.models.TenTusscher2004())) == names
    assert set(voltage_gates(jc.models.TenTusscherPanfilov2006())) == names | {"f2"}
    assert set(voltage_gates(KERNIK)) == names | {"Xf", "dCaT", "fCaT"}
    assert voltage_gates(jc.models.AlievPanfilov1996()) == ()
    held = jc.hold(KERNIK, "Xf")
    assert set(voltage_gates(held)) == set(voltage_gates(KERNIK)) - {"Xf"}
    cells = jc.population.sample(KERNIK, n=3, seed=0, spread=0.2, parameters=["d_1"])
    assert voltage_gates(cells) == voltage_gates(KERNIK)


@pytest.mark.parametrize(("model", "command"), CASES_BY_COMMAND)
def test_it_gives_what_short_steps_give(model, command):
    cell = CASES[model].cell
    dt, short = FINER.get(model, (None, 0.01))
    stepped = total(cell, COMMANDS[command], solver=jc.RushLarsen2(), dt=short)
    assert np.abs(total(cell, COMMANDS[command], dt=dt) - stepped).max() < 3e-4 * np.ptp(stepped)


@pytest.mark.parametrize("dt", [0.03, 0.5, 2.0])
def test_a_held_gate_is_exact_whatever_the_step(dt):
    V, ts = -20.0, np.array([0.3, 7.0, 11.5, 40.0])
    run = jc.simulate(KERNIK, jc.protocols.Constant(V), t1=40.0, dt=dt, save_at=ts)
    y0 = KERNIK.initial_state()
    rates = KERNIK.rates(0.0, y0._replace(V=jnp.asarray(V)), 0.0)
    for name in voltage_gates(KERNIK):
        relaxation, x0 = getattr(rates, name), getattr(y0, name)
        exact = relaxation.steady + (x0 - relaxation.steady) * np.exp(-ts / relaxation.tau)
        assert np.allclose(getattr(run.ys, name), exact, rtol=1e-12, atol=1e-15)


@pytest.mark.slow
def test_it_converges_with_order_two_where_the_command_moves():
    ramp = jc.protocols.voltage_ramp(-80.0, 20.0, 40.0)

    def final(dt):
        return np.asarray(jc.simulate(KERNIK, ramp, t1=40.0, dt=dt, save_every=40.0).final_state)[1:]

    best, steps = final(0.0025), (0.08, 0.04, 0.02)
    errors = [np.abs((final(dt) - best) / (np.abs(best) + 1e-6)).max() for dt in steps]
    assert 1.8 < slope(steps, errors) < 2.2


def test_other_samples_show_the_same_run():
    every = jc.simulate(KERNIK, STEPS, t1=200.0, save_every=0.5, outputs=["I_CaL", "Ca_i"]).ys
    some = jc.simulate(KERNIK, STEPS, t1=200.0, save_at=[13.0, 99.5, 200.0], outputs=["I_CaL", "Ca_i"])
    index = [26, 199, 400]
    for name in ("I_CaL", "Ca_i"):
        whole = np.asarray(getattr(every, name))
        assert np.abs(np.asarray(getattr(some.ys, name)) - whole[index]).max() < 1e-4 * np.ptp(whole)
    assert np.isclose(some.final_state.Ca_i, some.ys.Ca_i[-1], rtol=0, atol=0)
    assert np.array_equal(some.ts, [13.0, 99.5, 200.0])


def test_a_run_continues_from_where_another_ended():
    whole = jc.simulate(KERNIK, STEPS, t1=200.0, outputs=["I_ion_total"])
    first = jc.simulate(KERNIK, STEPS, t1=130.0)  # 130 ms is an edge
    second = jc.simulate(KERNIK, STEPS, t0=130.0, t1=200.0, y0=first.final_state, outputs=["I_ion_total"])
    assert np.allclose(second.ys.I_ion_total, whole.ys.I_ion_total[130:], rtol=1e-10, atol=1e-12)


def test_cells_with_overloaded_stores_stay_finite_in_steps_of_a_millisecond():
    """Found on a cell whose release channel opened faster than the step: its occupancies are relaxations since."""
    cells = jc.population.sample(KERNIK, indices=[0, 297], seed=0, spread=0.4, parameters=KERNIK.SIX_CURRENTS)
    steps = jc.protocols.VoltageSteps([-100.0, -40.0, 20.0, -80.0], [250.0] * 4)
    found, stepped = (
        jc.simulate(cells, steps, t1=1000.0, outputs=["I_ion_total"], **options).ys.I_ion_total
        for options in ({}, {"solver": jc.RushLarsen2(), "dt": 0.02})
    )
    assert np.abs(found - stepped).max() < 3e-4 * np.ptp(stepped)


def test_each_cell_of_a_population_is_the_cell_alone():
    cells = jc.population.sample(KERNIK, n=3, seed=1, spread=0.3, parameters=KERNIK.SIX_CURRENTS)
    together = total(cells, RAMP)
    for i in range(3):
        assert np.allclose(together[i], total(jc.population.member(cells, i), RAMP), rtol=1e-10, atol=1e-12)


def test_a_cell_that_fails_says_so_and_its_neighbours_do_not_notice():
    good = jc.population.sample(KERNIK, n=4, seed=1, spread=0.3, parameters=["Kr_g", "CaL_p"])
    bad = good.replace(CaL_p=good.CaL_p.at[2].set(jnp.nan))
    with_it, without = (jc.simulate(c, STEPS, t1=50.0, outputs=["I_ion_total"]) for c in (bad, good))
    assert with_it.status.tolist() == [0, 0, jc.Status.NON_FINITE, 0]
    others = np.array([0, 1, 3])
    assert np.array_equal(with_it.ys.I_ion_total[others], without.ys.I_ion_total[others])


def test_float32_is_close_to_float64():
    exact, single = total(KERNIK, STEPS), total(jc.astype(KERNIK, jnp.float32), STEPS)
    assert single.dtype == np.float32
    assert np.abs(single - exact).max() < 2e-4 * np.ptp(exact)


def charge(g, level):
    """Mean current of a cell with permeability g of I_CaL that is stepped to a level (mV)."""
    command = jc.protocols.VoltageSteps(jnp.stack([jnp.asarray(-80.0), level]), [5.0, 15.0])
    run = jc.simulate(KERNIK.replace(CaL_p=g), command, t1=20.0, outputs=["I_ion_total"])
    return run.ys.I_ion_total.mean()


G_AND_LEVEL = (KERNIK.CaL_p, jnp.asarray(5.0))


@pytest.mark.slow
def test_it_differentiates_in_parameters_and_levels():
    value_and_derivative = jax.jit(lambda at, along: jax.jvp(charge, at, along))
    for k, h in ((0, 1e-5), (1, 1e-3)):
        along = tuple(jnp.asarray(float(i == k)) for i in range(2))
        up, down = (tuple(x + s * h * a for x, a in zip(G_AND_LEVEL, along, strict=True)) for s in (1, -1))
        difference = (value_and_derivative(up, along)[0] - value_and_derivative(down, along)[0]) / (2 * h)
        assert np.isclose(value_and_derivative(G_AND_LEVEL, along)[1], difference, rtol=1e-5)


@pytest.mark.slow
def test_forward_and_reverse_mode_agree():
    reverse = jax.jit(jax.grad(charge, (0, 1)))(*G_AND_LEVEL)
    forward = jax.jit(jax.jacfwd(charge, (0, 1)))(*G_AND_LEVEL)
    assert np.allclose(reverse, forward, rtol=1e-10)


def test_another_solver_steps_as_before():
    run = jc.simulate(KERNIK, STEPS, t1=50.0, solver=jc.RushLarsen(), dt=0.1)
    assert run.solver.startswith("RushLarsen,")
    assert jc.simulate(KERNIK, STEPS, t1=50.0).solver.startswith("closed form, RushLarsen2")


def test_a_step_over_the_samples_of_a_command_is_refused():
    every = jc.protocols.Sampled(np.arange(0.0, 30.0, 0.1), np.zeros(300))  # 0.1 ms apart, but for rounding
    assert jc.simulate(KERNIK, every, t1=5.0, dt=0.1).ok
    with pytest.raises(ValueError, match=r"dt = 0.6 ms; allowed: 0 < dt <= 0.5 ms"):
        jc.simulate(KERNIK, RECORDED, t1=200.0, dt=0.6)
