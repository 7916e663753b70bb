"""A drug at several doses on every cell of a population: biomarkers, afterdepolarisations and their incidence."""

import enum
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import equinox as eqx
import h5py
import numpy as np
from jaxtyping import Bool, Float, Int

from ..biomarkers import action_potentials_from
from ..cell import AbstractCell
from ..files import read_hdf5
from ..pharmacology import Drug, Incidence, block, incidence
from ..progress import progress_bar
from ..protocols import AbstractProtocol, to_json
from ..solvers import RushLarsen2
from ..trace import Trace, describe
from .simulation import CHUNK, member, simulate

FORMAT = "jaxcardio dose response"
FORMAT_VERSION = 1

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

Event = Literal["ead", "failed", "abnormal", "oscillating", "quiescent"]
EVENTS: tuple[Event, ...] = ("ead", "failed", "abnormal", "oscillating", "quiescent")


class Viability(enum.IntEnum):
    """Why a cell is kept or dropped at control."""

    VIABLE = 0
    NO_BEAT = 1
    NO_REPOLARISATION = 2
    RUN_FAILED = 3


REASONS = {
    Viability.VIABLE: "beats and repolarises",
    Viability.NO_BEAT: "does not beat",
    Viability.NO_REPOLARISATION: "does not repolarise",
    Viability.RUN_FAILED: "its run failed",
}

UNITS = {
    "apd90": "ms",
    "apd50": "ms",
    "cycle_length": "ms",
    "mdp": "mV",
    "peak": "mV",
    "dvdt_max": "mV/ms",
    "beats": "1",
    "ead": "1",
    "failed": "1",
    "oscillating": "1",
    "quiescent": "1",
    "status": "jaxcardio.Status",
}
"""Every quantity of shape (doses, viable cells) and its unit."""


class DoseResponse(eqx.Module):
    """What a drug did to the cells of a population that are viable at control. On the host, in numpy.

    A *beat* begins when V rises through `EXCITED` (-20 mV) after having been at or below `REST` (-60 mV); only what
    happens after the discarded time counts. It has repolarised when V has come back to its APD90 level and to `REST`.
    Biomarkers are means over the complete beats: begun and repolarised in that time, and, where spontaneous, preceded
    by another, so that their rest was seen. NaN where there is none.

    Attributes:
        doses: nM, shape (doses,); the first is 0, control.
        cells: index in the population of every viable cell, shape (cells,); the order of the columns below.
        viability: `Viability` of every cell of the population at control, shape (population,).
        apd90, apd50, cycle_length, mdp, peak, dvdt_max: means, shape (doses, cells), ms, mV, mV/ms. `mdp` is the
            resting potential where paced. dvdt_max of a 30 V/s upstroke is some per cent low at 1 ms samples.
        beats: number of complete beats behind those means.
        ead: an early afterdepolarisation in at least one beat that then repolarised: past its APD30 level and before
            its APD90 level V rose by `EAD_RISE` (2 mV) above its lowest value so far.
        failed: repolarisation failure: V stayed above `REST` for the last `PATIENCE` ms of the run. A cell can have
            shown an EAD and fail later.
        oscillating: failed, and V still rises by `EAD_RISE` or more after the discarded time: afterdepolarisations
            that never end, where other cells are stuck at a steady potential.
        quiescent: at rest and no beat begun.
        status: `Status` of the run; cells with another than OK count in no incidence.
        example_cells, example_ts, example_V: some cells for figures: their columns (k,), times (time,) ms, V
            (doses, k, time) mV.
        drug, model: names.
        settings: how it was made (numerics, rules, sampling), as JSON.
    """

    doses: Float[np.ndarray, " doses"]
    cells: Int[np.ndarray, " cells"]
    viability: Int[np.ndarray, " population"]
    apd90: Float[np.ndarray, "doses cells"]
    apd50: Float[np.ndarray, "doses cells"]
    cycle_length: Float[np.ndarray, "doses cells"]
    mdp: Float[np.ndarray, "doses cells"]
    peak: Float[np.ndarray, "doses cells"]
    dvdt_max: Float[np.ndarray, "doses cells"]
    beats: Int[np.ndarray, "doses cells"]
    ead: Bool[np.ndarray, "doses cells"]
    failed: Bool[np.ndarray, "doses cells"]
    oscillating: Bool[np.ndarray, "doses cells"]
    quiescent: Bool[np.ndarray, "doses cells"]
    status: Int[np.ndarray, "doses cells"]
    example_cells: Int[np.ndarray, " k"]
    example_ts: Float[np.ndarray, " time"]
    example_V: Float[np.ndarray, "doses k time"]
    drug: str = eqx.field(static=True)
    model: str = eqx.field(static=True)
    settings: str = eqx.field(static=True)

    def shows(self, event: Event = "ead") -> Bool[np.ndarray, "doses cells"]:
        """Which cells show the event at each dose; "abnormal" is an EAD, a repolarisation failure, or both."""
        if event == "abnormal":
            return self.ead | self.failed
        if event not in EVENTS:
            raise ValueError(f"event = {event!r}; allowed: {', '.join(EVENTS)}")
        return getattr(self, event)

    def counted(self) -> Int[np.ndarray, " doses"]:
        """The denominator at each dose: cells viable at control whose run at this dose ended well."""
        return (self.status == 0).sum(axis=1)

    def incidence(self, event: Event = "ead", level: float = 0.95) -> Incidence:
        """Proportion of cells that show `event` at each dose, with its Wilson interval; each field is (doses,).

        The denominator (`counted`) is every cell that beat and repolarised at control, whether or not it still beats.
        A cell that never repolarises (again) is no "ead" but "failed"; "abnormal" counts either, once a cell.
        """
        events = (self.shows(event) & (self.status == 0)).sum(axis=1)
        return incidence(events, self.counted(), level)

    def dropped(self) -> dict[str, int]:
        """How many cells of the population were dropped at control, by reason."""
        return {REASONS[v]: int((self.viability == v).sum()) for v in Viability if v != Viability.VIABLE}

    def table(self, level: float = 0.95) -> str:
        """Biomarkers (mean and standard deviation over cells) and incidences at each dose, as text."""
        return _table(self, level)

    def save(self, path) -> None:
        """Writes everything with units, viability codes and settings as HDF5."""
        with h5py.File(path, "w") as file:
            file.attrs.update(
                format=FORMAT, format_version=FORMAT_VERSION, drug=self.drug, model=self.model, settings=self.settings
            )
            codes = "; ".join(f"{v.value} {REASONS[v]}" for v in Viability)
            for name, unit in (_ALSO | UNITS | {"viability": codes}).items():
                values = getattr(self, name)
                packed = {"compression": "gzip", "shuffle": True} if values.size > 4096 else {}
                file.create_dataset(name, data=values, **packed).attrs["unit"] = unit

    @staticmethod
    def load(path) -> "DoseResponse":
        """Reads what `save` wrote; a file that is truncated, foreign or of another version is a ValueError."""
        return read_hdf5(path, FORMAT, FORMAT_VERSION, _read)


_ALSO = {
    "doses": "nM",
    "cells": "index",
    "viability": "code",
    "example_cells": "column",
    "example_ts": "ms",
    "example_V": "mV",
}


def dose_response(
    cells: AbstractCell,
    drug: str | Drug,
    doses: Sequence[float] | np.ndarray,
    protocol: AbstractProtocol | None = None,
    *,
    t1: float = T1,
    discard: float = DISCARD,
    save_every: float = SAVE_EVERY,
    chunk: int = CHUNK,
    examples: int = 4,
    record: Mapping[str, Any] | None = None,
    progress: bool | Callable[[float], None] = False,
    **options,
) -> DoseResponse:
    """Runs a population at control, drops the cells that are not viable there, and runs the others at every dose.

    Every run starts from the published initial state with the drug in place. Viable is, as published (doi
    10.7554/eLife.110013), a cell that beats and repolarises: at least one complete beat after `discard`, and V back
    at `REST` (-60 mV) within the last `PATIENCE` (2000 ms). `DoseResponse` says what is measured and what counts.

    Args:
        cells: a population.
        drug: a name in `pharmacology.DRUGS`, or a `Drug`.
        doses: nM, ascending, >= 0; 0 (control) is put in front where it is missing.
        protocol: a stimulus; None for cells that beat by themselves.
        t1, discard: length of each run and how much of its beginning is not looked at, ms.
        save_every: sampling interval, ms; samples are measured chunk by chunk and not kept.
        chunk: cells simulated together. The result does not depend on it.
        examples: how many cells to keep V of.
        record: what to write into `settings`, e.g. the seed and spread of the population.
        progress: True for a bar on stderr, or a function of the fraction done.
        options: as for `jaxcardio.simulate`; default `RushLarsen2` at dt = 0.1 ms. The dtype is that of the cells.

    ValueError: an argument out of its range, by name; an unknown drug; no cell is viable.
    """
    doses = _checked_doses(doses)
    _check_window(t1, discard, protocol)
    options = _with_defaults(options) | {"t1": t1, "save_every": save_every, "chunk": chunk}
    options["outputs"] = [cells.potential]
    if cells.population_size() is None:
        raise ValueError("cells: expected a population (parameters of shape (n_cells,)), got a single cell")
    block(cells, drug, doses[-1])  # an unknown drug must not cost a control run
    name = drug if isinstance(drug, str) else drug.name
    report = progress_bar(f"{name}, {len(doses)} doses") if progress is True else progress or (lambda done: None)

    def run(population, k):
        def share(done):
            report((k + done) / (len(doses) + 1))

        return simulate(population, protocol, reduce=lambda x: _measure(x, discard), progress=share, **options)

    control = run(cells, 0)
    viability = _viability(control)
    kept = np.flatnonzero(viability == Viability.VIABLE)
    if kept.size == 0:
        counts = {REASONS[v]: int((viability == v).sum()) for v in Viability}
        raise ValueError(f"cells: none of {len(viability)} is viable at control ({counts}); allowed: at least one")
    viable = member(cells, kept)
    rows = [{k: x[kept] for k, x in control.items()}]
    rows += [run(block(viable, drug, dose), k + 1) for k, dose in enumerate(doses[1:])]
    fields = {k: np.stack([row[k] for row in rows]) for k in UNITS}
    shown = _examples(fields, examples)
    ts, V = _run_examples(viable, drug, doses, protocol, shown, options)
    report(1.0)
    return DoseResponse(
        doses=doses,
        cells=kept,
        viability=viability,
        **fields,
        example_cells=shown,
        example_ts=ts,
        example_V=V,
        drug=name,
        model=type(cells).__name__,
        settings=_settings(options, protocol, discard, record),
    )


def _measure(trace: Trace, discard: float) -> dict[str, np.ndarray]:
    """Every quantity of `UNITS` for the cells of one chunk, shape (cells,)."""
    ts = np.asarray(trace.ts)
    late = ts >= discard
    V = np.asarray(trace.V)[:, late]
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


def _mean_over(x: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Mean along the last axis of the marked, finite entries; NaN where there are none."""
    where = where & np.isfinite(x)
    n = where.sum(axis=-1)
    return np.where(n > 0, np.where(where, x, 0.0).sum(axis=-1) / np.maximum(n, 1), np.nan)


def _viability(control: dict[str, np.ndarray]) -> np.ndarray:
    codes = np.where(control["beats"] == 0, Viability.NO_BEAT, Viability.VIABLE)
    codes = np.where(control["failed"], Viability.NO_REPOLARISATION, codes)
    return np.where(control["status"] != 0, Viability.RUN_FAILED, codes)


def _examples(fields: dict[str, np.ndarray], n: int) -> np.ndarray:
    """Columns worth a figure: an EAD if there is one, then cells that fail first, in the middle, and last or never."""
    n = min(n, fields["ead"].shape[1])
    with_ead = np.flatnonzero(fields["ead"].any(axis=0))[:1]
    by_failure = np.argsort(-fields["failed"].sum(axis=0), kind="stable")
    by_failure = by_failure[~np.isin(by_failure, with_ead)]
    spread = by_failure[np.unique(np.linspace(0, len(by_failure) - 1, max(n - len(with_ead), 0)).round().astype(int))]
    return np.concatenate([with_ead, spread])[:n].astype(int)


def _run_examples(viable, drug, doses, protocol, shown, options) -> tuple[np.ndarray, np.ndarray]:
    """V of the chosen cells at every dose, (doses, k, time): one population whose cells have each their dose."""
    if len(shown) == 0:
        return np.zeros(0), np.zeros((len(doses), 0, 0))
    each = block(member(viable, np.tile(shown, len(doses))), drug, np.repeat(doses, len(shown)))
    trace = simulate(each, protocol, **options)
    return np.asarray(trace.ts), np.asarray(trace.V).reshape(len(doses), len(shown), -1)


def _with_defaults(options: dict[str, Any]) -> dict[str, Any]:
    for name in ("y0", "reduce", "outputs", "save_at", "t0"):
        if name in options:
            raise ValueError(f"{name}: not an argument of dose_response (runs start at 0 ms from the published state)")
    steps = {} if {"dt", "grid", "rtol", "atol"} & set(options) else {"dt": DT}
    return {"solver": RushLarsen2(), **steps, **options}


def _settings(options, protocol, discard, record) -> str:
    solver = options["solver"]
    numerics = {k: v for k, v in options.items() if isinstance(v, int | float)}
    rules = {"rest_mV": REST, "excited_mV": EXCITED, "ead_rise_mV": EAD_RISE, "patience_ms": PATIENCE}
    rules["discard_ms"] = discard
    return json.dumps(
        {"solver": describe(solver), **numerics, **rules, "protocol": to_json(protocol), "record": dict(record or {})}
    )


def _checked_doses(doses) -> np.ndarray:
    doses = np.atleast_1d(np.asarray(doses, np.float64))
    ascending = doses.ndim == 1 and doses.size > 0 and (np.diff(doses) > 0).all()
    if not ascending or not (np.isfinite(doses) & (doses >= 0)).all():
        raise ValueError(f"doses = {doses.tolist()} nM; allowed: ascending, finite and >= 0 nM")
    return doses if doses[0] == 0 else np.append(0.0, doses)


def _check_window(t1, discard, protocol) -> None:
    if not (np.isfinite(t1) and t1 > 0):
        raise ValueError(f"t1 = {t1} ms; allowed: > 0")
    if not 0 <= discard <= t1 - PATIENCE:
        raise ValueError(f"discard = {discard} ms; allowed: 0 to t1 - {PATIENCE:g} = {t1 - PATIENCE:g} ms")
    if protocol is not None and protocol.kind != "current":
        raise ValueError(f"protocol: a {protocol.kind} clamp; allowed: a stimulus, or None")


def _read(file: h5py.File, attrs: dict[str, Any]) -> DoseResponse:
    arrays: dict[str, Any] = {name: file[name][()] for name in (*_ALSO, *UNITS)}  # pyright: ignore[reportIndexIssue]
    names: dict[str, Any] = {k: str(attrs[k]) for k in ("drug", "model", "settings")}
    return DoseResponse(**arrays, **names)


def _table(x: DoseResponse, level: float) -> str:
    dropped = ", ".join(f"{count} {reason}" for reason, count in x.dropped().items() if count)
    title = f"{x.drug} on {x.model}: {len(x.cells)} of {len(x.viability)} cells viable at control"
    rates = {name: x.incidence(name, level) for name in EVENTS}
    columns = (
        "dose",
        "beating",
        "APD90",
        "cycle length",
        "MDP",
        "peak",
        "EAD",
        "no repolarisation",
        "either",
        "oscillating",
        "quiescent",
    )
    percent = f"% [{100 * level:g} %]"
    units = ("nM", "cells", "ms", "ms", "mV", "mV", percent, percent, percent, "%", "%")
    rows = [columns, units, *(_table_row(x, rates, k) for k in range(len(x.doses)))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    return "\n".join(
        [
            title + (f" (dropped: {dropped})" if dropped else ""),
            "mean ± sd over cells with complete beats; incidences among all viable cells, with Wilson intervals",
            *("  ".join(f"{text:>{width}}" for text, width in zip(row, widths, strict=True)) for row in rows),
        ]
    )


def _table_row(x: DoseResponse, rates: dict[str, Incidence], k: int) -> tuple[str, ...]:
    def over_cells(values, digits):
        known = values[k][np.isfinite(values[k])]
        return f"{known.mean():.{digits}f} ± {known.std():.{digits}f}" if known.size else "-"

    def rate(event):
        estimate, low, high = (100 * float(v[k]) for v in rates[event])
        return f"{estimate:.1f} [{low:.1f}, {high:.1f}]"

    means = [over_cells(v, d) for v, d in ((x.apd90, 0), (x.cycle_length, 0), (x.mdp, 1), (x.peak, 1))]
    oscillating, quiescent = (f"{100 * float(rates[e].estimate[k]):.1f}" for e in ("oscillating", "quiescent"))
    beating = str(np.isfinite(x.apd90[k]).sum())
    return (f"{x.doses[k]:g}", beating, *means, rate("ead"), rate("failed"), rate("abnormal"), oscillating, quiescent)
