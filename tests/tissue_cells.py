"""Cells of one's own that the tests of tissue share: their solutions are known in closed form."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

import jaxcardio as jc


class PassiveState(NamedTuple):
    V: jc.Scalar


class PassiveCurrents(NamedTuple):
    I_ion_total: jc.Scalar


class Passive(jc.AbstractCell):
    """No current at all; V is driven by the stimulus and by `source` cos(t) + `sine` sin(t)."""

    source: jc.Scalar = jc.parameter(0.0, "mV/ms", "what drives V in phase")
    sine: jc.Scalar = jc.parameter(0.0, "mV/ms", "what drives V a quarter later")

    units: ClassVar[dict[str, str]] = {"V": "mV", "I_ion_total": "pA/pF"}
    conductances: ClassVar[dict[str, str]] = {}
    potential = "V"

    def initial_state(self):
        return PassiveState(jnp.zeros((), self.source.dtype))

    def currents(self, y):
        return PassiveCurrents(jnp.zeros_like(y.V))

    def rates(self, t, y, i_stim):
        return PassiveState(self.source * jnp.cos(t) + self.sine * jnp.sin(t) - i_stim + 0 * y.V)


class FourState(NamedTuple):
    V: jc.Scalar
    u1: jc.Scalar
    u2: jc.Scalar
    u3: jc.Scalar


class PathmanathanGray2014(jc.AbstractCell):
    """The cell whose monodomain waves have a closed form. Pathmanathan & Gray 2014, doi 10.1002/cnm.2595.

    With V = sqrt(1 + t) F(x), u1 = (1 + t) G + V, u2 = 1 / ((1 + t) sqrt(G)) and u3 = 0 the ionic part of V' is
    V / (2 (1 + t)) - beta V / (chi C_m), for any G > 0. `source` sqrt(1 + t) is added for an F of one's own.
    """

    beta: jc.Scalar = jc.parameter(-1.1, "mS/mm^3", "leak per volume")
    chi: jc.Scalar = jc.parameter(3.0, "1/mm", "membrane area per volume")
    C_m: jc.Scalar = jc.parameter(2.0, "uF/mm^2", "capacitance")
    source: jc.Scalar = jc.parameter(0.0, "mV/ms", "what drives V")

    units: ClassVar[dict[str, str]] = dict.fromkeys(FourState._fields, "1") | {"V": "mV", "I_ion_total": "pA/pF"}
    conductances: ClassVar[dict[str, str]] = {}
    potential = "V"

    def initial_state(self):
        return FourState(*(jnp.asarray(x, self.beta.dtype) for x in (1.0, 2.0, 1.0, 0.0)))

    def currents(self, y):
        V, u1, u2, u3 = y
        I_ion = -self.C_m * (u1 + u3 - V) * u2**2 * (V - u3) / 2 + self.beta * (V - u3) / self.chi
        return PassiveCurrents(I_ion / self.C_m)

    def rates(self, t, y, i_stim):
        V, u1, u2, u3 = y
        gap = u1 + u3 - V
        return FourState(
            V=-(self.currents(y).I_ion_total + i_stim) + self.source * jnp.sqrt(1 + t),
            u1=gap**2 * u2**2 + gap * u2**2 * (V - u3) / 2,
            u2=-gap * u2**3,
            u3=jnp.zeros_like(u3),
        )


def exact(F, G, t) -> Any:
    """The exact state at time t, ms, of the grid's shape, from F and G there."""
    V = (1 + t) ** 0.5 * F
    return FourState(V, (1 + t) * G + V, 1 / ((1 + t) * jnp.sqrt(G)), jnp.zeros_like(V))


def centres(tissue) -> tuple:
    """Coordinates of the cells' centres, x first, each of the grid's shape, mm."""
    return tuple(jnp.asarray(x) for x in reversed(jnp.meshgrid(*tissue.centres(), indexing="ij")))


def on_grid(function, *coordinates):
    """function(x, y, ...) of numbers, at every point of a grid."""
    flat = jax.vmap(function)(*(c.ravel() for c in coordinates))
    return flat.reshape(*coordinates[0].shape, *flat.shape[1:])


def divergence(W, D):
    """div(D grad W) as a function of x, y: W(x, y) a number, D(x, y) a tensor with axes (x, y)."""

    def flux(p):
        return D(*p) @ jax.grad(lambda p: W(*p))(p)

    return lambda x, y: jnp.trace(jax.jacfwd(flux)(jnp.stack([x, y])))


def turned(along, across, angle):
    """The tensor of fibres at an angle from x, axes (x, y)."""
    c, s = jnp.cos(angle), jnp.sin(angle)
    f, n = jnp.stack([c, s]), jnp.stack([-s, c])
    return along * jnp.outer(f, f) + across * jnp.outer(n, n)


def border_flux_free(ratio):
    """W(x, y) on the unit square whose gradient is not 0 at y = 0 and 1, though its flux is: `ratio` is D_xy / D_yy.

    There W_y = -ratio W_x; at x = 0 and 1 the whole gradient is 0.
    """

    def W(x, y):
        bend = ratio * jnp.sin(jnp.pi * x) ** 2 * jnp.sin(2 * jnp.pi * y) / (2 * jnp.pi)
        return x / 2 - jnp.sin(2 * jnp.pi * x) / (4 * jnp.pi) - bend

    return W
