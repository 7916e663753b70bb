"""Simulating a population in chunks that fit in memory, on every core."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import jax
import numpy as np

from ..cell import AbstractCell
from ..progress import progress_bar
from ..protocols import AbstractProtocol
from ..simulate import simulate as simulate_one
from ..trace import Trace

CHUNK = 128
"""Cells in a chunk: enough to fill the vector units, few enough to stay in cache."""


def simulate(
    cells: AbstractCell,
    protocol: AbstractProtocol | None = None,
    *,
    t1: float,
    chunk: int = CHUNK,
    reduce: Callable[[Trace], Any] | None = None,
    progress: bool | Callable[[float], None] = False,
    **options,
) -> Any:
    """Simulates every cell of a population, chunk by chunk; the chunks run on all cores of a CPU at once.

    Args:
        cells: a population: a cell whose parameters have a leading axis.
        protocol, t1, options: as for `jaxcardio.simulate`; every cell has its own `status`, and may have its own `y0`.
        chunk: cells simulated together. The result does not depend on it.
        reduce: applied to the `Trace` of each chunk, e.g. to keep biomarkers and not samples; its leaves keep the
            leading axis of cells.
        progress: True for a bar on stderr, or a function of the fraction done.

    Returns:
        A `Trace` with leaves of shape (n_cells, time) on the host, or what `reduce` returns for all cells.
    """
    n = cells.population_size()
    if n is None:
        raise ValueError("cells: expected a population (parameters of shape (n_cells,)), got a single cell")
    if not (isinstance(chunk, int) and chunk >= 1):
        raise ValueError(f"chunk = {chunk} cells; allowed: a whole number >= 1")
    report = progress_bar(f"{n} cells") if progress is True else progress or (lambda done: None)
    size = min(chunk, n)
    starts = list(range(0, n, size))

    y0 = options.pop("y0", None)
    about: dict[str, Any] = {}

    def run(start: int) -> Any:
        """One chunk; the last is filled up with copies of the last cell, so that one compiled program serves all."""
        index = np.minimum(np.arange(start, start + size), n - 1)
        begin = jax.tree.map(lambda x: x[index] if np.ndim(x) else x, y0)
        trace = simulate_one(member(cells, index), protocol, t1=t1, y0=begin, **options)
        about.setdefault("ts", trace.ts)
        about.setdefault("solver", trace.solver)
        kept = (trace.ys, trace.status, trace.final_state, trace.steps) if reduce is None else reduce(trace)
        return jax.tree.map(lambda x: np.asarray(x)[: n - start], kept)

    workers = os.cpu_count() if jax.default_backend() == "cpu" else 1
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(run, start) for start in starts]
        for done, _ in enumerate(as_completed(futures), 1):
            report(done / len(starts))
    joined = jax.tree.map(lambda *x: np.concatenate(x), *(future.result() for future in futures))
    if reduce is not None:
        return joined
    ys, status, final_state, steps = joined
    return Trace(about["ts"], ys, status, final_state, steps, cells, protocol, about["solver"])


def member(cells: AbstractCell, index) -> AbstractCell:
    """Cell `index` of a population, or the population of several indices (an array)."""
    axes = cells.population_axes()
    return jax.tree.map(lambda axis, x: x if axis is None else x[index], axes, cells, is_leaf=lambda x: x is None)
