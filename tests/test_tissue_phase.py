"""Phase, singularities and tips of spirals whose centre, rotation and period are known."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from tissue_runs import activated, showing

import jaxcardio as jc
from jaxcardio.tissue import Tissue
from jaxcardio.tissue.measure.phase import dominant_frequency, period, phase_map, phase_singularities, tip_paths

CELL = jc.models.TenTusscher2004()
TURN = 120.0
"""Period of the spirals, ms."""
TS = np.arange(0.0, 600.0, 5.0)


def sheet(shape=(50, 60), spacing=(0.5, 0.4), **options):
    return Tissue(CELL, shape, spacing, 0.154, **options)


def spirals(tissue: Tissue, ts: np.ndarray, *centres: Any, pitch: float = 12.0, core: float = 2.0) -> np.ndarray:
    """V of Archimedean spirals of one period: each (x, y, +1 clockwise or -1), mm; x and y may depend on t.

    The complex product of single spirals, each with an amplitude that vanishes at its centre over `core` mm.
    """
    y, x = np.meshgrid(*tissue.centres(), indexing="ij")
    z = np.exp(2j * np.pi * ts / TURN)[:, None, None] * np.ones(tissue.shape)
    for cx, cy, charge in centres:
        at_x, at_y = (np.asarray(c(ts) if callable(c) else c, float) + 0 * ts for c in (cx, cy))
        dx, dy = x - at_x[:, None, None], y - at_y[:, None, None]
        r = np.hypot(dx, dy)
        turned = (dx + 1j * charge * dy) / np.maximum(r, 1e-12)
        z = z * np.tanh(r / core) * turned * np.exp(-2j * np.pi * r / pitch)
    return -30 + 50 * z.real


@pytest.mark.parametrize("charge", [1, -1])
@pytest.mark.parametrize("centre", [(12.07, 13.31), (9.8, 12.0), (6.2, 8.33)])
@pytest.mark.slow
def test_one_spiral_has_one_tip_where_it_turns(centre, charge):
    tissue = sheet()
    run = showing(spirals(tissue, TS, (*centre, charge)), tissue, TS)
    found = phase_singularities(run, delay=TURN / 4)
    np.testing.assert_array_equal(found.ts, TS[TS >= TURN / 4])  # one in each sample
    np.testing.assert_array_equal(found.charge, charge)
    np.testing.assert_allclose(found.x, centre[0], atol=0.04)  # a tenth of a cell
    np.testing.assert_allclose(found.y, centre[1], atol=0.05)
    (path,) = tip_paths(run, delay=TURN / 4)
    assert path.charge == charge
    np.testing.assert_array_equal(path.ts, found.ts)


def test_charge_plus_one_turns_clockwise():
    """The front of excitation passes the points to the right of, below, left of and above the centre in this order."""
    tissue = sheet((41, 41), (0.5, 0.5))
    ts = np.arange(0.0, 300.0, 1.0)
    run = showing(spirals(tissue, ts, (10.25, 10.25, 1)), tissue, ts)
    right, below, left, above = ((20, 30), (10, 20), (20, 10), (30, 20))

    def upstroke(cell):
        V = np.asarray(run.V)[(slice(150, None), *cell)]
        return 150 + np.flatnonzero((V[:-1] < -30) & (V[1:] >= -30))[0]

    start = upstroke(right)
    order = [(upstroke(cell) - start) % TURN for cell in (right, below, left, above)]
    np.testing.assert_allclose(order, [0, TURN / 4, TURN / 2, 3 * TURN / 4], atol=2)
    assert set(phase_singularities(run, delay=TURN / 4).charge) == {1}


def test_two_counter_rotating_spirals():
    tissue = sheet()
    run = showing(spirals(tissue, TS, (7.03, 12.4, 1), (17.1, 12.9, -1), pitch=20.0), tissue, TS)
    paths = tip_paths(run, delay=TURN / 4)
    assert sorted(p.charge for p in paths) == [-1, 1]
    for path in paths:
        x, y = (7.03, 12.4) if path.charge == 1 else (17.1, 12.9)
        np.testing.assert_allclose(path.x, x, atol=0.04)
        np.testing.assert_allclose(path.y, y, atol=0.05)
        assert len(path.ts) == (TS >= TURN / 4).sum()


def test_a_plane_wave_has_no_tip():
    tissue = sheet()
    x = tissue.centres()[1]
    V = -30 + 50 * np.cos(2 * np.pi * (TS[:, None, None] / TURN - x / 12)) * np.ones((50, 1))
    run = showing(V, tissue, TS)
    assert len(phase_singularities(run, delay=TURN / 4).ts) == 0
    assert tip_paths(run, delay=TURN / 4) == []


def test_rest_and_noise_on_it_have_no_tip_once_the_centre_is_said():
    tissue = sheet()
    V = -85 + np.random.default_rng(0).normal(size=(len(TS), *tissue.shape))
    assert len(phase_singularities(showing(V, tissue, TS), delay=20.0, centre=-40.0).ts) == 0


def test_a_drifting_tip_is_followed():
    """A circle of 2 mm radius, once in ten turns, and a second output in place of the delay: no lag."""
    tissue = sheet()

    def x(t):
        return 12 + 2 * np.cos(2 * np.pi * t / (10 * TURN))

    def y(t):
        return 13 + 2 * np.sin(2 * np.pi * t / (10 * TURN))

    V = spirals(tissue, TS, (x, y, 1))
    behind = spirals(tissue, TS - TURN / 4, (lambda t: x(t + TURN / 4), lambda t: y(t + TURN / 4), 1))
    run = showing(V, tissue, TS)
    run = dataclasses.replace(run, ys={**run.ys, "w": jnp.asarray(behind)})
    (path,) = tip_paths(run, second="w")
    np.testing.assert_array_equal(path.ts, TS)
    np.testing.assert_allclose(path.x, x(TS), atol=0.04)
    np.testing.assert_allclose(path.y, y(TS), atol=0.05)


def test_paths_end_and_begin_with_their_tips():
    tissue = sheet()
    V = spirals(tissue, TS, (7.03, 12.4, 1))
    V[40:60] = spirals(tissue, TS, (17.1, 12.9, 1))[40:60]
    V[60:] = -30 + 50 * np.cos(2 * np.pi * TS[60:] / TURN)[:, None, None]
    run = showing(V, tissue, TS)
    delayed = [spirals(tissue, TS - TURN / 4, (x, y, 1)) for x, y in ((7.03, 12.4), (17.1, 12.9))]
    w = np.concatenate([delayed[0][:40], delayed[1][40:60], np.full_like(V[60:], -30.0)])
    w[60:] += 50 * np.sin(2 * np.pi * TS[60:] / TURN)[:, None, None]
    run = dataclasses.replace(run, ys={**run.ys, "w": jnp.asarray(w)})
    paths = tip_paths(run, second="w")
    assert [(p.ts[0], p.ts[-1]) for p in paths] == [(0.0, TS[39]), (TS[40], TS[59])]
    assert len(tip_paths(run, second="w", shortest=150.0)) == 1
    assert len(tip_paths(run, second="w", fastest=10.0)) == 1  # so fast a tip might have been the same one


def test_a_hole_at_the_centre_has_no_tip():
    y, x = np.meshgrid(*sheet().centres(), indexing="ij")
    hole = np.hypot(x - 12, y - 13) > 2
    tissue = sheet(mask=hole)
    run = showing(spirals(tissue, TS, (12.0, 13.0, 1)), tissue, TS)
    assert len(phase_singularities(run, delay=TURN / 4).ts) == 0


def test_phase_grows_evenly_and_is_unknown_before_the_delay():
    """Of a sine the phase is 2 pi t / period, and a delay of a quarter makes a circle; it falls between samples."""
    tissue = Tissue(CELL, (4,), 0.1, 0.154)
    ts = np.arange(0.0, 480.0, 0.8)
    V = -30 + 50 * np.cos(2 * np.pi * ts / TURN)[:, None] * np.ones(4)
    phase = np.asarray(phase_map(showing(V, tissue, ts), delay=TURN / 4))
    assert phase.shape == V.shape
    np.testing.assert_array_equal(np.isnan(phase[:, 0]), ts < TURN / 4)
    known = phase[ts >= TURN / 4, 0]
    turned = np.unwrap(known) - 2 * np.pi * ts[ts >= TURN / 4] / TURN
    np.testing.assert_allclose(turned, turned[0], atol=1e-3)


@pytest.mark.slow
def test_a_real_action_potential_turns_once_a_beat():
    pacing = jc.protocols.PulseTrain(amplitude=-52.0, duration=1.0, period=600.0, start=40.0)
    tissue = Tissue(CELL, (2,), 1.0, 0.154)
    run = jc.tissue.simulate(tissue, [jc.tissue.Stimulus(pacing)], t1=1800.0, dt=0.1, save_every=2.0, beats=3)
    phase = np.unwrap(np.asarray(phase_map(run, delay=20.0))[10:, 1])
    assert phase[-1] - phase[0] == pytest.approx(3 * 2 * np.pi, abs=0.3)
    assert phase[0] == pytest.approx(-0.75 * np.pi, abs=0.2)
    np.testing.assert_allclose(period(run), 600, atol=0.5)


def test_period_is_that_of_the_activations():
    times = 100.0 * np.arange(5)[:, None] + np.arange(6.0)
    times[:, 2] = [3, 50, 150, 250, 350]
    times[2:, 4], times[1:, 5] = np.nan, np.nan
    run = activated(times, (0.1,))
    np.testing.assert_allclose(period(run), [100, 100, 347 / 4, 100, 100, np.nan])
    np.testing.assert_allclose(period(run, since=50.0), [100, 100, 100, 100, np.nan, np.nan])


@pytest.mark.slow
def test_dominant_frequency_is_known_to_a_hundredth_of_a_line():
    tissue = Tissue(CELL, (5,), 0.1, 0.154)
    ts = np.arange(0.0, 2000.0, 4.0)
    periods = np.array([83.0, 120.0, 157.0, 211.0])
    V = np.concatenate([-40 + 40 * np.tanh(4 * np.cos(2 * np.pi * ts[:, None] / periods)), np.full((500, 1), -85)], 1)
    found = dominant_frequency(showing(V, tissue, ts), since=100.0)
    np.testing.assert_allclose(found[:4], 1000 / periods, atol=0.02)  # a line is 0.53 Hz wide
    assert np.isnan(found[4])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "delay = None ms; allowed: either a delay, or `second`"),
        ({"delay": 5.0, "second": "w"}, r"delay = 5\.0 ms; allowed: either"),
        ({"delay": 0.0}, r"delay = 0\.0 ms; allowed: > 0, less than the 9 ms"),
        ({"delay": 9.0}, r"delay = 9\.0 ms; allowed: > 0, less than the 9 ms"),
        ({"second": "w"}, "second = 'w'; allowed: a saved output that is not V; saved: V"),
        ({"second": "V"}, "second = 'V'; allowed: a saved output that is not V"),
        ({"delay": 3.0, "centre": [1.0, 2.0, 3.0]}, "centre = .*allowed: None, one number or two"),
        ({"delay": 3.0, "centre": np.nan}, "centre = nan; allowed: None, one number or two, finite"),
    ],
)
def test_what_makes_no_phase_is_refused(options, message):
    tissue = sheet()
    run = showing(np.zeros((10, *tissue.shape)), tissue)
    for function in (phase_map, phase_singularities, tip_paths):
        with pytest.raises(ValueError, match=message):
            function(run, **options)


def test_singularities_are_of_sheets_and_periods_of_several_beats():
    cable = Tissue(CELL, (9,), 0.1, 0.154)
    run = showing(np.zeros((10, 9)), cable)
    with pytest.raises(ValueError, match=r"run\.tissue\.shape = \(9,\) cells; allowed: a sheet"):
        phase_singularities(run, delay=2.0)
    with pytest.raises(ValueError, match="beats = 1; allowed: >= 2 in simulate"):
        period(run)
    with pytest.raises(ValueError, match="samples = 4; allowed: at least 8, evenly spaced"):
        dominant_frequency(run, since=6.0)
    with pytest.raises(ValueError, match=r"fastest = -1\.0 mm/ms"):
        tip_paths(showing(np.zeros((10, 5, 5)), sheet((5, 5))), delay=2.0, fastest=-1.0)


def test_phase_of_single_precision_around_a_given_centre_is_single():
    tissue = Tissue(jc.astype(CELL, jnp.float32), (50, 60), (0.5, 0.4), 0.154)
    V = jnp.asarray(spirals(tissue, TS, (12.07, 13.31, 1)), jnp.float32)
    run = showing(V, tissue, TS)
    assert phase_map(run, delay=TURN / 4, centre=(-30.0, -30.0)).dtype == jnp.float32
    found = phase_singularities(run, delay=TURN / 4, centre=(-30.0, -30.0))
    assert len(found.x) == (TS >= TURN / 4).sum()
    np.testing.assert_allclose(found.x, 12.07, atol=0.04)
