"""The network that ships: what it is, and that it does what the README says of it."""

import dataclasses
from importlib.resources import as_file, files

import equinox as eqx
import jax
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.intracellular.evaluate import missed
from jaxcardio.intracellular.unet import count


def test_the_small_network_ships_calibrated():
    network = jc.intracellular.load_network("small")
    with as_file(files("jaxcardio") / "data" / "intracellular_small.h5") as path:
        assert path.stat().st_size < 2_000_000
    assert count(network.unet) < 200_000
    assert network.sampling_rate == 1000.0
    assert network.corrections.is_calibrated
    assert network.corrections.coverage == 0.9


@pytest.mark.slow
@pytest.mark.parametrize(("drugs", "seed"), [(None, 2001), (("propranolol",), 2002)], ids=["new cells", "unseen drug"])
def test_the_small_network_meets_its_bars_on_cells_of_new_seeds(drugs, seed):
    """On so few cells the coverage of intervals is known to some 5 % only."""
    options = {} if drugs is None else {"drugs": drugs}
    pairs = jc.intracellular.synthesize_pairs(64, seed=seed, **options)
    score = jc.intracellular.evaluate(jc.intracellular.load_network("small"), {"pairs": pairs}).scores[0]
    assert set(missed(score)) <= {"coverage", "apd_coverage"}, score
    assert 0.8 < score.coverage < 0.98
    assert 0.8 < score.apd_coverage < 0.98


@pytest.mark.slow
def test_a_drugs_effect_is_found_beside_the_truth(tmp_path):
    """Electroporated neighbours measure the change that is reconstructed, and the simulation knows it."""
    made = jc.intracellular.synthesize_recording(
        tmp_path / "recording.h5",
        channels=4,
        duration=120_000.0,
        electroporated_at=5_000.0,
        added_at=50_000.0,
        drug="dofetilide",
        concentration=5.0,
    )
    network = jc.intracellular.load_network("small")
    found = jc.intracellular.monitor(made.recording, network, wash_in=40_000.0, span=30_000.0)
    effect, k = found.effects[0], 8
    true = (made.truth.after - made.truth.before)[:, k]
    outside = np.array([kind == "extracellular" for kind in found.kinds])
    low, high = (np.asarray(x)[outside, k] for x in (effect.change.lower, effect.change.upper))
    assert ((low < true[outside]) & (true[outside] < high)).all()
    assert (low > 0).all()
    assert effect.test.effect[k] == pytest.approx(true[outside].mean(), abs=15)
    assert effect.inside.effect[k] == pytest.approx(true[~outside].mean(), abs=15)


def train_of_spikes(seconds: int, events: list) -> jc.intracellular.Recording:
    """Two channels of spikes of 0.2 mV every 1.2 s in noise of 3 uV: no repolarisation wave."""
    rate, rng = 2000.0, np.random.default_rng(0)
    values = rng.normal(0, 0.003, (2, round(seconds * rate)))
    for begin in range(1000, values.shape[1] - 4000, 2400):
        values[:, begin : begin + 8] += 0.2
        values[:, begin + 8 : begin + 16] -= 0.1
    return jc.intracellular.Recording.from_samples(values, rate, events=events)


@pytest.mark.slow
def test_what_cannot_be_known_is_said():
    """No repolarisation wave; periods too short to compare; two additions at one time; a broken network."""
    event = jc.intracellular.Event
    added = [event(20_000.0, "drug", "a", 1.0, None), event(20_000.0, "drug", "b", 2.0, None)]
    recording = train_of_spikes(40, added)
    network = jc.intracellular.load_network("small")

    found = jc.intracellular.monitor(recording, network)

    assert len(found.effects) == 1
    said = str(found)
    assert "a 1 nM + b 2 nM at 20 s: no channel has enough beats in both periods" in said
    assert "no repolarisation wave above the noise" in said
    short = jc.intracellular.monitor(recording, network, wash_in=5_000.0, span=12_000.0)
    assert "no channel has enough beats" not in str(short)
    with pytest.raises(ValueError, match=r"begin = .*ms; allowed: below"):
        jc.intracellular.reconstruct(recording, network, begin=1e9)
    broken = jax.tree.map(lambda x: 1e30 * x if eqx.is_inexact_array(x) else x, network.unet)
    with pytest.raises(ValueError, match="not finite"):
        jc.intracellular.reconstruct(recording, dataclasses.replace(network, unet=broken))
