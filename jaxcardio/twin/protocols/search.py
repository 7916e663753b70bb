"""The search for a protocol, step by step.

A greedy design keeps every cell at the end of the steps chosen so far, together with the derivatives of its state with
respect to theta. A candidate then costs one step, and the search is linear in the number of steps.
"""

from collections.abc import Callable
from functools import cached_property, lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...annotations import typed
from ...cell import astype, dtype_of
from ...clock import positions
from ...progress import progress_bar
from ...protocols import Segments, VoltageSteps
from ...simulation.closed_form import make_clamp_plan, run_clamp
from ...simulation.grid import clamp_grid
from ..experiment import OUTPUT, Experiment
from .criteria import SIGMA, SPREAD, Criterion, check_judge, checked_theta, posterior_covariance, posterior_sd, value_of
from .steps import Space

POPULATION_BATCH = 512
"""Cells that take a step together where only their current is wanted."""


class Design(NamedTuple):
    """A protocol, and how it came about."""

    protocol: Segments
    values: Float[np.ndarray, " steps"]
    """The criterion after every step of the protocol, or of the refinement."""
    sd: Float[np.ndarray, "cells parameters"] | None = None
    """Posterior standard deviations after the whole protocol; None where a network was the judge."""


class Step:
    """One held step, compiled once: any level and duration, from any state. A longer one is the same one stretched."""

    def __init__(self, experiment: Experiment, dtype):
        self.experiment, self.dtype = experiment, dtype
        self.length = experiment.t1
        self.counts = experiment.windows.counts.astype(dtype)
        clamp, times = VoltageSteps([0.0], [self.length]), experiment.windows.times
        grid = clamp_grid(clamp, 0.0, self.length, None, times)
        self.plan = make_clamp_plan(clamp, grid, positions(grid, times), np.zeros(0), dtype)

    def begin(self, cells: int):
        """The published state, one a cell."""
        published = self.experiment.cell.initial_state()
        return jax.tree.map(lambda x: jnp.full(cells, x, self.dtype), published)

    def number(self, x) -> Array:
        """As a traced number: another one of them compiles nothing."""
        return jnp.asarray(x, self.dtype)

    def run(self, theta, y, level, duration):
        """The current at the windows and the state at the end."""
        steps, stretch = self.plan.blocks.steps, duration / self.length
        steps = steps._replace(
            start=steps.start * stretch, dt=steps.dt * stretch, value=jnp.full(steps.value.shape, level)
        )
        plan = self.plan._replace(blocks=self.plan.blocks._replace(steps=steps))
        cells = astype(self.experiment.cells(theta), self.dtype)
        seen, y, _ = run_clamp(cells, y, plan, (OUTPUT,), False)
        return seen[OUTPUT], y

    def linearise(self, theta, y, dy, level, duration):
        """What the step's windows add to the information, and state and its derivatives at the end.

        `dy` has the parameters on its leading axis; one tangent serves all cells, since no cell sees another.
        """

        def along(direction, dy):
            start, tangents = (theta, y), (jnp.broadcast_to(direction, theta.shape), dy)
            return jax.jvp(lambda theta, y: self.run(theta, y, level, duration), start, tangents)

        directions = jnp.eye(theta.shape[1], dtype=theta.dtype)
        (_, y), (jacobian, dy) = jax.vmap(along, out_axes=(None, (-1, 0)))(directions, dy)
        scaled = jacobian * jnp.sqrt(self.counts * (duration / self.length))[None, :, None]
        return jnp.swapaxes(scaled, 1, 2) @ scaled, y, dy

    @cached_property
    def current(self):
        """Compiled `run`."""
        return jax.jit(self.run)

    @cached_property
    def linearised(self):
        """Compiled `linearise`."""
        return jax.jit(self.linearise)

    @cached_property
    def pulled_back(self):
        """Compiled: (theta, y, dy, level, duration), cotangents of what `linearise` gives -> those of the last four."""

        def pull(theta, *at_and_cotangents):
            at, cotangents = at_and_cotangents[:4], at_and_cotangents[4:]
            return jax.vjp(partial(self.linearise, theta), *at)[1](cotangents)

        return jax.jit(pull)


@lru_cache(maxsize=4)
def one_step(experiment: Experiment, dtype) -> Step:
    """One for all designs that are given the same step."""
    return Step(experiment, dtype)


class Prefix(NamedTuple):
    """The cells at the end of the steps chosen so far, and what those have told."""

    y: Any
    dy: Any
    information: Float[np.ndarray, "cells parameters parameters"]


def blank_prefix(step: Step, theta) -> Prefix:
    cells, parameters = theta.shape
    y = step.begin(cells)
    dy = jax.tree.map(lambda x: jnp.zeros((parameters, *x.shape), x.dtype), y)
    return Prefix(y, dy, np.zeros((cells, parameters, parameters)))


def extended(step: Step, theta, prefix: Prefix, level, duration) -> Prefix:
    at = prefix.y, prefix.dy, step.number(level), step.number(duration)
    more, y, dy = step.linearised(theta, *at)
    return Prefix(y, dy, prefix.information + np.asarray(more, np.float64))


@typed
def design_by_information(
    theta: Float[np.ndarray, "cells parameters"],
    *,
    space: Space = Space(),
    step: Experiment | None = None,
    criterion: Criterion = "A",
    sigma: float = SIGMA,
    spread: float = SPREAD,
    progress: bool | Callable[[float], None] = False,
) -> Design:
    """Greedy design: each step is the candidate after which the posterior is narrowest, on average over these cells.

    Args:
        theta: cells to average over; 8 to 16 from the prior are enough.
        space: the protocols to choose among.
        step: one step of the space, with cell, parameters and windows; default `space.one_step()`.
        criterion: "A" (trace) or "D" (determinant), see `criterion`.
        sigma, spread: as in `expected_covariance`.
        progress: True for a bar on stderr, or a function of the fraction done.

    ValueError: an argument out of its range, by name; or a candidate under which a cell's state does not stay finite.
    """
    check_judge(criterion, sigma, spread)
    experiment = checked_step(step, space, space.step)
    one = one_step(experiment, dtype_of(experiment.cell))
    cells = jnp.asarray(checked_theta(theta, experiment))

    def extend(prefix, level):
        return extended(one, cells, prefix, level, space.step)

    def score(prefix):
        return value_of(posterior_covariance(prefix.information, sigma, spread), criterion, spread)

    levels, values, last = _greedy(space, blank_prefix(one, cells), extend, score, progress)
    return Design(space.protocol(levels), values, posterior_sd(last.information, sigma, spread))


@typed
def design_by_network(
    theta: Float[np.ndarray, "cells parameters"],
    error: Callable[[Float[np.ndarray, "cells windows"], Float[np.ndarray, "cells parameters"]], float],
    *,
    space: Space = Space(),
    step: Experiment | None = None,
    dtype: str = "float32",
    progress: bool | Callable[[float], None] = False,
) -> Design:
    """Greedy design as published: each step is the candidate whose trained network has the lowest error.

    Args:
        theta: the population that networks are trained and tested on.
        error: (observed current of all steps so far, pA/pF, without noise; theta) -> the error on test cells of a
            network trained on the others. Called once for every candidate.
        dtype: in which the population is simulated.
        space, step, progress: as in `design_by_information`.

    ValueError: an argument out of its range, by name; or a candidate whose error is not finite.
    """
    experiment = checked_step(step, space, space.step)
    theta = checked_theta(theta, experiment)
    one = one_step(experiment, jnp.dtype(dtype))
    batch = min(POPULATION_BATCH, len(theta))
    batches = [np.minimum(np.arange(b, b + batch), len(theta) - 1) for b in range(0, len(theta), batch)]

    def extend(prefix, level):
        states, observed = prefix
        at = one.number(level), one.number(space.step)
        parts = [one.current(jnp.asarray(theta[some]), y, *at) for some, y in zip(batches, states, strict=True)]
        current = np.concatenate([np.asarray(current) for current, _ in parts])[: len(theta)]
        return [y for _, y in parts], np.concatenate([observed, current], axis=1)

    nothing = [one.begin(batch)] * len(batches), np.zeros((len(theta), 0), dtype)
    levels, values, _ = _greedy(space, nothing, extend, lambda prefix: float(error(prefix[1], theta)), progress)
    return Design(space.protocol(levels), values)


def checked_step(step: Experiment | None, space: Space, length: float | None = None) -> Experiment:
    """The step, of the length that is asked for if any."""
    step = space.one_step() if step is None else step
    if len(step.protocol.edges(0.0, step.t1)) > 0 or (length is not None and abs(step.t1 - length) > 1e-9):
        of = "" if length is None else f" of {length} ms"
        raise ValueError(f"step: {step.t1} ms; allowed: one held step{of}, as Space.one_step() gives")
    return step


def reporter(progress, title: str) -> Callable[[float], None]:
    return progress_bar(title) if progress is True else progress or (lambda done: None)


def _greedy(space: Space, prefix, extend, score, progress):
    """The level of each step and the score after it, and the whole prefix; the lowest score is best."""
    report = reporter(progress, "design")
    choices = space.choices
    done, total = 0, sum(map(len, choices))
    levels, values = [], []
    for among in choices:
        found = []
        for level in among:
            candidate = extend(prefix, level)
            found.append((score(candidate), level, candidate))
            if not np.isfinite(found[-1][0]):
                raise ValueError(
                    f"level = {level} mV in step {len(levels)}: criterion {found[-1][0]}; allowed: finite for all cells"
                )
            done += 1
            report(done / total)
        value, level, prefix = min(found, key=lambda each: each[0])
        levels.append(level)
        values.append(value)
    return levels, np.array(values), prefix
