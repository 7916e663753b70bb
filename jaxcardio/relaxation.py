"""x' = (steady - x) / tau, written once: a model declares it, every solver reads it.

A state whose motion over a step is no relaxation (a channel of many states, a learned map) is a `Flow`.
"""

import abc
from collections.abc import Sequence
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


class Flow(eqx.Module):
    """Motion of one state by a map of its own, as a leaf of a rates tree: what the cell sees (V, ...) is frozen.

    Its fields are arrays of the state's shape, and never the weights of a network: a rates tree is made for many cells
    at once by `jax.vmap`. What depends on V is worked out with the rates; what depends on the step's length, here.
    """

    @abc.abstractmethod
    def derivative(self, x) -> Any:
        """x' at the state's value x, in units of x per ms: the limit of `increment` over short times."""

    @abc.abstractmethod
    def increment(self, x, dt) -> Any:
        """Change of the state from x over dt (ms)."""


class JointFlow(Flow):
    """One of several states that move together, e.g. the occupancies of a channel's states.

    Each leaf of the group has the same arrays, those of all its states among them, and its own `index`. A solver asks
    one of them for the motion of all (`Motions`): a long series is then traced, compiled and run once.
    """

    index: eqx.AbstractVar[int]
    """Which of the group's states this is; static."""

    @abc.abstractmethod
    def now(self) -> Sequence[Array]:
        """The states of the group."""

    @abc.abstractmethod
    def slopes(self) -> Sequence[Array]:
        """Their derivatives, in their units per ms."""

    @abc.abstractmethod
    def after(self, dt, steps: int) -> Sequence[Sequence[Array]]:
        """The states after each of so many steps of dt (ms) with all else frozen."""

    def derivative(self, x):
        return self.slopes()[self.index]

    def increment(self, x, dt):
        return self.after(dt, 1)[0][self.index] - self.now()[self.index]


class Motions:
    """The motion of states with their rates frozen, after 1, 2, ... steps of dt (ms), for the leaves of one rates tree.

    The states of a `JointFlow` are moved together, which is told by their having the very same arrays.
    """

    def __init__(self, dt, steps: int = 1):
        self.dt, self.steps = dt, steps
        self.known: dict[tuple, Sequence[Sequence[Array]]] = {}

    def increment(self, leaf: Flow, x, steps: int = 1):
        """The change of the state from x over so many steps."""
        if not isinstance(leaf, JointFlow):
            return leaf.increment(x, steps * self.dt)
        group = type(leaf), *map(id, jax.tree.leaves(leaf))
        if group not in self.known:
            self.known[group] = leaf.after(self.dt, self.steps)
        return self.known[group][steps - 1][leaf.index] - leaf.now()[leaf.index]


def is_relaxation(leaf: Any) -> bool:
    return isinstance(leaf, Relaxation)


def moves_itself(leaf: Any) -> bool:
    """Whether a leaf of a rates tree is a `Relaxation` or a `Flow`, which know their own step, and no derivative."""
    return isinstance(leaf, Relaxation | Flow)


def derivative(rates: PyTree, y: PyTree) -> PyTree:
    """The plain derivative y' of a rates tree whose leaves are `Relaxation`s, `Flow`s or derivatives (per ms)."""
    return jax.tree.map(lambda r, x: r.derivative(x) if moves_itself(r) else r, rates, y, is_leaf=moves_itself)
