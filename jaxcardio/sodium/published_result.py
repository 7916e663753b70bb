"""What the study's network does: its curves and the cell that it is put into, beside the paper's own numbers."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float

from ..annotations import typed
from ..arguments import check, check_known, check_whole, refusal
from ..biomarkers import action_potentials
from ..models import Skibsbye2016
from ..models.sodium_gating import AbstractSodiumGating
from ..protocols import PulseTrain
from ..simulation.simulate import simulate
from ..simulation.trace import Trace
from ..solvers import RushLarsenMidpoint
from .published import SteadySodiumGating
from .published_objective import Gates, collocation_voltages, exact_relaxations, sodium_current, steady_gates

PERIOD = 1000.0
"""ms, of the pacing at 1 Hz."""
STIMULUS = PulseTrain(amplitude=-11.5, duration=2.0, period=PERIOD, start=0.0)
"""2 ms of -575 pA, the stimulus of the cell's lineage; the paper does not tell its own."""
SAMPLE = 0.1
"""ms between the samples that an RMSE is taken over, which are those of a whole cycle."""
EXACT, NETWORK, CONTROL = "exact rates", "published network", "exact steady states"
SAID = {"table": 0.6, "text": 6.6}
"""ms: how much longer the hybrid's APD90 is, as the paper's table and its text have it."""


class PublishedCurves(NamedTuple):
    """Gates and current against potential (the paper's Figure 2, and its training target)."""

    V: Float[np.ndarray, " voltages"]
    """mV."""
    exact: Gates
    """The model's steady states."""
    network: Gates
    target: Float[np.ndarray, " voltages"]
    """pA: the current of the exact steady states."""
    current: Float[np.ndarray, " voltages"]
    """pA: the network's."""


class PublishedRow(NamedTuple):
    """A line of the paper's Table 1, or of ours beside it. NaN where the paper tells nothing."""

    name: str
    apd90: float
    """ms; of a beat that does not fire, of what the stimulus leaves."""
    rmp: float
    """mV."""
    dvdt_max: float
    """V/s."""
    apa: float
    """mV."""
    rmse: float
    """mV, against our cell with exact rates over a whole cycle; of the printed hybrid the paper's own number."""
    fires: bool
    """Whether V rises above 0 mV."""


@typed
def published_curves(gating: AbstractSodiumGating, V: Float[ArrayLike, " voltages"] | None = None) -> PublishedCurves:
    """A gating's steady states and current beside the exact ones at V (mV; default the 1000 training voltages)."""
    check("V", V, "mV", "finite", np.isfinite)
    at = collocation_voltages() if V is None else jnp.asarray(V, float)
    exact, found = (steady_gates(r) for r in (exact_relaxations(at), gating.relaxations(at)))
    target, current = (np.asarray(sodium_current(gates, at)) for gates in (exact, found))
    return PublishedCurves(np.asarray(at), _on_host(exact), _on_host(found), target, current)


@typed
def gates_along(gating: AbstractSodiumGating, trace: Trace) -> tuple[Gates, Gates]:
    """The gates of a saved run of the cell, and the steady states of a gating at the same potentials; (time,) each.

    ValueError: a trace without m, h1 and h2.
    """
    missing = [name for name in Gates._fields if name not in getattr(trace.ys, "_fields", ())]
    if missing:
        raise ValueError(f"trace: without {', '.join(missing)}; allowed: a run of Skibsbye2016 with m, h1 and h2 saved")
    followed = Gates(*(getattr(trace.ys, name) for name in Gates._fields))
    return _on_host(followed), _on_host(steady_gates(gating.relaxations(jnp.asarray(trace.V))))


@typed
def published_beats(network: AbstractSodiumGating, *, beats: int = 1, dt: float = 0.01) -> dict[str, Trace]:
    """The last of some beats at 1 Hz of the Skibsbye cell with exact rates, the network, and exact steady states.

    The cell begins where 3000 beats with its own gating have left it. Steps are those of `RushLarsenMidpoint`; every
    state is saved each 0.1 ms.

    Args:
        network: the gating of "published network", e.g. that of `train_published`.
        beats: how many, the last of which is kept.
        dt: longest step, ms.

    ValueError: an argument out of its range.
    """
    check_whole("beats", beats, "beats")
    check_known("dt", dt, "ms", "above 0, at most 1", lambda x: (x > 0) & (x <= 1))
    cell = Skibsbye2016()
    gatings = {EXACT: cell.sodium, NETWORK: network, CONTROL: SteadySodiumGating(cell.sodium)}
    return {name: _last_beat(cell.replace(sodium=gating), beats, dt) for name, gating in gatings.items()}


@typed
def published_table(traces: Mapping[str, Trace]) -> list[PublishedRow]:
    """The paper's Table 1 as printed, and as built: exact rates, the network, and the control that no map can beat.

    The paper's text gives an APD90 difference of 6.6 ms, its table of 0.6 ms. Two more rows show what RMSE each would
    mean: our beat with exact rates, its repolarisation stretched by so much. The table's alone makes 0.04 mV, so the
    printed 0.18 mV leaves room for it; the text's alone makes 0.45 mV.

    Args:
        traces: those of `published_beats`.

    ValueError: traces of which none is called "exact rates".
    """
    if EXACT not in traces:
        raise refusal("traces", list(traces), "", f"those of `published_beats`, {EXACT!r} among them")
    reference = traces[EXACT]
    ours = {name: _row(name, trace, reference) for name, trace in traces.items()}
    return [
        PublishedRow("paper: exact rates", 283.8, -74.8, 217.5, 103.0, np.nan, True),
        PublishedRow("paper: network", 284.4, -74.8, 213.4, 103.0, 0.18, True),
        *ours.values(),
        *(
            _stretched(f"exact rates, APD90 + {by} ms (the paper's {where})", ours[EXACT], reference, by)
            for where, by in SAID.items()
        ),
    ]


def _last_beat(cell: Skibsbye2016, beats: int, dt: float) -> Trace:
    start, y0 = (beats - 1) * PERIOD, None
    if beats > 1:
        y0 = simulate(
            cell, STIMULUS, t1=start, solver=RushLarsenMidpoint(), dt=dt, save_every=PERIOD, outputs=("V",)
        ).final_state
    return simulate(
        cell, STIMULUS, t0=start, t1=start + PERIOD, y0=y0, solver=RushLarsenMidpoint(), dt=dt, save_every=SAMPLE
    )


def _row(name: str, trace: Trace, reference: Trace) -> PublishedRow:
    beat = action_potentials(trace)
    apd90, rmp, dvdt_max, apa = (float(np.asarray(x)[0]) for x in (beat.apd90, beat.rmp, beat.dvdt_max, beat.apa))
    rmse, fires = _rmse(trace.V, reference.V), bool(np.max(trace.V) > 0)
    return PublishedRow(name, apd90, rmp, dvdt_max, apa, rmse, fires)


def _stretched(name: str, row: PublishedRow, reference: Trace, by: float) -> PublishedRow:
    """The reference's row and beat, all that follows the peak of V drawn out until APD90 is longer by so much."""
    t, V = np.asarray(reference.ts), np.asarray(reference.V)
    after = t - t[np.argmax(V)]
    squeezed = after * row.apd90 / (row.apd90 + by)
    stretched = np.interp(np.where(after > 0, squeezed, after), after, V)
    return row._replace(name=name, apd90=row.apd90 + by, rmse=_rmse(stretched, V))


def _on_host(gates: Gates) -> Gates:
    return Gates(*(np.asarray(x) for x in gates))


def _rmse(V, other) -> float:
    return float(np.sqrt(np.mean((np.asarray(V) - np.asarray(other)) ** 2)))
