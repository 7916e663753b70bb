"""Figures of runs and recordings: potentials, currents, beats, and the protocol that was applied."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..annotations import typed
from ..arguments import check_whole, refusal
from ..biomarkers import ActionPotentials, Restitution
from ..clock import RESOLUTION
from ..protocols import AbstractProtocol
from ..simulation.trace import Trace
from .style import COLOURS, INK, cut_spikes, given_or_new, legend, pretty


@typed
def potential(trace: Trace, ax: Any = None, *, cells: Sequence[int] | None = None, **style) -> Any:
    """Membrane potential against time. Of a population the chosen `cells` (default: the first five)."""
    ax = given_or_new(ax)
    V = np.asarray(trace.V)
    if V.ndim == 1:
        ax.plot(trace.ts, V, **({"color": COLOURS[0]} | style))
    else:
        chosen = range(min(5, len(V))) if cells is None else cells
        for k, i in enumerate(chosen):
            ax.plot(trace.ts, V[i], **({"color": COLOURS[k % len(COLOURS)], "label": f"cell {i}"} | style))
        legend(ax)
    ax.set_xlabel(f"time ({time_unit(trace)})")
    ax.set_ylabel(potential_label(trace))
    return ax


@typed
def currents(trace: Trace, names: Sequence[str] | None = None, ax: Any = None, *, cell: int = 0) -> Any:
    """Named currents of one cell against time (default: the six that carry most charge). Outward is positive."""
    ax = given_or_new(ax)
    units = _cell_of(trace).units
    found = {k: _one(v, cell) for k, v in trace.currents()._asdict().items()}
    if names is None:
        membrane = [k for k in found if k in _cell_of(trace).conductances or not _cell_of(trace).conductances]
        names = sorted(membrane, key=lambda k: -np.abs(found[k]).mean())[:6]
    for k, name in enumerate(names):
        if name not in found:
            raise ValueError(f"names: no current {name!r}; allowed: {', '.join(found)}")
        ax.plot(trace.ts, found[name], color=COLOURS[k % len(COLOURS)], label=pretty(name))
    ax.axhline(0, color=INK, linewidth=0.6, zorder=0)
    ax.set_xlabel(f"time ({time_unit(trace)})")
    ax.set_ylabel(f"current ({' or '.join(sorted({units[n] for n in names}))})")
    cut_spikes(ax, np.stack([found[n] for n in names]))
    legend(ax, loc="lower right", bbox_to_anchor=(1, 1), ncols=6, borderaxespad=0)
    return ax


@typed
def action_potentials(trace: Trace, beats: ActionPotentials, ax: Any = None, *, cell: int = 0) -> Any:
    """One potential with every measured beat marked: upstroke, peak, APD90 (bar) and early afterdepolarisations."""
    ax = given_or_new(ax)
    ax.plot(trace.ts, _one(trace.V, cell), color=INK, linewidth=1.0)
    row = {k: _one(getattr(beats, k), cell) for k in ("t_upstroke", "t_peak", "rmp", "peak", "apd90", "ead", "valid")}
    valid = row["valid"]
    level = row["peak"] - 0.9 * (row["peak"] - row["rmp"])
    ends = row["t_upstroke"] + row["apd90"]
    ax.plot(row["t_peak"][valid], row["peak"][valid], "v", color=COLOURS[0], markersize=5, label="peak")
    known = valid & np.isfinite(ends)
    ax.hlines(level[known], row["t_upstroke"][known], ends[known], color=COLOURS[2], linewidth=3, label="APD90")
    above = row["peak"] + 0.08 * (row["peak"] - row["rmp"])
    early, stuck = valid & row["ead"], valid & ~np.isfinite(ends)
    if early.any():
        ax.plot(row["t_peak"][early], above[early], "*", color=COLOURS[1], markersize=10, label="EAD in this beat")
    if stuck.any():
        ax.plot(row["t_upstroke"][stuck], above[stuck], "x", color=COLOURS[1], markersize=8, label="no repolarisation")
    ax.set_xlabel(f"time ({time_unit(trace)})")
    ax.set_ylabel(potential_label(trace))
    if valid.any():
        legend(ax, loc="lower right", bbox_to_anchor=(1, 1), ncols=4, borderaxespad=0)
    return ax


@typed
def restitution(pairs: Restitution, ax: Any = None, *, label: str | None = None, **style) -> Any:
    """APD90 against the diastolic interval before it; one point a beat."""
    ax = given_or_new(ax)
    interval, apd = (np.ravel(np.asarray(x)) for x in (pairs.diastolic_interval, pairs.apd90))
    known = np.isfinite(interval) & np.isfinite(apd)
    order = np.argsort(interval[known])
    look = {"marker": "o", "markersize": 4, "color": COLOURS[0], "linewidth": 1.0} | style
    ax.plot(interval[known][order], apd[known][order], label=label, **look)
    ax.set_xlabel("diastolic interval (ms)")
    ax.set_ylabel("APD90 (ms)")
    if label is not None:
        legend(ax)
    return ax


@typed
def protocol(applied: AbstractProtocol, t1: float, ax: Any = None, **style) -> Any:
    """A stimulus (pA/pF) or voltage command (mV) from 0 to `t1` ms, its edges upright."""
    ax = given_or_new(ax)
    edges, ts = applied.edges(0.0, t1), np.linspace(0.0, t1, 2001)
    # Each edge has two values: the one just before it, and its own.
    drawn, seen = np.concatenate([ts, edges, edges]), np.concatenate([ts, edges - 2 * RESOLUTION, edges])
    order = np.argsort(seen, kind="stable")
    ax.plot(drawn[order], applied.value(seen[order]), **({"color": INK} | style))
    ax.set_xlabel("time (ms)")
    ax.set_ylabel("command (mV)" if applied.kind == "voltage" else "stimulus (pA/pF)")
    return ax


def _one(x, cell: int) -> np.ndarray:
    """The chosen cell of (cells, n), or all of (n,)."""
    x = np.asarray(x)
    check_whole("cell", cell, "", least=0)
    if x.ndim > 1 and cell >= len(x):
        raise refusal("cell", cell, "", f"0 to {len(x) - 1}")
    return x if x.ndim == 1 else x[cell]


def _cell_of(trace: Trace):
    if trace.cell is None:
        raise ValueError("trace: a recording has no currents")
    return trace.cell


def _is_dimensionless(trace: Trace) -> bool:
    return trace.cell is not None and trace.cell.units[trace.cell.potential] == "1"


def time_unit(trace: Trace) -> str:
    return "t.u." if _is_dimensionless(trace) else "ms"


def potential_label(trace: Trace) -> str:
    name = "V" if trace.cell is None else trace.cell.potential
    return f"{name} (1)" if _is_dimensionless(trace) else f"{name} (mV)"
