"""Claims about `Flow`: a state that moves itself by a map of its own goes wherever a `Relaxation` goes."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.relaxation import Flow

PACING = jc.protocols.PulseTrain(-11.5, 2.0, 1000.0, 0.0)


class Relaxing(Flow):
    """A relaxation in the clothes of a flow."""

    steady: Any
    rate: Any

    def derivative(self, x):
        return (self.steady - x) * self.rate

    def increment(self, x, dt):
        return (self.steady - x) * -jnp.expm1(-dt * self.rate)


class Flowing(jc.models.AbstractSodiumGating):
    exact: jc.models.SkibsbyeSodiumGating

    def rates(self, V, y):
        return {name: Relaxing(r.steady, r.rate) for name, r in self.exact.relaxations(V)._asdict().items()}


class Vague(jc.models.AbstractSodiumGating):
    pass


CELL = jc.models.Skibsbye2016()
FLOWING = CELL.replace(sodium=Flowing(jc.models.SkibsbyeSodiumGating()))


@pytest.mark.parametrize(
    "how",
    [
        dict(solver=jc.RushLarsen(), dt=0.05),
        dict(solver=jc.RushLarsenMidpoint(), dt=0.05),
        pytest.param(dict(solver=diffrax.Kvaerno3(), rtol=1e-5), marks=pytest.mark.slow),
    ],
    ids=["rush-larsen", "midpoint", "kvaerno3"],
)
def test_a_relaxation_written_as_a_flow_runs_alike(how):
    found, exact = (jc.simulate(c, PACING, t1=10.0, save_every=0.5, **how) for c in (FLOWING, CELL))
    assert np.ptp(exact.V) > 80
    np.testing.assert_allclose(found.V, exact.V, rtol=0, atol=1e-8)


@pytest.mark.slow
def test_with_extrapolated_coefficients_a_flow_keeps_its_own():
    """`RushLarsen2` is then of first order in those gates, and right in the limit."""
    errors = []
    exact = jc.simulate(CELL, PACING, t1=6.0, save_every=0.5, solver=jc.RushLarsenMidpoint(), dt=0.002).V
    for dt in (0.02, 0.01, 0.005):
        run = jc.simulate(FLOWING, PACING, t1=6.0, save_every=0.5, solver=jc.RushLarsen2(), dt=dt)
        errors.append(np.abs(run.V - exact).max())
    assert np.all(np.diff(np.log2(errors)) < -0.8)


@pytest.mark.slow
def test_populations_clamps_tissue_and_derivatives_take_a_flow():
    g_Na = CELL.g_Na * jnp.array([1.0, 0.8])
    how: dict[str, Any] = dict(t1=4.0, solver=jc.RushLarsenMidpoint(), dt=0.05)
    many, alone = jc.simulate(FLOWING.replace(g_Na=g_Na), PACING, **how), jc.simulate(FLOWING, PACING, **how)
    np.testing.assert_allclose(many.V[0], alone.V, rtol=0, atol=1e-9)

    clamp = jc.protocols.VoltageSteps([-90.0, -20.0], [5.0, 5.0])
    held = [jc.simulate(c, clamp, t1=10.0, save_every=0.25).ys.m for c in (FLOWING, CELL)]
    np.testing.assert_allclose(held[0], held[1], rtol=0, atol=2e-3)

    wave = []
    for cell in (FLOWING, CELL):
        tissue = jc.tissue.Tissue(cell, shape=(20,), spacing=0.1, diffusivity=0.154)
        stimulus = jc.tissue.Stimulus(jc.protocols.PulseTrain(-60.0, 1.0, 1000.0, 0.0), region=np.s_[:4])
        run = jc.tissue.simulate(tissue, [stimulus], t1=6.0, dt=0.02, save_every=1.0, solver=jc.RushLarsenMidpoint())
        wave.append(run.activation_time)
    assert np.isfinite(wave[1]).all()
    np.testing.assert_allclose(*map(np.asarray, wave), rtol=0, atol=1e-6)

    def peak(g):
        return jc.simulate(FLOWING.replace(g_Na=g), PACING, **how).V.max()

    slope = float(jax.grad(peak)(CELL.g_Na))
    ends = [float(peak(CELL.g_Na + step)) for step in (1e-3, -1e-3)]
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-3, rel=1e-4)


def test_a_part_is_replaced_by_its_name_and_computes_in_the_cells_dtype():
    cell: Any = jc.astype(CELL, jnp.float32).replace(
        sodium=jc.models.SkibsbyeSodiumGating(m_k=8.0), g_Na=500.0, h_k=5.0
    )
    assert cell.sodium.m_k.dtype == jnp.float32
    assert (cell.parameters()["m_k"].value, cell.parameters()["h_k"].value, cell.g_Na) == (8.0, 5.0, 500.0)
    held = jc.hold(CELL, "Na_i").replace(sodium=Flowing(jc.models.SkibsbyeSodiumGating()))
    assert isinstance(held.cell.sodium, Flowing)  # pyright: ignore[reportAttributeAccessIssue]
    for wrong in (3.0, None, "rates", CELL, jc.models.SkibsbyeSodiumGating):
        with pytest.raises(ValueError, match=r"part sodium = .*; allowed: an instance of AbstractSodiumGating"):
            CELL.replace(sodium=wrong)  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValueError, match=r"part sodium = .*; allowed: an instance of AbstractSodiumGating"):
            jc.models.Skibsbye2016(sodium=wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"Vague does not say how it gates; allowed: with `relaxations` or `rates`"):
        Vague()
    with pytest.raises(ValueError, match="did you mean sodium"):
        CELL.replace(sodum=3.0)
