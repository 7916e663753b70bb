"""The files of a dataset: written whole or not at all, and distrusted when read."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

try:
    import fcntl
except ModuleNotFoundError:
    fcntl = None

from .recipe import Made, Recipe
from .viability import UNITS, Reason

FORMAT = "jaxcardio dataset"
FORMAT_VERSION = 1
PIECE = 1 << 22
"""Bytes read at a time to compute a checksum."""


class ShardError(ValueError):
    """A file of a dataset that is not what the dataset wrote; it is named, and left as it is."""


class MissingShard(ShardError):
    """The file is not there."""


class TruncatedShard(ShardError):
    """The file is shorter than it was written."""


class DamagedShard(ShardError):
    """The file has its length, but not its content."""


class ForeignSchema(ShardError):
    """The file is of another format, or of another version of it."""


class ForeignRecipe(ShardError):
    """The file holds cells of another recipe, e.g. of another seed."""


def shard_path(folder: Path, k: int) -> Path:
    return folder / f"shard-{k:05d}.h5"


def write_shard(path: Path, k: int, made: Made, recipe: Recipe) -> dict[str, Any]:
    """Writes a shard in one piece; returns what the manifest says of it. The same cells give the same bytes."""

    def write(part: Path) -> None:
        with h5py.File(part, "w") as file:
            file.attrs.update(
                format=FORMAT, format_version=FORMAT_VERSION, recipe=recipe.digest, seed=recipe.seed, shard=k
            )
            row = {int(i): row for row, i in enumerate(made.cells)}
            kept = np.array([row[int(i)] for i in made.batch.cells], np.int64)
            reasons = "; ".join(f"{r.value} {r.name}" for r in Reason)
            _put(file, "cells", made.cells, "index")
            _put(file, "theta", made.theta, "p / p0 - 1")
            _put(file, "reasons", made.reasons, reasons)
            _put(file, "status", made.status, "jaxcardio.Status")
            _put(file, "kept", kept, "row of the cells whose outputs follow")
            for name, values in made.biomarkers.items():
                _put(file, f"biomarkers/{name}", values, UNITS[name])
            for name, values in made.batch.outputs.items():
                _put(file, f"outputs/{name}", values, recipe.cell.units[name])

    write_whole(path, write)
    return {"bytes": path.stat().st_size, "sha256": checksum(path), "kept": len(made.batch.cells)}


def check_shard(path: Path, k: int, recipe: Recipe, entry: dict[str, Any], thoroughly: bool = False) -> None:
    """Raises the `ShardError` that says what is wrong with a shard, if anything; `thoroughly` reads all of it."""
    if not path.is_file():
        raise MissingShard(f"{path}: the file is missing; resuming makes it again")
    size = path.stat().st_size
    if size < entry["bytes"]:
        raise TruncatedShard(f"{path}: truncated, {size} of {entry['bytes']} bytes")
    with open_shard(path, k, recipe):
        pass
    if size != entry["bytes"] or (thoroughly and checksum(path) != entry["sha256"]):
        raise DamagedShard(f"{path}: its checksum is not the one in the manifest; some of its bytes have changed")


@contextlib.contextmanager
def open_shard(path: Path, k: int, recipe: Recipe) -> Iterator[h5py.File]:
    """A shard for reading, after a look at whether it is one of this recipe."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DamagedShard(f"{path}: not a readable HDF5 file; some of its bytes have changed ({error})") from None
    with file:
        attrs: dict[str, Any] = dict(file.attrs)
        if (attrs.get("format"), attrs.get("format_version")) != (FORMAT, FORMAT_VERSION):
            found = f"{attrs.get('format')!r} version {attrs.get('format_version')}"
            raise ForeignSchema(f"{path}: of another schema, {found}; allowed: {FORMAT!r} version {FORMAT_VERSION}")
        if attrs["recipe"] != recipe.digest or attrs["shard"] != k:
            found = f"seed {attrs['seed']}, shard {attrs['shard']}, recipe {attrs['recipe'][:12]}"
            wanted = f"seed {recipe.seed}, shard {k}, recipe {recipe.digest[:12]}"
            raise ForeignRecipe(f"{path}: cells of another recipe ({found}); this dataset has {wanted}")
        yield file


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Writes beside, makes sure that it is on the disk, then renames: whoever looks sees all of it or nothing."""
    part = path.with_name(path.name + ".part")
    write(part)
    with open(part, "r+b") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    if os.name == "posix":  # elsewhere a folder cannot be opened, and its entries are written with the file
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"

    def write(part: Path) -> None:
        part.write_text(text)

    write_whole(path, write)


def checksum(path: Path) -> str:
    """SHA-256 of a file, read piece by piece."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            found.update(piece)
    return found.hexdigest()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; the system drops it when a process dies. Without file locks (Windows) there is none:
    there one process at a time may write."""
    with open(folder / "lock", "w") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _put(file: h5py.File, name: str, values: np.ndarray, unit: str) -> None:
    file.create_dataset(name, data=values).attrs["unit"] = unit
