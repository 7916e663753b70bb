"""simulate(): a tissue from t0 to t1, cells and diffusion in turn, and what happens in every cell."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from ..annotations import typed
from ..arguments import check_known, check_whole, is_known_real, is_traced, refusal
from ..cell import AbstractCell, dtype_of
from ..progress import progress_bar
from ..simulation.compiled import compiled
from ..simulation.grid import check_span, check_step
from ..simulation.memory import check_fits
from ..simulation.request import output_names, times_to_save
from ..simulation.stepping import in_chunks
from ..solvers import RushLarsen2
from .conductivity import Couplings
from .diffusion import Alone, Diffusion, Shared
from .grid import Tissue, as_stimuli, flat_cell
from .plan import Plan, Step, make_plan
from .run import Run, make_run
from .splitting import Method, Splitting
from .stepping import Carry, Stepper
from .stimulus import Stimulus

DEFAULT_DT = 0.02
"""Longest step by default, ms."""
THRESHOLDS = {"mV": -30.0, "1": 0.5}
"""V at which a cell is taken to be activated, by the unit of V."""
SMALLEST_SHARE = 8192
"""Fewest cells a device has by default: below, devices wait for each other."""

MOST_BLOCKS = 128
"""Most states of the tissue that reverse mode keeps of a run, beyond which it keeps some twice the root of their number
and takes every step once more."""


@typed
def simulate(
    tissue: Tissue,
    stimuli: Sequence[Any] | Stimulus | None = (),
    *,
    t1: float,
    t0: float = 0.0,
    dt: float | None = None,
    save_every: float | None = None,
    save_at: Sequence[float] | np.ndarray | None = None,
    outputs: Sequence[str] | None = None,
    solver: diffrax.AbstractSolver | None = None,
    splitting: Splitting = "strang",
    diffusion: Method = "explicit",
    y0: Any = None,
    threshold: float | None = None,
    beats: int = 1,
    devices: Sequence[Any] | None = None,
    progress: bool | Callable[[float], None] = False,
) -> Run:
    """Runs a tissue from t0 to t1.

    Args:
        tissue: what is run.
        stimuli: a list of `Stimulus`; where they overlap they add.
        t1, t0: end and start, ms.
        dt: longest step, ms; default 0.02, or the longest stable explicit step where that is shorter. Every edge of a
            stimulus and every sample is stepped to.
        save_every, save_at: when to save samples, ms: an interval (default 1 ms), or times.
        outputs: names of the states and currents to save; default the potential.
        solver: of the cells: `RushLarsen2` (default), `RushLarsen`, or an explicit solver of Diffrax.
        splitting: "strang", of second order in dt, or "godunov", of first.
        diffusion: "explicit", stable up to dt = 1 / (2 sum D_i / dx_i^2), or "implicit", stable at every dt.
        y0: state to start from: of one cell (a paced one, say) or with leaves of the grid's shape (`run.final_state`);
            default the cell's own initial state.
        threshold: V at which a cell counts as activated; default -30 mV, or 0.5 where V has no unit.
        beats: activations of each cell whose times are kept; more are counted.
        devices: share the grid's first axis, whose length is a multiple of their number; explicit diffusion only. The
            result is the same on any number of them. Default all of this process where each gets 8192 cells or more.
        progress: True for a bar on stderr, or a function of the fraction done.

    Returns:
        A `Run`. Under `jax.jit` and `jax.grad` it is traced, and differentiable in both modes; reverse mode keeps one
        state of the tissue a block of at most 50 steps, and of long runs the root of that many.

    Raises:
        ValueError: an argument is out of range.
    """
    stimuli = as_stimuli(stimuli, tissue.shape)
    length = check_span(t0, t1)
    dtype = dtype_of(tissue.cell)
    solver = _checked_solver(solver)
    names = output_names(tissue.cell, type(tissue.cell.initial_state())._fields, outputs or (tissue.cell.potential,))
    check_whole("beats", beats, "activations")
    threshold = checked_threshold(threshold, tissue.cell)
    couplings = tissue.couplings()
    dt = _checked_dt(dt, Diffusion(couplings), diffusion, stimuli)
    ts, saved = times_to_save(float(t0), float(t1), save_every, save_at)
    check_fits(
        f"{math.prod(tissue.shape)} cells, {len(names)} outputs",
        len(ts),
        "samples of them",
        math.prod(tissue.shape) * len(names) * dtype.itemsize,
    )
    y0 = _checked_state(y0, tissue, dtype)
    plan = make_plan(stimuli, float(t0), length, dt, saved, ts, dtype)
    regions = np.stack([s.cells(tissue.shape) for s in stimuli]) if stimuli else np.zeros((0, *tissue.shape), bool)
    loop = _Loop(
        cell=tissue.cell,
        couplings=couplings,
        neighbours=Alone(),
        regions=jnp.asarray(regions, dtype),
        mask=tissue.mask,
        solver=solver,
        threshold=jnp.asarray(threshold, dtype),
        splitting=splitting,
        method=diffusion,
        names=names,
        beats=beats,
        slots=plan.slots,
        mesh=_mesh(devices, tissue.shape, diffusion, is_traced(*jax.tree.leaves((tissue, y0)))),
    )
    first, frames, carry = _run(loop, y0, plan, progress, type(tissue.cell).__name__)
    how = f"{type(solver).__name__}, {splitting}, {diffusion} diffusion, dt={dt:g}"
    return make_run(tissue, stimuli, plan, first, frames, carry, threshold, how)


def _run(loop: "_Loop", y0, plan: Plan, progress, title: str):
    """The first sample (or None), those of the wanted slots of all blocks, and the loop's state at the end."""
    carry = _begin(loop, y0, jax.tree.map(lambda x: x[0, 0], plan.steps))
    first = _first(loop, y0) if plan.save_start else None
    traced = is_traced(*jax.tree.leaves((loop, y0)))
    report = None if progress is False or traced else progress_bar(title) if progress is True else progress
    pieces = []
    for steps, done in in_chunks(plan.steps, 40 if report else 1):
        carry, saved = _blocks(loop, carry, steps)
        pieces.append(saved)
        if report:
            jax.block_until_ready(carry)
            report(done)
    wanted = np.flatnonzero(plan.kept)
    return first, {name: jnp.concatenate([p[name] for p in pieces])[wanted] for name in loop.names}, carry


class _Loop(eqx.Module):
    """What stays the same through a run. Arrays have the grid's shape; where devices share it, that of their rows."""

    cell: AbstractCell
    couplings: Couplings
    neighbours: Any
    regions: Any
    """Where each stimulus acts, (stimuli, *grid)."""
    mask: Any
    threshold: Any
    solver: diffrax.AbstractSolver
    splitting: Splitting = eqx.field(static=True)
    method: Method = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    beats: int = eqx.field(static=True)
    slots: int = eqx.field(static=True)
    mesh: Mesh | None = eqx.field(static=True)

    def begin(self, y0, first: Step) -> Carry:
        return self.unflat(self.stepper().start(self.flat(y0), first, self.beats))

    def blocks(self, carry: Carry, steps: Step):
        """Advances over the blocks; returns what their slots hold, (blocks * slots, *grid)."""
        stepper = self.stepper()
        block = jax.checkpoint(lambda carry, steps: stepper.block(carry, steps), prevent_cse=False)
        count, group, carry = len(steps.dt), _group(len(steps.dt)), self.flat(carry)
        if group == 1:
            carry, saved = jax.lax.scan(block, carry, steps)
        else:  # Blocks of blocks: reverse mode keeps the states at their ends, and anew those within one of them.
            groups = jax.tree.map(lambda x: _padded(x, -count % group).reshape(-1, group, *x.shape[1:]), steps)
            blocks = jax.checkpoint(lambda carry, steps: jax.lax.scan(block, carry, steps), prevent_cse=False)
            carry, saved = jax.lax.scan(blocks, carry, groups)
        saved = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1])[: count * self.slots], saved)
        return self.unflat((carry, saved))

    def first(self, y0) -> dict[str, Any]:
        """The sample before the first step."""
        return self.unflat(self.stepper().samples(self.flat(y0)))

    def stepper(self) -> Stepper:
        return Stepper(
            cell=flat_cell(self.cell, self.shape),
            diffusion=Diffusion(self.couplings, self.neighbours),
            regions=self.flat(self.regions),
            mask=self.flat(self.mask),
            threshold=self.threshold,
            solver=self.solver,
            shape=self.shape,
            splitting=self.splitting,
            method=self.method,
            names=self.names,
            slots=self.slots,
        )

    @property
    def shape(self) -> tuple[int, ...]:
        return self.regions.shape[1:]

    def flat(self, tree):
        """With one axis of cells in place of the grid's."""
        return _reshaped(tree, self.shape, (math.prod(self.shape),))

    def unflat(self, tree):
        return _reshaped(tree, (math.prod(self.shape),), self.shape)


def _reshaped(tree, old: tuple[int, ...], new: tuple[int, ...]):
    """A tree whose leaves that end in the shape `old` end in `new`."""

    def reshape(x):
        lead = x.ndim - len(old)
        return x.reshape(*x.shape[:lead], *new) if lead >= 0 and x.shape[lead:] == old else x

    return jax.tree.map(reshape, tree)


def _group(blocks: int) -> int:
    """How many blocks make a block of blocks: about the root of their number; 1 where they are few.

    Of the numbers near the root, that which needs the fewest blocks without steps at the end.
    """
    if blocks <= MOST_BLOCKS:
        return 1
    root = math.isqrt(blocks)
    return min(range(root, root + root // 2 + 1), key=lambda group: (-blocks % group, group))


def _padded(x, blocks: int):
    """With so many blocks more, of steps of 0 ms."""
    return jnp.concatenate([x, jnp.zeros((blocks, *x.shape[1:]), x.dtype)]) if blocks else x


def _on_mesh(method: Callable) -> Callable:
    """method(loop, *arrays), on each device its rows of the grid where there are several."""

    def call(loop: _Loop, *arrays):
        if loop.mesh is None:
            return method(loop, *arrays)
        local, static = eqx.partition(loop, eqx.is_array)
        neighbours = Shared("rows", loop.mesh.size)

        def on_device(local, *arrays):
            here = eqx.combine(local, static)
            return method(eqx.tree_at(lambda x: x.neighbours, here, neighbours), *arrays)

        shape = loop.regions.shape[1:]
        specs = [_specs(x, shape) for x in (local, *arrays)]
        results = jax.eval_shape(functools.partial(method, loop), *arrays)
        return jax.shard_map(
            on_device, mesh=loop.mesh, in_specs=tuple(specs), out_specs=_specs(results, shape), check_vma=False
        )(local, *arrays)

    return compiled(call)


def _specs(tree, shape) -> Any:
    """How a tree is divided: what has the grid's shape, or a leading axis before that, by rows; the rest is on each.

    Steps, and of a cell all but its parameters (a network's weights, say), are on each whatever their shape.
    """

    def spec(x):
        if isinstance(x, Step):
            return PartitionSpec()
        if isinstance(x, AbstractCell):
            names = [name for name, p in x.parameters().items() if jnp.shape(p.value) == shape]
            everywhere = jax.tree.map(lambda _: PartitionSpec(), x)
            rows = [PartitionSpec("rows") for _ in names]
            return eqx.tree_at(lambda cell: [cell.parameters()[n].value for n in names], everywhere, rows)
        if x.shape == shape:
            return PartitionSpec("rows")
        return PartitionSpec(None, "rows") if x.shape[1:] == shape else PartitionSpec()

    return jax.tree.map(spec, tree, is_leaf=lambda x: isinstance(x, Step | AbstractCell))


_begin = _on_mesh(_Loop.begin)
_first = _on_mesh(_Loop.first)
_blocks = _on_mesh(_Loop.blocks)


def _mesh(devices, shape, method: Method, traced: bool) -> Mesh | None:
    """The devices that share the grid; None for one."""
    local = jax.local_devices()
    if devices is None:
        most = 1 if method == "implicit" or traced else min(len(local), math.prod(shape) // SMALLEST_SHARE)
        count = next((n for n in range(most, 1, -1) if shape[0] % n == 0), 1)
        return None if count == 1 else Mesh(np.array(local[:count]), ("rows",))
    devices = list(devices)
    if not devices or not set(devices) <= set(local) or len(set(devices)) < len(devices):
        raise refusal("devices", devices, "", f"one or more of this process's {local}, each once")
    if len(devices) > 1 and method == "implicit":
        raise refusal("devices", len(devices), "devices", "one with implicit diffusion; several with explicit")
    if shape[0] % len(devices):
        raise refusal("devices", len(devices), "devices", f"a number that divides the grid's first axis of {shape[0]}")
    return None if devices == local[:1] else Mesh(np.array(devices), ("rows",))


def _checked_solver(solver) -> diffrax.AbstractSolver:
    if solver is None:
        return RushLarsen2()
    if isinstance(solver, diffrax.AbstractImplicitSolver):
        raise refusal(
            "solver",
            type(solver).__name__,
            "",
            "an explicit one, e.g. jaxcardio.RushLarsen2(); implicit ones take the whole tissue at once: "
            "diffrax.diffeqsolve(diffrax.ODETerm(tissue.vector_field), ...)",
        )
    return solver


def checked_threshold(threshold, cell: AbstractCell) -> float:
    if threshold is None:
        return THRESHOLDS.get(cell.units[cell.potential], THRESHOLDS["mV"])
    check_known("threshold", threshold, cell.units[cell.potential], "finite", np.isfinite)
    return float(threshold)


def _checked_dt(dt, diffusion: Diffusion, method: Method, stimuli) -> float:
    limit = diffusion.limit()
    known = not is_traced(limit)
    if dt is None:
        if method == "explicit" and not known:
            raise ValueError("dt = None; allowed where the diffusivity is traced: a number of ms")
        shortest = min((s.protocol.shortest() for s in stimuli), default=math.inf)
        return min(DEFAULT_DT, shortest, float(limit) if method == "explicit" else math.inf)
    check_step(dt, None)
    for stimulus in stimuli:
        check_step(dt, stimulus.protocol)
    if method == "explicit" and known and dt > float(limit) * (1 + 1e-9):
        raise ValueError(
            f"dt = {dt:g} ms; allowed with explicit diffusion: dt <= 1 / (2 sum D_i / dx_i^2) = {float(limit):.4g} ms; "
            'or diffusion="implicit"'
        )
    return float(dt)


def _checked_state(y0, tissue: Tissue, dtype):
    published = tissue.initial_state()
    if y0 is None:
        return jax.tree.map(lambda x: x.astype(dtype), published)
    fields, given = type(published)._fields, getattr(type(y0), "_fields", None)
    if given != fields:
        raise ValueError(f"y0: expected {type(published).__name__} with fields {fields}, got {type(y0).__name__}")
    for name, value in y0._asdict().items():
        if not is_known_real(value) or jnp.shape(value) not in ((), tissue.shape):
            what = value if jnp.ndim(value) == 0 else f"shape {jnp.shape(value)}"
            raise refusal(f"y0.{name}", what, tissue.cell.units[name], f"a number, or shape {tissue.shape}")
        if not is_traced(value) and not np.isfinite(value).all():
            raise refusal(f"y0.{name}", "NaN or infinite", tissue.cell.units[name], "finite")
    return tissue.spread(jax.tree.map(lambda x: jnp.asarray(x, dtype), y0))
