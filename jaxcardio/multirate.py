"""Steps of two lengths in one run: the states that are slow take one step where the others take several."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from .arguments import check_whole, refusal
from .cell import unknown_name
from .solvers import AbstractRushLarsen, RatesTerm, RushLarsenMidpoint


class Multirate(AbstractRushLarsen):
    """Second-order steps of dt for the `slow` states and of dt / substeps for all others; the equations are exact.

    The others step first, with the slow states held where their last step says they will be in the middle; then the
    slow states step, with the others as they were found in the middle. Either does so by `RushLarsenMidpoint`. What
    only the slow states need is evaluated once a step, and so is what depends on them alone (a reversal potential).
    After an edge the slow states are held where they are: that one step is of first order in them.

    For cells with many slow states, in runs whose steps must be even: calcium is half of the states of `Skibsbye2016`
    (`jaxcardio.sodium.subsystems.SLOW_CALCIUM`). Choose `slow` by the error that it makes. Where the steps may grow
    after a stimulus, `paced_grid` does more. Fixed steps only; not in a tissue, which couples cells between steps: the
    substeps would go uncoupled.

    Cf. Gear CW & Wells DR, BIT 1984;24:484-502 (slowest and fastest first).
    """

    slow: tuple[str, ...] = eqx.field(static=True)
    substeps: int = eqx.field(static=True)

    term_structure: ClassVar = RatesTerm
    interpolation_cls: ClassVar[Callable[..., diffrax.AbstractLocalInterpolation]] = diffrax.LocalLinearInterpolation

    def __init__(self, slow: Sequence[str], substeps: int):
        """`slow`: names of states; `substeps`: how many the other states take in each step, even: one ends midway."""
        check_whole("substeps", substeps, "steps", least=2)
        if substeps % 2:
            raise refusal("substeps", substeps, "steps", "an even number >= 2")
        listed = isinstance(slow, list | tuple) and all(isinstance(name, str) for name in slow)
        if not listed or len(set(slow)) < len(slow):
            raise refusal("slow", slow, "", 'names of different states, e.g. ("Na_i", "K_i")')
        self.slow, self.substeps = tuple(slow), substeps

    def order(self, terms):
        return 2

    def init(self, terms, t0, t1, y0, args):
        fast, slow = self._parted(y0)
        parts = _Parts(self, terms, type(y0))
        return (
            STEP.init(parts.fast(slow), t0, t1, fast, args),
            STEP.init(parts.slow(fast), t0, t1, slow, args),
            jax.tree.map(jnp.zeros_like, slow),
        )

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        fast_state, slow_state, drift = solver_state
        fast, slow = self._parted(y0)
        parts = _Parts(self, terms, type(y0))
        dt = terms.contr(t0, t1)
        ahead = jnp.where(made_jump, 0, 0.5 * dt)
        expected = jax.tree.map(lambda x, slope: x + ahead.astype(x.dtype) * slope, slow, drift)
        term = parts.fast(expected)

        half = self.substeps // 2

        def substep(k, carry):
            fast, state = carry
            begin, end = (t0 + jnp.asarray(n, dt.dtype) * (dt / self.substeps) for n in (k, k + 1))
            fast, _, _, state, _ = STEP.step(term, begin, end, fast, args, state, made_jump & (k == 0))
            return fast, state

        def halfway(carry, first):
            carry = jax.lax.fori_loop(0, half, lambda k, carry: substep(first + k, carry), carry)
            return carry, carry[0]

        (fast, fast_state), at_halves = jax.lax.scan(halfway, (fast, fast_state), jnp.array([0, half]))
        middle = jax.tree.map(lambda x: x[0], at_halves)

        later, _, _, slow_state, _ = STEP.step(parts.slow(middle), t0, t1, slow, args, slow_state, made_jump)
        still = dt == 0
        per_ms = jnp.where(still, 0, 1 / jnp.where(still, 1, dt))
        drift = jax.tree.map(
            lambda new, old, slope: jnp.where(still, slope, per_ms.astype(new.dtype) * (new - old)), later, slow, drift
        )
        y1 = type(y0)(**fast, **later)
        return y1, None, dict(y0=y0, y1=y1), (fast_state, slow_state, drift), diffrax.RESULTS.successful

    def func(self, terms, t0, y0, args):
        return terms.vf_prod(t0, y0, args, 1.0)

    def _parted(self, y) -> tuple[dict, dict]:
        """The fast states and the slow ones (or their rates), by name."""
        fast = y._asdict()
        for name in self.slow:
            if name not in fast:
                raise ValueError(unknown_name("state", name, y._fields, type(y).__name__))
        return fast, {name: fast.pop(name) for name in self.slow}


STEP = RushLarsenMidpoint()


class _Parts(eqx.Module):
    """The terms of either part of the states while the other part is held."""

    solver: Multirate
    terms: RatesTerm
    state_type: Callable = eqx.field(static=True)

    def fast(self, slow) -> RatesTerm:
        return RatesTerm(lambda t, fast, args: self._rates(t, fast, slow, args)[0])

    def slow(self, fast) -> RatesTerm:
        return RatesTerm(lambda t, slow, args: self._rates(t, fast, slow, args)[1])

    def _rates(self, t, fast, slow, args):
        return self.solver._parted(self.terms.vf(t, self.state_type(**fast, **slow), args))
