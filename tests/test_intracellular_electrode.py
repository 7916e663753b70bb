"""Electrodes against closed forms, finite differences and the noise that was asked for."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import welch
from tissue_runs import showing

import jaxcardio as jc
from jaxcardio.intracellular.electrode import (
    DEVICES,
    Channel,
    Electroporation,
    Noise,
    NoiseSource,
    Seal,
    device_named,
    field_potential,
    high_pass,
    low_pass,
)
from jaxcardio.intracellular.electrode.circuit import high_pass_recursion, low_pass_recursion, streamed
from jaxcardio.tissue import Tissue
from jaxcardio.tissue.measure.electrogram import electrogram

DT = 0.1


def beat(t):
    """A potential that rises and falls, mV, and a current from the neighbours, mV/ms, as of a wave."""
    V = -75 + 100 / (1 + np.exp(-(t - 20) / 0.8)) / (1 + np.exp((t - 120) / 15))
    return jnp.asarray(V), jnp.asarray(np.gradient(np.gradient(V, t), t))


def channel(**changes):
    fields: dict[str, Any] = dict(
        seal=Seal(), noise=Noise(0.005, 0.001, 0.001, 0.01), electroporation=Electroporation(),
        high_pass=jnp.asarray(500.0), low_pass=jnp.asarray(1.2), gain=jnp.asarray(1.1),
    )  # fmt: skip
    return Channel(**(fields | changes))


@pytest.mark.slow
def test_gradients_of_a_recorded_beat_are_its_finite_differences():
    V, inflow = beat(np.arange(0, 150, DT))
    weights = jnp.asarray(np.random.default_rng(0).standard_normal(V.size))

    @eqx.filter_jit
    def loss(c):
        return weights @ c(V, inflow, DT)

    found = eqx.filter_jit(jax.grad(loss))(channel())
    for of in (
        lambda c: c.seal.resistance, lambda c: c.seal.area, lambda c: c.seal.kappa, lambda c: c.seal.conductance,
        lambda c: c.high_pass, lambda c: c.low_pass, lambda c: c.gain,
    ):  # fmt: skip
        value = float(of(channel()))
        up, down = (float(loss(eqx.tree_at(of, channel(), jnp.asarray(value * f)))) for f in (1 + 1e-5, 1 - 1e-5))
        np.testing.assert_allclose(float(of(found)), (up - down) / (2e-5 * value), rtol=1e-5)


def test_a_step_leaves_a_high_pass_with_its_time_constant_and_reaches_a_low_pass_with_its_own():
    t = np.arange(0, 3000, 1.0)
    step = jnp.asarray(np.where(t > 0, 2.0, 0.0))
    left = np.asarray(high_pass(step, 400.0, 1.0))[1:]
    np.testing.assert_allclose(left / left[0], np.exp(-t[:-1] / 400), rtol=1e-9)
    arrived = np.asarray(low_pass(step, 5.0, 1.0))[1:]
    np.testing.assert_allclose((2 - arrived) / (2 - arrived[0]), np.exp(-t[:-1] / 5), atol=1e-9)


def test_a_ramp_is_filtered_as_the_closed_form_says_whatever_the_step():
    """tau y' = tau r - y and tau y' = r t - y of a ramp r t, exact for samples joined by lines."""
    for dt in (0.5, 7.0):
        t = np.arange(0, 1400, dt)
        np.testing.assert_allclose(high_pass(jnp.asarray(3 * t), 50.0, dt), 150 * (1 - np.exp(-t / 50)), atol=1e-9)
        exact = 3 * (t - 50 * (1 - np.exp(-t / 50)))
        np.testing.assert_allclose(low_pass(jnp.asarray(3 * t), 50.0, dt), exact, atol=1e-8)


def test_a_level_that_has_stood_for_ever_is_blocked_by_a_high_pass_and_passes_a_low_pass():
    level = jnp.full(50, -75.0)
    np.testing.assert_allclose(high_pass(level, 100.0, 0.2), 0.0, atol=1e-13)
    np.testing.assert_allclose(low_pass(level, 100.0, 0.2), -75.0)


@pytest.mark.parametrize(
    ("made", "level", "of"), [(high_pass_recursion, "zero", high_pass), (low_pass_recursion, "same", low_pass)]
)
def test_pieces_on_the_host_are_the_whole_on_the_device(made, level, of):
    x = np.random.default_rng(0).standard_normal((2, 1000)).cumsum(1)
    recursion = made(jnp.asarray(30.0), jnp.asarray(0.2))
    whole, _ = streamed(x, recursion, None, level)
    np.testing.assert_allclose(whole, of(jnp.asarray(x), 30.0, 0.2), atol=1e-9)
    state, pieces = None, []
    for piece in np.split(x, [1, 333, 700], axis=1):
        found, state = streamed(piece, recursion, state, level)
        pieces.append(found)
    assert np.array_equal(np.concatenate(pieces, axis=1), whole)


def test_a_seal_without_channels_sees_the_slope_and_one_with_all_of_them_the_membrane_current():
    """R A c dV/dt = 100 MOhm x 0.06 pF x V' is 6 uV for each mV/ms; a uniform cell without a leak gives nothing."""
    V, inflow = beat(np.arange(0, 200, DT))
    slope = np.gradient(np.asarray(V), DT)
    np.testing.assert_allclose(Seal(100.0, 6.0, 0.0, 0.0)(V, inflow, DT), 6e-3 * slope, atol=1e-12)
    np.testing.assert_allclose(Seal(100.0, 6.0, 1.0, 0.0)(V, inflow, DT), 6e-3 * inflow, atol=1e-12)
    assert not np.asarray(Seal(100.0, 6.0, 1.0, 0.0)(V, jnp.zeros_like(V), DT)).any()


def test_the_patch_s_conductance_adds_a_share_of_the_potential():
    V, inflow = beat(np.arange(0, 200, DT))
    with_leak, without = (Seal(100.0, 6.0, 0.5, g)(V, inflow, DT) for g in (0.01, 0.0))
    np.testing.assert_allclose(with_leak - without, 1e-3 * (V - V[0]), atol=1e-12)


def test_far_from_cells_whose_currents_cancel_the_field_is_a_dipole():
    """Two currents of 60 pF x +-1 mV/ms, 20 um apart: 1/r^2 far away; one alone: 1/r, 60 pA / (4 pi 1 S/m 100 um)."""
    one = jnp.ones((1, 3))
    np.testing.assert_allclose(field_potential(one, np.array([100.0])), 60e-3 / (4 * np.pi * 100), rtol=1e-12)
    two = jnp.asarray([[1.0], [-1.0]])
    near, far = (float(field_potential(two, np.array([r - 10, r + 10]))[0]) for r in (1000.0, 10_000.0))
    np.testing.assert_allclose(near / far, 100.0, rtol=1e-3)
    exact = 60e-3 * 20 / (4 * np.pi * 1e8)
    np.testing.assert_allclose(far, exact, rtol=1e-5)


def test_the_field_of_a_cable_is_that_of_the_tissue_s_electrogram_and_goes_through_the_same_amplifier():
    """A wave on 200 cells of 0.1 mm: each has 140/mm x 0.1 mm^3 of membrane at 1 uF/cm^2, 1.4e5 pF."""
    tissue = Tissue(jc.models.TenTusscher2004(), (200,), 0.1, 0.1)
    x = tissue.centres()[0]
    V = np.stack([-85 + 115 / (1 + np.exp((x - s) / 0.3)) for s in np.arange(5.0, 15.0, 0.05)])
    seen = electrogram(showing(V, tissue, 0.1 * np.arange(len(V))), (10.0, 2.0, 0.0))
    around = np.pad(V, ((0, 0), (1, 1)), mode="edge")
    inflow = 0.1 / 0.1**2 * np.diff(around, 2, axis=1).T
    distances = 1000 * np.hypot(x - 10.0, 2.0)
    mine = field_potential(jnp.asarray(inflow), distances, capacitance=1.4e5)
    np.testing.assert_allclose(mine, seen, atol=1e-9 * np.abs(seen).max() + 1e-9)
    recorded = channel().amplified(seen, DT)
    assert recorded.shape == seen.shape
    np.testing.assert_allclose(recorded, 1.1 * low_pass(high_pass(seen, 500.0, DT), 1.2, DT), rtol=1e-12)


def test_noise_has_the_size_and_the_colour_that_were_asked_for():
    rate, sizes = 5000.0, (0.01, 0.02, 0.005, 0.03)
    unit = NoiseSource((0,), rate).next(600 * 5000)
    white, pink, mains, drift = unit.astype(np.float64)
    np.testing.assert_allclose([white.std(), pink.std(), mains.std()], [1, 1, np.sqrt(0.5)], rtol=0.05)
    assert 0.6 < drift.std() < 1.4  # 10 s of memory: 60 independent values
    f, power = welch(pink, rate, nperseg=2**15)
    band = (f > 2) & (f < 1000)
    slope = np.polyfit(np.log(f[band]), np.log(power[band]), 1)[0]
    assert -1.1 < slope < -0.9
    f, power = welch(mains, rate, nperseg=5000)
    assert f[power.argmax()] == 50
    x = np.asarray(Noise(*sizes)(unit[:, :1000]))
    np.testing.assert_allclose(x, np.array(sizes) @ unit[:, :1000], atol=1e-6)
    np.testing.assert_allclose(float(Noise(*sizes).fast()), np.sqrt(0.01**2 + 0.02**2 + 0.005**2 / 2), rtol=1e-6)


def test_noise_is_the_same_in_pieces_and_differs_between_channels():
    whole = NoiseSource((3, 1), 5000.0).next(1000)
    source = NoiseSource((3, 1), 5000.0)
    assert np.array_equal(np.concatenate([source.next(n) for n in (1, 600, 399)], axis=1), whole)
    other = NoiseSource((3, 2), 5000.0).next(1000)
    assert abs(np.corrcoef(whole[0], other[0])[0, 1]) < 0.15


def test_access_falls_as_the_pores_reseal():
    pores = Electroporation(0.1, 60_000.0, 200.0)
    share = np.asarray(pores.share(np.array([-1.0, 0.0, 60_000.0, 120_000.0])))
    np.testing.assert_allclose(share, [0, 0.1, 0.1 / np.e, 0.1 / np.e**2], rtol=1e-12)
    slope = jax.grad(lambda tau: Electroporation(0.1, tau, 0.0).share(60_000.0))(jnp.asarray(60_000.0))
    np.testing.assert_allclose(slope, 0.1 / np.e / 60_000, rtol=1e-9)


def test_a_dead_channel_records_nothing_of_the_cell():
    V, inflow = beat(np.arange(0, 200, DT))
    assert not np.asarray(channel().dead()(V, inflow, DT)).any()
    assert np.asarray(channel()(V, inflow, DT)).max() > 0.01


@pytest.mark.parametrize("name", DEVICES)
def test_channels_of_a_device_lie_within_its_ranges_and_depend_on_their_seed(name):
    device = device_named(name)
    drawn = [device.channel(np.random.default_rng(k)) for k in range(20)]
    again = device.channel(np.random.default_rng(7))
    assert all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(drawn[7]), jax.tree.leaves(again), strict=True))
    low, high = device.ranges["high_pass"]
    found = [float(c.high_pass) for c in drawn]
    assert low <= min(found) < max(found) <= high


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Seal(kappa=1.2), "kappa = 1.2"),
        (lambda: Seal(resistance=-1.0), "resistance = -1.0 MOhm"),
        (lambda: Noise(white=-0.1), "white = -0.1 mV"),
        (lambda: Electroporation(access=2.0), "access = 2.0"),
        (lambda: high_pass(jnp.zeros(3), 0.0, 0.1), "time_constant = 0.0 ms"),
        (lambda: low_pass(jnp.zeros(3), 1.0, -0.1), "dt = -0.1 ms"),
        (lambda: field_potential(jnp.zeros((1, 3)), np.zeros(1)), "distances"),
        (lambda: device_named("patch"), "device = 'patch'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make, said):
    with pytest.raises(ValueError, match=said):
        make()
