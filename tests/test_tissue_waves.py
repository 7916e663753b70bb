"""Waves: alike along every axis, scaled as theory says, stopped by what does not conduct, on one device or two."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcardio as jc

CELL = jc.models.AlievPanfilov1996()
PULSE = jc.protocols.PulseTrain(-1.0, 1.0, 1000.0, 0.0)
SIMULATE: dict[str, Any] = dict(dt=0.04, save_every=2.0)


def stimulus(region, protocol=PULSE):
    return jc.tissue.Stimulus(protocol, region)


def wave(tissue, region, t1=20.0, **settings):
    return jc.tissue.simulate(tissue, [stimulus(region)], t1=t1, **SIMULATE | settings)


def speed(times, distance, start, stop) -> float:
    """Between two cells of a line."""
    return (stop - start) * distance / float(times[stop] - times[start])


@pytest.fixture(scope="module")
def cable():
    return wave(jc.tissue.Tissue(CELL, 48, 0.5, 1.0), np.s_[:4])


def test_a_cable_conducts_and_recovers(cable):
    assert cable.problems() == []
    assert np.isfinite(cable.activation_time).all()
    assert (np.diff(cable.activation_time[6:-2]) > 0).all()
    assert (cable.activations == 1).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.slow
def test_waves_along_every_axis_are_those_of_the_cable(axis, cable):
    """A slab of identical rows equals the cable, along x, y and z: to rounding."""
    shape = tuple(48 if k == axis else 2 for k in range(3))
    along = tuple(slice(4) if k == axis else slice(None) for k in range(3))
    run = wave(jc.tissue.Tissue(CELL, shape, 0.5, 1.0), along)
    line = np.moveaxis(np.asarray(run.activation_time), axis, 0).reshape(48, 4)
    np.testing.assert_allclose(line, np.broadcast_to(cable.activation_time[:, None], (48, 4)), rtol=1e-11)
    V = np.moveaxis(np.asarray(run.V), axis + 1, 1)[:, :, 0, 0]
    np.testing.assert_allclose(V, cable.V, atol=1e-12)


@pytest.mark.slow
def test_a_sheet_has_its_symmetries():
    """Reflection, and exchange of axes with all that belongs to them; each to rounding."""
    rng = np.random.default_rng(0)
    shape, spacing, D = (14, 18), (0.4, 0.5), (0.6, 1.0)
    mask = rng.random(shape) < 0.9
    mask[:3, :3] = True
    edges = [rng.uniform(0.5, 1.0, (13, 18)), rng.uniform(0.5, 1.0, (14, 17))]
    region = np.zeros(shape, bool)
    region[:3, :3] = True

    def V(flip, swap):
        def turn(x):
            return np.swapaxes(flip(x), 0, 1) if swap else flip(x)

        order = slice(None, None, -1) if swap else slice(None)
        tissue = jc.tissue.Tissue(
            CELL.replace(a=turn(a)), shape[order], spacing[order], D[order], mask=turn(mask),
            coupling=[turn(e) for e in edges][order],
        )  # fmt: skip
        run = jc.tissue.simulate(tissue, [stimulus(turn(region))], t1=8.0, dt=0.05, save_at=[4.0, 8.0])
        found = np.moveaxis(np.asarray(run.V), 0, -1)
        return flip(np.swapaxes(found, 0, 1) if swap else found)

    a = rng.uniform(0.1, 0.2, shape)
    plain = V(lambda x: x, False)
    assert plain.max() > 0.5
    for flip, swap in ((lambda x: x[::-1], False), (lambda x: x[:, ::-1], False), (lambda x: x, True)):
        np.testing.assert_allclose(V(flip, swap), plain, atol=1e-12)


def test_a_wave_may_begin_anywhere():
    """Far from borders a wave five cells further on is the same wave."""
    tissue = jc.tissue.Tissue(CELL, 80, 0.4, 1.0)
    one, other = (wave(tissue, np.s_[k : k + 4], t1=8.0) for k in (38, 43))
    np.testing.assert_allclose(one.V[:, 30:50], other.V[:, 35:55], atol=1e-9)


@pytest.mark.slow
def test_fibres_turned_by_a_right_angle_turn_the_wave():
    sheets = [jc.tissue.Tissue(CELL, (24, 24), 0.4, (1.0, 0.25), fibres=f) for f in (0.0, np.pi / 2)]
    one, other = (wave(t, np.s_[:4, :4], t1=8.0) for t in sheets)
    np.testing.assert_allclose(one.V, jnp.swapaxes(other.V, 1, 2), atol=1e-10)


@pytest.mark.slow
def test_the_diagonal_of_an_isotropic_sheet_is_as_fast():
    """A plane wave from an antidiagonal, corner to corner, watched in the middle before the borders bend it."""
    n, dx = 100, 0.2
    settings: dict[str, Any] = dict(t1=5.0, save_every=5.0, dt=0.01)
    tissue = jc.tissue.Tissue(CELL, (n, n), dx, 1.0)
    i, j = np.indices((n, n))
    T = np.asarray(wave(tissue, i + j < n, **settings).activation_time)
    straight = wave(jc.tissue.Tissue(CELL, n, dx, 1.0), np.s_[: n // 2], **settings).activation_time
    diagonal = speed(T[np.arange(n), np.arange(n)], np.sqrt(2) * dx, n // 2 + 8, n // 2 + 18)
    assert diagonal == pytest.approx(speed(straight, dx, n // 2 + 11, n // 2 + 26), rel=0.01)


def test_speed_is_proportional_to_the_root_of_D():
    """Exactly, where the spacing scales with it: the equations are the same."""
    one, other = (wave(jc.tissue.Tissue(CELL, 48, 0.5 * k, k**2), np.s_[:4]) for k in (1.0, 0.3))
    np.testing.assert_allclose(one.activation_time, other.activation_time, rtol=1e-12)


def test_what_is_saved_changes_nothing(cable):
    for save_every in (1.0, 4.0):
        again = wave(cable.tissue, np.s_[:4], save_every=save_every)
        np.testing.assert_allclose(again.activation_time, cable.activation_time, rtol=1e-12)
    odd = wave(cable.tissue, np.s_[:4], save_every=0.37)  # steps of another length
    assert speed(odd.activation_time, 0.5, 15, 40) == pytest.approx(speed(cable.activation_time, 0.5, 15, 40), rel=1e-3)


def test_activation_is_found_between_steps():
    """It is no multiple of the step: it converges at order two, and lies smoothly along the cable."""
    tissue = jc.tissue.Tissue(CELL, 48, 0.5, 1.0)
    times = [wave(tissue, np.s_[:4], dt=dt).activation_time for dt in (0.04, 0.02, 0.01)]
    coarse, fine = (np.abs(times[k] - times[k + 1]).max() for k in (0, 1))
    assert 3 < coarse / fine < 5
    bend = np.diff(times[0][15:40], 3)
    assert np.abs(bend).max() < 0.01 * 0.04


@pytest.mark.parametrize(
    ("shape", "fibres"), [((50,), None), ((60,), None), ((6, 50), 0.4), ((4, 6, 5), -0.5)], ids=str
)
@pytest.mark.slow
def test_one_and_two_devices_agree(shape, fibres):
    """Also where the grid is as long as a block of steps; with fibres, a mask, a parameter and all that is saved."""
    rng = np.random.default_rng(1)
    D = 0.1 if fibres is None else (0.1, 0.03)
    mask = rng.random(shape) < 0.9
    mask[tuple(slice(2) for _ in shape)] = True
    tissue = jc.tissue.Tissue(CELL.replace(a=rng.uniform(0.1, 0.15, shape)), shape, 0.2, D, fibres=fibres, mask=mask)
    runs = [
        wave(tissue, np.s_[:3], t1=6.0, outputs=["u", "I_ion_total"], beats=2, devices=jax.devices()[:n])
        for n in (1, 2)
    ]
    assert (runs[0].activations > 0).sum() >= 3 and float(runs[0].V[-1].max()) > 0.5
    for name in ("u", "I_ion_total"):
        np.testing.assert_allclose(runs[1].ys[name], runs[0].ys[name], atol=1e-12)
    np.testing.assert_allclose(runs[1].activation_times, runs[0].activation_times, rtol=1e-12)
    np.testing.assert_array_equal(runs[1].activations, runs[0].activations)


def test_stimuli_that_overlap_add():
    tissue = jc.tissue.Tissue(CELL, (4, 20), 0.5, 1.0)
    whole = jc.tissue.simulate(tissue, [stimulus(np.s_[:, :6])], t1=6.0, **SIMULATE)
    half = jc.protocols.PulseTrain(-0.5, 1.0, 1000.0, 0.0)
    parts = [stimulus(np.s_[:, :6], half), stimulus(np.s_[:, :4], half), stimulus(np.s_[:, 4:6], half)]
    summed = jc.tissue.simulate(tissue, parts, t1=6.0, **SIMULATE)
    np.testing.assert_allclose(summed.V, whole.V, atol=1e-12)
    late = [stimulus(np.s_[:, :3]), stimulus(np.s_[:, -3:], jc.protocols.PulseTrain(-1.0, 1.0, 1000.0, 3.3))]
    run = jc.tissue.simulate(tissue, late, t1=6.0, **SIMULATE)
    assert run.activation_time[0, -1] == pytest.approx(run.activation_time[0, 0] + 3.3, abs=0.05)


def test_a_run_goes_on_from_its_final_state():
    tissue = jc.tissue.Tissue(CELL, 48, 0.5, 1.0)

    def gap(dt):
        whole = wave(tissue, np.s_[:4], t1=12.0, dt=dt)
        half = wave(tissue, np.s_[:4], t1=6.0, dt=dt)
        rest = jc.tissue.simulate(
            tissue, [stimulus(np.s_[:4])], t0=6.0, t1=12.0, dt=dt, save_every=2.0, y0=half.final_state
        )
        return float(jnp.abs(rest.V[-1] - whole.V[-1]).max())

    assert gap(0.04) < 1e-3
    assert gap(0.04) / gap(0.02) > 3.5  # one first-order step: of order dt^2


def test_cells_paced_alone_are_copied_in():
    trace = jc.simulate(CELL, jc.protocols.PulseTrain(-1.0, 1.0, 60.0, 0.0), t1=60.0, dt=0.05)
    paced = trace.final_state
    run = jc.tissue.simulate(jc.tissue.Tissue(CELL, (3, 4), 0.4, 1.0), t1=1.0, save_every=1.0, y0=paced)
    np.testing.assert_array_equal(run.V[0], np.full((3, 4), float(paced[0])))
    alone = jc.simulate(CELL, t1=1.0, dt=0.02, y0=paced)
    np.testing.assert_allclose(run.V[-1], np.full((3, 4), float(alone.V[-1])), atol=1e-6)


def test_a_parameter_acts_where_it_is():
    """Uncoupled cells with parameters of their own are so many single cells."""
    a = np.linspace(0.05, 0.3, 6).reshape(2, 3)
    tissue = jc.tissue.Tissue(CELL.replace(a=a), (2, 3), 0.4, 0.0)
    run = jc.tissue.simulate(tissue, [stimulus(())], t1=8.0, dt=0.05, save_every=4.0)
    for where in np.ndindex(2, 3):
        alone = jc.simulate(CELL.replace(a=a[where]), PULSE, t1=8.0, dt=0.05, save_every=4.0, solver=jc.RushLarsen2())
        np.testing.assert_allclose(run.V[(slice(None), *where)], alone.V, atol=1e-9)


@pytest.mark.parametrize("what", ["mask", "coupling", "diffusivity"])
def test_a_wave_does_not_cross_what_does_not_conduct(what):
    shape, settings = (3, 40), {}
    if what == "mask":
        settings["mask"] = np.broadcast_to(np.arange(40) != 20, shape)
    if what == "coupling":
        settings["coupling"] = [None, np.broadcast_to(np.where(np.arange(39) == 20, 0.0, 1.0), (3, 39))]
    D = np.broadcast_to(np.where(np.arange(40) == 20, 0.0, 1.0), shape) if what == "diffusivity" else 1.0
    tissue = jc.tissue.Tissue(CELL, shape, 0.5, D, **settings)
    run = wave(tissue, np.s_[:, :4], t1=20.0)
    rest = float(CELL.initial_state()[0])
    assert np.isfinite(run.activation_time[:, :20]).all()
    assert np.isnan(run.activation_time[:, 21:]).all()
    np.testing.assert_allclose(run.V[:, :, 21:], rest, atol=1e-9)
    if what == "mask":
        np.testing.assert_array_equal(run.V[:, :, 20], rest)
        for left, kept in zip(run.final_state, CELL.initial_state(), strict=True):
            np.testing.assert_array_equal(left[:, 20], kept)


def test_implicit_steps_give_the_wave_of_explicit_ones(cable):
    again = wave(cable.tissue, np.s_[:4], diffusion="implicit")
    assert speed(again.activation_time, 0.5, 15, 40) == pytest.approx(
        speed(cable.activation_time, 0.5, 15, 40), rel=3e-3
    )


@pytest.mark.slow
def test_float32_is_close_to_float64():
    cell = jc.models.TenTusscher2004()
    pulse = jc.protocols.PulseTrain(-52.0, 1.0, 1000.0, 0.0)
    times = []
    for dtype in (jnp.float32, jnp.float64):
        tissue = jc.tissue.Tissue(jc.astype(cell, dtype), 40, 0.2, 0.154)
        run = jc.tissue.simulate(tissue, [stimulus(np.s_[:5], pulse)], t1=12.0, save_every=12.0)
        assert run.V.dtype == dtype
        times.append(run.activation_time)
    np.testing.assert_allclose(times[0], times[1], atol=1e-3)
    assert np.isfinite(times[1]).all()


@pytest.mark.parametrize(("dx", "myokit"), [(0.2, 0.7304), (0.1, 0.7654)])
@pytest.mark.slow
def test_the_speed_of_ten_tusscher_and_panfilov_is_that_of_myokits_cable(dx, myokit):
    """Of `Simulation1d` on the same mesh at steps of 0.001 ms, 0.154 mm^2/ms; ours are ten times longer."""
    n = round(20 / dx)
    tissue = jc.tissue.Tissue(jc.models.TenTusscherPanfilov2006("epi"), n, dx, 0.154)
    pulse = jc.protocols.PulseTrain(-52.0, 1.0, 1000.0, 0.0)
    run = jc.tissue.simulate(tissue, [stimulus(np.s_[: round(1.5 / dx)], pulse)], t1=27.0, dt=0.01, save_every=27.0)
    assert speed(run.activation_time, dx, int(0.4 * n), int(0.8 * n)) == pytest.approx(myokit, rel=0.005)


@pytest.mark.slow
def test_gradients_of_an_activation_time_agree():
    """Forward, reverse and differences, to the diffusivity of every cell and to a conductance.

    At 0.02 ms differences of 1e-4 are of no use: `RushLarsen2` stops trusting a gate's extrapolation at some step
    of the upstroke, and where that step changes the time does by some 1e-5 ms.
    """

    def arrival(theta):
        cell = jc.models.TenTusscher2004()
        tissue = jc.tissue.Tissue(cell.replace(g_Na=cell.g_Na * theta[1]), 16, 0.2, 0.154 * theta[0])
        pulse = jc.protocols.PulseTrain(-52.0, 1.0, 1000.0, 0.0)
        return jc.tissue.simulate(
            tissue, [stimulus(np.s_[:4], pulse)], t1=7.0, dt=0.01, save_every=7.0
        ).activation_time[12]

    theta = jnp.ones(2)
    reverse, forward = jax.grad(arrival)(theta), jax.jacfwd(arrival)(theta)
    np.testing.assert_allclose(reverse, forward, rtol=1e-9)
    for k in range(2):
        h = 1e-4 * jnp.asarray(np.eye(2)[k])
        assert float(reverse[k]) == pytest.approx(float(arrival(theta + h) - arrival(theta - h)) / 2e-4, rel=1e-3)
    assert (reverse < 0).all()


def test_a_long_run_without_a_stimulus_is_its_parts_one_after_the_other():
    cable = jc.tissue.Tissue(CELL, (6,), 0.6, 1.0)
    start = cable.initial_state()._replace(u=jnp.where(jnp.arange(6) < 3, 1.0, 0.0))
    whole = jc.tissue.simulate(cable, t1=150.0, dt=0.02, save_every=150.0, y0=start)  # 150 blocks of 50 steps
    half = jc.tissue.simulate(cable, t1=75.0, dt=0.02, save_every=75.0, y0=start)
    rest = jc.tissue.simulate(cable, t0=75.0, t1=150.0, dt=0.02, save_every=75.0, y0=half.final_state)
    assert np.isfinite(whole.activation_time[3:]).all()
    for a, b in zip(whole.final_state, rest.final_state, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)  # a run begins with a step of lower order


def test_a_brief_action_potential_makes_a_short_wave():
    """20 mm, in place of the 200 mm of the published cell."""
    cell = jc.tissue.brief(jc.models.TenTusscherPanfilov2006())
    cable = jc.tissue.Tissue(cell, (80,), 0.25, 0.154)
    stimulus = jc.tissue.Stimulus(jc.protocols.Pulses(-52.0, 2.0, [0.0]), np.s_[:6])
    run = jc.tissue.simulate(cable, [stimulus], t1=90.0, dt=0.05, save_every=90.0)
    velocity = jc.tissue.conduction_velocity(run, (20,), (60,))
    assert run.problems() == []
    assert velocity == pytest.approx(0.51, abs=0.01) and run.apd[40] == pytest.approx(38, abs=2)
    kept = jc.tissue.brief(jc.models.TenTusscherPanfilov2006(g_Na=10.0), keep=("g_Na",))
    assert (kept.g_Na, kept.g_CaL, kept.g_Kr) == (10.0, 0.0, 20 * 0.153)
