"""Figures of the hidden state: learned gates beside the true ones, and the explanation of a treatment."""

from typing import Any

import numpy as np

from ..annotations import typed
from ..hidden_state import Explanation, GateCurves, currents_on_common_waveform
from .style import COLOURS, INK, empty_figure, house_style, legend

SHOWN = ("I_Na", "I_CaL", "I_Kr", "I_Ks", "I_to", "I_K1")
"""Currents on the common waveform, where a cell has them."""
BRIEF = ("I_Na", "I_to")
"""Those that are over in the first milliseconds."""


@typed
def gate_curves(curves: GateCurves) -> Any:
    """Steady states (upper row) and time constants (lower row) against V: true as lines, learned as dashes."""
    with house_style():
        figure = empty_figure(size=(13, 4.6))
        axes = figure.subplots(2, len(curves.true), sharex=True, squeeze=False)
        for k, name in enumerate(curves.true):
            for row, of in enumerate(("steady", "tau")):
                ax = axes[row, k]
                ax.plot(curves.V, getattr(curves.true[name], of), color=INK, linewidth=1)
                ax.plot(curves.V, getattr(curves.learned[name], of), "--", color=COLOURS[0], linewidth=1.5)
            axes[0, k].set_title(name)
            axes[1, k].set_yscale("log")
        axes[0, 0].set_ylabel("steady state")
        axes[1, 0].set_ylabel("time constant (ms)")
        figure.supxlabel("V (mV)")
    return figure


@typed
def explanation(found: Explanation) -> Any:
    """Observed and retrained V and Ca_i, currents on one waveform, and the ratio of every conductance."""
    with house_style():
        figure = empty_figure(size=(11, 7))
        grid = figure.add_gridspec(3, 6)
        _fits(found, figure.add_subplot(grid[0, :3]), 0, "V (mV)", 1.0)
        _fits(found, figure.add_subplot(grid[0, 3:]), 1, "Ca$_i$ (µM)", 1e3)
        ts, _, before, after = currents_on_common_waveform(found)
        names = [name for name in SHOWN if name in before._fields]
        for k, name in enumerate(names):
            ax = figure.add_subplot(grid[1, k])
            ax.plot(ts, getattr(before, name), color=COLOURS[0])
            ax.plot(ts, getattr(after, name), "--", color=COLOURS[1])
            ax.set_title(f"{name[0]}$_{{{name[2:]}}}$")
            ax.set_xlabel("ms")
            if name in BRIEF:
                ax.set_xlim(5, 45)
        figure.axes[2].set_ylabel("pA/pF, one waveform")
        _ratios(found, figure.add_subplot(grid[2, :]))
    return figure


def _fits(found: Explanation, ax: Any, column: int, label: str, scale: float) -> None:
    for k, (fit, said) in enumerate(((found.control, "control"), (found.treatment, "treatment"))):
        observed, predicted = fit.observed[-1], fit.predicted[-1]
        ts = fit.dt * np.arange(len(observed))
        ax.plot(ts, scale * observed[:, column], color=COLOURS[k], linewidth=3, alpha=0.4, label=f"{said}, observed")
        ax.plot(ts, scale * predicted[:, column], color=COLOURS[k], linewidth=1, label=f"{said}, retrained")
    ax.set_xlabel("time in the cycle (ms)")
    ax.set_ylabel(label)
    if column == 0:
        legend(ax)


def _ratios(found: Explanation, ax: Any) -> None:
    at, ratio = np.arange(len(found.ratio)), np.array(list(found.ratio.values()))
    ax.axhline(1, color=INK, linewidth=0.8)
    ax.errorbar(at, ratio, 1.96 * np.array(list(found.sd.values())), fmt="o", color=COLOURS[1], capsize=3)
    ax.set_xticks(at, list(found.ratio))
    ax.set_ylabel("treatment / control")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("{x:g}")
