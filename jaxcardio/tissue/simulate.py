"""simulate(): a tissue from t0 to t1, cells and diffusion in turn, and what happens in every cell."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ..annotations import typed
from ..arguments import check_known, check_whole, is_known_real, is_traced, refusal
from ..cell import AbstractCell, dtype_of
from ..progress import progress_bar
from ..simulation.grid import SHORTEST_STEP, check_span, check_step
from ..simulation.memory import check_fits
from ..simulation.request import output_names, times_to_save
from ..simulation.stepping import in_chunks
from ..solvers import RushLarsen2
from .diffusion import Alone, Diffusion
from .grid import Tissue, as_stimuli
from .loop import Loop, begin, blocks, first_sample
from .plan import Plan, make_plan
from .run import Run, make_run
from .splitting import Method, Splitting
from .stimulus import Stimulus

DEFAULT_DT: dict[Method, float] = {"explicit": 0.01, "implicit": 0.02}
"""Longest step by default, ms: conduction velocities within 0.5 % of those of short steps, for ten Tusscher, Kernik and
Skibsbye cells at 0.1 mm (`benchmarks/tissue_convergence.py`)."""
THRESHOLDS = {"mV": -30.0, "1": 0.5}
"""V at which a cell is taken to be activated, by the unit of V."""
SMALLEST_SHARE = 8192
"""Fewest cells a device has by default: below, devices wait for each other."""


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
        dt: longest step, ms; default 0.01, or the longest stable explicit step where that is shorter, and 0.02 for
            implicit diffusion. Every edge of a stimulus and every sample is stepped to.
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
    length = check_span(t0, t1)
    ready = prepared(tissue, stimuli, dt, outputs, solver, splitting, diffusion, y0, threshold, beats, devices)
    ts, saved = times_to_save(float(t0), float(t1), save_every, save_at)
    ready.check_fits(len(ts))
    plan = ready.plan(float(t0), length, saved, ts)
    first, frames, carry = _run(ready.loop_of(plan), ready.y0, plan, progress, type(tissue.cell).__name__)
    return make_run(tissue, ready.stimuli, plan, first, frames, carry, ready.threshold, ready.how)


class Prepared(NamedTuple):
    """A run whose arguments are good, for any span of time."""

    loop: Loop
    y0: Any
    stimuli: tuple[Stimulus, ...]
    dt: float
    """Longest step, ms."""
    threshold: float
    how: str
    """Solver, splitting and step, as text."""

    def check_fits(self, samples: int) -> None:
        """A ValueError where so many samples do not fit in memory."""
        V = getattr(self.y0, self.loop.cell.potential)
        each = V.size * len(self.loop.names) * V.dtype.itemsize
        check_fits(f"{V.size} cells, {len(self.loop.names)} outputs", samples, "samples of them", each)

    def plan(self, t0: float, length: float, saved: np.ndarray, ts: np.ndarray, goes_on: bool = False) -> Plan:
        """Lays out `length` ms from t0, with samples at `saved` (ms since t0; `ts` absolute); see `make_plan`."""
        return make_plan(self.stimuli, t0, length, self.dt, saved, ts, dtype_of(self.loop.cell), goes_on)

    def loop_of(self, plan: Plan) -> Loop:
        """What runs that plan."""
        return dataclasses.replace(self.loop, slots=plan.slots)


def prepared(
    tissue: Tissue, stimuli, dt, outputs, solver, splitting, diffusion, y0, threshold, beats, devices
) -> Prepared:
    """Checks the arguments of `simulate` that do not depend on when it runs."""
    dtype = dtype_of(tissue.cell)
    fields = type(tissue.cell.initial_state())._fields
    check_whole("beats", beats, "activations")
    size = math.prod(tissue.shape)
    check_fits(f"shape = {tissue.shape}, beats = {beats}", size, "cells", (len(fields) + 2 * beats) * dtype.itemsize)
    stimuli = as_stimuli(stimuli, tissue.shape)
    _check_reached(stimuli, tissue)
    solver = _checked_solver(solver)
    names = output_names(tissue.cell, fields, outputs or (tissue.cell.potential,))
    threshold = checked_threshold(threshold, tissue.cell)
    couplings = tissue.couplings()
    dt = _checked_dt(dt, Diffusion(couplings), diffusion, stimuli)
    y0 = _if_stable(_checked_state(y0, tissue, dtype), tissue, Diffusion(couplings), diffusion, dt)
    regions = np.stack([s.cells(tissue.shape) for s in stimuli]) if stimuli else np.zeros((0, *tissue.shape), bool)
    loop = Loop(
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
        slots=1,
        mesh=_mesh(devices, tissue.shape, diffusion, is_traced(*jax.tree.leaves((tissue, y0)))),
    )
    how = f"{type(solver).__name__}, {splitting}, {diffusion} diffusion, dt={dt:g}"
    return Prepared(loop, y0, stimuli, dt, threshold, how)


def _run(loop: Loop, y0, plan: Plan, progress, title: str):
    """The first sample (or None), those of the wanted slots of all blocks, and the loop's state at the end."""
    carry = begin(loop, y0, jax.tree.map(lambda x: x[0, 0], plan.steps))
    first = first_sample(loop, y0) if plan.save_start else None
    traced = is_traced(*jax.tree.leaves((loop, y0)))
    report = None if progress is False or traced else progress_bar(title) if progress is True else progress
    pieces = []
    for steps, done in in_chunks(plan.steps, 40 if report else 1):
        carry, saved = blocks(loop, carry, steps)
        pieces.append(saved)
        if report:
            jax.block_until_ready(carry)
            report(done)
    frames = {name: jnp.concatenate([p[name] for p in pieces]) for name in loop.names}
    if plan.kept.all():  # picking them all would cost seconds of compilation in a gradient
        return first, {name: x[: plan.kept.size] for name, x in frames.items()}, carry
    wanted = np.flatnonzero(plan.kept)
    return first, {name: x[wanted] for name, x in frames.items()}, carry


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
        stable = float(limit) if method == "explicit" else math.inf
        if stable < SHORTEST_STEP:
            raise ValueError(
                f"dt = None: explicit diffusion is stable up to 1 / (2 sum D_i / dx_i^2) = {stable:.4g} ms only; "
                f"allowed: at least {SHORTEST_STEP:g} ms (is spacing in mm, diffusivity in mm^2/ms?), or "
                'diffusion="implicit"'
            )
        return min(DEFAULT_DT[method], stable, *(s.protocol.shortest() for s in stimuli))
    check_step(dt, None)
    for stimulus in stimuli:
        check_step(dt, stimulus.protocol)
    if method == "explicit" and known and dt > float(limit) * (1 + 1e-9):
        raise ValueError(
            f"dt = {dt:g} ms; allowed with explicit diffusion: dt <= 1 / (2 sum D_i / dx_i^2) = {float(limit):.4g} ms; "
            'or diffusion="implicit"'
        )
    return float(dt)


def _if_stable(y0, tissue: Tissue, diffusion: Diffusion, method: Method, dt: float):
    """y0; NaN where a traced diffusivity turns out to be negative, or too large for dt: that cannot be refused.

    An explicit step that is too long makes waves of its own before it overflows, and their times look like any other.
    """
    factors = [x for x in jax.tree.leaves((tissue.diffusivity, tissue.coupling)) if is_traced(x)]
    good = [jnp.all(x >= 0) for x in factors]
    limit = diffusion.limit()
    if method == "explicit" and is_traced(limit):
        good.append(dt <= limit * (1 + 1e-5))
    if not good:
        return y0
    return jax.tree.map(lambda x: jnp.where(jnp.all(jnp.stack(good)), x, jnp.nan), y0)


def _check_reached(stimuli: tuple[Stimulus, ...], tissue: Tissue) -> None:
    """A ValueError where a stimulus is traced, or all that it reaches is left out by the mask."""
    for k, stimulus in enumerate(stimuli):
        if is_traced(*jax.tree.leaves(stimulus)):
            raise ValueError(f"stimuli[{k}] is traced; allowed: concrete amplitudes and times")
        if tissue.mask is None or is_traced(tissue.mask):
            continue
        if not (stimulus.cells(tissue.shape) & np.asarray(tissue.mask)).any():
            raise refusal(f"stimuli[{k}].region", stimulus.region, "", "at least one cell where the mask is True")


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
