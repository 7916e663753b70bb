"""Figures of reconstructed action potentials: traces and durations with intervals, what a drug changed, conduction.

In the manner of doi 10.1038/s41467-024-55571-6, Figures 2b, 3c and 4. Intervals hold 90 %.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import ArrayLike, Float

from ..annotations import typed
from ..arguments import check_known, refusal
from ..intracellular.beats import LEVELS
from ..intracellular.conduction import matched_beats
from ..intracellular.features import eap_features
from ..intracellular.windows import BEFORE
from .style import COLOURS, INK, axes_named, empty_figure, figure, given_or_new, house_style, legend

if TYPE_CHECKING:
    from ..intracellular.beats import ReconstructedBeats
    from ..intracellular.library import Network
    from ..intracellular.monitoring import Effect, Example, Monitoring
    from ..intracellular.pairs import Pairs
    from ..intracellular.ranges import Ranges

IAP = "iAP, normalised"
SHOWN = (-0.3, 1.5)
"""Of a normalised trace: rest is 0.1 and the peak 1; a wider interval is cut off."""
INSIDE = "intracellular"
MOST_NAMES = 64
"""Electrodes of a map whose names are written beside them."""
GREY = "#B0B0B0"
"""Beats that are not to be trusted, and electrodes without a beat."""
BOXES = (40, 50, 70, 90)
"""Levels of the paper's Figure 4g, %."""
MOST_PANELS, COLUMNS = 12, 6
"""Channels of a page, and how many of them are side by side."""
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
"""p-values below which a change has so many stars."""
SOURCES, SHIFTS = ("synthetic pairs", "real beats"), (-0.13, 0.13)
FEATURES = {
    "spike_width_s": "spike width (s)",
    "delay_s": "delay (s)",
    "dV1_over_dV2": "dV1 / dV2",
    "dVd_over_dV1": "dVd / dV1",
    "signal_to_noise": "S/N",
}
"""How they are called in a figure."""
LANDMARKS = {
    "bp1": ("bp1", "o"),
    "v_max": (r"$V_{max}$", "^"),
    "v_min": (r"$V_{min}$", "v"),
    "bp2": ("bp2", "s"),
    "bp3": ("bp3", "D"),
}
"""How each is called and drawn."""
SMALL = {"fontsize": "small", "color": INK}
TITLE = {"loc": "left"} | SMALL


@typed
def beat(
    beats: "ReconstructedBeats",
    channel: str,
    index: int = 0,
    ax: Any = None,
    *,
    above: Any = None,
    eap: Float[ArrayLike, " sample"] | None = None,
) -> Any:
    """One reconstructed beat with its interval; its APD50 and APD90 are in the title.

    Args:
        beats: of `reconstruct`.
        channel: label.
        index: which of the channel's beats.
        above: axes for the extracellular window.
        eap: that window at the traces' rate, mV; needs `above`.

    ValueError: an unknown channel, a beat that is not there, a window of another length.
    """
    ax = given_or_new(ax)
    k = _row(beats.channels, channel)
    count = int(beats.counts[k])
    if not 0 <= index < count:
        raise refusal("index", index, "", f"0 to {count - 1}" if count else f"none: channel {channel} has no beat")
    ts = _window_times(beats.iap.shape[-1], beats.sampling_rate)
    _trace(ax, ts, beats.iap[k, index], beats.lower[k, index], beats.upper[k, index], COLOURS[0], "median")
    mark = "~" if beats.unfamiliar[k, index] else ""
    said = [f"APD{level} {mark}{_with_interval(beats.apd(level), k, index)}" for level in (50, 90)]
    when = f"channel {channel}{_inside(beats.kinds[k])}, {beats.times[k, index] / 1000:.2f} s"
    ax.set_title(f"{when}: {', '.join(said)}", **TITLE)
    ax.set_xlabel("time from the extracellular peak (ms)")
    ax.set_ylabel(IAP)
    if eap is not None or above is not None:
        above = axes_named("above", above)
        window = np.zeros(0) if eap is None else np.asarray(eap)
        if window.shape != ts.shape:
            raise refusal("eap", window.shape, "", f"a window of {len(ts)} samples")
        above.plot(ts, window, color=INK, linewidth=0.9)
        above.set_ylabel("eAP (mV)")
        above.tick_params(labelbottom=False)
    return ax


@typed
def beats_of_channels(beats: "ReconstructedBeats", *, most: int = MOST_PANELS) -> Any:
    """A page: the middle beat of each channel that has one, of at most so many channels. Returns the figure."""
    check_known("most", most, "channels", "1 to 100", lambda x: 1 <= x <= 100)
    there = [k for k in range(len(beats.channels)) if beats.counts[k]]
    shown = there[:most]
    if not shown:
        return _empty_page(f"no beat was reconstructed\n{beats.explained()}")
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    fig, axes = figure(rows, columns, size=(4.2 * columns, 2.5 * rows + 0.5), squeeze=False, sharex=True, sharey=True)
    for ax, k in zip(axes.flat, shown, strict=False):
        index = int(beats.counts[k]) // 2
        beat(beats, beats.channels[k], index, ax)
        said = _with_interval(beats.apd(90), k, index)
        strange = "~" * bool(beats.unfamiliar[k, index])
        named = f"{beats.channels[k]}{_inside(beats.kinds[k])}"
        ax.set_title(f"{named}, {beats.times[k, index] / 1000:.1f} s\nAPD90 {strange}{said}", **TITLE)
    _only_outer_labels(axes, len(shown))
    left = f"; {len(there) - len(shown)} more channels have beats" if len(there) > len(shown) else ""
    fig.suptitle(f"the middle beat of each channel{left}", **SMALL)
    return fig


@typed
def apd_over_time(monitoring: "Monitoring", channel: str, levels: Sequence[int] = (50, 70, 90), ax: Any = None) -> Any:
    """Durations of a channel's beats against time with their intervals, and what was added when.

    Grey beats are unlike those of the training. ValueError: an unknown channel or level.
    """
    ax = given_or_new(ax)
    k = _row(monitoring.channels, channel)
    seconds = monitoring.times[k] / 1000
    strange = monitoring.unfamiliar[k]
    for colour, level in zip(COLOURS, levels, strict=False):
        value, low, high = (np.asarray(x)[k] for x in monitoring.apd(level))
        there = np.isfinite(seconds) & np.isfinite(value)
        for which, shade in ((there & ~strange, colour), (there & strange, GREY)):
            ax.vlines(seconds[which], low[which], high[which], color=shade, linewidth=0.8, alpha=0.3)
            label = f"APD{level}" if shade == colour else None
            ax.plot(seconds[which], value[which], ".", color=shade, markersize=3, label=label)
    _mark_additions(ax, monitoring)
    ax.set_xlim(monitoring.begin / 1000, monitoring.end / 1000)
    ax.set_xlabel("time (s)")
    ax.set_ylabel(f"APD of channel {channel}{_inside(monitoring.kinds[k])} (ms)")
    legend(ax, ncols=len(levels), loc="lower right", bbox_to_anchor=(1, 1.0), borderaxespad=0, markerscale=3)
    return ax


@typed
def drug_changes(
    monitoring: "Monitoring",
    effect: int = 0,
    ax: Any = None,
    *,
    unit: Literal["ms", "%"] = "ms",
    levels: Sequence[int] = BOXES,
) -> Any:
    """Box plot over the channels of what an addition changed, beside it the mean, above it the one-sided test.

    Boxes are quartiles, whiskers 1.5 times their distance; they are of the channels' own changes. The mean (in ms with
    its 95 % interval) is less the vehicle's change where one was added before. Stars: p, corrected for the levels,
    below 0.05, 0.01, 0.001. Squares: the mean of what electroporated channels measured, where there are such.

    Args:
        effect: which of `monitoring.effects`.
        unit: ms, or per cent of each channel's duration before.
        levels: of repolarisation, %.

    ValueError: no such effect, an unknown level.
    """
    ax, found = given_or_new(ax), _effect(monitoring, effect)
    places = [_level(level) for level in levels]
    jitter = np.random.default_rng(0).uniform(-0.16, 0.16, len(monitoring.channels))
    test, outside = found.test, _outside(monitoring)
    for at, place in enumerate(places):
        values = np.where(outside, np.asarray(found.change.value)[:, place], np.nan)
        values = values if unit == "ms" else 100 * values / found.control[:, place]
        there = np.isfinite(values)
        if there.any():
            _box(ax, values[there], at)
            ax.plot(at + jitter[there], values[there], ".", color=COLOURS[0], markersize=3, alpha=0.5, zorder=1)
        mark = {"fmt": "D", "color": COLOURS[1], "markersize": 4, "capsize": 3}
        if unit == "ms":
            mean = test.effect[place]
            ax.errorbar(at + 0.34, mean, [[mean - test.lower[place]], [test.upper[place] - mean]], **mark)
        else:
            ax.errorbar(at + 0.34, test.percent[place], **mark)
        measured = found.inside.effect[place] if unit == "ms" else found.inside.percent[place]
        label = "measured inside" if at == 0 and np.isfinite(measured) else None
        ax.plot(at - 0.34, measured, "s", color=COLOURS[2], markersize=5, label=label)
        stars = _stars(float(test.p_corrected[place]))
        ax.annotate(
            stars, (at, values[there].max(initial=0.0)), (0, 4), textcoords="offset points", ha="center", **SMALL
        )
    ax.axhline(0, color=INK, linewidth=0.6)
    ax.margins(y=0.14)
    ax.set_xticks(np.arange(len(levels)), [f"APD{level}" for level in levels])
    ax.set_ylabel(f"change ({unit})")
    n = int(np.isfinite(np.asarray(found.change.value)[outside][:, places]).any(1).sum())
    ax.set_title(f"{_named(found.period.event)}, {n} channels", **TITLE)
    if any(line.get_label() == "measured inside" for line in ax.lines):
        legend(ax, loc="lower right")
    return ax


@typed
def conduction_map(
    positions: Float[ArrayLike, "channel 2"],
    times: Float[ArrayLike, " channel"],
    ax: Any = None,
    *,
    names: Sequence[str] | None = None,
) -> Any:
    """When a beat arrived at each electrode, ms after the first of them, with isochrones where there are enough.

    Args:
        positions: of the electrodes, um.
        times: of the beat's peaks, ms; NaN where a channel does not have it: grey.
        names: of the channels, to be written beside the electrodes.

    ValueError: numbers of channels that differ, or no electrode that has the beat.
    """
    ax = given_or_new(ax)
    places, when = np.asarray(positions, float), np.asarray(times, float)
    if len(when) != len(places):
        raise ValueError(f"times: {len(when)}; allowed: {len(places)}, one for each of positions")
    if names is not None and len(names) != len(places):
        raise ValueError(f"names: {len(names)}; allowed: {len(places)}, one for each of positions")
    there = np.isfinite(when)
    if not there.any():
        raise refusal("times", "nan for all channels", "ms", "a time for one channel at least")
    late = when - np.nanmin(when)
    _isochrones(ax, places[there], late[there])
    ax.plot(*places[~there].T, "o", color=GREY, markerfacecolor="none", markersize=9)
    drawn = ax.scatter(*places[there].T, c=late[there], cmap="viridis", s=90, zorder=3, edgecolors=INK, linewidths=0.5)
    ax.figure.colorbar(drawn, ax=ax, label="activation time (ms)")
    for place, name in zip(places, names or (), strict=bool(names)):
        ax.annotate(name, place, (0, 7), textcoords="offset points", ha="center", fontsize="x-small", color=INK)
    ax.set_aspect("equal")
    ax.use_sticky_edges = False
    ax.margins(0.1)
    ax.set_xlabel("x (µm)")
    ax.set_ylabel("y (µm)")
    return ax


@typed
def beside_field_potentials(monitoring: "Monitoring", effect: int = 0, ax: Any = None, *, level: int = 90) -> Any:
    """What an addition changed of the reconstructed APD, against the change of the field potential duration.

    A point a channel and method ("tangent", "threshold"); on the line both are the same. Channels without a
    repolarisation wave have no field potential duration, and are not drawn.

    ValueError: no such effect, an unknown level.
    """
    ax, found, place = given_or_new(ax), _effect(monitoring, effect), _level(level)
    apd = np.where(_outside(monitoring), np.asarray(found.change.value)[:, place], np.nan)
    for colour, (method, change) in zip(COLOURS, found.field_potentials.items(), strict=False):
        there = np.isfinite(apd) & np.isfinite(change)
        label = f"{method}, {there.sum()} channels"
        ax.plot(np.asarray(change)[there], apd[there], "o", color=colour, markersize=4, alpha=0.7, label=label)
    ax.axline((0, 0), slope=1, color=INK, linewidth=0.6, linestyle=":")
    ax.set_xlabel("change of field potential duration (ms)")
    ax.set_ylabel(f"change of APD{level} (ms)")
    ax.set_title(_named(found.period.event), **TITLE)
    legend(ax)
    return ax


@typed
def predicted_against_actual(network: "Network", pairs: "Pairs", ax: Any = None) -> Any:
    """Reconstructed against true potential, all samples of all pairs, in the manner of the paper's Figure 3c."""
    ax = given_or_new(ax)
    found = np.asarray(network(np.asarray(pairs.eap)).median, float).ravel()
    actual = np.asarray(pairs.iap, float).ravel()
    drawn = ax.hexbin(actual, found, gridsize=60, bins="log", cmap="viridis", mincnt=1, linewidths=0.1)
    ends = [min(actual.min(), found.min()), max(actual.max(), found.max())]
    ax.plot(ends, ends, color=COLOURS[1], linewidth=1.0)
    ax.figure.colorbar(drawn, ax=ax, label="samples")
    r, mae = np.corrcoef(found, actual)[0, 1], np.abs(found - actual).mean()
    cells = len(np.unique(pairs.cell))
    ax.set_title(f"{len(pairs)} pairs of {cells} cells: r = {r:.4f}, mean absolute error {mae:.4f}", **TITLE)
    ax.set_xlabel(f"true {IAP}")
    ax.set_ylabel("reconstructed")
    ax.set_aspect("equal")
    return ax


@typed
def features(
    eap: Float[ArrayLike, "window sample"],
    sampling_rate: float,
    ax: Any = None,
    *,
    before: float = BEFORE,
    unit: str = "mV",
) -> Any:
    """Extracellular windows, one above the other, with their landmarks, in the manner of the paper's Figure 2b.

    A window without a repolarisation wave has no bp3, which is said beside it.

    Args:
        eap: windows.
        sampling_rate: Hz.
        before: ms from a window's start to its peak.
        unit: of the windows, for the axis.
    """
    ax, windows = given_or_new(ax), np.asarray(eap, float)
    found = eap_features(windows, sampling_rate, before=before)
    ts = np.arange(windows.shape[1]) * 1000 / sampling_rate - before
    apart = 1.1 * max(np.ptp(window) for window in windows)
    for k, window in enumerate(windows):
        lift = -k * apart - window[0]
        ax.plot(ts, window + lift, color=COLOURS[0], linewidth=0.9)
        for colour, (name, (said, marker)) in zip(COLOURS[1:], LANDMARKS.items(), strict=False):
            at = float(np.asarray(getattr(found, name))[k]) - before
            label = said if k == 0 else None
            height = np.interp(at, ts, window) + lift if np.isfinite(at) else np.nan
            ax.plot(at, height, marker, color=colour, markersize=5, label=label, linestyle="none", zorder=3)
        if not bool(np.asarray(found.has_wave)[k]):
            ax.annotate("no repolarisation wave", (ts[-1], -k * apart), (0, 4), textcoords="offset points",
                        ha="right", **SMALL)  # fmt: skip
    ax.set_xlabel("time from the peak (ms)")
    ax.set_ylabel(f"eAP ({unit})")
    if len(windows) > 1:
        ax.set_yticks([])
        ax.set_ylabel("eAP")
        _scale_bar(ax, ts[-1], windows, apart, unit)
    legend(ax, ncols=len(LANDMARKS), loc="lower right", bbox_to_anchor=(1, 1.0), borderaxespad=0)
    return ax


@typed
def ranges(found: "Ranges", axes: Sequence[Any] | None = None) -> Sequence[Any]:
    """Features of synthetic pairs beside those of real recordings, of `jaxcardio.intracellular.ranges`, a row each.

    On the first of the two axes features in units of their published range, whose ends are written beside it: points
    are medians, lines reach from 5 to 95 %. On the second the correlations of the delay with durations.

    ValueError: axes that are not two.
    """
    size = (9, 0.5 * len(found.features) + 1.3)
    both = list(figure(1, 2, size=size, width_ratios=[1.6, 1.0])[1] if axes is None else axes)
    if len(both) != 2:
        raise refusal("axes", len(both), "", "two: for features and for correlations")
    left, right = both
    left.axvspan(0, 1, color=INK, alpha=0.12, linewidth=0, label="real, published")
    for at, row in enumerate(found.features):
        low, high = row.real
        for k, three in _of_each(row):
            begin, middle, end = ((x - low) / (high - low) for x in three)
            left.plot([begin, end], [at + SHIFTS[k]] * 2, color=COLOURS[k], linewidth=1.6)
            left.plot(middle, at + SHIFTS[k], "o", color=COLOURS[k], label=SOURCES[k] if at == 0 else None)
    left.set_xlabel("place in the published range")
    left.set_xticks([0, 1], ["lowest", "highest"])
    _name_rows(
        left, [f"{FEATURES.get(row.name, row.name)}, {row.real[0]:g} to {row.real[1]:g}" for row in found.features]
    )
    left.set_title(f"repolarisation wave found in {100 * found.with_wave:.0f} % of the pairs", **TITLE)
    for at, row in enumerate(found.correlations):
        if at == 0:
            right.axvspan(*row.real, color=INK, alpha=0.12, linewidth=0, label="real, published")
        for k, three in _of_each(row):
            right.plot(three[1], at + SHIFTS[k], "o", color=COLOURS[k], label=SOURCES[k] if at == 0 else None)
    _name_rows(right, [row.name for row in found.correlations])
    right.set_xlim(right=1.02)
    right.set_xlabel("correlation")
    legend(right, loc="lower left")
    return both


def _of_each(row: Any) -> list[tuple[int, tuple[float, ...]]]:
    """Numbers of the synthetic pairs and of the real beats, as far as they are known, by their place in `SOURCES`."""
    both = enumerate((row.synthetic, row.recorded))
    return [(k, three) for k, three in both if three is not None and np.isfinite(three).all()]


def _name_rows(ax: Any, names: Sequence[str]) -> None:
    ax.set_yticks(np.arange(len(names)), names)
    ax.tick_params(axis="y", labelsize="small", length=0)
    ax.set_ylim(len(names) - 0.5, -0.5)


@typed
def overview(
    monitoring: "Monitoring", channel: str | None = None, *, positions: Float[ArrayLike, "channel 2"] | None = None
) -> Any:
    """A page of a monitored recording, in the manner of the paper's Figure 4. Returns the figure.

    Above: the last beat of one channel before each addition and at the end, from outside and reconstructed, and its
    durations over time. Then such beats of more channels; APD90 of all channels over time; what each addition changed,
    beside the change of field potential durations; and how a beat travels over the array.

    Args:
        channel: a label; by default the extracellular channel of the most beats.
        positions: of the monitored channels' electrodes, um (`recording.positions`), for the map.

    ValueError: an unknown channel, numbers of channels that differ.
    """
    counts = np.isfinite(monitoring.times).sum(-1)
    if not counts.any():
        return _empty_page("no beat was reconstructed")
    outside = counts * _outside(monitoring)
    chosen = (
        int((outside if outside.any() else counts).argmax()) if channel is None else _row(monitoring.channels, channel)
    )
    there = [k for k, e in enumerate(monitoring.effects) if np.isfinite(np.asarray(e.change.value)).any()]
    others = [k for k in range(len(counts)) if k != chosen and _kept(monitoring, k)]
    rows = [(2.6, lambda part: _examples(monitoring, chosen, part))]
    rows.append((2.6, lambda part: apd_over_time(monitoring, monitoring.channels[chosen], ax=part.subplots())))
    if others:
        height = 1.2 * -(-min(len(others), MOST_PANELS) // COLUMNS) + 0.3
        rows.append((height, lambda part: _small_multiples(monitoring, others[:MOST_PANELS], part)))
    rows += [(2.8, lambda part, k=k: _changes(monitoring, k, part)) for k in there]
    rows.append((3.0, lambda part: _array(monitoring, positions, part)))
    page = empty_figure((11, sum(height for height, _ in rows) + 0.5))
    with house_style():
        page.suptitle(_headline(monitoring), color=INK)
        parts = page.subfigures(len(rows), 1, height_ratios=[height for height, _ in rows], squeeze=False)[:, 0]
        for part, (_, draw) in zip(parts, rows, strict=True):
            draw(part)
    return page


def _headline(monitoring: "Monitoring") -> str:
    beats = int(np.isfinite(monitoring.times).sum())
    seconds = (monitoring.end - monitoring.begin) / 1000
    added = ", ".join(f"{_named(e)} at {e.time / 1000:.0f} s" for e in _additions(monitoring)) or "nothing added"
    return f"{len(monitoring.channels)} channels, {seconds:.0f} s, {beats} beats; {added}"


def _examples(monitoring: "Monitoring", channel: int, part: Any) -> None:
    """The kept beats of a channel, from outside and reconstructed, one colour a moment."""
    outside, inside = part.subplots(1, 2)
    for colour, (label, example) in zip(COLOURS, _kept(monitoring, channel), strict=False):
        ts = _window_times(len(example.iap), monitoring.sampling_rate)
        outside.plot(ts, example.eap - example.eap[0], color=colour, linewidth=0.9, label=label)
        _trace(inside, ts, example.iap, example.lower, example.upper, colour, label)
    outside.set_ylabel(f"eAP of channel {monitoring.channels[channel]} (mV)")
    inside.set_ylabel(IAP)
    for ax in (outside, inside):
        ax.set_xlabel("time from the extracellular peak (ms)")
    legend(outside)


def _small_multiples(monitoring: "Monitoring", channels: Sequence[int], part: Any) -> None:
    """The kept beats of these channels, an axis each."""
    rows = -(-len(channels) // COLUMNS)
    axes = part.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
    for ax, k in zip(axes.flat, channels, strict=False):
        for colour, (_, example) in zip(COLOURS, _kept(monitoring, k), strict=False):
            ts = _window_times(len(example.iap), monitoring.sampling_rate)
            _trace(ax, ts, example.iap, example.lower, example.upper, colour)
        ax.set_title(f"channel {monitoring.channels[k]}{_inside(monitoring.kinds[k])}", **TITLE)
        ax.set_xlabel("ms")
    _only_outer_labels(axes, len(channels))


def _changes(monitoring: "Monitoring", effect: int, part: Any) -> None:
    """What an addition changed, in ms, in per cent, and beside the field potential."""
    ms, share, beside = part.subplots(1, 3)
    drug_changes(monitoring, effect, ms)
    drug_changes(monitoring, effect, share, unit="%")
    beside_field_potentials(monitoring, effect, beside)


def _array(monitoring: "Monitoring", positions: Any, part: Any) -> None:
    """APD90 of all channels over time, and the map of the array where positions are known."""
    if positions is None or not (np.isfinite(monitoring.times).any(-1) & _outside(monitoring)).any():
        _every_channel(monitoring, part.subplots())
        return
    left, right = part.subplots(1, 2, width_ratios=[1.6, 1.0])
    _every_channel(monitoring, left)
    names = monitoring.channels if len(monitoring.channels) <= MOST_NAMES else None
    times = np.where(_outside(monitoring)[:, None], monitoring.times, np.nan)
    conduction_map(positions, _activation(times), right, names=names)
    right.set_title(_speed(monitoring), **TITLE)


def _activation(times: np.ndarray) -> np.ndarray:
    """When a beat arrives at each channel, ms about the middle of the array: the median over the beats."""
    matched = matched_beats([row[np.isfinite(row)] for row in times])
    late = matched - np.array([[_median(row)] for row in matched])
    return np.array([_median(column) for column in late.T])


def _speed(monitoring: "Monitoring") -> str:
    found = monitoring.conduction
    if found is None:
        return "median beat"
    measured = np.asarray(found.speed)[np.isfinite(found.speed)]
    total = np.size(found.speed)
    if measured.size <= total / 2:
        return f"no speed resolved in {total - measured.size} of {total} beats"
    low, middle, high = np.percentile(measured, [25, 50, 75])
    return f"{middle:.3g} mm/ms ({low:.3g} to {high:.3g}, quartiles of {measured.size} of {total} beats)"


def _every_channel(monitoring: "Monitoring", ax: Any, level: int = 90) -> None:
    """Durations of all channels over time, each less its own mean before the first addition if there is one."""
    value = np.asarray(monitoring.apd(level).value)
    added = _additions(monitoring)
    base = monitoring.times < added[0].time if added else np.isfinite(monitoring.times)
    for k, (times, durations) in enumerate(zip(monitoring.times / 1000, value, strict=True)):
        there = np.isfinite(times) & np.isfinite(durations)
        if (there & base[k]).any():
            look = {"linewidth": 0.6, "alpha": 0.7} | ({"color": INK} if monitoring.kinds[k] == INSIDE else {})
            ax.plot(times[there], durations[there] - durations[there & base[k]].mean(), **look)
    ax.axhline(0, color=INK, linewidth=0.6)
    _mark_additions(ax, monitoring)
    ax.set_xlabel("time (s)")
    ax.set_ylabel(f"change of APD{level} (ms)")
    dark = "; dark: measured inside" if INSIDE in monitoring.kinds else ""
    ax.set_title(f"every channel{dark}", **TITLE)


def _kept(monitoring: "Monitoring", channel: int) -> list[tuple[str, "Example"]]:
    """The examples of a channel in the order of time, each with what had been added by then."""
    own = sorted((e for e in monitoring.examples if e.channel == channel), key=lambda e: e.time)
    added = _additions(monitoring)

    def label(example: "Example") -> str:
        before = [event for event in added if event.time <= example.time]
        return f"{_named(before[-1]) if before else 'control'}, {example.time / 1000:.0f} s"

    return [(label(example), example) for example in own]


def _additions(monitoring: "Monitoring") -> list[Any]:
    found = (event for event in monitoring.events if event.kind in ("drug", "vehicle"))
    return sorted(found, key=lambda event: event.time)


def _mark_additions(ax: Any, monitoring: "Monitoring") -> None:
    for event in _additions(monitoring):
        ax.axvline(event.time / 1000, color=INK, linewidth=0.8, linestyle=":")
        ax.annotate(_named(event), (event.time / 1000, 1), (3, -2), ("data", "axes fraction"), "offset points",
                    va="top", **SMALL)  # fmt: skip


def _named(event: Any) -> str:
    return event.label if event.concentration is None else f"{event.label} {event.concentration:g} nM"


def _outside(monitoring: "Monitoring") -> np.ndarray:
    """Which channels record from outside."""
    return np.array([kind != INSIDE for kind in monitoring.kinds], bool)


def _inside(kind: str) -> str:
    """What is said beside the name of a channel that is not reconstructed, but measured."""
    return " (inside)" if kind == INSIDE else ""


def _effect(monitoring: "Monitoring", effect: int) -> "Effect":
    last = len(monitoring.effects) - 1
    if not 0 <= effect <= last:
        raise refusal("effect", effect, "", f"0 to {last}" if last >= 0 else "none: the recording names no addition")
    return monitoring.effects[effect]


def _level(level: int) -> int:
    if level not in LEVELS:
        raise refusal("levels", level, "%", ", ".join(map(str, LEVELS)))
    return LEVELS.index(level)


def _row(channels: Sequence[str], channel: str) -> int:
    if channel not in channels:
        raise refusal("channel", channel, "", f"one of {', '.join(channels)}")
    return list(channels).index(channel)


def _window_times(samples: int, rate: float) -> np.ndarray:
    """ms from the extracellular peak."""
    return np.arange(samples) * 1000 / rate - BEFORE


def _trace(ax: Any, ts: np.ndarray, median: Any, lower: Any, upper: Any, colour: str, label: str | None = None) -> None:
    ax.fill_between(ts, np.asarray(lower), np.asarray(upper), color=colour, alpha=0.25, linewidth=0)
    ax.plot(ts, np.asarray(median), color=colour, linewidth=1.2, label=label)
    ax.set_ylim(*SHOWN)


def _with_interval(found: Any, channel: int, index: int) -> str:
    value, low, high = (float(np.asarray(x)[channel, index]) for x in found)
    if not np.isfinite(value):
        return "none"
    return f"{value:.0f} ms" + f" ({low:.0f} to {high:.0f})" * (low < high)


def _box(ax: Any, values: np.ndarray, at: float) -> None:
    line = {"color": INK, "linewidth": 1.0}
    ax.boxplot(values, positions=[at], widths=0.45, sym="", boxprops=line, whiskerprops=line, capprops=line,
               medianprops={"color": COLOURS[1], "linewidth": 1.8}, manage_ticks=False)  # fmt: skip


def _stars(p: float) -> str:
    found = [stars for limit, stars in STARS if p < limit]
    return found[0] if found else "n.s." if np.isfinite(p) else "no test"


def _median(values: np.ndarray) -> float:
    there = values[np.isfinite(values)]
    return float(np.median(there)) if there.size else np.nan


def _isochrones(ax: Any, places: np.ndarray, late: np.ndarray) -> None:
    """Lines of equal time between the electrodes, where they span a plane and not all have the same time."""
    spread = np.linalg.matrix_rank(places - places.mean(0), tol=1e-6 * max(1.0, float(np.abs(places).max())))
    if len(places) >= 4 and spread == 2 and np.ptp(late) > 0:
        lines = ax.tricontour(*places.T, late, levels=6, colors=GREY, linewidths=0.8)
        ax.clabel(lines, fontsize="x-small", fmt=lambda t: f"{t:.3g}")


def _scale_bar(ax: Any, right: float, windows: np.ndarray, apart: float, unit: str) -> None:
    """A bar of a round height at the upper right, in place of ticks."""
    height = float(10 ** np.floor(np.log10(np.ptp(windows[0]))))
    foot = 0.3 * apart
    ax.plot([right, right], [foot, foot + height], color=INK, linewidth=1.5)
    ax.annotate(f"{height:g} {unit}", (right, foot + height / 2), (-5, 0), textcoords="offset points", ha="right",
                va="center", **SMALL)  # fmt: skip


def _only_outer_labels(axes: Any, used: int) -> None:
    """Removes unused axes, and the labels within a grid."""
    columns = axes.shape[1]
    for n, ax in enumerate(axes.flat):
        if n >= used:
            ax.remove()
            continue
        is_last = n + columns >= used
        ax.tick_params(labelbottom=is_last, labelleft=n % columns == 0)
        ax.set_xlabel(ax.get_xlabel() if is_last else "")
        ax.set_ylabel(ax.get_ylabel() if n % columns == 0 else "")


def _empty_page(text: str) -> Any:
    page = empty_figure((8, 2))
    page.text(0.03, 0.9, text, va="top", color=INK)
    return page
