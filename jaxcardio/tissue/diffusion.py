"""div(D grad V) on the grid: each cell's differences to its neighbours, times what couples them."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .conductivity import Couplings


class Alone(eqx.Module):
    """The whole grid on one device."""

    def around(self, x, beyond):
        """The row before those of x, and the one after them; `beyond` are those where the grid ends."""
        return beyond


class Shared(eqx.Module):
    """Rows of the grid on the devices of a mesh, along its first axis; each device asks its neighbours."""

    name: str = eqx.field(static=True)
    devices: int = eqx.field(static=True)

    def around(self, x, beyond):
        here, last = jax.lax.axis_index(self.name), self.devices - 1
        before = jax.lax.ppermute(x[-1:], self.name, [(k, k + 1) for k in range(last)])
        after = jax.lax.ppermute(x[:1], self.name, [(k + 1, k) for k in range(last)])
        return jnp.where(here == 0, beyond[0], before), jnp.where(here == last, beyond[1], after)


class Diffusion(eqx.Module):
    """L of dV/dt = L V. L is symmetric and its rows sum to zero: a constant stays, and the sum of V is kept.

    (L V)_i = sum over neighbours k of weight_k (V_k - V_i). A neighbour beyond the border is the cell itself.
    """

    offsets: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    """To each neighbour, in cells along each axis."""
    weights: tuple[Array, ...]
    """Of each neighbour, 1/ms: one number, or one a cell."""
    couplings: Couplings
    neighbours: Any

    def __init__(self, couplings: Couplings, neighbours: Any = None):
        self.couplings = couplings
        self.neighbours = Alone() if neighbours is None else neighbours
        axes = len(couplings.along)
        found = []
        for axis, k in enumerate(couplings.along):
            up = tuple(int(a == axis) for a in range(axes))
            found += [(up, k), (_opposite(up), self._at(k, _opposite(up)))]
        for (a, b), k in couplings.across.items():
            both, a_only, b_only = (tuple(int(x in which) for x in range(axes)) for which in ((a, b), (a,), (b,)))
            anti = tuple(x - y for x, y in zip(a_only, b_only, strict=True))
            found += [(both, k), (_opposite(both), self._at(k, _opposite(both)))]
            found += [(anti, -self._at(k, _opposite(b_only))), (_opposite(anti), -self._at(k, _opposite(a_only)))]
        self.offsets, self.weights = tuple(o for o, _ in found), tuple(w for _, w in found)

    def __call__(self, V: Float[Array, "*grid"]) -> Float[Array, "*grid"]:
        """L V, per ms."""
        around = self._with_border(V, "edge")
        here = _shifted(around, (0,) * V.ndim)
        # Differences, not weighted sums of V: the potential is large, and its differences are small.
        return sum(
            weight * (_shifted(around, offset) - here)
            for offset, weight in zip(self.offsets, self.weights, strict=True)
        )

    def row_sums(self) -> Float[Array, "..."]:
        """Sum of the weights of each cell's neighbours along the axes, 1/ms; one number where all are alike."""
        straight = [w for o, w in zip(self.offsets, self.weights, strict=True) if sum(map(abs, o)) == 1]
        shape = next((w.shape for w in straight if jnp.ndim(w)), ())
        return sum(jnp.broadcast_to(w, shape) for w in straight)

    def limit(self) -> Float[Array, ""]:
        """The longest stable explicit step, ms: 1 / (2 sum D_i / dx_i^2) where the tissue is uniform."""
        return 1 / jnp.max(self.row_sums())

    def _with_border(self, x, mode: Literal["edge", "constant"]):
        """x and a cell more on every side: the neighbour's, or beyond the grid the last one's own ("edge") or zero."""
        ends = x[:1], x[-1:]
        before, after = self.neighbours.around(x, ends if mode == "edge" else jax.tree.map(jnp.zeros_like, ends))
        x = jnp.concatenate([before, x, after])
        x = jnp.pad(x, [(0, 0), *[(1, 1)] * (x.ndim - 1)], mode=mode) if x.ndim > 1 else x
        # Made once: XLA would else build the border anew for each neighbour, at several times the cost.
        return jax.lax.optimization_barrier(x)

    def _at(self, k, offset):
        """The coupling that the cell at this offset has with those after it; what lies outside couples with nothing."""
        return k if jnp.ndim(k) == 0 else _shifted(self._with_border(k, "constant"), offset)


def _opposite(offset: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-k for k in offset)


def _shifted(around, offset):
    """Of an array with a border of one cell, the cells at this offset from those within."""
    return around[tuple(slice(1 + k, n - 1 + k) for k, n in zip(offset, around.shape, strict=True))]
