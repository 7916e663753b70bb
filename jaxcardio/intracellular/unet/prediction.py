"""What the network gives."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float


class Physics(NamedTuple):
    """Parameters of the modified Aliev-Panfilov model (Eqs 12 to 14), within `BOUNDS` of `heads.py`.

    One number a window, or, from a network with quantiles, three: of the lower, the median and the upper trace.
    """

    k: Float[Array | np.ndarray, "batch ..."]
    """Excitation rate, 1/t.u. (a time unit is `TIME_UNIT` ms)."""
    a: Float[Array | np.ndarray, "batch ..."]
    """Excitation threshold, as a share of the amplitude."""
    x: Float[Array | np.ndarray, "batch ..."]
    """Recovery rate below the threshold, 1/t.u.; above it the rate is 1 - x."""


class Prediction(NamedTuple):
    """Reconstructed action potentials, normalised as in Eq 10: rest is 0.1 and the peak 1."""

    lower: Float[Array | np.ndarray, "batch sample"]
    """The 5 % quantile at each sample; the median itself where the network has no quantiles."""
    median: Float[Array | np.ndarray, "batch sample"]
    upper: Float[Array | np.ndarray, "batch sample"]
    """The 95 % quantile."""
    physics: Physics


class Estimate(NamedTuple):
    """A measured value and its interval, in the value's unit, of any shape."""

    value: Float[Array | np.ndarray, "*shape"]
    lower: Float[Array | np.ndarray, "*shape"]
    upper: Float[Array | np.ndarray, "*shape"]
