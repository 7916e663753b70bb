"""Which cells of a population are cells at all: what is measured of each, the rules, and every reason against it."""

import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Int

from ..annotations import typed
from ..arguments import check_known, refusal
from ..biomarkers import action_potentials_from
from ..cell import AbstractCell, unknown_name
from ..protocols import AbstractProtocol
from ..simulation.trace import MESSAGES, Status, Trace
from ..solvers import RushLarsen2
from .simulation import simulate

T1, DISCARD = 10_000.0, 5_000.0
"""Length of each run and how much of it is not looked at, ms."""
DT, SAVE_EVERY = 0.1, 1.0
"""Step of `RushLarsen2` and sampling interval, ms. On 300 Kernik cells, spread 0.2, against steps of 0.02 ms, APD90
differs by 0.01 ms (median), 0.15 ms (95 % of cells), 0.34 ms (99 %); in float32 by no more than in float64."""
REST, EXCITED = -60.0, -20.0
"""The two potentials, mV, that tell rest from excitation: the same for every cell and dose."""
EAD_RISE = 2.0
"""Smallest depolarisation that is an early afterdepolarisation, mV."""
PATIENCE = 2_000.0
"""A cell that has not come back to rest for this long at the end of the run has failed to repolarise, ms."""

BIOMARKERS = {
    "apd90": "ms",
    "apd50": "ms",
    "cycle_length": "ms",
    "mdp": "mV",
    "peak": "mV",
    "dvdt_max": "mV/ms",
}
"""What a range can be asked of, and its unit: means over the complete beats of a cell."""

UNITS = BIOMARKERS | {
    "beats": "1",
    "ead": "1",
    "failed": "1",
    "oscillating": "1",
    "quiescent": "1",
    "status": "jaxcardio.Status",
}
"""Every quantity that `measure` gives, and its unit."""


class Reason(enum.IntFlag):
    """Why a cell is not viable: bits, so that a cell keeps all of its reasons; 0 is a viable cell."""

    NO_BEAT = 1
    NO_REPOLARISATION = 2
    RUN_FAILED = 4
    OUT_OF_RANGE = 8


REASONS = {
    Reason.NO_BEAT: "does not beat",
    Reason.NO_REPOLARISATION: "does not repolarise",
    Reason.RUN_FAILED: "its run failed",
    Reason.OUT_OF_RANGE: "a biomarker out of range",
}


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a viable cell does. The default is the published rule set for stem-cell-derived cardiomyocytes.

    It keeps cells that are excitable, repolarise and are numerically stable (doi 10.7554/eLife.110013, Methods), read
    as: at least one complete beat after the discarded time, V back at `REST` (-60 mV) within the last `PATIENCE`
    (2000 ms), and a run that ended well. The last is no choice: a run that failed is never viable, and is judged by
    nothing else.

    Attributes:
        min_beats: complete beats that it must have, >= 0.
        repolarises: whether it must come back to rest.
        ranges: lowest and highest allowed value of any of `BIOMARKERS`, in its unit, e.g. `{"apd90": (100.0, 800.0)}`;
            ends included, infinite ends allowed. Ranges judge the cells that have complete beats (without any there
            is nothing to measure); a biomarker that could not be measured in such a cell is outside.

    ValueError: a value out of its range, or a biomarker that is not measured, by name.
    """

    min_beats: int = 1
    repolarises: bool = True
    ranges: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if isinstance(self.min_beats, bool) or not isinstance(self.min_beats, int) or self.min_beats < 0:
            raise ValueError(f"min_beats = {self.min_beats} beats; allowed: a whole number >= 0")
        if not isinstance(self.repolarises, bool):
            raise ValueError(f"repolarises = {self.repolarises!r}; allowed: True or False")
        if not isinstance(self.ranges, Mapping):
            raise ValueError(f"ranges = {self.ranges!r}; allowed: biomarker -> (lowest, highest)")
        object.__setattr__(self, "ranges", {k: _checked_range(k, x) for k, x in self.ranges.items()})

    def to_json(self) -> dict[str, Any]:
        """The rules as a plain dict that JSON can hold; an open end is None."""
        ends = {name: [x if np.isfinite(x) else None for x in ends] for name, ends in self.ranges.items()}
        return {"min_beats": self.min_beats, "repolarises": self.repolarises, "ranges": ends}

    @staticmethod
    def from_json(written: Mapping[str, Any]) -> "Rules":
        """The rules that `to_json` wrote; a ValueError says what is wrong with it."""
        known = {f.name for f in dataclasses.fields(Rules)}
        if not isinstance(written, Mapping) or set(written) != known or not isinstance(written["ranges"], Mapping):
            raise ValueError(f"rules = {written!r}; allowed: {', '.join(sorted(known))}, each with its value")
        return Rules(**{**written, "ranges": {k: _with_open_ends(x) for k, x in written["ranges"].items()}})


@typed
def measure(trace: Trace, discard: float) -> dict[str, np.ndarray]:
    """Every quantity of `UNITS` for the cells of one run, each of shape (cells,).

    A *beat* begins when V rises through `EXCITED` (-20 mV) after having been at or below `REST` (-60 mV); only what
    happens after the first `discard` ms counts. It has repolarised when V has come back to its APD90 level and to
    `REST`. A complete beat has begun and repolarised in that time, and, where spontaneous, follows another, so that
    its rest was seen.

    Returns:
        apd90, apd50, cycle_length, mdp, peak, dvdt_max: means over the complete beats, ms, mV, mV/ms; NaN where there
            is none. `mdp` is the resting potential where paced. dvdt_max of a 30 V/s upstroke is some per cent low at
            1 ms samples.
        beats: number of complete beats behind those means.
        ead: an early afterdepolarisation in at least one beat that then repolarised: past its APD30 level and before
            its APD90 level V rose by `EAD_RISE` (2 mV) above its lowest value so far.
        failed: repolarisation failure: V stayed above `REST` for the last `PATIENCE` ms of the run.
        oscillating: failed, and V still rises by `EAD_RISE` or more.
        quiescent: at rest and no beat begun.
        status: `Status` of the run; `failed` and `quiescent` are False where it is not OK.
    """
    ts = np.asarray(trace.ts)
    allowed = f"0 to the last sample, {ts[-1]:g} ms"
    check_known("discard", discard, "ms", allowed, lambda x: 0 <= x <= ts[-1])
    if np.ndim(trace.V) != 2:
        raise refusal("trace", f"V of shape {np.shape(trace.V)}", "", "a population, V of shape (n_cells, time)")
    late = ts >= discard
    V = np.asarray(trace.V)[:, late]
    V = np.where(np.isfinite(V), V, np.nan)  # a failed run may end in infinities, whose difference numpy warns of
    ts = ts[late]
    stimuli = np.zeros(0) if trace.protocol is None else trace.protocol.onsets(ts[0], ts[-1])
    paced = len(stimuli) > 0
    beats = action_potentials_from(ts, V, onsets=stimuli, threshold=(REST, EXCITED), ead_rise=EAD_RISE)
    last_rest = np.where(V <= REST, ts, -np.inf).max(axis=1, keepdims=True)
    # A beat that begins from a poor rest can reach its own APD90 level without having come back.
    finished = np.asarray(beats.repolarised) & (np.asarray(beats.t_upstroke) < last_rest)
    complete = finished if paced else finished & np.isfinite(beats.cycle_length)
    ok = np.asarray(trace.status) == 0
    failed = ok & ~(V[:, ts >= ts[-1] - PATIENCE] <= REST).any(axis=1)
    rises = (V - np.minimum.accumulate(V, axis=1)).max(axis=1) >= EAD_RISE
    means = {"apd90": beats.apd90, "apd50": beats.apd50, "cycle_length": beats.cycle_length, "mdp": beats.rmp}
    means |= {"peak": beats.peak, "dvdt_max": beats.dvdt_max}
    return {k: _mean_over(np.asarray(x, np.float64), complete) for k, x in means.items()} | {
        "beats": complete.sum(axis=1),
        "ead": (np.asarray(beats.ead) & finished).any(axis=1),
        "failed": failed,
        "oscillating": failed & rises,
        "quiescent": ok & ~failed & ~np.asarray(beats.captured).any(axis=1),
        "status": np.asarray(trace.status),
    }


@typed
def judge(measured: Mapping[str, np.ndarray], rules: Rules) -> Int[np.ndarray, " cells"]:
    """Every `Reason` against each of the cells that `measure` saw, as bits; 0 where a cell is viable."""
    if missing := [name for name in UNITS if name not in measured]:
        raise refusal("measured", missing[0], "", "all that `measure` gives; this is missing")
    beats = measured["beats"]
    outside = np.zeros(len(beats), bool)
    for name, ends in rules.ranges.items():
        outside |= _outside(measured, name, ends)
    reasons = int(Reason.NO_BEAT) * (beats < rules.min_beats)
    reasons |= int(Reason.NO_REPOLARISATION) * (measured["failed"] & rules.repolarises)
    reasons |= int(Reason.OUT_OF_RANGE) * outside
    return np.where(measured["status"] == Status.OK, reasons, int(Reason.RUN_FAILED))


def gravest(reasons: Int[np.ndarray, " cells"]) -> Int[np.ndarray, " cells"]:
    """The one `Reason` that says most about each cell, 0 where it is viable: failed run, rest, beats, ranges."""
    order = (Reason.RUN_FAILED, Reason.NO_REPOLARISATION, Reason.NO_BEAT, Reason.OUT_OF_RANGE)
    return np.select([(reasons & int(r)) != 0 for r in order], [int(r) for r in order], 0)


class Screening(eqx.Module):
    """What `screen` found: which cells are viable, and every reason against the others. On the host, in numpy.

    Attributes:
        reasons: bits of `Reason` for each cell, shape (n,); 0 is viable.
        biomarkers: what `measure` gives, by name, each of shape (n,), of every cell.
        rules: by which they were judged.
        model: name of the model.
    """

    reasons: Int[np.ndarray, " n"]
    biomarkers: dict[str, np.ndarray]
    rules: Rules = eqx.field(static=True)
    model: str = eqx.field(static=True)

    @property
    def viable(self) -> Bool[np.ndarray, " n"]:
        return self.reasons == 0

    def why(self, i: int) -> list[str]:
        """Every reason against cell i, a sentence each; none for a viable cell."""
        n = len(self.reasons)
        if not 0 <= i < n:
            raise ValueError(f"i = {i}; allowed: 0 to {n - 1}, the cells that were screened")
        reasons = Reason(int(self.reasons[i]))
        cell = {name: x[[i]] for name, x in self.biomarkers.items()}
        said = []
        if Reason.RUN_FAILED in reasons:
            said.append(f"its run failed: {MESSAGES[Status(int(cell['status'][0]))]}")
        if Reason.NO_BEAT in reasons:
            said.append(f"complete beats = {cell['beats'][0]}, fewer than {self.rules.min_beats}")
        if Reason.NO_REPOLARISATION in reasons:
            said.append(f"does not repolarise: V above {REST:g} mV for the last {PATIENCE:g} ms")
        if Reason.OUT_OF_RANGE in reasons:
            ranges = self.rules.ranges.items()
            said += [_said_outside(k, cell[k][0], ends) for k, ends in ranges if _outside(cell, k, ends)[0]]
        return said

    def counts(self) -> dict[str, int]:
        """How many cells each reason speaks against; a cell with two reasons counts under both."""
        return {text: int(((self.reasons & int(r)) != 0).sum()) for r, text in REASONS.items()}

    def table(self) -> str:
        """How many are viable, the counts by reason, and the biomarkers of the viable cells with their units."""
        return _table(self)


@typed
def screen(
    cells: AbstractCell,
    rules: Rules | None = None,
    protocol: AbstractProtocol | None = None,
    *,
    t1: float = T1,
    discard: float = DISCARD,
    save_every: float = SAVE_EVERY,
    chunk: int | None = None,
    progress: bool | Callable[[float], None] = False,
    **options,
) -> Screening:
    """Runs every cell of a population and judges it by the rules. `measure` says what is measured.

    Args:
        cells: a population.
        rules: default `Rules()`, the published ones.
        protocol: a stimulus; None for cells that beat by themselves.
        t1, discard: length of each run, from the published initial state, and how much of its beginning is not looked
            at, ms.
        save_every: sampling interval, ms; samples are measured chunk by chunk and not kept.
        chunk: cells simulated together, as for `population.simulate`. The result does not depend on it.
        progress: True for a bar on stderr, or a function of the fraction done.
        options: as for `jaxcardio.simulate`; default `RushLarsen2` at dt = 0.1 ms. The dtype is that of the cells.

    ValueError: an argument out of its range, by name.
    """
    check_window(t1, discard, protocol)
    options = run_options(options) | {"t1": t1, "save_every": save_every, "chunk": chunk, "progress": progress}
    options["outputs"] = [cells.potential]
    measured = simulate(cells, protocol, reduce=lambda trace: measure(trace, discard), **options)
    rules = rules or Rules()
    return Screening(judge(measured, rules), measured, rules, type(cells).__name__)


def run_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `simulate` with the solver and step that are usual here; those that are not open are a ValueError."""
    for name in ("y0", "reduce", "outputs", "save_at", "t0"):
        if name in options:
            raise ValueError(f"{name}: not an argument here (runs start at 0 ms from the published state)")
    steps = {} if {"dt", "grid", "rtol", "atol"} & set(options) else {"dt": DT}
    return {"solver": RushLarsen2(), **steps, **options}


def check_window(t1: float, discard: float, protocol: AbstractProtocol | None, of: str = "") -> None:
    """Refuses a run too short to tell whether a cell repolarises, and a voltage clamp."""
    check_known(f"{of}t1", t1, "ms", "> 0", lambda x: np.isfinite(x) and x > 0)
    allowed = f"0 to t1 - {PATIENCE:g} = {t1 - PATIENCE:g} ms"
    if t1 < PATIENCE:
        check_known(f"{of}discard", discard, "ms", f"{allowed}, where {of}t1 is too short", lambda x: 0 <= x <= t1)
        long_enough = (
            f">= {PATIENCE:g} ms, for as long a cell may take to come back to rest ({of}discard = {discard} ms)"
        )
        raise refusal(f"{of}t1", t1, "ms", long_enough)
    check_known(f"{of}discard", discard, "ms", allowed, lambda x: 0 <= x <= t1 - PATIENCE)
    if protocol is not None and protocol.kind != "current":
        raise ValueError(f"protocol: a {protocol.kind} clamp; allowed: a stimulus, or None")


def _mean_over(x: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Mean along the last axis of the marked, finite entries; NaN where there are none.

    Summed one after the other: `sum` adds in an order that depends on how many beats the busiest cell of a chunk has.
    """
    where = where & np.isfinite(x)
    n = where.sum(axis=-1)
    return np.where(n > 0, np.cumsum(np.where(where, x, 0.0), axis=-1)[..., -1] / np.maximum(n, 1), np.nan)


def _outside(measured: Mapping[str, np.ndarray], name: str, ends: tuple[float, float]) -> np.ndarray:
    """Cells with complete beats whose biomarker is not known to lie between the ends."""
    low, high = ends
    return (measured["beats"] > 0) & ~((measured[name] >= low) & (measured[name] <= high))


def _checked_range(name: str, ends) -> tuple[float, float]:
    if name not in BIOMARKERS:
        raise ValueError(f"ranges: {unknown_name('biomarker', name, BIOMARKERS, 'a screening')}")
    try:
        low, high = (float(x) for x in ends)
    except (TypeError, ValueError):
        low = high = np.nan
    if not low < high:
        raise ValueError(f"ranges: {name} = {ends} {BIOMARKERS[name]}; allowed: (lowest, highest), lowest < highest")
    return low, high


def _with_open_ends(ends: Any) -> Any:
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        return ends  # `Rules` says what is wrong with it
    return tuple(infinite if x is None else x for x, infinite in zip(ends, (-np.inf, np.inf), strict=True))


def _said_outside(name: str, value: float, ends: tuple[float, float]) -> str:
    unit = BIOMARKERS[name]
    if not np.isfinite(value):
        return f"{name} could not be measured; allowed: {ends[0]:g} to {ends[1]:g} {unit}"
    return f"{name} = {value:.4g} {unit}, outside {ends[0]:g} to {ends[1]:g} {unit}"


def _table(x: Screening) -> str:
    lines = [f"{x.model}: {x.viable.sum()} of {len(x.viable)} cells viable"]
    lines += [f"  {count} {text}" for text, count in x.counts().items() if count]
    if (x.reasons & (x.reasons - 1)).any():
        lines.append("  (a cell with two reasons counts under both)")
    rows = [("of the viable", "unit", "mean ± sd", "lowest", "highest", "allowed", "cells outside")]
    rows += [_table_row(x, name) for name in BIOMARKERS]
    rows = [tuple(f"~{x}" if x in ("dvdt_max",) else x for x in row) for row in rows]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines += ["  ".join(f"{t:>{w}}" for t, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.append("~ of samples, not the model's own: low by some per cent")
    return "\n".join(lines)


def _table_row(x: Screening, name: str) -> tuple[str, ...]:
    values = x.biomarkers[name][x.viable & np.isfinite(x.biomarkers[name])]
    numbers = ("-", "-", "-")
    if values.size:
        numbers = (f"{values.mean():.4g} ± {values.std():.4g}", f"{values.min():.4g}", f"{values.max():.4g}")
    if name not in x.rules.ranges:
        return (name, BIOMARKERS[name], *numbers, "", "")
    low, high = x.rules.ranges[name]
    outside = _outside(x.biomarkers, name, (low, high)) & (x.biomarkers["status"] == Status.OK)
    return (name, BIOMARKERS[name], *numbers, f"{low:g} to {high:g}", str(outside.sum()))
