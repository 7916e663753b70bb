"""Voltage clamps of the gating alone: peak current against V, availability, recovery from inactivation.

Both gatings are stepped by the same steps, so that what differs is the gating. Currents are of the open probability and
the driving force at the cell's initial sodium concentration, relative to the largest peak of the reference.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...cell import dtype_of
from ...models import Skibsbye2016
from ...numerics import nernst
from ...relaxation import Motions, is_relaxation, moves_itself
from ...simulation.compiled import WIDE, compiled
from .table import Experiment, Row, largest

NAME = "clamps"
WITHIN = 1.0
"""Bar, % of the reference's peak."""
HOLD, TEST = -120.0, -20.0
"""mV"""
SETTLE, PULSE, TEST_PULSE = 200.0, 500.0, 10.0
"""At the holding potential, conditioning, and test, ms."""
SETTLED = 3000.0
"""After which no state of the gating moves any more, ms."""
TESTS = tuple(range(-90, 61, 5))
"""Of the I-V curve, mV."""
CONDITIONING = tuple(range(-140, -19, 5))
"""Of the availability, mV."""
RECOVERING = -100.0
"""Potential of recovery, mV."""
GAPS = (1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0, 200.0)
"""Between the two pulses, ms."""


class Curve(NamedTuple):
    """Relative to the reference's largest peak; (points,) each."""

    x: np.ndarray
    """mV, or ms."""
    found: np.ndarray
    reference: np.ndarray


class Clamps(NamedTuple):
    """The three curves."""

    current_voltage: Curve
    availability: Curve
    recovery: Curve


def clamps(hybrid: Skibsbye2016, reference: Skibsbye2016, dt: float) -> Experiment:
    """The three protocols of a sodium channel, by steps of `dt` ms. A peak is the largest current after a step."""
    protocols = {
        "peak current": (TESTS, [[(V, TEST_PULSE)] for V in TESTS]),
        "availability": (CONDITIONING, [[(V, PULSE), (TEST, TEST_PULSE)] for V in CONDITIONING]),
        "recovery": (GAPS, [[(TEST, PULSE), (RECOVERING, gap), (TEST, TEST_PULSE)] for gap in GAPS]),
    }
    rows = [row for _, several in protocols.values() for row in several]
    ends = np.cumsum([len(several) for _, several in protocols.values()])[:-1]
    peaks = [np.split(peaks_of_last(cell, rows, dt), ends) for cell in (hybrid, reference)]
    curves = [
        Curve(np.array(x, float), found / true.max(), true / true.max())
        for (x, _), found, true in zip(protocols.values(), *peaks, strict=True)
    ]
    V, learned, true = curves[1]
    told = [
        _row(name, curve, "ms" if name == "recovery" else "mV") for name, curve in zip(protocols, curves, strict=True)
    ]
    told.insert(2, Row(NAME, "V of half availability", _half(V, learned), _half(V, true), "mV"))
    return Experiment(tuple(told), Clamps(*curves))


def _row(name: str, curve: Curve, unit: str) -> Row:
    k = largest(curve.found, curve.reference)
    found, true = 100 * float(curve.found[k]), 100 * float(curve.reference[k])
    return Row(NAME, f"{name}, where most wrong", found, true, "% of peak", WITHIN, f"{curve.x[k]:g} {unit}")


def _half(V: np.ndarray, availability: np.ndarray) -> float:
    """Where it falls through a half of its largest, mV, along a Boltzmann curve between two points; else NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = availability / availability.max()
        logit = np.log(share / (1 - share))
    below = np.flatnonzero((logit[1:] < 0) & (logit[:-1] >= 0))
    if not below.size:
        return float("nan")
    k = below[0]
    return float(V[k] + (V[k + 1] - V[k]) * logit[k] / (logit[k] - logit[k + 1]))


def peaks_of_last(cell: Skibsbye2016, rows: list[list[tuple[float, float]]], dt: float) -> np.ndarray:
    """Largest |open probability * (V - E_Na)| in the last phase of each row, mV, (rows,).

    Args:
        cell: whose gating is clamped.
        rows: phases of each row, potential (mV) and how long (ms), the last of one length. Before the first the
            gating settles at the holding potential.
        dt: of the steps, ms.
    """
    steps = [np.concatenate([np.full(max(1, round(ms / dt)), float(V)) for V, ms in phases]) for phases in rows]
    longest = max(map(len, steps)) + round(SETTLE / dt)
    V = np.stack([np.pad(x, (longest - len(x), 0), constant_values=HOLD) for x in steps], axis=1)
    seen = max(1, round(rows[0][-1][1] / dt))
    V = jnp.asarray(V, dtype_of(cell))
    _, current = stepped(cell, V[:-seen], V[-seen:], V[-seen:], jnp.asarray(dt, V.dtype), None)
    return np.asarray(jnp.abs(current).max(axis=0), float)


def steady_states(cell: Skibsbye2016, V: np.ndarray, dt: float = 0.1) -> dict[str, np.ndarray]:
    """Where each state of the gating settles at each potential (mV): read off relaxations, else after 3 s of steps."""
    at = jnp.asarray(V, dtype_of(cell))
    everyone = jax.tree.map(lambda x: jnp.full_like(at, x), cell.initial_state())._replace(V=at)
    rates = cell.sodium.rates(at, everyone)
    if all(map(is_relaxation, rates.values())):
        return {name: np.asarray(rate.steady) for name, rate in rates.items()}
    held = jnp.broadcast_to(at, (round(SETTLED / dt), len(V)))
    states, _ = stepped(cell, held[1:], held[:1], held[:1], jnp.asarray(dt, held.dtype), None)
    return {name: np.asarray(x)[-1] for name, x in states.items()}


def _stepped(cell: Skibsbye2016, before, V, V_after, dt, first):
    """The gating along a prescribed V: its states (steps, rows) by name and its current, mV, after each step.

    Args:
        cell: of which only the gating moves.
        before: V of the steps of which nothing is kept, mV, (steps before, rows).
        V, V_after: in the middle and at the end of each step that is kept, mV, (steps, rows).
        dt: ms.
        first: values of its states by name; default those of the cell's initial state.
    """
    gating, usual = cell.sodium, cell.initial_state()
    E_Na = nernst(1, usual.Na_ss, cell.Na_o, cell.R * cell.T / cell.F)
    everyone = jax.tree.map(lambda x: jnp.full(V.shape[1], x, V.dtype), usual)
    if first is not None:
        everyone = everyone._replace(**first)

    def moved(gates, V):
        rates = gating.rates(V, everyone._replace(V=V, **gates))
        motions = Motions(dt)
        return {n: gates[n] + (motions.increment(r, gates[n]) if moves_itself(r) else dt * r) for n, r in rates.items()}

    def kept(gates, potentials):
        middle, after = potentials
        gates = moved(gates, middle)
        open_now = gating.open_probability(everyone._replace(V=after, **gates))
        return gates, (gates, open_now * (after - E_Na))

    gates = {name: getattr(everyone, name) for name in gating.states}
    gates, _ = jax.lax.scan(lambda gates, V: (moved(gates, V), None), gates, before)
    return jax.lax.scan(kept, gates, (V, V_after))[1]


stepped = compiled(_stepped, lambda *args: WIDE)
