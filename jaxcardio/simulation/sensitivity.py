"""Derivatives of what a run computes with respect to named parameters, of one cell or of every cell of a population.

The cells of a population do not see each other. So one tangent, shared by all cells, moves a parameter of every cell at
once, and forward mode costs as many tangents as there are parameters, however many cells there are.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..annotations import typed
from ..arguments import refusal
from ..cell import AbstractCell, check_cell, unknown_name
from .compiled import compiled

Mode = Literal["forward", "reverse"]

FORWARD_LIMIT = 8
"""Most parameters for which `value_and_gradient` chooses forward mode: about where both cost the same
(`benchmarks/gradients.py`)."""


@typed
def value_and_gradient(
    loss: Callable[[Any], Float[Array, "*population"]],
    cell: AbstractCell,
    names: Sequence[str],
    *,
    mode: Mode | None = None,
) -> tuple[Float[Array, "*population"], dict[str, Float[Array, "*population"]]]:
    """A loss and its gradient with respect to the named parameters, and to no others.

    Forward mode carries one tangent a parameter along with the run; reverse mode runs twice, keeps one state a block of
    steps, and costs the same for any number of parameters. Compiled once for each `loss` (the same function object),
    shape and set of names; also works inside `jax.jit`.

    Args:
        loss: cell -> a number, or for a population of n cells one number a cell, shape (n,), each of which depends on
            its own cell alone.
        cell: where to differentiate: a cell or a population.
        names: parameters, by name.
        mode: "forward" or "reverse". By default forward for at most `FORWARD_LIMIT` parameters and reverse beyond;
            reverse, too, where a population has one loss in all (then one tangent cannot serve all cells). An adaptive
            run with the default `adjoint` of `simulate` needs "reverse", one with `diffrax.ForwardMode` "forward".

    Returns:
        The loss, () or (n,), and by name its derivative: d loss_i / d p_i, shape (n,), for a parameter that each cell
        has its own value of; for a shared one, the derivative of the sum of the losses, shape (). Where a population
        has one loss in all, its derivative with respect to each.

    Raises:
        ValueError: for an unknown name, mode, or a loss of another shape or of whole numbers.
    """
    names = _check_names(cell, names)
    if mode not in (None, "forward", "reverse"):
        raise ValueError(f"mode = {mode!r}; allowed: 'forward', 'reverse' or None")
    value, gradient = _value_and_gradient(loss, cell, names, mode)
    return value, {name: gradient[name] for name in names}  # jit sorts a dict


@typed
def value_and_sensitivities(
    outputs: Callable[[Any], PyTree], cell: AbstractCell, names: Sequence[str]
) -> tuple[PyTree, dict[str, PyTree]]:
    """Outputs of a run and their derivatives with respect to the named parameters, by forward mode.

    For what has many numbers, such as a whole trace: `value_and_sensitivities(lambda c: simulate(c, ...).V, cell,
    ["g_Kr"])`. The runs and the compilation are as for `value_and_gradient`.

    Args:
        outputs: cell -> an array, or a tree of arrays, of floating-point numbers; for a population with the cells on
            the leading axis, each cell's depending on itself alone.
        cell: where to differentiate: a cell or a population.
        names: parameters, by name.

    Returns:
        The outputs, and by name a tree of the same structure and shapes: each cell's derivative with respect to its own
        value of the parameter, or to the shared one.

    Raises:
        ValueError: for an unknown name, or an output of another shape or of whole numbers.
    """
    names = _check_names(cell, names)
    value, sensitivities = _value_and_sensitivities(outputs, cell, names)
    return value, {name: sensitivities[name] for name in names}


@compiled
def _value_and_gradient(loss, cell, names, mode):
    n = cell.population_size()
    own = [name for name, p in _values(cell, names).items() if p.ndim == 1]

    def checked(cell):
        value = _check_floating("loss", loss(cell))
        if not isinstance(value, jax.Array) or value.shape not in ((), (n,)):
            allowed = "a number" if n is None else f"a number, or one a cell: shape ({n},)"
            found = f"shape {value.shape}" if isinstance(value, jax.Array) else type(value).__name__
            raise ValueError(f"loss: expected {allowed}, got {found}; for many outputs use value_and_sensitivities")
        return value

    if mode != "reverse" and own:
        together = jax.eval_shape(checked, cell).shape == ()
        if together and mode == "forward":
            raise ValueError(
                f"mode = 'forward': one loss for all {n} cells has a derivative for each of them with respect to "
                f"{', '.join(own)}; allowed: a loss of shape ({n},), or mode='reverse'"
            )
        mode = "reverse" if together else mode
    if mode is None:
        mode = "forward" if len(names) <= FORWARD_LIMIT else "reverse"
    if mode == "reverse":
        return _reverse(checked, cell, names)
    value, along = _forward(checked, cell, names)
    return value, {name: x if name in own else jnp.sum(x) for name, x in along.items()}


@compiled
def _value_and_sensitivities(outputs, cell, names):
    n = cell.population_size()

    def checked(cell):
        found = _check_floating("outputs", outputs(cell))
        for x in jax.tree.leaves(found):
            if n is not None and x.shape[:1] != (n,):
                raise ValueError(
                    f"outputs: expected the {n} cells on the leading axis, got an array of shape {x.shape}"
                )
        return found

    return _forward(checked, cell, names)


def _forward(function, cell, names):
    """function(cell), and by name its derivative along a unit change of that parameter in every cell at once."""
    values = _values(cell, names)

    def along(direction):
        tangents = {name: jnp.full_like(x, d) for (name, x), d in zip(values.items(), direction, strict=True)}
        return jax.jvp(lambda values: function(cell.replace(**values)), (values,), (tangents,))

    # The value depends on no direction, so that vmap leaves it, and the run behind it, unmapped.
    value, tangents = jax.vmap(along, out_axes=(None, 0))(jnp.eye(len(names)))
    return value, {name: jax.tree.map(lambda x, i=i: x[i], tangents) for i, name in enumerate(names)}


def _reverse(loss, cell, names):
    def total(values):
        value = loss(cell.replace(**values))
        return jnp.sum(value), value

    (_, value), gradient = jax.value_and_grad(total, has_aux=True)(_values(cell, names))
    return value, gradient


def _values(cell, names) -> dict[str, Array]:
    parameters = cell.parameters()
    return {name: parameters[name].value for name in names}


def _check_names(cell, names) -> tuple[str, ...]:
    check_cell(cell)
    is_list = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    if not is_list or len(names) == 0 or len(set(names)) < len(names):
        raise refusal("names", names, "", "a list of different names of parameters")
    known = cell.parameters()
    for name in names:
        if name not in known:
            raise ValueError(unknown_name("parameter", name, known, type(cell).__name__))
    return tuple(names)


def _check_floating(what: str, tree):
    """The tree as arrays; a ValueError unless all of them are of floating-point numbers."""
    try:
        tree = jax.tree.map(jnp.asarray, tree)
    except TypeError:
        raise ValueError(f"{what}: expected floating-point arrays, got {type(tree).__name__}") from None
    for path, x in jax.tree.leaves_with_path(tree):
        if not jnp.issubdtype(x.dtype, jnp.floating):
            at = jax.tree_util.keystr(path)
            raise ValueError(f"{what}{at}: dtype {x.dtype} has no derivative; allowed: floating-point numbers")
    return tree
