"""Filters, noise, S/N, normalisation, resampling and windows: known answers, and scipy where it does the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from jaxcardio.intracellular.filtering import bandpass, highpass, lowpass, notch
from jaxcardio.intracellular.noise_level import decibels, noise_level, signal_to_noise
from jaxcardio.intracellular.normalisation import normalise_eap, normalise_iap
from jaxcardio.intracellular.reasons import Reason, explain
from jaxcardio.intracellular.recording import Block, Recording
from jaxcardio.intracellular.resampling import averaged, ratio_of, resample
from jaxcardio.intracellular.windows import BEFORE, WINDOW, cut_windows

RATE = 5000.0


def tone(frequency: float, duration: float = 4.0, rate: float = RATE, phase: float = 0.3) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(round(duration * rate)) / rate + phase)


def middle(values: np.ndarray, share: float = 0.25) -> np.ndarray:
    n = values.shape[-1]
    return values[..., round(share * n) : round((1 - share) * n)]


def gain(found: np.ndarray, of: np.ndarray) -> float:
    """Amplitude that is left of a tone, and a negative or small number where it comes out shifted."""
    return float((middle(found) * middle(of)).sum() / (middle(of) ** 2).sum())


# Filters


@pytest.mark.parametrize("frequency", [2.0, 10.0, 60.0, 450.0, 1200.0])
def test_band_pass_has_the_gain_of_butterworth_squared_and_no_delay(frequency):
    of = tone(frequency)
    sections = scipy.signal.butter(3, (10, 450), "bandpass", fs=RATE, output="sos")
    expected = np.abs(scipy.signal.sosfreqz(sections, np.array([frequency]), fs=RATE)[1]).item() ** 2
    assert gain(bandpass(of, RATE, 10, 450), of) == pytest.approx(expected, abs=2e-3)


def test_filters_agree_with_scipy_away_from_the_ends():
    values = np.random.default_rng(0).normal(size=(3, 20_000))
    for ours, cutoff, kind in (
        (bandpass(values, RATE, 10, 450), (10, 450), "bandpass"),
        (highpass(values, RATE, 100), 100, "highpass"),
        (lowpass(values, RATE, 100), 100, "lowpass"),
    ):
        sections = scipy.signal.butter(3, cutoff, kind, fs=RATE, output="sos")
        assert np.allclose(middle(ours), middle(scipy.signal.sosfiltfilt(sections, values)), atol=1e-9)


def test_a_symmetric_spike_keeps_its_place_and_symmetry():
    t = np.arange(-2000, 2001) / RATE * 1000
    found = bandpass(np.exp(-0.5 * (t / 3) ** 2), RATE, 10, 450)
    assert found.argmax() == 2000
    assert np.allclose(found, found[::-1], atol=1e-6)


def test_an_offset_leaves_no_trace_at_the_ends():
    assert np.abs(bandpass(np.full(5000, 100.0), RATE, 10, 450)).max() < 1e-6
    drift = np.linspace(-50.0, 70.0, 20_000)
    assert np.abs(highpass(drift, RATE, 10)).max() < 1e-3
    assert np.allclose(lowpass(np.full(5000, 3.0), RATE, 100), 3.0)


def test_rows_are_filtered_by_themselves_to_the_last_bit():
    values = np.random.default_rng(1).normal(size=(5, 4000))
    spoilt = values.copy()
    spoilt[1] = np.nan
    spoilt[2] = 1e5
    kept = [0, 3, 4]
    assert np.array_equal(bandpass(values, RATE, 10, 450)[kept], bandpass(spoilt, RATE, 10, 450)[kept])
    assert np.array_equal(bandpass(values[3], RATE, 10, 450), bandpass(values, RATE, 10, 450)[3])


def test_notch_takes_hum_and_harmonics_and_leaves_the_rest():
    for frequency in (50, 100, 150):
        assert abs(gain(notch(tone(frequency), RATE, 50.0), tone(frequency))) < 0.01
    for frequency in (20, 60, 80, 200):
        assert gain(notch(tone(frequency), RATE, 50.0), tone(frequency)) == pytest.approx(1, abs=0.02)
    assert abs(gain(notch(tone(450, rate=1000), 1000, 450.0), tone(450, rate=1000))) < 0.01


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda v: bandpass(v, 5000, 2499, 4000),
            "high = 4000 Hz; allowed: above 0, below half the sampling rate, 2500",
        ),
        (lambda v: bandpass(v, 5000, 300, 200), "low = 300.0 Hz; allowed: below high = 200"),
        (lambda v: highpass(v, 0, 10), "sampling_rate = 0 Hz; allowed: above 0"),
        (lambda v: lowpass(v, 5000, 10, order=0), "order = 0; allowed: a whole number >= 1"),
        (lambda v: notch(v, 5000, 2600), "mains = 2600 Hz"),
        (lambda v: lowpass(v[:1], 5000, 10), "values: 1 samples; allowed: at least 2"),
        (lambda v: noise_level(v, 500), "sampling_rate = 500 Hz; allowed: at least 1000"),
        (lambda v: noise_level(v[:100], 5000), "values = 100 samples; allowed: at least 200 ms"),
        (lambda v: resample(v, 5000, 0), "to_rate = 0 Hz; allowed: above 0"),
        (lambda v: resample(v.astype(int), 5000, 1000), "allowed: floating-point numbers"),
        (lambda v: normalise_eap(v, 0.0), "noise = 0.0 mV; allowed: above 0"),
        (lambda v: explain(99), "reason = 99; allowed: one of 0"),
    ],
)
def test_refusals_name_argument_value_unit_and_range(call, said):
    with pytest.raises(ValueError, match="allowed") as error:
        call(np.ones(4000))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


# Noise, S/N


def test_white_noise_at_5_khz_has_its_own_standard_deviation():
    noise = np.random.default_rng(2).normal(0, 0.013, (4, 300_000))
    assert np.allclose(noise_level(noise, RATE), 0.013, rtol=0.02)


@pytest.mark.parametrize("rate", [1000.0, 2000.0, 7300.0, 10_000.0, 20_000.0, 25_000.0])
def test_noise_of_one_density_is_the_same_number_at_every_sampling_rate(rate):
    noise = np.random.default_rng(3).normal(0, 0.02 * np.sqrt(rate / RATE), round(60 * rate))
    assert noise_level(noise, rate) == pytest.approx(0.02, rel=0.03)


def test_spikes_drift_and_offset_do_not_move_the_noise_where_the_standard_deviation_would():
    t = np.arange(300_000) / RATE
    noise = np.random.default_rng(4).normal(0, 0.02, len(t))
    spikes = 2 * np.exp(-0.5 * (((t % 1.0) - 0.5) / 0.003) ** 2)
    dirty = noise + spikes + 50 + 3 * np.sin(2 * np.pi * 0.1 * t)
    assert noise_level(dirty, RATE) == pytest.approx(noise_level(noise, RATE), rel=0.05)
    assert np.std(dirty) > 50 * 0.02  # the naive measure


def test_signal_to_noise_is_equation_9():
    window = np.zeros(8000)
    window[1000] = 0.8
    assert signal_to_noise(window + 5, 0.02) == pytest.approx(40)


def test_decibels_are_those_of_equations_6_to_8():
    signal, noise = tone(3.0, 8.0), tone(1500.0, 8.0)
    assert decibels(signal + 0.01 * noise + 7, RATE) == pytest.approx(40.0, abs=0.1)


# Normalisation


def test_eap_is_in_units_of_60_sigma_from_0():
    window = np.random.default_rng(5).normal(size=(3, 200)) + 40
    found = normalise_eap(window, np.array([0.01, 0.02, 0.03]))
    assert np.all(found[:, 0] == 0)
    assert np.allclose(found[1], (window[1] - window[1, 0]) / 1.2)
    # Normalised as the text says: by the mean and 60 sigma, then minus its own first sample.
    scaled = (window[2] - window[2].mean()) / (60 * 0.03)
    assert np.allclose(found[2], scaled - scaled[0])
    # As printed, an offset of the electrode would stay.
    assert not np.allclose(found[2], scaled - window[2, 0])
    assert np.allclose(normalise_eap(window + 1000, np.array([0.01, 0.02, 0.03])), found)


def test_iap_goes_from_a_tenth_at_rest_to_one_at_the_peak():
    window = np.full(8000, -3.0)
    window[1000:3000] += np.linspace(4, 0, 2000)
    found = normalise_iap(window)
    assert found[0] == pytest.approx(0.1)
    assert found.max() == pytest.approx(1)
    noisy = window.copy()
    noisy[0] += 1.0  # the first sample alone; as printed it would move everything
    assert np.abs(normalise_iap(noisy)[1:] - found[1:]).max() < 0.01
    printed = 0.1 + 0.9 * (noisy - noisy[0]) / (noisy.max() - noisy[0])
    assert np.abs(printed[1:] - found[1:]).max() > 0.1


def test_a_window_without_action_potential_is_no_number():
    assert np.isnan(normalise_iap(np.zeros((2, 80)))).all()
    assert normalise_iap(np.zeros((2, 80), np.float32)).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.slow
def test_normalisation_is_the_same_in_jax_and_keeps_the_dtype(dtype):
    window = np.random.default_rng(6).normal(size=(2, 160)).astype(dtype)
    noise = np.array([0.1, 0.2])
    for found, expected in (
        (normalise_eap(jnp.asarray(window), noise), normalise_eap(window, noise)),
        (jax.jit(normalise_iap)(jnp.asarray(window)), normalise_iap(window)),
    ):
        assert found.dtype == expected.dtype == dtype
        assert np.allclose(found, expected, atol=1e-5)
    slope = jax.grad(lambda v: normalise_iap(v).sum())(jnp.asarray(window))
    assert np.isfinite(slope).all()


# Resampling


@pytest.mark.parametrize(("start", "end"), [(5000, 1000), (10_000, 1000), (20_000, 5000), (10_000, 5000), (1000, 5000)])
def test_tones_keep_amplitude_and_place(start, end):
    found = resample(tone(37.0, 4.0, start), start, end)
    assert len(found) == 4 * end
    assert np.abs(middle(found - tone(37.0, 4.0, end))).max() < 2e-3


def test_what_the_new_rate_cannot_hold_goes_away_where_taking_every_fifth_sample_aliases():
    of = tone(1060.0)
    assert np.abs(middle(resample(of, RATE, 1000.0))).max() < 2e-3
    assert np.abs(of[::5]).max() > 0.9


def test_constants_and_lines_stay_to_the_ends():
    line = np.linspace(3.0, 103.0, 5000)
    found = resample(np.stack([line, np.full(5000, 7.0)]), RATE, 1000.0)
    assert np.allclose(found[0], line[::5], atol=1e-9)
    assert np.allclose(found[1], 7.0, atol=1e-12)
    assert resample(line.astype(np.float32), RATE, 1000.0).dtype == np.float32


@pytest.mark.parametrize("rate", [12_207.03125, 4882.8125, 31_250.0, 24_414.0625, 1017.25])
def test_odd_rates_are_met(rate):
    assert abs(float(ratio_of(rate, 1000.0)) / (1000 / rate) - 1) < 1e-9
    found = resample(tone(20.0, 3.0, rate), rate, 1000.0)
    expected = tone(20.0, 4.0, 1000.0)[: len(found)]
    assert len(found) in (3000, 3001)
    assert np.abs(middle(found - expected)).max() < 3e-3


def test_averages_keep_the_density_of_white_noise():
    noise = np.random.default_rng(7).normal(size=500_003).astype(np.float32)
    found = averaged(noise, 5)
    assert len(found) == 100_000
    assert np.allclose(found, noise[:500_000].reshape(-1, 5).mean(1), atol=1e-6)
    assert np.std(found) == pytest.approx(1 / np.sqrt(5), rel=0.01)


# Windows


def recorded(rate: float = RATE, seconds: float = 10.0, **about) -> Recording:
    t = np.arange(round(seconds * rate)) / rate
    return Recording.from_samples(np.stack([t * 1000, np.sin(2 * np.pi * 20 * t)]), rate, **about)


@pytest.mark.parametrize(
    ("rate", "target"), [(5000, 5000), (5000, 1000), (10_000, 1000), (20_000, 5000), (12_207.03125, 1000)]
)
def test_the_peak_of_a_window_is_its_sample_at_200_ms(rate, target):
    recording = recorded(rate)
    peaks = np.array([2 * rate, 5 * rate + 3], int)
    found = cut_windows(recording, 0, peaks, sampling_rate=target)
    assert found.values.shape == (2, round(WINDOW * target / 1000))
    assert found.values.dtype == np.float32
    assert found.valid.tolist() == [found.values.shape[1]] * 2
    # The channel holds its own time in ms: so every sample of the window says where it was taken.
    expected = peaks[:, None] * 1000 / rate + np.arange(found.values.shape[1]) * 1000 / target - BEFORE
    assert np.abs(found.values - expected).max() < 0.05


def test_a_window_at_the_recording_s_own_rate_is_the_recording():
    recording = recorded()
    found = cut_windows(recording, 1, [20_000], sampling_rate=RATE)
    assert np.array_equal(found.values[0], recording.read(19_000, 27_000, [1])[0])


def test_from_100_ms_before_the_next_beat_a_window_holds_its_level():
    recording = recorded()
    found = cut_windows(recording, 0, [20_000, 23_000], sampling_rate=1000.0)
    assert found.valid[0] == 200 + 500  # the next beat is 600 ms later
    assert np.all(found.values[0, 700:] == found.values[0, 700])
    assert found.values[0, 700] == pytest.approx(4000 + 490, abs=1)  # mean of the 20 ms before
    assert found.valid[1] == 1600
    same = cut_windows(recording, 0, [20_000], sampling_rate=1000.0, next_samples=[23_000])
    assert np.array_equal(same.values[0], found.values[0])


def test_what_comes_after_the_next_beat_never_shows():
    values = recorded().read(0, 50_000).copy()
    spoilt = values.copy()
    spoilt[:, 22_500:] = 1e4
    spoilt[:, 24_000:24_500] = np.nan
    windows = [
        cut_windows(Recording.from_samples(v, RATE), 1, [20_000], sampling_rate=1000.0, next_samples=[23_000])
        for v in (values, spoilt)
    ]
    assert np.array_equal(windows[0].values, windows[1].values)


def test_windows_do_not_depend_on_what_is_cut_with_them():
    recording = recorded()
    together = cut_windows(recording, 1, [10_000, 20_000, 30_000], next_samples=[16_000, 26_000, 36_000])
    alone = cut_windows(recording, 1, [20_000], next_samples=[26_000])
    assert np.array_equal(together.values[1], alone.values[0])


def test_windows_hold_the_ends_of_the_samples():
    values = np.concatenate([np.full(5000, 1.0), np.full(5000, 9.0)])[None]
    recording = Recording.from_samples(values, RATE)
    found = cut_windows(recording, 0, [200, 9800], sampling_rate=1000.0)
    assert np.allclose(found.values[0, :300], 1.0, atol=1e-6)
    assert found.valid[1] == 200 + 40
    assert np.allclose(found.values[1, 240:], 9.0, atol=1e-6)


def test_mains_are_taken_out_where_asked():
    t = np.arange(50_000) / RATE
    spike = 2 * np.exp(-0.5 * ((t - 4) / 0.004) ** 2)
    recording = Recording.from_samples((spike + 0.3 * np.sin(2 * np.pi * 50 * t))[None], RATE)
    clean = cut_windows(Recording.from_samples(spike[None], RATE), 0, [20_000]).values
    assert np.abs(cut_windows(recording, 0, [20_000]).values - clean).max() > 0.25
    assert np.abs(cut_windows(recording, 0, [20_000], mains=50.0).values - clean).max() < 0.12


def test_windows_refuse_what_is_not_there():
    recording = recorded()
    for call, said in (
        (lambda: cut_windows(recording, 2, [10]), "channel = 2; allowed: 0 to 1"),
        (lambda: cut_windows(recording, 0, [50_000]), "samples = 50000; allowed: 0 to 49999"),
        (lambda: cut_windows(recording, 0, [1, 2], next_samples=[3]), "next_samples: 1 of them for 2 beats"),
        (lambda: cut_windows(recording, 0, [1], sampling_rate=1), "sampling_rate = 1 Hz"),
    ):
        with pytest.raises(ValueError, match="allowed") as error:
            call()
        assert said in str(error.value)


def test_no_beats_are_no_windows():
    found = cut_windows(recorded(), 0, [])
    assert found.values.shape == (0, 1600)


def test_every_reason_is_explained_in_one_sentence():
    texts = [explain(reason) for reason in Reason]
    assert len(set(texts)) == len(Reason)
    assert all(text and not text.endswith(".") and "\n" not in text for text in texts)


def test_blocks_end_windows():
    values = np.concatenate([np.full(10_000, 1.0), np.full(10_000, 9.0)])[None]
    recording = _Gapped(values, [Block(0, 10_000, 0.0), Block(10_000, 20_000, 5000.0)])
    found = cut_windows(recording, 0, [8000, 11_000], sampling_rate=1000.0)
    assert np.allclose(found.values[0], 1.0, atol=1e-5)
    assert found.valid[0] == 200 + 400
    assert np.allclose(found.values[1], 9.0, atol=1e-5)


class _Gapped:
    """A recording with a gap."""

    limits: np.ndarray | None = None

    def __init__(self, values: np.ndarray, blocks: list[Block]):
        self.values, self.blocks = values.astype(np.float32), tuple(blocks)
        self.sampling_rate, self.channels, self.kinds = RATE, ("1",), ("extracellular",)
        self.events, self.n_samples = (), values.shape[1]

    def read(self, first, last, channels=None):
        return self.values[:, first:last]
