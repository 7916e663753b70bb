"""Claims about the training of sodium gatings: data, physics residuals, the same seed, a killed training, files."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sodium_cases import CELL, GATES, rms

import jaxcardio as jc
from jaxcardio.sodium.clamp_data import follow
from jaxcardio.sodium.losses import action_potential_residual, clamp_residual

EXACT = CELL.sodium
SMALL = {"starts": 2, "clamps": 1, "action potentials": 0, "solver": 0}
WHOLE = {"starts": 2, "clamps": 1, "action potentials": 1, "solver": 1}


class Killed(Exception):
    pass


def same(one, other) -> bool:
    return jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), one, other))


@pytest.fixture(scope="module")
def small():
    return jc.sodium.train_rates(seed=1, widths=(4,), rounds=SMALL)


@pytest.mark.slow
def test_the_channel_itself_has_no_residuals():
    clamps, beats = jc.sodium.voltage_clamps(EXACT, n=50), jc.sodium.action_potentials(CELL)
    assert np.abs(clamp_residual(EXACT, clamps)).max() < 1e-12
    assert np.abs(action_potential_residual(EXACT, beats)).max() < 1e-12
    assert np.abs(jc.sodium.semigroup_residual(EXACT, clamps.V, clamps.dt[0])).max() < 1e-9
    along = jc.sodium.time_domain_residual(EXACT, beats.dt, beats.V[0], beats.gates[0])
    assert np.abs(along).max() < 1e-9
    assert np.ptp(beats.V) > 90
    assert np.ptp(beats.gates[..., 0]) > 0.9


@pytest.mark.slow
def test_time_domain_residual_of_the_cells_own_gates_falls_with_the_step():
    """Along a beat that is no stair the residual is what the stair costs: second order."""
    pacing = jc.protocols.PulseTrain(-11.5, 2.0, 1000.0, 0.0)
    fine = jc.simulate(CELL, pacing, t1=4.0, dt=0.001, save_every=0.005, solver=jc.RushLarsenMidpoint()).ys
    gates = jnp.stack([getattr(fine, gate) for gate in GATES], axis=-1)
    sizes = []
    for n in (8, 4, 2):
        V = fine.V[n // 2 :: n][: (len(fine.V) - 1) // n]
        steps = jnp.full(V.size, 0.005 * n)
        sizes.append(rms(jc.sodium.time_domain_residual(EXACT, steps, V, gates[::n][: V.size + 1])))
    assert np.all(np.diff(np.log2(sizes)) < -1.5)


def test_chain_rule_residual_tells_a_memoryless_map_from_a_gate():
    """Steady states follow a ramp that is slow, to first order in its slope, and none that is fast."""

    def steady(V):
        return jnp.stack([r.steady for r in EXACT.relaxations(V)])

    V = jnp.linspace(-80.0, 0.0, 81)
    slow, faster, upstroke = (rms(jc.sodium.chain_rule_residual(steady, EXACT, V, s)) for s in (1e-4, 1e-3, 200.0))
    assert slow < 1e-5
    assert faster == pytest.approx(10 * slow, rel=1e-6)
    assert upstroke > 1.0


def test_a_gate_followed_in_two_parts_is_followed():
    beats = jc.sodium.action_potentials(CELL)
    half = 300
    first = follow(EXACT, beats.dt[:half], beats.V[0, :half], beats.gates[0, 0])
    second = follow(EXACT, beats.dt[half:], beats.V[0, half:], first[-1])
    np.testing.assert_allclose(second[-1], beats.gates[0, -1], rtol=1e-12)


@pytest.mark.slow
def test_another_seed_gives_another_network(small):
    assert not same(jc.sodium.train_rates(seed=2, widths=(4,), rounds=SMALL).gating, small.gating)


def test_training_lowers_the_residual(small):
    assert np.all(np.diff(small.residuals) < 0)
    assert small.stages == ("starts", "starts", "clamps")
    clamps = jc.sodium.voltage_clamps(EXACT, n=200, seed=7)
    assert rms(clamp_residual(small.gating, clamps)) < 2 * small.residuals[-1]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_network_killed_on_the_way_or_not(tmp_path, small):
    def kill(done):
        if done > 0.5:
            raise Killed

    checkpoint = tmp_path / "training"
    with pytest.raises(Killed):
        jc.sodium.train_rates(seed=1, widths=(4,), rounds=SMALL, checkpoint=checkpoint, progress=kill)
    reports = []
    how: dict[str, Any] = dict(widths=(4,), rounds=SMALL, checkpoint=checkpoint)
    resumed = jc.sodium.train_rates(seed=1, progress=reports.append, **how)
    assert reports == [1.0]
    assert same(resumed.gating, small.gating)
    assert np.array_equal(resumed.residuals, small.residuals)
    with pytest.raises(ValueError, match="not a checkpoint of this training"):
        jc.sodium.train_rates(seed=2, **how)


@pytest.mark.slow
@pytest.mark.parametrize("train", [jc.sodium.train_rates, jc.sodium.train_flow_map])
def test_every_stage_lowers_its_residual(train):
    found = train(seed=0, rounds=WHOLE | {"clamps": 3})
    assert found.residuals[-1] < 5e-3
    assert set(found.stages) == set(WHOLE)


@pytest.mark.parametrize("name", ["rates", "flow_map"])
def test_a_saved_gating_is_read_back_bit_by_bit(tmp_path, name):
    gating = jc.sodium.load(name)
    jc.sodium.save(tmp_path / "mine.h5", gating)
    again = jc.sodium.load(tmp_path / "mine.h5")
    assert same(again, gating)
    assert type(again) is type(gating)
    assert (tmp_path / "mine.h5").stat().st_size < 100_000


def test_files_and_names_that_are_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match="did you mean rates"):
        jc.sodium.load("rate")
    with pytest.raises(ValueError, match="no such file"):
        jc.sodium.load(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("no network")
    with pytest.raises(ValueError, match=r"text\.h5"):
        jc.sodium.load(tmp_path / "text.h5")
    with pytest.raises(ValueError, match="gating = 'SkibsbyeSodiumGating'"):
        jc.sodium.save(tmp_path / "exact.h5", EXACT)
    broken = jax.tree.map(lambda x: x * jnp.nan, jc.sodium.load("rates"))
    with pytest.raises(ValueError, match="finite"):
        jc.sodium.save(tmp_path / "broken.h5", broken)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(seed=-1), "seed = -1"),
        (dict(widths=(0,)), "widths"),
        (dict(rounds={"clamps": 3}), "rounds"),
        (dict(rounds=SMALL | {"solver": -1}), "rounds"),
        (dict(checkpoint="/no-such-folder/training"), "no folder"),
    ],
)
def test_training_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        jc.sodium.train_flow_map(**options)
