"""What a run returns: times, states, status, and where they came from; kept in HDF5."""

import collections
import copyreg
import enum
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import h5py
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..arguments import is_real, is_traced, refusal, without_mask
from ..cell import AbstractCell, driven_state, unknown_name
from ..files.csv_writing import Quantity, write_columns
from ..files.hdf5 import read_hdf5
from ..files.plausible import potential_problem, time_problem
from ..files.reading import FLOATS, WHOLE, Group
from ..files.records import is_standard, model_name, rebuilt, static_fields, versions
from ..files.writing import put, write_hdf5
from ..json_text import parse
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
    Status.SOLVER_FAILED: (
        "the solver's nonlinear solve or step-size control failed: loosen rtol or atol, or use a shorter dt"
    ),
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
        notes: of a recording, what was inferred or left out when it was read; not kept in files.
    """

    ts: Float[Numbers, " time"]
    ys: Any
    status: Int[Numbers, "*population"]
    final_state: Any
    steps: Int[Numbers, "*population"]
    cell: AbstractCell | None
    protocol: AbstractProtocol | None
    solver: str = eqx.field(static=True)
    notes: tuple[str, ...] = eqx.field(static=True, default=())

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

    def save(self, path, *, outputs: Sequence[str] | None = None) -> None:
        """Writes times, states, units, parameters, protocol, solver and versions as HDF5, whole or not at all.

        A name that ends in .csv makes a table of text instead: times, the potential and no more, or the states and
        currents called `outputs` in its place, each with its unit in the header (t_ms,V_mV), and a column for each
        cell of a population (V_mV_0,V_mV_1). Cell, protocol, status and solver are not in it; `read_recording` reads
        its potentials again.
        """
        if Path(path).suffix.lower() == ".csv":
            write_columns(path, self._quantities(outputs))
            return
        if outputs is not None:
            raise refusal("outputs", outputs, "", "only with a path that ends in .csv; HDF5 holds all that was saved")

        def write(file: h5py.File) -> None:
            file.attrs.update(
                format=FORMAT,
                format_version=FORMAT_VERSION,
                solver=self.solver,
                protocol=to_json(self.protocol),
                versions=json.dumps(versions()),
                model="" if self.cell is None else model_name(self.cell),
                static="{}" if self.cell is None else json.dumps(static_fields(self.cell)),
                standard=self.cell is None or is_standard(self.cell),
                outputs=json.dumps([name for name, _ in _items(self.ys)]),
            )
            units = {"V": "mV"} if self.cell is None else self.cell.units
            put(file, "t", self.ts, "ms")
            put(file, "status", self.status, "; ".join(f"{s.value} {s.name}" for s in Status))
            put(file, "steps", self.steps, "1")
            for group, tree in (("states", self.ys), ("final_state", self.final_state)):
                for name, value in _items(tree):
                    put(file, f"{group}/{name}", value, units.get(name, "1"))
            for name, p in ({} if self.cell is None else self.cell.parameters()).items():
                put(file, f"parameters/{name}", p.value, p.unit).attrs["doc"] = p.doc

        write_hdf5(path, write)

    def _quantities(self, outputs: Sequence[str] | None) -> list[Quantity]:
        """Times, and what is asked for, (time,) or (n_cells, time)."""
        potential, units = ("V", {"V": "mV"}) if self.cell is None else (self.cell.potential, self.cell.units)
        found = dict(_items(self.ys))
        names = [potential] if outputs is None else [outputs] if isinstance(outputs, str) else list(outputs)
        if self.cell is not None and not set(names) <= set(found):
            found |= self.currents()._asdict()
        for name in names:
            if name not in found:
                raise ValueError(unknown_name("output", name, found, "this trace"))
        time = Quantity("t", "tu" if units[potential] == "1" else "ms", np.asarray(self.ts))
        return [time, *(Quantity(name, units[name], np.asarray(found[name])) for name in names)]

    @staticmethod
    def load(path, cell: AbstractCell | None = None) -> "Trace":
        """Reads what `save` wrote. A file truncated, foreign or of another version is a ValueError that says so.

        A model of your own must have been imported before. `cell` is needed where the file cannot hold it: where a
        sub-module was exchanged, or its class is defined within a function. It must have the file's parameters.
        """
        return read_hdf5(path, FORMAT, FORMAT_VERSION, lambda file: _read(file, cell))

    @staticmethod
    def from_samples(ts, V, *, notes: tuple[str, ...] = ()) -> "Trace":
        """A recording for biomarkers and plots: times (time,) in ms, potentials (time,) or (n, time) in mV.

        A missing sample is NaN, or masked. ValueError: shapes, times that do not ascend, values that cannot be in ms
        and mV.
        """
        ts, V = without_mask(ts), without_mask(V)
        for name, unit, x in (("ts", "ms", ts), ("V", "mV", V)):
            if not is_real(np.asarray(x)):
                raise refusal(name, x, unit, "numbers")
        ts, V = np.asarray(ts, np.float64), np.asarray(V)
        if ts.ndim != 1 or ts.size < 2 or V.ndim not in (1, 2) or V.shape[-1] != ts.size:
            raise ValueError(
                f"ts and V: expected shapes (time,) and (time,) or (n, time), got {ts.shape} and {V.shape}"
            )
        if not np.isfinite(ts).all() or not (ts[1:] > ts[:-1]).all():
            raise ValueError("ts: expected finite, strictly ascending times in ms")
        for problem in (potential_problem(V), time_problem(ts, V)):
            if problem:
                raise ValueError(problem)
        zeros = np.zeros(V.shape[:-1], int)
        return Trace(ts, Recording(V), zeros, None, zeros, None, None, "recording", notes)


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


def _read(file: Group, cell: AbstractCell | None) -> Trace:
    """What is in the file, all of it looked at: a trace that is not one would give another cell's numbers."""
    t, status, steps = file.dataset("t"), file.dataset("status"), file.dataset("steps")
    cell = _read_cell(file) if cell is None else _checked_cell(file, cell)
    population = status.shape[:1]
    if cell is not None and cell.population_size() not in (None, *population):
        raise ValueError(f"parameters: of {cell.population_size()} cells, status of shape {status.shape}")
    units = {"V": "mV"} if cell is None else cell.units
    states = _states(file, "states", units, (*population, *t.shape))
    if file.has_attribute("outputs") and sorted(parse(file.text("outputs"), "outputs")) != sorted(states):
        raise ValueError(f"states: {', '.join(states)}; allowed: those that were saved, {file.text('outputs')}")
    if cell is None:
        ys, final = Recording(states["V"]), None
    else:
        state = type(cell.initial_state())
        order = [*state._fields, *states]
        ys = outputs_type(tuple(sorted(states, key=order.index)), state)(**states)
        final = state(**_states(file, "final_state", {n: units[n] for n in state._fields}, population, every=True))
    codes = status.numbers(population, WHOLE)
    known = sorted(Status)
    if not np.isin(codes, known).all():
        unknown = codes[~np.isin(codes, known)].flat[0]
        raise ValueError(f"status = {unknown}; allowed: {', '.join(f'{s.value} {s.name}' for s in Status)}")
    ts = t.numbers((None,))
    if t.unit not in (None, "ms") or not np.isfinite(ts).all() or not (np.diff(ts) > 0).all():
        raise ValueError("t: allowed: finite, strictly ascending times in ms")
    return Trace(
        ts=ts,
        ys=ys,
        status=codes,
        final_state=final,
        steps=steps.numbers(population, WHOLE),
        cell=cell,
        protocol=from_json(file.text("protocol")),
        solver=file.text("solver"),
    )


def _states(
    file: Group, group: str, units: Mapping[str, str], shape: tuple[int, ...], every: bool = False
) -> dict[str, np.ndarray]:
    """The datasets of a group: known quantities, their units, one shape, floats; NaN and inf where a run failed."""
    found = file.group(group)
    names = found.names()
    if unknown := [name for name in names if name not in units]:
        raise ValueError(f"{group}/{unknown[0]} is not known; allowed: {', '.join(units)}")
    missing = [name for name in units if name not in names]
    if (every and missing) or not names:
        raise ValueError(f"{group}: nothing of {missing[0]}")
    return {name: found.numbers(name, shape, FLOATS, units[name]) for name in names}


def _read_cell(file: Group) -> AbstractCell | None:
    name = file.text("model")
    if not name:
        return None
    if not file.truth("standard"):
        why = "is changed in more than its parameters, or no module defines it"
        raise ValueError(f"its model {name} {why}; give cell=")
    parameters = file.group("parameters")
    return rebuilt(name, file.json("static"), {n: parameters.numbers(n) for n in parameters.names()})


def _checked_cell(file: Group, cell: AbstractCell) -> AbstractCell:
    """The cell that is given, which is to have the parameters of the one that was simulated."""
    if not file.text("model"):
        return cell  # a recording knows no cell
    given, parameters = cell.parameters(), file.group("parameters")
    for name in parameters.names():
        was = np.asarray(parameters.numbers(name))
        value = np.asarray(given[name].value) if name in given else None
        if value is None or value.shape != was.shape or not np.allclose(value, was, rtol=1e-6, atol=0, equal_nan=True):
            now = "none" if value is None else value
            raise ValueError(f"cell: its {name} is {now}, that of the file {was}; allowed: the cell that was simulated")
    return cell


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
