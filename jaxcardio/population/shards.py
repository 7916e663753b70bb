"""The files of a dataset: written whole or not at all, and distrusted when read."""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from jaxtyping import Int

from ..files.locking import LOCK
from ..files.reading import Budget, Group
from ..files.writing import fill_hdf5, put, write_text, write_whole
from .recipe import Made, Recipe
from .viability import UNITS, Reason

FORMAT = "jaxcardio dataset"
FORMAT_VERSION = 1
PIECE = 1 << 22
"""Bytes read at a time to compute a checksum."""
LEFT = re.compile(r"(shard-\d{5,}\.h5|manifest\.json)(\.(?P<process>\d+)-[0-9a-f]{8})?\.part")
"""Temporary files of a dataset; earlier versions wrote no process."""


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


class Expected(NamedTuple):
    """What the shards of a dataset must be."""

    recipe: Recipe
    shard: int
    """Cells in a shard."""
    digests: tuple[str, ...]
    """Any of which a shard may have."""

    def cells_of(self, k: int) -> Int[np.ndarray, " n"]:
        """The cells of shard k, kept or not."""
        return np.arange(k * self.shard, min((k + 1) * self.shard, self.recipe.n))


def shard_path(folder: Path, k: int) -> Path:
    return folder / f"shard-{k:05d}.h5"


def write_shard(path: Path, k: int, made: Made, recipe: Recipe) -> dict[str, Any]:
    """Writes a shard in one piece; returns what the manifest says of it. The same cells give the same bytes."""

    def fill(file: h5py.File) -> None:
        file.attrs.update(format=FORMAT, format_version=FORMAT_VERSION, recipe=recipe.digest, seed=recipe.seed, shard=k)
        row = {int(i): row for row, i in enumerate(made.cells)}
        kept = np.array([row[int(i)] for i in made.batch.cells], np.int64)
        reasons = "; ".join(f"{r.value} {r.name}" for r in Reason)
        put(file, "cells", made.cells, "index")
        put(file, "theta", made.theta, "p / p0 - 1")
        put(file, "reasons", made.reasons, reasons)
        put(file, "status", made.status, "jaxcardio.Status")
        put(file, "kept", kept, "row of the cells whose outputs follow")
        for name, values in made.biomarkers.items():
            put(file, f"biomarkers/{name}", values, UNITS[name])
        for name, values in made.batch.outputs.items():
            put(file, f"outputs/{name}", values, recipe.cell.units[name])

    def write(part: Path) -> dict[str, Any]:
        fill_hdf5(part, fill)
        return {"bytes": part.stat().st_size, "sha256": checksum(part), "kept": len(made.batch.cells)}

    return write_whole(path, write)


def check_shard(path: Path, k: int, expected: Expected, entry: dict[str, Any], thoroughly: bool = False) -> None:
    """Raises the `ShardError` that says what is wrong with a shard, if anything; `thoroughly` reads all of it."""
    cells = expected.cells_of(k)
    with open_shard(path, k, expected, entry["bytes"]) as file:
        changed = path.stat().st_size != entry["bytes"] or (thoroughly and checksum(path) != entry["sha256"])
        if changed:
            raise DamagedShard(f"{path}: its checksum is not the one in the manifest; some of its bytes have changed")
        there = numbers(file, "cells", "iu")
        if there.shape != cells.shape or not np.array_equal(there[()], cells):
            said = f"{cells[0]} to {cells[-1]}, shard {k} of {expected.shard} cells each"
            raise DamagedShard(f"{path}: its {there.shape[0]} cells are not cells {said}")
        kept = numbers(file, "kept", "iu")
        if kept.shape != (entry["kept"],):
            raise DamagedShard(f"{path}: keeps {kept.shape[0]} cells, the manifest says {entry['kept']}")
        if kept.shape[0] > len(cells) or not _ascending(kept[()], len(cells)):
            raise DamagedShard(f"{path}: kept: not ascending rows from 0 to {len(cells) - 1}")


@contextlib.contextmanager
def open_shard(path: Path, k: int, expected: Expected, size: int = 0) -> Iterator[h5py.File]:
    """A shard for reading, after a look at whether it is one of this recipe; it has at least `size` bytes.

    Whatever HDF5 cannot read of it, then or later, is a `DamagedShard`.
    """
    if not path.exists():
        raise MissingShard(f"{path}: the file is missing; resuming makes it again")
    if not path.is_file():
        raise MissingShard(f"{path}: is a folder, a device or a pipe; allowed: a file")
    if path.stat().st_size < size:
        raise TruncatedShard(f"{path}: truncated, {path.stat().st_size} of {size} bytes")
    with _readable(path), h5py.File(path, "r") as file:
        with _readable(path, ValueError, TypeError):
            _check_origin(file, path, k, expected)
        yield file


@contextlib.contextmanager
def _readable(path: Path, *more: type[Exception]) -> Iterator[None]:
    """Whatever HDF5 raises is a `DamagedShard`; so are `more` errors, which a caller's own work may raise too."""
    try:
        yield
    except ShardError:
        raise
    except (OSError, RuntimeError, KeyError, *more) as error:
        what = " ".join(str(error).split())
        raise DamagedShard(f"{path}: not a readable HDF5 file; some of its bytes have changed ({what})") from None


def numbers(file: h5py.File, name: str, kinds: str, shape: tuple[int | None, ...] = (None,)) -> h5py.Dataset:
    """A data set of a shard: numbers of one of these kinds (numpy's letters) and of this shape (None: any length).

    DamagedShard: there is none, it is another, or it lies in another file.
    """
    path = file.filename
    with _readable(Path(path), ValueError, TypeError):
        parts = name.split("/")
        for n in range(len(parts)):
            link = file.get("/".join(parts[: n + 1]), getlink=True)
            if link is not None and not isinstance(link, h5py.HardLink):
                raise DamagedShard(f"{path}: {name} is a link; allowed: a data set")
        if name not in file:
            raise DamagedShard(f"{path}: has no data set {name}")
        data = file[name]
        if not isinstance(data, h5py.Dataset) or data.is_virtual or data.external:
            raise DamagedShard(f"{path}: {name} is no data set of its own")
        there = data.shape
        fits = there is not None and len(there) == len(shape)
        fits = fits and all(b in (None, a) for a, b in zip(there or (), shape, strict=True))
        if not fits or data.dtype.kind not in kinds:
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            raise DamagedShard(f"{path}: {name} is {data.dtype} of shape {there}; allowed: numbers of shape ({wanted})")
    return data


def _ascending(rows: np.ndarray, n: int) -> bool:
    return rows.size == 0 or bool(rows[0] >= 0 and rows[-1] < n and (np.diff(rows) > 0).all())


def _check_origin(file: h5py.File, path: Path, k: int, expected: Expected) -> None:
    root = Group(file, "", Budget(path.stat().st_size, path))
    found = {x: root.attribute(x) if root.has_attribute(x) else None for x in _KINDS}
    if not all(isinstance(found[x], kind) for x, kind in _KINDS.items() if found[x] is not None):
        raise ForeignSchema(f"{path}: of another schema (its attributes are of other kinds); allowed: {FORMAT!r}")
    if (found["format"], found["format_version"]) != (FORMAT, FORMAT_VERSION):
        said = f"{found['format']!r} version {found['format_version']}"
        raise ForeignSchema(f"{path}: of another schema, {said}; allowed: {FORMAT!r} version {FORMAT_VERSION}")
    if found["recipe"] not in expected.digests or found["shard"] != k:
        said = f"seed {found['seed']}, shard {found['shard']}, recipe {str(found['recipe'])[:12]}"
        wanted = f"seed {expected.recipe.seed}, shard {k}, recipe {expected.digests[0][:12]}"
        raise ForeignRecipe(f"{path}: cells of another recipe ({said}); this dataset has {wanted}")


_KINDS = {"format": str, "format_version": int, "recipe": str, "seed": int, "shard": int}


def write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def checksum(path: Path) -> str:
    """SHA-256 of a file, read piece by piece."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            found.update(piece)
    return found.hexdigest()


def remove_left_parts(folder: Path) -> None:
    """Removes what killed processes left; to be called with the lock. What a process of this machine writes stays."""
    for path in folder.glob("*.part"):
        found = LEFT.fullmatch(path.name)
        if found and not _is_running(found["process"]):
            path.unlink(missing_ok=True)


def holds_something_else(folder: Path) -> bool:
    """Whether a folder without a manifest holds more than what a process leaves that is killed before it wrote one."""
    return any(path.name != LOCK and not LEFT.fullmatch(path.name) for path in folder.iterdir())


def _is_running(process: str | None) -> bool:
    """Whether there is such a process on this machine, and it is not this one."""
    if process is None or int(process) == os.getpid() or os.name != "posix":
        return False
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        pass
    return True
