"""Differentiable simulation of cardiac cells in JAX.

Every name is imported when it is first used, so that importing jaxcardio is quick and does not start JAX.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .lazy import exports

_MODULES = ("biomarkers", "hidden_state", "models", "pharmacology", "plot", "population", "protocols", "twin")
"""Public names that are modules of this package."""
_MODULE_OF = {
    "use_cache": "cache",
    "AbstractCell": "cell",
    "Scalar": "cell",
    "astype": "cell",
    "hold": "cell",
    "parameter": "cell",
    "WIDE": "compiled",
    "paced_grid": "grid",
    "Relaxation": "relaxation",
    "value_and_gradient": "sensitivity",
    "value_and_sensitivities": "sensitivity",
    "simulate": "simulate",
    "RatesTerm": "solvers",
    "RushLarsen": "solvers",
    "RushLarsen2": "solvers",
    "Status": "trace",
    "Trace": "trace",
}
"""The other public names, and the module that defines each. A test compares both with the imports below, which are for
type checkers and editors."""

if TYPE_CHECKING:
    from . import biomarkers as biomarkers
    from . import hidden_state as hidden_state
    from . import models as models
    from . import pharmacology as pharmacology
    from . import plot as plot
    from . import population as population
    from . import protocols as protocols
    from . import twin as twin
    from .cache import use_cache as use_cache
    from .cell import AbstractCell as AbstractCell
    from .cell import Scalar as Scalar
    from .cell import astype as astype
    from .cell import hold as hold
    from .cell import parameter as parameter
    from .compiled import WIDE as WIDE
    from .grid import paced_grid as paced_grid
    from .relaxation import Relaxation as Relaxation
    from .sensitivity import value_and_gradient as value_and_gradient
    from .sensitivity import value_and_sensitivities as value_and_sensitivities
    from .simulate import simulate as simulate
    from .solvers import RatesTerm as RatesTerm
    from .solvers import RushLarsen as RushLarsen
    from .solvers import RushLarsen2 as RushLarsen2
    from .trace import Status as Status
    from .trace import Trace as Trace
else:
    __getattr__, __dir__, __all__ = exports(__name__, _MODULES, _MODULE_OF)


class _Package(ModuleType):
    """Keeps a function under its name when the module of the same name is imported, which sets itself there."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _MODULE_OF and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
