"""The fast sodium channel as a Markov chain of nine states (Clancy & Rudy 2002), with its exact step."""

import math
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ..arguments import check_whole
from ..cell import Scalar, parameter
from ..numerics import of_one_variable
from ..relaxation import JointFlow
from .sodium_gating import AbstractSodiumGating, activation


class Occupancies(NamedTuple):
    """Shares of the channels in each state: three closed and inactivated, two slowly inactivated, closed, open."""

    IC3: Any
    IC2: Any
    IF: Any
    IM1: Any
    IM2: Any
    C3: Any
    C2: Any
    C1: Any
    O: Any


class TransitionRates(NamedTuple):
    """Per ms. alpha_11 to alpha_13 open (C3 to C2 to C1 to O), beta_11 to beta_13 close; alpha_2 inactivates the open
    channel, beta_3 the closed ones, beta_2 and alpha_3 bring them back; alpha_4, alpha_5 inactivate slowly (IF to IM1
    to IM2), beta_4, beta_5 back."""

    alpha_11: Any
    alpha_12: Any
    alpha_13: Any
    beta_11: Any
    beta_12: Any
    beta_13: Any
    alpha_2: Any
    beta_2: Any
    alpha_3: Any
    beta_3: Any
    alpha_4: Any
    beta_4: Any
    alpha_5: Any
    beta_5: Any


class Transition(NamedTuple):
    """Two states between which channels change, with the names of both rates."""

    source: str
    target: str
    forth: str
    back: str


TRANSITIONS = (
    Transition("C3", "C2", "alpha_11", "beta_11"),
    Transition("C2", "C1", "alpha_12", "beta_12"),
    Transition("C1", "O", "alpha_13", "beta_13"),
    Transition("O", "IF", "alpha_2", "beta_2"),
    Transition("IC3", "IC2", "alpha_11", "beta_11"),
    Transition("IC2", "IF", "alpha_12", "beta_12"),
    Transition("C3", "IC3", "beta_3", "alpha_3"),
    Transition("C2", "IC2", "beta_3", "alpha_3"),
    Transition("C1", "IF", "beta_3", "alpha_3"),
    Transition("IF", "IM1", "alpha_4", "beta_4"),
    Transition("IM1", "IM2", "alpha_5", "beta_5"),
)


@of_one_variable
def transition_rates(V) -> TransitionRates:
    """The wild-type channel's rates (per ms) at V (mV), elementwise, 37 C.

    Source: Clancy CE & Rudy Y, Circulation 2002;105:1208-1213 (DOI 10.1161/hc1002.105183), data supplement. beta_2
    follows from detailed balance round C1, O and IF. beta_3 is positive above -420 mV.
    """
    gentle, closing = jnp.exp(-V / 150), jnp.exp(-V / 20.3)
    alpha_11 = 3.802 / (0.1027 * jnp.exp(-V / 17) + 0.20 * gentle)
    alpha_12 = 3.802 / (0.1027 * jnp.exp(-V / 15) + 0.23 * gentle)
    alpha_13 = 3.802 / (0.1027 * jnp.exp(-V / 12) + 0.25 * gentle)
    beta_13 = 0.22 * math.exp(10 / 20.3) * closing
    alpha_2 = 9.178 * jnp.exp(V / 29.68)
    alpha_3 = 3.7933e-7 * jnp.exp(-V / 7.7)
    beta_3 = 0.0084 + 0.00002 * V
    return TransitionRates(
        alpha_11, alpha_12, alpha_13,
        beta_11=0.1917 * closing,
        beta_12=0.20 * math.exp(5 / 20.3) * closing,
        beta_13=beta_13,
        alpha_2=alpha_2,
        beta_2=alpha_13 * alpha_2 * alpha_3 / (beta_13 * beta_3),
        alpha_3=alpha_3,
        beta_3=beta_3,
        alpha_4=alpha_2 / 100,
        beta_4=alpha_3,
        alpha_5=alpha_2 / 9.5e4,
        beta_5=alpha_3 / 50,
    )  # fmt: skip


def slopes(rates: TransitionRates, p: Occupancies) -> Occupancies:
    """dp/dt (per ms). Each transition takes from one state what it gives to another: the sum is zero."""
    dp = dict.fromkeys(Occupancies._fields, 0.0)
    for source, target, forth, back in TRANSITIONS:
        flux = getattr(rates, forth) * getattr(p, source) - getattr(rates, back) * getattr(p, target)
        dp[source] = dp[source] - flux
        dp[target] = dp[target] + flux
    return Occupancies(**dp)


def fastest_exit(rates: TransitionRates):
    """The largest rate (per ms) at which channels leave any one state."""
    out = dict.fromkeys(Occupancies._fields, 0.0)
    for source, target, forth, back in TRANSITIONS:
        out[source] = out[source] + getattr(rates, forth)
        out[target] = out[target] + getattr(rates, back)
    first, *others = out.values()
    for rate in others:
        first = jnp.maximum(first, rate)
    return first


def steady_occupancies(rates: TransitionRates) -> Occupancies:
    """Where the channel rests, in closed form: by detailed balance each state is to its neighbour as their rates."""
    r = rates
    O = jnp.ones_like(r.alpha_11)
    C1 = O * r.beta_13 / r.alpha_13
    C2 = C1 * r.beta_12 / r.alpha_12
    C3 = C2 * r.beta_11 / r.alpha_11
    inactivated = r.beta_3 / r.alpha_3
    IF = C1 * inactivated
    IM1 = IF * r.alpha_4 / r.beta_4
    IM2 = IM1 * r.alpha_5 / r.beta_5
    p = Occupancies(C3 * inactivated, C2 * inactivated, IF, IM1, IM2, C3, C2, C1, O)
    total = sum(p)
    return Occupancies(*(x / total for x in p))


def advanced(rates: TransitionRates, p: Occupancies, dt, terms: int) -> Occupancies:
    """exp(Q dt) p with the generator Q of `rates` (per ms) held over dt (ms), by uniformisation.

    exp(Q dt) is the mean of the powers of the stochastic matrix 1 + Q / L, L the fastest exit, with Poisson weights of
    mean L dt. All terms are positive, so nothing cancels, and the series cut off after `terms` and divided by its
    weights is again a stochastic matrix: p stays positive and its sum 1, whatever the step. The error is at most twice
    the weight cut off, Pr(N > terms) for N of mean L dt. Where L dt is more than `terms`, only so much of dt is taken.
    """
    fastest = fastest_exit(rates)
    dt = jnp.minimum(dt, terms / fastest)
    L = fastest * dt
    scaled = TransitionRates(*(r * dt for r in rates))
    scaled, L, p = jax.lax.optimization_barrier((scaled, L, p))

    def horner(series: Occupancies, k):
        weight = 1 / k
        return Occupancies(
            *(x + weight * (L * y + d) for x, y, d in zip(p, series, slopes(scaled, series), strict=True))
        ), None

    series, _ = jax.lax.scan(horner, p, jnp.arange(terms, 0, -1, dtype=L.dtype))
    weights = 1 / sum(series)
    return Occupancies(*(x * weights for x in series))


class ChainFlow(JointFlow):
    """One state of the chain, as a leaf of a rates tree; all nine have the same arrays."""

    rates: TransitionRates
    occupancies: Occupancies
    index: int = eqx.field(static=True)
    terms: int = eqx.field(static=True)

    def now(self):
        return self.occupancies

    def slopes(self):
        return slopes(self.rates, self.occupancies)

    def after(self, dt, steps):
        course = [self.occupancies]
        for _ in range(steps):
            course.append(advanced(self.rates, course[-1], dt, self.terms))
        return course[1:]


class ClancyRudySodiumGating(AbstractSodiumGating):
    """Wild-type Nav1.5 as a Markov chain of nine states, 37 C; `transition_rates` has the source and the rates.

    Each Rush-Larsen step takes the chain's matrix exponential (`advanced`). With 64 terms its error is below 1e-8 for
    steps to 0.2 ms from -120 to 80 mV, and to 0.5 ms from -95 to 30 mV. Fewer terms are faster: the error is that of a
    Poisson weight (24 terms: 1e-7 for 0.05 ms). A step too long for the terms is wrong, yet stays on the simplex.

    The late current keeps the activation m of `SkibsbyeSodiumGating`. A cell's g_Na must be chosen for this channel:
    its peak open probability is another than that of m^3 h1 h2.
    """

    m_V_half: Scalar = parameter(36.3, "mV", "minus the half-activation potential of I_NaL")
    m_k: Scalar = parameter(7.8, "mV", "slope of the steady activation of I_NaL")
    terms: int = eqx.field(default=64, static=True)

    states: ClassVar[tuple[str, ...]] = ("m", *Occupancies._fields)

    def __check_init__(self):
        check_whole("terms", self.terms, "")

    def rates(self, V, y) -> dict[str, Any]:
        p = occupancies(y)
        rates = transition_rates(V)
        chain = {
            n: ChainFlow(rates=rates, occupancies=p, index=i, terms=self.terms)
            for i, n in enumerate(Occupancies._fields)
        }
        return {"m": activation(V, self.m_V_half, self.m_k), **chain}

    def open_probability(self, y):
        return y.O

    def initial(self, y) -> dict[str, Any]:
        """The channel at rest at the cell's potential."""
        return {"m": y.m, **steady_occupancies(transition_rates(y.V))._asdict()}


def occupancies(y) -> Occupancies:
    """Of a cell's state."""
    return Occupancies(*(getattr(y, name) for name in Occupancies._fields))
