"""Trained networks in files: the one that ships, and yours."""

import dataclasses
import difflib
import functools
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
from ..arguments import check, check_concrete, check_known, refusal
from ..files.hdf5 import read_hdf5
from ..files.reading import Group
from ..files.writing import Where, put, write_hdf5
from .features.apd import LEVELS
from .inference import Corrections, measures
from .inference import Network as Network
from .unet import PIAUNet

FORMAT, VERSION = "jaxcardio intracellular network", 1
SHIPPED = ("small",)
"""Names of the networks that ship. "small" is `fit(synthesize_pairs(PREPARATIONS, seed=0), seed=0).network`."""
LARGEST = 64 << 20
"""Weights of a network."""


@typed
def save_network(path: Where, network: Network) -> None:
    """Writes a network as HDF5, whole or not at all.

    Attributes: `format`, `format_version`, `sampling_rate` (Hz), `settings` (JSON: the arguments of `PIAUNet`),
    `corrections` and `about` (JSON). Data sets: `weights/NAME`, float32.

    ValueError: weights that are traced or not finite. OSError: a place where nothing can be written.
    """
    check_concrete(network=network.unet)
    weights = {name: np.asarray(leaf) for name, leaf in _arrays(network.unet)}
    wrong = [name for name, leaf in weights.items() if not np.isfinite(leaf).all()]
    if wrong:
        raise ValueError(f"network: {wrong[0]} is not finite; allowed: finite weights")
    texts = {"settings": dict(network.unet.settings), "about": network.about}
    texts["corrections"] = dataclasses.asdict(network.corrections)

    def write(file: h5py.File) -> None:
        file.attrs.update(format=FORMAT, format_version=VERSION, sampling_rate=float(network.sampling_rate))
        file.attrs.update({name: json.dumps(value, allow_nan=False) for name, value in texts.items()})
        for name, leaf in weights.items():
            put(file, f"weights/{name}", leaf, "1")

    write_hdf5(path, write)


def load_network(name_or_path: str | os.PathLike[str]) -> Network:
    """A network that ships ("small"), or one from a file of `save_network`.

    ValueError: an unknown name, or a file that is none of ours.
    """
    if isinstance(name_or_path, str) and name_or_path in SHIPPED:
        return _shipped(name_or_path)
    if isinstance(name_or_path, str) and not _is_path(name_or_path):
        near = difflib.get_close_matches(name_or_path, SHIPPED, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(SHIPPED)}"
        raise ValueError(f"no network named {name_or_path!r}; {hint} (or the path of a file)")
    if not isinstance(name_or_path, str | os.PathLike):
        raise refusal("name_or_path", name_or_path, "", f"{', '.join(SHIPPED)}, or the path of a file")
    return read_hdf5(name_or_path, FORMAT, VERSION, _read)


@functools.cache
def _shipped(name: str) -> Network:
    with as_file(files("jaxcardio") / "data" / f"intracellular_{name}.h5") as path:
        return read_hdf5(Path(path), FORMAT, VERSION, _read)


def _read(root: Group) -> Network:
    settings = root.json("settings")
    try:
        like = eqx.filter_eval_shape(lambda: PIAUNet(**settings, key=jax.random.key(0)))  # nothing is made yet
    except TypeError:
        raise refusal("settings", settings, "", "the arguments of PIAUNet") from None
    shapes = dict(_arrays(like))
    if sum(leaf.size for leaf in shapes.values()) > LARGEST:
        raise ValueError(f"settings: more than {LARGEST} weights")
    weights = root.group("weights")
    read = {name: weights.numbers(name, leaf.shape, kinds="f") for name, leaf in shapes.items()}
    wrong = [name for name, leaf in read.items() if not np.isfinite(leaf).all()]
    if wrong:
        raise ValueError(f"weights/{wrong[0]} is not finite; allowed: finite weights")

    def filled(where: Any, leaf: Any) -> Any:
        name = _name(where)
        return jnp.asarray(read[name], leaf.dtype) if name in read else leaf

    rate = root.number("sampling_rate")
    check_known("sampling_rate", rate, "Hz", "above 0", lambda x: x > 0)
    unet = jax.tree_util.tree_map_with_path(filled, like)
    return Network(unet, rate, _corrections(root.json("corrections")), _about(root.json("about")))


def _corrections(found: dict[str, Any]) -> Corrections:
    names = [field.name for field in dataclasses.fields(Corrections)]
    if sorted(found) != sorted(names):
        raise refusal("corrections", sorted(found), "", f"{', '.join(names)}")
    durations, trace = found["durations"], found["trace"]
    check(
        "corrections: durations",
        durations,
        "",
        f"{len(LEVELS)} numbers >= 0",
        lambda x: (x >= 0) & (x.size == len(LEVELS)),
    )
    check_known("corrections: trace", trace, "", "finite, >= 0", lambda x: (x >= 0) & np.isfinite(x))
    check_known("corrections: coverage", found["coverage"], "", "above 0 and below 1", lambda x: (x > 0) & (x < 1))
    if not isinstance(found["is_calibrated"], bool):
        raise refusal("corrections: is_calibrated", found["is_calibrated"], "", "true or false")
    return Corrections(**(found | {"durations": tuple(map(float, durations)), "trace": float(trace)}))


def _about(found: dict[str, Any]) -> dict[str, Any]:
    ranges = found.get("ranges", {})
    known = measures(np.zeros((1, 1)), np.zeros(1))
    if not isinstance(ranges, dict) or not set(ranges) <= set(known):
        raise refusal("about: ranges", ranges, "", f"an object of {', '.join(known)}")
    for name, ends in ranges.items():
        check(
            f"about: ranges: {name}", ends, "", "lowest and highest value", lambda x: x.shape == (2,) and x[0] <= x[1]
        )
    return found


def _arrays(unet: PIAUNet) -> list[tuple[str, Any]]:
    """Every array of a network, or the shape of one, by name."""
    leaves = jax.tree_util.tree_leaves_with_path(unet)
    return [(_name(where), leaf) for where, leaf in leaves if hasattr(leaf, "dtype")]


def _name(where: Any) -> str:
    return jax.tree_util.keystr(where, simple=True, separator=".")


def _is_path(text: str) -> bool:
    return os.sep in text or "." in text or os.path.exists(text)
