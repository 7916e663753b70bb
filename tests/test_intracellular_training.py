"""Training of PIA-UNET: it learns, it is deterministic, it resumes to the same bits, and it says what it cannot do."""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest
from simple_pairs import simple_pairs

from jaxcardio.intracellular.train import _batches, train
from jaxcardio.intracellular.unet import PIAUNet

SAMPLES = 800


@functools.cache
def tiny(**settings) -> PIAUNet:
    small: dict[str, Any] = {"channels": 4, "depth": 1, "levels": 2, "physics_width": 4, "samples": SAMPLES}
    return PIAUNet(**(small | settings), key=jax.random.key(0))


@pytest.fixture(scope="module")
def pairs():
    return simple_pairs(16, samples=SAMPLES)


@pytest.fixture(scope="module")
def others():
    return simple_pairs(8, samples=SAMPLES, seed=1)


SHORT: dict[str, Any] = {"epochs": 3, "batch": 8}


@pytest.fixture(scope="module")
def short(pairs, others):
    return train(pairs, validation=others, net=tiny(), **SHORT)


@pytest.mark.slow
def test_it_learns_what_the_mean_trace_cannot_say():
    pairs, others = (simple_pairs(64, samples=SAMPLES, seed=seed) for seed in (0, 1))
    found = train(pairs, validation=others, net=tiny(channels=6, levels=3), epochs=25, batch=16, rate=3e-3)
    error = found.history.validation.min()
    mean = np.abs(pairs.iap.mean(0) - others.iap).mean()
    assert error < mean / 4
    predicted = found.network(others.eap).median
    np.testing.assert_allclose(np.abs(predicted - others.iap).mean(), error, rtol=1e-5)
    value = found.network.apd(found.network(others.eap), (50, 80)).value
    assert np.nanmedian(np.abs(value / others.apd[:, [4, 7]] - 1)) < 0.05


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_one_does_not(pairs, others, short):
    again = train(pairs, validation=others, net=tiny(), **SHORT)
    assert eqx.tree_equal(again.network.unet, short.network.unet)
    np.testing.assert_array_equal(again.history.loss, short.history.loss)
    other = train(pairs, validation=others, net=tiny(), seed=1, **SHORT)
    assert not eqx.tree_equal(other.network.unet, short.network.unet)


class Stopped(Exception):
    pass


@pytest.mark.slow
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(pairs, others, short, tmp_path):
    def stop(done):
        raise Stopped

    where = tmp_path / "training"
    for _ in range(2):  # after the first and the second epoch
        with pytest.raises(Stopped):
            train(pairs, validation=others, net=tiny(), checkpoint=where, progress=stop, **SHORT)
    resumed = train(pairs, validation=others, net=tiny(), checkpoint=where, **SHORT)
    assert eqx.tree_equal(resumed.network.unet, short.network.unet)
    np.testing.assert_array_equal(resumed.history.validation, short.history.validation)
    with pytest.raises(ValueError, match=r"training: not a checkpoint of this training \(another rate\)"):
        train(pairs, validation=others, net=tiny(), checkpoint=where, rate=1e-3, **SHORT)
    with pytest.raises(ValueError, match=r"\(another data\)"):
        train(others, validation=others, net=tiny(), checkpoint=where, **SHORT)
    whole = where.read_bytes()
    where.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="not a checkpoint of this training"):
        train(pairs, validation=others, net=tiny(), checkpoint=where, **SHORT)


@pytest.mark.slow
def test_statistics_are_frozen_after_training(others, short):
    network = short.network
    alone = network(others.eap[:1])
    np.testing.assert_array_equal(alone.median[0], network(others.eap[::-1]).median[-1])


@pytest.mark.slow
def test_the_best_epoch_is_kept(pairs, others):
    rising = train(pairs, validation=others, net=tiny(), epochs=6, batch=8, rate=0.05, schedule="constant")
    found = np.abs(rising.network(others.eap).median - others.iap).mean()
    np.testing.assert_allclose(found, rising.history.validation.min(), rtol=1e-5)


def test_every_pair_is_seen_once_an_epoch_and_in_another_order_each():
    pairs = simple_pairs(10, samples=100)
    pairs = dataclasses.replace(pairs, eap=np.arange(20, dtype=np.float32)[:, None] * np.ones((1, 100), np.float32))
    settings = {"seed": 0, "batch": 8, "louder": 1.0}
    seen = [np.concatenate([eap[:, 0] for eap, _ in _batches(pairs, settings, epoch)]) for epoch in (0, 0, 1)]
    assert sorted(seen[0][:20]) == list(range(20))
    assert seen[0].size == 24  # the last batch is filled up
    np.testing.assert_array_equal(seen[0][20:], seen[0][:4])
    np.testing.assert_array_equal(seen[0], seen[1])
    assert (seen[0] != seen[2]).any()


def test_louder_windows_are_at_most_so_much_louder():
    pairs = simple_pairs(20, samples=100)
    pairs = dataclasses.replace(pairs, eap=np.ones_like(pairs.eap))
    gains = [eap for eap, _ in _batches(pairs, {"seed": 0, "batch": 8, "louder": 1.4}, 0)]
    gains = np.concatenate(gains)
    assert gains.min() < 0.8 < 1.25 < gains.max()
    assert gains.min() > 0.71 and gains.max() < 1.41
    np.testing.assert_array_equal(gains, np.broadcast_to(gains[:, :1], gains.shape))


@pytest.mark.parametrize(
    "settings",
    [
        {"beta": 0.0, "precision": "bfloat16"},
        {"solver_weight": 1.0, "schedule": "constant", "louder": 1.3},
    ],
)
@pytest.mark.slow
def test_every_kind_of_training_lowers_its_loss(pairs, settings):
    found = train(pairs, net=tiny(), epochs=4, batch=8, rate=3e-3, **settings)
    assert found.history.loss[-1] < found.history.loss[0]
    assert np.isnan(found.history.validation).all()
    weights = jax.tree.leaves(eqx.filter(found.network.unet, eqx.is_array))
    assert all(w.dtype == np.float32 and np.isfinite(w).all() for w in weights)


@pytest.mark.parametrize("quantiles", ["published", "none"])
@pytest.mark.slow
def test_networks_with_other_heads_are_trained_as_well(pairs, quantiles):
    found = train(pairs, net=tiny(quantiles=quantiles), epochs=3, batch=8, rate=3e-3, beta=0.0)
    assert found.history.loss[-1] < found.history.loss[0]


@pytest.mark.slow
def test_what_it_was_trained_on_is_kept(pairs, short):
    about = short.network.about
    assert (about["pairs"], about["cells"], about["drug"], about["seed"]) == (32, 16, ["none"], 0)
    assert not short.network.unfamiliar(pairs.eap, pairs.signal_to_noise).any()
    assert short.network.unfamiliar(3 * pairs.eap, pairs.signal_to_noise).all()
    assert short.network.unfamiliar(pairs.eap, pairs.signal_to_noise / 10).all()


@pytest.mark.slow
def test_what_cannot_be_trained_is_refused(pairs, others):
    for settings, message in [
        ({"epochs": 0}, "epochs = 0 epochs; allowed: a whole number >= 1"),
        ({"rate": -1.0}, "rate = -1.0; allowed: above 0"),
        ({"precision": "float16"}, "precision = 'float16'; allowed: 'float32', 'bfloat16'"),
        ({"net": tiny(samples=400)}, "pairs = 800 samples; allowed: 400 samples a window"),
        ({"net": None}, "pairs = 800 samples; allowed: 1600 or 8000 samples a window, or give net="),
        ({"validation": dataclasses.replace(others, sampling_rate=500.0)}, "validation = 500.0 Hz; allowed: 1000 Hz"),
    ]:
        with pytest.raises(ValueError, match=message):
            train(pairs, **({"net": tiny()} | settings))
    bad = dataclasses.replace(pairs, eap=pairs.eap.copy())
    bad.eap[3, 4] = np.inf
    with pytest.raises(ValueError, match="pairs: samples that are not finite"):
        train(bad, net=tiny())
    with pytest.raises(ValueError, match="pairs: no pairs"):
        train(pairs[np.zeros(len(pairs), bool)], net=tiny())
