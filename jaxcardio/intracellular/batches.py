"""Windows computed so many at a time: programs are compiled for one number of windows, and no result depends on it."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

BATCH = 32
"""Windows given at once; the last ones are filled up with copies of a window."""


def in_batches(function: Callable[[np.ndarray], Any], windows: np.ndarray) -> Any:
    """function(windows) (arrays, or a tuple of them, of one row a window), called with `BATCH` windows at a time."""
    if not len(windows):
        return jax.tree.map(lambda x: np.asarray(x)[:0], function(np.zeros((BATCH, *windows.shape[1:]), windows.dtype)))
    parts = []
    for first in range(0, len(windows), BATCH):
        some = windows[first : first + BATCH]
        filled = np.concatenate([some, np.repeat(some[-1:], BATCH - len(some), axis=0)])
        parts.append(jax.tree.map(lambda x, n=len(some): np.asarray(x)[:n], function(filled)))
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)
