"""Whether samples resolve an upstroke: where `resolved` says so, dV/dt max is right to about 1 %."""

from math import erf

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcardio import biomarkers as bm

REST, PEAK = -85.0, 35.0


def logistic(x):
    return 0.5 * (1 + np.tanh(x / 2)), 0.25


def gaussian(x):
    return 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2))), 1 / np.sqrt(2 * np.pi)


def skewed(x):
    """Gompertz: a slow foot and a fast end."""
    return 1 - np.exp(-np.exp(np.clip(x, -50, 6))), np.exp(-1)


UPSTROKES = {"logistic": logistic, "gaussian": gaussian, "skewed": skewed}


def sampled(shape, width, dt, phase):
    """Times and V of one upstroke of the given width, ms, and its steepest slope, mV/ms."""
    ts = dt * np.arange(-60, 200)
    up, steepest = UPSTROKES[shape]((ts - phase * dt) / width)
    return ts, REST + (PEAK - REST) * up, (PEAK - REST) * steepest / width


@settings(deadline=None, max_examples=200)
@given(
    shape=st.sampled_from(sorted(UPSTROKES)),
    width=st.floats(0.05, 2.0),
    ratio=st.floats(0.05, 3.0),
    phase=st.floats(0.0, 1.0),
)
def test_resolved_means_right_to_one_per_cent(shape, width, ratio, phase):
    ts, V, true = sampled(shape, width, ratio * width, phase)
    beats = bm.action_potentials_from(ts, V, patience=0.0)
    assert beats.captured.tolist() == [True]
    error = abs(beats.dvdt_max[0] / true - 1)
    if beats.resolved[0]:
        assert error < 0.01
    if ratio < 0.2:
        assert beats.resolved[0]


@pytest.mark.parametrize("shape", sorted(UPSTROKES))
def test_what_is_wrong_by_five_per_cent_is_not_resolved(shape):
    for ratio in (2.0, 3.0, 5.0):
        for phase in np.linspace(0, 1, 11):
            ts, V, true = sampled(shape, 0.3, 0.3 * ratio, phase)
            beats = bm.action_potentials_from(ts, V, patience=0.0)
            assert not beats.resolved.any(), (ratio, phase, beats.dvdt_max / true)


def test_where_the_slope_jumps_it_is_not_resolved():
    """dV/dt 52 for 1 ms, then 20 for 2 ms, whatever the sampling: the samples cannot tell where it jumps."""
    for dt in (0.02, 0.1, 0.25):
        ts = np.arange(0, 400, dt)
        V = -80 + 52 * np.clip(ts - 10, 0, 1) + 20 * np.clip(ts - 11, 0, 2) - 92 * np.clip((ts - 20) / 200, 0, 1)
        assert bm.action_potentials_from(ts, V, onsets=[10.0]).resolved.tolist() == [False]


def test_noise_is_not_resolved():
    ts = np.arange(0.0, 400.0, 0.1)
    V = REST + 100 / (1 + np.exp(-(ts - 50) / 2)) - 100 / (1 + np.exp(-(ts - 250) / 20))
    noisy = V + np.random.default_rng(0).normal(size=ts.size)
    assert bm.action_potentials_from(ts, V).resolved.all()
    assert not bm.action_potentials_from(ts, noisy).resolved.any()


def test_batched_and_missing_beats():
    ts, V, _ = sampled("logistic", 0.5, 0.05, 0.3)
    cells = np.stack([V, np.full_like(V, REST), V])
    beats = bm.action_potentials_from(ts, cells, patience=0.0)
    assert beats.resolved.tolist() == [[True], [False], [True]]
    assert jax.jit(lambda V: bm.action_potentials_from(ts, V, max_beats=1, patience=0.0).resolved)(V).tolist() == [True]
