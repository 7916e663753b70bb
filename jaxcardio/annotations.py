"""What the annotations of a function say of its arguments, held against what is given.

    @typed
    def sample(cell: AbstractCell, *, n: int, seed: int = 0) -> AbstractCell: ...

refuses `n="5"` in one line that names the argument, the value and what is allowed.
"""

import collections.abc
import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np
from jax import Array
from jaxtyping import ArrayLike

from .arguments import is_known_real, is_traced, refusal

Function = TypeVar("Function", bound=Callable[..., Any])
SAID = {
    "AbstractCell": "a cell, e.g. jaxcardio.models.TenTusscher2004()",
    "AbstractProtocol": "one of jaxcardio.protocols",
    "AbstractDistribution": "Uniform, LogNormal, LatinHypercube or Sobol",
    "ActionPotentials": "the beats that `action_potentials` gives",
    "Path": "a path",
    "Readable": "a recording, e.g. of Recording.load",
    "Trace": "a trace, e.g. of jaxcardio.simulate",
}
"""What an argument of these types may be, in words; one of another class is an instance of that."""
UNITS = {
    **dict.fromkeys(("t0", "t1", "dt", "discard", "save_every", "screening_t1", "screening_discard", "blank"), "ms"),
    **dict.fromkeys(("duration", "period", "length", "shortest", "cycle_length", "cycle_lengths", "onset"), "ms"),
    **dict.fromkeys(("n", "chunk", "shard"), "cells"),
    **dict.fromkeys(("doses", "concentration", "ic50"), "nM"),
    **{
        "sigma": "pA/pF",
        "temperature": "K",
        "capacitance": "pF",
        "V0": "mV",
        "V1": "mV",
        "hold": "mV",
        "threshold": "mV",
    },
}
"""Units of arguments, which have one wherever they are met."""
ARRAY_LIKE = (bool, int, float, complex, np.bool, np.number, np.ndarray, Array)
"""What jaxtyping's ArrayLike is a union of."""
LISTS = (collections.abc.Sequence, collections.abc.Iterable, tuple, list)
MAPPINGS = (collections.abc.Mapping, dict)


def typed(function: Function) -> Function:
    """Refuses, by name, what the function's annotations exclude: text for a number, a name for a solver, a class for a
    cell, a function for a protocol, one text for a list of names (it would be taken letter by letter).

    Ranges are the function's own to tell (`check`), and so is whatever goes on to another function (`**options`).
    Traced numbers pass, and NaN.
    """

    @functools.wraps(function)
    def checked(*args, **kwargs):
        try:
            given = _signature(function).bind(*args, **kwargs)
        except TypeError:  # one too many, or too few: Python says so best
            return function(*args, **kwargs)
        for name, value in given.arguments.items():
            parameter = _signature(function).parameters[name]
            if isinstance(value, list | tuple) and not value and isinstance(parameter.default, tuple):
                continue  # an empty list where that may be one
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                for one in value:
                    check_type(name, one, parameter.annotation)
            elif parameter.kind is not inspect.Parameter.VAR_KEYWORD:
                check_type(name, value, parameter.annotation)
        return function(*args, **kwargs)

    return checked  # pyright: ignore[reportReturnType]


_signature = functools.cache(inspect.signature)


def check_fields(module: Any) -> None:
    """As `typed`, for the fields of a dataclass, in its `__post_init__` or `__check_init__`."""
    for field in module.__dataclass_fields__.values():
        check_type(field.name, getattr(module, field.name), field.type)


def check_type(name: str, value: Any, annotation: Any) -> None:
    """A ValueError, by name, unless the value is what the annotation says; see `typed`."""
    if annotation is inspect.Parameter.empty:
        return
    several = _alternatives(annotation)
    fitting = [one for one in several if _fits(value, one)]
    if any(get_origin(one) in LISTS and _is_text(_element(one)) for one in fitting):
        twice = [x for k, x in enumerate(value) if x in list(value)[:k]]
        if twice:
            raise ValueError(f"{name}: {twice[0]} is named twice; allowed: a list of different names")
    if not fitting:
        shapes = [_axes(one) for one in several if _is_array(one)]
        if shapes and shapes[0] is not None and not isinstance(value, type) and _is_numbers(value) and np.ndim(value):
            wanted = _shape(shapes[0])
            raise ValueError(
                f"{name}: expected shape {wanted}, got {np.shape(value)}; allowed: numbers of shape {wanted}"
            )
        raise refusal(name, value, UNITS.get(name, ""), " or ".join(dict.fromkeys(map(_said, several))))


def _alternatives(annotation: Any) -> list[Any]:
    """The members of a union; those that make an ArrayLike are put together, as that."""
    if isinstance(annotation, TypeVar):
        annotation = annotation.__bound__
    if get_origin(annotation) not in (Union, types.UnionType):
        return [annotation]
    members = list(get_args(annotation))
    if complex not in members:
        return members
    return [ArrayLike, *(x for x in members if x not in ARRAY_LIKE)]


def _fits(value: Any, one: Any) -> bool:
    origin = get_origin(one)
    if one is None or one is type(None):
        return value is None
    if isinstance(one, str):  # of classes that only type checkers import here
        names = one.split(" | ")
        return (value is None and "None" in names) or any(kind.__name__ in names for kind in type(value).__mro__)
    if one is ArrayLike:
        return _is_numbers(value) and np.size(value) > 0
    if origin is Literal:
        return isinstance(value, str) and value in get_args(one)
    if origin is collections.abc.Callable:
        return callable(value)
    if origin in MAPPINGS:
        return isinstance(value, collections.abc.Mapping)
    if origin in LISTS:
        is_good = _is_list(value) and _are(value, _element(one))
        return is_good and (len(value) > 0 or not _is_text(_element(one)))
    if one is bool:
        return isinstance(value, bool | np.bool)
    if one in (int, float):
        return _is_one_number(value, one)
    if _is_array(one):
        axes = _axes(one)
        is_right = _is_numbers(value) if _is_of_numbers(one) else hasattr(value, "dtype")
        return is_right and (axes is None or np.ndim(value) == len(axes))
    return one is Any or not isinstance(one, type) or isinstance(value, one)


def _are(values: Any, kind: Any) -> bool:
    if kind in (int, float) and hasattr(values, "dtype"):
        return _is_numbers(values) and (kind is float or values.dtype.kind in "iu")
    return kind is Any or all(any(_fits(x, one) for one in _alternatives(kind)) for x in values)


def _is_text(kind: Any) -> bool:
    return kind is str or get_origin(kind) is Literal


def _is_one_number(value: Any, kind: type) -> bool:
    if kind is int and not is_traced(value):
        return isinstance(value, int | np.integer) and not isinstance(value, bool)
    return np.ndim(value) == 0 and _is_numbers(value) if not isinstance(value, list | tuple) else False


def _is_numbers(value: Any) -> bool:
    if isinstance(value, list | tuple) and is_traced(*value):
        return True
    try:
        return is_known_real(value)
    except (TypeError, ValueError):  # ragged
        return False


def _is_list(value: Any) -> bool:
    is_collection = isinstance(value, collections.abc.Iterable) and hasattr(value, "__len__")
    if not is_collection or isinstance(value, str | bytes | type | collections.abc.Mapping):
        return False
    return getattr(value, "ndim", 1) > 0


def _is_array(annotation: Any) -> bool:
    """Whether it is NumPy's or JAX's array, or a jaxtyping of one."""
    return isinstance(annotation, type) and (hasattr(annotation, "dims") or issubclass(annotation, np.ndarray | Array))


def _is_of_numbers(annotation: Any) -> bool:
    """Whether it is no array of truth values or random keys."""
    return not getattr(annotation, "__name__", "").startswith(("Bool", "Key"))


def _axes(annotation: Any) -> list[str] | None:
    """Names of the axes of a jaxtyping array; None where their number is open."""
    axes = getattr(annotation, "dim_str", "...").split()
    return None if any(name.startswith(("*", "#", "...")) for name in axes) else axes


def _element(sequence: Any) -> Any:
    return next(iter(get_args(sequence)), Any)


def _said(annotation: Any) -> str:
    origin = get_origin(annotation)
    if isinstance(annotation, str):
        return annotation.replace(" | ", " or ")
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is ArrayLike:
        return "numbers"
    if origin is Literal:
        return ", ".join(map(repr, get_args(annotation)))
    if origin is collections.abc.Callable:
        return "a function"
    if origin in MAPPINGS:
        return "a mapping"
    if origin in LISTS:
        plain = {
            str: "a list of names",
            int: "a list of whole numbers",
            float: "a list of numbers",
            Any: "a list",
        }
        element = _element(annotation)
        return plain.get(element) or f"a list, each {_said(element)}"
    plain = {bool: "True or False", str: "a text", int: "a whole number", float: "one number"}
    if annotation in plain:
        return plain[annotation]
    if _is_array(annotation):
        axes = _axes(annotation)
        return "numbers" if axes is None else f"numbers of shape {_shape(axes)}"
    name = getattr(annotation, "__name__", str(annotation))
    return SAID.get(name, f"{'an' if name[0] in 'AEIOU' else 'a'} {name}")


def _shape(axes: list[str]) -> str:
    """As Python writes a shape: `(samples,)`."""
    return f"({axes[0]},)" if len(axes) == 1 else f"({', '.join(axes)})"
