"""Steps of two lengths, gates of voltage by other means, and the calcium of the atrial cell with fewer states."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.relaxation import derivative
from jaxcardio.sodium import subsystems
from jaxcardio.sodium.subsystems.gates import RANGE

CELL = jc.models.Skibsbye2016()
PACING = jc.protocols.PulseTrain(-11.5, 2.0, 1000.0)
GATES = {
    jc.models.Skibsbye2016: {"m", "h1", "h2", "d", "hL", "f2", "r", "s", "sus_r", "sus_s", "n", "pa", "y"},
    jc.models.KernikClancy2019: {"d", "f", "Xr1", "Xr2", "Xs", "h", "j", "m", "Xf", "s", "r", "dCaT", "fCaT"},
    jc.models.TenTusscher2004: {"m", "h", "j", "d", "f", "r", "s", "Xs", "Xr1", "Xr2"},
}


def beat(solver, dt: float, cell: Any = CELL, t1: float = 60.0):
    run = jc.simulate(cell, PACING, t1=t1, dt=dt, solver=solver, save_every=4.0, outputs=["V", "Ca_ss"])
    return np.stack([run.V, 1e5 * np.asarray(run.ys.Ca_ss)])[:, 2:]


@pytest.mark.slow
def test_steps_of_two_lengths_are_of_second_order():
    exact = beat(jc.RushLarsenMidpoint(), 0.005)
    steps = np.array([0.4, 0.2])
    errors = [np.abs(beat(jc.Multirate(subsystems.SLOW_CALCIUM, 4), dt) - exact).max() for dt in steps]
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] > 1.7, errors


@pytest.mark.slow
def test_calcium_on_tenfold_steps_costs_no_accuracy():
    exact = beat(jc.RushLarsenMidpoint(), 0.01, t1=300.0)
    error = {
        name: np.sqrt(np.mean((beat(solver, dt, t1=300.0) - exact) ** 2, axis=1))
        for name, solver, dt in (
            ("one step", jc.RushLarsenMidpoint(), 0.1),
            ("two", jc.Multirate(subsystems.SLOW_CALCIUM, 10), 1.0),
        )
    }
    assert np.all(error["two"] < 1.2 * error["one step"]), error


def test_with_nothing_slow_two_substeps_are_two_steps():
    plain, same = (
        jc.simulate(
            jc.models.TenTusscher2004(), jc.protocols.PulseTrain(-52.0, 1.0, 1000.0, 1.0), t1=20.0, dt=dt, solver=solver
        )
        for solver, dt in ((jc.RushLarsenMidpoint(), 0.05), (jc.Multirate((), 2), 0.1))
    )
    for a, b in zip(plain.final_state, same.final_state, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


@pytest.mark.slow
def test_steps_of_two_lengths_take_populations_float32_and_derivatives():
    solver = jc.Multirate(subsystems.SLOW_CALCIUM, 4)
    g_Kr = CELL.g_Kr * jnp.array([1.0, 0.5])
    how: dict[str, Any] = dict(t1=10.0, dt=0.5, solver=solver)
    many, alone = jc.simulate(CELL.replace(g_Kr=g_Kr), PACING, **how), jc.simulate(CELL, PACING, **how)
    np.testing.assert_allclose(many.V[0], alone.V, rtol=0, atol=1e-9)
    single = jc.simulate(jc.astype(CELL, jnp.float32), PACING, **how)
    np.testing.assert_allclose(single.V, alone.V, rtol=0, atol=2e-2)

    def end(g):
        return jc.simulate(CELL.replace(g_CaL=g), PACING, **how).V[-1]

    step = 1e-3
    difference = float((end(CELL.g_CaL + step) - end(CELL.g_CaL - step)) / (2 * step))
    assert jax.jvp(end, (CELL.g_CaL,), (jnp.ones(()),))[1] == pytest.approx(difference, rel=1e-5)


def test_what_cannot_be_slow_is_refused():
    with pytest.raises(ValueError, match="an even number >= 2"):
        jc.Multirate(("Ca_i1",), 3)
    with pytest.raises(ValueError, match="did you mean"):
        jc.simulate(CELL, PACING, t1=1.0, dt=0.5, solver=jc.Multirate(("Ca_1",), 2))
    for slow in ("Ca_i1", ("Ca_i1", "Ca_i1"), (1,)):
        with pytest.raises(ValueError, match="names of different states"):
            jc.Multirate(slow, 2)  # pyright: ignore[reportArgumentType]
    for substeps in (0, 1, 2.0, True):
        with pytest.raises(ValueError, match=r"substeps = .*whole number >= 2"):
            jc.Multirate(("Ca_i1",), substeps)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("make", GATES)
def test_gates_of_voltage_alone_are_found(make):
    assert set(subsystems.voltage_gates(make())) == GATES[make]


def test_rates_in_float32_are_the_equations_to_its_digits():
    names = subsystems.voltage_gates(CELL)
    single = subsystems.in_single_precision(CELL, names)
    V = jnp.linspace(-100.0, 40.0, 57)
    exact, found = (jax.jit(lambda V, c=c: subsystems.exact_gates(c, (*names, "fca"), V))(V) for c in (CELL, single))
    for name in names:
        assert found[name].steady.dtype == jnp.float64
        np.testing.assert_allclose(found[name].steady, exact[name].steady, rtol=2e-5)
        np.testing.assert_allclose(found[name].rate, exact[name].rate, rtol=2e-5)
        assert np.any(found[name].steady != exact[name].steady)
    assert np.all(found["fca"].steady == exact["fca"].steady)


def test_a_table_errs_by_the_square_of_its_spacing():
    fine, coarse = (subsystems.GateTable(CELL, ("pa", "n"), spacing=spacing) for spacing in (1.0, 2.0))
    for name, (error, _) in subsystems.gate_errors(CELL, fine).items():
        assert subsystems.gate_errors(CELL, coarse)[name][0] / error == pytest.approx(4, rel=0.3)


@pytest.mark.slow
def test_a_network_of_gates_is_bounded_and_learns():
    V = jnp.linspace(*RANGE, 721)
    exact = subsystems.exact_gates(CELL, ("d",), V)
    truth = jc.Relaxation(exact["d"].steady[None], rate=exact["d"].rate[None])
    first = subsystems.GateNetwork(("d",), truth, (8,), jax.random.key(0))
    later = subsystems.learned_gates(CELL, ("d",), widths=(8,), epochs=4)
    (before, _), (after, _) = (subsystems.gate_errors(CELL, network)["d"] for network in (first, later))
    assert after < 0.5 * before
    V = jnp.linspace(-1000.0, 1000.0, 401)
    for name, gate in jax.vmap(first.relaxations)(V).items():
        assert np.all(gate.steady >= exact[name].steady.min()) and np.all(gate.steady <= exact[name].steady.max())
        assert np.all(gate.rate > 0)
    rates = subsystems.with_gates(CELL, later).replace(g_Kr=2.0).rates(0.0, CELL.initial_state(), 0.0)
    assert 0 < rates.d.tau < 1.5 and rates.m.tau == CELL.rates(0.0, CELL.initial_state(), 0.0).m.tau


@pytest.mark.slow
def test_the_same_seed_gives_the_same_network():
    same, again, other = (subsystems.learned_gates(CELL, ("pa",), widths=(4,), epochs=1, seed=n) for n in (3, 3, 4))
    assert eqx.tree_equal(same, again) and not eqx.tree_equal(same, other)


def test_what_is_no_gate_of_voltage_is_not_learned():
    for name, said in (("fca", "no gate of voltage alone"), ("Ca_ss", "no gate"), ("pb", "did you mean")):
        with pytest.raises(ValueError, match=said):
            subsystems.learned_gates(CELL, (name,))
    with pytest.raises(ValueError, match=r"names = \(\); allowed"):
        subsystems.GateTable(CELL, ())
    with pytest.raises(ValueError, match=r"spacing = 0.0 mV"):
        subsystems.GateTable(CELL, ("pa",), spacing=0.0)
    with pytest.raises(ValueError, match="no state named"):
        subsystems.in_single_precision(CELL, ("V", "nothing"))


def test_the_lump_is_the_mean_of_three_like_shells():
    lumped = subsystems.LumpedCalcium(CELL)
    y = lumped.initial_state()._replace(V=jnp.asarray(-10.0), Ca_ss=jnp.asarray(8e-4), Ca_i4=jnp.asarray(5e-4))
    full = lumped._spread(y)
    slow, whole = derivative(lumped.rates(0.0, y, 0.0), y), derivative(CELL.rates(0.0, full, 0.0), full)
    shares = np.array([1, 3, 5]) / 9
    for store in ("Ca_i", "Ca_SR"):
        mean = sum(share * getattr(whole, f"{store}{k}") for k, share in zip((1, 2, 3), shares, strict=True))
        np.testing.assert_allclose(getattr(slow, f"{store}3"), mean, rtol=1e-12)
    for name in ("V", "Ca_ss", "Ca_i4", "Ca_SR4", "fca", "K_i"):
        np.testing.assert_allclose(getattr(slow, name), getattr(whole, name), rtol=1e-12)


@pytest.mark.slow
def test_a_lumped_beat_is_near_the_full_one_and_fitting_brings_it_nearer():
    exact = beat(jc.RushLarsenMidpoint(), 0.1, t1=400.0)
    fitted = subsystems.fit_lumped(CELL, (300.0,), beats=1)
    errors = [
        np.sqrt(np.mean((beat(jc.RushLarsenMidpoint(), 0.1, cell, t1=400.0) - exact) ** 2, axis=1))
        for cell in (subsystems.LumpedCalcium(CELL), fitted)
    ]
    assert np.all(errors[1] < errors[0]) and errors[1][0] < 0.2, errors


@pytest.mark.slow
def test_learned_calcium_is_an_ordinary_cell_and_learns_through_the_solver():
    learned, history = subsystems.fit_learned_calcium(CELL, (300.0,), beats=2, width=3, steps=6)
    assert np.all(np.diff(history) <= 0) and history[-1] < 0.9 * history[0], history
    assert len(learned.initial_state()) == 24
    run = jc.simulate(
        learned.replace(g_Kr=np.array([2.0, 4.0])), PACING, t1=10.0, dt=0.1, solver=jc.RushLarsenMidpoint()
    )
    assert run.V.shape[0] == 2 and np.isfinite(run.V).all() and np.ptp(run.V) > 50
