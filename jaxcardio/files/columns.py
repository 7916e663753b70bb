"""What a column of a table, or a channel of a recording, holds, from its name."""

import re
from typing import NamedTuple

from .units import find_unit

_TIMES = {"t", "time", "times", "timepoint", "timestamp", "zeit", "temps", "tiempo", "tempo"}
_POTENTIALS = {"v", "vm", "em", "vmem", "vmembrane", "mp", "u"}
_CURRENTS = {"i", "im", "ic", "iinj", "icap"}
_COUNTERS = {"", "index", "sample", "samples", "row", "unnamed", "no", "nr"}
_COMMANDS = ("command", "cmd", "stim", "holding", "clamp")


class Column(NamedTuple):
    """`kind`: time, potential, current, counter, command, another quantity, or unknown; `unit`: as written, or None.

    `strange`: the unit is in brackets, and none that is known.
    """

    name: str
    kind: str
    unit: str | None
    strange: bool = False


def describe(name: str, unit: str | None = None) -> Column:
    """A column of this name; a unit that is known from elsewhere goes before one in the name."""
    label, found = _split(name)
    unit = unit or found
    known = find_unit(unit) if unit else None
    named = _kind_of(label)
    if unit and known is None:
        return Column(name, named, unit, strange=True)
    if known is None:
        return Column(name, named, None)
    quantity = "current" if known.quantity == "current density" else known.quantity
    if named in ("command", "time", "potential") or (quantity == "time" and named == "current"):
        # A time in mV is refused where it is converted; I_s is a current.
        return Column(name, named, unit)
    return Column(name, quantity, unit)


def label(name: str) -> str:
    """The name of a column without its unit."""
    return _split(name)[0]


def _split(name: str) -> tuple[str, str | None]:
    """The name without its unit, and the unit: Time (s), V [mV], Voltage/mV, t_ms, V_mV_0, mV."""
    name = name.strip()
    bracket = re.match(r"(.*?)\s*[(\[{]\s*([^()\[\]{}]*?)\s*[)\]}]\s*[\d_#.]*$", name)
    if bracket:
        label, unit = bracket.groups()
        return label, None if not unit or unit.isdigit() else unit
    for text in (name, re.sub(r"[_ .#-]*\d+$", "", name)):
        for k in (m.start() for m in re.finditer(r"[_ /,:.]", text)):
            unit = text[k + 1 :].strip()
            known = find_unit(unit)
            if known and text[:k].strip() and (known.quantity != "another quantity" or len(unit) > 1):  # cell_1, x_K
                return text[:k], unit
    is_unit = find_unit(name) and (len(name) > 1 or name in ("s", "A"))  # t and V are names
    return ("", name) if is_unit else (name, None)


def _kind_of(label: str) -> str:
    words = re.sub(r"[^a-z]", "", label.lower())
    if any(x in words for x in _COMMANDS):
        return "command"
    if words in _TIMES or words.startswith("time"):
        return "time"
    if words in _CURRENTS or "current" in words or re.match(r"i_", label, re.IGNORECASE):
        return "current"
    if words in _POTENTIALS or "voltage" in words or "potential" in words or re.match(r"v[_ ]", label, re.IGNORECASE):
        return "potential"
    if words in _COUNTERS and not re.search(r"\d", label):
        return "counter"
    return "unknown"
