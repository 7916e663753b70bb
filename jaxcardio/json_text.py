"""JSON of unknown origin, read within bounds: size, depth, and every key once."""

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

DEEPEST = 100
"""Objects and lists within one another, at most."""
LARGEST_FILE = 32 << 20
"""Bytes."""
LARGEST = 200 << 20
"""A text that would take more memory than this (bytes, at most) is refused before it is parsed."""
COMMA, BRACKET = 40, 72
"""Bytes of memory that a number or short text, and a list or object, take at most."""


def parse(text: str | bytes, what: str) -> Any:
    """The value of a JSON text; `what` it is of is named in every ValueError, which is of one line."""
    text = decoded(text, what) if isinstance(text, bytes) else text
    try:
        _check_size(text)
        found = json.loads(text, object_pairs_hook=_once_each)
    except RecursionError:
        raise ValueError(f"{what}: nested too deep; allowed: at most {DEEPEST} levels") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{what}: not JSON ({error})") from None
    except ValueError as error:  # a key twice; a whole number of thousands of digits
        raise ValueError(f"{what}: {error}") from None
    if text.count("[") + text.count("{") > DEEPEST and _deeper_than(found, DEEPEST):
        raise ValueError(f"{what}: nested too deep; allowed: at most {DEEPEST} levels")
    return found


def decoded(text: bytes, what: str) -> str:
    """The text of a file of JSON, in UTF-8, with a byte order mark or without."""
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{what}: not text in UTF-8 ({error.reason} at byte {error.start})") from None


def parse_object(text: str | bytes, what: str) -> dict[str, Any]:
    """As `parse`, of a text whose value must be an object."""
    found = parse(text, what)
    if not isinstance(found, dict):
        raise ValueError(f"{what}: a {type(found).__name__}; allowed: a JSON object")
    return found


def read_object(path: str | os.PathLike, what: str) -> dict[str, Any]:
    """The JSON object of a file; what is wrong with it is a ValueError that names the path."""
    return parse_object(read_bytes(path, what), f"{what} = {path}")


def read_bytes(path: str | os.PathLike, what: str) -> bytes:
    """What is in a file that is to be JSON: of a regular file only, and of no more than `LARGEST_FILE` bytes."""
    try:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):
            raise ValueError(f"{what} = {path}: is a folder, a device or a pipe; allowed: a file")
        if about.st_size > LARGEST_FILE:
            raise ValueError(f"{what} = {path}: {about.st_size} bytes; allowed: at most {LARGEST_FILE}")
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{what} = {path}: no such file") from None
    except OSError as error:
        raise ValueError(f"{what} = {path}: cannot be read ({error.strerror})") from None


def _check_size(text: str) -> None:
    memory = 2 * sys.getsizeof(text) + COMMA * text.count(",") + BRACKET * (text.count("[") + text.count("{"))
    if memory > LARGEST:
        raise ValueError(f"{len(text)} characters, about {memory >> 20} MB; allowed: {LARGEST >> 20} MB")


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"{twice!r} is given twice; allowed: each field once")
    return found


def _deeper_than(x: Any, levels: int) -> bool:
    if not isinstance(x, dict | list):
        return False
    return levels == 0 or any(_deeper_than(y, levels - 1) for y in (x.values() if isinstance(x, dict) else x))
