"""A network for the rates of the sodium gates: V -> steady states and time constants, right by construction."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from ..annotations import typed
from ..models import AbstractSodiumGating, SodiumRelaxations
from ..numerics import sigmoid
from ..relaxation import Relaxation
from .network import VoltageNetwork

WIDTHS = (16,)


class RateSurrogate(AbstractSodiumGating):
    """Learned gating: V (mV) -> steady m, one steady h of both h1 and h2, and three rates (1/ms), elementwise.

    Steady states come out of a sigmoid and rates out of an exponential: whatever the weights are, gates relax within
    [0, 1]. It serves at any step and in any solver, since it says nothing of steps.
    """

    network: VoltageNetwork

    @typed
    def __init__(self, widths: tuple[int, ...] = WIDTHS, *, key: Key[Array, ""] | None = None):
        """Untrained. `widths` are numbers of hidden units, a layer each."""
        self.network = VoltageNetwork(5, widths, key=jax.random.key(0) if key is None else key)

    def relaxations(self, V) -> SodiumRelaxations:
        m, h, rate_m, rate_h1, rate_h2 = self.network(V)
        steady_h = sigmoid(h)
        return SodiumRelaxations(
            m=Relaxation(sigmoid(m), rate=jnp.exp(rate_m)),
            h1=Relaxation(steady_h, rate=jnp.exp(rate_h1)),
            h2=Relaxation(steady_h, rate=jnp.exp(rate_h2)),
        )

    def architecture(self) -> dict[str, Any]:
        """What `of_architecture` makes an empty one of the same structure from."""
        return {"widths": list(self.network.widths)}

    @classmethod
    def of_architecture(cls, about: dict[str, Any]) -> "RateSurrogate":
        return cls(tuple(about["widths"]))
