"""Figures with matplotlib (the extra `plot`), imported at the first one. Functions take `ax` and return it."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from .biomarkers import ActionPotentials, Restitution
from .population.recipe import Batch, Recipe
from .population.study import DoseResponse, Event
from .population.viability import BIOMARKERS, REASONS, Screening
from .protocols import AbstractProtocol
from .trace import Trace

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's colours, which colour-blind readers can tell apart."""
INK = "#404040"

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

STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.titlesize": "medium",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "axes.xmargin": 0.02,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 160,
}


@functools.cache
def _matplotlib() -> Any:
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError:
        raise ImportError("figures need matplotlib: pip install jaxcardio[plot]") from None
    return matplotlib


def house_style() -> Any:
    """A context in which new figures have the house look: `with house_style(): fig, ax = plt.subplots()`."""
    mpl = _matplotlib()
    return mpl.rc_context(STYLE | {"axes.prop_cycle": mpl.cycler(color=COLOURS)})


def figure(rows: int = 1, columns: int = 1, *, size: tuple[float, float] = (7.0, 4.0), **options) -> tuple[Any, Any]:
    """A new figure in the house style and its axes, as `plt.subplots`; drawn without a window."""
    with house_style():
        fig = empty_figure(size)
        return fig, fig.subplots(rows, columns, **options)


def empty_figure(size: tuple[float, float]) -> Any:
    """A new figure in the house style without axes: for `screening` and `subfigures`."""
    with house_style():
        return _matplotlib().figure.Figure(figsize=size)


def potential(trace: Trace, ax: Any = None, *, cells: Sequence[int] | None = None, **style) -> Any:
    """Membrane potential against time. Of a population the chosen `cells` (default: the first five)."""
    ax = _axes(ax)
    V = np.asarray(trace.V)
    if V.ndim == 1:
        ax.plot(trace.ts, V, **({"color": COLOURS[0]} | style))
    else:
        chosen = range(min(5, len(V))) if cells is None else cells
        for k, i in enumerate(chosen):
            ax.plot(trace.ts, V[i], **({"color": COLOURS[k % len(COLOURS)], "label": f"cell {i}"} | style))
        _legend(ax)
    ax.set_xlabel(f"time ({_time_unit(trace)})")
    ax.set_ylabel(_potential_label(trace))
    return ax


def currents(trace: Trace, names: Sequence[str] | None = None, ax: Any = None, *, cell: int = 0) -> Any:
    """Named currents of one cell against time (default: the six that carry most charge). Outward is positive."""
    ax = _axes(ax)
    units = _cell_of(trace).units
    found = {k: _one(v, cell) for k, v in trace.currents()._asdict().items()}
    if names is None:
        membrane = [k for k in found if k in _cell_of(trace).conductances or not _cell_of(trace).conductances]
        names = sorted(membrane, key=lambda k: -np.abs(found[k]).mean())[:6]
    for k, name in enumerate(names):
        if name not in found:
            raise ValueError(f"names: no current {name!r}; allowed: {', '.join(found)}")
        ax.plot(trace.ts, found[name], color=COLOURS[k % len(COLOURS)], label=_pretty(name))
    ax.axhline(0, color=INK, linewidth=0.6, zorder=0)
    ax.set_xlabel(f"time ({_time_unit(trace)})")
    ax.set_ylabel(f"current ({' or '.join(sorted({units[n] for n in names}))})")
    _cut_spikes(ax, np.stack([found[n] for n in names]))
    _legend(ax, loc="lower right", bbox_to_anchor=(1, 1), ncols=6, borderaxespad=0)
    return ax


def action_potentials(trace: Trace, beats: ActionPotentials, ax: Any = None, *, cell: int = 0) -> Any:
    """One potential with every measured beat marked: upstroke, peak, APD90 (bar) and early afterdepolarisations."""
    ax = _axes(ax)
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
    ax.set_xlabel(f"time ({_time_unit(trace)})")
    ax.set_ylabel(_potential_label(trace))
    if valid.any():
        _legend(ax, loc="lower right", bbox_to_anchor=(1, 1), ncols=4, borderaxespad=0)
    return ax


def restitution(pairs: Restitution, ax: Any = None, *, label: str | None = None, **style) -> Any:
    """APD90 against the diastolic interval before it; one point a beat."""
    ax = _axes(ax)
    interval, apd = (np.ravel(np.asarray(x)) for x in (pairs.diastolic_interval, pairs.apd90))
    known = np.isfinite(interval) & np.isfinite(apd)
    order = np.argsort(interval[known])
    look = {"marker": "o", "markersize": 4, "color": COLOURS[0], "linewidth": 1.0} | style
    ax.plot(interval[known][order], apd[known][order], label=label, **look)
    ax.set_xlabel("diastolic interval (ms)")
    ax.set_ylabel("APD90 (ms)")
    if label is not None:
        _legend(ax)
    return ax


def incidence(
    result: DoseResponse,
    ax: Any = None,
    *,
    events: Sequence[Event] = ("ead", "failed", "abnormal"),
    level: float = 0.95,
) -> Any:
    """Incidence of each event at each dose, with its interval. Doses are equally spaced, so that 0 is on the axis."""
    ax = _axes(ax)
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
    _dose_axis(ax, result)
    ax.set_ylabel(f"viable cells (%), {100 * level:g} % interval")
    ax.set_ylim(bottom=min(-1.0, -0.02 * ax.get_ylim()[1]))
    _legend(ax)
    return ax


def apd90_by_dose(result: DoseResponse, ax: Any = None) -> Any:
    """APD90 of every cell that has complete beats at each dose: points, quartiles (bar) and median (line)."""
    ax = _axes(ax)
    jitter = np.random.default_rng(0).uniform(-0.22, 0.22, result.apd90.shape[1])
    for k, apd in enumerate(result.apd90):
        known = np.isfinite(apd)
        ax.plot(k + jitter[known], apd[known], ".", color=COLOURS[0], alpha=0.35, markersize=4)
        if known.any():
            low, middle, high = np.percentile(apd[known], [25, 50, 75])
            ax.plot([k, k], [low, high], color=INK, linewidth=5, alpha=0.5, solid_capstyle="butt")
            ax.plot([k - 0.3, k + 0.3], [middle, middle], color=COLOURS[1], linewidth=2)
        ax.annotate(f"{known.sum()}", (k, 1), (0, 2), ("data", "axes fraction"), "offset points", **_SMALL)
    _dose_axis(ax, result)
    ax.set_ylabel("APD90 (ms)")
    ax.set_title("number of beating cells above", fontsize="small", color=INK, pad=16)
    return ax


def examples(result: DoseResponse, ax: Any = None, *, example: int = 0, doses: Sequence[int] | None = None) -> Any:
    """V of one example cell at some doses, by their place in `result.doses`.

    Default: without drug, the first dose with an EAD (or the middle one), and the highest.
    """
    ax = _axes(ax)
    if not 0 <= example < result.example_V.shape[1]:
        raise ValueError(f"example = {example}; allowed: 0 to {result.example_V.shape[1] - 1}")
    last = len(result.doses) - 1
    ead = result.ead[:, result.example_cells[example]]
    middle = int(ead.argmax()) if ead.any() else (last + 1) // 2
    for i in sorted({0, middle, last}) if doses is None else doses:
        colour = INK if i == 0 else COLOURS[(i - 1) % len(COLOURS)]
        ax.plot(result.example_ts, result.example_V[i, example], color=colour, label=f"{result.doses[i]:g} nM")
    _legend(ax, ncols=3, loc="lower right", bbox_to_anchor=(1, 0.98), borderaxespad=0)
    ax.set_xlabel("time (ms)")
    ax.set_ylabel("V (mV)")
    ax.set_title(f"cell {result.cells[result.example_cells[example]]}", fontsize="small", color=INK)
    return ax


def dose_response(result: DoseResponse) -> Any:
    """A figure of a whole study: incidences, APD90 at each dose, and the example cells at every dose. Returns it."""
    shown = result.example_V.shape[1]
    mpl = _matplotlib()
    with house_style():
        fig = mpl.figure.Figure(figsize=(10, 4 + 1.7 * shown))
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


def population(trace: Trace, ax: Any = None, *, output: str | None = None, cells: int = 4) -> Any:
    """A saved quantity of a population against time: the first `cells` that ended well, median and 5 to 95 % of all.

    `output` is the name of a saved state or current; default the potential.
    """
    ax = _axes(ax)
    name = output or ("V" if trace.cell is None else trace.cell.potential)
    if not hasattr(trace.ys, name):
        saved = getattr(trace.ys, "_fields", ("V",))
        raise ValueError(f"output = {name!r}; allowed, as saved: {', '.join(saved)}")
    values = np.asarray(getattr(trace.ys, name))
    if values.ndim != 2:
        raise ValueError("trace: expected a population, samples of shape (n_cells, time); `potential` draws one cell")
    unit = "mV" if trace.cell is None else trace.cell.units[name]
    _many(ax, np.asarray(trace.ts), values, np.flatnonzero(np.asarray(trace.ok)), cells)
    ax.set_xlabel(f"time ({_time_unit(trace)})")
    ax.set_ylabel(f"{_pretty(name)} ({unit})")
    return ax


def batch(some: Batch, recipe: Recipe, ax: Any = None, *, output: str | None = None, cells: int = 4) -> Any:
    """An output of some cells of a dataset against time: the first `cells`, median and 5 to 95 % of all."""
    ax = _axes(ax)
    name = output or recipe.outputs[0]
    if name not in some.outputs:
        raise ValueError(f"output = {name!r}; allowed, as recorded: {', '.join(some.outputs)}")
    _many(ax, recipe.ts, some.outputs[name], np.arange(len(some.cells)), cells)
    ax.set_xlabel("time (ms)" if recipe.cell.units[recipe.cell.potential] == "mV" else "time (t.u.)")
    ax.set_ylabel(f"{_pretty(name)} ({recipe.cell.units[name]})")
    return ax


def protocol(applied: AbstractProtocol, t1: float, ax: Any = None, **style) -> Any:
    """A stimulus (pA/pF) or voltage command (mV) from 0 to `t1` ms, its edges upright."""
    ax = _axes(ax)
    edges = applied.edges(0.0, t1)
    ts = np.unique(np.concatenate([np.linspace(0.0, t1, 2001), edges, np.nextafter(edges, 0.0)]))
    ax.plot(ts, applied.value(ts), **({"color": INK} | style))
    ax.set_xlabel("time (ms)")
    ax.set_ylabel("command (mV)" if applied.kind == "voltage" else "stimulus (pA/pF)")
    return ax


def biomarker(found: Screening, name: str, ax: Any = None) -> Any:
    """Histogram of a biomarker over the cells in which it was measured, viable or not, and its allowed range."""
    ax = _axes(ax)
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


def reasons(found: Screening, ax: Any = None) -> Any:
    """How many cells are viable, and how many each reason speaks against; a cell may count under several."""
    ax = _axes(ax)
    counts = {"viable": int(found.viable.sum())} | {text: n for text, n in found.counts().items() if n}
    bars = ax.barh(list(counts), list(counts.values()), color=[COLOURS[0], *[COLOURS[1]] * len(REASONS)][: len(counts)])
    ax.bar_label(bars, padding=3, fontsize="small", color=INK)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.08 * len(found.reasons))
    ax.set_xlabel(f"cells of {len(found.reasons)}")
    return ax


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
        _legend(axes[-1], loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)
    return fig


_SMALL = {"ha": "center", "fontsize": "small", "color": INK}


def _axes(ax: Any) -> Any:
    return figure()[1] if ax is None else ax


def _legend(ax, **options) -> None:
    ax.legend(fontsize="small", frameon=False, **options)


def _many(ax, ts: np.ndarray, values: np.ndarray, rows: np.ndarray, shown: int) -> None:
    """The first few of the rows (cells) as thin lines over the median and the 5 to 95 % band of all of them."""
    if len(rows) == 0:
        raise ValueError("no cell to draw: none ended well")
    low, middle, high = np.percentile(values[rows], [5, 50, 95], axis=0)
    ax.fill_between(ts, low, high, color=INK, alpha=0.18, linewidth=0, label=f"5 to 95 % of {len(rows)} cells")
    for k, i in enumerate(rows[:shown]):
        ax.plot(ts, values[i], color=COLOURS[k % 6], linewidth=0.8, label="some of them" if k == 0 else None)
    ax.plot(ts, middle, color=INK, linewidth=1.6, label="median")
    _cut_spikes(ax, np.concatenate([[low, high], values[rows[:shown]]]))
    _legend(ax, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0)


def _cut_spikes(ax, values: np.ndarray) -> None:
    """Limits to what the currents are most of the time, where a short spike would flatten the rest; says so."""
    low, high = values.min(), values.max()
    usual = np.percentile(values, [0.5, 99.5], axis=1)
    inner = np.array([usual[0].min(), usual[1].max()])
    room = 0.25 * np.ptp(inner)
    if high - low > 3 * np.ptp(inner) > 0:
        ax.set_ylim(inner[0] - room, inner[1] + room)
        ax.set_title(f"spikes from {low:.3g} to {high:.3g} are cut off", loc="left", fontsize="small", color=INK)


def _dose_axis(ax, result: DoseResponse) -> None:
    ax.set_xticks(np.arange(len(result.doses)), [f"{dose:g}" for dose in result.doses])
    ax.set_xlabel(f"{result.drug} (nM)")


def _one(x, cell: int) -> np.ndarray:
    """The chosen cell of (cells, n), or all of (n,)."""
    x = np.asarray(x)
    return x if x.ndim == 1 else x[cell]


def _cell_of(trace: Trace):
    if trace.cell is None:
        raise ValueError("trace: a recording has no currents")
    return trace.cell


def _is_dimensionless(trace: Trace) -> bool:
    return trace.cell is not None and trace.cell.units[trace.cell.potential] == "1"


def _time_unit(trace: Trace) -> str:
    return "t.u." if _is_dimensionless(trace) else "ms"


def _potential_label(trace: Trace) -> str:
    name = "V" if trace.cell is None else trace.cell.potential
    return f"{name} (1)" if _is_dimensionless(trace) else f"{name} (mV)"


def _pretty(name: str) -> str:
    """I_CaL -> I with a subscript."""
    head, _, tail = name.partition("_")
    return rf"${head}_{{\mathrm{{{tail.replace('_', ',')}}}}}$" if tail else name
