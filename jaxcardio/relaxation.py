"""x' = (steady - x) / tau, written once: a model declares it, every solver reads it."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, PyTree

from .numerics import one_minus_exp


class Relaxation(eqx.Module):
    """First-order relaxation of a state towards `steady` with time constant `tau` (ms), or at `rate` = 1/tau (1/ms).

    As a leaf of a rates tree it stands for x' = (steady - x) / tau. Both may depend on every other state. It keeps the
    rate, which is what every step uses: a time constant that is a product of sigmoids has one without a division.

    `gap` is steady - x where the model knows it to more digits than the difference has: in float32 a gate that rests
    1e-5 from 1 has lost them. (Solvers that extrapolate or combine coefficients step towards `steady` itself.)
    """

    steady: Float[Array, "..."]
    rate: Float[Array, "..."]
    gap: Float[Array, "..."] | None

    def __init__(self, steady, tau=None, gap=None, *, rate=None):
        if rate is None and tau is not None:
            rate, tau = 1 / tau, None
        if rate is None or tau is not None:
            raise TypeError("a Relaxation needs either tau (ms) or rate (1/ms)")
        self.steady = steady
        self.rate = rate
        self.gap = gap

    @classmethod
    def from_rates(cls, alpha, beta) -> "Relaxation":
        """The gate with opening rate `alpha` and closing rate `beta` (1/ms)."""
        rate = alpha + beta
        return cls(alpha / rate, rate=rate)

    @property
    def tau(self):
        """Time constant, ms."""
        return 1 / self.rate

    def distance(self, x):
        """steady - x, in units of x."""
        return self.steady - x if self.gap is None else self.gap

    def derivative(self, x):
        """(steady - x) / tau, in units of x per ms."""
        return self.distance(x) * self.rate

    def increment(self, x, dt):
        """Change of x over dt (ms) with steady and tau frozen: the exact (Rush-Larsen) step."""
        return self.distance(x) * one_minus_exp(dt * self.rate)

    def at(self, x, elapsed):
        """x after `elapsed` ms with steady and tau held, e.g. under a constant clamp."""
        return x + self.increment(x, elapsed)


def is_relaxation(leaf: Any) -> bool:
    return isinstance(leaf, Relaxation)


def derivative(rates: PyTree, y: PyTree) -> PyTree:
    """The plain derivative y' of a rates tree whose leaves are `Relaxation`s or derivatives (per ms)."""
    return jax.tree.map(lambda r, x: r.derivative(x) if is_relaxation(r) else r, rates, y, is_leaf=is_relaxation)
