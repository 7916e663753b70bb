"""Which samples of a recording are averaged into one observation: few where the current changes slowly."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..annotations import typed
from ..arguments import check
from ..protocols import AbstractProtocol

GROWTH = 1.07
"""The n-th sample after an edge ends a window of at most n (GROWTH - 1) samples: on a relaxing current the middle of a
window then stands for its mean to 4e-4 of what is left of the relaxation."""


class Windows(NamedTuple):
    """Stretches of samples begin[k] .. end[k] - 1, each averaged into one observation. Sample i lies at i dt."""

    begin: Int[np.ndarray, " windows"]
    end: Int[np.ndarray, " windows"]
    dt: float
    """Sampling interval, ms."""

    @property
    def counts(self) -> Int[np.ndarray, " windows"]:
        """Samples in each window."""
        return self.end - self.begin

    @property
    def times(self) -> Float[np.ndarray, " windows"]:
        """Mean time of each window's samples, ms: where a model is looked at."""
        return 0.5 * self.dt * (self.begin + self.end - 1)

    @property
    def samples(self) -> int:
        """How many samples a recording must have."""
        return int(self.end[-1])

    def averages(self, current: Float[np.ndarray, "*cells samples"]) -> Float[np.ndarray, "*cells windows"]:
        """The mean of every window of a recorded current."""
        sums = np.cumsum(np.asarray(current, np.float64), axis=-1)
        sums = np.concatenate([np.zeros((*sums.shape[:-1], 1)), sums], axis=-1)
        return (sums[..., self.end] - sums[..., self.begin]) / self.counts


@typed
def windows_of(
    protocol: AbstractProtocol, t1: float, dt: float = 0.1, blank: float = 0.0, growth: float = GROWTH
) -> Windows:
    """Windows that begin anew after every edge of the command and grow in proportion to the time since.

    Args:
        protocol: the command.
        t1: length of the recording, ms.
        dt: its sampling interval, ms.
        blank: how much is left out after each edge beside the sample at the edge, ms: the capacitive transient.
        growth: > 1; the smaller, the more windows.

    ValueError: an argument out of its range, or no sample is left.
    """
    check("t1", t1, "ms", "> 0, finite", lambda x: np.isfinite(x) and x > 0)
    check("dt", dt, "ms", f"0 < dt <= t1 = {t1} ms", lambda x: 0 < x <= t1)
    check("blank", blank, "ms", ">= 0", lambda x: np.isfinite(x) and x >= 0)
    check("growth", growth, "", "> 1", lambda x: np.isfinite(x) and x > 1)
    corners = np.concatenate([[0.0], protocol.edges(0.0, t1), [t1]])
    first = np.ceil((corners[:-1] + blank) / dt - 1e-6).astype(int) + (1 if blank == 0 else 0)
    last = np.ceil(corners[1:] / dt - 1e-6).astype(int)
    begin, end = [], []
    for edge, start, stop in zip(np.rint(corners[:-1] / dt).astype(int), first, last, strict=True):
        while start < stop:
            width = min(max(1, int((start - edge) * (growth - 1))), stop - start)
            begin.append(start)
            end.append(start + width)
            start += width
    if not begin:
        raise ValueError(f"blank = {blank} ms: no sample is left; allowed: shorter than the command's steps")
    return Windows(np.array(begin), np.array(end), dt)
