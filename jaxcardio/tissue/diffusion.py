"""div(D grad V) on the grid: differences between neighbours, times what couples them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .conductivity import Couplings


class Alone(eqx.Module):
    """The whole grid on one device."""

    def after(self, first, last):
        """The first row behind those here; where the grid ends, the `last` one here."""
        return last

    def before(self, last):
        """The `last` row of those before; zeros where the grid begins."""
        return jnp.zeros_like(last)


class Row(eqx.Module):
    """Rows of the grid on the devices of a mesh, along its first axis; each device asks its neighbours."""

    name: str = eqx.field(static=True)
    devices: int = eqx.field(static=True)

    def after(self, first, last):
        came = jax.lax.ppermute(first, self.name, [(k + 1, k) for k in range(self.devices - 1)])
        return jnp.where(jax.lax.axis_index(self.name) == self.devices - 1, last, came)

    def before(self, last):
        return jax.lax.ppermute(last, self.name, [(k, k + 1) for k in range(self.devices - 1)])


class Diffusion(eqx.Module):
    """L of dV/dt = L V. L is symmetric and its rows sum to zero: a constant stays, and the sum of V is kept."""

    couplings: Couplings
    neighbours: Any = Alone()

    def __call__(self, V: Float[Array, "*grid"]) -> Float[Array, "*grid"]:
        """L V, per ms."""
        change = jnp.zeros_like(V)
        for axis, coupling in enumerate(self.couplings.along):
            flux = _once(coupling * (self._later(V, axis) - V))
            change = change + (flux - self._earlier(flux, axis))
        for (a, b), coupling in self.couplings.across.items():
            along_a, along_b = self._later(V, a), self._later(V, b)
            main = _once(coupling * (self._later(along_a, b) - V))
            anti = _once(coupling * (along_a - along_b))
            change = change + (main - self._earlier(self._earlier(main, a), b))
            change = change + (self._earlier(anti, a) - self._earlier(anti, b))
        return change

    def row_sums(self) -> Float[Array, "..."]:
        """Sum of the couplings of each cell with its neighbours along the axes, 1/ms; one number if all are alike."""
        if all(jnp.ndim(k) == 0 for k in self.couplings.along):
            return 2 * sum(self.couplings.along)
        shape = next(jnp.shape(k) for k in self.couplings.along if jnp.ndim(k))
        along = [jnp.broadcast_to(k, shape) for k in self.couplings.along]
        return sum(k + self._earlier(k, axis) for axis, k in enumerate(along))

    def limit(self) -> Float[Array, ""]:
        """The longest stable explicit step, ms: 1 / (2 sum D_i / dx_i^2) where the tissue is uniform."""
        return 1 / jnp.max(self.row_sums())

    def _later(self, x, axis: int):
        """The next cell's x along the axis; the last one's own at the end of the grid."""
        last = jax.lax.slice_in_dim(x, x.shape[axis] - 1, None, axis=axis)
        if axis == 0:
            last = self.neighbours.after(x[:1], last)
        return jnp.concatenate([jax.lax.slice_in_dim(x, 1, None, axis=axis), last], axis)

    def _earlier(self, x, axis: int):
        """The previous cell's x along the axis; zero before the first."""
        last = jax.lax.slice_in_dim(x, x.shape[axis] - 1, None, axis=axis)
        first = self.neighbours.before(last) if axis == 0 else jnp.zeros_like(last)
        return jnp.concatenate([first, jax.lax.slice_in_dim(x, 0, x.shape[axis] - 1, axis=axis)], axis)


def _once(x):
    """x, worked out once: XLA would else do so again for every use of it."""
    return jax.lax.optimization_barrier(x)
