"""Our files of results and of networks, and saying clearly what is wrong with those that are not."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx

from .reading import Group, open_hdf5
from .writing import write_leaves

Read = TypeVar("Read")


def read_hdf5(path: str | os.PathLike, what: str, version: int, read: Callable[[Group], Read]) -> Read:
    """read(root) of a file whose attribute `format` is `what`.

    A missing, truncated or foreign file, one of another format version, and whatever `read` meets are a ValueError of
    one line that names the path.
    """
    with open_hdf5(path, what, version) as file:
        return read(file)


def write_network(path: str | Path, what: str, about: dict[str, Any], network: Any) -> None:
    """Writes a network, whole or not at all: a line of JSON, `what` it is and what is `about` it, then its leaves."""
    header = (json.dumps({"format": what} | about) + "\n").encode()
    write_leaves(path, network, header)


def read_network(path: str | Path, what: str, like: Callable[[dict[str, Any]], Read]) -> tuple[dict[str, Any], Read]:
    """The line and the network of a file of `write_network`; like(line) is a network of the same structure.

    A missing, truncated or foreign file is a ValueError that names the path.
    """
    try:
        with open(path, "rb") as file:
            about = json.loads(file.readline())
            if about["format"] != what:
                raise ValueError(f"another format, {about['format']!r}")
            return about, eqx.tree_deserialise_leaves(file, like(about))
    except FileNotFoundError:
        raise ValueError(f"path = {path}: no such file") from None
    except Exception as error:
        raise ValueError(f"path = {path}: not a whole {what} ({error})") from None
