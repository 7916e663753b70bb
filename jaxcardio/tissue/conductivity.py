"""From conductivities to diffusivities, and from those to what couples neighbouring cells."""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..annotations import typed
from ..arguments import check

CHI = 140.0
"""Membrane area per volume of tissue, 1/mm (1400 1/cm, Niederer et al. 2011, doi 10.1098/rsta.2011.0139)."""
C_M = 1.0
"""Membrane capacitance, uF/cm^2."""
POSITIVE = ("> 0, finite", lambda x: np.isfinite(x).all() and (x > 0).all())
NOT_NEGATIVE = (">= 0, finite", lambda x: np.isfinite(x).all() and (x >= 0).all())


@typed
def diffusivity_of(conductivity: ArrayLike, *, chi: float = CHI, C_m: float = C_M) -> Float[Array, "..."]:
    """The diffusivity (mm^2/ms) of tissue of this conductivity (S/m): D = sigma / (chi C_m).

    Args:
        conductivity: of the monodomain, S/m, any shape; see `monodomain_conductivity`.
        chi: membrane area per volume, 1/mm.
        C_m: membrane capacitance, uF/cm^2.
    """
    check("conductivity", conductivity, "S/m", *NOT_NEGATIVE)
    check("chi", chi, "1/mm", *POSITIVE)
    check("C_m", C_m, "uF/cm^2", *POSITIVE)
    return jnp.asarray(conductivity, float) / (chi * C_m / 100)  # 1 S/m = 1 mS/mm; 1 uF/cm^2 = 0.01 uF/mm^2


@typed
def conductivity_of(diffusivity: ArrayLike, *, chi: float = CHI, C_m: float = C_M) -> Float[Array, "..."]:
    """The conductivity (S/m) of tissue of this diffusivity (mm^2/ms): the inverse of `diffusivity_of`."""
    check("diffusivity", diffusivity, "mm^2/ms", *NOT_NEGATIVE)
    check("chi", chi, "1/mm", *POSITIVE)
    check("C_m", C_m, "uF/cm^2", *POSITIVE)
    return jnp.asarray(diffusivity, float) * (chi * C_m / 100)


@typed
def monodomain_conductivity(intracellular: ArrayLike, extracellular: ArrayLike) -> Float[Array, "..."]:
    """What the monodomain conducts (S/m): intra- and extracellular conductivities (S/m) in series."""
    check("intracellular", intracellular, "S/m", *POSITIVE)
    check("extracellular", extracellular, "S/m", *POSITIVE)
    i, e = jnp.asarray(intracellular, float), jnp.asarray(extracellular, float)
    return i * e / (i + e)


class Couplings(NamedTuple):
    """What couples the cells of a grid, 1/ms. Each array has the grid's shape, or is one number for all.

    The last entry along an axis couples with nothing.
    """

    along: tuple[Array, ...]
    """Per axis: of each cell with the next one along it."""
    across: dict[tuple[int, int], Array]
    """Per pair of axes: of each cell with the next one along both; and, with the opposite sign, of its two
    neighbours between. Empty where the tensor is diagonal."""


def diagonal_couplings(diffusivity: tuple[Array, ...], spacing, mask, coupling) -> Couplings:
    """Couplings of cells whose tensor (mm^2/ms) is diagonal: `diffusivity` per axis, () or of the grid's shape.

    The face between two cells has the harmonic mean of theirs: half a cell of each in series.
    """
    along = []
    for axis, (d, dx) in enumerate(zip(diffusivity, spacing, strict=True)):
        face = d if jnp.ndim(d) == 0 else _upper(axis, _harmonic, d)
        along.append(face / dx**2 if mask is None else _masked(face, mask, axis) / dx**2)
    return Couplings(_scaled(tuple(along), coupling), {})


def tensor_couplings(tensor: Array, spacing, mask, coupling) -> Couplings:
    """Couplings of cells whose tensor (mm^2/ms, (*grid, axes, axes)) is full.

    The energy of a gradient is summed over the vertices of the grid, where differences along every axis meet; each
    vertex has the mean of its cells in series. At the border no flux leaves: an axis that ends there is eliminated from
    the tensor of the vertex (what flows along it is what makes its flux zero), which keeps second order there and the
    couplings symmetric. Beside masked cells the terms across are left out.
    """
    axes = len(spacing)
    present = jnp.ones(tensor.shape[:axes], bool) if mask is None else mask
    effective = _at_vertices(tensor, present)
    along, across = [], {}
    for axis in range(axes):
        face = _upper_mean(effective[..., axis, axis], [axis])
        along.append(_masked(face, present, axis) / spacing[axis] ** 2)
    for a, b in itertools.combinations(range(axes), 2):
        vertex = _upper_mean(effective[..., a, b], [a, b])
        across[a, b] = 0.5 * vertex * _weakest(coupling, a, b) / (spacing[a] * spacing[b])
    return Couplings(_scaled(tuple(along), coupling), across)


def _at_vertices(tensor, present):
    """The tensor at each vertex (n + 1 of them along each axis), with the axes that end there eliminated."""
    axes = present.ndim
    unit = jnp.eye(axes, dtype=tensor.dtype)
    in_series = jnp.where(_to_tensor(present), _inverse(jnp.where(_to_tensor(present), tensor, unit)), 0)
    corners = list(itertools.product((0, 1), repeat=axes))
    there = {c: jnp.pad(present, [(1 - k, k) for k in c]) for c in corners}
    summed = sum(jnp.pad(in_series, [*((1 - k, k) for k in c), (0, 0), (0, 0)]) for c in corners)
    count = sum(x.astype(tensor.dtype) for x in there.values())
    mean = _inverse(jnp.where(_to_tensor(count > 0), summed / _to_tensor(jnp.maximum(count, 1)), unit))
    goes_on = []
    for axis in range(axes):
        pairs = [there[c] & there[*c[:axis], 1, *c[axis + 1 :]] for c in corners if c[axis] == 0]
        goes_on.append(functools.reduce(jnp.logical_or, pairs))
        column = mean[..., :, axis]
        without = mean - column[..., :, None] * column[..., None, :] / _to_tensor(mean[..., axis, axis])
        here = np.arange(axes) == axis
        gone = jnp.broadcast_to(np.logical_or.outer(here, here), mean.shape)  # 0 already, but for rounding
        mean = jnp.where(_to_tensor(goes_on[axis]), mean, jnp.where(gone, 0, without))
    whole = count == 2.0 ** sum(x.astype(tensor.dtype) for x in goes_on)
    diagonal = jnp.broadcast_to(jnp.eye(axes, dtype=bool), mean.shape)
    return jnp.where(_to_tensor(whole) | diagonal, mean, 0)


def _to_tensor(x):
    return x[..., None, None]


def _inverse(m):
    """Of symmetric matrices of one to three axes."""
    axes = m.shape[-1]
    if axes == 1:
        return 1 / m
    if axes == 2:
        a, b, d = m[..., 0, 0], m[..., 0, 1], m[..., 1, 1]
        return jnp.stack([jnp.stack([d, -b], -1), jnp.stack([-b, a], -1)], -2) / _to_tensor(a * d - b * b)
    rows = [m[..., k, :] for k in range(3)]
    cofactors = jnp.stack([jnp.cross(rows[k - 2], rows[k - 1]) for k in range(3)], -2)
    return cofactors / _to_tensor(jnp.sum(rows[0] * cofactors[..., 0, :], -1))


def _upper_mean(vertices, axes):
    """Of each cell, the mean of the vertices on its upper side along the `axes`."""
    for axis in range(vertices.ndim):
        lower = jax.lax.slice_in_dim(vertices, 0, vertices.shape[axis] - 1, axis=axis)
        upper = jax.lax.slice_in_dim(vertices, 1, None, axis=axis)
        vertices = upper if axis in axes else 0.5 * (lower + upper)
    return vertices


def _weakest(coupling, a: int, b: int):
    """The smallest factor of the four edges around each upper vertex in the plane of two axes."""
    if coupling is None:
        return 1.0
    along = [jnp.pad(f, [(0, k == axis) for k in range(f.ndim)]) for axis, f in enumerate(coupling)]
    return jnp.minimum(_upper(b, jnp.minimum, along[a]), _upper(a, jnp.minimum, along[b]))


def _harmonic(a, b):
    total = a + b
    return jnp.where(total > 0, 2 * a * b / jnp.where(total > 0, total, 1), 0)


def _upper(axis, function, x):
    """function(x, the next x along the axis); the last one has itself for the next."""
    last = jax.lax.slice_in_dim(x, x.shape[axis] - 1, None, axis=axis)
    return function(x, jnp.concatenate([jax.lax.slice_in_dim(x, 1, None, axis=axis), last], axis))


def _masked(face, mask, axis):
    """The coupling of cells, 0 where either is not there."""
    return jnp.where(_upper(axis, jnp.logical_and, mask), face, 0)


def _scaled(along: tuple[Array, ...], coupling) -> tuple[Array, ...]:
    """Times the factor of each edge: per axis, of the grid's shape less one along it."""
    if coupling is None:
        return along
    return tuple(
        face * jnp.pad(factor, [(0, int(k == axis)) for k in range(factor.ndim)])
        for axis, (face, factor) in enumerate(zip(along, coupling, strict=True))
    )
