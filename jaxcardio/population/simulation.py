"""Simulating a population in chunks that fit in memory, on every core of a CPU or over all devices."""

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..annotations import typed
from ..arguments import check_whole
from ..cell import AbstractCell, check_cell, dtype_of
from ..progress import progress_bar
from ..protocols import AbstractProtocol
from ..simulation.request import DEFAULT_DT, DEFAULT_SAVE_EVERY
from ..simulation.simulate import simulate as simulate_one
from ..simulation.trace import Trace

LANES = 16
"""Cells are computed in multiples of this many, copies of the last one filling up: the remainder of a vector loop is
rounded differently, and a cell must not depend on how many others there are."""
CPU_CHUNK = 1024
"""Most cells a chunk has by default on a CPU, where every core should have one: what a step costs whatever the number
of cells is then shared by many, and the states of a chunk still fit into cache."""
MEMORY_SHARE = 0.4
"""Part of the free memory that the chunks in flight may take."""


@typed
def simulate(
    cells: AbstractCell,
    protocol: AbstractProtocol | None = None,
    *,
    t1: float,
    chunk: int | None = None,
    devices: Sequence[Any] | None = None,
    reduce: Callable[[Trace], Any] | None = None,
    progress: bool | Callable[[float], None] = False,
    **options,
) -> Any:
    """Simulates every cell of a population, chunk by chunk, each chunk spread over all devices.

    Args:
        cells: a population: a cell whose parameters have a leading axis.
        protocol, t1, options: as for `jaxcardio.simulate`; every cell has its own `status`, and may have its own `y0`.
        chunk: cells simulated together on each device, rounded up to a multiple of `LANES`; default as many as fit in
            memory (on a CPU at most `CPU_CHUNK`). On one CPU device the result does not depend on it, to the last bit.
        devices: default all devices of this process. One CPU device works on as many chunks at once as there are cores.
        reduce: applied to the `Trace` of each chunk, e.g. to keep biomarkers and not samples; its leaves keep the
            leading axis of cells.
        progress: True for a bar on stderr, or a function of the fraction done.

    Returns:
        A `Trace` with leaves of shape (n_cells, time) on the host, or what `reduce` returns for all cells.

    Raises:
        ValueError: for a single cell, an argument out of range, or devices of another process.
    """
    check_cell(cells, "cells")
    n = cells.population_size()
    if n is None:
        raise ValueError("cells: expected a population (parameters of shape (n_cells,)), got a single cell")
    devices = _checked_devices(devices)
    workers = _workers(devices)
    size = _chunk(chunk, cells, n, t1, options, devices, workers)
    batch = size * len(devices)
    starts = list(range(0, n, batch))
    report = progress_bar(f"{n} cells", n, "cells") if progress is True else progress or (lambda done: None)
    y0 = options.pop("y0", None)
    about: dict[str, Any] = {}

    def run(start: int) -> Any:
        """One chunk; the last is filled up with copies of the last cell, so that one compiled program serves all."""
        index = np.minimum(np.arange(start, start + batch), n - 1)
        some = spread(member(cells, index), devices, cells.population_axes())
        begin = spread(jax.tree.map(lambda x: x[index] if np.ndim(x) else x, y0), devices)
        trace = simulate_one(some, protocol, t1=t1, y0=begin, **options)
        about.setdefault("ts", trace.ts)
        about.setdefault("solver", trace.solver)
        kept = (trace.ys, trace.status, trace.final_state, trace.steps) if reduce is None else reduce(trace)
        return jax.tree.map(lambda x: np.asarray(x)[: n - start], kept)

    with ThreadPoolExecutor(workers) as pool:
        try:
            futures = [pool.submit(run, start) for start in starts]
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                report(done / len(starts))
        except BaseException:  # interrupted, or one chunk failed: the others need not be begun
            pool.shutdown(cancel_futures=True)
            raise
    joined = jax.tree.map(lambda *x: np.concatenate(x), *(future.result() for future in futures))
    if reduce is not None:
        return joined
    ys, status, final_state, steps = joined
    return Trace(about["ts"], ys, status, final_state, steps, cells, protocol, about["solver"])


@typed
def member(cells: AbstractCell, index) -> AbstractCell:
    """Cell `index` of a population, or the population of several indices (an array)."""
    axes = cells.population_axes()
    return jax.tree.map(lambda axis, x: x if axis is None else x[index], axes, cells, is_leaf=lambda x: x is None)


def spread(tree: Any, devices: Sequence[Any], axes: Any = None) -> Any:
    """The arrays of a population, or of its states, divided over devices along their leading axis; all else on each.

    `axes`, of the same structure, is 0 for what is divided and None for what is not (as weights of a network in the
    cells are not); without it, arrays of one dimension are.
    """
    mesh = Mesh(np.array(devices), ("cells",))
    along, whole = NamedSharding(mesh, PartitionSpec("cells")), NamedSharding(mesh, PartitionSpec())
    if axes is None:
        axes = jax.tree.map(lambda x: 0 if np.ndim(x) == 1 else None, tree)

    def put(axis, x):
        return jax.device_put(x, whole if axis is None else along)

    return jax.tree.map(put, axes, tree, is_leaf=lambda x: x is None)


def _checked_devices(devices) -> list[Any]:
    local = jax.local_devices()
    devices = local if devices is None else list(devices)
    if not devices or not set(devices) <= set(local):
        raise ValueError(f"devices = {devices}; allowed: one or more of this process's {local}")
    return devices


def _workers(devices: Sequence[Any]) -> int:
    """Chunks in flight: one a core that no device occupies, or one to compute and one to copy."""
    if devices[0].platform != "cpu":
        return 2
    return max(1, _cores() // len(devices))


def _cores() -> int:
    """Cores that this process may use; where the system does not say, those that there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunk(chunk, cells, n, t1, options, devices, workers) -> int:
    """Cells a device and chunk."""
    if chunk is None:
        fit = MEMORY_SHARE * _free_bytes(devices[0]) / workers / _bytes_per_cell(cells, t1, options)
        chunk = 2 ** math.floor(math.log2(max(1.0, fit)))  # the same size while free memory varies
        if devices[0].platform == "cpu":
            chunk = min(chunk, CPU_CHUNK, -(-n // (workers * len(devices))))
    check_whole("chunk", chunk, "cells")
    # Every size compiles anew: few sizes, an eighth apart.
    each = -(-n // len(devices))
    granule = max(LANES, 2 ** (each.bit_length() - 4))
    return min(-(-chunk // LANES) * LANES, -(-each // granule) * granule)


def _bytes_per_cell(cells: AbstractCell, t1: float, options: dict[str, Any]) -> int:
    """What one cell of a chunk takes while it runs: its state, and its samples up to four times (blocks with room for
    more samples than they have, and all of them again in order)."""
    states = len(cells.initial_state())
    t0, at, every = (options.get(name) for name in ("t0", "save_at", "save_every"))
    span = t1 - (t0 or 0.0)
    if isinstance(at, str):
        grid = options.get("grid")
        samples = span / options.get("dt", DEFAULT_DT) if grid is None else np.size(grid)
    elif at is None:
        samples = span / (every or DEFAULT_SAVE_EVERY)
    else:
        samples = np.size(at)
    outputs = len(options.get("outputs") or range(states))
    return int(dtype_of(cells).itemsize * (4 * outputs * (samples + 1) + 200 * states))


def _free_bytes(device: Any) -> int:
    """Free memory of a device; on a CPU that of the host, 4 GB where it does not say."""
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 4 * 2**30
