"""Figures with matplotlib (the extra `plot`), imported at the first one. Functions take `ax` and return it."""

from typing import TYPE_CHECKING

from ..lazy import exports

_MODULES = ("hidden_states", "intracellular", "sodium", "tissues", "twins")
_MODULE_OF = {
    "BIOMARKER_NAMES": "populations",
    "EVENT_NAMES": "populations",
    "apd90_by_dose": "populations",
    "batch": "populations",
    "biomarker": "populations",
    "dose_response": "populations",
    "examples": "populations",
    "incidence": "populations",
    "population": "populations",
    "reasons": "populations",
    "screening": "populations",
    "COLOURS": "style",
    "INK": "style",
    "STYLE": "style",
    "_matplotlib": "style",
    "empty_figure": "style",
    "figure": "style",
    "house_style": "style",
    "action_potentials": "traces",
    "currents": "traces",
    "potential": "traces",
    "protocol": "traces",
    "restitution": "traces",
}
"""Public names, as in the package above: each is imported when it is first used, with what it draws."""

if TYPE_CHECKING:
    from . import hidden_states as hidden_states
    from . import intracellular as intracellular
    from . import sodium as sodium
    from . import tissues as tissues
    from . import twins as twins
    from .populations import BIOMARKER_NAMES as BIOMARKER_NAMES
    from .populations import EVENT_NAMES as EVENT_NAMES
    from .populations import apd90_by_dose as apd90_by_dose
    from .populations import batch as batch
    from .populations import biomarker as biomarker
    from .populations import dose_response as dose_response
    from .populations import examples as examples
    from .populations import incidence as incidence
    from .populations import population as population
    from .populations import reasons as reasons
    from .populations import screening as screening
    from .style import COLOURS as COLOURS
    from .style import INK as INK
    from .style import STYLE as STYLE
    from .style import _matplotlib as _matplotlib
    from .style import empty_figure as empty_figure
    from .style import figure as figure
    from .style import house_style as house_style
    from .traces import action_potentials as action_potentials
    from .traces import currents as currents
    from .traces import potential as potential
    from .traces import protocol as protocol
    from .traces import restitution as restitution
else:
    __getattr__, __dir__, __all__ = exports(__name__, _MODULES, _MODULE_OF)
