"""Trained sodium gatings in files: the ones that ship, and yours."""

import difflib
import functools
import importlib
import json
import os
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import equinox as eqx
import h5py
import jax
import jax.numpy as jnp
import numpy as np

from ..annotations import typed
from ..arguments import check_concrete, refusal
from ..files.hdf5 import read_hdf5
from ..files.reading import Group
from ..files.writing import put, write_hdf5
from ..models import AbstractSodiumGating

FORMAT, VERSION = "jaxcardio sodium gating", 1
CLASSES = {"rates": "RateSurrogate", "flow_map": "FlowMap", "published": "PublishedPINN", "markov_flow": "MarkovFlow"}
"""What ships, and the class of each: it lies in the module of that name, and says by `architecture()` and
`of_architecture(about)` what its structure is."""
LARGEST = 1 << 20
"""Weights of a network."""


@typed
def save(path: str | Path, gating: AbstractSodiumGating) -> None:
    """Writes a trained gating, whole or not at all: its kind, its structure and its weights.

    ValueError: a gating that is no network, weights that are traced or not finite. OSError: a place where nothing can
    be written.
    """
    kind = _kind_of(gating)
    check_concrete(gating=gating)
    weights = {name: np.asarray(leaf) for name, leaf in _weights(gating)}
    wrong = [name for name, leaf in weights.items() if not np.isfinite(leaf).all()]
    if wrong:
        raise ValueError(f"gating: {wrong[0]} is not finite; allowed: finite weights")
    architecture = json.dumps(gating.architecture())  # pyright: ignore[reportAttributeAccessIssue]

    def write(file: h5py.File) -> None:
        file.attrs.update(format=FORMAT, format_version=VERSION, kind=kind, architecture=architecture)
        for name, leaf in weights.items():
            put(file, f"weights/{name}", leaf, "1")

    write_hdf5(path, write)


def load(name_or_path: str | os.PathLike[str]) -> Any:
    """A gating that ships ("rates", "flow_map", "published", "markov_flow"), or one from a file of `save`.

    Those that ship are read once. Put it into a cell with `cell.replace(sodium=...)`, which gives it the cell's dtype.

    ValueError: an unknown name, or a file that is none of ours.
    """
    if isinstance(name_or_path, str) and name_or_path in CLASSES:
        found = _shipped(name_or_path)
    elif isinstance(name_or_path, str) and not _is_path(name_or_path):
        near = difflib.get_close_matches(name_or_path, CLASSES, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(CLASSES)}"
        raise ValueError(f"no sodium gating named {name_or_path!r}; {hint} (or the path of a file)")
    elif isinstance(name_or_path, str | os.PathLike):
        found = read_hdf5(name_or_path, FORMAT, VERSION, _read)
    else:
        raise refusal("name_or_path", name_or_path, "", f"{', '.join(CLASSES)}, or the path of a file")
    return jax.tree.map(lambda x: jnp.asarray(x) if isinstance(x, np.ndarray) else x, found)


@functools.cache
def _shipped(name: str) -> Any:
    with as_file(files("jaxcardio") / "data" / f"sodium_{name}.h5") as path:
        return read_hdf5(path, FORMAT, VERSION, _read)


def _read(root: Group) -> Any:
    """The gating with its weights on the host: their dtype on a device is a matter of when they go there."""
    kind = root.text("kind")
    if kind not in CLASSES:
        raise refusal("kind", kind, "", f"{', '.join(CLASSES)}")
    module = importlib.import_module(f".{kind}", __package__)
    made = getattr(module, CLASSES[kind]).of_architecture
    about = root.json("architecture")
    like = eqx.filter_eval_shape(lambda: made(about))  # nothing is made before its size is known
    shapes = dict(_weights(like))
    if sum(leaf.size for leaf in shapes.values()) > LARGEST:
        raise ValueError(f"architecture: more than {LARGEST} weights")
    weights = root.group("weights")
    read = {name: weights.numbers(name, leaf.shape, kinds="f") for name, leaf in shapes.items()}
    wrong = [name for name, leaf in read.items() if not np.isfinite(leaf).all()]
    if wrong:
        raise ValueError(f"weights/{wrong[0]} is not finite; allowed: finite weights")
    return jax.tree_util.tree_map_with_path(lambda where, leaf: read.get(_name(where), leaf), like)


def _weights(gating: Any) -> list[tuple[str, Any]]:
    """Every array of a gating that is one of floating-point numbers, or the shape of one, by name."""
    leaves = jax.tree_util.tree_leaves_with_path(gating)
    return [(_name(where), leaf) for where, leaf in leaves if hasattr(leaf, "dtype")]


def _name(where) -> str:
    return jax.tree_util.keystr(where, simple=True, separator=".")


def _kind_of(gating: AbstractSodiumGating) -> str:
    kinds = {named: kind for kind, named in CLASSES.items()}
    if type(gating).__name__ not in kinds:
        raise refusal("gating", type(gating).__name__, "", f"one of {', '.join(kinds)}")
    return kinds[type(gating).__name__]


def _is_path(text: str) -> bool:
    return os.sep in text or "." in text or os.path.exists(text)
