"""Whole tissues against closed forms (Pathmanathan & Gray 2014, doi 10.1002/cnm.2595) and against Diffrax."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import rms, slope
from tissue_cells import PathmanathanGray2014, border_flux_free, centres, divergence, exact, on_grid, turned

import jaxcardio as jc

BETA = {1: -1.1, 2: -5.9, 3: -8.6}
SIGMA = (1.1 / np.pi**2, 1.2 / np.pi**2, 0.3 / np.pi**2)  # along x, y, z


def published(n: int, axes: int):
    """The tissue on n cells along each axis of the unit interval, square or cube; and F and G at its cells."""
    cell = PathmanathanGray2014(beta=np.full((n,) * axes, BETA[axes]))
    D = tuple(s / float(cell.chi * cell.C_m) for s in reversed(SIGMA[:axes]))
    tissue = jc.tissue.Tissue(cell, (n,) * axes, 1 / n, D)
    x = centres(tissue)
    F, G = 1.0, 1.0
    for k, coordinate in enumerate(x):
        F, G = F * jnp.cos((k + 1) * jnp.pi * coordinate), G * coordinate ** (k + 1)
    return tissue, F, 1 + G


def rotated(n: int):
    """The same cell with fibres at 0.9 radians; its F has flux along the border, so it needs a source."""
    along, across = 0.03, 0.008
    D = turned(along, across, jnp.asarray(0.9))
    tissue = jc.tissue.Tissue(PathmanathanGray2014(beta=0.0), (n, n), 1 / n, (along, across), fibres=0.9)
    W = border_flux_free(D[0, 1] / D[1, 1])
    x, y = centres(tissue)
    q = jax.jit(lambda x, y: on_grid(divergence(W, lambda x, y: D), x, y))(x, y)
    tissue = tissue.replace(cell=tissue.cell.replace(source=-q))
    return tissue, jax.jit(lambda x, y: on_grid(W, x, y))(x, y), 1 + x * y**2


def a_run(tissue, y0, t1, dt, **settings: Any):
    return jc.tissue.simulate(tissue, t1=t1, dt=dt, save_at=[t1], y0=y0, **settings).final_state


def apart(y, truth) -> float:
    """RMS over every state."""
    return max(rms(a - b) for a, b in zip(y, truth, strict=True))


@pytest.mark.parametrize("axes", [1, 2, *(pytest.param(k, marks=pytest.mark.slow) for k in (3, "rotated"))])
def test_order_in_dx(axes):
    sizes = {1: [16, 32, 64], 2: [16, 32, 64], 3: [16, 32], "rotated": [24, 48]}[axes]
    errors = []
    for n in sizes:
        tissue, F, G = rotated(n) if axes == "rotated" else published(n, axes)
        y = a_run(tissue, exact(F, G, 0.0), 1.0, 0.002 if axes in (1, 2) else 0.004)
        errors.append(apart(y, exact(F, G, 1.0)))
    assert errors[-1] < 5e-3
    assert slope(sizes, errors) == pytest.approx(-2, abs=0.1)


@pytest.fixture(scope="module")
def on_the_grid():
    """Cable and turned sheet, and where an adaptive solver of order eight takes them: no error of space is left."""
    found = {}
    for name, (tissue, F, G) in {"cable": published(16, 1), "rotated": rotated(12)}.items():
        y0 = exact(F, G, 0.0)
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(tissue.vector_field), diffrax.Dopri8(), 0.0, 1.0, 0.01, y0,
            stepsize_controller=diffrax.PIDController(rtol=1e-11, atol=1e-12), max_steps=20_000,
        )  # fmt: skip
        found[name] = tissue, y0, jax.tree.map(lambda x: x[-1], solution.ys)
    return found


SETTINGS = {
    "strang, RushLarsen2, explicit": (2, {}),
    "strang, RushLarsen2, implicit": (2, {"diffusion": "implicit"}),
    "strang, Heun, explicit": (2, {"solver": diffrax.Heun()}),
    "strang, Heun, implicit": (2, {"solver": diffrax.Heun(), "diffusion": "implicit"}),
    "godunov, RushLarsen2, explicit": (1, {"splitting": "godunov"}),
    "godunov, RushLarsen, implicit": (1, {"splitting": "godunov", "solver": jc.RushLarsen(), "diffusion": "implicit"}),
    "godunov, Heun, explicit": (1, {"splitting": "godunov", "solver": diffrax.Heun()}),
    "strang, RushLarsen, explicit": (1, {"solver": jc.RushLarsen()}),
}


CHEAP = ("strang, RushLarsen2, explicit", "strang, Heun, implicit", "godunov, RushLarsen2, explicit")


@pytest.mark.parametrize("where", ["cable", pytest.param("rotated", marks=pytest.mark.slow)])
@pytest.mark.parametrize("which", [s if s in CHEAP else pytest.param(s, marks=pytest.mark.slow) for s in SETTINGS])
def test_order_in_dt(where, which, on_the_grid):
    order, settings = SETTINGS[which]
    tissue, y0, truth = on_the_grid[where]
    steps = [0.04, 0.02, 0.01] if where == "cable" else [0.02, 0.01, 0.005]
    errors = [apart(a_run(tissue, y0, 1.0, dt, **settings), truth) for dt in steps]
    assert slope(steps, errors) == pytest.approx(order, abs=0.15), errors


def test_the_time_that_a_cell_sees_is_absolute(on_the_grid):
    """A run in two pieces, the second from t0 = 0.5: the cell of the turned sheet depends on t."""
    tissue, y0, truth = on_the_grid["rotated"]
    half = a_run(tissue, y0, 0.5, 0.005)
    y = a_run(tissue, half, 1.0, 0.005, t0=0.5)
    assert apart(y, truth) < 2 * apart(a_run(tissue, y0, 1.0, 0.005), truth) + 1e-6


@pytest.mark.slow
def test_any_solver_of_diffrax_takes_the_whole_tissue(on_the_grid):
    """A stimulated cable of ten Tusscher cells as one term: plain, implicit, and as a tree of rates."""
    cell = jc.models.TenTusscher2004()
    tissue = jc.tissue.Tissue(cell, 12, 0.2, 0.154)
    stimulus = jc.tissue.Stimulus(jc.protocols.PulseTrain(-52.0, 1.0, 1000.0, 0.0), np.s_[:4])
    ts = [1.0, 4.0]

    def whole(term, solver, dt0=None, **controller) -> Any:
        solution: Any = diffrax.diffeqsolve(
            term, solver, 0.0, 4.0, dt0, tissue.initial_state(), args=[stimulus], max_steps=40_000,
            saveat=diffrax.SaveAt(ts=ts), **controller,
        )  # fmt: skip
        return solution.ys[0]

    adaptive = diffrax.ClipStepSizeController(diffrax.PIDController(rtol=1e-8, atol=1e-8), jump_ts=[1.0])
    true = whole(diffrax.ODETerm(tissue.vector_field), diffrax.Tsit5(), 0.005, stepsize_controller=adaptive)
    assert float(true[-1].max()) > 0
    own = jc.tissue.simulate(tissue, [stimulus], t1=4.0, dt=0.0025, save_at=ts).V
    np.testing.assert_allclose(own, true, atol=0.05)
    steps = diffrax.StepTo(ts=np.arange(801) * 0.005)
    at_once = whole(jc.RatesTerm(tissue.rates_under), jc.RushLarsen2(), stepsize_controller=steps)
    np.testing.assert_allclose(at_once, true, atol=0.2)
