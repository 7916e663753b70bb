"""Diffusion alone: closed forms, what is kept, symmetry, any tensor, and derivatives of the solves."""

import functools
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import rms, slope
from hypothesis import given, settings
from hypothesis import strategies as st
from tissue_cells import Passive, PassiveState, border_flux_free, centres, divergence, on_grid, turned

import jaxcardio as jc
from jaxcardio.tissue.splitting import parts

SHAPES = {1: (12,), 2: (8, 10), 3: (4, 6, 5)}
SPACING = {1: 0.1, 2: (0.1, 0.12), 3: (0.2, 0.1, 0.15)}
DIFFUSIVITY = {1: (0.1,), 2: (0.05, 0.1), 3: (0.03, 0.05, 0.1)}


def cosines(shape):
    """One cosine mode along every axis, of the grid's shape."""
    waves = [np.cos(np.pi * (k + 1) * (np.arange(n) + 0.5) / n) for k, n in enumerate(shape)]
    return jnp.asarray(np.prod(np.meshgrid(*waves, indexing="ij"), axis=0))


def decay_rates(shape, spacing, diffusivity):
    """Of that mode, 1/ms: on the grid, and in the continuum."""
    on_grid, continuous = 0.0, 0.0
    for k, (n, dx, D) in enumerate(zip(shape, np.broadcast_to(spacing, len(shape)), diffusivity, strict=True)):
        wave = np.pi * (k + 1) / (n * dx)
        on_grid += D * (2 - 2 * np.cos(wave * dx)) / dx**2
        continuous += D * wave**2
    return on_grid, continuous


def dense(diffusion, shape) -> np.ndarray:
    """L as a matrix."""
    n = int(np.prod(shape))
    unit = jnp.eye(n).reshape(n, *shape)
    return np.asarray(jax.vmap(diffusion)(unit).reshape(n, n)).T


def a_run(tissue, V, t1, dt, diffusion: Any = "explicit", solver=None):
    """V at t1 of a run that begins with V."""
    run = jc.tissue.simulate(tissue, t1=t1, dt=dt, save_at=[t1], y0=PassiveState(V), diffusion=diffusion, solver=solver)
    return run.V[-1]


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("solve", ["explicit", "implicit", "conjugate gradients"])
@pytest.mark.slow
def test_a_cosine_mode_decays_exactly_at_order_two_in_dt(axes, solve):
    shape, spacing, D = SHAPES[axes], SPACING[axes], DIFFUSIVITY[axes]
    given: Any = D if solve != "conjugate gradients" else [np.full(shape, d) for d in D]
    tissue = jc.tissue.Tissue(Passive(), shape, spacing, given)
    mode, rate = cosines(shape), decay_rates(shape, spacing, D)[0]
    t1 = 0.4 / rate
    fractions = [40, 80, 160]
    errors = []
    for n in fractions:
        V = a_run(tissue, mode, t1, t1 / n, "explicit" if solve == "explicit" else "implicit")
        errors.append(rms(V - np.exp(-rate * t1) * mode) / rms(mode))
    assert errors[-1] < 1e-6
    assert slope(fractions, errors) == pytest.approx(-2, abs=0.05)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.slow
def test_a_cosine_mode_decays_at_order_two_in_dx(axes):
    """The operator's own rate on the mode, and that it is a mode at all, so no step size mixes in."""
    errors, refined = [], [1, 2, 4]
    for k in refined:
        shape = tuple(n * k for n in SHAPES[axes])
        spacing = tuple(np.broadcast_to(SPACING[axes], axes) / k)
        tissue = jc.tissue.Tissue(Passive(), shape, spacing, DIFFUSIVITY[axes])
        mode = cosines(shape)
        on_grid, continuous = decay_rates(shape, spacing, DIFFUSIVITY[axes])
        np.testing.assert_allclose(tissue.diffusion()(mode), -on_grid * mode, atol=1e-12 * on_grid)
        errors.append(abs(on_grid - continuous))
    assert slope(refined, errors) == pytest.approx(-2, abs=0.1)


def test_all_solves_give_one_answer():
    """Of one cable: as a cable (tridiagonal), a sheet of one row (cosines), by conjugate gradients, and as a matrix."""
    n, dt = 40, 0.3
    V = jnp.asarray(np.random.default_rng(0).normal(size=n))
    cable = jc.tissue.Tissue(Passive(), n, 0.1, 0.1)
    sheet = jc.tissue.Tissue(Passive(), (1, n), 0.1, 0.1)
    general = jc.tissue.Tissue(Passive(), (1, n), 0.1, np.full((1, n), 0.1))
    true = np.linalg.solve(np.eye(n) - dt * dense(cable.diffusion(), (n,)), V)
    for tissue in (cable, sheet, general):
        found = parts(tissue.diffusion(), "godunov", "implicit").last(V.reshape(tissue.shape), dt)
        np.testing.assert_allclose(found.ravel(), true, rtol=0, atol=1e-12)
    fine = [a_run(t, V.reshape(t.shape), 1.0, 0.002, m) for t, m in ((cable, "explicit"), (sheet, "implicit"))]
    np.testing.assert_allclose(fine[0], fine[1][0], atol=1e-5)


def random_tissue(shape, seed, turn, holes, blocks):
    """Anything goes: a diffusivity over three decades, fibres, holes and edges that conduct less, more or not."""
    rng = np.random.default_rng(seed)
    spacing = tuple(rng.uniform(0.05, 0.3, len(shape)))
    along = 10 ** rng.uniform(-3, 0, (2 if turn else len(shape), *shape))
    if not turn:
        along = along * (rng.random(along.shape) < 0.8)
    edges = [tuple(n - (k == axis) for k, n in enumerate(shape)) for axis in range(len(shape))]
    return jc.tissue.Tissue(
        Passive(),
        shape,
        spacing,
        along,
        fibres=rng.uniform(-np.pi, np.pi, shape) if turn else None,
        mask=(rng.random(shape) < 0.7) | (np.arange(np.prod(shape)).reshape(shape) == 0) if holes else None,
        coupling=[rng.uniform(0, 1.5, e) * (rng.random(e) < 0.7) for e in edges] if blocks else None,
    )


@eqx.filter_jit
def matrix_and_limit(tissue):
    diffusion = tissue.diffusion()
    n = int(np.prod(tissue.shape))
    return jax.vmap(diffusion)(jnp.eye(n).reshape(n, *tissue.shape)).reshape(n, n), diffusion.limit()


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([(9,), (1, 7), (4, 5), (3, 4, 2)]),
    st.integers(0, 2**31),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
@pytest.mark.slow
def test_any_tissue_keeps_its_total_and_is_symmetric_and_dissipates(shape, seed, turn, holes, blocks):
    tissue = random_tissue(shape, seed, turn and len(shape) > 1, holes, blocks)
    L, limit = (np.asarray(x) for x in matrix_and_limit(tissue))
    scale = np.abs(L).max() + 1e-30
    np.testing.assert_allclose(L, L.T, atol=1e-13 * scale)
    np.testing.assert_allclose(L.sum(0), 0, atol=1e-12 * scale)  # the total of V is kept
    np.testing.assert_allclose(L.sum(1), 0, atol=1e-12 * scale)  # a constant stays
    eigenvalues = np.linalg.eigvalsh(0.5 * (L + L.T))
    assert eigenvalues.max() <= 1e-12 * scale
    assert -eigenvalues.min() <= 2 / limit * (1 + 1e-12)  # so that forward Euler is stable up to the limit
    if tissue.mask is not None:
        gone = ~np.asarray(tissue.mask).ravel()
        assert not L[gone].any() and not L[:, gone].any()


@pytest.mark.parametrize("method", ["explicit", "implicit"])
@pytest.mark.slow
def test_a_run_keeps_the_total(method):
    tissue = random_tissue((8, 9), 3, turn=True, holes=True, blocks=True)
    V = jnp.asarray(np.random.default_rng(1).normal(size=(8, 9)) - 80)
    end = a_run(tissue, V, 2.0, float(tissue.diffusion().limit()), method)
    assert float(jnp.std(end[np.asarray(tissue.mask)])) < float(jnp.std(V))
    assert float(end.sum()) == pytest.approx(float(V.sum()), rel=1e-12)
    np.testing.assert_array_equal(end[~np.asarray(tissue.mask)], V[~np.asarray(tissue.mask)])


def test_a_layered_medium_conducts_as_its_harmonic_mean():
    """The slowest mode of layers one cell thick decays as that of a uniform cable of 2 / (1/a + 1/b)."""
    a, b, n, dx = 0.2, 0.02, 400, 0.05
    layers = jc.tissue.Tissue(Passive(), n, dx, np.where(np.arange(n) % 2, a, b))
    slowest = -np.linalg.eigvalsh(dense(layers.diffusion(), (n,)))[-2]
    assert slowest == pytest.approx(2 / (1 / a + 1 / b) * (np.pi / (n * dx)) ** 2, rel=0.01)
    blocks = np.where(np.arange(n) < n // 2, a, b)  # a wall between two halves held at 0 and 1 passes the series flux
    halves = jc.tissue.Tissue(Passive(), n, dx, blocks).diffusion()
    L = dense(halves, (n,))
    inner = slice(1, n - 1)
    held = np.zeros(n)
    held[-1] = 1.0
    held[inner] = np.linalg.solve(L[inner, inner], -L[inner, -1])
    length = (n / 2 - 0.5) * dx
    assert (L @ held)[0] * dx == pytest.approx(1 / (length / a + length / b), rel=1e-9)


def rotated_error(n, along, across, angle, W, D, t1=2.0):
    """RMS error of cos(t) W(x, y) on an n x n unit square with fibres, driven by what that needs."""
    tissue = jc.tissue.Tissue(Passive(), (n, n), 1 / n, (along, across), fibres=np.zeros((n, n)))
    x, y = centres(tissue)
    w, q = (jax.jit(functools.partial(on_grid, f))(x, y) for f in (W, divergence(W, D)))
    tissue = tissue.replace(cell=Passive(source=-q, sine=-w), fibres=on_grid(angle, x, y))
    V = a_run(tissue, w, t1, 0.5 * float(tissue.diffusion().limit()))
    return rms(V - np.cos(t1) * w)


@pytest.mark.parametrize("angle", [1.2, -0.5])
@pytest.mark.slow
def test_a_full_tensor_is_of_order_two_where_flux_runs_along_the_border(angle):
    along, across = 0.05, 0.01
    D = turned(along, across, jnp.asarray(angle))
    W = border_flux_free(D[0, 1] / D[1, 1])
    sizes = [32, 64]
    errors = [rotated_error(n, along, across, lambda x, y: angle + 0 * x, W, lambda x, y: D) for n in sizes]
    assert slope(sizes, errors) == pytest.approx(-2, abs=0.1)


@pytest.mark.slow
def test_fibres_that_turn_keep_order_two():
    def W(x, y):
        return jnp.sin(jnp.pi * x) ** 2 * jnp.sin(jnp.pi * y) ** 2

    def angle(x, y):
        return 0.6 + 0.8 * jnp.sin(2 * x + y)

    sizes = [30, 60]
    errors = [rotated_error(n, 0.05, 0.01, angle, W, lambda x, y: turned(0.05, 0.01, angle(x, y))) for n in sizes]
    assert slope(sizes, errors) == pytest.approx(-2, abs=0.1)


@pytest.mark.slow
def test_fibres_along_an_axis_are_its_diffusivity():
    V = jnp.asarray(np.random.default_rng(0).normal(size=(6, 7)))
    across_x = jc.tissue.Tissue(Passive(), (6, 7), (0.1, 0.2), (0.2, 0.03), fibres=np.pi / 2).diffusion()
    axes = jc.tissue.Tissue(Passive(), (6, 7), (0.1, 0.2), (0.2, 0.03)).diffusion()  # y first
    np.testing.assert_allclose(across_x(V), axes(V), atol=1e-12)
    along_x = jc.tissue.Tissue(Passive(), (6, 7), (0.1, 0.2), (0.2, 0.03), fibres=0.0).diffusion()
    swapped = jc.tissue.Tissue(Passive(), (6, 7), (0.1, 0.2), (0.03, 0.2)).diffusion()
    np.testing.assert_allclose(along_x(V), swapped(V), atol=1e-12)
    slab = jc.tissue.Tissue(Passive(), (3, 6, 7), 0.1, (0.2, 0.03, 0.07), fibres=np.pi / 2).diffusion()
    block = jc.tissue.Tissue(Passive(), (3, 6, 7), 0.1, (0.07, 0.2, 0.03)).diffusion()
    U = jnp.asarray(np.random.default_rng(1).normal(size=(3, 6, 7)))
    np.testing.assert_allclose(slab(U), block(U), atol=1e-12)


@pytest.mark.slow
def test_a_rotated_frame_sees_the_same_diffusion():
    """A bell far from the border spreads to the same second moments, turned, whatever the angle; and they are exact."""
    n, dx, along, across, t1 = 81, 0.05, 0.02, 0.004, 3.0
    for angle in (0.0, 0.5, 1.1):
        tissue = jc.tissue.Tissue(Passive(), (n, n), dx, (along, across), fibres=angle)
        x, y = (c - n * dx / 2 for c in centres(tissue))
        V = a_run(tissue, jnp.exp(-(x**2 + y**2) / 0.08), t1, 0.02)
        found = np.asarray([[(V * a * b).sum() / V.sum() for a in (x, y)] for b in (x, y)])
        expected = 0.04 * np.eye(2) + 2 * t1 * np.asarray(turned(along, across, jnp.asarray(angle)))
        np.testing.assert_allclose(found, expected, atol=2e-5)


def weighted_cable(D, n, method="implicit"):
    """A number that depends on every cell of a cable with the diffusivity D, after 1 ms."""
    tissue = jc.tissue.Tissue(Passive(), n, 0.1, D)
    V = jnp.asarray(np.random.default_rng(0).normal(size=n))
    end = a_run(tissue, V, 1.0, 0.05, method)
    return jnp.sum(end**2 * jnp.linspace(1, 2, n))


def sheet_energy(D, shape, uniform):
    """As `weighted_cable`, of a sheet."""
    graded = jnp.broadcast_to(jnp.linspace(0.5, 1.5, shape[1]), shape)
    tissue = jc.tissue.Tissue(Passive(), shape, 0.1, D * (jnp.asarray(1.0) if uniform else graded))
    V = jnp.asarray(np.random.default_rng(0).normal(size=shape))
    return jnp.sum(a_run(tissue, V, 0.3, 0.1, "implicit") ** 2 * graded)


@pytest.mark.parametrize("solve", ["tridiagonal", "cosines", "conjugate gradients"])
@pytest.mark.slow
def test_implicit_solves_have_their_derivatives_in_both_modes(solve):
    if solve == "tridiagonal":
        where = jnp.linspace(0.05, 0.2, 12)
        function = lambda D: weighted_cable(D * where, 12)  # noqa: E731
    else:
        function = lambda D: sheet_energy(D, (4, 5), solve == "cosines")  # noqa: E731
    one, h = jnp.asarray(0.1 if solve != "tridiagonal" else 1.0), 1e-5
    reverse, forward = jax.grad(function)(one), jax.jvp(function, (one,), (jnp.ones(()),))[1]
    differences = (function(one * (1 + h)) - function(one * (1 - h))) / (2 * h * one)
    assert float(reverse) == pytest.approx(float(forward), rel=1e-9)
    assert float(reverse) == pytest.approx(float(differences), rel=1e-6)


@pytest.mark.slow
def test_the_backward_pass_of_a_cable_is_of_order_n():
    """Neither the solve nor its gradient ever holds an n x n array, nor grows faster than its cable."""

    def size(n):
        gradient = jax.jit(jax.grad(lambda D: weighted_cable(D, n)))
        analysis: Any = gradient.lower(jnp.full(n, 0.1)).compile().memory_analysis()
        return analysis.temp_size_in_bytes

    assert size(8000) < 2.5 * size(4000) < 4000 * 4000 * 8 / 4


@pytest.mark.slow
def test_diffusion_is_second_order_with_a_source_and_a_stiff_implicit_step():
    """At steps far beyond the explicit limit a cable driven by a smooth source is of order two."""
    n, dx, D, t1 = 100, 0.02, 0.1, 2.0
    x = jnp.asarray((np.arange(n) + 0.5) * dx)
    mode, rate = jnp.cos(jnp.pi * x / (n * dx)), D * (2 - 2 * np.cos(np.pi / n)) / dx**2
    tissue = jc.tissue.Tissue(Passive(source=rate * mode, sine=-mode), n, dx, D)
    steps = [0.1, 0.05, 0.025]
    assert steps[-1] > 10 * float(tissue.diffusion().limit())
    for solver in (jc.RushLarsen2(), diffrax.Heun()):
        errors = [rms(a_run(tissue, mode, t1, dt, "implicit", solver) - np.cos(t1) * mode) for dt in steps]
        assert slope(steps, errors) == pytest.approx(2, abs=0.15)
