"""Biomarkers of beats whose every number is known by construction, ordinary ones and what can be wrong with them."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import EIGHT, FEET, LONG, PEAK, REST, RISE, TS, beat, train

from jaxcardio import biomarkers as bm
from jaxcardio.biomarkers.smoothing import moving_average
from jaxcardio.protocols import PulseTrain

NUMBERS = ("t_upstroke", "t_peak", "rmp", "peak", "apa", "dvdt_max", "cycle_length", "apd30", "apd50", "apd90")
FLAGS = ("captured", "valid", "repolarised", "ead")


def numbers(beats):
    return np.stack([np.asarray(getattr(beats, name)) for name in NUMBERS], axis=-1)


def test_every_number_of_a_known_beat():
    beats = bm.action_potentials_from(TS, train(TS, FEET, [200.0, 210.0, 190.0]))
    assert np.asarray(beats.valid).all()
    assert np.asarray(beats.repolarised).all()
    assert not np.asarray(beats.ead).any()
    np.testing.assert_allclose(beats.t_upstroke, FEET + RISE / 2, atol=1e-3)
    np.testing.assert_allclose(beats.cycle_length, [np.nan, *np.diff(FEET)], atol=1e-3)
    np.testing.assert_allclose(beats.dvdt_max, np.pi / 2 * (PEAK - REST) / RISE, rtol=1e-4)
    np.testing.assert_allclose(beats.peak, PEAK, atol=0.02)
    np.testing.assert_allclose(beats.rmp, REST, atol=1e-9)
    np.testing.assert_allclose(beats.t_peak, FEET + RISE, atol=0.02)
    for level in (30, 50, 90):
        known = RISE / 2 + level / 100 * np.array([200.0, 210.0, 190.0])
        np.testing.assert_allclose(getattr(beats, f"apd{level}"), known, atol=0.02)


def test_any_level_afterwards_equals_asking_for_it_before():
    V = train(TS, FEET, [200.0, 210.0, 190.0])
    trace = SimpleNamespace(ts=TS, V=V)
    before = bm.action_potentials(trace, levels=(20.0, 70.0))
    after = bm.action_potentials(trace)
    np.testing.assert_allclose(after.apd(70.0), before.apd(70.0), rtol=1e-12)
    np.testing.assert_allclose(after.apd(70.0), RISE / 2 + 0.7 * np.array([200.0, 210.0, 190.0]), atol=0.02)
    with pytest.raises(ValueError, match="level = 70"):
        bm.action_potentials_from(TS, V).apd(70.0)


def test_exponential_repolarisation():
    since, tau = TS - FEET[0], 40.0
    up = (1 - np.cos(np.pi * np.clip(since / RISE, 0, 1))) / 2
    V = REST + 100 * np.where(since < RISE, up, np.exp(-np.maximum(since - RISE, 0) / tau))
    beats = bm.action_potentials_from(TS, V)
    for level in (30, 50, 90):
        known = RISE / 2 - tau * np.log(1 - level / 100)
        np.testing.assert_allclose(getattr(beats, f"apd{level}")[0], known, atol=0.03)


@pytest.mark.parametrize("dt", [0.05, 0.1, 0.2])
def test_upstroke_is_not_quantised_to_samples(dt):
    """Whatever the phase of sampling: time of steepest rise to dt^2, its slope to the curvature of dV/dt."""
    ts, phases = dt * np.arange(5000), dt * np.linspace(0, 1, 7)
    beats = bm.action_potentials_from(ts, beat(ts - 20 - phases[:, None]))
    np.testing.assert_allclose(beats.t_upstroke[:, 0], 20 + phases + RISE / 2, atol=0.1 * dt**2)
    np.testing.assert_allclose(beats.dvdt_max[:, 0], np.pi / 2 * (PEAK - REST) / RISE, rtol=0.25 * dt**2)


def test_upstroke_beside_a_stimulus_edge_is_off_by_less_than_half_a_sample():
    """dV/dt 52 for 1 ms, then 20 for 2 ms: the parabola straddles the jump."""
    dt = 0.1
    ts = np.arange(0, 400, dt)
    V = REST + 52 * np.clip(ts - 10, 0, 1) + 20 * np.clip(ts - 11, 0, 2) - 92 * np.clip((ts - 20) / 200, 0, 1)
    beats = bm.action_potentials_from(ts, V, onsets=[10.0])
    assert 10 <= beats.t_upstroke[0] <= 11
    assert 52 <= beats.dvdt_max[0] <= 52 + (52 - 0) / 8
    np.testing.assert_allclose(beats.rmp, REST)


@settings(deadline=None, max_examples=15)
@given(
    shift=st.floats(-1e4, 1e4),
    offset=st.floats(-50, 50),
    scale=st.floats(0.5, 2.0),
)
def test_shift_offset_and_scale(shift, offset, scale):
    """A later clock moves times only, another reference potential moves potentials only, a gain leaves durations."""
    V = train(TS, FEET, [200.0, 210.0, 190.0])
    plain = bm.action_potentials_from(TS, V)
    moved = bm.action_potentials_from(TS + shift, offset + scale * V)
    for name in ("apd30", "apd50", "apd90", "cycle_length"):
        np.testing.assert_allclose(getattr(moved, name), getattr(plain, name), atol=1e-6)
    np.testing.assert_allclose(moved.t_upstroke, plain.t_upstroke + shift, atol=1e-6)
    np.testing.assert_allclose(moved.rmp, offset + scale * plain.rmp, atol=1e-6)
    np.testing.assert_allclose(moved.dvdt_max, scale * plain.dvdt_max, rtol=1e-6)


def test_float32_agrees_even_late_in_a_run():
    V = train(TS, FEET, [200.0, 210.0, 190.0])
    double = bm.action_potentials_from(TS, V)
    single = bm.action_potentials_from(TS + 60_000.0, V.astype(np.float32))
    assert single.apd90.dtype == jnp.float32
    np.testing.assert_allclose(single.apd90, double.apd90, atol=0.01)
    np.testing.assert_allclose(single.t_upstroke, double.t_upstroke + 60_000.0, atol=0.01)
    np.testing.assert_allclose(single.dvdt_max, double.dvdt_max, rtol=1e-3)


def test_batched_vmapped_and_compiled_equal_one_by_one():
    V = np.stack([train(TS, FEET, np.array([200.0, 210.0, 190.0]) - 5 * i) for i in range(4)])
    batch = bm.action_potentials_from(TS, V.reshape(2, 2, -1))
    assert batch.apd90.shape == (2, 2, 3)
    mapped = jax.jit(jax.vmap(lambda V: bm.action_potentials_from(TS, V, max_beats=4)))(V)
    assert np.asarray(mapped.valid).sum(axis=-1).tolist() == [3, 3, 3, 3]
    for i in range(4):
        alone = bm.action_potentials_from(TS, V[i])
        np.testing.assert_allclose(numbers(batch).reshape(4, 3, -1)[i], numbers(alone), rtol=1e-12)
        np.testing.assert_allclose(numbers(mapped)[i, :3], numbers(alone), rtol=1e-9)


def test_more_rows_than_beats_are_nan_and_fewer_are_the_first():
    V = train(TS, FEET, [200.0, 210.0, 190.0])
    full, long = bm.action_potentials_from(TS, V), bm.action_potentials_from(TS, V, max_beats=4)
    assert np.asarray(long.valid).tolist() == [True, True, True, False]
    assert np.isnan(numbers(long)[3:]).all()
    np.testing.assert_allclose(numbers(long)[:3], numbers(full))
    np.testing.assert_allclose(numbers(bm.action_potentials_from(TS, V, max_beats=2)), numbers(full)[:2])


def test_a_failed_cell_has_no_beats_and_harms_no_neighbour():
    good = train(TS, FEET, [200.0, 210.0, 190.0])
    bad = np.where(TS > 700, np.nan, good)
    both = bm.action_potentials_from(TS, np.stack([good, good]), smoothing=0.5)
    beats = bm.action_potentials_from(TS, np.stack([bad, good]), smoothing=0.5)
    assert not np.asarray([getattr(beats, name)[0] for name in FLAGS]).any()
    assert np.isnan(numbers(beats)[0]).all()
    np.testing.assert_allclose(numbers(beats)[1], numbers(both)[1])


def test_noise_and_small_oscillations_are_no_beats():
    noise = np.clip(np.random.default_rng(0).normal(size=LONG.size), -2, 2)
    for amplitude in (0.0, 5.0, 15.0):
        V = -60 + amplitude / 2 * np.sin(LONG / 50) + noise
        assert not np.asarray(bm.action_potentials_from(LONG, V).captured).any()


def test_plateau_noise_starts_no_beat():
    V = train(LONG, EIGHT, [400.0] * 8) + np.random.default_rng(1).normal(size=LONG.size)
    beats = bm.action_potentials_from(LONG, V, smoothing=5.0)
    assert beats.valid.shape == (8,)
    assert np.asarray(beats.valid).all()
    np.testing.assert_allclose(beats.apd90, RISE / 2 + 360, atol=8.0)  # noise of 1 mV on 0.3 mV/ms


# ---- what can be wrong with a beat ----------------------------------------------------------------------------------


def bump(ts, at, height, width=40.0):
    return height * np.exp(-(((ts - at) / width) ** 2))


@pytest.mark.parametrize(("height", "is_ead"), [(0.0, False), (15.0, False), (40.0, True), (60.0, True)])
def test_an_ead_is_a_late_rise_of_2_mv(height, is_ead):
    """On a fall of 0.3 mV/ms a bump of 15 mV only slows repolarisation."""
    V = train(LONG, [100], [400.0]) + bump(LONG, 350, height)
    late = V[(LONG > 250) & (LONG < 500)]
    assert ((late - np.minimum.accumulate(late)).max() >= 2) == is_ead
    beats = bm.action_potentials_from(LONG, V)
    assert np.asarray(beats.ead).tolist() == [is_ead]
    assert np.asarray(beats.valid & beats.repolarised).all()


def test_a_notch_and_dome_is_no_ead():
    """An epicardial notch: 20 mV down and up again before 30 % of repolarisation."""
    V = train(LONG, [100], [400.0]) - bump(LONG, 108, 20.0, width=4.0)
    assert np.ptp(V[(LONG > 109) & (LONG < 120)]) > 10
    beats = bm.action_potentials_from(LONG, V)
    assert np.asarray(beats.ead).tolist() == [False]


def test_a_deep_atrial_notch_is_no_ead_unless_asked_for():
    """A notch far below the APD30 level that is over 50 ms after the upstroke."""
    V = train(LONG, [100], [400.0]) - bump(LONG, 120, 60.0, width=8.0)
    assert not np.asarray(bm.action_potentials_from(LONG, V).ead).any()
    assert np.asarray(bm.action_potentials_from(LONG, V, ead_after=0.0).ead).tolist() == [True]


def test_failure_to_repolarise_is_told_from_a_trace_cut_short():
    def stuck(foot):
        since = LONG - foot
        return np.where(since < RISE, beat(since), -10.0 + 50 * np.exp(-np.maximum(since, 0) / 50))

    for oscillation in (0.0, 12.0):
        V = stuck(500) + np.where(LONG > 900, oscillation * np.sin((LONG - 900) / 60), 0.0)
        beats = bm.action_potentials_from(LONG, V)
        assert np.asarray(beats.valid).tolist() == [True]
        assert np.asarray(beats.repolarised).tolist() == [False]
        assert np.isnan(beats.apd90[0])
        assert np.isfinite(beats.dvdt_max[0])
        assert np.asarray(beats.ead).tolist() == [oscillation > 0]
    cut = bm.action_potentials_from(LONG, stuck(4500))
    assert np.asarray(cut.captured).tolist() == [True]
    assert np.asarray(cut.valid).tolist() == [False]
    assert np.isnan(numbers(cut)).all()


def test_a_beat_begun_before_the_trace_times_the_next_cycle_but_is_not_valid():
    V = train(LONG, EIGHT - 50 - 0.35 * RISE, [200.0] * 8)
    assert REST + 20 < V[0] < PEAK - 60
    beats = bm.action_potentials_from(LONG, V)
    assert np.asarray(beats.captured).all()
    assert np.asarray(beats.valid).tolist() == [False] + [True] * 7
    np.testing.assert_allclose(beats.cycle_length[2:], 600, atol=1e-3)
    assert abs(beats.cycle_length[1] - 600) < 0.5  # of that upstroke only the end was sampled


def test_alternans():
    cases = {"steady": 0.0 * EIGHT, "alternating": 15.0 * (-1) ** np.arange(8), "drifting": 10.0 * np.arange(8)}
    found = {
        name: bm.alternans(bm.action_potentials_from(LONG, train(LONG, EIGHT, 200.0 + change)))
        for name, change in cases.items()
    }
    np.testing.assert_allclose([x.difference for x in found.values()], [0.0, 27.0, 0.0], atol=0.2)
    assert [bool(x.alternates) for x in found.values()] == [False, True, False]


def paced_train(capture):
    """A stimulus lifts V by 15 mV for 1 ms in any case; a captured one is followed by a beat 4 ms later."""
    protocol = PulseTrain(amplitude=-15.0, duration=1.0, period=300.0, start=20.0)
    ts = np.arange(0, 300.0 * len(capture), 0.5)
    onsets = protocol.onsets(0.0, 300.0 * len(capture))
    V = train(ts, onsets[capture] + 4, [320.0] * int(capture.sum()))
    for t in onsets:
        V = V + 15 * (np.clip(ts - t, 0, 1) - np.clip((ts - t - 1) / 20, 0, 1))
    return SimpleNamespace(ts=ts, V=V, protocol=protocol), onsets


def test_two_to_one_capture_by_the_trace_s_own_protocol():
    """The beats outlast the stimulus that fails: it is one row of its own, and neither an EAD nor a new beat."""
    trace, onsets = paced_train(np.arange(8) % 2 == 0)
    beats = bm.action_potentials(trace)
    assert np.asarray(beats.captured).tolist() == [True, False] * 4
    np.testing.assert_allclose(beats.t_upstroke[::2], onsets[::2] + 5, atol=0.01)
    np.testing.assert_allclose(beats.cycle_length[2::2], 600, atol=0.01)
    np.testing.assert_allclose(beats.rmp[::2], REST, atol=0.01)
    assert np.isnan(np.asarray(beats.apd90)[1::2]).all()
    assert not np.asarray(beats.ead).any()
    assert float(bm.capture_ratio(beats)) == pytest.approx(4 / 7)  # the last stimulus was not captured: not counted
    assert not bool(bm.alternans(beats).alternates)


def test_full_capture_and_no_capture():
    trace, _ = paced_train(np.ones(8, bool))
    silent, _ = paced_train(np.zeros(8, bool))
    assert float(bm.capture_ratio(bm.action_potentials(trace, min_dvdt=80.0))) == 1
    assert float(bm.capture_ratio(bm.action_potentials(trace, min_dvdt=200.0))) == 0
    assert float(bm.capture_ratio(bm.action_potentials(silent))) == 0
    ignored = bm.action_potentials(trace, onsets=())
    assert not ignored.paced
    with pytest.raises(ValueError, match="onsets"):
        bm.capture_ratio(ignored)


def test_resting_potential_is_v_at_the_onset_not_the_lowest():
    V = train(LONG, [100.25], [200.0]) - 6 * np.exp(-LONG / 30)  # begins 6 mV below rest
    paced = bm.action_potentials_from(LONG, V, onsets=[100.25])
    np.testing.assert_allclose(paced.rmp, V[200], rtol=1e-12)
    np.testing.assert_allclose(bm.action_potentials_from(LONG, V).rmp, V[0], rtol=1e-12)


def test_restitution_pairs_and_slope():
    """APD90 = 100 + 0.4 DI by construction."""
    feet, falls = [50.0], [(200.0 - RISE / 2) / 0.9]
    for wait in (300.0, 250.0, 200.0, 150.0, 100.0):
        feet.append(feet[-1] + RISE + 0.9 * falls[-1] + wait - RISE / 2)
        falls.append((100 + 0.4 * wait - RISE / 2) / 0.9)
    beats = bm.action_potentials_from(LONG, train(LONG, feet, falls))
    pairs = bm.restitution(beats)
    assert np.isnan(pairs.diastolic_interval[0])
    np.testing.assert_allclose(pairs.diastolic_interval[1:], [300, 250, 200, 150, 100], atol=0.2)
    np.testing.assert_allclose(pairs.apd90[1:], 100 + 0.4 * pairs.diastolic_interval[1:], atol=0.2)
    slope, at = bm.restitution_slope(pairs)
    np.testing.assert_allclose(slope[:4], 0.4, atol=0.01)
    np.testing.assert_allclose(at[:4], [125, 175, 225, 275], atol=0.2)
    assert np.isnan(slope[4:]).all()


def test_dimensionless_models():
    """Aliev-Panfilov's u lies between 0 and 1: the same beats, a hundredth of the size."""
    V = (train(TS, FEET, [200.0] * 3) + 80) / 120
    beats = bm.action_potentials(SimpleNamespace(ts=TS, V=V, potential_unit="1"))
    np.testing.assert_allclose(beats.apd90, 181, atol=0.02)
    assert not np.asarray(bm.action_potentials(SimpleNamespace(ts=TS, V=V)).captured).any()


def test_an_explicit_threshold_finds_beats_below_an_artefact():
    V = train(TS, FEET, [200.0] * 3)
    V[5:8] = 500.0
    assert np.asarray(bm.action_potentials_from(TS, V).captured).sum() == 1
    beats = bm.action_potentials_from(TS, V, threshold=(-60.0, -20.0), max_beats=4)
    np.testing.assert_allclose(beats.t_upstroke[1:], FEET + 1, atol=0.01)


def test_smoothing_keeps_a_straight_line_and_tames_the_slope_of_noise():
    ts = np.sort(np.random.default_rng(3).uniform(0, 400, 4000))
    keep = moving_average(ts, np.diff(ts), (3 * ts - 7)[None], np.asarray(5.0))[0]
    np.testing.assert_allclose(keep, 3 * ts - 7, atol=1e-8)
    ts = np.arange(0, 400, 0.1)
    slow = REST + 100 * (1 / (1 + np.exp(-(ts - 50) / 2)) - 1 / (1 + np.exp(-(ts - 250) / 20)))  # 12.5 V/s
    noisy = slow + np.random.default_rng(2).normal(size=ts.size)
    assert bm.action_potentials_from(ts, noisy).dvdt_max[0] > 30
    smooth = bm.action_potentials_from(ts, noisy, smoothing=5.0)
    assert abs(float(smooth.dvdt_max[0]) - 12.5) < 2.5
    assert abs(float(smooth.t_upstroke[0]) - 50) < 1


def test_three_samples_are_enough_to_say_nothing_wrong():
    beats = bm.action_potentials_from(np.arange(3.0), np.array([-80.0, 20.0, 30.0]))
    assert np.asarray(beats.captured).tolist() == [True]
    assert not np.asarray(beats.valid).any()
