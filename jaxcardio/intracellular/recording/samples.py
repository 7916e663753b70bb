"""Where the samples of a recording are: in memory, or in a dataset of an HDF5 file, from which parts are read."""

import abc
import dataclasses
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from ...files.reading import Dataset, open_hdf5

PIECE = 4 << 20
"""Samples that are converted at a time."""


class Encoding(NamedTuple):
    """Whole numbers as potentials: number x gain + offset, both (channel,) in mV."""

    gain: Float[np.ndarray, " channel"]
    offset: Float[np.ndarray, " channel"]


class AbstractSamples(abc.ABC):
    """Samples of some channels, read in parts."""

    @abc.abstractmethod
    def read(self, first: int, last: int, channels: Sequence[int]) -> Float32[np.ndarray, "channel sample"]:
        """Samples first to last (exclusive) of these channels, mV."""

    @abc.abstractmethod
    def exact(self) -> Encoding | None:
        """The encoding with which 16 bits hold these samples without loss, None where there is none."""


class InMemory(AbstractSamples):
    """Samples that are there."""

    def __init__(self, values: Float32[np.ndarray, "channel sample"]):
        self._values = values

    def read(self, first: int, last: int, channels: Sequence[int]) -> Float32[np.ndarray, "channel sample"]:
        return self._values[np.asarray(channels, np.int64), first:last]

    def exact(self) -> Encoding | None:
        return None


class InFile(AbstractSamples):
    """Samples of a dataset (row, sample) of an HDF5 file, which is opened for each reading.

    Args:
        path: of the file.
        dataset: within it.
        rows: of each channel.
        encoding: what the numbers mean; None: they are in mV.
    """

    def __init__(self, path: str | os.PathLike, dataset: Dataset, rows: Sequence[int], encoding: Encoding | None):
        dataset.check_stored()
        self._path = os.fspath(path)
        self._name = dataset.name
        self._shape, self._dtype = dataset.shape, dataset.dtype
        self._rows = np.asarray(rows, np.int64)
        self._encoding = encoding
        self._file = _identity(self._path)

    def read(self, first: int, last: int, channels: Sequence[int]) -> Float32[np.ndarray, "channel sample"]:
        chosen = np.asarray(channels, np.int64)
        found = np.empty((chosen.size, last - first), np.float32)
        with open_hdf5(self._path) as file:
            dataset = file.dataset(self._name, plugins=True)
            if _identity(self._path) != self._file or (dataset.shape, dataset.dtype) != (self._shape, self._dtype):
                raise ValueError("has been changed since the recording was loaded; load it again")
            step = max(1, PIECE // max(1, chosen.size))
            for begin in range(first, last, step):
                end = min(last, begin + step)
                raw = dataset.block(self._rows[chosen].tolist(), begin, end)
                found[:, begin - first : end - first] = self._potentials(raw, chosen)
        return found

    def exact(self) -> Encoding | None:
        code = self._encoding
        if code is None or self._dtype not in (np.int16, np.uint16):
            return None
        shift = 0.0 if self._dtype == np.int16 else 2.0**15
        return code._replace(offset=code.offset + shift * code.gain)

    def _potentials(self, raw: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        code = self._encoding
        if code is None:
            return raw
        values = raw.astype(np.float64)
        values *= code.gain[chosen, None]
        values += code.offset[chosen, None]
        return values


@dataclasses.dataclass(frozen=True)
class _Identity:
    size: int
    changed: int


def _identity(path: str) -> _Identity:
    about = os.stat(path)
    return _Identity(about.st_size, about.st_mtime_ns)
