"""How long the texts of an HDF5 file claim to be: HDF5 makes room for them, several times, before anyone can ask."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import h5py
import numpy as np
from h5py import h5o  # pyright: ignore[reportAttributeAccessIssue]

SIGNATURE, COLLECTION = b"\x89HDF\r\n\x1a\n", b"GCOL\1\0\0\0"
"""Of the file, and of what holds its texts ("global heap collection", version 1); its length follows."""
WHOLE = 32 << 20
"""Bytes of a file up to which every claim is looked at; of a larger one, only what is there."""
MOST_TEXTS = 65_535
"""Of a collection. What else looks like the address of one is not followed by such a number."""
BLOCK = 4 << 20
ATTRIBUTES = ((8, 1, True), (8, 2, False), (9, 3, False))
"""How many bytes before its name an attribute begins, its version, and whether its parts fill up eights of bytes."""
MOST_OBJECTS = 30_000
"""Objects of a large file that are asked where their numbers are."""
Places = list[tuple[int, int]]
"""First byte and last (exclusive) of parts of a file."""


def longest_text(path: str | os.PathLike, numbers: Callable[[], Places] = lambda: []) -> int:
    """No text of variable length in this file is longer, in bytes. ValueError: they are too damaged to be read.

    Args:
        numbers: asked, for a large file, where in it numbers are and therefore no texts (`number_places`): gigabytes
            of samples need not be gone through.
    """
    if os.path.getsize(path) <= WHOLE:
        with open(path, "rb") as file:
            return _longest_claim(file.read())
    return _largest_collection(path, numbers())


def longest_attribute(data: bytes, name: bytes) -> int | None:
    """The longest text, in bytes, that a file claims as the value of an attribute of this name; None where it has none.

    An attribute is written as its name (with a NUL), its type, its shape and its value, after the lengths of the first
    three. The value of one text of variable length is that text's length (4 bytes), and where it lies.
    """
    wanted, longest = name + b"\0", None
    place = data.find(wanted)
    while place >= 0:
        for back, of, padded in ATTRIBUTES:
            begins = place - back
            if begins < 0 or data[begins] != of:
                continue
            sizes = [int.from_bytes(data[k : k + 2], "little") for k in range(begins + 2, begins + 8, 2)]
            if sizes[0] != len(wanted):
                continue
            value = place + sum(-(-size // 8) * 8 if padded else size for size in sizes)
            longest = max(longest or 0, int.from_bytes(data[value : value + 4], "little"))
        place = data.find(wanted, place + 1)
    return longest


def number_places(file: h5py.File) -> Places:
    """Where the numbers of the datasets of a file are; nothing of a file that begins with what another put there."""
    found: Places = []
    objects = 0
    if file.userblock_size:
        return found

    def visit(name: Any) -> bool | None:
        nonlocal objects
        objects += 1
        opened = h5o.open(file.id, name)
        if isinstance(opened, h5py.h5d.DatasetID):
            found.extend(_numbers_of(opened))
        return True if objects > MOST_OBJECTS else None

    h5o.visit(file.id, visit)
    return found


def _numbers_of(dataset: Any) -> Places:
    if dataset.get_type().get_class() not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT):
        return []
    layout = dataset.get_create_plist().get_layout()
    if layout == h5py.h5d.CONTIGUOUS and (place := dataset.get_offset()) is not None:
        return [(place, place + dataset.get_storage_size())]
    found: Places = []
    if layout == h5py.h5d.CHUNKED:
        dataset.chunk_iter(lambda about: found.append((about.byte_offset, about.byte_offset + about.size)))
    return found


def _between(places: Places, size: int) -> Iterator[tuple[int, int]]:
    """The parts of a file outside of these."""
    end = 0
    for first, last in sorted(places):
        if first - end >= len(COLLECTION):
            yield end, first
        end = max(end, last)
    if end < size:
        yield end, size


def _largest_collection(path: str | os.PathLike, numbers: Places) -> int:
    largest = 0
    with open(path, "rb") as file, open(path, "rb") as again:
        for first, last in _between(numbers, os.path.getsize(path)):
            tail, place = b"", first
            file.seek(first)
            while block := file.read(min(BLOCK, last - place)):
                data = tail + block
                for k in _places(data):
                    again.seek(place - len(tail) + k)
                    size = int.from_bytes(again.read(16)[8:], "little")
                    largest = max(largest, size)
                    if size <= WHOLE:
                        again.seek(place - len(tail) + k)
                        _check_collection(again.read(size))
                place += len(block)
                tail = data[-len(COLLECTION) + 1 :]
    return largest


def _check_collection(data: bytes) -> None:
    """That HDF5 comes to its end: one that is damaged in a certain way it would go through for ever."""
    place = 16
    while place + 16 <= len(data):
        number, size = (
            int.from_bytes(data[place : place + 2], "little"),
            int.from_bytes(data[place + 8 : place + 16], "little"),
        )
        step = (16 + (size + 7) // 8 * 8 if number else size) % 2**64
        if step == 0:
            raise ValueError("the texts of the file are damaged")
        place += step


def check_texts(data: bytes) -> None:
    """ValueError: the texts of a whole file are so damaged that HDF5 would not come to an end."""
    for begins in _places(data):
        size = int.from_bytes(data[begins + 8 : begins + 16], "little")
        _check_collection(data[begins : begins + size])


def _longest_claim(data: bytes) -> int:
    """A text is written as its length (4 bytes), the address of its collection (8 bytes) and its number there. Within a
    collection are texts only: what looks like an address there is none."""
    base = _beginning(data)
    places = np.array([k - base for k in _places(data)], np.uint64)
    longest = 0
    if not places.size:
        return longest
    outside = np.ones(len(data), bool)
    check_texts(data)
    for place in places.tolist():
        begins = place + base
        size = int.from_bytes(data[begins + 8 : begins + 16], "little")
        outside[begins : begins + size] = False
    for shift in range(4, 12):
        words = np.frombuffer(data, "<u8", max(0, len(data) - shift) // 8, min(shift, len(data)))
        near = np.flatnonzero((words >= places[0]) & (words <= places[-1]))
        for k in near[np.isin(words[near], places)]:
            begins = shift + 8 * int(k)
            if outside[begins] and 0 < int.from_bytes(data[begins + 8 : begins + 12], "little") <= MOST_TEXTS:
                longest = max(longest, int.from_bytes(data[begins - 4 : begins], "little"))
    return longest


def _beginning(data: bytes) -> int:
    """Where the file begins, after what another program may have put before it: addresses count from there."""
    place = 0
    while place + 16 <= len(data):
        if data[place : place + 8] == SIGNATURE:
            size = data[place + (13 if data[place + 8] < 2 else 9)]
            if size != 8:
                raise ValueError(f"addresses of {size} bytes; allowed: 8")
            return place
        place = max(512, 2 * place)
    raise ValueError("no HDF5 file")


def _places(data: bytes) -> list[int]:
    found, place = [], data.find(COLLECTION)
    while place >= 0:
        found.append(place)
        place = data.find(COLLECTION, place + 1)
    return found
