"""Voltage clamps of the gating alone: peak current against V, availability, recovery from inactivation.

Both gatings are stepped by the same steps, so that what differs is the gating. Currents are of the open probability and
the driving force at the cell's initial sodium concentration, relative to the largest peak of the reference.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...cell import dtype_of
from ...models import Skibsbye2016
from ...numerics import nernst
from ...relaxation import moves_itself
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
    """The three protocols of a sodium channel, by steps of `dt` ms."""
    protocols = {
        "peak current": (np.array(TESTS, float), [(HOLD, SETTLE), (np.array(TESTS, float), TEST_PULSE)], "mV"),
        "availability": (
            np.array(CONDITIONING, float),
            [(HOLD, SETTLE), (np.array(CONDITIONING, float), PULSE), (TEST, TEST_PULSE)],
            "mV",
        ),
    }
    rows, found = [], []
    for name, (x, phases, unit) in protocols.items():
        found.append(_compared(hybrid, reference, x, [phases], dt))
        rows.append(_row(name, found[-1], unit))
    gaps = [[(HOLD, SETTLE), (TEST, PULSE), (np.full(1, RECOVERING), gap), (TEST, TEST_PULSE)] for gap in GAPS]
    found.append(_compared(hybrid, reference, np.array(GAPS), gaps, dt))
    rows.append(_row("recovery", found[-1], "ms"))
    V, learned, true = found[1]
    rows.insert(2, Row(NAME, "V of half availability", _half(V, learned), _half(V, true), "mV"))
    return Experiment(tuple(rows), Clamps(*found))


def _compared(hybrid, reference, x: np.ndarray, protocols: list[Any], dt: float) -> Curve:
    found, true = (
        np.abs(np.concatenate([peak_of_last(cell, phases, dt) for phases in protocols])) for cell in (hybrid, reference)
    )
    return Curve(x, found / true.max(), true / true.max())


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


def peak_of_last(cell: Skibsbye2016, phases: list[tuple[Any, float]], dt: float) -> np.ndarray:
    """Largest |open probability * (V - E_Na)| of the last phase, mV, one a potential.

    Args:
        cell: whose gating is clamped.
        phases: potential (mV; a number, or one a row) and how long, ms.
        dt: of the steps, ms.
    """
    rows = max(np.size(V) for V, _ in phases)
    counts = [max(1, round(length / dt)) for _, length in phases]
    levels = [np.broadcast_to(np.asarray(V, float), (rows,)) for V, _ in phases]
    V = np.repeat(np.stack(levels), counts, axis=0)
    dtype = dtype_of(cell)
    _, current = stepped(cell, jnp.asarray(V, dtype), jnp.asarray(V, dtype), jnp.asarray(dt, dtype), None)
    last = np.asarray(current)[-counts[-1] :]
    return last[np.argmax(np.abs(last), axis=0), np.arange(rows)]


def _stepped(cell: Skibsbye2016, V, V_after, dt, first):
    """The gating along a prescribed V: its states (steps, rows) by name and its current, mV, after each step.

    Args:
        cell: of which only the gating moves.
        V, V_after: in the middle and at the end of each step, mV, (steps, rows).
        dt: ms.
        first: values of its states by name; default those of the cell's initial state.
    """
    gating, usual = cell.sodium, cell.initial_state()
    E_Na = nernst(1, usual.Na_ss, cell.Na_o, cell.R * cell.T / cell.F)
    everyone = jax.tree.map(lambda x: jnp.full(V.shape[1], x, V.dtype), usual)
    if first is not None:
        everyone = everyone._replace(**first)

    def step(gates, potentials):
        middle, after = potentials
        y = everyone._replace(V=middle, **gates)
        rates = gating.rates(middle, y)
        gates = {n: gates[n] + (r.increment(gates[n], dt) if moves_itself(r) else dt * r) for n, r in rates.items()}
        open_now = gating.open_probability(y._replace(**gates))
        return gates, (gates, open_now * (after - E_Na))

    begin = {name: getattr(everyone, name) for name in gating.states}
    return jax.lax.scan(step, begin, (V, V_after))[1]


stepped = compiled(_stepped, lambda *args: WIDE)


def steady_states(cell: Skibsbye2016, V: np.ndarray, dt: float = 0.1) -> dict[str, np.ndarray]:
    """Where each state of the gating has settled after 3 s at each potential (mV), by steps of `dt` ms."""
    steps, dtype = round(SETTLED / dt), dtype_of(cell)
    held = jnp.broadcast_to(jnp.asarray(V, dtype), (steps, len(V)))
    states, _ = stepped(cell, held, held, jnp.asarray(dt, dtype), None)
    return {name: np.asarray(x)[-1] for name, x in states.items()}
