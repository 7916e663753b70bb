"""Figures of digital twins: what was recorded, what was inferred, and what the twin predicts.

In the manner of doi 10.7554/eLife.110013, Figures 1, 4, 5 and 6. Functions take plain arrays, or the results of
`jaxcardio.twin.study`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from ..annotations import typed
from .populations import EVENT_NAMES
from .style import (
    COLOURS,
    INK,
    _matplotlib,
    cut_spikes,
    dose_axis,
    empty_figure,
    figure,
    given_or_new,
    house_style,
    legend,
    pretty,
)

if TYPE_CHECKING:
    from ..population.study import Event
    from ..twin.beats import SimulatedTwin
    from ..twin.study import TwinStudy, UncertainResponse

A4 = (8.27, 11.69)
"""Inches."""
NINETY = 1.6449
"""Standard deviations of a normal distribution on either side that hold 90 % of it."""
TWIN, TRUTH, UNKNOWN = COLOURS[1], COLOURS[0], "#B0B0B0"
CURRENT_COLOURS = {"I_K1": "#0072B2", "I_Kr": "#D55E00", "I_Ks": "#009E73", "I_CaL": "#CC79A7", "I_Na": "#56B4E9",
                   "I_f": "#E69F00"}  # fmt: skip
GATES = {
    "I_K1": ("K1",),
    "I_Kr": ("Kr", "Xr1", "Xr2"),
    "I_Ks": ("Ks", "Xs"),
    "I_CaL": ("CaL", "d", "f"),
    "I_Na": ("Na", "m", "h", "j"),
    "I_f": ("Xf",),
}
"""How the Kernik parameters of each current begin; `f_g` is the conductance of I_f, and no parameter of gate f."""


@typed
def recording_and_fit(
    ts: Float[np.ndarray, " n"],
    command: Float[np.ndarray, " n"],
    recorded: Float[np.ndarray, " n"],
    fitted: Float[np.ndarray, " n"],
    axes: Sequence[Any] | None = None,
    *,
    noise: Float[np.ndarray, " n"] | float | None = None,
) -> Sequence[Any]:
    """A voltage clamp and its fit, in three axes of one time: command, recorded and twin's current, their difference.

    Args:
        ts: times of the samples or windows, ms.
        command: mV.
        recorded, fitted: total current, pA/pF.
        axes: three, one above the other.
        noise: standard deviation of what was recorded, pA/pF: the difference is then drawn in units of it.

    ValueError: arrays of different shapes.
    """
    for name, x in {"command": command, "recorded": recorded, "fitted": fitted}.items():
        if np.shape(x) != np.shape(ts):
            raise ValueError(f"{name}: shape {np.shape(x)}; allowed: {np.shape(ts)}, as ts")
    axes = _given_or_new(axes, 3, 1, size=(8, 5.5), sharex=True, height_ratios=[1, 2.2, 1])
    top, middle, bottom = axes
    seconds = np.asarray(ts) / 1000
    top.plot(seconds, command, color=INK, linewidth=1.0, drawstyle="steps-post")
    top.set_ylabel("command\n(mV)")
    middle.plot(seconds, recorded, color=TRUTH, linewidth=1.8, label="recorded")
    middle.plot(seconds, fitted, color=TWIN, linewidth=0.9, label="twin")
    cut_spikes(middle, np.stack([recorded, fitted]))
    middle.set_ylabel("total current\n(pA/pF)")
    legend(middle, loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2, borderaxespad=0)
    residual = (np.asarray(recorded) - np.asarray(fitted)) / (1.0 if noise is None else noise)
    bottom.plot(seconds, residual, color=INK, linewidth=0.7)
    cut_spikes(bottom, residual[None])
    bottom.axhline(0, color=TWIN, linewidth=0.8)
    bottom.set_ylabel("residual\n(pA/pF)" if noise is None else "residual\n(sd of noise)")
    bottom.set_xlabel("time (s)")
    for ax in (top, middle):
        ax.tick_params(labelbottom=False)
    return axes


@typed
def parameters(
    names: Sequence[str],
    mean: Float[np.ndarray, " n"],
    sd: Float[np.ndarray, " n"],
    ax: Any = None,
    *,
    truth: Float[np.ndarray, " n"] | None = None,
    null: Sequence[str] | Bool[np.ndarray, " n"] = (),
    spread: float | None = None,
) -> Any:
    """Relative changes theta = p / p0 - 1 of a twin with their 90 % intervals, grouped by current.

    Args:
        names: of the parameters, in the order of the axis.
        mean, sd: of theta.
        truth: the true theta, where it is known.
        null: the parameters that the recording does not tell from their prior (names, or a mask): grey and hollow.
        spread: the prior is uniform in +- spread: drawn as a band.

    ValueError: arrays that do not belong to the names.
    """
    ax = given_or_new(ax)
    n = len(names)
    for name, x in {"mean": mean, "sd": sd, "truth": truth}.items():
        if x is not None and np.shape(x) != (n,):
            raise ValueError(f"{name}: shape {np.shape(x)}; allowed: ({n},), as names")
    unknown = _mask(names, null)
    at, groups = np.arange(n), _groups(names)
    if spread is not None:
        ax.axhspan(-100 * spread, 100 * spread, color=INK, alpha=0.07, linewidth=0)
    ax.axhline(0, color=INK, linewidth=0.6)
    for current, members in groups.items():
        colour = CURRENT_COLOURS.get(current, INK)
        for chosen, look in ((~unknown, {"color": colour}), (unknown, {"color": UNKNOWN, "markerfacecolor": "white"})):
            k = [i for i in members if chosen[i]]
            ax.errorbar(at[k], 100 * np.asarray(mean)[k], 100 * NINETY * np.asarray(sd)[k], fmt="o", markersize=4,
                        linewidth=1.4, **look)  # fmt: skip
        ax.axvline(members[0] - 0.5, color=INK, linewidth=0.4, linestyle=":")
        middle = (members[0] + members[-1]) / 2
        ax.annotate(pretty(current), (middle, 1), (0, 3), ("data", "axes fraction"), "offset points",
                    ha="center", color=colour)  # fmt: skip
    marks = [ax.errorbar([], [], [], fmt="o", markersize=4, color=INK, label="twin, 90 % interval")]
    if unknown.any():
        marks.append(ax.errorbar([], [], [], fmt="o", markersize=4, color=UNKNOWN, markerfacecolor="white",
                                 label="not identified"))  # fmt: skip
    if truth is not None:
        marks += ax.plot(at, 100 * np.asarray(truth), "_", color="black", markersize=7, markeredgewidth=1.4,
                         label="truth")  # fmt: skip
    ax.set_xlim(-0.6, n - 0.4)
    ax.set_xticks(at, names, rotation=90, fontsize="x-small")
    ax.tick_params(axis="x", length=2, pad=1)
    ax.set_ylabel("change from baseline (%)")
    legend(ax, handles=marks, loc="lower left", bbox_to_anchor=(0, 1.09), ncols=3, borderaxespad=0)
    return ax


@typed
def learning_curves(
    training: Float[np.ndarray, " epochs"],
    validation: Float[np.ndarray, " epochs"],
    ax: Any = None,
    *,
    floor: float | None = None,
    label: str = "",
    colour: str = COLOURS[0],
) -> Any:
    """Mean square errors of a network against the epoch: training (thin), validation, and the epoch that was kept.

    `floor` is the error that no recording can go below. Repeated calls on one `ax`, each with its `label` and `colour`,
    compare trainings.
    """
    ax = given_or_new(ax)
    before = f"{label}, " if label else ""
    epochs = np.arange(1, len(training) + 1)
    ax.plot(epochs, training, color=colour, linewidth=0.8, linestyle="--", label=f"{before}training")
    ax.plot(epochs, validation, color=colour, label=f"{before}validation")
    best = int(np.nanargmin(validation))
    ax.plot(best + 1, validation[best], "o", color=colour, markersize=5)
    ax.annotate(f"{validation[best]:.2g}", (best + 1, validation[best]), (0, -12), textcoords="offset points",
                ha="center", fontsize="small", color=colour)  # fmt: skip
    if floor is not None:
        ax.axhline(floor, color=INK, linewidth=0.8, linestyle=":", label="unidentifiable")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("epoch")
    ax.set_ylabel("mean square error (of relative changes)")
    legend(ax)
    return ax


@typed
def population_variability(
    ts: Float[np.ndarray, " time"],
    V: Float[np.ndarray, "cells time"],
    currents: Mapping[str, Float[np.ndarray, "cells time"]],
    axes: Sequence[Any] | None = None,
    *,
    cells: int = 20,
) -> Sequence[Any]:
    """Action potentials of the first `cells` of a population, and their currents.

    Args:
        ts: ms.
        V: mV.
        currents: by name, pA/pF, e.g. the six.
        axes: one for V, then one for each current. By default V above two columns of currents.

    ValueError: no cell; axes that are too few.
    """
    shown = min(cells, len(V))
    if shown < 1:
        raise ValueError(f"cells = {cells} of {len(V)}; allowed: >= 1")
    if axes is None:
        rows = -(-len(currents) // 2)
        fig = empty_figure((8, 2.6 + 1.6 * rows))
        with house_style():
            top, below = fig.add_gridspec(2, 1, height_ratios=[2.2, 1.5 * rows])
            axes = [fig.add_subplot(top), *(fig.add_subplot(x) for x in below.subgridspec(rows, 2))][
                : 1 + len(currents)
            ]
    if len(axes) != 1 + len(currents):
        raise ValueError(f"axes: {len(axes)}; allowed: {1 + len(currents)}, one for V and one for each current")
    shades = _shades(shown)
    for ax, (name, values) in zip(axes, {"V": V, **currents}.items(), strict=True):
        for k in range(shown):
            ax.plot(ts, values[k], color=shades[k], linewidth=0.8)
        if name != "V":
            cut_spikes(ax, np.asarray(values[:shown]))
        ax.set_ylabel("V (mV)" if name == "V" else f"{pretty(name)} (pA/pF)")
        _label_time(ax)
    return axes


@typed
def dose_incidence(study: "TwinStudy", ax: Any = None, *, event: "Event" = "ead", level: float = 0.95) -> Any:
    """Incidence of an event against the dose with its intervals: of all cells, and of those around each twin."""
    ax = given_or_new(ax)
    at = np.arange(len(study.doses), dtype=float)
    groups = [("pooled", None), *((f"around twin {k + 1}", k) for k in range(study.n_twins))]
    for k, (name, twin) in enumerate(groups if study.n_twins > 1 else groups[:1]):
        rate, low, high = (100 * np.asarray(x) for x in study.incidence(event, level, twin))
        ax.errorbar(at + 0.07 * k, rate, np.maximum(0, [rate - low, high - rate]), fmt="os^D"[k % 4] + "-",
                    color=INK if twin is None else COLOURS[twin % 6], markersize=5, capsize=3,
                    linewidth=1.6 if twin is None else 0.9, label=name)  # fmt: skip
    dose_axis(ax, study.pooled.drug, study.doses)
    ax.set_ylabel(f"{EVENT_NAMES[event]} (% of viable cells)")
    ax.set_title(
        f"{len(study.pooled.cells)} viable cells, {100 * level:g} % intervals", loc="left", fontsize="small", color=INK
    )
    legend(ax)
    return ax


@typed
def apd_distribution(study: "TwinStudy", ax: Any = None) -> Any:
    """APD90 of the viable cells without drug: a histogram of those around each twin, stacked; mean and sd above it."""
    ax = given_or_new(ax)
    parts = [study.of(k).apd90[0] for k in range(study.n_twins)]
    parts = [x[np.isfinite(x)] for x in parts]
    bins = np.histogram_bin_edges(np.concatenate(parts), "auto").tolist()
    names = [f"around twin {k + 1}" for k in range(study.n_twins)]
    ax.hist(parts, bins=bins, stacked=True, color=[COLOURS[k % 6] for k in range(study.n_twins)], label=names)
    all_of_them = study.control_apd90()
    low, high = all_of_them.mean - all_of_them.sd, all_of_them.mean + all_of_them.sd
    ax.axvline(all_of_them.mean, color=INK, linewidth=1.0)
    ax.axvspan(low, high, color=INK, alpha=0.12, linewidth=0, zorder=0)
    title = f"{all_of_them.mean:.0f} ± {all_of_them.sd:.0f} ms, {all_of_them.n} viable cells"
    ax.set_title(title, loc="left", fontsize="small", color=INK)
    ax.set_xlabel("APD90 without drug (ms)")
    ax.set_ylabel("cells")
    if study.n_twins > 1:
        legend(ax)
    return ax


@typed
def beats(
    twin: "SimulatedTwin", axes: Sequence[Any] | None = None, *, true: "SimulatedTwin | None" = None
) -> Sequence[Any]:
    """Potential, calcium transient and total current over two beats (three axes), beside those of the true cell."""
    axes = _given_or_new(axes, 3, 1, size=(7, 6), sharex=True)
    rows = (("V", "V (mV)", 1.0), ("Ca_i", r"$\mathrm{Ca}_i$ (µM)", 1000.0), ("I_total", "total current\n(pA/pF)", 1.0))
    for ax, (name, label, scale) in zip(axes, rows, strict=True):
        _over_each_other(ax, twin, true, lambda x, name=name, scale=scale: scale * getattr(x, name))
        ax.set_ylabel(label)
        _label_time(ax)
    if true is not None:
        legend(axes[0], loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2, borderaxespad=0)
    return axes


@typed
def six_currents(
    twin: "SimulatedTwin", axes: Sequence[Any] | None = None, *, true: "SimulatedTwin | None" = None
) -> Sequence[Any]:
    """The six currents over two beats, an axis each, beside those of the true cell."""
    axes = _given_or_new(axes, 2, 3, size=(9, 4.2), sharex=True)
    for ax, name in zip(axes, twin.currents, strict=True):
        _over_each_other(ax, twin, true, lambda x, name=name: x.currents[name])
        ax.set_ylabel(f"{pretty(name)} (pA/pF)")
        _label_time(ax)
    return axes


@typed
def uncertain_dose_response(response: "UncertainResponse", axes: Sequence[Any] | None = None) -> Sequence[Any]:
    """APD90 of a twin against the dose (median, and 5 to 95 % of its posterior), and probabilities of what goes wrong.

    `axes`: two.
    """
    axes = _given_or_new(axes, 1, 2, size=(9, 3.6))
    left, right = axes
    at = np.arange(len(response.doses), dtype=float)
    low, middle, high = response.quantiles().T
    left.errorbar(at, middle, np.stack([middle - low, high - middle]), fmt="o-", color=TWIN, capsize=3, markersize=5)
    for k, count in enumerate(response.beating):
        left.annotate(f"{count}", (k, 1), (0, 2), ("data", "axes fraction"), "offset points", ha="center",
                      fontsize="x-small", color=INK)  # fmt: skip
    left.set_ylabel("APD90 (ms), 5 to 95 %")
    left.set_title("number of beating draws above", loc="left", fontsize="small", color=INK, pad=14)
    chosen: tuple[Event, ...] = ("ead", "failed", "quiescent")
    for k, event in enumerate(chosen):
        rate, below, above = (100 * np.asarray(x) for x in response.probability(event))
        right.errorbar(at + 0.08 * (k - 1), rate, np.maximum(0, [rate - below, above - rate]), fmt="os^"[k] + "-",
                       color=COLOURS[(0, 1, 3)[k]], markersize=5, linewidth=1.0, capsize=3,
                       label=EVENT_NAMES[event])  # fmt: skip
    right.set_ylabel("probability (%)")
    right.set_ylim(-4, 104)
    legend(right)
    for ax in axes:
        ax.margins(x=0.08)
        dose_axis(ax, response.drug, response.doses)
    return axes


@typed
def twin_report(
    title: str,
    *,
    ts: Float[np.ndarray, " n"],
    command: Float[np.ndarray, " n"],
    recorded: Float[np.ndarray, " n"],
    fitted: Float[np.ndarray, " n"],
    names: Sequence[str],
    mean: Float[np.ndarray, " m"],
    sd: Float[np.ndarray, " m"],
    twin: "SimulatedTwin",
    response: "UncertainResponse | None" = None,
    noise: Float[np.ndarray, " n"] | float | None = None,
    truth: Float[np.ndarray, " m"] | None = None,
    null: Sequence[str] | Bool[np.ndarray, " m"] = (),
    spread: float | None = None,
    true: "SimulatedTwin | None" = None,
) -> Any:
    """One page on a twin: recording and fit, parameters, two beats, six currents, dose response. Returns the figure.

    Arguments are those of `recording_and_fit`, `parameters`, `beats`, `six_currents` and `uncertain_dose_response`;
    without `response` the last row is left out.
    """
    heights = [3.0, 2.3, 1.7, 2.6, *([] if response is None else [1.9])]
    fig = empty_figure((A4[0], A4[1] * sum(heights) / 11.5))
    with house_style(), _small_print():
        fig.suptitle(title, x=0.02, ha="left", fontsize="large", color=INK)
        rows = fig.subfigures(len(heights), 1, height_ratios=heights, hspace=0.02)
        recording = rows[0].subplots(3, 1, sharex=True, height_ratios=[1, 2.2, 1])
        recording_and_fit(ts, command, recorded, fitted, recording, noise=noise)
        parameters(names, mean, sd, rows[1].subplots(), truth=truth, null=null, spread=spread)
        beats(twin, rows[2].subplots(1, 3), true=true)
        six_currents(twin, rows[3].subplots(2, 3, sharex=True).ravel(), true=true)
        if response is not None:
            uncertain_dose_response(response, rows[4].subplots(1, 2))
    return fig


def _given_or_new(axes: Sequence[Any] | None, rows: int, columns: int, **options) -> Sequence[Any]:
    return list(figure(rows, columns, **options)[1].ravel()) if axes is None else axes


def _label_time(ax: Any) -> None:
    """Once a column: below its last axes."""
    place = ax.get_subplotspec()
    if place is None or place.is_last_row():
        ax.set_xlabel("time (ms)")


def _over_each_other(ax: Any, twin: "SimulatedTwin", true: "SimulatedTwin | None", of: Any) -> None:
    if true is not None:
        ax.plot(true.ts, of(true), color=TRUTH, linewidth=2.2, label="true cell")
    ax.plot(twin.ts, of(twin), color=TWIN, linewidth=1.0, label="twin")


def _groups(names: Sequence[str]) -> dict[str, list[int]]:
    """Places of the parameters of each current, which must follow one another to be one group."""
    current_of = {gate: current for current, gates in GATES.items() for gate in gates}
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        gate = name.removeprefix("tau_").split("_")[0]
        current = "I_f" if name == "f_g" else current_of.get(gate, "others")
        groups.setdefault(current, []).append(i)
    return groups


def _mask(names: Sequence[str], null: Sequence[str] | Bool[np.ndarray, " n"]) -> np.ndarray:
    if isinstance(null, np.ndarray) and null.dtype == bool:
        if null.shape != (len(names),):
            raise ValueError(f"null: shape {null.shape}; allowed: ({len(names)},), as names")
        return null
    if not set(null) <= set(names):
        raise ValueError(f"null: {sorted(set(null) - set(names))}; allowed: some of names")
    return np.isin(names, list(null))


def _shades(n: int) -> Any:
    """n colours of one scale, for cells that have no names."""
    return _matplotlib().colormaps["viridis"](np.linspace(0.0, 0.9, n))


def _small_print() -> Any:
    look = {"font.size": 7.5, "axes.linewidth": 0.6, "xtick.major.size": 2, "ytick.major.size": 2}
    return _matplotlib().rc_context(look)
