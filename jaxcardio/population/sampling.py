"""Sampling: cell i of a population is a function of (version, seed, i) alone, whatever is drawn beside it."""

import zlib
from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from ..cell import AbstractCell, unknown_name

Cell = TypeVar("Cell", bound=AbstractCell)

VERSION = 1
"""Changes whenever the same (seed, i) would give another cell."""


def sample(
    cell: Cell,
    *,
    n: int,
    seed: int,
    spread: float,
    parameters: Sequence[str],
    start: int = 0,
) -> Cell:
    """A population around `cell`: each named parameter multiplied by an independent uniform factor in 1 +- spread.

    Args:
        cell: the cell to vary; its other parameters are shared.
        n: number of cells.
        seed: cell i of a seed is always the same cell; so is each of its parameters, whichever others are varied.
        spread: largest relative change, 0 <= spread < 1.
        parameters: names to vary, e.g. `KernikClancy2019.SIX_CURRENTS`.
        start: index of the first cell, to make a population piece by piece.

    Returns:
        The cell with leaves of shape (n,) for the named parameters.
    """
    if not (isinstance(n, int) and n >= 1):
        raise ValueError(f"n = {n} cells; allowed: a whole number >= 1")
    if not 0 <= spread < 1:
        raise ValueError(f"spread = {spread}; allowed: 0 <= spread < 1 (relative)")
    if isinstance(parameters, str) or not parameters:
        raise ValueError(f"parameters = {parameters!r}; allowed: a list of parameter names")
    known = cell.parameters()
    for name in parameters:
        if name not in known:
            raise ValueError(unknown_name("parameter", name, known, type(cell).__name__))
    values = {}
    for name in parameters:
        factor = jnp.asarray(factors(name, n=n, seed=seed, spread=spread, start=start), known[name].value.dtype)
        values[name] = known[name].value * factor
    return cell.replace(**values)


def factors(name: str, *, n: int, seed: int, spread: float, start: int = 0) -> np.ndarray:
    """The uniform factors in 1 +- spread of one parameter for cells start .. start + n - 1: shape (n,), float64.

    Drawn as 32 random bits each, so that they do not depend on the floating-point mode.
    """
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), VERSION), zlib.crc32(name.encode()))
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(start, start + n))
    bits = np.asarray(jax.vmap(lambda k: jax.random.bits(k, (), jnp.uint32))(keys))
    return 1 + spread * (2 * (bits.astype(np.float64) + 0.5) / 2**32 - 1)
