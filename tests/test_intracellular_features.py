"""Features of eAPs and iAPs on traces with known answers, and against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import uniform_filter1d
from scipy.signal import peak_widths

from jaxcardio.intracellular.features import (
    LEVELS,
    action_potential_durations,
    durations_at,
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
