"""Reading our HDF5 files, and saying clearly what is wrong with those that are not."""

from collections.abc import Callable
from typing import Any, TypeVar

import h5py

Read = TypeVar("Read")


def read_hdf5(path, what: str, version: int, read: Callable[[h5py.File, dict[str, Any]], Read]) -> Read:
    """read(file, attributes) of a file whose attribute `format` is `what`.

    A missing, truncated or foreign file, and one of another format version, are a ValueError that names the path.
    """
    try:
        with h5py.File(path, "r") as file:
            attrs: dict[str, Any] = dict(file.attrs)
            if attrs.get("format") != what:
                raise ValueError(f"path = {path}: an HDF5 file, but not a {what}")
            if attrs["format_version"] != version:
                raise ValueError(f"path = {path}: format version {attrs['format_version']}; allowed: {version}")
            return read(file, attrs)
    except FileNotFoundError:
        raise ValueError(f"path = {path}: no such file") from None
    except (OSError, KeyError) as error:
        raise ValueError(f"path = {path}: not a whole HDF5 file of a {what} ({error})") from None
