"""What an electrode picks up: through a seal on one cell, in the bath around many, and inside after electroporation."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ...annotations import typed
from ...arguments import check, check_number, is_known_real
from ..features.moving import as_samples
from .circuit import slope

SPECIFIC_CAPACITANCE = 0.01
"""pF/um^2 (1 uF/cm^2)."""


def _number(x: ArrayLike) -> Array:
    """As an array; what is no number stays as it is, for the module's own check to refuse by name."""
    try:
        is_number = is_known_real(x)
    except (TypeError, ValueError):
        is_number = False
    if not is_number:
        return x  # pyright: ignore[reportReturnType]
    return jnp.asarray(x, float) if not hasattr(x, "dtype") else jnp.asarray(x)


class Seal(eqx.Module):
    """An electrode sealed to a patch of one cell's membrane. The patch's current raises the cleft over the seal.

        v = R [A c ((1 - kappa) dV/dt + kappa q) + g (V - V_rest)]

    V is the cell's potential, c the capacitance by area, and q the current from the neighbours over the cell's
    capacitance: in a coupled culture this is the total membrane current, capacitive and ionic together. A patch whose
    channels are those of the rest (kappa = 1) gives the total current, positive before the upstroke and negative
    within it (for a wave at a constant speed it is the second derivative of V); a patch without channels (kappa = 0)
    gives the capacitive current. g is what the patch itself conducts, which brings a small share of V: its fall is
    the repolarisation wave. All fields may be differentiated and traced.

    After Fromherz, Eur Biophys J 2002;31:228-231 (junction of cell and electrode, depletion of channels there).
    """

    resistance: Float[Array, ""] = eqx.field(converter=_number, default=100.0)
    """Of the seal, MOhm."""
    area: Float[Array, ""] = eqx.field(converter=_number, default=6.0)
    """Of the patch, um^2."""
    kappa: Float[Array, ""] = eqx.field(converter=_number, default=0.4)
    """Density of channels in the patch over that of the cell, 0 to 1."""
    conductance: Float[Array, ""] = eqx.field(converter=_number, default=0.005)
    """Of the patch, nS."""

    def __check_init__(self):
        check_number("resistance", self.resistance, "MOhm", "finite and > 0 MOhm", lambda x: (x > 0) & np.isfinite(x))
        check_number("area", self.area, "um^2", "finite and > 0 um^2", lambda x: (x > 0) & np.isfinite(x))
        check_number("kappa", self.kappa, "(no unit)", "from 0 to 1", lambda x: (x >= 0) & (x <= 1))
        check_number("conductance", self.conductance, "nS", "finite and >= 0 nS", lambda x: (x >= 0) & np.isfinite(x))

    @typed
    def __call__(
        self, V: Float[Array, "*channels sample"], inflow: Float[Array, "*channels sample"], dt: ArrayLike
    ) -> Float[Array, "*channels sample"]:
        """Potential in the cleft, mV, from V (mV) and the current from the neighbours (mV/ms) every `dt` ms."""
        V, inflow = as_samples("V", V, 2), as_samples("inflow", inflow, 2)
        if inflow.shape != V.shape:
            raise ValueError(f"inflow: shape {inflow.shape}; allowed: {V.shape}, that of V")
        R, A, kappa, g = (jnp.asarray(p).astype(V.dtype) for p in self._parameters())
        capacitive = (1 - kappa) * slope(V, dt) + kappa * inflow
        return R * (A * SPECIFIC_CAPACITANCE * capacitive + g * (V - V[..., :1])) * 1e-3

    def _parameters(self):
        return self.resistance, self.area, self.kappa, self.conductance


@typed
def field_potential(
    inflow: Float[Array, "cell sample"],
    distances: ArrayLike,
    *,
    capacitance: ArrayLike = 60.0,
    conductivity: ArrayLike = 1.0,
) -> Float[Array, " sample"]:
    """Potential in the bath at one point, mV: the sum over cells of the current each gives off over 4 pi sigma r.

    For an electrode with a face, tissue that is no list of cells, or a bath with a floor, use
    `tissue.electrogram` and pass what it gives through `Channel.amplified`.

    Args:
        inflow: current from the neighbours over capacitance, mV/ms: it leaves the cell through its membrane.
        distances: of the point from each cell, um, > 0, shape (cell,).
        capacitance: of one cell, pF.
        conductivity: of the bath, S/m.
    """
    check("distances", distances, "um", "finite and > 0 um", lambda r: (r > 0) & np.isfinite(r))
    check("capacitance", capacitance, "pF", "finite and > 0 pF", lambda c: (c > 0) & np.isfinite(c))
    check("conductivity", conductivity, "S/m", "finite and > 0 S/m", lambda s: (s > 0) & np.isfinite(s))
    if np.shape(distances) != np.shape(inflow)[:1]:
        raise ValueError(f"distances: shape {np.shape(distances)} um; allowed: ({len(inflow)},), one for each cell")
    weights = jnp.asarray(capacitance) * 1e-3 / (4 * np.pi * jnp.asarray(conductivity) * jnp.asarray(distances))
    inflow = as_samples("inflow", inflow, 1)
    return weights.astype(inflow.dtype) @ inflow


class Electroporation(eqx.Module):
    """Access to the inside of a cell after a pulse: it falls exponentially as the pores reseal.

    While the amplifier recovers from the pulse its output stands at the limit.
    """

    access: Float[Array, ""] = eqx.field(converter=_number, default=0.1)
    """Share of the cell's potential that is seen right after the pulse, 0 to 1."""
    resealing: Float[Array, ""] = eqx.field(converter=_number, default=1.2e6)
    """Time constant of resealing, ms."""
    blind: Float[Array, ""] = eqx.field(converter=_number, default=200.0)
    """Time at the limit after the pulse, ms."""

    def __check_init__(self):
        check_number("access", self.access, "(no unit)", "from 0 to 1", lambda x: (x >= 0) & (x <= 1))
        check_number("resealing", self.resealing, "ms", "> 0 ms", lambda x: x > 0)
        check_number("blind", self.blind, "ms", "finite and >= 0 ms", lambda x: (x >= 0) & np.isfinite(x))

    @typed
    def share(self, since_pulse: ArrayLike) -> Float[Array, "..."]:
        """Share of the cell's potential that is seen so many ms after the pulse; 0 before it."""
        t = _number(since_pulse)
        access, resealing = self.access.astype(t.dtype), self.resealing.astype(t.dtype)
        return jnp.where(t < 0, jnp.zeros((), t.dtype), access * jnp.exp(-jnp.maximum(t, 0) / resealing))
