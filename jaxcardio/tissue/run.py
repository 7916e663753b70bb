"""What a run of a tissue returns."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..arguments import is_traced, refusal
from ..cell import AbstractCell
from ..simulation.trace import MESSAGES, Status
from .events import When
from .grid import Tissue
from .plan import Plan
from .stimulus import Stimulus
from .storage import read_run, write_run

Numbers = Array | np.ndarray
STEEPEST = 1.0
"""Most that ln V falls by from one cell to the next ahead of a wave: there, plane waves of ten Tusscher 2004 are 5 %
slower than on a fine grid (`benchmarks/tissue.py`)."""


class Run(eqx.Module):
    """A run of a tissue.

    Attributes:
        ts: times of the samples, ms, (time,), float64 numpy.
        ys: what was saved, by name: each (time, *grid).
        activation_times, repolarisation_times: of the first `beats` beats of each cell, ms, (beats, *grid): when V
            rises through `threshold`, and when it then has come back by 90 %. Found between the steps, so finer than
            dt whatever was saved. NaN where there is none.
        activations: how often each cell was activated, grid.
        status: `jaxcardio.Status` code of each cell, grid.
        final_state: at t1, to continue from (`y0=run.final_state`); leaves of the grid's shape.
        tissue, stimuli, threshold: what was run.
        settings: solver, splitting and step, as text.
    """

    ts: Float[np.ndarray, " time"]
    ys: Mapping[str, Numbers]
    activation_times: Float[Numbers, " beats *grid"]
    repolarisation_times: Float[Numbers, " beats *grid"]
    activations: Int[Numbers, "*grid"]
    status: Int[Numbers, "*grid"]
    final_state: Any
    tissue: Tissue
    stimuli: tuple[Stimulus, ...]
    threshold: float = eqx.field(static=True)
    settings: str = eqx.field(static=True)

    @property
    def V(self) -> Float[Numbers, " time *grid"]:
        """Membrane potential, mV (without unit for Aliev-Panfilov), whatever the model calls it."""
        name = self.tissue.cell.potential
        if name not in self.ys:
            raise refusal("outputs", ", ".join(self.ys), "", f"for this, with {name} in simulate(..., outputs=)")
        return self.ys[name]

    @property
    def activation_time(self) -> Float[Numbers, "*grid"]:
        """When each cell is first activated, ms; NaN where never."""
        return self.activation_times[0]

    @property
    def repolarisation_time(self) -> Float[Numbers, "*grid"]:
        """When each cell has first repolarised by 90 %, ms; NaN where never."""
        return self.repolarisation_times[0]

    @property
    def apd(self) -> Float[Numbers, "*grid"]:
        """Duration of the first action potential of each cell, from activation to 90 % repolarisation, ms."""
        return self.repolarisation_time - self.activation_time

    def problems(self) -> list[str]:
        """What is wrong with the run, in words; empty if nothing is known to be. ValueError: the run is traced."""
        if is_traced(*jax.tree.leaves(self)):
            raise ValueError("the run is traced; allowed: ask what a jitted function returned")
        found = []
        status = np.asarray(self.status)
        for code in np.unique(status[status != Status.OK]):
            where = tuple(int(k) for k in np.argwhere(status == code)[0])
            found.append(f"{int((status == code).sum())} cells, {where} the first: {MESSAGES[Status(int(code))]}")
        if found:
            return found  # the times of what has failed say nothing of the grid
        beyond, active = ~self._stimulated(), np.asarray(self.activations) > 0
        if self.tissue.mask is not None:
            beyond &= np.asarray(self.tissue.mask)
        if self.stimuli and not active.any():
            found.append(
                f"no cell was activated (V through {self.threshold:g}): the stimulus is too weak, too short, too small "
                "or not yet given, the threshold none that V rises through, or the spacing too coarse for a wave"
            )
        elif self.stimuli and beyond.any() and not active[beyond].any():
            found.append(
                f"no cell beyond the stimulated ones was activated until {self.ts[-1]:g} ms: the stimulus is "
                "too small, nothing conducts from there, or the spacing is too coarse for a wave"
            )
        return found + self._too_coarse()

    def save(self, path: str | Path) -> None:
        """Writes all of the run as HDF5, whole or not at all: samples, events, the final state, the tissue with its
        cell, the stimuli (their regions as truth values of the grid's shape), settings and versions.

        ValueError: the run is traced, or `path` is no place or name for it. OSError: it cannot be written.
        """
        if str(path).lower().endswith(".csv"):
            raise refusal("path", path, "", "another ending than .csv: a run is written as HDF5, e.g. run.h5")
        if is_traced(*jax.tree.leaves(self)):
            raise ValueError("the run is traced; allowed: save what a jitted function returned")
        write_run(path, self)

    @staticmethod
    def load(path: str | Path, cell: AbstractCell | None = None) -> "Run":
        """Reads what `save` wrote; its arrays are numpy's. A truncated, foreign or damaged file is a ValueError.

        A model of your own must have been imported before. `cell` is needed where the file cannot hold it: where a
        sub-module was exchanged, or its class is defined within a function.
        """
        return Run(**read_run(path, cell))

    def _stimulated(self) -> np.ndarray:
        """Which cells a stimulus reaches."""
        shape = self.tissue.shape
        return np.logical_or.reduce([np.zeros(shape, bool), *(s.cells(shape) for s in self.stimuli)])

    def _too_coarse(self) -> list[str]:
        """Says so if the wave is so steep that the grid cannot show it, and jumps from cell to cell.

        Ahead of a wave of speed c, V falls by exp(c dx / D) from one cell to the next.
        """
        # Stimulated cells are activated almost at once: no wave, however fast it looks.
        times = np.where(self._stimulated(), np.nan, np.asarray(self.activation_time, np.float64))
        steepness = _steepness(times, self.tissue)
        found = []
        for axis, (here, dx) in enumerate(zip(steepness, self.tissue.spacing, strict=True)):
            typical = np.nanmedian(here) if np.isfinite(here).any() else 0.0
            if typical > STEEPEST:
                found.append(
                    f"spacing = {dx:g} mm along axis {axis}; allowed for this wave: up to about "
                    f"{dx * STEEPEST / typical:.2g} mm (speed x spacing / D = {typical:.2g}, at most {STEEPEST:g}): it "
                    "jumps from cell to cell, and conduction velocities are wrong"
                )
        return found


def _steepness(activation: np.ndarray, tissue: Tissue) -> list[np.ndarray]:
    """By how much ln V falls from cell to cell along each axis ahead of the wave: dx |p| / (p . D p), p = grad T."""
    inner = tuple(slice(0, max(n - 1, 1)) for n in activation.shape)
    slowness = []
    for axis, dx in enumerate(tissue.spacing):
        if activation.shape[axis] == 1:
            slowness.append(np.zeros(activation[inner].shape))
        else:
            slowness.append((np.diff(activation, axis=axis) / dx)[inner])
    p = np.stack(slowness, -1)
    tensor = np.asarray(tissue.tensor(), np.float64)[inner]
    energy = np.einsum("...a,...ab,...b->...", p, tensor, p)
    with np.errstate(divide="ignore", invalid="ignore"):
        return [np.where(energy > 0, dx * np.abs(p[..., a]) / energy, np.nan) for a, dx in enumerate(tissue.spacing)]


def make_run(tissue: Tissue, stimuli, plan: Plan, first, frames, carry, threshold: float, settings: str) -> Run:
    """A run from what its loop gave."""
    if first is not None:
        frames = {name: jnp.concatenate([first[name][None], x]) for name, x in frames.items()}
    return Run(
        ts=plan.ts,
        ys=frames,
        activation_times=_times(carry.events.activation, plan),
        repolarisation_times=_times(carry.events.repolarisation, plan),
        activations=carry.events.activations,
        status=carry.status,
        final_state=carry.y,
        tissue=tissue,
        stimuli=tuple(stimuli),
        threshold=threshold,
        settings=settings,
    )


def _times(when: When, plan: Plan):
    """The moments, ms, (beats, *grid): float64 on the host where they are known; NaN where there is none."""
    if is_traced(*jax.tree.leaves(when)):
        start, dt = (jnp.asarray(x, when.part.dtype) for x in (plan.start, plan.dt))
        step = jnp.maximum(when.step, 0)
        return jnp.where(when.step < 0, jnp.nan, start[step] + when.part * dt[step])
    step, part = np.asarray(when.step), np.asarray(when.part, np.float64)
    return np.where(step < 0, np.nan, plan.start[step] + part * plan.dt[step])
