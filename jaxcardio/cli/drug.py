"""A dose series of a drug on a population: biomarkers and how many cells show EADs or fail to repolarise.

The population is sampled around the model's baseline: each varied parameter times an independent uniform factor in
1 +- spread. Cells that do not beat or do not repolarise without the drug are dropped, and the table says how many.
An EAD is a rise of V by 2 mV or more while a beat repolarises (past APD30, before APD90), in at least one beat after
the discarded time that then does repolarise; a cell whose V never comes back below -60 mV counts as "no repolarisation"
instead ("either" counts both). Incidences are among all cells viable without the drug, with Wilson intervals.

Example:
  jaxcardio drug E-4031 --cells 300 --doses 0 10 30 50 70 100 --out e4031.h5
"""

import argparse

import numpy as np

from .. import pharmacology, plot
from ..cell import AbstractCell, unknown_name
from ..population import dose_response, sample
from ..population.viability import DISCARD, DT, SAVE_EVERY, T1
from .common import (
    USUAL,
    checked_output,
    find_model,
    make_cell,
    make_protocol,
    model_arguments,
    output_arguments,
    save_figure,
    stimulus_arguments,
)

E4031_DOSES = (0.0, 10.0, 30.0, 50.0, 70.0, 100.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("drug", metavar="DRUG", help="a drug of jaxcardio.pharmacology.DRUGS, e.g. E-4031")
    doses = parser.add_argument_group("doses and population")
    doses.add_argument(
        "--doses", type=float, nargs="+", metavar="NM",
        help="nM, ascending (default: 0 10 30 50 70 100 for E-4031, else 0, 0.3, 1, 3, 10 and 30 free plasma peaks)",
    )  # fmt: skip
    doses.add_argument("--model", default="KernikClancy2019", help="default: KernikClancy2019")
    doses.add_argument("--cells", type=int, default=300, help="how many to sample (default 300)")
    doses.add_argument("--seed", type=int, default=0, help="cell i of a seed is always the same cell (default 0)")
    doses.add_argument("--spread", type=float, default=0.2, help="relative, 0 <= spread < 1 (default 0.2)")
    doses.add_argument(
        "--vary", nargs="+", metavar="PARAMETER",
        help="parameters to vary (default: the published 52 of KernikClancy2019, else every conductance)",
    )  # fmt: skip
    model_arguments(parser)
    stimulus_arguments(parser)
    steps = parser.add_argument_group("numerics")
    steps.add_argument("--dt", type=float, default=DT, metavar="MS", help=f"step of rush-larsen-2, ms (default {DT})")
    steps.add_argument("--t1", type=float, default=T1, metavar="MS", help=f"length of each run, ms (default {T1:g})")
    steps.add_argument("--discard", type=float, metavar="MS", help="not looked at, ms (default: half of t1)")
    steps.add_argument(
        "--save-every", type=float, default=SAVE_EVERY, metavar="MS", help=f"ms (default {SAVE_EVERY:g})"
    )
    output_arguments(parser, "DRUG.h5")


def run(given: argparse.Namespace) -> int:
    model = find_model(given.model)
    if USUAL[model.__name__].time_unit != "ms":
        raise ValueError(f"--model = {model.__name__}: has no current that a drug could block")
    doses = given.doses or default_doses(given.drug)
    out = checked_output(given.out or f"{given.drug}.h5", (".h5", ".hdf5"))
    cell = make_cell(model, given)
    names = list(given.vary or varied(cell))
    for name in names:
        if name not in cell.parameters():
            raise ValueError(f"--vary: {unknown_name('parameter', name, cell.parameters(), model.__name__)}")
    cells = sample(cell, n=given.cells, seed=given.seed, spread=given.spread, parameters=names)
    result = dose_response(
        cells,
        given.drug,
        doses,
        make_protocol(model, given),
        t1=given.t1,
        discard=min(DISCARD, given.t1 / 2) if given.discard is None else given.discard,
        save_every=given.save_every,
        dt=given.dt,
        record={
            "seed": given.seed,
            "spread": given.spread,
            "parameters": names,
            "set": given.set,
            "variant": given.variant,
        },
        progress=True,
    )
    result.save(out)
    print(result.table())
    print(f"wrote {out}")
    save_figure(given, out, lambda: plot.dose_response(result))
    return 0


def default_doses(drug: str) -> list[float]:
    """E-4031: the published range. Others: around the free plasma peak, where it is known."""
    found = next((d for name, d in pharmacology.DRUGS.items() if name.casefold() == drug.casefold()), None)
    if found is None:
        raise ValueError(f"DRUG: {unknown_name('drug', drug, pharmacology.DRUGS, 'jaxcardio')}")
    if found.name == "E-4031":
        return list(E4031_DOSES)
    if found.free_cmax_nM is None:
        raise ValueError(f"--doses: missing; the plasma peak of {found.name} is not known here")
    return [float(f"{k * found.free_cmax_nM:.3g}") for k in (0.0, 0.3, 1.0, 3.0, 10.0, 30.0)]


def varied(cell: AbstractCell) -> tuple[str, ...]:
    published = getattr(cell, "SIX_CURRENTS", None)
    return tuple(published) if published else tuple(np.unique(list(cell.conductances.values())).tolist())
