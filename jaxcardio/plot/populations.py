"""Figures of populations: samples of many cells, who is viable, and what a drug does to them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..annotations import typed
from ..arguments import check_whole
from ..population.recipe import Batch, Recipe
from ..population.study import DoseResponse, Event
from ..population.viability import BIOMARKERS, REASONS, Screening
from ..simulation.trace import Trace
from .style import COLOURS, INK, cut_spikes, dose_axis, empty_figure, given_or_new, house_style, legend, pretty
from .traces import time_unit

EVENT_NAMES = {
    "ead": "EAD, then repolarised",
    "failed": "no repolarisation",
    "abnormal": "either",
    "oscillating": "no repolarisation, oscillating",
    "quiescent": "quiescent",
}

BIOMARKER_NAMES = {
    "apd90": "APD90",
    "apd50": "APD50",
    "cycle_length": "cycle length",
    "mdp": "diastolic potential",
    "peak": "peak",
    "dvdt_max": "dV/dt max",
}

_SMALL = {"ha": "center", "fontsize": "small", "color": INK}


@typed
def incidence(
    result: DoseResponse,
    ax: Any = None,
    *,
    events: Sequence[Event] = ("ead", "failed", "abnormal"),
    level: float = 0.95,
) -> Any:
    """Incidence of each event at each dose, with its interval. Doses are equally spaced, so that 0 is on the axis."""
    ax = given_or_new(ax)
    at = np.arange(len(result.doses), dtype=float)
    for k, event in enumerate(events):
        rate, low, high = (100 * np.asarray(x) for x in result.incidence(event, level))
        bars = np.maximum(0, [rate - low, high - rate])
        ax.errorbar(
            at + 0.08 * (k - (len(events) - 1) / 2),
            rate,
            bars,
            fmt="osD^"[k % 4] + "-",
            color=COLOURS[k % len(COLOURS)],
            markersize=5,
            linewidth=1.0,
            capsize=3,
            label=EVENT_NAMES[event],
        )
    dose_axis(ax, result.drug, result.doses)
    ax.set_ylabel(f"viable cells (%), {100 * level:g} % interval")
    ax.set_ylim(bottom=min(-1.0, -0.02 * ax.get_ylim()[1]))
    legend(ax)
    return ax


@typed
def apd90_by_dose(result: DoseResponse, ax: Any = None) -> Any:
    """APD90 of every cell that has complete beats at each dose: points, quartiles (bar) and median (line)."""
    ax = given_or_new(ax)
    jitter = np.random.default_rng(0).uniform(-0.22, 0.22, result.apd90.shape[1])
    for k, apd in enumerate(result.apd90):
        known = np.isfinite(apd)
        ax.plot(k + jitter[known], apd[known], ".", color=COLOURS[0], alpha=0.35, markersize=4)
        if known.any():
            low, middle, high = np.percentile(apd[known], [25, 50, 75])
            ax.plot([k, k], [low, high], color=INK, linewidth=5, alpha=0.5, solid_capstyle="butt")
            ax.plot([k - 0.3, k + 0.3], [middle, middle], color=COLOURS[1], linewidth=2)
        ax.annotate(f"{known.sum()}", (k, 1), (0, 2), ("data", "axes fraction"), "offset points", **_SMALL)
    dose_axis(ax, result.drug, result.doses)
    ax.set_ylabel("APD90 (ms)")
    ax.set_title("number of beating cells above", fontsize="small", color=INK, pad=16)
    return ax


@typed
def examples(result: DoseResponse, ax: Any = None, *, example: int = 0, doses: Sequence[int] | None = None) -> Any:
    """V of one example cell at some doses, by their place in `result.doses`.

    Default: without drug, the first dose with an EAD (or the middle one), and the highest.
    """
    ax = given_or_new(ax)
    if not 0 <= example < result.example_V.shape[1]:
        raise ValueError(f"example = {example}; allowed: 0 to {result.example_V.shape[1] - 1}")
    last = len(result.doses) - 1
    ead = result.ead[:, result.example_cells[example]]
    middle = int(ead.argmax()) if ead.any() else (last + 1) // 2
    for i in sorted({0, middle, last}) if doses is None else doses:
        colour = INK if i == 0 else COLOURS[(i - 1) % len(COLOURS)]
        ax.plot(result.example_ts, result.example_V[i, example], color=colour, label=f"{result.doses[i]:g} nM")
    legend(ax, ncols=3, loc="lower right", bbox_to_anchor=(1, 0.98), borderaxespad=0)
    ax.set_xlabel("time (ms)")
    ax.set_ylabel("V (mV)")
    ax.set_title(f"cell {result.cells[result.example_cells[example]]}", fontsize="small", color=INK)
    return ax


@typed
def dose_response(result: DoseResponse) -> Any:
    """A figure of a whole study: incidences, APD90 at each dose, and the example cells at every dose. Returns it."""
    shown = result.example_V.shape[1]
    fig = empty_figure((10, 4 + 1.7 * shown))
    with house_style():
        top, *below = fig.add_gridspec(1 + shown, 1, height_ratios=[3.2, *[1.4] * shown])
        left, right = (fig.add_subplot(x) for x in top.subgridspec(1, 2))
        incidence(result, left)
        left.set_title(f"{result.drug}: {len(result.cells)} viable {result.model} cells", fontsize="medium", color=INK)
        apd90_by_dose(result, right)
        for k, cell in enumerate(below):
            ax = examples(result, fig.add_subplot(cell), example=k)
            if k < shown - 1:
                ax.set_xlabel("")
                ax.tick_params(labelbottom=False)
    return fig


@typed
def population(trace: Trace, ax: Any = None, *, output: str | None = None, cells: int = 4) -> Any:
    """A saved quantity of a population against time: the first `cells` that ended well, median and 5 to 95 % of all.

    `output` is the name of a saved state or current; default the potential.
    """
    ax = given_or_new(ax)
    name = output or ("V" if trace.cell is None else trace.cell.potential)
    if not hasattr(trace.ys, name):
        saved = getattr(trace.ys, "_fields", ("V",))
        raise ValueError(f"output = {name!r}; allowed, as saved: {', '.join(saved)}")
    values = np.asarray(getattr(trace.ys, name))
    if values.ndim != 2:
        raise ValueError("trace: expected a population, samples of shape (n_cells, time); `potential` draws one cell")
    unit = "mV" if trace.cell is None else trace.cell.units[name]
    _many(ax, np.asarray(trace.ts), values, np.flatnonzero(np.asarray(trace.ok)), cells)
    ax.set_xlabel(f"time ({time_unit(trace)})")
    ax.set_ylabel(f"{pretty(name)} ({unit})")
    return ax


@typed
def batch(some: Batch, recipe: Recipe, ax: Any = None, *, output: str | None = None, cells: int = 4) -> Any:
    """An output of some cells of a dataset against time: the first `cells`, median and 5 to 95 % of all."""
    ax = given_or_new(ax)
    name = output or recipe.outputs[0]
    if name not in some.outputs:
        raise ValueError(f"output = {name!r}; allowed, as recorded: {', '.join(some.outputs)}")
    _many(ax, recipe.ts, some.outputs[name], np.arange(len(some.cells)), cells)
    ax.set_xlabel("time (ms)" if recipe.cell.units[recipe.cell.potential] == "mV" else "time (t.u.)")
    ax.set_ylabel(f"{pretty(name)} ({recipe.cell.units[name]})")
    return ax


@typed
def biomarker(found: Screening, name: str, ax: Any = None) -> Any:
    """Histogram of a biomarker over the cells in which it was measured, viable or not, and its allowed range."""
    ax = given_or_new(ax)
    if name not in BIOMARKERS:
        raise ValueError(f"name = {name!r}; allowed: {', '.join(BIOMARKERS)}")
    values = found.biomarkers[name]
    parts = [values[np.isfinite(values) & which] for which in (found.viable, ~found.viable)]
    if sum(map(len, parts)):
        bins = np.histogram_bin_edges(np.concatenate(parts), "auto").tolist()
        ax.hist(parts, bins=bins, stacked=True, color=COLOURS[:2], label=["viable", "not viable"])
    ax.yaxis.get_major_locator().set_params(integer=True)
    for end in found.rules.ranges.get(name, ()):
        if np.isfinite(end):
            ax.axvline(end, color=INK, linewidth=1.0, linestyle="--")
    unit = "V/s" if BIOMARKERS[name] == "mV/ms" else BIOMARKERS[name]
    ax.set_xlabel(f"{BIOMARKER_NAMES[name]} ({unit})")
    ax.set_ylabel("cells")
    return ax


@typed
def reasons(found: Screening, ax: Any = None) -> Any:
    """How many cells are viable, and how many each reason speaks against; a cell may count under several."""
    ax = given_or_new(ax)
    counts = {"viable": int(found.viable.sum())} | {text: n for text, n in found.counts().items() if n}
    bars = ax.barh(list(counts), list(counts.values()), color=[COLOURS[0], *[COLOURS[1]] * len(REASONS)][: len(counts)])
    ax.bar_label(bars, padding=3, fontsize="small", color=INK)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.08 * len(found.reasons))
    ax.set_xlabel(f"cells of {len(found.reasons)}")
    return ax


@typed
def screening(found: Screening, fig: Any = None) -> Any:
    """A figure of a whole screening, or this part of one: reasons, and every biomarker. Returns it."""
    fig = empty_figure((9, 6.5)) if fig is None else fig
    with house_style():
        top, below = fig.add_gridspec(2, 1, height_ratios=[1, 2.6])
        first = reasons(found, fig.add_subplot(top))
        first.set_title(f"{found.model}: {found.viable.sum()} of {len(found.reasons)} cells viable", color=INK)
        axes = [
            biomarker(found, k, fig.add_subplot(x)) for k, x in zip(BIOMARKERS, below.subgridspec(2, 3), strict=True)
        ]
        legend(axes[-1], loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)
    return fig


def _many(ax, ts: np.ndarray, values: np.ndarray, rows: np.ndarray, shown: int) -> None:
    """The first few of the rows (cells) as thin lines over the median and the 5 to 95 % band of all of them."""
    check_whole("cells", shown, "cells", least=0)
    if len(rows) == 0:
        raise ValueError("no cell to draw: none ended well")
    low, middle, high = np.percentile(values[rows], [5, 50, 95], axis=0)
    ax.fill_between(ts, low, high, color=INK, alpha=0.18, linewidth=0, label=f"5 to 95 % of {len(rows)} cells")
    for k, i in enumerate(rows[:shown]):
        ax.plot(ts, values[i], color=COLOURS[k % 6], linewidth=0.8, label="some of them" if k == 0 else None)
    ax.plot(ts, middle, color=INK, linewidth=1.6, label="median")
    cut_spikes(ax, np.concatenate([[low, high], values[rows[:shown]]]))
    legend(ax, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0)
