"""Where a protocol acts."""

from typing import Any

import equinox as eqx
import numpy as np

from ..arguments import is_traced, refusal
from ..protocols import AbstractProtocol


class Stimulus(eqx.Module):
    """A stimulus to a region of a tissue, e.g. `Stimulus(pacing, region=np.s_[:10])`. Several that overlap add up.

    Args:
        protocol: what is given, pA/pF (per ms of V: mV/ms); negative depolarises, as everywhere.
        region: where: an index expression of the grid in array order (`np.s_[:10]`, `np.s_[:, :5]`), or a bool array of
            the grid's shape. Default everywhere.
    """

    protocol: AbstractProtocol
    region: Any = eqx.field(default=(), static=True)

    def __init__(self, protocol: AbstractProtocol, region: Any = ()):
        if not isinstance(protocol, AbstractProtocol) or protocol.kind != "current":
            raise refusal("protocol", protocol, "", "a stimulus current, e.g. jaxcardio.protocols.PulseTrain")
        self.protocol = protocol
        self.region = _Region(region)

    def cells(self, shape: tuple[int, ...]) -> np.ndarray:
        """Which cells of a grid of this shape it reaches: bool, of the grid's shape. ValueError: none, or no index of
        it."""
        chosen = np.zeros(shape, bool)
        index = self.region.index
        try:
            index = int(index) if isinstance(index, np.integer) else index
            is_array = isinstance(index, np.ndarray | list) or hasattr(index, "dtype")
            if is_array and (np.asarray(index).dtype != bool or np.shape(index) != shape):
                raise IndexError
            _check_inside(index, shape)
            chosen[index if not is_array else np.asarray(index)] = True
        except (IndexError, TypeError, ValueError):
            raise refusal("region", index, "", f"an index of the grid {shape}, or a bool array of that shape") from None
        if not chosen.any():
            raise refusal("region", index, "", f"at least one cell of the grid {shape}")
        return chosen


class _Region:
    """A region as a static field: arrays are compared by value."""

    def __init__(self, index: Any):
        self.index = index.copy() if isinstance(index, np.ndarray) else index

    def _key(self):
        return _by_value(self.index)

    def __eq__(self, other):
        return isinstance(other, _Region) and self._key() == other._key()

    def __hash__(self):
        return hash(self._key())

    def __repr__(self):
        return repr(self.index)


def _by_value(index: Any) -> Any:
    """What tells this index from others; the text of an array leaves out most of a long one."""
    if isinstance(index, tuple):
        return tuple(map(_by_value, index))
    if hasattr(index, "dtype") and not is_traced(index):
        array = np.asarray(index)
        return (array.shape, array.dtype.str, array.tobytes())
    return repr(index)


def _check_inside(index: Any, shape: tuple[int, ...]) -> None:
    """An IndexError where a slice asks for cells that are not there: NumPy would quietly take fewer."""
    parts = index if isinstance(index, tuple) else (index,)
    if sum(p is not Ellipsis for p in parts) > len(shape):
        raise IndexError
    for k, part in enumerate(parts):
        if part is Ellipsis:
            parts = (*parts[:k], *(slice(None),) * (len(shape) - len(parts) + 1), *parts[k + 1 :])
            break
    for part, n in zip(parts, shape, strict=False):
        if isinstance(part, slice):
            for end in (part.start, part.stop):
                if end is not None and not -n <= end <= n:
                    raise IndexError
