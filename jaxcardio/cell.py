"""What a cell is: parameters as leaves, a state, and one evaluation that gives every rate."""

import abc
import dataclasses
import difflib
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from .annotations import typed
from .arguments import is_known_real, refusal
from .protocols import AbstractProtocol
from .relaxation import derivative

if TYPE_CHECKING:
    from typing import ClassVar as AbstractClassVar

    Scalar = Any
else:
    from equinox import AbstractClassVar

    Scalar = Float[Array, "*population"]
    """A number, or one number a cell of a population."""


def _as_float_array(x: Any) -> Array:
    is_float = hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)
    return jnp.asarray(x) if is_float else jnp.asarray(x, float)


def _parameter_value(name: str, value: Any) -> Array:
    """A number, or one a cell (of a tissue in the grid's shape); anything else is a ValueError."""
    try:
        array = _as_float_array(value)
        if any(not is_known_real(x) for x in jax.tree.leaves(value)):  # numpy takes the text "5" for a number, and True
            raise TypeError
    except (TypeError, ValueError, OverflowError):
        raise refusal(f"parameter {name}", value, "", "a number, or shape (n_cells,)") from None
    if array.size == 0:
        raise ValueError(
            f"parameter {name}: a population of 0 cells; allowed: a number, or shape (n_cells,), n_cells >= 1"
        )
    if array.ndim > 3:
        raise ValueError(
            f"parameter {name}: expected a number, shape (n_cells,) or that of a tissue's grid, got shape {array.shape}"
        )
    return array


def parameter(default: float, unit: str, doc: str) -> Any:
    """A field of a cell that is one of its parameters: a differentiable leaf with a unit and a source."""

    def converted(x):
        return _parameter_value(f"({doc}, {unit})", x)

    return eqx.field(default=default, converter=converted, metadata={"unit": unit, "doc": doc})


class Parameter(NamedTuple):
    """A parameter as `cell.parameters()` lists it."""

    value: Array
    unit: str
    doc: str


class AbstractCell(eqx.Module):
    """A cardiac cell: time in ms, potential in mV, currents in pA/pF (outward positive), concentrations in mM.

    A subclass declares its parameters with `parameter(...)` and implements the three abstract methods; everything
    else follows. A population is the same cell with a leading axis on some parameters.
    """

    units: AbstractClassVar[dict[str, str]]
    """Unit of every state and current, by name."""
    conductances: AbstractClassVar[dict[str, str]]
    """The parameter that scales each current: what a blocker of that current multiplies."""
    potential: AbstractClassVar[str]
    """Name of the state that is the membrane potential."""

    def __check_init__(self):
        for name, (path, kind) in _parts(self).items():
            if len(path) == 1 and not isinstance(_get(self, path), kind):
                raise _no_part(name, _get(self, path), kind)

    @abc.abstractmethod
    def initial_state(self) -> Any:
        """The published initial state, a NamedTuple of scalars."""

    @abc.abstractmethod
    def currents(self, y) -> Any:
        """Every named current (pA/pF, outward positive) and flux at `y`, a NamedTuple; `I_ion_total` is the sum."""

    @abc.abstractmethod
    def rates(self, t, y, i_stim) -> Any:
        """State-shaped tree of `Relaxation`s and derivatives (per ms) under the stimulus `i_stim` (pA/pF)."""

    def rates_under(self, t, y, protocol: AbstractProtocol | None = None):
        """The rates tree under a stimulus, a clamp or None: for `RatesTerm`, as `vector_field` is for `ODETerm`."""
        if protocol is None:
            return self.rates(t, y, 0.0)
        t = _as_float_array(t)
        value, slope = jax.jvp(protocol.value, (t,), (jnp.ones_like(t),))
        return driven_rates(self, t, y, protocol.kind, value, slope)

    def vector_field(self, t, y, args: AbstractProtocol | None = None):
        """dy/dt (per ms) for any Diffrax solver; `args` is a stimulus, a voltage clamp, or None.

        Under a clamp the cell sees the command, whatever potential `y` holds, and that state follows the command's
        slope.
        """
        return derivative(self.rates_under(t, y, args), y)

    def parameters(self) -> dict[str, Parameter]:
        """Every parameter by name, sub-modules included: value, unit, doc."""
        return {
            path[-1]: Parameter(_get(self, path), f.metadata["unit"], f.metadata["doc"]) for path, f in _fields(self)
        }

    def replace(self, **values: ArrayLike | eqx.Module) -> Self:
        """A new cell with the named parameters set, e.g. `cell.replace(g_Kr=0.5 * cell.g_Kr)`.

        Each value is a number, or one number a cell (shape `(n,)`; in a tissue the shape of its grid). A part of the
        cell that is a module, e.g. `sodium` of `Skibsbye2016`, is replaced by another of its kind, which then computes
        in the cell's dtype. Unknown names, other shapes and other kinds are a ValueError.
        """
        parts = _parts(self)
        cell = self
        for name, (path, kind) in parts.items():
            if name in values:
                part = _part_value(name, values[name], kind, dtype_of(self))
                cell = eqx.tree_at(lambda c, path=path: _get(c, path), cell, part)
        paths = {path[-1]: path for path, _ in _fields(cell)}
        numbers = {name: value for name, value in values.items() if name not in parts}
        for name in numbers:
            if name not in paths:
                raise ValueError(unknown_name("parameter", name, [*paths, *parts], type(self).__name__))
        new = [_parameter_value(name, value) for name, value in numbers.items()]
        chosen = [paths[name] for name in numbers]
        if not chosen:
            return cell
        return eqx.tree_at(lambda c: [_get(c, path) for path in chosen], cell, new)

    def population_axes(self) -> PyTree:
        """`in_axes` for vmap over the population: 0 for each parameter with a leading axis, None for the rest."""
        paths = [path for path, _ in _fields(self)]
        axes = [0 if jnp.ndim(_get(self, path)) == 1 else None for path in paths]
        nothing = jax.tree.map(lambda _: None, self)
        return eqx.tree_at(lambda c: [_get(c, p) for p in paths], nothing, axes, is_leaf=lambda x: x is None)

    def population_size(self) -> int | None:
        """Number of cells, or None for a single cell; a ValueError where parameters have different lengths, or the
        shape of a tissue's grid."""
        shapes = {path[-1]: jnp.shape(_get(self, path)) for path, _ in _fields(self)}
        for name, shape in shapes.items():
            if len(shape) > 1:
                raise ValueError(
                    f"parameter {name}: has the shape {shape} of a tissue's grid (see jaxcardio.tissue); allowed here: "
                    "a number, or shape (n_cells,)"
                )
        lengths = {name: shape[0] for name, shape in shapes.items() if len(shape) == 1}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"parameters of one population have different lengths: {lengths}")
        return next(iter(lengths.values()), None)


class AbstractWrappedCell(AbstractCell):
    """A cell that is another one but for its rates."""

    cell: eqx.AbstractVar[AbstractCell]

    @property
    def units(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.cell.units

    @property
    def conductances(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.cell.conductances

    @property
    def potential(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.cell.potential

    def initial_state(self):
        return self.cell.initial_state()

    def currents(self, y):
        return self.cell.currents(y)


class HeldCell(AbstractWrappedCell):
    """A cell some of whose states stay at their initial value; made by `hold`."""

    cell: AbstractCell
    held: tuple[str, ...] = eqx.field(static=True)

    def rates(self, t, y, i_stim):
        still = {name: jnp.zeros_like(getattr(y, name)) for name in self.held}
        return self.cell.rates(t, y, i_stim)._replace(**still)


@typed
def hold(cell: AbstractCell, *states: str) -> HeldCell:
    """The cell with the named states held constant, e.g. `hold(cell, "Na_i", "K_i")` for paced Kernik cells."""
    check_cell(cell)
    names = type(cell.initial_state())._fields
    for name in states:
        if name not in names:
            raise ValueError(unknown_name("state", name, names, type(cell).__name__))
    return HeldCell(cell, states)


def driven_state(cell: AbstractCell, y, kind: str, value):
    """The state as the cell sees it: under a voltage clamp its potential is the command's."""
    return y._replace(**{cell.potential: value}) if kind == "voltage" else y


def driven_rates(cell: AbstractCell, t, y, kind: str, value, slope):
    """Rates under a protocol whose value (pA/pF or mV) and slope (per ms) at this instant are given."""
    if kind == "current":
        return cell.rates(t, y, value)
    rates = cell.rates(t, driven_state(cell, y, kind, value), 0.0)
    return rates._replace(**{cell.potential: slope})


def astype(cell: AbstractCell, dtype) -> AbstractCell:
    """The cell with every floating-point leaf in `dtype`, float32 or float64: that in which its runs compute."""
    check_cell(cell)
    try:
        name = repr(dtype) if dtype is None else jnp.dtype(dtype).name
    except TypeError:
        name = repr(dtype)
    if name not in ("float32", "float64"):
        raise ValueError(f"dtype = {name}; allowed: float32 or float64")
    return jax.tree.map(lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x, cell)


def dtype_of(cell: AbstractCell) -> np.dtype:
    """The floating-point dtype in which a run of this cell computes."""
    leaves = [x for x in jax.tree.leaves(cell) if eqx.is_inexact_array(x)]
    return jnp.result_type(*leaves) if leaves else jnp.zeros(()).dtype


def check_cell(cell: Any, name: str = "cell") -> None:
    """A ValueError unless this is a cell or a population; a class is none."""
    if not isinstance(cell, AbstractCell):
        raise refusal(name, cell, "", "a cell, e.g. jaxcardio.models.TenTusscher2004()")


def unknown_name(what: str, name: str, known, owner: str) -> str:
    """The message for a name that is not there, with the near ones."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(known)}"
    return f"{owner} has no {what} named {name!r}; {hint}"


def _get(module: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        module = getattr(module, name)
    return module


def _fields(module: eqx.Module, prefix: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], dataclasses.Field]]:
    """Path and dataclass field of every parameter, sub-modules in place."""
    found = []
    for f in dataclasses.fields(module):  # pyright: ignore[reportArgumentType]
        value = getattr(module, f.name)
        if "unit" in f.metadata:
            found.append(((*prefix, f.name), f))
        elif isinstance(value, eqx.Module):
            found += _fields(value, (*prefix, f.name))
    return found


def _parts(cell: eqx.Module, prefix: tuple[str, ...] = ()) -> dict[str, tuple[tuple[str, ...], type]]:
    """Path and kind of every part that is a module of its own; those of a wrapped cell are the wrapper's too."""
    found = {}
    for f in dataclasses.fields(cell):  # pyright: ignore[reportArgumentType]
        value, path = getattr(cell, f.name), (*prefix, f.name)
        if isinstance(f.type, type) and issubclass(f.type, eqx.Module) and not issubclass(f.type, AbstractCell):
            found[f.name] = path, f.type
        elif isinstance(value, AbstractCell):
            found |= _parts(value, path)
    return found


def _no_part(name: str, value: Any, kind: type) -> ValueError:
    return refusal(f"part {name}", value, "", f"an instance of {kind.__name__}")


def _part_value(name: str, value: Any, kind: type, dtype) -> eqx.Module:
    """A module of the wanted kind in the cell's dtype."""
    if not isinstance(value, kind):
        raise _no_part(name, value, kind)
    return jax.tree.map(lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x, value)


def initialise(cell: AbstractCell, values: dict[str, ArrayLike], **static) -> None:
    """For a model whose published variants differ in defaults: sets every field inside its own `__init__`."""
    known = {f.name: f for f in dataclasses.fields(cell)}  # pyright: ignore[reportArgumentType]
    for name in values:
        if name not in known or "unit" not in known[name].metadata:
            raise ValueError(
                unknown_name("parameter", name, [n for n in known if "unit" in known[n].metadata], type(cell).__name__)
            )
    for name, f in known.items():
        if name not in static:
            setattr(cell, name, _parameter_value(name, values.get(name, f.default)))
    for name, value in static.items():
        setattr(cell, name, value)
