"""Rush-Larsen solvers of first and second order, through Diffrax's public interface.

They read the rates tree of a cell: `Relaxation` leaves are advanced exactly with frozen (or extrapolated) coefficients,
`Flow` leaves by their own map, all other states by forward Euler, two-step Adams-Bashforth or the midpoint rule. One
evaluation a step.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .numerics import one_minus_exp
from .relaxation import Flow, Motions, derivative, is_relaxation, moves_itself


class RatesTerm(diffrax.AbstractTerm):
    """The term for Rush-Larsen solvers: `RatesTerm(cell.rates_under)`, as `ODETerm(cell.vector_field)` is for others.

    Args:
        rates: (t, y, args) -> state-shaped tree of `Relaxation`s and derivatives (per ms).
    """

    rates: Callable[..., PyTree]

    def vf(self, t, y, args):
        return self.rates(t, y, args)

    def contr(self, t0, t1, **kwargs):
        return t1 - t0

    def prod(self, vf, control):
        raise NotImplementedError("a rates tree needs the state to become a derivative: use vf_prod")

    def vf_prod(self, t, y, args, control):
        return jax.tree.map(lambda d: control * d, derivative(self.vf(t, y, args), y))


class Advance(eqx.Module):
    """How one state moves within a step."""

    @abc.abstractmethod
    def increment(self, x, elapsed):
        """Change of the state from its value `x` at the start of the step to `elapsed` ms later."""


class Exponential(Advance):
    """Relaxation towards `steady` at `rate` (1/ms)."""

    steady: Array
    rate: Array

    def increment(self, x, elapsed):
        return (self.steady - x) * one_minus_exp(self.rate * elapsed)

    def extrapolated(self, before: "Exponential", per_ms, dt) -> "Exponential":
        """rate and rate * steady carried on to the middle of the step; frozen where the rate would at least halve.

        That limit keeps the rate positive and the gate bounded across jumps of tau; it never acts on smooth rates once
        the step resolves them, so the order is kept.
        """
        weight = per_ms * dt
        rate = self.rate + weight * (self.rate - before.rate)
        inflow = self.rate * self.steady
        inflow = inflow + weight * (inflow - before.rate * before.steady)
        trusted = rate > 0.5 * self.rate
        rate = jnp.where(trusted, rate, self.rate)
        return Exponential(jnp.where(trusted, inflow / rate, self.steady), rate)


class Mapped(Advance):
    """By a map of the state's own. A step of any order takes it with its coefficients frozen."""

    flow: Flow

    def increment(self, x, elapsed):
        return self.flow.increment(x, elapsed)

    def extrapolated(self, before: "Mapped", per_ms, dt) -> "Mapped":
        return self


class Linear(Advance):
    """Constant slope (per ms)."""

    slope: Array

    def increment(self, x, elapsed):
        return self.slope * elapsed

    def extrapolated(self, before: "Linear", per_ms, dt) -> "Quadratic":
        return Quadratic(self.slope, per_ms * (self.slope - before.slope))


class Quadratic(Advance):
    """Slope (per ms) and half the acceleration."""

    slope: Array
    bend: Array

    def increment(self, x, elapsed):
        return (self.slope + self.bend * elapsed) * elapsed


class StepFormula(diffrax.AbstractLocalInterpolation):
    """Dense output of the Rush-Larsen solvers: the step's own formula, evaluated part of the way."""

    t0: Any
    t1: Any
    y0: PyTree[Array]
    advances: PyTree[Advance]

    def evaluate(self, t0, t1=None, left=True):
        del left
        if t1 is not None:
            return jax.tree.map(jnp.subtract, self.evaluate(t1), self.evaluate(t0))
        elapsed = (t0 - self.t0).astype(_dtype(self.y0))
        return jax.tree.map(jnp.add, self.y0, _increments(self.advances, self.y0, elapsed))


class AbstractRushLarsen(diffrax.AbstractSolver):
    """A solver that steps the rates tree of a `RatesTerm`."""


class RushLarsen(AbstractRushLarsen):
    """First-order Rush-Larsen: gates exactly with frozen coefficients, other states by forward Euler.

    Rush S & Larsen H, IEEE Trans Biomed Eng 1978;25:389-392. Fixed steps only (no error estimate). In float32 the sums
    are compensated, so that increments smaller than one unit in the last place of a slow concentration are not lost.
    """

    term_structure: ClassVar = RatesTerm
    interpolation_cls: ClassVar[Callable[..., diffrax.AbstractLocalInterpolation]] = StepFormula

    def order(self, terms):
        return 1

    def init(self, terms, t0, t1, y0, args):
        return _no_compensation(y0)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        advances = _advances(terms.vf(t0, y0, args))
        dt = terms.contr(t0, t1).astype(_dtype(y0))
        y1, compensation = _add(y0, _increments(advances, y0, dt), solver_state)
        return y1, None, dict(y0=y0, advances=advances), compensation, diffrax.RESULTS.successful

    def func(self, terms, t0, y0, args):
        return terms.vf_prod(t0, y0, args, 1.0)


class RushLarsen2(AbstractRushLarsen, diffrax.AbstractAdaptiveSolver):
    """Second-order Rush-Larsen with extrapolated coefficients: order two for one evaluation a step.

    The coefficients a = 1/tau and b = steady/tau of each gate, and the derivative of every other state, are
    extrapolated to the middle of the step from the previous one (variable-step Adams-Bashforth weights), cf. Perego M &
    Veneziani A, Electron Trans Numer Anal 2009;35:234-256. Any sequence of steps is allowed. After an edge the memory
    is dropped and one first-order step taken. The difference from first order is the error estimate for adaptive steps;
    on a restart, where it would be zero, the whole increment stands in for it, so that an adaptive run starts anew with
    a small step. In float32 the sums are compensated.
    """

    term_structure: ClassVar = RatesTerm
    interpolation_cls: ClassVar[Callable[..., diffrax.AbstractLocalInterpolation]] = StepFormula

    def order(self, terms):
        return 2

    def init(self, terms, t0, t1, y0, args):
        shapes = jax.eval_shape(lambda: _advances(terms.vf(t0, y0, args)))
        memory = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        never = jnp.full((), jnp.inf, _dtype(y0))
        return memory, never, _no_compensation(y0)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        memory, dt_before, compensation = solver_state
        dt = terms.contr(t0, t1).astype(_dtype(y0))
        per_ms = jnp.where(made_jump, 0, 0.5 / dt_before)
        # Kept apart from what uses it: XLA else repeats the work of tangents in every fusion, a third of forward mode.
        frozen = _kept_apart(_advances(terms.vf(t0, y0, args)))
        ahead = jax.tree.map(
            lambda now, before: now.extrapolated(before, per_ms, dt), frozen, memory, is_leaf=_is_advance
        )
        increments = _increments(ahead, y0, dt)
        first_order = _increments(frozen, y0, dt)
        error = jax.tree.map(lambda high, low: jnp.where(per_ms == 0, high, high - low), increments, first_order)
        y1, compensation = _add(y0, increments, compensation)
        dt_before = jnp.where(dt == 0, dt_before, dt)
        state = frozen, dt_before, compensation
        return y1, error, dict(y0=y0, advances=ahead), state, diffrax.RESULTS.successful

    def func(self, terms, t0, y0, args):
        return terms.vf_prod(t0, y0, args, 1.0)


class RushLarsenMidpoint(AbstractRushLarsen):
    """Second-order splitting step: the gates move in the field of the step's middle, the rest in that of the gates.

    The states that are no gates are carried half a step ahead by their slope at its start, which is extrapolated from
    those in the middle of the last two steps. With the coefficients there the gates move half a step, which gives the
    middle of the step; with the slopes and coefficients of the middle all states take the whole step. Each part is
    evaluated once a step. After an edge earlier slopes are dropped: the first step then is of first order in the states
    that are no gates, which costs the whole no order. Fixed steps only (no error estimate). In float32 the sums are
    compensated.

    Gates of voltage are exact under a held potential. A `Flow` is of order two where it depends on no other gate. On
    the upstroke of a sodium channel the error is a tenth of `RushLarsen2`'s, since potentials are smoother than rates
    of gates. Cf. Sundnes J et al., Math Biosci 2009;220:63-71, who evaluate the cell at both ends.
    """

    term_structure: ClassVar = RatesTerm
    interpolation_cls: ClassVar[Callable[..., diffrax.AbstractLocalInterpolation]] = StepFormula

    def order(self, terms):
        return 2

    def init(self, terms, t0, t1, y0, args):
        slopes = _slopes(jax.eval_shape(lambda: terms.vf(t0, y0, args)))
        none = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), slopes)
        return (none, none, jnp.zeros((), _dtype(y0))), _no_compensation(y0)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        (start, last, dt_before), compensation = solver_state
        dt = terms.contr(t0, t1).astype(_dtype(y0))
        half, middle = 0.5 * dt, t0 + 0.5 * (t1 - t0)
        restart = made_jump | (dt_before == 0)  # after an edge, or at the start of a run: no earlier slope holds
        ahead = jnp.where(restart, 0, half)
        y_half = jax.tree.map(lambda s, x: x if s is None else x + ahead * s, start, y0, is_leaf=_is_none)
        rates = terms.vf(middle, y_half, args)
        motions = Motions(half, 2)
        y_half = jax.tree.map(
            lambda r, x: x + _increment(_advance(r), x, motions) if moves_itself(r) else x,
            rates, y_half, is_leaf=moves_itself,
        )  # fmt: skip
        # For gates of V alone, the usual ones, these coefficients are the same again, and compiled once.
        centred = terms.vf(middle, y_half, args)
        slopes = _slopes(centred)
        moves = jax.tree.map(
            lambda r, c: _advance(r if isinstance(r, Flow) else c), rates, centred, is_leaf=moves_itself
        )
        increments = jax.tree.map(lambda move, x: _over_both_halves(move, x, motions), moves, y0, is_leaf=_is_advance)
        y1, compensation = _add(y0, increments, compensation)
        still = dt == 0
        beyond = jnp.where(restart | still, 0, dt / jnp.where(still, 1, dt + dt_before))
        end = jax.tree.map(lambda new, old: new + beyond * (new - old), slopes, last)
        memory = jax.tree.map(lambda old, new: jnp.where(still, old, new), (start, last, dt_before), (end, slopes, dt))
        first = jax.tree.map(lambda new, old: jnp.where(restart, new, 0.5 * (new + old)), slopes, last)
        per_ms = jnp.where(still, 0, 1 / jnp.where(still, 1, dt))
        advances = jax.tree.map(
            lambda move, first: move if first is None else Quadratic(first, per_ms * (move.slope - first)),
            moves, first, is_leaf=_is_advance,
        )  # fmt: skip
        return y1, None, dict(y0=y0, advances=advances), (memory, compensation), diffrax.RESULTS.successful

    def func(self, terms, t0, y0, args):
        return terms.vf_prod(t0, y0, args, 1.0)


def _slopes(rates: PyTree) -> PyTree:
    """The derivatives of a rates tree; None for each state that moves itself."""
    return jax.tree.map(lambda r: None if moves_itself(r) else r, rates, is_leaf=moves_itself)


def _increment(move: Advance, x, motions: Motions):
    """The increment over one step of `motions`."""
    return motions.increment(move.flow, x) if isinstance(move, Mapped) else move.increment(x, motions.dt)


def _over_both_halves(move: Advance, x, halves: Motions):
    """The increment over two steps. What one of them takes is known already: a gate's exponential, a joint flow's."""
    if isinstance(move, Mapped):
        return halves.increment(move.flow, x, 2)
    if isinstance(move, Exponential):
        part = one_minus_exp(move.rate * halves.dt)
        return (move.steady - x) * part * (2 - part)
    return move.increment(x, 2 * halves.dt)


def _is_none(leaf) -> bool:
    return leaf is None


def _advance(rate) -> Advance:
    """The motion of one state with its rate frozen."""
    if is_relaxation(rate):
        return Exponential(rate.steady, rate.rate)
    return Mapped(rate) if moves_itself(rate) else Linear(rate)


def _advances(rates: PyTree) -> PyTree[Advance]:
    """Each state's motion with the rates frozen."""
    return jax.tree.map(_advance, rates, is_leaf=moves_itself)


def _kept_apart(tree: PyTree) -> PyTree:
    """The tree behind an optimization barrier; what is one array in it stays one."""
    leaves, structure = jax.tree.flatten(tree)
    different = list({id(x): x for x in leaves}.values())
    kept = dict(zip(map(id, different), jax.lax.optimization_barrier(different), strict=True))
    return jax.tree.unflatten(structure, [kept[id(x)] for x in leaves])


def _is_advance(leaf) -> bool:
    return isinstance(leaf, Advance)


def _increments(advances: PyTree[Advance], y, elapsed) -> PyTree:
    motions = Motions(elapsed)
    return jax.tree.map(lambda a, x: _increment(a, x, motions), advances, y, is_leaf=_is_advance)


def _dtype(y):
    """Of the state; under a clamp a cell of nothing but gates of voltage has no state left to step."""
    leaves = jax.tree.leaves(y)
    return jnp.result_type(*leaves) if leaves else jnp.zeros(()).dtype


def _no_compensation(y):
    """What rounding has taken from each state so far; kept in float32 only, where it matters."""
    return jax.tree.map(jnp.zeros_like, y) if _dtype(y) == jnp.float32 else None


def _add(y, increments, compensation):
    """y + increments, by Kahan's compensated sum where a compensation is kept."""
    if compensation is None:
        return jax.tree.map(jnp.add, y, increments), None
    wanted = jax.tree.map(jnp.subtract, increments, compensation)
    y1 = jax.tree.map(jnp.add, y, wanted)
    lost = jax.tree.map(lambda new, old, step: (new - old) - step, y1, y, wanted)
    return y1, lost
