"""Datasets of simulated cells on disk: made by any number of processes, resumed after any end, read in batches.

A folder holds `manifest.json` and shards of equal numbers of cells. The manifest says how the cells are made (its
`Recipe`), and of every finished shard its size, its checksum and how many cells it keeps.
"""

import contextlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from ..annotations import typed
from ..arguments import check, check_whole
from ..files.locking import LOCK, locked
from ..files.records import versions
from ..progress import progress_bar
from .manifest import NAME as MANIFEST
from .manifest import Manifest, count_shards, read_manifest, write_manifest
from .recipe import Batch, Recipe, in_its_precision
from .shards import (
    FORMAT,
    FORMAT_VERSION,
    DamagedShard,
    ForeignRecipe,
    MissingShard,
    ShardError,
    check_shard,
    numbers,
    open_shard,
    remove_left_parts,
    shard_path,
    write_shard,
)
from .viability import REASONS, UNITS

SHARD = 1024
"""Cells in a shard: what an interruption can cost."""
MEMORY = 256 * 2**20
"""Bytes that a reader keeps by default."""
BLOCK = 32
"""Neighbouring cells that are read together."""


@typed
def make_dataset(
    folder: str | Path,
    recipe: Recipe,
    *,
    shard: int = SHARD,
    progress: bool | Callable[[float], None] = False,
    **where,
) -> "Dataset":
    """Makes a dataset, or what is missing of it: a run that was interrupted or killed goes on where it was.

    The finished dataset does not depend on interruptions, and holds the same cells for any `shard`. Under
    `jax.distributed` every process makes its own shards, on its own devices; all of them return when theirs are done.

    Args:
        folder: made if need be; on a file system that all processes share.
        recipe: what to make.
        shard: cells in a file; at most as many are made again after an interruption.
        progress: True for a bar on stderr, or a function of the fraction done, of this process's part.
        where: `chunk` and `devices`, as for `population.simulate`.

    Raises:
        ValueError: the folder holds a dataset of another recipe.
        ShardError: a file of it is damaged or foreign. Nothing is overwritten.
    """
    folder = Path(folder)
    check_whole("shard", shard, "cells")
    count_shards(recipe.n, shard)
    recipe._check_precision()
    if os.path.exists(folder / MANIFEST):  # not worth waiting for, if it is another dataset
        _check_same(folder, read_manifest(folder), recipe, shard)
    is_new = not os.path.lexists(folder)
    alone = jax.process_count() == 1
    with locked(folder) if alone else contextlib.nullcontext():
        begun = _begin(folder, recipe, shard, alone)
        try:
            _make_missing(folder, recipe, alone, progress, where)
        except ValueError:
            # Some wrong arguments show only when the first cells run: what was not there before is not there after.
            if begun and alone and not any(folder.glob("shard-*.h5")):
                _undo(folder, is_new)
            raise
    return Dataset(folder)


def _make_missing(folder: Path, recipe: Recipe, alone: bool, progress, where: dict[str, Any]) -> None:
    dataset = Dataset(folder)
    missing = dataset.missing()
    for k in missing:  # a shard that was finished just before a kill is not in the manifest; any other file is foreign
        if os.path.lexists(shard_path(folder, k)):
            with open_shard(shard_path(folder, k), k, dataset.expected):
                pass
    mine = missing[jax.process_index() :: jax.process_count()]
    total = sum(len(dataset.cells_of(k)) for k in mine)
    report = progress_bar(f"{total} cells", total, "cells") if progress is True else progress or (lambda done: None)
    done = 0
    for k in mine:
        cells = dataset.cells_of(k)
        made = recipe.make(cells, lambda part, n=len(cells), done=done: report((done + n * part) / total), **where)
        entry = write_shard(shard_path(folder, k), k, made, recipe)
        with contextlib.nullcontext() if alone else locked(folder):
            written = read_manifest(folder).written
            written["shards"][f"{k:05d}"] = entry
            write_manifest(folder, written)
        done += len(cells)


class Dataset:
    """A dataset on disk, finished or not.

    Attributes:
        folder: where it is.
        recipe: how its cells are made.
        shard: cells in a shard.
        expected: what its shards must be.
        lost: of every shard that was finished and is not there any more, the error that says so. With one lost, only
            `read` of other cells, `missing` and `info` work; resuming makes it again.

    ShardError (a ValueError): the manifest, or a shard, is not what was written; it names the file.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        manifest = read_manifest(self.folder)
        self.recipe = manifest.recipe
        self.shard = manifest.shard
        self.expected = manifest.expected
        self.lost: dict[int, MissingShard] = {}
        self._entries = dict(sorted(manifest.entries.items()))
        for k, entry in list(self._entries.items()):
            try:
                check_shard(shard_path(self.folder, k), k, self.expected, entry)
            except MissingShard as error:
                self.lost[k] = error
                del self._entries[k]

    @property
    def ts(self) -> Float[np.ndarray, " time"]:
        """Times of the samples, ms."""
        return self.recipe.ts

    def cells_of(self, k: int) -> Int[np.ndarray, " n"]:
        """The cells of shard k, kept or not."""
        return self.expected.cells_of(k)

    def missing(self) -> list[int]:
        """The shards that are still to be made, those that were lost among them."""
        return [k for k in range(count_shards(self.recipe.n, self.shard)) if k not in self._entries]

    @property
    def kept(self) -> Int[np.ndarray, " kept"]:
        """The indices of the cells that are kept, ascending. MissingShard: one was lost."""
        self._check_lost()
        parts = [self.cells_of(k)[self._table(k, "kept", "iu")] for k in self._entries]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def table(self, name: str) -> np.ndarray:
        """A quantity of every cell made so far, kept or not: "cells", "theta", "reasons", "status", a biomarker.

        MissingShard: one was lost.
        """
        known = {"cells": "iu", "theta": "f", "reasons": "iu", "status": "iu"}
        if name not in known and (name not in UNITS or self.recipe.rules is None):
            raise ValueError(f"name = {name!r}; allowed: {', '.join(known)}, or a biomarker of the screening")
        self._check_lost()
        if not self._entries:
            raise ValueError(f"{self.folder}: no shard is finished yet")
        path = name if name in known else f"biomarkers/{name}"
        return np.concatenate([self._table(k, path, known.get(name, "iufb")) for k in self._entries])

    def read(self, indices: Sequence[int] | np.ndarray) -> Batch:
        """These cells, in this order. A cell that is not kept, or not made yet, is a ValueError that says why."""
        wanted = np.asarray(indices)
        if wanted.ndim != 1 or not np.issubdtype(wanted.dtype, np.integer):
            raise ValueError(f"indices: expected whole numbers of shape (n,), got {wanted.dtype}, shape {wanted.shape}")
        batch = self._empty(len(wanted))
        for k in np.unique(wanted // self.shard).tolist():
            places = np.flatnonzero(wanted // self.shard == k)
            if k in self.lost:
                raise self.lost[k]
            if k not in self._entries:
                cell = f"cell {wanted[places[0]]} is not made yet, or not of this dataset"
                raise ValueError(f"indices: {cell} ({self._made()} of its {self.recipe.n} cells are made)")
            with open_shard(shard_path(self.folder, k), k, self.expected) as file:
                rows, inverse = np.unique(wanted[places] - k * self.shard, return_inverse=True)
                kept = numbers(file, "kept", "iu")[()]
                dropped = ~np.isin(rows, kept)
                if dropped.any():
                    reasons = numbers(file, "reasons", "iu", (len(self.cells_of(k)),))[()]
                    row = rows[dropped][0]
                    why = [text for r, text in REASONS.items() if reasons[row] & int(r)]
                    raise ValueError(f"indices: cell {row + k * self.shard} is not kept ({', '.join(why)})")
                self._copy(file, k, rows, np.searchsorted(kept, rows), len(kept), inverse, batch, places)
        return batch._replace(cells=wanted)

    def batches(
        self,
        size: int,
        *,
        seed: int,
        epochs: int = 1,
        among: Sequence[int] | np.ndarray | None = None,
        memory: int = MEMORY,
        partial: bool = True,
    ) -> Iterator[Batch]:
        """Batches of kept cells in random order, read as they are needed.

        Blocks of `BLOCK` neighbours are read in random order into a buffer, and mixed there. The order is a function
        of seed and epoch.

        Args:
            size: cells in a batch.
            seed: of the order.
            epochs: times that each cell is seen.
            among: which cells, e.g. the training part; default all that are kept.
            memory: bytes that the buffer may take, besides one batch.
            partial: whether the last batch of an epoch may be smaller; else those cells are left out.

        MissingShard: a shard was lost. Of a dataset that is not finished yet a warning says how many cells there are.
        """
        check_whole("size", size, "cells")
        check_whole("epochs", epochs, "times")
        check("memory", memory, "bytes", "> 0", lambda x: x > 0)
        if among is None and self.missing() and not self.lost:
            warnings.warn(
                f"{self.folder}: not finished, {self._made()} of its {self.recipe.n} cells are made", stacklevel=2
            )
        index = self.kept if among is None else np.unique(np.asarray(among))
        blocks = np.split(index, np.flatnonzero(np.diff(index // BLOCK)) + 1)
        per_cell = sum(np.dtype(self.recipe.dtype).itemsize * len(self.ts) for _ in self.recipe.outputs)
        at_once = max(1, memory // (2 * BLOCK * per_cell))  # the buffer, and its mixed copy
        for epoch in range(epochs):
            random = np.random.default_rng((seed, epoch))
            order = random.permutation(len(blocks))
            left = self._empty(0)
            for begin in range(0, len(order), at_once):
                some = self.read(np.concatenate([blocks[b] for b in order[begin : begin + at_once]]))
                mixed = random.permutation(len(some.cells))
                left = jax.tree.map(lambda a, b, mixed=mixed: np.concatenate([a, b[mixed]]), left, some)
                whole = len(left.cells) // size * size
                for start in range(0, whole, size):
                    yield jax.tree.map(lambda x, start=start: x[start : start + size].copy(), left)
                left = jax.tree.map(lambda x, whole=whole: x[whole:].copy(), left)
            if partial and len(left.cells):
                yield left

    def info(self) -> dict[str, Any]:
        """What there is: cells, kept cells, reasons against the others, bytes."""
        parts = [self._table(k, "reasons", "iu") for k in self._entries]
        reasons = np.concatenate([np.zeros(0, np.int64), *parts])
        kept = sum(x["kept"] for x in self._entries.values())
        size = sum(x["bytes"] for x in self._entries.values())
        return {
            "cells": self.recipe.n,
            "made": len(reasons),
            "kept": kept,
            "dropped": {text: int(((reasons & int(r)) != 0).sum()) for r, text in REASONS.items()},
            "samples": len(self.ts),
            "parameters": len(self.recipe.parameters),
            "shards": f"{len(self._entries)} of {count_shards(self.recipe.n, self.shard)}",
            "lost": len(self.lost),
            "bytes": size,
            "bytes_per_kept_cell": size / kept if kept else float("nan"),
        }

    def _made(self) -> int:
        """Cells that are made and there."""
        return sum(len(self.cells_of(k)) for k in self._entries)

    def _check_lost(self) -> None:
        for error in self.lost.values():
            raise error

    def _table(self, k: int, name: str, kinds: str) -> np.ndarray:
        n = self._entries[k]["kept"] if name == "kept" else len(self.cells_of(k))
        shape = (n, len(self.recipe.parameters)) if name == "theta" else (n,)
        with open_shard(shard_path(self.folder, k), k, self.expected) as file:
            return numbers(file, name, kinds, shape)[()]

    def _copy(self, file, k: int, rows, kept_rows, n_kept: int, inverse, batch: Batch, places) -> None:
        """Fills places of a batch: ascending rows of the tables, and the rows of the outputs that belong to them."""
        theta = numbers(file, "theta", "f", (len(self.cells_of(k)), len(self.recipe.parameters)))
        batch.theta[places] = _finite(file, "theta", _rows(theta, rows))[inverse]
        for name, values in batch.outputs.items():
            data = numbers(file, f"outputs/{name}", "f", (n_kept, len(self.ts)))
            if data.dtype.newbyteorder("=") != values.dtype:
                raise DamagedShard(f"{file.filename}: {data.name} is {data.dtype}; allowed: {values.dtype}")
            values[places] = _finite(file, f"outputs/{name}", _rows(data, kept_rows))[inverse]

    def _empty(self, n: int) -> Batch:
        shape, dtype = (n, len(self.ts)), self.recipe.dtype
        outputs = {name: np.empty(shape, dtype) for name in self.recipe.outputs}
        return Batch(np.empty(n, np.int64), np.empty((n, len(self.recipe.parameters))), outputs)


@typed
def problems(folder: str | Path, progress: bool | Callable[[float], None] = False) -> list[ShardError]:
    """Reads every byte of every shard of a dataset; what is wrong with each, or nothing. Nothing is changed."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    entries, expected = sorted(manifest.entries.items()), manifest.expected
    report = progress_bar("verify") if progress is True else progress or (lambda done: None)
    found: list[ShardError] = []
    for done, (k, entry) in enumerate(entries, 1):
        try:
            check_shard(shard_path(folder, k), k, expected, entry, thoroughly=True)
        except ShardError as error:
            found.append(error)
        report(done / len(entries))
    return found


def _finite(file: Any, name: str, values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise DamagedShard(f"{file.filename}: {name}: not finite; allowed: finite numbers of cells that are kept")
    return values


def _rows(table: Any, rows: Int[np.ndarray, " n"]) -> np.ndarray:
    """These ascending rows, neighbours in one read: choosing single rows in HDF5 is many times slower."""
    stretches = np.split(rows, np.flatnonzero(np.diff(rows) > BLOCK) + 1)
    return np.concatenate([table[x[0] : x[-1] + 1][x - x[0]] for x in stretches])


def _begin(folder: Path, recipe: Recipe, shard: int, alone: bool) -> bool:
    """Writes the manifest, or makes sure that the one there is of the same recipe; whether it was written."""
    with contextlib.nullcontext() if alone else locked(folder):
        if alone:
            remove_left_parts(folder)
        if not (folder / MANIFEST).exists():
            content = {"format": FORMAT, "format_version": FORMAT_VERSION, "recipe": recipe.to_json(), "shard": shard}
            write_manifest(folder, {**content, "versions": versions(), "shards": {}})
            return True
        manifest = read_manifest(folder)
    _check_same(folder, manifest, recipe, shard)
    if manifest.written.get("versions") != versions():
        there = f"begun with {manifest.written.get('versions')}, resumed with {versions()}"
        warnings.warn(f"{folder}: {there}: cells may differ by rounding", stacklevel=3)
    return False


def _check_same(folder: Path, manifest: Manifest, recipe: Recipe, shard: int) -> None:
    there, asked = (in_its_precision(x) for x in (manifest.written["recipe"], json.loads(json.dumps(recipe.to_json()))))
    differing = [f"{k} = {there.get(k)!r} there, {asked[k]!r} asked for" for k in asked if there.get(k) != asked[k]]
    if manifest.shard != shard:
        differing.append(f"shard = {manifest.shard} there, {shard} asked for")
    if differing:
        raise ForeignRecipe(f"{folder}: holds a dataset of another recipe: {'; '.join(differing)}")


def _undo(folder: Path, is_new: bool) -> None:
    """Removes what `_begin` made; the lock last, so that whoever waits for it begins anew."""
    with contextlib.suppress(OSError):  # another process has begun in it; or a system that removes no open files
        for name in (MANIFEST, LOCK):
            (folder / name).unlink(missing_ok=True)
        if is_new:
            folder.rmdir()
