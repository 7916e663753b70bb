"""What a dataset of simulated cells is made from: everything that decides its numbers, and how to make any of them."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ..annotations import check_fields, typed
from ..arguments import check, check_whole, refusal
from ..cell import AbstractCell, astype, unknown_name
from ..clock import check_time
from ..files.records import cell_from_json, cell_to_json
from ..protocols import AbstractProtocol, from_json, to_json
from ..simulation.grid import check_span, paced_grid, save_times
from ..simulation.memory import STEP_BYTES, check_fits
from ..simulation.trace import Status
from ..solvers import RushLarsen2
from .distributions import AbstractDistribution, distribution_from_json, distribution_to_json
from .hashing import VERSION
from .sampling import MOST, sample
from .simulation import simulate
from .viability import DISCARD, DT, T1, Reason, Rules, check_window, screen

SCREENING_COST = 0.9
"""Part of the time of a cell that is screened which its screening takes, for the progress bar."""


class Batch(NamedTuple):
    """Some cells of a dataset, on the host."""

    cells: Int[np.ndarray, " n"]
    """Which cells: their indices."""
    theta: Float[np.ndarray, "n parameters"]
    """p / p0 - 1 of every varied parameter, in the order of `Recipe.parameters`."""
    outputs: dict[str, Float[np.ndarray, "n time"]]
    """What was recorded of them, by name."""


class Made(NamedTuple):
    """Some cells as `Recipe.make` makes them: those that are kept, and why others are not."""

    batch: Batch
    """The cells that are kept."""
    cells: Int[np.ndarray, " all"]
    """All cells that were to be made: their indices."""
    theta: Float[np.ndarray, "all parameters"]
    reasons: Int[np.ndarray, " all"]
    """Bits of `Reason` against each of them; 0 where it is kept."""
    status: Int[np.ndarray, " all"]
    """`Status` of the recorded run, of the screening run where that failed."""
    biomarkers: dict[str, np.ndarray]
    """What the screening measured of each, by name; empty without a screening."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Cells around one, and a run of each: all that decides the numbers of a dataset.

    Cell i depends on the recipe and i alone, not on `n`, chunks, shards, devices, processes or restarts.

    Attributes:
        cell: the cell to vary. A model of your own is found again by its module and name, if that has been imported.
        n: number of cells to make. With `rules` fewer are kept.
        seed: see `sample`.
        distribution: of the factors by which parameters are multiplied.
        parameters: names of those that vary.
        protocol: what every cell undergoes while it is recorded: a clamp, a stimulus, or None.
        t1: length of the recorded run, ms, from the published initial state.
        save_every: sampling interval, ms.
        outputs: names of the states and currents to keep.
        dt: longest step, ms. Default: under a clamp the closed form's own grid, paced `paced_grid`, else 0.1 ms. The
            solver is `RushLarsen2`.
        dtype: "float32" or "float64", of the runs and of what is kept.
        rules: which cells to keep, judged on a run of its own; None to keep every cell whose recorded run ends well.
        screening_protocol, screening_t1, screening_discard: of the run that is judged: a stimulus, or None for cells
            that beat by themselves; its length and how much of it is not looked at, ms.

    ValueError: an argument out of its range, by name.
    """

    cell: AbstractCell
    n: int
    seed: int
    distribution: AbstractDistribution
    parameters: Sequence[str]
    protocol: AbstractProtocol | None
    t1: float
    save_every: float = 1.0
    outputs: Sequence[str] = ("I_ion_total",)
    dt: float | None = None
    dtype: str = "float32"
    rules: Rules | None = None
    screening_protocol: AbstractProtocol | None = None
    screening_t1: float = T1
    screening_discard: float = DISCARD

    def __post_init__(self):
        check_fields(self)
        check_whole("n", self.n, "cells")
        if self.n > MOST:
            raise refusal("n", self.n, "cells", "at most 2^32")
        check("t1", self.t1, "ms", "> 0", lambda x: np.isfinite(x) and x > 0)
        check_time("t1", self.t1)
        check("save_every", self.save_every, "ms", f"0 < save_every <= t1 = {self.t1} ms", lambda x: 0 < x <= self.t1)
        samples = self.t1 / self.save_every
        check_fits(f"t1 = {self.t1:g} ms at save_every = {self.save_every:g} ms", samples, "samples", STEP_BYTES)
        if self.dt is not None:
            check("dt", self.dt, "ms", "> 0, or None", lambda x: np.isfinite(x) and x > 0)
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"dtype = {self.dtype!r}; allowed: 'float32' or 'float64'")
        for name in self.outputs:
            if name not in self.cell.units:
                raise ValueError(unknown_name("state or current", name, self.cell.units, type(self.cell).__name__))
        if self.cell.units[self.cell.potential] != "mV" and (self.dt is None or self.rules is not None):
            raise ValueError("dt and rules: a dimensionless model needs a dt > 0, and the rules are in mV and ms")
        if self.rules is not None:
            check_window(self.screening_t1, self.screening_discard, self.screening_protocol, "screening_")
        object.__setattr__(self, "parameters", tuple(self.parameters))
        object.__setattr__(self, "outputs", tuple(self.outputs))
        cell_to_json(self.cell)
        self._sampled(self.cell, [0])

    @property
    def ts(self) -> Float[np.ndarray, " time"]:
        """Times of the samples, ms."""
        return save_times(0.0, self.t1, self.save_every)

    def cells(self, indices: Sequence[int] | np.ndarray) -> AbstractCell:
        """These cells, a population in the dtype of the recipe."""
        return self._sampled(astype(self.cell, jnp.dtype(self.dtype)), indices)

    def _sampled(self, around: AbstractCell, indices) -> AbstractCell:
        return sample(
            around, indices=indices, seed=self.seed, distribution=self.distribution, parameters=self.parameters
        )

    def theta(self, indices: Sequence[int] | np.ndarray) -> Float[np.ndarray, "n parameters"]:
        """p / p0 - 1 of the varied parameters (columns) of these cells (rows), float64, free of any rounding."""
        return self.distribution.factors(self.parameters, seed=self.seed, indices=np.asarray(indices)) - 1

    def make(
        self, indices: Sequence[int] | np.ndarray, progress: Callable[[float], None] | None = None, **where
    ) -> Made:
        """Samples, screens and records these cells.

        Args:
            indices: which, from 0 to n - 1.
            progress: called with the fraction done.
            where: `chunk` and `devices`, as for `population.simulate`.
        """
        self._check_precision()
        index = self._checked(indices)
        report = progress or (lambda done: None)
        share = 0.0 if self.rules is None else SCREENING_COST
        reasons, status = np.zeros(len(index), np.int64), np.zeros(len(index), np.int64)
        biomarkers: dict[str, np.ndarray] = {}
        if self.rules is not None:
            found = screen(
                self.cells(index), self.rules, self.screening_protocol, t1=self.screening_t1,
                discard=self.screening_discard, progress=lambda done: report(share * done),
                **usual_steps(self.screening_protocol, self.screening_t1, None), **where,
            )  # fmt: skip
            reasons, biomarkers, status = found.reasons.copy(), found.biomarkers, found.biomarkers["status"].copy()
        kept = np.flatnonzero(reasons == 0)
        outputs = {name: np.zeros((0, len(self.ts)), self.dtype) for name in self.outputs}
        if len(kept):
            run = simulate(
                self.cells(index[kept]), self.protocol, t1=self.t1, save_every=self.save_every, outputs=self.outputs,
                progress=lambda done: report(share + (1 - share) * done),
                **usual_steps(self.protocol, self.t1, self.dt), **where,
            )  # fmt: skip
            status[kept] = run.status
            outputs = {name: getattr(run.ys, name) for name in self.outputs}
            finite = np.all([np.isfinite(x).all(axis=1) for x in outputs.values()], axis=0)
            status[kept] = np.where((run.status == Status.OK) & ~finite, int(Status.NON_FINITE), run.status)
            ended_well = status[kept] == Status.OK
            reasons[kept] = np.where(ended_well, 0, int(Reason.RUN_FAILED))
            outputs = {name: x[ended_well] for name, x in outputs.items()}
            kept = kept[ended_well]
        theta = self.theta(index)
        return Made(Batch(index[kept], theta[kept], outputs), index, theta, reasons, status, biomarkers)

    def batches(
        self, size: int, *, seed: int, epochs: int = 1, among: Sequence[int] | np.ndarray | None = None, **where
    ) -> Iterator[Batch]:
        """Batches of cells in random order, simulated when they are asked for: nothing is read or written.

        Args:
            size: cells to make for each batch; a batch holds those of them that are kept.
            seed: of the order.
            epochs: times that each cell is seen.
            among: which cells, e.g. the viable ones of a dataset; default all `n`.
            where: as for `make`.
        """
        check_whole("size", size, "cells")
        index = self._checked(np.arange(self.n) if among is None else among)
        for epoch in range(epochs):
            order = np.random.default_rng((seed, epoch)).permutation(index)
            for begin in range(0, len(order), size):
                yield self.make(order[begin : begin + size], **where).batch

    def to_json(self) -> dict[str, Any]:
        """The recipe as a plain dict that JSON can hold."""
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "cell": cell_to_json(self.cell),
            "distribution": distribution_to_json(self.distribution),
            "parameters": list(self.parameters),
            "outputs": list(self.outputs),
            "protocol": json.loads(to_json(self.protocol)),
            "screening_protocol": json.loads(to_json(self.screening_protocol)),
            "rules": None if self.rules is None else self.rules.to_json(),
            "solver": "RushLarsen2",
            "sampling_version": VERSION,
        }

    @staticmethod
    def from_json(written: Mapping[str, Any]) -> "Recipe":
        """The recipe that `to_json` wrote; a ValueError says what is wrong with it."""
        fields = dict(written)
        version, solver = fields.pop("sampling_version", None), fields.pop("solver", None)
        if version != VERSION:
            raise ValueError(f"sampling_version = {version}; allowed: {VERSION} (other versions gave other cells)")
        if solver != "RushLarsen2":
            raise ValueError(f"solver = {solver!r}; allowed: 'RushLarsen2'")
        known = {f.name for f in dataclasses.fields(Recipe)}
        if set(fields) != known:
            raise ValueError(f"recipe: fields {sorted(set(fields) ^ known)} are missing or unknown")
        rules = None if fields["rules"] is None else Rules.from_json(fields["rules"])
        protocols = {k: from_json(json.dumps(fields[k])) for k in ("protocol", "screening_protocol")}
        cell = cell_from_json(fields["cell"])
        distribution = distribution_from_json(fields["distribution"])
        return Recipe(**{**fields, **protocols, "cell": cell, "distribution": distribution, "rules": rules})

    @property
    def digest(self) -> str:
        """SHA-256 of the recipe without `n`: two recipes of one digest make the same cells."""
        return digest_of(self.to_json())

    def _checked(self, indices) -> Int[np.ndarray, " n"]:
        index = np.asarray(indices)
        if index.ndim != 1 or not np.issubdtype(index.dtype, np.integer):
            raise ValueError(f"indices: expected whole numbers of shape (n,), got {index.dtype} of shape {index.shape}")
        if index.size and not (index.min() >= 0 and index.max() < self.n):
            raise ValueError(f"indices = {index.min()} to {index.max()}; allowed: 0 to {self.n - 1}")
        return index

    def _check_precision(self) -> None:
        if self.dtype == "float64" and not jax.config.read("jax_enable_x64"):
            raise ValueError(
                "dtype = 'float64'; allowed without x64: 'float32'. Enable float64 with "
                "jax.config.update('jax_enable_x64', True)"
            )


def in_its_precision(written: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as `to_json` wrote it, with the parameters of its cell as they are in the dtype of its runs: the same
    whether JAX had float64 when it was written or not."""
    if written.get("dtype") != "float32":
        return dict(written)
    with np.errstate(over="ignore"):
        parameters = {k: float(np.float32(x)) for k, x in written["cell"]["parameters"].items()}
    return {**written, "cell": {**written["cell"], "parameters": parameters}}


def digest_of(written: Mapping[str, Any]) -> str:
    """`Recipe.digest` of a recipe as `to_json` wrote it, whatever JAX's precision then and now."""
    return text_digest_of(in_its_precision(written))


def text_digest_of(written: Mapping[str, Any]) -> str:
    """SHA-256 of the text of a recipe without `n`: what the first datasets were marked with."""
    same = {k: v for k, v in written.items() if k != "n"}
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()


@typed
def usual_steps(protocol: AbstractProtocol | None, t1: float, dt: float | None = None) -> dict[str, Any]:
    """How a population is stepped, as options of `simulate`: see `Recipe.dt`."""
    check_span(0.0, t1)
    check("dt", dt, "ms", "> 0, finite, or None", lambda x: 0 < x < np.inf)
    if protocol is not None and protocol.kind == "voltage":
        return {} if dt is None else {"dt": dt}
    if protocol is not None and dt is None:
        return {"solver": RushLarsen2(), "grid": paced_grid(protocol, t1)}
    return {"solver": RushLarsen2(), "dt": DT if dt is None else dt}


_PLAIN = ("n", "seed", "t1", "save_every", "dt", "dtype", "screening_t1", "screening_discard")
"""Fields of a recipe that JSON holds as they are."""
