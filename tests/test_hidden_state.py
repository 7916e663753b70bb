"""The gating network: the recurrence of the study, the curves it learns, and the cell that it becomes."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio import hidden_state as hs
from jaxcardio.hidden_state.gating import follow
from jaxcardio.models import TenTusscher2004

CELL = TenTusscher2004()
GATES = ("m", "h", "j", "d", "f", "r", "s", "Xs", "Xr1", "Xr2")


def untrained(seed=0, **options) -> hs.GatingNetwork:
    return hs.GatingNetwork(GATES, {"V": (-110.0, 70.0)}, key=jax.random.key(seed), **options)


def test_the_gating_cell_is_the_recurrence_of_the_study():
    cell = hs.GatingCell(4, 3, 1.0, key=jax.random.key(0))
    x, h = jax.random.normal(jax.random.key(1), (4,)), jnp.asarray([0.1, 0.5, 0.9])
    h_inf, rho = jax.nn.sigmoid(cell.steady(x)), jax.nn.sigmoid(cell.rho(x))
    np.testing.assert_allclose(cell(h, x), rho * h + (1 - rho) * h_inf, rtol=1e-14)
    np.testing.assert_allclose(cell.relaxations(x).tau, -1.0 / jnp.log(rho), rtol=1e-13)


def test_two_half_steps_are_one_step():
    cell = hs.GatingCell(4, 3, 1.0, key=jax.random.key(0))
    r, h = cell.relaxations(jnp.ones(4)), jnp.asarray([0.1, 0.5, 0.9])
    np.testing.assert_allclose(r.at(r.at(h, 0.5), 0.5), cell(h, jnp.ones(4)), rtol=1e-14)


def test_gates_stay_between_0_and_1_at_any_potential_and_any_step():
    network = untrained()
    for V in (-1e3, -90.0, 0.0, 1e3):
        r = network.relaxations(jnp.asarray(V))
        for dt in (1e-3, 1.0, 1e4):
            h = r.at(jnp.linspace(0, 1, 10), dt)
            assert (h >= 0).all()
            assert (h <= 1).all()


def test_following_a_recording_is_stepping_along_it():
    network = untrained()
    V = jnp.asarray(np.random.default_rng(0).uniform(-90, 40, 50))
    dt = jnp.asarray(np.random.default_rng(1).uniform(0.01, 2, 49))
    h = network.relaxations(V[0]).steady
    stepped = [h]
    for k in range(49):
        h = network.relaxations((V[k] + V[k + 1]) / 2).at(h, dt[k])
        stepped.append(h)
    np.testing.assert_allclose(network.follow(stepped[0], V[None], dt), jnp.stack(stepped), atol=1e-14)


def test_following_forgets_where_it_began():
    network = untrained()
    r = jax.vmap(network.relaxations)(jnp.full(200, -20.0))
    ends = [follow(r, h, jnp.full(200, 10.0))[-1] for h in (jnp.zeros(10), jnp.ones(10))]
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-12)


@pytest.fixture(scope="module")
def learned() -> hs.FirstPass:
    return hs.first_pass(CELL, steps=1000)


def test_the_first_pass_learns_the_ten_gates_of_voltage_alone(learned):
    assert set(learned.network.gates) == set(GATES)
    assert learned.losses[-1] < learned.losses[0] / 10
    curves = hs.gate_curves(learned.network, CELL, np.linspace(-90.0, 40.0, 131))
    for name in GATES:
        assert np.abs(np.asarray(curves.learned[name].steady - curves.true[name].steady)).max() < 0.1, name


@pytest.mark.slow
def test_the_same_seed_is_the_same_network_and_another_is_not(learned):
    again, other = hs.first_pass(CELL, steps=1000), hs.first_pass(CELL, steps=1000, seed=1)
    assert eqx.tree_equal(again.network, learned.network)
    assert not eqx.tree_equal(other.network, learned.network)


def test_a_network_in_a_file_is_the_same_network(learned, tmp_path):
    hs.save_network(tmp_path / "gates.net", learned.network)
    read = hs.load_network(tmp_path / "gates.net")
    V = jnp.linspace(-90.0, 40.0, 7, dtype=jnp.float32)
    found = [jax.vmap(n.relaxations)(V) for n in (read, learned.network)]
    assert eqx.tree_equal(*found)
    other = untrained(activation="relu", width=7, step=1.0)
    hs.save_network(tmp_path / "other.net", other)
    again = hs.load_network(tmp_path / "other.net").relaxations(V[0])
    np.testing.assert_allclose(again.rate, other.relaxations(jnp.asarray(-90.0)).rate, rtol=1e-4)
    with pytest.raises(ValueError, match="activation = 'sin'; allowed: tanh, relu"):
        untrained(activation="sin")
    (tmp_path / "cut.net").write_bytes((tmp_path / "gates.net").read_bytes()[:200])
    for path, said in (("cut.net", "not a whole"), ("none.net", "no such file")):
        with pytest.raises(ValueError, match=said):
            hs.load_network(tmp_path / path)


def test_all_but_the_gates_is_the_model(learned):
    cell = hs.as_cell(learned.network, CELL)
    y = CELL.initial_state()._replace(V=jnp.asarray(-20.0))
    learned_rates, true_rates = cell.rates(0.0, y, 0.0)._asdict(), CELL.rates(0.0, y, 0.0)._asdict()
    for name in set(y._fields) - set(GATES):
        assert eqx.tree_equal(learned_rates[name], true_rates[name]), name
    assert eqx.tree_equal(cell.currents(y), CELL.currents(y))


def test_the_learned_cell_is_an_ordinary_cell(learned):
    cell = hs.as_cell(learned.network, CELL)
    assert float(cell.replace(g_Kr=0.5).parameters()["g_Kr"].value) == 0.5
    blocked = jc.pharmacology.block(cell, {"I_Kr": 0.5})
    np.testing.assert_allclose(blocked.parameters()["g_Kr"].value, 0.5 * CELL.g_Kr)
    cells = jc.population.sample(cell, n=3, seed=0, spread=0.2, parameters=["g_Kr"])
    pulse = jc.protocols.PulseTrain(amplitude=-52.0, duration=1.0, period=1000.0, start=1.0)
    runs = jc.population.simulate(cells, pulse, t1=20.0, dt=0.05, outputs=["V"])
    assert runs.ys.V.shape == (3, 21)
    single = jc.astype(cell, jnp.float32)
    V = jc.simulate(single, pulse, t1=20.0, dt=0.05, solver=jc.RushLarsen2()).ys.V
    assert V.dtype == jnp.float32
    assert V.max() > 0


@pytest.mark.slow  # an implicit solver and four Rush-Larsen runs
def test_any_solver_runs_it_and_rush_larsen_converges_to_the_same(learned):
    cell = hs.as_cell(learned.network, CELL)
    pulse = jc.protocols.PulseTrain(amplitude=-52.0, duration=1.0, period=1000.0, start=1.0)
    how: dict[str, Any] = dict(t1=30.0, save_at=np.arange(4.0, 30.0))
    exact = jc.simulate(cell, pulse, solver=diffrax.Kvaerno5(), rtol=1e-9, atol=1e-9, **how).ys.V
    off = [float(jnp.abs(jc.simulate(cell, pulse, dt=dt, **how).ys.V - exact).max()) for dt in (0.02, 0.01, 0.005)]
    assert off[1] < 0.6 * off[0]
    assert off[2] < 0.6 * off[1]


def test_a_network_of_other_gates_is_refused(learned):
    with pytest.raises(ValueError, match="has no state 'q'"):
        hs.as_cell(hs.GatingNetwork(("q",), {"V": (-110.0, 70.0)}, key=jax.random.key(0)), CELL)
    with pytest.raises(ValueError, match="no gates of voltage alone"):
        hs.first_pass(jc.models.AlievPanfilov1996(), steps=50)


def test_paced_beats_are_those_of_one_long_run():
    beats = hs.paced_beats(CELL, [300.0, 400.0], duration=1600.0)
    assert [s.V.shape[0] for s in beats.states] == [3, 2]
    for state in beats.states:
        np.testing.assert_array_equal(state.V[1:, 0], state.V[:-1, -1])
    pulses = jc.protocols.PulseTrain(amplitude=-52.0, duration=1.0, period=400.0, start=10.0)
    grid = jc.paced_grid(pulses, 1600.0)
    run = jc.simulate(CELL, pulses, t1=1600.0, grid=grid, solver=jc.RushLarsen2(), save_at=np.arange(800.0, 1600.0))
    late = np.abs(beats.every_ms(1).V - run.ys.V)
    late[[10, 11, 12, 410, 411, 412]] = 0  # the upstroke moves with the steps of the beats before
    assert late.max() < 0.05


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (dict(cycle_lengths=[300.5]), "whole milliseconds"),
        (dict(cycle_lengths=[]), "whole milliseconds"),
        (dict(cycle_lengths=[800.0], duration=1000.0), r"duration = 1000.0 ms; allowed: at least 1600"),
    ],
)
def test_pacing_that_makes_no_sense_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        hs.paced_beats(CELL, **options)


def test_a_cell_that_fails_is_named_with_its_cycle_length():
    with pytest.raises(ValueError, match=r"no longer finite in beat 1 at cycle lengths of 300, 400 ms"):
        hs.paced_beats(CELL.replace(g_Na=np.nan), [300.0, 400.0], duration=800.0)
