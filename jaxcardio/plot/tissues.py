"""Figures of tissue: activation maps, frames of V, velocities, tips, electrograms; and animations.

Lengths are in mm, x to the right and y upwards: cell (.., 0, 0) is at the lower left. Of a slab one layer is drawn.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import ArrayLike

from ..annotations import typed
from ..arguments import check_known, check_whole, refusal
from ..files.writing import check_place, write_animation
from ..tissue.measure.phase import TipPath
from ..tissue.measure.velocity import check_beat, velocity_map
from .style import COLOURS, INK, _matplotlib, figure, given_or_new, legend

if TYPE_CHECKING:
    from ..tissue.grid import Tissue
    from ..tissue.recording import Record
    from ..tissue.run import Run

POTENTIAL, TIMES = "viridis", "cividis_r"
"""Colours of V and of times: even in lightness, and read by everyone."""
NO_TISSUE = "#C8C8C8"
KINDS = (".gif", ".mp4")
"""Of animations."""
SHEET = (5.4, 4.4)
"""Inches."""
ROW = 4
"""Most frames beside each other."""
FASTEST = 2.0
"""Colours of velocities end at so many times the median: where waves begin and meet, cells are fast without end."""
ARROWS = 20
"""About so many along the longer side."""


@typed
def activation_map(
    run: "Run | Record",
    ax: Any = None,
    *,
    beat: int = 0,
    isochrones: float | None = None,
    layer: int | None = None,
    title: str | None = None,
) -> Any:
    """When each cell of a sheet was activated, in colours, with isochrones.

    Args:
        run: of a sheet or a slab.
        beat: which activation of each cell, from 0.
        isochrones: interval between lines of equal time, ms; default a round one that gives about ten.
        layer: of a slab, which z; default the middle.
    """
    check_beat(run, beat)
    ax = given_or_sheet(ax)
    times = _layer(run.tissue, np.asarray(run.activation_times[beat], float), layer)
    unit = time_unit(run.tissue)
    image = _image(ax, run.tissue, times, TIMES, layer=layer)
    _bar(ax, image, f"activation time ({unit})")
    known = times[np.isfinite(times)]
    if known.size and np.ptp(known) > 0 and min(times.shape) > 1:
        check_known("isochrones", 1.0 if isochrones is None else isochrones, unit, "> 0", lambda x: x > 0)
        step = _round_step(np.ptp(known) / 10) if isochrones is None else float(isochrones)
        x, y = _axes_of(run.tissue)
        levels = np.arange(np.ceil(known.min() / step), np.floor(known.max() / step) + 1) * step
        if levels.size:
            lines = ax.contour(x, y, times, levels=levels, colors="white", linewidths=0.8)
            ax.clabel(lines, fontsize="x-small", fmt=lambda t: f"{t:g}")
        ax.set_title(title or f"isochrones every {step:g} {unit}", loc="left", fontsize="small", color=INK)
    return ax


@typed
def frame(
    run: "Run | Record",
    time: float,
    ax: Any = None,
    *,
    name: str | None = None,
    limits: Sequence[float] | None = None,
    layer: int | None = None,
) -> Any:
    """V of a sheet in the sample nearest to `time` (ms), or another saved output by `name`; `limits` of the colours."""
    ax = given_or_sheet(ax)
    ts = np.asarray(run.ts)
    unit = time_unit(run.tissue)
    check_known(
        "time", time, unit, f"within the samples, {ts[0]:g} to {ts[-1]:g} {unit}", lambda t: ts[0] <= t <= ts[-1]
    )
    k = int(np.argmin(np.abs(ts - time)))
    values = _layer(run.tissue, np.asarray(_output(run, name)[k]), layer)
    image = _image(ax, run.tissue, values, POTENTIAL, limits, layer)
    _bar(ax, image, _label(run.tissue, name))
    ax.set_title(f"{ts[k]:g} {unit}", loc="left", fontsize="small", color=INK)
    return ax


@typed
def frames(run: "Run | Record", times: Sequence[float], *, name: str | None = None, layer: int | None = None) -> Any:
    """A figure of V in several samples side by side, in one range of colours; returns the figure."""
    if not len(times):
        raise refusal("times", times, "", "at least one")
    ts = np.asarray(run.ts)
    chosen = [int(np.argmin(np.abs(ts - t))) for t in times]
    all_of_them = np.stack([np.asarray(_output(run, name)[k]) for k in chosen])
    limits = float(np.nanmin(all_of_them)), float(np.nanmax(all_of_them))
    rows = -(-len(times) // ROW)
    columns = -(-len(times) // rows)
    fig, axes = figure(rows, columns, size=(2.9 * columns, 2.8 * rows), squeeze=False, sharex=True, sharey=True)
    unit, images = time_unit(run.tissue), []
    for ax, k, values in zip(axes.flat, chosen, all_of_them, strict=False):
        images.append(_image(ax, run.tissue, _layer(run.tissue, values, layer), POTENTIAL, limits, layer))
        ax.set_title(f"{ts[k]:g} {unit}", loc="left", fontsize="small", color=INK)
    for k, ax in enumerate(axes.flat):
        ax.label_outer()
        ax.set_visible(k < len(times))
        if k + columns >= len(times):
            ax.tick_params(labelbottom=True)
            ax.set_xlabel("x (mm)")
    fig.colorbar(images[-1], ax=axes, shrink=0.8, label=_label(run.tissue, name))
    return fig


@typed
def space_time(run: "Run | Record", ax: Any = None, *, name: str | None = None) -> Any:
    """V of a cable against position and time, and the moments of its activations."""
    if run.tissue.axes != 1:
        raise refusal("run", f"of {run.tissue.axes} axes", "", "a run of a cable (one axis)")
    ax = given_or_new(ax)
    ts, (x,) = np.asarray(run.ts), run.tissue.centres()
    unit = time_unit(run.tissue)
    image = ax.pcolormesh(
        ts, x, np.asarray(_output(run, name)[:]).T, cmap=POTENTIAL, shading="nearest", rasterized=True
    )
    for times in np.asarray(run.activation_times):
        ax.plot(times, x, color="white", linewidth=1.0)
    ax.set_xlim(ts[0], ts[-1])
    ax.set_xlabel(f"time ({unit}); white: activation")
    ax.set_ylabel("x (mm)")
    _bar(ax, image, _label(run.tissue, name))
    return ax


@typed
def velocities(
    run: "Run | Record", ax: Any = None, *, beat: int = 0, every: int | None = None, layer: int | None = None
) -> Any:
    """Local conduction velocity of a sheet: its size in colours, its direction as arrows, one in `every` cells."""
    ax = given_or_sheet(ax)
    tissue = run.tissue
    vectors = velocity_map(run, beat)  # pyright: ignore[reportArgumentType]
    speed = _layer(tissue, np.sqrt((np.asarray(vectors) ** 2).sum(axis=0)), layer)
    known = speed[np.isfinite(speed)]
    top = float(min(known.max(), FASTEST * np.median(known))) if known.size else 1.0
    image = _image(ax, tissue, speed, "magma", (0.0, top), layer)
    _bar(ax, image, "velocity (mm/ms)" if time_unit(tissue) == "ms" else "velocity (mm/t.u.)", extend="max")
    longest = max(speed.shape)
    step = max(1, round(longest / ARROWS)) if every is None else every
    check_whole("every", step, "cells")
    x, y = _axes_of(tissue)
    v, u = (_layer(tissue, np.asarray(c), layer)[step // 2 :: step, step // 2 :: step] for c in vectors[-2:])
    length = np.hypot(u, v)
    some = np.isfinite(length) & (length > 0)
    # All of one length: the colour tells the speed.
    u, v = (np.divide(c, length, out=np.full_like(c, np.nan), where=some) for c in (u, v))
    at_x, at_y = np.meshgrid(x[step // 2 :: step], y[step // 2 :: step])
    ax.quiver(at_x[some], at_y[some], u[some], v[some], color="white", pivot="mid", scale=1.6 * ARROWS, width=0.004)
    return ax


@typed
def tip_paths(paths: Sequence[TipPath], ax: Any = None, *, unit: str = "ms") -> Any:
    """Where spiral tips went: each path in a colour, a dot where it begins."""
    ax = given_or_new(ax)
    for k, path in enumerate(paths):
        turns = "clockwise" if path.charge > 0 else "counter-clockwise"
        label = f"{path.ts[0]:g} to {path.ts[-1]:g} {unit}, turns {turns}"
        ax.plot(path.x, path.y, color=COLOURS[k % len(COLOURS)], linewidth=1.0, label=label)
        ax.plot(path.x[:1], path.y[:1], "o", color=COLOURS[k % len(COLOURS)], markersize=4)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_xlabel("x (mm)")
    ax.set_ylabel("y (mm)")
    if paths:
        legend(ax, loc="upper left", bbox_to_anchor=(0, -0.15), borderaxespad=0)
    return ax


@typed
def electrograms(ts: ArrayLike, phi: ArrayLike, ax: Any = None, *, names: Sequence[str] | None = None) -> Any:
    """Electrograms (mV) against time (ms): `phi` is (time,), or (time, electrodes) with their `names`."""
    ax = given_or_new(ax)
    ts, phi = np.asarray(ts, float), np.asarray(phi, float)
    if ts.ndim != 1:
        raise refusal("ts", f"shape {ts.shape}", "ms", "shape (time,)")
    if phi.ndim not in (1, 2) or len(phi) != len(ts):
        raise refusal("phi", f"shape {phi.shape}", "mV", f"(time,) or (time, electrodes), of {ts.shape} times")
    columns = phi.reshape(len(ts), -1).T
    if names is not None and len(names) != len(columns):
        raise refusal("names", f"{len(names)} of them", "", f"one an electrode, {len(columns)}")
    for k, one in enumerate(columns):
        ax.plot(ts, one, color=COLOURS[k % len(COLOURS)], label=None if names is None else names[k])
    ax.axhline(0, color=INK, linewidth=0.6, zorder=0)
    ax.set_xlabel("time (ms)")
    ax.set_ylabel("electrogram (mV)")
    if names is not None:
        legend(ax)
    return ax


@typed
def restitution(intervals: ArrayLike, values: ArrayLike, ax: Any = None, *, quantity: str, label: str | None = None,
                **style: Any) -> Any:  # fmt: skip
    """A restitution curve: `values` (APD in ms, or CV in mm/ms, as `quantity` says) against intervals (ms).

    An interval that did not conduct has NaN, and a cross on the axis.
    """
    ax = given_or_new(ax)
    x, y = np.asarray(intervals, float), np.asarray(values, float)
    if x.ndim != 1:
        raise refusal("intervals", f"shape {x.shape}", "ms", "a list of numbers")
    if x.shape != y.shape:
        raise refusal("values", f"shape {y.shape}", "", f"one an interval, {x.shape}")
    order = np.argsort(x)
    x, y = x[order], y[order]
    known = np.isfinite(y)
    look = {"marker": "o", "markersize": 4, "color": COLOURS[0], "linewidth": 1.0} | style
    ax.plot(x[known], y[known], label=label, **look)
    if not known.all():
        ax.plot(x[~known], np.zeros((~known).sum()), "x", color=look["color"], transform=ax.get_xaxis_transform(),
                clip_on=False, label="blocked")  # fmt: skip
    ax.set_xlabel("coupling interval (ms)")
    ax.set_ylabel(quantity)
    if label is not None or not known.all():
        legend(ax)
    return ax


@typed
def animate(
    run: "Run | Record",
    path: str | Path,
    *,
    name: str | None = None,
    every: int = 1,
    rate: int = 20,
    limits: Sequence[float] | None = None,
    layer: int | None = None,
    dpi: int = 90,
) -> None:
    """Writes a run as an animation, whole or not at all: V of a sheet in colours, of a cable as a curve.

    Args:
        run: what is shown; of a `Record` one frame at a time is read.
        path: a name that ends in .gif, or in .mp4 where ffmpeg is installed.
        name: another saved output than V.
        every: one in so many samples is a frame.
        rate: frames a second.
        limits: of the colours or of the curve; default from the lowest to the highest value.
        layer: of a slab, which z; default the middle.
        dpi: dots an inch.

    Raises:
        ValueError: another ending, no ffmpeg for .mp4, a place that cannot be written.
    """
    check_whole("every", every, "samples")
    check_whole("rate", rate, "frames/s")
    check_whole("dpi", dpi, "dots/inch", least=10)
    writer = animation_writer(path, rate)
    check_place(path)
    tissue, values, ts = run.tissue, _output(run, name), np.asarray(run.ts)
    shown = range(0, len(ts), every)
    limits = _limits(values, shown) if limits is None else limits
    first = np.asarray(values[0])
    fig, ax = figure(size=(5.0, 4.4) if tissue.axes > 1 else (6.4, 3.4))
    if tissue.axes == 1:
        (drawn,) = ax.plot(*tissue.centres(), first, color=COLOURS[0])
        room = 0.05 * (limits[1] - limits[0] or 1.0)
        ax.set_ylim(limits[0] - room, limits[1] + room)
        ax.set_xlabel("x (mm)")
        ax.set_ylabel(_label(tissue, name))
    else:
        drawn = _image(ax, tissue, _layer(tissue, first, layer), POTENTIAL, limits, layer)
        _bar(ax, drawn, _label(tissue, name))

    def draw(k: int) -> None:
        now = np.asarray(values[k])
        if tissue.axes == 1:
            drawn.set_ydata(now)
        else:
            drawn.set_data(_masked(tissue, _layer(tissue, now, layer), layer))
        ax.set_title(f"{ts[k]:.6g} {time_unit(tissue)}", loc="left", fontsize="small", color=INK)

    draw(0)  # with its title, which needs room
    fig.draw_without_rendering()
    fig.set_layout_engine("none")  # laid out once: it takes longer than a frame
    write_animation(path, writer, fig, draw, shown, dpi)


def animation_writer(path: str | Path, rate: int) -> Any:
    """Matplotlib's writer for a name that ends in .gif or .mp4. ValueError: another ending, or no such writer here."""
    kind = Path(path).suffix.lower()
    if kind not in KINDS:
        raise refusal("path", path, "", f"a name that ends in {' or '.join(KINDS)}")
    _matplotlib()
    from matplotlib import animation  # imports PIL

    needed = "pillow" if kind == ".gif" else "ffmpeg"
    if not animation.writers.is_available(needed):
        other = "; allowed: .gif, or install ffmpeg" if kind == ".mp4" else "; allowed: pip install pillow"
        raise ValueError(f"path = {path}: {needed}, which writes {kind[1:].upper()}, is not installed{other}")
    return animation.writers[needed](fps=rate)


def given_or_sheet(ax: Any) -> Any:
    """The axes that are given, or new ones for a sheet and its bar of colours."""
    return figure(size=SHEET)[1] if ax is None else given_or_new(ax)


def time_unit(tissue: "Tissue") -> str:
    return "t.u." if tissue.cell.units[tissue.cell.potential] == "1" else "ms"


def _output(run: Any, name: str | None) -> Any:
    """(time, *grid); of a `Record` nothing is read yet."""
    if name is None:
        return run.V
    if hasattr(run, "output"):
        return run.output(name)
    if name not in run.ys:
        raise refusal("name", name, "", f"what was saved: {', '.join(run.ys)}")
    return run.ys[name]


def _label(tissue: "Tissue", name: str | None) -> str:
    name = tissue.cell.potential if name is None else name
    return f"{name} ({tissue.cell.units[name]})"


def _layer(tissue: "Tissue", values: np.ndarray, layer: int | None) -> np.ndarray:
    """The sheet of values, or one layer of a slab."""
    if tissue.axes == 1:
        raise refusal("run", "of one axis", "", "a run of a sheet or a slab; `space_time` draws cables")
    if tissue.axes == 2:
        return values
    return values[_middle(tissue, layer)]


def _middle(tissue: "Tissue", layer: int | None) -> int:
    layer = tissue.shape[0] // 2 if layer is None else layer
    check_known("layer", layer, "", f"0 to {tissue.shape[0] - 1}", lambda k: 0 <= k <= tissue.shape[0] - 1)
    return int(layer)


def _axes_of(tissue: "Tissue") -> tuple[np.ndarray, np.ndarray]:
    """Centres along x and y, mm."""
    return tissue.centres()[-1], tissue.centres()[-2]


def _masked(tissue: "Tissue", values: np.ndarray, layer: int | None) -> Any:
    if tissue.mask is None:
        return np.ma.masked_invalid(values)
    return np.ma.masked_where(~_layer(tissue, np.asarray(tissue.mask), layer), np.ma.masked_invalid(values))


def _image(ax: Any, tissue: "Tissue", values: np.ndarray, colours: str, limits=None, layer: int | None = None) -> Any:
    """Values in colours; grey where there is no tissue or no value."""
    (dy, dx), (ny, nx) = tissue.spacing[-2:], tissue.shape[-2:]
    low, high = (None, None) if limits is None else limits
    image = ax.imshow(
        _masked(tissue, values, layer),
        origin="lower",
        extent=(0, nx * dx, 0, ny * dy),
        cmap=_matplotlib().colormaps[colours].with_extremes(bad=NO_TISSUE),
        vmin=low,
        vmax=high,
        interpolation="nearest",
    )
    ax.set_xlabel("x (mm)")
    ax.set_ylabel("y (mm)")
    return image


def _bar(ax: Any, image: Any, label: str, **options: Any) -> None:
    ax.get_figure().colorbar(image, ax=ax, label=label, shrink=0.85, **options)


def _limits(values: Any, shown: Sequence[int]) -> tuple[float, float]:
    """The lowest and highest finite value of the frames, one at a time."""
    low, high = np.inf, -np.inf
    for k in shown:
        now = np.asarray(values[k])
        now = now[np.isfinite(now)]
        if now.size:
            low, high = min(low, float(now.min())), max(high, float(now.max()))
    return (low, high) if low <= high else (0.0, 1.0)


def _round_step(about: float) -> float:
    """1, 2 or 5 times a power of ten, near to `about`."""
    power = 10.0 ** np.floor(np.log10(about))
    return float(min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(np.log(s / about))))
