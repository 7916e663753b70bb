"""What a twin predicts: populations around twins under a drug, its beats, and both with the twin's uncertainty.

The manner is that of doi 10.7554/eLife.110013, Figures 4C, 5 and 6.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from ..arguments import check, check_whole
from ..biomarkers import action_potentials_from
from ..cell import AbstractCell, astype, unknown_name
from ..models import KernikClancy2019
from ..pharmacology import Drug, Incidence, block, incidence
from ..population import DoseResponse, LogNormal, dose_response, measure, member, sample, screen, simulate
from ..population.study import Event
from ..population.viability import DISCARD, EXCITED, REST, T1, UNITS, check_window, run_options
from ..records import cell_from_json, cell_to_json

Cell = TypeVar("Cell", bound=AbstractCell)

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BEATS_EVERY = 0.5
"""Sampling interval where the shape of beats is looked at, ms."""
SIX = ("I_K1", "I_Kr", "I_Ks", "I_CaL", "I_Na", "I_f")
"""The currents that a twin's parameters belong to, in the order of `KernikClancy2019.SIX_CURRENTS`."""
ATTEMPTS = 100
"""Draws from a posterior before it is refused as lying mostly where parameters change sign."""


# --- a population around twins, under a drug --------------------------------------------------------------------------


def around(
    twins: Sequence[Cell],
    n: int,
    seed: int,
    spread: float = 0.2,
    parameters: Sequence[str] = KernikClancy2019.SIX_CURRENTS,
    *,
    start: int = 0,
) -> Cell:
    """A population of cells around twins, in turn: cell i is twin i % len(twins), each named parameter of it multiplied
    by the factor that `population.sample` gives cell i of this seed.

    So cell i depends on (twins, seed, spread, i) alone, and n cells are divided evenly.

    Args:
        twins: single cells of one model.
        n, start: cells start .. start + n - 1.
        seed: 0 <= seed < 2^32.
        spread: factors are uniform in 1 +- spread, 0 <= spread < 1.
        parameters: names to vary.

    ValueError: an argument out of its range, by name; twins of different models.
    """
    _check_twins(twins)
    check_whole("n", n, "cells")
    check_whole("start", start, "", least=0)
    of = np.arange(start, start + n) % len(twins)
    each = [twin.parameters() for twin in twins]
    values = {name: np.array([float(known[name].value) for known in each]) for name in each[0]}
    shared = {name for name, x in values.items() if (x == x[0]).all()}
    base = {k: jnp.asarray(x[of], each[0][k].value.dtype) for k, x in values.items() if k not in shared}
    cells = twins[0].replace(**base)
    return sample(cells, n=n, start=start, seed=seed, spread=spread, parameters=parameters)


class Distribution(NamedTuple):
    """A biomarker over the n cells in which it was measured; NaN where n is 0."""

    n: int
    mean: float
    sd: float
    quantiles: Float[np.ndarray, " 5"]
    """At `QUANTILES`: 5, 25, 50, 75 and 95 %."""


class TwinStudy(eqx.Module):
    """What a drug did to a population around twins.

    Attributes:
        pooled: of all cells, a `DoseResponse`: its cells that are viable at control are the columns.
    """

    pooled: DoseResponse

    def __check_init__(self):
        if "twins" not in self.record:
            raise ValueError("pooled: a dose response that `twin.study` did not make; allowed: one of a study of twins")

    @property
    def record(self) -> dict[str, Any]:
        """How the population was made: twins, seed, spread, parameters, temperature, dtype."""
        return json.loads(self.pooled.settings)["record"]

    @property
    def twins(self) -> list[AbstractCell]:
        """The twins, at the temperature of the study."""
        return [cell_from_json(written) for written in self.record["twins"]]

    @property
    def n_twins(self) -> int:
        return len(self.record["twins"])

    @property
    def doses(self) -> Float[np.ndarray, " doses"]:
        return self.pooled.doses

    def of(self, twin: int | None = None) -> DoseResponse:
        """The cells around one twin alone (they are renumbered: cell i is cell i n_twins + twin); None for all."""
        if twin is None:
            return self.pooled
        x, k = self.pooled, self.n_twins
        if not 0 <= twin < k:
            raise ValueError(f"twin = {twin}; allowed: 0 to {k - 1}, or None for all")
        columns = np.flatnonzero(x.cells % k == twin)
        shown = np.flatnonzero(np.isin(x.example_cells, columns))
        part: dict[str, Any] = {name: getattr(x, name)[:, columns] for name in UNITS}
        part |= {"cells": x.cells[columns] // k, "reasons": x.reasons[twin::k]}
        part |= {"example_cells": np.searchsorted(columns, x.example_cells[shown]), "example_V": x.example_V[:, shown]}
        return DoseResponse(**(vars(x) | part))

    def control_apd90(self, twin: int | None = None) -> Distribution:
        """APD90 of the viable cells without drug, ms."""
        return _distribution(self.of(twin).apd90[0])

    def incidence(self, event: Event = "ead", level: float = 0.95, twin: int | None = None) -> Incidence:
        """Proportion of viable cells that show `event` at each dose, with its Wilson interval, each (doses,).

        As `DoseResponse.incidence`; NaN where no cell around this twin is viable.
        """
        part = self.of(twin)
        if len(part.cells) == 0:
            return Incidence(*jnp.full((3, len(self.doses)), jnp.nan))
        return part.incidence(event, level)

    def is_monotone(self, event: Event = "ead", level: float = 0.95, twin: int | None = None) -> bool:
        """Whether the incidence never falls by more than its intervals allow: no dose's upper limit lies below the
        lower limit of a smaller dose."""
        _, low, high = (np.asarray(x) for x in self.incidence(event, level, twin))
        return bool((high[1:] >= np.maximum.accumulate(low)[:-1]).all())

    def not_repolarising(self, twin: int | None = None) -> Int[np.ndarray, " doses"]:
        """How many cells fail to repolarise at each dose: at control those that were therefore dropped from the study,
        at other doses those of the viable cells that no longer do."""
        part = self.of(twin)
        counts = (part.failed & (part.status == 0)).sum(axis=1)
        counts[0] = part.dropped()["does not repolarise"]
        return counts

    def table(self, level: float = 0.95) -> str:
        """Control APD90, and incidences at each dose pooled and around each twin, as text."""
        return _study_table(self, level)

    def save(self, path) -> None:
        """Writes the study as HDF5: the file of its `DoseResponse`, whose settings say how the population was made."""
        self.pooled.save(path)

    @staticmethod
    def load(path) -> "TwinStudy":
        """Reads what `save` wrote; a file truncated, foreign or of no study of twins is a ValueError."""
        return TwinStudy(DoseResponse.load(path))


def study(
    twins: Sequence[AbstractCell],
    drug: str | Drug = "E-4031",
    doses: Sequence[float] | np.ndarray = (0.0, 10.0, 25.0, 50.0, 100.0),
    *,
    n: int = 4000,
    seed: int = 0,
    spread: float = 0.2,
    parameters: Sequence[str] = KernikClancy2019.SIX_CURRENTS,
    temperature: float | None = 310.0,
    dtype: str = "float32",
    **options,
) -> TwinStudy:
    """Simulates a population `around` twins without and with a drug.

    Args:
        twins: single cells of one model of this library.
        drug, doses: as for `population.dose_response`, nM.
        n, seed, spread, parameters: the population, see `around`.
        temperature: of the gates' kinetics, K, whatever it was where the twins were fitted; None leaves it as it is.
            At 298 K a cycle of the Kernik cell takes 2.7 s: allow `t1` = 20 s.
        dtype: in which it is computed.
        options: as for `population.dose_response`: t1, discard, chunk, progress, ...

    ValueError: an argument out of its range, by name; no cell is viable without drug.
    """
    _check_twins(twins)
    if temperature is not None:
        check("temperature", temperature, "K", "> 0 K", lambda x: np.isfinite(x) & (x > 0))
        twins = [twin.replace(temperature=temperature) for twin in twins]
    twins = [astype(twin, jnp.dtype(dtype)) for twin in twins]
    record = {
        "twins": [cell_to_json(twin) for twin in twins],
        "seed": seed,
        "spread": spread,
        "parameters": list(parameters),
        "temperature": temperature,
        "dtype": dtype,
    }
    cells = around(twins, n, seed, spread, parameters)
    return TwinStudy(dose_response(cells, drug, doses, record=record, **options))


# --- one twin and its uncertainty -------------------------------------------------------------------------------------


def posterior_cells(
    cell: Cell,
    names: Sequence[str],
    mean: Float[np.ndarray, " parameters"],
    covariance: Float[np.ndarray, "parameters parameters"],
    n: int,
    seed: int,
    *,
    start: int = 0,
) -> Cell:
    """Cells drawn from the Laplace posterior of a twin: p = p0 (1 + theta), theta normal.

    A draw in which any parameter would change sign (theta <= -1) is replaced by the next one. Draw i is a function of
    (seed, i) and the posterior alone.

    Args:
        cell: the cell whose parameters are p0.
        names: the parameters that theta changes, in order.
        mean, covariance: of theta.
        n, start: draws start .. start + n - 1.
        seed: 0 <= seed < 2^32.

    ValueError: an argument out of its range, by name; a posterior that lies mostly where parameters change sign.
    """
    mean, root = _checked_posterior(names, mean, covariance)
    known = cell.parameters()
    for name in names:
        if name not in known:
            raise ValueError(unknown_name("parameter", name, known, type(cell).__name__))
    check_whole("n", n, "cells")
    check_whole("start", start, "", least=0)
    theta = _draws(names, mean, root, np.arange(start, start + n), seed)
    p0 = {name: known[name].value for name in names}
    return cell.replace(
        **{k: jnp.asarray(float(p) * (1 + x), p.dtype) for (k, p), x in zip(p0.items(), theta.T, strict=True)}
    )


class UncertainResponse(eqx.Module):
    """A twin under a drug, as far as its parameters are known: one column for each draw from its posterior.

    Attributes:
        doses: nM, (doses,).
        measured: what `population.measure` gives, by name, each (doses, draws). No draw is left out: one that does not
            beat without drug says that the twin may not.
        drug: its name.
    """

    doses: Float[np.ndarray, " doses"]
    measured: dict[str, np.ndarray]
    drug: str = eqx.field(static=True)

    @property
    def beating(self) -> Int[np.ndarray, " doses"]:
        """Draws with complete beats: those whose APD90 is known."""
        return np.isfinite(self.measured["apd90"]).sum(axis=1)

    def quantiles(
        self, name: str = "apd90", at: Sequence[float] = (0.05, 0.5, 0.95)
    ) -> Float[np.ndarray, "doses quantiles"]:
        """Of a biomarker at each dose, over the draws in which it was measured; NaN where there is none."""
        if name not in self.measured:
            raise ValueError(f"name = {name!r}; allowed: {', '.join(self.measured)}")
        return np.stack([_quantiles(row, at) for row in self.measured[name]])

    def probability(self, event: Event = "ead", level: float = 0.95) -> Incidence:
        """Probability of `event` at each dose, (doses,), among the draws whose run ended well.

        "ead", "failed" (does not repolarise), "quiescent" (does not beat), "oscillating", or "abnormal" (the first or
        the second). The interval is that of the finite number of draws.
        """
        ok = self.measured["status"] == 0
        if event == "abnormal":
            shown = self.measured["ead"] | self.measured["failed"]
        elif event in ("ead", "failed", "quiescent", "oscillating"):
            shown = self.measured[event]
        else:
            raise ValueError(f"event = {event!r}; allowed: ead, failed, quiescent, oscillating, abnormal")
        return incidence((shown & ok).sum(axis=1), ok.sum(axis=1), level)

    def table(self, level: float = 0.95) -> str:
        """APD90 and the probability of each event at each dose, as text."""
        rows: list[tuple[str, ...]] = [("dose", "beating", "APD90", "EAD", "no repolarisation", "quiescent")]
        rows.append(("nM", "draws", "ms [5, 95 %]", *[f"% [{100 * level:g} %]"] * 3))
        rates = [self.probability(event, level) for event in ("ead", "failed", "quiescent")]
        for k, (low, middle, high) in enumerate(self.quantiles()):
            apd = f"{middle:.0f} [{low:.0f}, {high:.0f}]" if self.beating[k] else "-"
            rows.append((f"{self.doses[k]:g}", str(self.beating[k]), apd, *(_percent(rate, k) for rate in rates)))
        return _aligned(rows)


def posterior_response(
    draws: AbstractCell,
    drug: str | Drug = "E-4031",
    doses: Sequence[float] | np.ndarray = (0.0, 10.0, 25.0, 50.0, 100.0),
    **options,
) -> UncertainResponse:
    """The dose response of one twin with its uncertainty, from `posterior_cells`.

    Args:
        draws: a population.
        drug: a name in `pharmacology.DRUGS`, or a `Drug`.
        doses: nM, ascending, >= 0.
        options: as for `population.screen`: t1, discard, chunk, progress, ...

    ValueError: an argument out of its range, by name.
    """
    n = draws.population_size()
    if n is None:
        raise ValueError("draws: expected a population (parameters of shape (n_cells,)), got a single cell")
    doses = np.asarray(doses, np.float64)
    ascending = "ascending, finite and >= 0 nM"
    check("doses", doses, "nM", ascending, lambda x: x.ndim == 1 and x.size and x[0] >= 0 and (np.diff(x) > 0).all())
    # One population whose cells have each their dose: a single compiled run.
    each = block(member(draws, np.tile(np.arange(n), len(doses))), drug, np.repeat(doses, n))
    found = screen(each, **options).biomarkers
    name = drug if isinstance(drug, str) else drug.name
    return UncertainResponse(doses, {k: x.reshape(len(doses), n) for k, x in found.items()}, name)


# --- the beats of a twin, and of the cell that it stands for ----------------------------------------------------------


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


# --- private ----------------------------------------------------------------------------------------------------------


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


def _population_of(cell: Cell) -> Cell:
    """A population of this one cell."""
    name, first = next(iter(cell.parameters().items()))
    return cell.replace(**{name: first.value[None]})


def _check_twins(twins: Sequence[AbstractCell]) -> None:
    twins = list(twins)
    if not twins or not all(isinstance(twin, AbstractCell) for twin in twins):
        raise ValueError(f"twins = {twins!r}; allowed: one or more cells")
    for k, twin in enumerate(twins):
        if twin.population_size() is not None:
            raise ValueError(f"twins: number {k} is a population of {twin.population_size()}; allowed: single cells")
        if jax.tree.structure(twin) != jax.tree.structure(twins[0]):
            raise ValueError(f"twins: number {k} is another model than number 0; allowed: one model")


def _checked_posterior(names, mean, covariance) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and the symmetric square root of the covariance: the one root that is unique, so that draws are."""
    mean, covariance = np.asarray(mean, np.float64), np.asarray(covariance, np.float64)
    m = len(names)
    if len(set(names)) != m or m == 0:
        raise ValueError(f"names = {list(names)}; allowed: one or more, each once")
    if mean.shape != (m,) or covariance.shape != (m, m):
        raise ValueError(
            f"mean, covariance: shapes {mean.shape} and {covariance.shape}; allowed: ({m},) and ({m}, {m}), as names"
        )
    check("mean", mean, "(relative change)", "finite and > -1", lambda x: np.isfinite(x) & (x > -1))
    check("covariance", covariance, "", "finite", np.isfinite)
    scale = np.abs(covariance).max()
    if np.abs(covariance - covariance.T).max() > 1e-6 * scale:
        raise ValueError("covariance: not symmetric; allowed: a covariance matrix")
    variance, directions = np.linalg.eigh((covariance + covariance.T) / 2)
    if variance[0] < -1e-6 * scale:
        raise ValueError(f"covariance: lowest eigenvalue = {variance[0]:.3g}; allowed: >= 0")
    return mean, (directions * np.sqrt(np.maximum(variance, 0.0))) @ directions.T


def _draws(names, mean, root, indices, seed) -> Float[np.ndarray, "n parameters"]:
    """theta of each index: the first of its draws that keeps the sign of every parameter."""
    theta = np.full((len(indices), len(names)), -1.0)
    for attempt in range(ATTEMPTS):
        missing = np.flatnonzero((theta <= -1).any(axis=1))
        if len(missing) == 0:
            return theta
        streams = [f"posterior of {name}, draw {attempt}" for name in names]
        normal = np.log(LogNormal(1.0).factors(streams, seed=seed, indices=indices[missing]))
        theta[missing] = mean + normal @ root
    raise ValueError(
        f"mean, covariance: {ATTEMPTS} draws in a row change a parameter's sign; allowed: theta > -1 mostly"
    )


def _quantiles(x: np.ndarray, at: Sequence[float]) -> np.ndarray:
    known = x[np.isfinite(x)]
    return np.quantile(known, at) if known.size else np.full(len(at), np.nan)


def _distribution(x: np.ndarray) -> Distribution:
    known = x[np.isfinite(x)]
    if known.size == 0:
        return Distribution(0, np.nan, np.nan, np.full(len(QUANTILES), np.nan))
    return Distribution(known.size, float(known.mean()), float(known.std()), _quantiles(known, QUANTILES))


def _percent(rate: Incidence, k: int) -> str:
    estimate, low, high = (100 * float(x[k]) for x in rate)
    return f"{estimate:.1f} [{low:.1f}, {high:.1f}]" if np.isfinite(estimate) else "-"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(f"{text:>{w}}" for text, w in zip(row, widths, strict=True)) for row in rows)


def _study_table(x: TwinStudy, level: float) -> str:
    pooled, groups = x.pooled, [("pooled", None), *((f"twin {k}", k) for k in range(x.n_twins))]
    groups = groups if x.n_twins > 1 else groups[:1]
    lines = [f"{pooled.drug} on {len(pooled.reasons)} {pooled.model} cells around {x.n_twins} twin(s), "
             f"spread {x.record['spread']:g}, seed {x.record['seed']}"]  # fmt: skip
    control = [("control", "viable", "dropped", "APD90, ms", *(f"{100 * q:g} %" for q in QUANTILES))]
    for name, k in groups:
        part, apd = x.of(k), x.control_apd90(k)
        dropped = ", ".join(f"{count} {reason}" for reason, count in part.dropped().items() if count)
        quantiles = [f"{q:.0f}" for q in apd.quantiles]
        viable = f"{len(part.cells)} of {len(part.reasons)}"
        control.append((name, viable, dropped or "none", f"{apd.mean:.0f} ± {apd.sd:.0f}", *quantiles))
    lines += ["", _aligned(control), "", f"incidence among viable cells, % [{100 * level:g} % interval]"]
    events: dict[str, Event] = {"no repolarisation": "failed", "quiescent": "quiescent"}
    columns = [("EAD, " + name, x.incidence("ead", level, k)) for name, k in groups]
    columns += [(f"{text}, pooled", x.incidence(event, level)) for text, event in events.items()]
    rows = [(f"{pooled.drug}, nM", *(title for title, _ in columns))]
    rows += [(f"{dose:g}", *(_percent(rate, k) for _, rate in columns)) for k, dose in enumerate(x.doses)]
    said = ", ".join(f"{name} {'yes' if x.is_monotone('ead', level, k) else 'no'}" for name, k in groups)
    return "\n".join([*lines, _aligned(rows), f"EAD incidence monotone within its intervals: {said}"])


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
    rows += [(name, *(f"{q:.3g}" for q in _quantiles(v, (0.5, 0.95, 1.0)))) for name, v in errors.items()]
    return "\n".join([*lines, _aligned(rows)])
