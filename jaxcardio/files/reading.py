"""The one reader of HDF5 files, whoever wrote them.

    with open_hdf5(path) as file:
        model = file.text("model")                              # attributes, each checked for its kind
        t = file.numbers("t", (None,))                          # a dataset, checked for links, kind, shape and size
        for name in file.group("states").names(): ...

Nothing is believed. Links lead nowhere but within the file, and only hard ones; sizes are looked at before anything is
read, and a file may ask for no more numbers than a few times what it holds (`Budget`); numbers are real and of the
machine's own byte order. Whatever is wrong is a ValueError of one line that names the file and the element.
"""

import contextlib
import functools
import hashlib
import math
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import h5py
import numpy as np
from h5py import h5l, h5o  # pyright: ignore[reportAttributeAccessIssue]

from ..arguments import LONGEST
from ..json_text import parse_object
from .heaps import WHOLE as WHOLE_FILE
from .heaps import Places, check_texts, longest_attribute, longest_text, number_places

SMALLEST_BUDGET = 64 << 20
"""Bytes of numbers (each reckoned as at least `NUMBER`) and text that any file may ask for."""
NUMBER = 8
"""Bytes: what is done with numbers is done in float64."""
EXPANSION = 20
"""A larger file may ask for so many times its own size: no recording is compressed further."""
CHUNK_COST = 1024
"""A chunk is reckoned as at least so many bytes: finding it takes as long as reading them."""
MOST_NAMES = 10_000
"""Of one group."""
MOST_OBJECTS = 30_000
"""Opened in one file."""
DEEPEST = 32
"""Groups within groups."""
LONGEST_TEXT = 32 << 20
"""Bytes of one attribute."""
MOST_ROWS = 100_000
"""Of a table, and of a list of texts."""
LARGEST_CHUNK = 128 << 20
"""Bytes that a chunk may become when it is unpacked to read a part of it."""
PIECE = 16 << 20
"""Bytes that are read at a time from a dataset of any size."""
MOST_PACKED = 1100
"""gzip makes nothing smaller than by this factor."""
FILTERS = {
    h5py.h5z.FILTER_DEFLATE: "gzip",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
}
DIGEST = "digest"
"""Attribute of the root: SHA-256 of the other ones, as they were written (`digest_of`)."""
NUMBERS, FLOATS, WHOLE, TRUTH = "iuf", "f", "iu", "b"
"""Kinds of numbers that a dataset may be asked for, as numpy's letters."""

KINDS = {
    h5py.h5t.STRING: "text",
    h5py.h5t.COMPOUND: "compound values (or complex numbers)",
    h5py.h5t.ENUM: "codes",
    h5py.h5t.REFERENCE: "references",
    h5py.h5t.VLEN: "lists",
    h5py.h5t.ARRAY: "arrays",
    h5py.h5t.OPAQUE: "bytes",
}


class Budget:
    """What a file may still ask for, by the size that it has on the disk."""

    def __init__(
        self,
        size: int,
        path: str | os.PathLike | None = None,
        places: Callable[[], Places] = lambda: [],
    ):
        self.allowed = max(SMALLEST_BUDGET, EXPANSION * size)
        self.size = size
        self.spent = 0
        self.objects = 0
        self.path = path
        self._places = places

    def spend(self, cost: int, what: str) -> None:
        """ValueError: it would be too much."""
        if self.spent + cost > self.allowed:
            before = f" after {_megabytes(self.spent)} of other data" if self.spent >= 2**20 else ""
            raise ValueError(
                f"{what}: {_megabytes(cost)}{before}; allowed: {_megabytes(self.allowed)} for a file of this size"
            )
        self.spent += cost

    @functools.cached_property
    def longest_text(self) -> int:
        """Bytes of a text of variable length, at most: found out when one is first read."""
        return 0 if self.path is None else longest_text(self.path, self._places)

    def longest_attribute(self, name: bytes) -> int:
        """The same of the texts that are attributes of this name."""
        if self.path is None or self.size > WHOLE_FILE:
            return self.longest_text
        found = longest_attribute(self._bytes, name)
        return self.longest_text if found is None else found

    @functools.cached_property
    def _bytes(self) -> bytes:
        with open(self.path or "", "rb") as file:
            data = file.read()
        check_texts(data)
        return data

    def open_one(self, name: str) -> None:
        self.objects += 1
        if self.objects > MOST_OBJECTS:
            raise ValueError(f"{name}: more than {MOST_OBJECTS} groups and datasets; allowed: at most so many")


class _Element:
    """A group or a dataset, and its attributes."""

    def __init__(self, found: Any, name: str, budget: Budget):
        self._found = found
        self.name = name
        """Its path in the file."""
        self._budget = budget

    def has_attribute(self, name: str) -> bool:
        with _at(self._of(name)):
            return name in self._found.attrs

    def attribute(self, name: str) -> Any:
        """One text, number or truth value; anything else, or a missing one, is a ValueError."""
        with _at(self._of(name)):
            if name not in self._found.attrs:
                raise ValueError("missing")
            return _attribute(h5py.h5a.open(self._found.id, name.encode()), self._budget)

    def text(self, name: str) -> str:
        """An attribute that is a text."""
        value = self.attribute(name)
        return value if isinstance(value, str) else self._wrong(name, value, "text")

    def number(self, name: str) -> float:
        """An attribute that is a finite number."""
        value = self.attribute(name)
        if isinstance(value, str | bool) or not np.isfinite(value):
            self._wrong(name, value, "a finite number")
        return float(value)

    def whole(self, name: str) -> int:
        """An attribute that is a whole number."""
        value = self.number(name)
        return int(value) if value == int(value) else self._wrong(name, value, "a whole number")

    def truth(self, name: str) -> bool:
        """An attribute that is true or false."""
        value = self.attribute(name)
        return value if isinstance(value, bool) else self._wrong(name, value, "true or false")

    def json(self, name: str) -> dict[str, Any]:
        """An attribute that is the JSON text of an object."""
        return parse_object(self.text(name), self._of(name))

    @property
    def unit(self) -> str | None:
        """The attribute `unit`, None without one."""
        return self.text("unit") if self.has_attribute("unit") else None

    def _of(self, attribute: str) -> str:
        return f"{self.name}@{attribute}" if self.name else f"attribute {attribute}"

    def _wrong(self, name: str, value: Any, allowed: str) -> NoReturn:
        raise ValueError(f"{self._of(name)} = {_short(value)}; allowed: {allowed}")


class Group(_Element):
    """A group of a file; as a file's root it is the file."""

    _found: h5py.Group

    def names(self) -> list[str]:
        """Of its groups and datasets. ValueError: it has too many, or a link that leads elsewhere."""
        found = self.members()
        for name in found:
            self._check_link(name)
        return found

    def members(self) -> list[str]:
        """As `names`, with those that are links: what they lead to is not opened."""
        with _at(self.name or "the root"):
            if len(self._found) > MOST_NAMES:
                raise ValueError(f"{len(self._found)} names; allowed: at most {MOST_NAMES}")
            return list(self._found)

    def __contains__(self, path: str) -> bool:
        """Whether there is a group or dataset of this name or path. ValueError: a link that leads elsewhere."""
        found = self
        for part in _parts(path):
            if not isinstance(found, Group) or part not in found._found:
                return False
            found = found._open(part)
        return True

    def groups(self) -> list[str]:
        return [name for name in self.names() if isinstance(self._open(name), Group)]

    def datasets(self) -> list[str]:
        return [name for name in self.names() if isinstance(self._open(name), Dataset)]

    def group(self, path: str) -> "Group":
        """The group of this name or path. ValueError: there is none."""
        found = self
        for part in _parts(path):
            inner = found._open(part)
            if not isinstance(inner, Group):
                raise ValueError(f"{inner.name} is a dataset; allowed: a group")
            found = inner
        return found

    def dataset(self, path: str, plugins: bool = False) -> "Dataset":
        """The dataset of this name or path, not read yet. ValueError: there is none, or its data lie elsewhere.

        Args:
            plugins: also one that is compressed in another maker's way, where the user has installed the plugin.
        """
        above, _, name = path.strip("/").rpartition("/")
        group = self.group(above)
        found = group._open(name, plugins) if name else group
        if not isinstance(found, Dataset):
            raise ValueError(f"{found.name or 'the root'} is a group; allowed: a dataset")
        return found

    def numbers(
        self, path: str, shape: tuple[int | None, ...] | None = None, kinds: str = NUMBERS, unit: str | None = None
    ) -> np.ndarray:
        """A dataset, read; see `Dataset.numbers`."""
        return self.dataset(path).numbers(shape, kinds, unit)

    def table(self, path: str) -> dict[str, list[Any]]:
        """A dataset of compound values, one a row: its columns of numbers and texts by name, others left out.

        ValueError: no such dataset, or too large.
        """
        found, name = self._compound_or_text(path)
        with _at(name):
            kind = found.id.get_type()
            if kind.get_class() != h5py.h5t.COMPOUND or found.ndim != 1:
                raise ValueError(
                    f"{found.dtype.kind!r} of shape {found.shape}; allowed: a table, (rows,) of named fields"
                )
            fields = {
                kind.get_member_name(k).decode("utf-8", "replace"): kind.get_member_type(k)
                for k in range(kind.get_nmembers())
            }
            for field, inner in fields.items():
                if inner.get_class() == h5py.h5t.VLEN:  # HDF5 may crash even where such a field is not asked for
                    raise ValueError(f"field {field} of lists; allowed: numbers, texts, and arrays of them")
            columns = {}
            for field, inner in fields.items():
                if inner.get_class() in (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING):
                    self._spend_column(found, inner)
                    columns[field] = _decoded(found.fields(field)[()])
            return columns

    def texts(self, path: str) -> list[str]:
        """A dataset of texts, (rows,) or a single one. ValueError: no such dataset, no texts, or too large."""
        found, name = self._compound_or_text(path)
        with _at(name):
            kind = found.id.get_type()
            if kind.get_class() != h5py.h5t.STRING or found.ndim > 1:
                raise ValueError(f"{found.dtype} of shape {found.shape}; allowed: texts, (rows,)")
            self._spend_column(found, kind)
            return _decoded(np.atleast_1d(np.asarray(found[()], object if kind.is_variable_str() else None)))

    def soft_target(self, name: str) -> str | None:
        """Where the soft link of this name leads within the file, as a path from the root; None where it is none."""
        with _at(self._path(name)):
            if name.encode() not in self._found.id or (
                self._found.id.links.get_info(name.encode()).type != h5l.TYPE_SOFT
            ):
                return None
            target = self._found.id.links.get_val(name.encode()).decode()
        return target if target.startswith("/") else self._path(target)

    def _compound_or_text(self, path: str) -> tuple[h5py.Dataset, str]:
        above, _, last = path.strip("/").rpartition("/")
        group = self.group(above)
        name = group._path(last)
        with _at(name):
            found = group._identifier(last)
            if not isinstance(found, h5py.h5d.DatasetID):
                raise ValueError("a group; allowed: a dataset")
            dataset = h5py.Dataset(found)
            if found.get_space().get_simple_extent_type() == h5py.h5s.NULL:
                raise ValueError("no data")
            _filters(dataset)
            if (size := math.prod(dataset.shape)) > MOST_ROWS:
                raise ValueError(f"{size} rows; allowed: at most {MOST_ROWS}")
        return dataset, name

    def _spend_column(self, found: h5py.Dataset, kind: Any) -> None:
        each = self._budget.longest_text if _is_variable(kind) else max(NUMBER, kind.get_size())
        chunk = math.prod(found.chunks) * found.dtype.itemsize if found.chunks else 0
        size = math.prod(found.shape)
        self._budget.spend(size * each + chunk, f"{size} values of up to {each} bytes")

    def walk(self) -> Iterator["Group"]:
        """This group and every one within it, each once."""
        seen, left = set(), [self]
        while left:
            group = left.pop()
            if group._found in seen:
                continue
            seen.add(group._found)
            yield group
            if group.name.count("/") >= DEEPEST:
                raise ValueError(f"{group.name}: nested too deep; allowed: {DEEPEST} levels")
            left += [inner for name in reversed(group.names()) if isinstance(inner := group._open(name), Group)]

    def _check_link(self, name: str) -> None:
        with _at(self._path(name)):
            kind = self._found.id.links.get_info(name.encode()).type
            if kind != h5l.TYPE_HARD:
                leads = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "a link to another file"}
                raise ValueError(f"{leads.get(kind, 'a link of an unknown kind')}; allowed: data of this file itself")

    def _identifier(self, name: str) -> Any:
        if name not in self._found:
            raise ValueError("not there")
        self._budget.open_one(self._path(name))
        self._check_link(name)
        return h5o.open(self._found.id, name.encode())

    def _open(self, name: str, plugins: bool = False) -> "Group | Dataset":
        path = self._path(name)
        with _at(path):
            found = self._identifier(name)
            if isinstance(found, h5py.h5g.GroupID):
                return Group(h5py.Group(found), path, self._budget)
            if isinstance(found, h5py.h5d.DatasetID):
                return Dataset(h5py.Dataset(found), path, self._budget, plugins)
            raise ValueError("a named type; allowed: a group or a dataset")

    def _path(self, name: str) -> str:
        return f"{self.name}/{name}" if self.name else name


class Dataset(_Element):
    """A dataset of a file: real numbers (or truth values), stored in this file, of a size that it may have."""

    _found: h5py.Dataset

    def __init__(self, found: h5py.Dataset, name: str, budget: Budget, plugins: bool = False):
        super().__init__(found, name, budget)
        with _at(name):
            self.dtype = _dtype(found.id.get_type())
            if found.id.get_space().get_simple_extent_type() == h5py.h5s.NULL:
                raise ValueError("no data")
            self.shape: tuple[int, ...] = found.shape
            """As claimed by the file."""
            self._filters = _filters(found, plugins)
        self._checked = self._fits = self._complete = False

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def numbers(
        self, shape: tuple[int | None, ...] | None = None, kinds: str = NUMBERS, unit: str | None = None
    ) -> np.ndarray:
        """All of it, in the machine's byte order. ValueError: another kind or shape, too large, or damaged.

        Args:
            shape: what it must be; None for a length that may be any.
            kinds: what it may be: of "iufb", whole numbers, unsigned ones, floats and truth values.
            unit: what its attribute `unit` must be, if it has one.
        """
        self._check(shape, kinds)
        if unit is not None and (found := self.unit) not in (None, unit):
            self._wrong("unit", found, unit)
        with _at(self.name):
            self._budget.spend(self._cost(), self._claim())
            self._check_chunks()
            return np.asarray(self._found[()], self.dtype)

    def rows(self, first: int, last: int) -> np.ndarray:
        """Rows first to last (exclusive) of a dataset that as a whole is not too large."""
        with _at(self.name):
            if not self._checked:
                Budget.spend(_like(self._budget), self._cost(), self._claim())
                self._check_chunks()
                self._checked = True
            return np.asarray(self._found[first:last], self.dtype)

    def block(self, rows: Sequence[int], first: int, last: int) -> np.ndarray:
        """Columns first to last (exclusive) of these rows of a dataset (row, column) of any size.

        Only the chunks that hold them are looked at, and no more than `PIECE` bytes or one chunk at a time, so that
        memory is bounded by what is asked for. ValueError: a chunk that was never written, is damaged or too large.
        """
        self.check_stored()
        with _at(self.name):
            found = np.empty((len(rows), max(0, last - first)), self.dtype)
            for places, low, high in self._bands(rows):
                begin = first
                while begin < last:
                    end = min(last, self._piece_end(begin, high - low))
                    self._check_touched(low, begin, end)
                    piece = self._found[low:high, begin:end]
                    for place in places:
                        found[place, begin - first : end - first] = piece[rows[place] - low]
                    begin = end
            return found

    def check_stored(self) -> None:
        """ValueError: no dataset (row, column) that `block` can read, or larger than the file can hold."""
        if not self._fits:
            with _at(self.name):
                self._check_layout()
            self._fits = True

    def _check_layout(self) -> None:
        if len(self.shape) != 2:
            raise ValueError(f"shape {self.shape}; allowed: (row, column)")
        chunk, item = self._found.chunks, self.dtype.itemsize
        if chunk is None:
            if (
                self.size
                and self._found.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
                and self._found.id.get_offset() is None
            ):
                raise ValueError("its numbers were never written")
        elif self._filters and item * math.prod(chunk) > LARGEST_CHUNK:
            raise ValueError(
                f"chunks of {_megabytes(item * math.prod(chunk))}; allowed: <= {_megabytes(LARGEST_CHUNK)}"
            )
        else:
            there = math.prod(-(-n // k) for n, k in zip(self.shape, chunk, strict=True))
            self._complete = self._found.id.get_num_chunks() == there
        if self.size * item > MOST_PACKED * self._budget.size:
            raise ValueError(f"{self._claim()} in a file of {_megabytes(self._budget.size)}; allowed: what fits in it")

    def _bands(self, rows: Sequence[int]) -> list[tuple[list[int], int, int]]:
        """Rows that are read together, those of the same chunks: their places in `rows`, lowest and highest + 1."""
        tall = self._found.chunks[0] if self._found.chunks else 1
        bands: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            bands.setdefault(row // tall, []).append(place)
        return [(places, min(rows[k] for k in places), max(rows[k] for k in places) + 1) for places in bands.values()]

    def _piece_end(self, begin: int, height: int) -> int:
        """Where the piece ends that begins at this column: at the end of a chunk, if that is near enough."""
        long = self._found.chunks[1] if self._found.chunks else 1
        step = max(1, PIECE // (height * self.dtype.itemsize))
        return begin + step if step < long else (begin + step) // long * long

    def _check_touched(self, row: int, begin: int, end: int) -> None:
        """That each chunk of this row and these columns is there, and becomes no more than its size."""
        chunk = self._found.chunks
        if chunk is None or (self._complete and h5py.h5z.FILTER_DEFLATE not in self._filters):
            return
        most = self.dtype.itemsize * math.prod(chunk) + 4
        for column in range(begin // chunk[1] * chunk[1], end, chunk[1]):
            # HDF5's own list of chunks is slow to look into, and wrong for a dataset that grows along its rows.
            try:
                mask, packed = self._found.id.read_direct_chunk((row // chunk[0] * chunk[0], column))
            except (OSError, RuntimeError):
                if self._complete:
                    raise
                raise ValueError(f"columns {column} to {column + chunk[1] - 1} were never written") from None
            self._check_packed(mask, packed, most)

    def _check(self, shape: tuple[int | None, ...] | None, kinds: str) -> None:
        if self.dtype.kind not in kinds:
            words = {"i": "whole numbers", "f": "floating-point numbers", "b": "truth values"}
            allowed = " or ".join(words[k] for k in words if k in kinds)
            raise ValueError(f"{self.name}: of {self.dtype}; allowed: {allowed}")
        if shape is None:
            return
        if len(self.shape) != len(shape) or any(m not in (None, n) for n, m in zip(self.shape, shape, strict=True)):
            wanted = str(tuple("any" if n is None else n for n in shape)).replace("'", "")
            raise ValueError(f"{self.name}: shape {self.shape}; allowed: {wanted}")

    def _claim(self) -> str:
        return f"{self.size} numbers of {self.dtype}"

    def _cost(self) -> int:
        """Bytes that HDF5 goes through to read it: whole chunks, even where little of one is wanted."""
        item, chunk = max(self.dtype.itemsize, NUMBER), self._found.chunks
        if chunk is None:
            return self.size * item
        count, each = 1, item
        for n, k in zip(self.shape, chunk, strict=True):
            count, each = count * -(-int(n) // int(k)), each * int(k)
        return max(self.size * item, count * max(each, CHUNK_COST))

    def _check_chunks(self) -> None:
        """That no compressed chunk becomes more than its size: HDF5 itself would let it grow without bound."""
        if h5py.h5z.FILTER_DEFLATE not in self._filters or not self.size:
            return
        # The chunk as it should be, and the checksum of one that was taken before.
        most = self.dtype.itemsize * math.prod(self._found.chunks or ()) + 4
        for k in range(self._found.id.get_num_chunks()):
            about = self._found.id.get_chunk_info(k)
            if about.size > 2 * most + 64:
                raise ValueError(f"a chunk of {about.size} bytes; allowed: {most}")
            mask, packed = self._found.id.read_direct_chunk(about.chunk_offset)
            self._check_packed(mask, packed, most)

    def _check_packed(self, mask: int, packed: bytes, most: int) -> None:
        """That a chunk as it is stored becomes no more than its size; `mask`: filters that it did not go through."""
        if h5py.h5z.FILTER_DEFLATE not in self._filters:
            return
        if mask & 1 << self._filters.index(h5py.h5z.FILTER_DEFLATE):
            return
        if len(zlib.decompressobj().decompress(packed, most + 1)) > most:
            raise ValueError(f"a gzipped chunk of more than the {most} bytes that it should be")


@contextlib.contextmanager
def open_hdf5(path: str | os.PathLike, what: str | None = None, version: int | None = None) -> Iterator[Group]:
    """The root of an HDF5 file, for reading; within the block every error becomes a ValueError that names the path.

    Args:
        path: of a regular file.
        what: its attribute `format`, if it must have one; then the digest of its attributes is checked too, if there.
        version: its attribute `format_version`.
    """
    with errors_named(path, what):
        size = check_regular(path)
        with h5py.File(path, "r") as file:
            root = Group(file, "", Budget(size, path, functools.partial(number_places, file)))
            if what is not None:
                _check_format(root, what, version)
            yield root


def check_regular(path: str | os.PathLike) -> int:
    """The size of a regular file (bytes). ValueError: it is a folder, a device or a pipe."""
    about = os.stat(path)
    if not stat.S_ISREG(about.st_mode):
        raise ValueError(f"path = {path}: is a folder, a device or a pipe; allowed: a file")
    return about.st_size


@contextlib.contextmanager
def errors_named(path: str | os.PathLike, what: str | None = None) -> Iterator[None]:
    """Every error within becomes a ValueError of one line that names the path; one that does already passes."""
    whole = f"not a whole HDF5 file{f' of a {what}' if what else ''}"
    try:
        yield
    except FileNotFoundError:
        raise ValueError(f"path = {path}: no such file") from None
    except ValueError as error:
        if str(path) in str(error) and str(error) == reason_of(error):
            raise
        if str(path) in str(error):
            raise ValueError(reason_of(error)) from None
        raise ValueError(f"path = {path}: {reason_of(error)}") from None
    except Exception as error:
        raise ValueError(f"path = {path}: {whole} ({reason_of(error)})") from None


def reason_of(error: BaseException) -> str:
    """What an error says, on one line, without HDF5's addresses and times."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, BlockingIOError):
        return error.strerror
    text = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
    text = re.split(r"(?:: time = |, (?:filename|file descriptor|error message|buf|address) = )", text)[0]
    text = text + ")" * (text.count("(") - text.count(")"))
    if not isinstance(error, ValueError | OSError | KeyError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= 2 * LONGEST else f"{text[: 2 * LONGEST]}..."


def digest_of(file: h5py.Group, budget: Budget | None = None) -> str:
    """SHA-256 of the attributes of a file's root but for the digest itself, as hexadecimal digits."""
    digest = hashlib.sha256()
    for name in sorted(file.attrs):
        if name != DIGEST:
            with _at(f"attribute {name}"):
                value = _attribute(h5py.h5a.open(file.id, name.encode()), budget)
                for part in (name, type(value).__name__, str(value)):
                    digest.update(part.encode() + b"\0")
    return digest.hexdigest()


@contextlib.contextmanager
def _at(element: str) -> Iterator[None]:
    """Every error within becomes a ValueError of one line that names the element."""
    try:
        yield
    except Exception as error:
        reason = reason_of(error)
        raise ValueError(reason if reason.startswith(element) else f"{element}: {reason}") from None


def _check_format(root: Group, what: str, version: int | None) -> None:
    found = root.attribute("format") if root.has_attribute("format") else None
    if found != what:
        raise ValueError(f"an HDF5 file, but not a {what}")
    if version is not None and root.whole("format_version") != version:
        raise ValueError(f"format version {root.whole('format_version')}; allowed: {version}")
    if len(root._found.attrs) > MOST_NAMES:
        raise ValueError(f"{len(root._found.attrs)} attributes; allowed: at most {MOST_NAMES}")
    if root.has_attribute(DIGEST) and root.text(DIGEST) != digest_of(root._found, root._budget):
        raise ValueError(f"its attributes are not those that were written (attribute {DIGEST}): damaged, or edited")


def _attribute(found: h5py.h5a.AttrID, budget: Budget | None) -> str | bool | int | float:
    """One text, truth value or real number."""
    kind = found.get_type()
    if found.get_space().get_select_npoints() != 1:
        raise ValueError(f"{found.get_space().get_select_npoints()} values; allowed: one")
    if kind.get_class() != h5py.h5t.STRING:
        dtype = _dtype(kind)
        value = np.empty(found.shape, dtype)
        found.read(value, mtype=h5py.h5t.py_create(dtype))
        return value.item()
    claimed = kind.get_size()
    if kind.is_variable_str():
        claimed = 0 if budget is None else budget.longest_attribute(found.name)
    if claimed > LONGEST_TEXT:
        raise ValueError(
            f"a text of up to {claimed} bytes; allowed: {LONGEST_TEXT} (or the file has a virtual dataset, which looks "
            "like one; allowed: data of this file itself)"
        )
    value = np.empty(found.shape, found.dtype)
    found.read(value)
    raw: Any = value.item()
    if budget is not None:
        budget.spend(len(raw), f"a text of {len(raw)} bytes")
    return raw.decode() if isinstance(raw, bytes) else raw


def _dtype(kind: h5py.h5t.TypeID) -> np.dtype:
    """Of numbers or truth values, in the machine's byte order."""
    known = kind.get_class()
    if known == h5py.h5t.ENUM and kind.get_nmembers() == 2 and kind.dtype == np.bool_:
        return np.dtype(bool)
    if known not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT):
        raise ValueError(f"{KINDS.get(known, 'values of an unknown kind')}; allowed: numbers")
    dtype = kind.dtype
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ValueError(f"numbers of {8 * dtype.itemsize} bits; allowed: at most 64")
    return dtype.newbyteorder("=")


def _filters(found: h5py.Dataset, plugins: bool = False) -> list[int]:
    """Of a dataset whose data are in this file, and can be read without anything beside HDF5 (or its plugins)."""
    made = found.id.get_create_plist()
    if made.get_layout() == h5py.h5d.VIRTUAL:
        raise ValueError("a virtual dataset; allowed: data of this file itself")
    if made.get_external_count():
        raise ValueError("its data are in another file; allowed: data of this file itself")
    filters = [made.get_filter(k)[0] for k in range(made.get_nfilters())]
    unknown = [f for f in filters if f not in FILTERS]
    missing = [f for f in unknown if plugins and not h5py.h5z.filter_avail(f)]
    if missing:
        raise ValueError(
            f"compressed by HDF5 filter {missing[0]}, whose plugin is not found; install the library that the maker of "
            "the recording system gives for it, and set HDF5_PLUGIN_PATH to its folder"
        )
    unknown = [] if plugins else unknown
    if unknown or len(set(filters)) < len(filters):
        raise ValueError(f"filters {filters}; allowed: {', '.join(FILTERS.values())}, each once")
    return filters


def _is_variable(kind: Any) -> bool:
    return kind.get_class() == h5py.h5t.STRING and kind.is_variable_str()


def _decoded(values: np.ndarray) -> list[Any]:
    """Numbers as they are; texts without what fills them up."""
    found = values.tolist()
    return [x.decode("utf-8", "replace").strip("\0 ") if isinstance(x, bytes) else x for x in found]


def _like(budget: Budget) -> Budget:
    """As much as this file may ask for, nothing spent yet."""
    fresh = Budget(0)
    fresh.allowed = budget.allowed
    return fresh


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.3g} MB" if size >= 2**20 else f"{size} bytes"


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
