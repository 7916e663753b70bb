"""A cell of this library as a record: what a file must say so that the same cell can be made again."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import jax
import numpy as np

from . import models
from .cell import AbstractCell, HeldCell, hold, unknown_name


def versions() -> dict[str, str]:
    """Of this library and those whose arithmetic it uses."""
    return {name: version(name) for name in ("jaxcardio", "jax", "diffrax", "equinox", "numpy", "h5py")}


def model_name(cell: AbstractCell) -> str:
    return type(_inner(cell)).__name__


def static_fields(cell: AbstractCell) -> dict[str, Any]:
    """What is not a parameter: the variant, and the states that are held."""
    variant = getattr(_inner(cell), "variant", None)
    held = cell.held if isinstance(cell, HeldCell) else ()
    return {"held": list(held), **({"variant": variant} if variant else {})}


def is_standard(cell: AbstractCell) -> bool:
    """Whether name, static fields and parameters say all there is to know: a model of ours, no sub-module exchanged."""
    static = {k: v for k, v in static_fields(cell).items() if k != "held"}
    ours = getattr(models, model_name(cell), None)
    return ours is type(_inner(cell)) and jax.tree.structure(ours(**static)) == jax.tree.structure(_inner(cell))


def rebuilt(name: str, static: Mapping[str, Any], values: Mapping[str, Any]) -> AbstractCell:
    """The cell of a record: name of the model, `static_fields`, and its parameters."""
    static = dict(static)
    held = static.pop("held")
    cell = getattr(models, name)(**static).replace(**values)
    return hold(cell, *held) if held else cell


def cell_to_json(cell: AbstractCell) -> dict[str, Any]:
    """A single cell of this library as a plain dict that JSON can hold, every parameter in full precision."""
    if not is_standard(cell):
        raise ValueError(f"cell: {model_name(cell)} is not as it stands in jaxcardio.models, and no file can hold it")
    if cell.population_size() is not None:
        raise ValueError(f"cell: a population of {cell.population_size()}; allowed: one cell")
    parameters = {name: float(p.value) for name, p in cell.parameters().items()}
    return {"model": model_name(cell), "static": static_fields(cell), "parameters": parameters}


def cell_from_json(written: Mapping[str, Any]) -> AbstractCell:
    """The cell that `cell_to_json` wrote; a ValueError says what is wrong with it."""
    if not isinstance(written, Mapping) or not {"model", "static", "parameters"} <= set(written):
        raise ValueError(f"cell = {written!r}; allowed: model, static and parameters")
    known = [n for n, x in vars(models).items() if isinstance(x, type) and issubclass(x, AbstractCell)]
    if written["model"] not in known:
        raise ValueError(unknown_name("model", str(written["model"]), known, "jaxcardio"))
    values = {name: np.float64(x) for name, x in written["parameters"].items()}
    return rebuilt(written["model"], written["static"], values)


def _inner(cell: AbstractCell) -> AbstractCell:
    return cell.cell if isinstance(cell, HeldCell) else cell
