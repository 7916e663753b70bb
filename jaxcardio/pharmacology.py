"""Drugs as Hill block of conductances: a table of published drugs, dose series, and incidences with intervals.

A drug multiplies the conductance of every current it blocks by 1 - hill_block(concentration). This pore-block view has
neither binding kinetics nor state dependence: it holds for steady block under the protocol that measured the IC50.
Concentrations are free (unbound), in nM.
"""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from statistics import NormalDist
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .annotations import check_fields, typed
from .arguments import check, is_traced, refusal
from .cell import AbstractCell, check_cell, unknown_name

Cell = TypeVar("Cell", bound=AbstractCell)

LINEAR_BELOW = 1e-12
"""In units of the IC50: below this a Hill curve with coefficient <= 1 is a straight line through zero."""


class Block(NamedTuple):
    """Concentration-effect curve of one drug on one current: IC50 (nM, > 0) and Hill coefficient (> 0)."""

    ic50: ArrayLike
    hill: ArrayLike = 1.0


@dataclasses.dataclass(frozen=True)
class Drug:
    """What a drug blocks, by current name; its free plasma peak at therapeutic dose (nM, where known); who says so."""

    name: str
    blocks: Mapping[str, Block]
    free_cmax_nM: float | None = None
    source: str = ""

    def __post_init__(self):
        check_fields(self)
        check("free_cmax_nM", self.free_cmax_nM, "nM", "finite and >= 0 nM, or None", lambda c: 0 <= c < np.inf)
        for current, curve in self.blocks.items():
            if not isinstance(curve, Block):
                raise refusal(f"blocks[{current!r}]", curve, "", "a Block(ic50 in nM, hill)")


class Targets(NamedTuple):
    """A drug in one cell: each current it blocks -> the parameter it multiplies, and the targets the cell lacks."""

    blocked: dict[str, str]
    skipped: tuple[str, ...]


class Incidence(NamedTuple):
    """A proportion and its confidence limits, each in [0, 1]."""

    estimate: Float[Array, "..."]
    low: Float[Array, "..."]
    high: Float[Array, "..."]


@typed
def hill_block(concentration: ArrayLike, ic50: ArrayLike, hill: ArrayLike = 1.0) -> Float[Array, "..."]:
    """Blocked fraction x^hill / (1 + x^hill) at x = concentration / ic50: 0 without drug, 0.5 at the IC50.

    Value and gradient are finite at zero concentration for every Hill coefficient. The slope of the formula there is
    infinite for hill < 1; below `LINEAR_BELOW` IC50 the curve is therefore its chord from zero.

    Args:
        concentration: finite and >= 0, in the unit of `ic50` (nM everywhere in this module), any shape.
        ic50: concentration that blocks one half, > 0.
        hill: Hill coefficient, > 0.

    A known number outside its range is a ValueError. A traced number cannot be looked at: a negative concentration
    then gives NaN, which a run reports as the status of that cell.
    """
    check("concentration", concentration, "nM", "finite and >= 0 nM", lambda c: (c >= 0) & (c < np.inf))
    check("ic50", ic50, "nM", "finite and > 0 nM", lambda c: (c > 0) & (c < np.inf))
    check("hill", hill, "(no unit)", "finite and > 0", lambda h: (h > 0) & (h < np.inf))
    return _hill_block(_float(concentration), _float(ic50), _float(hill))


@jax.jit
def _hill_block(concentration, ic50, hill):
    x = concentration / ic50
    above, chord = x > 1, (hill <= 1) & (x < LINEAR_BELOW)
    # The power is of x or 1/x, whichever is below one, so that nothing overflows; every `where` keeps the branch that
    # it does not take finite and differentiable. For hill = 1 chord and curve are the same line.
    small = jnp.where(above, 1 / jnp.where(above, x, 1.0), x)
    power = jnp.where(chord, small * LINEAR_BELOW ** (hill - 1), jnp.where(chord, LINEAR_BELOW, small) ** hill)
    return jnp.where(x < 0, jnp.nan, jnp.where(above, 1.0, power) / (1 + power))


def block(
    cell: Cell,
    drug: str | Drug | Mapping[str, ArrayLike] | Mapping[str, Block],
    concentration: ArrayLike | None = None,
) -> Cell:
    """The cell under a drug: the conductance of every blocked current times (1 - blocked fraction).

        block(cell, "E-4031", 50.0)                         # a drug of `DRUGS` at 50 nM
        block(cell, Drug("mine", {"I_Kr": Block(7.0)}), 50) # a drug of your own; so does a bare {"I_Kr": Block(7.0)}
        block(cell, {"I_Kr": 0.3})                          # 0.3 is the fraction BLOCKED: 70 % of I_Kr remain

    A concentration or fraction of shape (n,) makes a population of n cells, or gives each cell of one its own dose.
    Currents of a named drug or a `Drug` that the cell does not have are left out (`targets` lists them). Blocks of
    repeated calls multiply. Concentration, fractions, IC50s and Hill coefficients may be traced.

    Args:
        cell: a cell or a population.
        drug: a name in `DRUGS` (case is ignored), a `Drug`, or a mapping from current name to blocked fraction in
            [0, 1] (without concentration) or to `Block` (with concentration).
        concentration: nM, finite and >= 0; a number or shape (n,).

    ValueError: an unknown drug; none of its targets in this cell; an unknown current in a mapping; a missing or
    superfluous concentration; a concentration or fraction out of range; a shape that does not fit the population.
    """
    check_cell(cell)
    for current, fraction in _blocked_fractions(cell, drug, concentration).items():
        cell = _scale(cell, current, fraction)
    return cell


@typed
def targets(cell: AbstractCell, drug: str | Drug) -> Targets:
    """Which currents of this cell the drug blocks, and which of its targets the cell lacks and `block` leaves out."""
    drug = _find(drug)
    blocked = {current: cell.conductances[current] for current in drug.blocks if current in cell.conductances}
    return Targets(blocked, tuple(current for current in drug.blocks if current not in blocked))


@typed
def dose_series(cell: Cell, drug: str | Drug, doses_nM: Iterable[ArrayLike]) -> list[Cell]:
    """The cell, or the whole population, under each dose (nM) in turn: one cell a dose, all of the same shape.

    Equal shapes mean that a simulation compiles once for the series. One cell at many doses in a single run is
    `block(cell, drug, doses)`, a population with one cell a dose. Errors as in `block`.
    """
    return [block(cell, drug, dose) for dose in doses_nM]


@typed
def incidence(events: ArrayLike, n: ArrayLike, level: float = 0.95) -> Incidence:
    """Proportion events / n with its Wilson score interval: how many cells of a population show an EAD.

    The interval has sensible ends at 0 and n events, where the usual estimate +- error has none. It speaks of sampling
    cells from one population only, not of the model's error.

    Args:
        events: how many of the n cells showed it, 0 <= events <= n; any shape.
        n: how many cells were looked at, >= 1; broadcasts with `events`.
        level: coverage of the interval, between 0 and 1.

    Known numbers out of range are a ValueError. Source: Wilson EB, J Am Stat Assoc 1927;22:209-212,
    doi 10.1080/01621459.1927.10502953.
    """
    check("level", level, "(no unit)", "between 0 and 1, both excluded", lambda p: (p > 0) & (p < 1))
    check("n", n, "cells", "whole, finite and >= 1", lambda m: (m >= 1) & (m < np.inf) & (m == np.floor(m)))
    most = np.inf if is_traced(n) else np.asarray(n)
    check("events", events, "cells", f"whole, 0 to n = {n}", lambda k: (k >= 0) & (k <= most) & (k == np.floor(k)))
    events, n = jnp.broadcast_arrays(_float(events), _float(n))
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    p = events / n
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = jnp.sqrt(z2 * (p * (1 - p) + z2 / (4 * n)) / n) / (1 + z2 / n)
    # At the ends one limit is exactly the estimate; rounding must not put it on the wrong side.
    return Incidence(p, jnp.where(events == 0, 0.0, centre - half), jnp.where(events == n, 1.0, centre + half))


def _blocked_fractions(cell: AbstractCell, drug, concentration: ArrayLike | None) -> dict[str, Array]:
    """Blocked fraction of each current of this cell."""
    if isinstance(drug, Mapping):
        for current in drug:
            if current not in cell.conductances:
                raise ValueError(unknown_name("current to block", current, cell.conductances, type(cell).__name__))
        if not any(isinstance(value, Block) for value in drug.values()):
            return _given_fractions(drug, concentration)
        drug = Drug("given", drug)
    drug = _find(drug)
    if concentration is None:
        raise ValueError(f"concentration = None; {drug.name} needs one in nM, finite and >= 0")
    blocked = targets(cell, drug).blocked
    if not blocked:
        has = ", ".join(cell.conductances) or "nothing that a drug could block"
        raise ValueError(f"{drug.name} blocks {', '.join(drug.blocks)}; {type(cell).__name__} has only: {has}")
    return {current: hill_block(concentration, *drug.blocks[current]) for current in blocked}


def _given_fractions(fractions: Mapping[str, ArrayLike], concentration: ArrayLike | None) -> dict[str, Array]:
    if concentration is not None:
        raise ValueError(f"concentration = {concentration} nM; blocked fractions are given, so none is expected")
    for current, value in fractions.items():
        check(f"blocked fraction of {current}", value, "(no unit)", "[0, 1]", lambda p: (p >= 0) & (p <= 1))
    return {current: _float(value) for current, value in fractions.items()}


def _scale(cell: Cell, current: str, blocked: Array) -> Cell:
    """The cell with the conductance of one current times (1 - blocked), in the dtype of that conductance."""
    size = cell.population_size()
    if blocked.ndim > 1 or (blocked.ndim == 1 and size not in (None, blocked.size)):
        allowed = "a number or shape (n_cells,)" if size is None else f"a number or shape ({size},)"
        raise ValueError(
            f"dose of {current} (concentration or fraction): expected {allowed}, got shape {blocked.shape}"
        )
    name = cell.conductances[current]
    return cell.replace(**{name: _what_remains(cell.parameters()[name].value, blocked)})


@jax.jit
def _what_remains(value, blocked):
    return value * (1 - blocked).astype(value.dtype)


def _find(drug: str | Drug) -> Drug:
    if isinstance(drug, Drug):
        return drug
    if not isinstance(drug, str):
        raise refusal("drug", drug, "", "a name, a Drug, or a mapping of currents")
    by_folded_name = {name.casefold(): found for name, found in DRUGS.items()}
    found = by_folded_name.get(drug.casefold())
    if found is None:
        near = difflib.get_close_matches(drug.casefold(), by_folded_name, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(by_folded_name[name].name for name in near)}? " if near else ""
        raise ValueError(f"no drug named {drug!r}; {hint}known: {', '.join(DRUGS)}")
    return found


def _float(x: ArrayLike) -> Array:
    """As a floating-point array; Python numbers stay weakly typed, so that they take the dtype of what they meet."""
    if isinstance(x, int | float):
        return jnp.asarray(float(x))
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float)


# The table. Every number was read in the file that the source names; concentrations are in nM there too. Left out are
# - fits with a Hill coefficient outside 0.3 to 3, whose data stay below 30 % block (Li 2017: I_NaL of dofetilide; I_to
#   of bepridil, cisapride, diltiazem and terfenadine; I_Ks of cisapride; I_K1 of verapamil),
# - a fit whose IC50 is at the bound of the fit (Han 2020: I_Na of pimozide),
# - those of the 16 validation drugs of Han 2020 with a Hill coefficient at the bound of the fit.

PAPER = (
    "eLife 110013, doi 10.7554/eLife.110013, Methods 'Simulation of IKr Blockade': IC50 7 nM, n = 1, "
    "after doi 10.1113/JP277724 and doi 10.1093/toxsci/kft112"
)
LI_2017 = (
    "Li et al. 2017, Circ Arrhythm Electrophysiol 10:e004628, doi 10.1161/CIRCEP.116.004628: manual patch clamp; "
    "github.com/FDA/CiPA, Hill_fitting/data/Li2017_IC50.csv, free Cmax from AP_simulation/data/CiPA_training_drugs.csv"
)
HAN_2020 = (
    "Han et al. 2020, J Pharmacol Toxicol Methods 105:106890, doi 10.1016/j.vascn.2020.106890: automated patch clamp; "
    "github.com/FDA/CiPA, branch Lab_Specific_Validation_Calibration_2020, chantest_Hill_fitting/results, "
    "free Cmax from chantest_AP_simulation/data/newCiPA.csv"
)
CRUMB_2016 = (
    "Crumb et al. 2016, J Pharmacol Toxicol Methods 81:251-262, doi 10.1016/j.vascn.2016.03.009: manual patch clamp; "
    "github.com/FDA/CiPA, AP_simulation/data/newCiPA.csv (without I_NaL, which the raw data there do not confirm)"
)
MIRAMS_2011 = (
    "Mirams et al. 2011, Cardiovasc Res 91:53-61, doi 10.1093/cvr/cvr044: literature IC50s, Hill coefficient 1, upper "
    "end of the free plasma range; github.com/Chaste/ApPredict, test/data/paper_drug_data.dat"
)


def _drug(name: str, source: str, free_cmax_nM: float | None, **blocks: tuple[float, float]) -> Drug:
    return Drug(
        name,
        {current: Block(float(ic50), float(hill)) for current, (ic50, hill) in blocks.items()},
        free_cmax_nM,
        source,
    )


# fmt: off
_TABLE = (
    _drug("E-4031", PAPER, None, I_Kr=(7, 1)),
    _drug("bepridil", LI_2017, 33,
          I_Kr=(50, 0.92), I_CaL=(2808, 0.6486), I_NaL=(1814, 1.42), I_Na=(2929, 1.164), I_Ks=(28630, 0.7061)),
    _drug("chlorpromazine", LI_2017, 38,
          I_Kr=(929.2, 0.85), I_CaL=(8192, 0.8441), I_NaL=(4560, 0.94), I_Na=(4536, 1.995), I_K1=(9270, 0.6878),
          I_to=(1.762e7, 0.37)),
    _drug("cisapride", LI_2017, 2.6, I_Kr=(10.1, 0.73), I_CaL=(9.258e6, 0.43), I_K1=(29498, 0.51)),
    _drug("diltiazem", LI_2017, 122,
          I_Kr=(13150, 0.9254), I_CaL=(112.1, 0.7142), I_NaL=(21870, 0.68), I_Na=(110900, 0.7022)),
    _drug("dofetilide", LI_2017, 2,
          I_Kr=(4.87, 0.93), I_CaL=(260.3, 1.16), I_Na=(380.5, 0.89), I_to=(18.82, 0.77), I_K1=(394.3, 0.77)),
    _drug("mexiletine", LI_2017, 4129, I_Kr=(28880, 0.9246), I_CaL=(38240, 1.031), I_NaL=(8957, 1.41)),
    _drug("ondansetron", LI_2017, 139,
          I_Kr=(1320, 0.9134), I_CaL=(22550, 0.7526), I_NaL=(19180, 1.03), I_Na=(57670, 1.02), I_to=(1.023e6, 0.99),
          I_Ks=(569800, 0.6534)),
    _drug("quinidine", LI_2017, 3237,
          I_Kr=(992, 0.8199), I_CaL=(51590, 0.5892), I_NaL=(9417, 1.34), I_Na=(12330, 1.494), I_to=(3487, 1.28),
          I_K1=(3.959e7, 0.35), I_Ks=(4899, 1.363)),
    _drug("ranolazine", LI_2017, 1948.2,
          I_Kr=(8270, 0.8866), I_NaL=(7884, 0.94), I_Na=(68770, 1.425), I_Ks=(3.616e7, 0.52)),
    _drug("sotalol", LI_2017, 14690,
          I_Kr=(110600, 0.7678), I_CaL=(7.062e6, 0.8651), I_Na=(1.14e9, 0.51), I_to=(4.314e7, 0.66),
          I_K1=(3.05e6, 1.204), I_Ks=(4.222e6, 1.167)),
    _drug("terfenadine", LI_2017, 4,
          I_Kr=(23, 0.6468), I_CaL=(700.4, 0.6601), I_NaL=(20060, 0.6), I_Na=(4803, 1.015), I_Ks=(399800, 0.54)),
    _drug("verapamil", LI_2017, 81, I_Kr=(288, 0.96), I_CaL=(201.8, 1.097), I_NaL=(7028, 1.03), I_to=(13430, 0.82)),
    _drug("disopyramide", HAN_2020, 742,
          I_Kr=(906.2, 0.9325), I_CaL=(110000, 0.8718), I_NaL=(20050, 0.7218), I_Na=(73110, 0.9003)),
    _drug("domperidone", HAN_2020, 19,
          I_Kr=(20.31, 1.378), I_CaL=(14120, 1.291), I_NaL=(669, 0.8924), I_Na=(6659, 1.425)),
    _drug("metoprolol", HAN_2020, 1800,
          I_Kr=(13550, 0.9451), I_CaL=(391000, 0.8924), I_NaL=(24350, 0.7559), I_Na=(148800, 1.004)),
    _drug("nifedipine", HAN_2020, 7.7,
          I_Kr=(28770, 1.126), I_CaL=(33.89, 0.8526), I_NaL=(781.5, 0.7852), I_Na=(41720, 1.538)),
    _drug("nitrendipine", HAN_2020, 3.02,
          I_Kr=(10840, 1.404), I_CaL=(527.1, 0.6373), I_NaL=(356.2, 0.8922), I_Na=(10410, 1.211)),
    _drug("pimozide", HAN_2020, 0.431, I_Kr=(47.02, 1.865), I_CaL=(443.3, 1.151), I_NaL=(6624, 0.5151)),
    _drug("flecainide", CRUMB_2016, 752.9, I_Kr=(692.1, 0.837), I_CaL=(25600, 1.382), I_Na=(6677, 1.894)),
    _drug("ajmaline", MIRAMS_2011, 65, I_Kr=(1040, 1), I_CaL=(71000, 1), I_Na=(8200, 1)),
    _drug("amiodarone", MIRAMS_2011, 0.5, I_Kr=(30, 1), I_CaL=(270, 1), I_Na=(4800, 1)),
    _drug("propafenone", MIRAMS_2011, 250, I_Kr=(440, 1), I_CaL=(1800, 1), I_Na=(1190, 1)),
    _drug("propranolol", MIRAMS_2011, 26, I_Kr=(2828, 1), I_CaL=(18000, 1), I_Na=(2100, 1)),
)
# fmt: on

DRUGS: dict[str, Drug] = {drug.name: drug for drug in _TABLE}
"""Drugs by name: IC50s and free plasma peak in nM; `DRUGS[name].source` says where they are from."""
