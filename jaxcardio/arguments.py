"""Arguments refused by name; a traced value cannot be looked at, and passes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

COLDEST, WARMEST = 273.0, 323.0
"""A temperature of a living cell, K: what is outside was meant in degrees Celsius."""
LONGEST = 200
"""Of a value that is refused, no more than so many characters are shown."""


def is_traced(*xs) -> bool:
    """Whether any of these is a tracer: a value that jit, vmap or grad will only know later."""
    return any(isinstance(x, Tracer) for x in xs)


def check_concrete(**arguments: Any) -> None:
    """A ValueError that names the first argument with anything traced in it: what is asked for needs numbers."""
    for name, value in arguments.items():
        if is_traced(*jax.tree.leaves(value)):
            raise ValueError(f"{name} is traced; allowed: concrete values, outside jit, vmap and grad")


def check(name: str, value: Any, unit: str, allowed: str, is_allowed: Callable[[np.ndarray], Any]) -> None:
    """A ValueError with name, value, unit and allowed range unless `is_allowed` of every known number.

    None passes. Text, truth values, complex numbers and whatever else is no real number are refused.
    """
    if value is None or is_traced(value):
        return
    try:
        good = bool(np.all(is_allowed(_numbers(value))))
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise refusal(name, value, unit, allowed)


def check_whole(name: str, value: Any, unit: str, least: int = 1) -> None:
    """A ValueError with name, value, unit and allowed range unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise refusal(name, value, unit, f"a whole number >= {least}")


def check_number(name: str, value: Any, unit: str, allowed: str, is_allowed: Callable[[np.ndarray], Any]) -> None:
    """As `check`, for one number that must be given; it may be traced."""
    if value is None or (is_traced(value) and np.shape(value) != ()):
        raise refusal(name, value, unit, f"{allowed}; one number")
    check(name, value, unit, allowed, is_allowed)
    check(name, value, unit, f"{allowed}; one number", lambda x: x.shape == ())


def check_known(name: str, value: Any, unit: str, allowed: str, is_allowed: Callable[[np.ndarray], Any]) -> None:
    """As `check`, for one number that must be given, and known now."""
    if is_traced(value):
        raise ValueError(f"{name} is traced; allowed: a concrete number, {allowed}")
    if value is None or np.shape(value) != ():
        raise refusal(name, value, unit, allowed)
    check(name, value, unit, allowed, is_allowed)


def check_seed(seed: Any, name: str = "seed", bits: int = 32) -> None:
    """A ValueError unless the seed is a whole number of so many bits."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**bits:
        raise refusal(name, seed, "", f"a whole number from 0 to 2^{bits} - 1")


def refusal(name: str, value: Any, unit: str, allowed: str) -> ValueError:
    """The error that refuses this value, on one line; to be raised."""
    text = " ".join((repr(value) if isinstance(value, str | bytes) else str(value)).split())
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    return ValueError(f"{name} = {text}{' ' * bool(unit)}{unit}; allowed: {allowed}")


def is_real(array: Any) -> bool:
    """Whether these are whole or floating-point numbers; no text, truth values, complex numbers or objects."""
    return array.dtype.kind in "iuf" or bool(jnp.issubdtype(array.dtype, jnp.floating))


def is_known_real(x: Any) -> bool:
    """Whether this is a real number or an array of them, or traced: then it passes."""
    # An array that is there is asked for its dtype only: it may be large, and on another device.
    return is_traced(x) or (not isinstance(x, bool) and is_real(x if hasattr(x, "dtype") else np.asarray(x)))


def without_mask(x: Any) -> Any:
    """A masked array with NaN where it is masked, never the number that lies below the mask; anything else as it is."""
    if not isinstance(x, np.ma.MaskedArray):
        return x
    kept = x if x.dtype.kind == "f" else x.astype(np.float64)
    return np.asarray(np.ma.filled(kept, np.nan))


def _numbers(value: Any) -> np.ndarray:
    """As float64; numpy alone would take the text "5" for a number, and True."""
    array = np.asarray(value)
    if not is_real(array) and (isinstance(value, bool) or not isinstance(value, int)):  # an int can be a long one
        raise TypeError("no real numbers")
    return np.asarray(value, float)
