"""Features of eAPs and iAPs on traces with known answers, and against SciPy."""

import csv
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import uniform_filter1d
from scipy.signal import peak_widths

from jaxcardio.intracellular.features import (
    COLUMNS,
    LEVELS,
    VERDICTS,
    FieldVerdict,
    action_potential_durations,
    as_table,
    beat_rate_variability,
    durations_at,
    eap_features,
    early_afterdepolarisations,
    field_potential_duration,
    quiescences,
    rate_corrected,
    repolarisation_heights,
)

RATE = 1000.0


def triangle(rate=RATE, rise=2.0, fall=400.0, length=1600.0, start=200.0):
    """An action potential of straight lines: from 0 to 1 within `rise` ms, back to 0 within `fall` ms."""
    t = np.arange(round(length * rate / 1000)) * 1000.0 / rate
    return np.interp(t, [start, start + rise, start + rise + fall], [0.0, 1.0, 0.0])


def domes(rate=RATE, n=4, seed=0, length=1600.0, noise=0.0, diastole=0.0):
    """Action potentials with a notch, a dome and a sigmoid end, of different durations, between 0 and 1."""
    random = np.random.default_rng(seed)
    t = np.arange(round(length * rate / 1000)) * 1000.0 / rate
    ends = random.uniform(300.0, 900.0, (n, 1))
    widths = random.uniform(15.0, 60.0, (n, 1))
    rise = 1 / (1 + np.exp(-(t - 200.0) / 1.5))
    fall = 1 / (1 + np.exp((t - 200.0 - ends) / widths))
    notch = 1 - 0.15 * (1 - np.exp(-np.maximum(t - 200.0, 0) / 10)) * np.exp(-np.maximum(t - 200.0, 0) / 60)
    slope = diastole * np.where(t > 200.0, (t - 200.0) / length, 1 + (t - 200.0) / length)
    return rise * fall * notch + slope + noise * random.standard_normal((n, t.size))


def by_scipy(trace, rate, levels=LEVELS):
    """Smoothed by ndimage, measured by peak_widths: the published recipe."""
    width = max(1, round(4.0 * rate / 1000))
    smooth = uniform_filter1d(np.asarray(trace, np.float64), width, axis=-1, mode="nearest")
    found = [
        [peak_widths(one, [int(np.argmax(one))], rel_height=x / 100)[0][0] for x in levels]
        for one in smooth.reshape(-1, smooth.shape[-1])
    ]
    return np.asarray(found).reshape(*smooth.shape[:-1], len(levels)) * 1000.0 / rate


# --- durations of action potentials


@pytest.mark.parametrize("rate", [500.0, 1000.0, 5000.0, 10000.0])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_durations_are_those_of_scipy(rate, noise):
    traces = domes(rate, n=6, noise=noise)
    found = action_potential_durations(traces, rate)
    assert found.shape == (6, 10)
    told = slice(0, 10 if noise else 9)  # without noise, 100 % lies on a tail as flat as rounding
    np.testing.assert_allclose(found[:, told], by_scipy(traces, rate)[:, told], atol=1e-6 * 1000 / rate)


def test_float32_agrees_with_scipy_to_a_fraction_of_a_sample():
    traces = domes(5000.0, n=6, noise=0.005).astype(np.float32)
    found = action_potential_durations(jnp.asarray(traces), 5000.0)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found[:, :9], by_scipy(traces, 5000.0)[:, :9], atol=0.2 * 0.5)


def test_durations_of_straight_lines_are_exact():
    # The smoothed top loses a little height; far from it the lines are unchanged, so widths follow by hand.
    trace = triangle(5000.0, rise=40.0, fall=400.0)
    heights = np.array([0.9, 0.5, 0.25, 0.1])
    np.testing.assert_allclose(durations_at(trace, 5000.0, heights), 440.0 * (1 - heights), rtol=1e-9)


def test_durations_do_not_depend_on_amplitude_offset_or_order():
    traces = domes(n=5, noise=0.003)
    plain = action_potential_durations(traces, RATE)
    np.testing.assert_allclose(action_potential_durations(90.0 * traces - 75.0, RATE), plain, rtol=1e-9)
    np.testing.assert_array_equal(action_potential_durations(traces[::-1], RATE), plain[::-1])
    for one, durations in zip(traces, plain, strict=True):
        np.testing.assert_allclose(action_potential_durations(one, RATE), durations, rtol=1e-12)
    blocks = action_potential_durations(traces[:4].reshape(2, 2, -1), RATE)
    np.testing.assert_array_equal(blocks.reshape(4, -1), plain[:4])


def test_durations_do_not_depend_on_the_sampling_rate():
    # Of lines that are straight over many samples, a rate ten times lower gives the same to a part of its sample.
    slow, fast = (action_potential_durations(domes(rate, n=5), rate, (30, 50, 90)) for rate in (1000.0, 10000.0))
    np.testing.assert_allclose(slow, fast, atol=0.7)


def test_what_does_not_repolarise_has_no_late_durations():
    t = np.arange(1600.0)
    stuck = np.interp(t, [200, 204, 1000], [0.0, 1.0, 0.45])  # stays at 55 % of repolarisation
    found = np.asarray(action_potential_durations(stuck, RATE))
    assert np.isfinite(found[:5]).all() and np.isnan(found[5:]).all()
    naive = by_scipy(stuck, RATE)
    assert np.isfinite(naive).all() and naive[4] < 0.6 * found[4]  # its base rises to what the trace ends at


def test_a_flat_end_changes_nothing():
    trace = domes(n=1)[0]
    held = trace.copy()
    held[1350:] = trace[1350]
    np.testing.assert_allclose(
        action_potential_durations(held, RATE, LEVELS[:9]),
        action_potential_durations(trace, RATE, LEVELS[:9]),
        atol=0.05,
    )
    risen = domes(n=1, diastole=0.1)[0]  # diastolic depolarisation, held at its last level
    risen[1300:] = risen[1300]
    np.testing.assert_allclose(action_potential_durations(risen, RATE), by_scipy(risen, RATE), atol=1e-6)
    early = domes(n=1)[0]  # held before it has repolarised: the levels below are not known
    at = int(np.argmax((early < 0.4) & (np.arange(1600) > 300)))
    early[at:] = early[at]
    found = np.asarray(action_potential_durations(early, RATE))
    assert np.isfinite(found[:5]).all() and np.isnan(found[6:]).all()


def test_traces_without_an_answer_are_nan_and_spoil_no_neighbour():
    traces = np.stack(
        [domes(n=1)[0], np.zeros(1600), np.full(1600, np.nan), domes(n=1)[0], np.exp(-np.arange(1600) / 300)]
    )
    traces[3, 700] = np.inf
    found = np.asarray(action_potential_durations(traces, RATE))
    np.testing.assert_array_equal(found[0], action_potential_durations(traces[0], RATE))
    assert np.isnan(found[1:4]).all()
    assert np.isnan(found[4, 0])  # begins at its peak: no upstroke


@pytest.mark.slow
def test_the_gradient_of_a_duration_is_that_of_its_crossing():
    trace = domes(n=1, noise=0.002)[0]
    gradient = jax.grad(lambda x: action_potential_durations(x, RATE, (50.0,))[0])(jnp.asarray(trace))
    assert np.isfinite(gradient).all()
    direction = np.random.default_rng(1).standard_normal(1600)
    h = 1e-7
    up, down = (float(action_potential_durations(trace + s * h * direction, RATE, (50.0,))[0]) for s in (1, -1))
    np.testing.assert_allclose(gradient @ direction, (up - down) / (2 * h), rtol=1e-4)
    nothing = jax.grad(lambda x: jnp.nansum(action_potential_durations(x, RATE)))(jnp.zeros(1600))
    assert np.isfinite(nothing).all()


def test_heights_and_widths_at_them_are_the_durations():
    traces = domes(n=3, noise=0.002)
    heights = repolarisation_heights(traces, RATE, (30, 60, 90))
    np.testing.assert_allclose(
        durations_at(traces, RATE, heights), action_potential_durations(traces, RATE, (30, 60, 90)), rtol=1e-9
    )


def test_widths_above_and_below_the_trace():
    trace = triangle() + 0.1
    found = np.asarray(durations_at(np.stack([trace, trace]), RATE, np.array([1.5, 0.6, 0.05])))
    assert found.shape == (2, 3) and found[0, 0] == 0 and 190 < found[0, 1] < 210 and np.isnan(found[0, 2])
    wider = np.asarray(durations_at(trace + 0.1, RATE, np.array([0.6])))
    assert wider[0] > found[0, 1]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: action_potential_durations(np.zeros(2), RATE), "iap"),
        (lambda: action_potential_durations(np.zeros(100), 0.0), "sampling_rate"),
        (lambda: action_potential_durations(np.zeros(100), RATE, (0, 50)), "levels"),
        (lambda: action_potential_durations(np.zeros(100), RATE, (50, 120)), "levels"),
        (lambda: action_potential_durations("abc", RATE), "iap"),  # pyright: ignore[reportArgumentType]
        (lambda: durations_at(np.zeros((4, 100)), RATE, np.zeros((3, 2))), "values"),
    ],
)
def test_bad_input_of_durations_is_refused_by_name(call, name):
    with pytest.raises(ValueError, match=name) as told:
        call()
    assert "\n" not in str(told.value) and "allowed" in str(told.value)


# --- landmarks and features of extracellular action potentials

WAVE = 700.0


def eap(rate=RATE, height=0.1, at=WAVE, width=50.0, fall=0.0, length=1600.0):
    """A spike of straight lines, a fall by `fall` until 600 ms and back until 1000 ms, and a Gaussian wave."""
    t = np.arange(round(length * rate / 1000)) * 1000.0 / rate
    spike = np.interp(t, [195.0, 200.0, 206.0, 212.0], [0.0, 1.0, -0.6, 0.0])
    decay = np.interp(t, [212.0, 600.0, 1000.0], [0.0, -fall, 0.0])
    return spike + decay + height * np.exp(-0.5 * ((t - at) / width) ** 2)


def pink(random, n, samples=1600):
    """Noise whose power falls as 1/f, of standard deviation 1."""
    f = np.fft.rfftfreq(3 * samples)
    f[0] = f[1]
    noise = np.fft.irfft(np.fft.rfft(random.standard_normal((n, 3 * samples))) / np.sqrt(f))[:, samples : 2 * samples]
    return noise / noise.std()


@pytest.mark.parametrize("rate", [1000.0, 5000.0])
def test_landmarks_of_straight_lines_are_their_corners(rate):
    found = eap_features(eap(rate), rate)
    for name, true in (("bp1", 195.0), ("v_max", 200.0), ("v_min", 206.0), ("bp2", 212.0), ("spike_width", 17.0)):
        np.testing.assert_allclose(getattr(found, name), true, atol=1.1)
    np.testing.assert_allclose(found.dV1, 1.0, atol=0.06)  # the average over 1 ms rounds a corner
    np.testing.assert_allclose(found.dV2, 0.6, atol=0.06)
    assert bool(found.has_wave) and WAVE - 150 < float(found.bp3) < WAVE - 80
    np.testing.assert_allclose(found.delay, found.bp3 - found.bp2)


@pytest.mark.parametrize("rate", [1000.0, 5000.0])
def test_a_fall_that_turns_begins_its_wave_at_the_lowest_point(rate):
    found = eap_features(eap(rate, height=0.0, fall=0.08), rate)
    np.testing.assert_allclose(found.bp3, 600.0, atol=2.0)
    np.testing.assert_allclose(found.dVd, 0.08, rtol=0.05)
    np.testing.assert_allclose(found.increase_rate, 0.08 / 400, rtol=0.02)  # the slope after it, per ms
    np.testing.assert_allclose(found.decay_rate, found.dVd / (found.delay - 20.0))


def test_a_downward_wave_begins_at_its_lowest_sample():
    found = eap_features(eap(height=-0.1), RATE)
    assert bool(found.has_wave) and float(found.bp3) == WAVE
    np.testing.assert_allclose(found.dVd, 0.1, rtol=0.05)


def test_features_do_not_depend_on_amplitude_offset_batch_or_rate():
    random = np.random.default_rng(2)
    traces = np.stack([eap(height=h, at=a) for h, a in ((0.1, 600.0), (-0.1, 800.0), (0.05, 900.0), (0.2, 1100.0))])
    traces = traces + 0.004 * random.standard_normal(traces.shape)
    plain, scaled = eap_features(traces, RATE), eap_features(0.03 * traces + 5.0, RATE)
    for name in ("bp1", "v_max", "v_min", "bp2", "bp3", "delay", "dV1_over_dV2", "dVd_over_dV1", "signal_to_noise"):
        np.testing.assert_allclose(getattr(scaled, name), getattr(plain, name), rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(scaled.dV1, 0.03 * plain.dV1, rtol=1e-6)
    np.testing.assert_allclose(scaled.increase_rate, 0.03 * plain.increase_rate, rtol=1e-6)
    for turned, whole in zip(eap_features(traces[::-1], RATE), plain, strict=True):
        np.testing.assert_array_equal(turned[::-1], whole)
    blocks = eap_features(traces.reshape(2, 2, -1), RATE)
    np.testing.assert_array_equal(blocks.bp3.ravel(), plain.bp3)
    slow, fast = (eap_features(eap(rate), rate) for rate in (1000.0, 5000.0))
    for name in ("bp1", "v_max", "v_min", "bp2", "bp3"):
        np.testing.assert_allclose(getattr(slow, name), getattr(fast, name), atol=4.0 if name == "bp3" else 1.1)


@pytest.mark.slow
def test_float32_finds_the_same_places():
    traces = np.stack([eap(height=h) for h in (0.1, -0.1, 0.03)])
    traces += 0.002 * np.random.default_rng(0).standard_normal(traces.shape)
    one, two = eap_features(jnp.asarray(traces, jnp.float32), RATE), eap_features(traces, RATE)
    assert one.bp3.dtype == jnp.float32
    for name in ("bp1", "v_max", "v_min", "bp2", "bp3"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    np.testing.assert_allclose(one.increase_rate, two.increase_rate, rtol=1e-3)


@pytest.mark.parametrize(("kind", "most"), [("white", 0.0), ("pink", 0.005), ("both", 0.003)])
@pytest.mark.slow
def test_noise_is_no_wave(kind, most):
    random = np.random.default_rng(3)
    white, slow = random.standard_normal((1000, 1600)), pink(random, 1000)
    noise = {"white": white, "pink": slow, "both": 0.7 * white + 0.7 * slow}[kind]
    found = eap_features(eap(height=0.0) + 0.03 * noise, RATE)
    assert float(found.has_wave.mean()) <= most
    absent = ~np.asarray(found.has_wave)
    for name in ("bp3", "delay", "dVd", "dVd_over_dV1", "dVd_over_dV2", "increase_rate", "decay_rate"):
        assert np.isnan(np.asarray(getattr(found, name))[absent]).all()
    assert np.isfinite(found.spike_width).all() and np.isfinite(found.dV1_over_dV2).all()
    # A naive reader takes the lowest point before the highest one: it has an answer every time.


@pytest.mark.slow
def test_waves_that_stand_out_of_the_noise_are_found():
    noise = 0.02 * np.random.default_rng(4).standard_normal((500, 1600))
    for height in (0.06, -0.06):
        found = eap_features(eap(height=height) + noise, RATE)
        assert float(found.has_wave.mean()) > 0.98
        assert np.nanstd(found.bp3) < 25.0


@pytest.mark.parametrize("shape", ["drift", "decay", "step", "nothing", "held"])
@pytest.mark.slow
def test_what_only_falls_rises_or_steps_is_no_wave(shape):
    t = np.arange(1600.0)
    added = {
        "drift": 1e-4 * t,
        "decay": 0.1 * np.exp(-np.maximum(t - 212, 0) / 200) * (t >= 212),
        "step": 0.1 * (t > 900),
        "nothing": 0 * t,
        "held": 0.1 * np.minimum(t, 1000) / 1000,
    }[shape]
    trace = eap(height=0.0) + added
    assert not bool(eap_features(trace, RATE).has_wave)
    noisy = trace + 0.005 * np.random.default_rng(5).standard_normal((200, 1600))
    assert float(eap_features(noisy, RATE).has_wave.mean()) == 0.0


def test_a_held_end_changes_neither_wave_nor_verdict():
    noise = 0.005 * np.random.default_rng(6).standard_normal((50, 1600))
    whole = eap(at=500.0) + noise
    held = whole.copy()
    held[:, 800:] = held[:, 780:800].mean(axis=1, keepdims=True)
    one, two = eap_features(whole, RATE), eap_features(held, RATE)
    assert bool(two.has_wave.all())
    np.testing.assert_allclose(one.bp3, two.bp3, atol=1.0)
    silent = held - eap(at=500.0) + eap(height=0.0)
    silent[:, 800:] = silent[:, 780:800].mean(axis=1, keepdims=True)
    assert not bool(eap_features(silent, RATE).has_wave.any())


def test_signal_to_noise_is_that_of_the_highest_point():
    noise = 0.02 * np.random.default_rng(7).standard_normal((400, 1600))
    found = eap_features(eap() + noise, RATE)
    np.testing.assert_allclose(np.mean(found.signal_to_noise), 50.0, rtol=0.06)
    given = eap_features(eap() + noise, RATE, noise=np.full(400, 0.04))
    np.testing.assert_allclose(np.mean(given.signal_to_noise), 25.0, rtol=0.06)


def test_traces_without_a_spike_have_no_features():
    bad = eap()
    bad[900] = np.nan
    found = eap_features(np.stack([eap(), np.zeros(1600), bad]), RATE)
    assert not np.asarray(found.has_wave)[1:].any()
    for value in found[:-1]:
        assert np.isfinite(value[0]) and np.isnan(value[1:]).all()


def test_the_table_has_the_published_columns():
    table = as_table(eap_features(np.stack([eap(), eap(height=0.0)]), RATE))
    assert table.shape == (2, len(COLUMNS)) == (2, 11)
    np.testing.assert_allclose(table[0, 0], 0.017, atol=1e-9)
    assert 0.3 < float(table[0, 1]) < 0.5 and np.isnan(table[1, 1])


def test_decay_rates_of_the_real_beats_are_per_ms_and_leave_20_ms_out():
    path = Path(__file__).resolve().parents[2] / "shared" / "data" / "eap_iap_beats.csv"
    if not path.is_file():
        pytest.skip("the recorded beats are not here")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    dVd, delay, rate = (np.array([float(row[name]) for row in rows]) for name in ("dVd", "delay_s", "decay_rate"))
    np.testing.assert_allclose(rate, dVd / (1000 * delay - 20.0), rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (dict(sampling_rate=-1.0), "sampling_rate"),
        (dict(before=10.0), "before"),
        (dict(before=1500.0), "eap"),
        (dict(noise=-1.0), "noise"),
        (dict(noise=np.ones(3)), "noise"),
    ],
)
def test_bad_input_of_features_is_refused_by_name(options, name):
    with pytest.raises(ValueError, match=name) as told:
        eap_features(np.stack([eap(), eap()]), **(dict(sampling_rate=RATE) | options))
    assert "\n" not in str(told.value) and "allowed" in str(told.value)


# --- field potential durations

TRUE_ENDS = {"tangent": WAVE + 2 * 50.0, "threshold": WAVE + 50.0 * np.sqrt(2 * np.log(10.0))}
"""Of a Gaussian of standard deviation 50 ms: the tangent through its inflection, and the fall to a tenth."""


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("method", ["tangent", "threshold"])
@pytest.mark.slow
def test_field_potential_durations_of_a_gaussian_wave(method, sign):
    for rate in (1000.0, 5000.0):
        found = field_potential_duration(eap(rate, height=0.1 * sign), rate, method)
        assert int(found.verdict) == FieldVerdict.MEASURED
        np.testing.assert_allclose(found.end, TRUE_ENDS[method], atol=2.5)  # 20 ms of smoothing widen the wave by 1 ms
        np.testing.assert_allclose(found.duration, TRUE_ENDS[method] - 200.0, atol=2.5)
        np.testing.assert_allclose(found.peak, WAVE, atol=1.0)
    noise = 0.02 * np.random.default_rng(8).standard_normal((300, 1600))
    noisy = field_potential_duration(eap(height=0.1 * sign) + noise, RATE, method)
    assert (np.asarray(noisy.verdict) == FieldVerdict.MEASURED).all()
    assert abs(np.mean(noisy.end) - TRUE_ENDS[method]) < 6.0 and np.std(noisy.end) < 18.0
    scaled = field_potential_duration(7.0 * (eap(height=0.1 * sign) + noise) - 3.0, RATE, method)
    np.testing.assert_allclose(scaled.end, noisy.end, rtol=1e-6)


@pytest.mark.slow
def test_no_wave_and_a_cut_wave_are_verdicts():
    noise = 0.004 * np.random.default_rng(9).standard_normal((100, 1600))
    none = field_potential_duration(eap(height=0.0) + noise, RATE)
    assert (np.asarray(none.verdict) == FieldVerdict.NO_WAVE).all() and np.isnan(none.duration).all()
    cut = field_potential_duration(eap(at=1530.0) + noise, RATE)
    assert (np.asarray(cut.verdict) == FieldVerdict.WAVE_CUT).all() and np.isnan(cut.duration).all()
    flat = field_potential_duration(np.zeros((2, 1600)), RATE, "threshold")
    assert (np.asarray(flat.verdict) == FieldVerdict.NO_SPIKE).all() and np.isnan(flat.end).all()
    assert set(VERDICTS) == set(FieldVerdict)
    with pytest.raises(ValueError, match="method"):
        field_potential_duration(eap(), RATE, "guess")  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
def test_a_wave_on_a_shifted_level_ends_at_its_own():
    shifted = eap() + 0.05 * np.clip((np.arange(1600.0) - 212.0) / 200.0, 0.0, 1.0)  # the trace stays 0.05 higher
    shifted = shifted + 0.002 * np.random.default_rng(0).standard_normal((20, 1600))
    found = field_potential_duration(shifted, RATE)
    is_measured = np.asarray(found.verdict) == FieldVerdict.MEASURED
    assert not is_measured.any()  # a third of its height is missing: is it drift, or a wave that goes on?
    less = shifted - 0.035 * np.clip((np.arange(1600.0) - 212.0) / 200.0, 0.0, 1.0)
    np.testing.assert_allclose(field_potential_duration(less, RATE).end, TRUE_ENDS["tangent"], atol=8.0)


# --- rhythm


def test_rate_corrections_by_hand():
    assert float(rate_corrected(400.0, 1000.0)) == 400.0
    np.testing.assert_allclose(rate_corrected(400.0, 512.0), 400.0 / 0.8)
    np.testing.assert_allclose(rate_corrected(400.0, 640.0, "bazett"), 500.0)
    np.testing.assert_allclose(rate_corrected(400.0, 500.0, "framingham"), 477.0)
    np.testing.assert_allclose(rate_corrected(400.0, 500.0, "hodges"), 505.0)
    both = np.asarray(rate_corrected(np.array([400.0, np.nan]), np.array([1000.0, 1000.0])))
    assert both[0] == 400.0 and np.isnan(both[1])
    with pytest.raises(ValueError, match="cycle_length"):
        rate_corrected(400.0, 0.0)
    with pytest.raises(ValueError, match="cycle_length"):
        rate_corrected(np.ones(3), np.ones(2))


def test_variability_by_hand():
    found = beat_rate_variability(np.array([0.0, 1000.0, 2100.0, 3100.0, 4300.0]))
    assert found.beats == 4 and found.mean == 1075.0
    np.testing.assert_allclose(found.sd, np.std([1000, 1100, 1000, 1200], ddof=1))
    np.testing.assert_allclose(found.rmssd, np.sqrt((100**2 + 100**2 + 200**2) / 3))
    np.testing.assert_allclose(found.cv, 100 * found.sd / 1075.0)
    assert beat_rate_variability(1e9 + np.arange(5) * 700.0).sd == 0.0  # float64, whatever the clock
    assert np.isnan(beat_rate_variability(np.array([5.0])).mean) and beat_rate_variability(np.array([])).beats == 0
    with pytest.raises(ValueError, match="times"):
        beat_rate_variability(np.array([0.0, 0.0]))


def test_pauses_are_where_no_beat_is():
    times = np.concatenate([np.arange(1000.0, 10000.0, 1000.0), np.arange(15000.0, 20000.0, 1000.0)])
    np.testing.assert_array_equal(quiescences(times, 0.0, 20500.0), [[9000.0, 15000.0]])
    np.testing.assert_array_equal(
        quiescences(times, -4000.0, 30000.0)[[0, -1]], [[-4000.0, 1000.0], [19000.0, 30000.0]]
    )
    assert quiescences(times, 0.0, 20500.0, factor=7.0).shape == (0, 2)
    np.testing.assert_array_equal(quiescences(np.array([]), 0.0, 60000.0), [[0.0, 60000.0]])
    np.testing.assert_array_equal(quiescences([500.0], 0.0, 60000.0, cycle_length=1000.0), [[500.0, 60000.0]])
    for call, name in (
        (lambda: quiescences(times, 0.0, 10.0), "times"),
        (lambda: quiescences(times, 5.0, 5.0), "end"),
        (lambda: quiescences(times, 0.0, 20500.0, 1.0), "factor"),
    ):
        with pytest.raises(ValueError, match=name):
            call()


# --- early afterdepolarisations


def with_eads(height, n=400, seed=3):
    """Action potentials that turn at 20 to 70 % of their height, rise by `height` and go on from where they were."""
    random = np.random.default_rng(seed)
    made = []
    for trace in domes(n=n, seed=seed):
        level = random.uniform(0.2, 0.7)
        at = int(np.argmax((trace < level) & (np.arange(1600) > 300)))
        bump = height * np.sin(np.linspace(0, np.pi, int(random.uniform(60, 160))))
        made.append(np.concatenate([trace[:at], trace[at] + bump, trace[at:]])[:1600])
    return np.stack(made)


@pytest.mark.slow
def test_no_afterdepolarisation_in_normal_action_potentials():
    for noise in (0.0, 0.01, 0.05):
        assert int(early_afterdepolarisations(domes(n=1000, noise=noise), RATE).sum()) == 0
    fast = domes(5000.0, n=200, noise=0.02).astype(np.float32)
    assert int(early_afterdepolarisations(fast, 5000.0).sum()) == 0


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("height", [0.1, 0.2])
def test_afterdepolarisations_of_a_tenth_of_the_amplitude_are_found(height, noise):
    traces = with_eads(height)
    traces = traces + noise * np.random.default_rng(1).standard_normal(traces.shape)
    found = early_afterdepolarisations(traces, RATE)
    assert float(found.mean()) >= 0.95
    np.testing.assert_array_equal(found, early_afterdepolarisations(90.0 * traces - 70.0, RATE))


@pytest.mark.slow
def test_notches_late_rises_and_next_beats_are_no_afterdepolarisations():
    t = np.arange(1600.0)
    notch = np.interp(t, [200, 203, 225, 290, 500, 700], [0, 1, 0.55, 0.85, 0.7, 0])
    late = np.interp(t, [200, 203, 500, 600, 700, 760], [0, 1, 0.7, 0.02, 0.3, 0])  # delayed, from rest
    following = np.interp(t, [200, 203, 500, 700, 1200, 1203, 1500], [0, 1, 0.7, 0, 0.05, 0.99, 0.7])
    broken = domes(n=1)[0]
    broken[5] = np.nan
    traces = np.stack([notch, late, following, np.zeros(1600), broken])
    assert not np.asarray(early_afterdepolarisations(traces, RATE)).any()
    assert bool(
        early_afterdepolarisations(np.interp(t, [200, 203, 400, 500, 580, 800], [0, 1, 0.8, 0.4, 0.55, 0]), RATE)
    )
    with pytest.raises(ValueError, match="prominence"):
        early_afterdepolarisations(traces, RATE, prominence=1.5)
