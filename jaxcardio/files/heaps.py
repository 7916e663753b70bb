"""How long the texts of an HDF5 file claim to be: HDF5 makes room for them, several times, before anyone can ask."""

import os

import numpy as np

SIGNATURE, COLLECTION = b"\x89HDF\r\n\x1a\n", b"GCOL\1\0\0\0"
"""Of the file, and of what holds its texts ("global heap collection", version 1); its length follows."""
WHOLE = 32 << 20
"""Bytes of a file up to which every claim is looked at; of a larger one, only what is there."""
MOST_TEXTS = 65_535
"""Of a collection. What else looks like the address of one is not followed by such a number."""
BLOCK = 4 << 20


def longest_text(path: str | os.PathLike) -> int:
    """No text of variable length in this file is longer, in bytes. ValueError: the file cannot be looked at."""
    if os.path.getsize(path) <= WHOLE:
        with open(path, "rb") as file:
            return _longest_claim(file.read())
    return _largest_collection(path)


def _largest_collection(path: str | os.PathLike) -> int:
    largest, tail = 0, b""
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            data = tail + block
            largest = max(largest, *(_whole(data, k + 8) for k in _places(data)), 0)
            tail = data[-15:]
    return largest


def _longest_claim(data: bytes) -> int:
    """A text is written as its length (4 bytes), the address of its collection (8 bytes) and its number there."""
    base = _beginning(data)
    places = np.array([k - base for k in _places(data)], np.uint64)
    longest = 0
    if not places.size:
        return longest
    for shift in range(4, 12):
        words = np.frombuffer(data, "<u8", max(0, len(data) - shift) // 8, min(shift, len(data)))
        near = np.flatnonzero((words >= places[0]) & (words <= places[-1]))
        for k in near[np.isin(words[near], places)]:
            begins = shift + 8 * int(k)
            if 0 < int.from_bytes(data[begins + 8 : begins + 12], "little") <= MOST_TEXTS:
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


def _whole(data: bytes, place: int) -> int:
    """8 bytes as a number; 0 where they are not all there."""
    raw = data[place : place + 8]
    return int.from_bytes(raw, "little") if len(raw) == 8 else 0
