"""PIA-UNET: its size, its shapes, its quantiles, frozen statistics, and its file."""

import dataclasses
import functools

import equinox as eqx
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from jaxcardio.intracellular.library import Network, load_network, save_network
from jaxcardio.intracellular.unet import BOUNDS, PIAUNet, Quantiles, count, is_weight
from jaxcardio.intracellular.unet.layers import BatchNorm, Convolution, ResidualBlock, SqueezeExcite
from jaxcardio.intracellular.unet.levels import AttentionGate

KEY = jax.random.key(3)


@functools.cache
def tiny(quantiles: Quantiles = "non-crossing", samples: int = 500, **settings) -> PIAUNet:
    settings = {"channels": 8, "depth": 1, "levels": 3, "kernel": 5, "physics_width": 4} | settings
    return PIAUNet(samples=samples, quantiles=quantiles, key=KEY, **settings)


def windows(n: int, samples: int = 500, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, samples)).astype(np.float32)


def test_the_full_network_has_the_studys_parameters():
    net = eqx.filter_eval_shape(lambda: PIAUNet.full(KEY))
    head = count(net.physics)
    assert (count(net) - head, head) == (6_127_174, 232_202)  # 6.13 and 0.23 million
    channels = [level.enter.norm.scale.size for level in net.encoder]
    assert channels == [32, 64, 96, 128]
    assert [len(level.blocks) for level in net.encoder] == [8] * 4
    assert len(net.decoder) == 3
    y, lengths = jax.ShapeDtypeStruct((1, 8000, 1), jnp.float32), []
    for level in net.encoder:
        y = eqx.filter_eval_shape(lambda level, y: level(y, False)[0], level, y)
        lengths.append(y.shape[1])
    assert lengths == [8000, 1600, 320, 64]


@pytest.mark.slow
def test_the_small_network_is_small_and_so_is_its_file(tmp_path):
    net = PIAUNet.small(KEY)
    assert 100_000 < count(net) < 160_000
    save_network(tmp_path / "net.h5", Network(net, 1000.0))
    assert (tmp_path / "net.h5").stat().st_size < 700_000


@pytest.mark.parametrize(("quantiles", "sets"), [("non-crossing", (3,)), ("published", (3,)), ("none", ())])
@pytest.mark.slow
def test_shapes_and_bounds(quantiles, sets):
    found = eqx.filter_jit(tiny(quantiles))(jnp.asarray(50 * windows(2)))
    assert all(trace.shape == (2, 500) and trace.dtype == jnp.float32 for trace in found[:3])
    for name, values in found.physics._asdict().items():
        low, high = BOUNDS[name]
        assert values.shape == (2, *sets)
        assert ((low <= values) & (values <= high)).all()


@pytest.mark.slow
def test_quantiles_are_in_order_whatever_the_weights_but_the_published_heads_cross():
    draw = np.random.default_rng(0)

    def shake(x):
        return x + np.float32(3) * draw.normal(size=x.shape).astype(np.float32)

    def crossing(net):
        shaken = jax.tree.map(lambda x, is_trained: shake(x) if is_trained else x, net, is_weight(net))
        lower, median, upper, _ = eqx.filter_jit(shaken)(jnp.asarray(windows(4)))
        return float(jnp.mean((lower > median) | (median > upper)))

    assert crossing(tiny()) == 0
    assert crossing(tiny("published")) > 0.1


@pytest.mark.slow
def test_one_output_is_all_three_traces_without_quantiles():
    found = eqx.filter_jit(tiny("none"))(jnp.asarray(windows(2)))
    assert (found.lower == found.median).all() and (found.upper == found.median).all()


def test_a_convolution_is_scipys():
    layer = Convolution(1, 1, 11, key=KEY)
    x = windows(1)
    expected = correlate(x[0].astype(float), np.asarray(layer.weight[:, 0, 0], float), "same")
    np.testing.assert_allclose(layer(jnp.asarray(x)[..., None])[0, :, 0], expected, atol=1e-5)


def test_weights_are_drawn_as_he_does():
    weight = np.asarray(Convolution(64, 64, 11, key=KEY).weight)
    np.testing.assert_allclose(weight.std(), np.sqrt(2 / (11 * 64)), rtol=0.01)
    np.testing.assert_allclose(weight.mean(), 0, atol=1e-3)


def test_batch_norm_takes_the_batch_in_training_and_what_has_been_seen_afterwards():
    norm, x = BatchNorm(3), 4 + 2 * jax.random.normal(KEY, (64, 100, 3), jnp.float32)
    y, moved = norm(x, True)
    np.testing.assert_allclose(y.mean((0, 1)), 0, atol=1e-4)
    np.testing.assert_allclose(y.std((0, 1)), 1, atol=2e-3)
    np.testing.assert_allclose(moved.mean, 0.05 * x.mean((0, 1)), rtol=1e-4)
    same, frozen = norm(x, False)
    np.testing.assert_allclose(same, np.asarray(x) / np.sqrt(1.001), rtol=1e-5)
    assert eqx.tree_equal(frozen, norm)
    for _ in range(200):
        _, norm = norm(x, True)
    np.testing.assert_allclose(norm(x, False)[0], y, atol=2e-3)


def test_squeeze_and_excitation_weighs_channels_by_their_means():
    weigh, x = SqueezeExcite(16, key=KEY), jnp.asarray(windows(2, 160)).reshape(2, 10, 16)
    assert weigh.squeeze.weight.shape == (16, 2)  # reduced by 8
    factors = weigh(x)
    assert factors.shape == (2, 16) and ((factors > 0) & (factors < 1)).all()
    np.testing.assert_allclose(weigh(x[:, ::-1]), factors, rtol=1e-5)


@pytest.mark.slow
def test_a_residual_block_adds_between_none_and_one_to_its_input():
    x = jnp.asarray(windows(2, 160)).reshape(2, 20, 8)
    added = ResidualBlock(8, 5, key=KEY)(x, True)[0] - x
    assert ((added > 0) & (added < 1)).all()


def test_attention_is_decided_at_the_lower_resolution():
    gate, skip = AttentionGate(4, 6, key=KEY), jnp.asarray(windows(2, 100)).reshape(2, 25, 4)
    below = jnp.asarray(windows(2, 30, seed=1)).reshape(2, 5, 6)
    mask = np.asarray(gate(skip, below) / skip)
    np.testing.assert_allclose(mask, np.broadcast_to(mask[:, :, :1], mask.shape), rtol=1e-5)
    np.testing.assert_allclose(mask[:, ::5], mask[:, 4::5], rtol=1e-5)
    assert ((mask > 0) & (mask < 1)).all()


@pytest.mark.slow
def test_what_a_window_becomes_does_not_depend_on_the_others_with_frozen_statistics_only():
    net, x = tiny(), windows(6)
    others = np.concatenate([x[:1], 30 + 9 * windows(5, seed=8)])
    frozen, training = eqx.filter_jit(lambda x: net(x)), eqx.filter_jit(lambda x: net.train_call(x)[0])
    np.testing.assert_array_equal(frozen(x).median[0], frozen(others).median[0])
    assert np.abs(training(x).median[0] - training(others).median[0]).max() > 1e-2


@pytest.mark.parametrize("n", [1, 3, 32, 37, 64])
def test_a_network_gives_the_same_bits_however_many_windows_there_are(n):
    network, x = Network(tiny(), 1000.0), windows(70)
    alone, among = network(x[:n]), network(x)
    shifted = network(np.concatenate([windows(5, seed=4), x[:n]]))
    for one, two, three in zip(*(jax.tree.leaves(p) for p in (alone, among, shifted)), strict=True):
        np.testing.assert_array_equal(one, two[:n])
        np.testing.assert_array_equal(one, three[5:])


def test_no_windows_are_no_traces():
    found = Network(tiny(), 1000.0)(windows(0))
    assert found.median.shape == (0, 500)
    assert Network(tiny(), 1000.0).apd(found).value.shape == (0, 10)


@pytest.mark.slow
def test_bfloat16_is_near_float32():
    net, x = tiny(), jnp.asarray(windows(4))
    single, half = eqx.filter_jit(net)(x), eqx.filter_jit(net)(x.astype(jnp.bfloat16))
    assert half.median.dtype == jnp.float32
    np.testing.assert_allclose(half.median, single.median, atol=0.1)


def test_only_weights_are_trained():
    net = tiny()
    marks = is_weight(net)
    assert not marks.encoder[0].enter.norm.mean and not marks.encoder[0].blocks[0].second.norm.variance
    assert marks.encoder[0].enter.norm.scale and marks.traces.out.weight
    norms = 2 * (3 + 3 * 2 + 2)  # mean and variance: 3 entries, 3 levels of 1 block, 2 joins
    assert sum(not mark for mark in jax.tree.leaves(marks)) == norms


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 510}, "samples = 510 samples; allowed: a multiple of 25 with 3 levels"),
        ({"kernel": 4}, "kernel = 4 samples; allowed: an odd number"),
        ({"depth": 0}, "depth = 0; allowed: a whole number >= 1"),
        ({"quantiles": "all"}, "quantiles = 'all'; allowed: 'non-crossing', 'published', 'none'"),
    ],
)
def test_a_network_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        tiny(**settings)


def test_windows_that_do_not_fit_are_refused():
    network = Network(tiny(), 1000.0)
    with pytest.raises(ValueError, match=r"eap = \(2, 400\); allowed: windows of 500 samples \(500 ms at 1000 Hz\)"):
        network(windows(2, 400))
    bad = windows(3)
    bad[1, 7] = np.nan
    with pytest.raises(ValueError, match="eap: window 1 has samples that are not finite"):
        network(bad)


def test_windows_unlike_the_training_are_marked():
    x = windows(4)
    about = {"ranges": {"highest": [2.0, 6.0], "lowest": [-6.0, -2.0], "signal_to_noise": [15.0, 80.0]}}
    network = Network(tiny(), 1000.0, about=about)
    strange = network.unfamiliar(x * np.array([[1], [9], [1], [0.1]], np.float32), np.array([30.0, 30, 9, 30]))
    np.testing.assert_array_equal(strange, [False, True, True, True])
    assert not Network(tiny(), 1000.0).unfamiliar(x, np.ones(4)).any()


def test_a_file_gives_back_the_same_network(tmp_path):
    network = Network(tiny(), 1000.0, about={"seed": 4, "ranges": {"highest": [0.0, 3.0]}})
    network = dataclasses.replace(
        network, corrections=dataclasses.replace(network.corrections, trace=1.3, is_calibrated=True)
    )
    save_network(tmp_path / "net.h5", network)
    read = load_network(tmp_path / "net.h5")
    assert eqx.tree_equal(read.unet, network.unet)
    assert (read.sampling_rate, read.corrections, read.about) == (1000.0, network.corrections, network.about)
    x = windows(3)
    np.testing.assert_array_equal(read(x).upper, network(x).upper)
    assert load_network(str(tmp_path / "net.h5")).samples == 500


def test_files_that_are_none_are_refused(tmp_path):
    path = tmp_path / "net.h5"
    save_network(path, Network(tiny(), 1000.0))
    with h5py.File(path, "r+") as file:
        file.attrs["sampling_rate"] = 2000.0
    with pytest.raises(ValueError, match=str(path)):
        load_network(path)  # the digest does not fit
    path.write_bytes(b"no")
    with pytest.raises(ValueError, match=f"path = {path}: not a whole HDF5 file"):
        load_network(path)
    with pytest.raises(ValueError, match="no network named 'smal'; did you mean small"):
        load_network("smal")
    with pytest.raises(ValueError, match="no such file"):
        load_network(tmp_path / "absent.h5")
    broken = eqx.tree_at(lambda net: net.traces.out.weight, tiny(), replace_fn=lambda w: w.at[0, 0, 0].set(jnp.nan))
    with pytest.raises(ValueError, match=r"network: traces\.out\.weight is not finite"):
        save_network(path, Network(broken, 1000.0))
