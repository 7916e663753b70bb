"""Beats: known answers on synthetic spike trains, every reason, and neighbours that change nothing."""

from pathlib import Path

import numpy as np
import pytest
import scipy.signal
from jaxtyping import ArrayLike

from jaxcardio.intracellular import pieces
from jaxcardio.intracellular.filtering import bandpass
from jaxcardio.intracellular.peaks import Beats, ChannelBeats, find_beats
from jaxcardio.intracellular.reasons import Reason
from jaxcardio.intracellular.recording import Block, Event, Recording

RATE = 5000.0
SECONDS = 42.0
NOISE = 0.02


def beating(period: float = 1100.0, seconds: float = SECONDS, jitter: float = 15.0, seed: int = 0) -> np.ndarray:
    """Times of beats, ms: none whose window would be cut."""
    times = np.arange(500.0, seconds * 1000 - 1500, period)
    return times + np.random.default_rng(seed).uniform(-jitter, jitter, len(times))


def outside(
    times, rate: float = RATE, *, seconds: float = SECONDS, height: ArrayLike = 1.0, noise: float = NOISE, seed: int = 1
):
    """An extracellular channel, mV: spikes, up and then down, with a repolarisation wave; `noise` is that at 5 kHz."""
    t = np.arange(round(seconds * rate)) * 1000 / rate
    v = np.zeros(len(t))
    for time, h in zip(times, np.broadcast_to(height, len(times)), strict=True):
        near = slice(*np.searchsorted(t, (time - 50, time + 900)))
        x = t[near] - time
        v[near] += h * np.exp(-0.5 * (x / 3) ** 2) - 0.5 * h * np.exp(-0.5 * ((x - 11) / 4) ** 2)
        v[near] += 0.25 * h * np.exp(-0.5 * ((x - 500) / 60) ** 2)
    return v + np.random.default_rng(seed).normal(0, noise * np.sqrt(rate / 5000), len(t))


def inside(times, amplitudes, rate: float = RATE, *, seconds: float = SECONDS, noise: float = NOISE, seed: int = 2):
    """An electroporated channel, mV: action potentials of 400 ms, on an offset that drifts."""
    t = np.arange(round(seconds * rate)) * 1000 / rate
    v = 20 + t / 10_000
    for time, amplitude in zip(times, np.broadcast_to(amplitudes, len(times)), strict=True):
        near = slice(*np.searchsorted(t, (time - 50, time + 900)))
        x = t[near] - time
        v[near] += amplitude / (1 + np.exp(-x)) / (1 + np.exp((x - 400) / 25))
    return v + np.random.default_rng(seed).normal(0, noise, len(t))


def found_in(values, rate: float = RATE, **about) -> ChannelBeats:
    return find_beats(Recording.from_samples(np.atleast_2d(values), rate, **about)).channels[0]


def assert_same(a: ChannelBeats, b: ChannelBeats) -> None:
    for name, x, y in zip(ChannelBeats._fields, a, b, strict=True):
        assert np.array_equal(x, y, equal_nan=True), name


TIMES = beating()


@pytest.fixture(scope="module")
def plain() -> np.ndarray:
    return outside(TIMES)


def test_all_beats_are_found_at_their_places(plain):
    found = found_in(plain)
    assert found.reason == Reason.KEPT
    assert np.all(found.reasons == 0)
    assert len(found.times) == len(TIMES)
    assert np.abs(found.times - TIMES).max() < 0.5
    assert np.array_equal(found.times, found.samples * 0.2)
    assert found.noise == pytest.approx(NOISE, rel=0.05)
    assert np.allclose(found.amplitude, 0.95, atol=0.1)
    assert np.allclose(found.signal_to_noise, found.amplitude / found.noise)
    assert not found.irregular.any()


def test_the_peaks_are_those_of_scipy(plain):
    found = found_in(plain)
    filtered = bandpass(plain, RATE, 10, 450)
    period = np.median(np.diff(TIMES)) * RATE / 1000
    expected, _ = scipy.signal.find_peaks(filtered, height=12 * found.noise, distance=0.6 * period)
    assert len(expected) == len(found.samples)
    assert np.abs(expected - found.samples).max() <= 2  # 0.4 ms; ours are placed among averages of 1 ms


def test_the_repolarisation_wave_and_the_noise_would_mislead_a_plain_search(plain):
    naive, _ = scipy.signal.find_peaks(plain, height=12 * NOISE)
    assert len(naive) > 2 * len(TIMES)


def test_every_sampling_rate_gives_the_same_beats():
    found = {rate: found_in(outside(TIMES, rate), rate) for rate in (1000.0, 5000.0, 10_000.0, 20_000.0, 4882.8125)}
    for of in found.values():
        assert np.all(of.reasons == 0)
        assert np.abs(of.times - found[1000.0].times).max() <= 1.0  # one sample of the slowest
        assert of.noise == pytest.approx(NOISE, rel=0.06)
        assert np.allclose(of.signal_to_noise, found[1000.0].signal_to_noise, rtol=0.12)


def test_the_chunk_changes_nothing():
    values = np.stack([outside(TIMES), inside(TIMES, 4.0), outside(TIMES, height=0.3)])
    values[0, 60_000:60_010] = np.nan
    recording = Recording.from_samples(values, RATE, kinds=["extracellular", "intracellular", "extracellular"])
    first = find_beats(recording)
    for chunk in (1.0, 10_000.0, 11_111.0, 25_000.0, 1e9):
        for a, b in zip(first.channels, find_beats(recording, chunk=chunk).channels, strict=True):
            assert_same(a, b)


def test_reading_channels_in_groups_changes_nothing(monkeypatch):
    recording = Recording.from_samples(np.stack([outside(TIMES, seed=k) for k in range(3)]), RATE)
    first = find_beats(recording)
    monkeypatch.setattr(pieces, "LARGEST", 200_000)
    for a, b in zip(first.channels, find_beats(recording).channels, strict=True):
        assert_same(a, b)


def test_channels_do_not_see_each_other():
    values = np.stack([outside(TIMES, seed=k, height=0.5 + 0.1 * k) for k in range(6)])
    clean = find_beats(Recording.from_samples(values, RATE))
    spoilt = values.copy()
    spoilt[0] = np.nan
    spoilt[1] = 0
    spoilt[2] = np.clip(spoilt[2], -0.1, 0.2)
    for time in TIMES[::20]:  # 5 % of the windows
        spoilt[4, round(time * 5) : round(time * 5) + 500] = 1e5
    found = find_beats(Recording.from_samples(spoilt, RATE))
    assert_same(found.channels[3], clean.channels[3])
    assert_same(found.channels[5], clean.channels[5])
    some = find_beats(Recording.from_samples(values[[5, 3]], RATE))
    assert_same(some.channels[0], clean.channels[5])
    assert_same(some.channels[1], clean.channels[3])
    asked = find_beats(Recording.from_samples(values, RATE), channels=[3])
    assert_same(asked.channels[3], clean.channels[3])
    assert asked.channels[5].reason == Reason.NOT_ASKED
    assert [of.reason for of in found.channels[:3]] == [Reason.NOT_A_NUMBER, Reason.FLAT, Reason.CLIPPED]


def test_corrupted_windows_cost_only_themselves(plain):
    spoilt = plain.copy()
    for time in TIMES[5::20]:
        spoilt[round(time * 5) + 100 : round(time * 5) + 400] = np.nan
    clean, found = found_in(plain), found_in(spoilt)
    hit = np.zeros(len(TIMES), bool)
    hit[5::20] = True
    assert np.all(found.reasons[hit] == Reason.NOT_A_NUMBER)
    assert np.all(found.reasons[~hit] == 0)
    assert np.abs(found.samples - clean.samples)[~hit].max() <= 1


# Reasons


def test_clipped_samples_are_found_by_the_converter_s_limits(plain):
    v = plain.copy()
    hit = [4, 9]
    for k in hit:
        v[round(TIMES[k] * 5) - 10 : round(TIMES[k] * 5) + 10] = 5.0
    found = found_in(v, limits=np.array([[-5.0, 5.0]]))
    assert np.flatnonzero(found.reasons).tolist() == hit
    assert np.all(found.reasons[hit] == Reason.CLIPPED)


def test_clipped_samples_are_found_without_limits_by_standing_still():
    v = np.minimum(outside(TIMES, height=np.where(np.arange(len(TIMES)) % 10 == 3, 3.0, 1.0)), 2.0)
    found = found_in(v)
    assert np.array_equal(found.reasons == Reason.CLIPPED, np.arange(len(TIMES)) % 10 == 3)
    assert np.all(found.reasons[found.reasons != Reason.CLIPPED] == 0)


def test_coarse_steps_of_a_converter_are_no_clipping():
    v = np.round(outside(TIMES) / 0.01) * 0.01
    assert np.all(found_in(v).reasons == 0)


def test_a_dead_channel_and_one_that_dies():
    assert found_in(np.full(200_000, 3.3)).reason == Reason.FLAT
    v = outside(TIMES)
    v[100_000:] = v[100_000]
    found = found_in(v)
    late = found.times + 1000 > 20_000
    assert found.reason == Reason.KEPT
    assert np.all(found.reasons[late] != 0)
    assert Reason.FLAT in found.reasons
    assert np.all(found.reasons[~late] == 0)


def test_missing_samples_only():
    assert found_in(np.full(200_000, np.nan)).reason == Reason.NOT_A_NUMBER


def test_noise_alone_has_no_beats():
    found = found_in(outside([]))
    assert found.reason == Reason.NO_BEATS
    assert len(found.times) == 0
    assert found.noise == pytest.approx(NOISE, rel=0.05)


def test_spikes_below_the_threshold_are_low_and_found_with_a_lower_one():
    v = outside(TIMES, height=9 * NOISE)
    assert found_in(v).reason == Reason.LOW_SIGNAL_TO_NOISE
    found = find_beats(Recording.from_samples(v[None], RATE), threshold=6.0).channels[0]
    assert np.all(found.reasons == 0)
    assert np.abs(found.times - TIMES).max() < 2


def test_beats_that_are_at_times_too_low_are_listed_and_make_no_rhythm():
    heights = np.where(np.arange(len(TIMES)) % 3 == 1, 0.2, 0.32)  # with this noise 12 sigma are 0.24 mV
    found = found_in(outside(TIMES, height=heights))
    assert len(found.times) == len(TIMES)
    assert np.array_equal(found.reasons == Reason.LOW_SIGNAL_TO_NOISE, heights < 0.24)
    assert np.all(found.reasons[heights > 0.24] == 0)
    assert not found.irregular.any()


@pytest.mark.parametrize("mains", [50.0, 60.0])
def test_a_channel_of_hum_is_named_and_beats_that_stand_out_are_found(mains):
    t = np.arange(round(SECONDS * RATE)) / RATE
    hum = 0.4 * np.sin(2 * np.pi * mains * t)
    assert found_in(outside([]) + hum).reason == Reason.MAINS
    assert found_in(outside(TIMES, height=0.3) + hum).reason == Reason.MAINS
    found = found_in(outside(TIMES, height=3.0) + hum)
    assert np.all(found.reasons == 0)
    assert np.abs(found.times - TIMES).max() < 2


def test_an_inverted_channel_is_named_and_timed_by_its_trough(plain):
    found = found_in(-plain)
    assert found.reason == Reason.INVERTED
    assert np.all(found.reasons == Reason.INVERTED)
    assert np.array_equal(found.samples, found_in(plain).samples)
    assert found_in(-inside(TIMES, 4.0), kinds=["intracellular"]).reason == Reason.INVERTED


def test_a_nearly_symmetric_spike_is_told_by_what_comes_first():
    t = np.arange(round(SECONDS * RATE)) * 1000 / RATE
    v = np.random.default_rng(3).normal(0, NOISE, len(t))
    for time in TIMES:
        x = t - time
        v += np.exp(-0.5 * (x / 3) ** 2) - 0.9 * np.exp(-0.5 * ((x - 12) / 3) ** 2)
    assert found_in(v).reason == Reason.KEPT
    assert found_in(-v).reason == Reason.INVERTED


def test_beats_at_the_ends_are_cut():
    times = np.array([150.0, 1200.0, 2300.0, 3400.0, 4500.0])
    found = found_in(outside(times, seconds=5.5))
    assert found.reasons.tolist() == [Reason.CUT_BY_BEGINNING, 0, 0, 0, Reason.CUT_BY_END]
    # A window may go beyond the end where the next beat comes first: it holds the level from before that beat on.
    assert found.times[3] + 1400 < 5500
    found = found_in(outside(times, seconds=4.7))
    assert found.reasons.tolist() == [Reason.CUT_BY_BEGINNING, 0, 0, 0, Reason.CUT_BY_END]


def test_a_gap_cuts_windows_and_makes_no_interval(plain):
    cut = round((TIMES[10] + 300) * 5)
    blocks = (Block(0, cut, 0.0), Block(cut, len(plain), cut / 5 + 7000.0))
    found = find_beats(_Gapped(plain, blocks)).channels[0]
    late = np.arange(len(TIMES)) > 10
    assert np.abs(found.times - np.where(late, TIMES + 7000, TIMES)).max() < 0.5
    assert np.flatnonzero(found.reasons).tolist() == [10]
    assert found.reasons[10] == Reason.GAP
    assert not found.irregular.any()


def test_premature_beats_are_left_out_and_irregular_ones_marked():
    times = np.delete(TIMES, 20)  # one is missing
    heights = np.ones(len(times) + 1)
    premature = times[8] + 0.45 * 1100
    times = np.insert(times, 9, premature)
    heights[9] = 0.6
    early = times[15] - 0.36 * 1100  # early, but farther than 60 %
    times[15] = early
    found = found_in(outside(times, height=heights))
    assert len(found.times) == len(times)
    assert np.flatnonzero(found.reasons).tolist() == [9]
    assert found.reasons[9] == Reason.TOO_CLOSE
    assert set(np.flatnonzero(found.irregular)) == {15, 16, int(np.searchsorted(times, TIMES[21]))}


def test_the_period_may_change_with_a_drug():
    times = np.concatenate([np.arange(500, 30_000, 1500.0), np.arange(30_500, 58_000, 600.0)])
    found = found_in(outside(times, seconds=60.0))
    assert np.abs(found.times - times).max() < 0.5
    assert np.all(found.reasons == 0)
    # One period for all would take every second one of the fast beats away.
    few = scipy.signal.find_peaks(outside(times, seconds=60.0), height=0.5, distance=0.6 * 1500 * 5)[0]
    assert len(few) < 0.8 * len(times)


def test_a_pulse_takes_the_beats_around_it_in_every_channel(plain):
    pulse = TIMES[12] + 300
    v = plain.copy()
    v[round(pulse * 5) : round(pulse * 5) + 200] += 40 * np.exp(-np.arange(200) / 50)
    events = [Event(pulse, "electroporation", channels=("b",))]
    found = find_beats(Recording.from_samples(np.stack([v, v]), RATE, channels=["a", "b"], events=events)).channels[0]
    near = np.abs(found.times - pulse) < 350
    assert np.all(found.reasons[near] == Reason.PULSE)
    assert np.all(found.reasons[~near] == 0)
    assert (~near).sum() == len(TIMES) - 1


# Electroporated channels


def porated(values, *pulses: float) -> ChannelBeats:
    events = [Event(time, "electroporation", channels=("in",)) for time in pulses]
    recording = Recording.from_samples(values[None], RATE, channels=["in"], kinds=["intracellular"], events=events)
    return find_beats(recording).channels[0]


def test_upstrokes_of_action_potentials_are_found_with_their_amplitude():
    found = porated(inside(TIMES, 4.0))
    assert np.all(found.reasons == 0)
    assert np.abs(found.times - TIMES).max() < 0.5
    assert np.allclose(found.amplitude, 4.0, rtol=0.05)


def test_every_sampling_rate_gives_the_same_upstrokes():
    found = [
        found_in(inside(TIMES, 4.0, rate, noise=NOISE * np.sqrt(rate / 5000)), rate, kinds=["intracellular"])
        for rate in (1000.0, 5000.0, 20_000.0)
    ]
    for of in found:
        assert np.all(of.reasons == 0)
        assert np.abs(of.times - found[0].times).max() <= 1.0


def test_amplitude_is_lost_as_the_pores_reseal():
    amplitudes = 5 * np.exp(-np.maximum(TIMES - 5000, 0) / 8000)
    found = porated(inside(TIMES, amplitudes, noise=0.005), 4900.0)
    early = found.times < 4900
    assert np.all(np.isin(found.reasons[early], [Reason.BEFORE_PULSE, Reason.PULSE]))
    assert Reason.BEFORE_PULSE in found.reasons
    lost = found.reasons == Reason.AMPLITUDE_LOST
    assert lost.any()
    assert found.times[lost].min() == pytest.approx(5000 + 8000 * np.log(10), abs=2500)
    assert np.all(lost[np.argmax(lost) :] | (found.reasons[np.argmax(lost) :] == Reason.CUT_BY_END))
    kept = found.reasons == 0
    assert kept.sum() > 10
    assert np.all(found.amplitude[kept] >= 0.5)


def test_a_second_pulse_brings_the_channel_back():
    since = np.where(TIMES > 25_000, TIMES - 25_000, TIMES)
    amplitudes = 5 * np.exp(-since / 5000)
    found = porated(inside(TIMES, amplitudes, noise=0.005), 0.0, 25_000.0)
    again = (found.times > 26_000) & (found.times < 34_000)
    assert np.all(found.reasons[again] == 0)
    assert Reason.AMPLITUDE_LOST in found.reasons[found.times < 25_000]


def test_a_pulse_that_gave_no_access():
    found = porated(inside(TIMES, 0.3, noise=0.003), 3000.0)
    assert found.reason == Reason.NOT_OPENED
    late = (found.times > 3600) & (found.reasons != Reason.CUT_BY_END)
    assert np.all(found.reasons[late] == Reason.NOT_OPENED)


def test_a_single_small_action_potential():
    amplitudes = np.full(len(TIMES), 3.0)
    amplitudes[14] = 0.4
    found = porated(inside(TIMES, amplitudes, noise=0.004))
    assert np.flatnonzero(found.reasons).tolist() == [14]
    assert found.reasons[14] == Reason.LOW_AMPLITUDE


def test_a_channel_from_outside_needs_no_amplitude_in_mv():
    found = found_in(outside(TIMES, height=0.1, noise=0.002))
    assert np.all(found.reasons == 0)


# Arguments, short and empty recordings


def test_no_time_to_see_anything():
    assert found_in(outside([], seconds=0.1)).reason == Reason.NO_BEATS
    assert found_in(outside([], seconds=0.25)).reason == Reason.NO_BEATS


def test_progress_is_told(plain):
    done = []
    find_beats(Recording.from_samples(plain[None], RATE), progress=done.append)
    assert done[-1] == 1
    assert done == sorted(done)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"threshold": 0}, "threshold = 0 sigma(N); allowed: above 0"),
        ({"chunk": -1.0}, "chunk = -1.0 ms; allowed: above 0"),
        ({"channels": [1]}, "channels = 1; allowed: 0 to 0"),
    ],
)
def test_refusals(plain, arguments, said):
    with pytest.raises(ValueError, match="allowed") as error:
        find_beats(Recording.from_samples(plain[None, :5000], RATE), **arguments)
    assert said in str(error.value)


def test_too_slow_a_recording_is_refused():
    with pytest.raises(ValueError, match=r"sampling_rate = 500\.0 Hz; allowed: at least 1000"):
        find_beats(Recording.from_samples(np.zeros((1, 5000)), 500.0))


def test_every_reason_is_reached_by_a_case_here():
    """By the names: a reason that no test of this file mentions is one that nothing shows to work."""
    text = Path(__file__).read_text()
    assert [reason.name for reason in Reason if f"Reason.{reason.name}" not in text] == []


def test_the_record_of_all_channels_is_beats(plain):
    assert isinstance(find_beats(Recording.from_samples(plain[None, :30_000], RATE)), Beats)


class _Gapped:
    """A recording with a gap, as readers of files give them."""

    limits: np.ndarray | None = None

    def __init__(self, values: np.ndarray, blocks: tuple[Block, ...]):
        self.values, self.blocks = values[None].astype(np.float32), blocks
        self.sampling_rate, self.channels, self.kinds = RATE, ("1",), ("extracellular",)
        self.events, self.n_samples = (), len(values)

    def read(self, first, last, channels=None):
        return self.values[:, first:last]
