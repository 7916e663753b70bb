"""A drug at several doses on every cell of a population: biomarkers, afterdepolarisations and their incidence."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import equinox as eqx
import h5py
import numpy as np
from jaxtyping import Bool, Float, Int

from ..annotations import typed
from ..arguments import check, check_whole
from ..cell import AbstractCell
from ..files.hdf5 import read_hdf5
from ..files.reading import FLOATS, NUMBERS, TRUTH, WHOLE, Group
from ..files.writing import put, write_hdf5
from ..pharmacology import Drug, Incidence, block, incidence
from ..progress import progress_bar
from ..protocols import AbstractProtocol, to_json
from ..simulation.request import describe
from .simulation import member, simulate
from .viability import (
    DISCARD,
    EAD_RISE,
    EXCITED,
    PATIENCE,
    REASONS,
    REST,
    SAVE_EVERY,
    T1,
    UNITS,
    check_window,
    gravest,
    measure,
    run_options,
    screen,
)

FORMAT = "jaxcardio dose response"
FORMAT_VERSION = 2

Event = Literal["ead", "failed", "abnormal", "oscillating", "quiescent"]
EVENTS: tuple[Event, ...] = ("ead", "failed", "abnormal", "oscillating", "quiescent")


class DoseResponse(eqx.Module):
    """What a drug did to the cells of a population that are viable at control. On the host, in numpy.

    Attributes:
        doses: nM, shape (doses,); the first is 0, control.
        cells: index in the population of every viable cell, shape (cells,); the order of the columns below.
        reasons: why each cell of the population is not viable at control, bits of `Reason`, shape (population,).
        apd90, apd50, cycle_length, mdp, peak, dvdt_max, beats, ead, failed, oscillating, quiescent, status: what
            `population.measure` gives (it says what each of them is), shape (doses, cells). A cell can have shown an
            EAD and fail later. Cells with another status than OK count in no incidence.
        example_cells, example_ts, example_V: some cells for figures: their columns (k,), times (time,) ms, V
            (doses, k, time) mV.
        drug, model: names.
        settings: how it was made (numerics, rules, sampling), as JSON.
    """

    doses: Float[np.ndarray, " doses"]
    cells: Int[np.ndarray, " cells"]
    reasons: Int[np.ndarray, " population"]
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
        """How many cells of the population were dropped at control, each counted once, by its gravest reason."""
        found = gravest(self.reasons)
        return {text: int((found == int(reason)).sum()) for reason, text in REASONS.items()}

    def table(self, level: float = 0.95) -> str:
        """Biomarkers (mean and standard deviation over cells) and incidences at each dose, as text."""
        return _table(self, level)

    def save(self, path) -> None:
        """Writes everything with units, codes of the reasons and settings as HDF5, whole or not at all."""

        def write(file: h5py.File) -> None:
            file.attrs.update(
                format=FORMAT, format_version=FORMAT_VERSION, drug=self.drug, model=self.model, settings=self.settings
            )
            bits = "; ".join(f"{int(reason)} {text}" for reason, text in REASONS.items())
            for name, unit in (_ALSO | UNITS | {"reasons": f"sum of {bits}"}).items():
                values = getattr(self, name)
                packed = {"compression": "gzip", "shuffle": True} if values.size > 4096 else {}
                put(file, name, values, unit, **packed)

        write_hdf5(path, write)

    @staticmethod
    def load(path) -> "DoseResponse":
        """Reads what `save` wrote; a file that is truncated, foreign or of another version is a ValueError."""
        return read_hdf5(path, FORMAT, FORMAT_VERSION, _read)


_ALSO = {
    "doses": "nM",
    "cells": "index",
    "reasons": "bits",
    "example_cells": "column",
    "example_ts": "ms",
    "example_V": "mV",
}


@typed
def dose_response(
    cells: AbstractCell,
    drug: str | Drug,
    doses: Sequence[float] | np.ndarray,
    protocol: AbstractProtocol | None = None,
    *,
    t1: float = T1,
    discard: float = DISCARD,
    save_every: float = SAVE_EVERY,
    chunk: int | None = None,
    examples: int = 4,
    record: Mapping[str, Any] | None = None,
    progress: bool | Callable[[float], None] = False,
    **options,
) -> DoseResponse:
    """Runs a population at control, drops the cells that are not viable there, and runs the others at every dose.

    Every run starts from the published initial state with the drug in place. Viable is what `Rules()` says: a cell that
    beats and repolarises. `population.measure` says what is measured, `DoseResponse` what counts.

    Args:
        cells: a population.
        drug: a name in `pharmacology.DRUGS`, or a `Drug`.
        doses: nM, ascending, >= 0; 0 (control) is put in front where it is missing.
        protocol: a stimulus; None for cells that beat by themselves.
        t1, discard: length of each run and how much of its beginning is not looked at, ms.
        save_every: sampling interval, ms; samples are measured chunk by chunk and not kept.
        chunk: cells simulated together, as for `population.simulate`. The result does not depend on it.
        examples: how many cells to keep V of.
        record: what to write into `settings`, e.g. the seed and spread of the population.
        progress: True for a bar on stderr, or a function of the fraction done.
        options: as for `jaxcardio.simulate`; default `RushLarsen2` at dt = 0.1 ms. The dtype is that of the cells.

    ValueError: an argument out of its range, by name; an unknown drug; no cell is viable.
    """
    doses = _checked_doses(doses)
    check_whole("examples", examples, "cells", least=0)
    check_window(t1, discard, protocol)
    options = run_options(options) | {"t1": t1, "save_every": save_every, "chunk": chunk}
    if cells.population_size() is None:
        raise ValueError("cells: expected a population (parameters of shape (n_cells,)), got a single cell")
    block(cells, drug, doses[-1])  # an unknown drug must not cost a control run
    name = drug if isinstance(drug, str) else drug.name
    report = progress_bar(f"{name}, {len(doses)} doses") if progress is True else progress or (lambda done: None)

    def share(k):
        return lambda done: report((k + done) / (len(doses) + 1))

    control = screen(cells, None, protocol, discard=discard, progress=share(0), **options)
    kept = np.flatnonzero(control.viable)
    if kept.size == 0:
        raise ValueError(
            f"cells: none of {len(control.viable)} is viable at control ({control.counts()}); allowed: >= 1"
        )
    viable = member(cells, kept)
    options["outputs"] = [cells.potential]

    def run(k):
        treated = block(viable, drug, doses[k])
        return simulate(treated, protocol, reduce=lambda x: measure(x, discard), progress=share(k), **options)

    rows = [{k: x[kept] for k, x in control.biomarkers.items()}, *(run(k) for k in range(1, len(doses)))]
    fields = {k: np.stack([row[k] for row in rows]) for k in UNITS}
    shown = _examples(fields, examples)
    ts, V = _run_examples(viable, drug, doses, protocol, shown, options)
    report(1.0)
    return DoseResponse(
        doses=doses,
        cells=kept,
        reasons=control.reasons,
        **fields,
        example_cells=shown,
        example_ts=ts,
        example_V=V,
        drug=name,
        model=type(cells).__name__,
        settings=_settings(options, protocol, discard, record),
    )


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


def _settings(options, protocol, discard, record) -> str:
    solver = options["solver"]
    numerics = {k: v for k, v in options.items() if isinstance(v, int | float)}
    rules = {"rest_mV": REST, "excited_mV": EXCITED, "ead_rise_mV": EAD_RISE, "patience_ms": PATIENCE}
    rules["discard_ms"] = discard
    return json.dumps(
        {"solver": describe(solver), **numerics, **rules, "protocol": to_json(protocol), "record": dict(record or {})}
    )


def _checked_doses(doses) -> np.ndarray:
    def ascends(x):
        return x.ndim == 1 and x.size and x[0] >= 0 and (np.diff(x) > 0).all() and np.isfinite(x).all()

    check("doses", doses, "nM", "ascending, finite and >= 0 nM", ascends)
    doses = np.asarray(doses, np.float64)
    return doses if doses[0] == 0 else np.append(0.0, doses)


def _read(file: Group) -> DoseResponse:
    arrays: dict[str, Any] = {
        name: file.numbers(name, (None,), NUMBERS, _ALSO[name]) for name in ("doses", "example_ts")
    }
    arrays |= {name: file.numbers(name, (None,), WHOLE) for name in ("cells", "reasons", "example_cells")}
    shapes = {name: x.shape for name, x in arrays.items()}
    along_time = (*shapes["doses"], *shapes["example_cells"], *shapes["example_ts"])
    arrays["example_V"] = file.numbers("example_V", along_time, FLOATS, _ALSO["example_V"])
    of_cells = (*shapes["doses"], *shapes["cells"])
    arrays |= {name: file.numbers(name, of_cells, NUMBERS + TRUTH, unit) for name, unit in UNITS.items()}
    for name, below in (("cells", len(arrays["reasons"])), ("example_cells", len(arrays["cells"]))):
        if not ((arrays[name] >= 0) & (arrays[name] < below)).all() or len(np.unique(arrays[name])) < len(arrays[name]):
            raise ValueError(f"{name}: allowed: from 0 to {below - 1}, each once")
    _checked_doses(arrays["doses"])
    file.json("settings")
    names: dict[str, Any] = {k: file.text(k) for k in ("drug", "model", "settings")}
    return DoseResponse(**arrays, **names)


def _table(x: DoseResponse, level: float) -> str:
    dropped = ", ".join(f"{count} {reason}" for reason, count in x.dropped().items() if count)
    title = f"{x.drug} on {x.model}: {len(x.cells)} of {len(x.reasons)} cells viable at control"
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
