"""The networks: they know more than the mean, know noise, give the same for the same seed, and survive a file."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.twin import Experiment, load_network, published, save_network, train, windows_of

SHORT = jc.protocols.VoltageSteps([-100.0, -20.0, 30.0, -60.0], [60.0, 40.0, 60.0, 60.0])


@functools.cache
def experiment():
    return Experiment(SHORT, windows_of(SHORT, 220.0, growth=1.3))


@functools.cache
def trained(**options):
    return train(experiment(), **{"cells": 600, "epochs": 8, "batch": 32, "sigma": 0.02, **options})


@pytest.mark.slow
def test_the_network_beats_the_mean_on_cells_that_it_has_not_seen():
    """Predicting the mean has an error of spread/2 = 0.1, and a mean square of spread^2/3."""
    found = trained()
    assert found.test_mse < 0.9 * 0.2**2 / 3
    assert found.test_error[found.names.index("Na_g")] < 0.07
    assert found.validation[-1] < found.validation[0]


def test_noise_costs_accuracy():
    assert trained(sigma=1.0).test_mse > 1.05 * trained().test_mse


@pytest.mark.slow
def test_fewer_cells_than_a_batch_are_one_batch():
    assert train(experiment(), cells=100, epochs=2, batch=256).training.shape == (2,)


def test_the_same_seed_gives_the_same_network():
    again = train(experiment(), cells=600, epochs=8, batch=32, sigma=0.02)
    assert jax.tree.all(
        jax.tree.map(lambda a, b: np.array_equal(a, b), again.network.mlp.layers, trained().network.mlp.layers)
    )
    assert trained(seed=1).test_mse != again.test_mse


def test_a_network_survives_a_file(tmp_path):
    save_network(tmp_path / "n.net", trained())
    read = load_network(tmp_path / "n.net")
    observed = np.random.default_rng(0).standard_normal((3, len(experiment().windows.times)))
    assert np.array_equal(read(observed), trained()(observed))
    assert read.settings == trained().settings
    (tmp_path / "torn.net").write_bytes((tmp_path / "n.net").read_bytes()[:-100])
    for name, says in {"torn.net": "not a whole", "none.net": "no such file"}.items():
        with pytest.raises(ValueError, match=says):
            load_network(tmp_path / name)


@pytest.mark.slow
def test_the_published_network_is_26_hidden_layers_of_1024_and_passes_a_signal():
    random = np.random.default_rng(0)
    observed = random.standard_normal((64, 10))
    full = eqx.filter_eval_shape(lambda: published(observed, np.full(10, 0.1), 52, 0.1, key=jax.random.key(0)).mlp)
    assert [layer.weight.shape for layer in full.layers] == [(1024, 10), *[(1024, 1024)] * 25, (52, 1024)]
    small = published(observed, np.full(10, 0.1), 5, 1.0, key=jax.random.key(0), width=64)
    assert 0.02 < np.asarray(small(jnp.asarray(observed, jnp.float32))).std() < 2


def test_killed_and_resumed_training_is_the_same(tmp_path):
    class Killed(Exception):
        pass

    def kill(done):
        if done > 0.4:
            raise Killed

    how: dict[str, Any] = dict(cells=600, epochs=8, batch=32, sigma=0.02, checkpoint=tmp_path / "c")
    with pytest.raises(Killed):
        train(experiment(), progress=kill, **how)
    assert train(experiment(), **how).test_mse == trained().test_mse


@pytest.mark.parametrize(("name", "value"), {"cells": 7, "spread": 1.0, "sigma": -1.0, "rate": 0.0}.items())
def test_arguments_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} = {value}"):
        train(experiment(), **{name: value})
