"""The verb `tissue`."""

import argparse
import contextlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import plot
from ..arguments import check, check_known, check_whole, refusal
from ..cell import AbstractCell, dtype_of
from ..files.writing import check_place, write_csv
from ..models.ten_tusscher_panfilov import TenTusscherPanfilov2006
from ..plot import tissues
from ..progress import say
from ..protocols import Pulses
from ..simulation.grid import check_span, check_step
from ..text_tables import text_table
from ..tissue import (
    Run,
    Stimulus,
    TipPath,
    Tissue,
    conduction_velocity,
    diffusivity_of,
    period,
    restitution,
    simulate,
    tip_paths,
    velocity_map,
)
from ..tissue.brief import BRIEF, brief
from ..tissue.simulate import THRESHOLDS
from .common import argument, assignments, checked_figure, checked_output, find_model, make_cell, save_figure

MOST_CELLS = 100_000_000
SHARE = 20
"""A stimulus reaches so many-th of the tissue by default, and at least `FEWEST` cells."""
FEWEST = 3
DURATION = 2.0
"""Of a stimulus by default, ms."""
STEADY = 0.02
"""Change of a velocity along the cable beyond which it is none, relative."""
LINE = 2
"""Cells across an ablated line."""


class Usual(NamedTuple):
    """What is usual for the tissue of a kind of cell: mm^2/ms, mm, ms."""

    diffusivity: float
    dx: float
    cable_t1: float
    t1: float
    intervals: str


MILLIVOLTS = Usual(0.154, 0.1, 450.0, 60.0, "300,320,340,360,400,500,700,1000")
NO_UNIT = Usual(1.0, 0.6, 80.0, 60.0, "14,16,18,20,25,30,40,50")


class UsualSpiral(NamedTuple):
    """What is usual for a spiral of a kind of cell: mm, ms."""

    dx: float
    size: float
    t1: float
    dt: float | None
    rest: float
    """From the time when the first wave has left a quarter of the sheet to S2."""
    phase: dict[str, Any]
    """Of `tip_paths`."""
    ablation: str = "line"
    """One line through the tip, or a cross in the middle."""


SPIRAL_MILLIVOLTS = UsualSpiral(0.1, 60.0, 1000.0, None, 0.0, {"delay": 15.0})
SPIRAL_BRIEF = UsualSpiral(0.25, 30.0, 1100.0, 0.05, 30.0, {"second": "j", "centre": (-50.0, 0.15)}, "cross")
SPIRAL_NO_UNIT = UsualSpiral(0.6, 60.0, 300.0, None, 0.0, {"second": "v"})


def run(given: argparse.Namespace) -> int:
    jobs = {"cable": _cable, "sheet": _wave, "slab": _wave, "restitution": _restitution, "spiral": _spiral}
    return jobs[given.job](given)


# --- what is run -----------------------------------------------------------------------------------------------------


class Setup(NamedTuple):
    """What the options describe."""

    cell: AbstractCell
    usual: Usual
    unit: str
    """Of times."""
    tissue: Tissue
    dt: float | None


def _setup(
    given: argparse.Namespace, lengths: list[tuple[str, float]], cell: AbstractCell | None = None, dx: float = 0.0
) -> Setup:
    """The tissue of these lengths along z, y, x (by option), and what is usual for its cell.

    Where a job has a cell and a spacing of its own, these are the defaults.
    """
    cell = make_cell(find_model(given.model), given) if cell is None else cell
    usual, unit = (MILLIVOLTS, "ms") if _has_unit(cell) else (NO_UNIT, "t.u.")
    dx = (dx or usual.dx) if given.dx is None else given.dx
    check_known("--dx", dx, "mm", "> 0, finite", lambda x: np.isfinite(x) & (x > 0))
    shape = tuple(_count(option, length, dx) for option, length in lengths)
    if np.prod(np.array(shape, float)) > MOST_CELLS:
        raise refusal("--dx", dx, "mm", f"a spacing that makes at most {MOST_CELLS} cells of {_by(shape)}")
    D = _diffusivity(given, usual)
    fibres = None
    if getattr(given, "fibres", None) is not None or getattr(given, "across", None) is not None:
        angle = 0.0 if given.fibres is None else given.fibres
        check("--fibres", angle, "degrees", "-360 to 360", lambda x: np.abs(x) <= 360)
        across = D / 4 if given.across is None else given.across
        check("--across", across, "mm^2/ms", "> 0, finite", lambda x: np.isfinite(x) & (x > 0))
        fibres, D = np.deg2rad(angle), (D, across)
    if given.dt is not None:
        check_known("--dt", given.dt, "ms", "> 0, finite", lambda x: np.isfinite(x) & (x > 0))
        check_step(given.dt, None)
    return Setup(cell, usual, unit, Tissue(cell, shape, dx, D, fibres=fibres), given.dt)


def _has_unit(cell: AbstractCell) -> bool:
    return cell.units[cell.potential] != "1"


def _diffusivity(given: argparse.Namespace, usual: Usual) -> float:
    for option, value, unit in (
        ("--diffusivity", given.diffusivity, "mm^2/ms"),
        ("--conductivity", given.conductivity, "S/m"),
    ):
        check(option, value, unit, "> 0, finite", lambda x: np.isfinite(x) & (x > 0))
    if given.conductivity is not None:
        return float(diffusivity_of(given.conductivity))
    return usual.diffusivity if given.diffusivity is None else given.diffusivity


def _count(option: str, length: float, dx: float) -> int:
    check_known(option, length, "mm", f"at least 2 cells of --dx = {dx:g} mm, finite", np.isfinite)
    if not 1.5 * dx <= length <= MOST_CELLS * dx:
        raise refusal(option, length, "mm", f"{2 * dx:g} to {MOST_CELLS * dx:g} mm, 2 to {MOST_CELLS} cells of --dx")
    return round(length / dx)


class Pulse(NamedTuple):
    amplitude: float
    duration: float


def _pulse(given: argparse.Namespace, cell: AbstractCell) -> Pulse:
    """The stimulus of the options; by default one that brings V past the threshold and as far again."""
    duration = DURATION if given.duration is None else given.duration
    check_known("--duration", duration, "ms", "> 0, finite", lambda x: np.isfinite(x) & (x > 0))
    amplitude = given.pulse_amplitude
    if amplitude is None:
        rest = float(np.asarray(getattr(cell.initial_state(), cell.potential)))
        amplitude = -2 * (THRESHOLDS.get(cell.units[cell.potential], THRESHOLDS["mV"]) - rest) / duration
    allowed = "< 0, finite: negative currents depolarise"
    check_known("--pulse-amplitude", amplitude, "pA/pF", allowed, lambda x: np.isfinite(x) & (x < 0))
    return Pulse(float(amplitude), float(duration))


def _cells_of(given: argparse.Namespace, n: int, dx: float) -> int:
    """How many cells along an axis the stimulus reaches."""
    if given.region is None:
        return min(n, max(FEWEST, n // SHARE))
    check_known("--region", given.region, "mm", f"{dx:g} to {n * dx:g} mm", lambda x: 0.5 * dx <= x <= n * dx * 1.001)
    return max(1, min(n, round(given.region / dx)))


def _times(given: argparse.Namespace, t1: float) -> tuple[float, float]:
    """Length of a run, and its sampling interval."""
    t1 = t1 if given.t1 is None else given.t1
    with argument("--t1"):
        check_span(0.0, t1)
    every = min(1.0, t1) if given.save_every is None else given.save_every
    check_known("--save-every", every, "ms", f"> 0, at most --t1 = {t1:g} ms", lambda x: (x > 0) & (x <= t1))
    return t1, every


def _numerics(given: argparse.Namespace) -> dict[str, Any]:
    return {"dt": given.dt, "splitting": given.splitting, "diffusion": given.diffusion}


def _animation(given: argparse.Namespace) -> Path | None:
    """Where the animation goes, if one can be written there."""
    if given.animation is None:
        return None
    with argument("--animation"):
        tissues.animation_writer(given.animation, 1)
        return check_place(given.animation)


# --- jobs ------------------------------------------------------------------------------------------------------------


def _cable(given: argparse.Namespace) -> int:
    out, animation = _places(given, "cable.h5")
    setup = _setup(given, [("--length", given.length)])
    t1, every = _times(given, setup.usual.cable_t1)
    tissue, (n,) = setup.tissue, setup.tissue.shape
    stimulus = _stimulus(given, setup, np.s_[: _cells_of(given, n, tissue.spacing[0])], t1)
    found = simulate(tissue, [stimulus], t1=t1, save_every=every, progress=True, **_numerics(given))
    problems = found.problems()
    print(_title(setup, found))
    print(text_table([["", "value", "measured"], *_cable_rows(found, setup.unit, bool(problems))], 3))
    return _written(given, out, animation, found, problems, lambda: _cable_figure(found))


def _cable_rows(found: Run, unit: str, doubtful: bool) -> list[list[str]]:
    """CV between 30 and 80 % of the cable, and the APD of the cell in its middle."""
    (n,), (x,) = found.tissue.shape, found.tissue.centres()
    first, last = int(0.3 * n), min(int(0.8 * n), n - 1)
    times = np.asarray(found.activation_time)
    if last <= first or not np.isfinite(times[[first, last]]).all():
        where = f"no wave from x = {x[first]:.4g} to {x[last]:.4g} mm before the end"
        return [[f"CV, mm/{unit}", "none", where], _apd_row(found, (n // 2,), unit, doubtful)]
    velocity = float(conduction_velocity(found, (first,), (last,)))
    middle = (first + last) // 2
    halves = [float(conduction_velocity(found, pair[:1], pair[1:])) for pair in ((first, middle), (middle, last))]
    drift = abs(halves[1] / halves[0] - 1)
    said = f"x = {x[first]:.4g} mm at {times[first]:.4g} {unit} to {x[last]:.4g} mm at {times[last]:.4g} {unit}"
    if drift > STEADY:
        said += f"; not steady: {halves[0]:.4g} in the first half of that, {halves[1]:.4g} in the second"
    value = _number(velocity, doubtful or drift > STEADY)
    coarse = velocity * found.tissue.spacing[0] / float(np.mean(np.asarray(found.tissue.diffusivity)))
    mesh = ["CV dx / D", f"{coarse:.3g}", "how steep the wave is on this grid; CV is too low by some percent from 1 on"]
    return [[f"CV, mm/{unit}", value, said], mesh, _apd_row(found, (n // 2,), unit, doubtful)]


def _apd_row(found: Run, cell: tuple[int, ...], unit: str, doubtful: bool) -> list[str]:
    apd = float(np.asarray(found.apd)[cell])
    place = ", ".join(
        f"{axis} = {c[k]:.4g}" for axis, c, k in zip("zyx"[-len(cell) :], found.tissue.centres(), cell, strict=True)
    )
    if not np.isfinite(apd):
        return [f"APD90, {unit}", "none", f"{place} mm has not repolarised by the end"]
    return [f"APD90, {unit}", _number(apd, doubtful), f"{place} mm"]


def _wave(given: argparse.Namespace) -> int:
    """Of a sheet or a slab."""
    out, animation = _places(given, f"{given.job}.h5")
    lengths = [("--height", given.height), ("--width", given.width)]
    if given.job == "slab":
        lengths.insert(0, ("--depth", given.depth))
    setup = _setup(given, lengths)
    t1, every = _times(given, setup.usual.t1)
    tissue = setup.tissue
    reach = [_cells_of(given, n, dx) for n, dx in zip(tissue.shape, tissue.spacing, strict=True)]
    corner = tuple(slice(k) for k in reach)
    region = corner if given.stimulus == "corner" else (..., slice(reach[-1]))
    stimulus = _stimulus(given, setup, region, t1)
    found = simulate(tissue, [stimulus], t1=t1, save_every=every, progress=True, **_numerics(given))
    problems = found.problems()
    print(_title(setup, found))
    print(text_table([["", "value", "measured"], *_wave_rows(found, setup.unit, bool(problems))], 3))
    return _written(given, out, animation, found, problems, lambda: _map_figure(found))


def _wave_rows(found: Run, unit: str, doubtful: bool) -> list[list[str]]:
    times = np.asarray(found.activation_time, float)
    known = np.isfinite(times)
    rows = [["activated", f"{known.sum()} of {times.size}", "cells"]]
    if not known.any():
        return rows
    last = tuple(int(k) for k in np.unravel_index(np.nanargmax(times), times.shape))
    rows.append([f"last activation, {unit}", _number(float(times[last]), doubtful), f"cell {last}"])
    # The stimulated cells, and those at borders, whose differences are one-sided, tell no velocity.
    inner = tuple(slice(2, -2) if n > 8 else slice(None) for n in times.shape)
    velocity = np.sqrt((np.asarray(velocity_map(found)) ** 2).sum(axis=0))[inner]
    reached = ~np.any([s.cells(times.shape) for s in found.stimuli], axis=0)[inner]
    speed = velocity[reached & np.isfinite(velocity)]
    if speed.size:
        low, middle, high = np.percentile(speed, [5, 50, 95])
        said = f"median of {speed.size} inner cells; 5 to 95 %: {low:.3g} to {high:.3g}"
        rows.append([f"local velocity, mm/{unit}", _number(float(middle), doubtful), said])
    return [*rows, _apd_row(found, tuple(n // 2 for n in times.shape), unit, doubtful)]


def _restitution(given: argparse.Namespace) -> int:
    out = checked_output(given.out or "restitution.csv", (".csv",))
    checked_figure(given, out)
    setup = _setup(given, [("--length", given.length)])
    usual = setup.usual
    intervals = _intervals(usual.intervals if given.intervals is None else given.intervals)
    pulse = _pulse(given, setup.cell)
    cycle = max(intervals) if given.cycle_length is None else given.cycle_length
    allowed = f"> --duration = {pulse.duration:g} ms, finite"
    check_known("--cycle-length", cycle, "ms", allowed, lambda x: np.isfinite(x) & (x > pulse.duration))
    check_whole("--beats", given.beats, "S1 stimuli")
    check_whole("--prepaced", given.prepaced, "beats", 0)
    if min(intervals) <= pulse.duration:
        raise refusal("--intervals", min(intervals), "ms", allowed)
    n = setup.tissue.shape[0]
    with argument("restitution"):
        found = restitution(
            setup.tissue,
            intervals,
            cycle_length=cycle,
            amplitude=pulse.amplitude,
            duration=pulse.duration,
            region=np.s_[: _cells_of(given, n, setup.tissue.spacing[0])],
            beats=given.beats,
            prepaced=given.prepaced,
            **_numerics(given),
        )
    unit = setup.unit
    header = [f"S1-S2 interval, {unit}", f"CV, mm/{unit}", f"diastolic interval, {unit}", f"APD90, {unit}"]
    rows = []
    for row in zip(*found, strict=True):
        *numbers, captured, conducted = row
        said = "" if conducted else "blocked" if captured else "no capture"
        rows.append([f"{numbers[0]:g}", *(f"{x:.4g}" if np.isfinite(x) else "" for x in numbers[1:]), said])
    print(_title(setup, None))
    print(text_table([[*header, ""], *rows]))
    shortest = found.shortest
    said = "none of these intervals conducts" if np.isnan(shortest) else f"{shortest:g} {unit}"
    print(f"shortest interval that conducts: {said}")
    table = [[*(f"{x:.9g}" for x in row[:4]), *(int(x) for x in row[4:])] for row in zip(*found, strict=True)]
    write_csv(out, [[*header, "captured", "conducted"], *table])
    print(f"wrote {out}")
    save_figure(given, out, lambda: _restitution_figure(found, unit))
    return 1 if np.isnan(shortest) else 0


def _intervals(text: str) -> list[float]:
    try:
        found = [float(x) for x in text.split(",")]
        good = all(np.isfinite(x) and x > 0 for x in found)
    except ValueError:
        good, found = False, []
    if not good:
        raise ValueError(f"--intervals = {text!r}; allowed: MS,MS,..., each > 0 ms, e.g. 300,350,400")
    return found


def _spiral(given: argparse.Namespace) -> int:
    out, animation = _places(given, "spiral.h5")
    ablated_out = out.with_name(f"{out.stem}-ablated{out.suffix}")
    cell, usual = _spiral_cell(given)
    size = usual.size if given.size is None else given.size
    given.dt = usual.dt if given.dt is None else given.dt
    setup = _setup(given, 2 * [("--size", size)], cell, usual.dx)
    t1, every = _times(given, usual.t1)
    check("--s2", given.s2, "ms", f"> 0, below --t1 = {t1:g} ms", lambda x: (x > 0) & (x < t1))
    ablate = given.ablate_at
    check("--ablate-at", ablate, "ms", f"> 0, below --t1 = {t1:g} ms", lambda x: (x > 0) & (x < t1))
    if ablate is None and given.ablation is not None:
        raise refusal("--ablation", given.ablation, "", "with --ablate-at")
    if ablate is not None:
        checked_output(ablated_out, (), "the run after ablation")
    pulse = _pulse(given, setup.cell)
    tissue, (n, _) = setup.tissue, setup.tissue.shape
    reach = _cells_of(given, n, tissue.spacing[0])
    s2 = _waveback(given, setup, pulse, reach, t1) + usual.rest if given.s2 is None else given.s2
    stimuli = [
        Stimulus(Pulses(pulse.amplitude, pulse.duration, np.array([t])), region)
        for t, region in ((0.0, np.s_[:, :reach]), (s2, np.s_[: n // 2, : n // 2]))
    ]
    outputs = [cell.potential, *([usual.phase["second"]] if "second" in usual.phase else [])]
    options = {"save_every": every, "outputs": outputs, "progress": True, **_numerics(given)}
    end = t1 if ablate is None else ablate
    found = simulate(tissue, stimuli, t1=end, beats=_beats(end), **options)
    problems = found.problems()
    paths = _paths(found, usual.phase)
    print(_title(setup, found))
    if usual is SPIRAL_BRIEF:
        print(f"a brief action potential: {_scaled(given)} (--published: as published)")
    print(f"S1 at 0 {setup.unit} from the left edge, S2 at {s2:.4g} {setup.unit} in the lower left quarter")
    rows = _spiral_rows(found, paths, s2, setup.unit, bool(problems))
    after = None
    if ablate is not None:
        tips = [p.x[-1] for p in paths if p.ts[-1] >= found.ts[-1] - 1e-6]
        ablation = given.ablation or usual.ablation
        after = _ablated(found, ablation, float(tips[0]) if tips else None, ablate, t1, options)
        rows.append(_ending(after, ablation, ablate, t1, setup.unit))
    print(text_table([["", "value", "measured"], *rows], 3))
    if after is not None:
        after.save(ablated_out)
        print(f"wrote {ablated_out}")
        problems += [p for p in after.problems() if "no cell was activated" not in p]
    if not paths:
        problems.append("no spiral: try another --s2, a larger --size, or another cell")
    draw = lambda: _spiral_figure(found, after, paths, setup.unit)  # noqa: E731
    return _written(given, out, animation, found, problems, draw)


def _spiral_cell(given: argparse.Namespace) -> tuple[AbstractCell, UsualSpiral]:
    """The cell, and what is usual for its spirals: where it is known to have them, with a brief action potential."""
    cell = make_cell(find_model(given.model), given)
    if not _has_unit(cell):
        return cell, SPIRAL_NO_UNIT
    if given.published or not isinstance(cell, TenTusscherPanfilov2006):
        return cell, SPIRAL_MILLIVOLTS
    kept = [name for name in assignments("--set", given.set) if name in BRIEF]
    return brief(cell, keep=kept), SPIRAL_BRIEF


def _scaled(given: argparse.Namespace) -> str:
    kept = assignments("--set", given.set)
    return ", ".join(f"{name} x {share:g}" for name, share in BRIEF.items() if name not in kept)


def _waveback(given, setup: Setup, pulse: Pulse, reach: int, t1: float) -> float:
    """When the first wave has left a quarter of the sheet: from a cable along x."""
    (_, n), (_, dx) = setup.tissue.shape, setup.tissue.spacing
    cable = Tissue(setup.cell, (n,), dx, setup.tissue.diffusivity)
    stimulus = Stimulus(Pulses(pulse.amplitude, pulse.duration, np.zeros(1)), np.s_[:reach])
    say("a cable tells when the first wave has left a quarter of the sheet\n")
    found = simulate(cable, [stimulus], t1=t1, save_every=t1, **_numerics(given))
    left = float(np.asarray(found.repolarisation_time)[n // 4])
    if not np.isfinite(left):
        raise ValueError(f"--s2: missing, and no wave has left a quarter of {n * dx:g} mm before --t1 = {t1:g} ms")
    return left


def _beats(t1: float) -> int:
    """Most activations that are kept: of the shortest period that there may be."""
    return max(2, min(100, int(t1 / 10)))


def _paths(found: Run, phase: dict[str, Any]) -> list[TipPath]:
    """Of the tips that turn, not of what is seen in passing."""
    length = float(found.ts[-1] - found.ts[0])
    if phase.get("delay", 0.0) >= length:
        return []
    return tip_paths(found, **phase, shortest=0.1 * length)


def _spiral_rows(found: Run, paths: list[TipPath], s2: float, unit: str, doubtful: bool) -> list[list[str]]:
    last = [p for p in paths if p.ts[-1] >= found.ts[-1] - 1e-6]
    rows = [["singularities at the end", str(len(last)), f"of {len(paths)} that lasted a tenth of the run"]]
    since = s2 + (found.ts[-1] - s2) / 3
    with np.errstate(all="ignore"):
        periods = np.asarray(period(found, since=float(since)), float)
    known = periods[np.isfinite(periods)]
    if last and known.size:
        low, middle, high = np.percentile(known, [5, 50, 95])
        said = f"median of {known.size} cells since {since:.4g} {unit}; 5 to 95 %: {low:.4g} to {high:.4g}"
        rows.append([f"period, {unit}", _number(float(middle), doubtful), said])
    for p in last:
        said = (
            f"from {p.ts[0]:g} {unit} on; x {p.x.min():.3g} to {p.x.max():.3g}, y {p.y.min():.3g} to {p.y.max():.3g} mm"
        )
        rows.append(["tip", "clockwise" if p.charge > 0 else "counter-clockwise", said])
    return rows


def _ablated(found: Run, ablation: str, tip: float | None, at: float, t1: float, options: dict[str, Any]) -> Run:
    """The run goes on after lines from edge to edge conduct no more: one along y at the tip's x (mm), or a cross."""
    tissue = found.tissue
    mask = np.ones(tissue.shape, bool)
    if ablation == "cross" or tip is None:
        mask[:, _line(tissue.shape[1] // 2, tissue.shape[1])] = False
    else:
        mask[:, _line(int(tip / tissue.spacing[1]), tissue.shape[1])] = False
    if ablation == "cross":
        mask[_line(tissue.shape[0] // 2, tissue.shape[0])] = False
    options = options | {"save_every": min(options["save_every"], t1 - at)}
    return simulate(tissue.replace(mask=mask), [], t0=at, t1=t1, y0=found.final_state, beats=_beats(t1 - at), **options)


def _line(cell: int, n: int) -> slice:
    """The cells of a line about this one, within the sheet."""
    first = min(max(cell - LINE // 2, 1), n - LINE - 1)
    return slice(first, first + LINE)


def _ending(after: Run, ablation: str, at: float, t1: float, unit: str) -> list[str]:
    """When the last cell was activated after ablation."""
    V = np.asarray(after.V[-1])
    there = np.asarray(after.tissue.mask)
    active = int((V[there] >= after.threshold).sum())
    times = np.asarray(after.activation_times, float)
    last = float(np.nanmax(times)) if np.isfinite(times).any() else at
    name = f"ablation ({ablation}) at {at:g} {unit}"
    if active:
        said = f"{active} cells are excited at {t1:g} {unit}, the end; the last activation was at {last:.4g} {unit}"
        return [name, "not ended", said]
    return [name, "ended", f"no cell is excited at {t1:g} {unit}; last activation {last:.4g} {unit}"]


# --- what is said, drawn and written ---------------------------------------------------------------------------------


def _places(given: argparse.Namespace, default: str) -> tuple[Path, Path | None]:
    """Where the run and its animation go: found out before the work."""
    out = checked_output(given.out or default, (".h5", ".hdf5"))
    checked_figure(given, out)
    animation = _animation(given)
    if animation is not None and animation.resolve() == out.with_suffix(".png").resolve():
        raise refusal("--animation", animation, "", "another file than the figure")
    return out, animation


def _stimulus(given: argparse.Namespace, setup: Setup, region: Any, t1: float) -> Stimulus:
    pulse = _pulse(given, setup.cell)
    check_known("--start", given.start, "ms", f"0 to --t1 = {t1:g} ms", lambda x: (x >= 0) & (x < t1))
    return Stimulus(Pulses(pulse.amplitude, pulse.duration, np.array([given.start])), region)


def _number(x: float, doubtful: bool) -> str:
    return f"{'~' * doubtful}{x:.4g}"


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in reversed(shape))


def _title(setup: Setup, found: Run | None) -> str:
    tissue = setup.tissue
    what = {1: "a cable", 2: "a sheet", 3: "a slab"}[tissue.axes]
    size = " x ".join(f"{n * dx:g}" for n, dx in zip(reversed(tissue.shape), reversed(tissue.spacing), strict=True))
    D = ", ".join(f"{d:.4g}" for d in np.atleast_1d(np.asarray(tissue.diffusivity)))
    how = "" if found is None else f"; {found.settings}, {dtype_of(setup.cell)}"
    return (
        f"{type(setup.cell).__name__}, {what} of {_by(tissue.shape)} cells, {size} mm, dx {tissue.spacing[-1]:g} mm, "
        f"D {D} mm^2/{setup.unit}{how}"
    )


def _written(given, out: Path, animation: Path | None, found: Run, problems: list[str], draw) -> int:
    """Writes the run, its figure and its animation; says what is wrong. Exit status."""
    found.save(out)
    print(f"wrote {out}")
    save_figure(given, out, draw)
    if animation is not None:
        frames = max(1, len(found.ts) // 100)
        tissues.animate(found, animation, every=frames)
        print(f"wrote {animation}")
    for problem in problems:
        print(f"jaxcardio: {problem}{' (~: not to be trusted)' if 'jumps' in problem else ''}")
    return 1 if problems else 0


def _cable_figure(found: Run) -> Any:
    figure, (left, right) = plot.figure(1, 2, size=(10.0, 3.8))
    tissues.space_time(found, left)
    (x,) = found.tissue.centres()
    for k, n in enumerate(int(share * len(x)) for share in (0.25, 0.5, 0.75)):
        right.plot(found.ts, np.asarray(found.V[:, n]), color=plot.COLOURS[k], label=f"x = {x[n]:.3g} mm")
    right.set_xlabel(f"time ({tissues.time_unit(found.tissue)})")
    right.set_ylabel(f"{found.tissue.cell.potential} ({found.tissue.cell.units[found.tissue.cell.potential]})")
    right.legend(fontsize="small", frameon=False)
    return figure


def _map_figure(found: Run) -> Any:
    figure, (left, right) = plot.figure(1, 2, size=(10.0, 4.2))
    tissues.activation_map(found, left)
    with contextlib.suppress(ValueError):  # where no wave ran there is no velocity
        tissues.velocities(found, right)
    return figure


def _restitution_figure(found: Any, unit: str) -> Any:
    figure, (left, right) = plot.figure(1, 2, size=(9.0, 3.6))
    for ax, values, quantity in ((left, found.velocity, f"CV (mm/{unit})"), (right, found.apd, f"APD90 ({unit})")):
        tissues.restitution(found.intervals, np.where(found.conducted, values, np.nan), ax, quantity=quantity)
        ax.set_xlabel(f"S1-S2 interval ({unit})")
    return figure


def _spiral_figure(found: Run, after: Run | None, paths: list[TipPath], unit: str) -> Any:
    figure, axes = plot.figure(1, 2 if after is None else 3, size=(9.6 if after is None else 14.0, 4.2))
    tissues.frame(found, float(found.ts[-1]), axes[0])
    tissues.tip_paths(paths, axes[1], unit=unit)
    if after is not None:
        V = np.asarray(found.V[-1])
        tissues.frame(after, float(after.ts[-1]), axes[2], limits=(float(V.min()), float(V.max())))
    return figure
