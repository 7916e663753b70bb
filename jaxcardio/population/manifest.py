"""The manifest of a dataset: how its cells are made, and what every finished shard is. Distrusted when read."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from ..json_text import parse, read_bytes
from .recipe import Recipe, digest_of, text_digest_of
from .shards import FORMAT, FORMAT_VERSION, Expected, ForeignSchema, ShardError, write_json

NAME = "manifest.json"
MOST_SHARDS = 100_000
"""Files of one folder; more are slow to work with, and no manifest is to ask for any number of them."""
KINDS = {"bytes": int, "sha256": str, "kept": int}
"""What is said of a shard."""


class Manifest(NamedTuple):
    """A manifest, read and checked."""

    written: dict[str, Any]
    """As it is in the file."""
    recipe: Recipe
    shard: int
    """Cells in a shard."""
    entries: dict[int, dict[str, Any]]
    """Of every finished shard its `bytes`, `sha256` and `kept` cells."""

    @property
    def expected(self) -> Expected:
        """What its shards must be. Those of earlier versions say the digest of the text of the recipe."""
        written = self.written["recipe"]
        return Expected(self.recipe, self.shard, (digest_of(written), text_digest_of(written)))


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Writes the manifest with a digest of what never changes in it: all but versions and finished shards."""
    write_json(folder / NAME, content | {"digest": _digest(content)})


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder. ShardError (a ValueError): it is no whole one, or was changed; it names the file."""
    path = folder / NAME
    written = _parsed(folder, path)
    if not isinstance(written, dict) or written.get("format") != FORMAT:
        raise ForeignSchema(f"{path}: not the manifest of a {FORMAT}")
    if (found := written.get("format_version")) != FORMAT_VERSION:
        raise ForeignSchema(f"{path}: of another schema, version {_short(found)}; allowed: {FORMAT_VERSION}")
    for name in ("recipe", "shards"):
        if not isinstance(written.get(name), dict):
            raise ShardError(f"{path}: {name} = {_short(written.get(name))}; allowed: an object")
    if not _is_whole(written.get("shard"), least=1):
        raise ShardError(f"{path}: shard = {_short(written.get('shard'))} cells; allowed: a whole number >= 1")
    if written.get("digest", _digest(written)) != _digest(written):
        raise ShardError(f"{path}: has been changed: its recipe or its shard are not those of its digest")
    try:
        recipe = Recipe.from_json(written["recipe"])
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise ShardError(f"{path}: recipe: {_line(error)}") from None
    count = count_shards(recipe.n, written["shard"], f"{path}: ")
    entries = {_number(path, name, count): _checked(path, name, entry) for name, entry in written["shards"].items()}
    return Manifest(written, recipe, written["shard"], entries)


def count_shards(n: int, shard: int, where: str = "") -> int:
    """How many shards n cells take. ValueError: more than `MOST_SHARDS`."""
    count = -(-n // shard)
    if count > MOST_SHARDS:
        least = -(-n // MOST_SHARDS)
        raise ShardError(f"{where}shard = {shard} cells: {count} files for {n} cells; allowed: {least} cells or more")
    return count


def _parsed(folder: Path, path: Path) -> Any:
    if not os.path.lexists(path):
        there = os.path.lexists(folder) and not os.path.isdir(folder)
        wrong = "is a file; allowed: a folder" if there else f"no dataset there (it has no {NAME})"
        raise ValueError(f"folder = {folder}: {wrong}")
    try:
        return parse(read_bytes(path, "manifest"), f"{path}: not a manifest")
    except ValueError as error:
        raise ShardError(str(error)) from None


def _number(path: Path, name: str, count: int) -> int:
    """The shard of an entry."""
    if not (name.isascii() and name.isdigit() and len(name) < 19 and int(name) < count and name == f"{int(name):05d}"):
        raise ShardError(f"{path}: shards: {_short(name)}; allowed: 00000 to {count - 1:05d}")
    return int(name)


def _checked(path: Path, name: str, entry: Any) -> dict[str, Any]:
    for key, kind in KINDS.items():
        value = entry.get(key) if isinstance(entry, dict) else None
        if not (_is_whole(value) if kind is int else isinstance(value, kind)):
            allowed = "a whole number >= 0" if kind is int else "a text"
            raise ShardError(f"{path}: shards: {name}: {key} = {_short(value)}; allowed: {allowed}")
    return entry


def _is_whole(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _digest(content: dict[str, Any]) -> str:
    fixed = {k: content[k] for k in ("recipe", "shard")}
    return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()


def _line(error: BaseException) -> str:
    said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return _short(" ".join(said.split()), quoted=False)


def _short(value: Any, quoted: bool = True, most: int = 300) -> str:
    text = repr(value) if quoted else value
    return text if len(text) <= most else f"{text[:most]}..."
