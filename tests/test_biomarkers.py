"""Biomarkers: against beats whose every number is known by construction, an independent tool, and the references."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import efel
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcardio import biomarkers as bm
from jaxcardio.protocols import PulseTrain

REST, PEAK, RISE = -80.0, 40.0, 2.0  # mV, mV, ms
NUMBERS = ("t_upstroke", "t_peak", "rmp", "peak", "apa", "dvdt_max", "cycle_length", "apd30", "apd50", "apd90")
FLAGS = ("captured", "valid", "repolarised", "ead")


def beat(since, fall=200.0, rest=REST, peak=PEAK):
    """One beat at `since` ms after its foot: a raised cosine of RISE ms up, a straight line of `fall` ms down.

    Upstroke (steepest) at RISE / 2, dV/dt pi/2 (peak - rest)/RISE there, APDx = RISE/2 + x/100 fall.
    """
    up = (1 - np.cos(np.pi * np.clip(since / RISE, 0, 1))) / 2
    down = np.clip((since - RISE) / fall, 0, 1)
    return rest + (peak - rest) * (up - down)


def train(ts, feet, falls, **levels):
    """Beats that start at `feet` (ms), summed over the resting potential."""
    rest = levels.get("rest", REST)
    return rest + sum(beat(ts - foot, fall, **levels) - rest for foot, fall in zip(feet, falls, strict=True))


def uneven(end, fine, feet):
    """Times every 1 ms, and every `fine` ms for 5 ms after each foot."""
    dense = [np.arange(foot - 1, foot + 5, fine) for foot in feet]
    return np.unique(np.round(np.concatenate([np.arange(0, end, 1.0), *dense]), 6))


def numbers(beats):
    return np.stack([np.asarray(getattr(beats, name)) for name in NUMBERS], axis=-1)


FEET = np.array([50.3, 550.8, 1050.1])
TS = uneven(1500.0, 0.02, FEET)
EIGHT = 50 + 600.0 * np.arange(8)
LONG = np.arange(0, 5000, 0.5)


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
    np.testing.assert_allclose([x.difference for x in found.values()], [0.0, 27.0, 9.0 / 7], atol=0.2)
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
    keep = bm._moving_average(ts, np.diff(ts), (3 * ts - 7)[None], np.asarray(5.0))[0]
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


# ---- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paced", [False, True])
def test_gradient_of_the_strict_apd_is_that_of_its_formula(paced):
    ts = np.arange(0, 600, 0.5)
    V = train(ts, [100.2], [200.0]) - 0.001 * ts
    options: Any = {"onsets": [99.0]} if paced else {"max_beats": 1}
    apd = jax.jit(lambda V: bm.action_potentials_from(ts, V, **options).apd90[0])
    gradient = jax.grad(apd)(V)
    assert np.isfinite(np.asarray(gradient)).all()
    touched = np.flatnonzero(gradient)
    assert 5 <= touched.size <= 9  # four about the upstroke, the peak, the rest, two about the crossing
    for i in touched:
        step = np.zeros_like(V)
        step[i] = 1e-5
        numeric = (apd(V + step) - apd(V - step)) / 2e-5
        np.testing.assert_allclose(gradient[i], numeric, rtol=1e-4, atol=1e-5)


def test_gradients_are_finite_where_there_is_no_beat():
    ts = np.arange(0, 600, 0.5)
    strict = jax.jit(jax.grad(lambda V: jnp.nansum(bm.action_potentials_from(ts, V, max_beats=1).apd90)))
    soft = jax.jit(jax.grad(lambda V: bm.soft_apd(ts, V)))
    for V in (np.full_like(ts, -80.0), np.where(ts < 100, -80.0, -10.0)):
        assert np.isfinite(np.asarray(strict(V))).all()
        assert np.isfinite(np.asarray(soft(V))).all()
    assert (strict(np.full_like(ts, np.nan)) == 0).all()


def test_soft_apd_tends_to_the_strict_one():
    ts = uneven(600.0, 0.05, [100.0])
    V = np.stack([train(ts, [100.0], [fall]) for fall in (150.0, 200.0, 250.0)])
    strict = np.asarray(bm.action_potentials_from(ts, V).apd90)[:, 0]
    soft = jax.jit(lambda width: bm.soft_apd(ts, V, width=width))
    errors = [np.abs(soft(w) - strict).max() for w in (4.0, 1.0, 0.25, 0.02)]
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[-1] < 0.05  # the sampling interval of the upstroke


def test_soft_apd_is_smooth_and_vanishes_with_the_beat():
    ts = uneven(600.0, 0.05, [100.0])
    V = train(ts, [100.0], [200.0])
    soft = jax.jit(lambda scale: bm.soft_apd(ts, REST + scale * (V - REST), width=2.0))
    for scale in (1.0, 0.5, 0.2, 0.17, 0.01):
        slope = (soft(scale + 1e-5) - soft(scale - 1e-5)) / 2e-5
        np.testing.assert_allclose(jax.grad(soft)(scale), slope, rtol=1e-4, atol=1e-4)
    assert soft(0.01) < 0.1
    assert abs(soft(1.0) - 181) < 5


# ---- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"V": np.zeros(4)}, r"expected shapes \(T,\) and \(\.\.\., T\)"),
        ({"ts": np.zeros((2, 5))}, "expected shapes"),
        ({"ts": np.arange(2.0), "V": np.zeros(2)}, "ts = 2 samples; allowed: >= 3"),
        ({"ts": np.array([0.0, 1.0, np.nan, 3.0, 4.0])}, "ts = .* ms; allowed: finite"),
        ({"ts": np.array([0.0, 1.0, 1.0, 3.0, 4.0])}, "ts = .* ms; allowed: strictly ascending"),
        ({"levels": (0.0,)}, "level = 0.0 %; allowed: 0 < level < 100"),
        ({"levels": (100.0,)}, "level = 100.0 %"),
        ({"max_beats": 0}, "max_beats = 0 beats; allowed: >= 1"),
        ({"window": 2}, "window = 2 samples"),
        ({"smoothing": -1.0}, "smoothing = -1.0 ms; allowed: > 0"),
        ({"min_amplitude": 0.0}, "min_amplitude = 0.0 mV"),
        ({"ead_rise": -2.0}, "ead_rise = -2.0 mV"),
        ({"threshold": (-20.0, -60.0)}, "threshold = .* mV; allowed: .*low < high"),
        ({"threshold": -20.0}, "threshold = -20.0 mV; allowed"),
        ({"onsets": [2.0, 1.0]}, "onsets = .* ms; allowed: finite, ascending"),
        ({"onsets": [7.0]}, "onsets = .* ms; allowed: within ts"),
        ({"onsets": 1.0}, "onsets .ms.: expected shape"),
    ],
)
def test_bad_arguments_are_named(change: Any, message):
    arguments: Any = {"ts": np.arange(5.0), "V": np.zeros(5), **change}
    with pytest.raises(ValueError, match=message):
        bm.action_potentials_from(**arguments)


def test_max_beats_must_be_known_when_compiling():
    with pytest.raises(ValueError, match="max_beats"):
        jax.jit(lambda V: bm.action_potentials_from(TS, V).apd90)(train(TS, FEET, [200.0] * 3))


# ---- an independent tool --------------------------------------------------------------------------------------------


def test_agrees_with_efel():
    """eFEL (Blue Brain) knows no APDx, but the width above a fixed potential: set there, it measures the same fall.

    It resamples every 0.1 ms, hence the tolerances.
    """
    efel.reset()
    features: Any = efel.get_feature_values
    ts, feet = np.arange(0, 4000, 0.1), [100.0, 1100.0, 2100.0, 3100.0]
    V = train(ts, feet, [300.0, 280.0, 320.0, 300.0])
    beats = bm.action_potentials_from(ts, V)
    trace = {"T": ts, "V": V, "stim_start": [0.0], "stim_end": [4000.0]}
    (found,) = features([trace], ["peak_voltage", "peak_time", "min_between_peaks_values", "AP_peak_upstroke"])
    np.testing.assert_allclose(beats.peak, found["peak_voltage"], atol=0.01)
    np.testing.assert_allclose(beats.t_peak, found["peak_time"], atol=0.11)
    np.testing.assert_allclose(beats.rmp[1:], found["min_between_peaks_values"][:3], atol=0.01)
    np.testing.assert_allclose(beats.dvdt_max, found["AP_peak_upstroke"], rtol=0.01)
    for level, apd in ((50.0, beats.apd50), (90.0, beats.apd90)):
        potential = float(PEAK - level / 100 * (PEAK - REST))
        efel.set_setting("Threshold", potential)
        (width,) = features([trace], ["AP_width"])
        before_steepest = RISE / 2 - RISE / np.pi * np.arccos(1 - 2 * (potential - REST) / (PEAK - REST))
        np.testing.assert_allclose(width["AP_width"], apd + before_steepest, atol=0.15)
    efel.reset()


# ---- the reference traces -------------------------------------------------------------------------------------------


def read(file: h5py.File, path: str) -> np.ndarray:
    dataset = file[path]
    assert isinstance(dataset, h5py.Dataset)
    return dataset[:]


def columns(file: h5py.File, trace: str) -> dict[str, np.ndarray]:
    """The published biomarkers of a trace by name, one entry a beat."""
    table = read(file, f"{trace}/biomarkers")
    names = np.asarray(file[f"{trace}/biomarkers"].attrs["columns"]).astype(str)
    return dict(zip(names, table.T, strict=True))


def with_fine_upstroke(file: h5py.File, coarse: str, fine: str):
    """Times and V of a trace, with the samples of its fine upstroke (0.1 ms) in place of the coarse ones (1 ms)."""
    t, V = read(file, f"{coarse}t"), read(file, f"{coarse}states")[:, 0]
    fine_t, fine_V = read(file, f"{fine}t"), read(file, f"{fine}states")[:, 0]
    outside = (t < fine_t[0] - 1e-6) | (t > fine_t[-1] + 1e-6)
    t = np.concatenate([t[outside], fine_t])
    order = np.argsort(t)
    return t[order], np.concatenate([V[outside], fine_V])[order]


def errors(beats, known, row, known_row, names):
    return {name: float(abs(getattr(beats, name)[row] - known[name][known_row])) for name in names}


def test_reference_kernik_spontaneous(references: Path):
    """0.1 ms about the upstroke: all to 0.01. 1 ms elsewhere: an upstroke of 3 ms is known to half a sample only."""
    with h5py.File(references / "kernik_clancy_2019.h5") as file:
        known = columns(file, "trace_spontaneous")
        beats = bm.action_potentials_from(
            *with_fine_upstroke(file, "trace_spontaneous/", "trace_spontaneous/upstroke_")
        )
    worst = errors(beats, known, 0, 0, ["t_upstroke", "rmp", "peak", "apa", "apd30", "apd50", "apd90"])
    assert max(worst.values()) < 0.01, worst
    assert abs(beats.dvdt_max[0] - known["dvdt_max"][0]) < 0.2
    assert beats.valid.shape == (12,)
    assert not np.asarray(beats.ead).any()
    for name in ("rmp", "peak", "apa"):
        np.testing.assert_allclose(getattr(beats, name), known[name], atol=0.002)
    for name in ("t_upstroke", "cycle_length", "apd30", "apd50", "apd90"):
        np.testing.assert_allclose(getattr(beats, name), known[name], atol=0.5)
    # what the upstroke adds or takes away, the difference of two durations does not have
    np.testing.assert_allclose(beats.apd90 - beats.apd30, known["apd90"] - known["apd30"], atol=0.02)


def test_reference_skibsbye_last_beat(references: Path):
    """0.1 ms about the upstroke. The peak, between samples, is 0.04 mV low; APD50, on a plateau of 0.3 mV/ms, then
    0.1 ms late."""
    with h5py.File(references / "skibsbye_2016.h5") as file:
        known = columns(file, "trace_CL1000")
        samples = with_fine_upstroke(file, "trace_CL1000/last_", "trace_CL1000/last_upstroke_")
    beats = bm.action_potentials_from(*samples, onsets=[0.0])
    worst = errors(beats, known, 0, -1, ["t_upstroke", "rmp", "peak", "apa", "apd30", "apd90"])
    assert max(worst.values()) < 0.05, worst
    assert abs(beats.apd50[0] - known["apd50"][-1]) < 0.15


def test_reference_ten_tusscher_last_beat(references: Path):
    """0.1 ms about the upstroke: to 0.05; APD30, on the plateau, to 0.1."""
    with h5py.File(references / "ten_tusscher_2004.h5") as file:
        known = columns(file, "trace_CL1000")
        samples = with_fine_upstroke(file, "trace_CL1000/last_", "trace_CL1000/upstroke_")
    beats = bm.action_potentials_from(*samples, onsets=[18010.0, 19010.0])
    worst = errors(beats, known, 0, -1, ["t_upstroke", "rmp", "peak", "apa", "apd50", "apd90"])
    assert max(worst.values()) < 0.05, worst
    assert abs(beats.apd30[0] - known["apd30"][-1]) < 0.1


@pytest.mark.parametrize(
    "names", [["trace_CL300"], ["trace_CL800", "trace_ito3_CL800", "trace_short_qt_CL800"]], ids=["2:1", "1:1"]
)
def test_reference_ten_tusscher_capture(references: Path, names):
    """Sampled every 1 ms: which stimuli were captured, exactly; APD90, across failed stimuli, to 1.5 ms."""
    with h5py.File(references / "ten_tusscher_2004.h5") as file:
        known = [columns(file, name) for name in names]
        t = read(file, f"{names[0]}/V_Cai_t")
        V = np.stack([read(file, f"{name}/V_Cai")[:, 0] for name in names])
    late = known[0]["t_stim"] >= t[0]
    beats = bm.action_potentials_from(t, V, onsets=known[0]["t_stim"][late])
    for i, table in enumerate(known):
        np.testing.assert_array_equal(beats.captured[i], table["captured"][late] > 0)
        np.testing.assert_allclose(beats.apd90[i], table["apd90"][late], atol=1.5)
    assert not np.asarray(beats.ead).any()


def test_reference_aliev_panfilov(references: Path):
    """Sampled every 0.05 time units: to half of that."""
    with h5py.File(references / "aliev_panfilov.h5") as file:
        known = columns(file, "trace_1996_CL30")
        trace = SimpleNamespace(
            ts=read(file, "trace_1996_CL30/t"), V=read(file, "trace_1996_CL30/states")[:, 0], potential_unit="1"
        )
    beats = bm.action_potentials(trace, onsets=known["t_stim"])
    assert np.asarray(beats.captured).all()
    for ours, theirs in (("rmp", "rest"), ("peak", "peak")):
        np.testing.assert_allclose(getattr(beats, ours), known[theirs], atol=1e-3)
    for x in ("t_upstroke", "apd30", "apd50", "apd90"):
        np.testing.assert_allclose(getattr(beats, x), known[x], atol=0.025)
