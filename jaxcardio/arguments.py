"""Arguments refused by name; a traced value cannot be looked at, and passes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jax import Array
from jax.core import Tracer

COLDEST, WARMEST = 273.0, 323.0
"""A temperature of a living cell, K: what is outside was meant in degrees Celsius."""


def is_traced(*xs) -> bool:
    """Whether any of these is a tracer: a value that jit, vmap or grad will only know later."""
    return any(isinstance(x, Tracer) for x in xs)


def check(name: str, value: Any, unit: str, allowed: str, is_allowed: Callable[[np.ndarray], Any]) -> None:
    """A ValueError with name, value, unit and allowed range unless `is_allowed` of every known number; None passes."""
    if value is None or is_traced(value):
        return
    try:
        good = bool(np.all(is_allowed(np.asarray(value, float))))
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValueError(f"{name} = {value} {unit}; allowed: {allowed}")


def check_whole(name: str, value: Any, unit: str, least: int = 1) -> None:
    """A ValueError with name, value, unit and allowed range unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} = {value} {unit}; allowed: a whole number >= {least}")


def check_number(name: str, value: Any, unit: str, allowed: str, is_allowed: Callable[[float], Any]) -> None:
    """A ValueError with name, value, unit and allowed range unless `value` is one known number that `is_allowed`."""
    if is_traced(value):
        raise ValueError(f"{name} is traced; allowed: a concrete number of {unit}")
    is_number = isinstance(value, int | float | np.number | np.ndarray | Array) and not isinstance(value, bool)
    if not (is_number and np.shape(value) == () and np.isrealobj(value) and is_allowed(float(value))):
        shown = repr(value) if isinstance(value, str) else value
        raise ValueError(f"{name} = {shown}{' ' * bool(unit)}{unit}; allowed: {allowed}")
