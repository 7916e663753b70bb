"""Figures of learned sodium gating: gates, the last beat, restitution, clamps, and what an accuracy costs."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ..annotations import typed
from ..arguments import refusal
from ..models import Skibsbye2016
from ..sodium import Evaluation
from ..sodium.evaluation import action_potential_clamp, beats, clamps, restitution
from ..sodium.evaluation.clamps import steady_states
from .style import COLOURS, INK, axes_named, empty_figure, given_or_new, house_style, legend

REFERENCE = {"color": INK, "linewidth": 2.4, "alpha": 0.55}
"""The reference is drawn wide and grey, what is evaluated thin upon it."""
LEARNED = {"color": COLOURS[1], "linewidth": 1.1}
Clamp = Literal["current_voltage", "availability", "recovery"]
CLAMPS: dict[Clamp, tuple[str, str]] = {
    "current_voltage": ("test potential (mV)", "peak $I_{Na}$ (of the reference's largest)"),
    "availability": ("conditioning potential (mV)", "available $I_{Na}$"),
    "recovery": ("interval (ms)", "recovered $I_{Na}$"),
}


@typed
def gate_along_beat(found: Evaluation, gate: str = "m", ax: Any = None) -> Any:
    """A gate along the reference's action potential: the reference's own, and the evaluated gating's under that V."""
    ax, along = given_or_new(ax), _curves(found, action_potential_clamp.NAME)
    if gate not in along.gates:
        raise refusal("gate", gate, "", f"of {', '.join(along.gates)}")
    ax.plot(along.ts, along.reference_gates[gate], label="reference", **REFERENCE)
    ax.plot(along.ts, along.gates[gate], label="evaluated", **LEARNED)
    ax.set_xlabel("time since the stimulus (ms)")
    ax.set_ylabel(gate)
    return ax


@typed
def gate_of_potential(cells: Mapping[str, Any], gate: str = "m", ax: Any = None) -> Any:
    """Where a gate settles at each potential, of each cell by the name of its gating; the first is the reference."""
    V = np.linspace(-120.0, 40.0, 161)
    ax = given_or_new(ax)
    for k, (name, cell) in enumerate(cells.items()):
        if not isinstance(cell, Skibsbye2016) or gate not in cell.sodium.states:
            raise refusal("cells", cell, "", f"cells of Skibsbye2016 with a gate {gate}, by name")
        style = REFERENCE if k == 0 else {**LEARNED, "color": COLOURS[k % len(COLOURS)]}
        ax.plot(V, steady_states(cell, V)[gate], label=name, **style)
    ax.set_xlabel("V (mV)")
    ax.set_ylabel(f"{gate}, settled")
    return ax


@typed
def last_beat(found: Evaluation, ax: Any = None, below: Any = None) -> Any:
    """V of the last beat, reference and evaluated; with the difference on the axes `below`, if there are such."""
    ax = given_or_new(ax)
    last = ax if below is None else axes_named("below", below)
    beat = _curves(found, beats.NAME)
    ax.plot(beat.ts, beat.reference, label="converged reference", **REFERENCE)
    ax.plot(beat.ts, beat.V, label=f"{type(found.cell.sodium).__name__}, {found.dt:g} ms", **LEARNED)
    ax.set_ylabel("V (mV)")
    if below is not None:
        below.axhline(0, color=INK, linewidth=0.6)
        below.plot(beat.ts, beat.V - beat.reference, **LEARNED)
        below.set_ylabel("difference (mV)")
        # Linear between -0.1 and 0.1: the upstroke's difference would else hide all others.
        below.set_yscale("symlog", linthresh=0.1)
    last.set_xlabel(f"time since stimulus {found.beats} (ms)")
    return ax


@typed
def apd_restitution(found: Evaluation, protocol: Literal["S1-S2", "dynamic"] = "S1-S2", ax: Any = None) -> Any:
    """APD90 against the interval (of the dynamic protocol the last two beats at each), reference and evaluated."""
    ax, both = given_or_new(ax), _curves(found, restitution.NAME)
    named = (("reference", both.reference, REFERENCE, "o"), ("evaluated", both.found, LEARNED, "."))
    for label, curves, style, marker in named:
        values = curves.s1_s2[:, None] if protocol == "S1-S2" else curves.dynamic
        for k, value in enumerate(values.T):
            ax.plot(curves.intervals, value, marker=marker, label=label if k == 0 else None, **style)
    ax.set_xlabel("S1-S2 interval (ms)" if protocol == "S1-S2" else "cycle length (ms)")
    ax.set_ylabel("APD90 (ms)")
    return ax


@typed
def clamp(found: Evaluation, which: Clamp = "availability", ax: Any = None) -> Any:
    """One of the curves of the voltage clamps, reference and evaluated."""
    ax, curve = given_or_new(ax), getattr(_curves(found, clamps.NAME), which)
    ax.plot(curve.x, curve.reference, marker="o", label="reference", **REFERENCE)
    ax.plot(curve.x, curve.found, marker=".", label="evaluated", **LEARNED)
    if which == "recovery":
        ax.set_xscale("log")
    x, y = CLAMPS[which]
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    return ax


@typed
def error_cost(rows: Sequence[Mapping[str, Any]], ax: Any = None, error: str = "rmse_mV") -> Any:
    """What an accuracy costs: seconds a beat against the error, one line a way, one point a step.

    Args:
        rows: of `benchmarks/sodium.py`, or the like: mappings with `way`, `dt` (ms), `seconds_a_beat` and the error.
        ax: axes, or None for new ones.
        error: name of the error, on the horizontal axis.
    """
    ax = given_or_new(ax)
    for name in ("way", "dt", "seconds_a_beat", error):
        if not rows or any(name not in row for row in rows):
            raise refusal("rows", f"{len(rows)} rows", "", f"mappings with {name!r}, at least one")
    styles = [(colour, line) for line in ("-", "--") for colour in COLOURS]
    for (colour, line), way in zip(styles, dict.fromkeys(row["way"] for row in rows), strict=False):
        some = sorted((row["dt"], row[error], row["seconds_a_beat"]) for row in rows if row["way"] == way)
        _, errors, seconds = np.array(some, float).T
        ax.plot(errors, seconds, line, color=colour, marker="o", markersize=3, label=way)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("RMSE of V over a beat (mV)" if error == "rmse_mV" else error)
    ax.set_ylabel("seconds a beat")
    return ax


@typed
def evaluation(found: Evaluation) -> Any:
    """A page of every experiment that was done."""
    draw = {
        beats.NAME: _draw_beat,
        restitution.NAME: _draw_restitution,
        clamps.NAME: _draw_clamps,
        action_potential_clamp.NAME: _draw_gates,
    }
    names = [name for name in draw if name in found.curves]
    if not names:
        raise refusal("found", ", ".join(found.curves) or "no experiment", "", f"at least one of {', '.join(draw)}")
    with house_style():
        page = empty_figure(size=(11, 3.2 * len(names) + 0.4))
        page.suptitle(f"{type(found.cell.sodium).__name__}, {found.solver}, steps of {found.dt:g} ms", color=INK)
        parts = page.subfigures(len(names), 1, squeeze=False)[:, 0]
        for part, name in zip(parts, names, strict=True):
            draw[name](found, part)
    return page


def _draw_beat(found: Evaluation, part: Any) -> None:
    left, right = part.subplots(1, 2)
    last_beat(found, left, right)
    left.set_xlabel("time since the last stimulus (ms)")
    legend(left)


def _draw_restitution(found: Evaluation, part: Any) -> None:
    for ax, protocol in zip(part.subplots(1, 2, sharey=True), ("S1-S2", "dynamic"), strict=True):
        apd_restitution(found, protocol, ax)
    legend(part.axes[0])


def _draw_clamps(found: Evaluation, part: Any) -> None:
    for ax, which in zip(part.subplots(1, 3), CLAMPS, strict=True):
        clamp(found, which, ax)
    legend(part.axes[0])


def _draw_gates(found: Evaluation, part: Any) -> None:
    gates = list(_curves(found, action_potential_clamp.NAME).gates)
    for ax, gate in zip(part.subplots(1, max(1, len(gates)), squeeze=False)[0], gates, strict=False):
        gate_along_beat(found, gate, ax)
        ax.set_xlim(0, 60 if gate == "m" else None)


def _curves(found: Evaluation, name: str) -> Any:
    """What an experiment measured; a ValueError where it was not done."""
    if name not in found.curves:
        done = f"an evaluation of {', '.join(found.curves) or 'nothing'}"
        raise refusal("found", done, "", f"one with the experiment {name!r}")
    return found.curves[name]
