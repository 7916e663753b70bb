"""Units of what comes in: one table of them for every file that says its units.

What leaves this module is in the units of the library: ms, mV, pA, pA/pF.
"""

import re
from typing import NamedTuple


class Unit(NamedTuple):
    """What a unit measures, and the factor that turns its numbers into ours (ms, mV, pA, pA/pF)."""

    quantity: str
    factor: float


_PREFIXES = {"": 0, "k": 3, "m": -3, "u": -6, "n": -9, "p": -12}
_BASES = {"s": ("time", 3), "V": ("potential", 3), "A": ("current", 12)}
"""What each base measures, and the power of ten from it to the library's unit."""
_WORDS = {
    "sec": "s", "second": "s", "seconds": "s", "msec": "ms", "millisecond": "ms", "milliseconds": "ms",
    "usec": "us", "microsecond": "us", "microseconds": "us",
    "volt": "V", "volts": "V", "millivolt": "mV", "millivolts": "mV", "microvolt": "uV", "microvolts": "uV",
    "amp": "A", "ampere": "A", "amperes": "A", "picoampere": "pA", "nanoampere": "nA",
}  # fmt: skip
_OTHERS = (
    "M", "mM", "uM", "nM", "mol/L", "mmol/L", "umol/L", "Hz", "kHz", "°C", "degC", "K", "%", "1", "a.u.", "AU", "t.u.",
    "tu", "pF", "nF", "nS", "pS", "MOhm", "GOhm", "mV/ms", "V/s", "1/ms", "mN", "N", "um",
)  # fmt: skip
"""Units that are known and measure neither time, potential nor current."""

UNITS = {
    prefix + base: Unit(quantity, float(f"1e{power + from_base}"))
    for base, (quantity, from_base) in _BASES.items()
    for prefix, power in _PREFIXES.items()
}
UNITS |= {"min": Unit("time", 6e4), "minute": Unit("time", 6e4), "minutes": Unit("time", 6e4)}
UNITS |= {word: UNITS[unit] for word, unit in _WORDS.items()}
UNITS |= dict.fromkeys(("pA/pF", "A/F", "uA/uF", "mA/mF", "nA/nF"), Unit("current density", 1.0))
UNITS |= {"uA/cm2": Unit("current density", float("nan"))}  # of a density per area nothing follows without a capacity
UNITS |= dict.fromkeys(_OTHERS, Unit("another quantity", float("nan")))
_ANY_CASE = {name.lower(): unit for name, unit in UNITS.items() if unit.quantity != "another quantity"}

COMMON = {"time": "ms, s, us, min", "potential": "mV, V, uV", "current": "pA, nA, A"}
"""The spellings that messages offer."""


def find_unit(text: str) -> Unit | None:
    """The unit of this spelling, or None. `µ` is `u`, and capitals do not matter where only one unit could be meant."""
    spelled = re.sub(r"\s+|\^", "", text.strip().strip("'\"")).replace("µ", "u").replace("μ", "u")
    spelled = spelled.replace("_per_", "/")
    return UNITS.get(spelled) or _ANY_CASE.get(spelled.lower())


def unit_factor(where: str, name: str, unit: str, quantity: str) -> float:
    """What turns numbers in `unit` into the library's unit of `quantity` ("time" or "potential").

    An unknown unit, and one of another quantity, are a ValueError that begins with `where`.
    """
    found = find_unit(unit)
    if found is None or found.quantity != quantity:
        what = "" if found is None else f", a unit of {found.quantity}"
        raise ValueError(f"{where}: {name} has unit = {unit[:40]!r}{what}; allowed: {COMMON[quantity]}")
    return found.factor
