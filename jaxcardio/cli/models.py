"""The verb `models`."""

import argparse
import inspect

from ..text_tables import text_table
from .arguments.shared import MODELS


def run(given: argparse.Namespace) -> int:
    if given.model is None:
        print(text_table(list(MODELS.items()), left=2))
        return 0
    from .common import USUAL, find_model  # the list needs no JAX

    model = find_model(given.model)
    cell = model()
    print(f"{model.__name__}: {inspect.cleandoc(model.__doc__ or '')}\n")
    stimulus, time_unit = USUAL[model.__name__].stimulus, USUAL[model.__name__].time_unit
    if stimulus is None:
        print("Stimulus: none, it beats by itself\n")
    else:
        every = f"{stimulus.duration:g} {time_unit} every {stimulus.period:g} {time_unit} from {stimulus.start:g}"
        print(f"Stimulus (default of `simulate`): {stimulus.amplitude:g}, {every}\n")
    rows = [("parameter", "default", "unit", "")]
    rows += [(name, f"{float(p.value):.8g}", p.unit, p.doc) for name, p in cell.parameters().items()]
    print(_columns(rows))
    y = cell.initial_state()
    rows = [("state", "initial", "unit", "")]
    rows += [(n, f"{float(getattr(y, n)):.8g}", cell.units[n], "") for n in y._fields]
    print("\n" + _columns(rows))
    scaled_by = cell.conductances
    rows = [("current", "at start", "unit", "scaled by")]
    at_start = cell.currents(y)
    rows += [(n, f"{float(getattr(at_start, n)):.4g}", cell.units[n], scaled_by.get(n, "")) for n in at_start._fields]
    print("\n" + _columns(rows))
    return 0


def _columns(rows: list[tuple[str, str, str, str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:<{widths[2]}}  {d}".rstrip() for a, b, c, d in rows)
