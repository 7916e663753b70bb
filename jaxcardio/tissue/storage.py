"""What files hold of tissues: a tissue, its stimuli, a run. HDF5, written whole, and not believed when read."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np

from ..arguments import refusal
from ..cell import AbstractCell, unknown_name
from ..files.hdf5 import read_hdf5
from ..files.reading import FLOATS, TRUTH, WHOLE, Group
from ..files.records import is_standard, model_name, rebuilt, static_fields, versions
from ..files.writing import put, write_hdf5
from ..json_text import parse
from ..protocols import from_json, to_json
from ..simulation.trace import Status
from .grid import Tissue
from .stimulus import Stimulus

FORMAT = "jaxcardio tissue run"
FORMAT_VERSION = 1
MOST_CELLS = 2**31
"""Of a grid that a file may describe."""
MOST_STIMULI = 10_000


def write_run(path: str | Path, run: Any) -> None:
    """Writes a `Run`; see `Run.save`."""

    def write(file: h5py.File) -> None:
        file.attrs.update(format=FORMAT, format_version=FORMAT_VERSION, versions=json.dumps(versions()))
        file.attrs.update(settings=run.settings, threshold=float(run.threshold), outputs=json.dumps(list(run.ys)))
        put_tissue(file, run.tissue, run.stimuli)
        units = run.tissue.cell.units
        put(file, "t", run.ts, "ms")
        for name, value in run.ys.items():
            put(file, f"outputs/{name}", value, units[name])
        put_events(file, run.activation_times, run.repolarisation_times, run.activations, run.status)
        for name, value in run.final_state._asdict().items():
            put(file, f"final_state/{name}", value, units[name])

    write_hdf5(path, write)


def read_run(path: str | Path, cell: AbstractCell | None) -> dict[str, Any]:
    """The fields of the `Run` in a file; see `Run.load`."""
    return read_hdf5(path, FORMAT, FORMAT_VERSION, lambda file: _run_of(file, cell))


def _run_of(file: Group, cell: AbstractCell | None) -> dict[str, Any]:
    tissue, stimuli = tissue_of(file, cell)
    units, shape = tissue.cell.units, tissue.shape
    ts = times_of(file)
    names = output_names_of(file, tissue.cell)
    state = type(tissue.cell.initial_state())
    return {
        "ts": ts,
        "ys": {name: file.numbers(f"outputs/{name}", (len(ts), *shape), FLOATS, units[name]) for name in names},
        **events_of(file, shape),
        "final_state": state(
            **{n: file.numbers(f"final_state/{n}", shape, FLOATS, units[n]) for n in state._fields},
        ),
        "tissue": tissue,
        "stimuli": stimuli,
        "threshold": file.number("threshold"),
        "settings": file.text("settings"),
    }


def put_tissue(file: h5py.File, tissue: Tissue, stimuli: Sequence[Stimulus]) -> None:
    """Writes a tissue with its cell, and its stimuli: texts as attributes of the root, numbers as datasets."""
    texts, arrays = described(tissue, stimuli)
    file.attrs.update(texts)
    for name, (values, unit) in arrays.items():
        put(file, name, values, unit)


def described(tissue: Tissue, stimuli: Sequence[Stimulus]) -> tuple[dict[str, Any], dict[str, tuple[np.ndarray, str]]]:
    """All there is to know of a tissue and its stimuli: texts by name, and arrays with their units."""
    cell = tissue.cell
    texts = {
        "model": model_name(cell),
        "static": json.dumps(static_fields(cell)),
        "standard": is_standard(cell),
        "shape": json.dumps(list(tissue.shape)),
        "protocols": json.dumps([to_json(s.protocol) for s in stimuli]),
        "has": json.dumps([n for n in ("fibres", "mask", "coupling") if getattr(tissue, n) is not None]),
    }
    arrays: dict[str, tuple[Any, str]] = {
        "tissue/spacing": (tissue.spacing, "mm"),
        "tissue/diffusivity": (tissue.diffusivity, "mm^2/ms"),
    }
    if tissue.fibres is not None:
        arrays["tissue/fibres"] = tissue.fibres, "radians"
    if tissue.mask is not None:
        arrays["tissue/mask"] = tissue.mask, "1"
    for axis, factor in enumerate(tissue.coupling or ()):
        arrays[f"tissue/coupling/{axis}"] = factor, "1"
    for k, stimulus in enumerate(stimuli):
        arrays[f"regions/{k}"] = stimulus.cells(tissue.shape), "1"
    for name, p in cell.parameters().items():
        arrays[f"parameters/{name}"] = p.value, p.unit
    return texts, {name: (np.asarray(values), unit) for name, (values, unit) in arrays.items()}


def tissue_of(file: Group, cell: AbstractCell | None) -> tuple[Tissue, tuple[Stimulus, ...]]:
    """The tissue and the stimuli that `put_tissue` wrote. `cell`: where the file cannot hold it."""
    shape = _shape_of(file)
    has = _list_of(file, "has", str)
    if not set(has) <= {"fibres", "mask", "coupling"}:
        raise refusal("attribute has", has, "", "fibres, mask, coupling")
    cell = _cell_of(file, shape) if cell is None else cell
    edges = [tuple(n - (k == axis) for k, n in enumerate(shape)) for axis in range(len(shape))]
    tissue = Tissue(
        cell=cell,
        shape=shape,
        spacing=file.numbers("tissue/spacing", (len(shape),), FLOATS, "mm"),  # pyright: ignore[reportArgumentType]
        diffusivity=file.numbers("tissue/diffusivity", None, FLOATS, "mm^2/ms"),
        fibres=file.numbers("tissue/fibres", None, FLOATS, "radians") if "fibres" in has else None,
        mask=file.numbers("tissue/mask", shape, TRUTH) if "mask" in has else None,
        coupling=[file.numbers(f"tissue/coupling/{k}", edge, FLOATS) for k, edge in enumerate(edges)]
        if "coupling" in has
        else None,
    )
    protocols = _list_of(file, "protocols", str)
    if len(protocols) > MOST_STIMULI:
        raise refusal("attribute protocols", f"{len(protocols)} of them", "", f"at most {MOST_STIMULI}")
    stimuli = []
    for k, text in enumerate(protocols):
        protocol = from_json(text)
        stimuli.append(Stimulus(protocol, file.numbers(f"regions/{k}", shape, TRUTH)))  # pyright: ignore[reportArgumentType]
        stimuli[-1].cells(shape)
    return tissue, tuple(stimuli)


def put_events(file: h5py.File, activation_times, repolarisation_times, activations, status) -> None:
    """Writes what a run has found in every cell."""
    put(file, "activation_times", activation_times, "ms")
    put(file, "repolarisation_times", repolarisation_times, "ms")
    put(file, "activations", activations, "1")
    put(file, "status", status, "; ".join(f"{s.value} {s.name}" for s in Status))


def events_of(file: Group, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """What `put_events` wrote, by name."""
    found = {
        "activation_times": file.numbers("activation_times", (None, *shape), FLOATS, "ms"),
        "activations": file.numbers("activations", shape, WHOLE),
        "status": file.numbers("status", shape, WHOLE),
    }
    beats = len(found["activation_times"])
    found["repolarisation_times"] = file.numbers("repolarisation_times", (beats, *shape), FLOATS, "ms")
    if beats < 1:
        raise refusal("activation_times", "of 0 beats", "", "at least 1")
    if (found["activations"] < 0).any():
        raise refusal("activations", found["activations"].min(), "", ">= 0")
    if not np.isin(found["status"], sorted(Status)).all():
        unknown = found["status"][~np.isin(found["status"], sorted(Status))].flat[0]
        raise refusal("status", unknown, "", ", ".join(f"{s.value} {s.name}" for s in Status))
    return found


def times_of(file: Group) -> np.ndarray:
    """Finite, ascending times in ms."""
    ts = file.numbers("t", (None,), FLOATS, "ms")
    if not np.isfinite(ts).all() or not (np.diff(ts) > 0).all():
        raise ValueError("t: allowed: finite, strictly ascending times in ms")
    return ts


def output_names_of(file: Group, cell: AbstractCell) -> tuple[str, ...]:
    there = file.group("outputs").names()
    names = _list_of(file, "outputs", str) if file.has_attribute("outputs") else there
    if sorted(names) != sorted(there):
        raise refusal("outputs", ", ".join(there), "", f"those that were saved, {', '.join(names)}")
    for name in names:
        if name not in cell.units:
            raise ValueError(f"outputs: {unknown_name('state or current', name, cell.units, type(cell).__name__)}")
    if not names or len(set(names)) < len(names):
        raise refusal("attribute outputs", names, "", "names, each once")
    return tuple(names)


def digest_of(arrays: dict[str, tuple[np.ndarray, str]]) -> dict[str, str]:
    """SHA-256 of each array, its kind and shape with it, by name."""
    return {name: _digest(values) for name, (values, _) in arrays.items()}


def cell_digest(cell: AbstractCell) -> str:
    """SHA-256 of every array in a cell: also of a learned one, whose network is no parameter."""
    found = hashlib.sha256()
    for x in jax.tree.leaves(cell):
        if hasattr(x, "dtype"):
            found.update(_digest(np.asarray(x)).encode())
    return found.hexdigest()


def _digest(values: np.ndarray) -> str:
    found = hashlib.sha256(f"{values.dtype.str} {values.shape}".encode())
    found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


def _cell_of(file: Group, shape: tuple[int, ...]) -> AbstractCell:
    name = file.text("model")
    if not file.truth("standard"):
        why = "is changed in more than its parameters, or no module defines it"
        raise ValueError(f"its model {name} {why}; give cell=")
    parameters = file.group("parameters")
    values = {n: parameters.numbers(n) for n in parameters.names()}
    for n, value in values.items():
        if value.shape not in ((), shape):
            raise refusal(f"parameters/{n}", f"shape {value.shape}", "", f"a number, or shape {shape}")
    return rebuilt(name, file.json("static"), values)


def _shape_of(file: Group) -> tuple[int, ...]:
    found = _list_of(file, "shape", int)
    if not 1 <= len(found) <= 3 or any(n < 1 for n in found) or np.prod(np.array(found, float)) > MOST_CELLS:
        raise refusal("attribute shape", found, "cells", f"1 to 3 whole numbers >= 1, at most {MOST_CELLS} cells")
    return tuple(found)


def _list_of(file: Group, name: str, kind: type) -> list[Any]:
    found = parse(file.text(name), f"attribute {name}")
    if not isinstance(found, list) or not all(isinstance(x, kind) and not isinstance(x, bool) for x in found):
        raise refusal(f"attribute {name}", found, "", f"a list of {'texts' if kind is str else 'whole numbers'}")
    return found
