"""The gating alone along the reference's action potential: gates and current, at the step that is evaluated."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ...cell import dtype_of
from ...models import Skibsbye2016
from ...models.sodium_gating import AbstractSodiumGating
from ...numerics import nernst
from .beats import reference_of
from .clamps import stepped
from .table import Experiment, Row, largest, rms

NAME = "ap_clamp"


class Along(NamedTuple):
    """Along the last beat of the reference; arrays over samples (a step apart)."""

    ts: np.ndarray
    """Since the stimulus, ms."""
    V: np.ndarray
    """mV"""
    current: np.ndarray
    """Open probability * (V - E_Na), mV."""
    reference: np.ndarray
    gates: dict[str, np.ndarray]
    reference_gates: dict[str, np.ndarray]
    """m, h1, h2, where both have them."""


def action_potential_clamp(
    hybrid: Skibsbye2016, reference: Skibsbye2016, dt: float, beats: int, cycle_length: float
) -> Experiment:
    """Steps the gating under V of the converged reference, taken in the middle of each step."""
    true = reference_of(reference, beats, cycle_length)
    n = int(cycle_length / dt + 1e-6)
    halves = 0.5 * dt * np.arange(2 * n + 1)
    known = true.at(np.minimum(halves, cycle_length)).ys
    V, dtype = np.asarray(known.V, float), dtype_of(hybrid)
    middle, after = (jnp.asarray(V[first::2, None], dtype) for first in (1, 2))
    same = hybrid.sodium.states == reference.sodium.states
    first = {n: getattr(true.start, n) for n in hybrid.sodium.states} if same else hybrid.sodium.initial(true.start)
    first = {name: jnp.full(1, x, dtype) for name, x in first.items()}
    gates, current = stepped(hybrid, middle[:0], middle, after, jnp.asarray(dt, dtype), first)
    found, ts = np.asarray(current, float)[:, 0], halves[2::2]
    open_known = np.asarray(reference.sodium.open_probability(known), float)
    E_Na = float(nernst(1, reference.initial_state().Na_ss, reference.Na_o, reference.R * reference.T / reference.F))
    wanted = (open_known * (V - E_Na))[2::2]
    peak = np.abs(wanted).max()
    k = largest(found, wanted)
    here, there = (float(100 * np.abs(x[k]) / peak) for x in (found, wanted))
    rows = [
        Row(NAME, "I_Na, where most wrong", here, there, "% of peak", None, f"{ts[k]:.2f} ms"),
        Row(NAME, "RMSE of I_Na", 100 * rms(found - wanted) / peak, None, "% of peak"),
    ]
    shared = [n for n in AbstractSodiumGating.states if n in hybrid.sodium.states and n in reference.sodium.states]
    learned = {name: np.asarray(gates[name], float)[:, 0] for name in shared}
    exact = {name: np.asarray(getattr(known, name), float)[2::2] for name in shared}
    rows += [Row(NAME, f"RMSE of {name}", rms(learned[name] - exact[name]), None, "1") for name in shared]
    return Experiment(tuple(rows), Along(ts, V[2::2], found, wanted, learned, exact))
