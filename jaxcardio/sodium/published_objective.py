"""The study's losses, Equations 3 to 12, each once.

What the symbols were taken to mean, where the paper leaves it open:

- ||.||_2^2 and ||.||_2 over the N collocation voltages are means, sum / N and sqrt(sum / N) (`norms="mean"`). As sums
  (`norms="sum"`, the norms as one would read them) every number is N or sqrt(N) times as large and L < 1e-4 farther.
- ||.||_epsilon^epsilon in Equation 10: epsilon is explained nowhere; it is 2, a squared norm.
- lambda_phys (Equation 12) is a weight, and no gradient goes through it.
- dm/dV is the slope of the network as it is used, with the statistics of its batch norms held.
- currents are in pA, from g_Na = 576 nS.

What is wrong with them.

- Equation 7 sets dm/dV (per mV) equal to dm/dt (per ms). By the chain rule dm/dt = dm/dV dV/dt, so this is right where
  dV/dt = 1 mV/ms: along a ramp of 1 V/s, which takes 200 ms from -100 to 100 mV. An upstroke is two hundred times as
  steep. Gates that make the residuals zero are those of that ramp, and lag behind the steady states by tau mV: hardly
  for m, by tens of millivolts for h2. They contradict the target of Equation 5, which is made of the steady states.
- The target (Equation 3) is the window current. Its largest value is 0.50 pA; an upstroke takes thousands.
- Three curves are asked for and one product is given: m and h1 h2 can be exchanged for each other.
- Equation 12 ties the physics' weight to the data's loss. Below L_data = 10 pA^2 the two fall together, and the physics
  terms gain no relative weight; near the target they have none: 1e-6 at L_data = 1e-4.
- Equation 11 is no small term. Gates with the true steady slopes have L_grad = 0.0347 (means; 1.098 as sums), which
  with lambda_grad = 0.01 makes L >= 3.5e-4 (means) or 1.1e-2 (sums): L < 1e-4 is out of reach of the right gates.
- It is within reach of wrong ones. With m = 1 at all voltages and the whole window in h1 = h2, L is below 1e-5. And
  were the current counted in nA, or in pA/pF of 50 pF, a channel that never opens would do: L_data = 2e-8 or 9e-6.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..annotations import typed
from ..models import Skibsbye2016
from ..models.sodium_gating import AbstractSodiumGating, SkibsbyeSodiumGating, SodiumRelaxations
from ..numerics import nernst

COLLOCATION = 1000
"""N: voltages of the one batch."""
RANGE = (-100.0, 100.0)
"""mV, of the collocation voltages."""
G_NA = 576.0
"""nS."""
NA_I, NA_O, TEMPERATURE = 7.7869, 130.0, 310.15
"""mM, mM, K: of the sodium reversal potential."""
LAMBDA_GRAD = 0.01
LARGEST_LAMBDA_PHYS = 0.1
Norms = Literal["mean", "sum"]
Numbers = Array | np.ndarray


class Gates(NamedTuple):
    """Of each gate a number a voltage."""

    m: Float[Numbers, " N"]
    h1: Float[Numbers, " N"]
    h2: Float[Numbers, " N"]


class PublishedLosses(NamedTuple):
    """The terms of the loss; `total` is Equation 4."""

    total: Float[Numbers, "..."]
    data: Float[Numbers, "..."]
    physics: Float[Numbers, "..."]
    smoothness: Float[Numbers, "..."]


def collocation_voltages(dtype=None) -> Float[Array, " N"]:
    """The 1000 voltages (mV) of the training, evenly spaced."""
    return jnp.linspace(*RANGE, COLLOCATION, dtype=dtype)


def sodium_reversal() -> Float[Array, ""]:
    """E_Na, mV (Equation 2), with the cell's own R and F."""
    cell = Skibsbye2016()
    return nernst(1, jnp.asarray(NA_I), jnp.asarray(NA_O), cell.R * TEMPERATURE / cell.F)


def sodium_current(gates, V: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """I_Na, pA (Equation 1), of gates (m, h1, h2) at V (mV), at the study's conductance and concentrations."""
    m, h1, h2 = gates
    return G_NA * m**3 * h1 * h2 * (V - sodium_reversal().astype(V.dtype))


def exact_relaxations(V: Float[Array, "*shape"]) -> SodiumRelaxations:
    """The gates of Equation 6 at V (mV)."""
    return jax.tree.map(lambda x: x.astype(V.dtype), SkibsbyeSodiumGating()).relaxations(V)


def steady_gates(relaxations: SodiumRelaxations) -> Gates:
    """Their steady states."""
    return Gates(*(r.steady for r in relaxations))


def published_target(V: Float[Array, " N"]) -> Float[Array, " N"]:
    """The target current, pA (Equation 3): that of the exact steady states at V (mV)."""
    return sodium_current(steady_gates(exact_relaxations(V)), V)


def data_loss(gates: Gates, V: Float[Array, " N"], norms: Norms = "mean") -> Float[Array, ""]:
    """L_data, pA^2 (Equation 5)."""
    return _squared(sodium_current(gates, V) - published_target(V), norms)


def gating_residuals(gates: Gates, slopes: Gates, V: Float[Array, " N"]) -> Gates:
    """R_m, R_h1, R_h2 (Equations 7 to 9): slopes (per mV) less the rates of change (per ms) of Equation 6."""
    exact = exact_relaxations(V)
    return Gates(*(slope - r.derivative(gate) for gate, slope, r in zip(gates, slopes, exact, strict=True)))


def physics_loss(gates: Gates, slopes: Gates, V: Float[Array, " N"], norms: Norms = "mean") -> Float[Array, ""]:
    """L_phys (Equation 10), with epsilon = 2."""
    return sum((_squared(r, norms) for r in gating_residuals(gates, slopes, V)), jnp.zeros((), V.dtype))


def smoothness_loss(slopes: Gates, norms: Norms = "mean") -> Float[Array, ""]:
    """L_grad, 1/mV (Equation 11)."""
    return sum((jnp.sqrt(_squared(slope, norms)) for slope in slopes), jnp.zeros((), slopes.m.dtype))


def physics_weight(data: Float[Array, ""]) -> Float[Array, ""]:
    """lambda_phys (Equation 12) at an L_data."""
    return jnp.minimum(LARGEST_LAMBDA_PHYS, jax.lax.stop_gradient(data) / 100)


def losses_of(gates: Gates, slopes: Gates, V: Float[Array, " N"], norms: Norms = "mean") -> PublishedLosses:
    """Every term for gates and their slopes (per mV) at V (mV)."""
    data = data_loss(gates, V, norms)
    physics = physics_loss(gates, slopes, V, norms)
    smoothness = smoothness_loss(slopes, norms)
    total = data + physics_weight(data) * physics + LAMBDA_GRAD * smoothness
    return PublishedLosses(total, data, physics, smoothness)


@typed
def published_losses(gating: AbstractSodiumGating, V: Float[ArrayLike, " N"], norms: Norms = "mean") -> PublishedLosses:
    """Every term for the steady states of a gating at V (mV), their slopes by differentiation (Equations 3 to 12)."""
    V = jnp.asarray(V)
    gates, slopes = jax.jvp(lambda V: steady_gates(gating.relaxations(V)), (V,), (jnp.ones_like(V),))
    return losses_of(gates, slopes, V, norms)


def _squared(x: Float[Numbers, " N"], norms: Norms) -> Float[Array, ""]:
    return jnp.mean(x**2) if norms == "mean" else jnp.sum(x**2)
