"""Our files of results and of networks, and saying clearly what is wrong with those that are not."""

import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import numpy as np

from ..json_text import parse_object
from .reading import DIGEST, Group, check_regular, open_hdf5, reason_of
from .writing import write_leaves

Read = TypeVar("Read")
LARGEST_NETWORK = 64 << 20
"""Bytes of a network's file."""
LONGEST_LINE = 1 << 20
"""Bytes of the first line of a network's file."""


def read_hdf5(path: str | os.PathLike, what: str, version: int, read: Callable[[Group], Read]) -> Read:
    """read(root) of a file whose attribute `format` is `what`.

    A missing, truncated or foreign file, one of another format version, and whatever `read` meets are a ValueError of
    one line that names the path.
    """
    with open_hdf5(path, what, version) as file:
        return read(file)


def write_network(path: str | Path, what: str, about: dict[str, Any], network: Any) -> None:
    """Writes a network, whole or not at all: a line of JSON, `what` it is and what is `about` it, then its leaves."""
    leaves = io.BytesIO()
    eqx.tree_serialise_leaves(leaves, network)
    line = {"format": what} | about
    line |= {DIGEST: _digest(line, leaves.getvalue())}
    write_leaves(path, network, (json.dumps(line) + "\n").encode())


def read_network(
    path: str | os.PathLike, what: str, like: Callable[[dict[str, Any]], Read]
) -> tuple[dict[str, Any], Read]:
    """The line and the network of a file of `write_network`; like(line) is a network of the same structure.

    A missing, truncated, longer or foreign file, one whose line describes a network that is larger than the file, and
    weights that are not finite are a ValueError that names the path.
    """
    try:
        size = check_regular(path)
        if size > LARGEST_NETWORK:
            raise ValueError(f"{size} bytes; allowed: at most {LARGEST_NETWORK}")
        with open(path, "rb") as file:
            line = file.readline(LONGEST_LINE)
            if not line.endswith(b"\n"):
                raise ValueError(f"no line of JSON within its first {len(line)} bytes")
            about = parse_object(line, "its first line")
            if about.get("format") != what:
                raise ValueError(f"another format, {about.get('format')!r:.100}")
            leaves = file.read()
            if DIGEST in about and about.pop(DIGEST) != _digest(about, leaves):
                raise ValueError("some of its bytes have changed since it was written")
            # What the line asks for is reckoned without being made.
            asked = jax.tree.leaves(eqx.filter_eval_shape(lambda: like(about)))
            asked = sum(x.size * x.dtype.itemsize for x in asked if hasattr(x, "dtype"))
            if asked > size:
                raise ValueError(f"its first line describes a network of {asked} bytes, in a file of {size}")
        rest = io.BytesIO(leaves)
        network = eqx.tree_deserialise_leaves(rest, like(about))
        if rest.read(1):
            raise ValueError("it goes on after the network")
        numbers = (np.asarray(x) for x in jax.tree.leaves(network) if isinstance(x, float) or hasattr(x, "dtype"))
        if not all(np.isfinite(x).all() for x in numbers if x.dtype.kind == "f"):
            raise ValueError("weights that are not finite")
        return about, network
    except FileNotFoundError:
        raise ValueError(f"path = {path}: no such file") from None
    except KeyError as error:
        raise ValueError(f"path = {path}: not a whole {what} (its first line: no {reason_of(error)})") from None
    except Exception as error:
        why = reason_of(error) if error.__cause__ is None else f"{reason_of(error)}: {reason_of(error.__cause__)}"
        raise ValueError(f"path = {path}: not a whole {what} ({why})") from None


def _digest(line: dict[str, Any], leaves: bytes) -> str:
    return hashlib.sha256(json.dumps(line).encode() + leaves).hexdigest()
