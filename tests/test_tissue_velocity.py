"""Velocity of waves: known fields of activation times, and waves that really run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tissue_runs import activated, plane_wave

import jaxcardio as jc
from jaxcardio.tissue.measure.velocity import apd_map, conduction_velocity, velocity_map


def slanted(shape, spacing, speed, angle):
    """Activation times of a plane wave that runs at this angle from the x axis towards y."""
    y, x = ((np.arange(n) + 0.5) * dx for n, dx in zip(shape, spacing, strict=True))
    return (x[None, :] * np.cos(angle) + y[:, None] * np.sin(angle)) / speed


@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 4, 2.5, -1.0])
def test_a_plane_wave_has_one_velocity_everywhere(angle):
    run = activated(slanted((30, 40), (0.1, 0.25), 0.6, angle), spacing=(0.1, 0.25))
    vectors = velocity_map(run)
    assert vectors.shape == (2, 30, 40)
    np.testing.assert_allclose(vectors[0], 0.6 * np.sin(angle), atol=1e-12)
    np.testing.assert_allclose(vectors[1], 0.6 * np.cos(angle), atol=1e-12)


def test_velocity_of_a_round_wave_points_outwards_with_error_of_second_order():
    errors = []
    for n in (41, 81):
        dx = 8.0 / n
        c = (np.arange(n) + 0.5) * dx - 4
        y, x = np.meshgrid(c, c, indexing="ij")
        r = np.hypot(x, y)
        vectors = velocity_map(activated(r / 0.5, spacing=(dx, dx)))
        ring = (r > 1.5) & (r < 3.5)
        errors.append(np.abs(vectors - 0.5 * np.stack([y, x]) / np.maximum(r, dx))[:, ring].max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2 * np.log2(81 / 41), abs=0.1)


def test_three_axes_are_in_array_order():
    z, y, x = np.meshgrid(*(np.arange(n) * 0.2 for n in (5, 6, 7)), indexing="ij")
    slope = np.array([1.0, -2.0, 0.5])
    vectors = velocity_map(activated(slope[0] * z + slope[1] * y + slope[2] * x, spacing=(0.2,) * 3))
    np.testing.assert_allclose(
        vectors, np.broadcast_to((slope / (slope**2).sum())[:, None, None, None], (3, 5, 6, 7)), atol=1e-12
    )


def test_beside_a_hole_the_map_is_one_sided_and_in_it_unknown():
    times = slanted((20, 20), (0.1, 0.1), 0.5, 0.3)
    mask = np.ones((20, 20), bool)
    mask[8:12, 8:12] = False
    for run in (
        activated(np.where(mask, times, np.nan), spacing=(0.1, 0.1)),
        activated(times, spacing=(0.1, 0.1), mask=mask),
    ):
        speed = np.linalg.norm(velocity_map(run), axis=0)
        np.testing.assert_array_equal(np.isnan(speed), ~mask)
        np.testing.assert_allclose(speed[mask], 0.5, rtol=1e-12)


def test_where_two_waves_meet_there_is_no_velocity():
    times = np.abs(np.arange(21.0) - 10)
    vectors = velocity_map(activated(times, spacing=(0.1,)))
    assert np.isnan(vectors[0, 10])
    np.testing.assert_allclose(vectors[0, :10], -0.1)
    np.testing.assert_allclose(vectors[0, 11:], 0.1)


def test_between_two_cells():
    run = activated(slanted((30, 40), (0.1, 0.25), 0.6, 0.0), spacing=(0.1, 0.25))
    assert conduction_velocity(run, (3, 5), (3, 30)) == pytest.approx(0.6)
    assert conduction_velocity(run, (3, 30), (3, 5)) == pytest.approx(-0.6)
    assert conduction_velocity(run, (0, 5), (-1, 30)) == pytest.approx(np.hypot(2.9, 6.25) / (6.25 / 0.6))
    assert conduction_velocity(run, (0, 5), (9, 5)) == np.inf
    never = activated(np.where(np.arange(50) < 25, 1.0 * np.arange(50), np.nan), spacing=(0.1,))
    assert np.isnan(conduction_velocity(never, (10,), (40,)))


def test_beats_are_told_apart():
    first = np.arange(50) / 5.0
    run = activated(np.stack([first, 300 + 2 * first]), spacing=(0.1,), apd=np.array([250.0, 200.0]))
    assert conduction_velocity(run, (10,), (40,)) == pytest.approx(0.5)
    assert conduction_velocity(run, (10,), (40,), beat=1) == pytest.approx(0.25)
    np.testing.assert_allclose(velocity_map(run, 1)[0], 0.25)
    np.testing.assert_allclose(apd_map(run), 250)
    np.testing.assert_allclose(apd_map(run, beat=1), 200)


def test_late_beats_are_as_exact_as_early_ones_without_float64():
    first = np.arange(50) / 5.0
    with jax.enable_x64(False):
        early, late = (activated(first + t, spacing=(0.1,)) for t in (0.0, 1e6))
        assert conduction_velocity(late, (10,), (40,)) == pytest.approx(conduction_velocity(early, (10,), (40,)), 1e-9)
        np.testing.assert_allclose(velocity_map(late), velocity_map(early), rtol=1e-8)


def test_slopes_are_those_of_the_formulas():
    times = jnp.asarray(np.where(np.arange(30) == 20, np.nan, 0.2 * np.arange(30.0) ** 1.1))

    def velocity(t):
        return conduction_velocity(activated(t, spacing=(0.1,)), (5,), (15,))

    def speeds(t):
        return jnp.nansum(velocity_map(activated(t, spacing=(0.1,)))[0, 3:])

    slope = jax.grad(velocity)(times)
    assert slope[15] == pytest.approx(-1.0 / float(times[15] - times[5]) ** 2)
    assert slope[5] == -slope[15]
    assert np.isfinite(jax.grad(speeds)(times)).all()


@pytest.mark.parametrize(
    ("start", "stop", "beat", "message"),
    [
        ((60,), (160,), 0, r"stop = \(160,\); allowed: an index of the grid \(100,\), one whole number an axis"),
        ((-101,), (50,), 0, r"start = \(-101,\); allowed: an index of the grid"),
        ((1, 2), (50,), 0, r"start = \(1, 2\); allowed: an index of the grid"),
        ((1.5,), (50,), 0, r"start = \(1.5,\); allowed"),
        (5, (50,), 0, r"start = 5; allowed: a list of whole numbers"),
        ((50,), (50,), 0, r"stop = \(50,\); allowed: another cell than start = \(50,\)"),
        ((50,), (-50,), 0, r"stop = \(-50,\); allowed: another cell"),
        ((50,), (60,), 1, r"beat = 1; allowed: 0 to 0"),
        ((50,), (60,), -1, r"beat = -1; allowed: 0 to 0"),
    ],
)
def test_what_is_no_pair_of_cells_is_refused(start, stop, beat, message):
    run = activated(np.arange(100.0), spacing=(0.1,))
    with pytest.raises(ValueError, match=message):
        conduction_velocity(run, start, stop, beat)


def test_only_runs_have_velocities():
    with pytest.raises(ValueError, match=r"run = 3\.0; allowed: Run"):
        velocity_map(3.0)  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
def test_velocity_of_a_cable_does_not_depend_on_what_is_saved():
    """Halving the output interval, or saving next to nothing, changes CV by less than 0.1 %."""
    found = [
        conduction_velocity(plane_wave(jc.models.TenTusscher2004(), (120,), t1=20.0, save_every=every), (40,), (90,))
        for every in (20.0, 1.0, 0.5)
    ]
    np.testing.assert_allclose(found, found[0], rtol=1e-3)
    assert 0.7 < found[0] < 0.8


@pytest.mark.slow
def test_an_oblique_plane_wave_has_no_stripes():
    """A wave of ten Tusscher 2004 at 30 degrees: the local speed has a standard deviation below 1 % of it."""
    n, dx, angle = 100, 0.1, np.pi / 6
    tissue = jc.tissue.Tissue(jc.models.TenTusscher2004(), shape=(n, n), spacing=dx, diffusivity=0.154)
    y, x = np.meshgrid(*(c - n * dx / 2 for c in tissue.centres()), indexing="ij")
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    pulse = jc.protocols.PulseTrain(amplitude=-52.0, duration=1.0, period=np.inf)
    stimulus = jc.tissue.Stimulus(pulse, np.abs(along) < 0.5)
    run = jc.tissue.simulate(tissue, [stimulus], t1=8.0, save_every=8.0)
    vectors = velocity_map(run)
    # Away from the stimulus, and from the edges, where no flux bends the front.
    inside = (np.abs(along) > 1.8) & (np.abs(along) < 3.5) & (np.abs(across) < 2)
    assert inside.sum() > 1000
    speed = np.linalg.norm(vectors, axis=0)[inside]
    direction = (vectors[1] * np.cos(angle) + vectors[0] * np.sin(angle))[inside] * np.sign(along[inside]) / speed
    assert speed.std() < 0.01 * speed.mean()
    assert direction.min() > 0.99
