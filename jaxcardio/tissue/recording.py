"""Long runs of a tissue on disk: written part by part in bounded memory, resumed after any end, opened lazily.

A folder holds `record.h5`, which says what is run, and a file for every finished part of the run: its samples, what
was found in every cell so far, and the state at its end, with all that the solver and the search for events remember.
So the parts do not depend on where the run was interrupted.
"""

import functools
import hashlib
import json
import math
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import diffrax
import equinox as eqx
import h5py
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ..annotations import typed
from ..arguments import check_known, is_traced, refusal
from ..cell import AbstractCell, dtype_of
from ..clock import RESOLUTION
from ..files.hdf5 import read_hdf5
from ..files.locking import locked
from ..files.reading import FLOATS, TRUTH, WHOLE, Group, open_hdf5
from ..files.records import versions
from ..files.writing import LEFT, put, remove_left, write_hdf5
from ..progress import progress_bar, say
from ..simulation.grid import SHORTEST_STEP, check_span, save_times
from .cost import Cost, cost
from .events import When
from .grid import Tissue
from .loop import begin, blocks, first_sample
from .plan import Plan
from .run import Run
from .simulate import Prepared, prepared
from .splitting import Method, Splitting
from .stimulus import Stimulus
from .storage import cell_digest, described, digest_of, events_of, put_events, put_tissue, times_of, tissue_of

FORMAT, PART_FORMAT = "jaxcardio tissue recording", "part of a jaxcardio tissue recording"
FORMAT_VERSION = 1
NAME = "record.h5"
MOST_PARTS = 100_000
"""Files of one folder; more are slow to work with."""
LEFT_BEHIND = re.compile(r"(record|part-\d{5})\.h5" + LEFT.pattern)


@typed
def record(
    folder: str | Path,
    tissue: Tissue,
    stimuli: Sequence[Any] | Stimulus | None = (),
    *,
    t1: float,
    t0: float = 0.0,
    part: float = 50.0,
    save_every: float = 1.0,
    dt: float | None = None,
    outputs: Sequence[str] | None = None,
    solver: diffrax.AbstractSolver | None = None,
    splitting: Splitting = "strang",
    diffusion: Method = "explicit",
    y0: Any = None,
    threshold: float | None = None,
    beats: int = 1,
    devices: Sequence[Any] | None = None,
    progress: bool | Callable[[float], None] = False,
) -> "Record":
    """Runs a tissue from t0 to t1 into a folder, or what is missing of it: a run that was killed goes on where it was.

    The memory it takes is that of one part, whatever t1. Every part is written whole or not at all, and a run that was
    interrupted gives the same numbers as one that was not, to the last bit on the same devices.

    Args:
        folder: made if need be.
        tissue, stimuli, dt, outputs, solver, splitting, diffusion, y0, threshold, beats, devices: as for `simulate`.
        t1, t0: end and start, ms.
        part: length of a part, ms, a multiple of `save_every`: what an interruption can cost.
        save_every: interval of the samples, ms.
        progress: True for a bar on stderr, and at the end where the time went (cells, diffusion, output); or a function
            of the fraction done.

    Returns:
        The finished `Record`.

    Raises:
        ValueError: an argument is out of range, or the folder holds another recording: the first argument that differs
            is named. A file of it is damaged or foreign. Nothing is overwritten.
    """
    folder = Path(folder)
    length = check_span(t0, t1)
    parts = _Parts(float(t0), length, *_checked_intervals(part, save_every, length))
    if is_traced(*jax.tree.leaves((tissue, y0))):
        raise ValueError("tissue is traced; allowed: concrete values (a recording goes to files)")
    ready = prepared(tissue, stimuli, dt, outputs, solver, splitting, diffusion, y0, threshold, beats, devices)
    ready.check_fits(1 + round(parts.part / parts.every))
    ready._replace(dt=length).plan(float(t0), length, np.array([length]), np.array([float(t1)]))  # are stimuli good?
    recipe = _recipe(ready, tissue, parts, solver)
    with locked(folder):
        remove_left(folder, LEFT_BEHIND)
        if os.path.lexists(folder / NAME):
            _check_same(folder, recipe)
        else:
            _write_recipe(folder, ready, tissue, recipe)
        _make_missing(folder, tissue, ready, parts, recipe, progress)
    return open_record(folder, tissue.cell)


@typed
def open_record(folder: str | Path, cell: AbstractCell | None = None) -> "Record":
    """A recording, finished or not; see `Record`. Nothing but what is asked for is read.

    Args:
        folder: where `record` has written.
        cell: where the file cannot hold it, as for `Run.load`.

    Raises:
        ValueError: no recording is there, or a file of it is missing, damaged or foreign; it is named.
    """
    return Record(Path(folder), cell)


class _Parts:
    """How a run is divided in time."""

    def __init__(self, t0: float, length: float, part: float, every: float):
        self.t0, self.length, self.part, self.every = t0, length, part, every
        self.since = save_times(0.0, length, every)
        """Samples, ms since t0."""
        self.count = math.ceil((length - RESOLUTION) / part)
        if self.count > MOST_PARTS:
            least = length / MOST_PARTS
            raise refusal("part", part, "ms", f"at least {least:.4g} ms: no more than {MOST_PARTS} files")
        ends = part * np.arange(1, self.count) + RESOLUTION
        self.first = np.concatenate([[0], np.searchsorted(self.since, ends), [len(self.since)]])
        """Of each part, and one more, its first sample. A sample between two parts belongs to the earlier one."""

    def begin(self, k: int) -> float:
        """ms since t0"""
        return self.part * k

    def span(self, k: int) -> float:
        """Its length, ms."""
        return min(self.part, self.length - self.begin(k))

    def plan(self, ready: Prepared, k: int) -> Plan:
        since = self.since[self.first[k] : self.first[k + 1]]
        within = np.clip(since - self.begin(k), 0.0, self.span(k))
        return ready.plan(self.t0 + self.begin(k), self.span(k), within, self.t0 + since, goes_on=k > 0)


class Frames:
    """One output of a recording, (time, *grid), read from its files when it is indexed: `record.V[10:20]`."""

    def __init__(self, owner: "Record", name: str):
        self._owner, self._name = owner, name
        self.shape = (len(owner.ts), *owner.tissue.shape)
        self.dtype = np.dtype(dtype_of(owner.tissue.cell))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        """Samples by number, slice or list along the first axis; what follows chooses cells."""
        times, *rest = key if isinstance(key, tuple) else (key,)
        try:
            wanted = np.arange(len(self))[times]
        except (IndexError, TypeError):
            raise refusal("index", times, "", f"samples 0 to {len(self) - 1}: a number, a slice or a list") from None
        found = self._read(np.atleast_1d(wanted))
        found = found[(slice(None), *rest)]
        return found if np.ndim(wanted) else found[0]

    def _read(self, wanted: np.ndarray) -> np.ndarray:
        found = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        first = self._owner._parts.first
        of = np.searchsorted(first, wanted, side="right") - 1
        for k in np.unique(of):
            here = np.flatnonzero(of == k)
            rows = wanted[here] - first[k]
            low, high = int(rows.min()), int(rows.max()) + 1
            with _part(self._owner.folder, int(k), self._owner._digest) as file:
                data = file.dataset(f"outputs/{self._name}")
                wrong = data.shape != (first[k + 1] - first[k], *self.shape[1:]) or data.dtype != self.dtype
                if wrong:
                    raise refusal(data.name, f"{data.dtype} of shape {data.shape}", "", f"{self.dtype} of this run")
                found[here] = data.rows(low, high)[rows - low]
        return found


class Record:
    """A recording of a tissue on disk, finished or not.

    Attributes:
        folder: where it is.
        tissue, stimuli, threshold, settings: what is run, as of a `Run`.
        ts: times of the samples that are there, ms, (time,).
        finished: whether all of the run is there.
        outputs: names of what is saved.
    """

    def __init__(self, folder: Path, cell: AbstractCell | None = None):
        self.folder = folder
        _check_there(folder)
        self.tissue, self.stimuli, recipe = read_hdf5(
            folder / NAME, FORMAT, FORMAT_VERSION, functools.partial(_recipe_of, cell=cell)
        )
        self._digest = _digest_of(recipe)
        self._parts = _Parts(recipe["t0"], recipe["t1"] - recipe["t0"], recipe["part"], recipe["save_every"])
        self.outputs = tuple(recipe["outputs"])
        self.threshold = float(recipe["threshold"])
        self.settings = str(recipe["settings"])
        there = [k for k in range(self._parts.count) if os.path.lexists(_path(folder, k))]
        missing = sorted(set(range(len(there))) - set(there))
        if missing:
            raise ValueError(f"{_path(folder, missing[0])}: the file is missing; resuming makes it again")
        self._there = len(there)
        self.finished = self._there == self._parts.count
        self.ts: Float[np.ndarray, " time"] = self._parts.t0 + self._parts.since[: self._parts.first[self._there]]

    @property
    def V(self) -> Frames:
        """Membrane potential, mV, (time, *grid): read when it is indexed."""
        return self.output(self.tissue.cell.potential)

    def output(self, name: str) -> Frames:
        """A saved output, (time, *grid): read when it is indexed."""
        if name not in self.outputs:
            raise refusal("name", name, "", f"what was saved: {', '.join(self.outputs)}")
        return Frames(self, name)

    @property
    def activation_times(self) -> Float[np.ndarray, " beats *grid"]:
        """As of a `Run`, so far."""
        return self._events["activation_times"]

    @property
    def repolarisation_times(self) -> Float[np.ndarray, " beats *grid"]:
        """As of a `Run`, so far."""
        return self._events["repolarisation_times"]

    @property
    def activation_time(self) -> Float[np.ndarray, "*grid"]:
        """Of the first activation, ms."""
        return self.activation_times[0]

    @property
    def activations(self) -> Int[np.ndarray, "*grid"]:
        """How often each cell was activated so far."""
        return self._events["activations"]

    @property
    def status(self) -> Int[np.ndarray, "*grid"]:
        """`jaxcardio.Status` code of each cell."""
        return self._events["status"]

    @property
    def final_state(self) -> Any:
        """The state at the end of what is there."""
        with self._last() as file:
            return _state_of(file, self.tissue)

    def run(self, since: float = -math.inf, until: float = math.inf) -> Run:
        """The samples from `since` to `until` (ms) in memory, as a `Run`, for what is measured and drawn of runs.

        Events, status and final state are those of the whole recording.
        """
        for name, value in (("since", since), ("until", until)):
            check_known(name, value, "ms", "a number", lambda x: ~np.isnan(x))
        chosen = np.flatnonzero((self.ts >= since - RESOLUTION) & (self.ts <= until + RESOLUTION))
        if not len(chosen):
            raise refusal("since", since, "ms", f"up to until = {until} ms, with a sample between")
        rows = slice(chosen[0], chosen[-1] + 1)
        return Run(
            ts=self.ts[rows],
            ys={name: self.output(name)[rows] for name in self.outputs},  # pyright: ignore[reportArgumentType]
            **self._events,
            final_state=self.final_state,
            tissue=self.tissue,
            stimuli=self.stimuli,
            threshold=self.threshold,
            settings=self.settings,
        )

    @functools.cached_property
    def _events(self) -> dict[str, Any]:
        with self._last() as file:
            return events_of(file, self.tissue.shape)

    def _last(self):
        if not self._there:
            raise ValueError(f"{self.folder}: no part is finished yet")
        return _part(self.folder, self._there - 1, self._digest)


def _checked_intervals(part, save_every, length: float) -> tuple[float, float]:
    allowed = f"{SHORTEST_STEP:g} ms to t1 - t0 = {length:g} ms"
    check_known("save_every", save_every, "ms", allowed, lambda x: SHORTEST_STEP <= x <= length + RESOLUTION)
    check_known("part", part, "ms", "> 0, finite; a multiple of save_every", lambda x: np.isfinite(x) and x > 0)
    times = part / save_every
    if round(times) < 1 or abs(times - round(times)) * save_every > RESOLUTION:
        raise refusal("part", part, "ms", f"a multiple of save_every = {save_every:g} ms")
    return float(part), float(save_every)


def _recipe(ready: Prepared, tissue: Tissue, parts: _Parts, solver) -> dict[str, Any]:
    """All that decides what is in the files, by name of argument: texts and numbers, and digests of arrays."""
    texts, arrays = described(tissue, ready.stimuli)
    state = {f"y0.{name}": (np.asarray(x), "") for name, x in ready.y0._asdict().items()}
    return {
        "t0": parts.t0,
        "t1": parts.t0 + parts.length,
        "part": parts.part,
        "save_every": parts.every,
        "dt": ready.dt,
        "outputs": list(ready.loop.names),
        "solver": type(ready.loop.solver).__name__ if solver is None else " ".join(repr(solver).split()),
        "splitting": ready.loop.splitting,
        "diffusion": ready.loop.method,
        "threshold": ready.threshold,
        "beats": ready.loop.beats,
        "settings": ready.how,
        **texts,
        **digest_of(arrays),
        "cell": cell_digest(tissue.cell),
        **digest_of(state),
    }


def _digest_of(recipe: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def _write_recipe(folder: Path, ready: Prepared, tissue: Tissue, recipe: dict[str, Any]) -> None:
    def write(file: h5py.File) -> None:
        file.attrs.update(format=FORMAT, format_version=FORMAT_VERSION, versions=json.dumps(versions()))
        file.attrs["recipe"] = json.dumps(recipe)
        put_tissue(file, tissue, ready.stimuli)

    write_hdf5(folder / NAME, write)


KINDS: dict[str, Any] = dict.fromkeys(("t0", "t1", "part", "save_every", "threshold"), (int, float))
KINDS |= {"settings": str, "outputs": list}
"""What a recipe must have to be opened."""


def _recipe_of(file: Group, cell: AbstractCell | None) -> tuple[Tissue, tuple[Stimulus, ...], dict[str, Any]]:
    recipe = file.json("recipe")
    for name, kind in KINDS.items():
        if not isinstance(recipe.get(name), kind) or isinstance(recipe[name], bool):
            raise refusal(f"recipe: {name}", recipe.get(name), "", "what was written")
    check_span(recipe["t0"], recipe["t1"])
    _checked_intervals(recipe["part"], recipe["save_every"], recipe["t1"] - recipe["t0"])
    tissue, stimuli = tissue_of(file, cell)
    for name in recipe["outputs"]:
        if name not in tissue.cell.units:
            raise refusal("recipe: outputs", name, "", "names of states and currents")
    texts, arrays = described(tissue, stimuli)
    there = {**texts, **digest_of(arrays), "cell": cell_digest(tissue.cell)}
    for name, value in there.items():
        if recipe.get(name) != value:
            raise ValueError(f"{name}: not what was recorded: another cell, or damaged")
    return tissue, stimuli, recipe


def _check_there(folder: Path) -> None:
    if not os.path.lexists(folder / NAME):
        there = os.path.lexists(folder) and not os.path.isdir(folder)
        wrong = "is a file; allowed: a folder" if there else f"no recording there (it has no {NAME})"
        raise ValueError(f"folder = {folder}: {wrong}")


def _check_same(folder: Path, recipe: dict[str, Any]) -> None:
    with open_hdf5(folder / NAME, FORMAT, FORMAT_VERSION) as file:
        there = file.json("recipe")
    for name in [*recipe, *there]:
        if there.get(name) != recipe.get(name):
            short = all(not isinstance(x, str) or len(x) < 60 for x in (there.get(name), recipe.get(name)))
            values = f" = {recipe.get(name)}, and there {there.get(name)}" if short else " is another"
            raise ValueError(
                f"folder = {folder}: holds a recording of other arguments ({name}{values}); allowed: the same "
                "arguments, or another folder"
            )


def _make_missing(folder: Path, tissue: Tissue, ready: Prepared, parts: _Parts, recipe, progress) -> None:
    """Makes the parts that are not there, in order."""
    missing = [k for k in range(parts.count) if not os.path.lexists(_path(folder, k))]
    report = progress_bar(f"{len(missing)} parts") if progress is True else progress or (lambda done: None)
    digest = _digest_of(recipe)
    spent: dict[str, float] = {"steps": 0.0, "output": 0.0}
    count, now = 0, -1
    carry = times = None
    for done, k in enumerate(missing, 1):
        plan = parts.plan(ready, k)
        began = time.perf_counter()
        first = begin(ready.loop, ready.y0, jax.tree.map(lambda x: x[0, 0], plan.steps))
        if now != k - 1 or k == 0:
            carry, times = (first, _no_times(first)) if k == 0 else _resumed(folder, k - 1, digest, tissue, first)
        carry, frames = _advanced(ready, carry, plan, first if k == 0 else None)
        times = _later(times, carry, plan)
        jax.block_until_ready(carry)
        stepped = time.perf_counter()
        _write_part(folder, k, digest, tissue, plan, frames, times, carry)
        # Moments are of steps of a part: they are in `times` by now.
        carry = carry._replace(events=_without_moments(carry.events))
        spent["steps"] += stepped - began
        spent["output"] += time.perf_counter() - stepped
        count += len(plan.start)
        now = k
        report(done / len(missing))
    if progress is True and missing:
        say(f"{_spent(spent, count, _cost_of(tissue, ready))}\n")


def _advanced(ready: Prepared, carry, plan: Plan, first) -> tuple[Any, dict[str, np.ndarray]]:
    """The carry at the end of a part, and its samples on the host; `first`: the carry whose state is a sample too.

    Padding steps, which change nothing but what a solver remembers, are not taken: what follows is to go on as if there
    were no end.
    """
    loop = ready.loop_of(plan)
    size = plan.steps.dt.shape[1]
    whole, rest = divmod(len(plan.start), size)
    pieces = [jax.tree.map(lambda x: x[:whole], plan.steps)] if whole else []
    if rest:
        pieces.append(jax.tree.map(lambda x: x[whole : whole + 1, :rest], plan.steps))
    frames: dict[str, list[np.ndarray]] = {name: [] for name in loop.names}
    for steps in pieces:
        carry, saved = blocks(loop, carry, steps)
        for name, x in saved.items():
            frames[name].append(np.asarray(x))
    wanted = np.flatnonzero(plan.kept)
    found = {name: np.concatenate(x)[wanted] for name, x in frames.items()}
    if first is not None and plan.save_start:
        start = first_sample(loop, first.y)
        found = {name: np.concatenate([np.asarray(start[name])[None], x]) for name, x in found.items()}
    return carry, found


def _no_times(carry) -> tuple[np.ndarray, np.ndarray]:
    none = np.full(carry.events.activation.step.shape, np.nan)
    return none, none.copy()


def _later(times, carry, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Activation and repolarisation times so far, with those of the steps of this part."""
    found = []
    for earlier, when in zip(times, (carry.events.activation, carry.events.repolarisation), strict=True):
        step, part = np.asarray(when.step), np.asarray(when.part, np.float64)
        found.append(np.where(step < 0, earlier, plan.start[step] + part * plan.dt[step]))
    return found[0], found[1]


def _without_moments(events):
    def none(when: When) -> When:
        return When(jnp.full_like(when.step, -1), jnp.zeros_like(when.part))

    return events._replace(activation=none(events.activation), repolarisation=none(events.repolarisation))


def _path(folder: Path, k: int) -> Path:
    return folder / f"part-{k:05d}.h5"


def _memory_of(carry) -> list[Any]:
    """The arrays that a run goes on with, beside the state and the moments: in a fixed order."""
    events = carry.events._replace(activation=None, repolarisation=None)
    return [x for x in jax.tree.leaves((carry.solver_state, events, carry.status)) if eqx.is_array(x)]


def _write_part(
    folder: Path, k: int, digest: str, tissue: Tissue, plan: Plan, frames, times: tuple[np.ndarray, np.ndarray], carry
) -> None:
    units = tissue.cell.units

    def write(file: h5py.File) -> None:
        file.attrs.update(format=PART_FORMAT, format_version=FORMAT_VERSION, recipe=digest, part=k)
        put(file, "t", plan.ts, "ms")
        for name, values in frames.items():
            put(file, f"outputs/{name}", values, units[name])
        put_events(file, *times, carry.events.activations, carry.status)
        for name, values in carry.y._asdict().items():
            put(file, f"final_state/{name}", values, units[name])
        for n, values in enumerate(_memory_of(carry)):
            put(file, f"memory/{n:03d}", values, "of the run")

    write_hdf5(_path(folder, k), write)


def _part(folder: Path, k: int, digest: str):
    """A part for reading, after a look at whether it is one of this recording."""
    return _OpenPart(_path(folder, k), k, digest)


class _OpenPart:
    def __init__(self, path: Path, k: int, digest: str):
        self.path, self.k, self.digest = path, k, digest
        self.inner = open_hdf5(path, PART_FORMAT, FORMAT_VERSION)

    def __enter__(self) -> Group:
        file = self.inner.__enter__()
        try:
            if file.text("recipe") != self.digest or file.whole("part") != self.k:
                raise ValueError(f"part {file.whole('part')} of another recording; allowed: part {self.k} of this one")
        except BaseException as error:
            self.inner.__exit__(type(error), error, error.__traceback__)
            raise
        return file

    def __exit__(self, *error):
        return self.inner.__exit__(*error)


def _state_of(file: Group, tissue: Tissue) -> Any:
    state, units = type(tissue.cell.initial_state()), tissue.cell.units
    return state(**{n: file.numbers(f"final_state/{n}", tissue.shape, FLOATS, units[n]) for n in state._fields})


def _resumed(folder: Path, k: int, digest: str, tissue: Tissue, like):
    """The carry and the times at the end of part k; `like` has the structure of the carry."""
    with _part(folder, k, digest) as file:
        times_of(file)
        found = events_of(file, tissue.shape)
        y = _fitting(like.y, lambda n, x: file.numbers(f"final_state/{like.y._fields[n]}", x.shape, FLOATS))
        wanted = (like.solver_state, like.events._replace(activation=None, repolarisation=None), like.status)
        kinds = {"f": FLOATS, "i": WHOLE, "u": WHOLE, "b": TRUTH}
        solver_state, events, status = _fitting(
            wanted, lambda n, x: file.numbers(f"memory/{n:03d}", x.shape, kinds[x.dtype.kind])
        )
    events = events._replace(activation=like.events.activation, repolarisation=like.events.repolarisation)
    carry = like._replace(y=y, solver_state=solver_state, events=_without_moments(events), status=status)
    return carry, (found["activation_times"], found["repolarisation_times"])


def _fitting(tree, read: Callable[[int, Any], np.ndarray]):
    """The tree with its arrays read, in order; ValueError: one of another kind."""
    arrays, rest = eqx.partition(tree, eqx.is_array)
    leaves, structure = jax.tree.flatten(arrays)
    found = []
    for n, x in enumerate(leaves):
        values = read(n, x)
        if values.dtype != x.dtype:
            raise ValueError(f"array {n} of the state: of {values.dtype}; allowed: {x.dtype}")
        found.append(jnp.asarray(values))
    return eqx.combine(structure.unflatten(found), rest)


def _cost_of(tissue: Tissue, ready: Prepared) -> Cost:
    """Of a step of this run."""
    loop = ready.loop
    devices = None if loop.mesh is None else list(loop.mesh.devices.flat)
    return cost(
        tissue, ready.stimuli, dt=ready.dt, solver=loop.solver, splitting=loop.splitting, diffusion=loop.method,
        y0=ready.y0, threshold=ready.threshold, beats=loop.beats, devices=devices,
    )  # fmt: skip


def _spent(spent: dict[str, float], count: int, each: Cost) -> str:
    """Where the time went: output as it was timed; a step's parts as `cost` found them; compiling is what is left."""
    cells, diffusion = count * each.cells, count * each.diffusion
    return (
        f"{count} steps: cells {cells:.3g} s, diffusion {diffusion:.3g} s, output {spent['output']:.3g} s, compiling "
        f"and all else {max(0.0, spent['steps'] - cells - diffusion):.3g} s"
    )
