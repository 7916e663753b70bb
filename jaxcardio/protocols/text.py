"""Protocols as JSON text."""

import dataclasses
import json
from typing import Any

import numpy as np

from ..annotations import typed
from ..json_text import DEEPEST, parse
from .base import AbstractProtocol, Shifted
from .commands import Constant, Sampled, Segments
from .compositions import Plus, Repeat, Then
from .pulses import Pulses, PulseTrain

KINDS = {c.__name__: c for c in (Constant, PulseTrain, Pulses, Segments, Sampled, Then, Plus, Repeat, Shifted)}
MOST_PARTS = 10_000
"""A text of more protocols than this within one is refused: it could not be evaluated in reasonable time."""


@typed
def to_json(protocol: AbstractProtocol | None) -> str:
    """The protocol as JSON text; `from_json` gives an equal one. ValueError: it has more parts than that reads."""
    return json.dumps(_encode(protocol, _Bounds()), sort_keys=True)


@typed
def from_json(text: str) -> AbstractProtocol | None:
    """The protocol that `to_json` wrote; a ValueError of one line says what is wrong with the text."""
    try:
        written = parse(text, "protocol")
        if written is not None and not isinstance(written, dict):
            raise ValueError(f"{type(written).__name__}; allowed: an object with a type, or null")
        return _decode(written, _Bounds())
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"protocol: {' '.join(str(error).split()).removeprefix('protocol: ')}") from None


class _Bounds:
    """Counts the protocols met on the way."""

    def __init__(self):
        self.parts = 0

    def enter(self, depth: int) -> None:
        self.parts += 1
        if self.parts > MOST_PARTS or depth > DEEPEST:
            raise ValueError(
                f"protocol: {self.parts} protocols, {depth} levels deep; allowed: at most {MOST_PARTS}, {DEEPEST} deep"
            )


def _encode(x, bounds: _Bounds, depth: int = 1) -> Any:
    if isinstance(x, AbstractProtocol):
        bounds.enter(depth)
        names = [f.name for f in dataclasses.fields(x)]  # pyright: ignore[reportArgumentType]
        return {"type": type(x).__name__, **{name: _encode(getattr(x, name), bounds, depth + 1) for name in names}}
    if x is None or isinstance(x, str):
        return x
    value = np.asarray(x, float).tolist()
    return "inf" if value == np.inf else value


def _decode(x, bounds: _Bounds, depth: int = 1) -> Any:
    if not isinstance(x, dict):
        return np.inf if isinstance(x, str) and x == "inf" else x
    bounds.enter(depth)
    kind = x.get("type")
    if "type" not in x:
        there = ", ".join(map(repr, list(x)[:8]))[:200]
        raise ValueError(f"an object without a type (it has: {there}); allowed: type {', '.join(KINDS)}")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"type {kind!r}; allowed: {', '.join(KINDS)}")
    fields = dataclasses.fields(KINDS[kind])  # pyright: ignore[reportArgumentType]
    names = {f.name for f in fields}
    if unknown := x.keys() - names - {"type"}:
        raise ValueError(f"{kind} has no field {min(unknown)[:40]!r}; allowed: {', '.join(f.name for f in fields)}")
    needed = [f.name for f in fields if f.default is dataclasses.MISSING]
    if missing := [name for name in needed if name not in x]:
        raise ValueError(f"{kind}: missing {', '.join(missing)}")
    return KINDS[kind](**{name: _decode(value, bounds, depth + 1) for name, value in x.items() if name != "type"})
