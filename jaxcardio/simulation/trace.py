"""What a run returns: times, states, status, and where they came from; kept in HDF5."""

import collections
import copyreg
import enum
import functools
import json
from typing import Any, NamedTuple

import equinox as eqx
import h5py
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..arguments import is_real, is_traced, refusal, without_mask
from ..cell import AbstractCell, driven_state
from ..files.hdf5 import read_hdf5
from ..files.records import is_standard, model_name, rebuilt, static_fields, versions
from ..protocols import AbstractProtocol, from_json, to_json
from .compiled import ONCE, WIDE, compiled
from .request import Request
from .upstrokes import steepest

Numbers = Array | np.ndarray
FORMAT = "jaxcardio trace"
FORMAT_VERSION = 1


class Status(enum.IntEnum):
    """How a run ended, one code a cell."""

    OK = 0
    NON_FINITE = 1
    STEP_LIMIT = 2
    SOLVER_FAILED = 3


MESSAGES = {
    Status.OK: "ok",
    Status.NON_FINITE: (
        "a state became infinite or NaN: the initial state, the parameters or the protocol are not viable for this "
        "cell, or the step is too long for it"
    ),
    Status.STEP_LIMIT: "max_steps was reached: allow more steps or loosen rtol",
    Status.SOLVER_FAILED: "the solver's nonlinear solve or step-size control failed: loosen rtol, or use a shorter dt",
}


class Recording(eqx.Module):
    """A recorded potential in place of a cell's state."""

    V: Float[Numbers, "*population time"]


class Trace(eqx.Module):
    """A run, or a recording.

    Attributes:
        ts: times, ms, shape (time,), float64 numpy where they were concrete.
        ys: NamedTuple of what was saved, each of shape (time,), or (n_cells, time) for a population.
        status: `Status` code a cell, shape () or (n_cells,).
        final_state: the whole state at the end of the run, to continue from.
        steps: steps taken, shape () or (n_cells,).
        cell, protocol: what was run; None for a recording.
        solver: name and settings, as text.
    """

    ts: Float[Numbers, " time"]
    ys: Any
    status: Int[Numbers, "*population"]
    final_state: Any
    steps: Int[Numbers, "*population"]
    cell: AbstractCell | None
    protocol: AbstractProtocol | None
    solver: str = eqx.field(static=True)

    @property
    def V(self) -> Float[Numbers, "*population time"]:
        """Membrane potential, mV (dimensionless for Aliev-Panfilov), whatever the model calls it."""
        return getattr(self.ys, "V" if self.cell is None else self.cell.potential)

    @property
    def ok(self) -> Numbers:
        """True where the run ended well."""
        return self.status == Status.OK

    def currents(self) -> Any:
        """Every named current and flux along the run (pA/pF, outward positive), computed from the saved states."""
        if self.cell is None:
            raise ValueError("a recording has no currents")
        missing = set(type(self.cell.initial_state())._fields) - set(getattr(self.ys, "_fields", ()))
        if missing:
            raise ValueError(
                f"currents need every state; not saved: {', '.join(sorted(missing))} (run with outputs=None)"
            )
        return _currents(self.cell, self.ys)

    def knows_upstrokes(self) -> bool:
        """Whether `dvdt_max` can tell: a simulated trace, not of a clamp, with every state, whose values are known."""
        if self.cell is None or (self.protocol is not None and self.protocol.kind == "voltage"):
            return False
        every = set(type(self.cell.initial_state())._fields) <= set(self.ys._fields)
        return every and not is_traced(self.ts, *jax.tree.leaves((self.ys, self.cell, self.protocol)))

    def dvdt_max(
        self, rest: Int[np.ndarray, "*population beats"], upstroke: Int[np.ndarray, "*population beats"], wanted
    ) -> Float[np.ndarray, "*population beats"]:
        """Largest dV/dt (per ms) of beats, the stimulus included, as the model has it: stepped finely from the state
        saved before each upstroke, whatever the steps and the samples of the run.

        Args:
            rest, upstroke: samples at which V rests before each beat, and after which it rises most steeply.
            wanted: which beats to look at, (*population, beats); NaN for the others.
        """
        wanted = np.asarray(wanted)
        cells = np.broadcast_to(np.arange(wanted.shape[0])[:, None] if wanted.ndim == 2 else 0, wanted.shape)
        assert self.cell is not None
        states = type(self.cell.initial_state())(*(getattr(self.ys, n) for n in self.cell.initial_state()._fields))
        found = np.full(wanted.shape, np.nan)
        rest, upstroke = (np.asarray(x)[wanted] for x in (rest, upstroke))
        found[wanted] = steepest(self.cell, self.protocol, self.ts, states, cells[wanted], rest, upstroke)
        return found

    def problems(self) -> dict[int, str]:
        """Index and reason of every cell whose run did not end well."""
        codes = np.atleast_1d(np.asarray(self.status))
        return {int(i): MESSAGES[Status(int(codes[i]))] for i in np.flatnonzero(codes)}

    def save(self, path) -> None:
        """Writes times, states, units, parameters, protocol, solver and versions as HDF5."""
        with h5py.File(path, "w") as file:
            file.attrs.update(
                format=FORMAT,
                format_version=FORMAT_VERSION,
                solver=self.solver,
                protocol=to_json(self.protocol),
                versions=json.dumps(versions()),
                model="" if self.cell is None else model_name(self.cell),
                static="{}" if self.cell is None else json.dumps(static_fields(self.cell)),
                standard=self.cell is None or is_standard(self.cell),
            )
            units = {"V": "mV"} if self.cell is None else self.cell.units
            _write(file, "t", self.ts, "ms")
            _write(file, "status", self.status, "; ".join(f"{s.value} {s.name}" for s in Status))
            _write(file, "steps", self.steps, "1")
            for group, tree in (("states", self.ys), ("final_state", self.final_state)):
                for name, value in _items(tree):
                    _write(file, f"{group}/{name}", value, units.get(name, "1"))
            for name, p in ({} if self.cell is None else self.cell.parameters()).items():
                _write(file, f"parameters/{name}", p.value, p.unit, p.doc)

    @staticmethod
    def load(path, cell: AbstractCell | None = None) -> "Trace":
        """Reads what `save` wrote. A file truncated, foreign or of another version is a ValueError that says so.

        A model of your own must have been imported before. `cell` is needed where the file cannot hold it: where a
        sub-module was exchanged, or its class is defined within a function.
        """
        return read_hdf5(path, FORMAT, FORMAT_VERSION, lambda file, attrs: _read(file, attrs, path, cell))

    @staticmethod
    def from_samples(ts, V) -> "Trace":
        """A recording for biomarkers and plots: times (time,) in ms, potentials (time,) or (n, time) in mV."""
        ts, V = without_mask(ts), without_mask(V)
        for name, unit, x in (("ts", "ms", ts), ("V", "mV", V)):
            if not is_real(np.asarray(x)):
                raise refusal(name, x, unit, "numbers")
        ts, V = np.asarray(ts, np.float64), np.asarray(V)
        if ts.ndim != 1 or ts.size < 2 or V.ndim not in (1, 2) or V.shape[-1] != ts.size:
            raise ValueError(
                f"ts and V: expected shapes (time,) and (time,) or (n, time), got {ts.shape} and {V.shape}"
            )
        if not np.isfinite(ts).all() or not (np.diff(ts) > 0).all():
            raise ValueError("ts: expected finite, strictly ascending times in ms")
        zeros = np.zeros(V.shape[:-1], int)
        return Trace(ts, Recording(V), zeros, None, zeros, None, None, "recording")


def _currents_along_time(cell: AbstractCell, ys):
    """Currents of the states (time,) of a cell, or (n_cells, time) of a population."""
    along_time = jax.vmap(lambda cell, y: cell.currents(y), in_axes=(None, 0))
    if _is_population(cell, ys):
        along_time = jax.vmap(along_time, in_axes=(cell.population_axes(), 0))
    return along_time(cell, ys)


def _is_population(cell: AbstractCell, ys) -> bool:
    return cell.population_size() is not None or jnp.ndim(getattr(ys, cell.potential)) > 1


_currents = compiled(_currents_along_time, lambda cell, ys: WIDE if _is_population(cell, ys) else ONCE)


def _items(tree):
    if tree is None:
        return []
    fields = getattr(tree, "_fields", None) or tuple(tree.__dataclass_fields__)
    return [(name, getattr(tree, name)) for name in fields]


def _write(file, name, value, unit, doc=None):
    dataset = file.create_dataset(name, data=np.asarray(value))
    dataset.attrs["unit"] = unit
    if doc is not None:
        dataset.attrs["doc"] = doc


def _read(file: h5py.File, attrs: dict[str, Any], path, cell: AbstractCell | None) -> Trace:
    cell = _read_cell(file, attrs, path) if cell is None else cell
    states = {name: _dataset(file[f"states/{name}"]) for name in _group(file, "states")}
    if cell is None:
        ys, final = Recording(**states), None
    else:
        order = [*type(cell.initial_state())._fields, *states]
        ys = outputs_type(tuple(sorted(states, key=order.index)), type(cell.initial_state()))(**states)
        final = type(cell.initial_state())(
            **{n: _dataset(file[f"final_state/{n}"]) for n in _group(file, "final_state")}
        )
    return Trace(
        ts=_dataset(file["t"]),
        ys=ys,
        status=_dataset(file["status"]),
        final_state=final,
        steps=_dataset(file["steps"]),
        cell=cell,
        protocol=from_json(attrs["protocol"]),
        solver=attrs["solver"],
    )


def _read_cell(file: h5py.File, attrs: dict[str, Any], path) -> AbstractCell | None:
    name = attrs["model"]
    if not name:
        return None
    if not attrs["standard"]:
        why = "is changed in more than its parameters, or no module defines it"
        raise ValueError(f"path = {path}: its model {name} {why}; give cell=")
    values = {n: _dataset(file[f"parameters/{n}"]) for n in _group(file, "parameters")}
    return rebuilt(name, json.loads(attrs["static"]), values)


def _group(file: Any, name: str) -> list[str]:
    return list(file[name]) if name in file else []


def _dataset(item: Any) -> np.ndarray:
    return item[()]


def outputs_type(names: tuple[str, ...], state: Any) -> type:
    """The NamedTuple of the saved quantities: the cell's own state when all of it is saved, else one of the names."""
    return state if names == state._fields else _named_outputs(names)


@functools.cache
def _named_outputs(names: tuple[str, ...]) -> type:
    kind = collections.namedtuple("Outputs", names)
    copyreg.pickle(kind, lambda outputs: (_outputs, (names, tuple(outputs))))  # no module has it under its name
    return kind


def _outputs(names: tuple[str, ...], values: tuple) -> Any:
    return _named_outputs(names)(*values)


class States(NamedTuple):
    """What a runner returns."""

    saved: dict[str, Any]
    """By name, (*population, time)."""
    final: Any
    """The whole state at the end."""
    status: Any
    steps: Any


def make_trace(request: Request, states: States) -> Trace:
    """The trace of a run."""
    cell, drive, times = request.cell, request.drive, request.times
    ys = outputs_type(request.outputs, type(request.y0))(**states.saved)
    ys, final = (
        _with_command(cell, y, drive, t) for y, t in ((ys, times.saved), (states.final, np.float64(times.length)))
    )
    return Trace(times.ts, ys, states.status, final, states.steps, cell, request.protocol, request.how)


def _with_command(cell: AbstractCell, ys, drive: AbstractProtocol | None, since):
    """Saved states as the cell saw them: under a clamp the potential is the command's (its new value at an edge)."""
    if drive is None or drive.kind == "current" or cell.potential not in ys._fields:
        return ys
    command = jnp.asarray(drive.value(since), getattr(ys, cell.potential).dtype)
    shape = getattr(ys, cell.potential).shape
    return driven_state(cell, ys, drive.kind, jnp.broadcast_to(command, shape))
