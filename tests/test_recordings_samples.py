"""Samples given as arrays: times in s and potentials in V are asked about; what a cell can do is never refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxcardio as jc

TS = np.arange(0.0, 5000.0, 0.1)
RNG = np.random.default_rng(0)
BEATS = np.where((TS % 1000 > 100) & (TS % 1000 < 400), 30.0, -80.0)
LEGAL = {
    "a quiet cell": -80 + RNG.normal(0, 0.1, TS.size),
    "noise of 20 mV": -80 + RNG.normal(0, 20.0, TS.size),
    "hum of 50 Hz": -80 + 30 * np.sin(2 * np.pi * TS / 20) + RNG.normal(0, 1, TS.size),
    "a drift": -60 + 0.1 * np.cumsum(RNG.normal(0, 0.5, TS.size)),
    "artefacts of the stimulus": BEATS + 800.0 * (TS % 1000 < 0.5),
    "a mouse at 600 a minute": np.where(TS % 100 < 10, 30.0, -70.0),
    "zeros": np.zeros(TS.size),
    "dimensionless": np.clip(np.sin(TS / 10), 0, 1),
    "with gaps": np.where(TS % 700 < 20, np.nan, BEATS),
    "a run that failed": np.where(TS < 3000, BEATS, -np.inf),
    "no numbers": np.full(TS.size, np.nan),
    "an upstroke": -80 + 110 / (1 + np.exp(-(TS - 100))),
    "whole numbers": BEATS.astype(int),
    "half precision": BEATS.astype(np.float16),
    "brain floats": jnp.asarray(BEATS, jnp.bfloat16),
}


@pytest.mark.parametrize("name", LEGAL)
def test_what_a_cell_can_do_is_accepted(name):
    assert np.array_equal(jc.Trace.from_samples(TS, LEGAL[name]).V, LEGAL[name], equal_nan=True)


def test_masked_samples_are_missing():
    masked = np.ma.masked_array(BEATS, TS == 5.0, fill_value=-1e20)
    assert np.flatnonzero(np.isnan(jc.Trace.from_samples(TS, masked).V)).tolist() == [50]


@settings(deadline=None, max_examples=40)
@given(st.floats(250.0, 4000.0), st.floats(0.1, 0.8), st.sampled_from([0.1, 0.5, 1.0, 2.0]), st.floats(0.0, 3.0))
def test_other_units_are_asked_about(cycle, duty, dt, noise):
    ts = np.arange(0.0, 2.5 * cycle, dt)
    V = np.where((ts % cycle) / cycle < duty, 30.0, -80.0) + np.random.default_rng(0).normal(0, noise, ts.size)
    jc.Trace.from_samples(ts, V)
    for times, potentials, asked in (
        (ts / 1e3, V, r"is the time in s\?"),
        (ts * 1e3, V, "is the time in ms or us"),
        (ts, V / 1e3, r"is it in V\?"),
        (ts, V * 1e3, "in another unit"),
        (ts / 1e3, V / 1e3, r"is it in V\?"),
    ):
        with pytest.raises(ValueError, match=asked) as refused:
            jc.Trace.from_samples(times, potentials)
        assert "\n" not in str(refused.value)
