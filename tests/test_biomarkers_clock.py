"""Beats an hour, a day, eleven days into a run: the same samples at later times give the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from synthetic import FEET, TS, train

from jaxcardio import biomarkers as bm
from jaxcardio.biomarkers.smoothing import moving_average

HOUR = 3.6e6
LATE = (1e6, 1e8, 1e9)
FALL = 300.0
NAMES = ("apd30", "apd50", "apd90", "rmp", "peak", "dvdt_max", "cycle_length")
FLAGS = ("captured", "valid", "repolarised", "ead", "resolved")


def straight(since, fall=FALL):
    """One beat at `since` ms after its foot: -85 mV, in 1 ms straight up to 30 mV, in `fall` ms straight down."""
    return -85 + 115 * (np.clip(since, 0, 1) - np.clip((since - 1) / fall, 0, 1))


def straight_beats(ts, feet):
    return np.max([straight(ts - foot) for foot in feet], axis=0)


def same(late, early, dtype, dt):
    """Every number and flag of the same beats; dt is the shortest sampling interval, of which slopes are made."""
    single = dtype == np.float32
    # At 1e9 ms the times of the samples are themselves rounded by 6e-8 ms.
    time, slope = (1e-3, 1e-4) if single else (5e-6, 1e-6 + 2.5e-7 / dt)
    for name in NAMES:
        a, b = np.asarray(getattr(late, name)), np.asarray(getattr(early, name))
        assert a.dtype == b.dtype
        rtol, atol = (slope, 0.0) if name == "dvdt_max" else (0.0, time)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=name)
    for name in FLAGS:
        np.testing.assert_array_equal(getattr(late, name), getattr(early, name), err_msg=name)


@settings(deadline=None, max_examples=60)
@example(period=1000.0, start=10.0, dt=0.1, late=1e9, paced=True, dtype=np.float32, x64=False)
@given(
    period=st.floats(400.0, 1200.0),
    start=st.floats(1.0, 50.0),
    dt=st.sampled_from([0.02, 0.05, 0.1, 0.3, 1.0]) | st.floats(0.02, 1.0),
    late=st.sampled_from(LATE) | st.floats(0.0, 1e9),
    paced=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
    x64=st.booleans(),
)
def test_one_cell_later_is_the_same_cell(period, start, dt, late, paced, dtype, x64):
    ts = dt * np.arange(round(3.3 * period / dt))
    onsets = start + period * np.arange(3)
    V = straight_beats(ts, onsets + 2).astype(dtype)

    def beats(shift):
        return bm.action_potentials_from(ts + shift, V, onsets=onsets + shift if paced else None)

    with jax.enable_x64(x64):
        early, after = beats(0.0), beats(late)
        same(after, early, dtype, dt)
        atol = 1e-3 if dtype == np.float32 else 5e-6
        np.testing.assert_allclose(after.t_upstroke, early.t_upstroke + late, atol=atol)
        np.testing.assert_allclose(after.t_peak, early.t_peak + late, atol=1e-6)
        assert after.t_upstroke.dtype == np.float64
        assert np.asarray(after.valid).all()
        np.testing.assert_allclose(after.rmp, -85, atol=1e-4)
        np.testing.assert_allclose(after.cycle_length[1:], period, atol=1.01 * dt)  # equal slopes: known to a sample
        # a peak between two samples is missed by up to their distance
        np.testing.assert_allclose(after.apd90, 0.9 * FALL + 0.5, atol=0.5 + 2 * dt)


@pytest.mark.parametrize("x64", [False, True])
def test_populations_later_are_the_same(x64):
    dt, onsets = 0.5, 10 + 700.0 * np.arange(3)
    ts = dt * np.arange(4000)
    V = np.stack([straight_beats(ts, onsets + 2 + i) for i in range(3)])
    kinds = {
        "population": lambda t, o: bm.action_potentials_from(t, V, onsets=o, keep_samples=True),
        "spontaneous": lambda t, o: bm.action_potentials_from(t, V, max_beats=3),
        "smoothed": lambda t, o: bm.action_potentials_from(t, V, onsets=o, smoothing=2.0),
    }
    if x64:
        kinds = {"population": kinds["population"]}
    with jax.enable_x64(x64):
        kind = np.float64 if x64 else np.float32
        for name, beats in kinds.items():
            early = beats(ts, onsets)
            assert early.valid.all()
            for late in LATE:
                after = beats(ts + late, onsets + late)
                same(after, early, kind, dt)
                np.testing.assert_allclose(after.t_upstroke, early.t_upstroke + late, atol=1e-4)
                if name == "population":
                    np.testing.assert_allclose(after.apd(70.0), early.apd(70.0), atol=1e-3)
                    np.testing.assert_allclose(after.apd(70.0), 0.7 * FALL + 0.5, atol=1.5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_single_precision_agrees_with_double_after_an_hour(dtype):
    onsets = 10 + 1000.0 * np.arange(4)
    ts = 0.1 * np.arange(40_000)
    V = straight_beats(ts, onsets + 2)
    double = bm.action_potentials_from(ts, V, onsets=onsets)
    late = bm.action_potentials_from(ts + HOUR, V.astype(dtype), onsets=onsets + HOUR)
    np.testing.assert_allclose(late.apd90, double.apd90, atol=0.05)
    np.testing.assert_allclose(late.rmp, double.rmp, atol=1e-4)
    np.testing.assert_allclose(late.cycle_length, double.cycle_length, atol=1e-3)


def test_an_onset_that_is_a_sample_time_but_for_rounding_is_that_sample():
    """Onsets and times are sums of decimals, and differ in the last digit."""
    ts = np.arange(40_000) * 0.1
    onsets = np.array([0.1 + 0.2, 333.3 * 3, 1999.9 + 1e-9])
    at = np.array([3, 9999, 19_999])
    V = -85 + 1e-3 * np.arange(ts.size) + 115 * np.isin(np.arange(ts.size) // 20, at // 20 + 1)
    for late in (0.0, *LATE):
        beats = bm.action_potentials_from(ts + late, V, onsets=onsets + late)
        assert beats.positions.rest.tolist() == at.tolist()


def test_an_ead_begins_no_earlier_in_single_precision():
    """The first sample that is late enough after the upstroke is the same one at every time."""
    ts = np.arange(0.0, 1000.0, 0.5)
    # up in one sample, from 100.0 to 100.5; down, and after exactly 50 ms of the upstroke up again by 3 mV
    V = np.interp(ts, [100.0, 100.5, 150.0, 150.5, 151.0, 400.0], [-80.0, 40.0, -20.0, -16.0, -20.0, -80.0])
    for after, is_ead in ((50.0, True), (50.5, False)):
        for late in (0.0, *LATE):
            for dtype in (np.float32, np.float64):
                beats = bm.action_potentials_from(ts + late, V.astype(dtype), ead_after=after)
                assert beats.ead.tolist() == [is_ead], (after, late, dtype)


def test_smoothing_keeps_a_straight_line_late_in_single_precision():
    ts = 1e9 + np.arange(4000) * 0.1
    V = ((ts - ts[0]) / 10 - 80).astype(np.float32)
    for cell in (V[None], jnp.asarray(V)[None]):
        keep = moving_average(ts, np.diff(ts).astype(np.float32), cell, 5.0)[0]
        np.testing.assert_allclose(keep, V, atol=2e-4)


def test_times_that_are_traced_or_on_the_device():
    V = train(TS, FEET, [200.0, 210.0, 190.0])
    plain = bm.action_potentials_from(TS, V)
    device = bm.action_potentials_from(jnp.asarray(TS), jnp.asarray(V))
    late = jax.jit(lambda ts, on: bm.action_potentials_from(ts, V, onsets=on))(TS + 1e6, FEET - 1 + 1e6)
    for name in NAMES[:2] + NAMES[4:]:
        for other in (device, late):
            np.testing.assert_allclose(getattr(other, name), getattr(plain, name), rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(late.t_upstroke, plain.t_upstroke + 1e6, atol=1e-6)


def test_in_single_precision_under_jit_only_absolute_times_are_rounded():
    V = train(TS, FEET, [200.0, 210.0, 190.0]).astype(np.float32)
    known = bm.action_potentials_from(TS + 1e9, V)
    traced = jax.jit(lambda V: bm.action_potentials_from(TS + 1e9, V, max_beats=3))(V)
    same(traced, known, np.float32, 0.02)
    assert traced.t_upstroke.dtype == jnp.float32
    np.testing.assert_allclose(traced.t_upstroke, known.t_upstroke, atol=64)


def test_soft_apd_is_the_same_later():
    ts = np.arange(0.0, 600.0, 0.5)
    V = train(ts, [100.0], [200.0])
    for dtype in (np.float32, np.float64):
        early = bm.soft_apd(ts, V.astype(dtype))
        np.testing.assert_allclose(bm.soft_apd(ts + 1e9, V.astype(dtype)), early, atol=1e-3)


def test_restitution_and_alternans_of_late_beats():
    feet = 50 + 600.0 * np.arange(8)
    ts = np.arange(0.0, 5000.0, 0.5)
    V = train(ts, feet, 200.0 + 15.0 * (-1) ** np.arange(8)).astype(np.float32)
    early, late = (bm.action_potentials_from(ts + at, V) for at in (0.0, 1e9))
    for a, b in zip(bm.restitution(late), bm.restitution(early), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)
    np.testing.assert_allclose(bm.alternans(late).difference, 27, atol=0.2)
    assert bool(bm.alternans(late).alternates)
