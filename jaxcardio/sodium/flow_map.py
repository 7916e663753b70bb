"""A learned flow map of the sodium gates: (V, gate, dt) -> gate, right by construction for steps of 1 to 200 us."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..annotations import typed
from ..models import AbstractSodiumGating
from ..numerics import one_minus_exp, sigmoid
from ..relaxation import Flow
from .network import VoltageNetwork

WIDTHS = (16,)
SHORTEST, LONGEST = 1e-3, 0.2
"""Steps that a flow map is trained for, ms."""
TERMS = 2
"""Chebyshev polynomials of log dt: a rate that is a power of the step."""
GATES = ("m", "h1", "h2")


class GateFlow(Flow):
    """gate -> steady + (gate - steady) exp(-dt r), log r = sum_k c_k T_k(s), s = log dt scaled to [-1, 1].

    Below `SHORTEST` and above `LONGEST` r is that of the end, so the limit of short steps exists: a relaxation at r of
    `SHORTEST`.
    """

    steady: Float[Array, "*cells"]
    coefficients: tuple[Float[Array, "*cells"], ...]

    def rate(self, dt):
        """r, 1/ms, at a step of dt (ms)."""
        middle, reach = math.log(LONGEST * SHORTEST) / 2, math.log(LONGEST / SHORTEST) / 2
        s = (jnp.log(jnp.clip(dt, SHORTEST, LONGEST)) - middle) / reach
        return self._rate(s)

    def derivative(self, x):
        return (self.steady - x) * self._rate(-1.0)

    def increment(self, x, dt):
        return (self.steady - x) * one_minus_exp(dt * self.rate(dt))

    def _rate(self, s):
        before, polynomial = 1.0, s
        log_rate = self.coefficients[0]
        for c in self.coefficients[1:]:
            log_rate = log_rate + c * polynomial
            before, polynomial = polynomial, 2 * s * polynomial - before
        return jnp.exp(log_rate)


class FlowMap(AbstractSodiumGating):
    """Learned flow map: from V (mV) the steady states and, for each gate, how its rate depends on the step.

    Steady states come out of a sigmoid and rho = exp(-dt r) lies in (0, 1): whatever the weights are, no step of any
    length leaves [0, 1]. That two steps are one of twice the length is learned (`losses.semigroup_residual`): for gates
    of first order it asks r not to depend on dt.
    """

    network: VoltageNetwork

    @typed
    def __init__(self, widths: tuple[int, ...] = WIDTHS, *, key: Key[Array, ""] | None = None):
        """Untrained. `widths` are numbers of hidden units, a layer each."""
        outputs = 2 + len(GATES) * TERMS
        self.network = VoltageNetwork(outputs, widths, key=jax.random.key(0) if key is None else key)

    def rates(self, V, y=None) -> dict[str, GateFlow]:
        m, h, *c = self.network(V)
        steady = dict(zip(GATES, (sigmoid(m), *[sigmoid(h)] * 2), strict=True))
        return {gate: GateFlow(steady[gate], tuple(c[TERMS * k : TERMS * (k + 1)])) for k, gate in enumerate(GATES)}

    def __call__(self, V, m, h1, h2, dt) -> tuple[Array, Array, Array]:
        """The three gates after a step of dt (ms) at V (mV); elementwise in arrays that broadcast."""
        flows = self.rates(V).values()
        return tuple(x + flow.increment(x, dt) for flow, x in zip(flows, (m, h1, h2), strict=True))  # pyright: ignore

    def architecture(self) -> dict[str, Any]:
        """What `of_architecture` makes an empty one of the same structure from."""
        return {"widths": list(self.network.widths)}

    @classmethod
    def of_architecture(cls, about: dict[str, Any]) -> "FlowMap":
        return cls(tuple(about["widths"]))
