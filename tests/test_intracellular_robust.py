"""Recordings that are damaged, and files of results that are: a reason for each channel, and nothing else is touched.

Networks are untrained: what is asked here holds for any weights.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_intracellular_beats import NOISE, RATE, beating, inside, outside

from jaxcardio.intracellular import (
    Event,
    Monitoring,
    Network,
    PIAUNet,
    Reason,
    ReconstructedBeats,
    Recording,
    explain,
    find_beats,
    monitor,
    reconstruct,
    resample,
)

SECONDS = 24.0
TIMES = beating(seconds=SECONDS)
KINDS = ("extracellular",) * 7 + ("intracellular",)
SPOILT = {1: Reason.NOT_A_NUMBER, 2: Reason.FLAT, 3: Reason.CLIPPED, 4: Reason.NO_BEATS}
"""Channels that are spoilt as a whole, and what is said of each."""
HIT = [3, 17]
"""Beats of channel 6 whose windows are corrupted: 10 % of them."""
CHUNKS = (999.0, 7777.7, 1e9)


@pytest.fixture(scope="module")
def network() -> Network:
    return network_of(lambda key: PIAUNet(channels=4, depth=1, levels=3, samples=1600, physics_width=4, key=key))


def network_of(made: Callable[[Any], PIAUNet]) -> Network:
    """With weights of NumPy's: JAX would compile a program for each size of them, which takes most of a minute."""
    draw = np.random.default_rng(0)

    def filled(where: Any, leaf: Any) -> Any:
        if not hasattr(leaf, "dtype"):
            return leaf
        scale = 1 / np.sqrt(max(1, leaf.size / max(leaf.shape, default=1)))
        values = draw.normal(0, scale, leaf.shape)
        is_variance = jax.tree_util.keystr(where).endswith(".variance")
        return jnp.asarray(1 + values**2 if is_variance else values, leaf.dtype)

    like = eqx.filter_eval_shape(made, jax.random.key(0))
    return Network(jax.tree_util.tree_map_with_path(filled, like), 1000.0)


def healthy() -> np.ndarray:
    """(channel, sample), mV: seven channels that record from outside and one inside a cell."""
    values = [outside(TIMES, seconds=SECONDS, height=0.6 + 0.1 * k, seed=k) for k in range(7)]
    return np.stack([*values, inside(TIMES, 4.0, seconds=SECONDS)])


def spoilt() -> np.ndarray:
    values = healthy()
    values[1] = np.nan
    values[2] = 3.3
    values[3] = np.clip(values[3], -0.1, 0.2)
    values[4] = outside([], seconds=SECONDS)
    values[5] = outside(irregular(), seconds=SECONDS, height=1.1, seed=5)
    for k in HIT:
        at = round(TIMES[k] * RATE / 1000)
        values[6, at + 100 : at + 400] = np.nan
    return values


def irregular() -> np.ndarray:
    """Beats that come early, late, and not at all."""
    times = TIMES.copy()
    times[5] -= 400
    times[11] += 400
    return np.delete(times, [8, 9])


def recorded(values: np.ndarray, rate: float = RATE, kinds=KINDS, **about) -> Recording:
    return Recording.from_samples(values, rate, kinds=kinds, **about)


def assert_same_channel(a: ReconstructedBeats, k: int, b: ReconstructedBeats, j: int) -> None:
    """All that is known of the channel's beats, bit for bit."""
    n = a.counts[k]
    assert b.counts[j] == n > 0
    for name in ("times", "iap", "lower", "upper", "signal_to_noise", "unfamiliar"):
        assert np.array_equal(getattr(a, name)[k, :n], getattr(b, name)[j, :n]), name
    for x, y in zip(a.durations, b.durations, strict=True):
        assert np.array_equal(x[k, :n], y[j, :n], equal_nan=True)


def assert_same(a, b) -> None:
    """Two results, field by field, bit for bit."""
    for x, y in zip(jax.tree.leaves(vars(a)), jax.tree.leaves(vars(b)), strict=True):
        assert np.array_equal(x, y, equal_nan=isinstance(x, float) or np.asarray(x).dtype.kind == "f")


@pytest.fixture(scope="module")
def clean(network) -> ReconstructedBeats:
    return reconstruct(recorded(healthy()), network)


@pytest.fixture(scope="module")
def damaged(network) -> ReconstructedBeats:
    return reconstruct(recorded(spoilt()), network)


def test_every_beat_of_a_healthy_recording_is_reconstructed(clean):
    assert np.array_equal(clean.counts, [len(TIMES)] * len(KINDS))
    assert not clean.dropped
    for trace in (clean.iap, clean.lower, clean.upper):
        assert np.isfinite(trace).all()
    assert np.ptp(clean.iap[:7], axis=2).min() > 0.1, "traces of which something is to be seen"
    assert np.ptp(clean.iap[:7, 0], axis=0).max() > 0.01, "channels differ"


def test_each_spoilt_channel_has_its_reason_and_the_others_are_the_same_to_the_last_bit(clean, damaged):
    whole = {int(drop.channel): drop.reason for drop in damaged.dropped if drop.time is None}
    assert whole == SPOILT
    assert [damaged.counts[k] for k in SPOILT] == [0] * len(SPOILT)
    for k in (0, 7):
        assert_same_channel(clean, k, damaged, k)
    for reason in whole.values():
        assert explain(reason) in damaged.explained()


def test_corrupted_windows_cost_themselves_alone(damaged):
    drops = {drop.time: drop.reason for drop in damaged.dropped if drop.channel == "6"}
    lost = sorted(TIMES[HIT])
    assert len(drops) == len(HIT) and np.allclose(sorted(drops), lost, atol=1.0)
    assert set(drops.values()) == {Reason.NOT_A_NUMBER}
    kept = damaged.times[6, : damaged.counts[6]]
    assert np.allclose(kept, np.delete(TIMES, HIT), atol=1.0)


def test_an_arrhythmia_is_kept(damaged):
    assert damaged.counts[5] == len(irregular())
    assert not [drop for drop in damaged.dropped if drop.channel == "5"]


def test_nothing_is_lost(damaged):
    found = find_beats(recorded(spoilt()))
    for k, channel in enumerate(found.channels):
        drops = [drop for drop in damaged.dropped if drop.channel == str(k)]
        if channel.reason:
            assert [drop.time for drop in drops] == [None]
            continue
        together = sorted([*damaged.times[k, : damaged.counts[k]], *(drop.time for drop in drops)])
        assert np.array_equal(together, channel.times)


def test_channels_alone_are_as_among_others(network, clean):
    values = healthy()
    some = reconstruct(recorded(values[[7, 3]], kinds=("intracellular", "extracellular")), network)
    asked = reconstruct(recorded(values), network, channels=["3", "7"])
    for one, places in ((some, {7: 0, 3: 1}), (asked, {3: 0, 7: 1})):
        for k, place in places.items():
            assert_same_channel(clean, k, one, place)


def test_a_beat_alone_is_as_among_all(network, clean):
    recording = recorded(healthy()[:3], kinds=KINDS[:3])
    one = reconstruct(recording, network, begin=TIMES[7] - 100, end=TIMES[7] + 100)
    assert np.array_equal(one.counts, [1, 1, 1])
    for name in ("times", "iap", "lower", "upper", "signal_to_noise"):
        assert np.array_equal(getattr(one, name)[:, 0], getattr(clean, name)[:3, 7]), name
    for x, y in zip(one.durations, clean.durations, strict=True):
        assert np.array_equal(x[:, 0], y[:3, 7], equal_nan=True)


def test_the_chunk_changes_no_bit_of_a_reconstruction(network, damaged):
    for chunk in CHUNKS:
        assert_same(reconstruct(recorded(spoilt()), network, chunk=chunk), damaged)


@pytest.mark.slow
def test_the_small_network_sees_neither_chunks_nor_neighbours():
    small = network_of(PIAUNet.small)
    whole, of_spoilt = reconstruct(recorded(healthy()), small), reconstruct(recorded(spoilt()), small)
    for k in (0, 7):
        assert_same_channel(whole, k, of_spoilt, k)
    for chunk in CHUNKS:
        assert_same(reconstruct(recorded(spoilt()), small, chunk=chunk), of_spoilt)


def added() -> Recording:
    """With positions, and a drug in the middle."""
    places = np.stack([np.arange(8) % 4, np.arange(8) // 4], 1) * 200.0
    return recorded(spoilt(), positions=places, events=[Event(SECONDS * 500, "drug", "dofetilide", 10.0)])


@pytest.fixture(scope="module")
def monitored(network) -> Monitoring:
    return monitor(added(), network, wash_in=1000.0, span=10_000.0)


@pytest.mark.slow
def test_the_chunk_changes_no_bit_of_a_monitoring(network, monitored):
    for chunk in CHUNKS[:2]:
        found = monitor(added(), network, wash_in=1000.0, span=10_000.0, chunk=chunk)
        assert_same(found, monitored)


@pytest.mark.slow
def test_a_monitoring_has_the_durations_of_the_reconstruction(damaged, monitored):
    assert monitored.dropped == damaged.dropped
    assert np.array_equal(monitored.times, damaged.times, equal_nan=True)
    for x, y in zip(monitored.durations, damaged.durations, strict=True):
        assert np.array_equal(x, y, equal_nan=True)


@pytest.mark.parametrize("rate", [1000.0, 2500.0, 20_000.0])
def test_another_sampling_rate_gives_the_same_beats(network, rate):
    fast = np.atleast_2d(outside(TIMES, 20_000.0, seconds=SECONDS, noise=NOISE / 4))
    usual = reconstruct(recorded(resample(fast, 20_000.0, 5000.0), kinds=None), network)
    other = reconstruct(recorded(resample(fast, 20_000.0, rate), rate, kinds=None), network)
    assert np.array_equal(usual.counts, other.counts) and not other.dropped
    assert np.abs(usual.times - other.times).max() <= 1.0
    assert np.median(np.abs(usual.iap - other.iap)) < 0.02 * np.ptp(usual.iap)


def test_a_recording_without_beats_is_no_error(network):
    found = reconstruct(recorded(outside([], seconds=5.0)[None], kinds=None), network)
    assert found.iap.shape[:2] == (1, 0)
    assert [drop.reason for drop in found.dropped] == [Reason.NO_BEATS]
    assert np.asarray(found.apd(90).value).shape == (1, 0)
    assert "no addition" in str(monitor(recorded(outside([], seconds=5.0)[None], kinds=None), network))


# Files


def test_a_recording_cut_short_is_refused_whenever_it_is_read(tmp_path, network):
    path = tmp_path / "recording.h5"
    recorded(healthy()[:1], kinds=None).save(path)
    whole = path.read_bytes()
    open_one = Recording.load(path)
    for part in (0.3, 0.9):
        path.write_bytes(whole[: int(part * len(whole))])
        for use in (lambda: Recording.load(path), lambda: reconstruct(open_one, network)):
            with pytest.raises(ValueError, match=r"recording\.h5") as refused:
                use()
            assert "\n" not in str(refused.value)


RESULTS = ("damaged", "monitored")


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_read_as_they_were_written(name, request, tmp_path):
    result = request.getfixturevalue(name)
    result.save(tmp_path / "result.h5")
    again = type(result).load(tmp_path / "result.h5")
    assert_same(again, result)
    assert str(again) == str(result)
    for field in dataclasses.fields(result):
        assert type(getattr(again, field.name)) is type(getattr(result, field.name)), field.name


def refused(load, path: Path) -> str:
    with pytest.raises(ValueError, match=path.name) as error:
        load(path)
    said = str(error.value)
    assert "\n" not in said and len(said) < 1000
    return said


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_cut_short_or_of_something_else_is_refused_in_one_line(name, request, tmp_path):
    result = request.getfixturevalue(name)
    load, path = type(result).load, tmp_path / "result.h5"
    result.save(path)
    whole = path.read_bytes()
    for part in (0.0, 0.001, 0.3, 0.7, 0.999):
        path.write_bytes(whole[: int(part * len(whole))])
        refused(load, path)
    path.write_text("times,iap\n1,2\n")
    refused(load, path)
    assert "no such file" in refused(load, tmp_path / "elsewhere.h5")
    others = [x for x in RESULTS if x != name]
    request.getfixturevalue(others[0]).save(path)
    refused(load, path)


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.slow
def test_a_result_with_a_changed_part_is_refused_in_one_line(name, request, tmp_path):
    """Each data set in turn is taken away, cut, or filled with texts; each attribute changed."""
    result = request.getfixturevalue(name)
    load, path = type(result).load, tmp_path / "result.h5"
    result.save(path)
    whole = path.read_bytes()
    with h5py.File(path) as file:
        sets: list[str] = []
        file.visititems(lambda key, x: sets.append(key) if isinstance(x, h5py.Dataset) else None)
        attributes = list(file.attrs)
    for key in sets:
        for change in (None, cut, texts):
            path.write_bytes(whole)
            with h5py.File(path, "r+") as file:
                values: Any = file[key][()]  # pyright: ignore[reportIndexIssue]
                del file[key]
                if change is not None:
                    file[key] = change(np.asarray(values))
            refused(load, path)
    for key in attributes:
        for value in ("{", -1.5):
            path.write_bytes(whole)
            with h5py.File(path, "r+") as file:
                file.attrs[key] = value
            refused(load, path)


def cut(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1)[: values.size // 2] if values.size else np.zeros((3, 2, 2))


def texts(values: np.ndarray) -> np.ndarray:
    return np.full(values.shape or (1,), b"a")
