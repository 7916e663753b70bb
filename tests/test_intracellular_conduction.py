"""Conduction over an electrode array: fronts with known speed and direction."""

import numpy as np
import pytest

from jaxcardio.intracellular.conduction import VERDICTS, ConductionVerdict, conduction, matched_beats

GRID = np.stack(np.meshgrid(np.arange(8) * 200.0, np.arange(8) * 200.0), axis=-1).reshape(-1, 2)  # um


def plane(speed=0.2, direction=30.0, start=0.0):
    """Activation times (ms) of a plane front; speed in mm/ms, direction in degrees."""
    along = np.array([np.cos(np.radians(direction)), np.sin(np.radians(direction))])
    return start + GRID @ along / (1000.0 * speed)


def cone(origin, speed=0.2, start=0.0):
    return start + np.hypot(*(GRID - np.asarray(origin)).T) / (1000.0 * speed)


@pytest.mark.parametrize("direction", [-170.0, -90.0, 0.0, 30.0, 135.0])
def test_a_plane_front_has_its_speed_and_direction(direction):
    found = conduction(GRID, plane(0.15, direction, start=1e9), resolution=0.1)
    assert int(found.verdict) == ConductionVerdict.MEASURED and int(found.n_channels) == 64
    np.testing.assert_allclose(found.speed, 0.15, rtol=1e-6)
    np.testing.assert_allclose(found.direction, direction, atol=1e-4)
    assert float(found.residual) < 1e-6 and np.isnan(found.origin).all()


@pytest.mark.parametrize("origin", [(700.0, 500.0), (0.0, 0.0), (-300.0, 900.0)])
def test_a_circular_front_has_its_origin_and_speed(origin):
    found = conduction(GRID, cone(origin, 0.1, start=5e6), resolution=0.1, method="cone")
    assert int(found.verdict) == ConductionVerdict.MEASURED
    np.testing.assert_allclose(found.speed, 0.1, rtol=1e-4)
    np.testing.assert_allclose(found.origin, origin, atol=0.5)
    flat = conduction(GRID, cone(origin, 0.1), resolution=0.1)
    assert float(flat.residual) > 100 * float(found.residual)
    if int(flat.verdict) == ConductionVerdict.MEASURED:
        assert float(flat.speed) > 1.03 * 0.1  # a plane makes it too fast


@pytest.mark.parametrize("method", ["plane", "cone"])
def test_errors_are_as_large_as_stated(method):
    random = np.random.default_rng(0)
    exact = plane(0.2, 30.0) if method == "plane" else cone((300.0, 500.0), 0.2)
    times = exact + 0.5 * random.standard_normal((300 if method == "plane" else 80, 64))
    found = conduction(GRID, times, resolution=0.1, method=method)
    assert (found.verdict == ConductionVerdict.MEASURED).all()
    np.testing.assert_allclose(np.mean(found.speed), 0.2, rtol=0.02)
    np.testing.assert_allclose(np.mean(found.speed_error), np.std(found.speed), rtol=0.25)
    np.testing.assert_allclose(np.mean(found.residual), 0.5, rtol=0.06)
    within = np.mean(np.abs(found.speed - 0.2) < 1.96 * found.speed_error)
    assert 0.88 < within < 1.0
    if method == "plane":
        np.testing.assert_allclose(np.mean(found.direction_error), np.std(found.direction), rtol=0.2)


def test_times_of_whole_samples_give_honest_errors():
    random = np.random.default_rng(1)
    starts = random.uniform(0, 50, (300, 1))
    times = np.round((plane(0.4, 20.0) + starts) / 0.2) * 0.2
    found = conduction(GRID, times, resolution=0.2)
    assert (found.verdict == ConductionVerdict.MEASURED).all()
    assert np.mean(np.abs(found.speed - 0.4) < 2.5 * found.speed_error) > 0.95


def test_speed_and_direction_do_not_depend_on_place_order_units_of_the_beat_or_missing_channels():
    random = np.random.default_rng(2)
    times = plane() + 0.2 * random.standard_normal(64)
    plain = conduction(GRID, times, resolution=0.1)
    order = random.permutation(64)
    for where, t in ((GRID[order], times[order]), (GRID + np.array([5000.0, -300.0]), times + 12345.0)):
        other = conduction(where, t, resolution=0.1)
        np.testing.assert_allclose((other.speed, other.direction), (plain.speed, plain.direction), rtol=1e-9)
    gaps, blind = times.copy(), GRID.copy()
    gaps[[3, 17, 40]] = np.nan
    blind[[3, 17, 40]] = np.nan
    kept = np.delete(np.arange(64), [3, 17, 40])
    less = conduction(GRID[kept], times[kept], resolution=0.1)
    for other in (conduction(GRID, gaps, resolution=0.1), conduction(blind, times, resolution=0.1)):
        assert int(other.n_channels) == 61
        np.testing.assert_allclose((other.speed, other.speed_error), (less.speed, less.speed_error))
    rows = conduction(GRID, np.stack([gaps, times]), resolution=0.1)
    assert rows.speed.shape == (2,) and rows.origin.shape == (2, 2)
    np.testing.assert_allclose(rows.speed, [less.speed, plain.speed])


@pytest.mark.parametrize("method", ["plane", "cone"])
def test_no_propagation_is_a_verdict(method):
    random = np.random.default_rng(3)
    within = random.choice([100.0, 101.0], (20, 64))  # all within one sample of 1 ms
    found = conduction(GRID, within, resolution=1.0, method=method)
    assert (found.verdict == ConductionVerdict.NO_PROPAGATION_RESOLVED).all() and np.isnan(found.speed).all()
    disordered = conduction(
        GRID, 3.0 * random.standard_normal((300 if method == "plane" else 40, 64)), resolution=0.1, method=method
    )
    assert np.mean(disordered.verdict == ConductionVerdict.MEASURED) < 0.1
    same = conduction(GRID, np.full(64, 7.0), resolution=0.1, method=method)
    assert int(same.verdict) == ConductionVerdict.NO_PROPAGATION_RESOLVED
    assert set(VERDICTS) == set(ConductionVerdict)


def test_too_few_channels_and_channels_on_a_line_are_verdicts():
    times = plane()
    two = np.where(np.arange(64) < 2, times, np.nan)
    assert int(conduction(GRID, two, resolution=0.1).verdict) == ConductionVerdict.TOO_FEW_CHANNELS
    assert int(conduction(GRID, np.full(64, np.nan), resolution=0.1).verdict) == ConductionVerdict.TOO_FEW_CHANNELS
    line = np.where(GRID[:, 1] == 0.0, times, np.nan)
    found = conduction(GRID, line, resolution=0.1)
    assert int(found.verdict) == ConductionVerdict.CHANNELS_ON_A_LINE and int(found.n_channels) == 8
    three = np.where(np.isin(np.arange(64), [0, 7, 56]), times, np.nan)
    found = conduction(GRID, three, resolution=0.1)
    assert int(found.verdict) == ConductionVerdict.MEASURED and float(found.speed_error) > 0
    np.testing.assert_allclose(found.speed, 0.2, rtol=1e-9)


def test_a_far_origin_is_no_cone():
    times = plane() + 0.1 * np.random.default_rng(4).standard_normal((20, 64))
    found = conduction(GRID, times, resolution=0.1, method="cone")
    assert np.isin(found.verdict, [ConductionVerdict.ORIGIN_NOT_RESOLVED, ConductionVerdict.MEASURED]).all()
    measured = found.verdict == ConductionVerdict.MEASURED
    np.testing.assert_allclose(found.speed[measured], 0.2, rtol=0.1)
    np.testing.assert_allclose(found.direction[measured], 30.0, atol=5.0)


def test_beats_of_channels_are_put_together():
    reference = np.array([0.0, 1000.0, 2000.0, 3000.0])
    other = np.array([5.0, 990.0, 1015.0, 2500.0, 3099.0])
    found = matched_beats([np.array([2.0]), reference, other[:3], np.array([])], window=100.0)
    np.testing.assert_array_equal(found[:, 1], reference)
    np.testing.assert_array_equal(found[:, 0], [2.0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(found[:, 2], [5.0, 990.0, np.nan, np.nan])
    assert np.isnan(found[:, 3]).all()
    most = matched_beats([reference, other], window=100.0)
    np.testing.assert_array_equal(most[:, 0], [0.0, 1000.0, np.nan, np.nan, 3000.0])
    assert matched_beats([np.array([]), np.array([])]).shape == (0, 2)
    assert matched_beats([np.array([3.0])]).tolist() == [[3.0]]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: conduction(GRID, plane()[:5], resolution=0.1), "activations"),
        (lambda: conduction(GRID[:, :1], plane(), resolution=0.1), "positions"),
        (lambda: conduction(GRID, plane(), resolution=0.0), "resolution"),
        (lambda: conduction(GRID, plane(), resolution=0.1, method="ring"), "method"),  # pyright: ignore
        (lambda: matched_beats([]), "times"),
        (lambda: matched_beats([np.array([2.0, 1.0])]), "times"),
        (lambda: matched_beats([np.array([1.0])], window=0.0), "window"),
    ],
)
def test_bad_input_is_refused_by_name(call, name):
    with pytest.raises(ValueError, match=name) as told:
        call()
    assert "\n" not in str(told.value) and "allowed" in str(told.value)
