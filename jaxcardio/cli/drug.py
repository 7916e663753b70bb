"""The verb `drug`."""

import argparse

import numpy as np

from .. import pharmacology, plot
from ..cell import AbstractCell, unknown_name
from ..population import dose_response, sample
from ..population.viability import DISCARD
from .common import (
    USUAL,
    checked_figure,
    checked_output,
    find_model,
    make_cell,
    make_protocol,
    save_figure,
)

E4031_DOSES = (0.0, 10.0, 30.0, 50.0, 70.0, 100.0)


def run(given: argparse.Namespace) -> int:
    model = find_model(given.model)
    if USUAL[model.__name__].time_unit != "ms":
        raise ValueError(f"--model = {model.__name__}: has no current that a drug could block")
    doses = given.doses or default_doses(given.drug)
    out = checked_output(given.out or f"{given.drug}.h5", (".h5", ".hdf5"), inputs=[given.protocol])
    checked_figure(given, out, [given.protocol])
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
