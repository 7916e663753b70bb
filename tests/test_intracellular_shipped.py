"""The network that ships: what it is, and that it does what the README says of it."""

from importlib.resources import as_file, files

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
