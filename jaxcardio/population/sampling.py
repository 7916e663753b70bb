"""Sampling: cell i of a population is a function of (version, seed, i) alone, whatever is drawn beside it."""

from collections.abc import Sequence
from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float, Int

from ..annotations import typed
from ..arguments import check_seed, check_whole
from ..cell import AbstractCell, check_cell, unknown_name
from .distributions import AbstractDistribution, Uniform
from .hashing import VERSION as VERSION

Cell = TypeVar("Cell", bound=AbstractCell)

MOST = 2**32
"""Seeds and cell indices lie below this: they are words of 32 bits."""


@typed
def sample(
    cell: Cell,
    *,
    seed: int,
    parameters: Sequence[str],
    n: int | None = None,
    start: int = 0,
    indices: ArrayLike | Sequence[int] | None = None,
    spread: float | None = None,
    distribution: AbstractDistribution | None = None,
) -> Cell:
    """A population around `cell`: each named parameter multiplied by a random factor.

    Cell i of a seed and a distribution is always the same cell, whatever n, start, order or chunks. Which of the other
    parameters are varied changes nothing either, except under `Sobol`.

    Args:
        cell: the cell to vary; its other parameters are shared.
        seed: 0 <= seed < 2^32.
        parameters: names to vary, e.g. `KernikClancy2019.SIX_CURRENTS`.
        n, start: cells start .. start + n - 1.
        indices: in place of `n` and `start`: which cells, shape (n,), in any order; to make some of them again.
        spread: short for `Uniform(spread)`: independent uniform factors in 1 +- spread, 0 <= spread < 1.
        distribution: in place of `spread`: `Uniform`, `LogNormal`, `LatinHypercube` or `Sobol`.

    Returns:
        The cell with leaves of shape (n,) for the named parameters, in their own dtype.

    ValueError: an argument out of its range, or two where one is meant; an unknown name, or one given twice.
    """
    drawn_from = _distribution(spread, distribution)
    which = _indices(n, start, indices)
    check_seed(seed)
    check_cell(cell)
    _check_names(parameters, cell)
    if cell.population_size() not in (None, len(which)):
        raise ValueError(f"cell: a population of {cell.population_size()}; allowed: one cell, or {len(which)} cells")
    factors = drawn_from.factors(parameters, seed=seed, indices=which)
    known = cell.parameters()
    values = {name: known[name].value for name in parameters}
    return cell.replace(**{k: v * jnp.asarray(factors[:, j], v.dtype) for j, (k, v) in enumerate(values.items())})


@typed
def relative_change(
    cells: AbstractCell, cell: AbstractCell, parameters: Sequence[str]
) -> Float[np.ndarray, "n parameters"]:
    """theta = p / p0 - 1 of each named parameter (columns) of each cell of a population (rows), float64.

    `cells` is the population, `cell` the one it was sampled around: theta is 0 where a parameter was not varied.

    ValueError: `cells` is no population; an unknown name, or one given twice; a parameter that is 0 in `cell`.
    """
    n = cells.population_size()
    if n is None:
        raise ValueError("cells: expected a population (parameters of shape (n_cells,)), got a single cell")
    if cell.population_size() is not None:
        raise ValueError(f"cell: a population of {cell.population_size()}; allowed: one cell")
    _check_names(parameters, cell)
    _check_names(parameters, cells)
    varied, base = cells.parameters(), cell.parameters()
    theta = np.empty((n, len(parameters)))
    for k, name in enumerate(parameters):
        p0 = float(base[name].value)
        if p0 == 0:
            raise ValueError(f"parameters: {name} = 0 {base[name].unit} in cell; allowed: not 0, to be relative to it")
        theta[:, k] = np.asarray(varied[name].value, np.float64) / p0 - 1
    return theta


def _distribution(spread: float | None, distribution: AbstractDistribution | None) -> AbstractDistribution:
    if (spread is None) == (distribution is None):
        raise ValueError(f"spread = {spread}, distribution = {distribution}; allowed: exactly one of the two")
    if distribution is None:
        return Uniform(spread)  # pyright: ignore[reportArgumentType]
    if not isinstance(distribution, AbstractDistribution):
        raise ValueError(f"distribution = {distribution!r}; allowed: Uniform, LogNormal, LatinHypercube or Sobol")
    return distribution


def _indices(n: int | None, start: int, indices: ArrayLike | Sequence[int] | None) -> Int[np.ndarray, " n"]:
    if (n is None) == (indices is None):
        raise ValueError(f"n = {n}, indices = {indices}; allowed: exactly one of the two")
    if n is not None:
        check_whole("n", n, "cells")
        n = int(n)
        if n > MOST:
            raise ValueError(f"n = {n} cells; allowed: at most 2^32")
        if not (not isinstance(start, bool) and 0 <= start <= MOST - n):
            raise ValueError(f"start = {start}; allowed: a whole number from 0 to 2^32 - n")
        return np.arange(start, start + n)
    which = np.asarray(indices)
    if start != 0:
        raise ValueError(f"start = {start}; allowed beside indices: 0")
    if which.ndim != 1 or which.size == 0 or not np.issubdtype(which.dtype, np.integer):
        raise ValueError(f"indices: expected whole numbers of shape (n,), got {which.dtype} of shape {which.shape}")
    if which.min() < 0 or which.max() >= MOST:
        raise ValueError(f"indices = {which.min()} to {which.max()}; allowed: 0 to 2^32 - 1")
    return which


def _check_names(parameters: Sequence[str], cell: AbstractCell) -> None:
    if isinstance(parameters, str) or not parameters:
        raise ValueError(f"parameters = {parameters!r}; allowed: a list of parameter names")
    known = cell.parameters()
    for k, name in enumerate(parameters):
        if name not in known:
            raise ValueError(unknown_name("parameter", name, known, type(cell).__name__))
        if name in parameters[:k]:
            raise ValueError(f"parameters: {name} is named twice")
