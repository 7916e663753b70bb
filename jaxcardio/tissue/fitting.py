"""The conductivities of regions, from when their cells are activated."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ..annotations import typed
from ..arguments import check, check_concrete, check_known, check_whole, refusal
from ..simulation.compiled import BRIEF, compiled
from .grid import Tissue, as_stimuli
from .simulate import DEFAULT_DT, simulate
from .splitting import Method, Splitting
from .stimulus import Stimulus

LONGEST_STEP = math.log(2)
"""Most that a log diffusivity changes in one step of the fit."""
CLOSE = 1e-4
"""A fit is done when the next step is smaller, in log diffusivity."""
WEAKEST = 1e-6
"""A region is not seen whose diffusivity moves the activation times by less than this, ms a relative change of 1."""


class ConductivityFit(NamedTuple):
    """What `fit_conductivity` found.

    Attributes:
        diffusivity: of each region, mm^2/ms, (regions,), or (regions, axes) where the tissue's has one an axis.
        relative_error: standard error of each region's diffusivity, as a share of it, (regions,).
        factor: by how much each region's differs from what the tissue came with, (regions,).
        tissue: with these diffusivities.
        residual: activation time of the fit less the measured one, ms, of the grid's shape; NaN where not measured.
        runs: of the tissue with its sensitivities, all told.
        converged: whether the last step was small.
    """

    diffusivity: np.ndarray
    relative_error: np.ndarray
    factor: np.ndarray
    tissue: Tissue
    residual: np.ndarray
    runs: int
    converged: bool


@typed
def fit_conductivity(
    tissue: Tissue,
    stimuli: Sequence[Any] | Stimulus,
    activation_time: Float[np.ndarray, "*grid"],
    regions: Int[np.ndarray, "*grid"],
    *,
    t1: float | None = None,
    noise: float | None = None,
    y0: Any = None,
    threshold: float | None = None,
    dt: float | None = None,
    solver: diffrax.AbstractSolver | None = None,
    splitting: Splitting = "strang",
    diffusion: Method = "explicit",
    most_runs: int = 25,
) -> ConductivityFit:
    """The diffusivity of each region of a tissue with which its cells are activated when they were.

    Least squares in the logs of the diffusivities (so they stay above 0) by the method of Levenberg and Marquardt, with
    the sensitivities of the activation times in forward mode, one tangent a region.

    Args:
        tissue: where the fit starts; its diffusivity is a number or one an axis (or along and across the fibres), which
            each region scales by one factor.
        stimuli: what activates it, as for `simulate`, from 0 ms on.
        activation_time: measured, ms after 0, of the grid's shape; NaN where not measured.
        regions: which region each cell belongs to: 0, 1, ..., of the grid's shape.
        t1: end of the runs, ms; default twice the last measured time.
        noise: standard deviation of the measured times, ms; default that of the residuals.
        y0, threshold, dt, solver, splitting, diffusion: as for `simulate`. By default dt is 0.02 ms, or with explicit
            diffusion a stable one where that is shorter.
        most_runs: after which the fit ends as it is.

    Raises:
        ValueError: an argument is out of range, or shapes do not fit; a region has no measured cell, or its
            diffusivity changes no measured time; the start leaves cells without activation that were activated.
    """
    check_concrete(tissue=tissue, activation_time=activation_time, y0=y0)
    stimuli = as_stimuli(stimuli, tissue.shape)
    measured = np.asarray(activation_time, np.float64)
    _check(tissue, measured, np.asarray(regions))
    seen = np.isfinite(measured)
    if t1 is None:
        t1 = 2 * float(measured[seen].max())
    for name, value in (("t1", t1), ("noise", noise), ("dt", dt)):
        if value is not None:
            check_known(name, value, "ms", "> 0, finite", lambda x: np.isfinite(x) & (x > 0))
    check_whole("most_runs", most_runs, "runs")
    how = dict(y0=y0, threshold=threshold, solver=solver, splitting=splitting, diffusion=diffusion)
    run = _Runs(tissue, stimuli, np.asarray(regions), t1, dt, how)

    x = np.zeros(run.regions)
    residual, slope = _seen(run(x), measured, seen)
    lost = int((~np.isfinite(residual)).sum())
    if lost:
        raise ValueError(
            f"tissue: with its diffusivity {lost} of {seen.sum()} measured cells are not activated by t1 = {t1:g} ms; "
            "allowed: a start with a larger diffusivity, or a later t1"
        )
    weak = np.flatnonzero(np.linalg.norm(slope, axis=0) < WEAKEST)
    if weak.size:
        raise ValueError(f"regions: the measured times say nothing of region {weak[0]}: no wave passes it before them")
    damping, converged = 1e-3, False
    while run.count < most_runs and not converged:
        normal = slope.T @ slope
        step = -np.linalg.solve(normal + damping * np.diag(np.diag(normal)), slope.T @ residual)
        step *= min(1.0, LONGEST_STEP / np.abs(step).max())
        converged = bool(np.abs(step).max() < CLOSE)
        new_residual, new_slope = _seen(run(x + step), measured, seen)
        if np.isfinite(new_residual).all() and np.sum(new_residual**2) <= np.sum(residual**2):
            x, residual, slope, damping = x + step, new_residual, new_slope, damping / 10
        else:
            damping *= 10
    degrees = max(residual.size - run.regions, 1)
    sd = math.sqrt(float(np.sum(residual**2)) / degrees) if noise is None else noise
    of_grid = np.full(tissue.shape, np.nan)
    of_grid[seen] = residual
    factor = np.exp(x)
    return ConductivityFit(
        diffusivity=np.multiply.outer(factor, np.asarray(tissue.diffusivity)),
        relative_error=sd * np.sqrt(np.diag(np.linalg.pinv(slope.T @ slope))),
        factor=factor,
        tissue=run.scaled(x),
        residual=of_grid,
        runs=run.count,
        converged=converged,
    )


class _Runs:
    """Log factors of the regions -> activation times, and their sensitivities; compiled for one step at a time."""

    def __init__(self, tissue: Tissue, stimuli, regions: np.ndarray, t1: float, dt: float | None, how: dict[str, Any]):
        self.tissue, self.stimuli, self.map, self.t1, self.how = tissue, stimuli, regions, t1, how
        self.regions = int(regions.max()) + 1
        self.dt, self.given = (math.inf if dt is None else dt), dt is not None
        self.count = 0
        self.run: Callable | None = None

    def scaled(self, x) -> Tissue:
        d = self.tissue.diffusivity
        factor = jnp.exp(jnp.asarray(x, d.dtype))[self.map]
        return self.tissue.replace(
            diffusivity=jnp.reshape(d, (*d.shape, *(1,) * self.tissue.axes)) * factor[(None,) * d.ndim]
        )

    def __call__(self, x) -> tuple[np.ndarray, np.ndarray]:
        """Times, ms, of the grid's shape; d time / d log factor, (*grid, regions)."""
        stable = math.inf
        if self.how["diffusion"] == "explicit":
            stable = float(self.scaled(x).diffusion().limit())
        if self.given and self.dt > stable * (1 + 1e-9):
            raise refusal(
                "dt", self.dt, "ms", f'<= {stable:.4g} ms here with explicit diffusion; or diffusion="implicit"'
            )
        if self.run is None or self.dt > stable:
            self.dt = self.dt if self.given else min(DEFAULT_DT[self.how["diffusion"]], 0.8 * stable)
            self.run = compiled(self.with_slopes, lambda *args: BRIEF)
        self.count += 1
        times, slopes = self.run(jnp.asarray(x, self.tissue.diffusivity.dtype))
        return np.asarray(times, np.float64), np.moveaxis(np.asarray(slopes, np.float64), 0, -1)

    def with_slopes(self, x):
        def times(x):
            run = simulate(self.scaled(x), self.stimuli, t1=self.t1, dt=self.dt, save_every=self.t1, **self.how)
            return run.activation_time

        along = jax.vmap(lambda direction: jax.jvp(times, (x,), (direction,)), out_axes=(None, 0))
        return along(jnp.eye(self.regions, dtype=x.dtype))


def _seen(found, measured, seen) -> tuple[np.ndarray, np.ndarray]:
    """Residuals (cells,), and their slopes (cells, regions), of the measured cells."""
    times, slopes = found
    return (times - measured)[seen], slopes[seen]


def _check(tissue: Tissue, measured: np.ndarray, regions: np.ndarray) -> None:
    for name, x in (("activation_time", measured), ("regions", regions)):
        if x.shape != tissue.shape:
            raise refusal(name, f"shape {x.shape}", "", f"the grid's shape {tissue.shape}")
    if tissue.diffusivity.shape not in ((), (tissue.axes,), (2,)) or (
        tissue.fibres is None and tissue.diffusivity.shape == tissue.shape
    ):
        raise refusal("tissue.diffusivity", f"shape {tissue.diffusivity.shape}", "mm^2/ms", "a number, or one an axis")
    check(
        "activation_time",
        measured,
        "ms",
        ">= 0, or NaN where not measured",
        lambda x: np.isnan(x) | ((x >= 0) & (x < np.inf)),
    )
    seen = np.isfinite(measured)
    if not seen.any():
        raise refusal("activation_time", "NaN everywhere", "ms", "measured in at least one cell of each region")
    if regions.dtype.kind not in "iu":
        raise refusal("regions", f"an array of {regions.dtype}", "", "whole numbers 0, 1, ..., each of them there")
    known = np.unique(regions)
    if not np.array_equal(known, np.arange(len(known))):
        raise refusal("regions", known, "", "whole numbers 0, 1, ..., each of them there")
    for k in known:
        if not seen[regions == k].any():
            raise refusal("regions", f"region {k} without a measured cell", "", "at least one in each")
