"""Voltage-clamp protocols that tell most about a cell: designed step by step, refined by gradient, and comparators.

The judge is the posterior that a recording would leave: with J the Jacobian of the observed current with respect to
theta, W the inverse variances of the observations and sd the standard deviation of the prior, its covariance is
(J^T W J + I / sd^2)^-1 by linearisation. "A" is the expected mean square error, the mean of that covariance's diagonal;
"D" the logarithm of its determinant over the prior's.

A greedy design keeps every cell at the end of the steps chosen so far, together with the derivatives of its state with
respect to theta. A candidate then costs one step, and the search is linear in the number of steps.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache, partial
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from ..arguments import check, check_whole
from ..cell import astype, dtype_of
from ..clamp import clamp_grid, make_clamp_plan, run_clamp
from ..progress import progress_bar
from ..protocols import Segments, VoltageSteps
from .experiment import OUTPUT, Experiment
from .windows import windows_of

LEVELS = tuple(float(level) for level in range(-120, 51, 10))
"""Candidates of every step, mV (digital-twin paper, protocol optimisation: -120 to +50 mV by 10 mV)."""
HOLD = -100.0
"""The first step, mV (same)."""
STEP = 250.0
"""Length of every step, ms (same)."""
LENGTH = 7000.0
"""Length of a protocol, ms (same)."""
PROBE_AT, PROBE = 6000.0, -120.0
"""One step that is not chosen: when it begins, ms, and its level, mV (same: it probes I_f)."""

DESIGNED = (
    -100.0,
    -30.0,
    -120.0,
    30.0,
    -50.0,
    -20.0,
    -110.0,
    -40.0,
    -10.0,
    50.0,
    -120.0,
    10.0,
    50.0,
    -20.0,
    50.0,
    50.0,
    -110.0,
    -10.0,
    -70.0,
    50.0,
    -80.0,
    -110.0,
    50.0,
    -60.0,
    -120.0,
    -100.0,
    50.0,
    -80.0,
)
"""Levels (mV) of `STEP` each that `design_by_information` found on eight cells, criterion A."""
SIGMA = 0.05
"""Noise of one sample, pA/pF."""
SPREAD = 0.2
"""Half width of the uniform prior of theta; its standard deviation is SPREAD / sqrt(3)."""
NULL_DIRECTIONS = 4
"""Directions of the 52 parameters that no voltage clamp sees: I_K1 uses five shape parameters through two numbers, and
Ks_2 sits where it is a constant."""

BATCH = 16
"""Cells linearised together where many are."""
POPULATION_BATCH = 512
"""Cells that take a step together where only their current is wanted."""

Criterion = Literal["A", "D"]


@dataclasses.dataclass(frozen=True)
class Space:
    """The step protocols among which a design chooses; by default those of the digital-twin paper.

    Attributes:
        levels: candidates of every step, mV.
        hold: the first step, mV.
        step: length of every step, ms.
        length: of the protocol, ms: a whole number of steps, at least two.
        probes: (when it begins, ms; level, mV) of every later step that is not chosen.

    ValueError: an argument out of its range, by name.
    """

    levels: tuple[float, ...] = LEVELS
    hold: float = HOLD
    step: float = STEP
    length: float = LENGTH
    probes: tuple[tuple[float, float], ...] = ((PROBE_AT, PROBE),)

    def __post_init__(self):
        check("levels", self.levels, "mV", "at least one, finite", lambda x: x.size > 0 and np.isfinite(x).all())
        check("hold", self.hold, "mV", "finite", np.isfinite)
        check("step", self.step, "ms", "> 0", lambda x: np.isfinite(x) and x > 0)
        steps = f"a whole number >= 2 of steps of {self.step} ms"
        check("length", self.length, "ms", steps, lambda x: x >= 2 * self.step and _is_whole(x / self.step))
        for at, level in self.probes:
            inside = f"the beginning of a step of {self.step} ms after the first, < {self.length} ms"
            check("probes", at, "ms", inside, lambda x: 0 < x < self.length and _is_whole(x / self.step))
            check("probes", level, "mV", "finite", np.isfinite)

    @property
    def choices(self) -> list[tuple[float, ...]]:
        """What each step may be, mV: one level where nothing is chosen."""
        choices = [tuple(self.levels)] * round(self.length / self.step)
        choices[0] = (self.hold,)
        for at, level in self.probes:
            choices[round(at / self.step)] = (level,)
        return choices

    def protocol(self, levels: Sequence[float] | np.ndarray) -> Segments:
        """The clamp with these levels, one a step."""
        return VoltageSteps(np.asarray(levels, float), np.full(len(levels), self.step))

    def one_step(self, **how: Any) -> Experiment:
        """The hold as an experiment of its own. `how`: `cell` and `names` of it, `dt`, `blank`, `growth` of windows."""
        about = {name: how.pop(name) for name in ("cell", "names") if name in how}
        clamp = self.protocol([self.hold])
        return Experiment(clamp, windows_of(clamp, self.step, **how), **about)


def _is_whole(x) -> bool:
    return bool(abs(x - np.rint(x)) < 1e-9)


def iv_staircase() -> Segments:
    """A staircase for current-voltage curves: up through `LEVELS` by 10 mV, and down again by 20 mV; LENGTH ms."""
    return Space().protocol([HOLD, *LEVELS, *LEVELS[-2::-2]])


def herg_staircase() -> Segments:
    """The staircase of the hERG literature, twice as fast; LENGTH ms.

    Source: Lei CL et al., Biophys J 2019;117:2438-2454, doi 10.1016/j.bpj.2019.07.029, with the levels and durations of
    the authors' protocol files. Theirs takes 15,400 ms. Here every duration is halved, and the opening leak ramp
    (900 ms of theirs) and the closing hold (500 ms) are left out.
    """
    up_and_down = [-40, -60, -20, -40, 0, -20, 20, 0, 40, 20, 40, 0, 20, -20, 0, -40, -20, -60, -40]
    begin = [40, -120, -80, *up_and_down, -80, 40, -70, -70, -120]
    end = [40, -120, -80, *up_and_down, -80, 40, -70, -110, -120]
    durations = [1000, 500, 1000, *[500] * len(up_and_down), 1000, 500, 10, 100, 390]
    return Segments(np.array(begin, float), np.array(end, float), 0.5 * np.array(durations, float), kind="voltage")


def random_steps(seed: int, space: Space = Space()) -> Segments:
    """A protocol of the space with every level drawn at random."""
    check_whole("seed", seed, "", least=0)
    rng = np.random.default_rng(seed)
    return space.protocol([rng.choice(levels) for levels in space.choices])


def expected_covariance(
    experiment: Experiment,
    theta: Float[np.ndarray, "cells parameters"],
    *,
    sigma: float = SIGMA,
    spread: float = SPREAD,
) -> Float[np.ndarray, "cells parameters parameters"]:
    """Posterior covariance of theta that a recording of each of these cells would leave, by linearisation.

    Args:
        experiment: protocol and windows.
        theta: where to linearise.
        sigma: noise of one sample, pA/pF; a window of n samples has sigma / sqrt(n).
        spread: half width of the uniform prior, taken as a Gaussian of the same variance.

    ValueError: an argument out of its range, by name.
    """
    _check_judge("A", sigma, spread)
    theta = _checked_theta(theta, experiment)
    information, batch = [], min(BATCH, len(theta))
    for begin in range(0, len(theta), batch):
        some = np.minimum(np.arange(begin, begin + batch), len(theta) - 1)
        jacobian = np.asarray(experiment.linearised(jnp.asarray(theta[some]))[1], np.float64)
        part = np.einsum("cwp,w,cwq->cpq", jacobian, experiment.windows.counts, jacobian, optimize=True)
        information.append(part[: len(theta) - begin])
    return _covariance(np.concatenate(information), sigma, spread)


def criterion(
    experiment: Experiment,
    theta: Float[np.ndarray, "cells parameters"],
    *,
    kind: Criterion = "A",
    sigma: float = SIGMA,
    spread: float = SPREAD,
) -> float:
    """How little a recording would leave unknown, mean over these cells; smaller is better, for any clamp.

    "A": expected mean square error of theta, (trace of the posterior covariance) / parameters; `floor` is what no
    protocol goes below. "D": log det of the posterior covariance over the prior's. Else as `expected_covariance`.
    """
    _check_judge(kind, sigma, spread)
    return _value(expected_covariance(experiment, theta, sigma=sigma, spread=spread), kind, spread)


def floor(spread: float = SPREAD, parameters: int = 52, null_directions: int = NULL_DIRECTIONS) -> float:
    """The mean square error that the null directions leave, however good the recording; `criterion` less this is the
    excess."""
    return null_directions / parameters * spread**2 / 3


def _check_judge(kind, sigma, spread):
    if kind not in ("A", "D"):
        raise ValueError(f"criterion = {kind!r}; allowed: 'A' (trace) or 'D' (determinant)")
    check("sigma", sigma, "pA/pF", "> 0", lambda x: np.isfinite(x) and x > 0)
    check("spread", spread, "", "0 < spread < 1", lambda x: 0 < x < 1)


def _checked_theta(theta, experiment) -> np.ndarray:
    theta = np.asarray(theta, np.float64)
    if theta.ndim != 2 or len(theta) == 0 or theta.shape[1] != len(experiment.names):
        raise ValueError(f"theta: shape {theta.shape}; allowed: (cells >= 1, {len(experiment.names)} parameters)")
    check("theta", theta, "", "finite and > -1", lambda x: np.isfinite(x) & (x > -1))
    return theta


def _covariance(information, sigma, spread):
    """Of the posterior, from J^T n J: what windows of n samples tell at a noise of 1 pA/pF a sample."""
    prior = spread**2 / 3
    return prior * np.linalg.inv(np.eye(information.shape[-1]) + prior / sigma**2 * information)


def _value(covariance, kind: Criterion, spread) -> float:
    if kind == "A":
        return float(np.diagonal(covariance, axis1=-2, axis2=-1).mean())
    return float(np.linalg.slogdet(covariance / (spread**2 / 3))[1].mean())


class Design(NamedTuple):
    """A protocol, and how it came about."""

    protocol: Segments
    values: Float[np.ndarray, " steps"]
    """The criterion after every step of the protocol, or of the refinement."""
    sd: Float[np.ndarray, "cells parameters"] | None = None
    """Posterior standard deviations after the whole protocol; None where a network was the judge."""


class _Step:
    """One held step, compiled once: any level and duration, from any state. A longer one is the same one stretched."""

    def __init__(self, experiment: Experiment, dtype):
        self.experiment, self.dtype = experiment, dtype
        self.length = experiment.t1
        self.counts = experiment.windows.counts.astype(dtype)
        clamp, times = VoltageSteps([0.0], [self.length]), experiment.windows.times
        grid = clamp_grid(clamp, 0.0, self.length, None, times)
        self.plan = make_clamp_plan(clamp, grid, times, np.zeros(0), dtype)

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
def _compiled(experiment: Experiment, dtype) -> _Step:
    """One for all designs that are given the same step."""
    return _Step(experiment, dtype)


class _Prefix(NamedTuple):
    """The cells at the end of the steps chosen so far, and what those have told."""

    y: Any
    dy: Any
    information: Float[np.ndarray, "cells parameters parameters"]


def _blank_prefix(step: _Step, theta) -> _Prefix:
    cells, parameters = theta.shape
    y = step.begin(cells)
    dy = jax.tree.map(lambda x: jnp.zeros((parameters, *x.shape), x.dtype), y)
    return _Prefix(y, dy, np.zeros((cells, parameters, parameters)))


def _extended(step: _Step, theta, prefix: _Prefix, level, duration) -> _Prefix:
    at = prefix.y, prefix.dy, step.number(level), step.number(duration)
    more, y, dy = step.linearised(theta, *at)
    return _Prefix(y, dy, prefix.information + np.asarray(more, np.float64))


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
    _check_judge(criterion, sigma, spread)
    experiment = _checked_step(step, space, space.step)
    one = _compiled(experiment, dtype_of(experiment.cell))
    cells = jnp.asarray(_checked_theta(theta, experiment))

    def extend(prefix, level):
        return _extended(one, cells, prefix, level, space.step)

    def score(prefix):
        return _value(_covariance(prefix.information, sigma, spread), criterion, spread)

    levels, values, last = _greedy(space, _blank_prefix(one, cells), extend, score, progress)
    return Design(space.protocol(levels), values, _sd(last.information, sigma, spread))


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
    experiment = _checked_step(step, space, space.step)
    theta = _checked_theta(theta, experiment)
    one = _compiled(experiment, jnp.dtype(dtype))
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


def _checked_step(step: Experiment | None, space: Space, length: float | None = None) -> Experiment:
    """The step, of the length that is asked for if any."""
    step = space.one_step() if step is None else step
    if len(step.protocol.edges(0.0, step.t1)) > 0 or (length is not None and abs(step.t1 - length) > 1e-9):
        of = "" if length is None else f" of {length} ms"
        raise ValueError(f"step: {step.t1} ms; allowed: one held step{of}, as Space.one_step() gives")
    return step


def _sd(information, sigma, spread):
    return np.sqrt(np.diagonal(_covariance(information, sigma, spread), axis1=-2, axis2=-1))


def _reporter(progress, title: str) -> Callable[[float], None]:
    return progress_bar(title) if progress is True else progress or (lambda done: None)


def _greedy(space: Space, prefix, extend, score, progress):
    """The level of each step and the score after it, and the whole prefix; the lowest score is best."""
    report = _reporter(progress, "design")
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


def refine_by_gradient(
    protocol: Segments,
    theta: Float[np.ndarray, "cells parameters"],
    *,
    step: Experiment | None = None,
    iterations: int = 15,
    rates: tuple[float, float] = (4.0, 0.1),
    range_mV: tuple[float, float] = (LEVELS[0], LEVELS[-1]),
    shortest: float = 20.0,
    fixed: Sequence[int] = (0,),
    criterion: Criterion = "A",
    sigma: float = SIGMA,
    spread: float = SPREAD,
    progress: bool | Callable[[float], None] = False,
) -> Design:
    """Improves levels and durations of a step protocol by gradient through the simulator (Adam); its length is kept.

    The derivative of the criterion goes backwards through the steps, one compiled step at a time. A step of another
    duration is the given one stretched, time steps and windows with it. The best iterate is returned, its edges on
    samples. Probes are steps like others: put them in `fixed` to keep their level and duration, not their time.

    The derivative costs about 14 times the value and takes long to compile. Still, from the same design (28 steps, 4
    cells; excess over `floor` 3.8e-4) 4 iterations did as much as two sweeps of trying every level and every edge
    either way, each from the shared prefix (3.2e-4), and 14 did more (3.1e-4).

    Args:
        protocol: consecutive held steps, e.g. of a `Design`.
        theta: cells to average over.
        step: one step, with cell, parameters and windows; default `Space().one_step()`.
        iterations: of Adam.
        rates: its learning rates: of the levels, mV, and of the logarithms of the durations.
        range_mV: lowest and highest level of the amplifier, mV.
        shortest: least duration of a step, ms.
        fixed: indices of steps that stay as they are; by default the first, the hold.
        criterion, sigma, spread, progress: as in `design_by_information`.

    Returns:
        The protocol, the criterion at the beginning and after each iteration, and the standard deviations.

    ValueError: an argument out of its range, by name; a ramp, or steps that are not within the limits.
    """
    _check_judge(criterion, sigma, spread)
    check_whole("iterations", iterations, "")
    experiment = _checked_step(step, Space())
    cells = jnp.asarray(_checked_theta(theta, experiment))
    levels, durations, free = _checked_segments(protocol, range_mV, shortest, fixed)
    one = _compiled(experiment, dtype_of(experiment.cell))
    report = _reporter(progress, "refinement")
    spare = durations[free].sum() - shortest * free.sum()

    def lengths(logs):
        return jnp.asarray(durations).at[free].set(shortest + spare * jax.nn.softmax(logs))

    at, logs = jnp.asarray(levels), jnp.log(jnp.asarray(np.maximum(durations[free] - shortest, 1e-3)))
    adam = optax.adam(1.0)
    memory = adam.init((at, logs))
    values, best = [], (at, jnp.asarray(durations), np.zeros(0))
    for iteration in range(iterations + 1):
        now, pull = jax.vjp(lengths, logs)
        value, information, slopes = _value_and_slopes(one, cells, at, now, criterion, sigma, spread)
        if not np.isfinite(value):
            raise ValueError(f"protocol: criterion {value} in iteration {iteration}; allowed: finite for all cells")
        if value < min(values, default=np.inf):
            best = at, now, information
        values.append(value)
        report((iteration + 1) / (iterations + 1))
        slopes = jnp.where(free, slopes[0], 0.0), pull(slopes[1])[0]
        with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes, whatever its caller is strict about
            change, memory = adam.update(slopes, memory)
        by_level, by_log = cast(tuple[Array, Array], change)
        at = jnp.where(free, jnp.clip(at + rates[0] * by_level, range_mV[0], range_mV[1]), at)
        logs = logs + rates[1] * by_log
    found, times, information = best
    edges = np.rint(np.cumsum(np.asarray(times)) / experiment.windows.dt) * experiment.windows.dt
    refined = VoltageSteps(np.asarray(found), np.diff(edges, prepend=0.0), protocol.start)
    return Design(refined, np.array(values), _sd(information, sigma, spread))


def _checked_segments(protocol, range_mV, shortest, fixed):
    """Levels, durations, and which steps are free."""
    if not isinstance(protocol, Segments) or not np.array_equal(protocol.begin, protocol.end):
        raise ValueError(f"protocol: {type(protocol).__name__}; allowed: held steps, as VoltageSteps gives")
    levels, durations = np.asarray(protocol.begin, float), np.asarray(protocol.durations, float)
    check("range_mV", range_mV, "mV", "lowest < highest", lambda x: x.shape == (2,) and x[0] < x[1])
    check("shortest", shortest, "ms", "> 0", lambda x: np.isfinite(x) and x > 0)
    steps = f"indices of steps, 0 to {len(levels) - 1}, not all of them"
    check("fixed", list(fixed), "", steps, lambda x: np.isin(x, np.arange(len(levels))).all())
    free = ~np.isin(np.arange(len(levels)), list(fixed))
    check("fixed", list(fixed), "", steps, lambda x: free.any())
    inside = f"within range_mV = {range_mV} mV in every free step"
    check("protocol", levels[free], "mV", inside, lambda x: (x >= range_mV[0]) & (x <= range_mV[1]))
    check("protocol", durations[free], "ms", f"steps of at least shortest = {shortest} ms", lambda x: x >= shortest)
    return levels, durations, free


def _value_and_slopes(one: _Step, theta, levels, durations, kind: Criterion, sigma, spread):
    """The criterion, the information, and the criterion's derivative by every level and duration."""
    path = [_blank_prefix(one, theta)]
    for level, duration in zip(levels, durations, strict=True):
        path.append(_extended(one, theta, path[-1], level, duration))
    information = path[-1].information
    covariance = _covariance(information, sigma, spread)
    told = covariance @ covariance / covariance.shape[-1] if kind == "A" else covariance
    by_information = jnp.asarray(-told / (len(theta) * sigma**2), one.dtype)
    by_state = jax.tree.map(jnp.zeros_like, (path[-1].y, path[-1].dy))
    slopes = []
    for prefix, level, duration in reversed(list(zip(path[:-1], levels, durations, strict=True))):
        at = prefix.y, prefix.dy, one.number(level), one.number(duration)
        *by_state, by_level, by_duration = one.pulled_back(theta, *at, by_information, *by_state)
        slopes.append((by_level, by_duration))
    return (
        _value(covariance, kind, spread),
        information,
        jnp.stack([jnp.stack(s) for s in zip(*slopes[::-1], strict=True)]),
    )


TABLE = "jaxcardio clamp table 1"


def to_operator_json(protocol: Segments, dt: float = 0.1) -> str:
    """The clamp as a table that an amplifier's operator can type in, as JSON; `from_operator_json` gives the clamp.

    One entry a segment: when it starts and how long it lasts, ms, and its level, mV; a ramp also has the level it comes
    from. `dt` is the sampling interval, ms. (`jaxcardio.protocols.to_json` writes any protocol, for programs.)

    ValueError: not a voltage clamp of segments from 0 ms, or dt out of its range.
    """
    if not isinstance(protocol, Segments) or protocol.kind != "voltage" or protocol.start != 0:
        raise ValueError(f"protocol: {type(protocol).__name__}; allowed: voltage steps and ramps that start at 0 ms")
    check("dt", dt, "ms", "> 0", lambda x: np.isfinite(x) and x > 0)
    begin, end, durations = (np.asarray(x, float) for x in (protocol.begin, protocol.end, protocol.durations))
    starts = _starts(durations)
    segments = [
        {"number": k + 1, "start_ms": float(start), "duration_ms": float(duration), "level_mV": float(level)}
        | ({} if level == origin else {"ramp_from_mV": float(origin)})
        for k, (start, duration, origin, level) in enumerate(zip(starts, durations, begin, end, strict=True))
    ]
    table = {
        "format": TABLE,
        "units": {"time": "ms", "potential": "mV"},
        "number_of_segments": len(segments),
        "total_length_ms": float(durations.sum()),
        "sampling_interval_ms": float(dt),
        "sampling_rate_kHz": float(1 / dt),
        "segments": segments,
    }
    return json.dumps(table, indent=1)


def from_operator_json(text: str) -> Segments:
    """The clamp that `to_operator_json` wrote; a ValueError says what is wrong with the text, or does not fit in it."""
    try:
        table = json.loads(text)
        if not isinstance(table, dict) or table.get("format") != TABLE:
            raise ValueError(f"table: allowed: JSON with format {TABLE!r}")
        rows = table["segments"]
        level = np.array([row["level_mV"] for row in rows], float)
        begin = np.array([row.get("ramp_from_mV", row["level_mV"]) for row in rows], float)
        durations = np.array([row["duration_ms"] for row in rows], float)
        starts = np.array([row["start_ms"] for row in rows], float)
        length = float(table["total_length_ms"])
    except json.JSONDecodeError as error:
        raise ValueError(f"table: not JSON ({error})") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"table: not a whole {TABLE} ({error!r})") from None
    protocol = Segments(begin, level, durations, kind="voltage")
    meant = "start_ms and total_length_ms that follow from duration_ms"
    check("table", np.append(starts, length), "ms", meant, lambda x: np.allclose(x, _starts(durations, whole=True)))
    return protocol


def _starts(durations, whole: bool = False):
    """When each segment starts; with the end of the last if `whole`."""
    edges = np.concatenate([[0.0], np.cumsum(durations)])
    return edges if whole else edges[:-1]
