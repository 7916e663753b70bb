"""The one place that writes files: whole or not at all, so that no run that fails costs the result of an earlier one.

A file is written beside its target, made sure of on the disk, and renamed. What a killed process leaves is called
`NAME.PROCESS-RANDOM.part`: nothing reads it, and a later run that writes the same file removes it after a day.
"""

import contextlib
import csv
import errno
import io
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import h5py
import numpy as np

from ..arguments import refusal
from .reading import DIGEST, digest_of, open_hdf5

Result = TypeVar("Result")
Where = str | os.PathLike[str]

LEFT = re.compile(r"\.\d+-[0-9a-f]{8}\.part")
"""How the name of a temporary file ends."""
FORGOTTEN = 24 * 3600.0
"""A temporary file that nothing has changed for so many seconds was left by a process that is gone."""
LONGEST_NAME = 200
"""Bytes of a name beyond which its temporary file has the beginning of it only: a name has at most 255."""
LIBVER = ("v110", "v110")
"""HDF5's format of new files: the first whose own structures all carry checksums."""
CHUNK = 2**20
"""Bytes of an HDF5 data set that share a checksum: no more than what HDF5 keeps of one in memory."""


def write_whole(path: Where, write: Callable[[Path], Result]) -> Result:
    """Writes a file whole or not at all: whoever looks sees the earlier one or the new one, whatever happens.

    Args:
        path: the file. A symbolic link stays one, and what it points to is written; an existing file keeps its
            permissions.
        write: called with the temporary file, which exists and is empty; writes and closes it.

    Returns:
        What `write` returns.

    Raises:
        ValueError: there is no such folder, or `path` is a folder, a device, a pipe or a file that may not be written.
        OSError: it could not be written, e.g. for a full disk; it names the file, and what was there is as it was.
    """
    with whole(path) as part:
        return write(part)


@contextlib.contextmanager
def whole(path: Where) -> Iterator[Path]:
    """As `write_whole`, for what is written step by step: the temporary file, which takes the place of `path` when the
    block ends, and is removed when it raises."""
    target = _target(path)
    part: Path | None = None
    try:
        part = _new_part(target)
        yield part
        with open(part, "r+b") as file:
            os.fsync(file.fileno())
        _like(target, part)
        os.replace(part, target)
    except BaseException as error:
        if part is not None:
            with contextlib.suppress(OSError):
                part.unlink()
        if isinstance(error, OSError):
            raise _failure(path, error) from None
        raise
    _sync_folder(target.parent)


def write_text(path: Where, text: str) -> None:
    """Writes text as UTF-8, whole or not at all."""
    write_whole(path, lambda part: part.write_bytes(text.encode()))


def write_lines(path: Where, lines: Iterable[str]) -> None:
    """Writes lines of text as UTF-8, one after the other, whole or not at all."""

    def write(part: Path) -> None:
        with open(part, "w", newline="\n", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)

    write_whole(path, write)


def write_csv(path: Where, rows: Iterable[Sequence[Any]]) -> None:
    """Writes rows of a table as CSV, whole or not at all."""

    def write(part: Path) -> None:
        with open(part, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)

    write_whole(path, write)


def write_leaves(path: Where, tree: Any, header: bytes = b"") -> None:
    """Writes a header and then the leaves of a tree, as Equinox does, whole or not at all."""

    def write(part: Path) -> None:
        with _behind(part) as file:
            file.write(header)
            eqx.tree_serialise_leaves(file, tree)  # pyright: ignore[reportArgumentType]

    write_whole(path, write)


def write_figure(path: Where, figure: Any, dpi: int = 160) -> None:
    """Writes a figure of matplotlib, whole or not at all; the ending of the name says in which format."""
    kind = Path(path).suffix[1:]
    write_whole(path, lambda part: figure.savefig(part, dpi=dpi, format=kind))


def write_animation(
    path: Where, writer: Any, figure: Any, draw: Callable[[int], None], shown: Iterable[int], dpi: int
) -> None:
    """Writes an animation, whole or not at all, with one of Matplotlib's writers: a frame for each of `shown`, after
    draw(k) has changed the figure."""

    def write(part: Path) -> None:
        # The writers choose a format by the ending of a name, and one of them runs a program that writes to it.
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / f"animation{Path(path).suffix.lower()}"
            with writer.saving(figure, str(made), dpi):
                for k in shown:
                    draw(k)
                    writer.grab_frame()
            shutil.copyfile(made, part)

    write_whole(path, write)


def write_hdf5(path: Where, write: Callable[[h5py.File], Any], *, add: bool = False) -> None:
    """Writes an HDF5 file, whole or not at all.

    Args:
        path: as for `write_whole`.
        write: called with the open file.
        add: to a copy of the file that is there, if there is one.

    Raises:
        ValueError: as `write_whole`; or something is to be added to a file that is no HDF5 file.
    """

    def write_part(part: Path) -> None:
        adding = add and Path(path).exists()
        if adding:
            shutil.copyfile(path, part)
            if not h5py.is_hdf5(part):
                raise ValueError(f"path = {path}: not an HDF5 file; allowed: one to add to, or a new file")
        fill_hdf5(part, write, "r+" if adding else "w")

    write_whole(path, write_part)


def fill_hdf5(part: Path, write: Callable[[h5py.File], Any], mode: str = "w") -> None:
    """Writes a temporary file of `write_whole` as HDF5; `mode` "r+" adds to what is in it.

    A file of one of our formats gets a digest of its attributes, which alone in HDF5 are under no checksum.
    """
    with filling_hdf5(part, mode) as file:
        write(file)


@contextlib.contextmanager
def filling_hdf5(part: Path, mode: str = "w") -> Iterator[h5py.File]:
    """As `fill_hdf5`, for what is written step by step: the open file, which is closed when the block ends."""
    with _behind(part) as behind, h5py.File(behind, mode, libver=LIBVER) as file:
        yield file
        if "format" in file.attrs:
            file.attrs[DIGEST] = digest_of(file)


@contextlib.contextmanager
def _behind(part: Path) -> Iterator["_Behind"]:
    """The file, to write to; what went wrong in writing is raised at the end."""
    with open(part, "r+b", buffering=0) as raw:
        behind = _Behind(raw)
        try:
            yield behind
        finally:
            if behind.error is not None:
                raise behind.error


class _Behind(io.RawIOBase):
    """A file for HDF5 and Equinox to write to, that keeps its first error for later and then takes anything.

    HDF5, told that a disk is full, cannot close the file, prints tracebacks and may end the process; Equinox and numpy
    say neither which file nor why.
    """

    def __init__(self, file: io.FileIO):
        self.file = file
        self.error: BaseException | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def readinto(self, buffer: Any) -> int | None:
        return self.file.readinto(buffer)

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        self._try(lambda: self._write(left))
        return size

    def truncate(self, size: int | None = None) -> int:
        self._try(lambda: self.file.truncate(size))
        return self.file.tell() if size is None else size

    def flush(self) -> None:
        pass

    def _write(self, left: memoryview) -> None:
        while left:
            left = left[self.file.write(left) :]

    def _try(self, do: Callable[[], Any]) -> None:
        if self.error is None:
            try:
                do()
            except BaseException as error:  # an interruption too: it is raised when the file is closed
                self.error = error


def put(where: Any, name: str, values: Any, unit: str, **options: Any) -> h5py.Dataset:
    """Writes an array into an HDF5 file or group, with its unit and checksums: a bit that flips makes reading fail.
    `options` are those of h5py's `create_dataset`.

    The chunks are whole rows (of the first axis) as far as `CHUNK` bytes go.
    """
    values = np.asarray(values)
    if values.ndim and values.size and values.dtype.kind in "iufb":
        inner = values.shape[1:]
        row = int(np.prod(inner)) * values.itemsize
        if row <= CHUNK:
            chunks = (min(values.shape[0], max(1, CHUNK // row)), *inner)
        else:
            chunks = (*[1] * len(inner), CHUNK // values.itemsize) if inner else True
        options = {"fletcher32": True, "chunks": chunks} | options
    single = not values.ndim and values.dtype.kind in "iufb"
    data = _put_single(where, name, values) if single else where.create_dataset(name, data=values, **options)
    data.attrs["unit"] = unit
    return data


def _put_single(where: Any, name: str, value: np.ndarray) -> h5py.Dataset:
    """One number has no chunk that a checksum could be of: it lies in the dataset's header, which has one."""
    above, _, last = name.rpartition("/")
    group = where.require_group(above) if above else where
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_layout(h5py.h5d.COMPACT)
    how.set_obj_track_times(False)
    space, kind = h5py.h5s.create(h5py.h5s.SCALAR), h5py.h5t.py_create(value.dtype, logical=True)
    made = h5py.h5d.create(group.id, last.encode(), kind, space, how)
    made.write(space, space, value)
    return h5py.Dataset(made)


def check_place(path: Where) -> Path:
    """The path, if `write_whole` can write there: found out before the work, not after it. Nothing is changed.

    What killed processes left of this file more than a day ago is removed.
    """
    target = _target(path)
    try:
        _new_part(target).unlink()
    except OSError as error:
        raise ValueError(f"path = {path}: cannot be written ({error.strerror})") from None
    pattern = re.compile(re.escape(_beginning(target)) + LEFT.pattern)
    remove_left(target.parent, pattern, older=FORGOTTEN)
    return Path(path)


def check_replaceable(path: Where, format: str) -> Path:
    """As `check_place`, for what is written without having been asked for by the user's own data: an example replaces
    no file but an example, one of the same attribute `format`."""
    check_place(path)
    if Path(path).exists():
        try:
            with open_hdf5(path) as file:
                found = file.text("format") if file.has_attribute("format") else None
        except ValueError:
            found = None
        if found != format:
            raise ValueError(f"path = {path}: is there, and is no {format}; allowed: a new file")
    return Path(path)


def remove_left(folder: Path, pattern: re.Pattern[str], older: float = 0.0) -> None:
    """Removes files of this pattern that nothing has changed for `older` seconds."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name):
                with contextlib.suppress(OSError):  # another process was first
                    if entry.is_file(follow_symlinks=False) and time.time() - entry.stat().st_mtime >= older:
                        os.unlink(entry.path)


def _target(path: Where) -> Path:
    """The file that is to be replaced: links followed. ValueError: it cannot be one."""
    try:
        path = Path(path)
    except TypeError:
        raise refusal("path", path, "", "the name of a file") from None
    try:
        target = Path(os.path.realpath(path))
        try:
            there = os.stat(path)
        except FileNotFoundError:
            there = None
    except (OSError, ValueError) as error:  # a name that is too long, links in a circle, a NUL
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"path = {path}: cannot be written ({reason})") from None
    if not target.parent.is_dir():
        raise ValueError(f"path = {path}: there is no folder {target.parent}")
    if there is not None and not stat.S_ISREG(there.st_mode):
        raise ValueError(f"path = {path}: is a folder, a device or a pipe; allowed: a file")
    if there is not None and not os.access(target, os.W_OK):
        raise ValueError(f"path = {path}: cannot be written ({os.strerror(errno.EACCES)})")
    return target


def _beginning(target: Path) -> str:
    """Of the name of a temporary file."""
    return target.name if len(os.fsencode(target.name)) <= LONGEST_NAME else target.name[: LONGEST_NAME // 4]


def _new_part(target: Path) -> Path:
    """A new empty file beside the target, with the permissions that a new file has."""
    part = target.with_name(f"{_beginning(target)}.{os.getpid()}-{secrets.token_hex(4)}.part")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return part


def _like(target: Path, part: Path) -> None:
    """Gives the new file the owner (where that is allowed) and the permissions of the one that it replaces."""
    try:
        old, new = os.stat(target), os.stat(part)
    except FileNotFoundError:
        return
    if hasattr(os, "chown") and (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        with contextlib.suppress(OSError):
            os.chown(part, old.st_uid, old.st_gid)
    os.chmod(part, stat.S_IMODE(old.st_mode))


def _sync_folder(folder: Path) -> None:
    """Makes sure that the new name is on the disk, where a folder can be opened: not on Windows."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _failure(path: Where, error: OSError) -> OSError:
    """One line that names the file; HDF5's own has two, with addresses."""
    reason = os.strerror(error.errno) if error.errno else str(error).split("\n")[0]
    failure = OSError(f"path = {path}: cannot be written ({reason}); what was there is as it was")
    failure.errno = error.errno
    return failure
