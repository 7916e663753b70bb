"""A cell as a record: what a file must say so that the same cell can be made again."""

import inspect
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import jax
import numpy as np

from .. import models
from ..arguments import check_known, refusal
from ..cell import AbstractCell, HeldCell, hold, unknown_name


def versions() -> dict[str, str]:
    """Of this library and those whose arithmetic it uses."""
    return {name: version(name) for name in ("jaxcardio", "jax", "diffrax", "equinox", "numpy", "h5py")}


def model_name(cell: AbstractCell) -> str:
    """`KernikClancy2019` for one of ours, `package.module.Model` for one of the user's own."""
    model = type(_inner(cell))
    ours = getattr(models, model.__name__, None) is model
    return model.__name__ if ours else f"{model.__module__}.{model.__qualname__}"


def static_fields(cell: AbstractCell) -> dict[str, Any]:
    """What is not a parameter: the variant, and the states that are held."""
    variant = getattr(_inner(cell), "variant", None)
    held = cell.held if isinstance(cell, HeldCell) else ()
    return {"held": list(held), **({"variant": variant} if variant else {})}


def is_standard(cell: AbstractCell) -> bool:
    """Whether name, static fields and parameters say all there is to know: no sub-module exchanged, no local class."""
    static = {k: v for k, v in static_fields(cell).items() if k != "held"}
    try:
        plain = _model(model_name(cell))(**static)
    except (TypeError, ValueError):  # it cannot be found, or not be made from nothing but its defaults
        return False
    return type(plain) is type(_inner(cell)) and jax.tree.structure(plain) == jax.tree.structure(_inner(cell))


def standard_cell(name: str, static: Mapping[str, Any]) -> AbstractCell:
    """The model with its own parameters and the static fields of a record."""
    held, variant = static.get("held"), static.get("variant")
    if not isinstance(held, list) or not all(isinstance(x, str) for x in held):
        raise refusal("static: held", held, "", "a list of names of states")
    if not set(static) <= {"held", "variant"} or not isinstance(variant, str | None):
        raise refusal("static", dict(static), "", "held, and a text as variant")
    model = _model(name)
    try:
        return model(**{k: x for k, x in static.items() if k != "held"})
    except TypeError as error:
        raise ValueError(f"model {name!r} cannot be made from {dict(static)} ({error})") from None


def rebuilt(name: str, static: Mapping[str, Any], values: Mapping[str, Any]) -> AbstractCell:
    """The cell of a record: name of the model, `static_fields`, and its parameters.

    ValueError: no such model is known; one of the user's own is, once the module that defines it has been imported.
    """
    plain = standard_cell(name, static)
    if missing := plain.parameters().keys() - values.keys():
        raise ValueError(f"parameters: no {min(missing)}; {name} has {len(plain.parameters())} parameters")
    cell = plain.replace(**values)
    return hold(cell, *static["held"]) if static["held"] else cell


def cell_to_json(cell: AbstractCell) -> dict[str, Any]:
    """A single cell as a plain dict that JSON can hold, every parameter in full precision."""
    if not is_standard(cell):
        raise ValueError(
            f"cell: {model_name(cell)} cannot be made again from its name and parameters, so no file can hold it (a "
            "sub-module was exchanged, or no module defines its class)"
        )
    if cell.population_size() is not None:
        raise ValueError(f"cell: a population of {cell.population_size()}; allowed: one cell")
    parameters = {name: float(p.value) for name, p in cell.parameters().items()}
    return {"model": model_name(cell), "static": static_fields(cell), "parameters": parameters}


def cell_from_json(written: Mapping[str, Any]) -> AbstractCell:
    """The cell that `cell_to_json` wrote; a ValueError says what is wrong with it."""
    if not isinstance(written, Mapping) or not {"model", "static", "parameters"} <= set(written):
        raise ValueError(f"cell = {written!r}; allowed: model, static and parameters")
    for name in ("static", "parameters"):
        if not isinstance(written[name], Mapping):
            raise refusal(f"cell: {name}", written[name], "", "an object")
    for name, x in written["parameters"].items():
        check_known(f"cell: parameters: {name}", x, "", "a number", lambda x: True)
    values = {name: np.float64(x) for name, x in written["parameters"].items()}
    return rebuilt(str(written["model"]), written["static"], values)


def _inner(cell: AbstractCell) -> AbstractCell:
    return cell.cell if isinstance(cell, HeldCell) else cell


def _model(name: str) -> type:
    """The class of a model: one of ours, or one of a module that has been imported. Nothing is imported here."""
    module, _, attribute = name.rpartition(".")
    # Not by getattr: a package may import a module when it is first asked for its name.
    names = vars(models) if not module else vars(sys.modules[module]) if module in sys.modules else {}
    found = names.get(attribute)
    if isinstance(found, type) and issubclass(found, AbstractCell) and not inspect.isabstract(found):
        return found
    if module:
        raise ValueError(f"model {name!r} is not known; import {module}, which defines it, first")
    ours = [n for n, x in vars(models).items() if isinstance(x, type) and issubclass(x, AbstractCell)]
    raise ValueError(unknown_name("model", name, ours, "jaxcardio"))
