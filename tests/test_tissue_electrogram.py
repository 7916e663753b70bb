"""Electrograms against closed forms, symmetries, and waves that run by."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tissue_runs import plane_wave, showing

import jaxcardio as jc
from jaxcardio.tissue import Tissue, conductivity_of
from jaxcardio.tissue.measure.electrogram import bipolar_electrogram, electrogram, nearness

D = 0.154
CELL = jc.models.TenTusscher2004()
SIGMA = float(conductivity_of(D))


def front(s, width=0.3):
    """Potential of a front at s = 0 with the excited side at s < 0, mV."""
    return -85 + 115 / (1 + np.exp(s / width))


def integral(f, low, high, n=200_001):
    x = np.linspace(low, high, n)
    return np.trapezoid(f(x), x)


def test_a_front_in_a_cable_has_the_potential_of_a_line_source():
    """phi = -sigma A / (4 pi sigma_e) integral of V' d(1/r)/dx along the line, by quadrature on a much finer line."""
    tissue = Tissue(CELL, (400,), 0.1, D)
    x = tissue.centres()[0]
    places = np.array([12.0, 15.0, 20.0, 24.5, 28.0])
    run = showing(np.stack([front(x - s) for s in places]), tissue)
    for point in ((20.0, 1.0, 0.0), (20.0, 0.6, 1.3), (23.3, 0.0, 3.0)):
        off = np.hypot(point[1], point[2])

        def along(s, point=point, off=off):
            def slope_times_field(x):
                rise = -115 / 0.3 / (4 * np.cosh((x - s) / 0.6) ** 2)
                return rise * (point[0] - x) / np.hypot(x - point[0], off) ** 3

            return integral(slope_times_field, 0, 40)

        exact = [-SIGMA * 0.5**2 / (4 * np.pi * 0.7) * along(s) for s in places]
        found = electrogram(run, point, sigma_e=0.7, thickness=0.5)
        np.testing.assert_allclose(found, exact, atol=1e-3 * np.abs(exact).max())


def test_one_hot_cell_of_a_sheet_is_a_quadrupole():
    """The Laplacian of 1/r in the plane is (1 - 3 z^2 / r^2) / r^3: one cell, many spacings away, is a source of it."""
    tissue = Tissue(CELL, (41, 41), 0.05, D)
    V = np.full((1, 41, 41), -80.0)
    V[0, 20, 20] += 100
    centre = 20.5 * 0.05
    run = showing(V, tissue)
    for dx, dy, dz in ((0, 0, 3.0), (3.0, 1.0, 0.0), (1.5, -2.0, 2.5)):
        r = np.sqrt(dx**2 + dy**2 + dz**2)
        exact = SIGMA * 100 * 0.05**2 * 0.4 / (4 * np.pi) * (1 - 3 * dz**2 / r**2) / r**3
        found = electrogram(run, (centre + dx, centre + dy, dz), thickness=0.4)
        assert found[0] == pytest.approx(exact, rel=2e-3)


def test_a_hot_cell_deep_in_isotropic_tissue_is_not_seen_from_outside():
    """1/r is harmonic: closed surfaces of a dipole layer have no field outside."""
    tissue = Tissue(CELL, (15, 15, 15), 0.1, D)
    V = np.zeros((2, 15, 15, 15))
    V[0, 7, 7, 7] = V[1, 0, 7, 7] = 100
    inside, border = electrogram(showing(V, tissue), (0.75, 0.75, 3.0))
    assert abs(inside) < 1e-3 * abs(border)


def test_a_point_source_of_current():
    """A cell beside an insulated one: all current passes the one open edge, and the field is that of two charges."""
    tissue = Tissue(CELL, (2,), 0.02, D)
    run = showing(np.array([[20.0, -80.0]]), tissue)
    point = np.array([0.5, 1.0, -0.3])
    current = SIGMA * 0.3**2 * 100 / 0.02  # from the first cell to the second
    r1, r2 = np.linalg.norm(point - [0.01, 0, 0]), np.linalg.norm(point - [0.03, 0, 0])
    exact = current / (4 * np.pi * 1.5) * (1 / r2 - 1 / r1)
    assert electrogram(run, point, sigma_e=1.5, thickness=0.3)[0] == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.slow
def test_uniform_tissue_is_silent(axes):
    shape = (9, 8, 7)[:axes]
    mask = np.ones(shape, bool)
    mask[2] = False
    fibres: dict[str, Any] = {} if axes == 1 else {"fibres": 0.7}
    tissues = [
        Tissue(CELL, shape, 0.1, np.linspace(0.05, 0.2, mask.size).reshape(shape)),
        Tissue(CELL, shape, 0.1, D, mask=mask)
        if axes == 1
        else Tissue(CELL, shape, 0.1, (0.1, 0.02), mask=mask, **fibres),
    ]
    for tissue in tissues:
        phi = electrogram(showing(np.full((3, *shape), -85.3), tissue), (0.2, 0.2, 2.0))
        np.testing.assert_array_equal(phi, 0)


def test_far_from_a_dipole_layer_float32_has_the_same_digits():
    """Currents sum to zero, so that the potential of a distant electrode is a small difference."""
    tissue = Tissue(CELL, (300,), 0.1, D)
    V = front(tissue.centres()[0] - 14.0)[None]
    point = (15.0, 300.0, 0.0)
    exact = electrogram(showing(V, tissue), point)
    with jax.enable_x64(False):
        single = Tissue(jc.models.TenTusscher2004(), (300,), 0.1, D)
        found = electrogram(showing(V.astype(np.float32), single), point)
        assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, exact, rtol=1e-3)


def test_mirror_images_see_the_same():
    rng = np.random.default_rng(0)
    V = rng.normal(size=(2, 12, 17))
    tissue = Tissue(CELL, (12, 17), (0.1, 0.15), (0.2, 0.1))
    x, y, z = 0.4, 1.5, 0.8
    phi = electrogram(showing(V, tissue), (x, y, z))
    np.testing.assert_allclose(electrogram(showing(V, tissue), (x, y, -z)), phi, rtol=1e-12)
    np.testing.assert_allclose(electrogram(showing(V[..., ::-1], tissue), (17 * 0.15 - x, y, z)), phi, rtol=1e-9)
    np.testing.assert_allclose(electrogram(showing(V[:, ::-1], tissue), (x, 1.2 - y, z)), phi, rtol=1e-9)


def test_fibres_along_an_axis_are_that_axis():
    rng = np.random.default_rng(1)
    V = rng.normal(size=(1, 10, 14))
    point = (0.7, 0.5, 0.6)
    plain = electrogram(showing(V, Tissue(CELL, (10, 14), 0.1, (0.03, 0.2))), point)
    along_x = electrogram(showing(V, Tissue(CELL, (10, 14), 0.1, (0.2, 0.03), fibres=0.0)), point)
    np.testing.assert_allclose(along_x, plain, rtol=1e-10)


def test_potentials_of_pieces_add():
    """Of V, and of tissues that a line of masked cells parts."""
    rng = np.random.default_rng(2)
    V, W = rng.normal(size=(2, 1, 10, 21))
    tissue = Tissue(CELL, (10, 21), 0.1, D)
    point = (0.7, 0.5, 0.6)
    both = electrogram(showing(V + W, tissue), point)
    np.testing.assert_allclose(
        both, electrogram(showing(V, tissue), point) + electrogram(showing(W, tissue), point), rtol=1e-9
    )
    left, right = np.ones((2, 10, 21), bool)
    left[:, 10:], right[:, :11] = False, False
    whole, *parts = (electrogram(showing(V, tissue.replace(mask=m)), point) for m in (left | right, left, right))
    np.testing.assert_allclose(whole, sum(parts), rtol=1e-9)


def test_a_slab_is_seen_as_a_sheet_of_its_thickness_from_far():
    x = (np.arange(60) + 0.5) * 0.1
    V = np.broadcast_to(front(x - 2.0), (1, 4, 10, 60))
    thin = electrogram(showing(V[:, 0], Tissue(CELL, (10, 60), 0.1, D)), (4.0, 0.5, 7.8), thickness=0.4)
    slab = electrogram(showing(V, Tissue(CELL, (4, 10, 60), 0.1, D)), (4.0, 0.5, 8.0))
    np.testing.assert_allclose(slab, thin, rtol=2e-3)


@pytest.mark.parametrize(("height", "radius"), [(1.0, 0.0), (0.3, 0.0), (0.0, 0.5)])
def test_error_is_of_second_order_in_the_spacing(height, radius):
    """A round front seen by points above it and a disc that lies on it; the finest mesh is the reference."""
    found = []
    for n in (60, 120, 360):
        tissue = Tissue(CELL, (n, n), 12.0 / n, D)
        y, x = np.meshgrid(*tissue.centres(), indexing="ij")
        run = showing(front(np.hypot(x - 6.1, y - 5.9) - 3.0)[None], tissue)
        found.append(float(electrogram(run, (9.1, 6.03, height), radius=radius)[0]))
    errors = np.abs(np.array(found[:2]) / found[2] - 1)
    assert errors[1] < 6e-3
    assert errors[1] < 0.45 * errors[0] + 1e-3


def test_a_disc_is_a_point_from_far_and_has_the_known_field_on_its_axis():
    tissue = Tissue(CELL, (5, 5), 0.1, D)
    point = (0.3, 0.2, 20.0)
    np.testing.assert_allclose(nearness(tissue, point, radius=0.2), nearness(tissue, point), rtol=1e-4)
    # At the middle of the disc 1/r is its mean under the density 1 / (2 pi a sqrt(a^2 - s^2)): pi / (2 a).
    one = Tissue(CELL, (3,), 0.1, D)
    assert nearness(one, (0.15, 0.0, 0.0), radius=0.25)[1] == pytest.approx(np.pi / 2 / 0.25)
    # On its axis: arctan(a / z) / a.
    assert nearness(one, (0.15, 0.0, 0.4), radius=0.25)[1] == pytest.approx(np.arctan(0.25 / 0.4) / 0.25)


def test_disc_is_the_mean_over_its_face_under_its_own_density():
    tissue = Tissue(CELL, (4, 6), 0.2, D)
    a, point = 0.45, np.array([0.5, 0.3, 0.6])
    # s = a sin(u) turns the density 1 / (2 pi a sqrt(a^2 - s^2)) s ds into sin(u) du / (2 pi).
    u, w = np.polynomial.legendre.leggauss(16)
    u, w = (u + 1) * np.pi / 4, w * np.pi / 4
    phi = (np.arange(60) + 0.5) * 2 * np.pi / 60
    mean = sum(
        wk * np.sin(uk) * nearness(tissue, point + a * np.sin(uk) * np.array([np.cos(p), np.sin(p), 0])) / 60
        for uk, wk in zip(u, w, strict=True)
        for p in phi
    )
    np.testing.assert_allclose(nearness(tissue, point, radius=a), mean, rtol=1e-6)


@pytest.mark.slow
def test_a_wave_that_comes_nearer_is_positive_and_one_that_leaves_negative():
    run = plane_wave(CELL, (120,), t1=22.0, save_every=0.25)
    phi = np.asarray(electrogram(run, [(6.0, 0.5, 0.0), (-1.0, 0.0, 0.0), (13.0, 0.0, 0.0)]))
    assert phi.shape == (len(run.ts), 3)
    passing = run.activation_time[60]
    middle = phi[:, 0]
    running = (run.ts > 4) & (run.ts < 14)
    assert middle[running & (run.ts < passing - 0.5)].min() > 0
    assert middle[running & (run.ts > passing + 0.5)].max() < 0
    steepest = run.ts[np.argmin(np.diff(middle))]
    assert steepest == pytest.approx(passing, abs=0.6)
    assert (phi[running, 1] < 0).all()
    assert (phi[running, 2] > 0).all()


def test_bipolar_is_the_difference_and_a_shift_in_time_for_a_steady_wave():
    rng = np.random.default_rng(3)
    tissue = Tissue(CELL, (10, 21), 0.1, D)
    run = showing(rng.normal(size=(3, 10, 21)), tissue)
    points, references = [(0.7, 0.5, 0.6), (0.1, 0.2, 0.9)], [(1.7, 0.5, 0.6), (0.1, 0.2, 5.0)]
    pair = bipolar_electrogram(run, points, references, sigma_e=0.5)
    assert pair.shape == (3, 2)
    for k in range(2):
        single = electrogram(run, points[k], sigma_e=0.5) - electrogram(run, references[k], sigma_e=0.5)
        np.testing.assert_allclose(pair[:, k], single, rtol=1e-12)


def test_it_scales_with_conductivities():
    tissue = Tissue(CELL, (50,), 0.1, D)
    run = showing(front(tissue.centres()[0] - 2.0)[None], tissue)
    point = (3.0, 1.0, 0.0)
    one = electrogram(run, point)
    np.testing.assert_allclose(electrogram(run, point, sigma_e=2.0), one / 2, rtol=1e-12)
    np.testing.assert_allclose(electrogram(run, point, chi=70.0, C_m=3.0), 1.5 * one, rtol=1e-12)
    np.testing.assert_allclose(electrogram(run, point, thickness=0.1), 0.01 * one, rtol=1e-12)
    assert one[0] > 0


@pytest.mark.slow
def test_slopes_and_jit():
    tissue = Tissue(CELL, (6, 8), 0.1, D)
    V = np.random.default_rng(4).normal(size=(2, 6, 8))

    def loss(V, diffusivity, sigma_e):
        run = showing(V, tissue.replace(diffusivity=diffusivity))
        return jnp.sum(electrogram(run, (0.3, 0.3, 0.5), sigma_e=sigma_e) ** 2)

    at = (jnp.asarray(V), jnp.full((6, 8), D), 1.3)
    slopes = jax.grad(loss, argnums=(0, 1, 2))(*at)
    steps = tuple(jnp.asarray(np.random.default_rng(5).normal(size=np.shape(x))) for x in at)
    forward = jax.jvp(loss, tuple(jnp.asarray(x) for x in at), steps)[1]
    reverse = sum(jnp.sum(a * b) for a, b in zip(slopes, steps, strict=True))
    np.testing.assert_allclose(forward, reverse, rtol=1e-9)
    h = 1e-6
    ahead, behind = (loss(*(x + s * h * d for x, d in zip(at, steps, strict=True))) for s in (1, -1))
    np.testing.assert_allclose((ahead - behind) / (2 * h), reverse, rtol=1e-5)
    np.testing.assert_allclose(eqx.filter_jit(loss)(*at), loss(*at), rtol=1e-12)


@pytest.mark.parametrize(
    ("position", "options", "message"),
    [
        (
            (0.5, 0.5, 0.05),
            {},
            r"position = \(0.5, 0.5, 0.05\) mm; allowed: at least one spacing, 0.1 mm, from the centre",
        ),
        ((0.5, 0.5, 0.0), {"radius": 0.1}, r"or an electrode with radius >= 0.2 mm"),
        ((0.5, 0.5), {}, r"position = \(0.5, 0.5\) mm; allowed: \(x, y, z\), finite"),
        ((0.5, 0.5, np.nan), {}, "position = .* allowed: .*finite"),
        ("above", {}, "position"),
        ((0.5, 0.5, 1.0), {"radius": -0.1}, "radius = -0.1 mm; allowed: >= 0, finite"),
        ((0.5, 0.5, 1.0), {"sigma_e": 0.0}, "sigma_e = 0.0 S/m; allowed: > 0"),
        ((0.5, 0.5, 1.0), {"chi": -140.0}, "chi = -140.0 1/mm; allowed: > 0"),
        ((0.5, 0.5, 1.0), {"C_m": np.inf}, "C_m = inf uF/cm"),
        ((0.5, 0.5, 1.0), {"thickness": [1.0, 2.0]}, "thickness = .* mm; allowed: .*one number"),
    ],
)
def test_what_no_electrode_can_be_is_refused(position, options, message):
    run = showing(np.zeros((1, 10, 10)), Tissue(CELL, (10, 10), 0.1, D))
    with pytest.raises(ValueError, match=message):
        electrogram(run, position, **options)


def test_electrodes_may_lie_one_spacing_away_or_where_no_tissue_is():
    mask = np.ones((10, 10), bool)
    mask[:, 3:7] = False
    tissue = Tissue(CELL, (10, 10), 0.1, D)
    run = showing(np.random.default_rng(6).normal(size=(1, 10, 10)), tissue)
    assert np.isfinite(electrogram(run, (0.55, 0.55, 0.1))).all()
    assert np.isfinite(electrogram(run, (0.55, 0.55, 0.0), radius=0.2)).all()
    hole = showing(run.V, tissue.replace(mask=mask))
    assert np.isfinite(electrogram(hole, (0.5, 0.5, 0.0))).all()


def test_many_frames_are_done_in_parts(monkeypatch):
    """More frames than are held at once give what each gives alone."""
    tissue = Tissue(CELL, (64, 64), 0.1, D)
    monkeypatch.setattr("jaxcardio.tissue.measure.electrogram.AT_ONCE", 7 * 64**2)
    V = np.random.default_rng(7).normal(size=(300, 64, 64))
    whole = electrogram(showing(V, tissue), (3.0, 3.0, 1.0))
    pieces = [electrogram(showing(V[k : k + 1], tissue), (3.0, 3.0, 1.0))[0] for k in (0, 150, 299)]
    np.testing.assert_allclose(whole[np.array([0, 150, 299])], pieces, rtol=1e-12)
