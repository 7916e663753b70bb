"""Datasets of simulated cells on disk: made by any number of processes, resumed after any end, read in batches.

A folder holds `manifest.json` and shards of equal numbers of cells. The manifest says how the cells are made (its
`Recipe`), and of every finished shard its size, its checksum and how many cells it keeps.
"""

import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from ..arguments import check, check_whole, typed
from ..files.records import versions
from ..progress import progress_bar
from .recipe import Batch, Recipe
from .shards import (
    FORMAT,
    FORMAT_VERSION,
    ForeignRecipe,
    ForeignSchema,
    MissingShard,
    ShardError,
    check_shard,
    locked,
    open_shard,
    shard_path,
    write_json,
    write_shard,
)
from .viability import REASONS

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
    _begin(folder, recipe, shard)
    dataset = Dataset(folder)
    missing = dataset.missing()
    for k in missing:  # a shard that was finished just before a kill is not in the manifest; any other file is foreign
        if shard_path(folder, k).exists():
            with open_shard(shard_path(folder, k), k, recipe):
                pass
    mine = missing[jax.process_index() :: jax.process_count()]
    total = sum(len(dataset.cells_of(k)) for k in mine)
    report = progress_bar(f"{total} cells", total, "cells") if progress is True else progress or (lambda done: None)
    done = 0
    for k in mine:
        cells = dataset.cells_of(k)
        made = recipe.make(cells, lambda part, n=len(cells), done=done: report((done + n * part) / total), **where)
        entry = write_shard(shard_path(folder, k), k, made, recipe)
        with locked(folder):
            manifest = _read_manifest(folder)
            manifest["shards"][f"{k:05d}"] = entry
            write_json(folder / "manifest.json", manifest)
        done += len(cells)
    return Dataset(folder)


class Dataset:
    """A dataset on disk, finished or not.

    Attributes:
        folder: where it is.
        recipe: how its cells are made.
        shard: cells in a shard.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        manifest = _read_manifest(self.folder)
        self.recipe = Recipe.from_json(manifest["recipe"])
        self.shard: int = manifest["shard"]
        self._entries: dict[int, dict[str, Any]] = {int(k): x for k, x in manifest["shards"].items()}
        for k, entry in sorted(self._entries.items()):
            try:
                check_shard(shard_path(self.folder, k), k, self.recipe, entry)
            except MissingShard:
                del self._entries[k]

    @property
    def ts(self) -> Float[np.ndarray, " time"]:
        """Times of the samples, ms."""
        return self.recipe.ts

    def cells_of(self, k: int) -> Int[np.ndarray, " n"]:
        """The cells of shard k, kept or not."""
        return np.arange(k * self.shard, min((k + 1) * self.shard, self.recipe.n))

    def missing(self) -> list[int]:
        """The shards that are still to be made."""
        return [k for k in range(math.ceil(self.recipe.n / self.shard)) if k not in self._entries]

    @property
    def kept(self) -> Int[np.ndarray, " kept"]:
        """The indices of the cells that are kept, ascending."""
        parts = [self._table(k, "cells")[self._table(k, "kept")] for k in sorted(self._entries)]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def table(self, name: str) -> np.ndarray:
        """A quantity of every cell made so far, kept or not: "cells", "theta", "reasons", "status", a biomarker."""
        known = ("cells", "theta", "reasons", "status")
        if not self._entries:
            raise ValueError(f"{self.folder}: no shard is finished yet")
        path = name if name in known else f"biomarkers/{name}"
        try:
            return np.concatenate([self._table(k, path) for k in sorted(self._entries)])
        except KeyError:
            raise ValueError(f"name = {name!r}; allowed: {', '.join(known)}, or a biomarker of the screening") from None

    def read(self, indices: Sequence[int] | np.ndarray) -> Batch:
        """These cells, in this order. A cell that is not kept, or not made yet, is a ValueError that says why."""
        wanted = np.asarray(indices)
        if wanted.ndim != 1 or not np.issubdtype(wanted.dtype, np.integer):
            raise ValueError(f"indices: expected whole numbers of shape (n,), got {wanted.dtype}, shape {wanted.shape}")
        batch = self._empty(len(wanted))
        for k in np.unique(wanted // self.shard).tolist():
            places = np.flatnonzero(wanted // self.shard == k)
            if k not in self._entries:
                raise ValueError(f"indices: cell {wanted[places[0]]} is not made yet, or not of this dataset")
            with open_shard(shard_path(self.folder, k), k, self.recipe) as file:
                rows, inverse = np.unique(wanted[places] - k * self.shard, return_inverse=True)
                kept: Any = file["kept"][()]  # pyright: ignore[reportIndexIssue]
                lost = ~np.isin(rows, kept)
                if lost.any():
                    reasons: Any = file["reasons"][()]  # pyright: ignore[reportIndexIssue]
                    row = rows[lost][0]
                    why = [text for r, text in REASONS.items() if reasons[row] & int(r)]
                    raise ValueError(f"indices: cell {row + k * self.shard} is not kept ({', '.join(why)})")
                _copy(file, rows, np.searchsorted(kept, rows), inverse, batch, places)
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
        """
        check_whole("size", size, "cells")
        check_whole("epochs", epochs, "times")
        check("memory", memory, "bytes", "> 0", lambda x: x > 0)
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
        reasons = self.table("reasons") if self._entries else np.zeros(0, np.int64)
        kept = sum(x["kept"] for x in self._entries.values())
        size = sum(x["bytes"] for x in self._entries.values())
        return {
            "cells": self.recipe.n,
            "made": len(reasons),
            "kept": kept,
            "dropped": {text: int(((reasons & int(r)) != 0).sum()) for r, text in REASONS.items()},
            "samples": len(self.ts),
            "parameters": len(self.recipe.parameters),
            "shards": f"{len(self._entries)} of {math.ceil(self.recipe.n / self.shard)}",
            "bytes": size,
            "bytes_per_kept_cell": size / kept if kept else float("nan"),
        }

    def _table(self, k: int, name: str) -> Any:
        with open_shard(shard_path(self.folder, k), k, self.recipe) as file:
            return file[name][()]  # pyright: ignore[reportIndexIssue]

    def _empty(self, n: int) -> Batch:
        shape, dtype = (n, len(self.ts)), self.recipe.dtype
        outputs = {name: np.empty(shape, dtype) for name in self.recipe.outputs}
        return Batch(np.empty(n, np.int64), np.empty((n, len(self.recipe.parameters))), outputs)


@typed
def problems(folder: str | Path, progress: bool | Callable[[float], None] = False) -> list[ShardError]:
    """Reads every byte of every shard of a dataset; what is wrong with each, or nothing. Nothing is changed."""
    folder = Path(folder)
    manifest = _read_manifest(folder)
    recipe, entries = Recipe.from_json(manifest["recipe"]), manifest["shards"]
    report = progress_bar("verify") if progress is True else progress or (lambda done: None)
    found: list[ShardError] = []
    for done, (k, entry) in enumerate(sorted(entries.items()), 1):
        try:
            check_shard(shard_path(folder, int(k)), int(k), recipe, entry, thoroughly=True)
        except ShardError as error:
            found.append(error)
        report(done / len(entries))
    return found


def _copy(file, rows, kept, inverse, batch: Batch, places) -> None:
    """Fills places of a batch: ascending rows of the tables, and the rows of the outputs that belong to them."""
    batch.theta[places] = _rows(file["theta"], rows)[inverse]
    for name, values in batch.outputs.items():
        values[places] = _rows(file[f"outputs/{name}"], kept)[inverse]


def _rows(table: Any, rows: Int[np.ndarray, " n"]) -> np.ndarray:
    """These ascending rows, neighbours in one read: choosing single rows in HDF5 is many times slower."""
    stretches = np.split(rows, np.flatnonzero(np.diff(rows) > BLOCK) + 1)
    return np.concatenate([table[x[0] : x[-1] + 1][x - x[0]] for x in stretches])


def _begin(folder: Path, recipe: Recipe, shard: int) -> None:
    """Writes the manifest, or makes sure that the one there is of the same recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe._check_precision()
    with locked(folder):
        if not (folder / "manifest.json").exists():
            content = {"format": FORMAT, "format_version": FORMAT_VERSION, "recipe": recipe.to_json(), "shard": shard}
            write_json(folder / "manifest.json", {**content, "versions": versions(), "shards": {}})
            return
        manifest = _read_manifest(folder)
    there, asked = manifest["recipe"], json.loads(json.dumps(recipe.to_json()))
    differing = [f"{k} = {there.get(k)!r} there, {asked[k]!r} asked for" for k in asked if there.get(k) != asked[k]]
    if manifest["shard"] != shard:
        differing.append(f"shard = {manifest['shard']} there, {shard} asked for")
    if differing:
        raise ForeignRecipe(f"{folder}: holds a dataset of another recipe: {'; '.join(differing)}")
    if manifest["versions"] != versions():
        warnings.warn(
            f"{folder}: begun with {manifest['versions']}, resumed with {versions()}: cells may differ by rounding",
            stacklevel=3,
        )


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"folder = {folder}: no dataset there (it has no manifest.json)") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a manifest ({error})") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ForeignSchema(f"{path}: not the manifest of a {FORMAT}")
    if manifest["format_version"] != FORMAT_VERSION:
        found = manifest["format_version"]
        raise ForeignSchema(f"{path}: of another schema, version {found}; allowed: {FORMAT_VERSION}")
    return manifest
