"""How little a recording would leave unknown of a cell: what judges a protocol."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ...annotations import typed
from ...arguments import check, check_whole
from ..experiment import Experiment

SIGMA = 0.05
"""Noise of one sample, pA/pF."""
SPREAD = 0.2
"""Half width of the uniform prior of theta; its standard deviation is SPREAD / sqrt(3)."""
NULL_DIRECTIONS = 4
"""Directions of the 52 parameters that no voltage clamp sees: I_K1 uses five shape parameters through two numbers, and
Xs_2 sits where it is a constant."""

BATCH = 16
"""Cells linearised together where many are."""

Criterion = Literal["A", "D"]


@typed
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
    check_judge("A", sigma, spread)
    theta = checked_theta(theta, experiment)
    information, batch = [], min(BATCH, len(theta))
    for begin in range(0, len(theta), batch):
        some = np.minimum(np.arange(begin, begin + batch), len(theta) - 1)
        jacobian = np.asarray(experiment.linearised(jnp.asarray(theta[some]))[1], np.float64)
        part = np.einsum("cwp,w,cwq->cpq", jacobian, experiment.windows.counts, jacobian, optimize=True)
        information.append(part[: len(theta) - begin])
    return posterior_covariance(np.concatenate(information), sigma, spread)


@typed
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
    check_judge(kind, sigma, spread)
    return value_of(expected_covariance(experiment, theta, sigma=sigma, spread=spread), kind, spread)


@typed
def floor(spread: float = SPREAD, parameters: int = 52, null_directions: int = NULL_DIRECTIONS) -> float:
    """The mean square error that the null directions leave, however good the recording; `criterion` less this is the
    excess."""
    check("spread", spread, "", "0 < spread < 1", lambda x: 0 < x < 1)
    check_whole("parameters", parameters, "")
    check_whole("null_directions", null_directions, "", least=0)
    return null_directions / parameters * spread**2 / 3


def check_judge(kind, sigma, spread):
    if kind not in ("A", "D"):
        raise ValueError(f"criterion = {kind!r}; allowed: 'A' (trace) or 'D' (determinant)")
    check("sigma", sigma, "pA/pF", "> 0", lambda x: np.isfinite(x) and x > 0)
    check("spread", spread, "", "0 < spread < 1", lambda x: 0 < x < 1)


def checked_theta(theta, experiment) -> np.ndarray:
    theta = np.asarray(theta, np.float64)
    if theta.ndim != 2 or len(theta) == 0 or theta.shape[1] != len(experiment.names):
        raise ValueError(f"theta: shape {theta.shape}; allowed: (cells >= 1, {len(experiment.names)} parameters)")
    check("theta", theta, "", "finite and > -1", lambda x: np.isfinite(x) & (x > -1))
    return theta


def posterior_covariance(information, sigma, spread):
    """Of the posterior, from J^T n J: what windows of n samples tell at a noise of 1 pA/pF a sample."""
    prior = spread**2 / 3
    return prior * np.linalg.inv(np.eye(information.shape[-1]) + prior / sigma**2 * information)


def value_of(covariance, kind: Criterion, spread) -> float:
    if kind == "A":
        return float(np.diagonal(covariance, axis1=-2, axis2=-1).mean())
    return float(np.linalg.slogdet(covariance / (spread**2 / 3))[1].mean())


def posterior_sd(information, sigma, spread):
    return np.sqrt(np.diagonal(posterior_covariance(information, sigma, spread), axis1=-2, axis2=-1))
