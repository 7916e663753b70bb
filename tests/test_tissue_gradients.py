"""Claims about derivatives of what a tissue does: both modes, differences, cells without a wave, memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.simulation.compiled import BRIEF
from jaxcardio.tissue import Stimulus, Tissue, simulate

N = 30
MEDIUM = jc.models.AlievPanfilov1996()
KICK = jc.protocols.PulseTrain(-0.5, 2.0, 1000.0, 0.0)
IONIC = jc.models.TenTusscher2004()
PULSE = jc.protocols.PulseTrain(-55.0, 2.0, 1000.0, 0.0)
WAYS = [("strang", "explicit"), ("strang", "implicit"), ("godunov", "explicit"), ("godunov", "implicit")]
quickly = functools.partial(jax.jit, compiler_options=dict(BRIEF))


def electrogram(V):
    """What an electrode 1 mm beside the middle of a cable sees, up to a constant, of V (time, n); dx 0.1 mm."""
    x = 0.1 * (np.arange(V.shape[1]) - 0.5 * V.shape[1])
    closeness = 1 / np.sqrt(x**2 + 1.0)
    return -jnp.diff(V, axis=1) @ np.diff(closeness)


def two_numbers(cell, name, pulse, dt, t1, **how):
    """(D, conductance), each a number times a map -> when a wave arrives (ms), and the power of an electrogram."""

    def of(p):
        changed = cell.replace(**{name: p["g"] * p["g_map"]})
        tissue = Tissue(changed, (N,), 0.1, p["D"] * p["D_map"])
        run = simulate(tissue, [Stimulus(pulse, np.s_[:5])], t1=t1, dt=dt, save_every=0.5, **how)
        return jnp.stack([run.activation_time[N - 4], jnp.mean(electrogram(run.V) ** 2)])

    maps = 1 + 0.2 * np.random.default_rng(1).random((2, N))
    start = {"D": 0.154, "D_map": maps[0], "g": float(cell.parameters()[name].value), "g_map": maps[1]}
    return of, {k: jnp.asarray(v) for k, v in start.items()}


def directions(p):
    """Along each parameter, by its own size; along the maps at random."""
    rng = np.random.default_rng(2)
    nothing = jax.tree.map(jnp.zeros_like, p)
    return [nothing | {k: x * jnp.asarray(rng.random(x.shape) if x.ndim else 1.0)} for k, x in p.items()]


def forward(function, p):
    """Along each of `directions`, (directions, outputs)."""
    ways = jax.tree.map(lambda *x: jnp.stack(x), *directions(p))
    return quickly(jax.vmap(lambda d: jax.jvp(function, (p,), (d,))[1]))(ways)


def differences(function, p, h):
    run = quickly(jax.vmap(function))
    ends = [jax.tree.map(lambda x, dx, s=s: x + s * h * dx, p, d) for d in directions(p) for s in (1, -1)]
    found = run(jax.tree.map(lambda *x: jnp.stack(x), *ends))
    return (found[::2] - found[1::2]) / (2 * h)


def reverse(function, p):
    jacobian = quickly(jax.jacrev(function))(p)
    return np.array([sum(np.tensordot(jacobian[k], d[k], d[k].ndim) for k in p) for d in directions(p)])


@pytest.mark.slow
def test_derivatives_of_a_wave_of_ten_tusscher_are_those_of_differences():
    """With respect to D and g_Na, each a number and a map."""
    of, p = two_numbers(IONIC, "g_Na", PULSE, 0.02, 10.0)
    slopes = forward(of, p)
    assert (np.abs(slopes) > 1e-3).all()
    np.testing.assert_allclose(slopes, differences(of, p, 1e-6), rtol=1e-3)


@pytest.mark.slow
def test_both_modes_agree_to_rounding():
    of, p = two_numbers(MEDIUM, "k", KICK, 0.02, 8.0, diffusion="implicit")
    slopes = forward(of, p)
    np.testing.assert_allclose(reverse(of, p), slopes, rtol=1e-9)
    np.testing.assert_allclose(slopes, differences(of, p, 1e-5), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("splitting", "diffusion"), WAYS)
def test_both_modes_and_differences_agree_in_ten_tusscher(splitting, diffusion):
    of, p = two_numbers(IONIC, "g_Na", PULSE, 0.02, 10.0, splitting=splitting, diffusion=diffusion)
    slopes = forward(of, p)
    np.testing.assert_allclose(reverse(of, p), slopes, rtol=1e-9)
    np.testing.assert_allclose(slopes, differences(of, p, 1e-6), rtol=1e-3)


@pytest.mark.slow
def test_cells_without_a_wave_do_not_spoil_the_derivative_of_others():
    """The last cells are cut off, and stay at rest where u decays to 1e-200 and less: their time is NaN."""
    cut = np.ones(N - 1)
    cut[20] = 0.0
    stimulus = Stimulus(KICK, np.s_[:5])

    def arrival(D, k, at):
        run = simulate(Tissue(MEDIUM.replace(k=k), (N,), 0.1, D, coupling=[cut]), [stimulus], t1=6.0, dt=0.02)
        return jnp.where(jnp.isnan(run.activation_time), 0.0, run.activation_time)[at], run.activation_time

    D, k = jnp.full(N, 0.154), jnp.full(N, 8.0)
    slopes, times = quickly(jax.grad(arrival, argnums=(0, 1), has_aux=True))(D, k, 18)
    assert np.isnan(times[21:]).all()
    assert np.isfinite(times[:21]).all()
    for slope in slopes:
        assert np.isfinite(slope).all()
        assert (np.asarray(slope)[21:] == 0).all()
        assert (np.asarray(slope)[8:17] < 0).all()  # more conductivity, or excitability, on the way: earlier


@pytest.mark.slow
def test_per_axis_diffusivity_of_a_sheet_has_the_derivative_of_its_differences():
    def arrival(D):
        sheet = Tissue(MEDIUM, (6, 20), 0.1, D)
        run = simulate(sheet, [Stimulus(KICK, np.s_[:3, :4])], t1=6.0, dt=0.02)
        return run.activation_time[-1, -1]

    D = jnp.asarray([0.06, 0.154])
    ends = jnp.asarray([D + s * 1e-5 * unit for unit in np.eye(2) for s in (1, -1)])
    times = quickly(jax.vmap(arrival))(ends)
    np.testing.assert_allclose(quickly(jax.jacfwd(arrival))(D), (times[::2] - times[1::2]) / 2e-5, rtol=1e-5)


def arrival_of_long_run(D, save_every, t1=30.0, n=12):
    run = simulate(Tissue(MEDIUM, (n,), 0.1, D), [Stimulus(KICK, np.s_[:4])], t1=t1, dt=0.02, save_every=save_every)
    return run.activation_time[-1] + jnp.sum(run.final_state.v)


@pytest.mark.slow
def test_blocks_of_blocks_change_no_bit_of_a_gradient():
    """Samples every 0.16 ms cut 1500 steps into 188 blocks, more than are kept; those of 1 ms into 30."""
    D = jnp.full(12, 0.154)
    gradients = [
        quickly(jax.grad(functools.partial(arrival_of_long_run, save_every=every)))(D) for every in (0.16, 1.0)
    ]
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-12)


def temporary_mb(function, *args) -> float:
    analysis = jax.jit(jax.grad(function)).lower(*args).compile().memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes / 1e6


@pytest.mark.slow
def test_memory_of_a_gradient_grows_as_the_root_of_the_length():
    D = jnp.full(400, 0.154)
    short, long = (
        temporary_mb(functools.partial(arrival_of_long_run, save_every=1.0, t1=t1, n=400), D) for t1 in (150.0, 2400.0)
    )
    assert long < 5 * short  # for 16 times the length


@pytest.mark.slow
def test_a_gradient_through_200_ionic_cells_and_100_ms_takes_less_than_200_mb():
    def loss(p):
        D, g_Na = p
        tissue = Tissue(IONIC.replace(g_Na=g_Na), (200,), 0.1, D)
        run = simulate(tissue, [Stimulus(PULSE, np.s_[:5])], t1=100.0, dt=0.02, save_every=1.0)
        return run.activation_time[150] + jnp.mean(electrogram(run.V) ** 2)

    assert temporary_mb(loss, (jnp.full(200, 0.154), jnp.full(200, 14.838))) < 200
