"""A tissue: cells on a grid, and what conducts between them."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from ..arguments import check, is_traced, refusal
from ..cell import AbstractCell, check_cell, dtype_of
from ..protocols import AbstractProtocol
from ..relaxation import derivative
from ..simulation.compiled import ONCE, compiled
from .conductivity import NOT_NEGATIVE, POSITIVE, Couplings, diagonal_couplings, tensor_couplings
from .diffusion import Diffusion
from .stimulus import Stimulus

TURN = 2 * np.pi
"""Largest fibre angle, radians: one beyond was meant in degrees."""


class Tissue(eqx.Module):
    """A cable, sheet or slab of cells: the dimension is that of the grid. No flux leaves it.

    dV/dt = -(I_ion + i_stim) + div(D grad V), in cell-centred finite volumes of second order.

    Args:
        cell: any cell; each parameter is a number, or has one value a grid cell
            (`cell.replace(g_Kr=array of the grid's shape)`).
        shape: cells along each axis: (nx,), (ny, nx) or (nz, ny, nx). x is the last axis.
        spacing: between cell centres, mm: a number, or one an axis in the order of `shape`.
        diffusivity: D, mm^2/ms, see `diffusivity_of` for S/m. One number; or one an axis, in the order of `shape`; or
            an array of the grid's shape; or one of these an axis, (axes, *shape). With fibres (along, across), and in
            three dimensions also (along, across, normal), where normal is the z axis.
        fibres: angle of the fibres from the x axis towards the y axis, radians: a number, or one a grid cell.
        mask: bool, of the grid's shape: False where there is no tissue (a hole, an ablated line).
        coupling: for each axis, a factor >= 0 of the conductance of each edge between neighbours, of the grid's shape
            but one less along that axis (fibrosis, gap-junction block); None for an axis without.

    Raises:
        ValueError: an argument is out of range, or shapes do not fit.
    """

    cell: AbstractCell
    shape: tuple[int, ...] = eqx.field(static=True)
    spacing: tuple[float, ...] = eqx.field(static=True)
    diffusivity: Float[Array, "..."]
    fibres: Float[Array, "..."] | None
    mask: Bool[Array, "..."] | None
    coupling: tuple[Array, ...] | None

    def __init__(
        self,
        cell: AbstractCell,
        shape: Sequence[int] | int,
        spacing: float | Sequence[float],
        diffusivity: ArrayLike | Sequence[Any],
        fibres: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        coupling: Sequence[ArrayLike | None] | None = None,
    ):
        check_cell(cell)
        self.cell = cell
        self.shape = _checked_shape(shape)
        self.spacing = _checked_spacing(spacing, len(self.shape))
        dtype = dtype_of(cell)
        if fibres is not None and len(self.shape) == 1:
            raise refusal("fibres", fibres, "radians", "None on a cable; two or three axes")
        self.diffusivity = _checked_diffusivity(diffusivity, self.shape, fibres is not None, dtype)
        self.fibres = None if fibres is None else _checked_fibres(fibres, self.shape, dtype)
        self.mask = None if mask is None else _checked_mask(mask, self.shape)
        self.coupling = None if coupling is None else _checked_coupling(coupling, self.shape, dtype)
        for name, parameter in cell.parameters().items():
            if np.shape(parameter.value) not in ((), self.shape):
                raise ValueError(
                    f"cell: parameter {name} has shape {np.shape(parameter.value)}; allowed: a number, or the grid's "
                    f"shape {self.shape}"
                )

    @property
    def axes(self) -> int:
        """1 for a cable, 2 for a sheet, 3 for a slab."""
        return len(self.shape)

    def replace(self, **fields: Any) -> "Tissue":
        """A new tissue with the named arguments changed, e.g. `tissue.replace(mask=holes)`."""
        names = ("cell", "shape", "spacing", "diffusivity", "fibres", "mask", "coupling")
        for name in fields:
            if name not in names:
                raise ValueError(f"Tissue has no argument named {name!r}; known: {', '.join(names)}")
        return Tissue(**{name: fields.get(name, getattr(self, name)) for name in names})

    def centres(self) -> tuple[np.ndarray, ...]:
        """Where the cells' centres lie along each axis, mm, in the order of `shape`: (i + 1/2) spacing."""
        return tuple((np.arange(n) + 0.5) * dx for n, dx in zip(self.shape, self.spacing, strict=True))

    def tensor(self) -> Float[Array, "*grid axes axes"]:
        """The diffusivity tensor of each cell (mm^2/ms), axes in the order of `shape`; 0 where there is no tissue."""
        if self.fibres is None:
            along = [jnp.broadcast_to(d, self.shape) for d in self._per_axis()]
            unit = jnp.eye(self.axes, dtype=self.diffusivity.dtype)
            tensor = jnp.stack(along, -1)[..., None] * jnp.broadcast_to(unit, (*self.shape, self.axes, self.axes))
        else:
            tensor = self._turned()
        return tensor if self.mask is None else jnp.where(self.mask[..., None, None], tensor, 0)

    def diffusion(self) -> Diffusion:
        """div(D grad V) as a function of V."""
        return Diffusion(self.couplings())

    def couplings(self) -> Couplings:
        """What couples neighbouring cells, 1/ms."""
        return _couplings(self)

    def initial_state(self) -> Any:
        """The cell's own initial state everywhere: leaves of the grid's shape."""
        return flat_map(lambda cell: cell.initial_state(), self.cell, self.shape)

    def spread(self, state: Any) -> Any:
        """A state of one cell, or one a cell, as leaves of the grid's shape."""
        return jax.tree.map(lambda x: jnp.broadcast_to(x, self.shape), state)

    def rates_under(self, t, y: Any, stimuli: Sequence[Stimulus] | Stimulus | AbstractProtocol | None = None) -> Any:
        """The rates tree of the whole tissue, for `RatesTerm`: the potential's derivative has the diffusion in it."""
        i_stim = self.stimulus_at(t, stimuli)
        rates = flat_rates(self.cell, t, y, i_stim)
        name = self.cell.potential
        V = getattr(y, name)
        return rates._replace(**{name: self._here(getattr(rates, name) + self.diffusion()(V))})

    def vector_field(self, t, y: Any, args: Sequence[Stimulus] | Stimulus | AbstractProtocol | None = None) -> Any:
        """dy/dt (per ms) of the whole tissue, for any Diffrax solver; `args` are the stimuli.

        Leaves of y and dy/dt have the grid's shape. Cells that the mask leaves out stay as they are.
        """
        slopes = derivative(self.rates_under(t, y, args), y)
        return jax.tree.map(self._here, slopes)

    def stimulus_at(self, t, stimuli) -> Any:
        """The stimulus at time t, pA/pF, of the grid's shape; 0.0 without one."""
        total: Any = 0.0
        for stimulus in as_stimuli(stimuli, self.shape):
            where = jnp.asarray(stimulus.cells(self.shape), self.diffusivity.dtype)
            total = total + where * jnp.asarray(stimulus.protocol.value(jnp.asarray(t)), where.dtype)
        return total

    def _here(self, x):
        return x if self.mask is None else jnp.where(self.mask, x, 0)

    def _per_axis(self) -> tuple[Array, ...]:
        """The diffusivity along each axis, each () or of the grid's shape."""
        d = self.diffusivity
        per_axis = d.ndim in (1, self.axes + 1) and d.shape != self.shape
        return tuple(d[k] for k in range(self.axes)) if per_axis else (d,) * self.axes

    def _turned(self):
        """The tensor of fibres in the plane of x and y."""
        assert self.fibres is not None
        angle = jnp.broadcast_to(self.fibres, self.shape)
        along, across, *normal = (jnp.broadcast_to(d, self.shape) for d in self.diffusivity)
        c, s = jnp.cos(angle), jnp.sin(angle)
        xx, yy, xy = along * c**2 + across * s**2, along * s**2 + across * c**2, (along - across) * c * s
        if self.axes == 2:
            return jnp.stack([jnp.stack([yy, xy], -1), jnp.stack([xy, xx], -1)], -2)
        zz, none = (normal or [across])[0], jnp.zeros_like(xx)
        rows = [[zz, none, none], [none, yy, xy], [none, xy, xx]]
        return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def _couplings_plainly(tissue: Tissue) -> Couplings:
    if tissue.fibres is None:
        return diagonal_couplings(tissue._per_axis(), tissue.spacing, tissue.mask, tissue.coupling)
    return tensor_couplings(tissue.tensor(), tissue.spacing, tissue.mask, tissue.coupling)


_couplings = compiled(_couplings_plainly, lambda tissue: ONCE)  # a hundred small operations, each compiled else


def as_stimuli(stimuli: Any, shape: tuple[int, ...]) -> tuple[Stimulus, ...]:
    """Stimuli as a tuple; a protocol alone acts everywhere. A ValueError names what is none."""
    given = () if stimuli is None else (stimuli,) if isinstance(stimuli, Stimulus | AbstractProtocol) else stimuli
    if not isinstance(given, list | tuple):
        raise refusal("stimuli", stimuli, "", "a list of jaxcardio.tissue.Stimulus")
    found = []
    for k, one in enumerate(given):
        if isinstance(one, AbstractProtocol):
            one = Stimulus(one)
        if not isinstance(one, Stimulus):
            raise refusal(f"stimuli[{k}]", one, "", "a jaxcardio.tissue.Stimulus, or a protocol that acts everywhere")
        one.cells(shape)
        found.append(one)
    return tuple(found)


def flat_cell(cell: AbstractCell, shape: tuple[int, ...]) -> AbstractCell:
    """The cell as a population: parameters of the grid's shape become (n,)."""
    of_grid = {n: p.value.reshape(-1) for n, p in cell.parameters().items() if p.value.shape == shape}
    return cell.replace(**of_grid) if len(shape) > 1 else cell


def flat_map(function, cell: AbstractCell, shape: tuple[int, ...], *arrays) -> Any:
    """function(cell, *arrays) for every cell of the grid; arrays are trees of the grid's shape, or numbers for all."""
    flat = flat_cell(cell, shape)
    arrays = jax.tree.map(lambda x: jnp.reshape(x, -1) if jnp.ndim(x) else x, arrays)
    axes = jax.tree.map(lambda x: 0 if jnp.ndim(x) else None, arrays)
    size = int(np.prod(shape))
    found = jax.vmap(function, in_axes=(flat.population_axes(), *axes), axis_size=size)(flat, *arrays)
    return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), found)


def flat_rates(cell: AbstractCell, t, y, i_stim) -> Any:
    """The rates tree of every cell, leaves of the shape of the state's."""
    shape = jnp.shape(getattr(y, cell.potential))
    return flat_map(lambda cell, y, i_stim: cell.rates(t, y, i_stim), cell, shape, y, i_stim)


def _checked_shape(shape: Any) -> tuple[int, ...]:
    given: Any = (shape,) if isinstance(shape, int | np.integer) and not isinstance(shape, bool) else shape
    try:
        whole = tuple(int(n) for n in given)
        is_good = all(not isinstance(n, bool) and n == m and m >= 1 for n, m in zip(given, whole, strict=True))
    except (TypeError, ValueError, OverflowError):
        whole, is_good = (), False
    if not is_good or not 1 <= len(whole) <= 3 or np.prod(whole) < 2:
        raise refusal("shape", shape, "cells", "(nx,), (ny, nx) or (nz, ny, nx), whole numbers >= 1, at least 2 cells")
    return whole


def _checked_spacing(spacing, axes: int) -> tuple[float, ...]:
    allowed = f"> 0, finite; a number, or {axes} of them"
    check("spacing", spacing, "mm", allowed, POSITIVE[1])
    if spacing is None or is_traced(spacing) or np.shape(spacing) not in ((), (axes,)):
        raise refusal("spacing", spacing, "mm", allowed)
    return tuple(float(x) for x in np.broadcast_to(np.asarray(spacing, float), (axes,)))


def _checked_diffusivity(diffusivity: Any, shape, fibres: bool, dtype) -> Array:
    axes = len(shape)
    if isinstance(diffusivity, list | tuple):
        try:
            diffusivity = _stacked(diffusivity, shape, dtype)
        except (TypeError, ValueError):
            raise refusal("diffusivity", diffusivity, "mm^2/ms", _shapes(shape, fibres)) from None
    check("diffusivity", diffusivity, "mm^2/ms", *(POSITIVE if fibres else NOT_NEGATIVE))
    counts = (2, 3) if fibres and axes == 3 else (2,) if fibres else (axes,)
    allowed = [s for n in counts for s in ((n,), (n, *shape))] + ([] if fibres else [(), shape])
    given = () if diffusivity is None else np.shape(diffusivity)
    if diffusivity is None or given not in allowed:
        raise refusal("diffusivity", f"shape {given}" if given else diffusivity, "mm^2/ms", _shapes(shape, fibres))
    return jnp.asarray(diffusivity, dtype)


def _stacked(diffusivity: Sequence[Any], shape, dtype) -> Array:
    """A list of one diffusivity an axis, or of a list for each row of the grid, as an array."""
    given = [jnp.asarray(d, dtype) for d in diffusivity]
    sizes = {d.shape for d in given}
    if len(sizes) == 1 and (len(given), *given[0].shape) == shape:
        return jnp.stack(given)
    if not given or not sizes <= {(), shape}:  # one row, say, would else be spread over the grid
        raise ValueError
    return jnp.stack([jnp.broadcast_to(d, shape if shape in sizes else ()) for d in given])


def _shapes(shape, fibres: bool) -> str:
    if fibres:
        return "with fibres (along, across), in three dimensions also (along, across, normal): numbers or " + str(shape)
    return f"a number, one an axis {(len(shape),)}, or one a cell {shape} or {(len(shape), *shape)}"


def _checked_fibres(fibres, shape, dtype) -> Array:
    allowed = f"from -2 pi to 2 pi; a number, or shape {shape}"
    check("fibres", fibres, "radians", allowed, lambda x: (np.abs(x) <= TURN + 1e-9).all())
    if np.shape(fibres) not in ((), shape):
        raise refusal("fibres", f"shape {np.shape(fibres)}", "", allowed)
    return jnp.asarray(fibres, dtype)


def _checked_mask(mask, shape) -> Array:
    allowed = f"bool of the grid's shape {shape}, True where there is tissue"
    try:
        mask = mask if is_traced(mask) else np.asarray(mask)
    except ValueError:
        raise refusal("mask", mask, "", allowed) from None
    if mask.shape != shape or mask.dtype != bool:
        raise refusal("mask", f"shape {mask.shape} of {mask.dtype}", "", allowed)
    if not is_traced(mask) and not mask.any():
        raise refusal("mask", "False everywhere", "", "True in at least one cell")
    return jnp.asarray(mask)


def _checked_coupling(coupling, shape, dtype) -> tuple[Array, ...]:
    wanted = [tuple(n - (k == axis) for k, n in enumerate(shape)) for axis in range(len(shape))]
    if not isinstance(coupling, list | tuple) or len(coupling) != len(shape):
        raise refusal("coupling", coupling, "", f"one array (or None) an axis, of shapes {wanted}")
    found = []
    for axis, (factor, size) in enumerate(zip(coupling, wanted, strict=True)):
        factor = jnp.ones(size, dtype) if factor is None else factor
        check(f"coupling[{axis}]", factor, "", *NOT_NEGATIVE)
        if np.shape(factor) not in ((), size):
            raise refusal(f"coupling[{axis}]", f"shape {np.shape(factor)}", "", f"shape {size}")
        found.append(jnp.broadcast_to(jnp.asarray(factor, dtype), size))
    return tuple(found)
