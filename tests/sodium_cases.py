"""What the tests of the learned sodium gatings share."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxcardio as jc

CELL = jc.models.Skibsbye2016()
PACING = jc.protocols.PulseTrain(amplitude=-11.5, duration=2.0, period=1000.0, start=0.0)
GATES = ("m", "h1", "h2")


@functools.cache
def one_beat(name: str, dt: float = 0.1) -> np.ndarray:
    """V every 0.1 ms of a beat at 1 Hz, mV; of the exact channel or of a gating that ships."""
    cell = CELL if name == "exact" else CELL.replace(sodium=jc.sodium.load(name))
    run = jc.simulate(cell, PACING, t1=600.0, dt=dt, save_every=0.1, outputs=["V"], solver=jc.RushLarsenMidpoint())
    return np.asarray(run.V)


def rms(x) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(x)))))


def random_states(n: int, seed: int = 0):
    """Potentials of -140 to 100 mV, gates from 0 to 1 with both ends among them, and steps of 1 to 100 us."""
    rng = np.random.default_rng(seed)
    V, gates = rng.uniform(-140, 100, n), rng.uniform(-0.1, 1.1, (3, n)).clip(0, 1)
    return jnp.asarray(V), jnp.asarray(gates), jnp.asarray(np.exp(rng.uniform(np.log(1e-3), np.log(0.1), n)))


def untrained(kind, scale: float = 10.0):
    """A gating with large random weights."""
    keys = iter(jax.random.split(jax.random.key(3), 100))
    return jax.tree.map(lambda x: scale * jax.random.normal(next(keys), x.shape), kind())


def runs_in_float32_and_as_a_population(cell):
    """Asserts that it does; the double-precision V every 0.1 ms of 20 ms, mV."""
    how: dict[str, Any] = dict(t1=20.0, dt=0.1, save_every=0.1, solver=jc.RushLarsenMidpoint())
    double = jc.simulate(cell, PACING, **how).V
    single = jc.simulate(jc.astype(cell, jnp.float32), PACING, **how).V
    assert single.dtype == jnp.float32
    assert rms(np.asarray(single, float) - np.asarray(double)) < 0.02
    many = jc.simulate(cell.replace(g_Na=cell.g_Na * jnp.array([0.8, 1.0])), PACING, **how).V
    np.testing.assert_allclose(many[1], double, rtol=0, atol=1e-9)
    return double


def soft_apd90(run):
    return jc.biomarkers.soft_apd(run.ts, run.V, level=90.0)
