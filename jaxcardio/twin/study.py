"""What a twin predicts: populations around twins under a drug, its beats, and both with the twin's uncertainty.

The manner is that of doi 10.7554/eLife.110013, Figures 4C, 5 and 6.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ..annotations import typed
from ..arguments import check, check_seed, check_whole
from ..cell import AbstractCell, astype, unknown_name
from ..files.reading import errors_named
from ..files.records import cell_from_json, cell_to_json
from ..json_text import parse_object
from ..models import KernikClancy2019
from ..pharmacology import Drug, Incidence, block, incidence
from ..population import DoseResponse, LogNormal, dose_response, member, sample, screen
from ..population.study import Event
from ..population.viability import UNITS

Cell = TypeVar("Cell", bound=AbstractCell)

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
ATTEMPTS = 100
"""Draws from a posterior before it is refused as lying mostly where parameters change sign."""


# --- a population around twins, under a drug --------------------------------------------------------------------------


@typed
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
        if not isinstance(self.record.get("twins"), list):
            raise ValueError("pooled: a dose response that `twin.study` did not make; allowed: one of a study of twins")

    @property
    def record(self) -> dict[str, Any]:
        """How the population was made: twins, seed, spread, parameters, temperature, dtype."""
        record = parse_object(self.pooled.settings, "settings").get("record")
        return record if isinstance(record, dict) else {}

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
        with errors_named(path, "study of twins"):
            found = TwinStudy(DoseResponse.load(path))
            assert found.twins  # each of which can be made
            return found


@typed
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


@typed
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
    check_seed(seed)
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
        return np.stack([quantiles_of(row, at) for row in self.measured[name]])

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
        return aligned_text(rows)


@typed
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


# --- private ----------------------------------------------------------------------------------------------------------


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


def quantiles_of(x: np.ndarray, at: Sequence[float]) -> np.ndarray:
    known = x[np.isfinite(x)]
    return np.quantile(known, at) if known.size else np.full(len(at), np.nan)


def _distribution(x: np.ndarray) -> Distribution:
    known = x[np.isfinite(x)]
    if known.size == 0:
        return Distribution(0, np.nan, np.nan, np.full(len(QUANTILES), np.nan))
    return Distribution(known.size, float(known.mean()), float(known.std()), quantiles_of(known, QUANTILES))


def _percent(rate: Incidence, k: int) -> str:
    estimate, low, high = (100 * float(x[k]) for x in rate)
    return f"{estimate:.1f} [{low:.1f}, {high:.1f}]" if np.isfinite(estimate) else "-"


def aligned_text(rows: Sequence[Sequence[str]]) -> str:
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
    lines += ["", aligned_text(control), "", f"incidence among viable cells, % [{100 * level:g} % interval]"]
    events: dict[str, Event] = {"no repolarisation": "failed", "quiescent": "quiescent"}
    columns = [("EAD, " + name, x.incidence("ead", level, k)) for name, k in groups]
    columns += [(f"{text}, pooled", x.incidence(event, level)) for text, event in events.items()]
    rows = [(f"{pooled.drug}, nM", *(title for title, _ in columns))]
    rows += [(f"{dose:g}", *(_percent(rate, k) for _, rate in columns)) for k, dose in enumerate(x.doses)]
    said = ", ".join(f"{name} {'yes' if x.is_monotone('ead', level, k) else 'no'}" for name, k in groups)
    return "\n".join([*lines, aligned_text(rows), f"EAD incidence monotone within its intervals: {said}"])
