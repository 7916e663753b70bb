"""The beats of a twin, and of the cell that it stands for."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ..annotations import typed
from ..arguments import check
from ..biomarkers import action_potentials_from
from ..cell import AbstractCell
from ..population import measure, simulate
from ..population.viability import DISCARD, EXCITED, REST, T1, check_window, run_options
from .study import aligned_text, quantiles_of

BEATS_EVERY = 0.5
"""Sampling interval where the shape of beats is looked at, ms."""
SIX = ("I_K1", "I_Kr", "I_Ks", "I_CaL", "I_Na", "I_f")
"""The currents that a twin's parameters belong to, in the order of `KernikClancy2019.SIX_CURRENTS`."""


class SimulatedTwin(NamedTuple):
    """The last two beats of a cell that beats by itself; where it does not, the last `discard` ms of its run."""

    ts: Float[np.ndarray, " time"]
    """ms, from the first of the two upstrokes."""
    V: Float[np.ndarray, " time"]
    """mV."""
    Ca_i: Float[np.ndarray, " time"]
    """mM."""
    I_total: Float[np.ndarray, " time"]
    """Total ionic current, pA/pF, outward positive."""
    currents: dict[str, Float[np.ndarray, " time"]]
    """The six, by name, pA/pF."""
    biomarkers: dict[str, float]
    """What `population.measure` gives, by name."""
    beats: bool
    """Whether two complete cycles were seen."""


@typed
def simulated_twin(
    cell: AbstractCell, t1: float = T1, *, discard: float = DISCARD, save_every: float = BEATS_EVERY, **options
) -> SimulatedTwin:
    """Potential, calcium transient and currents of a single cell over its last two beats, and its biomarkers.

    Args:
        cell: a single cell with the six currents, run without stimulus from its published initial state.
        t1, discard: length of the run and how much of its beginning is not looked at, ms.
        save_every: sampling interval, ms.
        options: as for `jaxcardio.simulate`; default `RushLarsen2` at dt = 0.1 ms.

    ValueError: a population; an argument out of its range, by name.
    """
    if cell.population_size() is not None:
        raise ValueError(f"cell: a population of {cell.population_size()}; allowed: one cell")
    check_window(t1, discard, None)
    _check_interval(save_every)
    outputs = [cell.potential, "Ca_i", "I_ion_total", *SIX]
    how: dict[str, Any] = run_options(options) | {"t1": t1, "save_every": save_every, "outputs": outputs}
    trace = simulate(_population_of(cell), **how)
    found = measure(trace, discard)
    begin, _, end = _last_upstrokes(trace, discard)[0]
    beats = bool(np.isfinite(begin))
    before = 0.05 * (end - begin) if beats else 0.0
    ts = np.asarray(trace.ts)
    seen = (ts >= begin - before) & (ts <= end - before) if beats else ts >= discard
    y = {name: np.asarray(getattr(trace.ys, name))[0, seen] for name in outputs}
    return SimulatedTwin(
        ts=ts[seen] - (begin if beats else discard),
        V=y[cell.potential],
        Ca_i=y["Ca_i"],
        I_total=y["I_ion_total"],
        currents={name: y[name] for name in SIX},
        biomarkers={name: x[0].item() for name, x in found.items()},
        beats=beats,
    )


OUTCOMES = ("both beat", "only the true cell beats", "only the twin beats", "neither beats")


class Comparison(NamedTuple):
    """Twins against the cells that they stand for, one entry a pair.

    A cell *beats* where two complete cycles were seen after the discarded time and its APD90 was measured. What
    compares beats is NaN unless both of a pair do.
    """

    twin: dict[str, np.ndarray]
    """What `population.measure` gives of the twins, by name (apd90, cycle_length, mdp, peak, failed, ...), (pairs,)."""
    true: dict[str, np.ndarray]
    """The same of the true cells."""
    twin_beats: Bool[np.ndarray, " pairs"]
    true_beats: Bool[np.ndarray, " pairs"]
    rmse: Float[np.ndarray, " pairs"]
    """Root mean square difference of V over the last two cycles, mV: each of the twin's upstrokes is laid on the true
    cell's, and each cycle compared for as long as the shorter of the two. Differences of cycle length do not count."""
    rmse_running: Float[np.ndarray, " pairs"]
    """The same with the first upstroke aligned alone, over two cycles of the true cell: a difference of cycle length
    moves the second upstroke, and counts."""

    @property
    def outcome(self) -> np.ndarray:
        """Which of each pair beats, in words: one of `OUTCOMES`."""
        return np.array(OUTCOMES)[2 * ~self.true_beats + ~self.twin_beats]

    @property
    def apd90_error(self) -> Float[np.ndarray, " pairs"]:
        """APD90 of the twin relative to the true one, less 1."""
        both = self.twin_beats & self.true_beats
        return np.where(both, self.twin["apd90"] / self.true["apd90"] - 1, np.nan)

    def passes(self, apd90: float = 0.02, rmse: float = 2.0) -> Bool[np.ndarray, " pairs"]:
        """Whether APD90 is right within `apd90` (relative) and V within `rmse` mV; False where a cell does not beat."""
        return (np.abs(self.apd90_error) <= apd90) & (self.rmse <= rmse)

    def table(self) -> str:
        """Outcomes, the share of beating cells whose twin passes, and the errors' quantiles, as text."""
        return _comparison_table(self)


@typed
def compare(
    twin_cells: AbstractCell,
    true_cells: AbstractCell,
    *,
    t1: float = T1,
    discard: float = DISCARD,
    save_every: float = BEATS_EVERY,
    **options,
) -> Comparison:
    """Runs twins and true cells and compares their last two beats, pair by pair.

    Args:
        twin_cells, true_cells: two populations of one size.
        t1, discard: length of each run, from the published initial state, and how much of its beginning is not looked
            at, ms.
        save_every: sampling interval, ms.
        options: as for `population.simulate` (chunk, progress, ...); default `RushLarsen2` at dt = 0.1 ms. The dtype is
            that of the cells.

    ValueError: single cells; populations of different sizes; an argument out of its range, by name.
    """
    sizes = twin_cells.population_size(), true_cells.population_size()
    if sizes[0] != sizes[1]:
        raise ValueError(f"twin_cells, true_cells: {sizes[0]} and {sizes[1]} cells; allowed: equally many")
    check_window(t1, discard, None)
    _check_interval(save_every)
    how: dict[str, Any] = run_options(options) | {"t1": t1, "save_every": save_every}
    first = int(np.ceil(discard / save_every - 1e-9))

    def run(cells: AbstractCell) -> _Run:
        def reduce(trace):
            return measure(trace, discard), _last_upstrokes(trace, discard), np.asarray(trace.V)[:, first:]

        return _Run(*simulate(cells, reduce=reduce, outputs=[cells.potential], **how))

    twin, true = run(twin_cells), run(true_cells)
    ts = save_every * (first + np.arange(true.V.shape[1]))
    rows = [_differences(ts, twin, true, k) for k in range(len(true.V))]
    rmse, running = np.array(rows).T
    return Comparison(twin.measured, true.measured, twin.beats, true.beats, rmse, running)


class _Run(NamedTuple):
    measured: dict[str, np.ndarray]
    upstrokes: np.ndarray
    """The last three of each cell, (cells, 3), ms; NaN in those that do not beat."""
    V: np.ndarray
    """After the discarded time, (cells, time), mV."""

    @property
    def beats(self) -> np.ndarray:
        return np.isfinite(self.upstrokes).all(axis=1) & np.isfinite(self.measured["apd90"])


def _last_upstrokes(trace, discard: float) -> Float[np.ndarray, "cells 3"]:
    """Times of the last three upstrokes of each cell that repolarised after the first two of them, else NaN."""
    ts = np.asarray(trace.ts)
    late = ts >= discard
    found = action_potentials_from(ts[late], np.asarray(trace.V)[:, late], onsets=(), threshold=(REST, EXCITED))
    begun, whole = np.asarray(found.t_upstroke), np.asarray(found.repolarised)
    last = np.full((len(begun), 3), np.nan)
    for k in range(len(begun)):
        known = np.flatnonzero(np.isfinite(begun[k]))[-3:]
        if len(known) == 3 and whole[k, known[:2]].all():
            last[k] = begun[k, known]
    return last


def _differences(ts: np.ndarray, twin: _Run, true: _Run, k: int) -> tuple[float, float]:
    """`Comparison.rmse` and `rmse_running` of pair k."""
    if not (twin.beats[k] and true.beats[k]):
        return np.nan, np.nan
    every = ts[1] - ts[0]
    ours, theirs = twin.upstrokes[k], true.upstrokes[k]

    def difference(begin_ours, begin_theirs, length):
        since = np.arange(0.0, length, every)
        mine = np.interp(begin_ours + since, ts, twin.V[k], right=np.nan)
        return mine - np.interp(begin_theirs + since, ts, true.V[k])

    cycles = np.minimum(np.diff(ours), np.diff(theirs)) - every
    aligned = np.concatenate([difference(*x) for x in zip(ours[:2], theirs[:2], cycles, strict=True)])
    running = difference(ours[0], theirs[0], theirs[2] - theirs[0])
    running = running[np.isfinite(running)]
    return float(np.sqrt(np.mean(aligned**2))), float(np.sqrt(np.mean(running**2)))


def _check_interval(save_every) -> None:
    check("save_every", save_every, "ms", "> 0, finite", lambda x: 0 < x < np.inf)


def _population_of(cell: AbstractCell) -> AbstractCell:
    """A population of this one cell."""
    name, first = next(iter(cell.parameters().items()))
    return cell.replace(**{name: first.value[None]})


def _comparison_table(x: Comparison) -> str:
    counts = {text: int((x.outcome == text).sum()) for text in OUTCOMES}
    lines = [", ".join(f"{text}: {count}" for text, count in counts.items() if count)]
    beating = int(x.true_beats.sum())
    passed = int(x.passes().sum())
    lines.append(f"APD90 within 2 % and RMSE <= 2 mV: {passed} of {beating} whose true cell beats")
    rows = [("both beat", "median", "95 %", "worst")]
    errors = {"|APD90 error|, %": 100 * np.abs(x.apd90_error), "RMSE, mV": x.rmse, "RMSE running, mV": x.rmse_running}
    for name, unit in (("cycle_length", "ms"), ("mdp", "mV"), ("peak", "mV")):
        both = x.twin_beats & x.true_beats
        errors[f"|{name} error|, {unit}"] = np.where(both, np.abs(x.twin[name] - x.true[name]), np.nan)
    rows += [(name, *(f"{q:.3g}" for q in quantiles_of(v, (0.5, 0.95, 1.0)))) for name, v in errors.items()]
    return "\n".join([*lines, aligned_text(rows)])
