"""The classical rival of a network: a table over potential of steady states and of rho = exp(-dt/tau)."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..annotations import typed
from ..arguments import check, check_known
from ..models import AbstractSodiumGating
from ..relaxation import Flow
from .clamp_data import GATES, amounts, check_gates

LOWEST, HIGHEST = -150.0, 100.0
"""Ends of a table by default, mV."""
SPACING = 0.25
"""Of its potentials by default, mV."""
Kind = Literal["linear", "cubic"]
DTS = (0.05, 0.1)
"""Steps of a table by default, ms: those of `RushLarsenMidpoint` at 0.1 ms."""
SAME = 1e-6
"""A step is one of the table's if it differs by no more than this share: steps are differences of times."""


class TabulatedFlow(Flow):
    """gate -> gate + (steady - gate) (1 - rho), with rho of the table's steps; rho of another step by a power of it.

    `part` is 1 - rho for each of `dts`: in float32 rho itself would have lost it.
    """

    steady: Float[Array, "*cells"]
    part: tuple[Float[Array, "*cells"], ...]
    dts: tuple[float, ...] = eqx.field(static=True)

    def derivative(self, x):
        return (self.steady - x) * self._rate()

    def increment(self, x, dt):
        return (self.steady - x) * self._part(dt)

    def _part(self, dt):
        is_one = [jnp.abs(dt - one) <= SAME * one for one in self.dts]
        index = sum(jnp.where(hit, k, 0) for k, hit in enumerate(is_one, start=1))
        branches = [lambda: -jnp.expm1(-dt * self._rate()), *(lambda part=part: part for part in self.part)]
        return jax.lax.switch(index, branches)

    def _rate(self):
        return -jnp.log1p(-self.part[0]) / self.dts[0]


class RateTable(AbstractSodiumGating):
    """Any gating of first order as a table on evenly spaced potentials, read by linear or cubic interpolation.

    A known potential outside the table is refused; one inside a compiled run is clamped to its ends. What lies between
    0 and 1 stays so: a cubic that overshoots is cut off.
    """

    rows: Float[Array, "potentials columns"]
    """For each potential the steady states of m, h1 and h2, then 1 - rho of each for each of `dts`: a cell reads one
    piece of memory."""
    lowest: float = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    dts: tuple[float, ...] = eqx.field(static=True)
    kind: Kind = eqx.field(static=True)

    @typed
    def __init__(
        self,
        gating: AbstractSodiumGating,
        dts: tuple[float, ...] = DTS,
        *,
        kind: Kind = "linear",
        spacing: float = SPACING,
        lowest: float = LOWEST,
        highest: float = HIGHEST,
    ):
        """Tabulates a gating whose m, h1 and h2 relax.

        Args:
            gating: exact or learned; what opens and shuts in a step is read off it.
            dts: steps to tabulate, ms. A solver that halves its step (`RushLarsenMidpoint`) needs both: (0.05, 0.1).
                Other steps are possible, at the cost of a logarithm and an exponential a gate.
            kind: of the interpolation; its error falls with the second or the fourth power of `spacing`.
            spacing: of the potentials, mV.
            lowest, highest: the first potential and one that the last reaches, mV.

        ValueError: an argument out of its range; a gating of other states, or whose gates do not relax.
        """
        check_gates(gating)
        check("dts", list(dts), "ms", "one or more steps > 0", lambda x: (x.size > 0) & np.all(x > 0))
        check_known("lowest", lowest, "mV", "finite", np.isfinite)
        check_known("highest", highest, "mV", "above lowest", lambda x: (x > lowest) & np.isfinite(x))
        allowed = "> 0, and at most a quarter of highest - lowest"
        check_known("spacing", spacing, "mV", allowed, lambda x: (x > 0) & (4 * x <= highest - lowest))
        V = jnp.asarray(lowest + spacing * np.arange(int(np.ceil((highest - lowest) / spacing - 1e-9)) + 1))
        found = [amounts(gating, V, jnp.full((len(GATES), V.size), dt)) for dt in dts]
        parts = [opened + shut for opened, shut in found]
        opened, part = found[-1][0], parts[-1]
        _check_relaxing(gating, V, dts[-1], opened, part)
        self.rows = jnp.concatenate([opened / part, *parts]).T
        self.lowest, self.spacing, self.kind = float(lowest), float(spacing), kind
        self.dts = tuple(float(dt) for dt in dts)

    @property
    def highest(self) -> float:
        """The last potential, mV."""
        return self.lowest + self.spacing * (self.rows.shape[0] - 1)

    def rates(self, V, y=None) -> dict[str, TabulatedFlow]:
        allowed = f"{self.lowest:g} to {self.highest:g} mV, the table's ends"
        check("V", V, "mV", allowed, lambda x: ~((x < self.lowest) | (x > self.highest)))
        columns, gates = self._columns(V), len(GATES)
        return {
            gate: TabulatedFlow(columns[k], tuple(columns[k + gates :: gates]), self.dts)
            for k, gate in enumerate(GATES)
        }

    def _columns(self, V) -> list[Array]:
        before, after = (0, 1) if self.kind == "linear" else (1, 2)
        last = self.rows.shape[0] - 1
        where = jnp.clip((V - self.lowest) / self.spacing, 0, last)
        below = jnp.clip(jnp.nan_to_num(jnp.floor(where)), before, last - after)
        t, row = where - below, below.astype(jnp.int32)
        read = [self.rows[row + k] for k in range(-before, after + 1)]
        if self.kind == "linear":
            weights = [1 - t, t]
        else:
            weights = [
                -t * (t - 1) * (t - 2) / 6,
                (t + 1) * (t - 1) * (t - 2) / 2,
                -(t + 1) * t * (t - 2) / 2,
                (t + 1) * t * (t - 1) / 6,
            ]
        mixed = jnp.sum(jnp.stack([w[..., None] * row for w, row in zip(weights, read, strict=True)]), axis=0)
        mixed = mixed if self.kind == "linear" else jnp.clip(mixed, 0, 1)
        return [mixed[..., k] for k in range(mixed.shape[-1])]


def _check_relaxing(gating, V, dt, opened, part) -> None:
    """A ValueError unless what moves depends linearly on the gate."""
    rates = gating.rates(V, None)
    half = jnp.stack([rates[gate].increment(jnp.full_like(V, 0.5), dt) for gate in GATES])
    if float(jnp.max(jnp.abs(half - (opened - 0.5 * part)))) > 1e-6:
        raise ValueError(f"gating = {type(gating).__name__}: its gates do not relax; allowed: one whose gates do")
