"""The last part of a design: levels and durations by gradient through the simulator."""

from collections.abc import Callable, Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from ...annotations import typed
from ...arguments import check, check_whole
from ...cell import dtype_of
from ...protocols import Segments, VoltageSteps
from ..experiment import Experiment
from .criteria import SIGMA, SPREAD, Criterion, check_judge, checked_theta, posterior_covariance, posterior_sd, value_of
from .search import Design, Step, blank_prefix, checked_step, extended, one_step, reporter
from .steps import LEVELS, Space


@typed
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
    check_judge(criterion, sigma, spread)
    check_whole("iterations", iterations, "")
    experiment = checked_step(step, Space())
    cells = jnp.asarray(checked_theta(theta, experiment))
    levels, durations, free = _checked_segments(protocol, range_mV, shortest, fixed)
    one = one_step(experiment, dtype_of(experiment.cell))
    report = reporter(progress, "refinement")
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
    return Design(refined, np.array(values), posterior_sd(information, sigma, spread))


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


def _value_and_slopes(one: Step, theta, levels, durations, kind: Criterion, sigma, spread):
    """The criterion, the information, and the criterion's derivative by every level and duration."""
    path = [blank_prefix(one, theta)]
    for level, duration in zip(levels, durations, strict=True):
        path.append(extended(one, theta, path[-1], level, duration))
    information = path[-1].information
    covariance = posterior_covariance(information, sigma, spread)
    told = covariance @ covariance / covariance.shape[-1] if kind == "A" else covariance
    by_information = jnp.asarray(-told / (len(theta) * sigma**2), one.dtype)
    by_state = jax.tree.map(jnp.zeros_like, (path[-1].y, path[-1].dy))
    slopes = []
    for prefix, level, duration in reversed(list(zip(path[:-1], levels, durations, strict=True))):
        at = prefix.y, prefix.dy, one.number(level), one.number(duration)
        *by_state, by_level, by_duration = one.pulled_back(theta, *at, by_information, *by_state)
        slopes.append((by_level, by_duration))
    return (
        value_of(covariance, kind, spread),
        information,
        jnp.stack([jnp.stack(s) for s in zip(*slopes[::-1], strict=True)]),
    )
