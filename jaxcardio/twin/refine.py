"""From the network's guess to the best parameters and their uncertainty: Levenberg-Marquardt and Laplace.

The residual is everything that is known: the observed windows in units of their noise, and the prior in units of its
standard deviation. Its minimum is the most probable cell, and the curvature there the posterior covariance.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Bool, Float, Int

from ..annotations import typed
from ..arguments import refusal
from ..progress import progress_bar

ANNEALING = (0.3, 0.1, 0.03, 0.01)
"""At first asinh(I / `COMPRESSION`) is fitted, to within these beside the noise: far from the truth I_Na is wrong by
hundreds of times the noise, and its full weight would throw the first steps out of the physiological range."""
COMPRESSION, NONE = 1.0, 1e6
"""pA/pF from which large currents are compressed while annealing, and then no more (to 1e-8)."""
TOLERANCE, ROUGH = 1e-4, 1e-2
"""When a fit ends: relative change of cost and unknowns, at last and while annealing."""
ROUND, ROUNDS = 8, 6
"""Steps before those that have converged are set aside, and how many times."""
SETTLED = 0.05
"""A fit whose cost (minus the logarithm of the posterior) fell by less than this in a round is left where it is: where
the frozen gate's switch makes the current piecewise smooth, steps can go on for ever."""
NEAR = 0.5
"""Converged: another Gauss-Newton step would lower the cost by less than this, which is less than one standard
deviation in all directions together."""
BATCH = 16
"""Fits that advance together."""


class Posterior(NamedTuple):
    """The most probable parameters of each cell, and the Gaussian posterior around them. On the host, float64."""

    mean: Float[np.ndarray, "cells parameters"]
    covariance: Float[np.ndarray, "cells parameters parameters"]
    information: Float[np.ndarray, "cells parameters"]
    """Eigenvalues of the data's information in units of the prior's, descending: how many times more precisely than the
    prior the recording knows each direction. Below 1 the prior knows more."""
    directions: Float[np.ndarray, "cells parameters parameters"]
    """Their eigenvectors, a column each, in units of the prior's standard deviation."""
    chi2: Float[np.ndarray, " cells"]
    """Mean square residual of the windows in units of their noise: near 1 for a cell that the model describes."""
    cost: Float[np.ndarray, " cells"]
    """Half the sum of all squares, prior included, of the best start."""
    decrement: Float[np.ndarray, " cells"]
    """How much lower another Gauss-Newton step expects the cost to be."""
    fitted: Float[np.ndarray, "cells windows"]
    """The current at the most probable parameters, pA/pF."""
    costs: Float[np.ndarray, "cells starts"]
    """Where every start ended."""

    @property
    def converged(self) -> Bool[np.ndarray, " cells"]:
        """Whether each is at an optimum, to within `NEAR`."""
        return self.decrement < NEAR

    def improved(self, cells: Int[np.ndarray, " some"], other: "Posterior") -> "Posterior":
        """With those of these cells replaced that `other`, of these cells alone, found better."""
        better = other.cost < self.cost[cells]
        return Posterior(*(_replaced(mine, cells[better], x[better]) for mine, x in zip(self, other, strict=True)))

    @property
    def sd(self) -> Float[np.ndarray, "cells parameters"]:
        """Standard deviation of each parameter alone."""
        return np.sqrt(np.diagonal(self.covariance, axis1=-2, axis2=-1))


def _replaced(x: np.ndarray, rows: np.ndarray, new: np.ndarray) -> np.ndarray:
    x = x.copy()
    x[rows] = new
    return x


def check_float64() -> None:
    """A ValueError unless JAX computes in float64."""
    if not jax.config.read("jax_enable_x64"):
        raise ValueError('a fit in float32; allowed: float64 (first jax.config.update("jax_enable_x64", True))')


def check_experiment(experiment: Any) -> None:
    """A ValueError unless this has what a fit asks of an experiment."""
    if isinstance(experiment, type) or not (hasattr(experiment, "current") and hasattr(experiment, "linearised")):
        raise refusal("experiment", experiment, "", "an Experiment, or anything with its current and linearised")


@typed
def refine(
    experiment: Any,
    observed: Float[np.ndarray, "cells windows"],
    noise: Float[np.ndarray, " windows"],
    starts: Float[np.ndarray, "cells starts parameters"],
    prior_mean: Float[np.ndarray, " parameters"],
    prior_sd: Float[np.ndarray, " parameters"],
    *,
    anneal: bool = True,
    progress: bool | Callable[[float], None] = False,
) -> Posterior:
    """The posterior of each cell, from the best of its starts.

    Args:
        experiment: an `Experiment`, or anything with its `current` and `linearised`.
        observed: what was recorded, pA/pF.
        noise: standard deviation of each window, pA/pF; > 0.
        starts: where Levenberg-Marquardt begins.
        prior_mean, prior_sd: of each parameter.
        anneal: whether to come from far away (see `ANNEALING`); False where the starts are near the optimum.
        progress: True for a bar on stderr, or a function of the fraction done.

    ValueError: shapes that do not belong together; JAX without float64.
    """
    check_experiment(experiment)
    check_float64()
    cells, each, parameters = starts.shape
    if observed.shape[0] != cells or observed.shape[1:] != noise.shape:
        raise ValueError(
            f"observed: shape {observed.shape}; allowed: {cells} cells as in starts, {len(noise)} windows as in noise"
        )
    report = progress_bar("fits", cells * each, "fits") if progress is True else progress or (lambda done: None)
    of = np.repeat(np.arange(cells), each)
    x = starts.reshape(-1, parameters).astype(np.float64)
    noise, batch = np.asarray(noise), min(BATCH, len(x))
    prior = np.asarray(prior_mean, np.float64), np.asarray(prior_sd, np.float64)

    def advance(some, compression=NONE, slack=0.0, tolerance=TOLERANCE):
        how = jnp.asarray(compression), jnp.asarray(slack), jnp.asarray(tolerance)
        return _advance(experiment, noise, x[some], observed[of[some]], *prior, *how)

    for k, slack in enumerate(ANNEALING if anneal else ()):
        x, _, _ = _in_batches(lambda some, by=slack: advance(some, COMPRESSION, by, ROUGH), np.arange(len(x)), batch)
        report(0.5 * (k + 1) / len(ANNEALING))
    cost, settled = np.full(len(x), np.inf), np.zeros(len(x), bool)
    for _ in range(ROUNDS):
        some = np.flatnonzero(~settled)
        if len(some):
            before = cost[some]
            x[some], cost[some], done = _in_batches(advance, some, batch)
            settled[some] = done | (before - cost[some] < SETTLED)
        report(0.5 + 0.48 * settled.mean())
    cost = np.where(np.isfinite(cost), cost, np.inf).reshape(cells, each)
    best = np.arange(cells), cost.argmin(axis=1)
    mean = x.reshape(cells, each, parameters)[best]

    def curvature(some):
        return _curvature(experiment, noise, mean[some], observed[some], *prior)

    found = _in_batches(curvature, np.arange(cells), min(batch, cells))
    report(1.0)
    return Posterior(mean=mean, **found, cost=cost[best], costs=cost)


@eqx.filter_jit
def _advance(experiment, noise, x, observed, prior_mean, prior_sd, compression, slack, tolerance):
    """`ROUND` steps of each fit: where it is, its cost, and whether it has met the tolerance.

    Unknowns are in units of the prior's standard deviation, so that the damping is of one size for all of them.
    """

    def compressed(current):
        return compression * jnp.arcsinh(current / compression)

    def residual(z, observed):
        wrong = compressed(_current(experiment, prior_mean + prior_sd * z)) - compressed(observed)
        seen = noise / jnp.sqrt(1 + (observed / compression) ** 2)
        return jnp.concatenate([wrong / jnp.sqrt(seen**2 + (slack * compression) ** 2), z])

    def one(x, observed):
        solver = optx.LevenbergMarquardt(rtol=tolerance, atol=tolerance)
        z = (x - prior_mean) / prior_sd
        found = optx.least_squares(residual, solver, z, observed, max_steps=ROUND, throw=False)
        cost = 0.5 * jnp.sum(residual(found.value, observed) ** 2)
        return prior_mean + prior_sd * found.value, cost, found.result == optx.RESULTS.successful

    return jax.vmap(one)(x, observed)


def _in_batches(function: Callable[[np.ndarray], Any], fits: np.ndarray, batch: int) -> Any:
    """`function` of a few fits at a time, always equally many, so that it is compiled once; results on the host."""
    parts = []
    for begin in range(0, len(fits), batch):
        some = fits[begin : begin + batch]
        found = function(np.resize(some, batch))
        parts.append(jax.tree.map(lambda a, n=len(some): np.asarray(a)[:n], found))
    return jax.tree.map(lambda *a: np.concatenate(a), *parts)


def _curvature(experiment, noise, mean, observed, prior_mean, prior_sd) -> dict[str, np.ndarray]:
    """What `Posterior` holds of the neighbourhood of the optimum."""
    current, jacobian = (np.asarray(part) for part in experiment.linearised(jnp.asarray(mean)))
    scaled = jacobian / noise[:, None] * prior_sd
    wrong = (current - observed) / noise
    information, directions = np.linalg.eigh(scaled.swapaxes(1, 2) @ scaled)
    information, directions = np.maximum(information[:, ::-1], 0.0), directions[:, :, ::-1]
    half = directions / np.sqrt(1 + information[:, None, :])
    slope = np.einsum("cwp,cw->cp", scaled, wrong) + (mean - prior_mean) / prior_sd
    step = np.einsum("cpq,cp->cq", half, slope)
    half = half * prior_sd[:, None]
    return {
        "covariance": half @ half.swapaxes(1, 2),
        "information": information,
        "directions": directions,
        "chi2": np.mean(wrong**2, axis=1),
        "decrement": 0.5 * np.sum(step**2, axis=1),
        "fitted": current,
    }


def _current(experiment, x):
    """The current of one cell, with a derivative that forms the whole Jacobian once.

    Levenberg-Marquardt needs all of it; left to itself it would push a linearised run through the loop over time for
    every parameter.
    """

    @jax.custom_jvp
    def current(x):
        return experiment.current(x)

    @current.defjvp
    def _(primals, tangents):
        (x,), (dx,) = primals, tangents
        value, jacobian = experiment.linearised(x)
        return value, jacobian @ dx

    return current(x)
