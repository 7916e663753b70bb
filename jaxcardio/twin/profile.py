"""How far the posterior is from a Gaussian: its profile along one direction, all others fitted anew."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..annotations import typed
from ..arguments import check
from .refine import Posterior, check_experiment, refine

PINNED = 1e-5
"""Prior standard deviation of what is held, in prior standard deviations of theta."""


class Profile(NamedTuple):
    """Minus the logarithm of the posterior density along a direction, less that at the most probable parameters."""

    at: Float[np.ndarray, " n"]
    """Where: posterior standard deviations of this direction from the most probable parameters."""
    cost: Float[np.ndarray, " n"]
    """With all other directions fitted anew."""
    laplace: Float[np.ndarray, " n"]
    """What the Gaussian posterior says: at^2 / 2."""
    direction: Float[np.ndarray, " parameters"]
    """The share of each parameter, in prior standard deviations; of length 1."""


class _Rotated:
    """The experiment in the coordinates of the information's directions: unknowns with a prior of mean 0 and sd 1."""

    def __init__(self, experiment, prior_mean, basis):
        self.experiment, self.prior_mean, self.basis = experiment, jnp.asarray(prior_mean), jnp.asarray(basis)

    def theta(self, c):
        moved = c @ self.basis.T
        return jnp.broadcast_to(self.prior_mean, moved.shape) + moved

    def current(self, c):
        return self.experiment.current(self.theta(c))

    def linearised(self, c):
        current, jacobian = self.experiment.linearised(self.theta(c))
        return current, jacobian @ self.basis


@typed
def profile(
    experiment: Any,
    observed: Float[np.ndarray, " windows"],
    noise: Float[np.ndarray, " windows"],
    posterior: Posterior,
    prior_mean: Float[np.ndarray, " parameters"],
    prior_sd: Float[np.ndarray, " parameters"],
    *,
    cell: int = 0,
    direction: int | None = None,
    at: tuple[float, ...] = (-2.0, -1.0, 1.0, 2.0),
) -> Profile:
    """The profile of one refined cell along an eigenvector of the information; a fit for each place.

    Args:
        experiment, observed, noise, prior_mean, prior_sd: as for `refine`, of one cell.
        posterior: what `refine` found.
        cell: which of its cells.
        direction: which eigenvector, 0 the best known; default the sloppiest of those that the recording knows better
            than the prior.
        at: places, posterior standard deviations.

    ValueError: an argument out of its range, by name.
    """
    check_experiment(experiment)
    check("cell", cell, "", f"0 to {len(posterior.mean) - 1}", lambda x: 0 <= x < len(posterior.mean))
    information, directions = posterior.information[cell], posterior.directions[cell]
    last = int(np.flatnonzero(information > 1)[-1]) if (information > 1).any() else 0
    k = last if direction is None else direction
    check("direction", k, "", f"0 to {len(information) - 1}", lambda x: (x >= 0) & (x < len(information)))
    basis = np.asarray(prior_sd)[:, None] * directions
    best = directions.T @ ((posterior.mean[cell] - prior_mean) / prior_sd)
    rotated = _Rotated(experiment, prior_mean, basis)
    places, costs = np.asarray(at, float), []
    for place in places:
        held = best[k] + place / np.sqrt(1 + information[k])
        centre, width, start = np.zeros_like(best), np.ones_like(best), best.copy()
        centre[k], width[k], start[k] = held, PINNED, held
        found = refine(rotated, observed[None], noise, start[None, None], centre, width, anneal=False)
        costs.append(found.cost[0] + 0.5 * held**2 - posterior.cost[cell])
    return Profile(places, np.array(costs), 0.5 * places**2, directions[:, k])
