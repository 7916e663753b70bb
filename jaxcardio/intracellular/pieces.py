"""A long recording in fixed pieces: where they begin and end depends on the recording alone, never on the chunk."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from .noise_level import fine_grid

PIECE, MARGIN = 10_000.0, 1000.0
"""Length of a piece, and what is read beyond both its ends so that filters have settled, ms."""
BIN = 50.0
"""Pieces are divided into bins of this length, ms."""
SHORTEST = 200.0
"""A block of contiguous samples shorter than this is not looked at, ms: no window fits into it."""
LARGEST = 16 << 20
"""Samples held at once; where a chunk of all channels has more, channels are read in groups."""


@runtime_checkable
class Readable(Protocol):
    """What is asked of a recording; `Recording` has it."""

    @property
    def sampling_rate(self) -> float: ...

    @property
    def channels(self) -> tuple[str, ...]: ...

    @property
    def kinds(self) -> tuple[str, ...]: ...

    @property
    def blocks(self) -> tuple[Any, ...]: ...

    @property
    def events(self) -> tuple[Any, ...]: ...

    @property
    def limits(self) -> np.ndarray | None: ...

    @property
    def n_samples(self) -> int: ...

    def read(self, first: int, last: int, channels: Sequence[int] | None = None) -> np.ndarray: ...


class Piece(NamedTuple):
    """Samples `first` to `last` of a recording, to be filtered from `low` to `high`; all within one block."""

    block: int
    first: int
    last: int
    low: int
    high: int


def bin_samples(rate: float) -> int:
    """Samples of a bin: a whole number of averages of the fine grid."""
    factor, fine = fine_grid(rate)
    return round(BIN * fine / 1000) * factor


def pieces_of(recording: Readable) -> list[Piece]:
    """All pieces, in order. Each begins a whole number of bins after the beginning of its block."""
    rate = recording.sampling_rate
    factor = fine_grid(rate)[0]
    length = round(PIECE / BIN) * bin_samples(rate)
    margin = round(MARGIN / BIN) * bin_samples(rate)
    found = []
    for k, block in enumerate(recording.blocks):
        if block.last - block.first < SHORTEST * rate / 1000:
            continue
        end = block.first + (block.last - block.first) // factor * factor
        for first in range(block.first, end, length):
            last = min(first + length, end)
            found.append(Piece(k, first, last, max(block.first, first - margin), min(end, last + margin)))
    return found


def read_pieces(
    recording: Readable, pieces: Sequence[Piece], channels: Sequence[int], chunk: float
) -> Iterator[tuple[Piece, int, Float[np.ndarray, " sample"]]]:
    """Every piece of every channel with its samples from `low` to `high`; pieces of a channel come in order.

    Args:
        chunk: length read at once, ms; one piece at least.
    """
    for group in _grouped(pieces, chunk * recording.sampling_rate / 1000):
        low, high = group[0].low, group[-1].high
        at_once = max(1, LARGEST // (high - low))
        for k in range(0, len(channels), at_once):
            some = list(channels[k : k + at_once])
            values = recording.read(low, high, some)
            for row, channel in enumerate(some):
                for piece in group:
                    yield piece, channel, values[row, piece.low - low : piece.high - low].copy()
            del values  # before the next ones are read; what was given away are copies


def _grouped(pieces: Sequence[Piece], samples: float) -> Iterator[list[Piece]]:
    """Neighbours within one block, together no longer than so many samples."""
    group: list[Piece] = []
    for piece in pieces:
        if group and (piece.block != group[0].block or piece.last - group[0].first > samples):
            yield group
            group = []
        group.append(piece)
    if group:
        yield group
